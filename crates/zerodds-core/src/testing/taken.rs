//! A receiver whose messages have all come along with each other, for tests of those that stand around one.

use crate::{Incoming, Locator, Message, Path, Receiver, Wake};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// A message of one octet.
#[derive(Debug)]
pub(crate) struct Octet(Bytes, Path);

impl Deref for Octet {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Octet> for Bytes {
    fn from(octet: Octet) -> Self {
        octet.0
    }
}

impl Message for Octet {
    fn path(&self) -> Path {
        self.1
    }

    fn source(&self) -> Option<Locator> {
        None
    }
}

/// Has taken all of it from the system already: what follows a message has come along with it.
#[derive(Debug)]
pub(crate) struct Taken(VecDeque<Octet>);

impl Taken {
    /// A message of each.
    pub(crate) fn of(octets: &[u8], path: Path) -> Self {
        Self(octets.iter().map(|&octet| Octet(Bytes::copy_from_slice(&[octet]), path)).collect())
    }
}

impl Receiver for Taken {
    type Message = Octet;

    fn try_receive(&mut self) -> Option<Incoming<Octet>> {
        self.try_receive_along().map(Incoming::Message)
    }

    fn try_receive_along(&mut self) -> Option<Octet> {
        self.0.pop_front()
    }

    fn wait(&mut self, _deadline: Option<Instant>, _also: &[BorrowedFd<'_>]) -> Wake {
        Wake::Ready
    }

    fn arm(&mut self) -> Wake {
        Wake::Ready
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
