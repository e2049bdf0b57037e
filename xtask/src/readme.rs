//! The README's commands, as they stand there.
//!
//! ~~~text
//!   <!-- command: test -->
//!   ```sh
//!   cargo test ...            exactly one line
//!   ```
//! ~~~
//! CI runs what this returns, so that what the README promises and what CI shows cannot come apart.

use std::fmt;

/// Why a command cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCommand(String);

impl fmt::Display for NoCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "README.md has no block of one line under `<!-- command: {} -->`", self.0)
    }
}

impl std::error::Error for NoCommand {}

/// The command that `readme` marks with `name`.
///
/// # Errors
/// [`NoCommand`] where there is no such mark, or no code block of one line under it.
pub fn command<'a>(readme: &'a str, name: &str) -> Result<&'a str, NoCommand> {
    let mark = format!("<!-- command: {name} -->\n");
    let block = readme.split_once(&mark).and_then(|(_, below)| below.strip_prefix("```sh\n"));
    let lines = block.and_then(|block| block.split_once("\n```"));
    match lines {
        Some((line, _)) if !line.is_empty() && !line.contains('\n') => Ok(line),
        _ => Err(NoCommand(name.to_owned())),
    }
}

/// The package that a cargo command names with `-p`.
#[must_use]
pub fn package(command: &str) -> Option<&str> {
    command.split_whitespace().skip_while(|&word| word != "-p").nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_block_of_one_line_is_a_command() {
        let readme =
            "a\n<!-- command: x -->\n```sh\ncargo run -p y\n```\n<!-- command: z -->\n```sh\na\nb\n```\n";
        assert_eq!(command(readme, "x"), Ok("cargo run -p y"));
        assert_eq!(package("cargo run -p y"), Some("y"));
        assert!(command(readme, "z").is_err(), "two lines");
        assert!(command(readme, "w").is_err(), "no such mark");
    }
}
