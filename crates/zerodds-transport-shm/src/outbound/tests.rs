//! Which peers are remembered, and what is asked of the system.

use super::*;
use crate::memory::Shortage;
use crate::testing::{far, fresh_domain, link, until};
use crate::{Config, ShmTransport};
use zerodds_core::{Delivery, LoanError, Peer, Reach, Transport};

#[test]
fn a_crowd_of_names_keeps_nobody_out_and_has_few_tried_again_before_their_time() {
    let transport = ShmTransport::open(fresh_domain(), &Config::default());
    let mut outbound = transport.books().expect("ours").outbound.lock();
    let name = |number: usize| {
        let incarnation = zerodds_core::Incarnation::from_bytes((number as u64).to_be_bytes());
        transport.locator_of(incarnation).expect("available")
    };
    let now = Instant::now();
    for number in 0..ATTEMPTS_MAX {
        let pause = if number == 7 { 0 } else { 60 + number as u64 };
        let retry_at = now + Duration::from_secs(pause);
        let attempt = Attempt::Down { reason: Reason::NoAnswer, retry_at, failures: 0 };
        assert!(outbound.remember(name(number), attempt));
    }
    for (newcomer, makes_way) in [(1, 7), (2, ATTEMPTS_MAX - 1), (3, ATTEMPTS_MAX - 2)] {
        assert!(outbound.set_connecting(name(ATTEMPTS_MAX + newcomer)));
        assert!(outbound.attempt(&name(makes_way)).is_none(), "{makes_way}");
        assert_eq!(outbound.attempts.len(), ATTEMPTS_MAX);
    }
    // Who is being connected to makes way for nobody.
    (0..ATTEMPTS_MAX).for_each(|number| _ = outbound.set_connecting(name(number)));
    drop(outbound);
    let reach = transport.reach(Peer::new(&[name(ATTEMPTS_MAX + 4)]));
    assert!(matches!(reach, Reach::Unreachable(Reason::NoPlace)), "{reach:?}");
}

#[test]
fn where_memory_is_short_it_is_not_asked_for_again_with_each_message() {
    let transport = ShmTransport::open(fresh_domain(), &Config::default());
    let books = || transport.books().expect("ours").outbound.lock();
    let limit = crate::limits::check(u64::MAX).expect_err("more than there is");
    // Nothing is there yet, and there is memory now.
    let later = Instant::now() + Duration::from_secs(3600);
    books().memory.shortage =
        Some(Shortage { end: 4 << 20, needed: 4 << 20, limit: limit.clone(), until: later });
    let refused = transport.loan(4 << 20).expect_err("taken for granted");
    assert!(matches!(refused, LoanError::NoMemory { .. }), "{refused}");
    assert_eq!(transport.counters().no_memory, 1);
    transport.loan(100_000).expect("for less it is asked");
    assert!(books().memory.shortage.is_some());
    books().memory.shortage = Some(Shortage { end: 0, needed: 0, limit, until: Instant::now() });
    transport.loan(4 << 20).expect("asked for again");
    assert!(books().memory.shortage.is_none());
}

#[test]
fn of_peers_that_came_and_went_a_bounded_number_is_remembered() {
    let domain = fresh_domain();
    let open = || ShmTransport::open(domain, &Config::default());
    let (transport, until) = (open(), far());
    let _receiver = transport.receiver();
    let is_linked = |peer: &Locator| {
        let shared = transport.books().expect("ours");
        let outbound = shared.outbound.lock();
        assert!(outbound.attempts.len() <= ATTEMPTS_MAX && Instant::now() < until);
        outbound.link(peer).is_some()
    };
    for _ in 0..2 * ATTEMPTS_MAX {
        let peer = open();
        link(&peer, &transport);
        while !is_linked(&peer.locators()[0]) {
            std::thread::yield_now();
        }
        peer.close();
        while is_linked(&peer.locators()[0]) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn links_that_carry_nothing_of_the_ring_have_no_share_of_it() {
    const LEN: usize = 600_000;
    let domain = fresh_domain();
    let config = Config::default().max_datagram(1 << 20).expect("in range");
    let [sender, reader] = [(); 2].map(|()| ShmTransport::open(domain, &config));
    let silent = [(); 6].map(|()| ShmTransport::open(domain, &config));
    silent.iter().chain([&reader]).for_each(|peer| _ = link(&sender, peer));
    let send = |to: &ShmTransport| {
        let delivery = Delivery::Reliable { deadline: Instant::now() };
        sender.send_bytes(&[1; LEN], &[Peer::new(&to.locators())], delivery).expect("open").by_shm
    };
    assert_eq!([send(&reader), send(&reader)], [1; 2], "nobody else wants room");
    let books = || sender.books().expect("ours").outbound.lock();
    let capacity = books().arena.capacity().0;
    assert_eq!(books().quota(), capacity / 2);
    silent.iter().take(3).for_each(|peer| assert_eq!(send(peer), 1));
    assert_eq!(books().quota(), capacity / 5);
    drop(silent);
    until("a link that is over has no share of what is there", || books().quota() == capacity / 2);
}
