//! One descriptor for many sockets: readable while any of them is.
//!
//! On Linux an epoll descriptor, level-triggered, so that it can be watched by any other `poll`, `epoll` or
//! executor, also an edge-triggered one. Elsewhere waiting works all the same, by `poll` over all sockets, but
//! the one descriptor to watch from outside is that of the first: kqueue's calls are unsafe in every library
//! this project uses.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Watches a fixed list of descriptors for reading.
#[derive(Debug)]
pub(crate) struct Readiness {
    #[cfg(target_os = "linux")]
    epoll: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    watched: Vec<OwnedFd>,
}

/// Which of the watched descriptors are readable, by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readable(u32);

impl Readable {
    pub(crate) const fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) const fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }
}

impl Readiness {
    /// Watches up to 16 descriptors, which must stay open for as long.
    #[cfg(target_os = "linux")]
    pub(crate) fn watch(sockets: &[BorrowedFd<'_>]) -> io::Result<Self> {
        use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (position, socket) in (0..).zip(sockets) {
            epoll::add(&epoll, socket, EventData::new_u64(position), EventFlags::IN)?;
        }
        Ok(Self { epoll })
    }

    /// Those that are readable now.
    #[cfg(target_os = "linux")]
    pub(crate) fn now(&self) -> Readable {
        use rustix::event::epoll::{self, Event, EventData, EventFlags};
        let none = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [none; WATCHED_MAX];
        let count = epoll::wait(&self.epoll, &mut events, Some(&AT_ONCE)).unwrap_or(0);
        Readable(events[..count].iter().fold(0, |readable, event| readable | 1 << event.data.u64()))
    }

    /// Stops watching one of them; the others keep their positions.
    #[cfg(target_os = "linux")]
    pub(crate) fn forget(&self, socket: BorrowedFd<'_>) {
        let _ = rustix::event::epoll::delete(&self.epoll, socket);
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn forget(&self, _: BorrowedFd<'_>) {}

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn watch(sockets: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let watched = sockets.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
        Ok(Self { watched })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now(&self) -> Readable {
        let mut fds = self.poll_fds();
        let _ = poll(&mut fds, Some(&AT_ONCE));
        let readable = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let positions = fds.iter().enumerate().filter(|(_, fd)| readable(fd));
        Readable(positions.fold(0, |readable, (position, _)| readable | 1 << position))
    }

    /// Waits until one of them, or of `also`, is readable: `true`; or until the deadline: `false`. A signal
    /// ends no wait.
    pub(crate) fn wait(&self, deadline: Option<Instant>, also: &[BorrowedFd<'_>]) -> bool {
        let mut fds = self.poll_fds();
        fds.extend(also.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let last = left.is_some_and(|left| left <= WAIT_MAX);
            match poll(&mut fds, left.map(timeout).as_ref()) {
                Ok(0) if last => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => {
                    // No memory for the kernel's own list: not a reason to spin, nor to sleep for ever.
                    std::thread::sleep(left.unwrap_or(WAIT_AFTER_ERROR).min(WAIT_AFTER_ERROR));
                    return left.is_none_or(|left| left > WAIT_AFTER_ERROR);
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        vec![PollFd::new(&self.epoll, PollFlags::IN)]
    }

    #[cfg(not(target_os = "linux"))]
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        self.watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect()
    }
}

impl AsFd for Readiness {
    #[cfg(target_os = "linux")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    #[cfg(not(target_os = "linux"))]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched[0].as_fd()
    }
}

#[cfg(target_os = "linux")]
const WATCHED_MAX: usize = 16;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// What every system accepts as a timeout; longer waits are made of several.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
const WAIT_AFTER_ERROR: Duration = Duration::from_millis(10);

fn timeout(left: Duration) -> Timespec {
    let left = left.min(WAIT_MAX);
    // At most a day, so the conversion cannot fail.
    Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: left.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_tells_which_descriptor_is_readable_until_it_is_told_to_forget_it() {
        let (mut bell, ear) = UnixStream::pair().unwrap();
        let (_quiet, silence) = UnixStream::pair().unwrap();
        let readiness = Readiness::watch(&[silence.as_fd(), ear.as_fd()]).unwrap();
        assert_eq!(readiness.now(), Readable(0));
        bell.write_all(b"!").unwrap();
        assert!(readiness.wait(None, &[]));
        assert!(readiness.now().has(1) && !readiness.now().has(0));
        readiness.forget(ear.as_fd());
        assert_eq!(readiness.now(), Readable(0));
    }

    #[test]
    fn a_deadline_in_the_past_asks_without_waiting() {
        let (mut bell, ear) = UnixStream::pair().unwrap();
        let (_quiet, silence) = UnixStream::pair().unwrap();
        let readiness = Readiness::watch(&[silence.as_fd()]).unwrap();
        let past = Some(Instant::now());
        assert!(!readiness.wait(past, &[ear.as_fd()]));
        bell.write_all(b"!").unwrap();
        assert!(readiness.wait(past, &[ear.as_fd()]), "one of `also` is readable");
    }
}
