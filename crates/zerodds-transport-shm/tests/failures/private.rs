//! Everything that outlives a process, in mounts and an IPC namespace where nobody else leaves anything: that there is
//! nothing to leak, and nothing that a third party could remove.

use crate::party::{Party, number};
use crate::support::child::{Beside, Process, is_root_or_skip, tell};
use crate::support::roles::send_numbered;
use crate::support::{Node, fresh_domain, reliable, scaled};
use std::process::Command;
use zerodds_core::Transport;

/// Plays the roles of this module.
pub(crate) fn play(words: &[&str]) -> bool {
    match *words {
        ["kill-in-private", rounds] => kill(number(rounds)),
        ["remove-in-private", rounds] => remove(number(rounds)),
        _ => return false,
    }
    true
}

/// A role in such a place. This binary is copied to where it stays visible.
fn in_private(role: &str) -> Process {
    let script = "set -e
        mount -t tmpfs none /mnt; cp \"$1\" /mnt/test
        mount -t tmpfs none /run; mkdir /run/queues; mount -t mqueue none /run/queues
        mount -t tmpfs none /dev/shm; mount -t tmpfs none /tmp
        shift; exec /mnt/test \"$@\"";
    Process::start(role, &["unshare", "--mount", "--ipc", "sh", "-c", script, "sh"])
}

/// Files, POSIX message queues and SysV objects.
fn leftovers() -> String {
    shell("find /dev/shm /tmp /run/queues -mindepth 1; tail -qn +2 /proc/sysvipc/*")
}

fn shell(line: &str) -> String {
    let done = Command::new("sh").args(["-c", line]).output().expect("sh");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn kill(rounds: u64) {
    let domain = fresh_domain();
    let mut node = Node::open(domain);
    for round in 0..rounds {
        let mut party = Party::start(domain, &[]);
        let peer = party.locator(&node);
        node.link_to(peer);
        party.process.tell("keep 1000");
        for seed in 0..round % 5 {
            assert!(send_numbered(&node, peer, seed, 60_000, reliable()).unserved.is_empty());
        }
        if round == 0 {
            assert_eq!(leftovers(), "", "there is nothing even while it is in use");
        }
        party.process.kill();
        node.until_down(peer);
    }
    assert_eq!(leftovers(), "");
    tell("nothing is left");
}

#[test]
fn f13_any_number_of_kills_leaves_no_file_no_segment_and_no_queue() {
    if !is_root_or_skip("f13_any_number_of_kills_leaves_no_file_no_segment_and_no_queue") {
        return;
    }
    let mut child = in_private(&format!("kill-in-private {}", scaled(100, 1_000)));
    assert_eq!(child.hear(), "nothing is left");
}

fn remove(rounds: u64) {
    let domain = fresh_domain();
    let node = Node::open(domain);
    let mut party = Party::start(domain, &[]);
    let peer = party.locator(&node);
    node.link_to(peer);
    // What `rm`, a logout with RemoveIPC and a cleaner of temporary files do, all the time that this process is there.
    let remover = "while kill -0 $PPID 2>/dev/null; do
        find /dev/shm /tmp /run/queues -mindepth 1 -delete
        ipcrm --all
    done";
    let mut remover = Beside::start(Command::new("sh").args(["-c", remover]));
    for seed in 0..rounds {
        assert!(send_numbered(&node, peer, seed, 200_000, reliable()).unserved.is_empty());
        assert_eq!(party.asked("take 1"), format!("{seed} 200000"));
    }
    // And who comes meanwhile is found.
    let mut late = Party::start(domain, &[]);
    late.link(&party.name);
    late.exchange(&mut party, 1, 200_000);
    assert!(!remover.has_ended(), "it removed to the end");
    assert_eq!(node.transport.counters().links, 1, "the link that there was");
    tell("nothing to remove");
}

#[test]
fn f20_a_third_party_that_removes_whatever_exists_finds_nothing_to_remove() {
    if !is_root_or_skip("f20_a_third_party_that_removes_whatever_exists_finds_nothing_to_remove") {
        return;
    }
    let mut child = in_private(&format!("remove-in-private {}", scaled(500, 5_000)));
    assert_eq!(child.hear(), "nothing to remove");
}
