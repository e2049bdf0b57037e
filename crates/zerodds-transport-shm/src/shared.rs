//! What the sending side, the receiver and the control thread of one transport share.

use crate::arena::{Arena, Hold, RecordId};
use crate::asked::asked;
use crate::bell::OwnBell;
use crate::config::Config;
use crate::control::closing::Closer;
use crate::crash;
use crate::doorbell::Space;
use crate::handshake::{Goodbye, OurIdentity};
use crate::layout::{PAGE, ring};
use crate::memory::NotAffordable;
use crate::message::ShmMessage;
use crate::outbound::Outbound;
use crate::peer::{Link, Reading, unreceived};
use crate::promise::Claim;
use crate::region::Broken;
use crate::rendezvous;
use crate::segment::{self, Sharing};
use crate::sys::{Generation, Keeper, Mapping};
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{EventfdFlags, eventfd};
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerodds_core::{Counters, Incarnation, LoanError, Locator, Reason};

/// One transport, but for its threads.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) locator: Locator,
    pub(crate) identity: OurIdentity,
    pub(crate) ring: Mapping,
    /// Ours alone: see holes.rs.
    pub(crate) ring_fd: OwnedFd,
    /// What peers get of it.
    pub(crate) ring_for_peers: OwnedFd,
    /// Rung by all peers of our own user, and by ourselves.
    pub(crate) bell: Arc<OwnBell>,
    pub(crate) outbound: Mutex<Outbound>,
    pub(crate) inbox: Inbox,
    pub(crate) requests: Requests,
    /// Closes what peers sent.
    pub(crate) closer: Arc<Closer>,
    pub(crate) stats: Stats,
    /// Nothing is sent any more.
    pub(crate) closed: AtomicBool,
    /// The control thread has ended too: nothing more arrives.
    pub(crate) ended: AtomicBool,
    /// The receiving half was taken.
    pub(crate) receiver_taken: AtomicBool,
    /// The process that opened it.
    pub(crate) generation: Generation,
}

/// What the control thread and our own sends leave for the receiver.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Whether there is something, so that a busy receiver need not lock.
    pub(crate) filled: AtomicBool,
    /// The receiver has looked for something.
    asked: AtomicBool,
    queue: Mutex<Option<Waiting>>,
}

/// What nobody has received yet.
#[derive(Default)]
struct Waiting {
    arrivals: VecDeque<Arrival>,
    /// Bytes of messages to ourselves.
    own_bytes: u64,
}

/// Something that does not come through a link.
pub(crate) enum Arrival {
    Up(Arc<Reading>),
    Own(ShmMessage),
}

/// What is asked of the control thread.
pub(crate) struct Requests {
    pub(crate) event: OwnedFd,
    queue: Mutex<Vec<Request>>,
}

/// One request.
pub(crate) enum Request {
    Connect(Locator),
    /// The peer broke the protocol.
    Close(Arc<Link>, Broken),
    /// A user wishes the link to end.
    Disconnect(Arc<Link>),
    Stop,
}

/// Counters, each message once per peer.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) received_messages: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) lost_messages: AtomicU64,
    pub(crate) timed_out_messages: AtomicU64,
    pub(crate) too_large_messages: AtomicU64,
    pub(crate) no_memory: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) protocol_errors: AtomicU64,
}

impl Shared {
    /// Makes ring and doorbell. Takes a few pages of memory; the ring takes more as messages need it.
    pub(crate) fn create(domain_id: u32, incarnation: Incarnation, config: Config) -> io::Result<Self> {
        let owner = incarnation_word(incarnation);
        let host = rendezvous::host_tag()?;
        let largest = message_max(&config) + ring::RECORD_HEADER_LEN;
        let main = (3 * largest).max(MAIN_MIN).next_multiple_of(PAGE);
        let reserve = largest.next_multiple_of(PAGE);
        let ring_len = ring::HEADER_LEN + main + reserve;
        let ring = segment::create("zerodds-ring", ring_len, owner, Sharing::ReadOnly)?;
        let arena = Arena::new(ring::HEADER_LEN as u64, SOFT_START, main as u64, reserve as u64);
        Ok(Self {
            locator: Locator::shared_memory(host, incarnation, domain_id),
            identity: OurIdentity {
                uid: rustix::process::geteuid().as_raw(),
                groups: asked("getgroups", rustix::process::getgroups())?
                    .into_iter()
                    .chain([rustix::process::getegid()])
                    .map(|group| group.as_raw())
                    .collect(),
            },
            ring: ring.mapping,
            ring_for_peers: segment::for_peers(&ring.fd)?,
            ring_fd: ring.fd,
            bell: Arc::new(OwnBell::create(owner)?),
            outbound: Mutex::new(Outbound::new(arena)),
            inbox: Inbox::open(),
            requests: Requests {
                event: asked("eventfd", eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))?,
                queue: Mutex::default(),
            },
            closer: Arc::default(),
            stats: Stats::default(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            receiver_taken: AtomicBool::new(false),
            generation: Generation::current(),
            config,
        })
    }

    /// The incarnation as the word that stands in the headers of our objects.
    pub(crate) fn owner(&self) -> u64 {
        owner_word(&self.locator)
    }

    /// The longest message, RTPS headers included.
    pub(crate) fn message_max(&self) -> usize {
        message_max(&self.config)
    }

    /// Also for a forked child, whose copy of the books would contradict its parent's.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDER: SeqCst; looked at between arming and sleeping, see doorbell.rs.
        self.closed.load(Ordering::SeqCst) || !self.generation.is_ours()
    }

    pub(crate) fn is_ended(&self) -> bool {
        // ORDER: SeqCst, as above.
        self.ended.load(Ordering::SeqCst)
    }

    /// A record for `len` bytes of payload and where its payload starts.
    pub(crate) fn allocate(&self, len: usize) -> Result<(RecordId, usize), LoanError> {
        let mut outbound = self.outbound.lock();
        let id = match self.allocate_in(&mut outbound, len, Claim::Loan) {
            Ok(id) => id,
            Err(error) => {
                if matches!(error, LoanError::NoMemory { .. }) {
                    Stats::add(&self.stats.no_memory, 1);
                }
                let unrung = outbound.unrung();
                drop(outbound);
                self.rouse(&unrung);
                return Err(error);
            }
        };
        let record = outbound.arena.record(id);
        let (start, record_len, at) = (record.start, record.len, record.payload());
        // A length far beyond what was ever sent is a bound rather than a length: its pages come as they are touched.
        let likely = record_len.min(outbound.longest.max(POPULATED_AT_ONCE));
        let fresh = start + likely > outbound.populated_until;
        if fresh {
            outbound.populated_until = start + likely;
        }
        drop(outbound);
        if fresh {
            // A refusal here only means that the pages come by faults.
            let _ = self.ring.populate(start as usize & !(PAGE - 1), likely as usize);
            crash::step("populated");
        }
        Ok((id, at))
    }

    /// The same under the lock, which is given up where files have to be read for it. Memory is reserved but not made present.
    pub(crate) fn allocate_in(
        &self,
        outbound: &mut MutexGuard<'_, Outbound>,
        len: usize,
        claim: Claim,
    ) -> Result<RecordId, LoanError> {
        if outbound.closed {
            return Err(LoanError::Closed);
        }
        let record_len = ring::record_len(len);
        let id = outbound.allocate(record_len, claim).ok_or(LoanError::Full { len })?;
        if outbound.arena.record(id).end() <= outbound.memory.present_until() {
            return Ok(id);
        }
        let Err(refused) = self.reserve(outbound, id) else { return Ok(id) };
        outbound.arena.release(id, Hold::Firm);
        if refused.was_seen {
            // Whoever met the record meanwhile may sleep until there is room.
            if outbound.waiters > 0 {
                MutexGuard::unlocked(outbound, || self.bell.notify_space(Space::Any));
            }
            if outbound.closed {
                return Err(LoanError::Closed);
            }
        }
        outbound.allocate_confined(record_len, claim).ok_or_else(|| no_memory(&refused))
    }

    /// Room is wanted: wakes these peers, and our own receiver if something waits for it.
    pub(crate) fn rouse(&self, unrung: &[Arc<Link>]) {
        unrung.iter().for_each(|link| link.ring());
        // ORDER: SeqCst; pushed before, so it is seen.
        if self.inbox.filled.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// What a peer did that no correct one does is counted, once for each link; whether this was the first time. The control thread says
    /// it: whoever finds it, in the midst of a send or a receive, may hold what a subscriber of log lines waits for.
    pub(crate) fn note_fault(&self, link: &Link, fault: &Reason) -> bool {
        let is_first = link.is_first_fault(fault);
        Stats::add(&self.stats.protocol_errors, u64::from(is_first));
        is_first
    }

    /// Gives back a loan of a record of our ring.
    pub(crate) fn release(&self, record: RecordId) {
        self.give_back(|outbound| outbound.arena.release(record, Hold::Firm));
    }

    /// Gives back a record that we had sent to ourselves.
    pub(crate) fn release_own(&self, record: RecordId) {
        self.give_back(|outbound| outbound.release_own(record));
    }

    fn give_back(&self, release: impl FnOnce(&mut Outbound)) {
        // A forked child has copies of the parent's references, and perhaps of a lock that nobody will release.
        if self.generation.is_ours() {
            release(&mut self.outbound.lock());
            self.bell.notify_space(Space::Any);
        }
    }
}

impl Keeper for Arc<Shared> {
    fn mapping(&self) -> &Mapping {
        &self.ring
    }
}

impl Arrival {
    /// Nobody will take this: whoever sends on its link is to know.
    pub(crate) fn refuse(self, shared: &Shared) {
        if let Self::Up(reading) = self {
            reading.incoming().close(&reading.memory);
            leave_unreceived(shared, &reading);
        }
    }
}

impl Inbox {
    fn open() -> Self {
        Self {
            filled: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            queue: Mutex::new(Some(Waiting::default())),
        }
    }

    /// Adds what arrived, or returns it if nobody will ever take it.
    pub(crate) fn push(&self, arrival: Arrival) -> Option<Arrival> {
        let mut queue = self.queue.lock();
        let Some(waiting) = &mut *queue else { return Some(arrival) };
        if let Arrival::Own(message) = &arrival {
            waiting.own_bytes += message.len() as u64;
        }
        waiting.arrivals.push_back(arrival);
        // ORDER: SeqCst; the receiver sets its bell, then looks at this: see doorbell.rs.
        self.filled.store(true, Ordering::SeqCst);
        None
    }

    /// Everything that has arrived, oldest first.
    pub(crate) fn take_all(&self) -> VecDeque<Arrival> {
        let mut queue = self.queue.lock();
        self.filled.store(false, Ordering::SeqCst);
        queue.as_mut().map(std::mem::take).unwrap_or_default().arrivals
    }

    /// A link is gone before anybody learned of it: nobody needs to, and it is to be refused.
    pub(crate) fn retract(&self, link: &Arc<Link>) -> Option<Arrival> {
        let is_it = |arrival: &Arrival| matches!(arrival, Arrival::Up(up) if Arc::ptr_eq(&up.0, link));
        let mut queue = self.queue.lock();
        let arrivals = &mut queue.as_mut()?.arrivals;
        arrivals.iter().position(is_it).and_then(|index| arrivals.remove(index))
    }

    /// The receiver looks for something to receive.
    pub(crate) fn ask(&self) {
        // ORDER: Relaxed; a sign of life. Looked at first, since it is set nearly always.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has since the last call.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// If more than `max` links with this user came and are over, while nobody received, takes out the oldest of them.
    pub(crate) fn forget_over(&self, uid: u32, max: usize) -> Option<Arc<Reading>> {
        let is_over = |arrival: &Arrival| matches!(arrival, Arrival::Up(up) if up.uid == uid && up.down.get().is_some());
        let mut queue = self.queue.lock();
        let arrivals = &mut queue.as_mut()?.arrivals;
        if arrivals.iter().filter(|arrival| is_over(arrival)).count() <= max {
            return None;
        }
        match arrivals.iter().position(is_over).and_then(|oldest| arrivals.remove(oldest)) {
            Some(Arrival::Up(reading)) => Some(reading),
            _ => None,
        }
    }

    /// How much waits to be received, and bytes of messages to ourselves among it.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        self.queue.lock().as_ref().map_or((0, 0), |waiting| (waiting.arrivals.len(), waiting.own_bytes))
    }

    /// Nobody will receive any more: nothing is let in, and what waits is to be refused.
    pub(crate) fn close(&self) -> VecDeque<Arrival> {
        let waiting = self.queue.lock().take();
        self.filled.store(false, Ordering::SeqCst);
        waiting.unwrap_or_default().arrivals
    }

    /// Whether nobody will receive any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().is_none()
    }
}

impl Requests {
    pub(crate) fn push(&self, request: Request) {
        self.queue.lock().push(request);
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub(crate) fn take_all(&self) -> Vec<Request> {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        std::mem::take(&mut *self.queue.lock())
    }
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        // ORDER: Relaxed; a statistic.
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// A message was received, which only one thread does.
    pub(crate) fn received(&self, len: usize) {
        for (counter, amount) in [(&self.received_messages, 1), (&self.received_bytes, len as u64)] {
            // ORDER: Relaxed; a statistic.
            counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self, outbound: &Outbound) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counters = Counters::default();
        counters.sent_messages = outbound.tally.messages;
        counters.sent_bytes = outbound.tally.bytes;
        counters.received_messages = read(&self.received_messages);
        counters.received_bytes = read(&self.received_bytes);
        counters.written_bytes = outbound.tally.written;
        counters.lost_messages = read(&self.lost_messages) + outbound.tally.lost;
        counters.timed_out_messages = read(&self.timed_out_messages);
        counters.too_large_messages = read(&self.too_large_messages);
        counters.no_memory = read(&self.no_memory);
        counters.refused = read(&self.refused);
        counters.protocol_errors = read(&self.protocol_errors);
        counters.links = outbound.links() as u64;
        counters
    }
}

/// Ends a link whose peer broke the protocol; the control thread does the rest.
pub(crate) fn close_broken(shared: &Shared, link: &Arc<Link>, broken: Broken) {
    let reason = Reason::Protocol(broken.0.into());
    // Before the peer is told, whose own goodbye may be what ends the link then.
    let is_first = shared.note_fault(link, &reason);
    if link.down.get().is_none() {
        link.say_bye(shared.locator, Goodbye::Broken);
    }
    link.end(reason);
    if is_first {
        shared.requests.push(Request::Close(Arc::clone(link), broken));
    }
}

/// Ends a link whose receiver is dropped, as if somebody wished it: its peer did nothing wrong, and is not to take this for
/// our death, which is what the end of our stream alone would look like.
pub(crate) fn leave_unreceived(shared: &Shared, link: &Reading) {
    // Before the peer is told, whose own goodbye would give another reason. Nobody shuts the socket meanwhile: it is read here.
    if link.end(unreceived()) {
        link.say_bye(shared.locator, Goodbye::Wished);
        shared.requests.push(Request::Disconnect(Arc::clone(link)));
    }
}

fn no_memory(refused: &NotAffordable) -> LoanError {
    LoanError::NoMemory { needed: refused.needed, limit: refused.limit.to_string() }
}

/// The word that stands for the incarnation of a locator.
pub(crate) fn owner_word(locator: &Locator) -> u64 {
    locator.incarnation().map_or(0, incarnation_word)
}

const fn incarnation_word(incarnation: Incarnation) -> u64 {
    u64::from_be_bytes(incarnation.to_bytes())
}

/// Random bits from the kernel.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    asked("getrandom", getrandom(&mut bytes, GetRandomFlags::empty()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The knob bounds a serialized sample; RTPS headers around it come on top.
fn message_max(config: &Config) -> usize {
    config.max_datagram + Config::RTPS_OVERHEAD
}

/// The ring's holdable part is at least this long.
const MAIN_MIN: usize = 4 << 20;
/// The ring uses this much before it grows: with a receiver that sleeps between messages.
const SOFT_START: u64 = 256 << 10;
/// Bytes that are made present at once for the first messages.
const POPULATED_AT_ONCE: u64 = 64 << 10;

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::ShmTransport;
    use crate::outbound::Attempt;
    use crate::testing;
    use std::time::{Duration, Instant};

    #[test]
    fn a_peer_that_broke_the_protocol_is_left_alone_though_its_goodbye_or_its_end_comes_first() {
        for (is_ended, hangs_up) in [(false, false), (true, false), (false, true)] {
            let [ours, peer] = testing::linked(&Config::default());
            let (link, theirs) = (link(&ours, &peer), link(&peer, &ours));
            let shared = ours.books().expect("available");
            let (before, fault) = (Instant::now(), Reason::Protocol("a lie".into()));
            // What close_broken has done by then.
            assert!(link.is_first_fault(&fault));
            if is_ended {
                link.end(fault.clone());
            }
            if hangs_up {
                rustix::net::shutdown(&**theirs.socket, rustix::net::Shutdown::Write).expect("open");
            } else {
                link.say_bye(shared.locator, Goodbye::Broken);
            }
            let (why, retry_at) = loop {
                if let Some(Attempt::Down { reason, retry_at, .. }) =
                    shared.outbound.lock().attempt(&link.locator)
                {
                    break (reason.clone(), *retry_at);
                }
                std::thread::yield_now();
            };
            assert!(retry_at >= before + Duration::from_secs(1), "{:?}", retry_at - before);
            assert_eq!(why, if hangs_up { Reason::PeerGone } else { fault });
        }
    }

    fn link(from: &ShmTransport, to: &ShmTransport) -> Arc<Link> {
        let to = testing::link(from, to);
        Arc::clone(from.books().expect("available").outbound.lock().link(&to).expect("it stands"))
    }
}
