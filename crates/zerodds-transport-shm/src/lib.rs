//! Shared memory between the participants of one host: RTPS messages of any size up to one limit, written
//! once, read in place, by processes that may die at any instruction.
//!
//! ```text
//!  process A                                                    process B
//!   ShmTransport                                                 ShmTransport
//!    ├ loan ──▶ ring (memfd) ═══════ mapped read-only ═══════════▶ ShmMessage: &[u8], Bytes
//!    ├ send ──▶ link (memfd): lane and slots ◀── cursor, releases ── ShmReceiver
//!    └ ring ──▶ doorbell (memfd + socket) of B ─────────────────────▲
//!      control thread ◀════ unix socket: handshake, then life ════▶ control thread
//! ```
//!
//! ```
//! use std::time::{Duration, Instant};
//! use zerodds_core::{Delivery, Incoming, Peer, Reach, Receiver, Transport};
//! use zerodds_transport_shm::{Config, ShmTransport};
//!
//! # let domain = 4_000_000_000 - std::process::id();
//! # if ShmTransport::open(domain, &Config::default()).availability().is_err() { return; }
//! let publisher = ShmTransport::open(domain, &Config::default());
//! let subscriber = ShmTransport::open(domain, &Config::default());
//! let mut receiver = subscriber.receiver().expect("taken once");
//!
//! // Participants announce their locators by discovery; those of this host are also found directly. Each is a peer of its own:
//! // several locators in one `Peer` are ways to the same peer.
//! let found = publisher.neighbours();
//! let to: Vec<Peer<'_>> = found.iter().map(|locator| Peer::new(std::slice::from_ref(locator))).collect();
//! let deadline = Instant::now() + Duration::from_secs(10);
//! let mut news = publisher.receiver().expect("taken once");
//! while to.iter().any(|peer| matches!(publisher.reach(*peer), Reach::Pending(_))) {
//!     // Sleeps until a peer is there; a router sends over UDP meanwhile.
//!     if news.receive(Some(deadline)).is_none() {
//!         break;
//!     }
//! }
//! let mut loan = publisher.loan(1_000_000).expect("memory of the ring");
//! loan.fill(7);
//! let sent = publisher.send(loan, &to, Delivery::Reliable { deadline }).expect("open");
//! assert!(sent.unserved.is_empty(), "{:?}", sent.unserved); // whom it did not reach, and why
//!
//! let message = loop {
//!     match receiver.receive(Some(deadline)).expect("in time") {
//!         Incoming::Message(message) => break message,
//!         _ => {} // a peer came or went
//!     }
//! };
//! assert!(message.is_in_place() && message.len() == 1_000_000);
//! ```
//!
//! # Where to read on
//! | Layer | Modules |
//! |---|---|
//! | what is shared, byte by byte | `layout`, docs/protocol.md |
//! | the algorithms, without any pointer or system call | `lane`, `slots`, `doorbell`, `ending`, `arena` and its `area`, then `inlink` and `outlink` |
//! | kernel objects | `segment`, `bell`, `limits`, `memory`, `sys` (the only unsafe code) |
//! | finding and trusting peers | `rendezvous`, `handshake`, `control` |
//! | one transport's books, and one message on its way | `outbound`, `sending` |
//! | what a user holds | `config`, `transport`, `message`, `receiver`, `asynchronous` |
//!
//! Other Unix systems than 64-bit Linux get a transport that reports itself unavailable.
//! Under `--cfg zerodds_model` only the algorithms are built, for the model checkers.
#![deny(unsafe_code)]
#![cfg_attr(zerodds_model, allow(dead_code, reason = "the model uses a part of the algorithms"))]

#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod area;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod arena;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod asked;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model),
    feature = "tokio"
))]
mod asynchronous;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod bell;
#[cfg(all(test, zerodds_model, not(zerodds_shuttle)))]
#[allow(unsafe_code, reason = "cells of the model checker")]
#[path = "sys/model.rs"]
mod cells;
mod config;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod control;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod crash;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod doorbell;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod ending;
#[cfg(all(
    fuzzing,
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model)
))]
pub mod fuzzing;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod handshake;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod holes;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod inlink;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod lane;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod layout;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod limits;
mod link_id;
mod listener;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod memory;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod message;
#[cfg(all(test, zerodds_model))]
mod model;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod outbound;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod outlink;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod pace;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod peer;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod peer_ring;
mod pool;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod promise;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod receiver;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod region;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod rendezvous;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod segment;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod sending;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod shared;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod short;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod slots;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod spin;
#[cfg(any(zerodds_model, all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm))))]
mod sync;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod sys;
#[cfg(all(test, target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod testing;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
mod transport;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model))))]
mod unavailable;

/// Where a process can be made to die, for tests of what that does to others.
#[cfg(all(
    feature = "crash-points",
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model)
))]
pub mod crash_points {
    pub use crate::crash::{Action, arm, disarm, passed};
}
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model),
    feature = "tokio"
))]
pub use asynchronous::AsyncShmReceiver;
pub use config::{Access, Config, WaitStrategy};
pub use link_id::LinkId;
pub use listener::Listener;
pub use pool::Pool;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model)
)))]
#[cfg(feature = "tokio")]
pub use unavailable::AsyncShmReceiver;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(zerodds_no_shm),
    not(zerodds_model)
)))]
pub use unavailable::{ShmLoan, ShmMessage, ShmReceiver, ShmSending, ShmSent, ShmTransport, listeners};
pub use zerodds_core::ConfigError;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm), not(zerodds_model)))]
pub use {
    message::{ShmLoan, ShmMessage},
    receiver::ShmReceiver,
    rendezvous::listeners,
    sending::{ShmSending, ShmSent},
    transport::ShmTransport,
};
