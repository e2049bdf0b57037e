//! The receiving side of one transport: all links in turn, and how it waits.

use crate::bell::{OwnBell, timespec};
use crate::doorbell::Bed;
use crate::inlink::{InLink, Taken};
use crate::message::{Body, InPlace, ShmMessage};
use crate::peer::Link;
use crate::region::Region;
use crate::shared::{Arrival, Shared, Stats, close_broken};
use crate::spin::Spinner;
use crate::sys::SharedBytes;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use zerodds_core::{Incoming, Receiver, Wake};

/// Receives the messages of one transport, in the order in which each peer sent them, peers in turn.
pub struct ShmReceiver {
    shared: Arc<Shared>,
    links: Vec<InPeer>,
    /// The link to look at first.
    turn: usize,
    arrived: VecDeque<Incoming<ShmMessage>>,
    /// Every doorbell that may ring for us: the common one, then those of peers of other users.
    bells: Vec<Arc<OwnBell>>,
    /// What each bell was armed with, while armed.
    armed: Option<Vec<u32>>,
    /// Readable when any doorbell's eventfd is.
    readiness: Option<OwnedFd>,
    spinner: Spinner,
}

struct InPeer {
    link: Arc<Link>,
    incoming: InLink,
    /// The end of this link has been reported.
    reported: bool,
}

impl ShmReceiver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let bell = Arc::clone(&shared.bell);
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC).ok();
        let spinner = Spinner::new(shared.config.wait);
        let mut receiver = Self {
            shared,
            links: Vec::new(),
            turn: 0,
            arrived: VecDeque::new(),
            bells: Vec::new(),
            armed: None,
            readiness,
            spinner,
        };
        receiver.add_bell(bell);
        receiver
    }

    fn add_bell(&mut self, bell: Arc<OwnBell>) {
        if self.bells.iter().any(|known| Arc::ptr_eq(known, &bell)) {
            return;
        }
        if let Some(readiness) = &self.readiness {
            let data = epoll::EventData::new_u64(0);
            if let Err(error) = epoll::add(readiness, bell.event(), data, epoll::EventFlags::IN) {
                tracing::warn!("a doorbell cannot be watched, its peer is received with delay: {error}");
            }
        }
        self.bells.push(bell);
    }

    fn collect(&mut self) {
        // ORDER: SeqCst, see doorbell.rs: this is looked at between arming and sleeping.
        if !self.shared.inbox.filled.load(Ordering::SeqCst) {
            return;
        }
        for arrival in self.shared.inbox.take_all() {
            match arrival {
                Arrival::Own(message) => self.arrived.push_back(Incoming::Message(message)),
                Arrival::Up(link) => {
                    self.add_bell(Arc::clone(&link.own_bell));
                    self.arrived.push_back(Incoming::PeerUp(link.locator));
                    self.links.push(InPeer { incoming: link.incoming(), link, reported: false });
                }
            }
        }
    }

    /// Looks once at the link with this index.
    fn look(&mut self, index: usize) -> Option<Incoming<ShmMessage>> {
        let peer = &mut self.links[index];
        // Before the look: a message sent before the end is found by it.
        let ended = peer.link.down.get().is_some();
        match peer.take() {
            Ok(Some(message)) => return Some(Incoming::Message(message)),
            Ok(None) if !ended || peer.incoming.is_ready(&peer.link.memory) => return None,
            Ok(None) => {}
            Err(broken) => close_broken(&self.shared, &Arc::clone(&peer.link), broken),
        }
        let reason = peer.link.down.get().cloned()?;
        let locator = peer.link.locator;
        peer.reported = true;
        Some(Incoming::PeerDown(locator, reason))
    }

    fn forget_ended(&mut self) {
        let common = Arc::clone(&self.shared.bell);
        self.links.retain(|peer| !peer.reported);
        let links = &self.links;
        self.bells.retain(|bell| {
            Arc::ptr_eq(bell, &common) || links.iter().any(|peer| Arc::ptr_eq(&peer.link.own_bell, bell))
        });
    }

    /// Whether `try_receive` would find something.
    fn is_ready(&self) -> bool {
        !self.arrived.is_empty()
            || self.shared.inbox.filled.load(Ordering::SeqCst)
            || self.links.iter().any(|peer| {
                peer.incoming.is_ready(&peer.link.memory)
                    || (peer.link.down.get().is_some() && !peer.reported)
            })
    }

    fn arm_bells(&mut self, bed: Bed) {
        self.disarm();
        self.armed = Some(self.bells.iter().map(|bell| bell.arm(bed)).collect());
    }

    fn disarm(&mut self) {
        if let Some(armed) = self.armed.take() {
            for (bell, armed) in self.bells.iter().zip(armed) {
                bell.disarm(armed);
            }
        }
    }

    /// Sleeps once, until rung, a descriptor of `also` is readable, or the deadline; says whether `also` is.
    fn sleep(&mut self, bed: Bed, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> bool {
        match (bed, self.armed.as_deref()) {
            (Bed::Futex, Some(&[armed, ..])) => {
                self.shared.bell.sleep(armed, deadline);
                false
            }
            (Bed::Futex, _) => false,
            (Bed::EventFd, _) => {
                let timeout = deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
                let mut fds: Vec<PollFd<'_>> =
                    also.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
                fds.extend(self.readiness.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
                // Interrupted or woken: the caller looks either way.
                let _ = poll(&mut fds, timeout.as_ref());
                fds.iter().take(also.len()).any(|fd| !fd.revents().is_empty())
            }
        }
    }
}

impl Receiver for ShmReceiver {
    type Message = ShmMessage;

    fn try_receive(&mut self) -> Option<Incoming<ShmMessage>> {
        self.disarm();
        self.collect();
        if let Some(arrived) = self.arrived.pop_front() {
            return Some(arrived);
        }
        for _ in 0..self.links.len() {
            let index = self.turn % self.links.len();
            self.turn = index + 1;
            if let Some(found) = self.look(index) {
                match &found {
                    Incoming::Message(message) => {
                        Stats::add(&self.shared.stats.received_messages, 1);
                        Stats::add(&self.shared.stats.received_bytes, message.len() as u64);
                    }
                    _ => self.forget_ended(),
                }
                return Some(found);
            }
        }
        None
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        let idle_since = Instant::now();
        let bed = if also.is_empty() && self.bells.len() == 1 { Bed::Futex } else { Bed::EventFd };
        loop {
            if self.spin(deadline) {
                return Wake::Ready;
            }
            self.arm_bells(bed);
            if self.is_ready() {
                self.disarm();
                return Wake::Ready;
            }
            if self.shared.is_closed() {
                self.disarm();
                return Wake::Closed;
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                self.disarm();
                return Wake::TimedOut;
            }
            let also_ready = self.sleep(bed, deadline, also);
            self.disarm();
            self.spinner.woken(idle_since, self.shared.bell.waker_core());
            if also_ready || self.is_ready() {
                return Wake::Ready;
            }
        }
    }

    fn arm(&mut self) -> Wake {
        self.arm_bells(Bed::EventFd);
        if self.is_ready() {
            self.disarm();
            Wake::Ready
        } else if self.shared.is_closed() {
            Wake::Closed
        } else {
            Wake::TimedOut
        }
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        self.readiness.iter().map(AsFd::as_fd).collect()
    }
}

impl ShmReceiver {
    /// Looks again and again for as long as the strategy says; whether something came.
    fn spin(&mut self, deadline: Option<Instant>) -> bool {
        let Some(window) = self.spinner.window() else { return false };
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.is_ready() || self.shared.is_closed() {
                    self.spinner.found();
                    return true;
                }
                std::hint::spin_loop();
            }
            let spun = start.elapsed();
            if spun >= window || deadline.is_some_and(|at| start + spun >= at) {
                self.spinner.in_vain();
                return false;
            }
        }
    }
}

impl AsFd for ShmReceiver {
    /// Readable, once armed, when something arrives.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_ref().map_or_else(|| self.shared.bell.event(), AsFd::as_fd)
    }
}

impl InPeer {
    fn take(&mut self) -> Result<Option<ShmMessage>, crate::region::Broken> {
        let Self { link, incoming, .. } = self;
        let taken = incoming.take(
            &link.memory,
            |at, buffer| link.ring.copy_out(at, buffer),
            |handle, position| {
                crate::slots::release(&link.memory, link.outgoing.reverse(), handle, position);
            },
        )?;
        let body = match taken {
            None => return Ok(None),
            Some(Taken::Copied(bytes)) => Body::Copied(bytes),
            Some(Taken::InPlace { at, len, handle, position }) => {
                let bytes = SharedBytes::new(Arc::clone(&link.ring), at, len);
                Body::InPlace(InPlace { bytes, link: Arc::clone(link), handle, position })
            }
        };
        // A slot, and with a copy ring bytes too, are free again.
        link.bell.notify_space();
        Ok(Some(ShmMessage { body, source: link.locator }))
    }
}

impl Drop for ShmReceiver {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Looks between two glances at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
