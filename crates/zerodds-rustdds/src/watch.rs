//! What sessions say to each other, as a capture shows it: in RTPS, which it is not.
//!
//! ```text
//!   sample   header of RTPS │ INFO_TS, if it is stamped │ DATA: writer, the sample's id, CDR
//!   note     header of RTPS │ a submessage of a kind that is left to vendors (0x80): the note
//! ```
//! Entity id and payload are those of the sample. The sequence number is the session's own id of it, the same on both
//! sides: RTPS gives the sample its number later, with its descriptor, and the bytes travel without it. RustDDS's own
//! datagrams, the descriptors among them, are not here; what captures on a network interface has them.

use crate::protocol::{HEADER_LEN, Prefix, Received, incarnation, parse};
use parking_lot::Mutex;
use std::collections::HashMap;
use zerodds_capture::{Pending, Tap};
use zerodds_core::{Incarnation, Locator};

/// Captures a session's messages, if that is asked for.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    tap: Option<Tap>,
    own: Prefix,
    /// Whom messages come from. Nothing else is locked while it is.
    prefixes: Mutex<HashMap<Incarnation, Prefix>>,
}

impl Watch {
    pub(crate) fn new(tap: Option<Tap>, own: Prefix) -> Self {
        Self { tap, own, prefixes: Mutex::default() }
    }

    /// Whether anything is captured.
    pub(crate) const fn is_on(&self) -> bool {
        self.tap.is_some()
    }

    /// These participants are known, and no others.
    pub(crate) fn meet(&self, participants: impl Iterator<Item = Prefix>) {
        *self.prefixes.lock() = participants.map(|prefix| (incarnation(prefix), prefix)).collect();
    }

    /// A place for a message that is about to be sent.
    pub(crate) fn begin(&self, len: usize) -> Option<Pending> {
        self.tap.as_ref()?.begin(len)
    }

    /// The message of this place was sent to these.
    pub(crate) fn sent(
        &self,
        pending: Option<Pending>,
        message: &[u8],
        to: impl IntoIterator<Item = Locator>,
    ) {
        if let Some(pending) = pending {
            let (shown, remark) = shown(self.own, message);
            pending.sent(shown, to, remark);
        }
    }

    pub(crate) fn received(&self, message: &[u8], from: Option<Locator>) {
        let Some(pending) = self.begin(message.len()) else { return };
        let peer = from.as_ref().and_then(Locator::incarnation);
        let known = peer.and_then(|peer| self.prefixes.lock().get(&peer).copied());
        let (shown, remark) = shown(known.unwrap_or_else(|| stranger(peer)), message);
        pending.received(shown, from, remark);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.tap.as_ref().map_or(0, Tap::dropped)
    }

    /// What was captured is in the file afterwards.
    pub(crate) fn flush(&self) {
        if let Some(tap) = &self.tap {
            tap.flush();
        }
    }
}

/// As much as a locator says of the prefix of a participant that discovery has not found yet.
fn stranger(peer: Option<Incarnation>) -> Prefix {
    let mut prefix = [0; 12];
    if let (Some(tail), Some(peer)) = (prefix.last_chunk_mut(), peer) {
        *tail = peer.to_bytes();
    }
    prefix
}

/// The RTPS message that shows `message`, and what is to be said of it.
fn shown(from: Prefix, message: &[u8]) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::with_capacity(message.len() + 64);
    bytes.extend(b"RTPS\x02\x04\x01\x12");
    bytes.extend(from);
    let Some(Received::Sample(header)) = parse(message) else {
        submessage(&mut bytes, VENDOR_SPECIFIC, LITTLE_ENDIAN, &[message]);
        return (bytes, Some("a note of the session".to_owned()));
    };
    if let Some(written) = header.written {
        let (seconds, fraction) = ((written >> 32) as u32, written as u32);
        let flags = LITTLE_ENDIAN;
        submessage(&mut bytes, INFO_TS, flags, &[&seconds.to_le_bytes(), &fraction.to_le_bytes()]);
    }
    let (high, low) = ((header.id >> 32) as u32, header.id as u32);
    let head = [[0, 0, 16, 0], [0; 4], header.writer, high.to_le_bytes(), low.to_le_bytes(), CDR_LE].concat();
    let cdr = message.get(HEADER_LEN..).unwrap_or_default();
    submessage(&mut bytes, DATA, LITTLE_ENDIAN | HAS_DATA, &[&head, cdr]);
    (bytes, Some(format!("sample {}, by the session's number, not that of RTPS", header.id)))
}

/// The last submessage of a message may be longer than its length can say, which is 0 then (DDSI-RTPS 2.5 §9.4.5.1.3).
fn submessage(bytes: &mut Vec<u8>, kind: u8, flags: u8, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let [a, b] = u16::try_from(len).unwrap_or(0).to_le_bytes();
    bytes.extend([kind, flags, a, b]);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
}

const INFO_TS: u8 = 0x09;
const DATA: u8 = 0x15;
const VENDOR_SPECIFIC: u8 = 0x80;
const LITTLE_ENDIAN: u8 = 1;
const HAS_DATA: u8 = 4;
/// The encapsulation of every shared sample.
const CDR_LE: [u8; 4] = [0, 1, 0, 0];
