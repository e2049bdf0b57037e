//! The lane: small messages, copied in and out, first in, first out, never taken back.
//!
//! Heartbeats, acknowledgements, discovery and small samples must get through when large samples are revoked,
//! and may not break up the big ring by being held. So they have a byte queue of their own in the link.
//!
//! ```text
//!             head (receiver)        tail (sender's own)
//!               │                      │
//!   ┌───────────┼──────┬───────┬───────┼─────────────┐
//!   │   free    │ready │payload│ready …│0    free    │   positions grow for ever, offset = position % 16 KiB
//!   └───────────┴──────┴───────┴───────┴─────────────┘   a record never wraps: PAD skips to the beginning
//! ```
//! Each record says itself that it is there: its first word is written last, and the first word behind it is zeroed
//! before. So the receiver looks where the message will be, and a message crosses from core to core with the
//! cache line that announces it. A lane that is drained where a page of it ends starts again at its beginning, so that a
//! link that carries only discovery keeps one page of it resident. The receiver has read the lines that are written next,
//! a round ago, and has them still: the sender asks for them ahead of time, as far as it knows them to be free, since each
//! message waits for its own to be there.
//!
//! Rejected: a shared tail: one cache line more that goes to and fro for every message.

use crate::layout::{Direction, PAGE, lane, link};
use crate::region::{Broken, Region};
use crate::short::{PIECE, Short};
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
    /// The head as the sender sees it.
    head_told: u64,
    /// Messages taken since it was found empty.
    run: u32,
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
        // The word behind the record is written too.
        let needed = skipped + record_len + lane::HEADER_LEN as u64;
        if self.free() < needed {
            self.head_seen = self.checked_head(region)?;
            if self.free() < needed {
                return Ok(false);
            }
        }
        let tail = self.tail;
        let first = self.at(tail);
        let at = self.at(tail + skipped);
        self.tail += skipped + record_len;
        // ORDER: Relaxed; published by the store below.
        region.u32(self.at(self.tail) + lane::READY).store(lane::NOTHING, Ordering::Relaxed);
        region.u64(at + lane::MESSAGE).store(message, Ordering::Relaxed);
        region.copy_in(at + lane::HEADER_LEN, payload);
        let mut word = lane::ready(payload.len(), tail + skipped);
        if skipped > 0 {
            // ORDER: Relaxed; nobody looks here before the PAD.
            region.u32(at + lane::READY).store(word, Ordering::Relaxed);
            word = lane::pad(tail);
        }
        // ORDER: SeqCst. Its Release half publishes header and payload to the Acquire in `LaneReader::peek`;
        // the total order with the load of the bell in `doorbell::ring` lets no receiver that went to
        // sleep miss the message.
        region.u32(first + lane::READY).store(word, Ordering::SeqCst);
        if self.free() >= AHEAD + record_len {
            let lines = (0..record_len).step_by(LINE);
            lines.for_each(|line| region.will_write(self.at(self.tail + AHEAD + line)));
        }
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
        let page = |position: u64| position / PAGE as u64;
        let ends_page = page(self.tail) != page(self.tail + record_len);
        Ok(if ends_page && self.is_drained(region)? { to_end } else { 0 })
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
        offset(self.direction, position)
    }
}

impl LaneReader {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, head: 0, head_told: 0, run: 0 }
    }

    /// The oldest message, if there is one.
    #[inline(always)]
    pub(crate) fn peek(&mut self, region: &impl Region) -> Result<Option<LaneRecord>, Broken> {
        let mut word = self.look(region);
        if word == lane::pad(self.head) {
            let offset = self.head % LANE_LEN;
            if offset == 0 {
                return Err(Broken("the lane begins with padding"));
            }
            // Told with the next record that is taken.
            self.head += LANE_LEN - offset;
            // Published with the PAD.
            word = self.look(region);
        }
        if word == lane::NOTHING {
            self.run = 0;
            return Ok(None);
        }
        // TRUST: sender-written. What was taken in an earlier round, or was never sent, is no message: else a lane
        // without end would keep its reader busy for ever.
        if word & !lane::LENGTH_MASK != lane::round(self.head) {
            return Err(Broken("a record of the lane belongs to another round"));
        }
        let len = ((word & lane::LENGTH_MASK) as usize).wrapping_sub(1);
        if len > lane::MESSAGE_MAX || self.head % LANE_LEN + record_len(len) > LANE_LEN {
            return Err(Broken(
                "a record of the lane is longer than a message may be, or reaches beyond its end",
            ));
        }
        let at = self.at(self.head);
        // ORDER: Relaxed; published by the first word.
        let message = region.u64(at + lane::MESSAGE).load(Ordering::Relaxed);
        Ok(Some(LaneRecord { message, len, position: self.head }))
    }

    /// Whether something was sent that was not taken.
    #[inline]
    pub(crate) fn is_ready(&self, region: &impl Region) -> bool {
        self.look(region) != lane::NOTHING
    }

    /// The first word at the head.
    #[inline]
    fn look(&self, region: &impl Region) -> u32 {
        let at = self.at(self.head);
        // ORDER: SeqCst; its Acquire half sees the record, the total order with the setting of the bell in
        // `doorbell::arm` makes a message visible here or rings the bell.
        region.u32(at + lane::READY).load(Ordering::SeqCst)
    }

    /// Copies the payload of the record that [`peek`](Self::peek) found. Room is given back for several at once: whether
    /// it was now, so that a sender who waits for it must be told. What is left over in a lane that is empty is too little
    /// to be waited for.
    #[inline(always)]
    pub(crate) fn take(&mut self, region: &impl Region, record: LaneRecord) -> (Short, bool) {
        debug_assert_eq!(record.position, self.head, "records are taken in order, once");
        let at = self.at(self.head) + lane::HEADER_LEN;
        let bytes = Short::copied(record.len, |from, piece| region.copy_out(at + from, piece));
        let record_len = record_len(record.len);
        self.head += record_len;
        self.ask_ahead(region, record_len);
        let frees = self.head - self.head_told >= TOLD_AT;
        let head = region.u64(self.direction.lane_head());
        if frees {
            self.head_told = self.head;
            // ORDER: SeqCst. Its Release half lets the sender reuse bytes that were copied out; the total order with
            // the load of the space word in `doorbell::notify_space` lets no sender that waits for room miss it.
            head.store(self.head, Ordering::SeqCst);
        } else if !self.is_ready(region) {
            // ORDER: Release, as above. A sender finds the lane drained by it, and waits for more room than this gives.
            head.store(self.head, Ordering::Release);
        }
        (bytes, frees)
    }

    fn at(&self, position: u64) -> usize {
        offset(self.direction, position)
    }

    /// Where a message begins the one before it says, so of lines that come from another processor each would be waited for by itself.
    /// Asked for ahead they come together. They are the ones that the sender writes, though, unless it is far ahead: as it is of
    /// a receiver that has found the lane filled for long.
    #[inline]
    fn ask_ahead(&mut self, region: &impl Region, record_len: u64) {
        self.run = self.run.saturating_add(1);
        if self.run >= LONG_RUN {
            let lines = (0..record_len).step_by(LINE);
            lines.for_each(|line| region.will_read(self.at(self.head + AHEAD + line)));
        }
    }
}

/// How far ahead of its messages a side asks for the lines that it will use: some messages, since a line comes from another
/// processor as late as several of them.
const AHEAD: u64 = 512;
/// Messages that were taken without finding the lane empty, after which the sender counts as far ahead.
const LONG_RUN: u32 = 128;
/// What comes from another processor at once.
const LINE: usize = 64;
// Of a record whole pieces are read.
const _: () = assert!(lane::HEADER_LEN.is_multiple_of(PIECE) && lane::ALIGN.is_multiple_of(PIECE));
/// Bytes that are given back at the latest when they are this many.
// In the model more than one record of its, so that some are told of and some are not.
const TOLD_AT: u64 = if cfg!(zerodds_model) { 48 } else { LANE_LEN / 8 };
// A sender that finds no room waits for more than that: the longest record, and as much again at the end of the lane.
const _: () = assert!(cfg!(zerodds_model) || 2 * record_len(lane::MESSAGE_MAX) + TOLD_AT < LANE_LEN);

/// Where in the link a position of a lane lies.
const fn offset(direction: Direction, position: u64) -> usize {
    direction.lane() + (position % LANE_LEN) as usize
}

const fn record_len(payload_len: usize) -> u64 {
    (lane::HEADER_LEN + payload_len).next_multiple_of(lane::ALIGN) as u64
}

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::sys::Mapping;

    const WAY: Direction = Direction::FromConnector;
    /// So many go through a lane several times; Miri is slow.
    const MESSAGES: u64 = if cfg!(miri) { 200 } else { 10_000 };

    #[test]
    fn what_lay_there_on_the_last_round_is_no_message() {
        let memory = Mapping::anonymous(link::LEN);
        let (mut writer, mut reader) = (LaneWriter::new(WAY), LaneReader::new(WAY));
        for message in 0..MESSAGES {
            // Bytes that look like the first word of a record of the next round, at every multiple of 16 in turn.
            let payload = lane::ready(3, writer.tail + LANE_LEN).to_le_bytes().repeat(lane::MESSAGE_MAX / 4);
            let len = (message * 48 + message / 7) as usize % (lane::MESSAGE_MAX + 1);
            assert_eq!(writer.push(&memory, message, &payload[..len]), Ok(true));
            let record = reader.peek(&memory).expect("a correct sender").expect("a message");
            assert_eq!((record.message, record.len), (message, len));
            assert_eq!(reader.take(&memory, record).0[..], payload[..len]);
            assert!(!reader.is_ready(&memory), "behind message {message} there is none");
        }
    }

    #[test]
    fn a_full_lane_takes_no_more_until_room_is_given_back() {
        let memory = Mapping::anonymous(link::LEN);
        let (mut writer, mut reader) = (LaneWriter::new(WAY), LaneReader::new(WAY));
        let mut sent = 0;
        while writer.push(&memory, sent, &[7; 100]).expect("a correct receiver") {
            sent += 1;
        }
        assert!(sent >= LANE_LEN / 150, "{sent} messages fit");
        for message in 0..sent {
            let record = reader.peek(&memory).expect("a correct sender").expect("a message");
            assert_eq!(record.message, message);
            reader.take(&memory, record);
        }
        assert_eq!(writer.push(&memory, sent, &[7; 100]), Ok(true));
        assert!(reader.is_ready(&memory));
    }

    #[test]
    fn words_that_no_correct_sender_writes_end_the_link() {
        let other_round = lane::ready(3, LANE_LEN);
        for word in [lane::ready(lane::MESSAGE_MAX, 0) + 1, lane::pad(0) - 1, lane::pad(0), other_round] {
            let memory = Mapping::anonymous(link::LEN);
            memory.u32(WAY.lane() + lane::READY).store(word, Ordering::Relaxed);
            assert!(LaneReader::new(WAY).peek(&memory).is_err(), "{word:#x}");
        }
    }

    #[test]
    fn a_lane_in_which_everything_seems_ready_is_read_once_around_at_most() {
        let memory = Mapping::anonymous(link::LEN);
        for at in (0..link::LANE_LEN).step_by(lane::ALIGN) {
            memory.u32(WAY.lane() + at).store(lane::ready(0, 0), Ordering::Relaxed);
        }
        let mut reader = LaneReader::new(WAY);
        let mut taken = 0;
        while let Ok(Some(record)) = reader.peek(&memory) {
            reader.take(&memory, record);
            taken += 1;
            assert!(taken <= LANE_LEN, "more messages than a lane holds");
        }
        assert!(reader.peek(&memory).is_err(), "the link ends");
    }
}
