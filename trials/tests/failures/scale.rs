//! Many processes, many transports.

use std::path::Path;
use zerodds_trials::scale::measure;
use zerodds_trials::stacks::{self, Stack};

/// 2,000 links with the transports of one process, or a tenth of that, at what each may cost.
fn links_cost_what_was_promised(hubs: u64) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: f54 needs root, to look at the memory of shared objects");
        return;
    }
    let _turn = crate::turn();
    let in_full = std::env::var("ZERODDS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let (processes, transports) = if in_full { (200, 10) } else { (20, 10) };
    let cost = measure(Path::new(env!("CARGO_BIN_EXE_trials")), processes, transports, hubs);
    let cost = cost.unwrap_or_else(|fault| panic!("{fault}"));
    println!("{cost:?}");
    // A socket and a pidfd; the link, the peer's doorbell and its ring.
    assert!(cost.descriptors <= 2 * cost.links && cost.maps <= 3 * cost.links, "{cost:?}");
    assert!(cost.discovery_len_max <= 16 << 10, "{cost:?}");
    assert!(cost.data_len_max <= 64 << 10, "{cost:?}");
}

#[test]
fn f54_two_thousand_transports_of_two_hundred_processes_cost_one_what_was_promised() {
    links_cost_what_was_promised(10);
}

#[test]
fn f54_two_thousand_links_of_one_transport_cost_it_what_was_promised() {
    links_cost_what_was_promised(1);
}

/// Every sample of a round by shared memory, and what each process has for its links.
fn all_are_matched_and_shared(stack: Stack, participants: u64, endpoints: u64) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: f54 needs root, to look at the memory of shared objects");
        return;
    }
    let _turn = crate::turn();
    let cost = stacks::measure(Path::new(env!("CARGO_BIN_EXE_trials")), stack, participants, endpoints);
    let cost = cost.unwrap_or_else(|fault| panic!("{fault}"));
    println!("{stack}: {cost:?}");
    assert_eq!((cost.links, cost.shared), (participants - 1, participants * endpoints / 2));
    // A socket and a pidfd for each, and the rendezvous; link, doorbell and ring of each, and its own ring and doorbell.
    assert!(cost.sockets_max <= cost.links + 1 && cost.pidfds_max <= cost.links, "{cost:?}");
    assert!(cost.maps_max <= 3 * cost.links + 2, "{cost:?}");
    // Discovery may fill the lanes; a link object is never longer.
    assert!(cost.link_len_max <= 0xf000, "{cost:?}");
}

#[test]
fn f54_twenty_participants_of_rustdds_with_a_hundred_endpoints_each_share_memory_each_with_each() {
    all_are_matched_and_shared(Stack::Rustdds, 20, 100);
}

#[test]
fn f54_four_participants_of_dust_dds_with_forty_endpoints_each_share_memory_each_with_each() {
    all_are_matched_and_shared(Stack::Dust, 4, 40);
}
