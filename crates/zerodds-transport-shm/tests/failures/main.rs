//! Failures of other same-host transports, brought about here: the rows of docs/failures.md by their numbers.
#![cfg(all(target_os = "linux", not(zerodds_no_shm)))]

mod builds;
mod cargo;
mod endings;
mod fairness;
mod idle;
mod init;
mod integrity;
mod orderings;
mod raw;
mod shims;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod waking;

/// Not a test: a child process, when it is one. Each module knows its own roles.
#[test]
fn child_process() {
    let Some(words) = support::child::role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let played = init::play(&words)
        || time::play(&words)
        || waking::play(&words)
        || idle::play(&words)
        || fairness::play(&words)
        || endings::play(&words);
    if !played {
        support::roles::play();
    }
}
