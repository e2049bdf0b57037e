//! What is lent for writing and what is received.

use crate::arena::{Hold, RecordId};
use crate::doorbell::Space;
use crate::outbound::Outbound;
use crate::peer::Reading;
use crate::shared::Shared;
use crate::short::Short;
use crate::slots;
use crate::sys::{LoanedBytes, SharedBytes};
use bytes::Bytes;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use zerodds_core::{Loan, Locator, Message, Path};

/// A writable buffer: memory of the ring, or of the heap for messages so small that they are copied anyway.
/// Dropped unsent, it is discarded.
pub struct ShmLoan(pub(crate) LoanKind);

pub(crate) enum LoanKind {
    Small(Vec<u8>),
    Record(RecordLoan),
}

pub(crate) struct RecordLoan {
    pub(crate) bytes: LoanedBytes<Arc<Shared>>,
    pub(crate) record: RecordId,
    /// It was given back under a lock that somebody had already.
    pub(crate) is_given_back: bool,
}

impl RecordLoan {
    /// Gives it back, where the lock is had already. It covers no bytes from then on.
    pub(crate) fn give_back(&mut self, outbound: &mut Outbound) {
        self.is_given_back = true;
        self.bytes.truncate(0);
        outbound.arena.release(self.record, Hold::Firm);
    }
}

impl Drop for RecordLoan {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.bytes.keeper().release(self.record);
        }
    }
}

impl Deref for ShmLoan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            LoanKind::Small(bytes) => bytes,
            LoanKind::Record(loan) => &loan.bytes,
        }
    }
}

impl DerefMut for ShmLoan {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            LoanKind::Small(bytes) => bytes,
            LoanKind::Record(loan) => &mut loan.bytes,
        }
    }
}

impl Loan for ShmLoan {
    fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            LoanKind::Small(bytes) => bytes.truncate(len),
            LoanKind::Record(loan) => loan.bytes.truncate(len),
        }
    }
}

impl fmt::Debug for ShmLoan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShmLoan({} bytes)", self.len())
    }
}

/// A received message: bytes in the sender's ring, or a copy of them. Dropping it gives the memory back;
/// it may be kept as long as needed and moved to any thread.
pub struct ShmMessage {
    pub(crate) body: Body,
    pub(crate) source: Locator,
}

pub(crate) enum Body {
    Copied(Short),
    InPlace(InPlace),
    /// Sent by this transport to itself.
    Own(OwnRecord),
}

/// A taken message in a peer's ring.
pub(crate) struct InPlace {
    pub(crate) bytes: SharedBytes<Arc<Reading>>,
    pub(crate) handle: u32,
    pub(crate) position: u64,
}

impl Drop for InPlace {
    fn drop(&mut self) {
        let link = self.bytes.keeper();
        // In a forked child it is the parent's message that this is a copy of.
        if link.generation.is_ours() {
            slots::release(&link.memory, link.outgoing.reverse(), self.handle, self.position);
            link.notify_space(Space::of(self.bytes.len()));
        }
    }
}

/// A record of our own ring that we sent to ourselves.
pub(crate) struct OwnRecord {
    pub(crate) bytes: SharedBytes<Arc<Shared>>,
    pub(crate) record: RecordId,
}

impl Drop for OwnRecord {
    fn drop(&mut self) {
        self.bytes.keeper().release_own(self.record);
    }
}

impl ShmMessage {
    /// Whether the bytes are read in the sender's memory, rather than from a copy.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        !matches!(self.body, Body::Copied(_))
    }
}

impl Deref for ShmMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.body {
            Body::Copied(bytes) => bytes,
            Body::InPlace(held) => &held.bytes,
            Body::Own(own) => &own.bytes,
        }
    }
}

impl Message for ShmMessage {
    fn path(&self) -> Path {
        Path::SharedMemory
    }

    fn source(&self) -> Option<Locator> {
        Some(self.source)
    }
}

impl From<ShmMessage> for Bytes {
    /// Without a copy: the bytes stay where they are until the last clone is dropped.
    fn from(message: ShmMessage) -> Self {
        match message.body {
            Body::Copied(bytes) => bytes.into_vec().into(),
            Body::InPlace(held) => Self::from_owner(held),
            Body::Own(own) => Self::from_owner(own),
        }
    }
}

impl AsRef<[u8]> for InPlace {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for OwnRecord {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ShmMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShmMessage({} bytes from {})", self.len(), self.source)
    }
}
