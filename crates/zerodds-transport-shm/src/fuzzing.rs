//! Doors for the fuzz targets (`fuzz/` of the repository) to what is private here; only under `--cfg fuzzing`.
//!
//! ```text
//!   target: a script of bytes ─▶ operations of the one side │ words of the other side
//!                                       │                           │
//!                                InLink / OutLink ◀── Haunted ◀─────┘  one write at each access
//! ```
//! A peer writes while we read. So the memory is *haunted*: each access to a word first does the next write of the
//! script, which makes every interleaving of two processes a matter of one deterministic input.
#![allow(clippy::missing_panics_doc, reason = "a panic is what a fuzz target reports")]

use crate::arena::{Arena, Hold, Parts, RecordId};
use crate::handshake::Frame;
use crate::inlink::{InLink, Taken};
use crate::layout::{Direction, lane, link, ring};
use crate::outlink::{OutLink, Payload, Published};
use crate::promise::{Claim, Promise};
use crate::region::{Broken, Region};
use crate::segment::{self, Sharing};
use crate::slots::{Peeked, SlotReader};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::Mapping;
use crate::{Config, rendezvous, slots};
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, SealFlags};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use zerodds_core::{ConfigError, HostTag, Locator};

/// Bytes of a link object.
pub const LINK_LEN: usize = link::LEN;

/// Parses a frame, and writes what it understood.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<[u8; 64]> {
    Frame::parse(bytes).map(Frame::to_bytes)
}

/// The neighbour that a line of /proc/net/unix names.
#[must_use]
pub fn neighbour(line: &str, host: HostTag, domain_id: u32) -> Option<Locator> {
    let found = rendezvous::listener(line, host)?.locator;
    (found.port() == domain_id).then_some(found)
}

/// The configuration of an environment.
///
/// # Errors
/// As [`Config::from_env`].
pub fn config(var: impl Fn(&'static str) -> Option<OsString>) -> Result<Config, ConfigError> {
    Config::default().overlaid_with(var)
}

/// The header that an object of `len` bytes has which belongs to the link with this number.
#[must_use]
pub fn header(len: u64, owner: u64) -> [u8; 32] {
    segment::header_bytes(len, owner)
}

/// Offers a memfd of `len` bytes that begins with `content` and has these seals as an object of `claimed` bytes;
/// whether it is mapped. What is mapped is as long as was claimed, and begins with `content`.
#[must_use]
pub fn object(content: &[u8], len: u64, seals: u32, claimed: usize, owner: u64, read_only: bool) -> bool {
    let Ok(fd) = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING) else {
        return false;
    };
    // In this order, since writing makes what is shorter longer.
    if rustix::io::pwrite(&fd, content, 0).is_err() || rustix::fs::ftruncate(&fd, len).is_err() {
        return false;
    }
    let _ = rustix::fs::fcntl_add_seals(&fd, SealFlags::from_bits_retain(seals));
    let sharing = if read_only { Sharing::ReadOnly } else { Sharing::ReadWrite };
    let Ok(mapping) = segment::map(&fd, claimed, owner, sharing) else { return false };
    assert_eq!(mapping.len(), claimed, "mapped as claimed");
    let held = rustix::fs::fcntl_get_seals(&fd).unwrap_or(SealFlags::empty());
    assert!(
        held.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL),
        "it cannot change under us"
    );
    assert!(!read_only || held.contains(SealFlags::FUTURE_WRITE), "nobody but its maker writes a ring");
    true
}

/// A word of 4 or 8 bytes that the peer writes, anywhere in the link.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Where; brought into the link and aligned.
    pub at: usize,
    /// What; the lower half for 4 bytes.
    pub value: u64,
    /// 8 bytes rather than 4.
    pub wide: bool,
}

/// A link whose other side writes at each access of ours.
struct Haunted {
    memory: Mapping,
    writes: Mutex<VecDeque<Write>>,
}

impl Haunted {
    fn new() -> Self {
        let object = segment::create("fuzz", link::LEN, 1, Sharing::ReadWrite).expect("a memfd");
        Self { memory: object.mapping, writes: Mutex::default() }
    }

    fn haunt(&self) {
        if let Some(write) = self.writes.lock().pop_front() {
            self.write(write);
        }
    }

    fn write(&self, Write { at, value, wide }: Write) {
        // ORDER: Relaxed; one thread.
        if wide {
            self.memory.u64(at % (link::LEN / 8) * 8).store(value, Ordering::Relaxed);
        } else {
            self.memory.u32(at % (link::LEN / 4) * 4).store(value as u32, Ordering::Relaxed);
        }
    }

    /// Does all that is left of the script: from now on nothing changes by itself.
    fn settle(&self) {
        let writes = std::mem::take(&mut *self.writes.lock());
        writes.into_iter().for_each(|write| self.write(write));
    }
}

impl Region for Haunted {
    fn u32(&self, at: usize) -> &AtomicU32 {
        self.haunt();
        self.memory.u32(at)
    }

    fn u64(&self, at: usize) -> &AtomicU64 {
        self.haunt();
        self.memory.u64(at)
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.memory.copy_in(at, from);
    }

    fn copy_out(&self, at: usize, to: &mut [u8]) {
        self.haunt();
        self.memory.copy_out(at, to);
    }
}

/// The receiving half of a link whose sender writes whatever it likes.
pub struct Incoming {
    memory: Haunted,
    ring: Mapping,
    link: InLink,
    broken: bool,
}

impl Incoming {
    /// `trusted`: of our own user, so that messages are read in place.
    #[must_use]
    pub fn new(trusted: bool) -> Self {
        let ring = segment::create("fuzz", RING_LEN, 1, Sharing::ReadOnly).expect("a memfd").mapping;
        let link = InLink::new(WAY, RING_LEN as u64, trusted);
        Self { memory: Haunted::new(), ring, link, broken: false }
    }

    /// What the sender writes during the next operations.
    pub fn script(&mut self, write: Write) {
        self.memory.writes.lock().push_back(write);
    }

    /// What the sender writes now.
    pub fn write(&mut self, write: Write) {
        self.memory.write(write);
    }

    /// A message that is in order, if the link is: so that scripts get beyond the first.
    /// `slots`: where it lies, and where the next one will.
    pub fn publish(&mut self, slots: [u32; 2], position: u64, message: u64, [offset, len, handle]: [u32; 3]) {
        let at = WAY.slot(slots[0]);
        for (at, value, wide) in [
            (at + 8, message, true),
            (at + 16, u64::from(offset), false),
            (at + 20, u64::from(len), false),
            (at + 24, u64::from(handle), false),
            (at + 28, u64::from(slots[1]), false),
            (at, position.wrapping_add(1), true),
        ] {
            self.memory.write(Write { at: at / if wide { 8 } else { 4 }, value, wide });
        }
    }

    /// A record of the lane at `position`.
    pub fn push(&mut self, position: u64, ready: u32, message: u64) {
        let at = WAY.lane() + (position as usize % link::LANE_LEN) / 16 * 16;
        for (at, value, wide) in [(at + 8, message, true), (at, u64::from(ready), false)] {
            self.memory.write(Write { at: at / if wide { 8 } else { 4 }, value, wide });
        }
    }

    /// Takes one message; whether there was one. Everything it names lies in the ring.
    pub fn take(&mut self) -> bool {
        if self.broken {
            return false;
        }
        let (memory, ring) = (&self.memory, &self.ring);
        if self.link.take_due(memory).is_some() {
            return true;
        }
        let taken = self.link.take(
            memory,
            |at, buffer| {
                ring.copy_out(at, buffer);
                Ok(())
            },
            |handle, position| slots::release(memory, WAY, handle, position),
        );
        match taken {
            Ok(Some(Taken::Copied { bytes, .. })) => {
                assert!(bytes.len() <= RING_LEN / 4, "no longer than a message may be");
                true
            }
            Ok(Some(Taken::InPlace { at, len, handle, position })) => {
                assert!(at >= ring::HEADER_LEN && at + len <= RING_LEN, "inside the ring");
                slots::release(memory, WAY, handle, position);
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.broken = true;
                false
            }
        }
    }

    /// The link is over for us.
    pub fn close(&mut self) {
        self.link.close(&self.memory);
    }

    /// The sender stops where it is. Whatever it has left behind, we take a bounded number of messages and then sleep.
    pub fn settle(&mut self) {
        self.memory.settle();
        let messages = (0..=MESSAGES_MAX).take_while(|_| self.take()).count();
        assert!(messages <= MESSAGES_MAX, "more messages than a link holds");
        assert!(
            self.broken || !self.link.is_ready(&self.memory) || self.link.is_over(&self.memory),
            "awake beside nothing"
        );
    }
}

/// The sending half of a link whose receiver writes whatever it likes.
pub struct Outgoing {
    memory: Haunted,
    link: OutLink,
    arena: RefCell<Arena>,
    loans: Vec<RecordId>,
}

impl Outgoing {
    /// Nothing was sent.
    #[must_use]
    pub fn new() -> Self {
        let arena = Arena::new(4096, 16 << 10, 1 << 20, 256 << 10);
        Self {
            memory: Haunted::new(),
            link: OutLink::new(WAY),
            arena: RefCell::new(arena),
            loans: Vec::new(),
        }
    }

    /// What the receiver writes during the next operations.
    pub fn script(&mut self, write: Write) {
        self.memory.writes.lock().push_back(write);
    }

    /// What the receiver writes now.
    pub fn write(&mut self, write: Write) {
        self.memory.write(write);
    }

    /// The receiver takes so many messages, as a correct one does, where the words that it wrote let it.
    pub fn taken(&mut self, count: u64) {
        let mut receiver = SlotReader::new(WAY);
        for _ in 0..count {
            let Ok(Peeked::Ready(found)) = receiver.peek(&self.memory.memory) else { return };
            receiver.take(&self.memory.memory, &found);
        }
    }

    /// The receiver gives back what it took under this handle.
    pub fn released(&mut self, handle: u32, position: u64) {
        slots::release(&self.memory.memory, WAY, handle % link::HANDLES as u32, position);
    }

    /// Sends a small message.
    pub fn small(&mut self, len: usize) -> bool {
        let bytes = vec![7; len.min(1024)];
        let arena = self.arena.get_mut();
        let published = self.link.publish(&self.memory, arena, Payload::Small(&bytes), Promise::Reliable, 0);
        matches!(published, Ok(Published::Yes))
    }

    /// Sends a record of `len` bytes; `keep` keeps the loan of it.
    pub fn record(&mut self, len: u32, reliable: bool, quota: u64, keep: bool) -> bool {
        let Self { memory, link, arena, loans } = self;
        let arena = arena.get_mut();
        let found = arena.allocate(u64::from(len) + 64, Parts::All, |arena, id| {
            let start = arena.record(id).start;
            let _ = link.take_back(memory, arena, id, Claim::Loan);
            !arena.is_live(id, start)
        });
        let Some(id) = found else { return false };
        let record = *arena.record(id);
        let (first, end) = (4096, 4096 + (1 << 20) + (256 << 10));
        assert!(record.start >= first && record.start + record.len <= end, "inside the ring");
        let promise = if reliable { Promise::Reliable } else { Promise::BestEffort };
        let published = link.publish(memory, arena, Payload::Record { id, len }, promise, quota);
        if keep {
            loans.push(id);
        } else {
            arena.release(id, Hold::Firm);
        }
        matches!(published, Ok(Published::Yes | Published::Offered(_)))
    }

    /// Looks at what was taken and given back.
    pub fn reap(&mut self) {
        let _ = self.link.reap(&self.memory, self.arena.get_mut());
    }

    /// Takes back what can be taken back, as when the link is left.
    pub fn withdraw(&mut self) {
        self.link.withdraw(&self.memory, self.arena.get_mut());
    }

    /// Asks whether the receiver should be woken.
    pub fn is_filling(&mut self, quota: u64) -> Result<bool, &'static str> {
        self.link.is_filling(&self.memory, self.arena.get_mut(), quota).map_err(|Broken(why)| why)
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let (in_use, _) = self.arena.get_mut().in_use();
        assert!(self.link.waiting() <= self.link.pinned(), "what waits is pinned");
        assert!(self.link.pinned() == 0 || in_use > 0, "what is pinned is there");
    }

    /// The receiver is gone: nothing of ours is lost with it.
    pub fn gone(mut self) {
        self.memory.settle();
        let arena = self.arena.get_mut();
        self.link.abandon(arena);
        self.loans.drain(..).for_each(|id| arena.release(id, Hold::Firm));
        assert_eq!(arena.in_use().0, 0, "every byte is free again");
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

const WAY: Direction = Direction::FromConnector;
const RING_LEN: usize = 64 << 10;
/// More than lane and slots hold together.
const MESSAGES_MAX: usize = link::LANE_LEN / lane::HEADER_LEN + link::SLOTS + 1;
