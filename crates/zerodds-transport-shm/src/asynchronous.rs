//! Receiving and sending on tokio, without ever blocking its threads.

use crate::outbound::Notice;
use crate::sys::async_fd;
use crate::{ShmLoan, ShmMessage, ShmReceiver, ShmTransport};
use std::os::fd::OwnedFd;
use std::time::Instant;
use tokio::io::unix::AsyncFd;
use zerodds_core::{
    Delivery, Incoming, LoanError, Locator, Peer, Receiver, SendError, Sent, Transport, Wake,
};

/// The receiving half on a tokio runtime.
pub struct AsyncShmReceiver {
    receiver: ShmReceiver,
    readiness: AsyncFd<OwnedFd>,
}

impl ShmReceiver {
    /// Moves the receiver onto the current tokio runtime.
    ///
    /// # Errors
    /// Where there is no descriptor left, or the runtime cannot watch it. The receiver is dropped then, and a transport has one only:
    /// its links end, and it has no more of them.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled, as all of tokio's types do.
    pub fn into_async(self) -> std::io::Result<AsyncShmReceiver> {
        let fd = std::os::fd::AsFd::as_fd(&self).try_clone_to_owned()?;
        Ok(AsyncShmReceiver { readiness: async_fd::watch(fd)?, receiver: self })
    }
}

impl AsyncShmReceiver {
    /// The next thing that arrives; `None` once the transport is closed and drained. Cancel safe: nothing is lost
    /// when the future is dropped. Where messages come without end, other tasks have their turn all the same.
    pub async fn receive(&mut self) -> Option<Incoming<ShmMessage>> {
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(incoming) = self.receiver.try_receive() {
                return Some(incoming);
            }
            match self.receiver.arm() {
                Wake::Ready => continue,
                Wake::Closed => return self.receiver.try_receive(),
                Wake::TimedOut => {}
            }
            // An error means that the runtime shuts down: there is nothing left to wait with.
            let mut guard = self.readiness.readable().await.ok()?;
            guard.clear_ready();
        }
    }
}

impl ShmTransport {
    /// As [`Transport::loan`], but waits for room until the deadline on a thread that may block.
    ///
    /// # Errors
    /// As [`Transport::loan`].
    pub async fn loan_async(&self, len: usize, deadline: Instant) -> Result<ShmLoan, LoanError> {
        tokio::task::coop::consume_budget().await;
        match self.loan(len) {
            Err(LoanError::Full { .. }) => {}
            outcome => return outcome,
        }
        let transport = self.clone();
        let waited = tokio::task::spawn_blocking(move || transport.loan_before(len, deadline)).await;
        waited.unwrap_or(Err(LoanError::Closed))
    }

    /// As [`Transport::send`], but never blocks the executor: a reliable send that has to wait for space does so
    /// on a thread that may block. Each entry of `to` is one peer, by its locators.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn send_async(
        &self,
        message: ShmLoan,
        to: &[Vec<Locator>],
        delivery: Delivery,
    ) -> Result<Sent, SendError> {
        tokio::task::coop::consume_budget().await;
        self.open_for_sending()?;
        let peers: Vec<Peer<'_>> = to.iter().map(|locators| Peer::new(locators)).collect();
        // A runtime that has shut down drops what it is given.
        let mut sending = self.begin(message, &peers, delivery, Notice::Ring)?;
        match delivery {
            Delivery::Reliable { deadline } if !sending.is_done() => {
                let waited = tokio::task::spawn_blocking(move || {
                    sending.wait(deadline);
                    sending.finish().0
                });
                waited.await.map_err(|_| SendError::Closed)
            }
            _ => Ok(sending.finish().0),
        }
    }
}
