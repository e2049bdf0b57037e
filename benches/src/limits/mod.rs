//! What the machine can do at all: the baselines of which everything else is a multiple.
//!
//! | Limit | Where |
//! |---|---|
//! | copying, filling and checking memory in one process | [`memory`] |
//! | a wake: futex, eventfd or spinning, with one cache line of payload | [`ideal`], at 64 B |
//! | a double buffer, or a ring, with nothing but that wake: in place, and with one copy | [`ideal`] |
//!
//! The ideal ring has one writer, and a reader of several has as many rings. It trusts everybody and recovers from nothing.

pub mod ideal;
pub mod memory;
mod ring;
mod several;
