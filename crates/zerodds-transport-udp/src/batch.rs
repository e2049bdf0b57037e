//! Sending: one datagram or a thousand, to one address, in as few system calls as the kernel allows.
//!
//! ```text
//!   datagrams  1400 1400 1400 1400 900        60000 60000 200
//!              └───── one sendmsg ────┘       └ one sendmmsg ┘
//!               segmented (GSO): each          everything else
//!               fits a packet of the path,
//!               all together fit a datagram
//! ```
//! They are of one length, but for the last, which may be shorter. Segmentation only takes what the kernel will not have to
//! fragment, so the path's packet size is asked for first: a refusal would switch segmentation off for good.
//!
//! Nothing here waits for long. The caller may be a stack's only thread, and a lost datagram is repaired by
//! RTPS where that matters; a blocked stack is not. [`Patience`] is the whole wait of one call, or of all calls of one sample.

use crate::interfaces::Link;
use crate::socket::{self, Family};
use parking_lot::Mutex;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, sendto};
use socket2::Socket;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A sending socket of one family.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) socket: Socket,
    /// Where the system segments.
    segmentation: Option<UdpSocketState>,
    /// The payload that one packet carries, by destination.
    paths: Mutex<HashMap<SocketAddr, usize>>,
}

/// A sending socket of one family for multicasts alone: no peer takes its room.
#[derive(Debug)]
pub(crate) struct GroupSender {
    sender: Sender,
    /// Held while the interface is set on the socket and used.
    interface: Mutex<()>,
}

/// Datagrams for one address that lie one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    /// Of each but the last, which may be shorter.
    pub(crate) len: usize,
    pub(crate) count: usize,
}

/// How far a send got.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Datagrams that the kernel took, from the front.
    pub(crate) sent: usize,
    /// Why it stopped short, if it did.
    pub(crate) stopped: Option<Stop>,
}

/// Why a datagram was not taken.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The socket's buffer stayed full.
    Full,
    /// The system refused it.
    Refused(Errno),
}

impl<'a> Batch<'a> {
    /// One datagram, which may be empty.
    pub(crate) const fn of(datagram: &'a [u8]) -> Self {
        Self { bytes: datagram, len: datagram.len(), count: 1 }
    }

    /// Datagrams of this length, the last of which may be shorter.
    pub(crate) fn run(bytes: &'a [u8], len: usize) -> Self {
        let len = len.clamp(1, bytes.len().max(1));
        Self { bytes, len, count: bytes.len().div_ceil(len) }
    }

    /// So many from the front.
    pub(crate) fn first(self, count: usize) -> Self {
        Self { bytes: &self.bytes[..self.end(count)], count, ..self }
    }

    /// What is left once so many are sent.
    pub(crate) fn after(self, sent: usize) -> Self {
        Self { bytes: &self.bytes[self.end(sent)..], count: self.count - sent, ..self }
    }

    /// Where so many from the front end.
    fn end(self, count: usize) -> usize {
        self.bytes.len().min(count * self.len)
    }

    #[cfg(any(test, target_os = "linux"))]
    fn datagrams(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.count).map(move |index| self.after(index).first(1).bytes)
    }
}

impl Progress {
    /// Nothing was taken.
    pub(crate) const fn refused(why: Errno) -> Self {
        Self { sent: 0, stopped: Some(Stop::Refused(why)) }
    }
}

/// How long a call, or several together, may still wait for room in a socket's buffer: 4 ms by default.
#[derive(Debug)]
pub struct Patience {
    bound: Duration,
    until: Option<Instant>,
}

impl Sender {
    pub(crate) fn open(family: Family, buffer: usize) -> io::Result<Self> {
        let socket = socket::sending(family, buffer)?;
        let segmentation = socket::segmentation(&socket).filter(|state| state.max_gso_segments() > 1);
        Ok(Self { socket, segmentation, paths: Mutex::default() })
    }

    /// Sends the datagrams in order to one address.
    pub(crate) fn send(&self, batch: Batch<'_>, to: SocketAddr, patience: &mut Patience) -> Progress {
        let mut segments = self.segments(batch, to);
        let mut sent = 0;
        while sent < batch.count {
            let stop = match self.step(batch.after(sent), to, &mut segments) {
                Ok(taken) => {
                    sent += taken;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(full @ (Errno::AGAIN | Errno::NOBUFS)) => {
                    if patience.wait(&self.socket, full) {
                        continue;
                    }
                    Stop::Full
                }
                Err(refused) => Stop::Refused(refused),
            };
            return Progress { sent, stopped: Some(stop) };
        }
        Progress { sent, stopped: None }
    }

    /// Forgets what was learnt about paths; the network has changed.
    pub(crate) fn forget_paths(&self) {
        self.paths.lock().clear();
    }

    /// Whether it segmented, and has met a path that does not: it never segments again.
    pub(crate) fn has_lost_segmentation(&self) -> bool {
        self.segmentation.is_some() && self.segments_max().is_none()
    }

    /// Has the kernel refuse a segmented send, of more segments than there may be.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn lose_segmentation(&self, to: SocketAddr) {
        self.send_segmented(Batch::run(&[0; 1_000], 1), to).expect_err("too many segments");
    }

    /// One system call's worth, from the front. Where segmentation fails, `segments` is none from then on.
    fn step(&self, batch: Batch<'_>, to: SocketAddr, segments: &mut Segments) -> rustix::io::Result<usize> {
        let run = segments.run(batch);
        if run > 1 {
            match self.send_segmented(batch.first(run), to) {
                Err(error) if !matches!(error, Errno::AGAIN | Errno::NOBUFS) => {
                    *segments = Segments::NONE;
                    self.forget_paths();
                }
                taken => return taken.map(|()| run),
            }
        }
        send_plain(&self.socket, batch.first(batch.count.min(PLAIN_MAX)), to)
    }

    fn send_segmented(&self, batch: Batch<'_>, to: SocketAddr) -> rustix::io::Result<()> {
        let Some(state) = &self.segmentation else { return Err(Errno::OPNOTSUPP) };
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: batch.bytes,
            segment_size: Some(batch.len),
            src_ip: None,
        };
        let sent = state.try_send(UdpSockRef::from(&self.socket), &transmit);
        sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// What may be segmented on the way to `to`.
    fn segments(&self, batch: Batch<'_>, to: SocketAddr) -> Segments {
        // On some path at least.
        let worthwhile = Segments { len_max: SEGMENTED_MAX, count_max: 2 }.run(batch) == 2;
        worthwhile.then(|| self.segments_to(to)).flatten().unwrap_or(Segments::NONE)
    }

    /// The longest datagram of which many go to `to` by one system call, each in a packet of its own; `None` where the system
    /// does not segment. Asked anew each time, and so what is sent after it goes by the answer: the kernel tells of links and
    /// addresses that change, but not of a route's packet size, nor of one that a router reports.
    pub(crate) fn packet_payload(&self, to: SocketAddr) -> Option<usize> {
        self.segments_max()?;
        let len_max = socket::packet_payload(to).unwrap_or(0);
        let mut paths = self.paths.lock();
        make_room(&mut paths, to);
        paths.insert(to, len_max);
        (len_max > 0).then_some(len_max)
    }

    fn segments_to(&self, to: SocketAddr) -> Option<Segments> {
        let count_max = self.segments_max()?;
        let mut paths = self.paths.lock();
        make_room(&mut paths, to);
        let len_max = *paths.entry(to).or_insert_with(|| socket::packet_payload(to).unwrap_or(0));
        Some(Segments { len_max, count_max })
    }

    /// The most datagrams that one send may be segmented into, where it may.
    fn segments_max(&self) -> Option<usize> {
        self.segmentation.as_ref().map(UdpSocketState::max_gso_segments).filter(|&max| max > 1)
    }
}

impl GroupSender {
    pub(crate) fn open(family: Family, buffer: usize) -> io::Result<Self> {
        Ok(Self { sender: Sender::open(family, buffer)?, interface: Mutex::default() })
    }

    /// Sends the datagrams in order to a group, by one interface.
    pub(crate) fn send(
        &self,
        batch: Batch<'_>,
        group: SocketAddr,
        link: &Link,
        patience: &mut Patience,
    ) -> Progress {
        let _exclusive = self.interface.lock();
        let socket = &self.sender.socket;
        let selected = match link.ip {
            IpAddr::V4(ip) => socket::multicast_by(socket, ip, link.index),
            IpAddr::V6(_) => socket.set_multicast_if_v6(link.index),
        };
        match selected {
            Ok(()) => self.sender.send(batch, group, patience),
            Err(error) => Progress::refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    /// As [`Sender::forget_paths`].
    pub(crate) fn forget_paths(&self) {
        self.sender.forget_paths();
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl Patience {
    /// Waits at most `bound` in total.
    pub(crate) const fn new(bound: Duration) -> Self {
        Self { bound, until: None }
    }

    /// For so many bytes to one peer, in however many calls: 4 ms for each mebibyte that they begin.
    #[must_use]
    pub fn for_bytes(len: usize) -> Self {
        let mebibytes = u32::try_from(len.div_ceil(1 << 20)).unwrap_or(u32::MAX).max(1);
        Self::new(PATIENCE.saturating_mul(mebibytes))
    }

    /// Waits for nothing.
    pub(crate) const fn none() -> Self {
        Self::new(Duration::ZERO)
    }

    pub(crate) const fn is_none(&self) -> bool {
        self.bound.is_zero()
    }

    /// Something was waited for, if it is not none.
    pub(crate) const fn has_begun(&self) -> bool {
        self.until.is_some()
    }

    /// Waits a moment for room in the socket; `false` once patience is at its end.
    fn wait(&mut self, socket: &Socket, full: Errno) -> bool {
        let now = Instant::now();
        let left = self.until.get_or_insert(now + self.bound).saturating_duration_since(now);
        // Short waits: Linux calls a socket writable only once half of its buffer is empty, and at once where
        // what it lacked was memory.
        let writable = PollFd::new(socket, PollFlags::OUT);
        let mut fds = if full == Errno::NOBUFS { Vec::new() } else { vec![writable] };
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.min(PAUSE).subsec_nanos().into() };
        if !left.is_zero() {
            let _ = poll(&mut fds, Some(&timeout));
        }
        !left.is_zero()
    }
}

/// The bounds within which the kernel segments one large send into datagrams.
#[derive(Clone, Copy, Debug)]
struct Segments {
    /// The largest segment, in bytes.
    len_max: usize,
    /// The most segments of one send.
    count_max: usize,
}

impl Segments {
    const NONE: Self = Self { len_max: 0, count_max: 0 };

    /// How many datagrams from the front can go as one send. Fewer than two are not worth it.
    fn run(self, batch: Batch<'_>) -> usize {
        let fits = (1..=self.len_max).contains(&batch.len);
        if fits { self.count_max.min(SEGMENTED_MAX / batch.len).min(batch.count) } else { 0 }
    }
}

/// The longest that one message, or a mebibyte, waits for room in a socket's buffer, in total.
pub(crate) const PATIENCE: Duration = Duration::from_millis(4);
/// Beyond it all are asked for anew.
const PATHS_MAX: usize = 256;
/// The most datagrams of one `sendmmsg`.
const PLAIN_MAX: usize = 64;
/// The most bytes of one segmented send: one IPv4 datagram's payload.
const SEGMENTED_MAX: usize = 65_507;
/// The longest wait before a full socket is tried again.
const PAUSE: Duration = Duration::from_micros(200);

/// For one more path.
fn make_room(paths: &mut HashMap<SocketAddr, usize>, to: SocketAddr) {
    if paths.len() >= PATHS_MAX && !paths.contains_key(&to) {
        paths.clear();
    }
}

/// Sends at least one datagram, without segmentation.
fn send_plain(socket: &Socket, batch: Batch<'_>, to: SocketAddr) -> rustix::io::Result<usize> {
    #[cfg(target_os = "linux")]
    if batch.count > 1 {
        return send_many(socket, batch, to);
    }
    sendto(socket, batch.first(1).bytes, SendFlags::empty(), &to).map(|_| 1)
}

#[cfg(target_os = "linux")]
fn send_many(socket: &Socket, batch: Batch<'_>, to: SocketAddr) -> rustix::io::Result<usize> {
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, addr::SocketAddrArg, sendmmsg};
    let address = to.as_any();
    let slices: Vec<_> = batch.datagrams().map(|datagram| [io::IoSlice::new(datagram)]).collect();
    let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let headers = slices.iter().zip(&mut controls);
    let mut headers: Vec<_> =
        headers.map(|(slice, control)| MMsgHdr::new_with_addr(&address, slice, control)).collect();
    sendmmsg(socket, &mut headers, SendFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many of these are segmented at once.
    fn run(len: usize, count: usize, len_max: usize) -> usize {
        Segments { len_max, count_max: 64 }.run(Batch::run(&vec![0; len * count], len))
    }

    #[test]
    fn what_the_path_would_have_to_fragment_is_no_run() {
        assert_eq!(run(1472, 2, 1472), 2);
        assert_eq!(run(1473, 2, 1472), 0);
        assert_eq!(run(60_000, 2, 65_508), 1);
        assert_eq!(run(1400, 2, 0), 0, "nothing is known about the path");
    }

    #[test]
    fn an_empty_datagram_is_one_and_no_run() {
        let datagrams = |batch: Batch<'_>| batch.datagrams().map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(datagrams(Batch::of(&[])), [0]);
        assert_eq!(Segments { len_max: 1472, count_max: 64 }.run(Batch::of(&[])), 0);
        assert_eq!(datagrams(Batch::run(&[], 1400)), [0; 0]);
    }

    proptest! {
        #[test]
        fn a_run_always_fits_one_datagram_and_64_segments(
            len in 0usize..70_000, total in 0usize..300_000, sent in 0usize..10,
        ) {
            let bytes = vec![0; total];
            let batch = Batch::run(&bytes, len);
            let chunks: Vec<_> = bytes.chunks(len.max(1)).map(<[u8]>::len).collect();
            prop_assert_eq!(batch.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), chunks);
            let rest = batch.after(sent.min(batch.count));
            let count = Segments { len_max: 65_508, count_max: 64 }.run(rest);
            prop_assert!(count <= 64 && count <= rest.count);
            prop_assert!(count < 2 || rest.first(count).bytes.len() <= SEGMENTED_MAX);
        }
    }
}
