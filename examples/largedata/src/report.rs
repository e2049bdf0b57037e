//! What a person or a program reads at the end: tables, ratios, and the JSON object.

use crate::quantity::{Rate, bytes_text, count_text, three_digits, time_text};
use crate::run::{Outcome, Run, kinds_text};
use crate::stack::{ByPath, Reliability, Written};
use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// The JSON object of `largedata run --json`.
#[derive(Debug, Serialize)]
pub(crate) struct JsonReport {
    stack: &'static str,
    path: &'static str,
    kind: String,
    subscribers: usize,
    /// Of those, the ones that reached the end: the counts are theirs.
    reported: usize,
    rate_hz: JsonRate,
    sent: u64,
    received: u64,
    lost: u64,
    corrupt: u64,
    by_path: ByPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    bytes: u64,
    seconds: f64,
    mb_per_s: f64,
    latency_us: JsonLatency,
    cpu_percent: JsonCpu,
    first_sample_ms: Option<f64>,
    troubles: Vec<String>,
}

/// Samples per second: asked for, null at full rate; and published, null of too few samples to tell.
#[derive(Debug, Serialize)]
struct JsonRate {
    asked: Option<f64>,
    reached: Option<f64>,
}

#[derive(Debug, Serialize)]
struct JsonLatency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct JsonCpu {
    publisher: f64,
    subscribers: f64,
}

impl JsonReport {
    /// The report of a run. Times that no sample gave are null.
    pub(crate) fn new(run: &Run, outcome: &Outcome) -> Self {
        let us = |ns: Option<u64>| ns.map(|ns| rounded(ns as f64 / 1e3));
        let quantile = |share| us(outcome.latency.quantile(share));
        Self {
            stack: run.options.stack.name(),
            path: run.options.path.name(),
            kind: kinds_text(run),
            subscribers: run.subscribers,
            reported: outcome.reported,
            rate_hz: JsonRate { asked: asked_hz(run.plan.rate), reached: outcome.rate_hz.map(rounded) },
            sent: outcome.sent,
            received: outcome.received,
            lost: outcome.lost,
            corrupt: outcome.corrupt,
            by_path: outcome.by_path,
            written: outcome.written,
            bytes: outcome.bytes,
            seconds: rounded(outcome.seconds),
            mb_per_s: rounded(outcome.mb_per_s()),
            latency_us: JsonLatency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: us(outcome.latency.max()),
            },
            cpu_percent: JsonCpu {
                publisher: rounded(outcome.publisher_cpu),
                subscribers: rounded(outcome.subscribers_cpu),
            },
            first_sample_ms: outcome.first_sample_ns.map(|ns| rounded(ns as f64 / 1e6)),
            troubles: outcome.troubles.clone(),
        }
    }
}

/// Three decimals: nanoseconds of a microsecond, kilobytes of a megabyte.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

const fn asked_hz(rate: Rate) -> Option<f64> {
    match rate {
        Rate::Hertz(hertz) => Some(hertz),
        Rate::Max => None,
    }
}

/// What a reader of the figures must know if the publisher fell behind the rate that was asked for.
pub(crate) fn shortfall_text(asked: Rate, outcome: &Outcome) -> Option<String> {
    let (asked, reached) = asked_hz(asked).zip(outcome.rate_hz)?;
    (reached < asked * RATE_ENOUGH).then(|| {
        format!("asked {asked} Hz, reached {} Hz: latencies are of what was sent", three_digits(reached))
    })
}

/// Whether a run is as good as its reliability promises.
pub(crate) fn is_good(run: &Run, outcome: &Outcome) -> bool {
    let complete = run.options.reliability == Reliability::BestEffort || outcome.lost == 0;
    // Even best effort promises that something arrives.
    let is_alive = outcome.received > 0 || outcome.sent == 0;
    complete && is_alive && outcome.corrupt == 0 && outcome.troubles.is_empty()
}

/// The table of a single run.
pub(crate) fn run_table(outcome: &Outcome) -> Table {
    let mut table = table([
        "path",
        "samples",
        "lost",
        "corrupt",
        "throughput",
        "p50",
        "p99",
        "p99.9",
        "max",
        "CPU pub",
        "CPU sub",
    ]);
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| optional_time(outcome.latency.quantile(share)));
    table.add_row([
        outcome.by_path.to_string(),
        count_text(outcome.received),
        count_text(outcome.lost),
        count_text(outcome.corrupt),
        throughput_text(outcome),
        p50,
        p99,
        p999,
        optional_time(outcome.latency.max()),
        percent_text(outcome.publisher_cpu),
        percent_text(outcome.subscribers_cpu),
    ]);
    table
}

/// What the main job measured of one kind of sample over one path.
pub(crate) struct PathResult {
    /// At a robot's rate.
    pub(crate) paced: Outcome,
    /// As fast as it goes.
    pub(crate) full_rate: Outcome,
}

impl PathResult {
    /// The samples of both by path.
    pub(crate) fn by_path(&self) -> ByPath {
        self.paced.by_path + self.full_rate.by_path
    }
}

/// The table of the main job, one row for each path.
pub(crate) fn comparison_table(results: &[PathResult]) -> Table {
    let mut table =
        table(["path", "samples", "lost", "corrupt", "MB/s", "p50", "p99", "max", "CPU pub", "CPU sub"]);
    for result in results {
        let PathResult { paced, full_rate } = result;
        let both = |of: fn(&Outcome) -> u64| count_text(of(paced) + of(full_rate));
        table.add_row([
            result.by_path().to_string(),
            both(|outcome| outcome.received),
            both(|outcome| outcome.lost),
            both(|outcome| outcome.corrupt),
            count_text(full_rate.mb_per_s().round() as u64),
            optional_time(paced.latency.quantile(0.5)),
            optional_time(paced.latency.quantile(0.99)),
            optional_time(paced.latency.max()),
            percent_text(full_rate.publisher_cpu),
            percent_text(full_rate.subscribers_cpu),
        ]);
    }
    table
}

/// What the second path is worth against the first, in one line: `3.1x the throughput and 0.31x the latency`.
fn ratio_text(shm: &PathResult, udp: &PathResult) -> Option<String> {
    let throughput = shm.full_rate.mb_per_s() / udp.full_rate.mb_per_s();
    let latency = shm.paced.latency.quantile(0.5)? as f64 / udp.paced.latency.quantile(0.5)? as f64;
    throughput.is_finite().then(|| {
        format!(
            "{} times the throughput of UDP, at {} times its latency (p50)",
            three_digits(throughput),
            three_digits(latency)
        )
    })
}

/// What shared memory was worth, where all samples that may take it did.
pub(crate) fn verdict_text(results: &[PathResult]) -> Option<String> {
    match results {
        [shm, udp] if shm.by_path().is_shared() => {
            ratio_text(shm, udp).map(|ratio| format!("Shared memory: {ratio}."))
        }
        [shm, _] if shm.by_path().shm > 0 => {
            let by_path = shm.by_path();
            Some(format!(
                "Of the samples that may be shared {} went by UDP, so there is nothing to compare; a note above says why.",
                count_text(by_path.udp)
            ))
        }
        _ => Some("Shared memory was not used; a note above says why.".to_owned()),
    }
}

/// Megabytes per second, with the unit.
pub(crate) fn throughput_text(outcome: &Outcome) -> String {
    format!("{}/s", bytes_text((outcome.mb_per_s() * 1e6) as u64))
}

/// A time, or a dash where no sample gave one.
pub(crate) fn optional_time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), time_text)
}

fn percent_text(percent: f64) -> String {
    format!("{percent:.0} %")
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The share of the rate asked for that counts as having reached it.
const RATE_ENOUGH: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::tally::Latency;
    use clap::Parser;

    fn run(line: &str) -> Run {
        let cli = Cli::try_parse_from(format!("largedata run {line}").split_ascii_whitespace()).unwrap();
        let Some(crate::cli::Command::Run(args)) = cli.command else { panic!("not a run") };
        args.run().unwrap()
    }

    fn outcome() -> Outcome {
        let mut latency = Latency::new();
        latency.record(0, 812_000);
        Outcome {
            sent: 10,
            rate_hz: Some(300.0),
            reported: 2,
            received: 20,
            lost: 0,
            corrupt: 0,
            by_path: ByPath { shm: 20, udp: 0 },
            written: None,
            bytes: 5_000_000,
            seconds: 0.5,
            latency,
            publisher_cpu: 50.0,
            subscribers_cpu: 25.5,
            first_sample_ns: Some(321_000_000),
            samples: String::new(),
            troubles: Vec::new(),
        }
    }

    #[test]
    fn the_json_object_has_the_documented_shape() {
        let report = JsonReport::new(&run("--subscribers 2 --size 5 --rate 1000"), &outcome());
        let json: serde_json::Value = serde_json::to_value(report).unwrap();
        let expected = serde_json::json!({
            "stack": "dust", "path": "auto", "kind": "bytes", "subscribers": 2, "reported": 2,
            "rate_hz": {"asked": 1000.0, "reached": 300.0},
            "sent": 10, "received": 20, "lost": 0, "corrupt": 0, "by_path": {"shm": 20, "udp": 0},
            "bytes": 5_000_000, "seconds": 0.5, "mb_per_s": 10.0,
            "latency_us": {"p50": 812.031, "p99": 812.031, "p999": 812.031, "max": 812.031},
            "cpu_percent": {"publisher": 50.0, "subscribers": 25.5}, "first_sample_ms": 321.0,
            "troubles": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_rate_that_was_not_reached_is_said_beside_the_figures() {
        let text = |asked| shortfall_text(asked, &outcome());
        assert_eq!(
            text(Rate::Hertz(1000.0)).unwrap(),
            "asked 1000 Hz, reached 300 Hz: latencies are of what was sent"
        );
        assert_eq!((text(Rate::Hertz(310.0)), text(Rate::Max)), (None, None));
        assert_eq!(shortfall_text(Rate::Hertz(1.0), &Outcome { rate_hz: None, ..outcome() }), None);
    }

    #[test]
    fn times_that_nothing_gave_are_null_and_dashes() {
        let by_path = ByPath::default();
        let silent =
            Outcome { latency: Latency::new(), first_sample_ns: None, received: 0, by_path, ..outcome() };
        let json = serde_json::to_value(JsonReport::new(&run(""), &silent)).unwrap();
        assert!(json["latency_us"]["p50"].is_null() && json["first_sample_ms"].is_null());
        let printed = run_table(&silent).to_string();
        assert!(printed.contains(" - ") && !printed.contains("shm"), "{printed}");
    }

    #[test]
    fn a_run_is_good_only_as_its_reliability_promises() {
        let lossy = Outcome { lost: 1, ..outcome() };
        assert!(is_good(&run(""), &outcome()));
        assert!(!is_good(&run(""), &lossy));
        assert!(is_good(&run("--reliability best-effort"), &lossy));
        assert!(!is_good(&run("--reliability best-effort"), &Outcome { corrupt: 1, ..outcome() }));
        assert!(!is_good(&run("--reliability best-effort"), &Outcome { received: 0, lost: 20, ..outcome() }));
        assert!(is_good(&run(""), &Outcome { sent: 0, received: 0, ..outcome() }));
        assert!(!is_good(&run(""), &Outcome { troubles: vec!["killed".to_owned()], ..outcome() }));
    }

    #[test]
    fn a_row_is_of_the_paths_of_both_its_runs_and_is_compared_only_if_all_was_shared() {
        let by = |shm, udp| Outcome { by_path: ByPath { shm, udp }, ..outcome() };
        let udp = || PathResult { paced: by(0, 60), full_rate: by(0, 900) };
        let mixed = [PathResult { paced: by(0, 60), full_rate: by(900, 0) }, udp()];
        assert!(comparison_table(&mixed).to_string().contains("shm 900 + udp 60"));
        let text = verdict_text(&mixed).unwrap();
        assert!(!text.starts_with("Shared memory: ") && text.contains("60 went by UDP"), "{text}");
        let shared = [PathResult { paced: by(60, 0), full_rate: by(900, 0) }, udp()];
        assert!(verdict_text(&shared).unwrap().starts_with("Shared memory: "));
        assert!(verdict_text(&[udp(), udp()]).unwrap().contains("not used"));
    }

    #[test]
    fn the_ratio_compares_throughput_at_full_rate_with_latency_at_a_pace() {
        let mut slow = Latency::new();
        slow.record(0, 1_624_000);
        let shm = PathResult { paced: outcome(), full_rate: outcome() };
        let udp = PathResult {
            paced: Outcome { latency: slow, ..outcome() },
            full_rate: Outcome { seconds: 2.0, ..outcome() },
        };
        let text = ratio_text(&shm, &udp).unwrap();
        assert_eq!(text, "4.00 times the throughput of UDP, at 0.50 times its latency (p50)");
    }
}
