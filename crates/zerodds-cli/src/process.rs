//! Whose a socket is, by /proc.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A process as a user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) name: String,
}

/// The processes that have sockets, by the sockets' inodes, as far as this user may look.
pub(crate) fn by_socket() -> HashMap<u64, Process> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    // A process that ends meanwhile has none. A child that is about to execute something has its parent's: the parent is older.
    let mut owners = HashMap::new();
    for (inode, process) in pids.filter_map(sockets).flatten() {
        owners.entry(inode).or_insert(process);
    }
    owners
}

fn sockets(pid: u32) -> Option<Vec<(u64, Process)>> {
    let folder = format!("/proc/{pid}");
    let uid = fs::metadata(&folder).ok()?.uid();
    let name = shown(&fs::read(format!("{folder}/comm")).ok()?);
    let descriptors = fs::read_dir(format!("{folder}/fd")).ok()?.flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let inodes = targets.filter_map(|target| inode(target.to_str()?));
    Some(inodes.map(|inode| (inode, Process { pid, uid, name: name.clone() })).collect())
}

/// A name as the kernel has it, which cuts it anywhere and lets everything stand in it, for a terminal.
fn shown(comm: &[u8]) -> String {
    String::from_utf8_lossy(comm).trim().replace(char::is_control, "?")
}

fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn our_own_socket_is_ours() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("proc");
        let inode = inode(target.to_str().expect("text")).expect("a socket");
        assert_eq!(by_socket()[&inode].pid, std::process::id());
    }

    #[test]
    fn a_name_that_is_cut_or_would_steer_a_terminal_is_shown_nevertheless() {
        assert_eq!(
            shown("fourteen_bytes\u{f6}".as_bytes().split_last().expect("bytes").1),
            "fourteen_bytes\u{fffd}"
        );
        assert_eq!(shown(b"\x1b[2Jcar\n"), "?[2Jcar");
    }

    #[test]
    fn what_is_no_socket_has_no_inode() {
        for target in ["/dev/null", "pipe:[7]", "socket:[]", "socket:[7"] {
            assert_eq!(inode(target), None, "{target}");
        }
    }
}
