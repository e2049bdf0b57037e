//! What a router lends and receives: the loans and messages of either path in one type each, and the receiver
//! that drains both paths fairly.

use super::ledger::{Ledger, News};
use crate::{Incoming, Loan, Locator, Message, Path, Receiver, Wake};
use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

/// A loan of a [`Router`](crate::Router): shared memory where it can be had.
#[derive(Debug)]
pub enum RouterLoan<S, U> {
    /// Memory that same-host peers read in place.
    Shm(S),
    /// A datagram of the UDP transport.
    Udp(U),
    /// Private memory, for a message that no datagram carries while the shared memory is full: it is copied
    /// when it is sent, which may wait for room as a loan may not.
    Heap(Vec<u8>),
}

impl<S: Loan, U: Loan> Deref for RouterLoan<S, U> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shm(loan) => loan,
            Self::Udp(loan) => loan,
            Self::Heap(loan) => loan,
        }
    }
}

impl<S: Loan, U: Loan> DerefMut for RouterLoan<S, U> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Shm(loan) => loan,
            Self::Udp(loan) => loan,
            Self::Heap(loan) => loan,
        }
    }
}

impl<S: Loan, U: Loan> Loan for RouterLoan<S, U> {
    fn truncate(&mut self, len: usize) {
        match self {
            Self::Shm(loan) => loan.truncate(len),
            Self::Udp(loan) => loan.truncate(len),
            Self::Heap(loan) => loan.truncate(len),
        }
    }
}

/// A message received by either path.
#[derive(Debug)]
pub enum RouterMessage<S, U> {
    /// It lies in shared memory.
    Shm(S),
    /// It came as a datagram.
    Udp(U),
}

impl<S: Message, U: Message> Deref for RouterMessage<S, U> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shm(message) => message,
            Self::Udp(message) => message,
        }
    }
}

impl<S: Message, U: Message> From<RouterMessage<S, U>> for Bytes {
    fn from(message: RouterMessage<S, U>) -> Self {
        match message {
            RouterMessage::Shm(message) => message.into(),
            RouterMessage::Udp(message) => message.into(),
        }
    }
}

impl<S: Message, U: Message> Message for RouterMessage<S, U> {
    fn path(&self) -> Path {
        match self {
            Self::Shm(message) => message.path(),
            Self::Udp(message) => message.path(),
        }
    }

    fn source(&self) -> Option<Locator> {
        match self {
            Self::Shm(message) => message.source(),
            Self::Udp(message) => message.source(),
        }
    }
}

/// Receives from both paths in turn, so that neither starves the other. Datagrams that one system call brought have a turn each
/// as well, unless they are taken by `try_receive_along`: then they share the turn of the first. Messages of one path keep their
/// order; between the paths there is none, which RTPS sequence numbers make good.
#[derive(Debug)]
pub struct RouterReceiver<S, U> {
    shm: Option<S>,
    udp: Option<U>,
    /// Whose turn it is to be asked first.
    udp_first: bool,
    /// What was taken last was a message that came by UDP.
    last_by_udp: bool,
    ledger: Arc<Mutex<Ledger>>,
}

impl<S: Receiver, U: Receiver> RouterReceiver<S, U> {
    pub(super) fn new(shm: Option<S>, udp: Option<U>, ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { shm, udp, udp_first: false, last_by_udp: false, ledger }
    }

    fn take_shm(&mut self) -> Option<Incoming<<Self as Receiver>::Message>> {
        let incoming = self.shm.as_mut()?.try_receive()?;
        if let Incoming::PeerDown(peer, reason) = &incoming {
            let news = self.ledger.lock().forget(*peer, reason);
            news.into_iter().for_each(News::say);
        }
        Some(incoming.map(RouterMessage::Shm))
    }

    fn take_udp(&mut self) -> Option<Incoming<<Self as Receiver>::Message>> {
        Some(self.udp.as_mut()?.try_receive()?.map(RouterMessage::Udp))
    }
}

impl<S: Receiver, U: Receiver> Receiver for RouterReceiver<S, U> {
    type Message = RouterMessage<S::Message, U::Message>;

    fn try_receive(&mut self) -> Option<Incoming<Self::Message>> {
        self.udp_first = !self.udp_first;
        let taken = if self.udp_first {
            self.take_udp().or_else(|| self.take_shm())
        } else {
            self.take_shm().or_else(|| self.take_udp())
        };
        self.last_by_udp = matches!(taken, Some(Incoming::Message(RouterMessage::Udp(_))));
        taken
    }

    /// Of UDP alone: what comes through shared memory is taken one by one, at no cost.
    fn try_receive_along(&mut self) -> Option<Self::Message> {
        let along = self.udp.as_mut().filter(|_| self.last_by_udp)?.try_receive_along()?;
        Some(RouterMessage::Udp(along))
    }

    /// Waits in the shared-memory receiver, whose wait strategy governs, with the UDP socket among what else
    /// may wake it. A path that is closed or was never to be had no longer takes part.
    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        let udp = self.udp.as_mut().map_or(Wake::Closed, Receiver::arm);
        if udp == Wake::Ready {
            return Wake::Ready;
        }
        let sockets = self.udp.iter().flat_map(Receiver::readiness);
        let all: Vec<_> = also.iter().copied().chain(sockets).collect();
        let shm = self.shm.as_mut().map_or(Wake::Closed, |shm| shm.wait(deadline, &all));
        match (shm, udp, &mut self.udp) {
            (Wake::Closed, Wake::TimedOut, Some(udp)) => udp.wait(deadline, also),
            (woken, ..) => woken,
        }
    }

    fn arm(&mut self) -> Wake {
        let shm = self.shm.as_mut().map_or(Wake::Closed, Receiver::arm);
        let udp = self.udp.as_mut().map_or(Wake::Closed, Receiver::arm);
        match (shm, udp) {
            (Wake::Ready, _) | (_, Wake::Ready) => Wake::Ready,
            (Wake::Closed, Wake::Closed) => Wake::Closed,
            _ => Wake::TimedOut,
        }
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        let shm = self.shm.iter().flat_map(Receiver::readiness);
        shm.chain(self.udp.iter().flat_map(Receiver::readiness)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Taken;

    #[test]
    fn what_came_along_is_that_of_the_path_by_which_the_last_message_came() {
        let (shm, udp) = (Taken::of(&[1, 2], Path::SharedMemory), Taken::of(&[3, 4, 5], Path::Udp));
        let mut receiver = RouterReceiver::new(Some(shm), Some(udp), Arc::default());
        assert!(receiver.try_receive_along().is_none(), "nothing was received");
        let next = |receiver: &mut RouterReceiver<_, _>| match receiver.try_receive() {
            Some(Incoming::Message(message)) => message[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(next(&mut receiver), 3);
        let along = receiver.try_receive_along().map(|message| (message[0], message.path()));
        assert_eq!(along, Some((4, Path::Udp)));
        assert_eq!(next(&mut receiver), 1);
        assert!(receiver.try_receive_along().is_none(), "shared memory is taken one by one");
        assert_eq!(next(&mut receiver), 5);
        assert!(receiver.try_receive_along().is_none());
        assert_eq!(next(&mut receiver), 2, "nothing is skipped");
    }
}
