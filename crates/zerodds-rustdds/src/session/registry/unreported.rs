//! Readers that RustDDS knows and has not reported all of: somebody else reads its only queue of reports.
//!
//! ```text
//!   RustDDS ─┬─ what it knows ─────────────────────▶ compared ──▶ missing: plain samples for all; for too long: doubt
//!            └─ queue ──┬─ session ── matched, refused ───▲
//!                       └─ participant.status_listener(), of whoever has the participant
//! ```
//! It knows a reader before it reports whether it suits a writer, and does so later where it is busy. So whoever is missing is taken for a
//! reader that is about to be matched, which holds up nothing but shared memory on its topic, and only if that stays so the reports are not
//! believed any more.

use super::Registry;
use crate::config::is_secured;
use crate::protocol::{Entity, Prefix, TopicHash};
use rustdds::dds::statusevents::LostReason;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Who is missing.
#[derive(Debug, Default)]
pub(super) struct Unreported {
    /// By topic, and since when as far as is known.
    readers: BTreeMap<TopicHash, BTreeMap<(Prefix, Entity), Instant>>,
    /// Participants whose lease was over, the latest of them. If they come back RustDDS knows their readers again, and reports none that does
    /// not announce itself anew.
    lapsed: VecDeque<Prefix>,
}

impl Unreported {
    /// RustDDS has lost this participant.
    pub(super) fn lose(&mut self, participant: Prefix, reason: &LostReason) {
        if matches!(reason, LostReason::Disposed) || self.lapsed.contains(&participant) {
            return;
        }
        if self.lapsed.len() == LAPSED_MAX {
            self.lapsed.pop_front();
        }
        self.lapsed.push_back(participant);
    }
}

impl Registry {
    /// Whether it matters who is missing.
    pub(crate) fn compares(&self) -> bool {
        self.doubted.is_none() && self.locator.is_some() && self.writers.values().any(|writer| writer.shares)
    }

    /// Those of this topic that were not found otherwise.
    pub(super) fn unfound(&self, topic: TopicHash) -> impl Iterator<Item = &(Prefix, Entity)> {
        let is_found = move |reader: &&(Prefix, Entity)| self.is_found(topic, reader);
        let missing = self.unreported.readers.get(&topic).into_iter().flat_map(BTreeMap::keys);
        missing.filter(move |reader| !is_found(reader))
    }

    fn is_found(&self, topic: TopicHash, reader: &(Prefix, Entity)) -> bool {
        self.found.get(&topic).is_some_and(|found| found.contains(reader))
    }

    /// Whether anybody is missing.
    pub(crate) fn is_waiting_for_reports(&self) -> bool {
        !self.unreported.readers.is_empty()
    }

    /// These readers RustDDS knows now; whether one has been missing for too long.
    pub(crate) fn compare(
        &mut self,
        known: impl IntoIterator<Item = (TopicHash, (Prefix, Entity))>,
        now: Instant,
    ) -> bool {
        let before = std::mem::take(&mut self.unreported.readers);
        let mut missing = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (topic, reader) in known.into_iter().filter(|(topic, reader)| self.is_missing(*topic, reader)) {
            let since = before.get(&topic).and_then(|readers| readers.get(&reader)).copied();
            missing.entry(topic).or_default().insert(reader, since.unwrap_or(now));
        }
        self.stale |= missing != before;
        self.unreported.readers = missing;
        let mut all = self.unreported.readers.values().flat_map(BTreeMap::values);
        all.any(|&since| now.duration_since(since) >= PATIENCE)
    }

    fn is_missing(&self, topic: TopicHash, reader: &(Prefix, Entity)) -> bool {
        let mut writers = self.writers.iter().filter(|(_, writer)| writer.shares && writer.hash == topic);
        // What has ended here RustDDS forgets when it hears so itself.
        let has_ended = reader.0 == self.own && self.ended.contains(*reader);
        // Under DDS Security it leaves readers that it has found aside without a word.
        let is_left_aside = is_secured(self.own) && self.is_found(topic, reader);
        writers.any(|(&writer, _)| !self.is_settled(writer, reader))
            && !self.unreported.lapsed.contains(&reader.0)
            && !has_ended
            && !is_left_aside
    }
}

/// Longer than RustDDS is busy with what is discovered at once.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(10);
/// More than come back at a time.
const LAPSED_MAX: usize = 1024;
