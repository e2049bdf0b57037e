//! Which bytes of a ring are in memory: its file says so, which is one of holes.
//!
//! To ask is to seek. Meanwhile the kernel holds the lock of the file, which whoever writes to it keeps for as long as it likes
//! (what it writes may lie in memory that does not come), and that of the description's position, which whoever shares the description and reads
//! by it keeps likewise. So no peer gets either: what it is sent is another description than ours, by which the file can only be read, and
//! no other user may open the file anew (segment.rs). A peer can seek by it as we do, and has the lock of the file for as long as one such
//! search takes. All peers share that one description, whose position has a lock, too, so no more than one of them searches at a time,
//! whatever their number.
//!
//! To go over what is there takes some 10 ns a page; what was found once from the ring's start on is not gone over again.
//!
//! A page in swap is no hole. It was charged when it came, and comes back when it is touched. One that `fallocate` gave, which is asked for
//! before Linux 5.14 only (segment.rs), is a hole until somebody touches it: the limits are looked at once more than they need be.
//!
//! Rejected:
//! - `mincore`, which takes neither lock. It is missing from systemd's `@system-service`, and a filter kills whoever calls what it
//!   does not list.
//! - `/proc/self/pagemap`, which a process that has changed its user cannot read.

use rustix::fs::SeekFrom;
use std::os::fd::OwnedFd;

/// The first byte from `at` on that is not in memory; the end of the file if there is none.
pub(crate) fn next_hole(file: &OwnedFd, at: u64) -> u64 {
    // Where it is not to be had that byte counts as missing: the limits are looked at once more than they need be.
    rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(at)
}

/// Bytes of `at..end` that are not in memory.
pub(crate) fn missing(file: &OwnedFd, mut at: u64, end: u64) -> u64 {
    let mut missing = 0;
    loop {
        let hole = next_hole(file, at);
        if hole >= end {
            return missing;
        }
        // It is an error that nothing follows.
        at = rustix::fs::seek(file, SeekFrom::Data(hole)).map_or(end, |data| data.min(end));
        missing += at - hole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{self, Sharing};
    use crate::sys::page_size;

    #[test]
    fn bytes_that_are_not_in_memory_are_found_wherever_they_lie() {
        let page = page_size();
        let made = segment::create("test", 600 * page, 1, Sharing::ReadWrite).expect("memory");
        for (at, pages) in [(0, 300), (400, 1), (599, 1)] {
            made.mapping.populate(at * page, pages * page).expect("memory");
        }
        let bytes = |pages: usize| (pages * page) as u64;
        let missing = |at, end| missing(&made.fd, at, end);
        assert_eq!(missing(0, bytes(600)), bytes(100 + 198));
        assert_eq!(missing(bytes(1) + 1, bytes(300)), 0);
        assert_eq!(missing(bytes(350), bytes(402)), bytes(50 + 1));
        assert_eq!(missing(bytes(300) + 5, bytes(300) + 6), 1);
        assert_eq!(missing(bytes(450), bytes(450)), 0);
        let next_hole = |at| next_hole(&made.fd, at);
        assert_eq!(next_hole(0), bytes(300));
        assert_eq!(next_hole(bytes(300) + 5), bytes(300) + 5);
        assert_eq!(next_hole(bytes(400)), bytes(401));
        assert_eq!(next_hole(bytes(599)), bytes(600), "the end");
    }

    #[test]
    fn where_the_file_does_not_say_all_counts_as_missing() {
        let (pipe, _) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!((next_hole(&pipe, 7), missing(&pipe, 7, 100)), (7, 93));
    }
}
