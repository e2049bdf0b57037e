//! The sending half of a link: what was sent to one peer, and who still has it.
//!
//! ```text
//!   publish ──▶ queued (READY) ──taken in place──▶ held ──released──▶ reference dropped
//!                  │ └─taken by copy──────────────────────────────▶ reference dropped
//!                  ├─revoked (best effort)────────────────────────▶ reference dropped, counted lost
//!                  └─refused (the receiver has closed the link)────▶ reference dropped, the send says so
//! ```
//! All of it is private to the sender. The peer's words are read through [`LaneWriter`] and [`SlotWriter`],
//! which check them; the first inconsistency is an error that closes the link.

use crate::arena::{Arena, Hold, Record, RecordId};
use crate::ending;
use crate::lane::LaneWriter;
use crate::layout::{Direction, lane, link, ring, slot};
use crate::region::{Broken, Region};
use crate::slots::SlotWriter;
use std::collections::VecDeque;
use zerodds_core::Delivery;

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

impl Promise {
    pub(crate) const fn of(delivery: Delivery) -> Self {
        match delivery {
            Delivery::BestEffort => Self::BestEffort,
            Delivery::Reliable { .. } => Self::Reliable,
        }
    }

    const fn hold(self) -> Hold {
        match self {
            Self::BestEffort => Hold::Loose,
            Self::Reliable => Hold::Firm,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Yes,
    /// There is no room for it now.
    Full,
    /// The receiver has closed the link: it will not take this message, nor any later one.
    Refused,
}

/// The sending half of one link.
#[derive(Debug)]
pub(crate) struct OutLink {
    direction: Direction,
    lane: LaneWriter,
    slots: SlotWriter,
    /// Number of the next message.
    message: u64,
    queued: VecDeque<Queued>,
    held: Vec<Held>,
    free_handles: Vec<u32>,
    handles_made: u32,
    /// Ring bytes that queued and held messages pin.
    pinned: u64,
    /// Those of the queued ones.
    waiting: u64,
    /// Best-effort messages that were taken back.
    lost: u64,
    /// A message was refused.
    refused: bool,
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
    /// A link on which nothing was sent yet.
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            lane: LaneWriter::new(direction),
            slots: SlotWriter::new(direction),
            message: 0,
            queued: VecDeque::new(),
            held: Vec::new(),
            free_handles: Vec::new(),
            handles_made: 0,
            pinned: 0,
            waiting: 0,
            lost: 0,
            refused: false,
        }
    }

    /// Sends a message: a small one in the lane, a record of the ring through a slot. At most `quota` bytes of the
    /// ring may be pinned by this link, one message excepted.
    pub(crate) fn publish(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        payload: Payload<'_>,
        promise: Promise,
        quota: u64,
    ) -> Result<Published, Broken> {
        if self.refused {
            return Ok(Published::Refused);
        }
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
                if record.in_reserve || self.is_over(quota, record) {
                    self.reap(region, arena)?;
                }
                match self.admit(record, promise, quota) {
                    Admission::Refused => return Ok(Published::Full),
                    Admission::InPlace(handle) => {
                        self.enqueue(region, id, record, len, Some(handle), promise)
                    }
                    Admission::Copied => self.enqueue(region, id, record, len, None, promise),
                }
                arena.retain(id, promise.hold());
            }
        }
        let message = self.message;
        self.message += 1;
        if !ending::is_refused(region, self.direction, message)? {
            return Ok(Published::Yes);
        }
        self.refused = true;
        if let Payload::Record { .. } = payload {
            self.forget_newest(arena);
        }
        Ok(Published::Refused)
    }

    /// Drops the references of everything that was taken and given back since the last call.
    pub(crate) fn reap(&mut self, region: &impl Region, arena: &mut Arena) -> Result<(), Broken> {
        if !self.queued.is_empty() {
            let cursor = self.slots.cursor(region)?;
            while self.oldest() < cursor {
                let position = self.oldest();
                let Some(taken) = self.queued.pop_front() else { break };
                self.waiting -= taken.bytes;
                match taken.handle {
                    Some(handle) => {
                        if taken.promise == Promise::BestEffort {
                            arena.make_firm(taken.record);
                        }
                        self.held.push(Held { record: taken.record, bytes: taken.bytes, handle, position });
                    }
                    None => {
                        self.pinned -= taken.bytes;
                        arena.release(taken.record, taken.promise.hold());
                    }
                }
            }
        }
        let mut index = 0;
        while let Some(held) = self.held.get(index) {
            if self.slots.is_released(region, held.handle, held.position) {
                let held = self.held.swap_remove(index);
                self.free_handles.push(held.handle);
                self.pinned -= held.bytes;
                arena.release(held.record, Hold::Firm);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// Takes back best-effort messages, oldest first, up to the last that references `record`. Stops at a reliable
    /// one; what the receiver takes meanwhile stays taken.
    pub(crate) fn take_back(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        record: RecordId,
    ) -> Result<(), Broken> {
        let Some(last) = self.queued.iter().rposition(|queued| queued.record == record) else {
            return Ok(());
        };
        if self.queued.iter().take(last + 1).any(|queued| queued.promise == Promise::Reliable) {
            return Ok(());
        }
        let target = self.oldest() + last as u64;
        while !self.queued.is_empty() && self.oldest() <= target {
            if !self.revoke_oldest(region, arena)? {
                self.reap(region, arena)?;
            }
        }
        Ok(())
    }

    /// The link is being left: takes back the best-effort messages that come before the first reliable one. All others
    /// stay for the peer, who drains the link; what it has taken it keeps until it says otherwise. A peer that
    /// breaks the protocol even now keeps everything.
    pub(crate) fn withdraw(&mut self, region: &impl Region, arena: &mut Arena) {
        while self.queued.front().is_some_and(|queued| queued.promise == Promise::BestEffort) {
            let step = match self.revoke_oldest(region, arena) {
                Ok(true) => Ok(()),
                Ok(false) => self.reap(region, arena),
                Err(broken) => Err(broken),
            };
            if step.is_err() {
                return;
            }
        }
    }

    /// Drops every reference: nobody reads this link's messages any more.
    pub(crate) fn abandon(&mut self, arena: &mut Arena) {
        for queued in self.queued.drain(..) {
            arena.release(queued.record, queued.promise.hold());
        }
        for held in self.held.drain(..) {
            arena.release(held.record, Hold::Firm);
        }
    }

    /// Best-effort messages taken back since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Ring bytes that this link pins.
    pub(crate) const fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Those of them that the receiver has not taken.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Whether a quarter of what this link may take waits to be taken: of its lane, its slots or its `quota` of the ring.
    pub(crate) fn is_filling(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        quota: u64,
    ) -> Result<bool, Broken> {
        let much = |out: &Self| 4 * out.queued.len() >= link::SLOTS || 4 * out.waiting >= quota;
        if much(self) {
            self.reap(region, arena)?;
        }
        Ok(much(self) || self.lane.is_filling(region)?)
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
            self.waiting -= revoked.bytes;
            self.free_handles.extend(revoked.handle);
            self.pinned -= revoked.bytes;
            arena.release(revoked.record, revoked.promise.hold());
            self.lost += 1;
        }
        Ok(true)
    }

    /// Drops the reference of the message published last, of which the receiver reads nothing.
    fn forget_newest(&mut self, arena: &mut Arena) {
        if let Some(refused) = self.queued.pop_back() {
            self.slots.forget_newest();
            self.waiting -= refused.bytes;
            self.free_handles.extend(refused.handle);
            self.pinned -= refused.bytes;
            arena.release(refused.record, refused.promise.hold());
        }
    }

    fn is_over(&self, quota: u64, record: Record) -> bool {
        self.pinned > 0 && self.pinned + record.len > quota
    }

    /// How a record may travel: in place within the quota, otherwise copied by its receiver. A reliable message
    /// cannot be taken back, so beyond the quota, and in the reserve, it waits unless nothing else is queued.
    fn admit(&mut self, record: Record, promise: Promise, quota: u64) -> Admission {
        let over_quota = self.is_over(quota, record);
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
        self.pinned += record.len;
        self.waiting += record.len;
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
