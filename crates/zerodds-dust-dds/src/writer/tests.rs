//! Where messages go when peers do not take them as they are, and which of Dust's go nowhere.

use super::*;
use crate::monitor::Registry;
use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, as_dust_writes, chunk_as_dust_writes};
use crate::participant::start;
use crate::rtps::{
    AckNackFields, Content, DataFields, DataFragFields, GuidPrefix, Heartbeat, MessageWriter, NackFragFields,
    Submessages, flag, header, pid,
};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use zerodds_core::testing::{Hub, Memory, MemoryLoan, MemoryReceiver};
use zerodds_core::{Counters, Endianness, Incoming, Reach, Reason, Receiver, Unserved};

impl Datagrams for Memory {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        self.locators()
    }

    fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        Vec::new()
    }

    fn send_run(&self, run: &[u8], len: usize, to: Peer<'_>, patience: &mut Patience) -> usize {
        PATIENCES.with_borrow_mut(|given| given.push(format!("{:?}", std::mem::replace(patience, left()))));
        let send = |datagram: &[u8]| self.send_bytes(datagram, &[to], Delivery::BestEffort);
        let is_taken = |datagram: &&[u8]| send(datagram).is_ok_and(|sent| sent.unserved.is_empty());
        run.chunks(len).take_while(is_taken).count()
    }
}

thread_local! {
    /// What each run of datagrams was given.
    static PATIENCES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What each of them leaves.
fn left() -> Patience {
    Patience::for_bytes(100 << 20)
}

/// Shared memory of which one peer takes only what is small.
struct Narrow {
    inner: Memory,
    whom: Locator,
    /// What becomes of the rest.
    answer: fn(usize) -> Result<Sent, SendError>,
    /// How often it was asked to take the rest.
    asked: AtomicU32,
    /// How often something was lent.
    lent: AtomicU32,
}

/// The longest that the peer takes.
const NARROW: usize = 100_000;

fn too_large(len: usize) -> Result<Sent, SendError> {
    let mut sent = Sent::default();
    sent.unserved.push(Unserved { index: 0, why: Refusal::TooLarge { len, max: NARROW } });
    Ok(sent)
}

fn full(_len: usize) -> Result<Sent, SendError> {
    let mut sent = Sent::default();
    sent.unserved.push(Unserved { index: 0, why: Refusal::Full });
    Ok(sent)
}

fn no_memory(len: usize) -> Result<Sent, SendError> {
    Err(SendError::Loan(LoanError::NoMemory { needed: len as u64, limit: "a test".to_owned() }))
}

impl Transport for Narrow {
    type Loan = MemoryLoan;
    type Receiver = MemoryReceiver;

    fn locators(&self) -> Vec<Locator> {
        self.inner.locators()
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        self.inner.reach(peer)
    }

    fn max_message_len(&self) -> usize {
        self.inner.max_message_len()
    }

    fn loan(&self, len: usize) -> Result<MemoryLoan, LoanError> {
        self.lent.fetch_add(1, Ordering::Relaxed);
        self.inner.loan(len)
    }

    fn send(&self, message: MemoryLoan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        if message.len() > NARROW && to[0].locators.contains(&self.whom) {
            self.asked.fetch_add(1, Ordering::Relaxed);
            return (self.answer)(message.len());
        }
        self.inner.send(message, to, delivery)
    }

    fn receiver(&self) -> Option<MemoryReceiver> {
        self.inner.receiver()
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// A writer, and two peers with both kinds of locators: one takes everything by shared memory, the other little.
struct Scene {
    hub: Hub,
    writer: Writer<Narrow, Memory>,
    wide: [Memory; 2],
    narrow: [Memory; 2],
    /// What Dust is given.
    dust: mpsc::Receiver<Vec<u8>>,
    /// Whoever holds it keeps Dust from being given anything.
    gate: Arc<Mutex<()>>,
}

impl Scene {
    fn new(answer: fn(usize) -> Result<Sent, SendError>) -> Self {
        Self::with(answer, 1 << 20)
    }

    fn with(answer: fn(usize) -> Result<Sent, SendError>, len_max: usize) -> Self {
        let hub = Hub::new();
        let shm = || hub.open(Path::SharedMemory, len_max, 1 << 10);
        let udp = || hub.open(Path::Udp, 65_507, 1 << 10);
        let (ours, wide, narrow) = ([shm(), udp()], [shm(), udp()], [shm(), udp()]);
        hub.link_up(&ours[0], &wide[0]);
        hub.link_up(&ours[0], &narrow[0]);
        let [inner, udp] = ours;
        let shm = Narrow {
            inner,
            whom: narrow[0].locators()[0],
            answer,
            asked: AtomicU32::new(0),
            lent: AtomicU32::new(0),
        };
        let (give, dust) = mpsc::channel();
        let gate = Arc::<Mutex<()>>::default();
        let open = Arc::clone(&gate);
        let give = move |message, _: &_| {
            let _open = open.lock();
            drop(give.send(message));
        };
        let running = start(shm, udp, &Arc::<Registry>::default(), give).expect("a thread");
        Self { hub, writer: Writer::new(running), wide, narrow, dust, gate }
    }

    /// Dust writes this message to a peer.
    fn write(&mut self, message: &[u8], peer: fn(&Self) -> &[Memory; 2]) {
        let locators: Vec<_> = peer(self).iter().flat_map(Transport::locators).collect();
        let locators: Vec<_> =
            locators.iter().map(|one| DustLocator::new(one.raw_kind(), one.port(), *one.address())).collect();
        self.writer.write_buffer_mut()[..message.len()].copy_from_slice(message);
        self.writer.write_message(message.len(), &locators);
    }

    /// The payloads of the samples that have come to the narrow peer by UDP, put together.
    fn heard_by_udp(&self) -> Vec<u8> {
        let mut receiver = self.narrow[1].receiver().expect("not taken yet");
        let messages = std::iter::from_fn(|| receiver.try_receive()).filter_map(|incoming| match incoming {
            Incoming::Message(message) => Some(message.to_vec()),
            _ => None,
        });
        let mut payload = Vec::new();
        for message in messages {
            for submessage in Submessages::of(&message).map(|one| one.expect("whole")) {
                if let Ok(Content::DataFrag(frag)) = Content::read(&submessage) {
                    payload.extend_from_slice(frag.payload);
                }
            }
        }
        payload
    }
}

fn payload() -> Vec<u8> {
    (0..500_000).map(|index| (index % 251) as u8).collect()
}

#[test]
fn a_sample_that_shared_memory_refuses_goes_in_fragments() {
    for answer in [too_large, no_memory] {
        let mut scene = Scene::new(answer);
        scene.write(&as_dust_writes(&payload(), &[], true), |scene| &scene.narrow);
        assert!(scene.heard_by_udp() == payload(), "whole and in order");
        let traffic = scene.writer.shared().tally.traffic();
        assert_eq!((traffic.udp.samples_sent, traffic.fragmented, traffic.unserved), (1, 1, 0));
    }
}

/// Keeps what is warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut said = String::new();
        event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            said.push_str(&format!("{value:?}"));
        });
        self.0.lock().push(said);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn that_there_is_no_memory_is_said_once_with_the_limit_and_the_path_used_instead() {
    for (answer, count) in [(no_memory as fn(usize) -> _, 1), (too_large, 0), (full, 0)] {
        let (mut scene, warnings) = (Scene::new(answer), Warnings::default());
        // Where there is one alone, `tracing` believes what another thread without any was told of a callsite.
        let _second = tracing::Dispatch::new(Warnings::default());
        tracing::subscriber::with_default(warnings.clone(), || {
            for _ in 0..3 {
                scene.write(&as_dust_writes(&payload(), &[], true), |scene| &scene.narrow);
            }
        });
        let said = warnings.0.lock();
        assert_eq!(said.len(), count, "{said:?}");
        assert!(said.iter().all(|said| said.contains("memory: a test") && said.contains("UDP")), "{said:?}");
    }
}

#[test]
fn a_sample_that_dust_writes_in_chunks_counts_once() {
    let mut scene = Scene::new(too_large);
    let chunk_len = scene.writer.shared().fragmenter.chunk_len();
    let sample = vec![7; 2 * chunk_len + 1_000];
    for number in 1..=3 {
        scene.write(&chunk_as_dust_writes(&sample, chunk_len, number), |scene| &scene.narrow);
    }
    assert!(scene.heard_by_udp() == sample);
    let traffic = scene.writer.shared().tally.traffic();
    assert_eq!((traffic.udp.samples_sent, traffic.fragmented, traffic.unserved), (1, 1, 0));
    let counters = scene.writer.shared().router.counters();
    assert_eq!(counters.too_large_messages, 1, "each chunk would fit, and the sample does not");
}

#[test]
fn a_peer_that_takes_little_is_served_beside_one_that_takes_everything() {
    let mut scene = Scene::new(too_large);
    let sample = as_dust_writes(&payload(), &[], true);
    for _ in 0..2 {
        scene.write(&sample, |scene| &scene.wide);
        scene.write(&sample, |scene| &scene.narrow);
    }
    assert!(scene.heard_by_udp() == payload().repeat(2), "the first, too, which lay in lent memory");
    let traffic = scene.writer.shared().tally.traffic();
    assert_eq!((traffic.shm.samples_sent, traffic.udp.samples_sent, traffic.unserved), (2, 2, 0));
}

#[test]
fn a_peer_that_has_taken_as_much_before_gets_the_very_memory_that_was_lent() {
    let mut scene = Scene::new(too_large);
    let mut loans = |payload: &[u8]| {
        let lent = |scene: &Scene| scene.writer.shared().router.shm().lent.load(Ordering::Relaxed);
        let before = lent(&scene);
        scene.write(&as_dust_writes(payload, &[], false), |scene| &scene.wide);
        lent(&scene) - before
    };
    // Of the first one nothing foretold that it is large.
    let longer = [payload(), payload()].concat();
    assert_eq!([&payload(), &payload(), &longer, &longer].map(|payload| loans(payload)), [1, 1, 2, 1]);
}

#[test]
fn whoever_comes_after_a_thousand_peers_takes_the_place_of_one_of_them() {
    let mut scene = Scene::new(too_large);
    let taken = Capacity { len_taken: 1, ..Capacity::default() };
    for port in 0..2 * CAPACITIES_MAX as u32 {
        let locator = Locator::new(Locator::KIND_SHARED_MEMORY, port, [1; 16]);
        (0..2).for_each(|_| scene.writer.note(locator, taken));
        assert_eq!(scene.writer.capacity(Peer::new(&[locator])).len_taken, 1);
        assert_eq!(scene.writer.capacities.len(), CAPACITIES_MAX.min(port as usize + 1));
    }
}

#[test]
fn a_sample_of_which_no_fragment_left_counts_as_unserved_alone() {
    let mut scene = Scene::new(too_large);
    scene.writer.shared().router.udp().close();
    scene.write(&as_dust_writes(&payload(), &[], true), |scene| &scene.narrow);
    let traffic = scene.writer.shared().tally.traffic();
    assert_eq!((traffic.udp.samples_sent, traffic.fragmented, traffic.unserved), (0, 0, 1));
    assert!(scene.writer.shared().router.reports().iter().all(|report| report.sent_by_udp == 0));
}

#[test]
fn all_fragments_of_a_sample_share_one_patience_that_is_as_long_as_the_sample() {
    let mut scene = Scene::with(too_large, 4 << 20);
    scene.write(&as_dust_writes(&vec![7; 5 << 19], &[], true), |scene| &scene.narrow);
    let given = PATIENCES.take();
    assert_eq!(given[0], format!("{:?}", Patience::for_bytes(5 << 19)));
    assert!(given.len() > 32 && given[1..].iter().all(|one| *one == format!("{:?}", left())), "{given:?}");
}

#[test]
fn what_a_peer_of_another_user_has_refused_is_not_offered_to_it_again() {
    let mut scene = Scene::new(too_large);
    (0..3).for_each(|_| scene.write(&as_dust_writes(&payload(), &[], true), |scene| &scene.narrow));
    assert!(scene.heard_by_udp() == payload().repeat(3));
    assert_eq!(scene.writer.shared().router.shm().asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_peer_without_room_for_samples_is_stalled_though_a_heartbeat_finds_room() {
    let mut scene = Scene::new(full);
    let stalled = |scene: &Scene| scene.writer.capacity(Peer::new(&scene.narrow[0].locators())).stalled;
    scene.write(&as_dust_writes(&payload(), &[], true), |scene| &scene.narrow);
    assert!(stalled(&scene));
    let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 128);
    let fields = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 42, count: 1 };
    heartbeat.info_dst(PEER).heartbeat(fields);
    scene.write(heartbeat.as_bytes(), |scene| &scene.narrow);
    assert!(stalled(&scene), "the next sample would be waited for in vain");
    scene.write(&as_dust_writes(b"small", &[], true), |scene| &scene.narrow);
    assert!(!stalled(&scene));
}

#[test]
fn a_full_socket_is_no_sign_that_the_peer_has_no_room() {
    let mut scene = Scene::new(too_large);
    let Narrow { inner, .. } = scene.writer.shared().router.shm();
    scene.hub.link_down(inner, &scene.narrow[0], &Reason::PeerClosed);
    for _ in 0..=1 << 10 {
        scene.write(&as_dust_writes(b"small", &[], true), |scene| &scene.narrow);
    }
    assert_eq!((scene.narrow[1].queued(), scene.writer.shared().tally.traffic().unserved), (1 << 10, 1));
    assert!(!scene.writer.capacity(Peer::new(&scene.narrow[0].locators())).stalled);
}

#[test]
fn a_heartbeat_between_large_samples_is_not_lent_what_the_samples_are() {
    let mut scene = Scene::new(too_large);
    let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 128);
    let fields = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 42, count: 1 };
    heartbeat.info_dst(PEER).heartbeat(fields);
    let (heartbeat, sample) = (heartbeat.into_bytes(), as_dust_writes(&payload(), &[], true));
    let mut lent = |message: &[u8]| {
        scene.writer.write_buffer_mut();
        let lent = scene.writer.lent.is_some();
        scene.write(message, |scene| &scene.wide);
        lent
    };
    (0..3).for_each(|_| _ = lent(&sample));
    assert!(lent(&sample));
    lent(&heartbeat);
    assert!(!lent(&heartbeat), "what follows a small message");
    (0..4).for_each(|_| _ = (lent(&sample), lent(&heartbeat)));
    for _ in 0..4 {
        assert_eq!((lent(&sample), lent(&heartbeat)), (true, false), "they take turns");
    }
}

/// A message of Dust's, addressed to Dust itself.
fn to_ourselves(mut message: Vec<u8>) -> Vec<u8> {
    message[24..36].copy_from_slice(&ourselves().0);
    message
}

fn ourselves() -> GuidPrefix {
    header(&HEADER).expect("a header")
}

/// Dust announces itself: before that, nothing it says to itself is heard.
fn announcement() -> Vec<u8> {
    let mut announcement = MessageWriter::new(&HEADER, Endianness::Little, 64);
    let (reader, writer) = (EntityId::SPDP_READER, EntityId::SPDP_WRITER);
    announcement
        .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: 1 })
        .verbatim(&[0, 3, 0, 0, 1, 0, 0, 0]);
    announcement.into_bytes()
}

impl Scene {
    /// The payloads of sample 42 that Dust is given before another sample, which is written now.
    fn heard_from_ourselves(&mut self) -> Vec<Vec<u8>> {
        let heard = self.heard_before_another_sample().into_iter();
        heard.filter(|&(writer, ..)| writer == WRITER).map(|(.., payload)| payload).collect()
    }

    /// Every sample that Dust is given before another one, for another reader, which is written now: its writer, number and
    /// payload.
    fn heard_before_another_sample(&mut self) -> Vec<(EntityId, i64, Vec<u8>)> {
        let mut last = to_ourselves(as_dust_writes(b"the last", &[], false));
        last[56..60].copy_from_slice(&[0, 0, 9, 4]);
        last[68] = 43;
        self.write(&last, |scene| &scene.narrow);
        let mut heard = Vec::new();
        loop {
            let message = self.dust.recv_timeout(Duration::from_secs(60)).expect("the last one comes");
            for submessage in Submessages::of(&message).map(|one| one.expect("whole")) {
                match Content::read(&submessage) {
                    Ok(Content::Data(data)) if data.sequence_number == 43 => return heard,
                    Ok(Content::Data(data)) => {
                        heard.push((data.writer, data.sequence_number, data.payload.to_vec()))
                    }
                    _ => {}
                }
            }
        }
    }

    /// The numbers of those announcements of an endpoint that Dust is given of these, which it writes to a peer.
    fn heard_of_endpoints(&mut self, numbers: &[i64]) -> Vec<i64> {
        numbers.iter().for_each(|&number| self.write(&endpoint(number), |scene| &scene.narrow));
        let heard = self.heard_before_another_sample().into_iter();
        heard
            .filter_map(|(writer, number, _)| {
                (writer == EntityId::SEDP_SUBSCRIPTIONS_WRITER).then_some(number)
            })
            .collect()
    }
}

#[test]
fn a_sample_that_dust_writes_in_chunks_reaches_readers_of_our_own() {
    let mut scene = Scene::new(too_large);
    scene.write(&announcement(), |scene| &scene.narrow);
    let chunk_len = scene.writer.shared().fragmenter.chunk_len();
    let sample: Vec<u8> = (0..chunk_len + 100_000).map(|index| (index % 251) as u8).collect();
    let write = |scene: &mut Scene| {
        for number in 1..=2 {
            let chunk = to_ourselves(chunk_as_dust_writes(&sample, chunk_len, number));
            scene.write(&chunk, |scene| &scene.narrow);
        }
    };
    write(&mut scene);
    assert!(scene.heard_from_ourselves() == [&sample[..]], "once and whole");
    write(&mut scene);
    assert!(scene.heard_from_ourselves().is_empty(), "as for another reader of ours, which has it");
    // A reader that could not take it asks for it again.
    let mut asks = MessageWriter::new(&HEADER, Endianness::Little, 128);
    asks.info_dst(ourselves()).acknack(AckNackFields { reader: READER, writer: WRITER, base: 42, count: 1 });
    let mut asks = asks.into_bytes();
    let bitmap_at = asks.len() - 8;
    asks.splice(bitmap_at..bitmap_at + 4, [1, 0, 0, 0, 0, 0, 0, 0x80]);
    asks[38] += 4;
    scene.write(&asks, |scene| &scene.narrow);
    write(&mut scene);
    assert!(scene.heard_from_ourselves() == [&sample[..]]);
}

/// Dust announces a reliable reader, by this sample of its SEDP writer, to a peer.
fn endpoint(number: i64) -> Vec<u8> {
    let mut endpoint = MessageWriter::new(&HEADER, Endianness::Little, 128);
    let (reader, writer) = (EntityId::UNKNOWN, EntityId::SEDP_SUBSCRIPTIONS_WRITER);
    let (guid, reliable) =
        (Guid { prefix: ourselves(), entity: READER }, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    endpoint
        .info_dst(PEER)
        .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: number })
        .verbatim(&[0, 3, 0, 0])
        .parameter(pid::ENDPOINT_GUID, &guid.to_bytes())
        .parameter(pid::RELIABILITY, &reliable)
        .parameter(pid::SENTINEL, &[]);
    let mut endpoint = endpoint.into_bytes();
    let len = endpoint.len() - 40;
    endpoint[38..40].copy_from_slice(&(len as u16).to_le_bytes());
    let heartbeat = Heartbeat { reader, writer, first: 1, last: number, count: 1 };
    let heartbeat =
        MessageWriter::new(&HEADER, Endianness::Little, 64).heartbeat(heartbeat).as_bytes()[20..].to_vec();
    endpoint.extend(heartbeat);
    endpoint
}

#[test]
fn what_dust_announces_of_an_endpoint_to_others_is_heard_once_though_it_says_nothing_of_it_to_itself() {
    let mut scene = Scene::new(too_large);
    scene.write(&announcement(), |scene| &scene.narrow);
    assert_eq!(scene.heard_of_endpoints(&[7, 7, 8, 7]), [7, 8]);
    let mut asks = MessageWriter::new(&HEADER, Endianness::Little, 128);
    asks.info_dst(PEER).acknack(AckNackFields { reader: READER, writer: WRITER, base: 1, count: 1 });
    scene.write(asks.as_bytes(), |scene| &scene.narrow);
    let writer = Guid { prefix: PEER, entity: WRITER };
    assert!(scene.writer.shared().contacts.has_reliable(&writer), "it can be asked for fragments");
}

#[test]
fn an_older_announcement_of_an_endpoint_is_heard_after_a_newer_one_and_the_newer_one_again_after_it() {
    let mut scene = Scene::new(too_large);
    scene.write(&announcement(), |scene| &scene.narrow);
    assert_eq!(scene.heard_of_endpoints(&[8, 7, 7, 8, 8]), [8, 7, 8]);
}

#[test]
fn of_a_sample_a_chunk_of_which_found_no_room_to_ourselves_dust_hears_with_the_next_heartbeat() {
    let mut scene = Scene::new(too_large);
    let gate = Arc::clone(&scene.gate);
    let closed = gate.lock();
    scene.write(&announcement(), |scene| &scene.narrow);
    let chunk_len = scene.writer.shared().fragmenter.chunk_len();
    let sample: Vec<u8> = (0..chunk_len + 100_000).map(|index| (index % 251) as u8).collect();
    let chunks = [1, 2].map(|number| to_ourselves(chunk_as_dust_writes(&sample, chunk_len, number)));
    scene.write(&chunks[0], |scene| &scene.narrow);
    for len in [1 << 24, 1 << 20, 1 << 14, 1 << 10] {
        while scene.writer.shared().loopback.push(vec![0; len]) {}
    }
    scene.write(&chunks[1], |scene| &scene.narrow);
    assert_eq!(scene.writer.shared().tally.traffic().unserved, 1);
    drop(closed);
    let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 128);
    let fields = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 42, count: 1 };
    let heartbeat = to_ourselves(heartbeat.info_dst(PEER).heartbeat(fields).as_bytes().to_vec());
    let last = loop {
        // Dust says it again until it is answered: this one, too, may find no room.
        scene.write(&heartbeat, |scene| &scene.narrow);
        let Ok(message) = scene.dust.recv_timeout(Duration::from_millis(10)) else { continue };
        let said = Outgoing::read(&message).expect("a message").read_heartbeat(&message);
        if let Some(Heartbeat { last, .. }) = said {
            break last;
        }
    };
    assert_eq!(last, 42, "so Dust asks for it");
    chunks.iter().for_each(|chunk| scene.write(chunk, |scene| &scene.narrow));
    assert!(scene.heard_from_ourselves() == [&sample[..]]);
}

#[test]
fn nothing_is_sent_to_a_reader_that_left_be_it_whole_or_in_chunks_another_s_or_our_own() {
    let mut scene = Scene::new(too_large);
    scene.write(&announcement(), |scene| &scene.narrow);
    let chunk_len = scene.writer.shared().fragmenter.chunk_len();
    let sample = vec![7; chunk_len + 1_000];
    let mut messages = vec![as_dust_writes(b"small", &[], true)];
    messages.extend([1, 2].map(|number| chunk_as_dust_writes(&sample, chunk_len, number)));
    let sent = |scene: &Scene| scene.narrow.each_ref().map(Memory::queued).iter().sum::<usize>();
    for leaves in [false, true] {
        if leaves {
            let departed = &scene.writer.shared().departed;
            [PEER, ourselves()].iter().for_each(|&prefix| departed.left(Guid { prefix, entity: READER }));
        }
        for message in &messages {
            let before = sent(&scene);
            scene.write(message, |scene| &scene.narrow);
            assert_eq!(sent(&scene) == before, leaves, "to another");
            scene.write(&to_ourselves(message.clone()), |scene| &scene.narrow);
        }
        assert_eq!(scene.heard_from_ourselves().is_empty(), leaves, "to ourselves");
    }
}

/// As Dust answers a request for fragments of this writer: with the sample, if it has it, or a GAP.
fn answers(writer: EntityId) -> [Vec<u8>; 2] {
    let message = || MessageWriter::new(&HEADER, Endianness::Little, 1024);
    let [mut sample, mut gap] = [message(), message()];
    let fields = DataFragFields {
        flags: 0,
        reader: READER,
        writer,
        sequence_number: 42,
        first: 1,
        fragment_len: u16::MAX,
        sample_len: 500,
    };
    sample.info_dst(PEER).data_frag(fields, &[], &[7; 500]);
    let numbers = [&[0, 0, 0, 0, 42, 0, 0, 0][..], &[0, 0, 0, 0, 43, 0, 0, 0], &[0; 4]].concat();
    let header = [kind::GAP, flag::ENDIANNESS, 28, 0];
    gap.info_dst(PEER).verbatim(&[&header[..], &EntityId::UNKNOWN.0, &writer.0, &numbers].concat());
    [sample.into_bytes(), gap.into_bytes()]
}

#[test]
fn nothing_is_sent_of_what_dust_answers_for_a_writer_that_was_not_asked() {
    let mut scene = Scene::new(too_large);
    let (bits, bitmap, count) = (0, [0; 8], 1);
    let fields =
        NackFragFields { reader: READER, writer: WRITER, sequence_number: 42, base: 1, bits, bitmap, count };
    let mut nack = MessageWriter::new(&HEADER, Endianness::Little, 64);
    let nack = nack.nack_frag(&fields).as_bytes();
    let submessage = Submessages::of(nack).next().expect("one").expect("whole");
    let Ok(Content::NackFrag(nack)) = Content::read(&submessage) else { panic!("no NACK_FRAG") };
    for _ in 0..3 {
        let Shared { wanted, fragmenter, .. } = scene.writer.shared();
        let _ =
            wanted.note(Guid { prefix: PEER, entity: READER }, &nack, fragmenter, &mut Default::default());
    }
    let sent = |scene: &Scene| scene.narrow.each_ref().map(Memory::queued).iter().sum::<usize>();
    let messages = |scene: &mut Scene, messages: &[Vec<u8>]| {
        let before = sent(scene);
        messages.iter().for_each(|message| scene.write(message, |scene| &scene.narrow));
        sent(scene) - before
    };
    let other = EntityId([0, 0, 9, 3]);
    assert_eq!(messages(&mut scene, &answers(other)), 0);
    for (writer, last) in [(other, 41), (WRITER, 42)] {
        let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 128);
        heartbeat.info_dst(PEER).heartbeat(Heartbeat { reader: READER, writer, first: 1, last, count: 1 });
        assert_eq!(messages(&mut scene, &[heartbeat.into_bytes()]), 1);
    }
    assert_eq!(messages(&mut scene, &answers(other)), 0, "it has written less");
    assert_eq!(messages(&mut scene, &answers(WRITER)), 2, "it was asked");
    let mut sample = as_dust_writes(b"small", &[], true);
    for at in [60, sample.len() - 24] {
        sample[at..at + 4].copy_from_slice(&other.0);
    }
    assert_eq!(messages(&mut scene, &[sample]), 1);
    assert_eq!(messages(&mut scene, &answers(other)[1..]), 1, "it had this sample, and has it no longer");
}

#[test]
fn however_short_messages_are_there_is_room_for_what_dust_does_not_cut() {
    let hub = Hub::new();
    for datagram_max in [0, 1232, 65_507] {
        let (shm, udp) = (hub.open(Path::SharedMemory, 0, 1), hub.open(Path::Udp, datagram_max, 1));
        let running = start(shm, udp, &Arc::<Registry>::default(), |_, _: &_| {}).expect("a thread");
        assert!(Writer::new(running).write_buffer_mut().len() >= 65_507);
    }
}
