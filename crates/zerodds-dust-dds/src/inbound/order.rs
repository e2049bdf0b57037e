//! In which order Dust sees what is about a sample that comes in fragments, and who asks for those that are missing: tests.

use super::tests::{Gate, SENDER, heartbeat, ids, long, message, number, raw};
use super::*;
use crate::contacts::tests::{acknack, acknowledges};
use crate::outgoing::Outgoing;
use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, as_dust_writes};
use crate::rtps::{DataFields, EntityId, flag, kind, pid};
use std::time::Duration;

/// Sample `number` of `writer`, in fragments, without a HEARTBEAT.
fn fragments(writer: EntityId, number: i64) -> Vec<Vec<u8>> {
    let mut sample = as_dust_writes(&[7; 200_000], &[], false);
    sample[60..64].copy_from_slice(&writer.0);
    sample[68..72].copy_from_slice(&(number as u32).to_le_bytes());
    let outgoing = Outgoing::read(&sample).expect("a message");
    Fragmenter::new(1 << 20, 65_507).datagrams(&sample, &outgoing, None, None, 0)
}

fn heartbeat_alone(writer: EntityId, first: i64, last: i64) -> Vec<u8> {
    let mut alone = message();
    alone.heartbeat(Heartbeat { writer, ..heartbeat(first, last) });
    alone.into_bytes()
}

/// What Dust sees, by kind and number: of a DATA its own, of a HEARTBEAT its last, of a GAP its end.
fn told(seen: &[Vec<u8>]) -> Vec<(u8, i64)> {
    let contents = seen.iter().flat_map(|message| Submessages::of(message)).map(|one| one.expect("whole"));
    let numbers = contents.filter_map(|submessage| match Content::read(&submessage).expect("well-formed") {
        Content::Data(data) => Some((kind::DATA, data.sequence_number)),
        Content::Heartbeat(heartbeat) => Some((kind::HEARTBEAT, heartbeat.last)),
        Content::Gap(gap) => Some((kind::GAP, gap.base)),
        _ => None,
    });
    numbers.collect()
}

/// Sample 5 lacks a fragment, and 6, of the same reliable writer, is held behind it.
fn behind_an_incomplete_one(writer: EntityId) -> Gate {
    let mut gate = Gate::new();
    gate.contacts.came(READER, true);
    acknowledges(&gate.contacts, READER, Guid { prefix: SENDER, entity: writer }, 5, false);
    assert_eq!(gate.pass(&fragments(writer, 5)[0]), [[0; 0]; 0]);
    assert_eq!(told(&gate.pass(&heartbeat_alone(writer, 5, 6))), [(kind::HEARTBEAT, 4)]);
    fragments(writer, 6).iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
    gate
}

#[test]
fn a_held_sample_follows_the_heartbeat_that_no_longer_has_the_one_before() {
    let mut gate = behind_an_incomplete_one(WRITER);
    let seen = gate.pass(&heartbeat_alone(WRITER, 6, 6));
    assert_eq!(told(&seen), [(kind::HEARTBEAT, 5), (kind::DATA, 6), (kind::HEARTBEAT, 6)]);
}

#[test]
fn a_held_sample_follows_the_one_before_that_came_whole() {
    let mut gate = behind_an_incomplete_one(WRITER);
    let mut whole = as_dust_writes(b"payload", &[], false);
    whole[68..72].copy_from_slice(&5_u32.to_le_bytes());
    let seen = gate.pass(&whole);
    assert_eq!(told(&seen), [(kind::DATA, 5), (kind::DATA, 6), (kind::HEARTBEAT, 6)]);
    assert_eq!(told(&gate.pass(&heartbeat_alone(WRITER, 5, 7))), [(kind::HEARTBEAT, 7)]);
}

#[test]
fn a_sample_completed_in_the_middle_of_a_message_follows_what_stands_before_it() {
    let mut gate = Gate::new();
    let pieces = fragments(WRITER, 6);
    let (last, others) = pieces.split_last().expect("fragments");
    others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
    let fields = DataFields { flags: flag::DATA, reader: READER, writer: WRITER, sequence_number: 5 };
    let mut mixed = message();
    mixed.info_dst(PEER).info_ts((7, 8)).data(fields, b"payload!").verbatim(&last[48..]);
    let at = mixed.as_bytes().len() - (last.len() - 48);
    let mut mixed = mixed.into_bytes();
    mixed[at + 2..at + 4].copy_from_slice(&((last.len() - 52) as u16).to_le_bytes());
    mixed.extend_from_slice(&heartbeat_alone(WRITER, 5, 6)[HEADER_LEN..]);
    let seen = gate.pass(&mixed);
    assert_eq!(told(&seen), [(kind::DATA, 5), (kind::DATA, 6), (kind::HEARTBEAT, 6)]);
    let rest = seen.last().expect("the HEARTBEAT");
    assert_eq!(
        (&rest[..20], &rest[20..32]),
        (&mixed[..20], &mixed[36..48]),
        "of the same participant and time"
    );
}

#[test]
fn a_sample_of_another_source_has_its_version_and_vendor_and_not_the_time_of_the_one_before() {
    let mut gate = Gate::new();
    let source = GuidPrefix(*b"another name");
    assert!(gate.inbound.estates.admit(source, None, gate.now));
    let info = [&[0, 0, 0, 0, 2, 1, 1, 2][..], &source.0].concat();
    let mut seen = Vec::new();
    for mut datagram in fragments(WRITER, 5) {
        // Behind INFO_DST and INFO_TS.
        datagram.splice(48..48, raw(kind::INFO_SRC, 0, &info));
        seen.extend(gate.pass(&datagram));
    }
    assert_eq!(told(&seen), [(kind::DATA, 5)]);
    assert_eq!(seen[0][..20], [b"RTPS\x02\x01\x01\x02", &source.0[..]].concat());
    assert_eq!(seen[0][20], kind::DATA, "no INFO_TS");
}

/// A GAP from one number up to another, and the number `more`.
fn gap(start: i64, base: i64, more: Option<u32>) -> Vec<u8> {
    let set = more.map_or(long(0).to_vec(), |distance| [long(32), long(0x8000_0000 >> distance)].concat());
    let mut gap = message();
    gap.verbatim(&raw(kind::GAP, 0, &[&ids()[..], &number(start), &number(base), &set].concat()));
    gap.into_bytes()
}

/// A GAP for this reader, from one number up to another.
fn gap_for(reader: EntityId, start: i64, base: i64) -> Vec<u8> {
    let mut gap = message();
    gap.gap((reader, WRITER), start, base);
    gap.into_bytes()
}

/// Whether nothing but the number can be read from a DATA.
fn is_nothing(message: &[u8]) -> bool {
    let status = [&[0x71, 0, 4, 0][..], &[0xff; 4], &[1, 0, 0, 0]].concat();
    message.ends_with(&status)
}

#[test]
fn a_held_sample_follows_the_gap_that_stands_for_the_one_before() {
    let mut gate = behind_an_incomplete_one(WRITER);
    let seen = gate.pass(&gap(5, 6, None));
    assert_eq!(told(&seen), [(kind::DATA, 5), (kind::DATA, 6), (kind::HEARTBEAT, 6)]);
    assert!(is_nothing(&seen[0]) && !is_nothing(&seen[1]));
}

#[test]
fn a_gap_does_not_overtake_an_incomplete_sample_for_which_dust_would_no_longer_wait() {
    let pieces = fragments(WRITER, 5);
    let (last, others) = pieces.split_last().expect("fragments");
    for (heartbeat_first, overtaking) in
        [(true, gap(6, 7, None)), (false, gap(6, 7, None)), (true, gap(4, 5, Some(1)))]
    {
        let mut gate = Gate::new();
        let heartbeat = heartbeat_alone(WRITER, 5, 7);
        if heartbeat_first {
            others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
            assert_eq!(told(&gate.pass(&heartbeat)), [(kind::HEARTBEAT, 4)]);
        } else {
            assert_eq!(told(&gate.pass(&heartbeat)), [(kind::HEARTBEAT, 7)]);
            others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
        }
        let seen = told(&gate.pass(&gap(3, 5, None)));
        assert_eq!(seen, [(kind::DATA, 3), (kind::DATA, 4)], "what is older");
        let before = told(&gate.pass(&overtaking));
        assert!(before.iter().all(|&(_, number)| number < 5), "{before:?}");
        let seen = gate.pass(last);
        assert_eq!(told(&seen)[0], (kind::DATA, 5));
        assert_eq!(told(&seen)[1..].first(), heartbeat_first.then_some(&(kind::HEARTBEAT, 7)), "Dust asks");
        assert_eq!(told(&gate.pass(&overtaking)).last(), Some(&(kind::DATA, 6)), "and is told again");
    }
}

#[test]
fn dust_takes_each_number_of_a_gap_in_order_and_a_long_gap_only_if_it_leaves_out_nothing() {
    let mut gate = Gate::new();
    assert_eq!(
        told(&gate.pass(&gap(3, 5, Some(1)))),
        [(kind::DATA, 3), (kind::DATA, 4), (kind::DATA, 6)],
        "the fifth may be on its way"
    );
    let some: Vec<_> = (8..8 + GAP_NUMBERS_MAX as i64).map(|number| (kind::DATA, number)).collect();
    assert!(told(&gate.pass(&gap(8, 1 << 40, None))) == some, "so may the seventh");
    gate.contacts.came(READER, true);
    acknowledges(&gate.contacts, READER, Guid { prefix: SENDER, entity: WRITER }, 8, false);
    let seen = told(&gate.pass(&gap(8, 1 << 40, Some(1))));
    assert_eq!(seen, [(kind::GAP, 1 << 40), (kind::DATA, (1 << 40) + 1)], "all that is older is here");
}

/// Two reliable readers of WRITER that have acknowledged what is below these.
fn with_two(bases: [u8; 2]) -> (Gate, EntityId) {
    let (gate, other) = (Gate::new(), EntityId([0, 0, 9, 4]));
    for (reader, base) in [READER, other].into_iter().zip(bases) {
        gate.contacts.came(reader, true);
        acknowledges(&gate.contacts, reader, Guid { prefix: SENDER, entity: WRITER }, base, false);
    }
    (gate, other)
}

#[test]
fn of_a_gap_for_one_reader_dust_is_not_given_what_another_may_lack_unless_that_one_was_told_too() {
    let (mut gate, other) = with_two([1, 5]);
    let seen = told(&gate.pass(&gap_for(READER, 3, 7)));
    assert_eq!(seen, [(kind::DATA, 3), (kind::DATA, 4)], "the fifth may be on its way to the other");
    assert_eq!(told(&gate.pass(&gap_for(other, 5, 6))), [(kind::DATA, 5)], "now it is for both");
    assert_eq!(told(&gate.pass(&gap_for(READER, 6, 7))), []);
    acknowledges(&gate.contacts, other, Guid { prefix: SENDER, entity: WRITER }, 7, false);
    assert_eq!(told(&gate.pass(&gap_for(READER, 6, 7))), [(kind::DATA, 6)], "the other has it");
}

#[test]
fn a_reader_of_which_a_writer_hears_nothing_more_keeps_no_gap_from_another_for_long_unless_it_has_asked() {
    for asks in [false, true] {
        let (mut gate, other) = with_two([1, 5]);
        acknowledges(&gate.contacts, other, Guid { prefix: SENDER, entity: WRITER }, 5, asks);
        for after in [Duration::ZERO, Duration::from_millis(500)] {
            gate.now += after;
            assert_eq!(told(&gate.pass(&gap_for(READER, 5, 6))), []);
        }
        gate.now += Duration::from_secs(1);
        assert_eq!(told(&gate.pass(&gap_for(READER, 5, 6))).is_empty(), asks);
    }
}

#[test]
fn what_is_half_received_for_one_reader_is_not_ended_by_a_gap_for_another() {
    for (is_for_all, count) in [(false, 1), (true, 0)] {
        let (mut gate, _) = with_two([1, 5]);
        let pieces = fragments(WRITER, 5);
        let (last, others) = pieces.split_last().expect("fragments");
        others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
        gate.pass(&gap_for(if is_for_all { EntityId::UNKNOWN } else { READER }, 1, 6));
        assert_eq!(told(&gate.pass(last)).len(), count);
    }
}

#[test]
fn a_long_gap_for_one_reader_ends_for_dust_before_what_another_may_lack() {
    let (mut gate, _) = with_two([1, 200]);
    assert_eq!(told(&gate.pass(&gap_for(READER, 1, 1_000))).len(), 199, "one by one");
    let seen = told(&gate.pass(&gap_for(EntityId::UNKNOWN, 1, 1_000)));
    assert_eq!(seen, [(kind::GAP, 1_000)], "it is for both");
    let mut acknack = acknack(EntityId([0, 0, 9, 4]), Guid { prefix: SENDER, entity: WRITER }, 400, (0, &[]));
    let outgoing = Outgoing::read(&acknack).expect("a message");
    assert!(gate.contacts.pass(&mut acknack, &outgoing, &[]));
    assert_eq!(told(&gate.pass(&gap_for(READER, 1, 1_000))), [(kind::GAP, 400)]);
}

#[test]
fn of_a_gap_dust_is_given_no_more_than_it_asks_for_at_once_and_nothing_of_a_strangers() {
    let mut gate = Gate::new();
    assert_eq!(told(&gate.pass(&gap(8, 1 << 40, None))).len(), 256);
    gate.inbound.estates.farewell(SENDER, None);
    assert_eq!(gate.pass(&gap(8, 1 << 40, None)), [[0; 0]; 0]);
}

#[test]
fn a_sample_held_behind_one_that_is_given_up_passes_the_same_checks() {
    for (writer, passes) in [(WRITER, true), (EntityId::TYPE_LOOKUP_REQUEST_WRITER, false)] {
        let mut gate = behind_an_incomplete_one(writer);
        let mut out = Vec::new();
        for after in [Duration::from_millis(30), Duration::from_secs(4)] {
            gate.inbound.requests(&HEADER, gate.now + after, &mut out);
        }
        assert!(told(&out).contains(&(kind::DATA, 6)), "its number, in any case");
        let mut submessages = out.iter().flat_map(|message| Submessages::of(message)).flatten();
        let is_given = submessages.any(|one| match Content::read(&one) {
            Ok(Content::Data(data)) => data.sequence_number == 6 && !data.payload.is_empty(),
            _ => false,
        });
        assert_eq!(is_given, passes);
    }
}

#[test]
fn nothing_is_waited_for_and_nothing_known_of_a_writer_that_leaves_alone_or_with_its_participant() {
    for alone in [true, false] {
        let mut gate = behind_an_incomplete_one(WRITER);
        let (guid, writer) = (Guid { prefix: SENDER, entity: WRITER }, EntityId::SEDP_PUBLICATIONS_WRITER);
        let fields = DataFields { flags: flag::DATA, reader: EntityId::UNKNOWN, writer, sequence_number: 1 };
        let mut announcement = message();
        announcement
            .open_data(fields)
            .verbatim(&[0, 3, 0, 0])
            .parameter(pid::ENDPOINT_GUID, &guid.to_bytes())
            .parameter(pid::SENTINEL, &[]);
        assert_eq!(gate.pass(&announcement.into_bytes()).len(), 1);
        assert!(gate.inbound.deadline().is_some());
        if alone {
            let mut disposal = message();
            disposal.disposed((writer, EntityId::UNKNOWN), 2, pid::ENDPOINT_GUID, guid);
            assert_eq!(told(&gate.pass(&disposal.into_bytes())), [(kind::DATA, 2)]);
        } else {
            gate.inbound.died(SENDER, gate.now, &mut Vec::new());
        }
        assert_eq!(gate.inbound.deadline(), None);
        assert!(!gate.contacts.has_reliable(&guid));
    }
}

#[test]
fn a_participant_that_has_not_announced_itself_begins_no_sample() {
    let mut gate = Gate::new();
    gate.inbound.estates.farewell(SENDER, None);
    assert_eq!(fragments(WRITER, 5).iter().flat_map(|datagram| gate.pass(datagram)).count(), 0);
    assert!(gate.inbound.estates.admit(SENDER, None, gate.now));
    assert_eq!(fragments(WRITER, 5).iter().flat_map(|datagram| gate.pass(datagram)).count(), 1);
}

/// Dust announces a reader of its own, to itself.
fn announce(gate: &mut Gate, entity: EntityId, number: i64, kind: u8) {
    let mut announcement = MessageWriter::new(&PEER.header(), Endianness::Little, 128);
    let writer = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
    announcement
        .open_data(DataFields {
            flags: flag::DATA,
            reader: EntityId::UNKNOWN,
            writer,
            sequence_number: number,
        })
        .verbatim(&[0, 3, 0, 0])
        .parameter(pid::ENDPOINT_GUID, &Guid { prefix: PEER, entity }.to_bytes())
        .parameter(pid::RELIABILITY, &[kind, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        .parameter(pid::SENTINEL, &[]);
    hear_from_ourselves(gate, announcement);
}

fn hear_from_ourselves(gate: &mut Gate, message: MessageWriter) {
    let mut out = Vec::new();
    gate.inbound.message(&message.into_bytes(), None, Some(PEER), gate.now, &mut out);
    assert_eq!(out.len(), 1);
}

/// A participant with two readers of WRITER: a best-effort one, to which that sends, and another.
fn with_readers(other_is_reliable: bool) -> (Gate, EntityId) {
    let (mut gate, other) = (Gate::new(), EntityId([0, 0, 9, 4]));
    assert!(gate.inbound.estates.admit(PEER, None, gate.now));
    let kinds = [1, 1 + u8::from(other_is_reliable)];
    for (number, (reader, kind)) in (1..).zip([READER, other].into_iter().zip(kinds)) {
        announce(&mut gate, reader, number, kind);
        acknowledges(&gate.contacts, reader, Guid { prefix: SENDER, entity: WRITER }, 5, false);
    }
    (gate, other)
}

/// Who asks for what is missing, in a while.
fn asking(gate: &mut Gate) -> Vec<EntityId> {
    gate.now += Duration::from_millis(30);
    let requests = gate.inbound.requests(&PEER.header(), gate.now, &mut Vec::new());
    let submessages = requests.iter().flat_map(|request| Submessages::of(&request.message)).flatten();
    let readers = submessages.filter_map(|submessage| match Content::read(&submessage) {
        Ok(Content::NackFrag(nack)) => Some(nack.reader),
        _ => None,
    });
    readers.collect()
}

#[test]
fn a_reliable_reader_asks_for_what_was_sent_to_a_best_effort_one_until_it_leaves() {
    let (mut gate, reliable) = with_readers(true);
    gate.pass(&fragments(WRITER, 5)[0]);
    gate.pass(&heartbeat_alone(WRITER, 5, 6));
    assert_eq!(asking(&mut gate), [reliable], "which the writer answers");
    let mut disposal = MessageWriter::new(&PEER.header(), Endianness::Little, 128);
    let ids = (EntityId::SEDP_SUBSCRIPTIONS_WRITER, EntityId::UNKNOWN);
    disposal.disposed(ids, 7, pid::ENDPOINT_GUID, Guid { prefix: PEER, entity: reliable });
    hear_from_ourselves(&mut gate, disposal);
    gate.now += Duration::from_secs(1);
    assert_eq!(asking(&mut gate), []);
}

#[test]
fn what_is_incomplete_is_asked_for_and_waited_for_though_the_heartbeat_came_before() {
    let (mut gate, reliable) = with_readers(true);
    assert_eq!(told(&gate.pass(&heartbeat_alone(WRITER, 5, 6))), [(kind::HEARTBEAT, 6)]);
    let pieces = fragments(WRITER, 5);
    let (last, others) = pieces.split_last().expect("fragments");
    let later = fragments(WRITER, 6);
    others.iter().chain(&later).for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
    assert!(gate.inbound.deadline().is_some());
    assert_eq!(asking(&mut gate), [reliable]);
    assert_eq!(told(&gate.pass(last)), [(kind::DATA, 5), (kind::DATA, 6)]);
    assert_eq!(gate.inbound.deadline(), None);
}

#[test]
fn best_effort_readers_wait_for_nothing_though_the_writer_is_reliable() {
    let (mut gate, _) = with_readers(false);
    gate.pass(&fragments(WRITER, 5)[0]);
    gate.pass(&heartbeat_alone(WRITER, 5, 6));
    let seen: Vec<_> = fragments(WRITER, 6).iter().flat_map(|datagram| gate.pass(datagram)).collect();
    assert_eq!(told(&seen)[0], (kind::DATA, 6));
    assert_eq!(asking(&mut gate), []);
}

#[test]
fn a_reader_that_comes_late_is_given_again_what_others_have_been_given_from_fragments() {
    for reliability in [1, 2] {
        let (mut gate, _) = with_readers(false);
        let again = |gate: &mut Gate| -> Vec<_> {
            fragments(WRITER, 5).iter().flat_map(|datagram| told(&gate.pass(datagram))).collect()
        };
        assert_eq!(again(&mut gate), [(kind::DATA, 5)]);
        assert_eq!(again(&mut gate), [], "a late repetition");
        announce(&mut gate, EntityId([0, 0, 10, 4]), 3, reliability);
        assert_eq!(again(&mut gate), [(kind::DATA, 5)], "what the writer had kept for it");
        assert_eq!(again(&mut gate), []);
    }
}

#[test]
fn a_reader_does_not_lose_what_it_waits_for_because_the_writer_begins_later_with_another() {
    let silence = Duration::from_secs(1);
    for (asks, after, passes) in
        [(false, Duration::ZERO, false), (true, Duration::ZERO, false), (false, silence, true)]
    {
        let (mut gate, waiting) = with_readers(true);
        let to = |reader, first, last| {
            let mut alone = message();
            alone.info_dst(PEER).heartbeat(Heartbeat { reader, ..heartbeat(first, last) });
            alone.into_bytes()
        };
        let new = EntityId([0, 0, 10, 4]);
        let pieces = fragments(WRITER, 5);
        let (last, others) = pieces.split_last().expect("fragments");
        if asks {
            acknowledges(&gate.contacts, waiting, Guid { prefix: SENDER, entity: WRITER }, 5, true);
        } else {
            others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
        }
        gate.pass(&to(waiting, 5, 5));
        gate.now += after;
        assert_eq!(told(&gate.pass(&to(new, 6, 5))).len(), usize::from(passes));
        if passes {
            continue;
        }
        assert_eq!(told(&gate.pass(&to(waiting, 5, 5))).iter().filter(|&&(_, last)| last > 5).count(), 0);
        if asks {
            others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
        }
        assert_eq!(told(&gate.pass(last)).first(), Some(&(kind::DATA, 5)), "it is still welcome");
        assert_eq!(told(&gate.pass(&to(new, 6, 5))).len(), 1, "nobody waits any more");
    }
}

#[test]
fn what_the_first_heartbeat_of_a_reader_promised_counts_though_it_came_before_the_reader_spoke() {
    let [one, other] = [READER, EntityId([0, 0, 10, 4])];
    let to = |reader, first| {
        let mut alone = message();
        alone.info_dst(PEER).heartbeat(Heartbeat { reader, ..heartbeat(first, 3) });
        alone.into_bytes()
    };
    // What it lacks is on its way in fragments, or nothing has come of it and it asks.
    for (in_fragments, leaves) in [(false, false), (true, false), (false, true)] {
        let mut gate = Gate::new();
        [one, other].iter().for_each(|&reader| gate.contacts.came(reader, true));
        if in_fragments {
            assert_eq!(gate.pass(&fragments(WRITER, 1)[0]), [[0; 0]; 0]);
        }
        assert_eq!(told(&gate.pass(&to(one, 1))), [(kind::HEARTBEAT, if in_fragments { 0 } else { 3 })]);
        acknowledges(&gate.contacts, one, Guid { prefix: SENDER, entity: WRITER }, 1, !in_fragments);
        if leaves {
            gate.contacts.left(one);
        }
        assert_eq!(told(&gate.pass(&to(other, 4))).len(), usize::from(leaves), "{in_fragments}");
    }
}

#[test]
fn no_reader_waits_for_what_the_writer_no_longer_has() {
    let (mut gate, other) = with_readers(true);
    let to = |reader, first| {
        let mut alone = message();
        alone.heartbeat(Heartbeat { reader, ..heartbeat(first, 8) });
        alone.into_bytes()
    };
    let new = EntityId([0, 0, 10, 4]);
    gate.contacts.came(new, true);
    acknowledges(&gate.contacts, new, Guid { prefix: SENDER, entity: WRITER }, 5, false);
    gate.pass(&fragments(WRITER, 5)[0]);
    [other, new].iter().for_each(|&reader| drop(gate.pass(&to(reader, 5))));
    assert_eq!(told(&gate.pass(&to(new, 8))), [], "the other is promised the fifth");
    assert_eq!(told(&gate.pass(&to(other, 8))), [(kind::HEARTBEAT, 8)], "and no longer");
}

#[test]
fn what_a_late_joiner_lacks_is_waited_for_though_another_reader_has_it() {
    for joins_last in [true, false] {
        let (mut gate, late) = with_readers(true);
        let mut bases = [(READER, 8), (late, 5)];
        if !joins_last {
            bases.reverse();
        }
        for (reader, base) in bases {
            acknowledges(&gate.contacts, reader, Guid { prefix: SENDER, entity: WRITER }, base, false);
        }
        let pieces = fragments(WRITER, 5);
        let (last, others) = pieces.split_last().expect("fragments");
        others.iter().for_each(|datagram| assert_eq!(gate.pass(datagram), [[0; 0]; 0]));
        gate.pass(&heartbeat_alone(WRITER, 5, 7));
        assert_eq!(told(&gate.pass(last)).first(), Some(&(kind::DATA, 5)));
    }
}
