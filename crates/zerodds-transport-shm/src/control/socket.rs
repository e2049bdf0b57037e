//! Frames and descriptors through the rendezvous socket.

use crate::crash;
use crate::handshake::{FRAME_LEN, Frame};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Descriptors that travel with one frame at most.
pub(crate) const FDS_MAX: usize = 4;

/// What a read found.
pub(crate) enum Received {
    Frame(Frame, Vec<OwnedFd>),
    Nothing,
    /// The peer closed its end or died.
    End,
    /// The peer sent something that is no frame.
    Garbage,
    /// Descriptors came for which there was no room: this process has as many as it may.
    NoRoom,
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
pub(crate) fn receive(socket: &OwnedFd) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // One byte more than a frame, so that a longer packet is seen to be none.
    let mut bytes = [0; FRAME_LEN + 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut receive = || {
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
        })
    };
    let message = match receive() {
        // The peer closed with something of ours unread; said once. What it had said before can still be read.
        Err(Errno::CONNRESET) => receive(),
        outcome => outcome,
    };
    let message = match message {
        Ok(message) if message.bytes == 0 => return Received::End,
        Ok(message) => message,
        Err(Errno::AGAIN) => return Received::Nothing,
        Err(_) => return Received::End,
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Received::NoRoom;
    }
    crash::step("frame received");
    Frame::parse(&bytes[..message.bytes]).map_or(Received::Garbage, |frame| Received::Frame(frame, fds))
}
