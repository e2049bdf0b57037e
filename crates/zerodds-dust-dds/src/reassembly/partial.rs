//! One sample in the making.
//!
//! ```text
//!   message  header │ INFO_TS? │ DATA fields │ payload: each fragment is copied to where it belongs
//! ```
//! The buffer is the message that Dust will be handed, so that completing it costs no second copy, except
//! where inline QoS has to be put before the payload: only the first fragment carries it, and may come last.
//!
//! A claimed length takes no memory before that much has come: the buffer grows with what comes, in the room that it was made
//! with, which is memory used before wherever the allocator has some. (Zeroed pages of the system cost 259 page faults for a
//! mebibyte.) Where one comes far ahead of the others, what is between would have to be written to; such a
//! buffer is put into the system's zeroed pages. What is far is less where fragments are small, so that
//! tiny ones cannot make much be written.

use super::{Origin, PATIENCE, REQUEST_LEN_MAX};
use crate::rtps::{DataFields, DataFrag, EntityId, HEADER_LEN, MessageWriter, NackFragFields, flag};
use crate::untouched::try_untouched;
use std::time::{Duration, Instant};
use zerodds_core::Endianness;

#[derive(Debug)]
pub(crate) struct Partial {
    /// As far as something has come.
    message: Vec<u8>,
    /// Octets of the whole message.
    message_len: usize,
    /// Where the payload begins.
    payload_at: usize,
    fragment_len: u16,
    sample_len: u32,
    /// One bit per fragment that is there.
    present: Vec<u64>,
    missing: u32,
    inline_qos: Vec<u8>,
    order: Endianness,
    reader: EntityId,
    born: u64,
    ask_at: Instant,
    asked_at: Option<Instant>,
    /// Times that it was asked for without any fragment coming.
    asked_in_vain: u32,
    /// When the last fragment came.
    fed_at: Instant,
    /// The highest fragment number that is there.
    highest: u32,
}

/// Up to 256 consecutive fragment numbers, and which of them are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) base: u32,
    pub(super) bits: u32,
    pub(super) bitmap: [u32; 8],
}

impl Partial {
    /// Nothing has come of it yet, and it takes no memory for what comes.
    pub(super) fn new(origin: &Origin, frag: &DataFrag<'_>, born: u64, now: Instant) -> Self {
        let sample_len = frag.sample_len as usize;
        let mut message = MessageWriter::new(&origin.header, frag.order, PREFIX_LEN_MAX);
        if let Some(timestamp) = origin.timestamp {
            message.info_ts(timestamp);
        }
        message.open_data(DataFields {
            flags: if frag.key { flag::DATA_KEY } else { flag::DATA },
            reader: frag.reader,
            writer: frag.writer,
            sequence_number: frag.sequence_number,
        });
        let message = message.into_bytes();
        let payload_at = message.len();
        Self {
            message,
            message_len: payload_at + sample_len,
            payload_at,
            fragment_len: frag.fragment_len,
            sample_len: frag.sample_len,
            present: vec![0; frag.total().div_ceil(64) as usize],
            missing: frag.total(),
            inline_qos: Vec::new(),
            order: frag.order,
            reader: frag.reader,
            born,
            ask_at: now + PATIENCE,
            asked_at: None,
            asked_in_vain: 0,
            fed_at: now,
            highest: 0,
        }
    }

    /// Whether there is memory for all of it, which is taken where it was not before. Nothing may be added without.
    pub(super) fn takes_memory(&mut self) -> bool {
        if self.has_memory() {
            return true;
        }
        let mut message = Vec::new();
        if message.try_reserve_exact(self.message_len).is_err() {
            return false;
        }
        message.extend_from_slice(&self.message);
        self.message = message;
        true
    }

    const fn has_memory(&self) -> bool {
        self.message.capacity() >= self.message_len
    }

    /// Copies fragments to their place; `false` if they do not belong to this sample as it began, or are
    /// there already.
    pub(super) fn add(&mut self, frag: &DataFrag<'_>, now: Instant) -> bool {
        if (frag.fragment_len, frag.sample_len, frag.order)
            != (self.fragment_len, self.sample_len, self.order)
        {
            return false;
        }
        let before = self.missing;
        for (number, bytes) in (frag.first..).zip(frag.payload.chunks(usize::from(frag.fragment_len))) {
            self.place(number, bytes);
        }
        if frag.first == 1 && self.inline_qos.is_empty() {
            self.inline_qos = frag.inline_qos.to_vec();
        }
        if self.missing < before {
            self.asked_in_vain = 0;
            self.fed_at = now;
            self.ask_at = now + PATIENCE;
        }
        self.missing < before
    }

    /// Whether a fragment belongs to this sample, but the writer has cut it into others since.
    pub(super) fn is_cut_anew(&self, frag: &DataFrag<'_>) -> bool {
        frag.fragment_len != self.fragment_len && frag.sample_len == self.sample_len
    }

    /// Takes a fragment of full length by its number; `false` for the last, and for what would complete the sample.
    pub(crate) fn follow(&mut self, number: u32, bytes: &[u8]) -> bool {
        let is_full = (1..self.total()).contains(&number) && bytes.len() == usize::from(self.fragment_len);
        let is_taken = is_full && self.missing > 1;
        if is_taken {
            self.place(number, bytes);
        }
        is_taken
    }

    /// Copies one fragment to its place, unless it is there already.
    fn place(&mut self, number: u32, bytes: &[u8]) {
        let index = number - 1;
        let (word, bit) = (index as usize / 64, 1_u64 << (index % 64));
        if self.present[word] & bit != 0 {
            return;
        }
        self.present[word] |= bit;
        self.missing -= 1;
        self.highest = self.highest.max(number);
        let at = self.payload_at + index as usize * usize::from(self.fragment_len);
        match at.checked_sub(self.message.len()) {
            Some(0) => return self.message.extend_from_slice(bytes),
            Some(gap) if gap > GAP_MAX.min(GAP_FRAGMENTS * usize::from(self.fragment_len)) => {
                if let Some(mut pages) = try_untouched(self.message_len) {
                    pages[..self.message.len()].copy_from_slice(&self.message);
                    self.message = pages;
                }
            }
            _ => {}
        }
        let end = at + bytes.len();
        if self.message.len() < end {
            self.message.resize(end, 0);
        }
        self.message[at..end].copy_from_slice(bytes);
    }

    fn total(&self) -> u32 {
        self.sample_len.div_ceil(u32::from(self.fragment_len))
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The whole sample, as a message with one DATA that extends to its end.
    pub(super) fn into_message(mut self) -> Vec<u8> {
        if !self.inline_qos.is_empty() {
            let flags_at = self.payload_at - DATA_LEN + 1;
            self.message[flags_at] |= flag::INLINE_QOS;
            self.message.splice(self.payload_at..self.payload_at, self.inline_qos);
        }
        self.message
    }

    /// Bytes that it takes once it is whole.
    pub(super) const fn len(&self) -> usize {
        self.message_len
    }

    pub(super) const fn born(&self) -> u64 {
        self.born
    }

    /// The reader whom the writer addressed, if it did not address all.
    pub(super) const fn reader(&self) -> EntityId {
        self.reader
    }

    /// The writer says that it has sent all of it: ask soon, but not again while an answer may be under way.
    pub(super) fn hurry(&mut self, now: Instant) {
        let earliest = self.asked_at.map_or(now, |asked| now.max(asked + self.backed_off(ANSWER)));
        self.ask_at = self.ask_at.min(earliest);
    }

    /// When the rest is to be asked for.
    pub(super) const fn asks_at(&self) -> Instant {
        self.ask_at
    }

    /// It was due; if something was asked for, the next time is later each time that nothing comes.
    pub(super) fn asked(&mut self, now: Instant, for_something: bool) {
        self.ask_at = now + self.backed_off(PATIENCE);
        if for_something {
            self.asked_at = Some(now);
            self.asked_in_vain += 1;
        }
    }

    /// Longer for every time that it was asked for in vain.
    fn backed_off(&self, time: Duration) -> Duration {
        time * 2_u32.pow(self.asked_in_vain.min(4))
    }

    /// The writer has not answered for so long that it will not.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        self.asked_in_vain > 0 && now.duration_since(self.fed_at) >= HOPE
    }

    /// The fragments to ask for, in windows, of which one request has room for some: those that others have
    /// overtaken, and once nothing has come for a while, those behind the last as well. (A writer may speak of
    /// a sample while it is still sending it; what is under way must not be asked for.) While there is no memory for them, one.
    pub(super) fn missing_windows(&self, now: Instant) -> Vec<Window> {
        let sending = now.duration_since(self.fed_at) < PATIENCE;
        let until = match sending {
            true => self.highest,
            false if !self.has_memory() => 1,
            false => self.total(),
        };
        let absent = |index: &u32| self.present[*index as usize / 64] & (1 << (index % 64)) == 0;
        let mut windows: Vec<Window> = Vec::new();
        for number in (0..until).filter(absent).map(|index| index + 1) {
            let full = windows.len() == WINDOWS_MAX;
            match windows.last_mut().filter(|window| number - window.base < 256) {
                Some(window) => window.mark(number),
                None if full => break,
                None => windows.push(Window::at(number)),
            }
        }
        windows
    }
}

impl Window {
    fn at(base: u32) -> Self {
        let mut window = Self { base, bits: 0, bitmap: [0; 8] };
        window.mark(base);
        window
    }

    const fn mark(&mut self, number: u32) {
        let bit = number - self.base;
        self.bitmap[bit as usize / 32] |= 0x8000_0000 >> (bit % 32);
        self.bits = bit + 1;
    }
}

/// How long an answer to a request takes at most on one host.
const ANSWER: Duration = Duration::from_millis(4);
/// What is missing before a fragment that came and is not written to, at most.
const GAP_MAX: usize = 64 << 10;
/// The same in fragments, as many as are sent at once: such runs may overtake each other.
const GAP_FRAGMENTS: usize = 64;
/// Header 20, INFO_TS 12, DATA 24.
const PREFIX_LEN_MAX: usize = 56;
/// A DATA up to its payload.
const DATA_LEN: usize = 24;
/// How long a sample is kept of which nothing comes although it is asked for.
const HOPE: Duration = Duration::from_secs(3);
/// Windows of one request: what the smallest datagram has room for behind its header and an INFO_DST.
const WINDOWS_MAX: usize = (REQUEST_LEN_MAX - HEADER_LEN - 16) / NackFragFields::LEN_MAX;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::rtps::GuidPrefix;
    use crate::untouched::tests::present;

    fn fragment(fragment_len: u16, sample_len: u32, payload: &[u8]) -> DataFrag<'_> {
        DataFrag {
            reader: EntityId::UNKNOWN,
            writer: EntityId([0, 0, 1, 3]),
            sequence_number: 1,
            first: 1,
            count: 1,
            fragment_len,
            sample_len,
            inline_qos: &[],
            payload,
            key: false,
            order: Endianness::Little,
        }
    }

    fn begun(frag: &DataFrag<'_>) -> Partial {
        let origin = Origin { header: [0; 20], prefix: GuidPrefix::UNKNOWN, timestamp: None, path: None };
        let mut partial = Partial::new(&origin, frag, 1, Instant::now());
        assert!(partial.takes_memory());
        partial
    }

    #[test]
    fn what_is_far_ahead_of_the_others_takes_no_memory_for_what_is_between() {
        let bytes = [7; 1000];
        let mut frag = fragment(1_000, 64 << 20, &bytes);
        let mut partial = begun(&frag);
        for first in [2, 60_000, 100, 3, 1, 4, 67_000] {
            frag.first = first;
            assert!(partial.add(&frag, Instant::now()));
        }
        let pages = present(&partial.message);
        assert!(pages < PLACES_MAX, "{pages} of 16,384 pages");
        let payload = &partial.message[partial.payload_at..];
        assert!(payload[..4_000].iter().chain(&payload[66_999_000..67_000_000]).all(|&octet| octet == 7));
        assert!(payload[4_000..99_000].iter().all(|&octet| octet == 0));
    }

    /// Pages of three places, each of which may be one of the system's huge pages, and what is around them.
    const PLACES_MAX: usize = 3 * 512 + 64;

    #[test]
    fn tiny_fragments_far_from_each_other_take_no_memory_for_what_is_between() {
        let mut frag = fragment(16, 16 << 20, &[7; 16]);
        let mut partial = begun(&frag);
        // Each as far ahead as a whole run of larger ones may be.
        for step in 0..256 {
            frag.first = 1 + step * 4_096;
            assert!(partial.add(&frag, Instant::now()));
        }
        assert_eq!(partial.message.len(), partial.message_len, "in zeroed pages, nothing was grown");
    }

    #[test]
    fn a_run_that_overtakes_another_is_no_reason_for_other_memory() {
        let bytes = [7; 1388];
        let mut frag = fragment(1_388, 16 << 20, &bytes);
        let mut partial = begun(&frag);
        for first in [1, 45, 89] {
            frag.first = first;
            assert!(partial.add(&frag, Instant::now()));
        }
        assert_eq!(partial.message.len(), partial.payload_at + 89 * 1_388);
    }

    #[test]
    fn a_claimed_length_takes_neither_memory_nor_time_before_it_has_come() {
        let frag = fragment(1, 64 << 20, &[7]);
        let mut partial = begun(&frag);
        assert!(partial.add(&frag, Instant::now()));
        let pages = present(&partial.message);
        assert!(pages < 600, "{pages} of 16,384 pages");
        assert!(partial.message.capacity() < (64 << 20) + 64);
        let windows = partial.missing_windows(Instant::now() + PATIENCE);
        assert!(windows.capacity() < 2 * WINDOWS_MAX, "looked for {} windows", windows.capacity());
    }
}
