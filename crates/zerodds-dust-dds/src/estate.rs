//! What participants leave behind in Dust when they go, and how Dust is made to let go of it.
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
//! So a reader that is disposed of acknowledges everything that will ever be written, in words that are made up here, and
//! when its participant goes, whether it said so itself or died, Dust hears:
//!
//! ```text
//!   HEARTBEAT n..m │ DATA n: reader a is there         whose proxy was left: back on the list, for the last time
//!   ACKNACK of a, b, ... to each of our writers        nobody waits for them
//!   HEARTBEAT │ DATA: reader a is disposed of │ ... │ DATA: the participant is disposed of        one message
//! ```
//! One message, because Dust reads all of it before it acts, and then acts on the participant first: that removes the proxies,
//! and the rest the endpoints. The HEARTBEATs make Dust's reliable SEDP readers expect just these numbers; they are final
//! and ask for no answer.

use crate::discovery;
use crate::inbound::{PARTICIPANTS_MAX, SILENCE_MAX};
use crate::rtps::{
    AckNackFields, Content, Data, DataFields, EntityId, Guid, GuidPrefix, HEADER_LEN, HeartbeatFields,
    MessageWriter, Parameters, SEQUENCE_NUMBER_MAX, Submessages, flag, header, pid,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;
use zerodds_core::Endianness;

/// The endpoints that participants have announced, our own among them.
#[derive(Debug, Default)]
pub(crate) struct Estates {
    by_participant: HashMap<GuidPrefix, Estate>,
    /// Octets of all announcements that are kept.
    kept: usize,
}

#[derive(Debug, Default)]
struct Estate {
    /// When its participant last announced itself, or anything.
    heard_at: Option<Instant>,
    publications: Announced,
    subscriptions: Announced,
    /// Readers that were disposed of while their participant lives, and how they had been announced.
    departed: BTreeMap<EntityId, Vec<u8>>,
}

/// What one SEDP writer has announced.
#[derive(Debug, Default)]
struct Announced {
    /// The highest sequence number seen of it.
    last: i64,
    /// The endpoints, and the announcement of each reader.
    endpoints: BTreeMap<EntityId, Vec<u8>>,
}

/// What a message said of endpoints.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Its sender says that it goes.
    pub(crate) goes: bool,
    /// Readers that are there, and readers that are no more.
    pub(crate) came: Vec<Guid>,
    pub(crate) left: Vec<Guid>,
}

impl Estates {
    /// Reads what a message says of endpoints.
    pub(crate) fn note(&mut self, message: &[u8], now: Instant) -> News {
        let mut news = News::default();
        let Ok(prefix) = header(message) else { return news };
        for submessage in Submessages::of(message).map_while(Result::ok) {
            let Ok(Content::Data(data)) = Content::read(&submessage) else { continue };
            let alive = submessage.has(flag::DATA);
            if data.writer == EntityId::SPDP_WRITER {
                news.goes |= !alive;
                self.heard(prefix, now);
            }
            let order = if submessage.has(flag::ENDIANNESS) { Endianness::Little } else { Endianness::Big };
            if is_sedp(data.writer) {
                self.make_room(prefix, now);
                let endpoint = self.announced(prefix, &data, alive, order);
                self.heard(prefix, now);
                let reader = endpoint.filter(|_| data.writer == EntityId::SEDP_SUBSCRIPTIONS_WRITER);
                let list = if alive { &mut news.came } else { &mut news.left };
                list.extend(reader.map(|entity| Guid { prefix, entity }));
            }
        }
        news
    }

    /// These readers' acknowledgements of everything, to each writer of the participant `own`.
    pub(crate) fn acknowledgements(&self, own: Option<GuidPrefix>, readers: &[Guid]) -> Vec<Vec<u8>> {
        let own = own.and_then(|own| self.by_participant.get(&own));
        let writers = own.into_iter().flat_map(|estate| estate.publications.endpoints.keys());
        let mut messages = Vec::new();
        for writer in writers.filter(|writer| writer.is_user_defined()) {
            for reader in readers {
                let mut message = MessageWriter::new(&header_of(reader.prefix), Endianness::Little, 64);
                let (base, count) = (SEQUENCE_NUMBER_MAX, i32::MAX);
                message.acknack(AckNackFields { reader: reader.entity, writer: *writer, base, count });
                messages.push(message.into_bytes());
            }
        }
        messages
    }

    /// How Dust, in the participant `own`, is made to forget this participant and everything that it had announced.
    pub(crate) fn farewell(&mut self, prefix: GuidPrefix, own: Option<GuidPrefix>) -> Vec<Vec<u8>> {
        let mut estate = self.by_participant.remove(&prefix).unwrap_or_default();
        self.kept -= estate.kept();
        let readers: BTreeSet<EntityId> =
            estate.subscriptions.endpoints.keys().chain(estate.departed.keys()).copied().collect();
        let mut messages: Vec<Vec<u8>> = estate.raise(prefix).into_iter().collect();
        let guids: Vec<Guid> = readers.iter().map(|&entity| Guid { prefix, entity }).collect();
        messages.extend(self.acknowledgements(own, &guids));
        let mut last = MessageWriter::new(&header_of(prefix), Endianness::Little, 1024);
        let publications = estate.publications;
        dispose(&mut last, prefix, EntityId::SEDP_SUBSCRIPTIONS_WRITER, estate.subscriptions.last, readers);
        let writers = publications.endpoints.into_keys();
        dispose(&mut last, prefix, EntityId::SEDP_PUBLICATIONS_WRITER, publications.last, writers);
        let participant = Guid { prefix, entity: EntityId::PARTICIPANT };
        last.disposed((EntityId::SPDP_WRITER, EntityId::SPDP_READER), 1, pid::PARTICIPANT_GUID, participant);
        messages.push(last.into_bytes());
        messages
    }

    fn heard(&mut self, prefix: GuidPrefix, now: Instant) {
        if let Some(estate) = self.by_participant.get_mut(&prefix) {
            estate.heard_at = Some(now);
        }
    }

    /// Where there is no room for another participant, those that have been silent are forgotten.
    fn make_room(&mut self, prefix: GuidPrefix, now: Instant) {
        if self.by_participant.len() >= PARTICIPANTS_MAX && !self.by_participant.contains_key(&prefix) {
            let speaks =
                |estate: &Estate| estate.heard_at.is_some_and(|at| now.duration_since(at) < SILENCE_MAX);
            self.by_participant.retain(|_, estate| speaks(estate));
            self.kept = self.by_participant.values().map(Estate::kept).sum();
        }
    }

    /// Notes what an SEDP sample says of an endpoint; which one, unless it ends one that was never announced.
    fn announced(
        &mut self,
        prefix: GuidPrefix,
        data: &Data<'_>,
        alive: bool,
        order: Endianness,
    ) -> Option<EntityId> {
        if self.by_participant.len() >= PARTICIPANTS_MAX && !self.by_participant.contains_key(&prefix) {
            return None;
        }
        let estate = self.by_participant.entry(prefix).or_default();
        let before = estate.kept();
        let is_reader = data.writer == EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let announced = if is_reader { &mut estate.subscriptions } else { &mut estate.publications };
        announced.last = announced.last.max(data.sequence_number);
        let endpoint = endpoint_of(data, order)?;
        if !alive {
            let announcement = announced.endpoints.remove(&endpoint)?;
            if is_reader {
                estate.departed.insert(endpoint, announcement);
            }
        } else if announced.endpoints.len() + estate.departed.len() < ENDPOINTS_MAX {
            let room = is_reader && self.kept + data.payload.len() <= KEPT_MAX;
            let announcement = if room { announcement_of(data) } else { Vec::new() };
            announced.endpoints.insert(endpoint, announcement);
            estate.departed.remove(&endpoint);
        }
        self.kept = self.kept + estate.kept() - before;
        Some(endpoint)
    }
}

impl Estate {
    fn kept(&self) -> usize {
        self.subscriptions.endpoints.values().chain(self.departed.values()).map(Vec::len).sum()
    }

    /// Announces the readers again that were disposed of, so that their proxies can be found.
    fn raise(&mut self, prefix: GuidPrefix) -> Option<Vec<u8>> {
        let departed = self.departed.values().filter(|announcement| !announcement.is_empty());
        let writer = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let mut message = MessageWriter::new(&header_of(prefix), Endianness::Little, 1024);
        let first = self.subscriptions.last + 1;
        for (announcement, number) in departed.zip(first..) {
            expect(&mut message, writer, number, number == first);
            let fields =
                DataFields { flags: flag::DATA, reader: EntityId::NOBODY, writer, sequence_number: number };
            message.data(fields, announcement);
            self.subscriptions.last = number;
        }
        (self.subscriptions.last >= first).then(|| message.into_bytes())
    }
}

/// Says that these endpoints are gone, in the name of the SEDP writer that announced them and whose last number is `last`.
fn dispose(
    message: &mut MessageWriter,
    prefix: GuidPrefix,
    writer: EntityId,
    last: i64,
    endpoints: impl IntoIterator<Item = EntityId>,
) {
    for (entity, number) in endpoints.into_iter().zip(last + 1..) {
        expect(message, writer, number, number == last + 1);
        message.disposed((writer, EntityId::NOBODY), number, pid::ENDPOINT_GUID, Guid { prefix, entity });
    }
}

/// Makes the reader of this SEDP writer expect `number`, the first of several.
fn expect(message: &mut MessageWriter, writer: EntityId, number: i64, first: bool) {
    if first {
        let (reader, count) = (EntityId::UNKNOWN, i32::MAX);
        message.silent_heartbeat(HeartbeatFields { reader, writer, first: number, last: number, count });
    }
}

/// What Dust may be given of an announcement once more, as it is checked when it comes in; nothing of a malformed one.
fn announcement_of(data: &Data<'_>) -> Vec<u8> {
    let Ok(blanked) = discovery::check(data.payload) else { return Vec::new() };
    let mut announcement = data.payload.to_vec();
    for at in blanked {
        announcement[at..at + 2].copy_from_slice(&pid::PAD.to_ne_bytes());
    }
    announcement
}

fn header_of(prefix: GuidPrefix) -> [u8; HEADER_LEN] {
    let mut header = *b"RTPS\x02\x04\x00\x00............";
    header[8..].copy_from_slice(&prefix.0);
    header
}

fn is_sedp(writer: EntityId) -> bool {
    matches!(writer, EntityId::SEDP_PUBLICATIONS_WRITER | EntityId::SEDP_SUBSCRIPTIONS_WRITER)
}

/// Which endpoint an SEDP sample is about: by its key hash, or by the GUID in its payload.
fn endpoint_of(data: &Data<'_>, order: Endianness) -> Option<EntityId> {
    let by_hash = parameter(data.inline_qos, order, pid::KEY_HASH);
    let by_payload = || match data.payload {
        [0, 2, _, _, list @ ..] => parameter(list, Endianness::Big, pid::ENDPOINT_GUID),
        [0, 3, _, _, list @ ..] => parameter(list, Endianness::Little, pid::ENDPOINT_GUID),
        _ => None,
    };
    let guid = by_hash.or_else(by_payload)?;
    guid.get(12..16)?.first_chunk().copied().map(EntityId)
}

fn parameter(list: &[u8], order: Endianness, wanted: u16) -> Option<&[u8]> {
    Parameters::of(list, order)
        .map_while(Result::ok)
        .find(|&(id, ..)| id == wanted)
        .map(|(_, _, value)| value)
}

const ENDPOINTS_MAX: usize = 8192;
/// Octets of announcements that are kept of all participants together.
const KEPT_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: GuidPrefix = GuidPrefix(*b"gone forever");
    const OWN: GuidPrefix = GuidPrefix(*b"all the time");
    const WRITER: EntityId = EntityId([0, 0, 9, 3]);

    fn note(estates: &mut Estates, message: &[u8]) -> News {
        estates.note(message, Instant::now())
    }

    fn announcement(prefix: GuidPrefix, writer: EntityId, number: i64, endpoint: [u8; 4]) -> Vec<u8> {
        let mut message = MessageWriter::new(&header_of(prefix), Endianness::Little, 128);
        let reader = EntityId::UNKNOWN;
        message
            .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: number })
            .verbatim(&[0, 3, 0, 0])
            .parameter(pid::ENDPOINT_GUID, &Guid { prefix, entity: EntityId(endpoint) }.to_bytes())
            .parameter(pid::SENTINEL, &[]);
        message.into_bytes()
    }

    fn disposal(writer: EntityId, number: i64, endpoint: [u8; 4]) -> Vec<u8> {
        let mut message = MessageWriter::new(&header_of(GONE), Endianness::Little, 128);
        let endpoint = Guid { prefix: GONE, entity: EntityId(endpoint) };
        message.disposed((writer, EntityId::UNKNOWN), number, pid::ENDPOINT_GUID, endpoint);
        message.into_bytes()
    }

    /// Every DATA of a message: its writer, its number, whether it says that something is there, and what.
    fn samples(message: &[u8]) -> Vec<(EntityId, i64, bool, Option<EntityId>)> {
        let submessages = Submessages::of(message).map(|one| one.expect("whole"));
        let data = submessages.filter_map(|submessage| match Content::read(&submessage) {
            Ok(Content::Data(data)) => {
                let endpoint = endpoint_of(&data, Endianness::Little);
                Some((data.writer, data.sequence_number, submessage.has(flag::DATA), endpoint))
            }
            _ => None,
        });
        data.collect()
    }

    #[test]
    fn endpoints_go_in_one_message_with_their_participant_each_once_and_in_sequence() {
        let (readers, writers) = (EntityId::SEDP_SUBSCRIPTIONS_WRITER, EntityId::SEDP_PUBLICATIONS_WRITER);
        let mut estates = Estates::default();
        note(&mut estates, &announcement(GONE, readers, 4, [0, 0, 1, 4]));
        note(&mut estates, &announcement(GONE, readers, 7, [0, 0, 2, 4]));
        note(&mut estates, &announcement(GONE, writers, 1, [0, 0, 3, 3]));
        let farewell = estates.farewell(GONE, None);
        let [message] = &farewell[..] else { panic!("one message, not {}", farewell.len()) };
        assert_eq!(
            samples(message),
            [
                (readers, 8, false, Some(EntityId([0, 0, 1, 4]))),
                (readers, 9, false, Some(EntityId([0, 0, 2, 4]))),
                (writers, 2, false, Some(EntityId([0, 0, 3, 3]))),
                (EntityId::SPDP_WRITER, 1, false, Some(EntityId::PARTICIPANT)),
            ]
        );
        let again = estates.farewell(GONE, None);
        assert_eq!(samples(&again[0]).len(), 1, "endpoints go once");
        assert_eq!(estates.kept, 0);
    }

    #[test]
    fn a_reader_that_went_before_its_participant_is_raised_then_goes_for_good() {
        let readers = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let mut estates = Estates::default();
        note(&mut estates, &announcement(GONE, readers, 1, [0, 0, 1, 4]));
        let left = note(&mut estates, &disposal(readers, 2, [0, 0, 1, 4])).left;
        assert_eq!(left, [Guid { prefix: GONE, entity: EntityId([0, 0, 1, 4]) }]);
        let farewell = estates.farewell(GONE, None);
        let reader = Some(EntityId([0, 0, 1, 4]));
        let of: Vec<_> = farewell.iter().flat_map(|message| samples(message)).collect();
        assert_eq!(of[..2], [(readers, 3, true, reader), (readers, 4, false, reader)]);
    }

    #[test]
    fn a_reader_that_was_never_announced_does_not_leave() {
        let readers = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let mut estates = Estates::default();
        assert_eq!(note(&mut estates, &disposal(readers, 1, [0, 0, 1, 4])), News::default());
        note(&mut estates, &announcement(GONE, readers, 2, [0, 0, 1, 4]));
        assert_eq!(note(&mut estates, &disposal(readers, 3, [0, 0, 1, 4])).left.len(), 1);
        assert_eq!(
            note(&mut estates, &disposal(readers, 4, [0, 0, 1, 4])),
            News::default(),
            "it leaves once"
        );
    }

    #[test]
    fn a_reader_that_went_acknowledges_everything_to_each_of_our_writers() {
        let mut estates = Estates::default();
        note(&mut estates, &announcement(OWN, EntityId::SEDP_PUBLICATIONS_WRITER, 1, WRITER.0));
        let reader = Guid { prefix: GONE, entity: EntityId([0, 0, 1, 4]) };
        let messages = estates.acknowledgements(Some(OWN), &[reader]);
        let [message] = &messages[..] else { panic!("one writer, one reader") };
        assert_eq!(header(message), Ok(GONE));
        let submessage = Submessages::of(message).next().expect("one").expect("whole");
        let acknack = crate::rtps::AckNack::read(&submessage).expect("an ACKNACK");
        assert_eq!((acknack.reader, acknack.writer), (reader.entity, WRITER));
        assert_eq!((acknack.base, acknack.requested().count()), (SEQUENCE_NUMBER_MAX, 0));
    }

    #[test]
    fn a_goodbye_is_told_from_an_announcement() {
        let mut estates = Estates::default();
        assert!(note(&mut estates, &Estates::default().farewell(GONE, None)[0]).goes);
        assert!(!note(&mut estates, &announcement(GONE, EntityId::SPDP_WRITER, 1, [0, 0, 1, 0xc1])).goes);
        assert!(!note(&mut estates, b"no RTPS at all").goes);
    }

    #[test]
    fn estates_have_an_end_and_those_of_the_silent_are_forgotten() {
        let participant = |number: usize| {
            let mut prefix = [0; 12];
            prefix[..8].copy_from_slice(&number.to_ne_bytes());
            GuidPrefix(prefix)
        };
        let readers = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
        let reader = |number| announcement(participant(number), readers, 1, [0, 0, 1, 4]);
        let spdp = announcement(participant(0), EntityId::SPDP_WRITER, 1, [0, 0, 1, 0xc1]);
        let (mut estates, now) = (Estates::default(), Instant::now());
        let mut came = |number, now| estates.note(&reader(number), now).came.len();
        assert_eq!((0..PARTICIPANTS_MAX).map(|number| came(number, now)).sum::<usize>(), PARTICIPANTS_MAX);
        assert_eq!(came(PARTICIPANTS_MAX, now), 0);
        let later = now + SILENCE_MAX;
        assert_eq!(estates.note(&spdp, later), News::default());
        assert_eq!(estates.note(&reader(PARTICIPANTS_MAX), later).came.len(), 1);
        assert!(estates.by_participant.contains_key(&participant(0)), "who speaks is not silent");
        assert_eq!(estates.by_participant.len(), 2);
        let kept: usize = estates.by_participant.values().map(Estate::kept).sum();
        assert_eq!(estates.kept, kept);
    }
}
