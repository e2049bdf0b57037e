//! The policies beyond the matrix, as far as RustDDS knows them: LIFESPAN, DEADLINE, LIVELINESS, OWNERSHIP,
//! DESTINATION_ORDER, TIME_BASED_FILTER, PRESENTATION, LATENCY_BUDGET. (It has no PARTITION.)

use crate::parties::{eventually, unique, within};
use crate::qos::matrix::compare;
use crate::qos::play::{Scene, greet, time, wait_for_matches};
use crate::qos::stage::{Cast, Eye, Pen, Row, Stage, What};
use rustdds::dds::qos::QosPolicyId;
use rustdds::policy::*;
use rustdds::{
    DataReaderStatus, DataWriterStatus, Duration as Span, QosPolicies, QosPolicyBuilder, Timestamp,
};
use std::time::{Duration, Instant};

const LARGE: usize = 100_000;
const SECOND: Span = Span::from_secs(1);
const TEN: Span = Span::from_secs(10);

fn reliable(depth: i32) -> QosPolicyBuilder {
    QosPolicyBuilder::new()
        .reliable(TEN)
        .history(History::KeepLast { depth })
        .durability(Durability::Volatile)
}

const fn presentation(access_scope: PresentationAccessScope, ordered_access: bool) -> Presentation {
    Presentation { access_scope, coherent_access: false, ordered_access }
}

/// By name: what the writer offers and the reader requests, beside reliable KEEP_LAST(4).
type Row3 =
    (&'static str, fn(QosPolicyBuilder) -> QosPolicyBuilder, fn(QosPolicyBuilder) -> QosPolicyBuilder);

const MATCHING: &[Row3] = &[
    ("deadline", |qos| qos.deadline(Deadline(SECOND)), |qos| qos.deadline(Deadline(TEN))),
    (
        "liveliness_automatic",
        |qos| qos.liveliness(Liveliness::Automatic { lease_duration: SECOND }),
        |qos| qos.liveliness(Liveliness::Automatic { lease_duration: TEN }),
    ),
    (
        "liveliness_manual_by_participant",
        |qos| qos.liveliness(Liveliness::ManualByParticipant { lease_duration: TEN }),
        |qos| qos.liveliness(Liveliness::Automatic { lease_duration: TEN }),
    ),
    (
        "liveliness_manual_by_topic",
        |qos| qos.liveliness(Liveliness::ManualByTopic { lease_duration: TEN }),
        |qos| qos.liveliness(Liveliness::ManualByTopic { lease_duration: TEN }),
    ),
    (
        "ownership_exclusive",
        |qos| qos.ownership(Ownership::Exclusive { strength: 7 }),
        |qos| qos.ownership(Ownership::Exclusive { strength: 0 }),
    ),
    (
        "destination_order",
        |qos| qos.destination_order(DestinationOrder::BySourceTimeStamp),
        |qos| qos.destination_order(DestinationOrder::ByReceptionTimestamp),
    ),
    // RustDDS does not filter by time.
    (
        "time_based_filter",
        |qos| qos,
        |qos| qos.time_based_filter(TimeBasedFilter { minimum_separation: TEN }),
    ),
    (
        "presentation",
        |qos| qos.presentation(presentation(PresentationAccessScope::Topic, true)),
        |qos| qos.presentation(presentation(PresentationAccessScope::Instance, false)),
    ),
    (
        "latency_budget",
        |qos| qos.latency_budget(LatencyBudget { duration: SECOND }),
        |qos| qos.latency_budget(LatencyBudget { duration: TEN }),
    ),
    ("lifespan_long", |qos| qos.lifespan(Lifespan { duration: Span::INFINITE }), |qos| qos),
    // What is not offered is not missed.
    ("reader_best_effort", |qos| qos, QosPolicyBuilder::best_effort),
    ("writer_durable", |qos| qos.durability(Durability::TransientLocal), |qos| qos),
    (
        "writer_persistent",
        |qos| qos.durability(Durability::Persistent),
        |qos| qos.durability(Durability::Transient),
    ),
    // RustDDS compares lease durations only.
    (
        "liveliness_of_a_weaker_kind",
        |qos| qos.liveliness(Liveliness::Automatic { lease_duration: TEN }),
        |qos| qos.liveliness(Liveliness::ManualByTopic { lease_duration: TEN }),
    ),
];

#[test]
fn policies_that_only_have_to_match_change_nothing_about_the_samples() {
    let (plain, plug_in) = (Stage::new(Cast::Plain), Stage::new(Cast::PlugIn));
    let mut complaints = Vec::new();
    for (nth, (name, offered, requested)) in MATCHING.iter().enumerate() {
        let writer = offered(reliable(4)).build();
        let shared = writer.durability() == Some(Durability::Volatile);
        let reader = requested(reliable(4)).build();
        let scene = Scene { name: (*name).into(), writer, reader, len: LARGE, keyed: nth % 2 == 0, shared };
        complaints.extend(compare(&scene, scene.play(&plain), scene.play(&plug_in)));
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// By the policy at fault.
const NOT_MATCHING: &[(QosPolicyId, Row3)] = &[
    (QosPolicyId::Reliability, ("reliability", QosPolicyBuilder::best_effort, |qos| qos)),
    (QosPolicyId::Durability, ("durability", |qos| qos, |qos| qos.durability(Durability::TransientLocal))),
    (
        QosPolicyId::Deadline,
        ("deadline", |qos| qos.deadline(Deadline(TEN)), |qos| qos.deadline(Deadline(SECOND))),
    ),
    (
        QosPolicyId::Liveliness,
        (
            "liveliness",
            |qos| qos.liveliness(Liveliness::Automatic { lease_duration: TEN }),
            |qos| qos.liveliness(Liveliness::Automatic { lease_duration: SECOND }),
        ),
    ),
    (
        QosPolicyId::Ownership,
        ("ownership", |qos| qos, |qos| qos.ownership(Ownership::Exclusive { strength: 1 })),
    ),
    (
        QosPolicyId::DestinationOrder,
        ("destination_order", |qos| qos, |qos| qos.destination_order(DestinationOrder::BySourceTimeStamp)),
    ),
    (
        QosPolicyId::Presentation,
        (
            "presentation",
            |qos| qos,
            |qos| qos.presentation(presentation(PresentationAccessScope::Topic, false)),
        ),
    ),
    (
        QosPolicyId::LatencyBudget,
        (
            "latency_budget",
            |qos| qos.latency_budget(LatencyBudget { duration: TEN }),
            |qos| qos.latency_budget(LatencyBudget { duration: SECOND }),
        ),
    ),
];

#[test]
fn what_does_not_match_is_refused_by_the_same_policy() {
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        for (policy, (name, offered, requested)) in NOT_MATCHING {
            let topic = unique(&format!("refused-{name}"));
            let writer = stage.writer(&topic, false, &offered(reliable(4)).build());
            let reader = stage.reader(Stage::PROMPT, &topic, false, &requested(reliable(4)).build());
            eventually(&format!("{cast:?}: {policy:?} is refused by the writer"), || {
                let status = writer.status();
                matches!(status, Some(DataWriterStatus::OfferedIncompatibleQos { last_policy_id, .. }) if last_policy_id == *policy)
            });
            eventually(&format!("{cast:?}: {policy:?} is refused by the reader"), || {
                let status = reader.status();
                matches!(status, Some(DataReaderStatus::RequestedIncompatibleQos { last_policy_id, .. }) if last_policy_id == *policy)
            });
        }
    }
}

/// A writer and a reader that have met.
fn pair(stage: &Stage, name: &str, writer: QosPolicies, reader: QosPolicies) -> (Box<dyn Pen>, Box<dyn Eye>) {
    let topic = unique(name);
    let writer = stage.writer(&topic, false, &writer);
    let mut reader = stage.reader(Stage::PROMPT, &topic, false, &reader);
    wait_for_matches(&*writer, 1, &[&*reader]);
    greet(stage, &*writer, &mut *reader, LARGE);
    (writer, reader)
}

/// What the reader takes until number `last` comes.
fn take_until(reader: &mut dyn Eye, last: u32) -> Vec<What> {
    let mut taken = Vec::new();
    eventually("the last one comes", || {
        taken.extend(reader.take().into_iter().map(|seen| seen.what));
        taken.last() == Some(&What::Sample(last))
    });
    taken
}

#[test]
fn a_deadline_is_missed_by_a_silent_writer_and_not_by_shared_samples() {
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let period = Duration::from_millis(300);
        let qos = reliable(4).deadline(Deadline(period.into())).build();
        let (writer, mut reader) = pair(&stage, "missed", qos.clone(), qos);
        let missed = |reader: &dyn Eye| {
            std::iter::from_fn(|| reader.status())
                .filter(|status| matches!(status, DataReaderStatus::RequestedDeadlineMissed { .. }))
                .count()
        };
        missed(&*reader);
        // A machine that is too busy to write in time misses deadlines rightly.
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        for number in 0..40 {
            writer.write(Row::new(0, number, LARGE), None);
            take_until(&mut *reader, number);
            longest = longest.max(last.elapsed());
            last = Instant::now();
            std::thread::sleep(Duration::from_millis(25));
        }
        let early = missed(&*reader);
        assert!(early == 0 || longest > period / 2, "{cast:?}: {early} missed, at most {longest:?} apart");
        eventually("the deadline is missed", || missed(&*reader) > 0);
    }
}

#[test]
fn liveliness_can_be_asserted() {
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        for (name, liveliness) in [
            ("by_participant", Liveliness::ManualByParticipant { lease_duration: SECOND }),
            ("by_topic", Liveliness::ManualByTopic { lease_duration: SECOND }),
        ] {
            let qos = reliable(4).liveliness(liveliness).build();
            let (writer, mut reader) = pair(&stage, name, qos.clone(), qos);
            writer.assert_liveliness();
            writer.write(Row::new(0, 1, LARGE), None);
            take_until(&mut *reader, 1);
        }
    }
}

#[test]
fn samples_come_in_the_order_of_writing_whatever_their_source_timestamps() {
    // RustDDS matches DESTINATION_ORDER and does not sort by it.
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let qos = reliable(16).destination_order(DestinationOrder::BySourceTimeStamp).build();
        let (writer, mut reader) = pair(&stage, "backwards", qos.clone(), qos);
        for number in 1..=8 {
            writer.write(Row::new(0, number, LARGE), Some(time(100 - number)));
        }
        assert!(writer.is_acknowledged());
        let taken = reader.take();
        let numbers: Vec<_> = taken.iter().map(|seen| seen.what).collect();
        assert_eq!(numbers, (1..=8).map(What::Sample).collect::<Vec<_>>(), "{cast:?}");
        let stamps = taken.iter().map(|seen| seen.source_timestamp);
        assert!(stamps.eq((1..=8).map(|number| Some(time(100 - number)))), "{cast:?}");
    }
}

#[test]
fn the_weaker_writer_of_an_exclusive_topic_is_heard_too() {
    // RustDDS matches OWNERSHIP and does not arbitrate by strength.
    for cast in [Cast::Plain, Cast::PlugIn] {
        let stage = Stage::new(cast);
        let topic = unique("exclusive");
        let qos = |strength| reliable(16).ownership(Ownership::Exclusive { strength }).build();
        let writers = [stage.writer(&topic, false, &qos(1)), stage.writer(&topic, false, &qos(2))];
        let mut reader = stage.reader(Stage::PROMPT, &topic, false, &qos(0));
        writers.iter().for_each(|writer| wait_for_matches(&**writer, 1, &[]));
        let mut matched = 0;
        eventually("the reader is matched with both", || {
            matched +=
                usize::from(matches!(reader.status(), Some(DataReaderStatus::SubscriptionMatched { .. })));
            matched == 2
        });
        for number in 0..8 {
            writers[number as usize % 2].write(Row::new(0, number, LARGE), None);
            take_until(&mut *reader, number);
        }
    }
}

#[test]
fn a_sample_that_has_expired_is_not_given_to_a_reader_that_shares_memory() {
    // RustDDS looks at the reader's LIFESPAN, at the arrival of fragments only: a sample in one piece never expires.
    // (Its reliable reader of fragments is left out: it waits for them for ever.)
    let old = Timestamp::from_ticks(Timestamp::now().to_ticks() - (3600 << 32));
    let (of_both, of_the_writer, of_the_reader) = ([true, true], [true, false], [false, true]);
    for (cast, is_reliable, len, whose, old_comes) in [
        (Cast::Plain, false, 100, of_both, true),
        (Cast::Plain, true, 100, of_both, true),
        (Cast::Plain, false, LARGE, of_both, false),
        (Cast::Plain, false, LARGE, of_the_writer, true),
        (Cast::PlugIn, false, 100, of_both, true),
        (Cast::PlugIn, true, 100, of_both, true),
        (Cast::PlugIn, false, LARGE, of_both, false),
        (Cast::PlugIn, true, LARGE, of_both, false),
        (Cast::PlugIn, true, LARGE, of_the_writer, false),
        (Cast::PlugIn, true, LARGE, of_the_reader, false),
    ] {
        let stage = Stage::new(cast);
        let qos = |has_lifespan| {
            let qos = if is_reliable { reliable(16) } else { reliable(16).best_effort() };
            if has_lifespan { qos.lifespan(MINUTE) } else { qos }.build()
        };
        let (writer, mut reader) = pair(&stage, "expired", qos(whose[0]), qos(whose[1]));
        writer.write(Row::new(0, 1, len), Some(old));
        // One at a time, and young ones until one comes: by UDP two at once may be too many for the socket.
        let mut taken = if old_comes { take_until(&mut *reader, 1) } else { Vec::new() };
        let mut number = 1;
        eventually("a young one comes", || {
            number += 1;
            writer.write(Row::new(0, number, len), Some(Timestamp::now()));
            within(Duration::from_millis(500), || {
                taken.extend(reader.take().into_iter().map(|seen| seen.what));
                taken.last() == Some(&What::Sample(number))
            })
        });
        assert!(taken.is_sorted_by(|a, b| a < b), "each once, in order: {taken:?}");
        let has_come = taken.contains(&What::Sample(1));
        assert_eq!(
            has_come, old_comes,
            "{cast:?}, reliable: {is_reliable}, {len} bytes, {whose:?}: {taken:?}"
        );
    }
}

#[test]
fn what_expires_while_nobody_looks_is_freed_and_counted() {
    let stage = Stage::new(Cast::PlugIn);
    let qos = reliable(16).lifespan(Lifespan { duration: Span::from_millis(300) }).build();
    let (writer, mut reader) = pair(&stage, "freed", qos.clone(), qos);
    let stats = || stage.stats(Stage::PROMPT).expect("a session");
    let before = stats().expired_samples;
    for number in 1..=3 {
        writer.write(Row::new(0, number, LARGE), None);
    }
    eventually("the memory is given back though nobody takes", || {
        stats().expired_samples >= before + 3 && stats().held_bytes == 0
    });
    let mut number = 3;
    eventually("the connection is as good as before", || {
        number += 1;
        writer.write(Row::new(0, number, LARGE), None);
        within(Duration::from_millis(300), || {
            reader.take().iter().any(|seen| seen.what == What::Sample(number))
        })
    });
}

const MINUTE: Lifespan = Lifespan { duration: Span::from_secs(60) };
