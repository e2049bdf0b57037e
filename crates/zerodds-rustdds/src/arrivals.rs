//! The ledger of a participant's readers: samples that came by shared memory, until nobody here can want them.
//!
//! ```text
//!   sample arrives ──▶ held, owed to every reader of its topic ──descriptor decoded──▶ owed to one fewer
//!                        │                                                               │ nobody left:
//!                        ├── a later one of its writer was decoded ──────────────────────┤ given up
//!                        ├── its reader's history moved past it, or the reader is gone ──┤
//!                        ├── its LIFESPAN is over ───────────────────────────────────────┤
//!                        └── forgotten by its writer, or its writer is gone ─────────────┘
//! ```
//! RTPS carries the news (a descriptor) and shared memory the sample, which was sent first. So whoever decodes a
//! descriptor finds its sample here, or never will. An RTPS acknowledgement says nothing about the
//! application: only decoding ends what is owed. Nothing here waits, and no lock is taken.
//!
//! RTPS delivers a writer's samples in order. So with a descriptor decoded, the reader is past all that were described
//! before it, those too that RustDDS's cache has dropped: the descriptor says which these are.
//!
//! A reader that keeps the last *n* samples of an instance is owed a few more than *n*: what it decodes is
//! what RTPS has delivered so far, and that lags behind what has arrived here.

use crate::account::{Account, GivenUp, Keep, Owed, Source};
use crate::lifespan::{Lifespan, NEVER, Ticks};
use crate::protocol::{Descriptor, Entity, SampleHeader, SampleKey, TopicHash};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use zerodds_core::Incarnation;

/// What became of samples, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Samples that came for at least one reader.
    pub(crate) arrived: u64,
    /// Samples that a reader's history moved past before it decoded them, once for each reader.
    pub(crate) superseded: u64,
    /// Samples that did not fit a reader's limit of all samples.
    pub(crate) overflowed: u64,
    /// Samples whose LIFESPAN was over before a reader decoded them, once for each reader.
    pub(crate) expired: u64,
    /// Descriptors without a sample.
    pub(crate) gone: u64,
}

/// The ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    held: HashMap<SampleKey, Held>,
    readers: BTreeMap<Entity, Reader>,
    topics: HashMap<TopicHash, Vec<Entity>>,
    tally: Tally,
    /// Nothing expires before.
    soonest: Ticks,
}

#[derive(Debug)]
struct Reader {
    topic: TopicHash,
    lifespan: Lifespan,
    account: Account,
}

#[derive(Debug)]
struct Held {
    cdr: Bytes,
    writer: Entity,
    owed: Vec<Entity>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            readers: BTreeMap::new(),
            topics: HashMap::new(),
            tally: Tally::default(),
            soonest: NEVER,
        }
    }
}

impl Ledger {
    /// A reader that takes descriptors now exists.
    pub(crate) fn add_reader(&mut self, reader: Entity, topic: TopicHash, keep: Keep, lifespan: Lifespan) {
        self.readers.insert(reader, Reader { topic, lifespan, account: Account::new(keep) });
        self.topics.entry(topic).or_default().push(reader);
    }

    /// A reader is gone; nothing is owed to it.
    pub(crate) fn remove_reader(&mut self, reader: Entity) {
        let Some(Reader { topic, account, .. }) = self.readers.remove(&reader) else { return };
        if let Some(readers) = self.topics.get_mut(&topic) {
            readers.retain(|&other| other != reader);
            if readers.is_empty() {
                self.topics.remove(&topic);
            }
        }
        self.settle(account.keys().collect(), reader);
    }

    /// A sample arrived.
    pub(crate) fn arrive(&mut self, owner: Incarnation, header: SampleHeader, cdr: Bytes) {
        let source = (owner, header.writer);
        let wants =
            |reader: &Entity| self.readers.get(reader).is_some_and(|reader| reader.account.wants(source));
        let owed: Vec<Entity> =
            self.topics.get(&header.topic).into_iter().flatten().copied().filter(wants).collect();
        if owed.is_empty() {
            return;
        }
        self.tally.arrived += 1;
        let key = SampleKey { owner, id: header.id };
        // An id that is used twice is a writer's fault; what was under it first is given up.
        self.forget(key);
        let len = cdr.len();
        self.held.insert(key, Held { cdr, writer: header.writer, owed: owed.clone() });
        let arrival = self.tally.arrived;
        for reader in owed {
            let Some(Reader { account, lifespan, .. }) = self.readers.get_mut(&reader) else { continue };
            let expires = header.lifespan.min(*lifespan).end(header.written);
            self.soonest = self.soonest.min(expires);
            let owed = Owed { key, source, instance: header.instance, len, expires };
            let GivenUp { superseded, overflowed } = account.owe(arrival, owed);
            self.tally.superseded += superseded.len() as u64;
            self.tally.overflowed += overflowed.len() as u64;
            self.settle(superseded, reader);
            self.settle(overflowed, reader);
        }
    }

    /// Whether there is nothing to look for by arrivals: the sample is here.
    pub(crate) fn holds(&self, key: SampleKey) -> bool {
        self.held.contains_key(&key)
    }

    /// The sample of a descriptor that `reader` decodes, if it is owed that, as the descriptor says it.
    pub(crate) fn decode(&mut self, reader: Entity, descriptor: Descriptor) -> Option<Bytes> {
        let key = descriptor.key;
        // TRUST: whoever can forge RTPS could otherwise read to one reader what was meant for another.
        let is_it = |held: &&Held| held.owed.contains(&reader) && held.cdr.len() == descriptor.len as usize;
        let Some(Held { cdr, writer, .. }) = self.held.get(&key).filter(is_it) else {
            self.tally.gone += 1;
            return None;
        };
        let (cdr, source) = (cdr.clone(), (key.owner, *writer));
        if let Some(Reader { account, .. }) = self.readers.get_mut(&reader) {
            account.strike(key, source);
            let passed = account.strike_before(source, descriptor.floor);
            self.settle(passed, reader);
        }
        self.settle(vec![key], reader);
        Some(cdr)
    }

    /// No descriptor of this sample will come.
    pub(crate) fn forget(&mut self, key: SampleKey) {
        let Some(held) = self.held.remove(&key) else { return };
        for reader in held.owed {
            if let Some(Reader { account, .. }) = self.readers.get_mut(&reader) {
                account.strike(key, (key.owner, held.writer));
            }
        }
    }

    /// RTPS does not match this writer with this reader, or it does after all.
    pub(crate) fn exclude(&mut self, reader: Entity, source: Source, excluded: bool) {
        if let Some(Reader { account, .. }) = self.readers.get_mut(&reader) {
            let given_up = account.exclude(source, excluded);
            self.settle(given_up, reader);
        }
    }

    /// RTPS has lost these writers, in the session's `loss`-th loss: no descriptor will come besides those that RTPS
    /// holds already.
    pub(crate) fn bereave(&mut self, lost: impl Fn(&Source) -> bool, loss: u64) {
        self.readers.values_mut().for_each(|reader| reader.account.bereave(&lost, loss));
    }

    /// `reader` has decoded everything that RTPS held for it after this many losses.
    pub(crate) fn caught_up(&mut self, reader: Entity, losses: u64) {
        if let Some(Reader { account, .. }) = self.readers.get_mut(&reader) {
            let orphans = account.caught_up(losses);
            self.settle(orphans, reader);
        }
    }

    /// Nothing expires before this.
    pub(crate) const fn soonest(&self) -> Ticks {
        self.soonest
    }

    /// Gives up what has expired by now; what of it was owed to whom.
    pub(crate) fn expire(&mut self, now: Ticks) -> Vec<(Entity, SampleKey)> {
        if now < self.soonest {
            return Vec::new();
        }
        let accounts = self.readers.iter_mut().map(|(&reader, state)| (reader, &mut state.account));
        let expired: Vec<_> = accounts.map(|(reader, account)| (reader, account.expire(now))).collect();
        let mut given_up = Vec::new();
        for (reader, keys) in expired {
            self.tally.expired += keys.len() as u64;
            given_up.extend(keys.iter().map(|&key| (reader, key)));
            self.settle(keys, reader);
        }
        let left = self.readers.values().map(|reader| reader.account.next_expiry());
        self.soonest = left.min().unwrap_or(NEVER);
        given_up
    }

    /// What became of samples so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Samples held now, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.len(), self.held.values().map(|held| held.cdr.len()).sum())
    }

    /// Nothing is owed to `reader` of these samples; whether anything is to anyone decides whether they stay.
    fn settle(&mut self, keys: Vec<SampleKey>, reader: Entity) {
        for key in keys {
            if let Some(sample) = self.held.get_mut(&key) {
                sample.owed.retain(|&other| other != reader);
                if sample.owed.is_empty() {
                    self.held.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{SUPERSEDED_BYTES_MAX, SUPERSEDED_MAX, SUPERSEDED_MIN};

    const TOPIC: &str = "cloud";
    const A: Entity = [0, 0, 1, 4];
    const B: Entity = [0, 0, 2, 4];

    fn owner() -> Incarnation {
        Incarnation::from_bytes([1; 8])
    }

    fn key(id: u64) -> SampleKey {
        SampleKey { owner: owner(), id }
    }

    fn described(id: u64, len: u32) -> Descriptor {
        Descriptor { key: key(id), len, floor: id }
    }

    fn ledger(readers: &[(Entity, Keep)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(reader, keep) in readers {
            ledger.add_reader(reader, TopicHash::of(TOPIC), keep, Lifespan::ENDLESS);
        }
        ledger
    }

    fn arrive(ledger: &mut Ledger, id: u64, instance: u64, len: usize) {
        ledger.arrive(owner(), SampleHeader { instance, ..header(id) }, vec![0; len].into());
    }

    fn header(id: u64) -> SampleHeader {
        let (topic, lifespan) = (TopicHash::of(TOPIC), Lifespan::ENDLESS);
        SampleHeader { id, topic, instance: 0, writer: [0; 4], written: None, lifespan }
    }

    #[test]
    fn a_sample_stays_until_the_last_reader_has_decoded_it() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 }), (B, Keep::All(9))]);
        arrive(&mut ledger, 1, 0, 10);
        assert!(ledger.decode(A, described(1, 10)).is_some());
        assert!(ledger.holds(key(1)), "B has not decoded it");
        assert!(ledger.decode(B, described(1, 10)).is_some());
        assert!(!ledger.holds(key(1)));
        assert_eq!(ledger.decode(B, described(1, 10)), None);
    }

    #[test]
    fn nothing_is_kept_for_readers_that_do_not_exist() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        arrive(&mut ledger, 1, 0, 10);
        ledger.remove_reader(A);
        assert_eq!(ledger.held(), (0, 0));
        arrive(&mut ledger, 2, 0, 10);
        assert_eq!(ledger.held(), (0, 0));
    }

    #[test]
    fn history_moves_past_large_samples_that_nobody_takes_and_keeps_its_depth() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 2, total: 200 })]);
        for id in 0..10 {
            arrive(&mut ledger, id, 0, SUPERSEDED_BYTES_MAX);
        }
        assert_eq!(ledger.held().0, 2 + SUPERSEDED_MIN);
        for id in 8..10 {
            assert!(
                ledger.decode(A, described(id, SUPERSEDED_BYTES_MAX as u32)).is_some(),
                "the last two are there"
            );
        }
        assert_eq!(ledger.tally().superseded, 8 - SUPERSEDED_MIN as u64);
    }

    #[test]
    fn a_sample_whose_write_fails_after_all_moves_no_history_past_the_last_that_did_not() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        for id in 0..3 {
            arrive(&mut ledger, id, 0, SUPERSEDED_BYTES_MAX);
        }
        ledger.forget(key(2));
        assert!(ledger.decode(A, described(1, SUPERSEDED_BYTES_MAX as u32)).is_some());
    }

    #[test]
    fn small_samples_wait_a_while_longer_than_history_says() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        for id in 0..1000 {
            arrive(&mut ledger, id, 0, 1000);
        }
        assert_eq!(ledger.held().0, 1 + SUPERSEDED_MAX, "since RTPS lags behind");
    }

    #[test]
    fn a_reader_behind_a_writer_faster_than_rtps_always_finds_the_next_one() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        let mut next = 0;
        for id in 0..10_000 {
            arrive(&mut ledger, id, 0, SUPERSEDED_BYTES_MAX / 10);
            // RTPS is a thousand samples behind.
            if id > next + 1_000 {
                assert!(
                    ledger.decode(A, described(next, SUPERSEDED_BYTES_MAX as u32 / 10)).is_some(),
                    "{next}"
                );
                while !ledger.holds(key(next)) {
                    next += 1;
                }
            }
        }
        assert!(next > 1_000);
    }

    #[test]
    fn what_rtps_dropped_is_settled_with_the_next_that_it_delivers() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        for id in 0..5 {
            arrive(&mut ledger, id, id, 10);
        }
        let last = Descriptor { key: key(4), len: 10, floor: 4 };
        assert!(ledger.decode(A, last).is_some());
        assert_eq!(ledger.held().0, 0);
    }

    #[test]
    fn a_writer_that_rtps_does_not_match_costs_a_reader_nothing() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        arrive(&mut ledger, 0, 0, 10);
        ledger.exclude(A, (owner(), [0; 4]), true);
        arrive(&mut ledger, 1, 0, 10);
        assert_eq!(ledger.held().0, 0);
        ledger.exclude(A, (owner(), [0; 4]), false);
        arrive(&mut ledger, 2, 0, 10);
        assert_eq!(ledger.held().0, 1);
        ledger.exclude(A, (owner(), [0; 4]), true);
        ledger.bereave(|_| true, 1);
        arrive(&mut ledger, 3, 0, 10);
        assert_eq!(ledger.held().0, 1, "it was remembered no longer than the writer was there");
    }

    #[test]
    fn a_descriptor_leads_no_reader_to_what_is_not_its_own() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        ledger.add_reader(B, TopicHash::of("another"), Keep::All(9), Lifespan::ENDLESS);
        arrive(&mut ledger, 1, 0, 10);
        assert_eq!(ledger.decode(B, described(1, 10)), None);
        assert!(ledger.decode(A, described(1, 10)).is_some());
    }

    #[test]
    fn every_instance_has_a_history_of_its_own() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        arrive(&mut ledger, 0, 7, 10);
        for id in 1..100 {
            arrive(&mut ledger, id, 8, SUPERSEDED_BYTES_MAX);
        }
        assert!(ledger.holds(key(0)));
    }

    #[test]
    fn any_number_of_instances_is_bounded_by_the_limit_of_all_samples() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        for id in 0..1_000 {
            arrive(&mut ledger, id, id, 10);
        }
        assert_eq!((ledger.held().0, ledger.tally().overflowed), (200, 800));
        assert!(
            ledger.holds(key(999)) && ledger.holds(key(801)) && !ledger.holds(key(800)),
            "older ones go first"
        );
        assert!(ledger.holds(key(0)), "but for the one that RTPS delivers next");
    }

    #[test]
    fn a_reader_that_keeps_all_loses_only_what_is_beyond_its_limit() {
        let mut ledger = ledger(&[(A, Keep::All(3))]);
        for id in 0..5 {
            arrive(&mut ledger, id, 0, SUPERSEDED_BYTES_MAX);
        }
        assert_eq!((ledger.held().0, ledger.tally().overflowed), (3, 2));
    }

    #[test]
    fn what_a_dead_writer_announced_is_kept_and_what_it_did_not_is_dropped() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        arrive(&mut ledger, 1, 0, 10);
        arrive(&mut ledger, 2, 0, 10);
        ledger.bereave(|&source| source == (owner(), [0; 4]), 1);
        assert!(ledger.decode(A, described(1, 10)).is_some(), "its descriptor had arrived");
        ledger.caught_up(A, 0);
        assert_eq!(ledger.held().0, 1, "it looked before the loss");
        ledger.caught_up(A, 1);
        assert_eq!(ledger.held().0, 0, "the descriptor of the second never will");
    }

    #[test]
    fn a_writer_that_comes_back_is_not_taken_for_one_that_is_gone() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        arrive(&mut ledger, 1, 0, 10);
        ledger.bereave(|&source| source == (owner(), [0; 4]), 1);
        ledger.exclude(A, (owner(), [0; 4]), false);
        arrive(&mut ledger, 2, 0, 10);
        ledger.caught_up(A, 1);
        assert!(ledger.decode(A, Descriptor { floor: 2, ..described(2, 10) }).is_some());
        assert_eq!(ledger.held().0, 0, "the first went with it");
    }

    #[test]
    fn a_sample_expires_for_each_reader_by_the_shorter_lifespan_and_is_freed_when_nobody_is_owed_it() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        ledger.add_reader(B, TopicHash::of(TOPIC), Keep::All(9), Lifespan::from_word(5));
        let mortal = SampleHeader { written: Some(100), lifespan: Lifespan::from_word(10), ..header(1) };
        ledger.arrive(owner(), mortal, vec![0; 10].into());
        arrive(&mut ledger, 2, 0, 10);
        assert_eq!(ledger.soonest(), 105);
        assert_eq!(ledger.expire(104), []);
        assert_eq!(ledger.tally().expired, 0);
        assert_eq!(ledger.expire(105), [(B, key(1))]);
        assert_eq!(ledger.decode(B, described(1, 10)), None);
        assert!(ledger.holds(key(1)), "A is owed it for longer");
        assert_eq!(ledger.soonest(), 110);
        assert_eq!(ledger.expire(110), [(A, key(1))]);
        assert_eq!((ledger.held().0, ledger.tally().expired, ledger.soonest()), (1, 2, NEVER));
        assert!(ledger.decode(A, described(2, 10)).is_some(), "what was not stamped never expires");
    }

    #[test]
    fn what_was_decoded_in_time_does_not_count_as_expired() {
        let mut ledger = ledger(&[(A, Keep::All(9))]);
        let mortal = SampleHeader { written: Some(100), lifespan: Lifespan::from_word(10), ..header(1) };
        ledger.arrive(owner(), mortal, vec![0; 10].into());
        assert!(ledger.decode(A, described(1, 10)).is_some());
        assert_eq!(ledger.expire(200), []);
        assert_eq!((ledger.tally().expired, ledger.soonest()), (0, NEVER));
    }

    #[test]
    fn a_sample_that_its_writer_forgets_is_owed_to_nobody() {
        let mut ledger =
            ledger(&[(A, Keep::Last { depth: 1, total: 200 }), (B, Keep::Last { depth: 1, total: 200 })]);
        arrive(&mut ledger, 1, 0, 10);
        ledger.forget(key(1));
        assert_eq!(ledger.held().0, 0);
        arrive(&mut ledger, 1, 0, 20);
        assert_eq!(ledger.decode(A, described(1, 10)), None, "a length that does not agree");
        assert!(ledger.decode(A, described(1, 20)).is_some());
    }
}
