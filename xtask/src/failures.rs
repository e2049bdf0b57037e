//! The catalogue of failures: the table of docs/failures.md, each row run by the tests that it names.
//!
//! ```text
//!   | # | failure | here | tests | command |
//!   | 7 | ...     | ...  | `package::binary::path`, more of them if need be | ... |
//! ```
//! The table is the source, so that what it says and what is run cannot come apart.

use crate::suite::{Suite, TestName, Verdict};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the table is.
pub const PAGE: &str = "docs/failures.md";
/// How many rows it has.
pub const ROWS: u32 = 60;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// From 1.
    pub number: u32,
    /// What went wrong elsewhere, in a few words.
    pub failure: String,
    /// What shows that it does not go wrong here; none yet where the cell has a dash.
    pub tests: Vec<TestName>,
}

/// The rows of the table in `page`, in order.
///
/// # Errors
/// A row that cannot be read, comes twice or out of order, or is not there.
pub fn rows(page: &str) -> Result<Vec<Row>, String> {
    let rows = page.lines().filter_map(row).collect::<Result<Vec<Row>, String>>()?;
    match (1..=ROWS)
        .zip(rows.iter().map(|row| Some(row.number)).chain(std::iter::repeat(None)))
        .find(|&(expected, found)| found != Some(expected))
    {
        Some((expected, _)) => Err(format!("{PAGE}: row {expected} is not in its place")),
        None if rows.len() != ROWS as usize => Err(format!("{PAGE}: more than {ROWS} rows")),
        None => Ok(rows),
    }
}

/// The row on this line, if it is a line of the table.
fn row(line: &str) -> Option<Result<Row, String>> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let number = cells.next()?.parse().ok()?;
    let [failure, _here, tests] = [cells.next()?, cells.next()?, cells.next()?];
    let tests: Result<Vec<TestName>, String> = quoted(tests)
        .map(|name| TestName::parse(name).ok_or_else(|| format!("{PAGE}: row {number}: {name:?} is no test")))
        .collect();
    Some(tests.map(|tests| Row { number, failure: failure.to_owned(), tests }))
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Runs the tests of all rows, or of `only` those; prints a line for each row and says whether all passed. A test that
/// passed in the run of `cargo test` that printed `log` is not run again: it must be one of the sources as they are.
///
/// # Errors
/// A table or a log that cannot be read, a number that is no row, or what Cargo says.
pub fn run(root: &Path, only: &[u32], scale: &str, log: Option<&Path>) -> Result<bool, Box<dyn Error>> {
    let mut rows = rows(&std::fs::read_to_string(root.join(PAGE))?)?;
    if let Some(stray) = only.iter().find(|number| !(1..=ROWS).contains(number)) {
        return Err(format!("--only {stray}: rows are 1 to {ROWS}").into());
    }
    rows.retain(|row| only.is_empty() || only.contains(&row.number));
    let tests: Vec<TestName> = rows.iter().flat_map(|row| row.tests.clone()).collect();
    let suite = Suite::build(root, &tests)?;
    // What tests print need not be text.
    let log = log.map(std::fs::read).transpose()?.unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if log.contains("SKIPPED") {
        return Err("--log: tests skipped themselves in that run, and passed for it: run them as root".into());
    }
    let passed = suite.passed(&log);
    let (mut good, begun) = (0, Instant::now());
    for row in &rows {
        good += usize::from(run_row(&suite, row, scale, &passed)?);
    }
    println!("{good} of {} rows pass, {} s", rows.len(), begun.elapsed().as_secs());
    Ok(good == rows.len())
}

/// Runs one row and prints it: number, failure, then each test with its verdict.
fn run_row(suite: &Suite, row: &Row, scale: &str, passed: &[TestName]) -> Result<bool, Box<dyn Error>> {
    print!("{:>2}  {}", row.number, row.failure);
    if row.tests.is_empty() {
        print!("  MISSING: no test yet");
    }
    let mut good = !row.tests.is_empty();
    for (index, test) in row.tests.iter().enumerate() {
        print!("{}{test}  ", if index == 0 { "  " } else { "\n      " });
        std::io::stdout().flush()?;
        if passed.contains(test) {
            print!("PASS (in the log)");
            continue;
        }
        let begun = Instant::now();
        let verdict = suite.run(test, &[(SCALE, scale)], PATIENCE)?;
        good &= verdict == Verdict::Passed;
        match verdict {
            Verdict::Passed => print!("PASS ({:.1} s)", begun.elapsed().as_secs_f64()),
            Verdict::Missing => print!("MISSING: there is no such test"),
            Verdict::Skipped => print!("SKIPPED: run this as root"),
            Verdict::Failed(printed) => print!("FAIL\n{printed}"),
        }
    }
    println!();
    Ok(good)
}

/// `full` or `small`: how often the tests repeat what the table says they repeat.
const SCALE: &str = "ZERODDS_TEST_SCALE";
/// Bounds a test that hangs; none takes nearly as long, even in full.
const PATIENCE: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: impl Iterator<Item = u32>) -> String {
        let rows = rows.map(|n| format!("| {n} | it | not | `p::b::f{n}`, `p::lib::m::x` | run |\n"));
        format!(
            "# Title\n| # | failure | here | test | command |\n|---|---|---|---|---|\n{}",
            rows.collect::<String>()
        )
    }

    #[test]
    fn every_row_has_its_number_failure_and_tests() {
        let rows = rows(&page(1..=ROWS)).expect("a table");
        assert_eq!((rows.len(), rows[6].number, rows[6].failure.as_str()), (60, 7, "it"));
        let tests: Vec<String> = rows[6].tests.iter().map(ToString::to_string).collect();
        assert_eq!(tests, ["p::b::f7", "p::lib::m::x"]);
    }

    #[test]
    fn a_row_that_is_not_there_or_comes_twice_is_named() {
        let missing = rows(&page((1..=ROWS).filter(|&n| n != 7))).expect_err("row 7 is missing");
        assert!(missing.contains("row 7 "), "{missing}");
        assert!(rows(&page((1..=7).chain(7..=ROWS))).expect_err("twice").contains("row 8 "));
        assert!(rows(&page(1..ROWS)).expect_err("the last").contains("row 60 "));
        assert!(rows(&page(1..=ROWS + 1)).is_err());
    }

    #[test]
    fn a_name_that_is_no_test_is_an_error_and_a_dash_is_none() {
        let bad = page(1..=ROWS).replace("p::b::f9", "f9");
        assert!(rows(&bad).expect_err("no package").contains("\"f9\""));
        let none = page(1..=ROWS).replace("`p::b::f9`, `p::lib::m::x`", "—");
        assert!(rows(&none).expect("a table")[8].tests.is_empty());
    }

    #[test]
    fn the_page_itself_is_a_table_of_sixty() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failures.md");
        assert_eq!(rows(&std::fs::read_to_string(page).expect("the page")).map(|rows| rows.len()), Ok(60));
    }
}
