//! Which path a peer is served by, since when, and why.

use crate::Locator;
use std::fmt;
use std::time::Instant;

/// A way for messages to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// Memory shared with another process of this host, or within one process.
    SharedMemory,
    /// UDP.
    Udp,
}

/// Whether a peer can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Now, by this path.
    Ready(Path),
    /// Not yet; this transport is working on it.
    Pending(Reason),
    /// Not by this transport.
    Unreachable(Reason),
}

/// Why a peer is on the path it is on. Each says what happened and which setting changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The link to the peer is up: both sides have seen each other's bytes in memory.
    LinkReady,
    /// The peer announced no locator of this transport's kind: another vendor, or shared memory is off there.
    NoLocator,
    /// The host tags differ: another machine, or another network namespace.
    DifferentHost,
    /// Shared memory is switched off here, by configuration or `ZERODDS_SHM=off`.
    SwitchedOff,
    /// Shared memory cannot be had on this system; the text says what failed.
    Unavailable(String),
    /// The handshake with the peer is under way.
    Handshake,
    /// The peer speaks another version or layout of the shared-memory protocol.
    Version {
        /// What we speak.
        ours: u32,
        /// What the peer speaks.
        theirs: u32,
    },
    /// The peer's user is not admitted by our policy.
    NotAdmitted {
        /// The peer's user id.
        uid: u32,
    },
    /// The peer did not admit us.
    RefusedByPeer,
    /// The peer closed its transport, and said so.
    PeerClosed,
    /// The peer's process ended.
    PeerDied,
    /// The connection to the peer ended without a word, or nobody listens at its locator.
    PeerGone,
    /// The peer broke the protocol; the text says how. The link was closed.
    Protocol(String),
    /// The peer's rendezvous did not answer; tried again with back-off.
    NoAnswer,
    /// The peer, or this process, has as many connections or handshakes as it may have; tried again with back-off.
    NoPlace,
    /// The peer could not take the link: it is out of descriptors or memory, or nobody receives there; tried again with
    /// back-off.
    NotTaken,
    /// There is a link, but some of the peer's readers, or all, take plain samples only: they are not made with this project, or without
    /// shared memory.
    PlainReaders,
    /// There is a link, and the peer's readers could share, but on some topic a reader elsewhere cannot, and not all of its readers are
    /// reliable and each alone in its participant.
    MixedReaders,
    /// The message is larger than `ZERODDS_SHM_MAX_DATAGRAM`.
    TooLarge {
        /// The message's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// This transport was closed.
    Closed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkReady => f.write_str("the shared-memory link is up"),
            Self::NoLocator => f.write_str(
                "the peer has no shared memory (another vendor, made without this project, ZERODDS_SHM=off there, \
                 or not available there: zerodds doctor, run there, says why)",
            ),
            Self::DifferentHost => f.write_str("the peer is on another host or in another network namespace"),
            Self::SwitchedOff => f.write_str("shared memory is switched off here (ZERODDS_SHM=off)"),
            Self::Unavailable(what) => write!(f, "shared memory is not available here: {what}"),
            Self::Handshake => f.write_str("the shared-memory handshake is under way"),
            Self::Version { ours, theirs } if ours == theirs => write!(
                f,
                "the peer speaks version {theirs} of the shared-memory protocol with another layout; \
                 build both from one revision"
            ),
            Self::Version { ours, theirs } => write!(
                f,
                "the peer speaks version {theirs} of the shared-memory protocol, this process {ours}; \
                 build both from one revision"
            ),
            Self::NotAdmitted { uid: NO_NAME } => f.write_str(
                "the peer runs as uid 65534, as users show who have no name in this user namespace; \
                 such are never admitted, run both in one user namespace",
            ),
            Self::NotAdmitted { uid } => write!(
                f,
                "the peer runs as uid {uid}, which is not admitted here; \
                 ZERODDS_SHM_ACCESS=group or any, on both sides, admits other users"
            ),
            Self::RefusedByPeer => f.write_str(
                "the peer does not admit this user; ZERODDS_SHM_ACCESS=group or any, on both sides, admits other users",
            ),
            Self::PeerClosed => f.write_str("the peer closed its transport"),
            Self::PeerDied => f.write_str("the peer's process has ended"),
            Self::PeerGone => f.write_str("the peer is gone"),
            Self::Protocol(what) => write!(f, "the peer broke the shared-memory protocol: {what}"),
            Self::NoAnswer => f.write_str("the peer's rendezvous did not answer; it is tried again"),
            Self::NoPlace => f.write_str(
                "there is no place for another connection or handshake, here or at the peer (2,048 connections, 64 of \
                 any other user, 128 handshakes); it is tried again",
            ),
            Self::NotTaken => f.write_str(
                "the peer could not take the link (out of descriptors or memory, or nobody receives there); \
                 it is tried again",
            ),
            Self::PlainReaders => f.write_str(
                "some of the peer's readers, or all, take plain samples only (made without this project, or with shared \
                 memory off)",
            ),
            Self::MixedReaders => f.write_str(
                "on some topic other readers cannot share memory, and one reader is best effort or two are in one \
                 participant, so that its samples go by UDP for all (the log names the topic)",
            ),
            Self::TooLarge { len, max } => write!(
                f,
                "the message of {len} bytes exceeds the {max} bytes that ZERODDS_SHM_MAX_DATAGRAM admits, which are 4,096 \
                 more than it says; raise it to keep such messages in shared memory"
            ),
            Self::Closed => f.write_str("the transport was closed"),
        }
    }
}

/// How users without a mapping in this user namespace show (user_namespaces(7)).
const NO_NAME: u32 = 65_534;

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedMemory => "shm",
            Self::Udp => "udp",
        })
    }
}

/// The path of one peer, as it is now.
#[derive(Clone, Debug)]
pub struct PathReport {
    /// The peer's shared-memory locator, or its first one.
    pub peer: Locator,
    /// The path in use.
    pub path: Path,
    /// Since when, by the clock the router was given.
    pub since: Instant,
    /// Why.
    pub reason: Reason,
    /// Messages sent to it by shared memory.
    pub sent_by_shm: u64,
    /// Messages sent to it by UDP.
    pub sent_by_udp: u64,
}
