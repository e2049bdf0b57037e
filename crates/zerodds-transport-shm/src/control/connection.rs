//! One connection: its place in the handshake, and the link that comes of it.

use super::closing::Given;
use super::socket::{self, Next, Received, Socket};
use crate::asked::in_vain;
use crate::bell::PeerBell;
use crate::handshake::{Frame, Goodbye, Kind, Refused};
use crate::layout::{Direction, PAGE, VERSION, link, ring};
use crate::link_id::LinkId;
use crate::peer::Link;
use crate::peer_ring::PeerRing;
use crate::region::Region;
use crate::segment::{self, MapError, Sharing};
use crate::shared::{Shared, Stats, owner_word, random};
use crate::sync::Ordering;
use crate::sys::{Credentials, Mapping};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use zerodds_core::{Locator, Reason};

/// A connection to a peer.
pub(super) struct Connection {
    socket: Arc<Socket>,
    credentials: Credentials,
    peer: Option<Locator>,
    stage: Stage,
    deadline: Option<Instant>,
    /// Sent by us; must come back through the link's memory.
    nonce: u64,
    /// Readable when the peer's process exits.
    process: Option<OwnedFd>,
    /// The peer was given what wakes us in poll.
    gave_mouth: bool,
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
    /// The link is over; waits for the peer to have stopped reading. Counts what it sends instead.
    Leaving(Arc<Link>, u32),
}

/// What came of reading a connection.
pub(super) enum Progress {
    /// There is nothing more to read now.
    Waiting,
    /// It is to be left alone for a while: what comes next has descriptors, and too much of what others sent waits to be closed.
    Paused,
    /// A step that concerns nobody else.
    Nothing,
    /// A peer introduced itself; welcome or refuse it.
    Hello(Locator),
    /// The link carries messages from now on.
    Up(Arc<Link>),
    /// A peer that cannot ring has sent something, or made room.
    Woken,
    /// The peer said goodbye.
    Bye(Arc<Link>, Goodbye),
    /// The peer broke the protocol on a link that is up.
    Broken(Arc<Link>, Reason),
    /// The peer is gone, reads nothing more, or never became one.
    Gone(Reason),
}

impl Connection {
    /// Introduces ourselves to an acceptor that we admit.
    pub(super) fn connecting(
        shared: &Shared,
        socket: Socket,
        credentials: Credentials,
        to: Locator,
        deadline: Instant,
    ) -> Result<Self, Reason> {
        let mut connection = Self::accepted(socket, credentials, deadline)?;
        connection.peer = Some(to);
        connection.stage = Stage::Welcome;
        // If it has closed already, then not without saying why, and that is still to be read.
        let _ = connection.send(shared, Kind::Hello, &[]);
        Ok(connection)
    }

    /// A connection of a peer that we admit; it has to introduce itself.
    pub(super) fn accepted(
        socket: Socket,
        credentials: Credentials,
        deadline: Instant,
    ) -> Result<Self, Reason> {
        let unavailable = |error: std::io::Error| Reason::Unavailable(error.to_string());
        Ok(Self {
            socket: Arc::new(socket),
            credentials,
            peer: None,
            stage: Stage::Hello,
            deadline: Some(deadline),
            nonce: random().map_err(unavailable)?,
            process: None,
            gave_mouth: false,
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

    /// When an unfinished handshake is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The link, once it has carried messages.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        match &self.stage {
            Stage::Up(link) | Stage::Leaving(link, _) => Some(link),
            _ => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up(_))
    }

    /// Whether the peer may have the link: it has it, or DONE is all that has not come.
    pub(super) fn may_be_up(&self) -> bool {
        matches!(self.stage, Stage::Up(_) | Stage::Done(_))
    }

    pub(super) fn is_up_with(&self, link: &Arc<Link>) -> bool {
        matches!(&self.stage, Stage::Up(ours) if Arc::ptr_eq(ours, link))
    }

    /// Whether there is a link with this peer, or will be one unless the handshake fails: not one that is over.
    pub(super) fn is_engaged_with(&self, peer: Locator) -> bool {
        self.peer == Some(peer) && !matches!(self.stage, Stage::Leaving(..))
    }

    /// Every descriptor that is watched for this connection.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.socket.as_fd()).chain(self.process.as_ref().map(AsFd::as_fd))
    }

    /// Acceptor: whether the peer, of which DONE has not come, has the link already cannot be known. If it may, the link comes up,
    /// so that what the peer sends is received or refused.
    pub(super) fn come_up(&mut self) -> Option<Arc<Link>> {
        let Stage::Done(link) = &self.stage else { return None };
        let link = Arc::clone(link);
        self.up(Arc::clone(&link));
        Some(link)
    }

    /// Tells the peer that the link is over, and waits for it to have stopped reading.
    pub(super) fn leave(&mut self, shared: &Shared, why: Goodbye) {
        if let Stage::Up(link) = &self.stage {
            link.say_bye(shared.locator, why);
            self.stage = Stage::Leaving(Arc::clone(link), 0);
        }
    }

    /// Keeps the descriptor that tells of the exit of the peer's process.
    pub(super) fn watch_process(&mut self, process: OwnedFd) {
        self.process = Some(process);
    }

    /// Refuses the peer. That there is a link already is nobody's fault, and not counted.
    pub(super) fn refuse(&self, shared: &Shared, reason: Refused) {
        if reason != Refused::Duplicate {
            Stats::add(&shared.stats.refused, 1);
        }
        let _ = self.send(shared, Kind::Refuse(reason), &[]);
    }

    /// Acceptor: sends our objects to the peer that introduced itself.
    pub(super) fn welcome(&mut self, shared: &Shared, peer: Locator) -> Result<(), Reason> {
        self.peer = Some(peer);
        self.stage = Stage::Attach;
        let sent = self.send(shared, Kind::Welcome, &self.own_objects(shared));
        if matches!(sent, Err(Reason::Unavailable(_))) {
            self.refuse(shared, Refused::Other);
        }
        sent
    }

    /// Our ring, and for a process of our user our doorbell.
    fn own_objects<'a>(&self, shared: &'a Shared) -> Vec<BorrowedFd<'a>> {
        let mut fds = vec![shared.ring_for_peers.as_fd()];
        if self.credentials.uid == shared.identity.uid {
            fds.push(shared.bell.memory());
        }
        fds
    }

    /// Reads and answers one frame.
    pub(super) fn advance(&mut self, shared: &Shared) -> Progress {
        if shared.closer.is_full() && !self.may_give_mouth() {
            match (socket::next(&self.socket), self.link()) {
                (Next::Nothing, _) => return Progress::Waiting,
                // Not taken in, they are closed with the socket if it comes to that.
                (Next::Laden, None) => return Progress::Paused,
                (Next::Laden, Some(_)) => return self.fail(shared, Reason::Protocol(UNASKED.into())),
                (Next::Plain, _) => {}
            }
        }
        let (frame, fds) = match socket::receive(&self.socket) {
            Received::Nothing => return Progress::Waiting,
            Received::End => return Progress::Gone(Reason::PeerGone),
            // Of a link that is up it was the peer's mouth: WAKE does without.
            Received::NoRoom if self.link().is_some() => return Progress::Nothing,
            Received::NoRoom => {
                return self.fail(shared, Reason::Unavailable(NO_ROOM.into()));
            }
            Received::Garbage => {
                return self.fail(shared, Reason::Protocol("it sent no frame of ours".into()));
            }
            Received::Frame(frame, fds) => (frame, fds),
        };
        // A descriptor that is closed may keep a thread for as long as its maker likes: none is taken that is not asked for.
        if !fds.is_empty() && !self.expects_descriptors(frame.kind) {
            return self.fail(shared, Reason::Protocol(UNASKED.into()));
        }
        if let Stage::Leaving(link, frames) = &mut self.stage {
            match frame.kind {
                // It drains the link, and says of room.
                Kind::Wake => return self.woken(shared),
                Kind::Mouth => {
                    let taken = take_mouth(link, fds);
                    return taken.unwrap_or_else(|reason| self.fail(shared, reason));
                }
                _ => {}
            }
            // A goodbye may still be under way; whoever goes on is not waited for.
            *frames += 1;
            return if *frames > FRAMES_WHILE_LEAVING {
                Progress::Gone(Reason::PeerGone)
            } else {
                Progress::Nothing
            };
        }
        match frame.kind {
            Kind::Refuse(reason) if !self.is_up() => return Progress::Gone(refusal(reason, &frame)),
            Kind::Bye(_) if !self.is_up() => return Progress::Gone(Reason::PeerGone),
            _ => {}
        }
        if !frame.speaks_our_version() {
            let reason = Reason::Version { ours: VERSION, theirs: frame.version };
            if self.is_up() {
                return self.fail(shared, reason);
            }
            self.refuse(shared, Refused::Version);
            return Progress::Gone(reason);
        }
        if self.peer.is_some_and(|peer| peer != frame.locator) {
            return self.fail(shared, Reason::Protocol("it changed its locator".into()));
        }
        self.step(shared, &frame, fds).unwrap_or_else(|reason| self.fail(shared, reason))
    }

    const fn expects_descriptors(&self, with: Kind) -> bool {
        matches!(
            (&self.stage, with),
            (Stage::Welcome, Kind::Welcome)
                | (Stage::Attach, Kind::Attach)
                | (Stage::Up(_) | Stage::Leaving(..), Kind::Mouth)
        )
    }

    /// Whether there is a link, and a peer that may send what wakes it in poll: of our user.
    fn may_give_mouth(&self) -> bool {
        self.link().is_some_and(|link| link.bell.is_some())
    }

    /// Something may be there, of a peer that cannot ring. If all that it lacks is what wakes us in poll, it gets that: once.
    fn woken(&mut self, shared: &Shared) -> Progress {
        if !self.gave_mouth && self.credentials.uid == shared.identity.uid {
            // Where the socket has no room now, the next one is answered.
            self.gave_mouth = self.send(shared, Kind::Mouth, &[shared.bell.mouth()]).is_ok();
        }
        Progress::Woken
    }

    /// A handshake that failed ends the connection; a link that is up must be left in order, and one that is being left is not
    /// refused.
    fn fail(&self, shared: &Shared, reason: Reason) -> Progress {
        match &self.stage {
            Stage::Up(link) => return Progress::Broken(Arc::clone(link), reason),
            Stage::Leaving(..) => {}
            _ => self.refuse(shared, Refused::Other),
        }
        Progress::Gone(reason)
    }

    fn step(&mut self, shared: &Shared, frame: &Frame, fds: Vec<Given>) -> Result<Progress, Reason> {
        match (&self.stage, frame.kind) {
            (Stage::Up(_), Kind::Wake) => Ok(self.woken(shared)),
            (Stage::Up(link), Kind::Mouth) => take_mouth(link, fds),
            (Stage::Up(link), Kind::Bye(why)) => Ok(Progress::Bye(Arc::clone(link), why)),
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
            _ => Err(Reason::Protocol("a handshake frame out of turn".into())),
        }
    }

    /// Connector: maps the acceptor's objects, makes the link with the acceptor's nonce in it, and sends all.
    fn attach(&mut self, shared: &Shared, frame: &Frame, fds: Vec<Given>) -> Result<Progress, Reason> {
        let theirs = self.map_objects(shared, frame, fds)?;
        let made = segment::create("zerodds-link", link::LEN, shared.owner(), Sharing::ReadWrite)
            .map_err(|error| Reason::Unavailable(error.to_string()))?;
        // ORDER: Relaxed; the socket orders it before the acceptor's look.
        made.mapping.u64(link::PROBE_CONNECTOR).store(frame.nonce, Ordering::Relaxed);
        let mut fds = self.own_objects(shared);
        fds.push(made.fd.as_fd());
        self.send(shared, Kind::Attach, &fds)?;
        self.stage =
            Stage::Ready(self.link_of(shared, frame.locator, theirs, made.mapping, Direction::FromConnector));
        Ok(Progress::Nothing)
    }

    /// Acceptor: maps the connector's objects, sees our nonce in the link, and puts the connector's there.
    fn ready(&mut self, shared: &Shared, frame: &Frame, mut fds: Vec<Given>) -> Result<Progress, Reason> {
        let link_fd = fds.pop().ok_or_else(|| Reason::Protocol("no descriptors came".into()))?;
        let theirs = self.map_objects(shared, frame, fds)?;
        let memory = segment::map(&link_fd, link::LEN, owner_word(&frame.locator), Sharing::ReadWrite)
            .map_err(|error| not_mapped("link", &error))?;
        let link = self.link_of(shared, frame.locator, theirs, memory, Direction::FromAcceptor);
        self.expect_probe(&link, link::PROBE_CONNECTOR)?;
        // ORDER: Relaxed; the socket orders it before the connector's look.
        link.memory.u64(link::PROBE_ACCEPTOR).store(frame.nonce, Ordering::Relaxed);
        self.send(shared, Kind::Ready, &[])?;
        self.stage = Stage::Done(link);
        Ok(Progress::Nothing)
    }

    /// TRUST: descriptors and numbers of a peer; checked by `segment::map`.
    fn map_objects(&self, shared: &Shared, frame: &Frame, fds: Vec<Given>) -> Result<Objects, Reason> {
        let (ring_fd, bell) = if self.credentials.uid == shared.identity.uid {
            let [ring, memory] = exactly(fds)?;
            let bell = PeerBell::map(&memory, owner_word(&frame.locator))
                .map_err(|error| not_mapped("doorbell", &error))?;
            (ring, Some(bell))
        } else {
            let [ring] = exactly(fds)?;
            (ring, None)
        };
        let ring = map_ring(frame, &ring_fd)?;
        let ring = match bell {
            Some(_) => PeerRing::Mapped(ring),
            None => PeerRing::File { len: ring.len(), file: ring_fd },
        };
        Ok(Objects { ring, bell })
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
            id: LinkId(self.nonce),
            locator,
            outgoing,
            memory,
            len_max: match theirs.bell {
                Some(_) => u64::MAX,
                None => longest_between(shared.ring.len(), theirs.ring.len()),
            },
            uid: self.credentials.uid,
            ring: theirs.ring,
            bell: theirs.bell,
            wake: Frame::new(Kind::Wake, shared.locator, 0, 0),
            own_bell: Arc::clone(&shared.bell),
            socket: Arc::clone(&self.socket),
            down: OnceLock::new(),
            fault: OnceLock::new(),
            generation: shared.generation,
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
        socket::send(&self.socket, &frame, fds).map_err(unsent)
    }
}

/// Why a frame of the handshake could not be sent: what this process may not do is not the end of the peer.
fn unsent(error: Errno) -> Reason {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Reason::PeerGone,
        // It does not read.
        Errno::AGAIN => Reason::NoAnswer,
        Errno::TOOMANYREFS => {
            Reason::Unavailable(format!("{}; {UNDER_WAY}", in_vain("sending descriptors", error)))
        }
        error => Reason::Unavailable(in_vain("sending a frame of the handshake", error).to_string()),
    }
}

/// What a peer gave us to reach it with.
struct Objects {
    ring: PeerRing,
    bell: Option<PeerBell>,
}

/// Each ring holds four messages of the largest size that its owner sends. Both sides know both rings, and so agree.
fn longest_between(ours: usize, theirs: usize) -> u64 {
    ours.min(theirs) as u64 / 4
}

/// TRUST: descriptors and numbers of a peer; checked by `segment::map`.
fn map_ring(frame: &Frame, fd: &OwnedFd) -> Result<Mapping, Reason> {
    let len = usize::try_from(frame.ring_len)
        .ok()
        .filter(|len| (ring::HEADER_LEN..=RING_LEN_MAX).contains(len) && len.is_multiple_of(PAGE));
    let len =
        len.ok_or_else(|| Reason::Protocol(format!("its ring of {} bytes is no ring", frame.ring_len)))?;
    segment::map(fd, len, owner_word(&frame.locator), Sharing::ReadOnly)
        .map_err(|error| not_mapped("ring", &error))
}

fn not_mapped(what: &str, error: &MapError) -> Reason {
    match error {
        MapError::Io(error) => Reason::Unavailable(format!("the peer's {what} cannot be mapped: {error}")),
        other => Reason::Protocol(format!("its {what} is not mapped: {other}")),
    }
}

fn exactly<const N: usize>(fds: Vec<Given>) -> Result<[Given; N], Reason> {
    let found = fds.len();
    fds.try_into().map_err(|_| Reason::Protocol(format!("{found} descriptors came instead of {N}")))
}

/// TRUST: what a peer says wakes it in poll; none was asked for of one of another user.
fn take_mouth(link: &Link, fds: Vec<Given>) -> Result<Progress, Reason> {
    let [mouth] = exactly(fds)?;
    let bell = link.bell.as_ref().ok_or("another user's bell is not ours to ring");
    bell.and_then(|bell| bell.set_mouth(mouth)).map_err(|what| Reason::Protocol(what.into()))?;
    Ok(Progress::Nothing)
}

fn refusal(reason: Refused, frame: &Frame) -> Reason {
    match reason {
        Refused::NotAdmitted => Reason::RefusedByPeer,
        Refused::Version => Reason::Version { ours: VERSION, theirs: frame.version },
        Refused::Busy => Reason::NoPlace,
        Refused::Other => Reason::NotTaken,
        // Its own connection to us is on its way.
        Refused::Duplicate => Reason::NoAnswer,
    }
}

/// The system does not tell which.
const NO_ROOM: &str = "what the peer sent could not be received: this process has as many descriptors as it may (ulimit -n \
                       raises that), or a security module denies them";
const UNDER_WAY: &str =
    "processes of this user have more of them under way than this one may have open (ulimit -n raises that)";
const UNASKED: &str = "it sent descriptors that nobody asked for";
/// Frames that a peer may send after the link is over.
const FRAMES_WHILE_LEAVING: u32 = 1024;
/// The longest ring of any configuration: four times the largest message and a header.
const RING_LEN_MAX: usize = 4 * ((1 << 30) + (8 << 20));
