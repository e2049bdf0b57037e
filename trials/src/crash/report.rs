//! What came of all rounds.

use super::plan::{End, Fate, Plan};
use super::{Options, Role};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// How one life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The place in the source where it was stopped or killed, if at a point.
    pub place: Option<String>,
    /// Whether it was killed at all; otherwise it ended by itself.
    pub killed: bool,
}

/// The sum of it. That there is one says that there was no hang, no leak, no corrupt or lost message and no disturbance.
pub struct Report {
    points: Vec<(Role, u64)>,
    rounds: u64,
    killed: u64,
    stopped: u64,
    went_on: u64,
    at_random: u64,
    lived: u64,
    operations: u64,
    places: BTreeMap<String, u64>,
    shows_places: bool,
    grown: i64,
    begun: Instant,
    seconds: f64,
}

impl Report {
    pub(super) fn new(plan: &Plan, options: &Options) -> Self {
        Self {
            points: plan.points.clone(),
            rounds: 0,
            killed: 0,
            stopped: 0,
            went_on: 0,
            at_random: 0,
            lived: 0,
            operations: options.operations,
            places: BTreeMap::new(),
            shows_places: options.places,
            grown: 0,
            begun: Instant::now(),
            seconds: 0.0,
        }
    }

    pub(super) fn count(&mut self, fate: &Fate, outcome: Outcome) {
        self.rounds += 1;
        self.killed += u64::from(outcome.killed);
        self.lived += u64::from(!outcome.killed && outcome.place.is_none());
        if let Some(place) = outcome.place {
            self.stopped += u64::from(!matches!(fate.end, End::Kill(_)));
            self.went_on += u64::from(!outcome.killed);
            *self.places.entry(place).or_default() += 1;
        } else {
            self.at_random += u64::from(outcome.killed);
        }
    }

    pub(super) fn end(&mut self, grown: i64) {
        self.grown = grown;
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    /// Lives that were ended by SIGKILL.
    #[must_use]
    pub const fn killed(&self) -> u64 {
        self.killed
    }

    /// Lives that were stopped on the way.
    #[must_use]
    pub const fn stopped(&self) -> u64 {
        self.stopped
    }

    /// Places in the source that were somebody's last, or where somebody was stopped.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shows_places {
            for (place, count) in &self.places {
                writeln!(f, "{count:>6}  {place}")?;
            }
        }
        let points: u64 = self.points.iter().map(|(_, points)| points).sum();
        write!(f, "points:")?;
        for (role, points) in &self.points {
            write!(f, " {} {points},", role.word())?;
        }
        writeln!(f, " {points} in all")?;
        writeln!(
            f,
            "{} rounds: {} killed ({} of them at a random moment), {} stopped at a point ({} of them went on), {} were done before",
            self.rounds, self.killed, self.at_random, self.stopped, self.went_on, self.lived
        )?;
        writeln!(f, "at {} places in the source", self.places.len())?;
        writeln!(
            f,
            "survivors: {} checked messages each way after each; 0 hangs, 0 leaks, 0 corrupt, 0 lost, never disturbed; \
             their memory grew by {} KiB",
            self.operations,
            self.grown >> 10
        )?;
        write!(f, "{:.0} s, {:.1} rounds/s", self.seconds, self.rounds as f64 / self.seconds)
    }
}
