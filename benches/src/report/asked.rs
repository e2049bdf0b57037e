//! What is asked of this project: every claim, its number as in the list of what the outcome is shown by.

use super::claims::{Bound, Claim, Field, Sheet};
use crate::median::Case;
use crate::placement::Placement;
use crate::record::{Kind, Record};
use std::ops::{Div, Sub};

/// All of them, in order.
pub(super) fn all(records: &[Record]) -> Vec<Claim> {
    let mut sheet = Sheet::of(records);
    sheet.latency();
    sheet.throughput();
    sheet.rest();
    sheet.stacks();
    sheet.hosts();
    sheet.crowd();
    sheet.rustdds();
    sheet.rustdds_and_the_rings();
    sheet.claims
}

impl Sheet<'_> {
    fn latency(&mut self) {
        let full = |case: &Case| case.kind == Kind::Latency && case.rate_chz.is_none() && case.is_touched;
        let small = move |case: &Case| full(case) && case.len == 64;
        let large = move |case: &Case| full(case) && (16 << 10..=8 << 20).contains(&case.len);
        let rare = |case: &Case| case.kind == Kind::Latency && case.rate_chz == Some(1000) && case.is_touched;
        let park = "zerodds-loan-park";
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
        self.adaptive(p50, small);
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
        self.compare(
            2,
            "untouched: p50 at 8 MiB, times that at 64 B",
            Bound::AtMost(1.1),
            (park, &|case| Case { len: 64, ..case.clone() }),
            p50,
            f64::div,
            |case| case.kind == Kind::Latency && !case.is_touched && case.len == 8 << 20,
        );
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

    /// What the wait that spins before it sleeps has to be worth.
    fn adaptive(&mut self, p50: Field, small: impl Fn(&Case) -> bool) {
        let apart = |case: &Case| small(case) && case.placement == Placement::Apart;
        let same = |case: &Case| small(case) && case.placement == Placement::Same;
        let (park, adaptive) = ("zerodds-loan-park", "zerodds-loan-adaptive");
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
            1,
            "adaptive: processor time for a message at 10 kHz, times Park's",
            Bound::AtMost(1.25),
            (adaptive, park),
            |figures| Some(figures.cpu_percent? / figures.messages_per_s?),
            |case| case.kind == Kind::Latency && case.rate_chz == Some(1_000_000),
        );
    }

    fn throughput(&mut self) {
        let stream = |case: &Case| case.kind == Kind::Throughput && case.readers == 1 && case.writers == 1;
        let small = move |case: &Case| stream(case) && case.len == 64 && case.placement == Placement::Apart;
        let large = move |case: &Case| stream(case) && case.len >= 64 << 10;
        let rate: Field = |figures| figures.messages_per_s;
        let park = "zerodds-loan-park";
        // Sent as bytes, as Aeron's are too: nobody fills 64 B in place.
        let bytes = "zerodds-copy-park";
        self.value(
            4,
            "messages/s at 64 B on two processors, in millions",
            Bound::AtLeast(12.0),
            bytes,
            |figures| Some(figures.messages_per_s? / 1e6),
            small,
        );
        self.ratio(
            4,
            "messages/s at 64 B on two processors, times Aeron IPC's",
            Bound::Above(1.0),
            (bytes, "aeron-ipc"),
            rate,
            small,
        );
        self.ratio(
            4,
            "messages/s at 64 B on two processors, times iceoryx2's",
            Bound::AtLeast(10.0),
            (bytes, "iceoryx2-event"),
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
        for (number, system) in [(4, park), (4, bytes), (12, "rustdds-views"), (12, "rustdds-copies")] {
            let text = format!("{system}: messages lost");
            self.lost(number, &text, system, |case| case.kind == Kind::Throughput);
        }
        let fan = |case: &Case| case.kind == Kind::Throughput && case.readers == 3 && case.len == 1 << 20;
        self.ratio(
            5,
            "fan-out to 3 at 1 MiB, times the ideal ring's aggregate",
            Bound::AtLeast(0.9),
            (park, "ideal-loan-futex"),
            rate,
            fan,
        );
        self.value(
            5,
            "the same: bytes written for a byte that was sent",
            Bound::AtMost(1.0),
            park,
            |figures| figures.written_per_sent,
            fan,
        );
    }

    fn rest(&mut self) {
        let rest = |case: &Case| case.kind == Kind::Rest && case.readers == 1;
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
            let text = format!("resident memory of an idle participant above {stack}'s own, MiB");
            let base = |case: &Case| case.by(plain);
            let resident: Field = |figures| Some(figures.rss_kib? as f64 / 1024.0);
            self.compare(6, &text, Bound::Below(2.0), (shared, &base), resident, f64::sub, rest);
        }
        let six = |case: &Case| case.kind == Kind::Rest && case.readers == 6;
        let two = |case: &Case| Case { readers: 2, ..case.clone() };
        let one_more = |of_six: f64, of_two: f64| (of_six - of_two) / 4.0;
        let park = ("zerodds-loan-park", &two as &dyn Fn(&Case) -> Case);
        let shared: Field = |figures| figures.rss_shared_kib.map(|kib| kib as f64);
        let fds: Field = |figures| figures.fds.map(|fds| fds as f64);
        let text = "shared memory resident for one more peer to whom nothing was sent, KiB";
        self.compare(6, text, Bound::AtMost(16.0), park, shared, one_more, six);
        self.compare(6, "the same: descriptors", Bound::AtMost(2.0), park, fds, one_more, six);
        for (system, readers, way) in [
            ("zerodds-loan-park", 2, "one way"),
            ("zerodds-loan-park", 1, "both ways"),
            ("rustdds-views", 2, "one way"),
            ("rustdds-views", 1, "both ways"),
            ("dust", 2, "one way"),
            ("dust", 1, "both ways"),
        ] {
            let text = format!("{system}: a link through which messages small and large went {way}, KiB");
            let kib: Field = |figures| figures.link_kib.map(|kib| kib as f64);
            self.value(6, &text, Bound::AtMost(64.0), system, kib, |case| {
                case.kind == Kind::Links && case.readers == readers
            });
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
        for (system, way) in [("rustdds-views", "loans and views"), ("rustdds-copies", "copies")] {
            let text = format!("RustDDS with {way} at 64 B, full rate and 10 Hz: p50, times plain RustDDS's");
            self.ratio(8, &text, Bound::AtMost(1.0), (system, "plain-rustdds"), p50, any);
            let text = format!("RustDDS with {way} at 64 B: throughput, times plain RustDDS's");
            self.ratio(8, &text, Bound::AtLeast(1.0), (system, "plain-rustdds"), rate, |case| {
                case.kind == Kind::Throughput && case.len == 64 && case.readers == 1
            });
        }
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

    /// What RustDDS's own outcome asks beyond that; its latency is from the call that publishes to the sample in the reader's
    /// hand, so without filling and reading it.
    fn rustdds(&mut self) {
        let p50: Field = |figures| figures.p50_us;
        let plain = |case: &Case| case.by("plain-rustdds");
        let handed = |case: &Case| case.kind == Kind::Latency && case.rate_chz.is_none() && !case.is_touched;
        let lower = |ours: f64, plain: f64| plain / ours;
        for (system, way, len, times) in [
            ("rustdds-copies", "copies", 1 << 20, 5.0),
            ("rustdds-copies", "copies", 4 << 20, 7.0),
            ("rustdds-views", "loans and views", 1 << 20, 12.0),
            ("rustdds-views", "loans and views", 4 << 20, 40.0),
        ] {
            let size = super::page::size(len);
            let text = format!("RustDDS with {way}, untouched, {size}: plain RustDDS's p50, times this");
            self.compare(12, &text, Bound::AtLeast(times), (system, &plain), p50, lower, |case| {
                handed(case) && case.len == len
            });
        }
        let views = "rustdds-views";
        let of_64_kib = |case: &Case| Case { len: 64 << 10, ..case.clone() };
        let text = "RustDDS with loans and views, untouched: p50 at 4 MiB, times that at 64 KiB";
        self.compare(12, text, Bound::AtMost(1.3), (views, &of_64_kib), p50, f64::div, |case| {
            handed(case) && case.len == 4 << 20
        });
        let gbit_per_s: Field = |figures| Some(figures.gb_per_s? * 8.0);
        for (readers, gbit) in [(1, 26.0), (3, 44.0)] {
            let text = format!("RustDDS with loans and views: Gbit/s at 4 MiB, 1 to {readers}");
            self.value(12, &text, Bound::AtLeast(gbit), views, gbit_per_s, |case| {
                case.kind == Kind::Throughput && case.len == 4 << 20 && case.readers == readers
            });
        }
        let one = |case: &Case| Case { readers: 1, ..case.clone() };
        let text = "the same: three subscribers' aggregate at 4 MiB, times one's";
        self.compare(12, text, Bound::AtLeast(2.0), (views, &one), gbit_per_s, f64::div, |case| {
            case.kind == Kind::Throughput && case.len == 4 << 20 && case.readers == 3
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
        self.lost(10, "the same: messages lost", plain.0, hosts);
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
}
