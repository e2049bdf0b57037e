//! Medians over runs, and ratios between systems: what a table shows.

use crate::placement::Placement;
use crate::probe::Distance;
use crate::record::{Figures, Kind, Record};
use std::collections::BTreeMap;

/// What has to be equal for two runs to be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// What was measured.
    pub kind: Kind,
    /// Where the processes ran.
    pub placement: Placement,
    /// How far apart the processors were; `None` on one.
    pub distance: Option<Distance>,
    /// Writers.
    pub writers: u32,
    /// Readers.
    pub readers: u32,
    /// In hundredths of a Hertz; `None`: full rate.
    pub rate_chz: Option<u64>,
    /// Whether the payload was filled and read.
    pub is_touched: bool,
    /// The session: systems that were measured in turns.
    pub session: String,
    /// Bytes of a message.
    pub len: usize,
    /// The system.
    pub system: String,
}

impl Case {
    /// What this record is a run of.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            kind: record.kind,
            placement: record.placement,
            distance: record.distance,
            writers: record.writers,
            readers: record.readers,
            rate_chz: record.rate_hz.map(|rate| (rate * 100.0) as u64),
            is_touched: record.touch == crate::sample::Touch::Full,
            session: record.session.clone(),
            len: record.len,
            system: record.system.clone(),
        }
    }

    /// The same of another system.
    #[must_use]
    pub fn by(&self, system: &str) -> Self {
        Self { system: system.to_owned(), ..self.clone() }
    }

    /// The same, however far apart the processors were.
    #[must_use]
    pub fn near_or_far(&self) -> Self {
        Self { distance: None, ..self.clone() }
    }

    /// The same of whatever session, however far apart the processors were.
    #[must_use]
    pub fn of_any_session(&self) -> Self {
        Self { session: String::new(), ..self.near_or_far() }
    }
}

/// The median of each figure over the runs of each case; runs during which the processors moved are of none.
#[derive(Clone, Debug, Default)]
pub struct Medians(pub BTreeMap<Case, Median>);

/// Figures of one case.
#[derive(Clone, Debug, Default)]
pub struct Median {
    /// The median of each.
    pub figures: Figures,
    /// Over so many runs; those that failed have no figures.
    pub runs: usize,
    /// Whether the system uses processor time while it waits.
    pub spins: bool,
}

impl Medians {
    /// Of these records.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut cases: BTreeMap<Case, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.distance != Some(Distance::Moved)) {
            cases.entry(Case::of(record)).or_default().push(record);
        }
        let median = |runs: Vec<&Record>| {
            let spins = runs.iter().any(|run| run.spins);
            let good = runs.iter().filter(|run| run.failure.is_none());
            let figures: Vec<&Figures> = good.map(|run| &run.figures).collect();
            Median { figures: middle(&figures), runs: figures.len(), spins }
        };
        Self(cases.into_iter().map(|(case, runs)| (case, median(runs))).collect())
    }

    /// The figures of a case.
    #[must_use]
    pub fn at(&self, case: &Case) -> Option<&Figures> {
        self.0.get(case).map(|median| &median.figures)
    }
}

fn middle(runs: &[&Figures]) -> Figures {
    let float =
        |field: fn(&Figures) -> Option<f64>| median(runs.iter().filter_map(|run| field(run)).collect());
    let whole = |field: fn(&Figures) -> Option<u64>| {
        let values = runs.iter().filter_map(|run| Some(field(run)? as f64)).collect();
        median(values).map(|value| value as u64)
    };
    Figures {
        count: whole(|run| run.count),
        p50_us: float(|run| run.p50_us),
        p90_us: float(|run| run.p90_us),
        p99_us: float(|run| run.p99_us),
        p999_us: float(|run| run.p999_us),
        max_us: float(|run| run.max_us),
        messages_per_s: float(|run| run.messages_per_s),
        gb_per_s: float(|run| run.gb_per_s),
        // One lost message in one run is one too many: not a median.
        lost: runs.iter().filter_map(|run| run.lost).max(),
        cpu_s_per_gb: float(|run| run.cpu_s_per_gb),
        cpu_percent: float(|run| run.cpu_percent),
        machine_percent: float(|run| run.machine_percent),
        pace_hz: float(|run| run.pace_hz),
        faults_per_message: float(|run| run.faults_per_message),
        switches_per_message: float(|run| run.switches_per_message),
        written_per_sent: float(|run| run.written_per_sent),
        calls_in_turn: float(|run| run.calls_in_turn),
        calls_in_stream: float(|run| run.calls_in_stream),
        link_kib: whole(|run| run.link_kib),
        rss_shared_kib: whole(|run| run.rss_shared_kib),
        rss_kib: whole(|run| run.rss_kib),
        fds: whole(|run| run.fds),
        threads: whole(|run| run.threads),
    }
}

/// The middle one; of an even number of values what lies halfway between the two.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[half - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Touch;

    fn record(session: &str, run: u32, p50_us: f64, distance: Distance) -> Record {
        Record {
            kind: Kind::Latency,
            session: session.to_owned(),
            system: "a".to_owned(),
            len: 64,
            touch: Touch::Full,
            placement: Placement::Apart,
            writers: 1,
            readers: 1,
            rate_hz: None,
            run,
            probe_before_ns: Some(50.0),
            probe_after_ns: Some(50.0),
            distance: Some(distance),
            spins: false,
            figures: Figures { p50_us: Some(p50_us), lost: Some(u64::from(run == 1)), ..Figures::default() },
            failure: None,
        }
    }

    #[test]
    fn near_and_far_are_never_mixed_and_what_moved_does_not_count() {
        let records = [
            record("one", 0, 3.0, Distance::Near),
            record("one", 1, 1.0, Distance::Near),
            record("one", 2, 2.0, Distance::Near),
            record("one", 3, 70.0, Distance::Far),
            record("one", 4, 500.0, Distance::Moved),
        ];
        let medians = Medians::of(&records);
        let seen: Vec<_> = medians
            .0
            .iter()
            .map(|(case, median)| (case.distance, median.figures.p50_us, median.runs, median.figures.lost))
            .collect();
        assert_eq!(
            seen,
            [(Some(Distance::Near), Some(2.0), 3, Some(1)), (Some(Distance::Far), Some(70.0), 1, Some(0))]
        );
    }

    #[test]
    fn runs_of_two_sessions_never_meet_in_one_median() {
        let records = [record("one", 0, 3.0, Distance::Near), record("other", 0, 9.0, Distance::Near)];
        let medians = Medians::of(&records);
        let seen: Vec<_> = medians.0.values().map(|median| median.figures.p50_us).collect();
        assert_eq!(seen, [Some(3.0), Some(9.0)]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 100.0, 2.0, 1.0]), Some(3.0));
    }

    #[test]
    fn runs_that_failed_have_no_figures() {
        let failed = Record { failure: Some("never".to_owned()), ..record("one", 1, 0.0, Distance::Near) };
        let medians = Medians::of(&[record("one", 0, 3.0, Distance::Near), failed]);
        let seen: Vec<_> = medians.0.values().map(|median| (median.figures.p50_us, median.runs)).collect();
        assert_eq!(seen, [(Some(3.0), 1)]);
    }
}
