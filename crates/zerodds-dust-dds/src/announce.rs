//! Discovery among the participants of one host, with or without a network, and the goodbye of those that
//! could not say it.
//!
//! ```text
//!   Dust announces itself ──▶ multicast group
//!                        ├──▶ every same-host neighbour, through shared memory
//!                        ├──▶ ourselves
//!                        └──▶ kept: whoever becomes reachable later gets it then
//!   a neighbour died ──▶ what it could not say, made up for our own Dust: `estate`
//! ```
//! Announcements are idempotent, so a peer may get one by both paths; of whom it knows it heeds the one through shared memory. Received
//! ones are never passed on: everybody announces himself.
//!
//! A dead participant would otherwise be matched until its lease ends, 100 s for Dust, and every reliable
//! writer would wait for it. Who is at the other end of a link is learned from the RTPS header of what comes
//! through it.

use crate::outgoing::Outgoing;
use crate::rtps::{GuidPrefix, HEADER_LEN, MessageWriter, Parameters, pid};
use std::collections::HashMap;
use zerodds_core::{Endianness, Locator};

/// The participants at the other ends of our links.
#[derive(Debug, Default)]
pub(crate) struct Neighbourhood(HashMap<Locator, Neighbour>);

/// Who is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) prefix: GuidPrefix,
    /// It has said goodbye, though not through its link.
    pub(crate) is_leaving: bool,
}

impl Neighbourhood {
    /// Notes who speaks through the link of `peer`; the first word counts.
    pub(crate) fn note(&mut self, peer: Locator, prefix: GuidPrefix) {
        self.0.entry(peer).or_insert(Neighbour { prefix, is_leaving: false });
    }

    /// A participant says otherwise than through its link that it leaves, or announces itself; whether it has a link.
    pub(crate) fn set_leaving(&mut self, prefix: GuidPrefix, is_leaving: bool) -> bool {
        let mut is_linked = false;
        for neighbour in self.0.values_mut().filter(|one| one.prefix == prefix) {
            neighbour.is_leaving = is_leaving;
            is_linked = true;
        }
        is_linked
    }

    /// Who has a link with us. The kernel would tell of their death, so they live, however long they are silent: stopped by a
    /// debugger, frozen with their container.
    pub(crate) fn linked(&self) -> impl Iterator<Item = GuidPrefix> {
        self.0.values().map(|one| one.prefix)
    }

    /// The link of `peer` ended: who that was.
    pub(crate) fn unlinked(&mut self, peer: &Locator) -> Option<Neighbour> {
        self.0.remove(peer)
    }
}

/// Our own announcement with the locators as they are now: Dust knows only those of the participant's first
/// moment, and interfaces come and go. As many of UDP as `len_max` octets have room for, and how many were left out: what is longer
/// than a datagram nobody on another host would hear. `None` if it is no announcement that can be read.
pub(crate) fn refreshed(
    message: &[u8],
    outgoing: &Outgoing,
    user: &[Locator],
    metatraffic: &[Locator],
    len_max: usize,
) -> Option<(Vec<u8>, usize)> {
    let data = outgoing.data(message)?;
    let [0, 3, _, _, list @ ..] = data.payload else { return None };
    let before = &message[..outgoing.end - data.payload.len()];
    let header = message.first_chunk()?;
    let mut fresh = MessageWriter::new(header, Endianness::Little, message.len() + LOCATOR_LEN * user.len());
    fresh.verbatim(&before[HEADER_LEN..]).verbatim(&[0, 3, 0, 0]);
    for parameter in Parameters::of(list, Endianness::Little) {
        let (id, _, value) = parameter.ok()?;
        if !matches!(id, pid::DEFAULT_UNICAST_LOCATOR | pid::METATRAFFIC_UNICAST_LOCATOR) {
            fresh.parameter(id, value);
        }
    }
    // Of each kind alike.
    let each = len_max.saturating_sub(fresh.len() + SENTINEL_LEN) / LOCATOR_LEN / 2;
    let mut left_out = 0;
    for (id, locators) in
        [(pid::DEFAULT_UNICAST_LOCATOR, user), (pid::METATRAFFIC_UNICAST_LOCATOR, metatraffic)]
    {
        let is_shm = |locator: &&Locator| locator.raw_kind() == Locator::KIND_SHARED_MEMORY;
        let (shm, udp): (Vec<&Locator>, Vec<&Locator>) = locators.iter().partition(is_shm);
        let room = each.saturating_sub(shm.len());
        left_out = left_out.max(udp.len().saturating_sub(room));
        for locator in udp.into_iter().take(room).chain(shm) {
            fresh.parameter(id, &locator.to_bytes(Endianness::Little));
        }
    }
    fresh.parameter(pid::SENTINEL, &[]);
    let mut fresh = fresh.into_bytes();
    // The DATA is the last submessage and extends to the end.
    fresh[outgoing.offset + 2..][..2].fill(0);
    Some((fresh, left_out))
}

const SENTINEL_LEN: usize = 4;
/// Octets of a locator parameter.
const LOCATOR_LEN: usize = 4 + Locator::WIRE_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::{Content, DataFields, EntityId, Submessages, flag};

    const PREFIX: GuidPrefix = GuidPrefix(*b"the departed");
    const PEER: Locator = Locator::new(Locator::KIND_SHARED_MEMORY, 0, [1; 16]);

    #[test]
    fn who_spoke_first_through_a_link_is_at_its_other_end_until_it_ends() {
        let mut neighbourhood = Neighbourhood::default();
        neighbourhood.note(PEER, PREFIX);
        neighbourhood.note(PEER, GuidPrefix([7; 12]));
        assert!(neighbourhood.linked().eq([PREFIX]));
        let expected = Neighbour { prefix: PREFIX, is_leaving: false };
        assert_eq!(neighbourhood.unlinked(&PEER), Some(expected), "the first word counts");
        assert_eq!(neighbourhood.unlinked(&PEER), None, "it ends once");
        assert_eq!(neighbourhood.linked().next(), None);
    }

    fn at(port: u16) -> Locator {
        Locator::from(std::net::SocketAddr::from(([192, 0, 2, 1], port)))
    }

    /// An announcement as Dust writes it.
    fn announcement() -> Vec<u8> {
        let mut message = MessageWriter::new(&PREFIX.header(), Endianness::Little, 256);
        let (reader, writer) = (EntityId::UNKNOWN, EntityId::SPDP_WRITER);
        message
            .open_data(DataFields { flags: flag::DATA, reader, writer, sequence_number: 1 })
            .verbatim(&[0, 3, 0, 0])
            .parameter(pid::DEFAULT_UNICAST_LOCATOR, &at(1).to_bytes(Endianness::Little))
            .parameter(pid::PARTICIPANT_GUID, &[7; 16])
            .parameter(pid::METATRAFFIC_UNICAST_LOCATOR, &at(2).to_bytes(Endianness::Little))
            .parameter(pid::SENTINEL, &[]);
        let mut message = message.into_bytes();
        let len = message.len() - HEADER_LEN - 4;
        message[HEADER_LEN + 2..][..2].copy_from_slice(&(len as u16).to_le_bytes());
        message
    }

    /// What is announced with these locators in this many octets, and how many are left out.
    fn announced(user: &[Locator], metatraffic: &[Locator], len_max: usize) -> (Vec<(u16, Vec<u8>)>, usize) {
        let message = announcement();
        let outgoing = Outgoing::read(&message).expect("a message");
        let fresh = refreshed(&message, &outgoing, user, metatraffic, len_max);
        let (fresh, left_out) = fresh.expect("an announcement");
        assert!(fresh.len() <= len_max, "{} octets of {len_max}", fresh.len());
        let submessage = Submessages::of(&fresh).next().expect("one").expect("whole");
        let Ok(Content::Data(data)) = Content::read(&submessage) else { panic!("no DATA") };
        let found = Parameters::of(&data.payload[4..], Endianness::Little)
            .map(|parameter| parameter.map(|(id, _, value)| (id, value.to_vec())).expect("whole"))
            .collect();
        (found, left_out)
    }

    fn octets(locator: Locator) -> Vec<u8> {
        locator.to_bytes(Endianness::Little).to_vec()
    }

    #[test]
    fn an_announcement_carries_the_locators_of_now_and_everything_else_of_before() {
        let expected = [
            (pid::PARTICIPANT_GUID, vec![7; 16]),
            (pid::DEFAULT_UNICAST_LOCATOR, octets(at(3))),
            (pid::DEFAULT_UNICAST_LOCATOR, octets(at(4))),
            (pid::METATRAFFIC_UNICAST_LOCATOR, octets(at(5))),
        ];
        assert_eq!(announced(&[at(3), at(4)], &[at(5)], 1 << 16), (expected.to_vec(), 0));
    }

    #[test]
    fn an_announcement_is_no_longer_than_a_datagram_and_says_both_ways_to_as_many_addresses() {
        let locators = |from: u16| (from..from + 40).map(at).chain([PEER]).collect::<Vec<_>>();
        let (found, left_out) = announced(&locators(100), &locators(200), 1232);
        let of = |wanted| found.iter().filter(move |&&(id, _)| id == wanted).map(|(_, value)| value.clone());
        let kept = 40 - left_out;
        assert!((15..40).contains(&kept), "{kept} of each kind");
        for (id, first) in [(pid::DEFAULT_UNICAST_LOCATOR, 100), (pid::METATRAFFIC_UNICAST_LOCATOR, 200)] {
            let expected = (first..).map(at).take(kept).chain([PEER]).map(octets);
            assert!(of(id).eq(expected), "the first ones, and shared memory");
        }
    }
}
