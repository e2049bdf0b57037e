//! Readers of several kinds on one topic: each gets every sample once, in order and whole.

mod parties;

use parties::*;
use rustdds::policy::History;
use rustdds::{
    DomainParticipant, QosPolicies, RTPSEntity, ReadCondition, StatusEvented, TopicKind, no_key as plain,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zerodds_rustdds::PeerPath;

type PlainReader = plain::DataReader<Chunk, rustdds::CDRDeserializerAdapter<Chunk>>;

fn plain_reader(participant: &DomainParticipant, topic: &str, qos: &QosPolicies) -> PlainReader {
    let topic = participant
        .create_topic(topic.into(), CHUNK.into(), &QosPolicies::qos_none(), TopicKind::NoKey)
        .expect("a topic");
    let subscriber = participant.create_subscriber(qos).expect("a subscriber");
    subscriber.create_datareader_no_key_cdr(&topic, Some(qos.clone())).expect("a reader")
}

/// What a reader of either kind has for us.
fn drain(take: &mut dyn FnMut() -> Vec<Chunk>, seen: &mut Vec<u32>) {
    for chunk in take() {
        assert!(chunk.is_intact());
        if chunk.writer == 1 {
            seen.push(chunk.number);
        }
    }
}

/// With `neighbours`, some participants have two readers. Best effort, one sample is under way at a time: UDP loses none
/// that a socket has room for.
fn mixed(qos: &QosPolicies, count: u32, neighbours: bool, described: u64) {
    log::listen();
    let (here, there) = (Party::new(), Party::new());
    let elsewhere = DomainParticipant::new(domain()).expect("a participant");
    let both = Party::new();
    let topic = unique(&format!("mixed-{neighbours}-{described}"));
    let writer = here.writer(&topic, qos);
    let third = if neighbours { &there } else { &both };
    let mut shared = [there.reader(&topic, qos), third.reader(&topic, qos), here.reader(&topic, qos)];
    let mut far = plain_reader(&elsewhere, &topic, qos);
    let (fourth, fifth) = (Party::new(), DomainParticipant::new(domain()).expect("a participant"));
    let fourth = if neighbours { &both } else { &fourth };
    let mut beside = fourth.reader(&topic, qos);
    let mut beside_plain = plain_reader(if neighbours { &both.participant } else { &fifth }, &topic, qos);

    eventually("everybody is matched, and samples take the ways that they should", || {
        let before = here.zerodds.stats().descriptors;
        writer.write(Chunk::new(0, 0, 16 << 10), None).expect("written");
        let mut met = [false; 6];
        for _ in 0..200 {
            for (met, reader) in met.iter_mut().zip(shared.iter_mut().chain([&mut beside])) {
                *met |= !reader.take(usize::MAX, ReadCondition::any()).expect("taken").is_empty();
            }
            for (met, reader) in met[4..].iter_mut().zip([&mut far, &mut beside_plain]) {
                // What was described before we knew of a plain reader is an error for it, once.
                *met |= reader.take(usize::MAX, ReadCondition::any()).is_ok_and(|taken| !taken.is_empty());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        met == [true; 6] && here.zerodds.stats().descriptors - before == described
    });

    // Where nobody shares, that is what the session says of everybody, and in the log, with the topic.
    let said = || log::lines_with(&[&format!("topic {topic}:"), "samples go by UDP to all readers"]);
    let shares = |peer: &PeerPath| peer.is_shared();
    assert_eq!(here.zerodds.paths().iter().any(shares), described > 0, "{:?}", here.zerodds.paths());
    if described == 0 {
        eventually("it is said", || !said().is_empty());
        let why =
            if neighbours { "two readers are in one participant" } else { "not all readers are reliable" };
        assert!(said()[0].contains(why), "{:?}", said());
    }

    let at_once = if qos.is_reliable() { 4 } else { 1 };
    let mut seen = vec![Vec::new(); 6];
    for number in 0..count {
        writer
            .write(Chunk::new(1, number, 10_000 + (number as usize * 977) % 60_000), None)
            .expect("written");
        if (number + 1) % at_once == 0 || number + 1 == count {
            eventually("everybody has what was written", || {
                for (seen, reader) in seen.iter_mut().zip(shared.iter_mut().chain([&mut beside])) {
                    drain(&mut || reader.into_iterator().expect("taken").collect(), seen);
                }
                for (seen, reader) in seen[4..].iter_mut().zip([&mut far, &mut beside_plain]) {
                    drain(&mut || reader.into_iterator().expect("taken").collect(), seen);
                }
                seen.iter().all(|seen| seen.len() as u32 > number)
            });
        }
    }
    let expected: Vec<u32> = (0..count).collect();
    for (reader, seen) in seen.iter().enumerate() {
        assert_eq!(seen, &expected, "reader {reader}");
    }
    assert_eq!(said().len(), usize::from(described == 0), "once: {:?}", said());
}

#[test]
fn every_kind_of_reliable_reader_gets_every_sample_once_and_in_order() {
    mixed(&reliable(History::KeepLast { depth: 64 }), 100, false, 4);
}

#[test]
fn readers_that_share_a_participant_on_a_mixed_topic_get_every_sample_once_and_in_order() {
    // A gap that one of them is told of would let RustDDS give up what the other waits for: they all get plain ones.
    mixed(&reliable(History::KeepLast { depth: 64 }), 100, true, 0);
}

#[test]
fn every_kind_of_best_effort_reader_that_keeps_up_gets_every_sample_once_and_in_order() {
    // RustDDS keeps gaps of best-effort readers for ever, so they all get plain samples.
    mixed(&best_effort(64), 100, false, 0);
}

#[test]
fn a_plain_reader_that_comes_and_goes_only_changes_the_way() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("guest");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let mut number = 0;
    let mut write = |reader: &mut _| {
        writer.write(Chunk::new(1, number, 50_000), None).expect("written");
        assert_eq!(next(reader).number, number);
        number += 1;
    };
    for _ in 0..3 {
        let mut guest = plain_reader(&there.participant, &topic, &qos);
        eventually("samples go plain, since the guest reads in the same participant", || {
            let before = here.zerodds.stats();
            write(&mut reader);
            // What was described before we knew of the guest is an error for it, once.
            let _ = guest.take(usize::MAX, ReadCondition::any());
            here.zerodds.stats().plain_samples > before.plain_samples
        });
        drop(guest);
        eventually("samples go by shared memory again", || {
            let before = here.zerodds.stats();
            write(&mut reader);
            here.zerodds.stats().shared_samples > before.shared_samples
        });
    }
}

#[test]
fn a_reader_of_which_only_its_status_is_followed_leaves_its_neighbours_their_shared_memory() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("followed");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut first = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut first]);
    let samples = first.async_sample_stream();
    let events = samples.async_event_stream();
    // RustDDS keeps the reader for the other stream.
    drop(samples);
    let mut second = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut second]);
    drop(events);
    let mut third = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut second, &mut third]);
}

#[test]
fn while_a_link_ends_nothing_is_directed_to_one_of_two_neighbours() {
    let (here, there, far) = (Party::new(), Party::new(), Party::new());
    let topic = unique("neighbours");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut readers = [there.reader(&topic, &qos), there.reader(&topic, &qos), far.reader(&topic, &qos)];
    let [first, second, third] = &mut readers;
    meet(&here, &writer, &mut [first, second, third]);
    let mut numbers = 0..;
    let mut write = || {
        let number = numbers.next().expect("endless");
        let (described, arrived) = (here.zerodds.stats().descriptors, far.zerodds.stats().arrived_samples);
        writer.write(Chunk::new(1, number, 20_000), None).expect("written");
        for reader in &mut readers {
            let chunk = next(reader);
            assert!(chunk.number == number && chunk.is_intact(), "{} is not {number}", chunk.number);
        }
        let is_described = here.zerodds.stats().descriptors > described;
        let has_arrived = far.zerodds.stats().arrived_samples > arrived;
        assert!(has_arrived || !is_described, "what is described is for all");
        is_described
    };
    for _ in 0..50 {
        eventually("samples are shared", &mut write);
        here.zerodds.disconnect(prefix(&far));
        write();
    }
}

#[test]
fn plain_readers_lose_nothing_for_long_where_the_program_goes_on_reading_the_participants_own_listener() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("listener");
    let qos = reliable(History::KeepLast { depth: 64 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let (is_over, listener) = (AtomicBool::new(false), here.participant.status_listener());
    std::thread::scope(|scope| {
        let program = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                while listener.try_recv_status().is_some() {}
                std::thread::yield_now();
            }
        });
        let mut numbers = 0..;
        let mut write = || {
            let number = numbers.next().expect("endless");
            writer.write(Chunk::new(1, number, 20_000), None).expect("written");
            assert_eq!(next(&mut reader).number, number);
            number
        };
        for _ in 0..4 {
            let other = DomainParticipant::new(domain()).expect("a participant");
            let mut plain = plain_reader(&other, &topic, &qos);
            let guid = plain.guid();
            let mut take = |number| {
                // What was described is an error for it, once.
                let taken = plain.take(usize::MAX, ReadCondition::any()).unwrap_or_default();
                taken.iter().any(|sample| sample.value().number == number)
            };
            let mut is_given = || {
                let number = write();
                within(Duration::from_millis(20), || take(number))
            };
            eventually("it is given samples", &mut is_given);
            // That may have been for the sake of who was there before it, and is for its own from now on.
            eventually("it is known", || {
                let known = here.participant.discovered_readers();
                known.iter().any(|reader| reader.reader_proxy.remote_reader_guid == guid)
            });
            eventually("it is given samples still", is_given);
            for _ in 0..10 {
                let number = write();
                eventually("it is given each", || take(number));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        program.join().expect("no panic");
    });
}
