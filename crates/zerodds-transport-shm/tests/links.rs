//! How links come and go while both processes live: names that peers can derive, links ended on request.
#![cfg(all(target_os = "linux", not(zerodds_no_shm)))]

mod support;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::time::Instant;
use support::{Node, deadline, fresh_domain, pair, reliable};
use zerodds_core::{Incarnation, Incoming, Locator, Peer, Reach, Reason, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

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
    let (mut a, mut b) = (open_as(domain, ours), open_as(domain, theirs));
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
    let mut b = open_as(domain, incarnation);
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
