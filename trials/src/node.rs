//! A transport in a process of a trial, with what every role does with it.

use crate::child::PATIENCE;
use crate::parcel::Parcel;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incarnation, Incoming, Locator, Peer, Reach, Receiver, Sent, Transport};
use zerodds_transport_shm::{Config, ShmMessage, ShmReceiver, ShmTransport};

/// A transport under an incarnation that follows from a number.
pub struct Node {
    /// The transport.
    pub transport: ShmTransport,
    /// Its receiving half.
    pub receiver: ShmReceiver,
}

impl Node {
    /// Opens it.
    ///
    /// # Errors
    /// Why there is no shared memory here.
    pub fn open(domain: u32, number: u64) -> Result<Self, String> {
        Self::of(ShmTransport::open_as(domain, incarnation(number), &Config::default()))
    }

    /// Opens it for messages of up to `knob` bytes, which makes the ring as small as that allows.
    ///
    /// # Errors
    /// Why there is no shared memory here.
    pub fn with_knob(domain: u32, number: u64, knob: usize) -> Result<Self, String> {
        let config = Config::default().max_datagram(knob).map_err(|error| error.to_string())?;
        Self::of(ShmTransport::open_as(domain, incarnation(number), &config))
    }

    fn of(transport: ShmTransport) -> Result<Self, String> {
        transport.availability().map_err(|reason| reason.to_string())?;
        let receiver = transport.receiver().ok_or("the receiver was taken")?;
        Ok(Self { transport, receiver })
    }

    /// Waits for the next thing to arrive.
    ///
    /// # Errors
    /// Nothing came for too long.
    pub fn incoming(&mut self) -> Result<Incoming<ShmMessage>, String> {
        let deadline = Instant::now() + PATIENCE;
        self.receiver.receive(Some(deadline)).ok_or_else(|| format!("HANG: nothing came for {PATIENCE:?}"))
    }
}

/// The locator of the node with this number.
#[must_use]
pub fn locator(transport: &ShmTransport, number: u64) -> Locator {
    transport
        .locator_of(incarnation(number))
        .unwrap_or_else(|| Locator::new(Locator::KIND_SHARED_MEMORY, 0, [0; 16]))
}

/// Waits until there is a link.
///
/// # Errors
/// There is none after too long.
pub fn link_to(transport: &ShmTransport, peer: Locator) -> Result<(), String> {
    let (deadline, mut pause) = (Instant::now() + PATIENCE, LOOK);
    while !matches!(transport.reach(Peer::new(&[peer])), Reach::Ready(_)) {
        if Instant::now() >= deadline {
            return Err(format!("HANG: no link to {peer} for {PATIENCE:?}"));
        }
        std::thread::sleep(pause);
        // Many may be waiting at once.
        pause = (2 * pause).min(LOOK_MAX);
    }
    Ok(())
}

/// Sends a message of `len` bytes to these peers.
///
/// # Errors
/// What the transport says.
pub fn send(
    transport: &ShmTransport,
    to: &[Locator],
    parcel: Parcel,
    len: usize,
    delivery: Delivery,
) -> Result<Sent, String> {
    let deadline = match delivery {
        Delivery::Reliable { deadline } => deadline,
        Delivery::BestEffort => Instant::now() + PATIENCE,
    };
    let mut loan = transport.loan_before(len, deadline).map_err(|error| format!("no loan: {error}"))?;
    parcel.write(&mut loan);
    let peers: Vec<Peer<'_>> = to.iter().map(|peer| Peer::new(std::slice::from_ref(peer))).collect();
    transport.send(loan, &peers, delivery).map_err(|error| format!("not sent: {error}"))
}

/// Reliable, and given up only where it hangs.
#[must_use]
pub fn reliable() -> Delivery {
    Delivery::Reliable { deadline: Instant::now() + PATIENCE }
}

fn incarnation(number: u64) -> Incarnation {
    Incarnation::from_bytes(number.to_be_bytes())
}

/// Between looks at what no event tells of.
pub const LOOK: Duration = Duration::from_micros(100);
const LOOK_MAX: Duration = Duration::from_millis(5);
