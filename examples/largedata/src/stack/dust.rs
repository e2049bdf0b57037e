//! `--stack dust`: ROS 2 messages through Dust DDS, with the zerodds plug-in as its transport.
//!
//! ```text
//!   main thread            Dust's executor thread           taking thread       main thread
//!   write(message) ──────▶ writer ─▶ transport ─▶ reader ──▶ wait, take, ──────▶ next()
//!                                                            time, queue         verifies
//! ```
//! Samples are taken by a thread that waits on the reader's condition, so that verifying one sample does not
//! delay the next. A listener would save the wake-ups of that thread, about 0.1 ms, but Dust runs listeners on
//! the thread that also receives: while messages keep coming they are not called, and samples pile up.
//!
//! Quality of service: a reliable writer keeps the last n samples and blocks while the oldest of them is not
//! acknowledged, so nothing is lost; KEEP_ALL would never free what was acknowledged. The reader keeps all:
//! what it has acknowledged it must not drop before it was taken.
//!
//! Dust's listeners tell of new matches only, not of lost ones, so matches are asked for.

use super::settings::Settings;
use super::{
    Arrival, ByPath, Mark, OpenError, Publication, PublishError, Reliability, StackKind, StackOptions,
    Subscription, arrival,
};
use crate::clock;
use crate::messages::{Image, PointCloud2, Prepared, RosMessage, Time, UInt8MultiArray};
use crate::samples::{Message, Sample};
use crate::stamp::{Damage, Stamp};
use bytes::Bytes;
use dust_dds::configuration::DustDdsConfigurationBuilder;
use dust_dds::domain::domain_participant::DomainParticipant;
use dust_dds::domain::domain_participant_factory::DomainParticipantFactory;
use dust_dds::infrastructure::error::DdsError;
use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataReaderQos, DataWriterQos, QosKind};
use dust_dds::infrastructure::qos_policy::{
    HistoryQosPolicy, HistoryQosPolicyKind, ReliabilityQosPolicy, ReliabilityQosPolicyKind,
};
use dust_dds::infrastructure::sample_info::Sample as DdsSample;
use dust_dds::infrastructure::status::{NO_STATUS, StatusKind};
use dust_dds::infrastructure::time::{Duration as DdsDuration, DurationKind};
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::subscription::data_reader::DataReader;
use dust_dds::transport::interface::TransportParticipantFactory;
use dust_dds::wait_set::{Condition, WaitSet};
use dust_dds::xtypes::type_support::TypeSupport;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use zerodds_dust_dds::{Monitor, ZeroDds};

/// A participant, who knows its paths, and how to take leave of it.
struct Participant {
    participant: DomainParticipant,
    monitor: Option<Monitor>,
    delete: Box<dyn Fn(&DomainParticipant) + Send>,
    domain: u32,
}

impl Participant {
    fn open(options: &StackOptions) -> Result<Self, OpenError> {
        if options.stack == StackKind::StockDust {
            return Self::create(stock_factory(options)?, None, options.domain);
        }
        let settings = Settings::new(options)?;
        let zerodds = ZeroDds::new(settings.shm, settings.udp);
        let monitor = zerodds.monitor();
        let factory = zerodds.factory().map_err(|error| OpenError::Stack {
            what: "making the factory",
            domain: options.domain,
            why: error.to_string(),
        })?;
        Self::create(factory, Some(monitor), options.domain)
    }

    fn create<T: TransportParticipantFactory + Sync>(
        factory: &'static DomainParticipantFactory<T>,
        monitor: Option<Monitor>,
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
        Ok(Self { participant, monitor, delete, domain })
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

    /// What Dust said, in this program's words.
    fn refused(&self, error: DdsError) -> PublishError {
        match error {
            DdsError::Timeout => PublishError::Timeout(self.max_blocking),
            error => PublishError::Stack(format!("{error:?}")),
        }
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
        written.map_err(|error| self.refused(error))
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.max_blocking;
        acknowledged(self.clouds.as_ref(), deadline)
            .and_then(|()| acknowledged(self.images.as_ref(), deadline))
            .and_then(|()| acknowledged(self.bytes.as_ref(), deadline))
            .map_err(|error| self.refused(error))
    }

    fn close(&mut self) {
        self.participant.close();
    }
}

fn writer<M: Prepared + TypeSupport>(
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

/// Waits until what was written is acknowledged.
fn acknowledged<M>(writer: Option<&DataWriter<M>>, deadline: Instant) -> Result<(), DdsError> {
    let left = deadline.saturating_duration_since(Instant::now());
    writer.map_or(Ok(()), |writer| writer.wait_for_acknowledgments(dds_duration(left)))
}

fn dds_duration(duration: Duration) -> DdsDuration {
    DdsDuration::new(duration.as_secs() as i32, duration.subsec_nanos())
}

fn reliability(options: &StackOptions) -> ReliabilityQosPolicy {
    ReliabilityQosPolicy {
        kind: match options.reliability {
            Reliability::Reliable => ReliabilityQosPolicyKind::Reliable,
            Reliability::BestEffort => ReliabilityQosPolicyKind::BestEffort,
        },
        max_blocking_time: DurationKind::Finite(dds_duration(options.max_blocking)),
    }
}

/// Fills a message of its own, takes the time, stamps and writes it.
fn write<M: Prepared + TypeSupport>(
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
    /// What stock Dust, which has no monitor and one path only, has delivered.
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
        self.participant.monitor.as_ref().map_or(ByPath { shm: 0, udp: self.received }, |monitor| {
            let traffic = monitor.traffic();
            ByPath { shm: traffic.shm.samples_received, udp: traffic.udp.samples_received }
        })
    }

    fn close(&mut self) {
        self.participant.close();
    }
}

fn reader<M: RosMessage + TypeSupport>(
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
    let reader = subscriber
        .create_datareader::<M>(&topic, QosKind::Specific(qos), NO_LISTENER, NO_STATUS)
        .map_err(failed("creating the reader", domain))?;
    let condition = reader.get_statuscondition();
    condition
        .set_enabled_statuses(&[StatusKind::DataAvailable])
        .map_err(failed("watching the reader", domain))?;
    let mut waiting = WaitSet::new();
    waiting
        .attach_condition(Condition::StatusCondition(condition))
        .map_err(failed("watching the reader", domain))?;
    let taker = Taker { reader: reader.clone(), waiting, queue: queue.clone() };
    thread::spawn(move || taker.run());
    Ok(Some(reader))
}

/// Takes every sample as soon as it is there, notes the time and passes it on.
struct Taker<M> {
    reader: DataReader<M>,
    waiting: WaitSet,
    queue: mpsc::Sender<Arrival>,
}

impl<M: RosMessage + TypeSupport> Taker<M> {
    /// Until the reader is deleted or nobody wants the samples any more.
    fn run(self) {
        loop {
            match self.reader.take_next_sample() {
                Ok(sample) => {
                    let received_ns = clock::monotonic_ns();
                    if taken(sample, received_ns).is_some_and(|arrival| self.queue.send(arrival).is_err()) {
                        return;
                    }
                }
                Err(DdsError::NoData) => {
                    if self.waiting.wait(FOREVER).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// What arrived; `None` for news without data, such as a writer that left.
fn taken<M: RosMessage>(sample: DdsSample<M>, received_ns: u64) -> Option<Arrival> {
    let damaged = Arrival {
        received_ns,
        published_ns: None,
        kind: M::KIND,
        stamp: Err(Damage::NoStamp),
        payload: Bytes::new(),
    };
    match sample.data {
        Some(message) => Some(arrival(message, received_ns)),
        None => sample.sample_info.valid_data.then_some(damaged),
    }
}

/// Never cut short: Dust takes the answer to a question that was given up for that to the next one.
const FOREVER: DdsDuration = DdsDuration::new(i32::MAX, 0);
const STOCK_RECEIVE_BUFFER: usize = 4 << 20;
