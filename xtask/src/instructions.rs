//! Instructions of the hot paths, counted by valgrind and compared with what they were.
//!
//! Counts are the same on a busy machine and on a quiet one, so that CI can hold a change against them. Only what happens
//! within `counted` of `benches/src/bin/steps.rs` counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Counts, and compares; or writes down what was counted.
///
/// # Errors
/// Where valgrind is missing, or a program fails.
pub fn run(root: &Path, is_accepted: bool) -> Result<bool, Box<dyn Error>> {
    let path = root.join(FILE);
    let known = parse(&fs::read_to_string(&path).unwrap_or_default())?;
    let steps = build(root)?;
    let mut counted = BTreeMap::new();
    let mut is_good = true;
    println!("{:12} {:>12} {:>12} {:>8}   instructions a turn", "", "were", "are", "");
    for name in STEPS {
        let count = count(&steps, name)?;
        let before = known.get(name).copied();
        let verdict = before.map_or("new", |before| verdict(before, count));
        is_good &= verdict != TOO_MANY && before.is_some();
        let change = before.map_or(String::new(), |before| format!("{:+.1} %", change(before, count)));
        println!("{name:12} {:>12} {count:>12} {change:>8}   {verdict}", before.unwrap_or(0));
        counted.insert(name.to_owned(), count);
    }
    if is_accepted {
        fs::write(&path, text(&counted))?;
        println!("written to {FILE}");
        return Ok(true);
    }
    if !is_good {
        println!("if that is meant to be: cargo xtask instructions --accept, and say why in the commit");
    }
    Ok(is_good)
}

fn build(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = crate::cargo::command();
    cargo.current_dir(root).args(["build", "--release", "--package", "zerodds-benches", "--bin", "steps"]);
    // CI runs this one too: built together, both have the same features of what they depend on, so that it is built once.
    cargo.args(["--package", "largedata", "--bin", "largedata"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let built = cargo.output()?;
    if !built.status.success() {
        return Err(format!("cargo build: {}", built.status).into());
    }
    let messages = String::from_utf8(built.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_steps = message["target"]["name"] == "steps";
        message["executable"].as_str().filter(|_| is_steps).map(PathBuf::from)
    });
    executables.next_back().ok_or_else(|| "cargo built no steps".into())
}

/// Instructions of one turn.
fn count(steps: &Path, name: &str) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*counted*"])
        .arg(steps)
        .args([name, &TURNS.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}; install it (apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    match collected.filter(|&all| output.status.success() && all > TURNS) {
        Some(all) => Ok(all / TURNS),
        None => Err(format!("{name} was not counted ({}): {said}", output.status).into()),
    }
}

fn verdict(before: u64, now: u64) -> &'static str {
    match change(before, now) {
        change if change > MORE_PERCENT_MAX => TOO_MANY,
        change if change < -MORE_PERCENT_MAX => "fewer: accept them, so that they stay",
        _ => "as before",
    }
}

fn change(before: u64, now: u64) -> f64 {
    (now as f64 - before as f64) / before as f64 * 100.0
}

fn parse(text: &str) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parsed = line
                .split_once(" = ")
                .and_then(|(name, count)| Some((name.trim(), count.trim().parse().ok()?)));
            let (name, count) = parsed.ok_or_else(|| format!("{FILE}: {line:?} is not `path = count`"))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

fn text(counted: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "# Instructions of one turn of each hot path (benches/src/bin/steps.rs), optimized, x86-64.\n\
         # `cargo xtask instructions` fails above 10 % more; `--accept` writes this file.\n",
    );
    for (name, count) in counted {
        let _ = writeln!(text, "{name} = {count}");
    }
    text
}

const FILE: &str = "benches/instructions.toml";
const STEPS: [&str; 6] = ["send-64", "send-64KiB", "loan-64KiB", "router-64", "locator", "cdr"];
const TURNS: u64 = 2000;
const MORE_PERCENT_MAX: f64 = 10.0;
const TOO_MANY: &str = "TOO MANY";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_passes_and_anything_above_fails() {
        assert_eq!(verdict(1000, 1100), "as before");
        assert_eq!(verdict(1000, 1101), TOO_MANY);
        assert!(verdict(1000, 800).starts_with("fewer"));
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_not_understood_is_said() {
        let counted = BTreeMap::from([("a".to_owned(), 7), ("b-1".to_owned(), 900)]);
        assert_eq!(parse(&text(&counted)).expect("written so"), counted);
        assert!(parse("a 7").expect_err("no =").to_string().contains("\"a 7\""));
    }
}
