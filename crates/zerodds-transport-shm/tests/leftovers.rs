//! What a process has after everything: no descriptor, no mapping, no CPU in use. One test after the other, in a
//! process of their own, since they count what the process has.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use std::time::{Duration, Instant};
use support::child::Process;
use support::roles::{self, send_numbered, with_receiver};
use support::{Node, fresh_domain, reliable};
use zerodds_core::{Incoming, Receiver, Transport};

/// Not a test: a child process, when it is one.
#[test]
fn child_process() {
    roles::play();
}

#[test]
fn a_process_is_left_as_it_was() {
    a_hundred_peers_that_come_and_die_leave_nothing_behind();
    an_idle_pair_uses_no_cpu();
}

fn descriptors_and_maps() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    (descriptors, maps.lines().filter(|line| line.contains("zerodds")).count())
}

fn a_hundred_peers_that_come_and_die_leave_nothing_behind() {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    let one_life = |node: &mut Node| {
        let mut child = Process::start(&format!("receive {domain}"), &[]);
        assert_eq!(child.hear(), "ready");
        let peer = node.transport.neighbours()[0];
        node.link_to(peer);
        let _ = send_numbered(node, peer, 1, 1 << 20, reliable());
        child.tell("keep 1");
        child.hear();
        child.kill();
        node.until_down(peer);
    };
    let before = descriptors_and_maps();
    for _ in 0..100 {
        one_life(&mut node);
    }
    // The control thread may still be closing the last one's descriptors.
    let until = support::deadline();
    while descriptors_and_maps() != before {
        assert!(Instant::now() < until, "{:?} instead of {before:?}", descriptors_and_maps());
        std::thread::yield_now();
    }
    assert!(node.transport.neighbours().is_empty());
    assert_eq!(node.transport.counters().links, 0);
}

fn an_idle_pair_uses_no_cpu() {
    let (mut node, _child, _peer) = with_receiver(&[]);
    while node.receiver.try_receive().is_some() {}
    let receiver = std::thread::spawn(move || {
        let thread = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let (start, cpu) = (Instant::now(), thread());
        let found = node.receiver.receive(Some(start + Duration::from_secs(2)));
        assert!(!matches!(found, Some(Incoming::Message(_))));
        let after = thread();
        (after.tv_sec - cpu.tv_sec) * 1_000_000_000 + after.tv_nsec - cpu.tv_nsec
    });
    let spent_ns = receiver.join().expect("no panic");
    assert!(spent_ns < 20_000_000, "1 % of 2 s would be 20 ms of CPU; spent {spent_ns} ns");
}
