//! `Locator_t`: where a peer can be reached (DDSI-RTPS 2.5 §9.3.2.4).
//!
//! 24 octets on the wire: `kind` (long), `port` (unsigned long), `address` (16 octets). The two integers
//! follow the byte order of the CDR stream they stand in, the address never changes.

use crate::host::{HostTag, Incarnation};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An RTPS locator in its 24-octet form, of any kind, known here or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locator {
    kind: i32,
    port: u32,
    address: [u8; 16],
}

/// The kinds of locator this project acts on; all others pass through untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocatorKind {
    /// `LOCATOR_KIND_UDPv4` (1).
    UdpV4,
    /// `LOCATOR_KIND_UDPv6` (2).
    UdpV6,
    /// Our shared memory, [`Locator::KIND_SHARED_MEMORY`].
    SharedMemory,
    /// Anything else, such as another vendor's.
    Other(i32),
}

/// The byte order of a CDR stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endianness {
    /// Most significant octet first.
    Big,
    /// Least significant octet first.
    Little,
}

impl Endianness {
    /// The number that these octets are.
    #[must_use]
    pub const fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(octets),
            Self::Little => u16::from_le_bytes(octets),
        }
    }

    /// The number that these octets are.
    #[must_use]
    pub const fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(octets),
            Self::Little => u32::from_le_bytes(octets),
        }
    }

    /// The octets of this number.
    #[must_use]
    pub const fn u16_bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }

    /// The octets of this number.
    #[must_use]
    pub const fn u32_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Big => number.to_be_bytes(),
            Self::Little => number.to_le_bytes(),
        }
    }
}

impl Locator {
    /// Octets of a locator on the wire.
    pub const WIRE_LEN: usize = 24;
    /// `LOCATOR_KIND_UDPv4`.
    pub const KIND_UDP_V4: i32 = 1;
    /// `LOCATOR_KIND_UDPv6`.
    pub const KIND_UDP_V6: i32 = 2;
    /// The kind of our shared-memory locator: `"\x01SHM"`, within the range 0x00000003 to 0x01ffffff that
    /// DDSI-RTPS 2.5 §9.3.2.4 leaves to vendors.
    pub const KIND_SHARED_MEMORY: i32 = 0x0153_484D;

    /// Added to the DDS domain in the port of a RustDDS session's shared-memory locator: sessions speak another language than
    /// participants do, and meet in a domain of their own: "RD" before the domain id.
    pub const RUSTDDS_SESSIONS: u32 = 0x5244_0000;

    /// A locator from its raw parts; every combination is accepted, since a peer may send any.
    #[must_use]
    pub const fn new(kind: i32, port: u32, address: [u8; 16]) -> Self {
        Self { kind, port, address }
    }

    /// The shared-memory locator of one participant: `address` is host tag then incarnation, `port` the DDS
    /// domain.
    #[must_use]
    pub fn shared_memory(host: HostTag, incarnation: Incarnation, domain_id: u32) -> Self {
        let mut address = [0; 16];
        let (tag, id) = address.split_at_mut(8);
        tag.copy_from_slice(&host.to_bytes());
        id.copy_from_slice(&incarnation.to_bytes());
        Self::new(Self::KIND_SHARED_MEMORY, domain_id, address)
    }

    /// What kind of locator this is.
    #[must_use]
    pub const fn kind(&self) -> LocatorKind {
        match self.kind {
            Self::KIND_UDP_V4 => LocatorKind::UdpV4,
            Self::KIND_UDP_V6 => LocatorKind::UdpV6,
            Self::KIND_SHARED_MEMORY => LocatorKind::SharedMemory,
            other => LocatorKind::Other(other),
        }
    }

    /// The kind as the number on the wire.
    #[must_use]
    pub const fn raw_kind(&self) -> i32 {
        self.kind
    }

    /// The port: a UDP port for UDP kinds, the DDS domain for shared memory.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// The 16 address octets.
    #[must_use]
    pub const fn address(&self) -> &[u8; 16] {
        &self.address
    }

    /// The host tag, if this is a shared-memory locator.
    #[must_use]
    pub fn host_tag(&self) -> Option<HostTag> {
        (self.kind == Self::KIND_SHARED_MEMORY).then(|| HostTag::from_bytes(first_half(&self.address)))
    }

    /// The incarnation of the participant, if this is a shared-memory locator.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        (self.kind == Self::KIND_SHARED_MEMORY).then(|| Incarnation::from_bytes(second_half(&self.address)))
    }

    /// Whether both are shared-memory locators of one host and DDS domain.
    #[must_use]
    pub fn is_neighbour(&self, other: &Self) -> bool {
        let is_shared = self.kind == Self::KIND_SHARED_MEMORY && other.kind == self.kind;
        is_shared && self.port == other.port && first_half(&self.address) == first_half(&other.address)
    }

    /// The socket address of a UDP locator; `None` for other kinds and for ports that are not UDP ports
    /// (0, or above 65,535).
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let port = u16::try_from(self.port).ok().filter(|&port| port != 0)?;
        match self.kind() {
            LocatorKind::UdpV4 => {
                let [.., a, b, c, d] = self.address;
                Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)))
            }
            LocatorKind::UdpV6 => {
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(self.address), port, 0, 0)))
            }
            _ => None,
        }
    }

    /// Whether this is a UDP locator of a multicast group.
    #[must_use]
    pub fn is_multicast(&self) -> bool {
        match self.kind() {
            LocatorKind::UdpV4 => (0xe0..=0xef).contains(&self.address[12]),
            LocatorKind::UdpV6 => self.address[0] == 0xff,
            _ => false,
        }
    }

    /// The 24-octet form, its integers in the given byte order.
    #[must_use]
    pub fn to_bytes(&self, order: Endianness) -> [u8; Self::WIRE_LEN] {
        let mut wire = [0; Self::WIRE_LEN];
        wire[..4].copy_from_slice(&order.u32_bytes(self.kind.cast_unsigned()));
        wire[4..8].copy_from_slice(&order.u32_bytes(self.port));
        wire[8..].copy_from_slice(&self.address);
        wire
    }

    /// Reads the 24-octet form. Every value is a locator, so this cannot fail.
    #[must_use]
    pub fn from_bytes(wire: &[u8; Self::WIRE_LEN], order: Endianness) -> Self {
        let [k0, k1, k2, k3, p0, p1, p2, p3, address @ ..] = *wire;
        let (kind, port) = (order.u32([k0, k1, k2, k3]), order.u32([p0, p1, p2, p3]));
        Self::new(kind.cast_signed(), port, address)
    }
}

impl From<SocketAddr> for Locator {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => {
                let mut address = [0; 16];
                address[12..].copy_from_slice(&ip.octets());
                Self::new(Self::KIND_UDP_V4, addr.port().into(), address)
            }
            IpAddr::V6(ip) => Self::new(Self::KIND_UDP_V6, addr.port().into(), ip.octets()),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind(), self.socket_addr(), self.host_tag(), self.incarnation()) {
            (LocatorKind::SharedMemory, _, Some(host), Some(id)) => {
                write!(f, "shm:{host}/{id}@domain {}", self.port)
            }
            (LocatorKind::UdpV4 | LocatorKind::UdpV6, Some(addr), ..) => write!(f, "udp:{addr}"),
            _ => {
                write!(f, "locator kind {:#010x} port {} address {:02x?}", self.kind, self.port, self.address)
            }
        }
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn first_half(address: &[u8; 16]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *address;
    [a, b, c, d, e, f, g, h]
}

fn second_half(address: &[u8; 16]) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = *address;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shared_memory_kind_lies_in_the_vendor_range_and_spells_shm() {
        assert_eq!(Locator::KIND_SHARED_MEMORY.to_be_bytes(), *b"\x01SHM");
        assert!((3..=0x01ff_ffff).contains(&Locator::KIND_SHARED_MEMORY));
    }

    #[test]
    fn a_udp_v4_locator_keeps_its_address_in_the_last_four_octets() {
        let locator = Locator::from(SocketAddr::from(([192, 0, 2, 7], 7410)));
        let wire = locator.to_bytes(Endianness::Little);
        assert_eq!(wire[..8], [1, 0, 0, 0, 0xf2, 0x1c, 0, 0]);
        assert_eq!(wire[20..], [192, 0, 2, 7]);
        assert_eq!(locator.to_bytes(Endianness::Big)[..8], [0, 0, 0, 1, 0, 0, 0x1c, 0xf2]);
    }

    #[test]
    fn a_port_that_is_no_udp_port_gives_no_socket_address() {
        for port in [0, 65_536, u32::MAX] {
            assert_eq!(Locator::new(Locator::KIND_UDP_V4, port, [0; 16]).socket_addr(), None);
        }
    }

    #[test]
    fn a_shared_memory_locator_carries_host_incarnation_and_domain() {
        let (host, id) = (HostTag::from_bytes([1; 8]), Incarnation::from_bytes([2; 8]));
        let locator = Locator::shared_memory(host, id, 42);
        assert_eq!((locator.host_tag(), locator.incarnation(), locator.port()), (Some(host), Some(id), 42));
        assert_eq!(Locator::from(SocketAddr::from(([127, 0, 0, 1], 1))).host_tag(), None);
    }

    #[test]
    fn a_number_has_its_octets_in_either_order() {
        let (big, little) = (Endianness::Big, Endianness::Little);
        assert_eq!((big.u16_bytes(0x0102), little.u16_bytes(0x0102)), ([1, 2], [2, 1]));
        assert_eq!((big.u16([1, 2]), little.u16([1, 2])), (0x0102, 0x0201));
        assert_eq!((big.u32_bytes(0x0102_0304), little.u32_bytes(0x0102_0304)), ([1, 2, 3, 4], [4, 3, 2, 1]));
        assert_eq!((big.u32([1, 2, 3, 4]), little.u32([1, 2, 3, 4])), (0x0102_0304, 0x0403_0201));
    }

    proptest! {
        #[test]
        fn any_24_octets_survive_a_round_trip_in_both_byte_orders(wire in any::<[u8; 24]>()) {
            for order in [Endianness::Big, Endianness::Little] {
                prop_assert_eq!(Locator::from_bytes(&wire, order).to_bytes(order), wire);
            }
        }

        #[test]
        fn any_socket_address_survives_a_round_trip(ip in any::<IpAddr>(), port in 1u16..) {
            prop_assert_eq!(Locator::from(SocketAddr::new(ip, port)).socket_addr(), Some(SocketAddr::new(ip, port)));
        }
    }
}
