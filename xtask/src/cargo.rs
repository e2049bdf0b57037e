//! The Cargo that runs us, and where it puts things.

use std::path::{Path, PathBuf};
use std::process::Command;

/// That Cargo: of the toolchain that built this program, where `cargo xtask` runs it.
#[must_use]
pub fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where this build puts things.
#[must_use]
pub fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
