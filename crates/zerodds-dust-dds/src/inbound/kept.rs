//! What Dust gets of a message, put together submessage by submessage.

use super::Fate;
use crate::reassembly::Origin;
use crate::rtps::kind::{DATA, INFO_DST, INFO_SRC, INFO_TS};
use crate::rtps::{HEADER_LEN, Malformed, MessageWriter, SUBMESSAGE_HEADER_LEN, Submessage};
use zerodds_core::Endianness;

/// The message that Dust gets, as far as it has been looked at.
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Something other than INFO is among it.
    worthwhile: bool,
}

impl Kept {
    /// With memory for `len` bytes: a large message must not grow into ever larger places.
    pub(super) fn of(header: [u8; HEADER_LEN], len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&header);
        Self { bytes, worthwhile: false }
    }

    pub(super) fn add(
        &mut self,
        message: &[u8],
        submessage: &Submessage<'_>,
        fate: Fate,
    ) -> Result<(), Malformed> {
        let patches = match fate {
            Fate::Drop => return Ok(()),
            Fate::Keep => Vec::new(),
            Fate::Patch(patches) => patches,
        };
        // Known before anything is appended: Dust would read the body of one without a length as headers.
        let filled_in = match submessage.open_ended && submessage.kind != DATA {
            true => Some(u16::try_from(submessage.body.len()).map_err(|_| Malformed::Truncated)?),
            false => None,
        };
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&message[submessage.offset..submessage.end()]);
        for (offset, octets) in patches {
            let to = at + offset - submessage.offset;
            self.bytes[to..to + octets.len()].copy_from_slice(&octets);
        }
        if let Some(len) = filled_in {
            let len = match submessage.order() {
                Endianness::Big => len.to_be_bytes(),
                Endianness::Little => len.to_le_bytes(),
            };
            self.bytes[at + 2..at + SUBMESSAGE_HEADER_LEN].copy_from_slice(&len);
        }
        self.worthwhile |= !matches!(submessage.kind, INFO_DST | INFO_SRC | INFO_TS);
        Ok(())
    }

    /// What has been kept so far, if it is worth a message; the rest of the message follows in another, which begins with what
    /// is known by now of where it comes from, and not with all that said so. (For whom it is Dust does not ask.)
    pub(super) fn cut(&mut self, origin: &Origin) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.worthwhile) {
            return None;
        }
        let mut rest = MessageWriter::new(&origin.header, Endianness::Little, REST_LEN);
        if let Some(timestamp) = origin.timestamp {
            rest.info_ts(timestamp);
        }
        Some(std::mem::replace(&mut self.bytes, rest.into_bytes()))
    }

    /// What has been kept since, if it is worth a message.
    pub(super) fn end(self) -> Option<Vec<u8>> {
        self.worthwhile.then_some(self.bytes)
    }
}

/// Room for the beginning of what follows a cut, and one more submessage.
const REST_LEN: usize = 64;
