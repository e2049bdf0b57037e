//! Writing for both kinds of topics: the same steps, whether the caller waits in a thread or in an executor.

use crate::cdr::{self, Frame};
use crate::loan::Memory;
use crate::posts::{Post, Remains, Unwritten};
use crate::round::Round;
use crate::waiting::{answer, by, elsewhere, until};
use crate::window::{Asked, Place};
use crate::writing::{Measured, Outlet, Parcel, Refused, Transit};
use ::bytes::Bytes;
use rustdds::{SampleIdentity, WriteOptions};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// What samples are handed to: the writer of RustDDS, which differs by the kind of topic.
pub(crate) trait Carrier {
    /// Whatever identifies the instance; `()` where there are none.
    type Key;

    /// The hash of an instance's key, the same for every writer of the topic.
    fn instance(key: &Self::Key) -> u64;

    /// Hands a sample to RustDDS, which waits for its window up to max_blocking_time from now.
    fn carry_blocking(
        &self,
        post: Post,
        key: &Self::Key,
        options: WriteOptions,
    ) -> Result<SampleIdentity, Refused>;

    /// Hands a sample to RustDDS, waiting for its window.
    fn carry(
        &self,
        post: Post,
        key: &Self::Key,
        options: WriteOptions,
    ) -> impl Future<Output = Result<SampleIdentity, Refused>>;
}

/// A writer of RustDDS with what makes it share.
pub(crate) struct Writer<C> {
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) carrier: C,
}

/// What is written: a value to be serialized, or a sample that was filled in place.
enum Draft {
    /// What goes in RTPS, and whether that was meant for shared memory.
    Plain(Bytes, bool),
    Shared(Parcel),
}

impl Draft {
    /// The options with a source timestamp, where one is needed: what goes in RTPS is left as RustDDS has it.
    fn stamped<'a>(&self, outlet: &Outlet, options: &'a WriteOptions) -> Cow<'a, WriteOptions> {
        match self {
            Self::Plain(..) => Cow::Borrowed(options),
            Self::Shared(_) => outlet.stamped(options),
        }
    }
}

impl<C: Carrier> Writer<C> {
    pub(crate) fn write<D: Serialize>(
        &self,
        sample: &D,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let shared = self.shared_len(&measured, options);
        let (place, parcel) = self.room(shared, key, deadline)?;
        let draft = draft(sample, measured, parcel, shared.is_some())?;
        Ok(self.publish(draft, place, key, options, deadline)?)
    }

    pub(crate) async fn write_async<D: Serialize>(
        &self,
        sample: &D,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Refused> {
        let measured = self.outlet.measure(sample)?;
        let deadline = self.outlet.deadline();
        let shared = self.shared_len(&measured, options);
        let (place, parcel) = self.room_async(shared, key, deadline).await?;
        let draft = draft(sample, measured, parcel, shared.is_some())?;
        Ok(self.publish_async(draft, place, key, options, deadline).await?)
    }

    /// Room for a sample that is to be filled in place; `None`: it will not be shared.
    pub(crate) fn loan(&self, frame: &Frame, key: &C::Key) -> Result<Option<Parcel>, Refused> {
        let Some(len) = self.lent_len(frame) else { return Ok(None) };
        self.outlet.parcel(len, C::instance(key), self.outlet.deadline())
    }

    pub(crate) async fn loan_async(&self, frame: &Frame, key: &C::Key) -> Result<Option<Parcel>, Refused> {
        let Some(len) = self.lent_len(frame) else { return Ok(None) };
        let (instance, deadline) = (C::instance(key), self.outlet.deadline());
        match self.parcel_now(len, instance, deadline) {
            Some(outcome) => outcome,
            None => self.parcel_later(len, instance, deadline).await,
        }
    }

    /// The length of a sample that is to be filled in place, and shared.
    fn lent_len(&self, frame: &Frame) -> Option<usize> {
        Some(frame.sample_len()).filter(|&len| self.outlet.shares(len, &WriteOptions::default()))
    }

    /// Publishes a sample that was filled in place.
    pub(crate) fn publish_filled(
        &self,
        memory: Memory,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let moves = self.moves(&memory, options);
        let room = self.room(moves, key, deadline);
        let (draft, place) = self.filled(memory, room, moves.is_some(), options)?;
        self.publish(draft, place, key, options, deadline)
    }

    pub(crate) async fn publish_filled_async(
        &self,
        memory: Memory,
        key: &C::Key,
        options: &WriteOptions,
    ) -> Result<SampleIdentity, Unwritten> {
        let deadline = self.outlet.deadline();
        let moves = self.moves(&memory, options);
        let room = self.room_async(moves, key, deadline).await;
        let (draft, place) = self.filled(memory, room, moves.is_some(), options)?;
        self.publish_async(draft, place, key, options, deadline).await
    }

    /// The length of a sample that is to be shared.
    fn shared_len(&self, measured: &Measured, options: &WriteOptions) -> Option<usize> {
        match measured {
            Measured::Long(len) if self.outlet.shares(*len, options) => Some(*len),
            _ => None,
        }
    }

    /// A place with all readers, and room in the ring for so many bytes if any are asked for. Whoever has room in the ring may wait
    /// for a place, with a loan that was filled, so nobody who has a place waits for the ring.
    fn room(
        &self,
        len: Option<usize>,
        key: &C::Key,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.outlet.wait_for_place(deadline)?;
        let Some(len) = len else { return Ok((place, None)) };
        let instance = C::instance(key);
        if let Some(parcel) = self.parcel_now(len, instance, deadline) {
            return Ok((place, parcel?));
        }
        drop(place);
        let parcel = self.outlet.parcel(len, instance, deadline)?;
        Ok((self.outlet.wait_for_place(deadline)?, parcel))
    }

    async fn room_async(
        &self,
        len: Option<usize>,
        key: &C::Key,
        deadline: Instant,
    ) -> Result<(Place, Option<Parcel>), Refused> {
        let place = self.wait_for_place_async(deadline).await?;
        let Some(len) = len else { return Ok((place, None)) };
        let instance = C::instance(key);
        if let Some(parcel) = self.parcel_now(len, instance, deadline) {
            return Ok((place, parcel?));
        }
        drop(place);
        let parcel = self.parcel_later(len, instance, deadline).await?;
        Ok((self.wait_for_place_async(deadline).await?, parcel))
    }

    /// The length of a loan that was made outside of the ring, if there is somebody to share it with by now.
    fn moves(&self, memory: &Memory, options: &WriteOptions) -> Option<usize> {
        match memory {
            Memory::Heap(bytes) if self.outlet.shares(bytes.len(), options) => Some(bytes.len()),
            _ => None,
        }
    }

    /// What a loan is published as, given a place, and room in the ring where it is to move there and there was any.
    fn filled(
        &self,
        memory: Memory,
        room: Result<(Place, Option<Parcel>), Refused>,
        moves: bool,
        options: &WriteOptions,
    ) -> Result<(Draft, Place), Unwritten> {
        let (place, parcel) = match room {
            Ok(room) => room,
            Err(why) => return Err(Unwritten { why, remains: Some(Remains::Filled(memory)) }),
        };
        let draft = match (memory, parcel) {
            (Memory::Ring(parcel), _) if self.outlet.may_share(options) => Draft::Shared(parcel),
            (memory @ Memory::Ring(_), _) => Draft::Plain(Bytes::copy_from_slice(memory.sample()), false),
            (Memory::Heap(bytes), None) => Draft::Plain(bytes.into(), moves),
            (Memory::Heap(bytes), Some(mut parcel)) => {
                parcel.cdr_mut().copy_from_slice(&bytes);
                Draft::Shared(parcel)
            }
        };
        Ok((draft, place))
    }

    /// Waits until readers that keep all have taken what was written so far; whether they have by the deadline.
    pub(crate) fn wait_until_taken(&self, deadline: Instant) -> bool {
        self.outlet.wait_until_taken(&self.outlet.so_far(), deadline, &mut Asked::default())
    }

    /// The same, waiting elsewhere.
    pub(crate) async fn wait_until_taken_async(&self, deadline: Instant) -> bool {
        let (outlet, so_far, mut asked) = (Arc::clone(&self.outlet), self.outlet.so_far(), Asked::default());
        if outlet.wait_until_taken(&so_far, Instant::now(), &mut asked) {
            return true;
        }
        let step = move |until, is_last| {
            let is_taken = outlet.wait_until_taken(&so_far, until, &mut asked);
            (is_taken || is_last).then_some(is_taken)
        };
        elsewhere(deadline, step).await.unwrap_or(false)
    }

    async fn wait_for_place_async(&self, deadline: Instant) -> Result<Place, Refused> {
        if let Some(place) = self.outlet.place() {
            return Ok(place);
        }
        let (outlet, mut asked) = (Arc::clone(&self.outlet), Asked::default());
        let step = move |until, is_last| answer(outlet.go_on_waiting_for_place(until, &mut asked), is_last);
        elsewhere(deadline, step).await?
    }

    /// What came of asking for room in the ring, unless it is to be waited for.
    fn parcel_now(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Option<Result<Option<Parcel>, Refused>> {
        let outcome = self.outlet.parcel(len, instance, Instant::now());
        let waits = matches!(outcome, Err(Refused::WouldBlock)) && Instant::now() < deadline;
        (!waits).then_some(outcome)
    }

    /// Waits for room in the ring, on another thread.
    async fn parcel_later(
        &self,
        len: usize,
        instance: u64,
        deadline: Instant,
    ) -> Result<Option<Parcel>, Refused> {
        let outlet = Arc::clone(&self.outlet);
        let step = move |until, is_last| answer(outlet.parcel(len, instance, until), is_last);
        elsewhere(deadline, step).await?
    }

    fn publish(
        &self,
        draft: Draft,
        mut place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Unwritten> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut round = match draft {
            Draft::Plain(bytes, falls_back) => self.plain(bytes, falls_back, place, options),
            Draft::Shared(parcel) => {
                let mut transit = self.outlet.send(parcel, &mut place, options, deadline)?;
                if !transit.is_done() {
                    transit.wait(deadline);
                }
                self.outlet.dispatch(transit, place)?
            }
        };
        while let Some(post) = round.next(&self.outlet) {
            let outcome = if !round.has_begun() && self.outlet.has_not_waited(deadline) {
                // The usual case: nothing has been waited for, so that RustDDS's own clock serves.
                self.carrier.carry_blocking(post.clone(), key, post.options(options))
            } else {
                let deadline = if round.has_begun() { self.outlet.later() } else { deadline };
                let carried = until(deadline, self.carrier.carry(post.clone(), key, post.options(options)));
                carried.unwrap_or(Err(Refused::WouldBlock))
            };
            round.note(post, outcome)?;
        }
        round.outcome(&self.outlet)
    }

    async fn publish_async(
        &self,
        draft: Draft,
        mut place: Place,
        key: &C::Key,
        options: &WriteOptions,
        deadline: Instant,
    ) -> Result<SampleIdentity, Unwritten> {
        let options = &*draft.stamped(&self.outlet, options);
        let mut round = match draft {
            Draft::Plain(bytes, falls_back) => self.plain(bytes, falls_back, place, options),
            Draft::Shared(parcel) => {
                let transit = self.outlet.send(parcel, &mut place, options, deadline)?;
                let transit = arrived(transit, deadline).await?;
                self.outlet.dispatch(transit, place)?
            }
        };
        while let Some(post) = round.next(&self.outlet) {
            let has_begun = round.has_begun();
            let deadline = if has_begun { Some(self.outlet.later()) } else { self.outlet.alarm(deadline) };
            let carried = by(deadline, self.carrier.carry(post.clone(), key, post.options(options))).await;
            round.note(post, carried.unwrap_or(Err(Refused::WouldBlock)))?;
        }
        round.outcome(&self.outlet)
    }

    /// A sample that goes in RTPS alone.
    fn plain(&self, bytes: Bytes, falls_back: bool, place: Place, options: &WriteOptions) -> Round {
        let begun = self.outlet.begin_plain(place, options.to_single_reader());
        Round::plain(begun, bytes, falls_back)
    }
}

/// Serializes a sample to where it goes, which may not be where it was meant to go.
fn draft<D: Serialize>(
    sample: &D,
    measured: Measured,
    parcel: Option<Parcel>,
    is_shared: bool,
) -> Result<Draft, Refused> {
    Ok(match (measured, parcel) {
        (Measured::Short(bytes), _) => Draft::Plain(bytes, false),
        (Measured::Long(len), None) => Draft::Plain(cdr::to_bytes(sample, len)?, is_shared),
        (Measured::Long(_), Some(mut parcel)) => {
            cdr::write_into(sample, parcel.cdr_mut())?;
            Draft::Shared(parcel)
        }
    })
}

/// A sample that everybody has whom it is waited for.
async fn arrived(transit: Transit, deadline: Instant) -> Result<Transit, Refused> {
    if transit.is_done() {
        return Ok(transit);
    }
    let mut waiting = Some(transit);
    elsewhere(deadline, move |until, is_last| {
        let transit = waiting.as_mut()?;
        transit.wait(until);
        if is_last || transit.is_done() { waiting.take() } else { None }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Options};
    use crate::domains;
    use crate::no_key;
    use crate::protocol::{Consumed, incarnation};
    use crate::session::ZeroDds;
    use crate::waiting::waker_of_this_thread;
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

    /// RTPS as a test has it: what each of the calls comes to that are made of it.
    struct Script<F>(F, AtomicU32);

    impl<F: Fn(u32) -> Poll<()>> Carrier for Script<F> {
        type Key = ();

        fn instance((): &()) -> u64 {
            0
        }

        fn carry_blocking(&self, _: Post, (): &(), _: WriteOptions) -> Result<SampleIdentity, Refused> {
            Err(Refused::WouldBlock)
        }

        async fn carry(&self, _: Post, (): &(), _: WriteOptions) -> Result<SampleIdentity, Refused> {
            poll_fn(|context| {
                context.waker().wake_by_ref();
                let call = self.1.fetch_add(1, Ordering::Relaxed);
                (self.0)(call).map(|()| Ok(identity(i64::from(call) + 1)))
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
        QosPolicyBuilder::new()
            .reliability(reliability)
            .history(history)
            .durability(Durability::Volatile)
            .build()
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

        fn writer<F: Fn(u32) -> Poll<()>>(&self, script: F) -> Writer<Script<F>> {
            Writer { outlet: Arc::clone(&self.outlet), carrier: Script(script, AtomicU32::new(0)) }
        }
    }

    fn eventually(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "not in a minute");
            std::thread::park_timeout(Duration::from_millis(1));
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
            let subscriber = newcomer.create_subscriber(&reliable()).expect("a subscriber");
            let reader: rustdds::no_key::DataReaderCdr<Vec<u8>> = subscriber
                .create_datareader_no_key_cdr(&topic(&newcomer, "joined"), Some(reliable()))
                .expect("a reader");
            eventually(|| !before.newcomers(&stage.outlet.plan()).is_empty());
            readers.borrow_mut().push(reader);
            Poll::Ready(())
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
        let subscriber = plain.create_subscriber(&qos).expect("a subscriber");
        let _plain: rustdds::no_key::DataReaderCdr<Vec<u8>> = subscriber
            .create_datareader_no_key_cdr(&topic(plain, "at-once"), Some(qos.clone()))
            .expect("a reader");
        let sharing = || {
            let plan = stage.outlet.plan();
            let readers = plan.shared().map(|(target, _)| (incarnation(target.prefix), target.reader));
            (plan.targets.len(), plan.windows.len(), readers.collect::<Vec<_>>())
        };
        eventually(|| matches!(sharing(), (3, 2, readers) if readers.len() == 2));
        let (_, _, readers) = sharing();

        // Of the first sample RTPS takes what is for one participant, and the rest when it has all of the second.
        let goes_on = Cell::new(false);
        let script = |call| if call == 0 || goes_on.get() { Poll::Ready(()) } else { Poll::Pending };
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
        let take = |nth: usize, up_to| {
            stage.outlet.outlook.set_taken(readers[nth], Consumed { up_to, unreadable: 0 })
        };
        take(0, second - 2);
        take(1, second - 1);
        assert!(!writer.wait_until_taken(Instant::now()), "the other has taken one of two");
        take(1, first - 1);
        assert!(writer.wait_until_taken(Instant::now()));
    }

    #[test]
    fn an_async_writer_of_best_effort_waits_where_rustdds_does() {
        let stage = Stage::new("patient", &qos(Reliability::BestEffort));
        assert_eq!(stage.outlet.alarm(stage.outlet.deadline()), None);
        // Longer than a thread needs that would say that the time is over.
        let begun = Instant::now();
        let has_room = |_| if begun.elapsed() < A_WHILE { Poll::Pending } else { Poll::Ready(()) };
        let options = rustdds::WriteOptionsBuilder::new().best_effort_may_block(true).build();
        let writer = stage.writer(has_room);
        let written = block_on(writer.write_async(&7_u32, &(), &options));
        assert!(written.is_ok(), "{written:?}");
    }

    const A_WHILE: Duration = Duration::from_millis(50);
}
