//! Real other processes: the test binary itself, run again with a role.
//!
//! ```text
//!   test ── command on its standard input ──▶ child
//!        ◀── marked line on its standard output ──
//! ```
//! The lines are marked since the test harness prints there too. A child ends with its input, so that none outlives
//! its test, however that ends.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use crate::parties::PATIENCE;

/// A running child; killed and reaped when dropped.
pub(crate) struct Process {
    child: Child,
    said: Receiver<String>,
}

impl Process {
    /// Starts this test binary with a role, as an argument of `wrapper` if there is one.
    pub(crate) fn start(role: &str, wrapper: &[&str]) -> Self {
        let exe = std::env::current_exe().expect("the test binary");
        let mut words = wrapper.iter().map(std::ffi::OsString::from).chain([exe.into()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["child_process", "--exact", "--nocapture"]).env(ROLE, role);
        Self::spawn(&mut command)
    }

    /// Starts any program that talks as a child does.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, line)) = line.split_once(MARK) {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Self { child, said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells the child something; whether it is still there is seen when it should answer.
    pub(crate) fn tell(&mut self, line: &str) {
        let _ = writeln!(self.child.stdin.as_mut().expect("piped"), "{line}");
    }

    /// What the child says next.
    pub(crate) fn hear(&mut self) -> String {
        self.said.recv_timeout(PATIENCE).expect("the child says more")
    }

    /// What the child has said already.
    pub(crate) fn try_hear(&mut self) -> Option<String> {
        match self.said.try_recv() {
            Ok(line) => Some(line),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the child has ended"),
        }
    }

    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// SIGKILL, and the end awaited; what the child had said last.
    pub(crate) fn kill(&mut self) -> Option<String> {
        assert!(self.child.try_wait().expect("ours").is_none(), "it must not have ended by itself");
        self.child.kill().expect("it runs");
        self.child.wait().expect("ours");
        self.said.iter().last()
    }

    /// Closes the child's input, and awaits its end.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("ours").success());
    }

    /// SIGSTOP, and the stop awaited.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.id());
        while !std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T ")) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.id() as i32).expect("a pid");
        kill_process(id, signal).expect("it runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Child: the role this process was started with, and its words.
pub(crate) fn role() -> Option<Vec<String>> {
    Some(std::env::var(ROLE).ok()?.split(' ').map(str::to_owned).collect())
}

/// Child: tells the parent something.
pub(crate) fn tell(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone; so are we, soon.
    let _ = writeln!(out, "{MARK}{line}");
    let _ = out.flush();
}

/// Child: what the parent says from now on. Without a parent this process ends.
pub(crate) fn commands() -> Receiver<String> {
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(0);
    });
    heard
}

/// Whether this process runs nothing but this test, as it must where it counts what the process has. If not, the
/// test is run in one that does.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some_and(|alone| alone == test) {
        return true;
    }
    let exe = std::env::current_exe().expect("the test binary");
    let mut command = Command::new(exe);
    passes(command.args([test, "--exact", "--nocapture"]).env(ALONE, test));
    false
}

/// Runs a test in another process, which says that it has.
pub(crate) fn passes(command: &mut Command) {
    // What is skipped there is said on standard error, past this harness too.
    let output = command.stderr(Stdio::inherit()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{command:?}: {said}");
    println!("{said}");
}

/// Says on standard error, past the test harness, that something was not tested.
pub(crate) fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const ROLE: &str = "ZERODDS_TEST_ROLE";
const ALONE: &str = "ZERODDS_TEST_ALONE";
const MARK: &str = "=> ";
