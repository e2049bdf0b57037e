//! Notes that found no room in a link, until they can be said.
//!
//! Whoever has something to say never waits for a peer that does not read: the note waits here, and the attendant tries
//! again. What is kept for a peer is bounded by what the note is about: what is said anew replaces what waits, and of
//! samples that a reader was not given the latest are enough, as on a new link.

use crate::intake::MISSED_MAX;
use crate::protocol::Note;
use std::collections::{BTreeMap, VecDeque};
use zerodds_core::Incarnation;

/// By whom they are for, in the order in which they are to be said.
#[derive(Debug, Default)]
pub(super) struct Unsaid(BTreeMap<Incarnation, VecDeque<Note>>);

impl Unsaid {
    /// Whether something waits for this peer: what comes after it has to wait too.
    pub(super) fn waits_for(&self, peer: Incarnation) -> bool {
        self.0.contains_key(&peer)
    }

    pub(super) fn add(&mut self, peer: Incarnation, note: Note) {
        let notes = self.0.entry(peer).or_default();
        notes.retain(|old| !note.replaces(old));
        if let Note::Missed { reader, .. } = note {
            let is_like_it =
                |old: &Note| matches!(old, Note::Missed { reader: other, .. } if *other == reader);
            if notes.iter().filter(|old| is_like_it(old)).count() == MISSED_MAX
                && let Some(oldest) = notes.iter().position(is_like_it)
            {
                notes.remove(oldest);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const PEER: Incarnation = Incarnation::from_bytes([1; 8]);

    fn missed(reader: u8, id: u64) -> Note {
        Note::Missed { reader: [reader; 4], id }
    }

    #[test]
    fn of_samples_that_a_reader_was_not_given_the_latest_wait_for_a_peer_that_does_not_read() {
        let mut unsaid = Unsaid::default();
        unsaid.add(PEER, missed(2, 0));
        for id in 0..10_000 {
            unsaid.add(PEER, missed(1, id));
        }
        let said = RefCell::new(Vec::new());
        assert!(!unsaid.say(|_, note| {
            said.borrow_mut().push(note.clone());
            true
        }));
        let latest = (10_000 - MISSED_MAX as u64..10_000).map(|id| missed(1, id));
        assert_eq!(said.into_inner(), [missed(2, 0)].into_iter().chain(latest).collect::<Vec<_>>());
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
        assert!(unsaid.waits_for(PEER) && !unsaid.waits_for(other));
    }
}
