//! Participants with a session, and what the tests exchange between them.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use bytes::Bytes;
use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{
    DomainParticipant, QosPolicies, QosPolicyBuilder, RTPSEntity, ReadCondition, Topic, TopicKind,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use zerodds_rustdds::{Config, ZeroDds, no_key};

/// A bound against hanging, nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A sample whose bytes follow from its number and length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub writer: u32,
    pub number: u32,
    #[serde(with = "zerodds_rustdds::bytes")]
    pub data: Bytes,
    pub last: bool,
}

pub(crate) const CHUNK: &str = "Chunk";

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} of writer {}, {} bytes)", self.number, self.writer, self.data.len())
    }
}

impl Chunk {
    pub(crate) fn new(writer: u32, number: u32, len: usize) -> Self {
        Self { writer, number, data: pattern(number, len).into(), last: true }
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.last && self.data == pattern(self.number, self.data.len())
    }
}

pub(crate) fn pattern(number: u32, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(31).wrapping_add(number) as u8).collect()
}

/// One participant with its session.
pub(crate) struct Party {
    pub participant: DomainParticipant,
    pub zerodds: ZeroDds,
}

impl Party {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let participant = DomainParticipant::new(domain()).expect("a participant");
        let zerodds = ZeroDds::attach(&participant, config).expect("a session");
        Self { participant, zerodds }
    }

    pub(crate) fn topic(&self, name: &str) -> Topic {
        let qos = QosPolicies::qos_none();
        self.participant.create_topic(name.into(), CHUNK.into(), &qos, TopicKind::NoKey).expect("a topic")
    }

    pub(crate) fn writer(&self, topic: &str, qos: &QosPolicies) -> no_key::DataWriter<Chunk> {
        let publisher = self.zerodds.create_publisher(qos).expect("a publisher");
        publisher.create_datawriter_no_key_cdr(&self.topic(topic), Some(qos.clone())).expect("a writer")
    }

    pub(crate) fn reader(&self, topic: &str, qos: &QosPolicies) -> no_key::DataReader<Chunk> {
        let subscriber = self.zerodds.create_subscriber(qos).expect("a subscriber");
        subscriber.create_datareader_no_key_cdr(&self.topic(topic), Some(qos.clone())).expect("a reader")
    }
}

/// A domain that test runs at the same time hardly share.
pub(crate) fn domain() -> u16 {
    120 + (std::process::id() % 100) as u16
}

/// A topic that only this test process has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

pub(crate) fn reliable(history: History) -> QosPolicies {
    let max_blocking_time = rustdds::Duration::from_secs(5);
    QosPolicyBuilder::new().reliability(Reliability::Reliable { max_blocking_time }).history(history).build()
}

/// Reliable, everything up to a limit.
pub(crate) fn keep_all(max_samples: i32, max_blocking_ms: i64) -> QosPolicies {
    let max_blocking_time = rustdds::Duration::from_millis(max_blocking_ms);
    let limits = ResourceLimits { max_samples, max_instances: 1, max_samples_per_instance: max_samples };
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time })
        .history(History::KeepAll)
        .resource_limits(limits)
        .build()
}

pub(crate) fn best_effort(depth: i32) -> QosPolicies {
    QosPolicyBuilder::new().reliability(Reliability::BestEffort).history(History::KeepLast { depth }).build()
}

/// Waits until `is_so`, looking often.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes small samples until they arrive by shared memory: the endpoints are matched and the sessions have met.
pub(crate) fn meet(
    from: &Party,
    writer: &no_key::DataWriter<Chunk>,
    readers: &mut [&mut no_key::DataReader<Chunk>],
) {
    eventually("samples go by shared memory to all", || {
        let before = from.zerodds.stats();
        writer.write(Chunk::new(0, u32::MAX, 16 << 10), None).expect("written");
        let after = from.zerodds.stats();
        let shared = after.descriptors - before.descriptors == 1;
        let all = readers.iter_mut().all(|reader| {
            let deadline = Instant::now() + Duration::from_millis(200);
            while Instant::now() < deadline {
                if !reader.take(usize::MAX, ReadCondition::any()).expect("taken").is_empty() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        });
        shared && all
    });
    // What is still under way from before.
    std::thread::sleep(Duration::from_millis(50));
    for reader in readers {
        reader.take(usize::MAX, ReadCondition::any()).expect("taken");
    }
}

/// The next sample of a reader.
pub(crate) fn next(reader: &mut no_key::DataReader<Chunk>) -> Chunk {
    let mut found = None;
    eventually("a sample comes", || {
        found = reader.take_next_sample().expect("taken").map(|sample| sample.into_value());
        found.is_some()
    });
    found.expect("found")
}

/// The GUID prefix of a party.
pub(crate) fn prefix(party: &Party) -> [u8; 12] {
    let bytes = party.participant.guid().to_bytes();
    bytes[..12].try_into().expect("twelve")
}

/// Does something at the end of its scope, however that comes.
pub(crate) struct Finally<F: Fn()>(pub F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
