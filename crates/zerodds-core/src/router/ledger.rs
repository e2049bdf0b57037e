//! Who is served by which path, since when and why: the router's memory of its peers.
//!
//! The ledger decides nothing. It is told what was decided, says each change once through `tracing`, and adds
//! up. It is bounded: locators come from the network, so a hostile peer could invent any number of them.

use crate::{Locator, Path, PathReport, Reason};
use std::collections::HashMap;
use std::time::Instant;

/// The peers a router has sent to, by their shared-memory locator or their first one.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<Locator, Entry>,
    /// Notes so far, one for each message to a peer: the clock by which peers are silent.
    notes: u64,
    /// Before so many notes nobody is silent enough to make room.
    full_until: u64,
}

#[derive(Debug)]
struct Entry {
    path: Path,
    reason: Reason,
    since: Instant,
    /// Which of the notes was the last one.
    last: u64,
    /// What was last said about this peer, so that passing states are not news.
    announced: Option<(Path, Reason)>,
    sent_by_shm: u64,
    sent_by_udp: u64,
}

/// What was decided about one peer, and how often it was served by each path since the last note.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) path: Path,
    pub(super) reason: Reason,
    /// The reason will pass by itself (a handshake under way): recorded, but not announced.
    pub(super) passing: bool,
}

/// What is to be said once the ledger is unlocked: whoever listens may publish what it hears, over this very router.
#[must_use]
pub(super) enum News {
    Path { peer: Locator, path: Path, reason: Reason },
    Left { peer: Locator, reason: Reason },
}

impl News {
    pub(super) fn say(self) {
        match self {
            Self::Path { peer, path, reason } => tracing::info!(%peer, %path, %reason, "path of peer"),
            Self::Left { peer, reason } => tracing::info!(%peer, %reason, "peer left shared memory"),
        }
    }
}

impl Ledger {
    /// Records the path that was chosen for `peer`, if there is room; the news of it, if it is any.
    pub(super) fn note(&mut self, peer: Locator, note: Note) -> Option<News> {
        self.notes += 1;
        match self.entries.get_mut(&peer) {
            Some(entry) if entry.path == note.path && entry.reason == note.reason => {
                entry.last = self.notes;
                None
            }
            Some(entry) => {
                entry.last = self.notes;
                if entry.path != note.path {
                    (entry.path, entry.since) = (note.path, Instant::now());
                }
                entry.reason = note.reason.clone();
                entry.news(peer, note)
            }
            None => {
                if !self.make_room(note.path) {
                    return None;
                }
                let entry = self.entries.entry(peer).or_insert(Entry {
                    path: note.path,
                    reason: note.reason.clone(),
                    since: Instant::now(),
                    last: self.notes,
                    announced: None,
                    sent_by_shm: 0,
                    sent_by_udp: 0,
                });
                entry.news(peer, note)
            }
        }
    }

    /// Counts one message sent to `peer` by `path`.
    pub(super) fn count(&mut self, peer: Locator, path: Path) {
        if let Some(entry) = self.entries.get_mut(&peer) {
            match path {
                Path::SharedMemory => entry.sent_by_shm += 1,
                Path::Udp => entry.sent_by_udp += 1,
            }
        }
    }

    /// Forgets a peer that left shared memory; the news of it, if it was known.
    pub(super) fn forget(&mut self, peer: Locator, reason: &Reason) -> Option<News> {
        self.entries.remove(&peer).map(|_| News::Left { peer, reason: reason.clone() })
    }

    pub(super) fn reports(&self) -> Vec<PathReport> {
        let report = |(&peer, entry): (&Locator, &Entry)| PathReport {
            peer,
            path: entry.path,
            since: entry.since,
            reason: entry.reason.clone(),
            sent_by_shm: entry.sent_by_shm,
            sent_by_udp: entry.sent_by_udp,
        };
        self.entries.iter().map(report).collect()
    }

    /// Whether there is room for a peer on this path. Of those served by UDP, whose end nobody tells, the one that was sent nothing for
    /// longest makes room: for one that shares memory at once, for another like itself only after many messages to others. Of
    /// peers that are sent to in turn, each would push out the next, and all be news with every message.
    fn make_room(&mut self, path: Path) -> bool {
        if self.entries.len() < PEERS_MAX {
            return true;
        }
        if path == Path::Udp && self.notes < self.full_until {
            return false;
        }
        let by_udp = self.entries.iter().filter(|(_, entry)| entry.path == Path::Udp);
        let longest_silent =
            by_udp.min_by_key(|(_, entry)| entry.last).map(|(&peer, entry)| (peer, entry.last));
        let Some((peer, last)) = longest_silent else { return false };
        if path == Path::Udp && self.notes < last + SILENT_MIN {
            self.full_until = last + SILENT_MIN;
            return false;
        }
        self.entries.remove(&peer).is_some()
    }
}

impl Entry {
    fn news(&mut self, peer: Locator, note: Note) -> Option<News> {
        let Note { path, reason, passing } = note;
        let announced = Some((path, reason.clone()));
        if passing || self.announced == announced {
            return None;
        }
        self.announced = announced;
        Some(News::Path { peer, path, reason })
    }
}

/// More peers than most domains hold: 120 participants fit on one host (DDSI-RTPS 2.5 §9.6.2.3), of which one without shared memory
/// may have two names.
pub(super) const PEERS_MAX: usize = 1024;
/// Messages to others after which a peer may be gone: sixteen times as many peers can be sent to in turn.
pub(super) const SILENT_MIN: u64 = 16 * PEERS_MAX as u64;
