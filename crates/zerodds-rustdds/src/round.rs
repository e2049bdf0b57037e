//! One sample on its way into RTPS, in as many posts as it takes, one for all or one for each participant: none of them, or all.
//!
//! Once somebody has it, all must get it, since a writer that is told `WouldBlock` writes it again. Whatever ends a round, what RTPS
//! has by then stays written and described: nobody who was sent a descriptor is told to forget the sample, and nobody is waited for
//! who was sent nothing.

use crate::payload::Payload;
use crate::posts::{Post, Remains, Unwritten, cdr_of};
use crate::protocol::incarnation;
use crate::routes::{Plan, Target};
use crate::session::split;
use crate::window::{Begun, Numbers};
use crate::writing::{Outlet, Refused, Undescribed};
use bytes::Bytes;
use rustdds::SampleIdentity;
use smallvec::SmallVec;
use std::sync::Arc;
use zerodds_core::Incarnation;
use zerodds_transport_shm::ShmSent;

pub(crate) struct Round {
    /// Dropped, RTPS has nothing of it.
    begun: Option<Begun>,
    /// Dropped with it, whoever was sent no descriptor is told; `None` where nothing was shared.
    undescribed: Option<Undescribed>,
    /// What RTPS is still to be given.
    posts: smallvec::IntoIter<[Post; 1]>,
    /// What it did not take at first, and is tried once more.
    again: Option<Post>,
    /// The sample, and whom it was for, while somebody could be matched who was not thought of.
    sent: Option<(ShmSent, Arc<Plan>)>,
    /// Some of it is in RTPS that was meant for shared memory.
    falls_back: bool,
    carried: Option<Carried>,
    /// Whom posts were directed to that RTPS has, and under which number.
    directed: Vec<(Incarnation, i64)>,
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
    /// Of a sample that was sent: what RTPS has to carry of it, and the sample with whom it was for, where somebody may be matched meanwhile.
    /// Some of it `falls_back` that was meant for shared memory.
    pub(crate) fn new(
        begun: Begun,
        posts: SmallVec<[Post; 1]>,
        undescribed: Option<Undescribed>,
        sent: Option<(ShmSent, Arc<Plan>)>,
        falls_back: bool,
    ) -> Self {
        Self {
            begun: Some(begun),
            undescribed,
            posts: posts.into_iter(),
            again: None,
            sent,
            falls_back,
            carried: None,
            directed: Vec::new(),
            descriptors: 0,
            tries: 0,
        }
    }

    /// Of one that goes in RTPS alone.
    pub(crate) fn plain(begun: Begun, bytes: Bytes, falls_back: bool) -> Self {
        Self::new(begun, SmallVec::from([Post::plain(bytes)]), None, None, falls_back)
    }

    /// Whether somebody has the sample.
    pub(crate) const fn has_begun(&self) -> bool {
        self.carried.is_some()
    }

    /// The next post, when RTPS has those before. The last are for whoever was matched in the meantime: such a reader was
    /// sent a descriptor of what it does not have, or a gap.
    pub(crate) fn next(&mut self, outlet: &Outlet) -> Option<Post> {
        if let Some(post) = self.again.take() {
            return Some(post);
        }
        if self.posts.len() == 0
            && let Some((sample, plan)) = self.sent.take()
        {
            let is_current = outlet.is_current(&plan);
            let newcomers = if is_current { Vec::new() } else { plan.newcomers(&outlet.plan()) };
            let post = |reader: Target| Post {
                payload: Payload::plain(Bytes::copy_from_slice(cdr_of(&sample))),
                to: Some(reader.guid()),
            };
            self.posts = newcomers.into_iter().map(post).collect::<SmallVec<_>>().into_iter();
        }
        self.posts.next()
    }

    /// What came of a post. One that did not find room though somebody has the sample is the next once more.
    pub(crate) fn note(
        &mut self,
        post: Post,
        outcome: Result<SampleIdentity, Refused>,
    ) -> Result<(), Unwritten> {
        match outcome {
            Ok(identity) => self.note_carried(&post, identity),
            Err(Refused::WouldBlock) if self.has_begun() && self.tries < TRIES_MAX => {
                self.tries += 1;
                self.again = Some(post);
            }
            Err(why) => {
                let sent = self.sent.take().map(|(sample, _)| Remains::Sent(sample));
                return Err(Unwritten { why, remains: sent.or(Some(Remains::Posted(post.payload.bytes))) });
            }
        }
        Ok(())
    }

    fn note_carried(&mut self, post: &Post, identity: SampleIdentity) {
        let Carried { first, for_all, .. } =
            self.carried.unwrap_or(Carried { first: identity, last: identity, for_all: None });
        let for_all = for_all.or_else(|| post.to.is_none().then_some(identity));
        self.carried = Some(Carried { first, last: identity, for_all });
        let number = identity.sequence_number.into();
        self.directed.extend(post.to.map(|reader| (incarnation(split(&reader).0), number)));
        if post.payload.is_descriptor {
            self.descriptors += 1;
            self.undescribed.iter_mut().for_each(|undescribed| undescribed.described(post.to.as_ref()));
        }
    }

    /// All of it was carried.
    pub(crate) fn outcome(mut self, outlet: &Outlet) -> Result<SampleIdentity, Unwritten> {
        let identity = self.end(true).ok_or_else(|| Refused::Internal("a sample for nobody".into()))?;
        outlet.count(self.descriptors, self.falls_back);
        Ok(identity)
    }

    /// What RTPS has is written; its identity, if there is anything. Where that is not the whole sample, those for whom there
    /// was no post yet will never be given it. (Whoever came after one for all does not owe it, copy or not.)
    fn end(&mut self, is_whole: bool) -> Option<SampleIdentity> {
        let Carried { first, last, for_all } = self.carried?;
        if let Some(begun) = self.begun.take() {
            let mut directed = std::mem::take(&mut self.directed);
            let posts = directed.len() as i64 + i64::from(for_all.is_some());
            if !is_whole && for_all.is_none() {
                begun.excuse_all_but(&directed.iter().map(|&(reached, _)| reached).collect::<Vec<_>>());
            }
            let (first, last): (i64, i64) = (first.sequence_number.into(), last.sequence_number.into());
            if last - first < posts {
                // Nothing of another sample came between: whoever has taken anything from the first on has taken this.
                directed.clear();
            }
            begun.written(Numbers { first, last, directed });
        }
        Some(for_all.unwrap_or(last))
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// How often a participant is tried for a sample that others have, each time as long as a write may wait.
const TRIES_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Consumed, Offer};
    use crate::window::{Outlook, Place};
    use rustdds::GUID;

    fn identity(sequence_number: i64) -> SampleIdentity {
        let writer_guid = GUID::from_bytes([1; 16]);
        SampleIdentity { writer_guid, sequence_number: sequence_number.into() }
    }

    fn post(to: Option<u8>) -> Post {
        let to = to.map(|participant| GUID::from_bytes([participant; 16]));
        Post { payload: Payload::plain(Bytes::new()), to }
    }

    fn round(place: Place) -> Round {
        Round::plain(place.begin(|| 7), Bytes::new(), false)
    }

    #[test]
    fn the_identity_of_a_sample_that_all_readers_know_is_not_that_of_a_copy_for_one_who_joined() {
        let copy = post(Some(2));
        for (posts, known) in [(vec![&post(None), &copy, &copy], 1), (vec![&copy, &copy], 2)] {
            let outlook = Arc::<Outlook>::default();
            let mut round = round(outlook.place_anyway());
            for (post, sequence_number) in posts.iter().zip(1..) {
                round.note_carried(post, identity(sequence_number));
            }
            assert_eq!(round.end(true), Some(identity(known)));
            assert_eq!(outlook.written(), posts.len() as i64, "all of them are used");
        }
    }

    #[test]
    fn of_a_sample_that_ends_early_only_those_who_have_it_are_waited_for() {
        let [first, second] = [2, 3].map(|participant| {
            let (prefix, reader) = split(&GUID::from_bytes([participant; 16]));
            (incarnation(prefix), Offer { reader, window: 1 })
        });
        // By the post that goes out before it ends: who takes the sample, until when there is no room for another.
        for (carried, owing) in [(Some(2), vec![first]), (Some(4), vec![]), (None, vec![first, second])] {
            let outlook = Arc::<Outlook>::default();
            outlook.set_plan(Plan { windows: vec![first, second], ..Plan::default() });
            let mut round = round(outlook.place().expect("room"));
            round.note_carried(&post(carried), identity(1));
            drop(round);
            for (peer, offer) in owing {
                assert!(outlook.place().is_none(), "{peer:?} has not taken it");
                outlook.set_taken((peer, offer.reader), Consumed { up_to: 1, unreadable: 0 });
            }
            assert!(outlook.place().is_some(), "nobody else was given it");
            assert_eq!(outlook.written(), 1);
        }
    }

    #[test]
    fn of_a_sample_that_rtps_has_whole_every_reader_that_keeps_all_is_waited_for() {
        let offer = Offer { reader: [2; 4], window: 1 };
        let outlook = Arc::<Outlook>::default();
        outlook.set_plan(Plan { windows: vec![(Incarnation::from_bytes([2; 8]), offer)], ..Plan::default() });
        let mut round = round(outlook.place().expect("room"));
        round.note_carried(&post(Some(2)), identity(1));
        round.end(true);
        assert!(outlook.place().is_none());
    }
}
