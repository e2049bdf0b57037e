//! Who is over: so that what RustDDS reports late of it is not believed.
//!
//! ```text
//!   discovery thread   ── reader found ──┬─ reader lost ─────────────────▶ status events
//!   event loop                           └────── matched ── … ── matched ─▶ status events, later when it is busy
//! ```
//! RustDDS reports the end of an endpoint from one thread, and its being detected and matched from another. So the end of
//! an endpoint that lived shorter than the event loop lags behind comes first; and what comes then stays true for ever. A writer
//! would wait for that reader, and send plain samples to all, until its participant is gone. It is the same with endpoints of
//! our own: their matches are reported yet when they are gone.

use super::split;
use crate::protocol::{Entity, Prefix};
use rustdds::DomainParticipantStatusEvent as Status;
use std::collections::VecDeque;

/// Endpoints and participants that are over, the latest of them.
#[derive(Debug)]
pub(super) struct Ended {
    own: Prefix,
    latest: VecDeque<(Prefix, Entity)>,
}

impl Ended {
    pub(super) const fn new(own: Prefix) -> Self {
        Self { own, latest: VecDeque::new() }
    }

    /// Whether this is a late report of somebody who is over.
    pub(super) fn is_late(&mut self, status: &Status) -> bool {
        match status {
            // The two reports on participants, and those of lost endpoints, come from one thread.
            Status::ParticipantDiscovered { dpd } => {
                let (prefix, _) = split(&dpd.guid);
                self.latest.retain(|&(other, _)| other != prefix);
            }
            Status::ParticipantLost { id, .. } => {
                // Our own, which RustDDS loses where it does not hear itself, lives; and it will not say that it was found again.
                if let Ok(prefix) = Prefix::try_from(id.as_ref())
                    && prefix != self.own
                {
                    self.latest.retain(|&(other, _)| other != prefix);
                    self.add((prefix, PARTICIPANT));
                }
            }
            Status::ReaderLost { guid, .. } | Status::WriterLost { guid, .. } => {
                // Other vendors may give the entity id to another endpoint; RustDDS counts.
                let (prefix, endpoint) = split(guid);
                if prefix.starts_with(&RUSTDDS) || prefix == self.own {
                    self.add((prefix, endpoint));
                }
            }
            Status::ReaderDetected { reader: found } | Status::WriterDetected { writer: found } => {
                return self.contains(split(&found.guid));
            }
            Status::RemoteReaderMatched { local_writer: local, remote_reader: remote }
            | Status::RemoteReaderQosIncompatible { local_writer: local, remote_reader: remote, .. }
            | Status::RemoteWriterMatched { local_reader: local, remote_writer: remote }
            | Status::RemoteWriterQosIncompatible { local_reader: local, remote_writer: remote, .. } => {
                return self.contains(split(remote)) || self.contains(split(local));
            }
            _ => {}
        }
        false
    }

    /// An endpoint is over.
    pub(super) fn add(&mut self, ended: (Prefix, Entity)) {
        if self.latest.len() == REMEMBERED_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(ended);
    }

    /// Participants that were lost may be there again, of which no report came.
    pub(super) fn doubt_participants(&mut self) {
        self.latest.retain(|&(_, entity)| entity != PARTICIPANT);
    }

    pub(super) fn contains(&self, (prefix, endpoint): (Prefix, Entity)) -> bool {
        self.latest
            .iter()
            .any(|&(other, entity)| other == prefix && (entity == endpoint || entity == PARTICIPANT))
    }
}

/// More than can end while the event loop lags behind.
const REMEMBERED_MAX: usize = 1024;
/// RustDDS's vendor id, with which its GUID prefixes begin (DDSI-RTPS 2.5 §9.3.1.5).
const RUSTDDS: [u8; 2] = [0x01, 0x12];
/// ENTITYID_PARTICIPANT (DDSI-RTPS 2.5 §9.3.1.2).
const PARTICIPANT: Entity = [0, 0, 1, 0xc1];

#[cfg(test)]
mod tests {
    use super::*;
    use rustdds::GUID;
    use rustdds::dds::statusevents::LostReason;

    const OTHER: [u8; 2] = [0x01, 0x10];
    const OWN: Prefix = [1; 12];

    fn endpoint(vendor: [u8; 2], number: u8) -> GUID {
        let mut bytes = [7; 16];
        bytes[..2].copy_from_slice(&vendor);
        bytes[12..].copy_from_slice(&[0, 0, number, 0x04]);
        GUID::from_bytes(bytes)
    }

    fn matched(reader: GUID) -> Status {
        Status::RemoteReaderMatched { local_writer: endpoint(RUSTDDS, 0), remote_reader: reader }
    }

    fn lost(reader: GUID) -> Status {
        Status::ReaderLost { guid: reader, reason: LostReason::Disposed }
    }

    #[test]
    fn a_match_that_is_reported_after_the_end_is_late() {
        let mut ended = Ended::new(OWN);
        assert!(!ended.is_late(&matched(endpoint(RUSTDDS, 1))));
        assert!(!ended.is_late(&lost(endpoint(RUSTDDS, 1))), "the end itself is news");
        assert!(ended.is_late(&matched(endpoint(RUSTDDS, 1))));
        assert!(!ended.is_late(&matched(endpoint(RUSTDDS, 2))), "its neighbour lives");
    }

    #[test]
    fn another_vendors_endpoint_may_come_again() {
        let mut ended = Ended::new(OWN);
        ended.is_late(&lost(endpoint(OTHER, 1)));
        assert!(!ended.is_late(&matched(endpoint(OTHER, 1))));
    }

    #[test]
    fn all_of_a_lost_participant_is_late() {
        let mut ended = Ended::new(OWN);
        let id = endpoint(OTHER, 1).prefix;
        ended.is_late(&Status::ParticipantLost { id, reason: LostReason::Disposed });
        assert!(ended.is_late(&matched(endpoint(OTHER, 1))));
    }

    #[test]
    fn a_lost_participant_whose_return_may_have_found_no_room_is_not_over() {
        let mut ended = Ended::new(OWN);
        ended.is_late(&lost(endpoint(RUSTDDS, 1)));
        let id = endpoint(RUSTDDS, 1).prefix;
        ended.is_late(&Status::ParticipantLost { id, reason: LostReason::Disposed });
        ended.doubt_participants();
        assert!(!ended.is_late(&matched(endpoint(RUSTDDS, 2))));
    }

    #[test]
    fn nothing_is_late_because_our_own_participant_was_taken_for_lost() {
        let own = endpoint(RUSTDDS, 0);
        let mut ended = Ended::new(split(&own).0);
        ended.is_late(&lost(endpoint(RUSTDDS, 1)));
        ended.is_late(&Status::ParticipantLost { id: own.prefix, reason: LostReason::Disposed });
        assert!(!ended.is_late(&matched(endpoint(RUSTDDS, 2))));
        assert!(ended.is_late(&matched(endpoint(RUSTDDS, 1))), "it is over all the same");
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut ended = Ended::new(OWN);
        for round in 0..3 * REMEMBERED_MAX {
            ended.is_late(&lost(endpoint(RUSTDDS, (round % 256) as u8)));
        }
        assert_eq!(ended.latest.len(), REMEMBERED_MAX);
    }
}
