//! Notes that found no room in a link, until they can be said.
//!
//! Whoever has something to say never waits for a peer that does not read: the note waits here, and the attendant tries
//! again. What is kept for a peer is bounded by what the note is about: what is said anew replaces what waits, of samples that a
//! reader was not given the latest are enough, as on a new link, and so they are of samples that are to be forgotten: with the next
//! one of its writer a peer forgets those before.

use crate::intake::MISSED_MAX;
use crate::protocol::Note;
use std::collections::{BTreeMap, VecDeque};
use zerodds_core::{Incarnation, LoanError, SendError};

/// By whom they are for, in the order in which they are to be said.
#[derive(Debug, Default)]
pub(super) struct Unsaid(BTreeMap<Incarnation, VecDeque<Note>>);

impl Unsaid {
    /// Says something now if it can; whether it has to be said later. What waits already goes first. But a writer, or one that it waits
    /// for, hears at once what is no less true for being said twice, and is said again behind what may have to come before it.
    pub(super) fn say_now(&mut self, peer: Incarnation, note: Note, say: impl FnOnce(&Note) -> bool) -> bool {
        let waits = self.0.contains_key(&peer);
        let is_said = (!waits || note.may_be_said_twice()) && say(&note);
        let is_due = waits || !is_said;
        if is_due {
            self.add(peer, note);
        }
        is_due
    }

    fn add(&mut self, peer: Incarnation, note: Note) {
        let notes = self.0.entry(peer).or_default();
        notes.retain(|old| !note.replaces(old));
        let is_like_it = |old: &Note| match (&note, old) {
            (Note::Missed { reader, .. }, Note::Missed { reader: other, .. }) => reader == other,
            (Note::Forget { .. }, Note::Forget { .. }) => true,
            _ => false,
        };
        if notes.iter().filter(|old| is_like_it(old)).count() == LATEST_MAX
            && let Some(oldest) = notes.iter().position(is_like_it)
        {
            notes.remove(oldest);
        }
        notes.push_back(note);
    }

    /// Says to everybody what there is room for, as `say` does if it can; whether something still waits.
    pub(super) fn say(&mut self, say: impl Fn(Incarnation, &Note) -> bool) -> bool {
        self.0.retain(|&peer, notes| {
            while notes.pop_front_if(|note| say(peer, note)).is_some() {}
            !notes.is_empty()
        });
        !self.0.is_empty()
    }
}

/// Whether what stands in the way of a note may pass: what fills the ring, or that there is no memory for it to grow.
pub(super) fn may_be_said_later(error: &SendError) -> bool {
    matches!(error, SendError::Loan(LoanError::Full { .. } | LoanError::NoMemory { .. }))
}

/// Notes of samples that were missed by one reader, or are to be forgotten, that wait for one peer.
const LATEST_MAX: usize = MISSED_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Consumed, Offer};
    use std::cell::{Cell, RefCell};

    const PEER: Incarnation = Incarnation::from_bytes([1; 8]);

    fn missed(reader: u8, id: u64) -> Note {
        Note::Missed { reader: [reader; 4], id }
    }

    /// What is said at last where all of this came while the peer did not read.
    fn said_after(notes: impl IntoIterator<Item = Note>) -> Vec<Note> {
        let mut unsaid = Unsaid::default();
        notes.into_iter().for_each(|note| unsaid.add(PEER, note));
        let said = RefCell::new(Vec::new());
        assert!(!unsaid.say(|_, note| {
            said.borrow_mut().push(note.clone());
            true
        }));
        said.into_inner()
    }

    #[test]
    fn of_samples_that_a_reader_was_not_given_the_latest_wait_for_a_peer_that_does_not_read() {
        let said = said_after(std::iter::once(missed(2, 0)).chain((0..10_000).map(|id| missed(1, id))));
        let latest = (10_000 - LATEST_MAX as u64..10_000).map(|id| missed(1, id));
        assert_eq!(said, [missed(2, 0)].into_iter().chain(latest).collect::<Vec<_>>());
    }

    #[test]
    fn of_samples_that_are_to_be_forgotten_the_latest_wait_for_a_peer_that_does_not_read() {
        let forget = |id| Note::Forget { id };
        let said = said_after(std::iter::once(missed(1, 0)).chain((0..10_000).map(forget)));
        let latest = (10_000 - LATEST_MAX as u64..10_000).map(forget);
        assert_eq!(said, [missed(1, 0)].into_iter().chain(latest).collect::<Vec<_>>());
    }

    #[test]
    fn a_note_for_which_there_is_no_memory_now_is_not_said() {
        assert!(may_be_said_later(&LoanError::NoMemory { needed: 1, limit: "a test".into() }.into()));
        assert!(may_be_said_later(&LoanError::Full { len: 1 }.into()));
        assert!(!may_be_said_later(&LoanError::Closed.into()), "nobody is there any more");
    }

    #[test]
    fn what_finds_no_room_keeps_its_place_and_holds_up_nobody_else() {
        let other = Incarnation::from_bytes([2; 8]);
        let mut unsaid = Unsaid::default();
        for peer in [PEER, other] {
            unsaid.add(peer, Note::Forget { id: 1 });
            unsaid.add(peer, Note::Forget { id: 2 });
        }
        assert!(unsaid.say(|peer, note| peer == other || *note == Note::Forget { id: 2 }), "the first waits");
        assert!(unsaid.0.contains_key(&PEER) && !unsaid.0.contains_key(&other));
    }

    #[test]
    fn what_writers_wait_for_is_said_though_something_waits_that_needs_memory_and_again_behind_it() {
        let said = RefCell::new(Vec::new());
        let has_memory = Cell::new(false);
        let say = |note: &Note| {
            let is_said = has_memory.get() || !matches!(note, Note::Readers(_));
            said.borrow_mut().extend(is_said.then(|| note.clone()));
            is_said
        };
        let (reader, writer, consumed) = ([1; 4], [2; 4], Consumed::default());
        let offers = Note::Readers(vec![Offer { reader, window: 1 }]);
        let [taken, waiting] =
            [Note::Taken { reader, writer, consumed }, Note::Waiting { reader, writer, heard: 0 }];
        let (told, forget) = ([taken, waiting, missed(1, 1)], Note::Forget { id: 1 });
        let mut unsaid = Unsaid::default();
        assert!(unsaid.say_now(PEER, offers.clone(), say), "it waits for memory");
        assert!(unsaid.say_now(PEER, forget.clone(), say), "it may not come before the readers");
        assert!(told.iter().all(|note| unsaid.say_now(PEER, note.clone(), say)));
        assert_eq!(said.take(), told);
        has_memory.set(true);
        assert!(!unsaid.say(|_, note| say(note)));
        assert_eq!(said.take(), [offers, forget].into_iter().chain(told).collect::<Vec<_>>());
        assert!(!unsaid.say_now(PEER, missed(1, 2), say), "nothing waits any more");
    }
}
