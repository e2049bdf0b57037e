//! `largedata`: real point clouds and images between processes, shared memory against UDP, side by side.
//!
//! ```text
//!   largedata            showcase ─┐
//!   largedata run                  ├▶ run ──starts──▶ child: publisher ─┐   ┌─▶ stack ─▶ Dust DDS + zerodds
//!   largedata compare    compare ──┘       ──starts──▶ child: subscriber ┼───┤
//!   largedata pub | sub  terminal ───────────────────▶ publisher, subscriber ┘   └─▶ zerodds_core::Transport
//! ```
//! Exit codes: 0 all samples intact, and none lost where that was promised; 1 some were not, or
//! a publisher cannot tell; 2 it could not run; 130 a second Ctrl-C ended it at once; 141 who read its output went away.
#![forbid(unsafe_code)]

mod camera;
mod checksum;
mod child;
mod cli;
mod clock;
mod compare;
mod dialogue;
mod domain;
#[cfg(all(test, target_os = "linux"))]
mod domain_tests;
mod input;
mod lidar;
mod lines;
mod messages;
mod notices;
mod output;
mod pcd;
mod placement;
mod progress;
mod publisher;
mod quantity;
mod random;
mod report;
mod run;
mod samples;
mod showcase;
mod stack;
mod stamp;
mod subscriber;
mod tally;
mod terminal;
mod views;

use clap::Parser;
use cli::{Cli, Command, RunArgs};
use output::{remark, say};
use progress::Progress;
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let started_ns = clock::monotonic_ns();
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Pub(args)) if args.managed => return child::run(started_ns),
        Some(Command::Sub(args)) if args.managed => return child::run(started_ns),
        Some(Command::Pub(args)) => terminal::publish(args).map_err(Into::into),
        Some(Command::Sub(args)) => terminal::subscribe(args, started_ns).map_err(Into::into),
        Some(Command::Run(args)) => measure(args),
        Some(Command::Compare(args)) => compare::run(args).map_err(Into::into),
        None => showcase::run(cli.domain.unwrap_or_else(domain::own_domain)).map_err(Into::into),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            remark!("largedata: {error}");
            ExitCode::from(2)
        }
    }
}

/// `largedata run`: true if the run is as good as its reliability promises.
fn measure(args: &RunArgs) -> Result<bool, Box<dyn Error>> {
    let run = args.run()?;
    let options = &run.options;
    options.path.remarks().for_each(|remark| remark!("note: {remark}"));
    let title = format!("{}, {}", run::kinds_text(&run), run.plan.rate);
    let mut progress = Progress::start(&title, &run.plan, args.json);
    let outcome = match run.measure(|moment| progress.watch(moment)) {
        Ok(outcome) => outcome,
        Err(error) => {
            progress.abandon();
            return Err(error.into());
        }
    };
    progress.abandon();
    outcome.troubles.iter().for_each(|trouble| remark!("largedata: {trouble}"));
    if args.json {
        say!("{}", serde_json::to_string(&report::JsonReport::new(&run, &outcome))?);
    } else {
        say!("{}", outcome.samples);
        say!(
            "--stack {} --path {}, {}, {}, {} subscriber(s), {}, domain {}",
            options.stack.name(),
            options.path.name(),
            options.reliability.name(),
            run.plan.rate,
            run.subscribers,
            run.placement,
            options.domain
        );
        say!("{}", report::run_table(&outcome));
        if let Some(shortfall) = report::shortfall_text(run.plan.rate, &outcome) {
            say!("{shortfall}");
        }
    }
    Ok(report::is_good(&run, &outcome))
}
