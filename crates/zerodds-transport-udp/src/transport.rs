//! The transport itself: opened for one domain, it sends to peers and tells them where to send to.
//!
//! ```text
//!   send(message, peers) ── per peer: route ─┬─ unicast ─▶ one datagram from a sending socket
//!                                            └─ group ───▶ one by each interface; by loopback too where no
//!                                                          other brings it back to this host
//! ```
//! It has no thread. Everything that must happen some time happens in a call that depends on it: the
//! interfaces are looked at again before they are announced or multicast on, when there was no route, and
//! when the receiver is told that they changed.

use crate::batch::{Batch, PATIENCE, Patience, Progress, Stop};
use crate::claim::Claim;
use crate::config::{Config, Ipv6};
use crate::error::OpenError;
use crate::group::Group;
use crate::interfaces::InterfaceTable;
use crate::network::Network;
use crate::ports;
use crate::receiver::{Inbox, UdpReceiver};
use crate::refusals::Refusals;
use crate::route::{Route, Surroundings};
use crate::senders::Senders;
use crate::socket::{Buffers, Family, Listener, granted};
use crate::tally::Tally;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;
use zerodds_core::{
    Counters, Delivery, Loan, LoanError, Locator, Path, Peer, Reach, Reason, Refusal, SendError, Sent,
    Transport, Unserved,
};

/// RTPS over UDP for one participant of one domain. Clones are handles to the same transport; its ports are
/// those of its receiver, and free again when that is dropped (where nobody took it: when the last handle is).
#[derive(Clone, Debug)]
pub struct UdpTransport(pub(crate) Arc<Shared>);

/// A message to be sent by UDP, in memory of its own.
#[derive(Debug)]
pub struct UdpLoan(Vec<u8>);

/// What the handles and the receiver share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The process that opened it.
    process: u32,
    config: Config,
    participant_id: Option<u32>,
    ports: Vec<Ports>,
    buffers: Buffers,
    pub(crate) network: Network,
    groups: Vec<Group>,
    senders: Senders,
    pub(crate) tally: Tally,
    pub(crate) refusals: Refusals,
    inbox: Mutex<Option<Inbox>>,
    closed: AtomicBool,
    bell: UnixStream,
}

/// Where one family listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    family: Family,
    metatraffic: u16,
    user: u16,
}

impl UdpTransport {
    /// Opens the sockets of one participant of the domain: the lowest participant id whose ports are free,
    /// and the domain's multicast group on every chosen interface.
    ///
    /// A host without interfaces or without multicast is no error: the transport then reaches whom it can,
    /// and more when an interface comes.
    ///
    /// # Errors
    /// [`OpenError`] where the domain id has no ports (it is above 232) or the process can have no sockets.
    pub fn open(domain_id: u32, config: &Config) -> Result<Self, OpenError> {
        Self::open_on(Network::open(&config.interfaces), domain_id, config)
    }

    fn open_on(network: Network, domain_id: u32, config: &Config) -> Result<Self, OpenError> {
        let group_port = ports::metatraffic_multicast(domain_id)?;
        let senders = Senders::open(config.buffer, config.ipv6 != Ipv6::Off)
            .map_err(setting_up("a socket to send from"))?;
        let hears_v6 =
            config.ipv6 == Ipv6::Announce && Listener::unicast(Family::V6, 0, config.buffer).is_ok();
        let families = if hears_v6 { &[Family::V4, Family::V6][..] } else { &[Family::V4] };
        let claim = Claim::lowest_free(domain_id, families, config.buffer)?;
        let groups = join_groups(families, group_port, config.buffer, &network);
        let buffers = buffers(config.buffer, &claim, &groups, &senders);
        say_if_less(buffers);
        let (bell, ear) = UnixStream::pair().map_err(setting_up("the signal that ends receiving"))?;
        let pairs = claim.pairs.iter();
        let ports = pairs.map(|pair| Ports {
            family: pair.family,
            metatraffic: pair.metatraffic.1,
            user: pair.user.1,
        });
        Ok(Self(Arc::new(Shared {
            process: std::process::id(),
            config: config.clone(),
            participant_id: claim.participant_id,
            ports: ports.collect(),
            buffers,
            inbox: Mutex::new(Some(
                Inbox::open(claim, &groups, ear, &network).map_err(setting_up("waiting for datagrams"))?,
            )),
            network,
            groups,
            senders,
            tally: Tally::default(),
            refusals: Refusals::default(),
            closed: AtomicBool::new(false),
            bell,
        })))
    }

    /// Where discovery and liveliness traffic for this participant alone goes (DDSI-RTPS 2.5 §8.5.3.1,
    /// `metatrafficUnicastLocatorList`), by the interfaces as they are now.
    #[must_use]
    pub fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        self.0.locators(|ports| ports.metatraffic)
    }

    /// Where announcements for every participant of the domain go (`metatrafficMulticastLocatorList`).
    #[must_use]
    pub fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        self.0.groups.iter().map(|group| Locator::from(group.address())).collect()
    }

    /// The participant id of the well-known ports; `None` where all were taken and the system chose ports.
    #[must_use]
    pub fn participant_id(&self) -> Option<u32> {
        self.0.participant_id
    }

    /// What was asked for as socket buffers, and what the system granted.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        self.0.buffers
    }

    /// Whether a multicast comes back to the participants of this host, this one included, as far as the
    /// interfaces and the last attempt tell. Where it does not, who needs to hear itself has to see to it.
    #[must_use]
    pub fn multicast_works(&self) -> bool {
        self.0.refresh();
        self.0.is_ours() && self.0.groups.iter().any(Group::works)
    }

    /// Why the interfaces of this host could not be listed when they were looked at last, in the words of the system; `None` where
    /// they could. Whatever was known of them before is used until they can.
    #[must_use]
    pub fn listing_error(&self) -> Option<String> {
        self.0.is_ours().then(|| self.0.network.listing_error()).flatten()
    }

    /// Sends datagrams of `len` bytes that lie one after another, the last of which may be shorter, in order to one peer, in as
    /// few system calls as the kernel allows; for the fragments of a large sample. Waits for room in the socket as long as
    /// `patience` has it, which may be shared by several.
    ///
    /// Returns how many were handed to the kernel, from the front; the others found its buffer full and are
    /// counted as lost.
    ///
    /// # Errors
    /// The [`Refusal`] of one datagram, but for want of room: those before it were sent, those after it were not.
    pub fn send_run(
        &self,
        run: &[u8],
        len: usize,
        to: Peer<'_>,
        patience: &mut Patience,
    ) -> Result<usize, Refusal> {
        let (shared, batch) = (&self.0, Batch::run(run, len));
        if shared.is_closed() {
            return Err(Refusal::Unreachable(Reason::Closed));
        }
        let (len, max) = (batch.len, shared.max_len());
        if len > max {
            shared.tally.too_large();
            return Err(Refusal::TooLarge { len, max });
        }
        let progress = shared.deliver(batch, to, Delivery::BestEffort, patience);
        let progress = progress.map_err(Refusal::Unreachable)?;
        match progress.stopped {
            None | Some(Stop::Full) => Ok(progress.sent),
            Some(stop) => Err(refusal(&stop, batch.after(progress.sent).first(1).bytes.len())),
        }
    }

    /// The longest datagram, in bytes, of which many go to this peer by one system call and each in a packet of its own, which
    /// is what the path carries without IP fragmentation. `None` where the system does not do that, or does not know the way.
    #[must_use]
    pub fn packet_payload(&self, to: Peer<'_>) -> Option<usize> {
        if self.0.is_closed() {
            return None;
        }
        match self.0.route(to).ok()? {
            Route::Unicast(address) => self.0.senders.packet_payload(address, self.0.is_here(address)),
            Route::Group(_) => None,
        }
    }
}

impl Transport for UdpTransport {
    type Loan = UdpLoan;
    type Receiver = UdpReceiver;

    fn locators(&self) -> Vec<Locator> {
        self.0.locators(|ports| ports.user)
    }

    fn reach(&self, peer: Peer<'_>) -> Reach {
        if self.0.is_closed() {
            return Reach::Unreachable(Reason::Closed);
        }
        match self.0.route(peer) {
            Ok(_) => Reach::Ready(Path::Udp),
            Err(reason) => Reach::Unreachable(reason),
        }
    }

    fn max_message_len(&self) -> usize {
        self.0.max_len()
    }

    fn loan(&self, len: usize) -> Result<UdpLoan, LoanError> {
        if self.0.is_closed() {
            return Err(LoanError::Closed);
        }
        let max = self.0.max_len();
        if len > max {
            self.0.tally.too_large();
            return Err(LoanError::TooLarge { len, max });
        }
        Ok(UdpLoan(vec![0; len]))
    }

    fn send(&self, message: UdpLoan, to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        self.send_bytes(&message, to, delivery)
    }

    /// Without the copy into a loan. Waits for room in the socket at most a few milliseconds in total, also
    /// where a reliable deadline is later: a lost datagram is repaired by RTPS, a blocked stack is not.
    fn send_bytes(&self, message: &[u8], to: &[Peer<'_>], delivery: Delivery) -> Result<Sent, SendError> {
        let shared = &self.0;
        if shared.is_closed() {
            return Err(SendError::Closed);
        }
        let (len, max) = (message.len(), shared.max_len());
        if len > max {
            shared.tally.too_large();
            return Err(SendError::TooLarge { len, max });
        }
        let mut patience = Patience::new(match delivery {
            Delivery::BestEffort => PATIENCE,
            Delivery::Reliable { deadline } => {
                deadline.saturating_duration_since(Instant::now()).min(PATIENCE)
            }
        });
        let mut sent = Sent::default();
        for (index, &peer) in to.iter().enumerate() {
            let why = match shared.deliver(Batch::of(message), peer, delivery, &mut patience) {
                Ok(Progress { stopped: None, .. }) => {
                    sent.by_udp += 1;
                    continue;
                }
                Ok(Progress { stopped: Some(stop), .. }) => refusal(&stop, len),
                Err(reason) => Refusal::Unreachable(reason),
            };
            sent.unserved.push(Unserved { index, why });
        }
        Ok(sent)
    }

    fn receiver(&self) -> Option<UdpReceiver> {
        if !self.0.is_ours() {
            return None;
        }
        let inbox = self.0.inbox.lock().take()?;
        Some(UdpReceiver { shared: Arc::clone(&self.0), inbox })
    }

    fn counters(&self) -> Counters {
        self.0.tally.counters()
    }

    fn close(&self) {
        // ORDER: Release; pairs with the Acquire in `is_closed`: to whoever finds it closed all is over that this thread did before.
        // The bell is one object with that of a forked child, whose parent it would wake for ever.
        if self.0.is_ours() && !self.0.closed.swap(true, Ordering::Release) {
            // Fails only where it has no effect: the receiver is gone.
            let _ = self.0.bell.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    /// Also to a forked child: the sockets and what waits in them are its parent's. It has copies of locks, too, perhaps of
    /// one that nobody will release.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDER: Acquire; pairs with the Release in `close`.
        self.closed.load(Ordering::Acquire) || !self.is_ours()
    }

    /// Whether this is the process that opened it. Costs a system call.
    fn is_ours(&self) -> bool {
        std::process::id() == self.process
    }

    /// Brings interfaces and memberships up to date; `true` if something has changed.
    pub(crate) fn refresh(&self) -> bool {
        if !self.is_ours() {
            return false;
        }
        let Some(changed) = self.network.refresh() else { return false };
        // What one packet carries may be another, though the addresses are the same.
        self.senders.forget_paths();
        if changed {
            self.groups.iter().for_each(|group| group.follow(&self.network));
        }
        changed
    }

    /// Sends to the peer's best address. A datagram that found no route is tried again, if the network turns
    /// out to be another one than that by which the address was chosen.
    fn deliver(
        &self,
        batch: Batch<'_>,
        peer: Peer<'_>,
        delivery: Delivery,
        patience: &mut Patience,
    ) -> Result<Progress, Reason> {
        let chosen_by = self.network.table();
        let mut route = self.route_by(&chosen_by, peer)?;
        let mut progress = self.send_along(route, batch, patience);
        if let Some(Stop::Refused(
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NODEV | Errno::ADDRNOTAVAIL,
        )) = progress.stopped
            && self.is_outdated(&chosen_by)
        {
            let before = progress.sent;
            route = self.route(peer)?;
            progress = self.send_along(route, batch.after(before), patience);
            progress.sent += before;
        }
        self.tally.sent(batch.first(progress.sent));
        match progress.stopped {
            None => {}
            Some(Stop::Full) => self.tally.full(batch.count - progress.sent, delivery),
            Some(Stop::Refused(Errno::MSGSIZE)) => self.tally.too_large(),
            Some(Stop::Refused(errno)) => {
                self.tally.refused(batch.count - progress.sent);
                // Of a group it is said where nothing comes back.
                if let Route::Unicast(address) = route {
                    self.refusals.note(errno, address);
                }
            }
        }
        Ok(progress)
    }

    /// Whether the network is not that any more, whoever has found that out: of several threads one hears of a change.
    fn is_outdated(&self, table: &Arc<InterfaceTable>) -> bool {
        self.refresh() || !Arc::ptr_eq(table, &self.network.table())
    }

    fn route(&self, peer: Peer<'_>) -> Result<Route, Reason> {
        self.route_by(&self.network.table(), peer)
    }

    fn route_by(&self, table: &InterfaceTable, peer: Peer<'_>) -> Result<Route, Reason> {
        Surroundings {
            table,
            host_tag: self.config.host_tag,
            ipv6: self.senders.common(Family::V6).is_some(),
        }
        .route(peer)
    }

    fn send_along(&self, route: Route, batch: Batch<'_>, patience: &mut Patience) -> Progress {
        match route {
            Route::Unicast(address) => self.senders.send(batch, address, || self.is_here(address), patience),
            Route::Group(group) => self.multicast(batch, group, patience),
        }
    }

    /// Sends by every interface, and by loopback too where no other brings it back. Served if any took it.
    fn multicast(&self, batch: Batch<'_>, address: SocketAddr, patience: &mut Patience) -> Progress {
        self.refresh();
        let family = Family::of(address.ip());
        let Some(sender) = self.senders.groups(family) else { return Progress::refused(Errno::AFNOSUPPORT) };
        let group = self.groups.iter().find(|group| group.address().ip() == address.ip());
        let mut best = Progress::refused(Errno::NETUNREACH);
        let mut comes_back = false;
        for link in self.network.table().links(family) {
            if link.ip.is_loopback() && comes_back {
                continue;
            }
            let progress = sender.send(batch, address, &link, patience);
            let taken = progress.stopped.is_none();
            comes_back |= taken && group.is_some_and(|group| group.is_member(link.index));
            if taken || (best.stopped.is_some() && progress.sent >= best.sent) {
                best = progress;
            }
        }
        if let Some(group) = group {
            group.note(comes_back);
        }
        best
    }

    fn locators(&self, port: impl Fn(&Ports) -> u16) -> Vec<Locator> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.refresh();
        let table = self.network.table();
        let addresses = self.ports.iter().flat_map(|ports| {
            let port = port(ports);
            table.announced(ports.family).into_iter().map(move |ip| SocketAddr::new(ip, port))
        });
        addresses.map(Locator::from).collect()
    }

    /// Whether what is sent to this address stays on this host.
    fn is_here(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() || self.network.table().owns(address.ip())
    }

    const fn max_len(&self) -> usize {
        self.config.max_datagram
    }
}

impl Loan for UdpLoan {
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl Deref for UdpLoan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for UdpLoan {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

fn refusal(stop: &Stop, len: usize) -> Refusal {
    match *stop {
        Stop::Full => Refusal::Full,
        // The system does not say how much it would have taken, only that it is less.
        Stop::Refused(Errno::MSGSIZE) => Refusal::TooLarge { len, max: len.saturating_sub(1) },
        Stop::Refused(errno) => Refusal::Io(errno.into()),
    }
}

fn setting_up(what: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { what, source }
}

/// The domain's group per family, joined wherever that is possible. A port that somebody else keeps for
/// himself costs discovery by multicast, nothing else.
fn join_groups(families: &[Family], port: u16, buffer: usize, network: &Network) -> Vec<Group> {
    let bind = |&family: &Family| match Group::bind(family, port, buffer) {
        Ok(group) => Some(group),
        Err(error) => {
            tracing::warn!(
                port, %error,
                "cannot listen for announcements: other participants are not discovered by multicast \
                 (another program keeps the port; another domain id has another port)"
            );
            None
        }
    };
    let groups: Vec<_> = families.iter().filter_map(bind).collect();
    groups.iter().for_each(|group| group.follow(network));
    groups
}

fn buffers(asked: usize, claim: &Claim, groups: &[Group], senders: &Senders) -> Buffers {
    let unicast = claim.pairs.iter().flat_map(|pair| [&pair.metatraffic.0, &pair.user.0]);
    let listeners = unicast.chain(groups.iter().map(|group| &*group.listener));
    let receive = listeners.map(|listener| granted(listener.socket.recv_buffer_size())).min();
    let senders = [Family::V4, Family::V6].into_iter().filter_map(|family| senders.common(family));
    let send = senders.map(|sender| granted(sender.socket.send_buffer_size())).min();
    Buffers { asked, receive: receive.unwrap_or(0), send: send.unwrap_or(0) }
}

/// Says it once per process: all participants of a host meet the same limit.
fn say_if_less(buffers: Buffers) {
    static SAID: Once = Once::new();
    if buffers.receive.min(buffers.send) < buffers.asked {
        SAID.call_once(|| {
            tracing::warn!(
                asked = buffers.asked,
                receive = buffers.receive,
                send = buffers.send,
                "UDP sockets got smaller buffers than asked for: bursts of large samples will lose datagrams \
                 and be repaired; sysctl net.core.rmem_max and net.core.wmem_max raise the limit, \
                 ZERODDS_UDP_BUFFER changes what is asked for"
            );
        });
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::config::InterfaceChoice;
    use crate::namespace;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// A scan that takes as long as the test likes: it says that it has begun, and waits.
    static SLOW: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

    /// The first finds nothing, the second what makes the peer one of this host.
    fn scan(_: &[InterfaceChoice]) -> io::Result<InterfaceTable> {
        static SCANS: AtomicU32 = AtomicU32::new(0);
        if SCANS.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(InterfaceTable::default());
        }
        if let Some((begun, go_on)) = &*SLOW.lock() {
            begun.send(()).expect("the test listens");
            go_on.recv().expect("the test goes on");
        }
        Ok(InterfaceTable::of(&[("eth0", "192.0.2.7", 24, true)]))
    }

    #[test]
    fn what_found_no_route_is_tried_again_where_another_thread_has_the_news_of_one() {
        let test =
            "transport::tests::what_found_no_route_is_tried_again_where_another_thread_has_the_news_of_one";
        if !namespace::inside(test, "ip link set lo up") {
            return;
        }
        let (begun, has_begun) = channel();
        let (go_on, told) = channel();
        *SLOW.lock() = Some((begun, told));
        let (kernel, notices) = UnixDatagram::pair().unwrap();
        notices.set_nonblocking(true).unwrap();
        let network = Network::new(&[], Some(notices.into()), scan);
        let transport = UdpTransport::open_on(network, 0, &Config::default()).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let local = peer.local_addr().unwrap();
        let to = [Locator::from(SocketAddr::from(([192, 0, 2, 7], local.port()))), Locator::from(local)];
        kernel.send(b"RTM_NEWADDR").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| transport.0.refresh());
            has_begun.recv().unwrap();
            let (sender, thread) = channel();
            let peer = [Peer::new(&to)];
            let transport = transport.clone();
            let sent = scope.spawn(move || {
                sender.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                transport.send_bytes(b"here", &peer, Delivery::BestEffort).unwrap()
            });
            // It has found no route, and waits for the one that looks.
            let status = std::path::Path::new("/proc").join(thread.recv().unwrap()).join("stat");
            while !std::fs::read_to_string(&status).unwrap().contains(") S ") {
                std::thread::yield_now();
            }
            go_on.send(()).unwrap();
            assert_eq!(sent.join().unwrap().by_udp, 1);
        });
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
    }
}
