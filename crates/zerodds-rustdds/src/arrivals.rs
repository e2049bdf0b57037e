//! The ledger of a participant's readers: samples that came by shared memory, until nobody here can want them.
//!
//! ```text
//!   sample arrives ──▶ held, owed to every reader of its topic ──descriptor decoded──▶ owed to one fewer
//!                        │                                                               │ nobody left:
//!                        ├── its reader's history moved past it, or the reader is gone ──┤ given up
//!                        └── forgotten by its writer, or its writer is gone ─────────────┘
//! ```
//! RTPS carries the news (a descriptor) and shared memory the sample, which was sent first. So whoever decodes a
//! descriptor finds its sample here, or never will. An RTPS acknowledgement says nothing about the
//! application: only decoding ends what is owed. Nothing here waits, and no lock is taken.
//!
//! A reader that keeps the last *n* samples of an instance is owed a few more than *n*: what it decodes is
//! what RTPS has delivered so far, and that lags behind what has arrived here.

use crate::protocol::{Entity, SampleHeader, SampleKey, TopicHash};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use zerodds_core::Incarnation;

/// How much of a topic a reader wants to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// KEEP_LAST: `depth` samples of each instance, and `total` of all: RustDDS's cache holds no more either,
    /// however many instances there are.
    Last { depth: usize, total: usize },
    /// KEEP_ALL: everything, up to this many samples.
    All(usize),
}

/// Why there is no sample to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It was here, and is not any more, or came before this reader.
    Gone,
    /// It is not what its descriptor says.
    Mismatch,
}

/// What became of samples, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Samples that came for at least one reader.
    pub(crate) arrived: u64,
    /// Samples that no reader here wanted.
    pub(crate) unwanted: u64,
    /// Samples that a reader's history moved past before it decoded them, once for each reader.
    pub(crate) superseded: u64,
    /// Samples that did not fit a reader's limit of all samples.
    pub(crate) overflowed: u64,
    /// Descriptors without a sample.
    pub(crate) gone: u64,
}

/// The ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: HashMap<SampleKey, Held>,
    readers: BTreeMap<Entity, ReaderAccount>,
    topics: HashMap<TopicHash, Vec<Entity>>,
    tally: Tally,
}

#[derive(Debug)]
struct Held {
    cdr: Bytes,
    instance: u64,
    writer: Entity,
    /// Which of all arrivals it was.
    arrival: u64,
    owed: Vec<Entity>,
}

#[derive(Debug)]
struct ReaderAccount {
    topic: TopicHash,
    keep: Keep,
    instances: HashMap<u64, VecDeque<SampleKey>>,
    count: usize,
    /// Writers that are gone; what is owed of them ends when this reader has seen all there is.
    bereaved: HashMap<(Incarnation, Entity), u64>,
}

impl Ledger {
    /// A reader that takes descriptors now exists.
    pub(crate) fn add_reader(&mut self, reader: Entity, topic: TopicHash, keep: Keep) {
        let account =
            ReaderAccount { topic, keep, instances: HashMap::new(), count: 0, bereaved: HashMap::new() };
        self.readers.insert(reader, account);
        self.topics.entry(topic).or_default().push(reader);
    }

    /// A reader is gone; nothing is owed to it.
    pub(crate) fn remove_reader(&mut self, reader: Entity) {
        let Some(account) = self.readers.remove(&reader) else { return };
        if let Some(readers) = self.topics.get_mut(&account.topic) {
            readers.retain(|&other| other != reader);
            if readers.is_empty() {
                self.topics.remove(&account.topic);
            }
        }
        for key in account.instances.into_values().flatten() {
            settle(&mut self.held, key, reader);
        }
    }

    /// A sample arrived.
    pub(crate) fn arrive(&mut self, owner: Incarnation, header: SampleHeader, cdr: Bytes) {
        let Some(owed) = self.topics.get(&header.topic).cloned() else {
            self.tally.unwanted += 1;
            return;
        };
        self.tally.arrived += 1;
        let key = SampleKey { owner, id: header.id };
        let held = Held {
            cdr,
            instance: header.instance,
            writer: header.writer,
            arrival: self.tally.arrived,
            owed: owed.clone(),
        };
        // An id that is used twice is a writer's fault; what was under it first is given up.
        if self.held.contains_key(&key) {
            self.forget(key);
        }
        self.held.insert(key, held);
        for reader in owed {
            self.owe(reader, key, header.instance);
        }
    }

    /// Whether there is nothing to look for by arrivals: the sample is here.
    pub(crate) fn holds(&self, key: SampleKey) -> bool {
        self.held.contains_key(&key)
    }

    /// The sample of a descriptor that `reader` decodes.
    pub(crate) fn decode(&mut self, reader: Entity, key: SampleKey, len: u32) -> Result<Bytes, Missing> {
        let outcome = match self.held.get(&key) {
            None => Err(Missing::Gone),
            Some(held) if held.cdr.len() != len as usize => Err(Missing::Mismatch),
            Some(held) => Ok((held.cdr.clone(), held.instance)),
        };
        match outcome {
            Ok((cdr, instance)) => {
                self.strike(reader, key, instance);
                Ok(cdr)
            }
            Err(why) => {
                self.tally.gone += 1;
                Err(why)
            }
        }
    }

    /// No descriptor of this sample will come.
    pub(crate) fn forget(&mut self, key: SampleKey) {
        let Some(held) = self.held.get(&key) else { return };
        let (owed, instance) = (held.owed.clone(), held.instance);
        for reader in owed {
            self.strike(reader, key, instance);
        }
        self.held.remove(&key);
    }

    /// RTPS has lost this writer, in the session's `loss`-th loss: no descriptor will come besides those that RTPS
    /// holds already.
    pub(crate) fn bereave(&mut self, owner: Incarnation, writer: Entity, loss: u64) {
        for held in self.held.iter().filter(|(key, held)| key.owner == owner && held.writer == writer) {
            for reader in &held.1.owed {
                if let Some(account) = self.readers.get_mut(reader) {
                    account.bereaved.insert((owner, writer), loss);
                }
            }
        }
    }

    /// `reader` has decoded everything that RTPS held for it after this many losses.
    pub(crate) fn caught_up(&mut self, reader: Entity, losses: u64) {
        let Some(account) = self.readers.get_mut(&reader) else { return };
        if account.bereaved.is_empty() {
            return;
        }
        let gone: Vec<_> =
            account.bereaved.extract_if(|_, loss| *loss <= losses).map(|(writer, _)| writer).collect();
        let orphans = account
            .instances
            .iter()
            .flat_map(|(&instance, keys)| keys.iter().map(move |&key| (key, instance)));
        let of_the_gone =
            |key: &SampleKey| self.held.get(key).is_some_and(|held| gone.contains(&(key.owner, held.writer)));
        let orphans: Vec<_> = orphans.filter(|(key, _)| of_the_gone(key)).collect();
        for (key, instance) in orphans {
            self.strike(reader, key, instance);
        }
    }

    /// What became of samples so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Samples held now, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.len(), self.held.values().map(|held| held.cdr.len()).sum())
    }

    fn owe(&mut self, reader: Entity, key: SampleKey, instance: u64) {
        let Self { held, readers, tally, .. } = self;
        let Some(account) = readers.get_mut(&reader) else { return };
        let keys = account.instances.entry(instance).or_default();
        keys.push_back(key);
        account.count += 1;
        let limit = match account.keep {
            Keep::Last { depth, total } => {
                let given_up = beyond_history(keys, depth, held);
                account.count -= given_up;
                tally.superseded += given_up as u64;
                keys.drain(..given_up).for_each(|key| settle(held, key, reader));
                total
            }
            Keep::All(limit) => limit,
        };
        while account.count > limit {
            let Some(oldest) = account.take_oldest(held) else { return };
            tally.overflowed += 1;
            settle(held, oldest, reader);
        }
    }

    /// Ends what is owed to one reader of one sample.
    fn strike(&mut self, reader: Entity, key: SampleKey, instance: u64) {
        if let Some(account) = self.readers.get_mut(&reader)
            && let Some(keys) = account.instances.get_mut(&instance)
            && let Some(index) = keys.iter().position(|&other| other == key)
        {
            keys.remove(index);
            account.count -= 1;
            if keys.is_empty() {
                account.instances.remove(&instance);
            }
        }
        settle(&mut self.held, key, reader);
    }
}

impl ReaderAccount {
    /// Takes the sample off the account that arrived before all others.
    fn take_oldest(&mut self, held: &HashMap<SampleKey, Held>) -> Option<SampleKey> {
        let arrival = |keys: &VecDeque<SampleKey>| {
            keys.front().and_then(|key| held.get(key)).map_or(0, |held| held.arrival)
        };
        let (&instance, _) = self.instances.iter().min_by_key(|(_, keys)| arrival(keys))?;
        let keys = self.instances.get_mut(&instance)?;
        let oldest = keys.pop_front();
        self.count -= usize::from(oldest.is_some());
        if keys.is_empty() {
            self.instances.remove(&instance);
        }
        oldest
    }
}

/// How many of an instance's oldest samples history has moved past by so much that they are given up.
fn beyond_history(keys: &VecDeque<SampleKey>, depth: usize, held: &HashMap<SampleKey, Held>) -> usize {
    let mut beyond = keys.len().saturating_sub(depth);
    let len = |key: &SampleKey| held.get(key).map_or(0, |held| held.cdr.len());
    let mut bytes: usize = keys.iter().take(beyond).map(len).sum();
    let mut given_up = 0;
    for key in keys {
        if beyond <= SUPERSEDED_MIN || (beyond <= SUPERSEDED_MAX && bytes <= SUPERSEDED_BYTES_MAX) {
            break;
        }
        bytes -= len(key);
        beyond -= 1;
        given_up += 1;
    }
    given_up
}

/// Nothing is owed to `reader` of this sample; whether anything is to anyone decides whether it stays.
fn settle(held: &mut HashMap<SampleKey, Held>, key: SampleKey, reader: Entity) {
    if let Some(sample) = held.get_mut(&key) {
        sample.owed.retain(|&other| other != reader);
        if sample.owed.is_empty() {
            held.remove(&key);
        }
    }
}

/// Samples beyond its history that a reader is always owed, at most owed, and their bytes at most.
const SUPERSEDED_MIN: usize = 1;
const SUPERSEDED_MAX: usize = 64;
const SUPERSEDED_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "cloud";
    const A: Entity = [0, 0, 1, 4];
    const B: Entity = [0, 0, 2, 4];

    fn owner() -> Incarnation {
        Incarnation::from_bytes([1; 8])
    }

    fn key(id: u64) -> SampleKey {
        SampleKey { owner: owner(), id }
    }

    fn ledger(readers: &[(Entity, Keep)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(reader, keep) in readers {
            ledger.add_reader(reader, TopicHash::of(TOPIC, ""), keep);
        }
        ledger
    }

    fn arrive(ledger: &mut Ledger, id: u64, instance: u64, len: usize) {
        let header = SampleHeader { id, topic: TopicHash::of(TOPIC, ""), instance, writer: [0; 4] };
        ledger.arrive(owner(), header, vec![0; len].into());
    }

    #[test]
    fn a_sample_stays_until_the_last_reader_has_decoded_it() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 }), (B, Keep::All(9))]);
        arrive(&mut ledger, 1, 0, 10);
        assert!(ledger.decode(A, key(1), 10).is_ok());
        assert!(ledger.holds(key(1)), "B has not decoded it");
        assert!(ledger.decode(B, key(1), 10).is_ok());
        assert!(!ledger.holds(key(1)));
        assert_eq!(ledger.decode(B, key(1), 10), Err(Missing::Gone));
    }

    #[test]
    fn nothing_is_kept_for_readers_that_do_not_exist() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 1, total: 200 })]);
        arrive(&mut ledger, 1, 0, 10);
        ledger.remove_reader(A);
        assert_eq!(ledger.held(), (0, 0));
        arrive(&mut ledger, 2, 0, 10);
        assert_eq!((ledger.held(), ledger.tally().unwanted), ((0, 0), 1));
    }

    #[test]
    fn history_moves_past_large_samples_that_nobody_takes_and_keeps_its_depth() {
        let mut ledger = ledger(&[(A, Keep::Last { depth: 2, total: 200 })]);
        for id in 0..10 {
            arrive(&mut ledger, id, 0, SUPERSEDED_BYTES_MAX);
        }
        assert_eq!(ledger.held().0, 2 + SUPERSEDED_MIN);
        for id in 8..10 {
            assert!(ledger.decode(A, key(id), SUPERSEDED_BYTES_MAX as u32).is_ok(), "the last two are there");
        }
        assert_eq!(ledger.tally().superseded, 7);
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
            ledger.holds(key(999)) && ledger.holds(key(800)) && !ledger.holds(key(799)),
            "the oldest go first"
        );
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
        ledger.bereave(owner(), [0; 4], 1);
        assert!(ledger.decode(A, key(1), 10).is_ok(), "its descriptor had arrived");
        ledger.caught_up(A, 0);
        assert_eq!(ledger.held().0, 1, "it looked before the loss");
        ledger.caught_up(A, 1);
        assert_eq!(ledger.held().0, 0, "the descriptor of the second never will");
    }

    #[test]
    fn a_sample_that_its_writer_forgets_is_owed_to_nobody() {
        let mut ledger =
            ledger(&[(A, Keep::Last { depth: 1, total: 200 }), (B, Keep::Last { depth: 1, total: 200 })]);
        arrive(&mut ledger, 1, 0, 10);
        ledger.forget(key(1));
        assert_eq!(ledger.held().0, 0);
        arrive(&mut ledger, 1, 0, 20);
        assert_eq!(ledger.decode(A, key(1), 10), Err(Missing::Mismatch), "a length that does not agree");
        assert!(ledger.decode(A, key(1), 20).is_ok());
    }
}
