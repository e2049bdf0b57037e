//! Receiving: all sockets of the transport through one descriptor, a batch per system call.
//!
//! ```text
//!   metatraffic unicast ─┐
//!   user unicast ────────┤ readiness  ┌─ recvmmsg ─▶ 4 scratch buffers of 64 KiB ──┐ well filled: slices of it;
//!   multicast ───────────┤ (epoll) ───┤              (each one datagram, or several │ otherwise an allocation
//!   the same for IPv6 ───┤            │               that GRO has put together)    │ of the datagram's size each
//!   network notices ─────┤            └─ refresh the interfaces                     ▼
//!   closed ──────────────┘                                     queue ─▶ try_receive, try_receive_along
//! ```
//! Bytes that outlive their message are never more than twice their own length: a heartbeat of 60 bytes, kept by somebody,
//! does not keep 64 KiB. A buffer that was handed out comes back once its messages are gone; where somebody
//! keeps one, there is another for the next call.

use crate::claim::Claim;
use crate::group::Group;
use crate::network::Network;
use crate::readiness::Readiness;
use crate::socket::Listener;
use crate::transport::Shared;
use bytes::{Bytes, BytesMut};
use quinn_udp::{RecvMeta, UdpSockRef};
use rustix::io::Errno;
use std::array;
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;
use zerodds_core::{Incoming, Locator, Message, Path, Receiver, Wake};

/// The receiving half of a [`UdpTransport`](crate::UdpTransport).
#[derive(Debug)]
pub struct UdpReceiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Inbox,
}

/// A message that came in one datagram. It may hold the buffer of up to 64 KiB in which it came along with others: who keeps
/// messages keeps them as [`Bytes`].
#[derive(Debug)]
pub struct UdpMessage {
    bytes: Bytes,
    /// It is part of a buffer.
    lent: bool,
    source: Locator,
}

/// What a receiver reads from and into.
#[derive(Debug)]
pub(crate) struct Inbox {
    listeners: Vec<Arc<Listener>>,
    /// Watches the listeners by position, then `ear`, then the network's notices.
    readiness: Readiness,
    /// Readable once the transport is closed; kept open because it is watched.
    _ear: UnixStream,
    queue: VecDeque<UdpMessage>,
    scratch: [Scratch; BATCH],
    /// The listeners whose last read failed, a bit for each position.
    failing: u32,
}

/// A buffer that datagrams are read into.
#[derive(Debug, Default)]
struct Scratch {
    /// Empty while it is lent.
    own: BytesMut,
    lent: Option<Bytes>,
}

impl Inbox {
    /// Watches the sockets of the claim, those of the groups, `ear` for the end, and the network's notices.
    pub(crate) fn open(
        claim: Claim,
        groups: &[Group],
        ear: UnixStream,
        network: &Network,
    ) -> io::Result<Self> {
        let unicast =
            claim.pairs.into_iter().flat_map(|pair| [pair.metatraffic.0, pair.user.0]).map(Arc::new);
        let listeners: Vec<_> =
            unicast.chain(groups.iter().map(|group| Arc::clone(&group.listener))).collect();
        let sockets = listeners.iter().map(|listener| listener.socket.as_fd());
        let watched: Vec<_> = sockets.chain([ear.as_fd()]).chain(network.notices()).collect();
        let readiness = Readiness::watch(&watched)?;
        let scratch = array::from_fn(|_| Scratch::default());
        Ok(Self { listeners, readiness, _ear: ear, queue: VecDeque::new(), scratch, failing: 0 })
    }

    /// One batch from every socket that has something.
    fn fill(&mut self, shared: &Shared) {
        let readable = self.readiness.now();
        // Asked only where there is something to read: it costs a system call.
        if !readable.any() || shared.is_closed() {
            return;
        }
        for position in 0..self.listeners.len() {
            if readable.has(position) {
                self.read(position);
            }
        }
        if readable.has(self.listeners.len() + 1) {
            shared.refresh();
            if let Some(notices) = shared.network.unreadable() {
                self.readiness.forget(notices);
            }
        }
    }

    fn read(&mut self, position: usize) {
        let listener = &self.listeners[position];
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slices = self.scratch.each_mut().map(|scratch| IoSliceMut::new(scratch.ready()));
        let count = match listener.state.recv(UdpSockRef::from(&listener.socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) => return self.give_up_if_lasting(position, &error),
        };
        self.failing &= !(1 << position);
        for (scratch, meta) in self.scratch.iter_mut().zip(&metas[..count]) {
            let source = Locator::from(meta.addr);
            if meta.len < LENT_MIN {
                let datagrams = datagrams(&scratch.own[..meta.len], meta.stride).map(Bytes::copy_from_slice);
                self.queue.extend(datagrams.map(|bytes| UdpMessage { bytes, lent: false, source }));
            } else {
                let lent = scratch.lend();
                let datagrams = datagrams(&lent[..meta.len], meta.stride).map(|bytes| lent.slice_ref(bytes));
                self.queue.extend(datagrams.map(|bytes| UdpMessage { bytes, lent: true, source }));
            }
        }
    }

    /// Most errors are nothing: no datagram after all, no memory just now, or a report about something sent, gone once read. But
    /// what a sandbox denies it will deny again, by whichever error, and the socket stays readable: that would be a spin.
    fn give_up_if_lasting(&mut self, position: usize, error: &io::Error) {
        if let Some(Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::NOBUFS) = Errno::from_io_error(error) {
            return;
        }
        let is_first = self.failing & (1 << position) == 0;
        self.failing |= 1 << position;
        if !is_first {
            let socket = self.listeners[position].socket.as_fd();
            self.readiness.forget(socket);
            tracing::error!(
                %error,
                "UDP cannot receive: recvmmsg fails, and one of its sockets is read no more; the system (a sandbox?) has to allow it"
            );
        }
    }
}

impl Scratch {
    /// The buffer, all of it: its own again if nothing of it is held any more, or another.
    fn ready(&mut self) -> &mut [u8] {
        if let Some(lent) = self.lent.take() {
            self.own = lent.try_into_mut().unwrap_or_default();
        }
        if self.own.len() != DATAGRAM_MAX {
            self.own = BytesMut::zeroed(DATAGRAM_MAX);
        }
        &mut self.own
    }

    /// Gives it out in place of copies.
    fn lend(&mut self) -> Bytes {
        let lent = std::mem::take(&mut self.own).freeze();
        self.lent = Some(lent.clone());
        lent
    }
}

impl Receiver for UdpReceiver {
    type Message = UdpMessage;

    /// After the transport was closed: what had been read from the sockets before, then `None`. In a forked child: copies of
    /// that, then `None`.
    fn try_receive(&mut self) -> Option<Incoming<UdpMessage>> {
        if self.inbox.queue.is_empty() {
            self.inbox.fill(&self.shared);
        }
        self.try_receive_along().map(Incoming::Message)
    }

    fn try_receive_along(&mut self) -> Option<UdpMessage> {
        let message = self.inbox.queue.pop_front()?;
        self.shared.tally.received(message.len());
        Some(message)
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        if !self.inbox.queue.is_empty() {
            return Wake::Ready;
        }
        // First, since to a forked child it is closed, though nothing there wakes it.
        if self.shared.is_closed() {
            return Wake::Closed;
        }
        match self.inbox.readiness.wait(deadline, also) {
            true if self.shared.is_closed() => Wake::Closed,
            true => Wake::Ready,
            false => Wake::TimedOut,
        }
    }

    fn arm(&mut self) -> Wake {
        self.wait(Some(Instant::now()), &[])
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        if self.shared.is_closed() { Vec::new() } else { vec![self.as_fd()] }
    }
}

impl AsFd for UdpReceiver {
    /// Readable while a datagram, or news of the network, waits to be taken; for good once closed. On systems
    /// other than Linux it tells of one socket only: use [`wait`](Receiver::wait) there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.readiness.as_fd()
    }
}

impl Deref for UdpMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<UdpMessage> for Bytes {
    fn from(message: UdpMessage) -> Self {
        let UdpMessage { bytes, lent, .. } = message;
        if lent && bytes.len() < LENT_MIN { Self::copy_from_slice(&bytes) } else { bytes }
    }
}

impl Message for UdpMessage {
    fn path(&self) -> Path {
        Path::Udp
    }

    /// The address that the datagram came from: a sending socket's, not one that its participant listens on.
    fn source(&self) -> Option<Locator> {
        Some(self.source)
    }
}

/// Datagrams read by one system call; with GRO, each of them may be many. More save calls where GRO finds
/// nothing to put together, but large datagrams then fall out of the processor's cache before they are copied
/// out: with 16 they came a fifth slower.
const BATCH: usize = 4;
/// What a datagram, or several put together by GRO, can be at most.
const DATAGRAM_MAX: usize = 65_536;
/// A buffer that has less in it is not handed out; it is copied out of.
const LENT_MIN: usize = DATAGRAM_MAX / 2;

/// The datagrams of one buffer: pieces of `stride` bytes, the last may be shorter. An empty buffer is one
/// empty datagram.
fn datagrams(buffer: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = buffer.is_empty().then_some(buffer);
    empty.into_iter().chain(buffer.chunks(stride.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_buffer_is_one_empty_datagram() {
        assert_eq!(datagrams(&[], 0).collect::<Vec<_>>(), [&[] as &[u8]]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn notices_that_a_sandbox_keeps_from_being_read_are_waited_for_no_longer() {
        use crate::{Config, UdpTransport, interfaces::InterfaceTable};
        use std::io::Write as _;
        use zerodds_core::Transport as _;
        let domain = std::process::id() % 200;
        let transport = UdpTransport::open(domain, &Config::default()).unwrap();
        let mut receiver = transport.receiver().unwrap();
        drop(transport);
        // As to a process that may not, and for good: what recv says of a pipe.
        let (notices, mut kernel) = std::io::pipe().unwrap();
        kernel.write_all(b"RTM_NEWADDR").unwrap();
        let network = Network::new(&[], Some(notices.into()), |_| Ok(InterfaceTable::default()));
        let (_bell, ear) = UnixStream::pair().unwrap();
        let watched = [ear.as_fd(), network.notices().unwrap()];
        receiver.inbox.readiness = Readiness::watch(&watched).unwrap();
        receiver.inbox.listeners.clear();
        Arc::get_mut(&mut receiver.shared).unwrap().network = network;
        assert_eq!(receiver.arm(), Wake::Ready);
        assert!(receiver.try_receive().is_none());
        assert_eq!(receiver.arm(), Wake::TimedOut, "it would be a spin");
    }

    proptest! {
        #[test]
        fn what_gro_has_put_together_comes_apart_at_the_same_seams(
            size in 1usize..2000, count in 1usize..40, tail in 0usize..2000,
        ) {
            let mut sizes = vec![size; count];
            sizes.extend((1..=size).contains(&tail).then_some(tail));
            let buffer = vec![7; sizes.iter().sum()];
            prop_assert_eq!(datagrams(&buffer, size).map(<[u8]>::len).collect::<Vec<_>>(), sizes);
        }
    }
}
