//! Tests on an aarch64 processor that QEMU plays, for a machine that has none.
//!
//! What it shows: that the code compiles and links for it, and that layouts, alignments, atomics and system calls are as they
//! should be there. What it cannot show: that orderings suffice. QEMU plays the weaker processor on this one and reorders
//! nothing that this one would not; that is for the model checker (row 57 of docs/failures.md).

use crate::cargo;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs them; true if all passed.
///
/// # Errors
/// What is missing here, and the commands that would install it.
pub fn run(root: &Path) -> Result<bool, Box<dyn Error>> {
    let mut missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !is_there(tool)).collect();
    if !compiles_for_it() {
        missing.push(TARGET);
    }
    if !missing.is_empty() {
        return Err(format!("NOT RUN: {} is missing here; {INSTALL}", missing.join(", ")).into());
    }
    let mut tests = cargo::command();
    tests.current_dir(root).args(["test", "--target", TARGET, "--lib"]);
    tests.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", TOOLS[1]);
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{} -L {LIBRARIES}", TOOLS[0]));
    tests.arg("--").args(BEYOND_QEMU.iter().flat_map(|test| ["--skip", test]));
    let passed = tests.status()?.success();
    println!("left out, as QEMU cannot run them: {}", BEYOND_QEMU.join(", "));
    Ok(passed)
}

fn is_there(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether the standard library for it is there.
fn compiles_for_it() -> bool {
    let said = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    said.is_ok_and(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir())
}

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The emulator, and what links.
const TOOLS: [&str; 2] = ["qemu-aarch64", "aarch64-linux-gnu-gcc"];
/// The C library of that processor, as the linker's package brings it.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
const INSTALL: &str = "`apt-get install qemu-user gcc-aarch64-linux-gnu` and `rustup target add aarch64-unknown-linux-gnu` \
                       would install all that it takes";
const PACKAGES: [&str; 2] = ["zerodds-core", "zerodds-transport-shm"];
/// Tests that QEMU does not let pass: it answers that it has done what `MADV_WIPEONFORK` and `MADV_POPULATE_WRITE` ask for and does
/// neither, loses its own threads in a forked child, and a test that starts its own program starts one that this processor lacks.
const BEYOND_QEMU: [&str; 4] = [
    "sys::fork::",
    "sys::credentials::tests::a_process_that_has_exited",
    "memory::tests::pages_that_are_not_in_memory",
    "segment::tests::all_pages_that_are_written",
];
