//! What each sample carries about itself, without ceasing to be a ROS 2 message.
//!
//! A ROS 2 message has no room for a checksum, but it has one free text: the frame id of its header, or the
//! label of an array's dimension. The stamp is the last word of that text, so that a viewer still reads
//! `lidar`; its width is fixed, so that the serialized size depends on the payload alone.
//!
//! ```text
//!   frame_id   "lidar ld2-77c01f3a5d0e91b2-000000000000002a-00001c9b0a4410de-f-9bd1c0a1f04e7722"
//!                      │   │                │                │                │ └ checksum of payload and stamp
//!                      │   │                │                │                └ f: all bytes, e: first and last 64
//!                      │   │                │                └ CLOCK_MONOTONIC at publication, ns
//!                      │   │                └ sequence number on its topic, from 0
//!                      │   └ the boot of this publisher's host, and its life, random
//!                      └ version
//! ```
//! On `--stack transport` there is no message around the payload, so the same fields stand in a header of
//! [`HEADER_LEN`] bytes in front of it. Rejected: appending the stamp to the data (a point cloud with a crooked
//! last point), and the header's time stamp (it is for the clock of the sensor, and a microsecond is all it
//! would carry of the rest).

use crate::messages::Kind;
use crate::{checksum, clock};
use thiserror::Error;

/// What one sample says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Names one life of one publisher: [`publisher_of_this_boot`].
    pub(crate) publisher: u64,
    /// Counts the samples of one publisher on one topic, from 0.
    pub(crate) sequence: u64,
    /// When the filled sample was handed over, `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) published_ns: u64,
    /// Which bytes `payload_sum` covers.
    pub(crate) touch: Touch,
    /// The checksum of the payload.
    pub(crate) payload_sum: u64,
}

/// How much of the payload is written and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Touch {
    /// Every byte is written by the publisher and verified by the subscriber.
    Full,
    /// Only the first and last 64 bytes, so that the path is measured and not the memory.
    None,
}

impl Touch {
    /// The checksum that this much of `payload` gives.
    pub(crate) fn sum(self, payload: &[u8]) -> u64 {
        match self {
            Self::Full => checksum::checksum(payload),
            Self::None => checksum::edges(payload),
        }
    }
}

/// Why a sample counts as corrupt.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Damage {
    /// No stamp of ours: damaged beyond reading, or published by another program.
    #[error("it carries no stamp of largedata: damaged, or published by another program")]
    NoStamp,
    /// The payload or the stamp is not what was published.
    #[error("its checksum is {found:016x} where {stamped:016x} was published")]
    Checksum {
        /// The sum that the sample carries.
        stamped: u64,
        /// The sum of what arrived.
        found: u64,
    },
    /// The message contradicts itself, for instance in width, step and data length.
    #[error("its sizes contradict each other")]
    Sizes,
}

/// A stamp as it arrived, with the sum it was sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    stamp: Stamp,
    seal: u64,
}

impl Sealed {
    /// The stamp, not yet verified.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Whether `payload` is what was published under this stamp.
    ///
    /// # Errors
    /// [`Damage::Checksum`] with both sums where it is not.
    pub(crate) fn verify(&self, payload: &[u8]) -> Result<(), Damage> {
        let found = Stamp { payload_sum: self.stamp.touch.sum(payload), ..self.stamp }.seal();
        if found == self.seal { Ok(()) } else { Err(Damage::Checksum { stamped: self.seal, found }) }
    }
}

/// The name of a publisher on this host. Two of them differ by their life alone.
pub(crate) fn publisher_of_this_boot(life: u32) -> u64 {
    u64::from(clock::boot().unwrap_or_default()) << 32 | u64::from(life)
}

impl Stamp {
    /// Whether its time is of the clock that this process reads too.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        clock::boot().is_some_and(|boot| self.publisher >> 32 == u64::from(boot))
    }

    /// The sum over payload and stamp.
    fn seal(&self) -> u64 {
        let touch = u64::from(self.touch == Touch::Full);
        checksum::combine(self.payload_sum, &[self.publisher, touch, self.sequence, self.published_ns])
    }

    /// The stamp as the last word of a text that begins with `name`.
    pub(crate) fn to_text(self, name: &str) -> String {
        let touch = match self.touch {
            Touch::Full => 'f',
            Touch::None => 'e',
        };
        let Self { publisher, sequence, published_ns, .. } = self;
        format!(
            "{name} {VERSION}-{publisher:016x}-{sequence:016x}-{published_ns:016x}-{touch}-{:016x}",
            self.seal()
        )
    }

    /// The stamp at the end of `text`.
    ///
    /// # Errors
    /// [`Damage::NoStamp`] where there is none.
    pub(crate) fn from_text(text: &str) -> Result<Sealed, Damage> {
        parse(text).ok_or(Damage::NoStamp)
    }

    /// Writes the stamp as the header of a payload of `len` bytes.
    pub(crate) fn write_header(&self, kind: Kind, len: usize, header: &mut [u8; HEADER_LEN]) {
        let mut words = [0; HEADER_LEN / 8];
        words[0] = MAGIC;
        words[1] = self.what(kind);
        words[2] = self.sequence;
        words[3] = self.published_ns;
        words[4] = len as u64;
        words[5] = self.publisher;
        words[6] = self.seal();
        for (bytes, word) in header.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
    }

    /// Reads the header in front of a payload of `len` bytes.
    ///
    /// # Errors
    /// [`Damage::NoStamp`] where it is no header of ours, [`Damage::Sizes`] where it speaks of another length.
    pub(crate) fn from_header(header: &[u8; HEADER_LEN], len: usize) -> Result<(Kind, Sealed), Damage> {
        let mut words = [0; HEADER_LEN / 8];
        for (word, bytes) in words.iter_mut().zip(header.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let kind = Kind::from_code((words[1] >> 8) as u8).ok_or(Damage::NoStamp)?;
        let stamp = Self {
            publisher: words[5],
            sequence: words[2],
            published_ns: words[3],
            touch: if words[1] & 1 == 1 { Touch::Full } else { Touch::None },
            payload_sum: 0,
        };
        if words[0] != MAGIC || words[1] != stamp.what(kind) {
            return Err(Damage::NoStamp);
        }
        if words[4] != len as u64 {
            return Err(Damage::Sizes);
        }
        Ok((kind, Sealed { stamp, seal: words[6] }))
    }

    /// Kind and touch in one word of the header.
    fn what(&self, kind: Kind) -> u64 {
        u64::from(kind.code()) << 8 | u64::from(self.touch == Touch::Full)
    }
}

fn parse(text: &str) -> Option<Sealed> {
    let word = text.rsplit(' ').next()?;
    let mut fields = word.split('-');
    if fields.next()? != VERSION {
        return None;
    }
    let publisher = u64::from_str_radix(fields.next()?, 16).ok()?;
    let sequence = u64::from_str_radix(fields.next()?, 16).ok()?;
    let published_ns = u64::from_str_radix(fields.next()?, 16).ok()?;
    let touch = match fields.next()? {
        "f" => Touch::Full,
        "e" => Touch::None,
        _ => return None,
    };
    let seal = u64::from_str_radix(fields.next()?, 16).ok()?;
    let stamp = Stamp { publisher, sequence, published_ns, touch, payload_sum: 0 };
    fields.next().is_none().then_some(Sealed { stamp, seal })
}

/// Bytes of the header in front of a payload on `--stack transport`: one cache line.
pub(crate) const HEADER_LEN: usize = 64;
const VERSION: &str = "ld2";
const MAGIC: u64 = u64::from_le_bytes(*b"LARGED02");

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(touch: Touch, payload: &[u8]) -> Stamp {
        Stamp { publisher: 7, sequence: 42, published_ns: 1_000_000, touch, payload_sum: touch.sum(payload) }
    }

    #[test]
    fn a_stamped_text_keeps_its_name_and_its_width() {
        let text = stamp(Touch::Full, b"abc").to_text("lidar");
        assert!(text.starts_with("lidar ld2-"));
        let later = Stamp { sequence: u64::MAX, published_ns: u64::MAX, ..stamp(Touch::None, b"") };
        assert_eq!(later.to_text("lidar").len(), text.len());
    }

    #[test]
    fn a_payload_is_verified_against_its_stamp_by_text_and_by_header() {
        for touch in [Touch::Full, Touch::None] {
            let payload = vec![9; 300];
            let stamp = stamp(touch, &payload);
            let mut header = [0; HEADER_LEN];
            stamp.write_header(Kind::Cloud, payload.len(), &mut header);
            let (kind, by_header) = Stamp::from_header(&header, payload.len()).unwrap();
            let by_text = Stamp::from_text(&stamp.to_text("x")).unwrap();
            assert_eq!((kind, by_header), (Kind::Cloud, by_text));
            assert_eq!(by_text.verify(&payload), Ok(()));
            let mut damaged = payload.clone();
            damaged[299] ^= 1;
            assert!(matches!(by_text.verify(&damaged), Err(Damage::Checksum { .. })));
        }
    }

    #[test]
    fn every_damaged_byte_of_a_header_is_detected() {
        let payload = [3; 100];
        let mut header = [0; HEADER_LEN];
        stamp(Touch::Full, &payload).write_header(Kind::Bytes, payload.len(), &mut header);
        for at in 0..56 {
            let mut damaged = header;
            damaged[at] ^= 0x80;
            let seen = Stamp::from_header(&damaged, payload.len())
                .and_then(|(kind, sealed)| sealed.verify(&payload).map(|()| kind));
            assert_ne!(seen, Ok(Kind::Bytes), "byte {at}");
        }
    }

    #[test]
    fn a_damaged_digit_of_the_text_is_detected() {
        let payload = [3; 100];
        let text = stamp(Touch::Full, &payload).to_text("lidar");
        for at in 6..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(
                Stamp::from_text(&damaged).and_then(|sealed| sealed.verify(&payload)).is_err(),
                "{damaged}"
            );
        }
    }

    #[test]
    fn a_message_of_another_program_has_no_stamp() {
        for text in
            ["", "map", "base_link ld2", "ld2-1-2-3-f", "ld2-1-2-3-x-4", "ld2-1-2-3-f-4-5", "ld1-1-2-3-f-4"]
        {
            assert_eq!(Stamp::from_text(text), Err(Damage::NoStamp), "{text}");
        }
    }
}
