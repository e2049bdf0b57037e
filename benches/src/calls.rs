//! System calls, as the kernel counts them: `perf stat` at its entry (`raw_syscalls:sys_enter`), over all threads of both
//! processes.
//!
//! A counter in the kernel costs each call some nanoseconds, where a tracer (`strace -c`) would stop the process twice for it
//! and so decide who sleeps. Even so it is a run of its own, whose times count for nothing. What processes do once in a run,
//! such as looking into `/proc`, is in a short run and in a long one alike: what they differ by is by messages.
//!
//! The names of such events are in tracefs, which perf mounts where nobody has: in a mount namespace of its own, so that nothing
//! of it stays.

use crate::crew::{Crew, CrewError};
use crate::record::Figures;
use crate::run::{self, Leg};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// How many system calls a message takes in a ping-pong, and in a stream from process 0 to process 1.
pub(crate) fn count(crew: &mut Crew, leg: Leg) -> Result<Figures, CrewError> {
    let calls_in_turn = per_message(crew, leg, |crew, leg| {
        let there_and_back = run::latency(crew, leg)?.count.unwrap_or_default();
        Ok(2 * there_and_back)
    })?;
    let mut written_per_sent = None;
    let calls_in_stream = per_message(crew, leg, |crew, leg| {
        let figures = run::throughput(crew, &[0], &[1], leg)?;
        written_per_sent = figures.written_per_sent;
        Ok(figures.count.unwrap_or_default())
    })?;
    Ok(Figures { calls_in_turn, calls_in_stream, written_per_sent, ..Figures::default() })
}

/// Whether they can be counted here.
///
/// # Errors
/// Why not, and what it would take.
pub(crate) fn availability() -> io::Result<()> {
    Counter::start([std::process::id()].into_iter())?.stop().map(drop)
}

/// System calls for each of the messages that `exchange` says it has exchanged; `None` where those are never many more.
fn per_message(
    crew: &mut Crew,
    leg: Leg,
    mut exchange: impl FnMut(&mut Crew, Leg) -> Result<u64, CrewError>,
) -> Result<Option<f64>, CrewError> {
    // Whoever has not exchanged anything of this size yet has a first time.
    exchange(crew, leg)?;
    let mut counted = |ms| {
        let counter = Counter::start(crew.processes())?;
        let messages = exchange(crew, Leg { warm_up_ms: 0, measure_ms: ms, ..leg })?;
        Ok::<_, CrewError>((counter.stop()? as f64, messages as f64))
    };
    // What else runs on the machine may leave the long one no more messages than the short one.
    for _ in 0..TRIES_MAX {
        let (short, long) = (counted(leg.measure_ms)?, counted(LONGER * leg.measure_ms)?);
        if long.1 >= 2.0 * short.1 {
            return Ok(Some(((long.0 - short.0) / (long.1 - short.1)).max(0.0)));
        }
    }
    Ok(None)
}

/// A counter that runs.
struct Counter(Child);

impl Counter {
    /// Of these processes, with all of their threads; it runs when this returns.
    fn start(of: impl Iterator<Item = u32>) -> io::Result<Self> {
        let processes: Vec<String> = of.map(|process| process.to_string()).collect();
        // It counts for as long as the command runs, which it starts when it counts: `cat` says so, and ends when we do.
        let mut perf = Command::new("unshare")
            .args(["--mount", "perf", "stat", "-x,", "-e", EVENT, "-p", &processes.join(","), "cat"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| impossible(&error.to_string()))?;
        let asked = perf.stdin.as_mut().map(|cat| cat.write_all(b"\n"));
        let mut echo = String::new();
        // A pipe that is broken is seen by its silence.
        let heard = perf.stdout.as_mut().map(|cat| BufReader::new(cat).read_line(&mut echo));
        if echo == "\n"
            && asked.is_some_and(|asked| asked.is_ok())
            && heard.is_some_and(|heard| heard.is_ok())
        {
            return Ok(Self(perf));
        }
        let said = perf.wait_with_output()?.stderr;
        let said = String::from_utf8_lossy(&said);
        Err(impossible(said.lines().find(|line| *line != "Error:").unwrap_or("it ended")))
    }

    /// How many there were.
    fn stop(self) -> io::Result<u64> {
        let said = self.0.wait_with_output()?.stderr;
        parse(&String::from_utf8_lossy(&said)).ok_or_else(|| impossible("it gave no count"))
    }
}

/// `1234,,raw_syscalls:sys_enter,...`; nothing was counted where nobody ran.
fn parse(said: &str) -> Option<u64> {
    let count = said.lines().find(|line| line.contains(EVENT))?.split(',').next()?;
    if count == "<not counted>" { Some(0) } else { count.parse().ok() }
}

fn impossible(why: &str) -> io::Error {
    io::Error::other(format!("counting system calls takes root, and the command perf: {why}"))
}

const EVENT: &str = "raw_syscalls:sys_enter";
/// How many times as long as the short run the long one is.
const LONGER: u64 = 3;
/// How often both are tried.
const TRIES_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_a_count_or_none() {
        assert_eq!(parse("x\n1234,,raw_syscalls:sys_enter,5,100.00,,\n"), Some(1234));
        assert_eq!(parse("<not counted>,,raw_syscalls:sys_enter,0,100.00,,"), Some(0));
        assert_eq!(parse("<not supported>,,raw_syscalls:sys_enter,0,100.00,,"), None);
        assert_eq!(parse("no such event"), None);
    }
}
