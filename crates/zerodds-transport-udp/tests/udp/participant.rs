//! A participant on loopback: what most tests need one or two of.
//!
//! Other tests, and other programs, may use the same domain at the same time. So every message of a test
//! carries a token of its own, and what does not is passed over.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Peer, Receiver as _, Sent, Transport as _};
use zerodds_transport_udp::{Config, InterfaceChoice, UdpMessage, UdpReceiver, UdpTransport};

pub(crate) struct Participant {
    pub(crate) transport: UdpTransport,
    pub(crate) receiver: UdpReceiver,
}

/// Begins every message of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token([u8; 16]);

impl Participant {
    pub(crate) fn on_loopback(domain_id: u32) -> Self {
        Self::with(domain_id, &loopback())
    }

    pub(crate) fn with(domain_id: u32, config: &Config) -> Self {
        let transport = UdpTransport::open(domain_id, config).unwrap();
        let receiver = transport.receiver().unwrap();
        Self { transport, receiver }
    }

    /// Sends to one peer, which must be served.
    pub(crate) fn send(&self, message: &[u8], to: &[Locator]) {
        let sent = self.try_send(message, to);
        assert_eq!((sent.by_udp, sent.unserved.len()), (1, 0), "{sent:?}");
    }

    pub(crate) fn try_send(&self, message: &[u8], to: &[Locator]) -> Sent {
        self.transport.send_bytes(message, &[Peer::new(to)], Delivery::BestEffort).unwrap()
    }

    /// The next message with the token.
    pub(crate) fn next(&mut self, token: Token) -> UdpMessage {
        loop {
            match self.receiver.receive(hang_bound()) {
                Some(Incoming::Message(message)) if message.starts_with(&token.0) => return message,
                Some(_) => {}
                None => panic!("nothing arrived"),
            }
        }
    }

    /// How many messages with the token arrive before its last one.
    pub(crate) fn count_until_last(&mut self, token: Token) -> usize {
        let mut count = 0;
        while self.next(token)[..] != *token.last() {
            count += 1;
        }
        count
    }
}

impl Token {
    pub(crate) fn random() -> Self {
        Self([random().to_le_bytes(), random().to_le_bytes()].concat().try_into().unwrap())
    }

    /// A message of this length, at least 16 bytes, with its index in its first bytes.
    pub(crate) fn message(&self, index: u32, len: usize) -> Vec<u8> {
        let mut message = [&self.0[..], &index.to_le_bytes()].concat();
        message.extend((message.len()..len).map(|i| (i ^ index as usize) as u8));
        message.truncate(len);
        message
    }

    /// A message that ends a test's traffic.
    pub(crate) fn last(&self) -> Vec<u8> {
        [&self.0[..], b"last"].concat()
    }
}

/// Only loopback: nothing that a test does leaves this host.
pub(crate) fn loopback() -> Config {
    Config::default().interfaces([InterfaceChoice::Address([127, 0, 0, 1].into())]).unwrap()
}

pub(crate) fn random_domain() -> u32 {
    // Above 100 its ports are some that Linux hands out by itself.
    (random() % 100) as u32
}

/// Far beyond anything a test waits for; reached only if it would hang.
pub(crate) fn hang_bound() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}
