//! Reads a capture back: its packets, and the samples in them. For tests, which compare those with what was delivered.

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A capture as it was read.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// What its interfaces are called.
    pub interfaces: Vec<String>,
    /// Its packets, in order.
    pub packets: Vec<Packet>,
    /// By interface, where the file says at its end: messages seen, and those of them that it does not have.
    pub statistics: BTreeMap<u32, (u64, u64)>,
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The interface it was seen at.
    pub interface: usize,
    /// When.
    pub at: Duration,
    /// Whether it was received.
    pub is_inbound: bool,
    /// What is said of it.
    pub comment: String,
    /// Messages that are missing before it.
    pub dropped: u64,
    /// What the datagram carries: an RTPS message.
    pub rtps: Vec<u8>,
}

/// A sample, or the key of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The participant that it is from.
    pub prefix: [u8; 12],
    /// Its writer.
    pub writer: [u8; 4],
    /// Its sequence number.
    pub number: i64,
    /// Its payload, encapsulation header included.
    pub payload: Vec<u8>,
}

/// Reads a file.
///
/// # Panics
/// Where it is no capture, or not whole.
#[must_use]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]
pub fn read(path: &Path) -> Contents {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let mut contents = Contents::default();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                let name = interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                contents.interfaces.push(name.unwrap());
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.original_len as usize, packet.data.len(), "nothing is cut");
                let mut shown = Packet {
                    interface: packet.interface_id as usize,
                    at: packet.timestamp,
                    is_inbound: false,
                    comment: String::new(),
                    dropped: 0,
                    rtps: packet.data[28..].to_vec(),
                };
                for option in packet.options {
                    match option {
                        EnhancedPacketOption::Comment(comment) => shown.comment = comment.into_owned(),
                        EnhancedPacketOption::Flags(flags) => shown.is_inbound = flags == 1,
                        EnhancedPacketOption::DropCount(dropped) => shown.dropped = dropped,
                        _ => {}
                    }
                }
                contents.packets.push(shown);
            }
            Block::InterfaceStatistics(statistics) => {
                let number = |wanted: fn(&InterfaceStatisticsOption<'_>) -> Option<u64>| {
                    statistics.options.iter().find_map(wanted).unwrap()
                };
                let seen = number(|option| match option {
                    InterfaceStatisticsOption::IsbIfRecv(seen) => Some(*seen),
                    _ => None,
                });
                let dropped = number(|option| match option {
                    InterfaceStatisticsOption::IsbIfDrop(dropped) => Some(*dropped),
                    _ => None,
                });
                contents.statistics.insert(statistics.interface_id, (seen, dropped));
            }
            Block::SectionHeader(_) => {}
            other => panic!("{other:?}"),
        }
    }
    contents
}

impl Contents {
    /// The samples that were received, or those that were sent, put together from their fragments, in order.
    #[must_use]
    pub fn samples(&self, received: bool) -> Vec<Sample> {
        let mut samples: Vec<Sample> = Vec::new();
        for packet in self.packets.iter().filter(|packet| packet.is_inbound == received) {
            for (fragment, sample) in payloads(&packet.rtps) {
                match samples.last_mut() {
                    Some(last) if fragment > 1 => {
                        assert_eq!((last.writer, last.number), (sample.writer, sample.number));
                        last.payload.extend(sample.payload);
                    }
                    _ => samples.push(sample),
                }
            }
        }
        samples
    }
}

/// An RTPS message with a sample of `len` bytes, encapsulation header included. Its DATA says its length where 16 bits can.
#[must_use]
pub fn message(number: u8, len: usize) -> Vec<u8> {
    let mut bytes = b"RTPS\x02\x05\x01\x14a participant".to_vec();
    bytes.truncate(20);
    let [a, b] = u16::try_from(20 + len).unwrap_or(0).to_le_bytes();
    bytes.extend([0x15, 5, a, b, 0, 0, 16, 0, 0, 0, 1, 4, 0, 0, 1, 3, 0, 0, 0, 0, number, 0, 0, 0]);
    bytes.extend(&[0, 1, 0, 0][..len.min(4)]);
    bytes.extend((4..len).map(|index| (index / 3) as u8 ^ number));
    bytes
}

/// The payloads of a message's DATA and DATA_FRAGs, each with the number of its fragment or 0.
#[allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
fn payloads(rtps: &[u8]) -> Vec<(u32, Sample)> {
    let mut found = Vec::new();
    let prefix = rtps[8..20].try_into().unwrap();
    let mut at = 20;
    while let Some(&[id, flags, a, b]) = rtps.get(at..at + 4) {
        let little = flags & 1 != 0;
        let word =
            |octets: [u8; 2]| if little { u16::from_le_bytes(octets) } else { u16::from_be_bytes(octets) };
        let long =
            |octets: [u8; 4]| if little { u32::from_le_bytes(octets) } else { u32::from_be_bytes(octets) };
        let len = match (id, word([a, b])) {
            (0x15 | 0x16, 0) => rtps.len() - at - 4,
            (_, len) => len.into(),
        };
        let body = &rtps[at + 4..at + 4 + len];
        at += 4 + len;
        if !matches!(id, 0x15 | 0x16) {
            continue;
        }
        let mut payload = &body[4 + usize::from(word([body[2], body[3]]))..];
        let mut in_qos = flags & 2 != 0;
        while in_qos {
            let (id, len) = (word([payload[0], payload[1]]), word([payload[2], payload[3]]));
            in_qos = id != 1;
            payload = &payload[4 + if in_qos { usize::from(len) } else { 0 }..];
        }
        let half = |at: usize| long(body[at..at + 4].try_into().unwrap());
        let number = (i64::from(half(12)) << 32) | i64::from(half(16));
        let writer = body[8..12].try_into().unwrap();
        let fragment = if id == 0x16 { half(20) } else { 0 };
        found.push((fragment, Sample { prefix, writer, number, payload: payload.to_vec() }));
    }
    found
}

/// What tshark finds in these fields of every packet that its filter lets through, a line for each packet, with fragments put
/// together; `None` where it is not installed.
///
/// # Panics
/// Where it finds fault with the file.
#[must_use]
pub fn tshark(path: &Path, filter: &str, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command
        .args(["-o", "rtps.enable_rtps_reassembly:TRUE", "-2", "-Y", filter, "-T", "fields", "-r"])
        .arg(path);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {said}");
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
