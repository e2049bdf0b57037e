//! Doors for the fuzz targets (`fuzz/` of the repository) to what is private here; only under `--cfg fuzzing`.
#![allow(clippy::missing_panics_doc, reason = "a panic is what a fuzz target reports")]

use crate::contacts::Contacts;
use crate::fragment::Fragmenter;
use crate::inbound::Inbound;
use crate::rtps::{
    AckNack, Content, DataFields, EntityId, Guid, GuidPrefix, HEADER_LEN, MessageWriter, Submessages, flag,
    header, kind, pid,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::{Endianness, Locator, Path};

/// Everything that a participant does with what comes in, short of giving it to Dust.
pub struct Gate {
    inbound: Inbound,
    contacts: Arc<Contacts>,
    now: Instant,
    out: Vec<Vec<u8>>,
    /// What came last by UDP, if nothing has happened since.
    before: Option<Vec<u8>>,
}

impl Gate {
    /// A participant that has heard of one peer, and may keep this much of incomplete samples.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        let contacts = Arc::<Contacts>::default();
        let fragmenter = Fragmenter::new(1 << 20, 65_507);
        let (wanted, departed, addresses, tally) = Default::default();
        let ours = Arc::clone(&contacts);
        let mut inbound = Inbound::new(budget, fragmenter, ours, wanted, departed, addresses, tally);
        inbound.linked(Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]), PEER);
        let mut gate = Self { inbound, contacts, now: Instant::now(), out: Vec::new(), before: None };
        let mut announcement = MessageWriter::new(&PEER.header(), Endianness::Little, 64);
        let (reader, writer) = (EntityId::SPDP_READER, EntityId::SPDP_WRITER);
        announcement
            .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: 1 })
            .verbatim(&[0, 3, 0, 0])
            .parameter(pid::SENTINEL, &[]);
        gate.message(&announcement.into_bytes(), false);
        gate
    }

    /// A message comes. What passes is RTPS again: it begins with a header, its submessages are whole, and those
    /// that Dust reads are in order.
    pub fn message(&mut self, message: &[u8], by_shm: bool) {
        let mut next = Some(message.to_vec());
        if let Some(before) = self.before.take().filter(|_| !by_shm) {
            let other = self.inbound.follow(&before, || next.take());
            next = other.or(next);
            if next.is_none() {
                self.before = Some(before);
                return;
            }
        }
        self.before = next.filter(|_| !by_shm);
        let path = if by_shm { Path::SharedMemory } else { Path::Udp };
        self.inbound.message(message, Some(path), Some(OWN), self.now, &mut self.out);
        self.pass();
    }

    /// Dust acknowledges, in words that it got from somewhere, for readers of which every other is reliable.
    pub fn acknowledges(&mut self, message: &[u8]) {
        self.before = None;
        for submessage in Submessages::of(message).flatten().filter(|sub| sub.kind == kind::ACKNACK) {
            if let Ok(acknack) = AckNack::read(&submessage) {
                self.contacts.came(acknack.reader, acknack.reader.0[2] & 1 == 0);
                let writer = Guid { prefix: PEER, entity: acknack.writer };
                self.contacts.note(writer, &acknack, &[Locator::new(1, 7, [9; 16])]);
            }
        }
    }

    /// Time passes, and what is due is asked for.
    pub fn later(&mut self, by: Duration) {
        self.before = None;
        self.now += by;
        let requests = self.inbound.requests(&[7; HEADER_LEN], self.now, &mut self.out);
        for request in requests {
            assert!(!request.locators.is_empty(), "asked somewhere");
            in_order(&request.message);
        }
        self.inbound.end_leases(self.now, &mut self.out);
        let later = |deadline: Instant| deadline > self.now;
        assert!(self.inbound.deadline().is_none_or(later), "no deadline stays due: the thread would spin");
        assert!(self.inbound.lease_deadline().is_none_or(later), "nor does the end of a lease");
        self.pass();
    }

    /// A participant ends.
    pub fn dies(&mut self, prefix: [u8; 12]) {
        self.before = None;
        self.inbound.died(GuidPrefix(prefix), self.now, &mut self.out);
        self.pass();
    }

    fn pass(&mut self) {
        self.out.drain(..).for_each(|message| in_order(&message));
    }
}

/// What Dust may be given.
fn in_order(message: &[u8]) {
    assert!(header(message).is_ok(), "it begins with a header");
    for submessage in Submessages::of(message) {
        let submessage = submessage.expect("a submessage is whole");
        let content = Content::read(&submessage).expect("what passes was checked");
        assert!(!matches!(content, Content::DataFrag(_)), "Dust never sees fragments");
        assert!(!submessage.open_ended || submessage.kind == kind::DATA, "Dust finds its end");
    }
}

const OWN: GuidPrefix = GuidPrefix(*b"our own name");
const PEER: GuidPrefix = GuidPrefix(*b"me, who else");
