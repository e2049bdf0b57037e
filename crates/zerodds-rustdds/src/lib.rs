//! Shared memory for the endpoints of RustDDS participants.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod cdr;
pub mod msg;
