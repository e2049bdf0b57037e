//! The registry's `zerodds-dcps` 1.0.0-rc.7, a DDS with its feature `same-host-shm`, which shares nothing with this
//! project but a name: `published-zerodds-dds` as it comes, `published-zerodds-dds-tuned`.
//!
//! Both: RELIABLE on both sides, KEEP_LAST as deep as other queues, and the `RawBytes` type, whose octets are the sample.
//! Samples are waited for with `wait_for_data` and taken with `take` (its examples `latency_ping` and `latency_pong`).
//!
//! As it comes, a sample of 1 MiB is cut into 780 fragments of 1344 bytes, repaired after 200 ms, and at most 512 KiB may
//! be unacknowledged. Tuned, by the documentation of `RuntimeConfig` and `UdpTransportConfig`:
//! - `udp.max_message_size` 65,507: the fragment size follows the smallest of its transports (DDSI-RTPS 2.5 §8.4.14.1);
//! - `shm_max_datagram` for the largest sample: the ring holds four of them, and what does not fit goes by UDP;
//! - `reader_heartbeat_response_delay` and `nack_response_delay` 0 instead of 500 ms and 200 ms: answered on the next tick;
//! - `tick_period` 1 ms instead of 5 ms; `writer_heartbeat_period` 10 ms instead of 100 ms;
//! - `writer_unacked_window` and `max_reassembly_sample_bytes` that admit several of the largest samples.

use published_dcps::dds_type::RawBytes;
use published_dcps::qos::{HistoryKind, HistoryQosPolicy, ReliabilityKind, ResourceLimitsQosPolicy};
use published_dcps::runtime::RuntimeConfig;
use published_dcps::{
    DataReader, DataReaderQos, DataWriter, DataWriterQos, DdsError, DomainParticipant,
    DomainParticipantFactory, DomainParticipantQos, PublisherQos, SubscriberQos, Topic, TopicQos,
};
use std::time::{Duration, Instant};
use zerodds_benches::system::{Failure, Lane, Party, Seat, System};

/// How it is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// As it comes.
    Defaults,
    /// For speed.
    Tuned,
}

/// The published DDS.
pub(crate) struct PublishedDds(pub(crate) Tuning);

impl System for PublishedDds {
    fn name(&self) -> &str {
        match self.0 {
            Tuning::Defaults => "published-zerodds-dds",
            Tuning::Tuned => "published-zerodds-dds-tuned",
        }
    }

    /// It looks around each millisecond, or each five, which the others would feel.
    fn is_busy_when_idle(&self) -> bool {
        true
    }

    fn set_up(&self) -> String {
        let how = match self.0 {
            Tuning::Defaults => "as it comes",
            Tuning::Tuned => "datagrams of 65,507, rings for four of the largest sample, answers at once",
        };
        format!("zerodds-dcps 1.0.0-rc.7 of the registry with same-host-shm, reliable, {how}")
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let config = config(self.0, seat.message_max);
        let participant = DomainParticipantFactory::instance()
            .create_participant_with_config(
                seat.domain as i32,
                DomainParticipantQos::default(),
                config,
            )
            .map_err(failed("creating a participant"))?;
        let reader = seat.reads.as_ref().map(|lane| reader(&participant, lane, &seat)).transpose()?;
        let writer = seat.writes.as_ref().map(|lane| writer(&participant, lane, &seat)).transpose()?;
        let peers = |lane: Option<&Lane>| lane.map_or(0, |lane| lane.peers.len());
        Ok(Box::new(PublishedParty {
            readers: peers(seat.writes.as_ref()),
            writers: peers(seat.reads.as_ref()),
            reader,
            writer,
            sample: RawBytes::new(Vec::new()),
            participant,
        }))
    }
}

/// Endpoints before the participant, so that they go first.
struct PublishedParty {
    reader: Option<DataReader<RawBytes>>,
    writer: Option<DataWriter<RawBytes>>,
    readers: usize,
    writers: usize,
    sample: RawBytes,
    participant: DomainParticipant,
}

impl Drop for PublishedParty {
    /// The factory keeps what is not deleted, and with it files in /dev/shm and /tmp. Its rings and bells it does not always
    /// remove in the time that it has to end.
    fn drop(&mut self) {
        crate::leftovers::remove_mapped(|name| name.starts_with("zd-") || name.starts_with("zdb-"));
        (self.reader, self.writer) = (None, None);
        let _ = self.participant.delete_contained_entities();
        let _ = DomainParticipantFactory::instance().delete_participant(&self.participant);
    }
}

impl Party for PublishedParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        let is_heard =
            self.writer.as_ref().is_none_or(|writer| writer.matched_subscription_count() >= self.readers);
        let hears =
            self.reader.as_ref().is_none_or(|reader| reader.matched_publication_count() >= self.writers);
        Ok(is_heard && hears)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let writer = self.writer.as_ref().ok_or_else(super::no_such_lane)?;
        self.sample.data.resize(len, 0);
        fill(&mut self.sample.data);
        writer.write(&self.sample).map_err(failed("writing"))
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let reader = self.reader.as_ref().ok_or_else(super::no_such_lane)?;
        loop {
            let samples = reader.take().map_err(failed("taking"))?;
            samples.iter().for_each(|sample| read(&sample.data));
            let left = until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
            if !samples.is_empty() || left.is_zero() {
                return Ok(samples.len());
            }
            match reader.wait_for_data(left) {
                Ok(()) | Err(DdsError::Timeout) => {}
                Err(error) => return Err(failed("waiting")(error)),
            }
        }
    }
}

fn config(tuning: Tuning, message_max: usize) -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    if tuning == Tuning::Tuned {
        let largest = message_max + (64 << 10);
        config.udp.max_message_size = 65_507;
        config.shm_max_datagram = largest;
        config.reader_heartbeat_response_delay = Duration::ZERO;
        config.nack_response_delay = Duration::ZERO;
        config.tick_period = Duration::from_millis(1);
        config.writer_heartbeat_period = Duration::from_millis(10);
        config.writer_unacked_window = 4 * largest;
        config.max_reassembly_sample_bytes = 4 * largest;
    }
    config
}

fn topic(participant: &DomainParticipant, lane: &Lane) -> Result<Topic<RawBytes>, Failure> {
    participant.create_topic::<RawBytes>(&lane.topic, TopicQos::default()).map_err(failed("creating a topic"))
}

fn writer(
    participant: &DomainParticipant,
    lane: &Lane,
    seat: &Seat,
) -> Result<DataWriter<RawBytes>, Failure> {
    let mut qos =
        DataWriterQos { history: history(), resource_limits: limits(seat), ..DataWriterQos::default() };
    qos.reliability.kind = ReliabilityKind::Reliable;
    qos.reliability.max_blocking_time = published_qos::Duration::from_sec_nanosec(10, 0);
    participant
        .create_publisher(PublisherQos::default())
        .create_datawriter::<RawBytes>(&topic(participant, lane)?, qos)
        .map_err(failed("creating a writer"))
}

fn reader(
    participant: &DomainParticipant,
    lane: &Lane,
    seat: &Seat,
) -> Result<DataReader<RawBytes>, Failure> {
    let mut qos =
        DataReaderQos { history: history(), resource_limits: limits(seat), ..DataReaderQos::default() };
    qos.reliability.kind = ReliabilityKind::Reliable;
    participant
        .create_subscriber(SubscriberQos::default())
        .create_datareader::<RawBytes>(&topic(participant, lane)?, qos)
        .map_err(failed("creating a reader"))
}

/// All is kept until it is taken and acknowledged: KEEP_LAST would lose samples, although reliable.
fn history() -> HistoryQosPolicy {
    HistoryQosPolicy { kind: HistoryKind::KeepAll, depth: 0 }
}

fn limits(seat: &Seat) -> ResourceLimitsQosPolicy {
    let samples = super::depth(seat.message_max) as i32;
    ResourceLimitsQosPolicy { max_samples: samples, max_instances: 1, max_samples_per_instance: samples }
}

fn failed(what: &'static str) -> impl Fn(DdsError) -> Failure {
    move |why| Failure::of(what, format!("{why:?}"))
}

const FOREVER: Duration = Duration::from_secs(3600);
