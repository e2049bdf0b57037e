//! Bytes of a message that are few as a rule, and then need no allocation.

use smallvec::SmallVec;

/// Bytes, up to 96 of them in place.
pub(crate) type Short = SmallVec<[u8; INLINE]>;

const INLINE: usize = 96;

/// `len` zeros.
pub(crate) fn zeroed(len: usize) -> Short {
    if len <= INLINE { Short::from_buf_and_len([0; INLINE], len) } else { Short::from_vec(vec![0; len]) }
}
