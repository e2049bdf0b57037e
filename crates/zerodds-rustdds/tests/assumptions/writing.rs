//! Limits and costs at the writer.

use std::time::{Duration, Instant};

use rustdds::policy::{History, Reliability};
use rustdds::{QosPolicies, QosPolicyBuilder, RTPSEntity};

use super::domains::fresh_domain;
use super::party::{Party, Pen, Reader, best_effort, child, reliable, settle, take, until};

/// How many samples a writer of this quality of service may have unacknowledged.
fn window(at_writer: &QosPolicies) -> u64 {
    let writing = Party::join(fresh_domain());
    let topic = writing.topic("window", at_writer);
    let writer = writing.writer(&topic);
    let mut reader = child("assumptions::death::a_reader_in_a_child", &writing, &topic);
    until("the child's reader is matched", || writing.matched(writer.guid()));
    let pen = Pen::new(&writer);
    pen.write(1);
    settle(&writer);
    reader.kill().unwrap();
    reader.wait().unwrap();
    while pen.try_write() {}
    pen.written() - 1
}

#[test]
fn a_reliable_writer_waits_at_max_samples_or_at_8192_whatever_its_history() {
    let soon = Duration::from_millis(1);
    let without_limits =
        QosPolicyBuilder::new().reliability(Reliability::Reliable { max_blocking_time: soon.into() });
    let last_3 = History::KeepLast { depth: 3 };
    assert_eq!(window(&reliable(20, soon).build()), 20);
    assert_eq!(window(&reliable(20, soon).history(last_3).build()), 20);
    assert_eq!(window(&without_limits.clone().history(last_3).build()), 8192);
    assert_eq!(window(&without_limits.history(History::KeepAll).build()), 8192);
}

/// Prints what a directed write takes, from the call to the sample in the reader's hand.
#[test]
#[ignore = "a measurement"]
fn a_directed_write_to_a_best_effort_reader_costs_more_with_each_that_went_to_another() {
    let domain = fresh_domain();
    let (writing, first, second) = (Party::join(domain), Party::join(domain), Party::join(domain));
    let qos = best_effort(64).build();
    let writer = writing.writer(&writing.topic("gaps", &qos));
    let mut near = first.reader(&first.topic("gaps", &qos));
    let mut far = second.reader(&second.topic("gaps", &qos));
    writing.wait_for_match(writer.guid(), &first, near.guid());
    writing.wait_for_match(writer.guid(), &second, far.guid());
    let pen = Pen::new(&writer);
    let each = |reader: &mut Reader| {
        let start = Instant::now();
        for _ in 0..TRIES {
            pen.direct(1, reader.guid());
            take(reader, 1);
        }
        start.elapsed() / TRIES
    };
    for _ in 0..5 {
        println!("{} written: {:?} and {:?}", pen.written(), each(&mut near), each(&mut far));
        for _ in 0..1000 {
            pen.direct(10, near.guid());
            take(&mut near, 1);
        }
    }
}

const TRIES: u32 = 100;
