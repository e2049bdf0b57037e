//! Who shares memory with whom: the host tag, and the incarnation of one participant.
//!
//! Neither rests on an IP address, a pid, a file name, a clock or an umask. Equal tags are only a reason to
//! *try*: memory is used after a handshake has proven that it is shared.

use std::fmt;

/// Names a set of processes that may reach each other by shared memory: a hash of the machine's boot id and
/// of the network namespace. Locators with different tags are served over UDP at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostTag([u8; 8]);

/// Names one life of one participant: 8 random bytes, new at every start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation([u8; 8]);

impl HostTag {
    /// The tag of the host with this boot id, for processes that share the object identified by `scope`
    /// (device and inode of a network namespace).
    ///
    /// The hash is FNV-1a over 64 bits of the boot id's text, then both numbers in little-endian order: part
    /// of the protocol (docs/protocol.md), since two builds must agree on it.
    #[must_use]
    pub fn derive(boot_id: &str, scope: (u64, u64)) -> Self {
        let scope = scope.0.to_le_bytes().into_iter().chain(scope.1.to_le_bytes());
        let hash = fnv1a(boot_id.trim().bytes().chain(scope));
        Self(hash.to_be_bytes())
    }

    /// The tag with these octets.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The octets, as they stand in a locator's address.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl Incarnation {
    /// The incarnation with these octets; give it random ones.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The octets, as they stand in a locator's address.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for HostTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for HostTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostTag({self})")
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// FNV-1a over 64 bits: the hash of everything in this project that two builds must agree on.
///
/// ```
/// assert_eq!(zerodds_core::fnv1a([]), 0xcbf2_9ce4_8422_2325);
/// ```
pub fn fnv1a(octets: impl IntoIterator<Item = u8>) -> u64 {
    octets.into_iter().fold(FNV_OFFSET, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(FNV_PRIME))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_depends_on_boot_and_scope_and_on_nothing_else() {
        let tag = HostTag::derive("9d2f", (4, 4_026_531_840));
        assert_eq!(
            tag,
            HostTag::derive("9d2f\n", (4, 4_026_531_840)),
            "the file's newline is no part of the id"
        );
        assert_ne!(tag, HostTag::derive("9d2e", (4, 4_026_531_840)));
        assert_ne!(tag, HostTag::derive("9d2f", (4, 4_026_531_841)));
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // FNV-1a of sixteen zero octets after an empty text.
        let mut expected: u64 = 0xcbf2_9ce4_8422_2325;
        for _ in 0..16 {
            expected = expected.wrapping_mul(0x0100_0000_01b3);
        }
        assert_eq!(HostTag::derive("", (0, 0)).to_bytes(), expected.to_be_bytes());
    }
}
