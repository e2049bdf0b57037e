//! Every unsafe block with the argument for it, for whoever reviews them in one sitting.

use crate::source::Source;
use std::fmt;
use std::path::PathBuf;

/// One use of `unsafe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The file, relative to the repository.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// That line.
    pub code: String,
    /// The `SAFETY:` comment above it; empty if there is none.
    pub argument: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let argument = if self.argument.is_empty() { "NO ARGUMENT" } else { &self.argument };
        write!(f, "{}:{}: {}\n    {argument}", self.path.display(), self.line, self.code)
    }
}

/// The unsafe blocks of one file, in order.
#[must_use]
pub fn blocks(source: &Source) -> Vec<Block> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let block = |line: usize| Block {
        path: source.path.clone(),
        line,
        code: lines[line - 1].to_owned(),
        argument: argument(&lines[..line - 1]),
    };
    source.lines_with("unsafe").map(block).collect()
}

/// The comment that ends right above, or above the statement that the line belongs to.
fn argument(above: &[&str]) -> String {
    let statement = above.len().saturating_sub(STATEMENT_LINES_MAX);
    let Some(end) = (statement..above.len()).rev().find(|&line| above[line].starts_with("//")) else {
        return String::new();
    };
    let start = (0..=end).rev().take_while(|&line| above[line].starts_with("//")).last().unwrap_or(end);
    let comment: Vec<&str> =
        above[start..=end].iter().map(|line| line.trim_start_matches('/').trim()).collect();
    let comment = comment.join(" ");
    comment.find("SAFETY:").map_or(String::new(), |at| comment[at..].to_owned())
}

/// The comment may stand above a statement whose `unsafe` is on its second line.
const STATEMENT_LINES_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_found_above_the_block_or_its_statement() {
        let text = "// SAFETY: inside,\n// and aligned.\nlet a = unsafe { b() };\n\nlet c =\n    unsafe { d() };\n\
                    // SAFETY: e.\nlet f =\n    unsafe { g() };\n";
        let found = blocks(&Source::new("sys/a.rs", text));
        let arguments: Vec<_> = found.iter().map(|block| (block.line, block.argument.as_str())).collect();
        assert_eq!(arguments, [(3, "SAFETY: inside, and aligned."), (6, ""), (9, "SAFETY: e.")]);
    }
}
