//! What Dust hears of discovery, where some of it gets lost or is none that it may see: tests.

use super::*;
use std::collections::HashMap;

#[test]
fn what_dust_must_not_see_of_discovery_it_acknowledges_instead_of_asking_for_it_for_ever() {
    let trial = || {
        let (victim, partner) = (Captive::new(86), Captive::new(87));
        let (prefix, mut inbound) = (guid(partner.participant.get_instance_handle()).prefix, inbound());
        introduce(&victim, &partner, &mut inbound, |_| {});
        // A request for a type, and an endpoint in words that Dust must not read, behind the one that it knows.
        for (writer, number) in
            [(EntityId::TYPE_LOOKUP_REQUEST_WRITER, 1), (EntityId::SEDP_SUBSCRIPTIONS_WRITER, 2)]
        {
            let (reader, mut out, mut acknowledged) = (EntityId::UNKNOWN, Vec::new(), 0);
            drop(victim.take_written());
            for count in 1_000.. {
                let fields = DataFields { flags: flag::DATA, reader, writer, sequence_number: number };
                let heartbeat = Heartbeat { reader, writer, first: 1, last: number, count };
                let mut said = MessageWriter::new(&prefix.header(), Endianness::Little, 128);
                said.data(fields, &[0xff; 8]).heartbeat(heartbeat);
                inbound.message(&said.into_bytes(), Some(Path::Udp), None, Instant::now(), &mut out);
                out.drain(..).for_each(|message| victim.give(message));
                victim.answer();
                for message in victim.take_written() {
                    for submessage in
                        Submessages::of(&message).flatten().filter(|one| one.kind == kind::ACKNACK)
                    {
                        let acknack = AckNack::read(&submessage).expect("an ACKNACK");
                        if acknack.writer == writer {
                            assert_eq!(acknack.requested().count(), 0, "it is not asked for");
                            acknowledged = acknack.base;
                        }
                    }
                }
                if acknowledged > number {
                    break;
                }
            }
        }
        1
    };
    assert_eq!(outcome(trial), Some(1));
}

#[test]
fn a_writer_does_not_wait_for_a_reader_whose_coming_and_going_dust_took_only_when_they_were_repeated() {
    let trial = || {
        let (victim, partner) = (Captive::new(88), Captive::new(89));
        let [own, prefix] = [&victim, &partner].map(|one| guid(one.participant.get_instance_handle()).prefix);
        let mut inbound = inbound();
        let matched = || victim.writer.get_matched_subscriptions().expect("alive").len();
        // Its own reader and the other's, once it has said of its writer too.
        while matched() < 2
            || inbound.estates.acknowledgements(Some(own), prefix, &[EntityId::UNKNOWN]).is_none()
        {
            heard(&victim, &partner, &mut inbound).into_iter().for_each(|message| victim.give(message));
        }
        drop(partner.take_written());
        let (subscriber, topic) = (partner.reader.get_subscriber(), partner.reader.get_topicdescription());
        let best_effort = QosKind::Default;
        let _second: DataReader<Note> =
            subscriber.create_datareader(&topic, best_effort, NO_LISTENER, NO_STATUS).expect("alive");
        let third = partner.reliable_reader();
        subscriber.delete_datareader(&third).expect("alive");
        let (mut said, number) =
            (HashMap::new(), |one: &Vec<u8>| number_of(one, EntityId::SEDP_SUBSCRIPTIONS_WRITER));
        while said.len() < 3 {
            said.extend(partner.take_written().into_iter().filter_map(|one| Some((number(&one)?, one))));
            std::thread::yield_now();
        }
        let mut out = Vec::new();
        for number in [3, 4, 2, 3, 4] {
            inbound.message(&said[&number], Some(Path::Udp), Some(own), Instant::now(), &mut out);
        }
        out.into_iter().for_each(|message| victim.give(message));
        let came = || victim.writer.get_publication_matched_status().expect("alive").total_count;
        while came() < 4 || matched() > 3 {
            std::thread::yield_now();
        }
        let note = || Note { id: 1, text: String::new() };
        (0..3).map(|_| victim.writer.write(note(), None).expect("nobody to wait for")).count()
    };
    assert_eq!(outcome(trial), Some(3));
}
