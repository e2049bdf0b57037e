//! What a participant needs of its UDP side beyond a transport: the locators of discovery, and batches.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::time::Instant;
use zerodds_capture::Captured;
use zerodds_core::{
    Counters, Delivery, Incoming, Loan, LoanError, Locator, Message, Path, Peer, Reach, Reason, Receiver,
    SendError, Sent, Transport, Wake,
};
use zerodds_transport_udp::{Patience, UdpTransport};

/// A UDP transport, as RTPS discovery uses it (DDSI-RTPS 2.5 §9.6.2).
pub(crate) trait Datagrams: Transport {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator>;

    fn metatraffic_multicast_locators(&self) -> Vec<Locator>;

    /// The longest datagram of which many go to this peer at once, each in a packet of its own. `None`: not here.
    fn packet_payload(&self, _to: Peer<'_>) -> Option<usize> {
        None
    }

    /// Sends a run of datagrams of `len` octets, of which the last may be shorter, to one peer, in order, until one is not taken;
    /// how many were.
    fn send_run(&self, run: &[u8], len: usize, to: Peer<'_>, _patience: &mut Patience) -> usize {
        let is_taken = |datagram: &&[u8]| {
            self.send_bytes(datagram, &[to], Delivery::BestEffort).is_ok_and(|sent| sent.unserved.is_empty())
        };
        run.chunks(len.max(1)).take_while(is_taken).count()
    }
}

impl Datagrams for UdpTransport {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        self.metatraffic_unicast_locators()
    }

    fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        self.metatraffic_multicast_locators()
    }

    fn packet_payload(&self, to: Peer<'_>) -> Option<usize> {
        self.packet_payload(to)
    }

    fn send_run(&self, run: &[u8], len: usize, to: Peer<'_>, patience: &mut Patience) -> usize {
        self.send_run(run, len, to, patience).unwrap_or(0)
    }
}

impl<T: Datagrams> Datagrams for Captured<T> {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        self.inner().metatraffic_unicast_locators()
    }

    fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        self.inner().metatraffic_multicast_locators()
    }

    fn packet_payload(&self, to: Peer<'_>) -> Option<usize> {
        self.inner().packet_payload(to)
    }

    fn send_run(&self, run: &[u8], len: usize, to: Peer<'_>, patience: &mut Patience) -> usize {
        self.send_each(run.chunks(len.max(1)), to, |udp| udp.send_run(run, len, to, patience))
    }
}

#[cfg(feature = "testing")]
impl<T: Datagrams> Datagrams for zerodds_core::testing::Faulty<T> {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        self.inner().metatraffic_unicast_locators()
    }

    fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        self.inner().metatraffic_multicast_locators()
    }

    fn packet_payload(&self, to: Peer<'_>) -> Option<usize> {
        self.inner().packet_payload(to)
    }
}

/// In place of a UDP transport that could not be opened: reaches nobody, so that the participant lives on
/// shared memory alone.
#[derive(Debug)]
pub(crate) struct NoUdp;

/// There is none.
#[derive(Debug)]
pub(crate) struct Nothing(Infallible);

impl Transport for NoUdp {
    type Loan = Nothing;
    type Receiver = Nothing;

    fn locators(&self) -> Vec<Locator> {
        Vec::new()
    }

    fn reach(&self, _peer: Peer<'_>) -> Reach {
        Reach::Unreachable(Reason::Closed)
    }

    fn max_message_len(&self) -> usize {
        0
    }

    fn loan(&self, _len: usize) -> Result<Nothing, LoanError> {
        Err(LoanError::Closed)
    }

    fn send(&self, message: Nothing, _to: &[Peer<'_>], _delivery: Delivery) -> Result<Sent, SendError> {
        match message.0 {}
    }

    fn receiver(&self) -> Option<Nothing> {
        None
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

impl Datagrams for NoUdp {
    fn metatraffic_unicast_locators(&self) -> Vec<Locator> {
        Vec::new()
    }

    fn metatraffic_multicast_locators(&self) -> Vec<Locator> {
        Vec::new()
    }
}

impl Receiver for Nothing {
    type Message = Self;

    fn try_receive(&mut self) -> Option<Incoming<Self>> {
        match self.0 {}
    }

    fn wait(&mut self, _deadline: Option<Instant>, _also: &[BorrowedFd<'_>]) -> Wake {
        match self.0 {}
    }

    fn arm(&mut self) -> Wake {
        match self.0 {}
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        match self.0 {}
    }
}

impl Loan for Nothing {
    fn truncate(&mut self, _len: usize) {
        match self.0 {}
    }
}

impl Deref for Nothing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

impl DerefMut for Nothing {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

impl From<Nothing> for bytes::Bytes {
    fn from(nothing: Nothing) -> Self {
        match nothing.0 {}
    }
}

impl Message for Nothing {
    fn path(&self) -> Path {
        match self.0 {}
    }

    fn source(&self) -> Option<Locator> {
        match self.0 {}
    }
}
