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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) reader: EntityId,
    /// That reader has acknowledged everything below.
    pub(crate) acknowledged: i64,
    /// Where the writer listens.
    pub(crate) locators: Vec<Locator>,
}

/// The reader that last spoke to each remote writer. Shared: Dust's thread writes, the receive thread reads.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<HashMap<Guid, Contact>>);

impl Contacts {
    /// Notes an ACKNACK that Dust sends to `writer` at `locators`.
    pub(crate) fn note(&self, writer: Guid, acknack: &AckNack, locators: &[Locator]) {
        let (reader, acknowledged) = (acknack.reader, acknack.base);
        let mut contacts = self.0.lock();
        match contacts.get_mut(&writer) {
            Some(known) if known.locators == locators => {
                (known.reader, known.acknowledged) = (reader, acknowledged);
            }
            _ => {
                if contacts.len() >= CONTACTS_MAX {
                    contacts.clear();
                }
                contacts.insert(writer, Contact { reader, acknowledged, locators: locators.to_vec() });
            }
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
}

/// Beyond it everything is learned anew, from the next ACKNACKs.
const CONTACTS_MAX: usize = 4096;
