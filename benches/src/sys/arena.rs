//! A mapping of shared memory: words, and bytes to write and to read.

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;

/// Memory that several processes map.
pub(crate) struct Arena {
    raw: MmapRaw,
}

impl Arena {
    /// A memory object of `len` bytes that nobody can resize.
    pub(crate) fn create(len: usize) -> io::Result<OwnedFd> {
        let fd = memfd_create("zerodds-benches", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(fd)
    }

    /// Maps all of an object that [`create`](Self::create) made.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let seals = fcntl_get_seals(fd)?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(io::Error::other("the shared object can be resized, so touching it could fault"));
        }
        let len = rustix::fs::fstat(fd.as_fd())?.st_size as usize;
        Ok(Self { raw: MmapOptions::new().len(len).map_raw(fd.as_raw_fd())? })
    }

    /// Makes the pages of a range present, so that touching them costs no fault.
    pub(crate) fn populate(&self, at: usize, len: usize) -> io::Result<()> {
        self.raw.advise_range(Advice::PopulateWrite, at, len)
    }

    /// The word at this offset.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4), "a word at {at} is not aligned");
        let word = self.pointer(at, 4).cast::<u32>();
        // SAFETY: inside the mapping (checked by `pointer`) for as long as `self` is borrowed (rule 1), aligned because
        // mappings start at a page and `at` is a multiple of 4 (checked), and only accessed atomically (rule 2).
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Lets `write` write a range that is not published.
    pub(crate) fn write(&self, at: usize, len: usize, write: impl FnOnce(&mut [u8])) {
        let start = self.pointer(at, len);
        // SAFETY: inside the mapping (checked by `pointer`), which is writable; nobody else touches the range before it is
        // published and after it is released (rule 3), and the slice ends with this call.
        write(unsafe { std::slice::from_raw_parts_mut(start, len) });
    }

    /// Shows a published range to `read`.
    pub(crate) fn read<R>(&self, at: usize, len: usize, read: impl FnOnce(&[u8]) -> R) -> R {
        let start = self.pointer(at, len);
        // SAFETY: inside the mapping (checked by `pointer`); nobody writes the range before it is released, which its
        // reader does after this call only (rule 3).
        read(unsafe { std::slice::from_raw_parts(start, len) })
    }

    /// The address of `at..at + len`, which must lie inside.
    fn pointer(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.raw.len()), "{at}+{len} is outside");
        self.raw.as_mut_ptr().wrapping_add(at)
    }
}
