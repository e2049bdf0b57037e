//! A link as both halves see it: the memory that two transports share, and how to wake the other one.
//!
//! ```text
//!   Up ──BYE, protocol error──▶ leaving ──the peer's end of the socket──▶ gone
//!    └─────────the peer died: the end of its socket at once─────────────────▲
//! ```
//! Each side shuts the sending half of its socket when nothing there reads the other's memory any more: neither
//! the receiver nor a message that was kept. Until then the other side leaves alone what was taken.

use crate::bell::{OwnBell, PeerBell};
use crate::control::socket::{self, Socket};
use crate::crash;
use crate::doorbell::Space;
use crate::handshake::{Frame, Goodbye, Kind};
use crate::inlink::InLink;
use crate::layout::Direction;
use crate::link_id::LinkId;
use crate::peer_ring::PeerRing;
use crate::sync::full_fence;
use crate::sys::{Generation, Keeper, Mapping};
use rustix::io::Errno;
use smallvec::SmallVec;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use zerodds_core::{Locator, Reason};

/// Links of peers that sleep beside something that was sent to them, and have to be woken.
pub(crate) type Asleep = SmallVec<[Arc<Link>; 2]>;

/// One established link.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// The peer.
    pub(crate) locator: Locator,
    /// The way our messages flow.
    pub(crate) outgoing: Direction,
    /// The link object.
    pub(crate) memory: Mapping,
    /// The peer's payload ring: mapped, so that its messages may be read in place, if it runs as our user.
    pub(crate) ring: PeerRing,
    /// The longest message that either side may send. Between users it is what both sides have room for: what one of them
    /// sends the other has to copy, in its own memory.
    pub(crate) len_max: u64,
    /// The peer's user.
    pub(crate) uid: u32,
    /// How to wake a process of our user.
    pub(crate) bell: Option<PeerBell>,
    /// How to wake one of another user, since whoever can write a doorbell can silence it for others; and one of ours that sleeps
    /// in poll while we have not got its mouth.
    pub(crate) wake: Frame,
    /// The doorbell on which we wait.
    pub(crate) own_bell: Arc<OwnBell>,
    /// The connection that the link came of.
    pub(crate) socket: Arc<Socket>,
    /// Set once when the link is over, with the reason.
    pub(crate) down: OnceLock<Reason>,
    /// A fault of the peer's that was found.
    pub(crate) fault: OnceLock<Reason>,
    /// The process that made it.
    pub(crate) generation: Generation,
}

impl Link {
    /// The receiving half; made once.
    pub(crate) fn incoming(&self) -> InLink {
        InLink::new(self.outgoing.reverse(), self.ring.len() as u64, self.ring.in_place().is_some())
            .limited_to(self.len_max)
    }

    /// After publishing: whether the peer must be woken.
    pub(crate) fn is_asleep(&self) -> bool {
        self.bell.as_ref().is_none_or(PeerBell::is_asleep)
    }

    /// The same: if it must, it joins those who are woken once no lock is held.
    pub(crate) fn note_if_asleep(self: &Arc<Self>, asleep: &mut Asleep) {
        if self.is_asleep() {
            self.note(asleep);
        }
    }

    /// Cold, lest each of the ways of a message have the growth of the list in it.
    #[cold]
    fn note(self: &Arc<Self>, asleep: &mut Asleep) {
        asleep.push(Arc::clone(self));
    }

    /// Whether the peer seems to be awake; one that may not be asked does not.
    pub(crate) fn seems_awake(&self) -> bool {
        self.bell.as_ref().is_some_and(PeerBell::seems_awake)
    }

    /// After publishing: wakes the peer if it sleeps.
    pub(crate) fn ring(&self) {
        match &self.bell {
            Some(bell) => bell.ring(|| self.send_wake()),
            None => _ = self.send_wake(),
        }
    }

    /// After giving space back: whether senders of the peer wait for some, which those that may not be asked do.
    pub(crate) fn is_space_awaited(&self) -> bool {
        self.bell.as_ref().is_none_or(PeerBell::is_space_awaited)
    }

    /// After giving space back: wakes the peer's senders if they wait for so much.
    pub(crate) fn notify_space(&self, given: Space) {
        match &self.bell {
            Some(bell) => bell.notify_space(given),
            None => _ = self.send_wake(),
        }
    }

    /// Tells the peer that we leave the link. Comes before [`end`](Self::end), lest our receiver shut the socket first,
    /// which would look like our death; unless the caller reads the peer's memory itself meanwhile.
    pub(crate) fn say_bye(&self, own: Locator, why: Goodbye) {
        // A peer that does not read its socket learns of it by the socket's end.
        let _ = socket::send(&self.socket, &Frame::new(Kind::Bye(why), own, 0, 0), &[]);
    }

    /// Whether the peer is woken by that: a full socket holds wakes enough.
    fn send_wake(&self) -> bool {
        matches!(socket::send(&self.socket, &self.wake, &[]), Ok(()) | Err(Errno::AGAIN))
    }

    /// Whether no fault of the peer's was found before: it is counted and said once, whoever finds it and whoever ends the link.
    pub(crate) fn is_first_fault(&self, fault: &Reason) -> bool {
        self.fault.set(fault.clone()).is_ok()
    }

    /// Marks the link as over and wakes everybody here who waits for it.
    pub(crate) fn end(&self, reason: Reason) -> bool {
        let first = self.down.set(reason).is_ok();
        if first {
            // Between setting the flag and looking who sleeps, as doorbell.rs argues.
            full_fence();
            self.own_bell.ring();
            self.own_bell.notify_space(Space::Much);
        }
        first
    }
}

/// The reason on both sides of a link that either wished to end: neither is gone, and the link can be had again.
pub(crate) fn link_ended() -> Reason {
    Reason::Unavailable("the link was ended; a new one is set up when it is asked for".into())
}

/// The reason of a transport whose receiver was dropped: it has links no more.
pub(crate) fn unreceived() -> Reason {
    Reason::Unavailable("its receiver was dropped: nobody takes what is sent".into())
}

/// Somebody here who reads the peer's memory: the receiver, and every message in place. When the last one is
/// gone, the peer is told through the socket.
pub(crate) struct Reading(pub(crate) Arc<Link>);

impl Deref for Reading {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Keeper for Arc<Reading> {
    fn mapping(&self) -> &Mapping {
        self.ring.in_place().unwrap_or_else(|| unreachable!("only what is mapped may be held"))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.0.generation.is_ours() {
            crash::step("shut");
            // It may be shut or broken already.
            let _ = rustix::net::shutdown(&**self.0.socket, rustix::net::Shutdown::Write);
        }
    }
}
