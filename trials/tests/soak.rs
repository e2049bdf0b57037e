//! The soak, for seconds: `cargo xtask soak` has it for hours, and with participants of DDS.
#![cfg(target_os = "linux")]

use std::path::Path;
use zerodds_trials::soak::{Options, run};

#[test]
fn transports_that_come_go_die_and_freeze_lose_nothing_reliable_and_count_what_else_is_lost() {
    let minutes =
        if std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full") { 10.0 } else { 0.2 };
    let options = Options { minutes, seed: 5, largedata: None, guests: 4, quiet: true };
    let soaked = run(Path::new(env!("CARGO_BIN_EXE_trials")), &options);
    assert_eq!(soaked, Ok(()));
}
