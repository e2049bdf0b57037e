//! What Dust hears of discovery, where some of it gets lost or is none that it may see: tests.

use super::*;
use crate::rtps::HeartbeatFields;

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
                let heartbeat = HeartbeatFields { reader, writer, first: 1, last: number, count };
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
