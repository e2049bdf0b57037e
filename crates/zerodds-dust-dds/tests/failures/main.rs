//! Rows of docs/failures.md that end with the data arriving all the same: by UDP.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../parties/mod.rs"]
mod parties;

use parties::{Guard, ROLE, Stack, publish, random_domain, role, subscribe, wait_for_readers};
use std::process::{Command, Stdio};

const LENS: [usize; 4] = [0, 1_000, 100_000, 1 << 20];

/// Not a test: the publisher of one, when this process is its child.
#[test]
fn child_process() {
    let Some(words) = role() else { return };
    let party = Stack::Ours.join(words[0].parse().unwrap());
    let writer = party.writer(true, 4);
    wait_for_readers(&writer, 1);
    publish(&writer, &LENS);
    let sent = party.monitor.as_ref().unwrap().traffic();
    assert_eq!(sent.shm.samples_sent, 0, "it has no shared memory");
    party.leave();
}

/// A publisher that something keeps from shared memory, put in front of it as a command, is heard by UDP.
fn arrives_by_udp_from_within(wrapper: &[&str]) {
    let domain = random_domain();
    let party = Stack::Ours.join(domain);
    let reader = party.reader(true, 64);
    let child = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, domain.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let publisher = Guard(child);
    subscribe(&reader, &LENS);
    publisher.succeed();
    let traffic = party.monitor.as_ref().unwrap().traffic();
    let received = (traffic.shm.samples_received, traffic.udp.samples_received);
    assert_eq!(received, (0, LENS.len() as u64));
    party.leave();
}

#[test]
fn f17_samples_arrive_by_udp_where_a_file_size_limit_rules_shared_memory_out() {
    arrives_by_udp_from_within(&["prlimit", "--fsize=1000000:1000000"]);
}

#[test]
fn f26_samples_arrive_by_udp_where_a_sandbox_denies_shared_memory() {
    const SANDBOX: &str = include_str!("../../../zerodds-transport-shm/tests/failures/shims/sandbox.py");
    for denied in ["memfd_create", "socket"] {
        arrives_by_udp_from_within(&["python3", "-c", SANDBOX, denied]);
    }
}

#[test]
fn f44_a_sample_above_the_knob_goes_by_udp_between_two_with_a_link_and_is_counted() {
    let domain = random_domain();
    let [party, other] = [(); 2].map(|()| Stack::Ours.join(domain));
    let (reader, writer) = (party.reader(true, 64), other.writer(true, 4));
    wait_for_readers(&writer, 1);
    other.wait_for_link();
    let lens = [1_000, 17 << 20, (16 << 20) - 12, 1_000];
    std::thread::scope(|scope| {
        scope.spawn(|| subscribe(&reader, &lens));
        publish(&writer, &lens);
    });
    let received = party.monitor.as_ref().unwrap().traffic();
    assert_eq!((received.shm.samples_received, received.udp.samples_received), (3, 1));
    // Dust may send it again.
    assert!(other.monitor.as_ref().unwrap().counters().too_large_messages > 0);
    other.leave();
    party.leave();
}
