//! What RustDDS reports of the participant, by the only queue that it has for that.
//!
//! ```text
//!   RustDDS ──▶ queue ── whoever writes, or the attendant ──▶ registry, plans ──▶ attendant: errands, events
//! ```
//! RustDDS's listener keeps the participant, and with it everything in the domain that others know of it. A session lives in each of
//! its endpoints, and these keep no participant in RustDDS: a thread that holds a reader while `main` returns must not be
//! why the participant's end is never said. So there is a listener only for as long as the queue is read, and what was read is thought
//! about without it. Even so a thread that writes at the very moment at which the last handle goes may be the one that ends the
//! participant, inside `write`.
//!
//! Whoever else has the participant can have a listener too, and what it reads is missing here. RustDDS has no way to forbid that. So
//! while writers share, what it has reported is compared with what it knows.

use super::obituary::hex;
use super::registry::Registry;
use super::{Session, split};
use crate::protocol::TopicHash;
use parking_lot::Mutex;
use rustdds::dds::CreateResult;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, DomainParticipantStatusListener, QosPolicies,
    StatusEvented, Subscriber,
};
use std::time::{Duration, Instant};

/// The queue of a participant, which is not kept.
pub(super) struct Reports {
    /// What RustDDS has that knows its participant and does not keep it.
    through: Subscriber,
    /// What was read and is not in the registry yet. Whoever reads the queue locks it, and whoever must not be overtaken by who does.
    pub(super) unnoted: Mutex<Unnoted>,
    /// When what was reported was last compared with what RustDDS knows.
    compared: Mutex<Instant>,
}

#[derive(Default)]
pub(super) struct Unnoted {
    events: Vec<DomainParticipantStatusEvent>,
    /// The queue was full when it was read: there may have been more.
    was_full: bool,
}

impl Reports {
    pub(super) fn new(participant: &DomainParticipant) -> CreateResult<Self> {
        let through = participant.create_subscriber(&QosPolicies::qos_none())?;
        Ok(Self { through, unnoted: Mutex::default(), compared: Mutex::new(Instant::now()) })
    }

    /// When that is to be compared again.
    pub(super) fn next_comparison(&self) -> Instant {
        *self.compared.lock() + BETWEEN_COMPARISONS
    }

    /// When it may be, where somebody may be missing.
    pub(super) fn soonest_comparison(&self) -> Instant {
        *self.compared.lock() + COMPARISON_MIN
    }

    /// `None`: the participant is gone. Whoever drops what this gives may have the last of the participant, and end it: nothing is
    /// to be locked then.
    pub(super) fn listener(&self) -> Option<DomainParticipantStatusListener> {
        Some(self.through.participant()?.status_listener())
    }
}

impl Unnoted {
    /// What one look at the queue has found.
    fn add(&mut self, read: impl Iterator<Item = DomainParticipantStatusEvent>) {
        let before = self.events.len();
        self.events.extend(read);
        self.was_full |= self.events.len() - before >= REPORTS_MAX;
    }
}

impl Session {
    /// Whatever RustDDS has reported up to now is in all plans when this returns.
    ///
    /// RustDDS reports a reader before it matches it. So whoever looks after it has handed a sample to RustDDS knows
    /// everybody who may get that sample.
    pub(crate) fn look(&self) {
        if self.note() > 0 || self.reports.next_comparison() <= Instant::now() {
            self.call();
        }
    }

    /// As [`look`](Self::look); how many reports there were. Where some are lost, all that is known of others may be wrong, for good:
    /// RustDDS has no other place where it says who is matched with whom.
    pub(super) fn note(&self) -> usize {
        let mut is_doubt = false;
        let count = self.note_if(|_| true, |registry| is_doubt = registry.doubt(FULL));
        if is_doubt {
            tracing::warn!("{FULL}; {FROM_HERE_ON}");
        }
        count
    }

    /// Compares what RustDDS knows of readers with what it has reported; whether that is to be done again before long. A session that
    /// nobody writes by has no need to.
    pub(super) fn compare(&self, now: Instant) -> bool {
        *self.reports.compared.lock() = now;
        // RustDDS has the readers of a participant that comes back before it reports that one as found.
        let found = self.registry.lock().begin_comparison();
        let participant = found.as_ref().and_then(|_| self.reports.through.participant());
        let known = participant.as_ref().map(DomainParticipant::discovered_readers).unwrap_or_default();
        drop(participant);
        let by_topic = known.iter().map(|reader| {
            let topic = TopicHash::of(reader.subscription_topic_data.topic_name());
            (topic, split(&reader.reader_proxy.remote_reader_guid))
        });
        // Before the registry is locked.
        let known: Vec<_> = by_topic.collect();
        let mut registry = self.registry.lock();
        let missing =
            registry.compare(&found.unwrap_or_default(), known, now).filter(|_| registry.doubt(TAKEN));
        registry.replan();
        let is_waiting = registry.is_waiting_for_reports();
        drop(registry);
        if let Some((topic, (prefix, reader))) = missing {
            let reader = hex([prefix.as_slice(), &reader].concat());
            tracing::warn!(topic, reader, "{TAKEN}; {FROM_HERE_ON}");
        }
        is_waiting
    }

    /// What was reported before there was this session. Readers that were found by then may be gone, and RustDDS's queue may have had no
    /// room for that. Those that are there it reports anew to each writer that comes. Nor may there have been room for the return of a
    /// participant that was lost.
    pub(super) fn note_the_past(&self) {
        let matters = |event: &DomainParticipantStatusEvent| {
            !matches!(event, DomainParticipantStatusEvent::ReaderDetected { .. })
        };
        while self.note_if(matters, Registry::doubt_losses) > 0 {}
    }

    fn note_if(
        &self,
        matters: impl Fn(&DomainParticipantStatusEvent) -> bool,
        doubt: impl FnOnce(&mut Registry),
    ) -> usize {
        if !self.read() {
            return 0;
        }
        let mut unnoted = self.reports.unnoted.lock();
        let Unnoted { events, was_full } = std::mem::take(&mut *unnoted);
        let count = events.len();
        // Another thread may have noted them.
        if count > 0 {
            let mut registry = self.registry.lock();
            let errands: Vec<_> =
                events.iter().filter(|event| matters(event)).flat_map(|event| registry.note(event)).collect();
            if was_full {
                doubt(&mut registry);
            }
            registry.replan();
            if self.watch.is_on() {
                self.watch.meet(registry.participants());
            }
            drop(registry);
            self.noted.lock().add(errands, events);
        }
        count
    }

    /// Reads what RustDDS's queue holds, which drops what it has no room for; whether anything is to be noted.
    fn read(&self) -> bool {
        let mut unnoted = self.reports.unnoted.lock();
        let listener = self.reports.listener();
        let next = || listener.as_ref()?.try_recv_status();
        unnoted.add(std::iter::from_fn(next).take(EVENTS_MAX));
        let is_any = !unnoted.events.is_empty();
        drop(unnoted);
        // Perhaps with the participant: nothing is locked.
        drop(listener);
        is_any
    }
}

/// What follows from either.
const FROM_HERE_ON: &str = "its samples go by UDP from here on";

/// Why a participant shares with nobody any more.
const FULL: &str = "RustDDS's queue of 2,048 reports was full before the session's thread read it, and whom the participant's \
                    endpoints are matched with is not known any more; a new session would know (what keeps that thread is \
                    a waker of its events, or whoever takes its log, that blocks, or RustDDS's find_topic with a timeout)";
/// The same.
const TAKEN: &str = "RustDDS has not reported to the session whether a reader that it knows is matched, and whom the participant's \
                     endpoints are matched with is not known any more (who takes its reports is the program, by the participant's status_listener(): \
                     while there is a session, ZeroDds::events() gives them)";
/// Between two comparisons, while writers share or somebody is missing.
const BETWEEN_COMPARISONS: Duration = Duration::from_secs(1);
/// The same at the least: each has RustDDS copy all that it knows of readers.
const COMPARISON_MIN: Duration = Duration::from_millis(10);
/// Reports that are read at once: as many as RustDDS's queue holds, twice.
pub(super) const EVENTS_MAX: usize = 4096;
/// For so many reports RustDDS's queue has room.
const REPORTS_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::session::ZeroDds;
    use crate::session::registry::PATIENCE;
    use crate::{domains, eventually, log, no_key};
    use rustdds::dds::statusevents::LostReason;
    use rustdds::no_key::DataReaderCdr;
    use rustdds::{GUID, QosPolicyBuilder, RTPSEntity, ReadCondition, Topic, TopicKind};
    use zerodds_core::Reason;

    fn reports(count: usize) -> impl Iterator<Item = DomainParticipantStatusEvent> {
        let guid = GUID::from_bytes([9; 16]);
        let report = DomainParticipantStatusEvent::ReaderLost { guid, reason: LostReason::Disposed };
        std::iter::repeat_n(report, count)
    }

    #[test]
    fn a_session_shares_with_nobody_once_rustdds_may_have_had_no_room_for_a_report() {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let session = &zerodds.0.session;
        let Ok(()) = zerodds.availability() else { return };
        for _ in 0..2 {
            session.reports.unnoted.lock().add(reports(REPORTS_MAX - 1));
            session.look();
            assert_eq!(zerodds.availability(), Ok(()), "it has read all that there were");
        }
        session.reports.unnoted.lock().add(reports(REPORTS_MAX));
        session.look();
        assert_eq!(zerodds.availability(), Err(Reason::Unavailable(FULL.to_owned())));
    }

    fn reliable() -> QosPolicies {
        QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(5)).build()
    }

    fn topic(participant: &DomainParticipant) -> Topic {
        let topic = participant.create_topic("taken".into(), "Bytes".into(), &reliable(), TopicKind::NoKey);
        topic.expect("a topic")
    }

    /// A writer, and a reader of another participant that it shares with.
    fn sharing(
        here: &ZeroDds,
        there: &ZeroDds,
    ) -> (no_key::DataWriter<Vec<u8>>, no_key::DataReader<Vec<u8>>) {
        let publisher = here.create_publisher(&reliable()).expect("a publisher");
        let subscriber = there.create_subscriber(&reliable()).expect("a subscriber");
        let reader =
            subscriber.create_datareader_no_key_cdr(&topic(there.participant()), None).expect("a reader");
        let writer =
            publisher.create_datawriter_no_key_cdr(&topic(here.participant()), None).expect("a writer");
        eventually(|| {
            writer.write(vec![0; 20_000], None).expect("written");
            here.stats().shared_samples > 0
        });
        (writer, reader)
    }

    #[test]
    fn a_plain_reader_whose_reports_somebody_else_has_read_is_given_plain_samples_and_that_is_said() {
        log::listen();
        let [here, there, elsewhere] =
            [(); 3].map(|()| DomainParticipant::new(domains::domain()).expect("a participant"));
        let attach = |at| ZeroDds::attach(at, Config::default()).expect("a session");
        let [zerodds, other] = [&here, &there].map(attach);
        let Ok(()) = zerodds.availability() else { return };
        let (events, session) = (zerodds.events(), &zerodds.0.session);
        let (writer, _reader) = sharing(&zerodds, &other);
        // What is known of whom by the time that it is found may never be reported.
        let is_found = |event| match event {
            DomainParticipantStatusEvent::ParticipantDiscovered { dpd } => dpd.guid == elsewhere.guid(),
            _ => false,
        };
        eventually(|| events.try_next().is_some_and(is_found));
        session.compare(Instant::now());
        // The session's thread comes later than the application, and so do writers.
        let late = session.reports.unnoted.lock();
        let subscriber = elsewhere.create_subscriber(&reliable()).expect("a subscriber");
        let mut plain: DataReaderCdr<Vec<u8>> =
            subscriber.create_datareader_no_key_cdr(&topic(&elsewhere), None).expect("a reader");
        let listener = here.status_listener();
        let is_its_match = |event| match event {
            DomainParticipantStatusEvent::RemoteReaderMatched { remote_reader, .. } => {
                remote_reader == plain.guid()
            }
            _ => false,
        };
        eventually(|| listener.try_recv_status().is_some_and(is_its_match));
        drop(late);
        let mut take = |number: u8| {
            let taken = plain.take(usize::MAX, ReadCondition::any()).unwrap_or_default();
            taken.iter().any(|sample| sample.value()[0] == number)
        };
        eventually(|| {
            writer.write(vec![1; 20_000], None).expect("written");
            take(1)
        });
        for number in 2..20 {
            writer.write(vec![number; 20_000], None).expect("written");
            eventually(|| take(number));
        }
        // RustDDS may have reported it as found once more, after which there was no hurry to compare.
        let now = Instant::now();
        session.compare(now);
        session.compare(now + 2 * PATIENCE);
        assert_eq!(zerodds.availability(), Err(Reason::Unavailable(TAKEN.to_owned())));
        let reader = hex(plain.guid().to_bytes());
        let words = ["WARN", "topic=\"taken\"", &reader, "status_listener()", "go by UDP from here on"];
        assert!(!log::lines_with(&words).is_empty());
    }
}
