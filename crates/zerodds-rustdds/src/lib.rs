//! Shared memory for RustDDS participants: the same endpoints, the same QoS, and samples of megabytes in the time
//! of small ones.
//!
//! ```text
//!  process A                                              process B (same host)
//!   DataWriter::write ──▶ ring (memfd) ══ mapped read-only ══▶ DataReader::take: a view, or a copy
//!        └──────────────▶ RustDDS ── RTPS over UDP: a descriptor of 32 bytes ──▶ RustDDS ─┘
//!                            └────── RTPS over UDP: the sample itself ──▶ other hosts, other vendors
//! ```
//! RustDDS, unmodified, keeps discovery, QoS, its caches and its API; a sample lies in shared memory, written once
//! however many readers it has, and RTPS carries the news of it. Whoever cannot share (another host, another vendor,
//! another user, a plain RustDDS reader) gets the sample itself: alone, where all readers of the topic are reliable and each is in
//! a participant of its own; otherwise all of them get it so, which the log says (docs/qos.md, mixed topics).
//!
//! # In a program
//!
//! Attach a session to the participant, and make endpoints by its publishers and subscribers:
//!
//! ```diff
//!  let participant = DomainParticipant::new(0)?;
//! +let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
//!  let topic = participant.create_topic("points".into(), "Points".into(), &qos, TopicKind::NoKey)?;
//! -let publisher = participant.create_publisher(&qos)?;
//! +let publisher = zerodds.create_publisher(&qos)?;
//!  let writer = publisher.create_datawriter_no_key_cdr::<Points>(&topic, None)?;
//! -let subscriber = participant.create_subscriber(&qos)?;
//! +let subscriber = zerodds.create_subscriber(&qos)?;
//!  let reader = subscriber.create_datareader_no_key_cdr::<Points>(&topic, None)?;
//! ```
//!
//! The endpoints have the methods of RustDDS's own ([`no_key`], [`with_key`]), give its `DataSample` and
//! `SampleInfo`, and are sources for mio and streams for async as they are. A whole round trip:
//!
//! ```
//! use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind, policy};
//! use serde::{Deserialize, Serialize};
//! use zerodds_rustdds::{Config, ZeroDds};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Points {
//!     frame: u32,
//!     /// Read where the publisher wrote it.
//!     #[serde(with = "zerodds_rustdds::bytes")]
//!     data: bytes::Bytes,
//! }
//!
//! # let domain = 1 + (std::process::id() % 100) as u16;
//! let max_blocking_time = rustdds::Duration::from_secs(1);
//! let qos = QosPolicyBuilder::new().reliability(policy::Reliability::Reliable { max_blocking_time }).build();
//! let participant = DomainParticipant::new(domain)?;
//! let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
//! let topic = participant.create_topic("points".into(), "Points".into(), &qos, TopicKind::NoKey)?;
//! let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Points>(&topic, None)?;
//! let mut reader = zerodds.create_subscriber(&qos)?.create_datareader_no_key_cdr::<Points>(&topic, None)?;
//!
//! let points = Points { frame: 7, data: vec![1; 1 << 20].into() };
//! writer.write(points, None).map_err(|error| error.to_string())?;
//! while let Some(sample) = reader.take_next_sample()? {
//!     println!("{} bytes of frame {}", sample.value().data.len(), sample.value().frame);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Without copies
//!
//! | | Copies of the data | How |
//! |---|---|---|
//! | `Vec<u8>` with `serde_bytes` | one in, one out | nothing to do |
//! | [`bytes::Bytes`](::bytes::Bytes) fields with [`bytes`] | one in, none out | the field is a view of the publisher's memory, given back when dropped |
//! | [`DataWriter::loan`](no_key::DataWriter::loan) and such a field | none | the publisher fills the memory that readers read |
//!
//! [`msg`] has images, point clouds and other types of ROS 2 that are made this way. A view keeps its memory in the
//! publisher's ring: keep views for as long as you work with them, and copy what you want to store.
//!
//! # Control
//!
//! At three levels: [`Config`] for a participant, [`Publisher::with_options`] and [`Subscriber::with_options`] for
//! the endpoints that are made by it from then on, and the same used once for a single endpoint. [`Options`] has
//! the threshold below which samples stay in RTPS, what to do when the ring is full, and whether to share at all;
//! what a level does not set is as the one above has it. The ring's size and who may map it are in the transport's
//! [`Config`](transport_shm::Config). Environment variables set the same. [`ZeroDds::stats`] says what
//! happened, [`ZeroDds::paths`] who shares and why.
//!
//! # What holds
//!
//! * History depth, KEEP_ALL, resource limits and max_blocking_time mean what they mean in DDS; on a mixed topic a write
//!   may take several times max_blocking_time (docs/qos.md). Between endpoints of this crate a writer waits for a reliable
//!   reader that keeps all until the application has *taken* samples; RustDDS alone drops what its caches have no room for.
//! * A path may change at any sample: none is lost, repeated or reordered, since all have their place in the one
//!   sequence of RTPS.
//! * A process may die at any instruction: its memory is freed by the kernel, and no writer waits for what it has not taken.
//!   RustDDS is told, and does not wait for its acknowledgements any more: at once, or after two seconds where something here
//!   is matched with its writers. So long what it sent can still be taken; RustDDS drops the rest.
//! * RustDDS has one queue of status events for each participant. While there is a session it is the session's: nobody else may read the
//!   participant's `status_listener()`; [`ZeroDds::events`] gives the events to whoever wants them.
//!
//! TRANSIENT_LOCAL topics, requests and replies with related identities, directed writes and participants under DDS
//! Security ([`Config::share_secured`]) stay on RustDDS alone. docs/qos.md has every policy with the path that serves it.
//!
//! # Where to read on
//! | Layer | Modules |
//! |---|---|
//! | what a user holds | `session` ([`ZeroDds`]), `endpoints`, [`no_key`], [`with_key`], `loan`, `config`, `events` and the `signal` they are polled by; `delegate`, all that they leave to RustDDS |
//! | a sample on its way out | `writer`, `round`, `waiting`, `writing`, `posts`, `routes`, `window`, [`cdr`], `payload` |
//! | a sample on its way in | `inbox`, `arrivals`, `account`, `lifespan`, `intake`, `asking`, `adapter` |
//! | what sessions say to each other | `protocol`, and `watch`, which captures it |
#![forbid(unsafe_code)]

mod account;
mod adapter;
mod arrivals;
mod asking;
pub mod bytes;
pub mod cdr;
mod config;
mod delegate;
#[cfg(test)]
#[path = "../tests/parties/domains.rs"]
mod domains;
mod endpoints;
mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbox;
mod intake;
mod lifespan;
mod loan;
#[cfg(test)]
#[path = "../tests/parties/log.rs"]
mod log;
pub mod msg;
pub mod no_key;
mod payload;
mod posts;
mod protocol;
mod round;
mod routes;
mod session;
mod signal;
mod waiting;
mod watch;
mod window;
pub mod with_key;
mod writer;
mod writing;

pub use adapter::{DecodeError, SharedAdapter};
pub use config::{Config, Options, WhenFull};
pub use endpoints::{Publisher, Subscriber};
pub use events::{EventStream, Events};
pub use loan::Loan;
pub use session::{AttachError, PeerPath, Stats, ZeroDds};
/// Where a session's messages are captured, for [`Config::capture`].
pub use zerodds_capture as capture;
pub use zerodds_core::{ConfigError, Path, Reason};
/// The transport of a session, for [`Config::transport`] and what [`Stats`] has of it.
pub use zerodds_transport_shm as transport_shm;

/// Waits until it is so, for a test; a minute at most.
#[cfg(test)]
fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not in a minute");
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}
