//! What a peer costs in descriptors. A file of its own, since it counts those of its process.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod support;

use std::time::Instant;
use support::{Node, deadline, fresh_domain, reliable};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Both transports are here: everything counts twice, but for what one of them gives the other.
#[test]
fn a_peer_costs_two_descriptors_and_a_third_once_it_was_woken_in_poll() {
    let domain = fresh_domain();
    let (mut a, mut b) = (Node::open(domain), Node::open(domain));
    let before = descriptors();
    a.link_to(b.locator());
    b.link_to(a.locator());
    let mut exchange = |number: u64| {
        let _ = a.send(b.locator(), &number.to_le_bytes(), reliable());
        assert_eq!(*b.next_message(), number.to_le_bytes());
        let _ = b.send(a.locator(), &number.to_le_bytes(), reliable());
        assert_eq!(*a.next_message(), number.to_le_bytes());
    };
    (0..1000).for_each(&mut exchange);
    // A socket and a pidfd each, where there are pidfds: they waited for each other on a futex.
    let linked = descriptors();
    assert!(linked <= before + 4, "{linked} descriptors instead of {before}");

    let until = deadline();
    let mut rounds = 0..;
    while descriptors() == linked || rounds.start < 1000 {
        assert!(Instant::now() < until, "nothing was given to wake it with in {} rounds", rounds.start);
        b.lie_down_in_poll();
        let number: u64 = rounds.next().expect("endless");
        let _ = a.send(b.locator(), &number.to_le_bytes(), reliable());
        b.until_woken_in_poll();
        assert_eq!(*b.next_message(), number.to_le_bytes());
    }
    assert_eq!(descriptors(), linked + 1, "given to one, once, by the other");
    let gone = b.locator();
    drop(b);
    a.until_down(gone);
    while descriptors() > before - BARE {
        assert!(Instant::now() < until, "{} descriptors are left", descriptors());
        std::thread::yield_now();
    }
}

/// What a transport has without peers.
const BARE: usize = 9;
