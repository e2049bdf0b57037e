//! The transport as its users see it, over real sockets: on loopback, or in a network namespace of the test's
//! own. One binary, so that it links once.
#![allow(clippy::unwrap_used)] // a test says what it expects

mod batches;
mod exchange;
mod forking;
mod groups;
mod namespace;
mod network;
mod participant;
