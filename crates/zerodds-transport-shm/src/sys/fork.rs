//! Whether this process is the one that opened a transport, or a child that it forked.
//!
//! A forked child inherits the memory but none of the threads, and its copy of a message or transport must give
//! nothing back: that is the parent's to do. `getpid` in every drop would cost a system call; a word that the kernel
//! wipes in the child costs a load.
//!
//! Rejected: a handler of the C library (`pthread_atfork`), which neither `_Fork` nor the bare system calls run.

use crate::layout::PAGE;
use memmap2::{MmapMut, MmapRaw};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The word, which is 0 in a child that was not asked for its generation yet.
static MARK: OnceLock<&AtomicU32> = OnceLock::new();
/// Generations so far, of this process and its ancestors: a child does not begin anew.
static NEWEST: AtomicU32 = AtomicU32::new(0);

/// Names this process among its ancestors: kept by whatever belongs to the process that made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generation {
    mark: &'static AtomicU32,
    number: u32,
}

impl Generation {
    /// That of this process.
    pub(crate) fn current() -> Self {
        let mark = *MARK.get_or_init(|| {
            wiped_in_children().unwrap_or_else(|error| {
                tracing::warn!("forked children of this process cannot be told from it: {error}");
                Box::leak(Box::default())
            })
        });
        // ORDER: Relaxed, here and below; in a child there is a single thread at first, and nothing else hangs on the number.
        let mut number = mark.load(Ordering::Relaxed);
        if number == 0 {
            let new = NEWEST.fetch_add(1, Ordering::Relaxed) + 1;
            let was = mark.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
            number = was.map_or_else(|other| other, |_| new);
        }
        Self { mark, number }
    }

    /// Whether this process is still the one that it was taken in.
    pub(crate) fn is_ours(self) -> bool {
        // ORDER: Relaxed, as above.
        self.number == self.mark.load(Ordering::Relaxed)
    }
}

/// A word, for good, that is 0 in every child that does not share this process's memory.
fn wiped_in_children() -> io::Result<&'static AtomicU32> {
    let page: &MmapRaw = Box::leak(Box::new(MmapMut::map_anon(PAGE)?.into()));
    // SAFETY: this is a mapping of our own, private and anonymous, of which nobody keeps anything yet.
    let outcome = unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is never unmapped, begins at a page, and is only accessed as this atomic.
    Ok(unsafe { AtomicU32::from_ptr(page.as_mut_ptr().cast()) })
}

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::Generation;
    use crate::testing::{far, fresh_domain, linked};
    use crate::{Config, ShmTransport};
    use std::time::{Duration, Instant};
    use zerodds_core::{
        Delivery, Incoming, LoanError, Locator, Peer, Reach, Reason, Receiver, Refusal, SendError, Transport,
        Unserved, Wake,
    };

    /// Runs `play` in a forked child, which has this thread alone, and waits for its end; whether it said yes, in time.
    fn forked(play: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls nothing that needs another thread's lock but the allocator, whose locks the C library
        // makes good, and ends without running destructors.
        let child = unsafe { libc::fork() };
        outcome_of(child, play)
    }

    /// The same by the bare system call; `play` must not need the allocator.
    fn cloned(play: impl FnOnce() -> bool) -> bool {
        // SAFETY: a copy of this process, as by `fork`; the child calls nothing that needs another thread's lock.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        outcome_of(child as libc::pid_t, play)
    }

    fn outcome_of(child: libc::pid_t, play: impl FnOnce() -> bool) -> bool {
        if child == 0 {
            let outcome = i32::from(!play());
            // SAFETY: ends the process, whatever state it is in.
            unsafe { libc::_exit(outcome) }
        }
        let until = far();
        loop {
            let child = rustix::process::Pid::from_raw(child).expect("forked");
            let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::NOHANG);
            if let Some((_, status)) = ended.expect("it is our child") {
                return status.exit_status() == Some(0);
            }
            if Instant::now() > until {
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
                let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn reliable() -> Delivery {
        Delivery::Reliable { deadline: far() }
    }

    fn send(from: &ShmTransport, to: Locator, fill: u8) {
        let sent = from.send_bytes(&[fill; 50_000], &[Peer::new(&[to])], reliable());
        assert_eq!(sent.expect("open").by_shm, 1);
    }

    /// Whether each of these threads of a forked child ends once and as it should, that drops its copy of a transport meanwhile.
    fn drops_beside_its_own_threads(transport: &mut Option<ShmTransport>, threads: usize) -> bool {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let is_over = std::sync::Arc::new(std::sync::Mutex::new(is_over));
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                let is_over = std::sync::Arc::clone(&is_over);
                std::thread::spawn(move || is_over.lock().is_ok_and(|is_over| is_over.recv().is_err()))
            })
            .collect();
        drop(transport.take());
        drop(over);
        // A thread that was let go of already cannot be joined, which is a panic.
        let join = || spawned.into_iter().all(|thread| matches!(thread.join(), Ok(true)));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(join)).unwrap_or(false)
    }

    #[test]
    fn f58_a_forked_child_that_drops_a_transport_lets_go_of_no_thread_of_its_own() {
        let mut transport = Some(ShmTransport::open(fresh_domain(), &Config::default()));
        assert!(transport.as_ref().is_some_and(|transport| transport.availability().is_ok()));
        // As many as the parent has, and more: the stacks of the parent's are theirs.
        let threads = std::fs::read_dir("/proc/self/task").expect("proc").count() + 8;
        assert!(forked(|| drops_beside_its_own_threads(&mut transport, threads)));
    }

    #[test]
    fn f58_a_forked_child_gives_nothing_back_and_cannot_use_what_it_inherited() {
        let [a, b] = linked(&Config::default());
        let to = b.locators()[0];
        let mut receiver = b.receiver().expect("taken once");
        let mut next = || loop {
            if let Incoming::Message(message) = receiver.receive(Some(far())).expect("in time") {
                return message;
            }
        };
        send(&a, to, 1);
        let held = next();
        let loan = a.loan(50_000).expect("room");
        send(&a, to, 2);

        // fork and exit; fork and drop everything.
        assert!(forked(|| true));
        let (mut held, mut loan) = (Some(held), Some(loan));
        let before = (a.pool(), b.counters().links);
        assert!(forked(|| {
            drop((held.take(), loan.take()));
            a.close();
            b.close();
            true
        }));
        assert_eq!((a.pool(), b.counters().links), before, "the parent's, as it was");
        assert!(held.as_ref().is_some_and(|message| message.iter().all(|&byte| byte == 1)));

        // fork and use: an error, no message, and no waiting.
        let (peer, now) = ([to], Delivery::Reliable { deadline: Instant::now() });
        assert!(forked(|| matches!(a.loan(50_000), Err(LoanError::Closed))));
        let sent = || a.send_bytes(b"child", &[Peer::new(&peer)], now);
        assert!(forked(|| matches!(sent(), Err(SendError::Closed))));
        assert!(forked(|| matches!(a.reach(Peer::new(&peer)), Reach::Unreachable(_))));
        let loan = loan.expect("the parent's");
        let mut begun = Some(a.begin_quietly(loan, &[], Delivery::BestEffort).expect("open"));
        assert!(forked(|| {
            let mut begun = begun.take().expect("its copy");
            begun.also_best_effort(&[Peer::new(&peer)]);
            let sent = begun.finish().0;
            sent.by_shm == 0
                && matches!(
                    sent.unserved[..],
                    [Unserved { index: 0, why: Refusal::Unreachable(Reason::Closed) }]
                )
        }));
        drop((held, begun));
        assert!(next().iter().all(|&byte| byte == 2), "what was sent before is the parent's to take");
        send(&a, to, 3);
        assert!(next().iter().all(|&byte| byte == 3));
        send(&a, to, 4);
        assert!(forked(|| receiver.try_receive().is_none()
            && receiver.wait(None, &[]) == Wake::Closed
            && receiver.arm() == Wake::Closed));
        let message = receiver.try_receive();
        assert!(matches!(message, Some(Incoming::Message(message)) if message[0] == 4), "and none is stolen");
    }

    #[test]
    fn f58_a_child_is_known_that_the_c_library_knows_nothing_of() {
        let transport = ShmTransport::open(fresh_domain(), &Config::default());
        let is_closed = || matches!(transport.loan(50_000), Err(LoanError::Closed));
        let parents = Generation::current();
        assert!(cloned(|| is_closed() && !parents.is_ours()));
        // And its own transports are its own.
        assert!(cloned(|| Generation::current().is_ours() && !parents.is_ours() && is_closed()));
        assert!(parents.is_ours() && !is_closed());
    }
}
