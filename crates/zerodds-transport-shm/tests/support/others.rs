//! Processes of other users, which need a copy of the test binary that they can run.

use super::child::Process;
use super::fresh_domain;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A copy of the test binary that other users can run, removed with the guard.
pub(crate) struct ForOthers(PathBuf);

impl ForOthers {
    pub(crate) fn new() -> Self {
        let dir =
            std::env::temp_dir().join(format!("zerodds-test-{}-{}", std::process::id(), fresh_domain()));
        std::fs::create_dir(&dir).expect("a directory");
        let exe = std::env::current_exe().expect("the test binary");
        std::fs::copy(exe, dir.join("test")).expect("a copy");
        for path in [dir.clone(), dir.join("test")] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("ours");
        }
        Self(dir)
    }

    /// Starts this test binary with a role as the user `uid`.
    pub(crate) fn start(&self, role: &str, uid: u32) -> Process {
        let program = self.0.join("test");
        let dir = self.0.clone();
        // The wrapper is the copy itself; the original's path becomes a filter that `--exact` outdoes.
        Process::start_with(role, &[], move |command| {
            let mut copy = Command::new(program);
            copy.args(command.get_args());
            for (name, value) in command.get_envs() {
                copy.env(name, value.unwrap_or_default());
            }
            copy.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(dir);
            copy.uid(uid).gid(uid);
            *command = copy;
        })
    }
}

impl Drop for ForOthers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
