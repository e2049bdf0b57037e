//! `zerodds-loan-park` and the like: this project's transport, without a DDS.

use crate::system::{Failure, Party, Seat, System};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incarnation, Incoming, Locator, Peer, Reach, Receiver, Transport};
use zerodds_transport_shm::{Config, ShmReceiver, ShmTransport, WaitStrategy};

/// The transport in one of its ways.
pub(super) struct Zerodds {
    name: String,
    is_loan: bool,
    wait: WaitStrategy,
}

impl Zerodds {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let waits = [
            ("park", WaitStrategy::Park),
            ("adaptive", WaitStrategy::Adaptive),
            ("50us", WaitStrategy::SpinThenPark(Duration::from_micros(50))),
            ("spin", WaitStrategy::Spin),
        ];
        waits.into_iter().flat_map(|(word, wait)| {
            [("loan", true), ("copy", false)].map(|(way, is_loan)| Self {
                name: format!("zerodds-{way}-{word}"),
                is_loan,
                wait,
            })
        })
    }
}

impl System for Zerodds {
    fn name(&self) -> &str {
        &self.name
    }

    fn set_up(&self) -> String {
        let way = if self.is_loan {
            "filled and read in place"
        } else {
            "filled in a private buffer, then send_bytes"
        };
        format!("this transport, reliable, waiting by {:?}; {way}", self.wait)
    }

    fn spins(&self) -> bool {
        self.wait == WaitStrategy::Spin
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        const OPENING: &str = "opening the transport";
        let config = Config::default().wait(self.wait);
        let config = config.and_then(|config| config.max_datagram(seat.message_max.max(16 << 20)));
        let config = config.map_err(|error| Failure::of(OPENING, error))?;
        let transport = ShmTransport::open_as(seat.run, incarnation(&seat, seat.index), &config);
        transport.availability().map_err(|reason| Failure::of(OPENING, reason))?;
        let receiver = transport.receiver().ok_or_else(|| Failure::of(OPENING, "its receiver was taken"))?;
        let peers: Vec<u32> = seat.writes.iter().flat_map(|lane| lane.peers.iter().copied()).collect();
        let locators =
            peers.iter().filter_map(|&peer| transport.locator_of(incarnation(&seat, peer))).collect();
        let buffer = if self.is_loan { Vec::new() } else { vec![0; seat.message_max] };
        let deadline = Instant::now() + FOREVER;
        let awaited = seat.reads.map_or(0, |lane| lane.peers.len());
        Ok(Box::new(ZeroddsParty { transport, receiver, locators, awaited, buffer, deadline }))
    }
}

struct ZeroddsParty {
    transport: ShmTransport,
    receiver: ShmReceiver,
    locators: Vec<Locator>,
    /// Peers that will send to us and whose links are not there yet.
    awaited: usize,
    /// Empty with loans.
    buffer: Vec<u8>,
    /// Of every message: far behind the end of the run.
    deadline: Instant,
}

impl Party for ZeroddsParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        if self.awaited > 0 {
            match self.receiver.try_receive() {
                Some(Incoming::PeerUp(_)) => self.awaited -= 1,
                Some(Incoming::PeerDown(_, reason)) => {
                    return Err(Failure::of("waiting for the peers", reason));
                }
                _ => {}
            }
        }
        let mut is_complete = self.awaited == 0;
        for locator in &self.locators {
            match self.transport.reach(Peer::new(std::slice::from_ref(locator))) {
                Reach::Ready(_) => {}
                Reach::Pending(_) | Reach::Unreachable(_) => is_complete = false,
            }
        }
        Ok(is_complete)
    }

    fn written_bytes(&self) -> Option<u64> {
        Some(self.transport.counters().written_bytes)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let deadline = self.deadline;
        let delivery = Delivery::Reliable { deadline };
        let to: Vec<Peer<'_>>;
        let to = match self.locators.as_slice() {
            [] => return Err(Failure::Unsupported("sending from a seat that only receives".to_owned())),
            [only] => &[Peer::new(std::slice::from_ref(only))][..],
            many => {
                to = many.iter().map(|locator| Peer::new(std::slice::from_ref(locator))).collect();
                &to
            }
        };
        let sent = if self.buffer.is_empty() {
            let mut loan = self
                .transport
                .loan_before(len, deadline)
                .map_err(|error| Failure::of("borrowing memory", error))?;
            fill(&mut loan);
            self.transport.send(loan, to, delivery)
        } else {
            let buffer = &mut self.buffer[..len];
            fill(buffer);
            self.transport.send_bytes(buffer, to, delivery)
        };
        let sent = sent.map_err(|error| Failure::of("sending", error))?;
        match sent.unserved.first() {
            None => Ok(()),
            Some(unserved) => Err(Failure::of("sending to everybody", format!("{:?}", unserved.why))),
        }
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        loop {
            match self.receiver.receive(until) {
                Some(Incoming::Message(message)) => {
                    read(&message);
                    return Ok(1);
                }
                Some(Incoming::PeerDown(_, reason)) => return Err(Failure::of("receiving", reason)),
                Some(_) => {}
                None => return Ok(0),
            }
        }
    }
}

/// Where the party of this index is found.
fn incarnation(seat: &Seat, index: u32) -> Incarnation {
    let bytes = (u64::from(seat.run) << 32 | u64::from(index)).to_be_bytes();
    Incarnation::from_bytes(bytes)
}

/// Longer than any measurement.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
