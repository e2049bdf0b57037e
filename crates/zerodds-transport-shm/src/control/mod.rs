//! The control thread: accepts, connects, shakes hands, and learns from the kernel that a peer is gone.
//!
//! One thread per transport, asleep in epoll but for these events. Nothing on a send or receive path ever does a
//! handshake, and nothing here ever blocks: sockets are non-blocking, every handshake has a deadline, their
//! number has a bound, and a full backlog means "UDP for now, try again later".

pub(crate) mod closing;
mod connection;
mod places;
pub(crate) mod socket;
mod strangers;
#[cfg(test)]
mod tests;

use crate::asked::{asked, in_vain, lacked_a_descriptor};
use crate::bell::timespec;
use crate::crash;
use crate::doorbell::Space;
use crate::handshake::{Frame, Goodbye, Kind, Refused, is_admitted};
use crate::outbound::pause_before_retry;
use crate::peer::{Link, Reading, link_ended};
use crate::rendezvous;
use crate::shared::{Arrival, Request, Shared, Stats};
use crate::sys::{peer_credentials, peer_pidfd};
use closing::TOO_MUCH_TO_CLOSE;
use connection::{Connection, Progress};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};
use socket::Socket;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strangers::Strangers;
use zerodds_core::{Locator, Reason};

/// The running thread.
pub(crate) struct Control {
    thread: JoinHandle<()>,
}

impl Control {
    /// Listens at the transport's rendezvous and starts the thread.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut worker = Worker::listen(Arc::clone(shared))?;
        let thread = std::thread::Builder::new().name("zerodds-ctl".into()).spawn(move || worker.run());
        let thread = asked("a thread", thread)?;
        Ok(Self { thread })
    }

    /// Waits for the thread to end; it does so at once after a [`Request::Stop`].
    pub(crate) fn join(self) {
        if self.thread.thread().id() != std::thread::current().id() {
            // Where a subscriber of log lines had it panic, the transport is closed all the same: see the drop of `Worker`.
            let _ = self.thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    listener: OwnedFd,
    /// Until when the listener is left alone, and who is paused, because descriptors ran out or cannot be closed.
    listener_paused: Option<Instant>,
    /// Connections that are not watched until then.
    paused: HashSet<u64>,
    connections: HashMap<u64, Connection>,
    /// Those with a link whose peer's process is not watched yet, for want of a descriptor, and until when that is left so.
    unwatched: HashSet<u64>,
    unwatched_until: Option<Instant>,
    strangers: Strangers,
    next_token: u64,
    /// It was said that descriptors ran out.
    said_full: bool,
    /// Links that have ended since the receiver was asked last.
    unasked: usize,
    /// It was said that nobody receives.
    said_unreceived: bool,
    /// Peers of whom it was said that they are not admitted, so that it is said once.
    told: HashSet<(Locator, u32)>,
    /// Of how many links with each user it was said that its processes broke the protocol.
    faulty_users: HashMap<u32, u32>,
}

const LISTENER: u64 = 0;
const REQUESTS: u64 = 1;
/// A process with which there is no link has ended.
const STRANGERS: u64 = 2;
const FIRST_CONNECTION: u64 = 3;
/// Added to a connection's token for the descriptor of its process.
const PROCESS: u64 = 1 << 63;

impl Worker {
    fn listen(shared: Arc<Shared>) -> io::Result<Self> {
        let listener = socket::listen_at(&shared.locator)?;
        let epoll = asked("epoll_create", epoll::create(epoll::CreateFlags::CLOEXEC))?;
        for (event, of) in [(LISTENER, &listener), (REQUESTS, &shared.requests.event)] {
            asked("epoll_ctl", epoll::add(&epoll, of, EventData::new_u64(event), EventFlags::IN))?;
        }
        Ok(Self {
            shared,
            epoll,
            listener,
            listener_paused: None,
            paused: HashSet::new(),
            said_full: false,
            unasked: 0,
            said_unreceived: false,
            connections: HashMap::new(),
            unwatched: HashSet::new(),
            unwatched_until: None,
            strangers: Strangers::default(),
            next_token: FIRST_CONNECTION,
            told: HashSet::new(),
            faulty_users: HashMap::new(),
        })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        while self.round(&mut events) {}
        self.let_in_who_came();
    }

    /// Waits for events and handles them; `false` to end.
    fn round(&mut self, events: &mut Vec<epoll::Event>) -> bool {
        events.clear();
        let timeout = self.next_deadline().map(|at| {
            // A millisecond more, so that the deadline has passed when we look.
            timespec(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(
                    "shared memory ends, UDP is used instead: its control thread cannot wait: {error}"
                );
                return false;
            }
        }
        let mut go_on = true;
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept(),
                REQUESTS => go_on &= self.requests(),
                STRANGERS => self.strangers.bury(&self.epoll),
                token if token & PROCESS != 0 => self.gone(token & !PROCESS, &Reason::PeerDied),
                token => self.readable(token),
            }
        }
        self.deadlines();
        go_on
    }

    fn next_deadline(&self) -> Option<Instant> {
        let handshakes = self.connections.values().filter_map(|connection| connection.deadline());
        let again = self.shared.closer.lacks_threads().then(|| Instant::now() + LISTENER_PAUSE);
        handshakes.chain(self.listener_paused).chain(self.unwatched_until).chain(again).min()
    }

    fn deadlines(&mut self) {
        let now = Instant::now();
        if self.listener_paused.is_some_and(|until| until <= now) {
            self.resume();
        }
        self.shared.closer.go_on();
        if self.unwatched_until.take_if(|until| *until <= now).is_some() {
            for token in std::mem::take(&mut self.unwatched) {
                if self.watch_process(token) {
                    self.gone(token, &Reason::PeerDied);
                }
            }
        }
        let late = |connection: &Connection| connection.deadline().is_some_and(|at| at <= now);
        let tokens: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| late(connection))
            .map(|(&token, _)| token)
            .collect();
        for token in tokens {
            // What it sent in time may be behind more events than one round has.
            self.readable(token);
            if self.connections.get(&token).is_some_and(late) {
                Stats::add(&self.shared.stats.refused, 1);
                self.give_up(token, Reason::NoAnswer);
            }
        }
    }

    /// Accepts everybody who waits, up to a bound per round, so that nobody can keep this thread here.
    fn accept(&mut self) {
        for _ in 0..socket::BACKLOG {
            if self.shared.closer.is_full() {
                return self.pause_listener(TOO_MUCH_TO_CLOSE);
            }
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => self.accepted(Socket::new(socket, &self.shared.closer)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Out of descriptors: the connection stays in the backlog and would wake us for ever.
                Err(error) => return self.pause_listener(error),
            }
        }
    }

    fn pause_listener(&mut self, why: impl std::fmt::Display) {
        if !std::mem::replace(&mut self.said_full, true) {
            tracing::warn!("no shared-memory link can be accepted for now, UDP is used: {why}");
        }
        let _ = epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::empty());
        self.listener_paused.get_or_insert_with(|| Instant::now() + LISTENER_PAUSE);
    }

    /// Leaves a connection as it is, with all that came by it, for as long as the listener.
    fn pause(&mut self, token: u64) {
        self.pause_listener(TOO_MUCH_TO_CLOSE);
        // Watched for nothing it would wake us for ever once its peer has closed.
        if let Some(connection) = self.connections.get(&token)
            && self.paused.insert(token)
        {
            let _ = epoll::delete(&self.epoll, connection.socket());
        }
    }

    fn resume(&mut self) {
        self.listener_paused = None;
        let _ = epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN);
        for token in std::mem::take(&mut self.paused) {
            let connection = self.connections.get(&token);
            if connection.is_some_and(|connection| watch(&self.epoll, connection, token).is_err()) {
                self.gone(token, &Reason::Unavailable("no descriptor can be watched".into()));
            }
        }
    }

    fn accepted(&mut self, socket: Socket) {
        crash::step("accepted");
        let Ok(peer) = peer_credentials(socket.as_fd()) else { return };
        let admitted = is_admitted(self.shared.config.access, &self.shared.identity, peer);
        let refused = if !admitted {
            Some(Refused::NotAdmitted)
        } else if self.is_full(peer) || !self.has_place(peer) {
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
        match Connection::accepted(socket, peer, Instant::now() + HANDSHAKE_TIME) {
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
        if let Err(error) = watch(&self.epoll, &connection, token) {
            tracing::warn!("a shared-memory link cannot be watched, UDP is used: {error}");
            return None;
        }
        self.next_token += 1;
        self.connections.insert(token, connection);
        Some(token)
    }

    /// Does what was asked; `false` to end.
    fn requests(&mut self) -> bool {
        let mut go_on = true;
        for request in self.shared.requests.take_all() {
            match request {
                Request::Connect(locator) => self.connect(locator),
                Request::Close(link, broken) => self.broken(&link, Reason::Protocol(broken.0.into())),
                Request::Disconnect(link) => {
                    self.leave(&link, Goodbye::Wished, link_ended(), Duration::ZERO);
                }
                Request::Stop => go_on = false,
            }
        }
        go_on
    }

    /// Whether a link with this peer is up or under way. One that is over, whose end is still awaited, is neither.
    fn is_engaged_with(&self, peer: Locator) -> bool {
        self.connections.values().any(|connection| connection.is_engaged_with(peer))
    }

    fn connect(&mut self, to: Locator) {
        if self.is_engaged_with(to) {
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
        if self.shared.closer.is_full() {
            return Err(Reason::Unavailable(TOO_MUCH_TO_CLOSE.into()));
        }
        let unavailable = |error: io::Error| Reason::Unavailable(error.to_string());
        let socket = socket::unconnected().map_err(unavailable)?;
        let address = rendezvous::address(&to).map_err(unavailable)?;
        rustix::net::connect(&socket, &address).map_err(|error| match error {
            Errno::CONNREFUSED | Errno::AGAIN if self.strangers.has_died(&to) => Reason::PeerDied,
            Errno::CONNREFUSED => Reason::PeerGone,
            // It has not accepted those who came before.
            Errno::AGAIN => Reason::NoAnswer,
            other => unavailable(in_vain("connecting to the peer", other)),
        })?;
        // Until now nobody could send it anything, and it was closed at once.
        let socket = Socket::new(socket, &self.shared.closer);
        crash::step("connected");
        let peer = asked("credentials of the peer", peer_credentials(socket.as_fd())).map_err(unavailable)?;
        if !is_admitted(self.shared.config.access, &self.shared.identity, peer) {
            Stats::add(&self.shared.stats.refused, 1);
            self.tell_once(to, peer.uid);
            return Err(Reason::NotAdmitted { uid: peer.uid });
        }
        if self.strangers.meet(to, socket.as_fd(), &self.epoll, STRANGERS) {
            return Err(Reason::PeerDied);
        }
        if self.is_full(peer) || !self.has_place(peer) {
            return Err(Reason::NoPlace);
        }
        Connection::connecting(&self.shared, socket, peer, to, Instant::now() + HANDSHAKE_TIME)
    }

    fn failed(&mut self, peer: Locator, reason: Reason) {
        tracing::debug!(%peer, %reason, "no shared-memory link");
        self.shared.outbound.lock().set_failed(peer, reason, Instant::now());
    }

    fn readable(&mut self, token: u64) {
        self.read(token, FRAMES_PER_ROUND);
    }

    fn read(&mut self, token: u64, frames_max: usize) {
        for _ in 0..frames_max {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            match connection.advance(&self.shared) {
                Progress::Waiting => return,
                Progress::Paused => return self.pause(token),
                Progress::Nothing => {}
                Progress::Hello(from) => self.hello(token, from),
                Progress::Up(link) => self.up(token, link),
                Progress::Woken => {
                    self.shared.bell.ring();
                    self.shared.bell.notify_space(Space::Much);
                }
                Progress::Bye(link, why) => self.bye(&link, why),
                Progress::Broken(link, reason) => {
                    // Otherwise whoever found a fault before has asked for the same.
                    if self.shared.note_fault(&link, &reason) {
                        self.broken(&link, reason);
                    }
                }
                Progress::Gone(reason) => return self.gone(token, &reason),
            }
        }
    }

    /// A peer wants a link. If both sides connect at once, the connection of the smaller locator is kept.
    fn hello(&mut self, token: u64, from: Locator) {
        let own = self.shared.locator;
        let is_up = |connection: &Connection| connection.may_be_up() && connection.peer() == Some(from);
        let up = self.connections.iter().find(|(_, connection)| is_up(connection)).map(|(&up, _)| up);
        if let Some(up) = up {
            // It may have said goodbye there before it came here, behind a WAKE for every message and everything given back.
            self.read(up, FRAMES_BEFORE_HELLO);
        }
        let is_neighbour = from.is_neighbour(&own) && from != own;
        let other = self
            .connections
            .iter()
            .find(|&(&other, connection)| other != token && connection.is_engaged_with(from));
        let refused = match other {
            _ if !is_neighbour || self.shared.inbox.is_closed() => Some(Refused::Other),
            Some((_, other)) if other.is_up() || own < from => Some(Refused::Duplicate),
            Some((&ours, _)) => {
                self.forget(ours);
                None
            }
            None => None,
        };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let welcome = match refused {
            Some(reason) => {
                connection.refuse(&self.shared, reason);
                Err(Reason::RefusedByPeer)
            }
            None => connection.welcome(&self.shared, from),
        };
        if let Err(reason) = welcome {
            self.gone(token, &reason);
        }
    }

    fn up(&mut self, token: u64, link: Arc<Link>) {
        tracing::debug!(peer = %link.locator, "shared-memory link up");
        self.strangers.forget(&link.locator, &self.epoll);
        let has_exited = self.watch_process(token);
        crash::step("up");
        // At once for senders and for the receiver: whoever is sent something by this link can be answered by it, and
        // whoever hears of it can send.
        let reading = Arc::new(Reading(Arc::clone(&link)));
        let mut outbound = self.shared.outbound.lock();
        let refused = self.shared.inbox.push(Arrival::Up(reading));
        crash::step("up for the receiver");
        outbound.set_up(link);
        // Before anybody can send: nobody is woken by the news of a link that it has used already.
        self.shared.bell.ring();
        drop(outbound);
        if let Some(refused) = refused {
            refused.refuse(&self.shared);
        }
        if has_exited {
            self.gone(token, &Reason::PeerDied);
        }
    }

    /// Watches the process of a peer, a child of which may keep its sockets open; whether it has exited already.
    fn watch_process(&mut self, token: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&token) else { return false };
        let process = match peer_pidfd(connection.socket().as_fd()) {
            Ok(Some(process)) => process,
            Ok(None) => return true,
            Err(error) => {
                // What this kernel does not have it will not have later.
                if lacked_a_descriptor(&error) {
                    self.watch_process_later(token);
                }
                return false;
            }
        };
        let data = EventData::new_u64(token | PROCESS);
        if epoll::add(&self.epoll, &process, data, EventFlags::IN).is_ok() {
            connection.watch_process(process);
        } else {
            self.watch_process_later(token);
        }
        false
    }

    fn watch_process_later(&mut self, token: u64) {
        self.unwatched.insert(token);
        self.unwatched_until.get_or_insert_with(|| Instant::now() + LISTENER_PAUSE);
    }

    /// The peer leaves a link.
    fn bye(&mut self, link: &Arc<Link>, why: Goodbye) {
        let (reason, pause) = match why {
            Goodbye::Closing => (Reason::PeerClosed, pause_before_retry(&Reason::PeerClosed, 0)),
            Goodbye::Wished => (link_ended(), Duration::ZERO),
            Goodbye::Broken => {
                let what = "the peer ended the link, because it found a fault in what it read there";
                (Reason::Unavailable(what.into()), BROKEN_PAUSE)
            }
        };
        self.leave(link, Goodbye::Wished, reason, pause);
    }

    /// The peer broke the protocol, which is counted already. It is said of as many links as suffice to be heard: whoever breaks one after
    /// another does not fill the log.
    fn broken(&mut self, link: &Arc<Link>, reason: Reason) {
        if self.is_to_be_said(link.uid) {
            tracing::warn!(peer = %link.locator, "{reason}; its link is closed and UDP used instead");
        } else {
            tracing::debug!(peer = %link.locator, "{reason}; its link is closed and UDP used instead");
        }
        self.leave(link, Goodbye::Broken, reason, BROKEN_PAUSE);
    }

    fn is_to_be_said(&mut self, uid: u32) -> bool {
        let said = self.faulty_users.get(&uid).copied().unwrap_or(0);
        let is_one_more = said < FAULTS_SAID_MAX && (said > 0 || self.faulty_users.len() < FAULTY_USERS_MAX);
        if is_one_more {
            self.faulty_users.insert(uid, said + 1);
        }
        is_one_more
    }

    /// A link is over, but its peer may still read what it has taken: it is told, and its end awaited. None is tried
    /// again for the time of `pause`. Where it was ended before, the reason is that of then; and where a fault was found, that, even
    /// if the peer's goodbye, in answer to ours, comes before whoever found it has ended the link.
    fn leave(&mut self, link: &Arc<Link>, why: Goodbye, reason: Reason, pause: Duration) {
        let reason = link.down.get().or(link.fault.get()).cloned().unwrap_or(reason);
        let mut connections = self.connections.values_mut();
        if let Some(connection) = connections.find(|connection| connection.is_up_with(link)) {
            tracing::debug!(peer = %link.locator, %reason, "shared-memory link down");
            connection.leave(&self.shared, why);
        }
        crash::step("leave");
        self.shared.outbound.lock().leave(link, reason.clone(), retry_at(link, pause));
        crash::step("left");
        link.end(reason);
        // Whoever ended it before has woken those who wait for room while the link stood in the books as ever.
        self.shared.bell.notify_space(Space::Much);
    }

    /// A connection is gone, and with it whatever its peer read of ours.
    fn gone(&mut self, token: u64, reason: &Reason) {
        crash::step("peer gone");
        let Some(connection) = self.forget(token) else { return };
        if let Some(link) = connection.link() {
            let mut outbound = self.shared.outbound.lock();
            let retry_at = retry_at(link, pause_before_retry(reason, 0));
            crash::step("take everything back");
            let removed = outbound.remove(link, reason.clone(), retry_at);
            drop(outbound);
            crash::step("unmap");
            // Unmaps, if nothing of it is in use here.
            drop(removed);
            crash::step("tell of the end");
            link.end(reason.clone());
            // ORDER: Acquire; a receiver that is taken later finds the inbox as it is left here.
            if !self.shared.receiver_taken.load(Ordering::Acquire)
                && let Some(arrival) = self.shared.inbox.retract(link)
            {
                arrival.refuse(&self.shared);
            }
            let uid = link.uid;
            self.shared.bell.notify_space(Space::Much);
            self.forget_unreceived(uid);
        } else if let Some(peer) = connection.peer() {
            // The other side's own connection may be under way instead.
            if !self.is_engaged_with(peer) {
                self.failed(peer, reason.clone());
            }
        }
    }

    /// An application that took the receiver and does not ask it keeps a bounded number of links that are over, each with its
    /// descriptors and mappings. What was sent on older ones is lost, and counted. One that asks now and then, however
    /// seldom, gets everything.
    fn forget_unreceived(&mut self, uid: u32) {
        self.unasked = if self.shared.inbox.was_asked() { 0 } else { self.unasked + 1 };
        let max = if uid == self.shared.identity.uid { UNRECEIVED_MAX } else { UNRECEIVED_OF_OTHERS_MAX };
        if self.unasked <= max {
            return;
        }
        let Some(oldest) = self.shared.inbox.forget_over(uid, max) else { return };
        Stats::add(&self.shared.stats.lost_messages, oldest.incoming().discard(&oldest.memory));
        if !std::mem::replace(&mut self.said_unreceived, true) {
            tracing::warn!(
                "nobody receives from this transport: what peers sent that have left is lost, but for the last {max}"
            );
        }
    }

    /// Forgets a connection, of which messages that were kept may hold the socket open: it must not wake us.
    fn forget(&mut self, token: u64) -> Option<Connection> {
        let connection = self.connections.remove(&token)?;
        for fd in connection.watched() {
            let _ = epoll::delete(&self.epoll, fd);
        }
        Some(connection)
    }

    /// Links that are as good as up come up before all end: what was sent by them stays where it is for those who have not read it yet.
    fn let_in_who_came(&mut self) {
        crash::step("say goodbye");
        // Who has come meanwhile is let in to be closed in our way; the kernel would do it in its own.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Read);
        while let Ok(socket) =
            rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            drop(Socket::new(socket, &self.shared.closer));
        }
        let tokens: Vec<u64> = self.connections.keys().copied().collect();
        for token in tokens {
            self.readable(token);
            if let Some(link) = self.connections.get_mut(&token).and_then(Connection::come_up) {
                self.up(token, link);
            }
        }
    }
}

impl Drop for Worker {
    /// Tells everybody, however the thread ends: whatever a subscriber of log lines does here, nobody is sent to any more whose death
    /// would not be noticed, and nobody waits for a link that nobody makes. Says nothing itself: a second panic would end the process.
    fn drop(&mut self) {
        self.shared.outbound.lock().closed = true;
        for (_, connection) in self.connections.drain() {
            if let Some(link) = connection.link() {
                link.say_bye(self.shared.locator, Goodbye::Closing);
                link.end(Reason::Closed);
            }
        }
        self.shared.bell.notify_space(Space::Much);
    }
}

fn watch(epoll: &OwnedFd, connection: &Connection, token: u64) -> Result<(), Errno> {
    epoll::add(epoll, connection.socket(), EventData::new_u64(token), EventFlags::IN | EventFlags::RDHUP)
}

/// When another link is tried that should be after this pause: whoever broke the protocol is left alone, however its link ends.
fn retry_at(link: &Link, pause: Duration) -> Instant {
    let is_faulty = link.fault.get().is_some();
    Instant::now() + if is_faulty { pause.max(BROKEN_PAUSE) } else { pause }
}

/// How long a peer may take to shake hands.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Links with our own user that are over, and wait for a receiver that is never asked.
const UNRECEIVED_MAX: usize = 256;
/// The same with any one other user.
const UNRECEIVED_OF_OTHERS_MAX: usize = 32;
/// Frames read from one connection before others have their turn.
const FRAMES_PER_ROUND: usize = 8;
/// Frames read from a link whose peer comes anew: more than a socket of the usual length (208 KiB) holds of them.
const FRAMES_BEFORE_HELLO: usize = 512;
const LISTENER_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer is left alone after either side broke the protocol.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);
/// Peers not admitted that are remembered, so that each is mentioned once.
const TOLD_MAX: usize = 256;
/// Links with one user of whose faults is warned; how many users are remembered.
const FAULTS_SAID_MAX: u32 = 16;
const FAULTY_USERS_MAX: usize = 256;
