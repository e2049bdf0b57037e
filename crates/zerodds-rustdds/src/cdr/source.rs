//! What is being decoded on this thread, so that a field can be a slice of it.
//!
//! A `Deserialize` is handed `&[u8]` and nothing else, and samples are `'static`: they cannot borrow it. So
//! [`decode`](super::decode) leaves the `Bytes` it reads from in a thread-local, and
//! [`bytes`](crate::bytes) finds there the owner of the slice it was handed.
//!
//! ```text
//!   SOURCE   ┌──────────────── Bytes ────────────────┐
//!            │ header │ len │ data ..........│ tail  │
//!                           └── slice ───────┘  ⊂ SOURCE: a slice of it, no copy
//!                                               ⊄ SOURCE: None, the caller copies
//! ```
//! Rejected: a `DeserializeSeed` for each type (a derive of our own); `rc`-like wrappers around the
//! deserializer (serde hands out the format's own types).

use ::bytes::Bytes;
use std::cell::RefCell;
use std::mem;

thread_local! {
    /// Empty while nothing is decoded: an empty source contains no slice.
    static SOURCE: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// `slice` as a part of the source of the decoding under way, where it lies in it.
pub(crate) fn view(slice: &[u8]) -> Option<Bytes> {
    SOURCE
        .try_with(|source| {
            let source = source.borrow();
            let (outer, inner) = (source.as_ptr_range(), slice.as_ptr_range());
            let contained = outer.start <= inner.start && inner.end <= outer.end;
            contained.then(|| source.slice_ref(slice))
        })
        .ok()
        .flatten()
}

/// A source in place for as long as this lives; the one before comes back after it, panic or not, so a
/// decoding may happen within another.
pub(super) struct Lent {
    outer: Bytes,
}

impl Lent {
    pub(super) fn new(source: &Bytes) -> Self {
        Self { outer: exchange(source.clone()) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(exchange(mem::take(&mut self.outer)));
    }
}

/// Puts `source` in place and answers with the one that was there. The cell is free again before the caller
/// drops that, since its owner's `Drop` may do anything. On a thread that is already ending there is no cell,
/// and fields are copied.
fn exchange(source: Bytes) -> Bytes {
    SOURCE.try_with(|cell| cell.replace(source)).unwrap_or_default()
}
