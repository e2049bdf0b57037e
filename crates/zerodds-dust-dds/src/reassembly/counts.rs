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
use crate::contacts::Contacts;
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
    /// Whether all readers have heard a moment ago what this says, when it was for another. With which sample the writer begins for a
    /// reader that has acknowledged that one is no news.
    fn has_just_said(&self, writer: &Guid, heartbeat: &Heartbeat, now: Instant, contacts: &Contacts) -> bool {
        self.said.is_some_and(|(at, said)| {
            let is_lately = said.reader != heartbeat.reader && now.duration_since(at) < PATIENCE;
            let is_old = || {
                said.first == heartbeat.first
                    || contacts.has_acknowledged(writer, heartbeat.reader, heartbeat.first)
            };
            is_lately && said.last == heartbeat.last && is_old()
        })
    }
}

impl Counts {
    /// What Dust may hear of a HEARTBEAT of a writer of which nothing is incomplete.
    pub(super) fn hear(
        &mut self,
        writer: Guid,
        heartbeat: &Heartbeat,
        now: Instant,
        contacts: &Contacts,
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
        if !rose
            || given.has_just_said(&writer, heartbeat, now, contacts)
            || contacts.would_lose(&writer, heartbeat)
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::tests::acknowledges;
    use crate::rtps::GuidPrefix;
    use std::time::Duration;

    const WRITER: Guid = Guid { prefix: GuidPrefix([7; 12]), entity: EntityId([0, 0, 1, 3]) };
    const READERS: [EntityId; 3] = [EntityId([0, 0, 1, 4]), EntityId([0, 0, 2, 4]), EntityId([0, 0, 3, 4])];

    /// Readers of one participant, all reliable, and what the writer says to them.
    struct Hearers {
        counts: Counts,
        contacts: Contacts,
        now: Instant,
    }

    impl Hearers {
        fn new() -> Self {
            let contacts = Contacts::default();
            READERS.iter().for_each(|&reader| contacts.came(reader, true));
            Self { counts: Counts::default(), contacts, now: Instant::now() }
        }

        fn hear(&mut self, writer: Guid, reader: EntityId, first: i64, last: i64, count: i32) -> Hearing {
            let heartbeat = Heartbeat { reader, writer: writer.entity, first, last, count };
            self.counts.hear(writer, &heartbeat, self.now, &self.contacts)
        }
    }

    #[test]
    fn readers_for_whom_a_writer_begins_at_different_samples_do_not_all_answer_what_each_is_told() {
        let mut hearers = Hearers::new();
        READERS.iter().for_each(|&reader| acknowledges(&hearers.contacts, reader, WRITER, 20, false));
        for round in 0..3 {
            hearers.now += Duration::from_millis(200);
            for (reader, first, count) in [(0, 1, 1_000), (1, 5, 50), (2, 19, 7)] {
                let heard = hearers.hear(WRITER, READERS[reader], first, 20, count + round);
                assert_eq!(heard, Hearing::AsItIs, "only the first has a count that is new to Dust");
            }
        }
    }

    #[test]
    fn a_reader_that_lacks_the_sample_with_which_the_writer_begins_for_it_is_told() {
        let mut hearers = Hearers::new();
        [20, 5, 20].iter().zip(READERS).for_each(|(&base, reader)| {
            acknowledges(&hearers.contacts, reader, WRITER, base, false);
        });
        assert_eq!(hearers.hear(WRITER, READERS[0], 1, 20, 1_000), Hearing::AsItIs);
        let told = Hearing::Rewritten { last: 20, count: 1_001 };
        assert_eq!(hearers.hear(WRITER, READERS[1], 5, 20, 50), told, "what lies before is not for it");
        let told = Hearing::Rewritten { last: 21, count: 1_002 };
        assert_eq!(hearers.hear(WRITER, READERS[2], 5, 21, 7), told, "nobody has heard of the last one");
    }
}
