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
//!
//! Some it never reports, and nobody has taken anything. A participant whose lease ran out and that comes back it reports as found, and has its
//! readers back by then, unmatched and without a word until they announce themselves anew. Whether the lease ran out a session may not
//! know, as that was before it; so whoever is known already when its participant is found may be missing for however long. It is the same
//! with whom the session itself does not listen to, since it is over.

use super::{Registry, split};
use crate::config::is_secured;
use crate::protocol::{Entity, Prefix, TopicHash};
use rustdds::DomainParticipantStatusEvent as Status;
use rustdds::dds::statusevents::LostReason;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Who is missing.
#[derive(Debug, Default)]
pub(super) struct Unreported {
    /// By topic, and since when as far as is known; `None`: it may be for however long.
    readers: BTreeMap<TopicHash, BTreeMap<(Prefix, Entity), Option<Instant>>>,
    /// Participants that were found since the last comparison, while writers shared. (A writer that comes later RustDDS tells of all readers
    /// that it knows.)
    found: BTreeSet<Prefix>,
    /// Participants whose lease was over, the latest of them. If they come back RustDDS knows their readers again, and reports none that does
    /// not announce itself anew.
    lapsed: VecDeque<Prefix>,
}

impl Unreported {
    /// Who is lost is not missing.
    pub(super) fn lose(&mut self, lost: impl Fn(&(Prefix, Entity)) -> bool) {
        self.readers.retain(|_, readers| {
            readers.retain(|reader, _| !lost(reader));
            !readers.is_empty()
        });
    }
}

impl Registry {
    /// Whether it matters who is missing.
    fn compares(&self) -> bool {
        self.doubted.is_none() && self.locator.is_some() && self.writers.values().any(|writer| writer.shares)
    }

    /// If it matters who is missing, those who were found up to now: before it is asked whom RustDDS knows.
    pub(crate) fn begin_comparison(&mut self) -> Option<BTreeSet<Prefix>> {
        let found = std::mem::take(&mut self.unreported.found);
        self.compares().then_some(found)
    }

    /// Which participants RustDDS has found and lost.
    pub(super) fn note_participant(&mut self, status: &Status) {
        match status {
            Status::ParticipantDiscovered { dpd } => self.find_participant(split(&dpd.guid).0),
            Status::ParticipantLost { id, reason } if !matches!(reason, LostReason::Disposed) => {
                let Ok(prefix) = Prefix::try_from(id.as_ref()) else { return };
                let lapsed = &mut self.unreported.lapsed;
                if lapsed.contains(&prefix) {
                    return;
                }
                if lapsed.len() == LAPSED_MAX {
                    lapsed.pop_front();
                }
                lapsed.push_back(prefix);
            }
            _ => {}
        }
    }

    /// RustDDS has found this participant, perhaps once more.
    pub(super) fn find_participant(&mut self, participant: Prefix) {
        if self.compares() {
            self.unreported.found.insert(participant);
        }
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

    /// Whether anybody is missing who must not be for long.
    pub(crate) fn is_waiting_for_reports(&self) -> bool {
        self.unreported.readers.values().flat_map(BTreeMap::values).any(Option::is_some)
    }

    /// These readers RustDDS knows now, when these participants were found; one that has been missing for too long, and its topic.
    pub(crate) fn compare(
        &mut self,
        found: &BTreeSet<Prefix>,
        known: impl IntoIterator<Item = (TopicHash, (Prefix, Entity))>,
        now: Instant,
    ) -> Option<(String, (Prefix, Entity))> {
        let before = std::mem::take(&mut self.unreported.readers);
        let sharing = self.writers.values().filter(|writer| writer.shares).map(|writer| writer.hash);
        let sharing: HashSet<TopicHash> = sharing.collect();
        let known = known.into_iter().filter(|(topic, _)| sharing.contains(topic));
        let mut missing = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (topic, reader) in known.filter(|(topic, reader)| self.is_missing(*topic, reader)) {
            let since = before.get(&topic).and_then(|readers| readers.get(&reader)).copied();
            let is_excused = found.contains(&reader.0) || self.ended.contains(reader);
            let since = since.unwrap_or(Some(now)).filter(|_| !is_excused);
            missing.entry(topic).or_default().insert(reader, since);
        }
        self.stale |= missing != before;
        self.unreported.readers = missing;
        let mut all = self.unreported.readers.iter().flat_map(|(topic, readers)| {
            readers.iter().filter_map(move |(&reader, &since)| Some((topic, reader, since?)))
        });
        let (topic, reader, _) = all.find(|(.., since)| now.duration_since(*since) >= PATIENCE)?;
        let writer = self.writers.values().find(|writer| writer.hash == *topic)?;
        Some((writer.topic.clone(), reader))
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
