//! The play: one writer, and readers that are prompt, slow and late.
//!
//! ```text
//!  writer   greets │ 0 1 2 3 4 5 (dispose 0) 6 7 8 9 10 11 │             │ LAST
//!  prompt   ◀──────│ each sample as it comes              │             │
//!  slow     ◀──────│                                      │ all at once │
//!  late            │                                      │ is made     │ all at once
//! ```

use crate::parties::{eventually, within};
use crate::qos::stage::{Eye, Pen, Row, Seen, Stage, What};
use rustdds::policy::{Durability, History};
use rustdds::{
    DataReaderStatus, DataWriterStatus, DomainParticipantStatusEvent as Event, GUID, QosPolicies,
    ReadCondition, Timestamp,
};
use std::time::Duration;
use zerodds_rustdds::Events;

/// One set of circumstances.
pub(crate) struct Scene {
    pub name: String,
    pub writer: QosPolicies,
    pub reader: QosPolicies,
    pub len: usize,
    pub keyed: bool,
    /// Whether samples have to go through shared memory.
    pub shared: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub prompt: Vec<Seen>,
    pub slow: Vec<Seen>,
    pub late: Vec<Seen>,
    /// What the writer's session counted of the samples; `None` for the plain cast.
    pub shared: Option<u64>,
    /// Descriptors without a sample before the late reader came, in all sessions.
    pub gone: u64,
}

pub(crate) const SAMPLES: u32 = 12;
const KEYS: u32 = 3;
const LAST: u32 = 1_000;
const GREETING: u32 = 1_000_000;
const GREETING_KEY: u32 = 999;

/// What the writer does, in order.
pub(crate) fn written(keyed: bool) -> Vec<What> {
    let mut written: Vec<_> = (0..SAMPLES).map(What::Sample).collect();
    if keyed {
        written.insert(6, What::Dispose(0));
    }
    written
}

impl Scene {
    pub(crate) fn key(&self, what: What) -> u32 {
        match what {
            What::Sample(number) if self.keyed => number % KEYS,
            What::Sample(_) => 0,
            What::Dispose(key) => key,
        }
    }

    /// What a reader that takes everything at once has then: the last ones of each instance.
    pub(crate) fn history(&self, of: &[What]) -> Vec<What> {
        let depth = match self.reader.history() {
            Some(History::KeepAll) => usize::MAX,
            Some(History::KeepLast { depth }) => depth as usize,
            None => 1,
        };
        let newer =
            |at: usize| of[at + 1..].iter().filter(|other| self.key(**other) == self.key(of[at])).count();
        (0..of.len()).filter(|&at| newer(at) < depth).map(|at| of[at]).collect()
    }

    /// What a reader finds that is made after everything was written.
    pub(crate) fn history_for_late(&self) -> Vec<What> {
        // RustDDS serves it to volatile readers too, and to reliable ones only.
        let durable = self.writer.durability() != Some(Durability::Volatile);
        if durable && self.reader.is_reliable() { self.history(&written(self.keyed)) } else { Vec::new() }
    }

    pub(crate) fn play(&self, stage: &Stage) -> Outcome {
        let topic = crate::parties::unique(&self.name);
        let events = stage.events(Stage::WRITER);
        let writer = stage.writer(&topic, self.keyed, &self.writer);
        let mut prompt = stage.reader(Stage::PROMPT, &topic, self.keyed, &self.reader);
        let mut slow = stage.reader(Stage::SLOW, &topic, self.keyed, &self.reader);
        wait_for_matches(&*writer, 2, &[&*prompt, &*slow]);
        self.greet(stage, &*writer, &mut [&mut *prompt, &mut *slow]);

        let gone = || (0..4).filter_map(|at| stage.stats(at)).map(|stats| stats.gone_samples).sum::<u64>();
        let (before, gone_before) = (stage.stats(Stage::WRITER), gone());
        let mut outcome =
            Outcome { prompt: self.write(&*writer, &mut *prompt, &mut *slow), ..self.nothing() };
        let after = stage.stats(Stage::WRITER);
        outcome.shared =
            before.zip(after).map(|(before, after)| after.shared_samples - before.shared_samples);
        outcome.slow = self.take_at_once(&*writer, &mut *slow, What::Sample(SAMPLES - 1));
        outcome.gone = gone() - gone_before;

        let mut late = stage.reader(Stage::LATE, &topic, self.keyed, &self.reader);
        wait_for_matches(&*writer, 1, &[&*late]);
        // The statuses of a writer come from RustDDS, a moment before its session has acted on them.
        events.inspect(|events| wait_for_session(events, writer.guid(), 3));
        if !self.history_for_late().is_empty() {
            outcome.late = self.take_at_once(&*writer, &mut *late, What::Sample(SAMPLES - 1));
        }
        let last = Row::new(self.key(What::Sample(LAST)), LAST, self.len);
        assert!(writer.write(last, Some(time(LAST))));
        outcome.late.extend(self.take_at_once(&*writer, &mut *late, What::Sample(LAST)));

        for seen in [&mut outcome.prompt, &mut outcome.slow, &mut outcome.late].into_iter().flatten() {
            assert_eq!(seen.writer.take(), Some(writer.guid()), "{}", self.name);
        }
        outcome
    }

    fn nothing(&self) -> Outcome {
        Outcome { prompt: Vec::new(), slow: Vec::new(), late: Vec::new(), shared: None, gone: 0 }
    }

    /// Writes greetings until everybody has one that went the way that all samples are to go.
    fn greet(&self, stage: &Stage, writer: &dyn Pen, readers: &mut [&mut dyn Eye]) {
        let mut number = GREETING;
        eventually(&format!("{}: everybody is greeted", self.name), || {
            number += 1;
            let before = stage.stats(Stage::WRITER);
            assert!(writer.write(Row::new(GREETING_KEY, number, self.len), None));
            let after = stage.stats(Stage::WRITER);
            let is_greeted = |reader: &mut &mut dyn Eye| {
                within(Duration::from_millis(500), || {
                    reader.take().iter().any(|seen| seen.what == What::Sample(number))
                })
            };
            let all = readers.iter_mut().all(is_greeted);
            let alone = before.zip(after).is_none_or(|(before, after)| {
                let plain = after.plain_samples - before.plain_samples == 1;
                let described = after.descriptors - before.descriptors;
                if self.shared { described == 1 && !plain } else { plain }
            });
            all && alone
        });
    }

    fn is_reliable(&self) -> bool {
        self.reader.is_reliable() && self.writer.is_reliable()
    }

    /// Writes everything; the prompt reader has each before the next. It reads every second before it takes it. Best
    /// effort, the slow one has each too, which it reads: UDP loses none that a socket has room for.
    fn write(&self, writer: &dyn Pen, reader: &mut dyn Eye, slow: &mut dyn Eye) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (nth, what) in (0..).zip(written(self.keyed)) {
            match what {
                What::Sample(number) => {
                    let row = Row::new(self.key(what), number, self.len);
                    assert!(writer.write(row, Some(time(nth))), "{}: {what:?} would block", self.name);
                }
                What::Dispose(key) => writer.dispose(key, time(nth)),
            }
            if nth % 2 == 0 {
                seen.extend(first(|| reader.read(ReadCondition::not_read()), &self.name, what));
            }
            seen.extend(first(|| reader.take(), &self.name, what));
            if !self.is_reliable() {
                self.wait_to_read(slow, what);
            }
        }
        seen
    }

    /// Takes once, when everything is there. Reliable: when it was acknowledged. Best effort: when the last was read.
    fn take_at_once(&self, writer: &dyn Pen, reader: &mut dyn Eye, last: What) -> Vec<Seen> {
        if self.is_reliable() {
            assert!(writer.is_acknowledged(), "{}: acknowledged", self.name);
        } else {
            self.wait_to_read(reader, last);
        }
        let mut seen = reader.take();
        seen.retain(|seen| !matches!(seen.what, What::Sample(GREETING..)));
        seen
    }

    fn wait_to_read(&self, reader: &mut dyn Eye, what: What) {
        eventually(&format!("{}: {what:?} is read", self.name), || {
            reader.read(ReadCondition::any()).iter().any(|seen| seen.what == what)
        });
    }
}

/// Writes samples until the reader has the last of them, by shared memory if the cast has any. Nothing of this is under
/// way afterwards, as RTPS is in order.
pub(crate) fn greet(stage: &Stage, writer: &dyn Pen, reader: &mut dyn Eye, len: usize) {
    let mut number = GREETING;
    eventually("they meet", || {
        number += 1;
        let before = stage.stats(Stage::WRITER);
        writer.write(Row::new(0, number, len), None);
        let after = stage.stats(Stage::WRITER);
        let shared =
            before.zip(after).is_none_or(|(before, after)| after.shared_samples > before.shared_samples);
        let has_come = || reader.take().iter().any(|seen| seen.what == What::Sample(number));
        within(Duration::from_millis(500), has_come) && shared
    });
}

pub(crate) fn wait_for_matches(writer: &dyn Pen, readers: usize, eyes: &[&dyn Eye]) {
    let mut matched = 0;
    eventually("the writer is matched", || {
        while let Some(status) = writer.status() {
            matched += usize::from(matches!(status, DataWriterStatus::PublicationMatched { .. }));
        }
        matched >= readers
    });
    for eye in eyes {
        eventually("the reader is matched", || {
            matches!(eye.status(), Some(DataReaderStatus::SubscriptionMatched { .. }))
        });
    }
}

/// Waits until a writer's session has acted on this many matches of it.
pub(crate) fn wait_for_session(events: &Events, writer: GUID, mut readers: usize) {
    eventually("the session knows the readers", || {
        while let Some(event) = events.try_next() {
            let own =
                matches!(event, Event::RemoteReaderMatched { local_writer, .. } if local_writer == writer);
            readers -= usize::from(own);
        }
        readers == 0
    });
}

fn first(mut look: impl FnMut() -> Vec<Seen>, scene: &str, what: What) -> Vec<Seen> {
    let mut seen = Vec::new();
    eventually(&format!("{scene}: {what:?} comes"), || {
        seen = look();
        seen.retain(|seen| !matches!(seen.what, What::Sample(GREETING..)));
        !seen.is_empty()
    });
    seen
}

/// A source timestamp that both casts give to the same sample.
pub(crate) fn time(nth: u32) -> Timestamp {
    Timestamp::from_ticks((1_700_000_000 + u64::from(nth)) << 32)
}
