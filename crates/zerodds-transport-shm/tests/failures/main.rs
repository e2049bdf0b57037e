//! Failures of other same-host transports, brought about here: the rows of docs/failures.md by their numbers.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(zerodds_no_shm)))]

mod builds;
mod cargo;
mod death;
mod endings;
mod fairness;
mod idle;
mod init;
mod integrity;
mod limits;
mod namespaces;
mod orderings;
mod party;
mod private;
mod raw;
mod seeing;
mod shims;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod trust;
mod waking;

/// Not a test: a child process, when it is one. Each module knows its own roles.
#[test]
fn child_process() {
    let Some(words) = support::child::role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let modules: &[fn(&[&str]) -> bool] = &[
        death::play,
        endings::play,
        fairness::play,
        idle::play,
        init::play,
        limits::play,
        namespaces::play,
        party::play,
        private::play,
        time::play,
        trust::play,
        waking::play,
    ];
    if !modules.iter().any(|play| play(&words)) {
        support::roles::play();
    }
}
