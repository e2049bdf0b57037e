//! `largedata compare`: this project against a stack as it comes, in one sitting.
//!
//! | `--stack` | ways of this project                             | compared with                         |
//! |-----------|--------------------------------------------------|---------------------------------------|
//! | `dust`    | copies, as Dust DDS makes them                   | Dust DDS over its own UDP transport   |
//! | `rustdds` | copies at both ends; filled and read in place    | RustDDS's own endpoints               |
//!
//! A machine has moods: frequency, neighbours, where the scheduler puts what. So all are interleaved, run by run, at
//! equal placement, and the medians are compared. Latency is measured at 20 Hz, throughput at full rate. Each stack has as
//! many samples under way as suit it at the size, unless `--history` says how many.

use crate::cli::{CompareArgs, UsageError};
use crate::domain::own_domain;
use crate::progress::Progress;
use crate::publisher::{End, Plan};
use crate::quantity::{Rate, Size, bytes_text, three_digits, time_text};
use crate::report;
use crate::run::{Run, RunError};
use crate::samples::Source;
use crate::stack::{InPlace, PathChoice, StackKind};
use crate::stamp::Touch;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use thiserror::Error;

/// Why there is no comparison.
#[derive(Debug, Error)]
pub(crate) enum CompareError {
    /// Options contradict each other.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A measurement cannot be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is nothing to compare it with.
    #[error("compare --stack takes dust or rustdds: each against the same stack as it comes, which {} has not", .0.name())]
    Stack(StackKind),
    /// Without shared memory it would be compared with itself.
    #[error(
        "compare --stack rustdds is about shared memory: without it, by {why}, all of it is RustDDS as it comes"
    )]
    NothingShared {
        /// Why there is none.
        why: &'static str,
    },
}

/// One way that samples may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    name: &'static str,
    stack: StackKind,
    in_place: InPlace,
}

/// What one way gave at one size, as medians.
#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    stack: &'static str,
    mb_per_s: f64,
    p50_us: f64,
}

/// One way of ours against the baseline, at one size.
#[derive(Debug, Serialize)]
struct Comparison {
    way: &'static str,
    bytes: usize,
    runs: u32,
    ours: Side,
    baseline: Side,
    throughput_ratio: f64,
    p50_ratio: f64,
}

/// Makes the comparison and prints it; true if nothing was lost or corrupt on our side.
///
/// # Errors
/// [`CompareError`] where a measurement cannot be made.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, CompareError> {
    args.path().remarks().for_each(|remark| eprintln!("note: {remark}"));
    let (ours, baseline) = ways(args.stack(), args.path())?;
    let mut is_good = true;
    let mut comparisons = Vec::new();
    for size in args.sizes() {
        let mut medians: Vec<Medians> = ours.iter().chain([&baseline]).copied().map(Medians::new).collect();
        for number in 1..=args.runs {
            for medians in &mut medians {
                is_good &= medians.measure(args, size, number)? || medians.way == baseline;
            }
        }
        let mut sides: Vec<Side> = medians.into_iter().map(Medians::into_side).collect();
        let Some(reference) = sides.pop() else { continue };
        let compared = ours.iter().zip(sides).map(|(way, side)| Comparison {
            way: way.name,
            bytes: size.0,
            runs: args.runs,
            throughput_ratio: side.mb_per_s / reference.mb_per_s,
            p50_ratio: side.p50_us / reference.p50_us,
            ours: side,
            baseline: reference,
        });
        comparisons.extend(compared);
    }
    if args.json {
        println!("{}", json(&comparisons));
    } else {
        println!("\n{}, median of {}", args.pin, args.runs);
        println!("{}", table(&comparisons, baseline));
        println!(
            "p50 at 20 Hz, from the call that publishes to the sample in the subscriber's hand; throughput at full rate."
        );
    }
    Ok(is_good)
}

/// The ways of this project with a stack, and that stack as it comes.
fn ways(stack: StackKind, path: PathChoice) -> Result<(Vec<Way>, Way), CompareError> {
    let way = |name, stack| Way { name, stack, in_place: InPlace::default() };
    match stack {
        StackKind::Dust => Ok((
            vec![way("Dust DDS with zerodds", StackKind::Dust)],
            way("Dust DDS, stock UDP", StackKind::StockDust),
        )),
        StackKind::Rustdds if !path.shares_memory() => Err(CompareError::NothingShared {
            why: match path {
                PathChoice::Udp => "--path udp",
                PathChoice::Auto => "a build without the feature same-host-shm",
            },
        }),
        StackKind::Rustdds => {
            let copies = way("RustDDS with zerodds, copies", StackKind::Rustdds);
            let in_place = Way {
                name: "RustDDS with zerodds, loan and view",
                in_place: InPlace { loan: true, view: true },
                ..copies
            };
            Ok((vec![copies, in_place], way("RustDDS as it comes", StackKind::StockRustdds)))
        }
        other => Err(CompareError::Stack(other)),
    }
}

/// The measurements of one way at one size.
struct Medians {
    way: Way,
    mb_per_s: Vec<f64>,
    p50_ns: Vec<f64>,
}

impl Medians {
    fn new(way: Way) -> Self {
        Self { way, mb_per_s: Vec::new(), p50_ns: Vec::new() }
    }

    /// Measures latency, then throughput; true if nothing was lost or corrupt.
    fn measure(&mut self, args: &CompareArgs, size: Size, number: u32) -> Result<bool, CompareError> {
        let mut is_good = true;
        for rate in [Rate::Hertz(20.0), Rate::Max] {
            let plan = Plan { rate, end: End::After(args.seconds.0) };
            let run = Run {
                options: args.options(self.way.stack, size, self.way.in_place, own_domain())?,
                source: Source::Random(size),
                touch: Touch::Full,
                plan,
                subscribers: 1,
                placement: args.pin,
            };
            let title = format!(
                "{number:>2}/{}  {:>7}  {:<35}  {:<9}",
                args.runs,
                size.to_string(),
                self.way.name,
                rate.to_string()
            );
            let mut progress = Progress::start(&title, &plan, args.json);
            let outcome = run.measure(|moment| progress.watch(moment))?;
            let p50_ns = outcome.latency.quantile(0.5).unwrap_or_default();
            let lost = if outcome.lost == 0 { String::new() } else { format!(", lost {}", outcome.lost) };
            match rate {
                Rate::Max => {
                    self.mb_per_s.push(outcome.mb_per_s());
                    progress.finish(&format!("{}{lost}", report::throughput_text(&outcome)));
                }
                Rate::Hertz(_) => {
                    self.p50_ns.push(p50_ns as f64);
                    progress.finish(&format!("p50 {}{lost}", time_text(p50_ns)));
                }
            }
            is_good &= report::is_good(&run, &outcome);
        }
        Ok(is_good)
    }

    fn into_side(self) -> Side {
        Side {
            stack: self.way.stack.name(),
            mb_per_s: median(self.mb_per_s),
            p50_us: median(self.p50_ns) / 1e3,
        }
    }
}

/// One object: the comparison, or several of them in an array.
fn json(comparisons: &[Comparison]) -> String {
    let text = match comparisons {
        [single] => serde_json::to_string(single),
        several => serde_json::to_string(&serde_json::json!({ "comparisons": several })),
    };
    text.unwrap_or_default()
}

/// For each size our ways, with what they are worth against the baseline, and the baseline.
fn table(comparisons: &[Comparison], baseline: Way) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["size", "", "throughput", "of the stock's", "p50", "of the stock's"]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let row = |bytes: usize, name: &str, side: &Side, ratios: [String; 2]| {
        let throughput = format!("{}/s", bytes_text((side.mb_per_s * 1e6) as u64));
        let [throughput_ratio, p50_ratio] = ratios;
        let p50 = time_text((side.p50_us * 1e3) as u64);
        [Size(bytes).to_string(), name.to_owned(), throughput, throughput_ratio, p50, p50_ratio]
    };
    for same_size in comparisons.chunk_by(|one, other| one.bytes == other.bytes) {
        for comparison in same_size {
            let ratios = [times(comparison.throughput_ratio), times(comparison.p50_ratio)];
            table.add_row(row(comparison.bytes, comparison.way, &comparison.ours, ratios));
        }
        if let Some(comparison) = same_size.first() {
            let blank = [String::new(), String::new()];
            table.add_row(row(comparison.bytes, baseline.name, &comparison.baseline, blank));
        }
    }
    table
}

/// A ratio as people read it: `12.3x`, or `1/12.3`.
fn times(ratio: f64) -> String {
    if ratio < 1.0 { format!("1/{}", three_digits(1.0 / ratio)) } else { format!("{}x", three_digits(ratio)) }
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

    fn comparison(bytes: usize) -> Comparison {
        let side = |stack: StackKind, p50_us| Side { stack: stack.name(), mb_per_s: 1.0, p50_us };
        Comparison {
            way: "copies",
            bytes,
            runs: 1,
            ours: side(StackKind::Rustdds, 10.0),
            baseline: side(StackKind::StockRustdds, 100.0),
            throughput_ratio: 1.0,
            p50_ratio: 0.1,
        }
    }

    #[test]
    fn a_baseline_stands_once_under_all_that_is_compared_with_it() {
        let (_, baseline) = ways(StackKind::Rustdds, PathChoice::Auto).unwrap();
        let comparisons = [comparison(64), comparison(64), comparison(1 << 20)];
        let printed = table(&comparisons, baseline).to_string();
        assert_eq!(printed.matches("as it comes").count(), 2, "{printed}");
        assert!(printed.contains("1/10.0") && printed.contains("1.00x"), "{printed}");
    }

    #[test]
    fn one_comparison_is_the_object_and_several_are_in_it() {
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(read(json(&[comparison(64)]))["p50_ratio"], 0.1);
        assert_eq!(read(json(&[comparison(64), comparison(65)]))["comparisons"][1]["bytes"], 65);
    }

    #[test]
    fn the_transport_has_nothing_to_be_compared_with() {
        assert!(
            ways(StackKind::Transport, PathChoice::Auto)
                .is_err_and(|error| error.to_string().contains("transport"))
        );
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
