//! What a process has used so far, as the kernel tells: processor time, page faults, switches, memory, descriptors.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::ops::{Add, Sub};
use std::os::unix::fs::MetadataExt;

/// Use of the calling process, all of its threads; differences of two are a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Page faults without reading from a disk.
    pub faults: u64,
    /// Times that a thread slept, or was set aside for another.
    pub switches: u64,
}

/// What it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Of that, shared memory.
    pub rss_shared_kib: u64,
    /// Memory of the largest of this project's links, in KiB, whoever uses it; `None` without one, and for all but root.
    pub link_kib: Option<u64>,
    /// Open descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// So far.
    ///
    /// # Errors
    /// Where `/proc` is not to be had.
    pub fn now() -> io::Result<Self> {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let stat = fs::read_to_string("/proc/self/stat")?;
        // The second field is the name, in brackets, and may contain anything.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let faults = after_name.split_whitespace().nth(7).and_then(|text| text.parse().ok());
        let mut switches = 0;
        for task in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile.
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            switches += sum_of(&status, "ctxt_switches:");
        }
        Ok(Self {
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            faults: faults.ok_or_else(|| io::Error::other("/proc/self/stat is not as documented"))?,
            switches,
        })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            faults: self.faults.saturating_sub(before.faults),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_s: self.cpu_s + other.cpu_s,
            faults: self.faults + other.faults,
            switches: self.switches + other.switches,
        }
    }
}

impl Holdings {
    /// Now.
    ///
    /// # Errors
    /// Where `/proc` is not to be had.
    pub fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            rss_kib: sum_of(&status, "VmRSS:"),
            rss_shared_kib: sum_of(&status, "RssShmem:"),
            link_kib: links_kib()?.into_iter().flatten().max(),
            fds: fs::read_dir("/proc/self/fd")?.count() as u64 - 1,
            threads: sum_of(&status, "Threads:"),
        })
    }
}

/// Processor time of another process, its ended threads included, in seconds: to a hundredth, as the kernel counts.
///
/// # Errors
/// Where there is no such process.
pub(crate) fn cpu_s_of(process: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut ticks = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
    match (ticks.next(), ticks.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) as f64 / TICKS_A_SECOND),
        _ => Err(io::Error::other(format!("/proc/{process}/stat is not as documented"))),
    }
}

/// Memory of the links that this process maps, each as far as one may look at it.
fn links_kib() -> io::Result<Vec<Option<u64>>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let ranges = maps.lines().filter(|line| line.contains("zerodds-link")).map(|line| line.split(' ').next());
    let object = |range| fs::metadata(format!("/proc/self/map_files/{range}")).ok();
    Ok(ranges.map(|range| Some(object(range?)?.blocks() * 512 / 1024)).collect())
}

/// What the kernel shows to user space, whatever it counts in.
const TICKS_A_SECOND: f64 = 100.0;

/// The sum of the numbers in lines whose name ends so.
fn sum_of(status: &str, name: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once(name));
    lines.filter_map(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_processor_time_and_fresh_memory_in_the_faults() {
        let before = Usage::now().expect("/proc");
        let mut fresh = vec![0u8; 16 << 20];
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(30) {
            fresh.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        let used = Usage::now().expect("/proc") - before;
        assert!(used.cpu_s > 0.0 && used.faults >= 8, "{used:?}");
        let seen = cpu_s_of(std::process::id()).expect("/proc");
        assert!(seen >= 0.01 && seen <= Usage::now().expect("/proc").cpu_s + 0.02, "{seen}");
        let held = Holdings::now().expect("/proc");
        assert!(held.rss_kib > 16 << 10 && held.fds >= 3 && held.threads >= 1, "{held:?}");
    }
}
