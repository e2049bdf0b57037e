//! `rustdds-views`, `rustdds-copies` and `plain-rustdds`: one RustDDS participant a process, reliable, event-driven.
//!
//! ```text
//!   views    loan, filled in place ──▶ read where it lies
//!   copies   Bytes, serialized into shared memory ──▶ deserialized into a Vec
//!   plain    Bytes, serialized by RustDDS, UDP ──▶ deserialized into a Vec
//! ```
//! The sender's buffer is used again for the next sample, by all alike; payloads are serialized in one piece
//! (`serde_bytes`); socket buffers are as large as the kernel grants. Depths of history follow from the length of
//! messages, about a mebibyte. What is received into memory of its own finds it warm, by `WARM_HEAP` of crew.rs.

use crate::system::{Failure, Lane, Party, Seat, System};
use bytes::{Bytes, BytesMut};
use rustdds::mio1::event::Source;
use rustdds::mio1::{Events as MioEvents, Interest, Poll, Token};
use rustdds::policy::{History, Reliability, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, DomainParticipantStatusEvent as Status,
    DomainParticipantStatusListener, GUID, QosPolicies, QosPolicyBuilder, ReadCondition, StatusEvented,
    Topic, TopicKind,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use zerodds_rustdds::{Config, Events, PeerPath, ZeroDds, no_key};

/// RustDDS in one of its ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rustdds {
    Views,
    Copies,
    Plain,
}

impl Rustdds {
    pub(super) const ALL: [Self; 3] = [Self::Views, Self::Copies, Self::Plain];
}

/// A payload that is written, and read, where it lies.
#[derive(Clone, Serialize, Deserialize)]
struct View {
    #[serde(with = "zerodds_rustdds::bytes")]
    data: Bytes,
}

/// The same on the wire, read into memory of its own.
#[derive(Serialize, Deserialize)]
struct Owned {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

impl System for Rustdds {
    fn name(&self) -> &str {
        match self {
            Self::Views => "rustdds-views",
            Self::Copies => "rustdds-copies",
            Self::Plain => "plain-rustdds",
        }
    }

    fn set_up(&self) -> String {
        let way = match self {
            Self::Views => {
                "endpoints of this project, loans and views, histories of 1 MiB and 2 to 4 samples at least"
            }
            Self::Copies => {
                "endpoints of this project, copies at both ends, histories of 1 MiB and 2 to 4 samples at least"
            }
            Self::Plain => {
                "as it comes, over UDP, serde_bytes, ResourceLimits, histories of 1 MiB and one sample at least, socket buffers of \
                 32 MiB asked for"
            }
        };
        format!("RustDDS 0.15, reliable, waiting by mio; {way}")
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let participant = DomainParticipantBuilder::new(seat.domain as u16)
            .socket_receive_buffer_size(SOCKET_BUFFER_BYTES)
            .socket_send_buffer_size(SOCKET_BUFFER_BYTES)
            .build()
            .map_err(|error| Failure::of("creating the participant", error))?;
        let session = match self {
            Self::Plain => None,
            _ => Some(attach(&participant)?),
        };
        let status = match &session {
            None => StatusSource::Plain(participant.status_listener()),
            Some(session) => StatusSource::Shared(session.events()),
        };
        let awaited = [&seat.writes, &seat.reads].into_iter().flatten().map(|lane| lane.peers.len()).sum();
        let mut party = RustddsParty {
            inlet: None,
            outlet: None,
            arrivals: VecDeque::new(),
            poll: Poll::new()?,
            events: MioEvents::with_capacity(4),
            buffer: BytesMut::zeroed(seat.message_max),
            matches: Vec::new(),
            awaited,
            status,
            session,
            participant,
        };
        if let Some(lane) = &seat.writes {
            party.outlet = Some(party.open_outlet(*self, &seat, lane)?);
        }
        if let Some(lane) = &seat.reads {
            let mut inlet = party.open_inlet(*self, &seat, lane)?;
            party.poll.registry().register(inlet.as_mut(), Token(0), Interest::READABLE)?;
            party.inlet = Some(inlet);
        }
        Ok(Box::new(party))
    }
}

fn attach(participant: &DomainParticipant) -> Result<ZeroDds, Failure> {
    let config = Config::from_env().map_err(|error| Failure::of("reading the settings", error))?;
    let session = ZeroDds::attach(participant, config)
        .map_err(|error| Failure::of("attaching shared memory", error))?;
    session.availability().map_err(|reason| Failure::of("attaching shared memory", reason))?;
    Ok(session)
}

/// Endpoints before the participant, so that they go first.
struct RustddsParty {
    inlet: Option<Box<dyn Inlet>>,
    outlet: Option<Outlet>,
    arrivals: VecDeque<Payload>,
    poll: Poll,
    events: MioEvents,
    buffer: BytesMut,
    matches: Vec<(GUID, GUID)>,
    awaited: usize,
    status: StatusSource,
    session: Option<ZeroDds>,
    participant: DomainParticipant,
}

enum StatusSource {
    Plain(DomainParticipantStatusListener),
    /// RustDDS has one queue of status events, which the session reads and hands on.
    Shared(Events),
}

enum Outlet {
    Loans(no_key::DataWriter<View>),
    Copies(no_key::DataWriter<View>),
    Plain(rustdds::no_key::DataWriter<View>),
}

/// A reader, whatever its type of sample.
trait Inlet: Source {
    /// Takes all that is there.
    fn take_all(&mut self, into: &mut VecDeque<Payload>) -> Result<(), Failure>;
}

/// A received payload, given back when dropped.
enum Payload {
    View(Bytes),
    Owned(Vec<u8>),
}

impl RustddsParty {
    fn topic(&self, seat: &Seat, lane: &Lane) -> Result<Topic, Failure> {
        let name = format!("bench/{}/{}", seat.run, lane.topic);
        self.participant
            .create_topic(name, "bench::Blob_".to_owned(), &QosPolicies::qos_none(), TopicKind::NoKey)
            .map_err(|error| Failure::of("creating the topic", error))
    }

    fn open_outlet(&self, way: Rustdds, seat: &Seat, lane: &Lane) -> Result<Outlet, Failure> {
        let failed = |error| Failure::of("creating the writer", error);
        let topic = self.topic(seat, lane)?;
        let depth = depth(seat.message_max, self.session.is_some());
        let qos = qos(depth).history(History::KeepLast { depth }).build();
        Ok(match &self.session {
            None => {
                let publisher = self.participant.create_publisher(&qos).map_err(failed)?;
                Outlet::Plain(publisher.create_datawriter_no_key_cdr(&topic, None).map_err(failed)?)
            }
            Some(session) => {
                let publisher = session.create_publisher(&qos).map_err(failed)?;
                let writer = publisher.create_datawriter_no_key_cdr(&topic, None).map_err(failed)?;
                if way == Rustdds::Views { Outlet::Loans(writer) } else { Outlet::Copies(writer) }
            }
        })
    }

    fn open_inlet(&self, way: Rustdds, seat: &Seat, lane: &Lane) -> Result<Box<dyn Inlet>, Failure> {
        let failed = |error| Failure::of("creating the reader", error);
        let topic = self.topic(seat, lane)?;
        let untaken_max = match &self.session {
            // About a mebibyte of small messages, lest the writer wait for each few of them.
            Some(_) => about_a_mebibyte(seat.message_max).clamp(depth(seat.message_max, true), 1024),
            None => (CACHE_BYTES_MAX / seat.message_max).clamp(64, 4096) as i32,
        };
        let qos = qos(untaken_max).history(History::KeepAll).build();
        let Some(session) = &self.session else {
            let subscriber = self.participant.create_subscriber(&qos).map_err(failed)?;
            let reader = subscriber.create_datareader_no_key_cdr::<Owned>(&topic, None);
            return Ok(Box::new(reader.map_err(failed)?));
        };
        let subscriber = session.create_subscriber(&qos).map_err(failed)?;
        Ok(if way == Rustdds::Views {
            Box::new(subscriber.create_datareader_no_key_cdr::<View>(&topic, None).map_err(failed)?)
        } else {
            Box::new(subscriber.create_datareader_no_key_cdr::<Owned>(&topic, None).map_err(failed)?)
        })
    }

    /// Whether everybody who is matched shares memory with us, if that is what this is about.
    fn is_linked(&self) -> bool {
        let Some(session) = &self.session else { return true };
        let mut paths = session.paths();
        paths.retain(PeerPath::is_shared);
        let is_up = |remote: &GUID| paths.iter().any(|peer| remote.to_bytes()[..12] == peer.participant);
        self.matches.iter().all(|(_, remote)| is_up(remote))
    }
}

impl Party for RustddsParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        let next = |status: &StatusSource| match status {
            StatusSource::Plain(listener) => listener.try_recv_status(),
            StatusSource::Shared(events) => events.try_next(),
        };
        while let Some(event) = next(&self.status) {
            if let Status::RemoteReaderMatched { local_writer: local, remote_reader: remote }
            | Status::RemoteWriterMatched { local_reader: local, remote_writer: remote } = event
            {
                // RustDDS tells of its discovery endpoints too.
                if local.entity_id.entity_kind.is_user_defined() && !self.matches.contains(&(local, remote)) {
                    self.matches.push((local, remote));
                }
            }
        }
        Ok(self.matches.len() >= self.awaited && self.is_linked())
    }

    fn written_bytes(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.stats().transport.written_bytes)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let failed = |error: String| Failure::of("writing", error);
        if let Some(Outlet::Loans(writer)) = &self.outlet {
            let mut loan =
                writer.loan(len, |data| View { data }).map_err(|error| failed(error.to_string()))?;
            fill(&mut loan);
            return writer.publish(loan, None).map(drop).map_err(|error| failed(error.to_string()));
        }
        if self.buffer.len() < len {
            self.buffer = BytesMut::zeroed(len);
        }
        let mut rest = self.buffer.split_off(len);
        fill(&mut self.buffer);
        let data = std::mem::take(&mut self.buffer).freeze();
        let sample = View { data: data.clone() };
        let written = match &self.outlet {
            Some(Outlet::Copies(writer)) => writer.write(sample, None).map_err(|error| error.to_string()),
            Some(Outlet::Plain(writer)) => writer.write(sample, None).map_err(|error| error.to_string()),
            _ => Err("this seat only receives".to_owned()),
        };
        // Everybody has copied it by now.
        let mut used = data.try_into_mut().unwrap_or_default();
        std::mem::swap(&mut self.buffer, &mut used);
        self.buffer.unsplit(std::mem::take(&mut rest));
        written.map_err(failed)
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let Some(inlet) = &mut self.inlet else {
            return Err(Failure::Unsupported("receiving at a seat that only sends".to_owned()));
        };
        loop {
            inlet.take_all(&mut self.arrivals)?;
            if !self.arrivals.is_empty() {
                let count = self.arrivals.len();
                // Each is given back before the next is read.
                while let Some(payload) = self.arrivals.pop_front() {
                    match payload {
                        Payload::View(bytes) => read(&bytes),
                        Payload::Owned(bytes) => read(&bytes),
                    }
                }
                return Ok(count);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(0);
            }
            match self.poll.poll(&mut self.events, left) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
    }
}

impl Inlet for rustdds::no_key::DataReader<Owned> {
    fn take_all(&mut self, into: &mut VecDeque<Payload>) -> Result<(), Failure> {
        let samples = self.take(usize::MAX, ReadCondition::any());
        let samples = samples.map_err(|error| Failure::of("reading", format!("{error:?}")))?;
        into.extend(samples.into_iter().map(|sample| Payload::Owned(sample.into_value().data)));
        Ok(())
    }
}

impl Inlet for no_key::DataReader<Owned> {
    fn take_all(&mut self, into: &mut VecDeque<Payload>) -> Result<(), Failure> {
        let samples = self.take(usize::MAX, ReadCondition::any());
        let samples = samples.map_err(|error| Failure::of("reading", format!("{error:?}")))?;
        into.extend(samples.into_iter().map(|sample| Payload::Owned(sample.into_value().data)));
        Ok(())
    }
}

impl Inlet for no_key::DataReader<View> {
    fn take_all(&mut self, into: &mut VecDeque<Payload>) -> Result<(), Failure> {
        let samples = self.take(usize::MAX, ReadCondition::any());
        let samples = samples.map_err(|error| Failure::of("reading", format!("{error:?}")))?;
        into.extend(samples.into_iter().map(|sample| Payload::View(sample.into_value().data)));
        Ok(())
    }
}

/// Samples under way that suit messages of this length.
fn depth(len: usize, is_shared: bool) -> i32 {
    // Shared: takers have a few at once, but what is under way should not outgrow the processors' caches. Over UDP: what
    // sockets have no buffers for is repaired at a crawl.
    let least = match (is_shared, len > 2 << 20) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 4,
    };
    about_a_mebibyte(len).clamp(least, 256)
}

/// Messages of this length that are as much.
fn about_a_mebibyte(len: usize) -> i32 {
    ((1 << 20) / len.max(1)) as i32
}

fn qos(samples_max: i32) -> QosPolicyBuilder {
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time: rustdds::Duration::from(MAX_BLOCKING) })
        .resource_limits(ResourceLimits {
            max_samples: samples_max,
            max_instances: 1,
            max_samples_per_instance: samples_max,
        })
}

const SOCKET_BUFFER_BYTES: usize = 32 << 20;
/// What a cache of RustDDS may grow to.
const CACHE_BYTES_MAX: usize = 256 << 20;
const MAX_BLOCKING: Duration = Duration::from_secs(8);
