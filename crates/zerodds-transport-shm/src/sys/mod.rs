//! The only unsafe code of the crate: typed access to mapped memory, a hint to the processor about it, two socket
//! options, a page that forked children have wiped, the number of a processor, and a promise to tokio.
//!
//! Everything else about the kernel (memfd, seals, futexes, sockets, descriptors in messages) is safe through
//! `rustix` and `memmap2`. What is left is what no library can promise: that bytes which another process can
//! see are read and written as the protocol says.
//!
//! The rules on which every block of `mapping` rests:
//! 1. A [`Mapping`] lives as long as any handle to it, and its length never changes: every object is sealed
//!    against shrinking and growing before it is mapped (checked in `segment`), so no access can fault.
//!    (Where the system promises no more than it has, a peer's hole in a link may be a SIGBUS: docs/trust.md.)
//! 2. Words (layout.rs) are only accessed as atomics, bytes only by copying or through [`LoanedBytes`] and
//!    [`SharedBytes`]; the two never overlap.
//! 3. Bytes that a [`LoanedBytes`] covers belong to one live record of the arena that was not published, or is only read since;
//!    bytes that a [`SharedBytes`] covers belong to a published record that cannot be reused before it is
//!    dropped. For memory of another process this is a promise of a peer of the same user, whom the
//!    operating system lets write into this process anyway (docs/trust.md); from all other peers bytes are
//!    copied out.
//! 4. A [`Keeper`] keeps one mapping and always the same, so that what a handle covers does not move.

#[cfg(feature = "tokio")]
#[allow(unsafe_code, reason = "tokio's promise about the life of a watched descriptor")]
pub(crate) mod async_fd;
#[cfg(all(feature = "crash-points", debug_assertions))]
#[allow(unsafe_code, reason = "words of mapped memory, counted; rules above")]
mod counted;
#[allow(unsafe_code, reason = "SO_PEERCRED and SO_PEERPIDFD, which rustix cannot read across namespaces")]
mod credentials;
#[allow(unsafe_code, reason = "a page that is wiped in forked children")]
mod fork;
#[allow(unsafe_code, reason = "raw pointers into mapped memory; rules above")]
mod mapping;
#[allow(unsafe_code, reason = "a number that the C library has at hand")]
pub(crate) mod processor;
#[cfg(all(feature = "crash-points", debug_assertions))]
#[allow(unsafe_code, reason = "a signal to this thread, which rustix does not send")]
mod raise;

#[cfg(all(feature = "crash-points", debug_assertions))]
pub(crate) use counted::{AtomicU32, AtomicU64};
pub(crate) use credentials::{Credentials, peer_credentials, peer_pidfd};
pub(crate) use fork::Generation;
pub(crate) use mapping::{Keeper, LoanedBytes, Mapping, SharedBytes, page_size};
#[cfg(all(feature = "crash-points", debug_assertions))]
pub(crate) use raise::raise;
