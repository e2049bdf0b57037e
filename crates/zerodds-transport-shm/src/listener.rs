//! Who accepts links on this host.

use zerodds_core::Locator;

/// A participant that accepts links, as [`listeners`](crate::listeners) finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// Its shared-memory locator, whose port is its domain.
    pub locator: Locator,
    /// The inode of its socket: whose it is stands in `/proc/<pid>/fd`, as `socket:[<inode>]`.
    pub inode: u64,
}
