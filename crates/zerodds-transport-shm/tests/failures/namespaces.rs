//! Containers: who shares what, who is who, who is dead.

use crate::party::{Party, host_of, name_of, number};
use crate::support::child::{Process, is_root_or_skip, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fresh_domain, reliable, scaled};
use std::process::Command;
use std::time::Instant;
use zerodds_core::{HostTag, Incoming, Locator, Peer, Reach, Reason, Receiver, Transport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["addresses-change", rounds] => addresses_change(number(rounds)),
        ["recycle-pids", rounds] => recycle_pids(number(rounds)),
        _ => return false,
    }
    true
}

/// Every combination of what a container can have of its own.
fn containers() -> impl Iterator<Item = Vec<&'static str>> {
    const KINDS: [&[&str]; 5] = [
        &["--net"],
        &["--mount"],
        &["--ipc"],
        &["--pid", "--fork", "--kill-child"],
        &["--user", "--map-root-user"],
    ];
    (0u32..1 << KINDS.len()).map(|set| {
        let own = KINDS.iter().enumerate().filter(|(kind, _)| set >> kind & 1 == 1);
        ["unshare"].into_iter().chain(own.flat_map(|(_, words)| words.iter().copied())).collect()
    })
}

#[test]
fn f21_containers_share_memory_where_they_share_a_network_and_are_other_hosts_where_they_do_not() {
    let test = "f21_containers_share_memory_where_they_share_a_network_and_are_other_hosts_where_they_do_not";
    if !is_root_or_skip(test) {
        return;
    }
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    for container in containers() {
        let mut party = Party::start(domain, &container);
        let host: u64 = number(&party.asked("host"));
        if container.contains(&"--net") {
            assert_eq!(party.asked("neighbours"), "0", "{container:?}");
            let named = party.locator(&node);
            let incarnation = named.incarnation().expect("shared memory");
            let there = Locator::shared_memory(HostTag::from_bytes(host.to_be_bytes()), incarnation, domain);
            let reach = node.transport.reach(Peer::new(&[there]));
            assert!(matches!(reach, Reach::Unreachable(Reason::DifferentHost)), "{container:?}: {reach:?}");
        } else {
            assert_eq!(host, host_of(&node));
            let peer = party.locator(&node);
            node.link_to(peer);
            assert!(send_numbered(&node, peer, 7, 300_000, reliable()).unserved.is_empty());
            assert_eq!(party.asked("take 1"), "7 300000", "{container:?}");
            assert_eq!(party.asked(format!("send {} 8 300000", name_of(&node))), "sent");
            assert!(node.next_message().is_in_place(), "{container:?}");
        }
    }
}

/// Exchanges with a neighbour while interfaces and addresses come and go, in a network of its own.
fn addresses_change(rounds: u64) {
    let ip = |line: &str| {
        let done = Command::new("ip").args(line.split(' ')).status().expect("ip");
        assert!(done.success(), "ip {line}");
    };
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let mut party = Party::start(domain, &[]);
    let peer = party.locator(&node);
    node.link_to(peer);
    let own = name_of(&node);
    let mut exchange = |seed| {
        assert!(send_numbered(&node, peer, seed, 100_000, reliable()).unserved.is_empty());
        assert_eq!(party.asked("take 1"), format!("{seed} 100000"));
        assert_eq!(party.asked(format!("send {own} {seed} 100000")), "sent");
        loop {
            match node.receiver.receive(Some(deadline())).expect("the message") {
                Incoming::Message(message) => break assert!(message.is_in_place()),
                Incoming::PeerDown(gone, why) => assert_ne!(gone, peer, "its link has not changed: {why}"),
                _ => {}
            }
        }
    };
    for round in 0..rounds {
        ip("link set lo up");
        ip("link add robot0 type veth peer name robot1");
        ip(&format!("addr add 192.0.2.{}/24 dev robot0", 1 + round % 200));
        ip("link set robot0 up");
        exchange(3 * round);
        ip("addr flush dev robot0");
        exchange(3 * round + 1);
        ip("link del robot0");
        ip("link set lo down");
        exchange(3 * round + 2);
        // Who comes now finds both, whatever addresses there were before.
        let mut late = Party::start(domain, &[]);
        assert_eq!(late.asked("neighbours"), "2");
        late.link(&own);
    }
    tell("nothing has changed");
}

#[test]
fn f22_interfaces_and_addresses_that_come_and_go_change_no_link() {
    if !is_root_or_skip("f22_interfaces_and_addresses_that_come_and_go_change_no_link") {
        return;
    }
    let role = format!("addresses-change {}", scaled(10, 200));
    let mut child = Process::start(&role, &["unshare", "--net"]);
    assert_eq!(child.hear(), "nothing has changed");
}

#[test]
fn f23_equal_names_on_two_hosts_without_interfaces_are_two_and_on_one_host_the_second_is_refused() {
    let test =
        "f23_equal_names_on_two_hosts_without_interfaces_are_two_and_on_one_host_the_second_is_refused";
    if !is_root_or_skip(test) {
        return;
    }
    let domain = fresh_domain();
    let role = format!("party {domain} as 7777777777777777 {}", 1 << 20);
    let pod = ["unshare", "--net", "--uts", "--pid", "--fork", "--kill-child"];
    let mut pods: Vec<Party> = (0..2).map(|_| Party::of(Process::start(&role, &pod))).collect();
    let mut here = Party::of(Process::start(&role, &[]));
    let mut hosts: Vec<String> = pods.iter_mut().map(|pod| pod.asked("host")).collect();
    hosts.push(here.asked("host"));
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 3, "equal in everything but their networks, they are three hosts");
    for party in pods.iter_mut().chain([&mut here]) {
        assert_eq!(party.name, "7777777777777777");
        assert_eq!(party.asked("neighbours"), "0");
    }
    let mut second = Process::start(&role, &[]);
    let said = second.hear();
    assert!(said.contains("7777777777777777 already"), "{said}");
}

#[test]
fn f24_two_that_are_pid_1_in_their_containers_exchange_and_learn_of_each_others_death() {
    let test = "f24_two_that_are_pid_1_in_their_containers_exchange_and_learn_of_each_others_death";
    if !is_root_or_skip(test) {
        return;
    }
    let domain = fresh_domain();
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut first = Party::start(domain, &container);
    assert_eq!(first.asked("pid"), "1");
    for round in 0..20 {
        let mut second = Party::start(domain, &container);
        assert_eq!(second.asked("pid"), "1");
        first.link(&second.name);
        first.exchange(&mut second, round, 100_000);
        second.link(&first.name);
        second.exchange(&mut first, round, 100_000);
        second.process.kill();
        let end = first.asked(format!("down {}", second.name));
        assert!(end.starts_with("0 before: "), "{end}");
        assert_ne!(first.asked(format!("link {}", second.name)), "linked", "the dead are not the living");
    }
}

/// Peers die, and others get their pids before anybody looks.
fn recycle_pids(rounds: u64) {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    for round in 0..rounds {
        let mut dead = Party::start(domain, &[]);
        let (was, id) = (dead.locator(&node), dead.process.id());
        node.link_to(was);
        assert!(send_numbered(&node, was, round, 50_000, reliable()).unserved.is_empty());
        dead.process.kill();
        let mut living = with_pid(domain, id);
        let is = living.locator(&node);
        let until = deadline();
        while matches!(node.transport.reach(Peer::new(&[was])), Reach::Ready(_)) {
            assert!(Instant::now() < until, "its pid lives on, it does not");
            std::thread::yield_now();
        }
        node.link_to(is);
        assert!(send_numbered(&node, is, round, 50_000, reliable()).unserved.is_empty());
        assert_eq!(living.asked("take 1"), format!("{round} 50000"));
        node.until_down(was);
    }
    tell("told apart");
}

/// A party with this very pid: the kernel is told which one was given last. A thread may come between.
fn with_pid(domain: u32, id: u32) -> Party {
    for _ in 0..1_000 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (id - 1).to_string()).expect("root of this namespace");
        let party = Party::start(domain, &[]);
        if party.process.id() == id {
            return party;
        }
    }
    panic!("pid {id} is not to be had again");
}

#[test]
fn f25_a_pid_that_is_used_again_brings_nobody_back() {
    if !is_root_or_skip("f25_a_pid_that_is_used_again_brings_nobody_back") {
        return;
    }
    let role = format!("recycle-pids {}", scaled(20, 500));
    let mut child = Process::start(&role, &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    assert_eq!(child.hear(), "told apart");
}
