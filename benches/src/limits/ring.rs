//! One direction of ideal shared memory: one writer, up to eight readers, each of whom reads everything.
//!
//! ```text
//!   0x0000  head u32: messages published; what sleeping readers wait on
//!   0x0080  waiting u32, wanted u32: the writer sleeps until all tails have reached `wanted`
//!   0x0100  space u32: what it sleeps on
//!   0x0180  of the first of several lanes: what their reader sleeps on u32, whether it does u32
//!   0x0200  + 256 r: tail u32 of reader r: messages released; + 128: asleep u32
//!   0x1000  slots [1024]: offset / 64 u32, length u32
//!   0x4000  payloads
//! ```
//! An empty ring starts again at its beginning, so in a ping-pong this is a double buffer that stays in cache. How
//! much of the ring is used follows from the length of messages, for the same reason.

use super::several::Bell;
use crate::sys::Arena;
use crate::system::Failure;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How a side sleeps.
pub(super) enum Bed {
    Futex,
    /// Readers only; the writer waits for space by futex.
    EventFd(OwnedFd),
    Spin,
    /// Writers only: their reader has several lanes, and sleeps elsewhere.
    Several(Bell),
}

/// A lane of the arena.
#[derive(Clone)]
pub(super) struct Lane {
    arena: Arc<Arena>,
    base: usize,
}

/// The writing end.
pub(super) struct Writer {
    lane: Lane,
    bed: Bed,
    readers: Vec<usize>,
    head: u32,
    live: VecDeque<Live>,
    next: usize,
    populated: usize,
}

/// The end of one reader.
pub(super) struct Reader {
    lane: Lane,
    bed: Bed,
    own: usize,
    tail: u32,
}

/// A published message that somebody has not released.
struct Live {
    index: u32,
    at: usize,
}

/// Bytes of an arena for one lane.
pub(super) const LANE_LEN: usize = PAYLOADS + PAYLOADS_LEN;
/// The longest message.
pub(super) const MESSAGE_MAX: usize = 17 << 20;
/// The most readers.
pub(super) const READERS_MAX: usize = 8;

impl Lane {
    pub(super) fn new(arena: &Arc<Arena>, number: usize) -> Self {
        Self { arena: Arc::clone(arena), base: number * LANE_LEN }
    }

    pub(super) fn word(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.arena.word(self.base + at)
    }
}

impl Writer {
    pub(super) fn new(lane: Lane, bed: Bed, readers: Vec<usize>) -> Self {
        Self { lane, bed, readers, head: 0, live: VecDeque::new(), next: 0, populated: 0 }
    }

    /// Publishes a message that `fill` writes in place.
    pub(super) fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let at = self.allocate(len)?;
        self.lane.arena.write(self.lane.base + PAYLOADS + at, len, |bytes| fill(bytes));
        let slot = SLOTS + (self.head % SLOTS_LEN) as usize * 8;
        // ORDER: Relaxed; the store to `head` publishes them.
        self.lane.word(slot).store((at / 64) as u32, Ordering::Relaxed);
        self.lane.word(slot + 4).store(len as u32, Ordering::Relaxed);
        self.live.push_back(Live { index: self.head, at });
        self.head = self.head.wrapping_add(1);
        // ORDER: SeqCst, and so the loads of `asleep`: a reader stores `asleep` and then loads `head`, so one of the two
        // sees the other. Publishes slot and payload.
        self.lane.word(HEAD).store(self.head, Ordering::SeqCst);
        if let Bed::Several(bell) = &self.bed {
            return bell.ring();
        }
        let mut anybody = false;
        for &reader in &self.readers {
            anybody |= self.lane.word(READER * (reader + 2) + ASLEEP).load(Ordering::SeqCst) != 0;
        }
        if anybody { self.wake() } else { Ok(()) }
    }

    fn wake(&self) -> Result<(), Failure> {
        match &self.bed {
            Bed::Spin | Bed::Several(_) => Ok(()),
            Bed::Futex => {
                let woken = futex::wake(self.lane.word(HEAD), futex::Flags::empty(), READERS_MAX as u32);
                woken.map(drop).map_err(|errno| io::Error::from(errno).into())
            }
            Bed::EventFd(bell) => {
                let written = rustix::io::write(bell, &1u64.to_ne_bytes());
                written.map(drop).map_err(|errno| io::Error::from(errno).into())
            }
        }
    }

    /// An offset with room for `len` bytes; waits for it.
    fn allocate(&mut self, len: usize) -> Result<usize, Failure> {
        if len > MESSAGE_MAX {
            return Err(Failure::Unsupported(format!("messages of {len} bytes; at most {MESSAGE_MAX}")));
        }
        let size = len.next_multiple_of(64);
        let budget = (4 << 20).max(2 * size + (1 << 20));
        if budget > self.populated {
            self.lane.arena.populate(self.lane.base, PAYLOADS + budget)?;
            self.populated = budget;
        }
        loop {
            if let Some(at) = self.gap(size, budget) {
                self.next = at + size;
                return Ok(at);
            }
            // ORDER: Acquire; pairs with the readers' Release: what they released may be written again.
            let tail = self.tail(Ordering::Acquire);
            let before = self.live.len();
            while self.live.front().is_some_and(|live| reached(tail, live.index.wrapping_add(1))) {
                self.live.pop_front();
            }
            if self.live.len() == before {
                self.wait_for_space();
            }
        }
    }

    /// Where `size` bytes are free, as far as we know.
    fn gap(&mut self, size: usize, budget: usize) -> Option<usize> {
        if self.live.len() >= SLOTS_LEN as usize {
            return None;
        }
        let Some(oldest) = self.live.front() else {
            return Some(0);
        };
        if self.live.len() == 1 {
            // Perhaps all is free, and warm at the beginning.
            let tail = self.tail(Ordering::Acquire);
            if reached(tail, oldest.index.wrapping_add(1)) {
                self.live.clear();
                return Some(0);
            }
        }
        match self.next > oldest.at {
            true if self.next + size <= budget => Some(self.next),
            true => (size < oldest.at).then_some(0),
            false => (self.next + size <= oldest.at).then_some(self.next),
        }
    }

    /// The slowest reader's.
    fn tail(&self, ordering: Ordering) -> u32 {
        let tails = self.readers.iter().map(|&reader| self.lane.word(READER * (reader + 2)).load(ordering));
        tails.min_by_key(|&tail| tail.wrapping_sub(self.head.wrapping_sub(1 << 30))).unwrap_or(self.head)
    }

    fn wait_for_space(&self) {
        // A wake for each of many small messages would cost more than they do.
        let enough = if self.live.len() <= 8 { 0 } else { self.live.len() / 2 };
        let wanted = self.live[enough].index.wrapping_add(1);
        let is_there = || reached(self.tail(Ordering::SeqCst), wanted);
        if matches!(self.bed, Bed::Spin) {
            while !is_there() {
                spin_loop();
            }
            return;
        }
        let (waiting, space) = (self.lane.word(WAITING), self.lane.word(SPACE));
        self.lane.word(WANTED).store(wanted, Ordering::Relaxed);
        // ORDER: SeqCst; a reader stores its tail and then loads `waiting`, we the other way round.
        waiting.store(1, Ordering::SeqCst);
        loop {
            let seen = space.load(Ordering::SeqCst);
            if is_there() {
                break;
            }
            // Interrupted or too late: looked again.
            let _ = futex::wait(space, futex::Flags::empty(), seen, None);
        }
        waiting.store(0, Ordering::SeqCst);
    }
}

impl Reader {
    pub(super) fn new(lane: Lane, bed: Bed, own: usize) -> Self {
        Self { lane, bed, own: READER * (own + 2), tail: 0 }
    }

    /// Waits for messages and shows some of them in place; 0 after `until`.
    pub(super) fn receive(
        &mut self,
        until: Option<Instant>,
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        match self.take(read) {
            0 => {
                self.wait(until)?;
                Ok(self.take(read))
            }
            count => Ok(count),
        }
    }

    /// Whether there is a message, in the one order with what a writer looks at when it has published one.
    pub(super) fn has_any(&self) -> bool {
        // ORDER: SeqCst, see `Bell`.
        self.lane.word(HEAD).load(Ordering::SeqCst) != self.tail
    }

    /// Shows some of the messages that are there.
    pub(super) fn take(&mut self, read: &mut dyn FnMut(&[u8])) -> usize {
        // ORDER: Acquire; pairs with the writer's store: slots and payloads up to it are there.
        let head = self.lane.word(HEAD).load(Ordering::Acquire);
        let (mut count, mut bytes) = (0, 0);
        while self.tail != head && count < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let slot = SLOTS + (self.tail % SLOTS_LEN) as usize * 8;
            // ORDER: Relaxed; published by `head`.
            let at = self.lane.word(slot).load(Ordering::Relaxed) as usize * 64;
            let len = self.lane.word(slot + 4).load(Ordering::Relaxed) as usize;
            self.lane.arena.read(self.lane.base + PAYLOADS + at, len, &mut *read);
            self.tail = self.tail.wrapping_add(1);
            count += 1;
            bytes += len;
        }
        if count > 0 {
            self.release();
        }
        count
    }

    fn release(&self) {
        // ORDER: SeqCst, see `wait_for_space`; releases what was read.
        self.lane.word(self.own).store(self.tail, Ordering::SeqCst);
        let is_awaited = self.lane.word(WAITING).load(Ordering::SeqCst) != 0;
        if is_awaited && reached(self.tail, self.lane.word(WANTED).load(Ordering::Relaxed)) {
            let space = self.lane.word(SPACE);
            space.fetch_add(1, Ordering::SeqCst);
            // Nobody sleeps there: then nobody is woken.
            let _ = futex::wake(space, futex::Flags::empty(), 1);
        }
    }

    fn wait(&self, until: Option<Instant>) -> Result<(), Failure> {
        let (head, asleep) = (self.lane.word(HEAD), self.lane.word(self.own + ASLEEP));
        if matches!(self.bed, Bed::Spin) {
            let mut looks = 0u32;
            while head.load(Ordering::Acquire) == self.tail {
                spin_loop();
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(1024) && until.is_some_and(|until| Instant::now() >= until) {
                    break;
                }
            }
            return Ok(());
        }
        loop {
            // ORDER: SeqCst: see `send`.
            asleep.store(1, Ordering::SeqCst);
            let is_there = head.load(Ordering::SeqCst) != self.tail;
            let slept = if is_there { Ok(()) } else { self.sleep(until) };
            asleep.store(0, Ordering::Relaxed);
            match slept {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::TIMEDOUT) => return Ok(()),
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            if head.load(Ordering::Acquire) != self.tail {
                return Ok(());
            }
        }
    }

    fn sleep(&self, until: Option<Instant>) -> rustix::io::Result<()> {
        let left = left(until);
        if let Bed::EventFd(bell) = &self.bed {
            if let Some(left) = &left {
                use rustix::event::{PollFd, PollFlags, poll};
                if poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(left))? == 0 {
                    return Err(Errno::TIMEDOUT);
                }
            }
            return rustix::io::read(bell, &mut [0; 8]).map(drop);
        }
        futex::wait(self.lane.word(HEAD), futex::Flags::empty(), self.tail, left.as_ref())
    }
}

/// The time until then, for the kernel.
pub(super) fn left(until: Option<Instant>) -> Option<Timespec> {
    let left = until?.saturating_duration_since(Instant::now());
    Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() })
}

/// Whether `tail`, which wraps, is at `wanted` or past it.
const fn reached(tail: u32, wanted: u32) -> bool {
    tail.wrapping_sub(wanted) < 1 << 31
}

const HEAD: usize = 0;
const WAITING: usize = 0x80;
const WANTED: usize = 0x84;
const SPACE: usize = 0x100;
/// Two words for `Bell`.
pub(super) const BELL: usize = 0x180;
/// The words of reader r are at `READER * (r + 2)`.
const READER: usize = 0x100;
const ASLEEP: usize = 0x80;
const SLOTS: usize = 0x1000;
const SLOTS_LEN: u32 = 1024;
const PAYLOADS: usize = 0x4000;
const PAYLOADS_LEN: usize = 2 * MESSAGE_MAX + (2 << 20);
const BATCH_MESSAGES: usize = 32;
const BATCH_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Touch, check, fill};
    use std::os::fd::AsFd;
    use std::thread;

    #[test]
    fn two_readers_get_every_message_of_every_size_in_order_while_the_writer_waits_for_both() {
        let fd = Arena::create(LANE_LEN).expect("memory");
        let arena = Arc::new(Arena::map(fd.as_fd()).expect("a mapping"));
        let lane = Lane::new(&arena, 0);
        let sizes = [64, 8, 100_000, 3 << 20, 64, 1 << 20];
        thread::scope(|scope| {
            for own in [0, 1] {
                let lane = lane.clone();
                scope.spawn(move || {
                    let mut reader = Reader::new(lane, Bed::Futex, own);
                    let mut next = 0;
                    while next < 600 {
                        let mut read = |bytes: &[u8]| {
                            assert_eq!(check(bytes, Touch::Full), Ok(next));
                            assert_eq!(bytes.len(), sizes[next as usize % sizes.len()]);
                            next += 1;
                        };
                        reader.receive(None, &mut read).expect("a message");
                    }
                });
            }
            let mut writer = Writer::new(lane.clone(), Bed::Futex, vec![0, 1]);
            for next in 0..600 {
                let mut write = |bytes: &mut [u8]| fill(bytes, next, Touch::Full);
                writer.send(sizes[next as usize % sizes.len()], &mut write).expect("room");
            }
        });
    }
}
