//! Sizes, rates and point counts as people write and read them.
//!
//! Parsing accepts what stands in documentation (`64KiB`, `16MiB`, `10000..300000`, `20`, `max`) and every
//! error repeats the value, says what is wrong with it and shows one that works. Printing chooses the unit so
//! that three digits carry the meaning: `6.00 MB`, `412 µs`, `1.25 ms`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;
use zerodds_core::parse_size;

/// A value on the command line that is not what the option takes.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{value:?} is not {wanted}")]
pub(crate) struct QuantityError {
    value: String,
    wanted: &'static str,
}

/// A number of bytes, 0 to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let bytes = parse_size(text).and_then(|bytes| bytes.try_into().ok());
        bytes.filter(|&bytes| bytes <= SIZE_MAX).map(Self).ok_or_else(|| QuantityError {
            value: text.to_owned(),
            wanted: "a size from 0 to 1 GiB: write bytes, or a number with KiB, MiB or GiB, such as 64KiB",
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => write!(f, "{} KiB", bytes >> 10),
            bytes => f.write_str(&bytes_text(bytes as u64)),
        }
    }
}

/// How many points a cloud has: one number, or a range that the samples vary over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Points(pub(crate) RangeInclusive<usize>);

impl FromStr for Points {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let bounds = thousands(low).zip(thousands(high.trim_start_matches('=')));
        bounds
            .filter(|&(low, high)| low <= high && high <= POINTS_MAX)
            .map(|(low, high)| Self(low..=high))
            .ok_or_else(|| QuantityError {
                value: text.to_owned(),
                wanted: "a number of points up to 20 million, or a range of them such as 10k..300k",
            })
    }
}

/// A count such as `12000` or `12k`.
fn thousands(text: &str) -> Option<usize> {
    let text = text.trim();
    match text.strip_suffix(['k', 'K']) {
        Some(thousands) => thousands.trim_end().parse::<usize>().ok()?.checked_mul(1000),
        None => text.parse().ok(),
    }
}

/// How often samples are published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Rate {
    /// So many a second, above 0 and at most a million.
    Hertz(f64),
    /// As fast as the stack takes them.
    Max,
}

impl Rate {
    /// The time between two samples; `None` at full rate.
    pub(crate) fn period(self) -> Option<Duration> {
        match self {
            Self::Hertz(hertz) => Some(Duration::from_secs_f64(1.0 / hertz)),
            Self::Max => None,
        }
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        let hertz: Option<f64> = text.trim_end_matches("Hz").trim().parse().ok();
        hertz.filter(|&hertz| (RATE_MIN..=RATE_MAX).contains(&hertz)).map(Self::Hertz).ok_or_else(|| {
            QuantityError {
                value: text.to_owned(),
                wanted: "a rate: samples per second from 0.01 to 1000000, or max",
            }
        })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hertz(hertz) => write!(f, "{hertz} Hz"),
            Self::Max => f.write_str("full rate"),
        }
    }
}

/// A time in seconds, above 0 and at most a week.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let seconds: Option<f64> = text.trim_end_matches('s').parse().ok();
        seconds
            .filter(|&seconds| seconds > 0.0 && seconds <= SECONDS_MAX)
            .map(|seconds| Self(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| QuantityError {
                value: text.to_owned(),
                wanted: "a time in seconds, above 0 and at most a week, such as 5 or 0.5",
            })
    }
}

/// `bytes` in decimal units, as network and sensor people count them.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", three_digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", three_digits(value / 1e6)),
        _ => format!("{} GB", three_digits(value / 1e9)),
    }
}

/// A duration of `ns` nanoseconds in the unit that suits it.
pub(crate) fn time_text(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000_000 => format!("{} µs", three_digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(value / 1e6)),
        _ => format!("{} s", three_digits(value / 1e9)),
    }
}

/// A count with thousands set apart: `12,345`.
pub(crate) fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A value with three significant digits, and no more decimals than that takes.
pub(crate) fn three_digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

const SIZE_MAX: usize = 1 << 30;
const POINTS_MAX: usize = 20_000_000;
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 1e6;
const SECONDS_MAX: f64 = 7.0 * 24.0 * 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65507", 65_507),
            ("64KiB", 65_536),
            ("16 MiB", 16 << 20),
            ("4m", 4 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_were_asked_for() {
        for (bytes, text) in
            [(0, "0 B"), (64, "64 B"), (65_536, "64 KiB"), (4 << 20, "4 MiB"), (5_000, "5.00 kB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_bad_size_is_named_with_what_is_accepted() {
        for text in ["", "abc", "-1", "1.5MiB", "16XB", "4MB", "1kB", "2GiB", "99999999999999999999", "KiB"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("64KiB"), "{error}");
        }
    }

    #[test]
    fn points_are_one_number_or_a_range() {
        assert_eq!("7".parse(), Ok(Points(7..=7)));
        assert_eq!("10000..300000".parse(), Ok(Points(10_000..=300_000)));
        assert_eq!("10k..300k".parse(), Ok(Points(10_000..=300_000)));
        for text in ["", "..", "9..3", "x..4", "k..4k", "1..99999999", "1..99999999999999999999k"] {
            assert!(text.parse::<Points>().unwrap_err().to_string().contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn a_rate_is_a_number_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("20Hz".parse(), Ok(Rate::Hertz(20.0)));
        for text in ["0", "-3", "NaN", "inf", "fast"] {
            assert!(text.parse::<Rate>().unwrap_err().to_string().contains("max"), "{text}");
        }
    }

    #[test]
    fn quantities_are_printed_with_three_digits() {
        assert_eq!(bytes_text(999), "999 B");
        assert_eq!(bytes_text(6_000_000), "6.00 MB");
        assert_eq!(time_text(412_300), "412 µs");
        assert_eq!(time_text(1_254_000), "1.25 ms");
        assert_eq!(count_text(1_234_567), "1,234,567");
    }
}
