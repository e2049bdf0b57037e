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

/// Refuses to take `bytes` more if the machine or a memory cgroup does not have them and a margin to spare.
pub(crate) fn check(bytes: u64) -> Result<(), Exceeded> {
    let needed = bytes.saturating_add(MARGIN);
    let meminfo = read(Path::new("/proc/meminfo")).unwrap_or_default();
    let machine = mem_available(&meminfo);
    if let Some(available) = machine.filter(|&available| available < needed) {
        let remedy = "free memory or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded { what: "the machine's available memory", available, remedy });
    }
    let is_strict = read(Path::new("/proc/sys/vm/overcommit_memory")).is_some_and(|mode| mode.trim() == "2");
    let promised = left_to_promise(&meminfo).filter(|_| is_strict);
    if let Some(available) = promised.filter(|&available| available < needed) {
        let remedy =
            "raise vm.overcommit_ratio, set vm.overcommit_memory to 0, or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded { what: "vm.overcommit_memory=2", available, remedy });
    }
    let cgroup = read(Path::new("/proc/self/cgroup")).and_then(|text| tightest(&text));
    if let Some(available) = cgroup.filter(|&available| available < needed) {
        let remedy = "raise the container's memory limit or lower ZERODDS_SHM_MAX_DATAGRAM";
        return Err(Exceeded { what: "the memory cgroup", available, remedy });
    }
    Ok(())
}

/// What is left for everything else.
const MARGIN: u64 = 8 << 20;

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    bytes_of(meminfo, "MemAvailable:")
}

/// What the system would still promise where it promises no more than it has: beyond it a page of shared memory that is touched
/// first is a SIGBUS.
fn left_to_promise(meminfo: &str) -> Option<u64> {
    Some(bytes_of(meminfo, "CommitLimit:")?.saturating_sub(bytes_of(meminfo, "Committed_AS:")?))
}

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
        assert_eq!(check(4096), Ok(()));
    }

    #[test]
    fn what_may_still_be_promised_is_the_limit_without_what_was() {
        assert_eq!(left_to_promise("CommitLimit:  12 kB\nCommitted_AS:  5 kB\n"), Some(7 * 1024));
        assert_eq!(
            left_to_promise("CommitLimit:  5 kB\nCommitted_AS:  12 kB\n"),
            Some(0),
            "the mode was other before"
        );
        assert_eq!(left_to_promise("CommitLimit:  5 kB\n"), None);
    }

    #[test]
    fn mem_available_is_read_in_kibibytes() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:    12 kB\n"), Some(12 * 1024));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
    }
}
