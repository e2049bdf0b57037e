//! The checksum that every sample carries: 64 bits over the payload, at memory speed.
//!
//! ```text
//!   payload   │ w0 w1 w2 w3 w4 w5 w6 w7 │ w8 ...        one 64-byte block, eight little-endian words
//!               │  │  │  │  │  │  │  │
//!   lanes       L0 L1 L2 L3 L4 L5 L6 L7    lane = rotate((lane ^ word) * odd constant)
//!               └──┴──┴──┴┬─┴──┴──┴──┘
//!                   fold, with the length
//! ```
//! What it has to catch are the faults of a transport: bytes torn, stale, shifted, swapped or cut off. Each
//! step of a lane is a bijection, of the lane for a given word and of the word for a given lane, and the fold
//! is a bijection of each lane for given others. So any damage within one aligned 8-byte word changes the
//! result for certain, and any other damage goes unseen with a chance of about one in 2^64. Lanes start from
//! different constants and each step depends on what came before, so that order counts as well as content.
//!
//! A cryptographic digest would be ten times slower than the memory it checks and would then be what the
//! program measures; a CRC or Adler sum misses swaps or has 32 bits only. Eight independent lanes keep the
//! multiplier busy: more than 10 GB/s on one core, several times what a DDS stack delivers.

/// The checksum of all of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    Stem::of(bytes).checksum(bytes)
}

/// The sum of all blocks before the last 8 bytes: where only those change, the rest need not be read again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stem([u64; LANES]);

impl Stem {
    /// That of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut lanes = SEEDS;
        let (blocks, _) = bytes[..Self::end(bytes)].as_chunks::<BLOCK_LEN>();
        for block in blocks {
            absorb(&mut lanes, block);
        }
        Self(lanes)
    }

    /// The checksum of the same bytes, whatever the last 8 are by now.
    pub(crate) fn checksum(mut self, bytes: &[u8]) -> u64 {
        let (blocks, rest) = bytes[Self::end(bytes)..].as_chunks::<BLOCK_LEN>();
        for block in blocks {
            absorb(&mut self.0, block);
        }
        if !rest.is_empty() {
            let mut last = [0; BLOCK_LEN];
            last[..rest.len()].copy_from_slice(rest);
            absorb(&mut self.0, &last);
        }
        self.0.into_iter().fold(bytes.len() as u64, step)
    }

    const fn end(bytes: &[u8]) -> usize {
        bytes.len().saturating_sub(TAIL_LEN) / BLOCK_LEN * BLOCK_LEN
    }
}

/// The checksum of the first and last 64 bytes of `bytes` and of their length: for runs that leave the
/// payload alone so that only the transport is measured.
pub(crate) fn edges(bytes: &[u8]) -> u64 {
    let len = bytes.len().min(BLOCK_LEN);
    // One sum over both: two sums that are folded cancel out where the edges are the same bytes.
    let mut both = [0; 2 * BLOCK_LEN];
    both[..len].copy_from_slice(&bytes[..len]);
    both[BLOCK_LEN..][..len].copy_from_slice(&bytes[bytes.len() - len..]);
    combine(checksum(&both), &[bytes.len() as u64])
}

/// Folds `words` into `sum`, in order.
pub(crate) fn combine(sum: u64, words: &[u64]) -> u64 {
    words.iter().copied().fold(sum, step)
}

fn absorb(lanes: &mut [u64; LANES], block: &[u8; BLOCK_LEN]) {
    let (words, _) = block.as_chunks::<8>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = step(*lane, u64::from_le_bytes(*word));
    }
}

/// A bijection of `state` for a given `word`, and of `word` for a given `state`. The rotation brings the well
/// mixed high bits down, where the next multiplication spreads them again.
#[inline]
const fn step(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(MULTIPLIER).rotate_left(29)
}

/// Bytes at the end that a [`Stem`] does not know.
pub(crate) const TAIL_LEN: usize = 8;
const LANES: usize = 8;
const BLOCK_LEN: usize = 64;
/// Odd, so that multiplying by it can be undone; its bits are those of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Different starts, so that swapped lanes differ: multiples of the multiplier.
const SEEDS: [u64; LANES] = {
    let mut seeds = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        seeds[lane] = MULTIPLIER.wrapping_mul(2 * lane as u64 + 3);
        lane += 1;
    }
    seeds
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u64).wrapping_mul(MULTIPLIER).to_le_bytes()[7]).collect()
    }

    #[test]
    fn every_single_flipped_bit_is_detected() {
        for len in [1, 7, 8, 63, 64, 65, 200] {
            let mut bytes = payload(len);
            let sum = checksum(&bytes);
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum(&bytes), sum, "bit {bit} of {len} bytes");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn swapped_words_lanes_and_blocks_are_detected() {
        let bytes = payload(1024);
        let sum = checksum(&bytes);
        for distance in [8, 16, 64, 128, 512] {
            for at in (0..1024 - distance).step_by(8) {
                let mut swapped = bytes.clone();
                let (left, right) = swapped.split_at_mut(at + distance);
                left[at..at + 8].swap_with_slice(&mut right[..8]);
                assert_ne!(checksum(&swapped), sum, "words at {at} and {}", at + distance);
            }
        }
    }

    #[test]
    fn a_payload_cut_off_or_extended_by_zeros_is_detected() {
        let mut bytes = payload(130);
        bytes.extend([0; 70]);
        let sums: Vec<u64> = (0..=bytes.len()).map(|len| checksum(&bytes[..len])).collect();
        for (len, sum) in sums.iter().enumerate() {
            assert!(!sums[..len].contains(sum), "{len} bytes look like fewer");
        }
    }

    #[test]
    fn a_sum_that_was_begun_before_the_last_bytes_changed_is_that_of_the_whole() {
        for len in [0, 1, 8, 63, 64, 65, 71, 72, 128, 1000] {
            let mut bytes = payload(len);
            let stem = Stem::of(&bytes);
            let tail = len.saturating_sub(TAIL_LEN);
            bytes[tail..].fill(0x5a);
            assert_eq!(stem.checksum(&bytes), checksum(&bytes), "{len} bytes");
        }
    }

    #[test]
    fn the_edges_ignore_the_middle_and_nothing_else() {
        let bytes = payload(1000);
        let sum = edges(&bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let in_the_middle = (64..1000 - 64).contains(&at);
            assert_eq!(edges(&damaged) == sum, in_the_middle, "byte {at}");
        }
        for short in [vec![1; 10], vec![1; 64]] {
            assert_ne!(edges(&short), edges(&vec![2; short.len()]), "both edges are the same bytes");
        }
        assert_ne!(edges(&bytes[..999]), sum);
        assert_ne!(edges(&[]), edges(&[0]));
    }

    proptest! {
        #[test]
        fn any_torn_run_of_bytes_is_detected(len in 1usize..5000, start in 0usize..5000, torn in 1usize..5000) {
            let fresh = payload(len);
            let stale: Vec<u8> = fresh.iter().map(|byte| byte.wrapping_add(1)).collect();
            let (start, end) = (start % len, (start % len + torn).min(len));
            let mut mixed = fresh.clone();
            mixed[start..end].copy_from_slice(&stale[start..end]);
            prop_assert_ne!(checksum(&mixed), checksum(&fresh));
        }
    }
}
