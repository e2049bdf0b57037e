//! What a user should hear of what comes in: each once.

use super::Inbound;
use crate::estate::PARTICIPANTS_MAX;
use std::collections::HashSet;
use thiserror::Error;

/// Something that does not go as it should, and that a user can do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub(super) enum Complaint {
    #[error(
        "a participant is not discovered: there are {PARTICIPANTS_MAX} in the domain, and all of them were heard lately; other \
         domains have room"
    )]
    Participants,
    #[error(
        "an endpoint or topic of another participant is not discovered: there were 8192 endpoints of one kind and participant, or \
         65536 of all, or 65536 announcements of topics, of which Dust forgets none"
    )]
    Endpoints,
    #[error(
        "a reader of ours has force_type_validation set, and matches no writer: participants of this plug-in read no type information"
    )]
    ForcedValidation,
    #[error(
        "the factory's configuration has type information enabled: nothing reads it here, and it makes announcements longer; \
         enable_type_information(false) in it changes that"
    )]
    TypeInformation,
    #[error(
        "a reliable writer and its reader have almost said as much to each other as they can count, more than 1600000000 times, and \
         will stand still at 2147483647; a new endpoint or participant on either side begins anew"
    )]
    Counts,
}

impl Inbound {
    pub(super) fn complain(&mut self, complaint: Complaint) {
        if self.complaints.insert(complaint) {
            tracing::warn!("{complaint}");
        }
    }
}

/// What was said.
pub(super) type Complaints = HashSet<Complaint>;
