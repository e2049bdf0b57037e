//! What parent and children of `largedata run` tell each other: one JSON object per line.
//!
//! ```text
//!   parent                                    child
//!     │ ── stdin:  Assignment ───────────────▶ │   opens its half of the stack
//!     │ ◀─ stdout: {"event":"opened"} ──────── │   publisher only: has done so
//!     │ ◀─ stdout: {"event":"prepared"} ────── │   publisher only: has made or read its samples
//!     │ ◀─ stdout: {"event":"matched"} ─────── │   sees everyone it shall see
//!     │ ── stdin:  {"order":"go"} ───────────▶ │   publisher only: begins
//!     │ ◀─ stdout: {"event":"progress",..} ─── │   every 100 ms
//!     │ ◀─ stdout: {"event":"published",..} ── │   publisher: done, stays to repair
//!     │ ── stdin:  {"order":"finish",..} ────▶ │   subscriber: so many were sent
//!     │ ◀─ stdout: {"event":"received",..} ─── │   subscriber: has them, or waited long enough
//!     │ ── stdin:  {"order":"exit"} ─────────▶ │   says goodbye and ends
//! ```
//! Pipes are enough and belong to the processes: the end of a child's stdout tells the parent that it is gone,
//! the end of stdin tells the child, and nothing has to be cleaned up.

use crate::placement::{Placement, Role};
use crate::publisher::{Plan, Published};
use crate::samples::Source;
use crate::stack::StackOptions;
use crate::stamp::Touch;
use crate::subscriber::Received;
use serde::{Deserialize, Serialize};

/// What a child shall do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Which half.
    pub(crate) role: Role,
    /// The process that it shall not outlive.
    pub(crate) parent: u32,
    /// The stack.
    pub(crate) options: StackOptions,
    /// What to publish.
    pub(crate) source: Source,
    /// How much of it to sum up.
    pub(crate) touch: Touch,
    /// When to publish.
    pub(crate) plan: Plan,
    /// How many matches make the run complete.
    pub(crate) matches: usize,
    /// Where to run.
    pub(crate) placement: Placement,
}

/// What a child tells its parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The publisher has its half of the stack.
    Opened,
    /// The publisher has its samples.
    Prepared,
    /// Everyone it shall see is there.
    Matched {
        /// What the publisher has to publish, in one line; empty from a subscriber.
        samples: String,
    },
    /// So far.
    Progress {
        /// Samples.
        samples: u64,
        /// Payload bytes.
        bytes: u64,
    },
    /// Something that a person should read.
    Notice {
        /// It.
        text: String,
    },
    /// The publisher is done.
    Published(Published),
    /// The subscriber is done.
    Received(Received),
    /// The child cannot go on.
    Failed {
        /// Why.
        text: String,
    },
}

/// What a parent tells a child.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub(crate) enum Order {
    /// Begin to publish.
    Go,
    /// No more samples will come.
    Finish {
        /// How many were published.
        sent: u64,
    },
    /// Say goodbye and end.
    Exit,
}
