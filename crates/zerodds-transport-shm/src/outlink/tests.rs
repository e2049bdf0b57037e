//! What a link's sender does beside a receiver that takes, keeps and gives back as it is told.

use super::*;
use crate::inlink::{InLink, Taken};
use crate::slots;
use crate::sync::{AtomicU32, AtomicU64};
use crate::sys::Mapping;
use std::sync::atomic::AtomicUsize;

const WAY: Direction = Direction::FromConnector;
const LEN: u32 = 5_000;
const RECORD_LEN: u64 = LEN as u64 + ring::RECORD_HEADER_LEN as u64;
const QUOTA: u64 = 16 << 20;

/// A link that counts how often one of its words is looked at.
struct Watched(Mapping, AtomicUsize);

impl Region for Watched {
    fn u32(&self, at: usize) -> &AtomicU32 {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.u32(at)
    }

    fn u64(&self, at: usize) -> &AtomicU64 {
        self.0.u64(at)
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.0.copy_in(at, from);
    }

    fn copy_out(&self, at: usize, to: &mut [u8]) {
        self.0.copy_out(at, to);
    }
}

/// A sender, and a receiver that keeps everything until it is told to give some of it back.
struct Scene {
    link: Watched,
    arena: Arena,
    out: OutLink,
    incoming: InLink,
    kept: Vec<(u32, u64)>,
}

impl Scene {
    fn new() -> Self {
        let memory = Mapping::anonymous(link::LEN);
        Self {
            link: Watched(memory, AtomicUsize::new(0)),
            arena: Arena::new(ring::HEADER_LEN as u64, 1 << 20, 64 << 20, 1 << 20),
            out: OutLink::new(WAY),
            incoming: InLink::new(WAY, 65 << 20, true),
            kept: Vec::new(),
        }
    }

    /// One send by a sender that looks for what was given back; how many words it looked at.
    fn send(&mut self, promise: Promise, quota: u64) -> (Published, usize) {
        let looks = |link: &Watched| link.1.load(std::sync::atomic::Ordering::Relaxed);
        let before = looks(&self.link);
        let Self { link, arena, out, .. } = self;
        out.reap(link, arena).expect("a correct receiver");
        let published = self.send_on(promise, quota);
        (published, looks(&self.link) - before)
    }

    /// One send by a sender that does not.
    fn send_on(&mut self, promise: Promise, quota: u64) -> Published {
        let Self { link, arena, out, .. } = self;
        let id = arena.allocate(RECORD_LEN, Parts::All, |_, _| false).expect("room");
        let payload = Payload::Record { id, len: LEN };
        let published = out.publish(link, arena, payload, promise, quota).expect("a correct receiver");
        arena.release(id, Hold::Firm);
        published
    }

    /// Where a copy would be of use.
    fn room(&mut self, promise: Promise, quota: u64) -> Option<Parts> {
        let Self { link, arena, out, .. } = self;
        out.room(link, arena, (RECORD_LEN, promise), quota).expect("a correct receiver")
    }

    fn take(&mut self) {
        let taken = self.incoming.take(&self.link, |_, _| Ok(()), |_, _| {}).expect("in order");
        if let Some(Taken::InPlace { handle, position, .. }) = taken {
            self.kept.push((handle, position));
        }
    }

    fn give_back(&mut self, index: usize) {
        let (handle, position) = self.kept.swap_remove(index);
        slots::release(&self.link, WAY, handle, position);
    }
}

#[test]
fn a_send_looks_at_no_more_words_however_much_its_receiver_holds() {
    let mut scene = Scene::new();
    for _ in 0..1_000 {
        let (_, looks) = scene.send(Promise::Reliable, QUOTA);
        let looked = |scene: &Scene| scene.link.1.load(std::sync::atomic::Ordering::Relaxed);
        let before = looked(&scene);
        assert_ne!(scene.room(Promise::Reliable, QUOTA), None);
        let looks = looks.max(looked(&scene) - before);
        scene.take();
        assert!(looks < 64, "{looks} looks beside {} messages that are held", scene.kept.len());
    }
    assert_eq!(scene.kept.len(), 1_000);
}

#[test]
fn a_handle_that_was_given_back_is_found_when_there_is_no_other() {
    let mut scene = Scene::new();
    for sent in 0..2 * link::HANDLES {
        assert_eq!(scene.send_on(Promise::Reliable, QUOTA), Published::Yes);
        scene.take();
        assert_eq!(scene.kept.len(), 1, "message {sent} is read in place");
        scene.give_back(0);
    }
}

#[test]
fn what_is_given_back_anywhere_among_what_is_held_is_found_in_a_few_sends() {
    let mut scene = Scene::new();
    for _ in 0..640 {
        scene.send(Promise::Reliable, QUOTA);
        scene.take();
    }
    for index in [0, 300, 600] {
        scene.give_back(index);
    }
    let sends = 640 / LOOKS_MAX + 1;
    for _ in 0..sends {
        scene.send(Promise::Reliable, QUOTA);
    }
    assert_eq!(scene.arena.live(), 640 - 3 + sends);
}

#[test]
fn nobody_is_refused_for_want_of_what_was_given_back() {
    let mut scene = Scene::new();
    let quota = 200 * (RECORD_LEN.next_multiple_of(ring::UNIT as u64));
    for _ in 0..199 {
        scene.send(Promise::Reliable, quota);
        scene.take();
    }
    // One waits, and the quota is full: the next one would wait as well.
    assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Yes);
    assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Full);
    for index in (0..199).rev() {
        scene.give_back(index);
        assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Yes, "{index} was given back");
        assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Full);
    }
}

#[test]
fn no_copy_is_made_for_a_link_without_a_slot_until_something_is_taken() {
    let mut scene = Scene::new();
    // One slot is that of the next message.
    for _ in 1..link::SLOTS {
        assert_ne!(scene.room(Promise::Reliable, QUOTA), None);
        assert_eq!(scene.send(Promise::Reliable, QUOTA).0, Published::Yes);
    }
    assert_eq!(scene.room(Promise::Reliable, QUOTA), None);
    scene.take();
    assert_eq!(scene.room(Promise::Reliable, QUOTA), Some(Parts::Main));
}

#[test]
fn no_copy_is_made_for_a_link_without_a_slot_whose_oldest_message_is_an_offer() {
    let mut scene = Scene::new();
    let all =
        scene.arena.allocate(scene.arena.capacity().0, Parts::Main, |_, _| false).expect("nothing is there");
    assert!(matches!(scene.send(Promise::Reliable, QUOTA).0, Published::Offered(_)));
    scene.arena.release(all, Hold::Firm);
    (2..link::SLOTS).for_each(|_| assert_eq!(scene.send(Promise::BestEffort, QUOTA).0, Published::Yes));
    assert_eq!(scene.room(Promise::BestEffort, QUOTA), None);
    assert_eq!(scene.send(Promise::BestEffort, QUOTA).0, Published::Full);
}

#[test]
fn no_copy_is_made_in_the_reserve_where_it_would_have_to_wait() {
    let mut scene = Scene::new();
    assert_eq!(scene.room(Promise::Reliable, QUOTA), Some(Parts::All));
    scene.send(Promise::BestEffort, QUOTA);
    assert_eq!(scene.room(Promise::BestEffort, QUOTA), Some(Parts::All), "it can be taken back");
    assert_eq!(scene.room(Promise::Reliable, QUOTA), Some(Parts::Main));
    scene.send(Promise::Reliable, QUOTA);
    assert_eq!(scene.room(Promise::BestEffort, QUOTA), Some(Parts::Main), "behind what is firm it cannot");
    scene.take();
    scene.take();
    assert_eq!(scene.room(Promise::Reliable, QUOTA), Some(Parts::All));
}

#[test]
fn what_is_best_effort_behind_what_is_firm_stays_within_the_quota_and_out_of_the_reserve() {
    let record = RECORD_LEN.next_multiple_of(ring::UNIT as u64);
    let quota = 10 * record;
    let mut scene = Scene::new();
    assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Yes);
    let sent = (0..100).filter(|_| scene.send(Promise::BestEffort, quota).0 == Published::Yes).count();
    assert_eq!((sent, scene.out.pinned()), (9, quota), "what cannot be taken back is bounded");
    // Once the firm one is taken, everything can be.
    scene.take();
    let Scene { link, arena, out, .. } = &mut scene;
    out.reap(link, arena).expect("a correct receiver");
    let newest = out.queued.back().expect("nobody took it").record;
    let start = arena.record(newest).start;
    out.take_back(link, arena, newest, Claim::Loan).expect("a correct receiver");
    assert!(!arena.is_live(newest, start));
}

#[test]
fn where_messages_make_way_the_oldest_that_stays_has_time_to_be_copied() {
    let mut scene = Scene::new();
    (1..link::SLOTS).for_each(|_| assert_eq!(scene.send(Promise::BestEffort, QUOTA).0, Published::Yes));
    for made_way in [DROPPED_AT_ONCE as u64, 0, 0, 0] {
        assert_eq!(scene.send(Promise::BestEffort, QUOTA).0, Published::Yes);
        assert_eq!(scene.out.take_lost(), made_way);
    }
    let Scene { link, arena, out, .. } = &mut scene;
    let oldest = out.queued.front().expect("many").record;
    out.take_back(link, arena, oldest, Claim::Loan).expect("a correct receiver");
    assert_eq!(out.take_lost(), 1 + DROPPED_AT_ONCE as u64);
}

#[test]
fn what_is_reliable_finds_room_behind_best_effort_that_nobody_takes() {
    for (count, quota) in [(20, 10 * RECORD_LEN.next_multiple_of(ring::UNIT as u64)), (link::SLOTS, QUOTA)] {
        let mut scene = Scene::new();
        for _ in 0..count {
            assert_eq!(scene.send(Promise::BestEffort, quota).0, Published::Yes);
        }
        assert_eq!(scene.send(Promise::Reliable, quota).0, Published::Yes);
        assert!(scene.out.take_lost() > 0, "it took the place of another");
    }
}

#[test]
fn what_is_read_in_place_leaves_room_for_a_largest_record_however_many_links_read() {
    let mut scene = Scene::new();
    let (main, reserve) = scene.arena.capacity();
    let mut links: Vec<_> = (0..100).map(|_| OutLink::new(WAY)).collect();
    let fresh = || Mapping::anonymous(link::LEN);
    let memories: Vec<_> = links.iter().map(|_| fresh()).collect();
    let mut in_place = 0;
    for (out, memory) in links.iter_mut().zip(&memories) {
        // A message for each, which may be read in place as the only one, whatever the share.
        let id = scene.arena.allocate(reserve, Parts::All, |_, _| false);
        let Some(id) = id else { break };
        let payload = Payload::Record { id, len: LEN };
        let published = out.publish(memory, &mut scene.arena, payload, Promise::BestEffort, 0);
        assert_eq!(published, Ok(Published::Yes));
        scene.arena.release(id, Hold::Firm);
        in_place += u64::from(out.queued[0].handle.is_some());
    }
    assert_eq!(in_place * reserve, main - reserve);
    for out in &mut links {
        out.abandon(&mut scene.arena);
    }
    assert_eq!(scene.arena.live(), 0);
}
