//! Reassembly against a model writer that fragments, loses, reorders and repeats.

use super::*;
use crate::contacts::tests::{LISTENS_AT, acknack, acknowledges};
use crate::fragment::Fragmenter;
use crate::outgoing::Outgoing;
use crate::outgoing::tests::{HEADER, READER, WRITER, as_dust_writes};
use crate::rtps::{Content, Data, DataFragFields, EntityId, Submessages};
use proptest::prelude::*;

mod bounds;
mod hearing;
mod ourselves;

const WRITER_GUID: Guid = Guid { prefix: GuidPrefix(*b"me, who else"), entity: WRITER };
const ANOTHER: GuidPrefix = GuidPrefix(*b"one of many.");
const OUR_HEADER: [u8; HEADER_LEN] = *b"RTPS\x02\x04\x01\x14the receiver";
const BUDGET: usize = 64 << 20;

/// The receiving side: a reassembly with what it handed over, and a clock of its own.
struct Receiver {
    reassembly: Reassembly,
    contacts: Arc<Contacts>,
    now: Instant,
    /// How it comes, if not from ourselves.
    path: Option<Path>,
    handed_over: Vec<Vec<u8>>,
}

impl Receiver {
    fn new(budget: usize) -> Self {
        let contacts = Arc::new(Contacts::default());
        contacts.came(READER, true);
        dust_acknowledges(&contacts, 1, false);
        Self {
            reassembly: Reassembly::new(budget, Arc::clone(&contacts), Arc::default()),
            contacts,
            now: Instant::now(),
            path: Some(Path::Udp),
            handed_over: Vec::new(),
        }
    }

    /// Takes one datagram, as the inbound path does; returns the HEARTBEAT as Dust sees it.
    fn take(&mut self, datagram: &[u8]) -> Option<(i64, i32)> {
        self.take_from(WRITER_GUID.prefix, datagram)
    }

    fn take_from(&mut self, prefix: GuidPrefix, datagram: &[u8]) -> Option<(i64, i32)> {
        let Self { path, .. } = *self;
        let origin = Origin { header: prefix.header(), prefix, timestamp: Some((7, 8)), path };
        let mut seen = None;
        for submessage in Submessages::of(datagram) {
            let submessage = submessage.expect("whole");
            match Content::read(&submessage).expect("well-formed") {
                Content::DataFrag(frag) => drop(self.reassembly.fragment(&origin, &frag, self.now)),
                Content::Heartbeat(heartbeat) => {
                    seen = match self.reassembly.heartbeat(origin.prefix, &heartbeat, self.now) {
                        Hearing::AsItIs => Some((heartbeat.last, heartbeat.count)),
                        Hearing::Rewritten { last, count } => Some((last, count)),
                        Hearing::Withheld => None,
                    };
                }
                Content::HeartbeatFrag(frag) => {
                    let guid = Guid { prefix, entity: frag.writer };
                    self.reassembly.heartbeat_frag(&guid, frag.sequence_number, self.now);
                }
                _ => {}
            }
            self.release();
        }
        seen
    }

    fn incomplete(&self) -> u64 {
        self.reassembly.tally.traffic().incomplete
    }

    fn release(&mut self) {
        let mut assembled = Vec::new();
        self.reassembly.release(self.now, &mut assembled);
        self.handed_over.extend(assembled.into_iter().map(|one| one.message));
    }

    fn requests(&mut self, after: Duration) -> Vec<Request> {
        self.now += after;
        let requests = self.reassembly.requests(&OUR_HEADER, self.now);
        self.release();
        requests
    }

    /// Sequence number and payload of each sample handed over, and the last of each HEARTBEAT between.
    fn samples(&self) -> Vec<(i64, Vec<u8>)> {
        let contents = self.handed_over.iter().flat_map(|message| Submessages::of(message));
        let samples = contents.filter_map(|submessage| match Content::read(&submessage.ok()?).ok()? {
            Content::Data(Data { sequence_number, payload, .. }) => Some((sequence_number, payload.to_vec())),
            _ => None,
        });
        samples.collect()
    }

    fn heartbeats(&self) -> Vec<Heartbeat> {
        let contents = self.handed_over.iter().flat_map(|message| Submessages::of(message));
        let heartbeats = contents.filter_map(|submessage| match Content::read(&submessage.ok()?).ok()? {
            Content::Heartbeat(heartbeat) => Some(heartbeat),
            _ => None,
        });
        heartbeats.collect()
    }
}

/// Dust acknowledges everything below `base`, for which it may ask.
fn dust_acknowledges(contacts: &Contacts, base: u8, asks: bool) {
    acknowledges(contacts, READER, WRITER_GUID, base, asks);
}

fn fragmenter() -> Fragmenter {
    Fragmenter::new(16 << 20, 2_000)
}

fn payload(number: i64, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index as i64 * 31 + number) as u8).collect()
}

/// Sample `number` as Dust writes it; its HEARTBEAT says that it is the last.
fn sample(number: i64, len: usize) -> Vec<u8> {
    let mut message = as_dust_writes(&payload(number, len), &[], true);
    let low = (number as u32).to_le_bytes();
    message[68..72].copy_from_slice(&low);
    let heartbeat = message.len() - 32;
    message[heartbeat + 24..][..4].copy_from_slice(&low);
    message[heartbeat + 28..].copy_from_slice(&low);
    message
}

fn datagrams(message: &[u8], wanted: Option<&[u32]>) -> Vec<Vec<u8>> {
    datagrams_in(None, message, wanted)
}

/// Cut to fit packets.
fn datagrams_in(packet: Option<usize>, message: &[u8], wanted: Option<&[u32]>) -> Vec<Vec<u8>> {
    let outgoing = Outgoing::read(message).expect("a message");
    fragmenter().datagrams(message, &outgoing, wanted, packet, 1)
}

/// What a request asks for.
fn wanted(request: &Request) -> Vec<(i64, Vec<u32>)> {
    let nacks = Submessages::of(&request.message).filter_map(|submessage| {
        match Content::read(&submessage.ok()?).ok()? {
            Content::NackFrag(nack) => Some((nack.sequence_number, nack.wanted().collect())),
            _ => None,
        }
    });
    nacks.collect()
}

#[test]
fn a_sample_in_order_is_handed_over_with_its_last_fragment_and_its_heartbeat_is_untouched() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(1, 10_000), None);
    for datagram in &all[..all.len() - 1] {
        assert_eq!(receiver.take(datagram), None);
        assert!(receiver.handed_over.is_empty());
    }
    assert_eq!(receiver.take(&all[all.len() - 1]), Some((1, 1)));
    assert_eq!(receiver.samples(), [(1, payload(1, 10_000))]);
    assert!(receiver.heartbeats().is_empty() && receiver.requests(Duration::ZERO).is_empty());
    assert_eq!(receiver.reassembly.deadline(), None);
}

#[test]
fn inline_qos_stands_before_the_payload_even_if_it_came_last() {
    let inline_qos = [0x70, 0, 16, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 1, 0, 0, 0];
    let message = as_dust_writes(&payload(0, 5_000), &inline_qos, false);
    let mut receiver = Receiver::new(BUDGET);
    datagrams(&message, None).iter().rev().for_each(|datagram| {
        receiver.take(datagram);
    });
    let submessage = Submessages::of(&receiver.handed_over[0]).last().expect("a DATA").expect("whole");
    let data = Data::read(&submessage).expect("well-formed");
    assert_eq!((data.inline_qos, data.payload), (&inline_qos[..], &payload(0, 5_000)[..]));
    assert!(submessage.open_ended);
}

#[test]
fn dust_hears_of_a_lost_fragment_only_when_it_is_there() {
    let mut receiver = Receiver::new(BUDGET);
    let message = sample(1, 10_000);
    let all = datagrams(&message, None);
    let mut seen = None;
    for (index, datagram) in all.iter().enumerate().filter(|&(index, _)| index != 2) {
        seen = receiver.take(datagram).or(seen);
        assert!(index < all.len());
    }
    assert_eq!(seen, Some((0, 1)), "the HEARTBEAT ends before the sample");
    let requests = receiver.requests(Duration::ZERO);
    assert_eq!(requests.iter().flat_map(wanted).collect::<Vec<_>>(), [(1, vec![3])]);
    assert_eq!(requests[0].locators, [LISTENS_AT]);
    receiver.take(&datagrams(&message, Some(&[3]))[0]);
    assert_eq!(receiver.samples(), [(1, payload(1, 10_000))]);
    let heartbeats = receiver.heartbeats();
    assert_eq!(heartbeats.len(), 1);
    assert_eq!((heartbeats[0].last, heartbeats[0].count), (1, 2), "told at once, with a count that is new");
}

#[test]
fn dust_does_not_hear_the_same_shortened_heartbeat_again_and_again() {
    let mut receiver = Receiver::new(BUDGET);
    receiver.take(&datagrams(&sample(1, 10_000), None)[1]);
    let mut hear = |after: u64| {
        receiver.now += Duration::from_millis(after);
        let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 1, count: 1 };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    assert!(matches!(hear(0), Hearing::Rewritten { last: 0, .. }));
    assert_eq!(hear(1), Hearing::Withheld);
    assert!(matches!(hear(50), Hearing::Rewritten { last: 0, .. }), "liveliness goes on");
}

#[test]
fn a_sample_waits_for_an_older_one_of_a_reliable_writer() {
    let mut receiver = Receiver::new(BUDGET);
    let first = sample(1, 10_000);
    datagrams(&first, None).iter().skip(1).for_each(|datagram| {
        receiver.take(datagram);
    });
    for number in [2, 3] {
        datagrams(&sample(number, 4_000), None).iter().for_each(|datagram| {
            receiver.take(datagram);
        });
    }
    assert!(receiver.handed_over.is_empty());
    receiver.take(&datagrams(&first, Some(&[1]))[0]);
    assert_eq!(receiver.samples().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(receiver.heartbeats().last().map(|heartbeat| heartbeat.last), Some(3));
}

#[test]
fn a_best_effort_sample_waits_for_nothing() {
    let mut receiver = Receiver::new(BUDGET);
    receiver.contacts.left(READER);
    let best_effort = |number| {
        let mut message = sample(number, 4_000);
        message.truncate(message.len() - 32);
        message
    };
    receiver.take(&datagrams(&best_effort(1), None)[0]);
    datagrams(&best_effort(2), None).iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    assert_eq!(receiver.samples(), [(2, payload(2, 4_000))]);
    assert_eq!(receiver.reassembly.deadline(), None);
    assert!(receiver.requests(Duration::from_secs(9)).is_empty());
}

#[test]
fn a_best_effort_sample_that_lacks_a_fragment_is_over_when_a_newer_one_is_whole() {
    let mut receiver = Receiver::new(BUDGET);
    receiver.contacts.left(READER);
    let begin = |receiver: &mut Receiver, number| {
        receiver.take(&datagrams(&sample(number, 10_000), None)[0]);
    };
    [1, 2, 4].iter().for_each(|&number| begin(&mut receiver, number));
    for datagram in datagrams(&sample(3, 10_000), None) {
        receiver.take(&datagram);
    }
    assert!(receiver.samples() == [(3, payload(3, 10_000))]);
    assert_eq!(receiver.incomplete(), 2);
    begin(&mut receiver, 5);
    receiver.reassembly.whole(&WRITER_GUID, 5);
    assert_eq!(receiver.incomplete(), 3, "the fourth, and not the fifth, which came whole");
    assert!(receiver.reassembly.writers[&WRITER_GUID].partial.is_empty());
    receiver.contacts.came(READER, true);
    dust_acknowledges(&receiver.contacts, 6, false);
    begin(&mut receiver, 6);
    receiver.reassembly.whole(&WRITER_GUID, 7);
    assert_eq!(receiver.incomplete(), 3, "a reliable reader waits for the sixth");
}

#[test]
fn what_the_writer_no_longer_has_is_not_waited_for() {
    let mut receiver = Receiver::new(BUDGET);
    receiver.take(&datagrams(&sample(1, 4_000), None)[1]);
    datagrams(&sample(2, 4_000), None).iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 2, last: 2, count: 9 };
    let heard = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
    assert!(matches!(heard, Hearing::Rewritten { last: 1, .. }), "sample 1 is gone for good: {heard:?}");
    receiver.release();
    assert_eq!(receiver.samples(), [(2, payload(2, 4_000))]);
    assert_eq!(receiver.heartbeats().last().map(|heartbeat| heartbeat.last), Some(2));
    assert!(receiver.requests(Duration::from_secs(1)).is_empty());
}

#[test]
fn a_writer_that_never_answers_is_asked_ever_less_often_and_then_given_up() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(1, 4_000), None);
    receiver.take(&all[all.len() - 1]);
    datagrams(&sample(2, 4_000), None).iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    let mut asked = 0;
    while let Some(deadline) = receiver.reassembly.deadline() {
        assert!(deadline <= receiver.now + Duration::from_secs(1), "bounded patience");
        receiver.now = receiver.now.max(deadline);
        asked += receiver.requests(Duration::ZERO).len();
        assert!(asked < 20);
    }
    assert!(asked > 5);
    assert_eq!(receiver.samples(), [(2, payload(2, 4_000))], "what it held up is handed over");
    assert_eq!(receiver.incomplete(), 1);
}

#[test]
fn late_repetitions_begin_a_sample_again_only_when_dust_asks_for_it() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(1, 10_000), None);
    let take_all = |receiver: &mut Receiver| {
        all.iter().for_each(|datagram| {
            receiver.take(datagram);
        })
    };
    take_all(&mut receiver);
    receiver.take(&all[0]);
    assert_eq!(receiver.reassembly.deadline(), None, "nothing is begun");
    take_all(&mut receiver);
    assert_eq!(receiver.samples().len(), 1);
    dust_acknowledges(&receiver.contacts, 1, true);
    receiver.take(&all[0]);
    dust_acknowledges(&receiver.contacts, 1, false);
    take_all(&mut receiver);
    take_all(&mut receiver);
    assert_eq!(receiver.samples().len(), 2, "once more, as asked");
}

#[test]
fn repetitions_of_a_sample_that_waits_make_no_room_and_leave_it_known() {
    let mut receiver = Receiver::new(25_000);
    receiver.take(&datagrams(&sample(1, 10_000), None)[0]);
    let all = datagrams(&sample(2, 10_000), None);
    all.iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    dust_acknowledges(&receiver.contacts, 2, true);
    receiver.take(&all[0]);
    let writer = &receiver.reassembly.writers[&WRITER_GUID];
    assert!(writer.partial.contains_key(&1), "there was room for all");
    assert!(writer.held.contains_key(&2) && writer.given.contains(&2));
}

#[test]
fn what_is_still_being_sent_is_not_asked_for() {
    let mut receiver = Receiver::new(BUDGET);
    let all = datagrams(&sample(1, 10_000), None);
    [0, 2].into_iter().for_each(|index| {
        receiver.take(&all[index]);
    });
    let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 1, count: 1 };
    let _ = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
    assert_eq!(receiver.requests(Duration::ZERO).iter().flat_map(wanted).collect::<Vec<_>>(), [(1, vec![2])]);
    let rest: Vec<u32> = (4..=all.len() as u32).collect();
    let asked = receiver.requests(Duration::from_millis(50));
    assert_eq!(asked.iter().flat_map(wanted).collect::<Vec<_>>(), [(1, [&[2][..], &rest].concat())]);
}

#[test]
fn no_request_is_longer_than_the_smallest_datagram_and_everything_is_asked_for() {
    let mut receiver = Receiver::new(BUDGET);
    // Of each window the first and the last.
    let missing: Vec<u32> = (0..12).flat_map(|window| [window * 256 + 1, window * 256 + 256]).collect();
    let present: Vec<u32> = (1..=12 * 256 + 2).filter(|number| !missing.contains(number)).collect();
    for number in [1, 2, 3] {
        datagrams_in(Some(700), &sample(number, 1_900_000), Some(&present)).iter().for_each(|datagram| {
            receiver.take(datagram);
        });
    }
    let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 3, count: 1 };
    let _ = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
    let requests = receiver.requests(Duration::ZERO);
    assert!(requests.iter().all(|request| request.message.len() <= 1_232));
    let mut asked = vec![Vec::new(); 3];
    for (number, wanted) in requests.iter().flat_map(wanted) {
        asked[number as usize - 1].extend(wanted);
    }
    assert_eq!(asked, vec![missing; 3]);
}

#[test]
fn only_writers_of_an_incomplete_sample_are_looked_at_for_what_is_due() {
    let mut receiver = Receiver::new(BUDGET);
    for number in 0..100 {
        let prefix = GuidPrefix([number; 12]);
        datagrams(&sample(1, 3_000), None).iter().for_each(|datagram| {
            receiver.take_from(prefix, datagram);
        });
    }
    let all = datagrams(&sample(1, 10_000), None);
    let looked_at = |receiver: &mut Receiver| {
        let is_due = receiver.reassembly.deadline().is_some();
        (is_due, receiver.reassembly.unfinished.len(), receiver.reassembly.writers.len())
    };
    assert_eq!(looked_at(&mut receiver), (false, 0, 100));
    receiver.take(&all[0]);
    assert_eq!(looked_at(&mut receiver), (true, 1, 101));
    all.iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    assert_eq!(looked_at(&mut receiver), (false, 0, 101));
}

#[test]
fn several_fragments_of_one_submessage_all_count() {
    let bytes = payload(5, 1_000);
    let mut receiver = Receiver::new(BUDGET);
    for (first, count) in [(3, 2_u16), (1, 2)] {
        let start = (first as usize - 1) * 256;
        let part = &bytes[start..bytes.len().min(start + 256 * usize::from(count))];
        let frag = DataFrag {
            reader: EntityId::UNKNOWN,
            writer: WRITER,
            sequence_number: 5,
            first,
            count,
            fragment_len: 256,
            sample_len: 1_000,
            inline_qos: &[],
            payload: part,
            key: false,
            order: Endianness::Big,
        };
        let origin = Origin { header: HEADER, prefix: WRITER_GUID.prefix, timestamp: None, path: None };
        receiver.reassembly.fragment(&origin, &frag, receiver.now);
    }
    receiver.release();
    assert_eq!(receiver.samples(), [(5, bytes)]);
}

#[test]
fn a_sample_that_is_cut_anew_is_begun_anew_and_what_is_asked_for_is_of_the_new_cut() {
    let mut receiver = Receiver::new(BUDGET);
    let message = sample(1, 10_000);
    let before = datagrams(&message, None);
    before[1..].iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    let after = datagrams_in(Some(700), &message, None);
    assert!(after.len() > before.len());
    after[..3].iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    let rest: Vec<u32> = (4..=17).collect();
    let asked = receiver.requests(Duration::from_millis(30));
    assert_eq!(asked.iter().flat_map(wanted).collect::<Vec<_>>(), [(1, rest.clone())]);
    datagrams_in(Some(700), &message, Some(&rest)).iter().for_each(|datagram| {
        receiver.take(datagram);
    });
    assert_eq!(receiver.samples(), [(1, payload(1, 10_000))]);
    assert_eq!(receiver.incomplete(), 0);
}

#[test]
fn a_sample_whose_missing_fragments_are_none_any_more_is_asked_for_in_the_new_cut() {
    let mut receiver = Receiver::new(BUDGET);
    let message = sample(1, 10_000);
    let before = datagrams_in(Some(700), &message, None);
    let heartbeat = before.last().expect("the last has it");
    before[..9].iter().chain([heartbeat]).for_each(|datagram| {
        receiver.take(datagram);
    });
    let mut asked = receiver.requests(Duration::from_millis(30));
    // What the writer repeats is cut for larger packets.
    for _ in 0..2 {
        let wanted: Vec<u32> = asked.iter().flat_map(wanted).flat_map(|(_, numbers)| numbers).collect();
        datagrams(&message, Some(&wanted)).iter().for_each(|datagram| {
            receiver.take(datagram);
        });
        asked = receiver.requests(Duration::from_millis(30));
    }
    assert_eq!(receiver.samples(), [(1, payload(1, 10_000))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every sample of a reliable writer arrives whole and once, however datagrams are lost, doubled and swapped, and what packets
    /// carry changes, as long as the writer answers and repeats its HEARTBEAT.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(
        lens in prop::collection::vec(1_usize..60_000, 1..6), seed in any::<u64>(),
        packets in prop::collection::vec(prop::option::of(700_usize..2_000), 3),
    ) {
        let mut receiver = Receiver::new(BUDGET);
        let mut fates = seed;
        let messages: Vec<_> = lens.iter().zip(1..).map(|(&len, number)| sample(number, len)).collect();
        let mut on_the_way: Vec<Vec<u8>> =
            messages.iter().flat_map(|message| datagrams_in(packets[0], message, None)).collect();
        for round in 0..1_000 {
            let packet = packets[round / 2 % 3].filter(|_| round < 20);
            for datagram in std::mem::take(&mut on_the_way) {
                fates = fates.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match fates >> 60 {
                    0 | 1 => {}
                    2 => on_the_way.push(datagram),
                    3 => [&datagram, &datagram].into_iter().for_each(|twice| {
                        receiver.take(twice);
                    }),
                    _ => {
                        receiver.take(&datagram);
                    }
                }
            }
            for (number, wanted) in receiver.requests(Duration::from_millis(30)).iter().flat_map(wanted) {
                on_the_way.extend(datagrams_in(packet, &messages[number as usize - 1], Some(&wanted)));
            }
            let writer = receiver.reassembly.writers.get(&WRITER_GUID);
            let known = |number| writer.is_some_and(|one| one.partial.contains_key(&number) || one.held.contains_key(&number));
            let have: Vec<_> = receiver.samples().iter().map(|(number, _)| *number).collect();
            if (1..=messages.len() as i64).all(|number| have.contains(&number)) {
                break;
            }
            // What Dust's ACKNACK asks for: samples of which nothing is there.
            let unknown = messages.iter().zip(1..).filter(|&(_, number)| !known(number) && !have.contains(&number));
            on_the_way.extend(unknown.flat_map(|(message, _)| datagrams_in(packet, message, None)));
            let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 64);
            let (first, last) = (1, messages.len() as i64);
            heartbeat.heartbeat(Heartbeat { reader: READER, writer: WRITER, first, last, count: 1 });
            on_the_way.push(heartbeat.into_bytes());
        }
        let mut samples = receiver.samples();
        samples.sort_by_key(|(number, _)| *number);
        let expected: Vec<_> = lens.iter().zip(1..).map(|(&len, number)| (number, payload(number, len))).collect();
        prop_assert!(samples == expected, "{} of {} samples", samples.len(), expected.len());
    }
}
