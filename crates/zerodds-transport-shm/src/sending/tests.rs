//! Whose turn of the reserve it is, who gets a small message, and where in the ring a record lies.

use super::*;
use crate::{Config, ShmReceiver, ShmTransport};
use zerodds_core::{Incoming, Reach, Receiver, Transport};

/// A transport, whose ring is filled but for the reserve, and peers with one unread message each, or none.
struct Scene {
    transport: ShmTransport,
    peers: Vec<(ShmTransport, ShmReceiver)>,
    _filling: Vec<ShmLoan>,
}

impl Scene {
    fn new(domain: u32, unread: &[bool]) -> Self {
        let config = Config::default().max_datagram(256 << 10).expect("in range");
        let transport = ShmTransport::open(domain, &config);
        let far = Delivery::Reliable { deadline: far() };
        let mut peers = Vec::new();
        for &unread in unread {
            let peer = ShmTransport::open(domain, &config);
            let (receiver, to) = (peer.receiver().expect("available, and taken once"), peer.locators()[0]);
            while !matches!(transport.reach(Peer::new(&[to])), Reach::Ready(_)) {
                std::thread::yield_now();
            }
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

/// A bound against hanging.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn pass_on(sending: &mut ShmSending) -> Turn {
    let shared = Arc::clone(&sending.shared);
    sending.sending.as_mut().expect("unfinished").pass_on(&shared, far())
}

#[test]
fn other_messages_have_their_turn_though_a_receiver_that_reads_nothing_had_none() {
    let scene = Scene::new(3_300_000_000 - std::process::id(), &[false, true]);
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
    let mut scene = Scene::new(3_200_000_000 - std::process::id(), &[false, true]);
    let mut sending = scene.begin();
    assert_eq!(scene.take(1), 50_000);
    assert!(matches!(pass_on(&mut sending), Turn::Ours(_)));
    assert_eq!(scene.take(1), scene.transport.max_message_len());
    assert!(matches!(pass_on(&mut sending), Turn::Others(_)));
    assert_eq!(sending.finish().0.by_shm, 1);
}

#[test]
fn a_small_message_reaches_everybody_behind_one_who_cannot_be_reached() {
    let mut scene = Scene::new(3_400_000_000 - std::process::id(), &[false, false]);
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
    let domain = 3_940_000_000 - std::process::id();
    let [transport, peer] = [(); 2].map(|()| ShmTransport::open(domain, &Config::default()));
    let (mut receiver, to) = (peer.receiver().expect("available, and taken once"), peer.locators()[0]);
    while !matches!(transport.reach(Peer::new(&[to])), Reach::Ready(_)) {
        std::thread::yield_now();
    }
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
    let scene = Scene::new(3_860_000_000 - std::process::id(), &[true]);
    let mut sending = scene.begin();
    scene.transport.close();
    sending.wait(far());
    let sent = sending.finish().0;
    assert!(
        matches!(sent.unserved[..], [Unserved { index: 0, why: Refusal::Unreachable(Reason::Closed) }]),
        "{:?}",
        sent.unserved
    );
    assert_eq!(scene.transport.counters().timed_out_messages, 0);
}
