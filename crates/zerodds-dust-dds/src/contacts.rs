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
    /// Readers in them that have not spoken, at most. Whom a writer says something to is its own choice.
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

    /// A writer says to one reader, or to all, with which sample it begins; whether by a count that is new to that one. Counts go on at the
    /// other end of their range.
    fn tell(&mut self, writer: &Guid, heartbeat: &Heartbeat, at: Instant) -> bool {
        let &Heartbeat { reader, first, count, .. } = heartbeat;
        let before = self.entry(*writer, reader).told.replace(Told { first, count, at });
        before.is_none_or(|before| count.wrapping_sub(before.count) > 0)
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
        if !is_known && self.silent >= CONTACTS_MAX
            || self.talks.len() >= CONTACTS_MAX && !self.talks.contains_key(&writer)
        {
            self.forget_silent();
        }
        if self.talks.len() >= CONTACTS_MAX && !self.talks.contains_key(&writer) {
            self.talks.clear();
        }
        self.silent += usize::from(!is_known);
        self.talks.entry(writer).or_default().readers.entry(reader).or_default()
    }

    fn forget_silent(&mut self) {
        self.talks.retain(|_, talk| {
            talk.readers.retain(|_, said| said.has_spoken());
            !talk.readers.is_empty()
        });
        self.silent = 0;
    }

    /// A reader speaks to `writer` at `locators`, of which there are none for a writer of our own: what it has acknowledged, and the rest.
    fn speaks(&mut self, writer: Guid, reader: EntityId, locators: &[Locator]) -> &mut Said {
        self.entry(writer, reader).acknowledged.get_or_insert(0);
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
        books.talks.values_mut().for_each(|talk| drop(talk.readers.remove(&reader)));
    }

    /// These writers are no more.
    pub(crate) fn forget(&self, gone: impl Fn(&Guid) -> bool) {
        self.0.lock().talks.retain(|writer, _| !gone(writer));
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
/// Writers, and readers that have not spoken. Beyond it those, or else everything, are learned anew, from the next HEARTBEATs and
/// ACKNACKs.
const CONTACTS_MAX: usize = 4096;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rtps::{GuidPrefix, MessageWriter, Submessage, flag};
    use zerodds_core::Endianness;

    /// Where the writers of tests listen.
    pub(crate) const LISTENS_AT: Locator = Locator::new(1, 7411, [1; 16]);

    /// Dust acknowledges everything below `base`, for which it may ask.
    pub(crate) fn acknowledges(contacts: &Contacts, reader: EntityId, writer: Guid, base: u8, asks: bool) {
        let mut body = [0; 28];
        body[..4].copy_from_slice(&reader.0);
        body[4..8].copy_from_slice(&writer.entity.0);
        body[12] = base;
        if asks {
            (body[16], body[23]) = (1, 0x80);
        }
        let (kind, flags) = (kind::ACKNACK, flag::ENDIANNESS);
        let submessage = Submessage { kind, flags, offset: 0, open_ended: false, body: &body };
        contacts.note(writer, &AckNack::read(&submessage).expect("an ACKNACK"), &[LISTENS_AT]);
    }

    /// An ACKNACK of Dust's, that asks for what is in this set of so many from `base` on.
    pub(crate) fn acknack(reader: EntityId, writer: Guid, base: u32, (bits, set): (u32, &[u8])) -> Vec<u8> {
        let mut message = MessageWriter::new(&GuidPrefix([1; 12]).header(), Endianness::Little, 64);
        let base = [&[0; 4], &base.to_le_bytes()[..]].concat();
        let body = [&reader.0[..], &writer.entity.0, &base, &bits.to_le_bytes(), set, &[1, 0, 0, 0]].concat();
        message.info_dst(writer.prefix).verbatim(&[kind::ACKNACK, flag::ENDIANNESS, body.len() as u8, 0]);
        message.verbatim(&body).as_bytes().to_vec()
    }

    const WRITER: Guid = Guid { prefix: GuidPrefix([7; 12]), entity: EntityId([0, 0, 1, 3]) };
    const ONE: EntityId = EntityId([0, 0, 1, 4]);
    const OTHER: EntityId = EntityId([0, 0, 2, 4]);

    #[test]
    fn a_sample_that_one_reader_asks_for_is_requested_though_another_lacks_nothing() {
        let contacts = Contacts::default();
        acknowledges(&contacts, OTHER, WRITER, 1, true);
        acknowledges(&contacts, ONE, WRITER, 1, false);
        assert!(contacts.is_requested(&WRITER, 1));
        acknowledges(&contacts, OTHER, WRITER, 1, false);
        assert!(!contacts.is_requested(&WRITER, 1), "it has come some other way");
        [ONE, OTHER].iter().for_each(|&reader| acknowledges(&contacts, reader, WRITER, 1, true));
        contacts.given(&WRITER, 1);
        assert!(!contacts.is_requested(&WRITER, 1), "all readers are given it");
    }

    #[test]
    fn what_all_readers_have_acknowledged_is_acknowledged_whoever_spoke_last() {
        let contacts = Contacts::default();
        let acknowledged = |addressed| contacts.acknowledged(&WRITER, addressed);
        assert_eq!(acknowledged(EntityId::UNKNOWN), 0);
        acknowledges(&contacts, ONE, WRITER, 8, false);
        assert_eq!(
            [ONE, EntityId::UNKNOWN, OTHER].map(acknowledged),
            [8, 8, 0],
            "the other has not spoken yet"
        );
        for (reader, base) in [(OTHER, 5), (ONE, 8)] {
            acknowledges(&contacts, reader, WRITER, base, false);
            assert_eq!([ONE, EntityId::UNKNOWN, OTHER].map(acknowledged), [5; 3]);
        }
        contacts.left(OTHER);
        assert_eq!(acknowledged(ONE), 8);
        contacts.forget(|writer| *writer == WRITER);
        assert_eq!(acknowledged(ONE), 0);
    }

    #[test]
    fn only_reliable_readers_that_are_there_ask() {
        let contacts = Contacts::default();
        let asks = |addressed| contacts.of(&WRITER).map(|contact| contact.reader_for(addressed));
        [ONE, OTHER].iter().for_each(|&reader| acknowledges(&contacts, reader, WRITER, 1, true));
        contacts.came(ONE, false);
        assert_eq!((asks(ONE), contacts.has_reliable(&WRITER)), (None, false));
        contacts.came(OTHER, true);
        assert_eq!([asks(ONE), asks(OTHER), asks(EntityId::UNKNOWN)], [Some(OTHER); 3]);
        assert!(contacts.has_reliable(&WRITER));
        contacts.left(OTHER);
        assert_eq!((asks(OTHER), contacts.has_reliable(&WRITER)), (None, false));
        let discovery = Guid { entity: EntityId::SEDP_PUBLICATIONS_WRITER, ..WRITER };
        let reader = EntityId([0, 0, 3, 0xc7]);
        acknowledges(&contacts, reader, discovery, 1, false);
        assert_eq!(contacts.of(&discovery).map(|contact| contact.reader_for(ONE)), Some(reader));
    }

    /// What is asked for, of the samples from 2 to 34, when an ACKNACK of [`ONE`] leaves that asks for all of them. `None`: it does not
    /// leave, and nothing is known of it.
    fn asked(contacts: &Contacts) -> Option<Vec<i64>> {
        let all = [&[0xff; 4][..], &[0, 0, 0, 0x80]].concat();
        let mut message = acknack(ONE, WRITER, 2, (33, &all));
        let outgoing = Outgoing::read(&message).expect("a message");
        let leaves = contacts.pass(&mut message, &outgoing, &[LISTENS_AT]);
        assert_eq!(contacts.has_acknowledged(&WRITER, ONE, 1), leaves);
        let acknack = AckNack::read(&outgoing.submessage(&message)).expect("an ACKNACK");
        let asked: Vec<_> = acknack.requested().collect();
        assert_eq!(acknack.base, 2);
        let is_asked = |number| leaves && asked.contains(&number);
        assert!((1..40).all(|number| contacts.is_requested(&WRITER, number) == is_asked(number)));
        leaves.then_some(asked)
    }

    #[test]
    fn a_reader_asks_for_what_it_was_promised_itself_or_with_all_and_says_nothing_while_only_others_were() {
        let all: Vec<i64> = (2..35).collect();
        let promise = |contacts: &Contacts, reader, first| {
            let heartbeat = Heartbeat { reader, writer: WRITER.entity, first, last: 40, count: 1 };
            assert!(contacts.may_hear(&WRITER, &heartbeat, Instant::now(), |_| false).is_some());
        };
        for speaks_first in [true, false] {
            let contacts = Contacts::default();
            contacts.came(ONE, true);
            let other_speaks = || acknowledges(&contacts, OTHER, WRITER, 2, false);
            assert_eq!(asked(&contacts).as_ref(), Some(&all), "nobody was promised anything");
            if speaks_first {
                other_speaks();
            }
            promise(&contacts, OTHER, 1);
            other_speaks();
            contacts.left(ONE);
            contacts.came(ONE, true);
            assert_eq!(asked(&contacts), None, "it speaks of what the other was promised");
            promise(&contacts, EntityId::UNKNOWN, 9);
            assert_eq!(asked(&contacts).as_deref(), Some(&all[7..]));
            promise(&contacts, ONE, 33);
            assert_eq!(asked(&contacts), Some(vec![33, 34]));
            promise(&contacts, ONE, 41);
            assert_eq!(asked(&contacts), Some(vec![]));
        }
    }

    #[test]
    fn whether_a_count_rose_is_known_for_each_reader_and_beyond_the_end_of_the_counts() {
        let contacts = Contacts::default();
        let rose = |reader, count| {
            let heartbeat = Heartbeat { reader, writer: WRITER.entity, first: 1, last: 7, count };
            contacts.may_hear(&WRITER, &heartbeat, Instant::now(), |_| false)
        };
        assert_eq!(
            [rose(ONE, 9), rose(OTHER, 5), rose(ONE, 9), rose(OTHER, 6)],
            [true, true, false, true].map(Some)
        );
        acknowledges(&contacts, ONE, WRITER, 8, false);
        assert_eq!([rose(ONE, 9), rose(ONE, i32::MAX), rose(ONE, i32::MIN)], [false, true, true].map(Some));
        assert_eq!(rose(ONE, i32::MAX), Some(false), "late");
        contacts.left(ONE);
        assert_eq!(rose(ONE, 1), Some(true), "another of that name");
    }

    #[test]
    fn of_readers_that_never_speak_a_bounded_number_is_remembered_and_those_that_spoke_are_not_forgotten() {
        let contacts = Contacts::default();
        acknowledges(&contacts, ONE, WRITER, 8, false);
        for number in 0..3 * CONTACTS_MAX as u32 {
            let [_, a, b, c] = number.to_be_bytes();
            let reader = EntityId([a, b, c, 7]);
            let heartbeat = Heartbeat { reader, writer: WRITER.entity, first: 1, last: 7, count: 1 };
            let others = Guid { entity: EntityId([a, b, c, 2]), ..WRITER };
            for writer in [WRITER, others] {
                assert_eq!(contacts.may_hear(&writer, &heartbeat, Instant::now(), |_| false), Some(true));
            }
            let books = contacts.0.lock();
            let all = books.talks.values().map(|talk| talk.readers.len()).sum::<usize>();
            assert!(books.talks.len() <= CONTACTS_MAX && all <= CONTACTS_MAX + 1);
        }
        assert_eq!(contacts.acknowledged(&WRITER, ONE), 8);
        assert_eq!(
            contacts.of(&WRITER).map(|contact| contact.locators),
            None,
            "it is not known to be reliable"
        );
        contacts.came(ONE, true);
        assert_eq!(contacts.of(&WRITER).map(|contact| contact.locators), Some(vec![LISTENS_AT]));
    }

    #[test]
    fn what_a_best_effort_reader_still_lacks_is_known_though_no_writer_tells_it_anything() {
        let contacts = Contacts::default();
        contacts.came(OTHER, true);
        let heartbeat = Heartbeat { reader: OTHER, writer: WRITER.entity, first: 1, last: 7, count: 1 };
        assert!(contacts.may_hear(&WRITER, &heartbeat, Instant::now(), |_| false).is_some());
        acknowledges(&contacts, OTHER, WRITER, 8, false);
        let mut message = acknack(ONE, WRITER, 5, (0, &[]));
        let outgoing = Outgoing::read(&message).expect("a message");
        let mut leaves = || contacts.pass(&mut message, &outgoing, &[LISTENS_AT]);
        assert!(!leaves(), "it may be reliable, and has yet to be told");
        assert_eq!(contacts.acknowledged(&WRITER, OTHER), 8);
        contacts.came(ONE, false);
        assert!(!leaves(), "no writer would hear it");
        assert_eq!(contacts.acknowledged(&WRITER, OTHER), 5);
    }
}
