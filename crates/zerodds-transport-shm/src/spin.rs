//! How long to spin before sleeping.
//!
//! Waking a halted core costs some 25 µs, finding a message while spinning less than one. But spinning pays only
//! if the sender runs on another core and its next message comes within the window; on one core it delays the
//! very sender that it waits for. The adaptive strategy therefore judges by two facts about the last wait: the
//! core it was woken from, and the time from going idle to that wake.

use crate::config::WaitStrategy;
use std::time::{Duration, Instant};

/// The state of a waiting strategy.
#[derive(Debug)]
pub(crate) struct Spinner {
    strategy: WaitStrategy,
    /// Adaptive: whether the last wait would have been worth spinning for.
    worth_it: bool,
}

impl Spinner {
    pub(crate) const fn new(strategy: WaitStrategy) -> Self {
        Self { strategy, worth_it: false }
    }

    /// The time, if the strategy asks for it.
    pub(crate) fn clock(&self) -> Option<Instant> {
        (self.strategy == WaitStrategy::Adaptive).then(Instant::now)
    }

    /// How long to spin before the next sleep.
    pub(crate) fn window(&self) -> Option<Duration> {
        match self.strategy {
            WaitStrategy::Park => None,
            WaitStrategy::Adaptive => self.worth_it.then_some(ADAPTIVE_WINDOW),
            WaitStrategy::SpinThenPark(window) => Some(window),
            WaitStrategy::Spin => Some(Duration::MAX),
        }
    }

    /// Something was found by spinning.
    pub(crate) fn found(&mut self) {
        self.worth_it = true;
    }

    /// The window passed and nothing came.
    pub(crate) fn in_vain(&mut self) {
        self.worth_it = false;
    }

    /// A sleep ended that began when nothing was there, woken from the given core.
    pub(crate) fn woken(&mut self, idle_since: Option<Instant>, waker: Option<u32>) {
        if let Some(idle_since) = idle_since {
            let other_core = waker.is_some_and(|core| core as usize != rustix::thread::sched_getcpu());
            // The wake itself takes as long as spinning would have been for.
            self.worth_it = other_core && idle_since.elapsed() < ADAPTIVE_WINDOW + WAKE_COST;
        }
    }
}

const ADAPTIVE_WINDOW: Duration = Duration::from_micros(50);
const WAKE_COST: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parking_never_spins_and_spinning_never_parks() {
        assert_eq!(Spinner::new(WaitStrategy::Park).window(), None);
        assert_eq!(Spinner::new(WaitStrategy::Spin).window(), Some(Duration::MAX));
    }

    #[test]
    fn the_adaptive_strategy_spins_only_after_a_quick_wake_from_another_core() {
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        assert_eq!(spinner.window(), None);
        spinner.woken(spinner.clock(), Some(u32::MAX));
        assert!(spinner.window().is_some(), "woken at once, from elsewhere");
        spinner.in_vain();
        assert_eq!(spinner.window(), None, "an idle process uses no CPU");
        spinner.woken(Some(Instant::now() - Duration::from_secs(1)), Some(u32::MAX));
        assert_eq!(spinner.window(), None, "messages are rare");
        spinner.woken(spinner.clock(), None);
        assert_eq!(spinner.window(), None, "nobody says from where");
    }
}
