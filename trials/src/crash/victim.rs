//! Those who die: each role is a short life, armed for the part that it is about.
//!
//! | role | armed while it |
//! |---|---|
//! | connector | opens its transport, and connects to both survivors |
//! | acceptor | opens its transport, and is connected to by both |
//! | sender | sends messages of all sizes to both, reliable and not, while its ring grows |
//! | receiver | takes messages of both, holds some and gives them back |
//! | presser | sends more than there is room for to one who takes nothing: revokes, waits, is refused |
//! | heir | clears up after a peer that was killed while each had messages of the other |
//! | leaver | ends a link, takes what is left, sets up another one, and closes |

use crate::child::{hear, tell};
use crate::node::{self, Node, link_to, reliable};
use crate::parcel::{LEN_MIN, Parcel, Streams};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use zerodds_core::{Delivery, Incoming, Locator, Message, Receiver, Sent, Transport};
use zerodds_transport_shm::ShmMessage;
use zerodds_transport_shm::crash_points::{Action, arm, disarm, passed};

/// What a victim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
#[allow(missing_docs, reason = "the table above")]
pub enum Role {
    Connector,
    Acceptor,
    Sender,
    Receiver,
    Presser,
    Heir,
    Leaver,
}

/// All of them.
pub const ROLES: [Role; 7] =
    [Role::Connector, Role::Acceptor, Role::Sender, Role::Receiver, Role::Presser, Role::Heir, Role::Leaver];

impl Role {
    /// Whether it needs another peer, its prey.
    pub(super) const fn needs_prey(self) -> bool {
        matches!(self, Self::Presser | Self::Heir)
    }
}

/// What a victim is told by its command line.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Its role.
    pub role: Role,
    /// The domain of all.
    pub domain: u32,
    /// Its number; that of its prey is one more.
    pub number: u64,
    /// The numbers of the survivors.
    pub survivors: [u64; 2],
    /// At which point it dies or stops.
    pub at: u64,
    /// Which of the two.
    pub action: Action,
}

impl Life {
    /// Plays it: `victim <role> <domain> <number> <survivor> <survivor> <at> <kill|stop>`.
    ///
    /// # Errors
    /// What went wrong, though it did not die.
    pub(super) fn play(&self) -> Result<(), String> {
        let mut node = match self.role {
            Role::Connector => self.connect()?,
            Role::Acceptor => self.accept()?,
            role => {
                let node = match role {
                    // Small, so that it is full soon.
                    Role::Presser => Node::with_knob(self.domain, self.number, 64 << 10)?,
                    _ => Node::open(self.domain, self.number)?,
                };
                self.link(&node)?;
                node
            }
        };
        match self.role {
            Role::Connector | Role::Acceptor => {}
            Role::Sender => self.send(&node)?,
            Role::Receiver => self.receive(&mut node)?,
            Role::Presser => self.press(&node)?,
            Role::Heir => self.inherit(&mut node)?,
            Role::Leaver => self.leave(node)?,
        }
        disarm();
        tell(format_args!("passed {}", passed()));
        while hear().is_some() {}
        Ok(())
    }

    fn arm(&self) {
        arm(self.at, self.action);
    }

    fn peers(&self, node: &Node) -> [Locator; 2] {
        self.survivors.map(|number| node::locator(&node.transport, number))
    }

    fn link(&self, node: &Node) -> Result<(), String> {
        self.peers(node).into_iter().try_for_each(|peer| link_to(&node.transport, peer))
    }

    fn connect(&self) -> Result<Node, String> {
        self.arm();
        let node = Node::open(self.domain, self.number)?;
        self.link(&node)?;
        Ok(node)
    }

    fn accept(&self) -> Result<Node, String> {
        self.arm();
        let mut node = Node::open(self.domain, self.number)?;
        tell("open");
        let mut missing: HashSet<Locator> = self.peers(&node).into();
        while !missing.is_empty() {
            if let Incoming::PeerUp(peer) = node.incoming()? {
                missing.remove(&peer);
            }
        }
        Ok(node)
    }

    fn send(&self, node: &Node) -> Result<(), String> {
        self.arm();
        let both = self.peers(node);
        let lengths = [0, 500, 1_000, 1_001, 3_000, 4_072, 20_000, 200_000, 100, 700_000, 60_000, 2_500_000];
        let (mut sure, mut loose) = (self.stream(true), self.stream(false));
        for (index, len) in lengths.into_iter().cycle().take(2 * lengths.len()).enumerate() {
            let _ = if index % 3 == 2 {
                node::send(&node.transport, &both, loose.next(), LEN_MIN + len, Delivery::BestEffort)?
            } else {
                node::send(&node.transport, &both, sure.next(), LEN_MIN + len, reliable())?
            };
        }
        Ok(())
    }

    fn receive(&self, node: &mut Node) -> Result<(), String> {
        self.ask(node, ASKED)?;
        self.arm();
        let (mut held, mut missing): (Vec<ShmMessage>, u64) = (Vec::new(), 2 * ASKED);
        let mut streams = Streams::default();
        while missing > 0 {
            let Incoming::Message(message) = node.incoming()? else { continue };
            missing -= u64::from(follow(&mut streams, &message)?.is_reliable());
            held.push(message);
            if held.len() > HELD_MAX {
                held.swap_remove(0);
            }
        }
        held.iter().try_for_each(|message| read(message).map(drop))
    }

    fn press(&self, node: &Node) -> Result<(), String> {
        let prey = node::locator(&node.transport, self.number + 1);
        link_to(&node.transport, prey)?;
        self.arm();
        let (mut sure, mut loose) = (self.stream(true), self.stream(false));
        for _ in 0..25 {
            let _ = node::send(&node.transport, &[prey], loose.next(), 60_000, Delivery::BestEffort)?;
        }
        // The large ones first: they make best effort go, and then there is no room for what the lane has no room for.
        for len in [60_000, 900] {
            let is_full = |sent: Result<Sent, String>| sent.map_or(true, |sent| !sent.unserved.is_empty());
            let mut push = || node::send(&node.transport, &[prey], sure.next(), len, soon());
            if !(0..100).any(|_| is_full(push())) {
                return Err(format!("there is no end of room for messages of {len} bytes"));
            }
        }
        let mut small =
            Stream { parcel: Parcel { stream: self.stream(true).parcel.stream + 2, ..sure.parcel } };
        small.parcel.number = 0;
        for _ in 0..20 {
            let _ = node::send(&node.transport, &self.peers(node), small.next(), 900, reliable())?;
        }
        Ok(())
    }

    fn inherit(&self, node: &mut Node) -> Result<(), String> {
        let prey = node::locator(&node.transport, self.number + 1);
        link_to(&node.transport, prey)?;
        let mut sure = self.stream(true);
        for len in [100, 2_000, 50_000, 50_000, 300_000] {
            let _ = node::send(&node.transport, &[prey], sure.next(), LEN_MIN + len, reliable())?;
        }
        let (mut held, mut streams) = (Vec::new(), Streams::default());
        while held.len() < PREYS_MESSAGES / 2 {
            if let Incoming::Message(message) = node.incoming()? {
                follow(&mut streams, &message)?;
                held.push(message);
            }
        }
        self.arm();
        tell("ready");
        loop {
            match node.incoming()? {
                Incoming::Message(message) => {
                    follow(&mut streams, &message)?;
                    held.push(message);
                }
                Incoming::PeerDown(peer, _) if peer == prey => break,
                _ => {}
            }
        }
        if held.len() != PREYS_MESSAGES {
            return Err(format!("LOST: {} of {PREYS_MESSAGES} messages of the dead came", held.len()));
        }
        held.iter().try_for_each(|message| read(message).map(drop))
    }

    fn leave(&self, mut node: Node) -> Result<(), String> {
        // More than it takes before it leaves: what is left then must be claimed.
        self.ask(&node, 40)?;
        self.arm();
        let [left, _] = self.peers(&node);
        let mut streams = Streams::default();
        node.transport.disconnect(&left);
        loop {
            match node.incoming()? {
                Incoming::Message(message) => drop(follow(&mut streams, &message)?),
                Incoming::PeerDown(peer, _) if peer == left => break,
                _ => {}
            }
        }
        // Whoever feeds it goes on over the next link, unless it was refused by this one.
        link_to(&node.transport, left)?;
        let again = Parcel { stream: self.stream(true).parcel.stream + 2, number: 0, note: 0 };
        let _ = node::send(&node.transport, &[left], again, 10_000, reliable())?;
        node.transport.close();
        while let Some(incoming) = node.receiver.try_receive() {
            if let Incoming::Message(message) = incoming {
                follow(&mut streams, &message)?;
            }
        }
        Ok(())
    }

    /// Asks both survivors for so many reliable messages.
    fn ask(&self, node: &Node, count: u64) -> Result<(), String> {
        let parcel = Parcel { note: count, ..self.stream(true).parcel };
        let sent = node::send(&node.transport, &self.peers(node), parcel, LEN_MIN, reliable())?;
        if sent.unserved.is_empty() { Ok(()) } else { Err(format!("not asked: {:?}", sent.unserved)) }
    }

    const fn stream(&self, is_reliable: bool) -> Stream {
        let stream = self.number * 4 + if is_reliable { 0 } else { 1 };
        Stream { parcel: Parcel { stream, number: 0, note: 0 } }
    }
}

/// The messages of one stream.
struct Stream {
    parcel: Parcel,
}

impl Stream {
    const fn next(&mut self) -> Parcel {
        let parcel = self.parcel;
        self.parcel.number += 1;
        parcel
    }
}

/// A message, which must be intact, and the next of its stream.
fn follow(streams: &mut Streams, message: &ShmMessage) -> Result<Parcel, String> {
    let (from, parcel) = read(message)?;
    streams.follow(from, parcel).map(|()| parcel)
}

/// What is in a message, which must be intact, and whose it is.
fn read(message: &ShmMessage) -> Result<(Locator, Parcel), String> {
    let from = message.source().ok_or("a message from nowhere")?;
    Ok((from, Parcel::read(message, from)?))
}

/// The peer that an heir survives, until it is killed: `prey <domain> <number>`.
///
/// # Errors
/// What went wrong before that.
pub(super) fn prey(domain: u32, number: u64) -> Result<(), String> {
    let mut node = Node::open(domain, number)?;
    tell("open");
    loop {
        let Incoming::PeerUp(heir) = node.incoming()? else { continue };
        for (index, len) in [100, 2_000, 50_000, 20, 3_000, 100_000].into_iter().enumerate() {
            let parcel = Parcel { stream: number * 4, number: index as u64, note: 0 };
            let _ = node::send(&node.transport, &[heir], parcel, LEN_MIN + len, reliable())?;
        }
        break;
    }
    tell("primed");
    // What the heir sends stays unread.
    while hear().is_some() {}
    Ok(())
}

/// Reliable, but not for long: there will be no room.
fn soon() -> Delivery {
    Delivery::Reliable { deadline: Instant::now() + Duration::from_millis(2) }
}

/// Reliable messages that a receiver asks of each survivor.
const ASKED: u64 = 8;
const HELD_MAX: usize = 6;
const PREYS_MESSAGES: usize = 6;
