//! The table that a measurement ends with: medians, and multiples of some of the systems at equal placement and
//! distance.

use crate::median::{Case, Medians};
use crate::probe::Distance;
use crate::record::{Figures, Kind, Record};
use std::fmt::Write;

/// As plain text.
pub(crate) fn text(records: &[Record], against: &[&str]) -> String {
    let medians = Medians::of(records);
    let mut text = String::new();
    let mut heading = String::new();
    for (case, median) in &medians.0 {
        let of_case = heading_of(case);
        if of_case != heading {
            let columns = match case.kind {
                Kind::Latency | Kind::Crowd => {
                    format!("{:>10} {:>10} {:>10} {:>10}", "p50 us", "p99", "p99.9", "max")
                }
                Kind::Throughput => {
                    format!("{:>12} {:>10} {:>10} {:>8}", "messages/s", "GB/s", "CPU s/GB", "lost")
                }
                Kind::Rest => format!("{:>10} {:>10} {:>6} {:>8}", "CPU %", "RSS KiB", "fds", "threads"),
                Kind::Calls => {
                    format!("{:>16} {:>16} {:>10}", "calls, ping-pong", "calls, stream", "written")
                }
                Kind::Links => format!("{:>16} {:>16}", "link KiB", "shared RSS KiB"),
            };
            let ratios: String = match against.len() {
                1 => format!("{:>7} ", "ratio"),
                several => (1..=several).map(|nth| format!("{:>7} ", format!("to {nth}"))).collect(),
            };
            let _ = writeln!(text, "\n{of_case}\n{:24} {columns} {ratios}{:>5}", "", "runs");
            heading = of_case;
        }
        let to = |base: &&str| {
            let ratio = medians.at(&case.by(base)).and_then(|base| ratio(case.kind, &median.figures, base));
            format!("{:>7} ", ratio.map_or(String::new(), |ratio| format!("{ratio:.3}")))
        };
        let ratios: String = against.iter().map(to).collect();
        let _ = writeln!(
            text,
            "{:24} {} {ratios}{:>5}",
            case.system,
            row(case.kind, &median.figures),
            median.runs
        );
    }
    if against.len() > 1 {
        let bases = (1..).zip(against).map(|(nth, base)| format!("{nth} {base}"));
        let _ = writeln!(text, "\nratios to {}", bases.collect::<Vec<_>>().join(", "));
    }
    let moved = records.iter().filter(|record| record.distance == Some(Distance::Moved)).count();
    let failed = records.iter().filter(|record| record.failure.is_some()).count();
    if moved + failed > 0 {
        let _ = writeln!(
            text,
            "\n{moved} runs during which the processors moved, {failed} that failed: not counted"
        );
    }
    text
}

fn heading_of(case: &Case) -> String {
    let distance = match case.distance {
        Some(Distance::Near) => ", near",
        Some(Distance::Far) => ", far",
        Some(Distance::Moved) => ", moved",
        None => "",
    };
    let rate = case.rate_chz.map_or(String::new(), |rate| format!(", {} Hz", rate as f64 / 100.0));
    let touch = if case.is_touched { "" } else { ", untouched" };
    let shape = if case.readers + case.writers > 2 {
        format!(", {} to {}", case.writers, case.readers)
    } else {
        String::new()
    };
    format!("{:?}, {} bytes, {}{distance}{rate}{shape}{touch}", case.kind, case.len, case.placement)
}

fn row(kind: Kind, figures: &Figures) -> String {
    let float =
        |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    let whole = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    match kind {
        Kind::Latency | Kind::Crowd => format!(
            "{:>10} {:>10} {:>10} {:>10}",
            float(figures.p50_us, 3),
            float(figures.p99_us, 3),
            float(figures.p999_us, 2),
            float(figures.max_us, 1)
        ),
        Kind::Throughput => format!(
            "{:>12} {:>10} {:>10} {:>8}",
            float(figures.messages_per_s, 0),
            float(figures.gb_per_s, 3),
            float(figures.cpu_s_per_gb, 3),
            whole(figures.lost)
        ),
        Kind::Rest => format!(
            "{:>10} {:>10} {:>6} {:>8}",
            float(figures.cpu_percent, 4),
            whole(figures.rss_kib),
            whole(figures.fds),
            whole(figures.threads)
        ),
        Kind::Calls => {
            let [turn, stream] =
                [figures.calls_in_turn, figures.calls_in_stream].map(|calls| float(calls, 3));
            format!("{turn:>16} {stream:>16} {:>10}", float(figures.written_per_sent, 3))
        }
        Kind::Links => format!("{:>16} {:>16}", whole(figures.link_kib), whole(figures.rss_shared_kib)),
    }
}

/// How many times the base: the time of a latency, the rate of a throughput.
fn ratio(kind: Kind, figures: &Figures, base: &Figures) -> Option<f64> {
    match kind {
        Kind::Latency | Kind::Crowd => Some(figures.p50_us? / base.p50_us?),
        Kind::Throughput => Some(figures.messages_per_s? / base.messages_per_s?),
        Kind::Calls => Some(figures.calls_in_turn? / base.calls_in_turn?),
        Kind::Rest | Kind::Links => None,
    }
}
