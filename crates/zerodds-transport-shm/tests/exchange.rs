//! Messages of every size between two transports: intact, in order, each once.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use bytes::Bytes;
use support::{Node, deadline, fill, fresh_domain, is_intact, pair, pair_with, reliable};
use zerodds_core::{Delivery, Incoming, Loan, LoanError, Peer, Reach, Reason, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

#[test]
fn messages_of_every_size_arrive_intact_and_in_order() {
    let (a, mut b) = pair();
    let max = a.transport.max_message_len();
    let mut sizes = vec![0, 1, 7, 8, 63, 64, 65, 1008, 1023, 1024, 1025, 4031, 4032, 4033, 4095, 4096, 4097];
    sizes.extend([65_507, 65_535, 65_536, 65_537, 1 << 20, (4 << 20) + 3, 8 << 20, (16 << 20) - 4096]);
    sizes.extend([max - 65, max - 64, max - 63, max - 1, max]);
    for (seed, &len) in sizes.iter().enumerate() {
        let sent = a.send_pattern(&[Peer::new(&[b.locator()])], seed as u64, len, reliable());
        assert_eq!((sent.by_shm, sent.unserved.len()), (1, 0), "{len} bytes");
        let message = b.next_message();
        assert_eq!(message.len(), len);
        assert!(is_intact(&message, seed as u64), "{len} bytes");
    }
}

#[test]
fn small_and_large_messages_keep_the_order_in_which_they_were_sent() {
    let (a, mut b) = pair();
    for round in 0..200u64 {
        let sizes = [10_000, 16, 2_000, 1024, 100_000, 0, 5_000];
        for (index, len) in sizes.into_iter().enumerate() {
            let _ = a.send_pattern(&[Peer::new(&[b.locator()])], round * 7 + index as u64, len, reliable());
        }
        for (index, len) in sizes.into_iter().enumerate() {
            let message = b.next_message();
            assert_eq!(message.len(), len);
            assert!(is_intact(&message, round * 7 + index as u64));
        }
    }
}

#[test]
fn a_message_one_byte_above_the_limit_is_refused_with_both_sizes() {
    let (a, _b) = pair();
    let max = a.transport.max_message_len();
    assert!(
        matches!(a.transport.loan(max + 1), Err(LoanError::TooLarge { len, max: m }) if len == max + 1 && m == max)
    );
    assert_eq!(a.transport.counters().too_large_messages, 1);
}

#[test]
fn a_loan_is_shortened_when_it_is_published() {
    let (a, mut b) = pair();
    for len in [0, 10, 1024, 1025, 50_000, 100_000] {
        let mut loan = a.transport.loan(100_000).expect("loan");
        loan.truncate(len);
        fill(&mut loan, len as u64);
        let _ = a.transport.send(loan, &[Peer::new(&[b.locator()])], reliable()).expect("send");
        let message = b.next_message();
        assert!(message.len() == len && is_intact(&message, len as u64), "{len} bytes");
    }
}

#[test]
fn a_loan_dropped_unsent_gives_its_memory_back() {
    let (a, _b) = pair();
    for _ in 0..1000 {
        drop(a.transport.loan(8 << 20).expect("the previous loan was discarded"));
    }
}

#[test]
fn large_messages_are_read_in_place_and_become_bytes_without_a_copy() {
    let (a, mut b) = pair();
    let _ = a.send_pattern(&[Peer::new(&[b.locator()])], 1, 1 << 20, reliable());
    let message = b.next_message();
    assert!(message.is_in_place());
    let address = message.as_ptr();
    let bytes: Bytes = message.into();
    assert_eq!(bytes.as_ptr(), address, "not copied");
    let tail = bytes.slice((1 << 20) - 8..);
    drop(bytes);
    // The memory is still ours: more than the ring holds is sent over it, none of it into what the slice covers.
    for seed in 0..100 {
        let _ = a.send_pattern(&[Peer::new(&[b.locator()])], seed, 1 << 20, reliable());
        drop(b.next_message());
    }
    let mut expected = vec![0; 1 << 20];
    fill(&mut expected, 1);
    assert_eq!(tail, expected[(1 << 20) - 8..]);
}

#[test]
fn one_record_serves_all_receivers_and_is_written_once() {
    let domain = fresh_domain();
    let a = Node::open(domain);
    let mut readers: Vec<Node> = (0..3).map(|_| Node::open(domain)).collect();
    let locators: Vec<_> = readers.iter().map(Node::locator).collect();
    for &locator in &locators {
        a.link_to(locator);
    }
    let peers: Vec<_> = locators.iter().map(|locator| Peer::new(std::slice::from_ref(locator))).collect();
    let before = a.transport.counters().written_bytes;
    let sent = a.send_pattern(&peers, 5, 3 << 20, reliable());
    assert_eq!(sent.by_shm, 3);
    assert_eq!(a.transport.counters().written_bytes - before, 3 << 20);
    for reader in &mut readers {
        let message = reader.next_message();
        assert!(message.is_in_place() && is_intact(&message, 5));
    }
}

#[test]
fn a_transport_reaches_itself() {
    let mut a = Node::open(fresh_domain());
    let own = a.locator();
    assert!(matches!(a.transport.reach(Peer::new(&[own])), Reach::Ready(_)));
    for (seed, len) in [(1, 0), (2, 100), (3, 1 << 20), (4, 4 << 20)] {
        let sent = a.send_pattern(&[Peer::new(&[own])], seed, len, reliable());
        assert_eq!(sent.by_shm, 1);
        assert!(is_intact(&a.next_message(), seed));
    }
}

#[test]
fn neighbours_of_the_same_domain_are_found_and_of_others_are_not() {
    let domain = fresh_domain();
    let (a, b, c) = (Node::open(domain), Node::open(domain), Node::open(fresh_domain()));
    assert_eq!(a.transport.neighbours(), [b.locator()]);
    assert_eq!(c.transport.neighbours(), []);
}

#[test]
fn both_sides_learn_of_a_link_and_of_its_end() {
    let (a, mut b) = pair();
    let peer = a.locator();
    assert!(matches!(b.receiver.receive(Some(deadline())), Some(Incoming::PeerUp(up)) if up == peer));
    let _ = a.send(b.locator(), b"last words", reliable());
    a.transport.close();
    let messages = b.until_down(peer);
    assert_eq!(messages.iter().map(|m| m.to_vec()).collect::<Vec<_>>(), [b"last words"]);
}

#[test]
fn many_connect_at_once_in_both_directions_and_all_links_come_up() {
    let domain = fresh_domain();
    let mut nodes: Vec<Node> = (0..12).map(|_| Node::open(domain)).collect();
    let locators: Vec<_> = nodes.iter().map(Node::locator).collect();
    for node in &nodes {
        assert_eq!(node.transport.neighbours().len(), 11);
    }
    for node in &mut nodes {
        let own = node.locator();
        for &locator in locators.iter().filter(|&&locator| locator != own) {
            node.link_to(locator);
        }
    }
    for node in &nodes {
        assert_eq!(node.transport.counters().links, 11, "one link per pair");
    }
}

#[test]
fn shared_memory_switched_off_says_so_and_reaches_nobody() {
    let off = ShmTransport::open(fresh_domain(), &Config::default().enabled(false));
    assert_eq!(off.availability(), Err(Reason::SwitchedOff));
    assert!(off.locators().is_empty() && off.receiver().is_none() && off.neighbours().is_empty());
    let node = Node::open(fresh_domain());
    assert_eq!(off.reach(Peer::new(&[node.locator()])), Reach::Unreachable(Reason::SwitchedOff));
    assert!(off.loan(10).is_err());
}

#[test]
fn a_locator_of_another_host_is_unreachable_at_once() {
    use zerodds_core::{HostTag, Incarnation, Locator};
    let a = Node::open(fresh_domain());
    let foreign = Locator::shared_memory(HostTag::from_bytes([9; 8]), Incarnation::from_bytes([1; 8]), 0);
    assert_eq!(a.transport.reach(Peer::new(&[foreign])), Reach::Unreachable(Reason::DifferentHost));
    let udp = Locator::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7410)));
    assert_eq!(a.transport.reach(Peer::new(&[udp])), Reach::Unreachable(Reason::NoLocator));
}

#[test]
fn a_small_knob_still_carries_every_size_up_to_it() {
    let config = Config::default().max_datagram(Config::MAX_DATAGRAM_MIN).expect("the smallest");
    let (a, mut b) = pair_with(&config);
    for len in (0..a.transport.max_message_len()).step_by(61) {
        let _ = a.send_pattern(&[Peer::new(&[b.locator()])], len as u64, len, reliable());
        assert!(is_intact(&b.next_message(), len as u64));
    }
}

#[test]
fn closing_wakes_a_receiver_that_waits_for_ever() {
    let Node { transport, mut receiver } = Node::open(fresh_domain());
    let waiting = std::thread::spawn(move || receiver.receive(None).is_none());
    transport.close();
    assert!(waiting.join().expect("no panic"));
    assert!(transport.loan(1).is_err());
}

#[test]
fn a_receiver_is_woken_through_its_descriptor() {
    let (a, mut b) = pair();
    for round in 0..1000u64 {
        b.lie_down_in_poll();
        let _ = a.send(b.locator(), &round.to_le_bytes(), reliable());
        b.until_woken_in_poll();
        assert_eq!(*b.next_message(), round.to_le_bytes());
    }
}

#[test]
fn ten_thousand_messages_with_a_sleeping_receiver_miss_no_wake() {
    let (a, b) = pair();
    let (to_a, to_b) = (a.locator(), b.locator());
    let Node { transport, mut receiver } = b;
    let echo = std::thread::spawn(move || {
        let mut echoed = 0;
        while echoed < 10_000 {
            if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                let _ = transport.send_bytes(&message, &[Peer::new(&[to_a])], reliable());
                echoed += 1;
            }
        }
    });
    let mut a = a;
    for round in 0..10_000u64 {
        let _ = a.send(to_b, &round.to_le_bytes(), reliable());
        assert_eq!(*a.next_message(), round.to_le_bytes());
    }
    echo.join().expect("the echo ends");
}

#[test]
fn further_peers_get_a_reliable_message_best_effort_and_what_they_have_not_taken_makes_room() {
    const COUNT: u64 = 3_000;
    let domain = fresh_domain();
    let (a, mut b, mut idle) = (Node::open(domain), Node::open(domain), Node::open(domain));
    [b.locator(), idle.locator()].into_iter().for_each(|peer| a.link_to(peer));
    let gone = Node::open(domain);
    let (to_b, to_idle, to_gone) = ([b.locator()], [idle.locator()], [gone.locator()]);
    drop(gone);
    for number in 0..COUNT {
        let mut loan = a.transport.loan(10_000).expect("room");
        loan[..8].copy_from_slice(&number.to_le_bytes());
        let mut sending = a.transport.begin_quietly(loan, &[Peer::new(&to_b)], reliable()).expect("open");
        sending.also_best_effort(&[Peer::new(&to_idle), Peer::new(&to_gone)]);
        assert!(sending.is_done(), "nobody is waited for");
        let (sent, message) = sending.finish();
        assert!(sent.by_shm == 2 && message.len() == 10_000, "{sent:?}");
        assert_eq!(sent.unserved.iter().map(|peer| peer.index).collect::<Vec<_>>(), [2], "counted on");
        assert_eq!(b.next_message()[..8], number.to_le_bytes());
    }
    let lost = a.transport.counters().lost_messages;
    assert!(lost > 0 && lost < COUNT, "the oldest: {lost}");
    for number in lost..COUNT {
        assert_eq!(idle.next_message()[..8], number.to_le_bytes());
    }
}

#[test]
fn best_effort_never_waits_and_what_is_lost_is_counted() {
    let (a, mut b) = pair();
    let total = 5_000u64;
    for seed in 0..total {
        let mut loan = a.transport.loan(64 << 10).expect("best effort makes room");
        loan[..8].copy_from_slice(&seed.to_le_bytes());
        let _ = a.transport.send(loan, &[Peer::new(&[b.locator()])], Delivery::BestEffort).expect("send");
    }
    let lost = a.transport.counters().lost_messages;
    assert!(lost > 0, "more was sent than the ring and the slots hold");
    let mut last = None;
    for _ in 0..total - lost {
        let message = b.next_message();
        let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
        assert!(last.is_none_or(|last| last < number), "in order, none twice");
        last = Some(number);
    }
    assert_eq!(last, Some(total - 1), "the newest is never the one that is lost");
    assert!(b.receiver.try_receive().is_none(), "received and lost add up to sent");
}

#[test]
fn reliable_waits_for_space_and_loses_nothing() {
    let (a, b) = pair();
    let (to, total) = (b.locator(), 3_000u64);
    let Node { mut receiver, transport: _kept } = b;
    let reader = std::thread::spawn(move || {
        let mut next = 0;
        while next < total {
            if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                assert!(is_intact(&message, next), "message {next}");
                next += 1;
            }
        }
    });
    for seed in 0..total {
        let sent =
            a.send_pattern(&[Peer::new(&[to])], seed, 1_000 + (seed as usize * 7919) % 300_000, reliable());
        assert!(sent.unserved.is_empty());
    }
    reader.join().expect("everything arrives, intact and in order");
    assert_eq!(a.transport.counters().lost_messages + a.transport.counters().timed_out_messages, 0);
}

#[test]
fn a_receiver_that_keeps_everything_does_not_stop_the_sender() {
    let (a, mut b) = pair();
    let mut kept = Vec::new();
    for seed in 0..200u64 {
        let sent = a.send_pattern(&[Peer::new(&[b.locator()])], seed, 1 << 20, reliable());
        assert!(sent.unserved.is_empty(), "message {seed}");
        kept.push(b.next_message());
    }
    assert!(kept.iter().any(|message| message.is_in_place()), "within the quota in place");
    assert!(kept.iter().any(|message| !message.is_in_place()), "beyond it as copies");
    for (seed, message) in kept.iter().enumerate() {
        assert!(is_intact(message, seed as u64));
    }
}

#[test]
fn the_pool_says_what_is_lent_unread_and_held() {
    let (a, mut b) = pair();
    let record = |len: u64| (len + 64).next_multiple_of(64);
    let empty = a.transport.pool();
    assert_eq!((empty.in_use, empty.unread, empty.held_by_peers), (0, 0, 0));
    assert!(empty.capacity >= 3 * (16 << 20) && empty.reserve >= 16 << 20);
    let loan = a.transport.loan(1 << 20).expect("room");
    let _ = a.send_pattern(&[Peer::new(&[b.locator()])], 1, 300_000, reliable());
    let pool = a.transport.pool();
    assert_eq!((pool.unread, pool.held_by_peers), (record(300_000), 0));
    assert_eq!(pool.in_use, record(300_000) + record(1 << 20));
    assert!(pool.reserved >= pool.in_use);
    let message = b.next_message();
    let pool = a.transport.pool();
    assert_eq!((pool.unread, pool.held_by_peers), (0, record(300_000)));
    drop((loan, message));
    let pool = a.transport.pool();
    assert_eq!((pool.in_use, pool.held_by_peers), (0, 0));
    assert_eq!(pool.peak, record(300_000) + record(1 << 20));
}
