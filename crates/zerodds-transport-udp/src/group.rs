//! The multicast groups that announcements come in by, and on which interfaces we are members.
//!
//! DDSI-RTPS 2.5 §9.6.2.4.1 fixes the IPv4 group, 239.255.0.1. It names none for IPv6; ours is the one that
//! Cyclone DDS uses, which is the same number within the link.
//!
//! Membership follows the interface table: joined where an interface appears, left where one goes. A join
//! that fails (no multicast on that interface, the system's limit of memberships) is said once and is no
//! error: announcements still come by the other interfaces.

use crate::interfaces::Link;
use crate::network::Network;
use crate::socket::{Family, Listener};
use parking_lot::Mutex;
use socket2::InterfaceIndexOrAddress;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One group and the socket that hears it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) listener: Arc<Listener>,
    family: Family,
    port: u16,
    members: Mutex<Membership>,
    /// The last multicast did not come back by any interface.
    unheard: AtomicBool,
}

#[derive(Debug, Default)]
struct Membership {
    /// Indices of the interfaces joined.
    joined: BTreeSet<u32>,
    /// Indices of those that refused.
    refused: BTreeSet<u32>,
}

impl Group {
    /// Binds to the domain's port. A member of nothing yet.
    pub(crate) fn bind(family: Family, port: u16, buffer: usize) -> io::Result<Self> {
        let listener = Arc::new(Listener::multicast(family, port, buffer)?);
        Ok(Self { listener, family, port, members: Mutex::default(), unheard: AtomicBool::new(false) })
    }

    /// The group's address and the domain's port.
    pub(crate) const fn address(&self) -> SocketAddr {
        match self.family {
            Family::V4 => SocketAddr::new(IpAddr::V4(ANNOUNCEMENTS_V4), self.port),
            Family::V6 => SocketAddr::new(IpAddr::V6(ANNOUNCEMENTS_V6), self.port),
        }
    }

    /// Joins where the network has new interfaces, and leaves those that are gone.
    pub(crate) fn follow(&self, network: &Network) {
        let mut members = self.members.lock();
        // Read under the lock, so that of two threads the later one has the newer table.
        let links = network.table().links(self.family);
        let present: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        for &gone in members.joined.difference(&present) {
            // Fails where the interface took the membership with it.
            let _ = self.leave(gone);
        }
        members.joined.retain(|index| present.contains(index));
        members.refused.retain(|index| present.contains(index));
        let mut refusals = Vec::new();
        for link in links {
            if !members.joined.contains(&link.index)
                && let Err(error) = self.try_join(&link, &mut members)
            {
                refusals.push((link, error));
            }
        }
        // Whoever hears of it may publish what it hears.
        drop(members);
        for (link, error) in refusals {
            tracing::warn!(
                interface = link.name, group = %self.address().ip(), %error,
                "cannot join the multicast group: participants are not discovered by this interface \
                 (ZERODDS_UDP_INTERFACES chooses others)"
            );
        }
    }

    /// Whether what is sent on this interface comes back.
    pub(crate) fn is_member(&self, index: u32) -> bool {
        self.members.lock().joined.contains(&index)
    }

    /// Notes whether the last multicast came back, and says so when that changes.
    pub(crate) fn note(&self, comes_back: bool) {
        let unheard = !comes_back;
        // ORDER: Relaxed, here and below; of threads that find the same only one says so, and nothing else hangs on it.
        if self.unheard.swap(unheard, Ordering::Relaxed) != unheard {
            let group = self.address();
            if unheard {
                tracing::warn!(
                    %group,
                    "multicast does not come back to this host: UDP discovery finds nobody here until an \
                     interface carries it (ZERODDS_UDP_INTERFACES chooses which)"
                );
            } else {
                tracing::info!(%group, "multicast works again");
            }
        }
    }

    /// Whether a multicast can be expected to come back to the participants of this host.
    pub(crate) fn works(&self) -> bool {
        !self.unheard.load(Ordering::Relaxed) && !self.members.lock().joined.is_empty()
    }

    /// # Errors
    /// The refusal, if it is the first by this interface.
    fn try_join(&self, link: &Link, members: &mut Membership) -> io::Result<()> {
        match self.join(link.index) {
            Ok(()) => {
                members.refused.remove(&link.index);
                members.joined.insert(link.index);
                Ok(())
            }
            Err(error) if members.refused.insert(link.index) => Err(error),
            Err(_) => Ok(()),
        }
    }

    fn join(&self, index: u32) -> io::Result<()> {
        let socket = &self.listener.socket;
        match self.family {
            Family::V4 => {
                socket.join_multicast_v4_n(&ANNOUNCEMENTS_V4, &InterfaceIndexOrAddress::Index(index))
            }
            Family::V6 => socket.join_multicast_v6(&ANNOUNCEMENTS_V6, index),
        }
    }

    fn leave(&self, index: u32) -> io::Result<()> {
        let socket = &self.listener.socket;
        match self.family {
            Family::V4 => {
                socket.leave_multicast_v4_n(&ANNOUNCEMENTS_V4, &InterfaceIndexOrAddress::Index(index))
            }
            Family::V6 => socket.leave_multicast_v6(&ANNOUNCEMENTS_V6, index),
        }
    }
}

const ANNOUNCEMENTS_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
const ANNOUNCEMENTS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0xffff, 0xefff, 0x0001);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::InterfaceTable;
    use zerodds_core::testing::heard;

    #[test]
    fn whoever_hears_that_an_interface_has_no_multicast_can_multicast_at_once() {
        let network = Network::new(&[], None, |_| {
            Ok(InterfaceTable::of(&[("eth0", "fd00::7", 64, true), ("eth1", "fd01::7", 64, true)]))
        });
        // A socket of IPv4 joins no group of IPv6.
        let v4 = Group::bind(Family::V4, 0, 4096).unwrap();
        let group = Arc::new(Group { family: Family::V6, ..v4 });
        let follow = || {
            let heard_of = Arc::clone(&group);
            heard(move || heard_of.members.try_lock().is_some(), || group.follow(&network))
        };
        assert_eq!((follow(), follow()), (2, 0), "said of each, once");
    }
}
