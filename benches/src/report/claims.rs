//! Verdicts: what is asked beside what was measured. A ratio takes both of its figures from one session, at equal placement
//! and distance; of several sessions with both, the median of their ratios. Of several cases the worst counts.

use super::super::suite::is_ours;
use crate::median::{Case, Medians, median};
use crate::probe::Distance;
use crate::record::Figures;
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
    pub(super) measured: Option<Measured>,
}

/// A figure and where it was worst.
pub(super) struct Measured {
    pub(super) value: f64,
    pub(super) at: String,
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
    pub(super) fn verdict(&self) -> &'static str {
        match &self.measured {
            None => "not measured",
            Some(measured) if self.asked.holds(measured.value) => "met",
            Some(_) => "**not met**",
        }
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
        let (value, at) = match &self.measured {
            Some(Measured { value, at }) => (format!("{value:.3}"), at.as_str()),
            None => ("–".to_owned(), ""),
        };
        write!(
            f,
            "{:2} {:70} {:10} {value:>10} {:12} {at}",
            self.item,
            self.text,
            self.asked.to_string(),
            self.verdict()
        )
    }
}

/// A figure of a case.
pub(super) type Field = fn(&Figures) -> Option<f64>;

/// Claims and what they are judged by.
pub(super) struct Sheet<'a> {
    medians: &'a Medians,
    pub(super) claims: Vec<Claim>,
}

impl<'a> Sheet<'a> {
    /// With no claims yet.
    pub(super) fn of(medians: &'a Medians) -> Self {
        Self { medians, claims: Vec::new() }
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
        let at = |case: &Case| field(self.medians.at(case)?);
        let (mut found, mut failed) = (Vec::new(), BTreeMap::new());
        for case in self.cases(system).filter(|case| fits(case)) {
            let base = base(case);
            for case in [case, &base] {
                let runs = self.medians.0.get(case).map_or(0, |median| median.failed);
                failed.insert(case.clone(), runs);
            }
            found.extend(at(case).zip(at(&base)).map(|(figure, base)| (case, how(figure, base))));
        }
        let mut found = over_sessions(found);
        let failed: usize = failed.into_values().sum();
        if failed > 0 {
            found.iter_mut().for_each(|(_, at)| at.push_str(&format!("; {failed} runs failed")));
        }
        self.claim(item, text, asked, found);
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
        let found = self.cases(system).filter(|case| fits(case)).filter_map(|case| {
            let others = self.medians.0.iter().filter(|(other, _)| {
                **other == case.by(&other.system)
                    && !is_ours(&other.system)
                    && !spinning.contains(other.system.as_str())
            });
            let best = others.filter_map(|(other, median)| Some((field(&median.figures)?, &other.system)));
            let (best, by) = best.min_by(|one, other| one.0.total_cmp(&other.0))?;
            Some((field(self.medians.at(case)?)? / best, format!("{}, {by}", describe(case))))
        });
        let found = found.collect();
        self.claim(item, text, Bound::Below(1.0), found);
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
        let found = self.cases(system).filter(|case| fits(case));
        let found = found.filter_map(|case| Some((field(self.medians.at(case)?)?, describe(case))));
        let found = found.collect();
        self.claim(item, text, asked, found);
    }

    fn claim(&mut self, item: u32, text: &str, asked: Bound, found: Vec<(f64, String)>) {
        let worst = found
            .into_iter()
            .reduce(|worst, next| if asked.is_worse(next.0, worst.0) { next } else { worst });
        let measured = worst.map(|(value, at)| Measured { value, at });
        self.claims.push(Claim { item, text: text.to_owned(), asked, measured });
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
        _ => "",
    };
    let rate = case.rate_chz.map_or(String::new(), |rate| format!(", {} Hz", rate / 100));
    format!("{}, {}{distance}{rate}", super::page::size(case.len), case.placement)
}

#[cfg(test)]
mod tests {
    use super::super::asked::all;
    use super::*;
    use crate::median::Median;
    use crate::placement::Placement;
    use crate::record::Kind;

    fn case(system: &str, kind: Kind, placement: Placement, len: usize) -> Case {
        Case {
            kind,
            placement,
            distance: None,
            writers: 1,
            readers: 1,
            rate_chz: None,
            is_touched: true,
            session: "one".to_owned(),
            len,
            system: system.to_owned(),
        }
    }

    fn medians(p50s: &[(&str, Placement, f64)]) -> Medians {
        let median = |p50_us| Median {
            figures: Figures { p50_us: Some(p50_us), ..Figures::default() },
            runs: 1,
            failed: 0,
            spins: false,
        };
        Medians(
            p50s.iter()
                .map(|&(system, placement, p50)| (case(system, Kind::Latency, placement, 64), median(p50)))
                .collect(),
        )
    }

    #[test]
    fn the_worst_placement_decides_and_what_was_not_measured_is_not_met() {
        let good = [("zerodds-loan-park", Placement::Same, 2.6), ("ideal-loan-futex", Placement::Same, 2.0)];
        let bad = [("zerodds-loan-park", Placement::Free, 2.61), ("ideal-loan-futex", Placement::Free, 2.0)];
        let met = all(&medians(&good));
        assert_eq!((met[0].verdict(), met[1].verdict()), ("met", "not measured"));
        let not_met = all(&medians(&[good, bad].concat()));
        assert_eq!(not_met[0].verdict(), "**not met**");
        assert!(not_met[0].to_string().contains("1.305") && not_met[0].to_string().contains("free"));
    }

    #[test]
    fn sessions_are_compared_each_with_itself_and_the_median_of_their_ratios_counts() {
        // Pooled, the futex would be the faster one of these: 2.0 beside 4.0.
        let sessions = [("one", 2.0, 2.0), ("two", 4.0, 5.0), ("three", 4.4, 4.0)];
        let of = |session: &str, system: &str, p50| {
            let (case, median) = medians(&[(system, Placement::Same, p50)]).0.pop_first().expect("one");
            (Case { session: session.to_owned(), ..case }, median)
        };
        let all = all(&Medians(
            sessions
                .iter()
                .flat_map(|&(session, park, futex)| {
                    [of(session, "zerodds-loan-park", park), of(session, "ideal-loan-futex", futex)]
                })
                .collect(),
        ));
        let shown = all[0].to_string();
        assert!(shown.contains("1.000") && shown.contains("median of 3 sessions"), "{shown}");
    }

    #[test]
    fn a_verdict_says_how_many_runs_failed() {
        let mut some = medians(&[
            ("zerodds-loan-park", Placement::Same, 2.0),
            ("ideal-loan-futex", Placement::Same, 2.0),
        ]);
        some.0.values_mut().for_each(|median| median.failed = 1);
        assert!(all(&some)[0].to_string().contains("2 runs failed"));
    }

    #[test]
    fn what_goes_between_hosts_counts_for_that_alone_and_a_crowd_by_its_p99() {
        let stream = |system: &str, messages_per_s, cpu_s_per_gb, lost| {
            let figures = Figures {
                messages_per_s: Some(messages_per_s),
                cpu_s_per_gb: Some(cpu_s_per_gb),
                lost: Some(lost),
                ..Figures::default()
            };
            let median = Median { figures, runs: 1, failed: 0, spins: false };
            (case(system, Kind::Throughput, Placement::Hosts, 1 << 20), median)
        };
        let member = |system: &str, p99_us, load| {
            let figures = Figures { p99_us: Some(p99_us), machine_percent: Some(load), ..Figures::default() };
            let median = Median { figures, runs: 1, failed: 0, spins: false };
            (case(system, Kind::Crowd, Placement::Free, 64), median)
        };
        let claims = all(&Medians(
            [
                stream("dust", 149.0, 1.0, 1),
                stream("plain-dust-65000", 100.0, 1.1, 0),
                member("rustdds-views", 200.0, 51.0),
                member("ideal-loan-futex", 100.0, 51.0),
            ]
            .into(),
        ));
        let of = |item| -> Vec<_> {
            claims.iter().filter(|claim| claim.item == item).map(Claim::verdict).collect()
        };
        assert_eq!(of(9), ["not measured", "not measured"]);
        assert_eq!(of(10), ["**not met**", "**not met**", "met"]);
        assert_eq!(of(11), ["met", "**not met**"]);
    }

    #[test]
    fn the_best_peer_that_waits_is_the_one_to_be_below_of() {
        let ours = ("zerodds-loan-park", Placement::Same, 2.0);
        let slow = ("zenoh-shm", Placement::Same, 60.0);
        let quick = ("aeron-ipc", Placement::Same, 1.9);
        assert_eq!(all(&medians(&[ours, slow]))[1].verdict(), "met");
        assert_eq!(all(&medians(&[ours, slow, quick]))[1].verdict(), "**not met**");
        let mut spinning = medians(&[ours, slow, quick, ("aeron-ipc", Placement::Apart, 0.2)]);
        let apart = spinning.0.iter_mut().filter(|(case, _)| case.placement == Placement::Apart);
        apart.for_each(|(_, median)| median.spins = true);
        assert_eq!(all(&spinning)[1].verdict(), "met", "who spins on two processors does not wait on one");
    }
}
