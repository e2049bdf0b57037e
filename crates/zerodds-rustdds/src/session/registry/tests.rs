//! What a session makes of reports and of what it hears.

use super::*;
use crate::routes::Obstacle;
use rustdds::QosPolicies;
use rustdds::dds::statusevents::{EndpointDescription, LostReason};
use std::time::{Duration, Instant};
use zerodds_core::HostTag;

const READER: [u8; 4] = [0, 0, 1, 4];

fn guid(participant: u8, entity: [u8; 4]) -> GUID {
    let mut bytes = [participant; 16];
    bytes[12..].copy_from_slice(&entity);
    GUID::from_bytes(bytes)
}

fn there() -> Incarnation {
    incarnation([2; 12])
}

/// A reader of another participant, matched with a writer here, and its session.
fn met() -> Registry {
    let mut registry = Registry::new([1; 12], None);
    let (local_writer, remote_reader) = (guid(1, [0, 0, 2, 3]), guid(2, READER));
    registry.note(&Status::RemoteReaderMatched { local_writer, remote_reader });
    registry.set_up(there(), None);
    registry.set_offers(there(), vec![Offer { reader: READER, window: 0 }]);
    registry
}

/// A registry as [`met`] leaves it, with a writer that shares with that reader.
fn sharing() -> (Registry, Arc<Outlook>) {
    let locator = Locator::shared_memory(HostTag::from_bytes([0; 8]), incarnation([1; 12]), 0);
    let mut registry = Registry { locator: Some(locator), ..met() };
    let outlook = Arc::<Outlook>::default();
    registry.add_writer([0, 0, 2, 3], "points", true, Arc::clone(&outlook));
    registry.replan();
    assert!(outlook.plan().has_shared());
    (registry, outlook)
}

#[test]
fn whose_reader_is_found_and_not_matched_is_named_where_others_could_share() {
    let (mut registry, _outlook) = sharing();
    assert_eq!(registry.ways().mixed, []);
    let reader = EndpointDescription {
        updated_time: Default::default(),
        guid: guid(3, READER),
        topic_name: "points".into(),
        type_name: "Points".into(),
        qos: QosPolicies::qos_none(),
        user_data: Vec::new(),
    };
    registry.note(&Status::ReaderDetected { reader });
    let named = registry.ways().mixed.pop().map(|topic| (topic.withheld.plain, topic.withheld.obstacle));
    assert_eq!(named, Some(([3; 12], Obstacle::Undecided)));
}

/// As the session does it.
fn compare<const N: usize>(
    registry: &mut Registry,
    known: [(TopicHash, (Prefix, Entity)); N],
    now: Instant,
) -> Option<(String, (Prefix, Entity))> {
    let found = registry.begin_comparison().unwrap_or_default();
    registry.compare(&found, known, now)
}

#[test]
fn who_is_not_reported_gets_plain_samples_and_is_believed_to_be_missing_when_that_stays_so() {
    let (mut registry, outlook) = sharing();
    let (topic, now) = (TopicHash::of("points"), Instant::now());
    let reader = |participant| (topic, split(&guid(participant, READER)));
    let elsewhere = [(TopicHash::of("another"), reader(3).1)];
    assert_eq!(compare(&mut registry, elsewhere, now), None, "no writer here has that topic");
    registry.replan();
    assert!(outlook.plan().has_shared() && !registry.is_waiting_for_reports());
    assert_eq!(compare(&mut registry, [reader(3)], now), None);
    registry.replan();
    assert!(!outlook.plan().has_shared() && registry.is_waiting_for_reports());
    assert_eq!(compare(&mut registry, [reader(4)], now + PATIENCE), None, "it is another one");
    assert_eq!(compare(&mut registry, [], now + PATIENCE), None);
    registry.replan();
    assert!(outlook.plan().has_shared() && !registry.is_waiting_for_reports());
    assert_eq!(compare(&mut registry, [reader(3)], now), None);
    let missing = Some(("points".to_owned(), reader(3).1));
    assert_eq!(compare(&mut registry, [reader(3)], now + PATIENCE), missing);
}

#[test]
fn who_was_missing_and_is_lost_holds_up_nothing_any_more() {
    let topic = TopicHash::of("points");
    let known = [3, 4].map(|participant| (topic, split(&guid(participant, READER))));
    let (mut registry, outlook) = sharing();
    assert_eq!(compare(&mut registry, known, Instant::now()), None);
    registry.note(&Status::ReaderLost { guid: guid(3, READER), reason: LostReason::Disposed });
    registry.replan();
    assert!(!outlook.plan().has_shared(), "the other one is missing");
    registry.note(&Status::ParticipantLost { id: guid(4, READER).prefix, reason: LostReason::Disposed });
    registry.replan();
    assert!(outlook.plan().has_shared() && !registry.is_waiting_for_reports());
}

#[test]
fn who_comes_back_after_its_lease_is_not_missing_and_nor_is_who_has_ended_here() {
    let (mut registry, _outlook) = sharing();
    let (topic, now) = (TopicHash::of("points"), Instant::now());
    let (lease, elapsed) = (rustdds::Duration::from_secs(1), rustdds::Duration::from_secs(2));
    let id = guid(3, READER).prefix;
    registry.note(&Status::ParticipantLost { id, reason: LostReason::Timeout { lease, elapsed } });
    registry.remove_reader(READER);
    let known = [(topic, split(&guid(3, READER))), (topic, split(&guid(1, READER)))];
    compare(&mut registry, known, now);
    assert_eq!(registry.unfound(topic).count(), 0);
}

#[test]
fn who_is_known_when_its_participant_is_found_or_is_over_gets_plain_samples_and_is_no_reason_for_doubt() {
    let topic = TopicHash::of("points");
    let known = [(topic, split(&guid(3, READER)))];
    let find: fn(&mut Registry) = |registry| registry.find_participant([3; 12]);
    let lose: fn(&mut Registry) = |registry| {
        let id = guid(3, READER).prefix;
        registry.note(&Status::ParticipantLost { id, reason: LostReason::Disposed });
    };
    let nothing: fn(&mut Registry) = |_| ();
    for (report, is_believed) in [(find, true), (lose, true), (nothing, false)] {
        let ((mut registry, outlook), now) = (sharing(), Instant::now());
        report(&mut registry);
        for since in [Duration::ZERO, PATIENCE] {
            let is_doubted = compare(&mut registry, known, now + since).is_some();
            assert_eq!(is_doubted, !is_believed && since == PATIENCE);
            registry.replan();
            assert!(!outlook.plan().has_shared(), "RustDDS may match it at any time");
        }
        assert_eq!(registry.is_waiting_for_reports(), !is_believed);
    }
}

#[test]
fn who_comes_after_its_participant_was_found_or_before_any_writer_shares_is_missing() {
    let (topic, now) = (TopicHash::of("points"), Instant::now());
    let known = [(topic, split(&guid(3, READER)))];
    let (mut registry, _outlook) = sharing();
    registry.find_participant([3; 12]);
    compare(&mut registry, [], now);
    compare(&mut registry, known, now);
    assert!(registry.is_waiting_for_reports());
    compare(&mut registry, [], now);
    registry.remove_writer([0, 0, 2, 3]);
    registry.find_participant([3; 12]);
    registry.add_writer([0, 0, 5, 3], "points", true, Arc::default());
    compare(&mut registry, known, now);
    assert!(registry.is_waiting_for_reports(), "the writer is told of all that are known");
}

#[test]
fn where_reports_were_lost_nobody_is_shared_with_or_waited_for_and_nothing_is_offered() {
    let (mut registry, outlook) = sharing();
    registry.set_offers(there(), vec![Offer { reader: READER, window: 5 }]);
    registry.add_reader([0, 0, 3, 4], Some(8), Arc::default());
    assert_eq!(registry.refresh().map(|offers| offers.len()), Some(1));
    assert_eq!(outlook.plan().windows.len(), 1);
    assert!(registry.doubt("a test") && !registry.doubt("another"), "it is news once");
    assert_eq!(registry.doubted(), Some("a test"));
    assert_eq!(registry.refresh(), Some(vec![]));
    let plan = outlook.plan();
    assert!(!plan.targets.is_empty() && !plan.has_shared() && plan.windows.is_empty());
}

#[test]
fn a_session_without_a_participant_is_forgotten_with_its_link() {
    let mut registry = Registry::new([1; 12], None);
    registry.set_up(there(), None);
    registry.set_offers(there(), vec![Offer { reader: READER, window: 0 }]);
    assert_eq!(registry.set_down(there(), Reason::PeerGone, false), None);
    assert!(registry.sessions.is_empty(), "nothing here is matched with it");
}

#[test]
fn a_participant_that_rtps_finds_after_its_death_is_mourned() {
    let (local_writer, remote_reader) = (guid(1, [0, 0, 2, 3]), guid(2, READER));
    for (has_died, errand) in [(true, Errand::Mourn([2; 12])), (false, Errand::Reach(there()))] {
        let mut registry = Registry::new([1; 12], None);
        registry.set_up(there(), None);
        assert_eq!(registry.set_down(there(), Reason::PeerGone, has_died), None);
        let errands = registry.note(&Status::RemoteReaderMatched { local_writer, remote_reader });
        assert_eq!(errands, [errand]);
        assert!(registry.unknown_dead.is_empty());
    }
}

#[test]
fn of_endpoints_that_are_gone_nothing_is_kept_however_late_their_match_is_reported() {
    let mut registry = met();
    let (local_writer, local_reader) = (guid(1, [0, 0, 2, 3]), guid(1, [0, 0, 3, 4]));
    let (remote_reader, remote_writer) = (guid(2, READER), guid(2, [0, 0, 4, 3]));
    registry.remove_writer(split(&local_writer).1);
    registry.remove_reader(split(&local_reader).1);
    registry.note(&Status::RemoteReaderMatched { local_writer, remote_reader });
    registry.note(&Status::RemoteWriterMatched { local_reader, remote_writer });
    assert!(registry.matched.is_empty() && registry.sources.is_empty());
}

#[test]
fn of_plain_endpoints_nothing_is_kept_beyond_those_that_they_were_matched_with() {
    let mut registry = met();
    let (local_reader, remote_writer) = (guid(1, [0, 0, 3, 4]), guid(2, [0, 0, 4, 3]));
    registry.note(&Status::RemoteWriterMatched { local_reader, remote_writer });
    registry.note(&Status::WriterLost { guid: remote_writer, reason: LostReason::Disposed });
    registry.note(&Status::ReaderLost { guid: guid(2, READER), reason: LostReason::Disposed });
    assert!(registry.matched.is_empty() && registry.sources.is_empty());
}

#[test]
fn of_plain_endpoints_of_ours_that_are_gone_nothing_is_kept_while_their_peers_live() {
    let mut registry = Registry::new([1; 12], None);
    let (local_reader, remote_writer) = (guid(1, [0, 0, 3, 4]), guid(2, [0, 0, 4, 3]));
    let (local_writer, remote_reader) = (guid(1, [0, 0, 5, 3]), guid(2, READER));
    registry.note(&Status::RemoteWriterMatched { local_reader, remote_writer });
    registry.note(&Status::RemoteReaderMatched { local_writer, remote_reader });
    registry.note(&Status::ReaderLost { guid: local_reader, reason: LostReason::Disposed });
    // RustDDS takes itself for lost where it does not hear its own announcements.
    registry.note(&Status::ParticipantLost { id: local_writer.prefix, reason: LostReason::Disposed });
    assert!(!registry.matched.is_empty());
    registry.note(&Status::WriterLost { guid: local_writer, reason: LostReason::Disposed });
    assert!(registry.matched.is_empty() && registry.sources.is_empty());
}

#[test]
fn a_reader_that_is_found_after_our_own_participant_was_lost_is_sent_to() {
    let mut registry = Registry::new([1; 12], None);
    let (local_writer, remote_reader) = (guid(1, [0, 0, 2, 3]), guid(2, READER));
    registry.note(&Status::ParticipantLost { id: local_writer.prefix, reason: LostReason::Disposed });
    let errands = registry.note(&Status::RemoteReaderMatched { local_writer, remote_reader });
    assert_eq!(errands, [Errand::Reach(there())]);
    assert!(registry.misses(there()), "it is matched");
}

#[test]
fn the_death_of_a_process_whose_session_had_left_says_nothing_of_its_participant() {
    let mut registry = Registry::new([1; 12], None);
    registry.set_up(there(), None);
    registry.set_leaving(there());
    assert_eq!(registry.set_down(there(), Reason::PeerDied, true), None);
    assert!(registry.unknown_dead.is_empty());
}

#[test]
fn a_participant_that_is_lost_before_its_link_leaves_nothing() {
    let mut registry = met();
    registry.note(&Status::ParticipantLost { id: guid(2, READER).prefix, reason: LostReason::Disposed });
    assert!(registry.sessions.contains_key(&there()), "its link is up");
    assert_eq!(registry.set_down(there(), Reason::PeerGone, false), None, "RustDDS knows of its end");
    assert!(registry.sessions.is_empty());
}

#[test]
fn a_participant_that_loses_its_link_is_remembered_until_it_is_lost() {
    let mut registry = met();
    assert_eq!(registry.set_down(there(), Reason::PeerGone, false), Some([2; 12]));
    assert!(!registry.sessions[&there()].offers.is_empty(), "its readers keep all even so");
    registry.note(&Status::ParticipantLost { id: guid(2, READER).prefix, reason: LostReason::Disposed });
    assert!(registry.sessions.is_empty());
}

#[test]
fn a_writer_that_was_refused_before_its_reader_was_known_is_remembered_until_it_is_gone() {
    let local_reader = guid(1, [0, 0, 3, 4]);
    let (refused, lost) = (guid(2, [0, 0, 4, 3]), guid(2, [0, 0, 5, 3]));
    let incompatible = |remote_writer| Status::RemoteWriterQosIncompatible {
        local_reader,
        remote_writer,
        requested_qos: Box::default(),
        offered_qos: Box::default(),
    };
    let mut registry = Registry::new([1; 12], None);
    for writer in [refused, lost] {
        registry.note(&incompatible(writer));
    }
    registry.note(&Status::WriterLost { guid: lost, reason: LostReason::Disposed });
    let (_, reader) = split(&local_reader);
    assert_eq!(registry.add_reader(reader, None, Arc::default()), [(there(), split(&refused).1)]);
    registry.note(&Status::RemoteWriterMatched { local_reader, remote_writer: refused });
    assert!(registry.add_reader(reader, None, Arc::default()).is_empty(), "it suits after all");
    registry.note(&incompatible(refused));
    registry.remove_reader(reader);
    assert!(registry.refused.is_empty());
}

#[test]
fn a_reader_that_is_left_takes_descriptors_and_owes_nothing_until_rtps_has_lost_it() {
    let mut registry = Registry::new([1; 12], None);
    let guid = guid(1, [0, 0, 3, 4]);
    let (_, reader) = split(&guid);
    let lost = Status::ReaderLost { guid, reason: LostReason::Disposed };
    let add = |registry: &mut Registry| registry.add_reader(reader, Some(8), Arc::default());
    add(&mut registry);
    assert_eq!(registry.refresh(), Some(vec![Offer { reader, window: 8 }]));
    registry.leave_reader(reader);
    assert_eq!(registry.refresh(), Some(vec![Offer { reader, window: 0 }]));
    registry.note(&lost);
    assert_eq!(registry.refresh(), Some(vec![]));
    // RTPS may have been the quicker one.
    add(&mut registry);
    registry.leave_reader(reader);
    assert_eq!(registry.refresh(), Some(vec![]));
}

#[test]
fn of_readers_that_are_left_and_never_said_to_be_gone_only_the_latest_are_kept() {
    let mut registry = Registry::new([1; 12], None);
    let remote_writer = guid(2, [0, 0, 4, 3]);
    let nth = |number: usize| guid(1, [0, (number >> 8) as u8, number as u8, 4]);
    // This one is matched to a writer here as well: without its offer that would have no neighbour share.
    registry
        .note(&Status::RemoteReaderMatched { local_writer: guid(1, [0, 0, 5, 3]), remote_reader: nth(0) });
    for number in 0..2 * LEFT_MAX {
        registry.note(&Status::RemoteWriterMatched { local_reader: nth(number), remote_writer });
        let (_, reader) = split(&nth(number));
        registry.add_reader(reader, None, Arc::default());
        registry.leave_reader(reader);
    }
    let offers = registry.refresh().expect("there are some");
    assert_eq!((offers.len(), registry.sources.len()), (LEFT_MAX, LEFT_MAX));
    let ends = [offers.first(), offers.last()].map(|offer| offer.map(|offer| offer.reader));
    assert_eq!(ends, [0, 2 * LEFT_MAX - 1].map(|number| Some(split(&nth(number)).1)));
}
