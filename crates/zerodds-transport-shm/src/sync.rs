//! The atomics of shared memory: the processor's, or the model checker's under `--cfg zerodds_loom`, or in builds with
//! crash points those that count stores.

#[cfg(all(feature = "crash-points", debug_assertions, not(zerodds_loom)))]
pub(crate) use crate::sys::{AtomicU32, AtomicU64};
#[cfg(not(zerodds_loom))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(not(any(all(feature = "crash-points", debug_assertions), zerodds_loom)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(zerodds_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A full fence, on the side of an argument that sleeps: what it looks at afterwards it may read with any ordering.
pub(crate) fn full_fence() {
    #[cfg(not(zerodds_loom))]
    core::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(zerodds_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Stands between a SeqCst store and a SeqCst load whose order an argument rests on, on the side that wakes. C11
/// orders the two accesses themselves, so nothing is needed here; loom treats them as AcqRel and knows a total order
/// of fences only.
pub(crate) fn ordered_accesses() {
    #[cfg(zerodds_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// The word as the kernel's futex calls want it.
#[cfg(not(zerodds_loom))]
pub(crate) const fn for_futex(word: &AtomicU32) -> &core::sync::atomic::AtomicU32 {
    #[cfg(not(all(feature = "crash-points", debug_assertions)))]
    return word;
    #[cfg(all(feature = "crash-points", debug_assertions))]
    return word.for_futex();
}
