//! What is sent: every 8 bytes follow from the sequence number and their place, so that a reader can check each of
//! them without knowing the writer, at about the speed of memory.
//!
//! ```text
//!   │ sequence │ seed+1 │ seed+2 │ ... │     seed = a mix of the sequence number
//! ```
//! Untouched samples carry the sequence number and are otherwise left as they are.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much of a sample is written and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Touch {
    /// All of it.
    #[default]
    Full,
    /// The first 8 bytes.
    None,
}

/// A sample that was not sent like this.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// Its length is not the one that was sent.
    #[error("a sample of {got} bytes arrived where {sent} were sent")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes sent.
        sent: usize,
    },
    /// A word is not what belongs there.
    #[error("sample {sequence} arrived damaged")]
    Content {
        /// Its number.
        sequence: u64,
    },
    /// It is not the sample that must come now.
    #[error("sample {got} arrived where {wanted} had to come")]
    Order {
        /// Its number.
        got: u64,
        /// The number that follows the last one.
        wanted: u64,
    },
}

/// The shortest sample.
pub const LEN_MIN: usize = 8;
/// The number that ends a measurement.
pub const STOP: u64 = u64::MAX;
/// The number that ends a warm-up: what the processes use counts from there.
pub const BEGIN: u64 = u64::MAX - 1;

/// Writes sample number `sequence`.
pub fn fill(bytes: &mut [u8], sequence: u64, touch: Touch) {
    if touch == Touch::Full {
        let mut at = mix(sequence);
        let (lines, rest) = bytes.as_chunks_mut::<LINE>();
        for line in lines {
            let (words, _) = line.as_chunks_mut::<8>();
            for (index, word) in words.iter_mut().enumerate() {
                *word = at.wrapping_add(index as u64).to_le_bytes();
            }
            at = at.wrapping_add(8);
        }
        for (index, word) in rest.chunks_mut(8).enumerate() {
            let value = at.wrapping_add(index as u64).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
    }
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
}

/// Reads a sample; its sequence number.
///
/// # Errors
/// [`Damage::Content`] if any bit is not as [`fill`] wrote it.
pub fn check(bytes: &[u8], touch: Touch) -> Result<u64, Damage> {
    let Some((head, _)) = bytes.split_first_chunk::<8>() else {
        return Err(Damage::Length { got: bytes.len(), sent: LEN_MIN });
    };
    let sequence = u64::from_le_bytes(*head);
    if touch == Touch::None {
        return Ok(sequence);
    }
    let mut at = mix(sequence);
    let (lines, rest) = bytes.as_chunks::<LINE>();
    let Some((first, lines)) = lines.split_first() else {
        return if differs(rest, at, 1) { Err(Damage::Content { sequence }) } else { Ok(sequence) };
    };
    let mut wrong = differences(first, at);
    // The first word is the number instead of the seed.
    wrong[0] = 0;
    for line in lines {
        at = at.wrapping_add(8);
        for (sum, difference) in wrong.iter_mut().zip(differences(line, at)) {
            *sum |= difference;
        }
    }
    let is_wrong = wrong != [0; 8] || differs(rest, at.wrapping_add(8), 0);
    if is_wrong { Err(Damage::Content { sequence }) } else { Ok(sequence) }
}

/// What in each word of a line is not what counts up from `start`.
#[inline(always)]
fn differences(line: &[u8; LINE], start: u64) -> [u64; 8] {
    let (words, _) = line.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_le_bytes(words[index]) ^ start.wrapping_add(index as u64))
}

/// Whether the words of `bytes`, which may end within one, are not what counts up from `start`; `skip` of them may be.
fn differs(bytes: &[u8], start: u64, skip: usize) -> bool {
    let mut words = bytes.chunks(8).enumerate().skip(skip);
    words.any(|(index, word)| word != &start.wrapping_add(index as u64).to_le_bytes()[..word.len()])
}

/// SplitMix64's finalizer: neighbours in number are far apart in value.
fn mix(sequence: u64) -> u64 {
    let z = (sequence ^ (sequence >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_found_intact_and_a_changed_byte_anywhere_is_noticed() {
        for len in [8, 9, 15, 63, 64, 65, 71, 128, 200, 1024] {
            let mut bytes = vec![0; len];
            fill(&mut bytes, 77, Touch::Full);
            assert_eq!(check(&bytes, Touch::Full), Ok(77), "{len}");
            for at in 0..len {
                bytes[at] ^= 0x10;
                assert!(check(&bytes, Touch::Full).is_err() || len == 8, "{at} of {len}");
                bytes[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn untouched_samples_carry_their_number_only() {
        let mut bytes = vec![9; 100];
        fill(&mut bytes, 5, Touch::None);
        assert_eq!(check(&bytes, Touch::None), Ok(5));
        assert!(bytes[8..].iter().all(|&byte| byte == 9));
        assert!(check(&[1, 2, 3], Touch::None).is_err());
    }
}
