//! What travels on a transport, in a pcapng file: a decorator of [`Transport`](zerodds_core::Transport) beside the data
//! path, and a thread that writes.
//!
//! ```text
//!   plug-in ──▶ Captured<ShmTransport> ──▶ ShmTransport          plug-in ──▶ Captured<UdpTransport> ──▶ ...
//!                    │ a copy of the bytes, if there is room          │
//!                    └──────────────▶ queue (64 MiB) ◀────────────────┘
//!                                       └─▶ one thread ──▶ file, an interface for each participant and path
//! ```
//! A message on shared memory is an RTPS message. It is shown as what it would have been on a wire: an IP packet with
//! UDP between the RTPS ports of its domain, so that Wireshark dissects it without a setting. What no datagram can
//! carry is shown as the DATA_FRAGs in which UDP would have carried the sample, every byte of it.
//!
//! Tried with Wireshark 4.0 and rejected for large messages: an IP length of 0, as segmentation offload leaves it (the
//! UDP length is then taken for an error); jumbograms of IPv6 (dissected, but a packet of more than 256 KiB makes the
//! whole file unreadable); RTI's framing on TCP (a length of 16 bits); fragments of IP (64 KiB in all).
//!
//! The data path pays one branch where nothing is captured, and otherwise one copy and a short lock. It never waits for
//! the file: what the queue has no room for is not shown, and the next packet says how many there were.
#![forbid(unsafe_code)]

mod capture;
mod captured;
mod config;
mod file;
mod packet;
mod queue;
mod tap;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use capture::{Capture, OpenError};
pub use captured::{Captured, CapturedReceiver};
pub use config::Config;
pub use tap::{Pending, Tap};
pub use zerodds_core::ConfigError;
