//! Many datagrams at once: segmented, in one system call, or one by one, they arrive as they were.

use crate::participant::{Participant, Token, loopback, random_domain};
use proptest::prelude::*;
use zerodds_core::{Peer, Transport as _};

/// Sends all of it while the receiver empties its buffer only afterwards, so no more than fits there.
fn arrives_intact(sizes: &[usize]) {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let messages: Vec<_> = (0..).zip(sizes).map(|(index, &size)| token.message(index, size)).collect();
    let slices: Vec<_> = messages.iter().map(Vec::as_slice).collect();
    let sent = a.transport.send_batch(&slices, Peer::new(&b.transport.locators())).unwrap();
    assert_eq!(sent, slices.len());
    for message in &messages {
        assert!(b.next(token)[..] == message[..], "a datagram of {} bytes", message.len());
    }
    assert_eq!(a.transport.counters().sent_messages, messages.len() as u64);
}

/// How many of these a receive buffer surely holds: the kernel charges more than the bytes.
fn that_fit(size: usize, wanted: usize) -> usize {
    let granted = Participant::with(random_domain(), &loopback()).transport.buffers().receive;
    wanted.min(granted / (size + 4096))
}

#[test]
fn the_fragments_of_a_4_mib_sample_arrive_intact() {
    let fragments = that_fit(60_000, 70);
    arrives_intact(&[vec![60_000; fragments], vec![4304]].concat());
}

#[test]
fn packet_sized_datagrams_arrive_intact() {
    arrives_intact(&[vec![1400; that_fit(1400, 500)], vec![900]].concat());
}

#[test]
fn small_and_large_ones_between_each_other_arrive_in_order() {
    arrives_intact(&[
        1400, 1400, 1400, 900, 60_000, 20, 20, 20, 65_507, 1400, 1401, 1400, 1400, 32_000, 32_000,
    ]);
}

#[test]
fn an_empty_batch_sends_nothing() {
    let a = Participant::on_loopback(random_domain());
    assert_eq!(a.transport.send_batch(&[], Peer::new(&a.transport.locators())).unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_mix_of_sizes_arrives_intact(
        runs in prop::collection::vec((prop_oneof![20usize..200, 1300usize..1500, 20usize..9000], 1usize..6), 1..6),
    ) {
        let sizes: Vec<_> = runs.iter().flat_map(|&(size, count)| vec![size; count]).collect();
        arrives_intact(&sizes);
    }
}
