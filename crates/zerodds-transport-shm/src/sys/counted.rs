//! The words of shared memory in builds with crash points: every store passes one first.
//!
//! They have the methods that the transport uses and no others: whoever needs one more adds it here.

use crate::crash::pass;
use core::sync::atomic::{self, Ordering};
use std::panic::Location;

macro_rules! counted {
    ($word:ident, $integer:ty) => {
        /// A word whose stores are counted.
        #[repr(transparent)]
        pub(crate) struct $word(atomic::$word);

        impl $word {
            // SAFETY: the caller sees to what the processor's own asks for.
            pub(crate) unsafe fn from_ptr<'a>(word: *mut $integer) -> &'a Self {
                // SAFETY: transparent, so it is the atomic that the caller may make of this pointer.
                unsafe { &*word.cast::<Self>() }
            }

            pub(crate) fn load(&self, order: Ordering) -> $integer {
                self.0.load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $integer, order: Ordering) {
                pass("store", Location::caller());
                self.0.store(value, order);
            }
        }
    };
}

counted!(AtomicU32, u32);
counted!(AtomicU64, u64);

impl AtomicU32 {
    /// For tests, whose words lie in no mapping.
    #[cfg(test)]
    pub(crate) const fn new(value: u32) -> Self {
        Self(atomic::AtomicU32::new(value))
    }

    #[track_caller]
    pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        pass("fetch_add", Location::caller());
        self.0.fetch_add(value, order)
    }

    #[track_caller]
    pub(crate) fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
        pass("fetch_and", Location::caller());
        self.0.fetch_and(value, order)
    }

    #[track_caller]
    pub(crate) fn fetch_or(&self, value: u32, order: Ordering) -> u32 {
        pass("fetch_or", Location::caller());
        self.0.fetch_or(value, order)
    }

    /// The word that the kernel sleeps on; it is not stored to through this.
    pub(crate) const fn for_futex(&self) -> &atomic::AtomicU32 {
        &self.0
    }
}

impl AtomicU64 {
    #[track_caller]
    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        pass("compare_exchange", Location::caller());
        self.0.compare_exchange(current, new, success, failure)
    }
}
