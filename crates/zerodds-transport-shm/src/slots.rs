//! The slots of a link: what lies in the ring, in order of sending, and who has it.
//!
//! ```text
//!   position   …  c-1    c      c+1    …   head
//!               taken │ READY   READY  …  │ free       each slot names that of the next position
//!               or    ▲                   ▲
//!            revoked  └ cursor (both)     └ sender's own
//! ```
//! One cursor is advanced by the receiver, which takes, and by the sender, which revokes; each step is a
//! compare-exchange, so no message is ever both. What a taken message occupies in the ring is given back by
//! its release handle, not by its slot, so a held message blocks no slot.
//!
//! The sender uses a page of slots again and again, and further ones while more messages wait than it has slots: so a
//! link has as many of its pages in memory as its receiver was ever behind.
//!
//! Rejected: a state per slot (a compare-exchange on a line of its own for every message: measured slower),
//! shared reference counts (a dead or hostile receiver corrupts them), slots in turn (all of their pages are in memory soon).

use crate::layout::{Direction, PAGE, link, release_tag, slot};
use crate::region::{Broken, Region};
use crate::sync::{Ordering, acquire_fence, release_fence};

/// The sending end.
#[derive(Debug)]
pub(crate) struct SlotWriter {
    direction: Direction,
    /// Where the next message goes.
    head: Place,
    /// The oldest message that was neither taken nor revoked, as far as is known.
    oldest: Place,
    /// For each slot that was ever chosen the one after it, in a circle: from the oldest message to the newest, the head, and
    /// those that are free, in the order in which they were emptied.
    after: Vec<u32>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct SlotReader {
    direction: Direction,
    next: Place,
}

/// A position and its slot: what the cursor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    position: u64,
    slot: u32,
}

impl Place {
    const FIRST: Self = Self { position: 0, slot: 0 };

    const fn of(cursor: u64) -> Self {
        Self { position: cursor / SLOTS, slot: (cursor % SLOTS) as u32 }
    }

    const fn cursor(self) -> u64 {
        // Only a hostile sender's positions reach the end of the word.
        self.position.wrapping_mul(SLOTS) + self.slot as u64
    }
}

/// One message in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    place: Place,
    next: Place,
    /// The message's number on this link.
    pub(crate) message: u64,
    /// Start of the payload in units of 64 bytes.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) handle: u32,
}

impl Slot {
    pub(crate) const fn position(&self) -> u64 {
        self.place.position
    }
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
    pub(crate) fn new(direction: Direction) -> Self {
        Self { direction, head: Place::FIRST, oldest: Place::FIRST, after: vec![Place::FIRST.slot] }
    }

    /// The position of the next message.
    pub(crate) const fn head(&self) -> u64 {
        self.head.position
    }

    /// Everything before this position was taken or revoked.
    pub(crate) fn cursor(&mut self, region: &impl Region) -> Result<u64, Broken> {
        // ORDER: Acquire; pairs with the receiver's compare-exchange: it has read the slot, and copied the payload
        // where it had to, before the cursor moved.
        let cursor = region.u64(self.direction.cursor()).load(Ordering::Acquire);
        self.passed(cursor)
    }

    /// Whether there is no slot for a further message.
    pub(crate) fn is_full(&mut self, region: &impl Region) -> Result<bool, Broken> {
        if self.has_slot() {
            return Ok(false);
        }
        self.cursor(region)?;
        Ok(!self.has_slot())
    }

    /// Whether a slot is left that the next message can name as that of the one after it.
    fn has_slot(&self) -> bool {
        self.head.position - self.oldest.position < SLOTS - 1
    }

    /// The slot after the head's: one that was used before, unless none is free or a page was begun.
    fn choose(&mut self) -> u32 {
        let (head, made) = (self.head.slot as usize, self.after.len());
        let in_use = self.head.position - self.oldest.position + 1;
        if made.is_multiple_of(SLOTS_OF_PAGE) && in_use < made as u64 {
            return self.after[head];
        }
        let new = made as u32;
        self.after.push(self.after[head]);
        self.after[head] = new;
        new
    }

    /// Publishes a message in the next slot; the slots must not be full.
    pub(crate) fn publish(
        &mut self,
        region: &impl Region,
        message: u64,
        offset: u32,
        len: u32,
        handle: u32,
    ) -> u64 {
        debug_assert!(self.has_slot(), "no slot for the message after it");
        let Place { position, slot } = self.head;
        let next = self.choose();
        let at = self.direction.slot(slot);
        release_fence();
        // ORDER: Relaxed; published by the sequence below. A receiver that still looks at the message that was here sees with any of
        // these words that the cursor has passed it: the fence above pairs with that in `SlotReader::peek`.
        region.u64(at + slot::MESSAGE).store(message, Ordering::Relaxed);
        region.u32(at + slot::OFFSET).store(offset, Ordering::Relaxed);
        region.u32(at + slot::LENGTH).store(len, Ordering::Relaxed);
        region.u32(at + slot::HANDLE).store(handle, Ordering::Relaxed);
        region.u32(at + slot::NEXT).store(next, Ordering::Relaxed);
        // ORDER: SeqCst. Its Release half publishes the slot and the payload to `SlotReader::peek`; the total
        // order with the load of the bell in `doorbell::ring` lets no sleeping receiver miss it.
        region.u64(at + slot::SEQUENCE).store(position + 1, Ordering::SeqCst);
        self.head = Place { position: position + 1, slot: next };
        position
    }

    /// Forgets the newest message, which the receiver was found never to take. Nothing more may be published.
    pub(crate) fn forget_newest(&mut self) {
        // The slot of the head is that of a message which will never be.
        self.head.position -= 1;
    }

    /// Takes the message at `position`, the oldest one, back; `false` if the receiver had taken it.
    pub(crate) fn revoke(&mut self, region: &impl Region, position: u64) -> Result<bool, Broken> {
        if self.oldest.position != position || position == self.head.position {
            return Ok(false);
        }
        let second = self.next(self.oldest);
        // ORDER: AcqRel: of this and the receiver's compare-exchange one wins; Acquire on failure, as in `cursor`.
        let outcome = region.u64(self.direction.cursor()).compare_exchange(
            self.oldest.cursor(),
            second.cursor(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match outcome {
            Ok(_) => {
                self.oldest = second;
                Ok(true)
            }
            Err(cursor) => {
                self.passed(cursor)?;
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

    /// Frees the slots that the cursor has passed; the position at which it stands.
    // TRUST: written by the receiver too; must move forward, stay within what was sent and name the slot that is there.
    fn passed(&mut self, cursor: u64) -> Result<u64, Broken> {
        let cursor = Place::of(cursor);
        if cursor.position < self.oldest.position || cursor.position > self.head.position {
            return Err(Broken("the cursor is outside what was sent"));
        }
        let mut place = self.oldest;
        while place.position < cursor.position {
            place = self.next(place);
        }
        // Even where the slot is wrong: no position is gone through twice, or it could be made to take long each time.
        self.oldest = place;
        if place != cursor {
            return Err(Broken("the cursor names a slot that is not the next one"));
        }
        Ok(cursor.position)
    }

    /// The place after one of a message.
    fn next(&self, Place { position, slot }: Place) -> Place {
        Place { position: position + 1, slot: self.after[slot as usize] }
    }
}

impl SlotReader {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self { direction, next: Place::FIRST }
    }

    /// The oldest message, if there is one. It stays the sender's until [`take`](Self::take) succeeds, but what is read of its
    /// slot belongs together, so that its number can be trusted.
    pub(crate) fn peek(&mut self, region: &impl Region) -> Result<Peeked, Broken> {
        let mut lapped_at = None;
        for _ in 0..PEEKS_MAX {
            // ORDER: Acquire; pairs with the sender's revoking compare-exchange.
            // TRUST: written by the sender too; must move forward. It may jump far while this process is stopped.
            let cursor = region.u64(self.direction.cursor()).load(Ordering::Acquire);
            let place = Place::of(cursor);
            let Place { position, slot } = place;
            if position < self.next.position {
                return Err(Broken("the cursor moved back"));
            }
            // A sender revokes a position before it uses the slot again.
            if lapped_at == Some(cursor) {
                return Err(Broken("a slot was used again before its message was taken or revoked"));
            }
            self.next = place;
            let at = self.direction.slot(slot);
            // ORDER: SeqCst; its Acquire half sees slot and payload, the total order with `doorbell::arm` makes a message
            // visible here or rings the bell.
            let sequence = region.u64(at + slot::SEQUENCE).load(Ordering::SeqCst);
            if sequence <= position {
                return Ok(Peeked::Empty);
            }
            if sequence == position + 1 {
                // ORDER: Relaxed; published by the sequence. What was written after a revoking is found out below.
                let message = region.u64(at + slot::MESSAGE).load(Ordering::Relaxed);
                let word = |word| region.u32(at + word).load(Ordering::Relaxed);
                let (offset, len, handle) = (word(slot::OFFSET), word(slot::LENGTH), word(slot::HANDLE));
                let next = word(slot::NEXT);
                acquire_fence();
                // ORDER: Relaxed; the fence pairs with that in `SlotWriter::publish`: whoever has read a word of a later message
                // sees here that the cursor has moved.
                if region.u64(self.direction.cursor()).load(Ordering::Relaxed) == cursor {
                    // TRUST: sender-written; in every slot lies what the sender has written there.
                    let next = Place { position: position + 1, slot: next % SLOTS as u32 };
                    return Ok(Peeked::Ready(Slot { place, next, message, offset, len, handle }));
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
        let at = self.direction.slot(self.next.slot);
        region.u64(at + slot::SEQUENCE).load(Ordering::SeqCst) > self.next.position
    }

    /// Makes the message that [`peek`](Self::peek) found the receiver's own; `false` if it was revoked
    /// meanwhile, in which case nothing that was read of its payload is valid.
    pub(crate) fn take(&mut self, region: &impl Region, found: &Slot) -> bool {
        // ORDER: SeqCst. Its AcqRel half orders the reads of slot and (copied) payload before the cursor moves, so that
        // the sender reuses them only afterwards; the total order with `doorbell::notify_space` is as in the lane.
        let outcome = region.u64(self.direction.cursor()).compare_exchange(
            found.place.cursor(),
            found.next.cursor(),
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        if outcome.is_ok() {
            self.next = found.next;
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

/// Slots on a page of the link. The model checkers' use each again as soon as they may.
const SLOTS_OF_PAGE: usize = if cfg!(zerodds_model) { 1 } else { PAGE / slot::LEN };
/// How often a reader looks again when the sender revokes faster than it reads.
const PEEKS_MAX: usize = 8;

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::segment::{self, Object, Sharing};
    use crate::sys::{Mapping, page_size};

    const WAY: Direction = Direction::FromConnector;

    /// A link, its sender and its receiver.
    struct Scene {
        link: Mapping,
        writer: SlotWriter,
        reader: SlotReader,
        sent: u64,
        received: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self::of(Mapping::anonymous(link::LEN))
        }

        fn of(link: Mapping) -> Self {
            Self { link, writer: SlotWriter::new(WAY), reader: SlotReader::new(WAY), sent: 0, received: 0 }
        }

        fn send(&mut self) -> bool {
            let link = &self.link;
            if self.writer.is_full(link).expect("a correct receiver") {
                return false;
            }
            self.writer.publish(link, self.sent, 65, 1, slot::NO_HANDLE);
            self.sent += 1;
            true
        }

        /// Takes everything, in order; how much that was.
        fn take_all(&mut self) -> usize {
            let mut taken = 0;
            while let Peeked::Ready(found) = self.reader.peek(&self.link).expect("a correct sender") {
                assert_eq!((found.position(), found.message), (self.received, self.received));
                assert!(self.reader.take(&self.link, &found));
                self.received += 1;
                taken += 1;
            }
            self.writer.cursor(&self.link).expect("a correct receiver");
            taken
        }
    }

    /// Bytes of the pages that these lie in, in order.
    fn pages_of(ats: &[usize]) -> usize {
        let mut pages: Vec<_> = ats.iter().map(|at| at / page_size()).collect();
        pages.dedup();
        pages.len() * page_size()
    }

    #[test]
    #[cfg_attr(miri, ignore = "it has no memfd")]
    fn slots_are_in_memory_as_far_as_their_receiver_was_behind() {
        if crate::limits::is_strict().expect("descriptors") {
            return println!("SKIPPED: where vm.overcommit_memory is 2 a link has all of its pages at once");
        }
        let Object { fd, mapping } =
            segment::create("test", link::LEN, 1, Sharing::ReadWrite).expect("memfd");
        let present = || rustix::fs::fstat(&fd).expect("a file").st_blocks as usize * 512;
        let mut scene = Scene::of(mapping);
        for _ in 0..10_000 {
            assert!(scene.send());
            assert_eq!(scene.take_all(), 1);
        }
        // The link's first page has its header and the cursor.
        let slots = [0, WAY.slot(0), WAY.slot(SLOTS_OF_PAGE as u32)];
        assert_eq!(present(), pages_of(&slots[..2]), "whoever keeps up needs one page of slots");
        for behind in [100, 150, 200, 200, 200] {
            (0..behind).for_each(|_| assert!(scene.send()));
            assert_eq!(scene.take_all(), behind);
        }
        assert_eq!(present(), pages_of(&slots), "and whoever is 200 messages behind needs two");
    }

    #[test]
    fn as_many_messages_wait_as_there_are_slots_but_one() {
        let mut scene = Scene::new();
        for _ in 0..5 {
            let sent = std::iter::from_fn(|| scene.send().then_some(())).count();
            assert_eq!(sent, link::SLOTS - 1, "the last one is that of the message after them");
            assert_eq!(scene.take_all(), sent);
        }
    }

    #[test]
    fn a_cursor_that_names_another_slot_than_the_next_one_ends_the_link() {
        let right = Place { position: 2, slot: 2 };
        for wrong in [0, 1, 3, SLOTS as u32 - 1].map(|slot| Place { slot, ..right }) {
            let mut scene = Scene::new();
            (0..3).for_each(|_| assert!(scene.send()));
            scene.link.u64(WAY.cursor()).store(wrong.cursor(), Ordering::Relaxed);
            assert!(scene.writer.revoke(&scene.link, 0).is_err(), "slot {}", wrong.slot);
            assert!(scene.writer.cursor(&scene.link).is_err(), "slot {}", wrong.slot);
            scene.link.u64(WAY.cursor()).store(right.cursor(), Ordering::Relaxed);
            assert_eq!(scene.writer.cursor(&scene.link), Ok(2));
        }
    }

    #[test]
    fn a_cursor_and_a_slot_of_any_value_are_looked_at_without_harm() {
        let words = [0, 1, SLOTS - 1, SLOTS, u64::MAX / 2, u64::MAX - SLOTS + 1, u64::MAX];
        for (cursor, sequence) in words.into_iter().flat_map(|word| words.map(|sequence| (word, sequence))) {
            let mut scene = Scene::new();
            let link = &scene.link;
            let place = Place::of(cursor);
            link.u64(WAY.cursor()).store(cursor, Ordering::Relaxed);
            for (slot, sequence) in [(place.slot, place.position.wrapping_add(1)), (place.slot, sequence)] {
                link.u64(WAY.slot(slot) + slot::SEQUENCE).store(sequence, Ordering::Relaxed);
                link.u32(WAY.slot(slot) + slot::NEXT).store(u32::MAX, Ordering::Relaxed);
                if let Ok(Peeked::Ready(found)) = scene.reader.peek(link) {
                    scene.reader.take(link, &found);
                }
                scene.reader.is_ready(link);
            }
        }
    }
}
