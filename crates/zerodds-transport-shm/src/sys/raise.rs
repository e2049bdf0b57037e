//! A signal to this very thread, so that it goes no further.

/// Sends `signal` to the calling thread. SIGKILL and SIGSTOP have taken hold of the whole process when this returns,
/// if it returns; a signal to the process as a whole would leave the caller running for a while.
pub(crate) fn raise(signal: libc::c_int) {
    // SAFETY: it takes a number; SIGKILL and SIGSTOP have no handlers that could run.
    let outcome = unsafe { libc::raise(signal) };
    assert_eq!(outcome, 0, "signal {signal} to ourselves");
}
