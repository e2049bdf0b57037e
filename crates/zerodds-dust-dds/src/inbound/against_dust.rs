//! The inbound path in front of a real Dust participant that is sent whatever comes.
//!
//! ```text
//!   victim ◀── Inbound ◀── mutations ◀── partner (another Dust participant: writes, reads, acknowledges)
//!     └──────────────── as it is ───────────▶┘
//! ```
//! The partner's messages make the victim match its endpoints, so that mutations of them reach all of Dust's
//! protocol code and not only its parsers. Without the inbound path a few of them end the victim.

use super::*;
use crate::contacts::tests::acknowledges;
use crate::rtps::{AckNack, DataFields, EntityId, flag, kind, pid};
use dust_dds::dds_async::domain_participant_factory::DomainParticipantFactoryAsync;
use dust_dds::domain::domain_participant::DomainParticipant;
use dust_dds::domain::domain_participant_factory::DomainParticipantFactory;
use dust_dds::infrastructure::instance::InstanceHandle;
use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataReaderQos, DataWriterQos, QosKind};
use dust_dds::infrastructure::qos_policy::{
    DurabilityQosPolicy, DurabilityQosPolicyKind, ReliabilityQosPolicy, ReliabilityQosPolicyKind,
};
use dust_dds::infrastructure::sample_info::{ANY_INSTANCE_STATE, ANY_SAMPLE_STATE, ANY_VIEW_STATE};
use dust_dds::infrastructure::status::NO_STATUS;
use dust_dds::infrastructure::time::DurationKind;
use dust_dds::infrastructure::type_support::DdsType;
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::runtime::DdsRuntime;
use dust_dds::std_runtime::StdRuntime;
use dust_dds::subscription::data_reader::DataReader;
use dust_dds::subscription::subscriber::Subscriber;
use dust_dds::transport::interface::{
    RtpsTransportParticipant, TransportDataReceiver, TransportParticipantFactory, WriteMessage,
};
use dust_dds::transport::types::Locator;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

mod clock;
mod counts;
mod discovery;
mod readers;

#[derive(Clone, Debug, PartialEq, DdsType)]
struct Note {
    #[dust_dds(key)]
    id: u32,
    text: String,
}

/// A Dust participant on no network: what it writes is kept, and it is given what the test likes.
struct Captive {
    participant: DomainParticipant,
    writer: DataWriter<Note>,
    reader: DataReader<Note>,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
    inbox: TransportDataReceiver,
}

/// Keeps what is written.
struct Cell {
    locator: Locator,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
    inbox: Arc<Mutex<Option<TransportDataReceiver>>>,
}

struct Pen {
    buffer: Vec<u8>,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl WriteMessage for Pen {
    fn write_buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn write_message(&mut self, len: usize, _locators: &[Locator]) {
        self.written.lock().push(self.buffer[..len].to_vec());
    }
}

impl TransportParticipantFactory for Cell {
    fn create_participant(&self, _domain_id: i32, inbox: TransportDataReceiver) -> RtpsTransportParticipant {
        *self.inbox.lock() = Some(inbox);
        RtpsTransportParticipant {
            message_writer: Box::new(Pen { buffer: vec![0; 1 << 20], written: Arc::clone(&self.written) }),
            default_unicast_locator_list: vec![self.locator],
            metatraffic_unicast_locator_list: vec![self.locator],
            metatraffic_multicast_locator_list: vec![self.locator],
            default_multicast_locator_list: vec![],
            fragment_size: 1 << 19,
        }
    }
}

impl Captive {
    fn new(name: u8) -> Self {
        Self::on(StdRuntime::new(), name, Duration::from_secs(5))
    }

    /// On this runtime, and announcing itself that often.
    fn on(runtime: impl DdsRuntime, name: u8, interval: Duration) -> Self {
        let (written, inbox): (Arc<Mutex<_>>, Arc<Mutex<_>>) = Default::default();
        let locator = Locator::new(1, u32::from(name), [name; 16]);
        let cell = Cell { locator, written: Arc::clone(&written), inbox: Arc::clone(&inbox) };
        let configuration = dust_dds::configuration::DustDdsConfigurationBuilder::new()
            .enable_type_information(false)
            .participant_announcement_interval(interval)
            .build()
            .expect("a configuration");
        let factory = DomainParticipantFactoryAsync::new(runtime, [name; 4], [name; 4], cell, configuration);
        let factory = DomainParticipantFactory::new(Box::leak(Box::new(factory)));
        let default = QosKind::Default;
        let participant = factory.create_participant(0, default, NO_LISTENER, NO_STATUS).expect("alive");
        let topic = participant
            .create_topic::<Note>("notes", "Note", QosKind::Default, NO_LISTENER, NO_STATUS)
            .expect("alive");
        let publisher =
            participant.create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS).expect("alive");
        let writer =
            publisher.create_datawriter(&topic, QosKind::Default, NO_LISTENER, NO_STATUS).expect("alive");
        let subscriber =
            participant.create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS).expect("alive");
        let reader =
            subscriber.create_datareader(&topic, QosKind::Default, NO_LISTENER, NO_STATUS).expect("alive");
        let inbox = inbox.lock().take().expect("created");
        Self { participant, writer, reader, written, inbox }
    }

    /// A reader that is waited for.
    fn reliable_reader(&self) -> DataReader<Note> {
        self.reliable_reader_of(DurabilityQosPolicyKind::Volatile)
    }

    fn reliable_reader_of(&self, durability: DurabilityQosPolicyKind) -> DataReader<Note> {
        self.reliable_reader_in(&self.reader.get_subscriber(), durability)
    }

    fn reliable_reader_in(
        &self,
        subscriber: &Subscriber,
        durability: DurabilityQosPolicyKind,
    ) -> DataReader<Note> {
        let topic = self.reader.get_topicdescription();
        let kind = ReliabilityQosPolicyKind::Reliable;
        let max_blocking_time = DurationKind::Finite(dust_dds::infrastructure::time::Duration::new(1, 0));
        let reliability = ReliabilityQosPolicy { kind, max_blocking_time };
        let durability = DurabilityQosPolicy { kind: durability };
        let qos = QosKind::Specific(DataReaderQos { reliability, durability, ..Default::default() });
        subscriber.create_datareader(&topic, qos, NO_LISTENER, NO_STATUS).expect("alive")
    }

    /// A writer that has the last note of each id for those who join later.
    fn keeping_writer(&self) -> DataWriter<Note> {
        let durability = DurabilityQosPolicy { kind: DurabilityQosPolicyKind::TransientLocal };
        self.writer_of(DataWriterQos { durability, ..Default::default() })
    }

    /// A writer like the first.
    fn another_writer(&self) -> DataWriter<Note> {
        self.writer_of(DataWriterQos::default())
    }

    fn writer_of(&self, qos: DataWriterQos) -> DataWriter<Note> {
        let (publisher, topic) = (self.writer.get_publisher(), self.writer.get_topic());
        let qos = QosKind::Specific(qos);
        publisher.create_datawriter(&topic, qos, NO_LISTENER, NO_STATUS).expect("alive")
    }

    fn give(&self, message: Vec<u8>) {
        dust_dds::std_runtime::executor::block_on(self.inbox.receive_message(message));
    }

    fn take_written(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.written.lock())
    }

    /// Has it process everything it was given, and shows that it lives.
    fn answer(&self) -> usize {
        self.participant.get_discovered_participants().expect("alive").len()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Does one thing to a message that a broken or hostile sender might do.
    fn mutate(&mut self, message: &mut Vec<u8>) {
        const EXTREMES: [u32; 8] =
            [0, 1, 255, 257, 0x7fff_ffff, 0x8000_0000, u32::MAX, u32::from_be_bytes([0, 0, 1, 0])];
        let at = HEADER_LEN + self.below(message.len() - HEADER_LEN + 1);
        match self.below(6) {
            0 => message.truncate(at),
            1 => {
                if let Some(octet) = message.get_mut(at) {
                    *octet ^= 1 << self.below(8);
                }
            }
            2 | 3 => {
                let value = self.one_of(&EXTREMES);
                let at = at & !3;
                if let Some(long) = message.get_mut(at..at + 4) {
                    long.copy_from_slice(&value.to_le_bytes());
                }
            }
            4 => {
                let part = message[at..].to_vec();
                message.extend_from_slice(&part);
            }
            _ => {
                let (kind, flags) = (self.one_of(&KINDS), self.below(16) as u8 | flag::ENDIANNESS);
                let longs: Vec<u8> =
                    (0..self.below(12)).flat_map(|_| self.one_of(&EXTREMES).to_le_bytes()).collect();
                let ids = self.one_of(&[
                    [0, 0, 1, 4, 0, 0, 0, 2],
                    [0, 0, 0, 7, 0, 0, 0, 2],
                    [0, 1, 0, 0xc7, 0, 1, 0, 0xc2],
                ]);
                let fields =
                    if matches!(kind, kind::DATA | kind::DATA_FRAG) { &[0, 0, 16, 0][..] } else { &[] };
                let body = [fields, &ids, &longs].concat();
                message.extend_from_slice(&[kind, flags, body.len() as u8, 0]);
                message.extend_from_slice(&body);
            }
        }
    }
}

const KINDS: [u8; 13] = [0x01, 0x06, 0x07, 0x08, 0x09, 0x0c, 0x0d, 0x0e, 0x0f, 0x12, 0x13, 0x15, 0x16];

/// Lets the two find each other; what the victim hears of the partner may be changed on the way.
fn introduce(victim: &Captive, partner: &Captive, inbound: &mut Inbound, change: fn(&mut [u8])) {
    let mut out = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let name = partner.participant.get_instance_handle();
    let matched = |one: &Captive| one.reader.get_subscription_matched_status().expect("alive").current_count;
    let knows = |one: &Captive| one.participant.get_discovered_participants().expect("alive").contains(&name);
    loop {
        assert!(Instant::now() < deadline, "they do not match");
        for mut message in partner.take_written() {
            change(&mut message);
            inbound.message(&message, Some(Path::Udp), None, Instant::now(), &mut out);
        }
        out.drain(..).for_each(|message| victim.give(message));
        victim.take_written().into_iter().for_each(|message| partner.give(message));
        if matched(victim) > 0 && matched(partner) > 0 && knows(victim) {
            return;
        }
        // Dust writes some of it when its timers say so.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Lets the two talk, in `rounds`, with mutations of everything that the partner says; how many of its notes
/// the victim has read.
fn talk(
    victim: &Captive,
    partner: &Captive,
    inbound: &mut Inbound,
    random: &mut Random,
    rounds: u32,
) -> usize {
    let (mut out, mut read) = (Vec::new(), 0);
    for round in 0..rounds {
        let note = Note { id: round % 3, text: "n".repeat(random.below(200)) };
        partner.writer.write(note.clone(), None).expect("alive");
        victim.writer.write(note, None).expect("alive");
        for message in partner.take_written() {
            for _ in 0..8 {
                let mut mutated = message.clone();
                (0..=random.below(3)).for_each(|_| random.mutate(&mut mutated));
                inbound.message(&mutated, Some(Path::Udp), None, Instant::now(), &mut out);
            }
            inbound.message(&message, Some(Path::Udp), None, Instant::now(), &mut out);
        }
        inbound.requests(&[0; HEADER_LEN], Instant::now() + Duration::from_secs(round.into()), &mut out);
        out.drain(..).for_each(|message| victim.give(message));
        victim.answer();
        victim.take_written().into_iter().for_each(|message| partner.give(message));
        partner.answer();
        let all = (ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
        read += victim.reader.take(100, all.0, all.1, all.2).map_or(0, |notes| notes.len());
        let _ = partner.reader.take(100, all.0, all.1, all.2);
    }
    read
}

fn inbound() -> Inbound {
    let (contacts, wanted, departed, addresses, tally) = Default::default();
    let fragmenter = Fragmenter::new(1 << 20, 65_507);
    Inbound::new(1 << 24, fragmenter, contacts, wanted, departed, addresses, tally)
}

/// What `trial` comes to, on a thread of its own, since a dead Dust never answers.
fn outcome(trial: impl FnOnce() -> usize + Send + 'static) -> Option<usize> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(trial()));
    ended.recv_timeout(Duration::from_secs(120)).ok()
}

#[test]
fn dust_lives_through_whatever_is_sent_to_it() {
    let mut read = 0;
    for seed in 0..24 {
        let trial = move || {
            let name = seed as u8;
            let (victim, partner) = (Captive::new(1 + name), Captive::new(101 + name));
            let mut inbound = inbound();
            introduce(&victim, &partner, &mut inbound, |_| {});
            talk(&victim, &partner, &mut inbound, &mut Random(seed), 40)
        };
        read += outcome(trial).unwrap_or_else(|| panic!("Dust died of seed {seed}"));
    }
    assert!(read > 0, "the two were matched, or nothing was put to the test");
}

/// Makes the lease of 100 s, which Dust announces, one of 1 s.
fn shorten_lease(message: &mut [u8]) {
    let lease = [&[2, 0, 8, 0][..], &[100, 0, 0, 0], &[0; 4]].concat();
    if let Some(at) = message.windows(lease.len()).position(|part| part == lease) {
        message[at + 4] = 1;
    }
}

/// Writes of which none waits for the readers of another participant, whose lease has ended. The last that was heard of that
/// is what `say` adds to its announcements.
fn writes_after_a_lease(names: [u8; 3], say: fn(&mut MessageWriter)) -> usize {
    let [victim, silent, third] = names.map(Captive::new);
    let _reliable = silent.reliable_reader();
    let mut inbound = inbound();
    introduce(&victim, &silent, &mut inbound, shorten_lease);
    let matched = || victim.writer.get_matched_subscriptions().expect("alive").len();
    while matched() < 2 {
        introduce(&victim, &silent, &mut inbound, shorten_lease);
    }
    let prefix = guid(silent.participant.get_instance_handle()).prefix;
    let (mut last, mut out) = (MessageWriter::new(&prefix.header(), Endianness::Little, 64), Vec::new());
    say(&mut last);
    inbound.message(&last.into_bytes(), Some(Path::Udp), None, Instant::now(), &mut out);
    out.drain(..).for_each(|message| victim.give(message));
    // From here on nothing is heard of it: Dust would forget it, and match its readers again with the third.
    while victim.answer() > 0 {
        inbound.end_leases(Instant::now() + Duration::from_secs(2), &mut out);
        out.drain(..).for_each(|message| victim.give(message));
    }
    while matched() == 0 {
        introduce(&victim, &third, &mut inbound, |_| {});
    }
    assert_eq!(matched(), 1, "the third");
    let note = || Note { id: 1, text: String::new() };
    (0..3).map(|_| victim.writer.write(note(), None).expect("nobody to wait for")).count()
}

#[test]
fn a_writer_does_not_wait_for_readers_whose_lease_has_ended() {
    assert_eq!(outcome(|| writes_after_a_lease([60, 61, 62], |_| {})), Some(3));
}

#[test]
fn a_writer_does_not_wait_for_readers_after_whose_announcement_came_what_names_nobody() {
    // As of a reader that came and went, where the participant keeps nothing of it.
    let gap = |last: &mut MessageWriter| {
        last.gap((EntityId::UNKNOWN, EntityId::SEDP_SUBSCRIPTIONS_WRITER), 3, 5);
    };
    assert_eq!(outcome(move || writes_after_a_lease([71, 72, 73], gap)), Some(3));
    let nameless = |last: &mut MessageWriter| {
        last.nothing(EntityId::SEDP_SUBSCRIPTIONS_WRITER, 3);
    };
    assert_eq!(outcome(move || writes_after_a_lease([74, 75, 76], nameless)), Some(3));
}

/// What one says by now reaches the other, as it was changed on the way.
fn carry(
    from: &Captive,
    to: &Captive,
    inbound: &mut Inbound,
    now: Instant,
    change: fn(&mut [u8]),
) -> Vec<Vec<u8>> {
    let own = guid(to.participant.get_instance_handle()).prefix;
    let (mut carried, mut out) = (from.take_written(), Vec::new());
    for message in &mut carried {
        change(message);
        inbound.message(message, Some(Path::Udp), Some(own), now, &mut out);
    }
    out.into_iter().for_each(|message| to.give(message));
    carried
}

/// The writer of discovery whose first sample, which is its last, is acknowledged here.
fn acknowledged(message: &[u8]) -> Option<EntityId> {
    Submessages::of(message).flatten().filter(|one| one.kind == kind::ACKNACK).find_map(|submessage| {
        let acknack = AckNack::read(&submessage).ok()?;
        (!acknack.writer.is_user_defined() && acknack.base == 2).then_some(acknack.writer)
    })
}

#[test]
fn who_was_silent_for_one_side_only_is_matched_again_when_it_is_back() {
    let trial = || {
        let (victim, other) = (Captive::new(69), Captive::new(70));
        let [prefix, others] =
            [&victim, &other].map(|one| guid(one.participant.get_instance_handle()).prefix);
        let (mut inbound, mut others_inbound) = (inbound(), inbound());
        let matched = |one: &Captive| {
            let status = one.reader.get_subscription_matched_status().expect("alive");
            status.current_count > 0 && !one.writer.get_matched_subscriptions().expect("alive").is_empty()
        };
        let (mut now, mut announcement, mut out) = (Instant::now(), Vec::new(), Vec::new());
        // All that the other has announced is acknowledged in the end: it will not say so again.
        let mut heard = HashSet::new();
        while !matched(&victim) || !matched(&other) || heard.len() < 2 {
            let said = carry(&other, &victim, &mut inbound, now, shorten_lease);
            let announces = |message: &Vec<u8>| number_of(message, EntityId::SPDP_WRITER).is_some();
            announcement = said.into_iter().rfind(announces).unwrap_or(announcement);
            let said = carry(&victim, &other, &mut others_inbound, now, |_| {});
            heard.extend(said.iter().filter_map(|message| acknowledged(message)));
            std::thread::park_timeout(Duration::from_millis(1));
        }
        now += Duration::from_secs(2);
        inbound.end_leases(now, &mut out);
        out.drain(..).for_each(|message| victim.give(message));
        while victim.answer() > 0 {
            std::thread::yield_now();
        }
        drop((victim.take_written(), other.take_written()));
        let mut told = 0;
        while !matched(&victim) || !matched(&other) {
            inbound.message(&announcement, Some(Path::Udp), Some(prefix), now, &mut out);
            out.drain(..).for_each(|message| victim.give(message));
            for answer in inbound.answers() {
                told += answer.locators.len();
                others_inbound.message(&answer.message, Some(Path::Udp), Some(others), now, &mut out);
            }
            out.drain(..).for_each(|message| other.give(message));
            carry(&other, &victim, &mut inbound, now, shorten_lease);
            carry(&victim, &other, &mut others_inbound, now, |_| {});
            now += crate::estate::GRAVE;
            std::thread::park_timeout(Duration::from_millis(1));
        }
        told
    };
    assert_eq!(outcome(trial), Some(1), "once, where it listens");
}

fn guid(handle: InstanceHandle) -> Guid {
    Guid::of(&<[u8; 16]>::from(handle)).expect("a GUID")
}

/// What the two say by now goes to the partner, and what the victim is to hear, of itself too, comes back.
fn heard(victim: &Captive, partner: &Captive, inbound: &mut Inbound) -> Vec<Vec<u8>> {
    // Dust writes some of it when its timers say so.
    std::thread::park_timeout(Duration::from_millis(1));
    let own = Some(guid(victim.participant.get_instance_handle()).prefix);
    let mut out = Vec::new();
    for message in partner.take_written() {
        inbound.message(&message, Some(Path::Udp), own, Instant::now(), &mut out);
    }
    for message in victim.take_written() {
        inbound.message(&message, None, own, Instant::now(), &mut out);
        partner.give(message);
    }
    out
}

#[test]
fn a_writer_does_not_wait_for_a_reader_that_left_while_it_was_created() {
    let trial = || {
        let (victim, partner) = (Captive::new(63), Captive::new(64));
        let leaving = partner.reliable_reader();
        let reader = guid(leaving.get_instance_handle());
        let is_matched = |writer: &DataWriter<Note>| {
            let matched = writer.get_matched_subscriptions().expect("alive");
            matched.into_iter().any(|handle| guid(handle) == reader)
        };
        let mut inbound = inbound();
        while !is_matched(&victim.writer) {
            heard(&victim, &partner, &mut inbound).into_iter().for_each(|message| victim.give(message));
        }
        partner.reader.get_subscriber().delete_datareader(&leaving).expect("alive");
        let mut on_its_way = Vec::new();
        while !inbound.departed.contains(&reader) {
            on_its_way.extend(heard(&victim, &partner, &mut inbound));
        }
        let writer = victim.another_writer();
        while !is_matched(&writer) {
            std::thread::yield_now();
        }
        on_its_way.into_iter().for_each(|message| victim.give(message));
        let name = guid(writer.get_instance_handle()).to_bytes();
        let mut announced = false;
        while !announced {
            for message in heard(&victim, &partner, &mut inbound) {
                announced |= message.windows(name.len()).any(|part| part == name);
                victim.give(message);
            }
        }
        victim.answer();
        assert!(!is_matched(&writer), "Dust knows that it left");
        for _ in 0..3 {
            writer.write(Note { id: 1, text: String::new() }, None).expect("nobody to wait for");
        }
        1
    };
    assert_eq!(outcome(trial), Some(1));
}

#[test]
fn a_reader_is_no_longer_matched_when_its_end_names_it_in_the_payload_alone() {
    // As some stacks have it: without a key hash, which Dust goes by, or with one that is none.
    for (name, hash) in [(77, &[][..]), (79, &[0x70, 0, 4, 0, 1, 1, 1, 1])] {
        let trial = move || {
            let (victim, partner) = (Captive::new(name), Captive::new(name + 1));
            let leaving = guid(partner.reliable_reader().get_instance_handle());
            let mut inbound = inbound();
            let matched = || victim.writer.get_matched_subscriptions().expect("alive").len();
            while matched() < 2 {
                introduce(&victim, &partner, &mut inbound, |_| {});
            }
            let (reader, writer) = (EntityId::UNKNOWN, EntityId::SEDP_SUBSCRIPTIONS_WRITER);
            let flags = flag::INLINE_QOS | flag::DATA_KEY;
            let mut end = MessageWriter::new(&leaving.prefix.header(), Endianness::Little, 128);
            end.open_data(DataFields { flags, reader, writer, sequence_number: 3 })
                .parameter(pid::STATUS_INFO, &[0, 0, 0, 3])
                .verbatim(hash)
                .parameter(pid::SENTINEL, &[])
                .verbatim(&[0, 3, 0, 0])
                .parameter(pid::ENDPOINT_GUID, &leaving.to_bytes())
                .parameter(pid::SENTINEL, &[]);
            let mut out = Vec::new();
            inbound.message(&end.into_bytes(), Some(Path::Udp), None, Instant::now(), &mut out);
            out.into_iter().for_each(|message| victim.give(message));
            while matched() > 1 {
                std::thread::yield_now();
            }
            matched()
        };
        assert_eq!(outcome(trial), Some(1), "the best-effort one");
    }
}

#[test]
fn which_of_our_readers_is_reliable_is_learned_from_what_dust_says_of_them() {
    let trial = || {
        let (victim, partner) = (Captive::new(65), Captive::new(66));
        let readers = [&victim.reader, &victim.reliable_reader()];
        let [best_effort, reliable] = readers.map(|reader| guid(reader.get_instance_handle()).entity);
        let (writer, mut inbound) = (guid(partner.writer.get_instance_handle()), inbound());
        [best_effort, reliable]
            .iter()
            .for_each(|&one| acknowledges(&inbound.contacts, one, writer, 1, false));
        while !inbound.contacts.has_reliable(&writer) {
            heard(&victim, &partner, &mut inbound).into_iter().for_each(|message| victim.give(message));
        }
        let contact = inbound.contacts.of(&writer).expect("there is one");
        usize::from(contact.reader_for(best_effort) == reliable)
    };
    assert_eq!(outcome(trial), Some(1));
}

/// The number of the DATA of this writer that is in a message, if any is.
fn number_of(message: &[u8], writer: EntityId) -> Option<i64> {
    Submessages::of(message).flatten().find_map(|submessage| match Content::read(&submessage) {
        Ok(Content::Data(data)) if data.writer == writer => Some(data.sequence_number),
        _ => None,
    })
}

#[test]
fn a_sample_that_a_gap_overtakes_is_asked_for_again() {
    let trial = || {
        let (victim, partner) = (Captive::new(67), Captive::new(68));
        let writer = partner.keeping_writer();
        // Of three samples two are left.
        for (id, text) in [(1, "one"), (2, "two"), (2, "three")] {
            writer.write(Note { id, text: text.to_owned() }, None).expect("nobody to wait for");
        }
        let reader = victim.reliable_reader_of(DurabilityQosPolicyKind::TransientLocal);
        let (entity, mut inbound) = (guid(writer.get_instance_handle()).entity, inbound());
        let (mut lost, mut out, mut notes) = (false, Vec::new(), Vec::new());
        while notes.len() < 2 {
            for message in partner.take_written() {
                let is_first = number_of(&message, entity) == Some(1);
                if is_first && !std::mem::replace(&mut lost, true) {
                    continue;
                }
                inbound.message(&message, Some(Path::Udp), None, Instant::now(), &mut out);
            }
            out.drain(..).for_each(|message| victim.give(message));
            victim.take_written().into_iter().for_each(|message| partner.give(message));
            let all = (ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE);
            let taken = reader.take(2, all.0, all.1, all.2).unwrap_or_default();
            notes.extend(taken.into_iter().filter_map(|sample| sample.data));
            assert!(notes.first().is_none_or(|note| note.text == "one"), "in order: {notes:?}");
            // Dust writes some of it when its timers say so.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        usize::from(notes[1].text == "three")
    };
    assert_eq!(outcome(trial), Some(1));
}
