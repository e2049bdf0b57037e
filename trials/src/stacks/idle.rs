//! What participants of a DDS use of the processor when nothing is to be done, after something went wrong with one of them.
//!
//! ```text
//!   three participants, each hears the others ──▶ a fault of the last ──▶ a while to get over it ──▶ a while that is counted
//! ```
//! The timers of the stacks are in it.

use super::{Company, Stack};
use crate::child::Process;
use rustix::process::Signal;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// What befalls the last participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// It is killed.
    Killed,
    /// It is killed while all others write to it.
    KilledUnderTraffic,
    /// It is stopped.
    Stopped,
    /// It is stopped, and the others write more than there is room for.
    Full,
    /// All its links are overwritten, by itself as far as others can see, and everybody writes.
    Corrupt,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Killed, Self::KilledUnderTraffic, Self::Stopped, Self::Full, Self::Corrupt];
}

/// The processor time of each survivor in `window`, once as much time has passed since the fault; then they hear each other.
/// Where one uses a hundredth of a processor or more it is measured anew, three times at most: what spins does so in every window,
/// what a busy machine adds does not come each time.
///
/// # Errors
/// They do not hear each other before or afterwards, or one of them ends that should not.
pub fn after(program: &Path, stack: Stack, fault: Fault, window: Duration) -> Result<Vec<Duration>, String> {
    let mut company = Company::start(program, stack, PARTICIPANTS, ENDPOINTS)?;
    company.until_heard(PARTICIPANTS)?;
    let last = company.all.len() - 1;
    match fault {
        Fault::Nothing => {}
        Fault::Killed => company.all.truncate(last),
        Fault::KilledUnderTraffic => {
            company.write(last, MUCH);
            company.all.truncate(last);
            company.written(last)?;
        }
        Fault::Stopped => stop(&company.all[last])?,
        Fault::Full => {
            stop(&company.all[last])?;
            company.write(last, MUCH);
            company.written(last)?;
        }
        Fault::Corrupt => {
            overwrite_links(company.all[last].id()).map_err(|error| error.to_string())?;
            company.write(last + 1, SOME);
            company.written(last + 1)?;
            // UDP serves whoever cannot be trusted.
            company.is_shared = false;
        }
    }
    let among = last + usize::from(matches!(fault, Fault::Nothing | Fault::Corrupt));
    std::thread::sleep(window);
    let survivors: Vec<u32> = company.all[..among].iter().map(Process::id).collect();
    let mut used = spent_in(window, &survivors)?;
    for _ in 1..WINDOWS_MAX {
        if used.iter().all(|&used| used < window / 100) {
            break;
        }
        used = spent_in(window, &survivors)?;
    }
    company.until_heard(among as u64)?;
    Ok(used)
}

/// The processor time of each process from now on for as long.
fn spent_in(window: Duration, processes: &[u32]) -> Result<Vec<Duration>, String> {
    let before = processes.iter().map(|&id| spent(id)).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(window);
    let used = |(&id, before): (&u32, HashMap<u64, Duration>)| {
        let since = |(thread, now): (u64, Duration)| now - before.get(&thread).copied().unwrap_or_default();
        Ok(spent(id)?.into_iter().map(since).sum())
    };
    processes.iter().zip(before).map(used).collect()
}

fn stop(process: &Process) -> Result<(), String> {
    process.signal(Signal::STOP);
    if process.until_stopped() { Ok(()) } else { Err(format!("{} has ended", process.name())) }
}

/// Writes over all that a peer can write of every link of this process, as one that has gone wrong would.
fn overwrite_links(process: u32) -> std::io::Result<()> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{process}/mem"))?;
    let links = maps.lines().filter(|line| line.contains("zerodds-link"));
    let starts = links.filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    // The words of both directions and both lanes.
    starts.into_iter().try_for_each(|start| memory.write_all_at(&[0x55; 0x8e00], start + 0x200))
}

/// Processor time of each thread that a process has.
fn spent(process: u32) -> Result<HashMap<u64, Duration>, String> {
    let gone = |error: std::io::Error| format!("{process} has ended: {error}");
    let threads = fs::read_dir(format!("/proc/{process}/task")).map_err(gone)?.flatten();
    // A thread may end meanwhile.
    let time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, Duration::from_nanos(nanoseconds)))
    };
    Ok(threads.filter_map(time).collect())
}

const WINDOWS_MAX: usize = 3;
const PARTICIPANTS: u64 = 3;
const ENDPOINTS: u64 = 4;
/// More samples than there are slots.
const MUCH: u64 = 1_500;
const SOME: u64 = 10;
