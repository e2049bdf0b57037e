//! Transports for tests: one that needs no operating system, and one that loses and reorders on purpose. And who listens to what a
//! test says.
//!
//! Faults are a decorator of the transport trait and not hooks inside a transport, so that the same loss can
//! be laid over shared memory, UDP or the in-memory transport without either knowing.

mod faulty;
mod hearing;
mod memory;
#[cfg(test)]
mod taken;

pub use faulty::{Faults, Faulty, FaultyMessage, FaultyReceiver};
pub use hearing::heard;
pub use memory::{Hub, Memory, MemoryLoan, MemoryMessage, MemoryReceiver};
#[cfg(test)]
pub(crate) use taken::Taken;
