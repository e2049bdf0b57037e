//! Many processes, many transports.

use std::path::Path;
use zerodds_trials::scale::measure;

#[test]
fn f54_two_thousand_transports_of_two_hundred_processes_cost_one_what_was_promised() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: f54 needs root, to look at the memory of shared objects");
        return;
    }
    let _turn = crate::turn();
    let in_full = std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (processes, transports) = if in_full { (200, 10) } else { (20, 10) };
    let cost = measure(Path::new(env!("CARGO_BIN_EXE_trials")), processes, transports);
    let cost = cost.unwrap_or_else(|fault| panic!("{fault}"));
    println!("{cost:?}");
    // A socket, the peer's eventfd, its pidfd; the link, the peer's doorbell and its ring.
    assert!(cost.descriptors <= 3 * cost.links && cost.maps <= 3 * cost.links, "{cost:?}");
    assert!(cost.discovery_len_max <= 16 << 10, "{cost:?}");
    assert!(cost.data_len_max <= 64 << 10, "{cost:?}");
}
