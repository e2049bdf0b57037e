//! A transport within one process: queues behind a hub, with links that a test takes up and down.
//!
//! ```text
//!   a.send ──▶ Hub: who has this locator? ──▶ queue of b ──▶ b.receiver
//!               └ link_up(a, b), link_down(a, b, why), link_break(a, b, why)
//! ```
//! It stands in for either side of a router. Of the shared-memory kind it reaches the peers that it is linked
//! with; of the UDP kind it reaches every peer of its hub, and groups exist. The only system calls are those
//! of the bell, a socket pair that gives receivers a descriptor to wait on.

use crate::{
    Counters, Delivery, HostTag, Incarnation, Incoming, Loan, LoanError, Locator, LocatorKind, Message, Path,
    Peer, Reach, Reason, Receiver, Refusal, SendError, Sent, Transport, Unserved, Wake,
};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

/// The made-up network that its transports share. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a queue got shorter or a member closed.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<Locator, Member>,
    groups: HashMap<Locator, Vec<Locator>>,
    links: HashMap<(Locator, Locator), Link>,
    opened: u16,
}

#[derive(Debug)]
struct Member {
    queue: VecDeque<Incoming<MemoryMessage>>,
    queue_len_max: usize,
    bell: UnixStream,
    receiver: Option<UnixStream>,
    counters: Counters,
    refuses_loans: bool,
    closed: bool,
}

#[derive(Clone, Debug)]
enum Link {
    Up,
    Down(Reason),
    /// `reach` still says up, the next send finds out.
    Broken(Reason),
}

/// One transport of a [`Hub`]. Clones are the same transport.
#[derive(Clone, Debug)]
pub struct Memory {
    hub: Hub,
    path: Path,
    max_message_len: usize,
    /// `Err` for a transport that could not be had.
    locator: Result<Locator, Reason>,
}

/// A heap buffer.
#[derive(Debug)]
pub struct MemoryLoan(Vec<u8>);

/// A received message; all receivers of one send share its bytes.
#[derive(Clone, Debug)]
pub struct MemoryMessage {
    bytes: Bytes,
    path: Path,
    source: Locator,
}

/// The receiving half of a [`Memory`].
#[derive(Debug)]
pub struct MemoryReceiver {
    hub: Hub,
    locator: Locator,
    bell: UnixStream,
}

impl Hub {
    /// A network with nobody on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A transport of this kind that carries messages of up to `max_message_len` bytes and queues up to
    /// `queue_len_max` of them.
    ///
    /// # Panics
    /// Where the system has no socket pair to give.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test has nothing better to do about it")]
    pub fn open(&self, path: Path, max_message_len: usize, queue_len_max: usize) -> Memory {
        let (bell, receiver) = UnixStream::pair().expect("a socket pair");
        for end in [&bell, &receiver] {
            end.set_nonblocking(true).expect("a non-blocking socket pair");
        }
        let mut state = self.0.state.lock();
        state.opened += 1;
        let locator = made_up_locator(path, state.opened);
        let member = Member {
            queue: VecDeque::new(),
            queue_len_max,
            bell,
            receiver: Some(receiver),
            counters: Counters::default(),
            refuses_loans: false,
            closed: false,
        };
        state.members.insert(locator, member);
        Memory { hub: self.clone(), path, max_message_len, locator: Ok(locator) }
    }

    /// A transport that could not be had: no locators, and `reach` answers with this reason.
    #[must_use]
    pub fn open_unavailable(&self, path: Path, reason: Reason) -> Memory {
        Memory { hub: self.clone(), path, max_message_len: 0, locator: Err(reason) }
    }

    /// Links two transports of the shared-memory kind; both are told in band.
    pub fn link_up(&self, a: &Memory, b: &Memory) {
        self.link(a, b, &Link::Up, |peer| Some(Incoming::PeerUp(peer)));
    }

    /// Unlinks them for this reason; both are told in band.
    pub fn link_down(&self, a: &Memory, b: &Memory, reason: &Reason) {
        self.link(a, b, &Link::Down(reason.clone()), |peer| Some(Incoming::PeerDown(peer, reason.clone())));
    }

    /// Breaks their link so that only the next send finds out.
    pub fn link_break(&self, a: &Memory, b: &Memory, reason: &Reason) {
        self.link(a, b, &Link::Broken(reason.clone()), |_| None);
    }

    /// Makes `member` receive what is sent to the group at this locator.
    pub fn join(&self, member: &Memory, group: Locator) {
        if let Ok(locator) = member.locator {
            self.0.state.lock().groups.entry(group).or_default().push(locator);
        }
    }

    fn link(
        &self,
        a: &Memory,
        b: &Memory,
        link: &Link,
        news: impl Fn(Locator) -> Option<Incoming<MemoryMessage>>,
    ) {
        let (Ok(a), Ok(b)) = (&a.locator, &b.locator) else { return };
        let mut state = self.0.state.lock();
        for (here, there) in [(*a, *b), (*b, *a)] {
            state.links.insert((here, there), link.clone());
            if let (Some(member), Some(news)) = (state.members.get_mut(&here), news(there)) {
                member.push(news);
            }
        }
    }
}

impl State {
    /// The members that a peer's locators name: at most one, or those of a group.
    fn resolve(&self, path: Path, peer: Peer<'_>) -> Vec<Locator> {
        let mut ours = peer.locators.iter().filter(|locator| kind_of(path, locator));
        ours.find_map(|locator| match self.groups.get(locator) {
            Some(members) => Some(members.clone()),
            None => self.members.contains_key(locator).then(|| vec![*locator]),
        })
        .unwrap_or_default()
    }

    fn reach(&self, path: Path, from: Locator, peer: Peer<'_>) -> Reach {
        if !peer.locators.iter().any(|locator| kind_of(path, locator)) {
            return Reach::Unreachable(Reason::NoLocator);
        }
        match (path, self.resolve(path, peer).first().map(|&to| self.links.get(&(from, to)))) {
            (Path::Udp, _) | (_, Some(Some(Link::Up | Link::Broken(_)))) => Reach::Ready(path),
            (_, Some(Some(Link::Down(reason)))) => Reach::Unreachable(reason.clone()),
            (_, Some(None)) => Reach::Pending(Reason::Handshake),
            (_, None) => Reach::Pending(Reason::NoAnswer),
        }
    }
}

impl Member {
    fn push(&mut self, incoming: Incoming<MemoryMessage>) {
        self.queue.push_back(incoming);
        // A full bell has rung already.
        let _ = self.bell.write(&[1]);
    }

    /// Takes back the oldest unread message.
    fn revoke_oldest(&mut self) {
        let message = |incoming: &Incoming<_>| matches!(incoming, Incoming::Message(_));
        if let Some(oldest) = self.queue.iter().position(message) {
            self.queue.remove(oldest);
        }
    }
}

impl Memory {
    /// Makes `loan` answer that there is no room.
    pub fn refuse_loans(&self, refuse: bool) {
        self.with_member(|member| member.refuses_loans = refuse);
    }

    /// Messages waiting to be received.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.with_member(|member| member.queue.len()).unwrap_or_default()
    }

    fn with_member<T>(&self, act: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let locator = self.locator.as_ref().ok()?;
        self.hub.0.state.lock().members.get_mut(locator).map(act)
    }

    fn own_locator(&self) -> Result<Locator, LoanError> {
        match (&self.locator, self.with_member(|member| member.closed)) {
            (Ok(locator), Some(false)) => Ok(*locator),
            (Err(reason), _) => Err(LoanError::Unavailable(reason.clone())),
            _ => Err(LoanError::Closed),
        }
    }

    /// Puts the message into every queue that the peer's locators name.
    fn deliver(&self, message: &MemoryMessage, peer: Peer<'_>, delivery: Delivery) -> Result<(), Refusal> {
        let mut state = self.hub.0.state.lock();
        if let Reach::Pending(reason) | Reach::Unreachable(reason) =
            state.reach(self.path, message.source, peer)
        {
            return Err(Refusal::Unreachable(reason));
        }
        let mut lost = 0;
        for to in state.resolve(self.path, peer) {
            if let Some(Link::Broken(reason)) = state.links.get(&(message.source, to)).cloned() {
                state.links.insert((message.source, to), Link::Down(reason.clone()));
                return Err(Refusal::Unreachable(reason));
            }
            while let Some(member) = state.members.get_mut(&to).filter(|member| !member.closed) {
                if member.queue.len() < member.queue_len_max {
                    member.push(Incoming::Message(message.clone()));
                    break;
                }
                match delivery {
                    Delivery::BestEffort => {
                        member.revoke_oldest();
                        lost += 1;
                    }
                    Delivery::Reliable { deadline } => {
                        if self.hub.0.room.wait_until(&mut state, deadline).timed_out() {
                            return Err(Refusal::Full);
                        }
                    }
                }
            }
        }
        if let Some(me) = state.members.get_mut(&message.source) {
            me.counters.sent_messages += 1;
            me.counters.sent_bytes += message.bytes.len() as u64;
            me.counters.lost_messages += lost;
        }
        Ok(())
    }
}

impl Transport for Memory {
    type Loan = MemoryLoan;
    type Receiver = MemoryReceiver;

    fn locators(&self) -> Vec<Locator> {
        self.locator.iter().copied().collect()
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        match (self.own_locator(), &self.locator) {
            (Ok(from), _) => self.hub.0.state.lock().reach(self.path, from, peer),
            (Err(_), Err(reason)) => Reach::Unreachable(reason.clone()),
            (Err(_), Ok(_)) => Reach::Unreachable(Reason::Closed),
        }
    }

    fn max_message_len(&self) -> usize {
        self.max_message_len
    }

    fn loan(&self, len: usize) -> Result<MemoryLoan, LoanError> {
        match self.own_locator() {
            Err(error) => Err(error),
            Ok(_) if len > self.max_message_len => {
                self.with_member(|member| member.counters.too_large_messages += 1);
                Err(LoanError::TooLarge { len, max: self.max_message_len })
            }
            Ok(_) if self.with_member(|member| member.refuses_loans) == Some(true) => {
                Err(LoanError::Full { len })
            }
            Ok(_) => Ok(MemoryLoan(vec![0; len])),
        }
    }

    fn send(&self, message: MemoryLoan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let message = MemoryMessage { bytes: message.0.into(), path: self.path, source: self.own_locator()? };
        let mut sent = Sent::default();
        for (index, peer) in to.iter().enumerate() {
            match (self.deliver(&message, *peer, delivery), self.path) {
                (Ok(()), Path::SharedMemory) => sent.by_shm += 1,
                (Ok(()), Path::Udp) => sent.by_udp += 1,
                (Err(why), _) => sent.unserved.push(Unserved { index, why }),
            }
        }
        Ok(sent)
    }

    /// As a send of a loan, except that it may wait for room where there is no loan to be had.
    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        if message.len() > self.max_message_len {
            self.with_member(|member| member.counters.too_large_messages += 1);
            return Err(SendError::TooLarge { len: message.len(), max: self.max_message_len });
        }
        self.send(MemoryLoan(message.to_vec()), to, delivery)
    }

    fn receiver(&self) -> Option<MemoryReceiver> {
        let locator = *self.locator.as_ref().ok()?;
        let bell = self.with_member(|member| member.receiver.take())??;
        Some(MemoryReceiver { hub: self.hub.clone(), locator, bell })
    }

    fn neighbours(&self) -> Vec<Locator> {
        let state = self.hub.0.state.lock();
        let same_kind = |locator: &&Locator| kind_of(self.path, locator) && Ok(**locator) != self.locator;
        state.members.keys().filter(same_kind).filter(|_| self.path == Path::SharedMemory).copied().collect()
    }

    fn counters(&self) -> Counters {
        self.with_member(|member| member.counters).unwrap_or_default()
    }

    fn close(&self) {
        let Ok(me) = self.locator else { return };
        let mut state = self.hub.0.state.lock();
        let Some(member) = state.members.get_mut(&me).filter(|member| !member.closed) else { return };
        member.closed = true;
        let _ = member.bell.write(&[1]);
        let linked: Vec<_> =
            state.links.iter().filter(|(pair, _)| pair.1 == me).map(|(pair, _)| pair.0).collect();
        for peer in linked {
            let was = state.links.insert((peer, me), Link::Down(Reason::PeerGone));
            if let (Some(Link::Up | Link::Broken(_)), Some(peer)) = (was, state.members.get_mut(&peer)) {
                peer.push(Incoming::PeerDown(me, Reason::PeerGone));
            }
        }
        self.hub.0.room.notify_all();
    }
}

impl Receiver for MemoryReceiver {
    type Message = MemoryMessage;

    fn try_receive(&mut self) -> Option<Incoming<MemoryMessage>> {
        let mut state = self.hub.0.state.lock();
        let member = state.members.get_mut(&self.locator)?;
        let incoming = member.queue.pop_front()?;
        if let Incoming::Message(message) = &incoming {
            member.counters.received_messages += 1;
            member.counters.received_bytes += message.len() as u64;
        }
        self.hub.0.room.notify_all();
        Some(incoming)
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        let armed = self.arm();
        if armed != Wake::TimedOut {
            return armed;
        }
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let bell = std::iter::once(self.bell.as_fd());
        let mut fds: Vec<_> =
            bell.chain(also.iter().copied()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Wake::TimedOut,
            Ok(_) | Err(_) => Wake::Ready,
        }
    }

    fn arm(&mut self) -> Wake {
        let state = self.hub.0.state.lock();
        let Some(member) = state.members.get(&self.locator) else { return Wake::Closed };
        match (member.queue.is_empty(), member.closed) {
            (false, _) => Wake::Ready,
            (true, true) => Wake::Closed,
            (true, false) => {
                silence(&self.bell);
                Wake::TimedOut
            }
        }
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }
}

/// Reads the bell empty; under the hub's lock, so that no ring is lost.
fn silence(mut bell: &UnixStream) {
    let mut rings = [0; 64];
    while matches!(bell.read(&mut rings), Ok(read) if read > 0) {}
}

impl Deref for MemoryLoan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for MemoryLoan {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Loan for MemoryLoan {
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl Deref for MemoryMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<MemoryMessage> for Bytes {
    fn from(message: MemoryMessage) -> Self {
        message.bytes
    }
}

impl Message for MemoryMessage {
    fn path(&self) -> Path {
        self.path
    }

    fn source(&self) -> Option<Locator> {
        Some(self.source)
    }
}

fn made_up_locator(path: Path, number: u16) -> Locator {
    match path {
        Path::SharedMemory => {
            let incarnation = Incarnation::from_bytes(u64::from(number).to_be_bytes());
            Locator::shared_memory(HostTag::from_bytes(*b"made up "), incarnation, 0)
        }
        Path::Udp => Locator::from(std::net::SocketAddr::from(([127, 0, 0, 1], number))),
    }
}

fn kind_of(path: Path, locator: &Locator) -> bool {
    (locator.kind() == LocatorKind::SharedMemory) == (path == Path::SharedMemory)
}
