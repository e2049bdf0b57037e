//! How links come and go while both processes live: names that peers can derive, links ended on request.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use support::warnings::hear;
use support::{Node, PATIENCE, deadline, fill, fresh_domain, is_intact, pair, reliable};
use zerodds_core::{
    Delivery, Incarnation, Incoming, Locator, Peer, Reach, Reason, Receiver, Refusal, Transport,
};
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport};

fn open_as(domain: u32, incarnation: Incarnation) -> Node {
    Node::of(ShmTransport::open_as(domain, incarnation, &Config::default()))
}

/// Asks for `peer` until the answer is what `expected` says.
fn reach_until(node: &Node, peer: Locator, expected: impl Fn(&Reach) -> bool) {
    let until = deadline();
    while !expected(&node.transport.reach(Peer::new(&[peer]))) {
        assert!(Instant::now() < until, "{peer} stays {:?}", node.transport.reach(Peer::new(&[peer])));
        std::thread::yield_now();
    }
}

/// A socket that listens at the rendezvous of a participant that does not exist.
fn listen_in_its_place(peer: Locator) -> OwnedFd {
    let (host, incarnation) = (peer.host_tag().expect("ours"), peer.incarnation().expect("ours"));
    let name = format!("zerodds-shm.{}.{host}.{incarnation}", peer.port());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.expect("a socket");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
    rustix::net::bind(&socket, &address).expect("nobody else is there");
    rustix::net::listen(&socket, 8).expect("listens");
    socket
}

#[test]
fn whoever_knows_an_incarnation_knows_the_locator() {
    let domain = fresh_domain();
    let (ours, theirs) = (Incarnation::from_bytes([1; 8]), Incarnation::from_bytes([2; 8]));
    let (a, mut b) = (open_as(domain, ours), open_as(domain, theirs));
    assert_eq!(a.transport.locator_of(theirs), Some(b.locator()));
    assert_eq!(b.transport.locator_of(ours), Some(a.locator()));
    a.link_to(b.locator());
    let _ = a.send(b.locator(), b"hello", reliable());
    assert_eq!(*b.next_message(), *b"hello");
}

#[test]
fn a_second_transport_under_one_incarnation_is_unavailable_and_says_why() {
    let (domain, incarnation) = (fresh_domain(), Incarnation::from_bytes([7; 8]));
    let first = open_as(domain, incarnation);
    let second = ShmTransport::open_as(domain, incarnation, &Config::default());
    let Err(Reason::Unavailable(why)) = second.availability() else { panic!("there is one already") };
    assert!(why.contains("0707070707070707"), "{why}");
    assert_eq!((second.locators(), second.locator_of(incarnation)), (vec![], None));
    drop(first);
    open_as(domain, incarnation);
}

#[test]
fn a_name_that_nobody_listens_at_is_tried_only_when_it_is_asked_for() {
    let a = Node::open(fresh_domain());
    let peer = a.transport.locator_of(Incarnation::from_bytes([9; 8])).expect("available");
    reach_until(&a, peer, |reach| *reach == Reach::Unreachable(Reason::PeerGone));
    let listener = listen_in_its_place(peer);
    let accept = || rustix::net::accept_with(&listener, SocketFlags::CLOEXEC);
    // Several times the pause after a first failure: whoever retried by itself would be seen.
    let quiet = Timespec { tv_sec: 0, tv_nsec: 400_000_000 };
    assert_eq!(poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&quiet)), Ok(0));
    assert_eq!(accept().err(), Some(Errno::AGAIN));
    reach_until(&a, peer, |_| accept().is_ok());
}

#[test]
fn a_peer_that_was_not_there_is_reported_when_it_comes_by_itself() {
    let (domain, incarnation) = (fresh_domain(), Incarnation::from_bytes([3; 8]));
    let mut a = Node::open(domain);
    let peer = a.transport.locator_of(incarnation).expect("available");
    reach_until(&a, peer, |reach| *reach == Reach::Unreachable(Reason::PeerGone));
    let b = open_as(domain, incarnation);
    b.link_to(a.locator());
    let first = a.receiver.receive(Some(deadline()));
    assert!(matches!(first, Some(Incoming::PeerUp(up)) if up == peer), "{first:?}");
    reach_until(&a, peer, |reach| matches!(reach, Reach::Ready(_)));
}

#[test]
fn a_link_ends_on_request_of_either_side_and_is_had_again() {
    let (mut a, mut b) = pair();
    let (to_a, to_b) = (a.locator(), b.locator());
    let is_alive = |reason: &Reason| matches!(reason, Reason::Unavailable(_));
    for round in 0..40u64 {
        let _ = a.send(to_b, &round.to_le_bytes(), reliable());
        let _ = b.send(to_a, &round.to_le_bytes(), reliable());
        if round % 2 == 0 {
            a.transport.disconnect(&to_b)
        } else {
            b.transport.disconnect(&to_a)
        }
        for (node, peer) in [(&mut a, to_b), (&mut b, to_a)] {
            let (messages, reason) = node.until_down_why(peer);
            assert_eq!(messages.iter().map(|m| m.to_vec()).collect::<Vec<_>>(), [round.to_le_bytes()]);
            assert!(is_alive(&reason), "nobody is gone: {reason}");
        }
        a.link_to(to_b);
        b.link_to(to_a);
    }
    assert_eq!((a.transport.counters().links, b.transport.counters().links), (1, 1));
}

#[test]
fn ending_a_link_that_is_not_there_does_nothing() {
    let domain = fresh_domain();
    let (a, b) = (Node::open(domain), Node::open(domain));
    a.transport.disconnect(&b.locator());
    a.transport.disconnect(&a.locator());
    reach_until(&a, b.locator(), |reach| matches!(reach, Reach::Ready(_)));
    a.transport.close();
    a.transport.disconnect(&b.locator());
}

#[test]
fn a_link_that_is_left_keeps_what_is_reliable_and_counts_what_it_takes_back() {
    let (a, mut b) = pair();
    let to = b.locator();
    let best_effort = |number| a.send_pattern(&[Peer::new(&[to])], number, 100_000, Delivery::BestEffort);
    let reliably = |number| a.send_pattern(&[Peer::new(&[to])], number, 100_000, reliable());
    for number in 0..3 {
        assert_eq!(best_effort(number).by_shm, 1);
    }
    for number in 3..5 {
        assert_eq!(reliably(number).by_shm, 1);
    }
    assert_eq!(best_effort(5).by_shm, 1, "it is after a reliable one");
    a.transport.disconnect(&to);
    assert_eq!(a.transport.counters().lost_messages, 3, "those that were taken back, and no others");
    // Whatever memory can be had by now is not that of a message which may still be read.
    let loans: Vec<_> = std::iter::from_fn(|| a.transport.loan(1 << 20).ok())
        .map(|mut loan| {
            loan.fill(0xaa);
            loan
        })
        .collect();
    let messages = b.until_down(a.locator());
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().zip(3..).all(|(message, number)| is_intact(message, number)));
    assert!(loans.len() > 10);
}

#[test]
fn a_receiver_that_is_dropped_refuses_what_is_sent_from_then_on() {
    let (a, b) = pair();
    let to = b.locator();
    let Node { transport: _kept, receiver } = b;
    drop(receiver);
    for len in [10, 100_000] {
        assert_eq!(a.send_pattern(&[Peer::new(&[to])], 1, len, reliable()).by_shm, 0);
    }
}

#[test]
fn a_transport_whose_log_has_its_control_thread_panic_is_closed_to_all_and_says_so() {
    let (mut a, mut b) = pair();
    let (name, to, from) = (b.locator().to_string(), b.locator(), a.locator());
    hear(tracing::Level::DEBUG, move |text| {
        assert!(!text.contains("link down") || !text.contains(&name), "what a subscriber may come to");
    });
    a.transport.disconnect(&to);
    assert_eq!(b.until_down_why(from).1, Reason::PeerClosed);
    a.until_down(to);
    reach_until(&a, to, |reach| *reach == Reach::Unreachable(Reason::Closed));
    for to in [to, from] {
        let unserved = a.send(to, b"in vain", reliable()).unserved;
        assert!(matches!(unserved[0].why, Refusal::Unreachable(Reason::Closed)), "{unserved:?}");
    }
    assert!(a.transport.loan(100_000).is_err());
}

#[test]
fn a_peer_that_keeps_a_message_of_a_link_that_is_over_is_tried_again_when_the_next_handshake_fails() {
    let (domain, incarnation) = (fresh_domain(), Incarnation::from_bytes([4; 8]));
    let (a, mut b) = (Node::open(domain), open_as(domain, incarnation));
    let peer = b.locator();
    a.link_to(peer);
    assert_eq!(a.send_pattern(&[Peer::new(&[peer])], 1, 100_000, reliable()).by_shm, 1);
    let kept = b.next_message();
    assert!(kept.is_in_place(), "so its link has not ended for A");
    let Node { transport, receiver } = b;
    drop(receiver);
    reach_until(&a, peer, |reach| *reach == Reach::Unreachable(Reason::NotTaken));
    drop(transport);
    let mut b = open_as(domain, incarnation);
    a.link_to(peer);
    assert_eq!(a.send_pattern(&[Peer::new(&[peer])], 2, 100_000, reliable()).by_shm, 1);
    assert!(is_intact(&b.next_message(), 2) && is_intact(&kept, 1));
}

/// One side of the traffic: sends numbered messages of many sizes until told to stop, then `LAST`.
fn send_all(transport: &ShmTransport, to: Locator, stop: &AtomicBool, served: &AtomicU64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for number in 0.. {
        let last = stop.load(Ordering::SeqCst);
        let len = [16, 20_000, 1_500, 600, 9_000, 5_000][number as usize % 6];
        let mut loan = transport.loan_before(len, deadline()).expect("room in time");
        let word = if last { LAST } else { number };
        loan[..8].copy_from_slice(&word.to_le_bytes());
        fill(&mut loan[8..], word);
        let peer = [to];
        let sent = transport.send(loan, &[Peer::new(&peer)], reliable()).expect("open");
        if sent.by_shm == 1 {
            numbers.push(word);
            served.fetch_add(1, Ordering::SeqCst);
            if last {
                return numbers;
            }
            if number % 16 == 0 {
                // So that links end with few messages on the way as well as with many.
                std::thread::yield_now();
            }
        } else {
            assert!(matches!(sent.unserved[0].why, Refusal::Unreachable(_)), "{:?}", sent.unserved);
            let _ = transport.reach(Peer::new(&peer));
            std::thread::yield_now();
        }
    }
    unreachable!("numbers do not end")
}

/// Receives until `LAST`; what came, and how often the peer went.
fn receive_all(receiver: &mut ShmReceiver) -> (Vec<u64>, u64) {
    let (mut numbers, mut ends) = (Vec::new(), 0);
    loop {
        match receiver.receive(Some(deadline())).expect("more before the deadline") {
            Incoming::Message(message) => {
                let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
                assert!(is_intact(&message[8..], number), "message {number}");
                numbers.push(number);
                if number == LAST {
                    return (numbers, ends);
                }
            }
            Incoming::PeerDown(_, reason) => {
                assert!(matches!(reason, Reason::Unavailable(_)), "{reason}");
                ends += 1;
            }
            _ => {}
        }
    }
}

const LAST: u64 = u64::MAX;
const ENDS: u64 = 2_000;

#[test]
fn what_is_sent_while_links_come_and_go_arrives_once_and_in_order_and_what_is_refused_never() {
    let (a, b) = pair();
    let (to_a, to_b) = (a.locator(), b.locator());
    let stop = AtomicBool::new(false);
    let served = [AtomicU64::new(0), AtomicU64::new(0)];
    let (Node { transport: a, receiver: mut from_b }, Node { transport: b, receiver: mut from_a }) = (a, b);
    std::thread::scope(|scope| {
        let by_a = scope.spawn(|| send_all(&a, to_b, &stop, &served[0]));
        let by_b = scope.spawn(|| send_all(&b, to_a, &stop, &served[1]));
        let at_a = scope.spawn(|| receive_all(&mut from_b));
        let at_b = scope.spawn(|| receive_all(&mut from_a));
        let until = Instant::now() + 4 * PATIENCE;
        for round in 0..ENDS {
            // Some traffic on every link, in either direction.
            let side = &served[(round / 2 % 2) as usize];
            let enough = side.load(Ordering::SeqCst) + 1 + round % 7;
            while side.load(Ordering::SeqCst) < enough {
                assert!(Instant::now() < until, "no link comes up in round {round}");
                std::thread::yield_now();
            }
            if round % 2 == 0 { a.disconnect(&to_b) } else { b.disconnect(&to_a) }
        }
        stop.store(true, Ordering::SeqCst);
        let (received, ends) = at_b.join().expect("all that A sent");
        assert_eq!(received, by_a.join().expect("no panic"));
        assert!(ends > ENDS / 2, "{ends} links ended");
        assert_eq!(at_a.join().expect("all that B sent").0, by_b.join().expect("no panic"));
    });
}
