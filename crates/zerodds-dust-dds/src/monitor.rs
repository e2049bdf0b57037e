//! What a factory's participants are doing, for the application to ask once the factory is Dust's.

use crate::tally::Traffic;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use zerodds_core::{Counters, PathReport};

/// Answers for all participants of one factory. Clones ask the same ones.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let zerodds = zerodds_dust_dds::ZeroDds::from_env()?;
/// let monitor = zerodds.monitor();
/// let factory = zerodds.factory()?;
/// // ... participants, writers, readers ...
/// for peer in monitor.paths() {
///     println!("{} is served by {}: {}", peer.peer, peer.path, peer.reason);
/// }
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
        let past = *self.0.past.lock();
        self.0.alive().iter().fold(past, |sum, one| sum + one.traffic())
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
        let mut past = self.past.lock();
        *past = *past + participant.traffic();
    }

    fn alive(&self) -> Vec<Arc<dyn Observed>> {
        self.participants.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("participants", &self.participants.lock().len())
            .finish_non_exhaustive()
    }
}
