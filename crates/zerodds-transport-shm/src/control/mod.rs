//! The control thread: accepts, connects, shakes hands, and learns from the kernel that a peer is gone.
//!
//! One thread per transport, asleep in epoll but for these events. Nothing on a send or receive path ever does a
//! handshake, and nothing here ever blocks: sockets are non-blocking, every handshake has a deadline, their
//! number has a bound, and a full backlog means "UDP for now, try again later".

mod connection;
mod socket;

use crate::handshake::{Frame, Kind, Refused, is_admitted};
use crate::peer::Link;
use crate::rendezvous;
use crate::shared::{Request, Shared, Stats};
use crate::sys::{Credentials, peer_credentials, peer_pidfd};
use connection::{Connection, Progress};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zerodds_core::{Locator, LocatorKind, Reason};

/// The running thread.
pub(crate) struct Control {
    thread: JoinHandle<()>,
}

impl Control {
    /// Listens at the transport's rendezvous and starts the thread.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut worker = Worker::listen(Arc::clone(shared))?;
        let thread = std::thread::Builder::new().name("zerodds-ctl".into()).spawn(move || worker.run())?;
        Ok(Self { thread })
    }

    /// Waits for the thread to end; it does so at once after a [`Request::Stop`].
    pub(crate) fn join(self) {
        if self.thread.thread().id() != std::thread::current().id() {
            // It does not panic; if it did, the transport is closed all the same.
            let _ = self.thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    listener: OwnedFd,
    /// Until when the listener is left alone because descriptors ran out.
    listener_paused: Option<Instant>,
    connections: HashMap<u64, Connection>,
    next_token: u64,
    /// Peers of whom it was said that they are not admitted, so that it is said once.
    told: std::collections::HashSet<(Locator, u32)>,
}

const LISTENER: u64 = 0;
const REQUESTS: u64 = 1;
const FIRST_CONNECTION: u64 = 2;
/// Added to a connection's token for the descriptor of its process.
const PROCESS: u64 = 1 << 63;

impl Worker {
    fn listen(shared: Arc<Shared>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&listener, &rendezvous::address(&shared.locator)?)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, &shared.requests.event, EventData::new_u64(REQUESTS), EventFlags::IN)?;
        Ok(Self {
            shared,
            epoll,
            listener,
            listener_paused: None,
            connections: HashMap::new(),
            next_token: FIRST_CONNECTION,
            told: std::collections::HashSet::new(),
        })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.next_deadline().map(|at| {
                // A millisecond more, so that the deadline has passed when we look.
                crate::bell::timespec(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
            });
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the control thread of shared memory cannot wait and ends: {error}");
                    break;
                }
            }
            let mut stop = false;
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    REQUESTS => stop |= self.requests(),
                    token if token & PROCESS != 0 => self.process_exited(token & !PROCESS),
                    token => self.readable(token),
                }
            }
            if stop {
                break;
            }
            self.deadlines();
        }
        self.say_goodbye();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let handshakes = self.connections.values().filter_map(|connection| connection.deadline());
        handshakes.chain(self.listener_paused).min()
    }

    fn deadlines(&mut self) {
        let now = Instant::now();
        if self.listener_paused.is_some_and(|until| until <= now) {
            self.listener_paused = None;
            let _ = epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN);
        }
        let late = |connection: &Connection| connection.deadline().is_some_and(|at| at <= now);
        let tokens: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| late(connection))
            .map(|(&token, _)| token)
            .collect();
        for token in tokens {
            self.end(token, Reason::NoAnswer);
        }
    }

    /// Accepts everybody who waits, up to a bound per round, so that nobody can keep this thread here.
    fn accept(&mut self) {
        for _ in 0..BACKLOG {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => self.accepted(socket),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    // Out of descriptors: the connection stays in the backlog and would wake us for ever.
                    tracing::warn!("no shared-memory link can be accepted for now, UDP is used: {error}");
                    let _ = epoll::modify(
                        &self.epoll,
                        &self.listener,
                        EventData::new_u64(LISTENER),
                        EventFlags::empty(),
                    );
                    self.listener_paused = Some(Instant::now() + LISTENER_PAUSE);
                    return;
                }
            }
        }
    }

    fn accepted(&mut self, socket: OwnedFd) {
        let Ok(peer) = peer_credentials(socket.as_fd()) else { return };
        let admitted = is_admitted(self.shared.config.access, &self.shared.identity, peer);
        let pending = self.connections.values().filter(|connection| connection.deadline().is_some());
        let (all, of_user) = pending.fold((0, 0), |(all, same), connection| {
            (all + 1, same + usize::from(connection.credentials().uid == peer.uid))
        });
        let refused = if !admitted {
            Some(Refused::NotAdmitted)
        } else if all >= HANDSHAKES_MAX || of_user >= HANDSHAKES_PER_USER_MAX {
            Some(Refused::Busy)
        } else {
            None
        };
        if let Some(reason) = refused {
            Stats::add(&self.shared.stats.refused, 1);
            let frame = Frame::new(Kind::Refuse(reason), self.shared.locator, 0, 0);
            let _ = socket::send(&socket, &frame, &[]);
            if !admitted {
                self.tell_once(self.shared.locator, peer.uid);
            }
            return;
        }
        match Connection::accepted(&self.shared, socket, peer, Instant::now() + HANDSHAKE_TIME) {
            Ok(connection) => drop(self.watch(connection)),
            Err(reason) => tracing::warn!("{reason}; a peer is served over UDP"),
        }
    }

    fn tell_once(&mut self, about: Locator, uid: u32) {
        if self.told.len() < TOLD_MAX && self.told.insert((about, uid)) {
            tracing::warn!("{}; it is served over UDP", Reason::NotAdmitted { uid });
        }
    }

    fn watch(&mut self, connection: Connection) -> Option<u64> {
        let token = self.next_token;
        let data = EventData::new_u64(token);
        if let Err(error) =
            epoll::add(&self.epoll, connection.socket(), data, EventFlags::IN | EventFlags::RDHUP)
        {
            tracing::warn!("a shared-memory link cannot be watched, UDP is used: {error}");
            return None;
        }
        self.next_token += 1;
        self.connections.insert(token, connection);
        Some(token)
    }

    /// Does what was asked; `true` to stop.
    fn requests(&mut self) -> bool {
        let mut stop = false;
        for request in self.shared.requests.take_all() {
            match request {
                Request::Connect(locator) => self.connect(locator),
                Request::Close(link) => {
                    let found = self
                        .connections
                        .iter()
                        .find(|(_, c)| c.link().is_some_and(|l| Arc::ptr_eq(l, &link)));
                    if let Some((&token, _)) = found {
                        let reason = link.down.get().cloned().unwrap_or(Reason::PeerGone);
                        self.end(token, reason);
                    }
                }
                Request::Stop => stop = true,
            }
        }
        stop
    }

    fn connect(&mut self, to: Locator) {
        if self.connections.values().any(|connection| connection.peer() == Some(to)) {
            return;
        }
        match self.try_connect(to) {
            Ok(connection) => {
                if self.watch(connection).is_none() {
                    self.failed(to, Reason::Unavailable("no descriptor can be watched".into()));
                }
            }
            Err(reason) => self.failed(to, reason),
        }
    }

    fn try_connect(&mut self, to: Locator) -> Result<Connection, Reason> {
        let unavailable = |error: io::Error| Reason::Unavailable(error.to_string());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| unavailable(error.into()))?;
        let address = rendezvous::address(&to).map_err(unavailable)?;
        rustix::net::connect(&socket, &address).map_err(|error| match error {
            Errno::CONNREFUSED => Reason::PeerGone,
            _ => Reason::NoAnswer,
        })?;
        let peer = peer_credentials(socket.as_fd()).map_err(unavailable)?;
        if !is_admitted(self.shared.config.access, &self.shared.identity, peer) {
            Stats::add(&self.shared.stats.refused, 1);
            self.tell_once(to, peer.uid);
            return Err(Reason::NotAdmitted { uid: peer.uid });
        }
        Connection::connecting(&self.shared, socket, peer, to, Instant::now() + HANDSHAKE_TIME)
    }

    fn failed(&mut self, peer: Locator, reason: Reason) {
        tracing::debug!(%peer, %reason, "no shared-memory link");
        self.shared.outbound.lock().set_down(peer, reason, Instant::now());
        self.shared.bell.notify_space();
    }

    fn readable(&mut self, token: u64) {
        for _ in 0..FRAMES_PER_ROUND {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            match connection.advance(&self.shared) {
                Progress::Waiting => return,
                Progress::Hello(from) => self.hello(token, from),
                Progress::Up(link) => self.up(token, &link),
                Progress::Leaving => {
                    if let Some(link) = connection.link().cloned() {
                        self.shared.outbound.lock().leave(&link);
                        link.end(Reason::PeerGone);
                    }
                }
                Progress::Ended(reason) => return self.end(token, reason),
            }
        }
    }

    /// A peer wants a link. If both sides connect at once, the connection of the smaller locator is kept.
    fn hello(&mut self, token: u64, from: Locator) {
        let host = self.shared.locator.host_tag();
        let foreign = from.kind() != LocatorKind::SharedMemory
            || from.host_tag() != host
            || from == self.shared.locator;
        let mut others = self
            .connections
            .iter()
            .filter(|&(&other, connection)| other != token && connection.peer() == Some(from));
        let refused = match others.next() {
            _ if foreign => Some(Refused::Other),
            Some((_, other)) if other.link().is_some() => Some(Refused::Duplicate),
            Some(_) if self.shared.locator < from => Some(Refused::Duplicate),
            Some((&ours, _)) => {
                self.connections.remove(&ours);
                None
            }
            None => None,
        };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let outcome = match refused {
            Some(reason) => {
                connection.refuse(&self.shared, reason);
                Err(Reason::RefusedByPeer)
            }
            None => connection.welcome(&self.shared, from),
        };
        match outcome {
            Ok(()) => self.shared.outbound.lock().set_connecting(from),
            Err(_) => drop(self.connections.remove(&token)),
        }
    }

    fn up(&mut self, token: u64, link: &Arc<Link>) {
        tracing::debug!(peer = %link.locator, "shared-memory link up");
        // A child that a peer forked keeps its sockets open; its own end shows here.
        if let Ok(process) = peer_pidfd(link.socket.as_fd()) {
            let data = EventData::new_u64(token | PROCESS);
            if let (Ok(()), Some(connection)) =
                (epoll::add(&self.epoll, &process, data, EventFlags::IN), self.connections.get_mut(&token))
            {
                connection.watch_process(process);
            }
        }
        self.shared.outbound.lock().set_up(Arc::clone(link), self.shared.quota());
        self.shared.inbox.push(crate::shared::Arrival::Up(Arc::clone(link)));
        self.shared.bell.ring();
    }

    /// The peer's process is gone, whoever still holds its socket.
    fn process_exited(&mut self, token: u64) {
        self.end(token, Reason::PeerGone);
    }

    /// A connection or link is over.
    fn end(&mut self, token: u64, reason: Reason) {
        let Some(connection) = self.connections.remove(&token) else { return };
        let now = Instant::now();
        if let Some(link) = connection.link() {
            tracing::debug!(peer = %link.locator, %reason, "shared-memory link down");
            let mut outbound = self.shared.outbound.lock();
            outbound.remove(link);
            outbound.set_down(link.locator, reason.clone(), now);
            drop(outbound);
            link.end(reason);
            self.shared.bell.notify_space();
        } else if let (Some(peer), true) = (connection.peer(), connection.is_ours()) {
            // The other side's own connection may be under way instead.
            if !self.connections.values().any(|other| other.peer() == Some(peer)) {
                self.failed(peer, reason);
            }
        }
    }

    fn say_goodbye(&mut self) {
        let bye = Frame::new(Kind::Bye, self.shared.locator, 0, 0);
        for (_, connection) in self.connections.drain() {
            let _ = socket::send(connection.socket(), &bye, &[]);
            if let Some(link) = connection.link() {
                self.shared.outbound.lock().remove(link);
                link.end(Reason::Closed);
            }
        }
    }
}

impl Credentials {
    /// Whether this is the user we run as.
    fn is_user(self, uid: u32) -> bool {
        self.uid == uid
    }
}

/// How long a peer may take to shake hands.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Handshakes under way at once, in all.
const HANDSHAKES_MAX: usize = 128;
/// Handshakes under way at once with processes of one user.
const HANDSHAKES_PER_USER_MAX: usize = 64;
/// Frames read from one connection before others have their turn.
const FRAMES_PER_ROUND: usize = 8;
const BACKLOG: i32 = 128;
const LISTENER_PAUSE: Duration = Duration::from_millis(100);
/// Peers not admitted that are remembered, so that each is mentioned once.
const TOLD_MAX: usize = 256;
