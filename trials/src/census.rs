//! What a process has, and what is left of those that are gone.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// What may not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings of the transport's objects.
    pub maps: usize,
}

impl Census {
    /// It may be less: what was being closed when the other was taken.
    #[must_use]
    pub fn is_no_more_than(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors && self.maps <= before.maps
    }

    /// Of this process.
    #[must_use]
    pub fn take() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            maps: maps.lines().filter(|line| line.contains("zerodds")).count(),
        }
    }
}

/// Resident memory of a process in bytes, without the pages of files and shared memory.
#[must_use]
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Open descriptors of a process.
#[must_use]
pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// Memory in bytes of every object with this name that a process has mapped, whoever of those who share it has touched it.
///
/// # Errors
/// This takes root.
pub fn object_lengths(process: u32, name: &str) -> Result<Vec<u64>, String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).map_err(|error| error.to_string())?;
    let ranges = maps.lines().filter(|line| line.contains(name)).filter_map(|line| line.split(' ').next());
    let length = |range: &str| {
        let object = fs::metadata(format!("/proc/{process}/map_files/{range}"));
        object.map(|object| object.blocks() * 512).map_err(|error| format!("the memory of {name}: {error}"))
    };
    ranges.map(length).collect()
}

/// Sockets in this network namespace whose name says that they are of this domain: rendezvous, and what was accepted there.
#[must_use]
pub fn sockets(domain: u32) -> usize {
    let name = format!("@zerodds-shm.{domain}.");
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    sockets.lines().filter(|line| line.contains(&name)).count()
}

/// Files whose name says that they are of this domain: there is no reason for any.
#[must_use]
pub fn files(domain: u32) -> Vec<String> {
    let domain = domain.to_string();
    let entries = ["/dev/shm", "/tmp"].into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let paths = entries.flatten().map(|entry| entry.path().display().to_string());
    paths.filter(|path| path.contains(&domain)).collect()
}

/// Processes that this one has started and not buried.
#[must_use]
pub fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
