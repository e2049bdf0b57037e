//! The clocks of a run: one that all processes of a host share, and the processor time of this process.
//!
//! `CLOCK_MONOTONIC` counts from the boot of the machine, so that a time stamped by the publisher can be
//! subtracted from one read by the subscriber, and no NTP step gets in between. Between two hosts it means
//! nothing, so publishers stamp the boot that theirs counts from, and latencies are of one boot only.

use crate::checksum;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::LazyLock;

/// Tells the boots of hosts apart, as far as 32 bits do; `None` where the system has no name for its boot. The same in
/// every container of a host, like the clock.
pub(crate) fn boot() -> Option<u32> {
    static BOOT: LazyLock<Option<u32>> = LazyLock::new(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        Some((checksum::checksum(&id) >> 32) as u32)
    });
    *BOOT
}

/// Nanoseconds since boot, the same in every process of this host.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time this process has used so far, all threads, in nanoseconds.
pub(crate) fn processor_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Measures the processor use of this process over a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessorMeter {
    wall_ns: u64,
    processor_ns: u64,
}

impl ProcessorMeter {
    /// Opens the window.
    pub(crate) fn start() -> Self {
        Self { wall_ns: monotonic_ns(), processor_ns: processor_ns() }
    }

    /// Percent of one processor used since the start; 200 means two of them.
    pub(crate) fn percent(&self) -> f64 {
        let wall = monotonic_ns().saturating_sub(self.wall_ns);
        let busy = processor_ns().saturating_sub(self.processor_ns);
        if wall == 0 { 0.0 } else { 100.0 * busy as f64 / wall as f64 }
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
