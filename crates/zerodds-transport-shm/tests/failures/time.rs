//! Time that jumps, and processes that get none: nobody is taken for dead, nothing is taken away.

use crate::shims;
use crate::support::child::{Process, hear, tell};
use crate::support::roles::{echo, send_numbered, until_echoed, with_first_neighbour, with_receiver};
use crate::support::{Node, PATIENCE, fresh_domain, is_intact, pair, reliable, scaled};
use std::time::{Duration, Instant, SystemTime};
use zerodds_core::{Delivery, Incoming, Peer, Reach, Receiver, Refusal, Transport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match words {
        ["under-steps", domain] => under_steps(domain.parse().expect("a domain")),
        ["hog", threads] => hog(threads.parse().expect("a number")),
        ["stream", domain] => stream(domain.parse().expect("a domain")),
        _ => return false,
    }
    true
}

/// Whether nobody was reported as gone, and what came meanwhile.
fn nobody_is_gone(node: &mut Node) -> bool {
    std::iter::from_fn(|| node.receiver.try_receive()).all(|came| !matches!(came, Incoming::PeerDown(..)))
}

const STEP: Duration = Duration::from_secs(300 * 86_400);

/// Waits, sends and receives while every look at the wall clock finds another year.
fn under_steps(domain: u32) {
    let jumps = (0..10).map(|_| SystemTime::now()).collect::<Vec<_>>();
    let is_far = |pair: &[SystemTime]| {
        pair[0].duration_since(pair[1]).is_ok_and(|by| by > STEP)
            || pair[1].duration_since(pair[0]).is_ok_and(|by| by > STEP)
    };
    assert!(jumps.windows(2).all(is_far), "the clock is stepped: {jumps:?}");

    let mut node = Node::open(domain);
    tell("ready");
    // Two waits end at their deadlines: not a year early, and not a year late.
    let begun = Instant::now();
    let far_enough = begun + Duration::from_millis(200);
    while Instant::now() < far_enough {
        let found = node.receiver.receive(Some(far_enough));
        assert!(!matches!(found, Some(Incoming::Message(_))), "nothing was sent");
    }
    let (full, reader) = pair();
    let in_a_while = || Delivery::Reliable { deadline: Instant::now() + Duration::from_millis(100) };
    let refused = loop {
        let before = Instant::now();
        let sent = send_numbered(&full, reader.locator(), 0, 4 << 20, in_a_while());
        if let Some(unserved) = sent.unserved.into_iter().next() {
            assert!(before.elapsed() >= Duration::from_millis(100), "not before its deadline");
            break unserved;
        }
    };
    assert!(matches!(refused.why, Refusal::Full));
    assert!(begun.elapsed() < PATIENCE, "and not long after");
    tell("waited");

    echo(&mut node);
    hear();
}

#[test]
fn f31_a_wall_clock_that_jumps_changes_no_wait_and_loses_nothing() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut child = shims::start_with(shims::CLOCK, &format!("under-steps {domain}"), &[]);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    assert_eq!(child.hear(), "waited");
    node.link_to(peer);
    until_echoed(&mut node, &mut child, peer, scaled(300, 10_000));
    assert!(nobody_is_gone(&mut node) && node.transport.counters().links == 1);
    assert!(child.finish());
}

/// Uses all that the processors have, until the parent is gone.
fn hog(threads: usize) {
    for _ in 0..threads {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    tell("hogging");
    hear();
}

#[test]
fn f32_processes_that_get_hardly_any_processor_time_are_not_declared_dead() {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let mut hogs = Process::start(&format!("hog {}", 2 * processors), &[]);
    assert_eq!(hogs.hear(), "hogging");
    // They come last wherever somebody else wants to run: one exchanges messages, the other is silent all the time.
    let (mut node, mut busy, peer) = with_receiver(&["nice", "-n", "19"]);
    let (mut other, mut silent, far) = with_receiver(&["nice", "-n", "19"]);
    let until = Instant::now() + scaled(Duration::from_secs(3), Duration::from_secs(30));
    let mut number = 0;
    while Instant::now() < until {
        assert!(send_numbered(&node, peer, number, 50_000, reliable()).unserved.is_empty());
        busy.tell("take 1");
        assert_eq!(busy.hear(), format!("{number} 50000 true"));
        number += 1;
    }
    assert!(nobody_is_gone(&mut node) && nobody_is_gone(&mut other));
    assert_eq!((node.transport.counters().links, other.transport.counters().links), (1, 1));
    assert!(send_numbered(&other, far, 1, 50_000, reliable()).unserved.is_empty());
    silent.tell("take 1");
    assert_eq!(silent.hear(), "1 50000 true");
}

/// Sends numbered messages of many sizes to the first neighbour, reliable, for as long as it can.
fn stream(domain: u32) {
    let (node, to) = with_first_neighbour(domain);
    for number in 0.. {
        let far = Instant::now() + Duration::from_secs(3600);
        let len = [8, 700, 5_000, 60_000, 300_000][number as usize % 5];
        if !send_numbered(&node, to, number, len, Delivery::Reliable { deadline: far }).unserved.is_empty() {
            return;
        }
    }
}

/// How long a process is stopped.
fn stopped() -> Duration {
    scaled(Duration::from_secs(1), Duration::from_secs(60))
}

#[test]
fn f33_a_process_that_was_frozen_goes_on_where_it_was() {
    // In the handshake: it has a connection that it cannot answer.
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut child = Process::start(&format!("receive {domain}"), &[]);
    assert_eq!(child.hear(), "ready");
    child.stop();
    let peer = node.transport.neighbours()[0];
    assert!(!matches!(node.transport.reach(Peer::new(&[peer])), Reach::Ready(_)));
    std::thread::sleep(stopped());
    child.resume();
    node.link_to(peer);

    // Asleep, then holding what it was given in place, then with a queue that it has not read.
    for (number, holding) in [(0, 0), (1, 3), (2, 3)] {
        for seed in 0..holding {
            assert!(send_numbered(&node, peer, 100 + seed, 1 << 20, reliable()).unserved.is_empty());
        }
        child.tell(&format!("keep {holding}"));
        for seed in 0..holding {
            assert_eq!(child.hear(), format!("{} {} true", 100 + seed, 1 << 20));
        }
        child.stop();
        for seed in 0..2 {
            let seed = number * 10 + seed;
            assert!(send_numbered(&node, peer, seed, 200_000, reliable()).unserved.is_empty());
        }
        std::thread::sleep(stopped());
        assert!(node.transport.pool().unread > 0, "what it was given stays its own");
        assert!(nobody_is_gone(&mut node) && node.transport.counters().links == 1);
        child.resume();
        child.tell("take 2");
        for seed in 0..2 {
            assert_eq!(child.hear(), format!("{} 200000 true", number * 10 + seed));
        }
    }
}

#[test]
fn f33_a_sender_that_is_frozen_at_any_moment_goes_on_without_a_gap() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let child = Process::start(&format!("stream {domain}"), &[]);
    let mut next = 0;
    let mut take = |node: &mut Node, count: u64| {
        for _ in 0..count {
            let message = node.next_message();
            assert_eq!(u64::from_le_bytes(message[..8].try_into().expect("8")), next, "in order, each once");
            assert!(is_intact(&message[8..], next));
            next += 1;
        }
    };
    for round in 0..scaled(200, 2_000) {
        take(&mut node, 1 + round % 7);
        child.stop();
        // What it had sent by then is there; more comes only when it goes on.
        child.resume();
    }
    child.stop();
    std::thread::sleep(stopped());
    assert_eq!(node.transport.counters().links, 1);
    child.resume();
    take(&mut node, 2_000);
}

#[test]
fn f38_what_a_stalled_receiver_has_or_waits_for_is_never_freed_by_a_timer() {
    let (node, mut child, peer) = with_receiver(&[]);
    let mut other = Process::start(&format!("receive {}", peer.port()), &[]);
    assert_eq!(other.hear(), "ready");
    let beside = node.transport.neighbours().into_iter().find(|&found| found != peer).expect("the other");
    node.link_to(beside);
    let stalls = [scaled(Duration::from_millis(100), Duration::from_secs(10)), Duration::from_millis(300)];
    let mut lost = 0;
    for (round, stall) in (0u64..).zip(stalls) {
        // One kept, a best-effort one that may be taken back, but never torn, and one accepted and not read.
        let send = |seed: u64, delivery: Delivery| {
            send_numbered(&node, peer, 1_000 * round + seed, 1 << 20, delivery).unserved.is_empty()
        };
        assert!(send(0, reliable()));
        child.tell("keep 1");
        assert_eq!(child.hear(), format!("{} {} true", 1_000 * round, 1 << 20));
        assert!(send(1, Delivery::BestEffort) && send(2, reliable()));
        child.stop();
        let until = Instant::now() + stall;
        let mut passed = 0;
        // Several times the ring passes by meanwhile.
        while Instant::now() < until || passed < 200 {
            assert!(send_numbered(&node, beside, passed, 1 << 20, reliable()).unserved.is_empty());
            other.tell("take 1");
            assert_eq!(other.hear(), format!("{passed} {} true", 1 << 20));
            passed += 1;
        }
        child.resume();
        // The child checks every byte as it takes, and what it keeps again at its end.
        child.tell("take 1");
        let mut next = child.hear();
        if next.starts_with(&format!("{} ", 1_000 * round + 1)) {
            child.tell("take 1");
            next = child.hear();
        } else {
            lost += 1;
        }
        assert_eq!(next, format!("{} {} true", 1_000 * round + 2, 1 << 20));
        assert_eq!(node.transport.counters().lost_messages, lost, "the best-effort one came, or was counted");
        child.tell("check 0");
        assert_eq!(child.hear(), format!("kept {} intact", round + 1));
    }
}
