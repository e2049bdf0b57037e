//! Which count a HEARTBEAT has for Dust.
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
//! lost. A reader that was not there yet hears a low count as well. A HEARTBEAT whose own count is higher is withheld for a moment after
//! what another reader was told, where it would have that one lose samples, or ends earlier: then it was overtaken. Later, the writer
//! has the last ones no longer, and what it says is true.
//!
//! A HEARTBEAT that ends earlier for Dust, or is of our own making, since a sample is incomplete or no longer is, has the next count
//! always.

use super::{Hearing, PATIENCE};
use crate::contacts::Contacts;
use crate::rtps::{Guid, Heartbeat};
use std::collections::HashMap;
use std::time::Instant;

/// The counts of the HEARTBEATs of writers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What Dust was last given of a writer: of every application's that speaks, and of those that it would not hear otherwise.
    given: HashMap<Guid, Given>,
}

#[derive(Debug, Default)]
struct Given {
    count: i32,
    /// Whether a reader was sent a lower one or this was raised for one, whose next is heard only because this is remembered.
    is_ahead: bool,
    /// When, and what that said.
    said: Option<(Instant, Heartbeat)>,
}

impl Given {
    /// Dust hears this.
    fn hears(&mut self, count: i32, heartbeat: &Heartbeat, now: Instant) {
        self.is_ahead |= count > heartbeat.count;
        self.count = count;
        self.said = Some((now, *heartbeat));
    }

    /// The last sample that Dust was told of.
    fn told(&self) -> i64 {
        self.said.map_or(0, |(_, said)| said.last)
    }

    /// Whether Dust has heard a moment ago what is for another reader.
    fn has_just_heard(&self, heartbeat: &Heartbeat, now: Instant) -> bool {
        self.said
            .is_some_and(|(at, said)| said.reader != heartbeat.reader && now.duration_since(at) < PATIENCE)
    }

    /// Whether all readers have heard a moment ago what this says, when it was for another. With which sample the writer begins for a
    /// reader that has acknowledged that one is no news.
    fn has_just_said(&self, writer: &Guid, heartbeat: &Heartbeat, now: Instant, contacts: &Contacts) -> bool {
        self.said.filter(|_| self.has_just_heard(heartbeat, now)).is_some_and(|(_, said)| {
            let is_old = || {
                said.first == heartbeat.first
                    || contacts.has_acknowledged(writer, heartbeat.reader, heartbeat.first)
            };
            said.last == heartbeat.last && is_old()
        })
    }
}

impl Counts {
    /// What Dust may hear of a HEARTBEAT of a writer of which nothing is incomplete, whose count rose for its reader or did not.
    pub(super) fn hear(
        &mut self,
        writer: Guid,
        heartbeat: &Heartbeat,
        rose: bool,
        now: Instant,
        contacts: &Contacts,
    ) -> Hearing {
        if !writer.entity.is_user_defined() && !self.given.contains_key(&writer) {
            return Hearing::AsItIs;
        }
        self.make_room(&writer);
        let given = self.given.entry(writer).or_default();
        let is_after_another = given.has_just_heard(heartbeat, now);
        // Dust would forget that it lacks what lies between. Later, the writer has those samples no longer.
        let is_overtaken = is_after_another && heartbeat.last < given.told();
        if heartbeat.count > given.count {
            // Another reader may not have answered yet what it was told.
            if is_overtaken || (is_after_another && contacts.would_lose(&writer, heartbeat)) {
                return Hearing::Withheld;
            }
            given.hears(heartbeat.count, heartbeat, now);
            return Hearing::AsItIs;
        }
        given.is_ahead |= rose && heartbeat.count < given.count;
        if !rose
            || is_overtaken
            || given.has_just_said(&writer, heartbeat, now, contacts)
            || contacts.would_lose(&writer, heartbeat)
        {
            return Hearing::AsItIs;
        }
        given.hears(given.count.saturating_add(1), heartbeat, now);
        Hearing::Rewritten { last: heartbeat.last, count: given.count }
    }

    /// What Dust may hear, up to `last`, of a HEARTBEAT by which others of its readers would lose what they wait for: nobody hears it who
    /// has heard as high a count of that writer.
    pub(super) fn hear_apart(&self, writer: &Guid, heartbeat: &Heartbeat, last: i64) -> Hearing {
        let (count, told) = self.given.get(writer).map_or((0, 0), |given| (given.count, given.told()));
        if heartbeat.count > count || last < told {
            return Hearing::Withheld;
        }
        Hearing::Rewritten { last, count: heartbeat.count }
    }

    /// The count of a HEARTBEAT that Dust is to hear whatever it has heard before.
    pub(super) fn raise(&mut self, writer: Guid, heartbeat: &Heartbeat, now: Instant) -> i32 {
        self.make_room(&writer);
        let given = self.given.entry(writer).or_default();
        given.hears(heartbeat.count.max(given.count.saturating_add(1)), heartbeat, now);
        given.count
    }

    /// Forgets writers where another would be too many: those first whose own counts are as high as what Dust was given. Of the
    /// others Dust hears again once those have caught up.
    fn make_room(&mut self, writer: &Guid) {
        if self.given.len() < COUNTS_MAX || self.given.contains_key(writer) {
            return;
        }
        self.given.retain(|_, given| given.is_ahead);
        if self.given.len() > AHEAD_MAX {
            self.given.clear();
        }
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&Guid) -> bool) {
        self.given.retain(|writer, _| !gone(writer));
    }
}

/// As many as two participants may have endpoints: some megabytes.
const COUNTS_MAX: usize = 1 << 14;
/// Those that are remembered before others, so few that there is room for long once they are looked for.
const AHEAD_MAX: usize = COUNTS_MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::tests::acknowledges;
    use crate::rtps::{EntityId, GuidPrefix};
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
            let rose = self.contacts.may_hear(&writer, &heartbeat, self.now, |_| false);
            rose.map_or(Hearing::Withheld, |rose| {
                self.counts.hear(writer, &heartbeat, rose, self.now, &self.contacts)
            })
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

    fn other(number: usize) -> Guid {
        let [.., high, middle, low] = number.to_be_bytes();
        Guid { entity: EntityId([high, middle, low, 3]), ..WRITER }
    }

    #[test]
    fn a_reader_that_is_behind_goes_on_hearing_its_writer_however_many_others_speak() {
        let mut hearers = Hearers::new();
        assert_eq!(hearers.hear(WRITER, READERS[0], 1, 7, 1_000), Hearing::AsItIs);
        assert_eq!(hearers.hear(WRITER, READERS[1], 1, 8, 5), Hearing::Rewritten { last: 8, count: 1_001 });
        for number in 0..2 * COUNTS_MAX {
            assert_eq!(hearers.hear(other(2 + number), READERS[0], 1, 7, 1), Hearing::AsItIs);
            assert!(hearers.counts.given.len() <= COUNTS_MAX);
        }
        assert_eq!(hearers.hear(WRITER, READERS[1], 1, 9, 6), Hearing::Rewritten { last: 9, count: 1_002 });
    }

    #[test]
    fn the_counts_are_bounded_though_each_writer_has_a_reader_that_is_behind() {
        let mut hearers = Hearers::new();
        for number in 0..2 * COUNTS_MAX {
            for (reader, count) in [(0, 9), (1, 8)] {
                hearers.hear(other(number), READERS[reader], 1, 7, count);
            }
            assert!(hearers.counts.given.len() <= COUNTS_MAX);
        }
    }
}
