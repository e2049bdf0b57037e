//! Readers that were deleted while their participant lives on. Dust keeps writing to them: of a single reader nothing can make it
//! forget the proxy, see [`estate`](crate::estate). What it writes to them is dropped here.

use crate::rtps::{Guid, GuidPrefix};
use parking_lot::RwLock;
use std::collections::HashSet;

/// Shared: the receive thread writes, Dust's thread reads.
#[derive(Debug, Default)]
pub(crate) struct Departed(RwLock<HashSet<Guid>>);

impl Departed {
    /// A reader is announced.
    pub(crate) fn came(&self, reader: Guid) {
        if self.contains(&reader) {
            self.0.write().remove(&reader);
        }
    }

    /// A reader is disposed of.
    pub(crate) fn left(&self, reader: Guid) {
        let mut departed = self.0.write();
        if departed.len() < READERS_MAX {
            departed.insert(reader);
        }
    }

    /// The whole participant is gone, and Dust has forgotten it.
    pub(crate) fn forget(&self, prefix: GuidPrefix) {
        self.0.write().retain(|reader| reader.prefix != prefix);
    }

    pub(crate) fn contains(&self, reader: &Guid) -> bool {
        self.0.read().contains(reader)
    }
}

/// Beyond it what is written to the deleted is sent, which costs time only.
const READERS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtps::EntityId;

    #[test]
    fn a_reader_is_departed_until_it_is_announced_again_or_its_participant_goes() {
        let departed = Departed::default();
        let reader = |entity| Guid { prefix: GuidPrefix([7; 12]), entity: EntityId([0, 0, entity, 4]) };
        [1, 2].into_iter().for_each(|entity| departed.left(reader(entity)));
        assert!(departed.contains(&reader(1)) && departed.contains(&reader(2)));
        departed.came(reader(1));
        assert!(!departed.contains(&reader(1)) && departed.contains(&reader(2)));
        departed.forget(reader(2).prefix);
        assert!(!departed.contains(&reader(2)));
    }
}
