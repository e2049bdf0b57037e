//! Reads what a peer sent. Everything here is a claim of that peer: lengths are checked against the bytes at
//! hand, numbers against what arithmetic on them can bear, and what fails either is [`Malformed`].

use super::{EntityId, GuidPrefix, HEADER_LEN, SEQUENCE_NUMBER_MAX, SUBMESSAGE_HEADER_LEN, flag, kind, pid};
use thiserror::Error;
use zerodds_core::Endianness;

/// The bytes are not what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("it is no RTPS 2 message")]
    Header,
    #[error("it ends before its own length")]
    Truncated,
    #[error("a sequence number is out of range")]
    SequenceNumber,
    #[error("a number set spans more than 256")]
    NumberSet,
    #[error("a parameter list runs off the end")]
    ParameterList,
    #[error("its fields contradict each other")]
    Fields,
}

/// The GUID prefix in the header of an RTPS 2 message.
pub(crate) fn header(message: &[u8]) -> Result<GuidPrefix, Malformed> {
    match message.first_chunk::<HEADER_LEN>() {
        Some([b'R', b'T', b'P', b'S', 2, _, _, _, prefix @ ..]) => Ok(GuidPrefix(*prefix)),
        _ => Err(Malformed::Header),
    }
}

/// One submessage of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submessage<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Where its header begins in the message.
    pub(crate) offset: usize,
    /// Its length field was 0, which means "to the end of the message" (§9.4.5.1.3).
    pub(crate) open_ended: bool,
    pub(crate) body: &'a [u8],
}

impl Submessage<'_> {
    pub(crate) const fn order(&self) -> Endianness {
        if self.flags & flag::ENDIANNESS == 0 { Endianness::Big } else { Endianness::Little }
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where it ends in the message.
    pub(crate) const fn end(&self) -> usize {
        self.offset + SUBMESSAGE_HEADER_LEN + self.body.len()
    }
}

/// The submessages of a message, in order. A submessage that claims more bytes than there are ends the
/// iteration with an error: where the next would begin is unknown.
#[derive(Debug)]
pub(crate) struct Submessages<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Submessages<'a> {
    /// Of a message whose [`header`] was found good.
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { message, offset: HEADER_LEN }
    }
}

impl<'a> Iterator for Submessages<'a> {
    type Item = Result<Submessage<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.message.get(offset..)?;
        let (&[kind, flags, low, high], body) = rest.split_first_chunk::<SUBMESSAGE_HEADER_LEN>()?;
        let len = match flags & flag::ENDIANNESS {
            0 => u16::from_be_bytes([low, high]),
            _ => u16::from_le_bytes([low, high]),
        };
        let open_ended = len == 0 && kind != kind::PAD && kind != kind::INFO_TS;
        let body = if open_ended { Some(body) } else { body.get(..usize::from(len)) };
        let Some(body) = body else {
            self.offset = self.message.len();
            return Some(Err(Malformed::Truncated));
        };
        let submessage = Submessage { kind, flags, offset, open_ended, body };
        self.offset = submessage.end();
        Some(Ok(submessage))
    }
}

/// What a submessage says, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Data(Data<'a>),
    DataFrag(DataFrag<'a>),
    Heartbeat(Heartbeat),
    HeartbeatFrag(HeartbeatFrag),
    Gap(Gap<'a>),
    /// Checked, with its count; Dust reads it.
    AckNack(i32),
    NackFrag(NackFrag<'a>),
    /// What follows is for this participant, or for all.
    InfoDst(GuidPrefix),
    /// What follows is from this participant, of this version and vendor, and says its time anew.
    InfoSrc([u8; 4], GuidPrefix),
    /// What follows was written at this time, in seconds and fraction.
    InfoTs(Option<(u32, u32)>),
    /// Padding, and kinds that neither Dust nor this plug-in acts on.
    Other,
}

impl<'a> Content<'a> {
    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        Ok(match submessage.kind {
            kind::DATA => Self::Data(Data::read(submessage)?),
            kind::DATA_FRAG => Self::DataFrag(DataFrag::read(submessage)?),
            kind::HEARTBEAT => Self::Heartbeat(Heartbeat::read(submessage)?),
            kind::HEARTBEAT_FRAG => Self::HeartbeatFrag(HeartbeatFrag::read(submessage)?),
            kind::GAP => Self::Gap(Gap::read(submessage)?),
            kind::ACKNACK => Self::AckNack(AckNack::read(submessage)?.count),
            kind::NACK_FRAG => Self::NackFrag(NackFrag::read(submessage)?),
            kind::INFO_DST => Self::InfoDst(GuidPrefix(fields.octets()?)),
            kind::INFO_SRC => {
                let _unused = fields.octets::<4>()?;
                Self::InfoSrc(fields.octets()?, GuidPrefix(fields.octets()?))
            }
            kind::INFO_TS if submessage.has(flag::INVALIDATE) => Self::InfoTs(None),
            kind::INFO_TS => Self::InfoTs(Some((fields.u32()?, fields.u32()?))),
            _ => Self::Other,
        })
    }
}

/// Takes one field after the other, in the submessage's byte order.
struct Fields<'a> {
    rest: &'a [u8],
    order: Endianness,
}

impl<'a> Fields<'a> {
    const fn of(submessage: &Submessage<'a>) -> Self {
        Self { rest: submessage.body, order: submessage.order() }
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*octets)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let octets = self.octets()?;
        Ok(match self.order {
            Endianness::Big => u16::from_be_bytes(octets),
            Endianness::Little => u16::from_le_bytes(octets),
        })
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let octets = self.octets()?;
        Ok(match self.order {
            Endianness::Big => u32::from_be_bytes(octets),
            Endianness::Little => u32::from_le_bytes(octets),
        })
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(self.u32()?.cast_signed())
    }

    fn entity(&mut self) -> Result<EntityId, Malformed> {
        Ok(EntityId(self.octets()?))
    }

    /// A sequence number from `min` up: `high` (long), then `low` (unsigned long).
    fn sequence_number(&mut self, min: i64) -> Result<i64, Malformed> {
        let number = i64::from(self.i32()?) << 32 | i64::from(self.u32()?);
        if (min..=SEQUENCE_NUMBER_MAX).contains(&number) {
            Ok(number)
        } else {
            Err(Malformed::SequenceNumber)
        }
    }

    /// What follows a set's base: its number of bits and the bitmap.
    fn bitmap(&mut self) -> Result<NumberSet<'a>, Malformed> {
        let bits = self.u32()?;
        if bits > 256 {
            return Err(Malformed::NumberSet);
        }
        let len = bits.div_ceil(32) as usize * 4;
        let bitmap = self.rest.get(..len).ok_or(Malformed::Truncated)?;
        self.rest = &self.rest[len..];
        Ok(NumberSet { bits, bitmap, order: self.order })
    }
}

/// Which of the up to 256 numbers from a base on are in a set (§9.4.2.6, §9.4.2.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberSet<'a> {
    /// Numbers that the bitmap speaks of, 0 to 256.
    pub(crate) bits: u32,
    bitmap: &'a [u8],
    order: Endianness,
}

impl NumberSet<'_> {
    /// Distances from the base, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.bits).filter(|&bit| {
            let (octet, mask) = Self::place(bit, self.order);
            self.bitmap[octet] & mask != 0
        })
    }

    /// In which octet of the bitmap a bit is, and which one there. Big-endian longs number their bits in octet order; little-endian ones
    /// have each long's octets reversed.
    const fn place(bit: u32, order: Endianness) -> (usize, u8) {
        let octet = match order {
            Endianness::Big => bit / 8,
            Endianness::Little => bit / 32 * 4 + (3 - bit % 32 / 8),
        };
        (octet as usize, 0x80 >> (bit % 8))
    }
}

/// DATA (§9.4.5.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
    /// With its sentinel.
    pub(crate) inline_qos: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Octets from the field after `octetsToInlineQos` to the inline QoS of a DATA.
const DATA_TO_INLINE_QOS: u16 = 16;

impl<'a> Data<'a> {
    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let _extra_flags = fields.u16()?;
        let to_inline_qos = fields.u16()?;
        let from_here = fields.rest;
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let sequence_number = fields.sequence_number(1)?;
        if to_inline_qos < DATA_TO_INLINE_QOS
            || (submessage.has(flag::DATA) && submessage.has(flag::DATA_KEY))
        {
            return Err(Malformed::Fields);
        }
        let (inline_qos, payload) = split_inline_qos(submessage, from_here, to_inline_qos)?;
        Ok(Self { reader, writer, sequence_number, inline_qos, payload })
    }
}

/// DATA_FRAG (§9.4.5.5): consecutive fragments of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataFrag<'a> {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
    /// The number of the first fragment in it; they count from 1.
    pub(crate) first: u32,
    pub(crate) count: u16,
    /// Bytes of every fragment but the last; at least 1.
    pub(crate) fragment_len: u16,
    /// Bytes of the sample; at least 1.
    pub(crate) sample_len: u32,
    pub(crate) inline_qos: &'a [u8],
    /// Exactly the bytes of its fragments.
    pub(crate) payload: &'a [u8],
    /// The sample is a key.
    pub(crate) key: bool,
    pub(crate) order: Endianness,
}

const DATA_FRAG_TO_INLINE_QOS: u16 = 28;

impl<'a> DataFrag<'a> {
    /// Where `first` stands in the submessage.
    pub(crate) const FIRST_OFFSET: usize = 24;
    /// Where its payload begins in the submessage, unless there is inline QoS.
    pub(crate) const PAYLOAD_OFFSET: usize = 36;

    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let whole = Self::read_unchecked(submessage)?;
        let Self { first, count, fragment_len, sample_len, .. } = whole;
        if first == 0 || count == 0 || fragment_len == 0 || sample_len == 0 {
            return Err(Malformed::Fields);
        }
        let last = first.checked_add(u32::from(count) - 1).filter(|&last| last <= whole.total());
        let last = u64::from(last.ok_or(Malformed::Fields)?);
        let start = u64::from(first - 1) * u64::from(fragment_len);
        let end = u64::from(sample_len).min(last * u64::from(fragment_len));
        let payload = whole.payload.get(..(end - start) as usize).ok_or(Malformed::Truncated)?;
        Ok(Self { payload, ..whole })
    }

    /// Reads it without asking whether its numbers agree, as those of a fragment larger than the format can
    /// express do not; `payload` is all there is.
    pub(crate) fn read_unchecked(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let _extra_flags = fields.u16()?;
        let to_inline_qos = fields.u16()?;
        let from_here = fields.rest;
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let sequence_number = fields.sequence_number(1)?;
        let (first, count) = (fields.u32()?, fields.u16()?);
        let (fragment_len, sample_len) = (fields.u16()?, fields.u32()?);
        if to_inline_qos < DATA_FRAG_TO_INLINE_QOS {
            return Err(Malformed::Fields);
        }
        let (inline_qos, payload) = split_inline_qos(submessage, from_here, to_inline_qos)?;
        let (key, order) = (submessage.has(flag::FRAG_KEY), submessage.order());
        Ok(Self {
            reader,
            writer,
            sequence_number,
            first,
            count,
            fragment_len,
            sample_len,
            inline_qos,
            payload,
            key,
            order,
        })
    }

    /// Fragments that the sample has.
    pub(crate) fn total(&self) -> u32 {
        self.sample_len.div_ceil(u32::from(self.fragment_len))
    }
}

/// Skips `to_inline_qos` octets and parts the rest into inline QoS, if the flag says there is one, and
/// payload.
fn split_inline_qos<'a>(
    submessage: &Submessage<'a>,
    from_here: &'a [u8],
    to_inline_qos: u16,
) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let rest = from_here.get(usize::from(to_inline_qos)..).ok_or(Malformed::Truncated)?;
    let len = match submessage.has(flag::INLINE_QOS) {
        true => Parameters::of(rest, submessage.order()).total_len()?,
        false => 0,
    };
    Ok(rest.split_at(len))
}

/// Id, offset in the list, value.
type Parameter<'a> = (u16, usize, &'a [u8]);

/// The parameters of a parameter list, up to its sentinel (§9.4.2.11).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters<'a> {
    rest: &'a [u8],
    order: Endianness,
    len: usize,
    ended: bool,
}

impl<'a> Parameters<'a> {
    pub(crate) const fn of(list: &'a [u8], order: Endianness) -> Self {
        Self { rest: list, order, len: 0, ended: false }
    }

    /// Octets of the whole list, sentinel included. A list that is longer than Dust reads is refused: Dust would take the rest of
    /// it for payload.
    pub(crate) fn total_len(mut self) -> Result<usize, Malformed> {
        self.by_ref().take(PARAMETERS_MAX).try_for_each(|parameter| parameter.map(|_| ()))?;
        if self.ended { Ok(self.len) } else { Err(Malformed::ParameterList) }
    }

    /// The next one, or `None` for the sentinel.
    fn parameter(&mut self) -> Result<Option<Parameter<'a>>, Malformed> {
        let mut fields = Fields { rest: self.rest, order: self.order };
        let (id, len) = (fields.u16()?, usize::from(fields.u16()?));
        let offset = self.len;
        self.len += 4;
        if id == pid::SENTINEL {
            return Ok(None);
        }
        if len % 4 != 0 || len > fields.rest.len() {
            return Err(Malformed::ParameterList);
        }
        let (value, rest) = fields.rest.split_at(len);
        self.rest = rest;
        self.len += len;
        Ok(Some((id, offset, value)))
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.parameter().map_err(|_| Malformed::ParameterList).transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Parameters of a list, with its sentinel, that Dust reads.
const PARAMETERS_MAX: usize = 1 << 16;

/// HEARTBEAT (§9.4.5.7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) count: i32,
}

impl Heartbeat {
    /// Where `last` and `count` lie in the body.
    pub(crate) const LAST_OFFSET: usize = 16;
    pub(crate) const COUNT_OFFSET: usize = 24;

    pub(crate) fn read(submessage: &Submessage<'_>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let (first, last) = (fields.sequence_number(1)?, fields.sequence_number(0)?);
        let count = fields.i32()?;
        if last < first - 1 {
            Err(Malformed::Fields)
        } else {
            Ok(Self { reader, writer, first, last, count })
        }
    }
}

/// HEARTBEAT_FRAG (§9.4.5.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatFrag {
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
}

impl HeartbeatFrag {
    pub(crate) fn read(submessage: &Submessage<'_>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let (_reader, writer) = (fields.entity()?, fields.entity()?);
        let sequence_number = fields.sequence_number(1)?;
        let (_last_fragment, _count) = (fields.u32()?, fields.i32()?);
        Ok(Self { writer, sequence_number })
    }
}

/// GAP (§9.4.5.6): `start` up to `base`, and the set from `base` on, will never come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap<'a> {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) start: i64,
    pub(crate) base: i64,
    pub(crate) set: NumberSet<'a>,
}

impl<'a> Gap<'a> {
    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let (start, base) = (fields.sequence_number(1)?, fields.sequence_number(1)?);
        let set = fields.bitmap()?;
        if base < start { Err(Malformed::Fields) } else { Ok(Self { reader, writer, start, base, set }) }
    }

    /// What will never come, in ascending order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = i64> + '_ {
        (self.start..self.base).chain(self.beyond())
    }

    /// What of the set will never come.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = i64> + '_ {
        self.set.iter().map(|distance| self.base + i64::from(distance))
    }

    /// Whether it says that this number will never come.
    pub(crate) fn covers(&self, number: i64) -> bool {
        (self.start..self.base).contains(&number) || self.beyond().any(|one| one == number)
    }
}

/// ACKNACK (§9.4.5.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckNack<'a> {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    /// Everything below it is acknowledged. 0 is a reader's first word to a writer that it knows nothing of.
    pub(crate) base: i64,
    set: NumberSet<'a>,
    count: i32,
}

impl<'a> AckNack<'a> {
    /// Where the bitmap begins in the body.
    const BITMAP_OFFSET: usize = 20;

    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let base = fields.sequence_number(0)?;
        let set = fields.bitmap()?;
        let count = fields.i32()?;
        Ok(Self { reader, writer, base, set, count })
    }

    /// The samples asked for.
    pub(crate) fn requested(&self) -> impl Iterator<Item = i64> + '_ {
        self.set.iter().map(|distance| self.base + i64::from(distance))
    }

    /// Where the bits of the samples below `first` are that it asks for: the octet in its body, and the bit there.
    pub(crate) fn bits_below(&self, first: i64) -> Vec<(usize, u8)> {
        let below = self.set.iter().take_while(|&distance| self.base + i64::from(distance) < first);
        let places = below.map(|distance| NumberSet::place(distance, self.set.order));
        places.map(|(octet, mask)| (Self::BITMAP_OFFSET + octet, mask)).collect()
    }
}

/// NACK_FRAG (§9.4.5.14).
#[derive(Clone, Copy, Debug)]
pub(crate) struct NackFrag<'a> {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) sequence_number: i64,
    base: u32,
    set: NumberSet<'a>,
}

impl<'a> NackFrag<'a> {
    pub(crate) fn read(submessage: &Submessage<'a>) -> Result<Self, Malformed> {
        let mut fields = Fields::of(submessage);
        let (reader, writer) = (fields.entity()?, fields.entity()?);
        let sequence_number = fields.sequence_number(1)?;
        let base = fields.u32()?;
        let set = fields.bitmap()?;
        let _count = fields.i32()?;
        if base == 0 || base.checked_add(set.bits).is_none() {
            return Err(Malformed::NumberSet);
        }
        Ok(Self { reader, writer, sequence_number, base, set })
    }

    /// The fragments asked for. Some stacks name the base alone, others as the set's first bit.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = u32> + '_ {
        let base = (self.set.bits == 0).then_some(self.base);
        base.into_iter().chain(self.set.iter().map(|distance| self.base + distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_list_is_no_longer_than_dust_reads() {
        for (parameters, expected) in [(65_535, Ok(4 * 65_536)), (65_536, Err(Malformed::ParameterList))] {
            let list = [vec![0; 4 * parameters], vec![1, 0, 0, 0], b"payload!".to_vec()].concat();
            assert_eq!(Parameters::of(&list, Endianness::Little).total_len(), expected);
        }
    }
}
