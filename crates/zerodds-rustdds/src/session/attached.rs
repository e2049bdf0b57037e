//! Which participants have a session in this process: each has one at most, as the session's name follows from the participant's.

use crate::protocol::Prefix;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// A participant's only session. When the attendant and the last user have dropped it, there can be another.
#[derive(Debug)]
pub(super) struct Attached(Prefix);

impl Attached {
    /// `None`: the participant has one.
    pub(super) fn new(participant: Prefix) -> Option<Self> {
        ATTACHED.lock().insert(participant).then(|| Self(participant))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        ATTACHED.lock().remove(&self.0);
    }
}

static ATTACHED: Mutex<BTreeSet<Prefix>> = Mutex::new(BTreeSet::new());
