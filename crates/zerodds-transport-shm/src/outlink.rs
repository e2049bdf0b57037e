//! The sending half of a link: what was sent to one peer, and who still has it.
//!
//! ```text
//!   publish ──▶ queued (READY) ──taken in place──▶ held ──released──▶ reference dropped
//!                  │ └─taken by copy──────────────────────────────▶ reference dropped
//!                  └─revoked (best effort)────────────────────────▶ reference dropped, counted lost
//! ```
//! All of it is private to the sender. The peer's words are read through [`LaneWriter`] and [`SlotWriter`],
//! which check them; the first inconsistency is an error that closes the link.

use crate::arena::{Arena, Record, RecordId};
use crate::lane::LaneWriter;
use crate::layout::{Direction, lane, link, ring, slot};
use crate::region::{Broken, Region};
use crate::slots::SlotWriter;
use std::collections::VecDeque;

/// What is to be sent: bytes for the lane, or a record of the ring.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Small(&'a [u8]),
    Record { id: RecordId, len: u32 },
}

/// Whether a message may be taken back to make room for later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    BestEffort,
    Reliable,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Yes,
    /// There is no room for it now.
    Full,
}

/// The sending half of one link.
#[derive(Debug)]
pub(crate) struct OutLink {
    lane: LaneWriter,
    slots: SlotWriter,
    /// Number of the next message.
    message: u64,
    queued: VecDeque<Queued>,
    held: Vec<Held>,
    free_handles: Vec<u32>,
    handles_made: u32,
    /// Ring bytes that messages queued for in-place reading and held messages pin.
    pinned: u64,
    /// What `pinned` may not exceed, one message excepted.
    quota: u64,
    /// Best-effort messages that were taken back or found no room.
    pub(crate) lost: u64,
}

#[derive(Debug)]
struct Queued {
    record: RecordId,
    bytes: u64,
    /// `None`: the receiver copies before it takes.
    handle: Option<u32>,
    promise: Promise,
}

#[derive(Debug)]
struct Held {
    record: RecordId,
    bytes: u64,
    handle: u32,
    position: u64,
}

impl OutLink {
    /// A link on which at most `quota` bytes of the ring may be pinned in place.
    pub(crate) fn new(direction: Direction, quota: u64) -> Self {
        Self {
            lane: LaneWriter::new(direction),
            slots: SlotWriter::new(direction),
            message: 0,
            queued: VecDeque::new(),
            held: Vec::new(),
            free_handles: Vec::new(),
            handles_made: 0,
            pinned: 0,
            quota,
            lost: 0,
        }
    }

    /// Sends a message, in the lane if it is small and there is room, otherwise through the ring.
    pub(crate) fn publish(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        payload: Payload<'_>,
        promise: Promise,
    ) -> Result<Published, Broken> {
        match payload {
            Payload::Small(bytes) => {
                debug_assert!(bytes.len() <= lane::MESSAGE_MAX, "larger messages are records");
                if !self.lane.push(region, self.message, bytes)? {
                    return Ok(Published::Full);
                }
            }
            Payload::Record { id, len } => {
                if !self.has_slot(region, arena, promise)? {
                    return Ok(Published::Full);
                }
                let record = *arena.record(id);
                if self.is_over_quota(record) {
                    self.reap(region, arena)?;
                }
                match self.admit(record, promise) {
                    Admission::Refused => return Ok(Published::Full),
                    Admission::InPlace(handle) => {
                        self.enqueue(region, id, record, len, Some(handle), promise)
                    }
                    Admission::Copied => self.enqueue(region, id, record, len, None, promise),
                }
                arena.retain(id);
            }
        }
        self.message += 1;
        Ok(Published::Yes)
    }

    /// Drops the references of everything that was taken and given back since the last call.
    pub(crate) fn reap(&mut self, region: &impl Region, arena: &mut Arena) -> Result<(), Broken> {
        if !self.queued.is_empty() {
            let cursor = self.slots.cursor(region)?;
            while self.oldest() < cursor {
                let position = self.oldest();
                let Some(taken) = self.queued.pop_front() else { break };
                match taken.handle {
                    Some(handle) => {
                        self.held.push(Held { record: taken.record, bytes: taken.bytes, handle, position });
                    }
                    None => arena.drop_reference(taken.record),
                }
            }
        }
        let mut index = 0;
        while let Some(held) = self.held.get(index) {
            if self.slots.is_released(region, held.handle, held.position) {
                let held = self.held.swap_remove(index);
                self.free_handles.push(held.handle);
                self.pinned -= held.bytes;
                arena.drop_reference(held.record);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// Takes back messages, oldest first, until `record` is not queued here any more; [`references`](Self::references)
    /// has said that they are best effort. `false` if the receiver took the record meanwhile.
    pub(crate) fn take_back(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        record: RecordId,
    ) -> Result<bool, Broken> {
        let Some(last) = self.queued.iter().rposition(|queued| queued.record == record) else {
            return Ok(!self.holds(record));
        };
        for _ in 0..=last {
            if !self.revoke_oldest(region, arena)? {
                self.reap(region, arena)?;
            }
        }
        Ok(!self.holds(record))
    }

    /// How many references to `record` this link has, and whether all of them could be taken back.
    pub(crate) fn references(&self, record: RecordId) -> (u32, bool) {
        let mut count = 0;
        let mut free = !self.holds(record);
        let mut reliable_before = false;
        for queued in &self.queued {
            reliable_before |= queued.promise == Promise::Reliable;
            if queued.record == record {
                count += 1;
                free &= !reliable_before;
            }
        }
        (count, free)
    }

    fn holds(&self, record: RecordId) -> bool {
        self.held.iter().any(|held| held.record == record)
    }

    /// Drops every reference: the link is closed, its peer is gone.
    pub(crate) fn abandon(&mut self, arena: &mut Arena) {
        self.abandon_queued(arena);
        for held in self.held.drain(..) {
            arena.drop_reference(held.record);
        }
    }

    /// Drops the references of what was not taken: the peer takes nothing more but may still hold something.
    pub(crate) fn abandon_queued(&mut self, arena: &mut Arena) {
        for queued in self.queued.drain(..) {
            arena.drop_reference(queued.record);
        }
    }

    /// Whether nothing of the ring is referenced by this link.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.held.is_empty()
    }

    fn oldest(&self) -> u64 {
        self.slots.head() - self.queued.len() as u64
    }

    fn has_slot(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        promise: Promise,
    ) -> Result<bool, Broken> {
        if !self.slots.is_full(region)? {
            return Ok(true);
        }
        self.reap(region, arena)?;
        let oldest_may_go = self.queued.front().is_some_and(|queued| queued.promise == Promise::BestEffort);
        if promise == Promise::BestEffort && oldest_may_go {
            self.revoke_oldest(region, arena)?;
            self.reap(region, arena)?;
        }
        Ok(!self.slots.is_full(region)?)
    }

    /// Whether the oldest queued message was taken back; otherwise the receiver has just taken it.
    fn revoke_oldest(&mut self, region: &impl Region, arena: &mut Arena) -> Result<bool, Broken> {
        if self.queued.is_empty() || !self.slots.revoke(region, self.oldest())? {
            return Ok(false);
        }
        if let Some(revoked) = self.queued.pop_front() {
            if let Some(handle) = revoked.handle {
                self.free_handles.push(handle);
                self.pinned -= revoked.bytes;
            }
            arena.drop_reference(revoked.record);
            self.lost += 1;
        }
        Ok(true)
    }

    fn is_over_quota(&self, record: Record) -> bool {
        self.pinned > 0 && self.pinned + record.len > self.quota
    }

    /// How a record may travel: in place within the quota; otherwise it is copied by its receiver. A reliable
    /// message cannot be taken back, so beyond the quota it waits, unless nothing else is queued.
    fn admit(&mut self, record: Record, promise: Promise) -> Admission {
        let over_quota = self.is_over_quota(record);
        if promise == Promise::Reliable && (over_quota || record.in_reserve) && !self.queued.is_empty() {
            return Admission::Refused;
        }
        if over_quota || record.in_reserve || record.len <= HELD_MIN {
            return Admission::Copied;
        }
        match self.free_handles.pop() {
            Some(handle) => Admission::InPlace(handle),
            None if (self.handles_made as usize) < link::HANDLES => {
                self.handles_made += 1;
                Admission::InPlace(self.handles_made - 1)
            }
            None => Admission::Copied,
        }
    }

    fn enqueue(
        &mut self,
        region: &impl Region,
        id: RecordId,
        record: Record,
        len: u32,
        handle: Option<u32>,
        promise: Promise,
    ) {
        let offset = (record.start as usize + ring::RECORD_HEADER_LEN) / ring::UNIT;
        let word = handle.unwrap_or(slot::NO_HANDLE);
        self.slots.publish(region, self.message, offset as u32, len, word);
        if handle.is_some() {
            self.pinned += record.len;
        }
        self.queued.push_back(Queued { record: id, bytes: record.len, handle, promise });
    }
}

/// Records up to this many bytes are always copied out: quicker than giving them back, and held for ever they
/// would break up the ring.
const HELD_MIN: u64 = 4096;

enum Admission {
    InPlace(u32),
    Copied,
    Refused,
}
