//! What `largedata compare` found on a user's machine, as a plot: latency against size.

use super::plots::{Lines, chart};
use serde::Deserialize;
use std::error::Error;
use std::path::Path;

/// What it prints with `--json`: one object, or several in another one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Compared {
    Several { comparisons: Vec<Comparison> },
    One(Comparison),
}

#[derive(Deserialize)]
struct Comparison {
    way: String,
    bytes: usize,
    ours: Side,
    baseline: Side,
}

#[derive(Deserialize)]
struct Side {
    stack: String,
    /// None where nothing arrived.
    p50_us: Option<f64>,
}

/// Draws the medians in `json` into a file.
pub(crate) fn draw(json: &str, into: &Path) -> Result<(), Box<dyn Error>> {
    let comparisons = match serde_json::from_str(json)? {
        Compared::Several { comparisons } => comparisons,
        Compared::One(comparison) => vec![comparison],
    };
    let mut lines = Lines::new();
    for comparison in &comparisons {
        let Comparison { way, bytes, ours, baseline } = comparison;
        for (name, side) in [(way, ours), (&baseline.stack, baseline)] {
            let Some(p50_us) = side.p50_us else { continue };
            // The baseline stands beside each of our ways.
            let line = lines.entry(name).or_default();
            let point = (*bytes as f64, p50_us);
            if !line.contains(&point) {
                line.push(point);
            }
        }
    }
    chart(
        into,
        "Latency against size, from publish to the subscriber's hand",
        ("bytes", true),
        "p50, µs",
        lines,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_and_the_stack_as_it_comes_is_a_line() {
        let one = |way: &str, bytes: usize, p50: f64| {
            format!(
                r#"{{"way":"{way}","bytes":{bytes},"runs":3,"ours":{{"stack":"rustdds","mb_per_s":1.0,"p50_us":{p50}}},
                "baseline":{{"stack":"stock-rustdds","mb_per_s":1.0,"p50_us":900.0}},"throughput_ratio":1.0,"p50_ratio":0.1}}"#
            )
        };
        let folder = std::env::temp_dir().join(format!("zerodds-compared-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("latency.svg");
        let both = [
            one("copies", 64, 90.0),
            one("loans", 64, 80.0),
            one("copies", 1 << 20, 300.0),
            one("loans", 1 << 20, 85.0),
        ];
        draw(&format!(r#"{{"comparisons":[{}]}}"#, both.join(",")), &file).expect("it is drawn");
        let drawn = std::fs::read_to_string(&file).expect("a file");
        for word in ["copies", "loans", "stock-rustdds"] {
            assert!(drawn.contains(word), "{word}");
        }
        draw(&one("copies", 64, 90.0), &file).expect("one size is drawn too");
        assert!(draw("nothing", &file).is_err());
        std::fs::remove_dir_all(&folder).expect("it was there");
    }
}
