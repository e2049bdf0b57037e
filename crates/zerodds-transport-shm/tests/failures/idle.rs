//! No processor time for doing nothing: idle, and after every fault.

use crate::raw;
use crate::support::child::{Process, hear, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fresh_domain, scaled};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Peer, Reach, Receiver, Transport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match words {
        ["survive", domain] => survive(domain.parse().expect("a domain")),
        ["write-on", domain] => write_on(domain.parse().expect("a domain")),
        ["corrupt", domain] => corrupt(domain.parse().expect("a domain")),
        _ => return false,
    }
    true
}

/// Lives in a domain and waits for whatever comes.
fn survive(domain: u32) {
    let Node { transport, mut receiver } = Node::open(domain);
    std::thread::spawn(move || while receiver.receive(None).is_some() {});
    tell("ready");
    loop {
        match hear().as_str() {
            "links" => tell(transport.counters().links),
            "reach" => {
                let peer = transport.neighbours()[0];
                tell(match transport.reach(Peer::new(&[peer])) {
                    Reach::Ready(_) => "ready".to_owned(),
                    Reach::Pending(_) => "pending".to_owned(),
                    Reach::Unreachable(reason) => reason.to_string(),
                });
            }
            other => panic!("no such request: {other}"),
        }
    }
}

/// Links to the first neighbour and sends to it, reliable, for ever; says so when it has to wait.
fn write_on(domain: u32) {
    let node = Node::open(domain);
    let to = node.transport.neighbours()[0];
    node.link_to(to);
    tell("ready");
    hear();
    while send_numbered(&node, to, 1, 1 << 20, Delivery::Reliable { deadline: Instant::now() }).by_shm == 1 {}
    tell("full");
    let far = Instant::now() + Duration::from_secs(3600);
    while send_numbered(&node, to, 1, 1 << 20, Delivery::Reliable { deadline: far }).by_shm == 1 {}
}

/// Links to the first neighbour and writes over all of the link but its header, as a buggy process does.
fn corrupt(domain: u32) {
    let node = Node::open(domain);
    let to = node.transport.neighbours()[0];
    node.link_to(to);
    tell("ready");
    hear();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    let link = maps.lines().find(|line| line.contains("zerodds-link")).expect("a link is mapped");
    let start = u64::from_str_radix(link.split('-').next().expect("a range"), 16).expect("an address");
    let memory = rustix::fs::open("/proc/self/mem", OFlags::RDWR | OFlags::CLOEXEC, 0.into()).expect("ours");
    // The words of both directions, heads, cursors and ends, and both lanes.
    rustix::io::pwrite(&memory, &[0x55; 0x8e00], start + 0x200).expect("it is mapped for writing");
    // Not a small one, which would put its lane right again.
    let _ = node.send(to, &[7; 50_000], Delivery::BestEffort);
    tell("done");
    hear();
}

/// A fault, and whoever lives on after it.
struct Scene {
    fault: &'static str,
    survivors: Vec<Process>,
    /// Stopped, or part of the fault.
    _others: Vec<Process>,
}

fn start(role: &str, domain: u32) -> Process {
    let mut child = Process::start(&format!("{role} {domain}"), &[]);
    assert_eq!(child.hear(), "ready");
    child
}

/// Asks until the answer is this.
fn until(child: &mut Process, question: &str, answer: &str) {
    let until = deadline();
    loop {
        child.tell(question);
        let said = child.hear();
        if said.starts_with(answer) {
            return;
        }
        assert!(Instant::now() < until, "{question}: {said} instead of {answer}");
    }
}

fn linked_pair() -> [Process; 2] {
    let domain = fresh_domain();
    let mut pair = [start("survive", domain), start("survive", domain)];
    until(&mut pair[0], "reach", "ready");
    until(&mut pair[1], "links", "1");
    pair
}

fn a_killed_peer() -> Scene {
    let [mut killed, mut left] = linked_pair();
    killed.kill();
    until(&mut left, "links", "0");
    Scene { fault: "its peer was killed", survivors: vec![left], _others: vec![] }
}

fn a_stopped_peer() -> Scene {
    let [stopped, beside] = linked_pair();
    stopped.stop();
    Scene { fault: "its peer is stopped", survivors: vec![beside], _others: vec![stopped] }
}

fn a_full_peer() -> Scene {
    let domain = fresh_domain();
    let full = start("survive", domain);
    let mut writer = start("write-on", domain);
    full.stop();
    writer.tell("go on");
    assert_eq!(writer.hear(), "full");
    Scene { fault: "it waits for room at a stopped peer", survivors: vec![writer], _others: vec![full] }
}

fn a_corrupt_peer() -> Scene {
    let domain = fresh_domain();
    let (mut victim, mut corrupt) = (start("survive", domain), start("corrupt", domain));
    until(&mut victim, "links", "1");
    corrupt.tell("go on");
    assert_eq!(corrupt.hear(), "done");
    until(&mut victim, "links", "0");
    Scene { fault: "a peer wrote garbage into their link", survivors: vec![victim, corrupt], _others: vec![] }
}

/// With sockets of the test's own, which must outlive the measurement.
fn a_peer_of_another_version(kept: &mut Vec<raw::Socket>) -> Scene {
    let domain = fresh_domain();
    let mut asking = start("survive", domain);
    let listener = raw::listen(domain);
    until(&mut asking, "reach", "pending");
    let connection = raw::accept(&listener);
    let mut refusal = raw::receive(&connection);
    refusal[raw::VERSION..][..4].copy_from_slice(&99u32.to_le_bytes());
    raw::send(&connection, &raw::as_kind(refusal, raw::REFUSE, raw::REFUSED_VERSION));
    until(&mut asking, "reach", "the peer speaks version 99");
    kept.extend([listener, connection]);
    Scene { fault: "its peer has another version", survivors: vec![asking], _others: vec![] }
}

fn a_peer_that_does_not_answer(kept: &mut Vec<raw::Socket>) -> Scene {
    let domain = fresh_domain();
    let mut asking = start("survive", domain);
    let listener = raw::listen(domain);
    until(&mut asking, "reach", "pending");
    kept.push(listener);
    Scene { fault: "its peer never answers", survivors: vec![asking], _others: vec![] }
}

/// More strangers than it may have descriptors.
fn no_descriptor_left(kept: &mut Vec<raw::Socket>) -> Scene {
    let domain = fresh_domain();
    let mut poor = Process::start(&format!("survive {domain}"), &["prlimit", "--nofile=16"]);
    assert_eq!(poor.hear(), "ready");
    for name in raw::names(domain) {
        kept.extend((0..40).filter_map(|_| raw::connect(&name).ok()));
    }
    let descriptors = format!("/proc/{}/fd", poor.id());
    crate::support::until("it has no descriptor left", || {
        std::fs::read_dir(&descriptors).expect("it runs").count() >= 16
    });
    Scene { fault: "it has no descriptor left", survivors: vec![poor], _others: vec![] }
}

/// Processor time of each thread that a process has, in ns. One that ends while it is listed has closed something for others.
fn spent_ns(process: &Process) -> BTreeMap<OsString, u64> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs").flatten();
    let first =
        |text: String| text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number");
    let of = |thread: DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((thread.file_name(), first(text)))
    };
    threads.filter_map(of).collect()
}

#[test]
fn f40_nobody_uses_the_processor_for_doing_nothing_idle_or_after_any_fault() {
    let mut kept = Vec::new();
    let scenes = [
        Scene { fault: "it is alone", survivors: vec![start("survive", fresh_domain())], _others: vec![] },
        Scene { fault: "it has a link and nothing to do", survivors: linked_pair().into(), _others: vec![] },
        a_killed_peer(),
        a_stopped_peer(),
        a_full_peer(),
        a_corrupt_peer(),
        a_peer_of_another_version(&mut kept),
        a_peer_that_does_not_answer(&mut kept),
        no_descriptor_left(&mut kept),
    ];
    let all: Vec<(&str, &Process)> =
        scenes.iter().flat_map(|scene| scene.survivors.iter().map(|child| (scene.fault, child))).collect();
    let before: Vec<_> = all.iter().map(|(_, child)| spent_ns(child)).collect();
    let has_started = |spent: &BTreeMap<OsString, u64>| spent.values().sum::<u64>() > 0;
    assert!(before.iter().all(has_started), "the kernel counts: every one of them has started");
    let window = scaled(Duration::from_secs(5), Duration::from_secs(60));
    std::thread::sleep(window);
    for ((fault, child), before) in all.into_iter().zip(before) {
        let since = |(thread, ns): (OsString, u64)| ns - before.get(&thread).copied().unwrap_or_default();
        let spent = Duration::from_nanos(spent_ns(child).into_iter().map(since).sum());
        println!("{fault}: {spent:?} of processor time in {window:?}");
        assert!(spent < window / 100, "{fault}: {spent:?} of processor time in {window:?}");
    }
}
