//! What a process is made to see of the system: small C libraries, compiled here and loaded in front of the system's.

use super::support::child::Process;
use super::support::fresh_domain;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wall clock that is stepped by a year at every reading.
pub(crate) const CLOCK: &str = "clock";
/// 10,000 handled signals a second.
pub(crate) const SIGNALS: &str = "signals";

/// A fork, without exec, on request.
pub(crate) const FORK: &str = "fork";

/// Starts a child with a shim loaded, and these variables set.
pub(crate) fn start_with(shim: &str, role: &str, variables: &[(&str, &Path)]) -> Process {
    let library = compiled(shim);
    Process::start_with(role, &[], |command| {
        command.env("LD_PRELOAD", library).envs(variables.iter().copied());
    })
}

/// A file of this test's own in the build folder, another one each time.
pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", fresh_domain()))
}

fn compiled(shim: &str) -> PathBuf {
    let source = format!("{}/tests/failures/shims/{shim}.c", env!("CARGO_MANIFEST_DIR"));
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{shim}.so"));
    // Renamed into place, so that a test that runs at the same time never loads half of it.
    let fresh = scratch(shim);
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
        .args([fresh.as_os_str(), source.as_ref()])
        .arg("-ldl")
        .status()
        .expect("a C compiler: Rust needs one to link, too");
    assert!(status.success(), "{source} does not compile");
    std::fs::rename(fresh, &library).expect("ours");
    library
}
