//! Whose turn of the reserve it is, who gets a small message, where in the ring a record lies, and who is woken of those that wait.

use super::*;
use crate::testing::{far, fresh_domain, link, until};
use crate::{Config, ShmReceiver, ShmTransport, testing};
use std::sync::mpsc;
use zerodds_core::{Incoming, Loan, Receiver, Transport};

/// A transport, whose ring is filled but for the reserve, and peers with one unread message each, or none.
struct Scene {
    transport: ShmTransport,
    peers: Vec<(ShmTransport, ShmReceiver)>,
    _filling: Vec<ShmLoan>,
}

impl Scene {
    fn new(unread: &[bool]) -> Self {
        let (domain, config) = (fresh_domain(), small());
        let transport = ShmTransport::open(domain, &config);
        let far = Delivery::Reliable { deadline: far() };
        let mut peers = Vec::new();
        for &unread in unread {
            let peer = ShmTransport::open(domain, &config);
            let receiver = peer.receiver().expect("available, and taken once");
            let to = link(&transport, &peer);
            if unread {
                let sent = transport.send_bytes(&[1; 50_000], &[Peer::new(&[to])], far).expect("open");
                assert_eq!(sent.by_shm, 1);
            }
            peers.push((peer, receiver));
        }
        let max = transport.max_message_len();
        let mut filling: Vec<_> = std::iter::from_fn(|| transport.loan(max).ok()).collect();
        drop(filling.pop());
        Self { transport, peers, _filling: filling }
    }

    /// A message in the reserve, which is given to all.
    fn begin(&self) -> ShmSending {
        let loan = self.transport.loan(self.transport.max_message_len()).expect("the reserve");
        let to: Vec<Vec<Locator>> = self.peers.iter().map(|(peer, _)| peer.locators()).collect();
        let to: Vec<Peer<'_>> = to.iter().map(|to| Peer::new(to)).collect();
        let delivery = Delivery::Reliable { deadline: far() };
        self.transport.begin(loan, &to, delivery, Notice::Ring).expect("open")
    }

    /// The length of the next message that this one receives.
    fn take(&mut self, index: usize) -> usize {
        loop {
            if let Some(Incoming::Message(message)) = self.peers[index].1.receive(Some(far())) {
                return message.len();
            }
        }
    }
}

fn small() -> Config {
    Config::default().max_datagram(256 << 10).expect("in range")
}

fn pass_on(sending: &mut ShmSending) -> Turn {
    let shared = Arc::clone(&sending.shared);
    sending.sending.as_mut().expect("unfinished").pass_on(&shared, far())
}

#[test]
fn other_messages_have_their_turn_though_a_receiver_that_reads_nothing_had_none() {
    let scene = Scene::new(&[false, true]);
    let mut sending = scene.begin();
    // The second one has something unread, behind which nothing is offered to it.
    for _ in 0..3 {
        assert!(matches!(pass_on(&mut sending), Turn::Others(_)));
        let shared = Arc::clone(&sending.shared);
        sending.sending.as_mut().expect("unfinished").give(&shared);
    }
}

#[test]
fn a_receiver_that_had_no_turn_has_it_before_other_messages() {
    let mut scene = Scene::new(&[false, true]);
    let mut sending = scene.begin();
    assert_eq!(scene.take(1), 50_000);
    assert!(matches!(pass_on(&mut sending), Turn::Ours(_)));
    assert_eq!(scene.take(1), scene.transport.max_message_len());
    assert!(matches!(pass_on(&mut sending), Turn::Others(_)));
    assert_eq!(sending.finish().0.by_shm, 1);
}

#[test]
fn a_small_message_reaches_everybody_behind_one_who_cannot_be_reached() {
    let mut scene = Scene::new(&[false, false]);
    let to = [0, 1].map(|index: usize| scene.peers[index].0.locators());
    let peers = [Peer::new(&to[0]), Peer::new(&[]), Peer::new(&to[1])];
    for delivery in [Delivery::BestEffort, Delivery::Reliable { deadline: far() }] {
        let sent = scene.transport.send_bytes(&[7; 100], &peers, delivery).expect("open");
        assert_eq!(sent.by_shm, 2);
        assert!(matches!(
            sent.unserved[..],
            [Unserved { index: 1, why: Refusal::Unreachable(Reason::NoLocator) }]
        ));
        assert_eq!([0, 1].map(|index| scene.take(index)), [100; 2]);
    }
    assert_eq!(scene.transport.counters().sent_messages, 4);
}

#[test]
fn the_ring_goes_on_for_a_receiver_that_is_awake_and_starts_again_for_one_that_sleeps() {
    let [transport, peer] = testing::linked(&Config::default());
    let (mut receiver, to) = (peer.receiver().expect("available, and taken once"), peer.locators()[0]);
    while !matches!(receiver.receive(Some(far())), Some(Incoming::PeerUp(_))) {}
    let exchange = |receiver: &mut ShmReceiver, len: usize| {
        let loan = transport.loan(len).expect("room");
        let LoanKind::Record(record) = &loan.0 else { panic!("it is small") };
        let start = transport.books().expect("ours").outbound.lock().arena.record(record.record).start;
        let sent = transport.send(loan, &[Peer::new(&[to])], Delivery::BestEffort).expect("open");
        assert_eq!(sent.by_shm, 1);
        assert!(matches!(receiver.try_receive(), Some(Incoming::Message(_))), "read and given back");
        start
    };
    const LEN: usize = 64 << 10;
    let starts = [(); 10].map(|()| exchange(&mut receiver, LEN));
    assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
    assert_eq!(receiver.arm(), zerodds_core::Wake::TimedOut);
    assert_eq!(exchange(&mut receiver, LEN), starts[0]);
    let more = [(); 100].map(|()| exchange(&mut receiver, LEN));
    assert!(more.iter().all(|&start| start < starts[0] + (4 << 20)), "it went beyond what stays warm");
    let large = [(); 3].map(|()| exchange(&mut receiver, (512 << 10) + 1));
    assert_eq!(large, [starts[0]; 3], "what leaves the receiver's cache anyway starts again");
}

#[test]
fn whoever_has_no_room_when_the_transport_closes_is_closed_to_and_no_time_was_over() {
    let scene = Scene::new(&[true]);
    let mut sending = scene.begin();
    assert!(!sending.is_done());
    scene.transport.close();
    assert!(sending.is_done(), "nobody is waited for any more");
    sending.wait(far());
    let sent = sending.finish().0;
    assert!(
        matches!(sent.unserved[..], [Unserved { index: 0, why: Refusal::Unreachable(Reason::Closed) }]),
        "{:?}",
        sent.unserved
    );
    assert_eq!(scene.transport.counters().timed_out_messages, 0);
}

#[test]
fn a_copy_that_waits_for_room_finds_the_books_closed() {
    let scene = Scene::new(&[true]);
    let mut handle = scene.begin();
    let shared = Arc::clone(&handle.shared);
    let sending = handle.sending.as_mut().expect("unfinished");
    sending.leave_reserve(&shared);
    sending.give(&shared);
    assert!(!sending.is_done(), "there is no room");
    // As the control thread leaves them that cannot go on.
    shared.outbound.lock().closed = true;
    sending.give(&shared);
    assert!(sending.is_done(), "there never will be");
    let unserved = handle.finish().0.unserved;
    assert!(
        matches!(unserved[..], [Unserved { index: 0, why: Refusal::Unreachable(Reason::Closed) }]),
        "{unserved:?}"
    );
}

/// Two transports, small ones, with their receivers and a link by which the first can send to the second.
fn linked() -> [(ShmTransport, ShmReceiver); 2] {
    testing::linked(&small()).map(|transport| {
        let receiver = transport.receiver().expect("available, and taken once");
        (transport, receiver)
    })
}

/// Sends, reliably and without waiting, until there is no room.
fn fill(transport: &ShmTransport, to: Locator, bytes: &[u8]) {
    let at_once = || Delivery::Reliable { deadline: Instant::now() };
    while transport.send_bytes(bytes, &[Peer::new(&[to])], at_once()).expect("open").by_shm == 1 {}
}

/// What comes of `wait` on a thread of its own, of which it is known that it waits for room.
fn waiting<T: Send + 'static>(
    transport: &ShmTransport,
    wait: impl FnOnce(&ShmTransport) -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (done, outcome) = mpsc::channel();
    let patient = transport.clone();
    std::thread::spawn(move || done.send(wait(&patient)));
    let shared = transport.books().expect("ours");
    until("it waits", || shared.outbound.lock().waiters > 0);
    outcome
}

/// Sends this reliably, with an hour for it.
fn send_patiently(transport: &ShmTransport, to: Locator, bytes: &[u8]) -> Sent {
    let delivery = Delivery::Reliable { deadline: Instant::now() + Duration::from_secs(3600) };
    transport.send_bytes(bytes, &[Peer::new(&[to])], delivery).expect("open")
}

fn is_unreceived(sent: &Sent) -> bool {
    matches!(&sent.unserved[..], [Unserved { why: Refusal::Unreachable(why), .. }] if *why == unreceived())
}

/// Whoever waits may look at any moment, so it is tried more than once.
const ROUNDS: usize = 20;

#[test]
fn whoever_waits_for_a_link_is_told_when_this_process_drops_its_receiver() {
    for _ in 0..ROUNDS {
        let [(transport, receiver), (peer, _unread)] = linked();
        let to = peer.locators()[0];
        fill(&transport, to, &[1; 50_000]);
        let outcome = waiting(&transport, move |transport| send_patiently(transport, to, &[2; 50_000]));
        drop(receiver);
        let sent = outcome.recv_timeout(Duration::from_secs(60)).expect("it waits no longer");
        assert!(is_unreceived(&sent), "{:?}", sent.unserved);
    }
}

#[test]
fn whoever_waits_for_its_own_process_is_told_when_the_receiver_is_dropped() {
    for _ in 0..ROUNDS {
        let [(transport, receiver), _] = linked();
        let to = transport.locators()[0];
        fill(&transport, to, &[1; 100]);
        let outcome = waiting(&transport, move |transport| send_patiently(transport, to, &[2; 100]));
        drop(receiver);
        let sent = outcome.recv_timeout(Duration::from_secs(60)).expect("it waits no longer");
        assert!(is_unreceived(&sent), "{:?}", sent.unserved);
    }
}

/// What is done with a loan that was shortened, and what has to be kept after that.
type Use = fn(&ShmTransport, ShmLoan, Locator) -> Option<ShmSending>;

#[test]
fn whoever_waits_for_room_has_what_a_message_that_became_shorter_leaves() {
    let begun: Use =
        |transport, loan, _| Some(transport.begin_quietly(loan, &[], Delivery::BestEffort).expect("open"));
    let sent_in_vain: Use = |transport, loan, to| {
        let far = Delivery::Reliable { deadline: far() };
        let transport = transport.clone();
        std::thread::spawn(move || _ = transport.send(loan, &[Peer::new(&[to])], far));
        None
    };
    for round in 0..2 * ROUNDS {
        let uses = [begun, sent_in_vain][round % 2];
        let [(transport, _receiver), (peer, _unread)] = linked();
        let (to, max) = (peer.locators()[0], transport.max_message_len());
        let mut loan = transport.loan(max).expect("room");
        fill(&transport, to, &[1; 50_000]);
        fill(&transport, to, &[1; 5_000]);
        let _filling: Vec<_> = [max, 50_000, 5_000]
            .into_iter()
            .flat_map(|len| std::iter::from_fn(|| transport.loan(len).ok()).collect::<Vec<_>>())
            .collect();
        let far = far() + Duration::from_secs(3600);
        let outcome = waiting(&transport, move |transport| transport.loan_before(max / 2, far).is_ok());
        loan.truncate(5_000);
        let _kept = uses(&transport, loan, to);
        assert_eq!(outcome.recv_timeout(Duration::from_secs(60)), Ok(true));
        transport.close();
    }
}
