//! On which processors the processes of a run are.
//!
//! Waking a process on a halted processor costs ten times a wake on the same one, so an unpinned latency says as much
//! about the scheduler as about the system. Only figures of equal placement can be compared.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Where processes run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// All on one processor.
    Same,
    /// Process 0 on one processor, the others on another.
    Apart,
    /// Where the scheduler puts them.
    Free,
    /// The same, each on a host of its own as far as the network is concerned, with a cable between the two.
    Hosts,
}

impl Placement {
    /// Pins this process, by its index in the run, and the threads that it will start.
    ///
    /// # Errors
    /// Where there are too few processors or the system refuses.
    pub fn apply(self, index: u32) -> io::Result<()> {
        match self {
            Self::Free | Self::Hosts => Ok(()),
            Self::Same => pin(0),
            Self::Apart => pin(usize::from(index > 0)),
        }
    }
}

/// Pins this thread, and those that it will start, to the n-th processor that this process may use.
///
/// # Errors
/// Where there is none, or the system refuses.
pub fn pin(nth: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let Some(cpu) = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).nth(nth) else {
        return Err(io::Error::other(format!(
            "placement on {} processors is not possible: this process may use {nth} (use --placement same)",
            nth + 1
        )));
    };
    let mut pinned = CpuSet::new();
    pinned.set(cpu);
    Ok(sched_setaffinity(None, &pinned)?)
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Apart => "apart",
            Self::Free => "free",
            Self::Hosts => "hosts",
        })
    }
}
