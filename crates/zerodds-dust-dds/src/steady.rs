//! The time that Dust goes by.
//!
//! Dust 0.16 has one clock for everything: it stamps samples with it, and measures by it how long ago it announced itself, said a
//! HEARTBEAT, or began to wait. Its own is the wall clock. When that is put back by an hour nothing is due for an hour: a participant
//! falls silent, others end its lease, and a write waits past its `max_blocking_time`. Before 1970 it panics, after 2038 it is negative.
//!
//! So Dust gets the wall clock for as long as that goes forward, by whatever leaps. Where it is put back, time goes on from where it
//! was by the monotonic clock, a tenth slower, until the wall clock is there again: for ten times as long as it was put back by. Meanwhile
//! timestamps that a program takes from the wall clock itself (`write_w_timestamp`) are old: a sample that is so past its LIFESPAN is not
//! sent, with `Ok(())`. And readers BY_SOURCE_TIMESTAMP drop samples with a LIFESPAN of hosts whose Dust goes by the wall clock. A wall
//! clock outside of those years is none yet.
//!
//! A leap forward ends early what waits, once, and a writer's instance with a DEADLINE that is not written again counts a miss for each
//! period of the leap. Nobody is forgotten, since Dust hears of no lease that could end by it ([`discovery`](crate::discovery)).
//! Rejected: the wall clock of the beginning and the monotonic clock from there on. A robot whose clock has no battery starts in 1970, and
//! would stamp samples so for good, all of which are past their LIFESPAN elsewhere. Also rejected: to go on at full pace. A clock that
//! was once ahead would stay so for as long as the process runs.

use dust_dds::infrastructure::time::Time;
use dust_dds::runtime::{Clock, DdsRuntime};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A runtime of Dust's with a clock that does not go back.
pub(crate) struct Steady<R, W> {
    runtime: R,
    clock: SteadyClock<W>,
}

impl<R: DdsRuntime> Steady<R, fn() -> Duration> {
    pub(crate) fn new(runtime: R) -> Self {
        Self::by(runtime, wall)
    }
}

impl<R, W> Steady<R, W> {
    /// By this wall clock, which says how long ago 1970 was.
    fn by(runtime: R, wall: W) -> Self {
        let begin = Reading { time: Duration::ZERO, at: Instant::now() };
        Self { runtime, clock: SteadyClock { last: Arc::new(Mutex::new(begin)), wall } }
    }
}

impl<R: DdsRuntime, W: Fn() -> Duration + Clone + Send + Sync + 'static> DdsRuntime for Steady<R, W> {
    type ClockHandle = SteadyClock<W>;
    type TimerHandle = R::TimerHandle;
    type SpawnerHandle = R::SpawnerHandle;

    fn timer(&self) -> Self::TimerHandle {
        self.runtime.timer()
    }

    fn clock(&self) -> Self::ClockHandle {
        self.clock.clone()
    }

    fn spawner(&self) -> Self::SpawnerHandle {
        self.runtime.spawner()
    }
}

/// The clock of such a runtime.
#[derive(Clone)]
pub(crate) struct SteadyClock<W> {
    last: Arc<Mutex<Reading>>,
    wall: W,
}

impl<W: Fn() -> Duration> Clock for SteadyClock<W> {
    fn now(&self) -> Time {
        let mut last = self.last.lock();
        *last = last.then((self.wall)(), Instant::now());
        let seconds = i32::try_from(last.time.as_secs()).unwrap_or(i32::MAX);
        Time::new(seconds, last.time.subsec_nanos())
    }
}

/// What the clock said, since 1970, and when that was.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time: Duration,
    at: Instant,
}

impl Reading {
    /// The next one.
    fn then(self, wall: Duration, at: Instant) -> Self {
        let passed = at.saturating_duration_since(self.at);
        let going = self.time + (passed - passed / SLOWER);
        Self { time: if wall < END { wall.max(going) } else { going }, at }
    }
}

/// The system's wall clock.
fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// By what part of the time that passes Dust is slower while it waits for the wall clock.
const SLOWER: u32 = 10;
/// The end of time, as Dust counts it.
const END: Duration = Duration::from_secs(i32::MAX as u64);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// How many seconds a wall clock is ahead of where it began.
    pub(crate) type Ahead = Arc<AtomicI64>;

    /// On a wall clock that is put forward and back.
    pub(crate) fn by_hand<R: DdsRuntime>(runtime: R, ahead: &Ahead) -> impl DdsRuntime {
        let (ahead, began) = (Arc::clone(ahead), Instant::now());
        let wall = move || {
            let seconds = BEGAN + ahead.load(Ordering::Relaxed);
            Duration::from_secs(seconds.unsigned_abs()) + began.elapsed()
        };
        Steady::by(runtime, wall)
    }

    /// Some day in 1970, when wall clocks begin here.
    const BEGAN: i64 = 100 * 24 * 3_600;

    #[test]
    fn the_wall_clock_is_followed_forward_at_once_and_waited_for_where_it_was_put_back() {
        let (began, mut wall) = (Instant::now(), Duration::from_secs(1_000_000));
        let mut reading = Reading { time: Duration::ZERO, at: began };
        let mut pass = |wall: Duration, passed: Duration| {
            reading = reading.then(wall, reading.at + passed);
            reading.time
        };
        for leap in [SECOND, Duration::from_secs(56 * 365 * 24 * 3_600), SECOND / 2] {
            wall += leap;
            assert_eq!(pass(wall, SECOND / 2), wall);
        }
        let before = wall;
        wall -= HOUR;
        for seconds in 1..=9 {
            assert_eq!(pass(wall + seconds * SECOND, SECOND), before + seconds * SECOND * 9 / 10);
        }
        wall += 9 * HOUR;
        assert!(pass(wall, 9 * HOUR - 9 * SECOND) > wall, "not there yet");
        wall += HOUR;
        assert_eq!(pass(wall, HOUR), wall);
    }

    #[test]
    fn a_wall_clock_beyond_what_dust_can_count_is_none_yet_and_time_goes_on() {
        let at = Instant::now();
        let far = Reading { time: SECOND, at }.then(END, at + 10 * SECOND);
        assert_eq!(far.time, 10 * SECOND);
        let clock = SteadyClock { last: Arc::new(Mutex::new(Reading { time: 2 * END, at })), wall: || END };
        assert_eq!(clock.now().sec(), i32::MAX, "not negative");
    }
}
