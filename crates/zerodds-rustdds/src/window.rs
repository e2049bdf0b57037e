//! How much a writer may have under way to readers that keep all: back-pressure by what applications took.
//!
//! ```text
//!   written ──▶ 41 42 43 44 45                 window of 4: 45 waits until 41 is taken
//!                └ taken by the slowest reader: 41
//! ```
//! An RTPS acknowledgement comes when a sample reaches the reader's cache, and RustDDS drops what the cache has no
//! room for, whatever HISTORY says. So a reader that is reliable and keeps all tells its writers what was taken,
//! and they wait for it (RESOURCE_LIMITS and max_blocking_time, DDS 1.4 §2.2.3.19, §2.2.3.14).

use crate::protocol::{Entity, Offer};
use crate::routes::Plan;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use zerodds_core::Incarnation;

/// What the session knows of one writer's readers, and what the writer may send.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    plan: Arc<Plan>,
    /// The first sequence number of each sample that some reader may not have taken, in order: on a mixed topic
    /// a sample has several.
    samples: VecDeque<i64>,
    /// The last sequence number that is known to be used.
    written: i64,
    /// Up to where readers with a window have taken.
    taken: HashMap<(Incarnation, Entity), i64>,
}

impl Outlook {
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state.lock().plan)
    }

    /// A new plan. Readers that are new in it owe nothing for what was written before.
    pub(crate) fn set_plan(&self, plan: Plan) {
        let mut state = self.state.lock();
        let written = state.written;
        let mut taken = std::mem::take(&mut state.taken);
        let readers = plan.windows.iter().map(|&(incarnation, offer)| (incarnation, offer.reader));
        state.taken = readers.map(|reader| (reader, taken.remove(&reader).unwrap_or(written))).collect();
        state.plan = Arc::new(plan);
        state.forget_what_all_took();
        self.changed.notify_all();
    }

    /// The application behind `reader` has taken everything up to this sequence number; `i64::MAX`: everything up to
    /// now. It may know of a sample before its writer does.
    pub(crate) fn set_taken(&self, reader: (Incarnation, Entity), up_to: i64) {
        let mut state = self.state.lock();
        let up_to = if up_to == i64::MAX { state.written } else { up_to };
        if let Some(taken) = state.taken.get_mut(&reader) {
            *taken = (*taken).max(up_to);
            state.forget_what_all_took();
            self.changed.notify_all();
        }
    }

    /// A sample was written under these sequence numbers.
    pub(crate) fn set_written(&self, first: i64, last: i64) {
        let mut state = self.state.lock();
        state.written = state.written.max(last);
        if !state.taken.is_empty() {
            // Several threads may write, and come here in another order.
            let at = state.samples.partition_point(|&other| other < first);
            state.samples.insert(at, first);
            state.forget_what_all_took();
        }
    }

    /// Whether every reader has room for one more sample now.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Waits until every reader has room for one more sample; `false` after the deadline. `ask` has a reader say what
    /// was taken next: once, and again whenever that was not enough.
    pub(crate) fn wait_for_room(&self, deadline: Instant, ask: impl Fn(Incarnation, Entity, i64)) -> bool {
        let mut state = self.state.lock();
        let mut asked = HashMap::new();
        while !state.has_room() {
            let mut full = state.full();
            full.retain(|&(reader, taken)| asked.insert(reader, taken) != Some(taken));
            if !full.is_empty() {
                MutexGuard::unlocked(&mut state, || {
                    full.iter().for_each(|&((peer, reader), heard)| ask(peer, reader, heard))
                });
            } else if self.changed.wait_until(&mut state, deadline).timed_out() {
                return state.has_room();
            }
        }
        true
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.plan.windows.iter().all(|window| self.has_room_for(window))
    }

    /// Readers that have no room for one more sample, and up to where they have taken.
    fn full(&self) -> Vec<((Incarnation, Entity), i64)> {
        let full = self.plan.windows.iter().filter(|window| !self.has_room_for(window));
        let readers = full.map(|(peer, offer)| (*peer, offer.reader));
        readers.map(|reader| (reader, self.taken_by(&reader))).collect()
    }

    fn has_room_for(&self, (incarnation, offer): &(Incarnation, Offer)) -> bool {
        let taken = self.taken_by(&(*incarnation, offer.reader));
        let under_way = self.samples.len() - self.samples.partition_point(|&first| first <= taken);
        under_way < offer.window as usize
    }

    fn taken_by(&self, reader: &(Incarnation, Entity)) -> i64 {
        self.taken.get(reader).copied().unwrap_or(i64::MAX)
    }

    fn forget_what_all_took(&mut self) {
        let all = self.taken.values().copied().min().unwrap_or(i64::MAX);
        while self.samples.front().is_some_and(|&first| first <= all) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    const READER: Entity = [1; 4];

    fn outlook(window: u32) -> (Outlook, (Incarnation, Entity)) {
        let incarnation = Incarnation::from_bytes([1; 8]);
        let outlook = Outlook::default();
        let windows = vec![(incarnation, Offer { reader: READER, window })];
        outlook.set_plan(Plan { windows, ..Plan::default() });
        (outlook, (incarnation, READER))
    }

    fn at_once() -> Instant {
        Instant::now()
    }

    fn nobody(_: Incarnation, _: Entity, _: i64) {}

    #[test]
    fn a_reader_is_asked_again_only_when_what_it_said_was_not_enough() {
        let (outlook, reader) = outlook(1);
        for sequence in 1..=3 {
            outlook.set_written(sequence, sequence);
        }
        let asked = AtomicU32::new(0);
        let said = outlook.wait_for_room(Instant::now() + Duration::from_secs(60), |peer, entity, _| {
            assert_eq!((peer, entity), reader);
            outlook.set_taken(reader, i64::from(asked.fetch_add(1, Ordering::Relaxed) + 1));
        });
        assert!(said);
        assert_eq!(asked.into_inner(), 3, "it said 1, 2 and 3");
    }

    #[test]
    fn a_writer_waits_for_the_reader_that_has_not_taken() {
        let (outlook, reader) = outlook(2);
        for sequence in 1..=2 {
            assert!(outlook.wait_for_room(at_once(), nobody));
            outlook.set_written(sequence, sequence);
        }
        assert!(!outlook.wait_for_room(at_once(), nobody));
        outlook.set_taken(reader, 1);
        assert!(outlook.wait_for_room(at_once(), nobody));
    }

    #[test]
    fn a_writer_that_waits_is_woken_by_what_is_taken_and_by_the_readers_end() {
        for end in [false, true] {
            let (outlook, reader) = outlook(1);
            outlook.set_written(1, 1);
            std::thread::scope(|scope| {
                let waiting =
                    scope.spawn(|| outlook.wait_for_room(Instant::now() + Duration::from_secs(60), nobody));
                if end {
                    outlook.set_plan(Plan::default())
                } else {
                    outlook.set_taken(reader, 1)
                }
                assert!(waiting.join().expect("no panic"));
            });
        }
    }

    #[test]
    fn a_reader_that_comes_later_owes_nothing_for_what_was_written_before() {
        let (outlook, _) = outlook(1);
        outlook.set_written(1_000, 1_000);
        let incarnation = Incarnation::from_bytes([2; 8]);
        let windows = vec![(incarnation, Offer { reader: READER, window: 1 })];
        outlook.set_plan(Plan { windows, ..Plan::default() });
        assert!(outlook.wait_for_room(at_once(), nobody));
    }

    #[test]
    fn a_sample_counts_once_however_many_sequence_numbers_it_has() {
        let (outlook, reader) = outlook(2);
        outlook.set_written(1, 5);
        assert!(outlook.has_room(), "one of two is under way");
        outlook.set_written(6, 10);
        assert!(!outlook.has_room());
        outlook.set_taken(reader, 3);
        assert!(outlook.has_room(), "the reader's own of the first sample's numbers was taken");
    }

    #[test]
    fn a_reader_that_is_quicker_than_the_writer_loses_no_credit() {
        let (outlook, reader) = outlook(1);
        outlook.set_taken(reader, 1);
        outlook.set_written(1, 1);
        assert!(outlook.has_room());
    }

    #[test]
    fn everything_up_to_now_does_not_excuse_what_comes() {
        let (outlook, reader) = outlook(1);
        outlook.set_written(1, 1);
        outlook.set_taken(reader, i64::MAX);
        assert!(outlook.has_room());
        outlook.set_written(2, 2);
        assert!(!outlook.has_room());
    }
}
