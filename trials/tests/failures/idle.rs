//! No processor time for doing nothing, under the stacks.

use std::path::Path;
use std::time::Duration;
use zerodds_trials::stacks::Stack;
use zerodds_trials::stacks::idle::{Fault, after};

/// After each fault every survivor uses less than a hundredth of a processor, and hears the others.
fn survivors_are_idle(stack: Stack) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: f40 needs root, to write into the memory of another process");
        return;
    }
    let _turn = crate::turn();
    let in_full = std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (window, faults) = if in_full {
        (Duration::from_secs(60), &Fault::ALL[..])
    } else {
        (Duration::from_secs(3), &[Fault::KilledUnderTraffic, Fault::Corrupt][..])
    };
    let program = Path::new(env!("CARGO_BIN_EXE_trials"));
    for &fault in faults {
        let spent = after(program, stack, fault, window);
        let spent = spent.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        println!("{stack}, {fault:?}: {spent:?} of {window:?}");
        assert!(spent.iter().all(|&spent| spent < window / 100), "{fault:?}: {spent:?} of {window:?}");
    }
}

#[test]
fn f40_participants_of_rustdds_are_idle_again_after_any_fault_of_one_of_them() {
    survivors_are_idle(Stack::Rustdds);
}

#[test]
fn f40_participants_of_dust_dds_are_idle_again_after_any_fault_of_one_of_them() {
    survivors_are_idle(Stack::Dust);
}
