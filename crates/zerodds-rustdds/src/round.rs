//! One sample on its way into RTPS, in as many posts as it takes: none of them, or all.
//!
//! Once somebody has it, all must get it, since a writer that is told `WouldBlock` writes it again. Whatever ends a round, what RTPS
//! has by then stays written and described: nobody who was sent a descriptor is told to forget the sample.

use crate::posts::Post;
use crate::writing::{Begun, Outlet, Refused, Undescribed};
use rustdds::SampleIdentity;

pub(crate) struct Round {
    /// Dropped, RTPS has nothing of it.
    begun: Option<Begun>,
    /// Dropped with it, whoever was sent no descriptor is told.
    undescribed: Option<Undescribed>,
    carried: Option<Carried>,
    descriptors: u64,
    tries: u32,
}

/// The identities under which RTPS has a sample.
#[derive(Clone, Copy)]
struct Carried {
    first: SampleIdentity,
    last: SampleIdentity,
    /// That of the post which is for all, if there was one: the readers that were matched before know the sample by it.
    for_all: Option<SampleIdentity>,
}

impl Round {
    pub(crate) const fn new(begun: Begun, undescribed: Option<Undescribed>) -> Self {
        Self { begun: Some(begun), undescribed, carried: None, descriptors: 0, tries: 0 }
    }

    /// Whether somebody has the sample.
    pub(crate) const fn has_begun(&self) -> bool {
        self.carried.is_some()
    }

    pub(crate) fn tries_again(&mut self, outcome: &Result<SampleIdentity, Refused>) -> bool {
        let again = matches!(outcome, Err(Refused::WouldBlock)) && self.has_begun() && self.tries < TRIES_MAX;
        self.tries += u32::from(again);
        again
    }

    /// RTPS has this post.
    pub(crate) fn note(&mut self, post: &Post, identity: SampleIdentity) {
        let Carried { first, for_all, .. } =
            self.carried.unwrap_or(Carried { first: identity, last: identity, for_all: None });
        let for_all = for_all.or_else(|| post.to.is_none().then_some(identity));
        self.carried = Some(Carried { first, last: identity, for_all });
        if post.payload.is_descriptor {
            self.descriptors += 1;
            self.undescribed.iter_mut().for_each(|undescribed| undescribed.described(post.to.as_ref()));
        }
    }

    pub(crate) fn outcome(mut self, outlet: &Outlet) -> Result<SampleIdentity, Refused> {
        let identity = self.end().ok_or_else(|| Refused::Internal("a sample for nobody".into()))?;
        outlet.count(self.descriptors);
        Ok(identity)
    }

    /// What RTPS has is written; its identity, if there is anything.
    fn end(&mut self) -> Option<SampleIdentity> {
        let Carried { first, last, for_all } = self.carried?;
        if let Some(begun) = self.begun.take() {
            begun.written(first, last);
        }
        Some(for_all.unwrap_or(last))
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.end();
    }
}

/// How often a participant is tried for a sample that others have, each time as long as a write may wait.
const TRIES_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use crate::window::Outlook;
    use rustdds::GUID;
    use std::sync::Arc;

    #[test]
    fn the_identity_of_a_sample_that_all_readers_know_is_not_that_of_a_copy_for_one_who_joined() {
        let identity = |sequence_number: i64| SampleIdentity {
            writer_guid: GUID::from_bytes([1; 16]),
            sequence_number: sequence_number.into(),
        };
        let post = |to| Post { payload: Payload::plain(bytes::Bytes::new()), to };
        let copy = post(Some(GUID::from_bytes([2; 16])));
        for (posts, known) in [(vec![&post(None), &copy, &copy], 1), (vec![&copy, &copy], 2)] {
            let outlook = Arc::<Outlook>::default();
            let mut round = Round::new(Begun::new(outlook.place_anyway(), 7), None);
            for (post, sequence_number) in posts.iter().zip(1..) {
                round.note(post, identity(sequence_number));
            }
            assert_eq!(round.end(), Some(identity(known)));
            assert_eq!(outlook.written(), posts.len() as i64, "all of them are used");
        }
    }
}
