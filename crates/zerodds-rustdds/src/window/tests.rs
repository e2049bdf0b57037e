//! What readers have taken, and what a writer may send and wait for by that.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const READER: Entity = [1; 4];
/// A bound against hanging, nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

fn outlook(window: u32) -> (Arc<Outlook>, (Incarnation, Entity)) {
    let incarnation = Incarnation::from_bytes([1; 8]);
    let outlook = Arc::<Outlook>::default();
    let windows = vec![(incarnation, Offer { reader: READER, window })];
    outlook.set_plan(Plan { windows, ..Plan::default() });
    (outlook, (incarnation, READER))
}

/// A sample whose id is its first sequence number.
fn write(outlook: &Arc<Outlook>, first: i64, last: i64) {
    let numbers = Numbers { first, last, directed: Vec::new() };
    outlook.place_anyway().begin(|| first as u64).written(numbers);
}

fn take(outlook: &Arc<Outlook>, reader: Reader, up_to: i64) {
    outlook.set_taken(reader, Consumed { up_to, unreadable: 0 });
}

fn has_room(outlook: &Arc<Outlook>) -> bool {
    outlook.place().is_some()
}

fn at_once() -> Instant {
    Instant::now()
}

fn nobody(_: Incarnation, _: Entity, _: i64) {}

#[test]
fn a_reader_is_asked_again_only_when_what_it_said_was_not_enough() {
    let (outlook, reader) = outlook(1);
    for sequence in 1..=3 {
        write(&outlook, sequence, sequence);
    }
    let asked = AtomicU32::new(0);
    let said = outlook.wait_for_place(
        Instant::now() + Duration::from_secs(60),
        &mut Asked::default(),
        |peer, entity, _| {
            assert_eq!((peer, entity), reader);
            take(&outlook, reader, i64::from(asked.fetch_add(1, Ordering::Relaxed) + 1));
        },
    );
    assert!(said.is_some());
    assert_eq!(asked.into_inner(), 3, "it said 1, 2 and 3");
}

#[test]
fn a_writer_that_waits_step_by_step_asks_once() {
    let (outlook, _) = outlook(1);
    write(&outlook, 1, 1);
    let (count, mut asked) = (AtomicU32::new(0), Asked::default());
    for _ in 0..3 {
        let place = outlook.wait_for_place(at_once(), &mut asked, |_, _, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(place.is_none());
    }
    assert_eq!(count.into_inner(), 1);
}

#[test]
fn a_writer_waits_for_the_reader_that_has_not_taken() {
    let (outlook, reader) = outlook(2);
    for sequence in 1..=2 {
        assert!(outlook.wait_for_place(at_once(), &mut Asked::default(), nobody).is_some());
        write(&outlook, sequence, sequence);
    }
    assert!(outlook.wait_for_place(at_once(), &mut Asked::default(), nobody).is_none());
    take(&outlook, reader, 1);
    assert!(outlook.wait_for_place(at_once(), &mut Asked::default(), nobody).is_some());
}

#[test]
fn threads_that_write_at_once_have_no_more_places_than_there_is_room_for() {
    let (outlook, reader) = outlook(3);
    let mut places: Vec<Place> = std::iter::from_fn(|| outlook.place()).collect();
    assert_eq!(places.len(), 3);
    let begun = places.pop().expect("one").begin(|| 7);
    assert!(!has_room(&outlook), "it is under way");
    drop(begun);
    places.extend(outlook.place());
    assert_eq!(places.len(), 3);
    for (place, sequence) in places.drain(..).zip(1..) {
        place.begin(|| sequence).written(Numbers::one(sequence as i64));
    }
    assert!(!has_room(&outlook), "they were written");
    take(&outlook, reader, 1);
    let place = outlook.place();
    assert!(place.is_some() && !has_room(&outlook), "one was taken");
    drop(place);
    assert!(has_room(&outlook));
}

#[test]
fn a_place_that_is_not_used_wakes_who_waits_for_one() {
    for is_begun in [false, true] {
        let (outlook, _) = outlook(1);
        let place = outlook.place().expect("room");
        std::thread::scope(|scope| {
            let far = Instant::now() + Duration::from_secs(60);
            let waiting = scope.spawn({
                let outlook = &outlook;
                move || outlook.wait_for_place(far, &mut Asked::default(), nobody)
            });
            if is_begun {
                drop(place.begin(|| 1))
            } else {
                drop(place)
            }
            assert!(waiting.join().expect("no panic").is_some());
        });
    }
}

#[test]
fn a_sample_that_goes_to_others_alone_wakes_who_waits_for_its_place() {
    let (outlook, _) = outlook(1);
    let begun = outlook.place().expect("room").begin(|| 1);
    let (looks, looked) = std::sync::mpsc::channel();
    let (ends, ended) = std::sync::mpsc::channel();
    let waits = Arc::clone(&outlook);
    std::thread::spawn(move || {
        let has_room = |state: &State, window: &_| {
            let _ = looks.send(());
            state.has_room_for(window)
        };
        let mut state = waits.state.lock();
        let far = Instant::now() + 2 * PATIENCE;
        waits.wait(&mut state, has_room, far, &mut Asked::default(), nobody);
        let _ = ends.send(state.has_room());
    });
    // It looks once more after the reader was asked, and has the lock from then on until it sleeps.
    for _ in 0..2 {
        looked.recv().expect("it looks");
    }
    begun.excuse_all_but(&[]);
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_sample_that_was_taken_before_it_counted_as_written_wakes_who_waits_for_its_place() {
    let (outlook, reader) = outlook(1);
    let begun = outlook.place().expect("room").begin(|| 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn({
            let outlook = &outlook;
            // Whoever is asked has nothing new to say: it sleeps from then on.
            let ask = |_, _, _| take(outlook, reader, 1);
            move || {
                outlook.wait_for_place(Instant::now() + Duration::from_secs(60), &mut Asked::default(), ask)
            }
        });
        while outlook.state.lock().taken_by(&reader) < 1 {
            std::thread::yield_now();
        }
        begun.written(Numbers::one(1));
        assert!(waiting.join().expect("no panic").is_some());
    });
}

#[test]
fn a_writer_that_waits_is_woken_by_what_is_taken_and_by_the_readers_end() {
    for end in [false, true] {
        let (outlook, reader) = outlook(1);
        write(&outlook, 1, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                outlook.wait_for_place(
                    Instant::now() + Duration::from_secs(60),
                    &mut Asked::default(),
                    nobody,
                )
            });
            if end {
                outlook.set_plan(Plan::default())
            } else {
                take(&outlook, reader, 1)
            }
            assert!(waiting.join().expect("no panic").is_some());
        });
    }
}

#[test]
fn all_is_taken_when_every_reader_has_taken_it_or_will_never_be_given_it() {
    let (outlook, reader) = outlook(8);
    let is_taken = || {
        let ask = |peer, entity, heard| {
            assert_eq!(((peer, entity), heard), (reader, 0), "the one that owes is asked");
        };
        outlook.wait_until_taken(&outlook.so_far(), at_once(), &mut Asked::default(), ask)
    };
    assert!(is_taken(), "nothing was written");
    write(&outlook, 1, 1);
    write(&outlook, 2, 2);
    let place = outlook.place().expect("room");
    assert!(!is_taken());
    outlook.excuse(reader, 1);
    assert!(!is_taken());
    outlook.excuse(reader, 2);
    assert!(is_taken(), "a place that has no sample yet is owed by nobody");
    outlook.set_taken(reader, Consumed { up_to: 2, unreadable: 0 });
    let begun = place.begin(|| 3);
    let so_far = outlook.so_far();
    let is_taken = || outlook.wait_until_taken(&so_far, at_once(), &mut Asked::default(), nobody);
    assert!(!is_taken(), "it may come");
    begun.written(Numbers::one(3));
    write(&outlook, 4, 4);
    assert!(!is_taken(), "it has come");
    take(&outlook, reader, 3);
    assert!(is_taken(), "what was written since does not count");
}

#[test]
fn a_reader_that_comes_later_owes_nothing_for_what_was_written_before() {
    let (outlook, _) = outlook(1);
    write(&outlook, 1_000, 1_000);
    let incarnation = Incarnation::from_bytes([2; 8]);
    let windows = vec![(incarnation, Offer { reader: READER, window: 1 })];
    outlook.set_plan(Plan { windows, ..Plan::default() });
    assert!(outlook.wait_for_place(at_once(), &mut Asked::default(), nobody).is_some());
}

#[test]
fn a_sample_counts_once_however_many_sequence_numbers_it_has() {
    let (outlook, reader) = outlook(2);
    write(&outlook, 1, 5);
    assert!(has_room(&outlook), "one of two is under way");
    write(&outlook, 6, 10);
    assert!(!has_room(&outlook));
    take(&outlook, reader, 3);
    assert!(has_room(&outlook), "the reader's own of the first sample's numbers was taken");
}

#[test]
fn of_samples_that_are_directed_at_once_each_is_owed_until_its_own_number_was_taken() {
    let (first, second) = (Incarnation::from_bytes([1; 8]), Incarnation::from_bytes([2; 8]));
    let outlook = Arc::<Outlook>::default();
    let windows = [first, second].map(|peer| (peer, Offer { reader: READER, window: 2 })).into();
    outlook.set_plan(Plan { windows, ..Plan::default() });
    let [one, two] = [1, 2].map(|id| outlook.place().expect("room").begin(|| id));
    // The second sample comes between the two numbers of the first one.
    two.written(Numbers { first: 2, last: 3, directed: vec![(first, 2), (second, 3)] });
    one.written(Numbers { first: 1, last: 4, directed: vec![(first, 1), (second, 4)] });
    let is_taken = || outlook.wait_until_taken(&outlook.so_far(), at_once(), &mut Asked::default(), nobody);
    assert!(!has_room(&outlook));
    take(&outlook, (first, READER), 2);
    assert!(!has_room(&outlook), "the second participant has taken nothing");
    take(&outlook, (second, READER), 3);
    assert!(has_room(&outlook) && !is_taken(), "that was its first, and it has another");
    take(&outlook, (second, READER), 4);
    assert!(is_taken() && outlook.state.lock().samples.is_empty());
}

#[test]
fn a_reader_that_is_quicker_than_the_writer_loses_no_credit() {
    let (outlook, reader) = outlook(1);
    take(&outlook, reader, 1);
    write(&outlook, 1, 1);
    assert!(has_room(&outlook));
}

#[test]
fn a_reader_that_comes_while_a_sample_is_handed_to_rtps_does_not_owe_it() {
    let (outlook, _) = outlook(1);
    let begun = outlook.place_anyway().begin(|| 7);
    let incarnation = Incarnation::from_bytes([2; 8]);
    let windows = vec![(incarnation, Offer { reader: READER, window: 1 })];
    outlook.set_plan(Plan { windows, ..Plan::default() });
    begun.written(Numbers::one(1));
    assert!(has_room(&outlook), "RTPS may have had it before there was the reader");
    write(&outlook, 2, 2);
    assert!(!has_room(&outlook));
}

#[test]
fn what_a_reader_will_never_be_given_is_not_waited_for_and_nothing_else_is_forgiven() {
    for is_quick in [false, true] {
        let (outlook, reader) = outlook(2);
        write(&outlook, 1, 1);
        let begun = outlook.place_anyway().begin(|| 2);
        if is_quick {
            outlook.excuse(reader, 2);
        }
        begun.written(Numbers::one(2));
        outlook.excuse(reader, 2);
        outlook.excuse(reader, 1_000);
        assert!(has_room(&outlook), "one is under way");
        write(&outlook, 3, 3);
        assert!(!has_room(&outlook), "the first was not taken");
        take(&outlook, reader, 1);
        assert!(has_room(&outlook));
    }
}

#[test]
fn excuses_are_kept_no_longer_than_somebody_owes_the_sample() {
    let (first, second) = (Incarnation::from_bytes([1; 8]), Incarnation::from_bytes([2; 8]));
    let outlook = Arc::<Outlook>::default();
    let windows = [first, second].map(|peer| (peer, Offer { reader: READER, window: 1 })).into();
    outlook.set_plan(Plan { windows, ..Plan::default() });
    write(&outlook, 1, 1);
    take(&outlook, (second, READER), 1);
    for sequence in 2..100 {
        write(&outlook, sequence, sequence);
        outlook.excuse((first, READER), sequence as u64);
        assert!(!has_room(&outlook), "the second reader owes it, and the first an older one");
        take(&outlook, (second, READER), sequence);
        assert_eq!(outlook.state.lock().samples.len(), 1, "what the first has not taken");
    }
}

#[test]
fn what_a_reader_could_not_decode_is_the_oldest_that_it_has_not_taken_and_counts_once() {
    let (outlook, reader) = outlook(2);
    let skip = |up_to, unreadable| outlook.set_taken(reader, Consumed { up_to, unreadable });
    write(&outlook, 1, 1);
    write(&outlook, 2, 2);
    skip(1, 1);
    write(&outlook, 3, 3);
    assert!(has_room(&outlook), "the second will never be taken");
    write(&outlook, 4, 4);
    skip(1, 1);
    assert!(!has_room(&outlook), "it is said again, and is no news");
    skip(1, 2);
    assert!(has_room(&outlook));
    let begun = outlook.place_anyway().begin(|| 5);
    assert!(!has_room(&outlook));
    skip(1, 4);
    begun.written(Numbers::one(5));
    assert_eq!(
        outlook.state.lock().samples.len(),
        0,
        "the fourth, and the one that came before it was written"
    );
}

#[test]
fn a_reader_may_say_that_a_sample_has_expired_while_another_one_that_has_no_room_for_it_is_waited_for() {
    let (outlook, reader) = outlook(1);
    let mut place = outlook.place().expect("room");
    place.send(|| 7);
    outlook.excuse(reader, 7);
    assert!(!has_room(&outlook), "others may owe it");
    let begun = place.begin(|| unreachable!("it has one"));
    assert!(has_room(&outlook), "it is not waited for");
    begun.written(Numbers::one(1));
    let mut place = outlook.place().expect("room");
    place.send(|| 8);
    drop(place);
    assert!(outlook.state.lock().under_way.is_empty(), "it is given to nobody");
}

#[test]
fn below_the_floor_no_shared_sample_will_be_described() {
    let outlook = Arc::<Outlook>::default();
    let _plain = outlook.place_anyway().begin(|| 1);
    let [first, second, third] = [2, 3, 4].map(|id| {
        let mut place = outlook.place_anyway();
        assert_eq!(place.send(|| id), id);
        place
    });
    assert_eq!(outlook.floor(), 2);
    let second = second.begin(|| unreachable!("it has one"));
    drop(first);
    assert_eq!(outlook.floor(), 3, "the first was given up");
    let third = third.begin(|| unreachable!("it has one"));
    third.written(Numbers::one(1));
    assert_eq!(outlook.floor(), 3, "the second is not described yet");
    drop(second);
    assert_eq!(outlook.floor(), 0, "none is under way");
}
