//! Sockets of the kinds this transport uses, each set up once and never touched again.
//!
//! | Kind | Bound to | Options |
//! |---|---|---|
//! | unicast, receives | any address, own port | exclusive: a taken port means a taken participant id |
//! | multicast, receives | any address, the domain's port | `SO_REUSEADDR` and `SO_REUSEPORT`, as other vendors do |
//! | sending | the system's choice | may be fragmented by IP; one multicast hop (the system's default) |
//!
//! Sending has sockets of its own because quinn-udp, which receives in batches, forbids IP fragmentation on
//! every socket it is given, for IPv6 in a way (`IPV6_DONTFRAG`) that cannot be taken back without unsafe
//! code. RTPS needs fragmentation: its messages may be larger than a network's packets.

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Version 4 or 6 of IP. Sockets are of one family; IPv6 ones never carry IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The socket buffers asked for and granted, in bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Buffers {
    /// What was asked for, each way: [`Config::buffer`](crate::Config::buffer).
    pub asked: usize,
    /// What the receiving sockets got, at least.
    pub receive: usize,
    /// What the sending sockets got, at least.
    pub send: usize,
}

impl Family {
    pub(crate) const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Every address of this host, with the given port.
    pub(crate) const fn any(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            Self::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        }
    }
}

/// A socket that receives in batches.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    pub(crate) state: UdpSocketState,
}

impl Listener {
    /// For one participant's own port; 0 lets the system choose.
    pub(crate) fn unicast(family: Family, port: u16, buffer: usize) -> io::Result<Self> {
        Self::bind(open(family)?, family.any(port), buffer)
    }

    /// For the domain's port, shared with every other participant. It joins no group yet.
    pub(crate) fn multicast(family: Family, port: u16, buffer: usize) -> io::Result<Self> {
        let socket = open(family)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        Self::bind(socket, family.any(port), buffer)
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.as_socket().map_or(0, |address| address.port()))
    }

    fn bind(socket: Socket, address: SocketAddr, buffer: usize) -> io::Result<Self> {
        socket.bind(&address.into())?;
        ask_receive_buffer(&socket, buffer);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }
}

/// A socket to send from, which blocks nobody.
pub(crate) fn sending(family: Family, buffer: usize) -> io::Result<Socket> {
    let socket = open(family)?;
    ask_send_buffer(&socket, buffer);
    Ok(socket)
}

/// Has multicasts leave by this interface, from this address of it: several interfaces may have the same.
#[cfg(target_os = "linux")]
pub(crate) fn multicast_by(socket: &Socket, ip: Ipv4Addr, index: u32) -> io::Result<()> {
    use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
    Ok(set_ip_multicast_if_with_ifindex(socket, &Ipv4Addr::UNSPECIFIED, &ip, index)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn multicast_by(socket: &Socket, ip: Ipv4Addr, _: u32) -> io::Result<()> {
    socket.set_multicast_if_v4(&ip)
}

/// What batched and segmented sending keeps about a socket, where the system can segment.
#[cfg(target_os = "linux")]
pub(crate) fn segmentation(socket: &Socket) -> Option<UdpSocketState> {
    use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
    // Never with IPv6: see the top of this file.
    let v4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
    let state = v4.then(|| UdpSocketState::new(UdpSockRef::from(socket)).ok()).flatten()?;
    sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT).ok()?;
    Some(state)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn segmentation(_: &Socket) -> Option<UdpSocketState> {
    None
}

/// The largest payload that one packet carries to `to`, as far as the system knows. `None` where it will not
/// tell, or cannot get there.
#[cfg(target_os = "linux")]
pub(crate) fn packet_payload(to: SocketAddr) -> Option<usize> {
    use rustix::net::sockopt;
    let family = Family::of(to.ip());
    let probe = open(family).ok()?;
    // Connecting a datagram socket sends nothing: it looks up the route.
    probe.connect(&to.into()).ok()?;
    // The headers are IP's without options, and UDP's.
    let (packet, headers) = match family {
        Family::V4 => (sockopt::ip_mtu(&probe), 20 + 8),
        Family::V6 => (sockopt::ipv6_mtu(&probe), 40 + 8),
    };
    usize::try_from(packet.ok()?).ok()?.checked_sub(headers)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn packet_payload(_: SocketAddr) -> Option<usize> {
    None
}

/// What the system granted, in bytes of payload: Linux reports twice as much, to account for its own needs.
pub(crate) fn granted(kernel_figure: io::Result<usize>) -> usize {
    kernel_figure.unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 }
}

fn open(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Asks, and where the limit of ordinary users is in the way asks as root. What came of it is read back.
fn ask_receive_buffer(socket: &Socket, asked: usize) {
    let _ = socket.set_recv_buffer_size(asked);
    #[cfg(target_os = "linux")]
    if granted(socket.recv_buffer_size()) < asked {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, asked);
    }
}

fn ask_send_buffer(socket: &Socket, asked: usize) {
    let _ = socket.set_send_buffer_size(asked);
    #[cfg(target_os = "linux")]
    if granted(socket.send_buffer_size()) < asked {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(socket, asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_unicast_port_is_refused_and_a_multicast_port_is_shared() {
        let first = Listener::unicast(Family::V4, 0, 65_536).unwrap();
        let again = Listener::unicast(Family::V4, first.port().unwrap(), 65_536);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let group = Listener::multicast(Family::V4, 0, 65_536).unwrap();
        Listener::multicast(Family::V4, group.port().unwrap(), 65_536).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_sending_socket_leaves_fragmentation_to_ip() {
        let socket = sending(Family::V4, 65_536).unwrap();
        let state = segmentation(&socket);
        let mode = rustix::net::sockopt::ip_mtu_discover(&socket).unwrap();
        assert_eq!(mode, rustix::net::sockopt::Ipv4PathMtuDiscovery::DONT);
        assert!(state.is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_packets_of_loopback_are_larger_than_any_network_s() {
        let Some(payload) = packet_payload(([127, 0, 0, 1], 1).into()) else {
            println!("SKIPPED: no route to 127.0.0.1");
            return;
        };
        assert!(payload > 9_000, "{payload}");
    }
}
