//! How far apart the two processors are at this moment.
//!
//! A hypervisor moves virtual processors: raw spinning between two of them takes some 50 ns one way when they share a
//! cache, several times that when they do not, and it flips within seconds. Figures of two processors can only be
//! compared when the probe before and after them says the same.

use crate::placement::pin;
use serde::{Deserialize, Serialize};
use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One look at the distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// One way between two spinning threads, in nanoseconds: the median of several batches.
    pub one_way_ns: f64,
}

/// What a pair of probes says about a measurement in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// The processors shared a cache, before and after.
    Near,
    /// They did not, before and after.
    Far,
    /// They moved meanwhile: the measurement says nothing.
    Moved,
}

impl Probe {
    /// Takes a look; some milliseconds.
    ///
    /// # Errors
    /// Where there are not two processors.
    pub fn take() -> io::Result<Self> {
        let (ping, pong) = (Line(AtomicU32::new(0)), Line(AtomicU32::new(0)));
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                pin(1)?;
                for turn in 1..=(BATCHES + 1) * TURNS {
                    wait_for(&ping.0, turn)?;
                    // ORDER: Release; the word itself is all there is to see.
                    pong.0.store(turn, Ordering::Release);
                }
                io::Result::Ok(())
            });
            let measured = scope.spawn(|| {
                pin(0)?;
                let mut batches = Vec::new();
                for batch in 0..=BATCHES {
                    let start = Instant::now();
                    for turn in batch * TURNS + 1..=(batch + 1) * TURNS {
                        // ORDER: Release, as above.
                        ping.0.store(turn, Ordering::Release);
                        wait_for(&pong.0, turn)?;
                    }
                    batches.push(start.elapsed());
                }
                // The first one found the other thread still starting.
                batches.remove(0);
                batches.sort();
                let median = batches[batches.len() / 2];
                Ok(Self { one_way_ns: median.as_nanos() as f64 / f64::from(TURNS) / 2.0 })
            });
            echo.join().map_err(|_| io::Error::other("the probe's echo panicked"))??;
            measured.join().map_err(|_| io::Error::other("the probe panicked"))?
        })
    }

    fn is_near(self) -> bool {
        self.one_way_ns < NEAR_NS_MAX
    }
}

impl Distance {
    /// What probes before and after a measurement say.
    #[must_use]
    pub fn between(before: Probe, after: Probe) -> Self {
        match (before.is_near(), after.is_near()) {
            (true, true) => Self::Near,
            (false, false) => Self::Far,
            _ => Self::Moved,
        }
    }
}

/// A word on a cache line, and its neighbour, of its own.
#[repr(align(128))]
struct Line(AtomicU32);

fn wait_for(word: &AtomicU32, turn: u32) -> io::Result<()> {
    let mut since = None;
    let mut looks = 0u32;
    // ORDER: Acquire; pairs with the Release of the other thread.
    while word.load(Ordering::Acquire) != turn {
        spin_loop();
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(1 << 16) && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(io::Error::other("the probe's other thread does not run: are there two processors?"));
        }
    }
    Ok(())
}

const BATCHES: u32 = 9;
const TURNS: u32 = 1000;
/// Between the two distances that were seen, 50 and 265 ns.
const NEAR_NS_MAX: f64 = 120.0;
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_counts_only_if_the_processors_stayed_where_they_were() {
        let (near, far) = (Probe { one_way_ns: 47.0 }, Probe { one_way_ns: 260.0 });
        assert_eq!(Distance::between(near, near), Distance::Near);
        assert_eq!(Distance::between(far, far), Distance::Far);
        assert_eq!(Distance::between(near, far), Distance::Moved);
    }
}
