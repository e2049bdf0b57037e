//! Processes that die or stop at a step of our choosing.

use std::path::Path;
use zerodds_trials::crash::{Means, Options, Report, Role, run};

/// Ends lives in these roles; panics with what went wrong. In full every point has its turn ten times and more.
fn crash(roles: &[Role], small: u64, full: u64, action: Option<Means>) -> Report {
    let _turn = crate::turn();
    let in_full = std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (rounds, operations) = if in_full { (full, 1_000) } else { (small, 200) };
    let options =
        Options { rounds, seed: 1, action, role: roles.to_vec(), at: None, operations, places: false };
    let report = run(Path::new(env!("CARGO_BIN_EXE_trials")), &options);
    let report = report.unwrap_or_else(|fault| panic!("{fault}"));
    println!("{report}");
    report
}

#[track_caller]
fn assert_reached(report: &Report, places: &[&str]) {
    for place in places {
        assert!(report.places().any(|found| found.contains(place)), "nobody came to an end at {place:?}");
    }
}

#[test]
fn f03_a_process_that_dies_while_it_builds_leaves_nothing_half_built() {
    let report = crash(&[Role::Connector, Role::Acceptor], 260, 2_000, Some(Means::Kill));
    assert!(report.killed() > 200, "{report}");
    // Every step of building an object and of showing it to somebody.
    assert_reached(
        &report,
        &[
            "object made",
            "segment.rs",
            "seal",
            "bound",
            "listening",
            "send HELLO",
            "send WELCOME",
            "send ATTACH",
        ],
    );
}

#[test]
fn f07_a_crash_or_a_stop_at_any_store_hangs_nobody() {
    let report = crash(&[Role::Sender, Role::Receiver, Role::Presser, Role::Leaver], 200, 8_000, None);
    assert!(report.killed() > 80 && report.stopped() > 40, "{report}");
    // All four kinds of shared memory: slots, lane, doorbell, payload.
    assert_reached(&report, &["slots.rs", "lane.rs", "doorbell.rs", "write to a loan", "copy in"]);
}

#[test]
fn f12_who_dies_while_it_clears_up_after_the_dead_leaves_that_to_the_others() {
    let report = crash(&[Role::Heir], 160, 1_000, None);
    assert!(report.killed() > 40, "{report}");
    assert_reached(&report, &["peer gone", "take everything back", "unmap", "tell of the end"]);
}
