//! Several readers of one participant, or one that comes late, before a writer of which something gets lost: tests.

use super::*;
use crate::contacts::tests::LISTENS_AT;
use crate::outgoing::Outgoing;
use dust_dds::infrastructure::qos_policy::{HistoryQosPolicy, HistoryQosPolicyKind};

/// The two talk, a round of it. What the partner writes the victim hears as `change` leaves it; what the victim writes leaves as from
/// its participant, and is answered with.
fn round(
    victim: &Captive,
    partner: &Captive,
    inbound: &mut Inbound,
    mut change: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    // Dust writes some of it when its timers say so.
    std::thread::park_timeout(Duration::from_millis(1));
    let own = Some(guid(victim.participant.get_instance_handle()).prefix);
    let (mut said, mut out) = (victim.take_written(), Vec::new());
    for message in partner.take_written().into_iter().flat_map(&mut change) {
        inbound.message(&message, Some(Path::Udp), own, Instant::now(), &mut out);
    }
    said.retain_mut(|message| {
        let outgoing = Outgoing::read(message).expect("a message");
        let is_to_itself = outgoing.to.is_some() && outgoing.to == own;
        if !inbound.contacts.pass(message, &outgoing, if is_to_itself { &[] } else { &[LISTENS_AT] }) {
            return false;
        }
        if is_to_itself || outgoing.to.is_none() {
            inbound.message(message, None, own, Instant::now(), &mut out);
        }
        if !is_to_itself {
            partner.give(message.clone());
        }
        true
    });
    out.into_iter().for_each(|message| victim.give(message));
    victim.answer();
    partner.answer();
    said
}

fn take(reader: &DataReader<Note>) -> Vec<Note> {
    let all = (ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
    let taken = reader.take(100, all.0, all.1, all.2).unwrap_or_default();
    taken.into_iter().filter_map(|sample| sample.data).collect()
}

fn is_matched(writer: &DataWriter<Note>, reader: &DataReader<Note>) -> bool {
    let matched = writer.get_matched_subscriptions().expect("alive");
    matched.contains(&reader.get_instance_handle())
}

/// What this reader acknowledges to this writer, if it does: everything below.
fn acknowledged_by(reader: EntityId, writer: EntityId, message: &[u8]) -> Option<i64> {
    Submessages::of(message).flatten().filter(|one| one.kind == kind::ACKNACK).find_map(|submessage| {
        let acknack = AckNack::read(&submessage).ok()?;
        (acknack.reader == reader && acknack.writer == writer).then_some(acknack.base)
    })
}

#[test]
fn a_reader_that_comes_late_does_not_cost_another_the_sample_that_this_one_still_lacks() {
    let trial = || {
        let (victim, partner) = (Captive::new(80), Captive::new(81));
        let history = HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(10) };
        let writer = partner.writer_of(DataWriterQos { history, ..Default::default() });
        // Dust gives what comes to the readers of the older subscriber first.
        let younger =
            victim.participant.create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS).expect("alive");
        let waiting = victim.reliable_reader_in(&younger, DurabilityQosPolicyKind::Volatile);
        let [source, name] =
            [writer.get_instance_handle(), waiting.get_instance_handle()].map(|one| guid(one).entity);
        let (mut inbound, mut notes) = (inbound(), Vec::new());
        while !is_matched(&writer, &waiting)
            || waiting.get_subscription_matched_status().expect("alive").current_count < 2
        {
            round(&victim, &partner, &mut inbound, |message| vec![message]);
        }
        for number in 1..=5 {
            let text = number.to_string();
            writer.write(Note { id: 1, text }, None).expect("nobody to wait for");
        }
        let without_the_fifth = |message: Vec<u8>| {
            let is_lost = number_of(&message, source) == Some(5);
            if is_lost { Vec::new() } else { vec![message] }
        };
        // The reader keeps the last one.
        while notes.last().is_none_or(|note: &Note| note.text != "4") {
            round(&victim, &partner, &mut inbound, without_the_fifth);
            notes.extend(take(&waiting));
        }
        let late = victim.reliable_reader();
        let late_name = guid(late.get_instance_handle()).entity;
        let has_spoken = |said: &[Vec<u8>], name| {
            said.iter().filter_map(|message| acknowledged_by(name, source, message)).max().unwrap_or(0)
        };
        while !is_matched(&writer, &late) {
            round(&victim, &partner, &mut inbound, without_the_fifth);
        }
        // The answer to this comes in the next round, and before that to the other.
        while has_spoken(&round(&victim, &partner, &mut inbound, without_the_fifth), late_name) == 0 {}
        let mut acknowledged = 0;
        while acknowledged < 6 {
            let said = round(&victim, &partner, &mut inbound, |message| vec![message]);
            acknowledged = has_spoken(&said, name);
        }
        notes.extend(take(&waiting));
        notes.last().and_then(|note| note.text.parse().ok()).unwrap_or(0)
    };
    assert_eq!(outcome(trial), Some(5));
}

#[test]
fn who_waits_for_historical_data_waits_for_a_sample_of_which_a_fragment_was_lost() {
    let trial = || {
        let (victim, partner) = (Captive::new(82), Captive::new(83));
        let writer = partner.keeping_writer();
        writer.write(Note { id: 1, text: "n".repeat(300_000) }, None).expect("nobody to wait for");
        let reader = victim.reliable_reader_of(DurabilityQosPolicyKind::TransientLocal);
        let source = guid(writer.get_instance_handle()).entity;
        let (mut inbound, fragmenter) = (inbound(), Fragmenter::new(1 << 20, 65_507));
        let (mut second, mut told) = (None, 0);
        while reader.get_subscription_matched_status().expect("alive").current_count == 0 {
            round(&victim, &partner, &mut inbound, |message| vec![message]);
        }
        // It is told twice of what it lacks after all others have come.
        while told < 2 {
            round(&victim, &partner, &mut inbound, |message| {
                let outgoing = Outgoing::read(&message).expect("a message");
                let said = outgoing.read_heartbeat(&message).filter(|said| said.writer == source);
                told += i32::from(said.is_some() && second.is_some());
                if outgoing.data(&message).is_none_or(|data| data.writer != source) {
                    return vec![message];
                }
                let mut datagrams = fragmenter.datagrams(&message, &outgoing, None, None, 0);
                second = Some(datagrams.remove(1));
                datagrams
            });
            let at_once = dust_dds::infrastructure::time::Duration::new(0, 10_000_000);
            assert!(reader.wait_for_historical_data(at_once).is_err(), "it has nothing yet");
        }
        let second = second.expect("it was lost");
        let mut out = Vec::new();
        let own = Some(guid(victim.participant.get_instance_handle()).prefix);
        inbound.message(&second, Some(Path::Udp), own, Instant::now(), &mut out);
        out.into_iter().for_each(|message| victim.give(message));
        let patience = dust_dds::infrastructure::time::Duration::new(60, 0);
        reader.wait_for_historical_data(patience).expect("all is there");
        take(&reader).len()
    };
    assert_eq!(outcome(trial), Some(1));
}

#[test]
fn of_two_readers_that_come_together_one_gets_all_that_there_was_though_what_it_is_told_is_lost_at_first() {
    let trial = || {
        let (victim, partner) = (Captive::new(84), Captive::new(85));
        let writer = partner.keeping_writer();
        for id in 1..=5 {
            writer.write(Note { id, text: id.to_string() }, None).expect("nobody to wait for");
        }
        let matched = || victim.reader.get_subscription_matched_status().expect("alive").current_count;
        let mut inbound = inbound();
        while matched() < 2 {
            round(&victim, &partner, &mut inbound, |message| vec![message]);
        }
        let readers =
            [victim.reliable_reader(), victim.reliable_reader_of(DurabilityQosPolicyKind::TransientLocal)];
        let [late, eager] = &readers;
        let entity = |handle| guid(handle).entity;
        let [source, late] = [writer.get_instance_handle(), late.get_instance_handle()].map(entity);
        let name = entity(eager.get_instance_handle());
        let has_spoken = |said: &[Vec<u8>]| {
            said.iter().any(|message| acknowledged_by(late, source, message).is_some_and(|base| base > 5))
        };
        // Once both are known to the writer: until then it hears of neither what the other would have it believe.
        let told = |message: Vec<u8>, is_lost: &dyn Fn(EntityId) -> bool| {
            let outgoing = Outgoing::read(&message).expect("a message");
            let said = outgoing.read_heartbeat(&message).filter(|said| said.writer == source);
            if said.is_some_and(|said| is_lost(said.reader)) { Vec::new() } else { vec![message] }
        };
        while !readers.iter().all(|reader| is_matched(&writer, reader)) {
            round(&victim, &partner, &mut inbound, |message| told(message, &|_| true));
        }
        let told_the_other = |message| told(message, &|reader| reader == name);
        while !has_spoken(&round(&victim, &partner, &mut inbound, told_the_other)) {}
        let mut notes = 0;
        while notes < 5 {
            round(&victim, &partner, &mut inbound, |message| vec![message]);
            notes += take(eager).len();
        }
        notes
    };
    assert_eq!(outcome(trial), Some(5));
}

#[test]
fn a_sample_that_is_refused_keeps_a_reliable_reader_from_no_other_and_is_not_asked_for_again_and_again() {
    let trial = || {
        let (victim, partner) = (Captive::new(90), Captive::new(91));
        let history = HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(10) };
        let writer = partner.writer_of(DataWriterQos { history, ..Default::default() });
        let reader = victim.reliable_reader();
        let source = guid(writer.get_instance_handle()).entity;
        let (contacts, wanted, departed, tally) = Default::default();
        let fragmenter = Fragmenter::new(1 << 20, 65_507);
        let mut inbound =
            Inbound::new(1 << 17, fragmenter, contacts, wanted, departed, Arc::default(), tally);
        while !is_matched(&writer, &reader) {
            round(&victim, &partner, &mut inbound, |message| vec![message]);
        }
        for text in ["n".repeat(300_000), "two".to_owned()] {
            writer.write(Note { id: 1, text }, None).expect("nobody to wait for");
        }
        let (mut notes, mut sent) = (Vec::new(), 0);
        while notes.last().is_none_or(|note: &Note| note.text != "two") {
            round(&victim, &partner, &mut inbound, |message| {
                let outgoing = Outgoing::read(&message).expect("a message");
                let is_large = message.len() > 300_000;
                sent += usize::from(is_large);
                assert!(sent < 100, "it is asked for again and again");
                let cut = || fragmenter.datagrams(&message, &outgoing, None, None, 0);
                if number_of(&message, source).is_some() && is_large { cut() } else { vec![message] }
            });
            notes.extend(take(&reader));
        }
        1
    };
    assert_eq!(outcome(trial), Some(1));
}
