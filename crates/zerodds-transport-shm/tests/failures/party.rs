//! A participant in a process of its own, which does what it is told and tells what came of it:
//!
//! ```text
//!   link <name>               linked, or why it cannot be
//!   send <name> <seed> <len>  sent, or why not; reliable
//!   take <n>                  seed and length of each, once it is checked
//!   keep <n>                  the same, and holds on to them
//!   down <name>               how many messages came before the news that this one is gone, and why
//!   host, pid, neighbours     its host's tag, its pid as it sees it, and how many others it finds
//! ```
//! A participant's name is its locator's incarnation in hexadecimal, which it tells first.

use crate::support::child::{Process, hear, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, is_intact, reliable};
use std::time::Instant;
use zerodds_core::{Incarnation, Locator, Peer, Reach, Transport};
use zerodds_transport_shm::{Access, Config, ShmMessage, ShmTransport};

/// A running participant.
pub(crate) struct Party {
    pub(crate) process: Process,
    pub(crate) name: String,
}

impl Party {
    pub(crate) fn start(domain: u32, wrapper: &[&str]) -> Self {
        Self::of(Process::start(&format!("party {domain}"), wrapper))
    }

    /// Of a process that plays a party: hears its name.
    pub(crate) fn of(mut process: Process) -> Self {
        let name = process.hear();
        Self { process, name }
    }

    /// Tells it to do something and hears what came of it.
    pub(crate) fn asked(&mut self, what: impl AsRef<str>) -> String {
        self.process.tell(what.as_ref());
        self.process.hear()
    }

    pub(crate) fn link(&mut self, to: &str) {
        assert_eq!(self.asked(format!("link {to}")), "linked");
    }

    /// Sends a message to another party, which takes and checks it.
    pub(crate) fn exchange(&mut self, other: &mut Self, seed: u64, len: usize) {
        assert_eq!(self.asked(format!("send {} {seed} {len}", other.name)), "sent");
        assert_eq!(other.asked("take 1"), format!("{seed} {len}"));
    }

    /// Its locator, for a node of ours in the same domain and network namespace.
    pub(crate) fn locator(&self, beside: &Node) -> Locator {
        named(beside, &self.name)
    }
}

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["party", domain] => serve(Node::open(number(domain))),
        ["party", domain, "any"] => {
            serve(Node::with(number(domain), &Config::default().access(Access::Any)));
        }
        // Also where shared memory is not to be had.
        ["party", domain, "as", id, knob] => {
            let config = Config::default().max_datagram(number(knob)).expect("in range");
            let transport = ShmTransport::open_as(number(domain), incarnation(id), &config);
            match transport.availability() {
                Ok(()) => serve(Node::of(transport)),
                Err(why) => {
                    tell(why);
                    hear();
                }
            }
        }
        _ => return false,
    }
    true
}

/// Tells its name, then does what it is told until nobody tells it anything any more.
pub(crate) fn serve(mut node: Node) {
    tell(name_of(&node));
    let mut kept = Vec::new();
    loop {
        let line = hear();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["link", name] => tell(link(&mut node, name)),
            ["send", name, seed, len] => tell(send(&node, name, number(seed), number(len))),
            ["take", count] => (0..number(count)).for_each(|_: u64| drop(take(&mut node))),
            ["keep", count] => kept.extend((0..number(count)).map(|_: u64| take(&mut node))),
            ["down", name] => {
                let (before, why) = node.until_down_why(named(&node, name));
                tell(format_args!("{} before: {why}", before.len()));
            }
            ["host"] => tell(host_of(&node)),
            ["pid"] => tell(std::process::id()),
            ["neighbours"] => tell(node.transport.neighbours().len()),
            _ => panic!("no such order: {line:?}"),
        }
    }
}

pub(crate) fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("{word:?} is no number"))
}

fn incarnation(name: &str) -> Incarnation {
    Incarnation::from_bytes(u64::from_str_radix(name, 16).expect("hexadecimal").to_be_bytes())
}

fn named(node: &Node, name: &str) -> Locator {
    node.transport.locator_of(incarnation(name)).expect("available")
}

/// The name of a node of ours.
pub(crate) fn name_of(node: &Node) -> String {
    let bytes = node.locator().incarnation().expect("shared memory").to_bytes();
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// The host tag of a node of ours.
pub(crate) fn host_of(node: &Node) -> u64 {
    u64::from_be_bytes(node.locator().host_tag().expect("shared memory").to_bytes())
}

fn link(node: &mut Node, name: &str) -> String {
    let (to, until) = ([named(node, name)], deadline());
    loop {
        match node.transport.reach(Peer::new(&to)) {
            Reach::Ready(_) => return "linked".into(),
            Reach::Unreachable(why) => return why.to_string(),
            Reach::Pending(_) => assert!(Instant::now() < until, "no answer of {name}"),
        }
        std::thread::yield_now();
    }
}

fn send(node: &Node, name: &str, seed: u64, len: usize) -> String {
    let sent = send_numbered(node, named(node, name), seed, len, reliable());
    sent.unserved.first().map_or_else(|| "sent".into(), |unserved| format!("{:?}", unserved.why))
}

fn take(node: &mut Node) -> ShmMessage {
    let message = node.next_message();
    let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
    assert!(is_intact(&message[8..], seed), "corrupt");
    tell(format_args!("{seed} {}", message.len()));
    message
}
