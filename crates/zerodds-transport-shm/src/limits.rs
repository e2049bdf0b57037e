//! Whether memory may be taken. Asked before every growth, because past these limits the kernel kills the
//! process instead of returning an error.

use std::fmt;
use std::path::{Path, PathBuf};

/// A limit that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    what: &'static str,
    available: u64,
    remedy: &'static str,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves {} bytes; {}", self.what, self.available, self.remedy)
    }
}

/// Refuses to take `bytes` more if the machine or a memory cgroup does not have them and a margin to spare; otherwise whether the system
/// [promises no more than it has](is_strict).
pub(crate) fn check(bytes: u64) -> Result<bool, Exceeded> {
    let needed = bytes.saturating_add(MARGIN);
    let meminfo = read(Path::new("/proc/meminfo")).unwrap_or_default();
    let machine = mem_available(&meminfo);
    if let Some(available) = machine.filter(|&available| available < needed) {
        let remedy = "free memory or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded { what: "the machine's available memory", available, remedy });
    }
    let is_strict = is_strict();
    let promised = is_strict.then(|| {
        let status = read(Path::new("/proc/self/status")).unwrap_or_default();
        let reserves = ["admin", "user"].map(|whose| {
            read(Path::new(&format!("/proc/sys/vm/{whose}_reserve_kbytes"))).unwrap_or_default()
        });
        left_to_promise(&meminfo, &status, &reserves)
    });
    let promised = promised.flatten();
    if let Some(available) = promised.filter(|&available| available < needed) {
        return Err(unpromised(available));
    }
    let cgroup = read(Path::new("/proc/self/cgroup")).and_then(|text| tightest(&text));
    if let Some(available) = cgroup.filter(|&available| available < needed) {
        let remedy = "raise the container's memory limit or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded { what: "the memory cgroup", available, remedy });
    }
    Ok(is_strict)
}

/// The system promises no more than this.
pub(crate) const fn unpromised(available: u64) -> Exceeded {
    let remedy =
        "raise vm.overcommit_ratio, set vm.overcommit_memory to 0, or lower ZERODDS_SHM_MAX_DATAGRAM";
    Exceeded { what: "vm.overcommit_memory=2", available, remedy }
}

/// What is left for everything else.
const MARGIN: u64 = 8 << 20;

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    bytes_of(meminfo, "MemAvailable:")
}

/// Whether the system promises no more than it has.
pub(crate) fn is_strict() -> bool {
    read(Path::new("/proc/sys/vm/overcommit_memory")).is_some_and(|mode| mode.trim() == "2")
}

/// What such a system would still promise to this process: beyond it a page of shared memory that is touched first is a SIGBUS. As
/// `__vm_enough_memory` of the kernel has it, something is kept for root, and a part of what the process has for the user to recover.
/// (The first is not kept from root itself, which is treated like others.)
fn left_to_promise(meminfo: &str, status: &str, [admin, user]: &[String; 2]) -> Option<u64> {
    let reserve =
        |text: &str, otherwise| text.trim().parse().map_or(otherwise, |kib: u64| kib.saturating_mul(1024));
    let own = bytes_of(status, "VmSize:").map_or(u64::MAX, |size| size / 32);
    let limit = bytes_of(meminfo, "CommitLimit:")?.saturating_sub(bytes_of(meminfo, "Committed_AS:")?);
    Some(
        limit
            .saturating_sub(reserve(admin, ADMIN_RESERVE))
            .saturating_sub(own.min(reserve(user, USER_RESERVE))),
    )
}

/// `admin_reserve_kbytes` and `user_reserve_kbytes` as they come, at most.
const ADMIN_RESERVE: u64 = 8 << 20;
const USER_RESERVE: u64 = 128 << 20;

fn bytes_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn inactive_file(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
}

/// The least that any memory cgroup on the way to the root still allows, version 2 or 1.
fn tightest(cgroups: &str) -> Option<u64> {
    cgroups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let (mount, limit, usage) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
                list if list.split(',').any(|name| name == "memory") => {
                    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
                }
                _ => return None,
            };
            let leaf = PathBuf::from(format!("{mount}{path}"));
            // The path is relative to the process's cgroup namespace; where it does not exist, the mount itself is asked.
            let levels = leaf.ancestors().take_while(|level| level.starts_with(mount));
            levels
                .filter_map(|level| {
                    let limit = read(&level.join(limit))?.trim().parse::<u64>().ok()?;
                    let usage = read(&level.join(usage))?.trim().parse::<u64>().ok()?;
                    // Cached files count as usage but make way.
                    let cached = read(&level.join("memory.stat")).and_then(|text| inactive_file(&text));
                    Some(limit.saturating_sub(usage.saturating_sub(cached.unwrap_or(0))))
                })
                .min()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_machine_has_is_refused_with_a_remedy() {
        let text = check(u64::MAX / 2).expect_err("no machine has this").to_string();
        assert!(text.contains("ZERODDS_SHM_MAX_DATAGRAM"), "{text}");
    }

    #[test]
    fn a_little_is_allowed() {
        assert!(check(4096).is_ok());
    }

    #[test]
    fn what_may_still_be_promised_is_the_limit_without_what_was() {
        let none = ["0\n", "0\n"].map(String::from);
        let left = |meminfo| left_to_promise(meminfo, "VmSize:\t  64 kB\n", &none);
        assert_eq!(left("CommitLimit:  12 kB\nCommitted_AS:  5 kB\n"), Some(7 * 1024));
        assert_eq!(left("CommitLimit:  5 kB\nCommitted_AS:  12 kB\n"), Some(0), "the mode was other before");
        assert_eq!(left("CommitLimit:  5 kB\n"), None);
    }

    #[test]
    fn what_the_kernel_keeps_for_root_and_the_user_is_not_promised() {
        let (meminfo, none) =
            ("CommitLimit:  40960 kB\nCommitted_AS:  10240 kB\n", [String::new(), String::new()]);
        let left = |size_kib: u64, reserves| {
            left_to_promise(meminfo, &format!("Name:\tx\nVmSize:\t{size_kib} kB\nVmLck:\t0 kB\n"), reserves)
        };
        let usual = ["8192\n", "131072\n"].map(String::from);
        assert_eq!(left(2 << 20, &usual), Some(0), "30 MiB without 8 and 64");
        assert_eq!(left(320 << 10, &usual), Some(12 << 20), "30 MiB without 8 and 10");
        assert_eq!(left(320 << 10, &none), Some(12 << 20), "the same where nobody says");
        assert_eq!(left(2 << 20, &["1024\n", "2048\n"].map(String::from)), Some(27 << 20));
    }

    #[test]
    fn mem_available_is_read_in_kibibytes() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:    12 kB\n"), Some(12 * 1024));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
    }
}
