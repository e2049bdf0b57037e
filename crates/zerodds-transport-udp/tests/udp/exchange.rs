//! Messages between two participants, one at a time: sizes, addresses, counters, the end.

use crate::namespace::inside;
use crate::participant::{Participant, Token, hang_bound, loopback, random_domain};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;
use zerodds_core::{
    Delivery, HostTag, Incarnation, Incoming, Loan as _, LoanError, Locator, Message as _, Path, Peer, Reach,
    Reason, Receiver as _, Refusal, SendError, Transport as _, Wake,
};
use zerodds_transport_udp::{Config, InterfaceChoice, Ipv6, Patience, UdpTransport, ports};

#[test]
fn messages_from_20_to_65507_bytes_arrive_unchanged() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    for len in [20, 21, 1471, 1472, 1473, 9000, 65_506, 65_507] {
        let message = token.message(1, len);
        a.send(&message, &b.transport.locators());
        let received = b.next(token);
        assert_eq!(received[..], message[..]);
        assert_eq!((received.path(), received.source().is_some()), (Path::Udp, true));
        assert_eq!(bytes::Bytes::from(received), message);
    }
}

#[test]
fn an_empty_datagram_is_a_message_too() {
    let domain = random_domain();
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    a.send(&[], &b.transport.locators());
    loop {
        match b.receiver.receive(hang_bound()) {
            Some(Incoming::Message(message)) if message.is_empty() => break,
            Some(_) => {}
            None => panic!("it did not arrive"),
        }
    }
}

#[test]
fn a_loan_arrives_with_the_length_it_was_truncated_to() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let mut loan = a.transport.loan(5000).unwrap();
    loan[..100].copy_from_slice(&token.message(7, 100));
    loan.truncate(100);
    let peer = b.transport.locators();
    let sent = a.transport.send(loan, &[Peer::new(&peer)], Delivery::BestEffort).unwrap();
    assert_eq!(sent.by_udp, 1);
    assert_eq!(b.next(token)[..], token.message(7, 100));
}

#[test]
fn a_message_of_65508_bytes_is_refused_with_both_sizes() {
    let a = Participant::on_loopback(random_domain());
    let (peer, long) = (a.transport.locators(), vec![0; 65_508]);
    let to = [Peer::new(&peer)];
    let sent = a.transport.send_bytes(&long, &to, Delivery::BestEffort);
    assert!(matches!(sent, Err(SendError::TooLarge { len: 65_508, max: 65_507 })), "{sent:?}");
    let loan = a.transport.loan(65_508);
    assert!(matches!(loan, Err(LoanError::TooLarge { len: 65_508, max: 65_507 })), "{loan:?}");
    let run = a.transport.send_run(&long, 65_508, to[0], &mut Patience::default());
    assert!(matches!(run, Err(Refusal::TooLarge { len: 65_508, max: 65_507 })), "{run:?}");
    let counters = a.transport.counters();
    assert_eq!((counters.too_large_messages, counters.sent_messages), (3, 0));
}

#[test]
fn the_limit_is_the_configured_one() {
    let a = Participant::with(random_domain(), &loopback().max_datagram(1472).unwrap());
    assert_eq!(a.transport.max_message_len(), 1472);
    let (peer, long) = (a.transport.locators(), vec![0; 1473]);
    let error = a.transport.send_bytes(&long, &[Peer::new(&peer)], Delivery::BestEffort).unwrap_err();
    assert!(error.to_string().contains("1473") && error.to_string().contains("1472"), "{error}");
}

#[test]
fn a_peer_with_several_locators_gets_one_copy() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let port = b.transport.locators()[0].port();
    let everything: Vec<_> = UdpTransport::open(domain, &Config::default()).unwrap().locators();
    let addresses = everything.iter().filter_map(Locator::socket_addr).map(|address| address.ip());
    let mut locators: Vec<Locator> = addresses
        .chain([[127, 0, 0, 1].into()])
        .map(|ip| SocketAddr::new(ip, u16::try_from(port).unwrap()).into())
        .collect();
    locators.extend(b.transport.metatraffic_unicast_locators());
    locators.extend(b.transport.metatraffic_multicast_locators());
    a.send(&token.message(0, 100), &locators);
    a.send(&token.last(), &locators);
    assert_eq!(b.count_until_last(token), 1);
}

#[test]
fn each_of_several_peers_gets_its_copy_and_one_without_an_address_is_named() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let mut c = Participant::on_loopback(domain);
    let (to_b, to_c) = (b.transport.locators(), c.transport.locators());
    let elsewhere = [Locator::new(16, 1, [1; 16])];
    let peers = [Peer::new(&to_b), Peer::new(&elsewhere), Peer::new(&to_c)];
    let sent = a.transport.send_bytes(&token.message(0, 64), &peers, Delivery::BestEffort).unwrap();
    assert_eq!(sent.by_udp, 2);
    assert!(matches!(
        &sent.unserved[..],
        [unserved] if unserved.index == 1 && matches!(unserved.why, Refusal::Unreachable(Reason::NoLocator))
    ));
    assert_eq!(a.transport.reach(peers[0]), Reach::Ready(Path::Udp));
    assert_eq!(a.transport.reach(peers[1]), Reach::Unreachable(Reason::NoLocator));
    for peer in [&mut b, &mut c] {
        assert_eq!(peer.next(token)[..], token.message(0, 64));
    }
}

#[test]
fn loopback_of_a_host_with_another_tag_is_not_sent_to() {
    let (domain, tag) = (random_domain(), |byte| HostTag::from_bytes([byte; 8]));
    let a = Participant::with(domain, &loopback().host_tag(tag(1)));
    let b = Participant::on_loopback(domain);
    let shm = |byte| Locator::shared_memory(tag(byte), Incarnation::from_bytes([5; 8]), domain);
    let here = [b.transport.locators(), vec![shm(1)]].concat();
    assert_eq!(a.transport.reach(Peer::new(&here)), Reach::Ready(Path::Udp));
    let elsewhere = [b.transport.locators(), vec![shm(2)]].concat();
    assert_eq!(a.transport.reach(Peer::new(&elsewhere)), Reach::Unreachable(Reason::DifferentHost));
    let sent = a.try_send(b"lost", &elsewhere);
    assert_eq!((sent.by_udp, sent.unserved.len()), (0, 1));
}

#[test]
fn a_peer_that_is_gone_is_no_error_and_disturbs_no_other() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone = [Locator::from(nobody.local_addr().unwrap())];
    drop(nobody);
    for index in 0..10 {
        a.send(&token.message(index, 40), &gone);
        a.send(&token.message(index, 40), &b.transport.locators());
        assert_eq!(b.next(token)[..], token.message(index, 40));
    }
}

#[test]
fn metatraffic_and_samples_come_by_the_ports_of_one_participant_id() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let (metatraffic, user) = (b.transport.metatraffic_unicast_locators(), b.transport.locators());
    if let Some(id) = b.transport.participant_id() {
        assert_eq!(metatraffic[0].port(), u32::from(ports::metatraffic_unicast(domain, id).unwrap()));
        assert_eq!(user[0].port(), u32::from(ports::user_unicast(domain, id).unwrap()));
    }
    for locators in [metatraffic, user] {
        a.send(&token.message(3, 30), &locators);
        assert_eq!(b.next(token)[..], token.message(3, 30));
    }
}

#[test]
fn many_participants_of_one_domain_get_distinct_ports() {
    let domain = random_domain();
    let participants: Vec<_> = (0..20).map(|_| UdpTransport::open(domain, &loopback()).unwrap()).collect();
    let ports: BTreeSet<u32> = participants
        .iter()
        .flat_map(|one| [one.locators(), one.metatraffic_unicast_locators()].concat())
        .map(|locator| locator.port())
        .collect();
    assert_eq!(ports.len(), 40);
}

#[test]
fn past_the_last_participant_id_the_system_chooses_ports() {
    // In a namespace, where nobody else gives one of the ports back in the middle of it.
    if !inside("exchange::past_the_last_participant_id_the_system_chooses_ports", "ip link set lo up") {
        return;
    }
    // Domain 232 has room for 63 participants below port 65,536.
    let _taken: Vec<_> = (0..63)
        .map(|id| UdpSocket::bind(("0.0.0.0", ports::user_unicast(232, id).unwrap())).unwrap())
        .collect();
    let (token, a) = (Token::random(), Participant::on_loopback(232));
    let mut b = Participant::on_loopback(232);
    assert_eq!((a.transport.participant_id(), b.transport.participant_id()), (None, None));
    a.send(&token.last(), &b.transport.locators());
    b.next(token);
}

#[test]
fn a_domain_without_ports_is_an_error_that_says_which_domains_have_some() {
    let error = UdpTransport::open(233, &loopback()).unwrap_err().to_string();
    assert!(error.contains("domain 233") && error.contains("0 to 232"), "{error}");
}

#[test]
fn ipv6_is_announced_only_on_demand_and_then_reached() {
    let lo = || Config::default().interfaces([InterfaceChoice::Address("::1".parse().unwrap())]).unwrap();
    let (domain, token) = (random_domain(), Token::random());
    let mut b = Participant::with(domain, &lo().ipv6(Ipv6::Announce));
    let locators = b.transport.locators();
    if locators.is_empty() {
        println!("SKIPPED: this host has no IPv6 loopback");
        return;
    }
    let a = Participant::with(domain, &lo());
    assert_eq!(a.transport.locators(), [], "stock Dust DDS panics on an IPv6 locator");
    for len in [20, 65_507] {
        a.send(&token.message(1, len), &locators);
        assert_eq!(b.next(token)[..], token.message(1, len));
    }
    let off = Participant::with(domain, &lo().ipv6(Ipv6::Off));
    assert_eq!(off.transport.reach(Peer::new(&locators)), Reach::Unreachable(Reason::NoLocator));
}

#[test]
fn an_interface_that_does_not_exist_is_no_error_yet() {
    let nowhere = Config::default().interfaces([InterfaceChoice::Name("zerodds-none".into())]).unwrap();
    let transport = UdpTransport::open(random_domain(), &nowhere).unwrap();
    assert_eq!(transport.locators(), []);
    assert!(!transport.multicast_works());
}

#[test]
fn the_buffers_tell_what_was_asked_for_and_what_was_granted() {
    let transport = UdpTransport::open(random_domain(), &loopback().buffer(65_536).unwrap()).unwrap();
    let small = transport.buffers();
    assert_eq!((small.asked, small.receive, small.send), (65_536, 65_536, 65_536));
    let transport = UdpTransport::open(random_domain(), &loopback().buffer(512 << 20).unwrap()).unwrap();
    let large = transport.buffers();
    assert!(
        large.asked == 512 << 20 && large.receive >= small.receive && large.send >= small.send,
        "{large:?}"
    );
}

#[test]
fn counters_tell_what_was_sent_and_received() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let run: Vec<u8> = (1..=5).flat_map(|i| token.message(i, 300)).collect();
    let to = b.transport.locators();
    assert_eq!(a.transport.send_run(&run, 300, Peer::new(&to), &mut Patience::default()).unwrap(), 5);
    run.chunks(300).for_each(|message| assert_eq!(b.next(token)[..], *message));
    let (sent, received) = (a.transport.counters(), b.transport.counters());
    assert_eq!((sent.sent_messages, sent.sent_bytes, sent.lost_messages), (5, 1500, 0));
    assert!(received.received_messages >= 5 && received.received_bytes >= 1500);
}

#[test]
fn close_wakes_a_blocked_receiver_and_ends_sending() {
    let Participant { transport, mut receiver } = Participant::on_loopback(random_domain());
    let waiting = std::thread::spawn(move || {
        while receiver.receive(None).is_some() {}
        (receiver.wait(None, &[]), receiver.arm(), receiver.readiness().len())
    });
    transport.close();
    transport.close();
    assert_eq!(waiting.join().unwrap(), (Wake::Closed, Wake::Closed, 0));
    let peer = [Locator::from(SocketAddr::from(([127, 0, 0, 1], 9)))];
    let sent = transport.send_bytes(b"late", &[Peer::new(&peer)], Delivery::BestEffort);
    assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
    let run = transport.send_run(b"late", 4, Peer::new(&peer), &mut Patience::default());
    assert!(matches!(run, Err(Refusal::Unreachable(Reason::Closed))), "{run:?}");
    assert!(matches!(transport.loan(1), Err(LoanError::Closed)));
    assert_eq!(transport.reach(Peer::new(&peer)), Reach::Unreachable(Reason::Closed));
}

#[test]
fn the_receiver_can_be_taken_once() {
    let transport = UdpTransport::open(random_domain(), &loopback()).unwrap();
    let first = transport.receiver();
    assert!(first.is_some() && transport.clone().receiver().is_none());
}

#[test]
fn the_descriptor_is_readable_once_something_is_there() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    loop {
        while b.receiver.try_receive().is_some() {}
        if b.receiver.arm() == Wake::TimedOut {
            break;
        }
    }
    a.send(&token.last(), &b.transport.locators());
    let mut fds = [PollFd::from_borrowed_fd(b.receiver.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, None), Ok(1));
    assert_eq!(b.receiver.arm(), Wake::Ready);
    b.next(token);
}

#[test]
fn a_wait_ends_when_another_descriptor_becomes_readable() {
    let mut a = Participant::on_loopback(random_domain());
    let (bell, ear) = UnixStream::pair().unwrap();
    drop(bell);
    assert_eq!(a.receiver.wait(None, &[ear.as_fd()]), Wake::Ready);
}

#[test]
fn a_wait_ends_at_its_deadline() {
    // No other process sends to a participant that no one knows of, but its group may carry traffic.
    let mut a = Participant::on_loopback(random_domain());
    let deadline = Instant::now() + std::time::Duration::from_millis(20);
    while let Some(_foreign) = a.receiver.receive(Some(deadline)) {}
    assert!(Instant::now() >= deadline);
}

#[test]
fn a_socket_that_a_sandbox_keeps_from_being_read_is_waited_for_no_longer() {
    const TEST: &str = "exchange::a_socket_that_a_sandbox_keeps_from_being_read_is_waited_for_no_longer";
    const SANDBOX: &str = include_str!("../../../zerodds-transport-shm/tests/failures/shims/sandbox.py");
    const INSIDE: &str = "ZERODDS_UDP_TEST_SANDBOXED";
    if std::env::var_os(INSIDE).is_none() {
        let binary = std::env::current_exe().unwrap();
        let mut sandboxed = Command::new("python3");
        sandboxed.args(["-c", SANDBOX, "recvmmsg"]).arg(binary).args(["--exact", TEST, "--nocapture"]);
        let Ok(output) = sandboxed.env(INSIDE, "").output() else {
            println!("SKIPPED: python3 is not to be had");
            return;
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("1 passed"), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let domain = random_domain();
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    a.send(b"RTPS", &b.transport.locators());
    assert_eq!(b.receiver.wait(hang_bound(), &[]), Wake::Ready);
    let mut turns = std::iter::repeat_with(|| {
        assert!(b.receiver.try_receive().is_none());
        b.receiver.arm()
    });
    assert!(turns.by_ref().take(100).any(|wake| wake == Wake::TimedOut), "it would be a spin");
}
