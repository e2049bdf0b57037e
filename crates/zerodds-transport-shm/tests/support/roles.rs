//! What child processes do.

use super::child::{Process, hear, role, tell};
use super::{Node, deadline, fresh_domain, is_intact, reliable};
use std::time::Instant;
use zerodds_core::{Delivery, Locator, Message, Peer, Transport};
use zerodds_transport_shm::{Access, Config, ShmMessage};

/// Plays the role that this process was started with; without one it does nothing.
pub(crate) fn play() {
    let Some(words) = role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["receive", domain] => receive(domain.parse().expect("a domain"), &Config::default()),
        ["receive-any", domain] => {
            receive(domain.parse().expect("a domain"), &Config::default().access(Access::Any));
        }
        ["send", domain, count, len] => send(
            domain.parse().expect("a domain"),
            count.parse().expect("a count"),
            len.parse().expect("a length"),
        ),
        ["both"] => both_in_one_process(),
        other => panic!("no such role: {other:?}"),
    }
}

/// Takes messages as told: `take N` takes and checks N and gives them back, `keep N` keeps them, `check 0` checks again
/// what is kept.
fn receive(domain: u32, config: &Config) {
    let mut node = Node::with(domain, config);
    tell("ready");
    let seed_of = |message: &ShmMessage| u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
    let mut kept: Vec<(u64, ShmMessage)> = Vec::new();
    loop {
        let line = hear();
        let (verb, count) = line.split_once(' ').expect("a verb and a number");
        if verb == "check" {
            let intact = kept
                .iter()
                .all(|(seed, message)| seed_of(message) == *seed && is_intact(&message[8..], *seed));
            tell(format_args!("kept {} {}", kept.len(), if intact { "intact" } else { "changed" }));
        }
        for _ in 0..count.parse().expect("a number") {
            let message = node.next_message();
            let seed = seed_of(&message);
            assert!(is_intact(&message[8..], seed));
            tell(format_args!("{seed} {} {}", message.len(), message.is_in_place()));
            if verb == "keep" {
                kept.push((seed, message));
            }
        }
    }
}

/// Sends `count` messages to the first neighbour, reliable, then waits to be told to end.
fn send(domain: u32, count: u64, len: usize) {
    let (node, to) = with_first_neighbour(domain);
    for seed in 0..count {
        assert!(send_numbered(&node, to, seed, len, reliable()).unserved.is_empty());
    }
    tell("sent");
    hear();
}

/// A node with a link to the first other one of its domain, whenever that comes.
pub(crate) fn with_first_neighbour(domain: u32) -> (Node, Locator) {
    let node = Node::open(domain);
    let until = deadline();
    let to = loop {
        if let Some(&to) = node.transport.neighbours().first() {
            break to;
        }
        assert!(Instant::now() < until, "no neighbour");
        std::thread::yield_now();
    };
    node.link_to(to);
    (node, to)
}

/// Child: sends back as many numbered messages as it is told, each checked.
pub(crate) fn echo(node: &mut Node) {
    let total: u64 = hear().parse().expect("a number");
    for number in 0..total {
        let message = node.next_message();
        assert_eq!(u64::from_le_bytes(message[..8].try_into().expect("8 bytes")), number);
        assert!(is_intact(&message[8..], number), "message {number}");
        let from = message.source().expect("shared memory tells");
        assert!(send_numbered(node, from, number, message.len(), reliable()).unserved.is_empty());
    }
    tell("echoed");
}

/// Sends numbered messages of many sizes to a child that plays [`echo`], and checks what comes back.
pub(crate) fn until_echoed(node: &mut Node, child: &mut Process, peer: Locator, total: u64) {
    child.tell(&total.to_string());
    for number in 0..total {
        let len = [16, 2_000, 100_000, 1 << 20][number as usize % 4];
        assert!(send_numbered(node, peer, number, len, reliable()).unserved.is_empty());
        let message = node.next_message();
        assert!(message.len() == len && is_intact(&message[8..], number), "message {number}");
    }
    assert_eq!(child.hear(), "echoed");
}

fn both_in_one_process() {
    let domain = fresh_domain();
    let (a, mut b) = (Node::open(domain), Node::open(domain));
    assert_eq!(a.transport.neighbours(), [b.locator()]);
    a.link_to(b.locator());
    let _ = send_numbered(&a, b.locator(), 7, 100_000, reliable());
    assert_eq!(b.next_message().len(), 100_000);
    tell("exchanged");
    hear();
}

/// Sends one message that begins with its number and checks itself.
pub(crate) fn send_numbered(
    node: &Node,
    to: Locator,
    seed: u64,
    len: usize,
    delivery: Delivery,
) -> zerodds_core::Sent {
    let mut loan = node.transport.loan_before(len, deadline()).expect("loan");
    loan[..8].copy_from_slice(&seed.to_le_bytes());
    super::fill(&mut loan[8..], seed);
    node.transport.send(loan, &[Peer::new(&[to])], delivery).expect("send")
}

/// A node of ours and a receiving child with a link to it.
pub(crate) fn with_receiver(wrapper: &[&str]) -> (Node, Process, Locator) {
    let domain = fresh_domain();
    let node = Node::open(domain);
    let mut child = Process::start(&format!("receive {domain}"), wrapper);
    assert_eq!(child.hear(), "ready");
    let peer = node.transport.neighbours()[0];
    node.link_to(peer);
    (node, child, peer)
}
