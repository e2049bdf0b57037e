//! Values of the environment: whatever somebody has set, there is a usable configuration or an error that names it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use zerodds_core::Transport;
use zerodds_transport_shm::{Config, ShmTransport};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (which, value) = input;
    let value = OsString::from_vec(value);
    let only = |names: &'static [&'static str]| {
        let chosen = names[usize::from(which) % names.len()];
        let value = value.clone();
        move |name: &'static str| (name == chosen).then(|| value.clone())
    };
    let shm = only(&["ZERODDS_SHM", "ZERODDS_SHM_MAX_DATAGRAM", "ZERODDS_SHM_ACCESS", "ZERODDS_SHM_WAIT"]);
    let udp = only(&[
        "ZERODDS_UDP_INTERFACES",
        "ZERODDS_UDP_MAX_DATAGRAM",
        "ZERODDS_UDP_BUFFER",
        "ZERODDS_UDP_IPV6",
    ]);
    let session = only(&["ZERODDS_SHM_THRESHOLD", "ZERODDS_SHM_WHEN_FULL"]);
    match zerodds_transport_shm::fuzzing::config(shm) {
        // Now and then it is used: a built configuration always can be.
        Ok(config) if which > 250 && config != Config::default() => {
            let transport = ShmTransport::open(u32::from(which), &config);
            assert!(transport.availability().is_err() || transport.max_message_len() > 4096);
        }
        Ok(_) => {}
        Err(error) => names_itself(&error.to_string()),
    }
    if let Err(error) = zerodds_transport_udp::fuzzing::config(udp) {
        names_itself(&error.to_string());
    }
    if let Err(error) = zerodds_rustdds::fuzzing::options(session) {
        names_itself(&error.to_string());
    }
});

fn names_itself(error: &str) {
    assert!(error.starts_with("ZERODDS_") && error.contains("use "), "{error}");
}
