//! The receive thread of a participant: takes from both transports and from ourselves, gives to Dust.
//!
//! It sleeps in the router's receiver, whose descriptors and the loopback's wake it; with nothing to do it uses
//! no CPU. It wakes by itself only while fragments of a reliable writer are missing, and when a participant has been silent for
//! as long as its lease. Leases end when nothing is left to be received: what waited while this process was stopped
//! shows who lives. Where there is always something, they end once more has been received than can have waited; that is counted, as
//! a clock goes on while a process is stopped.

use crate::datagrams::Datagrams;
use crate::inbound::Inbound;
use crate::participant::Shared;
use crate::rtps::header;
use crate::writer::PATIENCE;
use dust_dds::transport::interface::TransportDataReceiver;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::future::Future;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake as WakeTask, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Message, Path, Peer, Reason, Receiver, Transport, Wake};

/// What the receive thread works with.
pub(crate) struct Reception<S, U, D> {
    shared: Arc<Shared<S, U>>,
    inbound: Inbound,
    /// Messages for Dust from the message in hand.
    out: Vec<Vec<u8>>,
    dust: D,
}

impl<S: Transport, U: Datagrams, D: FnMut(Vec<u8>, &AtomicBool)> Reception<S, U, D> {
    pub(crate) fn new(shared: Arc<Shared<S, U>>, dust: D) -> Self {
        let inbound = shared.inbound();
        Self { shared, inbound, out: Vec::new(), dust }
    }

    /// Receives until the participant is stopped.
    pub(crate) fn run(mut self, mut receiver: Option<impl Receiver>) {
        let shared = Arc::clone(&self.shared);
        let mut overdue = Overdue::default();
        while !shared.is_stopped() {
            let own = shared.loopback.take();
            let incoming = receiver.as_mut().and_then(Receiver::try_receive);
            let idle = own.is_none() && incoming.is_none();
            let now = Instant::now();
            if let Some(message) = own {
                self.inbound.message(&message, None, shared.prefix(), now, &mut self.out);
            }
            if let (Some(incoming), Some(receiver)) = (incoming, &mut receiver) {
                self.incoming(incoming, receiver, now);
            }
            let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
            let (missing, silent) = (self.inbound.deadline(), self.inbound.lease_deadline());
            if is_due(missing) {
                self.ask_for_fragments(now);
            } else if is_due(silent) {
                if let Some(as_of) = overdue.turn(now, idle) {
                    self.inbound.end_leases(as_of, &mut self.out);
                }
            } else if idle {
                sleep(&mut receiver, missing.into_iter().chain(silent).min(), &shared.loopback);
            }
            self.give();
        }
    }

    /// Sends what others are to hear, and gives Dust what it has to see, whatever brought it about.
    fn give(&mut self) {
        for answer in self.inbound.answers() {
            let delivery = Delivery::Reliable { deadline: Instant::now() + PATIENCE };
            let _ = self.shared.router.send_bytes(&answer.message, &[Peer::new(&answer.locators)], delivery);
        }
        for message in self.out.drain(..) {
            (self.dust)(message, &self.shared.stopped);
        }
    }

    fn incoming<R: Receiver>(&mut self, incoming: Incoming<R::Message>, receiver: &mut R, now: Instant) {
        match incoming {
            Incoming::Message(message) => self.messages(message, receiver, now),
            Incoming::PeerUp(peer) => self.announce_to(peer),
            Incoming::PeerDown(peer, reason) => {
                // For any other reason the participant may live.
                let has_ended = matches!(reason, Reason::PeerGone | Reason::PeerDied | Reason::PeerClosed);
                self.inbound.unlinked(&peer, has_ended, now, &mut self.out);
            }
            _ => {}
        }
    }

    /// Takes a message and those that came along with it and may follow it. There are no more of those than one
    /// system call brings. The clock is read again after Dust was given something, which may have waited for room in its inbox.
    fn messages<R: Receiver>(&mut self, first: R::Message, receiver: &mut R, mut now: Instant) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.message(&message, message.path(), message.source(), now);
            if !self.out.is_empty() {
                self.give();
                now = Instant::now();
            }
            next = self.inbound.follow(&message, || receiver.try_receive_along());
        }
    }

    fn message(&mut self, message: &[u8], path: Path, source: Option<Locator>, now: Instant) {
        if let (Path::SharedMemory, Some(source), Ok(prefix)) = (path, source, header(message)) {
            self.inbound.linked(source, prefix);
        }
        self.inbound.message(message, Some(path), self.shared.prefix(), now, &mut self.out);
    }

    /// Tells a peer that has become reachable through shared memory that we exist.
    fn announce_to(&self, peer: Locator) {
        let announcement = self.shared.announcement.lock().clone();
        if let Some(announcement) = announcement {
            let delivery = Delivery::Reliable { deadline: Instant::now() + PATIENCE };
            // Whoever misses it hears the next one.
            let _ = self.shared.router.send_bytes(&announcement, &[Peer::new(&[peer])], delivery);
        }
    }

    fn ask_for_fragments(&mut self, now: Instant) {
        // Before Dust has said anything there is nobody to ask, but time passes for what is incomplete.
        let header = self.shared.header.get().copied().unwrap_or_default();
        for request in self.inbound.requests(&header, now, &mut self.out) {
            // A request that gets lost is repeated.
            let _ = self.shared.router.send_bytes(
                &request.message,
                &[Peer::new(&request.locators)],
                Delivery::Reliable { deadline: now + PATIENCE },
            );
        }
    }
}

/// A lease may be over, and what shows that it is not may still wait to be received.
#[derive(Debug, Default)]
struct Overdue {
    since: Option<Instant>,
    turns: u32,
}

impl Overdue {
    /// One more turn of the receive thread, idle or not; as of when leases end in it, if any do. Who had been silent for too long
    /// when that was noticed, in an earlier turn, and is not heard in as many as can have waited, is silent, wherever
    /// this process was stopped meanwhile.
    fn turn(&mut self, now: Instant, idle: bool) -> Option<Instant> {
        let Some(since) = self.since else {
            *self = Self { since: Some(now), turns: 0 };
            return None;
        };
        self.turns += 1;
        let is_read = idle || self.turns >= BACKLOG_MAX;
        is_read.then(|| {
            self.since = None;
            since
        })
    }
}

/// Several times as many as a socket's buffer of the default size holds of the smallest datagrams.
const BACKLOG_MAX: u32 = 1 << 16;

/// Sleeps until something may have come from the transports or the loopback, or the deadline passes.
fn sleep(receiver: &mut Option<impl Receiver>, deadline: Option<Instant>, loopback: &impl AsFd) {
    let closed = match receiver {
        Some(receiver) => receiver.wait(deadline, &[loopback.as_fd()]) == Wake::Closed,
        None => true,
    };
    if closed {
        // Neither transport is there, or both are closing: only the loopback has anything to say.
        let fd = PollFd::new(loopback, PollFlags::IN);
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let _ = poll(&mut [fd], timeout.as_ref());
    }
}

/// Gives a message to Dust, waiting for room in its inbox until the participant is stopped.
pub(crate) fn give_to(
    dust: &TransportDataReceiver,
    turn: &Mutex<()>,
    message: Vec<u8>,
    stopped: &AtomicBool,
) {
    in_turn(turn, dust.receive_message(message), stopped);
}

/// Waits in turn until `taken` is, or the participant is stopped. The participants of a factory have one inbox, which remembers
/// one waker: two that waited for it would wake each other all the time.
fn in_turn(turn: &Mutex<()>, taken: impl Future<Output = ()>, stopped: &AtomicBool) {
    struct Unpark(Thread);
    impl WakeTask for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    // ORDER: Acquire; pairs with the Release in the drop of `Running`, which unparks after it.
    let is_stopped = || stopped.load(Ordering::Acquire);
    // Never for good: whose turn it is may wait for Dust's thread, and that for the end of this one.
    let _turn = loop {
        match turn.try_lock_for(TURN) {
            Some(turn) => break turn,
            None if is_stopped() => return,
            None => {}
        }
    };
    let mut taken = pin!(taken);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while taken.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
        if is_stopped() {
            return;
        }
        std::thread::park();
    }
}

/// How long a stopped participant may wait for its turn.
const TURN: Duration = Duration::from_millis(10);

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::datagrams::NoUdp;
    use crate::estate::{Estates, GRAVE};
    use crate::fragment::Fragmenter;
    use crate::outgoing::Outgoing;
    use crate::outgoing::tests::{HEADER, PEER, READER, WRITER, announcement, as_dust_writes};
    use crate::rtps::{EntityId, Heartbeat, MessageWriter, pid};
    use bytes::Bytes;
    use dust_dds::dds_async::domain_participant_factory::DomainParticipantFactoryAsync;
    use dust_dds::infrastructure::{listener::NO_LISTENER, qos::QosKind, status::NO_STATUS};
    use dust_dds::runtime::DdsRuntime;
    use dust_dds::std_runtime::StdRuntime;
    use dust_dds::transport::interface::{
        RtpsTransportParticipant, TransportParticipantFactory, WriteMessage,
    };
    use dust_dds::transport::types::Locator as DustLocator;
    use std::ops::Deref;
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;
    use zerodds_core::testing::{Hub, Memory};
    use zerodds_core::{Endianness, Router};

    /// A participant that is new here, and has said nothing yet.
    fn reception() -> Reception<Memory, NoUdp, impl FnMut(Vec<u8>, &AtomicBool)> {
        let shm = Hub::new().open(Path::SharedMemory, 1 << 20, 16);
        let shared = Arc::new(Shared::new(shm, NoUdp).expect("a socket pair"));
        Reception::new(shared, |_, _: &AtomicBool| {})
    }

    /// A reliable sample in four fragments, the last with the HEARTBEAT.
    fn fragments() -> Vec<Vec<u8>> {
        let sample = as_dust_writes(&[7; 200_000], &[], true);
        let outgoing = Outgoing::read(&sample).expect("a message");
        Fragmenter::new(1 << 20, 65_507).datagrams(&sample, &outgoing, None, None, 0)
    }

    fn last_fragment() -> Vec<u8> {
        fragments().pop().expect("fragments")
    }

    #[test]
    fn nothing_is_asked_of_a_participant_that_has_said_goodbye() {
        let mut reception = reception();
        let prefix = header(&HEADER).expect("a header");
        let goodbye = Estates::default().farewell(prefix, None).remove(0);
        let now = Instant::now();
        let mut hear = |message: &[u8]| {
            reception.message(message, Path::Udp, None, now);
            reception.inbound.deadline()
        };
        assert_eq!(hear(&announcement()), None);
        assert!(hear(&last_fragment()).is_some(), "the rest is missing");
        assert_eq!(hear(&goodbye), None);
    }

    /// What Dust hears, `count` messages of it, where a participant announces itself with this lease, and then there is what the
    /// receiver has.
    fn heard(lease: [u8; 8], receiver: Option<impl Receiver>, count: usize) -> Vec<Vec<u8>> {
        let shm = Hub::new().open(Path::SharedMemory, 1 << 20, 16);
        let shared = Arc::new(Shared::new(shm, NoUdp).expect("a socket pair"));
        let (give, given) = std::sync::mpsc::channel();
        let dust = move |message, _: &AtomicBool| drop(give.send(message));
        let reception = Reception::new(Arc::clone(&shared), dust);
        let mut announcement = announcement();
        announcement.truncate(announcement.len() - 4);
        announcement.extend([&[2, 0, 8, 0][..], &lease, &[1, 0, 0, 0]].concat());
        assert!(shared.loopback.push(announcement));
        let receiving = std::thread::spawn(move || reception.run(receiver));
        let hear = |_| given.recv_timeout(Duration::from_secs(60)).expect("still receiving");
        let heard = (0..count).map(hear).collect();
        shared.stopped.store(true, Ordering::Release);
        shared.loopback.close();
        receiving.join().expect("it ends");
        heard
    }

    #[test]
    fn what_others_are_to_hear_is_sent_though_no_datagram_brought_it_about() {
        let hub = Hub::new();
        let [shm, peer] = [(); 2].map(|()| hub.open(Path::SharedMemory, 1 << 20, 16));
        hub.link_up(&shm, &peer);
        let shared = Arc::new(Shared::new(shm, NoUdp).expect("a socket pair"));
        shared.header.set(PEER.header()).expect("nobody has spoken yet");
        let mut reception = Reception::new(Arc::clone(&shared), |_, _: &AtomicBool| {});
        let mut announcement = announcement();
        announcement.truncate(announcement.len() - 4);
        let mut more = MessageWriter::new(&HEADER, Endianness::Little, 64);
        let locator = peer.locators()[0].to_bytes(Endianness::Little);
        more.parameter(pid::METATRAFFIC_UNICAST_LOCATOR, &locator).parameter(pid::SENTINEL, &[]);
        announcement.extend(&more.into_bytes()[HEADER.len()..]);
        let (before, now, own) = (peer.queued(), Instant::now(), shared.prefix());
        reception.inbound.message(&announcement, None, own, now, &mut reception.out);
        let prefix = header(&HEADER).expect("a header");
        reception.inbound.died(prefix, now, &mut reception.out);
        reception.inbound.message(&announcement, None, own, now + GRAVE, &mut reception.out);
        reception.give();
        assert_eq!(peer.queued() - before, 1, "that we have gone");
    }

    fn farewell() -> Vec<u8> {
        Estates::default().farewell(header(&HEADER).expect("a header"), None).remove(0)
    }

    #[test]
    fn who_stays_silent_is_taken_leave_of_as_soon_as_its_lease_ends() {
        let heard = heard([0, 0, 0, 0, 0, 0, 0, 0x10], NoUdp.receiver(), 2);
        assert_eq!(header(&heard[0]), header(&HEADER));
        assert_eq!(heard[1], farewell());
    }

    #[test]
    fn what_waits_in_shared_memory_is_given_to_dust_before_its_participant_s_goodbye_that_udp_brought() {
        let hub = Hub::new();
        let [shm, peer_shm] = [(); 2].map(|()| hub.open(Path::SharedMemory, 1 << 20, 32));
        let [udp, peer_udp] = [(); 2].map(|()| hub.open(Path::Udp, 65_507, 32));
        hub.link_up(&shm, &peer_shm);
        let locators = [&shm, &udp].map(|ours| ours.locators());
        let mut receiver = Router::new(shm, udp).receiver().expect("taken once");
        assert!(matches!(receiver.try_receive(), Some(Incoming::PeerUp(_))));
        let send = |peer: &Memory, message: &[u8]| {
            let sent = peer.send_bytes(message, &[Peer::new(&locators.concat())], Delivery::BestEffort);
            assert!(sent.expect("sent").unserved.is_empty());
        };
        let samples: Vec<_> = (0..20).map(|number| as_dust_writes(&[number; 9], &[], true)).collect();
        samples.iter().for_each(|sample| send(&peer_shm, sample));
        [&peer_udp, &peer_shm].iter().for_each(|peer| send(peer, &farewell()));
        let heard = heard([100, 0, 0, 0, 0, 0, 0, 0], Some(receiver), 1 + samples.len() + 1);
        assert_eq!(heard[1..], [&samples[..], &[farewell()]].concat());
    }

    #[test]
    fn a_process_that_was_stopped_after_it_had_found_nothing_to_receive_looks_again() {
        let (mut overdue, resumed) = (Overdue::default(), Instant::now());
        assert_eq!(overdue.turn(resumed, true), None);
        let later = resumed + Duration::from_secs(200);
        assert_eq!(overdue.turn(later, true), Some(resumed), "nothing had come by then");
        assert_eq!(overdue.turn(later, true), None, "the next lease");
    }

    /// Always has another message: of strangers, but for two.
    struct Stream {
        turn: u32,
        heartbeat: Bytes,
        /// Came along with it.
        along: Option<Vec<u8>>,
    }

    const HEARTBEATS_AT: [u32; 2] = [BACKLOG_MAX / 2, BACKLOG_MAX + BACKLOG_MAX / 2];

    struct Datagram(Bytes);

    impl Deref for Datagram {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl From<Datagram> for Bytes {
        fn from(datagram: Datagram) -> Self {
            datagram.0
        }
    }

    impl Message for Datagram {
        fn path(&self) -> Path {
            Path::Udp
        }

        fn source(&self) -> Option<Locator> {
            None
        }
    }

    impl Receiver for Stream {
        type Message = Datagram;

        fn try_receive(&mut self) -> Option<Incoming<Datagram>> {
            self.turn += 1;
            let strange = Bytes::from_static(b"RTPS\x02\x04\x01\x14someone else");
            let its = HEARTBEATS_AT.contains(&self.turn);
            Some(Incoming::Message(Datagram(if its { self.heartbeat.clone() } else { strange })))
        }

        fn try_receive_along(&mut self) -> Option<Datagram> {
            self.along.take().map(|along| Datagram(along.into()))
        }

        fn wait(&mut self, _: Option<Instant>, _: &[BorrowedFd<'_>]) -> Wake {
            Wake::Ready
        }

        fn arm(&mut self) -> Wake {
            Wake::Ready
        }

        fn readiness(&self) -> Vec<BorrowedFd<'_>> {
            Vec::new()
        }
    }

    #[test]
    fn what_follows_a_message_that_dust_had_to_make_room_for_came_after_that() {
        let given = std::cell::Cell::new(None);
        let shm = Hub::new().open(Path::SharedMemory, 1 << 20, 16);
        let shared = Arc::new(Shared::new(shm, NoUdp).expect("a socket pair"));
        let mut reception = Reception::new(shared, |_, _: &AtomicBool| given.set(Some(Instant::now())));
        let before = Instant::now().checked_sub(Duration::from_secs(1)).expect("up for a second");
        let [first, mut second, third, _] = fragments().try_into().expect("four");
        reception.message(&announcement(), Path::Udp, None, before);
        reception.message(&first, Path::Udp, None, before);
        let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 64);
        let (reader, writer) = (READER, WRITER);
        heartbeat.heartbeat(Heartbeat { reader, writer, first: 1, last: 42, count: 1 });
        second.splice(HEADER.len()..HEADER.len(), heartbeat.into_bytes().split_off(HEADER.len()));
        let mut receiver = Stream { turn: 0, heartbeat: Bytes::new(), along: Some(third) };
        reception.messages(Datagram(second.into()), &mut receiver, before);
        assert!(receiver.along.is_none());
        assert!(reception.inbound.deadline() > given.get(), "the third fragment came later");
    }

    #[test]
    fn who_stays_silent_is_taken_leave_of_though_there_is_always_more_but_not_before_what_may_have_waited() {
        let mut heartbeat = MessageWriter::new(&HEADER, Endianness::Little, 64);
        let (reader, writer) = (EntityId::UNKNOWN, EntityId([0, 0, 1, 3]));
        heartbeat.heartbeat(Heartbeat { reader, writer, first: 1, last: 1, count: 1 });
        let heartbeat = Bytes::from(heartbeat.into_bytes());
        // Over whenever nothing of it is at hand.
        let lease = [0; 8];
        let heard = heard(lease, Some(Stream { turn: 0, heartbeat: heartbeat.clone(), along: None }), 4);
        assert_eq!(header(&heard[0]), header(&HEADER));
        assert_eq!(heard[1..], [heartbeat.to_vec(), heartbeat.to_vec(), farewell()]);
    }

    #[test]
    fn a_participant_that_has_said_nothing_yet_sleeps_while_fragments_are_missing() {
        let mut reception = reception();
        for message in [announcement(), last_fragment()] {
            reception.message(&message, Path::Udp, None, Instant::now());
        }
        let due = reception.inbound.deadline().expect("the rest is missing");
        reception.ask_for_fragments(due);
        assert!(
            reception.inbound.deadline().is_none_or(|next| next > due),
            "what stays due lets nobody sleep"
        );
    }

    /// Hands out the inboxes of a factory's participants, which say nothing.
    struct Inboxes(mpsc::Sender<TransportDataReceiver>);

    struct Mute([u8; 1]);

    impl WriteMessage for Mute {
        fn write_buffer_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }

        fn write_message(&mut self, _: usize, _: &[DustLocator]) {}
    }

    impl TransportParticipantFactory for Inboxes {
        fn create_participant(&self, _: i32, inbox: TransportDataReceiver) -> RtpsTransportParticipant {
            self.0.send(inbox).expect("waited for");
            RtpsTransportParticipant {
                message_writer: Box::new(Mute([0])),
                default_unicast_locator_list: Vec::new(),
                metatraffic_unicast_locator_list: Vec::new(),
                metatraffic_multicast_locator_list: Vec::new(),
                default_multicast_locator_list: Vec::new(),
                fragment_size: 1,
            }
        }
    }

    fn is_ready_at_once(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// The inboxes of two participants of one factory, which have no room: Dust's thread never comes to them.
    fn full_inboxes() -> [TransportDataReceiver; 2] {
        let (runtime, (give, given)) = (StdRuntime::new(), mpsc::channel());
        runtime.spawner().spawn(async {
            loop {
                std::thread::park();
            }
        });
        let factory =
            DomainParticipantFactoryAsync::new(runtime, [1; 4], [1; 4], Inboxes(give), Default::default());
        let inboxes = [(); 2].map(|()| {
            let created = factory.create_participant(0, QosKind::Default, NO_LISTENER, NO_STATUS);
            assert!(!is_ready_at_once(created));
            given.try_recv().expect("its transport was asked for")
        });
        while is_ready_at_once(inboxes[0].receive_message(Vec::new())) {}
        inboxes
    }

    /// Counts how often it is looked whether Dust has taken a message.
    fn counted(taken: impl Future<Output = ()>, looks: &AtomicU32) -> impl Future<Output = ()> {
        let mut taken = Box::pin(taken);
        std::future::poll_fn(move |context| {
            looks.fetch_add(1, Ordering::Relaxed);
            taken.as_mut().poll(context)
        })
    }

    #[test]
    fn of_two_participants_of_a_factory_one_at_a_time_waits_for_room_in_dusts_inbox_and_both_can_be_stopped()
    {
        let [first, second] = full_inboxes();
        let (turn, stopped, looks) =
            (Mutex::new(()), AtomicBool::new(false), [const { AtomicU32::new(0) }; 2]);
        let wait = |inbox: &TransportDataReceiver, looks, stopped: &_| {
            in_turn(&turn, counted(inbox.receive_message(Vec::new()), looks), stopped);
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&first, &looks[0], &stopped));
            while looks[0].load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            wait(&second, &looks[1], &AtomicBool::new(true));
            stopped.store(true, Ordering::Release);
            waiting.thread().unpark();
        });
        assert_eq!(looks[1].load(Ordering::Relaxed), 0, "it would wake the first, and that it");
    }
}
