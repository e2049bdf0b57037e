//! One message on its way to its peers: those with room have it at once, the others when they have room or
//! the deadline passes.

mod handle;

pub use handle::{ShmSending, ShmSent};

use crate::arena::Hold;
use crate::doorbell::Space;
use crate::layout::lane;
use crate::message::{Body, LoanKind, OwnRecord, RecordLoan, ShmLoan, ShmMessage};
use crate::outbound::{Notice, Offered, Outbound, Outcome};
use crate::outlink::Payload;
use crate::peer::{Asleep, Link, unreceived};
use crate::promise::{Claim, Promise};
use crate::region::{Broken, Region};
use crate::shared::{Arrival, Shared, Stats, close_broken};
use crate::short::Short;
use crate::sys::SharedBytes;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, LoanError, Locator, Peer, Reason, Refusal, Sent, Unserved};

/// A message being sent.
pub(crate) struct Sending {
    message: ShmLoan,
    promise: Promise,
    notice: Notice,
    without_room: Targets,
    turn: Turn,
    sent: Sent,
}

/// Whose turn it is to have the reserve, of all messages that wait.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Anybodys,
    /// What was offered stands until then.
    Ours(Instant),
    /// Nothing is tried before then.
    Others(Instant),
}

/// A peer that has not been served yet.
struct Target {
    index: usize,
    to: Locator,
    /// The message was offered to it.
    offered: Option<Offered>,
    /// It was, and did not take it, while others of the message were not offered it.
    had_turn: bool,
}

/// As a rule nobody, which takes no memory.
type Targets = Vec<Target>;

impl Sending {
    /// Gives the message to every peer that has room now.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        message: ShmLoan,
        to: &[Peer<'_>],
        delivery: Delivery,
        notice: Notice,
    ) -> Self {
        let message = trimmed(shared, message);
        let promise = Promise::of(delivery);
        let mut round = Round::new(shared, Parcel::of(&message), promise, notice);
        if let LoanKind::Record(loan) = &message.0 {
            round.frees = round.outbound.complete(&shared.ring, loan.record, loan.bytes.len());
        }
        let first = round.first(to, 0);
        Self::after(message, promise, notice, first)
    }

    /// The same for further peers, whose indices begin at `index`, and for whom nobody waits.
    fn also_best_effort(&mut self, shared: &Arc<Shared>, to: &[Peer<'_>], index: usize) {
        // A forked child has copies of its parent's links, and perhaps of a lock that nobody will release.
        if shared.is_closed() {
            return self.sent.unserved.extend((index..index + to.len()).map(closed));
        }
        let round = Round::new(shared, Parcel::of(&self.message), Promise::BestEffort, self.notice);
        let (mut sent, without_room) = round.first(to, 0);
        miss(shared, &mut sent, &without_room, Promise::BestEffort);
        sent.unserved.iter_mut().for_each(|peer| peer.index += index);
        self.sent.add(sent);
    }

    /// What is left to do after the first round.
    fn after(message: ShmLoan, promise: Promise, notice: Notice, first: (Sent, Targets)) -> Self {
        let (sent, without_room) = first;
        Self { message, promise, notice, without_room, turn: Turn::Anybodys, sent }
    }

    /// Sends a message; whoever has no room is waited for as long as the delivery says.
    pub(crate) fn send(shared: &Arc<Shared>, message: ShmLoan, to: &[Peer<'_>], delivery: Delivery) -> Sent {
        match message.0 {
            LoanKind::Small(bytes) if bytes.len() <= lane::MESSAGE_MAX => {
                Self::send_small(shared, &bytes, to, delivery)
            }
            LoanKind::Record(loan) if !leaves_ring(shared, &loan) => {
                Self::send_record(shared, loan, to, delivery)
            }
            other => {
                let message = ShmLoan(other);
                let len = message.len();
                let sending = Self::begin(shared, message, to, delivery, Notice::Ring);
                let sent = sending.complete(shared, delivery);
                // Small messages are no reason to wait for whoever has large ones to read.
                if len > lane::MESSAGE_MAX {
                    shared.keep_pace(to, len, delivery);
                }
                sent
            }
        }
    }

    /// Sends a record of our ring, and lets receivers who are far behind catch up.
    fn send_record(shared: &Arc<Shared>, mut loan: RecordLoan, to: &[Peer<'_>], delivery: Delivery) -> Sent {
        let (promise, len) = (Promise::of(delivery), loan.bytes.len());
        let mut outbound = shared.outbound.lock();
        let frees = outbound.complete(&shared.ring, loan.record, len);
        let mut is_ahead = false;
        let record = (loan.record, len as u32);
        let (served, asleep) =
            to_first(shared, to, |to, asleep| outbound.give(to, record, promise, (&mut is_ahead, asleep)));
        let sent = if served == to.len() {
            loan.give_back(&mut outbound);
            // Whoever begins to wait after this finds what was given back when it looks, under the lock, before it sleeps.
            let is_awaited = outbound.waiters > 0;
            drop(outbound);
            asleep.iter().for_each(|link| link.ring());
            if is_awaited {
                shared.bell.notify_space(Space::Any);
            }
            Sent { by_shm: served as u32, ..Sent::default() }
        } else {
            is_ahead = true;
            let mut round =
                Round::under(shared, outbound, Parcel::Record(&loan), promise, Notice::Ring, asleep);
            round.frees = frees;
            let first = round.first(to, served);
            let message = ShmLoan(LoanKind::Record(loan));
            Self::after(message, promise, Notice::Ring, first).complete(shared, delivery)
        };
        if is_ahead {
            shared.keep_pace(to, len, delivery);
        }
        sent
    }

    /// Sends bytes that are small, which are copied only if somebody has to be waited for.
    pub(crate) fn send_small(
        shared: &Arc<Shared>,
        bytes: &[u8],
        to: &[Peer<'_>],
        delivery: Delivery,
    ) -> Sent {
        let served = push_to_first(shared, bytes, to);
        if served == to.len() {
            return Sent { by_shm: served as u32, ..Sent::default() };
        }
        let promise = Promise::of(delivery);
        let (sent, without_room) =
            Round::new(shared, Parcel::Small(bytes), promise, Notice::Ring).first(to, served);
        if without_room.is_empty() {
            return sent;
        }
        let message = ShmLoan(LoanKind::Small(bytes.to_vec()));
        Self::after(message, promise, Notice::Ring, (sent, without_room)).complete(shared, delivery)
    }

    /// Waits for those without room as long as the delivery says; what became of the message.
    fn complete(mut self, shared: &Arc<Shared>, delivery: Delivery) -> Sent {
        if self.without_room.is_empty() {
            return self.sent;
        }
        if let (Delivery::Reliable { deadline }, false) = (delivery, self.is_done()) {
            self.wait(shared, deadline);
        }
        self.finish(shared).0
    }

    /// Whether there is nobody to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.without_room.is_empty() || self.promise == Promise::BestEffort
    }

    /// Waits for the peers without room until the deadline. What it offers in the reserve stands for a while; then it is
    /// the turn of others, for as long: so none of them waits for a receiver that does not read.
    pub(crate) fn wait(&mut self, shared: &Arc<Shared>, deadline: Instant) {
        // A forked child has copies of its parent's links, and perhaps of a lock that nobody will release.
        if shared.is_closed() {
            return;
        }
        self.leave_reserve(shared);
        let turn = turn(self.message.len());
        loop {
            let until = match self.turn {
                Turn::Anybodys => deadline,
                Turn::Ours(until) | Turn::Others(until) => until.min(deadline),
            };
            let is_ours = matches!(self.turn, Turn::Ours(_));
            let is_others = matches!(self.turn, Turn::Others(_));
            let _ = shared.wait_for_space(Space::Any, until, || {
                if !is_others {
                    self.give(shared);
                }
                (self.is_done() || (!is_ours && self.is_offered())).then_some(())
            });
            let now = Instant::now();
            if self.is_done() || shared.is_closed() || now >= deadline {
                return;
            }
            self.turn = match self.turn {
                Turn::Anybodys => Turn::Ours(now + turn),
                Turn::Ours(_) => self.pass_on(shared, now + turn),
                Turn::Others(_) => Turn::Anybodys,
            };
        }
    }

    /// One attempt to give the message to those without room.
    fn give(&mut self, shared: &Arc<Shared>) {
        self.round(shared, |round, target| round.give(target));
    }

    /// Goes through those without room; whom `is_settled` says it of is looked at no more.
    fn round(
        &mut self,
        shared: &Arc<Shared>,
        mut is_settled: impl FnMut(&mut Round<'_>, &mut Target) -> bool,
    ) {
        let mut round = Round::new(shared, Parcel::of(&self.message), self.promise, self.notice);
        self.without_room.retain_mut(|target| !is_settled(&mut round, target));
        self.sent.add(round.end(&self.without_room));
    }

    fn is_offered(&self) -> bool {
        self.without_room.iter().any(|target| target.offered.is_some())
    }

    /// Our turn is over. It is that of receivers of this message that had none and can be offered it, and then, until `then`, of
    /// other messages.
    fn pass_on(&mut self, shared: &Arc<Shared>, then: Instant) -> Turn {
        if !self.settle(shared) {
            return Turn::Anybodys;
        }
        self.round(shared, |round, target| !target.had_turn && round.give(target));
        if self.is_offered() {
            return Turn::Ours(then);
        }
        // Stable: whoever had none is the first to be asked when it is our turn again.
        self.without_room.sort_by_key(|target| target.had_turn);
        self.without_room.iter_mut().for_each(|target| target.had_turn = false);
        Turn::Others(then)
    }

    /// Takes back what was offered and not taken, for which others may wait; whether there was any.
    fn settle(&mut self, shared: &Arc<Shared>) -> bool {
        if !self.is_offered() || !shared.generation.is_ours() {
            return false;
        }
        self.round(shared, |round, target| {
            target.had_turn |= target.offered.is_some();
            round.settle(target)
        });
        shared.bell.notify_space(Space::Any);
        true
    }

    /// Whoever waits leaves the reserve to others, but for what it has offered there.
    fn leave_reserve(&mut self, shared: &Shared) {
        let LoanKind::Record(loan) = &self.message.0 else { return };
        let in_reserve = shared.outbound.lock().arena.record(loan.record).in_reserve();
        if in_reserve {
            self.message = ShmLoan(LoanKind::Small(loan.bytes.to_vec()));
        }
    }

    /// What became of it, and the message; whoever has no room by now, or did not take what it was offered, goes without.
    pub(crate) fn finish(mut self, shared: &Arc<Shared>) -> (Sent, ShmLoan) {
        self.settle(shared);
        miss(shared, &mut self.sent, &self.without_room, self.promise);
        (self.sent, self.message)
    }
}

/// Whoever had no room goes without, and is counted, unless that is since there is no transport any more.
fn miss(shared: &Shared, sent: &mut Sent, without_room: &Targets, promise: Promise) {
    if shared.is_closed() {
        return sent.unserved.extend(without_room.iter().map(|target| closed(target.index)));
    }
    let missed = match promise {
        Promise::BestEffort => &shared.stats.lost_messages,
        Promise::Reliable => &shared.stats.timed_out_messages,
    };
    if !without_room.is_empty() {
        Stats::add(missed, without_room.len() as u64);
        let unserved = without_room.iter().map(|target| Unserved { index: target.index, why: Refusal::Full });
        sent.unserved.extend(unserved);
    }
}

/// The transport is closed to this peer as to all.
const fn closed(index: usize) -> Unserved {
    Unserved { index, why: Refusal::Unreachable(Reason::Closed) }
}

/// What is sent: small bytes from anywhere, or a record of our ring.
#[derive(Clone, Copy)]
enum Parcel<'a> {
    Small(&'a [u8]),
    Record(&'a RecordLoan),
}

impl<'a> Parcel<'a> {
    fn of(message: &'a ShmLoan) -> Self {
        match &message.0 {
            LoanKind::Small(bytes) => Self::Small(bytes),
            LoanKind::Record(loan) => Self::Record(loan),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Record(loan) => loan.bytes.len(),
        }
    }
}

/// One attempt to give a message to some peers, under the lock; who has to be woken is woken after it.
struct Round<'a> {
    shared: &'a Arc<Shared>,
    outbound: MutexGuard<'a, Outbound>,
    parcel: Parcel<'a>,
    promise: Promise,
    notice: Notice,
    sent: Sent,
    asleep: Asleep,
    broken: Vec<(Arc<Link>, Broken)>,
    /// Room came back meanwhile: what a message that became shorter had beyond its end, or what could not be taken back from
    /// whoever looked for room while a copy was made there.
    frees: bool,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Arc<Shared>, parcel: Parcel<'a>, promise: Promise, notice: Notice) -> Self {
        Self::under(shared, shared.outbound.lock(), parcel, promise, notice, Asleep::new())
    }

    /// The same under a lock that is had already, with those who are to be woken for what was done under it.
    fn under(
        shared: &'a Arc<Shared>,
        outbound: MutexGuard<'a, Outbound>,
        parcel: Parcel<'a>,
        promise: Promise,
        notice: Notice,
        asleep: Asleep,
    ) -> Self {
        let (sent, broken) = (Sent::default(), Vec::new());
        Self { shared, outbound, parcel, promise, notice, sent, asleep, broken, frees: false }
    }

    /// The first round, after which it is known who has no room. So many peers of the beginning have the message already.
    fn first(mut self, to: &[Peer<'_>], served: usize) -> (Sent, Targets) {
        self.sent.by_shm = served as u32;
        let mut without_room = Targets::new();
        for (index, &peer) in to.iter().enumerate().skip(served) {
            match self.shared.candidate(peer) {
                Ok(to) => {
                    let outcome = self.attempt(to);
                    let mut target = Target { index, to, offered: None, had_turn: false };
                    if !self.enter(&mut target, outcome) {
                        without_room.push(target);
                    }
                }
                Err(reason) => self.cannot_reach(index, reason),
            }
        }
        (self.end(&without_room), without_room)
    }

    /// Gives the message to one peer, unless it has taken what it was offered; `false` if it has no room for it.
    fn give(&mut self, target: &mut Target) -> bool {
        let before = target.offered.take().map_or(Outcome::Full, |offered| self.outbound.look(offered));
        let outcome = match before {
            Outcome::Full => self.attempt(target.to),
            outcome => outcome,
        };
        self.enter(target, outcome)
    }

    /// Takes back what a peer was offered and did not take; `false` if it has nothing now.
    fn settle(&mut self, target: &mut Target) -> bool {
        let outcome = target.offered.take().map_or(Outcome::Full, |offered| self.outbound.settle(offered));
        self.enter(target, outcome)
    }

    fn attempt(&mut self, to: Locator) -> Outcome {
        let max = self.shared.message_max();
        if self.parcel.len() > max {
            // A loan of a transport with a larger knob.
            Outcome::TooLarge { max }
        } else if to == self.shared.locator {
            self.publish_to_self()
        } else {
            self.publish(&to)
        }
    }

    /// Whether the peer need not be looked at again.
    fn enter(&mut self, target: &mut Target, outcome: Outcome) -> bool {
        let index = target.index;
        match outcome {
            Outcome::Sent => {
                self.sent.by_shm += 1;
                self.outbound.tally.messages += 1;
                self.outbound.tally.bytes += self.parcel.len() as u64;
            }
            Outcome::Offered(offered) => {
                target.offered = Some(offered);
                return false;
            }
            Outcome::Full => return false,
            Outcome::TooLarge { max } => {
                Stats::add(&self.shared.stats.too_large_messages, 1);
                let why = Refusal::TooLarge { len: self.parcel.len(), max };
                self.sent.unserved.push(Unserved { index, why });
            }
            Outcome::Unreachable(reason) => self.cannot_reach(index, reason),
            Outcome::Broken(link, what) => {
                self.broken.push((link, what));
                self.cannot_reach(index, Reason::Protocol(what.0.into()));
            }
        }
        true
    }

    fn cannot_reach(&mut self, index: usize, reason: Reason) {
        self.sent.unserved.push(Unserved { index, why: Refusal::Unreachable(reason) });
    }

    fn publish(&mut self, to: &Locator) -> Outcome {
        match self.parcel {
            Parcel::Record(loan) => {
                self.publish_as(to, Payload::Record { id: loan.record, len: loan.bytes.len() as u32 })
            }
            Parcel::Small(bytes) if bytes.len() <= lane::MESSAGE_MAX => {
                match self.publish_as(to, Payload::Small(bytes)) {
                    Outcome::Full => self.publish_copy(to, bytes),
                    outcome => outcome,
                }
            }
            Parcel::Small(bytes) => self.publish_copy(to, bytes),
        }
    }

    fn publish_as(&mut self, to: &Locator, payload: Payload<'_>) -> Outcome {
        self.outbound.publish(to, payload, (self.promise, self.notice), &mut self.asleep)
    }

    /// A message of the heap for which the lane has no room goes through the ring.
    fn publish_copy(&mut self, to: &Locator, bytes: &[u8]) -> Outcome {
        if self.outbound.closed {
            return Outcome::Unreachable(Reason::Closed);
        }
        let Some(parts) = self.outbound.room(to, bytes.len(), self.promise) else { return Outcome::Full };
        let id = match self.shared.allocate_in(&mut self.outbound, bytes.len(), Claim::Copy(parts)) {
            Ok(id) => id,
            Err(LoanError::Closed) => return Outcome::Unreachable(Reason::Closed),
            Err(_) => return Outcome::Full,
        };
        let at = self.outbound.arena.record(id).payload();
        // Nobody else sees the record yet, and everybody else may send meanwhile.
        let ring = &self.shared.ring;
        MutexGuard::unlocked(&mut self.outbound, || {
            ring.copy_in(at, bytes);
        });
        self.outbound.complete(ring, id, bytes.len());
        let outcome = self.publish_as(to, Payload::Record { id, len: bytes.len() as u32 });
        self.outbound.arena.release(id, Hold::Firm);
        self.frees = true;
        outcome
    }

    /// A message to ourselves needs no link: the receiver gets the record, or a copy of what is beyond its share. No more
    /// than that share waits, one message excepted.
    fn publish_to_self(&mut self) -> Outcome {
        let Self { shared, outbound, parcel, .. } = self;
        let (waiting, bytes) = shared.inbox.waiting();
        let (with_it, quota) = (bytes + parcel.len() as u64, outbound.quota());
        if waiting >= OWN_MESSAGES_MAX || (bytes > 0 && with_it > quota) {
            return Outcome::Full;
        }
        // Everybody else may send while a copy is made.
        let copied = |outbound: &mut MutexGuard<'_, Outbound>, bytes: &[u8]| {
            Body::Copied(MutexGuard::unlocked(outbound, || Short::from(bytes)))
        };
        let body = match *parcel {
            Parcel::Record(loan) if outbound.keep_own(loan.record) => {
                let at = outbound.arena.record(loan.record).payload();
                let bytes = SharedBytes::new(Arc::clone(shared), at, loan.bytes.len());
                Body::Own(OwnRecord { bytes, record: loan.record })
            }
            Parcel::Record(loan) => copied(outbound, &loan.bytes),
            Parcel::Small(bytes) => copied(outbound, bytes),
        };
        let arrival = Arrival::Own(ShmMessage { body, source: shared.locator });
        let refused = if outbound.closed { Some(arrival) } else { shared.inbox.push(arrival) };
        if let Some(refused) = refused {
            // What it has of the ring is given back under the lock.
            MutexGuard::unlocked(outbound, || drop(refused));
            return Outcome::Unreachable(if outbound.closed { Reason::Closed } else { unreceived() });
        }
        let is_filling = outbound.waiters > 0 || waiting + 1 >= OWN_MESSAGES_MAX / 4 || 4 * with_it >= quota;
        if self.notice == Notice::Ring || is_filling {
            shared.bell.ring();
        }
        Outcome::Sent
    }

    /// Wakes who is to be woken, without the lock, since that is a system call.
    fn end(mut self, without_room: &Targets) -> Sent {
        let unrung = if without_room.is_empty() { Vec::new() } else { self.outbound.unrung() };
        let (len, is_quiet) = (self.parcel.len(), self.notice == Notice::Quiet);
        if is_quiet && self.promise == Promise::BestEffort && len > lane::MESSAGE_MAX {
            self.asleep.extend(self.outbound.unrung_of_many(len));
        }
        // Whoever begins to wait after this finds what came back when it looks, under the lock, before it sleeps.
        let is_awaited = self.frees && self.outbound.waiters > 0;
        drop(self.outbound);
        self.asleep.iter().for_each(|link| link.ring());
        if is_awaited {
            self.shared.bell.notify_space(Space::Any);
        }
        if !without_room.is_empty() {
            self.shared.rouse(&unrung);
        }
        for (link, what) in self.broken {
            close_broken(self.shared, &link, what);
        }
        self.sent
    }
}

/// Sends bytes by the lanes of the first of these peers. How many have it.
fn push_to_first(shared: &Shared, bytes: &[u8], to: &[Peer<'_>]) -> usize {
    let mut outbound = shared.outbound.lock();
    let (served, asleep) = to_first(shared, to, |to, asleep| outbound.push(to, bytes, asleep));
    drop(outbound);
    asleep.iter().for_each(|link| link.ring());
    served
}

/// Gives a message to the first of these peers, up to one with whom that takes more than a few stores: the usual case,
/// without what all others need. How many have it, and whom of them to wake.
fn to_first(
    shared: &Shared,
    to: &[Peer<'_>],
    mut give: impl FnMut(&Locator, &mut Asleep) -> bool,
) -> (usize, Asleep) {
    let mut asleep = Asleep::new();
    let mut served = 0;
    for &peer in to {
        if !shared.neighbour(peer).is_some_and(|to| give(to, &mut asleep)) {
            break;
        }
        served += 1;
    }
    (served, asleep)
}

/// A message that leaves the ring does so as a copy.
fn trimmed(shared: &Arc<Shared>, message: ShmLoan) -> ShmLoan {
    match &message.0 {
        LoanKind::Record(loan) if leaves_ring(shared, loan) => ShmLoan(LoanKind::Small(loan.bytes.to_vec())),
        _ => message,
    }
}

/// Whether it has become small, or is a loan of another transport.
fn leaves_ring(shared: &Arc<Shared>, loan: &RecordLoan) -> bool {
    loan.bytes.len() <= lane::MESSAGE_MAX || !Arc::ptr_eq(loan.bytes.keeper(), shared)
}

/// How long an offer of so many bytes stands at least: ample for a receiver that reads to be woken and to copy them.
const fn turn(len: usize) -> Duration {
    Duration::from_millis(10).saturating_add(Duration::from_nanos(4 * len as u64))
}

/// Messages to ourselves that may wait to be received.
const OWN_MESSAGES_MAX: usize = 1024;

#[cfg(all(test, not(zerodds_model)))]
mod tests;
