//! Messages whose news travels another way: they wake nobody, until room is wanted.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use support::{Node, PATIENCE, deadline, fill, fresh_domain, is_intact, pair, pair_with, reliable};
use zerodds_core::{Delivery, Incoming, Locator, Peer, Receiver, Transport, Wake};
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport};

fn send_quietly(transport: &ShmTransport, to: Locator, seed: u64, len: usize) {
    let mut loan = transport.loan_before(len, deadline()).expect("room in time");
    fill(&mut loan, seed);
    let mut sending = transport.begin_quietly(loan, &[Peer::new(&[to])], reliable()).expect("open");
    sending.wait(deadline());
    let sent = sending.finish().0;
    assert_eq!(sent.by_shm, 1, "{:?}", sent.unserved);
}

/// Takes everything, then lies down.
fn lie_down(receiver: &mut ShmReceiver) -> u64 {
    let mut taken = 0;
    while receiver.arm() == Wake::Ready {
        taken += u64::from(matches!(receiver.try_receive(), Some(Incoming::Message(_))));
    }
    taken
}

/// Whether a receiver that lies was woken within this many seconds.
fn is_woken(receiver: &ShmReceiver, seconds: u64) -> bool {
    let fds = receiver.readiness();
    let timeout = Timespec { tv_sec: seconds as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fds[0], PollFlags::IN)], Some(&timeout)).expect("polls") == 1
}

#[test]
fn a_receiver_that_sleeps_is_not_woken_by_quiet_messages_and_finds_them_when_it_looks() {
    let (a, mut b) = pair();
    lie_down(&mut b.receiver);
    for seed in 0..50 {
        send_quietly(&a.transport, b.locator(), seed, [10, 2_000, 50_000][seed as usize % 3]);
    }
    assert!(!is_woken(&b.receiver, 0));
    for seed in 0..50 {
        assert!(is_intact(&b.next_message(), seed));
    }
    lie_down(&mut b.receiver);
    send_quietly(&a.transport, b.locator(), 1, 10);
    let _ = a.send(b.locator(), b"loud", reliable());
    assert!(is_woken(&b.receiver, PATIENCE.as_secs()), "a loud one wakes as ever");
    assert_eq!(lie_down(&mut b.receiver), 2);
}

#[test]
fn a_thread_that_sleeps_is_woken_once_for_many_quiet_messages_and_a_loud_one() {
    let (a, b) = pair();
    let to = b.locator();
    let Node { transport: _kept, mut receiver } = b;
    let (asleep, is_asleep) = mpsc::channel();
    let wakes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut taken = lie_down(&mut receiver);
            asleep.send(()).expect("the test goes on");
            while taken < 51 {
                assert!(is_woken(&receiver, PATIENCE.as_secs()));
                wakes.fetch_add(1, Ordering::SeqCst);
                taken += lie_down(&mut receiver);
            }
        });
        is_asleep.recv().expect("it lies down");
        for seed in 0..50 {
            send_quietly(&a.transport, to, seed, 5_000);
        }
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        let _ = a.send(to, b"loud", reliable());
        reader.join().expect("woken");
    });
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_quarter_of_the_slots_of_the_share_or_of_the_lane_wakes() {
    // At the default knob: 256 slots, 24 MiB of the ring for the only peer, 16 KiB of lane.
    for (len, few, many) in [(2_000, 50, 75), (1 << 20, 4, 8), (1_000, 3, 6)] {
        let (a, mut b) = pair();
        lie_down(&mut b.receiver);
        for seed in 0..few {
            send_quietly(&a.transport, b.locator(), seed, len);
        }
        assert!(!is_woken(&b.receiver, 0), "{few} of {len} bytes wake nobody");
        for seed in few..many {
            send_quietly(&a.transport, b.locator(), seed, len);
        }
        assert!(is_woken(&b.receiver, PATIENCE.as_secs()), "{many} of {len} bytes wake");
    }
}

fn send_best_effort(transport: &ShmTransport, to: &[Locator], seed: u64, len: usize) {
    let mut loan = transport.loan(len).expect("room");
    assert_eq!(transport.counters().lost_messages, 0, "for {len} bytes something was taken back");
    fill(&mut loan, seed);
    let peers: Vec<_> = to.iter().map(std::slice::from_ref).map(Peer::new).collect();
    let sent = transport.begin_quietly(loan, &peers, Delivery::BestEffort).expect("open").finish().0;
    assert_eq!(sent.by_shm as usize, to.len(), "{:?}", sent.unserved);
}

#[test]
fn best_effort_wakes_before_it_is_taken_back() {
    // What waits untaken of these goes no further than 4 MiB, or two of them and 1 MiB.
    for (len, many) in [(64 << 10, 32), (1 << 20, 2), (3 << 20, 2), (5 << 20, 2)] {
        let (a, mut b) = pair();
        lie_down(&mut b.receiver);
        for seed in 0..many {
            assert!(!is_woken(&b.receiver, 0), "{seed} of {len} bytes wake nobody");
            send_best_effort(&a.transport, &[b.locator()], seed, len);
        }
        assert!(is_woken(&b.receiver, PATIENCE.as_secs()), "{many} of {len} bytes wake");
        assert!((0..many).all(|seed| is_intact(&b.next_message(), seed)));
    }
}

#[test]
fn best_effort_for_others_wakes_before_it_is_taken_back_too() {
    let (a, mut others) = one_and_others();
    let all = others.each_ref().map(Node::locator);
    send_best_effort(&a.transport, &all, 0, 1 << 20);
    assert!(others.iter().all(|other| !is_woken(&other.receiver, 0)), "it lies there once");
    for other in &mut others {
        assert!(is_intact(&other.next_message(), 0));
        lie_down(&mut other.receiver);
    }
    for pair in others.chunks_mut(2) {
        send_best_effort(&a.transport, &[pair[0].locator()], 1, 1 << 20);
        assert!(!is_woken(&pair[0].receiver, 0));
        send_best_effort(&a.transport, &[pair[1].locator()], 1, 1 << 20);
        for other in pair {
            assert!(is_woken(&other.receiver, PATIENCE.as_secs()), "two of them wake both");
            assert!(is_intact(&other.next_message(), 1));
        }
    }
}

#[test]
fn a_short_message_takes_back_no_long_one_for_which_nobody_was_woken() {
    let (a, mut b) = pair();
    lie_down(&mut b.receiver);
    send_best_effort(&a.transport, &[b.locator()], 1, 5 << 20);
    assert!(!is_woken(&b.receiver, 0));
    // With such as this one, less of the ring stays warm than the long one has.
    send_best_effort(&a.transport, &[b.locator()], 2, 20_000);
    assert!(is_woken(&b.receiver, PATIENCE.as_secs()));
    assert!(is_intact(&b.next_message(), 1) && is_intact(&b.next_message(), 2));
}

/// A transport that has links with four others, whose receivers lie.
fn one_and_others() -> (Node, [Node; 4]) {
    let domain = fresh_domain();
    let a = Node::open(domain);
    let others = [(); 4].map(|()| {
        let mut other = Node::open(domain);
        a.link_to(other.locator());
        other.link_to(a.locator());
        lie_down(&mut other.receiver);
        other
    });
    (a, others)
}

#[test]
fn what_was_taken_is_no_longer_counted_as_waiting() {
    let (a, mut b) = pair();
    for seed in 0..2_000 {
        lie_down(&mut b.receiver);
        send_quietly(&a.transport, b.locator(), seed, 20_000);
        assert!(!is_woken(&b.receiver, 0), "message {seed}");
        assert!(is_intact(&b.next_message(), seed));
    }
}

#[test]
fn whoever_wants_room_wakes_those_beside_whom_something_waits() {
    let config = Config::default().max_datagram(256 << 10).expect("in range");
    let (a, mut b) = pair_with(&config);
    lie_down(&mut b.receiver);
    send_quietly(&a.transport, b.locator(), 1, 10_000);
    assert!(!is_woken(&b.receiver, 0));
    let loans: Vec<_> = std::iter::from_fn(|| a.transport.loan(256 << 10).ok()).collect();
    assert!(is_woken(&b.receiver, PATIENCE.as_secs()), "the last loan found no room");
    drop(loans);

    lie_down(&mut b.receiver);
    // Best effort does not wait, but it needs room too.
    let mut quiet = 0;
    while !is_woken(&b.receiver, 0) {
        let loan = a.transport.loan(100).expect("of the heap");
        let sending = a.transport.begin_quietly(loan, &[Peer::new(&[b.locator()])], Delivery::BestEffort);
        let sent = sending.expect("open").finish().0;
        assert_eq!(sent.by_shm, 1, "woken before there is no room at all");
        quiet += 1;
    }
    assert!(quiet > 10, "{quiet} small messages");
}

#[test]
fn a_hundred_thousand_quiet_messages_meet_a_receiver_that_only_waits() {
    let config = Config::default().max_datagram(256 << 10).expect("in range");
    let (a, b) = pair_with(&config);
    let (to, total) = (b.locator(), 100_000u64);
    let Node { transport: _kept, mut receiver } = b;
    let reader = std::thread::spawn(move || {
        let mut next = 0;
        while next < total {
            if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                assert!(is_intact(&message, next), "message {next}");
                next += 1;
            }
        }
    });
    for seed in 0..total - 1 {
        send_quietly(&a.transport, to, seed, [8, 700, 1_200, 6_000, 16, 12_000, 90][seed as usize % 7]);
    }
    let _ = a.send_pattern(&[Peer::new(&[to])], total - 1, 8, reliable());
    reader.join().expect("all of them, in order");
    assert_eq!(a.transport.counters().timed_out_messages, 0);
}

#[test]
fn quiet_messages_to_oneself_wait_until_one_looks_or_many_wait() {
    let mut a = Node::open(fresh_domain());
    let own = a.locator();
    lie_down(&mut a.receiver);
    for seed in 0..100 {
        send_quietly(&a.transport, own, seed, 5_000);
    }
    assert!(!is_woken(&a.receiver, 0));
    for seed in 100..300 {
        send_quietly(&a.transport, own, seed, 5_000);
    }
    assert!(is_woken(&a.receiver, PATIENCE.as_secs()));
    assert_eq!(lie_down(&mut a.receiver), 300);
    send_quietly(&a.transport, own, 1, 1 << 20);
    let loans: Vec<_> = std::iter::from_fn(|| a.transport.loan(1 << 20).ok()).collect();
    assert!(is_woken(&a.receiver, PATIENCE.as_secs()), "after {} loans there was no room", loans.len());
}
