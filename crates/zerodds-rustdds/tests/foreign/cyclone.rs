//! Cyclone DDS, as its Python package has it.
//!
//! It is looked for in a virtual environment beside the build's output, `<target directory>/cyclonedds`, and then
//! wherever `python3` looks. Nothing is installed from here: tests need no network.

use super::child::{Process, skip};
use std::path::PathBuf;
use std::process::Command;

/// Starts a reader, if there is Cyclone DDS.
pub(crate) fn start_reader(domain: u16, topic: &str) -> Option<Process> {
    let Some(python) = python() else {
        skip(
            "Cyclone DDS is not installed: python3 -m venv target/cyclonedds && \
             target/cyclonedds/bin/pip install cyclonedds==11.0.1",
        );
        return None;
    };
    let mut reader = Process::spawn(Command::new(python).args([
        "-c",
        include_str!("cyclone_reader.py"),
        &domain.to_string(),
        topic,
    ]));
    reader.expect("ready");
    Some(reader)
}

fn python() -> Option<PathBuf> {
    let exe = std::env::current_exe().expect("the test binary");
    // <target directory>/<profile>/deps/<binary>
    let beside = exe.ancestors().nth(3).map(|target| target.join("cyclonedds/bin/python"));
    beside.into_iter().chain([PathBuf::from("python3")]).find(|python| {
        let found = Command::new(python).args(["-c", "import cyclonedds"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}
