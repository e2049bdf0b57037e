//! A message on its way, in the hands of whoever waits for its peers elsewhere.

use super::Sending;
use crate::message::ShmLoan;
use crate::shared::Shared;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;
use zerodds_core::{Peer, Sent};

/// A message that was given to everybody who had room, while others may yet be waited for: on any thread, since an
/// executor must not. Made by [`ShmTransport::begin_quietly`](crate::ShmTransport::begin_quietly). Dropped
/// unfinished, it leaves without those who had no room.
pub struct ShmSending {
    pub(super) shared: Arc<Shared>,
    /// Until it is finished.
    pub(super) sending: Option<Sending>,
    /// Peers that it was given to, or was to be.
    peers: usize,
}

/// A message that was sent: its bytes can still be read, and stay in the ring until this is dropped.
#[derive(Debug)]
pub struct ShmSent {
    message: ShmLoan,
}

impl ShmSending {
    pub(crate) const fn new(shared: Arc<Shared>, sending: Sending, peers: usize) -> Self {
        Self { shared, sending: Some(sending), peers }
    }

    /// Gives the message to further peers, best effort: nobody waits for them, and what they have not taken makes room for what comes
    /// later. What became of it [`finish`](Self::finish) says; their indices go on after those of the peers before.
    pub fn also_best_effort(&mut self, to: &[Peer<'_>]) {
        if let Some(sending) = self.sending.as_mut().filter(|_| !to.is_empty()) {
            sending.also_best_effort(&self.shared, to, self.peers);
            self.peers += to.len();
        }
    }

    /// Whether nobody needs to be waited for: all are served or cannot be, the message is best effort, or the transport is closed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.is_closed() || self.sending.as_ref().is_none_or(Sending::is_done)
    }

    /// Waits for those without room until the deadline.
    pub fn wait(&mut self, deadline: Instant) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| !sending.is_done()) {
            sending.wait(&self.shared, deadline);
        }
    }

    /// What became of it; whoever has no room by now goes without.
    pub fn finish(mut self) -> (Sent, ShmSent) {
        let sending = self.sending.take().unwrap_or_else(|| unreachable!("finishing takes it, and ends"));
        let (sent, message) = sending.finish(&self.shared);
        (sent, ShmSent { message })
    }
}

impl Drop for ShmSending {
    fn drop(&mut self) {
        // What it offers in the reserve would stand there for ever.
        if let Some(sending) = self.sending.take() {
            let _ = sending.finish(&self.shared);
        }
    }
}

impl fmt::Debug for ShmSending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without_room = self.sending.as_ref().map_or(0, |sending| sending.without_room.len());
        write!(f, "ShmSending({without_room} peers without room)")
    }
}

impl Deref for ShmSent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.message
    }
}
