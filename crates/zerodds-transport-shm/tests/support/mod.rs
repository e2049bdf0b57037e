//! What the integration tests share: domains of their own, deadlines against hanging, self-checking messages.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod child;
pub(crate) mod others;
pub(crate) mod roles;
pub(crate) mod warnings;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Peer, Reach, Reason, Receiver, Transport, Wake};
use zerodds_transport_shm::{Config, ShmMessage, ShmReceiver, ShmTransport};

/// A generous bound against hanging; no test passes or fails by it otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until this holds; `what` it is, where it does not come about.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = deadline();
    while !holds() {
        assert!(Instant::now() < until, "this did not come about: {what}");
        std::thread::yield_now();
    }
}

/// How often or how much: `small` by default, `full` where `ZERODDS_TEST_SCALE` says so, as
/// `cargo xtask failures --scale full` sets it.
pub(crate) fn scaled<T>(small: T, full: T) -> T {
    match std::env::var("ZERODDS_TEST_SCALE").as_deref() {
        Ok("full") => full,
        Ok("small") | Err(_) => small,
        Ok(other) => panic!("ZERODDS_TEST_SCALE={other:?} is not usable: use small or full"),
    }
}

/// A DDS domain that no other test uses at the same time: domains of the transport may have any number.
pub(crate) fn fresh_domain() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Process ids are below 2^22; each process counts its own tests.
    (std::process::id() << 9) | (NEXT.fetch_add(1, Ordering::Relaxed) & 0x1ff)
}

/// A transport and its receiver.
pub(crate) struct Node {
    pub(crate) transport: ShmTransport,
    pub(crate) receiver: ShmReceiver,
}

impl Node {
    pub(crate) fn open(domain: u32) -> Self {
        Self::with(domain, &Config::default())
    }

    pub(crate) fn with(domain: u32, config: &Config) -> Self {
        Self::of(ShmTransport::open(domain, config))
    }

    pub(crate) fn of(transport: ShmTransport) -> Self {
        transport.availability().expect("shared memory is available here");
        let receiver = transport.receiver().expect("taken once");
        Self { transport, receiver }
    }

    pub(crate) fn locator(&self) -> Locator {
        self.transport.locators()[0]
    }

    /// Waits until a link to `peer` is up.
    pub(crate) fn link_to(&self, peer: Locator) {
        until(&format!("a link to {peer}"), || {
            matches!(self.transport.reach(Peer::new(&[peer])), Reach::Ready(_))
        });
    }

    /// Arms the receiver for poll, where nothing is to be received yet but events.
    pub(crate) fn lie_down_in_poll(&mut self) {
        while self.receiver.arm() == Wake::Ready {
            let incoming = self.receiver.try_receive();
            assert!(!matches!(incoming, Some(Incoming::Message(_))), "nothing was sent yet");
        }
    }

    /// Waits in poll until it is woken there.
    pub(crate) fn until_woken_in_poll(&self) {
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let fds = self.receiver.readiness();
        assert_eq!(poll(&mut [PollFd::new(&fds[0], PollFlags::IN)], Some(&patience)), Ok(1), "woken");
    }

    /// The next message; events are passed over.
    pub(crate) fn next_message(&mut self) -> ShmMessage {
        let until = deadline();
        loop {
            let incoming = self.receiver.receive(Some(until)).expect("a message before the deadline");
            if let Incoming::Message(message) = incoming {
                return message;
            }
        }
    }

    /// Waits until the peer is reported as gone and returns what came before.
    pub(crate) fn until_down(&mut self, peer: Locator) -> Vec<ShmMessage> {
        self.until_down_why(peer).0
    }

    pub(crate) fn until_down_why(&mut self, peer: Locator) -> (Vec<ShmMessage>, Reason) {
        let (until, mut messages) = (deadline(), Vec::new());
        loop {
            match self.receiver.receive(Some(until)).expect("the news before the deadline") {
                Incoming::Message(message) => messages.push(message),
                Incoming::PeerDown(locator, why) if locator == peer => return (messages, why),
                _ => {}
            }
        }
    }

    pub(crate) fn send(&self, to: Locator, bytes: &[u8], delivery: Delivery) -> zerodds_core::Sent {
        self.transport.send_bytes(bytes, &[Peer::new(&[to])], delivery).expect("send")
    }

    /// Sends one self-checking message in a loan.
    pub(crate) fn send_pattern(
        &self,
        to: &[Peer<'_>],
        seed: u64,
        len: usize,
        delivery: Delivery,
    ) -> zerodds_core::Sent {
        let mut loan = self.transport.loan_before(len, deadline()).expect("loan");
        fill(&mut loan, seed);
        self.transport.send(loan, to, delivery).expect("send")
    }
}

pub(crate) fn reliable() -> Delivery {
    Delivery::Reliable { deadline: deadline() }
}

/// Two nodes of one domain with a link between them.
pub(crate) fn pair() -> (Node, Node) {
    pair_with(&Config::default())
}

pub(crate) fn pair_with(config: &Config) -> (Node, Node) {
    let domain = fresh_domain();
    let (a, b) = (Node::with(domain, config), Node::with(domain, config));
    a.link_to(b.locator());
    b.link_to(a.locator());
    (a, b)
}

/// Fills a message so that every 8 bytes depend on the seed and on their place.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(seed, index as u64).to_le_bytes()[..chunk.len()]);
    }
}

/// Whether a message is what [`fill`] made.
pub(crate) fn is_intact(bytes: &[u8], seed: u64) -> bool {
    bytes
        .chunks(8)
        .enumerate()
        .all(|(index, chunk)| *chunk == word(seed, index as u64).to_le_bytes()[..chunk.len()])
}

fn word(seed: u64, index: u64) -> u64 {
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index).wrapping_mul(0xd1b5_4a32_d192_ed03)
}
