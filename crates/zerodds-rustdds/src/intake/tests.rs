//! What writers are told of what a reader took, and of what it was not given.

use super::*;
use crate::config::Config;
use crate::no_key::{DataReader, DataWriter};
use crate::protocol::{Note, incarnation};
use crate::session::ZeroDds;
use crate::{domains, eventually};
use rustdds::{DomainParticipant, RTPSEntity, TopicKind};
use std::ops::Range;

const WRITER: (Prefix, Entity) = ([1; 12], [2; 4]);

#[test]
fn the_limit_of_an_instance_is_not_taken_for_that_of_all_where_nobody_waits_for_it() {
    let limits = ResourceLimits { max_samples: 1_000, max_instances: 100, max_samples_per_instance: 10 };
    let keep_all = || QosPolicyBuilder::new().history(History::KeepAll).resource_limits(limits);
    let best_effort = Appetite::of(&keep_all().reliability(Reliability::BestEffort).build());
    assert_eq!((best_effort.keep, best_effort.limit), (Keep::All(1_000), None));
    let reliable = Reliability::Reliable { max_blocking_time: rustdds::Duration::from_secs(1) };
    assert_eq!(Appetite::of(&keep_all().reliability(reliable).build()).limit, Some(10));
}

fn up_to(up_to: i64) -> Consumed {
    Consumed { up_to, unreadable: 0 }
}

fn progress(window: u32) -> Progress {
    let progress = Progress::default();
    progress.set_window(window);
    progress
}

#[test]
fn nobody_is_woken_for_what_nobody_waits_for() {
    let progress = progress(4);
    assert_eq!(progress.took(WRITER, 1), Telling::UpTo(up_to(1)));
    assert_eq!(progress.awaited(WRITER, 1), Telling::Nothing);
    assert_eq!(progress.took(WRITER, 2), Telling::Aloud(up_to(2)));
    assert_eq!(progress.took(WRITER, 3), Telling::UpTo(up_to(3)), "it has been told");
}

#[test]
fn a_writer_that_looked_too_early_is_told_again() {
    let progress = progress(4);
    assert_eq!(progress.took(WRITER, 1), Telling::UpTo(up_to(1)));
    assert_eq!(progress.awaited(WRITER, 0), Telling::Aloud(up_to(1)));
}

#[test]
fn a_writer_that_has_heard_everything_goes_on_waiting_until_there_is_more() {
    let progress = progress(4);
    assert_eq!(progress.took(WRITER, 1), Telling::UpTo(up_to(1)));
    assert_eq!(progress.awaited(WRITER, 1), Telling::Nothing);
    assert!(progress.owed().is_empty());
    assert_eq!(progress.took(WRITER, 2), Telling::Aloud(up_to(2)));
}

#[test]
fn a_writer_that_may_not_have_been_heard_counts_as_one_that_waits() {
    let progress = progress(4);
    assert_eq!(progress.meet(WRITER), None, "nothing was taken");
    assert_eq!(progress.took(WRITER, 1), Telling::Aloud(up_to(1)));
    assert_eq!(progress.took(WRITER, 2), Telling::UpTo(up_to(2)));
    assert_eq!(progress.all(|_| true), [(WRITER, up_to(2))]);
    assert_eq!(progress.took(WRITER, 3), Telling::Aloud(up_to(3)));
    assert_eq!(progress.meet(WRITER), Some(up_to(3)), "it was told when its match was not known yet");
    assert_eq!(self::progress(0).meet(WRITER), None, "no writer has to know");
}

#[test]
fn a_writer_that_waits_hears_of_less_than_a_quarter() {
    let progress = progress(400);
    assert_eq!(progress.took(WRITER, 1), Telling::Nothing);
    assert_eq!(progress.awaited(WRITER, 0), Telling::Soon);
    assert_eq!(progress.took(WRITER, 2), Telling::Soon);
    assert_eq!(progress.owed(), [(WRITER, up_to(2))]);
    assert!(progress.owed().is_empty(), "once");
}

#[test]
fn of_what_expires_before_its_reader_looks_writers_are_told_up_to_twice_the_limit_and_of_each_sample_once() {
    let progress = progress(4);
    let sample = |id| SampleKey { owner: Incarnation::from_bytes([1; 8]), id };
    let told = |ids: Range<u64>| ids.filter(|&id| progress.expire(sample(id), 4)).count();
    assert_eq!(told(0..100), 8);
    assert!(!progress.miss(sample(0)) && !progress.miss(sample(7)), "it was told when they expired");
    assert!(progress.miss(sample(8)), "it was not");
    assert_eq!(told(100..200), 2, "as many as were looked at");
    progress.decoded(Seen::default(), false);
    assert_eq!(told(200..300), 0, "there is more to look at");
    progress.decoded(Seen::default(), true);
    assert_eq!(told(300..400), 8);
}

/// A writer that shares with a reader which has room for one sample.
fn pair(name: &str, [here, there]: &[ZeroDds; 2]) -> (DataWriter<Vec<u8>>, DataReader<Vec<u8>>) {
    let limits = ResourceLimits { max_samples: 1, max_instances: 1, max_samples_per_instance: 1 };
    let qos = QosPolicyBuilder::new().history(History::KeepAll).resource_limits(limits);
    let qos = qos.reliable(rustdds::Duration::from_millis(50)).build();
    let topic = |session: &ZeroDds| {
        let (name, kind) = (name.to_owned(), TopicKind::NoKey);
        session.participant().create_topic(name, "Bytes".into(), &qos, kind).expect("a topic")
    };
    let publisher = here.create_publisher(&qos).expect("a publisher");
    let subscriber = there.create_subscriber(&qos).expect("a subscriber");
    let writer = publisher.create_datawriter_no_key_cdr(&topic(here), Some(qos.clone())).expect("a writer");
    let mut reader =
        subscriber.create_datareader_no_key_cdr(&topic(there), Some(qos.clone())).expect("a reader");
    eventually(|| {
        _ = writer.write(vec![7; 20_000], None);
        _ = reader.take_next_sample().expect("taken");
        here.stats().shared_samples > 0
    });
    (writer, reader)
}

#[test]
fn a_writer_does_not_wait_for_a_sample_that_was_lost_before_its_reader_looked() {
    let sessions = [(); 2].map(|()| {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        ZeroDds::attach(&participant, Config::default()).expect("a session")
    });
    let (writer, mut reader) = pair("lost", &sessions);
    let [here, there] = &sessions;
    let mut take = || reader.take_next_sample().expect("taken").map(|sample| sample.into_value());
    let gone = there.stats().gone_samples;
    let next_id = || here.0.session.next_id();
    let before = next_id();
    eventually(|| {
        _ = take();
        writer.write(vec![8; 20_000], None).is_ok()
    });
    let (peer, _) = split(&there.participant().guid());
    for id in before..next_id() {
        here.0.session.say(incarnation(peer), Note::Forget { id });
    }
    // Its session may have the samples already, and not have looked for what came after them.
    there.0.session.listen();
    eventually(|| {
        assert!(take().is_none_or(|sample| sample[0] == 7), "it was lost");
        there.stats().gone_samples > gone
    });
    eventually(|| writer.write(vec![9; 20_000], None).is_ok());
}

#[test]
fn what_cannot_be_decoded_is_said_once_everything_before_it_was_taken() {
    let progress = progress(400);
    progress.meet(WRITER);
    let (good, bad) = (Seen { readable: 1, unreadable: 0 }, Seen { readable: 0, unreadable: 1 });
    assert_eq!(progress.decoded(good, true), []);
    assert_eq!(progress.decoded(bad, false), [], "its writer would take it for the one before");
    progress.took(WRITER, 1);
    let said = Consumed { up_to: 1, unreadable: 1 };
    assert_eq!(progress.handed_over(Some(1)), [(WRITER, said)]);
    assert_eq!(progress.decoded(bad, false), [(WRITER, Consumed { unreadable: 2, ..said })]);
    assert_eq!(progress.handed_over(None), [], "once");
    assert_eq!(progress.all(|_| true), [(WRITER, Consumed { unreadable: 2, ..said })], "but on a new link");
    assert_eq!(progress.decoded(good, true), []);
    assert_eq!(progress.decoded(bad, false), []);
    assert_eq!(progress.handed_over(None), [(WRITER, Consumed { unreadable: 3, ..said })]);
}

#[test]
fn of_several_writers_none_is_told_what_cannot_be_decoded_before_all_that_came_is() {
    const OTHER: (Prefix, Entity) = ([3; 12], [4; 4]);
    let progress = progress(400);
    progress.meet(WRITER);
    progress.meet(OTHER);
    let (good, bad) = (Seen { readable: 1, unreadable: 0 }, Seen { readable: 0, unreadable: 1 });
    let said = |unreadable| Consumed { up_to: 0, unreadable };
    assert_eq!(progress.decoded(bad, false), []);
    assert_eq!(progress.decoded(bad, false), [], "good ones of the other may lie behind");
    assert_eq!(progress.decoded(good, true), [], "one of them did");
    assert_eq!(progress.handed_over(Some(1)), [(WRITER, said(2)), (OTHER, said(2))]);
    assert_eq!(progress.decoded(bad, false), []);
    progress.forget(|writer| *writer == WRITER);
    assert_eq!(progress.decoded(bad, false), [], "what it left may lie before the other's");
    assert_eq!(progress.decoded(Seen::default(), true), [(OTHER, said(4))]);
    assert_eq!(progress.decoded(bad, false), [(OTHER, said(5))], "it is alone from here on");
}
