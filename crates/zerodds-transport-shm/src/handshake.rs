//! The messages that set up a link, and who is admitted.
//!
//! ```text
//!   connector                                      acceptor
//!      │  (both have looked at SO_PEERCRED)            │
//!      ├── HELLO {version, layout, locator, nonce} ───▶│
//!      │◀── WELCOME {…, nonce} + ring, bell ───────────┤
//!      ├── ATTACH + ring, bell, link ─────────────────▶│   the link holds the acceptor's nonce
//!      │◀── READY                                      │   and now the connector's: both have seen it
//!      ├── DONE ──────────────────────────────────────▶│
//!      │            REFUSE {reason} instead of any of these; BYE by either side at the end
//! ```
//! 64 bytes each, little-endian, one per packet. Whatever does not parse closes the connection. Between users the
//! doorbell is left out of WELCOME and ATTACH, and WAKE takes its place while the link is up.
//!
//! What rings a doorbell in poll (bell.rs) is a descriptor more for each peer, of which only those have a use who wake somebody
//! that sleeps there. So who has to, and has not got it yet, sends WAKE, and the first WAKE of a peer of our user is answered with MOUTH.

use crate::config::Access;
use crate::layout::{LAYOUT_HASH, MAGIC, VERSION};
use crate::sys::Credentials;
use zerodds_core::{Endianness, Locator};

/// Bytes of every frame.
pub(crate) const FRAME_LEN: usize = 64;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Welcome,
    Attach,
    Ready,
    Done,
    Refuse(Refused),
    Bye(Goodbye),
    /// From whoever cannot ring, being of another user, or not having got our mouth yet where we sleep in poll: a message or space may be
    /// there.
    Wake,
    /// What rings the sender's doorbell when it sleeps in poll.
    Mouth,
}

impl Kind {
    /// How a step is called that sends it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hello => "send HELLO",
            Self::Welcome => "send WELCOME",
            Self::Attach => "send ATTACH",
            Self::Ready => "send READY",
            Self::Done => "send DONE",
            Self::Refuse(_) => "send REFUSE",
            Self::Bye(_) => "send BYE",
            Self::Wake => "send WAKE",
            Self::Mouth => "send MOUTH",
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The connecting user is not admitted.
    NotAdmitted,
    /// Version or layout differ.
    Version,
    /// There is a link already, or the other direction's connection is preferred.
    Duplicate,
    /// Too many handshakes at once.
    Busy,
    /// Any other reason, such as no memory.
    Other,
}

/// Why a side leaves a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// Its transport closes.
    Closing,
    /// Somebody there wished so; it may be connected to again at once.
    Wished,
    /// It found what no correct peer writes.
    Broken,
}

/// One handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) version: u32,
    pub(crate) layout: u32,
    /// The sender's locator.
    pub(crate) locator: Locator,
    /// Length of the sender's ring in bytes.
    pub(crate) ring_len: u64,
    /// Random; must come back through the link's memory.
    pub(crate) nonce: u64,
}

impl Frame {
    /// A frame of this version.
    pub(crate) const fn new(kind: Kind, locator: Locator, ring_len: u64, nonce: u64) -> Self {
        Self { kind, version: VERSION, layout: LAYOUT_HASH, locator, ring_len, nonce }
    }

    pub(crate) const fn speaks_our_version(&self) -> bool {
        self.version == VERSION && self.layout == LAYOUT_HASH
    }

    pub(crate) fn to_bytes(self) -> [u8; FRAME_LEN] {
        let (kind, reason) = match self.kind {
            Kind::Hello => (1, 0),
            Kind::Welcome => (2, 0),
            Kind::Attach => (3, 0),
            Kind::Ready => (4, 0),
            Kind::Done => (5, 0),
            Kind::Refuse(reason) => (6, reason as u32 + 1),
            Kind::Bye(why) => (7, why as u32),
            Kind::Wake => (8, 0),
            Kind::Mouth => (9, 0),
        };
        let mut bytes = [0; FRAME_LEN];
        bytes[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.layout.to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::to_le_bytes(kind));
        bytes[20..24].copy_from_slice(&reason.to_le_bytes());
        bytes[24..48].copy_from_slice(&self.locator.to_bytes(Endianness::Little));
        bytes[48..56].copy_from_slice(&self.ring_len.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// TRUST: any bytes of any peer. `None` if they are no frame.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_LEN] = bytes.try_into().ok()?;
        if u64_at(bytes, 0) != MAGIC {
            return None;
        }
        let kind = match (u32_at(bytes, 16), u32_at(bytes, 20)) {
            (1, 0) => Kind::Hello,
            (2, 0) => Kind::Welcome,
            (3, 0) => Kind::Attach,
            (4, 0) => Kind::Ready,
            (5, 0) => Kind::Done,
            (6, reason) => Kind::Refuse(Refused::from_number(reason)?),
            (7, why) => Kind::Bye(Goodbye::from_number(why)?),
            (8, 0) => Kind::Wake,
            (9, 0) => Kind::Mouth,
            _ => return None,
        };
        let mut locator = [0; Locator::WIRE_LEN];
        locator.copy_from_slice(&bytes[24..48]);
        Some(Self {
            kind,
            version: u32_at(bytes, 8),
            layout: u32_at(bytes, 12),
            locator: Locator::from_bytes(&locator, Endianness::Little),
            ring_len: u64_at(bytes, 48),
            nonce: u64_at(bytes, 56),
        })
    }
}

impl Refused {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::NotAdmitted,
            2 => Self::Version,
            3 => Self::Duplicate,
            4 => Self::Busy,
            5 => Self::Other,
            _ => return None,
        })
    }
}

impl Goodbye {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Closing,
            1 => Self::Wished,
            2 => Self::Broken,
            _ => return None,
        })
    }
}

/// Whether a process with these credentials may map our memory.
pub(crate) fn is_admitted(access: Access, us: &OurIdentity, peer: Credentials) -> bool {
    if peer.uid == OVERFLOW_ID {
        // A user that this namespace cannot name: it could be anybody.
        return false;
    }
    match access {
        Access::User => peer.uid == us.uid || peer.uid == 0,
        Access::Group => {
            peer.uid == us.uid || peer.uid == 0 || (peer.gid != OVERFLOW_ID && us.groups.contains(&peer.gid))
        }
        Access::Any => true,
    }
}

/// Our own effective user and all our groups.
#[derive(Clone, Debug)]
pub(crate) struct OurIdentity {
    pub(crate) uid: u32,
    pub(crate) groups: Vec<u32>,
}

/// How ids without a mapping in this user namespace show (the kernel's overflow id).
const OVERFLOW_ID: u32 = 65_534;

fn u32_at(bytes: &[u8; FRAME_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; FRAME_LEN], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: Kind) -> Frame {
        Frame::new(
            kind,
            Locator::new(Locator::KIND_SHARED_MEMORY, 7, [3; 16]),
            1 << 26,
            0x0123_4567_89ab_cdef,
        )
    }

    const KINDS: [Kind; 15] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Attach,
        Kind::Ready,
        Kind::Done,
        Kind::Refuse(Refused::NotAdmitted),
        Kind::Refuse(Refused::Version),
        Kind::Refuse(Refused::Duplicate),
        Kind::Refuse(Refused::Busy),
        Kind::Refuse(Refused::Other),
        Kind::Bye(Goodbye::Closing),
        Kind::Bye(Goodbye::Wished),
        Kind::Bye(Goodbye::Broken),
        Kind::Wake,
        Kind::Mouth,
    ];

    #[test]
    fn every_kind_of_frame_survives_a_round_trip() {
        for kind in KINDS {
            assert_eq!(Frame::parse(&frame(kind).to_bytes()), Some(frame(kind)));
        }
    }

    #[test]
    fn a_frame_of_another_length_or_magic_is_none() {
        let bytes = frame(Kind::Hello).to_bytes();
        assert_eq!(Frame::parse(&bytes[..63]), None);
        assert_eq!(Frame::parse(&[]), None);
        let mut wrong = bytes;
        wrong[0] ^= 1;
        assert_eq!(Frame::parse(&wrong), None);
    }

    #[test]
    fn another_version_or_layout_is_told_apart() {
        let mut hello = frame(Kind::Hello);
        assert!(hello.speaks_our_version());
        hello.layout ^= 1;
        assert!(!Frame::parse(&hello.to_bytes()).expect("a frame").speaks_our_version());
    }

    #[test]
    fn the_policy_admits_whom_it_says() {
        let us = OurIdentity { uid: 1000, groups: vec![1000, 27] };
        let of = |uid, gid| Credentials { uid, gid };
        for access in [Access::User, Access::Group, Access::Any] {
            assert!(is_admitted(access, &us, of(1000, 1000)) && is_admitted(access, &us, of(0, 0)));
            assert!(!is_admitted(access, &us, of(OVERFLOW_ID, OVERFLOW_ID)), "an unmapped user is nobody");
        }
        assert!(!is_admitted(Access::User, &us, of(1001, 27)));
        assert!(is_admitted(Access::Group, &us, of(1001, 27)));
        assert!(!is_admitted(Access::Group, &us, of(1001, 1001)));
        assert!(is_admitted(Access::Any, &us, of(1001, 1001)));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_do_not_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Frame::parse(&bytes);
        }

        #[test]
        fn any_frame_with_a_flipped_byte_parses_to_something_or_nothing(at in 0..FRAME_LEN, flip in 1u8..) {
            let mut bytes = frame(Kind::Hello).to_bytes();
            bytes[at] ^= flip;
            if let Some(parsed) = Frame::parse(&bytes) {
                prop_assert_ne!(parsed, frame(Kind::Hello));
            }
        }
    }
}
