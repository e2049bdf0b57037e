//! Processes of a trial, seen from the one that started them: lines to and from them, signals, and their end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A generous bound: what takes longer is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process of ours; killed and buried when dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Stream<ChildStdout>,
    errors: Stream<ChildStderr>,
    name: String,
}

/// What a process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line of its standard output.
    Line(String),
    /// A line of its standard error.
    Error(String),
    /// Nothing more: it has ended, or closed both.
    End,
    /// Nothing until the deadline.
    Nothing,
}

impl Process {
    /// Starts this program with the words of a role.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(program: &Path, words: &[String]) -> io::Result<Self> {
        let role = [&["role".to_owned()], words].concat();
        Self::start_other(program, &role)
    }

    /// Starts another program.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_other(program: &Path, words: &[String]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        Ok(Self {
            input: child.stdin.take(),
            output: Stream::new(child.stdout.take().ok_or_else(missing)?),
            errors: Stream::new(child.stderr.take().ok_or_else(missing)?),
            child,
            name: words.join(" "),
        })
    }

    /// Its role.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something. Whoever has died does not listen, which shows otherwise.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    /// What it says next, on either stream.
    pub fn hear(&mut self, deadline: Instant) -> Said {
        loop {
            if let Some(line) = self.errors.line() {
                return Said::Error(line);
            }
            if let Some(line) = self.output.line() {
                return Said::Line(line);
            }
            if self.output.ended && self.errors.ended {
                return Said::End;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            // Of a pipe that has ended poll tells at once, whatever it is asked for.
            let mut fds = Vec::with_capacity(2);
            if !self.output.ended {
                fds.push(PollFd::from_borrowed_fd(self.output.source.as_fd(), PollFlags::IN));
            }
            if !self.errors.ended {
                fds.push(PollFd::from_borrowed_fd(self.errors.source.as_fd(), PollFlags::IN));
            }
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Said::Nothing,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Said::End,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ready = ready.into_iter();
            if !self.output.ended && ready.next() == Some(true) {
                self.output.fill();
            }
            if !self.errors.ended && ready.next() == Some(true) {
                self.errors.fill();
            }
        }
    }

    /// What it answers.
    ///
    /// # Errors
    /// It said something else, or nothing in time.
    pub fn expect(&mut self, answer: &str) -> Result<(), String> {
        match self.hear(Instant::now() + PATIENCE) {
            Said::Line(line) if line == answer => Ok(()),
            Said::Nothing => Err(format!("HANG: {:?} instead of {answer:?} for {PATIENCE:?}", self.name)),
            other => Err(format!("{} said {other:?} instead of {answer:?}", self.name)),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended.
            let _ = kill_process(id, signal);
        }
    }

    /// Waits until it is stopped; `false` if it has ended instead.
    #[must_use]
    pub fn until_stopped(&self) -> bool {
        let Some(id) = Pid::from_raw(self.child.id() as i32) else { return false };
        let until = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(id), until));
        status.ok().flatten().is_some_and(|status| status.stopped())
    }

    /// Closes its input, by which it knows that it is to end.
    pub fn dismiss(&mut self) {
        drop(self.input.take());
    }

    /// Buries it: waits for its end and says how it ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn bury(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// Whether a process ended by SIGKILL.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; a stopped one ends by this too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe from a process, read in lines.
struct Stream<R> {
    source: R,
    rest: Vec<u8>,
    lines: VecDeque<String>,
    ended: bool,
}

impl<R: Read> Stream<R> {
    const fn new(source: R) -> Self {
        Self { source, rest: Vec::new(), lines: VecDeque::new(), ended: false }
    }

    fn line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }

    fn fill(&mut self) {
        let mut bytes = [0; 4096];
        match self.source.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.rest.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.ended = true,
        }
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.lines.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
        }
    }
}

/// In a process that was started: tells the one that started it something.
pub fn tell(line: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    // It may be gone; so are we, soon.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// In a process that was started: the next line that it is told; `None` when it is to end.
#[must_use]
pub fn hear() -> Option<String> {
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_closed_its_output_and_lives_on_is_heard_until_the_deadline_only() {
        // Silent for longer than it is listened to, and then gone.
        let words = ["-c".to_owned(), "echo said; exec >&-; exec sleep 5".to_owned()];
        let mut process = Process::start_other(Path::new("/bin/sh"), &words).unwrap();
        assert_eq!(process.hear(Instant::now() + PATIENCE), Said::Line("said".to_owned()));
        assert_eq!(process.hear(Instant::now() + Duration::from_millis(100)), Said::Nothing);
    }
}
