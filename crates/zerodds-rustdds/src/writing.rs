//! A sample on its way out: measured, put into the ring, sent, and described to RTPS.
//!
//! ```text
//!   sample ── size ──┬─ below the threshold, or nobody to share with ────────▶ plain CDR in RTPS
//!                    └─ room in the readers' windows ─ loan ─ fill ─ send ──┬─ descriptor in RTPS
//!                                                                           └─ plain CDR for whom it did not reach
//! ```
//! The payload goes first, so whoever decodes the descriptor finds it. Across a change of path nothing is lost
//! or reordered: every sample has its place in the one sequence of RTPS, whichever way its bytes go.

use crate::cdr;
use crate::config::{Options, Settled, WhenFull};
use crate::lifespan::Lifespan;
use crate::payload::Payload;
use crate::posts::{Post, Remains, Unwritten, cdr_of, like};
use crate::protocol::{
    Descriptor, Entity, HEADER_LEN, Note, SampleHeader, SampleKey, TopicHash, incarnation,
};
use crate::round::Round;
use crate::routes::{Plan, Target};
use crate::session::{Owner, Session, split};
use crate::waiting::after;
use crate::window::{Asked, Begun, Outlook, Place, SoFar};
use bytes::Bytes;
use rustdds::dds::WriteError;
use rustdds::policy::{Durability, Reliability};
use rustdds::{GUID, QosPolicies, Timestamp, WriteOptions};
use serde::Serialize;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;
use zerodds_capture::Pending;
use zerodds_core::{Delivery, Incarnation, LoanError, Locator, Peer, Refusal, Sent, Transport};
use zerodds_transport_shm::{ShmLoan, ShmSending};

/// The part of a writer that does not depend on its type.
pub(crate) struct Outlet {
    owner: Arc<Owner>,
    entity: Entity,
    topic: TopicHash,
    topic_name: String,
    options: Settled,
    /// max_blocking_time of a reliable writer.
    patience: Option<Duration>,
    shares: bool,
    lifespan: Lifespan,
    pub(crate) outlook: Arc<Outlook>,
    /// The length of the last sample that was serialized.
    last_len: AtomicUsize,
    /// For which causes it was said that samples go by UDP: a bit each.
    said: AtomicU8,
}

/// Why a sample was not written.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("readers have no room for it until max_blocking_time has passed")]
    WouldBlock,
    #[error(transparent)]
    Cdr(cdr::Error),
    #[error(transparent)]
    Io(std::io::Error),
    #[error("{0}")]
    Poisoned(String),
    #[error("{0}")]
    Internal(String),
}

impl Refused {
    /// As RustDDS says it, with the sample given back.
    pub(crate) fn with<D>(self, data: D) -> WriteError<D> {
        match self {
            Self::WouldBlock => WriteError::WouldBlock { data },
            Self::Cdr(error) => WriteError::Serialization { reason: error.to_string(), data },
            Self::Io(error) => WriteError::Io(error),
            Self::Poisoned(reason) => WriteError::Poisoned { reason, data },
            Self::Internal(reason) => WriteError::Internal { reason },
        }
    }
}

impl<D> From<WriteError<D>> for Refused {
    fn from(error: WriteError<D>) -> Self {
        match error {
            WriteError::WouldBlock { .. } => Self::WouldBlock,
            WriteError::Io(error) => Self::Io(error),
            WriteError::Poisoned { reason, .. } => Self::Poisoned(reason),
            WriteError::Serialization { reason, .. } | WriteError::Internal { reason } => {
                Self::Internal(reason)
            }
        }
    }
}

impl From<cdr::Error> for Refused {
    fn from(error: cdr::Error) -> Self {
        Self::Cdr(error)
    }
}

/// What is known of a sample before it is known where it goes.
pub(crate) enum Measured {
    /// Its CDR: it is too short to be shared.
    Short(Bytes),
    /// The length of its CDR.
    Long(usize),
}

/// Room in the ring for a sample.
pub(crate) struct Parcel {
    loan: ShmLoan,
    instance: u64,
}

/// A sample that is being sent, and to whom.
pub(crate) struct Transit {
    sending: ShmSending,
    /// Whoever has no room yet is waited for.
    waits: bool,
    captured: Option<Pending>,
    undescribed: Undescribed,
    len: usize,
    plan: Arc<Plan>,
}

/// Who has a sample that was sent.
struct Shares<'a> {
    shared: Vec<&'a Target>,
    plain: Vec<&'a Target>,
    /// Some of the latter for want of room, or because it is too large for them.
    falls_back: bool,
}

/// Why a sample that was meant for shared memory goes by UDP.
#[derive(Clone, Copy)]
enum Cause {
    TooLarge,
    RingFull,
    NoMemory,
    ReaderFull,
    TooLargeThere,
}

/// A sample that was sent and has no descriptor yet. Dropped, it never will have one, and its readers are told.
pub(crate) struct Undescribed {
    outlet: Arc<Outlet>,
    key: SampleKey,
    readers: Vec<Incarnation>,
}

impl Undescribed {
    /// RTPS has the descriptor, for all or for the participant of this reader.
    pub(crate) fn described(&mut self, to: Option<&GUID>) {
        match to.map(|reader| incarnation(split(reader).0)) {
            Some(described) => self.readers.retain(|reader| *reader != described),
            None => self.readers.clear(),
        }
    }
}

impl Drop for Undescribed {
    fn drop(&mut self) {
        for &reader in &self.readers {
            self.outlet.session().say(reader, Note::Forget { id: self.key.id });
        }
    }
}

impl Parcel {
    /// Where the sample's CDR goes.
    pub(crate) fn cdr(&self) -> &[u8] {
        self.loan.get(HEADER_LEN..).unwrap_or_default()
    }

    pub(crate) fn cdr_mut(&mut self) -> &mut [u8] {
        self.loan.get_mut(HEADER_LEN..).unwrap_or_default()
    }
}

impl Outlet {
    pub(crate) fn new(
        owner: &Arc<Owner>,
        guid: GUID,
        topic_name: String,
        options: Options,
        qos: &QosPolicies,
    ) -> Self {
        let mut options = options.settled();
        let outlook = Arc::new(Outlook::default());
        let (_, entity) = split(&guid);
        let patience = match qos.reliability() {
            Some(Reliability::Reliable { max_blocking_time }) => Some(max_blocking_time.to_std()),
            _ => None,
        };
        // Readers take from the ring when their threads come to it, and RustDDS takes thousands of samples that nobody has acknowledged:
        // without time for the former a write would fail where RustDDS's does not.
        if options.when_full == WhenFull::Block && patience.is_some_and(|patience| patience < TIME_TO_TAKE) {
            options.when_full = WhenFull::Udp;
        }
        // Whoever comes late is served from RustDDS's history, so the samples have to be there.
        let volatile = matches!(qos.durability(), None | Some(Durability::Volatile));
        if options.shm && !volatile {
            tracing::info!(
                "topic {topic_name}: samples go by UDP, since they have to be in RTPS for its DURABILITY"
            );
        }
        let (topic, shares) = (TopicHash::of(&topic_name), options.shm && volatile);
        owner.session.add_writer(entity, &topic_name, shares, Arc::clone(&outlook));
        Self {
            owner: Arc::clone(owner),
            entity,
            topic,
            topic_name,
            options,
            patience,
            shares,
            lifespan: Lifespan::of(qos),
            outlook,
            last_len: AtomicUsize::new(0),
            said: AtomicU8::new(0),
        }
    }

    /// Until when a write that begins now may wait.
    pub(crate) fn deadline(&self) -> Instant {
        after(self.patience.filter(|_| self.options.when_full != WhenFull::Fail).unwrap_or_default())
    }

    /// Whether a write that may last until then has all of max_blocking_time left.
    pub(crate) fn has_not_waited(&self, deadline: Instant) -> bool {
        match self.patience {
            None => true,
            Some(patience) => {
                self.options.when_full != WhenFull::Fail
                    && deadline.saturating_duration_since(Instant::now()) + A_TICK >= patience
            }
        }
    }

    /// The user's options; what expires says when it was written (DDS 1.4 §2.2.2.4.2.11).
    pub(crate) fn stamped<'a>(&self, options: &'a WriteOptions) -> Cow<'a, WriteOptions> {
        if self.lifespan.is_endless() || options.source_timestamp().is_some() {
            return Cow::Borrowed(options);
        }
        Cow::Owned(like(options).source_timestamp(Timestamp::now()).build())
    }

    /// The deadline that a future of a write has by itself: RustDDS has none for best effort, and waits only where the application says that
    /// it may.
    pub(crate) fn alarm(&self, deadline: Instant) -> Option<Instant> {
        self.patience.map(|_| deadline)
    }

    /// Until when to wait for who has not got a sample that others have.
    pub(crate) fn later(&self) -> Instant {
        after(self.patience.unwrap_or_default().max(A_MOMENT))
    }

    /// A place for one more sample with all readers that keep all, if they have room now; best effort waits for nobody. What they have
    /// taken they say without waking anybody: it is looked for when it matters.
    pub(crate) fn place(&self) -> Option<Place> {
        if self.patience.is_none() {
            return Some(self.outlook.place_anyway());
        }
        self.outlook.place().or_else(|| {
            self.session().listen();
            self.outlook.place()
        })
    }

    /// Waits for that.
    pub(crate) fn wait_for_place(&self, deadline: Instant) -> Result<Place, Refused> {
        self.go_on_waiting_for_place(deadline, &mut Asked::default())
    }

    /// As [`wait_for_place`](Self::wait_for_place), after such calls for the same sample in which readers were asked.
    pub(crate) fn go_on_waiting_for_place(
        &self,
        deadline: Instant,
        asked: &mut Asked,
    ) -> Result<Place, Refused> {
        let place = self.place().or_else(|| self.outlook.wait_for_place(deadline, asked, self.ask()));
        place.or_else(|| self.place()).ok_or(Refused::WouldBlock)
    }

    /// Has a reader say what it has taken beyond what was heard of it.
    fn ask(&self) -> impl Fn(Incarnation, Entity, i64) {
        |peer, reader, heard| self.session().ask_for_taken(peer, reader, self.entity, heard)
    }

    /// What was written so far.
    pub(crate) fn so_far(&self) -> SoFar {
        self.outlook.so_far()
    }

    /// Waits until readers that keep all have taken that, or will never be given it; whether that is so by the deadline.
    pub(crate) fn wait_until_taken(&self, so_far: &SoFar, deadline: Instant, asked: &mut Asked) -> bool {
        self.session().listen();
        self.outlook.wait_until_taken(so_far, deadline, asked, self.ask())
    }

    /// Measures a sample, or serializes it at once where it is likely too short to be shared.
    pub(crate) fn measure<D: Serialize>(&self, sample: &D) -> Result<Measured, cdr::Error> {
        if let Some(bytes) = self.short(sample)? {
            return Ok(Measured::Short(bytes));
        }
        let len = cdr::serialized_len(sample)?;
        self.last_len.store(len, Ordering::Relaxed);
        Ok(Measured::Long(len))
    }

    /// A sample that is too short to be shared, as CDR. It is not tried where the last one was not: then it is measured first.
    fn short<D: Serialize>(&self, sample: &D) -> Result<Option<Bytes>, cdr::Error> {
        // Bounded, since what is longer than RTPS can say has to be measured to be refused, and what was guessed too large stays
        // allocated for as long as the sample.
        let bound = self.options.threshold.min(SHORT_MAX);
        // ORDER: Relaxed; a guess.
        let likely = self.last_len.load(Ordering::Relaxed);
        if likely >= bound {
            return Ok(None);
        }
        let bytes = cdr::to_short_bytes(sample, bound, likely)?;
        if let Some(bytes) = &bytes {
            self.last_len.store(bytes.len(), Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// Whether a sample of this length is shared with anyone.
    pub(crate) fn shares(&self, len: usize, options: &WriteOptions) -> bool {
        self.may_share(options) && len >= self.options.threshold && self.outlook.plan().has_shared()
    }

    /// Whether samples that are written with these options can be shared with anyone at all.
    pub(crate) fn may_share(&self, options: &WriteOptions) -> bool {
        let directed = options.to_single_reader().is_some() || options.related_sample_identity().is_some();
        self.shares && !directed && !self.session().has_ended()
    }

    /// Room in the ring for a sample of `len` bytes of this instance; `None`: it goes by UDP.
    pub(crate) fn parcel(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Result<Option<Parcel>, Refused> {
        let transport = &self.session().transport;
        let needed = HEADER_LEN + len;
        let loan =
            if self.waits() { transport.loan_before(needed, deadline) } else { transport.loan(needed) };
        match (loan, self.options.when_full) {
            (Ok(loan), _) => Ok(Some(Parcel { loan, instance })),
            (Err(LoanError::Full { .. }), WhenFull::Fail) => Err(Refused::WouldBlock),
            (Err(LoanError::Full { .. }), WhenFull::Block) if self.patience.is_some() => {
                Err(Refused::WouldBlock)
            }
            (Err(error), _) => {
                let (cause, remedy) = match error {
                    LoanError::TooLarge { .. } => {
                        (Cause::TooLarge, "; ZERODDS_SHM_MAX_DATAGRAM sets the limit")
                    }
                    LoanError::Full { .. } => (Cause::RingFull, "; ZERODDS_SHM_MAX_DATAGRAM sizes the ring"),
                    _ => (Cause::NoMemory, ""),
                };
                self.warn(cause, &error.to_string(), remedy);
                Ok(None)
            }
        }
    }

    /// Sends a filled parcel to everybody who has room for it now.
    pub(crate) fn send(
        self: &Arc<Self>,
        parcel: Parcel,
        place: &mut Place,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<Transit, Refused> {
        let plan = self.outlook.plan();
        let len = parcel.cdr().len();
        let locators: Vec<Locator> = plan.shared().map(|(_, way)| way.locator).collect();
        let peers: Vec<Peer<'_>> =
            locators.iter().map(|locator| Peer::new(std::slice::from_ref(locator))).collect();
        // Nobody waits for readers that are best effort, and what they have not taken makes way for what comes.
        let reliable = || plan.shared().filter(|(target, _)| target.is_reliable).count();
        let (delivery, waited) = match self.patience {
            Some(_) => (Delivery::Reliable { deadline }, reliable()),
            None => (Delivery::BestEffort, peers.len()),
        };
        let (peers, others) = peers.split_at(waited);
        let readers = plan.shared().map(|(target, _)| incarnation(target.prefix)).collect();
        let id = place.send(|| self.session().next_id());
        let key = SampleKey { owner: self.session().incarnation, id };
        let undescribed = Undescribed { outlet: Arc::clone(self), key, readers };
        let Parcel { mut loan, instance } = parcel;
        if let Some(header) = loan.first_chunk_mut::<HEADER_LEN>() {
            let lifespan = self.lifespan;
            let written = options.source_timestamp().map(Timestamp::to_ticks);
            SampleHeader { id, topic: self.topic, instance, writer: self.entity, written, lifespan }
                .write(header);
        }
        let captured = self.session().watch.begin(HEADER_LEN + len);
        let sending = self.session().transport.begin_quietly(loan, peers, delivery);
        let mut sending = sending.map_err(|error| Refused::Internal(error.to_string()))?;
        sending.also_best_effort(others);
        Ok(Transit { sending, waits: self.waits(), captured, undescribed, len, plan })
    }

    /// What RTPS has to carry, now that the sample was sent to all who took it. It is about to be given that before it is looked who has
    /// come since: who comes later does not owe it.
    pub(crate) fn dispatch(&self, transit: Transit, place: Place) -> Result<Round, Unwritten> {
        let begun = self.begin(place);
        let Transit { sending, captured, mut undescribed, len, plan, .. } = transit;
        let (sent, sample) = sending.finish();
        let ways = plan.shared().enumerate();
        let served = ways.filter(|(index, _)| sent.unserved.iter().all(|peer| peer.index != *index));
        self.session().watch.sent(captured, &sample, served.map(|(_, (_, way))| way.locator));
        // Until now it was to be forgotten by all whom it might have been given to; from here on by those who have it.
        undescribed.readers.clear();
        let Some(Shares { shared, plain, falls_back }) = self.share_out(&plan, &sent, &mut undescribed)
        else {
            return Err(Unwritten { why: Refused::WouldBlock, remains: Some(Remains::Sent(sample)) });
        };
        let bytes = || Bytes::copy_from_slice(cdr_of(&sample));
        let to_all = || smallvec![Post::plain(bytes())];
        let descriptor = Descriptor { key: undescribed.key, len: len as u32, floor: self.outlook.floor() };
        let describe = |to| Post { payload: Payload::descriptor(descriptor), to };
        let posts: SmallVec<[Post; 1]> = match (&shared[..], &plain[..]) {
            // Whom it was meant for has gone; whoever is matched now gets it all the same.
            ([], _) => to_all(),
            // Somebody has come whom a descriptor would tell nothing, or gone to whom it would be directed.
            _ if !self.is_current(&plan) => to_all(),
            (_, []) => smallvec![describe(None)],
            // Somebody has not got what all should share.
            _ if !plan.may_direct => to_all(),
            (shared, plain) => {
                let bytes = bytes();
                let written = |target: &&Target| Post {
                    payload: Payload::plain(bytes.clone()),
                    to: Some(target.guid()),
                };
                let described = shared.iter().map(|target| describe(Some(target.guid())));
                described.chain(plain.iter().map(written)).collect()
            }
        };
        let is_for_all = posts.iter().all(|post| post.to.is_none() && !post.payload.is_descriptor);
        let sent = (!is_for_all).then_some((sample, plan));
        Ok(Round::new(begun, posts, Some(undescribed), sent, falls_back))
    }

    /// Who has the sample, and who gets it in RTPS; `None`: somebody who is waited for has no room.
    fn share_out<'a>(
        &self,
        plan: &'a Plan,
        sent: &Sent,
        undescribed: &mut Undescribed,
    ) -> Option<Shares<'a>> {
        let (mut shared, mut plain) = (Vec::new(), Vec::new());
        let (mut full, mut falls_back) = (false, false);
        let mut index = 0;
        for target in &plan.targets {
            let Some(way) = plan.way(target) else {
                plain.push(target);
                continue;
            };
            let missed = sent.unserved.iter().find(|peer| peer.index == index).map(|peer| &peer.why);
            index += 1;
            match (missed, self.options.when_full) {
                (None, _) if self.session().transport.link_id(&way.locator) == way.link => {
                    shared.push(target);
                    undescribed.readers.push(incarnation(target.prefix));
                }
                // The link was replaced, and this went by one or the other; whoever has it gets no descriptor.
                (None, _) => {
                    plain.push(target);
                    self.session().say(incarnation(target.prefix), Note::Forget { id: undescribed.key.id });
                }
                // What best effort has no room for is lost, there as anywhere; the transport has counted it. A reliable
                // writer heeds none but its reliable readers.
                (Some(Refusal::Full), WhenFull::Block) if self.patience.is_none() => shared.push(target),
                (Some(Refusal::Full), _) if self.patience.is_some() && !target.is_reliable => {
                    shared.push(target)
                }
                (Some(Refusal::Full), WhenFull::Udp) => {
                    let remedy = "; ZERODDS_SHM_WHEN_FULL=block waits for it, with a max_blocking_time of at least 10 ms";
                    self.warn(Cause::ReaderFull, "a reader has no room", remedy);
                    falls_back = true;
                    plain.push(target);
                }
                (Some(Refusal::Full), _) => full = true,
                (Some(Refusal::TooLarge { len, max }), _) => {
                    let why =
                        format!("{len} bytes are more than the {max} that a reader of another user takes");
                    self.warn(Cause::TooLargeThere, &why, "; its ZERODDS_SHM_MAX_DATAGRAM sets the limit");
                    falls_back = true;
                    plain.push(target);
                }
                (Some(_), _) => plain.push(target),
            }
        }
        (!full).then_some(Shares { shared, plain, falls_back })
    }

    /// Whether a plan takes everything into account that RustDDS has reported up to now.
    pub(crate) fn is_current(&self, plan: &Arc<Plan>) -> bool {
        self.session().look();
        Arc::ptr_eq(plan, &self.plan())
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.outlook.plan()
    }

    /// RTPS is about to be given a sample.
    fn begin(&self, place: Place) -> Begun {
        place.begin(|| self.session().next_id())
    }

    /// The same for what goes in RTPS alone. Where the application directs that to a reader, no other participant is ever given it; nor
    /// is that reader's, if it has left.
    pub(crate) fn begin_plain(&self, place: Place, to: Option<GUID>) -> Begun {
        let begun = self.begin(place);
        if let Some(reader) = to.as_ref().map(split) {
            let reached = self.session().is_matched(self.entity, reader).then(|| incarnation(reader.0));
            begun.excuse_all_but(reached.as_slice());
        }
        begun
    }

    /// RTPS has a sample, in this many descriptors, and has bytes of it that were meant for shared memory or not.
    pub(crate) fn count(&self, descriptors: u64, falls_back: bool) {
        let totals = &self.session().totals;
        totals.fallbacks.fetch_add(u64::from(falls_back), Ordering::Relaxed);
        let total = if descriptors > 0 { &totals.shared } else { &totals.plain };
        total.fetch_add(1, Ordering::Relaxed);
        totals.descriptors.fetch_add(descriptors, Ordering::Relaxed);
    }

    pub(crate) fn session(&self) -> &Session {
        &self.owner.session
    }

    /// Whether a writer waits for room in the ring and in links.
    fn waits(&self) -> bool {
        self.patience.is_some() && self.options.when_full == WhenFull::Block
    }

    /// A sample goes by UDP although it was meant for shared memory: said once for each cause.
    fn warn(&self, cause: Cause, why: &str, remedy: &str) {
        let bit = 1 << cause as u8;
        if self.said.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            tracing::warn!("topic {}: {why}; such samples go by UDP{remedy}", self.topic_name);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.owner.session.remove_writer(self.entity);
    }
}

impl Transit {
    /// Whether everybody has the sample, or nobody is waited for.
    pub(crate) fn is_done(&self) -> bool {
        !self.waits || self.sending.is_done()
    }

    /// Waits for those who have no room yet.
    pub(crate) fn wait(&mut self, until: Instant) {
        self.sending.wait(until);
    }
}

/// No sample of more bytes is written without having been measured.
const SHORT_MAX: usize = 64 << 10;
/// Not worth a clock of its own.
const A_TICK: Duration = Duration::from_millis(1);
const A_MOMENT: Duration = Duration::from_millis(100);
/// Whoever waits for less waits for no room in shared memory: it may be longer until a thread that has something to take runs.
const TIME_TO_TAKE: Duration = Duration::from_millis(10);
