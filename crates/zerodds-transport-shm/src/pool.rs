//! How full the ring is: what a user needs to size it.

/// Bytes of the payload ring, in records with their headers of 64 bytes, as they are at one moment.
///
/// A ring that is too small shows as `peak` near `capacity`, with `lost_messages` or `timed_out_messages` rising in
/// the [`Counters`](zerodds_core::Counters); if `held_by_peers` makes up most of `in_use`, receivers keep what
/// they are given. All follow the one knob, [`Config::max_datagram`](crate::Config::max_datagram).
///
/// ```
/// use zerodds_core::Transport;
/// use zerodds_transport_shm::{Config, ShmTransport};
/// # let domain = 3_700_000_000 - std::process::id();
/// let transport = ShmTransport::open(domain, &Config::default());
/// # if transport.availability().is_err() { return; }
/// let loan = transport.loan(1_000_000).expect("memory of the ring");
/// let pool = transport.pool();
/// assert!(pool.in_use >= 1_000_000 && pool.in_use <= pool.peak);
/// drop(loan);
/// assert_eq!(transport.pool().in_use, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// What the ring can hold, but for the reserve.
    pub capacity: u64,
    /// Room on top of it that is kept for one message of the largest size, which receivers copy out.
    pub reserve: u64,
    /// Loans, messages that were not taken and messages that are held: each record once, however many peers it went to.
    pub in_use: u64,
    /// The most that was in use at once so far, loans with the length that they were asked for with. Of messages of at most 512 KiB
    /// that receivers take as fast as they come, up to 4 MiB count that were given back and not looked for yet.
    pub peak: u64,
    /// Sent and not taken yet; a record counts once for each peer.
    pub unread: u64,
    /// Taken and read in place, or kept; a record counts once for each peer. What was sent to ourselves counts here from
    /// the send on.
    pub held_by_peers: u64,
    /// Bytes of the ring, from its start, for which the limits were found to leave memory. Pages come as they are touched, so less may
    /// be in memory. It grows with where the last record ends, up to the whole ring: a page more than `capacity` and `reserve`.
    pub reserved: u64,
}
