//! A session: one participant's ring, its links to the sessions of other participants, and what it knows of them.
//!
//! ```text
//!   application threads                    attendant (one thread)
//!    write ──▶ outlook (plan, window) ◀──── registry ◀── status events of the participant
//!      └─────▶ ShmTransport ──▶ peers          ▲                └──▶ broadcast to the application
//!    take ───▶ inbox (ledger) ────── news ─────┘
//! ```
//! Writers and readers never wait for the attendant. It sleeps until RTPS discovers something, a link comes or
//! goes, or a sender needs room. While writers share it looks whether reports are missing when something wakes it, once a second at the most
//! but where RTPS has called it for nothing; and each second only while some are.

mod attached;
mod attendant;
mod ended;
mod noted;
mod obituary;
mod paths;
mod registry;
mod reports;
mod stats;
mod unsaid;

pub use attached::AttachError;
pub use paths::PeerPath;
use paths::Ways;
pub(crate) use registry::{Limit, split};
use reports::Reports;
pub use stats::Stats;
use stats::Totals;

use crate::config::{Config, Options};
use crate::endpoints::{Publisher, Subscriber};
use crate::events::{Broadcast, Events};
use crate::inbox::{Aside, Inbox, ROUNDS_MAX, Taken};
use crate::intake::{Appetite, Progress, Telling};
use crate::protocol::{Consumed, Descriptor, Entity, Note, Prefix, SampleKey, TopicHash, incarnation};
use crate::watch::Watch;
use crate::window::Outlook;
use attached::Attached;
use attendant::Attendant;
use bytes::Bytes;
use noted::Noted;
use parking_lot::{Mutex, MutexGuard};
use registry::{Errand, Registry};
use rustdds::dds::CreateResult;
use rustdds::{DomainParticipant, QosPolicies, RTPSEntity, Topic};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unsaid::Unsaid;
use zerodds_capture::Capture;
use zerodds_core::{Delivery, Incarnation, Locator, Path, Peer, Reason, Refusal, SendError, Sent, Transport};
use zerodds_transport_shm::ShmTransport;

/// Shared memory for one RustDDS participant.
///
/// Clones are handles to the same session. It ends when the last handle, publisher, subscriber and endpoint that came
/// of it is dropped; the participant goes on without it. A handle keeps the participant, as a clone of that does, and so do its
/// [`Events`]. Publishers, subscribers and endpoints do not, as RustDDS's own do not: whoever uses them keeps one of the former. (A thread that
/// writes at the very moment at which the last of those goes may be the one that ends the participant, inside `write`.)
///
/// ```
/// use rustdds::{DomainParticipant, QosPolicyBuilder};
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// let participant = DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
/// let qos = QosPolicyBuilder::new().build();
/// let publisher = zerodds.create_publisher(&qos)?;
/// let subscriber = zerodds.create_subscriber(&qos)?;
/// let events = zerodds.events();
/// assert_eq!(zerodds.participant(), &participant);
/// assert_eq!(zerodds.stats().shared_samples, 0, "nothing was written");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ZeroDds(pub(crate) Arc<Owner>, DomainParticipant);

/// Ends the session when the last user of it is gone.
pub(crate) struct Owner {
    pub(crate) session: Arc<Session>,
    pub(crate) options: Options,
    attendant: Mutex<Option<JoinHandle<()>>>,
    attached: Arc<Attached>,
}

/// What application threads and the attendant share.
pub(crate) struct Session {
    pub(crate) transport: ShmTransport,
    pub(crate) incarnation: Incarnation,
    pub(crate) totals: Totals,
    pub(crate) watch: Arc<Watch>,
    own: Prefix,
    /// There is no ring because the participant is under DDS Security.
    refused: bool,
    registry: Mutex<Registry>,
    /// Their lock is taken before the registry's.
    reports: Reports,
    noted: Mutex<Noted>,
    inbox: Mutex<Inbox>,
    broadcast: Broadcast,
    /// Notes that found no room.
    unsaid: Mutex<Unsaid>,
    /// When writers that wait are told what was taken, if they are to be told anything.
    owed_at: Mutex<Option<Instant>>,
    waker: mio::Waker,
    ended: AtomicBool,
    losses: AtomicU64,
}

impl ZeroDds {
    /// Attaches a session to a participant. Where shared memory cannot be had the session works all the same:
    /// every endpoint behaves like RustDDS's own, and [`availability`](Self::availability) says why.
    ///
    /// RustDDS has one queue of status events for each participant, and from here on it is the session's: while there is one, nobody
    /// else may read the participant's `status_listener()`. [`events`](Self::events) gives what it gave. Of whom a session has no report
    /// it knows nothing, and it would send descriptors to readers that know none; so once it notices that reports are missing all goes by
    /// UDP, with a warning. Only a session with a writer that shares notices.
    ///
    /// # Errors
    /// [`AttachError`]; the participant is not affected.
    pub fn attach(participant: &DomainParticipant, config: Config) -> Result<Self, AttachError> {
        let (own, _) = split(&participant.guid());
        let attached = Arc::new(Attached::new(own).ok_or(AttachError::Attached)?);
        Self::start(participant.clone(), own, attached, &config)
    }

    fn start(
        participant: DomainParticipant,
        own: Prefix,
        attached: Arc<Attached>,
        config: &Config,
    ) -> Result<Self, AttachError> {
        let incarnation = incarnation(own);
        let rendezvous = Locator::RUSTDDS_SESSIONS | u32::from(participant.domain_id());
        let refused = !config.admits(own);
        if refused {
            tracing::warn!("{SECURED}; its samples go by UDP");
        }
        let shm = if refused { config.shm.clone().enabled(false) } else { config.shm.clone() };
        let transport = ShmTransport::open_as(rendezvous, incarnation, &shm);
        let locator = transport.locators().first().copied();
        let domain_id = participant.domain_id().into();
        let capture = Capture::open(&config.capture)?;
        let tap =
            capture.and_then(|capture| capture.tap(Path::SharedMemory, transport.locators(), domain_id));
        let watch = Arc::new(Watch::new(tap, own));
        let inbox = Inbox::new(transport.receiver(), &watch);
        let poll = mio::Poll::new()?;
        let session = Arc::new(Session {
            waker: mio::Waker::new(poll.registry(), attendant::CALLED)?,
            transport,
            incarnation,
            totals: Totals::default(),
            watch,
            own,
            refused,
            registry: Mutex::new(Registry::new(own, locator)),
            reports: Reports::new(&participant).map_err(io::Error::other)?,
            noted: Mutex::default(),
            inbox: Mutex::new(inbox),
            broadcast: Broadcast::default(),
            unsaid: Mutex::default(),
            owed_at: Mutex::default(),
            ended: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        });
        let mourns = config.access_is_own_user();
        let attendant =
            Attendant::new(Arc::clone(&session), Arc::clone(&attached), poll, &participant, mourns)?;
        // Nothing fails any more once the participant's reports are taken.
        let attendant = attendant.start(|| session.note_the_past())?;
        let (attendant, options) = (Mutex::new(Some(attendant)), config.options);
        let owner = Arc::new(Owner { session, options, attendant, attached });
        owner.attached.show(&owner);
        Ok(Self(owner, participant))
    }

    /// The session that a participant has, as a clone of it: for whoever was given the participant by somebody else, such as a library.
    ///
    /// ```
    /// use zerodds_rustdds::{Config, ZeroDds};
    ///
    /// # let domain = 1 + (std::process::id() % 100) as u16;
    /// let participant = rustdds::DomainParticipant::new(domain)?;
    /// assert!(ZeroDds::of(&participant).is_none());
    /// let zerodds = ZeroDds::attach(&participant, Config::from_env()?)?;
    /// let same = ZeroDds::of(&participant).ok_or("it has one")?;
    /// assert_eq!(same.participant(), zerodds.participant());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(participant: &DomainParticipant) -> Option<Self> {
        let (own, _) = split(&participant.guid());
        Some(Self(Attached::owner(own)?, participant.clone()))
    }

    /// As RustDDS's `DomainParticipant::create_publisher`, for writers that use shared memory.
    ///
    /// # Errors
    /// As there.
    pub fn create_publisher(&self, qos: &QosPolicies) -> CreateResult<Publisher> {
        Ok(Publisher::new(Arc::clone(&self.0), self.1.create_publisher(qos)?))
    }

    /// As RustDDS's `DomainParticipant::create_subscriber`, for readers that use shared memory.
    ///
    /// # Errors
    /// As there.
    pub fn create_subscriber(&self, qos: &QosPolicies) -> CreateResult<Subscriber> {
        Ok(Subscriber::new(Arc::clone(&self.0), self.1.create_subscriber(qos)?, qos.clone()))
    }

    /// The participant.
    #[must_use]
    pub fn participant(&self) -> &DomainParticipant {
        &self.1
    }

    /// The participant's status events: those that came before too, for whoever is the first to ask; from now on for all others. (RustDDS has
    /// one queue of them, which the session reads.) They keep the participant, as RustDDS's listener does.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.session.broadcast.subscribe(self.1.clone())
    }

    /// Whether shared memory is in use at all, and if not, why.
    ///
    /// ```no_run
    /// # use zerodds_rustdds::{Config, ZeroDds};
    /// # let zerodds = ZeroDds::attach(&rustdds::DomainParticipant::new(0)?, Config::default())?;
    /// if let Err(reason) = zerodds.availability() {
    ///     eprintln!("everything goes by UDP: {reason}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The reason, with the setting that changes it.
    pub fn availability(&self) -> Result<(), Reason> {
        self.0.session.availability()
    }

    /// The participants known to this one, whether samples of all writers that share at all reach them by shared memory, and if not, why.
    /// Changes that last are logged at level `info`, with the topic where one keeps others from sharing. This has what is so now: of a participant
    /// that shares it is UDP, by `PlainReaders`, from the match of a further reader there until that is known to take descriptors.
    ///
    /// ```no_run
    /// # use zerodds_rustdds::{Config, ZeroDds};
    /// # let zerodds = ZeroDds::attach(&rustdds::DomainParticipant::new(0)?, Config::default())?;
    /// for peer in zerodds.paths() {
    ///     println!("{:02x?} by {}: {}", peer.participant, peer.path, peer.reason);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn paths(&self) -> Vec<PeerPath> {
        self.0.session.ways().peers
    }

    /// As RustDDS's `DomainParticipant::find_topic`, which keeps all writers of the participant waiting, and the session, for as
    /// long as it waits itself. This looks again and again instead.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use zerodds_rustdds::{Config, ZeroDds};
    /// # let zerodds = ZeroDds::attach(&rustdds::DomainParticipant::new(0)?, Config::default())?;
    /// if let Some(topic) = zerodds.find_topic("rt/points", Duration::from_secs(10))? {
    ///     println!("somebody has {topic:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn find_topic(&self, name: &str, timeout: Duration) -> CreateResult<Option<Topic>> {
        let begun = Instant::now();
        loop {
            let found = self.1.find_topic(name, Duration::ZERO)?;
            let left = timeout.saturating_sub(begun.elapsed());
            if found.is_some() || left.is_zero() {
                return Ok(found);
            }
            std::thread::sleep(left.min(BETWEEN_LOOKS));
        }
    }

    /// Ends the shared-memory link to a participant, by its GUID prefix, as if it had broken. Samples go by UDP
    /// until the link is set up again, which is tried at once; none is lost, repeated or reordered.
    ///
    /// ```
    /// # use zerodds_rustdds::{Config, ZeroDds};
    /// # let domain = 1 + (std::process::id() % 100) as u16;
    /// # let zerodds = ZeroDds::attach(&rustdds::DomainParticipant::new(domain)?, Config::default())?;
    /// // For a test of what a program does when the path changes:
    /// for peer in zerodds.paths().iter().filter(|peer| peer.is_shared()) {
    ///     zerodds.disconnect(peer.participant);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn disconnect(&self, participant: [u8; 12]) {
        let transport = &self.0.session.transport;
        if let Some(locator) = transport.locator_of(incarnation(participant)) {
            transport.disconnect(&locator);
        }
    }

    /// What the session has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.session.stats()
    }
}

impl Owner {
    /// Whether endpoints with these options can share memory at all: otherwise they are RustDDS's own.
    pub(crate) fn shares(&self, options: Options) -> bool {
        options.settled().shm && self.session.availability().is_ok()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.session.end();
        // A waker of the application's may run, and drop the last of a session, on the attendant itself.
        if let Some(attendant) = self.attendant.lock().take()
            && attendant.thread().id() != std::thread::current().id()
        {
            let _ = attendant.join();
        }
    }
}

impl Session {
    pub(crate) fn next_id(&self) -> u64 {
        // ORDER: Relaxed; only uniqueness matters.
        NEXT_ID.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn availability(&self) -> Result<(), Reason> {
        if self.refused {
            return Err(Reason::Unavailable(SECURED.to_owned()));
        }
        if self.has_ended() {
            return Err(Reason::Unavailable(ENDED.to_owned()));
        }
        if let Some(doubt) = self.registry.lock().doubted() {
            return Err(Reason::Unavailable(doubt.to_owned()));
        }
        self.transport.availability()
    }

    fn ways(&self) -> Ways {
        let mut ways = self.registry.lock().ways();
        if let Err(reason) = self.availability() {
            for peer in &mut ways.peers {
                (peer.path, peer.reason) = (Path::Udp, reason.clone());
            }
        }
        ways
    }

    pub(crate) fn add_writer(&self, writer: Entity, topic: &str, shares: bool, outlook: Arc<Outlook>) {
        self.registry.lock().add_writer(writer, topic, shares, outlook);
        self.call();
    }

    /// Whether RTPS has matched this reader to a writer here, by all that it has reported up to now.
    pub(crate) fn is_matched(&self, writer: Entity, reader: (Prefix, Entity)) -> bool {
        self.look();
        self.registry.lock().is_matched(writer, reader)
    }

    pub(crate) fn remove_writer(&self, writer: Entity) {
        self.registry.lock().remove_writer(writer);
    }

    /// First the ledger, so that nothing arrives for a reader that it does not know.
    pub(crate) fn add_reader(
        &self,
        reader: Entity,
        topic: TopicHash,
        appetite: Appetite,
        progress: Arc<Progress>,
    ) {
        self.inbox.lock().ledger.add_reader(reader, topic, appetite.keep, appetite.lifespan);
        // What is reported meanwhile comes after what was reported before.
        let order = self.reports.unnoted.lock();
        let refused = self.registry.lock().add_reader(reader, appetite.limit, progress);
        let errands = refused.into_iter().map(|source| Errand::Exclude(reader, source, true));
        self.noted.lock().add(errands, []);
        drop(order);
        self.call();
    }

    /// Nobody reads it any more. While somebody follows its status, RTPS has it yet.
    pub(crate) fn remove_reader(&self, reader: Entity, is_followed: bool) {
        let mut registry = self.registry.lock();
        if is_followed {
            registry.leave_reader(reader);
        } else {
            registry.remove_reader(reader);
        }
        drop(registry);
        self.inbox.lock().ledger.remove_reader(reader);
        self.call();
    }

    /// The sample that a descriptor stands for.
    pub(crate) fn decode(&self, reader: Entity, descriptor: Descriptor) -> Option<Bytes> {
        let mut inbox = self.inbox.lock();
        for _ in 1..ROUNDS_MAX {
            if !inbox.seeks(descriptor.key) {
                break;
            }
            // Whoever waits for the inbox does not wait for all of them.
            MutexGuard::bump(&mut inbox);
        }
        let (outcome, aside) = inbox.decode(reader, descriptor);
        drop(inbox);
        self.hear(aside);
        outcome
    }

    /// Writers that were lost so far.
    pub(crate) fn losses(&self) -> u64 {
        // ORDER: Acquire; pairs with the Release in `bereave`: whoever sees the count finds in RTPS what came before.
        self.losses.load(Ordering::Acquire)
    }

    /// This writer of a participant is gone, or all of them.
    fn bereave(&self, owner: Incarnation, writer: Option<Entity>) {
        let mut inbox = self.inbox.lock();
        let loss = self.losses.load(Ordering::Relaxed) + 1;
        inbox
            .bereave(|&(other, entity)| other == owner && writer.is_none_or(|writer| writer == entity), loss);
        // ORDER: Release, as above; the inbox's lock makes this the only writer.
        self.losses.store(loss, Ordering::Release);
    }

    /// `reader` has decoded everything that RTPS held for it after this many losses.
    pub(crate) fn caught_up(&self, reader: Entity, losses: u64) {
        self.inbox.lock().ledger.caught_up(reader, losses);
    }

    /// Whether RTPS has lost this writer.
    pub(crate) fn is_over(&self, writer: (Prefix, Entity)) -> bool {
        self.registry.lock().is_over(writer)
    }

    /// Tells a writer of a reader here what it is to be told now.
    pub(crate) fn tell(&self, reader: Entity, writer: (Prefix, Entity), telling: Telling) {
        match telling {
            Telling::UpTo(consumed) => self.leave_taken(reader, writer, consumed),
            Telling::Aloud(consumed) => self.say_taken(reader, writer, consumed),
            Telling::Soon => self.say_soon(),
            Telling::Nothing => {}
        }
    }

    /// Tells a writer what was taken.
    pub(crate) fn say_taken(&self, reader: Entity, (prefix, writer): (Prefix, Entity), consumed: Consumed) {
        let peer = incarnation(prefix);
        if prefix == self.own {
            return self.hear_taken(peer, reader, writer, consumed);
        }
        self.say(peer, Note::Taken { reader, writer, consumed });
    }

    /// The same without waking anybody: a writer looks before it waits, and asks if it has to.
    fn leave_taken(&self, reader: Entity, (prefix, writer): (Prefix, Entity), consumed: Consumed) {
        let peer = incarnation(prefix);
        if prefix == self.own {
            return self.hear_taken(peer, reader, writer, consumed);
        }
        if !self.try_leave(peer, &Note::Taken { reader, writer, consumed }) {
            self.say_taken(reader, (prefix, writer), consumed);
        }
    }

    /// Tells a writer that this reader will never be given this sample.
    pub(crate) fn say_missed(&self, reader: Entity, SampleKey { owner, id }: SampleKey) {
        if owner == self.incarnation {
            self.hear_missed(owner, reader, id);
        } else {
            self.say(owner, Note::Missed { reader, id });
        }
    }

    /// Which writer it is about, the sample's id says.
    fn hear_missed(&self, peer: Incarnation, reader: Entity, id: u64) {
        let outlooks: Vec<_> = self.registry.lock().outlooks().map(Arc::clone).collect();
        outlooks.iter().for_each(|outlook| outlook.excuse((peer, reader), id));
    }

    /// Takes in what readers have said without waking anybody.
    pub(crate) fn listen(&self) {
        let aside = self.inbox.lock().listen();
        self.hear(aside);
    }

    fn hear(&self, Aside { taken, expired, is_news }: Aside) {
        for Taken { peer, reader, writer, consumed } in taken {
            self.hear_taken(peer, reader, writer, consumed);
        }
        for (reader, sample) in expired {
            let is_to_be_said = self.registry.lock().expire(reader, sample);
            if is_to_be_said {
                self.say_missed(reader, sample);
            }
        }
        if is_news {
            self.call();
        }
    }

    /// A writer here waits for a reader, of which it has heard what was taken up to there.
    pub(crate) fn ask_for_taken(&self, peer: Incarnation, reader: Entity, writer: Entity, heard: i64) {
        if peer == self.incarnation {
            self.hear_waiting(peer, reader, writer, heard);
        } else {
            self.say(peer, Note::Waiting { reader, writer, heard });
        }
    }

    /// A writer waits for a reader here.
    fn hear_waiting(&self, peer: Incarnation, reader: Entity, writer: Entity, heard: i64) {
        let awaited = self.registry.lock().awaited(peer, reader, writer, heard);
        if let Some((writer, telling)) = awaited {
            self.tell(reader, writer, telling);
        }
    }

    /// Writers that wait hear of what was taken in a moment: one note for each sample would have each sent by itself.
    fn say_soon(&self) {
        let mut due = self.owed_at.lock();
        if due.is_none() {
            *due = Some(Instant::now() + SOON);
            drop(due);
            self.call();
        }
    }

    fn hear_taken(&self, peer: Incarnation, reader: Entity, writer: Entity, consumed: Consumed) {
        let outlook = self.registry.lock().outlook(writer).map(Arc::clone);
        if let Some(outlook) = outlook {
            outlook.set_taken((peer, reader), consumed);
        }
    }

    /// Says something to another session, without waiting; the attendant says it later where there is no room.
    pub(crate) fn say(&self, to: Incarnation, note: Note) {
        let mut unsaid = self.unsaid.lock();
        if unsaid.say_now(to, note, |note| self.try_say(to, note)) {
            drop(unsaid);
            self.call();
        }
    }

    /// `false`: there is no room now. Whom there is no link to, nothing needs to be said to.
    fn try_say(&self, to: Incarnation, note: &Note) -> bool {
        self.try_send(to, note, |message, to, delivery| self.transport.send_bytes(message, to, delivery))
    }

    /// As [`try_say`](Self::try_say), for when that session looks by itself.
    fn try_leave(&self, to: Incarnation, note: &Note) -> bool {
        self.try_send(to, note, |message, to, delivery| {
            let mut loan = self.transport.loan(message.len())?;
            loan.copy_from_slice(message);
            Ok(self.transport.begin_quietly(loan, to, delivery)?.finish().0)
        })
    }

    fn try_send(
        &self,
        to: Incarnation,
        note: &Note,
        send: impl FnOnce(&[u8], &[Peer<'_>], Delivery) -> Result<Sent, SendError>,
    ) -> bool {
        let Some(locator) = self.transport.locator_of(to) else { return true };
        let locators = [locator];
        let message = note.to_bytes();
        let captured = self.watch.begin(message.len());
        match send(&message, &[Peer::new(&locators)], Delivery::Reliable { deadline: Instant::now() }) {
            Ok(sent) => {
                let served = locators.into_iter().filter(|_| sent.unserved.is_empty());
                self.watch.sent(captured, &message, served);
                !sent.unserved.iter().any(|peer| matches!(peer.why, Refusal::Full))
            }
            Err(error) => !unsaid::may_be_said_later(&error),
        }
    }

    /// Wakes the attendant.
    fn call(&self) {
        // It fails only where the kernel has no memory for eight bytes; the next call wakes as well.
        let _ = self.waker.wake();
    }

    fn end(&self) {
        // ORDER: Release; pairs with the Acquire in `has_ended`, after which everything is found done that was done before.
        self.ended.store(true, Ordering::Release);
        self.call();
    }

    pub(crate) fn has_ended(&self) -> bool {
        // ORDER: Acquire, as above.
        self.ended.load(Ordering::Acquire)
    }

    /// The attendant has gone, perhaps before everybody else: nothing more is left to it, and all goes by UDP.
    fn abandon(&self) {
        self.end();
        self.noted.lock().end();
        self.registry.lock().close();
    }
}

/// Between two looks for a topic.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// Why a participant has no ring although the system would have one.
const SECURED: &str = "the participant is under DDS Security, and shared memory is not encrypted; \
                       Config::share_secured(true) shares it all the same";
/// Why a participant has no ring any more.
const ENDED: &str = "the session's thread has ended";
/// How long a writer waits for what is less than a quarter of its window.
const SOON: Duration = Duration::from_millis(1);
/// The next sample's id: of the process, since sessions that one participant has one after the other have the same incarnation.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
