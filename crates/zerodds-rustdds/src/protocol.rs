//! What two sessions say to each other: samples and notes over shared memory, descriptors in RTPS.
//!
//! ```text
//!   shared memory   sample      | header (64 bytes) | CDR of the sample, little-endian …
//!                   note        | magic, kind | what it says …
//!   RTPS DATA       descriptor  | 5a 03 00 00 | magic, incarnation of the ring, id of the sample, floor, length |
//! ```
//! All integers are little-endian. Everything here comes from another process: it is parsed once into a checked
//! value, and whatever does not parse is counted and skipped.

use crate::lifespan::{Lifespan, Ticks};
use zerodds_core::{Incarnation, fnv1a};

/// The first word of every message between sessions, and of every descriptor: "ZRD\x02".
const MAGIC: u32 = u32::from_le_bytes(*b"ZRD\x02");
/// The representation identifier of a descriptor. DDSI-RTPS 2.5 §10.2.1.2 assigns none to vendors; the second octet is one
/// that others know, because Cyclone DDS 11 takes a message with any other for malformed, and asks for it again for ever.
pub(crate) const REPRESENTATION: [u8; 2] = *b"Z\x03";
/// Over all of a descriptor but its first word: whoever overlooks the identifier finds no length in it that could be true.
const MASK: u8 = 0xa5;
/// Bytes before a sample's CDR: one unit of the ring, so that the CDR is aligned for any type.
pub(crate) const HEADER_LEN: usize = 64;

/// The last eight octets of a GUID prefix: random for every RustDDS participant, and known to whoever discovered
/// it.
pub(crate) fn incarnation(prefix: Prefix) -> Incarnation {
    let [_, _, _, _, tail @ ..] = prefix;
    Incarnation::from_bytes(tail)
}

/// A GUID prefix (DDSI-RTPS 2.5 §9.3.1.1).
pub(crate) type Prefix = [u8; 12];
/// An entity id (DDSI-RTPS 2.5 §9.3.1.2).
pub(crate) type Entity = [u8; 4];

/// Identifies a topic by its name, as RustDDS does, whatever its type is called: FNV-1a over 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicHash(u64);

impl TopicHash {
    pub(crate) fn of(name: &str) -> Self {
        Self(fnv1a(name.bytes()))
    }
}

/// One sample in a ring: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SampleKey {
    pub(crate) owner: Incarnation,
    pub(crate) id: u64,
}

/// What stands before a sample's CDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleHeader {
    pub(crate) id: u64,
    pub(crate) topic: TopicHash,
    /// Hash of the instance's key; zero without one. Equal hashes only make two instances share a history.
    pub(crate) instance: u64,
    pub(crate) writer: Entity,
    /// The source timestamp, where there is one.
    pub(crate) written: Option<Ticks>,
    /// The writer's LIFESPAN.
    pub(crate) lifespan: Lifespan,
}

/// What RTPS carries in place of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) key: SampleKey,
    /// Length of the sample's CDR in bytes.
    pub(crate) len: u32,
    /// All samples of this writer with lower ids were described before this one, or never will be.
    pub(crate) floor: u64,
}

/// What one session has to say to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// All readers of the sender's participant that take descriptors; replaces what was said before.
    Readers(Vec<Offer>),
    /// What the sender's application has taken of this writer, and what it never will.
    Taken { reader: Entity, writer: Entity, consumed: Consumed },
    /// This writer waits for what this reader takes beyond what it has heard of, and wants to hear of less than a quarter of
    /// the window too.
    Waiting { reader: Entity, writer: Entity, heard: i64 },
    /// This reader of the sender's will never be given this sample: it expired, perhaps before its descriptor was decoded, or was lost.
    Missed { reader: Entity, id: u64 },
    /// The session ends; its participant may go on without.
    Leaving,
    /// No descriptor will follow for this sample.
    Forget { id: u64 },
}

/// What a writer does not wait for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    /// The reader's application has taken everything up to this sequence number.
    pub(crate) up_to: i64,
    /// Samples that came in RTPS, whosever, and that the reader could not decode: of each writer's, those beyond what was taken.
    pub(crate) unreadable: u64,
}

/// A reader that takes descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) reader: Entity,
    /// Samples that it lets one writer have under way before they are taken; 0: no limit, history decides.
    pub(crate) window: u32,
}

/// A message from another session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A sample; its CDR begins at [`HEADER_LEN`].
    Sample(SampleHeader),
    Note(Note),
}

impl SampleHeader {
    pub(crate) fn write(&self, to: &mut [u8; HEADER_LEN]) {
        let mut fields = Fields(to);
        fields.put(MAGIC.to_le_bytes());
        fields.put(u32::from(kind::SAMPLE).to_le_bytes());
        fields.put(self.id.to_le_bytes());
        fields.put(self.topic.0.to_le_bytes());
        fields.put(self.instance.to_le_bytes());
        fields.put(self.writer);
        fields.put([0; 4]);
        fields.put(self.written.unwrap_or(0).to_le_bytes());
        fields.put(self.lifespan.to_word().to_le_bytes());
        fields.0.fill(0);
    }
}

impl Descriptor {
    pub(crate) const LEN: usize = 32;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut fields = Fields(&mut bytes);
        fields.put(MAGIC.to_le_bytes());
        fields.put(self.key.owner.to_bytes());
        fields.put(self.key.id.to_le_bytes());
        fields.put(self.floor.to_le_bytes());
        fields.put(self.len.to_le_bytes());
        bytes.iter_mut().skip(4).for_each(|octet| *octet ^= MASK);
        bytes
    }

    /// RTPS may pad what it carries; what follows is ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bytes: [u8; Self::LEN] = *bytes.first_chunk()?;
        bytes.iter_mut().skip(4).for_each(|octet| *octet ^= MASK);
        let mut parts = Parts(&bytes);
        (parts.u32()? == MAGIC).then_some(())?;
        let key = SampleKey { owner: Incarnation::from_bytes(parts.array()?), id: parts.u64()? };
        Some(Self { key, floor: parts.u64()?, len: parts.u32()? })
    }
}

impl Note {
    /// Whether this says all that an older one says, so that nobody needs to hear that.
    pub(crate) fn replaces(&self, older: &Self) -> bool {
        match (self, older) {
            (Self::Readers(_), Self::Readers(_)) | (Self::Leaving, Self::Leaving) => true,
            (
                Self::Taken { reader, writer, consumed },
                Self::Taken { reader: other, writer: of, consumed: before },
            ) => {
                (reader, writer) == (other, of)
                    && consumed.up_to >= before.up_to
                    && consumed.unreadable >= before.unreadable
            }
            (Self::Waiting { reader, writer, .. }, Self::Waiting { reader: other, writer: of, .. }) => {
                (reader, writer) == (other, of)
            }
            _ => false,
        }
    }

    /// Whether it is no less true for being said twice, nor for coming before what was to be said first.
    pub(crate) const fn may_be_said_twice(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::Waiting { .. } | Self::Missed { .. })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        let mut head = |kind: u8| bytes.extend(u32::from(kind).to_le_bytes());
        match self {
            Self::Readers(offers) => {
                head(kind::READERS);
                for offer in offers {
                    bytes.extend(offer.reader);
                    bytes.extend(offer.window.to_le_bytes());
                }
            }
            Self::Taken { reader, writer, consumed: Consumed { up_to, unreadable } } => {
                head(kind::TAKEN);
                bytes.extend(reader);
                bytes.extend(writer);
                bytes.extend(up_to.to_le_bytes());
                // What is not there is zero.
                if *unreadable > 0 {
                    bytes.extend(unreadable.to_le_bytes());
                }
            }
            Self::Waiting { reader, writer, heard } => {
                head(kind::WAITING);
                bytes.extend(reader);
                bytes.extend(writer);
                bytes.extend(heard.to_le_bytes());
            }
            Self::Missed { reader, id } => {
                head(kind::MISSED);
                bytes.extend(reader);
                bytes.extend(id.to_le_bytes());
            }
            Self::Leaving => head(kind::LEAVING),
            Self::Forget { id } => {
                head(kind::FORGET);
                bytes.extend(id.to_le_bytes());
            }
        }
        bytes
    }
}

/// What a message of another session is, if it is one.
pub(crate) fn parse(message: &[u8]) -> Option<Received> {
    let mut parts = Parts(message);
    (parts.u32()? == MAGIC).then_some(())?;
    let note = match u8::try_from(parts.u32()?).ok()? {
        kind::SAMPLE if message.len() >= HEADER_LEN => {
            let (id, topic, instance) = (parts.u64()?, TopicHash(parts.u64()?), parts.u64()?);
            let (writer, _) = (parts.array()?, parts.u32()?);
            let written = Some(parts.u64()?).filter(|&written| written > 0);
            let lifespan = Lifespan::from_word(parts.u64()?);
            return Some(Received::Sample(SampleHeader { id, topic, instance, writer, written, lifespan }));
        }
        kind::READERS => {
            let offers = parts.0.chunks_exact(8).take(OFFERS_MAX).map(Parts);
            let offers = offers.map(|mut offer| Some(Offer { reader: offer.array()?, window: offer.u32()? }));
            Note::Readers(offers.collect::<Option<_>>()?)
        }
        kind::TAKEN => {
            let (reader, writer, up_to) =
                (parts.array()?, parts.array()?, i64::from_le_bytes(parts.array()?));
            let unreadable = parts.u64().unwrap_or(0);
            Note::Taken { reader, writer, consumed: Consumed { up_to, unreadable } }
        }
        kind::WAITING => {
            let (reader, writer, heard) =
                (parts.array()?, parts.array()?, i64::from_le_bytes(parts.array()?));
            Note::Waiting { reader, writer, heard }
        }
        kind::MISSED => Note::Missed { reader: parts.array()?, id: parts.u64()? },
        kind::LEAVING => Note::Leaving,
        kind::FORGET => Note::Forget { id: parts.u64()? },
        _ => return None,
    };
    Some(Received::Note(note))
}

/// TRUST: readers of one participant that are remembered; whoever has more gets plain samples for the others.
const OFFERS_MAX: usize = 1 << 16;

mod kind {
    pub(super) const SAMPLE: u8 = 1;
    pub(super) const READERS: u8 = 2;
    pub(super) const TAKEN: u8 = 3;
    pub(super) const FORGET: u8 = 4;
    pub(super) const LEAVING: u8 = 5;
    pub(super) const WAITING: u8 = 6;
    pub(super) const MISSED: u8 = 7;
}

/// What is left to write.
struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        let rest = std::mem::take(&mut self.0);
        if let Some((here, rest)) = rest.split_first_chunk_mut() {
            *here = field;
            self.0 = rest;
        }
    }
}

/// What is left to read.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (here, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*here)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(up_to: i64, unreadable: u64) -> Consumed {
        Consumed { up_to, unreadable }
    }

    #[test]
    fn a_sample_is_found_again_by_its_header() {
        let topic = TopicHash::of("a");
        let lifespan = Lifespan::ENDLESS;
        let header =
            SampleHeader { id: 7, topic, instance: 9, writer: [1, 2, 3, 4], written: None, lifespan };
        let mut bytes = [0xff; HEADER_LEN];
        for header in [header, SampleHeader { written: Some(5), lifespan: Lifespan::from_word(6), ..header }]
        {
            header.write(&mut bytes);
            assert_eq!(parse(&bytes), Some(Received::Sample(header)));
        }
        assert_eq!(parse(&bytes[..HEADER_LEN - 1]), None, "too short for a sample");
    }

    #[test]
    fn notes_and_descriptors_are_read_as_written() {
        let notes = [
            Note::Readers(vec![]),
            Note::Readers(vec![Offer { reader: [1; 4], window: 64 }, Offer { reader: [2; 4], window: 0 }]),
            Note::Taken { reader: [3; 4], writer: [4; 4], consumed: taken(i64::MAX, 0) },
            Note::Taken { reader: [3; 4], writer: [4; 4], consumed: taken(0, u64::MAX) },
            Note::Forget { id: u64::MAX },
            Note::Missed { reader: [5; 4], id: 6 },
            Note::Leaving,
            Note::Waiting { reader: [1; 4], writer: [2; 4], heard: -1 },
        ];
        for note in notes {
            assert_eq!(parse(&note.to_bytes()), Some(Received::Note(note)));
        }
        let key = SampleKey { owner: Incarnation::from_bytes([5; 8]), id: 6 };
        let descriptor = Descriptor { key, len: 7, floor: 5 };
        let mut bytes = descriptor.to_bytes().to_vec();
        assert_eq!(Descriptor::parse(&bytes), Some(descriptor));
        bytes.extend([0; 4]);
        assert_eq!(Descriptor::parse(&bytes), Some(descriptor), "RTPS pads");
        assert_eq!(Descriptor::parse(&bytes[..Descriptor::LEN - 1]), None);
    }

    #[test]
    fn a_note_replaces_an_older_one_that_says_less_of_the_same() {
        let skipped = |up_to, unreadable| Note::Taken {
            reader: [1; 4],
            writer: [2; 4],
            consumed: taken(up_to, unreadable),
        };
        assert!(skipped(1, 1).replaces(&skipped(1, 0)) && !skipped(2, 0).replaces(&skipped(1, 1)));
        let taken =
            |reader, up_to| Note::Taken { reader: [reader; 4], writer: [2; 4], consumed: taken(up_to, 0) };
        let waiting = |reader, heard| Note::Waiting { reader: [reader; 4], writer: [2; 4], heard };
        assert!(taken(1, 2).replaces(&taken(1, 1)) && waiting(1, 2).replaces(&waiting(1, 1)));
        assert!(Note::Readers(vec![]).replaces(&Note::Readers(vec![Offer { reader: [1; 4], window: 1 }])));
        assert!(!taken(1, 1).replaces(&taken(1, 2)), "two threads of the reader may come in another order");
        assert!(!taken(1, 2).replaces(&taken(2, 1)) && !taken(1, 2).replaces(&waiting(1, 1)));
        assert!(!Note::Forget { id: 1 }.replaces(&Note::Forget { id: 2 }));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..100), kind in 0_u8..9) {
            let _ = Descriptor::parse(&bytes);
            let _ = parse(&bytes);
            if bytes.len() >= 8 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4..8].copy_from_slice(&u32::from(kind).to_le_bytes());
            }
            let _ = Descriptor::parse(&bytes);
            let _ = parse(&bytes);
        }
    }
}
