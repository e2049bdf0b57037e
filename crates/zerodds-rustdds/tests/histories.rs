//! HISTORY, RESOURCE_LIMITS and max_blocking_time mean for shared samples what DDS says.

mod parties;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use parties::*;
use rustdds::dds::{ReadError, WriteError};
use rustdds::policy::History;
use rustdds::{DomainParticipantStatusEvent as Status, QosPolicies, RTPSEntity, ReadCondition};
use serde::Deserialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use zerodds_rustdds::{Events, Options, WhenFull, no_key};

/// Sizes on both sides of the threshold.
fn size(number: u32) -> usize {
    (number as usize * 7919) % 40_000
}

#[test]
fn a_slow_reader_that_keeps_all_gets_a_burst_of_ten_thousand_samples_of_all_sizes() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("burst");
    let qos = keep_all(200, 30_000);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..10_000 {
                writer.write(Chunk::new(1, number, size(number)), None).expect("written in time");
            }
        });
        // One by one, and some are looked at for a while.
        for number in 0..10_000 {
            let chunk = next(&mut reader);
            assert_eq!((chunk.number, chunk.data.len()), (number, size(number)));
            assert!(chunk.is_intact());
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    assert!(reader.take_next_sample().expect("taken").is_none());
}

#[test]
fn a_writer_that_waits_until_all_is_taken_can_leave_and_nothing_is_lost() {
    for is_async in [false, true] {
        let (here, there) = (Party::new(), Party::new());
        let topic = unique("leaving");
        let qos = keep_all(200, 30_000);
        let writer = here.writer(&topic, &qos);
        let mut reader = there.reader(&topic, &qos);
        meet(&here, &writer, &mut [&mut reader]);
        for number in 0..40 {
            writer.write(Chunk::new(1, number, size(number)), None).expect("written in time");
        }
        assert!(writer.wait_for_acknowledgments(PATIENCE).expect("reliable"));
        assert!(!writer.wait_until_taken(Duration::ZERO), "acknowledged, and not taken");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let is_taken = if is_async {
                    block_on(writer.async_wait_until_taken(PATIENCE))
                } else {
                    writer.wait_until_taken(PATIENCE)
                };
                assert!(is_taken);
                drop((writer, here));
            });
            for number in 0..40 {
                assert_eq!(next(&mut reader).number, number);
            }
        });
    }
}

/// max_blocking_time of a burst.
const BLOCKING: Duration = Duration::from_millis(300);

/// Writes samples at full rate, each until it is accepted. Refusals are counted; how long the quickest of them took.
fn burst(
    writer: &no_key::DataWriter<Chunk>,
    numbers: std::ops::Range<u32>,
    refusals: &AtomicU32,
) -> Duration {
    let mut quickest = Duration::MAX;
    for number in numbers {
        let mut chunk = Chunk::new(1, number, size(number));
        loop {
            let begun = Instant::now();
            let outcome = writer.write(chunk, None);
            let took = begun.elapsed();
            match outcome {
                Ok(()) => break,
                Err(WriteError::WouldBlock { data }) => chunk = data,
                Err(other) => panic!("{other}"),
            }
            assert!(took >= BLOCKING, "{number} was refused after {took:?}");
            assert_eq!((chunk.number, chunk.data.len()), (number, size(number)), "it is given back");
            quickest = quickest.min(took);
            refusals.fetch_add(1, Ordering::AcqRel);
        }
    }
    quickest
}

#[test]
fn a_burst_into_a_reader_that_stands_still_is_refused_after_max_blocking_time_and_loses_nothing() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("burst-refused");
    let qos = keep_all(200, BLOCKING.as_millis() as i64);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let refusals = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| burst(&writer, 0..10_000, &refusals));
        for number in 0..10_000 {
            if number % 2_500 == 0 {
                let before = refusals.load(Ordering::Acquire);
                eventually("the writer is refused twice", || {
                    assert!(!writing.is_finished(), "there is room for two hundred");
                    refusals.load(Ordering::Acquire) >= before + 2
                });
            }
            let chunk = next(&mut reader);
            assert_eq!((chunk.number, chunk.data.len()), (number, size(number)));
            assert!(chunk.is_intact());
        }
        // Of eight, on a machine that does other things too, one comes as soon as it can.
        let quickest = writing.join().expect("no panic");
        assert!(quickest < 2 * BLOCKING, "none was refused before {quickest:?}");
    });
    assert!(reader.take_next_sample().expect("taken").is_none(), "what was refused did not come");
}

#[test]
fn a_write_waits_for_a_reader_that_keeps_all_and_gives_the_sample_back() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("blocked");
    let qos = keep_all(8, 200);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let mut written = 0;
    let refused = loop {
        let before = Instant::now();
        match writer.write(Chunk::new(1, written, 20_000), None) {
            Ok(()) => written += 1,
            Err(WriteError::WouldBlock { data }) => break (data, before.elapsed()),
            Err(other) => panic!("{other}"),
        }
        assert!(written <= 8, "there is room for eight");
    };
    assert_eq!(refused.0, Chunk::new(1, written, 20_000));
    assert!(refused.1 >= Duration::from_millis(200), "it waited for max_blocking_time: {:?}", refused.1);
    for number in 0..written {
        assert_eq!(next(&mut reader).number, number, "nothing was lost meanwhile");
    }
    write_when_there_is_room(&writer, refused.0);
    assert_eq!(next(&mut reader).number, written);
}

#[test]
fn a_reader_that_never_takes_has_the_last_sample_and_costs_nobody_else_anything() {
    let (here, idle, busy) = (Party::new(), Party::new(), Party::new());
    let topic = unique("never-taken");
    let one = reliable(History::KeepLast { depth: 1 });
    let writer = here.writer(&topic, &one);
    let mut sleeper = idle.reader(&topic, &one);
    let mut reader = busy.reader(&topic, &one);
    meet(&here, &writer, &mut [&mut sleeper, &mut reader]);
    for number in 0..200 {
        writer.write(Chunk::new(1, number, 1 << 20), None).expect("written");
        assert_eq!(next(&mut reader).number, number);
    }
    let held = idle.zerodds.stats();
    assert!(held.held_bytes <= 8 << 20, "{held:?}");
    // RTPS may be behind with its descriptor.
    eventually("the last one comes, alone", || {
        let last = sleeper.take(usize::MAX, ReadCondition::any()).expect("taken");
        assert!(last.len() <= 1 && last.iter().all(|sample| sample.value().is_intact()));
        last.iter().any(|sample| sample.value().number == 199)
    });
    assert_eq!(idle.zerodds.stats().held_samples, 0);
}

#[test]
fn best_effort_never_waits_and_a_reader_that_keeps_up_misses_nothing() {
    let (here, idle, busy) = (Party::new(), Party::new(), Party::new());
    let topic = unique("best-effort");
    let qos = best_effort(4);
    let writer = here.writer(&topic, &qos);
    let mut sleeper = idle.reader(&topic, &qos);
    let mut reader = busy.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut sleeper, &mut reader]);
    for number in 0..300 {
        writer.write(Chunk::new(1, number, 1 << 20), None).expect("written");
        assert_eq!(next(&mut reader).number, number);
    }
    eventually("the last one comes, with three at most", || {
        let kept = sleeper.take(usize::MAX, ReadCondition::any()).expect("taken");
        assert!(kept.iter().all(|sample| sample.value().is_intact()) && kept.len() <= 4);
        kept.last().is_some_and(|sample| sample.value().number == 299)
    });
}

/// How much memory this process has, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let of_rss = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok();
    status.lines().find_map(of_rss).expect("a number")
}

/// In a process of its own, whose memory nobody else takes.
#[test]
#[ignore = "a role that another test starts"]
fn frugality() {
    let party = Party::new();
    let writer = party.writer(&unique("frugal"), &best_effort(1));
    let sample = Chunk::new(1, 0, 4 << 20);
    let before = resident_kib();
    for _ in 0..100 {
        writer.write(sample.clone(), None).expect("written");
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 8 * 4096, "{grown} KiB for one sample of 4,096");
}

#[test]
fn a_best_effort_writer_keeps_no_more_large_samples_than_it_says() {
    alone("frugality");
}

#[test]
fn a_writer_that_falls_back_to_udp_waits_for_readers_all_the_same() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("window-udp");
    let qos = keep_all(4, 30_000);
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    let publisher = publisher.with_options(Options::default().when_full(WhenFull::Udp));
    let writer =
        publisher.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20 {
                writer.write(Chunk::new(1, number, 16 << 10), None).expect("written in time");
            }
        });
        for number in 0..20 {
            assert_eq!(next(&mut reader).number, number);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn many_writers_share_the_room_of_a_reader_that_keeps_all() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("many-keep-all");
    let qos = keep_all(64, 30_000);
    let writers: Vec<_> = (0..8).map(|_| here.writer(&topic, &qos)).collect();
    let mut reader = there.reader(&topic, &qos);
    for writer in &writers {
        meet(&here, writer, &mut [&mut reader]);
    }
    std::thread::scope(|scope| {
        for (id, writer) in (1..).zip(&writers) {
            scope.spawn(move || {
                for number in 0..50 {
                    writer.write(Chunk::new(id, number, 10_000), None).expect("written in time");
                }
            });
        }
        let mut expected = [0; 9];
        for _ in 0..8 * 50 {
            let chunk = next(&mut reader);
            let number = &mut expected[chunk.writer as usize];
            assert_eq!(chunk.number, *number, "of writer {}", chunk.writer);
            *number += 1;
        }
    });
}

#[test]
fn a_reader_that_keeps_all_loses_nothing_to_more_writers_than_it_has_room_for() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("more-writers");
    let qos = keep_all(2, 30_000);
    let writers: Vec<_> = (0..12).map(|_| here.writer(&topic, &qos)).collect();
    let mut reader = there.reader(&topic, &qos);
    for writer in &writers {
        meet(&here, writer, &mut [&mut reader]);
    }
    for (id, writer) in (1..).zip(&writers) {
        writer.write(Chunk::new(id, 0, 20_000), None).expect("each may have one under way");
    }
    let mut ids: Vec<u32> = writers.iter().map(|_| next(&mut reader).writer).collect();
    ids.sort_unstable();
    assert_eq!(ids, Vec::from_iter(1..=12));
    assert_eq!(there.zerodds.stats().overflowed_samples, 0);
}

#[test]
fn a_plain_neighbour_does_not_free_a_writer_from_waiting_for_a_reader_that_keeps_all() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("neighbour");
    let qos = keep_all(8, 200);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let subscriber = there.zerodds.create_subscriber(&qos).expect("a subscriber").without_shm();
    let mut plain: zerodds_rustdds::no_key::DataReader<Chunk> =
        subscriber.create_datareader_no_key_cdr(&there.topic(&topic), Some(qos)).expect("a reader");
    eventually("samples are plain", || {
        let before = here.zerodds.stats().plain_samples;
        // It may wait for the sample before.
        let _ = writer.write(Chunk::new(0, 0, 20_000), None);
        reader.take(usize::MAX, ReadCondition::any()).expect("taken");
        let has_come = !plain.take(usize::MAX, ReadCondition::any()).expect("taken").is_empty();
        has_come && here.zerodds.stats().plain_samples > before
    });
    write_when_there_is_room(&writer, Chunk::new(1, 0, 20_000));
    let more = (1..100).take_while(|&number| writer.write(Chunk::new(1, number, 20_000), None).is_ok());
    let written = 1 + more.count();
    assert!((1..=8).contains(&written), "there is room for eight: {written}");
    for number in 0..written as u32 {
        let chunk = std::iter::repeat_with(|| next(&mut reader)).find(|chunk| chunk.writer == 1);
        assert_eq!(chunk.map(|chunk| chunk.number), Some(number), "nothing was lost meanwhile");
    }
}

/// Waits for a report that is the one.
fn hear(events: &Events, is_it: impl Fn(&Status) -> bool) {
    eventually("it is reported", || events.next_within(PATIENCE).is_some_and(|event| is_it(&event)));
}

/// Longer than anybody is patient here: whoever is not told of room fails.
const LONG_MS: i64 = 90_000;

#[test]
fn a_writer_that_has_filled_its_window_before_its_reader_knows_of_it_hears_of_what_is_taken() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("filled-early");
    let qos = keep_all(1, LONG_MS);
    let first = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &first, &mut [&mut reader]);
    let events = here.zerodds.events();
    // Keeps the reader's participant from hearing of writers at once.
    let busy = reliable(History::KeepLast { depth: 1 });
    let (noise, is_over) = (there.reader(&unique("noise"), &busy), AtomicBool::new(false));
    let noisy = there.writer(&unique("noise"), &busy);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    noisy.write(Chunk::new(0, 0, 100), None).expect("written");
                }
                noisy.wait_for_acknowledgments(PATIENCE).expect("reliable");
            }
        });
        let _over = Finally(|| is_over.store(true, Ordering::Relaxed));
        for id in 1..=30 {
            let writer = here.writer(&topic, &qos);
            let guid = writer.guid();
            let is_it = |event: &_| matches!(event, Status::RemoteReaderMatched { local_writer, .. } if *local_writer == guid);
            hear(&events, is_it);
            let writing = scope.spawn(move || {
                for number in 0..3 {
                    writer.write(Chunk::new(id, number, 20_000), None).expect("written in time");
                }
                writer
            });
            for number in 0..3 {
                let chunk = std::iter::repeat_with(|| next(&mut reader)).find(|chunk| chunk.writer == id);
                assert_eq!(chunk.map(|chunk| chunk.number), Some(number));
            }
            writing.join().expect("no panic");
        }
    });
    drop(noise);
}

#[test]
fn a_writer_that_waits_while_its_window_changes_hears_of_what_is_taken_then() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("smaller");
    let qos = keep_all(8, LONG_MS);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let events = there.zerodds.events();
    for number in 0..8 {
        writer.write(Chunk::new(1, number, 20_000), None).expect("there is room for eight");
    }
    let sent = || here.zerodds.stats().transport.sent_messages;
    let before = sent();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write(Chunk::new(1, 8, 20_000), None).expect("written in time"));
        // Otherwise this shows nothing.
        eventually("it has asked", || sent() > before);
        let second = here.writer(&topic, &qos);
        let guid = second.guid();
        let is_it = |event: &_| matches!(event, Status::RemoteWriterMatched { remote_writer, .. } if *remote_writer == guid);
        hear(&events, is_it);
        for number in 0..9 {
            assert_eq!(next(&mut reader).number, number);
        }
    });
}

#[test]
fn a_writer_that_begins_to_wait_without_a_link_hears_of_what_is_taken_on_the_next() {
    let (here, there) = (&Party::new(), &Party::new());
    let topic = unique("unlinked");
    let qos = keep_all(8, LONG_MS);
    let writer = &here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(here, writer, &mut [&mut reader]);
    for round in 0..10 {
        for number in 0..8 {
            writer.write(Chunk::new(round, number, 20_000), None).expect("there is room for eight");
        }
        let [of_here, of_there] = [here, there].map(|party| party.zerodds.stats());
        let lost = [of_here.links_lost, of_there.links_lost];
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            scope.spawn(move || {
                tell.send(std::fs::read_link("/proc/thread-self").expect("procfs")).expect("awaited");
                here.zerodds.disconnect(prefix(there));
                writer.write(Chunk::new(round, 8, 20_000), None).expect("written in time");
            });
            for ((party, other), lost) in [(here, there), (there, here)].into_iter().zip(lost) {
                eventually("there is another link", || {
                    party.zerodds.stats().links_lost > lost && shares_with(party, prefix(other))
                });
            }
            // What is offered there, and what was taken before: nothing else would wake the writer. Otherwise this shows nothing.
            eventually("all is heard that is said on the link", || {
                let said = there.zerodds.stats().transport.sent_messages;
                let heard = here.zerodds.stats().transport.received_messages;
                said >= of_there.transport.sent_messages + 2 && heard == said
            });
            let stat = Path::new("/proc").join(told.recv().expect("told")).join("stat");
            eventually("the writer sleeps", || {
                std::fs::read_to_string(&stat).expect("it runs").contains(") S ")
            });
            for number in 0..9 {
                assert_eq!(next(&mut reader).number, number);
            }
        });
    }
}

/// A chunk whose number is odd; any other cannot be decoded.
#[derive(Deserialize)]
struct Odd {
    writer: u32,
    #[serde(deserialize_with = "odd")]
    number: u32,
    #[serde(with = "zerodds_rustdds::bytes")]
    data: bytes::Bytes,
}

fn odd<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(from)?;
    if number % 2 == 1 { Ok(number) } else { Err(serde::de::Error::custom("it is even")) }
}

#[test]
fn a_writer_does_not_wait_for_samples_that_its_reader_cannot_decode() {
    cannot_decode(20_000);
}

#[test]
fn a_writer_does_not_wait_for_samples_in_rtps_that_its_reader_cannot_decode() {
    cannot_decode(100);
}

/// A writer, and a reader that keeps all and can decode some of its samples only; samples are shared between them.
fn picky(name: &str) -> ([Party; 2], no_key::DataWriter<Chunk>, no_key::DataReader<Odd>) {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique(name);
    let qos = keep_all(2, 20_000);
    let writer = here.writer(&topic, &qos);
    let mut reader = odd_reader(&there, &topic, &qos);
    eventually("samples are shared", || {
        writer.write(Chunk::new(0, 1, 20_000), None).expect("written");
        // What is not taken is waited for.
        writer.wait_for_acknowledgments(PATIENCE).expect("reliable");
        while reader.take_next_sample().expect("taken").is_some() {}
        here.zerodds.stats().shared_samples > 0
    });
    ([here, there], writer, reader)
}

fn odd_reader(party: &Party, topic: &str, qos: &QosPolicies) -> no_key::DataReader<Odd> {
    let subscriber = party.zerodds.create_subscriber(qos).expect("a subscriber");
    subscriber.create_datareader_no_key_cdr(&party.topic(topic), Some(qos.clone())).expect("a reader")
}

/// A reader that keeps all can decode none of twenty samples of this size, and then one.
fn cannot_decode(size: usize) {
    let (_parties, writer, mut reader) = picky(&format!("undecodable-{size}"));
    let mut failed = 0;
    for number in (0..40).step_by(2).chain([41]) {
        writer.write(Chunk::new(1, number, size), None).expect("what cannot be decoded is not under way");
        eventually("it is looked at", || match reader.take_next_sample() {
            Err(ReadError::Deserialization { .. }) => {
                failed += 1;
                true
            }
            Ok(Some(sample)) if sample.value().writer == 1 => {
                assert_eq!((sample.value().number, sample.value().data.len()), (41, size));
                true
            }
            Ok(_) => false,
            Err(error) => panic!("{error}"),
        });
    }
    assert_eq!(failed, 20);
}

#[test]
fn what_cannot_be_decoded_of_one_writer_lets_another_one_write_no_more_than_its_reader_has_room_for() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("undecodable-beside");
    let qos = keep_all(2, 20);
    // Of two, RustDDS decodes first what the one has written that was there first; no window holds it up.
    let plain = here.participant.create_publisher(&qos).expect("a publisher");
    let bad: rustdds::no_key::DataWriterCdr<Chunk> =
        plain.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let good = here.writer(&topic, &qos);
    let mut reader = odd_reader(&there, &topic, &qos);
    let mut met = [false; 2];
    eventually("both are matched", || {
        let _ = bad.write(Chunk::new(0, 1, 100), None);
        let _ = good.write(Chunk::new(1, 1, 20_000), None);
        while let Some(sample) = reader.take_next_sample().expect("taken") {
            met[sample.value().writer as usize] = true;
        }
        met == [true; 2] && here.zerodds.stats().shared_samples > 0
    });
    eventually("all that is under way comes", || {
        let is_acknowledged = good.wait_for_acknowledgments(PATIENCE).expect("reliable")
            && bad.wait_for_acknowledgments(PATIENCE).expect("reliable");
        is_acknowledged && reader.take_next_sample().expect("taken").is_none()
    });
    let mut written = Vec::new();
    for number in (0..40).step_by(2) {
        bad.write(Chunk::new(0, number, 100), None).expect("written");
        assert!(bad.wait_for_acknowledgments(PATIENCE).expect("reliable"), "it has come");
        let read = reader.take_next_sample();
        assert!(matches!(read, Err(ReadError::Deserialization { .. })), "{number} is looked at first");
        if good.write(Chunk::new(2, number + 1, 100), None).is_ok() {
            written.push(number + 1);
        }
    }
    assert!(written.len() <= 2, "there is room for two, and none was taken: {written:?}");
    assert!(!written.is_empty());
    for number in written {
        let taken = std::iter::from_fn(|| reader.take_next_sample().expect("taken"));
        eventually("it comes", {
            let mut taken = taken.map(|sample| sample.value().number);
            move || taken.next().is_some_and(|taken| taken == number)
        });
    }
    eventually("there is room again", || good.write(Chunk::new(2, 1, 100), None).is_ok());
}

#[test]
fn a_stream_of_a_reader_that_was_read_before_says_what_it_cannot_decode() {
    let (_parties, writer, mut reader) = picky("undecodable-stream");
    writer.write(Chunk::new(1, 1, 100), None).expect("written");
    // A stream passes over what was read.
    eventually("it is read", || reader.read_next_sample().expect("read").is_some());
    let mut stream = reader.async_sample_stream();
    for number in (0..20).step_by(2) {
        writer.write(Chunk::new(1, number, 100), None).expect("what cannot be decoded is not under way");
        let is_error = |next| matches!(next, Some(Some(Err(ReadError::Deserialization { .. }))));
        eventually("it is looked at", || is_error(stream.next().now_or_never()));
        assert!(stream.next().now_or_never().is_none(), "nothing else has come");
    }
    writer.write(Chunk::new(1, 21, 100), None).expect("written");
    let last = block_on(stream.next()).expect("endless").expect("taken");
    assert_eq!((last.value().number, last.value().data.len()), (21, 100));
}
