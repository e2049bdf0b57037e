//! Who is matched with whom, who has a session, and what follows from it for every writer. No I/O.

mod unreported;
mod ways;

#[cfg(test)]
pub(super) use unreported::PATIENCE;
use unreported::Unreported;

use super::ended::Ended;
use crate::account::Source;
use crate::intake::{Progress, Telling};
use crate::protocol::{Consumed, Entity, Offer, Prefix, SampleKey, TopicHash, incarnation};
use crate::routes::{Matched, Way};
use crate::window::Outlook;
use rustdds::policy::Reliability;
use rustdds::{DomainParticipantStatusEvent as Status, GUID};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use zerodds_core::{Incarnation, Locator, Reason};
use zerodds_transport_shm::LinkId;

/// The state of a session.
#[derive(Debug)]
pub(crate) struct Registry {
    own: Prefix,
    /// Where peers reach us; `None`: there is no shared memory here.
    locator: Option<Locator>,
    /// By local writer, ours or plain.
    matched: BTreeMap<Entity, Matched>,
    writers: HashMap<Entity, Writer>,
    /// Readers that RTPS has found: it says so before it matches them.
    found: BTreeMap<TopicHash, BTreeSet<(Prefix, Entity)>>,
    /// By local endpoint, ours or plain: those whose QoS does not suit it.
    refused: BTreeMap<Entity, BTreeSet<(Prefix, Entity)>>,
    /// By local reader, ours or plain: the writers that RTPS has matched to it.
    sources: BTreeMap<Entity, BTreeSet<(Prefix, Entity)>>,
    readers: BTreeMap<Entity, Reader>,
    /// Readers that nobody reads any more, and RTPS has yet: they go on taking descriptors, since their neighbours could have none
    /// otherwise. The latest of them, as RustDDS does not always say that they are gone.
    left: VecDeque<Entity>,
    /// Readers of other participants, and plain ones here, that are not reliable.
    best_effort: BTreeSet<(Prefix, Entity)>,
    sessions: HashMap<Incarnation, Session>,
    /// Sessions whose processes have died before RTPS found their participants: it may yet, from what they had announced.
    unknown_dead: VecDeque<Incarnation>,
    ended: Ended,
    unreported: Unreported,
    /// Why reports of RustDDS's are missing, if they are.
    doubted: Option<&'static str>,
    /// Plans may have changed, or what we offer.
    stale: bool,
    /// What we offer, where it may have changed since it was asked for.
    offered: Option<Vec<Offer>>,
}

/// Samples that a reader which keeps all has room for; `None`: history decides.
pub(crate) type Limit = Option<u32>;

/// A writer of ours.
#[derive(Debug)]
struct Writer {
    topic: String,
    hash: TopicHash,
    /// Whether its samples may be shared at all.
    shares: bool,
    outlook: Arc<Outlook>,
}

#[derive(Debug)]
struct Reader {
    limit: Limit,
    progress: Arc<Progress>,
}

/// What is known of another participant's session.
#[derive(Debug, Default)]
struct Session {
    prefix: Option<Prefix>,
    up: bool,
    /// The link that is up.
    link: Option<LinkId>,
    /// It has said what it offers since the link is up.
    speaks: bool,
    leaving: bool,
    /// Its process has died, of which RustDDS may not have been told yet: no writer here waits for it.
    dead: bool,
    /// Why there is no link, once that is known.
    without: Option<Reason>,
    /// What it offers, or did before the link was lost: its readers keep all even so, and will say what was taken
    /// when there is a link again.
    offers: Vec<Offer>,
}

/// What is to be done about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Try to reach this session.
    Reach(Incarnation),
    /// This participant's process has died already.
    Mourn(Prefix),
    /// This writer will say nothing more; `None`: none of its participant's will.
    Bereave(Incarnation, Option<Entity>),
    /// RTPS will not give this writer's samples to this reader, or it will after all.
    Exclude(Entity, Source, bool),
    /// Tell this writer what this reader has taken.
    Tell(Entity, (Prefix, Entity), Consumed),
}

impl Registry {
    pub(crate) fn new(own: Prefix, locator: Option<Locator>) -> Self {
        Self {
            own,
            locator,
            matched: BTreeMap::new(),
            writers: HashMap::new(),
            found: BTreeMap::new(),
            refused: BTreeMap::new(),
            sources: BTreeMap::new(),
            readers: BTreeMap::new(),
            left: VecDeque::new(),
            best_effort: BTreeSet::new(),
            sessions: HashMap::new(),
            unknown_dead: VecDeque::new(),
            ended: Ended::new(own),
            unreported: Unreported::default(),
            doubted: None,
            stale: false,
            offered: None,
        }
    }

    pub(crate) fn add_writer(&mut self, writer: Entity, topic: &str, shares: bool, outlook: Arc<Outlook>) {
        let (topic, hash) = (topic.to_owned(), TopicHash::of(topic));
        self.writers.insert(writer, Writer { topic, hash, shares, outlook });
        self.stale = true;
    }

    pub(crate) fn remove_writer(&mut self, writer: Entity) {
        self.writers.remove(&writer);
        self.matched.remove(&writer);
        self.refused.remove(&writer);
        self.ended.add((self.own, writer));
    }

    /// A reader of ours; the writers that RTPS has refused it already.
    pub(crate) fn add_reader(
        &mut self,
        reader: Entity,
        limit: Limit,
        progress: Arc<Progress>,
    ) -> Vec<Source> {
        // Nothing was taken yet.
        for &writer in self.sources.get(&reader).into_iter().flatten() {
            progress.meet(writer);
        }
        self.readers.insert(reader, Reader { limit, progress });
        self.stale = true;
        let refused = self.refused.get(&reader).into_iter().flatten();
        refused.map(|&(prefix, writer)| (incarnation(prefix), writer)).collect()
    }

    pub(crate) fn remove_reader(&mut self, reader: Entity) {
        self.readers.remove(&reader);
        // Where RustDDS does not hear itself it never says so.
        self.lose_reader(self.own, reader);
        self.ended.add((self.own, reader));
    }

    /// As [`remove_reader`](Self::remove_reader), where RTPS may have the reader yet: until it says that it is lost.
    pub(crate) fn leave_reader(&mut self, reader: Entity) {
        if self.ended.contains((self.own, reader)) {
            return self.remove_reader(reader);
        }
        // What it was given and has not taken, it does not owe.
        self.readers.remove(&reader);
        self.left.push_back(reader);
        if self.left.len() > LEFT_MAX {
            // Those that a writer here is matched to keep their places, which their neighbours have by them.
            let is_matched =
                |reader| self.matched.values().any(|matched| matched.contains(&(self.own, reader)));
            let oldest = self.left.iter().position(|&reader| !is_matched(reader));
            if let Some(reader) = oldest.and_then(|oldest| self.left.remove(oldest)) {
                self.remove_reader(reader);
            }
        }
        self.stale = true;
    }

    /// Takes a status event of the participant into account.
    pub(crate) fn note(&mut self, status: &Status) -> Vec<Errand> {
        if self.ended.is_late(status) {
            return Vec::new();
        }
        self.note_participant(status);
        match status {
            // RustDDS reports its discovery endpoints too.
            Status::RemoteReaderMatched { local_writer: local, .. }
            | Status::RemoteWriterMatched { local_reader: local, .. }
                if !local.entity_id.entity_kind.is_user_defined() =>
            {
                Vec::new()
            }
            Status::ReaderDetected { reader } => {
                let reliable = matches!(reader.qos.reliability(), Some(Reliability::Reliable { .. }));
                let (prefix, entity) = split(&reader.guid);
                if reliable {
                    self.best_effort.remove(&(prefix, entity));
                } else {
                    self.best_effort.insert((prefix, entity));
                }
                self.found.entry(TopicHash::of(&reader.topic_name)).or_default().insert((prefix, entity));
                self.stale = true;
                Vec::new()
            }
            Status::RemoteReaderMatched { local_writer, remote_reader } => {
                let (prefix, reader) = split(remote_reader);
                self.matched.entry(split(local_writer).1).or_default().add(prefix, reader);
                self.meet(prefix)
            }
            Status::RemoteReaderQosIncompatible { local_writer, remote_reader, .. } => {
                self.refused.entry(split(local_writer).1).or_default().insert(split(remote_reader));
                self.stale = true;
                Vec::new()
            }
            Status::RemoteWriterMatched { local_reader, remote_writer } => {
                self.meet_writer(split(local_reader).1, split(remote_writer))
            }
            Status::RemoteWriterQosIncompatible { local_reader, remote_writer, .. } => {
                let ((prefix, writer), (_, reader)) = (split(remote_writer), split(local_reader));
                // The reader may not be known yet.
                self.refused.entry(reader).or_default().insert((prefix, writer));
                vec![Errand::Exclude(reader, (incarnation(prefix), writer), true)]
            }
            Status::ReaderLost { guid, .. } => {
                let (prefix, reader) = split(guid);
                self.lose_reader(prefix, reader);
                Vec::new()
            }
            Status::WriterLost { guid, .. } => {
                let (prefix, writer) = split(guid);
                self.lose_writers(|other| *other == (prefix, writer));
                self.forget_own(prefix, writer);
                vec![Errand::Bereave(incarnation(prefix), Some(writer))]
            }
            Status::ParticipantLost { id, .. } => {
                let Ok(prefix) = Prefix::try_from(id.as_ref()) else { return Vec::new() };
                self.matched.retain(|_, matched| matched.remove_participant(prefix));
                self.lose_readers(|reader| reader.0 == prefix);
                // A link that is still up has nobody behind it, until RTPS finds the participant again.
                if let Some(session) = self.sessions.get_mut(&incarnation(prefix)) {
                    session.prefix = None;
                }
                self.forget_strangers();
                self.lose_writers(|writer| writer.0 == prefix);
                vec![Errand::Bereave(incarnation(prefix), None)]
            }
            _ => Vec::new(),
        }
    }

    /// A link to this session is up.
    pub(crate) fn set_up(&mut self, peer: Incarnation, link: Option<LinkId>) {
        let session = self.sessions.entry(peer).or_default();
        session.up = true;
        session.link = link;
        session.leaving = false;
        // Whoever has a link lives, whatever it looked like.
        session.dead = false;
        self.unknown_dead.retain(|&dead| dead != peer);
        // Not before it says again what it offers.
        session.speaks = false;
        self.stale = true;
    }

    /// The link is over, by the death of its process or otherwise; the participant behind it, if it is known and did not say
    /// that it leaves.
    pub(crate) fn set_down(&mut self, peer: Incarnation, why: Reason, has_died: bool) -> Option<Prefix> {
        self.stale = true;
        let session = self.sessions.get_mut(&peer)?;
        session.up = false;
        session.without = Some(why);
        let silent = (!session.leaving).then_some(session.prefix);
        if silent == Some(None) && has_died {
            if self.unknown_dead.len() == UNKNOWN_DEAD_MAX {
                self.unknown_dead.pop_front();
            }
            self.unknown_dead.push_back(peer);
        }
        self.forget_strangers();
        silent.flatten()
    }

    /// It cannot be reached for now.
    pub(crate) fn set_unreachable(&mut self, peer: Incarnation, why: Reason) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            // Nobody ever listened for it.
            let never = why == Reason::PeerGone && session.link.is_none();
            session.without = Some(if never { Reason::NoLocator } else { why });
        }
    }

    /// Sessions without a link, of participants that we do not know, are nothing to us.
    pub(crate) fn forget_strangers(&mut self) {
        self.sessions.retain(|_, session| session.up || session.prefix.is_some());
    }

    /// There will be no link to this session before long.
    pub(crate) fn give_up(&mut self, peer: Incarnation) {
        if let Some(session) = self.sessions.get_mut(&peer).filter(|session| !session.up) {
            session.offers.clear();
            self.stale = true;
        }
    }

    pub(crate) fn set_leaving(&mut self, peer: Incarnation) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.leaving = true;
            session.offers.clear();
            self.stale = true;
        }
    }

    /// Nobody attends to the session any more: no writer here shares memory, or waits for what a reader would say.
    pub(crate) fn close(&mut self) {
        self.locator = None;
        self.sessions.values_mut().for_each(|session| session.up = false);
        self.stale = true;
        self.replan();
    }

    pub(crate) fn set_offers(&mut self, peer: Incarnation, offers: Vec<Offer>) {
        if let Some(session) = self.sessions.get_mut(&peer).filter(|session| session.up && !session.leaving) {
            session.offers = offers;
            session.speaks = true;
            self.stale = true;
        }
    }

    /// Whether RTPS has matched this reader to a writer here, or refused it.
    fn is_settled(&self, writer: Entity, reader: &(Prefix, Entity)) -> bool {
        self.is_matched(writer, *reader)
            || self.refused.get(&writer).is_some_and(|refused| refused.contains(reader))
    }

    /// Whether RTPS has matched this reader to a writer here.
    pub(crate) fn is_matched(&self, writer: Entity, reader: (Prefix, Entity)) -> bool {
        self.matched.get(&writer).is_some_and(|matched| matched.contains(&reader))
    }

    pub(crate) fn outlook(&self, writer: Entity) -> Option<&Arc<Outlook>> {
        self.writers.get(&writer).map(|writer| &writer.outlook)
    }

    /// What has been noted so far is not all that RustDDS had to report: it may not have told who has come back.
    pub(crate) fn doubt_losses(&mut self) {
        self.ended.doubt_participants();
    }

    /// Nor who is matched with whom here: samples go plain to all, whoever they are, and nothing is offered. Whether that is news.
    pub(crate) fn doubt(&mut self, why: &'static str) -> bool {
        self.ended.doubt_participants();
        self.stale = true;
        let is_news = self.doubted.is_none();
        self.doubted.get_or_insert(why);
        is_news
    }

    pub(crate) const fn doubted(&self) -> Option<&'static str> {
        self.doubted
    }

    /// Whether RTPS has lost this endpoint lately.
    pub(crate) fn is_over(&self, endpoint: (Prefix, Entity)) -> bool {
        self.ended.contains(endpoint)
    }

    /// Those of all writers.
    pub(crate) fn outlooks(&self) -> impl Iterator<Item = &Arc<Outlook>> {
        self.writers.values().map(|writer| &writer.outlook)
    }

    /// Whether anything here is matched with an endpoint there, and there is no link.
    pub(crate) fn misses(&self, peer: Incarnation) -> bool {
        let there = |prefix: &Prefix| incarnation(*prefix) == peer;
        !self.sessions.get(&peer).is_some_and(|session| session.up)
            && (self.matched.values().any(|matched| matched.participants().any(|prefix| there(&prefix)))
                || self.sources.values().flatten().any(|(prefix, _)| there(prefix)))
    }

    /// The participant behind this session, if RTPS knows it.
    pub(crate) fn participant(&self, peer: Incarnation) -> Option<Prefix> {
        self.sessions.get(&peer)?.prefix
    }

    /// This participant's process has died: its readers are in no plan any more.
    pub(crate) fn mourn(&mut self, prefix: Prefix) {
        if let Some(session) = self.sessions.get_mut(&incarnation(prefix)) {
            session.dead = true;
            self.stale = true;
        }
    }

    /// Whether a reader here is matched with a writer there.
    pub(crate) fn reads(&self, prefix: Prefix) -> bool {
        self.sources.values().flatten().any(|&(other, _)| other == prefix)
    }

    /// Sessions with a link.
    pub(crate) fn up(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.sessions.iter().filter(|(_, session)| session.up).map(|(&peer, _)| peer)
    }

    /// The participants that we know of.
    pub(crate) fn participants(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.sessions.values().filter_map(|session| session.prefix)
    }

    /// Whether there is a link to this participant's session.
    pub(crate) fn is_up(&self, prefix: Prefix) -> bool {
        self.sessions.get(&incarnation(prefix)).is_some_and(|session| session.up)
    }

    /// A writer waits for a reader here, and has heard so much of it; its full name, and what there is to tell it.
    pub(crate) fn awaited(
        &self,
        peer: Incarnation,
        reader: Entity,
        writer: Entity,
        heard: i64,
    ) -> Option<((Prefix, Entity), Telling)> {
        // TRUST: only what RTPS has matched is remembered.
        let is_it = |(prefix, entity): &&(Prefix, Entity)| incarnation(*prefix) == peer && *entity == writer;
        let writer = self.sources.get(&reader).and_then(|sources| sources.iter().find(is_it));
        let progress = self.readers.get(&reader).map(|reader| &reader.progress);
        writer.zip(progress).map(|(&writer, progress)| (writer, progress.awaited(writer, heard)))
    }

    /// What writers wait to be told.
    pub(crate) fn owed(&self) -> Vec<(Entity, (Prefix, Entity), Consumed)> {
        let owed = self.readers.iter().flat_map(|(&reader, state)| {
            state.progress.owed().into_iter().map(move |(writer, taken)| (reader, writer, taken))
        });
        owed.collect()
    }

    /// A sample has expired before this reader here has looked; whether its writer, which may wait for that, is to be told.
    pub(crate) fn expire(&self, reader: Entity, sample: SampleKey) -> bool {
        let limited = self.readers.get(&reader).and_then(|reader| Some((reader.limit?, &reader.progress)));
        limited.is_some_and(|(limit, progress)| progress.expire(sample, limit))
    }

    /// Samples of this session that readers were not given, the latest of them.
    pub(crate) fn missed(&self, owner: Incarnation) -> Vec<(Entity, SampleKey)> {
        let missed = self.readers.iter().flat_map(|(&reader, state)| {
            state.progress.missed(owner).into_iter().map(move |sample| (reader, sample))
        });
        missed.collect()
    }

    /// What readers have to say (again) to the writers of the participants that `of` chooses: reader, writer, up to
    /// where. Whoever asks says it: it counts as told.
    pub(crate) fn taken(&self, of: impl Fn(&Prefix) -> bool) -> Vec<(Entity, (Prefix, Entity), Consumed)> {
        let limited = self.readers.iter().filter(|(_, reader)| reader.limit.is_some());
        let all = limited.flat_map(|(&reader, state)| {
            state.progress.all(&of).into_iter().map(move |(writer, taken)| (reader, writer, taken))
        });
        all.collect()
    }

    /// Brings all plans up to date; what we offer, if that may have changed since the last call.
    pub(crate) fn refresh(&mut self) -> Option<Vec<Offer>> {
        self.replan();
        self.offered.take()
    }

    /// Brings all plans up to date.
    pub(crate) fn replan(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let offers = self.offers();
        let reliable = |reader| !self.best_effort.contains(&reader);
        for (writer, ours) in &self.writers {
            let matched = self.matched.get(writer);
            let found = self.found.get(&ours.hash).into_iter().flatten();
            let found = found.chain(self.unfound(ours.hash));
            // Whom nobody reads any more may be gone without a word, and needs no samples.
            let is_left = |reader: &(Prefix, Entity)| reader.0 == self.own && self.left.contains(&reader.1);
            let pending = found
                .filter(|reader| self.lives(reader.0) && !self.is_settled(*writer, reader))
                .filter(|reader| !is_left(reader));
            let session = |prefix| self.way_to(prefix, &offers);
            let plan = matched.map(|matched| matched.plan(|prefix| self.lives(prefix), session, reliable));
            let plan = plan.unwrap_or_default().awaiting(pending.copied());
            if plan != *ours.outlook.plan() {
                ours.outlook.set_plan(plan);
            }
        }
        for offer in &offers {
            if let Some(reader) = self.readers.get(&offer.reader) {
                reader.progress.set_window(offer.window);
            }
        }
        self.offered = Some(offers);
    }

    /// Where a participant's session is reached, if it is, and what it offers, where this is what we offer ourselves.
    fn way_to<'a>(&'a self, prefix: Prefix, ours: &'a [Offer]) -> Option<(Option<Way>, &'a [Offer])> {
        let own = self.locator.filter(|_| self.doubted.is_none())?;
        if prefix == self.own {
            return Some((Some(Way { locator: own, link: None }), ours));
        }
        let peer = incarnation(prefix);
        let session = self.sessions.get(&peer)?;
        let locator = Locator::shared_memory(own.host_tag()?, peer, own.port());
        let way = Way { locator, link: session.link };
        Some(((session.up && session.speaks).then_some(way), session.offers.as_slice()))
    }

    fn lives(&self, prefix: Prefix) -> bool {
        !self.sessions.get(&incarnation(prefix)).is_some_and(|session| session.dead)
    }

    /// The readers here that take descriptors. A limit is shared out among the writers that are matched.
    fn offers(&self) -> Vec<Offer> {
        if self.doubted.is_some() {
            return Vec::new();
        }
        let writers = |reader: &Entity| self.sources.get(reader).map_or(0, BTreeSet::len).max(1);
        let window = |reader: &Entity, limit: Limit| {
            limit.map_or(0, |all| (all as usize / writers(reader)).max(1) as u32)
        };
        let offer = |(reader, state): (&Entity, &Reader)| Offer {
            reader: *reader,
            window: window(reader, state.limit),
        };
        let left = self.left.iter().map(|&reader| Offer { reader, window: 0 });
        self.readers.iter().map(offer).chain(left).collect()
    }

    fn meet_writer(&mut self, reader: Entity, (prefix, writer): (Prefix, Entity)) -> Vec<Errand> {
        self.sources.entry(reader).or_default().insert((prefix, writer));
        if let Some(refused) = self.refused.get_mut(&reader) {
            refused.remove(&(prefix, writer));
        }
        let mut errands = self.meet(prefix);
        errands.push(Errand::Exclude(reader, (incarnation(prefix), writer), false));
        let taken = self.readers.get(&reader).and_then(|ours| ours.progress.meet((prefix, writer)));
        errands.extend(taken.map(|taken| Errand::Tell(reader, (prefix, writer), taken)));
        errands
    }

    fn meet(&mut self, prefix: Prefix) -> Vec<Errand> {
        self.stale = true;
        if prefix == self.own {
            return Vec::new();
        }
        let peer = incarnation(prefix);
        let session = self.sessions.entry(peer).or_default();
        session.prefix = Some(prefix);
        if session.up {
            return Vec::new();
        }
        match self.unknown_dead.iter().position(|&dead| dead == peer) {
            Some(index) => {
                self.unknown_dead.remove(index);
                vec![Errand::Mourn(prefix)]
            }
            None => vec![Errand::Reach(peer)],
        }
    }

    /// Of an endpoint of ours that is gone, whoever made it, nothing is kept. (Of all at once RustDDS says so as well, where it does not
    /// hear its own announcements; they live.)
    fn forget_own(&mut self, prefix: Prefix, entity: Entity) {
        if prefix == self.own {
            self.left.retain(|left| *left != entity);
            self.sources.remove(&entity);
            self.matched.remove(&entity);
            self.refused.remove(&entity);
        }
    }

    fn lose_reader(&mut self, prefix: Prefix, reader: Entity) {
        self.matched.retain(|_, matched| matched.remove(prefix, reader));
        self.lose_readers(|other| *other == (prefix, reader));
        self.forget_own(prefix, reader);
    }

    fn lose_readers(&mut self, lost: impl Fn(&(Prefix, Entity)) -> bool) {
        self.best_effort.retain(|reader| !lost(reader));
        forget(&mut self.refused, &lost);
        forget(&mut self.found, &lost);
        self.unreported.lose(&lost);
        self.stale = true;
    }

    fn lose_writers(&mut self, lost: impl Fn(&(Prefix, Entity)) -> bool) {
        forget(&mut self.refused, &lost);
        forget(&mut self.sources, &lost);
        self.readers.values().for_each(|reader| reader.progress.forget(&lost));
        self.stale = true;
    }
}

/// Of endpoints that are lost nothing is kept.
fn forget<K: Ord>(
    kept: &mut BTreeMap<K, BTreeSet<(Prefix, Entity)>>,
    lost: impl Fn(&(Prefix, Entity)) -> bool,
) {
    kept.retain(|_, endpoints| {
        endpoints.retain(|endpoint| !lost(endpoint));
        !endpoints.is_empty()
    });
}

/// The prefix and the entity id of a GUID.
pub(crate) fn split(guid: &GUID) -> (Prefix, Entity) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, entity @ ..] = guid.to_bytes();
    ([a, b, c, d, e, f, g, h, i, j, k, l], entity)
}

/// More than are followed at a time though nobody reads them.
const LEFT_MAX: usize = 256;
/// More than can die between a link and the match that it comes before.
const UNKNOWN_DEAD_MAX: usize = 64;

#[cfg(test)]
mod tests;
