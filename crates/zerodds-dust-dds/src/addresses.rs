//! Where participants are now, by their last announcements.
//!
//! Dust takes the addresses of a participant when an endpoint of it is matched, and writes there for as long as it is: a later
//! announcement changes nothing of that (Dust 0.16, `ReaderProxy` and `WriterProxy`). So what it writes to addresses that the
//! participant has announced before goes to those that it announces now. Addresses of an endpoint's own, which no participant has
//! announced, stay as they are.

use crate::discovery;
use crate::rtps::{GuidPrefix, pid};
use parking_lot::RwLock;
use std::collections::HashMap;
use zerodds_core::Locator;

/// Shared: the receive thread writes, Dust's thread reads. As many as have announced themselves and not left.
#[derive(Debug, Default)]
pub(crate) struct Addresses(RwLock<HashMap<GuidPrefix, Known>>);

#[derive(Debug)]
struct Known {
    now: Announced,
    /// The ones before, which Dust may still have; the latest last.
    before: Vec<Announced>,
}

/// What one announcement says, in its order, as Dust has it.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    user: Vec<Locator>,
    metatraffic: Vec<Locator>,
}

impl Addresses {
    /// A participant announces itself by this payload.
    pub(crate) fn announced(&self, prefix: GuidPrefix, payload: &[u8]) {
        let of = |id| discovery::locators(payload, id);
        let now = Announced {
            user: of(pid::DEFAULT_UNICAST_LOCATOR),
            metatraffic: of(pid::METATRAFFIC_UNICAST_LOCATOR),
        };
        if self.0.read().get(&prefix).is_some_and(|known| known.now == now) {
            return;
        }
        let mut all = self.0.write();
        let Some(known) = all.get_mut(&prefix) else {
            all.insert(prefix, Known { now, before: Vec::new() });
            return;
        };
        known.before.retain(|one| *one != now);
        if known.before.len() >= BEFORE_MAX {
            known.before.remove(0);
        }
        known.before.push(std::mem::replace(&mut known.now, now));
    }

    /// Where a message for this participant goes that Dust writes to these; `None`: there.
    pub(crate) fn instead_of(&self, locators: &[Locator], prefix: GuidPrefix) -> Option<Vec<Locator>> {
        let all = self.0.read();
        let Known { now, before } = all.get(&prefix)?;
        if before.is_empty() || [&now.user, &now.metatraffic].into_iter().any(|one| one == locators) {
            return None;
        }
        let current = before.iter().find_map(|old| match locators {
            user if user == old.user => Some(&now.user),
            metatraffic if metatraffic == old.metatraffic => Some(&now.metatraffic),
            _ => None,
        });
        current.filter(|current| !current.is_empty()).cloned()
    }

    /// It is gone.
    pub(crate) fn forget(&self, prefix: GuidPrefix) {
        self.0.write().remove(&prefix);
    }
}

/// Changes of one participant's addresses that are remembered.
const BEFORE_MAX: usize = 32;

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
        let mut payload = MessageWriter::new(&PREFIX.header(), Endianness::Little, 128);
        payload.verbatim(&[0, 3, 0, 0]);
        for (id, port) in [(pid::METATRAFFIC_UNICAST_LOCATOR, 7410), (pid::DEFAULT_UNICAST_LOCATOR, 7411)] {
            payload.parameter(id, &at(host, port).to_bytes(Endianness::Little));
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
        assert_eq!(addresses.0.read()[&PREFIX].before.len(), BEFORE_MAX);
    }
}
