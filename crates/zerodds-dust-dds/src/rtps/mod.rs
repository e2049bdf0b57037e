//! The RTPS wire format, as far as this plug-in has to see it (DDSI-RTPS 2.5 §8.3, §9.4).
//!
//! ```text
//!   ┌ header 20 ┐┌ submessage ───────────────────────────┐┌ submessage ...
//!   RTPS 2.x vv  id  flags  octetsToNextHeader  body ...
//!   guidPrefix   1   1      2 (0: to the end)
//! ```
//! Reading is bounds-checked throughout and allocates nothing: a message is a slice, its parts are views into
//! it. Writing covers only what the plug-in says in Dust's name. There is no general RTPS stack here; Dust is.

mod id;
mod read;
mod write;

pub(crate) use id::{EntityId, Guid, GuidPrefix};
pub(crate) use read::{
    AckNack, Content, Data, DataFrag, Gap, Heartbeat, Malformed, NackFrag, Parameters, Submessage,
    Submessages, header,
};
pub(crate) use write::{AckNackFields, DataFields, DataFragFields, MessageWriter, NackFragFields};

/// Octets of the RTPS header (§9.4.4).
pub(crate) const HEADER_LEN: usize = 20;
/// Octets of a submessage header (§9.4.5.1).
pub(crate) const SUBMESSAGE_HEADER_LEN: usize = 4;

/// Submessage ids (§9.4.5.1.1).
pub(crate) mod kind {
    pub(crate) const ACKNACK: u8 = 0x06;
    pub(crate) const HEARTBEAT: u8 = 0x07;
    pub(crate) const GAP: u8 = 0x08;
    pub(crate) const INFO_TS: u8 = 0x09;
    pub(crate) const INFO_SRC: u8 = 0x0c;
    pub(crate) const INFO_DST: u8 = 0x0e;
    pub(crate) const NACK_FRAG: u8 = 0x12;
    pub(crate) const HEARTBEAT_FRAG: u8 = 0x13;
    pub(crate) const DATA: u8 = 0x15;
    pub(crate) const DATA_FRAG: u8 = 0x16;
    pub(crate) const PAD: u8 = 0x01;
}

/// Submessage flags (§9.4.5).
pub(crate) mod flag {
    /// Little-endian.
    pub(crate) const ENDIANNESS: u8 = 0x01;
    /// DATA, DATA_FRAG: inline QoS is present.
    pub(crate) const INLINE_QOS: u8 = 0x02;
    /// DATA: the payload is data.
    pub(crate) const DATA: u8 = 0x04;
    /// DATA: the payload is a key.
    pub(crate) const DATA_KEY: u8 = 0x08;
    /// DATA_FRAG: the payload is a key.
    pub(crate) const FRAG_KEY: u8 = 0x04;
    /// HEARTBEAT: no answer is required.
    pub(crate) const FINAL: u8 = 0x02;
    /// HEARTBEAT: sent to assert liveliness alone.
    pub(crate) const LIVELINESS: u8 = 0x04;
    /// INFO_TS: what follows has no timestamp.
    pub(crate) const INVALIDATE: u8 = 0x02;
}

/// Parameter ids (§9.6.3, §9.6.4).
pub(crate) mod pid {
    pub(crate) const PAD: u16 = 0x0000;
    pub(crate) const SENTINEL: u16 = 0x0001;
    pub(crate) const PARTICIPANT_LEASE_DURATION: u16 = 0x0002;
    pub(crate) const RELIABILITY: u16 = 0x001a;
    pub(crate) const PARTITION: u16 = 0x0029;
    pub(crate) const DEFAULT_UNICAST_LOCATOR: u16 = 0x0031;
    pub(crate) const METATRAFFIC_UNICAST_LOCATOR: u16 = 0x0032;
    pub(crate) const KEY_HASH: u16 = 0x0070;
    pub(crate) const STATUS_INFO: u16 = 0x0071;
    pub(crate) const DATA_REPRESENTATION: u16 = 0x0073;
    pub(crate) const TYPE_CONSISTENCY: u16 = 0x0074;
    pub(crate) const TYPE_INFORMATION: u16 = 0x0075;
    pub(crate) const DOMAIN_TAG: u16 = 0x4014;
    pub(crate) const PARTICIPANT_GUID: u16 = 0x0050;
    pub(crate) const ENDPOINT_GUID: u16 = 0x005a;
}

/// The largest sequence number taken from a peer. Real ones count up from 1 and never come near; the headroom
/// keeps arithmetic on them from overflowing, here and in Dust.
pub(crate) const SEQUENCE_NUMBER_MAX: i64 = 1 << 62;
