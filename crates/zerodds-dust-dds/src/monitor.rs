//! What a factory's participants are doing, for the application to ask once the factory is Dust's.

use crate::tally::Traffic;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use zerodds_core::{Counters, PathReport};

/// Answers for all participants of one factory. Clones ask the same ones.
///
/// ```no_run
/// use zerodds_dust_dds::{Path, PathReport};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let zerodds = zerodds_dust_dds::ZeroDds::from_env()?;
/// let monitor = zerodds.monitor();
/// let factory = zerodds.factory()?;
/// // ... participants, writers, readers ...
/// for peer in monitor.paths() {
///     println!("{} is served by {}: {}", peer.peer, peer.path, peer.reason);
/// }
/// let is_shared = |peer: &PathReport| peer.path == Path::SharedMemory;
/// println!("{} peers share memory", monitor.paths().iter().filter(|peer| is_shared(peer)).count());
/// println!("{} samples came by shared memory", monitor.traffic().shm.samples_received);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Monitor(pub(crate) Arc<Registry>);

impl Monitor {
    /// Which path each peer is served by, since when and why; in no order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathReport> {
        self.0.alive().iter().flat_map(|one| one.paths()).collect()
    }

    /// What the transports of the participants that are there now have counted, in messages: discovery,
    /// acknowledgements and fragments included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.alive().iter().fold(Counters::default(), |sum, one| sum + one.counters())
    }

    /// Samples by path, and what was done to them on the way.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let (past, alive) = self.0.past_and_alive();
        alive.iter().fold(past, |sum, one| sum + one.traffic())
    }

    /// How many datagrams were lost on purpose, of all participants that there have been.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn udp_faults(&self) -> u64 {
        let afflicted = self.0.afflicted.lock();
        afflicted.iter().map(|one| one.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }
}

/// What can be asked of a participant.
pub(crate) trait Observed: Send + Sync {
    fn paths(&self) -> Vec<PathReport>;
    fn counters(&self) -> Counters;
    fn traffic(&self) -> Traffic;
}

/// The participants of a factory. It does not keep them alive.
#[derive(Default)]
pub(crate) struct Registry {
    participants: Mutex<Vec<Weak<dyn Observed>>>,
    /// What those had counted that are no longer there.
    past: Mutex<Traffic>,
    /// What each participant has lost on purpose.
    #[cfg(feature = "testing")]
    pub(crate) afflicted: Mutex<Vec<Arc<std::sync::atomic::AtomicU64>>>,
}

impl Registry {
    pub(crate) fn enrol<T: Observed + 'static>(&self, participant: &Arc<T>) {
        let weak = Arc::downgrade(participant);
        self.participants.lock().push(weak);
    }

    /// Takes a participant out, with what it has counted.
    pub(crate) fn retire<T: Observed + 'static>(&self, participant: &Arc<T>) {
        let mut participants = self.participants.lock();
        let address = Arc::as_ptr(participant).cast::<()>();
        participants.retain(|one| one.strong_count() > 0 && one.as_ptr().cast::<()>() != address);
        let counted = participant.traffic();
        let mut past = self.past.lock();
        *past = *past + counted;
    }

    fn alive(&self) -> Vec<Arc<dyn Observed>> {
        self.past_and_alive().1
    }

    /// At one moment: who is taken out is among the past, and nowhere else.
    fn past_and_alive(&self) -> (Traffic, Vec<Arc<dyn Observed>>) {
        let participants = self.participants.lock();
        (*self.past.lock(), participants.iter().filter_map(Weak::upgrade).collect())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("participants", &self.participants.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A participant that has counted one message.
    #[derive(Default)]
    struct One {
        goes: AtomicBool,
        is_asked: AtomicBool,
    }

    impl Observed for One {
        fn paths(&self) -> Vec<PathReport> {
            Vec::new()
        }

        fn counters(&self) -> Counters {
            Counters::default()
        }

        /// While it goes, whoever asks the monitor comes in between.
        fn traffic(&self) -> Traffic {
            if self.goes.load(Ordering::Relaxed) {
                self.is_asked.store(true, Ordering::Relaxed);
                (0..1_000).for_each(|_| std::thread::yield_now());
            }
            Traffic { unserved: 1, ..Traffic::default() }
        }
    }

    #[test]
    fn what_was_counted_stays_counted_while_participants_go() {
        let monitor = Monitor(Arc::default());
        for count in 1..=20 {
            let one = Arc::new(One::default());
            monitor.0.enrol(&one);
            assert_eq!(monitor.traffic().unserved, count);
            one.goes.store(true, Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| monitor.0.retire(&one));
                while !one.is_asked.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                assert_eq!(monitor.traffic().unserved, count);
            });
        }
    }
}
