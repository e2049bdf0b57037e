//! Writing, with a carrier of the tests in the place of RustDDS: what it has of a sample, and who is waited for.

use super::*;
use crate::config::{Config, Options};
use crate::no_key;
use crate::protocol::{Consumed, incarnation};
use crate::session::ZeroDds;
use crate::waiting::waker_of_this_thread;
use crate::{domains, eventually};
use futures::executor::block_on;
use rustdds::policy::{Durability, History, Reliability, ResourceLimits};
use rustdds::qos::HasQoSPolicy;
use rustdds::{DomainParticipant, QosPolicies, QosPolicyBuilder, RTPSEntity, Topic, TopicKind};
use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use zerodds_core::Transport;

/// RTPS as a test has it: what each of the calls comes to that are made of it. It wakes whoever makes one.
struct Script<F>(F, AtomicU32);

impl<F: Fn(u32) -> Poll<Result<(), Refused>>> Script<F> {
    fn call(&self) -> Poll<Result<SampleIdentity, Refused>> {
        let call = self.1.fetch_add(1, Ordering::Relaxed);
        (self.0)(call).map_ok(|()| identity(i64::from(call) + 1))
    }
}

impl<F: Fn(u32) -> Poll<Result<(), Refused>>> Carrier for Script<F> {
    type Key = ();

    fn instance((): &()) -> u64 {
        0
    }

    fn carry_blocking(&self, _: Post, (): &(), _: WriteOptions) -> Result<SampleIdentity, Refused> {
        match self.call() {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(Refused::WouldBlock),
        }
    }

    async fn carry(&self, _: Post, (): &(), _: WriteOptions) -> Result<SampleIdentity, Refused> {
        poll_fn(|context| {
            context.waker().wake_by_ref();
            self.call()
        })
        .await
    }
}

fn identity(sequence_number: i64) -> SampleIdentity {
    let writer_guid = rustdds::GUID::from_bytes([1; 16]);
    SampleIdentity { writer_guid, sequence_number: sequence_number.into() }
}

fn qos(reliability: Reliability) -> QosPolicies {
    let history = History::KeepLast { depth: 8 };
    QosPolicyBuilder::new().reliability(reliability).history(history).durability(Durability::Volatile).build()
}

fn reliable() -> QosPolicies {
    qos(Reliability::Reliable { max_blocking_time: rustdds::Duration::from_secs(60) })
}

fn participant() -> DomainParticipant {
    DomainParticipant::new(domains::domain()).expect("a participant")
}

fn topic(participant: &DomainParticipant, name: &str) -> Topic {
    participant
        .create_topic(name.into(), "Bytes".into(), &QosPolicies::qos_none(), TopicKind::NoKey)
        .expect("a topic")
}

/// One of RustDDS.
fn plain_reader(
    at: &DomainParticipant,
    topic_name: &str,
    qos: &QosPolicies,
) -> rustdds::no_key::DataReaderCdr<Vec<u8>> {
    let subscriber = at.create_subscriber(qos).expect("a subscriber");
    let reader = subscriber.create_datareader_no_key_cdr(&topic(at, topic_name), Some(qos.clone()));
    reader.expect("a reader")
}

/// A writer as RustDDS reports it, whose samples a test carries.
struct Stage {
    zerodds: ZeroDds,
    outlet: Arc<Outlet>,
    _inner: rustdds::no_key::DataWriterCdr<Vec<u8>>,
}

impl Stage {
    fn new(name: &str, qos: &QosPolicies) -> Self {
        let participant = participant();
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let topic = topic(&participant, name);
        let publisher = participant.create_publisher(qos).expect("a publisher");
        let inner = publisher.create_datawriter_no_key_cdr(&topic, Some(qos.clone())).expect("a writer");
        let outlet = Outlet::new(&zerodds.0, inner.guid(), name.into(), Options::default(), &inner.qos());
        Self { zerodds, outlet: Arc::new(outlet), _inner: inner }
    }

    /// With a reader of another participant.
    fn share(&self, name: &str) -> (ZeroDds, no_key::DataReader<Vec<u8>>) {
        let there = participant();
        let session = ZeroDds::attach(&there, Config::default()).expect("a session");
        let subscriber = session.create_subscriber(&reliable()).expect("a subscriber");
        let reader = subscriber
            .create_datareader_no_key_cdr(&topic(&there, name), Some(reliable()))
            .expect("a reader");
        eventually(|| self.outlet.plan().has_shared());
        (session, reader)
    }

    fn writer<F: Fn(u32) -> Poll<Result<(), Refused>>>(&self, script: F) -> Writer<Script<F>> {
        Writer { outlet: Arc::clone(&self.outlet), carrier: Script(script, AtomicU32::new(0)) }
    }
}

#[test]
fn what_rtps_has_of_a_write_that_ends_early_stays_written_and_its_readers_keep_the_sample() {
    let stage = Stage::new("joined", &reliable());
    let (session, _reader) = stage.share("joined");
    let before = stage.outlet.plan();
    // Somebody joins while RTPS is handed the descriptor, and there is no room for what it gets.
    let newcomer = participant();
    let readers = std::cell::RefCell::new(Vec::new());
    let joins = |call| {
        if call > 0 {
            return Poll::Pending;
        }
        let reader = plain_reader(&newcomer, "joined", &reliable());
        eventually(|| !before.newcomers(&stage.outlet.plan()).is_empty());
        readers.borrow_mut().push(reader);
        Poll::Ready(Ok(()))
    };
    let (writer, sample, options) = (stage.writer(joins), vec![7_u8; 20_000], WriteOptions::default());
    let mut writing = Box::pin(writer.write_async(&sample, &(), &options));
    let waker = waker_of_this_thread();
    assert!(writing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(writing);
    // All that was said to it is looked at.
    session.0.session.listen();
    assert_eq!(session.stats().held_samples, 1, "it was not told to forget it");
    let next = stage.outlet.begin_plain(stage.outlet.place().expect("a place"), None).next();
    assert_eq!((next, stage.zerodds.stats().links_lost), (2, 0), "the first sequence number is used");
}

#[test]
fn a_sample_that_was_filled_when_the_session_s_thread_ended_goes_in_rtps() {
    let stage = Stage::new("filled", &reliable());
    let _there = stage.share("filled");
    let parcel = stage.outlet.parcel(20_000, 0, Instant::now()).unwrap_or_else(|why| panic!("{why}"));
    let mut parcel = parcel.expect("room");
    parcel.cdr_mut().fill(7);
    stage.zerodds.0.session.transport.close();
    let mut place = stage.outlet.place().expect("a place");
    let transit = stage.outlet.send(parcel, &mut place, &WriteOptions::default(), Instant::now());
    let round = stage.outlet.dispatch(transit.unwrap_or_else(|why| panic!("{why}")), place);
    let mut round = round.unwrap_or_else(|unwritten| panic!("{}", unwritten.why));
    let post = round.next(&stage.outlet).expect("for all");
    assert!(post.to.is_none() && !post.payload.is_descriptor && post.payload.bytes == [7; 20_000][..]);
    assert!(round.next(&stage.outlet).is_none());
}

#[test]
fn of_two_samples_that_are_written_at_once_each_is_owed_until_its_own_number_was_taken() {
    let limits = ResourceLimits { max_samples: 8, max_instances: 1, max_samples_per_instance: 8 };
    let keeps_all = QosPolicyBuilder::new().history(History::KeepAll).resource_limits(limits).build();
    let qos = reliable().modify_by(&keeps_all);
    let stage = Stage::new("at-once", &qos);
    let participants = [(); 3].map(|()| participant());
    let [one, two, plain] = &participants;
    let sessions = [one, two].map(|at| ZeroDds::attach(at, Config::default()).expect("a session"));
    let _readers = [0, 1].map(|nth: usize| {
        let subscriber = sessions[nth].create_subscriber(&qos).expect("a subscriber");
        let topic = topic(&participants[nth], "at-once");
        subscriber.create_datareader_no_key_cdr::<Vec<u8>>(&topic, Some(qos.clone())).expect("a reader")
    });
    let _plain = plain_reader(plain, "at-once", &qos);
    let sharing = || {
        let plan = stage.outlet.plan();
        let readers = plan.shared().map(|(target, _)| (incarnation(target.prefix), target.reader));
        (plan.targets.len(), plan.windows.len(), readers.collect::<Vec<_>>())
    };
    eventually(|| matches!(sharing(), (3, 2, readers) if readers.len() == 2));
    let (_, _, readers) = sharing();

    // Of the first sample RTPS takes what is for one participant, and the rest when it has all of the second.
    let goes_on = Cell::new(false);
    let script = |call| if call == 0 || goes_on.get() { Poll::Ready(Ok(())) } else { Poll::Pending };
    let (writer, sample, options) = (stage.writer(script), vec![7_u8; 20_000], WriteOptions::default());
    let mut writing = Box::pin(writer.write_async(&sample, &(), &options));
    let waker = waker_of_this_thread();
    assert!(writing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    goes_on.set(true);
    let last_of = |written: Result<SampleIdentity, _>| {
        i64::from(written.unwrap_or_else(|why: Refused| panic!("{why}")).sequence_number)
    };
    let second = last_of(block_on(writer.write_async(&sample, &(), &options)));
    let first = last_of(block_on(writing));
    // Each participant's are in the order of the readers, and the plain one's are the last.
    let take =
        |nth: usize, up_to| stage.outlet.outlook.set_taken(readers[nth], Consumed { up_to, unreadable: 0 });
    take(0, second - 2);
    take(1, second - 1);
    assert!(!writer.wait_until_taken(Instant::now()), "the other has taken one of two");
    take(1, first - 1);
    assert!(writer.wait_until_taken(Instant::now()));
}

#[test]
fn a_writer_that_may_not_wait_goes_on_for_the_others_once_somebody_has_the_sample() {
    const REFUSALS: u32 = 50;
    let at_once = qos(Reliability::Reliable { max_blocking_time: rustdds::Duration::ZERO });
    let stage = Stage::new("begun", &at_once);
    let _there = stage.share("begun");
    let beside = participant();
    let _plain = plain_reader(&beside, "begun", &reliable());
    eventually(|| {
        let plan = stage.outlet.plan();
        plan.targets.len() == 2 && plan.has_shared() && plan.may_direct
    });
    // RustDDS has no time to wait in, and says so at once.
    let has_room =
        |call| Poll::Ready(if (1..=REFUSALS).contains(&call) { Err(Refused::WouldBlock) } else { Ok(()) });
    let (sample, options) = (vec![7_u8; 20_000], WriteOptions::default());
    let (one, other) = (stage.writer(has_room), stage.writer(has_room));
    let written = [one.write(&sample, &(), &options), block_on(other.write_async(&sample, &(), &options))];
    for written in written {
        assert_eq!(written.expect("by all").sequence_number, (i64::from(REFUSALS) + 2).into());
    }
}

#[test]
fn an_async_writer_of_best_effort_waits_where_rustdds_does() {
    let stage = Stage::new("patient", &qos(Reliability::BestEffort));
    assert_eq!(stage.outlet.alarm(stage.outlet.deadline()), None);
    // Longer than a thread needs that would say that the time is over.
    let begun = Instant::now();
    let has_room = |_| if begun.elapsed() < A_WHILE { Poll::Pending } else { Poll::Ready(Ok(())) };
    let options = rustdds::WriteOptionsBuilder::new().best_effort_may_block(true).build();
    let writer = stage.writer(has_room);
    let written = block_on(writer.write_async(&7_u32, &(), &options));
    assert!(written.is_ok(), "{written:?}");
}

const A_WHILE: Duration = Duration::from_millis(50);
