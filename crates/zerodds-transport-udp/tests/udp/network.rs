//! Networks that are missing, come, go, are narrow or slow: each in a namespace of its own.

use crate::namespace::{inside, run};
use crate::participant::{Participant, Token, hang_bound};
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Peer, Receiver as _, Refusal, Transport as _};
use zerodds_transport_udp::{Config, Ipv6, Patience};

const LINK_UP: &str = "ip link add veth0 type veth peer name veth1 && ip addr add 10.77.0.1/24 dev veth0 \
                       && ip link set veth0 up && ip link set veth1 up";

const SECOND_LINK_UP: &str = "ip link add veth2 type veth peer name veth3 && ip addr add 10.78.0.1/24 dev veth2 \
                              && ip link set veth2 up && ip link set veth3 up";

/// Waits as an idle participant does, until its locators are at these addresses.
fn idle_until_announced(participant: &mut Participant, expected: &[IpAddr]) {
    loop {
        let locators = participant.transport.locators();
        let addresses: Vec<_> = locators.iter().filter_map(Locator::socket_addr).map(|a| a.ip()).collect();
        if addresses == expected {
            return;
        }
        let deadline = hang_bound();
        participant.receiver.wait(deadline, &[]);
        participant.receiver.try_receive();
        assert!(deadline > Some(Instant::now()), "{addresses:?} is announced, not {expected:?}");
    }
}

#[test]
fn without_any_interface_it_opens_and_tells_that_it_reaches_nobody() {
    if !inside("network::without_any_interface_it_opens_and_tells_that_it_reaches_nobody", "true") {
        return;
    }
    let a = Participant::with(0, &Config::default());
    assert_eq!((a.transport.locators().len(), a.transport.participant_id()), (0, Some(0)));
    assert!(!a.transport.multicast_works());
    let peer = [Locator::from(SocketAddr::from(([10, 77, 0, 2], 7411)))];
    for to in [&a.transport.metatraffic_multicast_locators()[..], &peer] {
        let sent = a.try_send(b"to nobody", to);
        assert!(sent.by_udp == 0 && matches!(sent.unserved[0].why, Refusal::Io(_)), "{sent:?}");
    }
    assert_eq!(a.transport.counters().refused, 2);
}

#[test]
fn an_ipv6_network_without_ipv4_carries_announcements_and_messages() {
    let test = "network::an_ipv6_network_without_ipv4_carries_announcements_and_messages";
    let v6_link = "ip link add veth0 type veth peer name veth1 && ip addr add fd77::1/64 dev veth0 nodad \
                   && ip link set veth0 up && ip link set veth1 up && ip link set lo up";
    if !inside(test, v6_link) {
        return;
    }
    let config = Config::default().ipv6(Ipv6::Announce);
    let (mut a, mut b) = (Participant::with(0, &config), Participant::with(0, &config));
    for participant in [&mut a, &mut b] {
        let v6 = "fd77::1".parse().unwrap();
        idle_until_announced(participant, &[[127, 0, 0, 1].into(), v6]);
    }
    let (groups, token) = (a.transport.metatraffic_multicast_locators(), Token::random());
    let [_, group] = groups[..] else { panic!("one group per family, not {groups:?}") };
    a.send(&token.last(), &[group]);
    a.next(token);
    b.next(token);
    let unicast = b.transport.locators()[1];
    a.send(&token.message(1, 60_000), &[unicast]);
    assert_eq!(b.next(token).len(), 60_000);
}

#[test]
fn where_ipv6_is_switched_off_announcing_it_is_no_error() {
    let test = "network::where_ipv6_is_switched_off_announcing_it_is_no_error";
    if !inside(test, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set lo up") {
        return;
    }
    let config = Config::default().ipv6(Ipv6::Announce);
    let (a, mut b, token) = (Participant::with(0, &config), Participant::with(0, &config), Token::random());
    idle_until_announced(&mut b, &[[127, 0, 0, 1].into()]);
    a.send(&token.last(), &b.transport.locators());
    b.next(token);
    let v6 = Locator::from(SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 9], 7411)));
    assert_eq!(a.try_send(b"to nobody", &[v6]).by_udp, 0);
}

#[test]
fn loopback_that_goes_down_and_comes_back_is_followed() {
    let test = "network::loopback_that_goes_down_and_comes_back_is_followed";
    if !inside(test, "ip link set lo up") {
        return;
    }
    let (mut a, token) = (Participant::with(0, &Config::default()), Token::random());
    idle_until_announced(&mut a, &[[127, 0, 0, 1].into()]);
    assert!(a.transport.multicast_works());
    run("ip link set lo down");
    idle_until_announced(&mut a, &[]);
    let group = a.transport.metatraffic_multicast_locators();
    assert_eq!(a.try_send(&token.message(0, 40), &group).by_udp, 0);
    assert!(!a.transport.multicast_works());
    run("ip link set lo up");
    idle_until_announced(&mut a, &[[127, 0, 0, 1].into()]);
    a.send(&token.last(), &group);
    a.next(token);
    assert!(a.transport.multicast_works());
}

#[test]
fn an_interface_that_comes_is_announced_and_joined_and_one_that_goes_is_not() {
    let test = "network::an_interface_that_comes_is_announced_and_joined_and_one_that_goes_is_not";
    if !inside(test, &format!("{LINK_UP} && ip link del veth0")) {
        return;
    }
    let (mut a, mut b) = (Participant::with(0, &Config::default()), Participant::with(0, &Config::default()));
    for _ in 0..3 {
        run(LINK_UP);
        idle_until_announced(&mut a, &[[10, 77, 0, 1].into()]);
        idle_until_announced(&mut b, &[[10, 77, 0, 1].into()]);
        let token = Token::random();
        a.send(&token.last(), &a.transport.metatraffic_multicast_locators());
        // lo is down: what comes back does so by the new interface.
        a.next(token);
        b.next(token);
        run("ip link del veth0");
        idle_until_announced(&mut a, &[]);
        idle_until_announced(&mut b, &[]);
        assert!(!a.transport.multicast_works());
    }
}

#[test]
fn a_receiver_that_sleeps_joins_an_interface_that_comes() {
    let test = "network::a_receiver_that_sleeps_joins_an_interface_that_comes";
    if !inside(test, &format!("{LINK_UP} && ip link del veth0")) {
        return;
    }
    let (mut b, token) = (Participant::with(0, &Config::default()), Token::random());
    let group = b.transport.metatraffic_multicast_locators()[0].socket_addr().unwrap();
    let (heard, hears) = channel();
    let sleeper = std::thread::spawn(move || heard.send(b.next(token).len()).unwrap());
    run(LINK_UP);
    // Sent by somebody else, so that nothing but the receiver can notice the interface; and until it is heard,
    // since nobody tells when it has.
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_multicast_if_v4(&[10, 77, 0, 1].into()).unwrap();
    while !sleeper.is_finished() {
        other.send_to(&token.last(), &group.into()).unwrap();
        let _ = hears.recv_timeout(Duration::from_millis(10));
    }
    sleeper.join().unwrap();
}

#[test]
fn a_peer_whose_address_has_gone_is_sent_to_by_its_other_one() {
    let test = "network::a_peer_whose_address_has_gone_is_sent_to_by_its_other_one";
    if !inside(test, &format!("ip link set lo up && {LINK_UP} && {SECOND_LINK_UP}")) {
        return;
    }
    let (a, mut b) = (Participant::with(0, &Config::default()), Participant::with(0, &Config::default()));
    idle_until_announced(&mut b, &[[10, 77, 0, 1].into(), [10, 78, 0, 1].into()]);
    let (locators, token) = (b.transport.locators(), Token::random());
    a.send(&token.message(0, 64), &locators);
    run("ip link del veth0");
    a.send(&token.message(1, 64), &locators);
    assert_eq!(
        [b.next(token)[..].to_vec(), b.next(token)[..].to_vec()],
        [0, 1].map(|i| token.message(i, 64))
    );
}

#[test]
fn only_the_chosen_interface_is_announced_with_all_of_its_addresses_and_multicast_on() {
    let test = "network::only_the_chosen_interface_is_announced_with_all_of_its_addresses_and_multicast_on";
    let label = "ip addr add 10.78.0.5/24 dev veth2 label veth2:x";
    if !inside(test, &format!("ip link set lo up && {LINK_UP} && {SECOND_LINK_UP} && {label}")) {
        return;
    }
    let mut all = Participant::with(0, &Config::default());
    let [first, labelled] = [1, 5].map(|host| IpAddr::from([10, 78, 0, host]));
    idle_until_announced(&mut all, &[[10, 77, 0, 1].into(), first, labelled]);
    let choices = [("veth2", vec![first, labelled]), ("veth2:x", vec![labelled]), ("10.78.0.1", vec![first])];
    for (chosen, announced) in choices {
        let mut one = Participant::with(0, &Config::default().interfaces([chosen.parse().unwrap()]).unwrap());
        idle_until_announced(&mut one, &announced);
        let token = Token::random();
        one.send(&token.message(0, 100), &one.transport.metatraffic_multicast_locators());
        one.send(&token.last(), &one.transport.metatraffic_multicast_locators());
        assert_eq!(one.count_until_last(token), 1);
        assert_eq!(all.next(token).len(), 100);
    }
}

#[test]
fn a_multicast_comes_back_once_and_by_loopback_only_as_a_last_resort() {
    let test = "network::a_multicast_comes_back_once_and_by_loopback_only_as_a_last_resort";
    if !inside(test, &format!("ip link set lo up && {LINK_UP}")) {
        return;
    }
    let mut a = Participant::with(0, &Config::default());
    idle_until_announced(&mut a, &[[10, 77, 0, 1].into()]);
    let group = a.transport.metatraffic_multicast_locators();
    for change in ["true", "ip addr add 10.77.0.2/24 dev veth0", "ip link set veth1 down"] {
        run(change);
        let expected: &[IpAddr] = match change {
            "true" => &[[10, 77, 0, 1].into()],
            "ip link set veth1 down" => &[[127, 0, 0, 1].into()],
            _ => &[[10, 77, 0, 1].into(), [10, 77, 0, 2].into()],
        };
        idle_until_announced(&mut a, expected);
        let token = Token::random();
        a.send(&token.message(0, 100), &group);
        a.send(&token.last(), &group);
        assert_eq!(a.count_until_last(token), 1, "after `{change}`");
    }
}

#[test]
fn a_multicast_leaves_by_each_of_two_interfaces_that_have_the_same_address() {
    let test = "network::a_multicast_leaves_by_each_of_two_interfaces_that_have_the_same_address";
    let alike = "ip addr del 10.78.0.1/24 dev veth2 && ip addr add 10.77.0.1/24 dev veth2";
    if !inside(test, &format!("{LINK_UP} && {SECOND_LINK_UP} && {alike}")) {
        return;
    }
    let mut a = Participant::with(0, &Config::default());
    idle_until_announced(&mut a, &[[10, 77, 0, 1].into(), [10, 77, 0, 1].into()]);
    let sent_by = |interface: &str| {
        let all = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let line = all.lines().find_map(|line| line.trim().strip_prefix(interface)).unwrap();
        line.split_whitespace().nth(9).unwrap().parse::<u64>().unwrap()
    };
    let before = ["veth0:", "veth2:"].map(sent_by);
    for _ in 0..100 {
        a.send(&Token::random().last(), &a.transport.metatraffic_multicast_locators());
    }
    let after = ["veth0:", "veth2:"].map(sent_by);
    assert!(after.iter().zip(before).all(|(after, before)| after - before >= 100), "{before:?}, {after:?}");
}

#[test]
fn datagrams_larger_than_a_packet_are_fragmented_by_ip() {
    let test = "network::datagrams_larger_than_a_packet_are_fragmented_by_ip";
    if !inside(test, "ip link set lo mtu 1500 up") {
        return;
    }
    let config = Config::default().ipv6(Ipv6::Announce);
    let (a, mut b, token) = (Participant::with(0, &config), Participant::with(0, &config), Token::random());
    idle_until_announced(&mut b, &[[127, 0, 0, 1].into(), "::1".parse().unwrap()]);
    let runs = [(1472, 3, 0), (1473, 2, 0), (60_000, 2, 0), (65_507, 1, 0), (1400, 3, 700)];
    for locator in b.transport.locators() {
        for (len, count, tail) in [runs; 3].concat() {
            let mut run: Vec<u8> = (0..count).flat_map(|index| token.message(index, len)).collect();
            run.extend(&token.message(count, len)[..tail]);
            let sent = a.transport.send_run(&run, len, Peer::new(&[locator]), &mut Patience::default());
            assert_eq!(sent.unwrap(), run.chunks(len).count());
            for datagram in run.chunks(len) {
                assert!(b.next(token)[..] == *datagram, "{} bytes to {locator}", datagram.len());
            }
        }
        a.send(&token.message(0, 65_507), &[locator]);
        assert_eq!(b.next(token).len(), 65_507);
    }
}

#[test]
fn a_slow_network_costs_datagrams_that_are_counted_and_blocks_nobody() {
    let test = "network::a_slow_network_costs_datagrams_that_are_counted_and_blocks_nobody";
    if !inside(test, "ip link set lo up && tc qdisc add dev lo root tbf rate 1mbit burst 100kb limit 100mb") {
        return;
    }
    let small = Config::default().buffer(256 << 10).unwrap();
    let (a, b) = (Participant::with(0, &small), Participant::with(0, &small));
    let (fragment, peer) = (vec![0; 60_000], b.transport.locators());
    let run = vec![0; 70 * 60_000];
    let before = Instant::now();
    let sent = a.transport.send_run(&run, 60_000, Peer::new(&peer), &mut Patience::default()).unwrap();
    assert!(sent < 70, "4 MB do not fit");
    // What has left since may have made room.
    let mut singles = (0..20).map(|_| a.try_send(&fragment, &peer));
    let single = singles.find(|single| !single.unserved.is_empty()).expect("a megabyte more does not fit");
    assert!(matches!(single.unserved[0].why, Refusal::Full), "{single:?}");
    // At 1 Mbit/s, 4 MB take half a minute.
    assert!(before.elapsed() < Duration::from_secs(20));
    assert_eq!(a.transport.counters().lost_messages, 71 - sent as u64);
}

#[test]
fn a_host_that_does_not_answer_keeps_nobody_else_from_being_served() {
    let test = "network::a_host_that_does_not_answer_keeps_nobody_else_from_being_served";
    if !inside(test, &format!("ip link set lo up && {LINK_UP}")) {
        return;
    }
    let small = Config::default().buffer(64 << 10).unwrap();
    let (a, mut b) = (Participant::with(0, &small), Participant::with(0, &small));
    let (here, group) = (b.transport.locators(), b.transport.metatraffic_multicast_locators());
    let at = |host| [Locator::from(SocketAddr::from(([10, 77, 0, host], 7411)))];
    let nobody = [10, 11].map(at);
    let token = Token::random();
    // Large samples, and many small ones.
    let run = vec![0; 1 << 20];
    let sent = a.transport.send_run(&run, 60_000, Peer::new(&nobody[0]), &mut Patience::default()).unwrap();
    assert!(sent < run.len() / 60_000, "1 MiB does not fit");
    a.send(&token.message(0, 1_000), &here);
    for host in &nobody {
        for _ in 0..1_000 {
            let _ = a.try_send(&[0; 1_000], host);
        }
    }
    // Of what waits for one host the kernel drops the oldest, so a few of them fill what they have in common.
    for host in (0..6).flat_map(|_| 20..32) {
        let _ = a.try_send(&[0; 1_000], &at(host));
    }
    a.send(&token.message(1, 1_000), &group);
    a.send(&token.message(2, 1_000), &here);
    // The group has another port, between which there is no order.
    let mut heard = [(); 3].map(|()| b.next(token)[..].to_vec());
    heard.sort();
    assert!(heard == [0, 1, 2].map(|index| token.message(index, 1_000)));
}

#[test]
fn what_one_packet_carries_follows_the_link_and_the_route() {
    let test = "network::what_one_packet_carries_follows_the_link_and_the_route";
    if !inside(test, LINK_UP) {
        return;
    }
    let mut a = Participant::with(0, &Config::default());
    let peer = [Locator::from(SocketAddr::from(([10, 77, 0, 2], 7411)))];
    let payload = |a: &Participant| a.transport.packet_payload(Peer::new(&peer));
    let Some(before) = payload(&a) else {
        println!("SKIPPED: the system does not segment");
        return;
    };
    assert_eq!(before, 1472);
    for (mtu, expected) in [(1300, 1272), (9000, 8972)] {
        run(&format!("ip link set veth1 mtu {mtu} && ip link set veth0 mtu {mtu}"));
        let deadline = hang_bound();
        while payload(&a) != Some(expected) {
            a.receiver.wait(deadline, &[]);
            a.receiver.try_receive();
            assert!(deadline > Some(Instant::now()), "{:?} with an MTU of {mtu}", payload(&a));
        }
    }
    // Of this nobody is told.
    run("ip route add 10.77.0.2 dev veth0 mtu 1200");
    assert_eq!(payload(&a), Some(1172));
}
