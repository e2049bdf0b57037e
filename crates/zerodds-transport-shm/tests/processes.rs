//! Two real processes and more: death, stop, other users, namespaces.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use rustix::process::Signal;
use std::time::{Duration, Instant};
use support::child::{Process, is_root_or_skip};
use support::others::ForOthers;
use support::roles::{self, send_numbered, with_receiver};
use support::{Node, PATIENCE, deadline, fresh_domain, is_intact, reliable};
use zerodds_core::{Delivery, Locator, Peer, Reach, Reason, Refusal, Transport};
use zerodds_transport_shm::{Access, Config};

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    roles::play();
}

#[test]
fn messages_cross_processes_in_place() {
    let (node, mut child, peer) = with_receiver(&[]);
    for (seed, len) in [(1, 8), (2, 1000), (3, 65_537), (4, 1 << 20), (5, 16 << 20)] {
        assert!(send_numbered(&node, peer, seed, len, reliable()).unserved.is_empty());
        child.tell("take 1");
        assert_eq!(child.hear(), format!("{seed} {len} {}", len > 4096));
    }
    assert!(child.finish());
}

#[test]
fn what_a_killed_sender_had_sent_is_delivered_and_then_its_end_is_told() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut child = Process::start(&format!("send {domain} 20 100000"), &[]);
    assert_eq!(child.hear(), "sent");
    let peer = node.transport.neighbours()[0];
    child.kill();
    let messages = node.until_down(peer);
    assert_eq!(messages.len(), 20);
    for (seed, message) in messages.iter().enumerate() {
        assert!(is_intact(&message[8..], seed as u64), "read after the sender's death");
    }
}

#[test]
fn what_a_killed_receiver_held_comes_back_to_the_sender() {
    let (mut node, mut child, peer) = with_receiver(&[]);
    // Kept in place they pin a good part of the ring; one that stays unread pins more.
    for seed in 0..5 {
        assert!(send_numbered(&node, peer, seed, 4 << 20, reliable()).unserved.is_empty());
    }
    child.tell("keep 4");
    for _ in 0..4 {
        child.hear();
    }
    child.kill();
    node.until_down(peer);
    // The whole ring is free again: as many large loans fit at once as in a new one.
    let loans: Vec<_> = (0..3).map(|_| node.transport.loan(16 << 20).expect("free again")).collect();
    assert_eq!(loans.len(), 3);
}

#[test]
fn what_waits_for_a_stopped_receiver_when_its_link_ends_stays_until_it_goes_on() {
    let (mut node, mut child, peer) = with_receiver(&[]);
    let accept = |node: &Node, seeds: std::ops::Range<u64>| {
        for seed in seeds {
            assert!(send_numbered(node, peer, seed, 4 << 20, reliable()).unserved.is_empty());
        }
    };
    let until_free = |node: &Node| {
        let until = deadline();
        while node.transport.pool().in_use > 0 {
            assert!(Instant::now() < until, "{:?}", node.transport.pool());
            std::thread::yield_now();
        }
    };
    accept(&node, 0..2);
    child.tell("keep 1");
    child.hear();
    child.stop();
    accept(&node, 2..3);
    node.transport.disconnect(&peer);
    node.until_down(peer);
    let pool = node.transport.pool();
    assert!(pool.unread >= 2 * (4 << 20) && pool.held_by_peers >= 4 << 20, "{pool:?}");
    child.resume();
    child.tell("take 2");
    assert_eq!(child.hear(), format!("1 {} true", 4 << 20));
    assert_eq!(child.hear(), format!("2 {} true", 4 << 20));
    // A new link carries on; what the child keeps of the old one is given back by its death.
    node.link_to(peer);
    accept(&node, 3..4);
    child.tell("take 1");
    assert!(child.hear().starts_with("3 "));
    assert!(node.transport.pool().held_by_peers >= 4 << 20);
    child.kill();
    until_free(&node);
}

#[test]
fn a_sender_that_waits_is_woken_by_the_death_of_its_receiver() {
    let (node, mut child, peer) = with_receiver(&[]);
    child.stop();
    let far = Instant::now() + Duration::from_secs(3600);
    let sender = std::thread::spawn(move || {
        loop {
            let sent = send_numbered(&node, peer, 1, 2 << 20, Delivery::Reliable { deadline: far });
            if let Some(unserved) = sent.unserved.first() {
                return matches!(unserved.why, Refusal::Unreachable(Reason::PeerGone | Reason::PeerDied));
            }
        }
    });
    // Whether it waits already or not: without the news of the death it would wait for an hour.
    child.kill();
    assert!(sender.join().expect("no panic"), "woken by the death, and told so");
}

#[test]
fn a_reliable_send_to_a_stopped_receiver_ends_at_its_deadline() {
    let (node, mut child, peer) = with_receiver(&[]);
    child.stop();
    let mut accepted = 0;
    let unserved = loop {
        let deadline = Instant::now() + Duration::from_millis(20);
        let sent = send_numbered(&node, peer, accepted, 1 << 20, Delivery::Reliable { deadline });
        match sent.unserved.into_iter().next() {
            None => accepted += 1,
            Some(unserved) => {
                assert!(Instant::now() >= deadline, "not before its deadline");
                break unserved;
            }
        }
    };
    assert!(matches!(unserved.why, Refusal::Full));
    assert_eq!(node.transport.counters().timed_out_messages, 1);
    child.resume();
    // Everything that was accepted arrives, and then it takes messages again.
    child.tell(&format!("take {accepted}"));
    for seed in 0..accepted {
        assert_eq!(child.hear(), format!("{seed} {} true", 1 << 20));
    }
    assert!(send_numbered(&node, peer, 99, 1 << 20, reliable()).unserved.is_empty());
    child.tell("take 1");
    assert!(child.hear().starts_with("99 "));
}

#[test]
fn a_stopped_and_a_hoarding_receiver_do_not_slow_the_others() {
    let domain = fresh_domain();
    let node = Node::open(domain);
    let role = format!("receive {domain}");
    let mut children: Vec<Process> = Vec::new();
    let mut peers: Vec<Locator> = Vec::new();
    for _ in 0..3 {
        let mut child = Process::start(&role, &[]);
        assert_eq!(child.hear(), "ready");
        let new = node.transport.neighbours().into_iter().find(|found| !peers.contains(found));
        peers.push(new.expect("the new one"));
        children.push(child);
    }
    for &peer in &peers {
        node.link_to(peer);
    }
    let [stopped, hoarder, good] = &mut children[..] else { panic!("three children") };
    stopped.stop();
    hoarder.tell("keep 1000000");
    let before = node.transport.counters();
    let total = 300;
    for seed in 0..total {
        for &peer in &peers {
            // Best effort never waits; the good reader is asked after each, so it never lags.
            let sent = send_numbered(&node, peer, seed, 500_000, Delivery::BestEffort);
            assert!(sent.unserved.is_empty() || peer != peers[2]);
        }
        good.tell("take 1");
        assert_eq!(good.hear(), format!("{seed} 500000 true"), "nothing is lost for the good reader");
    }
    let lost = node.transport.counters().lost_messages - before.lost_messages;
    assert!(lost > 0, "what the stopped one lost is counted");
    assert!(lost < total * 2, "and nobody else lost everything");
    stopped.resume();
}

#[test]
fn a_restarted_receiver_is_linked_and_served_again() {
    let (mut node, mut child, first) = with_receiver(&[]);
    let domain = first.port();
    child.kill();
    node.until_down(first);
    let mut child = Process::start(&format!("receive {domain}"), &[]);
    assert_eq!(child.hear(), "ready");
    let second = node.transport.neighbours()[0];
    assert_ne!(first, second, "another incarnation");
    node.link_to(second);
    assert!(send_numbered(&node, second, 1, 1 << 20, reliable()).unserved.is_empty());
    child.tell("take 1");
    assert_eq!(child.hear(), format!("1 {} true", 1 << 20));
}

#[test]
fn interrupted_by_signals_all_the_time_everything_still_arrives() {
    let (node, mut child, peer) = with_receiver(&[]);
    for seed in 0..500 {
        assert!(send_numbered(&node, peer, seed, 100_000, reliable()).unserved.is_empty());
        // Stopping and continuing interrupts every system call that it sleeps in.
        child.signal(Signal::STOP);
        child.signal(Signal::CONT);
        child.tell("take 1");
        assert_eq!(child.hear(), format!("{seed} 100000 true"));
    }
}

#[test]
fn another_user_is_refused_by_default_and_both_sides_say_why() {
    if !is_root_or_skip("another_user_is_refused_by_default_and_both_sides_say_why") {
        return;
    }
    let (domain, copy) = (fresh_domain(), ForOthers::new());
    let node = Node::open(domain);
    let mut child = copy.start(&format!("receive {domain}"), 54_321);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    let until = deadline();
    let reason = loop {
        match node.transport.reach(Peer::new(&[peer])) {
            Reach::Unreachable(reason) => break reason,
            Reach::Pending(_) => assert!(Instant::now() < until),
            Reach::Ready(path) => panic!("reached by {path}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(reason, Reason::NotAdmitted { uid: 54_321 });
    assert!(reason.to_string().contains("ZERODDS_SHM_ACCESS"));
    assert!(node.transport.counters().refused > 0);
}

#[test]
fn another_user_is_served_read_only_by_copies_where_any_is_admitted() {
    if !is_root_or_skip("another_user_is_served_read_only_by_copies_where_any_is_admitted") {
        return;
    }
    let (domain, copy) = (fresh_domain(), ForOthers::new());
    let node = Node::with(domain, &Config::default().access(Access::Any));
    let mut child = copy.start(&format!("receive-any {domain}"), 54_321);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    node.link_to(peer);
    for seed in 0..50 {
        assert!(send_numbered(&node, peer, seed, 1 << 20, reliable()).unserved.is_empty());
        child.tell("take 1");
        assert_eq!(child.hear(), format!("{seed} {} false", 1 << 20), "copied: memory of another user");
    }
}

#[test]
fn a_message_that_another_user_would_have_to_copy_beyond_its_own_limit_is_refused_by_name_and_no_other() {
    let test =
        "a_message_that_another_user_would_have_to_copy_beyond_its_own_limit_is_refused_by_name_and_no_other";
    if !is_root_or_skip(test) {
        return;
    }
    let (domain, copy) = (fresh_domain(), ForOthers::new());
    let config = Config::default().access(Access::Any).max_datagram(64 << 20).expect("in range");
    let node = Node::with(domain, &config);
    // With the knob as it comes: 16 MiB.
    let mut child = copy.start(&format!("receive-any {domain}"), 54_321);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    node.link_to(peer);
    for (seed, len) in [(0, 16 << 20), (1, 17 << 20), (2, 16 << 20)] {
        let before = node.transport.counters().too_large_messages;
        let sent = send_numbered(&node, peer, seed, len, reliable());
        let refused = u64::from(len > 16 << 20);
        assert_eq!(
            (sent.by_shm as u64, node.transport.counters().too_large_messages),
            (1 - refused, before + refused)
        );
        match sent.unserved.first().map(|unserved| &unserved.why) {
            None => {
                child.tell("take 1");
                assert_eq!(child.hear(), format!("{seed} {len} false"));
            }
            Some(Refusal::TooLarge { len: named, max }) => assert!(*named == len && *max >= 16 << 20),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(node.transport.counters().links, 1, "the link is as it was");
}

#[test]
fn another_user_drains_a_link_that_was_left_and_makes_room_by_that() {
    if !is_root_or_skip("another_user_drains_a_link_that_was_left_and_makes_room_by_that") {
        return;
    }
    let (domain, copy) = (fresh_domain(), ForOthers::new());
    let mut node = Node::with(domain, &Config::default().access(Access::Any));
    let mut child = copy.start(&format!("receive-any {domain}"), 54_321);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    node.link_to(peer);
    let mut accepted = 0;
    while node.transport.loan(1 << 20).is_ok() {
        let delivery = Delivery::Reliable { deadline: Instant::now() };
        let sent = send_numbered(&node, peer, accepted, 1 << 20, delivery);
        if sent.by_shm == 0 {
            break;
        }
        accepted += 1;
    }
    node.transport.disconnect(&peer);
    node.until_down(peer);
    let held: Vec<_> = std::iter::from_fn(|| node.transport.loan(1 << 20).ok()).collect();
    let transport = node.transport.clone();
    let (answer, room) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let far = Instant::now() + Duration::from_secs(3600);
        answer.send(transport.loan_before(1 << 20, far).is_ok())
    });
    child.tell(&format!("take {accepted}"));
    for seed in 0..accepted {
        assert_eq!(child.hear(), format!("{seed} {} false", 1 << 20));
    }
    assert_eq!(room.recv_timeout(PATIENCE), Ok(true), "woken by the room that the child made");
    drop(held);
}

#[test]
fn another_network_namespace_is_another_host() {
    if !is_root_or_skip("another_network_namespace_is_another_host") {
        return;
    }
    let domain = fresh_domain();
    let node = Node::open(domain);
    let mut child = Process::start(&format!("receive {domain}"), &["unshare", "--net"]);
    assert_eq!(child.hear(), "ready");
    assert!(node.transport.neighbours().is_empty());
}

#[test]
fn private_mounts_and_pids_do_not_matter_where_the_network_is_shared() {
    if !is_root_or_skip("private_mounts_and_pids_do_not_matter_where_the_network_is_shared") {
        return;
    }
    let script = "mount -t tmpfs -o size=1m none /dev/shm && exec \"$@\"";
    let wrapper =
        ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"];
    let (node, mut child, peer) = with_receiver(&wrapper);
    for seed in 0..20 {
        assert!(send_numbered(&node, peer, seed, 4 << 20, reliable()).unserved.is_empty());
        child.tell("take 1");
        assert_eq!(child.hear(), format!("{seed} {} true", 4 << 20));
    }
}

#[test]
fn it_works_without_any_network_interface_up() {
    if !is_root_or_skip("it_works_without_any_network_interface_up") {
        return;
    }
    let mut child = Process::start("both", &["unshare", "--net"]);
    assert_eq!(child.hear(), "exchanged");
}

#[test]
fn strangers_at_the_rendezvous_are_turned_away_and_disturb_nobody() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    let (node, mut child, peer) = with_receiver(&[]);
    let own = node.locator();
    let (host, id) = (own.host_tag().expect("shm"), own.incarnation().expect("shm"));
    let name = format!("zerodds-shm.{}.{host}.{id}", own.port());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
    let mut strangers = Vec::new();
    for round in 0..300usize {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("socket");
        if rustix::net::connect(&socket, &address).is_ok() {
            let garbage: Vec<u8> = (0..round).map(|byte| (byte * 31 + round) as u8).collect();
            let _ = rustix::net::send(&socket, &garbage, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            strangers.push(socket);
        }
        let seed = round as u64;
        assert!(send_numbered(&node, peer, seed, 50_000, reliable()).unserved.is_empty());
        child.tell("take 1");
        assert_eq!(child.hear(), format!("{seed} 50000 true"));
    }
    assert!(!strangers.is_empty());
}
