//! Repository chores: what a reviewer would otherwise look for by eye.
//!
//! ```text
//!   cargo xtask check            style and papers, the findings as file:line
//!   cargo xtask unsafe-report    every unsafe block with the argument for it
//!   cargo xtask readme-command   one of the README's commands, for CI to run it literally
//!   cargo xtask failures         the catalogue of docs/failures.md, row by row
//!   cargo xtask mutants-by-hand  guards and orderings taken out one by one, each for a test to notice
//!   cargo xtask bench            figures beside the machine's limits, into docs/benchmarks/
//!   cargo xtask instructions     the hot paths, counted
//!   cargo xtask fuzz             the fuzz targets, each for so many seconds
//!   cargo xtask emulate          tests on an aarch64 processor that QEMU plays
//!   cargo xtask sanitize         the transport's tests under ThreadSanitizer and AddressSanitizer
//!   cargo xtask crash            lives ended at every store and step
//!   cargo xtask soak             processes that come, go, die and freeze, for so many minutes
//! ```
//! They are Rust and not shell, so that they run wherever the workspace builds and have tests of their own. The
//! compiler, rustfmt and clippy already see to most of the house style; here is only what they do not know.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cargo;
mod diffs;
pub mod emulate;
mod examples;
pub mod failures;
pub mod fuzz;
pub mod instructions;
pub mod mutants;
pub mod nightly;
pub mod papers;
pub mod readme;
mod said;
pub mod sanitize;
pub mod source;
pub mod style;
pub mod suite;
pub mod unsafe_report;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The README's Rust programs, compiled as doc tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the repository.
    pub path: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Reads every file with this extension below `root`, sorted by path; what is built, generated or hidden is
/// passed over.
///
/// # Errors
/// What the file system says.
pub fn files(root: &Path, extension: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root).unwrap_or(&path).to_path_buf(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}
