//! What our own writers say to our own readers: in order, and lost only where it finds no room.

use super::*;

/// All datagrams of a sample but the second, and how Dust hears the HEARTBEAT behind them.
fn take_without_the_second(receiver: &mut Receiver, message: &[u8]) -> Option<(i64, i32)> {
    let all = datagrams(message, None);
    let others = all.iter().enumerate().filter(|&(index, _)| index != 1);
    others.filter_map(|(_, datagram)| receiver.take(datagram)).last()
}

#[test]
fn dust_hears_at_once_of_a_sample_of_our_own_of_which_a_part_found_no_room() {
    for (path, last) in [(Some(Path::Udp), 0), (None, 1)] {
        let mut receiver = Receiver { path, ..Receiver::new(BUDGET) };
        assert_eq!(take_without_the_second(&mut receiver, &sample(1, 10_000)), Some((last, 1)), "{path:?}");
    }
}

#[test]
fn of_a_sample_of_our_own_that_dust_asks_for_again_what_has_come_is_kept() {
    let mut receiver = Receiver { path: None, ..Receiver::new(BUDGET) };
    let (first, second) = (sample(1, 10_000), sample(2, 4_000));
    take_without_the_second(&mut receiver, &first);
    for datagram in datagrams(&second, None) {
        receiver.take(&datagram);
    }
    assert!(receiver.handed_over.is_empty(), "the first is still to come");
    receiver.take(&datagrams(&first, None)[1]);
    assert_eq!(receiver.samples(), [(1, payload(1, 10_000)), (2, payload(2, 4_000))]);
    assert_eq!(receiver.incomplete(), 0);
}

#[test]
fn readers_of_our_own_are_not_all_made_to_ask_by_what_each_is_told() {
    let mut receiver = Receiver { path: None, ..Receiver::new(BUDGET) };
    take_without_the_second(&mut receiver, &sample(1, 10_000));
    let mut hear = |after_ms, reader, last, count| {
        receiver.now += Duration::from_millis(after_ms);
        let heartbeat = Heartbeat { reader, writer: WRITER, first: 1, last, count };
        receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now)
    };
    let another = EntityId([0, 0, 9, 4]);
    assert_eq!(hear(1, another, 1, 1), Hearing::Withheld, "they have heard that, and asked");
    assert_eq!(hear(1, READER, 2, 2), Hearing::Rewritten { last: 2, count: 2 }, "but not that");
    assert_eq!(hear(200, another, 2, 2), Hearing::Rewritten { last: 2, count: 3 }, "it is lost again");
}
