//! Where participants are now, by their last announcements.
//!
//! Dust takes the addresses of a participant when an endpoint of it is matched, and writes there for as long as it is: a later
//! announcement changes nothing of that (Dust 0.16, `ReaderProxy` and `WriterProxy`). So what it writes to addresses that the
//! participant has announced before goes to those that it announces now. Addresses of an endpoint's own, which no participant has
//! announced, stay as they are.
//!
//! An announcement may be anybody's: of lists without end nothing is kept, and of those before only what they hash to.

use crate::discovery;
use crate::rtps::{GuidPrefix, pid};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use zerodds_core::Locator;

/// Shared: the receive thread writes, Dust's thread reads.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// As many as have announced themselves and not left.
    all: RwLock<HashMap<GuidPrefix, Known>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    now: Announced<Vec<Locator>>,
    /// The ones before, which Dust may still have, as hashes: the first and the latest, which is last.
    before: Vec<Announced<u64>>,
}

/// What one announcement says, in its order, as Dust has it.
#[derive(Debug, PartialEq, Eq)]
struct Announced<L> {
    user: L,
    metatraffic: L,
}

impl Addresses {
    /// A participant announces itself by this payload.
    pub(crate) fn announced(&self, prefix: GuidPrefix, payload: &[u8]) {
        let of = |id| {
            let list: Vec<_> = discovery::locators(payload, id).take(LOCATORS_MAX + 1).collect();
            (list.len() <= LOCATORS_MAX).then_some(list)
        };
        let (user, metatraffic) = (of(pid::DEFAULT_UNICAST_LOCATOR), of(pid::METATRAFFIC_UNICAST_LOCATOR));
        let Some((user, metatraffic)) = user.zip(metatraffic) else { return };
        let now = Announced { user, metatraffic };
        if self.all.read().get(&prefix).is_some_and(|known| known.now == now) {
            return;
        }
        let mut all = self.all.write();
        let Some(known) = all.get_mut(&prefix) else {
            all.insert(prefix, Known { now, before: Vec::new() });
            return;
        };
        let old = self.hashed(&std::mem::replace(&mut known.now, now));
        if known.before.contains(&old) {
            return;
        }
        if known.before.len() >= BEFORE_MAX {
            // Not the first: Dust has it for the participant's own endpoints as long as it is there.
            known.before.remove(1);
        }
        known.before.push(old);
    }

    fn hashed(&self, Announced { user, metatraffic }: &Announced<Vec<Locator>>) -> Announced<u64> {
        Announced { user: self.hash(user), metatraffic: self.hash(metatraffic) }
    }

    fn hash(&self, locators: &[Locator]) -> u64 {
        self.hasher.hash_one(locators)
    }

    /// Where a message for this participant goes that Dust writes to these; `None`: there.
    pub(crate) fn instead_of(&self, locators: &[Locator], prefix: GuidPrefix) -> Option<Vec<Locator>> {
        let all = self.all.read();
        let Known { now, before } = all.get(&prefix)?;
        if before.is_empty() || [&now.user, &now.metatraffic].into_iter().any(|one| one == locators) {
            return None;
        }
        let written = self.hash(locators);
        let current = before.iter().find_map(|old| match written {
            user if user == old.user => Some(&now.user),
            metatraffic if metatraffic == old.metatraffic => Some(&now.metatraffic),
            _ => None,
        });
        current.filter(|current| !current.is_empty()).cloned()
    }

    /// Who is reached at this address of shared memory.
    pub(crate) fn at(&self, locator: &Locator) -> Vec<GuidPrefix> {
        let all = self.all.read();
        let here = all.iter().filter(|(_, known)| known.now.metatraffic.contains(locator));
        here.map(|(&prefix, _)| prefix).collect()
    }

    /// Where a participant hears discovery; nowhere, if that is not known.
    pub(crate) fn metatraffic(&self, prefix: GuidPrefix) -> Vec<Locator> {
        self.all.read().get(&prefix).map_or_else(Vec::new, |known| known.now.metatraffic.clone())
    }

    /// It is gone.
    pub(crate) fn forget(&self, prefix: GuidPrefix) {
        self.all.write().remove(&prefix);
    }
}

/// Changes of one participant's addresses that are remembered.
const BEFORE_MAX: usize = 32;
/// An announcement with more locators of a kind than this changes nothing here.
const LOCATORS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::MessageWriter;
    use zerodds_core::Endianness;

    const PREFIX: GuidPrefix = GuidPrefix(*b"on the move.");

    fn at(host: u8, port: u16) -> Locator {
        Locator::from(std::net::SocketAddr::from(([192, 0, 2, host], port)))
    }

    fn announce(addresses: &Addresses, host: u8) {
        announce_times(addresses, host, 1);
    }

    /// With each of its locators so many times.
    fn announce_times(addresses: &Addresses, host: u8, times: usize) {
        let mut payload = MessageWriter::new(&PREFIX.header(), Endianness::Little, 128);
        payload.verbatim(&[0, 3, 0, 0]);
        for (id, port) in [(pid::METATRAFFIC_UNICAST_LOCATOR, 7410), (pid::DEFAULT_UNICAST_LOCATOR, 7411)] {
            (0..times).for_each(|_| _ = payload.parameter(id, &at(host, port).to_bytes(Endianness::Little)));
        }
        payload.parameter(pid::SENTINEL, &[]);
        addresses.announced(PREFIX, &payload.into_bytes()[crate::rtps::HEADER_LEN..]);
    }

    #[test]
    fn who_has_moved_is_written_to_where_it_is_now_and_its_endpoints_own_addresses_stay() {
        let addresses = Addresses::default();
        let instead = |host, port| addresses.instead_of(&[at(host, port)], PREFIX);
        announce(&addresses, 1);
        assert_eq!(instead(1, 7411), None);
        announce(&addresses, 2);
        announce(&addresses, 3);
        for before in [1, 2] {
            assert_eq!(instead(before, 7411), Some(vec![at(3, 7411)]));
            assert_eq!(instead(before, 7410), Some(vec![at(3, 7410)]));
        }
        assert_eq!((instead(3, 7411), instead(3, 7410), instead(1, 9)), (None, None, None));
        announce(&addresses, 1);
        assert_eq!((instead(1, 7411), instead(3, 7411)), (None, Some(vec![at(1, 7411)])), "it is back");
        addresses.forget(PREFIX);
        assert_eq!(instead(3, 7411), None);
    }

    #[test]
    fn of_a_participant_that_moves_all_the_time_a_bounded_number_of_addresses_is_remembered() {
        let addresses = Addresses::default();
        (0..=255).for_each(|host| announce(&addresses, host));
        assert_eq!(addresses.all.read()[&PREFIX].before.len(), BEFORE_MAX);
        for before in [0, 254] {
            assert_eq!(addresses.instead_of(&[at(before, 7410)], PREFIX), Some(vec![at(255, 7410)]));
        }
    }

    #[test]
    fn of_a_participant_that_announces_more_addresses_than_any_host_has_those_before_are_kept() {
        let addresses = Addresses::default();
        announce_times(&addresses, 1, LOCATORS_MAX + 1);
        assert!(addresses.all.read().is_empty());
        announce_times(&addresses, 1, LOCATORS_MAX);
        announce_times(&addresses, 2, 2_000);
        announce(&addresses, 3);
        assert_eq!(addresses.instead_of(&[at(1, 7411); LOCATORS_MAX], PREFIX), Some(vec![at(3, 7411)]));
    }
}
