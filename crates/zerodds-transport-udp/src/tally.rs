//! The transport's counters while they count: one relaxed atomic each, read out as
//! [`Counters`]. They order nothing, so nothing stronger is needed.

use crate::batch::Batch;
use std::sync::atomic::{AtomicU64, Ordering};
use zerodds_core::{Counters, Delivery};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent_messages: AtomicU64,
    sent_bytes: AtomicU64,
    received_messages: AtomicU64,
    received_bytes: AtomicU64,
    lost_messages: AtomicU64,
    timed_out_messages: AtomicU64,
    too_large_messages: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    /// These datagrams were handed to the kernel for one peer.
    pub(crate) fn sent(&self, datagrams: Batch<'_>) {
        add(&self.sent_messages, datagrams.count);
        add(&self.sent_bytes, datagrams.bytes.len());
    }

    /// A message of this length was handed to the receiver's owner.
    pub(crate) fn received(&self, len: usize) {
        add(&self.received_messages, 1);
        add(&self.received_bytes, len);
    }

    /// This many messages found the socket's buffer full.
    pub(crate) fn full(&self, count: usize, delivery: Delivery) {
        match delivery {
            Delivery::BestEffort => add(&self.lost_messages, count),
            Delivery::Reliable { .. } => add(&self.timed_out_messages, count),
        }
    }

    /// A message was above the limit.
    pub(crate) fn too_large(&self) {
        add(&self.too_large_messages, 1);
    }

    /// The system refused this many messages: no route, no interface, a firewall.
    pub(crate) fn refused(&self, count: usize) {
        add(&self.refused, count);
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        counters.sent_messages = read(&self.sent_messages);
        counters.sent_bytes = read(&self.sent_bytes);
        counters.received_messages = read(&self.received_messages);
        counters.received_bytes = read(&self.received_bytes);
        counters.lost_messages = read(&self.lost_messages);
        counters.timed_out_messages = read(&self.timed_out_messages);
        counters.too_large_messages = read(&self.too_large_messages);
        counters.refused = read(&self.refused);
        counters
    }
}

fn add(counter: &AtomicU64, count: usize) {
    // ORDER: Relaxed, here and below; see above.
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
