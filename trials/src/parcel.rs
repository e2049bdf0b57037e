//! Messages that check themselves: every byte depends on who sent which message.
//!
//! ```text
//!   0        8        16         24
//!   │ stream │ number │ note     │ 8 bytes each of (stream, number, place) … │
//! ```

use std::collections::HashMap;
use zerodds_core::Locator;

/// The shortest one.
pub const LEN_MIN: usize = 24;

/// What is in a message, besides its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whose messages are counted by the number.
    pub stream: u64,
    /// From 0.
    pub number: u64,
    /// What else the sender says.
    pub note: u64,
}

impl Parcel {
    /// Writes it, and a body that fits, into `bytes` of at least [`LEN_MIN`].
    pub fn write(self, bytes: &mut [u8]) {
        let (head, body) = bytes.split_at_mut(LEN_MIN);
        for (place, word) in head.chunks_exact_mut(8).zip([self.stream, self.number, self.note]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (index, chunk) in body.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&self.word(index as u64).to_le_bytes()[..chunk.len()]);
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8], from: Locator) -> Result<Self, String> {
        let Some((head, body)) = bytes.split_at_checked(LEN_MIN) else {
            return Err(format!("corrupt: {} bytes from {from} are no message of ours", bytes.len()));
        };
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let parcel = Self { stream: word(0), number: word(8), note: word(16) };
        let intact =
            |(index, chunk): (usize, &[u8])| *chunk == parcel.word(index as u64).to_le_bytes()[..chunk.len()];
        if body.chunks(8).enumerate().all(intact) {
            Ok(parcel)
        } else {
            Err(format!("corrupt: message {} of stream {} from {from}", parcel.number, parcel.stream))
        }
    }

    /// Messages of even streams are reliable, those of odd ones are not.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        self.stream.is_multiple_of(2)
    }

    const fn word(self, index: u64) -> u64 {
        let seed = self.stream.rotate_left(40) ^ self.number.rotate_left(20) ^ self.note;
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index).wrapping_mul(0xd1b5_4a32_d192_ed03)
    }
}

/// What came of the streams of all peers so far: each message once and in order, of a reliable stream every one.
#[derive(Debug, Default)]
pub struct Streams {
    next: HashMap<(Locator, u64), u64>,
}

impl Streams {
    /// Takes the next message of one of them.
    ///
    /// # Errors
    /// It is another one.
    pub fn follow(&mut self, from: Locator, parcel: Parcel) -> Result<(), String> {
        let Parcel { stream, number, .. } = parcel;
        let expected = self.next.entry((from, stream)).or_default();
        let follows = if parcel.is_reliable() { number == *expected } else { number >= *expected };
        if !follows {
            return Err(format!(
                "LOST or doubled: {number} of stream {stream} from {from} instead of {expected}"
            ));
        }
        *expected = number + 1;
        Ok(())
    }

    /// A peer is gone: whoever comes in its place begins anew.
    pub fn forget(&mut self, peer: Locator) {
        self.next.retain(|(from, _), _| *from != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_twice_or_late_is_found_out_and_a_gap_in_reliable_ones() {
        let from = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [0; 16]);
        let (sure, loose) = (2, 3);
        let mut streams = Streams::default();
        let mut follow = |stream, number| streams.follow(from, Parcel { stream, number, note: 0 }).is_ok();
        assert!(follow(sure, 0) && follow(loose, 0) && follow(sure, 1) && follow(loose, 4));
        assert!(!follow(sure, 1) && !follow(sure, 3) && !follow(loose, 4) && !follow(loose, 3));
        streams.forget(from);
        assert!(streams.follow(from, Parcel { stream: sure, number: 0, note: 0 }).is_ok());
    }

    #[test]
    fn a_parcel_survives_and_a_changed_byte_does_not() {
        let from = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [0; 16]);
        let parcel = Parcel { stream: 3, number: 4, note: 5 };
        for len in [LEN_MIN, 31, 1000] {
            let mut bytes = vec![0; len];
            parcel.write(&mut bytes);
            assert_eq!(Parcel::read(&bytes, from), Ok(parcel));
            for at in 0..len {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert_ne!(Parcel::read(&changed, from), Ok(parcel), "byte {at}");
            }
        }
        assert!(Parcel::read(&[0; 23], from).is_err());
    }
}
