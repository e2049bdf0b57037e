//! How long to spin before sleeping.
//!
//! Waking a halted core costs 20 to 45 µs on a virtual machine, finding a message while spinning less than one. But
//! spinning pays only if the sender runs on another core and its next message comes within the window; on one core it
//! delays the very sender that it waits for. The adaptive strategy therefore judges by two facts about each wait: the
//! core it was woken from, and the time from going idle to that wake, which has the wakes of both sides in it where
//! they answer each other. Where that is long it may be for slow wakes: the other one's has to end within the window before
//! both can find each other awake, so that is longer then.
//!
//! A spin in vain makes it more careful: twice as many quick wakes in a row come before the next, so that messages which come
//! a little too late for the window cost next to nothing. One that finds something does not make up for that, a long run of
//! them does: messages may come in pairs, and of those that come at a pace the first comes soon after a wake that took
//! long. And where a second one finds something late again, the other side does not stay awake: that would be spun for with
//! each message.
//!
//! Whatever the strategy, a receiver that took many messages one right after the other waits for some microseconds for more
//! before it says that it sleeps: see [`Burst`].

use crate::config::WaitStrategy;
use crate::sys::processor;
use std::time::{Duration, Instant};

/// The state of a waiting strategy.
#[derive(Debug)]
pub(crate) struct Spinner {
    strategy: WaitStrategy,
    /// Adaptive: how long to spin.
    window: Duration,
    /// Quick wakes in a row, each of which would have been worth spinning for.
    quick: u32,
    /// So many of them before the next spin.
    wanted: u32,
    /// Spins in a row that found something.
    run: u32,
    /// The last one did so late: the other side was asleep.
    was_late: bool,
    /// The last wake came from another core.
    is_remote: bool,
}

impl Spinner {
    pub(crate) const fn new(strategy: WaitStrategy) -> Self {
        let window = WINDOW.spun;
        Self { strategy, window, quick: 0, wanted: 1, run: 0, was_late: false, is_remote: true }
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
            WaitStrategy::Adaptive => (self.quick >= self.wanted).then_some(self.window),
            WaitStrategy::SpinThenPark(window) => Some(window),
            WaitStrategy::Spin => Some(Duration::MAX),
        }
    }

    /// Something was found by spinning for so long.
    pub(crate) fn found(&mut self, spent: Duration) {
        if spent >= WINDOW.spun {
            if std::mem::replace(&mut self.was_late, true) {
                self.in_vain();
            }
            return;
        }
        // Both are awake now.
        (self.window, self.was_late) = (WINDOW.spun, false);
        self.run = self.run.saturating_add(1);
        if self.run >= self.wanted.max(RUN_MIN) {
            self.wanted = 1;
        }
    }

    /// The window passed and nothing came.
    pub(crate) fn in_vain(&mut self) {
        (self.run, self.was_late, self.quick) = (0, false, 0);
        self.wanted = (2 * self.wanted).min(WANTED_MAX);
    }

    /// A sleep ended that began when nothing was there, woken from the given core.
    pub(crate) fn woken(&mut self, idle_since: Option<Instant>, waker: Option<u32>) {
        if self.strategy == WaitStrategy::Adaptive {
            let is_remote = waker.zip(processor::current()).is_some_and(|(from, here)| from != here);
            self.judge(idle_since.map(|since| since.elapsed()), is_remote);
        }
    }

    /// What a wake says of the next one, after so long a sleep where that is known.
    fn judge(&mut self, slept: Option<Duration>, is_remote: bool) {
        (self.is_remote, self.run, self.was_late) = (is_remote, 0, false);
        let slept = slept.filter(|_| is_remote);
        let window = slept.and_then(|slept| [WINDOW, LONG_WINDOW].into_iter().find(|of| slept < of.slept));
        // Two sides that back off in step must not miss each other for ever: the clock's last digits have them count differently.
        let step = 1 + u32::from(slept.is_some_and(is_odd) && self.wanted > STEP_MIN);
        self.quick = if window.is_some() { self.quick.saturating_add(step) } else { 0 };
        self.window = window.map_or(WINDOW.spun, |window| window.spun);
    }
}

/// Half of all times, whatever the clock's tick: its digits are spread over a word (by the golden ratio) of which the highest bit
/// counts. The lowest bit of the time is never set where a tick takes 40 ns.
const fn is_odd(time: Duration) -> bool {
    time.subsec_nanos().wrapping_mul(0x9E37_79B9) >> 31 == 1
}

/// Messages that come one right after the other. Whoever takes them as fast as they come finds nothing again and again,
/// while the next one is being written.
#[derive(Debug)]
pub(crate) struct Burst {
    /// Since the last wait.
    taken: u32,
    /// So many make it likely that more come at once.
    wanted: u32,
}

impl Burst {
    /// A message was taken.
    pub(crate) fn took(&mut self) {
        self.taken = self.taken.saturating_add(1);
    }

    /// Nothing is left; whether that may be for a moment only.
    pub(crate) fn may_go_on(&mut self) -> bool {
        let taken = std::mem::take(&mut self.taken);
        if (BURST_MIN..self.wanted).contains(&taken) {
            // What was in vain for long may be worth it again.
            self.wanted -= 1;
        }
        taken >= self.wanted
    }

    pub(crate) fn went_on(&mut self) {
        self.wanted = BURST_MIN;
    }

    /// It was waited for in vain, as it is each time where the sender needs this very processor.
    pub(crate) fn was_over(&mut self) {
        self.wanted = (2 * self.wanted).min(BURST_MAX);
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self { taken: 0, wanted: BURST_MIN }
    }
}

const BURST_MIN: u32 = 16;
/// More than a lane holds.
const BURST_MAX: u32 = 1024;

/// How long is spun after sleeps of less than so long.
struct Window {
    spun: Duration,
    /// That, and the two wakes of a question and its answer.
    slept: Duration,
}

const WINDOW: Window = Window { spun: Duration::from_micros(25), slept: Duration::from_micros(75) };
/// For wakes of 25 µs and more.
const LONG_WINDOW: Window = Window { spun: Duration::from_micros(60), slept: Duration::from_micros(150) };
/// Messages that come a little too late have one of so many spun for.
const WANTED_MAX: u32 = 128;
/// So many spins that find something make up for all in vain, or as many wakes as are waited for.
const RUN_MIN: u32 = 16;
/// Who waits for no more wakes than that meets the other side soon in any case.
const STEP_MIN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_one_processor;

    const QUICK: Option<Duration> = Some(Duration::from_micros(60));

    #[test]
    fn parking_has_no_window_and_spinning_never_parks() {
        assert_eq!(Spinner::new(WaitStrategy::Park).window(false), None);
        assert_eq!(Spinner::new(WaitStrategy::Spin).window(false), Some(Duration::MAX));
    }

    #[test]
    fn a_burst_is_waited_for_less_often_once_that_was_in_vain_and_again_after_a_while() {
        let mut burst = Burst::default();
        let take = |burst: &mut Burst, count: u32| {
            (0..count).for_each(|_| burst.took());
            burst.may_go_on()
        };
        assert!(!take(&mut burst, 1) && !take(&mut burst, BURST_MIN - 1), "single messages");
        assert!(take(&mut burst, BURST_MIN) && !take(&mut burst, 0), "once for each burst");
        (0..3).for_each(|_| burst.was_over());
        assert!(!take(&mut burst, 4 * BURST_MIN) && take(&mut burst, 8 * BURST_MIN));
        let tries = (0..).take_while(|_| !take(&mut burst, BURST_MIN)).count();
        assert!(tries > 50 && tries < 8 * BURST_MIN as usize, "{tries} bursts until the next attempt");
        (0..30).for_each(|_| burst.was_over());
        assert!(take(&mut burst, BURST_MAX), "what is long enough always counts");
        burst.went_on();
        assert!(take(&mut burst, BURST_MIN));
    }

    #[test]
    fn the_adaptive_strategy_spins_only_after_a_quick_wake_from_another_core() {
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        assert_eq!(spinner.window(false), None);
        spinner.judge(QUICK, true);
        assert!(spinner.window(false).is_some(), "woken at once, from elsewhere");
        assert_eq!(spinner.window(true), None, "others are waited for too");
        spinner.judge(Some(WINDOW.slept), true);
        assert_eq!(spinner.window(false), Some(LONG_WINDOW.spun), "wakes may take long");
        spinner.judge(Some(LONG_WINDOW.slept), true);
        assert_eq!(spinner.window(false), None, "messages are rare");
        spinner.judge(QUICK, true);
        spinner.judge(QUICK, false);
        assert_eq!(spinner.window(false), None, "this one came from here, or nobody said from where");
    }

    #[test]
    fn on_one_core_the_adaptive_strategy_does_as_parking_does() {
        let judged = on_one_processor(|here| {
            let mut spinner = Spinner::new(WaitStrategy::Adaptive);
            spinner.woken(spinner.clock(), Some(here));
            (spinner.window(false), spinner.clock())
        });
        assert_eq!(judged, (None, None));
    }

    #[test]
    fn each_spin_in_vain_has_the_next_one_come_later_until_a_long_run_of_them_finds_something() {
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        let mut wakes_before_spins = Vec::new();
        for _ in 0..9 {
            let mut wakes = 0;
            while spinner.window(false).is_none() {
                spinner.judge(QUICK, true);
                wakes += 1;
            }
            wakes_before_spins.push(wakes);
            // A pair of messages, or one that comes at a pace after a slow wake; the next is too late.
            (0..2).for_each(|_| spinner.found(Duration::ZERO));
            spinner.in_vain();
        }
        assert_eq!(wakes_before_spins, [1, 2, 4, 8, 16, 32, 64, 128, 128]);
        (0..128).for_each(|_| spinner.judge(QUICK, true));
        (0..127).for_each(|_| spinner.found(Duration::ZERO));
        assert_eq!(spinner.wanted, 128);
        spinner.found(Duration::ZERO);
        assert!(spinner.window(false).is_some(), "it goes on");
        spinner.in_vain();
        (0..2).for_each(|_| spinner.judge(QUICK, true));
        assert!(spinner.window(false).is_some(), "and is no more careful than at first");
    }

    #[test]
    fn who_is_answered_late_spins_on_only_if_that_wakes_the_other_side_for_good() {
        let slow = Some(LONG_WINDOW.slept - Duration::from_micros(1));
        let mut spinner = Spinner::new(WaitStrategy::Adaptive);
        spinner.judge(slow, true);
        assert_eq!(spinner.window(false), Some(LONG_WINDOW.spun));
        spinner.found(WINDOW.spun);
        assert_eq!(spinner.window(false), Some(LONG_WINDOW.spun), "once is no sign");
        spinner.found(Duration::ZERO);
        assert_eq!(spinner.window(false), Some(WINDOW.spun), "both are awake");
        spinner.judge(slow, true);
        (0..2).for_each(|_| spinner.found(WINDOW.spun));
        assert_eq!(spinner.window(false), None, "it sleeps between messages");
        spinner.judge(slow, true);
        assert_eq!(spinner.window(false), None, "and is not spun for with each");
    }

    #[test]
    fn two_sides_that_back_off_in_step_count_differently() {
        let wakes_until_spin = |slept| {
            let mut spinner = Spinner::new(WaitStrategy::Adaptive);
            (0..7).for_each(|_| spinner.in_vain());
            let mut wakes = 0;
            while spinner.window(false).is_none() {
                spinner.judge(Some(slept), true);
                wakes += 1;
            }
            wakes
        };
        // Clocks count in nanoseconds, or in steps of so many.
        for tick in [1, 32, 40, 52] {
            let slept = |ticks: u64| Duration::from_micros(60) + Duration::from_nanos(ticks * tick);
            let counts: Vec<u32> = (0..16).map(|ticks| wakes_until_spin(slept(ticks))).collect();
            assert!(counts.iter().all(|count| [128, 64].contains(count)), "{counts:?}");
            let fast = counts.iter().filter(|&&count| count == 64).count();
            assert!((4..=12).contains(&fast), "{tick} ns: {counts:?}");
        }
    }
}
