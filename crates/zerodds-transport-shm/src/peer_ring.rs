//! A peer's payload ring, which we can only read.
//!
//! ```text
//!   of our own user     mapped: messages are read where they lie
//!   of another user     read from its file: messages are copied anyway
//! ```
//! A ring is a file full of holes. To read a hole through a mapping allocates its page, and the kernel charges that to whoever reads: a
//! peer that names hole after hole, in a ring of some GiB, would use up *our* memory limit. A read of the file finds zeros in
//! a hole and allocates nothing, at the price of a system call for each message.

use crate::control::closing::Given;
use crate::region::{Broken, Region};
use crate::sys::Mapping;
use rustix::io::Errno;

/// The ring of one peer.
pub(crate) enum PeerRing {
    Mapped(Mapping),
    File { file: Given, len: usize },
}

impl PeerRing {
    /// Bytes of it, header included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Mapped(mapping) => mapping.len(),
            Self::File { len, .. } => *len,
        }
    }

    /// The memory in which messages may be read in place.
    pub(crate) const fn in_place(&self) -> Option<&Mapping> {
        match self {
            Self::Mapped(mapping) => Some(mapping),
            Self::File { .. } => None,
        }
    }

    /// Copies what lies at `at`, which must be inside the ring.
    pub(crate) fn copy_out(&self, at: usize, to: &mut [u8]) -> Result<(), Broken> {
        match self {
            Self::Mapped(mapping) => mapping.copy_out(at, to),
            Self::File { file, .. } => read_all(file, at, to)?,
        }
        Ok(())
    }
}

fn read_all(file: &Given, at: usize, to: &mut [u8]) -> Result<(), Broken> {
    let mut done = 0;
    while done < to.len() {
        match rustix::io::pread(&**file, &mut to[done..], (at + done) as u64) {
            Ok(0) => return Err(Broken("its ring ends before a message that it names")),
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(_) => return Err(Broken("its ring cannot be read")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{self, Sharing};
    use std::sync::Arc;

    const LEN: usize = 16 << 20;

    #[test]
    fn what_another_user_never_wrote_is_read_as_zeros_and_takes_no_memory() {
        let made = segment::create("test", LEN, 7, Sharing::ReadOnly).expect("memfd");
        made.mapping.copy_in(8192, b"payload");
        let blocks = || rustix::fs::fstat(&made.fd).expect("a file").st_blocks;
        let before = blocks();
        let file = Given::new(made.fd.try_clone().expect("dup"), &Arc::default());
        let ring = PeerRing::File { file, len: LEN };
        let mut bytes = vec![1; LEN - 4096];
        ring.copy_out(4096, &mut bytes).expect("inside");
        assert_eq!((&bytes[4096..4103], bytes.last()), (&b"payload"[..], Some(&0)));
        assert_eq!(blocks(), before, "nothing was allocated");
        assert!(ring.copy_out(LEN - 1, &mut [0; 2]).is_err(), "nothing is made up beyond its end");
        // What this is for: a mapping allocates what it reads.
        PeerRing::Mapped(made.mapping).copy_out(4096, &mut bytes).expect("inside");
        assert!(rustix::fs::fstat(&made.fd).expect("a file").st_blocks > before);
    }
}
