//! Orderings that only some processors forgive.

use crate::cargo;
use crate::support::scaled;
use std::path::Path;

/// The production code of lane, slots, doorbell and ending under every interleaving and every value that C11's memory model
/// allows. That each ordering is needed is shown the other way round, by `cargo xtask mutants-by-hand`.
#[test]
fn f57_lanes_slots_and_doorbells_hold_under_the_memory_model_of_any_processor() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../loom");
    let target = target.to_str().expect("a path in UTF-8");
    let variables = [
        ("RUSTFLAGS", "--cfg zerodds_model"),
        ("CARGO_TARGET_DIR", target),
        ("LOOM_MAX_PREEMPTIONS", scaled("3", "4")),
    ];
    cargo::test(&["--release", "--lib", "model", "--"], &variables, 6);
}
