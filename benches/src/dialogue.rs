//! What parent and children tell each other: one JSON object per line.
//!
//! ```text
//!   parent                                           child
//!     │ ── stdin:  one byte with descriptors ─────────▶ │   System::objects
//!     │ ── stdin:  Assignment ────────────────────────▶ │   joins
//!     │ ◀─ stdout: Ready ────────────────────────────── │   everybody is there
//!     │ ── stdin:  Pong, Ping / Subscribe, Publish ───▶ │
//!     │ ◀─ stdout: Listening (pong, subscriber) ─────── │
//!     │ ◀─ stdout: Pinged, Ponged / Published, .. ───── │
//!     │ ── stdin:  Exit, or its end ──────────────────▶ │
//! ```
//! stdin is a unix socket rather than a pipe, because descriptors travel on it.

use crate::placement::Placement;
use crate::sample::Touch;
use crate::system::Seat;
use crate::usage::{Holdings, Usage};
use serde::{Deserialize, Serialize};

/// What a child shall be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The name of the system.
    pub(crate) system: String,
    /// Its places: one, or several in a crowd.
    pub(crate) seats: Vec<Seat>,
    /// Where to run.
    pub(crate) placement: Placement,
    /// The process that it shall not outlive.
    pub(crate) parent: u32,
}

/// To or from which of the seats of a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Addressed<T> {
    pub(crate) seat: u32,
    pub(crate) what: T,
}

/// What a child shall do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Answer until told to stop by the other side.
    Pong { len: usize, touch: Touch },
    /// Ask and wait for the answer, over and over.
    Ping(Ping),
    /// Receive until everything that was sent is there, or nothing comes for a while.
    Subscribe { len: usize, touch: Touch },
    /// Send as fast as there is room, as the how-many-eth of the writers.
    Publish { writer: u64, len: usize, touch: Touch, warm_up_ms: u64, measure_ms: u64 },
    /// To subscribers: so many were sent, by all together.
    Finish { sent: u64 },
    /// Do nothing for so long and say what that has used.
    Rest { ms: u64 },
    /// End.
    Exit,
}

/// A latency measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ping {
    pub(crate) len: usize,
    pub(crate) touch: Touch,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
    /// `None`: as fast as the answers come.
    pub(crate) rate_hz: Option<f64>,
}

/// One-way times of a ping-pong: half of the way there and back, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    /// `None` of fewer than 100.
    pub(crate) p99_us: Option<f64>,
    /// `None` of fewer than 1,000.
    pub(crate) p999_us: Option<f64>,
    pub(crate) max_us: f64,
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Ready {
        holdings: Holdings,
    },
    Listening,
    Pinged {
        times: Times,
        usage: Usage,
        seconds: f64,
    },
    Ponged {
        usage: Usage,
    },
    /// `sent` since the warm-up was over.
    Published {
        warm_up: u64,
        sent: u64,
        usage: Usage,
        /// Bytes that the system wrote to memory meanwhile, if it counts them.
        written: Option<u64>,
    },
    /// `counted` of what was received came between these times.
    Received {
        received: u64,
        counted: u64,
        first_ns: u64,
        last_ns: u64,
        usage: Usage,
    },
    Rested {
        usage: Usage,
        seconds: f64,
        holdings: Holdings,
    },
    Failed {
        text: String,
    },
}
