//! Loses, doubles, delays and so reorders the messages of any transport, the same way for the same seed.
//!
//! ```text
//!            ┌ lose ─▶ ·
//!   message ─┼ pass ─▶ ── at once
//!            ├ twice ▶ ═ two copies
//!            └ hold ─▶ ──── once n others have passed it, or (inbound) nothing else is there
//! ```
//! Both directions are afflicted, each by its own sequence of fates. Time plays no part: a delay is a number
//! of messages, so that a failing run can be repeated from its seed.

use crate::{
    Counters, Delivery, Incoming, LoanError, Locator, Message, Path, Peer, Reach, Receiver, SendError, Sent,
    Transport, Wake,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How often which fault happens, in messages per thousand, and from which seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Messages that vanish.
    pub lose_per_mille: u32,
    /// Messages that arrive twice.
    pub duplicate_per_mille: u32,
    /// Messages that let others overtake them.
    pub delay_per_mille: u32,
    /// How many others at most overtake a delayed one; 0 is taken as 1.
    pub delay_messages_max: u32,
    /// Equal seeds give equal fates.
    pub seed: u64,
}

/// A transport with faults in both directions.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    faults: Faults,
    afflicted: Arc<AtomicU64>,
    outbound: Mutex<Delayed<(Vec<u8>, Vec<Locator>)>>,
}

/// The receiving half of a [`Faulty`].
#[derive(Debug)]
pub struct FaultyReceiver<R> {
    inner: R,
    inbound: Delayed<FaultyMessage>,
    due: VecDeque<FaultyMessage>,
}

/// A message that came through a [`Faulty`], perhaps late, perhaps not for the first time.
#[derive(Clone, Debug)]
pub struct FaultyMessage {
    bytes: Bytes,
    path: Path,
    source: Option<Locator>,
}

/// One direction: a sequence of fates, and the messages that others overtake.
#[derive(Debug)]
struct Delayed<M> {
    faults: Faults,
    /// Messages of both directions that did not simply pass.
    afflicted: Arc<AtomicU64>,
    random: u64,
    held: VecDeque<(u32, M)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Lose,
    Twice,
    /// Let this many others pass first.
    Hold(u32),
}

impl<T: Transport> Faulty<T> {
    /// Lays these faults over `inner`.
    #[must_use]
    pub fn new(inner: T, faults: Faults) -> Self {
        let afflicted = Arc::default();
        let outbound = Mutex::new(Delayed::new(faults, faults.seed, &afflicted));
        Self { inner, faults, afflicted, outbound }
    }

    /// How many messages of both directions a fault has befallen; it goes on counting.
    #[must_use]
    pub fn afflicted(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.afflicted)
    }

    /// The transport beneath.
    #[must_use]
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: Transport> Transport for Faulty<T> {
    type Loan = T::Loan;
    type Receiver = FaultyReceiver<T::Receiver>;

    fn locators(&self) -> Vec<Locator> {
        self.inner.locators()
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        self.inner.reach(peer)
    }

    fn max_message_len(&self) -> usize {
        self.inner.max_message_len()
    }

    fn loan(&self, len: usize) -> Result<Self::Loan, LoanError> {
        self.inner.loan(len)
    }

    /// A message that is lost or held back counts as sent: the network does not tell.
    fn send(&self, message: Self::Loan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let (mut passing, mut indices, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut vanished = Sent::default();
        let due = {
            let mut outbound = self.outbound.lock();
            let due = outbound.overtake();
            for (index, &peer) in to.iter().enumerate() {
                let Reach::Ready(path) = self.inner.reach(peer) else {
                    passing.push(peer);
                    indices.push(index);
                    continue;
                };
                let fate = outbound.fate();
                match fate {
                    Fate::Pass | Fate::Twice => {
                        passing.push(peer);
                        indices.push(index);
                        again.extend((fate == Fate::Twice).then_some(peer));
                        continue;
                    }
                    Fate::Lose => {}
                    Fate::Hold(behind) => {
                        outbound.held.push_back((behind, (message.to_vec(), peer.locators.to_vec())));
                    }
                }
                vanished.by_shm += u32::from(path == Path::SharedMemory);
                vanished.by_udp += u32::from(path == Path::Udp);
            }
            due
        };
        let copy = (!again.is_empty()).then(|| message.to_vec());
        let mut sent = self.inner.send(message, &passing, delivery)?;
        sent.unserved.iter_mut().for_each(|unserved| unserved.index = indices[unserved.index]);
        sent.by_shm += vanished.by_shm;
        sent.by_udp += vanished.by_udp;
        if let Some(copy) = copy {
            let _ = self.inner.send_bytes(&copy, &again, delivery)?;
        }
        for (late, locators) in due {
            let _ = self.inner.send_bytes(&late, &[Peer::new(&locators)], Delivery::BestEffort)?;
        }
        Ok(sent)
    }

    fn receiver(&self) -> Option<Self::Receiver> {
        let inner = self.inner.receiver()?;
        Some(FaultyReceiver {
            inner,
            inbound: Delayed::new(self.faults, !self.faults.seed, &self.afflicted),
            due: VecDeque::new(),
        })
    }

    fn neighbours(&self) -> Vec<Locator> {
        self.inner.neighbours()
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn close(&self) {
        self.inner.close();
    }
}

impl<R: Receiver> Receiver for FaultyReceiver<R> {
    type Message = FaultyMessage;

    fn try_receive(&mut self) -> Option<Incoming<FaultyMessage>> {
        loop {
            if let Some(message) = self.due.pop_front() {
                return Some(Incoming::Message(message));
            }
            let Some(incoming) = self.inner.try_receive() else {
                let (_, message) = self.inbound.held.pop_front()?;
                return Some(Incoming::Message(message));
            };
            let message = match incoming.map(FaultyMessage::of) {
                Incoming::Message(message) => message,
                event => return Some(event),
            };
            self.comes(message);
        }
    }

    fn try_receive_along(&mut self) -> Option<FaultyMessage> {
        while self.due.is_empty() {
            let message = self.inner.try_receive_along()?;
            self.comes(FaultyMessage::of(message));
        }
        self.due.pop_front()
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        if self.is_idle() { self.inner.wait(deadline, also) } else { Wake::Ready }
    }

    fn arm(&mut self) -> Wake {
        if self.is_idle() { self.inner.arm() } else { Wake::Ready }
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.readiness()
    }
}

impl<R> FaultyReceiver<R> {
    /// Another message meets its fate.
    fn comes(&mut self, message: FaultyMessage) {
        let late = self.inbound.overtake();
        match self.inbound.fate() {
            Fate::Pass => self.due.push_back(message),
            Fate::Twice => self.due.extend([message.clone(), message]),
            Fate::Hold(behind) => self.inbound.held.push_back((behind, message)),
            Fate::Lose => {}
        }
        self.due.extend(late);
    }

    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.inbound.held.is_empty()
    }
}

impl<M> Delayed<M> {
    fn new(faults: Faults, seed: u64, afflicted: &Arc<AtomicU64>) -> Self {
        Self { faults, afflicted: Arc::clone(afflicted), random: seed, held: VecDeque::new() }
    }

    /// What happens to the next message.
    fn fate(&mut self) -> Fate {
        let Faults { lose_per_mille, duplicate_per_mille, delay_per_mille, delay_messages_max, .. } =
            self.faults;
        let lot = self.below(1000);
        let is_afflicted = lot < lose_per_mille + duplicate_per_mille + delay_per_mille;
        self.afflicted.fetch_add(is_afflicted.into(), Ordering::Relaxed);
        if lot < lose_per_mille {
            Fate::Lose
        } else if lot < lose_per_mille + duplicate_per_mille {
            Fate::Twice
        } else if lot < lose_per_mille + duplicate_per_mille + delay_per_mille {
            Fate::Hold(1 + self.below(delay_messages_max.max(1)))
        } else {
            Fate::Pass
        }
    }

    /// One more message passes those held; whoever has waited long enough is due after it.
    fn overtake(&mut self) -> Vec<M> {
        self.held.iter_mut().for_each(|(behind, _)| *behind = behind.saturating_sub(1));
        let (due, held) = self.held.drain(..).partition(|(behind, _)| *behind == 0);
        self.held = held;
        let due: VecDeque<(u32, M)> = due;
        due.into_iter().map(|(_, message)| message).collect()
    }

    /// A number below `bound`, by SplitMix64.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a u32")]
    fn below(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(bound)) as u32
    }
}

impl FaultyMessage {
    fn of<M: Message>(message: M) -> Self {
        Self { path: message.path(), source: message.source(), bytes: message.into() }
    }
}

impl Deref for FaultyMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<FaultyMessage> for Bytes {
    fn from(message: FaultyMessage) -> Self {
        message.bytes
    }
}

impl Message for FaultyMessage {
    fn path(&self) -> Path {
        self.path
    }

    fn source(&self) -> Option<Locator> {
        self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Hub, Taken};

    const MESSAGES: u16 = 2_000;

    /// What a receiver with these faults takes of the numbers `0..MESSAGES`.
    fn received(inbound: Faults) -> Vec<u16> {
        let hub = Hub::new();
        let (sender, receiver) = (hub.open(Path::Udp, 64, 4096), hub.open(Path::Udp, 64, 4096));
        let locators = receiver.locators();
        let faulty = Faulty::new(receiver, inbound);
        let mut receiver = faulty.receiver().expect("taken once");
        for number in 0..MESSAGES {
            let sent =
                sender.send_bytes(&number.to_be_bytes(), &[Peer::new(&locators)], Delivery::BestEffort);
            assert_eq!(sent.expect("sent").by_udp, 1);
        }
        let numbers = std::iter::from_fn(|| match receiver.try_receive()? {
            Incoming::Message(message) => Some(u16::from_be_bytes([message[0], message[1]])),
            event => panic!("{event:?}"),
        });
        numbers.collect()
    }

    #[test]
    fn without_faults_everything_passes_in_order() {
        assert_eq!(received(Faults::default()), (0..MESSAGES).collect::<Vec<_>>());
    }

    #[test]
    fn loss_takes_its_share_and_keeps_the_order() {
        let numbers = received(Faults { lose_per_mille: 100, seed: 7, ..Faults::default() });
        assert!((1700..1900).contains(&numbers.len()), "{} of {MESSAGES} at 10 %", numbers.len());
        assert!(numbers.is_sorted());
    }

    #[test]
    fn a_delayed_message_is_overtaken_and_not_lost() {
        let faults = Faults { delay_per_mille: 200, delay_messages_max: 5, seed: 7, ..Faults::default() };
        let mut numbers = received(faults);
        assert!(!numbers.is_sorted());
        assert!(numbers.iter().zip(0..).all(|(&number, position)| number.abs_diff(position) <= 64));
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    }

    #[test]
    fn a_duplicate_follows_its_original() {
        let numbers = received(Faults { duplicate_per_mille: 100, seed: 7, ..Faults::default() });
        assert!(numbers.len() > usize::from(MESSAGES) && numbers.is_sorted());
    }

    #[test]
    fn what_came_along_meets_the_same_fates() {
        let faults = Faults { lose_per_mille: 100, delay_per_mille: 100, seed: 7, ..Faults::default() };
        let taken = |takes_along: bool| {
            let inner = Taken::of(&(0..=255).collect::<Vec<_>>(), Path::Udp);
            let due = VecDeque::new();
            let mut receiver =
                FaultyReceiver { inner, inbound: Delayed::new(faults, 7, &Arc::default()), due };
            let (mut octets, mut along) = (Vec::new(), 0);
            while let Some(Incoming::Message(message)) = receiver.try_receive() {
                octets.push(message[0]);
                while let Some(message) = takes_along.then(|| receiver.try_receive_along()).flatten() {
                    octets.push(message[0]);
                    along += 1;
                }
            }
            (octets, along)
        };
        let (octets, along) = taken(true);
        assert_eq!(octets, taken(false).0);
        assert!(along > 200 && octets.len() < 256 && !octets.is_sorted(), "{along} of {octets:?}");
    }

    #[test]
    fn equal_seeds_give_equal_fates_and_others_do_not() {
        let faults = |seed| Faults { lose_per_mille: 100, delay_per_mille: 100, seed, ..Faults::default() };
        assert_eq!(received(faults(1)), received(faults(1)));
        assert_ne!(received(faults(1)), received(faults(2)));
    }

    #[test]
    fn outbound_messages_are_lost_doubled_and_held_too() {
        let hub = Hub::new();
        let (sender, receiver) = (hub.open(Path::Udp, 64, 4096), hub.open(Path::Udp, 64, 4096));
        let locators = receiver.locators();
        let third = Faults {
            lose_per_mille: 300,
            duplicate_per_mille: 300,
            delay_per_mille: 300,
            ..Faults::default()
        };
        let sender = Faulty::new(sender, third);
        for number in 0..MESSAGES {
            let sent =
                sender.send_bytes(&number.to_be_bytes(), &[Peer::new(&locators)], Delivery::BestEffort);
            assert_eq!(sent.expect("sent").by_udp, 1, "the network does not tell");
        }
        let mut receiver = receiver.receiver().expect("taken once");
        let arrived = std::iter::from_fn(|| receiver.try_receive()).count();
        let afflicted = sender.afflicted().load(Ordering::Relaxed);
        assert!((1700..1900).contains(&afflicted), "{afflicted} of {MESSAGES} at 90 %");
        assert!((1800..2200).contains(&arrived), "{arrived} of {MESSAGES}: as many doubled as lost");
    }
}
