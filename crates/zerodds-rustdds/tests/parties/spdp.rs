//! What is said of participants, as it goes over the wire (DDSI-RTPS 2.5 §8.5.3).
#![allow(dead_code, reason = "every test binary uses a part of it")]

use rustdds::DomainParticipant;

/// Where a participant hears SPDP on this host: DDSI-RTPS 2.5 §9.6.2.
pub(crate) fn metatraffic_port(participant: &DomainParticipant) -> u16 {
    7400 + 250 * participant.domain_id() + 10 + 2 * participant.participant_id()
}

/// A DATA of SPDP of the participant with this GUID: `content` is what follows the sequence number.
pub(crate) fn message(
    vendor: [u8; 2],
    guid: &[u8; 16],
    flags: u8,
    sequence_number: i64,
    content: &[u8],
) -> Vec<u8> {
    let mut data = vec![0, 0, 16, 0];
    data.extend(SPDP_READER);
    data.extend(SPDP_WRITER);
    data.extend(((sequence_number >> 32) as i32).to_le_bytes());
    data.extend((sequence_number as u32).to_le_bytes());
    data.extend(content);
    let mut message = b"RTPS\x02\x04".to_vec();
    message.extend(vendor);
    message.extend(&guid[..12]);
    message.extend([0x15, flags]);
    message.extend((data.len() as u16).to_le_bytes());
    message.extend(data);
    message
}

pub(crate) const PARTICIPANT: [u8; 4] = [0, 0, 1, 0xc1];
pub(crate) const SENTINEL: [u8; 4] = [1, 0, 0, 0];
const SPDP_WRITER: [u8; 4] = [0, 1, 0, 0xc2];
const SPDP_READER: [u8; 4] = [0, 1, 0, 0xc7];
