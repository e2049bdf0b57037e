//! Many datagrams at once: segmented, in one system call, or one by one, they arrive as they were.

use crate::participant::{Participant, Token, loopback, random_domain};
use bytes::Bytes;
use proptest::prelude::*;
use zerodds_core::{Peer, Receiver as _, Transport as _};
use zerodds_transport_udp::Patience;

/// So many datagrams of one length, and one of another that is shorter, or none where that is 0.
type Run = (usize, usize, usize);

/// Sends all of it while the receiver empties its buffer only afterwards, so no more than fits there.
fn arrive_intact(runs: &[Run]) {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let (to, mut patience) = (b.transport.locators(), Patience::default());
    let runs: Vec<_> = (0..)
        .step_by(1_000)
        .zip(runs)
        .map(|(from, &(len, count, tail))| {
            let last = token.message(from + count as u32, len.max(16))[..tail].to_vec();
            (len, [run_of(token, from, count as u32, len), last].concat())
        })
        .collect();
    for (len, run) in &runs {
        let sent = a.transport.send_run(run, *len, Peer::new(&to), &mut patience).unwrap();
        assert_eq!(sent, run.chunks(*len).count());
    }
    let datagrams: Vec<_> = runs.iter().flat_map(|(len, run)| run.chunks(*len)).collect();
    for datagram in &datagrams {
        assert!(b.next(token)[..] == **datagram, "a datagram of {} bytes", datagram.len());
    }
    let counters = a.transport.counters();
    let bytes: usize = datagrams.iter().map(|datagram| datagram.len()).sum();
    assert_eq!((counters.sent_messages, counters.sent_bytes), (datagrams.len() as u64, bytes as u64));
}

/// How many of these a receive buffer surely holds: the kernel charges more than the bytes.
fn that_fit(size: usize, wanted: usize) -> usize {
    let granted = Participant::with(random_domain(), &loopback()).transport.buffers().receive;
    wanted.min(granted / (size + 4096))
}

#[test]
fn the_fragments_of_a_4_mib_sample_arrive_intact() {
    arrive_intact(&[(60_000, that_fit(60_000, 70), 4304)]);
}

#[test]
fn packet_sized_datagrams_arrive_intact() {
    arrive_intact(&[(1400, that_fit(1400, 500), 900)]);
}

#[test]
fn small_and_large_ones_between_each_other_arrive_in_order() {
    arrive_intact(&[
        (1400, 3, 900),
        (60_000, 1, 0),
        (20, 3, 0),
        (65_507, 1, 1401),
        (1400, 2, 0),
        (32_000, 2, 0),
    ]);
}

#[test]
fn an_empty_run_sends_nothing() {
    let a = Participant::on_loopback(random_domain());
    let to = a.transport.locators();
    assert_eq!(a.transport.send_run(&[], 1400, Peer::new(&to), &mut Patience::default()).unwrap(), 0);
}

/// Datagrams that lie one after another.
fn run_of(token: Token, from: u32, count: u32, len: usize) -> Vec<u8> {
    (from..from + count).flat_map(|index| token.message(index, len)).collect()
}

#[test]
fn a_run_arrives_intact_where_it_is_segmented_and_where_not() {
    for run in [(1400, 40, 900), (1400, 40, 0), (60_000, 1, 0), (9_000, 20, 100), (20, 200, 16)] {
        arrive_intact(&[run]);
    }
}

#[test]
fn what_somebody_keeps_is_not_overwritten_by_what_comes_later_and_what_is_kept_as_bytes_is_small() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    let to = b.transport.locators();
    let (mut kept, mut kept_bytes) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let run = run_of(token, round * 40, 40, 1400);
        let sent = a.transport.send_run(&run, 1400, Peer::new(&to), &mut Patience::default()).unwrap();
        assert_eq!(sent, 40);
        for index in round * 40..(round + 1) * 40 {
            let message = b.next(token);
            match index % 40 {
                7 => kept.push((index, message)),
                8 => kept_bytes.push((index, Bytes::from(message))),
                _ => assert!(message[..] == token.message(index, 1400)),
            }
        }
    }
    assert!(kept.iter().all(|(index, message)| message[..] == token.message(*index, 1400)));
    for (index, bytes) in kept_bytes {
        assert!(bytes == token.message(index, 1400));
        assert!(bytes.try_into_mut().unwrap().capacity() < 2 * 1400, "it keeps the buffer that it came in");
    }
}

#[test]
fn what_came_with_a_message_needs_no_other_call_to_the_system() {
    let (domain, token) = (random_domain(), Token::random());
    let (a, mut b) = (Participant::on_loopback(domain), Participant::on_loopback(domain));
    assert!(b.receiver.try_receive_along().is_none());
    let run = run_of(token, 0, 40, 1400);
    let to = b.transport.locators();
    a.transport.send_run(&run, 1400, Peer::new(&to), &mut Patience::default()).unwrap();
    assert!(b.receiver.try_receive_along().is_none(), "it makes none itself");
    assert!(b.next(token)[..] == run[..1400]);
    let (mut received, mut along) = (1, 0);
    while received < 40 {
        match b.receiver.try_receive_along() {
            Some(message) if message.starts_with(&token.message(0, 16)) => along += 1,
            Some(_) => continue,
            None => assert_eq!(b.next(token).len(), 1400),
        }
        received += 1;
    }
    // Where the system does not put them together, a few come at a time.
    assert!(along >= 20, "{along}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_runs_arrive_intact(
        runs in prop::collection::vec(
            (prop_oneof![20usize..200, 1300usize..1500, 20usize..9000], 1usize..6, prop_oneof![Just(0), 16usize..20]),
            1..6,
        ),
    ) {
        arrive_intact(&runs);
    }
}
