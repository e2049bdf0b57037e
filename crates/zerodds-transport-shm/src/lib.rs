//! Shared memory between the participants of one host: variable-size RTPS messages, written once, read in
//! place, by processes that may die at any instruction.
#![deny(unsafe_code)]
mod arena;
mod bell;
mod config;
mod control;
mod doorbell;
mod handshake;
mod inlink;
mod lane;
mod layout;
mod limits;
mod message;
mod outbound;
mod outlink;
mod peer;
mod receiver;
mod region;
mod rendezvous;
mod segment;
mod shared;
mod slots;
mod spin;
mod sync;
mod sys;
mod transport;
pub use config::{Access, Config, ConfigError, WaitStrategy};
pub use message::{ShmLoan, ShmMessage};
pub use receiver::ShmReceiver;
pub use transport::ShmTransport;
