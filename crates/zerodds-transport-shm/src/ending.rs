//! Where one direction of a link ends: agreed by its two sides, so that at the end between two living processes every
//! message either is received or is refused, and never both.
//!
//! ```text
//!   OPEN ──close──▶ DRAINING(k) ──claim(k)──▶ DRAINING(k + 1) ─ … ─▶ DRAINING(k')
//!                        └── the sender published m ≥ k ──▶ FIXED(m) ◀──┘
//!
//!   receiver                               sender
//!   end := DRAINING(k)    (SeqCst)         publish message m   (SeqCst)
//!   full fence                             load end            (SeqCst)
//!   look for messages until there is none  OPEN, or k > m: sent; else end := FIXED(m): refused
//! ```
//! The two sides hear of an end at different times. A receiver that has looked for the last time must not be sent to,
//! so it first *closes* its direction, then drains it; a sender looks at the word after each message that it
//! has published. In the one order of all SeqCst operations either the publication comes before the fence, and the
//! receiver finds the message (and the sender may go on believing that it was sent); or the closing comes
//! before the sender's load, which sees it. That is the argument of doorbell.rs, with the same cost: one load.
//!
//! What is published while the other side drains could be either's. So the receiver *claims* each message, by its
//! number, before it takes it, and the sender claims the first one that meets a closed word and all that would
//! follow. Both do so by compare-exchange of the one word: one of them has it.
//!
//! Rejected: taking the refused message back by the slots' cursor, which passes messages in order and cannot pass
//! the ones before it that the receiver has yet to take; and which the lane does not have.

use crate::layout::Direction;
use crate::region::{Broken, Region};
use crate::sync::{Ordering, full_fence, ordered_accesses};

/// What the word says. Numbers are those of messages on this link, lane and slots together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Messages flow.
    Open,
    /// The receiver drains; it has claimed all below.
    Draining(u64),
    /// The receiver gets all below; the sender has kept the others.
    Fixed(u64),
}

impl Ending {
    /// TRUST: written by the other side too. Every value is one of these.
    const fn parse(word: u64) -> Self {
        match word & KIND {
            DRAINING => Self::Draining(word >> KIND_BITS),
            FIXED => Self::Fixed(word >> KIND_BITS),
            _ => Self::Open,
        }
    }

    /// Numbers of 2^62 and above are not reached by a correct sender.
    const fn word(self) -> u64 {
        match self {
            Self::Open => 0,
            Self::Draining(number) => number << KIND_BITS | DRAINING,
            Self::Fixed(number) => number << KIND_BITS | FIXED,
        }
    }
}

const KIND_BITS: u32 = 2;
const KIND: u64 = 3;
const DRAINING: u64 = 1;
const FIXED: u64 = 2;

/// Receiver: takes nothing from now on that it has not claimed. `taken` is the number after the last message that it has
/// taken. It must look for messages afterwards.
pub(crate) fn close(region: &impl Region, direction: Direction, taken: u64) {
    // ORDER: SeqCst, see the module's argument. Not a compare-exchange: only this side leaves OPEN.
    region.u64(direction.end()).store(Ending::Draining(taken).word(), Ordering::SeqCst);
    full_fence();
}

/// Receiver: whether the message with this number, the oldest one, is its own to take after [`close`].
pub(crate) fn claim(region: &impl Region, direction: Direction, number: u64) -> bool {
    let end = region.u64(direction.end());
    // ORDER: Relaxed; decided by the compare-exchange, or final.
    let seen = end.load(Ordering::Relaxed);
    let found = match Ending::parse(seen) {
        Ending::Fixed(_) => seen,
        Ending::Draining(_) | Ending::Open => {
            let claimed = Ending::Draining(number.wrapping_add(1)).word();
            // ORDER: AcqRel: of this and the sender's one wins. Acquire on failure: nothing that is read hangs on it.
            match end.compare_exchange(seen, claimed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => now,
            }
        }
    };
    // TRUST: a sender that writes anything but FIXED here, once, cheats itself.
    matches!(Ending::parse(found), Ending::Fixed(end) if number < end)
}

/// Receiver: takes nothing more, from the message with this number on. A correct sender has published nothing by then that it
/// counts as sent: all that was there at [`close`] was claimed, and what came later it refuses itself.
pub(crate) fn stop(region: &impl Region, direction: Direction, number: u64) {
    let end = region.u64(direction.end());
    // ORDER: Relaxed; decided by the compare-exchange, or final.
    let seen = end.load(Ordering::Relaxed);
    if !matches!(Ending::parse(seen), Ending::Fixed(_)) {
        // ORDER: AcqRel, as in `claim`. On failure the sender has just fixed it.
        let fixed = Ending::Fixed(number).word();
        let _ = end.compare_exchange(seen, fixed, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Sender: after publishing the message with this number, whether the receiver will never take it, nor any later one.
/// Otherwise it has taken it or will.
pub(crate) fn is_refused(region: &impl Region, direction: Direction, number: u64) -> Result<bool, Broken> {
    let end = region.u64(direction.end());
    ordered_accesses();
    // ORDER: SeqCst, see the module's argument.
    let mut seen = end.load(Ordering::SeqCst);
    for _ in 0..CLAIMS_MAX {
        match Ending::parse(seen) {
            Ending::Open => return Ok(false),
            Ending::Draining(claimed) if number < claimed => return Ok(false),
            Ending::Fixed(end) => return Ok(number >= end),
            Ending::Draining(_) => {
                let fixed = Ending::Fixed(number).word();
                // ORDER: AcqRel, as in `claim`: the receiver reads nothing of this message, so its bytes may be used again.
                match end.compare_exchange(seen, fixed, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Ok(true),
                    // It has claimed one more.
                    Err(now) => seen = now,
                }
            }
        }
    }
    Err(Broken("it claims more messages than a link holds"))
}

/// More than a link holds in lane and slots, so that no receiver keeps its sender here.
const CLAIMS_MAX: usize = 4096;

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::layout::link;
    use crate::sys::Mapping;

    const WAY: Direction = Direction::FromAcceptor;

    fn memory() -> Mapping {
        Mapping::anonymous(link::LEN)
    }

    #[test]
    fn every_state_survives_a_round_trip() {
        for ending in [Ending::Open, Ending::Draining(0), Ending::Fixed(0), Ending::Draining(1 << 61)] {
            assert_eq!(Ending::parse(ending.word()), ending);
        }
        assert_eq!(Ending::parse(0), Ending::Open, "a fresh link is open");
    }

    #[test]
    fn what_was_claimed_is_sent_and_what_was_not_is_refused_for_good() {
        let memory = memory();
        assert_eq!(is_refused(&memory, WAY, 4), Ok(false), "open");
        close(&memory, WAY, 5);
        assert_eq!(is_refused(&memory, WAY, 4), Ok(false), "taken before the end");
        assert!(claim(&memory, WAY, 6), "numbers of revoked messages are missing");
        assert_eq!(is_refused(&memory, WAY, 6), Ok(false), "claimed");
        assert_eq!(is_refused(&memory, WAY, 8), Ok(true));
        assert!(claim(&memory, WAY, 7), "published before the one that was refused");
        assert!(!claim(&memory, WAY, 8) && !claim(&memory, WAY, 9));
        assert_eq!(is_refused(&memory, WAY, 9), Ok(true));
    }

    #[test]
    fn the_other_direction_goes_on() {
        let memory = memory();
        close(&memory, WAY, 0);
        assert_eq!(is_refused(&memory, WAY.reverse(), 0), Ok(false));
    }

    #[test]
    fn a_word_that_no_correct_peer_writes_is_survived() {
        let memory = memory();
        for word in [3, u64::MAX, u64::MAX - 1, u64::MAX - 2] {
            memory.u64(WAY.end()).store(word, Ordering::Relaxed);
            let _ = is_refused(&memory, WAY, u64::MAX);
            memory.u64(WAY.end()).store(word, Ordering::Relaxed);
            let _ = claim(&memory, WAY, u64::MAX);
        }
    }
}
