//! Sending: one datagram or a thousand, to one address, in as few system calls as the kernel allows.
//!
//! ```text
//!   datagrams  1400 1400 1400 1400 900   60000   60000   200
//!              └───── one sendmsg ────┘  └──── one sendmmsg ────┘
//!               segmented (GSO): equal    everything else
//!               sizes, the last may be
//!               shorter, each fits a
//!               packet of the path, all
//!               together fit a datagram
//! ```
//! Segmentation only takes what the kernel will not have to fragment, so the path's packet size is asked for
//! first: a refusal would switch segmentation off for good.
//!
//! Nothing here waits for long. The caller may be a stack's only thread, and a lost datagram is repaired by
//! RTPS where that matters; a blocked stack is not. [`Patience`] is the whole wait of one call, or of several that share it.

use crate::interfaces::Link;
use crate::socket::{self, Family};
use parking_lot::Mutex;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, sendto};
use socket2::Socket;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A sending socket of one family.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) socket: Socket,
    segmentation: Option<UdpSocketState>,
    /// The payload that one packet carries, by destination.
    paths: Mutex<HashMap<SocketAddr, usize>>,
    /// Held while the interface for multicasts is set on the socket and used.
    multicast: Mutex<()>,
}

/// Datagrams for one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) datagrams: &'a [&'a [u8]],
    /// The same bytes where they lie one after another, which saves a copy when they are sent as one.
    pub(crate) whole: Option<&'a [u8]>,
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
    /// Datagrams that lie anywhere.
    pub(crate) const fn of(datagrams: &'a [&'a [u8]]) -> Self {
        Self { datagrams, whole: None }
    }

    /// What is left once so many are sent.
    pub(crate) fn after(self, sent: usize) -> Self {
        Self { datagrams: &self.datagrams[sent..], whole: self.whole.filter(|_| sent == 0) }
    }
}

impl Progress {
    /// Nothing was taken.
    pub(crate) const fn refused(why: Errno) -> Self {
        Self { sent: 0, stopped: Some(Stop::Refused(why)) }
    }
}

/// How long a call, or several together, may still wait for room in a socket's buffer: a few milliseconds by default.
#[derive(Debug)]
pub struct Patience {
    bound: Duration,
    until: Option<Instant>,
}

impl Sender {
    pub(crate) fn open(family: Family, buffer: usize) -> io::Result<Self> {
        let socket = socket::sending(family, buffer)?;
        let segmentation = socket::segmentation(&socket);
        Ok(Self { socket, segmentation, paths: Mutex::default(), multicast: Mutex::default() })
    }

    /// Sends the datagrams in order to one address.
    pub(crate) fn send(&self, batch: Batch<'_>, to: SocketAddr, patience: &mut Patience) -> Progress {
        let datagrams = batch.datagrams;
        let mut segments = if datagrams.len() > 1 { self.segments(datagrams, to) } else { Segments::NONE };
        let mut sent = 0;
        let mut stale_errors = 0;
        while sent < datagrams.len() {
            let stop = match self.step(batch.after(sent), to, &mut segments) {
                Ok(taken) => {
                    sent += taken;
                    continue;
                }
                Err(Errno::INTR) => continue,
                // An earlier datagram found no listener: reported once, here, and none of this one's business.
                Err(Errno::CONNREFUSED) if stale_errors < STALE_ERRORS_MAX => {
                    stale_errors += 1;
                    continue;
                }
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

    /// Sends the datagrams in order to a group, by one interface.
    pub(crate) fn multicast(
        &self,
        batch: Batch<'_>,
        group: SocketAddr,
        link: &Link,
        patience: &mut Patience,
    ) -> Progress {
        let _exclusive = self.multicast.lock();
        let selected = match link.ip {
            IpAddr::V4(ip) => self.socket.set_multicast_if_v4(&ip),
            IpAddr::V6(_) => self.socket.set_multicast_if_v6(link.index),
        };
        match selected {
            Ok(()) => self.send(batch, group, patience),
            Err(error) => Progress::refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    /// Forgets what was learnt about paths; the network has changed.
    pub(crate) fn forget_paths(&self) {
        self.paths.lock().clear();
    }

    /// One system call's worth, from the front. Where segmentation fails, `segments` is none from then on.
    fn step(
        &self,
        Batch { datagrams, whole }: Batch<'_>,
        to: SocketAddr,
        segments: &mut Segments,
    ) -> rustix::io::Result<usize> {
        let run = segments.run(datagrams);
        if run > 1 {
            let contents = match whole.filter(|_| run == datagrams.len()) {
                Some(whole) => Cow::Borrowed(whole),
                None => Cow::Owned(datagrams[..run].concat()),
            };
            match self.send_segmented(&contents, datagrams[0].len(), to) {
                Err(error) if !matches!(error, Errno::AGAIN | Errno::NOBUFS) => {
                    *segments = Segments::NONE;
                    self.forget_paths();
                }
                taken => return taken.map(|()| run),
            }
        }
        let end = datagrams.len().min(PLAIN_MAX);
        let plain = (1..end).find(|&i| segments.run(&datagrams[i..]) > 1).unwrap_or(end);
        send_plain(&self.socket, &datagrams[..plain], to)
    }

    fn send_segmented(&self, contents: &[u8], len: usize, to: SocketAddr) -> rustix::io::Result<()> {
        let Some(state) = &self.segmentation else { return Err(Errno::OPNOTSUPP) };
        let transmit =
            Transmit { destination: to, ecn: None, contents, segment_size: Some(len), src_ip: None };
        let sent = state.try_send(UdpSockRef::from(&self.socket), &transmit);
        sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// What may be segmented on the way to `to`.
    fn segments(&self, datagrams: &[&[u8]], to: SocketAddr) -> Segments {
        let worthwhile = datagrams.windows(2).any(Segments::fit);
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

    /// How many datagrams from the front can go as one send: all of one size but the last, which may be
    /// shorter. Fewer than two are not worth it.
    fn run(self, datagrams: &[&[u8]]) -> usize {
        let Some(size) =
            datagrams.first().map(|first| first.len()).filter(|size| (1..=self.len_max).contains(size))
        else {
            return 0;
        };
        let room = self.count_max.min(SEGMENTED_MAX / size).min(datagrams.len());
        let equal = datagrams[..room].iter().take_while(|datagram| datagram.len() == size).count();
        let tail = datagrams[equal..room].first().is_some_and(|last| (1..size).contains(&last.len()));
        equal + usize::from(tail)
    }

    /// Whether these could be part of one run on some path.
    fn fit(pair: &[&[u8]]) -> bool {
        Self { len_max: SEGMENTED_MAX, count_max: 2 }.run(pair) == 2
    }
}

/// The longest that one call waits for room in a socket's buffer, in total.
pub(crate) const PATIENCE: Duration = Duration::from_millis(4);
/// Beyond it all are asked for anew.
const PATHS_MAX: usize = 256;
/// The most datagrams of one `sendmmsg`.
const PLAIN_MAX: usize = 64;
/// The most bytes of one segmented send: one IPv4 datagram's payload.
const SEGMENTED_MAX: usize = 65_507;
/// The most reports about earlier datagrams that one send puts up with.
const STALE_ERRORS_MAX: u32 = 8;
/// The longest wait before a full socket is tried again.
const PAUSE: Duration = Duration::from_micros(200);

/// For one more path.
fn make_room(paths: &mut HashMap<SocketAddr, usize>, to: SocketAddr) {
    if paths.len() >= PATHS_MAX && !paths.contains_key(&to) {
        paths.clear();
    }
}

/// Sends at least one datagram, without segmentation.
fn send_plain(socket: &Socket, datagrams: &[&[u8]], to: SocketAddr) -> rustix::io::Result<usize> {
    match datagrams {
        [] => Ok(0),
        #[cfg(target_os = "linux")]
        [_, _, ..] => send_many(socket, datagrams, to),
        [first, ..] => sendto(socket, first, SendFlags::empty(), &to).map(|_| 1),
    }
}

#[cfg(target_os = "linux")]
fn send_many(socket: &Socket, datagrams: &[&[u8]], to: SocketAddr) -> rustix::io::Result<usize> {
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, addr::SocketAddrArg, sendmmsg};
    let address = to.as_any();
    let slices: Vec<_> = datagrams.iter().map(|datagram| [io::IoSlice::new(datagram)]).collect();
    let mut controls: Vec<_> = datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let headers = slices.iter().zip(&mut controls);
    let mut headers: Vec<_> =
        headers.map(|(slice, control)| MMsgHdr::new_with_addr(&address, slice, control)).collect();
    sendmmsg(socket, &mut headers, SendFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_sizes(sizes: &[usize]) -> Vec<Vec<u8>> {
        sizes.iter().map(|&size| vec![0; size]).collect()
    }

    fn run(sizes: &[usize], len_max: usize) -> usize {
        let datagrams = of_sizes(sizes);
        let slices: Vec<_> = datagrams.iter().map(Vec::as_slice).collect();
        Segments { len_max, count_max: 64 }.run(&slices)
    }

    #[test]
    fn a_run_is_of_equal_sizes_and_may_end_with_a_shorter_one() {
        assert_eq!(run(&[1400, 1400, 1400, 900, 1400], 1472), 4);
        assert_eq!(run(&[1400, 1400, 1401], 1472), 2);
        assert_eq!(run(&[1400, 1400, 0], 1472), 2, "an empty segment is none");
        assert_eq!(run(&[0, 0, 0], 1472), 0);
    }

    #[test]
    fn what_the_path_would_have_to_fragment_is_no_run() {
        assert_eq!(run(&[1473, 1473], 1472), 0);
        assert_eq!(run(&[60_000, 60_000], 65_508), 1);
        assert_eq!(run(&[1400, 1400], 0), 0, "nothing is known about the path");
    }

    proptest! {
        #[test]
        fn a_run_always_fits_one_datagram_and_64_segments(
            size in 1usize..70_000, count in 1usize..100, tail in 0usize..70_000,
        ) {
            let sizes = [vec![size; count], vec![tail]].concat();
            let n = run(&sizes, 65_508);
            prop_assert!(n <= 64 && n <= sizes.len());
            prop_assert!(n < 2 || sizes[..n].iter().sum::<usize>() <= SEGMENTED_MAX);
            prop_assert!(sizes[..n.saturating_sub(1)].iter().all(|&s| s == size));
            prop_assert!(n == 0 || (1..=size).contains(&sizes[n - 1]));
        }
    }
}
