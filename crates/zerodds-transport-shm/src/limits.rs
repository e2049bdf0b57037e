//! Whether memory may be taken. Asked before every growth, because past these limits the kernel kills the
//! process instead of returning an error.

use crate::asked::{in_vain, lacked_a_descriptor};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// A limit.
    Limit { what: &'static str, available: u64, remedy: &'static str },
    /// Whether there is one cannot be found out now, for want of a descriptor: what could not be read, and why.
    Unread(String),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { what, available, remedy } => {
                write!(f, "{what} leaves {available} bytes; {remedy}")
            }
            Self::Unread(why) => write!(f, "the limits cannot be looked at: {why} (ulimit -n raises that)"),
        }
    }
}

impl From<io::Error> for Exceeded {
    fn from(error: io::Error) -> Self {
        Self::Unread(error.to_string())
    }
}

/// Refuses to take `bytes` more if the machine or a memory cgroup does not have them and a margin to spare, or does not say for want of
/// descriptors; otherwise whether the system [promises no more than it has](is_strict).
pub(crate) fn check(bytes: u64) -> Result<bool, Exceeded> {
    let needed = bytes.saturating_add(MARGIN);
    let lacks = |available: Option<u64>| available.filter(|&available| available < needed);
    let meminfo = read(Path::new("/proc/meminfo"))?.unwrap_or_default();
    if let Some(available) = lacks(mem_available(&meminfo)) {
        let remedy = "free memory or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded::Limit { what: "the machine's available memory", available, remedy });
    }
    let is_strict = is_strict()?;
    if is_strict && let Some(available) = lacks(promised(&meminfo)?) {
        return Err(unpromised(available));
    }
    let cgroups = read(Path::new("/proc/self/cgroup"))?.unwrap_or_default();
    if let Some(available) = lacks(tightest(&cgroups)?) {
        let remedy = "raise the container's memory limit or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded::Limit { what: "the memory cgroup", available, remedy });
    }
    Ok(is_strict)
}

/// The system promises no more than this.
pub(crate) const fn unpromised(available: u64) -> Exceeded {
    let remedy =
        "raise vm.overcommit_ratio, set vm.overcommit_memory to 0, or lower ZERODDS_SHM_MAX_DATAGRAM";
    Exceeded::Limit { what: "vm.overcommit_memory=2", available, remedy }
}

/// What is left for everything else.
const MARGIN: u64 = 8 << 20;

/// A file of the system's, whatever octets are in it; `None` if this system has none, or not for us, or one that nobody can read, as where
/// lxcfs has died: then it has no such limit. Whoever has no descriptor left for it learns nothing.
fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(octets) => Ok(Some(String::from_utf8_lossy(&octets).into_owned())),
        Err(error) if lacked_a_descriptor(&error) => Err(in_vain(&path.to_string_lossy(), error)),
        Err(_) => Ok(None),
    }
}

fn mem_available(meminfo: &str) -> Option<u64> {
    bytes_of(meminfo, "MemAvailable:")
}

/// Whether the system promises no more than it has.
pub(crate) fn is_strict() -> io::Result<bool> {
    let mode = read(Path::new("/proc/sys/vm/overcommit_memory"))?;
    Ok(mode.is_some_and(|mode| mode.trim() == "2"))
}

fn promised(meminfo: &str) -> io::Result<Option<u64>> {
    let text = |path| read(Path::new(path)).map(Option::unwrap_or_default);
    let reserves = [text("/proc/sys/vm/admin_reserve_kbytes")?, text("/proc/sys/vm/user_reserve_kbytes")?];
    Ok(left_to_promise(meminfo, &text("/proc/self/status")?, &reserves))
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

/// Cached files of a cgroup and those below it, as its usage counts them; version 1 also has those of the cgroup alone.
fn inactive_file(stat: &str) -> Option<u64> {
    let of = |name| stat.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    of("total_inactive_file ").or_else(|| of("inactive_file "))
}

/// The least that any memory cgroup on the way to the root still allows, version 2 or 1.
fn tightest(cgroups: &str) -> io::Result<Option<u64>> {
    let mut least = None;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, limit, usage) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        let leaf = PathBuf::from(format!("{mount}{path}"));
        // The path is relative to the process's cgroup namespace; where it does not exist, the mount itself is asked.
        for level in leaf.ancestors().take_while(|level| level.starts_with(mount)) {
            let number = |name| {
                Ok::<_, io::Error>(read(&level.join(name))?.and_then(|text| text.trim().parse::<u64>().ok()))
            };
            let (Some(limit), Some(usage)) = (number(limit)?, number(usage)?) else { continue };
            // Cached files count as usage but make way.
            let cached = read(&level.join("memory.stat"))?.and_then(|text| inactive_file(&text));
            let left = limit.saturating_sub(usage.saturating_sub(cached.unwrap_or(0)));
            least = Some(left.min(least.unwrap_or(u64::MAX)));
        }
    }
    Ok(least)
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
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let found = |path| read(Path::new(path));
        assert!(matches!(found("/proc/self/status"), Ok(Some(text)) if text.contains("VmSize:")));
        assert!(matches!(found("/proc/self/no such file"), Ok(None)));
        assert!(matches!(found("/proc/self"), Ok(None)), "a folder");
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
    fn cached_files_are_counted_like_usage_with_those_of_the_cgroups_below() {
        assert_eq!(inactive_file("anon 1\ninactive_file 7\n"), Some(7), "version 2");
        let first = "cache 1\ninactive_file 7\ntotal_cache 1\ntotal_inactive_file 12\n";
        assert_eq!(inactive_file(first), Some(12));
        assert_eq!(inactive_file("anon 1\n"), None);
    }

    #[test]
    fn mem_available_is_read_in_kibibytes() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:    12 kB\n"), Some(12 * 1024));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
    }
}
