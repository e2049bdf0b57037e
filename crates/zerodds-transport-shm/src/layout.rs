//! The byte map of everything that two processes share. docs/protocol.md is its prose.
//!
//! All integers are `u32`/`u64` in the machine's own byte order, naturally aligned. That order is little-endian: on
//! other machines the transport is not available. Words written by different processes sit at least 128 bytes
//! apart, since processors fetch cache lines in pairs.
//!
//! ```text
//! doorbell (4 KiB)            link (one per pair)                        payload ring (one per sender)
//! 0x000 header                0x0000 header, nonces                      0x0000 header
//! 0x080 bell, waker's core    0x0080 probe of the connector              0x1000 records, 64-byte units
//! 0x100 space                 0x0100 probe of the acceptor
//!                             0x0200 direction 0 (connector to acceptor):
//!                                    +0x080 lane head   (receiver)
//!                                    +0x100 cursor      (both, compare-exchange)
//!                                    +0x180 end         (receiver; then both, compare-exchange)
//!                             0x0400 direction 1 (acceptor to connector)
//!                             0x1000 lane 0, lane 1     16 KiB each
//!                             0x9000 slots 0, slots 1   256 x 32 bytes each
//!                             0xd000 released 0, 1      1,024 x u32 each
//! ```

/// First word of every shared object and of every handshake message: "ZERODDS\x01".
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"ZERODDS\x01");
/// The version of the protocol. Any change to layout or meaning increases it.
pub(crate) const VERSION: u32 = 9;
/// A hash of the layout's numbers, so that a build that forgot to increase the version is refused too.
pub(crate) const LAYOUT_HASH: u32 = hash(&[
    PAGE,
    doorbell::LEN,
    doorbell::BELL,
    doorbell::SPACE,
    link::END,
    link::LEN,
    link::LANE_LEN,
    link::SLOTS,
    link::HANDLES,
    slot::LEN,
    ring::HEADER_LEN,
    ring::UNIT,
]);

pub(crate) const PAGE: usize = 4096;

/// The header at the start of every object.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0x00;
    pub(crate) const VERSION: usize = 0x08;
    pub(crate) const LAYOUT: usize = 0x0c;
    /// `u64`: the object's whole length in bytes.
    pub(crate) const LEN: usize = 0x10;
    /// `u64`: incarnation of the process that made it.
    pub(crate) const OWNER: usize = 0x18;
}

/// One per transport, for its peers of its own user.
pub(crate) mod doorbell {
    pub(crate) const LEN: usize = super::PAGE;
    /// `u32`: bit 0 asleep, bit 1 asleep in poll, both set and cleared by the receiver only; senders add 4.
    pub(crate) const BELL: usize = 0x80;
    /// `u32`: the core of the sender that rang last, plus one. A hint.
    pub(crate) const WAKER: usize = 0x84;
    /// `u32`: bit 0 a sender of this process waits for space, bit 1 for much, set and cleared by its process only; peers add 4.
    pub(crate) const SPACE: usize = 0x100;
}

/// One per pair of transports.
pub(crate) mod link {
    /// `u64`: the acceptor's nonce, written by the connector.
    pub(crate) const PROBE_CONNECTOR: usize = 0x80;
    /// `u64`: the connector's nonce, written by the acceptor.
    pub(crate) const PROBE_ACCEPTOR: usize = 0x100;
    pub(crate) const DIRECTIONS: usize = 0x200;
    pub(crate) const DIRECTION_LEN: usize = 0x200;
    pub(crate) const LANE_HEAD: usize = 0x080;
    pub(crate) const CURSOR: usize = 0x100;
    /// `u64`: where the direction ends, see ending.rs.
    pub(crate) const END: usize = 0x180;
    pub(crate) const LANES: usize = super::PAGE;
    /// Bytes of a lane; a power of two. The model checkers' holds a few.
    pub(crate) const LANE_LEN: usize = if cfg!(zerodds_model) { 128 } else { 16 << 10 };
    pub(crate) const SLOTS_AT: usize = LANES + 2 * LANE_LEN;
    /// Slots per direction; a power of two. The model checkers get by with four.
    pub(crate) const SLOTS: usize = if cfg!(zerodds_model) { 4 } else { 256 };
    pub(crate) const RELEASED_AT: usize = SLOTS_AT + 2 * SLOTS * super::slot::LEN;
    /// Release handles per direction.
    pub(crate) const HANDLES: usize = if cfg!(zerodds_model) { 2 } else { 1024 };
    pub(crate) const LEN: usize = RELEASED_AT + 2 * HANDLES * 4;
}

/// A message in the ring, as its receiver finds it.
pub(crate) mod slot {
    pub(crate) const LEN: usize = 32;
    /// `u64`: position + 1, written last.
    pub(crate) const SEQUENCE: usize = 0;
    /// `u64`: number of the message on this link, lane and slots counted together.
    pub(crate) const MESSAGE: usize = 8;
    /// `u32`: where the record's payload starts in the ring, in units of 64 bytes.
    pub(crate) const OFFSET: usize = 16;
    /// `u32`: length of the payload in bytes.
    pub(crate) const LENGTH: usize = 20;
    /// `u32`: release handle, or [`NO_HANDLE`]: copy before taking.
    pub(crate) const HANDLE: usize = 24;
    /// `u32`: the slot of the next position.
    pub(crate) const NEXT: usize = 28;
    /// Says that the payload must be copied out before it is taken, and may not be held.
    pub(crate) const NO_HANDLE: u32 = u32::MAX;
}

/// A message in the lane: header, payload, padding to 16 bytes.
pub(crate) mod lane {
    /// `u32`, written last: [`ready`] or [`pad`] of the record's position, until then [`NOTHING`].
    pub(crate) const READY: usize = 0;
    /// `u64`: number of the message on this link.
    pub(crate) const MESSAGE: usize = 8;
    pub(crate) const HEADER_LEN: usize = 16;
    pub(crate) const ALIGN: usize = 16;
    /// The record is not there yet.
    pub(crate) const NOTHING: u32 = 0;
    /// Messages up to this many bytes travel in the lane.
    pub(crate) const MESSAGE_MAX: usize = 1024;

    /// The first word of a record of `len` bytes: the length plus one, and above it the round.
    pub(crate) const fn ready(len: usize, position: u64) -> u32 {
        round(position) | (len as u32 + 1)
    }

    /// Nothing more until the lane starts again at its beginning, where a record is there already.
    pub(crate) const fn pad(position: u64) -> u32 {
        round(position) | LENGTH_MASK
    }

    /// How often the lane has started again at its beginning, so that nothing is read twice.
    pub(crate) const fn round(position: u64) -> u32 {
        ((position / super::link::LANE_LEN as u64) as u32) << LENGTH_BITS
    }

    const LENGTH_BITS: u32 = 11;
    pub(crate) const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
}

/// The payload ring.
pub(crate) mod ring {
    pub(crate) const HEADER_LEN: usize = super::PAGE;
    /// Records start at multiples of this.
    pub(crate) const UNIT: usize = 64;
    /// Before each payload: `len u32 | 0 u32 | sequence u64`, for inspection and capture; receivers need none of it.
    pub(crate) const RECORD_HEADER_LEN: usize = 64;

    /// What a record with so much payload takes, if it fits in memory at all.
    pub(crate) const fn record_len(payload: usize) -> u64 {
        (payload + RECORD_HEADER_LEN).next_multiple_of(UNIT) as u64
    }
}

/// Which way messages flow on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    FromConnector,
    FromAcceptor,
}

impl Direction {
    pub(crate) const fn reverse(self) -> Self {
        match self {
            Self::FromConnector => Self::FromAcceptor,
            Self::FromAcceptor => Self::FromConnector,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::FromConnector => 0,
            Self::FromAcceptor => 1,
        }
    }

    const fn word(self, word: usize) -> usize {
        link::DIRECTIONS + self.index() * link::DIRECTION_LEN + word
    }

    pub(crate) const fn lane_head(self) -> usize {
        self.word(link::LANE_HEAD)
    }

    pub(crate) const fn cursor(self) -> usize {
        self.word(link::CURSOR)
    }

    pub(crate) const fn end(self) -> usize {
        self.word(link::END)
    }

    pub(crate) const fn lane(self) -> usize {
        link::LANES + self.index() * link::LANE_LEN
    }

    pub(crate) const fn slot(self, slot: u32) -> usize {
        link::SLOTS_AT + (self.index() * link::SLOTS + slot as usize) * slot::LEN
    }

    pub(crate) const fn released(self, handle: u32) -> usize {
        link::RELEASED_AT + (self.index() * link::HANDLES + handle as usize) * 4
    }
}

/// The value that releases `handle` after the message at `position`: never zero, so that a fresh word
/// releases nothing.
pub(crate) const fn release_tag(position: u64) -> u32 {
    (position % (u32::MAX as u64)) as u32 + 1
}

const fn hash(numbers: &[usize]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < numbers.len() {
        hash = (hash ^ numbers[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

const _: () = assert!(link::LANE_LEN.is_power_of_two() && link::SLOTS.is_power_of_two());
const _: () = assert!(link::DIRECTIONS + 2 * link::DIRECTION_LEN <= PAGE);
const _: () = assert!(cfg!(zerodds_model) || (link::LANES == 0x1000 && link::SLOTS_AT == 0x9000));
const _: () = assert!(cfg!(zerodds_model) || link::RELEASED_AT == 0xd000 && link::LEN == 0xf000);
// No link has more than this in memory, whatever goes through it.
const _: () = assert!(link::LEN <= 64 << 10);
const _: () = assert!(link::CURSOR - link::LANE_HEAD >= 128);
const _: () = assert!(link::END - link::CURSOR >= 128 && link::DIRECTION_LEN - link::END >= 128);
const _: () = assert!(slot::NEXT + 4 <= slot::LEN);
const _: () = assert!(cfg!(zerodds_model) || link::HANDLES >= link::SLOTS);
const _: () = assert!(lane::MESSAGE + 8 <= lane::HEADER_LEN && lane::HEADER_LEN.is_multiple_of(lane::ALIGN));
const _: () = assert!(ring::HEADER_LEN.is_multiple_of(ring::UNIT) && ring::RECORD_HEADER_LEN == ring::UNIT);

#[cfg(all(test, not(zerodds_model)))]
mod tests {
    use super::*;

    #[test]
    fn the_paper_has_this_version_and_layout_wherever_it_shows_them() {
        let paper = include_str!("../../../docs/protocol.md");
        for cell in [format!("| version | {VERSION} |"), format!("| layout hash | `{LAYOUT_HASH:#010x}`")] {
            assert_eq!(paper.matches(&cell).count(), 1, "section 3.1: {cell}");
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let magic = format!("00  {}", hex(&MAGIC.to_le_bytes()));
        let first = [VERSION.to_le_bytes(), LAYOUT_HASH.to_le_bytes()].concat();
        let examples: Vec<&str> = paper.lines().filter_map(|line| line.strip_prefix(&magic)).collect();
        assert_eq!(examples.len(), 2, "section 14: a frame and an object");
        assert!(examples.iter().all(|rest| rest.starts_with(&format!("  {}", hex(&first)))), "{examples:?}");
    }
}
