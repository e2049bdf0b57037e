//! Peers that other builds would be: of another version, of another layout, of another byte order.

use crate::raw;
use crate::support::roles::send_numbered;
use crate::support::{Node, deadline, fresh_domain, is_intact, pair, reliable};
use std::time::Instant;
use zerodds_core::{Peer, Reach, Reason, Transport};

/// What a correct peer says first; taken from one.
fn hello(domain: u32) -> (Node, raw::Frame) {
    let node = Node::open(domain);
    let listener = raw::listen(domain);
    let _ = node.transport.reach(Peer::new(&[raw::stranger(&node.locator(), raw::LISTENER)]));
    let frame = raw::receive(&raw::accept(&listener));
    (node, frame)
}

/// The other side's answer to this frame: what kind of frame, or `None` if it hung up.
fn answer(to: &str, frame: &raw::Frame) -> Option<raw::Frame> {
    let socket = raw::connect(to).expect("it listens");
    raw::send(&socket, frame);
    raw::try_receive(&socket)
}

fn goes_on(a: &mut Node, b: &mut Node, number: u64) {
    assert!(send_numbered(a, b.locator(), number, 50_000, reliable()).unserved.is_empty());
    assert!(is_intact(&b.next_message()[8..], number), "message {number}");
}

#[test]
fn f55_a_peer_of_another_version_or_layout_is_refused_by_name() {
    let (mut a, mut b) = pair();
    let (_, mut hello) = hello(fresh_domain());
    let own = raw::name(&a.locator());
    let ours = raw::u32_at(&hello, raw::VERSION);
    hello[raw::LOCATOR..][..24]
        .copy_from_slice(&raw::stranger(&a.locator(), 0xbb).to_bytes(zerodds_core::Endianness::Little));
    assert_eq!(answer(&own, &hello).map(|frame| raw::u32_at(&frame, raw::KIND)), Some(raw::WELCOME));

    // Every bit of what says which protocol this is.
    let mut number = 0;
    for at in (0..8).chain(raw::VERSION..raw::KIND + 4) {
        for bit in 0..8 {
            let mut other = hello;
            other[at] ^= 1 << bit;
            let answer = answer(&own, &other);
            let kind = answer.as_ref().map(|frame| raw::u32_at(frame, raw::KIND));
            assert_ne!(kind, Some(raw::WELCOME), "bit {bit} of octet {at}");
            if (raw::VERSION..raw::KIND).contains(&at) {
                let frame = answer.expect("an answer that says so");
                let reason = (kind, raw::u32_at(&frame, raw::REASON), raw::u32_at(&frame, raw::VERSION));
                assert_eq!(reason, (Some(raw::REFUSE), raw::REFUSED_VERSION, ours));
            }
            goes_on(&mut a, &mut b, number);
            number += 1;
        }
    }

    // And the other way round: who is asked has another version, and says so.
    let listener = raw::listen(a.locator().port());
    let other = raw::stranger(&a.locator(), raw::LISTENER);
    let until = deadline();
    assert!(matches!(a.transport.reach(Peer::new(&[other])), Reach::Pending(_)));
    let connection = raw::accept(&listener);
    let mut refusal = raw::as_kind(raw::receive(&connection), raw::REFUSE, raw::REFUSED_VERSION);
    refusal[raw::VERSION..][..4].copy_from_slice(&77u32.to_le_bytes());
    raw::send(&connection, &refusal);
    let reason = loop {
        match a.transport.reach(Peer::new(&[other])) {
            Reach::Unreachable(reason) => break reason,
            _ => assert!(Instant::now() < until),
        }
        std::thread::yield_now();
    };
    assert_eq!(reason, Reason::Version { ours, theirs: 77 });
    goes_on(&mut a, &mut b, number);
    assert_eq!(a.transport.counters().links, 1);
}

#[test]
fn f56_everything_on_the_wire_has_a_fixed_width_and_another_byte_order_is_refused() {
    // A frame is 64 octets at fixed places, whatever a machine's words are (docs/protocol.md); so is what is mapped:
    // 32 and 64 bits have the same bytes.
    let (node, frame) = hello(fresh_domain());
    assert_eq!(frame[..8], *b"ZERODDS\x01");
    assert_eq!(raw::u32_at(&frame, raw::KIND), raw::HELLO);
    let locator = node.locator().to_bytes(zerodds_core::Endianness::Little);
    assert_eq!(frame[raw::LOCATOR..][..24], locator);
    let (a, _b) = pair();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    let lengths = |name: &str| {
        let of_name = maps.lines().filter(|line| line.contains(name)).collect::<Vec<_>>();
        assert!(!of_name.is_empty(), "{name} is mapped");
        of_name
            .into_iter()
            .map(|line| {
                let (start, end) =
                    line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
                let at = |text| u64::from_str_radix(text, 16).expect("an address");
                at(end) - at(start)
            })
            .collect::<Vec<_>>()
    };
    assert!(lengths("zerodds-link").iter().all(|&len| len == 0xf000), "{:x?}", lengths("zerodds-link"));
    assert!(lengths("zerodds-doorbell").iter().all(|&len| len == 0x1000));

    // The same numbers in the order of a big-endian machine.
    let (_, hello) = hello(fresh_domain());
    let mut swapped = hello;
    for field in [0..8, 8..12, 12..16, 16..20, 20..24, 48..56, 56..64] {
        swapped[field].reverse();
    }
    assert_ne!(
        answer(&raw::name(&a.locator()), &swapped).map(|frame| raw::u32_at(&frame, raw::KIND)),
        Some(raw::WELCOME)
    );
    // On such a machine the transport itself says that it is not available; UDP, whose submessages carry their byte
    // order, serves everybody.
}
