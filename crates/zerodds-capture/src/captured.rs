//! Any transport, with what travels on it captured.

use crate::tap::Tap;
use std::os::fd::BorrowedFd;
use std::time::Instant;
use zerodds_core::{
    Counters, Delivery, Incoming, LoanError, Locator, Message, Peer, Reach, Receiver, SendError, Sent,
    Transport, Wake,
};

/// A transport whose messages are captured, if there is a tap; otherwise the transport itself, but for a branch.
#[derive(Debug)]
pub struct Captured<T> {
    inner: T,
    tap: Option<Tap>,
}

/// The receiving half of a [`Captured`].
#[derive(Debug)]
pub struct CapturedReceiver<R> {
    inner: R,
    tap: Option<Tap>,
}

impl<T: Transport> Captured<T> {
    /// Captures what travels on `inner` by `tap`.
    #[must_use]
    pub const fn new(inner: T, tap: Option<Tap>) -> Self {
        Self { inner, tap }
    }

    /// The transport beneath.
    #[must_use]
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// What was captured is in the file afterwards, unless that takes longer than two seconds.
    pub fn flush(&self) {
        if let Some(tap) = &self.tap {
            tap.flush();
        }
    }

    /// Has `send` send `messages` to one peer, in order, by something that is not part of [`Transport`]; it answers how
    /// many of them were sent.
    pub fn send_each<'m>(
        &self,
        messages: impl Iterator<Item = &'m [u8]> + Clone,
        to: Peer<'_>,
        send: impl FnOnce(&T) -> usize,
    ) -> usize {
        let Some(tap) = &self.tap else { return send(&self.inner) };
        let pending: Vec<_> = messages.clone().map(|message| tap.begin(message.len())).collect();
        let count = send(&self.inner);
        for (pending, message) in pending.into_iter().zip(messages).take(count) {
            if let Some(pending) = pending {
                pending.sent(message.to_vec(), tap.locator(to), None);
            }
        }
        count
    }

    fn watched(
        &self,
        tap: &Tap,
        message: &[u8],
        to: &[Peer<'_>],
    ) -> impl FnOnce(&Result<Sent, SendError>) + use<T> {
        let pending = tap.begin(message.len()).map(|pending| (pending, message.to_vec()));
        let peers: Vec<_> = to.iter().map(|&peer| tap.locator(peer)).collect();
        move |outcome| {
            if let (Some((pending, message)), Ok(sent)) = (pending, outcome) {
                let is_served = |index: &usize| sent.unserved.iter().all(|one| one.index != *index);
                let served = (0..peers.len()).filter(is_served);
                let served: Vec<_> = served.filter_map(|index| peers[index]).collect();
                pending.sent(message, served, None);
            }
        }
    }
}

impl<T: Transport> Transport for Captured<T> {
    type Loan = T::Loan;
    type Receiver = CapturedReceiver<T::Receiver>;

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

    fn send(&self, message: Self::Loan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let Some(tap) = &self.tap else { return self.inner.send(message, to, delivery) };
        let note = self.watched(tap, &message, to);
        let outcome = self.inner.send(message, to, delivery);
        note(&outcome);
        outcome
    }

    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let Some(tap) = &self.tap else { return self.inner.send_bytes(message, to, delivery) };
        let note = self.watched(tap, message, to);
        let outcome = self.inner.send_bytes(message, to, delivery);
        note(&outcome);
        outcome
    }

    fn receiver(&self) -> Option<Self::Receiver> {
        Some(CapturedReceiver { inner: self.inner.receiver()?, tap: self.tap.clone() })
    }

    fn neighbours(&self) -> Vec<Locator> {
        self.inner.neighbours()
    }

    fn counters(&self) -> Counters {
        let mut counters = self.inner.counters();
        counters.uncaptured_messages += self.tap.as_ref().map_or(0, Tap::dropped);
        counters
    }

    /// What was captured is in the file afterwards.
    fn close(&self) {
        self.inner.close();
        self.flush();
    }
}

impl<R: Receiver> CapturedReceiver<R> {
    fn capture(&self, message: &R::Message) {
        if let Some(pending) = self.tap.as_ref().and_then(|tap| tap.begin(message.len())) {
            pending.received(message.to_vec(), message.source(), None);
        }
    }
}

impl<R: Receiver> Receiver for CapturedReceiver<R> {
    type Message = R::Message;

    fn try_receive(&mut self) -> Option<Incoming<Self::Message>> {
        let incoming = self.inner.try_receive();
        if let Some(Incoming::Message(message)) = &incoming {
            self.capture(message);
        }
        incoming
    }

    fn try_receive_along(&mut self) -> Option<Self::Message> {
        let message = self.inner.try_receive_along()?;
        self.capture(&message);
        Some(message)
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        self.inner.wait(deadline, also)
    }

    fn arm(&mut self) -> Wake {
        self.inner.arm()
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.readiness()
    }
}
