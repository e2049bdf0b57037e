//! A link as both halves see it: the memory that two transports share, and how to wake the other one.

use crate::bell::{OwnBell, PeerBell};
use crate::inlink::InLink;
use crate::layout::Direction;
use crate::sys::Mapping;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use zerodds_core::{Locator, Reason};

/// One established link. Kept alive by both halves and by every message read in place, whose memory it is;
/// its socket tells the peer that somebody here still holds something.
pub(crate) struct Link {
    /// The peer.
    pub(crate) locator: Locator,
    /// The way our messages flow.
    pub(crate) outgoing: Direction,
    /// The link object.
    pub(crate) memory: Mapping,
    /// The peer's payload ring, which we can only read.
    pub(crate) ring: Arc<Mapping>,
    /// How to wake the peer.
    pub(crate) bell: PeerBell,
    /// The doorbell by which this peer wakes us.
    pub(crate) own_bell: Arc<OwnBell>,
    /// Whether the peer runs as our user, so that its messages may be read in place.
    pub(crate) same_user: bool,
    /// Kept open for as long as anything of this link is in use.
    pub(crate) socket: Arc<OwnedFd>,
    /// Set once when the link is over, with the reason.
    pub(crate) down: OnceLock<Reason>,
}

impl Link {
    /// The receiving half; made once.
    pub(crate) fn incoming(&self) -> InLink {
        InLink::new(self.outgoing.reverse(), self.ring.len() as u64, self.same_user)
    }

    /// Marks the link as over and wakes everybody here who waits for it.
    pub(crate) fn end(&self, reason: Reason) {
        if self.down.set(reason).is_ok() {
            self.own_bell.ring();
            self.own_bell.notify_space();
        }
    }
}
