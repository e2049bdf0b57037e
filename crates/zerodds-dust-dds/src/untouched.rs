//! Memory for the longest message that there may be, which costs nothing while messages are short: zeroed pages of the
//! system, of which only what is written to takes memory. (Growing a vector would write to all of them.)
//!
//! The allocator of glibc takes what is long from the system only at first: once such memory was freed it takes as much, up to
//! 32 MiB, from what was freed before, and clears that. So what is long is asked for with more behind it than
//! it ever does that for, which takes addresses and nothing else.

/// Zeroed memory of this length.
pub(crate) fn untouched(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; if len < LONG { len } else { len.max(FROM_THE_SYSTEM) }];
    bytes.truncate(len);
    bytes
}

/// The same, where the system has as much to give. Whoever takes it in the same moment may be in the way: the standard library has
/// zeroed memory, and memory that it may fail to get, but not both.
pub(crate) fn try_untouched(len: usize) -> Option<Vec<u8>> {
    Vec::<u8>::new().try_reserve_exact(len.max(FROM_THE_SYSTEM)).ok()?;
    Some(untouched(len))
}

/// What is shorter is cleared as fast as the system hands out pages.
const LONG: usize = 1 << 20;
const FROM_THE_SYSTEM: usize = 33 << 20;

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    /// A word of /proc/self/pagemap: the page is in memory.
    const PRESENT: u64 = 1 << 63;

    /// Octets of a page of the system's.
    fn page() -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("proc");
        let size = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:")?.strip_suffix(" kB"));
        size.expect("a mapping").trim().parse::<usize>().expect("a number") << 10
    }

    /// Pages of it that are in memory.
    pub(crate) fn present(bytes: &[u8]) -> usize {
        let page = page();
        let first = bytes.as_ptr().addr() / page;
        let mut words = vec![0; bytes.len() / page * 8];
        let pagemap = File::open("/proc/self/pagemap").expect("proc");
        pagemap.read_exact_at(&mut words, (first * 8) as u64).expect("a word for each page");
        let words = words.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word));
        words.filter(|word| word & PRESENT != 0).count()
    }

    #[test]
    fn a_buffer_takes_no_memory_before_it_is_written_to_although_others_were_used_and_freed() {
        let mut behind = Vec::new();
        for _ in 0..4 {
            let mut used = untouched(16 << 20);
            used.fill(1);
            behind.push(vec![1_u8; 1 << 16]);
            drop(used);
            let buffer = untouched((16 << 20) - page());
            assert!(present(&buffer) < 32, "{} of 4,095 pages or fewer", present(&buffer));
        }
    }

    #[test]
    fn a_buffer_for_the_longest_message_takes_no_memory_before_it_is_written_to() {
        let mut buffer = untouched(16 << 20);
        let all = buffer.len() / page();
        assert!(present(&buffer) < 16, "{} of {all} pages", present(&buffer));
        buffer.fill(1);
        assert!(present(&buffer) > all / 100 * 97, "{} of {all} pages", present(&buffer));
    }
}
