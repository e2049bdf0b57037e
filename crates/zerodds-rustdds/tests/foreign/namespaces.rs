//! A host of the test's own, and a second one at the other end of a cable.
//!
//! ```text
//!   namespace of the test                      namespace of one child
//!    10.79.0.1 veth0 ─────────────────────────── veth1 10.79.0.2
//! ```
//! Both are gone with the processes in them, and the cable with either.

use super::child::{Process, is_root, passes, skip};
use std::process::Command;

/// Whether the test's body is to run: `true` in a network namespace that has nothing but `lo`. Outside of it the test
/// is run again inside, and judged by that.
pub(crate) fn on_a_host_of_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        return true;
    }
    let unshare = || Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).status();
    if !is_root() || !unshare().is_ok_and(|status| status.success()) {
        skip(&format!("{test} needs root, and the commands unshare and ip, for network namespaces"));
        return false;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("the test binary"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, test);
    passes(&mut command);
    false
}

/// Starts a child on another host, which a cable joins to this one.
pub(crate) fn start_elsewhere(role: &str) -> Process {
    let wait_for_the_cable = "ip link set lo up
        until ip address add 10.79.0.2/24 dev veth1 2>/dev/null; do sleep 0.01; done
        ip link set veth1 up && exec \"$@\"";
    let child = Process::start(role, &["unshare", "--net", "sh", "-c", wait_for_the_cable, "sh"]);
    let own = std::fs::read_link("/proc/self/ns/net").expect("proc");
    let theirs = format!("/proc/{}/ns/net", child.id());
    crate::parties::eventually("it has a namespace of its own", || {
        std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own)
    });
    let cable = format!("ip link add veth0 type veth peer name veth1 netns {}", child.id());
    for line in [&cable, "ip address add 10.79.0.1/24 dev veth0", "ip link set veth0 up"] {
        let status = Command::new("sh").args(["-c", line]).status();
        assert!(status.expect("sh runs").success(), "{line}");
    }
    crate::parties::eventually("the cable carries", || {
        std::fs::read_to_string("/sys/class/net/veth0/operstate").is_ok_and(|state| state.trim() == "up")
            || Command::new("sh")
                .args(["-c", "ip link show veth0 | grep -q LOWER_UP"])
                .status()
                .is_ok_and(|status| status.success())
    });
    child
}

const INSIDE: &str = "ZERODDS_TEST_HOST";
