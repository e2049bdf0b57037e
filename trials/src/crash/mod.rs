//! The crash matrix: one short life per round, ended at a chosen step, and two survivors who must not care.
//!
//! ```text
//!   driver ─┬─ survivor ═══ 1,000 checked messages each way ═══ survivor      for all rounds
//!           ├─ victim       links to both, plays its role, dies at point n    one per round
//!           └─ prey         dies first, so that the victim clears up after it (role heir)
//! ```
//! First each role is played through, to count the points that it passes. Then every (role, point) has its turn, in an
//! order that follows from the seed, by SIGKILL and by SIGSTOP, between them lives that end at a random moment. After each
//! the survivors finish their operations and count what they have: descriptors, mappings, links, bytes of the ring.

mod plan;
mod report;
mod round;
mod survivor;
mod victim;

pub use report::Report;
pub use victim::{ROLES, Role};

use clap::{Args, ValueEnum};
use plan::Plan;
use round::Stage;
use std::path::Path;
use victim::Life;
use zerodds_transport_shm::crash_points::Action;

/// What to do how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Lives to end.
    #[arg(long, default_value_t = 1_000)]
    pub rounds: u64,
    /// The order of the points, and the random moments, follow from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only this; otherwise both, and random moments.
    #[arg(long, value_enum)]
    pub action: Option<Means>,
    /// These roles only.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub role: Vec<Role>,
    /// This point of each role only.
    #[arg(long)]
    pub at: Option<u64>,
    /// Messages that survivors exchange, each way, after each death.
    #[arg(long, default_value_t = 1_000)]
    pub operations: u64,
    /// Prints how often each place in the source was the last.
    #[arg(long)]
    pub places: bool,
}

/// How a life is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Means {
    /// SIGKILL at the point.
    Kill,
    /// SIGSTOP at the point; SIGCONT or SIGKILL later.
    Stop,
}

/// Does it, with processes of this program.
///
/// # Errors
/// What went wrong in which round, and how to do it again.
pub fn run(program: &Path, options: &Options) -> Result<Report, String> {
    let mut stage = Stage::open(program, options.operations)?;
    let roles = if options.role.is_empty() { ROLES.to_vec() } else { options.role.clone() };
    let mut points = Vec::new();
    for &role in &roles {
        points.push((role, stage.rehearse(role)?));
    }
    let plan = Plan::new(points, options);
    let mut report = Report::new(&plan, options);
    for number in 0..options.rounds {
        let fate = plan.round(number);
        let outcome = stage
            .round(&fate)
            .map_err(|fault| format!("round {number}, {fate}: {fault}\n{}", fate.again(options)))?;
        report.count(&fate, outcome);
    }
    report.end(stage.end()?);
    Ok(report)
}

/// Plays the role that this process was started with.
///
/// # Errors
/// What went wrong.
pub fn play(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    match words.as_slice() {
        ["survivor", domain, own] => survivor::play(number(domain)? as u32, number(own)?),
        ["prey", domain, own] => victim::prey(number(domain)? as u32, number(own)?),
        ["victim", role, domain, own, a, b, at, means] => Life {
            role: Role::from_str(role, true)?,
            domain: number(domain)? as u32,
            number: number(own)?,
            survivors: [number(a)?, number(b)?],
            at: number(at)?,
            action: Means::from_str(means, true)?.action(),
        }
        .play(),
        other => Err(format!("no such role: {other:?}")),
    }
}

impl Means {
    const fn action(self) -> Action {
        match self {
            Self::Kill => Action::Kill,
            Self::Stop => Action::Stop,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
        }
    }
}

impl Role {
    /// As on the command line.
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
