//! A participant that dies, leaves, or is wrongly said to have died.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use rustdds::{DomainParticipantStatusEvent as Event, GUID, LostReason, RTPSEntity};

use super::dispose::{Key, dispose};
use super::domains::fresh_domain;
use super::party::{DOMAIN, PATIENCE, Party, Pen, child, matches_reader, reliable, settle, until};

const TOPIC: &str = "death";
/// Beyond any number that a participant has used for its announcements.
const BEYOND: i64 = 1 << 40;

fn is_lost(event: &Event, dead: GUID) -> bool {
    matches!(event, Event::ParticipantLost { id, reason: LostReason::Disposed } if *id == dead.prefix)
}

fn is_discovered(event: &Event, who: GUID) -> bool {
    matches!(event, Event::ParticipantDiscovered { dpd } if dpd.guid.prefix == who.prefix)
}

/// A participant that nobody has met.
fn stranger() -> GUID {
    GUID::from_bytes([7; 16])
}

/// The reader to be killed: matches, acknowledges, and lives until then.
#[test]
#[ignore = "a role that another test starts"]
fn a_reader_in_a_child() {
    let Ok(domain) = std::env::var(DOMAIN) else { return };
    let reading = Party::join(domain.parse().unwrap());
    // The topic's name carries the parent's process id, so it is told.
    let name = std::env::var(super::party::TOPIC).unwrap();
    let _reader = reading.reader(&reading.topic_named(&name, &reliable(4096, PATIENCE).build()));
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_dispose_in_the_name_of_a_killed_reader_frees_the_writer_it_blocks() {
    let window = 16;
    let writing = Party::join(fresh_domain());
    let topic = writing.topic(TOPIC, &reliable(window, PATIENCE).build());
    let writer = writing.writer(&topic);
    let mut reader = child("assumptions::death::a_reader_in_a_child", &writing, &topic);
    let dead = until("the child's reader is matched", || writing.matched(writer.guid()));
    let pen = Pen::new(&writer);
    pen.write(1);
    settle(&writer);
    reader.kill().unwrap();
    reader.wait().unwrap();
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            let pen = Pen::new(&writer);
            for _ in 0..window + 1 {
                pen.write(1);
                admitted.fetch_add(1, Ordering::SeqCst);
            }
        });
        until("the window is full", || (admitted.load(Ordering::SeqCst) == window as u64).then_some(()));
        assert_eq!(writing.count(|event| matches!(event, Event::ParticipantLost { .. })), 0);
        assert!(!blocked.is_finished());
        dispose(&writing.participant, dead, BEYOND, Key::Guid);
        writing.wait_for("the participant is lost", |event| is_lost(event, dead));
        blocked.join().unwrap();
    });
}

#[test]
fn a_dispose_counts_once_for_each_sequence_number_also_of_a_stranger() {
    let party = Party::join(fresh_domain());
    let stranger = stranger();
    for sequence_number in [5, 5, 4] {
        dispose(&party.participant, stranger, sequence_number, Key::Guid);
    }
    until("two are heard", || (party.count(|event| is_lost(event, stranger)) == 2).then_some(()));
    dispose(&party.participant, stranger, 6, Key::Guid);
    until("three are heard", || (party.count(|event| is_lost(event, stranger)) >= 3).then_some(()));
    assert_eq!(party.count(|event| is_lost(event, stranger)), 3);
}

#[test]
fn a_key_hash_names_only_a_participant_that_was_announced() {
    let domain = fresh_domain();
    let (party, other) = (Party::join(domain), Party::join(domain));
    let stranger = stranger();
    party.wait_for("the other is discovered", |event| is_discovered(event, other.participant.guid()));
    dispose(&party.participant, stranger, BEYOND, Key::Hash);
    dispose(&party.participant, other.participant.guid(), BEYOND, Key::Hash);
    party.wait_for("the other is lost", |event| is_lost(event, other.participant.guid()));
    assert_eq!(party.count(|event| is_lost(event, stranger)), 0);
}

#[test]
fn a_number_that_the_participant_used_itself_is_taken_for_a_repetition() {
    let domain = fresh_domain();
    let (party, other) = (Party::join(domain), Party::join(domain));
    let who = other.participant.guid();
    party.wait_for("the other is discovered", |event| is_discovered(event, who));
    dispose(&party.participant, who, 1, Key::Guid);
    dispose(&party.participant, who, BEYOND, Key::Guid);
    until("one is heard", || (party.count(|event| is_lost(event, who)) > 0).then_some(()));
    assert_eq!(party.count(|event| is_lost(event, who)), 1);
}

#[test]
fn a_living_participant_that_was_disposed_comes_back_without_the_matches_it_had() {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let qos = reliable(4096, PATIENCE).build();
    let writer = writing.writer(&writing.topic(TOPIC, &qos));
    let topic = reading.topic(TOPIC, &qos);
    let reader = reading.reader(&topic);
    writing.wait_for_match(writer.guid(), &reading, reader.guid());
    let who = reading.participant.guid();
    dispose(&writing.participant, who, BEYOND, Key::Guid);
    writing.wait_for("the reader's participant is lost", |event| is_lost(event, who));
    // Whoever is new makes all others announce themselves.
    let _third = Party::join(domain);
    until("it is discovered again", || (writing.count(|event| is_discovered(event, who)) == 2).then_some(()));
    // What its endpoint announcements already acknowledged is not sent again; a new one is.
    let second = reading.reader(&topic);
    writing.wait_for("the new reader matches", |event| matches_reader(event, writer.guid(), second.guid()));
    assert_eq!(writing.count(|event| matches_reader(event, writer.guid(), reader.guid())), 1);
}

#[test]
fn a_reader_that_leaves_is_reported_lost_and_so_is_its_participant() {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let qos = reliable(4096, PATIENCE).build();
    let writer = writing.writer(&writing.topic(TOPIC, &qos));
    let topic = reading.topic(TOPIC, &qos);
    let reader = reading.reader(&topic);
    writing.wait_for_match(writer.guid(), &reading, reader.guid());
    let (who, gone) = (reading.participant.guid(), reader.guid());
    let is_gone = |event: &Event| matches!(event, Event::ReaderLost { guid, .. } if *guid == gone);
    drop(reader);
    writing.wait_for("the reader is lost", is_gone);
    assert_eq!(writing.count(|event| is_lost(event, who)), 0);
    drop((topic, reading));
    writing.wait_for("the participant is lost", |event| is_lost(event, who));
}
