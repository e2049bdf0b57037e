//! What one reader is owed: which samples, in which histories, and when that ends.
//!
//! ```text
//!   history of one writer's instance, KEEP_LAST(2):   oldest │ middle … │ 2 and 1 newest
//!                                                     kept     goes first  kept
//! ```
//! The newest belong to the reader by its HISTORY, and one more: the last may be taken back, where its write fails after it
//! has come here. The oldest is the one whose descriptor RTPS delivers next: if it went first, a reader behind a writer that is
//! faster than RTPS would find nothing, ever.

use crate::lifespan::{NEVER, Ticks};
use crate::protocol::{Entity, SampleKey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use zerodds_core::Incarnation;

/// A writer, by its participant's incarnation.
pub(crate) type Source = (Incarnation, Entity);

/// How much of a topic a reader wants to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// KEEP_LAST: `depth` samples of each instance, and `total` of all: RustDDS's cache holds no more either,
    /// however many instances there are.
    Last { depth: usize, total: usize },
    /// KEEP_ALL: everything, up to this many samples.
    All(usize),
}

/// One reader's account.
#[derive(Debug)]
pub(crate) struct Account {
    keep: Keep,
    /// By order of arrival.
    owed: BTreeMap<u64, Owed>,
    /// Arrivals that expire, by when.
    expiring: BTreeSet<(Ticks, u64)>,
    /// Arrivals in the history of each instance of each writer.
    histories: HashMap<(Source, u64), VecDeque<u64>>,
    /// Arrivals of each writer by sample id.
    sources: HashMap<Source, BTreeMap<u64, u64>>,
    /// Writers whose QoS does not suit this reader: RTPS will never give it their samples.
    excluded: HashSet<Source>,
    /// Writers that are gone and had sent something that is still owed, by the loss in which they went.
    bereaved: HashMap<Source, u64>,
}

/// A sample that is owed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) key: SampleKey,
    pub(crate) source: Source,
    pub(crate) instance: u64,
    pub(crate) len: usize,
    pub(crate) expires: Ticks,
}

/// Samples that a reader is not owed any more, though it has not decoded them.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    /// Its history moved past them.
    pub(crate) superseded: Vec<SampleKey>,
    /// They were too many in all.
    pub(crate) overflowed: Vec<SampleKey>,
}

impl Account {
    pub(crate) fn new(keep: Keep) -> Self {
        Self {
            keep,
            owed: BTreeMap::new(),
            expiring: BTreeSet::new(),
            histories: HashMap::new(),
            sources: HashMap::new(),
            excluded: HashSet::new(),
            bereaved: HashMap::new(),
        }
    }

    pub(crate) fn wants(&self, source: Source) -> bool {
        !self.excluded.contains(&source)
    }

    /// Everything that is owed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SampleKey> + '_ {
        self.owed.values().map(|owed| owed.key)
    }

    /// A sample arrived; what is given up for it.
    pub(crate) fn owe(&mut self, arrival: u64, owed: Owed) -> GivenUp {
        let Owed { key, source, instance, expires, .. } = owed;
        self.owed.insert(arrival, owed);
        if expires != NEVER {
            self.expiring.insert((expires, arrival));
        }
        self.sources.entry(source).or_default().insert(key.id, arrival);
        self.histories.entry((source, instance)).or_default().push_back(arrival);
        let mut given_up = GivenUp::default();
        let limit = match self.keep {
            Keep::All(limit) => limit,
            Keep::Last { depth, total } => {
                while let Some(arrival) = self.beyond_history((source, instance), depth) {
                    given_up.superseded.extend(self.remove(arrival));
                }
                total
            }
        };
        while self.owed.len() > limit {
            let Some(&arrival) = self.owed.keys().take(2).next_back() else { break };
            given_up.overflowed.extend(self.remove(arrival));
        }
        given_up
    }

    /// Ends what is owed of one sample.
    pub(crate) fn strike(&mut self, key: SampleKey, source: Source) {
        if let Some(&arrival) = self.sources.get(&source).and_then(|arrivals| arrivals.get(&key.id)) {
            self.remove(arrival);
        }
    }

    /// Ends what is owed of this writer's samples with lower ids.
    pub(crate) fn strike_before(&mut self, source: Source, id: u64) -> Vec<SampleKey> {
        let Some(arrivals) = self.sources.get(&source) else { return Vec::new() };
        let before: Vec<u64> = arrivals.range(..id).map(|(_, &arrival)| arrival).collect();
        before.into_iter().filter_map(|arrival| self.remove(arrival)).collect()
    }

    /// Ends what is owed of samples that have expired by then.
    pub(crate) fn expire(&mut self, now: Ticks) -> Vec<SampleKey> {
        let expired: Vec<u64> = self
            .expiring
            .iter()
            .take_while(|(expires, _)| *expires <= now)
            .map(|&(_, arrival)| arrival)
            .collect();
        expired.into_iter().filter_map(|arrival| self.remove(arrival)).collect()
    }

    /// When the next sample expires.
    pub(crate) fn next_expiry(&self) -> Ticks {
        self.expiring.first().map_or(NEVER, |&(expires, _)| expires)
    }

    /// This writer's samples will never come here by RTPS, or (again) they will.
    pub(crate) fn exclude(&mut self, source: Source, excluded: bool) -> Vec<SampleKey> {
        if !excluded {
            self.excluded.remove(&source);
            // It has come back, if it was lost.
            self.bereaved.remove(&source);
            return Vec::new();
        }
        self.excluded.insert(source);
        self.strike_before(source, u64::MAX)
    }

    /// These writers are gone, in this loss.
    pub(crate) fn bereave(&mut self, lost: impl Fn(&Source) -> bool, loss: u64) {
        self.excluded.retain(|source| !lost(source));
        let lost = self.sources.keys().filter(|source| lost(source));
        self.bereaved.extend(lost.map(|&source| (source, loss)));
    }

    /// The reader has decoded everything that RTPS held for it after this many losses: what is still owed of the
    /// gone will never be asked for.
    pub(crate) fn caught_up(&mut self, losses: u64) -> Vec<SampleKey> {
        let gone: Vec<Source> =
            self.bereaved.extract_if(|_, loss| *loss <= losses).map(|(source, _)| source).collect();
        gone.into_iter().flat_map(|source| self.strike_before(source, u64::MAX)).collect()
    }

    /// The next sample to give up of this history, if it has too many.
    fn beyond_history(&self, history: (Source, u64), depth: usize) -> Option<u64> {
        let arrivals = self.histories.get(&history)?;
        let beyond = arrivals.len().checked_sub(depth).filter(|&beyond| beyond > SUPERSEDED_MIN)?;
        let len = |arrival| self.owed.get(arrival).map_or(0, |owed| owed.len);
        let bytes: usize = arrivals.iter().take(beyond).map(len).sum();
        (beyond > SUPERSEDED_MAX || bytes > SUPERSEDED_BYTES_MAX).then(|| arrivals.get(1).copied())?
    }

    fn remove(&mut self, arrival: u64) -> Option<SampleKey> {
        let Owed { key, source, instance, expires, .. } = self.owed.remove(&arrival)?;
        self.expiring.remove(&(expires, arrival));
        if let Some(arrivals) = self.sources.get_mut(&source) {
            arrivals.remove(&key.id);
            if arrivals.is_empty() {
                self.sources.remove(&source);
                self.bereaved.remove(&source);
            }
        }
        if let Some(arrivals) = self.histories.get_mut(&(source, instance)) {
            if let Ok(index) = arrivals.binary_search(&arrival) {
                arrivals.remove(index);
            }
            if arrivals.is_empty() {
                self.histories.remove(&(source, instance));
            }
        }
        Some(key)
    }
}

/// Samples beyond its history that a reader is always owed (the oldest, and one for a newest that is taken back), at most owed,
/// and their bytes at most.
pub(crate) const SUPERSEDED_MIN: usize = 2;
pub(crate) const SUPERSEDED_MAX: usize = 64;
pub(crate) const SUPERSEDED_BYTES_MAX: usize = 4 << 20;
