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
    /// Percent of one processor used from the first sample until no more came.
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
    /// What the meter showed when samples stopped coming; gone with the next one.
    idle_percent: Option<f64>,
    first_flaw: Option<String>,
    /// What it has counted.
    pub(crate) tally: Tally,
}

impl<'a> Subscriber<'a> {
    /// A subscriber whose process started at `started_ns`.
    pub(crate) fn new(subscription: &'a mut dyn Subscription, started_ns: u64) -> Self {
        Self {
            subscription,
            started_ns,
            meter: None,
            idle_percent: None,
            first_flaw: None,
            tally: Tally::new(),
        }
    }

    /// The stack underneath.
    pub(crate) fn subscription(&mut self) -> &mut dyn Subscription {
        self.subscription
    }

    /// Takes, verifies and counts one sample; `None` if none arrives before the deadline.
    pub(crate) fn take(&mut self, deadline: Instant) -> Option<Result<(), Flaw>> {
        let Some(arrival) = self.subscription.next(deadline) else {
            // Waiting for what does not come is not what receiving costs.
            self.idle_percent =
                self.idle_percent.or_else(|| self.meter.as_ref().map(ProcessorMeter::percent));
            return None;
        };
        self.idle_percent = None;
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
            cpu_percent: self
                .idle_percent
                .or_else(|| self.meter.as_ref().map(ProcessorMeter::percent))
                .unwrap_or_default(),
            latency: tally.latency.distribution(),
            first_flaw: self.first_flaw.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::messages::Kind;
    use crate::stack::Arrival;
    use crate::stamp::Damage;
    use bytes::Bytes;

    /// Gives a sample every other time that it is asked.
    struct Rare(bool);

    impl Subscription for Rare {
        fn next(&mut self, _deadline: Instant) -> Option<Arrival> {
            self.0 = !self.0;
            self.0.then(|| Arrival {
                received_ns: 1,
                published_ns: None,
                kind: Kind::Bytes,
                stamp: Err(Damage::NoStamp),
                payload: Bytes::new(),
            })
        }

        fn matched(&mut self) -> usize {
            1
        }

        fn by_path(&self) -> ByPath {
            ByPath::default()
        }

        fn close(&mut self) {}
    }

    /// Time passes by the clock that the meter reads.
    fn pass() {
        let before = clock::monotonic_ns();
        while clock::monotonic_ns() == before {}
    }

    #[test]
    fn waiting_for_what_does_not_come_is_no_processor_use_of_receiving() {
        let mut rare = Rare(false);
        let mut subscriber = Subscriber::new(&mut rare, 0);
        let now = Instant::now();
        assert!(subscriber.take(now).is_some());
        pass();
        assert!(subscriber.take(now).is_none());
        let shown = subscriber.received().cpu_percent;
        pass();
        assert_eq!(subscriber.received().cpu_percent, shown);
        assert!(subscriber.take(now).is_some());
        assert_eq!(subscriber.idle_percent, None, "it goes on with the next sample");
    }
}
