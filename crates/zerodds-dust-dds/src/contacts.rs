//! Whom to ask for what a writer still owes us, learned from Dust's own ACKNACKs as they pass by.
//!
//! An ACKNACK names everything that a NACK_FRAG of ours needs: which local reader may ask, and at which
//! locators the writer listens. The datagram's source address would not do: stacks send from sockets on which
//! they do not listen.

use crate::rtps::{AckNack, EntityId, Guid};
use parking_lot::Mutex;
use std::collections::HashMap;
use zerodds_core::Locator;

/// One of our readers, as a remote writer knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    pub(crate) reader: EntityId,
    /// That reader has acknowledged everything below.
    acknowledged: i64,
    /// It has asked for these samples, and not got them yet.
    requested: Vec<i64>,
    /// Where the writer listens.
    pub(crate) locators: Vec<Locator>,
}

/// The reader that last spoke to each remote writer. Shared: Dust's thread writes, the receive thread reads.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<HashMap<Guid, Contact>>);

impl Contacts {
    /// Notes an ACKNACK that Dust sends to `writer` at `locators`.
    pub(crate) fn note(&self, writer: Guid, acknack: &AckNack<'_>, locators: &[Locator]) {
        let mut contacts = self.0.lock();
        if contacts.len() >= CONTACTS_MAX && !contacts.contains_key(&writer) {
            contacts.clear();
        }
        let contact = contacts.entry(writer).or_default();
        contact.reader = acknack.reader;
        contact.acknowledged = acknack.base;
        contact.requested.clear();
        contact.requested.extend(acknack.requested());
        if contact.locators != locators {
            contact.locators = locators.to_vec();
        }
    }

    pub(crate) fn of(&self, writer: &Guid) -> Option<Contact> {
        self.0.lock().get(writer).cloned()
    }

    /// Everything below was acknowledged by this reader; 0 if nothing is known.
    pub(crate) fn acknowledged(&self, writer: &Guid, reader: EntityId) -> i64 {
        let contacts = self.0.lock();
        contacts.get(writer).filter(|known| known.reader == reader).map_or(0, |known| known.acknowledged)
    }

    /// Whether Dust has asked for this sample since it last got it.
    pub(crate) fn is_requested(&self, writer: &Guid, number: i64) -> bool {
        self.0.lock().get(writer).is_some_and(|known| known.requested.contains(&number))
    }

    /// Dust is given this sample now.
    pub(crate) fn given(&self, writer: &Guid, number: i64) {
        if let Some(known) = self.0.lock().get_mut(writer) {
            known.requested.retain(|&requested| requested != number);
        }
    }
}

/// Beyond it everything is learned anew, from the next ACKNACKs.
const CONTACTS_MAX: usize = 4096;
