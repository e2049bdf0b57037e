//! What the lane, the slots and the doorbell are written against: words and bytes by offset.
//!
//! They never see a pointer, so the same code runs on a mapping shared with another process and on the model
//! checker's memory (whose atomics cannot overlay mapped bytes).

use crate::sync::{AtomicU32, AtomicU64};

/// Memory shared with a peer. Every offset is checked: one outside the region panics, so offsets from a peer
/// must be validated before.
pub(crate) trait Region: Send + Sync {
    /// The word at `at`, a multiple of 4.
    fn u32(&self, at: usize) -> &AtomicU32;
    /// The word at `at`, a multiple of 8.
    fn u64(&self, at: usize) -> &AtomicU64;
    /// Writes bytes that no word overlays.
    fn copy_in(&self, at: usize, from: &[u8]);
    /// Reads bytes. What a peer changes meanwhile may come out torn; the caller proves that it did not.
    fn copy_out(&self, at: usize, to: &mut [u8]);
    /// The cache line at `at` will be written soon: a hint, of which nothing need come.
    fn will_write(&self, _at: usize) {}
    /// The cache line at `at` will be read soon: the same.
    fn will_read(&self, _at: usize) {}
}

/// A peer wrote something into shared memory that no correct peer writes; the text says what. The link is
/// closed, the peer served over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);
