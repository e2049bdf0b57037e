//! Whether this process is the one that opened a transport, or a child that it forked.
//!
//! A forked child inherits the memory but none of the threads, and its copy of a message or transport must give
//! nothing back: that is the parent's to do. `getpid` in every drop would cost a system call; a counter that the
//! C library increments in the child costs a load.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn in_the_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Names this process among its ancestors: kept by whatever belongs to the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// That of this process.
    pub(crate) fn current() -> Self {
        REGISTER.call_once(|| {
            // SAFETY: the handler is a plain function that lives as long as the program and only adds to an atomic, which
            // is allowed in a forked child.
            let outcome = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
            if outcome != 0 {
                tracing::warn!(
                    "forked children of this process cannot be told from it: no memory for a handler"
                );
            }
        });
        // ORDER: Relaxed; it changes only where there is a single thread.
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this process is still the one that it was taken in.
    pub(crate) fn is_ours(self) -> bool {
        // ORDER: Relaxed, as above.
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}
