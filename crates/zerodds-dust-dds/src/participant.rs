//! One Dust participant on both transports: what its two threads share, and how it begins and ends.
//!
//! ```text
//!   Dust's actor thread                       receive thread (one per participant)
//!    Writer ── repair, fragment ──▶ Router      Router ──▶ Inbound ──▶ Dust's inbox
//!       │                                         ▲            ▲
//!       └──────────── for ourselves: Loopback ────┘            │
//!   contacts, wanted, departed, addresses, announcement: shared ┘
//! ```
//! The actor thread is Dust's only one. It waits for a peer's room only with a sample, 40 ms at most for each reader that
//! is not known to be stalled (`writer::PATIENCE`), lets one that is megabytes behind catch up for 2 ms and 1 ms for each
//! mebibyte of the sample, and waits 4 ms for each mebibyte of a sample in fragments where the socket's buffer is full, and
//! was not the last time. Nothing that it holds while it waits is needed by the receive thread.

use crate::addresses::Addresses;
use crate::contacts::Contacts;
use crate::datagrams::Datagrams;
use crate::departed::Departed;
use crate::fragment::Fragmenter;
use crate::inbound::Inbound;
use crate::loopback::Loopback;
use crate::monitor::{Observed, Registry};
use crate::receive::Reception;
use crate::rtps::{GuidPrefix, HEADER_LEN};
use crate::tally::{Tally, Traffic};
use crate::wanted::Wanted;
use parking_lot::Mutex;
use std::io;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use zerodds_core::{Counters, Locator, PathReport, Router, Transport};

/// What the threads of one participant share.
#[derive(Debug)]
pub(crate) struct Shared<S, U> {
    pub(crate) router: Router<S, U>,
    /// The header that Dust's messages begin with; known from its first one on.
    pub(crate) header: OnceLock<[u8; HEADER_LEN]>,
    pub(crate) fragmenter: Fragmenter,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) departed: Arc<Departed>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) loopback: Loopback,
    /// Dust's last announcement of itself, until it says goodbye.
    pub(crate) announcement: Mutex<Option<Vec<u8>>>,
    pub(crate) stopped: AtomicBool,
}

impl<S: Transport, U: Datagrams> Shared<S, U> {
    pub(crate) fn new(shm: S, udp: U) -> io::Result<Self> {
        let shm_len_max = shm.max_message_len();
        let fragmenter = Fragmenter::new(shm_len_max, udp.max_message_len());
        Ok(Self {
            router: Router::new(shm, udp),
            header: OnceLock::new(),
            fragmenter,
            contacts: Arc::default(),
            wanted: Arc::default(),
            departed: Arc::default(),
            addresses: Arc::default(),
            tally: Arc::default(),
            loopback: Loopback::new(MEMORY_MIN.max(fragmenter.message_len_max().saturating_mul(2)))?,
            announcement: Mutex::new(None),
            stopped: AtomicBool::new(false),
        })
    }

    /// Where we are reached now, by samples and by discovery.
    pub(crate) fn locators(&self) -> (Vec<Locator>, Vec<Locator>) {
        let (udp, shm) = (self.router.udp(), self.router.shm().locators());
        ([udp.locators(), shm.clone()].concat(), [udp.metatraffic_unicast_locators(), shm].concat())
    }

    /// Our GUID prefix, once Dust has sent anything.
    pub(crate) fn prefix(&self) -> Option<GuidPrefix> {
        let [_, _, _, _, _, _, _, _, prefix @ ..] = self.header.get()?;
        Some(GuidPrefix(*prefix))
    }

    /// A receiving side for this participant.
    pub(crate) fn inbound(&self) -> Inbound {
        let budget = MEMORY_MIN.max(self.fragmenter.message_len_max().saturating_mul(8));
        let (contacts, wanted) = (Arc::clone(&self.contacts), Arc::clone(&self.wanted));
        let (departed, addresses) = (Arc::clone(&self.departed), Arc::clone(&self.addresses));
        Inbound::new(budget, self.fragmenter, contacts, wanted, departed, addresses, Arc::clone(&self.tally))
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl<S: Transport, U: Datagrams> Observed for Shared<S, U> {
    fn paths(&self) -> Vec<PathReport> {
        self.router.reports()
    }

    fn counters(&self) -> Counters {
        self.router.counters()
    }

    fn traffic(&self) -> Traffic {
        self.tally.traffic()
    }
}

/// A participant that runs: its receive thread, and the way to end it.
pub(crate) struct Running<S: Transport, U: Datagrams> {
    shared: Arc<Shared<S, U>>,
    receiving: Option<JoinHandle<()>>,
    registry: Arc<Registry>,
}

impl<S: Transport, U: Datagrams> Running<S, U> {
    pub(crate) fn shared(&self) -> &Arc<Shared<S, U>> {
        &self.shared
    }
}

impl<S: Transport, U: Datagrams> Drop for Running<S, U> {
    /// Dust has said goodbye by now. The receive thread may be waiting for a message or for room in Dust's
    /// inbox, and is woken from either.
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.router.close();
        self.shared.loopback.close();
        if let Some(receiving) = self.receiving.take() {
            receiving.thread().unpark();
            // Should it have panicked, that was said.
            let _ = receiving.join();
        }
        self.registry.retire(&self.shared);
    }
}

/// Starts a participant on these transports. Messages for Dust are given to `dust`.
///
/// # Errors
/// Where the system has no thread or socket pair to give.
pub(crate) fn start<S: Transport, U: Datagrams>(
    shm: S,
    udp: U,
    registry: &Arc<Registry>,
    dust: impl FnMut(Vec<u8>, &AtomicBool) + Send + 'static,
) -> io::Result<Running<S, U>> {
    let shared = Arc::new(Shared::new(shm, udp)?);
    registry.enrol(&shared);
    let receiver = shared.router.receiver();
    let reception = Reception::new(Arc::clone(&shared), dust);
    let guard = Guard(Arc::clone(&shared));
    let receive = move || {
        let _guard = guard;
        reception.run(receiver);
    };
    let receiving = std::thread::Builder::new().name("zerodds-rx".into()).spawn(receive)?;
    Ok(Running { shared, receiving: Some(receiving), registry: Arc::clone(registry) })
}

/// Sees to it that nobody takes a participant for alive that hears nothing any more, since its receive thread has panicked.
struct Guard<S: Transport, U: Datagrams>(Arc<Shared<S, U>>);

impl<S: Transport, U: Datagrams> Drop for Guard<S, U> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.router.close();
            // What takes the log may be what has panicked, and a second time would end the process.
            let say = || {
                tracing::error!(
                    "the receive thread of a participant has panicked; the participant is cut off, and others let go of it"
                );
            };
            let _ = catch_unwind(say);
        }
    }
}

/// Memory that reassembly, and what we say to ourselves, may each take; more where messages are larger.
const MEMORY_MIN: usize = 256 << 20;

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::datagrams::NoUdp;
    use crate::outgoing::tests::announcement;
    use std::time::{Duration, Instant};
    use zerodds_core::testing::Hub;
    use zerodds_core::{Incoming, Path, Receiver};

    #[test]
    fn others_let_go_of_a_participant_whose_receive_thread_panics() {
        let hub = Hub::new();
        let [shm, peer] = [(); 2].map(|()| hub.open(Path::SharedMemory, 1 << 20, 16));
        hub.link_up(&shm, &peer);
        let mut receiver = peer.receiver().expect("taken once");
        let log = |_, _: &AtomicBool| panic!("as a subscriber of the log might");
        let running = start(shm, NoUdp, &Arc::default(), log).expect("a thread and a socket pair");
        assert!(running.shared().loopback.push(announcement()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches!(receiver.try_receive(), Some(Incoming::PeerDown(..))) {
            assert!(Instant::now() < deadline, "it is taken for alive");
            let _ = receiver.wait(Some(deadline), &[]);
        }
        drop(running);
    }

    #[test]
    fn messages_of_any_length_leave_room_to_count_the_memory_for_several() {
        let shm = Hub::new().open(Path::SharedMemory, usize::MAX / 2, 1);
        drop(Shared::new(shm, NoUdp).expect("a socket pair").inbound());
    }
}
