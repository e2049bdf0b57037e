//! Participants with a session, and what the tests exchange between them.
#![allow(dead_code, unused_imports, reason = "every test binary uses a part of it")]

mod domains;
pub(crate) mod log;
pub(crate) mod spdp;

use bytes::Bytes;
pub(crate) use domains::{Domain, domain, fresh_domain};
use rustdds::dds::WriteError;
use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, QosPolicies, QosPolicyBuilder, RTPSEntity, ReadCondition,
    Topic, TopicKind,
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
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
        Self::of(DomainParticipant::new(domain()).expect("a participant"), config)
    }

    /// Without any interface but `lo`, and so without multicast.
    pub(crate) fn on_loopback(domain: u16) -> Self {
        let participant = DomainParticipantBuilder::new(domain).with_only_networks([Ipv4Addr::LOCALHOST]);
        Self::of(participant.build().expect("a participant"), Config::default())
    }

    fn of(participant: DomainParticipant, config: Config) -> Self {
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
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(within(PATIENCE, is_so), "not within {PATIENCE:?}: {what}");
}

/// Writes small samples until one goes by shared memory to all: the endpoints are matched and the sessions have met.
/// Nothing of this is under way afterwards, as RTPS is in order.
pub(crate) fn meet(
    from: &Party,
    writer: &no_key::DataWriter<Chunk>,
    readers: &mut [&mut no_key::DataReader<Chunk>],
) {
    static PROBES: AtomicU32 = AtomicU32::new(1 << 31);
    eventually("samples go by shared memory to all", || {
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let mut has_come = vec![false; readers.len()];
        let mut have_all = || {
            for (has_come, reader) in has_come.iter_mut().zip(readers.iter_mut()) {
                let taken = reader.take(usize::MAX, ReadCondition::any()).expect("taken");
                *has_come |= taken.iter().any(|sample| sample.value().number == number);
            }
            has_come.iter().all(|has_come| *has_come)
        };
        let is_shared = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let before = from.zerodds.stats().descriptors;
                match writer.write(Chunk::new(0, number, 16 << 10), None) {
                    Ok(()) => from.zerodds.stats().descriptors - before == 1,
                    Err(WriteError::WouldBlock { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            });
            // It waits for room until the one before is taken.
            while !writing.is_finished() {
                have_all();
                std::thread::yield_now();
            }
            writing.join().expect("no panic")
        });
        // Before they are matched it does not come at all.
        is_shared && within(Duration::from_millis(200), have_all)
    });
}

/// Whether it `is_so` within a time, looking often.
pub(crate) fn within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Writes this sample as soon as there is room for it: the news of what was taken may be under way.
pub(crate) fn write_when_there_is_room(writer: &no_key::DataWriter<Chunk>, chunk: Chunk) {
    let mut given_back = Some(chunk);
    eventually("there is room", || {
        match writer.write(given_back.take().expect("given back"), None) {
            Ok(()) => {}
            Err(WriteError::WouldBlock { data }) => given_back = Some(data),
            Err(error) => panic!("{error}"),
        }
        given_back.is_none()
    });
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

/// Whether samples go by shared memory between a party and this participant.
pub(crate) fn shares_with(party: &Party, participant: [u8; 12]) -> bool {
    party.zerodds.paths().iter().any(|peer| peer.participant == participant && peer.is_shared())
}

/// The GUID prefix of a party.
pub(crate) fn prefix(party: &Party) -> [u8; 12] {
    prefix_of(&party.participant)
}

pub(crate) fn prefix_of(participant: &DomainParticipant) -> [u8; 12] {
    let bytes = participant.guid().to_bytes();
    bytes[..12].try_into().expect("twelve")
}

/// Runs a role of the test's own file in a process of its own.
pub(crate) fn alone(role: &str) {
    alone_with(role, &[]);
}

/// The same with these environment variables.
pub(crate) fn alone_with(role: &str, variables: &[(&str, &str)]) {
    let output = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args([role, "--exact", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

/// Does something at the end of its scope, however that comes.
pub(crate) struct Finally<F: Fn()>(pub F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
