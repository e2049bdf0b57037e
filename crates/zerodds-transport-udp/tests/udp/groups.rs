//! Announcements by multicast, as participants find each other.

use crate::participant::{Participant, Token, random_domain};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use zerodds_core::Locator;
use zerodds_transport_udp::ports;

#[test]
fn an_announcement_reaches_every_participant_of_the_domain_and_its_sender() {
    let (domain, token) = (random_domain(), Token::random());
    let mut participants: Vec<_> = (0..3).map(|_| Participant::on_loopback(domain)).collect();
    let group = participants[0].transport.metatraffic_multicast_locators();
    assert_eq!(
        group,
        [Locator::from(SocketAddr::from(([239, 255, 0, 1], ports::metatraffic_multicast(domain).unwrap())))]
    );
    participants[0].send(&token.message(0, 500), &group);
    participants[0].send(&token.last(), &group);
    for participant in &mut participants {
        assert_eq!(participant.count_until_last(token), 1);
        assert!(participant.transport.multicast_works());
    }
}

#[test]
fn another_domain_hears_nothing_of_it() {
    let domain = random_domain() / 2;
    let (here, mut elsewhere) = (Participant::on_loopback(domain), Participant::on_loopback(domain + 1));
    let token = Token::random();
    here.send(&token.message(0, 100), &here.transport.metatraffic_multicast_locators());
    elsewhere.send(&token.last(), &elsewhere.transport.metatraffic_multicast_locators());
    assert_eq!(elsewhere.count_until_last(token), 0);
}

#[test]
fn the_group_s_port_is_shared_with_other_implementations() {
    // Some set one option, some the other, stock Dust DDS and RustDDS both.
    for (reuse_address, reuse_port) in [(true, false), (false, true), (true, true)] {
        let (domain, token) = (random_domain(), Token::random());
        let port = ports::metatraffic_multicast(domain).unwrap();
        let other = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        other.set_reuse_address(reuse_address).unwrap();
        other.set_reuse_port(reuse_port).unwrap();
        other.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
        let group = Ipv4Addr::new(239, 255, 0, 1);
        other.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        other.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let mut ours = Participant::on_loopback(domain);
        other.send_to(&token.last(), &SocketAddr::from((group, port)).into()).unwrap();
        ours.next(token);
    }
}
