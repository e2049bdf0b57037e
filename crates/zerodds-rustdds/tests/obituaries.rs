//! Sessions that end, or answer nobody, while their participants live on: nobody takes those for dead, and whoever comes to a
//! session in the end has a link.
#![cfg(target_os = "linux")]

mod parties;
/// Where sessions listen.
#[path = "parties/rendezvous.rs"]
mod rendezvous;

use parties::*;
use rustdds::no_key::DataReader;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent as Status, RTPSEntity, TopicKind, policy::History,
};
use std::time::Duration;
use zerodds_rustdds::{Config, Events, ZeroDds};

/// A participant whose endpoint is RustDDS's own.
struct Plain {
    participant: DomainParticipant,
    reader: DataReader<Chunk>,
}

impl Plain {
    fn reading(participant: DomainParticipant, topic: &str) -> Self {
        let qos = reliable(History::KeepLast { depth: 4 });
        let topic =
            participant.create_topic(topic.into(), CHUNK.into(), &qos, TopicKind::NoKey).expect("a topic");
        let subscriber = participant.create_subscriber(&qos).expect("a subscriber");
        let reader = subscriber.create_datareader_no_key_cdr(&topic, None).expect("a reader");
        Self { participant, reader }
    }

    fn await_match(&self, events: &Events) {
        let guid = self.reader.guid();
        eventually("the reader is matched", || {
            let event = events.next_within(Duration::from_secs(1));
            matches!(event, Some(Status::RemoteReaderMatched { remote_reader, .. }) if remote_reader == guid)
        });
    }

    /// Whether it is taken for dead, by what was reported since.
    fn is_lost(&self, events: &Events) -> bool {
        let own = self.participant.guid().prefix;
        std::iter::from_fn(|| events.try_next())
            .any(|event| matches!(event, Status::ParticipantLost { id, .. } if id == own))
    }
}

#[test]
fn a_participant_whose_session_ends_is_not_taken_for_dead() {
    let here = Party::new();
    let topic = unique("ends");
    let events = here.zerodds.events();
    let writer = here.writer(&topic, &reliable(History::KeepLast { depth: 4 }));
    let participant = DomainParticipant::new(domain()).expect("a participant");
    let attach = |to: &DomainParticipant| ZeroDds::attach(to, Config::default()).expect("a session");
    let mut first = Some(attach(&participant));
    let mut there = Plain::reading(participant, &topic);
    there.await_match(&events);
    for round in 0..100 {
        let session = first.take().unwrap_or_else(|| attach(&there.participant));
        eventually("there is a link", || here.zerodds.stats().transport.links == 1);
        drop(session);
        assert!(!within(Duration::from_millis(50), || there.is_lost(&events)), "in round {round}");
    }
    writer.write(Chunk::new(1, 7, 20_000), None).expect("written");
    eventually("it arrives", || there.reader.take_next_sample().expect("taken").is_some());
}

#[test]
fn a_participant_whose_session_ends_before_there_was_a_link_is_not_taken_for_dead() {
    let here = Party::new();
    let topic = unique("unlinked");
    let events = here.zerodds.events();
    let writer = here.writer(&topic, &reliable(History::KeepLast { depth: 4 }));
    let participant = DomainParticipant::new(domain()).expect("a participant");
    let name = rendezvous::name_like_that_of(&here);
    let listener = rendezvous::listen_mutely(&name, prefix_of(&participant));
    let mut there = Plain::reading(participant, &topic);
    there.await_match(&events);
    let connection = rendezvous::next_connection(&listener);
    drop((listener, connection));
    assert!(!within(Duration::from_secs(2), || there.is_lost(&events)));
    writer.write(Chunk::new(1, 7, 20_000), None).expect("written");
    eventually("it arrives", || there.reader.take_next_sample().expect("taken").is_some());
}

#[test]
fn a_log_says_once_of_a_session_that_answers_nobody_that_its_samples_go_by_udp() {
    log::listen();
    let here = Party::new();
    let topic = unique("said");
    let events = here.zerodds.events();
    let _writer = here.writer(&topic, &reliable(History::KeepLast { depth: 4 }));
    let participant = DomainParticipant::new(domain()).expect("a participant");
    let name = rendezvous::name_like_that_of(&here);
    let _listener = rendezvous::listen_mutely(&name, prefix_of(&participant));
    let there = Plain::reading(participant, &topic);
    there.await_match(&events);
    let own: String = prefix_of(&there.participant).iter().map(|octet| format!("{octet:02x}")).collect();
    let count = || {
        let said = log::lines_with(&["path of participant", &own]);
        assert!(said.iter().all(|line| line.contains("path=udp")), "{said:?}");
        said.len()
    };
    eventually("it is said", || count() > 0);
    // It is tried again meanwhile, in vain.
    assert!(!within(Duration::from_secs(8), || count() > 1), "once");
}

#[test]
fn a_session_that_answers_nobody_for_long_is_reached_all_the_same() {
    let here = Party::new();
    let topic = unique("silent");
    let events = here.zerodds.events();
    let _writer = here.writer(&topic, &reliable(History::KeepLast { depth: 4 }));
    let participant = DomainParticipant::new(domain()).expect("a participant");
    let name = rendezvous::name_like_that_of(&here);
    let listener = rendezvous::listen_mutely(&name, prefix_of(&participant));
    let there = Plain::reading(participant, &topic);
    there.await_match(&events);
    // The transport gives each five seconds.
    let connections = [0; 2].map(|_| rendezvous::next_connection(&listener));
    drop((listener, connections));
    let _session = ZeroDds::attach(&there.participant, Config::default()).expect("a session");
    eventually("there is a link", || here.zerodds.stats().transport.links == 1);
}
