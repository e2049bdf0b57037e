//! Runs the fuzz targets of `fuzz/`, two at a time, each for so many seconds.
//!
//! cargo-fuzz builds them with optimization and AddressSanitizer, which takes a nightly compiler and many minutes. A light build
//! has neither: the coverage that libFuzzer steers by, debug assertions and overflow checks are to be had of the stable compiler.

use crate::{cargo, nightly};
use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// How the targets are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// By cargo-fuzz.
    Sanitized,
    /// Without optimization and sanitizer, by any compiler.
    Light,
}

/// Runs `only` these targets, or all, for `seconds` each; true if none found anything.
///
/// # Errors
/// No tools, a target that does not exist, a build that fails.
pub fn run(root: &Path, seconds: u64, only: &[String], build: Build) -> Result<bool, Box<dyn Error>> {
    let all = targets(&fs::read_to_string(root.join("fuzz/Cargo.toml"))?);
    if let Some(unknown) = only.iter().find(|&name| !all.contains(name)) {
        return Err(format!("there is no fuzz target {unknown}; there are {}", all.join(", ")).into());
    }
    let chosen: Vec<String> = if only.is_empty() { all } else { only.to_vec() };
    let built = match build {
        Build::Sanitized => Built::sanitized(root)?,
        Build::Light => Built::light(root)?,
    };
    let queue = Mutex::new(chosen.into_iter().collect::<VecDeque<_>>());
    let good = std::thread::scope(|scope| {
        let worker = || {
            let mut good = true;
            while let Some(target) = next(&queue) {
                good &= report(&target, &built.fuzz(root, &target, seconds));
            }
            good
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().all(|worker| worker.join().unwrap_or(false))
    });
    Ok(good)
}

fn next(queue: &Mutex<VecDeque<String>>) -> Option<String> {
    queue.lock().ok()?.pop_front()
}

/// Targets that were built.
enum Built {
    Sanitized,
    /// The folder of the binaries.
    Light(PathBuf),
}

impl Built {
    fn sanitized(root: &Path) -> Result<Self, Box<dyn Error>> {
        nightly::prepare_fuzzing()?;
        built(nightly::cargo(root).args(["fuzz", "build"]))?;
        Ok(Self::Sanitized)
    }

    fn light(root: &Path) -> Result<Self, Box<dyn Error>> {
        let host = nightly::host_of(&mut Command::new("rustc"))?;
        let folder = cargo::target_dir(root).join("fuzz");
        let mut cargo = cargo::command();
        cargo.args(["build", "--locked", "--manifest-path"]).arg(root.join("fuzz/Cargo.toml"));
        // With a target said, build scripts are spared the flags.
        cargo.args(["--target", &host, "--target-dir"]).arg(&folder).env("RUSTFLAGS", COVERAGE.join(" "));
        built(&mut cargo)?;
        Ok(Self::Light(folder.join(host).join("debug")))
    }

    fn fuzz(&self, root: &Path, target: &str, seconds: u64) -> std::io::Result<Output> {
        let mut command = match self {
            Self::Sanitized => {
                let mut command = nightly::cargo(root);
                command.args(["fuzz", "run", target, "--"]);
                command
            }
            Self::Light(folder) => {
                // Where cargo-fuzz has them.
                let [corpus, artifacts] =
                    ["corpus", "artifacts"].map(|kind| root.join("fuzz").join(kind).join(target));
                fs::create_dir_all(&corpus)?;
                fs::create_dir_all(&artifacts)?;
                let mut command = Command::new(folder.join(target));
                command.arg(corpus).arg(format!("-artifact_prefix={}/", artifacts.display()));
                command
            }
        };
        command.args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048"]);
        command.arg(format!("-max_total_time={seconds}")).output()
    }
}

fn built(command: &mut Command) -> Result<(), Box<dyn Error>> {
    if command.status()?.success() { Ok(()) } else { Err("the fuzz targets cannot be built".into()) }
}

/// Prints one line, and all that was said where something was found.
fn report(target: &str, outcome: &std::io::Result<Output>) -> bool {
    match outcome {
        Err(error) => println!("{target}: not run: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
            if let (true, Some(runs)) = (output.status.success(), runs) {
                println!("{target}: {} runs, nothing found", runs.trim());
                return true;
            }
            println!("{said}\n{target}: FOUND SOMETHING; what it takes to repeat it is said above");
        }
    }
    false
}

/// The names of the binaries in a manifest.
fn targets(manifest: &str) -> Vec<String> {
    let mut sections = manifest.split("\n[[bin]]\n");
    sections.next();
    let name = |section: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix("name = \""))?;
        line.strip_suffix('"').map(str::to_owned)
    };
    sections.filter_map(name).collect()
}

/// What libFuzzer wants to be told while the target runs, and the doors to what it tries.
const COVERAGE: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// On a machine of two processors; more would only take from each other.
const AT_ONCE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_manifest_and_each_has_its_file() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("it is there");
        let found = targets(&manifest);
        assert!(found.len() >= 10 && found.contains(&"in_link".to_owned()), "{found:?}");
        for target in found {
            assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).exists(), "{target}");
        }
        assert_eq!(targets("[package]\nname = \"a\"\n"), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_target_is_named_with_those_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let error = run(&root, 1, &["nothing".to_owned()], Build::Light).expect_err("unknown").to_string();
        assert!(error.contains("nothing") && error.contains("handshake"), "{error}");
    }
}
