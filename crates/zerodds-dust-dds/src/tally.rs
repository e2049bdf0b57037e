//! Counts what passes through one participant, by path.
//!
//! The transports count messages; only here is it known which of them carry an application's samples, which
//! are repetitions of one, and what was done to them on the way.

use crate::rtps::{Guid, Malformed};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use zerodds_core::Path;

/// An application's samples that took one path. Discovery and acknowledgements are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathTraffic {
    /// Samples given to this path, once per reader and repetition.
    pub samples_sent: u64,
    /// Samples that came by this path, each once however often it was repeated.
    pub samples_received: u64,
}

/// What the participants of a factory have sent and received so far, those that are deleted included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// By shared memory.
    pub shm: PathTraffic,
    /// By UDP.
    pub udp: PathTraffic,
    /// Samples cut into fragments for UDP, once per reader and repetition.
    pub fragmented: u64,
    /// Samples put together from fragments.
    pub reassembled: u64,
    /// Samples of which some fragments never came; a reliable writer sends them again. Among them are those that are too
    /// large to be put together, once each.
    pub incomplete: u64,
    /// Messages for a peer that had no room for them in time; RTPS repairs reliable ones.
    pub unserved: u64,
    /// Messages and submessages dropped because they were malformed.
    pub malformed: u64,
}

/// The counters of one participant.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    samples_sent: [AtomicU64; 2],
    samples_received: [AtomicU64; 2],
    fragmented: AtomicU64,
    reassembled: AtomicU64,
    incomplete: AtomicU64,
    unserved: AtomicU64,
    malformed: AtomicU64,
    seen: Mutex<HashMap<Guid, Seen>>,
}

/// Which of a writer's last 128 samples have come.
#[derive(Clone, Copy, Debug)]
struct Seen {
    highest: i64,
    /// Bit n: `highest - n` has come.
    recent: u128,
}

impl Tally {
    pub(crate) fn sent_sample(&self, path: Path) {
        count(&self.samples_sent[index(path)]);
    }

    pub(crate) fn received_sample(&self, path: Path, writer: Guid, number: i64) {
        let mut seen = self.seen.lock();
        if seen.len() >= WRITERS_MAX && !seen.contains_key(&writer) {
            seen.clear();
        }
        let new = match seen.get_mut(&writer) {
            Some(seen) => seen.is_new(number),
            None => seen.insert(writer, Seen { highest: number, recent: 1 }).is_none(),
        };
        if new {
            count(&self.samples_received[index(path)]);
        }
    }

    pub(crate) fn fragmented(&self) {
        count(&self.fragmented);
    }

    pub(crate) fn reassembled(&self) {
        count(&self.reassembled);
    }

    pub(crate) fn incomplete(&self, samples: usize) {
        self.incomplete.fetch_add(samples as u64, Ordering::Relaxed);
    }

    pub(crate) fn unserved(&self) {
        count(&self.unserved);
    }

    /// Counts it, and says so the first time.
    pub(crate) fn malformed(&self, malformed: Malformed) {
        if self.malformed.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("dropped an RTPS submessage, {malformed}; further ones are only counted");
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let path = |path| PathTraffic {
            samples_sent: read(&self.samples_sent[index(path)]),
            samples_received: read(&self.samples_received[index(path)]),
        };
        Traffic {
            shm: path(Path::SharedMemory),
            udp: path(Path::Udp),
            fragmented: read(&self.fragmented),
            reassembled: read(&self.reassembled),
            incomplete: read(&self.incomplete),
            unserved: read(&self.unserved),
            malformed: read(&self.malformed),
        }
    }
}

impl Seen {
    fn is_new(&mut self, number: i64) -> bool {
        let ahead = number.saturating_sub(self.highest);
        if ahead > 0 {
            self.recent = if ahead < 128 { self.recent << ahead | 1 } else { 1 };
            self.highest = number;
            return true;
        }
        // What lies further back than it remembers is a late repetition.
        let Some(bit) = 1_u128.checked_shl(u32::try_from(-ahead).unwrap_or(u32::MAX)) else { return false };
        let new = self.recent & bit == 0;
        self.recent |= bit;
        new
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let path = |a: PathTraffic, b: PathTraffic| PathTraffic {
            samples_sent: a.samples_sent + b.samples_sent,
            samples_received: a.samples_received + b.samples_received,
        };
        Self {
            shm: path(self.shm, other.shm),
            udp: path(self.udp, other.udp),
            fragmented: self.fragmented + other.fragmented,
            reassembled: self.reassembled + other.reassembled,
            incomplete: self.incomplete + other.incomplete,
            unserved: self.unserved + other.unserved,
            malformed: self.malformed + other.malformed,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

const fn index(path: Path) -> usize {
    matches!(path, Path::SharedMemory) as usize
}

/// Beyond it, repetitions may be counted again.
const WRITERS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::{EntityId, GuidPrefix};
    use proptest::prelude::*;
    use std::collections::HashSet;

    const WRITER: Guid = Guid { prefix: GuidPrefix([1; 12]), entity: EntityId([0, 0, 1, 3]) };

    proptest! {
        #[test]
        fn a_sample_counts_once_however_often_it_comes(numbers in prop::collection::vec(1_i64..100, 0..300)) {
            let tally = Tally::default();
            numbers.iter().for_each(|&number| tally.received_sample(Path::Udp, WRITER, number));
            let distinct: HashSet<_> = numbers.into_iter().collect();
            prop_assert_eq!(tally.traffic().udp.samples_received, distinct.len() as u64);
        }
    }

    #[test]
    fn a_jump_ahead_forgets_the_past_without_overflow() {
        let tally = Tally::default();
        for number in [1, 1 << 62, 1, 1 << 62, (1 << 62) - 3] {
            tally.received_sample(Path::SharedMemory, WRITER, number);
        }
        let traffic = tally.traffic();
        assert_eq!((traffic.shm.samples_received, traffic.udp.samples_received), (3, 0));
        assert_eq!((traffic + traffic).shm.samples_received, 6);
    }
}
