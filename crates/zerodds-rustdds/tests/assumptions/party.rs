//! A participant with what a test needs of it: endpoints of both kinds, and its status events kept.
//!
//! Waiting is looking again until a bound that only keeps a failure from hanging. No test asserts how long
//! something took.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, DomainParticipantStatusEvent as Event,
    DomainParticipantStatusListener, GUID, Publisher, QosPolicies, QosPolicyBuilder, RTPSEntity,
    StatusEvented, Subscriber, Topic, TopicDescription, TopicKind, WriteOptionsBuilder, no_key,
};

use super::toy::{Carried, Plain, Sample, Toy};

pub(super) type Writer = no_key::DataWriter<Sample, Toy>;
pub(super) type Reader = no_key::DataReader<Sample, Toy>;
pub(super) type PlainReader = no_key::DataReader<Plain>;

/// Nothing here takes nearly this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Set in a child: the domain it joins.
pub(super) const DOMAIN: &str = "ZERODDS_TEST_DOMAIN";
/// Set in a child: the topic it reads.
pub(super) const TOPIC: &str = "ZERODDS_TEST_TOPIC";

/// The first of a million sample numbers that no other test of this process uses.
pub(super) fn own_numbers() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) * 1_000_000
}

/// Looks until `look` has something.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// Runs the ignored test `role` of this binary in a process of its own.
pub(super) fn child(role: &str, parent: &Party, topic: &Topic) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([role, "--exact", "--ignored", "--nocapture"])
        .env(DOMAIN, parent.participant.domain_id().to_string())
        .env(TOPIC, topic.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reliable, all samples kept, at most `max_samples` of them.
pub(super) fn reliable(max_samples: i32, max_blocking_time: Duration) -> QosPolicyBuilder {
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time: max_blocking_time.into() })
        .history(History::KeepAll)
        .resource_limits(limits(max_samples))
}

/// Best effort, the last `depth` samples kept.
pub(super) fn best_effort(depth: i32) -> QosPolicyBuilder {
    QosPolicyBuilder::new().reliability(Reliability::BestEffort).history(History::KeepLast { depth })
}

pub(super) fn limits(max_samples: i32) -> ResourceLimits {
    ResourceLimits { max_samples, max_instances: max_samples, max_samples_per_instance: max_samples }
}

pub(super) struct Party {
    pub(super) participant: DomainParticipant,
    publisher: Publisher,
    subscriber: Subscriber,
    listener: DomainParticipantStatusListener,
    events: RefCell<Vec<Event>>,
}

impl Party {
    pub(super) fn join(domain: u16) -> Self {
        Self::of(DomainParticipant::new(domain).unwrap())
    }

    /// Without any interface but `lo`, and so without multicast.
    pub(super) fn join_on_loopback(domain: u16) -> Self {
        let participant =
            DomainParticipantBuilder::new(domain).with_only_networks([Ipv4Addr::LOCALHOST]).build();
        Self::of(participant.unwrap())
    }

    fn of(participant: DomainParticipant) -> Self {
        let none = QosPolicyBuilder::new().build();
        Self {
            publisher: participant.create_publisher(&none).unwrap(),
            subscriber: participant.create_subscriber(&none).unwrap(),
            listener: participant.status_listener(),
            participant,
            events: RefCell::default(),
        }
    }

    pub(super) fn topic(&self, name: &str, qos: &QosPolicies) -> Topic {
        self.topic_named(&format!("{name}_{}", std::process::id()), qos)
    }

    /// A topic by its whole name, for a child.
    pub(super) fn topic_named(&self, name: &str, qos: &QosPolicies) -> Topic {
        self.participant.create_topic(name.to_owned(), "Sample".to_owned(), qos, TopicKind::NoKey).unwrap()
    }

    pub(super) fn writer(&self, topic: &Topic) -> Writer {
        self.publisher.create_datawriter_no_key(topic, None).unwrap()
    }

    pub(super) fn reader(&self, topic: &Topic) -> Reader {
        self.subscriber.create_datareader_no_key(topic, None).unwrap()
    }

    pub(super) fn plain_reader(&self, topic: &Topic) -> PlainReader {
        self.subscriber.create_datareader_no_key_cdr(topic, None).unwrap()
    }

    /// A reader that this writer is matched with.
    pub(super) fn matched(&self, writer: GUID) -> Option<GUID> {
        self.count(|_| false);
        self.events.borrow().iter().find_map(|event| match event {
            Event::RemoteReaderMatched { local_writer, remote_reader } if *local_writer == writer => {
                Some(*remote_reader)
            }
            _ => None,
        })
    }

    /// How many of the status events so far are of this kind.
    pub(super) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let mut events = self.events.borrow_mut();
        events.extend(std::iter::from_fn(|| self.listener.try_recv_status()));
        events.iter().filter(|event| wanted(event)).count()
    }

    /// Looks at later events only.
    pub(super) fn forget(&self) {
        self.count(|_| false);
        self.events.borrow_mut().clear();
    }

    pub(super) fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) {
        until(what, || (self.count(&wanted) > 0).then_some(()));
    }

    /// Waits until both sides have said that they match.
    pub(super) fn wait_for_match(&self, writer: GUID, reading: &Party, reader: GUID) {
        self.wait_for("the writer's side matches", |event| matches_reader(event, writer, reader));
        reading.wait_for("the reader's side matches", |event| matches_writer(event, reader, writer));
    }
}

pub(super) fn matches_reader(event: &Event, writer: GUID, reader: GUID) -> bool {
    matches!(event, Event::RemoteReaderMatched { local_writer, remote_reader }
        if *local_writer == writer && *remote_reader == reader)
}

pub(super) fn matches_writer(event: &Event, reader: GUID, writer: GUID) -> bool {
    matches!(event, Event::RemoteWriterMatched { local_reader, remote_writer }
        if *local_reader == reader && *remote_writer == writer)
}

/// Numbers samples as it writes them.
pub(super) struct Pen<'a> {
    pub(super) writer: &'a Writer,
    pub(super) first: u64,
    written: Cell<u64>,
}

impl<'a> Pen<'a> {
    pub(super) fn new(writer: &'a Writer) -> Self {
        Self { writer, first: own_numbers(), written: Cell::new(0) }
    }

    /// How many samples were written.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    fn next(&self, carried: Carried) -> Sample {
        let nth = self.written.replace(self.written.get() + 1);
        Sample { number: self.first + nth, carried }
    }

    /// Writes `count` descriptors to whoever is matched.
    pub(super) fn write(&self, count: u64) {
        for _ in 0..count {
            self.writer.write(self.next(Carried::ByDescriptor), None).unwrap();
        }
    }

    /// Writes one descriptor unless the writer would block.
    pub(super) fn try_write(&self) -> bool {
        let written = self.writer.write(self.next(Carried::ByDescriptor), None).is_ok();
        if !written {
            self.written.update(|count| count - 1);
        }
        written
    }

    pub(super) fn write_inline(&self, count: u64) {
        for _ in 0..count {
            self.writer.write(self.next(Carried::Inline), None).unwrap();
        }
    }

    /// Writes `count` descriptors to one reader.
    pub(super) fn direct(&self, count: u64, reader: GUID) {
        for _ in 0..count {
            let options = WriteOptionsBuilder::new().to_single_reader(reader).build();
            self.writer.write_with_options(self.next(Carried::ByDescriptor), options).unwrap();
        }
    }

    /// Which sample this is, counted from 0.
    pub(super) fn nth(&self, number: u64) -> u64 {
        number - self.first
    }
}

/// What a reader gives until it has given `count` samples, in its order.
pub(super) fn take(reader: &mut Reader, count: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    until("enough samples are taken", || {
        while let Some(sample) = reader.take_next_sample().unwrap() {
            taken.push(sample.value().number);
        }
        (taken.len() >= count).then_some(())
    });
    taken
}

/// The same of a plain reader, with each error as `None`.
pub(super) fn take_plain(reader: &mut PlainReader, count: usize) -> Vec<Option<u64>> {
    let mut taken = Vec::new();
    until("enough samples are taken", || {
        loop {
            match reader.take_next_sample() {
                Ok(Some(sample)) => taken.push(Some(sample.value().number)),
                Ok(None) => break,
                Err(_) => taken.push(None),
            }
        }
        (taken.len() >= count).then_some(())
    });
    taken
}

/// Makes the participants of both endpoints handle what was written: acknowledged is received.
pub(super) fn settle(writer: &Writer) {
    assert!(writer.wait_for_acknowledgments(PATIENCE).unwrap(), "acknowledged in time: {:?}", writer.guid());
}
