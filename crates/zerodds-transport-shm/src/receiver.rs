//! The receiving side of one transport: all links in turn, and how it waits.

use crate::bell::timespec;
use crate::doorbell::{Bed, Space};
use crate::inlink::{InLink, Taken};
use crate::link_id::LinkId;
use crate::message::{Body, InPlace, ShmMessage};
use crate::peer::Reading;
use crate::region::Broken;
use crate::shared::{Arrival, Shared, close_broken, leave_unreceived};
use crate::slots;
use crate::spin::{Burst, Spinner};
use crate::sys::SharedBytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerodds_core::{Incoming, Locator, Receiver, Wake};

/// Receives the messages of one transport, in the order in which each peer sent them, peers in turn.
///
/// Dropping it while the transport is open ends the transport's links for good: who listens to nobody cannot be sent to, nor
/// send, through shared memory. Peers are told, and need not take it for a death.
pub struct ShmReceiver {
    shared: Arc<Shared>,
    links: Vec<InPeer>,
    /// The link to look at first.
    turn: usize,
    arrived: VecDeque<Arrival>,
    /// A message of our own was received last: whoever sends to itself without end keeps nobody else waiting.
    was_own: bool,
    /// We have said that we sleep.
    is_armed: bool,
    spinner: Spinner,
    burst: Burst,
}

struct InPeer {
    reading: Arc<Reading>,
    incoming: InLink,
    /// Bytes of the peer's ring that were taken since it was last told that it was much, but for messages that are much by
    /// themselves and are read in place.
    taken: usize,
}

/// How a wait went on.
enum Doze {
    /// It need not.
    Over(Wake),
    /// The receiver slept, and has not looked since; whether a descriptor of the caller's is readable.
    Woken { also: bool },
}

impl ShmReceiver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let spinner = Spinner::new(shared.config.wait);
        let (links, arrived, burst) = (Vec::new(), VecDeque::new(), Burst::default());
        Self { shared, links, turn: 0, arrived, was_own: false, is_armed: false, spinner, burst }
    }

    /// The link by which this peer's messages come, from its [`PeerUp`](Incoming::PeerUp) to its
    /// [`PeerDown`](Incoming::PeerDown).
    #[must_use]
    pub fn link_id(&self, peer: &Locator) -> Option<LinkId> {
        self.links.iter().find(|link| link.reading.locator == *peer).map(|link| link.reading.id)
    }

    /// Whether there is something that did not come through a link.
    fn has_arrivals(&mut self) -> bool {
        self.shared.inbox.ask();
        // ORDER: SeqCst, see doorbell.rs: this is looked at between arming and sleeping.
        if self.arrived.is_empty() && self.shared.inbox.filled.load(Ordering::SeqCst) {
            self.arrived = self.shared.inbox.take_all();
            self.shared.bell.notify_space(Space::Any);
        }
        !self.arrived.is_empty()
    }

    /// The next of it.
    #[cold]
    fn arrival(&mut self) -> Option<Incoming<ShmMessage>> {
        // While a peer's previous link is drained, whose end comes first, others need not wait for it.
        let is_next = |arrival: &Arrival| match arrival {
            Arrival::Own(_) => true,
            Arrival::Up(new) => !self.links.iter().any(|old| old.reading.locator == new.locator),
        };
        let next = self.arrived.iter().position(is_next)?;
        match self.arrived.remove(next)? {
            Arrival::Own(message) => {
                self.shared.stats.received(message.len());
                self.was_own = true;
                Some(Incoming::Message(message))
            }
            Arrival::Up(reading) => {
                let up = Incoming::PeerUp(reading.locator);
                self.links.push(InPeer { incoming: reading.incoming(), reading, taken: 0 });
                Some(up)
            }
        }
    }

    /// The next message or end of one of the links, which take turns; where there is none, of what came otherwise.
    fn look_around(&mut self, has_arrivals: bool) -> Option<Incoming<ShmMessage>> {
        for _ in 0..self.links.len() {
            // A division takes as long as all else that is looked at here.
            let index = if self.turn < self.links.len() { self.turn } else { 0 };
            self.turn = index + 1;
            let peer = &mut self.links[index];
            if peer.reading.down.get().is_some() {
                peer.close();
            }
            // The first step of what follows. Returned from here: each further enum that it passed through were a copy, which
            // would have to wait for the last one.
            if let Some((bytes, frees)) = peer.incoming.take_due(&peer.reading.memory) {
                if frees {
                    peer.notify_space(bytes.len());
                }
                self.burst.took();
                self.shared.stats.received(bytes.len());
                let source = peer.reading.locator;
                return Some(Incoming::Message(ShmMessage { body: Body::Copied(bytes), source }));
            }
            match peer.take() {
                Ok(Some(message)) => {
                    self.burst.took();
                    self.shared.stats.received(message.len());
                    return Some(Incoming::Message(message));
                }
                Ok(None) if !peer.incoming.is_over(&peer.reading.memory) => continue,
                Ok(None) => {}
                Err(broken) => {
                    peer.close();
                    close_broken(&self.shared, &peer.reading, broken);
                }
            }
            // It is over, and everything on it was taken.
            let peer = self.links.swap_remove(index);
            let reason = peer.reading.down.get().cloned()?;
            return Some(Incoming::PeerDown(peer.reading.locator, reason));
        }
        if has_arrivals { self.arrival() } else { None }
    }

    /// Whether `try_receive` would find something.
    fn is_ready(&self) -> bool {
        !self.arrived.is_empty()
            || self.shared.inbox.filled.load(Ordering::SeqCst)
            || self.links.iter().any(InPeer::is_ready)
    }

    /// Whether this is a forked child's copy: messages and bell are its parent's, and it may touch neither.
    fn is_inherited(&self) -> bool {
        !self.shared.generation.is_ours()
    }

    fn arm_bell(&mut self, bed: Bed) -> u32 {
        self.disarm();
        if bed == Bed::Poll {
            self.shared.bell.empty();
        }
        self.is_armed = true;
        self.shared.bell.arm(bed)
    }

    fn disarm(&mut self) {
        if std::mem::take(&mut self.is_armed) {
            self.shared.bell.disarm();
        }
    }

    /// Spins and sleeps once, as the strategy says.
    fn doze(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Doze {
        if self.is_inherited() {
            return Doze::Over(Wake::Closed);
        }
        let mut left = until(deadline);
        if left == Some(Duration::ZERO) {
            return Doze::Over(Wake::TimedOut);
        }
        // Asked where it spins as well: a burst ends with each wait.
        let may_go_on = self.burst.may_go_on();
        if let Some(window) = self.spinner.window(!also.is_empty()) {
            if self.spin(window, deadline, also) {
                let is_more = self.is_ready() || !self.shared.is_ended();
                return Doze::Over(if is_more { Wake::Ready } else { Wake::Closed });
            }
            left = until(deadline);
        } else if may_go_on {
            if self.linger() {
                return Doze::Over(Wake::Ready);
            }
            left = until(deadline);
        }
        let bed = if also.is_empty() { Bed::Futex } else { Bed::Poll };
        let idle_since = self.spinner.clock();
        let armed = self.arm_bell(bed);
        // In this order: what arrived before the end is found.
        let (ended, is_ready) = (self.shared.is_ended(), self.is_ready());
        if ended || is_ready {
            self.disarm();
            return Doze::Over(if is_ready { Wake::Ready } else { Wake::Closed });
        }
        let also = self.sleep(bed, armed, left, also);
        self.disarm();
        self.spinner.woken(idle_since, self.shared.bell.waker_core());
        Doze::Woken { also }
    }

    /// Sleeps once, until rung, a descriptor of `also` is readable, or so much time has passed; says whether `also` is.
    fn sleep(&self, bed: Bed, armed: u32, left: Option<Duration>, also: &[BorrowedFd<'_>]) -> bool {
        match bed {
            Bed::Futex => {
                self.shared.bell.sleep(armed, left);
                false
            }
            Bed::Poll => any_readable(also, Some(self.shared.bell.readiness()), left.map(timespec).as_ref()),
        }
    }

    /// After a burst: waits for a moment whether it goes on. Looks seldom, since each look takes from the sender the line that it
    /// is about to write.
    fn linger(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LULL {
            (0..PAUSES_PER_LOOK).for_each(|_| std::hint::spin_loop());
            if self.is_ready() {
                self.burst.went_on();
                return true;
            }
        }
        self.burst.was_over();
        false
    }

    /// Looks again and again for so long; whether something came.
    fn spin(&mut self, window: Duration, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> bool {
        let (mut start, mut spent) = (None, Duration::ZERO);
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.is_ready() || self.shared.is_ended() {
                    self.spinner.found(spent);
                    return true;
                }
                std::hint::spin_loop();
            }
            if !also.is_empty() && any_readable(also, None, Some(&Timespec::default())) {
                return true;
            }
            let now = Instant::now();
            spent = now - *start.get_or_insert(now);
            if spent >= window || deadline.is_some_and(|at| now >= at) {
                self.spinner.in_vain();
                return false;
            }
        }
    }
}

impl Receiver for ShmReceiver {
    type Message = ShmMessage;

    fn try_receive(&mut self) -> Option<Incoming<ShmMessage>> {
        if self.is_inherited() {
            return None;
        }
        self.disarm();
        let has_arrivals = self.has_arrivals();
        // After a message of our own it is the turn of the links.
        if !std::mem::take(&mut self.was_own)
            && has_arrivals
            && let Some(arrival) = self.arrival()
        {
            return Some(arrival);
        }
        self.look_around(has_arrivals)
    }

    fn wait(&mut self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> Wake {
        loop {
            match self.doze(deadline, also) {
                Doze::Over(wake) => return wake,
                Doze::Woken { also: true } => return Wake::Ready,
                Doze::Woken { also: false } if self.is_ready() => return Wake::Ready,
                Doze::Woken { also: false } => {}
            }
        }
    }

    /// As provided, but that whoever was woken looks once and not twice.
    fn receive(&mut self, deadline: Option<Instant>) -> Option<Incoming<ShmMessage>> {
        loop {
            // Returned as it is: to take it out and put it in again were two copies.
            let incoming = self.try_receive();
            if incoming.is_some() {
                return incoming;
            }
            match self.doze(deadline, &[]) {
                Doze::Woken { .. } | Doze::Over(Wake::Ready) => {}
                Doze::Over(Wake::TimedOut | Wake::Closed) => return self.try_receive(),
            }
        }
    }

    fn arm(&mut self) -> Wake {
        if self.is_inherited() {
            return Wake::Closed;
        }
        self.arm_bell(Bed::Poll);
        let ended = self.shared.is_ended();
        if self.is_ready() {
            self.disarm();
            Wake::Ready
        } else if ended {
            Wake::Closed
        } else {
            Wake::TimedOut
        }
    }

    fn readiness(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.as_fd()]
    }
}

impl AsFd for ShmReceiver {
    /// Readable, once armed, when something arrives.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.readiness()
    }
}

impl InPeer {
    /// Whatever is sent from now on, and is not among what is taken now, is refused: its sender may not have heard
    /// of the end.
    fn close(&mut self) {
        self.incoming.close(&self.reading.memory);
    }

    fn is_ready(&self) -> bool {
        self.incoming.is_ready(&self.reading.memory) || self.reading.down.get().is_some()
    }

    fn take(&mut self) -> Result<Option<ShmMessage>, Broken> {
        let Self { reading, incoming, .. } = self;
        let direction = reading.outgoing.reverse();
        let taken = incoming.take(
            &reading.memory,
            |at, buffer| reading.ring.copy_out(at, buffer),
            |handle, position| slots::release(&reading.memory, direction, handle, position),
        )?;
        let source = reading.locator;
        let body = match taken {
            None => return Ok(None),
            Some(Taken::Copied { bytes, frees }) => {
                if frees {
                    self.notify_space(bytes.len());
                }
                Body::Copied(bytes)
            }
            Some(Taken::InPlace { at, len, handle, position }) => {
                // Its slot is free again, its bytes are not yet: what is much by itself is told of when it is given back.
                self.notify_space(if Space::of(len) == Space::Much { 0 } else { len });
                let bytes = SharedBytes::new(Arc::clone(&self.reading), at, len);
                Body::InPlace(InPlace { bytes, handle, position })
            }
        };
        Ok(Some(ShmMessage { body, source }))
    }

    /// `len` more bytes were taken. It is much as well when there is nothing left to take meanwhile.
    fn notify_space(&mut self, len: usize) {
        self.taken += len;
        let is_awaited = self.reading.is_space_awaited();
        let mut given = Space::of(self.taken);
        // Looked for only then: what comes next lies in a line that its sender may be writing.
        if given == Space::Much || is_awaited && !self.incoming.is_ready(&self.reading.memory) {
            (self.taken, given) = (0, Space::Much);
        }
        if is_awaited {
            self.reading.notify_space(given);
        }
    }
}

impl Drop for ShmReceiver {
    fn drop(&mut self) {
        if self.is_inherited() {
            return;
        }
        self.disarm();
        for peer in &mut self.links {
            peer.close();
            leave_unreceived(&self.shared, &peer.reading);
        }
        let waiting = self.arrived.drain(..).chain(self.shared.inbox.close());
        waiting.for_each(|arrival| arrival.refuse(&self.shared));
        // Whoever waits to send to us, from this process, waits in vain.
        self.shared.bell.notify_space(Space::Much);
    }
}

/// The time until then.
fn until(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|at| at.saturating_duration_since(Instant::now()))
}

/// Waits until one of `also` or `bell` is readable; says whether one of `also` is. Interrupted or woken: the
/// caller looks either way.
fn any_readable(also: &[BorrowedFd<'_>], bell: Option<BorrowedFd<'_>>, timeout: Option<&Timespec>) -> bool {
    let watched = also.iter().copied().chain(bell);
    let mut fds: SmallVec<[PollFd<'_>; 4]> =
        watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    if poll(&mut fds, timeout).is_err_and(|error| error != Errno::INTR) {
        // The kernel has no memory for the question. Whoever asks again at once would only take more from it.
        std::thread::sleep(PAUSE);
        return false;
    }
    fds.iter().take(also.len()).any(|fd| !fd.revents().is_empty())
}

/// Between two attempts to wait that the kernel refuses.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the next message of a burst is waited for, and one look more: to say that one sleeps, and that one does not
/// after all, costs both sides more than that where they are on different processors.
const LULL: Duration = Duration::from_micros(3);
/// A pause is a tenth of a microsecond, or less.
const PAUSES_PER_LOOK: u32 = 64;
/// Looks between two glances at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
