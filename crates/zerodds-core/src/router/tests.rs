//! The router's decisions, over two in-memory transports whose links the tests take up and down.

use super::*;
use crate::testing::{Hub, Memory, MemoryMessage, heard};
use crate::{Delivery, Incoming, Loan, Message, Receiver, Refusal, Unserved, Wake};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const SHM_MAX: usize = 4096;
const UDP_MAX: usize = 1024;
const QUEUE: usize = 4;

/// One participant: both transports, behind a router.
struct Node {
    shm: Memory,
    udp: Memory,
    router: Router<Memory, Memory>,
    locators: Vec<Locator>,
}

impl Node {
    fn open(hub: &Hub) -> Self {
        Self::of(hub.open(Path::SharedMemory, SHM_MAX, QUEUE), hub.open(Path::Udp, UDP_MAX, QUEUE))
    }

    fn of(shm: Memory, udp: Memory) -> Self {
        let router = Router::new(shm.clone(), udp.clone());
        let locators = router.locators();
        Self { shm, udp, router, locators }
    }

    fn peer(&self) -> Peer<'_> {
        Peer::new(&self.locators)
    }

    /// How many messages wait on each path.
    fn queued(&self) -> (usize, usize) {
        (messages(&self.shm), messages(&self.udp))
    }

    fn report(&self, of: &Self) -> PathReport {
        let mut reports = self.router.reports();
        reports.retain(|report| of.locators.contains(&report.peer));
        assert_eq!(reports.len(), 1, "one report per peer");
        reports.remove(0)
    }
}

/// Messages in a queue, without the news about links.
fn messages(memory: &Memory) -> usize {
    let Some(mut receiver) = memory.receiver() else { return memory.queued() };
    let taken = std::iter::from_fn(|| receiver.try_receive());
    taken.filter(|incoming| matches!(incoming, Incoming::Message(_))).count()
}

fn linked_pair() -> (Hub, Node, Node) {
    let hub = Hub::new();
    let (a, b) = (Node::open(&hub), Node::open(&hub));
    hub.link_up(&a.shm, &b.shm);
    (hub, a, b)
}

fn reliable() -> Delivery {
    Delivery::Reliable { deadline: Instant::now() + Duration::from_secs(30) }
}

fn lapsed() -> Delivery {
    Delivery::Reliable { deadline: Instant::now() }
}

fn send_loan(node: &Node, len: usize, to: &[Peer<'_>], delivery: Delivery) -> Sent {
    let loan = node.router.loan(len).expect("a loan");
    node.router.send(loan, to, delivery).expect("sent")
}

#[test]
fn a_linked_peer_is_served_by_shared_memory() {
    let (_hub, a, b) = linked_pair();
    assert_eq!(a.router.reach(b.peer()), Reach::Ready(Path::SharedMemory));
    assert_eq!(send_loan(&a, 100, &[b.peer()], Delivery::BestEffort).by_shm, 1);
    assert_eq!(b.queued(), (1, 0));
}

#[test]
fn a_peer_without_a_link_is_served_over_udp() {
    let hub = Hub::new();
    let (a, b) = (Node::open(&hub), Node::open(&hub));
    assert_eq!(a.router.reach(b.peer()), Reach::Ready(Path::Udp));
    assert_eq!(send_loan(&a, 100, &[b.peer()], Delivery::BestEffort).by_udp, 1);
    assert_eq!(b.queued(), (0, 1));
}

#[test]
fn whatever_rules_shared_memory_out_the_peer_is_served_by_udp() {
    let version = Reason::Version { ours: 9, theirs: 77 };
    for reason in [version, Reason::NotAdmitted { uid: 7 }, Reason::RefusedByPeer, Reason::Handshake] {
        let (hub, a, b) = linked_pair();
        hub.link_down(&a.shm, &b.shm, &reason);
        assert_eq!(a.router.reach(b.peer()), Reach::Ready(Path::Udp));
        let sent = send_loan(&a, 100, &[b.peer()], reliable());
        assert_eq!((sent.by_shm, sent.by_udp, b.queued()), (0, 1, (0, 1)));
        assert_eq!((a.report(&b).path, a.report(&b).reason), (Path::Udp, reason));
    }
}

#[test]
fn peers_on_both_paths_are_served_by_one_send_of_a_loan() {
    let (hub, a, b) = linked_pair();
    let (c, d) = (Node::open(&hub), Node::open(&hub));
    hub.link_up(&a.shm, &d.shm);
    for delivery in [Delivery::BestEffort, reliable()] {
        let sent = send_loan(&a, 8, &[b.peer(), c.peer(), d.peer()], delivery);
        assert_eq!((sent.by_shm, sent.by_udp, sent.unserved.len()), (2, 1, 0));
    }
    assert_eq!((b.queued(), c.queued(), d.queued()), ((2, 0), (0, 2), (2, 0)));
}

#[test]
fn the_bytes_arrive_whatever_they_were_lent_from() {
    let (_hub, a, b) = linked_pair();
    let mut receiver = b.router.receiver().expect("taken once");
    for refuse in [false, true] {
        a.shm.refuse_loans(refuse);
        for len in [3, UDP_MAX + 1] {
            let mut loan = a.router.loan(len + 5).expect("a loan");
            loan.fill(7);
            loan.truncate(len);
            assert_eq!(a.router.send(loan, &[b.peer()], Delivery::BestEffort).expect("sent").by_shm, 1);
            let message = next_message(&mut receiver);
            assert_eq!((message.path(), &message[..]), (Path::SharedMemory, &vec![7; len][..]));
            assert_eq!(message.source(), a.shm.locators().first().copied());
        }
    }
}

#[test]
fn a_message_above_the_limit_goes_by_udp_and_is_counted() {
    let hub = Hub::new();
    let a = Node::of(hub.open(Path::SharedMemory, 100, QUEUE), hub.open(Path::Udp, UDP_MAX, QUEUE));
    let b = Node::open(&hub);
    hub.link_up(&a.shm, &b.shm);
    assert_eq!(send_loan(&a, 100, &[b.peer()], Delivery::BestEffort).by_shm, 1);
    assert_eq!(send_loan(&a, 101, &[b.peer()], Delivery::BestEffort).by_udp, 1);
    assert_eq!(a.router.counters().too_large_messages, 1);
    let report = a.report(&b);
    assert_eq!((report.path, report.sent_by_shm, report.sent_by_udp), (Path::SharedMemory, 1, 1));
    let route = a.router.route(b.peer(), 101);
    assert_eq!((route.path, route.max_message_len), (Path::Udp, UDP_MAX));
    assert_eq!(a.router.decide(b.peer(), 101).reason, Reason::TooLarge { len: 101, max: 100 });
    assert_eq!(a.router.counters().too_large_messages, 1, "asking is not sending");
}

#[test]
fn a_message_above_both_limits_is_an_error_with_both_sizes() {
    let (_hub, a, b) = linked_pair();
    let len = SHM_MAX + 1;
    assert!(matches!(a.router.loan(len), Err(LoanError::TooLarge { len: _, max: SHM_MAX })));
    let error = a.router.send_bytes(&vec![0; len], &[b.peer()], reliable()).expect_err("too large");
    assert!(matches!(error, SendError::TooLarge { max: UDP_MAX, .. }), "{error}");
}

#[test]
fn a_link_that_breaks_during_the_send_loses_nothing_reliable() {
    let (hub, a, b) = linked_pair();
    for (loan, delivery) in [(false, Delivery::BestEffort), (false, reliable()), (true, reliable())] {
        hub.link_up(&a.shm, &b.shm);
        hub.link_break(&a.shm, &b.shm, &Reason::PeerGone);
        let sent = match loan {
            true => send_loan(&a, 8, &[b.peer()], delivery),
            false => a.router.send_bytes(&[1; 8], &[b.peer()], delivery).expect("sent"),
        };
        assert_eq!((sent.by_shm, sent.by_udp, sent.unserved.len()), (0, 1, 0));
    }
    assert_eq!(b.queued(), (0, 3));
}

#[test]
fn a_best_effort_loan_whose_link_breaks_is_reported_unserved() {
    let (hub, a, b) = linked_pair();
    hub.link_break(&a.shm, &b.shm, &Reason::PeerGone);
    let sent = send_loan(&a, 8, &[b.peer()], Delivery::BestEffort);
    assert!(matches!(
        &sent.unserved[..],
        [Unserved { index: 0, why: Refusal::Unreachable(Reason::PeerGone) }]
    ));
    assert_eq!(send_loan(&a, 8, &[b.peer()], Delivery::BestEffort).by_udp, 1);
}

#[test]
fn a_message_that_a_link_breaks_under_and_no_datagram_carries_is_refused_by_the_link_alone() {
    let (hub, a, b) = linked_pair();
    hub.link_break(&a.shm, &b.shm, &Reason::PeerGone);
    let sent = a.router.send_bytes(&[1; UDP_MAX + 1], &[b.peer()], reliable()).expect("no path failed");
    assert!(matches!(
        &sent.unserved[..],
        [Unserved { index: 0, why: Refusal::Unreachable(Reason::PeerGone) }]
    ));
    assert_eq!(a.router.counters().too_large_messages, 0, "UDP is not asked");
}

#[test]
fn a_datagram_does_not_wait_for_the_room_of_a_peer_that_shares_memory() {
    let (hub, a, b) = linked_pair();
    let c = Node::open(&hub);
    while b.shm.queued() < QUEUE {
        assert_eq!(send_loan(&a, 8, &[b.peer()], lapsed()).by_shm, 1);
    }
    let [mut of_b, mut of_c] = [&b, &c].map(|node| node.router.receiver().expect("taken once"));
    for refuse in [false, true] {
        a.shm.refuse_loans(refuse);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| send_loan(&a, 8, &[b.peer(), c.peer()], reliable()));
            assert!(matches!(of_c.receive(None), Some(Incoming::Message(_))));
            assert!(of_b.try_receive().is_some(), "now there is room");
            let sent = sending.join().expect("no panic");
            assert_eq!((sent.by_shm, sent.by_udp), (1, 1), "refused: {refuse}");
        });
    }
}

#[test]
fn a_full_peer_is_not_moved_to_the_other_path() {
    let (_hub, a, b) = linked_pair();
    let room = QUEUE - b.shm.queued();
    for _ in 0..room {
        assert_eq!(send_loan(&a, 8, &[b.peer()], lapsed()).by_shm, 1);
    }
    let sent = send_loan(&a, 8, &[b.peer()], lapsed());
    assert!(matches!(&sent.unserved[..], [Unserved { index: 0, why: Refusal::Full }]));
    assert_eq!(b.queued(), (room, 0));
}

#[test]
fn a_path_change_is_reported_once_with_its_reason() {
    let hub = Hub::new();
    let (a, b) = (Node::open(&hub), Node::open(&hub));
    let send = || assert!(send_loan(&a, 8, &[b.peer()], Delivery::BestEffort).unserved.is_empty());
    send();
    let first = a.report(&b);
    assert_eq!((first.path, first.reason), (Path::Udp, Reason::Handshake));
    hub.link_up(&a.shm, &b.shm);
    send();
    let linked = a.report(&b);
    assert_eq!((linked.path, linked.reason), (Path::SharedMemory, Reason::LinkReady));
    assert!(linked.since > first.since);
    send();
    assert_eq!(a.report(&b).since, linked.since, "an unchanged path keeps its date");
    hub.link_down(&a.shm, &b.shm, &Reason::NotAdmitted { uid: 7 });
    send();
    let last = a.report(&b);
    assert_eq!((last.path, last.reason), (Path::Udp, Reason::NotAdmitted { uid: 7 }));
    assert_eq!((last.sent_by_shm, last.sent_by_udp), (2, 2));
}

#[test]
fn a_peer_that_went_down_is_forgotten() {
    let (hub, a, b) = linked_pair();
    let mut receiver = a.router.receiver().expect("taken once");
    assert!(send_loan(&a, 8, &[b.peer()], Delivery::BestEffort).unserved.is_empty());
    b.shm.close();
    let events: Vec<_> = std::iter::from_fn(|| receiver.try_receive()).collect();
    assert!(matches!(events[..], [Incoming::PeerUp(_), Incoming::PeerDown(_, Reason::PeerGone)]));
    assert!(a.router.reports().is_empty());
    drop(hub);
}

#[test]
fn a_group_is_served_over_udp_and_is_no_peer() {
    let hub = Hub::new();
    let (a, b) = (Node::open(&hub), Node::open(&hub));
    let group = Locator::from(std::net::SocketAddr::from(([239, 255, 0, 1], 7400)));
    hub.join(&b.udp, group);
    assert_eq!(send_loan(&a, 8, &[Peer::new(&[group])], Delivery::BestEffort).by_udp, 1);
    assert_eq!(b.queued(), (0, 1));
    assert!(a.router.reports().is_empty());
}

#[test]
fn an_unlinked_peer_without_udp_is_unserved_for_the_reason_that_matters() {
    let hub = Hub::new();
    let (a, b) = (Node::open(&hub), Node::open(&hub));
    let shm_only = b.shm.locators();
    let sent = send_loan(&a, 8, &[Peer::new(&shm_only)], reliable());
    assert!(matches!(&sent.unserved[..], [Unserved { why: Refusal::Unreachable(Reason::Handshake), .. }]));
    assert_eq!(a.router.reach(Peer::new(&shm_only)), Reach::Pending(Reason::Handshake));
}

#[test]
fn each_path_works_without_the_other() {
    let hub = Hub::new();
    let no_shm = |_| {
        Node::of(hub.open_unavailable(Path::SharedMemory, Reason::SwitchedOff), hub.open(Path::Udp, 64, 4))
    };
    let no_udp =
        |_| Node::of(hub.open(Path::SharedMemory, 64, 4), hub.open_unavailable(Path::Udp, Reason::Closed));
    let udp_only = [(); 2].map(no_shm);
    let shm_only = [(); 2].map(no_udp);
    hub.link_up(&shm_only[0].shm, &shm_only[1].shm);
    for ([a, b], path) in [(&udp_only, Path::Udp), (&shm_only, Path::SharedMemory)] {
        let mut receiver = b.router.receiver().expect("taken once");
        assert_eq!(a.router.reach(b.peer()), Reach::Ready(path));
        let sent = send_loan(a, 8, &[b.peer()], reliable());
        assert_eq!(sent.by_shm + sent.by_udp, 1);
        assert_eq!(receiver.wait(Some(Instant::now() + Duration::from_secs(30)), &[]), Wake::Ready);
        assert_eq!(next_message(&mut receiver).path(), path);
        b.router.close();
        assert_eq!(receiver.wait(None, &[]), Wake::Closed);
        assert!(receiver.receive(None).is_none(), "closed and drained");
    }
}

#[test]
fn a_router_without_either_path_says_so() {
    let hub = Hub::new();
    let unavailable = |path| hub.open_unavailable(path, Reason::SwitchedOff);
    let a = Node::of(unavailable(Path::SharedMemory), unavailable(Path::Udp));
    assert!(a.router.receiver().is_none() && a.locators.is_empty());
    assert!(matches!(a.router.loan(0), Err(LoanError::Unavailable(Reason::SwitchedOff))));
    let b = Node::open(&hub);
    assert!(a.router.send_bytes(&[], &[b.peer()], reliable()).is_err());
}

#[test]
fn neither_path_starves_the_other() {
    let (_hub, a, b) = linked_pair();
    let mut receiver = b.router.receiver().expect("taken once");
    while receiver.try_receive().is_some() {}
    for _ in 0..2 {
        assert_eq!(a.shm.send_bytes(&[1], &[b.peer()], reliable()).expect("sent").by_shm, 1);
        assert_eq!(a.udp.send_bytes(&[2], &[b.peer()], reliable()).expect("sent").by_udp, 1);
    }
    let paths: Vec<_> = (0..4).map(|_| next_message(&mut receiver).path()).collect();
    assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "in turn: {paths:?}");
}

#[test]
fn a_waiting_receiver_wakes_for_either_path_and_for_the_caller() {
    use std::io::Write;
    use std::os::fd::AsFd;
    let (_hub, a, b) = linked_pair();
    let mut receiver = b.router.receiver().expect("taken once");
    while receiver.try_receive().is_some() {}
    let far = Some(Instant::now() + Duration::from_secs(30));
    for transport in [&a.shm, &a.udp] {
        assert_eq!(receiver.arm(), Wake::TimedOut);
        assert_eq!(receiver.readiness().len(), 2);
        std::thread::scope(|scope| {
            let send = || transport.send_bytes(&[0], &[b.peer()], reliable()).expect("sent");
            scope.spawn(move || assert!(send().unserved.is_empty()));
            assert_eq!(receiver.wait(far, &[]), Wake::Ready);
        });
        assert_eq!(receiver.arm(), Wake::Ready, "what arrived must be taken first");
        next_message(&mut receiver);
    }
    let (mut near, end) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    near.write_all(&[1]).expect("written");
    assert_eq!(receiver.wait(far, &[end.as_fd()]), Wake::Ready);
    assert_eq!(receiver.wait(Some(Instant::now()), &[]), Wake::TimedOut);
}

#[test]
fn the_ledger_is_bounded_whatever_locators_the_network_invents_and_each_in_it_is_said_once() {
    let (hub, a, b) = linked_pair();
    let c = Node::open(&hub);
    let router = Arc::new(a.router);
    let send = |to: &[Locator]| drop(router.send_bytes(&[1], &[Peer::new(to)], Delivery::BestEffort));
    let said = heard_beside(&router, || {
        send(&b.locators);
        for _ in 0..2 {
            for port in 1..=u32::try_from(ledger::PEERS_MAX).expect("small") + 10 {
                send(&[Locator::new(Locator::KIND_UDP_V4, port, [9; 16])]);
            }
        }
    });
    assert_eq!((router.reports().len(), said), (ledger::PEERS_MAX, 1024));
    hub.link_up(&a.shm, &c.shm);
    assert_eq!(heard_beside(&router, || send(&c.locators)), 1, "what shares memory is said");
    let reports = router.reports();
    let shared = reports.iter().filter(|report| report.path == Path::SharedMemory);
    assert_eq!((reports.len(), shared.count()), (ledger::PEERS_MAX, 2));
}

#[test]
fn whoever_comes_by_udp_is_reported_though_many_came_before_who_are_sent_nothing_any_more() {
    let (_, a, b) = linked_pair();
    let send = |to: &[Locator]| drop(a.router.send_bytes(&[1], &[Peer::new(to)], Delivery::BestEffort));
    let invented = |port| [Locator::new(Locator::KIND_UDP_V4, port, [9; 16])];
    let is_reported = |port| a.router.reports().iter().any(|report| report.peer == invented(port)[0]);
    let many = u32::try_from(ledger::PEERS_MAX).expect("small");
    (1..=many).for_each(|port| send(&invented(port)));
    send(&invented(many + 1));
    assert!(!is_reported(many + 1), "the others may still be there");
    for _ in 0..ledger::SILENT_MIN {
        [&invented(1)[..], &b.locators].into_iter().for_each(send);
    }
    send(&invented(many + 1));
    assert!(is_reported(many + 1) && is_reported(1) && !is_reported(2));
    assert_eq!(a.router.reports().len(), ledger::PEERS_MAX);
}

fn next_message(
    receiver: &mut RouterReceiver<crate::testing::MemoryReceiver, crate::testing::MemoryReceiver>,
) -> RouterMessage<MemoryMessage, MemoryMessage> {
    loop {
        let incoming = receiver.receive(Some(Instant::now() + Duration::from_secs(30)));
        if let Incoming::Message(message) = incoming.expect("a message") {
            return message;
        }
    }
}

/// What a test does to one of its peers.
#[derive(Clone, Copy, Debug)]
enum Event {
    Up(usize),
    Down(usize),
    Break(usize),
    Send { len: usize, as_loan: bool, reliable: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let peer = 0..3_usize;
    let send =
        (prop::sample::select(vec![0, 1, UDP_MAX, UDP_MAX + 1, SHM_MAX]), any::<bool>(), any::<bool>());
    prop_oneof![
        1 => peer.clone().prop_map(Event::Up),
        1 => peer.clone().prop_map(Event::Down),
        1 => peer.prop_map(Event::Break),
        4 => send.prop_map(|(len, as_loan, reliable)| Event::Send { len, as_loan, reliable }),
    ]
}

proptest! {
    /// Whatever the links do, each peer gets a message at most once, and exactly once unless it is listed.
    #[test]
    fn a_peer_is_served_once_by_one_path(events in prop::collection::vec(event(), 1..40)) {
        let hub = Hub::new();
        let sender = Node::of(hub.open(Path::SharedMemory, SHM_MAX, 1000), hub.open(Path::Udp, UDP_MAX, 1000));
        let nodes = [(); 3].map(|()| Node::of(hub.open(Path::SharedMemory, SHM_MAX, 1000), hub.open(Path::Udp, UDP_MAX, 1000)));
        let mut receivers = nodes.each_ref().map(|node| node.router.receiver().expect("taken once"));
        let peers = nodes.each_ref().map(Node::peer);
        for event in events {
            match event {
                Event::Up(peer) => hub.link_up(&sender.shm, &nodes[peer].shm),
                Event::Down(peer) => hub.link_down(&sender.shm, &nodes[peer].shm, &Reason::PeerGone),
                Event::Break(peer) => hub.link_break(&sender.shm, &nodes[peer].shm, &Reason::PeerGone),
                Event::Send { len, as_loan, reliable: wanted } => {
                    let delivery = if wanted { reliable() } else { Delivery::BestEffort };
                    let result = if as_loan {
                        sender.router.send(sender.router.loan(len)?, &peers, delivery)
                    } else {
                        sender.router.send_bytes(&vec![0; len], &peers, delivery)
                    };
                    let arrived = receivers.each_mut().map(|receiver| {
                        let taken = std::iter::from_fn(|| receiver.try_receive());
                        taken.filter(|incoming| matches!(incoming, Incoming::Message(_))).count()
                    });
                    match result {
                        Ok(sent) => {
                            prop_assert_eq!((sent.by_shm + sent.by_udp) as usize + sent.unserved.len(), peers.len());
                            for (index, &count) in arrived.iter().enumerate() {
                                let served = sent.unserved.iter().all(|unserved| unserved.index != index);
                                prop_assert_eq!(count, usize::from(served));
                            }
                        }
                        Err(error) => {
                            prop_assert!(len > UDP_MAX, "{}", error);
                            prop_assert_eq!(arrived, [0; 3]);
                        }
                    }
                }
            }
        }
    }
}

/// How much is said meanwhile, by whose listener this router can be used.
fn heard_beside(router: &Arc<Router<Memory, Memory>>, meanwhile: impl FnOnce()) -> u64 {
    let router = Arc::clone(router);
    heard(move || router.ledger.try_lock().is_some(), meanwhile)
}

#[test]
fn whoever_hears_of_a_path_can_send_at_once() {
    let (hub, a, b) = linked_pair();
    let router = Arc::new(a.router);
    let mut receiver = router.receiver().expect("taken once");
    let said = heard_beside(&router, || {
        let _ = router.send_bytes(b"hello", &[b.peer()], reliable()).expect("sent");
        hub.link_down(&a.shm, &b.shm, &Reason::PeerDied);
        while receiver.try_receive().is_some() {}
    });
    assert_eq!(said, 2, "its path, and that it left");
}
