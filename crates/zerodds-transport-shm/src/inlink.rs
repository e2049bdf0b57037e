//! The receiving half of a link: lane and slots merged into the order of sending.
//!
//! At the end of the link the receiver closes its half, then takes what is left: see ending.rs.
//!
//! The sender numbers all messages of a link; whichever of the two heads has the smaller number is next. A head
//! that is empty is looked at again after the other was seen: what was sent earlier became visible earlier.

use crate::ending;
use crate::lane::{LaneReader, LaneRecord};
use crate::layout::{Direction, ring, slot};
use crate::region::{Broken, Region};
use crate::short::Short;
use crate::slots::{Peeked, Slot, SlotReader};

/// The receiving half of one link.
#[derive(Debug)]
pub(crate) struct InLink {
    direction: Direction,
    lane: LaneReader,
    slots: SlotReader,
    ring_len: u64,
    /// The longest message that this link may carry.
    len_max: u64,
    may_hold: bool,
    /// The number after that of the last message taken.
    taken: u64,
    end: End,
}

/// How far this half is in ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Closed; there may be messages left. Counts those taken since.
    Closed(u32),
    /// Whatever is there still was refused.
    Drained,
}

/// A message that has been taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Its bytes were copied. `frees`: its room was given back, maybe with that of others before it; a sender who waits
    /// for room must be told.
    Copied { bytes: Short, frees: bool },
    /// It lies in the ring at `at` until `handle` is released for `position`.
    InPlace { at: usize, len: usize, handle: u32, position: u64 },
}

impl InLink {
    /// A link whose peer's ring is `ring_len` bytes long. `may_hold`: whether messages may be read in place.
    pub(crate) const fn new(direction: Direction, ring_len: u64, may_hold: bool) -> Self {
        Self {
            direction,
            lane: LaneReader::new(direction),
            slots: SlotReader::new(direction),
            ring_len,
            // A ring holds four messages of the largest size.
            len_max: ring_len / 4,
            may_hold,
            taken: 0,
            end: End::Open,
        }
    }

    /// The same for messages of at most `len_max` bytes.
    pub(crate) const fn limited_to(mut self, len_max: u64) -> Self {
        if len_max < self.len_max {
            self.len_max = len_max;
        }
        self
    }

    /// Takes the next message, which [`take_due`](Self::take_due) did not find. `copy_out(at, buffer)` copies from the peer's
    /// ring; `give_back(handle, position)` releases a message that was copied although it could have been held.
    pub(crate) fn take(
        &mut self,
        link: &impl Region,
        copy_out: impl Fn(usize, &mut [u8]) -> Result<(), Broken>,
        give_back: impl Fn(u32, u64),
    ) -> Result<Option<Taken>, Broken> {
        for _ in 0..RETRIES_MAX {
            let next = self.next(link)?;
            if next.as_ref().is_some_and(|next| !self.may_take(link, next.message())) {
                return Ok(None);
            }
            match next {
                None => {
                    self.note_in_vain(link);
                    return Ok(None);
                }
                Some(Next::Lane(record)) => {
                    let (bytes, frees) = self.lane.take(link, record);
                    self.taken = record.message.wrapping_add(1);
                    return Ok(Some(Taken::Copied { bytes, frees }));
                }
                Some(Next::Slot(found)) => {
                    let (at, len) = self.parse(found)?;
                    let (handle, position) = (found.handle, found.position());
                    // What has a handle stays where it is until that is released, so it can be taken before it is copied: a
                    // sender that takes back what is not read fast enough would be faster than a copy each time.
                    let is_kept = handle != slot::NO_HANDLE;
                    let early = if is_kept { None } else { Some(copied(at, len, &copy_out)?) };
                    if !self.slots.take(link, &found) {
                        continue;
                    }
                    self.taken = found.message.wrapping_add(1);
                    if is_kept && self.may_hold {
                        return Ok(Some(Taken::InPlace { at, len, handle, position }));
                    }
                    let bytes = match early {
                        Some(bytes) => bytes,
                        None => copied(at, len, &copy_out)?,
                    };
                    if is_kept {
                        give_back(handle, position);
                    }
                    return Ok(Some(Taken::Copied { bytes: Short::Heap(bytes), frees: true }));
                }
            }
        }
        Ok(None)
    }

    /// A small message that is due, since nothing can come before it. Says whether its room was given back, as
    /// [`Taken::Copied`] does. What there is where this is `None`, [`take`](Self::take) finds out.
    #[inline(always)]
    pub(crate) fn take_due(&mut self, link: &impl Region) -> Option<(Short, bool)> {
        if self.end != End::Open {
            return None;
        }
        // A peer that broke the protocol is found out by `take`.
        let due = self.lane.peek(link).ok()?.filter(|record| record.message == self.taken)?;
        self.taken = due.message.wrapping_add(1);
        Some(self.lane.take(link, due))
    }

    /// Whether there may be something to take: asked between setting the bell and sleeping.
    pub(crate) fn is_ready(&self, link: &impl Region) -> bool {
        self.lane.is_ready(link) || self.slots.is_ready(link)
    }

    /// The link is over: whatever is sent from now on is refused, unless it is taken before its sender notices.
    /// There may be messages left to take.
    pub(crate) fn close(&mut self, link: &impl Region) {
        if self.end == End::Open {
            ending::close(link, self.direction, self.taken);
            self.end = End::Closed(0);
        }
    }

    /// Whether everything was taken that ever will be.
    pub(crate) fn is_over(&self, link: &impl Region) -> bool {
        match self.end {
            End::Open => false,
            End::Closed(_) => !self.is_ready(link),
            End::Drained => true,
        }
    }

    /// Closes, and passes over what is left, whose bytes nobody wants; how many messages that were.
    pub(crate) fn discard(&mut self, link: &impl Region) -> u64 {
        self.close(link);
        let mut count = 0;
        // What no correct peer writes ends it too.
        for _ in 0..=DRAINED_MAX {
            let next = match self.next(link) {
                Ok(Some(next)) => next,
                // Revoked, and its slot used again, while it was looked at: there is more.
                Ok(None) if !self.is_over(link) => continue,
                Ok(None) | Err(_) => break,
            };
            let message = next.message();
            if !self.may_take(link, message) {
                break;
            }
            match next {
                Next::Lane(record) => drop(self.lane.take(link, record)),
                // Revoked meanwhile: its number is claimed, and the next one comes.
                Next::Slot(slot) if !self.slots.take(link, &slot) => continue,
                Next::Slot(_) => {}
            }
            self.taken = message.wrapping_add(1);
            count += 1;
        }
        count
    }

    /// After the end a sender that has something and lets nothing be found of it, by revoking all the time, is looked at as
    /// often as one that goes on sending.
    fn note_in_vain(&mut self, link: &impl Region) {
        let End::Closed(looks) = self.end else { return };
        if !self.is_ready(link) {
            return;
        }
        self.end = if looks < DRAINED_MAX {
            End::Closed(looks + 1)
        } else {
            ending::stop(link, self.direction, self.taken);
            End::Drained
        };
    }

    /// Whether the message with this number, the oldest one, is the receiver's to take.
    fn may_take(&mut self, link: &impl Region, message: u64) -> bool {
        match self.end {
            End::Open => return true,
            End::Closed(drained) if drained >= DRAINED_MAX => ending::stop(link, self.direction, message),
            End::Closed(drained) if ending::claim(link, self.direction, message) => {
                self.end = End::Closed(drained + 1);
                return true;
            }
            End::Closed(_) | End::Drained => {}
        }
        self.end = End::Drained;
        false
    }

    fn next(&mut self, link: &impl Region) -> Result<Option<Next>, Broken> {
        let slot = self.slots.peek(link)?;
        if let Peeked::Ready(due) = slot
            && due.message == self.taken
        {
            return Ok(Some(Next::Slot(due)));
        }
        // After the slot: a lane message sent before the slot was published is visible now.
        let lane = self.lane.peek(link)?;
        Ok(match (lane, slot) {
            (_, Peeked::Lapped) | (None, Peeked::Empty) => None,
            (Some(lane), Peeked::Ready(slot)) if lane.message < slot.message => Some(Next::Lane(lane)),
            (_, Peeked::Ready(slot)) => Some(Next::Slot(slot)),
            // The slots looked empty before the lane had a message: one may have been sent before it.
            (Some(lane), Peeked::Empty) => match self.slots.peek(link)? {
                Peeked::Lapped => None,
                Peeked::Ready(slot) if slot.message < lane.message => Some(Next::Slot(slot)),
                Peeked::Ready(_) | Peeked::Empty => Some(Next::Lane(lane)),
            },
        })
    }

    /// TRUST: the slot is written by the sender; nothing outside its ring is read.
    fn parse(&self, found: Slot) -> Result<(usize, usize), Broken> {
        let at = u64::from(found.offset) * ring::UNIT as u64;
        let end = at + u64::from(found.len);
        if u64::from(found.len) > self.len_max {
            return Err(Broken("a slot names more bytes than a message may have"));
        }
        if at < (ring::HEADER_LEN + ring::RECORD_HEADER_LEN) as u64 || end > self.ring_len {
            return Err(Broken("a slot names bytes outside the ring"));
        }
        if found.handle != slot::NO_HANDLE && found.handle as usize >= crate::layout::link::HANDLES {
            return Err(Broken("a slot names a release handle that does not exist"));
        }
        Ok((at as usize, found.len as usize))
    }
}

/// A copy whose length a peer chose, within the bounds of its link: no memory for it is no reason to abort.
fn copied(
    at: usize,
    len: usize,
    copy_out: impl Fn(usize, &mut [u8]) -> Result<(), Broken>,
) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Broken("there is no memory for a copy of its message"))?;
    bytes.resize(len, 0);
    copy_out(at, &mut bytes)?;
    Ok(bytes)
}

enum Next {
    Lane(LaneRecord),
    Slot(Slot),
}

impl Next {
    const fn message(&self) -> u64 {
        match self {
            Self::Lane(record) => record.message,
            Self::Slot(slot) => slot.message,
        }
    }
}

/// Claims after which a link that is over is left, whatever may be there still: more than it holds in lane and slots, with
/// those revoked under the reader's hands. A sender that goes on sending keeps nobody here.
const DRAINED_MAX: u32 = 4096;
/// How often messages may be revoked under the reader's hands before it returns to its caller, who sees that
/// something is ready and comes back.
const RETRIES_MAX: usize = 8;

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::layout::link;
    use crate::slots::SlotWriter;
    use crate::sync::{AtomicU32, AtomicU64, Ordering};
    use crate::sys::Mapping;

    const WAY: Direction = Direction::FromConnector;

    #[test]
    fn a_sender_that_goes_on_sending_after_the_end_is_left_all_the_same() {
        let memory = Mapping::anonymous(link::LEN);
        let mut receiver = InLink::new(WAY, 1 << 20, true);
        let mut sender = SlotWriter::new(WAY);
        sender.publish(&memory, 0, 65, 64, slot::NO_HANDLE);
        receiver.close(&memory);
        let mut taken = 0;
        while !receiver.is_over(&memory) {
            // Never empty, and as if nothing had been closed.
            sender.cursor(&memory).expect("a correct receiver");
            sender.publish(&memory, taken + 1, 65, 64, slot::NO_HANDLE);
            memory.u64(WAY.end()).store(0, Ordering::Relaxed);
            let found = receiver.take(&memory, |_, _| Ok(()), |_, _| {}).expect("in order");
            taken += u64::from(found.is_some());
            assert!(taken <= u64::from(DRAINED_MAX), "kept for ever");
        }
        assert_eq!(taken, u64::from(DRAINED_MAX));
        assert!(ending::is_refused(&memory, WAY, taken) == Ok(true), "what comes now is refused");
    }

    #[test]
    fn what_has_a_handle_is_taken_before_it_is_copied_so_that_no_sender_is_faster() {
        let memory = Mapping::anonymous(link::LEN);
        let mut sender = SlotWriter::new(WAY);
        sender.publish(&memory, 0, (FIRST / UNIT) as u32, 100, 0);
        let (sender, is_back) = (std::cell::RefCell::new(sender), std::cell::Cell::new(false));
        let copied = |_: usize, _: &mut [u8]| {
            assert_eq!(sender.borrow_mut().revoke(&memory, 0), Ok(false), "it was taken");
            assert!(!is_back.get(), "its bytes are still there");
            Ok(())
        };
        let taken = InLink::new(WAY, RING_LEN, false).take(&memory, copied, |_, _| is_back.set(true));
        assert!(matches!(taken, Ok(Some(Taken::Copied { .. }))) && is_back.get());
    }

    /// A link whose sender takes back one more message whenever somebody looks how far it is.
    struct Fleeting(Mapping);

    impl Region for Fleeting {
        fn u32(&self, at: usize) -> &AtomicU32 {
            self.0.u32(at)
        }

        fn u64(&self, at: usize) -> &AtomicU64 {
            let word = self.0.u64(at);
            if at == WAY.cursor() {
                // Further, and in another slot.
                let cursor = word.load(Ordering::Relaxed) + link::SLOTS as u64 + 1;
                word.store(cursor, Ordering::Relaxed);
                let next = WAY.slot((cursor % link::SLOTS as u64) as u32);
                self.0.u64(next + slot::SEQUENCE).store(u64::MAX, Ordering::Relaxed);
            }
            word
        }

        fn copy_in(&self, at: usize, from: &[u8]) {
            self.0.copy_in(at, from);
        }

        fn copy_out(&self, at: usize, to: &mut [u8]) {
            self.0.copy_out(at, to);
        }
    }

    #[test]
    fn a_sender_that_revokes_for_ever_after_the_end_is_left_all_the_same() {
        let memory = Mapping::anonymous(link::LEN);
        let memory = Fleeting(memory);
        let mut receiver = InLink::new(WAY, 1 << 20, true);
        receiver.close(&memory);
        let mut looks = 0;
        while !receiver.is_over(&memory) {
            assert!(
                matches!(receiver.take(&memory, |_, _| Ok(()), |_, _| {}), Ok(None)),
                "nothing can be caught"
            );
            looks += 1;
            assert!(looks <= DRAINED_MAX + 1, "kept for ever");
        }
    }

    const RING_LEN: u64 = 1 << 20;
    const UNIT: u64 = ring::UNIT as u64;
    const FIRST: u64 = (ring::HEADER_LEN + ring::RECORD_HEADER_LEN) as u64;

    /// What comes of a slot that names these bytes and this handle.
    fn named(at: u64, len: u32, handle: u32) -> Result<Option<Taken>, Broken> {
        let memory = Mapping::anonymous(link::LEN);
        SlotWriter::new(WAY).publish(&memory, 0, (at / UNIT) as u32, len, handle);
        let copied = |at: usize, buffer: &mut [u8]| {
            assert!((at + buffer.len()) as u64 <= RING_LEN);
            Ok(())
        };
        InLink::new(WAY, RING_LEN, true).take(&memory, copied, |_, _| {})
    }

    #[test]
    fn a_message_longer_than_the_link_may_carry_is_refused_before_it_is_copied() {
        const LIMIT: u64 = 100_000;
        let memory = Mapping::anonymous(link::LEN);
        let mut sender = SlotWriter::new(WAY);
        let mut receiver = InLink::new(WAY, RING_LEN, false).limited_to(LIMIT);
        let mut take = |len: u64| {
            sender.publish(&memory, 0, (FIRST / UNIT) as u32, len as u32, slot::NO_HANDLE);
            let copied = |_: usize, buffer: &mut [u8]| {
                assert!(buffer.len() as u64 <= LIMIT, "copied");
                Ok(())
            };
            receiver.take(&memory, copied, |_, _| {}).map(|taken| taken.is_some())
        };
        assert_eq!(take(LIMIT), Ok(true));
        assert!(take(LIMIT + 1).is_err());
    }

    #[test]
    fn a_slot_that_names_bytes_outside_the_ring_is_refused() {
        for handle in [0, slot::NO_HANDLE] {
            assert!(matches!(named(FIRST, 100, handle), Ok(Some(_))));
            assert!(matches!(named(RING_LEN - UNIT, 64, handle), Ok(Some(_))), "the last bytes of the ring");
            for (at, len) in [
                (RING_LEN - UNIT, 65),
                (RING_LEN, 1),
                (u64::from(u32::MAX) * UNIT, 1),
                (0, 1),
                (FIRST - UNIT, 1),
                (FIRST, u32::MAX),
                (FIRST, RING_LEN as u32 / 4 + 1),
            ] {
                assert!(named(at, len, handle).is_err(), "{len} bytes at {at}");
            }
        }
    }
}
