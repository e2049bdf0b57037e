//! Long schedules, drawn from a seed by shuttle: one sender of reliable and best-effort messages of every kind, two receivers that
//! sleep, keep what they take for a while, give it back in any order and may leave at any moment.
//!
//! ```text
//!   sender: arena ─┬─ OutLink ══ lane, slots, bell ══ InLink :receiver 0
//!                  └─ OutLink ══ lane, slots, bell ══ InLink :receiver 1
//! ```
//! The oracle: each receiver has every message once, in order, with its own bytes from taking to giving back, but for those that
//! were refused, which come last, and those that were counted as lost. Afterwards nothing is referenced.
//!
//! `ZERODDS_SCHEDULES` says how many are drawn. A schedule that fails is printed, and repeated by [`shuttle::replay`].

use super::*;
use crate::arena::{Arena, Hold, Parts, RecordId};
use crate::doorbell::Space;
use crate::inlink::{InLink, Taken};
use crate::outlink::{OutLink, Payload, Published};
use crate::promise::{Claim, Offer, Promise, Standing};
use crate::region::Broken;
use crate::slots;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::sync::atomic::AtomicU8;
use shuttle::thread;

/// A byte of payload that several threads reach. Each access is a step of the schedule, so that a writer that comes between those
/// of one copy tears it.
pub(super) struct Byte(AtomicU8);

impl Byte {
    pub(super) fn new(value: u8) -> Self {
        Self(AtomicU8::new(value))
    }

    pub(super) fn set(&self, value: u8) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

const RECEIVERS: usize = 2;
const MESSAGES: u64 = 60;
/// Read in place where there is room; shorter ones are copied out of the ring.
const LONG: u64 = 5_000;
const SHORT: u64 = 1_000;
const MAIN: u64 = 24 << 10;
const RESERVE: u64 = 8 << 10;

/// What all threads reach: a link and a bell for each receiver, the sender's bell, and what stands in the ring.
struct World {
    links: [Model; RECEIVERS],
    sender: Model,
    /// The number of the message whose bytes lie there, for each unit of the ring where a payload can start.
    ring: Vec<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let units = (ring::HEADER_LEN as u64 + MAIN + RESERVE) / ring::UNIT as u64;
        Self {
            links: [Model::new(), Model::new()],
            sender: Model::new(),
            ring: (0..units).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
    }

    /// The word that stands for the payload at this offset of the ring.
    fn payload(&self, at: usize) -> &AtomicU64 {
        &self.ring[at / ring::UNIT]
    }

    /// A receiver has given something back.
    fn tell_sender(&self) {
        if doorbell::notify_space(&self.sender, Space::Any) {
            self.sender.wake();
        }
    }
}

/// What became of one message on its way to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    /// Best effort, and there was no room.
    NotAccepted,
    Refused,
}

struct Sender {
    world: Arc<World>,
    arena: Arena,
    outs: [OutLink; RECEIVERS],
    rung: [u32; RECEIVERS],
    /// Best-effort messages that were taken back.
    lost: [u64; RECEIVERS],
}

impl Sender {
    fn new(world: Arc<World>) -> Self {
        Self {
            world,
            arena: Arena::new(ring::HEADER_LEN as u64, MAIN, MAIN, RESERVE),
            outs: [OutLink::new(WAY), OutLink::new(WAY)],
            rung: [doorbell::NEVER_RUNG; RECEIVERS],
            lost: [0; RECEIVERS],
        }
    }

    fn send(&mut self, number: u64, promise: Promise, len: Option<u64>) -> [Fate; RECEIVERS] {
        let small = number.to_le_bytes();
        let record = len.map(|len| self.record(number, promise, len));
        let payload = match (record, len) {
            (Some(None), _) => return [Fate::NotAccepted; RECEIVERS],
            (Some(Some(id)), Some(len)) => Payload::Record { id, len: len as u32 },
            _ => Payload::Small(&small),
        };
        let fates = [0, 1].map(|receiver| self.give(receiver, payload, promise));
        if let Some(Some(id)) = record {
            self.arena.release(id, Hold::Firm);
        }
        fates
    }

    /// A record with the number as its payload; `None`: best effort finds no room.
    fn record(&mut self, number: u64, promise: Promise, len: u64) -> Option<RecordId> {
        let len = len + ring::RECORD_HEADER_LEN as u64;
        let attempt = |sender: &mut Self| {
            sender.reap_all();
            sender.allocate(len)
        };
        let id = match (attempt(self), promise) {
            (None, Promise::Reliable) => self.wait(attempt),
            (found, _) => found?,
        };
        let at = self.arena.record(id).payload();
        self.world.payload(at).store(number, Ordering::Relaxed);
        Some(id)
    }

    fn allocate(&mut self, len: u64) -> Option<RecordId> {
        let Self { world, arena, outs, .. } = self;
        arena.allocate(len, Parts::All, |arena, id| {
            let start = arena.record(id).start;
            for (out, link) in outs.iter_mut().zip(&world.links) {
                out.take_back(link, arena, id, Claim::Loan).expect("a correct receiver");
            }
            !arena.is_live(id, start)
        })
    }

    fn reap_all(&mut self) {
        for (out, link) in self.outs.iter_mut().zip(&self.world.links) {
            out.reap_all(link, &mut self.arena).expect("a correct receiver");
        }
    }

    fn give(&mut self, receiver: usize, payload: Payload<'_>, promise: Promise) -> Fate {
        let mut offered = None;
        let fate = match (self.attempt(receiver, payload, promise, &mut offered), promise) {
            (Some(fate), _) => fate,
            (None, Promise::BestEffort) => Fate::NotAccepted,
            (None, Promise::Reliable) => {
                self.wait(|sender| sender.attempt(receiver, payload, promise, &mut offered))
            }
        };
        self.lost[receiver] += self.outs[receiver].take_lost();
        fate
    }

    /// Looks at what was offered, now and then takes it back, and gives the message where nothing is; `None`: it has to wait.
    fn attempt(
        &mut self,
        receiver: usize,
        payload: Payload<'_>,
        promise: Promise,
        offered: &mut Option<Offer>,
    ) -> Option<Fate> {
        if let Some(offer) = offered.take() {
            let (out, link) = (&mut self.outs[receiver], &self.world.links[receiver]);
            if thread_rng().gen_bool(0.5) {
                out.settle(link, &mut self.arena, &offer).expect("a correct receiver");
            } else {
                out.reap(link, &mut self.arena).expect("a correct receiver");
            }
            match offer.standing() {
                Standing::Taken => return Some(Fate::Sent),
                Standing::Open => {
                    *offered = Some(offer);
                    return None;
                }
                Standing::TakenBack => {}
            }
        }
        match self.publish(receiver, payload, promise) {
            Published::Yes => Some(Fate::Sent),
            Published::Refused => Some(Fate::Refused),
            Published::Full => None,
            Published::Offered(offer) => {
                *offered = Some(offer);
                None
            }
        }
    }

    fn publish(&mut self, receiver: usize, payload: Payload<'_>, promise: Promise) -> Published {
        let world = Arc::clone(&self.world);
        let link = &world.links[receiver];
        let outcome = self.outs[receiver].publish(link, &mut self.arena, payload, promise, MAIN / 3);
        link.ring(&mut self.rung[receiver]);
        outcome.expect("a correct receiver")
    }

    /// Sleeps until something is given back, as often as it takes.
    fn wait<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Option<T>) -> T {
        let world = Arc::clone(&self.world);
        loop {
            let armed = doorbell::arm_space(&world.sender, Space::Any);
            let done = attempt(self);
            if done.is_none() {
                world.sender.wait_on(bell::SPACE, armed);
            }
            doorbell::disarm_space(&world.sender, Space::Any);
            if let Some(done) = done {
                return done;
            }
        }
    }
}

/// A message that is read in place.
struct Kept {
    number: u64,
    at: usize,
    handle: u32,
    position: u64,
}

/// Receives until the last message, or leaves after `leaves_after` of them; the numbers that it had.
fn receive(world: &World, own: usize, leaves_after: Option<usize>) -> Result<Vec<u64>, Broken> {
    let link = &world.links[own];
    // One reads in place, the other one copies all, as of another user.
    let mut incoming = InLink::new(WAY, (ring::HEADER_LEN as u64 + MAIN + RESERVE) * 4, own == 0);
    let (mut numbers, mut kept) = (Vec::new(), Vec::<Kept>::new());
    loop {
        if leaves_after == Some(numbers.len()) {
            incoming.close(link);
            world.tell_sender();
        }
        let copy_out = |at: usize, buffer: &mut [u8]| {
            // Not what was sent, if it was revoked meanwhile: then it is not taken.
            buffer[..8].copy_from_slice(&world.payload(at).load(Ordering::Relaxed).to_le_bytes());
            Ok(())
        };
        let give_back = |handle, position| slots::release(link, WAY, handle, position);
        match take(&mut incoming, link, copy_out, give_back)? {
            Some(Taken::Copied { bytes, frees }) => {
                numbers.push(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")));
                if frees {
                    world.tell_sender();
                }
            }
            Some(Taken::InPlace { at, handle, position, .. }) => {
                let number = world.payload(at).load(Ordering::Relaxed);
                numbers.push(number);
                kept.push(Kept { number, at, handle, position });
                // Its slot is free again, its bytes are not yet.
                world.tell_sender();
            }
            None if incoming.is_over(link) => break,
            None => sleep(link, &incoming),
        }
        if numbers.last() == Some(&MESSAGES) {
            break;
        }
        while !kept.is_empty() && thread_rng().gen_range(0..3) > 0 {
            give_back_one(world, own, &mut kept);
        }
    }
    while !kept.is_empty() {
        give_back_one(world, own, &mut kept);
    }
    Ok(numbers)
}

fn sleep(link: &Model, incoming: &InLink) {
    let armed = doorbell::arm(link, Bed::Futex);
    if !incoming.is_ready(link) {
        link.wait_on(bell::BELL, armed);
    }
    doorbell::disarm(link);
}

/// Gives back one of those that are kept, whichever it is.
fn give_back_one(world: &World, own: usize, kept: &mut Vec<Kept>) {
    let message = kept.swap_remove(thread_rng().gen_range(0..kept.len()));
    let found = world.payload(message.at).load(Ordering::Relaxed);
    assert_eq!(found, message.number, "its bytes are its own until it is given back");
    slots::release(&world.links[own], WAY, message.handle, message.position);
    world.tell_sender();
}

/// Sends everything; what became of each message on its way to each receiver.
fn send_all(sender: &mut Sender) -> Vec<(Promise, [Fate; RECEIVERS])> {
    let one = |number| {
        let mut random = thread_rng();
        let promise = if random.gen_bool(0.5) { Promise::Reliable } else { Promise::BestEffort };
        let len = [None, Some(SHORT), Some(LONG), Some(LONG)][random.gen_range(0..4)];
        (promise, sender.send(number, promise, len))
    };
    let mut fates: Vec<_> = (0..MESSAGES).map(one).collect();
    fates.push((Promise::Reliable, sender.send(MESSAGES, Promise::Reliable, None)));
    fates
}

fn one_schedule() {
    let world = Arc::new(World::new());
    let receivers = [0, 1].map(|own| {
        let world = Arc::clone(&world);
        let leaves_after =
            thread_rng().gen_bool(0.5).then(|| thread_rng().gen_range(0..MESSAGES as usize / 2));
        thread::spawn(move || receive(&world, own, leaves_after).expect("a correct sender"))
    });
    let mut sender = Sender::new(world);
    let fates = send_all(&mut sender);
    for (own, receiver) in receivers.into_iter().enumerate() {
        let received = receiver.join().expect("no panic");
        let fates: Vec<_> =
            (0..).zip(&fates).map(|(number, (promise, all))| (number, *promise, all[own])).collect();
        assert!(received.is_sorted_by(|one, other| one < other), "each once and in order: {received:?}");
        let sent: Vec<_> = fates.iter().filter(|&&(_, _, fate)| fate == Fate::Sent).collect();
        assert!(received.iter().all(|number| sent.iter().any(|(sent, ..)| sent == number)), "nothing else");
        let missed = sent.iter().filter(|(number, ..)| !received.contains(number));
        let missed: Vec<_> = missed.map(|(_, promise, _)| *promise).collect();
        assert!(!missed.contains(&Promise::Reliable), "what is reliable is received or refused");
        sender.lost[own] += sender.outs[own].take_lost();
        assert_eq!(missed.len() as u64, sender.lost[own], "what is lost is counted");
        let refused = fates.iter().skip_while(|&&(_, _, fate)| fate != Fate::Refused);
        assert!(
            refused.clone().all(|&(_, _, fate)| fate != Fate::Sent),
            "nothing is sent after what was refused"
        );
    }
    sender.reap_all();
    assert_eq!(sender.arena.live(), 0, "nothing is referenced any more");
}

fn schedules() -> usize {
    let words = std::env::var("ZERODDS_SCHEDULES").ok();
    words.map_or(1_000, |words| words.parse().expect("ZERODDS_SCHEDULES is a number of schedules"))
}

#[test]
fn whatever_the_schedule_each_message_is_received_once_in_order_or_counted_or_refused() {
    shuttle::check_random(one_schedule, schedules());
}

/// Threads that are starved for long, which schedules drawn step by step hardly have.
#[test]
fn the_same_where_threads_are_starved() {
    shuttle::check_pct(one_schedule, schedules(), 4);
}
