//! The sending side of one transport: its ring, and every peer it sends to or has tried to.

use crate::arena::{Arena, RecordId};
use crate::outlink::{OutLink, Payload, Promise, Published};
use crate::peer::Link;
use crate::region::Broken;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Reason};

/// All of it is behind one mutex, held for no longer than it takes to fill a slot.
pub(crate) struct Outbound {
    pub(crate) arena: Arena,
    links: Vec<OutPeer>,
    peers: HashMap<Locator, PeerState>,
    /// Sequence number of the next record, for inspection.
    pub(crate) records: u64,
    /// Ring bytes, from its start, that were found to be affordable.
    pub(crate) reserved_until: u64,
    /// The longest message so far.
    pub(crate) longest: u64,
    /// Threads of ours that wait for space.
    pub(crate) waiters: u32,
}

/// A peer with a link.
pub(crate) struct OutPeer {
    pub(crate) link: Arc<Link>,
    pub(crate) out: OutLink,
    /// The peer takes nothing more, but may hold messages until its socket closes.
    leaving: bool,
}

/// What is known of a peer.
#[derive(Clone, Debug)]
pub(crate) enum PeerState {
    /// The control thread is setting up a link.
    Connecting { attempts: u32 },
    /// There is a link.
    Up,
    /// There is none, and none is tried before `retry_at`.
    Down { reason: Reason, retry_at: Instant, attempts: u32 },
}

/// What happened to one message for one peer.
pub(crate) enum Outcome {
    /// Delivered; the link, if its peer sleeps and must be woken.
    Sent(Option<Arc<Link>>),
    Full,
    Unreachable(Reason),
    /// The peer broke the protocol: its link must be closed.
    Broken(Arc<Link>, Broken),
}

impl Outbound {
    pub(crate) fn new(arena: Arena) -> Self {
        Self {
            arena,
            links: Vec::new(),
            peers: HashMap::new(),
            records: 0,
            reserved_until: 0,
            longest: 0,
            waiters: 0,
        }
    }

    /// Finds room for `len` bytes of payload and header, taking back best-effort messages that are in the way.
    pub(crate) fn allocate(&mut self, len: u64, lost: &mut u64) -> Option<RecordId> {
        let Self { arena, links, .. } = self;
        for peer in links.iter_mut().filter(|peer| !peer.out.is_idle()) {
            // A peer that broke the protocol is found out, and its link closed, at the next send to it.
            let _ = peer.out.reap(&peer.link.memory, arena);
        }
        arena.allocate(len, |arena, record| take_back(links, arena, record, lost))
    }

    /// Sends one message to one peer.
    pub(crate) fn publish(&mut self, to: &Locator, payload: Payload<'_>, promise: Promise) -> Outcome {
        let Some(peer) = self.links.iter_mut().find(|peer| peer.link.locator == *to && !peer.leaving) else {
            return Outcome::Unreachable(self.why_not(to));
        };
        match peer.out.publish(&peer.link.memory, &mut self.arena, payload, promise) {
            Ok(Published::Yes) => Outcome::Sent(peer.link.bell.is_asleep().then(|| Arc::clone(&peer.link))),
            Ok(Published::Full) => Outcome::Full,
            Err(broken) => Outcome::Broken(Arc::clone(&peer.link), broken),
        }
    }

    /// Best-effort messages that this peer lost since the last call.
    pub(crate) fn lost_since(&mut self, to: &Locator) -> u64 {
        let peer = self.links.iter_mut().find(|peer| peer.link.locator == *to);
        peer.map_or(0, |peer| std::mem::take(&mut peer.out.lost))
    }

    /// What is known of a peer.
    pub(crate) fn state(&self, peer: &Locator) -> Option<&PeerState> {
        self.peers.get(peer)
    }

    /// Why a peer cannot be sent to.
    fn why_not(&self, to: &Locator) -> Reason {
        match self.peers.get(to) {
            Some(PeerState::Down { reason, .. }) => reason.clone(),
            Some(PeerState::Up) => Reason::PeerGone,
            Some(PeerState::Connecting { .. }) | None => Reason::Handshake,
        }
    }

    /// Notes that a link to this peer is being set up.
    pub(crate) fn set_connecting(&mut self, peer: Locator) {
        let attempts = match self.peers.get(&peer) {
            Some(PeerState::Down { attempts, .. } | PeerState::Connecting { attempts }) => *attempts,
            _ => 0,
        };
        self.peers.insert(peer, PeerState::Connecting { attempts });
    }

    /// Adds an established link, of which at most `quota` bytes of the ring may be pinned.
    pub(crate) fn set_up(&mut self, link: Arc<Link>, quota: u64) {
        self.peers.insert(link.locator, PeerState::Up);
        let out = OutLink::new(link.outgoing, quota);
        self.links.push(OutPeer { link, out, leaving: false });
    }

    /// Notes that there is no link to this peer, and when to try again.
    pub(crate) fn set_down(&mut self, peer: Locator, reason: Reason, now: Instant) {
        if self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, state| !matches!(state, PeerState::Down { .. }));
        }
        let attempts = match self.peers.get(&peer) {
            Some(PeerState::Down { attempts, .. } | PeerState::Connecting { attempts }) => attempts + 1,
            _ => 0,
        };
        let retry_at = now + pause_before_retry(&reason, attempts);
        self.peers.insert(peer, PeerState::Down { reason, retry_at, attempts });
    }

    /// The peer takes nothing more: gives up what it has not taken, keeps what it may still hold.
    pub(crate) fn leave(&mut self, link: &Arc<Link>) {
        let Self { arena, links, .. } = self;
        if let Some(peer) = links.iter_mut().find(|peer| Arc::ptr_eq(&peer.link, link)) {
            // What it took before it said so stays referenced until its socket closes.
            let _ = peer.out.reap(&peer.link.memory, arena);
            peer.out.abandon_queued(arena);
            peer.leaving = true;
        }
    }

    /// The link is gone, and with it every reference of its peer.
    pub(crate) fn remove(&mut self, link: &Arc<Link>) {
        if let Some(index) = self.links.iter().position(|peer| Arc::ptr_eq(&peer.link, link)) {
            self.links.swap_remove(index).out.abandon(&mut self.arena);
        }
    }

    /// All links.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().map(|peer| &peer.link)
    }
}

/// Drops every reference to `record` if all of them belong to best-effort messages not yet taken.
fn take_back(links: &mut [OutPeer], arena: &mut Arena, record: RecordId, lost: &mut u64) -> bool {
    let mut found = 0;
    for peer in links.iter() {
        let (count, free) = peer.out.references(record);
        if !free {
            return false;
        }
        found += count;
    }
    if found < arena.record(record).references {
        return false;
    }
    let mut all = true;
    for peer in links.iter_mut() {
        let before = peer.out.lost;
        all &= peer.out.take_back(&peer.link.memory, arena, record).unwrap_or(false);
        *lost += peer.out.lost - before;
        peer.out.lost = before;
    }
    all
}

/// How long to leave a peer alone: what may pass soon is tried soon, what needs somebody to act is not.
fn pause_before_retry(reason: &Reason, attempts: u32) -> Duration {
    match reason {
        Reason::NotAdmitted { .. } | Reason::RefusedByPeer | Reason::Version { .. } => {
            Duration::from_secs(30)
        }
        _ => Duration::from_millis(50 << attempts.min(7)),
    }
}

/// Peers remembered; beyond it those without a link are forgotten.
const PEERS_MAX: usize = 4096;
