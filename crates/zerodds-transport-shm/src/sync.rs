//! The atomics of shared memory: the processor's, or a model checker's under `--cfg zerodds_model` (see model.rs), or in
//! builds with crash points those that count stores.

#[cfg(all(feature = "crash-points", debug_assertions, not(zerodds_model)))]
pub(crate) use crate::sys::{AtomicU32, AtomicU64};
#[cfg(not(zerodds_model))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(not(zerodds_model))]
use core::sync::atomic::fence;
#[cfg(not(any(all(feature = "crash-points", debug_assertions), zerodds_model)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(all(zerodds_model, not(zerodds_shuttle)))]
use loom::sync::atomic::fence;
#[cfg(all(zerodds_model, not(zerodds_shuttle)))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(all(zerodds_model, zerodds_shuttle))]
use shuttle::sync::atomic::fence;
#[cfg(all(zerodds_model, zerodds_shuttle))]
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A full fence, on the side of an argument that sleeps: what it looks at afterwards it may read with any ordering.
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// What was read before it was written before what the fence's partner, a [`release_fence`], stands in front of.
pub(crate) fn acquire_fence() {
    fence(Ordering::Acquire);
}

/// Whoever reads what is written after it, and then passes an [`acquire_fence`], sees what was written before it.
pub(crate) fn release_fence() {
    fence(Ordering::Release);
}

/// Stands between a SeqCst store and a SeqCst load whose order an argument rests on, on the side that wakes. C11
/// orders the two accesses themselves, so nothing is needed here; loom treats them as AcqRel and knows a total order
/// of fences only. For shuttle every access is sequentially consistent.
pub(crate) fn ordered_accesses() {
    #[cfg(all(zerodds_model, not(zerodds_shuttle)))]
    fence(Ordering::SeqCst);
}

/// The word as the kernel's futex calls want it.
#[cfg(not(zerodds_model))]
pub(crate) const fn for_futex(word: &AtomicU32) -> &core::sync::atomic::AtomicU32 {
    #[cfg(not(all(feature = "crash-points", debug_assertions)))]
    return word;
    #[cfg(all(feature = "crash-points", debug_assertions))]
    return word.for_futex();
}
