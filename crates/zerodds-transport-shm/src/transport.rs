//! The transport as its users see it: open, loan, send.

use crate::config::Config;
use crate::control::Control;
use crate::layout::{lane, ring};
use crate::message::{Body, LoanKind, OwnRecord, RecordLoan, ShmLoan, ShmMessage};
use crate::outbound::{Outbound, Outcome, PeerState};
use crate::outlink::{Payload, Promise};
use crate::peer::Link;
use crate::receiver::ShmReceiver;
use crate::region::Region;
use crate::rendezvous;
use crate::shared::{Arrival, Request, Shared, Stats, close_broken};
use crate::sys::{LoanedBytes, SharedBytes};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use zerodds_core::{
    Counters, Delivery, LoanError, Locator, LocatorKind, Path, Peer, Reach, Reason, Refusal, SendError, Sent,
    Transport, Unserved,
};

/// Shared memory for one participant. Clones are handles to the same transport; the last one closes it.
#[derive(Clone)]
pub struct ShmTransport {
    inner: Result<Arc<Open>, Reason>,
}

struct Open {
    shared: Arc<Shared>,
    control: Mutex<Option<Control>>,
    receiver_taken: AtomicBool,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl ShmTransport {
    /// Opens the shared-memory transport of one participant of a DDS domain. It never fails: where shared memory
    /// is switched off or not to be had, the transport has no locators, reaches nobody, and
    /// [`availability`](Self::availability) says why; a router then uses UDP.
    ///
    /// ```
    /// use zerodds_core::Transport;
    /// use zerodds_transport_shm::{Config, ShmTransport};
    /// let transport = ShmTransport::open(0, &Config::default().enabled(false));
    /// assert!(transport.locators().is_empty());
    /// ```
    #[must_use]
    pub fn open(domain_id: u32, config: &Config) -> Self {
        Self { inner: Self::try_open(domain_id, config).map(Arc::new) }
    }

    /// Whether shared memory is in use, and if not, why.
    ///
    /// # Errors
    /// The reason, with the setting that changes it.
    pub fn availability(&self) -> Result<(), Reason> {
        self.inner.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// As [`Transport::loan`], but waits for room until the deadline where peers still read what fills the ring.
    ///
    /// # Errors
    /// As [`Transport::loan`]; [`LoanError::Full`] only after the deadline.
    pub fn loan_before(&self, len: usize, deadline: Instant) -> Result<ShmLoan, LoanError> {
        let open = self.open_inner()?;
        open.shared
            .wait_for_space(deadline, || match self.loan(len) {
                Err(LoanError::Full { .. }) => None,
                outcome => Some(outcome),
            })
            .unwrap_or(Err(LoanError::Full { len }))
    }

    fn try_open(domain_id: u32, config: &Config) -> Result<Open, Reason> {
        if !config.enabled {
            return Err(Reason::SwitchedOff);
        }
        let unavailable = |error: std::io::Error| {
            tracing::info!("shared memory is not available, UDP is used for all peers: {error}");
            Reason::Unavailable(error.to_string())
        };
        let shared = Arc::new(Shared::create(domain_id, config.clone()).map_err(unavailable)?);
        let control = Control::start(&shared).map_err(unavailable)?;
        Ok(Open { shared, control: Mutex::new(Some(control)), receiver_taken: AtomicBool::new(false) })
    }

    fn open_inner(&self) -> Result<&Arc<Open>, LoanError> {
        let open = self.inner.as_ref().map_err(|reason| LoanError::Unavailable(reason.clone()))?;
        if open.shared.is_closed() { Err(LoanError::Closed) } else { Ok(open) }
    }
}

impl Open {
    fn close(&self) {
        // ORDER: AcqRel; one caller wins, and later callers see the transport closed.
        if !self.shared.closed.swap(true, Ordering::AcqRel) {
            self.shared.requests.push(Request::Stop);
            self.shared.bell.notify_space();
            if let Some(control) = self.control.lock().take() {
                control.join();
            }
            self.shared.bell.ring();
        }
    }
}

impl Transport for ShmTransport {
    type Loan = ShmLoan;
    type Receiver = ShmReceiver;

    fn locators(&self) -> Vec<Locator> {
        self.inner.iter().map(|open| open.shared.locator).collect()
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        match &self.inner {
            Ok(open) => open.shared.reach(peer),
            Err(reason) => Reach::Unreachable(reason.clone()),
        }
    }

    fn max_message_len(&self) -> usize {
        self.inner.as_ref().map_or(0, |open| open.shared.message_max())
    }

    fn loan(&self, len: usize) -> Result<ShmLoan, LoanError> {
        let shared = &self.open_inner()?.shared;
        let max = shared.message_max();
        if len > max {
            Stats::add(&shared.stats.too_large_messages, 1);
            return Err(LoanError::TooLarge { len, max });
        }
        if len <= lane::MESSAGE_MAX {
            return Ok(ShmLoan(LoanKind::Small(vec![0; len])));
        }
        shared.loan_record(len).map(|loan| ShmLoan(LoanKind::Record(loan)))
    }

    fn send(&self, message: ShmLoan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let open = self.open_inner().map_err(|error| match error {
            LoanError::Closed => SendError::Closed,
            other => SendError::Loan(other),
        })?;
        Ok(open.shared.send(message, to, delivery))
    }

    fn receiver(&self) -> Option<ShmReceiver> {
        let open = self.inner.as_ref().ok()?;
        // ORDER: Relaxed; only one caller can win, nothing else hangs on it.
        let taken = open.receiver_taken.swap(true, Ordering::Relaxed);
        (!taken).then(|| ShmReceiver::new(Arc::clone(&open.shared)))
    }

    /// Participants of this domain in this network namespace. Links to them are begun, if there are none.
    fn neighbours(&self) -> Vec<Locator> {
        let Ok(open) = &self.inner else { return Vec::new() };
        let own = open.shared.locator;
        let Some(host) = own.host_tag() else { return Vec::new() };
        let mut found = rendezvous::enumerate(host, own.port());
        found.retain(|&locator| locator != own);
        for locator in &found {
            let _ = open.shared.reach(Peer::new(std::slice::from_ref(locator)));
        }
        found
    }

    fn counters(&self) -> Counters {
        let Ok(open) = &self.inner else { return Counters::default() };
        let links = open.shared.outbound.lock().links().count();
        open.shared.stats.snapshot(links)
    }

    fn close(&self) {
        if let Ok(open) = &self.inner {
            open.close();
        }
    }
}

impl Shared {
    /// The locator by which a peer may share memory with us.
    fn candidate(&self, peer: Peer<'_>) -> Result<Locator, Reason> {
        let mut ours = peer.locators.iter().filter(|locator| locator.kind() == LocatorKind::SharedMemory);
        let first = ours.clone().next().ok_or(Reason::NoLocator)?;
        ours.find(|locator| {
            locator.host_tag() == self.locator.host_tag() && locator.port() == self.locator.port()
        })
        .copied()
        .ok_or(if first.host_tag() == self.locator.host_tag() {
            Reason::NoLocator
        } else {
            Reason::DifferentHost
        })
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        let locator = match self.candidate(peer) {
            Ok(locator) => locator,
            Err(reason) => return Reach::Unreachable(reason),
        };
        if self.is_closed() {
            return Reach::Unreachable(Reason::Closed);
        }
        if locator == self.locator {
            return Reach::Ready(Path::SharedMemory);
        }
        let mut outbound = self.outbound.lock();
        match outbound.state(&locator) {
            Some(PeerState::Up) => return Reach::Ready(Path::SharedMemory),
            Some(PeerState::Connecting { .. }) => return Reach::Pending(Reason::Handshake),
            Some(PeerState::Down { reason, retry_at, .. }) if Instant::now() < *retry_at => {
                return Reach::Unreachable(reason.clone());
            }
            Some(PeerState::Down { .. }) | None => outbound.set_connecting(locator),
        }
        drop(outbound);
        self.requests.push(Request::Connect(locator));
        Reach::Pending(Reason::Handshake)
    }

    fn loan_record(self: &Arc<Self>, len: usize) -> Result<RecordLoan, LoanError> {
        let (record, at) = self.allocate(len)?;
        let bytes = LoanedBytes::new(Arc::clone(&self.ring), at, len);
        Ok(RecordLoan { bytes, record, shared: Arc::clone(self) })
    }

    fn send(self: &Arc<Self>, message: ShmLoan, to: &[Peer<'_>], delivery: Delivery) -> Sent {
        let mut sent = Sent::default();
        let mut targets = Vec::with_capacity(to.len());
        for (index, &peer) in to.iter().enumerate() {
            match self.candidate(peer) {
                Ok(locator) => targets.push((index, locator)),
                Err(reason) => sent.unserved.push(Unserved { index, why: Refusal::Unreachable(reason) }),
            }
        }
        let message = self.finished(message);
        let promise = match delivery {
            Delivery::BestEffort => Promise::BestEffort,
            Delivery::Reliable { .. } => Promise::Reliable,
        };
        self.publish(&message, &mut targets, promise, &mut sent);
        if let (Delivery::Reliable { deadline }, false) = (delivery, targets.is_empty()) {
            let _ = self.wait_for_space(deadline, || {
                self.publish(&message, &mut targets, promise, &mut sent);
                targets.is_empty().then_some(())
            });
        }
        let counter = match promise {
            Promise::BestEffort => &self.stats.lost_messages,
            Promise::Reliable => &self.stats.timed_out_messages,
        };
        Stats::add(counter, targets.len() as u64);
        Stats::add(&self.stats.sent_messages, u64::from(sent.by_shm));
        Stats::add(&self.stats.sent_bytes, u64::from(sent.by_shm) * message.len() as u64);
        Stats::add(&self.stats.written_bytes, message.len() as u64);
        sent.unserved.extend(targets.into_iter().map(|(index, _)| Unserved { index, why: Refusal::Full }));
        sent
    }

    /// Publishes to every target that has room and removes it from the list; the others stay.
    fn publish(
        self: &Arc<Self>,
        message: &ShmLoan,
        targets: &mut Vec<(usize, Locator)>,
        promise: Promise,
        sent: &mut Sent,
    ) {
        let mut to_ring: Vec<Arc<Link>> = Vec::with_capacity(targets.len());
        let mut broken = Vec::new();
        let mut outbound = self.outbound.lock();
        targets.retain(|&(index, locator)| {
            let outcome = if locator == self.locator {
                self.publish_to_self(&mut outbound, message)
            } else {
                let outcome = self.publish_to(&mut outbound, &locator, message, promise);
                Stats::add(&self.stats.lost_messages, outbound.lost_since(&locator));
                outcome
            };
            match outcome {
                Outcome::Sent => {
                    sent.by_shm += 1;
                    to_ring.extend(outbound.link(&locator).map(Arc::clone));
                }
                Outcome::Full => return true,
                Outcome::Unreachable(reason) => {
                    sent.unserved.push(Unserved { index, why: Refusal::Unreachable(reason) });
                }
                Outcome::Broken(what) => {
                    broken.extend(outbound.link(&locator).map(|link| (Arc::clone(link), what)));
                    let why = Refusal::Unreachable(Reason::Protocol(what.0.into()));
                    sent.unserved.push(Unserved { index, why });
                }
            }
            false
        });
        drop(outbound);
        for link in to_ring {
            link.bell.ring();
        }
        for (link, what) in broken {
            close_broken(self, &link, what);
        }
    }

    fn publish_to(
        self: &Arc<Self>,
        outbound: &mut Outbound,
        to: &Locator,
        message: &ShmLoan,
        promise: Promise,
    ) -> Outcome {
        match &message.0 {
            LoanKind::Record(loan) => {
                let payload = Payload::Record { id: loan.record, len: loan.bytes.len() as u32 };
                outbound.publish(to, payload, promise)
            }
            LoanKind::Small(bytes) => match outbound.publish(to, Payload::Small(bytes), promise) {
                Outcome::Full => self.publish_overflow(outbound, to, bytes, promise),
                outcome => outcome,
            },
        }
    }

    /// A small message for a peer whose lane is full goes through the ring.
    fn publish_overflow(
        &self,
        outbound: &mut Outbound,
        to: &Locator,
        bytes: &[u8],
        promise: Promise,
    ) -> Outcome {
        let mut lost = 0;
        let whole = (bytes.len() + ring::RECORD_HEADER_LEN) as u64;
        let record = outbound.allocate(whole, &mut lost);
        Stats::add(&self.stats.lost_messages, lost);
        let Some(id) = record else { return Outcome::Full };
        let at = outbound.arena.record(id).start as usize + ring::RECORD_HEADER_LEN;
        self.ring.copy_in(at, bytes);
        let outcome = outbound.publish(to, Payload::Record { id, len: bytes.len() as u32 }, promise);
        outbound.arena.drop_reference(id);
        outcome
    }

    /// A message to ourselves needs no link: the receiver gets the record.
    fn publish_to_self(self: &Arc<Self>, outbound: &mut Outbound, message: &ShmLoan) -> Outcome {
        if self.inbox.len() >= OWN_MESSAGES_MAX {
            return Outcome::Full;
        }
        let body = match &message.0 {
            LoanKind::Small(bytes) => Body::Copied(bytes.clone()),
            LoanKind::Record(loan) => {
                outbound.arena.retain(loan.record);
                let start = outbound.arena.record(loan.record).start as usize + ring::RECORD_HEADER_LEN;
                let bytes = SharedBytes::new(Arc::clone(&self.ring), start, loan.bytes.len());
                Body::Own(OwnRecord { bytes, record: loan.record, shared: Arc::clone(self) })
            }
        };
        self.inbox.push(Arrival::Own(ShmMessage { body, source: self.locator }));
        self.bell.ring();
        Outcome::Sent
    }

    /// Trims a loan's record to its message and completes its header; a message that has become small leaves
    /// the ring.
    fn finished(&self, message: ShmLoan) -> ShmLoan {
        let LoanKind::Record(loan) = &message.0 else { return message };
        let len = loan.bytes.len();
        if len <= lane::MESSAGE_MAX {
            return ShmLoan(LoanKind::Small(loan.bytes.to_vec()));
        }
        let mut outbound = self.outbound.lock();
        outbound.arena.shorten(loan.record, (len + ring::RECORD_HEADER_LEN) as u64);
        outbound.longest = outbound.longest.max(len as u64);
        outbound.records += 1;
        let (start, sequence) = (outbound.arena.record(loan.record).start as usize, outbound.records);
        drop(outbound);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&(len as u32).to_le_bytes());
        header[8..].copy_from_slice(&sequence.to_le_bytes());
        self.ring.copy_in(start, &header);
        message
    }

    /// Calls `attempt` until it gives an answer, waiting in between for peers to give space back.
    fn wait_for_space<T>(&self, deadline: Instant, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        if let Some(answer) = attempt() {
            return Some(answer);
        }
        self.outbound.lock().waiters += 1;
        let answer = loop {
            let armed = self.bell.arm_space();
            if let Some(answer) = attempt() {
                break Some(answer);
            }
            if self.is_closed() || Instant::now() >= deadline {
                break None;
            }
            self.bell.sleep_for_space(armed, deadline.min(self.next_look()));
        };
        let mut outbound = self.outbound.lock();
        outbound.waiters -= 1;
        if outbound.waiters == 0 {
            self.bell.disarm_space();
        }
        answer
    }

    /// When to look again unasked: peers of other users ring doorbells of their own, on which we do not sleep.
    fn next_look(&self) -> Instant {
        let foreign = self.outbound.lock().links().any(|link| !link.same_user);
        let pause = if foreign { FOREIGN_LOOK } else { std::time::Duration::from_secs(3600) };
        Instant::now() + pause
    }
}

/// Messages to ourselves that may wait to be received.
const OWN_MESSAGES_MAX: usize = 1024;
/// How often a sender that waits for space looks at peers of other users.
const FOREIGN_LOOK: std::time::Duration = std::time::Duration::from_millis(1);
