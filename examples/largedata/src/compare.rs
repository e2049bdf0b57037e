//! `largedata compare`: this project against Dust DDS as it comes, in one sitting.
//!
//! A machine has moods: frequency, neighbours, where the scheduler puts what. So the two are interleaved, run by
//! run, at equal placement, and the medians are compared. Latency is measured at 20 Hz, throughput at full rate.

use crate::cli::{CompareArgs, random_domain};
use crate::progress::Progress;
use crate::publisher::{End, Plan};
use crate::quantity::{Rate, bytes_text, three_digits, time_text};
use crate::report;
use crate::run::{Run, RunError};
use crate::samples::Source;
use crate::stack::{PathChoice, StackKind};
use crate::stamp::Touch;
use comfy_table::{Table, presets};
use serde::Serialize;

/// What one of the two gave, as medians.
#[derive(Debug, Serialize)]
struct Side {
    stack: &'static str,
    mb_per_s: f64,
    p50_us: f64,
}

/// What the comparison gave.
#[derive(Debug, Serialize)]
struct Comparison {
    bytes: usize,
    runs: u32,
    ours: Side,
    baseline: Side,
    throughput_ratio: f64,
    p50_ratio: f64,
}

/// Makes the comparison and prints it; true if nothing was lost or corrupt.
///
/// # Errors
/// [`RunError`] where a measurement cannot be made.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, RunError> {
    PathChoice::Auto.remarks().for_each(|remark| eprintln!("note: {remark}"));
    let mut is_good = true;
    let mut sides = [Medians::new(StackKind::Dust), Medians::new(StackKind::StockDust)];
    for number in 1..=args.runs {
        for side in &mut sides {
            is_good &= side.measure(args, number)?;
        }
    }
    let [ours, baseline] = sides.map(Medians::into_side);
    let comparison = Comparison {
        bytes: args.size.0,
        runs: args.runs,
        throughput_ratio: ours.mb_per_s / baseline.mb_per_s,
        p50_ratio: ours.p50_us / baseline.p50_us,
        ours,
        baseline,
    };
    if args.json {
        println!("{}", serde_json::to_string(&comparison).unwrap_or_default());
    } else {
        comparison.print(args);
    }
    Ok(is_good)
}

/// The measurements of one side.
struct Medians {
    stack: StackKind,
    mb_per_s: Vec<f64>,
    p50_ns: Vec<f64>,
}

impl Medians {
    fn new(stack: StackKind) -> Self {
        Self { stack, mb_per_s: Vec::new(), p50_ns: Vec::new() }
    }

    fn measure(&mut self, args: &CompareArgs, number: u32) -> Result<bool, RunError> {
        let mut is_good = true;
        for rate in [Rate::Hertz(20.0), Rate::Max] {
            let plan = Plan { rate, end: End::After(args.seconds.0) };
            let run = Run {
                options: args.options(self.stack, random_domain()),
                source: Source::Random(args.size),
                touch: Touch::Full,
                plan,
                subscribers: 1,
                placement: args.pin,
            };
            let title =
                format!("{number:>2}/{}  {:<10}  {:<9}", args.runs, self.stack.name(), rate.to_string());
            let mut progress = Progress::start(&title, &plan, args.json);
            let outcome = run.measure(|moment| progress.watch(moment))?;
            let p50_ns = outcome.latency.quantile(0.5).unwrap_or_default();
            match rate {
                Rate::Max => {
                    self.mb_per_s.push(outcome.mb_per_s());
                    progress.finish(&report::throughput_text(&outcome));
                }
                Rate::Hertz(_) => {
                    self.p50_ns.push(p50_ns as f64);
                    progress.finish(&format!("p50 {}", time_text(p50_ns)));
                }
            }
            is_good &= report::is_good(&run, &outcome);
        }
        Ok(is_good)
    }

    fn into_side(self) -> Side {
        Side { stack: self.stack.name(), mb_per_s: median(self.mb_per_s), p50_us: median(self.p50_ns) / 1e3 }
    }
}

impl Comparison {
    fn print(&self, args: &CompareArgs) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["", "throughput", "p50 at 20 Hz"]);
        for (name, side) in [("Dust DDS with zerodds", &self.ours), ("Dust DDS, stock UDP", &self.baseline)] {
            let throughput = format!("{}/s", bytes_text((side.mb_per_s * 1e6) as u64));
            table.add_row([name.to_owned(), throughput, time_text((side.p50_us * 1e3) as u64)]);
        }
        let ratio = |value: f64| format!("{}x", three_digits(value));
        table.add_row(["ratio".to_owned(), ratio(self.throughput_ratio), ratio(self.p50_ratio)]);
        println!("\n{} of bytes, {}, median of {}", bytes_text(self.bytes as u64), args.pin, self.runs);
        println!("{table}");
    }
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
