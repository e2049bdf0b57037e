//! Other users, sandboxes and readers that write: who is let in, and what somebody who is can do.

use crate::party::{Party, host_of, name_of, number, serve};
use crate::support::child::{Process, is_root_or_skip, tell};
use crate::support::others::ForOthers;
use crate::support::{Node, deadline, fresh_domain, pair, reliable, until};
use rustix::fs::Mode;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use zerodds_transport_shm::Config;

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["masked-party", domain, mask] => masked_party(number(domain), number(mask)),
        _ => return false,
    }
    true
}

/// Forbids a system call by seccomp and goes on as the test.
const SANDBOX: &str = include_str!("shims/sandbox.py");

#[test]
fn f26_a_sandbox_that_denies_any_of_what_is_needed_is_named_and_the_process_goes_on() {
    for denied in
        ["memfd_create", "socket", "bind", "socketpair", "shutdown", "eventfd", "epoll", "getgroups"]
    {
        let domain = fresh_domain();
        let role = format!("party {domain} as 2626262626262626 {}", 1 << 20);
        let mut party = Process::start(&role, &["python3", "-c", SANDBOX, denied]);
        let said = party.hear();
        assert!(said.contains(denied) && said.contains("sandbox"), "{denied}: {said:?}");
        assert!(party.finish(), "{denied}: the process goes on without shared memory");
    }
}

/// systemd's group for services lacks it, and has whoever asks for it killed; others deny it.
#[test]
fn f26_what_no_list_for_services_has_is_not_asked_for_when_memory_is_lent() {
    for denied in ["mincore", "mincore!"] {
        let (domain, knob) = (fresh_domain(), 4 << 20);
        let config = Config::default().max_datagram(knob).expect("in range");
        let mut other = Node::with(domain, &config);
        let role = format!("party {domain} as 2626262626262626 {knob}");
        let mut party = Party::of(Process::start(&role, &["python3", "-c", SANDBOX, denied]));
        party.link(&name_of(&other));
        assert_eq!(party.asked(format!("send {} 7 {}", name_of(&other), 2 << 20)), "sent");
        assert_eq!(other.next_message().len(), 2 << 20);
    }
}

/// A party with this umask, while another thread keeps changing it as libraries do, which the transport must not.
fn masked_party(domain: u32, mask: u32) {
    let mask = Mode::from_raw_mode(mask);
    rustix::process::umask(mask);
    let node = Node::open(domain);
    // What was set is still set: opening did not touch it.
    assert_eq!(rustix::process::umask(mask), mask);
    static ENDED: AtomicBool = AtomicBool::new(false);
    static CHANGES: AtomicU64 = AtomicU64::new(0);
    let changing = std::thread::spawn(move || {
        while !ENDED.load(Ordering::Relaxed) {
            // Whoever sets it gets what was set before; only this thread sets it.
            let other = Mode::from_raw_mode(0o777 & !mask.as_raw_mode());
            assert_eq!(rustix::process::umask(other), mask);
            assert_eq!(rustix::process::umask(mask), other);
            CHANGES.fetch_add(1, Ordering::Relaxed);
        }
        tell("nobody else has changed it");
    });
    let changes = || CHANGES.load(Ordering::Relaxed);
    until("the thread changes it", || changes() > 0);
    let before = changes();
    // Ends the process when it is told nothing more; so the thread is asked after first.
    let second = Node::open(domain);
    second.link_to(node.locator());
    drop(second);
    until("it was changed meanwhile", || changes() > before);
    ENDED.store(true, Ordering::Relaxed);
    changing.join().expect("no panic");
    serve(node);
}

#[test]
fn f27_no_umask_of_any_user_keeps_anybody_out_and_none_is_changed() {
    if !is_root_or_skip("f27_no_umask_of_any_user_keeps_anybody_out_and_none_is_changed") {
        return;
    }
    let copy = ForOthers::new();
    for mask in [0o000, 0o022, 0o777] {
        for uid in [0, 54_321] {
            let domain = fresh_domain();
            let [mut first, mut second] = [0, 1].map(|_| {
                let mut process = copy.start(&format!("masked-party {domain} {mask}"), uid);
                assert_eq!(process.hear(), "nobody else has changed it");
                Party::of(process)
            });
            first.link(&second.name);
            first.exchange(&mut second, 1, 100_000);
            second.exchange(&mut first, 2, 100_000);
        }
    }
}

#[test]
fn f28_whoever_starts_first_root_and_users_each_have_their_own_and_are_told_of_the_others() {
    let test = "f28_whoever_starts_first_root_and_users_each_have_their_own_and_are_told_of_the_others";
    if !is_root_or_skip(test) {
        return;
    }
    let copy = ForOthers::new();
    let users = [0, 54_321, 54_322];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let domain = fresh_domain();
        // Two of each user, one after the other.
        let mut parties: Vec<(u32, Party)> = order
            .into_iter()
            .flat_map(|who| [users[who]; 2])
            .map(|uid| (uid, Party::of(copy.start(&format!("party {domain}"), uid))))
            .collect();
        for from in 0..parties.len() {
            for to in 0..parties.len() {
                let (target, uid) = (parties[to].1.name.clone(), parties[to].0);
                let (own, party) = &mut parties[from];
                if from == to {
                    continue;
                }
                let said = party.asked(format!("link {target}"));
                assert_eq!(said == "linked", *own == uid, "{own} to {uid}: {said}");
            }
        }
        // The one who came first leaves nothing that stands in the way of the others.
        parties.remove(0);
        parties.remove(0);
        for pair in parties.chunks_mut(2) {
            let [(_, first), (_, second)] = pair else { panic!("two of each") };
            first.exchange(second, 1, 50_000);
            second.exchange(first, 2, 50_000);
        }
    }
}

#[test]
fn f29_a_user_whom_a_container_cannot_name_is_refused_even_where_any_is_admitted() {
    if !is_root_or_skip("f29_a_user_whom_a_container_cannot_name_is_refused_even_where_any_is_admitted") {
        return;
    }
    let (domain, copy) = (fresh_domain(), ForOthers::new());
    // Root in a user namespace of its own, where our other user has no number and shows as 65534.
    let container = ["unshare", "--user", "--map-root-user"];
    let mut contained = Party::of(Process::start(&format!("party {domain} any"), &container));
    let mut stranger = Party::of(copy.start(&format!("party {domain} any"), 54_321));
    let said = contained.asked(format!("link {}", stranger.name));
    assert!(said.contains("65534"), "{said}");
    let said = stranger.asked(format!("link {}", contained.name));
    assert_ne!(said, "linked");
    // A container's root that is our root is served.
    let mut root = Party::of(Process::start(&format!("party {domain} any"), &[]));
    root.link(&contained.name);
    root.exchange(&mut contained, 1, 100_000);
}

/// Python that gets hold of a ring and does to it what a reader could: the last way ends it.
const READER: &str = "
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
def refused(what, *words):
    try: what(*words)
    except (OSError, PermissionError): return
    sys.exit(f'{what} was not refused')
refused(mmap.mmap, fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
refused(os.pwrite, fd, b'x' * 4096, 0)
refused(os.ftruncate, fd, 0)
refused(os.ftruncate, fd, 2 * size)
libc = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE = 3
assert libc.fallocate(fd, PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(size)) == -1, 'a hole was punched'
libc.mmap.restype = ctypes.c_void_p
seen = libc.mmap(None, ctypes.c_size_t(size), 1, 1, fd, ctypes.c_long(0))
assert ctypes.string_at(seen, 8) == b'ZERODDS\\x01', 'it reads the ring'
assert libc.mprotect(ctypes.c_void_p(seen), ctypes.c_size_t(size), 3) == -1, 'it can be made writable'
print('only the stray pointer is left', flush=True)
ctypes.memset(seen + 8192, 0x5a, 4096)
";

#[test]
fn f30_a_reader_that_writes_to_a_ring_faults_itself_and_changes_nothing() {
    if !is_root_or_skip("f30_a_reader_that_writes_to_a_ring_faults_itself_and_changes_nothing") {
        return;
    }
    use std::os::unix::process::ExitStatusExt;
    let domain = fresh_domain();
    let (mut sender, mut receiver) = (Party::start(domain, &[]), Party::start(domain, &[]));
    sender.link(&receiver.name);
    let folder = format!("/proc/{}/fd", sender.process.id());
    let is_ring = |path: &std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("zerodds-ring"))
    };
    let mut descriptors = std::fs::read_dir(folder).expect("root").map(|entry| entry.expect("entry").path());
    let ring = descriptors.find(is_ring).expect("it keeps its ring");
    for seed in 0..10 {
        // Unread while the other one writes at it, then taken and checked.
        assert_eq!(sender.asked(format!("send {} {seed} 1000000", receiver.name)), "sent");
        let reader = Command::new("python3").args(["-c", READER]).arg(&ring).output().expect("python3");
        let printed = String::from_utf8_lossy(&reader.stdout);
        let errors = String::from_utf8_lossy(&reader.stderr);
        assert!(printed.contains("only the stray pointer is left"), "{errors}");
        assert_eq!(reader.status.signal(), Some(rustix::process::Signal::SEGV.as_raw()));
        assert_eq!(receiver.asked("take 1"), format!("{seed} 1000000"));
    }
}

/// Mappings of rings in this process, and how many of them a core dump leaves out.
fn rings_in_core_dumps() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("proc");
    let (mut inside, mut rings, mut left_out) = (false, 0, 0);
    for line in maps.lines() {
        if line.contains('-') && line.contains(" 00:") {
            inside = line.contains("zerodds-ring");
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            rings += 1;
            left_out += usize::from(flags.split_whitespace().any(|flag| flag == "dd"));
        }
    }
    (rings, left_out)
}

#[test]
fn core_dumps_leave_rings_out_so_that_a_dump_delays_no_news_and_shows_no_samples() {
    let (a, b) = pair();
    let _ = a.send_pattern(&[zerodds_core::Peer::new(&[b.locator()])], 1, 100_000, reliable());
    // Other tests of this process may be mapping theirs at this moment.
    let until = deadline();
    let rings = loop {
        let (rings, left_out) = rings_in_core_dumps();
        if rings == left_out {
            break rings;
        }
        assert!(Instant::now() < until, "MADV_DONTDUMP of {left_out} of {rings} rings");
    };
    assert!(rings >= 4, "ours and the peer's, each mapped twice in this process");
    assert_eq!((host_of(&a), name_of(&a).len()), (host_of(&b), 16));
}
