//! Closes what others sent without waiting for it.
//!
//! Closing a descriptor can wait for as long as whoever made it likes: a socket lingers over data that nobody reads, a file
//! of somebody's own file system asks that somebody. Any user of this network namespace can send us such a thing, admitted or
//! not, and the kernel closes it for us with the socket where we never looked at the packet that it came with. Memory may have
//! gigabytes of pages that go with its last descriptor. So everything but memory with few pages is closed on threads that live no
//! longer than that takes.
//!
//! Rejected: looking for unread packets first (an empty one cannot be told from none); a single thread (one lingering socket would
//! keep all others open).

use crate::sys::Generation;
use parking_lot::Mutex;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Closes descriptors elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Closer(Mutex<Work>);

#[derive(Debug, Default)]
struct Work {
    threads: usize,
    /// For whose closing there is no thread yet.
    waiting: Vec<OwnedFd>,
}

impl Work {
    fn lacks_threads(&self) -> bool {
        !self.waiting.is_empty() && self.threads < THREADS_MAX
    }
}

/// A descriptor that a peer has, or had, and that is closed elsewhere.
pub(crate) struct Given {
    /// Always there but while it is dropped.
    fd: Option<OwnedFd>,
    closer: Arc<Closer>,
    generation: Generation,
}

impl Given {
    pub(crate) fn new(fd: OwnedFd, closer: &Arc<Closer>) -> Self {
        Self { fd: Some(fd), closer: Arc::clone(closer), generation: Generation::current() }
    }

    pub(crate) const fn closer(&self) -> &Arc<Closer> {
        &self.closer
    }

    /// Whether this is not a forked child, whose copies close nothing for good.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation.is_ours()
    }
}

impl Deref for Given {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        self.fd.as_ref().unwrap_or_else(|| unreachable!("only taken by drop"))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // In a forked child everything is closed at once.
        if let Some(fd) = self.fd.take().filter(|fd| self.is_ours() && !is_prompt(fd)) {
            self.closer.close(fd);
        }
    }
}

/// Whether this is memory with few pages.
fn is_prompt(fd: &OwnedFd) -> bool {
    // Only memory has seals, so the second question goes to no file system of somebody's own.
    rustix::fs::fcntl_get_seals(fd).is_ok()
        && rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_blocks < PROMPT_BLOCKS)
}

/// 1 MiB in blocks of 512 bytes: freed in far less time than a thread takes to start.
const PROMPT_BLOCKS: i64 = 2048;

impl Closer {
    /// Closes this without waiting here.
    pub(crate) fn close(self: &Arc<Self>, fd: OwnedFd) {
        self.0.lock().waiting.push(fd);
        self.go_on();
    }

    /// Has one more thread close what waits. Where there is none to be had, it goes on waiting until this is called again.
    pub(crate) fn go_on(self: &Arc<Self>) {
        let mut work = self.0.lock();
        if !work.lacks_threads() {
            return;
        }
        work.threads += 1;
        drop(work);
        let closer = Arc::clone(self);
        let thread = std::thread::Builder::new().name("zerodds-close".into());
        if thread.spawn(move || while closer.close_one() {}).is_err() {
            self.0.lock().threads -= 1;
        }
    }

    /// Whether something waits that one more thread would close.
    pub(crate) fn lacks_threads(&self) -> bool {
        self.0.lock().lacks_threads()
    }

    /// Whether so much waits to be closed that nothing new should be let in: no connection, and no descriptor by one that there is.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().waiting.len() >= WAITING_MAX
    }

    fn close_one(&self) -> bool {
        let mut work = self.0.lock();
        let next = work.waiting.pop();
        work.threads -= usize::from(next.is_none());
        drop(work);
        next.is_some()
    }
}

impl Drop for Closer {
    /// Nobody tries again after this: what there is no thread for now is left to the end of the process.
    fn drop(&mut self) {
        let waiting = ManuallyDrop::new(std::mem::take(&mut self.0.get_mut().waiting));
        if !waiting.is_empty() {
            let thread = std::thread::Builder::new().name("zerodds-close".into());
            let _ = thread.spawn(move || drop(ManuallyDrop::into_inner(waiting)));
        }
    }
}

/// Descriptors that are being closed at once.
const THREADS_MAX: usize = 16;
/// Descriptors that may wait besides, before nothing more is let in that would have to be closed here.
const WAITING_MAX: usize = 64;
/// Why it is not.
pub(crate) const TOO_MUCH_TO_CLOSE: &str = "too much of what others sent cannot be closed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_closed_at_once_only_while_it_has_few_pages() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("test", flags).expect("memory");
        rustix::fs::ftruncate(&memory, 1 << 40).expect("a length");
        assert!(is_prompt(&memory), "a length is no page");
        rustix::io::pwrite(&memory, &[1; 1 << 20], 0).expect("pages");
        assert!(!is_prompt(&memory));
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        assert!(!is_prompt(&reader));
    }

    #[test]
    fn what_was_given_is_closed_and_no_thread_stays() {
        let closer = Arc::<Closer>::default();
        for _ in 0..3 * WAITING_MAX {
            let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
            closer.close(writer);
            // The end of the pipe: its only writer is closed.
            assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        }
        while closer.0.lock().threads > 0 {
            std::thread::yield_now();
        }
        assert!(!closer.is_full());
    }
}
