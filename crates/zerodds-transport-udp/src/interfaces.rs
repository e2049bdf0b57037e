//! What this host's network looks like at one moment: every address, on which interface, in which subnet,
//! and which of them we were told to use.
//!
//! ```text
//!   getifaddrs ──▶ InterfaceTable ──▶ announced(): the addresses in our locators
//!                  (immutable,    ──▶ links():     where groups are joined and multicasts go out
//!                   replaced as   ──▶ owns(), subnet(): which of a peer's addresses is the best
//!                   a whole)
//! ```
//! A table never changes; a new scan makes a new one, so that no send sees half a change. Addresses of
//! interfaces that are down or were not chosen stay in it: the kernel still takes them for this host's own,
//! so a peer elsewhere that announces the same one (`172.17.0.1` of every Docker host) is not reached by it.

use crate::config::InterfaceChoice;
use crate::socket::Family;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;

/// Every address of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceTable {
    entries: Vec<Interface>,
    /// The interfaces were named by the user, so loopback is announced if it was.
    explicit: bool,
}

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interface {
    name: String,
    index: Option<u32>,
    ip: IpAddr,
    prefix_len: u8,
    /// Chosen by the configuration, and up with a carrier.
    usable: bool,
}

/// An interface that multicasts of one family go out by and come in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
}

impl InterfaceTable {
    /// Asks the system; `chosen` empty means all.
    pub(crate) fn scan(chosen: &[InterfaceChoice]) -> io::Result<Self> {
        Self::of_found(if_addrs::get_if_addrs()?, chosen)
    }

    fn of_found(found: Vec<if_addrs::Interface>, chosen: &[InterfaceChoice]) -> io::Result<Self> {
        let entries = found.into_iter().map(|found| {
            Ok(Interface {
                usable: found.is_oper_up() && is_chosen(chosen, &found.name, found.ip()),
                prefix_len: match &found.addr {
                    if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                    if_addrs::IfAddr::V6(v6) => v6.prefixlen,
                },
                ip: found.ip(),
                index: match found.index {
                    None => index(&found.name)?,
                    known => known,
                },
                name: found.name,
            })
        });
        Ok(Self { entries: entries.collect::<io::Result<_>>()?, explicit: !chosen.is_empty() })
    }

    /// The addresses of this family that peers should be told. Link-local IPv6 addresses are not among them,
    /// since a locator cannot carry their zone; loopback only where it was chosen by name or is all there is,
    /// since stacks that send to every locator would send to themselves.
    pub(crate) fn announced(&self, family: Family) -> Vec<IpAddr> {
        let of_family: Vec<_> = self.usable(family).filter(|ip| !is_link_local_v6(ip)).collect();
        if self.explicit || of_family.iter().all(IpAddr::is_loopback) {
            return of_family;
        }
        of_family.into_iter().filter(|ip| !ip.is_loopback()).collect()
    }

    /// The interfaces for multicasts of this family, once each, loopback last.
    pub(crate) fn links(&self, family: Family) -> Vec<Link> {
        let mut links = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.usable && Family::of(entry.ip) == family) {
            if let Some(index) = entry.index {
                links.entry((entry.ip.is_loopback(), index)).or_insert_with(|| Link {
                    name: entry.name.clone(),
                    index,
                    ip: entry.ip,
                });
            }
        }
        links.into_values().collect()
    }

    /// Whether the address is one of this host's, on whichever interface.
    pub(crate) fn owns(&self, ip: IpAddr) -> bool {
        self.entries.iter().any(|entry| entry.ip == ip)
    }

    /// How closely the address is connected: the bits that its subnet leaves to hosts, of the smallest subnet
    /// of a usable interface that it lies in.
    pub(crate) fn subnet(&self, ip: IpAddr) -> Option<u8> {
        self.entries
            .iter()
            .filter(|entry| entry.usable)
            .filter_map(|entry| host_bits(entry.ip, ip, entry.prefix_len))
            .min()
    }

    fn usable(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.entries
            .iter()
            .filter(move |entry| entry.usable && Family::of(entry.ip) == family)
            .map(|entry| entry.ip)
    }

    /// A table for tests: name, address, prefix length, usable.
    #[cfg(test)]
    pub(crate) fn of(entries: &[(&str, &str, u8, bool)]) -> Self {
        let entries = entries.iter().map(|&(name, ip, prefix_len, usable)| Interface {
            name: name.to_owned(),
            index: name.bytes().last().map(u32::from),
            ip: ip.parse().unwrap(),
            prefix_len,
            usable,
        });
        Self { entries: entries.collect(), explicit: false }
    }
}

impl fmt::Display for InterfaceTable {
    /// The usable addresses, as a log line wants them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut usable = self.entries.iter().filter(|entry| entry.usable).peekable();
        if usable.peek().is_none() {
            return f.write_str("none");
        }
        for (i, entry) in usable.enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}/{}", entry.name, entry.ip, entry.prefix_len)?;
        }
        Ok(())
    }
}

/// An IPv6 address that means nothing without the interface it belongs to.
pub(crate) fn is_link_local_v6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The index of an interface that was listed without one: for want of a descriptor or memory, which is an error here, or since it
/// has gone meanwhile or a filter denies it, which is none. Without an index nothing is joined there, and what is would be left.
#[cfg(target_os = "linux")]
fn index(name: &str) -> io::Result<Option<u32>> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    index_of_found(socket.and_then(|socket| name_to_index(socket, name)))
}

/// An error is what passes: the addresses are to be had without an index, and would not be if a scan failed for ever.
#[cfg(target_os = "linux")]
fn index_of_found(found: rustix::io::Result<u32>) -> io::Result<Option<u32>> {
    use rustix::io::Errno;
    match found {
        Err(wanting @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => Err(wanting.into()),
        found => Ok(found.ok()),
    }
}

#[cfg(not(target_os = "linux"))]
fn index(_: &str) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Linux lists an address that has a label by that instead, which is the interface's name, a colon and more.
fn is_chosen(chosen: &[InterfaceChoice], name: &str, ip: IpAddr) -> bool {
    let interface = name.split_once(':').map_or(name, |(interface, _)| interface);
    chosen.is_empty()
        || chosen.iter().any(|choice| match choice {
            InterfaceChoice::Name(wanted) => wanted == interface || wanted == name,
            InterfaceChoice::Address(wanted) => *wanted == ip,
        })
}

/// The bits left to hosts by the subnet of `member`, if `ip` lies in it.
fn host_bits(member: IpAddr, ip: IpAddr, prefix_len: u8) -> Option<u8> {
    let (width, differing) = match (member, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (32, u128::from(a.to_bits() ^ b.to_bits())),
        (IpAddr::V6(a), IpAddr::V6(b)) => (128, a.to_bits() ^ b.to_bits()),
        _ => return None,
    };
    let host_bits = width - u32::from(prefix_len).min(width);
    let same_subnet = differing.checked_shr(host_bits).unwrap_or(0) == 0;
    same_subnet.then(|| u8::try_from(host_bits).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_is_announced_only_where_nothing_else_can_be() {
        let table = InterfaceTable::of(&[("lo", "127.0.0.1", 8, true), ("eth0", "192.0.2.7", 24, true)]);
        assert_eq!(table.announced(Family::V4), [ip("192.0.2.7")]);
        let unplugged = InterfaceTable::of(&[("lo", "127.0.0.1", 8, true), ("eth0", "192.0.2.7", 24, false)]);
        assert_eq!(unplugged.announced(Family::V4), [ip("127.0.0.1")]);
        let chosen = InterfaceTable { explicit: true, ..table };
        assert_eq!(chosen.announced(Family::V4), [ip("127.0.0.1"), ip("192.0.2.7")]);
    }

    #[test]
    fn link_local_ipv6_addresses_are_never_announced() {
        let table = InterfaceTable::of(&[("eth0", "fe80::1", 64, true), ("eth0", "fd00::2", 64, true)]);
        assert_eq!(table.announced(Family::V6), [ip("fd00::2")]);
        assert_eq!(table.links(Family::V6).len(), 1, "but multicasts go out from them");
    }

    #[test]
    fn an_interface_with_two_addresses_is_one_link_and_loopback_comes_last() {
        let table = InterfaceTable::of(&[
            ("lo", "127.0.0.1", 8, true),
            ("eth0", "192.0.2.7", 24, true),
            ("eth0", "198.51.100.7", 24, true),
            ("eth1", "203.0.113.7", 24, false),
        ]);
        let links: Vec<_> = table.links(Family::V4).into_iter().map(|link| link.ip).collect();
        assert_eq!(links, [ip("192.0.2.7"), ip("127.0.0.1")]);
    }

    #[test]
    fn the_smallest_subnet_counts_and_interfaces_that_are_down_have_none() {
        let table = InterfaceTable::of(&[
            ("eth0", "10.0.0.1", 8, true),
            ("eth1", "10.1.2.3", 24, true),
            ("eth2", "203.0.113.7", 24, false),
            ("eth3", "fd00::2", 64, true),
        ]);
        assert_eq!(table.subnet(ip("10.1.2.200")), Some(8));
        assert_eq!(table.subnet(ip("10.9.9.9")), Some(24));
        assert_eq!(table.subnet(ip("203.0.113.8")), None);
        assert_eq!(table.subnet(ip("fd00::77")), Some(64));
        assert!(table.owns(ip("203.0.113.7")), "down, but still this host's");
    }

    #[test]
    fn odd_prefix_lengths_are_subnets_too() {
        let everything = InterfaceTable::of(&[("tun0", "10.0.0.1", 0, true), ("tun1", "fd00::1", 0, true)]);
        assert_eq!(everything.subnet(ip("198.51.100.1")), Some(32));
        assert_eq!(everything.subnet(ip("2001:db8::1")), Some(128));
        let alone = InterfaceTable::of(&[("wg0", "10.0.0.1", 32, true)]);
        assert_eq!((alone.subnet(ip("10.0.0.1")), alone.subnet(ip("10.0.0.2"))), (Some(0), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_whose_index_was_not_found_is_asked_for_and_an_error_where_no_descriptor_is_left() {
        let test = "interfaces::tests::an_interface_whose_index_was_not_found_is_asked_for_and_an_error_where_no_descriptor_is_left";
        if !crate::namespace::inside(test, "ip link set lo up && ulimit -n 64") {
            return;
        }
        let unindexed = || {
            let found = if_addrs::get_if_addrs().unwrap().into_iter();
            found.map(|found| if_addrs::Interface { index: None, ..found }).collect::<Vec<_>>()
        };
        let link = |table: &InterfaceTable| table.links(Family::V4).first().map(|link| link.index);
        let table = InterfaceTable::of_found(unindexed(), &[]).unwrap();
        assert_eq!(link(&table), Some(1));
        let found = unindexed();
        let _all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        assert!(InterfaceTable::of_found(found, &[]).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_whose_index_is_denied_has_none_and_costs_no_addresses() {
        use rustix::io::Errno;
        for denied in [Errno::PERM, Errno::ACCESS, Errno::NOSYS, Errno::NODEV] {
            assert_eq!(index_of_found(Err(denied)).unwrap(), None);
        }
        for wanting in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(index_of_found(Err(wanting)).is_err(), "{wanting}");
        }
    }

    #[test]
    fn the_loopback_interface_of_this_host_is_found_by_name_and_by_address() {
        let name = if cfg!(target_os = "linux") { "lo" } else { "lo0" };
        for choice in [InterfaceChoice::Name(name.into()), InterfaceChoice::Address(ip("127.0.0.1"))] {
            let announced = InterfaceTable::scan(&[choice]).unwrap().announced(Family::V4);
            assert!(announced.contains(&ip("127.0.0.1")), "{announced:?}");
            assert!(announced.iter().all(IpAddr::is_loopback), "{announced:?}");
        }
    }
}
