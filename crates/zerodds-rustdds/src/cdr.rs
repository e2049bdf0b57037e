//! Samples as plain CDR: measured, written to where they are wanted, read as views of where they lie.
//!
//! ```text
//!   sample ─ to_short_bytes ─▶ an allocation, where that is short
//!   sample ─ serialized_len ─▶ n ─ a loan of n bytes ─ write_into ─▶ ring memory
//!                              └── no loan ─────────── to_bytes ───▶ an allocation of n bytes
//!
//!   ring memory or an RTPS payload ─ decode ─▶ sample, whose `Bytes` fields point into it
//! ```
//! A loan cannot grow, so the size comes first; it is counted by the serializer itself, since nothing else
//! gives the exact padding. Counting costs next to nothing for strings, [`bytes`](crate::bytes) and even a
//! `Vec<u8>` (the compiler turns the walk into an addition), and about a nanosecond for each element of other
//! sequences. Both passes are `cdr-encoding`, the library that RustDDS uses: what is written here is, byte for
//! byte, what a plain RustDDS endpoint writes and reads. The four octets of the encapsulation header
//! (DDSI-RTPS 2.5 §10.2) are RustDDS's to add.
//!
//! Rejected: a `Vec` that grows and is copied into the loan (a second copy of megabytes), a CDR serializer of
//! our own (one more thing to agree with RustDDS), a size trait for users to derive (one more derive, and a
//! wrong size would be possible).

mod frame;
mod source;

pub use frame::Frame;
pub(crate) use source::view;

use ::bytes::Bytes;
use byteorder::LittleEndian;
use cdr_encoding::CdrSerializer;
use rustdds::RepresentationIdentifier;
use rustdds::serialization::deserialize_from_cdr_with_rep_id;
use serde::Serialize;
use serde::de::DeserializeOwned;
use source::Lent;
use std::io;
use thiserror::Error;

/// Why a sample could not be written or read.
///
/// ```
/// use zerodds_rustdds::cdr;
///
/// let error = cdr::write_into(&7_u32, &mut [0; 3]).expect_err("a u32 has four bytes");
/// assert!(matches!(error, cdr::Error::LenChanged { measured: 3, .. }));
/// println!("{error}");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The value refuses to be serialized, or holds what CDR does not know.
    #[error("the sample cannot be written as CDR: {0}")]
    Encode(#[source] cdr_encoding::Error),
    /// The bytes are not CDR of the type that was asked for, or their representation is not plain CDR.
    #[error("the payload of {len} bytes cannot be read as the topic's type: {source}")]
    Decode {
        /// Bytes in the payload.
        len: usize,
        /// What the deserializer met.
        source: cdr_encoding::Error,
    },
    /// Longer than an RTPS `sampleSize` can say (DDSI-RTPS 2.5 §9.4.5.5).
    #[error("a sample of {len} bytes exceeds the {} bytes that RTPS can carry; split it", u32::MAX)]
    TooLong {
        /// The sample's length in bytes.
        len: usize,
    },
    /// `Serialize` gave another length when the sample was written than when it was measured.
    #[error(
        "the sample took {measured} bytes when it was measured and {written} when it was written, so it is not \
         sent: its Serialize has to give the same bytes each time"
    )]
    LenChanged {
        /// Bytes that were provided for.
        measured: usize,
        /// Bytes that the value then gave.
        written: usize,
    },
    /// The sample of a loan does not hold the data that its closure was given.
    #[error(
        "the sample built for a loan does not hold the data it was given, so it is not sent: move `data`, as \
         it is, into a field of type Bytes with #[serde(with = \"zerodds_rustdds::bytes\")]"
    )]
    DataMissing,
    /// The sample of a loan holds the data more than once.
    #[error(
        "the sample built for a loan holds the data it was given {times} times, so it is not sent: one field \
         can be filled in place; give the others bytes of their own"
    )]
    DataRepeated {
        /// How often it was met.
        times: usize,
    },
    /// The memory for a [`Frame`] is not as long as its sample.
    #[error("a sample of {needed} bytes does not fit memory of {room} bytes exactly")]
    Misfit {
        /// Bytes of memory.
        room: usize,
        /// Bytes of the sample.
        needed: usize,
    },
}

/// The exact number of bytes that `sample` takes as plain CDR, without the encapsulation header.
///
/// # Errors
/// [`Error::Encode`] and [`Error::TooLong`].
///
/// ```
/// use zerodds_rustdds::cdr;
///
/// // A u8, three octets of padding, a u32.
/// assert_eq!(cdr::serialized_len(&(1_u8, 2_u32))?, 8);
/// # Ok::<(), cdr::Error>(())
/// ```
pub fn serialized_len<D: Serialize + ?Sized>(sample: &D) -> Result<usize, Error> {
    let mut count = Count(0);
    serialize(sample, &mut count)?;
    carried_by_rtps(count.0)
}

/// Writes `sample` as plain little-endian CDR into `out`, which has to be exactly as long as
/// [`serialized_len`] says.
///
/// # Errors
/// [`Error::Encode`], and [`Error::LenChanged`] where the value gives another length than `out` has. In both
/// cases `out` holds nothing of use.
///
/// ```
/// use zerodds_rustdds::cdr;
///
/// let mut out = [0xFF; 8];
/// cdr::write_into(&(1_u8, 2_u32), &mut out)?;
/// assert_eq!(out, [1, 0, 0, 0, 2, 0, 0, 0]);
/// # Ok::<(), cdr::Error>(())
/// ```
pub fn write_into<D: Serialize + ?Sized>(sample: &D, out: &mut [u8]) -> Result<(), Error> {
    let measured = out.len();
    let mut slot = Slot { out, written: 0 };
    serialize(sample, &mut slot)?;
    as_measured(measured, slot.written)
}

/// `sample` as plain little-endian CDR in one allocation of `len` bytes, which is what [`serialized_len`]
/// says.
///
/// # Errors
/// [`Error::Encode`], and [`Error::LenChanged`] where the value gives another length.
///
/// ```
/// use zerodds_rustdds::cdr;
///
/// let bytes = cdr::to_bytes("hi", cdr::serialized_len("hi")?)?;
/// assert_eq!(bytes[..], [3, 0, 0, 0, b'h', b'i', 0]);
/// # Ok::<(), cdr::Error>(())
/// ```
pub fn to_bytes<D: Serialize + ?Sized>(sample: &D, len: usize) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(len);
    serialize(sample, &mut out)?;
    as_measured(len, out.len())?;
    Ok(out.into())
}

/// `sample` as plain little-endian CDR, if that takes fewer than `bound` bytes: measured and written in one pass. `likely`:
/// how many they may be, for which room is made at once.
///
/// # Errors
/// [`Error::Encode`].
pub(crate) fn to_short_bytes<D: Serialize + ?Sized>(
    sample: &D,
    bound: usize,
    likely: usize,
) -> Result<Option<Bytes>, Error> {
    let mut short = Short { out: Vec::with_capacity(likely), bound, is_over: false };
    match serialize(sample, &mut short) {
        _ if short.is_over => Ok(None),
        outcome => outcome.map(|()| Some(short.out.into())),
    }
}

/// Reads a sample from `source` in the representation that `encoding` names: CDR or PL_CDR of either byte
/// order, as RustDDS's own adapter does, bytes past the sample's end being ignored.
///
/// Fields with `#[serde(with = "zerodds_rustdds::bytes")]` become slices of `source` and keep it alive; all
/// others are copied out.
///
/// # Errors
/// [`Error::Decode`].
///
/// ```
/// use bytes::Bytes;
/// use rustdds::RepresentationIdentifier;
/// use zerodds_rustdds::cdr;
///
/// let source = Bytes::from_static(&[3, 0, 0, 0, b'h', b'i', 0]);
/// let text: String = cdr::decode(&source, RepresentationIdentifier::CDR_LE)?;
/// assert_eq!(text, "hi");
/// # Ok::<(), cdr::Error>(())
/// ```
pub fn decode<D: DeserializeOwned>(source: &Bytes, encoding: RepresentationIdentifier) -> Result<D, Error> {
    let _lent = Lent::new(source);
    match deserialize_from_cdr_with_rep_id(source, encoding) {
        Ok((sample, _consumed)) => Ok(sample),
        Err(error) => Err(Error::Decode { len: source.len(), source: error }),
    }
}

/// Drives `sample` through the serializer into `writer`.
fn serialize<D: Serialize + ?Sized>(sample: &D, writer: impl io::Write) -> Result<(), Error> {
    sample.serialize(&mut CdrSerializer::<_, LittleEndian>::new(writer)).map_err(Error::Encode)
}

/// `len`, if RTPS can carry as much. It also bounds the sequences within, whose lengths are written as u32.
fn carried_by_rtps(len: usize) -> Result<usize, Error> {
    if u32::try_from(len).is_ok() { Ok(len) } else { Err(Error::TooLong { len }) }
}

/// The check after the second pass.
fn as_measured(measured: usize, written: usize) -> Result<(), Error> {
    if measured == written { Ok(()) } else { Err(Error::LenChanged { measured, written }) }
}

/// Counts what it is given. `write` is inlined by force: it is what lets the compiler see through a walk over
/// millions of octets.
struct Count(usize);

impl io::Write for Count {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Grows up to a bound, and refuses what is beyond.
struct Short {
    out: Vec<u8>,
    bound: usize,
    is_over: bool,
}

impl io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() + bytes.len() >= self.bound {
            self.is_over = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills a slice and counts on where it is full, so that the error can say what the value gave.
struct Slot<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl io::Write for Slot<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.written + bytes.len();
        if let Some(place) = self.out.get_mut(self.written..end) {
            place.copy_from_slice(bytes);
        }
        self.written = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Mixed(u8, String, Vec<u16>);

    struct Refuses;

    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }

    fn mixed() -> Mixed {
        Mixed(1, "two".into(), vec![3; 40])
    }

    #[test]
    fn what_is_short_is_written_in_one_pass_as_in_two() {
        let two = to_bytes(&mixed(), serialized_len(&mixed()).expect("known")).expect("as long");
        for likely in [0, 7, two.len(), 1000] {
            assert_eq!(to_short_bytes(&mixed(), two.len() + 1, likely).expect("known"), Some(two.clone()));
        }
    }

    #[test]
    fn what_is_as_long_as_the_bound_is_not_short_wherever_that_is_noticed() {
        let len = serialized_len(&mixed()).expect("known");
        for bound in 0..=len {
            assert_eq!(to_short_bytes(&mixed(), bound, 0).expect("known"), None, "{bound} of {len}");
        }
    }

    #[test]
    fn what_refuses_to_be_written_is_an_error_and_not_long() {
        assert!(matches!(to_short_bytes(&Refuses, 1 << 10, 0), Err(Error::Encode(_))));
    }
}
