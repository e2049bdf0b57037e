//! Participants that really are under DDS Security, with certificates made for the occasion: what they publish does not
//! lie in shared memory unless the program says so.

#[path = "../../../examples/largedata/src/domain.rs"]
#[allow(dead_code, reason = "largedata uses all of it")]
mod domain;
mod papers;

use domain::Domain;
use papers::Papers;
use rustdds::policy::{History, Reliability};
use rustdds::{DomainParticipant, DomainParticipantBuilder, QosPolicies, QosPolicyBuilder, TopicKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_rustdds::{Config, Options, ZeroDds, no_key};

#[derive(Serialize, Deserialize)]
struct Row {
    number: u32,
    #[serde(with = "zerodds_rustdds::bytes")]
    data: bytes::Bytes,
}

/// A participant with a session and both endpoints of the topic.
struct Party {
    writer: no_key::DataWriter<Row>,
    reader: no_key::DataReader<Row>,
    zerodds: ZeroDds,
    _participant: DomainParticipant,
    /// Until both have left it.
    _domain: Arc<Domain>,
}

impl Party {
    /// Two in a domain of their own.
    fn two(papers: Option<&Papers>, config: &Config) -> (Self, Self) {
        let domain = Arc::new(Domain::own());
        let one = || Self::new(&domain, papers, config.clone());
        (one(), one())
    }

    fn new(domain: &Arc<Domain>, papers: Option<&Papers>, config: Config) -> Self {
        let builder = DomainParticipantBuilder::new(domain.number() as u16);
        let builder = match papers {
            Some(papers) => builder.builtin_security(papers.config()),
            None => builder,
        };
        let participant = builder.build().expect("a participant");
        let zerodds = ZeroDds::attach(&participant, config).expect("a session");
        let qos = QosPolicyBuilder::new()
            .reliability(Reliability::Reliable { max_blocking_time: rustdds::Duration::from_secs(5) })
            .history(History::KeepLast { depth: 16 })
            .build();
        let none = QosPolicies::qos_none();
        let topic = participant.create_topic(papers::TOPIC.into(), "Row".into(), &none, TopicKind::NoKey);
        let topic = topic.expect("a topic");
        let publisher = zerodds
            .create_publisher(&qos)
            .expect("a publisher")
            .with_options(Options::default().threshold(0));
        let writer = publisher.create_datawriter_no_key_cdr(&topic, Some(qos.clone())).expect("a writer");
        let subscriber = zerodds.create_subscriber(&qos).expect("a subscriber");
        let reader = subscriber.create_datareader_no_key_cdr(&topic, Some(qos)).expect("a reader");
        Self { writer, reader, zerodds, _participant: participant, _domain: Arc::clone(domain) }
    }
}

/// Writes samples at one party until `enough` says so of what the other has received.
fn exchange(here: &Party, there: &mut Party, mut enough: impl FnMut(u32, &Party) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut received = 0;
    for number in 0.. {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {received} of {number} samples came");
        let row = Row { number, data: vec![number as u8; LEN].into() };
        here.writer.write(row, None).map_err(|error| error.to_string()).expect("written");
        let wait_until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < wait_until {
            while let Some(sample) = there.reader.take_next_sample().expect("taken") {
                assert!(sample.value().data.iter().all(|&byte| byte == sample.value().number as u8));
                received += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if enough(received, here) {
            return;
        }
    }
}

#[test]
fn what_secured_participants_publish_does_not_lie_in_shared_memory() {
    let papers = Papers::new();
    let (here, mut there) = Party::two(Some(&papers), &Config::default());
    for party in [&here, &there] {
        let reason = party.zerodds.availability().expect_err("there is no ring").to_string();
        assert!(reason.contains("DDS Security") && reason.contains("share_secured"), "{reason}");
    }
    exchange(&here, &mut there, |received, _| received >= 50);
    let stats = here.zerodds.stats();
    assert_eq!((stats.shared_samples, stats.descriptors, stats.pool.capacity), (0, 0, 0));
}

#[test]
fn a_program_that_says_so_shares_what_is_secured() {
    let papers = Papers::new();
    let (here, mut there) = Party::two(Some(&papers), &Config::default().share_secured(true));
    exchange(&here, &mut there, |received, here| received > 0 && here.zerodds.stats().shared_samples >= 50);
}

#[test]
fn participants_without_security_share_in_a_program_that_is_built_with_it() {
    let (here, mut there) = Party::two(None, &Config::default());
    exchange(&here, &mut there, |received, here| received > 0 && here.zerodds.stats().shared_samples >= 50);
}

/// RustDDS 0.15.1 does not deliver encrypted samples in fragments.
const LEN: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);
