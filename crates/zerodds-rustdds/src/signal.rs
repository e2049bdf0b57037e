//! A descriptor that says that something waits: what a subscription is polled by, in every version of mio.
//!
//! ```text
//!   whoever puts something in ── an octet ──▶ pair of sockets ──▶ readable, until nothing waits any more
//! ```
//! There is none until somebody polls: most only ask, or wait in a stream.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

/// Where it is read, and where it is written.
#[derive(Debug, Default)]
pub(crate) struct Signal(OnceLock<(UnixStream, UnixStream)>);

impl Signal {
    /// The descriptor. Whoever asks for it looks then whether something waits already, and [raises](Self::raise) it.
    pub(crate) fn open(&self) -> io::Result<RawFd> {
        if let Some((reads, _)) = self.0.get() {
            return Ok(reads.as_raw_fd());
        }
        let (reads, writes) = UnixStream::pair()?;
        reads.set_nonblocking(true)?;
        writes.set_nonblocking(true)?;
        let (reads, _) = self.0.get_or_init(|| (reads, writes));
        Ok(reads.as_raw_fd())
    }

    /// Something waits.
    pub(crate) fn raise(&self) {
        if let Some((_, writes)) = self.0.get() {
            // A full buffer says it already.
            let _ = (&*writes).write(&[0]);
        }
    }

    /// Whoever lowers it looks afterwards, and raises it if something waits.
    pub(crate) fn lower(&self) {
        if let Some((reads, _)) = self.0.get() {
            while (&*reads).read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
        }
    }
}
