//! What an operator can see, and switch.

use crate::support::roles::send_numbered;
use crate::support::{Node, fresh_domain, pair, reliable};
use zerodds_core::{HostTag, Incarnation, Incoming, Locator, Peer, Reach, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmTransport};

/// Why this peer is not reached, as it is told to people.
fn why_not(transport: &ShmTransport, peer: Locator) -> String {
    match transport.reach(Peer::new(&[peer])) {
        Reach::Unreachable(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn f60_which_path_and_why_how_much_and_what_was_lost_can_be_asked_and_switched_off() {
    let (a, mut b) = pair();
    assert!(matches!(
        a.transport.reach(Peer::new(&[b.locator()])),
        Reach::Ready(zerodds_core::Path::SharedMemory)
    ));
    // What is counted is what was delivered, on both sides.
    let lengths = [8usize, 1_000, 5_000, 300_000];
    for (number, &len) in (0..).zip(&lengths) {
        assert!(send_numbered(&a, b.locator(), number, len, reliable()).unserved.is_empty());
    }
    assert!(a.transport.pool().unread > 300_000, "{:?}", a.transport.pool());
    let mut delivered = (0, 0);
    while let Some(came) = b.receiver.try_receive() {
        if let Incoming::Message(message) = came {
            delivered = (delivered.0 + 1, delivered.1 + message.len() as u64);
        }
    }
    let (sent, received) = (a.transport.counters(), b.transport.counters());
    assert_eq!((sent.sent_messages, sent.sent_bytes), delivered);
    assert_eq!((received.received_messages, received.received_bytes), delivered);
    assert_eq!((delivered.0, delivered.1), (4, lengths.iter().sum::<usize>() as u64));
    assert_eq!(a.transport.pool().unread, 0);

    // Every reason says what is the matter, in words.
    let elsewhere = Locator::shared_memory(HostTag::from_bytes([9; 8]), Incarnation::from_bytes([1; 8]), 0);
    assert!(why_not(&a.transport, elsewhere).contains("host"));
    let off = ShmTransport::open(fresh_domain(), &Config::default().enabled(false));
    let said = why_not(&off, Node::open(fresh_domain()).locator());
    assert!(said.contains("ZERODDS_SHM"), "the setting that switches it on again: {said}");
    assert!(off.availability().is_err() && off.locators().is_empty());
}
