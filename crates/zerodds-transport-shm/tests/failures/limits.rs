//! Too little of something: memory, descriptors, room, bits.

use crate::party::{Party, name_of, number, serve};
use crate::support::child::{Process, hear, is_root_or_skip, tell};
use crate::support::others::ForOthers;
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fill, fresh_domain, is_intact, pair, reliable, scaled};
use proptest::prelude::*;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Loan, LoanError, Peer, Reach, Reason, Receiver, Transport};
use zerodds_transport_shm::{Access, Config, ShmTransport};

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["exhaust", domain] => exhaust(number(domain)),
        ["lend", domain] => lend(number(domain)),
        ["without-descriptors", domain] => without_descriptors(number(domain)),
        ["high-descriptors", domain] => high_descriptors(number(domain)),
        ["short-of-descriptors", domain] => short_of_descriptors(number(domain)),
        ["under-way", domain, who] => descriptors_under_way(number(domain), who),
        ["idle"] => idle(),
        _ => return false,
    }
    true
}

/// A memory cgroup of this test, of version 2 or 1; gone with the guard.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    fn new(limit_bytes: u64) -> Option<Self> {
        let name = format!("zerodds-test-{}-{}", std::process::id(), fresh_domain());
        let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control");
        let (mount, limit) = match unified {
            Ok(controllers) if controllers.contains("memory") => ("/sys/fs/cgroup", "memory.max"),
            _ => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let cgroup = PathBuf::from(mount).join(name);
        std::fs::create_dir(&cgroup).ok()?;
        let made = Self(cgroup);
        std::fs::write(made.0.join(limit), limit_bytes.to_string()).ok()?;
        Some(made)
    }

    fn start(&self, role: &str) -> Process {
        let enter = "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"";
        Process::start(role, &["sh", "-c", enter, "sh", self.0.to_str().expect("a path")])
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // It is busy until the kernel is through with the last process.
        let until = deadline();
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// Takes and touches all the memory it is given, then sends within what it has.
fn exhaust(domain: u32) {
    let node = Node::with(domain, &Config::default().max_datagram(64 << 20).expect("in range"));
    let mut loans = Vec::new();
    let refused = loop {
        match node.transport.loan(1 << 20) {
            Ok(mut loan) => {
                fill(&mut loan, 1);
                loans.push(loan);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LoanError::NoMemory { .. }), "not for want of room: {refused}");
    assert!(node.transport.counters().no_memory > 0);
    let taken = loans.len();
    drop(loans);
    let to = node.transport.neighbours()[0];
    node.link_to(to);
    // What it has goes round. Where the reader is too slow for that, a router would use UDP; here it is tried again.
    for seed in 0u64..100 {
        let mut loan = loop {
            match node.transport.loan_before(1 << 20, deadline()) {
                Ok(loan) => break loan,
                Err(LoanError::NoMemory { .. }) => std::thread::yield_now(),
                Err(other) => panic!("{other}"),
            }
        };
        loan[..8].copy_from_slice(&seed.to_le_bytes());
        fill(&mut loan[8..], seed);
        assert_eq!(node.transport.send(loan, &[Peer::new(&[to])], reliable()).expect("open").by_shm, 1);
    }
    assert!(matches!(node.transport.loan(64 << 20), Err(LoanError::NoMemory { .. })));
    tell(format_args!("{taken} {refused}"));
    // Until the reader has had all that.
    hear();
    let untold = node.transport.counters().no_memory;
    // What is best effort makes way in what there is, though nobody takes it and the ring could be longer.
    for _ in 0..100 {
        let loan = node.transport.loan(1 << 20).expect("the place of an older one");
        assert_eq!(
            node.transport.send(loan, &[Peer::new(&[to])], Delivery::BestEffort).expect("open").by_shm,
            1
        );
    }
    assert_eq!(node.transport.counters().no_memory, untold, "who is served has nothing to be told");
    tell("went on");
    hear();
}

#[test]
fn f16_where_memory_is_short_the_sender_is_told_and_nobody_is_killed() {
    let test = "f16_where_memory_is_short_the_sender_is_told_and_nobody_is_killed";
    if !is_root_or_skip(test) {
        return;
    }
    let Some(cgroup) = MemoryCgroup::new(64 << 20) else {
        println!("SKIPPED: {test} needs a memory cgroup");
        return;
    };
    let domain = fresh_domain();
    let mut receiver = Party::start(domain, &[]);
    let mut sender = cgroup.start(&format!("exhaust {domain}"));
    receiver.process.tell("take 100");
    for seed in 0..100 {
        assert_eq!(receiver.process.hear(), format!("{seed} {}", 1 << 20));
    }
    let said = sender.hear();
    let (taken, why) = said.split_once(' ').expect("a number and a reason");
    assert!((8..64).contains(&number::<u32>(taken)), "about what the cgroup has: {said}");
    assert!(why.contains("cgroup") && why.contains("ZERODDS_SHM_MAX_DATAGRAM"), "with the remedy: {why}");
    sender.tell("go on");
    assert_eq!(sender.hear(), "went on");
    assert!(sender.finish());
}

/// Lends the largest length for a short message, takes memory for something else, and lends it again.
fn lend(domain: u32) {
    const MOST: usize = 24 << 20;
    let mut node = Node::with(domain, &Config::default().max_datagram(MOST).expect("in range"));
    let own = [node.locator()];
    let mut loan = node.transport.loan(MOST).expect("there is memory for that");
    loan.truncate(2048);
    let sent = node.transport.send(loan, &[Peer::new(&own)], Delivery::BestEffort).expect("open");
    assert_eq!(sent.by_shm, 1);
    drop(node.next_message());

    let taken = vec![1u8; 36 << 20];
    std::hint::black_box(&taken);
    let until = deadline();
    // What was found lately is taken for granted for a moment; nothing is filled then.
    let refused = loop {
        match node.transport.loan(MOST) {
            Ok(loan) => drop(loan),
            Err(error) => break error,
        }
        assert!(Instant::now() < until, "lent without a look at what is left");
    };
    assert!(matches!(refused, LoanError::NoMemory { .. }), "not for want of room: {refused}");
    node.transport.loan(100_000).expect("what nobody has any more is not asked for");
    drop(taken);
    let mut loan = loop {
        match node.transport.loan(MOST) {
            Ok(loan) => break loan,
            Err(_) => assert!(Instant::now() < until, "there is memory again"),
        }
    };
    fill(&mut loan, 1);
    assert!(is_intact(&loan, 1));
    tell(format_args!("filled {refused}"));
}

#[test]
fn f16_what_was_lent_and_not_filled_is_asked_for_again_before_it_is_lent_again() {
    let test = "f16_what_was_lent_and_not_filled_is_asked_for_again_before_it_is_lent_again";
    if !is_root_or_skip(test) {
        return;
    }
    let Some(cgroup) = MemoryCgroup::new(64 << 20) else {
        println!("SKIPPED: {test} needs a memory cgroup");
        return;
    };
    let mut process = cgroup.start(&format!("lend {}", fresh_domain()));
    let said = process.hear();
    assert!(said.starts_with("filled ") && said.contains("cgroup"), "{said}");
    assert!(process.finish());
}

#[test]
fn f17_a_process_without_descriptors_left_serves_those_it_has_and_then_others_without_spinning() {
    let domain = fresh_domain();
    let wrapper = ["prlimit", "--nofile=32:32", "--memlock=0:0"];
    let mut poor = Party::start(domain, &wrapper);
    let nodes: Vec<Node> = (0..16).map(|_| Node::open(domain)).collect();
    let to = [poor.locator(&nodes[0])];
    poor.link(&name_of(&nodes[0]));
    let is_linked = |node: &Node| {
        let until = deadline();
        loop {
            match node.transport.reach(Peer::new(&to)) {
                Reach::Ready(_) => return true,
                Reach::Unreachable(_) => return false,
                Reach::Pending(_) => assert!(Instant::now() < until, "no answer either way"),
            }
            std::thread::yield_now();
        }
    };
    // One after another, since handshakes that are under way need descriptors too; from the first refusal on all at
    // once: who gets no answer waits for one as long as a handshake may take.
    let is_full = nodes.iter().any(|node| !is_linked(node));
    nodes.iter().for_each(|node| drop(node.transport.reach(Peer::new(&to))));
    let (mut linked, mut refused): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(is_linked);
    assert!(is_full, "32 descriptors are not enough for all");
    assert!(linked.len() >= 4, "{} links within 32 descriptors", linked.len());
    for (seed, node) in (0..).zip(&mut linked) {
        assert!(send_numbered(node, to[0], seed, 100_000, reliable()).unserved.is_empty());
        assert_eq!(poor.asked("take 1"), format!("{seed} 100000"));
        // What wakes somebody in poll is a descriptor more, for which it has no room: it wakes them all the same.
        for seed in 0..20 {
            node.lie_down_in_poll();
            assert_eq!(poor.asked(format!("send {} {seed} 100", name_of(node))), "sent");
            node.until_woken_in_poll();
            node.next_message();
        }
    }
    let ticks: Vec<u64> = (0..3)
        .map(|_| {
            let before = cpu_ticks(poor.process.id());
            std::thread::sleep(Duration::from_secs(2));
            cpu_ticks(poor.process.id()) - before
        })
        .take_while(|&ticks| ticks > 2)
        .collect();
    assert!(ticks.len() < 3, "{ticks:?} of 10 ms in 2 s while connections wait that cannot be accepted");
    // Room for others, once some have gone.
    for node in linked {
        let name = name_of(&node);
        drop(node);
        let end = poor.asked(format!("down {name}"));
        assert!(end.starts_with("0 before: "), "{end}");
    }
    let waiting = refused.pop().expect("one");
    waiting.link_to(to[0]);
    assert!(send_numbered(&waiting, to[0], 99, 100_000, reliable()).unserved.is_empty());
    assert_eq!(poor.asked("take 1"), "99 100000");
}

/// User and system time of a process.
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    number::<u64>(fields[11]) + number::<u64>(fields[12])
}

/// Takes all descriptors but one, which is enough to connect, then plays a party.
fn short_of_descriptors(domain: u32) {
    let node = Node::open(domain);
    let mut taken: Vec<_> = (0..).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
    taken.pop();
    serve(node);
}

/// A security module that denies them looks the same to us.
#[test]
fn f17_whoever_does_not_get_what_a_peer_sends_says_both_that_it_may_be() {
    let domain = fresh_domain();
    let node = Node::open(domain);
    let role = format!("short-of-descriptors {domain}");
    let mut short = Party::of(Process::start(&role, &["prlimit", "--nofile=64:64"]));
    let said = short.asked(format!("link {}", name_of(&node)));
    assert!(said.contains("ulimit -n") && said.contains("security module"), "{said}");
}

/// Has more descriptors under way than it may have open, then says why there is no link with its neighbour: one that it tries to make, or
/// one that it is asked for.
fn descriptors_under_way(domain: u32, who: &str) {
    let flags = SocketFlags::CLOEXEC;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (from, _to) = pair.expect("a pair");
    let null = std::fs::File::open("/dev/null").expect("a descriptor");
    for _ in 0..16 {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [null.as_fd(); 16];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let octet = [std::io::IoSlice::new(&[1])];
        rustix::net::sendmsg(&from, &octet, &mut control, SendFlags::DONTWAIT).expect("room");
    }
    let node = Node::open(domain);
    let less = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, less).expect("less");
    tell(name_of(&node));
    if who == "calls" {
        let to = node.transport.neighbours();
        crate::support::until("it is said why", || {
            let reach = node.transport.reach(Peer::new(&to));
            matches!(reach, Reach::Unreachable(ref why) if { tell(why); true })
        });
    }
    hear();
}

#[test]
fn f17_whoever_may_not_send_descriptors_says_so_and_does_not_take_the_peer_for_gone() {
    let test = "f17_whoever_may_not_send_descriptors_says_so_and_does_not_take_the_peer_for_gone";
    if !is_root_or_skip(test) {
        return;
    }
    let copy = ForOthers::new();
    for (who, uid) in [("calls", 54_331), ("is called", 54_332)] {
        let domain = fresh_domain();
        let node = Node::with(domain, &Config::default().access(Access::Any));
        let who = who.replace(' ', "-");
        let mut poor = copy.start(&format!("under-way {domain} {who}"), uid);
        let name = poor.hear();
        if who == "calls" {
            let said = poor.hear();
            assert!(said.contains("ulimit -n"), "{said}");
        } else {
            let to = node.transport.neighbours();
            assert_eq!(to.len(), 1, "{name}");
            let mut why = None;
            crate::support::until("it is refused", || {
                why = match node.transport.reach(Peer::new(&to)) {
                    Reach::Unreachable(why) => Some(why),
                    _ => None,
                };
                why.is_some()
            });
            assert_eq!(why, Some(Reason::NotTaken));
        }
    }
}

/// Lends memory that is not there yet, without a descriptor to look at the limits with, and with some again.
fn without_descriptors(domain: u32) {
    let node = Node::open(domain);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).expect("less");
    let refused = node.transport.loan(1 << 20).expect_err("no look at the limits, no memory");
    setrlimit(Resource::Nofile, before).expect("as it was");
    let until = deadline();
    while let Err(error) = node.transport.loan(1 << 20) {
        assert!(matches!(error, LoanError::NoMemory { .. }), "{error}");
        assert!(Instant::now() < until, "{error}");
    }
    tell(refused);
}

#[test]
fn f17_without_a_descriptor_to_look_at_the_limits_with_no_memory_is_lent() {
    let said = Process::start(&format!("without-descriptors {}", fresh_domain()), &[]).hear();
    assert!(said.contains("cannot be looked at: /proc/meminfo: Too many open files"), "{said}");
    assert!(said.contains("ulimit -n"), "with the remedy: {said}");
}

/// Takes the first 1,100 descriptors for other things, then plays a party.
fn high_descriptors(domain: u32) {
    let null = || std::fs::File::open("/dev/null").expect("a descriptor");
    let taken: Vec<_> = (0..1_100).map(|_| null()).collect();
    assert!(taken.last().expect("many").as_raw_fd() > 1_024);
    serve(Node::open(domain));
}

#[test]
fn f17_descriptors_above_1024_are_waited_for_like_any_other() {
    let domain = fresh_domain();
    let wrapper = ["prlimit", "--nofile=4096:4096"];
    let mut high = Party::of(Process::start(&format!("high-descriptors {domain}"), &wrapper));
    let mut other = Party::start(domain, &[]);
    other.link(&high.name);
    for seed in 0..200 {
        other.exchange(&mut high, seed, 50_000);
        high.exchange(&mut other, seed, 50_000);
    }
}

#[test]
fn f17_a_limit_that_rules_shared_memory_out_is_named() {
    // Anything larger than the limit would be killed by SIGXFSZ; what cannot be mapped is told by the system.
    for (limit, word) in [("--fsize=1000000:1000000", "ulimit -f"), ("--as=67108864:67108864", "memory")] {
        let domain = fresh_domain();
        let role = format!("party {domain} as 1234567812345678 {}", 64 << 20);
        let mut party = Process::start(&role, &["prlimit", limit]);
        let said = party.hear();
        assert!(said.to_lowercase().contains(word), "{limit}: {said}");
        assert!(party.finish(), "and the process goes on");
    }
}

#[test]
fn f18_a_reader_that_holds_all_it_can_costs_messages_that_are_counted_and_nothing_for_good() {
    let (sender, mut reader) = pair();
    let to = [reader.locator()];
    let total: u64 = scaled(10_000, 1_000_000);
    let holder = std::thread::spawn(move || {
        let (mut held, mut received) = (Vec::new(), 0u64);
        loop {
            if let Some(Incoming::Message(message)) = reader.receiver.receive(Some(deadline())) {
                let seed = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
                assert!(is_intact(&message[8..], seed));
                if seed == u64::MAX {
                    return (reader, received, held);
                }
                received += 1;
                // More than any quota: the rest of them are copies.
                if held.len() < 4_000 {
                    held.push(message);
                }
            }
        }
    });
    for seed in 0..total {
        // Never an error, never a wait: best effort.
        let _ = send_numbered(&sender, to[0], seed, 4_200, Delivery::BestEffort);
    }
    assert!(send_numbered(&sender, to[0], u64::MAX, 4_200, reliable()).unserved.is_empty());
    let (mut reader, received, held) = holder.join().expect("no panic");
    let lost = sender.transport.counters().lost_messages;
    assert_eq!(received + lost, total, "each was received or counted");
    assert!(sender.transport.pool().held_by_peers > 0 && held.len() > 1_000);
    drop(held);
    // Full recovery: every byte can be lent again, and everything arrives in place.
    crate::support::until("nothing is held", || sender.transport.pool().in_use == 0);
    let mut loans = Vec::new();
    let refused = loop {
        match sender.transport.loan(1 << 20) {
            Ok(loan) => loans.push(loan),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LoanError::Full { .. }) && loans.len() >= 48, "a return code: {refused}");
    drop(loans);
    for seed in 0..8 {
        assert!(send_numbered(&sender, to[0], seed, 16 << 20, reliable()).unserved.is_empty());
        assert!(reader.next_message().is_in_place());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn f19_a_length_is_lent_up_to_the_limit_and_refused_beyond_whatever_it_is(
        knob in 4_096usize..=1 << 30,
        lens in prop::collection::vec(prop_oneof![
            any::<usize>(),
            (0u32..64).prop_map(|bits| 1 << bits),
            (0usize..4_096).prop_map(|less| usize::MAX - less),
            ((u32::MAX as usize - 5_000)..(u32::MAX as usize + 5_000)),
        ], 40),
    ) {
        let config = Config::default().max_datagram(knob).expect("in range");
        let transport = ShmTransport::open(fresh_domain(), &config);
        let most = transport.max_message_len();
        for len in lens.into_iter().chain([most, most + 1]) {
            match transport.loan(len) {
                Ok(loan) => prop_assert!(len <= most && loan.len() == len),
                Err(LoanError::TooLarge { len: refused, max }) => {
                    prop_assert!(len > most && (refused, max) == (len, most));
                }
                // The machine may be short of it.
                Err(LoanError::NoMemory { .. }) => prop_assert!(len <= most),
                Err(other) => prop_assert!(false, "{len}: {other}"),
            }
        }
    }
}

/// Tells how many KiB an open transport costs while nothing happens.
fn idle() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        number::<u64>(line.trim().trim_end_matches(" kB"))
    };
    // The first one touches code, too.
    drop(Node::open(fresh_domain()));
    let before = resident();
    let largest = Config::default().max_datagram(Config::MAX_DATAGRAM_MAX).expect("in range");
    let nodes = [Node::open(fresh_domain()), Node::with(fresh_domain(), &largest)];
    tell((resident() - before) / nodes.len() as u64);
}

#[test]
fn f19_an_idle_participant_takes_kilobytes_whatever_its_knob() {
    let kib: u64 = number(&Process::start("idle", &[]).hear());
    assert!(kib < 512, "{kib} KiB for an idle transport");
}
