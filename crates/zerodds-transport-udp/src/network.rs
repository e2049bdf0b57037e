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
//! system, a sandbox) the table is scanned again when it is older than three seconds, at the same occasions.

use crate::config::InterfaceChoice;
use crate::interfaces::InterfaceTable;
use parking_lot::{Mutex, RwLock};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The current table and what tells that it is out of date.
#[derive(Debug)]
pub(crate) struct Network {
    chosen: Vec<InterfaceChoice>,
    table: RwLock<Arc<InterfaceTable>>,
    notices: Option<OwnedFd>,
    scanned: Mutex<Instant>,
}

impl Network {
    /// Scans for the first time.
    pub(crate) fn open(chosen: &[InterfaceChoice]) -> Self {
        // Subscribed first, so that no change is missed between the scan and the subscription.
        let notices = subscribe();
        let network = Self {
            chosen: chosen.to_vec(),
            table: RwLock::default(),
            notices,
            scanned: Mutex::new(Instant::now()),
        };
        network.scan();
        tracing::debug!(interfaces = %network.table(), "UDP uses these interfaces");
        network
    }

    /// The table as of the last scan.
    pub(crate) fn table(&self) -> Arc<InterfaceTable> {
        self.table.read().clone()
    }

    /// Scans again if something may have changed; `Some(true)` if something of the table has.
    pub(crate) fn refresh(&self) -> Option<bool> {
        let mut scanned = self.scanned.lock();
        let outdated = match &self.notices {
            Some(notices) => drain(notices),
            None => scanned.elapsed() >= RESCAN_AFTER,
        };
        if !outdated {
            return None;
        }
        *scanned = Instant::now();
        let changed = self.scan();
        if changed {
            tracing::info!(interfaces = %self.table(), "the interfaces of UDP have changed");
        }
        Some(changed)
    }

    /// Readable when [`refresh`](Self::refresh) has something to do.
    pub(crate) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().map(AsFd::as_fd)
    }

    fn scan(&self) -> bool {
        match InterfaceTable::scan(&self.chosen) {
            Ok(table) => {
                let mut current = self.table.write();
                let changed = **current != table;
                if changed {
                    *current = Arc::new(table);
                }
                changed
            }
            Err(error) => {
                tracing::warn!(%error, "the interfaces of this host cannot be listed; UDP keeps those it knows");
                false
            }
        }
    }
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
fn drain(notices: &OwnedFd) -> bool {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let mut any = false;
    for _ in 0..DRAIN_MAX {
        // The content does not matter, and what does not fit is dropped.
        match recv(notices, &mut [0_u8; 64][..], RecvFlags::empty()) {
            Ok(_) | Err(Errno::NOBUFS) => any = true,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    any
}

#[cfg(not(target_os = "linux"))]
fn subscribe() -> Option<OwnedFd> {
    None
}

#[cfg(not(target_os = "linux"))]
fn drain(_: &OwnedFd) -> bool {
    false
}
