//! Which socket a datagram leaves by.
//!
//! ```text
//!   groups ───────────────────────────▶ a socket of the family for them alone
//!   what is small · to this host ─────▶ the common socket of the family ── full? ──┐
//!   what is large, to another address ▶ a socket of that address's own ◀───────────┘
//!                                       (16 at most; beyond them, or without a descriptor: the common one)
//! ```
//! What waits for a slow link, or for the hardware address of a host that does not answer, counts against the buffer of the
//! socket that it left by. With one socket for all, a few such hosts fill it, and nobody else is served, nor hears announcements.
//! Whoever has a socket of his own gets everything by it, so that a HEARTBEAT stays behind its sample. Where that stayed full for
//! as long as a message or a sample waits, the next one does not wait while it still is; one that waits already does so to its end.
//! To this host nothing waits, unless `lo` was given a queue, so it needs none. Rejected: a socket for every address, which costs
//! descriptors where nothing ever waits.

use crate::batch::{Batch, GroupSender, Patience, Progress, Sender, Stop};
use crate::socket::Family;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The sending sockets of one transport.
#[derive(Debug)]
pub(crate) struct Senders {
    v4: Common,
    v6: Option<Common>,
    buffer: usize,
    places: Mutex<Vec<Place>>,
    /// Batches so far: the clock by which places are idle.
    uses: AtomicU64,
}

/// The sockets of one family that are always there.
#[derive(Debug)]
struct Common {
    sender: Sender,
    groups: GroupSender,
}

/// One address and the socket that it has for itself.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    /// Which of the uses was the last one.
    last: u64,
    own: Arc<Own>,
}

#[derive(Debug)]
struct Own {
    sender: Sender,
    /// It had no room the last time, though that was waited for.
    is_full: AtomicBool,
}

impl Senders {
    /// # Errors
    /// Where there is no socket to send from by IPv4; without IPv6 it goes on.
    pub(crate) fn open(buffer: usize, has_v6: bool) -> io::Result<Self> {
        let open = |family| {
            let (sender, groups) = (Sender::open(family, buffer)?, GroupSender::open(family, buffer)?);
            Ok::<_, io::Error>(Common { sender, groups })
        };
        let v6 = if has_v6 { open(Family::V6).ok() } else { None };
        let (places, uses) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { v4: open(Family::V4)?, v6, buffer, places, uses })
    }

    /// The common socket of a family.
    pub(crate) fn common(&self, family: Family) -> Option<&Sender> {
        self.of(family).map(|common| &common.sender)
    }

    /// The socket for the groups of a family.
    pub(crate) fn groups(&self, family: Family) -> Option<&GroupSender> {
        self.of(family).map(|common| &common.groups)
    }

    fn of(&self, family: Family) -> Option<&Common> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// Sends the datagrams in order to one address, which may be one of this host: that is asked only where it matters.
    pub(crate) fn send(
        &self,
        batch: Batch<'_>,
        to: SocketAddr,
        is_here: impl FnOnce() -> bool,
        patience: &mut Patience,
    ) -> Progress {
        let Some(common) = self.common(Family::of(to.ip())) else {
            return Progress::refused(Errno::AFNOSUPPORT);
        };
        // ORDER: Relaxed, here and where it is read; a number.
        self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(own) = self.own(to, batch.bytes.len() > SMALL_MAX && !is_here()) {
            return own.send(batch, to, patience);
        }
        let progress = common.send(batch, to, &mut Patience::none());
        if !matches!(progress.stopped, Some(Stop::Full)) {
            return progress;
        }
        let (before, rest) = (progress.sent, batch.after(progress.sent));
        let progress = match self.own(to, true) {
            Some(own) => own.send(rest, to, patience),
            None => common.send(rest, to, patience),
        };
        Progress { sent: before + progress.sent, ..progress }
    }

    /// As [`Sender::packet_payload`], for what is large.
    pub(crate) fn packet_payload(&self, to: SocketAddr, is_here: bool) -> Option<usize> {
        match self.own(to, !is_here) {
            Some(own) => own.sender.packet_payload(to),
            None => self.common(Family::of(to.ip()))?.packet_payload(to),
        }
    }

    /// Forgets what was learnt about paths; the network has changed. Addresses keep their sockets, so that what is sent next stays
    /// behind what waits there, and whoever fills one has it; but for those that do not segment any more.
    pub(crate) fn forget_paths(&self) {
        for Common { sender, groups } in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            sender.forget_paths();
            groups.forget_paths();
        }
        self.places.lock().retain(|Place { own, .. }| {
            own.sender.forget_paths();
            !own.sender.has_lost_segmentation()
        });
    }

    /// The socket that the address has for itself; a new one only if `wanted`, and if there is a place and a descriptor.
    fn own(&self, address: SocketAddr, wanted: bool) -> Option<Arc<Own>> {
        let (mut places, uses) = (self.places.lock(), self.uses.load(Ordering::Relaxed));
        if let Some(place) = places.iter_mut().find(|place| place.address == address) {
            place.last = uses;
            return Some(Arc::clone(&place.own));
        }
        if !wanted {
            return None;
        }
        if places.len() == PLACES_MAX {
            let idle = (0..PLACES_MAX).min_by_key(|&index| places[index].last)?;
            if uses < places[idle].last + IDLE_MIN {
                return None;
            }
            places.swap_remove(idle);
        }
        let sender = Sender::open(Family::of(address.ip()), self.buffer).ok()?;
        let own = Arc::new(Own { sender, is_full: AtomicBool::new(false) });
        places.push(Place { address, last: uses, own: Arc::clone(&own) });
        Some(own)
    }
}

impl Own {
    fn send(&self, batch: Batch<'_>, to: SocketAddr, patience: &mut Patience) -> Progress {
        let mut none = Patience::none();
        // ORDER: Relaxed, here and below; whether to wait, and where that is outdated somebody waits in vain, or not though he could.
        let in_vain = self.is_full.load(Ordering::Relaxed) && !patience.has_begun();
        let patience = if in_vain { &mut none } else { patience };
        let progress = self.sender.send(batch, to, patience);
        let is_full = matches!(progress.stopped, Some(Stop::Full));
        // What waits for nothing may find it full behind a sample that found room.
        if !is_full || !patience.is_none() {
            self.is_full.store(is_full, Ordering::Relaxed);
        }
        progress
    }
}

/// Addresses with a socket of their own.
const PLACES_MAX: usize = 16;
/// Batches to others after which a place is given to whoever has none: many for each of a fleet that is sent to in turn.
const IDLE_MIN: u64 = 1 << 14;
/// Up to this many bytes are small.
const SMALL_MAX: usize = 2048;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::namespace::inside;
    use std::net::UdpSocket;
    use std::time::Duration;

    const LARGE: [u8; 3000] = [0; 3000];

    fn is_taken(senders: &Senders, message: &[u8], to: SocketAddr) -> bool {
        let progress = senders.send(Batch::of(message), to, || false, &mut Patience::default());
        progress.stopped.is_none()
    }

    #[test]
    fn an_address_whose_socket_was_full_is_not_waited_for_the_next_time() {
        let test = "senders::tests::an_address_whose_socket_was_full_is_not_waited_for_the_next_time";
        let link = "ip link add veth0 type veth peer name veth1 && ip addr add 10.77.0.1/24 dev veth0 \
                    && ip link set veth0 up && ip link set veth1 up";
        if !inside(test, link) {
            return;
        }
        let senders = Senders::open(64 << 10, false).unwrap();
        let nobody = SocketAddr::from(([10, 77, 0, 10], 7411));
        while is_taken(&senders, &LARGE, nobody) {}
        let mut patience = Patience::default();
        let is_here = || unreachable!("asked for what is small");
        let progress = senders.send(Batch::of(b"small"), nobody, is_here, &mut patience);
        assert!(matches!(progress.stopped, Some(Stop::Full)), "{progress:?}");
        assert!(format!("{patience:?}").contains("until: None"), "{patience:?}");
    }

    #[test]
    fn a_sample_is_waited_for_to_its_end_whatever_else_has_found_the_socket_full() {
        let test =
            "senders::tests::a_sample_is_waited_for_to_its_end_whatever_else_has_found_the_socket_full";
        let slow = "ip link add veth0 type veth peer name veth1 && ip addr add 10.77.0.1/24 dev veth0 \
                    && ip link set veth0 up && ip link set veth1 up \
                    && ip neigh add 10.77.0.10 lladdr 02:00:00:00:00:01 dev veth0 \
                    && tc qdisc add dev veth0 root tbf rate 1mbit burst 10kb limit 100mb";
        if !inside(test, slow) {
            return;
        }
        let senders = Senders::open(64 << 10, false).unwrap();
        let to = SocketAddr::from(([10, 77, 0, 10], 7411));
        let send = |patience: &mut Patience| senders.send(Batch::of(&LARGE), to, || false, patience).stopped;
        let fill = |patience: fn() -> Patience| while send(&mut patience()).is_none() {};
        fill(Patience::none);
        let mut sample = Patience::new(Duration::from_secs(60));
        while !sample.has_begun() {
            assert!(send(&mut sample).is_none(), "nobody has waited before: {sample:?}");
        }
        // Another thread's message has waited in vain.
        fill(|| Patience::new(Duration::from_nanos(1)));
        assert!(send(&mut sample).is_none(), "{sample:?}");
    }

    #[test]
    fn when_the_network_changes_an_address_keeps_its_socket_unless_that_segments_no_more() {
        let senders = Senders::open(64 << 10, false).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        let own = || {
            assert!(is_taken(&senders, &LARGE, to));
            senders.own(to, false).unwrap()
        };
        let before = own();
        senders.forget_paths();
        assert!(Arc::ptr_eq(&before, &own()));
        if senders.packet_payload(to, false).is_none() {
            println!("SKIPPED: the system does not segment");
            return;
        }
        before.sender.lose_segmentation(to);
        assert!(senders.packet_payload(to, false).is_none());
        senders.forget_paths();
        assert!(!Arc::ptr_eq(&before, &own()) && senders.packet_payload(to, false).is_some());
    }

    #[test]
    fn what_is_small_stays_behind_what_is_large_for_the_same_address() {
        let senders = Senders::open(64 << 10, false).unwrap();
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let sources = |to: &UdpSocket| {
            let sent = [&LARGE[..], b"small"].map(|message| {
                assert!(is_taken(&senders, message, to.local_addr().unwrap()));
                to.recv_from(&mut [0; 4000]).unwrap()
            });
            assert_eq!(sent.map(|(len, _)| len), [LARGE.len(), 5]);
            sent.map(|(_, source)| source)
        };
        let ([a, b], [c, d]) = (sources(&one), sources(&other));
        assert!(a == b && c == d && a != c);
    }

    #[test]
    fn a_bounded_number_of_addresses_have_a_socket_and_all_are_served_though_no_descriptor_is_left() {
        let test = "senders::tests::a_bounded_number_of_addresses_have_a_socket_and_all_are_served_though_no_descriptor_is_left";
        if !inside(test, "ip link set lo up && ulimit -n 64") {
            return;
        }
        let senders = Senders::open(64 << 10, false).unwrap();
        let at = |host| SocketAddr::from(([127, 0, 0, host], 7411));
        let has_own = |host| senders.places.lock().iter().any(|place| place.address == at(host));
        let gets_own = |host| {
            assert!(is_taken(&senders, &LARGE, at(host)));
            has_own(host)
        };
        senders.packet_payload(at(1), false);
        assert!((1..=20).map(gets_own).eq((1..=20).map(|host| host <= 16)));
        assert_eq!(senders.uses.load(Ordering::Relaxed), 20, "a question is none");
        senders.uses.fetch_add(IDLE_MIN, Ordering::Relaxed);
        assert!(
            gets_own(1) && gets_own(20) && has_own(1) && !has_own(2),
            "who was idle for longest made room"
        );
        senders.places.lock().clear();
        let _all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        assert!(!gets_own(1));
    }
}
