//! Cuts what Dust wrote whole into DATA_FRAGs that a datagram can carry (DDSI-RTPS 2.5 §8.4.14).
//!
//! ```text
//!   one sample        ├───────────── chunk 1 ─────────────┼──────── chunk 2 ────────┤
//!   Dust writes       DATA, or DATA_FRAG 1                 DATA_FRAG 2
//!   a datagram has    ├─ 1 ─┼─ 2 ─┼─ 3 ─┼ ... ┼─ k ─┼─ k+1 ─┼ ...
//! ```
//! Dust is told a fragment size (the *chunk*) as large as a message may be, so that it writes a sample as one
//! DATA wherever that can travel whole. It also bounds what Dust writes into a buffer, which it overruns with a
//! panic: a sample above the chunk comes as several DATA_FRAGs, whose size field is nonsense (16 bits) but
//! whose numbers are right. The chunk is a multiple of the fragment size on the wire, so that the fragments of
//! all chunks number one sample consistently.
//!
//! Rejected: letting Dust fragment. It has one fragment size for shared memory and UDP alike, encodes every
//! fragment by itself, and reads fragments with a panic where more than 256 are missing.

use crate::outgoing::{HEARTBEAT_LEN, Outgoing};
use crate::rtps::{DataFragFields, HEADER_LEN, MessageWriter, flag};
use std::ops::RangeInclusive;
use zerodds_core::Endianness;

/// Bytes that a message has besides its part of the payload, at most: header 20, INFO_DST 16, INFO_TS 12,
/// DATA_FRAG 36, inline QoS 32, HEARTBEAT 32; and a reserve.
pub(crate) const OVERHEAD_MAX: usize = 512;

/// The largest fragment made. Below the 65,507 bytes of a UDP datagram with room for the overhead, and large,
/// since every fragment costs the receiver a system call and a stock Dust reader stops at 256 missing ones.
const FRAGMENT_LEN_MAX: usize = 60_000;

/// Which sizes a participant's samples are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragmenter {
    fragment_len: u16,
    chunk_len: usize,
}

/// Part of a sample, or all of it, that has to leave in fragments.
struct Part<'m> {
    fields: DataFragFields,
    inline_qos: &'m [u8],
    payload: &'m [u8],
    numbers: RangeInclusive<u32>,
}

impl Fragmenter {
    /// For messages of up to `message_len_max` bytes where they travel whole, and datagrams of up to
    /// `datagram_len_max`.
    pub(crate) fn new(message_len_max: usize, datagram_len_max: usize) -> Self {
        let fragment_len_max =
            datagram_len_max.saturating_sub(OVERHEAD_MAX).clamp(OVERHEAD_MAX, FRAGMENT_LEN_MAX);
        let wanted = message_len_max.saturating_sub(OVERHEAD_MAX).max(fragment_len_max);
        let count = wanted.div_ceil(fragment_len_max);
        let fragment_len = (wanted / count) as u16;
        Self { fragment_len, chunk_len: count * usize::from(fragment_len) }
    }

    /// The fragment size to tell Dust: what it writes whole.
    pub(crate) const fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// The longest message that Dust then writes, in bytes.
    pub(crate) const fn message_len_max(&self) -> usize {
        self.chunk_len + OVERHEAD_MAX
    }

    /// The chunk, counted from 1, that this fragment, counted from 1, is part of.
    pub(crate) const fn chunk_of(&self, fragment: u32) -> u32 {
        (fragment - 1) / self.fragments_per_chunk() + 1
    }

    /// The fragments that make up a chunk.
    pub(crate) const fn fragments_of(&self, chunk: u32) -> RangeInclusive<u32> {
        let per_chunk = self.fragments_per_chunk();
        let before = chunk.saturating_sub(1).saturating_mul(per_chunk);
        before.saturating_add(1)..=before.saturating_add(per_chunk)
    }

    const fn fragments_per_chunk(&self) -> u32 {
        (self.chunk_len / self.fragment_len as usize) as u32
    }

    /// The datagrams that carry an outgoing DATA or DATA_FRAG: all of its fragments, or those `wanted`, in ascending order.
    /// Nothing if it is neither.
    ///
    /// The HEARTBEAT that Dust appended follows the last. Where fragments are repeated on request, Dust
    /// appends none; a HEARTBEAT_FRAG with `repair_count` then asks at once for what got lost again.
    pub(crate) fn cut<'m>(
        &self,
        message: &'m [u8],
        outgoing: &'m Outgoing,
        wanted: Option<&'m [u32]>,
        repair_count: i32,
    ) -> impl Iterator<Item = Vec<u8>> + use<'m> {
        let part = self.part(message, outgoing);
        let fragment_len = usize::from(self.fragment_len);
        let numbers: Vec<u32> = part.iter().flat_map(|part| part.numbers.clone()).collect();
        let numbers: Vec<u32> = match wanted {
            Some(wanted) => {
                numbers.into_iter().filter(|number| wanted.binary_search(number).is_ok()).collect()
            }
            None => numbers,
        };
        let last = numbers.last().copied();
        numbers.into_iter().filter_map(move |number| {
            let part = part.as_ref()?;
            let start = (number - part.numbers.start()) as usize * fragment_len;
            let payload = &part.payload[start..part.payload.len().min(start + fragment_len)];
            let inline_qos = if number == 1 { part.inline_qos } else { &[] };
            let q = if inline_qos.is_empty() { 0 } else { flag::INLINE_QOS };
            let frag = DataFragFields { flags: part.fields.flags | q, first: number, ..part.fields };
            let mut datagram = writer(message, outgoing, payload.len());
            datagram.data_frag(frag, inline_qos, payload);
            if Some(number) == last {
                match wanted {
                    Some(_) => datagram.heartbeat_frag(&frag, *part.numbers.end(), repair_count),
                    None => datagram.verbatim(outgoing.heartbeat(message)),
                };
            }
            Some(datagram.into_bytes())
        })
    }

    /// What is to be cut.
    fn part<'m>(&self, message: &'m [u8], outgoing: &Outgoing) -> Option<Part<'m>> {
        if let Some(data) = outgoing.data(message) {
            let flags = if outgoing.is_alive() { 0 } else { flag::FRAG_KEY };
            let sample_len = u32::try_from(data.payload.len()).ok()?;
            let fields = DataFragFields {
                flags,
                reader: data.reader,
                writer: data.writer,
                sequence_number: data.sequence_number,
                first: 1,
                fragment_len: self.fragment_len,
                sample_len,
            };
            let numbers = 1..=sample_len.div_ceil(u32::from(self.fragment_len));
            return Some(Part { fields, inline_qos: data.inline_qos, payload: data.payload, numbers });
        }
        let chunk = outgoing.chunk(message)?;
        let first = *self.fragments_of(chunk.first).start();
        let count = u32::try_from(chunk.payload.len().div_ceil(usize::from(self.fragment_len))).ok()?;
        let fields = DataFragFields {
            flags: 0,
            reader: chunk.reader,
            writer: chunk.writer,
            sequence_number: chunk.sequence_number,
            first,
            fragment_len: self.fragment_len,
            sample_len: chunk.sample_len,
        };
        Some(Part { fields, inline_qos: &[], payload: chunk.payload, numbers: first..=first + count - 1 })
    }
}

/// A message that begins like `message`, up to its DATA.
fn writer(message: &[u8], outgoing: &Outgoing, payload_len: usize) -> MessageWriter {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&message[..HEADER_LEN]);
    let capacity = outgoing.offset + payload_len + OVERHEAD_MAX.max(HEARTBEAT_LEN);
    let mut writer = MessageWriter::new(&header, Endianness::Little, capacity);
    writer.verbatim(&message[HEADER_LEN..outgoing.offset]);
    writer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, as_dust_writes};
    use crate::rtps::{Content, DataFrag, Submessages};
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn contents(message: &[u8]) -> Vec<Content<'_>> {
        Submessages::of(message)
            .map(|one| Content::read(&one.expect("whole")).expect("well-formed"))
            .collect()
    }

    fn frag<'m>(datagram: &'m [u8]) -> DataFrag<'m> {
        let found = contents(datagram).into_iter().find_map(|content| match content {
            Content::DataFrag(frag) => Some(frag),
            _ => None,
        });
        found.expect("a DATA_FRAG")
    }

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index % 251) as u8).collect()
    }

    /// A DATA_FRAG as Dust writes it when a sample exceeds the chunk: its size field cut to 16 bits.
    fn chunk_as_dust_writes(sample: &[u8], chunk_len: usize, number: u32) -> Vec<u8> {
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
    fn a_sample_of_almost_the_message_limit_is_one_chunk() {
        for (message_max, datagram_max) in
            [(16 * MIB, 65_507), (64 * MIB, 65_507), (16 * MIB, 1472), (1 << 17, 9000)]
        {
            let fragmenter = Fragmenter::new(message_max, datagram_max);
            assert!(fragmenter.message_len_max() <= message_max);
            let fragments = fragmenter.chunk_len / usize::from(fragmenter.fragment_len);
            assert_eq!(fragmenter.chunk_len % usize::from(fragmenter.fragment_len), 0);
            assert!(message_max - fragmenter.chunk_len <= OVERHEAD_MAX + fragments, "{fragmenter:?}");
            assert!(usize::from(fragmenter.fragment_len) + OVERHEAD_MAX <= datagram_max);
        }
    }

    #[test]
    fn a_tiny_limit_still_gives_a_usable_size() {
        let fragmenter = Fragmenter::new(1024, 65_507);
        assert_eq!((fragmenter.chunk_len, fragmenter.fragment_len), (60_000, 60_000));
    }

    #[test]
    fn every_fragment_names_its_chunk_and_back() {
        let fragmenter = Fragmenter::new(1 << 20, 65_507);
        for chunk in 1..5 {
            for fragment in fragmenter.fragments_of(chunk) {
                assert_eq!(fragmenter.chunk_of(fragment), chunk);
            }
        }
    }

    #[test]
    fn inline_qos_goes_with_the_first_fragment_and_the_heartbeat_with_the_last() {
        let inline_qos = [0x70, 0, 16, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 1, 0, 0, 0];
        let message = as_dust_writes(&payload(200_000), &inline_qos, true);
        let outgoing = Outgoing::read(&message).expect("a message");
        let datagrams: Vec<_> = Fragmenter::new(16 * MIB, 65_507).cut(&message, &outgoing, None, 0).collect();
        assert_eq!(datagrams.len(), 4);
        for (index, datagram) in datagrams.iter().enumerate() {
            assert_eq!(frag(datagram).inline_qos.is_empty(), index != 0);
            let last = contents(datagram).into_iter().next_back();
            assert_eq!(matches!(last, Some(Content::Heartbeat(_))), index == 3);
        }
    }

    #[test]
    fn only_wanted_fragments_are_repeated_and_the_last_asks_again() {
        let message = as_dust_writes(&payload(600_000), &[], false);
        let outgoing = Outgoing::read(&message).expect("a message");
        let fragmenter = Fragmenter::new(16 * MIB, 65_507);
        let wanted = [2, 3, 9, 4_000_000];
        let datagrams: Vec<_> = fragmenter.cut(&message, &outgoing, Some(&wanted), 5).collect();
        assert_eq!(datagrams.iter().map(|datagram| frag(datagram).first).collect::<Vec<_>>(), [2, 3, 9]);
        let asks = |datagram: &Vec<u8>| {
            contents(datagram).iter().any(|one| matches!(one, Content::HeartbeatFrag(_)))
        };
        assert_eq!(datagrams.iter().map(asks).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn what_is_no_sample_has_no_fragments() {
        let message = MessageWriter::new(&HEADER, Endianness::Little, 64)
            .info_dst(PEER)
            .info_dst(PEER)
            .as_bytes()
            .to_vec();
        let mut acknack = message;
        acknack.extend_from_slice(&[0x06, 1, 0, 0]);
        let outgoing = Outgoing::read(&acknack).expect("a message");
        assert_eq!(Fragmenter::new(MIB, 65_507).cut(&acknack, &outgoing, None, 0).count(), 0);
    }

    proptest! {
        #[test]
        fn the_fragments_of_all_chunks_make_up_the_sample(len in 1_usize..400_000, chunk_max in 70_000_usize..300_000) {
            let fragmenter = Fragmenter::new(chunk_max, 9000);
            let sample = payload(len);
            let chunks = len.div_ceil(fragmenter.chunk_len()) as u32;
            let messages: Vec<_> = match chunks {
                1 => vec![as_dust_writes(&sample, &[], true)],
                _ => (1..=chunks).map(|number| chunk_as_dust_writes(&sample, fragmenter.chunk_len(), number)).collect(),
            };
            let mut joined = Vec::new();
            for message in &messages {
                let outgoing = Outgoing::read(message).expect("a message");
                for datagram in fragmenter.cut(message, &outgoing, None, 0) {
                    prop_assert!(datagram.len() <= 9000);
                    let frag = frag(&datagram);
                    prop_assert_eq!((frag.first - 1) as usize * usize::from(frag.fragment_len), joined.len());
                    prop_assert_eq!((frag.sample_len as usize, frag.writer, frag.reader), (len, WRITER, READER));
                    joined.extend_from_slice(frag.payload);
                }
            }
            prop_assert_eq!(joined, sample);
        }
    }
}
