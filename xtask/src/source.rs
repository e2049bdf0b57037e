//! A Rust file as the checks see it: its text, and the same text with comments and literals blanked out.
//!
//! The blanked text has the same lines and columns, so a word found there is code and stands where it was
//! found. A real parser would do more than is needed and pull in a dependency as large as this crate.

use std::path::PathBuf;

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path, relative to the repository.
    pub path: PathBuf,
    /// The file as it is.
    pub text: String,
    /// The file with comments, strings and characters replaced by spaces.
    pub code: String,
}

impl Source {
    /// The file with this path and text.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: code_only(&text), text }
    }

    /// The numbers, from 1, of the lines on which `word` stands as a whole word of code.
    pub fn lines_with(&self, word: &str) -> impl Iterator<Item = usize> {
        let holds = move |line: &str| line.match_indices(word).any(|(at, _)| is_whole(line, at, word.len()));
        self.code.lines().enumerate().filter(move |(_, line)| holds(line)).map(|(index, _)| index + 1)
    }
}

fn is_whole(line: &str, at: usize, len: usize) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    !line[..at].ends_with(joins) && !line[at + len..].starts_with(joins)
}

fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        // The prefix of a literal is only one where no identifier ends in it.
        let may_open = !(before.is_alphanumeric() || before == '_');
        let len = if may_open || first == '"' || first == '/' { blank_len(rest) } else { 0 };
        let taken = if len == 0 { first.len_utf8() } else { len };
        let blank = |c: char| if c == '\n' { c } else { ' ' };
        match len {
            0 => code.push(first),
            _ => code.extend(rest[..taken].chars().map(blank)),
        }
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    code
}

/// The length in bytes of the comment or literal at the start of `rest`; 0 if there is none.
fn blank_len(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment_len(rest);
    }
    let bare = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = rest.len() - bare.len();
    let quotes = bare.trim_start_matches('#');
    let hashes = bare.len() - quotes.len();
    if prefix <= 2 && rest[..prefix].contains('r') && quotes.starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        return quotes[1..].find(&close).map_or(rest.len(), |at| prefix + hashes + 1 + at + close.len());
    }
    match bare.chars().next() {
        Some('"') if prefix <= 1 => prefix + quoted_len(bare, '"'),
        Some('\'') if prefix <= 1 && is_char(bare) => prefix + quoted_len(bare, '\''),
        _ => 0,
    }
}

fn comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let (change, step) = match rest.get(at..at + 2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, rest[at..].chars().next().map_or(1, char::len_utf8)),
        };
        depth += change;
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character, rather than a lifetime.
fn is_char(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code
    }

    #[test]
    fn comments_and_literals_are_blanked_and_columns_kept() {
        for text in
            ["let a = \"unsafe \\\" x\"; b", "a // unsafe", "/* un /* safe */ */ b", "f('\\'', '\"', b'u')"]
        {
            let blanked = code(text);
            assert_eq!(blanked.chars().count(), text.chars().count(), "{text}");
            assert!(!blanked.contains("safe") && !blanked.contains('"'), "{blanked}");
        }
        assert_eq!(code("x = r#\"a\"b\"#; y"), "x =         ; y");
        assert_eq!(code("for c in br\"a\" {}"), "for c in       {}");
    }

    #[test]
    fn lifetimes_and_names_that_end_like_a_prefix_are_code() {
        for text in ["fn f<'a>(x: &'a str) -> &'a str", "let br = bar; r", "'outer: loop {}"] {
            assert_eq!(code(text), text);
        }
    }

    #[test]
    fn a_word_is_found_whole_and_in_code_only() {
        let source =
            Source::new("a.rs", "#![forbid(unsafe_code)]\n// unsafe\nlet x = unsafe { 1 };\n\"unsafe\"");
        assert_eq!(source.lines_with("unsafe").collect::<Vec<_>>(), [3]);
    }
}
