//! Whom to ask for what a writer still owes us, learned from Dust's own ACKNACKs as they pass by.
//!
//! An ACKNACK names everything that a NACK_FRAG of ours needs: which local reader may ask, and at which
//! locators the writer listens. The datagram's source address would not do: stacks send from sockets on which
//! they do not listen.
//!
//! It does not say whether that reader is reliable. Dust sends one for each of its readers, best-effort ones too, whose
//! NACK_FRAGs a Dust writer does not answer. So that is learned from what Dust announces of its readers, to ourselves or to others.
//!
//! Dust has each of its readers act on all that its participant is told, whomever that is for. What a writer tells one reader is often
//! not true of another: one that came late is told that the writer begins where it came. So what each was told is kept here too, and
//! nothing that would have one reader lose what is on its way to another is asked for, acknowledged, or heard.

use crate::outgoing::Outgoing;
use crate::rtps::{AckNack, EntityId, Guid, Heartbeat, SUBMESSAGE_HEADER_LEN, kind};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::{Duration, Instant};
use zerodds_core::Locator;

/// Our reliable readers of a writer, of which there are some, and where it listens: nowhere if it is our own.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    readers: Vec<EntityId>,
    pub(crate) locators: Vec<Locator>,
}

impl Contact {
    /// Who asks for a sample that the writer sent to the reader `addressed`: that one, if the writer answers it.
    pub(crate) fn reader_for(&self, addressed: EntityId) -> EntityId {
        if self.readers.contains(&addressed) { addressed } else { self.readers[0] }
    }

    /// Whether the writer can be asked for fragments. Our own is asked for whole samples only, by Dust.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        !self.locators.is_empty()
    }
}

/// What our readers last said to a writer, and it to them.
#[derive(Debug, Default)]
struct Talk {
    /// From the first word on of either side: the first HEARTBEAT comes before the first ACKNACK. What the writer has said to all at once
    /// is under the name that is for all.
    readers: BTreeMap<EntityId, Said>,
    locators: Vec<Locator>,
}

/// What one of them said, and was told.
#[derive(Debug, Default)]
struct Said {
    /// It has acknowledged everything below; `None`: it has not spoken to the writer yet.
    acknowledged: Option<i64>,
    /// Samples that it asks for and that have not come yet. Dust speaks for each of its readers in turn, and what one has not asked
    /// for another may still lack.
    requested: Vec<i64>,
    /// The last sample that it lacked when it came, or came to know of until it lacked nothing for the first time.
    history: i64,
    /// The last HEARTBEAT that addressed it.
    told: Option<Told>,
    /// Samples that will not come for it, by GAPs that Dust was not given because others may lack these, and since when.
    spared: BTreeMap<i64, Instant>,
}

/// The first sample that a writer has for a reader, the count by which it said so, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    first: i64,
    count: i32,
    at: Instant,
}

impl Said {
    const fn has_spoken(&self) -> bool {
        self.acknowledged.is_some()
    }

    /// The first sample that the writer has for it, as it was told.
    fn promised(&self) -> Option<i64> {
        self.told.map(|told| told.first)
    }

    /// Those below `first` that it may still wait for: it has not acknowledged them, and was told lately that they are there.
    fn awaits(&self, first: i64, now: Instant) -> Option<Range<i64>> {
        let is_believed = now.duration_since(self.told?.at) < PROMISE;
        let awaited = self.lacks_from()..first;
        (is_believed && !awaited.is_empty()).then_some(awaited)
    }

    /// It lacks nothing below.
    fn lacks_from(&self) -> i64 {
        self.promised().max(self.acknowledged).unwrap_or(0)
    }

    /// What it may lack.
    fn lacks(&self) -> Lack {
        let (spared, requested) = (self.spared.clone(), self.requested.clone());
        Lack { from: self.lacks_from(), spared, requested }
    }
}

/// The samples that one reader may lack: from one on, but for some. Of them it has asked for some.
#[derive(Debug, Default)]
struct Lack {
    from: i64,
    spared: BTreeMap<i64, Instant>,
    requested: Vec<i64>,
}

/// What our reliable readers may lack of a writer, but for one of them.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    others: Vec<Lack>,
    /// What this one was spared.
    spared: BTreeMap<i64, Instant>,
}

impl Lacking {
    /// No sample below is lacked.
    pub(crate) fn from(&self) -> i64 {
        self.others.iter().map(|lack| lack.from).min().unwrap_or(i64::MAX)
    }

    /// Whether another reader waits for this one. Who does asks for it before long: one that has not done so since the first was told
    /// that it will not come is not served by that writer any more, or has it and was not asked to say so.
    pub(crate) fn has(&self, number: i64, now: Instant) -> bool {
        let told_at = self.spared.get(&number);
        let is_believed = told_at.is_none_or(|&at| now.duration_since(at) < PROMISE);
        self.others.iter().any(|lack| {
            let may_lack = lack.from <= number && !lack.spared.contains_key(&number);
            may_lack && (is_believed || lack.requested.contains(&number))
        })
    }
}

#[derive(Debug, Default)]
struct Books {
    talks: HashMap<Guid, Talk>,
    /// Readers in them that have not spoken. Whom a writer says something to is its own choice.
    silent: usize,
    /// Our applications' readers, and whether each is reliable.
    readers: HashMap<EntityId, bool>,
}

impl Books {
    /// Discovery has only reliable readers that speak.
    fn is_reliable(&self, reader: EntityId) -> bool {
        !reader.is_user_defined() || self.readers.get(&reader) == Some(&true)
    }

    fn is_best_effort(&self, reader: EntityId) -> bool {
        self.readers.get(&reader) == Some(&false)
    }

    /// A writer says to one reader, or to all, with which sample it begins; whether by a count that is new to that one. A writer that
    /// nobody has spoken to displaces none of the others.
    fn tell(&mut self, writer: &Guid, heartbeat: &Heartbeat, at: Instant) -> bool {
        if !self.has_room_for(writer) {
            self.forget_silent();
            if !self.has_room_for(writer) {
                return true;
            }
        }
        let &Heartbeat { reader, first, count, .. } = heartbeat;
        let before = self.entry(*writer, reader).told.replace(Told { first, count, at });
        before.is_none_or(|before| count > before.count)
    }

    /// The first sample that this reader may ask the writer for: what it was promised itself, or with all others. `None`: others were
    /// promised what they are told apart, and it is still to be told.
    fn promised(&self, writer: &Guid, reader: EntityId) -> Option<i64> {
        let to = |reader| self.said_by(writer, reader).and_then(Said::promised);
        let nobody = || self.promised_others(writer, reader).next().is_none().then_some(0);
        to(reader).or_else(|| to(EntityId::UNKNOWN)).or_else(nobody)
    }

    /// The first samples that other readers of this writer were promised, each by itself.
    fn promised_others(&self, writer: &Guid, but: EntityId) -> impl Iterator<Item = i64> {
        let readers = self.talks.get(writer).into_iter().flat_map(|talk| &talk.readers);
        let others = readers.filter(move |&(&reader, _)| reader != but && reader != EntityId::UNKNOWN);
        others.filter_map(|(_, said)| said.promised())
    }

    /// Whether the first word of a reader to this writer may answer what another was told a moment before itself: it acknowledges all
    /// before the sample with which the writer begins for that one, though it was promised some of that. Should it have those, it says
    /// so again when it is told once more.
    fn is_misled(&self, writer: &Guid, acknack: &AckNack<'_>) -> bool {
        let said = self.said_by(writer, acknack.reader).filter(|said| !said.has_spoken());
        said.and_then(Said::promised).is_some_and(|first| first < acknack.base)
            && self.promised_others(writer, acknack.reader).any(|first| first == acknack.base)
    }

    fn said_by(&self, writer: &Guid, reader: EntityId) -> Option<&Said> {
        self.talks.get(writer)?.readers.get(&reader)
    }

    /// What there is of a reader and a writer, from now on. Where there would be too much, those are forgotten first that have not spoken.
    fn entry(&mut self, writer: Guid, reader: EntityId) -> &mut Said {
        let is_known = self.said_by(&writer, reader).is_some();
        if !is_known && self.silent >= CONTACTS_MAX || !self.has_room_for(&writer) {
            self.forget_silent();
        }
        if !self.has_room_for(&writer) {
            self.talks.clear();
        }
        self.silent += usize::from(!is_known);
        self.talks.entry(writer).or_default().readers.entry(reader).or_default()
    }

    fn has_room_for(&self, writer: &Guid) -> bool {
        self.talks.len() < CONTACTS_MAX || self.talks.contains_key(writer)
    }

    fn forget_silent(&mut self) {
        if self.silent == 0 {
            return;
        }
        self.talks.retain(|_, talk| {
            talk.readers.retain(|_, said| said.has_spoken());
            !talk.readers.is_empty()
        });
        self.silent = 0;
    }

    /// Some are no more.
    fn count_silent(&mut self) {
        let said = self.talks.values().flat_map(|talk| talk.readers.values());
        self.silent = said.filter(|said| !said.has_spoken()).count();
    }

    /// A reader speaks to `writer` at `locators`, of which there are none for a writer of our own: what it has acknowledged, and the rest.
    fn speaks(&mut self, writer: Guid, reader: EntityId, locators: &[Locator]) -> &mut Said {
        let said = self.entry(writer, reader);
        if said.acknowledged.is_none() {
            said.acknowledged = Some(0);
            self.silent = self.silent.saturating_sub(1);
        }
        let talk = self.talks.entry(writer).or_default();
        if talk.locators != locators {
            talk.locators = locators.to_vec();
        }
        talk.readers.entry(reader).or_default()
    }

    /// Notes an ACKNACK that Dust sends to `writer` at `locators`.
    fn note(&mut self, writer: Guid, acknack: &AckNack<'_>, locators: &[Locator]) {
        let said = self.speaks(writer, acknack.reader, locators);
        let catches_up = said.acknowledged <= Some(said.history);
        (said.acknowledged, said.requested) = (Some(acknack.base), acknack.requested().collect());
        if let Some(&last) = said.requested.last().filter(|_| catches_up) {
            said.history = last;
        }
        said.spared = said.spared.split_off(&acknack.base);
    }

    /// The reliable readers that have spoken to this writer, or were told something by it, but for this one, which is none if it is
    /// unknown.
    fn reliable(&self, writer: &Guid, but: EntityId) -> impl Iterator<Item = &Said> {
        let said = self.talks.get(writer).into_iter().flat_map(|talk| &talk.readers);
        said.filter(move |&(&reader, _)| reader != but && self.is_reliable(reader)).map(|(_, said)| said)
    }

    /// Those of them that have spoken.
    fn spoken(&self, writer: &Guid, but: EntityId) -> impl Iterator<Item = &Said> {
        self.reliable(writer, but).filter(|said| said.has_spoken())
    }
}

/// Shared: Dust's thread notes what its readers say, the receive thread who of them is reliable and what each is told; both read all of
/// it.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<Books>);

impl Contacts {
    /// Whether what Dust says to a writer at `locators` may leave. All does but ACKNACKs, which are noted here. What an ACKNACK's reader
    /// was not promised is not asked for: Dust has each of its readers ask for all that any HEARTBEAT speaks of, and a Dust writer would
    /// answer with GAPs that are true for that reader alone and name nobody, so that another one took what it still lacks for
    /// something that never comes. One of a reader that the writer has yet to tell where it begins goes nowhere: it answers what another
    /// was told, and would acknowledge what was never there for that one only. The writer does not miss it: it tells the reader until
    /// that answers. It tells a best-effort reader nothing and hears nothing of it, but what such a one still lacks is noted.
    ///
    /// What the reader takes meanwhile is beyond this: Dust gives it whatever the writer writes for anybody, if that is next by what the
    /// other was told, and what lies before is lost to it.
    #[must_use]
    pub(crate) fn pass(&self, message: &mut [u8], outgoing: &Outgoing, locators: &[Locator]) -> bool {
        let (kind::ACKNACK, Some(prefix)) = (outgoing.kind, outgoing.to) else { return true };
        let Ok(acknack) = AckNack::read(&outgoing.submessage(message)) else { return true };
        let writer = Guid { prefix, entity: acknack.writer };
        let mut books = self.0.lock();
        let promised = books.promised(&writer, acknack.reader);
        let leaves = promised.is_some();
        if !leaves && !books.is_best_effort(acknack.reader) {
            return false;
        }
        if books.is_misled(&writer, &acknack) {
            books.speaks(writer, acknack.reader, locators);
            return false;
        }
        let refused = acknack.bits_below(promised.unwrap_or(i64::MAX));
        if refused.is_empty() {
            books.note(writer, &acknack, locators);
            return leaves;
        }
        let body = outgoing.offset + SUBMESSAGE_HEADER_LEN;
        refused.iter().for_each(|(octet, bit)| message[body + octet] &= !bit);
        if let Ok(acknack) = AckNack::read(&outgoing.submessage(message)) {
            books.note(writer, &acknack, locators);
        }
        leaves
    }

    /// Notes an ACKNACK as if it had passed.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn note(&self, writer: Guid, acknack: &AckNack<'_>, locators: &[Locator]) {
        self.0.lock().note(writer, acknack, locators);
    }

    /// A reader of ours is announced.
    pub(crate) fn came(&self, reader: EntityId, is_reliable: bool) {
        self.0.lock().readers.insert(reader, is_reliable);
    }

    /// A reader of ours is no more.
    pub(crate) fn left(&self, reader: EntityId) {
        let mut books = self.0.lock();
        books.readers.remove(&reader);
        books.talks.retain(|_, talk| {
            talk.readers.remove(&reader);
            !talk.readers.is_empty()
        });
        books.count_silent();
    }

    /// These writers are no more.
    pub(crate) fn forget(&self, gone: impl Fn(&Guid) -> bool) {
        let mut books = self.0.lock();
        books.talks.retain(|writer, _| !gone(writer));
        books.count_silent();
    }

    /// Whom to ask `writer` for, and where; `None`: no reliable reader has spoken to it.
    pub(crate) fn of(&self, writer: &Guid) -> Option<Contact> {
        let books = self.0.lock();
        let talk = books.talks.get(writer)?;
        let spoken = talk.readers.iter().filter(|&(&one, said)| said.has_spoken() && books.is_reliable(one));
        let readers: Vec<_> = spoken.map(|(&one, _)| one).collect();
        (!readers.is_empty()).then(|| Contact { readers, locators: talk.locators.clone() })
    }

    /// Whether a reliable reader of ours has spoken to this writer.
    pub(crate) fn has_reliable(&self, writer: &Guid) -> bool {
        self.0.lock().spoken(writer, EntityId::UNKNOWN).next().is_some()
    }

    /// Everything below was acknowledged by all readers that have spoken to this writer; 0 if none has, or not the one that it
    /// addresses. What one has acknowledged may be on its way for another, which came later.
    pub(crate) fn acknowledged(&self, writer: &Guid, addressed: EntityId) -> i64 {
        let books = self.0.lock();
        let Some(talk) = books.talks.get(writer) else { return 0 };
        if addressed != EntityId::UNKNOWN && !talk.readers.get(&addressed).is_some_and(Said::has_spoken) {
            return 0;
        }
        talk.readers.values().filter_map(|said| said.acknowledged).min().unwrap_or(0)
    }

    /// Whether this reader has acknowledged this sample of the writer.
    pub(crate) fn has_acknowledged(&self, writer: &Guid, reader: EntityId, number: i64) -> bool {
        self.0.lock().said_by(writer, reader).is_some_and(|said| said.acknowledged > Some(number))
    }

    /// Whether Dust may hear a HEARTBEAT, all of whose readers act on each: not one by which the writer tells its reader that it
    /// begins with a later sample than another, reliable one waits for and has been promised. Such samples are `pending`, or were
    /// asked for. Of two readers the one that begins earlier always hears its own, so nothing is held back for ever. Answers whether its
    /// count is none that its reader was sent before; `None`: Dust may not hear it.
    pub(crate) fn may_hear(
        &self,
        writer: &Guid,
        heartbeat: &Heartbeat,
        now: Instant,
        pending: impl Fn(Range<i64>) -> bool,
    ) -> Option<bool> {
        let mut books = self.0.lock();
        let rose = books.tell(writer, heartbeat, now);
        if heartbeat.reader == EntityId::UNKNOWN {
            return Some(rose);
        }
        let waits = |said: &Said| {
            said.awaits(heartbeat.first, now).is_some_and(|awaited| {
                said.requested.iter().any(|number| awaited.contains(number)) || pending(awaited)
            })
        };
        (!books.spoken(writer, heartbeat.reader).any(waits)).then_some(rose)
    }

    /// Whether another reliable reader than the one that a HEARTBEAT is for may lack a sample before the first that it speaks of: that
    /// one would take it as lost.
    pub(crate) fn would_lose(&self, writer: &Guid, heartbeat: &Heartbeat) -> bool {
        if heartbeat.reader == EntityId::UNKNOWN {
            return false;
        }
        let books = self.0.lock();
        books.reliable(writer, heartbeat.reader).any(|said| said.lacks_from() < heartbeat.first)
    }

    /// What our reliable readers may lack of a writer, but for the one that this addresses; nothing if it is for all of them.
    pub(crate) fn lacking(&self, writer: &Guid, addressed: EntityId) -> Lacking {
        if addressed == EntityId::UNKNOWN {
            return Lacking::default();
        }
        let books = self.0.lock();
        let others = books.reliable(writer, addressed).map(Said::lacks).collect();
        let spared = books.said_by(writer, addressed).map_or_else(BTreeMap::new, |said| said.spared.clone());
        Lacking { others, spared }
    }

    /// The writer has told this reader alone that these will not come: it does not lack them.
    pub(crate) fn spare(&self, writer: &Guid, reader: EntityId, numbers: &[i64], now: Instant) {
        let mut books = self.0.lock();
        let talk = books.talks.get_mut(writer);
        let said = talk.and_then(|talk| talk.readers.get_mut(&reader));
        if let Some(said) = said.filter(|said| said.has_spoken()) {
            numbers.iter().for_each(|&number| _ = said.spared.entry(number).or_insert(now));
            while said.spared.len() > SPARED_MAX {
                said.spared.pop_last();
            }
        }
    }

    /// Everything below has come to all reliable readers that have spoken to this writer; 1 if none has.
    pub(crate) fn complete_below(&self, writer: &Guid) -> i64 {
        let books = self.0.lock();
        let acknowledged = books.spoken(writer, EntityId::UNKNOWN).filter_map(|said| said.acknowledged);
        acknowledged.min().unwrap_or(1)
    }

    /// The last sample that a reliable reader lacks since it came; 0 if none does.
    pub(crate) fn history(&self, writer: &Guid) -> i64 {
        let books = self.0.lock();
        let catching_up =
            books.spoken(writer, EntityId::UNKNOWN).filter(|said| said.acknowledged <= Some(said.history));
        catching_up.map(|said| said.history).max().unwrap_or(0)
    }

    /// Whether Dust has asked for this sample since it last got it.
    pub(crate) fn is_requested(&self, writer: &Guid, number: i64) -> bool {
        let books = self.0.lock();
        let mut said = books.talks.get(writer).into_iter().flat_map(|talk| talk.readers.values());
        said.any(|said| said.requested.contains(&number))
    }

    /// Dust is given this sample now.
    pub(crate) fn given(&self, writer: &Guid, number: i64) {
        if let Some(talk) = self.0.lock().talks.get_mut(writer) {
            talk.readers.values_mut().for_each(|said| said.requested.retain(|&one| one != number));
        }
    }
}

/// How long a HEARTBEAT is believed that the same reader hears no other after: several times Dust's period.
const PROMISE: Duration = Duration::from_secs(1);
/// As many as one GAP may tell Dust of, several times over. Of those beyond a reader asks again.
const SPARED_MAX: usize = 1024;
/// Writers, and readers that have not spoken: as many as two participants may have endpoints. Beyond it those readers are learned anew, or
/// else everything where one of ours speaks to yet another writer, from the next HEARTBEATs and ACKNACKs.
const CONTACTS_MAX: usize = 1 << 14;

#[cfg(test)]
pub(crate) mod tests;
