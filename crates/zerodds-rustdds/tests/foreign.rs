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

use foreign::child::{Process, commands, role, tell};
use foreign::{cyclone, namespaces};
use parties::*;
use rustdds::{DomainParticipant, QosPolicies, ReadCondition, TopicKind, no_key as plain};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use zerodds_rustdds::{Config, ZeroDds, no_key as shared};

/// How many samples are written, how long they are, and how fast.
#[derive(Clone, Copy)]
struct Pace {
    samples: u32,
    /// The longest, in bytes.
    longest: usize,
    /// How many the slowest reader may be behind.
    ahead: u32,
}

const LOCK_STEP: Pace = Pace { samples: 200, longest: 200_000, ahead: 1 };
/// Readers hold the writer up by nothing but what RTPS and our windows have for that.
const FULL_RATE: Pace = Pace { samples: 1_000, longest: 200_000, ahead: u32::MAX };
/// As much as fits the receive buffer of a socket, of which Linux makes 208 KiB: where more is lost than now and then,
/// RustDDS 0.15.1 alone stalls. Of 2,000 samples of up to 200,000 bytes at full rate among its own readers 269 came
/// through to the slowest, and with 16 under way 1,069.
const WINDOW: Pace = Pace { samples: 500, longest: 20_000, ahead: 4 };

impl Pace {
    /// From 100 bytes on, in no order, on both sides of the threshold.
    fn len(self, number: u32) -> usize {
        100 + (number as usize * 77_777) % (self.longest - 99)
    }
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
    Shared(shared::DataReader<Chunk>),
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
    // RustDDS alone acknowledges what its cache has no room for, and drops it: here it has room for all.
    subscriber.create_datareader_no_key_cdr(&topic, Some(keep_all(8_192, 0))).expect("a reader")
}

/// Writes all samples, each as soon as the pace allows it; what each reader has seen.
fn stream(writer: &shared::DataWriter<Chunk>, readers: &mut [(&str, Reader)], pace: Pace) -> Vec<Vec<u32>> {
    let slowest = AtomicU32::new(0);
    let mut seen = vec![Vec::new(); readers.len()];
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for number in 0..pace.samples {
                let follows = || number.saturating_sub(slowest.load(Ordering::Acquire)) < pace.ahead;
                eventually("the slowest reader follows", follows);
                writer.write(Chunk::new(1, number, pace.len(number)), None).expect("written in time");
            }
        });
        let mut least = 0;
        while least < pace.samples {
            // As long as something comes it is not too late.
            eventually("the slowest reader goes on", || {
                for (seen, (_, reader)) in seen.iter_mut().zip(readers.iter_mut()) {
                    seen.extend(reader.look().into_iter().flatten());
                }
                let before =
                    std::mem::replace(&mut least, seen.iter().map(Vec::len).min().unwrap_or(0) as u32);
                least > before
            });
            // Of a sample that comes twice nobody is to be ahead: that is seen afterwards.
            slowest.store(least.min(pace.samples - 1), Ordering::Release);
        }
        writing.join().expect("no panic");
    });
    seen
}

/// Everybody; `neighbours` says whether two of the readers here share a participant.
fn everybody(neighbours: bool, pace: Pace) {
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
    let seen = stream(&writer, &mut readers, pace);
    let expected: Vec<u32> = (0..pace.samples).collect();
    for ((name, _), seen) in readers.iter().zip(&seen) {
        assert_eq!(seen, &expected, "{name}");
    }
    let large = (0..pace.samples).filter(|&number| pace.len(number) >= 8 << 10).count() as u64;
    assert_eq!(here.zerodds.stats().descriptors - before, described * large, "each went the same way");
}

#[test]
fn readers_here_and_elsewhere_of_rustdds_and_of_others_get_every_sample_once_in_order_and_intact() {
    let test =
        "readers_here_and_elsewhere_of_rustdds_and_of_others_get_every_sample_once_in_order_and_intact";
    if namespaces::on_a_host_of_its_own(test) {
        everybody(false, LOCK_STEP);
    }
}

#[test]
fn so_do_they_where_two_of_them_share_a_participant() {
    if namespaces::on_a_host_of_its_own("so_do_they_where_two_of_them_share_a_participant") {
        everybody(true, LOCK_STEP);
    }
}

#[test]
fn at_full_rate_they_get_every_sample_once_in_order_and_intact_too() {
    if namespaces::on_a_host_of_its_own("at_full_rate_they_get_every_sample_once_in_order_and_intact_too") {
        everybody(false, FULL_RATE);
    }
}

#[test]
fn where_two_share_a_participant_they_do_so_at_the_rate_that_rustdds_can_do_by_itself() {
    let test = "where_two_share_a_participant_they_do_so_at_the_rate_that_rustdds_can_do_by_itself";
    if namespaces::on_a_host_of_its_own(test) {
        everybody(true, WINDOW);
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
