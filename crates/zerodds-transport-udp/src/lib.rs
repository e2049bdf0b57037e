//! RTPS over UDP (DDSI-RTPS 2.5 §9.6): the path to other hosts, other vendors, and whatever shared memory
//! cannot carry.
//!
//! ```text
//!   UdpTransport ── route: one address per peer ── batch: sendto, sendmmsg, GSO ──▶ sockets
//!        │                    ▲                                                       │
//!        │                    │ interfaces, as they are now                           │
//!        │                 network ── netlink                                         ▼
//!   UdpReceiver ◀── queue ◀── recvmmsg, GRO ◀── readiness: one descriptor for all ◀── sockets
//! ```
//! The tour: [`ports`] are the specification's numbers, `claim` binds those of one participant, `socket` makes
//! sockets of the three kinds. `interfaces` is a picture of the host's network, `network` keeps it current,
//! `group` follows it with multicast memberships, and `route` chooses among a peer's addresses by it. `batch`
//! sends, by one of the sockets of `senders`, `refusals` says what the system does not take, `receiver` receives, `transport` puts them together behind
//! [`zerodds_core::Transport`].
//!
//! Three things are absent on purpose. There is no thread: see `transport`. There is no retransmission: RTPS
//! has it. And there is no wait of more than a few milliseconds for each mebibyte: see `batch`.
//!
//! ```no_run
//! use zerodds_core::{Delivery, Peer, Transport};
//! use zerodds_transport_udp::{Config, UdpTransport};
//!
//! let transport = UdpTransport::open(0, &Config::from_env()?)?;
//! let everyone = transport.metatraffic_multicast_locators();
//! let sent = transport.send_bytes(b"RTPS", &[Peer::new(&everyone)], Delivery::BestEffort)?;
//! assert_eq!(sent.by_udp, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod claim;
mod config;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod interfaces;
#[cfg(all(test, target_os = "linux"))]
#[path = "../tests/udp/namespace.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "made for other tests: not all of it is of use here")]
mod namespace;
mod network;
mod readiness;
mod receiver;
mod refusals;
mod route;
mod senders;
mod socket;
mod tally;
mod transport;

pub use batch::Patience;
pub use config::{Config, InterfaceChoice, Ipv6};
pub use error::OpenError;
pub use receiver::{UdpMessage, UdpReceiver};
pub use socket::Buffers;
pub use transport::{UdpLoan, UdpTransport};
pub use zerodds_core::{ConfigError, ports};
