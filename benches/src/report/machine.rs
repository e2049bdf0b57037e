//! On what, when and of which versions figures are.

use crate::limits::memory::Bandwidth;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::process::Command;

/// What a reader of figures has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) rust: String,
    /// What was measured of which revision, and when: a line for each time that the suite ran.
    pub(crate) suites: Vec<String>,
    pub(crate) bandwidths: Vec<Bandwidth>,
    pub(crate) systems: Vec<Described>,
}

/// A system and how it is set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) set_up: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here(
        extent: String,
        systems: Vec<Described>,
        bandwidths: Vec<Bandwidth>,
    ) -> io::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processor = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        // Neither is worth failing for.
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.map_or("unknown".to_owned(), |output| {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            })
        };
        let revision = said("git", &["rev-parse", "--short", "HEAD"]);
        // The results themselves are about to be written.
        let changes =
            said("git", &["status", "--short", "--untracked-files=no", "--", ":/", ":!/docs/benchmarks"]);
        let changed = if changes.is_empty() { "" } else { " with changes" };
        let suite = format!("{extent}; revision {revision}{changed}; {}", said("date", &["+%Y-%m-%d"]));
        Ok(Self {
            processor: processor.to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            kernel: kernel.trim().to_owned(),
            rust: said("rustc", &["--version"]),
            suites: vec![suite],
            bandwidths,
            systems,
        })
    }

    /// Adds what another program measured before.
    pub(crate) fn merge(&mut self, mut before: Self) {
        before.suites.append(&mut self.suites);
        self.suites = before.suites;
        for system in before.systems {
            if !self.systems.iter().any(|known| known.name == system.name) {
                self.systems.push(system);
            }
        }
    }
}
