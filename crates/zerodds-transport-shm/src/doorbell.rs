//! When to wake whom: the bell of a receiver and the space word of a sender.
//!
//! ```text
//!   receiver                               sender
//!   bell += 4
//!   bell |= asleep        (SeqCst)         publish                            (SeqCst)
//!   look everywhere again (SeqCst)         bell & asleep, and bell ≠ rung ?   (SeqCst)
//!   FUTEX_WAIT on the exact value          rung = bell += 4, FUTEX_WAKE, or as bell.rs says
//!   bell &= !asleep
//! ```
//! Publishing is a SeqCst store or read-modify-write, and a full fence stands between setting the bit and looking
//! again. In the one order of all SeqCst operations either the publication comes before the receiver's second look,
//! which finds it, or the setting of the bit comes before the sender's load, which sees it. Sender and
//! receiver cannot miss each other.
//!
//! The asleep bits are set **and cleared by the receiver only**. Were the sender to clear one, a sender
//! stopped between clearing and waking would leave the receiver asleep while everybody else sees it awake. As
//! it is, every sender that finds the receiver asleep wakes it itself, and adding to the word makes a wait that
//! has not begun yet return at once.
//!
//! Each does so **once for each sleep**: on one processor the receiver runs only when the sender pauses, and a burst would
//! cost a system call for every message. A sender remembers what its last ring, once done, left in the word. While that still
//! stands there the sleep that it ended is not over for the receiver, which will look at everything afterwards. Every sleep
//! begins with a value of its own (they come again after 2^30 steps, of which a sender would have to miss exactly so many).

use crate::layout::doorbell;
use crate::region::Region;
use crate::sync::{Ordering, full_fence, ordered_accesses};

/// Where a receiver sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bed {
    /// On the futex word itself.
    Futex,
    /// In poll or epoll.
    Poll,
}

/// What no bell says that has a receiver's bit of sleep.
pub(crate) const NEVER_RUNG: u32 = 0;
const ASLEEP: u32 = 1;
const IN_POLL: u32 = 2;
const STEP: u32 = 4;

/// Receiver: announces that it is about to sleep. It must look everywhere once more before it does; the
/// value is the one to wait on.
pub(crate) fn arm(region: &impl Region, bed: Bed) -> u32 {
    let bits = match bed {
        Bed::Futex => ASLEEP,
        Bed::Poll => ASLEEP | IN_POLL,
    };
    let bell = region.u32(doorbell::BELL);
    // ORDER: Relaxed; read-modify-writes of one word have an order. Two steps, since whatever a peer wrote into the low bits
    // must not carry.
    bell.fetch_add(STEP, Ordering::Relaxed);
    // ORDER: SeqCst, see the module's argument.
    let armed = bell.fetch_or(bits, Ordering::SeqCst) | bits;
    full_fence();
    armed
}

/// Receiver: is awake.
pub(crate) fn disarm(region: &impl Region) {
    // ORDER: Relaxed; only this process sets and reads the bits for a decision, what it then reads is acquired where
    // it is read.
    region.u32(doorbell::BELL).fetch_and(!(ASLEEP | IN_POLL), Ordering::Relaxed);
}

/// Sender: after publishing, whether the receiver must be woken. `rung` is what this sender's last ring left in the
/// word, or [`NEVER_RUNG`].
pub(crate) fn is_asleep(region: &impl Region, rung: u32) -> bool {
    ordered_accesses();
    // ORDER: SeqCst, see the module's argument.
    let bell = region.u32(doorbell::BELL).load(Ordering::SeqCst);
    bell & ASLEEP != 0 && bell != rung
}

/// Sender: whether the receiver did not say that it sleeps, as a hint.
pub(crate) fn seems_awake(region: &impl Region) -> bool {
    // ORDER: Relaxed; nothing that must hold is decided by it.
    region.u32(doorbell::BELL).load(Ordering::Relaxed) & ASLEEP == 0
}

/// Sender: after publishing, finds out whether the receiver must be woken, and where it sleeps; with what the word says
/// now, to be remembered when it was woken.
pub(crate) fn ring(region: &impl Region, rung: u32) -> Option<(Bed, u32)> {
    if !is_asleep(region, rung) {
        return None;
    }
    let bell = region.u32(doorbell::BELL);
    // ORDER: SeqCst; the new value must be there before the wake, which makes a wait on the old one fail.
    let before = bell.fetch_add(STEP, Ordering::SeqCst);
    let bed = if before & IN_POLL == 0 { Bed::Futex } else { Bed::Poll };
    Some((bed, before.wrapping_add(STEP)))
}

/// How much has to be given back to whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Anything: a message finds no room.
    Any,
    /// So much that a sender which is far ahead is woken once for many messages. Nobody waits for that without a
    /// deadline of its own, since what much is, the receiver says.
    Much,
}

impl Space {
    /// What so many bytes are by themselves.
    pub(crate) const fn of(len: usize) -> Self {
        if len < MUCH { Self::Any } else { Self::Much }
    }

    const fn waiting(self) -> u32 {
        match self {
            Self::Any => 1,
            Self::Much => 2,
        }
    }
}

/// What a sender that is far ahead is woken for: some messages, and less than it is ahead by, so that both go on.
const MUCH: usize = 1 << 20;
const SPACE_STEP: u32 = 4;

/// Sender: announces that it waits for space. It must try once more before it sleeps on the value.
pub(crate) fn arm_space(region: &impl Region, wanted: Space) -> u32 {
    let bit = wanted.waiting();
    // ORDER: SeqCst; the same argument with the roles exchanged: the receiver frees, then loads this word.
    let armed = region.u32(doorbell::SPACE).fetch_or(bit, Ordering::SeqCst) | bit;
    full_fence();
    armed
}

/// Sender: nobody in this process waits for so much space any more.
pub(crate) fn disarm_space(region: &impl Region, wanted: Space) {
    // ORDER: Relaxed, as in `disarm`.
    region.u32(doorbell::SPACE).fetch_and(!wanted.waiting(), Ordering::Relaxed);
}

/// Receiver: after giving space back, whether a sender waits for some.
pub(crate) fn is_space_awaited(region: &impl Region) -> bool {
    ordered_accesses();
    // ORDER: SeqCst, see the module's argument.
    region.u32(doorbell::SPACE).load(Ordering::SeqCst) & (Space::Any.waiting() | Space::Much.waiting()) != 0
}

/// Receiver: after giving space back, finds out whether the sender must be woken (on this futex word).
pub(crate) fn notify_space(region: &impl Region, given: Space) -> bool {
    let space = region.u32(doorbell::SPACE);
    ordered_accesses();
    let satisfied = match given {
        Space::Any => Space::Any.waiting(),
        Space::Much => Space::Any.waiting() | Space::Much.waiting(),
    };
    // ORDER: SeqCst, see the module's argument.
    if space.load(Ordering::SeqCst) & satisfied == 0 {
        return false;
    }
    // ORDER: SeqCst, as in `ring`.
    space.fetch_add(SPACE_STEP, Ordering::SeqCst);
    true
}

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU32, AtomicU64};

    /// Both words and what lies between them.
    struct Words([AtomicU32; doorbell::SPACE / 4 + 1]);

    impl Words {
        fn new() -> Self {
            Self([const { AtomicU32::new(0) }; _])
        }
    }

    impl Region for Words {
        fn u32(&self, at: usize) -> &AtomicU32 {
            &self.0[at / 4]
        }

        fn u64(&self, at: usize) -> &AtomicU64 {
            panic!("a doorbell has no long word at {at}")
        }

        fn copy_in(&self, at: usize, _: &[u8]) {
            panic!("a doorbell has no bytes at {at}")
        }

        fn copy_out(&self, at: usize, _: &mut [u8]) {
            panic!("a doorbell has no bytes at {at}")
        }
    }

    #[test]
    fn who_sleeps_is_rung_for_once_a_sleep_and_where_it_lies() {
        let bell = Words::new();
        assert_eq!((is_asleep(&bell, NEVER_RUNG), seems_awake(&bell)), (false, true));
        assert_eq!(ring(&bell, NEVER_RUNG), None);
        let armed = arm(&bell, Bed::Futex);
        assert!(is_asleep(&bell, NEVER_RUNG) && !seems_awake(&bell));
        let (bed, rung) = ring(&bell, NEVER_RUNG).expect("it sleeps");
        assert!(bed == Bed::Futex && rung != armed, "a wait on {armed} that has not begun returns");
        assert_eq!(ring(&bell, rung), None, "this sleep is over");
        assert!(ring(&bell, armed).is_some(), "as far as another sender knows it is not");
        disarm(&bell);
        assert_eq!(ring(&bell, rung), None);
        arm(&bell, Bed::Poll);
        assert_eq!(ring(&bell, rung).map(|(bed, _)| bed), Some(Bed::Poll));
    }

    #[test]
    fn what_a_peer_writes_into_the_word_does_not_keep_its_receiver_from_being_woken() {
        let bell = Words::new();
        for written in [0, 1, 2, 3, u32::MAX] {
            bell.u32(doorbell::BELL).store(written, Ordering::Relaxed);
            let armed = arm(&bell, Bed::Futex);
            assert_eq!(armed & ASLEEP, ASLEEP, "{written}");
            assert!(ring(&bell, NEVER_RUNG).is_some(), "{written}");
            disarm(&bell);
            assert!(seems_awake(&bell), "{written}");
        }
    }

    #[test]
    fn who_waits_for_much_space_is_woken_by_much_and_who_waits_for_any_by_both() {
        let space = Words::new();
        assert!(!is_space_awaited(&space) && !notify_space(&space, Space::Much));
        let armed = arm_space(&space, Space::Much);
        assert!(is_space_awaited(&space) && !notify_space(&space, Space::of(MUCH - 1)));
        assert!(notify_space(&space, Space::of(MUCH)));
        assert_ne!(space.u32(doorbell::SPACE).load(Ordering::Relaxed), armed, "a wait on it returns");
        arm_space(&space, Space::Any);
        disarm_space(&space, Space::Much);
        assert!(notify_space(&space, Space::Any) && notify_space(&space, Space::Much));
        disarm_space(&space, Space::Any);
        assert!(!is_space_awaited(&space) && !notify_space(&space, Space::Much));
    }
}
