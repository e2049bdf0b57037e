//! The slots of a link: what lies in the ring, in order of sending, and who has it.
//!
//! ```text
//!   position   …  c-1    c      c+1    …   head
//!               taken │ READY   READY  …  │ free       slot = position % 1,024
//!               or    ▲                   ▲
//!            revoked  └ cursor (both)     └ sender's own
//! ```
//! One cursor is advanced by the receiver, which takes, and by the sender, which revokes; each step is a
//! compare-exchange, so no message is ever both. What a taken message occupies in the ring is given back by
//! its release handle, not by its slot, so a held message blocks no slot.
//!
//! Rejected: a state per slot (a compare-exchange on a line of its own for every message: measured slower),
//! shared reference counts (a dead or hostile receiver corrupts them).

use crate::layout::{Direction, link, release_tag, slot};
use crate::region::{Broken, Region};
use crate::sync::{Ordering, acquire_fence, release_fence};

/// The sending end.
#[derive(Debug)]
pub(crate) struct SlotWriter {
    direction: Direction,
    head: u64,
    cursor_seen: u64,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct SlotReader {
    direction: Direction,
    next: u64,
}

/// One message in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) position: u64,
    /// The message's number on this link.
    pub(crate) message: u64,
    /// Start of the payload in units of 64 bytes.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) handle: u32,
}

/// What a look at the oldest position found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peeked {
    Empty,
    Ready(Slot),
    /// The sender revokes faster than this reader looks; it must come back rather than sleep.
    Lapped,
}

const SLOTS: u64 = link::SLOTS as u64;

impl SlotWriter {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, head: 0, cursor_seen: 0 }
    }

    /// The position of the next message.
    pub(crate) const fn head(&self) -> u64 {
        self.head
    }

    /// Everything before this position was taken or revoked.
    pub(crate) fn cursor(&mut self, region: &impl Region) -> Result<u64, Broken> {
        // ORDER: Acquire; pairs with the receiver's compare-exchange: it has read the slot, and copied the payload
        // where it had to, before the cursor moved.
        // TRUST: written by the receiver too; must move forward and stay within what was sent.
        let cursor = region.u64(self.direction.cursor()).load(Ordering::Acquire);
        self.checked(cursor)
    }

    /// Whether every slot holds a message that was neither taken nor revoked.
    pub(crate) fn is_full(&mut self, region: &impl Region) -> Result<bool, Broken> {
        if self.head - self.cursor_seen < SLOTS {
            return Ok(false);
        }
        Ok(self.head - self.cursor(region)? >= SLOTS)
    }

    /// Publishes a message in the next slot, which must be free.
    pub(crate) fn publish(
        &mut self,
        region: &impl Region,
        message: u64,
        offset: u32,
        len: u32,
        handle: u32,
    ) -> u64 {
        let position = self.head;
        let at = self.direction.slot(position);
        release_fence();
        // ORDER: Relaxed; published by the sequence below. A receiver that still looks at the message that was here sees with any of
        // these words that the cursor has passed it: the fence above pairs with that in `SlotReader::peek`.
        region.u64(at + slot::MESSAGE).store(message, Ordering::Relaxed);
        region.u32(at + slot::OFFSET).store(offset, Ordering::Relaxed);
        region.u32(at + slot::LENGTH).store(len, Ordering::Relaxed);
        region.u32(at + slot::HANDLE).store(handle, Ordering::Relaxed);
        // ORDER: SeqCst. Its Release half publishes the slot and the payload to `SlotReader::peek`; the total
        // order with the load of the bell in `doorbell::ring` lets no sleeping receiver miss it.
        region.u64(at + slot::SEQUENCE).store(position + 1, Ordering::SeqCst);
        self.head += 1;
        position
    }

    /// Forgets the newest message, which the receiver was found never to take. Nothing more may be published.
    pub(crate) fn forget_newest(&mut self) {
        self.head -= 1;
    }

    /// Takes the message at `position`, the oldest one, back; `false` if the receiver had taken it.
    pub(crate) fn revoke(&mut self, region: &impl Region, position: u64) -> Result<bool, Broken> {
        // ORDER: AcqRel: of this and the receiver's compare-exchange one wins; Acquire on failure, as in `cursor`.
        let outcome = region.u64(self.direction.cursor()).compare_exchange(
            position,
            position + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match outcome {
            Ok(_) => {
                self.cursor_seen = position + 1;
                Ok(true)
            }
            Err(cursor) => {
                if self.checked(cursor)? <= position {
                    return Err(Broken("the cursor stands before a message that was revoked or taken"));
                }
                Ok(false)
            }
        }
    }

    /// Whether the receiver gave back what it took at `position` under `handle`.
    pub(crate) fn is_released(&self, region: &impl Region, handle: u32, position: u64) -> bool {
        // ORDER: Acquire; pairs with the store in `release`: the receiver's last read of the payload happened before.
        // TRUST: receiver-written; only compared.
        region.u32(self.direction.released(handle)).load(Ordering::Acquire) == release_tag(position)
    }

    fn checked(&mut self, cursor: u64) -> Result<u64, Broken> {
        if cursor < self.cursor_seen || cursor > self.head {
            return Err(Broken("the cursor is outside what was sent"));
        }
        self.cursor_seen = cursor;
        Ok(cursor)
    }
}

impl SlotReader {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, next: 0 }
    }

    /// The oldest message, if there is one. It stays the sender's until [`take`](Self::take) succeeds, but what is read of its
    /// slot belongs together, so that its number can be trusted.
    pub(crate) fn peek(&mut self, region: &impl Region) -> Result<Peeked, Broken> {
        let mut lapped_at = None;
        for _ in 0..PEEKS_MAX {
            // ORDER: Acquire; pairs with the sender's revoking compare-exchange.
            // TRUST: written by the sender too; must move forward. It may jump far while this process is stopped.
            let cursor = region.u64(self.direction.cursor()).load(Ordering::Acquire);
            if cursor < self.next {
                return Err(Broken("the cursor moved back"));
            }
            // A sender revokes a position before it uses the slot again.
            if lapped_at == Some(cursor) {
                return Err(Broken("a slot was used again before its message was taken or revoked"));
            }
            self.next = cursor;
            let at = self.direction.slot(cursor);
            // ORDER: SeqCst; its Acquire half sees slot and payload, the total order with `doorbell::arm` makes a message
            // visible here or rings the bell.
            let sequence = region.u64(at + slot::SEQUENCE).load(Ordering::SeqCst);
            if sequence <= cursor {
                return Ok(Peeked::Empty);
            }
            if sequence == cursor + 1 {
                // ORDER: Relaxed; published by the sequence. What was written after a revoking is found out below.
                let found = Slot {
                    position: cursor,
                    message: region.u64(at + slot::MESSAGE).load(Ordering::Relaxed),
                    offset: region.u32(at + slot::OFFSET).load(Ordering::Relaxed),
                    len: region.u32(at + slot::LENGTH).load(Ordering::Relaxed),
                    handle: region.u32(at + slot::HANDLE).load(Ordering::Relaxed),
                };
                acquire_fence();
                // ORDER: Relaxed; the fence pairs with that in `SlotWriter::publish`: whoever has read a word of a later message
                // sees here that the cursor has moved.
                if region.u64(self.direction.cursor()).load(Ordering::Relaxed) == cursor {
                    return Ok(Peeked::Ready(found));
                }
                continue;
            }
            // ORDER: Acquire on the sequence has ordered this: the next look sees the cursor past this position.
            lapped_at = Some(cursor);
        }
        Ok(Peeked::Lapped)
    }

    /// Whether a message is there, or was since the last look: a reader that was lapped must look again
    /// rather than sleep.
    pub(crate) fn is_ready(&self, region: &impl Region) -> bool {
        // ORDER: SeqCst, as in `peek`: this is the check between setting the bell and sleeping.
        let sequence = region.u64(self.direction.slot(self.next) + slot::SEQUENCE).load(Ordering::SeqCst);
        sequence > self.next
    }

    /// Makes the message that [`peek`](Self::peek) found the receiver's own; `false` if it was revoked
    /// meanwhile, in which case nothing that was read of its payload is valid.
    pub(crate) fn take(&mut self, region: &impl Region, position: u64) -> bool {
        // ORDER: SeqCst. Its AcqRel half orders the reads of slot and (copied) payload before the cursor moves, so that
        // the sender reuses them only afterwards; the total order with `doorbell::notify_space` is as in the lane.
        let outcome = region.u64(self.direction.cursor()).compare_exchange(
            position,
            position + 1,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        if outcome.is_ok() {
            self.next = position + 1;
        }
        outcome.is_ok()
    }
}

/// Gives a taken message's memory back. Needs no reader: messages are dropped on any thread.
pub(crate) fn release(region: &impl Region, direction: Direction, handle: u32, position: u64) {
    // ORDER: SeqCst. Its Release half orders the last read of the payload before; the total order with `doorbell::notify_space`
    // is as in the lane.
    region.u32(direction.released(handle)).store(release_tag(position), Ordering::SeqCst);
}

/// How often a reader looks again when the sender revokes faster than it reads.
const PEEKS_MAX: usize = 8;
