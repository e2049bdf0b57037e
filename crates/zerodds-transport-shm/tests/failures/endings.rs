//! Children that inherit, and ends in every order and at every moment.

use crate::shims;
use crate::support::child::{Beside, Process, hear, tell};
use crate::support::roles::{send_numbered, with_receiver};
use crate::support::{Node, deadline, fresh_domain, is_intact, pair, reliable, scaled};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::any::Any;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Peer, Reach, Reason, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match words {
        ["traffic", domain] => traffic(domain.parse().expect("a domain")),
        _ => return false,
    }
    true
}

#[test]
fn f58_a_program_that_is_executed_inherits_nothing() {
    let (node, mut child, _) = with_receiver(&[]);
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("ls runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for ours in ["memfd", "eventfd", "eventpoll", "pidfd", "socket"] {
        assert!(!listed.contains(ours), "{listed}");
    }
    // A program that outlives its parent's transport keeps nothing of it. It ends with its input, if not before.
    let _sleeper = Beside::start(&mut Command::new("cat"));
    let own = node.locator();
    node.transport.close();
    drop(node);
    child.tell("take 0");
    // Sockets are closed on a thread of their own, and a child that another test forks has them until it executes.
    crate::support::until("its name is free", || {
        !std::fs::read_to_string("/proc/net/unix").expect("proc").contains(&crate::raw::name(&own))
    });
}

/// Kills a receiving child that has forked, once `meanwhile` is done: the one that it forked, which keeps what it inherited.
fn forked_and_killed(domain: u32, meanwhile: impl FnOnce()) -> Pid {
    let file = shims::scratch("forked");
    let mut child =
        shims::start_with(shims::FORK, &format!("receive {domain}"), &[("ZERODDS_TEST_FORKED", &file)]);
    assert_eq!(child.hear(), "ready");
    meanwhile();
    child.signal(Signal::USR1);
    let mut forked = None;
    crate::support::until("it forks", || {
        let written = <[u8; 4]>::try_from(&std::fs::read(&file).unwrap_or_default()[..]);
        forked = written.ok().and_then(|id| Pid::from_raw(i32::from_ne_bytes(id)));
        forked.is_some()
    });
    child.kill();
    let _ = std::fs::remove_file(&file);
    forked.expect("a pid")
}

/// The pidfd of the peer's process tells, on Linux 6.5 and later; its socket does not end with it.
#[test]
fn f58_the_death_of_a_process_is_known_though_its_child_keeps_its_sockets() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut peer = node.locator();
    let forked = forked_and_killed(domain, || {
        peer = node.transport.neighbours()[0];
        node.link_to(peer);
    });
    let (_, reason) = node.until_down_why(peer);
    // Still there: it is what keeps the sockets open.
    let kept = rustix::process::kill_process(forked, Signal::KILL);
    assert_eq!((reason, kept), (Reason::PeerDied, Ok(())));
}

/// The same by whom it was met first when it was dead: a socket of a child that accepts nobody takes connections as ever, until
/// its queue is full.
#[test]
fn f58_who_comes_late_knows_the_death_of_a_process_though_its_child_keeps_its_socket() {
    let domain = fresh_domain();
    let forked = forked_and_killed(domain, || ());
    let node = Node::open(domain);
    let peer = node.transport.neighbours()[0];
    let why_not = || {
        let until = deadline();
        loop {
            match node.transport.reach(Peer::new(&[peer])) {
                Reach::Unreachable(why) => return why,
                other => assert!(Instant::now() < until, "{other:?}"),
            }
            std::thread::yield_now();
        }
    };
    let first = why_not();
    let full = (0..).find_map(|_| crate::raw::try_connect(&crate::raw::name(&peer)).err());
    // What the first try came to is forgotten after a moment.
    crate::support::until("another try", || {
        matches!(node.transport.reach(Peer::new(&[peer])), Reach::Pending(_))
    });
    let second = why_not();
    let name = peer.incarnation().expect("shared memory");
    let namesake = ShmTransport::open_as(domain, name, &Config::default()).availability();
    let kept = rustix::process::kill_process(forked, Signal::KILL);
    assert_eq!((first, full, second), (Reason::PeerDied, Some(Errno::AGAIN), Reason::PeerDied));
    assert_eq!(kept, Ok(()));
    let why = namesake.expect_err("it has the name, too").to_string();
    assert!(why.contains("already") && why.contains("forked"), "{why}");
}

/// Links to the first neighbour, sends all it can to it and takes all that it gets, until told how to end.
fn traffic(domain: u32) {
    let node = Node::open(domain);
    let to = node.transport.neighbours()[0];
    node.link_to(to);
    let Node { transport, mut receiver } = node;
    let sender = transport.clone();
    std::thread::spawn(move || {
        for number in 0u64.. {
            let deadline = Instant::now() + Duration::from_millis(50);
            let Ok(mut loan) = sender.loan_before(100 + (number as usize * 7_919) % 100_000, deadline) else {
                break;
            };
            loan[..8].copy_from_slice(&number.to_le_bytes());
            let len = loan.len();
            crate::support::fill(&mut loan[8..len], number);
            if sender.send(loan, &[Peer::new(&[to])], Delivery::Reliable { deadline }).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || while receiver.receive(None).is_some() {});
    tell("busy");
    match hear().as_str() {
        "exit" => std::process::exit(0),
        "close" => transport.close(),
        "return" => drop(transport),
        other => panic!("no such end: {other}"),
    }
}

#[test]
fn f59_processes_that_end_in_the_middle_of_traffic_never_crash_and_disturb_nobody() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let own = node.locator();
    // Not SIGINT, which shells have their background jobs ignore, and these tests with them: by default it does the same.
    let ends = ["exit", "close", "return", "SIGTERM", "SIGTERM"];
    for round in 0..scaled(25, 1_000u64) {
        let mut child = Process::start(&format!("traffic {domain}"), &[]);
        assert_eq!(child.hear(), "busy");
        let peer = *node.transport.neighbours().first().expect("it is there");
        // At whatever moment of its work it may be: after so many of its messages.
        for number in 0..round * 7_919 % 40 {
            let message = node.next_message();
            let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
            assert!(is_intact(&message[8..], seed), "message {number}");
            let _ = node.send(peer, &message, Delivery::BestEffort);
        }
        match ends[round as usize % ends.len()] {
            "SIGTERM" => child.signal(Signal::TERM),
            end => child.tell(end),
        }
        for message in node.until_down(peer) {
            let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
            assert!(is_intact(&message[8..], seed), "sent before its end");
        }
        let (end, status) = (ends[round as usize % ends.len()], child.end());
        let is_as_asked = match end {
            "SIGTERM" => status.signal() == Some(Signal::TERM.as_raw()),
            _ => status.success(),
        };
        assert!(is_as_asked, "{end}: ended with {status}");
        assert!(send_numbered(&node, own, round, 100_000, reliable()).unserved.is_empty());
        while let Some(Incoming::Message(_)) = node.receiver.try_receive() {}
    }
    assert_eq!(node.transport.counters().links, 0);
}

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut longer = order.clone();
        longer.insert(at, count - 1);
        longer
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| insert(order, at))).collect()
}

#[test]
fn f59_everything_can_be_dropped_in_every_order_under_traffic() {
    for order in orders(6) {
        let (a, mut b) = pair();
        let to_a = a.locator();
        for number in 0..4 {
            assert!(send_numbered(&b, to_a, number, 20_000, reliable()).unserved.is_empty());
        }
        let mut a = a;
        let (message, bytes) = (a.next_message(), Bytes::from(a.next_message()));
        let loan = a.transport.loan(30_000).expect("room");
        let Node { transport, receiver } = a;
        let sending = {
            let transport = b.transport.clone();
            std::thread::spawn(move || {
                let deadline = Instant::now();
                for _ in 0..200 {
                    let _ = transport.send_bytes(
                        &[7; 5_000],
                        &[Peer::new(&[to_a])],
                        Delivery::Reliable { deadline },
                    );
                }
            })
        };
        let mut things: Vec<Option<Box<dyn Any>>> = vec![
            Some(Box::new(transport.clone())),
            Some(Box::new(transport)),
            Some(Box::new(receiver)),
            Some(Box::new(message)),
            Some(Box::new(bytes)),
            Some(Box::new(loan)),
        ];
        for &which in &order {
            drop(things[which].take());
        }
        sending.join().expect("no panic");
        assert_eq!(b.until_down(to_a).len(), 0);
        // The survivor has all of its memory back: nothing of it is held by whoever is gone.
        crate::support::until("nothing is held", || b.transport.pool().in_use == 0);
    }
}
