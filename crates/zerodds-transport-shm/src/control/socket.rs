//! The rendezvous socket, and frames and descriptors through it.

use super::closing::{Closer, Given};
use crate::asked::{asked, in_vain};
use crate::bell::is_stream;
use crate::crash;
use crate::handshake::{FRAME_LEN, Frame};
use crate::rendezvous;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, socket_with,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerodds_core::Locator;

/// Connections that wait to be accepted, and are accepted at once, at most.
pub(crate) const BACKLOG: i32 = 128;

/// Descriptors that travel with one frame at most.
pub(crate) const FDS_MAX: usize = 3;

/// Descriptors that the kernel lets travel with one packet (`SCM_MAX_FD`): room for all, or it closes the rest itself, at once.
const FDS_OF_ANYBODY: usize = 253;

/// A connected socket, which can be closed without waiting for what its peer has sent.
pub(crate) struct Socket(Given);

/// What a read found.
pub(crate) enum Received {
    Frame(Frame, Vec<Given>),
    Nothing,
    /// The peer closed its end or died.
    End,
    /// The peer sent something that is no frame.
    Garbage,
    /// Descriptors came that this process does not get: it has as many as it may, or a security module denies them.
    NoRoom,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, closer: &Arc<Closer>) -> Self {
        Self(Given::new(fd, closer))
    }
}

impl Deref for Socket {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.0.is_ours() {
            // The peer learns of it now, however long closing takes.
            let _ = rustix::net::shutdown(&*self.0, Shutdown::Both);
        }
    }
}

/// A socket to listen at a rendezvous, or to connect to one.
pub(crate) fn unconnected() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    asked("socket of AF_UNIX", socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None))
}

/// A socket that listens at the rendezvous of this locator.
pub(crate) fn listen_at(locator: &Locator) -> io::Result<OwnedFd> {
    let listener = unconnected()?;
    rustix::net::bind(&listener, &rendezvous::address(locator)?)
        .map_err(|error| not_bound(error, locator))?;
    crash::step("bound");
    asked("listen", rustix::net::listen(&listener, BACKLOG))?;
    crash::step("listening");
    Ok(listener)
}

/// Two participants of one host and domain cannot have one incarnation.
fn not_bound(error: Errno, locator: &Locator) -> io::Error {
    match (error, locator.incarnation()) {
        (Errno::ADDRINUSE, Some(incarnation)) => io::Error::other(format!(
            "another transport of this host and domain has the incarnation {incarnation} already, or had it, and a \
             child that its process forked lives; give each an incarnation of its own"
        )),
        (error, _) => in_vain("bind", error),
    }
}

/// Sends one frame with its descriptors. Never blocks, never raises a signal.
pub(crate) fn send(socket: &OwnedFd, frame: &Frame, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE);
    }
    crash::step(frame.kind.name());
    let bytes = frame.to_bytes();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags))?;
    crash::step("frame sent");
    Ok(())
}

/// Receives one frame with its descriptors, which are close-on-exec. Never blocks.
pub(crate) fn receive(socket: &Socket) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_OF_ANYBODY))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // One byte more than a frame, so that a longer packet is seen to be none.
    let mut bytes = [0; FRAME_LEN + 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = past_reset(|| {
        rustix::net::recvmsg(&**socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    });
    let message = match message {
        Ok(message) => message,
        Err(Errno::AGAIN) => return Received::Nothing,
        Err(_) => return Received::End,
    };
    let parts = control.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(received) => Some(received),
        _ => None,
    });
    let fds: Vec<Given> = parts.flatten().map(|fd| Given::new(fd, socket.0.closer())).collect();
    let strange = fds.len() > FDS_MAX || !fds.iter().all(|fd| is_ours(fd));
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Received::NoRoom;
    }
    crash::step("frame received");
    match Frame::parse(&bytes[..message.bytes]) {
        _ if message.bytes == 0 => Received::End,
        Some(frame) if !strange => Received::Frame(frame, fds),
        _ => Received::Garbage,
    }
}

/// What comes next.
pub(crate) enum Next {
    Nothing,
    /// A packet without descriptors, or the end.
    Plain,
    /// A packet with descriptors.
    Laden,
}

/// What comes next, which stays where it is, with its descriptors.
pub(crate) fn next(socket: &OwnedFd) -> Next {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    let mut no_room = RecvAncillaryBuffer::default();
    match past_reset(|| rustix::net::recvmsg(socket, &mut [], &mut no_room, flags)) {
        Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => Next::Laden,
        Err(Errno::AGAIN) => Next::Nothing,
        _ => Next::Plain,
    }
}

/// Receives, again where the peer closed with something of ours unread: that is said once, and what it had said before can still be read.
fn past_reset<T>(mut receive: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match rustix::io::retry_on_intr(&mut receive) {
        Err(Errno::CONNRESET) => rustix::io::retry_on_intr(receive),
        outcome => outcome,
    }
}

/// Whether this is of a kind that we use.
fn is_ours(fd: &OwnedFd) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok() || is_stream(fd)
}
