//! Real other processes: the test binary itself, run again with a role.
//!
//! The child talks in lines on its standard output, each marked, since the test harness prints there too. A panic of any of its
//! threads ends it, which its parent sees.

use super::{PATIENCE, scaled};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

const ROLE: &str = "ZERODDS_TEST_ROLE";
const MARK: &str = "=> ";

/// A running child; killed and reaped when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<String>,
}

/// The role this process was started with, and its words. It is to end where any of its threads panics.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    std::panic::set_hook(Box::new(|why| {
        eprintln!("{why}");
        std::process::abort()
    }));
    Some(role.split(' ').map(str::to_owned).collect())
}

/// Child: tells the parent something.
pub(crate) fn tell(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone; so are we, soon.
    let _ = writeln!(out, "{MARK}{line}");
    let _ = out.flush();
}

/// Child: waits for a line of the parent; ends this process if there is no parent any more.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => std::process::exit(0),
        Ok(_) => line.trim_end().to_owned(),
    }
}

impl Process {
    /// Starts this test binary with a role, in front of which `wrapper` may put another command.
    pub(crate) fn start(role: &str, wrapper: &[&str]) -> Self {
        Self::start_with(role, wrapper, |_| {})
    }

    pub(crate) fn start_with(role: &str, wrapper: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let exe = std::env::current_exe().expect("the test binary");
        let mut words = wrapper.iter().map(std::ffi::OsString::from).chain([exe.into()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["--exact", "child_process", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("the child starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, line)) = line.split_once(MARK) {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Self { child, input, said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells the child something.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("open"), "{line}").expect("the child listens");
    }

    /// What the child says next.
    pub(crate) fn hear(&mut self) -> String {
        // In full, a child may do thousands of rounds before it says that it has.
        self.said.recv_timeout(scaled(PATIENCE, 30 * PATIENCE)).expect("the child says more")
    }

    /// SIGKILL, and the end awaited.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id() as i32).expect("a pid");
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    /// SIGSTOP, and the stop awaited.
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        let stat = format!("/proc/{}/stat", self.id());
        let is_stopped = || std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T "));
        super::until("it stops", is_stopped);
    }

    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Closes the child's input and waits for its end; whether that was as it should be.
    pub(crate) fn finish(self) -> bool {
        self.end().success()
    }

    /// The same, and how it ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another program beside a test, which says nothing, and is killed and reaped when dropped.
pub(crate) struct Beside(Child);

impl Beside {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts"))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("it is our child").is_some()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this test may go on; otherwise says why it is skipped.
pub(crate) fn is_root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: {test} needs root, for other users and namespaces");
    }
    root
}
