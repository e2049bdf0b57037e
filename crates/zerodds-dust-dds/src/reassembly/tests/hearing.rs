//! Which HEARTBEATs Dust hears, with which counts, where a participant has several readers: tests.

use super::*;

#[test]
fn a_writer_that_made_room_for_others_keeps_its_count() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(1, 10_000), None);
    assert_eq!(receiver.take(&all[all.len() - 1]), Some((0, 1)));
    all.iter().for_each(|datagram| _ = receiver.take(datagram));
    let given = receiver.heartbeats().last().expect("that it is complete").count;
    assert!(given > 1, "ahead of the writer's own count, which is 1");
    for number in 0..2 * WRITERS_MAX as u16 {
        let [high, low] = number.to_be_bytes();
        let mut other = datagrams(&sample(1, 100), Some(&[1])).remove(0);
        let at = other.windows(4).position(|octets| octets == WRITER.0).expect("its writer");
        other[at..at + 4].copy_from_slice(&[7, high, low, 3]);
        receiver.take(&other);
    }
    assert!(!receiver.reassembly.writers.contains_key(&WRITER_GUID));
    let hear = |receiver: &mut Receiver, count| {
        let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 2, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert_eq!(hear(&mut receiver, given), Hearing::Rewritten { last: 2, count: given + 1 });
    assert_eq!(hear(&mut receiver, given + 1), Hearing::Rewritten { last: 2, count: given + 2 });
    assert_eq!(hear(&mut receiver, given + 3), Hearing::AsItIs);
    receiver.take(&datagrams(&sample(3, 10_000), None)[0]);
    assert_eq!(hear(&mut receiver, given + 4), Hearing::AsItIs);
}

/// Takes the first sample in fragments, all of them, and its HEARTBEAT.
fn take_one_in_fragments(receiver: &mut Receiver) {
    datagrams(&sample(1, 10_000), None).iter().for_each(|datagram| _ = receiver.take(datagram));
    assert_eq!(receiver.samples().len(), 1);
}

#[test]
fn what_is_for_a_reader_that_came_late_is_heard_though_others_have_heard_higher_counts() {
    for has_sent_fragments in [false, true] {
        let mut receiver = Receiver::new(BUDGET);
        if has_sent_fragments {
            take_one_in_fragments(&mut receiver);
        }
        let [one, late] = [READER, EntityId([0, 0, 9, 4])];
        let mut hear = |after_ms, reader, last, count| {
            receiver.now += Duration::from_millis(after_ms);
            let heartbeat = Heartbeat { reader, writer: WRITER, first: 1, last, count };
            receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
        };
        let rewritten = |last, count| Hearing::Rewritten { last, count };
        assert_eq!(hear(0, one, 7, 1_000), Hearing::AsItIs);
        assert_eq!(hear(200, late, 7, 5), rewritten(7, 1_001));
        for count in [5, 4] {
            assert_eq!(hear(200, late, 7, count), Hearing::AsItIs, "a repetition");
        }
        assert_eq!(hear(200, late, 7, 6), rewritten(7, 1_002));
        assert_eq!(hear(200, one, 7, 1_001), rewritten(7, 1_003), "neither does the first fall behind");
        // They keep in step.
        for round in 0..3 {
            assert_eq!(
                hear(200, one, 8 + round, 1_002 + round as i32),
                rewritten(8 + round, 1_004 + round as i32)
            );
            assert_eq!(
                hear(1, late, 8 + round, 7 + round as i32),
                Hearing::AsItIs,
                "all have just heard that"
            );
        }
        assert_eq!(hear(1, late, 11, 10), rewritten(11, 1_007), "and not that");
        assert_eq!(hear(1, one, 11, 1_008), Hearing::AsItIs);
    }
}

#[test]
fn a_reader_is_not_made_to_hear_of_another_that_begins_behind_what_it_may_lack() {
    let late = EntityId([0, 0, 9, 4]);
    for (has_spoken, has_sent_fragments) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut receiver = Receiver::new(BUDGET);
        if has_sent_fragments {
            take_one_in_fragments(&mut receiver);
        }
        if !has_spoken {
            receiver.contacts.left(READER);
            receiver.contacts.came(READER, true);
        }
        let mut hear = |reader, first, count| {
            let heartbeat = Heartbeat { reader, writer: WRITER, first, last: 7, count };
            receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
        };
        assert_eq!(hear(READER, 1, 1_000), Hearing::AsItIs);
        // The seventh sample got lost, or is on its way.
        if has_spoken {
            dust_acknowledges(&receiver.contacts, 7, false);
        }
        assert_eq!(hear(late, 8, 1), Hearing::AsItIs, "who is new hears that, and nobody else");
        dust_acknowledges(&receiver.contacts, 8, false);
        assert_eq!(hear(late, 8, 2), Hearing::Rewritten { last: 7, count: 1_001 });
    }
}

#[test]
fn a_reader_whose_counts_are_higher_waits_until_one_that_begins_earlier_may_have_answered() {
    let mut receiver = Receiver::new(BUDGET);
    let mut hear = |after_ms, reader, first, count| {
        receiver.now += Duration::from_millis(after_ms);
        let heartbeat = Heartbeat { reader, writer: WRITER, first, last: 7, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    let other = EntityId([0, 0, 9, 4]);
    assert_eq!(hear(0, READER, 1, 1), Hearing::AsItIs);
    assert_eq!(hear(1, other, 8, 1_000), Hearing::Withheld, "all would hear that");
    dust_acknowledges(&receiver.contacts, 8, false);
    assert_eq!(hear(1, other, 8, 1_001), Hearing::AsItIs);
}

#[test]
fn what_a_writer_said_before_it_said_more_is_not_heard() {
    let mut receiver = Receiver::new(BUDGET);
    let mut hear = |reader, last, count| {
        let heartbeat = Heartbeat { reader, writer: WRITER, first: 1, last, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert_eq!(hear(READER, 8, 2), Hearing::AsItIs);
    assert_eq!(hear(EntityId([0, 0, 9, 4]), 7, 5), Hearing::Withheld);
}

#[test]
fn a_writer_whose_last_sample_is_an_earlier_one_than_before_is_heard() {
    // The newer one has expired. Who is told of it hears that with the writer's own count, or another's is higher.
    for told_before in [READER, EntityId([0, 0, 9, 4])] {
        let mut receiver = Receiver::new(BUDGET);
        let mut hear = |after_ms, reader, first, last, count| {
            receiver.now += Duration::from_millis(after_ms);
            let heartbeat = Heartbeat { reader, writer: WRITER, first, last, count };
            receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
        };
        assert_eq!(hear(0, told_before, 1, 5, 7), Hearing::AsItIs);
        let heard =
            if told_before == READER { Hearing::AsItIs } else { Hearing::Rewritten { last: 4, count: 8 } };
        let count = if told_before == READER { 8 } else { 2 };
        assert_eq!(hear(200, READER, 4, 4, count), heard);
    }
}

#[test]
fn a_reader_that_answers_what_another_was_told_alone_is_told_itself_and_answers_that() {
    // What it is told itself comes after that answer, or is on its way to Dust when that leaves.
    for is_told_before in [false, true] {
        let mut receiver = Receiver::new(BUDGET);
        receiver.contacts.left(READER);
        receiver.contacts.came(READER, true);
        let hear = |receiver: &mut Receiver, reader, first, count| {
            receiver.now += Duration::from_millis(1);
            let heartbeat = Heartbeat { reader, writer: WRITER, first, last: 5, count };
            receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
        };
        let leaves = |receiver: &Receiver, base, set: (u32, &[u8])| {
            let mut message = acknack(READER, WRITER_GUID, base, set);
            let outgoing = Outgoing::read(&message).expect("a message");
            receiver.contacts.pass(&mut message, &outgoing, &[LISTENS_AT])
        };
        assert_eq!(hear(&mut receiver, EntityId([0, 0, 9, 4]), 6, 1), Hearing::AsItIs, "a volatile one");
        let told = Hearing::Rewritten { last: 5, count: 2 };
        if is_told_before {
            assert_eq!(hear(&mut receiver, READER, 1, 1), told);
        }
        assert!(!leaves(&receiver, 6, (0, &[])), "the writer would tell it nothing more");
        if !is_told_before {
            assert_eq!(hear(&mut receiver, READER, 1, 1), told);
        }
        assert!(leaves(&receiver, 1, (5, &[0, 0, 0, 0xf8])));
        assert!((1..6).all(|number| receiver.contacts.is_requested(&WRITER_GUID, number)));
        assert!(leaves(&receiver, 6, (0, &[])), "it has them now");
    }
}

#[test]
fn a_reader_that_has_what_another_does_without_says_so_when_it_is_told_once_more() {
    let mut receiver = Receiver::new(BUDGET);
    let new = EntityId([0, 0, 8, 4]);
    receiver.contacts.came(new, true);
    let mut leaves_after = |reader, first, count| {
        receiver.now += Duration::from_millis(200);
        let heartbeat = Heartbeat { reader, writer: WRITER, first, last: 5, count };
        _ = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
        let mut message = acknack(new, WRITER_GUID, 6, (0, &[]));
        let outgoing = Outgoing::read(&message).expect("a message");
        receiver.contacts.pass(&mut message, &outgoing, &[LISTENS_AT])
    };
    assert!(!leaves_after(READER, 6, 1));
    assert!(!leaves_after(new, 1, 1), "it may answer what the other was told");
    assert!(leaves_after(new, 1, 2));
}

/// Where the first reader has acknowledged all below sample 7, of which all has come but a fragment.
fn before_a_late_reader(is_believed: bool) -> (Receiver, Vec<u8>) {
    let mut receiver = Receiver::new(BUDGET);
    receiver.reassembly.heartbeat(
        WRITER_GUID.prefix,
        &Heartbeat { reader: READER, writer: WRITER, first: 1, last: 6, count: 6 },
        receiver.now,
    );
    dust_acknowledges(&receiver.contacts, 7, false);
    let mut all = datagrams(&sample(7, 10_000), None);
    // With the HEARTBEAT.
    all.pop();
    let missing = all.remove(1);
    all.iter().for_each(|datagram| _ = receiver.take(datagram));
    if !is_believed {
        // The writer has been silent for longer than it would be, were that reader its own still.
        receiver.now += Duration::from_secs(2);
    }
    (receiver, missing)
}

#[test]
fn what_is_half_received_is_not_thrown_away_for_a_reader_that_begins_behind_it() {
    let late = EntityId([0, 0, 9, 4]);
    for is_believed in [true, false] {
        let (mut receiver, _) = before_a_late_reader(is_believed);
        let heartbeat = Heartbeat { reader: late, writer: WRITER, first: 8, last: 7, count: 1 };
        let heard = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
        match heard {
            Hearing::Withheld => assert!(is_believed),
            Hearing::Rewritten { last: 7, count: 1 } => assert!(!is_believed, "who is new hears that"),
            _ => panic!("{heard:?}"),
        }
        receiver.release();
        assert!(receiver.reassembly.writers[&WRITER_GUID].partial.contains_key(&7));
        assert!(receiver.handed_over.is_empty(), "nothing more is said of it");
    }
}

#[test]
fn a_reader_that_came_late_is_not_told_that_there_is_no_sample_that_it_asked_for_while_that_is_incomplete() {
    let mut receiver = Receiver::new(BUDGET);
    receiver.contacts.left(READER);
    receiver.contacts.came(READER, true);
    let hear = |receiver: &mut Receiver, last, count| {
        receiver.now += Duration::from_millis(200);
        let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert_eq!(hear(&mut receiver, 2, 1), Hearing::AsItIs, "nothing has come of them yet");
    // It asks for the first, and then for the second.
    [1, 2].iter().for_each(|&base| dust_acknowledges(&receiver.contacts, base, true));
    let second = datagrams(&sample(2, 10_000), None);
    receiver.take(&second[0]);
    assert_eq!(hear(&mut receiver, 2, 2), Hearing::Withheld);
    receiver.take(&datagrams(&sample(1, 10_000), None)[0]);
    assert_eq!(hear(&mut receiver, 3, 3), Hearing::Withheld, "neither is the first taken back");
    receiver.reassembly.whole(&WRITER_GUID, 1);
    receiver.release();
    assert!(receiver.handed_over.is_empty(), "the second is still to come");
    second.iter().for_each(|datagram| _ = receiver.take(datagram));
    let told: Vec<_> = receiver.heartbeats().iter().map(|one| (one.last, one.count)).collect();
    assert_eq!(told, [(3, 3)], "it is acknowledged at once");
    // From then on what is incomplete ends what it is told of, so that it acknowledges what is before.
    dust_acknowledges(&receiver.contacts, 4, false);
    assert_eq!(hear(&mut receiver, 5, 4), Hearing::AsItIs);
    dust_acknowledges(&receiver.contacts, 4, true);
    receiver.take(&datagrams(&sample(4, 10_000), None)[0]);
    assert_eq!(hear(&mut receiver, 5, 5), Hearing::Rewritten { last: 3, count: 5 });
}

#[test]
fn a_reader_that_comes_when_the_one_that_has_asked_for_a_sample_has_gone_is_told_of_it_and_asks_for_the_rest()
{
    let mut receiver = Receiver::new(BUDGET);
    receiver.contacts.left(READER);
    receiver.contacts.came(READER, true);
    let hear = |receiver: &mut Receiver, reader, count| {
        receiver.now += Duration::from_millis(200);
        let heartbeat = Heartbeat { reader, writer: WRITER, first: 1, last: 1, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert_eq!(hear(&mut receiver, READER, 1), Hearing::AsItIs);
    dust_acknowledges(&receiver.contacts, 1, true);
    receiver.take(&datagrams(&sample(1, 10_000), None)[0]);
    assert_eq!(hear(&mut receiver, READER, 2), Hearing::Withheld);
    receiver.contacts.left(READER);
    let new = EntityId([0, 0, 9, 4]);
    receiver.contacts.came(new, true);
    assert_eq!(hear(&mut receiver, new, 1), Hearing::Rewritten { last: 1, count: 2 }, "nobody else asks");
    assert_eq!(receiver.requests(Duration::from_millis(30)), []);
    acknowledges(&receiver.contacts, new, WRITER_GUID, 1, true);
    assert_eq!(receiver.requests(Duration::from_millis(30)).len(), 1);
    assert_eq!(hear(&mut receiver, new, 2), Hearing::Withheld);
}

#[test]
fn what_dust_is_told_when_a_sample_is_there_is_not_heard_by_one_that_has_come_meanwhile_and_lacks_more() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(7, 10_000), None);
    receiver.take(&all[0]);
    dust_acknowledges(&receiver.contacts, 7, false);
    let hear = |receiver: &mut Receiver, reader, first, count| {
        let heartbeat = Heartbeat { reader, writer: WRITER, first, last: 7, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert_eq!(hear(&mut receiver, READER, 7, 1), Hearing::Rewritten { last: 6, count: 1 });
    // A reader that wants all that the writer has, which is more for it.
    let (eager, guid) = (EntityId([0, 0, 9, 4]), WRITER_GUID);
    receiver.contacts.came(eager, true);
    acknowledges(&receiver.contacts, eager, guid, 1, false);
    all[1..all.len() - 1].iter().for_each(|datagram| _ = receiver.take(datagram));
    let outgoing = Outgoing::read(&all[all.len() - 1]).expect("a message");
    receiver.take(&all[all.len() - 1][..outgoing.end]);
    assert_eq!(receiver.samples(), [(7, payload(7, 10_000))]);
    assert!(receiver.heartbeats().is_empty(), "it would lose six samples");
}

#[test]
fn a_sample_that_is_incomplete_does_not_lower_the_counts_that_dust_hears() {
    let mut receiver = Receiver::new(BUDGET);
    let heartbeat =
        Heartbeat { reader: EntityId([0, 0, 9, 4]), writer: WRITER, first: 1, last: 0, count: 1_000 };
    let heard = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
    assert_eq!(heard, Hearing::AsItIs);
    let all = datagrams(&sample(1, 10_000), None);
    let told = [&all[0], &all[all.len() - 1]].map(|datagram| receiver.take(datagram));
    assert_eq!(told, [None, Some((0, 1_001))]);
}
