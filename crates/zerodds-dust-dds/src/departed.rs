//! Readers that were deleted while their participant lives on. Dust keeps writing to them: of a single reader nothing can make it
//! forget the proxy, see [`estate`](crate::estate). What it writes to them is dropped here.

use crate::estate::News;
use crate::rtps::{Guid, GuidPrefix};
use parking_lot::RwLock;
use std::collections::HashSet;

/// Shared: the receive thread writes, Dust's thread reads.
#[derive(Debug, Default)]
pub(crate) struct Departed(RwLock<HashSet<Guid>>);

impl Departed {
    pub(crate) fn note(&self, news: &News) {
        if news.came.is_empty() && news.left.is_empty() {
            return;
        }
        let mut departed = self.0.write();
        for reader in &news.came {
            departed.remove(reader);
        }
        let room = READERS_MAX.saturating_sub(departed.len());
        departed.extend(news.left.iter().take(room));
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
        departed.note(&News { left: vec![reader(1), reader(2)], ..News::default() });
        assert!(departed.contains(&reader(1)) && departed.contains(&reader(2)));
        departed.note(&News { came: vec![reader(1)], ..News::default() });
        assert!(!departed.contains(&reader(1)) && departed.contains(&reader(2)));
        departed.forget(reader(2).prefix);
        assert!(!departed.contains(&reader(2)));
    }
}
