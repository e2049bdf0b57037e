//! What is not put together for want of memory, and at whose cost.

use super::*;

#[test]
fn memory_is_bounded_whatever_a_peer_claims() {
    let mut receiver = Receiver::new(1 << 20);
    for number in 1..1_000 {
        receiver.take(&datagrams(&sample(number, 100_000), None)[0]);
    }
    let bytes: usize = receiver
        .reassembly
        .writers
        .values()
        .flat_map(|writer| writer.partial.values())
        .map(Partial::len)
        .sum();
    assert!(bytes <= 1 << 20);
    assert!(receiver.handed_over.is_empty());
}

#[test]
fn a_sample_that_all_memory_is_too_small_for_counts_as_incomplete_once() {
    let mut receiver = Receiver::new(1 << 20);
    for (number, incomplete) in [(1, 1), (1, 1), (2, 2), (1, 2)] {
        for datagram in datagrams(&sample(number, 2 << 20), None) {
            receiver.take(&datagram);
        }
        assert_eq!(receiver.incomplete(), incomplete);
    }
    assert!(receiver.samples() == [(1, vec![]), (2, vec![])] && receiver.reassembly.has_refused);
}

#[test]
fn a_reliable_reader_hears_in_its_turn_that_of_a_refused_sample_there_is_nothing_and_gets_those_behind_it() {
    let mut receiver = Receiver::new(1 << 20);
    let take = |receiver: &mut Receiver, number, len: usize| {
        let all = datagrams(&sample(number, len), None);
        all.iter().filter_map(|datagram| receiver.take(datagram)).last()
    };
    let incomplete = datagrams(&sample(1, 10_000), None);
    receiver.take(&incomplete[0]);
    take(&mut receiver, 2, 2 << 20);
    take(&mut receiver, 3, 10_000);
    assert_eq!(receiver.samples(), [], "the first one is on its way");
    incomplete.iter().for_each(|datagram| _ = receiver.take(datagram));
    assert!(receiver.samples() == [(1, payload(1, 10_000)), (2, vec![]), (3, payload(3, 10_000))]);
    receiver.handed_over.clear();
    dust_acknowledges(&receiver.contacts, 2, true);
    assert!(take(&mut receiver, 2, 2 << 20).is_some(), "with its HEARTBEAT");
    assert!(receiver.samples() == [(2, vec![])], "once for each time that it is asked for");
    receiver.contacts.left(READER);
    take(&mut receiver, 4, 2 << 20);
    assert_eq!(receiver.samples().len(), 1, "nobody else asks for it");
    assert_eq!(receiver.incomplete(), 2);
}

#[test]
fn samples_that_are_refused_crowd_out_no_other_participants_and_what_waits_of_them_is_bounded() {
    let refused = first_fragment(1, 2 << 20);
    let numbered = |number: u32| {
        let mut refused = refused.as_bytes().to_vec();
        let at = refused.len() - 1 - 16;
        refused[at..at + 4].copy_from_slice(&number.to_le_bytes());
        refused
    };
    for waits in [false, true] {
        let mut receiver = Receiver::new(400_000);
        acknowledges(&receiver.contacts, READER, Guid { prefix: ANOTHER, ..WRITER_GUID }, 1, false);
        if waits {
            receiver.take_from(ANOTHER, &datagrams(&sample(1, 200_000), None)[0]);
        }
        let ours = PARTIALS_MAX - usize::from(waits);
        for number in 1..=ours {
            receiver.take(&datagrams(&sample(number as i64, 2_500), None)[0]);
        }
        for number in 2..1_002 {
            receiver.take_from(ANOTHER, &numbered(number));
        }
        assert_eq!(receiver.reassembly.writers[&WRITER_GUID].partial.len(), ours);
        assert_eq!(receiver.incomplete(), 1_000 + u64::from(waits), "and what they waited for");
        let numbers: Vec<_> = receiver.samples().iter().map(|(number, _)| *number).collect();
        assert!(numbers.into_iter().eq(2..1_002), "each is told of");
    }
}

/// The first fragment of a sample of these lengths.
fn first_fragment(fragment_len: u16, sample_len: u32) -> MessageWriter {
    let fields = DataFragFields {
        flags: 0,
        reader: READER,
        writer: WRITER,
        sequence_number: 1,
        first: 1,
        fragment_len,
        sample_len,
    };
    let mut message = MessageWriter::new(&HEADER, Endianness::Little, 64);
    message.data_frag(fields, &[], &vec![7; usize::from(fragment_len)]);
    message
}

#[test]
fn of_a_sample_that_is_refused_the_cause_is_named_with_what_changes_it() {
    let reassembly = Receiver::new(BUDGET).reassembly;
    let why = |fragment_len: u16, sample_len| {
        let message = first_fragment(fragment_len, sample_len);
        let submessage = Submessages::of(message.as_bytes()).next().expect("one").expect("whole");
        let frag = DataFrag::read_unchecked(&submessage).expect("well-formed");
        reassembly.why_refused(&frag)
    };
    let (large, many) = (why(60_000, BUDGET as u32 + 1), why(1, FRAGMENTS_MAX + 1));
    assert!(
        large.contains("67108864 bytes") && large.contains("above 32MiB, ZERODDS_SHM_MAX_DATAGRAM"),
        "{large}"
    );
    assert!(many.contains("1048576 fragments"), "{many}");
    assert!(why(60_000, BUDGET as u32).contains("no memory"));
}

#[test]
fn a_sample_of_more_fragments_than_anyone_makes_is_not_begun() {
    for (len, is_begun) in [(FRAGMENTS_MAX, true), (FRAGMENTS_MAX + 1, false)] {
        let mut receiver = Receiver::new(BUDGET);
        receiver.take(first_fragment(1, len).as_bytes());
        assert_eq!(receiver.reassembly.partial(&WRITER_GUID, 1).is_some(), is_begun, "{len}");
    }
}

#[test]
fn a_participant_that_begins_ever_more_samples_crowds_out_its_own() {
    for flooding_len in [3_000, 100_000] {
        let mut receiver = Receiver::new(1 << 20);
        let ours = datagrams(&sample(1, 10_000), None);
        receiver.take(&ours[0]);
        for number in 1..200 {
            receiver.take_from(ANOTHER, &datagrams(&sample(number, flooding_len), None)[0]);
        }
        assert!(receiver.incomplete() > 100);
        for datagram in &ours[1..] {
            receiver.take(datagram);
        }
        assert!(receiver.samples() == [(1, payload(1, 10_000))]);
    }
}

#[test]
fn a_participant_that_has_ever_more_samples_wait_crowds_out_its_own() {
    let mut receiver = Receiver::new(1 << 20);
    let ours = datagrams(&sample(1, 300_000), None);
    receiver.take(&ours[0]);
    acknowledges(&receiver.contacts, READER, Guid { prefix: ANOTHER, ..WRITER_GUID }, 1, false);
    receiver.take_from(ANOTHER, &datagrams(&sample(1, 3_000), None)[0]);
    for number in 2..=100 {
        for datagram in datagrams(&sample(number, 10_000), None) {
            receiver.take_from(ANOTHER, &datagram);
        }
    }
    let numbers: Vec<_> = receiver.samples().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (2..=100).collect::<Vec<_>>(), "none that is whole is lost");
    assert_eq!(receiver.incomplete(), 1, "what they waited for");
    for datagram in &ours[1..] {
        receiver.take(datagram);
    }
    assert!(receiver.samples().contains(&(1, payload(1, 300_000))));
}

/// Where it is set, this process may have little memory.
#[cfg(target_os = "linux")]
const LITTLE: &str = "A_TEST_HAS_LITTLE_MEMORY";

#[cfg(target_os = "linux")]
#[test]
fn a_sample_for_which_there_is_no_memory_is_asked_for_with_pauses_and_put_together_once_there_is() {
    if std::env::var_os(LITTLE).is_some() {
        return without_memory_for_a_while();
    }
    let limited = "ulimit -v 2000000; exec \"$0\" --exact --test-threads 1 \"$1\"";
    let name = concat!(
        "reassembly::tests::bounds::",
        "a_sample_for_which_there_is_no_memory_is_asked_for_with_pauses_and_put_together_once_there_is"
    );
    let mut child = std::process::Command::new("sh");
    child.args(["-c", limited]).arg(std::env::current_exe().expect("this test")).arg(name).env(LITTLE, "1");
    let output = child.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(target_os = "linux")]
fn without_memory_for_a_while() {
    let mut receiver = Receiver::new(2 << 30);
    let mut all: Vec<u8> = Vec::new();
    all.try_reserve_exact(1 << 30).expect("half of what there is");
    let first = first_fragment(60_000, 1 << 30);
    receiver.take(first.as_bytes());
    let heartbeat = Heartbeat { reader: READER, writer: WRITER, first: 1, last: 1, count: 1 };
    let heard = receiver.reassembly.heartbeat(WRITER_GUID.prefix, &heartbeat, receiver.now);
    assert!(
        matches!(heard, Hearing::Rewritten { last: 0, .. }),
        "Dust would ask for all of it at once: {heard:?}"
    );
    let (began, mut asked) = (receiver.now, 0);
    while let Some(deadline) = receiver.reassembly.deadline() {
        receiver.now = receiver.now.max(deadline);
        for request in receiver.requests(Duration::ZERO) {
            assert_eq!(wanted(&request), [(1, vec![1])], "there is no memory for more either");
            receiver.take(first.as_bytes());
            asked += 1;
        }
        assert!(asked < 20);
    }
    assert!(asked > 5 && receiver.now - began >= Duration::from_secs(3));
    let last = receiver.heartbeats().last().map(|heartbeat| heartbeat.last);
    assert_eq!((receiver.samples(), last), (vec![], Some(1)), "Dust asks for it anew");
    assert_eq!((receiver.incomplete(), receiver.reassembly.has_refused), (1, true));
    drop(all);
    receiver.take(first.as_bytes());
    let requests = receiver.requests(Duration::from_millis(50));
    let rest: Vec<u32> = requests.iter().flat_map(wanted).flat_map(|(_, numbers)| numbers).collect();
    assert!(rest[..256].iter().copied().eq(2..258), "the rest");
}
