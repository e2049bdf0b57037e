//! `--stack dust`: ROS 2 messages through Dust DDS, with the zerodds plug-in as its transport.
//!
//! ```text
//!   main thread            Dust's executor thread                         verifying thread
//!   write(message) ──────▶ writer ─▶ transport ─▶ reader ─▶ listener ────▶ next()
//!                                                           take, time,
//!                                                           into a queue
//! ```
//! The subscriber takes samples in the reader's listener: it runs where Dust puts the sample together, so that
//! the latency holds no wake-up of another thread on top of Dust's own, and verifying is done elsewhere while
//! Dust goes on. A `WaitSet` asks Dust's one thread three times per sample and was slower at every size.
//!
//! Quality of service: a reliable writer keeps the last n samples and blocks while the oldest of them is not
//! acknowledged, so nothing is lost; KEEP_ALL would never free what was acknowledged. The reader keeps all:
//! what it has acknowledged it must not drop before it was taken.
//!
//! Dust's listeners tell of new matches only, not of lost ones, so matches are asked for.

use super::{
    Arrival, ByPath, Mark, OpenError, Publication, PublishError, Reliability, StackKind, StackOptions,
    Subscription,
};
use crate::clock;
use crate::messages::{Image, Kind, PointCloud2, RosMessage, Time, UInt8MultiArray};
use crate::samples::{Message, Sample};
use crate::stamp::{Damage, Stamp};
use bytes::Bytes;
use dust_dds::configuration::DustDdsConfigurationBuilder;
use dust_dds::dds_async::data_reader::DataReaderAsync;
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
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::subscription::data_reader::DataReader;
use dust_dds::subscription::data_reader_listener::DataReaderListener;
use dust_dds::transport::interface::TransportParticipantFactory;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A participant, and how to take leave of it.
struct Participant {
    participant: DomainParticipant,
    delete: Box<dyn Fn(&DomainParticipant) + Send>,
    domain: u32,
}

impl Participant {
    fn open(options: &StackOptions) -> Result<Self, OpenError> {
        match options.stack {
            StackKind::StockDust => Self::create(stock_factory(options)?, options.domain),
            _ => Self::create(stock_factory(options)?, options.domain),
        }
    }

    fn create<T: TransportParticipantFactory + Sync>(
        factory: &'static DomainParticipantFactory<T>,
        domain: u32,
    ) -> Result<Self, OpenError> {
        let participant = factory
            .create_participant(domain as i32, QosKind::Default, NO_LISTENER, NO_STATUS)
            .map_err(failed("creating the participant", domain))?;
        let delete = Box::new(|participant: &DomainParticipant| {
            // The process is about to end: a participant that cannot be deleted is removed by its lease.
            let _ = participant.delete_contained_entities();
            let _ = factory.delete_participant(participant);
        });
        Ok(Self { participant, delete, domain })
    }

    fn close(&self) {
        (self.delete)(&self.participant);
    }
}

/// Stock Dust DDS, with what it needs to carry large samples at all: fragments that fit one datagram, a
/// receive buffer of the size that the plug-in asks for, and no type information, as in the plug-in.
fn stock_factory(options: &StackOptions) -> Result<&'static DomainParticipantFactory, OpenError> {
    let factory = DomainParticipantFactory::get_instance();
    let configuration = DustDdsConfigurationBuilder::new().enable_type_information(false).build();
    *factory.get_mut_configuration() =
        configuration.map_err(failed("configuring Dust DDS", options.domain))?;
    let mut transport = factory.get_mut_transport();
    transport.set_udp_receive_buffer_size(Some(STOCK_RECEIVE_BUFFER));
    transport
        .set_fragment_size(options.fragment.0)
        .map_err(failed("setting the fragment size", options.domain))?;
    drop(transport);
    Ok(factory)
}

fn failed(what: &'static str, domain: u32) -> impl Fn(DdsError) -> OpenError {
    move |error| OpenError::Stack { what, domain, why: format!("{error:?}") }
}

/// A writer for each kind of sample that is published.
pub(crate) struct DustPublication {
    participant: Participant,
    clouds: Option<DataWriter<PointCloud2>>,
    images: Option<DataWriter<Image>>,
    bytes: Option<DataWriter<UInt8MultiArray>>,
    max_blocking: Duration,
}

impl DustPublication {
    /// Joins the domain.
    ///
    /// # Errors
    /// [`OpenError`] where Dust DDS refuses.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let participant = Participant::open(options)?;
        Ok(Self {
            clouds: writer(&participant, options)?,
            images: writer(&participant, options)?,
            bytes: writer(&participant, options)?,
            participant,
            max_blocking: options.max_blocking,
        })
    }
}

impl Publication for DustPublication {
    fn matched(&mut self) -> usize {
        fn of<M>(writer: Option<&DataWriter<M>>) -> usize {
            writer
                .and_then(|writer| writer.get_matched_subscriptions().ok())
                .map_or(0, |matched| matched.len())
        }
        of(self.clouds.as_ref()) + of(self.images.as_ref()) + of(self.bytes.as_ref())
    }

    fn publish(&mut self, sample: &Sample, mark: Mark) -> Result<(), PublishError> {
        let written = match &sample.message {
            Message::Cloud(cloud) => write(self.clouds.as_ref(), cloud, sample.payload_sum, mark),
            Message::Image(image) => write(self.images.as_ref(), image, sample.payload_sum, mark),
            Message::Bytes(bytes) => write(self.bytes.as_ref(), bytes, sample.payload_sum, mark),
        };
        written.map_err(|error| match error {
            DdsError::Timeout => PublishError::Timeout(self.max_blocking),
            error => PublishError::Stack(format!("{error:?}")),
        })
    }

    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    fn close(&mut self) {
        self.participant.close();
    }
}

fn writer<M: RosMessage>(
    participant: &Participant,
    options: &StackOptions,
) -> Result<Option<DataWriter<M>>, OpenError> {
    if !options.kinds.contains(&M::KIND) {
        return Ok(None);
    }
    let (dds, domain) = (&participant.participant, participant.domain);
    let topic = dds
        .create_topic::<M>(M::KIND.topic(), M::KIND.type_name(), QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the topic", domain))?;
    let publisher = dds
        .create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the publisher", domain))?;
    let qos = DataWriterQos {
        reliability: reliability(options),
        history: HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(options.history) },
        ..DataWriterQos::default()
    };
    let writer = publisher.create_datawriter(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS);
    writer.map(Some).map_err(failed("creating the writer", domain))
}

fn reliability(options: &StackOptions) -> ReliabilityQosPolicy {
    let (seconds, nanoseconds) = (options.max_blocking.as_secs(), options.max_blocking.subsec_nanos());
    ReliabilityQosPolicy {
        kind: match options.reliability {
            Reliability::Reliable => ReliabilityQosPolicyKind::Reliable,
            Reliability::BestEffort => ReliabilityQosPolicyKind::BestEffort,
        },
        max_blocking_time: DurationKind::Finite(DdsDuration::new(seconds as i32, nanoseconds)),
    }
}

/// Fills a message of its own, takes the time, stamps and writes it.
fn write<M: RosMessage>(
    writer: Option<&DataWriter<M>>,
    prepared: &M,
    payload_sum: u64,
    mark: Mark,
) -> Result<(), DdsError> {
    let writer = writer.ok_or(DdsError::AlreadyDeleted)?;
    let name = prepared.label().to_owned();
    let now = Time::now();
    let mut message = prepared.clone();
    let Mark { publisher, sequence, touch } = mark;
    let stamp = Stamp { publisher, sequence, published_ns: clock::monotonic_ns(), touch, payload_sum };
    message.set_label(stamp.to_text(&name), now);
    writer.write(message, None)
}

/// A reader for each kind of sample that is wanted.
pub(crate) struct DustSubscription {
    participant: Participant,
    arrivals: mpsc::Receiver<Arrival>,
    clouds: Option<DataReader<PointCloud2>>,
    images: Option<DataReader<Image>>,
    bytes: Option<DataReader<UInt8MultiArray>>,
    received: u64,
}

impl DustSubscription {
    /// Joins the domain.
    ///
    /// # Errors
    /// [`OpenError`] where Dust DDS refuses.
    pub(crate) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let participant = Participant::open(options)?;
        let (queue, arrivals) = mpsc::channel();
        Ok(Self {
            clouds: reader(&participant, options, &queue)?,
            images: reader(&participant, options, &queue)?,
            bytes: reader(&participant, options, &queue)?,
            participant,
            arrivals,
            received: 0,
        })
    }
}

impl Subscription for DustSubscription {
    fn next(&mut self, deadline: Instant) -> Option<Arrival> {
        let left = deadline.saturating_duration_since(Instant::now());
        let arrival = self.arrivals.recv_timeout(left).ok();
        self.received += u64::from(arrival.is_some());
        arrival
    }

    fn matched(&mut self) -> usize {
        fn of<M>(reader: Option<&DataReader<M>>) -> usize {
            reader
                .and_then(|reader| reader.get_matched_publications().ok())
                .map_or(0, |matched| matched.len())
        }
        of(self.clouds.as_ref()) + of(self.images.as_ref()) + of(self.bytes.as_ref())
    }

    fn by_path(&self) -> ByPath {
        ByPath { shm: 0, udp: self.received }
    }

    fn close(&mut self) {
        self.participant.close();
    }
}

fn reader<M: RosMessage>(
    participant: &Participant,
    options: &StackOptions,
    queue: &mpsc::Sender<Arrival>,
) -> Result<Option<DataReader<M>>, OpenError> {
    if !options.kinds.contains(&M::KIND) {
        return Ok(None);
    }
    let (dds, domain) = (&participant.participant, participant.domain);
    let topic = dds
        .create_topic::<M>(M::KIND.topic(), M::KIND.type_name(), QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the topic", domain))?;
    let subscriber = dds
        .create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the subscriber", domain))?;
    let qos = DataReaderQos {
        reliability: reliability(options),
        history: HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepAll },
        ..DataReaderQos::default()
    };
    let listener = Taker { kind: M::KIND, queue: queue.clone() };
    let reader = subscriber.create_datareader::<M>(
        &topic,
        QosKind::Specific(qos),
        Some(listener),
        &[StatusKind::DataAvailable],
    );
    reader.map(Some).map_err(failed("creating the reader", domain))
}

/// Takes every sample as soon as it is there, notes the time and passes it on.
struct Taker {
    kind: Kind,
    queue: mpsc::Sender<Arrival>,
}

impl<M: RosMessage> DataReaderListener<M> for Taker {
    async fn on_data_available(&mut self, reader: DataReaderAsync<M>) {
        // One notification comes per sample.
        let Ok(sample) = reader.take_next_sample().await else { return };
        let received_ns = clock::monotonic_ns();
        let (stamp, payload) = match sample.data {
            Some(message) if message.is_consistent() => {
                (Stamp::from_text(message.label()), message.into_payload().into())
            }
            Some(_) => (Err(Damage::Sizes), Bytes::new()),
            None if sample.sample_info.valid_data => (Err(Damage::NoStamp), Bytes::new()),
            None => return,
        };
        // The queue is closed once the subscription is: what arrives after that is nobody's.
        let _ = self.queue.send(Arrival { received_ns, kind: self.kind, stamp, payload });
    }
}

const STOCK_RECEIVE_BUFFER: usize = 4 << 20;
