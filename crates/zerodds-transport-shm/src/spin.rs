//! How long to spin before sleeping.
//!
//! Waking a halted core costs some 25 µs, finding a message while spinning less than one. But spinning pays only
//! if the sender runs on another core and its next message comes within the window; on one core it delays the
//! very sender that it waits for. The adaptive strategy therefore judges by two facts about each wait: the
//! core it was woken from, and the time from going idle to that wake, which has the wakes of both sides in it where
//! they answer each other. A spin in vain makes it more careful: twice as many quick wakes in a row come before the next,
//! so that messages which come a little too late for the window cost next to nothing.

use crate::config::WaitStrategy;
use std::time::{Duration, Instant};

/// The state of a waiting strategy.
#[derive(Debug)]
pub(crate) struct Spinner {
    strategy: WaitStrategy,
    /// Adaptive: quick wakes in a row, each of which would have been worth spinning for.
    quick: u32,
    /// So many of them before the next spin.
    wanted: u32,
    /// The last wake came from another core.
    is_remote: bool,
}

impl Spinner {
    pub(crate) const fn new(strategy: WaitStrategy) -> Self {
        Self { strategy, quick: 0, wanted: 1, is_remote: true }
    }

    /// The time, if the strategy asks for it.
    pub(crate) fn clock(&self) -> Option<Instant> {
        // Where both sides share a core nothing can come of it, and a clock costs a hundredth of a message.
        (self.strategy == WaitStrategy::Adaptive && self.is_remote).then(Instant::now)
    }

    /// How long to spin before the next sleep. `has_company`: there are descriptors to be watched too.
    pub(crate) fn window(&self, has_company: bool) -> Option<Duration> {
        match self.strategy {
            WaitStrategy::Park => None,
            // Looking at descriptors is a system call, and whoever has them has threads that want this core as well.
            WaitStrategy::Adaptive if has_company => None,
            WaitStrategy::Adaptive => (self.quick >= self.wanted).then_some(ADAPTIVE_WINDOW),
            WaitStrategy::SpinThenPark(window) => Some(window),
            WaitStrategy::Spin => Some(Duration::MAX),
        }
    }

    /// Something was found by spinning.
    pub(crate) fn found(&mut self) {
        self.wanted = 1;
    }

    /// The window passed and nothing came.
    pub(crate) fn in_vain(&mut self) {
        self.quick = 0;
        self.wanted = (2 * self.wanted).min(WANTED_MAX);
    }

    /// A sleep ended that began when nothing was there, woken from the given core.
    pub(crate) fn woken(&mut self, idle_since: Option<Instant>, waker: Option<u32>) {
        if self.strategy == WaitStrategy::Adaptive {
            let is_remote = waker.is_some_and(|core| core as usize != rustix::thread::sched_getcpu());
            self.judge(idle_since.map(|since| since.elapsed()), is_remote);
        }
    }

    /// What a wake says of the next one, after so long a sleep where that is known.
    fn judge(&mut self, slept: Option<Duration>, is_remote: bool) {
        self.is_remote = is_remote;
        let is_quick = is_remote && slept.is_some_and(|slept| slept < ADAPTIVE_WINDOW + WAKES_COST);
        self.quick = if is_quick { self.quick.saturating_add(1) } else { 0 };
    }
}

const ADAPTIVE_WINDOW: Duration = Duration::from_micros(25);
/// Of the two wakes of a question and its answer.
const WAKES_COST: Duration = Duration::from_micros(50);
/// Messages that come a little too late have one of so many spun for.
const WANTED_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::CpuSet;

    const QUICK: Option<Duration> = Some(Duration::from_micros(60));

    #[test]
    fn parking_never_spins_and_spinning_never_parks() {
        assert_eq!(Spinner::new(WaitStrategy::Park).window(false), None);
        assert_eq!(Spinner::new(WaitStrategy::Spin).window(false), Some(Duration::MAX));
    }

    #[test]
    fn the_adaptive_strategy_spins_only_after_a_quick_wake_from_another_core() {
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        assert_eq!(spinner.window(false), None);
        spinner.judge(QUICK, true);
        assert!(spinner.window(false).is_some(), "woken at once, from elsewhere");
        assert_eq!(spinner.window(true), None, "others are waited for too");
        spinner.judge(Some(ADAPTIVE_WINDOW + WAKES_COST), true);
        assert_eq!(spinner.window(false), None, "messages are rare");
        spinner.judge(QUICK, true);
        spinner.judge(QUICK, false);
        assert_eq!(spinner.window(false), None, "this one came from here, or nobody said from where");
    }

    #[test]
    fn on_one_core_the_adaptive_strategy_does_as_parking_does() {
        let here = rustix::thread::sched_getcpu();
        let mut cores = CpuSet::new();
        cores.set(here);
        let judged = std::thread::spawn(move || {
            rustix::thread::sched_setaffinity(None, &cores).expect("a core that we run on");
            let mut spinner = Spinner::new(WaitStrategy::Adaptive);
            spinner.woken(spinner.clock(), Some(here as u32));
            (spinner.window(false), spinner.clock())
        });
        assert_eq!(judged.join().expect("no panic"), (None, None));
    }

    #[test]
    fn each_spin_in_vain_has_the_next_one_come_later_and_one_that_finds_something_at_once() {
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        let mut wakes_before_spins = Vec::new();
        for _ in 0..8 {
            let mut wakes = 0;
            while spinner.window(false).is_none() {
                spinner.judge(QUICK, true);
                wakes += 1;
            }
            wakes_before_spins.push(wakes);
            spinner.in_vain();
        }
        assert_eq!(wakes_before_spins, [1, 2, 4, 8, 16, 32, 64, 64]);
        (0..64).for_each(|_| spinner.judge(QUICK, true));
        spinner.found();
        assert!(spinner.window(false).is_some(), "it goes on");
        spinner.in_vain();
        (0..2).for_each(|_| spinner.judge(QUICK, true));
        assert!(spinner.window(false).is_some(), "and is no more careful than at first");
    }
}
