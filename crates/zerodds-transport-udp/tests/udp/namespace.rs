//! A network namespace for one test: the test binary runs that test once more inside `unshare -n`, and the
//! namespace is gone with the process.

use std::process::{Command, ExitStatus};

/// Whether the test's body is to run: `true` inside the namespace. Outside of it the test is run again
/// inside, after `setup`, a line of shell, has prepared the namespace's network.
pub(crate) fn inside(test: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|running| running == test) {
        return true;
    }
    let Some(unshare) = unshare() else {
        println!("SKIPPED: no network namespace can be had (neither as root nor in a user namespace)");
        return false;
    };
    let script = format!("{{ {setup}; }} || exit {CANNOT_SET_UP}; exec \"$0\" --exact {test} --nocapture");
    let output = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, test)
        .output()
        .unwrap();
    if output.status.code() == Some(CANNOT_SET_UP) {
        println!("SKIPPED: `{setup}` failed: {}", String::from_utf8_lossy(&output.stderr));
        return false;
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    false
}

/// Runs a line of shell in the namespace.
pub(crate) fn run(line: &str) {
    let status: ExitStatus = Command::new("sh").args(["-c", line]).status().unwrap();
    assert!(status.success(), "{line}");
}

const INSIDE: &str = "ZERODDS_UDP_TEST_INSIDE";
const CANNOT_SET_UP: i32 = 77;

/// How to call `unshare` here, if at all.
fn unshare() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["-n"], &["-r", "-n"]];
    WAYS.into_iter().find(|way| {
        Command::new("unshare").args(*way).arg("true").output().is_ok_and(|output| output.status.success())
    })
}
