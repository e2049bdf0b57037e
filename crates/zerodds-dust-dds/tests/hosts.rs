//! Two hosts that are alike: an address of their own each on the cable between them, and one that both have.
//!
//! ```text
//!   namespace of the writer                        namespace of the reader
//!     10.79.0.1 cable ─────────── veth ─────────── cable 10.79.0.2
//!     172.17.0.1 bridge                            172.17.0.1 bridge
//! ```
//! As wherever the same bridge is made by default for containers or virtual machines. Participants bind the same ports on
//! both, so a locator of the other one is often one of our own as well. Made by a shell around each process; all of it
//! is gone with the processes in it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use parties::{
    Guard, PATIENCE, ROLE, join_with, lossy, publish, role, subscribe_to_rounds, wait_for_readers,
};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Peer};
use zerodds_dust_dds::ZeroDds;
use zerodds_transport_udp::{Config, UdpTransport};

const LENS: [usize; 4] = [0, 1_000, 100_000, 1 << 20];
/// Nobody else is on these hosts.
const DOMAIN: i32 = 7;

/// Instead of what a packet carries in the next round: the reader has another address in it.
const MOVED: &str = "moved";

/// Not a test: one of the two, when this process is a child. What a packet carries is another in each round.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    // On shared memory too, by which participants of this plug-in know each other.
    let ours = ZeroDds::new(Default::default(), Default::default());
    let lost = words[1].parse().unwrap();
    let party = if lost > 0 { lossy(ours, lost, 7, DOMAIN) } else { join_with(ours, DOMAIN) };
    let rounds = &words[2..];
    if words[0] == "reads" {
        let reader = party.reader(true, 64);
        let at_first = rounds.iter().position(|round| round == MOVED).unwrap_or(rounds.len());
        subscribe_to_rounds(&reader, &LENS, at_first);
        if at_first < rounds.len() {
            let of_cable = |what, address| ip(&["address", what, address, "dev", "cable"]);
            of_cable("del", "10.79.0.2/24");
            of_cable("add", "10.79.0.3/24");
            subscribe_to_rounds(&reader, &LENS, rounds.len() - at_first);
        }
        let traffic = party.monitor.as_ref().unwrap().traffic();
        let (received, reassembled) = (traffic.udp.samples_received, traffic.reassembled);
        assert_eq!(received, (LENS.len() * rounds.len()) as u64);
        assert_eq!(traffic.malformed, 0);
        assert!(reassembled >= 2 * rounds.len() as u64, "{traffic:?}");
    } else {
        let writer = party.writer(true, 4);
        wait_for_readers(&writer, 1);
        for round in rounds {
            match &round[..] {
                MOVED => wait_for_host([10, 79, 0, 3].into()),
                mtu => ip(&["link", "set", "cable", "mtu", mtu]),
            }
            publish(&writer, &LENS);
        }
        let sent = party.monitor.as_ref().unwrap().counters().sent_messages;
        let packets = LENS.iter().sum::<usize>() / 1_500 * rounds.len();
        if segments() {
            assert!(sent > packets as u64, "fragments fit packets: {sent}");
        } else {
            eprintln!("SKIPPED: the system does not segment");
        }
    }
    party.leave();
}

#[test]
fn two_hosts_that_have_an_address_in_common_exchange_over_udp() {
    exchange("0 1500");
}

#[test]
fn two_hosts_exchange_though_packets_are_lost_and_become_smaller_and_larger() {
    exchange("30 1500 1300 1400 800 1500");
}

#[test]
fn a_reader_whose_host_gets_another_address_is_sent_to_there() {
    exchange("0 1500 moved 1400");
}

/// One of two hosts writes and the other reads, which lose so many of a thousand datagrams each way, with this MTU in each round.
fn exchange(how: &str) {
    let tried = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: network namespaces need root, and the commands unshare and ip");
        return;
    }
    let [writes, reads] = [("10.79.0.1", "writes"), ("10.79.0.2", "reads")]
        .map(|(address, role)| Guard(host(address, &format!("{role} {how}"))));
    lay_cable(&writes.0, &reads.0);
    reads.succeed();
    writes.succeed();
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "{arguments:?}");
}

/// Until it answers, if only that nobody listens there.
fn wait_for_host(address: IpAddr) {
    let deadline = Instant::now() + PATIENCE;
    let knock = || TcpStream::connect_timeout(&(address, 1).into(), Duration::from_secs(1));
    while knock().is_err_and(|error| error.kind() != ErrorKind::ConnectionRefused) {
        assert!(Instant::now() < deadline, "{address} does not come");
    }
}

/// Whether this host sends many packets by one system call, without which fragments do not fit packets.
fn segments() -> bool {
    let udp = UdpTransport::open(DOMAIN as u32, &Config::default()).unwrap();
    let other = Locator::from(SocketAddr::from(([10, 79, 0, 2], 7_411)));
    udp.packet_payload(Peer::new(&[other])).is_some()
}

/// This test binary in a role, on a host of its own, once the cable is there.
fn host(address: &str, role: &str) -> Child {
    Command::new("unshare")
        .args(["--net", "sh", "-c", SCRIPT, address])
        .arg(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn lay_cable(one: &Child, other: &Child) {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    let own = namespace("self");
    let [one, other] = [one, other].map(|child| child.id().to_string());
    let deadline = Instant::now() + PATIENCE;
    while [&one, &other].into_iter().any(|process| namespace(process) == own) {
        assert!(Instant::now() < deadline, "a child got no namespace");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let cable =
        ["link", "add", "cable", "netns", &one, "type", "veth", "peer", "name", "cable", "netns", &other];
    assert!(Command::new("ip").args(cable).status().unwrap().success(), "laying the cable");
}

/// `$0` is the address on the cable. Ends by itself where no cable comes. A bridge carries once something is plugged in.
const SCRIPT: &str = "
    patiently() { i=0; until \"$@\"; do i=$((i + 1)); [ $i -lt 1000 ] || exit 1; sleep 0.01; done; }
    carries() { ip link show $1 | grep -q LOWER_UP; }
    ip link set lo up && ip link add bridge type bridge && ip link add port type veth peer name plug || exit 1
    ip link set port master bridge && ip link set port up && ip link set plug up || exit 1
    ip address add 172.17.0.1/16 dev bridge && ip link set bridge up && patiently carries bridge
    patiently ip address add \"$0\"/24 dev cable 2>/dev/null
    ip link set cable up && patiently carries cable
    exec \"$@\"";
