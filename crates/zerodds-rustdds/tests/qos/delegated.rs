//! What publishers, subscribers and writers leave to RustDDS: the default QoS, the participant, liveliness by hand.
//!
//! Liveliness of a participant reaches no application through RustDDS. What hears it here is a socket that announces itself as
//! a participant:
//!
//! ```text
//!  "RTPS" 2.4 vendor prefix
//!  └ DATA  E|D     reader 0x000100c7  writer 0x000100c2  sequence number
//!     └ payload      PL_CDR_LE { version, vendor, GUID, metatraffic locator, built-in endpoints, lease }
//! ```
//! (DDSI-RTPS 2.5 §8.5.3, §9.6.3, §8.4.13.)

use crate::parties::spdp::{PARTICIPANT, SENTINEL, message, metatraffic_port};
use crate::parties::{PATIENCE, Party, eventually, prefix, unique};
use crate::qos::stage::Row;
use rustdds::policy::{Durability, History, Liveliness, Reliability};
use rustdds::qos::HasQoSPolicy;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, Duration as Span, GUID, QosPolicies, QosPolicyBuilder,
    Topic, TopicKind,
};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const TEN: Span = Span::from_secs(10);

fn topic(party: &Party, kind: TopicKind) -> Topic {
    let none = QosPolicies::qos_none();
    party.participant.create_topic(unique("delegated"), "Row".into(), &none, kind).expect("a topic")
}

#[test]
fn a_writer_has_the_default_qos_of_its_publisher() {
    let party = Party::new();
    let (plain, keyed) = (topic(&party, TopicKind::NoKey), topic(&party, TopicKind::WithKey));
    let first = QosPolicyBuilder::new().history(History::KeepLast { depth: 3 }).build();
    let mut publisher = party.zerodds.create_publisher(&first).expect("a publisher");
    assert_eq!(publisher.get_default_datawriter_qos(), first);
    let before = publisher.create_datawriter_no_key_cdr::<Row>(&plain, None).expect("a writer").qos();
    assert_eq!((before.durability(), before.reliability()), (Some(Durability::Volatile), None));

    let default = QosPolicyBuilder::new()
        .reliable(TEN)
        .history(History::KeepLast { depth: 7 })
        .durability(Durability::TransientLocal)
        .build();
    publisher.set_default_datawriter_qos(&default);
    assert_eq!(publisher.get_default_datawriter_qos(), default);
    assert_eq!(publisher.rustdds().get_default_datawriter_qos(), default);
    for publisher in [publisher.clone(), publisher.without_shm()] {
        let of_plain = publisher.create_datawriter_no_key_cdr::<Row>(&plain, None).expect("a writer").qos();
        let of_keyed = publisher.create_datawriter_cdr::<Row>(&keyed, None).expect("a writer").qos();
        for qos in [of_plain, of_keyed] {
            assert_eq!(qos.reliability(), Some(Reliability::Reliable { max_blocking_time: TEN }));
            assert_eq!(qos.history(), Some(History::KeepLast { depth: 7 }));
            assert_eq!(qos.durability(), Some(Durability::TransientLocal));
        }
    }
}

#[test]
fn publishers_are_compared_and_shown_as_rustdds_does_it() {
    let party = Party::new();
    let publisher = || party.zerodds.create_publisher(&QosPolicies::qos_none()).expect("a publisher");
    let (one, other) = (publisher(), publisher());
    assert_eq!(one, one.without_shm());
    assert_eq!(one == other, one.rustdds() == other.rustdds());
    assert_eq!(format!("{one:?}"), format!("{:?}", one.rustdds()));
}

#[test]
fn a_publisher_and_a_subscriber_know_their_participant() {
    let (party, other) = (Party::new(), Party::new());
    let none = QosPolicies::qos_none();
    let publisher = party.zerodds.create_publisher(&none).expect("a publisher");
    let subscriber = other.zerodds.create_subscriber(&none).expect("a subscriber");
    assert_eq!(publisher.participant(), Some(party.participant));
    assert_eq!(subscriber.participant(), Some(other.participant));
}

#[test]
fn a_refreshed_liveliness_is_told_to_other_participants() {
    let party = Party::new();
    let events = party.zerodds.events();
    let listener = Listener::announced_to(&party.participant);
    eventually("the listener is found", || {
        let event = events.next_within(PATIENCE).expect("an event");
        matches!(event, DomainParticipantStatusEvent::ParticipantDiscovered { dpd } if dpd.guid == listener.guid)
    });
    let liveliness = Liveliness::ManualByParticipant { lease_duration: TEN };
    let qos = QosPolicyBuilder::new().liveliness(liveliness).build();
    let publisher = party.zerodds.create_publisher(&qos).expect("a publisher");
    let writer =
        publisher.create_datawriter_cdr::<Row>(&topic(&party, TopicKind::WithKey), None).expect("a writer");
    let mut last = 0;
    let mut hear_more = || {
        eventually("the participant says that it lives", || {
            let heard = listener.hear(&prefix(&party)).filter(|&number| number > last);
            last = heard.unwrap_or(last);
            heard.is_some()
        });
    };
    // That it was made says so for the first time.
    hear_more();
    for _ in 0..2 {
        writer.refresh_manual_liveliness();
        hear_more();
    }
}

/// A participant that has nothing but a reader of what participants say of their liveliness.
struct Listener {
    socket: UdpSocket,
    guid: GUID,
}

impl Listener {
    fn announced_to(participant: &DomainParticipant) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        let mut guid = [1; 16];
        guid[4..8].copy_from_slice(&std::process::id().to_le_bytes());
        guid[8..10].copy_from_slice(&port.to_le_bytes());
        guid[12..].copy_from_slice(&PARTICIPANT);
        let packet = announcement(&guid, port);
        socket.send_to(&packet, (Ipv4Addr::LOCALHOST, metatraffic_port(participant))).expect("sent");
        Self { socket, guid: GUID::from_bytes(guid) }
    }

    /// The sequence number of what comes next, if it says that a participant lives because somebody said so.
    fn hear(&self, prefix: &[u8; 12]) -> Option<i64> {
        let mut packet = [0; 65_536];
        let len = self.socket.recv(&mut packet).ok()?;
        let packet = &packet[..len];
        let find = |what: &[u8]| packet.windows(what.len()).position(|window| window == what);
        find(&[&prefix[..], &MANUAL].concat())?;
        let (high, low) = packet[find(&LIVELINESS_WRITER)? + 4..].split_first_chunk::<4>()?;
        let low = u32::from_le_bytes(*low.first_chunk()?);
        Some(i64::from(u32::from_le_bytes(*high)) << 32 | i64::from(low))
    }
}

/// What a participant sends to be known: its GUID, and that it listens at this port of the loopback interface.
fn announcement(guid: &[u8; 16], port: u16) -> Vec<u8> {
    let mut locator = [0; 24];
    locator[..4].copy_from_slice(&1_u32.to_le_bytes());
    locator[4..8].copy_from_slice(&u32::from(port).to_le_bytes());
    locator[20..].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    let parameters: [(u16, &[u8]); 6] = [
        (0x15, &[2, 4, 0, 0]),
        (0x16, &[1, 0x12, 0, 0]),
        (0x50, guid),
        (0x32, &locator),
        (0x58, &LIVELINESS_READER_IS_THERE.to_le_bytes()),
        (0x02, &[100, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let mut content = vec![0, 3, 0, 0];
    for (id, value) in parameters {
        content.extend(id.to_le_bytes());
        content.extend((value.len() as u16).to_le_bytes());
        content.extend(value);
    }
    content.extend(SENTINEL);
    message([1, 0x12], guid, 0b0101, 1, &content)
}

const LIVELINESS_WRITER: [u8; 4] = [0, 2, 0, 0xc2];
/// Of the built-in endpoints.
const LIVELINESS_READER_IS_THERE: u32 = 1 << 11;
/// What a participant says because an application said so.
const MANUAL: [u8; 4] = [0, 0, 0, 2];
