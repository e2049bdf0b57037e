//! What may stand in a discovery payload before Dust reads it (DDSI-RTPS 2.5 §8.5, §9.6.3).
//!
//! Dust 0.16 reads SPDP and SEDP on its only thread, and believes the counts inside: it subtracts one from the
//! length of a string, which may be 0, and reserves memory for as many elements as a sequence claims, which may
//! be four thousand million. Either ends the process. So counts are checked here, and type information, whose
//! nesting only an XTypes reader could check, is taken out: these participants match by type name.
//!
//! Big-endian payloads are checked and pass, but Dust reads an announcement (SPDP) in none of them: the first octets of its
//! encapsulation look like the id of the lease, of no length. A participant that announces itself so is not discovered.

use crate::rtps::{Guid, Malformed, Parameters, pid};
use std::time::Duration;
use zerodds_core::{Endianness, Locator};

/// Checks a discovery payload, and lists where in it two octets have to be blanked (made `PID_PAD`): ids of parameters
/// that Dust must not see, and the options of the encapsulation.
///
/// Dust reads the four octets of encapsulation as if they were a parameter, whose length the options then are: with others
/// than 0 it would read on from somewhere else than what is checked here. It reads parameters in the byte order that
/// the encapsulation says, and refuses other encapsulations.
pub(crate) fn check(payload: &[u8]) -> Result<Vec<usize>, Malformed> {
    // An empty payload goes with a dispose.
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let (order, list) = parameters(payload).ok_or(Malformed::ParameterList)?;
    let mut blanked = Vec::new();
    if payload[OPTIONS_AT..ENCAPSULATION_LEN] != [0, 0] {
        blanked.push(OPTIONS_AT);
    }
    for parameter in Parameters::of(list, order) {
        let (id, offset, value) = parameter?;
        match id {
            pid::TYPE_INFORMATION => blanked.push(ENCAPSULATION_LEN + offset),
            pid::DOMAIN_TAG => check_string(value, order).map(|_| ())?,
            pid::PARTITION => check_strings(value, order)?,
            pid::DATA_REPRESENTATION => check_count(value, order, 2).map(|_| ())?,
            _ => {}
        }
    }
    Ok(blanked)
}

/// The first parameter with this id, as Dust finds it, in a payload that was checked: where its value begins, the value, and
/// its byte order.
fn parameter(payload: &[u8], wanted: u16) -> Option<(usize, &[u8], Endianness)> {
    let (order, list) = parameters(payload)?;
    let mut parameters = Parameters::of(list, order).map_while(Result::ok);
    let (_, offset, value) = parameters.find(|&(id, ..)| id == wanted)?;
    Some((ENCAPSULATION_LEN + offset + PARAMETER_HEADER_LEN, value, order))
}

/// The byte order of a discovery payload, and its parameters.
fn parameters(payload: &[u8]) -> Option<(Endianness, &[u8])> {
    match payload {
        [0, 2, _, _, list @ ..] => Some((Endianness::Big, list)),
        [0, 3, _, _, list @ ..] => Some((Endianness::Little, list)),
        _ => None,
    }
}

/// The locators of this kind that a participant announces, in its order.
pub(crate) fn locators(payload: &[u8], kind: u16) -> impl Iterator<Item = Locator> {
    let of_list = move |(order, list)| {
        let all = Parameters::of(list, order).map_while(Result::ok);
        let values = all.filter(move |&(id, ..)| id == kind).map(|(.., value)| value);
        values.filter_map(move |value| Some(Locator::from_bytes(value.try_into().ok()?, order)))
    };
    parameters(payload).into_iter().flat_map(of_list)
}

/// Where a participant hears discovery, as it announces: through shared memory first, as it may say so last.
pub(crate) fn discovery_locators(payload: &[u8]) -> Vec<Locator> {
    let is_shm = |locator: &Locator| locator.raw_kind() == Locator::KIND_SHARED_MEMORY;
    let all = || locators(payload, pid::METATRAFFIC_UNICAST_LOCATOR);
    let (shm, others) = (all().filter(is_shm), all().filter(|locator| !is_shm(locator)));
    shm.chain(others).take(LOCATORS_MAX).collect()
}

/// Whom a discovery payload is about.
pub(crate) fn guid(payload: &[u8], id: u16) -> Option<Guid> {
    Guid::of(parameter(payload, id)?.1)
}

/// Whether an announced reader is reliable; one that does not say so is not (§9.6.3.2, DDS 1.4 §2.2.3).
pub(crate) fn is_reliable_reader(payload: &[u8]) -> bool {
    match parameter(payload, pid::RELIABILITY) {
        Some((_, &[a, b, c, d, ..], Endianness::Big)) => u32::from_be_bytes([a, b, c, d]) == RELIABLE,
        Some((_, &[a, b, c, d, ..], Endianness::Little)) => u32::from_le_bytes([a, b, c, d]) == RELIABLE,
        _ => false,
    }
}

/// Whether an announced reader matches no writer whose type it was not told (XTypes 1.3 §7.6.3.7).
pub(crate) fn forces_type_validation(payload: &[u8]) -> bool {
    matches!(parameter(payload, pid::TYPE_CONSISTENCY), Some((_, [_, _, _, _, _, _, forced, ..], _)) if *forced != 0)
}

/// Whether an announced endpoint or topic comes with the description of its type.
pub(crate) fn has_type_information(payload: &[u8]) -> bool {
    parameter(payload, pid::TYPE_INFORMATION).is_some()
}

/// How long the participant of an announcement may be silent, and where in the payload that stands, if it does; `None`: for
/// ever.
pub(crate) fn lease(payload: &[u8]) -> (Option<Duration>, Option<usize>) {
    let Some((at, &[a, b, c, d, e, f, g, h, ..], order)) =
        parameter(payload, pid::PARTICIPANT_LEASE_DURATION)
    else {
        return (Some(LEASE_UNSAID), None);
    };
    let (seconds, fraction) = match order {
        Endianness::Big => (i32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])),
        Endianness::Little => (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
    };
    let part = Duration::from_nanos((u64::from(fraction) * 1_000_000_000) >> 32);
    let lease = Duration::from_secs(seconds.max(0).unsigned_abs().into()) + part;
    ((seconds < i32::MAX).then_some(lease), Some(at))
}

/// A sequence's elements, if its count fits what is there; `element_len_min` octets each.
fn check_count(value: &[u8], order: Endianness, element_len_min: usize) -> Result<(usize, &[u8]), Malformed> {
    let (count, rest) = value.split_first_chunk::<4>().ok_or(Malformed::ParameterList)?;
    let count = match order {
        Endianness::Big => u32::from_be_bytes(*count),
        Endianness::Little => u32::from_le_bytes(*count),
    } as usize;
    if count <= rest.len() / element_len_min { Ok((count, rest)) } else { Err(Malformed::ParameterList) }
}

/// A string with its terminator, and what follows it.
fn check_string(value: &[u8], order: Endianness) -> Result<&[u8], Malformed> {
    match check_count(value, order, 1)? {
        (0, _) => Err(Malformed::ParameterList),
        (len, rest) => Ok(&rest[len..]),
    }
}

fn check_strings(value: &[u8], order: Endianness) -> Result<(), Malformed> {
    let (count, mut rest) = check_count(value, order, 5)?;
    for _ in 0..count {
        let padding = (value.len() - rest.len()).next_multiple_of(4) - (value.len() - rest.len());
        rest = check_string(rest.get(padding..).ok_or(Malformed::ParameterList)?, order)?;
    }
    Ok(())
}

/// A lease whose end Dust does not see, in either byte order: some years.
pub(crate) const LEASE_FOR_EVER: [u8; 8] = [0x7f, 0, 0, 0x7f, 0, 0, 0, 0];
/// A participant is told what it is to hear at no more of its addresses than this.
const LOCATORS_MAX: usize = 16;
/// A reliability kind (§9.3.2).
const RELIABLE: u32 = 2;
const OPTIONS_AT: usize = 2;
pub(crate) const ENCAPSULATION_LEN: usize = 4;
const PARAMETER_HEADER_LEN: usize = 4;
/// The lease of a participant that does not say any (§9.6.3.2).
const LEASE_UNSAID: Duration = Duration::from_secs(100);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A little-endian parameter list of one parameter.
    fn list(id: u16, value: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 3, 0, 0];
        payload.extend_from_slice(&id.to_le_bytes());
        payload.extend_from_slice(&(value.len() as u16).to_le_bytes());
        payload.extend_from_slice(value);
        payload.extend_from_slice(&[1, 0, 0, 0]);
        payload
    }

    #[test]
    fn a_string_of_no_length_at_all_is_refused() {
        assert_eq!(check(&list(pid::DOMAIN_TAG, &[0, 0, 0, 0])), Err(Malformed::ParameterList));
        assert_eq!(check(&list(pid::DOMAIN_TAG, &[1, 0, 0, 0, 0, 0, 0, 0])), Ok(vec![]));
    }

    #[test]
    fn a_count_beyond_what_is_there_is_refused() {
        for id in [pid::PARTITION, pid::DATA_REPRESENTATION, pid::DOMAIN_TAG] {
            assert!(check(&list(id, &[255, 255, 255, 255, 0, 0, 0, 0])).is_err());
            assert!(check(&list(id, &[])).is_err());
        }
        assert!(check(&list(pid::DATA_REPRESENTATION, &[2, 0, 0, 0, 0, 0, 2, 0])).is_ok());
    }

    #[test]
    fn partitions_are_followed_with_their_padding() {
        let two = [2, 0, 0, 0, 2, 0, 0, 0, b'a', 0, 0, 0, 4, 0, 0, 0, b'a', b'b', b'c', 0];
        assert!(check(&list(pid::PARTITION, &two)).is_ok());
        let mut long = two;
        long[12] = 9;
        assert!(check(&list(pid::PARTITION, &long)).is_err());
    }

    #[test]
    fn of_many_addresses_those_of_shared_memory_are_used_wherever_they_stand() {
        let udp = (1..=20).map(|port| Locator::new(1, port, [1; 16]));
        let shm = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [7; 16]);
        let parameter = |locator: Locator| {
            let mut list = list(pid::METATRAFFIC_UNICAST_LOCATOR, &locator.to_bytes(Endianness::Little));
            list.drain(..ENCAPSULATION_LEN);
            list.truncate(list.len() - 4);
            list
        };
        let all: Vec<_> = udp.clone().chain([shm]).flat_map(parameter).collect();
        let payload = [&[0, 3, 0, 0][..], &all, &[1, 0, 0, 0]].concat();
        assert_eq!(discovery_locators(&payload), Vec::from_iter([shm].into_iter().chain(udp.take(15))));
    }

    #[test]
    fn a_reader_is_reliable_only_if_it_says_so_in_whatever_byte_order() {
        let [reliable, best_effort] =
            [2_u8, 1].map(|kind| list(pid::RELIABILITY, &[kind, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
        let big = [0, 2, 0, 0, 0, 0x1a, 0, 4, 0, 0, 0, 2, 0, 1, 0, 0];
        assert!(is_reliable_reader(&reliable) && is_reliable_reader(&big));
        let unsaid = list(0x8005, &[2, 0, 0, 0]);
        let short = list(pid::RELIABILITY, &[]);
        assert!(![&best_effort[..], &unsaid, &short, &[]].iter().any(|payload| is_reliable_reader(payload)));
    }

    #[test]
    fn type_information_is_blanked_where_it_stands() {
        let payload = list(pid::TYPE_INFORMATION, &[0xff; 8]);
        assert_eq!(check(&payload), Ok(vec![4]));
        assert_eq!(payload[4..6], pid::TYPE_INFORMATION.to_le_bytes());
    }

    #[test]
    fn options_that_would_move_dust_to_what_was_not_checked_are_blanked() {
        let hidden = [
            &[0x50, 0, 16, 0][..],
            &[7; 16],
            &pid::DOMAIN_TAG.to_le_bytes(),
            &[4, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0],
        ];
        let mut payload = list(0x8005, &hidden.concat());
        payload[2] = 4;
        assert_eq!(check(&payload), Ok(vec![2]));
        payload[2..4].fill(0);
        assert_eq!(check(&payload), Ok(vec![]));
    }

    #[test]
    fn another_encapsulation_and_a_list_without_an_end_are_refused() {
        assert!(check(&[0, 1, 0, 0, 1, 0, 0, 0]).is_err());
        assert!(check(&[0, 3, 0, 0]).is_err());
        assert!(check(&[]).is_ok());
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), little in any::<bool>()) {
            let _ = check(&payload);
            let mut listed = vec![0, if little { 3 } else { 2 }, 0, 0];
            listed.extend_from_slice(&payload);
            let _ = check(&listed);
        }
    }
}
