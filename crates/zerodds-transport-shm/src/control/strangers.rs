//! Processes that listen, and with which there is no link yet: so that it is known of them, too, that they have died.
//!
//! A locator at which nobody listens any more says nothing: a transport that is closed looks the same, and its process lives on.
//! So whoever is connected to is remembered by a descriptor of its process, from the kernel, which tells the two apart. It is
//! closed as soon as the process has ended, or there is a link.

use crate::sys::peer_pidfd;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use zerodds_core::Locator;

/// The processes behind locators that were connected to.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashMap<Locator, Process>);

#[derive(Debug)]
enum Process {
    /// Its descriptor, which is watched.
    Alive(OwnedFd),
    Ended,
}

impl Strangers {
    /// Somebody who is admitted listens there: this socket is connected to it. Whether its process has ended, and only a child
    /// that it forked has the socket still, which accepts nobody. Kernels before 6.5 do not say who. When a process ends later,
    /// `epoll` says `event`, and [`bury`](Self::bury) is due.
    pub(super) fn meet(
        &mut self,
        peer: Locator,
        socket: BorrowedFd<'_>,
        epoll: &OwnedFd,
        event: u64,
    ) -> bool {
        // Another process may listen there by now.
        self.forget(&peer, epoll);
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, process| matches!(process, Process::Alive(_)));
        }
        let Ok(process) = peer_pidfd(socket) else { return false };
        let process = process.filter(|process| !has_ended(process));
        let is_dead = process.is_none();
        if self.0.len() < REMEMBERED_MAX {
            match process {
                None => drop(self.0.insert(peer, Process::Ended)),
                Some(process) => {
                    if epoll::add(epoll, &process, EventData::new_u64(event), EventFlags::IN).is_ok() {
                        self.0.insert(peer, Process::Alive(process));
                    }
                }
            }
        }
        is_dead
    }

    /// There is a link, which watches the process itself.
    pub(super) fn forget(&mut self, peer: &Locator, epoll: &OwnedFd) {
        if let Some(Process::Alive(process)) = self.0.remove(peer) {
            unwatch(&process, epoll);
        }
    }

    /// Closes the descriptors of processes that have ended.
    pub(super) fn bury(&mut self, epoll: &OwnedFd) {
        for entry in self.0.values_mut() {
            if let Process::Alive(process) = entry
                && has_ended(process)
            {
                unwatch(process, epoll);
                *entry = Process::Ended;
            }
        }
    }

    /// Whether the process that listened there last has ended.
    pub(super) fn has_died(&self, peer: &Locator) -> bool {
        match self.0.get(peer) {
            Some(Process::Alive(process)) => has_ended(process),
            Some(Process::Ended) => true,
            None => false,
        }
    }
}

/// Not left to the closing: a child that was forked meanwhile has the descriptor too.
fn unwatch(process: &OwnedFd, epoll: &OwnedFd) {
    let _ = epoll::delete(epoll, process);
}

/// A descriptor of a process becomes readable when it has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

/// Processes that are remembered, each with a descriptor while it lives.
const REMEMBERED_MAX: usize = 128;
