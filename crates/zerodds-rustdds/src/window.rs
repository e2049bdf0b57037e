//! How much a writer may have under way to readers that keep all: back-pressure by what applications took.
//!
//! ```text
//!   written ──▶ 41 42 43 44 45                 window of 4: 45 waits until 41 is taken
//!                └ taken by the slowest reader: 41
//! ```
//! An RTPS acknowledgement comes when a sample reaches the reader's cache, and RustDDS drops what the cache has no
//! room for, whatever HISTORY says. So a reader that is reliable and keeps all tells its writers what was taken,
//! and they wait for it (RESOURCE_LIMITS and max_blocking_time, DDS 1.4 §2.2.3.19, §2.2.3.14).

use crate::protocol::Entity;
use crate::routes::Plan;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
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
    written: i64,
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
        state.taken = plan
            .windows
            .iter()
            .map(|&(incarnation, offer)| (incarnation, offer.reader))
            .map(|reader| (reader, taken.remove(&reader).unwrap_or(written)))
            .collect();
        state.plan = Arc::new(plan);
        self.changed.notify_all();
    }

    /// The application behind `reader` has taken everything up to this sequence number.
    pub(crate) fn set_taken(&self, reader: (Incarnation, Entity), up_to: i64) {
        let mut state = self.state.lock();
        let written = state.written;
        if let Some(taken) = state.taken.get_mut(&reader) {
            *taken = (*taken).max(up_to.min(written));
            self.changed.notify_all();
        }
    }

    /// A sample was written under this sequence number.
    pub(crate) fn set_written(&self, sequence: i64) {
        let mut state = self.state.lock();
        state.written = state.written.max(sequence);
    }

    /// Whether every reader has room for one more sample now.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Waits until every reader has room for one more sample; `false` after the deadline.
    pub(crate) fn wait_for_room(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.has_room() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return state.has_room();
            }
        }
        true
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.plan.windows.iter().all(|&(incarnation, offer)| {
            let taken = self.taken.get(&(incarnation, offer.reader)).copied().unwrap_or(self.written);
            self.written - taken < i64::from(offer.window)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Offer;
    use std::time::Duration;

    const READER: Entity = [1; 4];

    fn outlook(window: u32) -> (Outlook, (Incarnation, Entity)) {
        let incarnation = Incarnation::from_bytes([1; 8]);
        let outlook = Outlook::default();
        let windows = vec![(incarnation, Offer { reader: READER, window })];
        outlook.set_plan(Plan { targets: vec![], windows });
        (outlook, (incarnation, READER))
    }

    fn at_once() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_writer_waits_for_the_reader_that_has_not_taken() {
        let (outlook, reader) = outlook(2);
        for sequence in 1..=2 {
            assert!(outlook.wait_for_room(at_once()));
            outlook.set_written(sequence);
        }
        assert!(!outlook.wait_for_room(at_once()));
        outlook.set_taken(reader, 1);
        assert!(outlook.wait_for_room(at_once()));
    }

    #[test]
    fn a_writer_that_waits_is_woken_by_what_is_taken_and_by_the_readers_end() {
        for end in [false, true] {
            let (outlook, reader) = outlook(1);
            outlook.set_written(1);
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| outlook.wait_for_room(Instant::now() + Duration::from_secs(60)));
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
        let (outlook, _) = outlook(0);
        outlook.set_written(1_000);
        let incarnation = Incarnation::from_bytes([2; 8]);
        let windows = vec![(incarnation, Offer { reader: READER, window: 1 })];
        outlook.set_plan(Plan { targets: vec![], windows });
        assert!(outlook.wait_for_room(at_once()));
    }

    #[test]
    fn nobody_can_have_taken_what_was_not_written() {
        let (outlook, reader) = outlook(1);
        outlook.set_taken(reader, i64::MAX);
        outlook.set_written(1);
        assert!(!outlook.wait_for_room(at_once()));
    }
}
