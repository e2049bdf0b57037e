//! Locators: 24 octets of anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerodds_core::{Endianness, HostTag, Incarnation, Locator, LocatorKind};

fuzz_target!(|wire: [u8; Locator::WIRE_LEN]| {
    for order in [Endianness::Little, Endianness::Big] {
        let locator = Locator::from_bytes(&wire, order);
        assert_eq!(locator.to_bytes(order), wire, "every value is a locator");
        let text = locator.to_string();
        assert!(!text.is_empty() && text.len() < 200);
        let _ = locator.is_multicast();
        if let Some(address) = locator.socket_addr() {
            let back = Locator::from(address);
            assert_eq!((back.kind(), back.port()), (locator.kind(), locator.port()));
        }
        match (locator.kind(), locator.host_tag(), locator.incarnation()) {
            (LocatorKind::SharedMemory, Some(host), Some(incarnation)) => {
                let (host, incarnation) =
                    (HostTag::from_bytes(host.to_bytes()), Incarnation::from_bytes(incarnation.to_bytes()));
                assert_eq!(Locator::shared_memory(host, incarnation, locator.port()), locator);
            }
            (LocatorKind::SharedMemory, ..) => panic!("a shared-memory locator has both"),
            (_, host, incarnation) => assert!(host.is_none() && incarnation.is_none()),
        }
    }
});
