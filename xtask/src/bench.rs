//! The benchmarks as one command: measures with the harness of `benches/`, or with that of `benches/peers/`, which has
//! all of its systems and those of the registry, and writes the report into docs/benchmarks/ (but for bounds.md, which
//! is written by hand).

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What to measure.
pub struct Plan<'a> {
    /// Fewer sizes, shorter runs.
    pub is_quick: bool,
    /// With what other workspaces bring.
    pub with_peers: bool,
    /// Parts of the suite; empty: all.
    pub parts: &'a [String],
    /// Adds to what was measured before, instead of starting anew.
    pub keeps: bool,
}

/// Measures, draws, writes.
///
/// # Errors
/// What Cargo or the file system says.
pub fn run(root: &Path, plan: &Plan<'_>) -> Result<bool, Box<dyn Error>> {
    let folder = root.join(FOLDER);
    if !plan.keeps {
        for file in ["results.jsonl", "machine.json"] {
            match fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    let mut suite = vec!["suite", "--into", FOLDER];
    if plan.is_quick {
        suite.push("--quick");
    }
    let parts = plan.parts.join(",");
    if !parts.is_empty() {
        suite.extend(["--parts", &parts]);
    }
    let measured = harness(root, plan.with_peers, &suite)?;
    // What was measured until something failed is worth a report too.
    let reported = harness(root, plan.with_peers, &["report", "--from", FOLDER])?;
    Ok(measured && reported)
}

/// Has `largedata compare` a stack with itself as it comes, and draws what that found on this machine.
///
/// # Errors
/// What Cargo or the file system says.
pub fn compare(root: &Path, stack: &str) -> Result<bool, Box<dyn Error>> {
    let folder = crate::cargo::target_dir(root).join("compare");
    fs::create_dir_all(&folder)?;
    let [json, svg] = ["json", "svg"].map(|kind| folder.join(format!("{stack}.{kind}")));
    let mut largedata = cargo(root, "run");
    largedata.args(["--package", "largedata", "--", "compare", "--stack", stack, "--runs", "3", "--json"]);
    largedata.args(["--size", "64", "64KiB", "1MiB", "4MiB", "8MiB"]);
    let compared = largedata.stderr(Stdio::inherit()).output()?;
    fs::write(&json, &compared.stdout)?;
    let [from, into] = [&json, &svg].map(|path| path.to_string_lossy().into_owned());
    let drawn = harness(root, false, &["compared", "--from", &from, "--into", &into])?;
    println!("{from}\n{into}");
    Ok(compared.status.success() && drawn)
}

fn harness(root: &Path, with_peers: bool, arguments: &[&str]) -> Result<bool, Box<dyn Error>> {
    let mut harness = cargo(root, "run");
    if with_peers {
        harness.args(PEERS);
        if builds_aeron(root)? {
            harness.args(AERON);
        }
    } else {
        harness.args(["--package", "zerodds-benches", "--bin", "measure"]);
    }
    Ok(harness.arg("--").args(arguments).status()?.success())
}

/// Aeron is built from C, for which not every machine has the tools: without them the others are measured.
fn builds_aeron(root: &Path) -> Result<bool, Box<dyn Error>> {
    let built = cargo(root, "build").args(PEERS).args(AERON).output()?;
    if !built.status.success() {
        eprintln!("without Aeron, which could not be built (benches/peers/Cargo.toml says what it needs):");
        eprintln!("{}", String::from_utf8_lossy(&built.stderr).trim_end());
    }
    Ok(built.status.success())
}

fn cargo(root: &Path, what: &str) -> Command {
    let mut cargo = crate::cargo::command();
    cargo.current_dir(root).args([what, "--release", "--quiet"]);
    cargo
}

const PEERS: [&str; 2] = ["--manifest-path", "benches/peers/Cargo.toml"];
const AERON: [&str; 2] = ["--features", "aeron"];

const FOLDER: &str = "docs/benchmarks";
