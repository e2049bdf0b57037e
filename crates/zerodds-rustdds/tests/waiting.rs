//! Every way of waiting that RustDDS has works on our endpoints, and whoever waits costs nothing and blocks nobody.

mod parties;

use futures::executor::{LocalPool, block_on};
use futures::future::{Either, join, select};
use futures::{FutureExt, StreamExt};
use parties::{
    CHUNK, Chunk, PATIENCE, Party, alone, eventually, keep_all, meet, pattern, reliable, unique,
    write_when_there_is_room,
};
use rustdds::dds::{WriteError, WriteResult};
use rustdds::mio1::{Events, Interest, Poll, Token};
use rustdds::policy::{History, Lifespan, ResourceLimits};
use rustdds::{
    DataReaderStatus, DataWriterStatus, DomainParticipant, DomainParticipantStatusEvent as Status,
    QosPolicies, QosPolicyBuilder, RTPSEntity, ReadCondition, StatusEvented, TopicKind,
};
use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll as Step;
use std::time::{Duration, Instant};
use zerodds_rustdds::no_key::{DataReader, DataWriter};
use zerodds_rustdds::{Config, Events as StatusEvents, Options, WhenFull};

/// Sizes on both sides of the threshold.
const SIZES: [usize; 2] = [100, 50_000];

/// A writer and a reader that have met.
struct Pair {
    here: Party,
    there: Party,
    writer: DataWriter<Chunk>,
    reader: DataReader<Chunk>,
}

impl Pair {
    fn new(name: &str, qos: &QosPolicies) -> Self {
        Self::with(Config::default(), name, qos)
    }

    fn with(config: Config, name: &str, qos: &QosPolicies) -> Self {
        let (here, there) = (Party::with(config), Party::new());
        let topic = unique(name);
        let writer = here.writer(&topic, qos);
        let mut reader = there.reader(&topic, qos);
        meet(&here, &writer, &mut [&mut reader]);
        Self { here, there, writer, reader }
    }
}

/// Writes one sample after the other, each when the one before has been taken.
fn in_turn(pair: Pair, take: impl FnOnce(DataReader<Chunk>, &AtomicU32)) {
    const SAMPLES: u32 = 40;
    let Pair { here, there, writer, reader } = pair;
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..SAMPLES {
                writer.write(Chunk::new(1, number, SIZES[number as usize % 2]), None).expect("written");
                eventually("whoever waits is woken", || taken.load(Ordering::Acquire) > number);
            }
        });
        take(reader, &taken);
        assert_eq!(taken.load(Ordering::Acquire), SAMPLES);
    });
    assert!(here.zerodds.stats().shared_samples >= u64::from(SAMPLES / 2));
    drop(there);
}

/// Takes all there is, and says so; whether there will be more.
fn take_some(reader: &mut DataReader<Chunk>, taken: &AtomicU32) -> bool {
    for sample in reader.take(usize::MAX, ReadCondition::any()).expect("taken") {
        assert!(sample.value().is_intact());
        assert_eq!(sample.value().number, taken.fetch_add(1, Ordering::AcqRel));
    }
    taken.load(Ordering::Acquire) < 40
}

#[test]
fn a_reader_is_a_source_of_mio_1() {
    in_turn(Pair::new("mio-1", &reliable(History::KeepLast { depth: 4 })), |mut reader, taken| {
        let mut poll = Poll::new().expect("a poll");
        poll.registry().register(&mut reader, Token(7), Interest::READABLE).expect("registered");
        let mut events = Events::with_capacity(4);
        while take_some(&mut reader, taken) {
            poll.poll(&mut events, Some(PATIENCE)).expect("polled");
            assert!(events.iter().all(|event| event.token() == Token(7)));
            assert!(!events.is_empty(), "woken in time");
        }
        poll.registry().deregister(&mut reader).expect("deregistered");
    });
}

#[test]
fn a_reader_is_evented_for_mio_06() {
    use rustdds::mio::{Events, Poll, PollOpt, Ready, Token};
    in_turn(Pair::new("mio-06", &reliable(History::KeepLast { depth: 4 })), |mut reader, taken| {
        let poll = Poll::new().expect("a poll");
        // RustDDS 0.15.1 never empties the queue behind this: a level that stays, and one edge only.
        poll.register(&reader, Token(7), Ready::readable(), PollOpt::level()).expect("registered");
        let mut events = Events::with_capacity(4);
        while take_some(&mut reader, taken) {
            let count = poll.poll(&mut events, Some(PATIENCE)).expect("polled");
            assert!(count > 0, "woken in time");
        }
        poll.deregister(&reader).expect("deregistered");
    });
}

#[test]
fn mio_06_tells_of_the_first_edge_only_whoever_made_the_reader() {
    use rustdds::mio::{Events, Poll, PollOpt, Ready, Token};
    let party = Party::new();
    let name = unique("edge");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = party.writer(&name, &qos);
    let edges = |poll: &Poll, taken: &mut dyn FnMut() -> usize| {
        let mut events = Events::with_capacity(4);
        let edge = |patience| {
            eventually("a sample is taken", || {
                writer.write(Chunk::new(0, 0, 100), None).expect("written");
                taken() > 0
            });
            poll.poll(&mut events, Some(patience)).expect("polled")
        };
        // It is known that the first one comes.
        [PATIENCE, Duration::from_millis(50), Duration::from_millis(50)].map(edge)
    };
    let mut ours = party.reader(&name, &qos);
    let subscriber = party.participant.create_subscriber(&qos).expect("a subscriber");
    let mut plain: rustdds::no_key::DataReader<Chunk> =
        subscriber.create_datareader_no_key_cdr(&party.topic(&name), Some(qos.clone())).expect("a reader");
    let (poll, other) = (Poll::new().expect("a poll"), Poll::new().expect("a poll"));
    poll.register(&ours, Token(7), Ready::readable(), PollOpt::edge()).expect("registered");
    other.register(&plain, Token(7), Ready::readable(), PollOpt::edge()).expect("registered");
    let all = ReadCondition::any;
    assert_eq!(edges(&poll, &mut || ours.take(9, all()).expect("taken").len()), [1, 0, 0]);
    assert_eq!(edges(&other, &mut || plain.take(9, all()).map_or(0, |taken| taken.len())), [1, 0, 0]);
}

#[test]
fn streams_of_samples_and_of_values_wake_their_task() {
    let qos = reliable(History::KeepLast { depth: 4 });
    in_turn(Pair::new("stream", &qos), |reader, taken| {
        let mut stream = reader.async_sample_stream();
        while taken.load(Ordering::Acquire) < 40 {
            let sample = block_on(stream.next()).expect("endless").expect("taken");
            assert_eq!(sample.value().number, taken.load(Ordering::Acquire));
            assert!(sample.value().is_intact());
            taken.fetch_add(1, Ordering::AcqRel);
        }
    });
    in_turn(Pair::new("bare", &qos), |reader, taken| {
        let mut stream = reader.async_bare_sample_stream();
        while taken.load(Ordering::Acquire) < 40 {
            let chunk = block_on(stream.next()).expect("endless").expect("taken");
            assert!(chunk.number == taken.load(Ordering::Acquire) && chunk.is_intact());
            taken.fetch_add(1, Ordering::AcqRel);
        }
    });
}

#[test]
fn statuses_come_through_mio_1_mio_06_and_streams() {
    let qos = reliable(History::KeepLast { depth: 4 });
    let party = Party::new();
    let is_matched = |status| matches!(status, DataReaderStatus::SubscriptionMatched { .. });
    let topic = unique("status");
    let mut writers = [0, 1, 2].map(|_| party.writer(&topic, &qos));
    let [first, second, third] = &mut writers;
    let mut poll = Poll::new().expect("a poll");
    poll.registry()
        .register(first.as_status_source_mio1(), Token(1), Interest::READABLE)
        .expect("registered");
    let old = rustdds::mio::Poll::new().expect("a poll");
    let (ready, edge) = (rustdds::mio::Ready::readable(), rustdds::mio::PollOpt::edge());
    old.register(second.as_status_evented(), rustdds::mio::Token(2), ready, edge).expect("registered");

    let other = Party::new();
    let mut reader = other.reader(&topic, &qos);
    let mut seen = Poll::new().expect("a poll");
    seen.registry()
        .register(reader.as_status_source_mio1(), Token(3), Interest::READABLE)
        .expect("registered");

    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(PATIENCE)).expect("polled");
    assert!(matches!(first.try_recv_status(), Some(DataWriterStatus::PublicationMatched { .. })));
    let mut old_events = rustdds::mio::Events::with_capacity(4);
    assert!(old.poll(&mut old_events, Some(PATIENCE)).expect("polled") > 0);
    assert!(matches!(second.try_recv_status(), Some(DataWriterStatus::PublicationMatched { .. })));
    let status = block_on(third.as_async_status_stream().next());
    assert!(matches!(status, Some(DataWriterStatus::PublicationMatched { .. })));
    seen.poll(&mut events, Some(PATIENCE)).expect("polled");
    assert!(reader.try_recv_status().is_some_and(is_matched));
    // And while samples, or their values, are read by a stream.
    let stream = reader.async_sample_stream();
    let _fourth = party.writer(&topic, &qos);
    let status = block_on(stream.async_event_stream().next());
    assert!(status.is_some_and(is_matched));
    let values = other.reader(&topic, &qos).async_bare_sample_stream();
    let status = block_on(values.async_event_stream().next());
    assert!(status.is_some_and(is_matched));
}

/// A participant's status events wake who polls for them as `poll_once` does, which says whether it was woken.
fn participants_wake(mut poll_once: impl FnMut(&mut StatusEvents) -> bool) {
    let party = Party::new();
    let mut events = party.zerodds.events();
    for _ in 0..3 {
        let other = Party::new();
        let guid = other.participant.guid();
        let is_it =
            |event| matches!(event, Status::ParticipantDiscovered { dpd } if dpd.guid.prefix == guid.prefix);
        while !std::iter::from_fn(|| events.try_recv_status())
            .fold(false, |found, event| found | is_it(event))
        {
            assert!(poll_once(&mut events), "woken in time");
        }
    }
}

#[test]
fn events_of_a_participant_come_through_mio_1_mio_06_and_streams() {
    let mut poll = Poll::new().expect("a poll");
    let mut is_registered = false;
    participants_wake(|events| {
        if !std::mem::replace(&mut is_registered, true) {
            let source = events.as_status_source_mio1();
            poll.registry().register(source, Token(1), Interest::READABLE).expect("registered");
        }
        let mut woken = Events::with_capacity(4);
        poll.poll(&mut woken, Some(PATIENCE)).expect("polled");
        !woken.is_empty()
    });
    let (poll, mut is_registered) = (rustdds::mio::Poll::new().expect("a poll"), false);
    let (ready, edge) = (rustdds::mio::Ready::readable(), rustdds::mio::PollOpt::edge());
    participants_wake(|events| {
        if !std::mem::replace(&mut is_registered, true) {
            let source = events.as_status_evented();
            poll.register(source, rustdds::mio::Token(2), ready, edge).expect("registered");
        }
        poll.poll(&mut rustdds::mio::Events::with_capacity(4), Some(PATIENCE)).expect("polled") > 0
    });
    let party = Party::new();
    let events = party.zerodds.events();
    let _other = Party::new();
    assert!(block_on(events.as_async_status_stream().next()).is_some());
}

#[cfg(feature = "mio_08")]
#[test]
fn readers_their_statuses_and_events_are_sources_of_mio_08() {
    use mio_08::{Events, Interest, Poll, Token};
    let (mut poll, mut is_registered) = (Poll::new().expect("a poll"), false);
    participants_wake(|events| {
        if !std::mem::replace(&mut is_registered, true) {
            let source = events.as_status_source();
            poll.registry().register(source, Token(1), Interest::READABLE).expect("registered");
        }
        let mut woken = Events::with_capacity(4);
        poll.poll(&mut woken, Some(PATIENCE)).expect("polled");
        !woken.is_empty()
    });
    let qos = reliable(History::KeepLast { depth: 4 });
    in_turn(Pair::new("mio-08", &qos), |mut reader, taken| {
        let (mut poll, mut statuses) = (Poll::new().expect("a poll"), Poll::new().expect("a poll"));
        let status = reader.as_status_source();
        statuses.registry().register(status, Token(6), Interest::READABLE).expect("registered");
        poll.registry().register(&mut reader, Token(7), Interest::READABLE).expect("registered");
        let mut events = Events::with_capacity(4);
        statuses.poll(&mut events, Some(PATIENCE)).expect("polled");
        assert!(!events.is_empty(), "it is matched");
        while take_some(&mut reader, taken) {
            poll.poll(&mut events, Some(PATIENCE)).expect("polled");
            assert!(!events.is_empty(), "woken in time");
        }
    });
}

/// How a sample is written without blocking.
#[derive(Clone, Copy, Debug)]
enum How {
    Write,
    Loan,
}

async fn write(writer: &DataWriter<Chunk>, how: How, number: u32, len: usize) -> WriteResult<(), ()> {
    match how {
        How::Write => {
            let written = writer.async_write(Chunk::new(1, number, len), None).await;
            written.map_err(|error| match error {
                WriteError::WouldBlock { data } => {
                    assert!(data == Chunk::new(1, number, len), "the sample is given back");
                    WriteError::WouldBlock { data: () }
                }
                other => panic!("{other}"),
            })
        }
        How::Loan => {
            let sample = |data| Chunk { writer: 1, number, data, last: true };
            let mut loan = writer.async_loan(len, sample).await?;
            loan.copy_from_slice(&pattern(number, len));
            let written = writer.async_publish(loan, None).await.map(drop);
            written.map_err(|error| match error {
                WriteError::WouldBlock { data } => {
                    assert!(*data == *pattern(number, len), "the loan is given back with its data");
                    WriteError::WouldBlock { data: () }
                }
                other => panic!("{other}"),
            })
        }
    }
}

/// Lets the other tasks of the executor run.
async fn step_aside() {
    let mut has = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has, true) {
            return Step::Ready(());
        }
        context.waker().wake_by_ref();
        Step::Pending
    })
    .await;
}

/// Runs a task beside one that only counts its own steps; gives what it came to, and the steps.
fn beside_others<T>(task: impl Future<Output = T>) -> (T, u64) {
    let steps = Cell::new(0);
    let others = async {
        loop {
            steps.set(steps.get() + 1);
            step_aside().await;
        }
    };
    match LocalPool::new().run_until(select(pin!(task), pin!(others))) {
        Either::Left((outcome, _)) => (outcome, steps.get()),
        Either::Right(_) => unreachable!("endless"),
    }
}

/// Asserts that a write waited as long as it may, and that others ran meanwhile.
fn assert_waited(begun: Instant, steps: u64) {
    assert!(begun.elapsed().as_millis() >= HASTY_MS as u128, "for max_blocking_time: {:?}", begun.elapsed());
    assert!(steps > 100, "others ran meanwhile: {steps} steps");
}

/// One thread writes until there is no room, while another task runs.
fn others_go_on(pair: &Pair, how: How, len: usize) {
    let mut written = 0;
    loop {
        let begun = Instant::now();
        match beside_others(write(&pair.writer, how, written, len)) {
            (Ok(()), _) => written += 1,
            (Err(WriteError::WouldBlock { .. }), steps) => break assert_waited(begun, steps),
            (Err(error), _) => panic!("{error}"),
        }
        assert!(written <= 8, "there is an end to the room");
    }
}

/// One thread writes and reads: each write that finds no room goes on when the other task has made some.
fn one_thread_is_enough(mut pair: Pair, how: How, len: usize) {
    const SAMPLES: u32 = 50;
    let mut stream = pair.reader.async_bare_sample_stream();
    let writer = &mut pair.writer;
    let writing = async {
        for number in 0..SAMPLES {
            write(writer, how, number, len).await.expect("whoever waits hears of room");
        }
    };
    let reading = async {
        for number in 0..SAMPLES {
            let chunk = stream.next().await.expect("endless").expect("taken");
            assert!(chunk.number == number && chunk.is_intact(), "{} is not {number}", chunk.number);
        }
    };
    LocalPool::new().run_until(join(writing, reading));
    assert_eq!(pair.there.zerodds.stats().held_samples, 0);
    drop(pair.here);
}

/// How long a write waits that is to be refused, in these tests.
const HASTY_MS: i64 = 1_000;
/// How long one waits that is to be told of room: whoever is not told fails.
const LONG_MS: i64 = 90_000;

#[test]
fn an_executor_goes_on_while_readers_have_no_room() {
    for how in [How::Write, How::Loan] {
        for len in SIZES {
            let name = format!("window-{how:?}-{len}");
            others_go_on(&Pair::new(&format!("{name}-hasty"), &keep_all(8, HASTY_MS)), how, len);
            one_thread_is_enough(Pair::new(&name, &keep_all(8, LONG_MS)), how, len);
        }
    }
}

#[test]
fn a_write_that_may_not_wait_is_answered_at_once_by_its_own_thread() {
    let limits = ResourceLimits { max_samples: 2, max_instances: 1, max_samples_per_instance: 2 };
    let two = QosPolicyBuilder::new().resource_limits(limits).build();
    let patient = reliable(History::KeepLast { depth: 1 }).modify_by(&two);
    let fails = Config::default().options(Options::default().when_full(WhenFull::Fail));
    // A reader has no room for the next one, or RustDDS, until it was told that one has come.
    for pair in [Pair::new("at-once", &keep_all(4, 0)), Pair::with(fails, "at-once-in-rtps", &patient)] {
        for how in [How::Write, How::Loan] {
            for len in SIZES {
                // Another thread's answer would not be there yet.
                let write = |number| write(&pair.writer, how, number, len).now_or_never().expect("an answer");
                let refused = (0..1_000).map(write).filter(WriteResult::is_err).count();
                assert!(refused > 0, "RTPS is not as quick as that");
            }
        }
    }
}

/// Threads of this process that wait in place of futures.
fn waiting_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "zerodds-wait").count()
}

/// In a process of its own, whose only waiting threads are its own.
#[test]
#[ignore = "a role that another test starts"]
fn cancellation() {
    const MINUTES_MS: i64 = 600_000;
    let pair = Pair::new("cancelled", &keep_all(4, MINUTES_MS));
    for number in 0..4 {
        pair.writer.write(Chunk::new(1, number, SIZES[1]), None).expect("there is room");
    }
    for how in [How::Write, How::Loan] {
        {
            let mut waiting = pin!(write(&pair.writer, how, 4, SIZES[1]));
            let mut once = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(&mut once).is_pending(), "the window is full");
            // A thread gives itself its name, some time after it was started.
            eventually("a thread waits", || waiting_threads() == 1);
        }
        eventually("nobody waits for what nobody wants to know", || waiting_threads() == 0);
    }
}

#[test]
fn a_write_that_is_given_up_leaves_no_thread() {
    alone("cancellation");
}

#[test]
fn an_executor_goes_on_while_the_ring_has_no_room() {
    const LEN: usize = 900_000;
    let transport = zerodds_transport_shm::Config::default().max_datagram(1 << 20).expect("in range");
    let mut pair = Pair::with(Config::default().transport(transport), "ring", &keep_all(64, LONG_MS));
    let hasty = pair.here.writer(&unique("ring"), &keep_all(64, HASTY_MS));
    meet(&pair.here, &hasty, &mut [&mut pair.reader]);
    let loan = || {
        let sample = |data| Chunk { writer: 1, number: 7, data, last: true };
        hasty.async_loan(LEN, sample)
    };
    let mut loans = Vec::new();
    loop {
        let begun = Instant::now();
        match beside_others(loan()) {
            (Ok(loan), _) => loans.push(loan),
            (Err(_), steps) => break assert_waited(begun, steps),
        }
        assert!(loans.len() < 100, "there is an end to the room");
    }
    let begun = Instant::now();
    let (written, steps) = beside_others(write(&hasty, How::Write, 7, LEN));
    assert!(matches!(written, Err(WriteError::WouldBlock { .. })), "{written:?}");
    assert_waited(begun, steps);

    // Room made by another task of the same thread is enough.
    let giving_back = async {
        for _ in 0..100 {
            step_aside().await;
        }
        loans.pop();
    };
    let (written, ()) =
        LocalPool::new().run_until(join(write(&pair.writer, How::Write, 7, LEN), giving_back));
    written.expect("whoever waits hears of room");
    let sample = block_on(pair.reader.async_bare_sample_stream().next()).expect("endless").expect("taken");
    assert!(sample == Chunk::new(1, 7, LEN));
}

#[test]
fn a_writer_that_waits_goes_on_with_the_first_sample_that_is_taken() {
    let mut pair = Pair::new("first-taken", &keep_all(100, HASTY_MS));
    let (writer, reader) = (&pair.writer, &mut pair.reader);
    let written =
        (0..).take_while(|&number| writer.write(Chunk::new(1, number, 20_000), None).is_ok()).count();
    assert!(written <= 100);
    for _ in 0..10 {
        parties::next(reader);
    }
    write_when_there_is_room(writer, Chunk::new(1, 0, 20_000));
}

/// A pair whose reader has so much room, and another writer whose samples expire in a moment.
fn mortal(name: &str, room: u32, max_blocking_ms: i64) -> (Pair, DataWriter<Chunk>) {
    let lifespan = Lifespan { duration: rustdds::Duration::from_millis(20) };
    let lasting = keep_all(room as i32, max_blocking_ms);
    let mortal = lasting.modify_by(&QosPolicyBuilder::new().lifespan(lifespan).build());
    let pair = Pair::new(name, &lasting);
    let events = pair.here.zerodds.events();
    let writer = pair.here.writer(&unique(name), &mortal);
    eventually("it is matched", || {
        let event = events.next_within(Duration::from_secs(1));
        matches!(event, Some(Status::RemoteReaderMatched { local_writer, .. }) if local_writer == writer.guid())
    });
    (pair, writer)
}

#[test]
fn a_writer_does_not_wait_for_what_has_expired_before_its_reader_looked() {
    const ROOM: u32 = 8;
    let (_pair, writer) = mortal("not-looked", ROOM, LONG_MS);
    // Twice what the reader has room for, and this writer's window.
    for number in 0..2 * ROOM + ROOM / 2 {
        writer.write(Chunk::new(1, number, SIZES[1]), None).expect("those before expire");
    }
}

#[test]
fn what_expires_before_its_reader_looked_does_not_push_out_what_another_writer_waits_for() {
    const ROOM: u32 = 8;
    let (mut pair, mortal) = mortal("pushed-out", ROOM, HASTY_MS);
    let lasting = |number| Chunk::new(1, number, SIZES[1]);
    (0..ROOM / 2).for_each(|number| pair.writer.write(lasting(number), None).expect("room"));
    // Four times as many as RustDDS keeps for the reader.
    let ends = (0..80 * ROOM).find(|&number| mortal.write(Chunk::new(2, number, SIZES[1]), None).is_err());
    for number in 0..ROOM / 2 {
        assert!(parties::next(&mut pair.reader) == lasting(number), "it did not expire");
    }
    assert!(ends.is_some(), "it waits for the reader to look");
    write_when_there_is_room(&pair.writer, lasting(ROOM));
    write_when_there_is_room(&mortal, lasting(ROOM));
}

/// Processor time of threads so far, in ticks: those of ours, and all.
fn ticks() -> (u64, u64) {
    let (mut ours, mut all) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").expect("procfs") {
        let Ok(stat) = std::fs::read_to_string(task.expect("a task").path().join("stat")) else { continue };
        let (name, numbers) = stat.rsplit_once(')').expect("pid (name) numbers");
        let spent: u64 = numbers
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|tick| tick.parse::<u64>().expect("a number"))
            .sum();
        all += spent;
        if name.contains("zerodds") {
            ours += spent;
        }
    }
    (ours, all)
}

/// What a process spends in this time: by our threads, and by all.
fn spent_in(time: Duration) -> (u64, u64) {
    let before = ticks();
    std::thread::sleep(time);
    let after = ticks();
    // What a thread has spent is not counted any more when it has ended.
    (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1))
}

/// In a process of its own, where nothing else runs.
#[test]
#[ignore = "a role that another test starts"]
fn idleness() {
    const WATCH: Duration = Duration::from_secs(2);
    let domain = parties::domain();
    let none = QosPolicies::qos_none();
    let plain = {
        let participants = [0, 1].map(|_| DomainParticipant::new(domain).expect("a participant"));
        let topics = participants.each_ref().map(|participant| {
            participant.create_topic(unique("idle"), CHUNK.into(), &none, TopicKind::NoKey).expect("a topic")
        });
        let publisher = participants[0].create_publisher(&none).expect("a publisher");
        let _writer: rustdds::no_key::DataWriter<Chunk> =
            publisher.create_datawriter_no_key_cdr(&topics[0], None).expect("a writer");
        let subscriber = participants[1].create_subscriber(&none).expect("a subscriber");
        let _reader: rustdds::no_key::DataReader<Chunk> =
            subscriber.create_datareader_no_key_cdr(&topics[1], None).expect("a reader");
        std::thread::sleep(Duration::from_millis(500));
        spent_in(WATCH).1
    };
    let pair = Pair::new("idle", &keep_all(8, 30_000));
    std::thread::sleep(Duration::from_millis(500));
    // A thread that spins has 200. Somebody else's participant may come and go meanwhile, and is looked at; not three
    // times.
    let sleeps = || {
        (0..3).any(|_| {
            let (ours, all) = spent_in(WATCH);
            println!("ticks in {WATCH:?}: {ours} of ours, {all} of all, {plain} without us");
            ours <= 2 && all <= plain + 20
        })
    };
    assert!(sleeps(), "idle threads sleep");
    // Samples that nobody takes, and a writer that waits for it.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..9 {
                pair.writer.write(Chunk::new(1, number, 50_000), None).expect("written");
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let waiting_sleeps = sleeps();
        let mut reader = pair.reader;
        let mut taken = 0;
        eventually("all come", || {
            taken += reader.take(usize::MAX, ReadCondition::any()).expect("taken").len();
            taken == 9
        });
        assert!(waiting_sleeps, "threads that wait sleep");
    });
}

#[test]
fn who_waits_uses_no_processor_time() {
    alone("idleness");
}
