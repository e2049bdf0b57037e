//! A ping-pong, as its two processes see it.
//!
//! ```text
//!   ping: time, fill, send ─────▶ receive, check, fill, send :pong
//!         time, check, receive ◀──────────────────────────────┘        one way = half of the difference
//! ```
//! So one way is one filling, one transfer and one reading in full. There is no deadline on waiting, because setting a
//! timer would be measured too: the parent ends whoever waits in vain.

use crate::dialogue::{Event, Ping, Times};
use crate::sample::{self, BEGIN, Damage, STOP, Touch, check};
use crate::system::{Failure, Party};
use crate::usage::Usage;
use hdrhistogram::Histogram;
use std::thread;
use std::time::{Duration, Instant};

/// Asks, and measures until the answers.
pub(crate) fn ping(party: &mut dyn Party, ping: Ping) -> Result<Event, Failure> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)
        .map_err(|error| Failure::of("making a histogram", format!("{error:?}")))?;
    let mut sequence = 0;
    let warm = Instant::now() + Duration::from_millis(ping.warm_up_ms);
    while sequence < WARM_UP_MIN || Instant::now() < warm {
        round_trip(party, ping.len, sequence, ping.touch)?;
        sequence += 1;
    }
    round_trip(party, ping.len, BEGIN, Touch::None)?;
    let before = Usage::now()?;
    let start = Instant::now();
    let end = start + Duration::from_millis(ping.measure_ms);
    let mut due = start;
    loop {
        if let Some(rate_hz) = ping.rate_hz {
            // Whoever is late does not catch up by a burst: that would not be the pace.
            due = (due + Duration::from_secs_f64(1.0 / rate_hz)).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let asked = Instant::now();
        if asked >= end && histogram.len() >= COUNT_MIN {
            break;
        }
        round_trip(party, ping.len, sequence, ping.touch)?;
        histogram.saturating_record(asked.elapsed().as_nanos() as u64);
        sequence += 1;
    }
    let (usage, seconds) = (Usage::now()? - before, start.elapsed().as_secs_f64());
    party.send(ping.len, &mut |bytes| sample::fill(bytes, STOP, Touch::None))?;
    Ok(Event::Pinged { times: times(&histogram), usage, seconds })
}

/// Answers each message with one of the same number, until told to stop. What that has used since the warm-up.
pub(crate) fn pong(party: &mut dyn Party, len: usize, touch: Touch) -> Result<Usage, Failure> {
    let mut before = Usage::now()?;
    loop {
        let mut got = Ok(STOP);
        let count = party.receive(None, &mut |bytes| got = checked(bytes, len, touch))?;
        let sequence = got?;
        if count == 0 || sequence == STOP {
            return Ok(Usage::now()? - before);
        }
        let touch = if sequence == BEGIN { Touch::None } else { touch };
        if sequence == BEGIN {
            before = Usage::now()?;
        }
        party.send(len, &mut |bytes| sample::fill(bytes, sequence, touch))?;
    }
}

fn round_trip(party: &mut dyn Party, len: usize, sequence: u64, touch: Touch) -> Result<(), Failure> {
    party.send(len, &mut |bytes| sample::fill(bytes, sequence, touch))?;
    loop {
        let mut got = Ok(STOP);
        if party.receive(None, &mut |bytes| got = checked(bytes, len, touch))? > 0 {
            let got = got?;
            return if got == sequence {
                Ok(())
            } else {
                Err(Damage::Order { got, wanted: sequence }.into())
            };
        }
    }
}

/// The number of an intact sample of the right length. Those that begin and end a measurement are not filled, and of any length.
pub(crate) fn checked(bytes: &[u8], len: usize, touch: Touch) -> Result<u64, Damage> {
    match bytes.first_chunk().map(|number| u64::from_le_bytes(*number)) {
        Some(mark @ (BEGIN | STOP)) => Ok(mark),
        _ if bytes.len() != len => Err(Damage::Length { got: bytes.len(), sent: len }),
        _ => check(bytes, touch),
    }
}

fn times(histogram: &Histogram<u64>) -> Times {
    let one_way_us = |round_trip_ns: u64| round_trip_ns as f64 / 2000.0;
    let at = |quantile: f64| one_way_us(histogram.value_at_quantile(quantile));
    // Of fewer samples a quantile is the maximum, by another name.
    let tail = |quantile: f64, count_min| (histogram.len() >= count_min).then(|| at(quantile));
    Times {
        count: histogram.len(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: tail(0.99, 100),
        p999_us: tail(0.999, 1000),
        max_us: one_way_us(histogram.max()),
    }
}

const WARM_UP_MIN: u64 = 3;
const COUNT_MIN: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_needs_as_many_samples_as_it_names() {
        let mut histogram = Histogram::new(3).expect("three digits");
        for (count, has_p99, has_p999) in [(99, false, false), (100, true, false), (1000, true, true)] {
            while histogram.len() < count {
                histogram.saturating_record(2000);
            }
            let times = times(&histogram);
            assert_eq!((times.p99_us.is_some(), times.p999_us.is_some()), (has_p99, has_p999), "{count}");
            assert!((times.p50_us - 1.0).abs() < 0.01, "half of the way there and back");
        }
    }
}
