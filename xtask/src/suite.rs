//! Test binaries of the workspace: built once, then asked for one test at a time.
//!
//! `cargo test` would build and print for every call anew, and counts a filter that matches nothing as a success. Here a
//! test that is not there is an error, and so is one that skips itself or does not end.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A test by its full name: `package::binary::path`, where the binary is `lib` for unit tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestName {
    /// The package, as Cargo names it.
    pub package: String,
    /// The test target, or `lib`.
    pub binary: String,
    /// The test as its binary lists it.
    pub path: String,
}

impl TestName {
    /// Reads `package::binary::path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, "::").map(str::to_owned);
        let (package, binary, path) = (parts.next()?, parts.next()?, parts.next()?);
        let full = [&package, &binary, &path].iter().all(|part| !part.is_empty() && !part.contains(' '));
        full.then_some(Self { package, binary, path })
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}", self.package, self.binary, self.path)
    }
}

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ran and passed.
    Passed,
    /// There is no such test, or no such binary.
    Missing,
    /// It says that it was skipped.
    Skipped,
    /// It failed or did not end; with what it printed.
    Failed(String),
}

/// Built test binaries.
pub struct Suite {
    binaries: BTreeMap<(String, String), Binary>,
}

struct Binary {
    executable: PathBuf,
    /// Where Cargo would run it.
    folder: PathBuf,
    tests: Vec<String>,
}

impl Suite {
    /// Builds the binaries of these tests in the workspace at `root`, as `cargo test --workspace --all-features` does.
    ///
    /// # Errors
    /// What Cargo says.
    pub fn build(root: &Path, tests: &[TestName]) -> Result<Self, Box<dyn Error>> {
        Self::build_as(root, tests, &["--workspace", "--all-features"], &[])
    }

    /// As [`build`](Self::build), with other arguments to Cargo, and these environment variables.
    ///
    /// # Errors
    /// What Cargo says.
    pub fn build_as(
        root: &Path,
        tests: &[TestName],
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, Box<dyn Error>> {
        let mut cargo = crate::cargo::command();
        cargo.current_dir(root).arg("test").args(arguments).arg("--no-run").envs(variables.iter().copied());
        cargo.arg("--message-format=json-render-diagnostics");
        let targets: std::collections::BTreeSet<&str> =
            tests.iter().map(|test| test.binary.as_str()).collect();
        for target in targets {
            if target == "lib" {
                cargo.arg("--lib");
            } else {
                cargo.args(["--test", target]);
            }
        }
        let built = cargo.stderr(Stdio::inherit()).output()?;
        if !built.status.success() {
            return Err(format!("cargo test --no-run: {}", built.status).into());
        }
        let lines = String::from_utf8_lossy(&built.stdout);
        let artifacts = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        let wanted = |name: &(String, String)| {
            tests.iter().any(|test| (test.package.as_str(), test.binary.as_str()) == (&name.0, &name.1))
        };
        let mut binaries = BTreeMap::new();
        for (name, executable, folder) in artifacts.filter_map(|message: Value| artifact(&message)) {
            if wanted(&name) {
                let tests = list(&executable, &folder)?;
                binaries.insert(name, Binary { executable, folder, tests });
            }
        }
        Ok(Self { binaries })
    }

    /// The tests of these binaries that passed in a run of `cargo test` that printed `log`, which must be of the sources as they
    /// are now: the names of binaries do not tell.
    #[must_use]
    pub fn passed(&self, log: &str) -> Vec<TestName> {
        let named = |line: &str| {
            let executable =
                Path::new(line.trim().strip_prefix("Running ")?.rsplit_once('(')?.1.strip_suffix(')')?);
            // The hash in its name tells it from those of other profiles and features.
            self.binaries.iter().find(|(_, binary)| binary.executable.file_name() == executable.file_name())
        };
        let mut running = None;
        let mut passed = Vec::new();
        for line in log.lines() {
            if line.trim_start().starts_with("Running ") || line.trim_start().starts_with("Doc-tests ") {
                running = named(line);
            }
            let test = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... ok"));
            if let (Some(((package, binary), _)), Some(path)) = (running, test) {
                let (package, binary) = (package.clone(), binary.clone());
                passed.push(TestName { package, binary, path: path.to_owned() });
            }
        }
        passed
    }

    /// Runs one test, ignored or not, for at most `patience`, with these environment variables.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(
        &self,
        test: &TestName,
        environment: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Verdict, Box<dyn Error>> {
        let found = self.binaries.get(&(test.package.clone(), test.binary.clone()));
        let Some(binary) = found.filter(|binary| binary.tests.contains(&test.path)) else {
            return Ok(Verdict::Missing);
        };
        let mut command = Command::new(&binary.executable);
        command.args(["--exact", &test.path, "--include-ignored", "--nocapture"]);
        command.current_dir(&binary.folder).envs(environment.iter().copied());
        let (ended, output) = output_within(command, patience)?;
        Ok(match ended {
            _ if output.contains("SKIPPED") => Verdict::Skipped,
            Some(true) if output.contains("test result: ok. 1 passed") => Verdict::Passed,
            Some(_) => Verdict::Failed(output),
            None => Verdict::Failed(format!("{output}\nno end within {} s", patience.as_secs())),
        })
    }
}

/// Package and target, executable and folder of a test binary that Cargo reports as built.
fn artifact(message: &Value) -> Option<((String, String), PathBuf, PathBuf)> {
    let is_test = message["profile"]["test"].as_bool()?;
    let executable = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let target = match message["target"]["kind"][0].as_str()? {
        "test" => message["target"]["name"].as_str()?,
        "lib" => "lib",
        _ => return None,
    };
    let package = package(message["package_id"].as_str()?)?;
    is_test.then(|| ((package.to_owned(), target.to_owned()), executable, folder))
}

/// The name within `path+file:///folder#name@version`, or `path+file:///name#version`.
fn package(id: &str) -> Option<&str> {
    let (place, rest) = id.rsplit_once('#')?;
    rest.split_once('@').map_or_else(|| place.rsplit('/').next(), |(name, _)| Some(name))
}

fn list(executable: &Path, folder: &Path) -> std::io::Result<Vec<String>> {
    let listed =
        Command::new(executable).args(["--list", "--format", "terse"]).current_dir(folder).output()?;
    let lines = String::from_utf8_lossy(&listed.stdout);
    Ok(lines.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
}

/// Whether the command succeeded, if it ended in time, and everything that it printed.
fn output_within(mut command: Command, patience: Duration) -> std::io::Result<(Option<bool>, String)> {
    // The end of a pipe would also wait for children that outlive the test, so a file takes what is printed.
    let mut printed = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed.try_clone()?);
    // A group of its own, so that what the test has started can be ended with it, also what is stopped.
    command.process_group(0);
    let mut running = running();
    let mut child = command.spawn()?;
    *running = Some(Pid::from_child(&child));
    drop(running);
    let ended = wait_within(&mut child, patience)?;
    let mut output = Vec::new();
    std::io::Seek::rewind(&mut printed)?;
    printed.read_to_end(&mut output)?;
    Ok((ended, String::from_utf8_lossy(&output).into_owned()))
}

fn wait_within(child: &mut Child, patience: Duration) -> std::io::Result<Option<bool>> {
    let until = Instant::now() + patience;
    loop {
        let mut running = running();
        if let Some(status) = child.try_wait()? {
            *running = None;
            return Ok(Some(status.success()));
        }
        if Instant::now() >= until {
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
            child.wait()?;
            *running = None;
            return Ok(None);
        }
        drop(running);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The group of the test that runs, as long as its id is not given to another.
fn running() -> MutexGuard<'static, Option<Pid>> {
    static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on whoever interrupts this program ends the test that it runs too, which the terminal does not reach.
///
/// # Errors
/// What the system says.
pub fn end_with_tests() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if let Some(group) = *running() {
            // This program ends either way.
            let _ = kill_process_group(group, Signal::KILL);
        }
        std::process::exit(INTERRUPTED);
    })
}

/// As a shell puts it.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_by_package_binary_and_path() {
        let name = TestName::parse("a-b::failures::init::f01_x").expect("a name");
        let parts = [name.package.as_str(), &name.binary, &name.path];
        assert_eq!(parts, ["a-b", "failures", "init::f01_x"]);
        assert_eq!(name.to_string(), "a-b::failures::init::f01_x");
        for bad in ["", "a::b", "a::::c", "a b::c::d"] {
            assert_eq!(TestName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_passed_is_read_from_a_log_binary_by_binary() {
        let binary = |package: &str, file: &str| {
            let executable = PathBuf::from(format!("/x/target/debug/deps/{file}"));
            (
                (package.to_owned(), "b".to_owned()),
                Binary { executable, folder: PathBuf::new(), tests: Vec::new() },
            )
        };
        let suite = Suite { binaries: [binary("one", "b-1a"), binary("two", "b-2b")].into() };
        let log = "     Running tests/b.rs (target/debug/deps/b-2b)\ntest f01 ... ok\ntest f02 ... FAILED\ntest f03 ... ignored\n\
                   said\n     Running tests/b.rs (target/release/deps/b-3c)\ntest f04 ... ok\n   Doc-tests b\ntest f05 ... ok\n";
        let passed: Vec<String> = suite.passed(log).iter().map(ToString::to_string).collect();
        assert_eq!(passed, ["two::b::f01"]);
    }

    #[test]
    fn both_forms_of_a_package_id_are_read() {
        assert_eq!(package("path+file:///x/benches#zerodds-benches@0.1.0"), Some("zerodds-benches"));
        assert_eq!(package("path+file:///x/xtask#0.1.0"), Some("xtask"));
        assert_eq!(package("xtask"), None);
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_what_it_has_started_and_stopped() {
        let mut sleep = Command::new("sleep");
        sleep.arg("3600");
        let (ended, _) = output_within(sleep, Duration::from_millis(20)).expect("it starts");
        assert_eq!(ended, None);
        let mut patience = Duration::from_millis(100);
        let stopped = loop {
            let mut parent = Command::new("sh");
            parent.args(["-c", "trap '' HUP; sleep 3600 & kill -STOP $! && echo $! && wait"]);
            let (ended, printed) = output_within(parent, patience).expect("it starts");
            assert_eq!(ended, None);
            if let Ok(id) = printed.trim().parse::<u32>() {
                break id;
            }
            patience *= 2;
        };
        // Whoever inherits it may take a while to notice that it has ended.
        let is_there = || std::fs::read_to_string(format!("/proc/{stopped}/stat"));
        let until = Instant::now() + Duration::from_secs(60);
        while is_there().is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < until, "{stopped} is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut echo = Command::new("echo");
        echo.arg("here");
        assert_eq!(
            output_within(echo, Duration::from_secs(60)).expect("it starts"),
            (Some(true), "here\n".into())
        );
    }
}
