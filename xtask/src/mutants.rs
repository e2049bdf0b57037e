//! Mutants made by hand: guards and memory orderings taken out one by one, each of which a test must notice.
//!
//! ```text
//!   repository ── copy ──▶ target/mutants/copy ── one text replaced ──▶ built, its test run ──▶ CAUGHT | MISSED
//! ```
//! A tool that mutates everything would take days here, since most tests start processes, and would not know which
//! change matters. The list is short, names for each guard the test that must fail without it, and is kept honest by two
//! rules: a text that is not found exactly once is an error, and so is a test that fails without the mutation.

mod list;

use crate::cargo;
use crate::suite::{Suite, TestName, Verdict};
pub use list::{GUARDS, ORDERINGS};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// One change that must not go unnoticed.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is taken out.
    pub guard: &'static str,
    /// The file below [`SOURCES`].
    pub file: &'static str,
    /// The text, which must stand there exactly once.
    pub from: &'static str,
    /// What takes its place.
    pub to: &'static str,
    /// The test that must fail then, or must not end.
    pub test: &'static str,
}

/// The folder whose files are mutated.
pub const SOURCES: &str = "crates/zerodds-transport-shm/src";
/// Far longer than any of the tests takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a set of mutants is built.
struct Build {
    mutants: &'static [Mutant],
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    target: &'static str,
}

const BUILDS: [Build; 2] = [
    Build { mutants: GUARDS, arguments: &[], variables: &[], target: "mutants/guards" },
    Build {
        mutants: ORDERINGS,
        arguments: &["--release"],
        variables: &[("RUSTFLAGS", "--cfg zerodds_model"), ("LOOM_MAX_PREEMPTIONS", "3")],
        target: "mutants/orderings",
    },
];

/// Runs the mutants in whose name or file `only` stands, prints a line for each and says whether all were caught.
///
/// # Errors
/// A mutant that cannot be made, a test that fails without one, or what the system says.
pub fn run(root: &Path, only: &str) -> Result<bool, Box<dyn Error>> {
    let target = cargo::target_dir(root);
    let copy = target.join("mutants/copy");
    let (mut caught, mut all) = (0, 0);
    for build in &BUILDS {
        let chosen: Vec<&Mutant> = build
            .mutants
            .iter()
            .filter(|mutant| mutant.guard.contains(only) || mutant.file.contains(only))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        copy_repository(root, &copy)?;
        passes_without(build, &copy, &target, &chosen)?;
        for mutant in chosen {
            let begun = Instant::now();
            let noticed = try_one(build, &copy, &target, mutant)?;
            let word = if noticed { "CAUGHT" } else { "MISSED" };
            let spent = begun.elapsed().as_secs();
            println!("{word}  {}: {}  by {}  ({spent} s)", mutant.file, mutant.guard, mutant.test);
            (caught, all) = (caught + usize::from(noticed), all + 1);
        }
    }
    println!("{caught} of {all} mutants caught");
    Ok(caught == all && all > 0)
}

/// Whether the test of this mutant fails with it, in the copy, which is put right again.
fn try_one(build: &Build, copy: &Path, target: &Path, mutant: &Mutant) -> Result<bool, Box<dyn Error>> {
    let file = copy.join(SOURCES).join(mutant.file);
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, mutated(&text, mutant)?)?;
    let test = name(mutant)?;
    let verdict = built(build, copy, target, std::slice::from_ref(&test))
        .and_then(|suite| suite.run(&test, build.variables, PATIENCE));
    std::fs::write(&file, text)?;
    Ok(matches!(verdict?, Verdict::Failed(_)))
}

/// Builds the copy as it is and lets every test pass that is to fail later.
fn passes_without(
    build: &Build,
    copy: &Path,
    target: &Path,
    chosen: &[&Mutant],
) -> Result<(), Box<dyn Error>> {
    let mut tests = chosen.iter().map(|mutant| name(mutant)).collect::<Result<Vec<_>, _>>()?;
    tests.sort();
    tests.dedup();
    let suite = built(build, copy, target, &tests)?;
    for test in &tests {
        match suite.run(test, build.variables, PATIENCE)? {
            Verdict::Passed => {}
            other => return Err(format!("{test} does not pass without a mutant: {other:?}").into()),
        }
    }
    Ok(())
}

fn built(build: &Build, copy: &Path, target: &Path, tests: &[TestName]) -> Result<Suite, Box<dyn Error>> {
    let folder = target.join(build.target);
    let folder = folder.to_str().ok_or("the target folder's path is not UTF-8")?;
    let variables: Vec<(&str, &str)> = build
        .variables
        .iter()
        .copied()
        .chain([("CARGO_TARGET_DIR", folder), ("CARGO_INCREMENTAL", "0")])
        .collect();
    let packages: BTreeSet<&str> = tests.iter().map(|test| test.package.as_str()).collect();
    let packages = packages.into_iter().flat_map(|package| ["-p", package]);
    let arguments: Vec<&str> = build.arguments.iter().copied().chain(packages).collect();
    Suite::build_as(copy, tests, &arguments, &variables)
}

fn name(mutant: &Mutant) -> Result<TestName, String> {
    TestName::parse(mutant.test).ok_or_else(|| format!("{:?} is no test", mutant.test))
}

/// The text with the one replacement.
///
/// # Errors
/// The text to replace stands there never, or more than once.
fn mutated(text: &str, mutant: &Mutant) -> Result<String, String> {
    match text.matches(mutant.from).count() {
        1 => Ok(text.replacen(mutant.from, mutant.to, 1)),
        found => Err(format!(
            "{}: the text of {:?} stands there {found} times instead of once; xtask/src/mutants/list.rs has to follow: {}",
            mutant.file, mutant.guard, mutant.from
        )),
    }
}

/// Brings the copy up to date: only what differs is written, so that only that is built again.
fn copy_repository(root: &Path, copy: &Path) -> Result<(), Box<dyn Error>> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    if !listed.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)).into());
    }
    for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (from, to) = (root.join(path), copy.join(path));
        if !from.is_file() {
            continue;
        }
        let bytes = std::fs::read(&from)?;
        if !std::fs::read(&to).is_ok_and(|old| old == bytes) {
            std::fs::create_dir_all(to.parent().ok_or("a path without a folder")?)?;
            std::fs::write(&to, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_a_mutant_replaces_stands_in_its_file_exactly_once() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SOURCES);
        for mutant in GUARDS.iter().chain(ORDERINGS) {
            let text = std::fs::read_to_string(sources.join(mutant.file)).expect(mutant.file);
            let changed = mutated(&text, mutant).expect("once");
            assert_ne!(changed, text, "{}", mutant.guard);
            assert!(name(mutant).is_ok(), "{}", mutant.guard);
        }
    }

    #[test]
    fn every_guard_stands_in_the_catalogue_with_its_test() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failures.md");
        let page = std::fs::read_to_string(page).expect("the page");
        for mutant in GUARDS {
            let row = page.lines().find(|line| line.starts_with(&format!("| {} |", mutant.guard)));
            assert!(row.is_some_and(|row| row.contains(&format!("`{}`", mutant.test))), "{}", mutant.guard);
        }
        assert!(GUARDS.len() >= 10);
    }

    #[test]
    fn a_text_that_is_not_there_once_is_an_error() {
        let mutant = Mutant { guard: "g", file: "f", from: "a", to: "b", test: "p::lib::t" };
        assert_eq!(mutated("xax", &mutant).expect("once"), "xbx");
        assert!(mutated("x", &mutant).is_err() && mutated("aa", &mutant).is_err());
    }
}
