//! The rules for a single Rust file.

use crate::Finding;
use crate::source::Source;

/// Everything about this file that the house style does not allow.
#[must_use]
pub fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report =
        |line: usize, what: String| found.push(Finding { path: source.path.clone(), line, what });

    if !source.text.starts_with("//!") {
        report(1, "the first line says what the file is: `//! ...`".into());
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        report(0, format!("{lines} lines; past {FILE_LINES_MAX} there is a second noun in the file"));
    }
    if source.path.file_stem().is_some_and(|stem| VAGUE.iter().any(|vague| stem == *vague)) {
        report(0, "a file is named after what is in it".into());
    }
    if !source.path.iter().any(|part| part == "sys") {
        for line in source.lines_with("unsafe") {
            report(line, "unsafe code stands under `sys/` only".into());
        }
    }
    for word in UNFINISHED {
        for line in source.lines_with(word) {
            report(line, format!("`{word}!` is not for keeps"));
        }
    }
    if source.path.starts_with("crates") && source.path.iter().any(|part| part == "src") {
        let is_meant = WITH_WALL_CLOCK.iter().any(|path| source.path.starts_with(path));
        for word in WALL_CLOCK.iter().filter(|_| !is_meant) {
            for line in source.lines_with(word) {
                report(line, format!("`{word}`: the wall clock jumps; time is that of `Instant`"));
            }
        }
    }
    for (index, line) in source.code.lines().enumerate() {
        if line.contains("fn get_") && !AS_IN_RUSTDDS.iter().any(|name| line.contains(name)) {
            report(index + 1, "a getter is called by its noun, without `get_`".into());
        }
    }
    // A test that is one table is as long as its table.
    let is_test = source.path.with_extension("").iter().any(|part| part == "tests");
    for (line, name, lines) in functions(&source.code) {
        if lines > FUNCTION_LINES_MAX && !is_test {
            report(line, format!("`{name}` has {lines} lines; past {FUNCTION_LINES_MAX} it does two things"));
        }
    }
    found
}

/// Line, name and length in lines of every function with a body.
fn functions(code: &str) -> Vec<(usize, &str, usize)> {
    let starts = code
        .match_indices("fn ")
        .filter(|&(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    let mut found = Vec::new();
    for (at, _) in starts {
        let signature = &code[at + 3..];
        let name = signature.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        let Some(open) = body(signature) else { continue };
        let body = &signature[open..open + block_len(&signature[open..])];
        if !name.is_empty() {
            let line = code[..at].matches('\n').count() + 1;
            found.push((
                line,
                name,
                signature[..open].matches('\n').count() + body.matches('\n').count() + 1,
            ));
        }
    }
    found
}

/// Where the body of a function begins; `None` for a declaration. The semicolon of an array's length is of neither.
fn body(signature: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The length in bytes of the block at the start of `rest`.
fn block_len(rest: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

/// The house style says about 600 and about 70: a little more is a reviewer's business, much more is not.
const FILE_LINES_MAX: usize = 650;
const FUNCTION_LINES_MAX: usize = 80;
const VAGUE: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "prelude"];
/// Whoever comes from RustDDS finds its methods by name.
const AS_IN_RUSTDDS: [&str; 1] = ["fn get_default_datawriter_qos("];
/// Looks at the wall clock.
const WALL_CLOCK: [&str; 6] =
    ["SystemTime", "Timestamp::now", "Utc", "Realtime", "CLOCK_REALTIME", "gettimeofday"];
/// Where they are meant: the times of captured packets, Dust's own time and source timestamps with the LIFESPAN that is counted from
/// them, and a number of the process's own.
const WITH_WALL_CLOCK: [&str; 5] = [
    "crates/zerodds-capture/src",
    "crates/zerodds-dust-dds/src/steady.rs",
    "crates/zerodds-dust-dds/src/zerodds.rs",
    "crates/zerodds-rustdds/src/lifespan.rs",
    "crates/zerodds-rustdds/src/writing.rs",
];
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert!(
            findings("src/a.rs", "//! A.\nfn a() {}\n// unsafe, todo!() and get_ in a comment\n").is_empty()
        );
        assert!(findings("src/a.rs", "//! A.\nfn get_default_datawriter_qos(&self) {}\n").is_empty());
        let now = "//! A.\nlet x = SystemTime::now();\n";
        let meant = ["crates/zerodds-capture/src/a.rs", "crates/a/tests/b.rs", "benches/src/a.rs"];
        assert!(meant.iter().all(|path| findings(path, now).is_empty()));
        assert!(findings("src/sys/a.rs", "//! A.\nfn a() { unsafe { b() } }\n").is_empty());
        let table = format!("//! A.\nfn a() {{\n{}}}\n", "b();\n".repeat(FUNCTION_LINES_MAX));
        assert!(findings("src/a/tests.rs", &table).is_empty() && findings("tests/a.rs", &table).is_empty());
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let long_file = format!("//! A.\n{}", "\n".repeat(FILE_LINES_MAX));
        let long_function = format!("//! A.\nfn a() {{\n{}}}\n", "b();\n".repeat(FUNCTION_LINES_MAX));
        for (path, text, expected) in [
            ("a.rs", "fn a() {}", "a.rs:1: the first line"),
            ("a.rs", long_file.as_str(), "a.rs:0: 651 lines"),
            ("a.rs", long_function.as_str(), "a.rs:2: `a` has 82 lines"),
            ("src/util.rs", "//! A.\n", "src/util.rs:0: a file is named"),
            ("src/a.rs", "//! A.\nlet x = unsafe { b() };\n", "src/a.rs:2: unsafe code"),
            ("a.rs", "//! A.\n\ntodo!()\n", "a.rs:3: `todo!`"),
            ("a.rs", "//! A.\nfn get_a() {}\n", "a.rs:2: a getter"),
            (
                "crates/a/src/b.rs",
                "//! A.\nlet x = SystemTime::now();\n",
                "crates/a/src/b.rs:2: `SystemTime`: the wall clock jumps",
            ),
        ] {
            let found = findings(path, text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn a_declaration_without_a_body_and_a_function_pointer_have_no_length() {
        let code = "trait T { fn a(&self);\n fn b() {\n} }\ntype F = fn (u32) -> u32;\n";
        assert_eq!(functions(code), [(2, "b", 2)]);
    }

    #[test]
    fn a_function_that_takes_or_gives_an_array_is_measured_like_any_other() {
        let code = "trait T { fn a(&self) -> [u8; 4]; }\nfn b(x: [u8; { N }], y: u8)\n -> [(); 2] {\n}\n";
        assert_eq!(functions(code), [(2, "b", 3)]);
    }
}
