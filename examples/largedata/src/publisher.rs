//! The publishing half: which sample goes when, whatever the stack.

use crate::clock::{self, ProcessorMeter};
use crate::messages::Kind;
use crate::quantity::Rate;
use crate::random::Random;
use crate::samples::Samples;
use crate::stack::{Mark, Publication, PublishError, Written};
use crate::stamp::publisher_of_this_boot;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often, and until when.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Samples per second.
    pub(crate) rate: Rate,
    /// When to stop.
    pub(crate) end: End,
}

/// When a publisher stops by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    /// After so many samples.
    Samples(u64),
    /// After so long.
    After(Duration),
    /// Never.
    Open,
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Published {
    /// Samples.
    pub(crate) samples: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// When the first one was, `CLOCK_MONOTONIC` in nanoseconds; 0 without samples.
    pub(crate) first_ns: u64,
    /// When the last one was.
    pub(crate) last_ns: u64,
    /// Percent of one processor used in between.
    pub(crate) cpu_percent: f64,
    /// What the stack has done for it, if it counts that.
    pub(crate) written: Option<Written>,
}

impl Published {
    /// Samples per second that it came to; `None` of too few to tell.
    pub(crate) fn rate_hz(&self) -> Option<f64> {
        let seconds = self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9;
        // The span ends with the last sample's own publication, which is little beside that many periods.
        (self.samples >= SAMPLES_OF_A_RATE && seconds > 0.0).then(|| (self.samples - 1) as f64 / seconds)
    }
}

/// One life of a publisher.
pub(crate) struct Publisher<'a> {
    publication: &'a mut dyn Publication,
    samples: &'a mut Samples,
    id: u64,
    next_sequence: HashMap<Kind, u64>,
    published: Published,
}

impl<'a> Publisher<'a> {
    /// A publisher of `samples`, cycled.
    pub(crate) fn new(publication: &'a mut dyn Publication, samples: &'a mut Samples) -> Self {
        let id = publisher_of_this_boot(Random::of_this_process().next() as u32);
        Self { publication, samples, id, next_sequence: HashMap::new(), published: Published::default() }
    }

    /// Publishes until the plan's end or until `stop` is set. `watch` is called about every 100 ms and after each
    /// failure with what was published so far, and decides how to go on.
    ///
    /// # Errors
    /// What `watch` did not forgive.
    pub(crate) fn run(
        &mut self,
        plan: Plan,
        stop: &AtomicBool,
        mut watch: impl FnMut(&mut dyn Publication, &Published, Option<PublishError>) -> Result<(), PublishError>,
    ) -> Result<Published, PublishError> {
        let meter = ProcessorMeter::start();
        let started = Instant::now();
        let (mut due, mut next_watch) = (started, started + WATCH_PERIOD);
        while !stop.load(Ordering::Relaxed) && !self.is_over(plan.end, started) {
            let now = Instant::now();
            if now >= next_watch {
                self.published.cpu_percent = meter.percent();
                watch(self.publication, &self.published, None)?;
                next_watch = Instant::now() + WATCH_PERIOD;
            }
            if let Some(period) = plan.rate.period() {
                if now < due {
                    std::thread::sleep(due.min(next_watch) - now);
                    continue;
                }
                // A publisher that fell behind does not catch up with a burst.
                due = (due + period).max(now);
            }
            if let Err(error) = self.publish_next() {
                watch(self.publication, &self.published, Some(error))?;
            }
        }
        self.published.cpu_percent = meter.percent();
        self.published.written = self.publication.written();
        Ok(self.published)
    }

    fn is_over(&self, end: End, started: Instant) -> bool {
        match end {
            End::Samples(samples) => self.published.samples >= samples,
            End::After(time) => started.elapsed() >= time,
            End::Open => false,
        }
    }

    fn publish_next(&mut self) -> Result<(), PublishError> {
        let touch = self.samples.touch();
        let sample = self.samples.cycled(self.published.samples);
        let sequence = self.next_sequence.entry(sample.message.kind()).or_default();
        let mark = Mark { publisher: self.id, sequence: *sequence, touch };
        let now_ns = clock::monotonic_ns();
        let done = self.publication.publish(sample, mark);
        if done.as_ref().is_err_and(|error| !matches!(error, PublishError::Missed(_))) {
            return done;
        }
        *sequence += 1;
        if self.published.samples == 0 {
            self.published.first_ns = now_ns;
        }
        self.published.last_ns = clock::monotonic_ns();
        self.published.samples += 1;
        self.published.bytes += sample.message.payload().len() as u64;
        done
    }
}

const SAMPLES_OF_A_RATE: u64 = 10;
const WATCH_PERIOD: Duration = Duration::from_millis(100);
