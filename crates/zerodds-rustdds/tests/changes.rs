//! Links that end and come back, readers that come and go: no sample is lost, repeated or out of order.

mod parties;

use futures::StreamExt;
use parties::*;
use rustdds::dds::statusevents::LostReason;
use rustdds::policy::History;
use rustdds::{
    DataWriterStatus, DomainParticipant, DomainParticipantStatusEvent as Status, RTPSEntity, ReadCondition,
    StatusEvented,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use zerodds_rustdds::{AttachError, Config, Path, Reason, ZeroDds};

#[test]
fn two_thousand_changes_of_path_are_seen_by_no_reader() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("path");
    let qos = keep_all(64, 30_000);
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let (over, before) = (AtomicBool::new(false), here.zerodds.stats());
    let (written, short) = std::thread::scope(|scope| {
        // A failed assertion ends the other threads too.
        let _over = Finally(|| over.store(true, Ordering::Relaxed));
        let writing = scope.spawn(|| {
            let (mut number, mut short) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                // Both sides of the threshold.
                let is_short = number % 3 == 0;
                let len = if is_short { 100 } else { 9_000 + (number as usize * 631) % 50_000 };
                writer.write(Chunk::new(1, number, len), None).expect("written");
                number += 1;
                short += u64::from(is_short);
            }
            (number, short)
        });
        let changing = scope.spawn(|| {
            let _over = Finally(|| over.store(true, Ordering::Relaxed));
            for change in 0..2_000 {
                let (party, other) = if change % 2 == 0 { (&here, &there) } else { (&there, &here) };
                eventually("the link is up", || shares_with(party, prefix(other)));
                if change % 4 == 0 {
                    let shared_samples = || here.zerodds.stats().shared_samples;
                    let shared = shared_samples();
                    eventually("a sample is shared", || shared_samples() > shared);
                }
                let lost = party.zerodds.stats().links_lost;
                eventually("the link is down", || {
                    party.zerodds.disconnect(prefix(other));
                    party.zerodds.stats().links_lost > lost
                });
            }
        });
        let mut expected = 0;
        while !writing.is_finished() {
            if let Some(sample) = reader.take_next_sample().expect("taken") {
                let chunk = sample.into_value();
                assert_eq!(chunk.number, expected, "{:?} {:?}", here.zerodds.stats(), there.zerodds.stats());
                assert!(chunk.is_intact());
                expected += 1;
            } else {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        changing.join().expect("no panic");
        let (written, short) = writing.join().expect("no panic");
        while expected < written {
            let chunk = next(&mut reader);
            assert!(chunk.number == expected && chunk.is_intact());
            expected += 1;
        }
        (written, short)
    });
    assert!(reader.take_next_sample().expect("taken").is_none(), "nothing more");
    let after = here.zerodds.stats();
    let shared = after.shared_samples - before.shared_samples;
    let changed = after.plain_samples - before.plain_samples - short;
    assert!(shared > 200 && changed > 200, "long ones both ways: {shared} shared, {changed} not, {after:?}");
    assert_eq!(there.zerodds.stats().gone_samples, 0);
    println!("{written} samples over 2,000 changes: {shared} shared, {changed} not though long enough");
}

#[test]
fn publishing_on_the_matched_event_loses_no_first_sample() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("first");
    let qos = reliable(History::KeepLast { depth: 4 });
    let events = here.zerodds.events();
    let writer = here.writer(&topic, &qos);
    for round in 0..1_000 {
        let mut reader = there.reader(&topic, &qos);
        let guid = reader.guid();
        eventually("the reader is matched", || {
            let event = events.next_within(Duration::from_secs(1));
            matches!(event, Some(Status::RemoteReaderMatched { remote_reader, .. }) if remote_reader == guid)
        });
        let len = if round % 2 == 0 { 100 } else { 20_000 };
        writer.write(Chunk::new(1, round, len), None).expect("written");
        // RustDDS shows a new reader what its participant still has of earlier ones.
        let chunk = loop {
            let chunk = next(&mut reader);
            if chunk.number >= round {
                break chunk;
            }
        };
        assert!(chunk.number == round && chunk.is_intact(), "{} in round {round}", chunk.number);
    }
}

#[test]
fn whoever_asks_late_for_events_hears_what_came_before() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("asked-late");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let is_it = |event: Status| matches!(event, Status::RemoteReaderMatched { remote_reader, .. } if remote_reader == reader.guid());
    let events = here.zerodds.events();
    let mut all = std::iter::from_fn(|| events.next_within(Duration::from_secs(10)));
    assert!(all.any(is_it), "as by RustDDS's listener");
}

#[test]
fn a_reader_that_comes_again_starts_with_what_is_written_then() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("again");
    let qos = reliable(History::KeepLast { depth: 4 });
    let writer = here.writer(&topic, &qos);
    for round in 0..10 {
        let mut reader = there.reader(&topic, &qos);
        meet(&here, &writer, &mut [&mut reader]);
        writer.write(Chunk::new(1, round, 20_000), None).expect("written");
        eventually("it arrives", || next(&mut reader) == Chunk::new(1, round, 20_000));
        drop(reader);
        writer.write(Chunk::new(2, round, 20_000), None).expect("nobody is waited for");
        eventually("nothing is kept for a reader that is gone", || there.zerodds.stats().held_samples == 0);
        // Until then it is one of two readers of its participant, of which the one that comes may go without (docs/qos.md).
        eventually("RustDDS has heard of it here", || {
            let statuses = std::iter::from_fn(|| writer.try_recv_status());
            let counts = statuses.filter_map(|status| match status {
                DataWriterStatus::PublicationMatched { current, .. } => Some(current.count()),
                _ => None,
            });
            counts.last() == Some(0)
        });
    }
}

#[test]
fn a_participant_can_have_one_session_after_another_but_not_two() {
    let party = Party::new();
    assert!(matches!(ZeroDds::attach(&party.participant, Config::default()), Err(AttachError::Attached)));
    let Party { participant, zerodds } = party;
    drop(zerodds);
    let again = ZeroDds::attach(&participant, Config::default()).expect("the first one has ended");
    assert_eq!(again.availability(), Ok(()));
}

/// Ends a session where it is woken, and looks at once whether there can be another.
struct Ends {
    participant: DomainParticipant,
    last: Mutex<Option<ZeroDds>>,
    again: Mutex<Option<Result<ZeroDds, AttachError>>>,
}

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        if let Some(last) = self.last.lock().expect("no panic under it").take() {
            drop(last);
            let again = ZeroDds::attach(&self.participant, Config::default());
            *self.again.lock().expect("no panic under it") = Some(again);
        }
    }
}

#[test]
fn a_session_that_its_own_news_ends_keeps_its_place_until_it_has_left() {
    let Party { participant, zerodds } = Party::new();
    let events = zerodds.events();
    let last = Mutex::new(Some(zerodds));
    let ends = Arc::new(Ends { participant: participant.clone(), last, again: Mutex::default() });
    let waker = Waker::from(Arc::clone(&ends));
    let mut stream = events.stream();
    while stream.poll_next_unpin(&mut Context::from_waker(&waker)).is_ready() {}
    let _news = DomainParticipant::new(domain()).expect("a participant");
    let mut again = None;
    eventually("it has ended", || {
        again = ends.again.lock().expect("no panic under it").take();
        again.is_some()
    });
    eventually("it has left", || {
        let is_there = matches!(again, Some(Err(AttachError::Attached)));
        if is_there {
            again = Some(ZeroDds::attach(&participant, Config::default()));
        }
        !is_there
    });
    let again = again.expect("tried").expect("a session");
    assert_eq!(again.availability(), Ok(()), "the first one has left");
}

/// In a process of its own, which cannot always have a thread.
#[test]
#[ignore = "a role that another test starts"]
fn threadlessness() {
    let participant = DomainParticipant::new(domain()).expect("a participant");
    let before = getrlimit(Resource::As);
    let none = Rlimit { current: Some(0), ..before };
    setrlimit(Resource::As, none).expect("the limit of our own process");
    let refused = ZeroDds::attach(&participant, Config::default());
    setrlimit(Resource::As, before).expect("the limit of our own process");
    assert!(matches!(refused, Err(AttachError::Thread(_))), "a stack needs memory");
    let attached = ZeroDds::attach(&participant, Config::default()).expect("a session");
    assert_eq!(attached.availability(), Ok(()));
}

#[test]
fn a_session_that_could_not_be_started_leaves_nothing_in_the_way_of_another() {
    alone("threadlessness");
}

#[test]
fn what_a_participants_second_session_shares_is_not_taken_for_what_its_first_one_did() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("sessions");
    let mut reader = there.reader(&topic, &best_effort(64));
    let write = |party: &Party, writer: &zerodds_rustdds::no_key::DataWriter<Chunk>, number: u32| {
        let before = party.zerodds.stats().shared_samples;
        writer.write(Chunk::new(number, number, 20_000), None).expect("written");
        party.zerodds.stats().shared_samples > before
    };
    let first = here.writer(&topic, &best_effort(64));
    eventually("a sample is shared", || write(&here, &first, 1));
    let first_guid = first.guid();
    drop(first);
    let Party { participant, zerodds } = here;
    drop(zerodds);
    let zerodds = ZeroDds::attach(&participant, Config::default()).expect("the first one has ended");
    let again = Party { participant, zerodds };
    let second = again.writer(&topic, &best_effort(64));
    eventually("one of the second session's comes, and whatever comes is its writer's own", || {
        write(&again, &second, 2);
        let taken = reader.take(usize::MAX, ReadCondition::any()).expect("taken");
        for sample in &taken {
            let is_of_first = sample.sample_info().writer_guid() == first_guid;
            assert_eq!(sample.value().number, if is_of_first { 1 } else { 2 });
        }
        again.zerodds.stats().shared_samples > 0 && taken.iter().any(|sample| sample.value().number == 2)
    });
}

#[test]
fn readers_that_were_gone_before_a_session_came_keep_no_writer_from_sharing() {
    let (participant, there) = (DomainParticipant::new(domain()).expect("a participant"), Party::new());
    let topic = unique("gone-before");
    let listener = participant.status_listener();
    let is_found = |name: &str| {
        let mut is_found = false;
        eventually("the reader is found", || {
            let event = listener.try_recv_status();
            is_found |= matches!(event, Some(Status::ReaderDetected { reader }) if reader.topic_name == name);
            is_found
        });
    };
    // Lost when RustDDS has no room for more reports: that it is gone nobody hears. It was detected after that again, for a writer.
    let gone = there.reader(&topic, &best_effort(1));
    let plain = participant.create_publisher(&best_effort(1)).expect("a publisher");
    is_found(&topic);
    let here_topic = || {
        let qos = rustdds::QosPolicies::qos_none();
        participant
            .create_topic(topic.clone(), CHUNK.into(), &qos, rustdds::TopicKind::NoKey)
            .expect("a topic")
    };
    for _ in 0..REPORTS_MAX {
        let writer = plain.create_datawriter_no_key_cdr::<Chunk>(&here_topic(), None);
        drop(writer.expect("a writer"));
    }
    drop((gone, listener));
    let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
    let here = Party { participant, zerodds };
    let writer = here.writer(&topic, &best_effort(4));
    let mut reader = there.reader(&topic, &best_effort(4));
    meet(&here, &writer, &mut [&mut reader]);
}

#[test]
fn whoever_holds_nothing_but_endpoints_keeps_no_participant_in_the_domain() {
    let (here, there) = (Party::new(), Party::new());
    const WINDOW: u32 = 8;
    let (events, topic) = (here.zerodds.events(), unique("held"));
    let qos = keep_all(WINDOW as i32, 5_000);
    let publisher = there.zerodds.create_publisher(&qos).expect("a publisher");
    let (writer, held) = (here.writer(&topic, &qos), there.writer(&unique("held-too"), &qos));
    let mut reader = there.reader(&topic, &qos);
    meet(&here, &writer, &mut [&mut reader]);
    let gone = there.participant.guid().prefix;
    drop(there);
    let is_it =
        |event| matches!(event, Status::ParticipantLost { id, reason: LostReason::Disposed } if id == gone);
    eventually("its end is said", || events.try_next().is_some_and(is_it));
    assert_eq!(publisher.participant(), None);
    held.write(Chunk::new(2, 1, 20_000), None).expect("as in RustDDS, nobody hears of it");
    assert!(reader.take(usize::MAX, ReadCondition::any()).expect("taken").is_empty());
    for number in 0..2 * WINDOW {
        writer.write(Chunk::new(1, number, 20_000), None).expect("nobody is waited for");
    }
    drop((publisher, held, reader.async_sample_stream()));
    eventually("the session has ended", || here.zerodds.stats().transport.links == 0);
}

#[test]
fn whoever_holds_events_keeps_the_participant_as_with_rustdds_listener() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("listened-to");
    let qos = reliable(History::KeepLast { depth: 4 });
    let (writer, mut reader) = (there.writer(&topic, &qos), here.reader(&topic, &qos));
    meet(&there, &writer, &mut [&mut reader]);
    let (listener, events, kept) =
        (there.zerodds.events(), here.zerodds.events(), there.participant.guid().prefix);
    drop(there);
    writer.write(Chunk::new(1, 1, 20_000), None).expect("written");
    assert_eq!(next(&mut reader).number, 1);
    drop(listener);
    let is_it =
        |event| matches!(event, Status::ParticipantLost { id, reason: LostReason::Disposed } if id == kept);
    eventually("its end is said", || events.try_next().is_some_and(is_it));
}

#[test]
fn the_path_to_every_participant_has_a_reason() {
    let (here, there, beside) = (Party::new(), Party::new(), Party::new());
    let off =
        Party::with(Config::default().transport(zerodds_transport_shm::Config::default().enabled(false)));
    let plain = DomainParticipant::new(domain()).expect("a participant");
    let topic = unique("reasons");
    let qos = reliable(History::KeepLast { depth: 1 });
    let _writers = [&here, &off].map(|party| party.writer(&topic, &qos));
    let _readers = [&there, &off].map(|party| party.reader(&topic, &qos));
    let _plain = [&beside.participant, &plain].map(|participant| {
        let topic = participant.create_topic(
            topic.clone(),
            CHUNK.into(),
            &rustdds::QosPolicies::qos_none(),
            rustdds::TopicKind::NoKey,
        );
        let subscriber = participant.create_subscriber(&qos).expect("a subscriber");
        subscriber.create_datareader_no_key_cdr::<Chunk>(&topic.expect("a topic"), Some(qos.clone()))
    });
    let reasons = |party: &Party, expected: &[([u8; 12], Reason)]| {
        eventually("there is a reason for each", || {
            let paths = party.zerodds.paths();
            let found = |(participant, reason): &([u8; 12], Reason)| {
                paths.iter().any(|peer| {
                    (peer.participant, &peer.reason) == (*participant, reason)
                        && peer.is_shared() == (*reason == Reason::LinkReady)
                })
            };
            expected.iter().all(found)
        });
    };
    let [of_there, of_beside, of_off] = [&there, &beside, &off].map(prefix);
    reasons(
        &here,
        &[
            (of_there, Reason::LinkReady),
            (of_beside, Reason::PlainReaders),
            (of_off, Reason::NoLocator),
            (prefix_of(&plain), Reason::NoLocator),
        ],
    );
    reasons(&off, &[(of_there, Reason::SwitchedOff), (of_beside, Reason::SwitchedOff)]);
}

#[test]
fn a_participant_shares_where_all_its_readers_do() {
    let (here, there) = (Party::new(), Party::new());
    let qos = reliable(History::KeepLast { depth: 4 });
    let topics = ["points", "image"].map(unique);
    let [points, image] = topics.each_ref().map(|topic| here.writer(topic, &qos));
    let mut reader = there.reader(&topics[0], &qos);
    meet(&here, &points, &mut [&mut reader]);
    let is_said = |reason: Reason| {
        let path = if reason == Reason::LinkReady { Path::SharedMemory } else { Path::Udp };
        let paths = here.zerodds.paths();
        paths
            .iter()
            .any(|peer| (peer.participant, peer.path, &peer.reason) == (prefix(&there), path, &reason))
    };
    assert!(is_said(Reason::LinkReady), "{:?}", here.zerodds.paths());
    let subscriber = there.zerodds.create_subscriber(&qos).expect("a subscriber").without_shm();
    let plain = subscriber.create_datareader_no_key_cdr::<Chunk>(&there.topic(&topics[1]), Some(qos.clone()));
    eventually("samples of one topic go by UDP", || is_said(Reason::PlainReaders));
    let before = here.zerodds.stats().plain_samples;
    image.write(Chunk::new(1, 0, 20_000), None).expect("written");
    assert_eq!(here.zerodds.stats().plain_samples, before + 1);
    drop(plain);
    eventually("all that there is goes by shared memory", || is_said(Reason::LinkReady));
}

/// More than RustDDS's queue of status events has room for.
const REPORTS_MAX: usize = 2_100;

#[test]
fn looking_for_a_topic_keeps_no_writer_waiting() {
    let (here, there) = (Party::new(), Party::new());
    let topic = unique("looking");
    let writer = here.writer(&topic, &best_effort(4));
    let mut reader = there.reader(&topic, &best_effort(4));
    meet(&here, &writer, &mut [&mut reader]);
    std::thread::scope(|scope| {
        let looking =
            scope.spawn(|| here.zerodds.find_topic(&unique("nobody-has-it"), Duration::from_secs(5)));
        for number in 0..20 {
            writer.write(Chunk::new(1, number, 20_000), None).expect("written");
        }
        assert!(!looking.is_finished(), "20 samples took as long as somebody looked for a topic");
        assert!(looking.join().expect("no panic").expect("asked").is_none());
    });
    assert!(here.zerodds.find_topic(&topic, Duration::ZERO).expect("asked").is_some());
}
