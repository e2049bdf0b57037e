//! Bytes of a message that are few as a rule, and then need no allocation.

use std::ops::Deref;

/// Bytes, up to 96 of them in place.
#[derive(Debug)]
pub(crate) enum Short {
    InPlace(Few),
    Heap(Vec<u8>),
}

/// At most 96 bytes. Aligned, since a received message is moved before it is read: what was stored in pieces that are loaded
/// again as they are, is had from the processor's store buffer, and all else only from its cache.
#[derive(Debug)]
#[repr(align(16))]
pub(crate) struct Few {
    bytes: [u8; INLINE],
    len: u8,
}

const INLINE: usize = 96;
/// How long the pieces are in which few bytes are copied.
pub(crate) const PIECE: usize = 16;

impl Short {
    /// `len` zeros.
    #[inline]
    fn zeroed(len: usize) -> Self {
        if len <= INLINE {
            Self::InPlace(Few { bytes: [0; INLINE], len: len as u8 })
        } else {
            Self::Heap(zeros(len))
        }
    }

    /// `len` bytes that `copy(at, piece)` writes: all at once, or rounded up to whole pieces.
    #[inline(always)]
    pub(crate) fn copied(len: usize, mut copy: impl FnMut(usize, &mut [u8])) -> Self {
        let mut short = Self::zeroed(len);
        match &mut short {
            Self::InPlace(few) => {
                let (pieces, _) = few.bytes.as_chunks_mut::<PIECE>();
                for (index, piece) in pieces.iter_mut().take(len.div_ceil(PIECE)).enumerate() {
                    copy(index * PIECE, piece);
                }
            }
            Self::Heap(bytes) => copy(0, bytes),
        }
        short
    }

    /// The same bytes in a vector.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::InPlace(_) => self.to_vec(),
            Self::Heap(bytes) => bytes,
        }
    }
}

/// Zeros of the heap, of which the compiler does not know: it would ask for zeroed memory, and calloc of glibc passes by the cache
/// that each thread has of what it freed.
#[inline(never)]
pub(crate) fn zeros(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    bytes.resize(len, std::hint::black_box(0));
    bytes
}

impl From<&[u8]> for Short {
    fn from(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE {
            return Self::Heap(bytes.to_vec());
        }
        let mut few = Few { bytes: [0; INLINE], len: bytes.len() as u8 };
        few.bytes[..bytes.len()].copy_from_slice(bytes);
        Self::InPlace(few)
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace(few) => &few.bytes[..few.len as usize],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Short {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_are_copied_and_no_more_than_whole_pieces_are_asked_for() {
        let source: Vec<u8> = (0..=255).collect();
        for len in 0..=200 {
            let mut until = 0;
            let copied = Short::copied(len, |at, piece| {
                piece.copy_from_slice(&source[at..at + piece.len()]);
                until = at + piece.len();
            });
            assert_eq!(copied[..], source[..len]);
            assert!(until <= len.next_multiple_of(PIECE), "{until} for {len}");
            assert_eq!(copied, Short::from(&source[..len]));
            assert_eq!(copied.into_vec(), source[..len]);
        }
    }
}
