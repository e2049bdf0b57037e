//! Processes that listen, and with which there is no link yet: so that it is known of them, too, that they have died.
//!
//! A locator at which nobody listens any more says nothing: a transport that is closed looks the same, and its process lives on.
//! So whoever is connected to is remembered by a descriptor of its process, from the kernel, which tells the two apart.

use crate::sys::peer_pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use zerodds_core::{Locator, Reason};

/// The processes behind locators that were connected to.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashMap<Locator, OwnedFd>);

impl Strangers {
    /// Somebody who is admitted listens there: this socket is connected to it. Kernels before 6.5 do not say who.
    pub(super) fn meet(&mut self, peer: Locator, socket: BorrowedFd<'_>) {
        // Another process may listen there by now.
        self.0.remove(&peer);
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, process| !has_ended(process));
        }
        if self.0.len() < REMEMBERED_MAX
            && let Ok(Some(process)) = peer_pidfd(socket)
        {
            self.0.insert(peer, process);
        }
    }

    /// There is a link, which watches the process itself.
    pub(super) fn forget(&mut self, peer: &Locator) {
        self.0.remove(peer);
    }

    /// Why nobody listens there.
    pub(super) fn why_absent(&self, peer: &Locator) -> Reason {
        if self.0.get(peer).is_some_and(has_ended) { Reason::PeerDied } else { Reason::PeerGone }
    }
}

/// A descriptor of a process becomes readable when it has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

/// Processes that are remembered, each with a descriptor.
const REMEMBERED_MAX: usize = 128;
