//! Starting: alone, at once, in any order, under load.

use crate::party::{Party, number};
use crate::support::child::{Process, hear, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fresh_domain, is_intact, scaled};
use rustix::fs::{FlockOperation, MemfdFlags};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use zerodds_core::{Delivery, Incarnation, Incoming, Locator, Peer, Reach, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["hold", domain] => hold(number(domain)),
        ["compete", domain, rounds, owner] => compete(number(domain), number(rounds), owner),
        ["open-at-once", domain, others] => open_at_once(number(domain), number(others)),
        ["publish-to-all", domain, len] => publish_to_all(number(domain), number(len)),
        _ => return false,
    }
    true
}

/// The one name that all want.
const WANTED: Incarnation = Incarnation::from_bytes([0x11; 8]);

/// Opens under the name that others want too, tells what came of it, and keeps it.
fn hold(domain: u32) {
    let transport = ShmTransport::open_as(domain, WANTED, &Config::default());
    match transport.availability() {
        Ok(()) => tell("held"),
        Err(why) => tell(why),
    }
    hear();
}

/// There is no lock to time out and no file to steal: the name of a listening socket is what one can own, and the kernel
/// gives it to one process until that process ends.
#[test]
fn f01_a_name_is_never_stolen_from_a_holder_that_is_stopped() {
    let domain = fresh_domain();
    let role = format!("hold {domain}");
    let mut holder = Process::start(&role, &[]);
    assert_eq!(holder.hear(), "held");
    holder.stop();
    let mut starters: Vec<Process> = (0..50).map(|_| Process::start(&role, &[])).collect();
    for starter in &mut starters {
        let said = starter.hear();
        assert!(said.contains("already"), "an error that says who has it, not {said:?}");
    }
    drop(starters);
    // It still has it when it goes on, and somebody else once it is dead.
    holder.resume();
    let mut late = Process::start(&role, &[]);
    assert_ne!(late.hear(), "held");
    holder.kill();
    let node = Node::of(ShmTransport::open_as(domain, WANTED, &Config::default()));
    assert_eq!(node.transport.locators().len(), 1);
}

/// Opens and closes under the name that another wants too. Whoever has it can lock `owner` at once, a file that nobody
/// locks for any other reason: so two that had it at the same time would notice.
fn compete(domain: u32, rounds: u32, owner: &str) {
    let owner = std::fs::File::open(owner).expect("the parent's file");
    tell("ready");
    assert_eq!(hear(), "begin");
    let mut won = 0;
    for _ in 0..rounds {
        let transport = ShmTransport::open_as(domain, WANTED, &Config::default());
        match transport.availability() {
            Ok(()) => {
                rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive)
                    .expect("nobody else has the name");
                won += 1;
                rustix::fs::flock(&owner, FlockOperation::Unlock).expect("ours");
            }
            Err(why) => assert!(why.to_string().contains("already"), "{why}"),
        }
    }
    tell(won);
    hear();
}

#[test]
fn f02_two_that_open_and_close_one_name_for_ever_have_it_in_turn_and_leave_nothing() {
    let domain = fresh_domain();
    let owner = rustix::fs::memfd_create("owner", MemfdFlags::CLOEXEC).expect("memfd");
    let path = format!("/proc/{}/fd/{}", std::process::id(), owner.as_raw_fd());
    let rounds = scaled(2_000, 50_000);
    let role = format!("compete {domain} {rounds} {path}");
    let mut both = [Process::start(&role, &[]), Process::start(&role, &[])];
    both.iter_mut().for_each(|one| assert_eq!(one.hear(), "ready"));
    both.iter_mut().for_each(|one| one.tell("begin"));
    let won: [u32; 2] = both.each_mut().map(|one| number(&one.hear()));
    assert!(won.iter().all(|&won| won > 0), "each has it now and then: {won:?}");
    assert!(won.iter().any(|&won| won < rounds), "they never met: {won:?}");
    // Both live and have closed: nothing is left that would have to be removed before a third has it.
    let node = Node::of(ShmTransport::open_as(domain, WANTED, &Config::default()));
    assert!(node.transport.neighbours().is_empty());
}

#[test]
fn f03_whoever_is_seen_while_it_starts_can_be_linked_at_once() {
    let domain = fresh_domain();
    let done = AtomicBool::new(false);
    let watcher = Node::open(domain);
    let own = watcher.locator();
    let nodes = std::thread::scope(|scope| {
        // Asks for a link in the very moment in which a name appears.
        let watching = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watcher.transport.neighbours();
            }
        });
        let openers: Vec<_> = (0..64).map(|_| scope.spawn(|| Node::open(domain))).collect();
        let nodes: Vec<Node> = openers.into_iter().map(|opener| opener.join().expect("opened")).collect();
        done.store(true, Ordering::Relaxed);
        watching.join().expect("no panic");
        nodes
    });
    for node in nodes {
        let until = deadline();
        let to = [node.locator()];
        while !matches!(watcher.transport.reach(Peer::new(&to)), Reach::Ready(_)) {
            assert!(Instant::now() < until, "no link");
            std::thread::yield_now();
        }
        let counters = node.transport.counters();
        assert_eq!((counters.protocol_errors, counters.refused), (0, 0), "nobody met anything unfinished");
    }
    let counters = watcher.transport.counters();
    assert_eq!((counters.protocol_errors, counters.refused), (0, 0), "{own} was told of nothing unfinished");
}

/// Opens when it is told to, and links with everybody else that was told so in the same moment.
fn open_at_once(domain: u32, others: usize) {
    tell("ready");
    assert_eq!(hear(), "open");
    let node = Node::open(domain);
    let until = deadline();
    let linked = |to: &Locator| matches!(node.transport.reach(Peer::new(&[*to])), Reach::Ready(_));
    loop {
        let found = node.transport.neighbours();
        if found.len() == others && found.iter().all(linked) {
            break;
        }
        assert!(Instant::now() < until, "{} of {others} found, {:?}", found.len(), node.transport.counters());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let counters = node.transport.counters();
    tell(format_args!("{} {}", counters.links, counters.protocol_errors));
    // The others may still be at it.
    hear();
}

#[test]
fn f03_sixty_four_processes_that_open_one_domain_at_the_same_instant_link_each_with_each() {
    const PROCESSES: usize = 64;
    for _ in 0..scaled(2, 50) {
        let role = format!("open-at-once {} {}", fresh_domain(), PROCESSES - 1);
        let mut openers: Vec<Process> = (0..PROCESSES).map(|_| Process::start(&role, &[])).collect();
        openers.iter_mut().for_each(|opener| assert_eq!(opener.hear(), "ready"));
        openers.iter_mut().for_each(|opener| opener.tell("open"));
        for opener in &mut openers {
            assert_eq!(
                opener.hear(),
                format!("{} 0", PROCESSES - 1),
                "a link with each, and nothing unfinished met"
            );
        }
    }
}

#[test]
fn f04_four_start_in_every_order_and_each_in_turn_may_die() {
    for order in permutations() {
        let domain = fresh_domain();
        let mut parties: Vec<Option<Party>> = (0..4).map(|_| None).collect();
        for who in order {
            parties[who] = Some(Party::start(domain, &[]));
        }
        for victim in order {
            exchange_all(&mut parties);
            parties[victim].take().expect("alive").process.kill();
        }
    }
}

/// Everybody that lives sends a message to everybody else.
fn exchange_all(parties: &mut [Option<Party>]) {
    for from in 0..parties.len() {
        let Some(mut sender) = parties[from].take() else { continue };
        for other in parties.iter_mut().flatten() {
            sender.link(&other.name);
            sender.exchange(other, from as u64, 20_000);
        }
        parties[from] = Some(sender);
    }
}

fn permutations() -> Vec<[usize; 4]> {
    let orders = (0..256).map(|n| [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6]);
    orders.filter(|order| (0..4).all(|who| order.contains(&who))).collect()
}

/// Publishes as fast as it can to everybody who has a link with it.
fn publish_to_all(domain: u32, len: usize) {
    let mut node = Node::open(domain);
    tell("ready");
    let ended = std::thread::spawn(hear);
    let (mut peers, mut seed) = (Vec::<Locator>::new(), 0);
    while !ended.is_finished() {
        while let Some(incoming) = node.receiver.try_receive() {
            match incoming {
                Incoming::PeerUp(peer) => peers.push(peer),
                Incoming::PeerDown(peer, _) => peers.retain(|&found| found != peer),
                _ => {}
            }
        }
        for &peer in &peers {
            let _ = send_numbered(&node, peer, seed, len, Delivery::BestEffort);
        }
        seed += 1;
    }
}

#[test]
fn f05_a_reader_that_joins_a_writer_at_full_rate_has_a_sample_at_once() {
    // Through the lane, and through the ring.
    for len in [200, 20_000] {
        let domain = fresh_domain();
        let mut writer = Process::start(&format!("publish-to-all {domain} {len}"), &[]);
        assert_eq!(writer.hear(), "ready");
        // Asked before there are readers: the name of one that is gone stays while a child that another test has just forked has
        // its socket.
        let to = Node::open(domain).transport.neighbours()[0];
        for _ in 0..scaled(500, 5_000) {
            let mut reader = Node::open(domain);
            reader.link_to(to);
            let message = reader.next_message();
            let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
            assert!(message.len() == len && is_intact(&message[8..], seed));
        }
    }
}
