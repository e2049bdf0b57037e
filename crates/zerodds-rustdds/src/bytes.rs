//! `#[serde(with = "zerodds_rustdds::bytes")]`: fields of type [`Bytes`] that cost nothing to measure, one
//! copy to write and none to read.
//!
//! On the wire such a field is `sequence<octet>`, exactly as a `Vec<u8>` is. The difference lies in how it
//! gets there and back:
//!
//! | 4 MiB | `Vec<u8>` | `Bytes` with this module |
//! |---|---|---|
//! | to write it | each octet for itself, 2.9 ms | in one piece, 0.27 ms |
//! | to fill it in place | not possible | a loan |
//! | to read it | each octet for itself, onto the heap, 6 ms | a slice of the memory it came in, 0.2 µs |
//!
//! What was read by a ZeroDDS reader keeps the memory that it arrived in until the last clone of it is dropped;
//! `Bytes::copy_from_slice` and `to_vec` part from it. Under plain RustDDS endpoints and with any other serde
//! format the same type works too, with a copy on reading.
//!
//! # Numbers
//! There is no such thing for a `Vec<f32>`: CDR stores the count of elements before it, whereas serde's only
//! operation in bulk stores the count of octets. Such a field is walked element by element: a million of them
//! take about 1.3 ms to measure and write and 1.9 ms to read. Where that is too much, declare the field as
//! octets, as `sensor_msgs/PointCloud2` does with its points, and convert at the ends (`f32::to_le_bytes`,
//! `f32::from_le_bytes` on `chunks_exact(4)`). Octets are not aligned for a `&[f32]`: CDR aligns them to 4 only
//! from the sample's start, and nothing aligns the sample.
//!
//! ```
//! use bytes::Bytes;
//! use rustdds::RepresentationIdentifier;
//! use serde::{Deserialize, Serialize};
//! use zerodds_rustdds::cdr;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Scan {
//!     stamp_ns: u64,
//!     #[serde(with = "zerodds_rustdds::bytes")]
//!     points: Bytes,
//! }
//!
//! let scan = Scan { stamp_ns: 1, points: Bytes::from_static(b"xyz") };
//! let source = cdr::to_bytes(&scan, cdr::serialized_len(&scan)?)?;
//! let read: Scan = cdr::decode(&source, RepresentationIdentifier::CDR_LE)?;
//! assert_eq!(read.points, "xyz");
//! assert!(source.as_ptr_range().contains(&read.points.as_ptr()));
//! # Ok::<(), cdr::Error>(())
//! ```

use crate::cdr;
use ::bytes::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

/// Writes the field in one piece. For `#[serde(with)]`.
///
/// # Errors
/// Those of the format.
///
/// ```
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Blob(#[serde(with = "zerodds_rustdds::bytes")] bytes::Bytes);
///
/// let blob = Blob(b"abc"[..].into());
/// assert_eq!(zerodds_rustdds::cdr::serialized_len(&blob)?, 4 + 3);
/// # Ok::<(), zerodds_rustdds::cdr::Error>(())
/// ```
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads the field as a slice of the memory that is decoded, or else as a copy. For `#[serde(with)]`.
///
/// # Errors
/// Those of the format.
///
/// ```
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Blob(#[serde(with = "zerodds_rustdds::bytes")] bytes::Bytes);
///
/// let blob: Blob = serde_json::from_str("[1, 2, 3]")?;
/// assert_eq!(blob.0[..], [1, 2, 3]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_bytes(Octets)
}

/// Takes octets in whatever form a format has them.
struct Octets;

impl<'de> Visitor<'de> for Octets {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence of octets")
    }

    fn visit_borrowed_bytes<E: Error>(self, octets: &'de [u8]) -> Result<Bytes, E> {
        Ok(cdr::view(octets).unwrap_or_else(|| Bytes::copy_from_slice(octets)))
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(octets))
    }

    fn visit_byte_buf<E: Error>(self, octets: Vec<u8>) -> Result<Bytes, E> {
        Ok(octets.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Bytes, A::Error> {
        // The hint is the sender's word: it may save allocations, not cause a large one.
        let mut octets = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(HINT_MAX));
        while let Some(octet) = elements.next_element()? {
            octets.push(octet);
        }
        Ok(octets.into())
    }
}

/// Octets reserved at most before any of them has come.
const HINT_MAX: usize = 4096;
