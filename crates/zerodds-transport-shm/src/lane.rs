//! The lane: small messages, copied in and out, first in, first out, never taken back.
//!
//! Heartbeats, acknowledgements, discovery and small samples must get through when large samples are revoked,
//! and may not break up the big ring by being held. So they have a byte queue of their own in the link.
//!
//! ```text
//!             head (receiver)        tail (sender)
//!               │                      │
//!   ┌───────────┼──────┬───────┬───────┼─────────────┐
//!   │   free    │len|nr│payload│len|nr …     free     │   positions grow for ever, offset = position % 16 KiB
//!   └───────────┴──────┴───────┴───────┴─────────────┘   a record never wraps: PAD skips to the beginning
//! ```
//! Each word has one writer: the sender moves the tail, the receiver the head. A lane that was drained starts
//! again at its beginning once it has used its first page, so that a link that carries only discovery keeps
//! one page of it resident.

use crate::layout::{Direction, PAGE, lane, link};
use crate::region::{Broken, Region};
use crate::sync::Ordering;

/// The sending end.
#[derive(Debug)]
pub(crate) struct LaneWriter {
    direction: Direction,
    tail: u64,
    head_seen: u64,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct LaneReader {
    direction: Direction,
    head: u64,
}

/// A message at the head of the lane, not yet taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneRecord {
    /// The message's number on this link.
    pub(crate) message: u64,
    len: usize,
    position: u64,
}

const LANE_LEN: u64 = link::LANE_LEN as u64;

impl LaneWriter {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, tail: 0, head_seen: 0 }
    }

    /// Appends a message and publishes it; `false` if there is no room.
    pub(crate) fn push(
        &mut self,
        region: &impl Region,
        message: u64,
        payload: &[u8],
    ) -> Result<bool, Broken> {
        let record_len = record_len(payload.len());
        let skipped = self.bytes_to_skip(region, record_len)?;
        if self.free() < skipped + record_len {
            self.head_seen = self.checked_head(region)?;
            if self.free() < skipped + record_len {
                return Ok(false);
            }
        }
        if skipped > 0 {
            // ORDER: Relaxed; published by the store to the tail below.
            region.u32(self.at(self.tail) + lane::LENGTH).store(lane::PAD, Ordering::Relaxed);
            self.tail += skipped;
        }
        let at = self.at(self.tail);
        // ORDER: Relaxed; published by the store to the tail below.
        region.u32(at + lane::LENGTH).store(payload.len() as u32, Ordering::Relaxed);
        region.u64(at + lane::MESSAGE).store(message, Ordering::Relaxed);
        region.copy_in(at + lane::HEADER_LEN, payload);
        self.tail += record_len;
        // ORDER: SeqCst. Its Release half publishes header and payload to the Acquire in `LaneReader::peek`;
        // the total order with the load of the bell in `doorbell::ring` lets no receiver that went to
        // sleep miss the message.
        region.u64(self.direction.lane_tail()).store(self.tail, Ordering::SeqCst);
        Ok(true)
    }

    /// Whether the receiver has taken everything.
    pub(crate) fn is_drained(&mut self, region: &impl Region) -> Result<bool, Broken> {
        self.head_seen = self.checked_head(region)?;
        Ok(self.head_seen == self.tail)
    }

    /// Whether a quarter of the lane waits to be taken.
    pub(crate) fn is_filling(&mut self, region: &impl Region) -> Result<bool, Broken> {
        if self.tail - self.head_seen < LANE_LEN / 4 {
            return Ok(false);
        }
        self.head_seen = self.checked_head(region)?;
        Ok(self.tail - self.head_seen >= LANE_LEN / 4)
    }

    fn free(&self) -> u64 {
        LANE_LEN - (self.tail - self.head_seen)
    }

    /// Bytes to leave out so that the record does not wrap, or so that a drained lane starts again.
    fn bytes_to_skip(&mut self, region: &impl Region, record_len: u64) -> Result<u64, Broken> {
        let to_end = LANE_LEN - self.tail % LANE_LEN;
        if to_end < record_len {
            return Ok(to_end);
        }
        let used_first_page = self.tail % LANE_LEN >= PAGE as u64;
        Ok(if used_first_page && self.is_drained(region)? { to_end } else { 0 })
    }

    fn checked_head(&self, region: &impl Region) -> Result<u64, Broken> {
        // ORDER: Acquire; pairs with the store in `LaneReader::take`, after which the bytes may be reused.
        // TRUST: receiver-written; a head that moves back or overtakes the tail closes the link.
        let head = region.u64(self.direction.lane_head()).load(Ordering::Acquire);
        if head < self.head_seen || head > self.tail {
            return Err(Broken("the head of the lane is outside what was sent"));
        }
        Ok(head)
    }

    fn at(&self, position: u64) -> usize {
        self.direction.lane() + (position % LANE_LEN) as usize
    }
}

impl LaneReader {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, head: 0 }
    }

    /// The oldest message, if there is one.
    pub(crate) fn peek(&mut self, region: &impl Region) -> Result<Option<LaneRecord>, Broken> {
        // At most one PAD can stand before a record; two in a row are an error below.
        for _ in 0..2 {
            // ORDER: SeqCst; its Acquire half sees the record behind the tail, the total order with the setting of
            // the bell in `doorbell::arm` makes a message visible here or rings the bell.
            // TRUST: sender-written; bounded here, lengths are bounded below.
            let tail = region.u64(self.direction.lane_tail()).load(Ordering::SeqCst);
            if tail == self.head {
                return Ok(None);
            }
            let available = tail.wrapping_sub(self.head);
            if available > LANE_LEN || !available.is_multiple_of(lane::ALIGN as u64) {
                return Err(Broken("the tail of the lane is beyond its end"));
            }
            let offset = self.head % LANE_LEN;
            let at = self.direction.lane() + offset as usize;
            // ORDER: Relaxed; published by the tail.
            let len = region.u32(at + lane::LENGTH).load(Ordering::Relaxed);
            if len != lane::PAD {
                let record = LaneRecord {
                    message: region.u64(at + lane::MESSAGE).load(Ordering::Relaxed),
                    len: len as usize,
                    position: self.head,
                };
                let end = offset + record_len(record.len);
                if record.len > lane::MESSAGE_MAX || record_len(record.len) > available || end > LANE_LEN {
                    return Err(Broken("a record of the lane is longer than what was sent"));
                }
                return Ok(Some(record));
            }
            if LANE_LEN - offset > available {
                return Err(Broken("padding of the lane is longer than what was sent"));
            }
            self.advance(region, LANE_LEN - offset);
        }
        Err(Broken("padding follows padding in the lane"))
    }

    /// Whether something was sent that was not taken.
    pub(crate) fn is_ready(&self, region: &impl Region) -> bool {
        // ORDER: SeqCst, as in `peek`: this is the check between setting the bell and sleeping.
        region.u64(self.direction.lane_tail()).load(Ordering::SeqCst) != self.head
    }

    /// Copies the payload of the record that [`peek`](Self::peek) found to the end of `into` and gives its
    /// room back.
    pub(crate) fn take(&mut self, region: &impl Region, record: LaneRecord, into: &mut Vec<u8>) {
        debug_assert_eq!(record.position, self.head, "records are taken in order, once");
        let at = self.direction.lane() + (self.head % LANE_LEN) as usize + lane::HEADER_LEN;
        let start = into.len();
        into.resize(start + record.len, 0);
        region.copy_out(at, &mut into[start..]);
        self.advance(region, record_len(record.len));
    }

    fn advance(&mut self, region: &impl Region, bytes: u64) {
        self.head += bytes;
        // ORDER: SeqCst. Its Release half lets the sender reuse bytes that were copied out; the total order with
        // the load of the space word in `doorbell::notify_space` lets no sender that waits for room miss it.
        region.u64(self.direction.lane_head()).store(self.head, Ordering::SeqCst);
    }
}

const fn record_len(payload_len: usize) -> u64 {
    (lane::HEADER_LEN + payload_len).next_multiple_of(lane::ALIGN) as u64
}
