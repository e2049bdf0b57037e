//! Shared memory for the endpoints of RustDDS participants.
#![forbid(unsafe_code)]

mod adapter;
mod arrivals;
mod asking;
pub mod bytes;
pub mod cdr;
mod config;
mod endpoints;
mod events;
mod inbox;
mod intake;
mod loan;
pub mod msg;
pub mod no_key;
mod payload;
mod protocol;
mod routes;
mod session;
mod window;
pub mod with_key;
mod writer;
mod writing;

pub use adapter::{DecodeError, SharedAdapter};
pub use config::{Config, Options, WhenFull};
pub use endpoints::{Publisher, Subscriber};
pub use events::Events;
pub use loan::Loan;
pub use session::{AttachError, Stats, ZeroDds};
