//! How much a writer may have under way to readers that keep all: back-pressure by what applications took.
//!
//! ```text
//!   written ──▶ 41 42 43 44 45                 window of 4: 45 waits until 41 is taken
//!                └ taken by the slowest reader: 41
//! ```
//! An RTPS acknowledgement comes when a sample reaches the reader's cache, and RustDDS drops what the cache has no
//! room for, whatever HISTORY says. So a reader that is reliable and keeps all tells its writers what was taken,
//! and they wait for it (RESOURCE_LIMITS and max_blocking_time, DDS 1.4 §2.2.3.19, §2.2.3.14).
//!
//! On a mixed topic each participant has a sample under a number of its own, between which those of others may come where several
//! threads write: what a reader has taken is told by the number that the sample has there.
//!
//! A sequence number is known only when RTPS has a sample, and by then a reader may have been matched too late for it, or
//! may have said that it will never be given it. So a sample is known here by its id from before that, and excuses go by it.

use crate::protocol::{Consumed, Entity, Offer};
use crate::routes::Plan;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
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
    /// Samples that have a place, and that RTPS is not given yet.
    placed: usize,
    /// Samples that readers or RTPS may have by now: as many as are being written.
    under_way: Vec<UnderWay>,
    /// Samples that some reader may not have taken, in the order of their first sequence numbers.
    samples: VecDeque<Sample>,
    /// Some of them are not the same to all readers: somebody is excused, or knows one by a number of its own.
    is_uneven: bool,
    /// The last sequence number that is known to be used.
    written: i64,
    /// What readers with a window have taken.
    taken: BTreeMap<Reader, Consumed>,
}

/// A sample from before somebody may have it until it is known that RTPS has it, or never will.
#[derive(Debug)]
struct UnderWay {
    id: u64,
    /// Readers that do not owe it.
    excused: Vec<Reader>,
    /// RTPS may have it.
    is_begun: bool,
    /// It was sent, and RTPS may yet be given descriptors of it.
    is_shared: bool,
}

/// What a writer has written up to a moment.
#[derive(Debug)]
pub(crate) struct SoFar {
    last: i64,
    /// What RTPS may have had by then.
    begun: Vec<u64>,
}

/// Readers that a writer has asked while it waits, and what it had heard of them by then.
#[derive(Debug, Default)]
pub(crate) struct Asked(BTreeMap<Reader, Consumed>);

/// A reader, by its participant's incarnation.
type Reader = (Incarnation, Entity);

/// A reader that keeps all, and how much it keeps.
type Window = (Incarnation, Offer);

/// The sequence numbers under which RTPS has a sample.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// On a mixed topic each participant knows the sample by its own, between which other samples may come: the first one is
    /// that of whoever is not among these.
    pub(crate) directed: Vec<(Incarnation, i64)>,
}

impl Numbers {
    pub(crate) const fn one(number: i64) -> Self {
        Self { first: number, last: number, directed: Vec::new() }
    }

    fn of(&self, reader: &Reader) -> i64 {
        let own = self.directed.iter().find(|(participant, _)| *participant == reader.0);
        own.map_or(self.first, |&(_, number)| number)
    }
}

/// A sample that RTPS has.
#[derive(Debug)]
struct Sample {
    id: u64,
    numbers: Numbers,
    /// Readers that will never be given it.
    excused: Vec<Reader>,
}

impl Sample {
    /// Whether a reader that has taken so much may yet take it.
    fn is_owed_by(&self, reader: &Reader, taken: i64) -> bool {
        self.numbers.of(reader) > taken && !self.excused.contains(reader)
    }

    /// Whether it is not the same to all readers.
    const fn is_uneven(&self) -> bool {
        !self.excused.is_empty() || !self.numbers.directed.is_empty()
    }
}

/// Room for one sample with every reader, so that threads which write at once do not all have the same. Dropped, it is free again.
pub(crate) struct Place {
    outlook: Arc<Outlook>,
    sent: Option<u64>,
    is_used: bool,
}

impl Place {
    /// The sample is about to be sent, under this id. Whoever has it first may say that it has expired while others are waited for. The id
    /// is made where no floor is computed meanwhile that lies above it.
    pub(crate) fn send(&mut self, next_id: impl FnOnce() -> u64) -> u64 {
        let mut state = self.outlook.state.lock();
        let id = next_id();
        state.under_way.push(UnderWay { id, excused: Vec::new(), is_begun: false, is_shared: true });
        self.sent = Some(id);
        id
    }

    /// RTPS is about to be given the sample, which has this id if it was not sent.
    pub(crate) fn begin(mut self, next_id: impl FnOnce() -> u64) -> Begun {
        self.is_used = true;
        let mut state = self.outlook.state.lock();
        state.placed -= 1;
        let sent = state.under_way.iter_mut().find(|sample| Some(sample.id) == self.sent);
        let id = if let Some(sample) = sent {
            sample.is_begun = true;
            sample.id
        } else {
            let id = next_id();
            state.under_way.push(UnderWay { id, excused: Vec::new(), is_begun: true, is_shared: false });
            id
        };
        drop(state);
        Begun { outlook: Arc::clone(&self.outlook), id: Some(id) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_used {
            let mut state = self.outlook.state.lock();
            state.placed -= 1;
            self.sent.and_then(|id| state.take_out(id));
            drop(state);
            self.outlook.changed.notify_all();
        }
    }
}

/// A sample that RTPS may have by now. Dropped, it has not.
pub(crate) struct Begun {
    outlook: Arc<Outlook>,
    id: Option<u64>,
}

impl Begun {
    /// It will be given to nobody but the readers of these participants.
    pub(crate) fn excuse_all_but(&self, reached: &[Incarnation]) {
        if let Some(id) = self.id {
            self.outlook.excuse_all_but(reached, id);
        }
    }

    /// RTPS has it, under these sequence numbers.
    pub(crate) fn written(mut self, numbers: Numbers) {
        if let Some(id) = self.id.take() {
            self.outlook.set_written(id, numbers);
        }
    }

    /// The sequence number that it gets if nothing else is being written: RustDDS counts, and does not say where it is with a
    /// disposal. It never gets a lower one, so it is not waited for longer than until it was taken.
    pub(crate) fn next(&self) -> i64 {
        self.outlook.written() + 1
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.outlook.give_up(id);
        }
    }
}

impl Outlook {
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state.lock().plan)
    }

    /// A new plan. Readers that are new in it owe nothing for what was written before.
    pub(crate) fn set_plan(&self, plan: Plan) {
        let mut state = self.state.lock();
        let before = std::mem::take(&mut state.taken);
        for &(incarnation, Offer { reader, .. }) in &plan.windows {
            let reader = (incarnation, reader);
            let taken = before.get(&reader).copied().unwrap_or_else(|| state.welcome(reader));
            state.taken.insert(reader, taken);
        }
        state.plan = Arc::new(plan);
        state.forget_what_all_took();
        self.changed.notify_all();
    }

    /// The application behind `reader` has taken everything up to this sequence number. It may know of a sample before
    /// its writer does. As many as could not be decoded since it said so last count as the oldest of those that it has not taken: some
    /// may have been other writers', or older than what it has taken, and what goes on for them is under way in their place.
    pub(crate) fn set_taken(&self, reader: Reader, Consumed { up_to, unreadable }: Consumed) {
        let mut state = self.state.lock();
        if let Some(taken) = state.taken.get_mut(&reader) {
            taken.up_to = taken.up_to.max(up_to);
            let news = unreadable.saturating_sub(taken.unreadable);
            taken.unreadable += news;
            if news > 0 {
                state.excuse_oldest(reader, news);
            }
            state.forget_what_all_took();
            self.changed.notify_all();
        }
    }

    /// `reader` will never be given this sample: it expired, or was lost.
    pub(crate) fn excuse(&self, reader: Reader, id: u64) {
        let mut state = self.state.lock();
        // TRUST: one excuse for each reader and sample, of those that the writer knows.
        if state.taken.contains_key(&reader) && state.excuse(reader, id) {
            state.forget_what_all_took();
            self.changed.notify_all();
        }
    }

    /// No reader of any but these participants will ever be given this sample, which was begun.
    fn excuse_all_but(&self, reached: &[Incarnation], id: u64) {
        let mut state = self.state.lock();
        let State { under_way, taken, .. } = &mut *state;
        if let Some(sample) = under_way.iter_mut().find(|sample| sample.id == id) {
            let missed = taken.keys().filter(|(peer, _)| !reached.contains(peer));
            sample.excused.extend(missed);
            self.changed.notify_all();
        }
    }

    /// RTPS has not taken a sample that was begun.
    fn give_up(&self, id: u64) {
        self.state.lock().take_out(id);
        self.changed.notify_all();
    }

    /// It was written under these sequence numbers.
    fn set_written(&self, id: u64, numbers: Numbers) {
        let mut state = self.state.lock();
        let excused = state.take_out(id).map(|sample| sample.excused).unwrap_or_default();
        state.written = state.written.max(numbers.last);
        if !state.taken.is_empty() {
            // Several threads may write, and come here in another order.
            let at = state.samples.partition_point(|other| other.numbers.first < numbers.first);
            let sample = Sample { id, numbers, excused };
            state.is_uneven |= sample.is_uneven();
            state.samples.insert(at, sample);
            state.forget_what_all_took();
        }
        // It may have been taken before this was known, so that it took a place until now.
        self.changed.notify_all();
    }

    /// The last sequence number that is known to be used.
    pub(crate) fn written(&self) -> i64 {
        self.state.lock().written
    }

    /// Shared samples of this writer below are described, or never will be.
    pub(crate) fn floor(&self) -> u64 {
        let state = self.state.lock();
        let shared = state.under_way.iter().filter(|sample| sample.is_shared);
        shared.map(|sample| sample.id).min().unwrap_or(0)
    }

    /// A place for one more sample, if every reader has room for it now.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        self.state.lock().place(self)
    }

    /// The same whether there is room or not.
    pub(crate) fn place_anyway(self: &Arc<Self>) -> Place {
        self.state.lock().place_anyway(self)
    }

    /// Waits until every reader has room for one more sample; `None` after the deadline. `ask` has a reader say what
    /// was taken next: once, and again whenever that was not enough, also over several calls for one sample.
    pub(crate) fn wait_for_place(
        self: &Arc<Self>,
        deadline: Instant,
        asked: &mut Asked,
        ask: impl Fn(Incarnation, Entity, i64),
    ) -> Option<Place> {
        let mut state = self.state.lock();
        self.wait(&mut state, State::has_room_for, deadline, asked, ask);
        state.place(self)
    }

    /// What was written by now, or may have been.
    pub(crate) fn so_far(&self) -> SoFar {
        let state = self.state.lock();
        let begun = state.under_way.iter().filter(|sample| sample.is_begun);
        SoFar { last: state.written, begun: begun.map(|sample| sample.id).collect() }
    }

    /// Waits until no reader owes anything of that: it has taken it, or will never be given it. Whether that is so by the deadline;
    /// `ask` as above.
    pub(crate) fn wait_until_taken(
        &self,
        so_far: &SoFar,
        deadline: Instant,
        asked: &mut Asked,
        ask: impl Fn(Incarnation, Entity, i64),
    ) -> bool {
        let has_all = |state: &State, window: &_| !state.owes(window, so_far);
        let mut state = self.state.lock();
        self.wait(&mut state, has_all, deadline, asked, ask);
        state.lacking(has_all).is_empty()
    }

    fn wait(
        &self,
        state: &mut MutexGuard<'_, State>,
        suffices: impl Fn(&State, &Window) -> bool,
        deadline: Instant,
        asked: &mut Asked,
        ask: impl Fn(Incarnation, Entity, i64),
    ) {
        loop {
            let mut lacking = state.lacking(&suffices);
            if lacking.is_empty() {
                return;
            }
            lacking.retain(|&(reader, taken)| asked.0.insert(reader, taken) != Some(taken));
            if !lacking.is_empty() {
                MutexGuard::unlocked(state, || {
                    lacking.iter().for_each(|&((peer, reader), heard)| ask(peer, reader, heard.up_to))
                });
            } else if self.changed.wait_until(state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl State {
    /// A reader owes nothing for what was written before it came, nor for what it may have come too late for: up to
    /// where it counts as taken. What it could not decode before it says as well, once; that may come in one sum with what it cannot
    /// decode of this writer, so it is believed: better one window too many than a writer that stands still.
    fn welcome(&mut self, reader: Reader) -> Consumed {
        let begun = self.under_way.iter_mut().filter(|sample| sample.is_begun);
        begun.for_each(|sample| sample.excused.push(reader));
        Consumed { up_to: self.written, unreadable: 0 }
    }

    fn take_out(&mut self, id: u64) -> Option<UnderWay> {
        let index = self.under_way.iter().position(|sample| sample.id == id)?;
        Some(self.under_way.swap_remove(index))
    }

    /// Whether that is news.
    fn excuse(&mut self, reader: Reader, id: u64) -> bool {
        let carried = self.samples.iter_mut().find(|sample| sample.id == id);
        self.is_uneven |= carried.is_some();
        let under_way = self.under_way.iter_mut().find(|sample| sample.id == id);
        let excused = under_way.map(|sample| &mut sample.excused);
        let excused = excused.or_else(|| carried.map(|sample| &mut sample.excused));
        let new = excused.filter(|excused| !excused.contains(&reader));
        new.map(|excused| excused.push(reader)).is_some()
    }

    /// TRUST: the reader's number; no more are looked at than there are samples.
    fn excuse_oldest(&mut self, reader: Reader, count: u64) {
        let taken = self.taken_by(&reader);
        let written = self.samples.iter_mut().filter(|sample| sample.numbers.of(&reader) > taken);
        let begun = self.under_way.iter_mut().filter(|sample| sample.is_begun);
        let excuses =
            written.map(|sample| &mut sample.excused).chain(begun.map(|sample| &mut sample.excused));
        let owed = excuses.filter(|excused| !excused.contains(&reader));
        owed.zip(0..count).for_each(|(excused, _)| excused.push(reader));
        self.is_uneven = true;
    }

    fn place(&mut self, outlook: &Arc<Outlook>) -> Option<Place> {
        self.has_room().then(|| self.place_anyway(outlook))
    }

    fn place_anyway(&mut self, outlook: &Arc<Outlook>) -> Place {
        self.placed += 1;
        Place { outlook: Arc::clone(outlook), sent: None, is_used: false }
    }

    fn has_room(&self) -> bool {
        self.plan.windows.iter().all(|window| self.has_room_for(window))
    }

    /// Readers of which that is not so, and up to where they have taken.
    fn lacking(&self, suffices: impl Fn(&Self, &Window) -> bool) -> Vec<(Reader, Consumed)> {
        let lacking = self.plan.windows.iter().filter(|window| !suffices(self, window));
        let readers = lacking.map(|(peer, offer)| (*peer, offer.reader));
        readers.map(|reader| (reader, self.taken.get(&reader).copied().unwrap_or_default())).collect()
    }

    fn has_room_for(&self, window: &Window) -> bool {
        self.owed_by(window) + self.placed < window.1.window as usize
    }

    /// Whether this reader may yet be given a sample of these and has not taken it.
    fn owes(&self, (incarnation, offer): &Window, SoFar { last, begun }: &SoFar) -> bool {
        let reader = (*incarnation, offer.reader);
        let is_meant = |sample: &Sample| sample.numbers.first <= *last || begun.contains(&sample.id);
        self.not_taken_by(&reader).any(is_meant) || self.to_come_to(&reader).any(|id| begun.contains(&id))
    }

    /// Samples that this reader may yet be given and has not taken.
    fn owed_by(&self, (incarnation, offer): &Window) -> usize {
        let reader = (*incarnation, offer.reader);
        let under_way = if self.is_uneven {
            self.not_taken_by(&reader).count()
        } else {
            let taken = self.taken_by(&reader);
            self.samples.len() - self.samples.partition_point(|sample| sample.numbers.first <= taken)
        };
        under_way + self.to_come_to(&reader).count()
    }

    /// Those of them that RTPS has.
    fn not_taken_by(&self, reader: &Reader) -> impl Iterator<Item = &Sample> {
        let taken = self.taken_by(reader);
        self.samples.iter().filter(move |sample| sample.is_owed_by(reader, taken))
    }

    /// Those that RTPS may have by now, by id.
    fn to_come_to(&self, reader: &Reader) -> impl Iterator<Item = u64> {
        let begun = self.under_way.iter().filter(|sample| sample.is_begun);
        begun.filter(|sample| !sample.excused.contains(reader)).map(|sample| sample.id)
    }

    fn taken_by(&self, reader: &Reader) -> i64 {
        self.taken.get(reader).map_or(i64::MAX, |taken| taken.up_to)
    }

    fn forget_what_all_took(&mut self) {
        if self.is_uneven {
            let Self { samples, taken, .. } = self;
            samples
                .retain(|sample| taken.iter().any(|(reader, taken)| sample.is_owed_by(reader, taken.up_to)));
            self.is_uneven = self.samples.iter().any(Sample::is_uneven);
            return;
        }
        let all = self.taken.values().map(|taken| taken.up_to).min().unwrap_or(i64::MAX);
        while self.samples.front().is_some_and(|sample| sample.numbers.first <= all) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
