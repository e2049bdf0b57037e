//! Everybody at once: plug-in readers on this host and on another, plain RustDDS, and Cyclone DDS.
#![cfg(target_os = "linux")]

mod parties;

mod foreign {
    #[path = "../processes/child.rs"]
    pub(crate) mod child;
    /// Cyclone DDS.
    pub(crate) mod cyclone;
    /// Hosts.
    pub(crate) mod namespaces;
}

use foreign::child::{Process, commands, fresh_domain, role, tell};
use foreign::{cyclone, namespaces};
use parties::*;
use rustdds::{DomainParticipant, QosPolicies, ReadCondition, TopicKind, no_key as plain};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use zerodds_rustdds::{Config, ZeroDds};

const SAMPLES: u32 = 200;

/// From 100 bytes to 200,000, in no order, on both sides of the threshold.
fn len(number: u32) -> usize {
    100 + (number as usize * 77_777) % 199_901
}

fn qos() -> QosPolicies {
    keep_all(64, 60_000)
}

fn join(domain: u16) -> Party {
    let participant = DomainParticipant::new(domain).expect("a participant");
    let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
    Party { participant, zerodds }
}

/// Not a test: a reader in a process of its own, when it is one. It speaks as the Cyclone reader does.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    let (party, _commands) = (join(words[0].parse().expect("a domain")), commands());
    let mut reader = party.reader(&words[1], &qos());
    let (mut heard, mut following) = (false, 0);
    loop {
        for sample in reader.take(usize::MAX, ReadCondition::any()).expect("taken") {
            let chunk = sample.into_value();
            assert!(chunk.is_intact(), "{}", chunk.number);
            if chunk.writer == 0 {
                if !std::mem::replace(&mut heard, true) {
                    tell("heard");
                }
                continue;
            }
            assert_eq!(chunk.number, following);
            following += 1;
            tell(chunk.number);
        }
        std::thread::park_timeout(Duration::from_micros(500));
    }
}

/// One reader, wherever it is: what it has said or given since the last look. `None` stands for a sample that settles.
enum Reader {
    Shared(zerodds_rustdds::no_key::DataReader<Chunk>),
    Plain(plain::DataReader<Chunk>),
    Other(Process),
}

impl Reader {
    fn look(&mut self) -> Vec<Option<u32>> {
        let chunks: Vec<Chunk> = match self {
            Self::Shared(reader) => reader.into_iterator().expect("taken").collect(),
            // What was described before we knew of a plain reader is an error for it, once.
            Self::Plain(reader) => reader.into_iterator().map(Iterator::collect).unwrap_or_default(),
            Self::Other(process) => {
                let lines = std::iter::from_fn(|| process.try_hear());
                return lines.map(|line| line.parse().ok()).collect();
            }
        };
        let numbers = chunks.iter().map(|chunk| {
            assert!(chunk.is_intact(), "{}", chunk.number);
            (chunk.writer != 0).then_some(chunk.number)
        });
        numbers.collect()
    }
}

fn plain_reader(participant: &DomainParticipant, topic: &str) -> plain::DataReader<Chunk> {
    let topic = participant
        .create_topic(topic.into(), CHUNK.into(), &QosPolicies::qos_none(), TopicKind::NoKey)
        .expect("a topic");
    let subscriber = participant.create_subscriber(&qos()).expect("a subscriber");
    subscriber.create_datareader_no_key_cdr(&topic, Some(qos())).expect("a reader")
}

/// Everybody; `neighbours` says whether two of the readers here share a participant.
fn everybody(neighbours: bool) {
    let (domain, topic) = (fresh_domain(), unique("everybody"));
    let elsewhere = namespaces::start_elsewhere(&format!("{domain} {topic}"));
    let (here, parties) = (join(domain), [join(domain), join(domain), join(domain)]);
    let without = DomainParticipant::new(domain).expect("a participant");
    let second = if neighbours { &parties[0] } else { &parties[1] };
    let mut readers = vec![
        ("one in the first participant", Reader::Shared(parties[0].reader(&topic, &qos()))),
        ("one beside it, or in the second", Reader::Shared(second.reader(&topic, &qos()))),
        ("one in the third participant", Reader::Shared(parties[2].reader(&topic, &qos()))),
        ("plain RustDDS", Reader::Plain(plain_reader(&without, &topic))),
        ("one on another host", Reader::Other(elsewhere)),
    ];
    readers
        .extend(cyclone::start_reader(domain, &topic).map(|reader| ("Cyclone DDS", Reader::Other(reader))));
    let writer = here.writer(&topic, &qos());

    // A descriptor for each participant here and the sample itself for all others, or that for all.
    let described = if neighbours { 0 } else { parties.len() as u64 };
    let mut heard = vec![false; readers.len()];
    eventually("everybody is matched, and samples go the ways that they should", || {
        let before = here.zerodds.stats().descriptors;
        writer.write(Chunk::new(0, 0, 16 << 10), None).expect("written");
        for (heard, (_, reader)) in heard.iter_mut().zip(&mut readers) {
            *heard |= !reader.look().is_empty();
        }
        std::thread::sleep(Duration::from_millis(10));
        heard.iter().all(|heard| *heard) && here.zerodds.stats().descriptors - before == described
    });

    let before = here.zerodds.stats().descriptors;
    let mut seen = vec![Vec::new(); readers.len()];
    for number in 0..SAMPLES {
        writer.write(Chunk::new(1, number, len(number)), None).expect("written");
        eventually("the slowest reader has it", || {
            for (seen, (_, reader)) in seen.iter_mut().zip(&mut readers) {
                seen.extend(reader.look().into_iter().flatten());
            }
            seen.iter().all(|seen| seen.len() as u32 > number)
        });
    }
    let expected: Vec<u32> = (0..SAMPLES).collect();
    for ((name, _), seen) in readers.iter().zip(&seen) {
        assert_eq!(seen, &expected, "{name}");
    }
    let large = (0..SAMPLES).filter(|&number| len(number) >= 8 << 10).count() as u64;
    assert_eq!(here.zerodds.stats().descriptors - before, described * large, "each went the same way");
}

#[test]
fn readers_here_and_elsewhere_of_rustdds_and_of_others_get_every_sample_once_in_order_and_intact() {
    let test =
        "readers_here_and_elsewhere_of_rustdds_and_of_others_get_every_sample_once_in_order_and_intact";
    if namespaces::on_a_host_of_its_own(test) {
        everybody(false);
    }
}

#[test]
fn so_do_they_where_two_of_them_share_a_participant() {
    if namespaces::on_a_host_of_its_own("so_do_they_where_two_of_them_share_a_participant") {
        everybody(true);
    }
}

/// In the moment in which it joins a descriptor may still reach it. It passes over that as over any sample that it cannot
/// read, if the second octet of the representation is one that it knows; if not, it takes the whole message for malformed
/// and asks for it again for ever.
#[test]
fn a_cyclone_reader_that_joins_a_writer_at_full_rate_follows_it() {
    let (domain, topic) = (fresh_domain(), unique("joins"));
    let (here, there) = (join(domain), join(domain));
    let writer = here.writer(&topic, &qos());
    let mut near = there.reader(&topic, &qos());
    meet(&here, &writer, &mut [&mut near]);
    let (over, written) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // A failed assertion ends the other threads too.
        let _over = Finally(|| over.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                writer.write(Chunk::new(1, number, 9_000), None).expect("written");
                written.store(number + 1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let mut following = 0;
            while !over.load(Ordering::Relaxed) || following < written.load(Ordering::Relaxed) {
                for sample in near.take(usize::MAX, ReadCondition::any()).expect("taken") {
                    assert_eq!(sample.value().number, following);
                    following += 1;
                }
                std::thread::park_timeout(Duration::from_micros(500));
            }
        });
        eventually("many are written", || written.load(Ordering::Relaxed) > 200);
        for _ in 0..10 {
            let Some(mut reader) = cyclone::start_reader(domain, &topic) else { return };
            let mut seen: Vec<u32> = Vec::new();
            eventually("it follows", || {
                seen.extend(
                    std::iter::from_fn(|| reader.try_hear()).filter_map(|line| line.parse::<u32>().ok()),
                );
                seen.len() > 100
            });
            // Killed, it would hold the writer up until its lease ends.
            reader.finish();
            let (first, len) = (seen[0], seen.len() as u32);
            assert_eq!(seen, (first..first + len).collect::<Vec<_>>());
        }
    });
}

/// Does something at the end of its scope, however that comes.
struct Finally<F: Fn()>(F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
