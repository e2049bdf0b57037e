//! The sending side of one transport: its ring, the peers it sends to, and those it tries to reach.

use crate::arena::{self, Arena, Hold, Parts, RecordId};
use crate::doorbell::Space;
use crate::layout::ring;
use crate::memory::Memory;
use crate::outlink::{OutLink, Payload, Published};
use crate::pace;
use crate::peer::{Asleep, Link, link_ended};
use crate::pool::Pool;
use crate::promise::{Claim, Offer, Promise, Standing};
use crate::region::{Broken, Region};
use crate::shared::owner_word;
use crate::sys::Mapping;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Reason};

/// All of it is behind one mutex, held for no longer than it takes to find room and to fill slots.
pub(crate) struct Outbound {
    pub(crate) arena: Arena,
    /// Nothing is allocated or published any more: what peers still read must stay as it is.
    pub(crate) closed: bool,
    /// Peers with a link, by incarnation: all of them are of our host and domain. In an order, since a send to one of a few
    /// finds it sooner than by a hash that peers, who choose their own incarnation, cannot foresee.
    up: BTreeMap<u64, OutPeer>,
    /// How many of them were ever given a record.
    receivers: u64,
    /// Links that are over, whose peers may still take what is left and hold messages until their sockets close.
    leaving: Vec<OutPeer>,
    attempts: BTreeMap<Locator, Attempt>,
    /// Ring bytes that our own receiver pins, once something was sent to it.
    own: Option<u64>,
    pub(crate) tally: Tally,
    /// What the ring has and may have.
    pub(crate) memory: Memory,
    /// Ring bytes, from its start, whose pages were made present.
    pub(crate) populated_until: u64,
    /// The longest message so far.
    pub(crate) longest: u64,
    /// Threads of ours that wait for space.
    pub(crate) waiters: u32,
    /// Threads of ours that let receivers catch up.
    pausing: u32,
}

/// What was sent so far, each message once per peer.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Records of the ring; the next one's sequence number follows, for inspection.
    pub(crate) records: u64,
    /// Bytes of them, each message once.
    pub(crate) written: u64,
    /// Best-effort messages that were taken back.
    pub(crate) lost: u64,
}

/// A peer with a link, and what was sent on it.
pub(crate) struct OutPeer {
    link: Arc<Link>,
    out: OutLink,
    /// It was given a record, and so has a share of the ring.
    is_receiver: bool,
    /// It sleeps, and was not woken for something that waits for it.
    unrung: bool,
    /// It was let catch up, and did not: it is not waited for before it has.
    is_slow: bool,
}

/// Whether a receiver that sleeps is woken for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// At once.
    Ring,
    /// When much waits for it, or somebody waits for room; otherwise the news travels another way.
    Quiet,
}

/// The state of reaching a peer without a link.
#[derive(Clone, Debug)]
pub(crate) enum Attempt {
    /// The control thread is setting up a link.
    Connecting { failures: u32 },
    /// None is tried before `retry_at`.
    Down { reason: Reason, retry_at: Instant, failures: u32 },
}

/// A message that was offered to a peer, on a link of its.
pub(crate) struct Offered {
    link: Arc<Link>,
    offer: Offer,
}

/// What happened to one message for one peer.
pub(crate) enum Outcome {
    Sent,
    /// Delivered if its receiver takes it before it is taken back.
    Offered(Offered),
    Full,
    /// The link carries messages of at most so many bytes.
    TooLarge {
        max: usize,
    },
    Unreachable(Reason),
    /// The peer broke the protocol: its link must be closed.
    Broken(Arc<Link>, Broken),
}

impl Outbound {
    /// A sender to nobody yet.
    pub(crate) fn new(arena: Arena) -> Self {
        Self {
            arena,
            closed: false,
            up: BTreeMap::new(),
            receivers: 0,
            leaving: Vec::new(),
            attempts: BTreeMap::new(),
            own: None,
            tally: Tally::default(),
            memory: Memory::default(),
            populated_until: 0,
            longest: 0,
            waiters: 0,
            pausing: 0,
        }
    }

    /// Whether a receiver takes records of this length while more is sent. A link that is being left has to be looked at
    /// each time, since what is given back on it adds to what everybody may have.
    fn flows(&self, len: u64) -> bool {
        let takes = |peer: &OutPeer| peer.out.waiting() > 0 && peer.link.seems_awake();
        len <= FLOWING_MAX && self.leaving.is_empty() && self.up.values().any(takes)
    }

    /// Finds room for a record of `len` bytes, taking back what is in the way and yields.
    ///
    /// While a receiver takes what comes as fast as it comes, on another processor, it is not asked how far it is before some
    /// MiB were gone through. Its answer lies in lines that it writes all the time; and where it has read last is warm for it,
    /// so that to have each line back from its cache takes longer than to write where nobody was for a while. Messages that do
    /// not fit into that cache leave it anyway.
    pub(crate) fn allocate(&mut self, len: u64, claim: Claim) -> Option<RecordId> {
        let affordable = self.memory.affordable();
        if self.flows(len)
            && let Some(found) = self.arena.go_on(len, affordable)
        {
            return Some(found);
        }
        // A peer that broke the protocol is found out, and its link closed, at the next send to it.
        self.for_each_busy(|peer, arena| {
            let _ = peer.out.reap(&peer.link.memory, arena);
        });
        if let Some(found) = self.arena.find(len) {
            return Some(found);
        }
        // Nothing is taken back in place of what was given back, and whoever gets none may sleep until something is: none of it may
        // be overlooked.
        self.for_each_busy(|peer, arena| {
            let _ = peer.out.reap_all(&peer.link.memory, arena);
        });
        self.try_allocate(len, claim)
    }

    /// The same within the memory that there is already, where what is in the way may yet be taken back.
    pub(crate) fn allocate_confined(&mut self, len: u64, claim: Claim) -> Option<RecordId> {
        self.arena.confine(self.memory.present_until());
        let found = self.allocate(len, claim);
        self.arena.confine(u64::MAX);
        found
    }

    /// Goes through those who have, or had, something of the ring.
    fn for_each_busy(&mut self, mut visit: impl FnMut(&mut OutPeer, &mut Arena)) {
        let Self { arena, up, leaving, .. } = self;
        let peers = up.values_mut().chain(leaving).filter(|peer| !peer.out.is_idle());
        peers.for_each(|peer| visit(peer, arena));
    }

    /// The ring grows before anything is taken back from whoever sleeps and was not woken for it.
    fn try_allocate(&mut self, len: u64, claim: Claim) -> Option<RecordId> {
        let parts = match claim {
            Claim::Loan => Parts::All,
            Claim::Copy(parts) => parts,
        };
        if self.up.values().any(|peer| peer.unrung)
            && let Some(found) = self.allocate_from(len, (claim, Parts::Main), |peer| !peer.unrung)
        {
            return Some(found);
        }
        self.allocate_from(len, (claim, parts), |_| true)
    }

    /// Finds room, taking back what yields of those of whom `may_take` says so.
    fn allocate_from(
        &mut self,
        len: u64,
        (claim, parts): (Claim, Parts),
        may_take: impl Fn(&OutPeer) -> bool,
    ) -> Option<RecordId> {
        let Self { arena, up, leaving, tally, .. } = self;
        arena.allocate(len, parts, |arena, record| {
            let yields = |peer: &OutPeer| {
                peer.out.yields(record, claim) && (may_take(peer) || !peer.out.is_queued(record))
            };
            // Where one of its receivers has to get it, there is no use in taking it from the others.
            let all_yield = up.values().chain(&*leaving).all(yields);
            let peers = up.values_mut().chain(leaving.iter_mut());
            all_yield && take_back(peers, arena, (record, claim), &mut tally.lost)
        })
    }

    /// Sends a small message to one peer, if nothing stands in the way. `false`: it was not sent, and
    /// [`publish`](Self::publish) finds out why.
    pub(crate) fn push(&mut self, to: &Locator, bytes: &[u8], asleep: &mut Asleep) -> bool {
        if self.closed {
            return false;
        }
        let Some(peer) = find(&mut self.up, to) else { return false };
        let Ok(Published::Yes) = peer.out.push(&peer.link.memory, bytes) else { return false };
        peer.unrung = false;
        self.tally.messages += 1;
        self.tally.bytes += bytes.len() as u64;
        peer.link.note_if_asleep(asleep);
        true
    }

    /// Shortens a record to its message, and completes its header, which is there for inspection. Whether that frees something.
    pub(crate) fn complete(&mut self, ring: &Mapping, id: RecordId, len: usize) -> bool {
        let frees = self.arena.shorten(id, ring::record_len(len));
        self.longest = self.longest.max(len as u64);
        self.tally.records += 1;
        self.tally.written += len as u64;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&(len as u32).to_le_bytes());
        header[8..].copy_from_slice(&self.tally.records.to_le_bytes());
        ring.copy_in(self.arena.record(id).start as usize, &header);
        frees
    }

    /// Sends a record to one peer as [`push`](Self::push) does small messages. `is_ahead` is set where we may be far ahead of
    /// it.
    pub(crate) fn give(
        &mut self,
        to: &Locator,
        (id, len): (RecordId, u32),
        promise: Promise,
        (is_ahead, asleep): (&mut bool, &mut Asleep),
    ) -> bool {
        if self.closed {
            return false;
        }
        let quota = self.quota();
        let peer = find(&mut self.up, to).filter(|peer| u64::from(len) <= peer.link.len_max);
        let Some(peer) = peer else { return false };
        peer.note_pace(len as usize);
        let Ok(true) = peer.out.give(&peer.link.memory, &mut self.arena, (id, len), promise, quota) else {
            return false;
        };
        peer.unrung = false;
        self.receivers += peer.becomes_receiver();
        self.tally.messages += 1;
        self.tally.bytes += u64::from(len);
        *is_ahead |= peer.is_behind(len as usize, pace::PAUSING);
        peer.link.note_if_asleep(asleep);
        true
    }

    /// Sends one message to one peer.
    pub(crate) fn publish(
        &mut self,
        to: &Locator,
        payload: Payload<'_>,
        (promise, notice): (Promise, Notice),
        asleep: &mut Asleep,
    ) -> Outcome {
        if self.closed {
            return Outcome::Unreachable(Reason::Closed);
        }
        // What goes through the lane pins nothing.
        let is_small = matches!(payload, Payload::Small(_)) && notice == Notice::Ring;
        let is_record = matches!(payload, Payload::Record { .. });
        let quota = if is_small { 0 } else { self.quota() };
        let Some(peer) = find(&mut self.up, to) else { return Outcome::Unreachable(self.why_not(to)) };
        if let Payload::Record { len, .. } = payload {
            if u64::from(len) > peer.link.len_max {
                return Outcome::TooLarge { max: peer.link.len_max as usize };
            }
            peer.note_pace(len as usize);
        }
        let outcome = peer.out.publish(&peer.link.memory, &mut self.arena, payload, promise, quota);
        if is_record && matches!(outcome, Ok(Published::Yes | Published::Offered(_))) {
            self.receivers += peer.becomes_receiver();
        }
        self.tally.lost += peer.out.take_lost();
        match outcome {
            Ok(Published::Offered(offer)) => {
                peer.link.note_if_asleep(asleep);
                Outcome::Offered(Offered { link: Arc::clone(&peer.link), offer })
            }
            Ok(Published::Yes) => {
                let is_asleep = peer.link.is_asleep();
                // Whoever waits for room has woken those that had something by then.
                let may_put_off = is_asleep && notice == Notice::Quiet && self.waiters == 0;
                peer.unrung = may_put_off && !peer.is_filling(&mut self.arena, quota);
                if is_asleep && !peer.unrung {
                    asleep.push(Arc::clone(&peer.link));
                }
                Outcome::Sent
            }
            Ok(Published::Full) => Outcome::Full,
            Ok(Published::Refused) => {
                // The peer has left; the news of it is on its way to us.
                Outcome::Unreachable(peer.link.down.get().cloned().unwrap_or_else(link_ended))
            }
            Err(broken) => Outcome::Broken(Arc::clone(&peer.link), broken),
        }
    }

    /// Threads of ours that wait for so much space.
    pub(crate) fn waiters(&mut self, wanted: Space) -> &mut u32 {
        match wanted {
            Space::Any => &mut self.waiters,
            Space::Much => &mut self.pausing,
        }
    }

    /// Whether we are so many quarters of the ring's warm part ahead of the peer, which is not slow.
    pub(crate) fn is_far_ahead(&mut self, to: &Locator, len: usize, quarters: u64) -> bool {
        let Self { up, arena, .. } = self;
        find(up, to).is_some_and(|peer| peer.is_still_behind(arena, len, quarters) && !peer.is_slow)
    }

    /// The peer was let catch up for long enough, if it is still behind.
    pub(crate) fn go_ahead(&mut self, to: &Locator, len: usize) {
        if let Some(peer) = find(&mut self.up, to) {
            peer.is_slow |= peer.is_behind(len, pace::GOING_ON);
        }
    }

    /// Where in the ring a copy of a message for this peer would not be made in vain; `None` if nowhere.
    pub(crate) fn room(&mut self, to: &Locator, len: usize, promise: Promise) -> Option<Parts> {
        let quota = self.quota();
        // What comes of a peer without a link, or one that broke the protocol, is found out by the send.
        let Some(peer) = find(&mut self.up, to) else { return Some(Parts::All) };
        let record = (ring::record_len(len), promise);
        let room = peer.out.room(&peer.link.memory, &mut self.arena, record, quota);
        room.unwrap_or(Some(Parts::All))
    }

    /// What became of an offer so far.
    pub(crate) fn look(&mut self, offered: Offered) -> Outcome {
        self.outcome_of(offered, |peer, arena, _| peer.out.reap(&peer.link.memory, arena))
    }

    /// The same once and for all: what was not taken by now is taken back.
    pub(crate) fn settle(&mut self, offered: Offered) -> Outcome {
        self.outcome_of(offered, |peer, arena, offer| peer.out.settle(&peer.link.memory, arena, offer))
    }

    fn outcome_of(
        &mut self,
        offered: Offered,
        find_out: impl FnOnce(&mut OutPeer, &mut Arena, &Offer) -> Result<(), Broken>,
    ) -> Outcome {
        let Offered { link, offer } = &offered;
        let mut peers = find(&mut self.up, &link.locator).into_iter().chain(&mut self.leaving);
        if let Some(peer) = peers.find(|peer| Arc::ptr_eq(&peer.link, link))
            && let Err(broken) = find_out(peer, &mut self.arena, offer)
        {
            return Outcome::Broken(Arc::clone(link), broken);
        }
        match offer.standing() {
            Standing::Open => Outcome::Offered(offered),
            Standing::Taken => Outcome::Sent,
            Standing::TakenBack => Outcome::Full,
        }
    }

    /// What each receiver may pin: an equal share for every link that a record was given to, for ourselves once we send to ourselves, and one
    /// more. Who came first may have more than that by now; what leaves room is that it is not lent out as a whole (arena.rs).
    pub(crate) fn quota(&self) -> u64 {
        // Links that have left may share records, of which there are no more than that.
        let left: u64 = self.leaving.iter().map(|peer| peer.out.pinned()).sum();
        let left = left.min(self.arena.in_use().0);
        let receivers = self.receivers + u64::from(self.own.is_some());
        self.arena.capacity().0.saturating_sub(left) / (receivers + 1)
    }

    /// Keeps a record for our own receiver, unless that is beyond its share, or the record one that is copied.
    pub(crate) fn keep_own(&mut self, record: RecordId) -> bool {
        let pinned = *self.own.get_or_insert(0);
        let len = self.arena.record(record).len;
        let is_kept = self.arena.may_be_held(record) && pinned + len <= self.quota();
        if is_kept {
            self.own = Some(pinned + len);
            self.arena.retain(record, Hold::Firm);
            self.arena.hold(record);
        }
        is_kept
    }

    /// Our own receiver gives a record back.
    pub(crate) fn release_own(&mut self, record: RecordId) {
        self.own = self.own.map(|pinned| pinned - self.arena.record(record).len);
        self.arena.let_go(record);
        self.arena.release(record, Hold::Firm);
    }

    /// The links of those that sleep beside messages of the ring, once half of what stays warm with messages of this length is in
    /// use, and as much waits: what is best effort makes way before the ring goes beyond it, and they have the rest to take the
    /// first of it.
    pub(crate) fn unrung_of_many(&mut self, len: usize) -> Vec<Arc<Link>> {
        let half = arena::warm_len(ring::record_len(len)) / 2;
        let is_much = |outbound: &Self| {
            // One message may wait for many, and what is kept waits for nobody.
            let behind = || outbound.up.values().map(|peer| peer.out.behind()).sum::<u64>();
            outbound.arena.in_use().0 >= half && behind() >= half
        };
        if !is_much(self) {
            return Vec::new();
        }
        // A peer that broke the protocol is found out at the next send to it.
        self.for_each_busy(|peer, arena| _ = peer.out.reap(&peer.link.memory, arena));
        if is_much(self) { self.take_unrung(|peer| peer.out.waiting() > 0) } else { Vec::new() }
    }

    /// The links of peers that sleep beside something that waits for them: to be woken now, since room is wanted.
    pub(crate) fn unrung(&mut self) -> Vec<Arc<Link>> {
        self.take_unrung(|_| true)
    }

    fn take_unrung(&mut self, is_one: impl Fn(&OutPeer) -> bool) -> Vec<Arc<Link>> {
        let those = self.up.values_mut().filter(|peer| peer.unrung && is_one(peer));
        let links = those.map(|peer| {
            peer.unrung = false;
            Arc::clone(&peer.link)
        });
        links.collect()
    }

    /// The link to a peer, if it can be sent to.
    pub(crate) fn link(&self, to: &Locator) -> Option<&Arc<Link>> {
        self.up.get(&owner_word(to)).map(|peer| &peer.link).filter(|link| link.locator == *to)
    }

    /// The state of reaching a peer that has no link.
    pub(crate) fn attempt(&self, peer: &Locator) -> Option<&Attempt> {
        self.attempts.get(peer)
    }

    /// How full the ring is.
    pub(crate) fn pool(&mut self) -> Pool {
        let Self { arena, up, leaving, .. } = self;
        let (mut unread, mut held) = (0, self.own.unwrap_or(0));
        for peer in up.values_mut().chain(leaving) {
            // A peer that broke the protocol is found out at the next send to it.
            let _ = peer.out.reap_all(&peer.link.memory, arena);
            unread += peer.out.waiting();
            held += peer.out.pinned() - peer.out.waiting();
        }
        let (capacity, reserve) = arena.capacity();
        let (in_use, peak) = arena.in_use();
        Pool {
            capacity,
            reserve,
            in_use,
            peak,
            unread,
            held_by_peers: held,
            reserved: self.memory.reserved(),
        }
    }

    /// How many links there are.
    pub(crate) fn links(&self) -> usize {
        self.up.len()
    }

    fn why_not(&self, to: &Locator) -> Reason {
        match self.attempts.get(to) {
            Some(Attempt::Down { reason, .. }) => reason.clone(),
            Some(Attempt::Connecting { .. }) | None => Reason::Handshake,
        }
    }

    /// Notes that a link to this peer is being set up at our wish, unless that is for as many as are remembered.
    pub(crate) fn set_connecting(&mut self, peer: Locator) -> bool {
        let failures = match self.attempts.get(&peer) {
            Some(Attempt::Down { failures, .. } | Attempt::Connecting { failures }) => *failures,
            None => 0,
        };
        self.remember(peer, Attempt::Connecting { failures })
    }

    /// Notes an attempt; whether there is a place for it. Of as many as are remembered one makes way: whose time to be tried
    /// again has come, or comes last. So a crowd of names has none but what is beyond that many tried again before its time, and keeps
    /// nobody out.
    fn remember(&mut self, peer: Locator, attempt: Attempt) -> bool {
        if self.attempts.len() >= ATTEMPTS_MAX && !self.attempts.contains_key(&peer) {
            let now = Instant::now();
            let due = |(old, attempt): (&Locator, &Attempt)| match attempt {
                Attempt::Down { retry_at, .. } => Some((*retry_at <= now, *retry_at, *old)),
                Attempt::Connecting { .. } => None,
            };
            let Some((.., last)) = self.attempts.iter().filter_map(due).max() else { return false };
            self.attempts.remove(&last);
        }
        self.attempts.insert(peer, attempt);
        true
    }

    /// Notes why a peer that we tried to reach has no link, and when to try again.
    pub(crate) fn set_failed(&mut self, peer: Locator, reason: Reason, now: Instant) {
        let failures = match self.attempts.get(&peer) {
            Some(Attempt::Connecting { failures }) => failures.saturating_add(1),
            // Nobody here asked for this link.
            _ => return,
        };
        let retry_at = now + pause_before_retry(&reason, failures);
        self.remember(peer, Attempt::Down { reason, retry_at, failures });
    }

    /// Adds an established link.
    pub(crate) fn set_up(&mut self, link: Arc<Link>) {
        self.attempts.remove(&link.locator);
        let out = OutLink::new(link.outgoing);
        let peer = OutPeer { link, out, is_receiver: false, unrung: false, is_slow: false };
        if let Some(old) = self.up.insert(owner_word(&peer.link.locator), peer) {
            self.receivers -= u64::from(old.is_receiver);
            self.leaving.push(old);
        }
    }

    /// The link is over: nothing more is sent on it. What the peer has not taken stays for it, but for best effort.
    pub(crate) fn leave(&mut self, link: &Arc<Link>, reason: Reason, retry_at: Instant) {
        if let Some(mut peer) = self.take_down(link, reason, retry_at) {
            peer.out.withdraw(&peer.link.memory, &mut self.arena);
            self.tally.lost += peer.out.take_lost();
            self.leaving.push(peer);
        }
    }

    /// The peer reads nothing of this link any more. What is returned is dropped outside the lock: it unmaps.
    pub(crate) fn remove(&mut self, link: &Arc<Link>, reason: Reason, retry_at: Instant) -> Option<OutPeer> {
        let mut peer = match self.take_down(link, reason, retry_at) {
            Some(peer) => peer,
            None => {
                let index = self.leaving.iter().position(|peer| Arc::ptr_eq(&peer.link, link))?;
                self.leaving.swap_remove(index)
            }
        };
        // An offer that was taken before is none that was taken back. A peer that broke the protocol is gone anyway.
        let _ = peer.out.reap_all(&peer.link.memory, &mut self.arena);
        peer.out.abandon(&mut self.arena);
        Some(peer)
    }

    /// Removes a link from those that are sent on, if it is one.
    fn take_down(&mut self, link: &Arc<Link>, reason: Reason, retry_at: Instant) -> Option<OutPeer> {
        if !find(&mut self.up, &link.locator).is_some_and(|peer| Arc::ptr_eq(&peer.link, link)) {
            return None;
        }
        self.remember(link.locator, Attempt::Down { reason, retry_at, failures: 0 });
        let peer = self.up.remove(&owner_word(&link.locator))?;
        self.receivers -= u64::from(peer.is_receiver);
        Some(peer)
    }
}

impl OutPeer {
    /// It is given a record: how many receivers more that makes.
    fn becomes_receiver(&mut self) -> u64 {
        u64::from(!std::mem::replace(&mut self.is_receiver, true))
    }

    /// Whether so many quarters of the ring that stays warm with messages of this length, or of that of the one that the peer
    /// reads or takes next, are not read yet.
    fn is_behind(&self, len: usize, quarters: u64) -> bool {
        let far = arena::warm_len(ring::record_len(len).max(self.out.next_len())) / 4 * quarters;
        self.out.behind() >= far
    }

    /// The same, once what it has taken by now is counted.
    fn is_still_behind(&mut self, arena: &mut Arena, len: usize, quarters: u64) -> bool {
        if self.is_behind(len, quarters) {
            // A peer that broke the protocol is found out at the next send to it.
            let _ = self.out.reap(&self.link.memory, arena);
        }
        self.is_behind(len, quarters)
    }

    /// Before a message of this length counts: a slow peer has caught up where that would end a pause.
    fn note_pace(&mut self, len: usize) {
        self.is_slow = self.is_slow && self.is_behind(len, pace::GOING_ON);
    }

    /// Whether so much waits for the peer that it should be woken.
    fn is_filling(&mut self, arena: &mut Arena, quota: u64) -> bool {
        // A peer that broke the protocol is found out at the next send to it.
        self.out.is_filling(&self.link.memory, arena, quota).unwrap_or(true)
    }
}

/// The peer at this locator, if there is a link with it.
fn find<'a>(up: &'a mut BTreeMap<u64, OutPeer>, at: &Locator) -> Option<&'a mut OutPeer> {
    up.get_mut(&owner_word(at)).filter(|peer| peer.link.locator == *at)
}

/// Takes back every reference to `record`, all of which belong to messages that could be taken back when the arena looked; whether it is free now.
fn take_back<'a>(
    peers: impl Iterator<Item = &'a mut OutPeer>,
    arena: &mut Arena,
    (record, claim): (RecordId, Claim),
    lost: &mut u64,
) -> bool {
    let wanted = *arena.record(record);
    for peer in peers {
        // A peer that broke the protocol keeps its reference until its link is closed.
        let _ = peer.out.take_back(&peer.link.memory, arena, record, claim);
        *lost += peer.out.take_lost();
        if !arena.is_live(record, wanted.start) {
            return true;
        }
    }
    false
}

/// How long to leave a peer alone: what may pass soon is tried soon, what needs somebody to act is not.
pub(crate) fn pause_before_retry(reason: &Reason, failures: u32) -> Duration {
    match reason {
        Reason::NotAdmitted { .. } | Reason::RefusedByPeer | Reason::Version { .. } => {
            Duration::from_secs(30)
        }
        _ => Duration::from_millis(50 << failures.min(7)),
    }
}

/// Longer records are not expected to be in a receiver's cache when they were read.
const FLOWING_MAX: u64 = ring::record_len(512 << 10);
/// Peers without a link that are remembered.
const ATTEMPTS_MAX: usize = if cfg!(test) { 32 } else { 4096 };

#[cfg(all(test, not(zerodds_model)))]
mod tests;
