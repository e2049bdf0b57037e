//! Who is who: GUIDs and their two halves (DDSI-RTPS 2.5 §9.3.1).

use super::HEADER_LEN;
use std::fmt;

/// Names a participant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GuidPrefix(pub(crate) [u8; 12]);

/// Names an endpoint within its participant.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntityId(pub(crate) [u8; 4]);

/// Names an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guid {
    pub(crate) prefix: GuidPrefix,
    pub(crate) entity: EntityId,
}

impl GuidPrefix {
    /// Addresses everyone, in an INFO_DST.
    pub(crate) const UNKNOWN: Self = Self([0; 12]);

    /// The header of a message in the name of this participant (§9.4.4).
    pub(crate) fn header(self) -> [u8; HEADER_LEN] {
        let mut header = *b"RTPS\x02\x04\x00\x00............";
        header[8..].copy_from_slice(&self.0);
        header
    }
}

impl Guid {
    /// From its 16 octets on the wire.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (prefix, entity) = bytes.split_first_chunk()?;
        Some(Self { prefix: GuidPrefix(*prefix), entity: EntityId(entity.try_into().ok()?) })
    }

    /// The 16 octets of a GUID on the wire.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&self.prefix.0);
        bytes[12..].copy_from_slice(&self.entity.0);
        bytes
    }
}

impl EntityId {
    /// Addresses every matched endpoint.
    pub(crate) const UNKNOWN: Self = Self([0; 4]);
    /// Names no reader of Dust. Its readers are chosen by the writer they are matched with and do not look at the
    /// reader id, except the one for announcements, which takes every DATA that addresses all readers.
    pub(crate) const NOBODY: Self = Self([0xff, 0xff, 0xff, 0x07]);
    /// The participant itself.
    pub(crate) const PARTICIPANT: Self = Self([0, 0, 1, 0xc1]);
    pub(crate) const SPDP_WRITER: Self = Self([0, 1, 0, 0xc2]);
    pub(crate) const SPDP_READER: Self = Self([0, 1, 0, 0xc7]);
    pub(crate) const SEDP_TOPICS_WRITER: Self = Self([0, 0, 2, 0xc2]);
    pub(crate) const SEDP_PUBLICATIONS_WRITER: Self = Self([0, 0, 3, 0xc2]);
    pub(crate) const SEDP_SUBSCRIPTIONS_WRITER: Self = Self([0, 0, 4, 0xc2]);
    pub(crate) const TYPE_LOOKUP_REQUEST_WRITER: Self = Self([0, 3, 0, 0xc3]);
    pub(crate) const TYPE_LOOKUP_REPLY_WRITER: Self = Self([0, 3, 1, 0xc3]);

    /// Whether an application created it, as opposed to a built-in endpoint (§9.3.1.2, the two top bits of
    /// the kind).
    pub(crate) const fn is_user_defined(self) -> bool {
        self.0[3] & 0xc0 == 0
    }
}

impl fmt::Debug for GuidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}
