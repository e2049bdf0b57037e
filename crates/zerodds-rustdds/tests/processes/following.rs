//! Readers that check what they take, and the moment from which everything goes by shared memory.

use crate::parties::{Chunk, PATIENCE, Party, best_effort, eventually, keep_all, reliable};
use rustdds::policy::{History, Reliability};
use rustdds::qos::HasQoSPolicy;
use rustdds::{DomainParticipant, QosPolicies, QosPolicyBuilder, ReadCondition, WriteOptions};
use std::collections::BTreeMap;
use std::time::Duration;
use zerodds_rustdds::{Config, ZeroDds, no_key};

/// A participant with a session in this domain.
pub(crate) fn join(domain: u16) -> Party {
    let participant = DomainParticipant::new(domain).expect("a participant");
    let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
    Party { participant, zerodds }
}

/// QoS in a word: `all:<max_samples>:<max_blocking_ms>`, `last:<depth>` with or without `:<max_blocking_ms>`, or `best:<depth>`.
pub(crate) fn qos(word: &str) -> QosPolicies {
    let mut words = word.split(':');
    let kind = words.next();
    let mut number = || words.next().map(|word| word.parse().expect("a number"));
    let first = number().expect("a number");
    match (kind, number()) {
        (Some("all"), Some(max_blocking_ms)) => keep_all(first, max_blocking_ms.into()),
        (Some("last"), None) => reliable(History::KeepLast { depth: first }),
        (Some("last"), Some(max_blocking_ms)) => {
            let max_blocking_time = rustdds::Duration::from_millis(max_blocking_ms.into());
            let waits = Reliability::Reliable { max_blocking_time };
            let waits = QosPolicyBuilder::new().reliability(waits).build();
            reliable(History::KeepLast { depth: first }).modify_by(&waits)
        }
        (Some("best"), None) => best_effort(first),
        other => panic!("no such QoS: {other:?}"),
    }
}

/// Takes samples and checks them: intact, and those of each writer in order; none left out where the reader is reliable.
///
/// A stranger is a writer that writes before it has met this reader. Of what it wrote then RustDDS delivers what it still
/// has, and there may be holes in it: samples that only went into the memory of those whom it had met already.
pub(crate) struct Follower {
    reader: no_key::DataReader<Chunk>,
    gapless: bool,
    next: BTreeMap<u32, u32>,
    /// Samples of strangers in such holes.
    pub(crate) left_out: u64,
}

impl Follower {
    pub(crate) fn new(party: &Party, topic: &str, qos_word: &str) -> Self {
        let reader = party.reader(topic, &qos(qos_word));
        let gapless = matches!(reader.qos().reliability(), Some(Reliability::Reliable { .. }));
        Self { reader, gapless, next: BTreeMap::new(), left_out: 0 }
    }

    /// A reader to which all writers are strangers.
    pub(crate) fn of_strangers(party: &Party, topic: &str, qos_word: &str) -> Self {
        Self { gapless: false, ..Self::new(party, topic, qos_word) }
    }

    /// What has come and belongs to the test.
    pub(crate) fn take(&mut self) -> Vec<Chunk> {
        self.take_up_to(usize::MAX)
    }

    pub(crate) fn take_up_to(&mut self, max_samples: usize) -> Vec<Chunk> {
        let taken = self.reader.take(max_samples, ReadCondition::any()).expect("taken");
        let mut chunks: Vec<Chunk> = taken.into_iter().map(|sample| sample.into_value()).collect();
        for chunk in &chunks {
            assert!(chunk.is_intact(), "{} of writer {}", chunk.number, chunk.writer);
            if chunk.writer == SETTLING {
                self.next.insert(SETTLING, chunk.number + 1);
                continue;
            }
            let next = self.next.entry(chunk.writer).or_insert(chunk.number);
            let is_next = chunk.number == *next;
            let may_skip = !self.gapless || chunk.writer >= STRANGERS;
            assert!(
                is_next || (may_skip && chunk.number > *next),
                "{} of writer {} where {next} is next",
                chunk.number,
                chunk.writer
            );
            self.left_out += u64::from(chunk.number - *next);
            *next = chunk.number + 1;
        }
        chunks.retain(|chunk| chunk.writer != SETTLING);
        chunks
    }

    /// The number that comes next of this writer; `None` before its first.
    pub(crate) fn next(&self, writer: u32) -> Option<u32> {
        self.next.get(&writer).copied()
    }

    /// Takes until the samples of this writer have come up to here.
    pub(crate) fn take_until(&mut self, writer: u32, next: u32) {
        eventually(&format!("writer {writer} has come to {next}"), || {
            self.take();
            self.next(writer).is_some_and(|come| come >= next)
        });
    }

    /// Whether it has heard of a writer that settles, and whether that has settled.
    pub(crate) fn heard(&self) -> bool {
        self.next(SETTLING).is_some()
    }

    pub(crate) fn has_settled(&self) -> bool {
        self.next(SETTLING) == Some(SETTLED + 1)
    }

    /// Another writer will settle.
    pub(crate) fn forget(&mut self) {
        self.next.remove(&SETTLING);
    }
}

/// Writes until all readers are matched, as `all_hear` says, and one descriptor reaches them all.
pub(crate) fn settle(from: &Party, writer: &no_key::DataWriter<Chunk>, mut all_hear: impl FnMut() -> bool) {
    let mut last = None;
    eventually("one descriptor reaches all readers", || {
        let heard = all_hear();
        let before = from.zerodds.stats().descriptors;
        let Some(sequence) = say(writer, SETTLING_YET) else { return false };
        let described = from.zerodds.stats().descriptors - before == 1;
        let directly = last.replace(sequence) == Some(sequence - 1);
        std::thread::sleep(Duration::from_millis(3));
        heard && described && directly
    });
    eventually("there is room for one more", || {
        all_hear();
        say(writer, SETTLED).is_some()
    });
}

/// The sequence number under which it was said.
fn say(writer: &no_key::DataWriter<Chunk>, number: u32) -> Option<i64> {
    let chunk = Chunk::new(SETTLING, number, 16 << 10);
    let written = writer.write_with_options(chunk, WriteOptions::from(None));
    written.ok().map(|identity| identity.sequence_number.into())
}

/// Writes samples of this writer's number, each of which must be accepted in time.
pub(crate) fn write(writer: &no_key::DataWriter<Chunk>, id: u32, numbers: std::ops::Range<u32>, len: usize) {
    for number in numbers {
        writer.write(Chunk::new(id, number, len), None).expect("written in time");
    }
}

/// A reliable QoS with which nobody waits for less than [`PATIENCE`].
pub(crate) fn patient(max_samples: i32) -> String {
    format!("all:{max_samples}:{}", 2 * PATIENCE.as_millis())
}

/// The same, of one that keeps the last.
pub(crate) fn patient_last(depth: i32) -> String {
    format!("last:{depth}:{}", 2 * PATIENCE.as_millis())
}

/// Writer numbers from here on are those of strangers.
pub(crate) const STRANGERS: u32 = 1_000;

/// The writer number of samples that are no part of a test, and what they say.
const SETTLING: u32 = 0;
const SETTLING_YET: u32 = 0;
const SETTLED: u32 = 1;
