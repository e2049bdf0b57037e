//! The doorbell's kernel side: sleeping on it and waking its owner.
//!
//! ```text
//!   peers of our user ── shutdown ─▶ mouth ═ a pair of sockets, shut ═ ear ─▶ readiness (epoll, edges) ─▶ poll
//!   ourselves ────────── shutdown ─────▲
//! ```
//! A peer gets the mouth when it finds us asleep in poll for the first time; until then its WAKE goes to our control thread, which
//! rings for it.
//!
//! One doorbell serves all peers of our own user, of which any may be hostile. So what they hold must not be able to stop who
//! rings it, or to keep us busy. The pair is shut down both ways before anybody sees it: nothing can be sent through it any more, neither
//! octets nor descriptors. Shutting it once more changes nothing, but tells whoever watches the ear: that is the ring. It never
//! waits, allocates nothing, and whatever a holder does to its end is a ring or nothing. As the ear is readable for ever, it is watched
//! for edges, by an epoll of ours which is what poll and event loops are given; a look at that takes the ring away.
//!
//! Rejected:
//! - An eventfd. A write waits while its count is full, if any holder has cleared the `O_NONBLOCK` that all share, and there is
//!   no other way to write to one. (A zero always fits, but for a count that only the kernel's own signals reach, and a holder can
//!   have those sent.)
//! - A pipe. Its lock is held while a holder copies from memory that need not come.
//! - An octet through the pair, with `MSG_DONTWAIT`. There and back on one core took about 1.4 times what it did with an eventfd,
//!   as against 1.2 times with what is here; and holders can fill it, shut it, send descriptors.
//! - Datagrams. A holder can connect the socket elsewhere.
//!
//! That shutting a pair again notifies is what Linux does, and not written anywhere. It is tried out when the bell is made; without
//! it there is no shared memory, and UDP is used.

use crate::asked::asked;
use crate::control::closing::Given;
use crate::crash;
use crate::doorbell::{self, Bed, Space};
use crate::layout::doorbell as at;
use crate::region::Region;
use crate::segment::{self, MapError, Object, Sharing};
use crate::sync::{AtomicU32, Ordering, for_futex};
use crate::sys::{Mapping, processor};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair, sockopt};
use rustix::thread::futex;
use rustix::time::Timespec;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A doorbell of our own, on which we sleep.
pub(crate) struct OwnBell {
    object: Object,
    /// Readable when we were rung in poll: watches the ear.
    readiness: OwnedFd,
    /// Where we hear.
    _ear: OwnedFd,
    /// Its other end, of which each peer of our user gets a copy that has to wake us in poll.
    mouth: OwnedFd,
}

/// A peer's doorbell, which we ring.
pub(crate) struct PeerBell {
    mapping: Mapping,
    /// Once it was asked for.
    mouth: OnceLock<Given>,
    /// What the last ring of ours that is done left in its word.
    rung: std::sync::atomic::AtomicU32,
}

impl OwnBell {
    pub(crate) fn create(owner: u64) -> io::Result<Self> {
        let object = segment::create("zerodds-doorbell", at::LEN, owner, Sharing::ReadWrite)?;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (ear, mouth) = asked("socketpair", pair)?;
        let readiness = asked("epoll_create", epoll::create(CreateFlags::CLOEXEC))?;
        let edges = EventFlags::IN | EventFlags::ET;
        asked("epoll_ctl", epoll::add(&readiness, &ear, EventData::new_u64(0), edges))?;
        let bell = Self { object, readiness, _ear: ear, mouth };
        // It is shut by the first, and rung by the second.
        for _ in 0..2 {
            asked("shutdown", shutdown(&bell.mouth, Shutdown::Both))?;
            if !bell.empty() {
                return Err(io::Error::other("this kernel does not tell of a socket that is shut again"));
            }
        }
        Ok(bell)
    }

    /// What peers need to ring it while we sleep on the futex.
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.object.fd.as_fd()
    }

    /// What they need besides while we sleep in poll.
    pub(crate) fn mouth(&self) -> BorrowedFd<'_> {
        self.mouth.as_fd()
    }

    /// Readable when we were rung in poll, until it is emptied.
    pub(crate) fn readiness(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    /// Before a sleep in poll: takes away what earlier ones were ended by, whether the word says so or not, since a sender may have
    /// been stopped between its two steps. Whether there was anything.
    pub(crate) fn empty(&self) -> bool {
        let mut room = [MaybeUninit::uninit(); 1];
        let rings = epoll::wait(&self.readiness, &mut room[..], Some(&Timespec::default()));
        crash::step("emptied");
        rings.is_ok_and(|(rings, _)| !rings.is_empty())
    }

    /// Announces sleep; everything must be looked at once more before [`sleep`](Self::sleep).
    pub(crate) fn arm(&self, bed: Bed) -> u32 {
        doorbell::arm(&self.object.mapping, bed)
    }

    /// Announces that we are awake again.
    pub(crate) fn disarm(&self) {
        doorbell::disarm(&self.object.mapping);
    }

    /// Sleeps until rung since [`arm`](Self::arm) returned `armed`, or until so much time has passed. May wake early.
    pub(crate) fn sleep(&self, armed: u32, left: Option<Duration>) {
        wait_on(self.object.mapping.u32(at::BELL), armed, left);
    }

    /// The core from which we were rung last, if somebody said.
    pub(crate) fn waker_core(&self) -> Option<u32> {
        // ORDER: Relaxed; a hint.
        self.object.mapping.u32(at::WAKER).load(Ordering::Relaxed).checked_sub(1)
    }

    /// Wakes ourselves: something other than a message happened.
    pub(crate) fn ring(&self) {
        ring(&self.object.mapping, Some(&self.mouth), doorbell::NEVER_RUNG);
    }

    /// Announces that a sender of this process waits for space; everything must be tried once more.
    pub(crate) fn arm_space(&self, wanted: Space) -> u32 {
        doorbell::arm_space(&self.object.mapping, wanted)
    }

    pub(crate) fn disarm_space(&self, wanted: Space) {
        doorbell::disarm_space(&self.object.mapping, wanted);
    }

    /// Sleeps until a peer gave space back since [`arm_space`](Self::arm_space), or until the deadline.
    pub(crate) fn sleep_for_space(&self, armed: u32, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            wait_on(self.object.mapping.u32(at::SPACE), armed, Some(left));
        }
    }

    /// Wakes our own senders that wait for so much space.
    pub(crate) fn notify_space(&self, given: Space) {
        notify_space(&self.object.mapping, given);
    }
}

impl PeerBell {
    pub(crate) fn map(memory: &OwnedFd, owner: u64) -> Result<Self, MapError> {
        let mapping = segment::map(memory, at::LEN, owner, Sharing::ReadWrite)?;
        Ok(Self { mapping, mouth: OnceLock::new(), rung: doorbell::NEVER_RUNG.into() })
    }

    /// TRUST: any descriptor of a peer. From now on this wakes it in poll.
    pub(crate) fn set_mouth(&self, mouth: Given) -> Result<(), &'static str> {
        if !is_stream(&mouth) {
            return Err("what is to wake it in poll is no unix stream socket");
        }
        self.mouth.set(mouth).map_err(|_| "it gave twice what wakes it in poll")
    }

    /// After publishing: whether the peer must be woken.
    pub(crate) fn is_asleep(&self) -> bool {
        // ORDER: Relaxed; an older value has the peer woken once more.
        doorbell::is_asleep(&self.mapping, self.rung.load(Ordering::Relaxed))
    }

    /// Whether the peer seems to be awake.
    pub(crate) fn seems_awake(&self) -> bool {
        doorbell::seems_awake(&self.mapping)
    }

    /// After publishing: wakes the peer if it sleeps; by `send_wake` if we have not got its mouth, or the system forbids to use it.
    /// Where the system has no room for that either, the next message tries again.
    pub(crate) fn ring(&self, send_wake: impl FnOnce() -> bool) {
        // ORDER: Relaxed, as above, and for the store: it says that the peer was woken already. Of two threads that ring at
        // once the one whose value stands in the word says so last, or the next message has the peer woken once more.
        let rung =
            ring(&self.mapping, self.mouth.get().map(|mouth| &**mouth), self.rung.load(Ordering::Relaxed));
        if let Some((now, is_told)) = rung
            && (is_told || send_wake())
        {
            self.rung.store(now, Ordering::Relaxed);
        }
    }

    /// After giving space back: whether senders of the peer wait for some.
    pub(crate) fn is_space_awaited(&self) -> bool {
        doorbell::is_space_awaited(&self.mapping)
    }

    /// After giving space back: wakes the peer's senders if they wait for it.
    pub(crate) fn notify_space(&self, given: Space) {
        notify_space(&self.mapping, given);
    }
}

/// If the owner had to be woken: what the word says now, and whether it was told.
fn ring(bell: &Mapping, mouth: Option<&OwnedFd>, rung: u32) -> Option<(u32, bool)> {
    let (bed, now) = doorbell::ring(bell, rung)?;
    crash::step("wake");
    // ORDER: Relaxed; a hint. 0: unknown.
    bell.u32(at::WAKER).store(processor::current().map_or(0, |core| core + 1), Ordering::Relaxed);
    let is_told = match bed {
        Bed::Futex => {
            wake(bell.u32(at::BELL));
            true
        }
        Bed::Poll => mouth.is_some_and(shout),
    };
    Some((now, is_told))
}

/// Tells whoever watches the other end, unless the system forbids it. TRUST: whatever socket a peer made this, it could shut it itself.
fn shout(mouth: &OwnedFd) -> bool {
    shutdown(mouth, Shutdown::Both).is_ok()
}

fn notify_space(bell: &Mapping, given: Space) {
    if doorbell::notify_space(bell, given) {
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
fn wait_on(word: &AtomicU32, value: u32, left: Option<Duration>) {
    let _ = futex::wait(for_futex(word), futex::Flags::empty(), value, left.map(timespec).as_ref());
}

/// A duration for the kernel; what does not fit is for ever.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

/// Whether this is of the kind by which a peer is rung.
pub(crate) fn is_stream(fd: &OwnedFd) -> bool {
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::closing::Given;
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    use std::io::IoSlice;
    use std::sync::Arc;

    fn bell() -> OwnBell {
        OwnBell::create(1).expect("bell")
    }

    /// The same bell as its peers have it at first.
    fn mapped(bell: &OwnBell) -> PeerBell {
        let memory = bell.memory().try_clone_to_owned().expect("dup");
        PeerBell::map(&memory, 1).expect("a bell")
    }

    /// As those have it who had to wake us in poll.
    fn peer_of(bell: &OwnBell) -> PeerBell {
        let peer = mapped(bell);
        let mouth = bell.mouth().try_clone_to_owned().expect("dup");
        peer.set_mouth(Given::new(mouth, &Arc::default())).expect("a mouth");
        peer
    }

    /// Whether it is done without a WAKE.
    fn rings(peer: &PeerBell) -> bool {
        let mut by_bell = true;
        peer.ring(|| {
            by_bell = false;
            true
        });
        by_bell
    }

    /// Whether poll returns at once.
    fn is_readable(bell: &OwnBell) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(bell.readiness(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("polled") > 0
    }

    #[test]
    fn a_ring_between_arming_and_sleeping_is_not_missed() {
        let bell = bell();
        let peer = peer_of(&bell);
        for ring in [&|| bell.ring(), &|| assert!(rings(&peer))] as [&dyn Fn(); 2] {
            let armed = bell.arm(Bed::Futex);
            ring();
            // Without a deadline: a missed ring would hang here.
            bell.sleep(armed, None);
            bell.disarm();
            bell.arm(Bed::Poll);
            assert!(!is_readable(&bell));
            ring();
            assert!(is_readable(&bell));
            bell.disarm();
            assert!(bell.empty() && !is_readable(&bell));
        }
    }

    #[test]
    fn nobody_is_woken_who_is_awake() {
        let bell = bell();
        let peer = peer_of(&bell);
        bell.arm(Bed::Poll);
        bell.disarm();
        bell.ring();
        assert!(rings(&peer) && !is_readable(&bell));
    }

    #[test]
    fn a_wake_that_could_not_be_sent_is_tried_again_for_the_next_message() {
        let bell = bell();
        let peer = mapped(&bell);
        bell.arm(Bed::Poll);
        for is_sent in [false, false, true] {
            assert!(peer.is_asleep());
            peer.ring(|| is_sent);
        }
        assert!(!peer.is_asleep(), "once for each sleep");
    }

    #[test]
    fn a_wake_takes_the_place_of_a_mouth_that_was_not_given_yet_and_one_is_enough_for_a_sleep() {
        let bell = bell();
        let peer = mapped(&bell);
        let armed = bell.arm(Bed::Futex);
        assert!(rings(&peer), "a futex needs none");
        bell.sleep(armed, None);
        bell.disarm();
        bell.arm(Bed::Poll);
        assert!(!rings(&peer) && !is_readable(&bell), "only a WAKE can tell it");
        assert!(rings(&peer), "which is under way for this sleep");
        bell.disarm();
        bell.arm(Bed::Poll);
        assert!(!rings(&peer), "and not for the next one");
    }

    #[test]
    fn a_ring_that_comes_late_wakes_once_and_not_for_ever() {
        let bell = bell();
        // A sender that was stopped between adding to the word and telling.
        assert!(shout(&bell.mouth) && is_readable(&bell));
        assert!(bell.empty() && !is_readable(&bell), "emptied, although nobody added to the word");
    }

    #[test]
    fn whatever_a_peer_does_to_its_end_is_a_ring_or_nothing() {
        let bell = bell();
        let (hostile, honest) = (peer_of(&bell), peer_of(&bell));
        let mouth = &**hostile.mouth.get().expect("it has got one");
        let flags = rustix::fs::fcntl_getfl(mouth).expect("flags");
        rustix::fs::fcntl_setfl(mouth, flags - rustix::fs::OFlags::NONBLOCK).expect("ours as well");
        // With any room in it this would fill it, or hang.
        assert_eq!(rustix::net::send(mouth, &[1; 4096], SendFlags::NOSIGNAL), Err(rustix::io::Errno::PIPE));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [bell.readiness()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let sent = rustix::net::sendmsg(mouth, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Err(rustix::io::Errno::PIPE));
        let elsewhere = rustix::net::SocketAddrUnix::new_abstract_name(b"zerodds-bell-test").expect("short");
        assert!(rustix::net::connect(mouth, &elsewhere).is_err() && rustix::net::listen(mouth, 1).is_err());
        for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
            shutdown(mouth, how).expect("a ring");
            assert!(bell.empty() && !is_readable(&bell), "rung once");
            bell.arm(Bed::Poll);
            assert!(rings(&honest) && is_readable(&bell), "others are heard as ever");
            bell.disarm();
            assert!(bell.empty());
        }
    }

    #[test]
    fn a_mouth_that_is_no_stream_and_a_second_one_are_refused() {
        let bell = bell();
        let peer = mapped(&bell);
        let set = |mouth| peer.set_mouth(Given::new(mouth, &Arc::default()));
        let datagrams = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let internet = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let pipe = rustix::pipe::pipe();
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let others = [
            datagrams.expect("a pair").0,
            internet.expect("a socket"),
            pipe.expect("a pipe").1,
            event.expect("an eventfd"),
        ];
        assert!(others.into_iter().all(|other| set(other).is_err()));
        assert!(set(bell.mouth.try_clone().expect("dup")).is_ok());
        assert!(set(bell.mouth.try_clone().expect("dup")).is_err(), "one for each peer");
    }
}
