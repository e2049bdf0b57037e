//! What is asked of this project, what was measured, and the verdict: computed from medians of one run, at equal
//! placement and distance only. Of several cases the worst counts.

use super::super::suite::is_ours;
use crate::median::{Case, Medians};
use crate::placement::Placement;
use crate::probe::Distance;
use crate::record::{Figures, Kind};
use std::collections::BTreeSet;
use std::fmt;

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
}

impl Bound {
    /// As precisely as it is shown.
    fn holds(self, value: f64) -> bool {
        let value = (value * 1000.0).round() / 1000.0;
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Below(bound) => value < bound,
        }
    }

    fn is_worse(self, value: f64, than: f64) -> bool {
        match self {
            Self::AtMost(_) | Self::Below(_) => value > than,
            Self::AtLeast(_) => value < than,
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
type Field = fn(&Figures) -> Option<f64>;

struct Sheet<'a> {
    medians: &'a Medians,
    claims: Vec<Claim>,
}

/// All of them, in order.
pub(super) fn all(medians: &Medians) -> Vec<Claim> {
    let mut sheet = Sheet { medians, claims: Vec::new() };
    sheet.latency();
    sheet.throughput();
    sheet.rest();
    sheet.stacks();
    sheet.hosts();
    sheet.crowd();
    sheet.rustdds_and_the_rings();
    sheet.claims
}

impl Sheet<'_> {
    fn latency(&mut self) {
        let full = |case: &Case| case.kind == Kind::Latency && case.rate_chz.is_none() && case.is_touched;
        let small = move |case: &Case| full(case) && case.len == 64;
        let large = move |case: &Case| full(case) && (16 << 10..=8 << 20).contains(&case.len);
        let rare = |case: &Case| case.kind == Kind::Latency && case.rate_chz == Some(1000) && case.is_touched;
        let apart = move |case: &Case| small(case) && case.placement == Placement::Apart;
        let same = move |case: &Case| small(case) && case.placement == Placement::Same;
        let (park, adaptive) = ("zerodds-loan-park", "zerodds-loan-adaptive");
        let p50: Field = |figures| figures.p50_us;
        let tail: Field = |figures| Some(figures.p99_us? / figures.p50_us?);
        self.ratio(
            1,
            "p50 at 64 B, times the raw futex's",
            Bound::AtMost(1.3),
            (park, "ideal-loan-futex"),
            p50,
            small,
        );
        self.peers(1, "p50 at 64 B, times the best of the peers that wait", park, p50, small);
        self.ratio(
            1,
            "adaptive, two processors: p50 at 64 B, times raw spinning's",
            Bound::AtMost(3.0),
            (adaptive, "ideal-loan-spin"),
            p50,
            apart,
        );
        self.ratio(
            1,
            "adaptive, one processor: p50 at 64 B, times Park's",
            Bound::AtMost(1.0),
            (adaptive, park),
            p50,
            same,
        );
        self.ratio(
            2,
            "loans, 16 KiB to 8 MiB: p50, times the ideal in-place buffer's",
            Bound::AtMost(1.15),
            (park, "ideal-loan-futex"),
            p50,
            large,
        );
        self.ratio(
            2,
            "copies, 16 KiB to 8 MiB: p50, times the ideal copying buffer's",
            Bound::AtMost(1.15),
            ("zerodds-copy-park", "ideal-copy-futex"),
            p50,
            large,
        );
        let untouched: Vec<_> = self
            .cases(park)
            .filter(|case| case.kind == Kind::Latency && !case.is_touched && case.len == 8 << 20)
            .collect();
        let flat = untouched.into_iter().filter_map(|case| {
            let base = self.medians.at(&Case { len: 64, ..case.clone() })?.p50_us?;
            Some((self.medians.at(&case)?.p50_us? / base, describe(&case)))
        });
        let flat = flat.collect();
        self.claim(2, "untouched: p50 at 8 MiB, times that at 64 B", Bound::AtMost(1.1), flat);
        self.ratio(
            3,
            "p99/p50 at 64 B, times the raw futex's",
            Bound::AtMost(1.3),
            (park, "ideal-loan-futex"),
            tail,
            small,
        );
        self.ratio(
            3,
            "p50 at 64 B and 10 Hz, times the raw futex's",
            Bound::AtMost(1.3),
            (park, "ideal-loan-futex"),
            p50,
            rare,
        );
    }

    fn throughput(&mut self) {
        let stream = |case: &Case| case.kind == Kind::Throughput && case.readers == 1 && case.writers == 1;
        let small = move |case: &Case| stream(case) && case.len == 64 && case.placement == Placement::Apart;
        let large = move |case: &Case| stream(case) && case.len >= 64 << 10;
        let rate: Field = |figures| figures.messages_per_s;
        let park = "zerodds-loan-park";
        self.value(
            4,
            "messages/s at 64 B on two processors, in millions",
            Bound::AtLeast(12.0),
            park,
            |figures| Some(figures.messages_per_s? / 1e6),
            small,
        );
        self.ratio(
            4,
            "messages/s at 64 B on two processors, times Aeron IPC's",
            Bound::AtLeast(1.0),
            (park, "aeron-ipc"),
            rate,
            small,
        );
        self.ratio(
            4,
            "messages/s at 64 B on two processors, times iceoryx2's",
            Bound::AtLeast(10.0),
            (park, "iceoryx2-event"),
            rate,
            small,
        );
        self.ratio(
            4,
            "throughput with loans from 64 KiB, times the ideal ring's",
            Bound::AtLeast(0.9),
            (park, "ideal-loan-futex"),
            rate,
            large,
        );
        self.ratio(
            4,
            "throughput with copies from 64 KiB, times the ideal ring's",
            Bound::AtLeast(0.9),
            ("zerodds-copy-park", "ideal-copy-futex"),
            rate,
            large,
        );
        let lost: Field = |figures| figures.lost.map(|lost| lost as f64);
        self.value(4, "messages lost", Bound::AtMost(0.0), park, lost, move |case| {
            case.kind == Kind::Throughput
        });
        let fan = |case: &Case| case.kind == Kind::Throughput && case.readers == 3 && case.len == 1 << 20;
        self.ratio(
            5,
            "fan-out to 3 at 1 MiB, times the ideal ring's aggregate",
            Bound::AtLeast(0.9),
            (park, "ideal-loan-futex"),
            rate,
            fan,
        );
    }

    fn rest(&mut self) {
        let rest = |case: &Case| case.kind == Kind::Rest;
        self.value(
            6,
            "idle processor time, waiting by Park, percent",
            Bound::Below(0.1),
            "zerodds-loan-park",
            |figures| figures.cpu_percent,
            rest,
        );
        self.value(
            6,
            "the same, adaptive",
            Bound::Below(0.1),
            "zerodds-loan-adaptive",
            |figures| figures.cpu_percent,
            rest,
        );
        for (shared, plain, stack) in
            [("rustdds-views", "plain-rustdds", "RustDDS"), ("dust", "plain-dust-65000", "Dust DDS")]
        {
            let of = |name: &str| {
                let case = self.cases(name).find(rest)?;
                Some((self.medians.at(&case)?.rss_kib? as f64 / 1024.0, describe(&case)))
            };
            let above = of(shared).zip(of(plain)).map(|((with, at), (without, _))| (with - without, at));
            let text = format!("resident memory of an idle participant above {stack}'s own, MiB");
            self.claim(6, &text, Bound::Below(2.0), above.into_iter().collect());
        }
    }

    fn stacks(&mut self) {
        let full = |case: &Case| case.kind == Kind::Latency && case.rate_chz.is_none() && case.is_touched;
        let any = |case: &Case| case.kind == Kind::Latency && case.is_touched && case.len == 64;
        let p50: Field = |figures| figures.p50_us;
        let rate: Field = |figures| figures.messages_per_s;
        let large = move |case: &Case| full(case) && [1 << 20, 8 << 20].contains(&case.len);
        self.ratio(
            7,
            "RustDDS, loans and views, 1 and 8 MiB: p50, times zenoh shm's",
            Bound::Below(1.0),
            ("rustdds-views", "zenoh-shm"),
            p50,
            large,
        );
        self.ratio(
            7,
            "the same, times published ZeroDDS's, tuned",
            Bound::Below(1.0),
            ("rustdds-views", "published-zerodds-dds-tuned"),
            p50,
            large,
        );
        // p50 in µs of Fast DDS with data sharing and of Cyclone with iceoryx, and the limit on one processor, all of another
        // run on a machine of this kind.
        for (len, fast, cyclone, limit) in [(1 << 20, 99.0, 66.0, 21.0), (8 << 20, 493.0, 796.0, 310.0)] {
            let times = |p50: f64| (p50 / limit * 100.0).round() / 100.0;
            let text = format!(
                "RustDDS, loans and views, {}: p50, times the ideal in-place buffer's (not the same run: Fast DDS {}, Cyclone {})",
                super::page::size(len),
                times(fast),
                times(cyclone)
            );
            let one = move |case: &Case| full(case) && case.len == len && case.placement == Placement::Same;
            let pair = ("rustdds-views", "ideal-loan-futex");
            self.ratio(7, &text, Bound::Below(times(fast.min(cyclone))), pair, p50, one);
        }
        self.ratio(
            8,
            "RustDDS at 64 B, full rate and 10 Hz: p50, times plain RustDDS's",
            Bound::AtMost(1.0),
            ("rustdds-views", "plain-rustdds"),
            p50,
            any,
        );
        self.ratio(
            8,
            "Dust DDS at 64 B, full rate and 10 Hz: p50, times plain Dust's",
            Bound::AtMost(1.0),
            ("dust", "plain-dust-65000"),
            p50,
            any,
        );
        let dust = |case: &Case| {
            [1 << 20, 4 << 20].contains(&case.len) && case.readers == 1 && case.placement != Placement::Hosts
        };
        self.ratio(
            9,
            "Dust DDS at 1 and 4 MiB: throughput, times plain Dust's at its best",
            Bound::AtLeast(2.5),
            ("dust", "plain-dust-65000"),
            rate,
            move |case| case.kind == Kind::Throughput && dust(case),
        );
        self.ratio(9, "the same: p50", Bound::AtMost(0.4), ("dust", "plain-dust-65000"), p50, move |case| {
            full(case) && dust(case)
        });
    }

    fn rustdds_and_the_rings(&mut self) {
        let rate: Field = |figures| figures.messages_per_s;
        let from_a_mebibyte = |case: &Case| {
            case.kind == Kind::Throughput && case.readers == 1 && case.writers == 1 && case.len >= 1 << 20
        };
        self.ratio(
            12,
            "RustDDS with loans and views from 1 MiB: throughput, times the ideal ring's",
            Bound::AtLeast(0.6),
            ("rustdds-views", "ideal-loan-futex"),
            rate,
            from_a_mebibyte,
        );
        self.ratio(
            12,
            "RustDDS with copies from 1 MiB: throughput, times the ideal copying ring's",
            Bound::AtLeast(0.3),
            ("rustdds-copies", "ideal-copy-futex"),
            rate,
            from_a_mebibyte,
        );
    }

    fn hosts(&mut self) {
        let hosts = |case: &Case| case.placement == Placement::Hosts && case.len == 1 << 20;
        let plain = ("dust", "plain-dust-65000");
        self.ratio(
            10,
            "UDP between network namespaces at 1 MiB: times plain Dust's throughput at its best",
            Bound::AtLeast(1.5),
            plain,
            |figures| figures.messages_per_s,
            hosts,
        );
        let lost: Field = |figures| figures.lost.map(|lost| lost as f64);
        self.value(10, "the same: messages lost", Bound::AtMost(0.0), plain.0, lost, hosts);
        self.ratio(
            10,
            "the same: processor time for a GB, times plain Dust's",
            Bound::Below(1.0),
            plain,
            |figures| figures.cpu_s_per_gb,
            hosts,
        );
    }

    fn crowd(&mut self) {
        let crowd = |case: &Case| case.kind == Kind::Crowd && case.len == 64;
        let system = "rustdds-views";
        self.ratio(
            11,
            "64 endpoints in 16 processes under load: p99 at 64 B, times the raw futex's",
            Bound::AtMost(2.0),
            (system, "ideal-loan-futex"),
            |figures| figures.p99_us,
            crowd,
        );
        self.value(
            11,
            "that load, percent of all processors",
            Bound::AtMost(50.0),
            system,
            |figures| figures.machine_percent,
            crowd,
        );
    }

    fn cases<'b>(&'b self, system: &'b str) -> impl Iterator<Item = Case> + 'b {
        self.medians.0.keys().filter(move |case| case.system == system).cloned()
    }

    /// One system's figure as a multiple of another's.
    fn ratio(
        &mut self,
        item: u32,
        text: &str,
        asked: Bound,
        (system, base): (&str, &str),
        field: Field,
        fits: impl Fn(&Case) -> bool,
    ) {
        let found = self.cases(system).filter(fits).filter_map(|case| {
            let base = field(self.medians.at(&case.by(base))?)?;
            Some((field(self.medians.at(&case)?)? / base, describe(&case)))
        });
        let found = found.collect();
        self.claim(item, text, asked, found);
    }

    /// The same against the best of the systems that are not ours and wait without spinning, wherever they were measured:
    /// two that yield to each other on one processor seem to wait.
    fn peers(&mut self, item: u32, text: &str, system: &str, field: Field, fits: impl Fn(&Case) -> bool) {
        let all = self.medians.0.iter();
        let spinning: BTreeSet<&str> =
            all.filter(|(_, median)| median.spins).map(|(case, _)| case.system.as_str()).collect();
        let found = self.cases(system).filter(fits).filter_map(|case| {
            let others = self.medians.0.iter().filter(|(other, _)| {
                **other == case.by(&other.system)
                    && !is_ours(&other.system)
                    && !spinning.contains(other.system.as_str())
            });
            let best = others.filter_map(|(other, median)| Some((field(&median.figures)?, &other.system)));
            let (best, by) = best.min_by(|one, other| one.0.total_cmp(&other.0))?;
            Some((field(self.medians.at(&case)?)? / best, format!("{}, {by}", describe(&case))))
        });
        let found = found.collect();
        self.claim(item, text, Bound::Below(1.0), found);
    }

    /// A figure as it is.
    fn value(
        &mut self,
        item: u32,
        text: &str,
        asked: Bound,
        system: &str,
        field: Field,
        fits: impl Fn(&Case) -> bool,
    ) {
        let found = self.cases(system).filter(fits);
        let found =
            found.filter_map(|case| Some((field(self.medians.at(&case)?)?, describe(&case)))).collect();
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
    use super::*;
    use crate::median::Median;

    fn case(system: &str, kind: Kind, placement: Placement, len: usize) -> Case {
        Case {
            kind,
            placement,
            distance: None,
            writers: 1,
            readers: 1,
            rate_chz: None,
            is_touched: true,
            len,
            system: system.to_owned(),
        }
    }

    fn medians(p50s: &[(&str, Placement, f64)]) -> Medians {
        let median = |p50_us| Median {
            figures: Figures { p50_us: Some(p50_us), ..Figures::default() },
            runs: 1,
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
    fn what_goes_between_hosts_counts_for_that_alone_and_a_crowd_by_its_p99() {
        let stream = |system: &str, messages_per_s, cpu_s_per_gb, lost| {
            let figures = Figures {
                messages_per_s: Some(messages_per_s),
                cpu_s_per_gb: Some(cpu_s_per_gb),
                lost: Some(lost),
                ..Figures::default()
            };
            let median = Median { figures, runs: 1, spins: false };
            (case(system, Kind::Throughput, Placement::Hosts, 1 << 20), median)
        };
        let member = |system: &str, p99_us, load| {
            let figures = Figures { p99_us: Some(p99_us), machine_percent: Some(load), ..Figures::default() };
            let median = Median { figures, runs: 1, spins: false };
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
