//! A mapping of shared memory, and the three ways to touch it: words, copies, slices.

use crate::crash;
use crate::layout::PAGE;
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A whole object mapped into this process.
pub(crate) struct Mapping {
    raw: MmapRaw,
    writable: bool,
}

impl Mapping {
    /// Maps `len` bytes for reading and writing.
    pub(crate) fn read_write(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(len).map_raw(fd.as_raw_fd())?;
        Ok(Self::prepared(raw, true))
    }

    /// Maps `len` bytes for reading only.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(len).map_raw_read_only(fd.as_raw_fd())?;
        Ok(Self::prepared(raw, false))
    }

    fn prepared(raw: MmapRaw, writable: bool) -> Self {
        // A core dump would otherwise write the whole ring and delay the news of our death. Advice only.
        let _ = raw.advise(Advice::DontDump);
        Self { raw, writable }
    }

    /// Memory of this process alone, all zero, for tests: what makes a memory file is none of what they look at, and beyond Miri.
    #[cfg(test)]
    pub(crate) fn anonymous(len: usize) -> Self {
        let memory = memmap2::MmapMut::map_anon(len).expect("memory");
        Self { raw: memory.into(), writable: true }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Makes the pages of `at..at + len` present, so that touching them costs no fault.
    pub(crate) fn populate(&self, at: usize, len: usize) -> io::Result<()> {
        crash::step("populate");
        let advice = if self.writable { Advice::PopulateWrite } else { Advice::PopulateRead };
        self.raw.advise_range(advice, at, len)
    }

    /// The address of `at..at + len`, which must lie inside.
    #[inline]
    fn pointer(&self, at: usize, len: usize) -> *mut u8 {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len()),
            "{at}+{len} is outside the mapping"
        );
        self.raw.as_mut_ptr().wrapping_add(at)
    }
}

impl Region for Mapping {
    #[inline]
    fn u32(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && self.writable);
        let word = self.pointer(at, 4).cast::<u32>();
        // SAFETY: inside the mapping (checked by `pointer`) for as long as `self` is borrowed (rule 1), aligned because
        // mappings start at a page and `at` is a multiple of 4, and only accessed atomically (rule 2).
        unsafe { AtomicU32::from_ptr(word) }
    }

    #[inline]
    fn u64(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && self.writable);
        let word = self.pointer(at, 8).cast::<u64>();
        // SAFETY: as in `u32`, with a multiple of 8.
        unsafe { AtomicU64::from_ptr(word) }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        crash::step("copy in");
        assert!(self.writable);
        let to = self.pointer(at, from.len());
        // SAFETY: `to` is valid for `from.len()` bytes of a writable mapping (checked), `from` is a live slice; they do not
        // overlap, because no `&[u8]` covers bytes that may be written (rules 2 and 3).
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    #[inline]
    fn copy_out(&self, at: usize, to: &mut [u8]) {
        let from = self.pointer(at, to.len());
        // SAFETY: `from` is valid for `to.len()` bytes (checked), `to` is exclusive, so they do not overlap. A peer that
        // writes meanwhile makes the bytes meaningless but they are plain octets: every value is one.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
    }

    // Other processors do without: nothing is worked out for a hint that nobody gives.
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    #[inline]
    fn will_read(&self, at: usize) {
        let line = self.pointer(at, 1);
        // SAFETY: a hint, which reads and writes nothing a program could see, and faults nowhere.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
    }

    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    #[inline]
    fn will_write(&self, at: usize) {
        let line = self.pointer(at, 1);
        // SAFETY: a hint, which reads and writes nothing a program could see, and faults nowhere. The intrinsic for it becomes
        // one for reading where the processor's features are not known.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
    }
}

/// Who keeps a mapping, always the same, for as long as it lives itself: rule 4.
pub(crate) trait Keeper {
    fn mapping(&self) -> &Mapping;
}

/// Bytes of a published record, read in place.
pub(crate) struct SharedBytes<K> {
    keeper: K,
    at: usize,
    len: usize,
}

impl<K: Keeper> SharedBytes<K> {
    /// Rule 3 must hold: the range belongs to a published record that is not reused while this value exists.
    pub(crate) const fn new(keeper: K, at: usize, len: usize) -> Self {
        Self { keeper, at, len }
    }

    pub(crate) const fn keeper(&self) -> &K {
        &self.keeper
    }
}

impl<K: Keeper> Deref for SharedBytes<K> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.keeper.mapping().pointer(self.at, self.len);
        // SAFETY: inside the mapping, which `self` keeps alive (rule 4); nobody writes these bytes while `self` is borrowed: they are
        // published, or lent to whoever has it alone (rule 3).
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

/// Bytes of our own ring that a loan may write.
pub(crate) struct LoanedBytes<K>(SharedBytes<K>);

impl<K: Keeper> LoanedBytes<K> {
    /// Rule 3 must hold: the range belongs to one unpublished record, and to this value alone.
    pub(crate) const fn new(keeper: K, at: usize, len: usize) -> Self {
        Self(SharedBytes::new(keeper, at, len))
    }

    pub(crate) const fn keeper(&self) -> &K {
        self.0.keeper()
    }

    /// Shortens the loan; it cannot grow.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(len);
    }
}

impl<K: Keeper> Deref for LoanedBytes<K> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<K: Keeper> DerefMut for LoanedBytes<K> {
    fn deref_mut(&mut self) -> &mut [u8] {
        crash::step("write to a loan");
        let SharedBytes { keeper, at, len } = &self.0;
        let mapping = keeper.mapping();
        assert!(mapping.writable);
        let start = mapping.pointer(*at, *len);
        // SAFETY: inside a writable mapping (checked), which `self` keeps alive (rule 4); nobody else touches these bytes while `self`
        // exists (rule 3), and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, *len) }
    }
}

/// The system's, in bytes. Not rustix's, which looks at the program's own ELF header first and does not survive that under
/// valgrind.
pub(crate) fn page_size() -> usize {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(PAGE)
}
