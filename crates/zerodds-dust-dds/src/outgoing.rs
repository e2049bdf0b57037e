//! The shape of a message that Dust wrote, seen through its one flaw.
//!
//! ```text
//!   header │ INFO_DST? │ INFO_TS? │ DATA or DATA_FRAG ............... │ HEARTBEAT?
//!          20          36         48  octetsToNextHeader: length mod 65,536
//! ```
//! Dust writes the 16-bit length of a submessage by cutting off what does not fit, so beyond 65,535 bytes the
//! format alone no longer tells where a DATA ends. Its shape does: nothing but one HEARTBEAT of 32 octets ever
//! follows a DATA, and of the two possible ends only one agrees with the stored length.

use crate::rtps::{
    Data, DataFrag, EntityId, GuidPrefix, HEADER_LEN, Heartbeat, Malformed, SUBMESSAGE_HEADER_LEN,
    Submessage, flag, header, kind,
};

/// Octets of a HEARTBEAT with its header.
pub(crate) const HEARTBEAT_LEN: usize = 32;

/// Where the parts of an outgoing message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The participant it is for, unless it is for all.
    pub(crate) to: Option<GuidPrefix>,
    /// The first submessage that is neither INFO_DST nor INFO_TS, by its id.
    pub(crate) kind: u8,
    flags: u8,
    /// Where that submessage begins.
    pub(crate) offset: usize,
    /// Where it ends; the trailing HEARTBEAT, if there is one, begins here.
    pub(crate) end: usize,
    pub(crate) has_heartbeat: bool,
}

impl Outgoing {
    /// Finds the parts of `message`.
    pub(crate) fn read(message: &[u8]) -> Result<Self, Malformed> {
        header(message)?;
        let mut to = None;
        let mut offset = HEADER_LEN;
        loop {
            let rest = message.get(offset..).ok_or(Malformed::Truncated)?;
            let (&[kind, flags, low, high], body) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
            let stored_len = u16::from_le_bytes([low, high]);
            match kind {
                kind::INFO_DST => to = body.first_chunk().copied().map(GuidPrefix),
                kind::INFO_TS => {}
                _ => {
                    let (end, has_heartbeat) = end_of(message, offset, stored_len)?;
                    return Ok(Self { to, kind, flags, offset, end, has_heartbeat });
                }
            }
            offset += SUBMESSAGE_HEADER_LEN + usize::from(stored_len);
        }
    }

    /// The submessage itself.
    pub(crate) fn submessage<'m>(&self, message: &'m [u8]) -> Submessage<'m> {
        let body = &message[self.offset + SUBMESSAGE_HEADER_LEN..self.end];
        Submessage { kind: self.kind, flags: self.flags, offset: self.offset, open_ended: false, body }
    }

    /// Its sample, if this is a DATA.
    pub(crate) fn data<'m>(&self, message: &'m [u8]) -> Option<Data<'m>> {
        (self.kind == kind::DATA).then(|| Data::read(&self.submessage(message)).ok())?
    }

    /// Its part of a sample, if this is a DATA_FRAG.
    pub(crate) fn chunk<'m>(&self, message: &'m [u8]) -> Option<DataFrag<'m>> {
        (self.kind == kind::DATA_FRAG).then(|| DataFrag::read_unchecked(&self.submessage(message)).ok())?
    }

    /// Whether its payload is data, as opposed to a key.
    pub(crate) const fn is_alive(&self) -> bool {
        self.kind == kind::DATA_FRAG || self.flags & flag::DATA != 0
    }

    /// The writer, if this is a DATA or DATA_FRAG.
    pub(crate) fn writer(&self, message: &[u8]) -> Option<EntityId> {
        let at = self.offset + SUBMESSAGE_HEADER_LEN + 8;
        let carries_data = matches!(self.kind, kind::DATA | kind::DATA_FRAG);
        carries_data.then(|| message.get(at..)?.first_chunk().copied().map(EntityId))?
    }

    /// What the HEARTBEAT in it says, alone or behind a sample.
    pub(crate) fn read_heartbeat(&self, message: &[u8]) -> Option<Heartbeat> {
        let (offset, end) =
            if self.has_heartbeat { (self.end, message.len()) } else { (self.offset, self.end) };
        let (&[kind, flags, ..], body) = message[offset..end].split_first_chunk::<SUBMESSAGE_HEADER_LEN>()?;
        let submessage = Submessage { kind, flags, offset, open_ended: false, body };
        (kind == kind::HEARTBEAT).then(|| Heartbeat::read(&submessage).ok())?
    }

    /// The trailing HEARTBEAT, header included.
    pub(crate) fn heartbeat<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        if self.has_heartbeat { &message[self.end..self.end + HEARTBEAT_LEN] } else { &[] }
    }
}

/// Where the submessage at `offset` ends, and whether a HEARTBEAT follows.
fn end_of(message: &[u8], offset: usize, stored_len: u16) -> Result<(usize, bool), Malformed> {
    let body = offset + SUBMESSAGE_HEADER_LEN;
    let agrees = |end: usize| end.checked_sub(body).is_some_and(|len| len as u16 == stored_len);
    if agrees(message.len()) {
        return Ok((message.len(), false));
    }
    let before_heartbeat = message.len().checked_sub(HEARTBEAT_LEN).filter(|&end| agrees(end));
    match before_heartbeat {
        Some(end) if matches!(message[end..], [kind::HEARTBEAT, _, 28, 0, ..]) => Ok((end, true)),
        // Several small submessages: the length is what it says.
        _ if body + usize::from(stored_len) <= message.len() => Ok((body + usize::from(stored_len), false)),
        _ => Err(Malformed::Truncated),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rtps::{DataFields, DataFragFields, Heartbeat, MessageWriter, pid};
    use zerodds_core::Endianness;

    pub(crate) const HEADER: [u8; HEADER_LEN] = *b"RTPS\x02\x04\x01\x14me, who else";
    pub(crate) const PEER: GuidPrefix = GuidPrefix(*b"another one.");
    pub(crate) const WRITER: EntityId = EntityId([0, 0, 1, 3]);
    pub(crate) const READER: EntityId = EntityId([0, 0, 2, 4]);

    /// A participant says that it is there, and nothing else of itself.
    pub(crate) fn announcement() -> Vec<u8> {
        let mut announcement = MessageWriter::new(&HEADER, Endianness::Little, 64);
        let (reader, writer) = (EntityId::SPDP_READER, EntityId::SPDP_WRITER);
        announcement
            .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: 1 })
            .verbatim(&[0, 3, 0, 0])
            .parameter(pid::SENTINEL, &[]);
        announcement.into_bytes()
    }

    /// A message as Dust writes it, its length field cut to 16 bits.
    pub(crate) fn as_dust_writes(payload: &[u8], inline_qos: &[u8], heartbeat: bool) -> Vec<u8> {
        let mut message = MessageWriter::new(&HEADER, Endianness::Little, payload.len() + 256);
        let flags = flag::DATA | if inline_qos.is_empty() { 0 } else { flag::INLINE_QOS };
        message.info_dst(PEER).info_ts((7, 8));
        let fields = DataFields { flags, reader: READER, writer: WRITER, sequence_number: 42 };
        message.open_data(fields).verbatim(inline_qos).verbatim(payload);
        if heartbeat {
            let (first, last) = (1, 42);
            message.heartbeat(Heartbeat { reader: READER, writer: WRITER, first, last, count: 9 });
        }
        let mut message = message.into_bytes();
        let len = 20 + inline_qos.len() + payload.len();
        message[50..52].copy_from_slice(&(len as u16).to_le_bytes());
        message
    }

    /// A DATA_FRAG as Dust writes it when a sample exceeds the chunk: its size field cut to 16 bits.
    pub(crate) fn chunk_as_dust_writes(sample: &[u8], chunk_len: usize, number: u32) -> Vec<u8> {
        let start = (number as usize - 1) * chunk_len;
        let part = &sample[start..sample.len().min(start + chunk_len)];
        let mut message = MessageWriter::new(&HEADER, Endianness::Little, part.len() + 256);
        let fields = DataFragFields {
            flags: 0,
            reader: READER,
            writer: WRITER,
            sequence_number: 42,
            first: number,
            fragment_len: chunk_len as u16,
            sample_len: sample.len() as u32,
        };
        message.info_dst(PEER).info_ts((7, 8)).data_frag(fields, &[], part);
        let mut message = message.into_bytes();
        message[50..52].copy_from_slice(&((32 + part.len()) as u16).to_le_bytes());
        message
    }

    #[test]
    fn the_end_of_a_data_is_found_at_every_length_around_the_16_bit_limit() {
        for len in (0..200).chain(65_400..65_700).chain(131_000..131_200).chain([1 << 20, (1 << 22) + 3]) {
            let payload = vec![0x5a; len];
            for heartbeat in [false, true] {
                let message = as_dust_writes(&payload, &[], heartbeat);
                let outgoing = Outgoing::read(&message).expect("a message");
                assert_eq!(outgoing.end, 48 + 4 + 20 + len, "{len} {heartbeat}");
                assert_eq!((outgoing.has_heartbeat, outgoing.to), (heartbeat, Some(PEER)));
                assert_eq!(outgoing.data(&message).expect("DATA").payload.len(), len);
                assert_eq!(outgoing.writer(&message), Some(WRITER));
                let said = outgoing.read_heartbeat(&message).map(|said| (said.writer, said.last));
                assert_eq!(said, heartbeat.then_some((WRITER, 42)));
            }
        }
    }

    #[test]
    fn a_payload_that_looks_like_a_heartbeat_is_still_payload() {
        let mut payload = vec![0; 70_000];
        let at = payload.len() - HEARTBEAT_LEN;
        payload[at..at + 4].copy_from_slice(&[kind::HEARTBEAT, 1, 28, 0]);
        let message = as_dust_writes(&payload, &[], false);
        let outgoing = Outgoing::read(&message).expect("a message");
        assert_eq!((outgoing.end, outgoing.has_heartbeat), (message.len(), false));
    }

    #[test]
    fn a_message_without_a_submessage_is_malformed() {
        assert!(Outgoing::read(&HEADER).is_err());
        assert!(Outgoing::read(b"RTPS").is_err());
    }
}
