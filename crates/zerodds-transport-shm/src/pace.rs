//! A sender that waits for its receivers anyway, and is far ahead of one, lets it catch up for a moment.
//!
//! ```text
//!   not read yet          3/4 of the warm part ─┐           ┌─ less than half of it
//!   sender    send send send … send   pause     ▼           ▼  send send …
//!   receiver                         take take … take   tells it: much was taken or given back, or all taken
//! ```
//! A sender could go on until its ring is full. But on one processor nobody reads while it writes, and what lies in the
//! ring by then is more than the processors' caches hold: each byte goes to memory and comes back from there. So it pauses
//! once one receiver has yet to read three quarters of what stays warm (arena.rs), until it is less than half: with one bound
//! for both, messages of a MiB switched processes for each, which cost three receivers an eighth of their throughput.
//! A message of a MiB or more counts until it was read: of 8 MiB the sender would write a third while the first is read,
//! where two places in turn stay warm.
//!
//! It does so for [`patience`] at most, and once: a receiver that does not catch up by then is slow, stopped or keeps
//! what it takes, and is not waited for again before it has. A pause comes after the message was sent, so no message is
//! later for it. Whoever has less time than that to wait does not.

use crate::doorbell::Space;
use crate::outbound::Outbound;
use crate::shared::Shared;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Peer};

impl Shared {
    /// After a message of `len` bytes was sent to these peers.
    pub(crate) fn keep_pace(&self, to: &[Peer<'_>], len: usize, delivery: Delivery) {
        let Delivery::Reliable { deadline } = delivery else { return };
        let candidates = || to.iter().filter_map(|&peer| self.candidate(peer).ok());
        let is_ahead = |outbound: &mut Outbound, quarters| {
            candidates().any(|to| outbound.is_far_ahead(&to, len, quarters))
        };
        if !is_ahead(&mut self.outbound.lock(), PAUSING) {
            return;
        }
        let until = Instant::now() + patience(len);
        if deadline < until {
            return;
        }
        let caught_up = self.wait_for_space(Space::Much, until, || {
            (!is_ahead(&mut self.outbound.lock(), GOING_ON)).then_some(())
        });
        if caught_up.is_none() {
            let mut outbound = self.outbound.lock();
            candidates().for_each(|to| outbound.go_ahead(&to, len));
        }
    }
}

/// Quarters of the warm part of the ring that a receiver has yet to read when a pause begins, and has no more when it ends.
pub(crate) const PAUSING: u64 = 3;
pub(crate) const GOING_ON: u64 = 2;

/// Ample for a receiver that reads to be woken and to read a message of so many bytes.
const fn patience(len: usize) -> Duration {
    Duration::from_millis(2 + (len >> 20) as u64)
}

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;
    use crate::testing::{far, linked};
    use crate::{Config, ShmMessage, ShmReceiver, ShmTransport};
    use std::sync::Arc;
    use zerodds_core::{Incoming, Locator, Receiver, Transport};

    const LEN: usize = 64 << 10;

    struct Pair {
        sender: ShmTransport,
        shared: Arc<Shared>,
        receiver: ShmReceiver,
        to: Locator,
        _peer: ShmTransport,
    }

    impl Pair {
        fn new() -> Self {
            let [sender, peer] = linked(&Config::default());
            let (receiver, to) = (peer.receiver().expect("available, and taken once"), peer.locators()[0]);
            let shared = Arc::clone(sender.books().expect("available"));
            Self { sender, shared, receiver, to, _peer: peer }
        }

        /// Sends so many messages, which may each wait for so long.
        fn send(&self, count: usize, patience: Duration) {
            self.send_of(LEN, count, patience);
        }

        fn send_of(&self, len: usize, count: usize, patience: Duration) {
            let bytes = vec![7; len];
            for _ in 0..count {
                let delivery = Delivery::Reliable { deadline: Instant::now() + patience };
                let sent = self.sender.send_bytes(&bytes, &[Peer::new(&[self.to])], delivery);
                assert_eq!(sent.expect("open").by_shm, 1);
            }
        }

        fn take(&mut self, count: usize) {
            (0..count).for_each(|_| drop(self.next()));
        }

        fn next(&mut self) -> ShmMessage {
            loop {
                if let Incoming::Message(message) = self.receiver.receive(Some(far())).expect("before that") {
                    return message;
                }
            }
        }

        fn is_far_ahead(&self) -> bool {
            self.shared.outbound.lock().is_far_ahead(&self.to, LEN, PAUSING)
        }
    }

    #[test]
    fn a_sender_that_lets_its_receiver_catch_up_is_told_once_for_many_messages() {
        let mut pair = Pair::new();
        pair.send(48, Duration::ZERO);
        assert!(pair.is_far_ahead());
        let said = |pair: &Pair| pair.shared.bell.arm_space(Space::Much);
        let before = said(&pair);
        pair.take(15);
        assert_eq!(said(&pair), before, "15 of 64 KiB are not much");
        pair.take(1);
        let first = said(&pair);
        assert_ne!(first, before, "16 are");
        pair.take(15);
        assert_eq!(said(&pair), first);
        assert!(!pair.is_far_ahead());
        pair.take(17);
        pair.send(1, Duration::ZERO);
        let second = said(&pair);
        pair.take(1);
        assert_ne!(said(&pair), second, "there is nothing left to take");
    }

    #[test]
    fn a_pause_goes_on_beyond_the_bound_at_which_it_began() {
        let mut pair = Pair::new();
        pair.send(47, Duration::ZERO);
        assert!(!pair.is_far_ahead());
        pair.send(1, Duration::ZERO);
        assert!(pair.is_far_ahead());
        let goes_on = |pair: &Pair| !pair.shared.outbound.lock().is_far_ahead(&pair.to, LEN, GOING_ON);
        pair.take(15);
        assert!(!pair.is_far_ahead() && !goes_on(&pair), "nobody begins a pause with so much, nor ends one");
        pair.take(2);
        assert!(goes_on(&pair));
    }

    #[test]
    fn a_message_that_is_much_by_itself_counts_until_it_is_given_back() {
        const LARGE: usize = 4 << 20;
        let mut pair = Pair::new();
        let goes_on = |pair: &Pair| !pair.shared.outbound.lock().is_far_ahead(&pair.to, LARGE, GOING_ON);
        pair.send_of(LARGE, 2, Duration::ZERO);
        let said = |pair: &Pair| pair.shared.bell.arm_space(Space::Much);
        let before = said(&pair);
        let first = pair.next();
        assert!(said(&pair) == before && !goes_on(&pair), "it is being read");
        drop(first);
        assert!(said(&pair) != before && goes_on(&pair));
    }

    #[test]
    fn a_sender_without_room_is_told_of_each_message() {
        let mut pair = Pair::new();
        pair.send(8, Duration::ZERO);
        let mut said = pair.shared.bell.arm_space(Space::Any);
        for _ in 0..8 {
            pair.take(1);
            let now = pair.shared.bell.arm_space(Space::Any);
            assert_ne!(now, said);
            said = now;
        }
    }

    #[test]
    fn a_receiver_that_does_not_catch_up_is_let_do_so_once() {
        let mut pair = Pair::new();
        pair.send(48, Duration::ZERO);
        assert!(pair.is_far_ahead());
        pair.send(1, Duration::from_secs(60));
        assert!(!pair.is_far_ahead(), "it is slow, and was waited for");
        pair.take(49);
        pair.send(48, Duration::ZERO);
        assert!(pair.is_far_ahead(), "it had caught up");
    }

    #[test]
    fn a_receiver_of_large_messages_that_has_caught_up_is_waited_for_again() {
        const LARGE: usize = 4 << 20;
        let mut pair = Pair::new();
        let is_far_ahead = |pair: &Pair| pair.shared.outbound.lock().is_far_ahead(&pair.to, LARGE, PAUSING);
        pair.send_of(LARGE, 1, Duration::ZERO);
        pair.send_of(LARGE, 1, Duration::from_secs(60));
        assert!(!is_far_ahead(&pair), "it is slow, and was waited for");
        pair.take(2);
        pair.send_of(LARGE, 2, Duration::ZERO);
        assert!(is_far_ahead(&pair), "it had caught up");
    }

    #[test]
    fn what_follows_one_large_message_is_not_held_up_by_it() {
        let mut pair = Pair::new();
        pair.send_of(3 << 20, 1, Duration::ZERO);
        assert!(!pair.is_far_ahead());
        let kept = pair.next();
        pair.send(1, Duration::ZERO);
        assert!(!pair.is_far_ahead(), "it is being read");
        pair.take(1);
        pair.send(48, Duration::ZERO);
        assert!(pair.is_far_ahead(), "it is kept, and others were read after it");
        pair.take(17);
        assert!(!pair.is_far_ahead());
        drop(kept);
    }
}
