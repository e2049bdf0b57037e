//! What can go wrong with opening the transport.
//!
//! A missing network cannot: a host without interfaces, without multicast or with `lo` down opens a
//! transport that reaches nobody yet.

use crate::ports::PortError;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;

/// Why there is no transport.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The domain has no UDP ports.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No socket could be bound, neither to a well-known port nor to one of the system's choice.
    #[error("cannot bind a UDP socket to {address}: {source}")]
    Bind {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A socket or descriptor could not be made or set up.
    #[error("cannot set up {what}: {source}")]
    Io {
        /// What was to be made.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
