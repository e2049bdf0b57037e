//! Composes shared memory and UDP into one transport that decides, per peer and message, which path to take.
//!
//! ```text
//!   send(message, [A, B, C])
//!     A: shm ready             ─┐
//!     B: shm ready             ─┴─▶ shm: one copy of the bytes, read by both
//!     C: other host, no link,  ───▶ udp
//!        or message too large
//! ```
//! Architecture invariant: a peer is served by one path per message, never by both. Whoever shared memory
//! cannot serve (it is gone, refused, not yet there) is served over UDP in the same call. The one exception
//! is a peer that has no *room*: sending it the message by UDP would overtake what already waits in its
//! memory, so it stays unserved and RTPS repairs.
//!
//! The router is stateless about paths: it asks the shared-memory transport for every message. What it
//! remembers (the ledger) is for people, not for decisions. Rejected: caching the decision and invalidating it
//! by events, which saves a look-up and gains a window in which messages go to a dead link.

mod dispatch;
mod ledger;
mod receiver;
mod share;

pub use receiver::{RouterLoan, RouterMessage, RouterReceiver};

use crate::{
    Counters, Delivery, LoanError, Locator, Path, PathReport, Peer, Reach, Reason, SendError, Sent, Transport,
};
use dispatch::Dispatch;
use ledger::{Ledger, News, Note};
use parking_lot::Mutex;
use share::Share;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two transports as one: shared memory for the peers it reaches, UDP for all others.
///
/// Either may be unavailable or closed; the other carries on.
#[derive(Debug)]
pub struct Router<S, U> {
    shm: S,
    udp: U,
    ledger: Arc<Mutex<Ledger>>,
    /// Messages that were sent by UDP only because of their size.
    too_large: AtomicU64,
}

/// How one message to one peer would travel, for a plug-in that has to fragment what UDP cannot carry whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path.
    pub path: Path,
    /// The largest message, in bytes, that this path carries.
    pub max_message_len: usize,
}

impl<S: Transport, U: Transport> Router<S, U> {
    /// A router that prefers `shm` over `udp`.
    #[must_use]
    pub fn new(shm: S, udp: U) -> Self {
        Self { shm, udp, ledger: Arc::default(), too_large: AtomicU64::new(0) }
    }

    /// The shared-memory side.
    #[must_use]
    pub fn shm(&self) -> &S {
        &self.shm
    }

    /// The UDP side.
    #[must_use]
    pub fn udp(&self) -> &U {
        &self.udp
    }

    /// How a message of `len` bytes to `peer` would travel now.
    #[must_use]
    pub fn route(&self, peer: Peer<'_>, len: usize) -> Route {
        let path = self.decide(peer, len).path;
        let max_message_len = match path {
            Path::SharedMemory => self.shm.max_message_len(),
            Path::Udp => self.udp.max_message_len(),
        };
        Route { path, max_message_len }
    }

    /// Records that one message of `len` bytes was sent to `peer` over UDP in pieces, by whoever cut it up and
    /// gave the pieces to [`udp`](Self::udp): it then counts and is reported like any other.
    pub fn record_pieces(&self, peer: Peer<'_>, len: usize) {
        self.choose(peer, len);
        if let Some(peer) = name(peer) {
            self.ledger.lock().count(peer, Path::Udp);
        }
    }

    /// Which path each peer uses that was sent to, since when and why, in no order: at most 1,024
    /// peers; of more than those, some that are served by UDP are left out until others are sent nothing any more.
    #[must_use]
    pub fn reports(&self) -> Vec<PathReport> {
        self.ledger.lock().reports()
    }

    /// What shared memory says about this peer and this length; no side effect but that it may begin to
    /// connect.
    fn decide(&self, peer: Peer<'_>, len: usize) -> Note {
        let (reason, passing) = match self.shm.reach(peer) {
            Reach::Ready(path) if len <= self.shm.max_message_len() => {
                return Note { path, reason: Reason::LinkReady, passing: false };
            }
            Reach::Ready(_) => (Reason::TooLarge { len, max: self.shm.max_message_len() }, true),
            Reach::Pending(reason) => (reason, true),
            Reach::Unreachable(reason) => (reason, false),
        };
        Note { path: Path::Udp, reason, passing }
    }

    /// Decides, and tells the ledger. A message that is too large says nothing about its peer's path; it is
    /// counted, and announced when it is the first.
    fn choose(&self, peer: Peer<'_>, len: usize) -> Path {
        let note = self.decide(peer, len);
        let path = note.path;
        if let Reason::TooLarge { .. } = note.reason {
            // ORDER: Relaxed, here and where it is read; a number.
            if self.too_large.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(reason = %note.reason, "message sent by UDP; further ones are only counted");
            }
        } else if let Some(name) = name(peer) {
            let news = self.ledger.lock().note(name, note);
            news.into_iter().for_each(News::say);
        }
        path
    }

    /// The peers that go by shared memory, and the others.
    fn plan(&self, to: &[Peer<'_>], len: usize) -> (Share, Share) {
        Share::partition(to.len(), |index| self.choose(to[index], len) == Path::SharedMemory)
    }

    /// Sends memory that same-host peers read in place. UDP goes first, while the bytes are still ours.
    fn send_shm_loan(&self, loan: S::Loan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let (shm, udp) = self.plan(to, loan.len());
        let mut dispatch = Dispatch::new(self, to, delivery);
        dispatch.by_udp(&udp, &loan);
        if !shm.is_empty() {
            let spare = self.spare_copy(&loan, delivery);
            dispatch.by_shm(&shm, self.shm.send(loan, &shm.peers(to), delivery), spare.as_deref());
        }
        dispatch.finish()
    }

    /// The bytes of a loan that UDP may have to carry after shared memory has swallowed it: only where losing
    /// the message matters and a datagram could hold it.
    fn spare_copy(&self, message: &[u8], delivery: Delivery) -> Option<Vec<u8>> {
        let wanted = matches!(delivery, Delivery::Reliable { .. }) && self.is_datagram(message.len());
        wanted.then(|| message.to_vec())
    }

    /// Whether UDP carries a message of this length.
    fn is_datagram(&self, len: usize) -> bool {
        len <= self.udp.max_message_len()
    }
}

impl<S: Transport, U: Transport> Transport for Router<S, U> {
    type Loan = RouterLoan<S::Loan, U::Loan>;
    type Receiver = RouterReceiver<S::Receiver, U::Receiver>;

    /// Shared memory first, so that a peer which takes the first locator it understands takes that one.
    fn locators(&self) -> Vec<Locator> {
        let mut locators = self.shm.locators();
        locators.extend(self.udp.locators());
        locators
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        let by_shm = self.shm.reach(peer);
        if let Reach::Ready(_) = by_shm {
            return by_shm;
        }
        match (self.udp.reach(peer), by_shm) {
            (Reach::Ready(path), _) => Reach::Ready(path),
            (_, pending @ Reach::Pending(_)) => pending,
            (Reach::Unreachable(_), by_shm) if peer.shm_locator().is_some() => by_shm,
            (by_udp, _) => by_udp,
        }
    }

    /// The larger limit of the two; see [`Router::route`] for that of one peer.
    fn max_message_len(&self) -> usize {
        self.shm.max_message_len().max(self.udp.max_message_len())
    }

    fn loan(&self, len: usize) -> Result<Self::Loan, LoanError> {
        // Shared memory, not asked, does not count what is too large for it: that is done once for each peer by the send.
        if self.is_datagram(len) && len > self.shm.max_message_len() {
            return self.udp.loan(len).map(RouterLoan::Udp);
        }
        let refused = match self.shm.loan(len) {
            Ok(loan) => return Ok(RouterLoan::Shm(loan)),
            Err(error) => error,
        };
        if self.is_datagram(len) {
            return self.udp.loan(len).map(RouterLoan::Udp);
        }
        match refused {
            LoanError::Full { .. } | LoanError::NoMemory { .. } => Ok(RouterLoan::Heap(vec![0; len])),
            error => Err(error),
        }
    }

    fn send(&self, message: Self::Loan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        match message {
            RouterLoan::Shm(loan) => self.send_shm_loan(loan, to, delivery),
            RouterLoan::Udp(loan) => self.send_bytes(&loan, to, delivery),
            RouterLoan::Heap(bytes) => self.send_bytes(&bytes, to, delivery),
        }
    }

    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let (shm, udp) = self.plan(to, message.len());
        let mut dispatch = Dispatch::new(self, to, delivery);
        // First, since shared memory may wait for room, or let its receivers catch up.
        dispatch.by_udp(&udp, message);
        if !shm.is_empty() {
            dispatch.by_shm(&shm, self.shm.send_bytes(message, &shm.peers(to), delivery), Some(message));
        }
        dispatch.finish()
    }

    fn receiver(&self) -> Option<Self::Receiver> {
        match (self.shm.receiver(), self.udp.receiver()) {
            (None, None) => None,
            (shm, udp) => Some(RouterReceiver::new(shm, udp, Arc::clone(&self.ledger))),
        }
    }

    fn neighbours(&self) -> Vec<Locator> {
        let mut found = self.shm.neighbours();
        found.extend(self.udp.neighbours());
        found
    }

    fn counters(&self) -> Counters {
        let mut sum = self.shm.counters() + self.udp.counters();
        sum.too_large_messages += self.too_large.load(Ordering::Relaxed);
        sum
    }

    fn close(&self) {
        self.shm.close();
        self.udp.close();
    }
}

/// What the ledger and the log call a peer; a multicast group has no name, since it is on no path of its own.
fn name(peer: Peer<'_>) -> Option<Locator> {
    peer.shm_locator().or_else(|| peer.locators.iter().find(|locator| !locator.is_multicast()).copied())
}

#[cfg(test)]
mod tests;
