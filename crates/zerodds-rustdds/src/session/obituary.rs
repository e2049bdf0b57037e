//! What a dead participant could not say itself: its SPDP dispose, for our own RustDDS.

use crate::protocol::Prefix;
use rustdds::DomainParticipant;

#[derive(Debug)]
pub(super) struct Obituary;

impl Obituary {
    pub(super) fn new(_participant: &DomainParticipant) -> Self {
        Self
    }

    pub(super) fn publish(&self, _dead: Prefix) {}
}
