//! Verdicts: what is asked beside what was measured. A ratio takes both of its figures from one session, at equal placement
//! and distance; of several sessions with both, the median of their ratios. Of several cases the worst counts.
//!
//! Which cases a claim is about is read from the plan of the full suite, so that what was not measured, or has nothing beside
//! it, is not passed over. Whether messages were lost is asked of the runs themselves: a loss has nothing to do with the distance
//! of two processors, and a run that failed shows nothing.

use super::super::suite::{A_PEER, is_ours, planned};
use crate::median::{Case, Medians, median};
use crate::probe::Distance;
use crate::record::{Figures, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Div;

/// One thing that is asked for.
pub(super) struct Claim {
    /// Its number in the list of what the outcome is shown by.
    pub(super) item: u32,
    pub(super) text: String,
    pub(super) asked: Bound,
    /// The worst case; `None` where nothing was measured that it follows from.
    measured: Option<f64>,
    /// Where it was worst, and what is missing.
    pub(super) at: String,
    /// Measured in so many of so many cases that it is about.
    cases: (usize, usize),
    /// Whether it asks that no run fails, and one has.
    is_broken: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
    Above(f64),
}

impl Bound {
    /// As precisely as it is shown.
    fn holds(self, value: f64) -> bool {
        let value = (value * 1000.0).round() / 1000.0;
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Below(bound) => value < bound,
            Self::Above(bound) => value > bound,
        }
    }

    fn is_worse(self, value: f64, than: f64) -> bool {
        match self {
            Self::AtMost(_) | Self::Below(_) => value > than,
            Self::AtLeast(_) | Self::Above(_) => value < than,
        }
    }
}

impl Claim {
    pub(super) fn verdict(&self) -> String {
        match (self.measured, self.cases) {
            _ if self.is_broken => "**not met**".to_owned(),
            (None, _) => "not measured".to_owned(),
            (Some(value), _) if !self.asked.holds(value) => "**not met**".to_owned(),
            (Some(_), (at, of)) if at < of => format!("met in {at} of {of} cases"),
            (Some(_), _) => "met".to_owned(),
        }
    }

    /// The worst figure, as it is shown.
    pub(super) fn value(&self) -> String {
        self.measured.map_or("–".to_owned(), |value| format!("{value:.3}"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
            Self::Above(bound) => write!(f, "> {bound}"),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, text, asked, at, .. } = self;
        let (asked, value, verdict) = (asked.to_string(), self.value(), self.verdict());
        write!(f, "{item:2} {text:70} {asked:10} {value:>10} {verdict:20} {at}")
    }
}

/// A figure of a case.
pub(super) type Field = fn(&Figures) -> Option<f64>;

/// What speaks for a claim.
#[derive(Default)]
struct Evidence {
    /// Figures, and where they are from.
    found: Vec<(f64, String)>,
    /// Measured in so many of so many cases.
    cases: (usize, usize),
    /// Cases with a figure of ours beside which there is none, although both were measured in that session.
    alone: usize,
    /// Runs without figures.
    failed: usize,
    /// Whether there must be none of those.
    all_must_end_well: bool,
}

/// Claims and what they are judged by.
pub(super) struct Sheet<'a> {
    records: &'a [Record],
    medians: Medians,
    /// What was tried, however far apart the processors were.
    tried: BTreeSet<Case>,
    /// What the full suite would try.
    plan: BTreeSet<Case>,
    pub(super) claims: Vec<Claim>,
}

impl<'a> Sheet<'a> {
    /// With no claims yet.
    pub(super) fn of(records: &'a [Record]) -> Self {
        let tried = records.iter().map(|record| Case::of(record).near_or_far()).collect();
        Self { records, medians: Medians::of(records), tried, plan: planned(), claims: Vec::new() }
    }

    fn cases(&self, system: &str) -> impl Iterator<Item = &Case> {
        self.medians.0.keys().filter(move |case| case.system == system)
    }

    /// One system's figure as a multiple of another's.
    pub(super) fn ratio(
        &mut self,
        item: u32,
        text: &str,
        asked: Bound,
        (system, base): (&str, &str),
        field: Field,
        fits: impl Fn(&Case) -> bool,
    ) {
        self.compare(item, text, asked, (system, &|case| case.by(base)), field, f64::div, fits);
    }

    /// One system's figure beside that of another case of the same session.
    #[expect(clippy::too_many_arguments, reason = "each is a word of the sentence that a claim is")]
    pub(super) fn compare(
        &mut self,
        item: u32,
        text: &str,
        asked: Bound,
        (system, base): (&str, &dyn Fn(&Case) -> Case),
        field: Field,
        how: fn(f64, f64) -> f64,
        fits: impl Fn(&Case) -> bool,
    ) {
        let is_ours = |case: &Case| case.system == system && fits(case);
        let at = |case: &Case| field(self.medians.at(case)?);
        let (mut found, mut alone) = (Vec::new(), 0);
        for case in self.cases(system).filter(|case| fits(case)) {
            let base = base(case);
            match (at(case), at(&base)) {
                (Some(figure), Some(base)) => found.push((case, how(figure, base))),
                (Some(_), None) if self.tried.contains(&base.near_or_far()) => alone += 1,
                _ => {}
            }
        }
        let tried = self.tried.iter().filter(|case| is_ours(case));
        let both: BTreeSet<Case> = tried.flat_map(|case| [case.clone(), base(case)]).collect();
        let evidence = Evidence {
            cases: self.coverage(found.iter().map(|(case, _)| *case), |case| {
                is_ours(case) && self.is_planned(&base(case))
            }),
            found: over_sessions(found),
            alone,
            failed: self.failed(|case| both.contains(&case.near_or_far())),
            ..Evidence::default()
        };
        self.claim(item, text, asked, evidence);
    }

    /// The same against the best of the systems that are not ours and wait without spinning, wherever they were measured:
    /// two that yield to each other on one processor seem to wait.
    pub(super) fn peers(
        &mut self,
        item: u32,
        text: &str,
        system: &str,
        field: Field,
        fits: impl Fn(&Case) -> bool,
    ) {
        let all = self.medians.0.iter();
        let spinning: BTreeSet<&str> =
            all.filter(|(_, median)| median.spins).map(|(case, _)| case.system.as_str()).collect();
        let is_peer = |system: &str| !is_ours(system) && !spinning.contains(system);
        let best = |case: &Case| {
            let others = self.medians.0.iter();
            let others = others.filter(|(other, _)| **other == case.by(&other.system));
            let others = others.filter(|(other, _)| is_peer(&other.system));
            let figures = others.filter_map(|(other, median)| Some((field(&median.figures)?, &other.system)));
            figures.min_by(|one, other| one.0.total_cmp(&other.0))
        };
        let was_beside = |case: &Case| {
            let mut others = self.tried.iter().filter(|other| is_peer(&other.system));
            others.any(|other| *other == case.by(&other.system).near_or_far())
        };
        let (mut found, mut alone) = (Vec::new(), 0);
        for case in self.cases(system).filter(|case| fits(case)) {
            match (self.medians.at(case).and_then(field), best(case)) {
                (Some(figure), Some((best, by))) => found.push((case, figure / best, by)),
                (Some(_), None) if was_beside(case) => alone += 1,
                _ => {}
            }
        }
        let evidence = Evidence {
            cases: self.coverage(found.iter().map(|(case, ..)| *case), |case| {
                case.system == system && fits(case) && self.is_planned(&case.by(A_PEER))
            }),
            alone,
            failed: self.failed(|case| fits(case) && (case.system == system || is_peer(&case.system))),
            found: found
                .iter()
                .map(|(case, times, by)| (*times, format!("{}, {by}", describe(case))))
                .collect(),
            ..Evidence::default()
        };
        self.claim(item, text, Bound::Below(1.0), evidence);
    }

    /// A figure as it is, of whatever session.
    pub(super) fn value(
        &mut self,
        item: u32,
        text: &str,
        asked: Bound,
        system: &str,
        field: Field,
        fits: impl Fn(&Case) -> bool,
    ) {
        let is_ours = |case: &Case| case.system == system && fits(case);
        let found = self.cases(system).filter(|case| fits(case));
        let found = found.filter_map(|case| Some((case, field(self.medians.at(case)?)?)));
        let found: Vec<(&Case, f64)> = found.collect();
        let evidence = Evidence {
            cases: self.coverage(found.iter().map(|(case, _)| *case), is_ours),
            failed: self.failed(is_ours),
            found: found.into_iter().map(|(case, value)| (value, describe(case))).collect(),
            ..Evidence::default()
        };
        self.claim(item, text, asked, evidence);
    }

    /// That no run of a system lost a message, or failed: one that finds a message damaged, doubled or out of order does.
    pub(super) fn lost(&mut self, item: u32, text: &str, system: &str, fits: impl Fn(&Case) -> bool) {
        let is_ours = |case: &Case| case.system == system && fits(case);
        let runs = self.records.iter().map(|run| (Case::of(run), run.figures.lost));
        let runs = runs.filter(|(case, _)| is_ours(case));
        let found: Vec<(Case, f64)> = runs.filter_map(|(case, lost)| Some((case, lost? as f64))).collect();
        let evidence = Evidence {
            cases: self.coverage(found.iter().map(|(case, _)| case), is_ours),
            failed: self.failed(is_ours),
            all_must_end_well: true,
            found: found.iter().map(|(case, lost)| (*lost, describe(case))).collect(),
            ..Evidence::default()
        };
        self.claim(item, text, Bound::AtMost(0.0), evidence);
    }

    fn is_planned(&self, case: &Case) -> bool {
        let is_of = |system| self.plan.contains(&case.by(system));
        is_of(&case.system) || !is_ours(&case.system) && is_of(A_PEER)
    }

    /// In how many of the planned cases that a claim is about something was found, and how many there are.
    fn coverage<'c>(
        &self,
        found: impl Iterator<Item = &'c Case>,
        is_about: impl Fn(&Case) -> bool,
    ) -> (usize, usize) {
        let planned = self.plan.iter().filter(|case| is_about(case));
        let planned: BTreeSet<Case> = planned.map(Case::of_any_session).collect();
        let found: BTreeSet<Case> = found.map(Case::of_any_session).collect();
        (planned.intersection(&found).count(), planned.len())
    }

    fn failed(&self, is_about: impl Fn(&Case) -> bool) -> usize {
        let failed = self.records.iter().filter(|record| record.failure.is_some());
        failed.filter(|record| is_about(&Case::of(record))).count()
    }

    fn claim(&mut self, item: u32, text: &str, asked: Bound, evidence: Evidence) {
        let Evidence { found, cases: (at, of), alone, failed, all_must_end_well } = evidence;
        // Nothing was shown of those that stand alone.
        let cases = (at, of + alone);
        let is_broken = all_must_end_well && failed > 0;
        let worst = found
            .into_iter()
            .reduce(|worst, next| if asked.is_worse(next.0, worst.0) { next } else { worst });
        let (measured, at) = worst.map_or((None, None), |(value, at)| (Some(value), Some(at)));
        let alone = (alone > 0).then(|| format!("{alone} with nothing beside them at their distance"));
        let failed = (failed > 0).then(|| format!("{failed} runs failed"));
        let at = [at, alone, failed].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let text = text.to_owned();
        self.claims.push(Claim { item, text, asked, measured, at, cases, is_broken });
    }
}

/// Of sessions that compare the same the median, because that is not pooled, and where it is from.
fn over_sessions(found: Vec<(&Case, f64)>) -> Vec<(f64, String)> {
    let mut sessions: BTreeMap<Case, Vec<f64>> = BTreeMap::new();
    for (case, value) in found {
        sessions.entry(Case { session: String::new(), ..case.clone() }).or_default().push(value);
    }
    let combined = sessions.into_iter().filter_map(|(case, values)| {
        let several = match values.len() {
            1 => String::new(),
            several => format!(", median of {several} sessions"),
        };
        Some((median(values)?, format!("{}{several}", describe(&case))))
    });
    combined.collect()
}

/// Where a figure is from.
fn describe(case: &Case) -> String {
    let distance = match case.distance {
        Some(Distance::Near) => ", near",
        Some(Distance::Far) => ", far",
        Some(Distance::Moved) => ", moved",
        None => "",
    };
    let rate = case.rate_chz.map_or(String::new(), |rate| format!(", {} Hz", rate / 100));
    format!("{}, {}{distance}{rate}", super::page::size(case.len), case.placement)
}

#[cfg(test)]
mod tests {
    use super::super::asked::all;
    use super::*;
    use crate::placement::Placement::{self, Apart, Free, Hosts, Same};
    use crate::record::Kind;
    use crate::sample::Touch;

    const PARK: &str = "zerodds-loan-park";
    const FUTEX: &str = "ideal-loan-futex";

    fn run(system: &str, kind: Kind, placement: Placement, len: usize, figures: Figures) -> Record {
        Record {
            session: "one".to_owned(),
            kind,
            system: system.to_owned(),
            len,
            touch: Touch::Full,
            placement,
            writers: 1,
            readers: 1,
            rate_hz: None,
            run: 0,
            probe_before_ns: None,
            probe_after_ns: None,
            distance: (placement == Apart).then_some(Distance::Near),
            spins: false,
            figures,
            failure: None,
        }
    }

    /// Latencies at 64 B.
    fn latencies(p50s: &[(&str, Placement, f64)]) -> Vec<Record> {
        let latency = |&(system, placement, p50_us): &(&str, Placement, f64)| {
            let figures = Figures { p50_us: Some(p50_us), ..Figures::default() };
            run(system, Kind::Latency, placement, 64, figures)
        };
        p50s.iter().map(latency).collect()
    }

    fn stream(system: &str, placement: Placement, len: usize, lost: u64) -> Record {
        let rate = (Some(100.0), Some(1.0));
        let figures =
            Figures { messages_per_s: rate.0, cpu_s_per_gb: rate.1, lost: Some(lost), ..Figures::default() };
        run(system, Kind::Throughput, placement, len, figures)
    }

    fn failed(record: &Record) -> Record {
        Record { figures: Figures::default(), failure: Some("damaged".to_owned()), ..record.clone() }
    }

    fn named<'c>(claims: &'c [Claim], text: &str) -> &'c Claim {
        claims.iter().find(|claim| claim.text == text).expect("it is asked")
    }

    #[test]
    fn the_worst_placement_decides_and_it_is_said_in_how_many_something_was_measured() {
        let same = [(PARK, Same, 2.6), (FUTEX, Same, 2.0)];
        let apart = [(PARK, Apart, 2.6), (FUTEX, Apart, 2.0)];
        let bad = [(PARK, Free, 2.61), (FUTEX, Free, 2.0)];
        let half = all(&latencies(&same));
        assert_eq!(
            (half[0].verdict().as_str(), half[1].verdict().as_str()),
            ("met in 1 of 2 cases", "not measured")
        );
        assert_eq!(all(&latencies(&[same, apart].concat()))[0].verdict(), "met");
        let not_met = all(&latencies(&[same, bad].concat()));
        assert_eq!(not_met[0].verdict(), "**not met**");
        assert!(not_met[0].to_string().contains("1.305") && not_met[0].to_string().contains("free"));
    }

    #[test]
    fn sizes_between_those_that_were_measured_are_not_met() {
        let size = |len: usize| {
            latencies(&[(PARK, Same, 2.0), (FUTEX, Same, 2.0)])
                .into_iter()
                .map(move |record| Record { len, ..record })
        };
        let claims = all(&size(16 << 10).chain(size(8 << 20)).collect::<Vec<_>>());
        let large = named(&claims, "loans, 16 KiB to 8 MiB: p50, times the ideal in-place buffer's");
        assert_eq!(large.verdict(), "met in 2 of 12 cases");
    }

    #[test]
    fn what_has_nothing_beside_it_at_its_distance_is_said() {
        let mut runs = latencies(&[(PARK, Apart, 2.0), (FUTEX, Apart, 2.0), (PARK, Apart, 9.0)]);
        runs[2].distance = Some(Distance::Far);
        let claim = &all(&runs)[0];
        assert!(claim.at.ends_with("1 with nothing beside them at their distance"), "{claim}");
        assert_eq!(claim.verdict(), "met in 1 of 3 cases", "near, and neither far nor on one processor");
        runs.remove(1);
        assert_eq!(all(&runs)[0].at, "", "the futex was not in that session");
    }

    #[test]
    fn every_claim_is_about_cases_of_the_full_suite() {
        for claim in all(&[]) {
            assert!(claim.cases.1 > 0 && claim.verdict() == "not measured", "{claim}");
        }
    }

    #[test]
    fn sessions_are_compared_each_with_itself_and_the_median_of_their_ratios_counts() {
        // Pooled, the futex would be the faster one of these: 2.0 beside 4.0.
        let sessions = [("one", 2.0, 2.0), ("two", 4.0, 5.0), ("three", 4.4, 4.0)];
        let of = |(session, park, futex): (&'static str, f64, f64)| {
            latencies(&[(PARK, Same, park), (FUTEX, Same, futex)])
                .into_iter()
                .map(move |record| Record { session: session.to_owned(), ..record })
        };
        let shown = all(&sessions.into_iter().flat_map(of).collect::<Vec<_>>())[0].to_string();
        assert!(shown.contains("1.000") && shown.contains("median of 3 sessions"), "{shown}");
    }

    #[test]
    fn a_verdict_says_how_many_runs_failed() {
        let peer = "zenoh-shm";
        let mut runs = latencies(&[(PARK, Same, 2.0), (FUTEX, Same, 2.0), (peer, Same, 9.0)]);
        runs.extend(runs.clone().iter().map(failed));
        runs.push(Record { distance: Some(Distance::Moved), ..failed(&runs[0]) });
        let claims = all(&runs);
        assert!(claims[0].at.ends_with("; 3 runs failed"), "a ratio: {}", claims[0]);
        assert!(claims[1].at.ends_with("; 3 runs failed"), "the best of the peers: {}", claims[1]);
        let rest = Figures { cpu_percent: Some(0.01), ..Figures::default() };
        let rest = run(PARK, Kind::Rest, Apart, 64, rest);
        let claims = all(&[failed(&rest), rest]);
        let idle = named(&claims, "idle processor time, waiting by Park, percent");
        assert!(idle.at.ends_with("; 1 runs failed"), "a figure as it is: {idle}");
    }

    #[test]
    fn a_run_that_failed_is_not_one_without_loss_nor_does_a_loss_end_where_processors_moved() {
        let lost = |runs: &[Record]| {
            let claims = all(runs);
            let claim = named(&claims, "zerodds-loan-park: messages lost");
            (claim.verdict(), claim.value())
        };
        let good = stream(PARK, Apart, 64, 0);
        let (verdict, _) = lost(std::slice::from_ref(&good));
        assert!(verdict.starts_with("met in 1 of "), "{verdict}");
        let not_met = |value: &str| ("**not met**".to_owned(), value.to_owned());
        assert_eq!(lost(&[good.clone(), failed(&good)]), not_met("0.000"));
        assert_eq!(lost(&[failed(&good)]), not_met("–"));
        let moved = Record { distance: Some(Distance::Moved), ..stream(PARK, Apart, 64, 3) };
        assert_eq!(lost(&[good, moved]), not_met("3.000"));
    }

    #[test]
    fn what_goes_between_hosts_counts_for_that_alone_and_a_crowd_by_its_p99() {
        let member = |system: &str, p99_us, load| {
            let figures = Figures { p99_us: Some(p99_us), machine_percent: Some(load), ..Figures::default() };
            let (writers, readers) = crate::crew::Shape::Crowd(crate::crowd::PROCESSES).ends();
            Record { writers, readers, ..run(system, Kind::Crowd, Free, 64, figures) }
        };
        let mut ours = stream("dust", Hosts, 1 << 20, 1);
        ours.figures.messages_per_s = Some(149.0);
        let mut plain = stream("plain-dust-65000", Hosts, 1 << 20, 0);
        plain.figures.cpu_s_per_gb = Some(1.1);
        let claims = all(&[ours, plain, member("rustdds-views", 200.0, 51.0), member(FUTEX, 100.0, 51.0)]);
        let of = |item| -> Vec<_> {
            claims.iter().filter(|claim| claim.item == item).map(Claim::verdict).collect()
        };
        assert_eq!(of(9), ["not measured", "not measured"]);
        assert_eq!(of(10), ["**not met**", "**not met**", "met"]);
        assert_eq!(of(11), ["met", "**not met**"]);
    }

    #[test]
    fn the_best_peer_that_waits_is_the_one_to_be_below_of() {
        let ours = (PARK, Same, 2.0);
        let slow = ("zenoh-shm", Same, 60.0);
        let quick = ("aeron-ipc", Same, 1.9);
        assert_eq!(all(&latencies(&[ours, slow]))[1].verdict(), "met in 1 of 2 cases");
        assert_eq!(all(&latencies(&[ours, slow, quick]))[1].verdict(), "**not met**");
        let mut spinning = latencies(&[ours, slow, quick, ("aeron-ipc", Apart, 0.2)]);
        spinning[3].spins = true;
        let verdict = all(&spinning)[1].verdict();
        assert_eq!(verdict, "met in 1 of 2 cases", "who spins on two processors does not wait on one");
    }
}
