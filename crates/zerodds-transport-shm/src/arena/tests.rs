//! Where records are put, what is taken back for them, and that they never overlap.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn arena() -> Arena {
    Arena::new(4096, 1024, 8192, 2048)
}

fn never(_: &mut Arena, _: RecordId) -> bool {
    false
}

#[test]
fn a_drained_ring_starts_again_at_its_warm_beginning() {
    let mut arena = arena();
    for _ in 0..100 {
        let id = arena.allocate(900, Parts::All, never).expect("room");
        assert_eq!(arena.record(id).start, 4096);
        arena.release(id, Hold::Firm);
    }
}

#[test]
fn a_record_that_goes_on_is_put_behind_the_last_one_up_to_the_end_of_what_stays_warm() {
    const LEN: u64 = 1 << 20;
    let mut arena = Arena::new(0, UNIT, 24 * LEN, 8 * LEN);
    for number in 0..WARM_MIN / LEN {
        // The beginning is free again each time.
        let id = arena.go_on(LEN, u64::MAX).expect("room");
        assert_eq!(arena.record(id).start, number * LEN);
        arena.release(id, Hold::Firm);
    }
    assert_eq!(arena.go_on(LEN, u64::MAX), None);
    let at_base = arena.allocate(LEN, Parts::All, never).expect("room");
    assert_eq!(arena.record(at_base).start, 0);
    assert_eq!(arena.go_on(LEN, 2 * LEN - UNIT), None, "that would be beyond the limit");
    let next = arena.go_on(LEN, u64::MAX).expect("room");
    arena.release(at_base, Hold::Firm);
    assert_eq!(arena.record(next).start, LEN);
    arena.confine(2 * LEN);
    assert_eq!(arena.go_on(UNIT, u64::MAX), None, "there is no memory for more");
}

#[test]
fn no_record_goes_on_that_could_not_be_held_for_all_that_is_known() {
    const LEN: u64 = 64 << 10;
    let mut arena = Arena::new(0, UNIT, 16 * LEN, 8 * LEN);
    for _ in 0..8 {
        let id = arena.go_on(LEN, u64::MAX).expect("room");
        arena.hold(id);
    }
    assert_eq!(arena.go_on(UNIT, u64::MAX), None);
    arena.let_go(0);
    assert!(arena.go_on(LEN, u64::MAX).is_some());
}

#[test]
fn a_ring_that_had_to_grow_uses_its_warm_beginning_once_that_is_free_again() {
    const LEN: u64 = 1 << 20;
    let mut arena = Arena::new(0, LEN, 24 * LEN, 8 * LEN);
    let mut live: VecDeque<_> =
        (0..20).map(|_| arena.allocate(LEN, Parts::All, never).expect("room")).collect();
    // The receiver catches up, and is one behind from then on.
    while live.len() > 1 {
        arena.release(live.pop_front().expect("one"), Hold::Firm);
    }
    let starts: Vec<_> = (0..20)
        .map(|_| {
            live.push_back(arena.allocate(LEN, Parts::All, never).expect("room"));
            arena.release(live.pop_front().expect("one"), Hold::Firm);
            arena.record(live[0]).start
        })
        .collect();
    assert_eq!(starts.iter().max(), Some(&(3 * LEN)), "{starts:?}");
}

#[test]
fn a_little_room_at_the_beginning_is_not_walked_back_to() {
    const LEN: u64 = 1 << 20;
    let mut arena = Arena::new(0, UNIT, 24 * LEN, 8 * LEN);
    let first = arena.allocate(UNIT, Parts::All, never).expect("room");
    let live = [(); 10].map(|()| arena.allocate(LEN, Parts::All, never).expect("room"));
    arena.release(first, Hold::Firm);
    arena.shorten(live[9], UNIT);
    let small = arena.allocate(UNIT, Parts::All, never).expect("room");
    assert_eq!(arena.record(small).start, UNIT + 9 * LEN + UNIT);
}

#[test]
fn a_record_that_is_held_for_ever_is_hopped_over() {
    let mut arena = arena();
    let held = arena.allocate(64, Parts::All, never).expect("room");
    let mut last = arena.allocate(500, Parts::All, never).expect("room");
    for _ in 0..1000 {
        let id = arena.allocate(300, Parts::All, never).expect("room");
        arena.release(last, Hold::Firm);
        last = id;
    }
    assert_eq!(arena.record(held).start, 4096);
    assert!(arena.main.soft_end <= 4096 + 2048, "hopping over needs no growth without bound");
}

#[test]
fn what_fits_nowhere_else_goes_to_the_reserve_and_then_nowhere() {
    let mut arena = arena();
    let in_main: Vec<_> = (0..4).map(|_| arena.allocate(2048, Parts::All, never).expect("room")).collect();
    assert!(in_main.iter().all(|&id| !arena.record(id).in_reserve()));
    let reserve = arena.allocate(2048, Parts::All, never).expect("the reserve takes one of the largest size");
    assert!(arena.record(reserve).in_reserve());
    assert_eq!(arena.allocate(64, Parts::All, never), None);
    arena.release(in_main[2], Hold::Firm);
    assert!(arena.allocate(2048, Parts::All, never).is_some());
}

#[test]
fn records_that_can_be_taken_back_make_room() {
    let mut arena = arena();
    while let Some(id) = arena.allocate(512, Parts::All, never) {
        arena.retain(id, Hold::Loose);
        arena.release(id, Hold::Firm);
    }
    let before = arena.live();
    let id = arena.allocate(1024, Parts::All, |arena, id| {
        arena.release(id, Hold::Loose);
        true
    });
    assert!(id.is_some());
    assert_eq!(arena.live(), before - 1, "two records made room for one");
}

#[test]
fn nothing_is_taken_back_in_vain_before_something_that_stays() {
    let mut arena = arena();
    let mut is_loose = false;
    while let Some(id) = arena.allocate(512, Parts::All, never) {
        if is_loose {
            arena.retain(id, Hold::Loose);
            arena.release(id, Hold::Firm);
        }
        is_loose = !is_loose;
    }
    assert_eq!(arena.allocate(1024, Parts::All, |_, _| panic!("taken back for nothing")), None);
}

#[test]
fn nobody_is_asked_to_take_back_what_is_held() {
    let mut arena = arena();
    while arena.allocate(512, Parts::All, never).is_some() {}
    assert_eq!(arena.allocate(512, Parts::All, |_, _| panic!("asked for a record that somebody has")), None);
}

#[test]
fn a_shortened_record_gives_its_tail_to_the_next() {
    let mut arena = arena();
    let first = arena.allocate(1024, Parts::All, never).expect("room");
    arena.shorten(first, 100);
    let second = arena.allocate(64, Parts::All, never).expect("room");
    assert_eq!(arena.record(second).start, 4096 + 128);
}

#[test]
fn nothing_is_put_beyond_what_memory_there_is() {
    let mut arena = arena();
    let older = arena.allocate(2048, Parts::All, never).expect("room");
    arena.confine(4096 + 3008);
    assert_eq!(arena.allocate(1024, Parts::All, never), None);
    assert_eq!(arena.allocate(800, Parts::All, never).map(|id| arena.record(id).start), Some(4096 + 2048));
    arena.release(older, Hold::Firm);
    assert_eq!(arena.allocate(2048, Parts::All, never).map(|id| arena.record(id).start), Some(4096));
    arena.confine(u64::MAX);
    assert!(arena.allocate(2048, Parts::All, never).is_some());
}

#[test]
fn what_was_to_be_used_beyond_what_memory_there_is_is_used_after_what_can_be_taken_back() {
    const LEN: u64 = WARM_MIN;
    let mut arena = Arena::new(0, 1024, 4 * LEN, LEN);
    let allocate = |arena: &mut Arena| {
        let found = arena.allocate(LEN, Parts::All, |arena, id| {
            arena.release(id, Hold::Loose);
            true
        });
        found.expect("room")
    };
    let records = [(); 3].map(|()| allocate(&mut arena));
    assert_eq!(arena.record(records[2]).start, 2 * LEN);
    arena.release(records[2], Hold::Firm);
    arena.retain(records[0], Hold::Loose);
    arena.release(records[0], Hold::Firm);
    arena.confine(2 * LEN);
    arena.confine(u64::MAX);
    let newer = allocate(&mut arena);
    assert_eq!(arena.record(newer).start, 0);
}

#[test]
fn what_is_free_before_a_record_beyond_what_memory_there_was_is_found_again() {
    let mut arena = arena();
    let [before, held] = [6144, 2048].map(|len| arena.allocate(len, Parts::All, never).expect("room"));
    arena.release(before, Hold::Firm);
    arena.confine(4096 + 64);
    arena.confine(u64::MAX);
    assert_eq!(arena.allocate(6144, Parts::Main, never).map(|id| arena.record(id).start), Some(4096));
    assert_eq!(arena.record(held).start, 4096 + 6144);
}

#[test]
fn more_than_the_ring_holds_is_refused() {
    assert_eq!(arena().allocate(8193, Parts::All, never), None);
    assert_eq!(arena().allocate(u64::MAX - 63, Parts::All, never), None);
}

/// The most bytes that lie free beside each other in either part.
fn longest_gap(arena: &Arena, live: &[RecordId]) -> u64 {
    let mut ranges: Vec<_> = live.iter().map(|&id| arena.record(id)).map(|r| (r.start, r.end())).collect();
    ranges.extend([(12288, 12288), (14336, 14336)]);
    ranges.sort_unstable();
    let ends = std::iter::once(4096).chain(ranges.iter().map(|range| range.1));
    ends.zip(&ranges).map(|(end, next)| next.0 - end).max().unwrap_or(0)
}

#[derive(Clone, Debug)]
enum Step {
    /// The bits say which records are not given back when they are asked for.
    Allocate(u64, Parts, u8),
    GoOn(u64),
    Confine(u64),
    Drop(usize),
    Shorten(usize, u64),
    Loosen(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..3000, prop_oneof![Just(Parts::Main), Just(Parts::All)], any::<u8>())
            .prop_map(|(len, parts, kept)| Step::Allocate(len, parts, kept)),
        (0u64..3000).prop_map(Step::GoOn),
        (0u64..200).prop_map(Step::Confine),
        any::<usize>().prop_map(Step::Drop),
        (any::<usize>(), 0u64..3000).prop_map(|(which, len)| Step::Shorten(which, len)),
        any::<usize>().prop_map(Step::Loosen),
    ]
}

proptest! {
    #[test]
    fn live_records_never_overlap_and_stay_inside(steps in prop::collection::vec(step(), 1..200)) {
        let mut arena = arena();
        let mut live: Vec<RecordId> = Vec::new();
        let hold = |arena: &Arena, id| if arena.record(id).firm == 0 { Hold::Loose } else { Hold::Firm };
        for step in steps {
            match step {
                Step::Allocate(len, parts, kept) => {
                    let mut taken_back = Vec::new();
                    let found = arena.allocate(len, parts, |arena, id| {
                        let is_free = kept >> (id % 8) & 1 == 0;
                        // As a queue is taken back: with others.
                        let with_it: Vec<_> = if is_free { vec![id, id + 1] } else { Vec::new() };
                        for id in with_it.into_iter().filter(|id| live.contains(id)) {
                            if arena.record(id).references > 0 && arena.record(id).firm == 0 {
                                arena.release(id, Hold::Loose);
                                taken_back.push(id);
                            }
                        }
                        is_free
                    });
                    live.retain(|id| !taken_back.contains(id));
                    match found {
                        Some(id) => {
                            prop_assert!(arena.record(id).len >= len);
                            live.push(id);
                        }
                        None if parts == Parts::All && kept == 0 && arena.limit == u64::MAX => {
                            prop_assert!(longest_gap(&arena, &live) < len);
                        }
                        None => {}
                    }
                }
                Step::GoOn(len) => live.extend(arena.go_on(len, u64::MAX)),
                Step::Confine(units) => {
                    arena.confine(units * UNIT);
                    if units % 2 == 0 {
                        arena.confine(u64::MAX);
                    }
                }
                Step::Drop(which) if !live.is_empty() => {
                    let id = live.swap_remove(which % live.len());
                    arena.release(id, hold(&arena, id));
                }
                Step::Loosen(which) if !live.is_empty() => {
                    let id = live[which % live.len()];
                    arena.retain(id, Hold::Loose);
                    arena.release(id, hold(&arena, id));
                }
                Step::Shorten(which, len) if !live.is_empty() => {
                    arena.shorten(live[which % live.len()], len);
                }
                _ => {}
            }
            arena.main.check(&arena.records);
            arena.reserve.check(&arena.records);
            let mut ranges: Vec<_> = live.iter().map(|&id| *arena.record(id)).collect();
            ranges.sort_by_key(|record| record.start);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].start + pair[0].len <= pair[1].start);
            }
            for record in &ranges {
                let (low, high) = if record.in_reserve() { (12288, 14336) } else { (4096, 12288) };
                prop_assert!(record.start >= low && record.start + record.len <= high);
                prop_assert_eq!(record.start % UNIT, 0);
            }
        }
        prop_assert_eq!(arena.live(), live.len());
        let in_use: u64 = live.iter().map(|&id| arena.record(id).len).sum();
        prop_assert_eq!(arena.in_use().0, in_use);
        prop_assert!(arena.in_use().1 >= in_use);
    }
}
