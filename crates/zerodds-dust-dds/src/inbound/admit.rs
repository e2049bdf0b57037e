//! Which samples Dust may see, and what of them; what discovery says is noted on the way, in [`estate`](crate::estate).

use super::complaints::Complaint;
use super::{Fate, Inbound, Patches};
use crate::discovery;
use crate::estate::News;
use crate::reassembly::Origin;
use crate::rtps::{
    Data, EntityId, Guid, GuidPrefix, Malformed, MessageWriter, Parameters, SUBMESSAGE_HEADER_LEN,
    Submessage, pid,
};
use std::ops::Range;
use std::time::Instant;
use zerodds_core::{Endianness, Path};

impl Inbound {
    /// Decides whether Dust may see a sample: of a participant that has not announced itself only that it does so. Of one of discovery
    /// that it may not see it hears that there is nothing: its readers are reliable, would ask for it at once, for ever, and take none
    /// behind it.
    pub(super) fn admit(
        &mut self,
        origin: &Origin,
        now: Instant,
        submessage: &Submessage<'_>,
        data: &Data<'_>,
    ) -> Result<Fate, Malformed> {
        let prefix = origin.prefix;
        if data.writer != EntityId::SPDP_WRITER && !self.estates.has(prefix) {
            return Ok(Fate::Drop);
        }
        let is_type_lookup =
            matches!(data.writer, EntityId::TYPE_LOOKUP_REQUEST_WRITER | EntityId::TYPE_LOOKUP_REPLY_WRITER);
        let admitted = match data.writer {
            _ if is_type_lookup => Ok(None),
            EntityId::SPDP_WRITER => self.participant(origin, now, submessage, data),
            _ if data.reader == EntityId::SPDP_READER => Err(Malformed::Fields),
            EntityId::SEDP_PUBLICATIONS_WRITER
            | EntityId::SEDP_SUBSCRIPTIONS_WRITER
            | EntityId::SEDP_TOPICS_WRITER => self.endpoint(prefix, submessage, data),
            _ => Ok(Some(Vec::new())),
        };
        let is_waited_for = data.writer != EntityId::SPDP_WRITER && !data.writer.is_user_defined();
        if (is_type_lookup || admitted.is_err()) && is_waited_for {
            let mut message = MessageWriter::new(&origin.header, Endianness::Little, 64);
            message.nothing(data.writer, data.sequence_number);
            self.brought_about.push(message.into_bytes());
        }
        let Some(mut patches) = admitted? else { return Ok(Fate::Drop) };
        if data.writer != EntityId::SPDP_WRITER && data.reader == EntityId::UNKNOWN {
            let reader_at = submessage.offset + SUBMESSAGE_HEADER_LEN + 4;
            patches.push((reader_at, EntityId::NOBODY.0.to_vec()));
        }
        if let Some(path) = origin.path.filter(|_| data.writer.is_user_defined()) {
            self.tally.received_sample(path, Guid { prefix, entity: data.writer }, data.sequence_number);
        }
        Ok(if patches.is_empty() { Fate::Keep } else { Fate::Patch(patches) })
    }

    /// A participant announces itself, or says goodbye; `None` if Dust is not to see that. Whatever is not clearly the one
    /// Dust takes for the other, and for that of whomever it names.
    fn participant(
        &mut self,
        origin: &Origin,
        now: Instant,
        submessage: &Submessage<'_>,
        data: &Data<'_>,
    ) -> Result<Option<Patches>, Malformed> {
        let prefix = origin.prefix;
        let named = subject(submessage, data, pid::PARTICIPANT_GUID);
        if named.is_some_and(|named| named.prefix != prefix) {
            return Err(Malformed::Fields);
        }
        if is_disposed(submessage, data) {
            if origin.path == Some(Path::Udp) && self.neighbourhood.set_leaving(prefix, true) {
                // It says so through its link too, after all that it has sent; where that has no room, the link ends.
                return Ok(None);
            }
            // Who says goodbye knows that it is gone, and need not be told should it come back.
            self.estates.returns(prefix);
            if self.estates.has(prefix) {
                self.take_leave_of(prefix);
                self.estates.bury(prefix, now);
            }
            return Ok(None);
        }
        if status(submessage, data).is_some() || data.payload.is_empty() {
            return Err(Malformed::Fields);
        }
        let mut patches = checked(submessage, data)?;
        let is_linked = self.neighbourhood.set_leaving(prefix, false);
        if origin.path == Some(Path::Udp) && is_linked && self.estates.has(prefix) {
            // This, too, it says through its link; by UDP anybody could move it elsewhere in its name.
            return Ok(None);
        }
        let (lease, lease_at) = discovery::lease(data.payload);
        if self.estates.returns(prefix) && origin.header[VENDOR] == DUST {
            self.begin_afresh(prefix, discovery::discovery_locators(data.payload), now);
            return Ok(None);
        }
        let alive = || self.neighbourhood.linked().collect();
        for silent in self.estates.in_the_way_of(prefix, self.own, alive, now) {
            self.take_leave_of(silent);
            self.estates.forsake(silent, now);
        }
        if !self.estates.admit(prefix, lease, now) {
            self.complain(Complaint::Participants);
            return Ok(None);
        }
        self.addresses.announced(prefix, data.payload);
        // Leases are ended here, not by Dust.
        let Some(lease_at) = lease_at else {
            let payload = patched(submessage, data, &patches);
            self.brought_about.push(with_lease(origin, submessage, &payload));
            return Ok(None);
        };
        let payload_at = submessage.end() - data.payload.len();
        patches.push((payload_at + lease_at, discovery::LEASE_FOR_EVER.to_vec()));
        Ok(Some(patches))
    }

    /// A participant says something of an endpoint or topic of his; `None` if Dust is not to see that.
    fn endpoint(
        &mut self,
        prefix: GuidPrefix,
        submessage: &Submessage<'_>,
        data: &Data<'_>,
    ) -> Result<Option<Patches>, Malformed> {
        let (gone, number) = (is_disposed(submessage, data), data.sequence_number);
        let mut patches = if gone { Vec::new() } else { checked(submessage, data)? };
        let subject = subject(submessage, data, pid::ENDPOINT_GUID);
        let news = match (data.writer, subject) {
            (EntityId::SEDP_TOPICS_WRITER, _) if gone || data.payload.is_empty() => News::Nothing,
            (EntityId::SEDP_TOPICS_WRITER, _) => self.estates.topic(prefix, number),
            (_, None) => News::Nothing,
            (_, Some(endpoint)) if endpoint.prefix != prefix => return Err(Malformed::Fields),
            (writer, Some(endpoint)) if gone => self.estates.disposed(writer, number, endpoint),
            (writer, Some(endpoint)) => {
                self.estates.announced(writer, number, endpoint, || patched(submessage, data, &patches))
            }
        };
        let is_ours = self.own == Some(prefix);
        if is_ours && !gone {
            self.look_at_types(data.payload);
        }
        let ended = subject.filter(|_| gone && data.writer != EntityId::SEDP_TOPICS_WRITER);
        let end = ended.and_then(|endpoint| spelled_out_end(submessage, data, endpoint));
        let is_spelled_out = end.is_some();
        self.brought_about.extend(end);
        match (news, data.writer, subject) {
            (News::Came, EntityId::SEDP_SUBSCRIPTIONS_WRITER, Some(reader)) => {
                self.departed.came(reader);
                if is_ours {
                    self.contacts.came(reader.entity, discovery::is_reliable_reader(data.payload));
                    self.reassembly.reader_came();
                }
            }
            (News::Left, EntityId::SEDP_SUBSCRIPTIONS_WRITER, Some(reader)) => {
                self.departed.left(reader);
                if is_ours {
                    self.contacts.left(reader.entity);
                }
                let acknowledged = self.estates.acknowledgements(self.own, prefix, &[reader.entity]);
                self.brought_about.extend(acknowledged);
            }
            (News::Came, EntityId::SEDP_PUBLICATIONS_WRITER, Some(writer)) if is_ours => {
                self.brought_about.extend(self.estates.acknowledgements_to(writer.entity));
            }
            (News::Left, EntityId::SEDP_PUBLICATIONS_WRITER, Some(writer)) => {
                self.reassembly.forget(|one| *one == writer);
            }
            // Dust hears that the sample came, as it would ask for it for ever, but cannot read it.
            (News::TooMany, ..) => {
                patches.push((submessage.end() - data.payload.len(), vec![0, 0]));
                self.complain(Complaint::Endpoints);
            }
            _ => {}
        }
        Ok((!is_spelled_out).then_some(patches))
    }

    /// Says what of types a program asks for, by what it announces, that is not to be had.
    fn look_at_types(&mut self, payload: &[u8]) {
        if discovery::forces_type_validation(payload) {
            self.complain(Complaint::ForcedValidation);
        }
        if discovery::has_type_information(payload) {
            self.complain(Complaint::TypeInformation);
        }
    }
}

/// Checks a payload of discovery, and blanks what Dust must not see of it.
fn checked(submessage: &Submessage<'_>, data: &Data<'_>) -> Result<Patches, Malformed> {
    let payload_at = submessage.end() - data.payload.len();
    let blanked = discovery::check(data.payload)?;
    Ok(blanked.into_iter().map(|at| (payload_at + at, pid::PAD.to_ne_bytes().to_vec())).collect())
}

/// The payload as Dust gets it.
fn patched(submessage: &Submessage<'_>, data: &Data<'_>, patches: &Patches) -> Vec<u8> {
    let payload_at = submessage.end() - data.payload.len();
    let mut payload = data.payload.to_vec();
    for (at, octets) in patches {
        payload[at - payload_at..][..octets.len()].copy_from_slice(octets);
    }
    payload
}

/// The announcement with this payload, which says nothing of its lease, with one ahead of everything else: Dust would take the default,
/// which can be over as soon as the wall clock leaps.
fn with_lease(origin: &Origin, submessage: &Submessage<'_>, payload: &[u8]) -> Vec<u8> {
    let (encapsulation, list) = payload.split_at(discovery::ENCAPSULATION_LEN);
    let order = if encapsulation.starts_with(&[0, 2]) { Endianness::Big } else { Endianness::Little };
    let before = &submessage.body[..submessage.body.len() - payload.len()];
    let mut message = MessageWriter::new(&origin.header, order, 64 + submessage.body.len());
    // The DATA extends to the end.
    message.verbatim(&[submessage.kind, submessage.flags, 0, 0]).verbatim(before).verbatim(encapsulation);
    message.parameter(pid::PARTICIPANT_LEASE_DURATION, &discovery::LEASE_FOR_EVER).verbatim(list);
    message.into_bytes()
}

/// What a DATA says of its instance (§9.6.4.9). Of several statuses the first counts, as it does for Dust.
fn status<'a>(submessage: &Submessage<'_>, data: &Data<'a>) -> Option<&'a [u8]> {
    inline(submessage, data, pid::STATUS_INFO)
}

/// Whether a DATA says that its instance is gone: disposed, unregistered, or both.
fn is_disposed(submessage: &Submessage<'_>, data: &Data<'_>) -> bool {
    matches!(status(submessage, data), Some([0, 0, 0, 1..=3]))
}

/// Whom a sample of discovery is about, as Dust understands it: of what is gone its key hash says so, of what is there the
/// payload.
fn subject(submessage: &Submessage<'_>, data: &Data<'_>, id: u16) -> Option<Guid> {
    let hash = key_hash(submessage, data).filter(|_| is_disposed(submessage, data));
    hash.or_else(|| discovery::guid(data.payload, id))
}

fn key_hash(submessage: &Submessage<'_>, data: &Data<'_>) -> Option<Guid> {
    inline(submessage, data, pid::KEY_HASH).and_then(Guid::of)
}

/// The end of this endpoint in words that Dust understands, where its own are none: who is gone Dust reads from the key hash alone,
/// which may be left out where there is a payload (§9.6.4.8).
fn spelled_out_end(submessage: &Submessage<'_>, data: &Data<'_>, endpoint: Guid) -> Option<Vec<u8>> {
    if key_hash(submessage, data).is_some() {
        return None;
    }
    let mut end = MessageWriter::new(&endpoint.prefix.header(), Endianness::Little, 128);
    end.disposed((data.writer, EntityId::NOBODY), data.sequence_number, pid::ENDPOINT_GUID, endpoint);
    Some(end.into_bytes())
}

fn inline<'a>(submessage: &Submessage<'_>, data: &Data<'a>, wanted: u16) -> Option<&'a [u8]> {
    let mut parameters = Parameters::of(data.inline_qos, submessage.order()).flatten();
    parameters.find(|&(id, ..)| id == wanted).map(|(.., value)| value)
}

/// Where a header names its vendor (§9.4.4), and what Dust has there.
pub(super) const VENDOR: Range<usize> = 6..8;
pub(super) const DUST: [u8; 2] = [0x01, 0x14];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::LEASE_FOR_EVER;
    use crate::estate::PARTICIPANTS_MAX;
    use crate::fragment::Fragmenter;
    use crate::inbound::tests::{Gate, SENDER, message};
    use crate::outgoing::Outgoing;
    use crate::outgoing::tests::PEER;
    use crate::reassembly::Request;
    use crate::rtps::{Content, DataFields, HEADER_LEN, Submessages, flag, kind};
    use std::time::Duration;
    use zerodds_core::Locator;

    const OTHER: GuidPrefix = GuidPrefix(*b"another name");
    const READERS: EntityId = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
    const READER: EntityId = EntityId([0, 0, 1, 4]);

    /// A DATA of discovery, up to its end, in the name of SENDER.
    fn announcement(writer: EntityId, number: i64, name: (u16, Guid), more: (u16, &[u8])) -> Vec<u8> {
        let mut announcement = message();
        let fields =
            DataFields { flags: flag::DATA, reader: EntityId::UNKNOWN, writer, sequence_number: number };
        announcement
            .open_data(fields)
            .verbatim(&[0, 3, 0, 0])
            .parameter(name.0, &name.1.to_bytes())
            .parameter(more.0, more.1)
            .parameter(pid::SENTINEL, &[]);
        announcement.into_bytes()
    }

    fn participant(prefix: GuidPrefix, lease_secs: u32) -> Vec<u8> {
        let lease = [lease_secs.to_le_bytes(), [0; 4]].concat();
        let name = (pid::PARTICIPANT_GUID, Guid { prefix, entity: EntityId::PARTICIPANT });
        announcement(EntityId::SPDP_WRITER, 1, name, (pid::PARTICIPANT_LEASE_DURATION, &lease))
    }

    fn reader(number: i64, entity: EntityId) -> Vec<u8> {
        let name = (pid::ENDPOINT_GUID, Guid { prefix: SENDER, entity });
        announcement(READERS, number, name, (0x8005, &[7; 4]))
    }

    fn goodbye(named: GuidPrefix) -> MessageWriter {
        let mut goodbye = MessageWriter::new(&SENDER.header(), Endianness::Little, 128);
        let named = Guid { prefix: named, entity: EntityId::PARTICIPANT };
        goodbye.disposed((EntityId::SPDP_WRITER, EntityId::SPDP_READER), 2, pid::PARTICIPANT_GUID, named);
        goodbye
    }

    /// Whom a message disposes of.
    fn disposed(messages: &[Vec<u8>]) -> Vec<Guid> {
        let submessages = messages.iter().flat_map(|message| Submessages::of(message)).flatten();
        let disposed = submessages.filter_map(|submessage| match Content::read(&submessage) {
            Ok(Content::Data(data)) if is_disposed(&submessage, &data) => {
                subject(&submessage, &data, pid::ENDPOINT_GUID)
            }
            _ => None,
        });
        disposed.collect()
    }

    fn died(gate: &mut Gate) -> Vec<Guid> {
        let mut out = Vec::new();
        gate.inbound.died(SENDER, gate.now, &mut out);
        disposed(&out)
    }

    const READER_GUID: Guid = Guid { prefix: SENDER, entity: READER };
    const SENDER_GUID: Guid = Guid { prefix: SENDER, entity: EntityId::PARTICIPANT };

    #[test]
    fn an_endpoint_announced_in_fragments_goes_with_its_participant() {
        let mut gate = Gate::new();
        let announcement = {
            let name = (pid::ENDPOINT_GUID, READER_GUID);
            let plain = announcement(READERS, 1, name, (0x8005, &[7; 60_000]));
            let mut addressed = message();
            addressed.info_dst(PEER).verbatim(&plain[20..plain.len() - 4]);
            addressed.parameter(0x8005, &[7; 60_000]).parameter(pid::SENTINEL, &[]);
            addressed.into_bytes()
        };
        let mut announcement = announcement;
        let len = (announcement.len() - 40) as u16;
        announcement[38..40].copy_from_slice(&len.to_le_bytes());
        let outgoing = Outgoing::read(&announcement).expect("a message");
        let pieces: Vec<_> =
            Fragmenter::new(1 << 20, 65_507).datagrams(&announcement, &outgoing, None, None, 0);
        assert!(pieces.len() > 1);
        assert_eq!(pieces.iter().map(|piece| gate.pass(piece).len()).sum::<usize>(), 1);
        assert_eq!(died(&mut gate), [READER_GUID, SENDER_GUID]);
    }

    #[test]
    fn a_goodbye_counts_for_whom_it_is_from_and_not_for_who_brings_it() {
        let mut gate = Gate::new();
        assert!(gate.inbound.estates.admit(OTHER, None, gate.now));
        let mut relayed = message();
        let source = [&[kind::INFO_SRC, flag::ENDIANNESS, 20, 0, 0, 0, 0, 0, 2, 4, 0, 0][..], &OTHER.0];
        relayed.verbatim(&source.concat()).verbatim(&goodbye(OTHER).into_bytes()[20..]);
        let seen = gate.pass(&relayed.into_bytes());
        assert_eq!(disposed(&seen), [Guid { prefix: OTHER, entity: EntityId::PARTICIPANT }]);
        assert!(gate.inbound.estates.has(SENDER) && !gate.inbound.estates.has(OTHER));
    }

    #[test]
    fn who_says_goodbye_by_udp_is_gone_when_its_link_ends_for_whatever_reason_unless_it_announces_itself() {
        for is_back in [false, true] {
            let mut gate = Gate::new();
            let link = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]);
            gate.inbound.linked(link, SENDER);
            assert_eq!(gate.pass(&goodbye(SENDER).into_bytes()), [[0; 0]; 0], "it says so by its link too");
            if is_back {
                assert_eq!(gate.pass(&participant(SENDER, 20)), [[0; 0]; 0], "and so this");
            }
            let mut out = Vec::new();
            gate.inbound.unlinked(&link, false, gate.now, &mut out);
            assert_eq!(disposed(&out) == [SENDER_GUID], !is_back);
        }
    }

    #[test]
    fn who_dies_before_anything_came_through_its_link_is_known_by_the_address_that_it_announced() {
        let [link, another] = [1, 2].map(|it| Locator::new(Locator::KIND_SHARED_MEMORY, 0, [it; 16]));
        let name = (pid::PARTICIPANT_GUID, SENDER_GUID);
        let at = link.to_bytes(Endianness::Little);
        let more = (pid::METATRAFFIC_UNICAST_LOCATOR, &at[..]);
        let announcement = announcement(EntityId::SPDP_WRITER, 1, name, more);
        for (peer, linked, has_ended, expected) in [
            (link, None, true, &[SENDER_GUID][..]),
            (link, None, false, &[]),
            (another, None, true, &[]),
            (link, Some(another), true, &[]),
        ] {
            let (mut gate, mut out) = (Gate::new(), Vec::new());
            assert_eq!(gate.pass(&announcement).len(), 1);
            linked.into_iter().for_each(|linked| gate.inbound.linked(linked, SENDER));
            gate.inbound.unlinked(&peer, has_ended, gate.now, &mut out);
            assert_eq!(disposed(&out), expected);
        }
    }

    #[test]
    fn that_there_is_no_room_for_a_participant_is_said() {
        let mut gate = Gate::new();
        for number in 0..PARTICIPANTS_MAX as u16 {
            let [a, b] = number.to_be_bytes();
            let _ =
                gate.inbound.estates.admit(GuidPrefix([a, b, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]), None, gate.now);
        }
        gate.inbound.estates.farewell(SENDER, None);
        assert!(gate.inbound.estates.admit(OTHER, None, gate.now));
        assert_eq!(gate.pass(&participant(SENDER, 20)), [[0; 0]; 0]);
        assert_eq!(gate.inbound.complaints, [Complaint::Participants].into());
        gate.now += Duration::from_secs(35);
        assert_eq!(gate.pass(&participant(SENDER, 20)).len(), 2, "that one goes, and this one comes");
    }

    #[test]
    fn a_program_that_asks_for_what_is_not_to_be_had_of_types_is_told_so() {
        let mut gate = Gate::new();
        assert!(gate.inbound.estates.admit(PEER, None, gate.now));
        let mut say = |id, value: &[u8]| {
            let named = (pid::ENDPOINT_GUID, Guid { prefix: PEER, entity: READER });
            let mut said = announcement(READERS, 1, named, (id, value));
            said[..HEADER_LEN].copy_from_slice(&PEER.header());
            gate.inbound.message(&said, None, Some(PEER), gate.now, &mut Vec::new());
            gate.inbound.complaints.clone()
        };
        assert_eq!(say(pid::TYPE_CONSISTENCY, &[1, 0, 1, 1, 0, 0, 0, 0]), [].into());
        let forced = say(pid::TYPE_CONSISTENCY, &[1, 0, 1, 1, 0, 0, 1, 0]);
        assert_eq!(forced, [Complaint::ForcedValidation].into());
        let described = say(pid::TYPE_INFORMATION, &[7; 8]);
        assert_eq!(described, [Complaint::ForcedValidation, Complaint::TypeInformation].into());
    }

    #[test]
    fn a_goodbye_for_another_participant_of_ours_is_not_for_us() {
        let mut gate = Gate::new();
        let mut addressed = message();
        addressed.info_dst(OTHER).verbatim(&goodbye(SENDER).into_bytes()[20..]);
        assert_eq!(gate.pass(&addressed.into_bytes()), [[0; 0]; 0]);
        assert!(gate.inbound.estates.has(SENDER));
        assert_eq!(disposed(&gate.pass(&goodbye(SENDER).into_bytes())), [SENDER_GUID]);
        assert_eq!(gate.pass(&participant(SENDER, 20)), [[0; 0]; 0], "a leftover");
        gate.now += crate::estate::GRAVE;
        assert_eq!(gate.pass(&participant(SENDER, 20)).len(), 1);
    }

    #[test]
    fn who_has_not_announced_himself_has_no_endpoints_and_says_no_goodbye() {
        let mut gate = Gate::new();
        gate.inbound.estates.farewell(SENDER, None);
        for message in [reader(1, READER), goodbye(SENDER).into_bytes()] {
            assert_eq!(gate.pass(&message), [[0; 0]; 0]);
        }
        assert_eq!(gate.pass(&participant(SENDER, 20)).len(), 1, "it was not taken for dead either");
        assert_eq!(gate.pass(&reader(1, READER)).len(), 1);
    }

    #[test]
    fn nobody_announces_or_disposes_of_what_is_not_his() {
        let mut gate = Gate::new();
        let name = (pid::ENDPOINT_GUID, Guid { prefix: OTHER, entity: READER });
        let foreign = announcement(READERS, 1, name, (0x8005, &[7; 4]));
        for message in [participant(OTHER, 20), goodbye(OTHER).into_bytes()] {
            assert_eq!(gate.pass(&message), [[0; 0]; 0]);
        }
        let nothing = message().nothing(READERS, 1).as_bytes().to_vec();
        assert_eq!(gate.pass(&foreign), [nothing]);
        assert_eq!(gate.malformed(), 3);
    }

    #[test]
    fn a_reader_that_is_disposed_of_is_departed_until_a_newer_word_of_it_comes() {
        let mut gate = Gate::new();
        let departed = |gate: &Gate| gate.inbound.departed.contains(&READER_GUID);
        let mut disposal = message();
        disposal.disposed((READERS, EntityId::UNKNOWN), 6, pid::ENDPOINT_GUID, READER_GUID);
        for (message, expected) in
            [(reader(5, READER), false), (disposal.into_bytes(), true), (reader(5, READER), true)]
        {
            gate.pass(&message);
            assert_eq!(departed(&gate), expected);
        }
        gate.pass(&reader(7, READER));
        assert!(!departed(&gate));
    }

    #[test]
    fn dust_cannot_read_of_more_endpoints_than_it_has_room_for_but_hears_that_they_came() {
        let mut gate = Gate::new();
        let mut unread = 0;
        for number in 1..10_000_i64 {
            let [.., a, b] = number.to_be_bytes();
            let message = reader(number, EntityId([0, a, b, 4]));
            let seen = gate.pass(&message).remove(0);
            let payload_at = message.len() - 36;
            unread += usize::from(seen[payload_at..payload_at + 2] != [0, 3]);
        }
        assert_eq!(unread, 9_999 - 8_192);
    }

    #[test]
    fn leases_are_ended_here_and_dust_does_not_see_them_end() {
        let mut gate = Gate::new();
        let announcement = participant(SENDER, 20);
        let seen = gate.pass(&announcement).remove(0);
        let lease_at = announcement.len() - 12;
        assert_eq!(seen[lease_at..lease_at + 8], LEASE_FOR_EVER);
        gate.pass(&reader(1, READER));
        gate.now += Duration::from_secs(19);
        assert!(gate.inbound.lease_deadline().is_some_and(|end| end > gate.now));
        gate.pass(&message().into_bytes());
        gate.now += Duration::from_secs(19);
        let mut out = Vec::new();
        gate.inbound.end_leases(gate.now, &mut out);
        assert_eq!(out, [[0; 0]; 0], "whatever comes of a participant shows that it lives");
        gate.now += Duration::from_secs(1);
        let link = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]);
        gate.inbound.linked(link, SENDER);
        gate.inbound.end_leases(gate.now, &mut out);
        assert_eq!(out, [[0; 0]; 0], "and so does its link");
        gate.inbound.unlinked(&link, false, gate.now, &mut out);
        assert_eq!(out, [[0; 0]; 0], "which may end before it does");
        gate.now += Duration::from_secs(20);
        gate.inbound.end_leases(gate.now, &mut out);
        assert_eq!(disposed(&out), [READER_GUID, SENDER_GUID]);
        let mut of_another_vendor = announcement.clone();
        of_another_vendor[VENDOR].copy_from_slice(&[1, 0x12]);
        assert_eq!(gate.pass(&of_another_vendor).len(), 1, "it may come back at any time");
    }

    #[test]
    fn dust_sees_no_lease_end_of_a_participant_that_says_nothing_of_its_own_either() {
        for encapsulation in [[0, 3, 0, 0], [0, 2, 0, 0]] {
            let mut gate = Gate::new();
            let mut said = participant_at(1, Locator::new(1, 7, [7; 16]));
            let at = said.len() - (4 + 20 + 4 + 24 + 4);
            if encapsulation[1] == 2 {
                let list = said.split_off(at);
                said.extend(encapsulation);
                for (id, value) in [(pid::PARTICIPANT_GUID, &list[8..24]), (pid::RELIABILITY, &[7; 4])] {
                    said.extend([&id.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat());
                }
                said.extend([0, 1, 0, 0]);
            }
            let seen = gate.pass(&said).remove(0);
            let lease = |message: &[u8]| discovery::lease(&message[at..]).1.map(|lease| at + lease);
            assert_eq!(lease(&said), None);
            let told = lease(&seen).expect("a lease");
            assert_eq!(seen[told..][..8], LEASE_FOR_EVER);
            let rest = [&seen[..told - 4], &seen[told + 8..]].concat();
            assert_eq!(rest, said, "and everything else as it was");
        }
    }

    #[test]
    fn who_comes_back_is_told_to_begin_afresh_while_it_goes_on_talking_and_heard_when_it_does_so() {
        let mut gate = Gate::new();
        let mut out = Vec::new();
        gate.inbound.died(SENDER, gate.now, &mut out);
        gate.now += crate::estate::GRAVE;
        let [one, other] = [1, 2].map(|port| Locator::new(1, port, [7; 16]));
        let name = (pid::PARTICIPANT_GUID, SENDER_GUID);
        let at = |locator: Locator| (pid::METATRAFFIC_UNICAST_LOCATOR, locator.to_bytes(Endianness::Little));
        let (id, value) = at(one);
        let mut announcement = announcement(EntityId::SPDP_WRITER, 1, name, (id, &value));
        let mut more = MessageWriter::new(&SENDER.header(), Endianness::Little, 64);
        let (id, value) = at(other);
        more.parameter(id, &value).parameter(pid::SENTINEL, &[]);
        announcement.truncate(announcement.len() - 4);
        announcement.extend(&more.into_bytes()[20..]);
        assert_eq!(gate.pass(&announcement), [[0; 0]; 0]);
        let answers = gate.inbound.answers();
        let [Request { message, locators }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(locators, &[one, other]);
        assert_eq!(disposed(std::slice::from_ref(message)), [Guid { prefix: PEER, ..SENDER_GUID }]);
        let (anything, began) = (SENDER.header(), gate.now);
        let mut said = [&announcement[..], &anything].into_iter().cycle();
        let mut again = Vec::new();
        for after in (0..3_000).step_by(50) {
            gate.now = began + Duration::from_millis(after);
            assert_eq!(gate.pass(said.next().expect("a cycle")), [[0; 0]; 0], "it begins afresh");
            again.extend(gate.inbound.answers().into_iter().map(|answer| (after, answer)));
        }
        assert!(again.iter().map(|&(after, _)| after).eq((250..2_500).step_by(250)), "{again:?}");
        assert!(again.iter().all(|(_, answer)| *answer == answers[0]));
        gate.now = began + crate::estate::GRAVE;
        assert_eq!((gate.pass(&announcement).len(), gate.inbound.answers()), (1, Vec::new()));
    }

    /// SENDER announces itself at this address.
    fn participant_at(number: i64, at: Locator) -> Vec<u8> {
        let value = at.to_bytes(Endianness::Little);
        let more = (pid::DEFAULT_UNICAST_LOCATOR, &value[..]);
        announcement(EntityId::SPDP_WRITER, number, (pid::PARTICIPANT_GUID, SENDER_GUID), more)
    }

    #[test]
    fn where_a_participant_with_a_link_is_now_only_its_link_tells() {
        let mut gate = Gate::new();
        let [old, new, forged] = [1, 2, 3].map(|port| Locator::new(1, port, [7; 16]));
        let instead = |gate: &Gate| gate.inbound.addresses.instead_of(&[old], SENDER);
        assert_eq!(gate.pass(&participant_at(1, old)).len(), 1);
        gate.inbound.linked(Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]), SENDER);
        assert_eq!((gate.pass(&participant_at(2, forged)), instead(&gate)), (vec![], None));
        let (mut out, path, own) = (Vec::new(), Some(Path::SharedMemory), Some(PEER));
        gate.inbound.message(&participant_at(3, new), path, own, gate.now, &mut out);
        assert_eq!((out.len(), instead(&gate)), (1, Some(vec![new])));
    }

    #[test]
    fn where_a_participant_is_now_is_known_until_it_leaves() {
        let mut gate = Gate::new();
        let [old, new] = [1, 2].map(|port| Locator::new(1, port, [7; 16]));
        for (number, at) in [(1, old), (2, new)] {
            assert_eq!(gate.pass(&participant_at(number, at)).len(), 1);
        }
        let instead = |gate: &Gate| gate.inbound.addresses.instead_of(&[old], SENDER);
        assert_eq!(instead(&gate), Some(vec![new]));
        died(&mut gate);
        assert_eq!(instead(&gate), None);
    }

    #[test]
    fn who_said_goodbye_after_its_lease_had_ended_is_not_told_to_begin_afresh() {
        let mut gate = Gate::new();
        gate.pass(&participant(SENDER, 20));
        gate.now += Duration::from_secs(20);
        gate.inbound.end_leases(gate.now, &mut Vec::new());
        assert_eq!(gate.pass(&goodbye(SENDER).into_bytes()), [[0; 0]; 0], "Dust has forgotten it");
        assert_eq!((gate.pass(&participant(SENDER, 20)).len(), gate.inbound.answers()), (1, Vec::new()));
    }

    #[test]
    fn who_has_died_meanwhile_is_told_nothing_more() {
        let mut gate = Gate::new();
        gate.inbound.died(SENDER, gate.now, &mut Vec::new());
        gate.now += crate::estate::GRAVE;
        gate.pass(&participant(SENDER, 20));
        assert_eq!(gate.inbound.answers().len(), 1);
        gate.now += Duration::from_secs(1);
        gate.inbound.died(SENDER, gate.now, &mut Vec::new());
        assert_eq!(gate.pass(&participant(SENDER, 20)), [[0; 0]; 0], "a leftover");
        assert_eq!(gate.inbound.answers(), []);
    }
}
