//! The transport where shared memory is not implemented: it says so, reaches nobody, and leaves everything to UDP.
//!
//! Compiled on other systems than Linux and where pointers are not of 64 bits (a ring may have 4 GiB), and under
//! `--cfg zerodds_no_shm`, which is how it is tested.

use crate::{Config, LinkId, Listener, Pool};
use bytes::Bytes;
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use zerodds_core::{
    Counters, Delivery, Incarnation, Incoming, Loan, LoanError, Locator, Message, Path, Peer, Reach, Reason,
    Receiver, SendError, Sent, Transport, Wake,
};

/// Shared memory for one participant; not available on this system.
#[derive(Clone, Debug)]
pub struct ShmTransport {
    why: Reason,
}

/// A writable buffer; there are none on this system.
#[derive(Debug)]
pub struct ShmLoan(Infallible);

/// A received message; there are none on this system.
#[derive(Debug)]
pub struct ShmMessage(Infallible);

/// The receiving half; there is none on this system.
#[derive(Debug)]
pub struct ShmReceiver(Infallible);

/// A message on its way; there are none on this system.
#[derive(Debug)]
pub struct ShmSending(Infallible);

/// A message that was sent; there are none on this system.
#[derive(Debug)]
pub struct ShmSent(Infallible);

impl ShmSending {
    /// There is nothing to wait for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self.0 {}
    }

    /// There is nothing to wait for.
    pub fn wait(&mut self, _deadline: Instant) {
        match self.0 {}
    }

    /// There is nobody to send to.
    pub fn also_best_effort(&mut self, _to: &[Peer<'_>]) {
        match self.0 {}
    }

    /// Nothing was sent.
    pub fn finish(self) -> (Sent, ShmSent) {
        match self.0 {}
    }
}

impl Deref for ShmSent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

/// Everybody who can be linked with: nobody, on this system.
///
/// # Errors
/// None here.
pub fn listeners() -> std::io::Result<Vec<Listener>> {
    Ok(Vec::new())
}

impl ShmTransport {
    /// Opens a transport that is not available; [`availability`](Self::availability) says why.
    #[must_use]
    pub fn open(_domain_id: u32, config: &Config) -> Self {
        let why = if config.enabled {
            Reason::Unavailable("it is implemented for 64-bit Linux only".into())
        } else {
            Reason::SwitchedOff
        };
        Self { why }
    }

    /// As [`open`](Self::open).
    #[must_use]
    pub fn open_as(domain_id: u32, _incarnation: Incarnation, config: &Config) -> Self {
        Self::open(domain_id, config)
    }

    /// There is no memory to be had, and nothing to wait for.
    ///
    /// # Errors
    /// Always: the reason.
    pub fn loan_before(&self, len: usize, _deadline: Instant) -> Result<ShmLoan, LoanError> {
        self.loan(len)
    }

    /// There is nothing to send in.
    ///
    /// # Errors
    /// Always.
    pub fn begin_quietly(
        &self,
        message: ShmLoan,
        _to: &[Peer<'_>],
        _delivery: Delivery,
    ) -> Result<ShmSending, SendError> {
        match message.0 {}
    }

    /// Always `None`.
    #[must_use]
    pub fn locator_of(&self, _incarnation: Incarnation) -> Option<Locator> {
        None
    }

    /// There are no links.
    #[must_use]
    pub fn link_id(&self, _peer: &Locator) -> Option<LinkId> {
        None
    }

    /// All zero.
    #[must_use]
    pub fn pool(&self) -> Pool {
        Pool::default()
    }

    /// Does nothing: there are no links.
    pub fn disconnect(&self, _peer: &Locator) {}

    /// Whether shared memory is in use, and if not, why.
    ///
    /// # Errors
    /// Always: the reason.
    pub fn availability(&self) -> Result<(), Reason> {
        Err(self.why.clone())
    }
}

impl Transport for ShmTransport {
    type Loan = ShmLoan;
    type Receiver = ShmReceiver;

    fn locators(&self) -> Vec<Locator> {
        Vec::new()
    }

    fn reach(&self, _peer: Peer<'_>) -> Reach {
        Reach::Unreachable(self.why.clone())
    }

    fn max_message_len(&self) -> usize {
        0
    }

    fn loan(&self, _len: usize) -> Result<ShmLoan, LoanError> {
        Err(LoanError::Unavailable(self.why.clone()))
    }

    fn send(&self, message: ShmLoan, _to: &[Peer<'_>], _delivery: Delivery) -> Result<Sent, SendError> {
        match message.0 {}
    }

    fn receiver(&self) -> Option<ShmReceiver> {
        None
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

impl Deref for ShmLoan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

impl DerefMut for ShmLoan {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

impl Loan for ShmLoan {
    fn truncate(&mut self, _len: usize) {
        match self.0 {}
    }
}

impl ShmMessage {
    /// Whether the bytes are read in the sender's memory, rather than from a copy.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        match self.0 {}
    }
}

impl Deref for ShmMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

impl From<ShmMessage> for Bytes {
    fn from(message: ShmMessage) -> Self {
        match message.0 {}
    }
}

impl Message for ShmMessage {
    fn path(&self) -> Path {
        match self.0 {}
    }

    fn source(&self) -> Option<Locator> {
        match self.0 {}
    }
}

impl ShmReceiver {
    /// There are no links.
    #[must_use]
    pub fn link_id(&self, _peer: &Locator) -> Option<LinkId> {
        match self.0 {}
    }
}

impl Receiver for ShmReceiver {
    type Message = ShmMessage;

    fn try_receive(&mut self) -> Option<Incoming<ShmMessage>> {
        match self.0 {}
    }

    fn wait(&mut self, _deadline: Option<Instant>, _also: &[BorrowedFd<'_>]) -> Wake {
        match self.0 {}
    }

    fn arm(&mut self) -> Wake {
        match self.0 {}
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        match self.0 {}
    }
}

impl AsFd for ShmReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}

/// The receiving half on a tokio runtime; there is none on this system.
#[cfg(feature = "tokio")]
#[derive(Debug)]
pub struct AsyncShmReceiver(Infallible);

#[cfg(feature = "tokio")]
impl ShmReceiver {
    /// There is no receiver to move.
    ///
    /// # Errors
    /// None here.
    pub fn into_async(self) -> std::io::Result<AsyncShmReceiver> {
        match self.0 {}
    }
}

#[cfg(feature = "tokio")]
impl AsyncShmReceiver {
    /// There is nothing to await.
    pub async fn receive(&mut self) -> Option<Incoming<ShmMessage>> {
        match self.0 {}
    }
}

#[cfg(feature = "tokio")]
impl ShmTransport {
    /// There is no memory to be had, and nothing to wait for.
    ///
    /// # Errors
    /// Always: the reason.
    pub async fn loan_async(&self, len: usize, _deadline: Instant) -> Result<ShmLoan, LoanError> {
        self.loan(len)
    }

    /// There is nothing to send.
    ///
    /// # Errors
    /// Never: there is no loan that could be sent.
    pub async fn send_async(
        &self,
        message: ShmLoan,
        _to: &[Vec<Locator>],
        _delivery: Delivery,
    ) -> Result<Sent, SendError> {
        match message.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_why_and_reaches_nobody() {
        let transport = ShmTransport::open(0, &Config::default());
        let Err(Reason::Unavailable(why)) = transport.availability() else { panic!("it is not available") };
        assert!(why.contains("Linux"));
        assert!(transport.locators().is_empty() && transport.receiver().is_none());
        assert!(matches!(transport.reach(Peer::new(&[])), Reach::Unreachable(_)));
        assert!(transport.loan(1).is_err() && transport.loan_before(1, Instant::now()).is_err());
        let incarnation = Incarnation::from_bytes([1; 8]);
        assert_eq!(transport.locator_of(incarnation), None);
        assert_eq!(ShmTransport::open_as(0, incarnation, &Config::default()).pool(), Pool::default());
        let off = ShmTransport::open(0, &Config::default().enabled(false));
        assert_eq!(off.availability(), Err(Reason::SwitchedOff));
    }
}
