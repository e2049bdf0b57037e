//! Where a participant's messages of one path are tapped: an interface of the file.

use crate::capture::Capture;
use crate::packet::Flow;
use crate::queue::Place;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use zerodds_core::{Locator, LocatorKind, Path, Peer, ports};

/// What one participant sends and receives by one path is entered here. Clones are the same interface.
#[derive(Clone, Debug)]
pub struct Tap {
    capture: Capture,
    interface: Arc<Interface>,
}

/// A message that is being sent or taken, and has its place in the file if it travels.
#[derive(Debug)]
pub struct Pending {
    place: Place<Record>,
    /// How many had had no room before it.
    dropped: u64,
    tap: Tap,
}

/// What the file says of a tap.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) path: Path,
    pub(crate) domain_id: u32,
    pub(crate) own: Vec<Locator>,
    /// Messages that had no room in the queue.
    dropped: AtomicU64,
    /// What its packets come to, in all files.
    pub(crate) written: Written,
}

/// Numbers of which only the writer's thread knows at every moment.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Messages that are in a file, whichever.
    messages: AtomicU64,
    /// Messages that no file may hold.
    too_large: AtomicU64,
    /// How many of them packets have told of, and of those that had no room.
    told: [AtomicU64; 2],
}

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Record {
    Message(Item),
    /// How much this one has seen so far, as whoever used it may go.
    Statistics(Arc<Interface>),
}

/// A message, and with whom it was exchanged.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) interface: Arc<Interface>,
    /// How many had had no room when it began its way.
    pub(crate) dropped: u64,
    pub(crate) at: SystemTime,
    pub(crate) direction: Direction,
    pub(crate) peers: Vec<Option<Locator>>,
    pub(crate) message: Vec<u8>,
    /// What is to be said of it besides.
    pub(crate) remark: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    To,
    From,
}

impl Tap {
    pub(crate) fn new(capture: Capture, path: Path, own: Vec<Locator>, domain_id: u32) -> Self {
        Self { capture, interface: Arc::new(Interface::new(path, own, domain_id)) }
    }

    /// A place for a message of `len` bytes, taken before it is sent so that it comes before what answers it; `None`
    /// where there is no room, which is counted.
    #[must_use]
    pub fn begin(&self, len: usize) -> Option<Pending> {
        // ORDER: Relaxed; a number.
        let dropped = self.interface.dropped.load(Ordering::Relaxed);
        let place = self.capture.begin(len);
        if place.is_none() {
            self.interface.drop_one();
        }
        Some(Pending { place: place?, dropped, tap: self.clone() })
    }

    /// The locator that a message to `peer` is shown with: the first that is of this path.
    pub(crate) fn locator(&self, peer: Peer<'_>) -> Option<Locator> {
        let is_shm = self.interface.path == Path::SharedMemory;
        peer.locators.iter().find(|one| (one.kind() == LocatorKind::SharedMemory) == is_shm).copied()
    }

    #[cfg(test)]
    pub(crate) const fn interface(&self) -> &Arc<Interface> {
        &self.interface
    }

    /// Messages that there was no room for, or no file any more.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.interface.dropped()
    }

    /// Waits until what was entered is in the file, and how much it was, for two seconds at most.
    pub fn flush(&self) {
        self.capture.flush(&self.interface);
    }
}

impl Pending {
    /// The RTPS message was sent to these peers; to none: it is not shown.
    pub fn sent(self, message: Vec<u8>, to: impl IntoIterator<Item = Locator>, remark: Option<String>) {
        let peers: Vec<_> = to.into_iter().map(Some).collect();
        if !peers.is_empty() {
            self.put(Direction::To, peers, message, remark);
        }
    }

    /// The RTPS message came from this peer.
    pub fn received(self, message: Vec<u8>, from: Option<Locator>, remark: Option<String>) {
        self.put(Direction::From, vec![from], message, remark);
    }

    fn put(
        self,
        direction: Direction,
        peers: Vec<Option<Locator>>,
        message: Vec<u8>,
        remark: Option<String>,
    ) {
        let Self { place, dropped, tap } = self;
        let (interface, at) = (Arc::clone(&tap.interface), place.at);
        let item = Item { interface, dropped, at, direction, peers, message, remark };
        if place.put(Record::Message(item)).is_err() {
            tap.interface.drop_one();
        }
    }
}

impl Interface {
    pub(crate) fn new(path: Path, own: Vec<Locator>, domain_id: u32) -> Self {
        Self { path, domain_id, own, dropped: AtomicU64::new(0), written: Written::default() }
    }

    /// What is not in any file.
    pub(crate) fn dropped(&self) -> u64 {
        // ORDER: Relaxed; numbers.
        self.dropped.load(Ordering::Relaxed) + self.written.too_large.load(Ordering::Relaxed)
    }

    pub(crate) fn drop_one(&self) {
        // ORDER: Relaxed; a number.
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn name(&self) -> String {
        let incarnation = self.own.iter().find_map(Locator::incarnation);
        let own = incarnation.map(|incarnation| format!(" {incarnation}")).unwrap_or_default();
        format!("{} domain {}{own}", self.path, self.domain_id)
    }

    pub(crate) fn description(&self) -> String {
        let own: Vec<_> = self.own.iter().map(Locator::to_string).collect();
        format!("participant at {} in process {}", own.join(", "), std::process::id())
    }

    pub(crate) fn comment(&self, direction: Direction, peer: Option<Locator>) -> String {
        let word = if direction == Direction::To { "to" } else { "from" };
        let peer = peer.map_or_else(|| "an unknown peer".to_owned(), |peer| peer.to_string());
        format!("{} {word} {peer}", self.path)
    }

    pub(crate) fn flow(&self, direction: Direction, peer: Option<Locator>) -> Flow {
        let peer =
            peer.map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port())), |peer| self.address(peer));
        let own = self.own.iter().map(|&own| self.address(own)).find(|own| own.is_ipv4() == peer.is_ipv4());
        let unspecified: IpAddr =
            if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let own = own.unwrap_or(SocketAddr::from((unspecified, self.port())));
        match direction {
            Direction::To => Flow { from: own, to: peer },
            Direction::From => Flow { from: peer, to: own },
        }
    }

    /// The address of a participant at a shared-memory locator is made of its incarnation: of this host, and its own.
    fn address(&self, locator: Locator) -> SocketAddr {
        match (locator.kind(), locator.incarnation(), locator.socket_addr()) {
            (LocatorKind::SharedMemory, Some(incarnation), _) => {
                let [.., a, b, c] = incarnation.to_bytes();
                SocketAddr::from((Ipv4Addr::new(127, a, b, c), self.port()))
            }
            (.., Some(address)) => address,
            _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port())),
        }
    }

    /// The port of user traffic of a domain's first participant (DDSI-RTPS 2.5 §9.6.2.3), by which Wireshark tells the
    /// domain. Of domains without ports, that of domain 0.
    fn port(&self) -> u16 {
        ports::user_unicast(self.domain_id, 0).or(ports::user_unicast(0, 0)).unwrap_or_default()
    }
}

// ORDER: Relaxed throughout; only the writer's thread uses more than one of them.
impl Written {
    /// No file may hold a message.
    pub(crate) fn drop_too_large(&self) {
        self.too_large.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages are in a file.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// How many are missing before a packet, where so many had no room before it.
    pub(crate) fn missing(&self, dropped: u64) -> u64 {
        let told = self.told.iter().map(|told| told.load(Ordering::Relaxed));
        told.zip(self.so_far(dropped)).map(|(told, so_far)| so_far.saturating_sub(told)).sum()
    }

    /// The packet is in the file, and has told of them.
    pub(crate) fn tell(&self, dropped: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        for (told, so_far) in self.told.iter().zip(self.so_far(dropped)) {
            told.fetch_max(so_far, Ordering::Relaxed);
        }
    }

    fn so_far(&self, dropped: u64) -> [u64; 2] {
        [self.too_large.load(Ordering::Relaxed), dropped]
    }
}
