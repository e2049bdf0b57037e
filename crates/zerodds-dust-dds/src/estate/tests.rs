//! Who comes and goes, what is left of them, and where it ends.

use super::*;
use crate::rtps::{AckNack, Content, Parameters, Submessages, header, kind};

const GONE: GuidPrefix = GuidPrefix(*b"gone forever");
const OWN: GuidPrefix = GuidPrefix(*b"all the time");
const WRITER: EntityId = EntityId([0, 0, 9, 3]);
const READERS: EntityId = EntityId::SEDP_SUBSCRIPTIONS_WRITER;
const WRITERS: EntityId = EntityId::SEDP_PUBLICATIONS_WRITER;

/// Where these participants have announced themselves.
fn estates(prefixes: &[GuidPrefix]) -> Estates {
    let mut estates = Estates::default();
    prefixes.iter().for_each(|&prefix| assert!(estates.admit(prefix, None, Instant::now())));
    estates
}

fn guid(prefix: GuidPrefix, entity: [u8; 4]) -> Guid {
    Guid { prefix, entity: EntityId(entity) }
}

/// An endpoint announced by sample `number` of this SEDP writer, in 100 octets.
fn announce(estates: &mut Estates, writer: EntityId, number: i64, endpoint: Guid) -> News {
    estates.announced(writer, number, endpoint, || vec![7; 100])
}

/// Every DATA of a message: its writer, its number, and whom it disposes of.
fn samples(message: &[u8]) -> Vec<(EntityId, i64, Option<EntityId>)> {
    let submessages = Submessages::of(message).map(|one| one.expect("whole"));
    let data = submessages.filter_map(|submessage| match Content::read(&submessage) {
        Ok(Content::Data(data)) => {
            let parameters = Parameters::of(data.inline_qos, Endianness::Little).flatten();
            let mut hashes = parameters.filter(|&(id, ..)| id == pid::KEY_HASH);
            let endpoint = hashes.next().and_then(|(.., value)| Guid::of(value));
            Some((data.writer, data.sequence_number, endpoint.map(|guid| guid.entity)))
        }
        _ => None,
    });
    data.collect()
}

#[test]
fn endpoints_go_in_one_message_with_their_participant_each_once_and_in_sequence() {
    let mut estates = estates(&[GONE]);
    assert_eq!(announce(&mut estates, READERS, 4, guid(GONE, [0, 0, 1, 4])), News::Came);
    assert_eq!(announce(&mut estates, READERS, 7, guid(GONE, [0, 0, 2, 4])), News::Came);
    assert_eq!(announce(&mut estates, WRITERS, 1, guid(GONE, [0, 0, 3, 3])), News::Came);
    let farewell = estates.farewell(GONE, None);
    let [message] = &farewell[..] else { panic!("one message, not {}", farewell.len()) };
    assert_eq!(
        samples(message),
        [
            (READERS, AHEAD, Some(EntityId([0, 0, 1, 4]))),
            (READERS, AHEAD + 1, Some(EntityId([0, 0, 2, 4]))),
            (WRITERS, AHEAD, Some(EntityId([0, 0, 3, 3]))),
            (EntityId::SPDP_WRITER, 1, Some(EntityId::PARTICIPANT)),
        ]
    );
    let again = estates.farewell(GONE, None);
    assert_eq!(samples(&again[0]).len(), 1, "endpoints go once");
    assert_eq!((estates.kept, estates.endpoints, estates.has(GONE)), (0, 0, false));
}

#[test]
fn a_reader_that_went_before_its_participant_is_raised_then_goes_for_good() {
    let mut estates = estates(&[GONE]);
    let reader = guid(GONE, [0, 0, 1, 4]);
    announce(&mut estates, READERS, 1, reader);
    assert_eq!(estates.disposed(READERS, 2, reader), News::Left);
    let farewell = estates.farewell(GONE, None);
    let of: Vec<_> = farewell.iter().flat_map(|message| samples(message)).collect();
    assert_eq!(of[..2], [(READERS, AHEAD, None), (READERS, AHEAD + 1, Some(reader.entity))]);
    assert_eq!((estates.kept, estates.endpoints), (0, 0));
}

#[test]
fn readers_whose_announcements_are_too_long_for_any_length_are_raised_each_by_itself() {
    let mut estates = estates(&[GONE]);
    let readers = [1, 2].map(|key| guid(GONE, [0, 0, key, 4]));
    for (number, reader) in (1..).zip(readers) {
        let announced = estates.announced(READERS, number, reader, || vec![7; 70_000]);
        assert_eq!(announced, News::Came);
    }
    for (number, reader) in (3..).zip(readers) {
        assert_eq!(estates.disposed(READERS, number, reader), News::Left);
    }
    let farewell = estates.farewell(GONE, None);
    let of: Vec<_> = farewell.iter().flat_map(|message| samples(message)).collect();
    assert_eq!(of[..2], [(READERS, AHEAD, None), (READERS, AHEAD + 1, None)]);
    assert_eq!(
        of[2..4],
        [2, 3].map(|after| (READERS, AHEAD + after, Some(readers[after as usize - 2].entity)))
    );
}

#[test]
fn a_reader_that_was_never_announced_does_not_leave() {
    let mut estates = estates(&[GONE]);
    let reader = guid(GONE, [0, 0, 1, 4]);
    assert_eq!(estates.disposed(READERS, 1, reader), News::Nothing);
    announce(&mut estates, READERS, 2, reader);
    assert_eq!(estates.disposed(READERS, 3, reader), News::Left);
    assert_eq!(estates.disposed(READERS, 2, reader), News::Nothing, "it has come again since");
}

#[test]
fn a_reader_leaves_again_when_its_coming_and_going_are_repeated_as_dust_may_take_only_that() {
    let mut estates = estates(&[GONE]);
    let [reader, other] = [1, 2].map(|key| guid(GONE, [0, 0, key, 4]));
    let repeated =
        [(); 2].map(|()| (announce(&mut estates, READERS, 7, reader), estates.disposed(READERS, 8, reader)));
    announce(&mut estates, READERS, 6, other);
    assert_eq!(repeated, [(News::Came, News::Left), (News::Nothing, News::Left)]);
    let writer = guid(GONE, [0, 0, 1, 3]);
    announce(&mut estates, WRITERS, 1, writer);
    assert_eq!([2, 2].map(|number| estates.disposed(WRITERS, number, writer)), [News::Left, News::Nothing]);
    assert_eq!((estates.kept, estates.endpoints), (200, 2));
}

#[test]
fn what_is_heard_again_of_an_endpoint_is_no_news() {
    let mut estates = estates(&[GONE]);
    for (writer, endpoint) in [(READERS, guid(GONE, [0, 0, 1, 4])), (WRITERS, guid(GONE, [0, 0, 1, 3]))] {
        assert_eq!(announce(&mut estates, writer, 5, endpoint), News::Came);
        assert_eq!(announce(&mut estates, writer, 5, endpoint), News::Nothing);
        assert_eq!(estates.disposed(writer, 4, endpoint), News::Nothing, "it has come again since");
        assert_eq!(estates.disposed(writer, 6, endpoint), News::Left);
    }
    assert_eq!(announce(&mut estates, READERS, 5, guid(GONE, [0, 0, 1, 4])), News::Nothing);
    assert_eq!(announce(&mut estates, READERS, 7, guid(GONE, [0, 0, 1, 4])), News::Came);
    assert_eq!((estates.kept, estates.endpoints), (100, 1));
}

#[test]
fn readers_that_go_acknowledge_everything_to_each_of_our_writers_in_one_message() {
    let mut estates = estates(&[OWN, GONE]);
    assert!(estates.acknowledgements(Some(OWN), GONE, &[WRITER]).is_none(), "nobody waits for them");
    let writers = [WRITER, EntityId([0, 0, 10, 3])];
    for (number, writer) in (1..).zip(writers) {
        announce(&mut estates, WRITERS, number, Guid { prefix: OWN, entity: writer });
    }
    let readers = [EntityId([0, 0, 1, 4]), EntityId([0, 0, 2, 4])];
    let message = estates.acknowledgements(Some(OWN), GONE, &readers).expect("there are writers");
    assert_eq!(header(&message), Ok(GONE));
    let submessages = Submessages::of(&message).map(|one| one.expect("whole"));
    let acknacks = submessages.filter(|one| one.kind == kind::ACKNACK).map(|one| {
        let acknack = AckNack::read(&one).expect("an ACKNACK");
        assert_eq!((acknack.base, acknack.requested().count()), (SEQUENCE_NUMBER_MAX, 0));
        (acknack.reader, acknack.writer)
    });
    let all = writers.iter().flat_map(|&writer| readers.map(|reader| (reader, writer)));
    assert_eq!(acknacks.collect::<Vec<_>>(), all.collect::<Vec<_>>());
}

#[test]
fn readers_that_have_left_acknowledge_everything_to_a_writer_that_is_new() {
    let mut estates = estates(&[OWN, GONE]);
    let (left, stays) = (guid(GONE, [0, 0, 1, 4]), guid(GONE, [0, 0, 2, 4]));
    for (number, reader) in (1..).zip([left, stays]) {
        announce(&mut estates, READERS, number, reader);
    }
    assert_eq!(estates.acknowledgements_to(WRITER), [[0; 0]; 0], "nobody has left");
    estates.disposed(READERS, 3, left);
    assert_eq!(estates.acknowledgements_to(WRITERS), [[0; 0]; 0], "it is none of an application's");
    announce(&mut estates, WRITERS, 1, Guid { prefix: OWN, entity: WRITER });
    let expected = estates.acknowledgements(Some(OWN), GONE, &[left.entity]);
    assert_eq!(estates.acknowledgements_to(WRITER), Vec::from_iter(expected));
    announce(&mut estates, READERS, 4, left);
    assert_eq!(estates.acknowledgements_to(WRITER), [[0; 0]; 0], "it has come again");
}

#[test]
fn the_dead_stay_silent_for_a_while() {
    let (mut estates, now) = (Estates::default(), Instant::now());
    assert!(!estates.is_dead(GONE, now));
    estates.bury(GONE, now);
    assert!(estates.is_dead(GONE, now));
    assert!(!estates.is_dead(GONE, now + GRAVE));
}

#[test]
fn a_lease_ends_when_nothing_was_heard_for_as_long() {
    let (mut estates, now) = (Estates::default(), Instant::now());
    let seconds = Duration::from_secs;
    for (prefix, lease) in [(GONE, Some(seconds(10))), (OWN, Some(seconds(5))), (GuidPrefix([7; 12]), None)] {
        assert!(estates.admit(prefix, lease, now));
    }
    estates.heard(GONE, now + seconds(3));
    assert_eq!(estates.ended(Some(OWN), &HashSet::new(), now + seconds(10)), [], "it was heard");
    assert_eq!(estates.deadline(), Some(now + seconds(13)), "but for our own");
    assert_eq!(estates.ended(Some(OWN), &HashSet::new(), now + seconds(13)), [GONE]);
    estates.farewell(GONE, Some(OWN));
    assert!(estates.admit(GONE, Some(Duration::ZERO), now));
    assert_eq!(estates.ended(Some(OWN), &HashSet::from([GONE]), now), [], "it is known to live");
    assert!(
        estates.deadline().is_some_and(|next| next >= now + seconds(1)),
        "and is not asked after all the time"
    );
    assert_eq!(estates.ended(Some(OWN), &HashSet::new(), now + seconds(1)), [GONE]);
    estates.farewell(GONE, Some(OWN));
    assert_eq!(
        (estates.ended(Some(OWN), &HashSet::new(), now + seconds(99)), estates.deadline()),
        (vec![], None)
    );
}

fn participant(number: usize) -> GuidPrefix {
    let mut prefix = [0; 12];
    prefix[..8].copy_from_slice(&number.to_ne_bytes());
    GuidPrefix(prefix)
}

#[test]
fn participants_have_an_end_and_the_silent_make_way() {
    let (mut estates, now) = (Estates::default(), Instant::now());
    assert!((0..PARTICIPANTS_MAX).all(|number| estates.admit(participant(number), None, now)));
    let new = participant(PARTICIPANTS_MAX);
    let (own, linked) = (Some(participant(0)), HashSet::from([participant(1)]));
    let alive = || linked.clone();
    assert_eq!(estates.in_the_way_of(new, None, HashSet::new, now), []);
    assert!(!estates.admit(new, None, now));
    assert!(estates.admit(participant(0), None, now), "who is in stays in");
    let between = now + Duration::from_secs(30);
    assert_eq!(estates.in_the_way_of(new, own, alive, between), [], "as silent as the standard has them");
    let soon = now + SILENCE_SHORT;
    (3..PARTICIPANTS_MAX).for_each(|number| estates.heard(participant(number), soon));
    let silent = estates.in_the_way_of(new, own, alive, soon);
    assert_eq!(silent, [participant(2)], "neither our own nor known to live");
    estates.heard(participant(2), soon);
    assert_eq!(estates.in_the_way_of(new, own, alive, soon), []);
    let later = soon + SILENCE_MAX;
    estates.heard(participant(3), later);
    let not_asked = || -> HashSet<GuidPrefix> { unreachable!("nobody has to be chosen") };
    assert_eq!(estates.in_the_way_of(participant(1), own, not_asked, later), [], "it is in");
    let silent = estates.in_the_way_of(new, own, not_asked, later);
    assert_eq!(silent.len(), PARTICIPANTS_MAX - 2);
    assert!(!silent.contains(&participant(3)), "who speaks is not silent");
    assert!(!silent.contains(&participant(0)), "and our own never goes");
    estates.farewell(silent[0], None);
    assert!(estates.admit(new, None, later));
}

#[test]
fn endpoints_and_topics_have_an_end_and_those_that_are_gone_make_way() {
    let mut estates = estates(&[GONE, OWN]);
    let reader = |prefix, number: usize| {
        let [.., a, b, c] = number.to_be_bytes();
        guid(prefix, [a, b, c, 4])
    };
    for number in 0..ENDPOINTS_MAX {
        assert_eq!(announce(&mut estates, READERS, 1 + number as i64, reader(GONE, number)), News::Came);
    }
    let (number, next) = (ENDPOINTS_MAX as i64, reader(GONE, ENDPOINTS_MAX));
    assert_eq!(announce(&mut estates, READERS, number + 1, next), News::TooMany);
    assert_eq!(announce(&mut estates, READERS, 1, reader(OWN, 1)), News::Came, "others are not affected");
    assert_eq!(estates.disposed(READERS, number + 2, reader(GONE, 5)), News::Left);
    assert_eq!(announce(&mut estates, READERS, number + 3, next), News::Came);
    assert_eq!(estates.endpoints, ENDPOINTS_MAX + 1);
    estates.topics = TOPICS_MAX - 1;
    let topics = [1, 1, 2].map(|number| estates.topic(GONE, number));
    assert_eq!(topics, [News::Came, News::Nothing, News::TooMany]);
}
