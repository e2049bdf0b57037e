//! Two parties of an exchange, each with a Dust participant of its own, in processes of their own.
//!
//! A test that needs a second process runs its own binary again with [`ROLE`] set; the test function of that
//! name then plays the role instead. What the child found wrong is its exit status.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../../../../examples/largedata/src/domain.rs"]
mod domain;

use domain::Domain;
use dust_dds::dds_async::domain_participant_factory::DomainParticipantFactoryAsync;
use dust_dds::domain::domain_participant::DomainParticipant;
use dust_dds::domain::domain_participant_factory::DomainParticipantFactory;
use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataReaderQos, DataWriterQos, DomainParticipantQos, QosKind};
use dust_dds::infrastructure::qos_policy::{
    HistoryQosPolicy, HistoryQosPolicyKind, ReliabilityQosPolicy, ReliabilityQosPolicyKind,
};
use dust_dds::infrastructure::sample_info::{ANY_INSTANCE_STATE, ANY_SAMPLE_STATE, ANY_VIEW_STATE};
use dust_dds::infrastructure::status::{NO_STATUS, StatusKind};
use dust_dds::infrastructure::time::{Duration as DdsDuration, DurationKind};
use dust_dds::infrastructure::type_support::DdsType;
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::rtps_udp_transport::udp_transport::RtpsUdpTransportParticipantFactory;
use dust_dds::std_runtime::StdRuntime;
use dust_dds::subscription::data_reader::DataReader;
use dust_dds::topic_definition::topic::Topic;
use dust_dds::wait_set::{Condition, WaitSet};
use std::fmt;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use zerodds_dust_dds::{Monitor, ZeroDds};

/// Set in a child: the role it plays.
pub(crate) const ROLE: &str = "ZERODDS_TEST_ROLE";
/// Nothing here takes nearly this long; it only keeps a failure from hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const TOPIC: &str = "exchange";

#[derive(Clone, Debug, PartialEq, DdsType)]
pub(crate) struct Blob {
    pub(crate) number: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Which transport a party runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// This plug-in, on both transports.
    Ours,
    /// This plug-in, with shared memory switched off.
    OursUdp,
    /// The same, losing so many of a thousand datagrams each way.
    OursLossy(u32),
    /// Dust's own UDP transport with this fragment size.
    Stock(u16),
    /// Dust as it comes.
    StockTyped,
}

/// A participant, and what it takes to end it and to look at it.
pub(crate) struct Party {
    pub(crate) participant: DomainParticipant,
    pub(crate) monitor: Option<Monitor>,
    /// Whether it loses datagrams on purpose.
    is_lossy: bool,
    topic: OnceLock<Topic>,
    delete: Box<dyn Fn(&DomainParticipant)>,
}

impl Stack {
    pub(crate) fn join(self, domain: i32) -> Party {
        let shm = zerodds_transport_shm::Config::default().enabled(self == Self::Ours);
        let ours = ZeroDds::new(shm, zerodds_transport_udp::Config::default());
        match self {
            Self::Ours | Self::OursUdp => join_with(ours, domain),
            Self::OursLossy(per_mille) => lossy(ours, per_mille, domain as u64, domain),
            Self::Stock(_) | Self::StockTyped => {
                let factory = stock_factory(self);
                let participant = create(factory, domain);
                Party {
                    participant,
                    monitor: None,
                    is_lossy: false,
                    topic: OnceLock::new(),
                    delete: Box::new(|one| factory.delete_participant(one).unwrap()),
                }
            }
        }
    }
}

/// A party that loses so many of a thousand datagrams each way.
pub(crate) fn lossy(ours: ZeroDds, per_mille: u32, seed: u64, domain: i32) -> Party {
    Party { is_lossy: true, ..join_with(ours.with_udp_faults(per_mille, seed), domain) }
}

pub(crate) fn join_with(ours: ZeroDds, domain: i32) -> Party {
    join_as(ours, domain, QosKind::Default)
}

pub(crate) fn join_as(ours: ZeroDds, domain: i32, qos: QosKind<DomainParticipantQos>) -> Party {
    let monitor = Some(ours.monitor());
    let factory = ours.factory().unwrap();
    let participant = factory.create_participant(domain, qos, NO_LISTENER, NO_STATUS).unwrap();
    let (topic, delete) = (OnceLock::new(), Box::new(|one: &_| factory.delete_participant(one).unwrap()));
    Party { participant, monitor, is_lossy: false, topic, delete }
}

fn create<T: dust_dds::transport::interface::TransportParticipantFactory>(
    factory: &DomainParticipantFactory<T>,
    domain: i32,
) -> DomainParticipant {
    factory.create_participant(domain, QosKind::Default, NO_LISTENER, NO_STATUS).unwrap()
}

/// Dust as it comes, but for what the stack says: without type information, but for one, and with another fragment size.
fn stock_factory(stack: Stack) -> &'static DomainParticipantFactory<RtpsUdpTransportParticipantFactory> {
    let mut transport = RtpsUdpTransportParticipantFactory::default();
    if let Stack::Stock(fragment_size) = stack {
        transport.set_fragment_size(fragment_size.into()).unwrap();
    }
    let configuration = dust_dds::configuration::DustDdsConfigurationBuilder::new()
        .enable_type_information(stack == Stack::StockTyped)
        .build()
        .unwrap();
    let host_id = *b"stoc";
    let factory = DomainParticipantFactoryAsync::new(
        StdRuntime::new(),
        std::process::id().to_ne_bytes(),
        host_id,
        transport,
        configuration,
    );
    Box::leak(Box::new(DomainParticipantFactory::new(Box::leak(Box::new(factory)))))
}

impl Party {
    pub(crate) fn writer(&self, reliable: bool, depth: u32) -> DataWriter<Blob> {
        self.writer_blocking(reliable, depth, PATIENCE)
    }

    /// A writer that waits this long for readers.
    pub(crate) fn writer_blocking(
        &self,
        reliable: bool,
        depth: u32,
        max_blocking: Duration,
    ) -> DataWriter<Blob> {
        let topic = self.topic();
        let publisher = self.participant.create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS).unwrap();
        let mut reliability = reliability(reliable);
        reliability.max_blocking_time = DurationKind::Finite(dds(max_blocking));
        let qos = DataWriterQos { reliability, history: last(depth), ..Default::default() };
        publisher.create_datawriter(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS).unwrap()
    }

    pub(crate) fn reader(&self, reliable: bool, depth: u32) -> DataReader<Blob> {
        let topic = self.topic();
        let subscriber =
            self.participant.create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS).unwrap();
        let qos =
            DataReaderQos { reliability: reliability(reliable), history: last(depth), ..Default::default() };
        subscriber.create_datareader(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS).unwrap()
    }

    fn topic(&self) -> Topic {
        let qos = QosKind::Default;
        let create =
            || self.participant.create_topic::<Blob>(TOPIC, "Blob", qos, NO_LISTENER, NO_STATUS).unwrap();
        self.topic.get_or_init(create).clone()
    }

    /// Deletes the reader, and stays.
    pub(crate) fn delete_reader(&self, reader: &DataReader<Blob>) {
        reader.get_subscriber().delete_datareader(reader).unwrap();
    }

    /// Waits until there is a link: Dust may have matched somebody before shared memory reaches them.
    pub(crate) fn wait_for_link(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.monitor.as_ref().unwrap().counters().links == 0 {
            assert!(Instant::now() < deadline, "no link");
            std::thread::yield_now();
        }
    }

    /// Deletes everything, and returns once Dust has.
    pub(crate) fn leave(self) {
        self.participant.delete_contained_entities().unwrap();
        (self.delete)(&self.participant);
        if self.is_lossy {
            assert!(self.monitor.unwrap().udp_faults() > 0, "no datagram was lost on purpose");
        }
    }
}

fn reliability(reliable: bool) -> ReliabilityQosPolicy {
    let kind =
        if reliable { ReliabilityQosPolicyKind::Reliable } else { ReliabilityQosPolicyKind::BestEffort };
    ReliabilityQosPolicy { kind, max_blocking_time: DurationKind::Finite(dds(PATIENCE)) }
}

fn last(depth: u32) -> HistoryQosPolicy {
    HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(depth) }
}

fn dds(duration: Duration) -> DdsDuration {
    DdsDuration::from(duration)
}

/// Blocks until this many readers are matched.
pub(crate) fn wait_for_readers(writer: &DataWriter<Blob>, count: i32) {
    let condition = writer.get_statuscondition();
    condition.set_enabled_statuses(&[StatusKind::PublicationMatched]).unwrap();
    let mut wait_set = WaitSet::new();
    wait_set.attach_condition(Condition::StatusCondition(condition)).unwrap();
    while writer.get_publication_matched_status().unwrap().current_count != count {
        wait_set.wait(dds(PATIENCE)).expect("a matched reader");
    }
}

/// Blocks until this many writers are matched.
pub(crate) fn wait_for_writers(reader: &DataReader<Blob>, count: i32) {
    let condition = reader.get_statuscondition();
    condition.set_enabled_statuses(&[StatusKind::SubscriptionMatched]).unwrap();
    let mut wait_set = WaitSet::new();
    wait_set.attach_condition(Condition::StatusCondition(condition)).unwrap();
    while reader.get_subscription_matched_status().unwrap().current_count != count {
        wait_set.wait(dds(PATIENCE)).expect("a matched writer");
    }
}

/// Sample `number` of this length; every byte of it depends on both.
pub(crate) fn blob(number: u32, len: usize) -> Blob {
    let block: Vec<u8> =
        (0..65_521_u32).map(|index| (index ^ number.wrapping_mul(0x9e37_79b9)) as u8).collect();
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&block[..block.len().min(len - bytes.len())]);
    }
    Blob { number, bytes }
}

/// Writes one sample of each length and waits until all are acknowledged.
pub(crate) fn publish(writer: &DataWriter<Blob>, lens: &[usize]) {
    for (number, &len) in (0..).zip(lens) {
        writer.write(blob(number, len), None).expect("written");
    }
    writer.wait_for_acknowledgments(dds(PATIENCE)).expect("all acknowledged");
}

/// Takes one sample of each length, in order, and nothing else.
pub(crate) fn subscribe(reader: &DataReader<Blob>, lens: &[usize]) {
    subscribe_to_rounds(reader, lens, 1);
}

/// As often as that, each time with numbers from 0. In one call, since samples of the next round may come along.
pub(crate) fn subscribe_to_rounds(reader: &DataReader<Blob>, lens: &[usize], rounds: usize) {
    let condition = reader.get_statuscondition();
    condition.set_enabled_statuses(&[StatusKind::DataAvailable]).unwrap();
    let mut wait_set = WaitSet::new();
    wait_set.attach_condition(Condition::StatusCondition(condition)).unwrap();
    let mut expected = (0..rounds).flat_map(|_| (0..).zip(lens.iter().copied()));
    let mut outstanding = rounds * lens.len();
    let deadline = Instant::now() + PATIENCE;
    while outstanding > 0 {
        if let Err(error) = wait_set.wait(dds(deadline.saturating_duration_since(Instant::now()))) {
            panic!("{error:?} with {outstanding} of {} samples to come", rounds * lens.len());
        }
        let Ok(samples) = reader.take(64, ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE) else {
            continue;
        };
        for sample in samples.into_iter().filter_map(|sample| sample.data) {
            let (number, len) = expected.next().expect("no more than was written");
            assert_eq!((sample.number, sample.bytes.len()), (number, len));
            assert!(sample.bytes == blob(number, len).bytes, "sample {number} of {len} bytes is corrupt");
            outstanding -= 1;
        }
    }
}

/// Runs `test` of this binary again, in a role; the child ends with its parent.
pub(crate) fn child(test: &str, role: &str) -> Guard {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Guard(child)
}

/// The role this process was started for, its words separated by spaces.
pub(crate) fn role() -> Option<Vec<String>> {
    Some(std::env::var(ROLE).ok()?.split(' ').map(str::to_owned).collect())
}

/// A child that does not outlive the test.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    /// Waits for the child to end by itself, and for it to have found nothing wrong.
    pub(crate) fn succeed(mut self) {
        assert!(self.0.wait().unwrap().success(), "the other process failed; see its output above");
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A domain that no other run of this host has, for as long as this process lives.
pub(crate) fn random_domain() -> i32 {
    static HELD: Mutex<Vec<Domain>> = Mutex::new(Vec::new());
    let domain = Domain::own();
    assert!(domain.is_held(), "no domain that nobody has");
    let number = domain.number() as i32;
    HELD.lock().unwrap().push(domain);
    number
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("ours"),
            Self::OursUdp => f.write_str("udp"),
            Self::OursLossy(per_mille) => write!(f, "lossy:{per_mille}"),
            Self::Stock(fragment_size) => write!(f, "stock:{fragment_size}"),
            Self::StockTyped => f.write_str("typed"),
        }
    }
}

impl FromStr for Stack {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("lossy", per_mille)) => Self::OursLossy(per_mille.parse()?),
            Some((_, fragment_size)) => Self::Stock(fragment_size.parse()?),
            None if text == "udp" => Self::OursUdp,
            None if text == "typed" => Self::StockTyped,
            None => Self::Ours,
        })
    }
}
