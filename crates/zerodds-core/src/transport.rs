//! What a transport is: loans out, messages in.
//!
//! ```text
//!   loan(len) ──fill──▶ send(loan, peers, delivery) ──▶ Sent: who was served by which path
//!   receiver().receive(deadline) ──▶ Incoming::Message (derefs to [u8]; its drop gives the memory back)
//! ```
//! The traits have associated types rather than trait objects, so that a 64-byte message costs no
//! allocation and no indirect call, and so that [`Router`](crate::Router) is itself a transport.

use crate::{Counters, LoanError, Locator, LocatorKind, Path, Reach, Reason, Refusal, SendError};
use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// Carries whole RTPS messages to peers named by their locators. All methods may be called from any thread.
pub trait Transport: Send + Sync + 'static {
    /// A writable buffer in the transport's own memory.
    type Loan: Loan;
    /// The receiving half.
    type Receiver: Receiver;

    /// The locators under which peers reach this transport: what a participant announces about itself.
    fn locators(&self) -> Vec<Locator>;

    /// Whether, and by which path, a message to `peer` would go now. A transport that has to set something
    /// up first begins to do so and answers [`Reach::Pending`]; this never blocks.
    fn reach(&self, peer: Peer<'_>) -> Reach;

    /// The largest message, in bytes, that can be sent to anyone over this transport.
    fn max_message_len(&self) -> usize;

    /// Lends `len` writable bytes, whose first content is unspecified. Dropping the loan discards it.
    ///
    /// # Errors
    /// [`LoanError`] where the length exceeds [`max_message_len`](Self::max_message_len) or no memory is to
    /// be had.
    fn loan(&self, len: usize) -> Result<Self::Loan, LoanError>;

    /// Sends the loan's bytes to every peer in `to`, once each. Peers that could not be served are listed in
    /// the answer and are no error.
    ///
    /// # Errors
    /// [`SendError`] where nothing could be sent to anyone for a reason that does not lie with a peer.
    fn send(&self, message: Self::Loan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError>;

    /// Copies `message` into a loan and sends it.
    ///
    /// # Errors
    /// As [`loan`](Self::loan) and [`send`](Self::send).
    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let mut loan = self.loan(message.len())?;
        loan.copy_from_slice(message);
        self.send(loan, to, delivery)
    }

    /// The receiving half; it can be taken once, `None` after that.
    fn receiver(&self) -> Option<Self::Receiver>;

    /// Peers of the same domain that this transport finds by itself, without any discovery traffic.
    fn neighbours(&self) -> Vec<Locator> {
        Vec::new()
    }

    /// What was sent, received, lost and refused so far.
    fn counters(&self) -> Counters;

    /// Stops every thread of this transport and tells peers goodbye. Receivers wake and end; later sends
    /// fail with [`SendError::Closed`]. Calling it again does nothing.
    fn close(&self);
}

/// A writable message buffer, discarded when dropped unsent.
pub trait Loan: DerefMut<Target = [u8]> + Send + 'static {
    /// Shortens the message to its first `len` bytes; a `len` beyond the current length changes nothing.
    fn truncate(&mut self, len: usize);
}

/// The receiving half of a transport. It has one owner, so that messages keep their order.
pub trait Receiver: Send + 'static {
    /// A received message.
    type Message: Message;

    /// The next thing that arrived, if something did. Never blocks.
    fn try_receive(&mut self) -> Option<Incoming<Self::Message>>;

    /// Another message that was taken from the system along with the last one and by the same path, if there is one: it has
    /// cost its system call already, so whoever takes these together saves what he would do once for each. None is no sign
    /// that nothing has arrived.
    fn try_receive_along(&mut self) -> Option<Self::Message> {
        None
    }

    /// Waits until something may have arrived, one of `also` becomes readable, the deadline passes or the
    /// transport is closed. May wake without cause; uses CPU while waiting only as far as its waiting
    /// strategy spins.
    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake;

    /// Prepares for waiting on [`readiness`](Self::readiness) in the caller's own `poll`, `epoll` or executor:
    /// after [`Wake::TimedOut`] one of the descriptors becomes readable with the next arrival; otherwise
    /// something is there already (or the transport is closed) and should be taken first.
    fn arm(&mut self) -> Wake;

    /// The descriptors to watch for reading once [`arm`](Self::arm) has answered [`Wake::TimedOut`]: one for
    /// a transport of one path (which then implements [`AsFd`](std::os::fd::AsFd) too), one per path for a
    /// [`Router`](crate::Router), none once closed.
    fn readiness(&self) -> Vec<BorrowedFd<'_>>;

    /// The next thing that arrives before the deadline (`None`: wait for ever); `None` after the deadline, or
    /// once the transport is closed and drained.
    fn receive(&mut self, deadline: Option<Instant>) -> Option<Incoming<Self::Message>> {
        loop {
            if let Some(incoming) = self.try_receive() {
                return Some(incoming);
            }
            match self.wait(deadline, &[]) {
                Wake::Ready => {}
                Wake::TimedOut | Wake::Closed => return self.try_receive(),
            }
        }
    }
}

/// A received message: bytes that stay valid until it is dropped, which gives their memory back.
pub trait Message: Deref<Target = [u8]> + Into<Bytes> + Send + 'static {
    /// The path it came by.
    fn path(&self) -> Path;
    /// The locator of the sender, where the path knows it. Not proof of anything: RTPS has its own ids.
    fn source(&self) -> Option<Locator>;
}

/// What a receiver yields, in the order in which it happened on each path.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// From now on the peer at this locator is reached by the transport's own path (shared memory).
    PeerUp(Locator),
    /// The peer at this locator is gone from that path; everything it had sent was yielded before this, but for best effort
    /// that was taken back.
    PeerDown(Locator, Reason),
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something may be there.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// The transport was closed.
    Closed,
}

/// One peer, by all the locators it announced. Any one of them suffices: a transport picks the best that it
/// reaches and serves the peer once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// Every locator of the peer, in the order announced.
    pub locators: &'a [Locator],
}

impl<'a> Peer<'a> {
    /// The peer that announced these locators.
    #[must_use]
    pub const fn new(locators: &'a [Locator]) -> Self {
        Self { locators }
    }

    /// Where it is reached through shared memory, if it announced that.
    #[must_use]
    pub fn shm_locator(self) -> Option<Locator> {
        self.locators.iter().find(|locator| locator.kind() == LocatorKind::SharedMemory).copied()
    }
}

/// What to do when a peer has no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Does not wait for a receiver. Where one has no room, its oldest unread best-effort messages are dropped and counted as lost;
    /// if that makes no room, this message is. (UDP waits up to 4 ms for room in its own socket, and drops this message.)
    BestEffort,
    /// Waits for room until the deadline (UDP: 4 ms at most); a peer that has none by then is listed as unserved. Nothing
    /// reliable that was already sent is taken back.
    Reliable {
        /// When to stop waiting.
        deadline: Instant,
    },
}

/// Which path served how many peers, and who was not served.
#[derive(Debug, Default)]
#[must_use]
pub struct Sent {
    /// Peers served through shared memory.
    pub by_shm: u32,
    /// Peers (or groups) served over UDP.
    pub by_udp: u32,
    /// Peers that were not served, each with its reason.
    pub unserved: Vec<Unserved>,
}

impl Sent {
    /// Adds what became of the same message for other peers.
    pub fn add(&mut self, other: Self) {
        self.by_shm += other.by_shm;
        self.by_udp += other.by_udp;
        self.unserved.extend(other.unserved);
    }
}

impl<M> Incoming<M> {
    /// The same event, with its message turned into another.
    pub fn map<N>(self, message: impl FnOnce(M) -> N) -> Incoming<N> {
        match self {
            Self::Message(inner) => Incoming::Message(message(inner)),
            Self::PeerUp(peer) => Incoming::PeerUp(peer),
            Self::PeerDown(peer, reason) => Incoming::PeerDown(peer, reason),
        }
    }
}

/// A peer that a send did not reach.
#[derive(Debug)]
pub struct Unserved {
    /// Its index in the `to` of the send.
    pub index: usize,
    /// Why.
    pub why: Refusal,
}
