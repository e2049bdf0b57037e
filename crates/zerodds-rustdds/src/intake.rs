//! The part of a reader that does not depend on its type: asks RustDDS in its own name, skips descriptors without a
//! sample, and says what was taken.

use crate::account::Keep;
use crate::asking::{Asking, Missed, Seen};
use crate::lifespan::Lifespan;
use crate::protocol::{Consumed, Entity, Prefix, SampleKey, TopicHash};
use crate::session::{Limit, Owner, split};
use parking_lot::{Mutex, MutexGuard};
use rustdds::dds::{ReadError, ReadResult};
use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{QosPolicies, QosPolicyBuilder, SampleInfo};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use zerodds_core::Incarnation;

/// A reader, as the session sees it.
pub(crate) struct Intake {
    owner: Arc<Owner>,
    reader: Entity,
    progress: Arc<Progress>,
    /// Losses of writers that this reader has looked into.
    losses_seen: AtomicU64,
    /// Somebody follows its status, and RustDDS keeps the reader for them.
    is_followed: AtomicBool,
}

/// What a reader's application has taken, for writers that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Samples after which a writer is told; 0: writers need not know.
    every: AtomicI64,
    taken: Mutex<BTreeMap<(Prefix, Entity), Taken>>,
    /// The latest samples that the reader will not be given, of which writers were told: said again on a new link, since
    /// nothing may follow by which their writer could see it.
    missed: Mutex<VecDeque<SampleKey>>,
    reading: Mutex<Reading>,
    /// Samples of RTPS that could not be decoded, all told: what of them is under way yet, and whose they are, each writer
    /// knows by what was taken.
    unreadable: AtomicU64,
}

/// How far the application is behind what was decoded for it.
#[derive(Debug, Default)]
struct Reading {
    /// Samples that were decoded, and not taken.
    ready: usize,
    /// Samples that could not be, and of which no writer was told yet.
    unreadable: usize,
    /// The last call into RustDDS decoded all that had come: it stops at what it cannot decode.
    has_all: bool,
    /// A writer has gone since there was such a call: what it left may lie there yet.
    has_bequest: bool,
    /// Samples that have expired since, of which their writers were told: RustDDS may hold their descriptors yet.
    expired: HashSet<SampleKey>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    up_to: i64,
    /// What its process was told, which may not have looked yet.
    told: i64,
    /// The writer waits for it, as far as is known here.
    is_awaited: bool,
}

/// What a writer is to be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// What was taken, for when it looks.
    UpTo(Consumed),
    /// The same, and it waits for it.
    Aloud(Consumed),
    /// It waits for what is less than a quarter of its window: in a moment, when that may be more.
    Soon,
    Nothing,
}

impl Progress {
    /// Each writer may have this many samples under way. It is told at every quarter of them, so that it never waits
    /// for what it does not hear.
    pub(crate) fn set_window(&self, window: u32) {
        let every = if window == 0 { 0 } else { i64::from(window / 4).max(1) };
        self.every.store(every, Ordering::Relaxed);
    }

    /// This writer is new here, and may wait already without having been heard; what it is told.
    pub(crate) fn meet(&self, writer: (Prefix, Entity)) -> Option<Consumed> {
        if !self.matters() {
            return None;
        }
        self.taken.lock().entry(writer).or_default().tell_anew(self.unreadable())
    }

    /// The writers that `of` chooses may not have heard what they were told, nor have been heard when they asked for more;
    /// what they are told.
    pub(crate) fn all(&self, of: impl Fn(&Prefix) -> bool) -> Vec<((Prefix, Entity), Consumed)> {
        let mut taken = self.taken.lock();
        let chosen = taken.iter_mut().filter(|((prefix, _), _)| of(prefix));
        chosen.filter_map(|(writer, taken)| Some((*writer, taken.tell_anew(self.unreadable())?))).collect()
    }

    /// This writer waits, and has heard of what was taken up to there; what it is told.
    pub(crate) fn awaited(&self, writer: (Prefix, Entity), heard: i64) -> Telling {
        let mut all = self.taken.lock();
        let taken = all.entry(writer).or_default();
        taken.is_awaited = true;
        if taken.told > heard {
            // It looked just before that was said.
            Telling::Aloud(taken.tell_aloud(self.unreadable()))
        } else if taken.up_to > taken.told {
            Telling::Soon
        } else {
            Telling::Nothing
        }
    }

    /// Writers that wait, and up to where samples were taken that they were not told of. They ask again if that is not
    /// enough.
    pub(crate) fn owed(&self) -> Vec<((Prefix, Entity), Consumed)> {
        let mut taken = self.taken.lock();
        let owed = taken.iter_mut().filter(|(_, taken)| taken.is_awaited && taken.up_to > taken.told);
        owed.map(|(writer, taken)| (*writer, taken.tell_aloud(self.unreadable()))).collect()
    }

    /// The reader will never be given this sample, of which a descriptor came; whether its writer has yet to be told.
    fn miss(&self, sample: SampleKey) -> bool {
        let is_news = !self.reading.lock().expired.remove(&sample);
        if is_news {
            self.remember(sample);
        }
        is_news
    }

    /// This sample has expired, and no descriptor of it was decoded; whether its writer is to be told. For each that is, the writer sends
    /// another one, and RustDDS, which keeps the descriptors until the reader looks, drops the oldest where there are too many of them, be
    /// they a live sample's of another writer.
    pub(crate) fn expire(&self, sample: SampleKey, limit: u32) -> bool {
        let mut reading = self.reading.lock();
        let has_place = reading.expired.len() < EXPIRED_PER_ROOM * limit as usize;
        let is_news = has_place && reading.expired.insert(sample);
        drop(reading);
        if is_news {
            self.remember(sample);
        }
        is_news
    }

    fn remember(&self, sample: SampleKey) {
        let mut missed = self.missed.lock();
        if missed.len() == MISSED_MAX {
            missed.pop_front();
        }
        missed.push_back(sample);
    }

    /// Samples of this session that the reader was not given, the latest of them.
    pub(crate) fn missed(&self, owner: Incarnation) -> Vec<SampleKey> {
        self.missed.lock().iter().filter(|sample| sample.owner == owner).copied().collect()
    }

    /// So much was decoded for the application by one call, of what had come all or not; what writers are told.
    fn decoded(&self, seen: Seen, has_all: bool) -> Vec<((Prefix, Entity), Consumed)> {
        let mut reading = self.reading.lock();
        reading.ready += seen.readable;
        reading.unreadable += seen.unreadable;
        reading.has_all = has_all;
        reading.has_bequest &= !has_all;
        if has_all {
            reading.expired.clear();
        }
        self.tell_unreadable(reading)
    }

    /// The application has taken so many samples, or (`None`) all that it wants; what writers are told.
    fn handed_over(&self, count: Option<usize>) -> Vec<((Prefix, Entity), Consumed)> {
        let mut reading = self.reading.lock();
        reading.ready = count.map_or(0, |count| reading.ready.saturating_sub(count));
        self.tell_unreadable(reading)
    }

    /// Of a sample of RTPS that cannot be decoded RustDDS says neither whose it is nor which, so all writers are told how many there
    /// were, and each takes as many of its oldest that were not taken for them. That is said once everything is taken that was decoded.
    ///
    /// One writer alone is told at once: what cannot be decoded is the oldest of its own. Where there are several, RustDDS decodes
    /// theirs one writer after the other, up to the first that it cannot: of another one good samples may lie behind. So they are told when
    /// all that had come is decoded, and a writer goes on early for no more than what is under way to the reader then. So does one of which
    /// undecodable samples came between good ones: it is told of them when it does not owe them any more. And one that RTPS has matched late,
    /// or again, is told in sum, by which it goes on early for a window at most, once.
    fn tell_unreadable(&self, mut reading: MutexGuard<'_, Reading>) -> Vec<((Prefix, Entity), Consumed)> {
        if reading.ready > 0 || reading.unreadable == 0 {
            return Vec::new();
        }
        let mut all = self.taken.lock();
        if !reading.has_all && (all.len() > 1 || reading.has_bequest) {
            return Vec::new();
        }
        // ORDER: Relaxed; a count. Whoever says it too early says that more is not waited for, as above.
        self.unreadable.fetch_add(std::mem::take(&mut reading.unreadable) as u64, Ordering::Relaxed);
        all.iter_mut().map(|(writer, taken)| (*writer, taken.tell_aloud(self.unreadable()))).collect()
    }

    fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Writers that are gone are not told anything.
    pub(crate) fn forget(&self, gone: impl Fn(&(Prefix, Entity)) -> bool) {
        let mut reading = self.reading.lock();
        let mut taken = self.taken.lock();
        let before = taken.len();
        taken.retain(|writer, _| !gone(writer));
        reading.has_bequest |= taken.len() < before;
    }

    /// Whether something was taken of this writer.
    fn knows(&self, writer: (Prefix, Entity)) -> bool {
        self.taken.lock().contains_key(&writer)
    }

    /// Whether any writer has to know.
    fn matters(&self) -> bool {
        self.every.load(Ordering::Relaxed) > 0
    }

    /// The application has taken everything of this writer up to here.
    fn took(&self, writer: (Prefix, Entity), sequence: i64) -> Telling {
        let every = self.every.load(Ordering::Relaxed);
        let mut all = self.taken.lock();
        let taken = all.entry(writer).or_default();
        taken.up_to = taken.up_to.max(sequence);
        let is_due = taken.up_to - taken.told >= every;
        match (is_due, taken.is_awaited) {
            (true, true) => Telling::Aloud(taken.tell_aloud(self.unreadable())),
            (true, false) => Telling::UpTo(taken.tell(self.unreadable())),
            (false, true) => Telling::Soon,
            (false, false) => Telling::Nothing,
        }
    }
}

impl Taken {
    fn tell(&mut self, unreadable: u64) -> Consumed {
        self.told = self.up_to;
        Consumed { up_to: self.up_to, unreadable }
    }

    fn tell_aloud(&mut self, unreadable: u64) -> Consumed {
        self.is_awaited = false;
        self.tell(unreadable)
    }

    /// What it may know already, if anything was taken: it does not ask again then, but goes on waiting for more.
    fn tell_anew(&mut self, unreadable: u64) -> Option<Consumed> {
        self.is_awaited = true;
        Some(self.tell(unreadable)).filter(|consumed| *consumed != Consumed::default())
    }
}

/// What a reader's QoS means for shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appetite {
    pub(crate) keep: Keep,
    pub(crate) limit: Limit,
    pub(crate) lifespan: Lifespan,
}

impl Appetite {
    pub(crate) fn of(qos: &QosPolicies) -> Self {
        let reliable = matches!(qos.reliability(), Some(Reliability::Reliable { .. }));
        let lifespan = Lifespan::of(qos);
        let of = |limit: i32| u32::try_from(limit).ok().filter(|&limit| limit > 0).unwrap_or(u32::MAX);
        let limits = qos.resource_limits();
        let samples = limits.map_or(RUSTDDS_MAX_SAMPLES, |limits| of(limits.max_samples)).min(WINDOW_MAX);
        let depth = match qos.history() {
            Some(History::KeepAll) => {
                if !reliable {
                    // Of each instance the reader inside keeps no more than it may.
                    return Self { keep: Keep::All(samples as usize), limit: None, lifespan };
                }
                let room = limits.map_or(samples, |limits| samples.min(of(limits.max_samples_per_instance)));
                return Self { keep: Keep::All(roomy(room) as usize), limit: Some(room), lifespan };
            }
            Some(History::KeepLast { depth }) => usize::try_from(depth).unwrap_or(1).max(1),
            None => 1,
        };
        let total = depth.max(samples as usize) + RUSTDDS_SLACK;
        Self { keep: Keep::Last { depth, total }, limit: None, lifespan }
    }

    /// The QoS of the reader inside: RustDDS drops what its caches have no room for, taken or not, so where our
    /// window sees to the limit, its own must not bite before.
    pub(crate) fn adjusted(self, qos: Option<QosPolicies>) -> Option<QosPolicies> {
        let Some(room) = self.limit else { return qos };
        let enough = roomy(room).try_into().unwrap_or(i32::MAX);
        let limits =
            ResourceLimits { max_samples: enough, max_instances: enough, max_samples_per_instance: enough };
        let roomy = QosPolicyBuilder::new().resource_limits(limits).build();
        Some(qos.unwrap_or_else(QosPolicies::qos_none).modify_by(&roomy))
    }
}

/// What is kept where windows see to this limit. What has not been taken has to fit: more than the limit where writers join meanwhile
/// (of *n* writers each has an *n*-th of it when it comes, so that thirty make four times the limit), and where each of many has one
/// sample. No more than that, since RustDDS keeps so many of what came in RTPS also when they were taken.
fn roomy(limit: u32) -> u32 {
    4 * limit + limit.clamp(WRITERS_BEYOND_MIN, WRITERS_BEYOND_MAX)
}

impl Intake {
    pub(crate) fn new(
        owner: &Arc<Owner>,
        guid: &rustdds::GUID,
        topic: Option<TopicHash>,
        appetite: Appetite,
    ) -> Self {
        let (_, reader) = split(guid);
        let progress = Arc::<Progress>::default();
        if let Some(topic) = topic {
            progress.set_window(appetite.limit.unwrap_or(0));
            owner.session.add_reader(reader, topic, appetite, Arc::clone(&progress));
        }
        Self {
            owner: Arc::clone(owner),
            reader,
            progress,
            losses_seen: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
        }
    }

    /// There is a stream of the reader's status, which may outlive this.
    pub(crate) fn follow(&self) {
        // ORDER: Relaxed; whoever drops this has it alone.
        self.is_followed.store(true, Ordering::Relaxed);
    }

    /// Calls into RustDDS in this reader's name, again for each descriptor that has no sample.
    pub(crate) fn ask<T>(&self, mut call: impl FnMut() -> ReadResult<T>) -> ReadResult<T> {
        let session = &self.owner.session;
        // Before the call: what is looked for has come to RTPS before it was lost.
        let losses = session.losses();
        let asking = Asking::enter(session, self.reader);
        let outcome = loop {
            let outcome = call();
            if !self.skips(&asking) || !matches!(outcome, Err(ReadError::Deserialization { .. })) {
                break outcome;
            }
        };
        self.decoded(&asking, outcome.is_ok());
        drop(asking);
        if outcome.is_ok() && self.losses_seen.swap(losses, Ordering::Relaxed) != losses {
            session.caught_up(self.reader, losses);
        }
        outcome
    }

    /// A call that cannot be repeated, since what it gives is borrowed.
    pub(crate) fn ask_once<T>(&self, call: impl FnOnce() -> ReadResult<T>) -> ReadResult<T> {
        let asking = Asking::enter(&self.owner.session, self.reader);
        let outcome = call();
        self.skips(&asking);
        self.decoded(&asking, outcome.is_ok());
        outcome
    }

    /// One step of a stream in this reader's name: descriptors without a sample are passed over.
    pub(crate) fn poll<S>(
        &self,
        mut step: impl FnMut() -> Poll<Option<ReadResult<S>>>,
        info: impl Fn(&S) -> &SampleInfo,
    ) -> Poll<Option<ReadResult<S>>> {
        let mut next = None;
        // What the stream has to say besides an error comes through here unseen.
        let outcome = self.ask(|| match step() {
            Poll::Ready(Some(Err(error))) => Err(error),
            other => {
                next = Some(other);
                Ok(())
            }
        });
        if let Err(error) = outcome {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(Poll::Ready(Some(Ok(sample)))) = &next {
            self.took([info(sample)]);
        }
        // What was read before, and not taken, it passes over.
        if let Some(Poll::Pending) = &next {
            self.say_all(self.progress.handed_over(None));
        }
        next.unwrap_or(Poll::Pending)
    }

    /// The application has taken these samples, all at once: each writer is told once at most.
    pub(crate) fn took<'a>(&self, samples: impl IntoIterator<Item = &'a SampleInfo>) {
        if !self.progress.matters() {
            return;
        }
        let mut taken = SmallVec::<[((Prefix, Entity), i64); 1]>::new();
        let mut count = 0;
        for sample in samples {
            count += 1;
            let identity = sample.sample_identity();
            let (writer, sequence) = (split(&identity.writer_guid), identity.sequence_number.into());
            match taken.iter_mut().find(|(known, _)| *known == writer) {
                Some((_, up_to)) => *up_to = (*up_to).max(sequence),
                None => taken.push((writer, sequence)),
            }
        }
        for (writer, sequence) in taken {
            // What is taken after its writer's end is of interest to nobody.
            if !self.progress.knows(writer) && self.owner.session.is_over(writer) {
                continue;
            }
            self.owner.session.tell(self.reader, writer, self.progress.took(writer, sequence));
        }
        // Who is given nothing has left only what it does not want.
        self.say_all(self.progress.handed_over(Some(count).filter(|&count| count > 0)));
    }

    /// What one call into RustDDS has decoded, which was all that had come, or not.
    fn decoded(&self, asking: &Asking, has_all: bool) {
        if self.progress.matters() {
            self.say_all(self.progress.decoded(asking.seen(), has_all));
        }
    }

    fn say_all(&self, said: Vec<((Prefix, Entity), Consumed)>) {
        for (writer, consumed) in said {
            self.owner.session.say_taken(self.reader, writer, consumed);
        }
    }

    /// Whether a descriptor had no sample, of which nobody needs to hear. A sample that nothing came of will never be taken,
    /// and nobody is to wait for it.
    fn skips(&self, asking: &Asking) -> bool {
        let Some(Missed { key, is_here }) = asking.missed() else { return false };
        if self.progress.matters() && self.progress.miss(key) {
            self.owner.session.say_missed(self.reader, key);
        }
        !is_here
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.owner.session.remove_reader(self.reader, *self.is_followed.get_mut());
    }
}

/// What RustDDS's topic cache keeps without RESOURCE_LIMITS.
const RUSTDDS_MAX_SAMPLES: u32 = 64;
/// What that cache may hold beyond its limit before it is cleaned, and as much again for what is under way to it.
const RUSTDDS_SLACK: usize = 128;
/// Samples that were missed and are said again on a new link: a writer goes on with any of them.
pub(crate) const MISSED_MAX: usize = 64;
/// Writers beyond that, of one sample each: as many as the limit has samples, within these bounds.
const WRITERS_BEYOND_MIN: u32 = 128;
const WRITERS_BEYOND_MAX: u32 = 512;
/// Samples that writers go on with, since they have expired before the reader looked, for each that it has room for.
const EXPIRED_PER_ROOM: usize = 2;
/// RESOURCE_LIMITS beyond this are as good as none.
const WINDOW_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests;
