//! Samples of every size, at full rate and at every boundary: whole, once, in order, and counted where they are lost.

use crate::support::roles::send_numbered;
use crate::support::{
    Node, deadline, fill, fresh_domain, is_intact, pair, pair_with, reliable, scaled, warnings,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zerodds_core::{Delivery, Incoming, Locator, Peer, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmMessage};

/// Checks every word of a message against the number at its beginning; how many words those were.
fn checked(message: &ShmMessage) -> u64 {
    let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
    assert!(is_intact(&message[8..], number), "message {number} of {} bytes", message.len());
    message.len() as u64 / 8
}

#[test]
fn f37_no_sample_changes_while_it_is_read_or_kept() {
    let config = Config::default().max_datagram(256 << 10).expect("in range");
    let (a, b) = pair_with(&config);
    let to = b.locator();
    let Node { transport: _kept, mut receiver } = b;
    let (total, stop) = (scaled(20_000_000, 1_000_000_000), Arc::new(AtomicBool::new(false)));
    let reader = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (mut words, mut kept, mut last) = (0, std::collections::VecDeque::new(), None);
            while words < total {
                let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) else { continue };
                words += checked(&message);
                let number = u64::from_le_bytes(message[..8].try_into().expect("8 bytes"));
                assert!(last.replace(number).is_none_or(|last| last < number), "in order, none twice");
                // Some are held long, while the ring passes by many times, and are looked at again.
                if number.is_multiple_of(7) {
                    kept.push_back(message);
                }
                if kept.len() > 20 {
                    words += checked(&kept.pop_front().expect("one of them"));
                }
            }
            words += kept.iter().map(checked).sum::<u64>();
            assert!(words >= total);
            stop.store(true, Ordering::SeqCst);
        }
    });
    // As fast as it can, and as with depth 1: what is not taken is overwritten by what is newer.
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let len = 8 + (number as usize * 7_919) % 60_000;
        if let Ok(mut loan) = a.transport.loan(len) {
            loan[..8].copy_from_slice(&u64::to_le_bytes(number));
            fill(&mut loan[8..], number);
            let _ = a.transport.send(loan, &[Peer::new(&[to])], Delivery::BestEffort).expect("open");
        }
        number += 1;
        assert!(!reader.is_finished() || stop.load(Ordering::SeqCst), "the reader found a changed sample");
    }
    reader.join().expect("nothing had changed");
}

#[test]
fn f44_every_size_up_to_the_knob_is_one_message_and_more_is_said_and_counted() {
    let knob = scaled(32 << 20, 64 << 20);
    let (a, mut b) = pair_with(&Config::default().max_datagram(knob).expect("in range"));
    let mut len = 1;
    let mut sent = 0;
    while len <= a.transport.max_message_len() {
        for len in [len - 1, len, len + 1] {
            let to = [b.locator()];
            assert_eq!(
                a.send_pattern(&[Peer::new(&to)], len as u64, len, reliable()).by_shm,
                1,
                "{len} bytes"
            );
            let message = b.next_message();
            assert!(message.len() == len && is_intact(&message, len as u64), "{len} bytes");
            sent += 1;
        }
        len *= 2;
    }
    assert_eq!(a.transport.counters().sent_messages, sent, "one message each, whatever the size");
    let refused = a.transport.loan(a.transport.max_message_len() + 1);
    assert!(refused.expect_err("too large").to_string().contains(&a.transport.max_message_len().to_string()));
    assert_eq!(a.transport.counters().too_large_messages, 1);
}

#[test]
fn f45_messages_that_exactly_fill_what_there_is_leave_room_for_the_next() {
    let config = Config::default().max_datagram(64 << 10).expect("in range");
    let (a, mut b) = pair_with(&config);
    let (to, max) = (b.locator(), a.transport.max_message_len());
    // Around every boundary: of lane and ring, of a unit, of a page, of copying and reading in place, of the knob.
    for boundary in [64, 1_024, 4_096, 16 << 10, 32 << 10, max - 64] {
        for len in boundary - 64..=boundary + 64 {
            assert!(send_numbered(&a, to, len as u64, len.max(8), reliable()).unserved.is_empty());
            assert_eq!(b.next_message().len(), len.max(8));
        }
    }
    // Everything filled to the last byte that can be had, with messages of one size, then all of it taken, again and
    // again: lane, slots and ring.
    for len in [8, 1_000, 1_024, 1_025, 4_032, 9_000, 30_000, max - 1, max] {
        for round in 0..scaled(3, 100) {
            let now = || Delivery::Reliable { deadline: std::time::Instant::now() };
            let mut accepted = 0;
            while a.transport.loan(len).is_ok() && send_numbered(&a, to, accepted, len, now()).by_shm == 1 {
                accepted += 1;
            }
            assert!(accepted > 0, "{len} bytes, round {round}");
            for number in 0..accepted {
                let message = b.next_message();
                assert!(message.len() == len && checked(&message) > 0);
                assert_eq!(message[..8], number.to_le_bytes(), "{len} bytes, round {round}");
            }
        }
    }
    assert!(send_numbered(&a, to, 1, max, reliable()).unserved.is_empty(), "and it goes on");
    assert_eq!(b.next_message().len(), max);
}

#[test]
fn f46_nothing_is_warned_of_or_counted_as_lost_while_the_reader_keeps_up() {
    let said = warnings::count(|| {
        tracing::warn!("the subscriber hears this");
        let config = Config::default().max_datagram(256 << 10).expect("in range");
        let (a, mut b) = pair_with(&config);
        let to = b.locator();
        // The ring passes by thousands of times; a reader that keeps up has read before it does.
        for number in 0..scaled(30_000, 1_000_000) {
            let len = 8 + (number as usize * 104_729) % if number % 50 == 0 { 200_000 } else { 9_000 };
            assert_eq!(send_numbered(&a, to, number, len, Delivery::BestEffort).by_shm, 1);
            assert_eq!(b.next_message()[..8], number.to_le_bytes());
        }
        let counters = a.transport.counters();
        assert_eq!(
            (counters.lost_messages, counters.timed_out_messages, counters.too_large_messages),
            (0, 0, 0)
        );
    });
    assert_eq!(said, 1, "no more than what the test said");
}

#[test]
fn f47_a_large_sample_is_one_message_in_one_piece_written_once_and_never_copied() {
    let domain = fresh_domain();
    let a = Node::open(domain);
    let mut readers: Vec<Node> = (0..3).map(|_| Node::open(domain)).collect();
    let locators: Vec<Locator> = readers.iter().map(Node::locator).collect();
    locators.iter().for_each(|&locator| a.link_to(locator));
    let peers: Vec<Peer<'_>> = locators.iter().map(|to| Peer::new(std::slice::from_ref(to))).collect();
    let before = a.transport.counters();
    for number in 0..10 {
        assert_eq!(a.send_pattern(&peers, number, 1 << 20, reliable()).by_shm, 3);
        for reader in &mut readers {
            let message = reader.next_message();
            assert!(message.len() == 1 << 20 && message.is_in_place() && is_intact(&message, number));
        }
    }
    let after = a.transport.counters();
    assert_eq!(after.sent_messages - before.sent_messages, 30, "one for each reader");
    assert_eq!(after.written_bytes - before.written_bytes, 10 << 20, "written once for all readers");
    for reader in &mut readers {
        assert_eq!(reader.transport.counters().received_messages, 10, "in one piece");
        assert!(!matches!(reader.receiver.try_receive(), Some(Incoming::Message(_))));
    }
}

/// Sends numbers as fast as it goes to `count` readers; what each got is checked by `check`.
fn burst(count: usize, total: u64, delivery: fn() -> Delivery, check: fn(Vec<u64>, u64)) -> u64 {
    let domain = fresh_domain();
    let a = Node::open(domain);
    let readers: Vec<Node> = (0..count).map(|_| Node::open(domain)).collect();
    let locators: Vec<Locator> = readers.iter().map(Node::locator).collect();
    locators.iter().for_each(|&locator| a.link_to(locator));
    let peers: Vec<Peer<'_>> = locators.iter().map(|to| Peer::new(std::slice::from_ref(to))).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = readers
            .into_iter()
            .map(|Node { transport, mut receiver }| {
                scope.spawn(move || {
                    let _open = transport;
                    let mut numbers = Vec::new();
                    while numbers.last() != Some(&total) {
                        if let Some(Incoming::Message(message)) = receiver.receive(Some(deadline())) {
                            checked(&message);
                            numbers.push(u64::from_le_bytes(message[..8].try_into().expect("8 bytes")));
                        }
                    }
                    numbers.pop();
                    numbers
                })
            })
            .collect();
        let send = |number: u64, delivery| {
            let len = [8, 200, 3_000][number as usize % 3];
            let mut loan = a.transport.loan_before(len, deadline()).expect("room");
            loan[..8].copy_from_slice(&number.to_le_bytes());
            fill(&mut loan[8..], number);
            a.transport.send(loan, &peers, delivery).expect("open")
        };
        for number in 0..total {
            let _ = send(number, delivery());
        }
        assert_eq!(send(total, reliable()).by_shm as usize, count);
        let received: u64 = threads
            .into_iter()
            .map(|thread| {
                let numbers = thread.join().expect("intact");
                let got = numbers.len() as u64;
                check(numbers, total);
                got
            })
            .sum();
        let counters = a.transport.counters();
        assert_eq!(received + counters.lost_messages, total * count as u64, "received and lost add up");
        counters.lost_messages
    })
}

#[test]
fn f48_a_burst_loses_nothing_reliable_and_counts_all_else() {
    let total = scaled(20_000, 1_000_000);
    for readers in [0, 1, 8] {
        let lost = burst(readers, total, reliable, |numbers, total| {
            assert!(numbers.into_iter().eq(0..total), "all of them, each once, in order");
        });
        assert_eq!(lost, 0);
        burst(
            readers,
            total,
            || Delivery::BestEffort,
            |numbers, _| {
                assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
            },
        );
    }
    // One that takes nothing until the end: what it lost is exactly what was counted.
    let (a, mut b) = pair();
    for number in 0..total {
        let _ = send_numbered(&a, b.locator(), number, 2_000, Delivery::BestEffort);
    }
    let got = std::iter::from_fn(|| b.receiver.try_receive());
    let got = got.filter(|came| matches!(came, Incoming::Message(_))).count() as u64;
    assert!(got > 0 && a.transport.counters().lost_messages == total - got);
}
