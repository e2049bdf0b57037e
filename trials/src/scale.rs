//! Many: hundreds of processes with thousands of transports, all linked with one process, or with one transport, and what each link
//! costs it.
//!
//! ```text
//!   process 1: 10 transports ──┐ a small message each through its lane, as discovery is; then a large one each
//!   process 2: 10 transports ──┼──▶ hub, 10 transports or 1: its descriptors, its mappings, the memory of each link object
//!   …                          │
//!   process 200 ───────────────┘    the first of each is linked with the first of the hub, and so on, from the start again
//! ```

use crate::census::{Census, object_lengths};
use crate::child::{PATIENCE, Process, hear, tell};
use crate::node::{self, Node, link_to, reliable};
use crate::parcel::{LEN_MIN, Parcel};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use zerodds_core::{Incoming, Message, Receiver};

/// What links cost the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Links that it had at once.
    pub links: u64,
    /// Descriptors for all of them.
    pub descriptors: u64,
    /// Mappings for all of them.
    pub maps: u64,
    /// Memory in bytes of the largest link object after one small message.
    pub discovery_len_max: u64,
    /// Memory in bytes of the largest link object after a large message too.
    pub data_len_max: u64,
}

/// Starts so many processes with so many transports each, which send to one hub of `hubs` transports; then kills them all.
///
/// # Errors
/// Somebody is not linked or not heard, something is left of them, or the memory of objects cannot be looked at
/// (which takes root).
pub fn measure(program: &Path, processes: u64, transports: u64, hubs: u64) -> Result<Cost, String> {
    let domain = 0x2000_0000 | std::process::id();
    let start = |words: &[String]| {
        Process::start(program, words).map_err(|error| format!("{}: {error}", program.display()))
    };
    let mut hub = start(&["hub".into(), domain.to_string(), hubs.to_string()])?;
    hub.expect("open")?;
    let before = ask(&mut hub, 0)?;
    let mut crowd = Vec::new();
    for process in 0..processes {
        let first = hubs + process * transports;
        let numbers = [u64::from(domain), first, transports, hubs].map(|number| number.to_string());
        crowd.push(start(&[&["crowd".to_owned()][..], &numbers].concat())?);
    }
    let links = processes * transports;
    crowd.iter_mut().try_for_each(|process| process.expect("linked"))?;
    let linked = ask(&mut hub, links)?;
    let discovery = object_lengths(hub.id(), "zerodds-link")?;
    crowd.iter_mut().for_each(|process| process.tell("data"));
    crowd.iter_mut().try_for_each(|process| process.expect("sent"))?;
    ask(&mut hub, 2 * links)?;
    let data = object_lengths(hub.id(), "zerodds-link")?;
    if discovery.len() as u64 != links || data.len() as u64 != links {
        return Err(format!("{} and {} link objects instead of {links}", discovery.len(), data.len()));
    }
    // Each is killed and buried.
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let after = ask(&mut hub, 2 * links)?;
        if after == before {
            break;
        }
        if Instant::now() >= deadline {
            return Err(format!("LEAK: {after:?} instead of {before:?} after all have died"));
        }
        std::thread::sleep(node::LOOK);
    }
    Ok(Cost {
        links,
        descriptors: (linked.descriptors - before.descriptors) as u64,
        maps: (linked.maps - before.maps) as u64,
        discovery_len_max: discovery.into_iter().max().unwrap_or(0),
        data_len_max: data.into_iter().max().unwrap_or(0),
    })
}

/// What the hub has as soon as it has got so many messages.
fn ask(hub: &mut Process, messages: u64) -> Result<Census, String> {
    hub.tell(&format!("count {messages}"));
    let crate::child::Said::Line(line) = hub.hear(Instant::now() + PATIENCE) else {
        return Err(format!("HANG: {} did not get {messages} messages", hub.name()));
    };
    let mut words = line.split(' ').map(|word| word.parse().ok());
    match (words.next().flatten(), words.next().flatten()) {
        (Some(descriptors), Some(maps)) => Ok(Census { descriptors, maps }),
        _ => Err(format!("{} said {line:?}", hub.name())),
    }
}

/// Plays the role that this process was started with: `hub <domain> <count>` or `crowd <domain> <first> <count> <hubs>`.
///
/// # Errors
/// What went wrong.
pub fn play(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    match words.as_slice() {
        ["hub", domain, count] => hub(number(domain)? as u32, number(count)?),
        ["crowd", domain, first, count, hubs] => {
            crowd(number(domain)? as u32, number(first)?, number(count)?, number(hubs)?)
        }
        other => Err(format!("no such role: {other:?}")),
    }
}

fn hub(domain: u32, count: u64) -> Result<(), String> {
    // Two for each peer.
    let limit = Rlimit { current: Some(DESCRIPTORS_MAX), maximum: Some(DESCRIPTORS_MAX) };
    setrlimit(Resource::Nofile, limit).map_err(|error| error.to_string())?;
    let received = Arc::new(AtomicU64::new(0));
    for number in 0..count {
        let (node, counter) = (Node::open(domain, number)?, Arc::clone(&received));
        std::thread::spawn(move || receive(node, &counter));
    }
    tell("open");
    while let Some(line) = hear() {
        let awaited: u64 = line.strip_prefix("count ").and_then(|count| count.parse().ok()).ok_or(line)?;
        let deadline = Instant::now() + PATIENCE;
        while received.load(Ordering::Relaxed) < awaited && Instant::now() < deadline {
            std::thread::sleep(node::LOOK);
        }
        let Census { descriptors, maps } = Census::take();
        match received.load(Ordering::Relaxed) {
            got if got < awaited => tell(format_args!("only {got} messages")),
            _ => tell(format_args!("{descriptors} {maps}")),
        }
    }
    Ok(())
}

fn receive(mut node: Node, received: &AtomicU64) {
    while let Some(incoming) = node.receiver.receive(None) {
        let Incoming::Message(message) = incoming else { continue };
        let intact = message.source().is_some_and(|from| Parcel::read(&message, from).is_ok());
        assert!(intact, "corrupt");
        received.fetch_add(1, Ordering::Relaxed);
    }
}

fn crowd(domain: u32, first: u64, count: u64, hubs: u64) -> Result<(), String> {
    let nodes: Vec<Node> =
        (first..first + count).map(|number| Node::open(domain, number)).collect::<Result<_, _>>()?;
    let pairs = || (0..hubs).cycle().zip(&nodes);
    for (hub, node) in pairs() {
        link_to(&node.transport, node::locator(&node.transport, hub))?;
        send(node, hub, 0, 200)?;
    }
    tell("linked");
    while hear().is_some() {
        for (hub, node) in pairs() {
            send(node, hub, 1, 20_000)?;
        }
        tell("sent");
    }
    Ok(())
}

/// To the transport of the hub with this number.
fn send(node: &Node, hub: u64, number: u64, len: usize) -> Result<(), String> {
    let (peer, parcel) = (node::locator(&node.transport, hub), Parcel { stream: hub, number, note: 0 });
    let sent = node::send(&node.transport, &[peer], parcel, LEN_MIN + len, reliable())?;
    if sent.unserved.is_empty() { Ok(()) } else { Err(format!("not taken: {:?}", sent.unserved)) }
}

/// Descriptors of the hub.
const DESCRIPTORS_MAX: u64 = 8192;
