//! `dust`, `plain-dust-65000` and `plain-dust`: one Dust DDS participant a process, reliable, waiting by a WaitSet.
//!
//! Dust has neither loans nor views: a sample is a `Vec<u8>` that is copied at both ends, whatever carries it. Plain
//! Dust sends fragments of 65,000 bytes, its best, or of the size that it comes with.

use crate::system::{Failure, Lane, Party, Seat, System};
use dust_dds::configuration::DustDdsConfigurationBuilder;
use dust_dds::domain::domain_participant::DomainParticipant;
use dust_dds::domain::domain_participant_factory::DomainParticipantFactory;
use dust_dds::infrastructure::error::DdsError;
use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataReaderQos, DataWriterQos, QosKind};
use dust_dds::infrastructure::qos_policy::{
    HistoryQosPolicy, HistoryQosPolicyKind, ReliabilityQosPolicy, ReliabilityQosPolicyKind,
};
use dust_dds::infrastructure::status::{NO_STATUS, StatusKind};
use dust_dds::infrastructure::time::{Duration as DdsDuration, DurationKind};
use dust_dds::infrastructure::type_support::DdsType;
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::subscription::data_reader::DataReader;
use dust_dds::transport::interface::TransportParticipantFactory;
use dust_dds::wait_set::{Condition, WaitSet};
use std::time::Instant;
use zerodds_dust_dds::{Monitor, ZeroDds};

/// Dust DDS in one of its ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dust {
    Shared,
    /// Over its own UDP, with the largest fragments.
    Tuned,
    /// As it comes.
    Plain,
}

impl Dust {
    pub(super) const ALL: [Self; 3] = [Self::Shared, Self::Tuned, Self::Plain];
}

#[derive(Clone, Debug, Default, PartialEq, DdsType)]
#[dust_dds(name = "bench::Blob_")]
struct Blob {
    data: Vec<u8>,
}

impl System for Dust {
    fn name(&self) -> &str {
        match self {
            Self::Shared => "dust",
            Self::Tuned => "plain-dust-65000",
            Self::Plain => "plain-dust",
        }
    }

    fn set_up(&self) -> String {
        let way = match self {
            Self::Shared => "this project as its transport",
            Self::Tuned => "its own UDP, fragments of 65000, receive buffer of 4 MiB",
            Self::Plain => "its own UDP with its defaults",
        };
        format!("Dust DDS 0.16, reliable, waiting by a WaitSet; {way}; copies at both ends")
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let domain = seat.domain as i32;
        let mut monitor = None;
        let participant = match self {
            Self::Shared => {
                let zerodds =
                    ZeroDds::from_env().map_err(|error| Failure::of("reading the settings", error))?;
                monitor = Some(zerodds.monitor());
                let factory = zerodds.factory().map_err(|error| Failure::of("making the factory", error))?;
                participant(factory, domain)?
            }
            Self::Tuned => participant(tuned_factory()?, domain)?,
            Self::Plain => participant(DomainParticipantFactory::get_instance(), domain)?,
        };
        let writer = seat.writes.as_ref().map(|lane| writer(&participant, &seat, lane)).transpose()?;
        let reader = seat.reads.as_ref().map(|lane| reader(&participant, &seat, lane)).transpose()?;
        let readers = seat.writes.as_ref().map_or(0, |lane| lane.peers.len());
        let writers = seat.reads.as_ref().map_or(0, |lane| lane.peers.len());
        Ok(Box::new(DustParty {
            writer,
            reader,
            readers,
            writers,
            blob: Blob::default(),
            monitor,
            _participant: participant,
        }))
    }
}

struct DustParty {
    writer: Option<DataWriter<Blob>>,
    reader: Option<(DataReader<Blob>, WaitSet)>,
    readers: usize,
    writers: usize,
    blob: Blob,
    monitor: Option<Monitor>,
    _participant: DomainParticipant,
}

impl Party for DustParty {
    fn written_bytes(&self) -> Option<u64> {
        self.monitor.as_ref().map(|monitor| monitor.counters().written_bytes)
    }

    fn is_complete(&mut self) -> Result<bool, Failure> {
        let readers = match &self.writer {
            Some(writer) => writer.get_matched_subscriptions().map_err(failed("asking for matches"))?.len(),
            None => 0,
        };
        let writers = match &self.reader {
            Some((reader, _)) => {
                reader.get_matched_publications().map_err(failed("asking for matches"))?.len()
            }
            None => 0,
        };
        Ok(readers >= self.readers && writers >= self.writers)
    }

    fn can_stop_waiting(&self) -> bool {
        // Dust takes the answer to a question that was given up for that to the next one.
        false
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let Some(writer) = &self.writer else {
            return Err(Failure::Unsupported("sending from a seat that only receives".to_owned()));
        };
        // The sample is given away, so each one needs memory of its own.
        let mut data = std::mem::take(&mut self.blob.data);
        data.resize(len, 0);
        fill(&mut data);
        writer.write(Blob { data }, None).map_err(failed("writing"))
    }

    fn receive(&mut self, _until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let Some((reader, waiting)) = &self.reader else {
            return Err(Failure::Unsupported("receiving at a seat that only sends".to_owned()));
        };
        loop {
            match reader.take_next_sample() {
                Ok(sample) => {
                    if let Some(blob) = sample.data {
                        read(&blob.data);
                        return Ok(1);
                    }
                }
                Err(DdsError::NoData) => {
                    waiting.wait(FOREVER).map_err(failed("waiting for samples"))?;
                }
                Err(error) => return Err(failed("reading")(error)),
            }
        }
    }
}

fn participant<T: TransportParticipantFactory + Sync>(
    factory: &'static DomainParticipantFactory<T>,
    domain: i32,
) -> Result<DomainParticipant, Failure> {
    factory
        .create_participant(domain, QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the participant"))
}

fn tuned_factory() -> Result<&'static DomainParticipantFactory, Failure> {
    let factory = DomainParticipantFactory::get_instance();
    let configuration = DustDdsConfigurationBuilder::new().enable_type_information(false).build();
    *factory.get_mut_configuration() = configuration.map_err(failed("configuring Dust DDS"))?;
    let mut transport = factory.get_mut_transport();
    transport.set_udp_receive_buffer_size(Some(RECEIVE_BUFFER_BYTES));
    transport.set_fragment_size(FRAGMENT_BYTES).map_err(failed("setting the fragment size"))?;
    drop(transport);
    Ok(factory)
}

fn topic_name(seat: &Seat, lane: &Lane) -> String {
    format!("bench_{}_{}", seat.run, lane.topic)
}

fn writer(participant: &DomainParticipant, seat: &Seat, lane: &Lane) -> Result<DataWriter<Blob>, Failure> {
    let failed = failed("creating the writer");
    let name = topic_name(seat, lane);
    let topic = participant
        .create_topic::<Blob>(&name, "bench::Blob_", QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(&failed)?;
    let publisher =
        participant.create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS).map_err(&failed)?;
    let qos = DataWriterQos {
        reliability: reliability(),
        // Two keep both sides busy; more fill buffers, and each one lost then makes Dust ask for all that follow.
        history: HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(2) },
        ..DataWriterQos::default()
    };
    publisher.create_datawriter(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS).map_err(failed)
}

fn reader(
    participant: &DomainParticipant,
    seat: &Seat,
    lane: &Lane,
) -> Result<(DataReader<Blob>, WaitSet), Failure> {
    let failed = failed("creating the reader");
    let name = topic_name(seat, lane);
    let topic = participant
        .create_topic::<Blob>(&name, "bench::Blob_", QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(&failed)?;
    let subscriber =
        participant.create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS).map_err(&failed)?;
    let qos = DataReaderQos {
        reliability: reliability(),
        history: HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepAll },
        ..DataReaderQos::default()
    };
    let reader = subscriber
        .create_datareader::<Blob>(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS)
        .map_err(&failed)?;
    let condition = reader.get_statuscondition();
    condition.set_enabled_statuses(&[StatusKind::DataAvailable]).map_err(&failed)?;
    let mut waiting = WaitSet::new();
    waiting.attach_condition(Condition::StatusCondition(condition)).map_err(&failed)?;
    Ok((reader, waiting))
}

fn reliability() -> ReliabilityQosPolicy {
    ReliabilityQosPolicy {
        kind: ReliabilityQosPolicyKind::Reliable,
        max_blocking_time: DurationKind::Finite(DdsDuration::new(8, 0)),
    }
}

fn failed(what: &'static str) -> impl Fn(DdsError) -> Failure {
    move |error| Failure::of(what, format!("{error:?}"))
}

const FOREVER: DdsDuration = DdsDuration::new(i32::MAX, 0);
const FRAGMENT_BYTES: usize = 65_000;
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
