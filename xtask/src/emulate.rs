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
const BEYOND_QEMU: [&str; 10] = [
    "f58_a_forked_child_that_drops_a_transport_lets_go_of_no_thread_of_its_own",
    "f58_a_forked_child_gives_nothing_back_and_cannot_use_what_it_inherited",
    "f58_a_child_is_known_that_the_c_library_knows_nothing_of",
    "a_process_that_has_exited_is_not_taken_for_a_kernel_that_cannot_tell",
    "bytes_that_are_not_in_memory_are_found_wherever_they_lie",
    "what_was_found_in_memory_beyond_a_hole_is_not_gone_over_again",
    "all_pages_that_are_written_are_there_before_they_are_touched_or_it_is_an_error",
    "kernels_that_cannot_be_asked_by_the_mapping_have_the_pages_there_all_the_same",
    "objects_are_made_and_mapped_where_no_descriptor_is_left_to_ask_what_is_promised",
    "a_process_that_could_not_be_watched_for_want_of_a_descriptor_is_watched_once_there_is_one",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let sources: Vec<_> = PACKAGES
            .iter()
            .flat_map(|package| crate::files(&root.join("crates").join(package), "rs").expect("its sources"))
            .collect();
        for test in BEYOND_QEMU {
            let stands = format!("fn {test}(");
            assert!(sources.iter().any(|(_, text)| text.contains(&stands)), "there is no test {test}");
        }
    }
}
