//! What a session has done so far, in numbers.

use super::Session;
use crate::arrivals::Tally;
use std::sync::atomic::{AtomicU64, Ordering};
use zerodds_core::{Counters, Transport};
use zerodds_transport_shm::Pool;

/// What a session has done so far, and what its ring holds.
///
/// ```no_run
/// # use zerodds_rustdds::{Config, ZeroDds};
/// # let zerodds = ZeroDds::attach(&rustdds::DomainParticipant::new(0)?, Config::default())?;
/// let stats = zerodds.stats();
/// println!("{} samples by shared memory, {} in RTPS", stats.shared_samples, stats.plain_samples);
/// println!("{} of {} bytes of the ring are in use", stats.pool.in_use, stats.pool.capacity);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The transport's own counters: messages, bytes written once however many readers they have, losses.
    pub transport: Counters,
    /// The ring: its size, and what is in use.
    pub pool: Pool,
    /// Samples published through shared memory, once each however many readers they have.
    pub shared_samples: u64,
    /// Samples published in RTPS alone: below the threshold, with nobody to share with, or with a reader that cannot share on a topic where
    /// all then go without (docs/qos.md, mixed topics; the log and [`ZeroDds::paths`](crate::ZeroDds::paths) say so).
    pub plain_samples: u64,
    /// Descriptors handed to RTPS: one for each sample that all readers share, one for each participant otherwise.
    pub descriptors: u64,
    /// Samples meant for shared memory that went over UDP, to some reader at least, for want of room or memory or because they were too
    /// large.
    pub fallbacks: u64,
    /// Samples that came by shared memory for a reader here.
    pub arrived_samples: u64,
    /// Samples that history moved past before a reader took them, once for each reader.
    pub superseded_samples: u64,
    /// Samples dropped because a reader had reached its limit of all samples.
    pub overflowed_samples: u64,
    /// Samples whose LIFESPAN was over before a reader took them, once for each reader.
    pub expired_samples: u64,
    /// Descriptors whose sample was superseded, expired or lost; each was skipped once.
    pub gone_samples: u64,
    /// Samples that wait to be taken.
    pub held_samples: usize,
    /// Their bytes.
    pub held_bytes: usize,
    /// Links to other participants that have ended, for whatever reason.
    pub links_lost: u64,
    /// Messages that no session sends, each ignored.
    pub strange_messages: u64,
}

/// What writers count.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) shared: AtomicU64,
    pub(crate) plain: AtomicU64,
    pub(crate) descriptors: AtomicU64,
    pub(crate) fallbacks: AtomicU64,
    pub(super) links_lost: AtomicU64,
}

impl Session {
    pub(super) fn stats(&self) -> Stats {
        let inbox = self.inbox.lock();
        let Tally { arrived, superseded, overflowed, expired, gone } = inbox.ledger.tally();
        let (held_samples, held_bytes) = inbox.ledger.held();
        let strange_messages = inbox.strange;
        drop(inbox);
        let mut transport = self.transport.counters();
        transport.uncaptured_messages += self.watch.dropped();
        let count = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Stats {
            transport,
            pool: self.transport.pool(),
            shared_samples: count(&self.totals.shared),
            plain_samples: count(&self.totals.plain),
            descriptors: count(&self.totals.descriptors),
            fallbacks: count(&self.totals.fallbacks),
            links_lost: count(&self.totals.links_lost),
            arrived_samples: arrived,
            superseded_samples: superseded,
            overflowed_samples: overflowed,
            expired_samples: expired,
            gone_samples: gone,
            held_samples,
            held_bytes,
            strange_messages,
        }
    }
}
