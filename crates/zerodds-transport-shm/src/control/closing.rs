//! Closes what others sent without waiting for it.
//!
//! Closing a descriptor can wait for as long as whoever made it likes: a socket lingers over data that nobody reads, a file
//! of somebody's own file system asks that somebody. Any user of this network namespace can send us such a thing, admitted or
//! not, and the kernel closes it for us with the socket where we never looked at the packet that it came with. So sockets, and
//! descriptors that are of no kind that we use, are closed on threads that live no longer than that takes.
//!
//! Rejected: looking for unread packets first (an empty one cannot be told from none); a single thread (one lingering socket would
//! keep all others open).

use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Closes descriptors elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Closer(Mutex<Work>);

#[derive(Debug, Default)]
struct Work {
    threads: usize,
    /// For whose closing there is no thread yet.
    waiting: Vec<OwnedFd>,
}

impl Closer {
    /// Closes this without waiting here.
    pub(crate) fn close(self: &Arc<Self>, fd: OwnedFd) {
        let mut work = self.0.lock();
        work.waiting.push(fd);
        if work.threads == THREADS_MAX {
            return;
        }
        work.threads += 1;
        drop(work);
        let closer = Arc::clone(self);
        let thread = std::thread::Builder::new().name("zerodds-close".into());
        if thread.spawn(move || while closer.close_one() {}).is_err() {
            // Where there is no thread to be had, there is no other way than to wait here.
            while self.close_one() {}
        }
    }

    /// Whether so much waits to be closed that nobody new should be let in.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().waiting.len() >= WAITING_MAX
    }

    fn close_one(&self) -> bool {
        let mut work = self.0.lock();
        let next = work.waiting.pop();
        work.threads -= usize::from(next.is_none());
        drop(work);
        next.is_some()
    }
}

/// Descriptors that are being closed at once.
const THREADS_MAX: usize = 16;
/// Descriptors that may wait besides, before connections are left where they are.
const WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_closed_and_no_thread_stays() {
        let closer = Arc::<Closer>::default();
        for _ in 0..3 * WAITING_MAX {
            let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
            closer.close(writer);
            // The end of the pipe: its only writer is closed.
            assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        }
        while closer.0.lock().threads > 0 {
            std::thread::yield_now();
        }
        assert!(!closer.is_full());
    }
}
