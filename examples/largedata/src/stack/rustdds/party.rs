//! A RustDDS participant, the session that makes it share memory, and who is matched with its endpoints.
//!
//! A reader is matched before samples reach it by shared memory: the link is made when RTPS has introduced the
//! two. A publisher that counts paths waits for that, but not for ever: whoever runs no session, or is on another
//! host, is served over UDP, and that is said.

use super::super::{OpenError, Reliability, StackKind, StackOptions, Written, about_a_mebibyte};
use crate::quantity::bytes_text;
use rustdds::policy::{self, History, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, DomainParticipantStatusEvent as Status,
    DomainParticipantStatusListener, GUID, QosPolicies, QosPolicyBuilder, StatusEvented, Topic, TopicKind,
};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use zerodds_rustdds::{AttachError, Config, Events, Reason, ZeroDds};

/// One participant.
pub(super) struct Party {
    pub(super) participant: DomainParticipant,
    /// `None`: plain RustDDS.
    pub(super) session: Option<ZeroDds>,
    status: StatusSource,
    matches: Vec<Match>,
    domain: u32,
}

enum StatusSource {
    Plain(DomainParticipantStatusListener),
    /// RustDDS has one queue of status events, which the session reads and hands on.
    Shared(Events),
}

/// An endpoint of ours and one of another participant.
struct Match {
    local: GUID,
    remote: GUID,
    since: Instant,
    /// It was said that this one is served over UDP.
    is_resigned: bool,
}

impl Party {
    pub(super) fn open(options: &StackOptions) -> Result<Self, OpenError> {
        let domain = options.domain;
        say_socket_buffers();
        let participant = DomainParticipantBuilder::new(domain as u16)
            .socket_receive_buffer_size(SOCKET_BUFFER_BYTES)
            .socket_send_buffer_size(SOCKET_BUFFER_BYTES)
            .build()
            .map_err(failed("creating the participant", domain))?;
        let session = session(&participant, options)?;
        let status = session.as_ref().map_or_else(
            || StatusSource::Plain(participant.status_listener()),
            |session| StatusSource::Shared(session.events()),
        );
        Ok(Self { participant, session, status, matches: Vec::new(), domain })
    }

    /// The topic of one kind of sample.
    pub(super) fn topic(&self, name: &str, type_name: &str) -> Result<Topic, OpenError> {
        self.participant
            .create_topic(name.to_owned(), type_name.to_owned(), &QosPolicies::qos_none(), TopicKind::NoKey)
            .map_err(failed("creating the topic", self.domain))
    }

    /// Matches of all endpoints now.
    pub(super) fn matched(&mut self) -> usize {
        self.hear();
        self.matches.len()
    }

    /// Matches by the path that they will stay on: shared memory is there, or will not be.
    pub(super) fn settled(&mut self) -> usize {
        self.hear();
        let Some(session) = self.session.as_ref().filter(|session| session.availability().is_ok()) else {
            return self.matches.len();
        };
        let paths = session.paths();
        let of = |guid: &GUID| paths.iter().find(|peer| guid.to_bytes()[..12] == peer.participant);
        let is_settled = |found: &mut Match| match of(&found.remote).map(|peer| &peer.reason) {
            // What keeps it from sharing is another match.
            Some(Reason::LinkReady | Reason::MixedReaders) => true,
            // For a moment that is so before its session says that this one takes part.
            Some(Reason::PlainReaders) => found.since.elapsed() > LINK_PATIENCE,
            _ => found.resigns(),
        };
        self.matches.iter_mut().map(is_settled).map(usize::from).sum()
    }

    /// What the writers of this participant have done so far.
    pub(super) fn written(&self) -> Option<Written> {
        let stats = self.session.as_ref()?.stats();
        Some(Written {
            shared_samples: stats.shared_samples,
            plain_samples: stats.plain_samples,
            descriptors: stats.descriptors,
            shared_bytes: stats.transport.written_bytes,
            fallbacks: stats.fallbacks,
        })
    }

    fn hear(&mut self) {
        while let Some(event) = self.status.next() {
            match event {
                Status::RemoteReaderMatched { local_writer: local, remote_reader: remote }
                | Status::RemoteWriterMatched { local_reader: local, remote_writer: remote } => {
                    self.meet(local, remote);
                }
                Status::ReaderLost { guid, .. } | Status::WriterLost { guid, .. } => {
                    self.matches.retain(|found| found.remote != guid);
                }
                Status::ParticipantLost { id, .. } => {
                    self.matches.retain(|found| found.remote.prefix != id);
                }
                _ => {}
            }
        }
    }

    fn meet(&mut self, local: GUID, remote: GUID) {
        // RustDDS tells of its discovery endpoints too.
        let is_ours = local.entity_id.entity_kind.is_user_defined();
        let is_new = !self.matches.iter().any(|found| (found.local, found.remote) == (local, remote));
        if is_ours && is_new {
            self.matches.push(Match { local, remote, since: Instant::now(), is_resigned: false });
        }
    }
}

impl StatusSource {
    fn next(&self) -> Option<Status> {
        match self {
            Self::Plain(listener) => listener.try_recv_status(),
            Self::Shared(events) => events.try_next(),
        }
    }
}

impl Match {
    /// Whether shared memory is not to be expected any more; says so the first time.
    fn resigns(&mut self) -> bool {
        if !self.is_resigned && self.since.elapsed() > LINK_PATIENCE {
            self.is_resigned = true;
            tracing::warn!(
                target: "zerodds::largedata",
                "a subscriber is served over UDP: no session of zerodds-rustdds has answered it within {} s (is it \
                 on another host, of another user, or started with --path udp?)",
                LINK_PATIENCE.as_secs()
            );
        }
        self.is_resigned
    }
}

/// Whether there is to be a session.
fn attaches(options: &StackOptions) -> bool {
    options.stack == StackKind::Rustdds && options.path.shares_memory()
}

/// Samples in the cache of a reader of RustDDS's own, where that is what reads.
pub(in super::super) fn own_cache_len(options: &StackOptions) -> Option<usize> {
    let is_own = !attaches(options) && matches!(options.stack, StackKind::Rustdds | StackKind::StockRustdds);
    is_own.then(|| cache_len(options))
}

fn cache_len(options: &StackOptions) -> usize {
    (CACHE_BYTES_MAX / options.payload_max.max(1)).clamp(CACHE_LEN_MIN, OWN_CACHE_LEN_MAX)
}

fn session(participant: &DomainParticipant, options: &StackOptions) -> Result<Option<ZeroDds>, OpenError> {
    if !attaches(options) {
        return Ok(None);
    }
    let config = Config::from_env().map_err(OpenError::Setting)?;
    let session = ZeroDds::attach(participant, config)
        .map_err(|error: AttachError| failed("attaching shared memory", options.domain)(error))?;
    if let Err(reason) = session.availability() {
        tracing::warn!(target: "zerodds::largedata", "{reason}: everything goes over UDP");
    }
    Ok(Some(session))
}

/// The QoS of a writer: `history` samples may be under way without an acknowledgement.
pub(super) fn writer_qos(options: &StackOptions) -> QosPolicies {
    let depth = options.history.cast_signed();
    builder(options, depth).history(History::KeepLast { depth }).build()
}

/// The QoS of a reader: what it has acknowledged it must not drop before it was taken, so it keeps all. Through shared
/// memory a reliable writer waits for what was not taken, however little that may be: about a mebibyte of small samples,
/// lest it wait for each few of them. A reader of RustDDS's own drops what its cache has no room for, and keeps there
/// what was taken too.
pub(super) fn reader_qos(options: &StackOptions, is_shared: bool) -> QosPolicies {
    let untaken_max = if is_shared && options.reliability == Reliability::Reliable {
        about_a_mebibyte(options.payload_max).min(1024).max(options.history).max(2) as usize
    } else {
        cache_len(options)
    };
    builder(options, untaken_max as i32).history(History::KeepAll).build()
}

fn builder(options: &StackOptions, samples_max: i32) -> QosPolicyBuilder {
    let max_blocking_time = options.max_blocking.into();
    QosPolicyBuilder::new()
        .reliability(match options.reliability {
            Reliability::Reliable => policy::Reliability::Reliable { max_blocking_time },
            Reliability::BestEffort => policy::Reliability::BestEffort,
        })
        .resource_limits(ResourceLimits {
            max_samples: samples_max,
            max_instances: 1,
            max_samples_per_instance: samples_max,
        })
}

pub(super) fn failed<E: ToString>(what: &'static str, domain: u32) -> impl Fn(E) -> OpenError {
    move |error| OpenError::Stack { what, domain, why: error.to_string() }
}

/// RustDDS asks for buffers and does not say what it got, so a socket of our own asks for the same.
fn say_socket_buffers() {
    use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size};
    let granted = UdpSocket::bind("127.0.0.1:0").ok().and_then(|socket| {
        set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES).ok()?;
        // Linux doubles what is asked for, to account for its own bookkeeping.
        Some(socket_recv_buffer_size(&socket).ok()? / 2)
    });
    if let Some(granted) = granted.filter(|&granted| granted < SOCKET_BUFFER_BYTES) {
        tracing::warn!(
            target: "zerodds::largedata",
            "RustDDS's sockets have buffers of {}; net.core.rmem_max grants no more of the {} asked for",
            bytes_text(granted as u64),
            bytes_text(SOCKET_BUFFER_BYTES as u64),
        );
    }
}

/// Several large samples, if the kernel grants it.
const SOCKET_BUFFER_BYTES: usize = 32 << 20;
/// What a cache of RustDDS may grow to.
const CACHE_BYTES_MAX: usize = 256 << 20;
const CACHE_LEN_MIN: usize = 64;
/// As many as a burst of small samples has.
pub(in super::super) const OWN_CACHE_LEN_MAX: usize = 4096;
/// How long a link of shared memory may take from the match on.
const LINK_PATIENCE: Duration = Duration::from_secs(3);
