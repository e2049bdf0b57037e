//! One sample in the making.
//!
//! ```text
//!   message  header │ INFO_TS? │ DATA fields │ payload: each fragment is copied to where it belongs
//! ```
//! The buffer is the message that Dust will be handed, so that completing it costs no second copy, except
//! where inline QoS has to be put before the payload: only the first fragment carries it, and may come last.
//! It is the system's zeroed pages, so that a claimed length takes no memory before that much has come.

use super::{Origin, PATIENCE};
use crate::rtps::{DataFields, DataFrag, EntityId, MessageWriter, flag};
use crate::untouched::untouched;
use std::time::{Duration, Instant};
use zerodds_core::Endianness;

#[derive(Debug)]
pub(super) struct Partial {
    message: Vec<u8>,
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
        let prefix = message.into_bytes();
        let payload_at = prefix.len();
        let mut message = untouched(payload_at + sample_len);
        message[..payload_at].copy_from_slice(&prefix);
        Self {
            message,
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

    /// Copies fragments to their place; `false` if they do not belong to this sample as it began, or are
    /// there already.
    pub(super) fn add(&mut self, frag: &DataFrag<'_>, now: Instant) -> bool {
        if (frag.fragment_len, frag.sample_len, frag.order)
            != (self.fragment_len, self.sample_len, self.order)
        {
            return false;
        }
        let before = self.missing;
        for (number, bytes) in (frag.first - 1..).zip(frag.payload.chunks(usize::from(frag.fragment_len))) {
            let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
            if self.present[word] & bit == 0 {
                self.present[word] |= bit;
                self.missing -= 1;
                let at = self.payload_at + number as usize * usize::from(self.fragment_len);
                self.message[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        self.highest = self.highest.max(frag.first + u32::from(frag.count) - 1);
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

    /// Bytes that it takes.
    pub(super) const fn len(&self) -> usize {
        self.message.len()
    }

    pub(super) const fn born(&self) -> u64 {
        self.born
    }

    /// The reader whom the writer addressed, or `other` if it addressed all.
    pub(super) fn reader_or(&self, other: EntityId) -> EntityId {
        if self.reader == EntityId::UNKNOWN { other } else { self.reader }
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
    /// a sample while it is still sending it; what is under way must not be asked for.)
    pub(super) fn missing_windows(&self, now: Instant) -> Vec<Window> {
        let sending = now.duration_since(self.fed_at) < PATIENCE;
        let total = self.sample_len.div_ceil(u32::from(self.fragment_len));
        let until = if sending { self.highest } else { total };
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
/// Header 20, INFO_TS 12, DATA 24.
const PREFIX_LEN_MAX: usize = 56;
/// A DATA up to its payload.
const DATA_LEN: usize = 24;
/// How long a sample is kept of which nothing comes although it is asked for.
const HOPE: Duration = Duration::from_secs(3);
/// Windows of one request, so that it fits a small datagram.
const WINDOWS_MAX: usize = 20;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::rtps::GuidPrefix;
    use crate::untouched::tests::present;

    #[test]
    fn a_claimed_length_takes_neither_memory_nor_time_before_it_has_come() {
        let frag = DataFrag {
            reader: EntityId::UNKNOWN,
            writer: EntityId([0, 0, 1, 3]),
            sequence_number: 1,
            first: 1,
            count: 1,
            fragment_len: 1,
            sample_len: 64 << 20,
            inline_qos: &[],
            payload: &[7],
            key: false,
            order: Endianness::Little,
        };
        let origin = Origin { header: [0; 20], prefix: GuidPrefix::UNKNOWN, timestamp: None, path: None };
        let mut partial = Partial::new(&origin, &frag, 1, Instant::now());
        assert!(partial.add(&frag, Instant::now()));
        let pages = present(&partial.message);
        assert!(pages < 600, "{pages} of 16,384 pages");
        let windows = partial.missing_windows(Instant::now() + PATIENCE);
        assert!(windows.capacity() < 2 * WINDOWS_MAX, "looked for {} windows", windows.capacity());
    }
}
