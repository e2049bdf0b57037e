//! The announcement of its own end that a killed participant did not send, made in its name.
//!
//! ```text
//!  "RTPS" 2.4 vendor prefix-of-the-dead
//!  └ DATA  E|Q|K   reader 0x000100c7  writer 0x000100c2  sequence number
//!     ├ inline QoS   PID_STATUS_INFO = disposed | unregistered
//!     └ payload      PL_CDR_LE { PID_PARTICIPANT_GUID = prefix 0x000001c1 }
//! ```
//! (DDSI-RTPS 2.5 §8.5.3, §9.6.4.9.) RustDDS looks neither at the vendor nor for an INFO_TS.

use super::spdp::{PARTICIPANT, SENTINEL, message, metatraffic_port};
use std::net::{Ipv4Addr, UdpSocket};

use rustdds::{DomainParticipant, GUID};

/// How the participant that ended is named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Guid,
    Hash,
}

/// Tells `to` that the participant of `dead` has ended.
pub(super) fn dispose(to: &DomainParticipant, dead: GUID, sequence_number: i64, key: Key) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let packet = packet(dead, sequence_number, key);
    socket.send_to(&packet, (Ipv4Addr::LOCALHOST, metatraffic_port(to))).unwrap();
}

fn packet(dead: GUID, sequence_number: i64, key: Key) -> Vec<u8> {
    let mut guid = dead.to_bytes();
    guid[12..].copy_from_slice(&PARTICIPANT);
    let mut content = Vec::new();
    if let Key::Hash = key {
        content.extend([0x70, 0, 16, 0]);
        content.extend(guid);
    }
    content.extend([0x71, 0, 4, 0, 0, 0, 0, 3]);
    content.extend(SENTINEL);
    if let Key::Guid = key {
        content.extend([0, 3, 0, 0]);
        content.extend([0x50, 0, 16, 0]);
        content.extend(guid);
        content.extend(SENTINEL);
    }
    let flags = match key {
        Key::Guid => 0b1011,
        Key::Hash => 0b0011,
    };
    message([0, 0], &guid, flags, sequence_number, &content)
}
