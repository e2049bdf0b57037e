//! What this process has of the system: descriptors, mappings, CPU time.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Open descriptors, and mappings of this project's memory. Descriptors of one socket are one: what a participant is woken by
/// is given to those who have to wake it, whenever they first do, and all of them have the same; within one process that is none more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possessions {
    descriptors: usize,
    mappings: usize,
}

impl Possessions {
    /// It may be less: what was being closed when the other was counted.
    pub(crate) fn is_no_more_than(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors && self.mappings <= before.mappings
    }
}

pub(crate) fn possessions() -> Possessions {
    let maps = fs::read_to_string("/proc/self/maps").expect("proc");
    let entries = fs::read_dir("/proc/self/fd").expect("proc").flatten();
    // Closed since it was listed: the list itself, at least.
    let objects: Vec<PathBuf> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let (sockets, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| object.to_string_lossy().starts_with("socket:"));
    Possessions {
        descriptors: others.len() + sockets.into_iter().collect::<BTreeSet<_>>().len(),
        mappings: maps.lines().filter(|line| line.contains("zerodds")).count(),
    }
}

/// CPU time in nanoseconds.
pub(crate) struct Cpu {
    pub process: u64,
    /// Of the threads that bear this project's name.
    pub ours: u64,
}

pub(crate) fn cpu_ns() -> Cpu {
    let mut cpu = Cpu { process: 0, ours: 0 };
    for task in fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let read = |file| fs::read_to_string(task.path().join(file));
        // A thread may have ended meanwhile.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let on_cpu: u64 = times.split(' ').next().and_then(|time| time.parse().ok()).expect("a number");
        cpu.process += on_cpu;
        cpu.ours += if name.starts_with("zerodds") { on_cpu } else { 0 };
    }
    cpu
}
