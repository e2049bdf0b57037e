//! The atomics of shared memory: the processor's, or the model checker's under `--cfg zerodds_loom`.

#[cfg(not(zerodds_loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(zerodds_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Stands between two SeqCst accesses whose one total order an argument rests on. C11 gives that order to the
/// accesses themselves, so nothing is needed; loom knows it for fences only and treats the accesses as AcqRel.
#[cfg(not(zerodds_loom))]
pub(crate) const fn total_order() {}

/// See the other definition.
#[cfg(zerodds_loom)]
pub(crate) fn total_order() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}
