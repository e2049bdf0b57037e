//! What passes, what does not, and that Dust survives whatever comes.

use super::*;
use crate::outgoing::Outgoing;
use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, as_dust_writes};
use crate::rtps::{Data, DataFields, EntityId, NackFragFields, flag, kind, pid};
use proptest::prelude::*;
use std::time::Duration;

/// The sender of the messages below.
pub(super) const SENDER: GuidPrefix = GuidPrefix(*b"me, who else");

/// An inbound path, and what it lets through.
pub(super) struct Gate {
    pub(super) inbound: Inbound,
    pub(super) contacts: Arc<Contacts>,
    tally: Arc<Tally>,
    wanted: Arc<Wanted>,
    pub(super) now: Instant,
}

impl Gate {
    pub(super) fn new() -> Self {
        let (tally, wanted): (Arc<Tally>, Arc<Wanted>) = Default::default();
        let fragmenter = Fragmenter::new(1 << 20, 65_507);
        let (contacts, departed): (Arc<Contacts>, _) = Default::default();
        let (ours, all) = (Arc::clone(&contacts), (Arc::clone(&wanted), Arc::clone(&tally)));
        let mut inbound = Inbound::new(1 << 24, fragmenter, ours, all.0, departed, Arc::default(), all.1);
        let now = Instant::now();
        assert!(inbound.estates.admit(SENDER, None, now));
        Self { inbound, contacts, tally, wanted, now }
    }

    /// What Dust sees of a message for the participant [`PEER`].
    pub(super) fn pass(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.inbound.message(message, Some(Path::Udp), Some(PEER), self.now, &mut out);
        out
    }

    pub(super) fn malformed(&self) -> u64 {
        self.tally.traffic().malformed
    }
}

pub(super) fn message() -> MessageWriter {
    MessageWriter::new(&HEADER, Endianness::Little, 256)
}

/// A submessage by its id and body, little-endian.
pub(super) fn raw(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_le_bytes();
    [&[kind, flags | 1][..], &len, body].concat()
}

pub(super) fn ids() -> Vec<u8> {
    [READER.0, WRITER.0].concat()
}

/// A sequence number, little-endian.
pub(super) fn number(value: i64) -> Vec<u8> {
    [((value >> 32) as i32).to_le_bytes(), (value as i32).to_le_bytes()].concat()
}

pub(super) fn long(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

pub(super) fn heartbeat(first: i64, last: i64) -> Heartbeat {
    Heartbeat { reader: READER, writer: WRITER, first, last, count: 1 }
}

/// An ACKNACK that asks for nothing.
fn acknack() -> Vec<u8> {
    raw(kind::ACKNACK, 0, &[&ids()[..], &number(1), &long(0), &long(1)].concat())
}

#[test]
fn valid_traffic_passes_unchanged() {
    let mut gate = Gate::new();
    let mut acknack = message();
    acknack.info_dst(PEER).verbatim(&raw(
        kind::ACKNACK,
        0,
        &[&ids()[..], &number(3), &long(33), &long(0x8000_0000), &long(1), &long(9)].concat(),
    ));
    let mut heartbeats = message();
    heartbeats.info_ts((1, 2)).heartbeat(heartbeat(1, 0)).heartbeat(heartbeat(4, 9));
    let valid = [
        as_dust_writes(b"payload", &[], true),
        as_dust_writes(&[7; 60_000], &[], false),
        acknack.into_bytes(),
        heartbeats.into_bytes(),
    ];
    for message in valid {
        assert_eq!(gate.pass(&message), [message]);
    }
    assert_eq!(gate.malformed(), 0);
}

/// Submessages that would end Dust, or keep its thread busy for ever.
fn fatal() -> Vec<(&'static str, Vec<u8>)> {
    let min = i64::MIN;
    let data = |number_octets: &[u8], rest: &[u8]| [&[0, 0, 16, 0][..], &ids(), number_octets, rest].concat();
    vec![
        (
            "a set of more than 256 fragments",
            raw(
                kind::NACK_FRAG,
                0,
                &[&ids()[..], &number(1), &long(1), &long(257), &[0xff; 36], &long(1)].concat(),
            ),
        ),
        (
            "fragments beyond the last number",
            raw(
                kind::NACK_FRAG,
                0,
                &[&ids()[..], &number(1), &long(u32::MAX), &long(32), &long(1), &long(1)].concat(),
            ),
        ),
        (
            "fragments of size 0",
            raw(
                kind::DATA_FRAG,
                0,
                &[&[0, 0, 28, 0][..], &ids(), &number(1), &long(1), &[1, 0, 0, 0], &long(9), b"payload"]
                    .concat(),
            ),
        ),
        (
            "a sample of no fragments",
            raw(
                kind::DATA_FRAG,
                0,
                &[&[0, 0, 28, 0][..], &ids(), &number(1), &long(1), &[1, 0, 8, 0], &long(0), b"payload"]
                    .concat(),
            ),
        ),
        ("a reply-to list", raw(0x0f, 0, &long(0))),
        (
            "a GAP from the least number",
            raw(kind::GAP, 0, &[&ids()[..], &number(min), &number(1), &long(0)].concat()),
        ),
        (
            "a GAP that ends before it begins",
            raw(kind::GAP, 0, &[&ids()[..], &number(9), &number(1), &long(0)].concat()),
        ),
        (
            "a GAP of more than 256 bits",
            raw(kind::GAP, 0, &[&ids()[..], &number(1), &number(2), &long(u32::MAX)].concat()),
        ),
        (
            "a HEARTBEAT from the least number",
            raw(kind::HEARTBEAT, 0, &[&ids()[..], &number(min), &number(1), &long(1)].concat()),
        ),
        (
            "a HEARTBEAT to the greatest number",
            raw(kind::HEARTBEAT, 0, &[&ids()[..], &number(1), &number(i64::MAX), &long(1)].concat()),
        ),
        (
            "an ACKNACK of the least number",
            raw(kind::ACKNACK, 0, &[&ids()[..], &number(min), &long(0), &long(1)].concat()),
        ),
        ("a truncated HEARTBEAT", raw(kind::HEARTBEAT, 0, &ids())),
        ("a DATA without its numbers", raw(kind::DATA, 4, &[0, 0, 16, 0])),
        ("a DATA of the greatest number", raw(kind::DATA, 4, &data(&number(i64::MAX), b"load"))),
        ("inline QoS without an end", raw(kind::DATA, 6, &data(&number(1), &[0x70, 0, 255, 255]))),
        ("data and key at once", raw(kind::DATA, 12, &data(&number(1), b"load"))),
        (
            "a sample for the reader of announcements",
            raw(
                kind::DATA,
                4,
                &[&[0, 0, 16, 0][..], &EntityId::SPDP_READER.0, &WRITER.0, &number(1), b"load"].concat(),
            ),
        ),
    ]
}

#[test]
fn every_way_known_to_end_dust_is_barred_and_the_rest_of_the_message_passes() {
    for (what, submessage) in fatal() {
        let mut gate = Gate::new();
        let mut around = message();
        around.heartbeat(heartbeat(1, 1)).verbatim(&submessage).heartbeat(heartbeat(1, 2));
        let mut expected = message();
        expected.heartbeat(heartbeat(1, 1)).heartbeat(heartbeat(1, 2));
        assert_eq!(gate.pass(&around.into_bytes()), [expected.into_bytes()], "{what}");
        assert_eq!(gate.malformed(), u64::from(what != "a reply-to list"), "{what}");
    }
}

#[test]
fn what_claims_to_be_longer_than_its_message_is_dropped_and_what_came_before_passes() {
    let mut gate = Gate::new();
    let mut torn = message();
    torn.heartbeat(heartbeat(1, 1)).verbatim(&[kind::DATA, 5, 0xff, 0xff, 0, 0]);
    let mut expected = message();
    expected.heartbeat(heartbeat(1, 1));
    assert_eq!(gate.pass(&torn.into_bytes()), [expected.into_bytes()]);
    assert_eq!((gate.pass(b"RTPX"), gate.pass(&[]), gate.malformed()), (vec![], vec![], 3));
}

#[test]
fn a_long_gap_ends_where_it_did_and_begins_later() {
    let mut gate = Gate::new();
    let far = 1 << 40;
    let mut long_gap = message();
    long_gap.verbatim(&raw(kind::GAP, 0, &[&ids()[..], &number(1), &number(far), &long(0)].concat()));
    let mut expected = message();
    expected.verbatim(&raw(kind::GAP, 0, &[&ids()[..], &number(far - 1), &number(far), &long(0)].concat()));
    assert_eq!(gate.pass(&long_gap.into_bytes()), [expected.into_bytes()]);
}

#[test]
fn a_length_of_zero_is_filled_in_except_for_data() {
    let mut gate = Gate::new();
    let mut open = message();
    open.heartbeat(heartbeat(1, 1));
    let closed = open.into_bytes();
    let mut open = closed.clone();
    open[HEADER_LEN + 2..][..2].fill(0);
    assert_eq!(gate.pass(&open), [closed]);
    let mut data = message();
    data.open_data(DataFields { flags: flag::DATA, reader: READER, writer: WRITER, sequence_number: 1 });
    let data = [data.into_bytes(), b"to the end".to_vec()].concat();
    assert_eq!(gate.pass(&data), std::slice::from_ref(&data));
}

#[test]
fn what_is_too_long_for_any_length_leaves_nothing_behind() {
    let mut gate = Gate::new();
    let mut endless = acknack();
    endless[2..4].fill(0);
    endless.resize(endless.len() + 70_000, 0);
    let expected = [&HEADER[..], &acknack()].concat();
    let seen = gate.pass(&[&HEADER[..], &acknack(), &endless].concat());
    seen.iter().for_each(|message| assert_harmless(message));
    assert_eq!((seen, gate.malformed()), (vec![expected], 1));
}

#[test]
fn what_is_for_another_participant_is_not_for_us() {
    let mut gate = Gate::new();
    let other = GuidPrefix(*b"someone else");
    let mut mixed = message();
    mixed.info_dst(other).heartbeat(heartbeat(1, 1)).info_dst(PEER).heartbeat(heartbeat(1, 2));
    let mut expected = message();
    expected.info_dst(other).info_dst(PEER).heartbeat(heartbeat(1, 2));
    assert_eq!(gate.pass(&mixed.into_bytes()), [expected.into_bytes()]);
    let mut theirs = message();
    theirs.info_dst(other).heartbeat(heartbeat(1, 1));
    assert!(gate.pass(&theirs.into_bytes()).is_empty());
}

/// An SEDP sample that asks Dust for memory for four thousand million strings, with these statuses.
fn excessive(statuses: &[[u8; 4]]) -> Vec<u8> {
    let (reader, writer) = (EntityId::UNKNOWN, EntityId::SEDP_SUBSCRIPTIONS_WRITER);
    let mut sample = message();
    let flags = flag::DATA | flag::INLINE_QOS;
    sample.open_data(DataFields { flags, reader, writer, sequence_number: 1 });
    for status in statuses {
        sample.parameter(pid::STATUS_INFO, status);
    }
    sample.parameter(pid::SENTINEL, &[]).verbatim(&[0, 3, 0, 0]).parameter(pid::PARTITION, &[0xff; 4]);
    sample.parameter(pid::SENTINEL, &[]);
    sample.into_bytes()
}

#[test]
fn of_several_statuses_the_first_counts_as_it_does_for_dust() {
    for alive_first in [&[[0, 0, 0, 4], [0, 0, 0, 1]][..], &[[0, 0, 0, 4]], &[]] {
        let mut gate = Gate::new();
        let nothing = message().nothing(EntityId::SEDP_SUBSCRIPTIONS_WRITER, 1).as_bytes().to_vec();
        assert_eq!(gate.pass(&excessive(alive_first)), [nothing]);
        assert_eq!(gate.malformed(), 1);
    }
    let disposed = excessive(&[[0, 0, 0, 1]]);
    assert_ne!(Gate::new().pass(&disposed), [[0; 0]; 0], "Dust does not read it");
}

#[test]
fn of_a_sample_of_discovery_that_dust_must_not_see_it_hears_the_number_before_the_heartbeat() {
    let said = |writer, prefix: GuidPrefix| {
        let fields = DataFields { flags: flag::DATA, reader: EntityId::UNKNOWN, writer, sequence_number: 7 };
        let heartbeat = Heartbeat { reader: EntityId::UNKNOWN, writer, ..heartbeat(1, 7) };
        let mut said = MessageWriter::new(&prefix.header(), Endianness::Little, 128);
        let mut told = [(); 2].map(|()| MessageWriter::new(&prefix.header(), Endianness::Little, 128));
        said.data(fields, &[0xff; 8]).heartbeat(heartbeat);
        told[0].nothing(writer, 7);
        told[1].heartbeat(heartbeat);
        (said.into_bytes(), told.map(MessageWriter::into_bytes))
    };
    for (writer, malformed) in [
        (EntityId::TYPE_LOOKUP_REQUEST_WRITER, 0),
        (EntityId::TYPE_LOOKUP_REPLY_WRITER, 0),
        (EntityId::SEDP_PUBLICATIONS_WRITER, 1),
        (EntityId::SEDP_SUBSCRIPTIONS_WRITER, 1),
    ] {
        let mut gate = Gate::new();
        let (said, told) = said(writer, SENDER);
        let seen = gate.pass(&said).into_iter().map(|message| message[HEADER_LEN..].to_vec());
        assert_eq!(seen.collect::<Vec<_>>(), told.map(|message| message[HEADER_LEN..].to_vec()));
        assert_eq!(gate.malformed(), malformed);
    }
    let (stranger, _) = said(EntityId::TYPE_LOOKUP_REQUEST_WRITER, GuidPrefix(*b"someone else"));
    assert_eq!(Gate::new().pass(&stranger), [[0; 0]; 0], "Dust knows no writer of a stranger's");
}

#[test]
fn what_a_stranger_says_of_writers_and_to_them_is_not_heard() {
    let mut strangers = MessageWriter::new(&GuidPrefix(*b"someone else").header(), Endianness::Little, 128);
    strangers.heartbeat(heartbeat(1, 7)).verbatim(&acknack());
    let strangers = strangers.into_bytes();
    let (mut gate, known) = (Gate::new(), [&HEADER[..], &strangers[HEADER_LEN..]].concat());
    assert_eq!((gate.pass(&strangers), gate.pass(&known)), (vec![], vec![known]));
}

#[test]
fn a_sample_of_a_stranger_is_neither_passed_on_nor_counted() {
    let known = as_dust_writes(b"payload", &[], false);
    let strange = [&GuidPrefix(*b"someone else").header()[..], &known[HEADER_LEN..]].concat();
    let mut gate = Gate::new();
    for (message, seen) in [(&strange, 0), (&known, 1), (&strange, 0)] {
        assert_eq!(gate.pass(message).len(), seen);
    }
    assert_eq!(gate.tally.traffic().udp.samples_received, 1);
}

#[test]
fn an_announcement_reaches_dust_without_the_options_of_its_encapsulation() {
    let mut announcement = message();
    let (reader, writer) = (EntityId::SPDP_READER, EntityId::SPDP_WRITER);
    announcement.open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: 1 });
    let payload_at = announcement.as_bytes().len();
    let lease = crate::discovery::LEASE_FOR_EVER;
    announcement.verbatim(&[0, 3, 4, 0]).parameter(pid::PARTICIPANT_LEASE_DURATION, &lease);
    announcement.parameter(pid::SENTINEL, &[]);
    let mut expected = announcement.into_bytes();
    let seen = Gate::new().pass(&expected);
    expected[payload_at + 2] = 0;
    assert_eq!(seen, [expected]);
}

#[test]
fn nobody_speaks_for_ourselves_or_the_dead_in_the_name_of_a_third() {
    let mut gate = Gate::new();
    let dead = GuidPrefix(*b"dead and one");
    gate.inbound.died(dead, gate.now, &mut Vec::new());
    for (name, passes) in [(PEER, false), (dead, false), (SENDER, true)] {
        let mut relayed = message();
        let source = [&[2, 4, 0, 0, 0, 0, 0, 0][..], &name.0].concat();
        relayed.verbatim(&raw(kind::INFO_SRC, 0, &source)).heartbeat(heartbeat(1, 1));
        assert_eq!(gate.pass(&relayed.into_bytes()).len(), usize::from(passes), "{name:?}");
    }
}

#[test]
fn a_participant_that_has_not_announced_itself_asks_for_no_fragments() {
    let (bits, bitmap, count) = (0, [0; 8], 1);
    let (reader, writer, sequence_number, base) = (READER, WRITER, 42, 1);
    let mut request = message();
    request.nack_frag(&NackFragFields { reader, writer, sequence_number, base, bits, bitmap, count });
    let request = request.into_bytes();
    let mut gate = Gate::new();
    assert_eq!(gate.pass(&request).len(), 1);
    gate.inbound.estates.farewell(SENDER, None);
    assert_eq!(gate.pass(&request).len(), 0);
}

#[test]
fn a_sample_for_all_readers_is_kept_from_the_reader_of_announcements() {
    let mut gate = Gate::new();
    let mut to_all = as_dust_writes(b"payload", &[], false);
    to_all[56..60].copy_from_slice(&EntityId::UNKNOWN.0);
    let seen = gate.pass(&to_all).remove(0);
    assert_eq!(
        (&seen[56..60], &seen[..56], &seen[60..]),
        (&EntityId::NOBODY.0[..], &to_all[..56], &to_all[60..])
    );
}

#[test]
fn a_request_for_fragments_becomes_one_for_their_chunk() {
    let mut gate = Gate::new();
    let mut bitmap = [0; 8];
    bitmap[0] = 0xa000_0000;
    let nack = NackFragFields {
        reader: READER,
        writer: WRITER,
        sequence_number: 42,
        base: 3,
        bits: 3,
        bitmap,
        count: 8,
    };
    let mut request = message();
    request.info_dst(PEER).nack_frag(&nack);
    let seen = gate.pass(&request.into_bytes());
    let [for_dust] = &seen[..] else { panic!("{seen:?}") };
    let submessage = Submessages::of(for_dust).next().expect("one").expect("whole");
    let Ok(Content::NackFrag(nack)) = Content::read(&submessage) else { panic!("{for_dust:?}") };
    assert_eq!((nack.wanted().collect::<Vec<_>>(), nack.sequence_number), (vec![1], 42));
    let reader = Guid { prefix: SENDER, entity: READER };
    let fragmenter = Fragmenter::new(1 << 20, 65_507);
    assert_eq!(gate.wanted.take(reader, WRITER, 42, 1, fragmenter.numbers_of(1, 1 << 20)), Some(vec![3, 5]));
}

#[test]
fn requests_that_follow_one_another_ask_dust_once_and_nothing_of_them_is_forgotten() {
    let window = |sequence_number, base| {
        let (bits, bitmap, count) = (0, [0; 8], 1);
        NackFragFields { reader: READER, writer: WRITER, sequence_number, base, bits, bitmap, count }
    };
    let mut request = message();
    request.info_dst(PEER);
    for base in [1, 300, 600] {
        request.nack_frag(&window(42, base));
    }
    request.nack_frag(&window(43, 5));
    let mut gate = Gate::new();
    let reader = Guid { prefix: SENDER, entity: READER };
    let take = |gate: &Gate, number| gate.wanted.take(reader, WRITER, number, 1, 1..=u32::MAX);
    // Another message is another request.
    assert_eq!([gate.pass(request.as_bytes()).len(), gate.pass(request.as_bytes()).len()], [2, 2]);
    assert_eq!(take(&gate, 42), Some(vec![1, 300, 600]));
    assert_eq!([take(&gate, 42), take(&gate, 42)], [Some(vec![]), None], "two answers");
    assert_eq!([take(&gate, 43), take(&gate, 43), take(&gate, 43)], [Some(vec![5]), Some(vec![]), None]);
}

/// An ACKNACK, and a NACK_FRAG, by which the message is cut.
fn asks(message: &mut MessageWriter) -> &mut MessageWriter {
    let (reader, writer, sequence_number, base) = (READER, WRITER, 42, 1);
    let (bits, bitmap, count) = (0, [0; 8], 1);
    message.verbatim(&acknack());
    message.nack_frag(&NackFragFields { reader, writer, sequence_number, base, bits, bitmap, count })
}

#[test]
fn what_follows_a_cut_still_has_its_source_and_time() {
    let third = GuidPrefix(*b"another name");
    let mut gate = Gate::new();
    assert!(gate.inbound.estates.admit(third, None, gate.now));
    let mut relayed = message();
    relayed.verbatim(&raw(kind::INFO_SRC, 0, &[&[0, 0, 0, 0, 2, 4, 0, 0][..], &third.0].concat()));
    let fields = DataFields { flags: flag::DATA, reader: READER, writer: WRITER, sequence_number: 1 };
    asks(relayed.info_ts((7, 8))).data(fields, b"payload!");
    let seen = gate.pass(&relayed.into_bytes());
    assert_eq!(seen.len(), 3);
    let mut rest = MessageWriter::new(&third.header(), Endianness::Little, 64);
    rest.info_ts((7, 8)).data(fields, b"payload!");
    assert_eq!(seen[2][8..], rest.as_bytes()[8..], "but for version and vendor");
}

#[test]
fn a_message_that_is_cut_often_does_not_grow_with_what_stands_before_the_cuts() {
    let mut many = message();
    for _ in 0..1_000 {
        many.info_ts((7, 8));
    }
    for _ in 0..100 {
        asks(&mut many);
    }
    let many = many.into_bytes();
    let seen = Gate::new().pass(&many);
    assert_eq!(seen.len(), 200);
    assert!(seen.iter().map(Vec::len).sum::<usize>() < 2 * many.len());
}

#[test]
fn a_reassembled_sample_passes_the_same_checks() {
    let mut gate = Gate::new();
    let mut sample = as_dust_writes(&[7; 200_000], &[], true);
    sample[56..60].copy_from_slice(&EntityId::UNKNOWN.0);
    let outgoing = Outgoing::read(&sample).expect("a message");
    let datagrams: Vec<_> = Fragmenter::new(1 << 20, 65_507).datagrams(&sample, &outgoing, None, None, 0);
    let seen: Vec<_> = datagrams.iter().flat_map(|datagram| gate.pass(datagram)).collect();
    let [whole, heartbeat] = &seen[..] else { panic!("{} messages", seen.len()) };
    let submessage = Submessages::of(whole).last().expect("a DATA").expect("whole");
    let data = Data::read(&submessage).expect("well-formed");
    assert_eq!((data.payload, data.reader), (&[7; 200_000][..], EntityId::NOBODY));
    assert_eq!(heartbeat[heartbeat.len() - 28..], sample[sample.len() - 28..]);
    let traffic = gate.tally.traffic();
    assert_eq!((traffic.udp.samples_received, traffic.reassembled), (1, 1));
}

/// Every message that reaches Dust must read as a whole and hold nothing but what was checked.
fn assert_harmless(message: &[u8]) {
    header(message).expect("a header");
    let mut end = HEADER_LEN;
    for submessage in Submessages::of(message) {
        let submessage = submessage.expect("whole");
        end = submessage.end();
        let content = Content::read(&submessage).expect("well-formed");
        assert!(!matches!(content, Content::DataFrag(_) | Content::Other), "{content:?}");
        assert!(!submessage.open_ended || submessage.kind == kind::DATA);
        if let Content::Gap(gap) = content {
            assert!(gap.base - gap.start <= GAP_SPAN_MAX);
        }
    }
    assert!(message.len() - end < SUBMESSAGE_HEADER_LEN, "nothing is left to be taken for a header");
}

/// Submessages that are right at first sight: known ids, plausible fields, and lengths of all kinds.
fn submessage() -> impl Strategy<Value = Vec<u8>> {
    let kinds = [0x01, 0x06, 0x07, 0x08, 0x09, 0x0c, 0x0d, 0x0e, 0x0f, 0x12, 0x13, 0x15, 0x16, 0x80];
    let field = prop_oneof![
        prop::sample::select(vec![0_u32, 1, 2, 16, 28, 256, 257, 0x7fff_ffff, 0x8000_0000, u32::MAX]),
        any::<u32>(),
    ];
    // Seldom longer than any length says.
    let body = (prop::collection::vec(field, 0..16), prop_oneof![9 => Just(0), 1 => Just(65_536)]);
    let len =
        prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![Some(0_u16), Some(3), Some(u16::MAX)])];
    (prop::sample::select(kinds.to_vec()), any::<u8>(), body, len).prop_map(
        |(kind, flags, (fields, more), len)| {
            let endian = |field: u32| if flags & 1 == 0 { field.to_be_bytes() } else { field.to_le_bytes() };
            let mut body: Vec<u8> = fields.into_iter().flat_map(endian).collect();
            body.resize(body.len() + more, 0);
            let len = len.unwrap_or(u16::try_from(body.len()).unwrap_or(0));
            let len = if flags & 1 == 0 { len.to_be_bytes() } else { len.to_le_bytes() };
            [&[kind, flags][..], &len, &body].concat()
        },
    )
}

proptest! {
    #[test]
    fn nothing_that_reaches_dust_is_harmful(messages in prop::collection::vec(prop::collection::vec(submessage(), 0..6), 1..20)) {
        let mut gate = Gate::new();
        for submessages in messages {
            // Ahead of them something passes, and with it whatever is left of the others.
            let message = [&HEADER[..], &acknack(), &submessages.concat()].concat();
            gate.pass(&message).iter().for_each(|message| assert_harmless(message));
            gate.now += Duration::from_millis(7);
            let mut out = Vec::new();
            gate.inbound.requests(&HEADER, gate.now, &mut out);
            out.iter().for_each(|message| assert_harmless(message));
        }
    }

    #[test]
    fn random_octets_are_harmless(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut gate = Gate::new();
        gate.pass(&octets);
        gate.pass(&[&HEADER[..], &octets].concat()).iter().for_each(|message| assert_harmless(message));
    }
}
