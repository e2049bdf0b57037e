//! Several writers and one reader, as ideal as one of each: a lane for every writer, and one futex on which their reader
//! sleeps.
//!
//! ```text
//!   writer 1 ══ lane 0 ══╗
//!   writer 2 ══ lane 1 ══╬══▶ reader: looks at each in turn, sleeps when all are empty
//!   writer n ══ lane n-1 ╝
//! ```
//! Writers share nothing but the word that says whether the reader sleeps; the first to find it so takes it back, and wakes. One
//! ring with a lock, or with a cursor that writers reserve by, would have them wait for each other.

use super::ring::{BELL, Lane, Reader, left};
use crate::system::Failure;
use rustix::io::Errno;
use rustix::thread::futex;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Where the reader of several lanes sleeps: two words of the first.
#[derive(Clone)]
pub(super) struct Bell(pub(super) Lane);

/// The end of a reader of several lanes.
pub(super) struct Readers {
    readers: Vec<Reader>,
    bell: Bell,
    /// Whose turn it is.
    next: usize,
}

impl Bell {
    /// After a message was published: wakes the reader if it sleeps.
    pub(super) fn ring(&self) -> Result<(), Failure> {
        // ORDER: SeqCst, and so the reader's store of it and its loads of every head: one of the two sees the other. What is
        // taken back here may be a later sleep than the one that was seen: then that ends early, which costs a look.
        if self.asleep().load(Ordering::SeqCst) == 0 || self.asleep().swap(0, Ordering::SeqCst) == 0 {
            return Ok(());
        }
        self.word().fetch_add(1, Ordering::SeqCst);
        let woken = futex::wake(self.word(), futex::Flags::empty(), 1);
        woken.map(drop).map_err(|errno| io::Error::from(errno).into())
    }

    /// Sleeps until it rings, unless `is_there` says that there is no need; `false` after `until`.
    fn wait(&self, until: Option<Instant>, is_there: impl Fn() -> bool) -> Result<bool, Failure> {
        // ORDER: SeqCst: before `asleep`, so that whoever takes that back changes the word after this.
        let seen = self.word().load(Ordering::SeqCst);
        self.asleep().store(1, Ordering::SeqCst);
        let slept = if is_there() { Ok(()) } else { self.sleep(seen, until) };
        self.asleep().store(0, Ordering::SeqCst);
        match slept {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::TIMEDOUT) => Ok(false),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    fn sleep(&self, seen: u32, until: Option<Instant>) -> rustix::io::Result<()> {
        futex::wait(self.word(), futex::Flags::empty(), seen, left(until).as_ref())
    }

    fn word(&self) -> &AtomicU32 {
        self.0.word(BELL)
    }

    fn asleep(&self) -> &AtomicU32 {
        self.0.word(BELL + 4)
    }
}

impl Readers {
    /// Of these lanes, the first of which has the bell.
    pub(super) fn new(readers: Vec<Reader>, bell: Bell) -> Self {
        Self { readers, bell, next: 0 }
    }

    /// Waits for messages and shows some of one lane in place; 0 after `until`.
    pub(super) fn receive(
        &mut self,
        until: Option<Instant>,
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        loop {
            for _ in 0..self.readers.len() {
                let turn = self.next;
                self.next = (turn + 1) % self.readers.len();
                match self.readers[turn].take(read) {
                    0 => {}
                    count => return Ok(count),
                }
            }
            let is_there = || self.readers.iter().any(Reader::has_any);
            if !self.bell.wait(until, is_there)? && !is_there() {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Bed, LANE_LEN, Writer};
    use super::*;
    use crate::sample::{Touch, check, fill};
    use crate::sys::Arena;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn one_reader_gets_every_message_of_three_writers_each_in_its_order() {
        const MESSAGES: u64 = 20_000;
        let fd = Arena::create(3 * LANE_LEN).expect("memory");
        let arena = Arc::new(Arena::map(fd.as_fd()).expect("a mapping"));
        let bell = Bell(Lane::new(&arena, 0));
        thread::scope(|scope| {
            for number in 0..3 {
                let (lane, bell) = (Lane::new(&arena, number), bell.clone());
                scope.spawn(move || {
                    let mut writer = Writer::new(lane, Bed::Several(bell), vec![0]);
                    for next in 0..MESSAGES {
                        let sequence = (number as u64) << 40 | next;
                        let mut write = |bytes: &mut [u8]| fill(bytes, sequence, Touch::Full);
                        writer.send(64 + 8 * (next as usize % 900), &mut write).expect("room");
                        if next % 100 == 0 {
                            // The reader empties the lanes and sleeps, now and then.
                            thread::yield_now();
                        }
                    }
                });
            }
            let lanes = (0..3).map(|number| Reader::new(Lane::new(&arena, number), Bed::Futex, 0));
            let mut readers = Readers::new(lanes.collect(), bell.clone());
            let mut following = [0; 3];
            while following.iter().sum::<u64>() < 3 * MESSAGES {
                let mut read = |bytes: &[u8]| {
                    let sequence = check(bytes, Touch::Full).expect("intact");
                    let next = &mut following[(sequence >> 40) as usize];
                    assert_eq!(sequence & 0xff_ffff, *next, "of writer {}", sequence >> 40);
                    *next += 1;
                };
                readers.receive(None, &mut read).expect("a message");
            }
            let soon = Instant::now() + std::time::Duration::from_millis(5);
            assert_eq!(readers.receive(Some(soon), &mut |_| {}).expect("nothing"), 0);
        });
    }
}
