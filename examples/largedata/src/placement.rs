//! On which processors publisher and subscribers run.
//!
//! Waking a process on a halted processor costs ten times a wake-up on the same one, so an unpinned latency
//! says as much about the scheduler as about the transport. Compare only runs of equal placement; the default
//! leaves it to the scheduler, as a robot does.

use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// What `--pin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum Placement {
    /// Publisher and subscribers on one and the same processor.
    Same,
    /// The publisher on one processor, the subscribers on another.
    Two,
    /// Wherever the scheduler puts them.
    No,
}

/// Which side of a run this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The one that publishes.
    Publisher,
    /// One of those that subscribe.
    Subscriber,
}

/// Why a process cannot be pinned.
#[derive(Debug, Error)]
pub(crate) enum PinError {
    /// Too few processors.
    #[cfg(target_os = "linux")]
    #[error("--pin two needs two processors, and this process may use one only")]
    OneProcessor,
    /// The system refused.
    #[error("--pin: the system refuses to pin this process: {0}")]
    Refused(#[from] rustix::io::Errno),
}

impl Placement {
    /// Pins this process and the threads that it will start. Call it before any thread is started.
    ///
    /// # Errors
    /// [`PinError`] where there are too few processors or the system refuses.
    pub(crate) fn apply(self, role: Role) -> Result<(), PinError> {
        match (self, role) {
            (Self::No, _) => Ok(()),
            (Self::Same, _) | (Self::Two, Role::Publisher) => pin(0),
            (Self::Two, Role::Subscriber) => pin(1),
        }
    }
}

/// Pins this process to one of the processors that it may use, by its place among them.
#[cfg(target_os = "linux")]
fn pin(place: usize) -> Result<(), PinError> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let cpu = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).nth(place);
    let mut pinned = CpuSet::new();
    pinned.set(cpu.ok_or(PinError::OneProcessor)?);
    Ok(sched_setaffinity(None, &pinned)?)
}

/// Others have no such call, or another one.
#[cfg(not(target_os = "linux"))]
fn pin(_: usize) -> Result<(), PinError> {
    Err(rustix::io::Errno::NOTSUP.into())
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "both sides on one processor",
            Self::Two => "each side on a processor of its own",
            Self::No => "not pinned",
        })
    }
}
