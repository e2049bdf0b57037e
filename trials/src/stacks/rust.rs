//! A participant of RustDDS with its session.

use super::{Participant, Place, round_of, sample};
use bytes::Bytes;
use rustdds::dds::WriteError;
use rustdds::policy::{History, Reliability};
use rustdds::{DomainParticipant, QosPolicies, QosPolicyBuilder, ReadCondition, TopicKind};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use zerodds_rustdds::{Config, ZeroDds, no_key};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Chunk {
    #[serde(with = "zerodds_rustdds::bytes")]
    data: Bytes,
}

pub(super) struct Party {
    writers: Vec<no_key::DataWriter<Chunk>>,
    readers: Vec<no_key::DataReader<Chunk>>,
    /// It keeps the participant, so it goes after the endpoints.
    zerodds: ZeroDds,
    /// By reader: the last round that it has heard of.
    last: HashMap<usize, u64>,
}

fn said(what: &'static str) -> impl Fn(&dyn std::fmt::Debug) -> String {
    move |error| format!("{what}: {error:?}")
}

impl Party {
    pub(super) fn open(place: Place) -> Result<Self, String> {
        let participant =
            DomainParticipant::new(place.domain as u16).map_err(|error| said("a participant")(&error))?;
        let zerodds =
            ZeroDds::attach(&participant, Config::default()).map_err(|error| said("a session")(&error))?;
        let max_blocking_time = rustdds::Duration::from_secs(5);
        let qos = QosPolicyBuilder::new()
            .reliability(Reliability::Reliable { max_blocking_time })
            .history(History::KeepLast { depth: 1 })
            .build();
        let topic = |name: String| {
            let none = QosPolicies::qos_none();
            let made = participant.create_topic(name, "Chunk".into(), &none, TopicKind::NoKey);
            made.map_err(|error| said("a topic")(&error))
        };
        let publisher = zerodds.create_publisher(&qos).map_err(|error| said("a publisher")(&error))?;
        let subscriber = zerodds.create_subscriber(&qos).map_err(|error| said("a subscriber")(&error))?;
        let writers = place.writes().map(|name| {
            let made = publisher.create_datawriter_no_key_cdr(&topic(name)?, None);
            made.map_err(|error| said("a writer")(&error))
        });
        let writers = writers.collect::<Result<_, String>>()?;
        let readers = place.reads().map(|name| {
            let made = subscriber.create_datareader_no_key_cdr(&topic(name)?, None);
            made.map_err(|error| said("a reader")(&error))
        });
        let readers = readers.collect::<Result<_, String>>()?;
        Ok(Self { zerodds, writers, readers, last: HashMap::new() })
    }
}

impl Participant for Party {
    fn write(&mut self, round: u64) -> Result<bool, String> {
        let data = Bytes::from(sample(round, SAMPLE_LEN));
        let mut all = true;
        for writer in &self.writers {
            match writer.write(Chunk { data: data.clone() }, None) {
                Ok(()) => {}
                // A reliable writer has waited for a reader.
                Err(WriteError::WouldBlock { .. }) => all = false,
                Err(error) => return Err(said("written")(&error)),
            }
        }
        Ok(all)
    }

    fn heard(&mut self, round: u64) -> Result<u64, String> {
        for (nth, reader) in self.readers.iter_mut().enumerate() {
            let taken = reader.take(usize::MAX, ReadCondition::any());
            for sample in taken.map_err(|error| said("taken")(&error))? {
                self.last.insert(nth, round_of(&sample.into_value().data)?);
            }
        }
        Ok(self.last.values().filter(|&&last| last == round).count() as u64)
    }

    fn shared(&self) -> (u64, u64) {
        let stats = self.zerodds.stats();
        (stats.arrived_samples, stats.transport.links)
    }
}

/// Above the size from which samples are shared.
const SAMPLE_LEN: usize = 20_000;
