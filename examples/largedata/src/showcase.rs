//! The main job, `largedata` alone: clouds, then images, through shared memory, then over UDP, side by side.
//!
//! Latency and throughput are measured apart, because a queue that is kept full shows how deep it is and not how
//! fast: latency at the 20 Hz of a spinning LiDAR, throughput at full rate. Placement is left to the scheduler,
//! as on a robot; `largedata run --pin` measures otherwise.

use crate::messages::Kind;
use crate::output::{remark, say};
use crate::placement::Placement;
use crate::progress::Progress;
use crate::publisher::{End, Plan};
use crate::quantity::{Points, Rate, Size, count_text};
use crate::report::{self, PathResult, comparison_table, optional_time, throughput_text, verdict_text};
use crate::run::{Outcome, Run, RunError};
use crate::samples::{LARGE, Source};
use crate::stack::{InPlace, PathChoice, Reliability, StackKind, StackOptions};
use crate::stamp::Touch;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

/// Runs the main job in `domain` and prints its tables; true if nothing was lost or corrupt.
///
/// # Errors
/// [`RunError`] where a measurement cannot be made.
pub(crate) fn run(domain: u32) -> Result<bool, RunError> {
    say!("Real-size sensor data from one process to another, through shared memory and over UDP.");
    say!(
        "Dust DDS 0.16 with zerodds, reliable, keep last {}; every byte of every payload is verified.\n",
        StackKind::Dust.history_for(PathChoice::Auto, LARGE)
    );
    PathChoice::Auto.remarks().for_each(|remark| remark!("note: {remark}"));
    let mut is_good = true;
    let mut sections = Vec::new();
    for (kind, source) in
        [(Kind::Cloud, Source::Lidar(Points(10_000..=300_000))), (Kind::Image, Source::Camera)]
    {
        let mut results = Vec::new();
        for path in [PathChoice::Auto, PathChoice::Udp] {
            let paced = measure(kind, &source, path, PACED, domain)?;
            let full_rate = measure(kind, &source, path, FULL_RATE, domain)?;
            is_good &= paced.1 && full_rate.1;
            results.push(PathResult { paced: paced.0, full_rate: full_rate.0 });
        }
        sections.push(results);
    }
    // The last bar fills its line and leaves the cursor there.
    if std::io::stderr().is_terminal() {
        remark!("");
    }
    say!("");
    for results in &sections {
        print_section(results);
    }
    say!(
        "p50, p99 and max are latencies at 20 Hz, from the call that publishes to the sample in the subscriber's"
    );
    say!(
        "hand; MB/s and CPU (100 % is one processor) are at full rate. Samples, lost and corrupt count both."
    );
    Ok(is_good)
}

fn measure(
    kind: Kind,
    source: &Source,
    path: PathChoice,
    plan: Plan,
    domain: u32,
) -> Result<(Outcome, bool), RunError> {
    let run = Run {
        options: StackOptions {
            stack: StackKind::Dust,
            path,
            domain,
            reliability: Reliability::Reliable,
            history: StackKind::Dust.history_for(path, source.payload_max()),
            max_blocking: Duration::from_secs(30),
            fragment: Size(65_000),
            payload_max: source.payload_max(),
            in_place: InPlace::default(),
            kinds: BTreeSet::from([kind]),
        },
        source: source.clone(),
        touch: Touch::Full,
        plan,
        subscribers: 1,
        placement: Placement::No,
    };
    let what = match kind {
        Kind::Cloud => "PointCloud2",
        _ => "Image",
    };
    let by = if path.shares_memory() { "shared memory" } else { "UDP" };
    let title = format!("{what:<11}  {by:<13}  {:<9}", plan.rate.to_string());
    let mut progress = Progress::start(&title, &plan, false);
    let outcome = match run.measure(|moment| progress.watch(moment)) {
        Ok(outcome) => outcome,
        Err(error) => {
            progress.abandon();
            return Err(error);
        }
    };
    let measured = match plan.rate {
        Rate::Max => throughput_text(&outcome),
        Rate::Hertz(_) => format!("p50 {}", optional_time(outcome.latency.quantile(0.5))),
    };
    progress.finish(&format!("{} samples, {measured}", count_text(outcome.received)));
    for remark in outcome.troubles.iter().chain(&report::shortfall_text(plan.rate, &outcome)) {
        remark!("  {remark}");
    }
    let is_good = report::is_good(&run, &outcome);
    Ok((outcome, is_good))
}

fn print_section(results: &[PathResult]) {
    let Some(first) = results.first() else { return };
    say!("{}", first.full_rate.samples);
    say!("{}", comparison_table(results));
    if let Some(verdict) = verdict_text(results) {
        say!("{verdict}\n");
    }
}

const PACED: Plan = Plan { rate: Rate::Hertz(20.0), end: End::After(Duration::from_secs(3)) };
const FULL_RATE: Plan = Plan { rate: Rate::Max, end: End::After(Duration::from_secs(3)) };
