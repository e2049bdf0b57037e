//! What is learned of who says what to whom, and what follows for what may pass.

use super::*;
use crate::rtps::{GuidPrefix, MessageWriter, Submessage, flag};
use zerodds_core::Endianness;

/// Where the writers of tests listen.
pub(crate) const LISTENS_AT: Locator = Locator::new(1, 7411, [1; 16]);

/// Dust acknowledges everything below `base`, for which it may ask.
pub(crate) fn acknowledges(contacts: &Contacts, reader: EntityId, writer: Guid, base: u8, asks: bool) {
    let mut body = [0; 28];
    body[..4].copy_from_slice(&reader.0);
    body[4..8].copy_from_slice(&writer.entity.0);
    body[12] = base;
    if asks {
        (body[16], body[23]) = (1, 0x80);
    }
    let (kind, flags) = (kind::ACKNACK, flag::ENDIANNESS);
    let submessage = Submessage { kind, flags, offset: 0, open_ended: false, body: &body };
    contacts.note(writer, &AckNack::read(&submessage).expect("an ACKNACK"), &[LISTENS_AT]);
}

/// An ACKNACK of Dust's, that asks for what is in this set of so many from `base` on.
pub(crate) fn acknack(reader: EntityId, writer: Guid, base: u32, (bits, set): (u32, &[u8])) -> Vec<u8> {
    let mut message = MessageWriter::new(&GuidPrefix([1; 12]).header(), Endianness::Little, 64);
    let base = [&[0; 4], &base.to_le_bytes()[..]].concat();
    let body = [&reader.0[..], &writer.entity.0, &base, &bits.to_le_bytes(), set, &[1, 0, 0, 0]].concat();
    message.info_dst(writer.prefix).verbatim(&[kind::ACKNACK, flag::ENDIANNESS, body.len() as u8, 0]);
    message.verbatim(&body).as_bytes().to_vec()
}

const WRITER: Guid = Guid { prefix: GuidPrefix([7; 12]), entity: EntityId([0, 0, 1, 3]) };
const ONE: EntityId = EntityId([0, 0, 1, 4]);
const OTHER: EntityId = EntityId([0, 0, 2, 4]);

#[test]
fn a_sample_that_one_reader_asks_for_is_requested_though_another_lacks_nothing() {
    let contacts = Contacts::default();
    acknowledges(&contacts, OTHER, WRITER, 1, true);
    acknowledges(&contacts, ONE, WRITER, 1, false);
    assert!(contacts.is_requested(&WRITER, 1));
    acknowledges(&contacts, OTHER, WRITER, 1, false);
    assert!(!contacts.is_requested(&WRITER, 1), "it has come some other way");
    [ONE, OTHER].iter().for_each(|&reader| acknowledges(&contacts, reader, WRITER, 1, true));
    contacts.given(&WRITER, 1);
    assert!(!contacts.is_requested(&WRITER, 1), "all readers are given it");
}

#[test]
fn what_all_readers_have_acknowledged_is_acknowledged_whoever_spoke_last() {
    let contacts = Contacts::default();
    let acknowledged = |addressed| contacts.acknowledged(&WRITER, addressed);
    assert_eq!(acknowledged(EntityId::UNKNOWN), 0);
    acknowledges(&contacts, ONE, WRITER, 8, false);
    assert_eq!([ONE, EntityId::UNKNOWN, OTHER].map(acknowledged), [8, 8, 0], "the other has not spoken yet");
    for (reader, base) in [(OTHER, 5), (ONE, 8)] {
        acknowledges(&contacts, reader, WRITER, base, false);
        assert_eq!([ONE, EntityId::UNKNOWN, OTHER].map(acknowledged), [5; 3]);
    }
    contacts.left(OTHER);
    assert_eq!(acknowledged(ONE), 8);
    contacts.forget(|writer| *writer == WRITER);
    assert_eq!(acknowledged(ONE), 0);
}

#[test]
fn only_reliable_readers_that_are_there_ask() {
    let contacts = Contacts::default();
    let asks = |addressed| contacts.of(&WRITER).map(|contact| contact.reader_for(addressed));
    [ONE, OTHER].iter().for_each(|&reader| acknowledges(&contacts, reader, WRITER, 1, true));
    contacts.came(ONE, false);
    assert_eq!((asks(ONE), contacts.has_reliable(&WRITER)), (None, false));
    contacts.came(OTHER, true);
    assert_eq!([asks(ONE), asks(OTHER), asks(EntityId::UNKNOWN)], [Some(OTHER); 3]);
    assert!(contacts.has_reliable(&WRITER));
    contacts.left(OTHER);
    assert_eq!((asks(OTHER), contacts.has_reliable(&WRITER)), (None, false));
    let discovery = Guid { entity: EntityId::SEDP_PUBLICATIONS_WRITER, ..WRITER };
    let reader = EntityId([0, 0, 3, 0xc7]);
    acknowledges(&contacts, reader, discovery, 1, false);
    assert_eq!(contacts.of(&discovery).map(|contact| contact.reader_for(ONE)), Some(reader));
}

/// What is asked for, of the samples from 2 to 34, when an ACKNACK of [`ONE`] leaves that asks for all of them. `None`: it does not
/// leave, and nothing is known of it.
fn asked(contacts: &Contacts) -> Option<Vec<i64>> {
    let all = [&[0xff; 4][..], &[0, 0, 0, 0x80]].concat();
    let mut message = acknack(ONE, WRITER, 2, (33, &all));
    let outgoing = Outgoing::read(&message).expect("a message");
    let leaves = contacts.pass(&mut message, &outgoing, &[LISTENS_AT]);
    assert_eq!(contacts.has_acknowledged(&WRITER, ONE, 1), leaves);
    let acknack = AckNack::read(&outgoing.submessage(&message)).expect("an ACKNACK");
    let asked: Vec<_> = acknack.requested().collect();
    assert_eq!(acknack.base, 2);
    let is_asked = |number| leaves && asked.contains(&number);
    assert!((1..40).all(|number| contacts.is_requested(&WRITER, number) == is_asked(number)));
    leaves.then_some(asked)
}

#[test]
fn a_reader_asks_for_what_it_was_promised_itself_or_with_all_and_says_nothing_while_only_others_were() {
    let all: Vec<i64> = (2..35).collect();
    let promise = |contacts: &Contacts, reader, first| {
        let heartbeat = Heartbeat { reader, writer: WRITER.entity, first, last: 40, count: 1 };
        assert!(contacts.may_hear(&WRITER, &heartbeat, Instant::now(), |_| false).is_some());
    };
    for speaks_first in [true, false] {
        let contacts = Contacts::default();
        contacts.came(ONE, true);
        let other_speaks = || acknowledges(&contacts, OTHER, WRITER, 2, false);
        assert_eq!(asked(&contacts).as_ref(), Some(&all), "nobody was promised anything");
        if speaks_first {
            other_speaks();
        }
        promise(&contacts, OTHER, 1);
        other_speaks();
        contacts.left(ONE);
        contacts.came(ONE, true);
        assert_eq!(asked(&contacts), None, "it speaks of what the other was promised");
        promise(&contacts, EntityId::UNKNOWN, 9);
        assert_eq!(asked(&contacts).as_deref(), Some(&all[7..]));
        promise(&contacts, ONE, 33);
        assert_eq!(asked(&contacts), Some(vec![33, 34]));
        promise(&contacts, ONE, 41);
        assert_eq!(asked(&contacts), Some(vec![]));
    }
}

#[test]
fn whether_a_count_rose_is_known_for_each_reader_and_behind_the_largest_none_does() {
    let contacts = Contacts::default();
    let rose = |reader, count| tells(&contacts, WRITER, reader, count);
    assert_eq!(
        [rose(ONE, 9), rose(OTHER, 5), rose(ONE, 9), rose(OTHER, 6)],
        [true, true, false, true].map(Some)
    );
    acknowledges(&contacts, ONE, WRITER, 8, false);
    assert_eq!([rose(ONE, 9), rose(ONE, i32::MAX), rose(ONE, i32::MIN)], [false, true, false].map(Some));
    contacts.left(ONE);
    assert_eq!(rose(ONE, 1), Some(true), "another of that name");
}

/// A writer says to a reader that it begins with the first sample; whether its count rose, if Dust may hear it.
fn tells(contacts: &Contacts, writer: Guid, reader: EntityId, count: i32) -> Option<bool> {
    let heartbeat = Heartbeat { reader, writer: writer.entity, first: 1, last: 7, count };
    contacts.may_hear(&writer, &heartbeat, Instant::now(), |_| false)
}

/// Another writer.
fn other(number: usize) -> Guid {
    let [.., a, b, c] = number.to_be_bytes();
    Guid { entity: EntityId([a, b, c, 2]), ..WRITER }
}

#[test]
fn of_readers_that_never_speak_a_bounded_number_is_remembered_and_those_that_spoke_are_not_forgotten() {
    let contacts = Contacts::default();
    acknowledges(&contacts, ONE, WRITER, 8, false);
    for number in 0..3 * CONTACTS_MAX {
        let [.., a, b, c] = number.to_be_bytes();
        // Many readers of few writers, and one reader of many.
        for (writer, reader) in [(other(number % 256), EntityId([a, b, c, 7])), (other(number), ONE)] {
            assert_eq!(tells(&contacts, writer, reader, number as i32), Some(true));
        }
        let books = contacts.0.lock();
        assert!(books.talks.len() <= CONTACTS_MAX);
        if number % 1_000 == 0 {
            let all = books.talks.values().map(|talk| talk.readers.len()).sum::<usize>();
            assert!(all <= CONTACTS_MAX + 1);
        }
    }
    assert_eq!(contacts.acknowledged(&WRITER, ONE), 8);
    assert_eq!(contacts.of(&WRITER).map(|contact| contact.locators), None, "it is not known to be reliable");
    contacts.came(ONE, true);
    assert_eq!(contacts.of(&WRITER).map(|contact| contact.locators), Some(vec![LISTENS_AT]));
}

#[test]
fn a_reader_that_is_silent_is_remembered_however_many_have_spoken_since_or_are_no_more() {
    let contacts = Contacts::default();
    assert_eq!(tells(&contacts, WRITER, EntityId::UNKNOWN, 9), Some(true));
    let others = || (0..CONTACTS_MAX / 2).map(other);
    let tell =
        |reader| others().for_each(|writer| assert_eq!(tells(&contacts, writer, reader, 1), Some(true)));
    for _ in 0..3 {
        tell(ONE);
        contacts.forget(|writer| *writer != WRITER);
        tell(OTHER);
        contacts.left(OTHER);
    }
    for reader in [ONE, OTHER] {
        tell(reader);
        others().for_each(|writer| acknowledges(&contacts, reader, writer, 8, false));
    }
    assert_eq!(contacts.0.lock().silent, 1);
    assert_eq!(tells(&contacts, WRITER, EntityId::UNKNOWN, 9), Some(false), "it was told so before");
}

#[test]
fn writers_that_nobody_reads_displace_none_of_those_that_readers_have_spoken_to() {
    let contacts = Contacts::default();
    (0..CONTACTS_MAX).for_each(|number| acknowledges(&contacts, ONE, other(number), 8, false));
    for unread in CONTACTS_MAX..CONTACTS_MAX + 9 {
        assert_eq!(tells(&contacts, other(unread), ONE, 1), Some(true));
    }
    assert!((0..CONTACTS_MAX).all(|number| contacts.acknowledged(&other(number), ONE) == 8));
    acknowledges(&contacts, ONE, WRITER, 8, false);
    assert_eq!(contacts.acknowledged(&WRITER, ONE), 8, "who is read has room");
}

#[test]
fn what_a_best_effort_reader_still_lacks_is_known_though_no_writer_tells_it_anything() {
    let contacts = Contacts::default();
    contacts.came(OTHER, true);
    let heartbeat = Heartbeat { reader: OTHER, writer: WRITER.entity, first: 1, last: 7, count: 1 };
    assert!(contacts.may_hear(&WRITER, &heartbeat, Instant::now(), |_| false).is_some());
    acknowledges(&contacts, OTHER, WRITER, 8, false);
    let mut message = acknack(ONE, WRITER, 5, (0, &[]));
    let outgoing = Outgoing::read(&message).expect("a message");
    let mut leaves = || contacts.pass(&mut message, &outgoing, &[LISTENS_AT]);
    assert!(!leaves(), "it may be reliable, and has yet to be told");
    assert_eq!(contacts.acknowledged(&WRITER, OTHER), 8);
    contacts.came(ONE, false);
    assert!(!leaves(), "no writer would hear it");
    assert_eq!(contacts.acknowledged(&WRITER, OTHER), 5);
}
