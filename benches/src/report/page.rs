//! README.md of the folder: the machine, the verdicts, the plots, the figures.

use super::claims::Claim;
use super::machine::Machine;
use super::plots::Plot;
use crate::crew::WARM_HEAP;
use crate::median::{Case, Medians};
use crate::placement::Placement;
use crate::probe::Distance;
use crate::record::{Kind, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The page.
pub(super) fn text(
    machine: &Machine,
    records: &[Record],
    medians: &Medians,
    claims: &[Claim],
    plots: &[Plot],
) -> String {
    let mut text = String::from(HEAD);
    let Machine { processor, processors, kernel, rust, suites, .. } = machine;
    let _ = writeln!(
        text,
        "{processor}, {processors} processors; Linux {kernel}; {rust}. Measured: {}.\n",
        suites.join("; then ")
    );
    let (tunables, warm) = WARM_HEAP;
    let _ = writeln!(
        text,
        "All systems are built with one codegen unit, and run with `{tunables}={warm}`, also those that come from the registry.\n"
    );
    let moved = records.iter().filter(|record| record.distance == Some(Distance::Moved)).count();
    let failed = records.iter().filter(|record| record.failure.is_some()).count();
    let _ = writeln!(
        text,
        "{} runs, of which {moved} do not count, because the processors moved meanwhile, and {failed} failed, which medians leave \
         out and verdicts say. Every run with its probes is in [results.csv](results.csv).\n",
        records.len()
    );
    verdicts(&mut text, claims);
    let _ = writeln!(text, "## Plots\n\nGrey lines are the limits of the machine.\n");
    for Plot { file, title } in plots {
        let _ = writeln!(text, "![{title}]({file})\n");
    }
    figures(&mut text, medians);
    failures(&mut text, records);
    let _ = writeln!(text, "## Memory, one processor, GB/s\n\n| | copy | fill | check |\n|---|---|---|---|");
    for rate in &machine.bandwidths {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} |",
            size(rate.len),
            rate.copy,
            rate.fill,
            rate.check
        );
    }
    let measured: BTreeSet<&str> = records.iter().map(|record| record.system.as_str()).collect();
    let _ = writeln!(text, "\n## Set-up\n\n| | |\n|---|---|");
    for system in machine.systems.iter().filter(|system| measured.contains(system.name.as_str())) {
        let _ = writeln!(text, "| {} | {} |", system.name, system.set_up);
    }
    text
}

/// A size as people write it.
pub(super) fn size(len: usize) -> String {
    match len {
        0..1024 => format!("{len} B"),
        1024..1_048_576 => format!("{} KiB", len / 1024),
        _ => format!("{} MiB", len / 1_048_576),
    }
}

fn verdicts(text: &mut String, claims: &[Claim]) {
    let _ = writeln!(
        text,
        "## Asked and measured\n\n| | | asked | measured | | worst at |\n|---|---|---|---|---|---|"
    );
    for claim in claims {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            claim.item,
            claim.text,
            claim.asked,
            claim.value(),
            claim.verdict(),
            claim.at
        );
    }
    text.push('\n');
}

/// Latency and throughput: a row for a system, a column for a size.
fn figures(text: &mut String, medians: &Medians) {
    let mut sections: BTreeSet<Section> = BTreeSet::new();
    sections.extend(medians.0.keys().map(Section::of));
    for section in &sections {
        let cases: Vec<&Case> = medians.0.keys().filter(|case| Section::of(case) == *section).collect();
        let sizes: BTreeSet<usize> = cases.iter().map(|case| case.len).collect();
        let systems: BTreeSet<&str> = cases.iter().map(|case| case.system.as_str()).collect();
        let _ = writeln!(text, "## {}\n", section.title());
        let heads: Vec<String> = sizes.iter().map(|&len| size(len)).collect();
        let _ = writeln!(text, "| | {} |\n|---{}|", heads.join(" | "), "|---".repeat(sizes.len()));
        for system in systems {
            let cell = |&len: &usize| {
                let case = cases.iter().find(|case| case.len == len && case.system == system)?;
                let figures = medians.at(case)?;
                Some(match section.kind {
                    Kind::Latency | Kind::Crowd => {
                        format!(
                            "{} / {}",
                            digits(figures.p50_us?),
                            figures.p99_us.map_or("–".to_owned(), digits)
                        )
                    }
                    Kind::Rest => format!(
                        "{} / {} / {} / {}",
                        digits(figures.cpu_percent?),
                        digits(figures.rss_kib? as f64 / 1024.0),
                        figures.fds?,
                        figures.threads?
                    ),
                    Kind::Calls => {
                        let written = figures.written_per_sent.map_or("–".to_owned(), digits);
                        let [turn, stream] = [figures.calls_in_turn?, figures.calls_in_stream?].map(digits);
                        format!("{turn} / {stream} / {written}")
                    }
                    Kind::Links => {
                        format!("{} / {}", figures.link_kib?, digits(figures.rss_shared_kib? as f64 / 1024.0))
                    }
                    _ if case.len <= 1024 => format!("{} M/s", digits(figures.messages_per_s? / 1e6)),
                    _ => digits(figures.gb_per_s?),
                })
            };
            let cells: Vec<String> = sizes.iter().map(|len| cell(len).unwrap_or("–".to_owned())).collect();
            let _ = writeln!(text, "| {system} | {} |", cells.join(" | "));
        }
        text.push('\n');
    }
}

/// How many runs failed: medians are of the others.
fn failures(text: &mut String, records: &[Record]) {
    let mut failed: BTreeMap<(&str, usize, Placement, &str), usize> = BTreeMap::new();
    for record in records {
        if let Some(failure) = &record.failure {
            *failed.entry((&record.system, record.len, record.placement, failure)).or_default() += 1;
        }
    }
    if failed.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Runs that gave no figure\n\n| | runs | |\n|---|---|---|");
    for ((system, len, placement, failure), runs) in failed {
        let failure = failure.replace('|', "/").replace('\n', " ");
        let _ = writeln!(text, "| {system}, {}, {placement} | {runs} | {failure} |", size(len));
    }
    text.push('\n');
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value {
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Cases that are rows and columns of one table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Section {
    kind: Kind,
    placement: Placement,
    distance: Option<Distance>,
    writers: u32,
    readers: u32,
    rate_chz: Option<u64>,
    is_untouched: bool,
    session: String,
}

impl Section {
    fn of(case: &Case) -> Self {
        let &Case { kind, placement, distance, writers, readers, rate_chz, is_touched, .. } = case;
        let (session, is_untouched) = (case.session.clone(), !is_touched);
        Self { kind, placement, distance, writers, readers, rate_chz, is_untouched, session }
    }

    fn title(&self) -> String {
        let kind = match self.kind {
            Kind::Latency => "Latency one way, p50 / p99 in µs",
            Kind::Throughput => "Throughput, GB/s delivered",
            Kind::Rest => "At rest, CPU % / resident MiB / descriptors / threads",
            Kind::Calls => {
                "System calls of both processes for a message, ping-pong / stream / bytes written for one sent"
            }
            Kind::Links => {
                "A link after 64 B and more went through, KiB / all shared memory of the process, MiB"
            }
            Kind::Crowd => "Latency one way in a crowd, p50 / p99 in µs",
        };
        let place = match (self.placement, self.distance) {
            (Placement::Same, _) => "one processor",
            (Placement::Apart, Some(Distance::Near)) => "two processors, near",
            (Placement::Apart, Some(Distance::Far)) => "two processors, far",
            (Placement::Apart, _) => "two processors",
            (Placement::Free, _) => "not pinned",
            (Placement::Hosts, _) => "between two hosts (network namespaces, veth)",
        };
        let rate = self.rate_chz.map_or(String::new(), |rate| format!(", {} Hz", rate / 100));
        let shape = if self.writers + self.readers > 2 {
            format!(", {} to {}", self.writers, self.readers)
        } else {
            String::new()
        };
        let touch = if self.is_untouched { ", payload untouched" } else { "" };
        let part = self.session.split_whitespace().next().unwrap_or_default();
        format!("{kind}: {place}{rate}{shape}{touch} (session: {part})")
    }
}

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`; do not edit. Two processes or more, every sample filled, read in full and checked (unless it says
untouched), each process pinned (but for crowds and hosts). Medians of several runs that were taken in turns (of one, where a
system took seconds longer than planned); figures of two processors are sorted by a
probe before and after each run: \"near\" where spinning between the two takes less than 120 ns one way, \"far\" where it takes more.

Ratios hold within one session, whose systems were measured in turns: a verdict takes both figures from the same one, and of several
sessions that have both the median of their ratios. It is met as a whole where that was found in every case of the full suite that it
is about, a size in a placement at a pace; otherwise the verdict says in how many of them. Messages are lost in whatever run, also where
the processors moved, and no run may have failed for that. Tables are of one session each; plots show medians over sessions. Latency is half a
round trip, filling and reading included, so a pause in one direction shows at half its length. It counts from the real send: a sender
that wakes late, for its pace or in a crowd, sends late, and that is not seen. p99 stands for 100 samples of a run or more. System calls are
counted by perf at the kernel's entry, in runs of their own; bytes written are those that a sender puts into its ring, by filling a
loan or by the one copy that there is without: none for what is small enough for a link or for RTPS, and not known of other systems. What bounds those
figures that are not as asked, and what was tried: [bounds.md](bounds.md).

";
