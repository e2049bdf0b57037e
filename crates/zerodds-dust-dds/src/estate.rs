//! Which participants there are and what they have announced; what they leave behind in Dust when they go, and how Dust is made to
//! let go of it.
//!
//! Three things that Dust 0.16 does make a reliable writer stand still for all its readers when one of them leaves:
//!
//! - A reader's SEDP dispose takes it off the list of matched readers, but leaves the proxy by which the writer waits for its
//!   acknowledgements. The participant's SPDP dispose removes the proxies of what is on that list, so of a reader that went in
//!   order the proxy stays for ever.
//! - The endpoints of a removed participant stay on the list of discovered endpoints, and are matched again, without an
//!   address, as soon as anybody else is discovered. Only an SEDP dispose takes them off it.
//! - A write that waits is looked at again when an ACKNACK comes, not when somebody goes.
//!
//! So a reader that is disposed of acknowledges everything that will ever be written, in words that are made up here: whenever its end is
//! said, since Dust may take that, and its announcement, only when they are repeated; to the writers that there are, and to each that comes
//! later, which Dust may have matched with it before it read of its end. And when its participant goes, whether it said so itself, died,
//! or was silent for longer than its lease, Dust hears:
//!
//! ```text
//!   HEARTBEAT │ DATA: reader a is there                whose proxy was left: back on the list, for the last time
//!   ACKNACK of a, b, ... to each of our writers        nobody waits for them
//!   HEARTBEAT │ DATA: reader a is disposed of │ ... │ DATA: the participant is disposed of        one message
//! ```
//! One message, because Dust reads all of it before it acts, and then acts on the participant first: that removes the proxies,
//! and the rest the endpoints. The HEARTBEATs make Dust's reliable SEDP readers expect just these numbers; they are final
//! and ask for no answer. The numbers are ahead of all that a participant uses: Dust takes none that it is past, and what brings it
//! there is not only what is noted here, but also a GAP, or a sample that names nobody.
//!
//! Leases end here: Dust would forget the participant alone, and could not be told of the rest afterwards.
//!
//! Who comes back after that may have noticed nothing: then it takes what it once sent to us for acknowledged, and says
//! nothing of its endpoints again. So another Dust is told that we have gone, and both sides find each other anew.
//!
//! What Dust keeps of others is bounded here too: it keeps whatever is announced, and a network that invents participants and
//! endpoints could fill its memory.

use crate::rtps::{
    AckNackFields, DataFields, EntityId, Guid, GuidPrefix, Heartbeat, MessageWriter, SEQUENCE_NUMBER_MAX,
    flag, pid,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};
use zerodds_core::Endianness;

/// The participants that Dust knows, our own among them, those that are gone, and the endpoints that they have announced.
#[derive(Debug, Default)]
pub(crate) struct Estates {
    participants: HashMap<GuidPrefix, Participant>,
    /// Those that died or said goodbye lately.
    dead: HashMap<GuidPrefix, Instant>,
    /// Those that leave was taken of without a word of theirs, and when. They may not know.
    forsaken: HashMap<GuidPrefix, Instant>,
    /// Endpoints of all participants.
    endpoints: usize,
    /// Topics that Dust was ever told of; it forgets none.
    topics: usize,
    /// Octets of all announcements that are kept.
    kept: usize,
    /// No lease ends before.
    next_end: Option<Instant>,
}

#[derive(Debug)]
struct Participant {
    heard_at: Instant,
    /// How long it may be silent; `None`: for ever.
    lease: Option<Duration>,
    estate: Estate,
}

/// What a participant has announced.
#[derive(Debug, Default)]
struct Estate {
    publications: BTreeMap<EntityId, Announcement>,
    subscriptions: BTreeMap<EntityId, Announcement>,
    topics_last: i64,
    /// Readers that were disposed of while their participant lives, and how they had been announced.
    departed: BTreeMap<EntityId, Announcement>,
}

/// The last that was said of an endpoint.
#[derive(Debug)]
struct Announcement {
    number: i64,
    /// Of a reader, as Dust was given it; empty where there was no room to keep it.
    payload: Vec<u8>,
}

/// What somebody says of an endpoint of his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is there.
    Came,
    /// It is no more.
    Left,
    /// That was known, or is long over.
    Nothing,
    /// Dust shall not hear of it: there are too many already.
    TooMany,
}

impl Estates {
    /// Whom leave has to be taken of before this participant can be admitted: where there is no room, of those that have been
    /// silent for long, or else of the one that has been so longest, for a while, unless it is known to live. Never of our own.
    pub(crate) fn in_the_way_of(
        &self,
        prefix: GuidPrefix,
        own: Option<GuidPrefix>,
        alive: impl FnOnce() -> HashSet<GuidPrefix>,
        now: Instant,
    ) -> Vec<GuidPrefix> {
        if self.participants.len() < PARTICIPANTS_MAX || self.has(prefix) {
            return Vec::new();
        }
        let silent_for = |one: &Participant| now.duration_since(one.heard_at);
        let others = || self.participants.iter().filter(|&(&prefix, _)| Some(prefix) != own);
        let silent = others().filter(|(_, one)| silent_for(one) >= SILENCE_MAX);
        let mut silent: Vec<_> = silent.map(|(&prefix, _)| prefix).collect();
        if silent.is_empty() {
            let alive = alive();
            let unknown = others().filter(|(prefix, _)| !alive.contains(prefix));
            let longest = unknown.min_by_key(|(_, one)| one.heard_at);
            silent.extend(
                longest.filter(|(_, one)| silent_for(one) >= SILENCE_SHORT).map(|(&prefix, _)| prefix),
            );
        }
        silent
    }

    /// A participant announces itself; `false` if there are too many.
    pub(crate) fn admit(&mut self, prefix: GuidPrefix, lease: Option<Duration>, now: Instant) -> bool {
        if self.participants.len() >= PARTICIPANTS_MAX && !self.has(prefix) {
            return false;
        }
        let estate = Estate::default();
        let participant =
            self.participants.entry(prefix).or_insert(Participant { heard_at: now, lease, estate });
        (participant.heard_at, participant.lease) = (now, lease);
        self.next_end = self.next_end.into_iter().chain(participant.lease_ends()).min();
        true
    }

    pub(crate) fn has(&self, prefix: GuidPrefix) -> bool {
        self.participants.contains_key(&prefix)
    }

    /// Something came from this participant.
    pub(crate) fn heard(&mut self, prefix: GuidPrefix, now: Instant) {
        if let Some(participant) = self.participants.get_mut(&prefix) {
            participant.heard_at = now;
        }
    }

    /// When [`ended`](Self::ended) has something to do, at the earliest.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next_end
    }

    /// The participants whose leases have ended, but for our own and those that are known to live, as of a moment that may be past.
    pub(crate) fn ended(
        &mut self,
        own: Option<GuidPrefix>,
        alive: &HashSet<GuidPrefix>,
        as_of: Instant,
    ) -> Vec<GuidPrefix> {
        if self.next_end.is_none_or(|end| end > as_of) {
            return Vec::new();
        }
        let others = self.participants.iter().filter(|&(&prefix, _)| Some(prefix) != own);
        // However short a lease is that does not end, it is not looked at all the time.
        let later =
            |prefix, end: Instant| if alive.contains(prefix) { end.max(as_of + LOOK_AGAIN) } else { end };
        let ends = others.filter_map(|(prefix, one)| Some((*prefix, later(prefix, one.lease_ends()?))));
        let (ended, running): (Vec<_>, Vec<_>) = ends.partition(|&(_, end)| end <= as_of);
        self.next_end = running.into_iter().map(|(_, end)| end).min();
        ended.into_iter().map(|(prefix, _)| prefix).collect()
    }

    /// For a while nothing more of this participant is heard: an announcement that waited in a socket would bring it back.
    pub(crate) fn bury(&mut self, prefix: GuidPrefix, now: Instant) {
        self.dead.retain(|_, &mut died| now.duration_since(died) < GRAVE);
        if self.dead.len() < PARTICIPANTS_MAX {
            self.dead.insert(prefix, now);
        }
    }

    /// Leave is taken of a participant that has not said goodbye.
    pub(crate) fn forsake(&mut self, prefix: GuidPrefix, now: Instant) {
        if self.forsaken.len() >= PARTICIPANTS_MAX {
            let first = self.forsaken.iter().min_by_key(|&(_, &since)| since).map(|(&first, _)| first);
            first.map(|first| self.forsaken.remove(&first));
        }
        self.forsaken.insert(prefix, now);
    }

    /// It is back: whether leave had been taken of it without its word.
    pub(crate) fn returns(&mut self, prefix: GuidPrefix) -> bool {
        self.forsaken.remove(&prefix).is_some()
    }

    /// Whether what comes from this participant is a leftover of a dead one.
    pub(crate) fn is_dead(&self, prefix: GuidPrefix, now: Instant) -> bool {
        !self.dead.is_empty() && self.dead.get(&prefix).is_some_and(|&died| now.duration_since(died) < GRAVE)
    }

    /// A participant announces an endpoint, by this sample of the SEDP writer.
    pub(crate) fn announced(
        &mut self,
        writer: EntityId,
        number: i64,
        endpoint: Guid,
        payload: impl FnOnce() -> Vec<u8>,
    ) -> News {
        let Some(participant) = self.participants.get_mut(&endpoint.prefix) else { return News::Nothing };
        let estate = &mut participant.estate;
        let is_reader = writer == EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let announced = if is_reader { &mut estate.subscriptions } else { &mut estate.publications };
        let before = announced.get(&endpoint.entity);
        let departed = estate.departed.get(&endpoint.entity).filter(|_| is_reader);
        match before.or(departed) {
            Some(before) if before.number >= number => return News::Nothing,
            Some(before) => self.kept -= before.payload.len(),
            None => {
                let full = announced.len() + estate.departed.len() >= ENDPOINTS_MAX;
                if full || self.endpoints >= ENDPOINTS_MAX_IN_ALL {
                    // Whoever has readers come and go for long has those forgotten that went first.
                    let Some(first) = estate.forget_departed() else { return News::TooMany };
                    self.kept -= first.payload.len();
                    self.endpoints -= 1;
                }
                self.endpoints += 1;
            }
        }
        let mut payload = if is_reader { payload() } else { Vec::new() };
        if self.kept + payload.len() > KEPT_MAX {
            payload = Vec::new();
        }
        self.kept += payload.len();
        if is_reader {
            estate.departed.remove(&endpoint.entity);
        }
        let announced = if is_reader { &mut estate.subscriptions } else { &mut estate.publications };
        announced.insert(endpoint.entity, Announcement { number, payload });
        News::Came
    }

    /// A participant says that an endpoint of his is no more, by this sample of the SEDP writer. A reader leaves again whenever that is
    /// repeated: Dust may have taken none of it before, and has matched the reader by what was repeated ahead of it.
    pub(crate) fn disposed(&mut self, writer: EntityId, number: i64, endpoint: Guid) -> News {
        let Some(participant) = self.participants.get_mut(&endpoint.prefix) else { return News::Nothing };
        let Estate { publications, subscriptions, departed, .. } = &mut participant.estate;
        let is_reader = writer == EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let announced = if is_reader { subscriptions } else { publications };
        match announced.remove(&endpoint.entity) {
            None => match departed.get(&endpoint.entity) {
                Some(before) if is_reader && before.number <= number => News::Left,
                _ => News::Nothing,
            },
            Some(known) if known.number > number => {
                announced.insert(endpoint.entity, known);
                News::Nothing
            }
            Some(known) if is_reader => {
                departed.insert(endpoint.entity, Announcement { number, ..known });
                News::Left
            }
            Some(_) => {
                self.endpoints -= 1;
                News::Left
            }
        }
    }

    /// A participant announces a topic.
    pub(crate) fn topic(&mut self, prefix: GuidPrefix, number: i64) -> News {
        let Some(participant) = self.participants.get_mut(&prefix) else { return News::Nothing };
        if number <= participant.estate.topics_last {
            return News::Nothing;
        }
        if self.topics >= TOPICS_MAX {
            return News::TooMany;
        }
        participant.estate.topics_last = number;
        self.topics += 1;
        News::Came
    }

    /// These readers' acknowledgements of everything, to each writer of the participant `own`, if that has any.
    pub(crate) fn acknowledgements(
        &self,
        own: Option<GuidPrefix>,
        prefix: GuidPrefix,
        readers: &[EntityId],
    ) -> Option<Vec<u8>> {
        let writers = self.participants.get(&own?)?.estate.publications.keys();
        acknowledge(prefix, writers.flat_map(|&writer| readers.iter().map(move |&reader| (reader, writer))))
    }

    /// The same of all readers that were disposed of while their participants live, to a writer of our own that is new.
    pub(crate) fn acknowledgements_to(&self, writer: EntityId) -> Vec<Vec<u8>> {
        let all = self.participants.iter();
        let departed = all.filter_map(|(&prefix, one)| {
            acknowledge(prefix, one.estate.departed.keys().map(|&reader| (reader, writer)))
        });
        departed.collect()
    }

    /// How Dust, in the participant `own`, is made to forget this participant and everything that it had announced.
    pub(crate) fn farewell(&mut self, prefix: GuidPrefix, own: Option<GuidPrefix>) -> Vec<Vec<u8>> {
        let gone = self.participants.remove(&prefix);
        let estate = gone.map(|participant| participant.estate).unwrap_or_default();
        self.kept -= estate.kept();
        self.endpoints -= estate.len();
        let readers: BTreeSet<EntityId> =
            estate.subscriptions.keys().chain(estate.departed.keys()).copied().collect();
        let mut messages = estate.raise(prefix);
        let next = AHEAD + messages.len() as i64;
        let leaving: Vec<_> = readers.iter().copied().collect();
        messages.extend(self.acknowledgements(own, prefix, &leaving));
        let mut last = MessageWriter::new(&prefix.header(), Endianness::Little, 1024);
        dispose(&mut last, prefix, EntityId::SEDP_SUBSCRIPTIONS_WRITER, next, readers);
        let writers = estate.publications.into_keys();
        dispose(&mut last, prefix, EntityId::SEDP_PUBLICATIONS_WRITER, AHEAD, writers);
        let participant = Guid { prefix, entity: EntityId::PARTICIPANT };
        last.disposed((EntityId::SPDP_WRITER, EntityId::SPDP_READER), 1, pid::PARTICIPANT_GUID, participant);
        messages.push(last.into_bytes());
        messages
    }
}

impl Participant {
    fn lease_ends(&self) -> Option<Instant> {
        self.heard_at.checked_add(self.lease?)
    }
}

impl Estate {
    fn len(&self) -> usize {
        self.publications.len() + self.subscriptions.len() + self.departed.len()
    }

    fn kept(&self) -> usize {
        self.subscriptions.values().chain(self.departed.values()).map(|one| one.payload.len()).sum()
    }

    /// Forgets the reader that was disposed of first.
    fn forget_departed(&mut self) -> Option<Announcement> {
        let first = self.departed.iter().min_by_key(|(_, announcement)| announcement.number);
        let first = *first?.0;
        self.departed.remove(&first)
    }

    /// Announces the readers again that were disposed of, so that their proxies can be found: each in a message of its own, as one that
    /// is too long for any length extends to the end.
    fn raise(&self, prefix: GuidPrefix) -> Vec<Vec<u8>> {
        let departed = self.departed.values().filter(|announcement| !announcement.payload.is_empty());
        let (reader, writer) = (EntityId::NOBODY, EntityId::SEDP_SUBSCRIPTIONS_WRITER);
        let raised = departed.zip(AHEAD..).map(|(announcement, number)| {
            let capacity = 128 + announcement.payload.len();
            let mut message = MessageWriter::new(&prefix.header(), Endianness::Little, capacity);
            expect(&mut message, writer, number, number == AHEAD);
            let fields = DataFields { flags: flag::DATA, reader, writer, sequence_number: number };
            message.data(fields, &announcement.payload);
            message.into_bytes()
        });
        raised.collect()
    }
}

/// Acknowledges everything, by the reader to the writer of each pair, if any is an application's.
fn acknowledge(prefix: GuidPrefix, pairs: impl Iterator<Item = (EntityId, EntityId)>) -> Option<Vec<u8>> {
    let mut message = MessageWriter::new(&prefix.header(), Endianness::Little, 64);
    let (base, count) = (SEQUENCE_NUMBER_MAX, i32::MAX);
    let mut any = false;
    for (reader, writer) in pairs.filter(|(_, writer)| writer.is_user_defined()) {
        message.acknack(AckNackFields { reader, writer, base, count });
        any = true;
    }
    any.then(|| message.into_bytes())
}

/// Says that these endpoints are gone, in the name of the SEDP writer that announced them, from this number on.
fn dispose(
    message: &mut MessageWriter,
    prefix: GuidPrefix,
    writer: EntityId,
    first: i64,
    endpoints: impl IntoIterator<Item = EntityId>,
) {
    for (entity, number) in endpoints.into_iter().zip(first..) {
        expect(message, writer, number, number == first);
        message.disposed((writer, EntityId::NOBODY), number, pid::ENDPOINT_GUID, Guid { prefix, entity });
    }
}

/// Makes the reader of this SEDP writer expect `number`, the first of several.
fn expect(message: &mut MessageWriter, writer: EntityId, number: i64, first: bool) {
    if first {
        let (reader, count) = (EntityId::UNKNOWN, i32::MAX);
        message.silent_heartbeat(Heartbeat { reader, writer, first: number, last: number, count });
    }
}

/// Participants of one domain at a time.
pub(crate) const PARTICIPANTS_MAX: usize = 1024;
/// Where there is no room for another participant, those are forgotten that have been silent for so long, whatever their lease:
/// participants announce themselves every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// Where nobody has been, one by one for so long: longer than the 30 s between two announcements that are the standard's default. Such as
/// die as fast as they come, as in a loop of a supervisor on another host, would keep all newcomers out.
const SILENCE_SHORT: Duration = Duration::from_secs(35);
/// Between two looks whether somebody silent is still known to live.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long leftovers of a dead participant are dropped. Should a live one be taken for dead, it is told to begin afresh when
/// it announces itself after that, and once more as long passes before it is back.
pub(crate) const GRAVE: Duration = Duration::from_secs(3);
/// Endpoints of one kind that one participant may have, readers that are gone among them.
const ENDPOINTS_MAX: usize = 8192;
const ENDPOINTS_MAX_IN_ALL: usize = 1 << 16;
/// The first number of a farewell, with room for as many readers as come back, and go, behind it.
const AHEAD: i64 = SEQUENCE_NUMBER_MAX - 2 * ENDPOINTS_MAX as i64;
const TOPICS_MAX: usize = 1 << 16;
/// Octets of announcements that are kept of all participants together.
const KEPT_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
