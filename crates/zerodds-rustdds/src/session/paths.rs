//! By which path samples go to whom.

use zerodds_core::{Path, Reason};

/// How samples reach another participant, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerPath {
    /// Its GUID prefix.
    pub participant: [u8; 12],
    /// The path of samples from the threshold on, if QoS leaves them the choice (docs/qos.md).
    pub path: Path,
    /// Why that one.
    pub reason: Reason,
}

impl PeerPath {
    /// Whether that is shared memory.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.path == Path::SharedMemory
    }
}
