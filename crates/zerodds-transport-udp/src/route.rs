//! Which one of a peer's addresses a message goes to. A pure function: a peer, a picture of our network, an
//! answer.
//!
//! ```text
//!   the first usable locator is a group ──▶ the group
//!   the peer is on this host            ──▶ loopback, if announced · else an address that is ours
//!   otherwise                           ──▶ the address in the smallest subnet that we are connected to
//!                                           · else one that equals ours, unless the tags say: elsewhere
//!                                           · else the first · never loopback, which is ourselves
//! ```
//! **On this host** is not what it seems: every Docker host owns `172.17.0.1`. So a peer counts as local when
//! *all* its addresses are ours (or loopback), and never where the host tags of shared memory differ. That they
//! agree says nothing: those of two machines do that were restored from one snapshot. A local peer that is mistaken for a remote
//! one still gets its messages, by the address that it announced, or that it announces next; the reverse would lose them all.
//!
//! The choice is made anew for every send: it costs less than looking it up, and cannot be stale.

use crate::interfaces::{InterfaceTable, is_link_local_v6};
use crate::socket::Family;
use std::net::{IpAddr, SocketAddr};
use zerodds_core::{HostTag, Peer, Reason};

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To one address.
    Unicast(SocketAddr),
    /// To a multicast group, on every interface.
    Group(SocketAddr),
}

/// What the choice depends on besides the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) table: &'a InterfaceTable,
    pub(crate) host_tag: Option<HostTag>,
    /// Whether there is a socket that sends to IPv6.
    pub(crate) ipv6: bool,
}

/// Where a peer is, as far as its locators tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    /// On this host.
    Here,
    /// On another host, whatever its addresses.
    Elsewhere,
    /// Not all of its addresses are ours, and no host tag says more.
    Unclear,
}

/// How good an address is; greater is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Behind a router, as far as we know, by IPv6, which may not get that far.
    RoutedV6,
    /// Behind a router, as far as we know.
    Routed,
    /// It equals one of ours, but the peer may be elsewhere.
    Shared,
    /// In a subnet that we are connected to; the fewer host bits, the closer.
    Connected { closeness: u8 },
    /// It equals one of ours, and the peer is here.
    Ours,
    /// The peer is here and announced loopback.
    Loopback,
}

impl Surroundings<'_> {
    /// The best of the peer's addresses.
    ///
    /// # Errors
    /// [`Reason::NoLocator`] where the peer announced none that UDP can use; [`Reason::DifferentHost`] where
    /// none of them leads to the host it is on.
    pub(crate) fn route(&self, peer: Peer<'_>) -> Result<Route, Reason> {
        let whereabouts = self.whereabouts(peer);
        let mut best: Option<(Rank, SocketAddr)> = None;
        for address in self.addresses(peer) {
            if address.ip().is_multicast() {
                if best.is_none() {
                    return Ok(Route::Group(address));
                }
            } else if let Some(rank) = self.rank(address.ip(), whereabouts)
                && best.is_none_or(|(so_far, _)| rank > so_far)
            {
                best = Some((rank, address));
            }
        }
        match best {
            Some((_, address)) => Ok(Route::Unicast(address)),
            None if self.addresses(peer).next().is_some() => Err(Reason::DifferentHost),
            None => Err(Reason::NoLocator),
        }
    }

    fn whereabouts(&self, peer: Peer<'_>) -> Whereabouts {
        let mut unicast = self.addresses(peer).map(|address| address.ip()).filter(|ip| !ip.is_multicast());
        if self.has_another_host_tag(peer) {
            Whereabouts::Elsewhere
        } else if unicast.all(|ip| ip.is_loopback() || self.table.owns(ip)) {
            Whereabouts::Here
        } else {
            Whereabouts::Unclear
        }
    }

    /// Whether the peer's shared-memory locators carry another tag than ours, where both are known.
    fn has_another_host_tag(&self, peer: Peer<'_>) -> bool {
        let mut tags = peer.locators.iter().filter_map(|locator| locator.host_tag()).peekable();
        tags.peek().is_some() && self.host_tag.is_some_and(|ours| tags.all(|tag| tag != ours))
    }

    /// The peer's addresses that our sockets could send to at all.
    fn addresses<'p>(&self, peer: Peer<'p>) -> impl Iterator<Item = SocketAddr> + Clone + use<'p> {
        let ipv6 = self.ipv6;
        peer.locators.iter().filter_map(|locator| locator.socket_addr()).filter(move |address| {
            let ip = address.ip();
            let family = Family::of(ip) == Family::V4 || ipv6;
            family && !ip.is_unspecified() && !is_link_local_v6(&ip) && ip == ip.to_canonical()
        })
    }

    /// How good this address is for that peer, if it leads there at all.
    fn rank(&self, ip: IpAddr, whereabouts: Whereabouts) -> Option<Rank> {
        let connected = |host_bits| Rank::Connected { closeness: u8::MAX - host_bits };
        let routed = if ip.is_ipv4() { Rank::Routed } else { Rank::RoutedV6 };
        match whereabouts {
            Whereabouts::Here if ip.is_loopback() => Some(Rank::Loopback),
            _ if ip.is_loopback() => None,
            _ if !self.table.owns(ip) => Some(self.table.subnet(ip).map_or(routed, connected)),
            Whereabouts::Here => Some(Rank::Ours),
            Whereabouts::Unclear => Some(Rank::Shared),
            Whereabouts::Elsewhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerodds_core::{Incarnation, Locator};

    fn network() -> InterfaceTable {
        InterfaceTable::of(&[
            ("lo", "127.0.0.1", 8, true),
            ("eth0", "192.0.2.7", 24, true),
            ("docker0", "172.17.0.1", 16, false),
            ("eth1", "192.0.2.129", 25, true),
            ("eth2", "fd00::7", 64, true),
        ])
    }

    fn locators(addresses: &[&str]) -> Vec<Locator> {
        addresses.iter().map(|text| Locator::from(text.parse::<SocketAddr>().unwrap())).collect()
    }

    fn tagged(tag: u8) -> Locator {
        Locator::shared_memory(HostTag::from_bytes([tag; 8]), Incarnation::from_bytes([9; 8]), 0)
    }

    fn route_of(locators: &[Locator], ours: Option<u8>) -> Result<Route, Reason> {
        let table = network();
        let host_tag = ours.map(|tag| HostTag::from_bytes([tag; 8]));
        Surroundings { table: &table, host_tag, ipv6: true }.route(Peer::new(locators))
    }

    fn route(addresses: &[&str]) -> Result<Route, Reason> {
        route_of(&locators(addresses), None)
    }

    fn to(address: &str) -> Result<Route, Reason> {
        Ok(Route::Unicast(address.parse().unwrap()))
    }

    #[test]
    fn a_peer_on_this_host_is_reached_by_loopback_if_it_announced_that() {
        assert_eq!(route(&["192.0.2.7:1", "127.0.0.1:1"]), to("127.0.0.1:1"));
        assert_eq!(route(&["127.0.0.1:1"]), to("127.0.0.1:1"));
        assert_eq!(route(&["[::1]:1"]), to("[::1]:1"));
    }

    #[test]
    fn a_peer_on_this_host_without_loopback_is_reached_by_an_address_that_is_ours() {
        assert_eq!(route(&["192.0.2.7:1", "172.17.0.1:1"]), to("192.0.2.7:1"));
    }

    #[test]
    fn a_copy_of_this_machine_with_the_same_tag_is_reached_by_an_address_that_is_not_ours() {
        let copy = [locators(&["172.17.0.1:1", "192.0.2.200:1"]), vec![tagged(1)]].concat();
        assert_eq!(route_of(&copy, Some(1)), to("192.0.2.200:1"));
    }

    #[test]
    fn loopback_of_another_host_is_never_chosen() {
        assert_eq!(route(&["127.0.0.1:1", "198.51.100.1:1"]), to("198.51.100.1:1"));
        let foreign = [locators(&["127.0.0.1:1", "192.0.2.7:1"]), vec![tagged(2)]].concat();
        assert_eq!(route_of(&foreign, Some(1)), Err(Reason::DifferentHost), "nor an address equal to ours");
        let only_loopback = [locators(&["127.0.0.1:1", "[::1]:1"]), vec![tagged(2)]].concat();
        assert_eq!(route_of(&only_loopback, Some(1)), Err(Reason::DifferentHost));
    }

    #[test]
    fn an_address_that_every_docker_host_has_does_not_make_a_peer_local() {
        assert_eq!(route(&["172.17.0.1:1", "198.51.100.1:1", "192.0.2.20:1"]), to("192.0.2.20:1"));
        assert_eq!(route(&["127.0.0.1:1", "172.17.0.1:1", "192.0.2.20:1"]), to("192.0.2.20:1"));
        let foreign = [locators(&["172.17.0.1:1", "192.0.2.20:1"]), vec![tagged(2)]].concat();
        assert_eq!(route_of(&foreign, Some(1)), to("192.0.2.20:1"));
        let routed = [locators(&["172.17.0.1:1", "198.51.100.1:1"]), vec![tagged(2)]].concat();
        assert_eq!(route_of(&routed, Some(1)), to("198.51.100.1:1"));
    }

    #[test]
    fn a_neighbour_on_this_host_with_one_stale_address_is_still_reached() {
        assert_eq!(route(&["198.51.100.1:1", "192.0.2.7:1"]), to("192.0.2.7:1"));
    }

    #[test]
    fn the_smallest_connected_subnet_wins_then_order() {
        assert_eq!(route(&["198.51.100.1:1", "192.0.2.20:1", "192.0.2.140:1"]), to("192.0.2.140:1"));
        assert_eq!(route(&["[fd00::9]:1", "192.0.2.20:1"]), to("192.0.2.20:1"));
        assert_eq!(route(&["203.0.113.1:1", "198.51.100.1:1"]), to("203.0.113.1:1"));
        assert_eq!(route(&["[2001:db8::1]:1", "198.51.100.1:1"]), to("198.51.100.1:1"));
    }

    #[test]
    fn a_group_is_used_where_it_is_the_first_usable_locator() {
        let group = Ok(Route::Group("239.255.0.1:7400".parse().unwrap()));
        assert_eq!(route(&["239.255.0.1:7400"]), group);
        assert_eq!(route(&["239.255.0.1:7400", "192.0.2.20:1"]), group);
        assert_eq!(route(&["192.0.2.20:1", "239.255.0.1:7400"]), to("192.0.2.20:1"));
        let foreign = [locators(&["127.0.0.1:1", "239.255.0.1:7400"]), vec![tagged(2)]].concat();
        assert_eq!(route_of(&foreign, Some(1)), group, "its loopback is not usable");
    }

    #[test]
    fn what_no_socket_can_send_to_is_passed_over() {
        assert_eq!(route(&["0.0.0.0:1", "[fe80::1]:1", "[::ffff:192.0.2.20]:1"]), Err(Reason::NoLocator));
        assert_eq!(route(&[]), Err(Reason::NoLocator));
        assert_eq!(route_of(&[tagged(1), Locator::new(16, 1, [1; 16])], None), Err(Reason::NoLocator));
        let table = network();
        let v4_only = Surroundings { table: &table, host_tag: None, ipv6: false };
        assert_eq!(v4_only.route(Peer::new(&locators(&["[fd00::9]:1"]))), Err(Reason::NoLocator));
    }

    proptest! {
        #[test]
        fn whatever_a_peer_announces_the_answer_is_one_of_its_own_addresses(
            wire in prop::collection::vec((1i32..4, 0u32..70_000, any::<[u8; 16]>()), 0..6),
        ) {
            let locators: Vec<_> = wire.iter().map(|&(kind, port, ip)| Locator::new(kind, port, ip)).collect();
            if let Ok(Route::Unicast(address) | Route::Group(address)) = route_of(&locators, Some(1)) {
                prop_assert!(locators.iter().any(|locator| locator.socket_addr() == Some(address)));
            }
        }
    }
}
