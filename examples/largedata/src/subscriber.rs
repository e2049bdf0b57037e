//! The receiving half: takes, verifies and counts, whatever the stack.

use crate::clock::ProcessorMeter;
use crate::stack::{ByPath, Subscription};
use crate::tally::{Distribution, Flaw, Tally};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What one subscriber received.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Samples, intact and in order.
    pub(crate) samples: u64,
    /// Samples that were damaged, came twice or out of order.
    pub(crate) corrupt: u64,
    /// Samples skipped between others.
    pub(crate) skipped: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// Samples by path.
    pub(crate) by_path: ByPath,
    /// From the start of this process to its first sample, in nanoseconds.
    pub(crate) first_sample_ns: Option<u64>,
    /// When the last sample arrived, `CLOCK_MONOTONIC` in nanoseconds; 0 without samples.
    pub(crate) last_ns: u64,
    /// Percent of one processor used since the first sample.
    pub(crate) cpu_percent: f64,
    /// Latencies.
    pub(crate) latency: Distribution,
    /// What was wrong with the first corrupt sample.
    pub(crate) first_flaw: Option<String>,
}

/// One life of a subscriber.
pub(crate) struct Subscriber<'a> {
    subscription: &'a mut dyn Subscription,
    started_ns: u64,
    meter: Option<ProcessorMeter>,
    first_flaw: Option<String>,
    /// What it has counted.
    pub(crate) tally: Tally,
}

impl<'a> Subscriber<'a> {
    /// A subscriber whose process started at `started_ns`.
    pub(crate) fn new(subscription: &'a mut dyn Subscription, started_ns: u64) -> Self {
        Self { subscription, started_ns, meter: None, first_flaw: None, tally: Tally::new() }
    }

    /// The stack underneath.
    pub(crate) fn subscription(&mut self) -> &mut dyn Subscription {
        self.subscription
    }

    /// Takes, verifies and counts one sample; `None` if none arrives before the deadline.
    pub(crate) fn take(&mut self, deadline: Instant) -> Option<Result<(), Flaw>> {
        let arrival = self.subscription.next(deadline)?;
        self.meter.get_or_insert_with(ProcessorMeter::start);
        let verdict = self.tally.count(&arrival);
        if let Err(flaw) = &verdict {
            self.first_flaw.get_or_insert_with(|| flaw.to_string());
        }
        Some(verdict)
    }

    /// What was received so far.
    pub(crate) fn received(&self) -> Received {
        let tally = &self.tally;
        Received {
            samples: tally.received,
            corrupt: tally.corrupt,
            skipped: tally.skipped,
            bytes: tally.bytes,
            by_path: self.subscription.by_path(),
            first_sample_ns: tally.first_ns.map(|first| first.saturating_sub(self.started_ns)),
            last_ns: tally.last_ns.unwrap_or_default(),
            cpu_percent: self.meter.as_ref().map_or(0.0, ProcessorMeter::percent),
            latency: tally.latency.distribution(),
            first_flaw: self.first_flaw.clone(),
        }
    }
}
