//! Who reads a writer's samples, and how they get there: the plan of one writer.
//!
//! ```text
//!   matched readers, by participant:   all of them take descriptors, and there is a link ──▶ shared
//!                                      otherwise                                         ──▶ plain
//!   all shared  ──▶ one descriptor, undirected          all plain ──▶ one plain sample, undirected
//!   mixed       ──▶ one directed descriptor or plain sample for each participant, if all readers are reliable
//!                   and each the only one of its participant; otherwise all plain
//! ```
//! RustDDS has one cache per topic and participant, and a directed sample reaches every reader there. So the
//! readers of one participant all get descriptors or all get plain samples. For every other reader a directed
//! sample leaves a gap that RustDDS remembers until the reader acknowledges it: for ever, where it is not reliable. And
//! the gap that one reader of a participant is told of lets RustDDS give up what its neighbour still waits for.

use crate::protocol::{Entity, Offer, Prefix, incarnation};
use rustdds::GUID;
use std::collections::{BTreeMap, BTreeSet};
use zerodds_core::{Incarnation, Locator};
use zerodds_transport_shm::LinkId;

/// Where a session is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) locator: Locator,
    /// The link by which it said what it takes. What is sent on the next one can come after its descriptor: that
    /// session has not looked at it yet. `None`: our own session.
    pub(crate) link: Option<LinkId>,
}

/// How a participant's readers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) prefix: Prefix,
    /// A reader there; RustDDS directs a sample to a reader.
    pub(crate) reader: Entity,
    /// Where its session is reached; `None`: it gets plain samples. Whether it gets others now, [`Plan::way`] says.
    way: Option<Way>,
    /// Some reader there is reliable, and may be waited for.
    pub(crate) is_reliable: bool,
}

impl Target {
    pub(crate) fn guid(&self) -> GUID {
        let mut bytes = [0; 16];
        let (prefix, entity) = bytes.split_at_mut(self.prefix.len());
        prefix.copy_from_slice(&self.prefix);
        entity.copy_from_slice(&self.reader);
        GUID::from_bytes(bytes)
    }
}

/// Where the samples of one writer go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Those with reliable readers first.
    pub(crate) targets: Vec<Target>,
    /// Whether a sample may be directed: all readers are reliable, and each is the only one of its participant. Where it may
    /// not, and one participant cannot have a descriptor, nobody gets one.
    pub(crate) may_direct: bool,
    /// Set where nobody gets one although some could.
    pub(crate) withheld: Option<Withheld>,
    /// Readers that limit what may be under way to them.
    pub(crate) windows: Vec<(Incarnation, Offer)>,
    /// Readers that RTPS has found, and is about to match or to refuse.
    pub(crate) pending: Vec<Target>,
}

/// Descriptors that participants could have and do not get, since others cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// Whoever could have them.
    pub(crate) from: BTreeSet<Prefix>,
    /// One that cannot.
    pub(crate) plain: Prefix,
    pub(crate) obstacle: Obstacle,
}

/// Why samples of one topic are not directed, or nobody shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Obstacle {
    /// A reader is best effort.
    BestEffort,
    /// Two readers are in one participant.
    Neighbours,
    /// A reader is found, and neither matched nor refused.
    Undecided,
}

impl Plan {
    /// Takes the descriptors from all, if any participant cannot have them.
    fn withhold(&mut self, obstacle: Obstacle) {
        // Best effort comes last, and is the likelier to be new.
        let Some(plain) = self.targets.iter().rfind(|target| target.way.is_none()) else { return };
        let plain = plain.prefix;
        let take = |target: &mut Target| target.way.take().map(|_| target.prefix);
        let from: BTreeSet<Prefix> = self.targets.iter_mut().filter_map(take).collect();
        self.withheld = (!from.is_empty()).then_some(Withheld { from, plain, obstacle });
    }

    /// What nobody gets as long as readers are about to be matched.
    pub(crate) fn held_up(&self) -> Option<Withheld> {
        let plain = self.pending.first()?.prefix;
        let could = self.targets.iter().filter(|target| target.way.is_some());
        let from: BTreeSet<Prefix> = could.map(|target| target.prefix).collect();
        (!from.is_empty()).then_some(Withheld { from, plain, obstacle: Obstacle::Undecided })
    }

    /// Where one of the targets is reached now. As long as readers are about to be matched nobody is, since the descriptors would reach them
    /// too.
    pub(crate) fn way(&self, target: &Target) -> Option<Way> {
        target.way.filter(|_| self.pending.is_empty())
    }

    /// The participants whose sessions are reached now, and where.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&Target, Way)> {
        self.targets.iter().filter_map(|target| Some((target, self.way(target)?)))
    }

    /// Whether some samples can go through shared memory.
    pub(crate) fn has_shared(&self) -> bool {
        self.shared().next().is_some()
    }

    /// The participants that get plain samples, also when no reader is about to be matched.
    pub(crate) fn plain(&self) -> impl Iterator<Item = Prefix> {
        self.targets.iter().filter(|target| target.way.is_none()).map(|target| target.prefix)
    }

    /// The same, with readers that are about to be matched.
    pub(crate) fn awaiting(mut self, readers: impl IntoIterator<Item = (Prefix, Entity)>) -> Self {
        let plain = |(prefix, reader)| Target { prefix, reader, way: None, is_reliable: true };
        self.pending = readers.into_iter().map(plain).collect();
        self
    }

    /// Readers of the later plan in participants that this one knows nothing of, one for each.
    pub(crate) fn newcomers(&self, later: &Self) -> Vec<Target> {
        let mut known: BTreeSet<Prefix> = self.targets.iter().map(|target| target.prefix).collect();
        let all = later.targets.iter().chain(&later.pending);
        all.filter(|target| known.insert(target.prefix)).copied().collect()
    }
}

/// The readers that RTPS has matched to one writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matched(BTreeMap<Prefix, BTreeSet<Entity>>);

impl Matched {
    pub(crate) fn add(&mut self, prefix: Prefix, reader: Entity) {
        self.0.entry(prefix).or_default().insert(reader);
    }

    /// Whether there are any left.
    pub(crate) fn remove(&mut self, prefix: Prefix, reader: Entity) -> bool {
        if let Some(readers) = self.0.get_mut(&prefix) {
            readers.remove(&reader);
            if readers.is_empty() {
                self.0.remove(&prefix);
            }
        }
        !self.0.is_empty()
    }

    /// Whether there are any left.
    pub(crate) fn remove_participant(&mut self, prefix: Prefix) -> bool {
        self.0.remove(&prefix);
        !self.0.is_empty()
    }

    pub(crate) fn participants(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.0.keys().copied()
    }

    pub(crate) fn contains(&self, (prefix, reader): &(Prefix, Entity)) -> bool {
        self.0.get(prefix).is_some_and(|readers| readers.contains(reader))
    }

    /// The plan, given what is known of each participant (whether it lives), of its session (where it is reached, if it
    /// is, and its offers) and of each reader (whether it is reliable).
    pub(crate) fn plan<'a>(
        &self,
        lives: impl Fn(Prefix) -> bool,
        session: impl Fn(Prefix) -> Option<(Option<Way>, &'a [Offer])>,
        reliable: impl Fn((Prefix, Entity)) -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        let living = || self.0.iter().filter(|(prefix, _)| lives(**prefix));
        for (&prefix, readers) in living() {
            let Some(&reader) = readers.first() else { continue };
            let (way, offers) = session(prefix).unwrap_or_default();
            let of = |reader| offers.iter().find(|offer| offer.reader == reader).copied();
            let offers: Vec<Offer> = readers.iter().filter_map(|&reader| of(reader)).collect();
            let way = way.filter(|_| offers.len() == readers.len());
            let is_reliable = readers.iter().any(|&reader| reliable((prefix, reader)));
            plan.targets.push(Target { prefix, reader, way, is_reliable });
            // Whoever keeps all is waited for, whichever way samples go.
            let limited = offers.into_iter().filter(|offer| offer.window > 0);
            plan.windows.extend(limited.map(|offer| (incarnation(prefix), offer)));
        }
        plan.targets.sort_by_key(|target| !target.is_reliable);
        let mut readers =
            living().flat_map(|(&prefix, readers)| readers.iter().map(move |&reader| (prefix, reader)));
        if !readers.all(reliable) {
            plan.withhold(Obstacle::BestEffort);
        } else if living().any(|(_, readers)| readers.len() > 1) {
            plan.withhold(Obstacle::Neighbours);
        } else {
            plan.may_direct = true;
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerodds_core::HostTag;

    const HERE: Prefix = [1; 12];
    const THERE: Prefix = [2; 12];

    fn offer(reader: Entity) -> Offer {
        Offer { reader, window: 0 }
    }

    fn way() -> Way {
        let locator = Locator::shared_memory(HostTag::from_bytes([0; 8]), Incarnation::from_bytes([0; 8]), 0);
        Way { locator, link: None }
    }

    #[test]
    fn a_participant_is_shared_only_when_all_its_matched_readers_take_descriptors() {
        let mut matched = Matched::default();
        matched.add(HERE, [1; 4]);
        matched.add(HERE, [2; 4]);
        let one = [Offer { reader: [1; 4], window: 5 }];
        let plan = matched.plan(|_| true, |_| Some((Some(way()), &one)), |_| true);
        assert!(!plan.has_shared());
        assert_eq!(plan.windows, [(incarnation(HERE), one[0])], "it is waited for all the same");
        let both = [offer([1; 4]), offer([2; 4])];
        let plan = matched.plan(|_| true, |_| Some((Some(way()), &both)), |_| false);
        let target = Target { prefix: HERE, reader: [1; 4], way: Some(way()), is_reliable: false };
        assert_eq!(plan.targets, [target]);
        matched.remove(HERE, [2; 4]);
        assert!(matched.plan(|_| true, |_| Some((Some(way()), &one)), |_| true).has_shared());
    }

    #[test]
    fn samples_are_directed_only_to_reliable_readers_without_neighbours_also_where_all_share() {
        let offers = [offer([1; 4]), offer([2; 4])];
        let plan = |matched: &Matched, is_reliable: bool| {
            matched.plan(|_| true, |_| Some((Some(way()), &offers)), |_| is_reliable)
        };
        let mut matched = Matched::default();
        matched.add(HERE, [1; 4]);
        matched.add(THERE, [1; 4]);
        assert!(plan(&matched, true).may_direct && !plan(&matched, false).may_direct);
        matched.add(THERE, [2; 4]);
        assert!(plan(&matched, true).has_shared() && !plan(&matched, true).may_direct);
    }

    #[test]
    fn participants_with_a_reliable_reader_come_first() {
        let mut matched = Matched::default();
        for (prefix, reader) in [(HERE, [1; 4]), (THERE, [1; 4]), (THERE, [2; 4])] {
            matched.add(prefix, reader);
        }
        let offers = [offer([1; 4]), offer([2; 4])];
        let reliable = |reader| reader == (THERE, [2; 4]);
        let plan = matched.plan(|_| true, |_| Some((Some(way()), &offers)), reliable);
        let targets: Vec<_> = plan.targets.iter().map(|target| (target.prefix, target.is_reliable)).collect();
        assert_eq!(targets, [(THERE, true), (HERE, false)]);
    }

    #[test]
    fn nobody_gets_descriptors_while_a_reader_is_about_to_be_matched() {
        let mut matched = Matched::default();
        matched.add(HERE, [1; 4]);
        let offers = [offer([1; 4])];
        let plan = |pending: &[_]| {
            matched
                .plan(|_| true, |_| Some((Some(way()), &offers)), |_| true)
                .awaiting(pending.iter().copied())
        };
        assert!(plan(&[]).has_shared());
        let later = plan(&[(THERE, [3; 4])]);
        assert!(!later.has_shared() && later.way(&later.targets[0]).is_none());
        assert_eq!(later.plain().count(), 0, "it is for a moment");
        let from = BTreeSet::from([HERE]);
        let held_up = Withheld { from, plain: THERE, obstacle: Obstacle::Undecided };
        assert_eq!((plan(&[]).held_up(), later.held_up()), (None, Some(held_up)), "or not");
        let newcomers = plan(&[]).newcomers(&later);
        assert_eq!(newcomers.len(), 1);
        assert_eq!((newcomers[0].prefix, newcomers[0].reader, newcomers[0].way), (THERE, [3; 4], None));
        assert!(later.newcomers(&plan(&[])).is_empty());
    }

    #[test]
    fn participants_are_judged_one_by_one() {
        let mut matched = Matched::default();
        matched.add(HERE, [1; 4]);
        matched.add(THERE, [1; 4]);
        let offers = [Offer { reader: [1; 4], window: 5 }];
        let session = |prefix| (prefix == HERE).then_some((Some(way()), &offers[..]));
        let withheld = |obstacle| Some(Withheld { from: BTreeSet::from([HERE]), plain: THERE, obstacle });
        let plan = matched.plan(|_| true, session, |(prefix, _)| prefix == HERE);
        assert!(!plan.has_shared(), "one is best effort");
        assert_eq!(plan.withheld, withheld(Obstacle::BestEffort));
        let plan = matched.plan(|_| true, session, |_| true);
        let shared: Vec<_> = plan.targets.iter().map(|target| target.way.is_some()).collect();
        assert_eq!(shared, [true, false]);
        assert_eq!(plan.withheld, None, "whoever can has it");
        assert_eq!(plan.windows, [(incarnation(HERE), offers[0])]);
        let survivors = matched.plan(|prefix| prefix == HERE, session, |(prefix, _)| prefix == HERE);
        assert!(survivors.has_shared() && survivors.targets.len() == 1, "nobody waits for the dead");
        matched.add(THERE, [2; 4]);
        let plan = matched.plan(|_| true, session, |_| true);
        assert!(!plan.has_shared(), "neighbours would be told of gaps");
        assert_eq!(plan.withheld, withheld(Obstacle::Neighbours));
        matched.remove_participant(HERE);
        let plan = matched.plan(|_| true, session, |_| true);
        assert_eq!(plan.withheld, None, "nobody could have it");
        assert_eq!(matched.participants().collect::<Vec<_>>(), [THERE]);
    }
}
