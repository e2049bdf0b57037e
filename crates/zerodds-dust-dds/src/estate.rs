//! What a participant leaves behind in Dust when it goes, and how Dust is made to forget it.
//!
//! Dust 0.16 keeps the endpoints of a removed participant in its list of discovered endpoints, and matches them
//! again as soon as anybody else is discovered. A reader that comes back so has no address and never
//! acknowledges anything: every reliable writer of its topic waits for it for ever, not even a lease ends that. An
//! SEDP dispose takes an endpoint off that list. So before Dust hears that a participant is gone, whether it said
//! so itself or died, it hears the same of every endpoint that the participant had announced:
//!
//! ```text
//!   HEARTBEAT n..n │ DATA n: reader a is disposed of │ DATA n+1: reader b ...   in the name of its SEDP writers
//!   DATA: the participant is disposed of
//! ```
//! The HEARTBEAT makes Dust's reliable SEDP reader expect just these numbers; it is final and asks for no answer.

use crate::rtps::{
    Content, Data, DataFields, EntityId, Guid, GuidPrefix, HEADER_LEN, HeartbeatFields, MessageWriter,
    Parameters, Submessages, flag, header, pid,
};
use std::collections::{BTreeSet, HashMap};
use zerodds_core::Endianness;

/// The endpoints that remote participants have announced.
#[derive(Debug, Default)]
pub(crate) struct Estates(HashMap<GuidPrefix, Estate>);

#[derive(Debug, Default)]
struct Estate {
    publications: Announced,
    subscriptions: Announced,
}

/// What one SEDP writer has announced.
#[derive(Debug, Default)]
struct Announced {
    /// The highest sequence number seen of it.
    last: i64,
    endpoints: BTreeSet<EntityId>,
}

impl Estates {
    /// Reads what a message says of endpoints; whether its sender says that it goes.
    pub(crate) fn note(&mut self, message: &[u8]) -> bool {
        let Ok(prefix) = header(message) else { return false };
        let mut goes = false;
        for submessage in Submessages::of(message).map_while(Result::ok) {
            let Ok(Content::Data(data)) = Content::read(&submessage) else { continue };
            let alive = submessage.has(flag::DATA);
            goes |= data.writer == EntityId::SPDP_WRITER && !alive;
            let order = if submessage.has(flag::ENDIANNESS) { Endianness::Little } else { Endianness::Big };
            if is_sedp(data.writer) {
                self.announced(prefix, &data, alive, order);
            }
        }
        goes
    }

    /// The disposes of everything that this participant had announced, for our own Dust.
    pub(crate) fn farewell(&mut self, prefix: GuidPrefix) -> Vec<Vec<u8>> {
        let Some(estate) = self.0.remove(&prefix) else { return Vec::new() };
        let both = [
            (EntityId::SEDP_SUBSCRIPTIONS_WRITER, estate.subscriptions),
            (EntityId::SEDP_PUBLICATIONS_WRITER, estate.publications),
        ];
        both.into_iter().flat_map(|(writer, announced)| announced.disposes(prefix, writer)).collect()
    }

    fn announced(&mut self, prefix: GuidPrefix, data: &Data<'_>, alive: bool, order: Endianness) {
        if self.0.len() >= PARTICIPANTS_MAX && !self.0.contains_key(&prefix) {
            return;
        }
        let estate = self.0.entry(prefix).or_default();
        let announced = match data.writer {
            EntityId::SEDP_SUBSCRIPTIONS_WRITER => &mut estate.subscriptions,
            _ => &mut estate.publications,
        };
        announced.last = announced.last.max(data.sequence_number);
        let Some(endpoint) = endpoint_of(data, order) else { return };
        if !alive {
            announced.endpoints.remove(&endpoint);
        } else if announced.endpoints.len() < ENDPOINTS_MAX {
            announced.endpoints.insert(endpoint);
        }
    }
}

impl Announced {
    fn disposes(self, prefix: GuidPrefix, writer: EntityId) -> impl Iterator<Item = Vec<u8>> {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(b"RTPS\x02\x04\x00\x00");
        header[8..].copy_from_slice(&prefix.0);
        let first = self.last + 1;
        let reader = EntityId::UNKNOWN;
        self.endpoints.into_iter().zip(first..).map(move |(endpoint, number)| {
            let key = Guid { prefix, entity: endpoint }.to_bytes();
            let mut message = MessageWriter::new(&header, Endianness::Little, 192);
            if number == first {
                message.silent_heartbeat(HeartbeatFields {
                    reader,
                    writer,
                    first,
                    last: first,
                    count: i32::MAX,
                });
            }
            let flags = flag::INLINE_QOS | flag::DATA_KEY;
            message
                .open_data(DataFields { flags, reader, writer, sequence_number: number })
                .parameter(pid::STATUS_INFO, &DISPOSED_AND_UNREGISTERED)
                .parameter(pid::KEY_HASH, &key)
                .parameter(pid::SENTINEL, &[])
                .verbatim(&PL_CDR_LE)
                .parameter(pid::ENDPOINT_GUID, &key)
                .parameter(pid::SENTINEL, &[]);
            message.into_bytes()
        })
    }
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

/// PID_STATUS_INFO of an instance that is disposed of and unregistered (§9.6.4.9).
pub(crate) const DISPOSED_AND_UNREGISTERED: [u8; 4] = [0, 0, 0, 3];
/// Encapsulation of a little-endian parameter list.
pub(crate) const PL_CDR_LE: [u8; 4] = [0, 3, 0, 0];
const PARTICIPANTS_MAX: usize = 1024;
const ENDPOINTS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: GuidPrefix = GuidPrefix(*b"gone forever");

    fn announcement(writer: EntityId, number: i64, endpoint: [u8; 4]) -> Vec<u8> {
        let mut header = *b"RTPS\x02\x04\x00\x00............";
        header[8..].copy_from_slice(&GONE.0);
        let mut message = MessageWriter::new(&header, Endianness::Little, 128);
        let reader = EntityId::UNKNOWN;
        message
            .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: number })
            .verbatim(&PL_CDR_LE)
            .parameter(pid::ENDPOINT_GUID, &Guid { prefix: GONE, entity: EntityId(endpoint) }.to_bytes())
            .parameter(pid::SENTINEL, &[]);
        message.into_bytes()
    }

    fn disposed(message: &[u8]) -> (EntityId, i64, EntityId) {
        let last = Submessages::of(message).map(|one| one.expect("whole")).last().expect("one");
        assert!(!last.has(flag::DATA), "a key, not data");
        let Ok(Content::Data(data)) = Content::read(&last) else { panic!("no DATA") };
        (data.writer, data.sequence_number, endpoint_of(&data, Endianness::Little).expect("an endpoint"))
    }

    #[test]
    fn every_endpoint_that_was_announced_is_disposed_of_once_and_in_sequence() {
        let mut estates = Estates::default();
        assert!(!estates.note(&announcement(EntityId::SEDP_SUBSCRIPTIONS_WRITER, 4, [0, 0, 1, 4])));
        assert!(!estates.note(&announcement(EntityId::SEDP_SUBSCRIPTIONS_WRITER, 7, [0, 0, 2, 4])));
        assert!(!estates.note(&announcement(EntityId::SEDP_PUBLICATIONS_WRITER, 1, [0, 0, 3, 3])));
        let farewell: Vec<_> = estates.farewell(GONE).iter().map(|message| disposed(message)).collect();
        assert_eq!(
            farewell,
            [
                (EntityId::SEDP_SUBSCRIPTIONS_WRITER, 8, EntityId([0, 0, 1, 4])),
                (EntityId::SEDP_SUBSCRIPTIONS_WRITER, 9, EntityId([0, 0, 2, 4])),
                (EntityId::SEDP_PUBLICATIONS_WRITER, 2, EntityId([0, 0, 3, 3])),
            ]
        );
        assert!(estates.farewell(GONE).is_empty(), "it goes once");
    }

    #[test]
    fn what_was_disposed_of_before_is_not_disposed_of_again() {
        let mut estates = Estates::default();
        estates.note(&announcement(EntityId::SEDP_PUBLICATIONS_WRITER, 1, [0, 0, 3, 3]));
        let [dispose] = &Estates::farewell(&mut estates, GONE)[..] else { panic!("one") };
        let mut again = Estates::default();
        again.note(&announcement(EntityId::SEDP_PUBLICATIONS_WRITER, 1, [0, 0, 3, 3]));
        again.note(dispose);
        assert!(again.farewell(GONE).is_empty());
    }

    #[test]
    fn a_goodbye_is_told_from_an_announcement() {
        let mut estates = Estates::default();
        assert!(estates.note(&crate::announce::goodbye_of(GONE)));
        assert!(!estates.note(&announcement(EntityId::SPDP_WRITER, 1, [0, 0, 1, 0xc1])));
        assert!(!estates.note(b"no RTPS at all"));
    }
}
