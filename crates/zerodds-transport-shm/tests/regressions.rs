//! Faults that were found and mended, each brought about again.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Node, PATIENCE, deadline, fill, fresh_domain, is_intact, pair, pair_with, reliable, until};
use zerodds_core::{Delivery, Incoming, Loan, Peer, Reach, Reason, Receiver, Refusal, Transport, Wake};
use zerodds_transport_shm::{Config, WaitStrategy};

fn small() -> Config {
    Config::default().max_datagram(256 << 10).expect("in range")
}

#[test]
fn messages_taken_after_goodbye_are_what_was_sent() {
    let (mut a, mut b) = pair();
    for seed in 0..5 {
        let _ = b.send_pattern(&[Peer::new(&[a.locator()])], seed, 1 << 20, reliable());
    }
    let early = a.next_message();
    let to_a = a.locator();
    a.transport.close();
    b.until_down(to_a);
    // The memory of everything that A did not take is used again; what it holds is not.
    let loans: Vec<_> = std::iter::from_fn(|| b.transport.loan(1 << 20).ok())
        .map(|mut loan| {
            loan.fill(0xaa);
            loan
        })
        .collect();
    assert!(loans.len() > 10);
    assert!(is_intact(&early, 0), "held while its sender goes on");
    let mut seed = 1;
    while let Some(incoming) = a.receiver.try_receive() {
        if let Incoming::Message(message) = incoming {
            assert!(is_intact(&message, seed), "taken after goodbye, or not at all");
            seed += 1;
        }
    }
}

#[test]
fn reliable_messages_are_never_taken_back_for_best_effort_ones() {
    let (a, b) = pair_with(&small());
    let to = b.locator();
    let (over, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let Node { mut receiver, transport: _kept } = b;
    let reader = std::thread::spawn({
        let (over, lost) = (Arc::clone(&over), Arc::clone(&lost));
        move || {
            let (mut next, mut awaited) = (0u64, 1);
            loop {
                let finished = over.load(Ordering::SeqCst);
                // It goes on where something was taken back, that is in the midst of it.
                if !finished && lost.load(Ordering::SeqCst) < awaited {
                    std::hint::spin_loop();
                    continue;
                }
                match receiver.try_receive() {
                    Some(Incoming::Message(message)) if message[0] == 1 => {
                        assert_eq!(message[8..16], next.to_le_bytes(), "a reliable one is missing");
                        next += 1;
                        if next % 64 == 0 {
                            awaited = lost.load(Ordering::SeqCst) + 1;
                        }
                    }
                    None if finished => return next,
                    _ => std::hint::spin_loop(),
                }
            }
        }
    });
    let mut reliable_sent = 0u64;
    for round in 0..60_000u64 {
        let is_reliable = round % 16 == 0;
        let len = if is_reliable { 5_000 } else { 5_000 + (round as usize * 7919) % 200_000 };
        let Ok(mut loan) = a.transport.loan(len) else { continue };
        loan[0] = u8::from(is_reliable);
        loan[8..16].copy_from_slice(&reliable_sent.to_le_bytes());
        let delivery = if is_reliable { reliable() } else { Delivery::BestEffort };
        let sent = a.transport.send(loan, &[Peer::new(&[to])], delivery).expect("open");
        reliable_sent += u64::from(is_reliable && sent.by_shm == 1);
        lost.store(a.transport.counters().lost_messages, Ordering::SeqCst);
    }
    over.store(true, Ordering::SeqCst);
    assert_eq!(reader.join().expect("in order"), reliable_sent);
    assert!(lost.load(Ordering::SeqCst) > 0, "best effort was taken back meanwhile");
}

#[test]
fn a_loan_of_another_transport_is_sent_as_a_copy() {
    let domain = fresh_domain();
    let (a, b, mut c) = (Node::open(domain), Node::open(domain), Node::open(domain));
    a.link_to(c.locator());
    b.link_to(c.locator());
    let mut foreign = a.transport.loan(1 << 20).expect("room");
    fill(&mut foreign, 1);
    let mut own = b.transport.loan(1 << 20).expect("room");
    own.fill(2);
    let sent = b.transport.send(foreign, &[Peer::new(&[c.locator()])], reliable()).expect("open");
    assert_eq!(sent.by_shm, 1);
    let message = c.next_message();
    own.fill(3);
    assert!(is_intact(&message, 1));
}

#[test]
fn a_loan_of_a_transport_with_a_larger_knob_is_too_large_for_everybody() {
    let (a, mut b) = pair_with(&small());
    let large = Node::open(fresh_domain());
    let len = a.transport.max_message_len() + 1;
    let loan = large.transport.loan(len).expect("within its knob");
    let (to_b, to_self) = ([b.locator()], [a.locator()]);
    let sent = a.transport.send(loan, &[Peer::new(&to_b), Peer::new(&to_self)], reliable()).expect("open");
    assert_eq!(sent.by_shm, 0);
    let is_too_large =
        |why: &Refusal| matches!(why, Refusal::TooLarge { len: is, max } if *is == len && *max == len - 1);
    assert!(sent.unserved.len() == 2 && sent.unserved.iter().all(|unserved| is_too_large(&unserved.why)));
    // The link is as it was.
    assert_eq!(a.send(to_b[0], b"next", reliable()).by_shm, 1);
    assert_eq!(&*b.next_message(), b"next");
}

/// Fills the ring with loans, but for its reserve.
fn fill_but_for_reserve(a: &Node) -> Vec<zerodds_transport_shm::ShmLoan> {
    let max = a.transport.max_message_len();
    let mut filling: Vec<_> = std::iter::from_fn(|| a.transport.loan(max).ok()).collect();
    // The last of them lies in the reserve. With the gaps filled as well, only its place is left when it goes.
    let in_reserve = filling.pop();
    filling.extend(std::iter::from_fn(|| a.transport.loan(50_000).ok()));
    drop(in_reserve);
    filling
}

#[test]
fn a_reliable_message_in_the_reserve_is_sent_once_it_was_taken() {
    let (a, b) = pair_with(&small());
    let to = b.locator();
    let _filling = fill_but_for_reserve(&a);
    let Node { mut receiver, transport: _kept } = b;
    let reader = std::thread::spawn(move || {
        for seed in 0..20 {
            let message = loop {
                if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                    break message;
                }
            };
            assert!(is_intact(&message, seed) && !message.is_in_place(), "copied out of the reserve");
        }
        receiver
    });
    for seed in 0..20 {
        let mut loan = a.transport.loan(50_000).expect("room in the reserve");
        fill(&mut loan, seed);
        assert_eq!(a.transport.send(loan, &[Peer::new(&[to])], reliable()).expect("open").by_shm, 1);
    }
    let _receiver = reader.join().expect("all of them");
    // Nobody reads any more, so the next one is not sent, and stays nowhere.
    let before = a.transport.pool().in_use;
    let loan = a.transport.loan(50_000).expect("room in the reserve");
    let at_once = Delivery::Reliable { deadline: Instant::now() };
    let sent = a.transport.send(loan, &[Peer::new(&[to])], at_once).expect("open");
    assert!(sent.by_shm == 0 && matches!(sent.unserved[0].why, Refusal::Full));
    assert_eq!(a.transport.pool().in_use, before);
}

#[test]
fn a_receiver_that_does_not_read_leaves_the_reserve_to_others() {
    let domain = fresh_domain();
    let [a, mut stopped, b] = [(); 3].map(|()| Node::with(domain, &small()));
    let (to_stopped, to_b) = (stopped.locator(), b.locator());
    a.link_to(to_stopped);
    a.link_to(to_b);
    let max = a.transport.max_message_len();
    let _filling = fill_but_for_reserve(&a);
    let patient = a.transport.clone();
    let (offering, is_offering) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut loan = patient.loan(max).expect("room in the reserve");
        fill(&mut loan, 99);
        offering.send(()).expect("awaited");
        patient.send(loan, &[Peer::new(&[to_stopped])], reliable()).expect("open").by_shm
    });
    is_offering.recv().expect("it goes on");
    let Node { mut receiver, transport: _kept } = b;
    let reader = std::thread::spawn(move || {
        for seed in 0..50 {
            let message = loop {
                if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                    break message;
                }
            };
            assert!(is_intact(&message, seed));
        }
    });
    for seed in 0..50 {
        assert_eq!(a.send_pattern(&[Peer::new(&[to_b])], seed, max, reliable()).by_shm, 1, "{seed}");
    }
    reader.join().expect("all of them");
    assert!(!writer.is_finished(), "it waits for its own receiver, and for nobody else");
    assert!(is_intact(&stopped.next_message(), 99), "which gets it when it reads");
    assert_eq!(writer.join().expect("served"), 1);
}

#[test]
fn a_receiver_that_reads_nothing_reliable_is_sent_no_more_best_effort_than_its_share_and_others_get_all() {
    let domain = fresh_domain();
    let [a, stopped, mut b] = [(); 3].map(|()| Node::with(domain, &small()));
    let (to_stopped, to_b) = (stopped.locator(), b.locator());
    a.link_to(to_stopped);
    a.link_to(to_b);
    let len = a.transport.max_message_len() / 2;
    assert_eq!(a.send_pattern(&[Peer::new(&[to_stopped])], 0, len, reliable()).by_shm, 1);
    for seed in 1..100 {
        let mut loan = a.transport.loan(len).expect("room for everybody else");
        fill(&mut loan, seed);
        let both = [[to_stopped], [to_b]];
        let both = both.each_ref().map(|to| Peer::new(to));
        let sent = a.transport.send(loan, &both, Delivery::BestEffort).expect("open");
        assert!(sent.unserved.iter().all(|unserved| unserved.index == 0), "{seed}: {:?}", sent.unserved);
        assert!(is_intact(&b.next_message(), seed));
        let largest = a.transport.max_message_len();
        assert!(a.transport.loan(largest).is_ok(), "{seed}: one of the largest size finds room");
    }
}

/// Two receivers of the same best-effort messages, before which one of them has something reliable to take.
#[test]
fn nothing_is_taken_from_one_receiver_that_another_one_has_to_get() {
    const COUNT: u64 = 5;
    let domain = fresh_domain();
    let [a, mut b, mut c] = [(); 3].map(|()| Node::with(domain, &small()));
    let to = [b.locator(), c.locator()];
    to.into_iter().for_each(|peer| a.link_to(peer));
    let first = a.send_pattern(&[Peer::new(&to[1..])], 0, 50_000, reliable());
    assert_eq!(first.by_shm, 1);
    let both = [Peer::new(&to[..1]), Peer::new(&to[1..])];
    for number in 1..=COUNT {
        assert_eq!(a.send_pattern(&both, number, 50_000, Delivery::BestEffort).by_shm, 2);
    }
    // Until there is no room, which everything that can be taken back is asked for.
    let loans: Vec<_> = std::iter::from_fn(|| a.transport.loan(200_000).ok()).collect();
    assert!(!loans.is_empty());
    assert_eq!(a.transport.counters().lost_messages, 0);
    assert!((1..=COUNT).all(|number| is_intact(&b.next_message(), number)));
    assert!((0..=COUNT).all(|number| is_intact(&c.next_message(), number)));
}

#[test]
fn a_socket_whose_name_is_no_text_hides_nobody() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let name = [b"not text \xff\xfe", std::process::id().to_string().as_bytes()].concat();
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let address = SocketAddrUnix::new_abstract_name(&name).expect("short enough");
    rustix::net::bind(&socket, &address).expect("free");
    let domain = fresh_domain();
    let [a, b] = [(); 2].map(|()| Node::open(domain));
    assert_eq!(a.transport.neighbours(), [b.locator()]);
    let listening = zerodds_transport_shm::listeners().expect("of /proc");
    assert!(listening.iter().any(|listener| listener.locator == b.locator()));
}

#[test]
fn each_receiver_of_a_message_has_its_turn_of_the_reserve() {
    let domain = fresh_domain();
    let [a, stopped, mut b] = [(); 3].map(|()| Node::with(domain, &small()));
    let (to_stopped, to_b) = (stopped.locator(), b.locator());
    a.link_to(to_stopped);
    a.link_to(to_b);
    let max = a.transport.max_message_len();
    // Behind this the other one is not offered anything at first.
    assert_eq!(a.send_pattern(&[Peer::new(&[to_b])], 6, 50_000, reliable()).by_shm, 1);
    let _filling = fill_but_for_reserve(&a);
    let patient = a.transport.clone();
    let writer = std::thread::spawn(move || {
        let mut loan = patient.loan(max).expect("room in the reserve");
        fill(&mut loan, 7);
        let both = [[to_stopped], [to_b]];
        let both = both.each_ref().map(|to| Peer::new(to));
        let delivery = Delivery::Reliable { deadline: Instant::now() + Duration::from_secs(5) };
        patient.send(loan, &both, delivery).expect("open")
    });
    until("the one that has nothing else is offered it", || a.transport.pool().unread >= max as u64);
    assert!(is_intact(&b.next_message(), 6));
    assert!(is_intact(&b.next_message(), 7));
    let sent = writer.join().expect("it ends at its deadline");
    assert_eq!((sent.by_shm, sent.unserved.len()), (1, 1), "the other one does not read");
}

#[test]
fn no_copy_is_made_for_which_a_receivers_share_has_not_quite_room() {
    let (a, b) = pair_with(&small());
    let to = b.locator();
    // With one receiver, its share is a half.
    let share = a.transport.pool().capacity as usize / 2;
    const RECORD: usize = 128 << 10;
    const HEADER: usize = 64;
    for seed in 0..share / RECORD - 1 {
        let len = RECORD - HEADER;
        assert_eq!(a.send_pattern(&[Peer::new(&[to])], seed as u64, len, reliable()).by_shm, 1);
    }
    let other = Node::open(fresh_domain());
    let written = || a.transport.counters().written_bytes;
    let before = written();
    let copied = |len| {
        let at_once = Delivery::Reliable { deadline: Instant::now() };
        let loan = other.transport.loan(len).expect("room");
        a.transport.send(loan, &[Peer::new(&[to])], at_once).expect("open").by_shm
    };
    assert_eq!(copied(RECORD - HEADER + 1), 0, "with its header it is longer than what is left");
    assert_eq!(written(), before, "and is not copied to find that out");
    assert_eq!(copied(RECORD - HEADER), 1);
}

#[test]
fn the_end_of_a_copy_that_finds_no_receiver_wakes_whoever_waits_for_its_room() {
    let config = Config::default().max_datagram(64 << 20).expect("in range");
    let domain = fresh_domain();
    let [mut a, mut b] = [(); 2].map(|()| Node::with(domain, &config));
    let (to_b, max) = (b.locator(), a.transport.max_message_len());
    for _ in 0..5 {
        a.link_to(to_b);
        // Behind this a message waits outside of the ring.
        assert_eq!(a.send_pattern(&[Peer::new(&[to_b])], 0, 50_000, reliable()).by_shm, 1);
        let _filling = fill_but_for_reserve(&a);
        let filled = a.transport.pool().in_use;
        let is_in_reserve = || a.transport.pool().in_use > filled + max as u64 / 2;
        let patient = a.transport.clone();
        let (lent, is_lent) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let loan = patient.loan(max).expect("room in the reserve");
            lent.send(()).expect("awaited");
            patient.send(loan, &[Peer::new(&[to_b])], reliable()).expect("open").by_shm
        });
        is_lent.recv().expect("it goes on");
        until("the loan leaves the reserve", || !is_in_reserve());
        drop(b.next_message());
        until("it is copied there again", is_in_reserve);
        let (transport, far) = (a.transport.clone(), Instant::now() + Duration::from_secs(3600));
        let (woken, is_woken) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Given back before it is told: the next round fills the ring.
            let is_lent = transport.loan_before(max, far).is_ok();
            woken.send(is_lent)
        });
        a.transport.disconnect(&to_b);
        assert_eq!(is_woken.recv_timeout(PATIENCE), Ok(true));
        assert_eq!(writer.join().expect("its receiver is gone"), 0);
        a.until_down(to_b);
    }
}

#[test]
fn whoever_comes_and_goes_and_keeps_what_it_got_does_not_get_the_whole_ring() {
    let (mut a, mut b) = pair_with(&small());
    let (to_a, to_b, max) = (a.locator(), b.locator(), a.transport.max_message_len());
    let kept: Vec<_> = (0..30)
        .map(|seed| {
            a.link_to(to_b);
            assert_eq!(a.send_pattern(&[Peer::new(&[to_b])], seed, max, reliable()).by_shm, 1);
            let message = b.next_message();
            b.transport.disconnect(&to_a);
            a.until_down(to_b);
            message
        })
        .collect();
    let pool = a.transport.pool();
    assert!(kept[0].is_in_place() && pool.held_by_peers > 0);
    assert!(pool.held_by_peers <= pool.capacity - pool.reserve, "{pool:?}");
    assert!(kept.iter().zip(0..).all(|(message, seed)| is_intact(message, seed)));
}

#[test]
fn senders_that_wait_for_their_own_process_are_woken() {
    let mut a = Node::open(fresh_domain());
    let own = a.locator();
    while a.send(own, b"fill", Delivery::BestEffort).by_shm == 1 {}
    let transport = a.transport.clone();
    let far = Instant::now() + Duration::from_secs(3600);
    let sender = std::thread::spawn(move || {
        let delivery = Delivery::Reliable { deadline: far };
        transport.send_bytes(b"late", &[Peer::new(&[own])], delivery).expect("open").by_shm
    });
    while &*a.next_message() != b"late" {}
    assert_eq!(sender.join().expect("woken"), 1);

    let held: Vec<_> = std::iter::from_fn(|| a.transport.loan(1 << 20).ok()).collect();
    let transport = a.transport.clone();
    let borrower = std::thread::spawn(move || transport.loan_before(1 << 20, far).is_ok());
    drop(held);
    assert!(borrower.join().expect("woken"));
}

#[test]
fn a_spinning_receiver_sees_the_other_descriptors_too() {
    let mut a = Node::with(fresh_domain(), &Config::default().wait(WaitStrategy::Spin).expect("no time"));
    let (readable, writable) = rustix::pipe::pipe().expect("pipe");
    rustix::io::write(&writable, b"x").expect("room");
    assert_eq!(a.receiver.wait(Some(deadline()), &[readable.as_fd()]), Wake::Ready);
}

#[test]
fn messages_to_oneself_are_bounded_whatever_the_receiver_does() {
    let mut a = Node::open(fresh_domain());
    let own = a.locator();
    let mut accepted = 0;
    for _ in 0..100 {
        for _ in 0..100 {
            accepted += a.send(own, b"x", Delivery::BestEffort).by_shm;
        }
        let _ = a.receiver.try_receive();
    }
    assert!(accepted < 4_000, "{accepted} of 10,000 with 100 received");
}

#[test]
fn of_messages_to_oneself_no_more_wait_than_ones_share_of_the_ring_and_they_wake_before() {
    let mut a = Node::with(fresh_domain(), &small());
    a.lie_down_in_poll();
    let (own, max) = (a.locator(), a.transport.max_message_len());
    let share = a.transport.pool().capacity / 2;
    let mut accepted = 0;
    for seed in 0..100 {
        let mut loan = a.transport.loan(max).expect("what waits is not all there is");
        fill(&mut loan, seed);
        let sending = a.transport.begin_quietly(loan, &[Peer::new(&[own])], Delivery::BestEffort);
        accepted += u64::from(sending.expect("open").finish().0.by_shm);
    }
    assert!((2..=share / max as u64).contains(&accepted), "{accepted} of {max} bytes in {share}");
    a.until_woken_in_poll();
    for seed in 0..accepted {
        assert!(is_intact(&a.next_message(), seed));
    }
}

#[test]
fn whoever_sends_to_itself_without_end_receives_from_others_all_the_same() {
    let (mut a, b) = pair();
    let own = a.locator();
    for round in 0..100 {
        for _ in 0..10 {
            assert_eq!(a.send(own, b"own", reliable()).by_shm, 1);
        }
        assert_eq!(b.send(own, &u64::to_le_bytes(round), reliable()).by_shm, 1);
        let two = [a.next_message(), a.next_message()];
        assert!(two.iter().any(|message| message[..] == round.to_le_bytes()), "one of the two");
    }
}

#[test]
fn a_reliable_message_for_which_there_is_no_room_is_waited_for_as_bytes_too() {
    let (a, b) = pair_with(&small());
    let (to, max) = ([b.locator()], a.transport.max_message_len());
    let bytes = vec![7; max];
    let loans: Vec<_> = std::iter::from_fn(|| a.transport.loan(max).ok()).collect();
    for (promise, counted) in
        [(Delivery::Reliable { deadline: Instant::now() }, (1, 0)), (Delivery::BestEffort, (1, 1))]
    {
        let sent = a.transport.send_bytes(&bytes, &[Peer::new(&to)], promise).expect("open");
        assert!(sent.by_shm == 0 && matches!(sent.unserved[0].why, Refusal::Full), "{sent:?}");
        let counters = a.transport.counters();
        assert_eq!((counters.timed_out_messages, counters.lost_messages), counted);
    }
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| a.transport.send_bytes(&bytes, &[Peer::new(&to)], reliable()));
        drop(loans);
        assert_eq!(sender.join().expect("no panic").expect("open").by_shm, 1);
    });
}

#[test]
fn nothing_unread_is_taken_back_in_place_of_what_was_given_back() {
    let (a, mut b) = pair_with(&Config::default().max_datagram(1 << 20).expect("in range"));
    let to = [b.locator()];
    let to = [Peer::new(&to)];
    let kept: Vec<_> = (0..350)
        .map(|seed| {
            assert_eq!(a.send_pattern(&to, seed, 5_000, Delivery::BestEffort).by_shm, 1);
            b.next_message()
        })
        .collect();
    // As many as there is room for.
    let mut seed = 0;
    let unread = loop {
        let pool = a.transport.pool();
        if pool.in_use + (1 << 20) > pool.capacity {
            break seed;
        }
        assert_eq!(a.send_pattern(&to, seed, 1 << 20, Delivery::BestEffort).by_shm, 1);
        seed += 1;
    };
    assert!(unread > 0);
    drop(kept);
    assert_eq!(a.send_pattern(&to, unread, 1 << 20, Delivery::BestEffort).by_shm, 1);
    assert_eq!(a.transport.counters().lost_messages, 0);
    for seed in 0..=unread {
        assert!(is_intact(&b.next_message(), seed));
    }
}

#[test]
fn a_peer_that_reconnects_is_reported_down_before_it_is_up_again() {
    let domain = fresh_domain();
    let mut a = Node::open(domain);
    for _ in 0..20 {
        let b = Node::open(domain);
        let peer = b.locator();
        b.link_to(a.locator());
        let _ = b.send(a.locator(), b"hello", reliable());
        drop(b);
        assert_eq!(a.until_down(peer).len(), 1);
    }
    assert!(a.receiver.receive(Some(Instant::now())).is_none());
}

#[test]
fn a_handshake_that_is_broken_off_can_be_tried_again() {
    let domain = fresh_domain();
    let a = Node::open(domain);
    for _ in 0..50 {
        // It may be anywhere in the handshake, or before it, when it goes.
        let b = Node::open(domain);
        let _ = b.transport.reach(Peer::new(&[a.locator()]));
    }
    let b = Node::open(domain);
    b.link_to(a.locator());
    a.link_to(b.locator());
}

#[test]
fn a_dropped_receiver_ends_the_links_and_leaves_the_process_as_it_was() {
    let domain = fresh_domain();
    let mut a = Node::open(domain);
    let b = Node::open(domain);
    let peer = b.locator();
    a.link_to(peer);
    let Node { transport, receiver } = b;
    drop(receiver);
    a.until_down(peer);
    assert!(!matches!(a.transport.reach(Peer::new(&[peer])), Reach::Ready(_)));
    drop(transport);
}

#[test]
fn a_dropped_receiver_looks_like_no_death_and_no_link_is_made_for_it_again() {
    let domain = fresh_domain();
    let (mut a, b) = (Node::open(domain), Node::open(domain));
    let peer = b.locator();
    a.link_to(peer);
    let Node { transport, receiver } = b;
    drop(receiver);
    let (_, why) = a.until_down_why(peer);
    assert!(matches!(why, Reason::Unavailable(_)), "{why}");
    // Until it was refused a few times, however long the pauses in between.
    let (until, refused) = (deadline(), transport.counters().refused);
    while transport.counters().refused < refused + 3 {
        assert!(!matches!(a.transport.reach(Peer::new(&[peer])), Reach::Ready(_)));
        assert!(!matches!(transport.reach(Peer::new(&[a.locator()])), Reach::Ready(_)));
        assert!(a.receiver.try_receive().is_none(), "neither up nor down again");
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert_eq!(a.transport.counters().links, 0);
}

#[test]
fn a_truncated_loan_of_the_largest_size_can_be_had_again_and_again() {
    let (a, mut b) = pair();
    let max = a.transport.max_message_len();
    for seed in 0..200u64 {
        let mut loan = a.transport.loan(max).expect("nobody holds anything");
        loan.truncate(68);
        fill(&mut loan, seed);
        let _ = a.transport.send(loan, &[Peer::new(&[b.locator()])], reliable()).expect("open");
        assert!(is_intact(&b.next_message(), seed));
    }
}

#[test]
fn whom_nobody_receives_for_sends_nothing_to_itself_and_goes_on() {
    let Node { transport, receiver } = Node::open(fresh_domain());
    let own = transport.locators();
    drop(receiver);
    let (done, is_done) = std::sync::mpsc::channel();
    // On a thread of its own, since what is looked for is that it never comes back.
    let sender = transport.clone();
    std::thread::spawn(move || {
        let to = [Peer::new(&own)];
        for len in [0, 100, 50_000] {
            let sent = sender.send_bytes(&vec![1; len], &to, Delivery::BestEffort).expect("open");
            done.send((sent.by_shm, sent.unserved.len())).expect("awaited");
        }
    });
    for _ in 0..3 {
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok((0, 1)));
    }
    assert_eq!(transport.pool().in_use, 0);
}

#[test]
fn whoever_keeps_what_it_sends_to_itself_leaves_room_for_its_peers() {
    let (mut a, mut b) = pair_with(&small());
    let (own, max) = (a.locator(), a.transport.max_message_len());
    let kept: Vec<_> = (0..20)
        .map(|seed| {
            assert_eq!(a.send_pattern(&[Peer::new(&[own])], seed, max, reliable()).by_shm, 1);
            assert_eq!(b.send_pattern(&[Peer::new(&[own])], seed, 100, reliable()).by_shm, 1);
            (0..2).map(|_| a.next_message()).find(|message| message.len() == max).expect("one of the two")
        })
        .collect();
    assert!(kept.iter().zip(0..).all(|(message, seed)| is_intact(message, seed)));
    assert!(kept[0].is_in_place() && !kept[19].is_in_place(), "its share in place, then copies");
    let pool = a.transport.pool();
    // Nobody else was given anything of the ring.
    assert!(pool.held_by_peers > 0 && pool.held_by_peers <= pool.capacity / 2, "{pool:?}");
    for seed in 0..3 {
        let mut loan = a.transport.loan(max).expect("what it keeps is not all there is");
        fill(&mut loan, seed);
        assert_eq!(a.transport.send(loan, &[Peer::new(&[b.locator()])], reliable()).expect("open").by_shm, 1);
        assert!(is_intact(&b.next_message(), seed));
    }
    drop(kept);
    assert_eq!(a.transport.pool().held_by_peers, 0);
}
