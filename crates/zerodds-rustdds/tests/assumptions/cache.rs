//! The topic cache: one per topic and participant, whoever reads.
//!
//! ```text
//!  RTPS readers ──▶ topic cache of the participant ──▶ sample cache of each DataReader ──▶ take
//!                   (undecoded; its own eviction)       (decoded, all there is, at each take)
//! ```
//! An RTPS reader acknowledges what reaches the topic cache. Neither cache ever asks the writer to wait.

use rustdds::policy::{History, Reliability};
use rustdds::{DataReaderStatus, QosPolicyBuilder, RTPSEntity, StatusEvented};

use super::domains::fresh_domain;
use super::party::{PATIENCE, PlainReader};
use super::party::{Party, Pen, Reader, Writer, reliable, settle, take, take_plain, until};
use super::toy::{asked, revoke};

/// A writer in one participant and a plug-in reader in another, matched.
struct Pair {
    writing: Party,
    reading: Party,
    topics: [rustdds::Topic; 2],
    writer: Writer,
    reader: Reader,
}

fn pair(name: &str, at_reader: QosPolicyBuilder) -> Pair {
    let domain = fresh_domain();
    let (writing, reading) = (Party::join(domain), Party::join(domain));
    let topics =
        [writing.topic(name, &reliable(4096, PATIENCE).build()), reading.topic(name, &at_reader.build())];
    let (writer, reader) = (writing.writer(&topics[0]), reading.reader(&topics[1]));
    writing.wait_for_match(writer.guid(), &reading, reader.guid());
    Pair { writing, reading, topics, writer, reader }
}

impl Pair {
    fn second_reader(&self) -> Reader {
        let reader = self.reading.reader(&self.topics[1]);
        self.writing.wait_for_match(self.writer.guid(), &self.reading, reader.guid());
        reader
    }

    fn plain_reader(&self) -> PlainReader {
        let reader = self.reading.plain_reader(&self.topics[1]);
        self.writing.wait_for_match(self.writer.guid(), &self.reading, reader.guid());
        reader
    }
}

fn nths(pen: &Pen, taken: &[u64]) -> Vec<u64> {
    taken.iter().map(|number| pen.nth(*number)).collect()
}

fn counted(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn a_directed_sample_reaches_every_reader_of_the_topic_in_that_participant() {
    let mut pair = pair("directed", reliable(4096, PATIENCE));
    let mut second = pair.second_reader();
    let pen = Pen::new(&pair.writer);
    pen.direct(5, pair.reader.guid());
    pen.direct(5, second.guid());
    settle(&pair.writer);
    assert_eq!(nths(&pen, &take(&mut pair.reader, 10)), counted(0..10));
    assert_eq!(nths(&pen, &take(&mut second, 10)), counted(0..10));
    assert_eq!(asked(pen.first), 2, "each of the two decodes it");
}

#[test]
fn a_plain_reader_errs_once_for_each_descriptor_and_goes_on() {
    let mut pair = pair("mixed", reliable(4096, PATIENCE));
    let mut plain = pair.plain_reader();
    let pen = Pen::new(&pair.writer);
    pen.write(2);
    pen.write_inline(2);
    pen.write(1);
    pen.write_inline(1);
    settle(&pair.writer);
    let taken = take_plain(&mut plain, 6);
    let values: Vec<_> = taken.iter().flatten().map(|number| pen.nth(*number)).collect();
    assert_eq!((taken.len(), values), (6, vec![2, 3, 5]), "three errors: {taken:?}");
    assert_eq!(nths(&pen, &take(&mut pair.reader, 6)), counted(0..6));
}

#[test]
fn a_descriptor_that_cannot_be_resolved_is_one_error_for_that_reader_alone() {
    let mut pair = pair("stale", reliable(4096, PATIENCE));
    let pen = Pen::new(&pair.writer);
    pen.write(3);
    settle(&pair.writer);
    revoke(pen.first + 1);
    let mut taken = Vec::new();
    let mut errors = 0;
    until("all three are seen", || {
        match pair.reader.take_next_sample() {
            Ok(Some(sample)) => taken.push(pen.nth(sample.value().number)),
            Ok(None) => {}
            Err(_) => errors += 1,
        }
        (taken.len() + errors == 3).then_some(())
    });
    assert_eq!((taken, errors), (vec![0, 2], 1));
    assert!(pair.reader.take_next_sample().unwrap().is_none(), "the error does not come again");
}

#[test]
fn a_reader_made_later_gets_at_once_what_others_of_its_participant_took() {
    let mut pair = pair("later", reliable(4096, PATIENCE));
    let pen = Pen::new(&pair.writer);
    pen.write(5);
    settle(&pair.writer);
    assert_eq!(take(&mut pair.reader, 5).len(), 5);
    let mut second = pair.reading.reader(&pair.topics[1]);
    let old = second.take(100, rustdds::ReadCondition::any()).unwrap();
    assert_eq!(old.len(), 5, "volatile, before any match");
    pair.writing.wait_for_match(pair.writer.guid(), &pair.reading, second.guid());
    pen.write(3);
    settle(&pair.writer);
    assert_eq!(nths(&pen, &take(&mut second, 3)), counted(5..8));
}

#[test]
fn what_keep_last_1_will_drop_is_decoded_all_the_same() {
    let without_limits = QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time: PATIENCE.into() })
        .history(History::KeepLast { depth: 1 });
    let mut pair = pair("keep_last", without_limits);
    let pen = Pen::new(&pair.writer);
    pen.write(1000);
    settle(&pair.writer);
    let taken = pair.reader.take(2000, rustdds::ReadCondition::any()).unwrap();
    assert_eq!(taken.iter().map(|sample| pen.nth(sample.value().number)).collect::<Vec<_>>(), [999]);
    let decoded: Vec<_> = (0..1000).filter(|nth| asked(pen.first + nth) > 0).collect();
    assert_eq!(decoded, counted(decoded[0]..1000), "the newest, without a break");
    // 64 stay when no resource limits are set, whatever the depth, and up to 63 come before the next collection.
    assert!((64..128).contains(&decoded.len()), "{} decoded", decoded.len());
}

#[test]
fn a_reliable_reader_that_takes_late_loses_what_its_limits_do_not_hold() {
    let mut pair = pair("late", reliable(100, PATIENCE));
    let pen = Pen::new(&pair.writer);
    pen.write(1000);
    settle(&pair.writer);
    let taken = nths(&pen, &take(&mut pair.reader, 1));
    assert_eq!(*taken.last().unwrap(), 999);
    assert!(taken.len() <= 100, "{} taken", taken.len());
    let decoded = (0..1000).filter(|nth| asked(pen.first + nth) > 0).count();
    assert!((100..164).contains(&decoded), "{decoded} decoded");
}

#[test]
fn a_reliable_reader_that_takes_one_by_one_loses_what_it_decoded_beyond_its_limit() {
    let mut pair = pair("slow", reliable(100, PATIENCE));
    let pen = Pen::new(&pair.writer);
    pen.write(60);
    settle(&pair.writer);
    let first = pair.reader.take_next_sample().unwrap().unwrap();
    assert_eq!(pen.nth(first.value().number), 0);
    // 59 lie decoded; with these 60 there are 119, and the oldest 19 go.
    pen.write(60);
    settle(&pair.writer);
    assert_eq!(nths(&pen, &take(&mut pair.reader, 1)), counted(20..120));
}

#[test]
fn limits_that_hold_the_backlog_lose_nothing() {
    let mut pair = pair("ample", reliable(i32::MAX, PATIENCE));
    let pen = Pen::new(&pair.writer);
    let mut taken = Vec::new();
    for _ in 0..20 {
        pen.write(100);
        settle(&pair.writer);
        taken.extend(pair.reader.take_next_sample().unwrap().map(|sample| sample.value().number));
    }
    taken.extend(take(&mut pair.reader, 2000 - taken.len()));
    assert_eq!(nths(&pen, &taken), counted(0..2000));
}

#[test]
fn what_a_reliable_reader_did_not_decode_before_its_writer_left_is_lost() {
    let mut pair = pair("left", reliable(100, PATIENCE));
    let pen = Pen::new(&pair.writer);
    pen.write(3);
    settle(&pair.writer);
    assert!(pair.reader.read_next_sample().unwrap().is_some(), "decodes what is there");
    pen.write(3);
    settle(&pair.writer);
    let first = pen.first;
    drop(pair.writer);
    until("the reader knows", || {
        let status = pair.reader.try_recv_status();
        matches!(status, Some(DataReaderStatus::SubscriptionMatched { current, .. }) if current.count() == 0)
            .then_some(())
    });
    let taken: Vec<_> = pair.reader.take(100, rustdds::ReadCondition::any()).unwrap();
    let taken: Vec<_> = taken.iter().map(|sample| sample.value().number - first).collect();
    assert_eq!(taken, [0, 1, 2]);
}

#[test]
fn a_participant_keeps_the_largest_limits_any_of_its_readers_asked_for() {
    let mut pair = pair("largest", reliable(10, PATIENCE));
    let wide = pair.reading.topic("largest", &reliable(2000, PATIENCE).build());
    drop(pair.reading.reader(&wide));
    let pen = Pen::new(&pair.writer);
    pen.write(1000);
    settle(&pair.writer);
    assert_eq!(nths(&pen, &take(&mut pair.reader, 1)), counted(990..1000));
    let decoded = (0..1000).filter(|nth| asked(pen.first + nth) > 0).count();
    assert_eq!(decoded, 1000, "all lay in the topic cache");
}
