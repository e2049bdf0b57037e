//! The unicast ports of one participant, claimed by binding them.
//!
//! DDSI-RTPS 2.5 §9.6.2.3 derives them from a participant id, which participants of one host have to agree
//! on without talking. The kernel arbitrates: an id is free if all its ports can be bound exclusively. Past
//! the last id of the domain any ports will do, since locators carry them; only peers that guess ports from
//! ids do not find such a participant.

use crate::error::OpenError;
use crate::ports::{self, PARTICIPANT_ID_MAX};
use crate::socket::{Family, Listener};
use std::io;

/// The sockets of one participant.
#[derive(Debug)]
pub(crate) struct Claim {
    /// `None` where all ids of the domain were taken.
    pub(crate) participant_id: Option<u32>,
    /// One pair per family.
    pub(crate) pairs: Vec<Pair>,
}

/// What one family listens on.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) family: Family,
    pub(crate) metatraffic: (Listener, u16),
    pub(crate) user: (Listener, u16),
}

impl Claim {
    /// The lowest participant id of the domain that is free, or else ports of the system's choice.
    ///
    /// # Errors
    /// [`OpenError`] where nothing at all can be bound.
    pub(crate) fn lowest_free(domain_id: u32, families: &[Family], buffer: usize) -> Result<Self, OpenError> {
        for id in 0..=PARTICIPANT_ID_MAX {
            let (Ok(metatraffic), Ok(user)) =
                (ports::metatraffic_unicast(domain_id, id), ports::user_unicast(domain_id, id))
            else {
                break;
            };
            match bind_all(families, metatraffic, user, buffer) {
                Ok(pairs) => return Ok(Self { participant_id: Some(id), pairs }),
                Err(OpenError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
                Err(other) => return Err(other),
            }
        }
        tracing::info!(domain_id, "all participant ids are taken: UDP uses ports of the system's choice");
        Ok(Self { participant_id: None, pairs: bind_all(families, 0, 0, buffer)? })
    }
}

fn bind_all(families: &[Family], metatraffic: u16, user: u16, buffer: usize) -> Result<Vec<Pair>, OpenError> {
    let bind = |family: Family, port| {
        let listener = Listener::unicast(family, port, buffer);
        let bound = listener.and_then(|listener| listener.port().map(|port| (listener, port)));
        bound.map_err(|source| OpenError::Bind { address: family.any(port), source })
    };
    families
        .iter()
        .map(|&family| {
            Ok(Pair { family, metatraffic: bind(family, metatraffic)?, user: bind(family, user)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_claim_of_a_domain_gets_another_id_and_a_dropped_one_is_free_again() {
        // A domain of this process's own, as far as other tests go.
        let domain_id = std::process::id() % 100;
        let first = Claim::lowest_free(domain_id, &[Family::V4], 65_536).unwrap();
        let second = Claim::lowest_free(domain_id, &[Family::V4], 65_536).unwrap();
        assert!(first.participant_id < second.participant_id);
        let (id, freed) = (first.participant_id, first.pairs[0].user.1);
        assert_eq!(freed, ports::user_unicast(domain_id, id.unwrap()).unwrap());
        drop(first);
        let third = Claim::lowest_free(domain_id, &[Family::V4], 65_536).unwrap();
        assert_eq!(third.participant_id, id);
    }
}
