//! The benchmarks as one command: measures with the harness of `benches/`, or with that of `benches/peers/`, which has
//! all of its systems and those of the registry, and writes the report into docs/benchmarks/.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

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
    Ok(measured && harness(root, plan.with_peers, &["report", "--from", FOLDER])?)
}

fn harness(root: &Path, with_peers: bool, arguments: &[&str]) -> Result<bool, Box<dyn Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["run", "--release", "--quiet"]);
    if with_peers {
        cargo.args(["--manifest-path", "benches/peers/Cargo.toml"]);
    } else {
        cargo.args(["--package", "zerodds-benches", "--bin", "measure"]);
    }
    Ok(cargo.arg("--").args(arguments).status()?.success())
}

const FOLDER: &str = "docs/benchmarks";
