//! Whom to ask for what a writer still owes us, learned from Dust's own ACKNACKs as they pass by.
//!
//! An ACKNACK names everything that a NACK_FRAG of ours needs: which local reader may ask, and at which
//! locators the writer listens. The datagram's source address would not do: stacks send from sockets on which
//! they do not listen.

use crate::rtps::{AckNack, EntityId, Guid};
use parking_lot::Mutex;
use std::collections::HashMap;
use zerodds_core::Locator;

/// Our readers, as a remote writer knows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// The one that last spoke to it.
    pub(crate) reader: EntityId,
    /// That reader has acknowledged everything below.
    acknowledged: i64,
    /// Samples that have not come yet, and the readers that ask for them: Dust speaks for each of its readers in turn, and
    /// what one has not asked for another may still lack.
    requested: Vec<(EntityId, i64)>,
    /// Where the writer listens.
    pub(crate) locators: Vec<Locator>,
}

/// What our readers last said to each remote writer. Shared: Dust's thread writes, the receive thread reads.
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
        contact.requested.retain(|&(reader, _)| reader != acknack.reader);
        contact.requested.extend(acknack.requested().map(|number| (acknack.reader, number)));
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
        let contacts = self.0.lock();
        contacts.get(writer).is_some_and(|known| known.requested.iter().any(|&(_, one)| one == number))
    }

    /// Dust is given this sample now.
    pub(crate) fn given(&self, writer: &Guid, number: i64) {
        if let Some(known) = self.0.lock().get_mut(writer) {
            known.requested.retain(|&(_, requested)| requested != number);
        }
    }
}

/// Beyond it everything is learned anew, from the next ACKNACKs.
const CONTACTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::{GuidPrefix, Submessage, flag, kind};

    const WRITER: Guid = Guid { prefix: GuidPrefix([7; 12]), entity: EntityId([0, 0, 1, 3]) };

    /// This reader asks for the first sample, or for nothing.
    fn acknowledges(contacts: &Contacts, reader: u8, asks: bool) {
        let mut body = [0; 28];
        (body[2], body[3], body[12]) = (reader, 4, 1);
        body[4..8].copy_from_slice(&WRITER.entity.0);
        (body[16], body[23]) = (1, if asks { 0x80 } else { 0 });
        let (kind, flags) = (kind::ACKNACK, flag::ENDIANNESS);
        let submessage = Submessage { kind, flags, offset: 0, open_ended: false, body: &body };
        contacts.note(WRITER, &AckNack::read(&submessage).expect("an ACKNACK"), &[]);
    }

    #[test]
    fn a_sample_that_one_reader_asks_for_is_requested_though_another_lacks_nothing() {
        let contacts = Contacts::default();
        acknowledges(&contacts, 2, true);
        acknowledges(&contacts, 1, false);
        assert!(contacts.is_requested(&WRITER, 1));
        acknowledges(&contacts, 2, false);
        assert!(!contacts.is_requested(&WRITER, 1), "it has come some other way");
        [1, 2].iter().for_each(|&reader| acknowledges(&contacts, reader, true));
        contacts.given(&WRITER, 1);
        assert!(!contacts.is_requested(&WRITER, 1), "all readers are given it");
    }
}
