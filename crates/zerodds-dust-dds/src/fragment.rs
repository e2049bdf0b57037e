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
//! all chunks number one sample consistently, and both are of 4: what follows a fragment in its datagram has to begin so (§9.4.1).
//!
//! How long a fragment is:
//!
//! | for | a fragment is | because |
//! |---|---|---|
//! | anyone | up to 60,000 bytes | a stock Dust reader stops at 256 missing ones, and others pay for each |
//! | a peer that runs this plug-in, where the system sends many by one call (GSO) | what fits a packet of the path | IP then takes nothing apart, to be put together packet by packet: a run of them is handed over as one, which stays one as far as the hardware or a virtual cable lets it. What is lost is one packet |
//! | the same, a sample of several chunks | up to 60,000 bytes | its fragments must not reach across the ends of chunks |
//!
//! Who runs the plug-in is known by its shared-memory locator, whatever host it is on. On loopback and wherever packets are
//! large, what fits one is large. The length may change between a sample and its repetition, as the path does: numbers then
//! mean something else, and the reader begins again, see [`reassembly`](crate::reassembly). Where none that it asked for is left,
//! the last fragment shows it that. Rejected: a shorter header of our own below RTPS. It would save 4 % of the bytes, and no tool
//! would see through it.
//!
//! Rejected: letting Dust fragment. It has one fragment size for shared memory and UDP alike, encodes every
//! fragment by itself, and reads fragments with a panic where more than 256 are missing.

use crate::outgoing::{HEARTBEAT_LEN, Outgoing};
use crate::rtps::{Data, DataFrag, DataFragFields, HEADER_LEN, MessageWriter, SUBMESSAGE_HEADER_LEN, flag};
use std::iter::Peekable;
use std::ops::RangeInclusive;
use zerodds_core::Endianness;
use zerodds_transport_shm::Config;

/// Bytes that a message has besides its part of the payload, at most: header 20, INFO_DST 16, INFO_TS 12,
/// DATA_FRAG 36, inline QoS 32, HEARTBEAT 32; and a reserve.
pub(crate) const OVERHEAD_MAX: usize = 512;

/// The largest fragment made. Below the 65,507 bytes of a UDP datagram with room for the overhead, and large,
/// since every fragment costs others a system call and a stock Dust reader stops at 256 missing ones.
const FRAGMENT_LEN_MAX: usize = 60_000;

/// What a chunk may be shorter than the longest message, besides its overhead: a sample of the largest size is still one chunk.
const SPARE: usize = Config::RTPS_OVERHEAD - OVERHEAD_MAX;

/// Which sizes a participant's samples are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragmenter {
    fragment_len: u16,
    chunk_len: usize,
    datagram_len_max: usize,
}

/// Part of a sample, or all of it, that has to leave in fragments.
struct Part<'m> {
    fields: DataFragFields,
    inline_qos: &'m [u8],
    payload: &'m [u8],
    numbers: RangeInclusive<u32>,
}

/// The datagrams of an outgoing sample, as they are made.
pub(crate) struct Pieces<'m> {
    /// What every datagram begins with.
    head: &'m [u8],
    /// The same and a DATA_FRAG, whose length and number are written over.
    template: Vec<u8>,
    part: Part<'m>,
    numbers: Peekable<std::vec::IntoIter<u32>>,
    last: u32,
    /// What is still to follow the last fragment, in its datagram or another.
    tail: Vec<u8>,
    datagram_len_max: usize,
}

impl Fragmenter {
    /// For messages of up to `message_len_max` bytes where they travel whole, and datagrams of up to
    /// `datagram_len_max`.
    pub(crate) fn new(message_len_max: usize, datagram_len_max: usize) -> Self {
        let len_max =
            datagram_len_max.saturating_sub(OVERHEAD_MAX).clamp(OVERHEAD_MAX, FRAGMENT_LEN_MAX) & !3;
        let wanted = message_len_max.saturating_sub(OVERHEAD_MAX).max(len_max);
        let mut lens = (OVERHEAD_MAX..=len_max).rev().step_by(4);
        let len = lens.find(|len| wanted % len <= SPARE).unwrap_or(len_max);
        Self { fragment_len: len as u16, chunk_len: wanted / len * len, datagram_len_max }
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

    /// The numbers that fragments of this chunk may have, in a sample of this length: one that is one chunk may have been cut
    /// into packets, see [`cut`](Self::cut).
    pub(crate) const fn numbers_of(&self, chunk: u32, sample_len: u32) -> RangeInclusive<u32> {
        if sample_len as usize > self.chunk_len { self.fragments_of(chunk) } else { 1..=u32::MAX }
    }

    /// The datagrams that carry an outgoing DATA or DATA_FRAG: all of its fragments, or those `wanted`, in ascending order, or the
    /// last where the sample has no longer any of those. Nothing if it is neither.
    ///
    /// `packet` is what one packet carries to this peer, if it takes fragments of any number and length well. A sample that is
    /// one chunk is cut to fit; of the others the fragments must not reach across the ends of chunks.
    ///
    /// The HEARTBEAT that Dust appended follows the last. Where fragments are repeated on request, Dust
    /// appends none; a HEARTBEAT_FRAG with `repair_count` then asks at once for what got lost again.
    pub(crate) fn cut<'m>(
        &self,
        message: &'m [u8],
        outgoing: &Outgoing,
        wanted: Option<&[u32]>,
        packet: Option<usize>,
        repair_count: i32,
    ) -> Option<Pieces<'m>> {
        let part = self.part(message, outgoing, packet)?;
        let mut numbers: Vec<u32> = part.numbers.clone().collect();
        if let Some(wanted) = wanted {
            numbers.retain(|number| wanted.binary_search(number).is_ok());
            if numbers.is_empty() && !wanted.is_empty() {
                numbers.push(*part.numbers.end());
            }
        }
        let last = *numbers.last()?;
        let (head, fields) = (&message[..outgoing.offset], part.fields);
        let mut template = writer(head, head.len() + DataFrag::PAYLOAD_OFFSET);
        template.data_frag(fields, &[], &[]);
        let tail = match wanted {
            Some(_) => {
                let mut asks = writer(&head[..HEADER_LEN], HEADER_LEN + HEARTBEAT_LEN);
                asks.heartbeat_frag(&fields, *part.numbers.end(), repair_count);
                asks.into_bytes().split_off(HEADER_LEN)
            }
            None => outgoing.heartbeat(message).to_vec(),
        };
        let fits_packet = packet.filter(|_| fields.fragment_len < self.fragment_len);
        let datagram_len_max = fits_packet.unwrap_or(self.datagram_len_max);
        let (template, numbers) = (template.into_bytes(), numbers.into_iter().peekable());
        Some(Pieces { head, template, part, numbers, last, tail, datagram_len_max })
    }

    /// What is to be cut.
    fn part<'m>(&self, message: &'m [u8], outgoing: &Outgoing, packet: Option<usize>) -> Option<Part<'m>> {
        let (fields, inline_qos, payload) = match outgoing.data(message) {
            Some(data) => {
                let flags = if outgoing.is_alive() { 0 } else { flag::FRAG_KEY };
                let sample_len = u32::try_from(data.payload.len()).ok()?;
                let Data { reader, writer, sequence_number, inline_qos, payload } = data;
                let fields = DataFragFields {
                    flags,
                    reader,
                    writer,
                    sequence_number,
                    first: 1,
                    fragment_len: self.fragment_len,
                    sample_len,
                };
                (fields, inline_qos, payload)
            }
            None => {
                let chunk = outgoing.chunk(message)?;
                let DataFrag { reader, writer, sequence_number, sample_len, payload, .. } = chunk;
                let first = *self.fragments_of(chunk.first).start();
                let fragment_len = self.fragment_len;
                let fields = DataFragFields {
                    flags: 0,
                    reader,
                    writer,
                    sequence_number,
                    first,
                    fragment_len,
                    sample_len,
                };
                (fields, &[][..], payload)
            }
        };
        let fragment_len = self.cut_of(fields.sample_len, packet);
        let count = u32::try_from(payload.len().div_ceil(usize::from(fragment_len))).ok()?;
        let numbers = fields.first..=fields.first + count.checked_sub(1)?;
        Some(Part { fields: DataFragFields { fragment_len, ..fields }, inline_qos, payload, numbers })
    }

    /// The length of the fragments of a sample, for a peer with such packets.
    fn cut_of(&self, sample_len: u32, packet: Option<usize>) -> u16 {
        let is_one_chunk = sample_len as usize <= self.chunk_len;
        let in_packets = packet.filter(|_| is_one_chunk).map(|packet| self.in_a(packet));
        in_packets
            .filter(|&len| sample_len.div_ceil(u32::from(len)) <= FRAGMENTS_MAX)
            .unwrap_or(self.fragment_len)
    }

    /// The length of the fragments that fit a packet which carries so much.
    fn in_a(&self, packet: usize) -> u16 {
        let fits = packet.saturating_sub(FRAGMENT_OVERHEAD) & !3;
        match u16::try_from(fits) {
            Ok(len) if usize::from(len) >= OVERHEAD_MAX => len.min(self.fragment_len),
            _ => self.fragment_len,
        }
    }
}

#[cfg(test)]
impl Fragmenter {
    /// What [`cut`](Self::cut) makes, datagram by datagram.
    pub(crate) fn datagrams(
        &self,
        message: &[u8],
        outgoing: &Outgoing,
        wanted: Option<&[u32]>,
        packet: Option<usize>,
        repair_count: i32,
    ) -> Vec<Vec<u8>> {
        let (mut datagrams, mut run) = (Vec::new(), Vec::new());
        let mut pieces = self.cut(message, outgoing, wanted, packet, repair_count);
        while let Some(len) = pieces.as_mut().and_then(|pieces| pieces.next_run(&mut run)) {
            datagrams.extend(run.chunks(len).map(<[u8]>::to_vec));
        }
        datagrams
    }
}

impl Pieces<'_> {
    /// Octets of the sample in all datagrams that are still to be made, at most.
    pub(crate) fn payload_len(&self) -> usize {
        self.numbers.len() * usize::from(self.part.fields.fragment_len)
    }

    /// Writes the next datagrams into `run`, one after another, as many as one system call may take: all of the length that it
    /// answers with, but for the last, which may be shorter. `None`: there are no more.
    pub(crate) fn next_run(&mut self, run: &mut Vec<u8>) -> Option<usize> {
        run.clear();
        let (mut len, mut count) = (None, 0);
        while let Some((next_len, has_tail)) = self.upcoming() {
            let first_len = *len.get_or_insert(next_len);
            let is_last_shorter = run.len() < count * first_len;
            let is_full = count == RUN_MAX || run.len() + next_len > RUN_LEN_MAX;
            if count > 0 && (is_last_shorter || is_full || next_len > first_len) {
                break;
            }
            self.write(run, has_tail);
            count += 1;
        }
        len
    }

    /// The length of the next datagram, and whether what follows the last fragment is in it: where there is room for both.
    fn upcoming(&mut self) -> Option<(usize, bool)> {
        let Some(&number) = self.numbers.peek() else {
            return (!self.tail.is_empty()).then_some((self.head.len() + self.tail.len(), true));
        };
        let (inline_qos, payload) = self.part.piece(number);
        let len = self.template.len() + inline_qos.len() + payload.len();
        let has_tail = number == self.last && len + self.tail.len() <= self.datagram_len_max;
        Some((len + if has_tail { self.tail.len() } else { 0 }, has_tail))
    }

    /// Appends the next datagram.
    fn write(&mut self, run: &mut Vec<u8>, has_tail: bool) {
        let at = run.len();
        let Some(number) = self.numbers.next() else {
            run.extend_from_slice(self.head);
            run.append(&mut self.tail);
            return;
        };
        let (inline_qos, payload) = self.part.piece(number);
        run.extend_from_slice(&self.template);
        let header = &mut run[at + self.head.len()..];
        let len = DataFrag::PAYLOAD_OFFSET - SUBMESSAGE_HEADER_LEN + inline_qos.len() + payload.len();
        header[2..4].copy_from_slice(&u16::try_from(len).unwrap_or(0).to_le_bytes());
        header[DataFrag::FIRST_OFFSET..][..4].copy_from_slice(&number.to_le_bytes());
        if !inline_qos.is_empty() {
            header[1] |= flag::INLINE_QOS;
            run.extend_from_slice(inline_qos);
        }
        run.extend_from_slice(payload);
        if has_tail {
            run.append(&mut self.tail);
        }
    }
}

impl<'m> Part<'m> {
    /// The inline QoS and payload of one fragment.
    fn piece(&self, number: u32) -> (&'m [u8], &'m [u8]) {
        let len = usize::from(self.fields.fragment_len);
        let start = (number - self.numbers.start()) as usize * len;
        let payload = &self.payload[start..self.payload.len().min(start + len)];
        (if number == 1 { self.inline_qos } else { &[] }, payload)
    }
}

/// A message that begins with these submessages, header and all.
fn writer(head: &[u8], capacity: usize) -> MessageWriter {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&head[..HEADER_LEN]);
    let mut writer = MessageWriter::new(&header, Endianness::Little, capacity);
    writer.verbatim(&head[HEADER_LEN..]);
    writer
}

/// Octets of a datagram besides its fragment: header 20, INFO_DST 16, INFO_TS 12, DATA_FRAG 36. Inline QoS comes on top, with
/// which the first of a keyed sample takes two packets.
const FRAGMENT_OVERHEAD: usize = 48 + DataFrag::PAYLOAD_OFFSET;
/// The most fragments of a sample: a reader keeps a bit for each, whatever has come. 512 MiB in the smallest that are cut here
/// are as many.
pub(crate) const FRAGMENTS_MAX: u32 = 1 << 20;
/// The most datagrams of one run: all Linux takes at once, before 6.9.
const RUN_MAX: usize = 64;
/// The most octets of one run: one IPv4 datagram's payload.
const RUN_LEN_MAX: usize = 65_507;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, as_dust_writes, chunk_as_dust_writes};
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

    #[test]
    fn a_sample_of_the_knob_is_one_chunk_whatever_a_datagram_carries() {
        for knob in [4096, 100_000, MIB, 16 * MIB, 17 * MIB + 1, 64 * MIB, 1000 * MIB, 1024 * MIB] {
            for datagram_max in (1232..=65_507).step_by(7).chain([1400, 1452, 1472, 8972, 65_507]) {
                let fragmenter = Fragmenter::new(knob + Config::RTPS_OVERHEAD, datagram_max);
                let (len, chunk_len) = (usize::from(fragmenter.fragment_len), fragmenter.chunk_len());
                assert!(chunk_len >= knob, "{knob}, {fragmenter:?}");
                assert!(
                    fragmenter.message_len_max() <= (knob + Config::RTPS_OVERHEAD).max(datagram_max),
                    "{knob}, {fragmenter:?}"
                );
                assert_eq!((chunk_len % len, len % 4), (0, 0));
                assert!(len + OVERHEAD_MAX <= datagram_max);
            }
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
        let datagrams: Vec<_> =
            Fragmenter::new(16 * MIB, 65_507).datagrams(&message, &outgoing, None, None, 0);
        assert_eq!(datagrams.len(), 4);
        for (index, datagram) in datagrams.iter().enumerate() {
            assert_eq!(frag(datagram).inline_qos.is_empty(), index != 0);
            let last = contents(datagram).into_iter().next_back();
            assert_eq!(matches!(last, Some(Content::Heartbeat(_))), index == 3);
        }
    }

    #[test]
    fn for_a_peer_that_takes_any_number_fragments_fit_packets_and_larger_ones_pick_themselves() {
        let message = as_dust_writes(&payload(MIB), &[], true);
        let outgoing = Outgoing::read(&message).expect("a message");
        for (packet, fragment_len, count) in [
            (Some(1472), 1388, 756),
            (Some(8972), 8888, 118),
            (Some(65_508), 59_916, 18),
            // Less than any network's packets: not known.
            (Some(100), 59_916, 18),
            (None, 59_916, 18),
        ] {
            let datagrams = Fragmenter::new(16 * MIB, 65_507).datagrams(&message, &outgoing, None, packet, 0);
            assert_eq!(usize::from(frag(&datagrams[0]).fragment_len), fragment_len);
            assert_eq!(datagrams.iter().map(|datagram| frag(datagram).payload.len()).sum::<usize>(), MIB);
            assert_eq!(datagrams.len(), count);
            let max = packet.filter(|&packet| packet > 100).unwrap_or(65_507);
            assert!(datagrams.iter().all(|datagram| datagram.len() <= max));
            let last = contents(&datagrams[count - 1]).pop();
            assert!(matches!(last, Some(Content::Heartbeat(_))));
        }
    }

    #[test]
    fn more_fragments_than_a_reader_takes_are_not_made_of_any_sample() {
        let fragmenter = Fragmenter::new(1 << 30, 65_507);
        let packet = Some(512 + FRAGMENT_OVERHEAD);
        assert_eq!(fragmenter.cut_of(512 * FRAGMENTS_MAX, packet), 512);
        assert_eq!(
            fragmenter.cut_of(512 * FRAGMENTS_MAX + 1, packet),
            fragmenter.fragment_len,
            "one too many"
        );
        assert_eq!(fragmenter.cut_of(512 * FRAGMENTS_MAX + 1, packet.map(|len| len + 4)), 516);
    }

    #[test]
    fn a_heartbeat_that_does_not_fit_the_last_packet_has_one_of_its_own() {
        let message = as_dust_writes(&payload(1388 * 50), &[], true);
        let outgoing = Outgoing::read(&message).expect("a message");
        let datagrams = Fragmenter::new(16 * MIB, 65_507).datagrams(&message, &outgoing, None, Some(1472), 0);
        assert_eq!(datagrams.len(), 51);
        let found: Vec<_> = contents(&datagrams[50]);
        assert!(matches!(found[..], [Content::InfoDst(PEER), Content::InfoTs(_), Content::Heartbeat(_)]));
    }

    #[test]
    fn a_sample_of_several_chunks_is_cut_the_same_for_all() {
        let fragmenter = Fragmenter::new(100_000, 65_507);
        let sample = payload(3 * fragmenter.chunk_len());
        let message = chunk_as_dust_writes(&sample, fragmenter.chunk_len(), 2);
        let outgoing = Outgoing::read(&message).expect("a message");
        let cut = |packet| fragmenter.datagrams(&message, &outgoing, None, packet, 0);
        assert_eq!(cut(Some(1472)), cut(None));
        assert_eq!(frag(&cut(None)[0]).first, *fragmenter.fragments_of(2).start());
    }

    #[test]
    fn fragments_of_any_length_are_repeated_by_their_numbers() {
        // As Dust writes what it was asked to repeat: the one chunk.
        let fragmenter = Fragmenter::new(16 * MIB, 65_507);
        let sample = payload(MIB);
        let message = chunk_as_dust_writes(&sample, fragmenter.chunk_len(), 1);
        let outgoing = Outgoing::read(&message).expect("a message");
        let datagrams = fragmenter.datagrams(&message, &outgoing, Some(&[700, 756]), Some(1472), 0);
        let found: Vec<_> = datagrams.iter().map(|datagram| frag(datagram)).collect();
        assert_eq!(found.iter().map(|frag| frag.first).collect::<Vec<_>>(), [700, 756]);
        assert_eq!(found[0].payload, &sample[699 * 1388..700 * 1388]);
        assert_eq!(found[1].payload, &sample[755 * 1388..]);
    }

    #[test]
    fn where_none_of_those_wanted_is_left_the_last_one_shows_that() {
        let message = as_dust_writes(&payload(MIB), &[], false);
        let outgoing = Outgoing::read(&message).expect("a message");
        let fragmenter = Fragmenter::new(16 * MIB, 65_507);
        // Asked for when fragments fitted packets.
        let datagrams = fragmenter.datagrams(&message, &outgoing, Some(&[700, 756]), None, 5);
        assert_eq!(datagrams.iter().map(|datagram| frag(datagram).first).collect::<Vec<_>>(), [18]);
        assert!(matches!(contents(&datagrams[0]).pop(), Some(Content::HeartbeatFrag(_))));
        assert!(fragmenter.cut(&message, &outgoing, Some(&[]), None, 5).is_none(), "nothing was wanted");
    }

    #[test]
    fn only_wanted_fragments_are_repeated_and_the_last_asks_again() {
        let message = as_dust_writes(&payload(600_000), &[], false);
        let outgoing = Outgoing::read(&message).expect("a message");
        let fragmenter = Fragmenter::new(16 * MIB, 65_507);
        let wanted = [2, 3, 9, 4_000_000];
        let datagrams: Vec<_> = fragmenter.datagrams(&message, &outgoing, Some(&wanted), None, 5);
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
        assert_eq!(Fragmenter::new(MIB, 65_507).datagrams(&acknack, &outgoing, None, None, 0), [[0; 0]; 0]);
    }

    proptest! {
        #[test]
        fn a_run_is_of_one_length_but_for_its_last_and_no_longer_than_a_datagram(
            // Dust pads what it writes to a multiple of 4.
            quarter in 1_usize..100_000, qos in any::<bool>(), heartbeat in any::<bool>(),
            packet in prop::option::of(500_usize..10_000), datagram_max in 1232_usize..=65_507,
        ) {
            let len = 4 * quarter;
            let inline_qos = [0x70, 0, 4, 0, 1, 1, 1, 1, 1, 0, 0, 0];
            let message = as_dust_writes(&payload(len), if qos { &inline_qos } else { &[] }, heartbeat);
            let outgoing = Outgoing::read(&message).expect("a message");
            let fragmenter = Fragmenter::new(MIB, datagram_max);
            let (mut run, mut all) = (Vec::new(), Vec::new());
            let mut pieces = fragmenter.cut(&message, &outgoing, None, packet, 0).expect("a sample");
            while let Some(len) = pieces.next_run(&mut run) {
                prop_assert!(run.len() <= RUN_LEN_MAX && run.chunks(len).count() <= RUN_MAX);
                let datagrams = run.chunks(len).map(<[u8]>::to_vec);
                prop_assert!(datagrams.clone().all(|datagram| !contents(&datagram).is_empty()));
                all.extend(datagrams);
            }
            prop_assert_eq!(&all, &fragmenter.datagrams(&message, &outgoing, None, packet, 0));
            let repeated = fragmenter.datagrams(&message, &outgoing, Some(&[1, 2]), packet, 1);
            let submessages = all.iter().chain(&repeated).flat_map(|datagram| Submessages::of(datagram));
            prop_assert!(submessages.flatten().all(|one| one.offset % 4 == 0), "what is after a fragment is aligned");
            let last = contents(&all[all.len() - 1]).pop();
            prop_assert_eq!(matches!(last, Some(Content::Heartbeat(_))), heartbeat);
        }

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
                for datagram in fragmenter.datagrams(message, &outgoing, None, None, 0) {
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
