//! A participant of Dust DDS with the plug-in.

use super::{Participant, Place, round_of, sample};
use dust_dds::domain::domain_participant::DomainParticipant;
use dust_dds::infrastructure::error::DdsError;
use dust_dds::infrastructure::listener::NO_LISTENER;
use dust_dds::infrastructure::qos::{DataReaderQos, DataWriterQos, QosKind};
use dust_dds::infrastructure::qos_policy::{
    HistoryQosPolicy, HistoryQosPolicyKind, ReliabilityQosPolicy, ReliabilityQosPolicyKind,
};
use dust_dds::infrastructure::sample_info::{ANY_INSTANCE_STATE, ANY_SAMPLE_STATE, ANY_VIEW_STATE};
use dust_dds::infrastructure::status::NO_STATUS;
use dust_dds::infrastructure::time::{Duration as DdsDuration, DurationKind};
use dust_dds::infrastructure::type_support::DdsType;
use dust_dds::publication::data_writer::DataWriter;
use dust_dds::subscription::data_reader::DataReader;
use std::collections::HashMap;
use zerodds_dust_dds::{Monitor, ZeroDds};

#[derive(Clone, Debug, PartialEq, DdsType)]
struct Blob {
    bytes: Vec<u8>,
}

pub(super) struct Party {
    monitor: Monitor,
    /// Its endpoints go with it.
    _participant: DomainParticipant,
    writers: Vec<DataWriter<Blob>>,
    readers: Vec<DataReader<Blob>>,
    last: HashMap<usize, u64>,
}

fn said(what: &'static str) -> impl Fn(DdsError) -> String {
    move |error| format!("{what}: {error:?}")
}

impl Party {
    pub(super) fn open(place: Place) -> Result<Self, String> {
        let zerodds = ZeroDds::from_env().map_err(|error| error.to_string())?;
        let monitor = zerodds.monitor();
        let factory = zerodds.factory().map_err(|error| error.to_string())?;
        let participant = factory
            .create_participant(place.domain as i32, QosKind::Default, NO_LISTENER, NO_STATUS)
            .map_err(said("a participant"))?;
        let topic = |name: String| {
            participant
                .create_topic::<Blob>(&name, "Blob", QosKind::Default, NO_LISTENER, NO_STATUS)
                .map_err(said("a topic"))
        };
        // A reliable writer would wait for readers that are still being discovered; a round that does not come is followed by
        // another.
        let reliability = ReliabilityQosPolicy {
            kind: ReliabilityQosPolicyKind::BestEffort,
            max_blocking_time: DurationKind::Finite(DdsDuration::new(0, 0)),
        };
        let history = HistoryQosPolicy { kind: HistoryQosPolicyKind::KeepLast(8) };
        let publisher = participant
            .create_publisher(QosKind::Default, NO_LISTENER, NO_STATUS)
            .map_err(said("a publisher"))?;
        let subscriber = participant
            .create_subscriber(QosKind::Default, NO_LISTENER, NO_STATUS)
            .map_err(said("a subscriber"))?;
        let writers = place.writes().map(|name| {
            let qos = DataWriterQos {
                reliability: reliability.clone(),
                history: history.clone(),
                ..Default::default()
            };
            let made =
                publisher.create_datawriter(&topic(name)?, QosKind::Specific(qos), NO_LISTENER, NO_STATUS);
            made.map_err(said("a writer"))
        });
        let writers = writers.collect::<Result<_, String>>()?;
        let readers = place.reads().map(|name| {
            let qos = DataReaderQos {
                reliability: reliability.clone(),
                history: history.clone(),
                ..Default::default()
            };
            let made =
                subscriber.create_datareader(&topic(name)?, QosKind::Specific(qos), NO_LISTENER, NO_STATUS);
            made.map_err(said("a reader"))
        });
        let readers = readers.collect::<Result<_, String>>()?;
        Ok(Self { monitor, _participant: participant, writers, readers, last: HashMap::new() })
    }
}

impl Participant for Party {
    fn write(&mut self, round: u64) -> Result<bool, String> {
        for writer in &self.writers {
            writer.write(Blob { bytes: sample(round, SAMPLE_LEN) }, None).map_err(said("written"))?;
        }
        Ok(true)
    }

    fn heard(&mut self, round: u64) -> Result<u64, String> {
        for (nth, reader) in self.readers.iter().enumerate() {
            if self.last.get(&nth) == Some(&round) {
                // Dust has one thread for everything; who asks keeps it from discovery.
                continue;
            }
            // An error: there is nothing.
            let Ok(samples) = reader.take(16, ANY_SAMPLE_STATE, ANY_VIEW_STATE, ANY_INSTANCE_STATE) else {
                continue;
            };
            for blob in samples.into_iter().filter_map(|sample| sample.data) {
                self.last.insert(nth, round_of(&blob.bytes)?);
            }
        }
        Ok(self.last.values().filter(|&&last| last == round).count() as u64)
    }

    fn shared(&self) -> (u64, u64) {
        (self.monitor.traffic().shm.samples_received, self.monitor.counters().links)
    }
}

/// Dust sends every size by shared memory, and encodes each byte by itself.
const SAMPLE_LEN: usize = 2_000;
