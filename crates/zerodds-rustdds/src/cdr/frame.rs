//! The CDR around data that is not there yet: what a loan is published in.
//!
//! ```text
//!   build(placeholder) ─▶ sample ─▶ serializer
//!        height, width, ... │ u32 │ placeholder │ pad │ is_dense
//!        └──────── head ───────┘                └───── tail ────┘
//!                            ▲ patched to len
//!   in the ring:   head │ len bytes, filled in place by the user │ tail
//! ```
//! The serializer is never shown the data: the sample is built around a short static placeholder, which is
//! recognised by its address when it comes out. Its length equals the data's modulo 16, so that everything
//! behind it is padded as it will have to be (CDR aligns to 8 at most, `cdr-encoding`'s 128-bit integers to
//! 16). Recognition by content was rejected (a user's bytes may be equal), as was a sample with an empty field
//! and offsets worked out from it (which field it was cannot be told).

use super::{Error, carried_by_rtps, serialize};
use ::bytes::Bytes;
use serde::Serialize;
use std::io;
use std::ops::Range;

/// A serialized sample but for one field of bytes: `head`, then [`data_len`](Self::data_len) bytes, then
/// `tail` are its plain little-endian CDR.
///
/// ```
/// use zerodds_rustdds::cdr::Frame;
/// use zerodds_rustdds::msg::sensor_msgs::CompressedImage;
///
/// let frame = Frame::around(5, |data| CompressedImage { format: "png".into(), data, ..Default::default() })?;
/// assert_eq!(frame.head().last_chunk(), Some(&5_u32.to_le_bytes()), "the length, and then the data");
/// assert!(frame.tail().is_empty(), "the last field");
/// assert_eq!(frame.sample_len(), frame.head().len() + frame.data_len());
/// let mut memory = vec![0; frame.sample_len()];
/// assert_eq!(frame.write_into(&mut memory)?, frame.head().len()..memory.len());
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
    data_len: usize,
}

impl Frame {
    /// The frame of the sample that `build` makes, around `len` bytes of data.
    ///
    /// What `build` is given stands for the data and has to go, as it is, into one field of type
    /// [`Bytes`] with `#[serde(with = "zerodds_rustdds::bytes")]`. It has neither the data's content nor its
    /// length: fields that tell the length, such as a `row_step`, are computed from `len`.
    ///
    /// # Errors
    /// [`Error::DataMissing`] and [`Error::DataRepeated`] if the sample does not hold it exactly once,
    /// [`Error::TooLong`], [`Error::Encode`].
    ///
    /// ```
    /// use zerodds_rustdds::cdr::{self, Frame};
    /// use zerodds_rustdds::msg::sensor_msgs::CompressedImage;
    ///
    /// let frame = Frame::around(3, |data| CompressedImage { format: "png".into(), data, ..Default::default() })?;
    ///
    /// let mut loan = vec![0; frame.sample_len()];
    /// let data = frame.write_into(&mut loan)?;
    /// loan[data].copy_from_slice(&[7, 8, 9]);
    ///
    /// let whole = CompressedImage { format: "png".into(), data: vec![7, 8, 9].into(), ..Default::default() };
    /// assert_eq!(loan, cdr::to_bytes(&whole, loan.len())?);
    /// # Ok::<(), cdr::Error>(())
    /// ```
    pub fn around<D: Serialize>(len: usize, build: impl FnOnce(Bytes) -> D) -> Result<Self, Error> {
        let placeholder = placeholder(len);
        let sample = build(Bytes::from_static(placeholder));
        let mut halves = Halves { placeholder, head: Vec::new(), tail: Vec::new(), met: 0 };
        serialize(&sample, &mut halves)?;

        let Halves { mut head, tail, met, .. } = halves;
        if met > 1 {
            return Err(Error::DataRepeated { times: met });
        }
        carried_by_rtps(head.len().saturating_add(len).saturating_add(tail.len()))?;
        // What precedes it is its length, unless it was written as something else than a sequence of octets.
        match head.last_chunk_mut::<4>() {
            Some(stored) if met == 1 && *stored == (placeholder.len() as u32).to_le_bytes() => {
                *stored = (len as u32).to_le_bytes();
                Ok(Self { head, tail, data_len: len })
            }
            _ => Err(Error::DataMissing),
        }
    }

    /// The CDR before the data; its last four octets are the data's length.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The CDR behind the data, beginning with its padding; empty where the data is the last field.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Bytes of data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data_len
    }

    /// Bytes of the whole sample, at most `u32::MAX`.
    #[must_use]
    pub fn sample_len(&self) -> usize {
        self.head.len() + self.data_len + self.tail.len()
    }

    /// Writes head and tail to where they belong in `out`, of [`sample_len`](Self::sample_len) bytes, and
    /// answers with where the data goes; what is there is left as it is.
    ///
    /// # Errors
    /// [`Error::Misfit`] if `out` is of another length; it is untouched then.
    pub fn write_into(&self, out: &mut [u8]) -> Result<Range<usize>, Error> {
        let (room, needed) = (out.len(), self.sample_len());
        if room != needed {
            return Err(Error::Misfit { room, needed });
        }
        let data = self.head.len()..self.head.len() + self.data_len;
        out[..data.start].copy_from_slice(&self.head);
        out[data.end..].copy_from_slice(&self.tail);
        Ok(data)
    }
}

/// What stands for `len` bytes: never empty, for an empty slice is never written and so never met.
fn placeholder(len: usize) -> &'static [u8] {
    &PLACEHOLDER[..ALIGNMENT_MAX + len % ALIGNMENT_MAX]
}

/// Octets to which the serializer aligns at most.
const ALIGNMENT_MAX: usize = 16;

/// A static, not a constant: it is known by its address.
static PLACEHOLDER: [u8; 2 * ALIGNMENT_MAX] = *b"here goes the data of the loan..";

/// Takes the serializer's output apart where the placeholder comes by.
struct Halves {
    placeholder: &'static [u8],
    head: Vec<u8>,
    tail: Vec<u8>,
    met: usize,
}

impl io::Write for Halves {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::ptr::eq(bytes, self.placeholder) {
            self.met += 1;
        } else if self.met == 0 {
            self.head.extend_from_slice(bytes);
        } else {
            self.tail.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
