//! The transport as its users see it: open, loan, send.

use crate::config::Config;
use crate::control::Control;
use crate::doorbell::Space;
use crate::layout::lane;
use crate::link_id::LinkId;
use crate::message::{LoanKind, RecordLoan, ShmLoan};
use crate::outbound::{Attempt, Notice};
use crate::peer::{link_ended, unreceived};
use crate::pool::Pool;
use crate::receiver::ShmReceiver;
use crate::rendezvous;
use crate::sending::{Sending, ShmSending};
use crate::shared::{Request, Shared, Stats, random};
use crate::short::zeros;
use crate::sys::LoanedBytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use zerodds_core::{
    Counters, Delivery, Incarnation, LoanError, Locator, Path, Peer, Reach, Reason, SendError, Sent,
    Transport,
};

/// Shared memory for one participant. Clones are handles to the same transport; the last one closes it.
///
/// Where a receiver has no room for [best effort](Delivery::BestEffort), up to eight of its oldest unread messages of that kind are
/// taken back at once, so that it has time to take what is then the oldest. Beyond its share of the memory none are as soon as
/// anything reliable waits for it unread, though best effort lies before that. A [reliable](Delivery::Reliable) sender that is
/// far ahead of a receiver may be held for a moment after the message was sent, so that the receiver catches up: 2 ms and 1 ms
/// for each MiB of it at most, and not past the deadline.
#[derive(Clone)]
pub struct ShmTransport {
    inner: Result<Arc<Open>, Reason>,
}

/// An available transport.
pub(crate) struct Open {
    pub(crate) shared: Arc<Shared>,
    control: Mutex<Option<Control>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.shared.generation.is_ours() {
            // To let go of the parent's thread were to let go of one of ours, where its stack has become that of ours.
            return std::mem::forget(self.control.get_mut().take());
        }
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
        Self { inner: Self::try_open(domain_id, None, config).map(Arc::new) }
    }

    /// As [`open`](Self::open), under an incarnation of the caller's choosing, which peers can derive from what they
    /// know of this participant, such as its GUID: then nothing has to tell them the locator. No two transports
    /// of one host and domain can have the same one at the same time; the second is unavailable and says so.
    ///
    /// ```
    /// use zerodds_core::{Incarnation, Transport};
    /// use zerodds_transport_shm::{Config, ShmTransport};
    /// # let domain = 3_900_000_000 - std::process::id();
    /// let (ours, theirs) = (Incarnation::from_bytes([1; 8]), Incarnation::from_bytes([2; 8]));
    /// let transport = ShmTransport::open_as(domain, ours, &Config::default());
    /// # if transport.availability().is_err() { return; }
    /// let peer = ShmTransport::open_as(domain, theirs, &Config::default());
    /// assert_eq!(peer.locators(), [transport.locator_of(theirs).expect("available")]);
    /// ```
    #[must_use]
    pub fn open_as(domain_id: u32, incarnation: Incarnation, config: &Config) -> Self {
        Self { inner: Self::try_open(domain_id, Some(incarnation), config).map(Arc::new) }
    }

    /// The locator that a participant of our host and domain has under this incarnation, whether there is one or
    /// not; `None` where shared memory is not available.
    #[must_use]
    pub fn locator_of(&self, incarnation: Incarnation) -> Option<Locator> {
        let own = self.inner.as_ref().ok()?.shared.locator;
        Some(Locator::shared_memory(own.host_tag()?, incarnation, own.port()))
    }

    /// The link by which this peer is sent to, if there is one.
    #[must_use]
    pub fn link_id(&self, peer: &Locator) -> Option<LinkId> {
        self.books()?.outbound.lock().link(peer).map(|link| link.id)
    }

    /// Ends the link with the peer at this locator, if there is one: nothing more is sent on it. What either
    /// side had sent reliably is still received; best effort that was not taken is taken back, and counted, unless something
    /// reliable was sent before it. Then both receivers yield
    /// [`PeerDown`](zerodds_core::Incoming::PeerDown), with [`Reason::Unavailable`] since nobody is gone.
    /// [`reach`](Transport::reach), on either side, sets up a new link at once.
    pub fn disconnect(&self, peer: &Locator) {
        let Some(shared) = self.books() else { return };
        let mut outbound = shared.outbound.lock();
        let Some(link) = outbound.link(peer).map(Arc::clone) else { return };
        if shared.is_closed() {
            return;
        }
        outbound.leave(&link, link_ended(), Instant::now());
        // The peer must hear of it before our receiver, whose leaving would look like our death: so the control
        // thread tells both. It is asked under the lock, so that nobody's wish for a new link comes before.
        shared.requests.push(Request::Disconnect(link));
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
        let loan = self.loan(len);
        let Err(LoanError::Full { .. }) = loan else { return loan };
        let attempt = || Some(self.loan(len)).filter(|loan| !matches!(loan, Err(LoanError::Full { .. })));
        self.open_inner()?
            .shared
            .await_space(Space::Any, deadline, attempt)
            .unwrap_or(Err(LoanError::Full { len }))
    }

    /// How full the ring is; all zero where shared memory is not available. Cheap enough to be asked every second, not
    /// for every message.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.books().map(|shared| shared.outbound.lock().pool()).unwrap_or_default()
    }

    /// The first step of a send, which never waits: the message is given to everybody who has room. Who has none can be waited for
    /// elsewhere, and the message can be read afterwards, for the path by which the others are served. How long a `Reliable` message is
    /// waited for is up to [`ShmSending::wait`]; its own deadline is not looked at. Where the transport was closed since the loan was
    /// made, nobody is given it, and it can be read as well.
    ///
    /// A receiver that sleeps is not woken: this is for messages whose news travels another way, by a descriptor in an RTPS message for
    /// instance, and whose receiver looks when that comes. Until then they lie in memory.
    ///
    /// It is woken nevertheless when a quarter of what may wait for it does (64 large messages, or a quarter of this
    /// link's share of the ring, or of the 16 KiB for small messages), and whenever room is wanted that there is
    /// not: so nobody waits for room that nobody makes. Large best-effort messages are taken back before the ring grows beyond
    /// 4 MiB, or somewhat more than two of them; so whoever sleeps beside some is woken by the one with which half of that
    /// waits, for all receivers together, and until then nothing is taken back from it while the ring can grow instead.
    ///
    /// ```
    /// use std::time::Instant;
    /// use zerodds_core::{Delivery, Incoming, Peer, Receiver, Transport};
    /// use zerodds_transport_shm::{Config, ShmTransport};
    /// # let domain = 3_600_000_000 - std::process::id();
    /// let transport = ShmTransport::open(domain, &Config::default());
    /// # if transport.availability().is_err() { return; }
    /// let (own, mut receiver) = (transport.locators(), transport.receiver().expect("taken once"));
    /// let mut loan = transport.loan(100_000).expect("memory of the ring");
    /// loan.fill(7);
    /// let delivery = Delivery::Reliable { deadline: Instant::now() };
    /// let sending = transport.begin_quietly(loan, &[Peer::new(&own)], delivery).expect("open");
    /// assert!(sending.is_done());
    /// let (sent, message) = sending.finish();
    /// assert!(sent.by_shm == 1 && message.len() == 100_000);
    /// // ... and when the news has come:
    /// assert!(matches!(receiver.try_receive(), Some(Incoming::Message(_))));
    /// ```
    ///
    /// # Errors
    /// Where there is no transport to the loan: shared memory is not available, or this is a forked child.
    pub fn begin_quietly(
        &self,
        message: ShmLoan,
        to: &[Peer<'_>],
        delivery: Delivery,
    ) -> Result<ShmSending, SendError> {
        self.begin(message, to, delivery, Notice::Quiet)
    }

    pub(crate) fn begin(
        &self,
        message: ShmLoan,
        to: &[Peer<'_>],
        delivery: Delivery,
        notice: Notice,
    ) -> Result<ShmSending, SendError> {
        // What was lent before the transport closed reaches nobody here, and can be read for another path.
        let shared = match self.books() {
            Some(shared) => shared,
            None => &self.open_for_sending()?.shared,
        };
        let sending = Sending::begin(shared, message, to, delivery, notice);
        Ok(ShmSending::new(Arc::clone(shared), sending, to.len()))
    }

    fn try_open(domain_id: u32, incarnation: Option<Incarnation>, config: &Config) -> Result<Open, Reason> {
        if !config.enabled {
            return Err(Reason::SwitchedOff);
        }
        if cfg!(target_endian = "big") {
            return Err(Reason::Unavailable("it is implemented for little-endian machines only".into()));
        }
        let unavailable = |error: std::io::Error| {
            tracing::warn!("shared memory is not available, UDP is used for all peers: {error}");
            Reason::Unavailable(error.to_string())
        };
        let incarnation = match incarnation {
            Some(chosen) => chosen,
            None => Incarnation::from_bytes(random().map_err(unavailable)?.to_ne_bytes()),
        };
        let shared = Arc::new(Shared::create(domain_id, incarnation, config.clone()).map_err(unavailable)?);
        let control = Control::start(&shared).map_err(unavailable)?;
        Ok(Open { shared, control: Mutex::new(Some(control)) })
    }

    pub(crate) fn open_for_sending(&self) -> Result<&Arc<Open>, SendError> {
        Ok(self.open_inner()?)
    }

    /// What only the process that opened the transport looks at: a forked child has a copy, perhaps of a lock that nobody
    /// will release.
    pub(crate) fn books(&self) -> Option<&Arc<Shared>> {
        let open = self.inner.as_ref().ok()?;
        open.shared.generation.is_ours().then_some(&open.shared)
    }

    fn open_inner(&self) -> Result<&Arc<Open>, LoanError> {
        let open = self.inner.as_ref().map_err(|reason| LoanError::Unavailable(reason.clone()))?;
        if open.shared.is_closed() { Err(LoanError::Closed) } else { Ok(open) }
    }
}

impl Open {
    fn close(&self) {
        let shared = &self.shared;
        // ORDER: SeqCst; one caller wins, and sleepers find it set when they look again: see doorbell.rs.
        if !shared.generation.is_ours() || shared.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        shared.outbound.lock().closed = true;
        shared.requests.push(Request::Stop);
        shared.bell.notify_space(Space::Much);
        if let Some(control) = self.control.lock().take() {
            control.join();
        }
        // ORDER: SeqCst, as above: only now has everything that was to arrive arrived.
        shared.ended.store(true, Ordering::SeqCst);
        // ORDER: AcqRel; either the receiver was taken, and closes the inbox itself, or it never will be.
        if !shared.receiver_taken.swap(true, Ordering::AcqRel) {
            let waiting = shared.inbox.close();
            waiting.into_iter().for_each(|arrival| arrival.refuse(shared));
        }
        shared.bell.ring();
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
            return Ok(ShmLoan(LoanKind::Small(zeros(len))));
        }
        shared.loan_record(len).map(|loan| ShmLoan(LoanKind::Record(loan)))
    }

    fn send(&self, message: ShmLoan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let shared = &self.open_for_sending()?.shared;
        Ok(Sending::send(shared, message, to, delivery))
    }

    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        if message.len() > lane::MESSAGE_MAX {
            return match self.loan(message.len()) {
                Ok(mut loan) => {
                    loan.copy_from_slice(message);
                    self.send(loan, to, delivery)
                }
                // It waits for room on the heap, as long as the delivery says.
                Err(LoanError::Full { .. }) => {
                    self.send(ShmLoan(LoanKind::Small(message.to_vec())), to, delivery)
                }
                Err(error) => Err(error.into()),
            };
        }
        let shared = &self.open_for_sending()?.shared;
        Ok(Sending::send_small(shared, message, to, delivery))
    }

    fn receiver(&self) -> Option<ShmReceiver> {
        let open = self.inner.as_ref().ok()?;
        // ORDER: AcqRel; one caller wins: see `close`.
        let taken = open.shared.receiver_taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| ShmReceiver::new(Arc::clone(&open.shared)))
    }

    /// Participants of this domain in this network namespace. Links to them are begun, if there are none.
    fn neighbours(&self) -> Vec<Locator> {
        let Ok(open) = &self.inner else { return Vec::new() };
        let own = open.shared.locator;
        let mut found = rendezvous::enumerate(own.port()).unwrap_or_default();
        found.retain(|&locator| locator != own);
        for locator in &found {
            let _ = open.shared.reach(Peer::new(std::slice::from_ref(locator)));
        }
        found
    }

    fn counters(&self) -> Counters {
        let Some(shared) = self.books() else { return Counters::default() };
        shared.stats.snapshot(&shared.outbound.lock())
    }

    fn close(&self) {
        if let Ok(open) = &self.inner {
            open.close();
        }
    }
}

impl Shared {
    /// The locator by which a peer may share memory with us.
    pub(crate) fn neighbour<'a>(&self, peer: Peer<'a>) -> Option<&'a Locator> {
        peer.locators.iter().find(|locator| locator.is_neighbour(&self.locator))
    }

    /// The same, or why there is none.
    pub(crate) fn candidate(&self, peer: Peer<'_>) -> Result<Locator, Reason> {
        self.neighbour(peer).copied().ok_or_else(|| {
            let host = peer.locators.iter().find_map(Locator::host_tag);
            let is_elsewhere = host.is_some_and(|host| self.locator.host_tag() != Some(host));
            if is_elsewhere { Reason::DifferentHost } else { Reason::NoLocator }
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
        if self.inbox.is_closed() {
            return Reach::Unreachable(unreceived());
        }
        if locator == self.locator {
            return Reach::Ready(Path::SharedMemory);
        }
        let mut outbound = self.outbound.lock();
        if outbound.closed {
            return Reach::Unreachable(Reason::Closed);
        }
        if let Some(link) = outbound.link(&locator) {
            return match link.down.get() {
                None => Reach::Ready(Path::SharedMemory),
                Some(reason) => Reach::Unreachable(reason.clone()),
            };
        }
        match outbound.attempt(&locator) {
            Some(Attempt::Connecting { .. }) => return Reach::Pending(Reason::Handshake),
            Some(Attempt::Down { reason, retry_at, .. }) if Instant::now() < *retry_at => {
                return Reach::Unreachable(reason.clone());
            }
            Some(Attempt::Down { .. }) | None => {}
        }
        if !outbound.set_connecting(locator) {
            return Reach::Unreachable(Reason::NoPlace);
        }
        drop(outbound);
        self.requests.push(Request::Connect(locator));
        Reach::Pending(Reason::Handshake)
    }

    fn loan_record(self: &Arc<Self>, len: usize) -> Result<RecordLoan, LoanError> {
        let (record, at) = self.allocate(len)?;
        let bytes = LoanedBytes::new(Arc::clone(self), at, len);
        Ok(RecordLoan { bytes, record, is_given_back: false })
    }

    /// Calls `attempt` until it gives an answer, waiting in between for peers to give space back.
    pub(crate) fn wait_for_space<T>(
        &self,
        wanted: Space,
        deadline: Instant,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        attempt().or_else(|| self.await_space(wanted, deadline, attempt))
    }

    /// The same after an attempt in vain.
    fn await_space<T>(
        &self,
        wanted: Space,
        deadline: Instant,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        *self.outbound.lock().waiters(wanted) += 1;
        let answer = loop {
            let armed = self.bell.arm_space(wanted);
            if let Some(answer) = attempt() {
                break Some(answer);
            }
            if self.is_closed() || Instant::now() >= deadline {
                break None;
            }
            self.bell.sleep_for_space(armed, deadline);
        };
        let mut outbound = self.outbound.lock();
        let waiters = outbound.waiters(wanted);
        *waiters -= 1;
        if *waiters == 0 {
            self.bell.disarm_space(wanted);
        }
        answer
    }
}
