//! What a dead participant could not say itself: its SPDP dispose, for our own RustDDS.
//!
//! ```text
//!   "RTPS" 2.4, prefix of the dead
//!    └ DATA  E|Q|K  SPDP writer to SPDP reader, a sequence number that nobody uses
//!       ├ PID_STATUS_INFO       disposed | unregistered
//!       └ PID_PARTICIPANT_GUID  the key
//! ```
//! (DDSI-RTPS 2.5 §8.5.3, §9.6.4.9.) Without it a reliable writer would wait for a dead reader until its lease ends.
//! It must never be false: RustDDS discovers a participant again that was disposed of, but does not match what
//! was matched before. So it is published on proof only: the kernel says that the process has ended, or its link
//! ended without a word and nobody listens at its locator any more. A session that ends in order says so on its links; where
//! there was none, that nobody listens any more proves nothing.

use crate::protocol::Prefix;
use rustdds::DomainParticipant;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use zerodds_core::ports;

/// Where obituaries are published: the port at which our own participant hears SPDP.
#[derive(Debug)]
pub(super) struct Obituary {
    to: SocketAddrV4,
    published: i64,
}

impl Obituary {
    /// The port follows from domain and participant id; RustDDS has bound it.
    pub(super) fn new(participant: &DomainParticipant) -> Self {
        let (domain, id) = (participant.domain_id().into(), participant.participant_id().into());
        let port = ports::metatraffic_unicast(domain, id).unwrap_or_default();
        Self { to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), published: 0 }
    }

    /// The notice of one death, to be published any number of times.
    pub(super) fn notice(&mut self, dead: Prefix) -> Vec<u8> {
        tracing::info!("participant {} died; RustDDS is told", hex(dead));
        self.published += 1;
        message(dead, FIRST_NUMBER + self.published)
    }

    /// Tells our participant.
    pub(super) fn publish(&self, notice: &[u8]) {
        let sent =
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(notice, self.to));
        if let Err(error) = sent {
            tracing::warn!("RustDDS cannot be told of a death, and notices when the lease ends: {error}");
        }
    }
}

fn message(dead: Prefix, number: i64) -> Vec<u8> {
    let mut data = vec![0, 0, OCTETS_TO_INLINE_QOS, 0];
    data.extend(SPDP_READER);
    data.extend(SPDP_WRITER);
    data.extend(((number >> 32) as i32).to_le_bytes());
    data.extend((number as u32).to_le_bytes());
    data.extend(STATUS_INFO_GONE);
    data.extend(SENTINEL);
    data.extend(PL_CDR_LE);
    data.extend(PARTICIPANT_GUID);
    data.extend(dead);
    data.extend(PARTICIPANT);
    data.extend(SENTINEL);

    let mut message = b"RTPS\x02\x04\x00\x00".to_vec();
    message.extend(dead);
    message.extend([DATA, LITTLE_ENDIAN_INLINE_QOS_KEY]);
    message.extend((data.len() as u16).to_le_bytes());
    message.extend(data);
    message
}

/// A GUID or its prefix as other tools show it.
pub(super) fn hex(guid: impl AsRef<[u8]>) -> String {
    guid.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Beyond what the dead participant had used: RustDDS takes a number that it has seen for a repetition.
const FIRST_NUMBER: i64 = 1 << 40;
const DATA: u8 = 0x15;
const LITTLE_ENDIAN_INLINE_QOS_KEY: u8 = 0b1011;
const OCTETS_TO_INLINE_QOS: u8 = 16;
const SPDP_READER: [u8; 4] = [0, 1, 0, 0xc7];
const SPDP_WRITER: [u8; 4] = [0, 1, 0, 0xc2];
const PARTICIPANT: [u8; 4] = [0, 0, 1, 0xc1];
/// PID_STATUS_INFO, four octets: disposed and unregistered.
const STATUS_INFO_GONE: [u8; 8] = [0x71, 0, 4, 0, 0, 0, 0, 3];
/// PID_PARTICIPANT_GUID, sixteen octets.
const PARTICIPANT_GUID: [u8; 4] = [0x50, 0, 16, 0];
const PL_CDR_LE: [u8; 4] = [0, 3, 0, 0];
const SENTINEL: [u8; 4] = [1, 0, 0, 0];
