//! What a participant says to itself: Dust discovers itself like any peer, and matches its own endpoints.
//!
//! Dust writes on the thread that also reads, and its inbox blocks when it is full, so nothing may be handed
//! to it directly: it would wait for itself. What is for ourselves waits here for the receive thread instead.
//! No network is needed for it, and no multicast has to come back.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A bounded queue with a descriptor that is readable while something waits.
#[derive(Debug)]
pub(crate) struct Loopback {
    queue: Mutex<Queue>,
    ear: UnixStream,
}

#[derive(Debug)]
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    /// Holds one octet in `ear` while the queue is not empty, and from its end on.
    bell: UnixStream,
    rung: bool,
    closed: bool,
}

impl Loopback {
    /// A queue for up to `bytes_max` bytes of messages, or one message of any size.
    pub(crate) fn new(bytes_max: usize) -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        let queue =
            Queue { messages: VecDeque::new(), bytes: 0, bytes_max, bell, rung: false, closed: false };
        Ok(Self { queue: Mutex::new(queue), ear })
    }

    /// Queues a message; `false` if there is no room for it.
    pub(crate) fn push(&self, message: Vec<u8>) -> bool {
        let mut queue = self.queue.lock();
        let room = queue.messages.is_empty() || queue.bytes + message.len() <= queue.bytes_max;
        if room {
            queue.bytes += message.len();
            queue.messages.push_back(message);
            queue.ring();
        }
        room
    }

    /// Makes the descriptor readable for good: whoever takes meanwhile must not take the news of the end away from
    /// whoever sleeps next.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.ring();
    }

    /// The message that has waited longest.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue.lock();
        let message = queue.messages.pop_front();
        queue.bytes -= message.as_ref().map_or(0, Vec::len);
        if queue.messages.is_empty() && queue.rung && !queue.closed {
            // One octet is there, so this does not block; an error only costs a wake without cause.
            queue.rung = (&self.ear).read(&mut [0]).is_err();
        }
        message
    }
}

impl Queue {
    fn ring(&mut self) {
        self.rung |= !self.rung && self.bell.write(&[1]).is_ok();
    }
}

impl AsFd for Loopback {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_in_order_and_the_descriptor_tells() {
        let loopback = Loopback::new(100).expect("a socket pair");
        loopback.ear.set_nonblocking(true).expect("non-blocking");
        assert!(loopback.take().is_none());
        assert!(loopback.push(vec![1]) && loopback.push(vec![2; 9]));
        assert_eq!((&loopback.ear).read(&mut [0; 8]).expect("readable"), 1, "one octet for any number");
        loopback.queue.lock().rung = false;
        loopback.queue.lock().ring();
        assert_eq!(
            (loopback.take(), loopback.take(), loopback.take()),
            (Some(vec![1]), Some(vec![2; 9]), None)
        );
        assert!((&loopback.ear).read(&mut [0; 8]).is_err(), "nothing is left to read");
    }

    #[test]
    fn the_end_is_told_however_often_something_is_taken() {
        let loopback = Loopback::new(100).expect("a socket pair");
        loopback.ear.set_nonblocking(true).expect("non-blocking");
        assert!(loopback.push(vec![1]));
        loopback.close();
        assert!(loopback.take().is_some() && loopback.take().is_none());
        assert_eq!((&loopback.ear).read(&mut [0; 8]).expect("readable"), 1);
    }

    #[test]
    fn it_is_bounded_except_for_a_single_message() {
        let loopback = Loopback::new(100).expect("a socket pair");
        assert!(loopback.push(vec![0; 1000]), "any message fits alone");
        assert!(!loopback.push(vec![0]));
        assert!(loopback.take().is_some() && loopback.push(vec![0; 100]));
        assert!(!loopback.push(vec![0]));
    }
}
