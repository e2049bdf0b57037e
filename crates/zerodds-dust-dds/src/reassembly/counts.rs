//! Which count a HEARTBEAT has for Dust, where nothing of its writer is incomplete.
//!
//! A reader of Dust hears a HEARTBEAT if its count is above the last that it heard from that writer, for whomever that was. A Dust
//! writer counts for each reader by itself, from 0. So of two readers of one participant the later one would not hear what is
//! for it until the writer has said as much to it as to the other: what rose for its reader is given the next count.
//!
//! ```text
//!   for the one     998 ─ 999 ─ 1000                                 as it is
//!   for the other                       5 ─▶ 1001 ── 6 ─▶ 1002
//! ```
//! But for what all of them heard a moment ago, when it was for another: where several readers keep in step, each would answer
//! all that is said to any. And but for what begins behind a sample that another reader may lack, which that one would take as
//! lost. A reader that was not there yet hears a low count as well.

use super::{Hearing, PATIENCE};
use crate::rtps::{EntityId, Guid, Heartbeat};
use std::collections::HashMap;
use std::time::Instant;

/// The counts of the HEARTBEATs of writers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What Dust was last given of a writer: of every application's that speaks, and of those that it would not hear otherwise.
    given: HashMap<Guid, Given>,
    /// The last count that a writer itself gave to what it said to a reader.
    own: HashMap<(Guid, EntityId), i32>,
}

#[derive(Debug)]
struct Given {
    count: i32,
    /// When, and what that said, if it is known.
    said: Option<(Instant, Heartbeat)>,
}

impl Given {
    /// Whether all readers have heard a moment ago what this says, when it was for another.
    fn has_just_said(&self, heartbeat: &Heartbeat, now: Instant) -> bool {
        self.said.is_some_and(|(at, said)| {
            let is_same = (said.first, said.last) == (heartbeat.first, heartbeat.last);
            is_same && said.reader != heartbeat.reader && now.duration_since(at) < PATIENCE
        })
    }
}

impl Counts {
    /// What Dust may hear of a HEARTBEAT of a writer of which nothing is incomplete, where other readers would lose something by it
    /// or not.
    pub(super) fn hear(
        &mut self,
        writer: Guid,
        heartbeat: &Heartbeat,
        now: Instant,
        would_lose: impl FnOnce() -> bool,
    ) -> Hearing {
        if !writer.entity.is_user_defined() && !self.given.contains_key(&writer) {
            return Hearing::AsItIs;
        }
        let rose = self.has_risen(writer, heartbeat);
        make_room(&mut self.given, &writer);
        let said = Some((now, *heartbeat));
        let given = self.given.entry(writer).or_insert(Given { count: 0, said: None });
        if heartbeat.count > given.count {
            *given = Given { count: heartbeat.count, said };
            return Hearing::AsItIs;
        }
        if !rose || given.has_just_said(heartbeat, now) || would_lose() {
            return Hearing::AsItIs;
        }
        *given = Given { count: given.count.saturating_add(1), said };
        Hearing::Rewritten { last: heartbeat.last, count: given.count }
    }

    /// Whether a HEARTBEAT is none that its reader was sent before.
    fn has_risen(&mut self, writer: Guid, heartbeat: &Heartbeat) -> bool {
        let key = (writer, heartbeat.reader);
        make_room(&mut self.own, &key);
        self.own.insert(key, heartbeat.count).is_none_or(|before| heartbeat.count > before)
    }

    /// The count of the last HEARTBEAT that Dust was given of this writer, which is kept elsewhere from here on.
    pub(super) fn take(&mut self, writer: &Guid) -> i32 {
        self.given.remove(writer).map_or(0, |given| given.count)
    }

    /// The same, back.
    pub(super) fn keep(&mut self, writer: Guid, count: i32) {
        make_room(&mut self.given, &writer);
        self.given.insert(writer, Given { count, said: None });
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&Guid) -> bool) {
        self.given.retain(|writer, _| !gone(writer));
        self.own.retain(|(writer, _), _| !gone(writer));
    }
}

fn make_room<K: Eq + std::hash::Hash, V>(counts: &mut HashMap<K, V>, key: &K) {
    if counts.len() >= COUNTS_MAX && !counts.contains_key(key) {
        counts.clear();
    }
}

/// Beyond it all are forgotten: Dust hears of those writers again once their own counts have caught up.
const COUNTS_MAX: usize = 4096;
