//! The thread of a session: turns events into plans, and keeps links up.

use super::Session;
use super::attached::{AttachError, Attached};
use super::obituary::{Obituary, hex};
use super::paths::{PeerPath, Said, Ways};
use super::registry::Errand;
use super::reports::EVENTS_MAX;
use crate::inbox::News;
use crate::lifespan::{self, NEVER};
use crate::protocol::{Note, Offer, Prefix, incarnation};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustdds::{DomainParticipant, StatusEvented};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zerodds_core::{Incarnation, Locator, Peer, Reach, Reason, Transport, Wake};

/// The attendant's view of its session.
pub(super) struct Attendant {
    session: Arc<Session>,
    poll: mio::Poll,
    obituary: Obituary,
    /// Sessions that are to be reached again.
    retries: HashMap<Incarnation, Retry>,
    /// The dead of whom RustDDS will be told, and when.
    mourned: Vec<(Instant, Prefix, Vec<u8>)>,
    /// When what found no room is said again, and for the how manyth time.
    saying: Option<(Instant, u32)>,
    /// Whether only our own user's processes can have links.
    mourns: bool,
    /// What was offered last.
    offers: Vec<Offer>,
    /// What was last said of how samples reach whom.
    said: Said,
    /// Where sessions listen, if that was looked up since the news came that are attended to.
    listening: Option<Option<HashSet<Locator>>>,
    /// When what RustDDS knows is to be compared with what it has reported: readers are missing, or may be.
    comparison: Option<Instant>,
    /// Until it has left, there cannot be another session.
    _attached: Arc<Attached>,
}

/// A session that is to be reached again.
struct Retry {
    at: Instant,
    tries: u32,
    /// How often nobody listened there since somebody did.
    absent: u32,
    /// Its participant, if its link ended without a word though somebody listens at its locator.
    suspect: Option<Prefix>,
}

impl Retry {
    fn now(suspect: Option<Prefix>) -> Self {
        Self { at: Instant::now(), tries: 0, absent: 0, suspect }
    }
}

/// Somebody of this process calls.
pub(super) const CALLED: Token = Token(0);
const STATUS: Token = Token(1);
const BELL: Token = Token(2);

impl Attendant {
    pub(super) fn new(
        session: Arc<Session>,
        attached: Arc<Attached>,
        poll: mio::Poll,
        participant: &DomainParticipant,
        mourns: bool,
    ) -> Result<Self, AttachError> {
        register(&session, poll.registry(), participant)?;
        Ok(Self {
            session,
            poll,
            obituary: Obituary::new(participant),
            retries: HashMap::new(),
            mourned: Vec::new(),
            saying: None,
            mourns,
            offers: Vec::new(),
            said: Said::default(),
            listening: None,
            comparison: None,
            _attached: attached,
        })
    }

    /// `first` comes before anything that it does, and only if it can be started.
    pub(super) fn start(self, first: impl FnOnce()) -> io::Result<JoinHandle<()>> {
        let (begin, begins) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("zerodds-rustdds".into()).spawn(move || {
            let _ = begins.recv();
            self.run();
        })?;
        first();
        drop(begin);
        Ok(thread)
    }

    fn run(mut self) {
        let mut events = mio::Events::with_capacity(8);
        while !self.session.has_ended() {
            let busy = self.attend(events.iter().any(|event| event.token() == STATUS));
            let wait = if busy { Some(Duration::ZERO) } else { self.until_next_retry() };
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("the session cannot wait for events any more and ends: {error}; UDP is used");
                break;
            }
        }
        self.leave();
    }

    /// Does everything that there is to do, after RustDDS has said that there are reports, or not; whether something came meanwhile.
    fn attend(&mut self, are_reports: bool) -> bool {
        let (aside, news) = self.session.inbox.lock().wake_up();
        self.listening = None;
        self.session.hear(aside);
        // First what RTPS says: most of what sessions say is about endpoints that are matched.
        let count = self.session.note();
        for item in news {
            self.hear(item);
        }
        let (errands, events) = self.session.noted.lock().take();
        errands.into_iter().for_each(|errand| self.run_errand(errand));
        // Where there are none, somebody else may have read them.
        self.compare(are_reports && events.is_empty());
        let is_tried = self.retry();
        if self.refresh() || is_tried || self.said.is_due() {
            self.say_ways();
        }
        for event in &events {
            self.session.broadcast.tell(event);
            // Whoever is woken by that may take its time, and RustDDS's queue drops what it has no room for.
            self.session.look();
        }
        self.publish_due();
        self.say_owed();
        self.say_unsaid();
        count >= EVENTS_MAX || self.session.inbox.lock().fall_asleep() == Wake::Ready
    }

    /// Compares what RustDDS knows with what it has reported, if that is due: somebody who reads the queue too could have that done all the
    /// time.
    fn compare(&mut self, may_be_missing: bool) {
        let reports = &self.session.reports;
        let soonest = may_be_missing.then(|| reports.soonest_comparison());
        self.comparison = self.comparison.into_iter().chain(soonest).min();
        let now = Instant::now();
        if reports.next_comparison() <= now || self.comparison.is_some_and(|at| at <= now) {
            let is_waiting = self.session.compare(now);
            self.comparison = is_waiting.then(|| self.session.reports.next_comparison());
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Up(peer, link) => {
                let Some(id) = peer.incarnation() else { return };
                self.retries.remove(&id);
                self.session.registry.lock().set_up(id, link);
                self.session.say(id, Note::Readers(self.offers.clone()));
                // What was said before nobody may have heard.
                self.say_taken(|prefix| incarnation(*prefix) == id);
                let missed = self.session.registry.lock().missed(id);
                missed.into_iter().for_each(|(reader, sample)| self.session.say_missed(reader, sample));
            }
            News::Down(peer, reason) => self.lose(peer, &reason),
            News::Note(from, note) => {
                let Some(id) = from.incarnation() else { return };
                match note {
                    Note::Readers(offers) => self.session.registry.lock().set_offers(id, offers),
                    Note::Waiting { reader, writer, heard } => {
                        self.session.hear_waiting(id, reader, writer, heard);
                    }
                    Note::Missed { reader, id: sample } => self.session.hear_missed(id, reader, sample),
                    Note::Leaving => self.session.registry.lock().set_leaving(id),
                    Note::Taken { .. } | Note::Forget { .. } => {}
                }
            }
        }
    }

    /// A link is over. Of whoever has died RustDDS is told.
    fn lose(&mut self, peer: Locator, reason: &Reason) {
        let Some(id) = peer.incarnation() else { return };
        let has_died = match reason {
            Reason::PeerDied => true,
            Reason::PeerGone => !self.listens(&peer),
            _ => false,
        };
        let silent = self.session.registry.lock().set_down(id, reason.clone(), has_died);
        self.session.totals.links_lost.fetch_add(1, Ordering::Relaxed);
        match silent {
            Some(prefix) if has_died => self.mourn(prefix),
            silent => {
                // A process that ends closes its descriptors one by one: whoever still listens is asked again.
                let suspect = silent.filter(|_| *reason == Reason::PeerGone);
                self.retries.insert(id, Retry::now(suspect));
            }
        }
    }

    /// Writers here must not wait for readers there, and forget them at once. RustDDS is told a little later where it has
    /// something of a writer there: it drops what nobody has taken yet.
    fn mourn(&mut self, dead: Prefix) {
        // TRUST: another user could have a process claim the incarnation of a participant that lives, and end it. What that
        // process had offered ends with it all the same.
        if !self.mourns {
            return self.session.registry.lock().give_up(incarnation(dead));
        }
        let mut registry = self.session.registry.lock();
        registry.mourn(dead);
        let first = if registry.reads(dead) { TIME_TO_TAKE } else { Duration::ZERO };
        drop(registry);
        let notice = self.obituary.notice(dead);
        // RustDDS takes the repetitions for what they are; a datagram can be lost.
        let times = [first, first + FIRST_PAUSE, first + A_SECOND];
        self.mourned.extend(times.map(|after| (Instant::now() + after, dead, notice.clone())));
    }

    fn publish_due(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.mourned.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, dead, notice) in due {
            // Whoever has a link lives, whatever it looked like.
            if !self.session.registry.lock().is_up(dead) {
                self.obituary.publish(&notice);
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Reach(peer) => {
                // At once, but what was tried in vain before counts.
                let retry = self.retries.remove(&peer).unwrap_or_else(|| Retry::now(None));
                self.retries.insert(peer, Retry { at: Instant::now(), ..retry });
            }
            Errand::Mourn(dead) => self.mourn(dead),
            Errand::Bereave(peer, writer) => self.session.bereave(peer, writer),
            Errand::Exclude(reader, source, excluded) => {
                self.session.inbox.lock().ledger.exclude(reader, source, excluded);
            }
            Errand::Tell(reader, writer, consumed) => self.session.say_taken(reader, writer, consumed),
        }
    }

    /// Plans first, then the news of what we offer; whether anything may have changed.
    fn refresh(&mut self) -> bool {
        let Some(offers) = self.session.registry.lock().refresh() else { return false };
        if offers != self.offers {
            let peers: Vec<Incarnation> = self.session.registry.lock().up().collect();
            for peer in peers {
                self.session.say(peer, Note::Readers(offers.clone()));
            }
            self.offers = offers;
            // Writers may wait for less now.
            self.say_taken(|_| true);
        }
        true
    }

    /// Says how samples reach whom where that has changed, but for what passes.
    fn say_ways(&mut self) {
        let ways = self.session.ways();
        let passing = ways.peers.iter().filter(|peer| self.passes(peer)).map(|peer| peer.participant);
        let passing = passing.collect();
        let Ways { peers, mixed } = self.said.news(ways, &passing, Instant::now());
        for PeerPath { participant, path, reason } in peers {
            tracing::info!(participant = hex(participant), %path, %reason, "path of participant");
        }
        for topic in mixed {
            tracing::info!("{topic}");
        }
    }

    /// Whether that is so for a moment only, as far as one can tell: a peer that answers in the end does so within a few tries.
    fn passes(&self, PeerPath { participant, reason, .. }: &PeerPath) -> bool {
        let tries = || self.retries.get(&incarnation(*participant)).map(|retry| retry.tries);
        match reason {
            Reason::Handshake => true,
            Reason::NoAnswer | Reason::NoPlace | Reason::NotTaken => {
                tries().is_none_or(|tries| tries <= TRIES_WAITED_FOR)
            }
            _ => false,
        }
    }

    fn say_taken(&self, to: impl Fn(&Prefix) -> bool) {
        let taken = self.session.registry.lock().taken(to);
        for (reader, writer, consumed) in taken {
            self.session.say_taken(reader, writer, consumed);
        }
    }

    fn say_owed(&self) {
        let is_due = self.session.owed_at.lock().take_if(|at| *at <= Instant::now()).is_some();
        let owed = if is_due { self.session.registry.lock().owed() } else { Vec::new() };
        for (reader, writer, consumed) in owed {
            self.session.say_taken(reader, writer, consumed);
        }
    }

    /// Tries to reach whom we miss, at growing intervals, for as long as anybody listens there; whether it was time for any.
    fn retry(&mut self) -> bool {
        let now = Instant::now();
        let due: Vec<_> = self.retries.extract_if(|_, retry| retry.at <= now).collect();
        let is_tried = !due.is_empty();
        for (peer, retry) in due {
            let Some(locator) = self.session.transport.locator_of(peer) else { continue };
            match retry.suspect {
                Some(prefix) if !self.listens(&locator) => self.mourn(prefix),
                _ if self.session.registry.lock().misses(peer) => self.reach(peer, locator, retry),
                _ => {}
            }
        }
        is_tried
    }

    fn reach(&mut self, peer: Incarnation, locator: Locator, mut retry: Retry) {
        match self.session.transport.reach(Peer::new(&[locator])) {
            Reach::Ready(_) => return,
            Reach::Pending(_) => {}
            // Whoever dies before there is a link ends none.
            Reach::Unreachable(Reason::PeerDied) => {
                let participant = self.session.registry.lock().participant(peer);
                return participant.into_iter().for_each(|prefix| self.mourn(prefix));
            }
            Reach::Unreachable(reason) => {
                // What forbids a link now may pass.
                retry.absent = if reason == Reason::PeerGone { retry.absent + 1 } else { 0 };
                self.session.registry.lock().set_unreachable(peer, reason);
            }
        }
        let (is_gone, is_out) = (retry.absent == ABSENT_MAX, retry.tries == TRIES_WAITED_FOR);
        if is_gone || is_out {
            self.session.registry.lock().give_up(peer);
        }
        if is_gone {
            return;
        }
        retry.at = Instant::now() + pause(retry.tries, REACH_DOUBLED_MAX);
        retry.tries += 1;
        self.retries.insert(peer, retry);
    }

    /// Whether a session listens there. Where the system does not tell, nobody is known to be gone.
    fn listens(&mut self, at: &Locator) -> bool {
        let look = || {
            let found = zerodds_transport_shm::listeners().ok()?;
            Some(found.into_iter().map(|listener| listener.locator).collect())
        };
        self.listening.get_or_insert_with(look).as_ref().is_none_or(|listening| listening.contains(at))
    }

    fn until_next_retry(&self) -> Option<Duration> {
        let next = self.retries.values().map(|retry| retry.at).min();
        let unsaid = self.saying.map(|(at, _)| at);
        let mourned = self.mourned.iter().map(|(at, ..)| *at);
        let owed = *self.session.owed_at.lock();
        let alarm = self.session.inbox.lock().alarm();
        let expiry = (alarm != NEVER).then(|| Instant::now() + lifespan::until(alarm).max(FIRST_PAUSE));
        let doubt = self.said.due();
        let next = next.into_iter().chain(unsaid).chain(mourned).chain(owed).chain(expiry).chain(doubt);
        let next = next.chain(self.comparison).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Tries to say what found no room, at growing intervals and whenever there is something else to do.
    fn say_unsaid(&mut self) {
        let mut unsaid = self.session.unsaid.lock();
        let waits = unsaid.say(|peer, note| self.session.try_say(peer, note));
        let now = Instant::now();
        self.saying = match self.saying {
            _ if !waits => None,
            Some((at, tries)) if at > now => Some((at, tries)),
            Some((_, tries)) => Some((now + pause(tries, SAY_DOUBLED_MAX), tries + 1)),
            None => Some((now + FIRST_PAUSE, 1)),
        };
    }

    fn leave(&mut self) {
        let peers: Vec<Incarnation> = self.session.registry.lock().up().collect();
        for peer in peers {
            self.session.try_say(peer, &Note::Leaving);
        }
    }
}

/// RustDDS closes its descriptor with the participant, after which there is nothing to hear of it. It comes last: where something fails it is
/// not registered here.
fn register(
    session: &Session,
    registry: &mio::Registry,
    participant: &DomainParticipant,
) -> Result<(), AttachError> {
    if let Some(receiver) = &session.inbox.lock().receiver {
        let bell = receiver.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&bell), BELL, Interest::READABLE)?;
    }
    let mut status = participant.status_listener();
    let registered = registry.register(status.as_status_source_mio1(), STATUS, Interest::READABLE);
    registered.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => AttachError::Listened,
        _ => error.into(),
    })
}

impl Drop for Attendant {
    fn drop(&mut self) {
        // First, so that nobody sends what the transport would refuse.
        self.session.abandon();
        self.session.transport.close();
        self.session.watch.flush();
        apart(|| {
            // The next session of this participant registers it anew.
            if let Some(mut status) = self.session.reports.listener() {
                let _ = self.poll.registry().deregister(status.as_status_source_mio1());
            }
        });
        apart(|| self.session.broadcast.end());
        if std::thread::panicking() {
            apart(|| tracing::error!("the session's thread has panicked, and the session ends; UDP is used"));
        }
    }
}

/// What others have to do with, and may panic at: where the thread panics already, that would end the process.
fn apart(what: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(what));
}

/// Until the next of so many tries, doubled so often at most.
fn pause(tries: u32, doubled_max: u32) -> Duration {
    FIRST_PAUSE * (1 << tries.min(doubled_max))
}

/// Between tries to say something or to reach a session.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const SAY_DOUBLED_MAX: u32 = 6;
/// Up to 2.56 s.
const REACH_DOUBLED_MAX: u32 = 8;
/// So often nobody listens before a session is given up: over more time than the transport waits between two looks (6.4 s),
/// so that it is told by then if a process has ended.
const ABSENT_MAX: u32 = 6;
/// After so many tries, 5 s, nobody waits any more for what readers there say of samples by the link that is missing, and that it
/// is missing is said. It is tried all the same: with the next link they say again what they take.
const TRIES_WAITED_FOR: u32 = 9;
/// How long samples of a dead writer can be taken yet.
const TIME_TO_TAKE: Duration = Duration::from_secs(2);
const A_SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::no_key::DataReader;
    use crate::session::{ZeroDds, split};
    use crate::{domains, eventually};
    use bytes::Bytes;
    use rustdds::policy::{History, Reliability, ResourceLimits};
    use rustdds::{QosPolicies, QosPolicyBuilder, RTPSEntity, ReadCondition, TopicKind};
    use serde::{Deserialize, Serialize};
    use zerodds_core::testing::heard;

    #[derive(Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "crate::bytes")]
        data: Bytes,
    }

    fn sample() -> Sample {
        Sample { data: vec![7; 20_000].into() }
    }

    fn take(reader: &mut DataReader<Sample>) -> usize {
        reader.take(usize::MAX, ReadCondition::any()).expect("taken").len()
    }

    #[test]
    fn writers_of_a_session_whose_thread_has_ended_go_on_by_udp_and_wait_for_nobody() {
        const ROOM: i32 = 8;
        let limits = ResourceLimits { max_samples: ROOM, max_instances: 1, max_samples_per_instance: ROOM };
        let max_blocking_time = rustdds::Duration::from_secs(5);
        let qos = QosPolicyBuilder::new()
            .reliability(Reliability::Reliable { max_blocking_time })
            .history(History::KeepAll)
            .resource_limits(limits)
            .build();
        let [here, there] = [(); 2].map(|()| {
            let participant = DomainParticipant::new(domains::domain()).expect("a participant");
            ZeroDds::attach(&participant, Config::default()).expect("a session")
        });
        let topic = |at: &ZeroDds| {
            let none = QosPolicies::qos_none();
            at.participant()
                .create_topic("left".into(), "Bytes".into(), &none, TopicKind::NoKey)
                .expect("a topic")
        };
        let reader = |at: &ZeroDds| {
            let subscriber = at.create_subscriber(&qos).expect("a subscriber");
            subscriber
                .create_datareader_no_key_cdr::<Sample>(&topic(at), Some(qos.clone()))
                .expect("a reader")
        };
        let mut readers = [reader(&here), reader(&there)];
        let publisher = here.create_publisher(&qos).expect("a publisher");
        let writer = publisher
            .create_datawriter_no_key_cdr::<Sample>(&topic(&here), Some(qos.clone()))
            .expect("a writer");
        eventually(|| {
            let shared = here.stats().descriptors;
            let is_written = writer.write(sample(), None).is_ok();
            let is_shared = is_written && here.stats().descriptors == shared + 1;
            readers.iter_mut().map(take).min() > Some(0) && is_shared
        });
        eventually(|| readers.iter_mut().map(take).sum::<usize>() == 0);

        let lent = writer.loan(20_000, |data| Sample { data }).expect("room");
        here.0.session.end();
        eventually(|| there.stats().transport.links == 0);
        let mut lent = Some(lent);
        for _ in 0..3 * ROOM {
            let is_written = match lent.take() {
                Some(lent) => writer.publish(lent, None).is_ok(),
                None => writer.write(sample(), None).is_ok(),
            };
            assert!(is_written, "what is taken nobody would say");
            for reader in &mut readers {
                eventually(|| take(reader) > 0);
            }
        }
        assert!(here.availability().is_err() && here.paths().iter().all(|peer| !peer.is_shared()));
    }

    #[test]
    fn a_log_that_panics_ends_the_session_and_not_the_process() {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let session = Arc::clone(&zerodds.0.session);
        drop(zerodds);
        // Its thread's part, on this one. Whoever takes the log cannot, and panics: its terminal is closed, for instance.
        let attached = Arc::new(Attached::new(split(&participant.guid()).0).expect("the other is over"));
        let poll = mio::Poll::new().expect("a poll");
        let attendant = Attendant::new(session, attached, poll, &participant, true).expect("registered");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            heard(
                || false,
                || {
                    let _attendant = attendant;
                    tracing::info!("something");
                },
            )
        }));
        assert!(outcome.is_err());
        ZeroDds::attach(&participant, Config::default()).expect("another session");
    }
}
