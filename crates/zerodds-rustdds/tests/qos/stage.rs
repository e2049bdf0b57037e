//! Two casts for one play: plain RustDDS endpoints, and those of the plug-in, behind the same two traits.

use crate::parties::Domain;
use bytes::Bytes;
use rustdds::dds::ReadResult;
use rustdds::dds::sampleinfo::{InstanceState, SampleState, ViewState};
use rustdds::{
    DataReaderStatus, DataWriterStatus, DomainParticipant, GUID, Keyed, QosPolicies, RTPSEntity,
    ReadCondition, SampleInfo, StatusEvented, Timestamp, Topic, TopicKind, no_key, with_key,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use zerodds_rustdds::{Config, Events, Stats, ZeroDds};

/// What is written: of one instance on keyed topics, the same without instances elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub key: u32,
    pub number: u32,
    #[serde(with = "zerodds_rustdds::bytes")]
    pub data: Bytes,
}

impl Row {
    pub(crate) fn new(key: u32, number: u32, len: usize) -> Self {
        Self { key, number, data: crate::parties::pattern(number, len).into() }
    }
}

impl Keyed for Row {
    type K = u32;

    fn key(&self) -> u32 {
        self.key
    }
}

/// What was seen: a sample, or the end of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Sample(u32),
    Dispose(u32),
}

/// Everything that an application is told about one sample.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub what: What,
    pub intact: bool,
    pub source_timestamp: Option<Timestamp>,
    pub sample_state: SampleState,
    pub view_state: ViewState,
    pub instance_state: InstanceState,
    pub generations: [i32; 2],
    pub ranks: [i32; 3],
    pub writer: Option<GUID>,
}

impl Seen {
    fn new(what: What, intact: bool, info: &SampleInfo) -> Self {
        assert_eq!(info.writer_guid(), info.sample_identity().writer_guid);
        assert_eq!(info.writer_guid(), info.publication_handle());
        Self {
            what,
            intact,
            source_timestamp: info.source_timestamp(),
            sample_state: info.sample_state(),
            view_state: info.view_state(),
            instance_state: info.instance_state(),
            generations: [info.disposed_generation_count(), info.no_writers_generation_count()],
            ranks: [info.sample_rank(), info.generation_rank(), info.absolute_generation_rank()],
            writer: Some(info.writer_guid()),
        }
    }

    fn of_row(row: &Row, info: &SampleInfo) -> Self {
        let intact = row.data == crate::parties::pattern(row.number, row.data.len());
        Self::new(What::Sample(row.number), intact, info)
    }

    fn of_change(change: with_key::Sample<&Row, u32>, info: &SampleInfo) -> Self {
        match change {
            with_key::Sample::Value(row) => Self::of_row(row, info),
            with_key::Sample::Dispose(key) => Self::new(What::Dispose(key), true, info),
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, intact, sample_state, view_state, instance_state, generations, ranks, .. } = self;
        write!(
            f,
            "{what:?} {sample_state:?} {view_state:?} {instance_state:?} generations {generations:?} \
             ranks {ranks:?} at {:?}{}",
            self.source_timestamp.map(Timestamp::to_ticks),
            if *intact { "" } else { " BROKEN" },
        )
    }
}

/// A writer of either kind, on a topic of either kind.
pub(crate) trait Pen {
    /// Writes; `false`: it would block.
    fn write(&self, row: Row, at: Option<Timestamp>) -> bool;
    /// Disposes of an instance, where there are any.
    fn dispose(&self, key: u32, at: Timestamp);
    fn assert_liveliness(&self);
    fn is_acknowledged(&self) -> bool;
    fn status(&self) -> Option<DataWriterStatus>;
    fn guid(&self) -> GUID;
}

/// A reader of either kind, on a topic of either kind.
pub(crate) trait Eye {
    fn read(&mut self, condition: ReadCondition) -> Vec<Seen>;
    fn try_take(&mut self) -> ReadResult<Vec<Seen>>;
    fn take(&mut self) -> Vec<Seen> {
        self.try_take().expect("taken")
    }
    fn status(&self) -> Option<DataReaderStatus>;
}

macro_rules! pen {
    ($writer:ty, |$this:ident, $key:ident, $at:ident| $dispose:expr) => {
        impl Pen for $writer {
            fn write(&self, row: Row, at: Option<Timestamp>) -> bool {
                match self.write(row, at) {
                    Ok(()) => true,
                    Err(rustdds::dds::WriteError::WouldBlock { .. }) => false,
                    Err(error) => panic!("not written: {error}"),
                }
            }

            fn dispose(&self, $key: u32, $at: Timestamp) {
                let $this = self;
                $dispose
            }

            fn assert_liveliness(&self) {
                self.assert_liveliness().expect("asserted");
            }

            fn is_acknowledged(&self) -> bool {
                self.wait_for_acknowledgments(Duration::from_secs(30)).expect("it waits")
            }

            fn status(&self) -> Option<DataWriterStatus> {
                self.try_recv_status()
            }

            fn guid(&self) -> GUID {
                RTPSEntity::guid(self)
            }
        }
    };
}

macro_rules! eye {
    ($reader:ty, $seen:expr) => {
        impl Eye for $reader {
            fn read(&mut self, condition: ReadCondition) -> Vec<Seen> {
                let read = self.read(usize::MAX, condition).expect("read");
                read.iter().map($seen).collect()
            }

            fn try_take(&mut self) -> ReadResult<Vec<Seen>> {
                let taken = self.take(usize::MAX, ReadCondition::any())?;
                let seen = |sample| Taken::seen(sample);
                Ok(taken.iter().map(seen).collect())
            }

            fn status(&self) -> Option<DataReaderStatus> {
                self.try_recv_status()
            }
        }
    };
}

/// What `take` gives, on topics with a key and without.
trait Taken {
    fn seen(&self) -> Seen;
}

impl Taken for no_key::DataSample<Row> {
    fn seen(&self) -> Seen {
        Seen::of_row(self.value(), self.sample_info())
    }
}

impl Taken for with_key::DataSample<Row> {
    fn seen(&self) -> Seen {
        let change = match self.value() {
            with_key::Sample::Value(row) => with_key::Sample::Value(row),
            with_key::Sample::Dispose(key) => with_key::Sample::Dispose(*key),
        };
        Seen::of_change(change, self.sample_info())
    }
}

pen!(no_key::DataWriter<Row>, |_writer, _key, _at| ());
pen!(zerodds_rustdds::no_key::DataWriter<Row>, |_writer, _key, _at| ());
pen!(with_key::DataWriter<Row>, |writer, key, at| writer.dispose(&key, Some(at)).expect("disposed"));
pen!(zerodds_rustdds::with_key::DataWriter<Row>, |writer, key, at| {
    writer.dispose(&key, Some(at)).expect("disposed");
});
eye!(no_key::DataReader<Row>, |sample| Seen::of_row(sample.value(), sample.sample_info()));
eye!(zerodds_rustdds::no_key::DataReader<Row>, |sample| Seen::of_row(sample.value(), sample.sample_info()));
eye!(with_key::DataReader<Row>, |sample| Seen::of_change(sample.value().clone(), sample.sample_info()));
eye!(zerodds_rustdds::with_key::DataReader<Row>, |sample| {
    Seen::of_change(sample.value().clone(), sample.sample_info())
});

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Plain,
    PlugIn,
    /// The plug-in without shared memory.
    Off,
}

/// The participants of one cast: the writer's, and one for each reader.
pub(crate) struct Stage {
    participants: Vec<DomainParticipant>,
    sessions: Vec<ZeroDds>,
    /// Until the others have left it.
    _domain: Domain,
}

impl Stage {
    pub(crate) const WRITER: usize = 0;
    pub(crate) const PROMPT: usize = 1;
    pub(crate) const SLOW: usize = 2;
    pub(crate) const LATE: usize = 3;

    pub(crate) fn new(cast: Cast) -> Self {
        let domain = Domain::own();
        let participants: Vec<_> =
            (0..4).map(|_| DomainParticipant::new(domain.number() as u16).expect("a participant")).collect();
        let attach = |is_on| {
            let transport = zerodds_transport_shm::Config::default().enabled(is_on);
            let config = Config::default().transport(transport);
            let attach = |participant| ZeroDds::attach(participant, config.clone()).expect("a session");
            participants.iter().map(attach).collect()
        };
        let sessions = match cast {
            Cast::Plain => Vec::new(),
            Cast::PlugIn => attach(true),
            Cast::Off => attach(false),
        };
        Self { participants, sessions, _domain: domain }
    }

    /// What the session at a place hears of its participant.
    pub(crate) fn events(&self, at: usize) -> Option<Events> {
        self.sessions.get(at).map(ZeroDds::events)
    }

    /// How samples go from there, where they have the choice.
    pub(crate) fn stats(&self, at: usize) -> Option<Stats> {
        self.sessions.get(at).filter(|session| session.availability().is_ok()).map(ZeroDds::stats)
    }

    fn topic(&self, at: usize, name: &str, keyed: bool) -> Topic {
        let kind = if keyed { TopicKind::WithKey } else { TopicKind::NoKey };
        let qos = QosPolicies::qos_none();
        self.participants[at].create_topic(name.into(), "Row".into(), &qos, kind).expect("a topic")
    }

    pub(crate) fn writer(&self, name: &str, keyed: bool, qos: &QosPolicies) -> Box<dyn Pen> {
        let at = Self::WRITER;
        let (topic, own) = (self.topic(at, name, keyed), Some(qos.clone()));
        let none = QosPolicies::qos_none();
        if let Some(session) = self.sessions.get(at) {
            let publisher = session.create_publisher(&none).expect("a publisher");
            if keyed {
                Box::new(publisher.create_datawriter_cdr::<Row>(&topic, own).expect("a writer"))
            } else {
                Box::new(publisher.create_datawriter_no_key_cdr::<Row>(&topic, own).expect("a writer"))
            }
        } else {
            let publisher = self.participants[at].create_publisher(&none).expect("a publisher");
            if keyed {
                Box::new(publisher.create_datawriter_cdr::<Row>(&topic, own).expect("a writer"))
            } else {
                Box::new(publisher.create_datawriter_no_key_cdr::<Row>(&topic, own).expect("a writer"))
            }
        }
    }

    pub(crate) fn reader(&self, at: usize, name: &str, keyed: bool, qos: &QosPolicies) -> Box<dyn Eye> {
        let (topic, own) = (self.topic(at, name, keyed), Some(qos.clone()));
        let none = QosPolicies::qos_none();
        if let Some(session) = self.sessions.get(at) {
            let subscriber = session.create_subscriber(&none).expect("a subscriber");
            if keyed {
                Box::new(subscriber.create_datareader_cdr::<Row>(&topic, own).expect("a reader"))
            } else {
                Box::new(subscriber.create_datareader_no_key_cdr::<Row>(&topic, own).expect("a reader"))
            }
        } else {
            self.plain_reader(at, name, keyed, qos)
        }
    }

    /// A reader of RustDDS's own, whatever the cast.
    pub(crate) fn plain_reader(&self, at: usize, name: &str, keyed: bool, qos: &QosPolicies) -> Box<dyn Eye> {
        let (topic, own) = (self.topic(at, name, keyed), Some(qos.clone()));
        let none = QosPolicies::qos_none();
        let subscriber = self.participants[at].create_subscriber(&none).expect("a subscriber");
        if keyed {
            Box::new(subscriber.create_datareader_cdr::<Row>(&topic, own).expect("a reader"))
        } else {
            Box::new(subscriber.create_datareader_no_key_cdr::<Row>(&topic, own).expect("a reader"))
        }
    }
}
