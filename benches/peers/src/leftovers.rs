//! What peers leave behind, and how it goes.
//!
//! Peers that are killed leave files, and some that are not. Each run has a folder for those that can be told where to put
//! them, and a prefix for names in /dev/shm; whoever leaves the folder last removes both. Nothing else is ever
//! removed, since others may use the same peers on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What every name of a run begins with, its number after it in eight hexadecimal digits.
pub(crate) const PREFIX: &str = "zpeers_";

/// The folder of one run.
pub(crate) struct Folder {
    path: PathBuf,
    prefix: String,
}

impl Folder {
    /// Makes it if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn of(run: u32) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{run:08x}");
        let path = std::env::temp_dir().join(&prefix);
        fs::create_dir_all(&path)?;
        Ok(Self { path, prefix })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    /// The last one to leave finds empty folders only: who is still there has files.
    fn drop(&mut self) {
        remove_empty(&self.path);
        if !self.path.exists() {
            remove_from_shared_memory(|name| name.starts_with(&self.prefix));
        }
    }
}

/// Removes what of /dev/shm this process has mapped under such a name: its own and its peers'.
pub(crate) fn remove_mapped(is_one: impl Fn(&str) -> bool) {
    let mapped = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_mapped = |name: &str| mapped.lines().any(|line| line.ends_with(&format!("/dev/shm/{name}")));
    remove_from_shared_memory(|name| is_one(name) && is_mapped(name));
}

fn remove_from_shared_memory(is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_ours) {
            // A peer may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove_empty(path: &Path) {
    let inner = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&entry.path());
    }
    // One that is not empty stays.
    let _ = fs::remove_dir(path);
}
