//! Processes that are killed, again and again: what the others get, what is left, who comes after.

use crate::party::{Party, name_of, number};
use crate::support::child::{Process, hear, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fresh_domain, is_intact, reliable, scaled};
use std::collections::HashMap;
use std::time::Instant;
use zerodds_core::{Delivery, Incoming, Receiver, Transport};
use zerodds_transport_shm::Config;

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["fill", domain, first, len] => fill(number(domain), number(first), number(len)),
        ["come-and-go", cycles] => come_and_go(number(cycles)),
        _ => return false,
    }
    true
}

/// A ring of the smallest size: quickly made, quickly filled.
fn small() -> Config {
    Config::default().max_datagram(Config::MAX_DATAGRAM_MIN).expect("in range")
}

#[test]
fn f08_every_incarnation_of_a_restarted_reader_or_writer_gets_through() {
    let domain = fresh_domain();
    let mut steady = Party::start(domain, &[]);
    for round in 0..scaled(100, 1_000) {
        let mut restarted = Party::start(domain, &[]);
        // Each finds the other first in every second round.
        if round % 2 == 0 {
            steady.link(&restarted.name);
        }
        restarted.link(&steady.name);
        restarted.exchange(&mut steady, round, 10_000);
        steady.exchange(&mut restarted, round, 10_000);
        restarted.process.kill();
        assert!(steady.asked(format!("down {}", restarted.name)).starts_with("0 before: "));
    }
}

/// Sends to the first neighbour until there is no more room, numbered from `first`, and tells how many it took.
fn fill(domain: u32, first: u64, len: usize) {
    let node = Node::with(domain, &small());
    let to = node.transport.neighbours()[0];
    node.link_to(to);
    let now = Delivery::Reliable { deadline: Instant::now() };
    let mut sent = 0;
    while node.transport.loan(len).is_ok()
        && send_numbered(&node, to, first + sent, len, now).unserved.is_empty()
    {
        sent += 1;
    }
    tell(sent);
    hear();
}

#[test]
fn f09_full_queues_of_killed_publishers_are_drained_and_hold_up_nobody() {
    let domain = fresh_domain();
    let mut node = Node::with(domain, &small());
    let mut missing = HashMap::new();
    for publisher in 0..scaled(30, 100) {
        // Through the lane and through the ring.
        let len = [500, 4_000][publisher as usize % 2];
        let mut child = Process::start(&format!("fill {domain} {} {len}", publisher << 32), &[]);
        let sent: u64 = number(&child.hear());
        assert!(sent > 20, "its queue is full");
        let others = node.transport.neighbours();
        assert_eq!(others.len(), 1, "the dead have no names any more");
        child.kill();
        missing.insert(others[0], (publisher, sent));
    }
    let mut living = Party::start(domain, &[]);
    living.link(&name_of(&node));
    assert_eq!(living.asked(format!("send {} {} 600", name_of(&node), 1_000u64 << 32)), "sent");
    // The living one's message is behind nobody's: its link is looked at in turn.
    let mut next = HashMap::<u64, u64>::new();
    let until = deadline();
    while !missing.is_empty() || !next.contains_key(&1_000) {
        match node.receiver.receive(Some(until)).expect("drained before the deadline") {
            Incoming::Message(message) => {
                let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
                assert!(is_intact(&message[8..], seed));
                let expected = next.entry(seed >> 32).or_default();
                assert_eq!(seed & 0xffff_ffff, *expected, "in order, each once");
                *expected += 1;
            }
            Incoming::PeerDown(peer, _) => {
                let (publisher, sent) = missing.remove(&peer).expect("killed, and told once");
                assert_eq!(next.get(&publisher), Some(&sent), "everything that it had sent came before");
            }
            _ => {}
        }
    }
}

#[test]
fn f10_the_death_of_one_reader_costs_the_others_nothing() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut steady: Vec<Party> = (0..3).map(|_| Party::start(domain, &[])).collect();
    let steady_at: Vec<_> = steady.iter().map(|party| party.locator(&node)).collect();
    steady_at.iter().for_each(|&peer| node.link_to(peer));
    let mut seed = 0;
    for round in 0..scaled(60, 1_000) {
        let mut victim = Party::start(domain, &[]);
        let victim_at = victim.locator(&node);
        node.link_to(victim_at);
        // It dies with everything unread, or in the middle of taking.
        if round % 2 == 0 {
            victim.process.tell("take 1000000");
        }
        for step in 0..8 {
            let _ = send_numbered(&node, victim_at, seed, 100_000, Delivery::BestEffort);
            for &peer in &steady_at {
                assert!(send_numbered(&node, peer, seed, 50_000, reliable()).unserved.is_empty());
            }
            seed += 1;
            if step == 4 {
                victim.process.kill();
            }
        }
        for party in &mut steady {
            party.process.tell("take 8");
            for expected in seed - 8..seed {
                assert_eq!(party.process.hear(), format!("{expected} 50000"), "none lost, none out of order");
            }
        }
        node.until_down(victim_at);
    }
    assert_eq!(node.transport.counters().links, 3);
    assert_eq!(node.transport.counters().timed_out_messages, 0);
}

#[test]
fn f11_nothing_of_the_killed_binds_those_who_start_again_under_their_name() {
    let domain = fresh_domain();
    let mut watcher = Node::open(domain);
    // Another shape each time, as another type of topic has: other sizes of ring and messages under one name.
    for (round, knob) in [4 << 10, 64 << 20, 1 << 20, 16 << 20].into_iter().cycle().take(12).enumerate() {
        let role = format!("party {domain} as 5a5a5a5a5a5a5a5a {knob}");
        let mut parties: Vec<Party> = vec![Party::of(Process::start(&role, &[]))];
        parties.extend((0..2).map(|_| Party::start(domain, &[])));
        let [first, second, third] = &mut parties[..] else { panic!("three") };
        assert_eq!(first.name, "5a5a5a5a5a5a5a5a", "the name is free again at once");
        first.link(&second.name);
        first.exchange(second, round as u64, knob);
        third.link(&first.name);
        third.exchange(first, round as u64, 100);
        watcher.link_to(first.locator(&watcher));
        let at: Vec<_> = parties.iter().map(|party| party.locator(&watcher)).collect();
        parties.iter_mut().for_each(|party| party.process.kill());
        watcher.until_down(at[0]);
        assert!(watcher.transport.neighbours().is_empty());
    }
}

/// Descriptors, mappings of ours and resident KiB of this process.
fn possessions() -> [usize; 3] {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    [descriptors, maps.lines().filter(|line| line.contains("zerodds")).count(), kib]
}

/// Peers come, exchange, and go: killed, closed, or left; in a process of its own, since it counts what that has.
fn come_and_go(cycles: usize) {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut after_few = None;
    for cycle in 0..cycles {
        let mut party = Party::start(domain, &[]);
        let peer = party.locator(&node);
        node.link_to(peer);
        assert!(send_numbered(&node, peer, 1, 1 << 20, reliable()).unserved.is_empty());
        assert_eq!(party.asked("take 1"), format!("1 {}", 1 << 20));
        assert_eq!(party.asked(format!("send {} 2 300000", name_of(&node))), "sent");
        assert_eq!(node.next_message().len(), 300_000);
        match cycle % 3 {
            0 => party.process.kill(),
            1 => assert!(party.process.finish()),
            _ => {
                node.transport.disconnect(&peer);
                node.until_down(peer);
                party.process.kill();
                continue;
            }
        }
        node.until_down(peer);
        if cycle == cycles / 4 {
            after_few = Some(settled());
        }
    }
    let (before, after) = (after_few.expect("some cycles"), settled());
    assert_eq!(before[..2], after[..2], "descriptors and mappings");
    assert!(after[2] < before[2] + 2048, "resident KiB: {} after {}", after[2], before[2]);
    tell("constant");
}

/// What this process has once the control thread has closed what belonged to the last peer: the least of many looks.
fn settled() -> [usize; 3] {
    let until = Instant::now() + std::time::Duration::from_secs(1);
    let mut least = possessions();
    while Instant::now() < until {
        let now = possessions();
        (0..3).for_each(|what| least[what] = least[what].min(now[what]));
        std::thread::yield_now();
    }
    least
}

#[test]
fn f14_peers_that_come_and_go_cost_no_descriptor_no_mapping_and_no_memory() {
    let mut child = Process::start(&format!("come-and-go {}", scaled(100, 1_000)), &[]);
    assert_eq!(child.hear(), "constant");
}

#[test]
fn f15_what_a_killed_process_held_on_loan_comes_back_every_time() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    for round in 0..scaled(50, 1_000) {
        let mut party = Party::start(domain, &[]);
        let peer = party.locator(&node);
        node.link_to(peer);
        let held = 1 + round % 12;
        party.process.tell(&format!("keep {held}"));
        for seed in 0..held {
            assert!(send_numbered(&node, peer, seed, 900_000, reliable()).unserved.is_empty());
            assert_eq!(party.process.hear(), format!("{seed} 900000"));
        }
        assert!(node.transport.pool().held_by_peers >= held * 900_000, "they are on loan");
        party.process.kill();
        node.until_down(peer);
        crate::support::until("nothing is held", || node.transport.pool().in_use == 0);
    }
    // Our own loans too, whether they are sent or not.
    drop((0..40).map(|_| node.transport.loan(1 << 20).expect("all of it")).collect::<Vec<_>>());
    assert_eq!(node.transport.pool().in_use, 0);
}
