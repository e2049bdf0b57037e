//! Frames of the handshake, and names of others' sockets: from any process of this network namespace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerodds_core::HostTag;
use zerodds_transport_shm::fuzzing;

/// Half of the inputs are given the right magic, or hardly any would get past it.
const MAGIC: &[u8; 8] = b"ZERODDS\x01";

fuzz_target!(|bytes: &[u8]| {
    frame(bytes);
    if let Some(rest) = bytes.get(8..) {
        frame(&[MAGIC, rest].concat());
    }
    if let Ok(line) = std::str::from_utf8(bytes) {
        let host = HostTag::from_bytes([1; 8]);
        let socket = format!("0: 2 0 00010000 5 1 2 @zerodds-shm.7.0101010101010101.{line}");
        for line in [line, socket.as_str()] {
            if let Some(found) = fuzzing::neighbour(line, host, 7) {
                assert!(found.host_tag() == Some(host) && found.port() == 7, "of our host and domain");
            }
        }
    }
});

fn frame(bytes: &[u8]) {
    if let Some(written) = fuzzing::frame(bytes) {
        assert_eq!(written, bytes, "a frame says all that is in its bytes");
    }
}
