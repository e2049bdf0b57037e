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
use crate::output::{remark, say};
use crate::progress::Progress;
use crate::publisher::{End, Plan};
use crate::quantity::{Rate, Size, bytes_text, count_text, three_digits, time_text};
use crate::report;
use crate::run::{Outcome, Run, RunError};
use crate::samples::Source;
use crate::stack::{ByPath, InPlace, PathChoice, StackKind};
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
    /// A measurement of ours cannot be made.
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
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    stack: StackKind,
    in_place: InPlace,
}

impl Way {
    /// Whether it is a stack as it comes.
    const fn is_stock(self) -> bool {
        matches!(self.stack, StackKind::StockDust | StackKind::StockRustdds)
    }
}

/// What one way gave at one size: medians, and counts of all runs together.
#[derive(Clone, Debug, Serialize)]
struct Side {
    stack: &'static str,
    /// None where no run gave it, as the next.
    mb_per_s: Option<f64>,
    p50_us: Option<f64>,
    received: u64,
    lost: u64,
    corrupt: u64,
    by_path: ByPath,
    /// Why the first of its measurements that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// One way of ours against the baseline, at one size.
#[derive(Debug, Serialize)]
struct Comparison {
    way: &'static str,
    bytes: usize,
    runs: u32,
    ours: Side,
    baseline: Side,
    /// None where either side has nothing.
    throughput_ratio: Option<f64>,
    p50_ratio: Option<f64>,
}

impl Comparison {
    fn new(way: &'static str, size: Size, runs: u32, ours: Side, baseline: Side) -> Self {
        Self {
            way,
            bytes: size.0,
            runs,
            throughput_ratio: ratio(ours.mb_per_s, baseline.mb_per_s),
            p50_ratio: ratio(ours.p50_us, baseline.p50_us),
            ours,
            baseline,
        }
    }
}

/// One against the other, where both are and the other is something.
fn ratio(ours: Option<f64>, baseline: Option<f64>) -> Option<f64> {
    let (ours, baseline) = ours.zip(baseline)?;
    (baseline > 0.0).then(|| ours / baseline)
}

/// Makes the comparison and prints it; true if nothing was lost or corrupt on our side.
///
/// # Errors
/// [`CompareError`] where a measurement of ours cannot be made, after the sizes before it were printed. Where one of the
/// baseline cannot, its row says so.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, CompareError> {
    args.path().remarks().for_each(|remark| remark!("note: {remark}"));
    let (ours, baseline) = ways(args.stack(), args.path())?;
    let (comparisons, done) = until_failure(&args.sizes(), |size| compare(args, &ours, baseline, size));
    if done.is_err() && comparisons.is_empty() {
        return done;
    }
    if args.json {
        say!("{}", json(&comparisons, args.sizes().len() * ours.len()));
    } else {
        say!("\n{}, median of {}", args.pin, args.runs);
        say!("{}", table(&comparisons, baseline));
        say!(
            "p50 at 20 Hz, from the call that publishes to the sample in the subscriber's hand; throughput at full rate."
        );
    }
    done
}

/// One size after the other until one fails: what was measured before is worth something without it.
fn until_failure(
    sizes: &[Size],
    mut compare: impl FnMut(Size) -> Result<(Vec<Comparison>, bool), CompareError>,
) -> (Vec<Comparison>, Result<bool, CompareError>) {
    let (mut all, mut is_good) = (Vec::new(), true);
    for &size in sizes {
        match compare(size) {
            Ok((comparisons, is_as_good)) => {
                all.extend(comparisons);
                is_good &= is_as_good;
            }
            Err(error) => return (all, Err(error)),
        }
    }
    (all, Ok(is_good))
}

/// Our ways and the baseline at one size; and whether nothing was lost or corrupt on our side.
fn compare(
    args: &CompareArgs,
    ours: &[Way],
    baseline: Way,
    size: Size,
) -> Result<(Vec<Comparison>, bool), CompareError> {
    let mut is_good = true;
    let mut medians: Vec<Medians> = ours.iter().copied().map(Medians::new).collect();
    let mut reference = Medians::new(baseline);
    for number in 1..=args.runs {
        for medians in medians.iter_mut().chain([&mut reference]) {
            is_good &= medians.measure(args, size, number)? || medians.way.is_stock();
        }
    }
    let reference = reference.into_side();
    let compared = medians.into_iter().map(|medians| {
        Comparison::new(medians.way.name, size, args.runs, medians.into_side(), reference.clone())
    });
    Ok((compared.collect(), is_good))
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
    received: u64,
    lost: u64,
    corrupt: u64,
    by_path: ByPath,
    failure: Option<String>,
}

impl Medians {
    fn new(way: Way) -> Self {
        Self {
            way,
            mb_per_s: Vec::new(),
            p50_ns: Vec::new(),
            received: 0,
            lost: 0,
            corrupt: 0,
            by_path: ByPath::default(),
            failure: None,
        }
    }

    /// Measures latency, then throughput; true if both could be and nothing was lost or corrupt.
    ///
    /// # Errors
    /// [`CompareError`] where that fails and it is not the baseline's.
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
            match run.measure(|moment| progress.watch(moment)) {
                Ok(outcome) => {
                    progress.finish(&self.note(rate, &outcome));
                    let shortfall = report::shortfall_text(rate, &outcome);
                    outcome.troubles.iter().chain(&shortfall).for_each(|remark| remark!("  {remark}"));
                    is_good &= report::is_good(&run, &outcome);
                }
                Err(error) if !self.way.is_stock() => {
                    progress.abandon();
                    return Err(error.into());
                }
                // Ours are worth something without it, and that it fails is a result.
                Err(error) => {
                    progress.finish("failed");
                    remark!("  {error}");
                    self.failure.get_or_insert_with(|| error.to_string());
                    is_good = false;
                }
            }
        }
        Ok(is_good)
    }

    /// Adds what a measurement gave, and says it in short.
    fn note(&mut self, rate: Rate, outcome: &Outcome) -> String {
        self.received += outcome.received;
        self.lost += outcome.lost;
        self.corrupt += outcome.corrupt;
        self.by_path.shm += outcome.by_path.shm;
        self.by_path.udp += outcome.by_path.udp;
        let measured = match rate {
            Rate::Max => {
                self.mb_per_s.push(outcome.mb_per_s());
                report::throughput_text(outcome)
            }
            Rate::Hertz(_) => {
                let p50_ns = outcome.latency.quantile(0.5);
                self.p50_ns.extend(p50_ns.map(|ns| ns as f64));
                format!("p50 {}", report::optional_time(p50_ns))
            }
        };
        let flaws = [("lost", outcome.lost), ("corrupt", outcome.corrupt)];
        let flaws = flaws.iter().filter(|(_, count)| *count > 0);
        flaws.fold(measured, |text, (what, count)| format!("{text}, {what} {count}"))
    }

    fn into_side(self) -> Side {
        Side {
            stack: self.way.stack.name(),
            mb_per_s: median(self.mb_per_s),
            p50_us: median(self.p50_ns).map(|ns| ns / 1e3),
            received: self.received,
            lost: self.lost,
            corrupt: self.corrupt,
            by_path: self.by_path,
            failure: self.failure,
        }
    }
}

/// One object: the comparison, or, where several were asked for, an array of those that there are.
fn json(comparisons: &[Comparison], asked: usize) -> String {
    let text = match comparisons {
        [single] if asked == 1 => serde_json::to_string(single),
        several => serde_json::to_string(&serde_json::json!({ "comparisons": several })),
    };
    text.unwrap_or_default()
}

/// For each size our ways, with what they are worth against the baseline, and the baseline.
fn table(comparisons: &[Comparison], baseline: Way) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "size",
        "",
        "path",
        "samples",
        "lost",
        "corrupt",
        "throughput",
        "of the stock's",
        "p50",
        "of the stock's",
    ]);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
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

fn row(bytes: usize, name: &str, side: &Side, ratios: [String; 2]) -> [String; 10] {
    let [throughput_ratio, p50_ratio] = ratios;
    // A median of those that did not fail is none of all runs.
    let name = if side.failure.is_some() { format!("{name} (FAILED)") } else { name.to_owned() };
    [
        Size(bytes).to_string(),
        name,
        side.by_path.to_string(),
        count_text(side.received),
        count_text(side.lost),
        count_text(side.corrupt),
        side.mb_per_s.map_or_else(dash, |mb_per_s| format!("{}/s", bytes_text((mb_per_s * 1e6) as u64))),
        throughput_ratio,
        side.p50_us.map_or_else(dash, |us| time_text((us * 1e3) as u64)),
        p50_ratio,
    ]
}

/// A ratio as people read it: `12.3x`, or `1/12.3`.
fn times(ratio: Option<f64>) -> String {
    match ratio {
        None => dash(),
        Some(ratio) if ratio > 0.0 && ratio < 1.0 => format!("1/{}", three_digits(1.0 / ratio)),
        Some(ratio) => format!("{}x", three_digits(ratio)),
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[len / 2]),
        len => Some(f64::midpoint(values[len / 2 - 1], values[len / 2])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(stack: StackKind, p50_us: Option<f64>) -> Side {
        Side {
            stack: stack.name(),
            mb_per_s: Some(1.0),
            p50_us,
            received: 1,
            lost: 0,
            corrupt: 0,
            by_path: ByPath::default(),
            failure: None,
        }
    }

    fn comparison(bytes: usize) -> Comparison {
        let (ours, baseline) =
            (side(StackKind::Rustdds, Some(10.0)), side(StackKind::StockRustdds, Some(100.0)));
        Comparison::new("copies", Size(bytes), 1, ours, baseline)
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
    fn a_size_that_cannot_be_measured_leaves_those_before_it() {
        let (comparisons, done) = until_failure(&[Size(64), Size(65), Size(66)], |Size(bytes)| match bytes {
            64 => Ok((vec![comparison(bytes)], true)),
            _ => Err(RunError::NoMatch { domain: 1 }.into()),
        });
        assert!(done.is_err());
        assert_eq!(comparisons.iter().map(|one| one.bytes).collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn one_comparison_is_the_object_and_of_several_those_that_came_are_in_it() {
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(read(json(&[comparison(64)], 1))["p50_ratio"], 0.1);
        assert_eq!(read(json(&[comparison(64), comparison(65)], 2))["comparisons"][1]["bytes"], 65);
        assert_eq!(read(json(&[comparison(64)], 2))["comparisons"][0]["bytes"], 64);
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
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_stack_of_which_nothing_arrived_has_no_latency_and_no_ratio() {
        let (_, baseline) = ways(StackKind::Rustdds, PathChoice::Auto).unwrap();
        let mut nothing = Medians::new(baseline);
        let silent = Outcome { lost: 7, corrupt: 1, troubles: Vec::new(), ..Outcome::default() };
        assert_eq!(nothing.note(Rate::Hertz(20.0), &silent), "p50 -, lost 7, corrupt 1");
        nothing.note(Rate::Max, &silent);
        nothing.failure = Some("no answer".to_owned());
        let ours = side(StackKind::Rustdds, Some(10.0));
        let compared = [Comparison::new("copies", Size(64), 1, ours, nothing.into_side())];
        let json: serde_json::Value = serde_json::from_str(&json(&compared, 1)).unwrap();
        for ratio in ["p50_ratio", "throughput_ratio"] {
            assert!(json[ratio].is_null(), "{json}");
        }
        let baseline_json = &json["baseline"];
        assert!(baseline_json["p50_us"].is_null(), "{json}");
        assert_eq!((&baseline_json["lost"], &baseline_json["corrupt"]), (&14.into(), &2.into()), "{json}");
        assert_eq!(baseline_json["failure"], "no answer", "{json}");
        let printed = table(&compared, baseline).to_string();
        assert!(printed.contains("as it comes (FAILED)") && !printed.contains("inf"), "{printed}");
        assert!(!printed.contains("0.00 µs"), "{printed}");
    }
}
