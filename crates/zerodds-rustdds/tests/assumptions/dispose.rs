//! The announcement of its own end that a killed participant did not send, made in its name.
//!
//! ```text
//!  "RTPS" 2.4 vendor prefix-of-the-dead
//!  └ DATA  E|Q|K   reader 0x000100c7  writer 0x000100c2  sequence number
//!     ├ inline QoS   PID_STATUS_INFO = disposed | unregistered
//!     └ payload      PL_CDR_LE { PID_PARTICIPANT_GUID = prefix 0x000001c1 }
//! ```
//! (DDSI-RTPS 2.5 §8.5.3, §9.6.4.9.) RustDDS looks neither at the vendor nor for an INFO_TS.

use std::net::{Ipv4Addr, UdpSocket};

use rustdds::{DomainParticipant, GUID};

/// Where a participant hears SPDP on this host: DDSI-RTPS 2.5 §9.6.2.
pub(super) fn metatraffic_port(participant: &DomainParticipant) -> u16 {
    7400 + 250 * participant.domain_id() + 10 + 2 * participant.participant_id()
}

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
    let mut data = vec![0, 0, 16, 0];
    data.extend(SPDP_READER);
    data.extend(SPDP_WRITER);
    data.extend(((sequence_number >> 32) as i32).to_le_bytes());
    data.extend((sequence_number as u32).to_le_bytes());
    if let Key::Hash = key {
        data.extend([0x70, 0, 16, 0]);
        data.extend(guid);
    }
    data.extend([0x71, 0, 4, 0, 0, 0, 0, 3]);
    data.extend(SENTINEL);
    if let Key::Guid = key {
        data.extend([0, 3, 0, 0]);
        data.extend([0x50, 0, 16, 0]);
        data.extend(guid);
        data.extend(SENTINEL);
    }
    let flags = match key {
        Key::Guid => 0b1011,
        Key::Hash => 0b0011,
    };
    let mut packet = b"RTPS\x02\x04\x00\x00".to_vec();
    packet.extend(&guid[..12]);
    packet.extend([0x15, flags]);
    packet.extend((data.len() as u16).to_le_bytes());
    packet.extend(data);
    packet
}

const PARTICIPANT: [u8; 4] = [0, 0, 1, 0xc1];
const SPDP_WRITER: [u8; 4] = [0, 1, 0, 0xc2];
const SPDP_READER: [u8; 4] = [0, 1, 0, 0xc7];
const SENTINEL: [u8; 4] = [1, 0, 0, 0];
