//! Processes that die or stop at a step of our choosing.

use std::path::Path;
use zerodds_trials::crash::{Means, Options, Report, Role, run};

/// Ends lives in these roles until somebody has come to an end at each of these places; panics with what went wrong. In full
/// every point has its turn ten times and more; a small number draws some of them, and again if a place was not among them.
fn crash(roles: &[Role], small: u64, full: u64, action: Option<Means>, places: &[&str]) -> Report {
    let _turn = crate::turn();
    let in_full = std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (rounds, operations, draws) = if in_full { (full, 1_000, 1) } else { (small, 200, 5) };
    let mut missing = places.to_vec();
    for seed in 1..=draws {
        let options =
            Options { rounds, seed, action, role: roles.to_vec(), at: None, operations, places: false };
        let report = run(Path::new(env!("CARGO_BIN_EXE_trials")), &options);
        let report = report.unwrap_or_else(|fault| panic!("{fault}"));
        println!("{report}");
        missing.retain(|place| !report.places().any(|found| found.contains(place)));
        if missing.is_empty() {
            return report;
        }
    }
    panic!("nobody came to an end at {missing:?}");
}

#[test]
fn f03_a_process_that_dies_while_it_builds_leaves_nothing_half_built() {
    // Every step of building an object and of showing it to somebody.
    let places = [
        "object made",
        "segment.rs",
        "seal",
        "bound",
        "listening",
        "send HELLO",
        "send WELCOME",
        "send ATTACH",
    ];
    let report = crash(&[Role::Connector, Role::Acceptor], 260, 2_000, Some(Means::Kill), &places);
    assert!(report.killed() > 200, "{report}");
}

#[test]
fn f07_a_crash_or_a_stop_at_any_store_hangs_nobody() {
    // All four kinds of shared memory: slots, lane, doorbell, payload.
    let places = ["slots.rs", "lane.rs", "doorbell.rs", "write to a loan", "copy in"];
    let roles = [Role::Sender, Role::Receiver, Role::Presser, Role::Leaver];
    let report = crash(&roles, 200, 8_000, None, &places);
    assert!(report.killed() > 80 && report.stopped() > 40, "{report}");
}

#[test]
fn f12_who_dies_while_it_clears_up_after_the_dead_leaves_that_to_the_others() {
    let places = ["peer gone", "take everything back", "unmap", "tell of the end"];
    let report = crash(&[Role::Heir], 160, 1_000, None, &places);
    assert!(report.killed() > 40, "{report}");
}
