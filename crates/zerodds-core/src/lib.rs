//! The RTPS-facing heart of the zerodds transports: what a locator is, what a transport can do, and which
//! path a peer is served by.
//!
//! ```text
//!   plug-in (Dust DDS, RustDDS, your own)
//!      │  one Transport
//!   Router ── decides per peer: shared memory or UDP, and says why
//!      ├── zerodds-transport-shm   (implements Transport)
//!      └── zerodds-transport-udp   (implements Transport)
//! ```
//!
//! What travels is always an RTPS message (DDSI-RTPS 2.5 §8.3); this crate never looks inside it. It does no
//! I/O, starts no thread, decides nothing by a clock and contains no unsafe code, so that everything in it can be
//! tested by calling functions.
//!
//! The transports never see each other; only [`Router`] knows that there are two.
#![forbid(unsafe_code)]

mod counters;
mod error;
mod host;
mod locator;
mod path;
pub mod ports;
mod router;
mod setting;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transport;

pub use counters::Counters;
pub use error::{LoanError, Refusal, SendError};
pub use host::{HostTag, Incarnation, fnv1a};
pub use locator::{Endianness, Locator, LocatorKind};
pub use path::{Path, PathReport, Reach, Reason};
pub use router::{Route, Router, RouterLoan, RouterMessage, RouterReceiver};
pub use setting::{ConfigError, Setting, parse_size, parse_switch};
pub use transport::{Delivery, Incoming, Loan, Message, Peer, Receiver, Sent, Transport, Unserved, Wake};
