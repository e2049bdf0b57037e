//! The network as it is now: an [`InterfaceTable`] that is kept up to date without a thread.
//!
//! ```text
//!   kernel ──RTM_NEWADDR, RTM_DELLINK, ...──▶ netlink socket ──readable──▶ the receiver wakes
//!                                                                          │
//!   locators(), a multicast, a send without a route ──────────────────────▶ refresh(): scan if notified
//! ```
//! The kernel tells of every change through a netlink socket, which the receiver watches together with its
//! own; whoever else is about to rely on the table asks it too, which costs one system call. The messages
//! themselves are not parsed: they only say that it is time to look. Where netlink is not to be had (another
//! system, a sandbox, also one that denies to read it later), or the last scan failed (for want of a descriptor), the table is
//! scanned again when that was three seconds ago, at the same occasions.

use crate::config::InterfaceChoice;
use crate::interfaces::InterfaceTable;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The current table and what tells that it is out of date.
#[derive(Debug)]
pub(crate) struct Network {
    chosen: Vec<InterfaceChoice>,
    table: RwLock<Arc<InterfaceTable>>,
    notices: Option<OwnedFd>,
    last: Mutex<Scan>,
    scan: fn(&[InterfaceChoice]) -> io::Result<InterfaceTable>,
}

/// The last scan.
#[derive(Debug)]
struct Scan {
    at: Instant,
    /// Why it failed, if it did: the notices that it answered were taken, and the table is as it was.
    failure: Option<String>,
    /// Notices cannot be read any more, and are not waited for.
    deaf: bool,
}

impl Network {
    /// Scans for the first time.
    pub(crate) fn open(chosen: &[InterfaceChoice]) -> Self {
        // Subscribed first, so that no change is missed between the scan and the subscription.
        let network = Self::new(chosen, subscribe(), InterfaceTable::scan);
        tracing::debug!(interfaces = %network.table(), "UDP uses these interfaces");
        network
    }

    pub(crate) fn new(
        chosen: &[InterfaceChoice],
        notices: Option<OwnedFd>,
        scan: fn(&[InterfaceChoice]) -> io::Result<InterfaceTable>,
    ) -> Self {
        let last = Mutex::new(Scan { at: Instant::now(), failure: None, deaf: false });
        let network = Self { chosen: chosen.to_vec(), table: RwLock::default(), notices, last, scan };
        let first = network.scan(&mut network.last.lock());
        said(first);
        network
    }

    /// The table as of the last scan.
    pub(crate) fn table(&self) -> Arc<InterfaceTable> {
        self.table.read().clone()
    }

    /// Scans again if something may have changed; `Some(true)` if something of the table has.
    pub(crate) fn refresh(&self) -> Option<bool> {
        let mut last = self.last.lock();
        let notices = self.notices.as_ref().filter(|_| !last.deaf);
        let heard = notices.map_or(Ok(false), drain);
        last.deaf |= heard.is_err();
        let untold = notices.is_none() || last.failure.is_some();
        // What cannot be read may be news.
        let outdated = *heard.as_ref().unwrap_or(&true) || (untold && last.at.elapsed() >= RESCAN_AFTER);
        let scanned = outdated.then(|| self.scan(&mut last));
        // Whoever hears of it may publish what it hears.
        drop(last);
        if let Err(error) = heard {
            tracing::warn!(
                %error,
                "UDP is not told any more when interfaces change, and looks every {} s instead: the system (a \
                 sandbox?) denies recvfrom on netlink",
                RESCAN_AFTER.as_secs()
            );
        }
        let changed = said(scanned?);
        if changed {
            tracing::info!(interfaces = %self.table(), "the interfaces of UDP have changed");
        }
        Some(changed)
    }

    /// Why the last scan failed, if it did.
    pub(crate) fn listing_error(&self) -> Option<String> {
        self.last.lock().failure.clone()
    }

    /// Readable when [`refresh`](Self::refresh) has something to do.
    pub(crate) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().map(AsFd::as_fd)
    }

    /// The same, once they cannot be read: nobody would ever take what makes them readable.
    pub(crate) fn unreadable(&self) -> Option<BorrowedFd<'_>> {
        self.notices().filter(|_| self.last.lock().deaf)
    }

    /// Whether the table has changed; an error is one to be said if it is the first of several.
    fn scan(&self, last: &mut Scan) -> Result<bool, Option<io::Error>> {
        last.at = Instant::now();
        let scanned = (self.scan)(&self.chosen);
        let failure = scanned.as_ref().err().map(ToString::to_string);
        let is_news = std::mem::replace(&mut last.failure, failure).is_none();
        let table = scanned.map_err(|error| is_news.then_some(error))?;
        let mut current = self.table.write();
        let changed = **current != table;
        if changed {
            *current = Arc::new(table);
        }
        Ok(changed)
    }
}

/// Says why a scan failed; whether it has found a change.
fn said(scanned: Result<bool, Option<io::Error>>) -> bool {
    if let Err(Some(error)) = &scanned {
        tracing::warn!(
            %error,
            "the interfaces of this host cannot be listed; UDP keeps those it knows until they can"
        );
    }
    scanned.unwrap_or(false)
}

const RESCAN_AFTER: Duration = Duration::from_secs(3);
/// The most notices read at once; the rest wake the next refresh.
#[cfg(target_os = "linux")]
const DRAIN_MAX: usize = 256;

/// Subscribes to changes of links and addresses.
#[cfg(target_os = "linux")]
fn subscribe() -> Option<OwnedFd> {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, socket_with,
    };
    // RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of rtnetlink(7).
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is protocol 0, NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).ok()?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).ok()?;
    Some(socket)
}

/// Takes all pending notices; `true` if there were any, or some were lost for want of room.
#[cfg(target_os = "linux")]
fn drain(notices: &OwnedFd) -> io::Result<bool> {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let mut any = false;
    for _ in 0..DRAIN_MAX {
        // The content does not matter, and what does not fit is dropped.
        match recv(notices, &mut [0_u8; 64][..], RecvFlags::empty()) {
            Ok(_) | Err(Errno::NOBUFS) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(any)
}

#[cfg(not(target_os = "linux"))]
fn subscribe() -> Option<OwnedFd> {
    None
}

#[cfg(not(target_os = "linux"))]
fn drain(_: &OwnedFd) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::{AtomicU32, Ordering};
    use zerodds_core::testing::heard;

    #[test]
    fn a_scan_that_failed_is_made_again_after_a_pause_though_nothing_changes_any_more() {
        const HOUR: Duration = Duration::from_secs(3600);
        static SCANS: AtomicU32 = AtomicU32::new(0);
        // The first finds one interface, the second has no descriptor, the third finds another one.
        fn scan(_: &[InterfaceChoice]) -> io::Result<InterfaceTable> {
            match SCANS.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(InterfaceTable::of(&[("eth0", "192.0.2.7", 24, true)])),
                1 => Err(Errno::MFILE.into()),
                _ => Ok(InterfaceTable::of(&[("eth1", "198.51.100.7", 24, true)])),
            }
        }
        let (kernel, notices) = UnixDatagram::pair().unwrap();
        notices.set_nonblocking(true).unwrap();
        let network = Network::new(&[], Some(notices.into()), scan);
        assert_eq!(network.refresh(), None);
        kernel.send(b"RTM_NEWADDR").unwrap();
        assert_eq!(network.refresh(), Some(false));
        assert_eq!(network.listing_error(), Some(io::Error::from(Errno::MFILE).to_string()));
        network.last.lock().at += HOUR;
        assert_eq!(network.refresh(), None, "not at once");
        network.last.lock().at -= HOUR + RESCAN_AFTER;
        assert_eq!((network.refresh(), network.listing_error()), (Some(true), None));
        network.last.lock().at -= RESCAN_AFTER;
        assert_eq!(network.refresh(), None, "the kernel tells of what comes now");
    }

    #[test]
    fn what_the_kernel_can_tell_nobody_any_more_is_looked_for_every_three_seconds() {
        // As to a process that may not, and for good: what recv says of a pipe.
        let (notices, _kernel) = io::pipe().unwrap();
        let network = Network::new(&[], Some(notices.into()), |_| Ok(InterfaceTable::default()));
        assert_eq!(network.refresh(), Some(false), "it may be news");
        assert_eq!(network.refresh(), None, "not at once");
        network.last.lock().at -= RESCAN_AFTER;
        assert_eq!(network.refresh(), Some(false));
    }

    #[test]
    fn whoever_hears_of_the_network_can_multicast_at_once() {
        static SCANS: AtomicU32 = AtomicU32::new(0);
        fn scan(_: &[InterfaceChoice]) -> io::Result<InterfaceTable> {
            match SCANS.fetch_add(1, Ordering::Relaxed) {
                1 => Err(Errno::MFILE.into()),
                2 => Ok(InterfaceTable::of(&[("eth1", "198.51.100.7", 24, true)])),
                _ => Ok(InterfaceTable::default()),
            }
        }
        let (notices, _kernel) = io::pipe().unwrap();
        let network = Arc::new(Network::new(&[], Some(notices.into()), scan));
        let heard_of = Arc::clone(&network);
        let is_free = move || heard_of.last.try_lock().is_some() && heard_of.table.try_write().is_some();
        let count = heard(is_free, || {
            assert_eq!(network.refresh(), Some(false));
            network.last.lock().at -= RESCAN_AFTER;
            assert_eq!(network.refresh(), Some(true));
        });
        assert_eq!(
            count, 3,
            "that notices cannot be read, nor interfaces listed, and that they have changed"
        );
    }
}
