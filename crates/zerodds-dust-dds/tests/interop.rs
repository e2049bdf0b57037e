//! With participants that do not run this plug-in: Dust on its own UDP transport, and RustDDS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod parties;

use parties::{
    Blob, PATIENCE, Stack, TOPIC, blob, child, publish, random_domain, role, subscribe, wait_for_readers,
};
use rustdds::RTPSEntity;
use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, QosPolicies, QosPolicyBuilder, StatusEvented, TopicKind,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const LENS: [usize; 9] = [0, 1, 1_000, 1_345, 65_000, 65_536, 300_000, 1 << 20, 4 << 20];

/// Publishes in a child process and subscribes in this one.
fn exchange(test: &str, publisher: Stack, subscriber: Stack) {
    if let Some(words) = role() {
        let party = publisher.join(words[0].parse().unwrap());
        let writer = party.writer(true, 2);
        wait_for_readers(&writer, 1);
        publish(&writer, &LENS);
        return party.leave();
    }
    let domain = random_domain();
    let party = subscriber.join(domain);
    let reader = party.reader(true, 64);
    let other = child(test, &domain.to_string());
    subscribe(&reader, &LENS);
    other.succeed();
    party.leave();
}

#[test]
fn stock_dust_with_its_default_fragments_is_read() {
    exchange("stock_dust_with_its_default_fragments_is_read", Stack::Stock(1344), Stack::Ours);
}

#[test]
fn stock_dust_with_large_fragments_is_read() {
    exchange("stock_dust_with_large_fragments_is_read", Stack::Stock(65_000), Stack::Ours);
}

#[test]
fn stock_dust_reads_what_we_write() {
    exchange("stock_dust_reads_what_we_write", Stack::Ours, Stack::Stock(1344));
}

#[test]
fn stock_dust_with_type_information_is_read() {
    exchange("stock_dust_with_type_information_is_read", Stack::StockTyped, Stack::Ours);
}

#[test]
fn stock_dust_with_type_information_reads_what_we_write() {
    exchange("stock_dust_with_type_information_reads_what_we_write", Stack::Ours, Stack::StockTyped);
}

#[test]
fn stock_dust_with_its_default_fragments_is_read_when_datagrams_are_lost() {
    let test = "stock_dust_with_its_default_fragments_is_read_when_datagrams_are_lost";
    exchange(test, Stack::Stock(1344), Stack::OursLossy(50));
}

#[test]
fn stock_dust_with_large_fragments_is_read_when_datagrams_are_lost() {
    let test = "stock_dust_with_large_fragments_is_read_when_datagrams_are_lost";
    exchange(test, Stack::Stock(65_000), Stack::OursLossy(50));
}

#[test]
fn stock_dust_reads_what_we_write_when_datagrams_are_lost() {
    let test = "stock_dust_reads_what_we_write_when_datagrams_are_lost";
    exchange(test, Stack::OursLossy(50), Stack::Stock(1344));
}

/// [`Blob`], as RustDDS encodes it.
#[derive(Debug, Serialize, Deserialize)]
struct SerdeBlob {
    number: u32,
    bytes: Vec<u8>,
}

fn rustdds_qos() -> QosPolicies {
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time: rustdds::Duration::from_secs(60) })
        .history(History::KeepLast { depth: 16 })
        .resource_limits(ResourceLimits { max_samples: 64, max_instances: 1, max_samples_per_instance: 64 })
        .build()
}

fn rustdds_topic(participant: &DomainParticipant) -> rustdds::Topic {
    participant.create_topic(TOPIC.into(), "Blob".into(), &rustdds_qos(), TopicKind::NoKey).unwrap()
}

/// Asks again and again, giving way in between, until there is an answer.
fn until<T>(mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "nothing came");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn rustdds_publishes(domain: u16) {
    let participant = DomainParticipant::new(domain).unwrap();
    let status = participant.status_listener();
    let topic = rustdds_topic(&participant);
    let publisher = participant.create_publisher(&rustdds_qos()).unwrap();
    let writer = publisher.create_datawriter_no_key_cdr::<SerdeBlob>(&topic, None).unwrap();
    until(|| match status.try_recv_status()? {
        DomainParticipantStatusEvent::RemoteReaderMatched { local_writer, .. } => {
            (local_writer == writer.guid()).then_some(())
        }
        _ => None,
    });
    for (number, &len) in (0..).zip(&LENS) {
        let Blob { number, bytes } = blob(number, len);
        writer.write(SerdeBlob { number, bytes }, None).unwrap();
    }
    assert!(writer.wait_for_acknowledgments(PATIENCE).unwrap());
}

fn rustdds_subscribes(domain: u16) {
    let participant = DomainParticipant::new(domain).unwrap();
    let topic = rustdds_topic(&participant);
    let subscriber = participant.create_subscriber(&rustdds_qos()).unwrap();
    let mut reader = subscriber.create_datareader_no_key_cdr::<SerdeBlob>(&topic, None).unwrap();
    for (number, &len) in (0..).zip(&LENS) {
        let sample = until(|| reader.take_next_sample().unwrap());
        assert_eq!((sample.value().number, sample.value().bytes.len()), (number, len));
        assert!(sample.value().bytes == blob(number, len).bytes, "sample {number} of {len} bytes is corrupt");
    }
}

fn we_read_rustdds(test: &str, stack: Stack) {
    if let Some(words) = role() {
        return rustdds_publishes(words[0].parse().unwrap());
    }
    let domain = random_domain();
    let party = stack.join(domain);
    let reader = party.reader(true, 64);
    let other = child(test, &domain.to_string());
    subscribe(&reader, &LENS);
    other.succeed();
    party.leave();
}

fn rustdds_reads_us(test: &str, stack: Stack) {
    if let Some(words) = role() {
        return rustdds_subscribes(words[0].parse().unwrap());
    }
    let domain = random_domain();
    let party = stack.join(domain);
    let writer = party.writer(true, 2);
    let other = child(test, &domain.to_string());
    wait_for_readers(&writer, 1);
    publish(&writer, &LENS);
    other.succeed();
    party.leave();
}

#[test]
fn rustdds_is_read() {
    we_read_rustdds("rustdds_is_read", Stack::Ours);
}

#[test]
fn rustdds_reads_what_we_write() {
    rustdds_reads_us("rustdds_reads_what_we_write", Stack::Ours);
}

#[test]
fn rustdds_is_read_when_datagrams_are_lost() {
    we_read_rustdds("rustdds_is_read_when_datagrams_are_lost", Stack::OursLossy(50));
}

#[test]
fn rustdds_reads_what_we_write_when_datagrams_are_lost() {
    rustdds_reads_us("rustdds_reads_what_we_write_when_datagrams_are_lost", Stack::OursLossy(50));
}
