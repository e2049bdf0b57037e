//! Writes what the plug-in has to say in Dust's name, and samples that it puts together for Dust.

use super::{EntityId, Guid, GuidPrefix, HEADER_LEN, Heartbeat, SUBMESSAGE_HEADER_LEN, flag, kind, pid};
use zerodds_core::Endianness;

/// Appends submessages to a message.
#[derive(Debug)]
pub(crate) struct MessageWriter {
    bytes: Vec<u8>,
    order: Endianness,
}

/// What a DATA says ahead of its inline QoS and payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataFields {
    pub(crate) flags: u8,
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
}

/// What a DATA_FRAG says ahead of its inline QoS and payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataFragFields {
    pub(crate) flags: u8,
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
    pub(crate) first: u32,
    pub(crate) fragment_len: u16,
    pub(crate) sample_len: u32,
}

/// An ACKNACK that asks for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckNackFields {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    /// Everything below it is acknowledged.
    pub(crate) base: i64,
    pub(crate) count: i32,
}

/// A NACK_FRAG for a window of up to 256 fragments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NackFragFields {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
    pub(crate) base: u32,
    pub(crate) bits: u32,
    /// Bit 31 of the first word is the base (§9.4.2.8).
    pub(crate) bitmap: [u32; 8],
    pub(crate) count: i32,
}

impl NackFragFields {
    /// Octets of a NACK_FRAG with its header, at most.
    pub(crate) const LEN_MAX: usize = SUBMESSAGE_HEADER_LEN + 60;
}

impl MessageWriter {
    /// A message with this header, whose submessages are written in this byte order.
    pub(crate) fn new(header: &[u8; HEADER_LEN], order: Endianness, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(header);
        Self { bytes, order }
    }

    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Octets written so far.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Submessages that were written by somebody else, header and all.
    pub(crate) fn verbatim(&mut self, submessages: &[u8]) -> &mut Self {
        self.octets(submessages)
    }

    pub(crate) fn info_dst(&mut self, prefix: GuidPrefix) -> &mut Self {
        self.submessage(kind::INFO_DST, 0, 12).octets(&prefix.0)
    }

    /// INFO_TS from seconds and fraction.
    pub(crate) fn info_ts(&mut self, (seconds, fraction): (u32, u32)) -> &mut Self {
        self.submessage(kind::INFO_TS, 0, 8).u32(seconds).u32(fraction)
    }

    /// A DATA that extends to the end of the message, up to where its inline QoS or payload begins.
    pub(crate) fn open_data(&mut self, data: DataFields) -> &mut Self {
        self.submessage(kind::DATA, data.flags, 0).u16(0).u16(16);
        self.entity(data.reader).entity(data.writer).sequence_number(data.sequence_number)
    }

    /// A DATA without inline QoS, after which others may follow.
    pub(crate) fn data(&mut self, data: DataFields, payload: &[u8]) -> &mut Self {
        let at = self.bytes.len();
        self.open_data(data).octets(payload);
        self.close(at)
    }

    /// A DATA which says that an instance is gone, disposed of and unregistered (§9.6.4.9), by its key.
    pub(crate) fn disposed(
        &mut self,
        (writer, reader): (EntityId, EntityId),
        sequence_number: i64,
        key_id: u16,
        key: Guid,
    ) -> &mut Self {
        let (at, key) = (self.bytes.len(), key.to_bytes());
        let encapsulation = [0, if self.order == Endianness::Big { 2 } else { 3 }, 0, 0];
        let flags = flag::INLINE_QOS | flag::DATA_KEY;
        self.open_data(DataFields { flags, reader, writer, sequence_number })
            .parameter(pid::STATUS_INFO, &[0, 0, 0, 3])
            .parameter(pid::KEY_HASH, &key)
            .parameter(pid::SENTINEL, &[])
            .verbatim(&encapsulation)
            .parameter(key_id, &key)
            .parameter(pid::SENTINEL, &[]);
        self.close(at)
    }

    /// A DATA of which Dust takes no more than that this number has come, and that only if it is the next: its status is none
    /// that there is.
    pub(crate) fn nothing(&mut self, writer: EntityId, sequence_number: i64) -> &mut Self {
        let (at, reader) = (self.bytes.len(), EntityId::NOBODY);
        self.open_data(DataFields { flags: flag::INLINE_QOS, reader, writer, sequence_number })
            .parameter(pid::STATUS_INFO, &[0xff; 4])
            .parameter(pid::SENTINEL, &[]);
        self.close(at)
    }

    /// A GAP from `start` up to `base`.
    pub(crate) fn gap(&mut self, (reader, writer): (EntityId, EntityId), start: i64, base: i64) -> &mut Self {
        self.submessage(kind::GAP, 0, 28).entity(reader).entity(writer);
        self.sequence_number(start).sequence_number(base).u32(0)
    }

    /// Gives the DATA that begins at `at` and ends here its length; what is too long for that extends to the end.
    fn close(&mut self, at: usize) -> &mut Self {
        let len = u16::try_from(self.bytes.len() - at - SUBMESSAGE_HEADER_LEN).unwrap_or(0);
        let len = match self.order {
            Endianness::Big => len.to_be_bytes(),
            Endianness::Little => len.to_le_bytes(),
        };
        self.bytes[at + 2..at + SUBMESSAGE_HEADER_LEN].copy_from_slice(&len);
        self
    }

    pub(crate) fn acknack(&mut self, acknack: AckNackFields) -> &mut Self {
        self.submessage(kind::ACKNACK, flag::FINAL, 24).entity(acknack.reader).entity(acknack.writer);
        self.sequence_number(acknack.base).u32(0).u32(acknack.count.cast_unsigned())
    }

    /// One fragment; inline QoS belongs to the first of a sample.
    pub(crate) fn data_frag(&mut self, frag: DataFragFields, inline_qos: &[u8], payload: &[u8]) -> &mut Self {
        let len = 32 + inline_qos.len() + payload.len();
        let len = u16::try_from(len).unwrap_or(0);
        self.submessage(kind::DATA_FRAG, frag.flags, len).u16(0).u16(28);
        self.entity(frag.reader).entity(frag.writer).sequence_number(frag.sequence_number);
        self.u32(frag.first).u16(1).u16(frag.fragment_len).u32(frag.sample_len);
        self.octets(inline_qos).octets(payload)
    }

    /// One parameter of a list (§9.4.2.11); `value` is a multiple of 4 octets long.
    pub(crate) fn parameter(&mut self, id: u16, value: &[u8]) -> &mut Self {
        self.u16(id).u16(value.len() as u16).octets(value)
    }

    pub(crate) fn heartbeat(&mut self, heartbeat: Heartbeat) -> &mut Self {
        self.heartbeat_with(0, heartbeat)
    }

    /// A HEARTBEAT that asks for no answer, whatever its reader lacks.
    pub(crate) fn silent_heartbeat(&mut self, heartbeat: Heartbeat) -> &mut Self {
        self.heartbeat_with(flag::FINAL | flag::LIVELINESS, heartbeat)
    }

    fn heartbeat_with(&mut self, flags: u8, heartbeat: Heartbeat) -> &mut Self {
        self.submessage(kind::HEARTBEAT, flags, 28).entity(heartbeat.reader).entity(heartbeat.writer);
        self.sequence_number(heartbeat.first)
            .sequence_number(heartbeat.last)
            .u32(heartbeat.count.cast_unsigned())
    }

    pub(crate) fn heartbeat_frag(&mut self, frag: &DataFragFields, last: u32, count: i32) -> &mut Self {
        self.submessage(kind::HEARTBEAT_FRAG, 0, 24).entity(frag.reader).entity(frag.writer);
        self.sequence_number(frag.sequence_number).u32(last).u32(count.cast_unsigned())
    }

    pub(crate) fn nack_frag(&mut self, nack: &NackFragFields) -> &mut Self {
        let longs = nack.bits.div_ceil(32).min(8) as usize;
        let len = 28 + 4 * longs as u16;
        self.submessage(kind::NACK_FRAG, 0, len).entity(nack.reader).entity(nack.writer);
        self.sequence_number(nack.sequence_number).u32(nack.base).u32(nack.bits);
        nack.bitmap[..longs].iter().for_each(|&long| {
            self.u32(long);
        });
        self.u32(nack.count.cast_unsigned())
    }

    fn submessage(&mut self, kind: u8, flags: u8, len: u16) -> &mut Self {
        let endianness = match self.order {
            Endianness::Big => 0,
            Endianness::Little => flag::ENDIANNESS,
        };
        self.octets(&[kind, flags & !flag::ENDIANNESS | endianness]).u16(len)
    }

    fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(octets);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        match self.order {
            Endianness::Big => self.octets(&value.to_be_bytes()),
            Endianness::Little => self.octets(&value.to_le_bytes()),
        }
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        match self.order {
            Endianness::Big => self.octets(&value.to_be_bytes()),
            Endianness::Little => self.octets(&value.to_le_bytes()),
        }
    }

    fn entity(&mut self, entity: EntityId) -> &mut Self {
        self.octets(&entity.0)
    }

    fn sequence_number(&mut self, number: i64) -> &mut Self {
        let number = number.cast_unsigned();
        self.u32((number >> 32) as u32).u32(number as u32)
    }
}
