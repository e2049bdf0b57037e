//! Many writers, many endpoints, and nothing left of them.

mod parties;

use parties::{
    CHUNK, Chunk, PATIENCE, Party, alone, alone_with, eventually, keep_all, meet, reliable, unique, within,
};
use rustdds::policy::{Durability, History, ResourceLimits};
use rustdds::{
    DomainParticipant, QosPolicies, QosPolicyBuilder, RTPSEntity, ReadCondition, TopicKind, no_key,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Room for everything that these tests leave untaken.
fn roomy() -> QosPolicies {
    let many = 4096;
    let limits = ResourceLimits { max_samples: many, max_instances: many, max_samples_per_instance: many };
    QosPolicyBuilder::new()
        .reliable(PATIENCE.into())
        .history(History::KeepAll)
        .durability(Durability::Volatile)
        .resource_limits(limits)
        .build()
}

#[test]
fn fifty_writers_of_one_topic_lose_and_repeat_nothing_and_keep_their_order() {
    const WRITERS: u32 = 50;
    const EACH: u32 = 40;
    let parties: Vec<_> = (0..5).map(|_| Party::new()).collect();
    let there = Party::new();
    let topic = unique("fifty");
    let mut reader = there.reader(&topic, &roomy());
    let writers: Vec<_> =
        (0..WRITERS).map(|nth| parties[nth as usize % parties.len()].writer(&topic, &roomy())).collect();
    let guids: Vec<_> = writers.iter().map(RTPSEntity::guid).collect();
    // One after the other is heard; only then is what counts written.
    for (nth, writer) in writers.iter().enumerate() {
        meet(&parties[nth % parties.len()], writer, &mut [&mut reader]);
    }
    let before: Vec<_> = parties.iter().map(|party| party.zerodds.stats()).collect();
    let seen = std::thread::scope(|scope| {
        for chunk in 0..parties.len() {
            let own: Vec<_> = (0..WRITERS).filter(|nth| *nth as usize % parties.len() == chunk).collect();
            let writers = &writers;
            scope.spawn(move || {
                for number in 0..EACH {
                    for &nth in &own {
                        let len = 9_000 + (nth * number) as usize % 20_000;
                        writers[nth as usize].write(Chunk::new(nth, number, len), None).expect("written");
                    }
                }
            });
        }
        let mut seen: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        eventually("all samples come", || {
            for sample in reader.take(usize::MAX, ReadCondition::any()).expect("taken") {
                let writer = sample.sample_info().writer_guid();
                let chunk = sample.into_value();
                assert!(chunk.is_intact());
                assert_eq!(writer, guids[chunk.writer as usize]);
                seen.entry(chunk.writer).or_default().push(chunk.number);
            }
            seen.values().map(Vec::len).sum::<usize>() as u32 >= WRITERS * EACH
        });
        seen
    });
    let expected: Vec<_> = (0..EACH).collect();
    for nth in 0..WRITERS {
        assert_eq!(seen.get(&nth), Some(&expected), "writer {nth}");
    }
    let shared: u64 = parties
        .iter()
        .zip(before)
        .map(|(party, before)| party.zerodds.stats().shared_samples - before.shared_samples)
        .sum();
    assert_eq!(shared, u64::from(WRITERS * EACH));
    let stats = there.zerodds.stats();
    assert_eq!((stats.held_samples, stats.gone_samples, stats.overflowed_samples), (0, 0, 0), "{stats:?}");
}

#[test]
fn two_hundred_endpoints_of_one_participant_exchange_with_another() {
    const TOPICS: u32 = 100;
    let (here, there) = (Party::new(), Party::new());
    let qos = reliable(History::KeepLast { depth: 4 });
    let names: Vec<_> = (0..TOPICS).map(|nth| unique(&format!("many-{nth}"))).collect();
    // Here a writer and a reader of each topic; there the other way round.
    let mut out: Vec<_> = names.iter().map(|name| here.writer(&format!("{name}-out"), &qos)).collect();
    let mut back: Vec<_> = names.iter().map(|name| here.reader(&format!("{name}-back"), &qos)).collect();
    let mut far: Vec<_> = names.iter().map(|name| there.reader(&format!("{name}-out"), &qos)).collect();
    let mut near: Vec<_> = names.iter().map(|name| there.writer(&format!("{name}-back"), &qos)).collect();
    let ways = [(&here, &mut out, &mut far), (&there, &mut near, &mut back)];
    for (from, writers, readers) in ways {
        for ((nth, writer), reader) in (0..).zip(writers).zip(readers) {
            let mut number = 0;
            eventually("a sample goes by shared memory", || {
                number += 1;
                let before = from.zerodds.stats().shared_samples;
                writer.write(Chunk::new(nth, number, 30_000), None).expect("written");
                // What was written before the match is not for this reader.
                let came = within(Duration::from_millis(500), || {
                    let taken = reader.take(usize::MAX, ReadCondition::any()).expect("taken");
                    let mut chunks = taken.into_iter().map(|sample| sample.into_value());
                    chunks.any(|chunk| chunk == Chunk::new(nth, number, 30_000))
                });
                came && from.zerodds.stats().shared_samples - before == 1
            });
            let before = from.zerodds.stats().shared_samples;
            for number in number + 1..=number + 5 {
                writer.write(Chunk::new(nth, number, 30_000), None).expect("written");
                assert_eq!(parties::next(reader), Chunk::new(nth, number, 30_000), "once it is matched");
            }
            assert_eq!(from.zerodds.stats().shared_samples - before, 5);
        }
    }
    assert_eq!((here.zerodds.stats().held_samples, there.zerodds.stats().held_samples), (0, 0));
}

/// What a process has of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Possessions {
    threads: usize,
    descriptors: usize,
    /// Mappings of memory that is shared.
    maps: usize,
}

impl Possessions {
    fn now() -> Self {
        let count = |path| std::fs::read_dir(path).expect("procfs").count();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
        let shared = |line: &&str| line.split_whitespace().nth(1).is_some_and(|flags| flags.ends_with('s'));
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
            maps: maps.lines().filter(shared).count(),
        }
    }
}

type PlainWriter = no_key::DataWriter<Chunk>;
type PlainReader = no_key::DataReader<Chunk>;

fn plain_exchange() {
    let domain = parties::domain();
    let [here, there] = [0, 1].map(|_| DomainParticipant::new(domain).expect("a participant"));
    let (none, qos) = (QosPolicies::qos_none(), roomy());
    let topic = |at: &DomainParticipant| {
        at.create_topic(unique("leak"), CHUNK.into(), &none, TopicKind::NoKey).expect("a topic")
    };
    let publisher = here.create_publisher(&none).expect("a publisher");
    let subscriber = there.create_subscriber(&none).expect("a subscriber");
    let writer: PlainWriter =
        publisher.create_datawriter_no_key_cdr(&topic(&here), Some(qos.clone())).expect("a writer");
    let mut reader: PlainReader =
        subscriber.create_datareader_no_key_cdr(&topic(&there), Some(qos)).expect("a reader");
    eventually("a sample comes", || {
        writer.write(Chunk::new(0, 0, 50_000), None).expect("written");
        std::thread::sleep(Duration::from_millis(5));
        reader.take_next_sample().expect("taken").is_some()
    });
}

fn exchange() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("leak");
    let writer = here.writer(&topic, &roomy());
    let mut reader = there.reader(&topic, &roomy());
    meet(&here, &writer, &mut [&mut reader]);
    // Some are left in the ring, in RTPS and with the reader; one is kept by the application until the end.
    for number in 0..10 {
        writer.write(Chunk::new(1, number, 200_000), None).expect("written");
    }
    let kept = parties::next(&mut reader);
    let _loan =
        writer.loan(100_000, |data| Chunk { writer: 1, number: 0, data, last: true }).expect("a loan");
    drop((reader, there));
    assert!(kept.is_intact(), "whoever has it keeps it");
}

/// In a process of its own: what other tests have comes and goes.
#[test]
#[ignore = "a role that another test starts"]
fn leftovers() {
    // RustDDS and the runtime set up once what they keep, and RustDDS's threads end a little later.
    let settled = |what: &str, at_most: Possessions| {
        let mut last = Possessions::now();
        eventually(&format!("{what}: {last:?} becomes {at_most:?}"), || {
            last = Possessions::now();
            last.threads <= at_most.threads
                && last.descriptors <= at_most.descriptors
                && last.maps <= at_most.maps
        });
    };
    let none = Possessions::now();
    plain_exchange();
    exchange();
    eventually("threads have ended", || Possessions::now().threads == none.threads);
    std::thread::sleep(Duration::from_millis(200));
    let first = Possessions::now();
    plain_exchange();
    eventually("threads have ended", || Possessions::now().threads == none.threads);
    let lost_by_rustdds = Possessions::now().descriptors.saturating_sub(first.descriptors);
    println!(
        "at first {none:?}, after the first round {first:?}; plain RustDDS leaves {lost_by_rustdds} descriptors"
    );
    assert_eq!(first.maps, none.maps, "no ring is left mapped");
    let before = Possessions::now();
    for _ in 0..5 {
        exchange();
    }
    let descriptors = before.descriptors + 5 * lost_by_rustdds;
    settled("after five sessions", Possessions { descriptors, ..before });
}

#[test]
fn nothing_is_left_of_sessions_that_have_ended() {
    alone("leftovers");
}

/// In a process of its own, since what is looked at is the memory of all of it.
#[test]
#[ignore = "a role that another test starts"]
fn memory_of_what_was_taken() {
    const LEN: usize = 1 << 19;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    };
    let there = Party::new();
    let (name, qos) = (unique("taken"), keep_all(8, 60_000));
    let mut reader = there.reader(&name, &qos);
    let here = DomainParticipant::new(parties::domain()).expect("a participant");
    let none = QosPolicies::qos_none();
    let topic = here.create_topic(name, CHUNK.into(), &none, TopicKind::NoKey).expect("a topic");
    let qos = reliable(History::KeepLast { depth: 1 });
    let publisher = here.create_publisher(&none).expect("a publisher");
    let writer: PlainWriter = publisher.create_datawriter_no_key_cdr(&topic, Some(qos)).expect("a writer");
    eventually("they are matched", || {
        writer.write(Chunk::new(0, 0, 10), None).expect("written");
        within(Duration::from_millis(20), || reader.take_next_sample().expect("taken").is_some())
    });
    let before = resident();
    for number in 0..300 {
        writer.write(Chunk::new(1, number, LEN), None).expect("written");
        eventually("it comes", || {
            let taken = reader.take_next_sample().expect("taken");
            taken.is_some_and(|sample| sample.value().writer == 1 && sample.value().number == number)
        });
    }
    // RustDDS trims what it keeps for a writer every few seconds.
    drop((writer, publisher, topic, here));
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 * LEN, "{} MiB for a reader with a limit of 8", grown >> 20);
}

#[test]
fn what_plain_writers_sent_a_reader_that_keeps_all_is_freed_as_it_is_taken_but_for_some_times_its_limit() {
    // What is freed is not kept by the allocator.
    alone_with("memory_of_what_was_taken", &[("MALLOC_MMAP_THRESHOLD_", "131072")]);
}
