//! Who has a place: handshakes and connections are bounded, by user.

use super::Worker;
use super::connection::Connection;
use crate::handshake::{Goodbye, Refused};
use crate::shared::Stats;
use crate::sys::Credentials;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerodds_core::Reason;

impl Worker {
    /// Whether one more connection with this user would be one too many.
    pub(super) fn is_full(&self, peer: Credentials) -> bool {
        let own_user = self.shared.identity.uid;
        let of = |is_one: &dyn Fn(u32) -> bool| {
            self.connections.values().filter(|connection| is_one(connection.credentials().uid)).count()
        };
        if peer.uid == own_user {
            self.connections.len() >= CONNECTIONS_MAX
        } else {
            of(&|uid| uid == peer.uid) >= CONNECTIONS_PER_OTHER_USER_MAX
                || of(&|uid| uid != own_user) >= CONNECTIONS_OF_OTHERS_MAX
        }
    }

    /// Finds a place for one more handshake: a free one, or the oldest of the other user that has most of them, if that
    /// is more than this user has. Nobody takes a place of our own user.
    pub(super) fn has_place(&mut self, peer: Credentials) -> bool {
        while let Some(place) = self.place_in_the_way(peer) {
            let Some(token) = place else { return false };
            // It may have shaken hands by what is unread yet, and sent messages.
            self.readable(token);
            if let Some(connection) = self.connections.get(&token)
                && connection.deadline().is_some()
            {
                if connection.may_be_up() {
                    Stats::add(&self.shared.stats.refused, 1);
                } else {
                    connection.refuse(&self.shared, Refused::Busy);
                }
                self.give_up(token, Reason::NoPlace);
            }
        }
        true
    }

    /// Gives up a handshake. A peer that may have the link already may have sent on it: it is left in order.
    pub(super) fn give_up(&mut self, token: u64, reason: Reason) {
        match self.connections.get_mut(&token).and_then(Connection::come_up) {
            Some(link) => {
                self.up(token, Arc::clone(&link));
                self.leave(&link, Goodbye::Wished, reason, Duration::ZERO);
            }
            None => self.gone(token, &reason),
        }
    }

    /// Whose place this user would take, where all are taken; `Some(None)` if it may take none.
    fn place_in_the_way(&self, peer: Credentials) -> Option<Option<u64>> {
        let own_user = self.shared.identity.uid;
        let mut pending: HashMap<u32, Vec<(Instant, u64)>> = HashMap::new();
        for (&token, connection) in &self.connections {
            if let Some(deadline) = connection.deadline() {
                pending.entry(connection.credentials().uid).or_default().push((deadline, token));
            }
        }
        if pending.values().map(Vec::len).sum::<usize>() < HANDSHAKES_MAX {
            return None;
        }
        let has = if peer.uid == own_user { 0 } else { pending.get(&peer.uid).map_or(0, Vec::len) };
        let greediest =
            pending.into_iter().filter(|&(uid, _)| uid != own_user).max_by_key(|(_, of)| of.len());
        let oldest = greediest.filter(|(_, of)| of.len() > has).and_then(|(_, of)| of.into_iter().min());
        Some(oldest.map(|(_, token)| token))
    }
}

/// Handshakes under way at once.
const HANDSHAKES_MAX: usize = 128;
/// Connections in all.
const CONNECTIONS_MAX: usize = 2048;
/// Connections with the processes of any one other user.
const CONNECTIONS_PER_OTHER_USER_MAX: usize = 64;
/// Connections with the processes of all other users; the rest is our own user's.
const CONNECTIONS_OF_OTHERS_MAX: usize = CONNECTIONS_MAX / 2;
