//! Where the casts differ, and where RustDDS differs from DDS: each line of docs/qos.md that says so is tried here.

use crate::parties::{self, Chunk, PATIENCE, Party, best_effort, eventually, keep_all, meet, unique, within};
use crate::qos::play::{greet, wait_for_matches};
use crate::qos::stage::{Cast, Row, Stage, What};
use rustdds::dds::ReadError;
use rustdds::policy::{Durability, History, ResourceLimits};
use rustdds::qos::HasQoSPolicy;
use rustdds::{
    DataWriterStatus, DomainParticipant, Duration as Span, QosPolicies, QosPolicyBuilder, RTPSEntity,
    ReadCondition, TopicKind, WriteOptionsBuilder, no_key,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use zerodds_rustdds::Options;

const LARGE: usize = 100_000;

#[test]
fn a_best_effort_reader_that_keeps_all_has_the_newest_that_its_limit_holds() {
    const ROOM: u32 = 16;
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let topic = unique("best-effort-limited");
        let best_effort = QosPolicyBuilder::new().best_effort().build();
        let writer = stage.writer(&topic, false, &limited(64).modify_by(&best_effort));
        let mut reader =
            stage.reader(Stage::PROMPT, &topic, false, &limited(ROOM as i32).modify_by(&best_effort));
        wait_for_matches(&*writer, 1, &[&*reader]);
        greet(&stage, &*writer, &mut *reader, LARGE);
        for number in 1..=40 {
            assert!(writer.write(Row::new(0, number, LARGE), None), "best effort never waits");
        }
        let mut last = 40;
        eventually("the last is read", || {
            let is_read = within(Duration::from_millis(500), || {
                let mut read = reader.read(ReadCondition::any()).into_iter();
                read.any(|seen| matches!(seen.what, What::Sample(40..1_000)))
            });
            if !is_read {
                // By UDP the end of a burst may be lost.
                last += 1;
                assert!(writer.write(Row::new(0, last, LARGE), None), "best effort never waits");
            }
            is_read
        });
        let taken: Vec<_> = reader.take().into_iter().map(|seen| seen.what).collect();
        assert!(taken.len() <= ROOM as usize && taken.is_sorted(), "{cast:?}: {taken:?}");
    }
}

fn limited(max_samples: i32) -> QosPolicies {
    let limits = ResourceLimits { max_samples, max_instances: 1, max_samples_per_instance: max_samples };
    QosPolicyBuilder::new()
        .reliable(Span::from_millis(100))
        .history(History::KeepAll)
        .durability(Durability::Volatile)
        .resource_limits(limits)
        .build()
}

#[test]
fn a_reader_that_keeps_all_makes_a_writer_wait_where_plain_rustdds_drops() {
    const ROOM: u32 = 16;
    for cast in [Cast::Plain, Cast::PlugIn, Cast::Off] {
        let stage = Stage::new(cast);
        let topic = unique("limited");
        let writer = stage.writer(&topic, false, &limited(64));
        let mut reader = stage.reader(Stage::PROMPT, &topic, false, &limited(ROOM as i32));
        wait_for_matches(&*writer, 1, &[&*reader]);
        greet(&stage, &*writer, &mut *reader, LARGE);
        let written =
            (1..=40).take_while(|&number| writer.write(Row::new(0, number, LARGE), None)).count() as u32;
        assert!(writer.is_acknowledged());
        let taken: Vec<_> = reader.take().into_iter().map(|seen| seen.what).collect();
        let all: Vec<_> = (1..=written).map(What::Sample).collect();
        match cast {
            Cast::Plain | Cast::Off => {
                assert_eq!(written, 40, "nobody waits");
                assert_eq!(taken, all[all.len() - ROOM as usize..], "the oldest are lost");
            }
            Cast::PlugIn => {
                assert!((ROOM / 2..=ROOM).contains(&written), "{written} fit");
                assert_eq!(taken, all, "nothing is lost");
            }
        }
    }
}

/// What a reader made late finds of a writer that says nothing about DURABILITY: errors, and samples.
fn late_without_durability(cast: Cast, plain_reader: bool, len: usize) -> (usize, Vec<What>) {
    let stage = Stage::new(cast);
    let topic = unique("unsaid");
    let qos =
        QosPolicyBuilder::new().reliable(Span::from_secs(5)).history(History::KeepLast { depth: 16 }).build();
    let writer = stage.writer(&topic, false, &qos);
    let mut prompt = stage.reader(Stage::PROMPT, &topic, false, &qos);
    wait_for_matches(&*writer, 1, &[&*prompt]);
    greet(&stage, &*writer, &mut *prompt, LARGE);
    for number in 1..=3 {
        writer.write(Row::new(0, number, len), None);
    }
    assert!(writer.is_acknowledged());
    let mut late = if plain_reader {
        stage.plain_reader(Stage::LATE, &topic, false, &qos)
    } else {
        stage.reader(Stage::LATE, &topic, false, &qos)
    };
    wait_for_matches(&*writer, 1, &[&*late]);
    assert!(writer.is_acknowledged());
    let mut seen = Vec::new();
    let mut errors = 0;
    eventually("what is written after the match comes", || {
        writer.write(Row::new(0, 100, 100), None);
        assert!(writer.is_acknowledged());
        loop {
            match late.try_take() {
                Ok(taken) if taken.is_empty() => break,
                Ok(taken) => seen.extend(taken.into_iter().map(|seen| seen.what)),
                Err(ReadError::Deserialization { .. }) => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
        seen.last() == Some(&What::Sample(100))
    });
    seen.retain(|what| (1..=3).any(|number| *what == What::Sample(number)));
    (errors, seen)
}

#[test]
fn what_a_late_reader_finds_where_durability_is_left_unsaid() {
    let all: Vec<_> = (1..=3).map(What::Sample).collect();
    for (cast, plain_reader, len, expected) in [
        (Cast::Plain, true, 100, &all[..]),
        (Cast::Plain, true, LARGE, &all[..]),
        // Our writers say VOLATILE, which is what it means in DDS.
        (Cast::PlugIn, false, 100, &[]),
        (Cast::PlugIn, false, LARGE, &[]),
        (Cast::PlugIn, true, LARGE, &[]),
        // Without shared memory everything is RustDDS's own.
        (Cast::Off, false, 100, &all[..]),
        (Cast::Off, true, LARGE, &all[..]),
    ] {
        let (errors, seen) = late_without_durability(cast, plain_reader, len);
        assert_eq!(errors, 0);
        assert_eq!(seen, expected, "{cast:?}, plain reader: {plain_reader}, {len} bytes");
    }
}

#[test]
fn a_late_joiner_that_takes_as_it_comes_gets_what_the_writer_still_has() {
    // Whoever takes when all is there has exactly its depth: the matrix tries that. RustDDS's writer trims its history
    // by a timer, so until then more than that comes by.
    const WRITTEN: u32 = 40;
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let topic = unique("as-it-comes");
        let qos =
            QosPolicyBuilder::new().reliable(Span::from_secs(5)).history(History::KeepLast { depth: 4 });
        let qos = qos.durability(Durability::TransientLocal).build();
        let writer = stage.writer(&topic, false, &qos);
        for number in 0..WRITTEN {
            writer.write(Row::new(0, number, LARGE), None);
        }
        let mut late = stage.reader(Stage::LATE, &topic, false, &qos);
        let mut seen = Vec::new();
        eventually("the last comes", || {
            seen.extend(late.take().into_iter().map(|seen| seen.what));
            seen.last() == Some(&What::Sample(WRITTEN - 1))
        });
        let last: Vec<_> = (WRITTEN - 4..WRITTEN).map(What::Sample).collect();
        assert!(seen.ends_with(&last), "{cast:?}: its depth at least: {seen:?}");
        assert!(
            seen.is_sorted() && seen.len() <= WRITTEN as usize,
            "{cast:?}: in order, none twice: {seen:?}"
        );
    }
}

#[test]
fn a_sample_written_on_the_status_of_a_match_reaches_the_new_reader() {
    let stage = Stage::new(Cast::PlugIn);
    let topic = unique("on-status");
    let volatile = QosPolicyBuilder::new().durability(Durability::Volatile).build();
    let qos = parties::reliable(History::KeepLast { depth: 16 }).modify_by(&volatile);
    let writer = stage.writer(&topic, false, &qos);
    let mut resident = stage.reader(Stage::PROMPT, &topic, false, &qos);
    wait_for_matches(&*writer, 1, &[&*resident]);
    greet(&stage, &*writer, &mut *resident, LARGE);
    let mut lost = 0;
    for number in 1..=200 {
        let mut late = stage.reader(Stage::LATE, &topic, false, &qos);
        wait_for_matches(&*writer, 1, &[&*late]);
        assert!(writer.write(Row::new(0, number, 10_000), None));
        let came = within(PATIENCE, || late.take().iter().any(|seen| seen.what == What::Sample(number)));
        lost += u32::from(!came);
        resident.take();
        drop(late);
        eventually(
            "the late reader is gone",
            || matches!(writer.status(), Some(DataWriterStatus::PublicationMatched { current, .. }) if current.count() == 1),
        );
    }
    assert_eq!(lost, 0, "of 200");
}

fn plain_reader(
    participant: &DomainParticipant,
    topic: &str,
    qos: &QosPolicies,
) -> no_key::DataReader<Chunk> {
    let none = QosPolicies::qos_none();
    let topic = participant
        .create_topic(topic.into(), parties::CHUNK.into(), &none, TopicKind::NoKey)
        .expect("a topic");
    let subscriber = participant.create_subscriber(&none).expect("a subscriber");
    subscriber.create_datareader_no_key_cdr(&topic, Some(qos.clone())).expect("a reader")
}

#[test]
fn a_plain_reader_that_joins_at_full_rate_errs_for_earlier_descriptors_only() {
    let (here, there) = (Party::new(), Party::new());
    let elsewhere = DomainParticipant::new(parties::domain()).expect("a participant");
    let topic = unique("joins");
    let qos = keep_all(4096, 30_000);
    let volatile = qos.modify_by(&QosPolicyBuilder::new().durability(Durability::Volatile).build());
    let writer = here.writer(&topic, &volatile);
    let mut reader = there.reader(&topic, &volatile);
    meet(&here, &writer, &mut [&mut reader]);
    let written = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let joined = scope.spawn(|| {
            eventually("the writer is at full rate", || written.load(Ordering::Relaxed) > 500);
            let mut guest = plain_reader(&elsewhere, &topic, &volatile);
            let (mut seen, mut errors) = (Vec::<u32>::new(), 0);
            eventually("the guest sees five hundred", || {
                match guest.take(usize::MAX, ReadCondition::any()) {
                    Ok(taken) => seen.extend(taken.into_iter().map(|sample| sample.into_value().number)),
                    Err(_) => {
                        assert!(seen.is_empty(), "no error after the first sample");
                        errors += 1;
                    }
                }
                seen.len() >= 500
            });
            println!("{errors} errors, then {}", seen[0]);
            assert!(
                seen.windows(2).all(|two| two[1] == two[0] + 1),
                "nothing is lost from then on: {seen:?}"
            );
        });
        let (writer, written) = (&writer, &written);
        let writing = scope.spawn(move || {
            for number in 0.. {
                if joined.is_finished() {
                    return number;
                }
                writer.write(Chunk::new(1, number, 10_000), None).expect("written");
                written.store(number, Ordering::Relaxed);
            }
            unreachable!("endless")
        });
        let mut expected = 0;
        let mut read = || {
            for sample in reader.take(usize::MAX, ReadCondition::any()).expect("taken") {
                assert_eq!(sample.value().number, expected);
                expected += 1;
            }
            expected
        };
        eventually("the guest is served", || {
            read();
            writing.is_finished()
        });
        let all = writing.join().expect("no panic");
        eventually("the reader has everything", || read() == all);
    });
}

#[test]
fn samples_with_a_related_identity_and_directed_ones_travel_in_rtps() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("related");
    let qos = parties::reliable(History::KeepLast { depth: 16 });
    let publisher = here.zerodds.create_publisher(&qos).expect("a publisher");
    // In one piece: a debug build of RustDDS 0.15.1 panics when it sends fragments with a related identity.
    let eager = publisher.with_options(Options::default().threshold(0));
    let writer =
        eager.create_datawriter_no_key_cdr(&here.topic(&topic), Some(qos.clone())).expect("a writer");
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let guid = reader.guid();
    let mut write = |number, options| {
        let before = here.zerodds.stats();
        let identity = writer.write_with_options(Chunk::new(1, number, 500), options).expect("written");
        let mut sample = None;
        eventually("it comes", || {
            sample = reader.take_next_sample().expect("taken");
            sample.is_some()
        });
        let sample = sample.expect("found");
        assert!(sample.value().number == number && sample.value().is_intact());
        assert_eq!(sample.sample_info().sample_identity(), identity, "as the writer was told");
        let after = here.zerodds.stats();
        let shared = after.shared_samples - before.shared_samples;
        assert_eq!(shared + after.plain_samples - before.plain_samples, 1);
        (identity, sample.sample_info().related_sample_identity(), shared)
    };
    let (request, unrelated, shared) = write(1, WriteOptionsBuilder::new().build());
    assert_eq!((unrelated, shared), (None, 1));
    let (_, related, shared) = write(2, WriteOptionsBuilder::new().related_sample_identity(request).build());
    assert_eq!((related, shared), (Some(request), 0));
    let (_, _, shared) = write(3, WriteOptionsBuilder::new().to_single_reader(guid).build());
    assert_eq!(shared, 0);
}

#[test]
fn the_qos_of_a_reader_that_keeps_all_has_the_room_that_its_window_needs_and_no_other_history_is_touched() {
    let party = Party::new();
    for (limit, beyond) in [(1, 128), (200, 200), (1_000, 512)] {
        let reader = party.reader(&unique("qos"), &keep_all(limit, 0));
        assert_eq!(
            reader.qos().resource_limits().map(|limits| limits.max_samples),
            Some(4 * limit + beyond),
            "the window limits"
        );
    }
    let unsaid = QosPolicyBuilder::new().build();
    for qos in [unsaid, best_effort(2), parties::reliable(History::KeepLast { depth: 2 })] {
        assert_eq!(party.writer(&unique("qos"), &qos).qos().history(), qos.history());
        assert_eq!(party.reader(&unique("qos"), &qos).qos().history(), qos.history());
    }
}

#[test]
fn a_burst_of_a_writer_that_says_nothing_about_its_history_reaches_a_reader_that_has_room_for_it() {
    // Any socket has room for it, and no thread that sends keeps up with it.
    const BURST: u32 = 200;
    const BURSTS: u32 = 10;
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let topic = unique("unsaid-history");
        let writer = stage.writer(&topic, false, &QosPolicies::qos_none());
        let best_effort = QosPolicyBuilder::new().best_effort().build();
        let mut reader = stage.reader(Stage::PROMPT, &topic, false, &limited(4096).modify_by(&best_effort));
        wait_for_matches(&*writer, 1, &[&*reader]);
        greet(&stage, &*writer, &mut *reader, LARGE);
        for first in (0..BURSTS).map(|nth| nth * BURST) {
            let burst = first..first + BURST;
            let rows: Vec<_> = burst.clone().map(|number| Row::new(0, number, 100)).collect();
            rows.into_iter().for_each(|row| assert!(writer.write(row, None), "best effort never waits"));
            let mut taken = Vec::new();
            eventually("the last one comes", || {
                taken.extend(reader.take().into_iter().map(|seen| seen.what));
                taken.last() == Some(&What::Sample(burst.end - 1))
            });
            assert_eq!(taken, burst.map(What::Sample).collect::<Vec<_>>(), "{cast:?}");
        }
    }
}
