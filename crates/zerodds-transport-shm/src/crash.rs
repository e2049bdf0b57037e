//! Points at which a process can be made to die or to stop: before every store to shared memory, and at every step
//! of the control thread, of growth and of recovery.
//!
//! ```text
//!   word.store(..)  ──▶ sys::counted ──▶ point ──▶ count; the n-th: SIGKILL or SIGSTOP to ourselves, exactly here
//!   crash::step(..) ───────────────────────▲
//! ```
//! A crash is only proven harmless where it has happened. Killing at random times hits the long steps again and again
//! and the short ones hardly ever; so in builds for tests the steps are counted, and a driver
//! enumerates them. There is no second way to shared memory: the words that `Region` hands out have no other
//! methods in such a build, so what is not counted does not compile.
//!
//! Without the feature `crash-points` and debug assertions, [`step`] is empty and the words are those of the processor.

/// Passes a step that has a name.
#[inline(always)]
#[cfg_attr(all(feature = "crash-points", debug_assertions), track_caller)]
pub(crate) fn step(_name: &'static str) {
    #[cfg(all(feature = "crash-points", debug_assertions))]
    armed::pass(_name, std::panic::Location::caller());
}

#[cfg(all(feature = "crash-points", debug_assertions))]
pub(crate) use armed::pass;
#[cfg(feature = "crash-points")]
pub use armed::{Action, arm, disarm, passed};

#[cfg(feature = "crash-points")]
mod armed {
    #[cfg(debug_assertions)]
    use std::panic::Location;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// What happens at the chosen point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Action {
        /// SIGKILL.
        Kill,
        /// SIGSTOP; the process goes on from here when somebody sends SIGCONT.
        Stop,
    }

    static ARMED: AtomicBool = AtomicBool::new(false);
    static STOPS: AtomicBool = AtomicBool::new(false);
    static CHOSEN: AtomicU64 = AtomicU64::new(0);
    static PASSED: AtomicU64 = AtomicU64::new(0);

    /// From now on points are counted, from 1 on, and `action` happens before what comes after the `at`-th. With
    /// `u64::MAX` they are only counted. Before it happens a line that begins with `crash point` says on
    /// standard error which it was.
    ///
    /// ```
    /// use zerodds_core::Transport;
    /// use zerodds_transport_shm::crash_points::{Action, arm, disarm, passed};
    /// use zerodds_transport_shm::{Config, ShmTransport};
    /// # let domain = 3_500_000_000 - std::process::id();
    /// arm(u64::MAX, Action::Kill);
    /// let transport = ShmTransport::open(domain, &Config::default());
    /// disarm();
    /// # if transport.availability().is_err() { return; }
    /// assert!(passed() > 0 || !cfg!(debug_assertions));
    /// ```
    pub fn arm(at: u64, action: Action) {
        // ORDER: Relaxed, but for the flag, whose Release publishes the others to whoever passes a point.
        PASSED.store(0, Ordering::Relaxed);
        CHOSEN.store(at, Ordering::Relaxed);
        STOPS.store(action == Action::Stop, Ordering::Relaxed);
        ARMED.store(true, Ordering::Release);
    }

    /// Points are no longer counted.
    pub fn disarm() {
        ARMED.store(false, Ordering::Release);
    }

    /// Points that were passed since [`arm`], in all threads together.
    #[must_use]
    pub fn passed() -> u64 {
        PASSED.load(Ordering::Relaxed)
    }

    /// Passes a point.
    #[cfg(debug_assertions)]
    pub(crate) fn pass(name: &'static str, at: &'static Location<'static>) {
        // ORDER: Acquire; pairs with the Release in `arm`.
        if !ARMED.load(Ordering::Acquire)
            || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != CHOSEN.load(Ordering::Relaxed)
        {
            return;
        }
        eprintln!("crash point {name} {}:{}", at.file(), at.line());
        crate::sys::raise(if STOPS.load(Ordering::Relaxed) { libc::SIGSTOP } else { libc::SIGKILL });
    }
}
