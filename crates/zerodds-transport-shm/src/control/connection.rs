//! One connection: its place in the handshake, and the link that comes of it.

use super::socket::{self, Received};
use crate::bell::{OwnBell, PeerBell};
use crate::handshake::{Frame, Kind, Refused};
use crate::layout::{Direction, PAGE, VERSION, link, ring};
use crate::peer::Link;
use crate::region::Region;
use crate::segment::{self, MapError, Sharing};
use crate::shared::{Shared, owner_word, random};
use crate::sync::Ordering;
use crate::sys::{Credentials, Mapping};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use zerodds_core::{Locator, Reason};

/// A connection to a peer.
pub(super) struct Connection {
    socket: Arc<OwnedFd>,
    credentials: Credentials,
    peer: Option<Locator>,
    stage: Stage,
    deadline: Option<Instant>,
    /// We connected, rather than accepted.
    ours: bool,
    /// Sent by us; must come back through the link's memory.
    nonce: u64,
    own_bell: Arc<OwnBell>,
    /// Readable when the peer's process exits.
    process: Option<OwnedFd>,
}

enum Stage {
    /// Acceptor: the peer has not said who it is.
    Hello,
    /// Acceptor: has sent its objects, waits for the peer's.
    Attach,
    /// Acceptor: has everything, waits for the peer to have seen our probe.
    Done(Arc<Link>),
    /// Connector: waits for the acceptor's objects.
    Welcome,
    /// Connector: has everything, waits for the acceptor's probe.
    Ready(Arc<Link>),
    Up(Arc<Link>),
}

/// What came of reading a connection.
pub(super) enum Progress {
    /// There is nothing more to read now.
    Waiting,
    /// A peer introduced itself; welcome or refuse it.
    Hello(Locator),
    /// The link carries messages from now on.
    Up(Arc<Link>),
    /// The peer said goodbye; it may hold messages until its socket closes.
    Leaving,
    /// It is over.
    Ended(Reason),
}

impl Connection {
    /// A connection of a peer that we admit; it has to introduce itself.
    pub(super) fn accepted(
        shared: &Shared,
        socket: OwnedFd,
        credentials: Credentials,
        deadline: Instant,
    ) -> Result<Self, Reason> {
        Self::new(shared, socket, credentials, deadline)
    }

    /// Introduces ourselves to an acceptor that we admit.
    pub(super) fn connecting(
        shared: &Shared,
        socket: OwnedFd,
        credentials: Credentials,
        to: Locator,
        deadline: Instant,
    ) -> Result<Self, Reason> {
        let mut connection = Self::new(shared, socket, credentials, deadline)?;
        connection.peer = Some(to);
        connection.stage = Stage::Welcome;
        connection.ours = true;
        connection.send(shared, Kind::Hello, &[]).map_err(|_| Reason::NoAnswer)?;
        Ok(connection)
    }

    fn new(
        shared: &Shared,
        socket: OwnedFd,
        credentials: Credentials,
        deadline: Instant,
    ) -> Result<Self, Reason> {
        let unavailable = |error: std::io::Error| Reason::Unavailable(error.to_string());
        let own_bell = if credentials.is_user(shared.identity.uid) {
            Arc::clone(&shared.bell)
        } else {
            Arc::new(OwnBell::create(shared.owner()).map_err(unavailable)?)
        };
        Ok(Self {
            socket: Arc::new(socket),
            credentials,
            peer: None,
            stage: Stage::Hello,
            deadline: Some(deadline),
            ours: false,
            nonce: random().map_err(unavailable)?,
            own_bell,
            process: None,
        })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.credentials
    }

    pub(super) fn peer(&self) -> Option<Locator> {
        self.peer
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// When an unfinished handshake is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The link, once it carries messages.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        match &self.stage {
            Stage::Up(link) => Some(link),
            _ => None,
        }
    }

    /// Keeps the descriptor that tells of the exit of the peer's process.
    pub(super) fn watch_process(&mut self, process: OwnedFd) {
        self.process = Some(process);
    }

    /// Acceptor: refuses the peer that introduced itself.
    pub(super) fn refuse(&self, shared: &Shared, reason: Refused) {
        let _ = self.send(shared, Kind::Refuse(reason), &[]);
    }

    /// Acceptor: sends our objects to the peer that introduced itself.
    pub(super) fn welcome(&mut self, shared: &Shared, peer: Locator) -> Result<(), Reason> {
        self.peer = Some(peer);
        self.stage = Stage::Attach;
        let [bell, event] = self.own_bell.fds();
        self.send(shared, Kind::Welcome, &[shared.ring_fd.as_fd(), bell, event])
    }

    /// Reads and answers one frame.
    pub(super) fn advance(&mut self, shared: &Shared) -> Progress {
        let (frame, fds) = match socket::receive(&self.socket) {
            Received::Nothing => return Progress::Waiting,
            Received::End => return Progress::Ended(Reason::PeerGone),
            Received::Garbage => {
                return Progress::Ended(Reason::Protocol("it sent no handshake frame".into()));
            }
            Received::Frame(frame, fds) => (frame, fds),
        };
        if let Kind::Refuse(reason) = frame.kind {
            return Progress::Ended(refusal(reason, &frame));
        }
        if !frame.speaks_our_version() {
            self.refuse(shared, Refused::Version);
            return Progress::Ended(Reason::Version { ours: VERSION, theirs: frame.version });
        }
        if self.peer.is_some_and(|peer| peer != frame.locator) {
            return Progress::Ended(Reason::Protocol("it changed its locator".into()));
        }
        self.step(shared, &frame, fds).unwrap_or_else(|reason| {
            self.refuse(shared, Refused::Other);
            Progress::Ended(reason)
        })
    }

    fn step(&mut self, shared: &Shared, frame: &Frame, fds: Vec<OwnedFd>) -> Result<Progress, Reason> {
        match (&self.stage, frame.kind) {
            (Stage::Hello, Kind::Hello) => Ok(Progress::Hello(frame.locator)),
            (Stage::Welcome, Kind::Welcome) => self.attach(shared, frame, fds),
            (Stage::Attach, Kind::Attach) => self.ready(shared, frame, fds),
            (Stage::Ready(link), Kind::Ready) => {
                let link = Arc::clone(link);
                self.expect_probe(&link, link::PROBE_ACCEPTOR)?;
                self.send(shared, Kind::Done, &[])?;
                Ok(self.up(link))
            }
            (Stage::Done(link), Kind::Done) => {
                let link = Arc::clone(link);
                Ok(self.up(link))
            }
            (Stage::Up(_), Kind::Bye) => Ok(Progress::Leaving),
            _ => Err(Reason::Protocol("a handshake frame out of turn".into())),
        }
    }

    /// Connector: maps the acceptor's objects, makes the link with the acceptor's nonce in it, and sends all.
    fn attach(&mut self, shared: &Shared, frame: &Frame, fds: Vec<OwnedFd>) -> Result<Progress, Reason> {
        let [ring_fd, bell_memory, bell_event] = exactly(fds)?;
        let theirs = Objects::map(frame, &ring_fd, &bell_memory, bell_event)?;
        let made = segment::create("zerodds-link", link::LEN, shared.owner(), Sharing::ReadWrite)
            .map_err(|error| Reason::Unavailable(error.to_string()))?;
        // ORDER: Relaxed; the socket orders it before the acceptor's look.
        made.mapping.u64(link::PROBE_CONNECTOR).store(frame.nonce, Ordering::Relaxed);
        let [bell, event] = self.own_bell.fds();
        let fds = [shared.ring_fd.as_fd(), bell, event, made.fd.as_fd()];
        self.send(shared, Kind::Attach, &fds)?;
        self.stage =
            Stage::Ready(self.link_of(shared, frame.locator, theirs, made.mapping, Direction::FromConnector));
        Ok(Progress::Waiting)
    }

    /// Acceptor: maps the connector's objects, sees our nonce in the link, and puts the connector's there.
    fn ready(&mut self, shared: &Shared, frame: &Frame, fds: Vec<OwnedFd>) -> Result<Progress, Reason> {
        let [ring_fd, bell_memory, bell_event, link_fd] = exactly(fds)?;
        let theirs = Objects::map(frame, &ring_fd, &bell_memory, bell_event)?;
        let memory = segment::map(&link_fd, link::LEN, owner_word(&frame.locator), Sharing::ReadWrite)
            .map_err(|error| not_mapped("link", &error))?;
        let link = self.link_of(shared, frame.locator, theirs, memory, Direction::FromAcceptor);
        self.expect_probe(&link, link::PROBE_CONNECTOR)?;
        // ORDER: Relaxed; the socket orders it before the connector's look.
        link.memory.u64(link::PROBE_ACCEPTOR).store(frame.nonce, Ordering::Relaxed);
        self.send(shared, Kind::Ready, &[])?;
        self.stage = Stage::Done(link);
        Ok(Progress::Waiting)
    }

    fn link_of(
        &self,
        shared: &Shared,
        locator: Locator,
        theirs: Objects,
        memory: Mapping,
        outgoing: Direction,
    ) -> Arc<Link> {
        Arc::new(Link {
            locator,
            outgoing,
            memory,
            ring: Arc::new(theirs.ring),
            bell: theirs.bell,
            own_bell: Arc::clone(&self.own_bell),
            same_user: self.credentials.is_user(shared.identity.uid),
            socket: Arc::clone(&self.socket),
            down: OnceLock::new(),
        })
    }

    /// The memory that the peer sees is the memory that we see: our nonce has come back through it.
    fn expect_probe(&self, link: &Link, at: usize) -> Result<(), Reason> {
        // ORDER: Relaxed; the socket has ordered it. TRUST: only compared.
        if link.memory.u64(at).load(Ordering::Relaxed) == self.nonce {
            Ok(())
        } else {
            Err(Reason::Protocol("the probe did not come back through memory".into()))
        }
    }

    fn up(&mut self, link: Arc<Link>) -> Progress {
        self.deadline = None;
        self.stage = Stage::Up(Arc::clone(&link));
        Progress::Up(link)
    }

    fn send(&self, shared: &Shared, kind: Kind, fds: &[BorrowedFd<'_>]) -> Result<(), Reason> {
        let frame = Frame::new(kind, shared.locator, shared.ring.len() as u64, self.nonce);
        socket::send(&self.socket, &frame, fds).map_err(|_| Reason::PeerGone)
    }
}

/// A peer's ring and doorbell.
struct Objects {
    ring: Mapping,
    bell: PeerBell,
}

impl Objects {
    /// TRUST: descriptors and numbers of a peer; checked by `segment::map`.
    fn map(frame: &Frame, ring_fd: &OwnedFd, bell_memory: &OwnedFd, event: OwnedFd) -> Result<Self, Reason> {
        let owner = owner_word(&frame.locator);
        let len = usize::try_from(frame.ring_len)
            .ok()
            .filter(|len| (ring::HEADER_LEN..=RING_LEN_MAX).contains(len) && len.is_multiple_of(PAGE));
        let len =
            len.ok_or_else(|| Reason::Protocol(format!("its ring of {} bytes is no ring", frame.ring_len)))?;
        let ring = segment::map(ring_fd, len, owner, Sharing::ReadOnly)
            .map_err(|error| not_mapped("ring", &error))?;
        let bell =
            PeerBell::map(bell_memory, event, owner).map_err(|error| not_mapped("doorbell", &error))?;
        Ok(Self { ring, bell })
    }
}

fn not_mapped(what: &str, error: &MapError) -> Reason {
    match error {
        MapError::Io(error) => Reason::Unavailable(format!("the peer's {what} cannot be mapped: {error}")),
        other => Reason::Protocol(format!("its {what} is not mapped: {other}")),
    }
}

fn exactly<const N: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; N], Reason> {
    let found = fds.len();
    fds.try_into().map_err(|_| Reason::Protocol(format!("{found} descriptors came instead of {N}")))
}

fn refusal(reason: Refused, frame: &Frame) -> Reason {
    match reason {
        Refused::NotAdmitted => Reason::RefusedByPeer,
        Refused::Version => Reason::Version { ours: VERSION, theirs: frame.version },
        Refused::Duplicate | Refused::Busy | Refused::Other => Reason::NoAnswer,
    }
}

/// The longest ring of any configuration: four times the largest message and a header.
const RING_LEN_MAX: usize = 4 * ((1 << 30) + (8 << 20));
