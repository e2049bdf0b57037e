//! What programs say, as the papers quote it.
//!
//! ~~~text
//!   | denied | UDP: <!-- said -->`a thread: Resource temporarily unavailable (os error 11)` |
//!
//!   <!-- said -->
//!   ```text
//!   limited  descriptors    64 of them: room for about 21 peers of one participant
//!   ```
//! ~~~
//! Values stand in a quotation where the source has `{}`, and one message in another. So it is cut at whatever may be a value or a
//! seam: a word with a digit, a quote, `=` or `...` in it, a colon or semicolon, two spaces. What the system says is left out. Each part of
//! two words or more must stand in a source, tests, comments and these chores excepted.

use crate::Finding;
use crate::source::Source;
use std::path::Path;

/// Everything that programs say, tests and these chores excepted.
pub(crate) struct Spoken(String);

impl Spoken {
    /// What stands in these sources.
    pub(crate) fn of(sources: &[Source]) -> Self {
        let is_program = |source: &&Source| {
            let mut parts = source.path.iter();
            !source.path.starts_with("xtask")
                && parts.by_ref().any(|part| part == "src")
                && !parts.any(|part| part == "tests" || part == "tests.rs")
        };
        let texts = sources.iter().filter(is_program).map(|source| {
            let program = source.text.split("\nmod tests {").next().unwrap_or_default();
            // A literal goes on behind a backslash, at the next line's first word.
            let lines = program.lines().map(str::trim).filter(|line| !line.starts_with("//"));
            let lines = lines.map(|line| match line.strip_suffix('\\') {
                Some(goes_on) => goes_on.to_owned(),
                None => format!("{line}\n"),
            });
            lines.collect::<String>()
        });
        Self(texts.collect())
    }

    /// Quotations on this page that nothing says.
    pub(crate) fn unsaid(&self, path: &Path, text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        for (at, _) in text.match_indices(MARK) {
            let line = text[..at].matches('\n').count() + 1;
            let mut say = |what: String| found.push(Finding { path: path.to_path_buf(), line, what });
            let Some(quoted) = quotation(&text[at + MARK.len()..]) else {
                say("neither code nor a block of text stands behind the mark".to_owned());
                continue;
            };
            for part in parts(quoted).filter(|part| !self.0.contains(part)) {
                say(format!("nothing says `{part}`"));
            }
        }
        found
    }
}

/// What is marked.
fn quotation(behind: &str) -> Option<&str> {
    if let Some(code) = behind.strip_prefix('`') {
        return code.split_once('`').map(|(quoted, _)| quoted);
    }
    let block = behind.trim_start().strip_prefix("```text\n")?;
    block.split_once("```").map(|(quoted, _)| quoted)
}

/// The parts of it that stand in a source as they are.
fn parts(quoted: &str) -> impl Iterator<Item = String> {
    let mut parts: Vec<Vec<&str>> = Vec::new();
    for run in quoted.split(['\n']).flat_map(|line| line.trim().split("  ")) {
        parts.push(Vec::new());
        for word in run.split_whitespace() {
            let is_value =
                word.contains(|c: char| c.is_ascii_digit() || "\"=".contains(c)) || word.contains("...");
            match parts.last_mut() {
                Some(part) if !is_value => part.push(word.trim_end_matches([':', ';'])),
                _ => {}
            }
            if is_value || word.ends_with([':', ';']) {
                parts.push(Vec::new());
            }
        }
    }
    let of_system = |part: &[&str]| part.ends_with(&["(os", "error"]);
    parts.into_iter().filter(move |part| part.len() > 1 && !of_system(part)).map(|part| {
        let part = part.join(" ");
        part.trim_end_matches(['.', ',']).to_owned()
    })
}

const MARK: &str = "<!-- said -->";

#[cfg(test)]
mod tests {
    use super::*;

    fn unsaid(paper: &str) -> Vec<String> {
        let program = "fn f() {\n    warn!(\"no link can be \\\n        accepted, {why} is used: {error}\");\n}\n\
                       format!(\"{limit} of them: room for {peers}\")\nmod tests {\n\"of a test alone\"\n}";
        let spoken = Spoken::of(&[Source::new("crates/a/src/b.rs", program)]);
        let found = spoken.unsaid(Path::new("a.md"), paper);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_said_with_values_within_messages_and_over_lines_is_found() {
        let table = "| `no word of it` | UDP: <!-- said -->`no link can be accepted, x=UDP is used: Too many open files (os error 24)` |";
        assert_eq!(unsaid(table), [""; 0]);
        let block = "text\n\n<!-- said -->\n```text\nlimited  descriptors    64 of them: room for 21\n```\n";
        assert_eq!(unsaid(block), [""; 0]);
    }

    #[test]
    fn what_nothing_or_a_test_alone_says_is_not() {
        let paper = "a\n| <!-- said -->`no link may be accepted, ...` |\n<!-- said -->`of a test alone`\n<!-- said --> none";
        let expected = [
            "a.md:2: nothing says `no link may be accepted`",
            "a.md:3: nothing says `of a test alone`",
            "a.md:4: neither code nor a block of text stands behind the mark",
        ];
        assert_eq!(unsaid(paper), expected);
    }
}
