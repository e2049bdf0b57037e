//! What can go wrong with opening the transport and with sending a batch.
//!
//! A missing network is in neither: a host without interfaces, without multicast or with `lo` down opens a
//! transport that reaches nobody yet.

use crate::ports::PortError;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use zerodds_core::Reason;

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

/// Why a batch was not sent, or not to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The peer announced no address that UDP reaches. Nothing was sent.
    #[error("{0}")]
    Unreachable(Reason),
    /// One datagram of the batch is larger than the transport carries. Nothing was sent.
    #[error("a datagram of {len} bytes exceeds the {max} bytes that one datagram of this path carries")]
    TooLarge {
        /// The datagram's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The system refused a datagram; those before it were sent, those after it were not.
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
    /// The transport was closed.
    #[error("the transport was closed")]
    Closed,
}
