//! The doorbell's kernel side: sleeping on it and waking its owner.
//!
//! One doorbell serves all peers of our own user. Peers of other users wake us through their link's socket and our
//! control thread instead (see `peer`).

use crate::crash;
use crate::doorbell::{self, Bed};
use crate::layout::doorbell as at;
use crate::region::Region;
use crate::segment::{self, MapError, Object, Sharing};
use crate::sync::{AtomicU32, Ordering, for_futex};
use crate::sys::Mapping;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::ReadWriteFlags;
use rustix::thread::futex;
use rustix::time::Timespec;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A doorbell of our own, on which we sleep.
pub(crate) struct OwnBell {
    object: Object,
    event: OwnedFd,
}

/// A peer's doorbell, which we ring.
pub(crate) struct PeerBell {
    mapping: Mapping,
    event: OwnedFd,
    /// What the last ring of ours that is done left in its word.
    rung: std::sync::atomic::AtomicU32,
}

impl OwnBell {
    pub(crate) fn create(owner: u64) -> io::Result<Self> {
        let object = segment::create("zerodds-doorbell", at::LEN, owner, Sharing::ReadWrite)?;
        Ok(Self { object, event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// What peers need to ring it: the memory and the eventfd.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.object.fd.as_fd(), self.event.as_fd()]
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Announces sleep; everything must be looked at once more before [`sleep`](Self::sleep).
    pub(crate) fn arm(&self, bed: Bed) -> u32 {
        doorbell::arm(&self.object.mapping, bed)
    }

    /// Announces that we are awake again. After a sleep on the eventfd it is emptied, rung or not: a sender may have
    /// been stopped between its two steps, and its write would wake us for ever.
    pub(crate) fn disarm(&self, bed: Bed) {
        doorbell::disarm(&self.object.mapping);
        if bed == Bed::EventFd {
            // NOWAIT rather than O_NONBLOCK, which is a flag of the description that every peer shares and can clear.
            // WouldBlock: nobody rang.
            let mut count = [0; 8];
            let buffer = &mut [IoSliceMut::new(&mut count)];
            let _ = rustix::io::preadv2(&self.event, buffer, CURRENT_POSITION, ReadWriteFlags::NOWAIT);
        }
    }

    /// Sleeps until rung since [`arm`](Self::arm) returned `armed`, or until the deadline. May wake early.
    pub(crate) fn sleep(&self, armed: u32, deadline: Option<Instant>) {
        wait_on(self.object.mapping.u32(at::BELL), armed, deadline);
    }

    /// The core from which we were rung last, if somebody said.
    pub(crate) fn waker_core(&self) -> Option<u32> {
        // ORDER: Relaxed; a hint.
        self.object.mapping.u32(at::WAKER).load(Ordering::Relaxed).checked_sub(1)
    }

    /// Wakes ourselves: something other than a message happened.
    pub(crate) fn ring(&self) {
        ring(&self.object.mapping, &self.event, doorbell::NEVER_RUNG);
    }

    /// Announces that a sender of this process waits for space; everything must be tried once more.
    pub(crate) fn arm_space(&self) -> u32 {
        doorbell::arm_space(&self.object.mapping)
    }

    pub(crate) fn disarm_space(&self) {
        doorbell::disarm_space(&self.object.mapping);
    }

    /// Sleeps until a peer gave space back since [`arm_space`](Self::arm_space), or until the deadline.
    pub(crate) fn sleep_for_space(&self, armed: u32, deadline: Instant) {
        wait_on(self.object.mapping.u32(at::SPACE), armed, Some(deadline));
    }

    /// Wakes our own senders that wait for space.
    pub(crate) fn notify_space(&self) {
        notify_space(&self.object.mapping);
    }
}

impl PeerBell {
    pub(crate) fn map(memory: &OwnedFd, event: OwnedFd, owner: u64) -> Result<Self, MapError> {
        if !is_eventfd(&event) {
            return Err(MapError::NotAFile);
        }
        let mapping = segment::map(memory, at::LEN, owner, Sharing::ReadWrite)?;
        Ok(Self { mapping, event, rung: doorbell::NEVER_RUNG.into() })
    }

    /// After publishing: whether the peer must be woken.
    pub(crate) fn is_asleep(&self) -> bool {
        // ORDER: Relaxed; an older value has the peer woken once more.
        doorbell::is_asleep(&self.mapping, self.rung.load(Ordering::Relaxed))
    }

    /// After publishing: wakes the peer if it sleeps.
    pub(crate) fn ring(&self) {
        // ORDER: Relaxed, as above, and for the store: it says that the peer was woken already. Of two threads that ring at
        // once the one whose value stands in the word says so last, or the next message has the peer woken once more.
        if let Some(now) = ring(&self.mapping, &self.event, self.rung.load(Ordering::Relaxed)) {
            self.rung.store(now, Ordering::Relaxed);
        }
    }

    /// After giving space back: wakes the peer's senders if they wait for it.
    pub(crate) fn notify_space(&self) {
        notify_space(&self.mapping);
    }
}

/// What the word says afterwards, if its owner had to be woken.
fn ring(bell: &Mapping, event: &OwnedFd, rung: u32) -> Option<u32> {
    let (bed, now) = doorbell::ring(bell, rung)?;
    crash::step("wake");
    // ORDER: Relaxed; a hint.
    bell.u32(at::WAKER).store(rustix::thread::sched_getcpu() as u32 + 1, Ordering::Relaxed);
    match bed {
        Bed::Futex => wake(bell.u32(at::BELL)),
        // A full counter (nobody reads it) is as good as one more.
        Bed::EventFd => drop(rustix::io::write(event, &1u64.to_ne_bytes())),
    }
    Some(now)
}

fn notify_space(bell: &Mapping) {
    if doorbell::notify_space(bell) {
        crash::step("wake for space");
        wake(bell.u32(at::SPACE));
    }
}

/// Wakes all: whoever sleeps there besides the owner must not take its wake.
fn wake(word: &AtomicU32) {
    // Shared, not private: the sleeper is another process. It cannot fail on a mapped word.
    let _ = futex::wake(for_futex(word), futex::Flags::empty(), i32::MAX as u32);
}

/// One sleep; every return is a reason to look again, so no error needs telling apart.
fn wait_on(word: &AtomicU32, value: u32, deadline: Option<Instant>) {
    let timeout = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => return,
        timeout => timeout.map(timespec),
    };
    let _ = futex::wait(for_futex(word), futex::Flags::empty(), value, timeout.as_ref());
}

/// A duration for the kernel; what does not fit is for ever.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

/// `preadv2`'s offset of -1: read as `read` does.
const CURRENT_POSITION: u64 = u64::MAX;

/// Writing to whatever descriptor a peer sends could block or do harm, so only an eventfd is accepted.
pub(crate) fn is_eventfd(fd: &OwnedFd) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(fd) else { return false };
    let name = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd)));
    flags.contains(rustix::fs::OFlags::NONBLOCK)
        && name.is_ok_and(|name| name.as_os_str() == "anon_inode:[eventfd]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_between_arming_and_sleeping_is_not_missed() {
        let bell = OwnBell::create(1).expect("bell");
        for bed in [Bed::Futex, Bed::EventFd] {
            let armed = bell.arm(bed);
            bell.ring();
            // Without a deadline: a missed ring would hang here.
            match bed {
                Bed::Futex => bell.sleep(armed, None),
                Bed::EventFd => {
                    let mut fds =
                        [rustix::event::PollFd::from_borrowed_fd(bell.event(), rustix::event::PollFlags::IN)];
                    assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
                }
            }
            bell.disarm(bed);
        }
        assert!(rustix::io::read(bell.event(), &mut [0; 8]).is_err(), "disarming empties the eventfd");
    }

    #[test]
    fn nobody_is_woken_who_is_awake() {
        let bell = OwnBell::create(1).expect("bell");
        bell.ring();
        assert!(rustix::io::read(bell.event(), &mut [0; 8]).is_err());
        bell.arm(Bed::EventFd);
        bell.disarm(Bed::EventFd);
        bell.ring();
        assert!(rustix::io::read(bell.event(), &mut [0; 8]).is_err());
    }

    #[test]
    fn a_write_that_comes_late_wakes_once_and_not_for_ever() {
        let bell = OwnBell::create(1).expect("bell");
        bell.arm(Bed::EventFd);
        bell.disarm(Bed::EventFd);
        // A sender that was stopped between adding to the word and writing.
        rustix::io::write(&bell.event, &1u64.to_ne_bytes()).expect("room");
        bell.arm(Bed::EventFd);
        bell.disarm(Bed::EventFd);
        assert!(
            rustix::io::read(bell.event(), &mut [0; 8]).is_err(),
            "emptied, although nobody added to the word"
        );
    }

    #[test]
    fn a_peer_that_makes_the_eventfd_blocking_blocks_nobody() {
        let bell = OwnBell::create(1).expect("bell");
        let flags = rustix::fs::fcntl_getfl(&bell.event).expect("flags");
        rustix::fs::fcntl_setfl(&bell.event, flags - rustix::fs::OFlags::NONBLOCK).expect("cleared");
        bell.arm(Bed::EventFd);
        // With nothing to read a blocking read would hang here.
        bell.disarm(Bed::EventFd);
    }

    #[test]
    fn a_descriptor_that_is_no_eventfd_is_refused() {
        let bell = OwnBell::create(1).expect("bell");
        let memory = bell.object.fd.try_clone().expect("dup");
        let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
        assert!(PeerBell::map(&memory, pipe, 1).is_err());
        let event = bell.event.try_clone().expect("dup");
        assert!(PeerBell::map(&memory, event, 1).is_ok());
    }
}
