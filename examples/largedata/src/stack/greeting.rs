//! How the halves of `--stack transport` find each other, there being no discovery below a DDS.
//!
//! ```text
//!   subscriber                                  publisher
//!      │ ── Hello {id, kinds, locators} ───────▶ │   to every neighbour in shared memory and to the
//!      │                                         │   multicast group of the domain: often until answered,
//!      │ ◀─ Welcome {id, kinds, locators} ────── │   then once a second as a sign of life
//!      │ ◀─ samples ──────────────────────────── │
//!
//!   magic 8 │ id u32 │ kinds u32, a bit each │ count u32 │ locators, 24 bytes each        little-endian
//! ```
//! Repeating it costs nothing, answers lost datagrams and restarted publishers alike, and needs no state. A subscriber
//! that leaves says that it wants no kinds: by UDP nothing else tells.

use crate::messages::Kind;
use std::collections::BTreeSet;
use zerodds_core::{Endianness, Locator};

/// A word of greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Who greets whom.
    pub(crate) side: Side,
    /// One life of one side.
    pub(crate) id: u32,
    /// The kinds that it publishes or wants; none of who leaves.
    pub(crate) kinds: BTreeSet<Kind>,
    /// Where it is reached.
    pub(crate) locators: Vec<Locator>,
}

/// Which side greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A subscriber: `Hello`.
    Subscriber,
    /// A publisher: `Welcome`.
    Publisher,
}

impl Greeting {
    /// The message.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let kinds = self.kinds.iter().fold(0, |bits, kind| bits | 1_u32 << kind.code());
        let mut bytes = self.side.magic().to_vec();
        for word in [self.id, kinds, self.locators.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        self.locators.iter().for_each(|locator| bytes.extend(locator.to_bytes(Endianness::Little)));
        bytes
    }

    /// The greeting in a message; `None` if it is something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let side = [Side::Subscriber, Side::Publisher].into_iter().find(|side| side.magic() == magic)?;
        let (words, rest) = rest.split_first_chunk::<12>()?;
        let word = |at: usize| words[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let (id, bits, count) = (word(0)?, word(4)?, word(8)? as usize);
        let (locators, rest) = rest.as_chunks::<{ Locator::WIRE_LEN }>();
        if locators.len() != count || !rest.is_empty() || count > LOCATORS_MAX {
            return None;
        }
        Some(Self {
            side,
            id,
            kinds: Kind::ALL.into_iter().filter(|kind| bits & 1 << kind.code() != 0).collect(),
            locators: locators.iter().map(|bytes| Locator::from_bytes(bytes, Endianness::Little)).collect(),
        })
    }
}

impl Side {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Subscriber => b"LARGEHI1",
            Self::Publisher => b"LARGEWE1",
        }
    }
}

const LOCATORS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn greeting() -> Greeting {
        let locators = vec![Locator::from(SocketAddr::from(([127, 0, 0, 1], 7411))); 2];
        Greeting {
            side: Side::Subscriber,
            id: 77,
            kinds: BTreeSet::from([Kind::Cloud, Kind::Bytes]),
            locators,
        }
    }

    #[test]
    fn a_greeting_survives_the_journey() {
        assert_eq!(Greeting::from_bytes(&greeting().to_bytes()), Some(greeting()));
    }

    #[test]
    fn anything_else_is_no_greeting() {
        let bytes = greeting().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Greeting::from_bytes(&bytes[..len]), None, "{len} bytes of one");
        }
        assert_eq!(Greeting::from_bytes(&[bytes, vec![0]].concat()), None);
    }
}
