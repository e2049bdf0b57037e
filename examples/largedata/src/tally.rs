//! What a subscriber has counted: arrivals, damage, gaps, latencies.
//!
//! Sequence numbers count per publisher and topic, since DDS orders samples per writer. A number above the next
//! one expected opens a gap, which counts as lost; a number below it is a sample that came twice or out of
//! order, which no quality of service allows, so it counts as corrupt.

use crate::messages::Kind;
use crate::stack::Arrival;
use crate::stamp::Damage;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The counts of one subscriber.
pub(crate) struct Tally {
    /// Samples that arrived intact and in order.
    pub(crate) received: u64,
    /// Samples that arrived damaged, twice or out of order.
    pub(crate) corrupt: u64,
    /// Payload bytes of the samples received.
    pub(crate) bytes: u64,
    /// Samples skipped: sequence numbers between two that arrived.
    pub(crate) skipped: u64,
    /// When the first sample arrived, `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) first_ns: Option<u64>,
    /// When the last sample arrived.
    pub(crate) last_ns: Option<u64>,
    /// Latencies in nanoseconds.
    pub(crate) latency: Latency,
    next_sequence: HashMap<(u64, Kind), u64>,
}

impl Tally {
    /// No sample yet.
    pub(crate) fn new() -> Self {
        Self {
            received: 0,
            corrupt: 0,
            bytes: 0,
            skipped: 0,
            first_ns: None,
            last_ns: None,
            latency: Latency::new(),
            next_sequence: HashMap::new(),
        }
    }

    /// Verifies and counts a sample.
    ///
    /// # Errors
    /// What was wrong with it, where it counts as corrupt.
    pub(crate) fn count(&mut self, arrival: &Arrival) -> Result<(), Flaw> {
        self.first_ns.get_or_insert(arrival.received_ns);
        self.last_ns = Some(arrival.received_ns);
        let verdict = self.judge(arrival);
        match verdict {
            Ok(()) => {
                self.received += 1;
                self.bytes += arrival.payload.len() as u64;
            }
            Err(_) => self.corrupt += 1,
        }
        verdict
    }

    fn judge(&mut self, arrival: &Arrival) -> Result<(), Flaw> {
        let sealed = arrival.stamp.as_ref().map_err(|damage| Flaw::Damage(damage.to_string()))?;
        sealed.verify(&arrival.payload).map_err(|damage: Damage| Flaw::Damage(damage.to_string()))?;
        let stamp = sealed.stamp();
        // Another host's clock has nothing to do with ours, and a difference would look like a latency.
        if stamp.is_of_this_boot() {
            self.latency.record(arrival.published_ns.unwrap_or(stamp.published_ns), arrival.received_ns);
        }
        // A subscriber that joins late starts where the publisher is.
        let next = self.next_sequence.entry((stamp.publisher, arrival.kind)).or_insert(stamp.sequence);
        if stamp.sequence < *next {
            return Err(Flaw::Order { sequence: stamp.sequence, after: *next - 1 });
        }
        self.skipped += stamp.sequence - *next;
        *next = stamp.sequence + 1;
        Ok(())
    }
}

/// Why a sample counts as corrupt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is not what was published.
    #[error("{0}")]
    Damage(String),
    /// It came again, or late.
    #[error("sample {sequence} came after sample {after}")]
    Order {
        /// Its number.
        sequence: u64,
        /// The highest number before it.
        after: u64,
    },
}

/// A distribution of latencies, of three significant digits.
#[derive(Clone)]
pub(crate) struct Latency(Histogram<u64>);

/// A distribution as it travels between processes: values in nanoseconds and how often each was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Distribution(Vec<(u64, u64)>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty distribution.
    pub(crate) fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("the bounds are constant and valid"),
        )
    }

    /// Adds what a sample took. A clock that was set in between gives nonsense: what is negative or above ten minutes is
    /// no latency and is left out.
    pub(crate) fn record(&mut self, published_ns: u64, received_ns: u64) {
        if let Some(ns) = received_ns.checked_sub(published_ns) {
            let _ = self.0.record(ns.max(1));
        }
    }

    /// Adds another distribution.
    pub(crate) fn merge(&mut self, other: &Distribution) {
        for &(ns, count) in &other.0 {
            let _ = self.0.record_n(ns, count);
        }
    }

    /// The latency in nanoseconds that this share of the samples (0 to 1) did not exceed; `None` without samples.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share).min(self.0.max()))
    }

    /// The longest; `None` without samples.
    pub(crate) fn max(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    /// The form that travels.
    pub(crate) fn distribution(&self) -> Distribution {
        Distribution(
            self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        )
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }
}

const LATENCY_MAX_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{Stamp, Touch, publisher_of_this_boot};
    use bytes::Bytes;

    fn arrival(life: u32, sequence: u64, payload: &'static [u8]) -> Arrival {
        arrival_from(publisher_of_this_boot(life), sequence, payload)
    }

    fn arrival_from(publisher: u64, sequence: u64, payload: &'static [u8]) -> Arrival {
        let stamp = Stamp {
            publisher,
            sequence,
            published_ns: 1000,
            touch: Touch::Full,
            payload_sum: Touch::Full.sum(payload),
        };
        let stamp = Stamp::from_text(&stamp.to_text("x"));
        Arrival {
            received_ns: 3000,
            published_ns: None,
            kind: Kind::Bytes,
            stamp,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn samples_in_order_are_received_and_gaps_are_skipped_samples() {
        let mut tally = Tally::new();
        for sequence in [5, 6, 9] {
            assert_eq!(tally.count(&arrival(1, sequence, b"abc")), Ok(()));
        }
        assert_eq!((tally.received, tally.skipped, tally.corrupt, tally.bytes), (3, 2, 0, 9));
        assert_eq!(tally.latency.quantile(0.5), Some(2000));
    }

    #[test]
    fn a_time_that_came_beside_the_sample_counts_before_its_stamp() {
        let mut tally = Tally::new();
        assert_eq!(tally.count(&Arrival { published_ns: Some(2_500), ..arrival(1, 0, b"") }), Ok(()));
        assert_eq!(tally.latency.max(), Some(500));
    }

    #[test]
    fn a_sample_of_another_host_is_received_without_a_latency() {
        let mut tally = Tally::new();
        let elsewhere = publisher_of_this_boot(1) ^ 1 << 40;
        assert_eq!(tally.count(&arrival_from(elsewhere, 0, b"abc")), Ok(()));
        assert_eq!(
            tally.count(&Arrival { published_ns: Some(2_500), ..arrival_from(elsewhere, 1, b"") }),
            Ok(())
        );
        assert_eq!((tally.received, tally.latency.max()), (2, None));
    }

    #[test]
    fn a_sample_published_after_it_arrived_has_no_latency() {
        let mut tally = Tally::new();
        assert_eq!(tally.count(&Arrival { published_ns: Some(3_001), ..arrival(1, 0, b"") }), Ok(()));
        assert_eq!((tally.received, tally.latency.max()), (1, None));
    }

    #[test]
    fn a_sample_that_comes_twice_or_late_is_corrupt() {
        let mut tally = Tally::new();
        assert_eq!(tally.count(&arrival(1, 5, b"")), Ok(()));
        assert_eq!(tally.count(&arrival(1, 5, b"")), Err(Flaw::Order { sequence: 5, after: 5 }));
        assert_eq!(tally.count(&arrival(1, 2, b"")), Err(Flaw::Order { sequence: 2, after: 5 }));
        assert_eq!((tally.received, tally.corrupt), (1, 2));
    }

    #[test]
    fn a_restarted_publisher_starts_a_sequence_of_its_own() {
        let mut tally = Tally::new();
        for (publisher, sequence) in [(1, 100), (2, 0), (2, 1)] {
            assert_eq!(tally.count(&arrival(publisher, sequence, b"")), Ok(()));
        }
        assert_eq!((tally.received, tally.skipped), (3, 0));
    }

    #[test]
    fn a_damaged_sample_is_corrupt_and_not_received() {
        let mut tally = Tally::new();
        let damaged = Arrival { payload: Bytes::from_static(b"abd"), ..arrival(1, 0, b"abc") };
        assert!(matches!(tally.count(&damaged), Err(Flaw::Damage(_))));
        assert_eq!((tally.received, tally.corrupt, tally.bytes), (0, 1, 0));
    }

    #[test]
    fn distributions_add_up_across_processes() {
        let (mut left, mut right) = (Latency::new(), Latency::new());
        left.record(0, 1_000);
        right.record(0, 9_000);
        left.merge(&right.distribution());
        assert_eq!(left.quantile(0.5), Some(1_000));
        assert!(left.max().is_some_and(|max| (8_990..=9_010).contains(&max)));
        assert_eq!(Latency::new().quantile(0.5), None);
    }
}
