//! Two hosts for the two processes of a run: a network namespace for each, and a cable between them.
//!
//! ```text
//!   namespace of process 0                        namespace of process 1
//!     10.79.0.1 cable ────────── veth ────────── cable 10.79.0.2
//! ```
//! Made by a shell around each process, which waits for the cable that the parent lays; nothing of it is ever seen
//! from this host, and all of it is gone with the processes in it.

use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What starts this program as process `index`, on a host of its own.
pub(crate) fn on_its_own(index: usize, program: &std::path::Path) -> io::Result<Command> {
    let Some(address) = ADDRESSES.get(index) else {
        return Err(io::Error::other(
            "a cable has two ends: placement hosts is for one writer and one reader",
        ));
    };
    // Asked first, because a child that cannot even start says less.
    let tried = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(format!("{NEEDS}: {said}")));
        }
        Err(error) => return Err(io::Error::other(format!("{NEEDS}: {error}"))),
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", SCRIPT, address]).arg(program);
    Ok(command)
}

/// Lays the cable between two processes that were started so.
pub(crate) fn lay_cable(processes: [u32; 2]) -> io::Result<()> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let deadline = Instant::now() + PATIENCE;
    for process in processes {
        while std::fs::read_link(format!("/proc/{process}/ns/net"))? == own {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{NEEDS}: process {process} got no namespace")));
            }
            thread::sleep(POLL);
        }
    }
    let [one, other] = processes.map(|process| process.to_string());
    let laid = Command::new("ip")
        .args([
            "link", "add", "cable", "netns", &one, "type", "veth", "peer", "name", "cable", "netns", &other,
        ])
        .output()?;
    if laid.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("laying the cable: {}", String::from_utf8_lossy(&laid.stderr).trim())))
}

/// `$0` is the address. Ends by itself where no cable comes. DDS discovers by multicast, which needs a route.
const SCRIPT: &str = "
    patiently() { i=0; until \"$@\"; do i=$((i + 1)); [ $i -lt 1000 ] || exit 1; sleep 0.01; done; }
    carries() { ip link show cable | grep -q LOWER_UP; }
    ip link set lo up || exit 1
    patiently ip address add \"$0\"/24 dev cable 2>/dev/null
    ip link set cable up && ip route add 224.0.0.0/4 dev cable || exit 1
    patiently carries
    exec \"$@\"";
const ADDRESSES: [&str; 2] = ["10.79.0.1", "10.79.0.2"];
const NEEDS: &str =
    "placement hosts makes network namespaces, for which it needs root and the commands unshare and ip";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);
