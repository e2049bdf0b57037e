//! The sending half of a link: what was sent to one peer, and who still has it.
//!
//! ```text
//!   publish ──▶ queued (READY) ──taken in place──▶ held ──released──▶ reference dropped
//!                  │ └─taken by copy──────────────────────────────▶ reference dropped
//!                  ├─revoked (best effort)────────────────────────▶ reference dropped, counted lost
//!                  ├─revoked (an offer)───────────────────────────▶ reference dropped, the send goes on
//!                  └─refused (the receiver has closed the link)────▶ reference dropped, the send says so
//! ```
//! All of it is private to the sender. The peer's words are read through [`LaneWriter`] and [`SlotWriter`],
//! which check them; the first inconsistency is an error that closes the link.

use crate::arena::{Arena, Hold, Parts, Record, RecordId};
use crate::doorbell::Space;
use crate::ending;
use crate::lane::LaneWriter;
use crate::layout::{Direction, lane, link, ring, slot};
use crate::promise::{Claim, Offer, Promise, Standing};
use crate::region::{Broken, Region};
use crate::slots::SlotWriter;
use std::collections::VecDeque;

/// What is to be sent: bytes for the lane, or a record of the ring.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Small(&'a [u8]),
    Record { id: RecordId, len: u32 },
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Yes,
    /// It is sent once the receiver has taken it.
    Offered(Offer),
    /// There is no room for it now.
    Full,
    /// The receiver has closed the link: it will not take this message, nor any later one.
    Refused,
}

/// The sending half of one link.
#[derive(Debug)]
pub(crate) struct OutLink {
    direction: Direction,
    lane: LaneWriter,
    slots: SlotWriter,
    /// Number of the next message.
    message: u64,
    queued: VecDeque<Queued>,
    held: Vec<Held>,
    /// Position and bytes of the one that was taken last, if it is held.
    newest: Option<(u64, u64)>,
    /// Which of those held is looked at next.
    look: usize,
    free_handles: Vec<u32>,
    handles_made: u32,
    /// Ring bytes that queued and held messages pin.
    pinned: u64,
    /// Those of the queued ones.
    waiting: u64,
    /// Best-effort messages that were taken back.
    lost: u64,
    /// Nothing is published any more.
    over: Option<Over>,
}

/// Why nothing is published on a link any more.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// A message was refused.
    Refused,
    /// The peer broke the protocol when it was asked whether it takes one.
    Broken(Broken),
}

#[derive(Debug)]
struct Queued {
    record: RecordId,
    bytes: u64,
    /// `None`: the receiver copies before it takes.
    handle: Option<u32>,
    promise: Promise,
    /// Reliable, in the reserve, and the only one that was queued when it came: so it is the oldest, and can be revoked, until
    /// it is taken.
    offer: Option<Offer>,
}

impl Queued {
    fn yields_to(&self, claim: Claim) -> bool {
        self.promise == Promise::BestEffort || (self.offer.is_some() && claim == Claim::Loan)
    }

    /// Whether it can be taken back.
    const fn hold(&self) -> Hold {
        match (self.promise, &self.offer) {
            (Promise::Reliable, None) => Hold::Firm,
            (Promise::BestEffort, _) | (_, Some(_)) => Hold::Loose,
        }
    }
}

#[derive(Debug)]
struct Held {
    record: RecordId,
    bytes: u64,
    handle: u32,
    position: u64,
}

impl OutLink {
    /// A link on which nothing was sent yet.
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            lane: LaneWriter::new(direction),
            slots: SlotWriter::new(direction),
            message: 0,
            queued: VecDeque::new(),
            held: Vec::new(),
            newest: None,
            look: 0,
            free_handles: Vec::new(),
            handles_made: 0,
            pinned: 0,
            waiting: 0,
            lost: 0,
            over: None,
        }
    }

    /// Sends a message: a small one in the lane, a record of the ring through a slot. At most `quota` bytes of the
    /// ring may be pinned by this link, one message excepted.
    pub(crate) fn publish(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        payload: Payload<'_>,
        promise: Promise,
        quota: u64,
    ) -> Result<Published, Broken> {
        let (id, len) = match payload {
            Payload::Small(bytes) => return self.push(region, bytes),
            Payload::Record { id, len } => (id, len),
        };
        if self.give(region, arena, (id, len), promise, quota)? {
            return Ok(Published::Yes);
        }
        if self.over.is_some() {
            return self.outcome(Published::Refused);
        }
        let mut offered = None;
        if !self.has_slot(region, arena)? {
            return Ok(Published::Full);
        }
        let record = *arena.record(id);
        if record.in_reserve() || self.is_over(quota, &record) || self.has_no_handle() {
            self.reap(region, arena)?;
        }
        let mut admission = self.admit(arena, id, promise, quota);
        if matches!(admission, Admission::Refused) {
            // Whoever is refused may sleep until something is given back: nothing that was may be overlooked.
            self.reap_all(region, arena)?;
            admission = self.admit(arena, id, promise, quota);
        }
        // What is best effort makes way for what is reliable.
        while promise == Promise::Reliable
            && matches!(admission, Admission::Refused)
            && self.drop_oldest(region, arena)?
        {
            admission = self.admit(arena, id, promise, quota);
        }
        let handle = match admission {
            Admission::Refused => return Ok(Published::Full),
            Admission::InPlace(handle) => Some(handle),
            Admission::Copied => None,
            Admission::Offered => {
                offered = Some(Offer::default());
                None
            }
        };
        let message = Queued { record: id, bytes: record.len, handle, promise, offer: offered.clone() };
        self.post(region, arena, len, message);
        self.outcome(offered.map_or(Published::Yes, Published::Offered))
    }

    /// Sends a record that is read in place, if nothing stands in the way of that.
    pub(crate) fn give(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        (id, len): (RecordId, u32),
        promise: Promise,
        quota: u64,
    ) -> Result<bool, Broken> {
        if self.over.is_some() || self.slots.is_full(region)? {
            return Ok(false);
        }
        let record = arena.record(id);
        if record.in_reserve() || self.is_over(quota, record) || !arena.may_be_held(id) {
            return Ok(false);
        }
        let Some(handle) = self.handle() else { return Ok(false) };
        let bytes = record.len;
        let message = Queued { record: id, bytes, handle: Some(handle), promise, offer: None };
        self.post(region, arena, len, message);
        Ok(self.over.is_none())
    }

    /// A release handle that nobody has.
    fn handle(&mut self) -> Option<u32> {
        if self.has_no_handle() {
            return None;
        }
        self.free_handles.pop().or_else(|| {
            self.handles_made += 1;
            Some(self.handles_made - 1)
        })
    }

    fn has_no_handle(&self) -> bool {
        self.free_handles.is_empty() && self.handles_made as usize == link::HANDLES
    }

    /// Sends a small message, which goes through the lane and pins nothing.
    pub(crate) fn push(&mut self, region: &impl Region, bytes: &[u8]) -> Result<Published, Broken> {
        debug_assert!(bytes.len() <= lane::MESSAGE_MAX, "larger messages are records");
        if self.over.is_some() {
            return self.outcome(Published::Refused);
        }
        if !self.lane.push(region, self.message, bytes)? {
            return Ok(Published::Full);
        }
        self.look_at_end(region);
        self.outcome(Published::Yes)
    }

    /// Finds out whether the receiver takes the message that was just published, or will.
    fn look_at_end(&mut self, region: &impl Region) {
        let message = self.message;
        self.message += 1;
        self.over = match ending::is_refused(region, self.direction, message) {
            Ok(false) => None,
            Ok(true) => Some(Over::Refused),
            Err(broken) => Some(Over::Broken(broken)),
        };
    }

    /// What became of a message, of which this is to be said while nothing is over.
    fn outcome(&self, published: Published) -> Result<Published, Broken> {
        match self.over {
            None => Ok(published),
            Some(Over::Refused) => Ok(Published::Refused),
            Some(Over::Broken(broken)) => Err(broken),
        }
    }

    /// Drops the references of what was taken and copied, and of what was given back as far as a bounded look at what is
    /// held shows it; the next call goes on from there. So a send costs the same however much a receiver holds.
    pub(crate) fn reap(&mut self, region: &impl Region, arena: &mut Arena) -> Result<(), Broken> {
        self.reap_held(region, arena, self.held.len().min(LOOKS_MAX));
        self.reap_taken(region, arena)
    }

    /// The same for everything that was given back by now: where somebody would otherwise wait or go without.
    pub(crate) fn reap_all(&mut self, region: &impl Region, arena: &mut Arena) -> Result<(), Broken> {
        // Removing swaps the last one in, so one walk meets all of them only from the beginning.
        self.look = 0;
        self.reap_held(region, arena, self.held.len());
        // Of these it is looked at as well whether they were given back.
        self.reap_taken(region, arena)
    }

    /// Notices what the receiver has taken.
    fn reap_taken(&mut self, region: &impl Region, arena: &mut Arena) -> Result<(), Broken> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let cursor = self.slots.cursor(region)?;
        while self.oldest() < cursor {
            let position = self.oldest();
            let Some(taken) = self.queued.pop_front() else { break };
            match taken.handle {
                Some(handle) => {
                    self.waiting -= taken.bytes;
                    if taken.hold() == Hold::Loose {
                        arena.make_firm(taken.record);
                    }
                    let held = Held { record: taken.record, bytes: taken.bytes, handle, position };
                    if self.slots.is_released(region, handle, position) {
                        self.forget(arena, &held);
                    } else {
                        self.newest = Some((position, held.bytes));
                        self.held.push(held);
                    }
                }
                None => self.dequeue(arena, taken, Standing::Taken),
            }
        }
        Ok(())
    }

    /// Looks at so many of those that are held, in turn, and drops the references of those given back.
    fn reap_held(&mut self, region: &impl Region, arena: &mut Arena, looks: usize) {
        for _ in 0..looks {
            if self.look >= self.held.len() {
                self.look = 0;
            }
            let Some(held) = self.held.get(self.look) else { return };
            if self.slots.is_released(region, held.handle, held.position) {
                let held = self.held.swap_remove(self.look);
                self.forget(arena, &held);
            } else {
                self.look += 1;
            }
        }
    }

    /// Drops the reference of what was given back.
    fn forget(&mut self, arena: &mut Arena, held: &Held) {
        self.newest = self.newest.filter(|&(position, _)| position != held.position);
        self.free_handles.push(held.handle);
        self.pinned -= held.bytes;
        arena.let_go(held.record);
        arena.release(held.record, Hold::Firm);
    }

    /// Whether what references `record` here could be taken back: all that is queued before it goes with it.
    pub(crate) fn yields(&self, record: RecordId, claim: Claim) -> bool {
        let last = self.queued.iter().rposition(|queued| queued.record == record);
        last.is_none_or(|last| self.queued.iter().take(last + 1).all(|queued| queued.yields_to(claim)))
    }

    /// Whether a message in this record waits here.
    pub(crate) fn is_queued(&self, record: RecordId) -> bool {
        self.queued.iter().any(|queued| queued.record == record)
    }

    /// Takes back what [yields](Self::yields) to this claim, oldest first, up to the last that references `record`; what the
    /// receiver takes meanwhile stays taken.
    pub(crate) fn take_back(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        record: RecordId,
        claim: Claim,
    ) -> Result<(), Broken> {
        let Some(last) = self.queued.iter().rposition(|queued| queued.record == record) else {
            return Ok(());
        };
        if !self.yields(record, claim) {
            return Ok(());
        }
        let target = self.oldest() + last as u64;
        let mut is_revoked = false;
        while !self.queued.is_empty() && self.oldest() <= target {
            is_revoked = self.revoke_oldest(region, arena)?;
            if !is_revoked {
                self.reap(region, arena)?;
            }
        }
        if is_revoked {
            self.drop_some(region, arena)?;
        }
        Ok(())
    }

    /// The link is being left: takes back what can be before the first message that cannot. All others
    /// stay for the peer, who drains the link; what it has taken it keeps until it says otherwise. A peer that
    /// breaks the protocol even now keeps everything.
    pub(crate) fn withdraw(&mut self, region: &impl Region, arena: &mut Arena) {
        while self.queued.front().is_some_and(|queued| queued.hold() == Hold::Loose) {
            let step = match self.revoke_oldest(region, arena) {
                Ok(true) => Ok(()),
                Ok(false) => self.reap(region, arena),
                Err(broken) => Err(broken),
            };
            if step.is_err() {
                return;
            }
        }
    }

    /// Drops every reference: nobody reads this link's messages any more.
    pub(crate) fn abandon(&mut self, arena: &mut Arena) {
        while let Some(queued) = self.queued.pop_front() {
            self.dequeue(arena, queued, Standing::TakenBack);
        }
        for held in self.held.drain(..) {
            arena.let_go(held.record);
            arena.release(held.record, Hold::Firm);
        }
    }

    /// An offer that was not taken by now is taken back.
    pub(crate) fn settle(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        offer: &Offer,
    ) -> Result<(), Broken> {
        if offer.standing() == Standing::Open && !self.revoke_oldest(region, arena)? {
            self.reap(region, arena)?;
        }
        Ok(())
    }

    /// Best-effort messages taken back since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Ring bytes that this link pins.
    pub(crate) const fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Those of them that the receiver has not taken.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Ring bytes of what the receiver has not taken, and of what it reads, where it will tell that it gave that back.
    pub(crate) fn behind(&self) -> u64 {
        self.waiting + self.reading()
    }

    /// Ring bytes of the message that the receiver has taken last and not given back, if it is much by itself.
    fn reading(&self) -> u64 {
        let oldest = self.oldest();
        let reading =
            self.newest.filter(|(position, _)| position + 1 == oldest).map_or(0, |(_, bytes)| bytes);
        match Space::of((reading as usize).saturating_sub(ring::RECORD_HEADER_LEN)) {
            Space::Much => reading,
            Space::Any => 0,
        }
    }

    /// Whether a quarter of what this link may take waits to be taken: of its lane, its slots or its `quota` of the ring.
    pub(crate) fn is_filling(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        quota: u64,
    ) -> Result<bool, Broken> {
        let much = |out: &Self| 4 * out.queued.len() >= link::SLOTS || 4 * out.waiting >= quota;
        if much(self) {
            self.reap(region, arena)?;
        }
        Ok(much(self) || self.lane.is_filling(region)?)
    }

    /// Ring bytes of the message that the receiver takes next, if it lies there, or of the one that it reads, if that is longer.
    pub(crate) fn next_len(&self) -> u64 {
        self.queued.front().map_or(0, |queued| queued.bytes).max(self.reading())
    }

    /// Whether nothing of the ring is referenced by this link.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.held.is_empty()
    }

    fn oldest(&self) -> u64 {
        self.slots.head() - self.queued.len() as u64
    }

    fn has_slot(&mut self, region: &impl Region, arena: &mut Arena) -> Result<bool, Broken> {
        if !self.slots.is_full(region)? {
            return Ok(true);
        }
        self.reap(region, arena)?;
        if !self.slots.is_full(region)? {
            return Ok(true);
        }
        self.drop_some(region, arena)
    }

    /// Makes way for a message: several at once, or the oldest that is left would be gone each time before its receiver has
    /// copied it; no more once the receiver takes for itself. Whether the oldest, which was best effort, is queued no more.
    fn drop_some(&mut self, region: &impl Region, arena: &mut Arena) -> Result<bool, Broken> {
        for dropped in 0..(self.queued.len() / 3).min(DROPPED_AT_ONCE) {
            let lost = self.lost;
            if !self.drop_oldest(region, arena)? {
                return Ok(dropped > 0);
            }
            if self.lost == lost {
                break;
            }
        }
        Ok(true)
    }

    /// Where in the ring a record of this length would find that it need not wait; `None` if nowhere.
    pub(crate) fn room(
        &mut self,
        region: &impl Region,
        arena: &mut Arena,
        (len, promise): (u64, Promise),
        quota: u64,
    ) -> Result<Option<Parts>, Broken> {
        if !self.takes_anywhere(promise) {
            self.reap(region, arena)?;
        }
        if self.takes_anywhere(promise) && (self.makes_way() || !self.slots.is_full(region)?) {
            return Ok(Some(Parts::All));
        }
        if self.must_wait(region, len, promise, quota)? {
            // Whoever waits may sleep until something is given back: nothing that was may be overlooked.
            self.reap_all(region, arena)?;
        }
        Ok((!self.must_wait(region, len, promise, quota)?).then_some(Parts::Main))
    }

    /// Whether there is no slot or no quota, and what is best effort does not make way.
    fn must_wait(
        &mut self,
        region: &impl Region,
        len: u64,
        promise: Promise,
        quota: u64,
    ) -> Result<bool, Broken> {
        let makes_way = self.makes_way();
        let is_over = self.pinned + len > quota && !(makes_way && promise == Promise::Reliable);
        Ok(is_over || !makes_way && self.slots.is_full(region)?)
    }

    /// Whether a message may lie beyond the quota, and in the reserve: it can be taken back then, which goes by order of sending.
    /// So what is best effort has nothing firm before it, and what is reliable nothing at all.
    fn takes_anywhere(&self, promise: Promise) -> bool {
        match promise {
            Promise::Reliable => self.queued.is_empty(),
            Promise::BestEffort => self.queued.iter().all(|queued| queued.hold() == Hold::Loose),
        }
    }

    /// Whether the oldest message is best effort. An offer makes way for loans only.
    fn makes_way(&self) -> bool {
        self.queued.front().is_some_and(|queued| queued.promise == Promise::BestEffort)
    }

    /// Makes way for a message: whether the oldest one was best effort, and is queued no more.
    fn drop_oldest(&mut self, region: &impl Region, arena: &mut Arena) -> Result<bool, Broken> {
        if !self.makes_way() {
            return Ok(false);
        }
        if !self.revoke_oldest(region, arena)? {
            self.reap(region, arena)?;
        }
        Ok(true)
    }

    /// Whether the oldest queued message was taken back; otherwise the receiver has just taken it.
    fn revoke_oldest(&mut self, region: &impl Region, arena: &mut Arena) -> Result<bool, Broken> {
        if self.queued.is_empty() || !self.slots.revoke(region, self.oldest())? {
            return Ok(false);
        }
        if let Some(revoked) = self.queued.pop_front() {
            self.lost += u64::from(revoked.promise == Promise::BestEffort);
            self.dequeue(arena, revoked, Standing::TakenBack);
        }
        Ok(true)
    }

    /// Drops the reference of the message published last, of which the receiver reads nothing.
    fn forget_newest(&mut self, arena: &mut Arena) {
        if let Some(refused) = self.queued.pop_back() {
            self.slots.forget_newest();
            self.dequeue(arena, refused, Standing::TakenBack);
        }
    }

    /// Drops the reference of a message that waits no more, and that nobody holds.
    fn dequeue(&mut self, arena: &mut Arena, message: Queued, standing: Standing) {
        self.waiting -= message.bytes;
        self.pinned -= message.bytes;
        if let Some(handle) = message.handle {
            self.free_handles.push(handle);
            arena.let_go(message.record);
        }
        arena.release(message.record, message.hold());
        if let Some(offer) = message.offer {
            offer.set(standing);
        }
    }

    fn is_over(&self, quota: u64, record: &Record) -> bool {
        self.pinned > 0 && self.pinned + record.len > quota
    }

    /// How a record may travel: in place within the quota, otherwise copied by its receiver. What cannot be taken back waits
    /// beyond the quota unless nothing else is queued; and in the reserve it is an offer.
    fn admit(&mut self, arena: &Arena, id: RecordId, promise: Promise, quota: u64) -> Admission {
        let record = arena.record(id);
        let over_quota = self.is_over(quota, record);
        if (over_quota || record.in_reserve()) && !self.takes_anywhere(promise) {
            return Admission::Refused;
        }
        if record.in_reserve() && promise == Promise::Reliable {
            return Admission::Offered;
        }
        if over_quota || !arena.may_be_held(id) {
            return Admission::Copied;
        }
        self.handle().map_or(Admission::Copied, Admission::InPlace)
    }

    /// Publishes a record, and finds out what becomes of it.
    fn post(&mut self, region: &impl Region, arena: &mut Arena, len: u32, message: Queued) {
        self.enqueue(region, arena, len, message);
        self.look_at_end(region);
        if matches!(self.over, Some(Over::Refused)) {
            self.forget_newest(arena);
        }
    }

    fn enqueue(&mut self, region: &impl Region, arena: &mut Arena, len: u32, message: Queued) {
        let offset = arena.record(message.record).payload() / ring::UNIT;
        let word = message.handle.unwrap_or(slot::NO_HANDLE);
        self.slots.publish(region, self.message, offset as u32, len, word);
        self.pinned += message.bytes;
        self.waiting += message.bytes;
        arena.retain(message.record, message.hold());
        if message.handle.is_some() {
            arena.hold(message.record);
        }
        self.queued.push_back(message);
    }
}

/// Held messages that one send looks at: more than a receiver holds that takes and gives back.
const LOOKS_MAX: usize = 32;
/// Best-effort messages that make way where no slot is left.
const DROPPED_AT_ONCE: usize = 8;

enum Admission {
    InPlace(u32),
    Copied,
    Offered,
    Refused,
}

#[cfg(all(test, not(zerodds_model)))]
mod tests;
