//! Two participants exchange samples of all sizes by shared memory.

mod parties;

use futures::executor::block_on;
use parties::*;
use rustdds::dds::WriteError;
use rustdds::policy::History;
use rustdds::{
    DomainParticipantStatusEvent as Status, QosPolicyBuilder, RTPSEntity, ReadCondition, WriteOptionsBuilder,
};
use zerodds_rustdds::no_key::DataReader;
use zerodds_rustdds::{Config, Loan, Options, WhenFull};

#[test]
fn samples_of_all_sizes_arrive_by_shared_memory_whole_and_in_order() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("sizes");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);

    let sizes = [0, 1, 1000, 8 << 10, 100_000, 1 << 20, (4 << 20) + 3, 15 << 20];
    for (number, size) in (0..).zip(sizes) {
        writer.write(Chunk::new(1, number, size), None).expect("written");
        let chunk = next(&mut reader);
        assert_eq!((chunk.number, chunk.data.len()), (number, size));
        assert!(chunk.is_intact());
    }
    let stats = there.zerodds.stats();
    assert_eq!((stats.gone_samples, stats.strange_messages), (0, 0), "{stats:?}");
}

#[test]
fn a_sample_is_written_once_and_described_once_for_all_readers_of_all_participants() {
    let here = Party::new();
    let others = [Party::new(), Party::new(), Party::new()];
    let topic = unique("fan-out");
    let qos = reliable(History::KeepLast { depth: 16 });
    let writer = here.writer(&topic, &qos);
    let mut readers: Vec<_> = others.iter().map(|other| other.reader(&topic, &qos)).collect();
    let mut second = others[0].reader(&topic, &qos);
    let mut all: Vec<_> = readers.iter_mut().collect();
    all.push(&mut second);
    meet(&here, &writer, &mut all);

    let before = here.zerodds.stats();
    let rounds = 20;
    for number in 0..rounds {
        writer.write(Chunk::new(1, number, 100_000), None).expect("written");
        for reader in &mut all {
            let chunk = next(reader);
            assert!(chunk.number == number && chunk.is_intact(), "{}", chunk.number);
        }
    }
    let after = here.zerodds.stats();
    assert_eq!(after.descriptors - before.descriptors, u64::from(rounds), "one descriptor for all");
    let written = after.transport.written_bytes - before.transport.written_bytes;
    assert!((2_000_000..2_100_000).contains(&written), "written once: {written}");
    for other in &others {
        assert_eq!(other.zerodds.stats().held_samples, 0, "everything was given back");
    }
}

#[test]
fn participants_of_one_host_share_memory_though_there_is_no_multicast() {
    let domain = fresh_domain();
    let (here, there) = (Party::on_loopback(domain), Party::on_loopback(domain));
    let topic = unique("loopback");
    let qos = reliable(History::KeepLast { depth: 16 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    writer.write(Chunk::new(1, 1, 100_000), None).expect("written");
    assert!(next(&mut reader).is_intact());
}

#[test]
fn a_reader_that_has_left_keeps_nobody_from_sharing_with_its_participant_though_that_does_not_hear_itself() {
    let domain = fresh_domain();
    let (here, there) = (Party::on_loopback(domain), Party::on_loopback(domain));
    let qos = best_effort(8);
    for is_followed in [false, true] {
        let topic = unique(&format!("left-{is_followed}"));
        let own = here.reader(&topic, &qos);
        let writer = here.writer(&topic, &qos);
        let mut reader = there.reader(&topic, &qos);
        meet(&here, &writer, &mut [&mut reader]);
        let samples = own.async_sample_stream();
        let events = is_followed.then(|| samples.async_event_stream());
        drop(samples);
        drop(events);
        meet(&here, &writer, &mut [&mut reader]);
        let later = here.writer(&topic, &qos);
        meet(&here, &later, &mut [&mut reader]);
    }
}

#[test]
fn a_participant_talks_to_itself_without_a_copy() {
    let party = Party::new();
    let topic = unique("self");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = party.writer(&topic, &qos);
    let mut reader = party.reader(&topic, &qos);
    meet(&party, &writer, &mut [&mut reader]);
    let before = party.zerodds.stats();
    for number in 0..10 {
        writer.write(Chunk::new(1, number, 1 << 20), None).expect("written");
        let chunk = next(&mut reader);
        assert!(chunk.number == number && chunk.is_intact());
        assert!(reader.take_next_sample().expect("taken").is_none(), "nothing twice");
    }
    let after = party.zerodds.stats();
    assert_eq!(after.descriptors - before.descriptors, 10);
    assert_eq!(after.pool.in_use, 0, "nothing is held: {:?}", after.pool);
}

#[test]
fn a_sample_filled_in_place_is_read_in_place_and_its_memory_comes_back() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("loan");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    for number in 0..100 {
        let len = 1_000_000 + number as usize;
        let sample = |data| Chunk { writer: 1, number, data, last: true };
        let mut loan = writer.loan(len, sample).expect("room");
        assert!(loan.is_shared() && loan.len() == len);
        loan.copy_from_slice(&pattern(number, len));
        writer.publish(loan, None).expect("published");
        let chunk = next(&mut reader);
        assert!(chunk.number == number && chunk.data.len() == len && chunk.is_intact());
        // A view that is kept keeps its bytes, and only those.
        drop(chunk);
    }
    eventually("all memory has come back", || {
        writer.loan(1, |data| Chunk { writer: 1, number: 0, data, last: true }).expect("a loan");
        here.zerodds.stats().pool.held_by_peers == 0
    });
}

#[test]
fn a_loan_that_would_block_is_given_back_and_published_later() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("given-back");
    let qos = keep_all(1, 3_000);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let filled = |number| {
        let sample = |data| Chunk { writer: 1, number, data, last: true };
        let mut loan = writer.loan(100_000, sample).expect("room");
        loan.copy_from_slice(&pattern(number, 100_000));
        loan
    };
    // The news of what was taken may be under way.
    let publish_when_there_is_room = |loan| {
        let mut given_back = Some(loan);
        eventually("there is room", || {
            match writer.publish(given_back.take().expect("given back"), None) {
                Ok(_) => {}
                Err(WriteError::WouldBlock { data }) => given_back = Some(data),
                Err(error) => panic!("{error}"),
            }
            given_back.is_none()
        });
    };
    publish_when_there_is_room(filled(1));
    let Err(WriteError::WouldBlock { data: loan }) = writer.publish(filled(2), None) else {
        panic!("the one place is taken")
    };
    assert!(loan.is_shared() && *loan == *pattern(2, 100_000));
    assert_eq!(next(&mut reader).number, 1);
    publish_when_there_is_room(loan);
    let chunk = next(&mut reader);
    assert!(chunk.number == 2 && chunk.is_intact());
}

#[test]
fn a_loan_with_a_related_identity_travels_in_rtps() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("related-loan");
    let qos = reliable(History::KeepLast { depth: 4 });
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    let eager = publisher.with_options(Options::default().threshold(0));
    let writer =
        eager.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let filled = |number| {
        let mut loan = writer.loan(500, |data| Chunk { writer: 1, number, data, last: true }).expect("room");
        loan.copy_from_slice(&pattern(number, 500));
        loan
    };
    let request = writer.publish(filled(1), None).expect("published");
    assert!(next(&mut reader).is_intact());
    let plain = here.zerodds.stats().plain_samples;
    let loan = filled(2);
    assert!(loan.is_shared());
    let options = WriteOptionsBuilder::new().related_sample_identity(request).build();
    writer.publish_with_options(loan, options).expect("published");
    let mut sample = None;
    eventually("it comes", || {
        sample = reader.take_next_sample().expect("taken");
        sample.is_some()
    });
    let sample = sample.expect("found");
    assert!(sample.value().number == 2 && sample.value().is_intact());
    assert_eq!(sample.sample_info().related_sample_identity(), Some(request));
    assert_eq!(here.zerodds.stats().plain_samples, plain + 1);
}

#[test]
fn small_samples_and_endpoints_without_shared_memory_travel_in_rtps() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("plain");
    let qos = reliable(History::KeepLast { depth: 64 });
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    let plain = publisher.without_shm();
    let eager = publisher.with_options(Options::default().threshold(0));
    let writer =
        plain.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let all = eager.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let usual = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &usual, &mut [&mut reader]);
    for (writer, len, shared) in [(&writer, 20_000, 0), (&all, 1, 1), (&usual, 1, 0), (&usual, 20_000, 1)] {
        let before = here.zerodds.stats();
        writer.write(Chunk::new(1, 5, len), None).expect("written");
        assert!(next(&mut reader).is_intact());
        let after = here.zerodds.stats();
        assert_eq!(after.shared_samples - before.shared_samples, shared, "{len} bytes");
        assert_eq!(after.plain_samples - before.plain_samples, 1 - shared, "{len} bytes");
    }
}

#[test]
fn what_is_too_large_or_finds_no_room_goes_by_udp_is_counted_once_and_said_for_each_cause() {
    const LEN: usize = 900_000;
    log::listen();
    let transport = zerodds_transport_shm::Config::default().max_datagram(1 << 20).expect("in range");
    let options = Options::default().when_full(WhenFull::Udp);
    let here = Party::with(Config::default().transport(transport).options(options));
    let there = Party::new();
    let topic = unique("too-large");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let lines = || log::lines_with(&["WARN", &topic, "by UDP"]);
    let lend = |number, len| {
        let mut loan = writer
            .loan(len, |data| Chunk { writer: 1, number, data, last: true })
            .expect("if not in the ring, then beside it");
        loan.copy_from_slice(&pattern(number, len));
        loan
    };
    let mut loans = Vec::new();
    let mut lent = 0;
    while lent < 100 && loans.last().is_none_or(Loan::is_shared) {
        lent += 1;
        loans.push(lend(1, LEN));
    }
    let beside = loans.pop().filter(|loan| !loan.is_shared()).expect("there is an end to the room");
    assert_eq!(lines().len(), 1, "{:?}", lines());
    // By now there is room for it.
    drop(loans);
    writer.publish(beside, None).expect("published");
    assert_eq!(next(&mut reader), Chunk::new(1, 1, LEN));
    assert_eq!(here.zerodds.stats().fallbacks, 0, "by shared memory after all");

    writer.write(Chunk::new(1, 2, 2 << 20), None).expect("written");
    assert_eq!(next(&mut reader), Chunk::new(1, 2, 2 << 20));
    assert_eq!((here.zerodds.stats().fallbacks, lines().len()), (1, 2), "{:?}", lines());
    writer.publish(lend(3, 2 << 20), None).expect("published");
    assert_eq!(next(&mut reader), Chunk::new(1, 3, 2 << 20));
    drop(lend(4, 2 << 20));
    assert_eq!(
        (here.zerodds.stats().fallbacks, lines().len()),
        (2, 2),
        "each once, and only what was published"
    );
}

#[test]
fn what_a_publisher_or_subscriber_does_not_say_is_as_its_participant_has_it() {
    let (all, fails) = (Options::default().threshold(0), Options::default().when_full(WhenFull::Fail));
    let here = Party::with(Config::default().options(all).options(fails));
    let (qos, both) = (best_effort(1), all.when_full(WhenFull::Fail));
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    let subscriber = here.zerodds.create_subscriber(&qos).expect("a subscriber");
    assert_eq!([publisher.options(), subscriber.options()], [both; 2]);
    let writer = publisher
        .create_datawriter_no_key_cdr::<Chunk>(&here.topic(&unique("options")), None)
        .expect("a writer");
    assert_eq!((writer.publisher(), writer.publisher().options()), (&publisher, both));
    let (off, udp) = (Options::default().shm(false), Options::default().when_full(WhenFull::Udp));
    assert_eq!(
        publisher.with_options(off).with_options(udp).options(),
        all.shm(false).when_full(WhenFull::Udp)
    );
    assert_eq!(publisher.without_shm().options(), both.shm(false));
    assert_eq!(
        [subscriber.with_options(off), subscriber.without_shm()].map(|it| it.options()),
        [both.shm(false); 2]
    );
}

#[test]
fn a_writer_that_may_not_wait_is_refused_nothing_where_the_ring_has_no_room() {
    const LEN: usize = 900_000;
    const LAST: u32 = 12;
    let transport = zerodds_transport_shm::Config::default().max_datagram(1 << 20).expect("in range");
    let (here, there) = (Party::with(Config::default().transport(transport)), Party::new());
    let topic = unique("zero");
    let at_once = QosPolicyBuilder::new().reliable(rustdds::Duration::ZERO).build();
    let qos = reliable(History::KeepLast { depth: 1 }).modify_by(&at_once);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let lend = || {
        let sample = |data| Chunk { writer: 1, number: 0, data, last: true };
        writer.loan(LEN, sample).expect("if not in the ring, then beside it")
    };
    let loans: Vec<_> = std::iter::repeat_with(lend).take_while(Loan::is_shared).take(100).collect();
    assert!((1..100).contains(&loans.len()), "there is room, and an end to it");
    let stats = here.zerodds.stats();
    assert_eq!(stats.transport.no_memory, 0, "the ring is full");
    let shared = stats.shared_samples;
    for number in 1..=LAST {
        writer.write(Chunk::new(1, number, LEN), None).expect("RustDDS has room");
    }
    assert_eq!(here.zerodds.stats().shared_samples, shared);
    eventually("the last comes", || next(&mut reader).number == LAST);
}

#[test]
fn what_was_read_stays_to_be_taken() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("read");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    writer.write(Chunk::new(1, 1, 100_000), None).expect("written");
    eventually("it can be read", || {
        reader.read(10, ReadCondition::any()).expect("read").iter().any(|sample| sample.value().is_intact())
    });
    assert!(next_any(&mut reader).is_intact());
    assert!(reader.read(10, ReadCondition::any()).expect("read").is_empty());
}

fn next_any(reader: &mut zerodds_rustdds::no_key::DataReader<Chunk>) -> Chunk {
    reader.take(1, ReadCondition::any()).expect("taken").pop().expect("one").into_value()
}

/// The caller's own, whatever becomes of the reader.
fn taken_by_two(reader: &mut DataReader<Chunk>) -> Box<dyn Iterator<Item = Chunk>> {
    let taken = reader.into_iterator().expect("taken");
    let more = reader.into_conditional_iterator(ReadCondition::any()).expect("taken");
    Box::new(taken.chain(more))
}

#[test]
fn while_what_was_taken_is_looked_at_the_reader_can_be_asked_for_more() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("kept");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    writer.write(Chunk::new(1, 7, 20_000), None).expect("written");
    eventually("it comes", || taken_by_two(&mut reader).any(|chunk| chunk == Chunk::new(1, 7, 20_000)));
}

#[test]
fn what_is_directed_to_one_reader_is_owed_by_no_other() {
    const ROOM: u32 = 4;
    let (here, there, beside) = (Party::new(), Party::new(), Party::new());
    let (topic, qos) = (unique("directed"), keep_all(ROOM as i32, 5_000));
    let writer = here.writer(&topic, &qos);
    let (mut reader, mut other) = (there.reader(&topic, &qos), beside.reader(&topic, &qos));
    meet(&here, &writer, &mut [&mut reader, &mut other]);
    let options = WriteOptionsBuilder::new().to_single_reader(reader.guid()).build();
    for number in 0..2 * ROOM {
        let chunk = Chunk::new(1, number, [100, 50_000][number as usize / 2 % 2]);
        let written = if number % 2 == 0 {
            writer.write_with_options(chunk, options.clone())
        } else {
            block_on(writer.async_write_with_options(chunk, options.clone()))
        };
        written.expect("the other reader is not waited for");
        assert_eq!(next(&mut reader).number, number);
    }
    assert!(writer.wait_until_taken(PATIENCE));

    // RTPS sends to nobody what is for a reader that has left: not to its neighbour either.
    let mut neighbour = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader, &mut other, &mut neighbour]);
    let (gone, events) = (reader.guid(), here.zerodds.events());
    drop(reader);
    eventually("it has left", || {
        events
            .try_next()
            .is_some_and(|event| matches!(event, Status::ReaderLost { guid, .. } if guid == gone))
    });
    for number in 0..2 * ROOM {
        let chunk = Chunk::new(1, number, 100);
        writer.write_with_options(chunk, options.clone()).expect("the neighbour is not waited for");
    }
    assert!(writer.wait_until_taken(PATIENCE));
}
