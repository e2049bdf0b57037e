//! Whether the papers and the code still agree, as far as a program can tell.

use crate::said::Spoken;
use crate::source::Source;
use crate::{Finding, diffs, examples, files, readme};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Everything in which the papers of the repository at `root` contradict it.
///
/// # Errors
/// What the file system says.
pub fn check(root: &Path, sources: &[Source]) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let spoken = Spoken::of(sources);
    for (path, text) in files(root, "md")? {
        found.extend(dead_links(root, &path, &text));
        found.extend(diffs::stale(root, &path, &text));
        found.extend(spoken.unsaid(&path, &text));
    }
    let read = |path: &str| std::fs::read_to_string(root.join(path));
    found.extend(undocumented_variables(sources, &read(CONFIGURATION)?));
    found.extend(unmapped_folders(sources, &read(ARCHITECTURE)?));
    found.extend(impossible_commands(root, &read(README)?));
    found.extend(examples::unshown(sources, Path::new(SHOWN_IN_EXAMPLES)));
    Ok(found)
}

/// Links to files that are not there.
fn dead_links(root: &Path, path: &Path, text: &str) -> Vec<Finding> {
    let folder = root.join(path.parent().unwrap_or(Path::new("")));
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !target.is_empty() && !target.contains(':') && !folder.join(target).exists() {
                let what = format!("the link to {target} leads nowhere");
                found.push(Finding { path: path.to_path_buf(), line: index + 1, what });
            }
        }
    }
    found
}

/// Environment variables that the code reads and the page does not explain.
fn undocumented_variables(sources: &[Source], page: &str) -> Vec<Finding> {
    let of_crates = sources.iter().filter(|source| source.path.iter().any(|part| part == "src"));
    let names: BTreeSet<&str> = of_crates.flat_map(|source| variables(&source.text)).collect();
    let missing = names.into_iter().filter(|name| !page.contains(&format!("`{name}`")));
    missing.map(|name| whole_file(CONFIGURATION, format!("{name} is not explained"))).collect()
}

/// String literals that are the name of a variable of ours, those of tests excepted.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| {
        name.starts_with(PREFIX) && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    text.split('"').filter(is_name).filter(|name| !name.ends_with('_') && !name.contains("TEST"))
}

/// Folders of sources that the code map leaves out.
fn unmapped_folders(sources: &[Source], page: &str) -> Vec<Finding> {
    let folders: BTreeSet<PathBuf> = sources
        .iter()
        .filter_map(|source| source.path.parent())
        .filter(|folder| folder.iter().any(|part| part == "src"))
        .map(Path::to_path_buf)
        .collect();
    let missing = folders.into_iter().filter(|folder| !page.contains(&format!("`{}/`", folder.display())));
    missing
        .map(|folder| whole_file(ARCHITECTURE, format!("{} is not in the code map", folder.display())))
        .collect()
}

/// Commands of the README that no package stands behind.
fn impossible_commands(root: &Path, page: &str) -> Vec<Finding> {
    let wrong = |name: &str| match readme::command(page, name) {
        Err(error) => Some(error.to_string()),
        Ok(command) if !command.starts_with("cargo ") => Some(format!("`{command}` is no cargo command")),
        Ok(command) => readme::package(command)
            .filter(|package| {
                !FOLDERS.iter().any(|folder| root.join(folder).join(package).join("Cargo.toml").exists())
            })
            .map(|package| format!("there is no package {package}")),
    };
    ["main", "test"].iter().filter_map(|name| wrong(name)).map(|what| whole_file(README, what)).collect()
}

fn whole_file(path: &str, what: String) -> Finding {
    Finding { path: path.into(), line: 0, what }
}

const README: &str = "README.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const CONFIGURATION: &str = "docs/configuration.md";
/// The crate that programs are written with.
const SHOWN_IN_EXAMPLES: &str = "crates/zerodds-rustdds/src";
const PREFIX: &str = "ZERODDS_";
/// Where packages lie.
const FOLDERS: [&str; 3] = ["crates", "examples", "."];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_missing_file_is_found_and_web_addresses_are_not_followed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[here](src/papers.rs#top) [web](https://example.org)\n[gone](src/gone.rs)";
        let found = dead_links(root, Path::new("a.md"), text);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a.md:2: the link to src/gone.rs leads nowhere"]
        );
    }

    #[test]
    fn a_variable_that_the_page_leaves_out_is_found() {
        let sources =
            [Source::new("crates/a/src/b.rs", "env::var(\"ZERODDS_A\"), \"ZERODDS_TEST_B\", \"ZERODDS_\"")];
        assert_eq!(undocumented_variables(&sources, "`ZERODDS_A`").len(), 0);
        assert_eq!(undocumented_variables(&sources, "`ZERODDS_AB`").len(), 1);
    }

    #[test]
    fn a_folder_that_the_map_leaves_out_is_found() {
        let sources = [Source::new("crates/a/src/b.rs", ""), Source::new("crates/a/tests/c.rs", "")];
        assert!(unmapped_folders(&sources, "| `crates/a/src/` | a |").is_empty());
        assert_eq!(unmapped_folders(&sources, "| `crates/a/` | a |").len(), 1);
    }

    #[test]
    fn a_command_of_a_package_that_does_not_exist_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = "<!-- command: main -->\n```sh\ncargo run -p gone\n```\n<!-- command: test -->\n```sh\nmake\n```\n";
        let found: Vec<_> =
            impossible_commands(&root, page).iter().map(|finding| finding.what.clone()).collect();
        assert_eq!(found, ["there is no package gone", "`make` is no cargo command"]);
        let good = "<!-- command: main -->\n```sh\ncargo run -p largedata\n```\n<!-- command: test -->\n```sh\ncargo test\n```\n";
        assert!(impossible_commands(&root, good).is_empty());
    }
}
