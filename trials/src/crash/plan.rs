//! Which life is ended where, in which order.

use super::{Means, Options, Role};
use crate::random::Random;
use std::fmt;
use std::time::Duration;

/// All rounds.
pub(super) struct Plan {
    /// Each role and the points that it passes.
    pub points: Vec<(Role, u64)>,
    turns: Vec<(Role, u64)>,
    seed: u64,
    means: Option<Means>,
    is_enumerating: bool,
}

/// What happens to one victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// Who.
    pub role: Role,
    /// When.
    pub end: End,
}

/// When a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At this point by SIGKILL.
    Kill(u64),
    /// At this point by SIGSTOP, and SIGKILL while it is stopped.
    StopAndKill(u64),
    /// Stopped at this point, it goes on, and lives.
    StopAndGoOn(u64),
    /// By SIGKILL after this time, wherever it is.
    After(Duration),
}

impl Plan {
    /// The rounds that these options ask for.
    #[must_use]
    pub(super) fn new(points: Vec<(Role, u64)>, options: &Options) -> Self {
        let turns = points.iter().flat_map(|&(role, last)| match options.at {
            Some(at) => vec![(role, at)],
            None => (1..=last).map(|at| (role, at)).collect(),
        });
        let mut turns: Vec<(Role, u64)> = turns.collect();
        Random::new(options.seed).shuffle(&mut turns);
        Self {
            points,
            turns,
            seed: options.seed,
            means: options.action,
            is_enumerating: options.at.is_none(),
        }
    }

    /// What happens in this round.
    #[must_use]
    pub(super) fn round(&self, number: u64) -> Fate {
        let mut random = Random::new(self.seed ^ number.rotate_left(32));
        let cycle = number / self.turns.len() as u64;
        let (role, at) = self.turns[(number % self.turns.len() as u64) as usize];
        // Both ends of every turn: what was killed in one cycle is stopped in the next.
        let stops = match self.means {
            Some(means) => means == Means::Stop,
            None => (at + cycle).is_multiple_of(2),
        };
        let end = match (stops, self.means.is_none() && self.is_enumerating && number % 10 == 9) {
            (_, true) => End::After(Duration::from_micros(random.below(LIFE_US_MAX))),
            (false, _) => End::Kill(at),
            (true, _) if random.below(2) == 0 => End::StopAndKill(at),
            (true, _) => End::StopAndGoOn(at),
        };
        Fate { role, end }
    }
}

impl Fate {
    /// At which point the victim does what.
    pub(super) const fn armed(&self) -> (u64, Means) {
        match self.end {
            End::Kill(at) => (at, Means::Kill),
            End::StopAndKill(at) | End::StopAndGoOn(at) => (at, Means::Stop),
            End::After(_) => (u64::MAX, Means::Kill),
        }
    }

    /// How to have it again.
    #[must_use]
    pub(super) fn again(&self, options: &Options) -> String {
        let (at, means) = self.armed();
        let at = if at == u64::MAX { String::new() } else { format!(" --at {at} --action {}", means.word()) };
        let Options { seed, operations, .. } = options;
        let role = self.role.word();
        format!(
            "again: cargo xtask crash --rounds 200 --seed {seed} --operations {operations} --role {role}{at}"
        )
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Kill(at) => write!(f, "{:?} killed at point {at}", self.role),
            End::StopAndKill(at) => write!(f, "{:?} stopped at point {at}, then killed", self.role),
            End::StopAndGoOn(at) => write!(f, "{:?} stopped at point {at}, then continued", self.role),
            End::After(time) => write!(f, "{:?} killed after {time:?}", self.role),
        }
    }
}

/// A victim that is left alone is done by then, mostly.
const LIFE_US_MAX: u64 = 12_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rounds: u64) -> Options {
        Options { rounds, seed: 7, action: None, role: Vec::new(), at: None, operations: 1, places: false }
    }

    #[test]
    fn every_point_of_every_role_is_killed_and_stopped_within_two_cycles() {
        let plan = Plan::new(vec![(Role::Sender, 13), (Role::Heir, 8)], &options(0));
        let mut seen = std::collections::BTreeSet::new();
        // More, since every tenth round is a random moment.
        for number in 0..plan.turns.len() as u64 * 20 {
            let fate = plan.round(number);
            let (at, means) = fate.armed();
            if at != u64::MAX {
                seen.insert((fate.role, at, means.word()));
            }
        }
        assert_eq!(seen.len(), 2 * (13 + 8));
    }

    #[test]
    fn a_round_is_had_again_with_the_seed_and_the_operations_that_it_had() {
        let again = Fate { role: Role::Heir, end: End::StopAndKill(3) }.again(&options(0));
        assert!(again.ends_with("--seed 7 --operations 1 --role heir --at 3 --action stop"), "{again}");
    }

    #[test]
    fn the_same_seed_gives_the_same_rounds() {
        let plans = [0, 1].map(|_| Plan::new(vec![(Role::Sender, 50)], &options(0)));
        assert!((0..100).all(|number| plans[0].round(number) == plans[1].round(number)));
    }
}
