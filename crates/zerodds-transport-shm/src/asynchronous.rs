//! Receiving and sending on tokio, without ever blocking its threads.

use crate::outbound::Notice;
use crate::sys::async_fd;
use crate::{ShmLoan, ShmMessage, ShmReceiver, ShmTransport};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    /// As [`Transport::loan`], but waits for room until the deadline on a thread that may block. That one waits no longer than a
    /// tenth of a second for a future that was dropped.
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
        let waited = elsewhere(deadline, move |steps| {
            let loans = steps.map(|until| transport.loan_before(len, until));
            let mut answers = loans.filter(|loan| !matches!(loan, Err(LoanError::Full { .. })));
            answers.next().unwrap_or(Err(LoanError::Full { len }))
        });
        waited.await.unwrap_or(Err(LoanError::Closed))
    }

    /// As [`Transport::send`], but never blocks the executor: a reliable send that has to wait for space does so
    /// on a thread that may block. Each entry of `to` is one peer, by its locators. Whoever drops the future gives up those who had
    /// no room: they go without, within a tenth of a second.
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
                let waited = elsewhere(deadline, move |steps| {
                    for until in steps {
                        sending.wait(until);
                        if sending.is_done() {
                            break;
                        }
                    }
                    sending.finish().0
                });
                waited.await.ok_or(SendError::Closed)
            }
            _ => Ok(sending.finish().0),
        }
    }
}

/// Waits on a thread that may block, in steps: their ends, the last of which is the deadline. There are no more of them once nobody wants
/// to know, so that a future that is dropped keeps no thread. `None`: the runtime has shut down.
async fn elsewhere<T: Send + 'static>(
    deadline: Instant,
    wait: impl FnOnce(&mut dyn Iterator<Item = Instant>) -> T + Send + 'static,
) -> Option<T> {
    // Dropped with the future.
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    let mut steps = std::iter::from_fn(move || {
        let now = Instant::now();
        (now < deadline && still_wanted.strong_count() > 0).then(|| deadline.min(now + STEP))
    });
    tokio::task::spawn_blocking(move || wait(&mut steps)).await.ok()
}

/// How long a thread goes on waiting for a future that was dropped, at most.
const STEP: Duration = Duration::from_millis(100);
