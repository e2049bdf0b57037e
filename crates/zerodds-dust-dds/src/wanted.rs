//! Which fragments of which samples are still owed to whom.
//!
//! ```text
//!   NACK_FRAG "fragments 3, 7 of sample 42" ──▶ noted here; Dust is asked for the chunk that holds them
//!   DATA_FRAG chunk, from Dust              ──▶ of it, fragments 3 and 7 leave
//! ```
//! Dust knows nothing of our fragments, only of its chunks. A request does not say how long fragments are; most samples are one
//! chunk, which has them all, and those that are more are remembered. Dust repeats a whole chunk on request, which costs a
//! copy in memory; what goes over the network is what was asked for. A reader that lacks more than one NACK_FRAG
//! can name sends several. Of those that follow one another in a message Dust is asked once for each chunk; of others it answers
//! each: the first answer has everything, the others nothing. Rejected: keeping a copy of every sample
//! that left in fragments. Dust has one already, for exactly as long as it may be asked for.
//!
//! Dust 0.16 does not look which of its writers a NACK_FRAG is for: each that is matched with the reader answers, from its
//! own history, and what the others say is not sent where it would do harm, see [`writer`](crate::writer). It also compares the
//! count of a NACK_FRAG with the last that it had from this reader, whichever writer that was for, so requests
//! are counted here anew.

use crate::fragment::Fragmenter;
use crate::rtps::{EntityId, Guid, NackFrag, NackFragFields};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;

/// A sample of one of our writers, as one reader lacks parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Debt {
    reader: Guid,
    writer: EntityId,
    sequence_number: i64,
}

/// What is still to be sent of a sample.
#[derive(Debug, Default)]
struct Owed {
    fragments: BTreeSet<u32>,
    /// Requests for each chunk that Dust was given and has not answered.
    asked: BTreeMap<u32, u32>,
}

impl Owed {
    fn len(&self) -> usize {
        self.fragments.len() + self.asked.len()
    }
}

/// What consecutive requests of one message, by the same reader for the same sample, have asked Dust for.
#[derive(Debug, Default)]
pub(crate) struct Along(Option<(Debt, BTreeSet<u32>)>);

#[derive(Debug, Default)]
struct Books {
    debts: HashMap<Debt, Owed>,
    /// Of the last request that Dust was given.
    count: i32,
    /// The last samples that are more than one chunk.
    chunked: VecDeque<(EntityId, i64)>,
}

/// Shared: the receive thread notes, Dust's thread takes.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Mutex<Books>);

impl Wanted {
    /// A sample of this writer leaves in more than one chunk.
    pub(crate) fn is_chunked(&self, writer: EntityId, sequence_number: i64) {
        let chunked = &mut self.0.lock().chunked;
        if !chunked.contains(&(writer, sequence_number)) {
            chunked.truncate(CHUNKED_MAX - 1);
            chunked.push_front((writer, sequence_number));
        }
    }

    /// Notes what `reader` asks for, and answers with what Dust has to be asked for, unless it was along with this.
    pub(crate) fn note(
        &self,
        reader: Guid,
        nack: &NackFrag<'_>,
        fragmenter: &Fragmenter,
        along: &mut Along,
    ) -> Option<NackFragFields> {
        let debt = Debt { reader, writer: nack.writer, sequence_number: nack.sequence_number };
        let mut books = self.0.lock();
        // The fragments of a sample that is one chunk are of the length that suits its reader's path, and all in that chunk.
        let is_chunked = books.chunked.contains(&(nack.writer, nack.sequence_number));
        let chunk_of = |number| if is_chunked { fragmenter.chunk_of(number) } else { 1 };
        let mut chunks: BTreeSet<u32> = nack.wanted().map(chunk_of).collect();
        if chunks.is_empty() {
            return None;
        }
        let kept: usize = books.debts.values().map(Owed::len).sum();
        let full = books.debts.len() >= DEBTS_MAX && !books.debts.contains_key(&debt);
        if full || kept >= NUMBERS_MAX {
            books.debts.clear();
        }
        let owed = books.debts.entry(debt).or_default();
        owed.fragments.extend(nack.wanted());
        let (_, asked) = match &mut along.0 {
            Some(one) if one.0 == debt => one,
            other => other.insert((debt, BTreeSet::new())),
        };
        chunks.retain(|chunk| !asked.contains(chunk) || !owed.asked.contains_key(chunk));
        let base = *chunks.first()?;
        chunks.retain(|chunk| chunk - base < 256);
        asked.extend(&chunks);
        chunks.iter().for_each(|&chunk| *owed.asked.entry(chunk).or_default() += 1);
        books.count = books.count.saturating_add(1);
        let count = books.count;
        drop(books);
        let mut fields = NackFragFields {
            reader: nack.reader,
            writer: nack.writer,
            sequence_number: nack.sequence_number,
            base,
            bits: 0,
            bitmap: [0; 8],
            count,
        };
        // Dust answers for the base whether its bit is set or not, and twice if it is.
        for bit in chunks.into_iter().map(|chunk| chunk - base).filter(|&bit| bit > 0) {
            fields.bitmap[bit as usize / 32] |= 0x8000_0000 >> (bit % 32);
            fields.bits = bit + 1;
        }
        Some(fields)
    }

    /// What `reader` is owed of this chunk of a sample, `numbers` of its fragments, which is no longer owed afterwards; nothing where an earlier
    /// answer had it. `None`: it did not ask, the chunk is being sent for the first time.
    pub(crate) fn take(
        &self,
        reader: Guid,
        writer: EntityId,
        sequence_number: i64,
        chunk: u32,
        numbers: RangeInclusive<u32>,
    ) -> Option<Vec<u32>> {
        let debt = Debt { reader, writer, sequence_number };
        let debts = &mut self.0.lock().debts;
        let owed = debts.get_mut(&debt)?;
        let asked = owed.asked.get_mut(&chunk)?;
        *asked -= 1;
        if *asked == 0 {
            owed.asked.remove(&chunk);
        }
        let taken = owed.fragments.extract_if(numbers, |_| true).collect();
        if owed.asked.is_empty() {
            debts.remove(&debt);
        }
        Some(taken)
    }
}

/// Beyond it everything is forgotten: readers ask again.
const DEBTS_MAX: usize = 1024;
/// A writer that keeps more samples of several chunks than this keeps hundreds of megabytes. Older ones are taken for one chunk,
/// so that requests for them are answered in part until Dust repeats them.
const CHUNKED_MAX: usize = 4096;
/// The same, in numbers of fragments and chunks of all debts together: a few MiB.
const NUMBERS_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::{Content, GuidPrefix, MessageWriter, Submessages};
    use zerodds_core::Endianness;

    const READER: Guid = Guid { prefix: GuidPrefix([2; 12]), entity: EntityId([0, 0, 2, 4]) };
    const WRITER: EntityId = EntityId([0, 0, 1, 3]);

    fn note(wanted: &Wanted, fragmenter: &Fragmenter, base: u32, distances: &[u32]) -> NackFragFields {
        let mut bitmap = [0; 8];
        distances.iter().for_each(|&bit| bitmap[bit as usize / 32] |= 0x8000_0000 >> (bit % 32));
        let bits = distances.iter().max().map_or(0, |&bit| bit + 1);
        let fields = NackFragFields {
            reader: READER.entity,
            writer: WRITER,
            sequence_number: 42,
            base,
            bits,
            bitmap,
            count: 0,
        };
        let message =
            MessageWriter::new(&[b'R'; 20], Endianness::Little, 64).nack_frag(&fields).as_bytes().to_vec();
        let submessage = Submessages::of(&message).next().expect("one").expect("whole");
        let Ok(Content::NackFrag(nack)) = Content::read(&submessage) else { panic!("no NACK_FRAG") };
        wanted.note(READER, &nack, fragmenter, &mut Along::default()).expect("something is wanted")
    }

    /// What is owed of a sample that is one chunk.
    fn take(wanted: &Wanted, reader: Guid, number: i64, chunk: u32) -> Option<Vec<u32>> {
        wanted.take(reader, WRITER, number, chunk, 1..=u32::MAX)
    }

    #[test]
    fn dust_is_asked_for_its_one_chunk_and_the_reader_gets_what_it_asked_for() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 65_507));
        let asked = note(&wanted, &fragmenter, 3, &[0, 4]);
        assert_eq!((asked.base, asked.bits), (1, 0));
        assert_eq!(take(&wanted, READER, 42, 1), Some(vec![3, 7]));
        assert_eq!(take(&wanted, READER, 42, 1), None, "nothing is owed twice");
    }

    #[test]
    fn fragments_of_several_chunks_are_asked_for_chunk_by_chunk() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(1 << 20, 65_507));
        let second = *fragmenter.fragments_of(2).start();
        wanted.is_chunked(WRITER, 42);
        let asked = note(&wanted, &fragmenter, second - 1, &[0, 1, 40]);
        assert_eq!(
            (asked.base, asked.bits, asked.bitmap[0]),
            (1, 4, 0b0101 << 28 & !0x8000_0000 | 0x5000_0000)
        );
        let take = |chunk| wanted.take(READER, WRITER, 42, chunk, fragmenter.numbers_of(chunk, 4 << 20));
        assert_eq!([take(1), take(2), take(3)], [Some(vec![second - 1]), Some(vec![second]), None]);
    }

    #[test]
    fn a_reader_that_asks_in_several_windows_gets_everything_once() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 1472));
        for base in [1, 300, 700] {
            assert_eq!(note(&wanted, &fragmenter, base, &[0, 255]).base, 1, "all in the first chunk");
        }
        let all = Some(vec![1, 256, 300, 555, 700, 955]);
        assert_eq!(take(&wanted, READER, 42, 1), all);
        assert_eq!(take(&wanted, READER, 42, 1), Some(vec![]), "the second answer");
        assert_eq!(take(&wanted, READER, 42, 1), Some(vec![]), "the third");
        assert_eq!(take(&wanted, READER, 42, 1), None, "nobody asked for this");
    }

    #[test]
    fn all_fragments_of_a_sample_that_is_one_chunk_are_in_it_however_many_they_are() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 65_507));
        let far = 4 * *fragmenter.fragments_of(1).end();
        assert_eq!(note(&wanted, &fragmenter, far, &[0, 200]).base, 1);
        assert_eq!(take(&wanted, READER, 42, 1), Some(vec![far, far + 200]));
        wanted.is_chunked(WRITER, 42);
        assert_eq!(note(&wanted, &fragmenter, far, &[0]).base, 4);
    }

    #[test]
    fn which_samples_are_more_than_one_chunk_is_known_of_the_last_ones() {
        let wanted = Wanted::default();
        (0..2 * CHUNKED_MAX as i64)
            .chain([2 * CHUNKED_MAX as i64 - 1])
            .for_each(|number| wanted.is_chunked(WRITER, number));
        let chunked = &wanted.0.lock().chunked;
        assert_eq!(chunked.len(), CHUNKED_MAX);
        assert!(chunked.contains(&(WRITER, CHUNKED_MAX as i64)));
    }

    #[test]
    fn a_reader_that_asks_for_ever_more_is_owed_a_bounded_number() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 1472));
        let all: Vec<u32> = (0..256).collect();
        for window in 0..2 * NUMBERS_MAX as u32 / 256 {
            note(&wanted, &fragmenter, 1 + window * 256, &all);
        }
        let kept: usize = wanted.0.lock().debts.values().map(Owed::len).sum();
        assert!((1..NUMBERS_MAX + 512).contains(&kept), "{kept}");
    }

    #[test]
    fn every_request_is_new_to_dust_whatever_its_reader_counts() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 65_507));
        let counts: Vec<_> = (0..3).map(|_| note(&wanted, &fragmenter, 1, &[]).count).collect();
        assert_eq!(counts, [1, 2, 3]);
    }

    #[test]
    fn another_reader_and_another_sample_are_owed_nothing() {
        let (wanted, fragmenter) = (Wanted::default(), Fragmenter::new(16 << 20, 65_507));
        note(&wanted, &fragmenter, 1, &[]);
        let other = Guid { prefix: GuidPrefix([3; 12]), ..READER };
        assert_eq!(take(&wanted, other, 42, 1), None);
        assert_eq!(take(&wanted, READER, 41, 1), None);
        assert_eq!(take(&wanted, READER, 42, 1), Some(vec![1]));
    }
}
