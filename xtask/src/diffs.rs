//! Diffs in the papers, between two programs that are there.
//!
//! ~~~text
//!   <!-- diff: examples/before.rs examples/after.rs -->
//!   ```diff
//!    a line of both          without what stands in the first column
//!   -a line of the first
//!   +a line of the second
//!   ```
//! ~~~
//! Such a diff has every line of both programs but the documentation at their heads, so what the paper shows is compiled.

use crate::Finding;
use std::path::Path;

/// Diffs that do not turn the one program into the other.
pub(crate) fn stale(root: &Path, path: &Path, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(MARK) {
        let line = text[..at].lines().count() + 1;
        let mut say = |what: String| found.push(Finding { path: path.to_path_buf(), line, what });
        let Some((programs, diff)) = block(&text[at + MARK.len()..]) else {
            say("no block of a diff between two programs stands under its mark".to_owned());
            continue;
        };
        for (program, other) in [(programs.0, '+'), (programs.1, '-')] {
            match std::fs::read_to_string(root.join(program)) {
                Ok(source) if body(&source).eq(side(diff, other)) => {}
                Ok(_) => say(format!("the diff does not have the lines of {program}")),
                Err(error) => say(format!("{program}: {error}")),
            }
        }
    }
    found
}

/// The names of both programs, and the diff.
fn block(below: &str) -> Option<((&str, &str), &str)> {
    let (names, below) = below.split_once(" -->\n")?;
    let (diff, _) = below.strip_prefix("```diff\n")?.split_once("```")?;
    Some((names.split_once(' ')?, diff))
}

/// The lines of one side: all but those that begin with the other's sign.
fn side(diff: &str, other: char) -> impl Iterator<Item = &str> {
    diff.lines().filter(move |line| !line.starts_with(other)).map(|line| line.get(1..).unwrap_or_default())
}

/// What follows the documentation at the head of a program.
fn body(source: &str) -> impl Iterator<Item = &str> {
    source.lines().skip_while(|line| line.is_empty() || line.starts_with("//!"))
}

const MARK: &str = "<!-- diff: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paper: &str) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("a.rs"), "//! A.\n\nfn one() {}\n\nfn two() {}\n").expect("a file");
        std::fs::write(root.path().join("b.rs"), "//! B.\n\nfn one() {}\n\nfn three() {}\n").expect("a file");
        let found = stale(root.path(), Path::new("p.md"), paper);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_diff_has_every_line_of_both_programs() {
        let diff = "```diff\n fn one() {}\n\n-fn two() {}\n+fn three() {}\n```\n";
        assert!(found(&format!("<!-- diff: a.rs b.rs -->\n{diff}")).is_empty());
        assert!(found(diff).is_empty(), "without a mark it may show what it likes");
        assert_eq!(
            found(&format!("x\n<!-- diff: b.rs b.rs -->\n{diff}")),
            ["p.md:2: the diff does not have the lines of b.rs"]
        );
        assert_eq!(found(&format!("<!-- diff: a.rs c.rs -->\n{diff}")).len(), 1, "a program that is gone");
        assert_eq!(found("<!-- diff: a.rs b.rs -->\n```rust\n```\n").len(), 1);
    }
}
