//! Runs the program as a user does, and ends it whatever the test does.
#![allow(dead_code, unused_imports, reason = "each test file uses what it needs")]

#[path = "../../../../crates/zerodds-rustdds/tests/parties/domains.rs"]
mod domains;

pub(crate) use domains::fresh_domain;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A bound against hanging, nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments.
pub(crate) fn largedata(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_largedata"));
    command.args(arguments.split_ascii_whitespace());
    command
}

/// Runs it to its end.
pub(crate) fn output(arguments: &str) -> Output {
    largedata(arguments).output().unwrap()
}

/// What it printed on stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it printed on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs it with `--json` and gives the object and the exit code.
pub(crate) fn report(arguments: &str) -> (Value, Option<i32>) {
    let output = output(&format!("run --json {arguments}"));
    let printed = stdout(&output);
    assert_eq!(printed.lines().count(), 1, "{arguments}: {printed}{}", stderr(&output));
    (serde_json::from_str(&printed).unwrap(), output.status.code())
}

/// Runs it and expects every sample intact by shared memory.
pub(crate) fn all_by_shm(arguments: &str, received: u64) -> Value {
    let (report, code) = report(arguments);
    let counts = ["received", "lost", "corrupt"].map(|key| report[key].as_u64().unwrap());
    assert_eq!((counts, code), ([received, 0, 0], Some(0)), "{report}");
    assert_eq!(report["by_path"], serde_json::json!({"shm": received, "udp": 0}), "{report}");
    report
}

/// A folder of test data that is gone when the test is over.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("largedata-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed when the test is over.
pub(crate) struct Guarded {
    pub(crate) process: Child,
    lines: Receiver<String>,
}

impl Guarded {
    /// Starts the program.
    pub(crate) fn start(arguments: &str) -> Self {
        let mut process =
            largedata(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { process, lines }
    }

    /// Starts the program, which prints to somebody else.
    pub(crate) fn start_unheard(arguments: &str, stdout: impl Into<Stdio>) -> Self {
        let process = largedata(arguments).stdout(stdout).spawn().unwrap();
        Self { process, lines: channel().1 }
    }

    /// Whether it prints nothing for so long, and does not end.
    pub(crate) fn is_silent_for(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }

    /// Reads its lines until one contains `text`; panics at its end.
    pub(crate) fn until(&mut self, text: &str) -> String {
        self.all_until(text).pop().unwrap()
    }

    /// The same, with the lines before.
    pub(crate) fn all_until(&mut self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("{error}: no line with {text:?} in {seen:#?}"));
            seen.push(line);
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processes whose parent is `pid`, with their command lines.
pub(crate) fn children(pid: u32) -> Vec<(u32, String)> {
    let pids = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(|pid| (pid, command_line(pid))).collect()
}

/// Whether the process has a handler for this signal.
pub(crate) fn handles(number: u32, pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (number - 1) & 1 == 1
}

/// Whether the process is gone, or at least a zombie that holds nothing.
pub(crate) fn is_gone(pid: u32) -> bool {
    command_line(pid).is_empty()
}

/// Waits for what comes by itself.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Sends a signal, by the program that every system has.
pub(crate) fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn command_line(pid: u32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}
