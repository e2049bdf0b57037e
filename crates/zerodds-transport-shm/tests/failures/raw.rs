//! The rendezvous by hand, as docs/protocol.md has it: for peers that no build of this crate would be.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use zerodds_core::{HostTag, Incarnation, Locator};

/// A socket of the test's own.
pub(crate) type Socket = OwnedFd;
/// One message of the handshake.
pub(crate) type Frame = [u8; 64];

/// Of what the incarnation of [`listen`] consists.
pub(crate) const LISTENER: u8 = 0xaa;

/// Where a frame has its fields.
pub(crate) const VERSION: usize = 8;
pub(crate) const KIND: usize = 16;
pub(crate) const REASON: usize = 20;
pub(crate) const LOCATOR: usize = 24;

pub(crate) const HELLO: u32 = 1;
pub(crate) const WELCOME: u32 = 2;
pub(crate) const REFUSE: u32 = 6;
pub(crate) const REFUSED_VERSION: u32 = 2;

/// The names of all that listen in a domain.
pub(crate) fn names(domain: u32) -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("proc");
    let prefix = format!("@zerodds-shm.{domain}.");
    let names = sockets.lines().filter_map(|line| line.split_ascii_whitespace().nth(7));
    names.filter(|name| name.starts_with(&prefix)).map(|name| name[1..].to_owned()).collect()
}

/// The name of the one who has this locator.
pub(crate) fn name(locator: &Locator) -> String {
    let (host, incarnation) = (locator.host_tag().expect("shm"), locator.incarnation().expect("shm"));
    format!("zerodds-shm.{}.{host}.{incarnation}", locator.port())
}

pub(crate) fn connect(name: &str) -> Result<Socket, Errno> {
    let socket = socket();
    rustix::net::connect(&socket, &address(name))?;
    Ok(socket)
}

/// The same, but where there is no room now it is an error.
pub(crate) fn try_connect(name: &str) -> Result<Socket, Errno> {
    let socket = socket();
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &address(name))?;
    Ok(socket)
}

/// Listens in a domain in which somebody of this host is already, as one more participant.
pub(crate) fn listen(domain: u32) -> Socket {
    let first = names(domain).into_iter().next().expect("somebody is there");
    let host = first.split('.').nth(2).expect("a host tag");
    let socket = socket();
    let name = format!("zerodds-shm.{domain}.{host}.{}", "aa".repeat(8));
    rustix::net::bind(&socket, &address(&name)).expect("nobody else has it");
    rustix::net::listen(&socket, 8).expect("listens");
    socket
}

/// The next connection.
pub(crate) fn accept(listener: &Socket) -> Socket {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC).expect("somebody connects")
}

pub(crate) fn send(socket: &Socket, bytes: &[u8]) {
    // Whoever was refused may be gone.
    let _ = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL);
}

/// The next frame.
pub(crate) fn receive(socket: &Socket) -> Frame {
    try_receive(socket).expect("a frame, not the end")
}

/// The next frame, or `None` at the end of the connection.
pub(crate) fn try_receive(socket: &Socket) -> Option<Frame> {
    let mut frame = [0; 64];
    match rustix::net::recv(socket, &mut frame, RecvFlags::empty()) {
        Ok((64, _)) => Some(frame),
        Ok((0, _)) | Err(Errno::CONNRESET) => None,
        other => panic!("neither a frame nor the end: {other:?}"),
    }
}

pub(crate) fn u32_at(frame: &Frame, at: usize) -> u32 {
    u32::from_le_bytes(frame[at..at + 4].try_into().expect("4 bytes"))
}

/// The frame with another kind and reason.
pub(crate) fn as_kind(mut frame: Frame, kind: u32, reason: u32) -> Frame {
    frame[KIND..][..4].copy_from_slice(&kind.to_le_bytes());
    frame[REASON..][..4].copy_from_slice(&reason.to_le_bytes());
    frame
}

/// A locator of this host and domain that no transport has; with [`LISTENER`] that of [`listen`].
pub(crate) fn stranger(like: &Locator, id: u8) -> Locator {
    let host: HostTag = like.host_tag().expect("shm");
    Locator::shared_memory(host, Incarnation::from_bytes([id; 8]), like.port())
}

fn address(name: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name")
}

/// It blocks: whoever never answers hangs the test, which has a bound.
fn socket() -> Socket {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket")
}
