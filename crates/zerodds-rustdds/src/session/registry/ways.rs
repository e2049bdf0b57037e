//! By which path samples reach whom, as users and the log are told.

use super::super::paths::{MixedTopic, PeerPath, Ways};
use super::Registry;
use std::collections::BTreeMap;
use zerodds_core::{Path, Reason};

impl Registry {
    /// How samples reach the participants that we know of. By shared memory: their session has said which readers take them, and all
    /// writers here that share, and are matched there, use it. Readers that are about to be matched are left out: that passes, or is said
    /// of their topic.
    pub(crate) fn ways(&mut self) -> Ways {
        self.replan();
        let mut ways = Ways::default();
        let mut plain = BTreeMap::new();
        for (&writer, ours) in self.writers.iter().filter(|(_, ours)| ours.shares) {
            let plan = ours.outlook.plan();
            for prefix in plan.plain() {
                let could = plan.withheld.as_ref().is_some_and(|all| all.from.contains(&prefix));
                if could {
                    plain.entry(prefix).or_insert(Reason::MixedReaders);
                } else {
                    plain.insert(prefix, Reason::PlainReaders);
                }
            }
            let mixed = |withheld| MixedTopic { writer, topic: ours.topic.clone(), withheld };
            ways.mixed.extend(plan.withheld.clone().or_else(|| plan.held_up()).map(mixed));
        }
        let paths = self.sessions.values().filter_map(|session| {
            let participant = session.prefix?;
            let (path, reason) = if !session.up {
                (Path::Udp, session.without.clone().unwrap_or(Reason::Handshake))
            } else if !session.speaks {
                (Path::Udp, Reason::Handshake)
            } else if let Some(reason) = plain.remove(&participant) {
                (Path::Udp, reason)
            } else {
                (Path::SharedMemory, Reason::LinkReady)
            };
            Some(PeerPath { participant, path, reason })
        });
        ways.peers.extend(paths);
        ways
    }
}
