//! The nightly compiler, which fuzzing and sanitizers need and nothing else does.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Sees to it that there is a nightly compiler, and installs one where there is none.
///
/// # Errors
/// What is missing, and the command that would have installed it.
pub fn prepare() -> Result<(), Box<dyn Error>> {
    have("a nightly compiler", &["run", "nightly", "rustc", "--version"], "rustup", NIGHTLY)
}

/// The same for cargo-fuzz.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_fuzzing() -> Result<(), Box<dyn Error>> {
    prepare()?;
    have(
        "cargo-fuzz",
        &["run", "nightly", "cargo", "fuzz", "--version"],
        "cargo",
        &["install", "cargo-fuzz", "--locked"],
    )
}

/// `cargo` of the nightly toolchain at `root`, whatever toolchain runs us.
#[must_use]
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo"])
        .current_dir(root)
        .env_remove("CARGO")
        .env("CARGO_INCREMENTAL", "0");
    command
}

/// The triple of this machine, which sanitizers want to be told.
///
/// # Errors
/// Where the compiler does not say.
pub fn host() -> Result<String, Box<dyn Error>> {
    host_of(Command::new("rustup").args(["run", "nightly", "rustc"]))
}

/// The triple for which this compiler compiles, unless it is told another.
///
/// # Errors
/// Where it does not say.
pub fn host_of(compiler: &mut Command) -> Result<String, Box<dyn Error>> {
    let said = String::from_utf8(compiler.arg("-vV").output()?.stdout)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".into())
}

fn have(what: &str, probe: &[&str], installer: &str, install: &[&str]) -> Result<(), Box<dyn Error>> {
    if succeeds("rustup", probe) {
        return Ok(());
    }
    println!("{what} is missing: {installer} {}", install.join(" "));
    if Command::new(installer).args(install).status().is_ok_and(|status| status.success())
        && succeeds("rustup", probe)
    {
        return Ok(());
    }
    Err(format!("NOT RUN: {what} cannot be had here; `{installer} {}` would install it", install.join(" "))
        .into())
}

fn succeeds(program: &str, arguments: &[impl AsRef<OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

const NIGHTLY: &[&str] = &["toolchain", "install", "nightly", "--profile", "minimal"];
