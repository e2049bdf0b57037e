//! One message on its way to its peers: those with room have it at once, the others when they have room or
//! the deadline passes.

use crate::arena::Hold;
use crate::layout::{lane, ring};
use crate::message::{Body, LoanKind, OwnRecord, ShmLoan, ShmMessage};
use crate::outbound::{Notice, Outbound, Outcome};
use crate::outlink::{Payload, Promise};
use crate::peer::Link;
use crate::region::Region;
use crate::shared::{Arrival, Shared, Stats, close_broken};
use crate::sys::SharedBytes;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;
use zerodds_core::{Delivery, Locator, Peer, Reason, Refusal, Sent, Unserved};

/// A message that was given to everybody who had room, while others may yet be waited for: on any thread, since an
/// executor must not. Made by [`ShmTransport::begin_quietly`](crate::ShmTransport::begin_quietly). Dropped
/// unfinished, it leaves without those who had no room.
pub struct ShmSending {
    sending: Sending,
}

/// A message that was sent: its bytes can still be read, and stay in the ring until this is dropped.
#[derive(Debug)]
pub struct ShmSent {
    message: ShmLoan,
}

impl ShmSending {
    pub(crate) const fn new(sending: Sending) -> Self {
        Self { sending }
    }

    /// Whether nobody needs to be waited for: all are served or cannot be, or the message is best effort.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sending.is_done()
    }

    /// Waits for those without room until the deadline.
    pub fn wait(&mut self, deadline: Instant) {
        if !self.is_done() {
            self.sending.wait(deadline);
        }
    }

    /// What became of it; whoever has no room by now goes without.
    pub fn finish(self) -> (Sent, ShmSent) {
        let (sent, message) = self.sending.finish();
        (sent, ShmSent { message })
    }
}

impl fmt::Debug for ShmSending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShmSending({} peers without room)", self.sending.targets.len())
    }
}

impl Deref for ShmSent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.message
    }
}

/// A message being sent.
pub(crate) struct Sending {
    shared: Arc<Shared>,
    message: ShmLoan,
    promise: Promise,
    notice: Notice,
    /// Peers that have not been served yet, with their index.
    targets: Vec<(usize, Locator)>,
    sent: Sent,
}

impl Sending {
    /// Gives the message to every peer that has room now.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        message: ShmLoan,
        to: &[Peer<'_>],
        delivery: Delivery,
        notice: Notice,
    ) -> Self {
        let mut sent = Sent::default();
        let mut targets = Vec::with_capacity(to.len());
        for (index, &peer) in to.iter().enumerate() {
            match shared.candidate(peer) {
                Ok(locator) => targets.push((index, locator)),
                Err(reason) => sent.unserved.push(Unserved { index, why: Refusal::Unreachable(reason) }),
            }
        }
        let promise = match delivery {
            Delivery::BestEffort => Promise::BestEffort,
            Delivery::Reliable { .. } => Promise::Reliable,
        };
        let message = finished(shared, message);
        let mut sending = Self { shared: Arc::clone(shared), message, promise, notice, targets, sent };
        sending.attempt();
        sending
    }

    /// Whether there is nobody to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.targets.is_empty() || self.promise == Promise::BestEffort
    }

    /// Waits for the peers without room until the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) {
        let shared = Arc::clone(&self.shared);
        let _ = shared.wait_for_space(deadline, || {
            self.attempt();
            self.targets.is_empty().then_some(())
        });
    }

    /// What became of it, and the message; whoever has no room by now goes without.
    pub(crate) fn finish(mut self) -> (Sent, ShmLoan) {
        let stats = &self.shared.stats;
        let len = self.message.len() as u64;
        let missed = match self.promise {
            Promise::BestEffort => &stats.lost_messages,
            Promise::Reliable => &stats.timed_out_messages,
        };
        Stats::add(missed, self.targets.len() as u64);
        Stats::add(&stats.sent_messages, u64::from(self.sent.by_shm));
        Stats::add(&stats.sent_bytes, u64::from(self.sent.by_shm) * len);
        let without_room = self.targets.drain(..);
        self.sent.unserved.extend(without_room.map(|(index, _)| Unserved { index, why: Refusal::Full }));
        (self.sent, self.message)
    }

    /// Publishes to every target that has room and removes it from the list; the others stay.
    fn attempt(&mut self) {
        let Self { shared, message, promise, notice, targets, sent } = self;
        let mut asleep: Vec<Arc<Link>> = Vec::new();
        let mut broken = Vec::new();
        let mut outbound = shared.outbound.lock();
        targets.retain(|&(index, to)| {
            let outcome = if to == shared.locator {
                publish_to_self(shared, &mut outbound, message, *notice)
            } else {
                publish(shared, &mut outbound, &to, message, *promise, *notice)
            };
            match outcome {
                Outcome::Sent(link) => {
                    sent.by_shm += 1;
                    asleep.extend(link);
                }
                Outcome::Full => return true,
                Outcome::Unreachable(reason) => {
                    sent.unserved.push(Unserved { index, why: Refusal::Unreachable(reason) });
                }
                Outcome::Broken(link, what) => {
                    broken.push((link, what));
                    let why = Refusal::Unreachable(Reason::Protocol(what.0.into()));
                    sent.unserved.push(Unserved { index, why });
                }
            }
            false
        });
        let unrung = if targets.is_empty() { Vec::new() } else { outbound.unrung() };
        drop(outbound);
        // Waking is a system call; it is made without the lock.
        for link in asleep {
            link.ring();
        }
        if !targets.is_empty() {
            shared.rouse(&unrung);
        }
        for (link, what) in broken {
            close_broken(shared, &link, what);
        }
    }
}

/// Trims a loan's record to its message and completes its header. A message that has become small, and a loan of
/// another transport, leave the ring as a copy.
fn finished(shared: &Arc<Shared>, message: ShmLoan) -> ShmLoan {
    let LoanKind::Record(loan) = &message.0 else { return message };
    let len = loan.bytes.len();
    if len <= lane::MESSAGE_MAX || !Arc::ptr_eq(&loan.shared, shared) {
        return ShmLoan(LoanKind::Small(loan.bytes.to_vec()));
    }
    let mut outbound = shared.outbound.lock();
    outbound.arena.shorten(loan.record, (len + ring::RECORD_HEADER_LEN) as u64);
    outbound.longest = outbound.longest.max(len as u64);
    let start = outbound.arena.record(loan.record).start as usize;
    write_header(shared, &mut outbound, start, len);
    drop(outbound);
    message
}

/// Completes the header of a record, which is there for inspection.
fn write_header(shared: &Shared, outbound: &mut Outbound, start: usize, len: usize) {
    outbound.records += 1;
    let mut header = [0; 16];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[8..].copy_from_slice(&outbound.records.to_le_bytes());
    shared.ring.copy_in(start, &header);
    Stats::add(&shared.stats.written_bytes, len as u64);
}

fn publish(
    shared: &Shared,
    outbound: &mut Outbound,
    to: &Locator,
    message: &ShmLoan,
    promise: Promise,
    notice: Notice,
) -> Outcome {
    match &message.0 {
        LoanKind::Record(loan) => {
            let payload = Payload::Record { id: loan.record, len: loan.bytes.len() as u32 };
            outbound.publish(to, payload, promise, notice)
        }
        LoanKind::Small(bytes) if bytes.len() <= lane::MESSAGE_MAX => {
            match outbound.publish(to, Payload::Small(bytes), promise, notice) {
                Outcome::Full => publish_copy(shared, outbound, to, bytes, promise, notice),
                outcome => outcome,
            }
        }
        LoanKind::Small(bytes) => publish_copy(shared, outbound, to, bytes, promise, notice),
    }
}

/// A message of the heap for which the lane has no room goes through the ring.
fn publish_copy(
    shared: &Shared,
    outbound: &mut Outbound,
    to: &Locator,
    bytes: &[u8],
    promise: Promise,
    notice: Notice,
) -> Outcome {
    let Ok((id, record)) = shared.allocate_in(outbound, bytes.len()) else { return Outcome::Full };
    shared.ring.copy_in(record.start as usize + ring::RECORD_HEADER_LEN, bytes);
    write_header(shared, outbound, record.start as usize, bytes.len());
    let payload = Payload::Record { id, len: bytes.len() as u32 };
    let outcome = outbound.publish(to, payload, promise, notice);
    outbound.arena.release(id, Hold::Firm);
    outcome
}

/// A message to ourselves needs no link: the receiver gets the record.
fn publish_to_self(
    shared: &Arc<Shared>,
    outbound: &mut Outbound,
    message: &ShmLoan,
    notice: Notice,
) -> Outcome {
    if outbound.closed {
        return Outcome::Unreachable(Reason::Closed);
    }
    if shared.inbox.len() >= OWN_MESSAGES_MAX {
        return Outcome::Full;
    }
    let body = match &message.0 {
        LoanKind::Small(bytes) => Body::Copied(bytes.clone()),
        LoanKind::Record(loan) => {
            outbound.arena.retain(loan.record, Hold::Firm);
            let start = outbound.arena.record(loan.record).start as usize + ring::RECORD_HEADER_LEN;
            let bytes = SharedBytes::new(Arc::clone(&shared.ring), start, loan.bytes.len());
            Body::Own(OwnRecord { bytes, record: loan.record, shared: Arc::clone(shared) })
        }
    };
    shared.inbox.push(Arrival::Own(ShmMessage { body, source: shared.locator }));
    if notice == Notice::Ring || outbound.waiters > 0 || shared.inbox.len() >= OWN_MESSAGES_MAX / 4 {
        shared.bell.ring();
    }
    Outcome::Sent(None)
}

/// Messages to ourselves that may wait to be received.
const OWN_MESSAGES_MAX: usize = 1024;
