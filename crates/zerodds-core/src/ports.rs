//! The well-known ports of DDSI-RTPS 2.5 §9.6.2.3 with their default constants: how participants that have
//! never met know where to knock.
//!
//! ```text
//!   port = PB + DG * domain + d            multicast: shared by every participant of the domain
//!   port = PB + DG * domain + d + PG * id  unicast: one per participant
//!
//!   PB 7400   DG 250   PG 2   d0 0 metatraffic multicast   d1 10 metatraffic unicast
//!                             d2 1 user multicast (unused) d3 11 user unicast
//! ```
//! The constants are not configurable: every vendor's defaults are these, and a participant with others is
//! one that nobody finds.

use std::fmt;
use thiserror::Error;

/// The formula leads beyond 65,535, the last UDP port.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{} would need UDP port {port}, but ports end at 65535: use a domain id from 0 to 232, with participant \
     ids up to 119 (domain 232: up to 62)",
    Asked(self)
)]
#[non_exhaustive]
pub struct PortError {
    /// The domain asked for.
    pub domain_id: u32,
    /// The participant asked for, where the port is one participant's.
    pub participant_id: Option<u32>,
    /// What the formula gives.
    pub port: u64,
}

/// The port on which every participant of the domain listens for announcements (§9.6.2.3, `d0`).
///
/// # Errors
/// [`PortError`] for domain ids above 232.
///
/// ```
/// assert_eq!(zerodds_core::ports::metatraffic_multicast(1), Ok(7650));
/// ```
pub fn metatraffic_multicast(domain_id: u32) -> Result<u16, PortError> {
    port(domain_id, None, D0)
}

/// The port of one participant's discovery and liveliness traffic (§9.6.2.3, `d1`).
///
/// # Errors
/// [`PortError`] where domain and participant lead beyond 65,535.
pub fn metatraffic_unicast(domain_id: u32, participant_id: u32) -> Result<u16, PortError> {
    port(domain_id, Some(participant_id), D1)
}

/// The port of one participant's samples (§9.6.2.3, `d3`).
///
/// # Errors
/// [`PortError`] where domain and participant lead beyond 65,535.
pub fn user_unicast(domain_id: u32, participant_id: u32) -> Result<u16, PortError> {
    port(domain_id, Some(participant_id), D3)
}

/// The last participant id whose ports stay clear of the next domain's: d3 + PG * 119 = 249 < DG.
pub const PARTICIPANT_ID_MAX: u32 = 119;

const PB: u64 = 7400;
const DG: u64 = 250;
const PG: u64 = 2;
const D0: u64 = 0;
const D1: u64 = 10;
const D3: u64 = 11;

fn port(domain_id: u32, participant_id: Option<u32>, offset: u64) -> Result<u16, PortError> {
    let port = PB + DG * u64::from(domain_id) + PG * u64::from(participant_id.unwrap_or(0)) + offset;
    u16::try_from(port).map_err(|_| PortError { domain_id, participant_id, port })
}

struct Asked<'a>(&'a PortError);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0.domain_id)?;
        match self.0.participant_id {
            Some(id) => write!(f, " with participant {id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ports_are_those_of_the_specification() {
        assert_eq!(metatraffic_multicast(0), Ok(7400));
        assert_eq!(metatraffic_unicast(0, 0), Ok(7410));
        assert_eq!(user_unicast(0, 0), Ok(7411));
        assert_eq!(metatraffic_unicast(7, 3), Ok(9166));
        assert_eq!(user_unicast(7, 3), Ok(9167));
    }

    #[test]
    fn domain_232_is_the_last_one() {
        assert_eq!(metatraffic_multicast(232), Ok(65_400));
        let error = metatraffic_multicast(233).unwrap_err();
        assert!(error.to_string().contains("domain 233 would need UDP port 65650"), "{error}");
    }

    #[test]
    fn a_participant_id_that_overflows_is_named_together_with_its_domain() {
        assert_eq!(user_unicast(232, 62), Ok(65_535));
        let error = user_unicast(232, 63).unwrap_err();
        assert!(error.to_string().contains("domain 232 with participant 63"), "{error}");
    }

    proptest! {
        #[test]
        fn a_port_is_the_formula_or_an_error_never_a_wrapped_number(domain: u32, participant: u32) {
            let exact = 7400 + 250 * u64::from(domain) + 2 * u64::from(participant);
            for (result, offset) in
                [(metatraffic_unicast(domain, participant), 10), (user_unicast(domain, participant), 11)]
            {
                match result {
                    Ok(port) => prop_assert_eq!(u64::from(port), exact + offset),
                    Err(error) => prop_assert!(error.port == exact + offset && error.port > 65_535),
                }
            }
        }

        #[test]
        fn participants_of_one_domain_and_neighbouring_domains_never_share_a_port(
            domain in 0u32..232, one in 0u32..=PARTICIPANT_ID_MAX, other in 0u32..=PARTICIPANT_ID_MAX,
        ) {
            let ports = |domain, id| [metatraffic_unicast(domain, id), user_unicast(domain, id)];
            let groups = |domain| [0, 1].map(|d| metatraffic_multicast(domain).map(|d0| d0 + d));
            for mine in ports(domain, one).into_iter().flatten() {
                prop_assert!(!groups(domain).contains(&Ok(mine)) && !groups(domain + 1).contains(&Ok(mine)));
                prop_assert!(!ports(domain + 1, other).contains(&Ok(mine)));
                prop_assert_eq!(one == other, ports(domain, other).contains(&Ok(mine)));
            }
        }
    }
}
