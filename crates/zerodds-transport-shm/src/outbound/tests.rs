//! Which peers are remembered, and what is asked of the system.

use super::*;
use crate::{Config, ShmTransport};
use zerodds_core::{LoanError, Peer, Reach, Transport};

#[test]
fn a_crowd_of_names_has_nobody_tried_again_before_its_time() {
    let transport = ShmTransport::open(3_720_000_000 - std::process::id(), &Config::default());
    let mut outbound = transport.books().expect("ours").outbound.lock();
    let later = Instant::now() + Duration::from_secs(60);
    let [refused, over] = [1, 2].map(|number| Reason::Protocol(format!("of {number}")));
    let name = |number: usize| {
        let incarnation = zerodds_core::Incarnation::from_bytes((number as u64).to_be_bytes());
        transport.locator_of(incarnation).expect("available")
    };
    for number in 0..ATTEMPTS_MAX {
        assert!(outbound.set_connecting(name(number)));
        let reason = if number == 7 { over.clone() } else { refused.clone() };
        let retry_at = if number == 7 { Instant::now() } else { later };
        assert!(outbound.remember(name(number), Attempt::Down { reason, retry_at, failures: 0 }));
    }
    assert!(outbound.set_connecting(name(ATTEMPTS_MAX)), "in the place of the one whose time has come");
    assert!(outbound.attempt(&name(7)).is_none());
    assert!(!outbound.set_connecting(name(ATTEMPTS_MAX + 1)));
    assert!(outbound.set_connecting(name(8)), "it has a place");
    drop(outbound);
    let reach = transport.reach(Peer::new(&[name(ATTEMPTS_MAX + 1)]));
    assert!(matches!(reach, Reach::Unreachable(Reason::NoPlace)), "{reach:?}");
}

#[test]
fn where_memory_is_short_it_is_not_asked_for_again_with_each_message() {
    let transport = ShmTransport::open(3_740_000_000 - std::process::id(), &Config::default());
    let books = || transport.books().expect("ours").outbound.lock();
    let limit = crate::limits::check(u64::MAX).expect_err("more than there is");
    // Nothing is there yet, and there is memory now.
    books().shortage =
        Some(Shortage { limit: limit.clone(), until: Instant::now() + Duration::from_secs(3600) });
    let refused = transport.loan(1 << 20).expect_err("taken for granted");
    assert!(matches!(refused, LoanError::NoMemory { .. }), "{refused}");
    assert_eq!(transport.counters().no_memory, 1);
    books().shortage = Some(Shortage { limit, until: Instant::now() });
    transport.loan(1 << 20).expect("asked for again");
    assert!(books().shortage.is_none());
}

#[test]
fn of_peers_that_came_and_went_a_bounded_number_is_remembered() {
    let domain = 3_760_000_000 - std::process::id();
    let open = || ShmTransport::open(domain, &Config::default());
    let (transport, until) = (open(), Instant::now() + Duration::from_secs(60));
    let (at, _receiver) = (transport.locators(), transport.receiver());
    let is_linked = |peer: &Locator| {
        let shared = transport.books().expect("ours");
        let outbound = shared.outbound.lock();
        assert!(outbound.attempts.len() <= ATTEMPTS_MAX && Instant::now() < until);
        outbound.link(peer).is_some()
    };
    for _ in 0..2 * ATTEMPTS_MAX {
        let peer = open();
        while !matches!(peer.reach(Peer::new(&at)), Reach::Ready(_)) || !is_linked(&peer.locators()[0]) {
            assert!(Instant::now() < until, "no link: {:?}", peer.reach(Peer::new(&at)));
            std::thread::yield_now();
        }
        peer.close();
        while is_linked(&peer.locators()[0]) {
            std::thread::yield_now();
        }
    }
}
