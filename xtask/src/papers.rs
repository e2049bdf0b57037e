//! Whether the papers and the code still agree, as far as a program can tell.

use crate::said::Spoken;
use crate::source::Source;
use crate::{Finding, diffs, examples, files, readme};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Everything in which the papers of the repository at `root` contradict it.
///
/// # Errors
/// What the file system says.
pub fn check(root: &Path, sources: &[Source]) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let spoken = Spoken::of(sources);
    let papers = files(root, "md")?;
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> =
        papers.iter().map(|(path, text)| (path.clone(), anchors(text))).collect();
    for (path, text) in &papers {
        found.extend(dead_links(root, path, text, &anchors));
        found.extend(diffs::stale(root, path, text));
        found.extend(spoken.unsaid(path, text));
    }
    let read = |path: &str| std::fs::read_to_string(root.join(path));
    let configuration = read(CONFIGURATION)?;
    found.extend(undocumented_variables(sources, &configuration));
    found.extend(unread_variables(sources, &configuration));
    found.extend(unmapped_folders(sources, &read(ARCHITECTURE)?));
    found.extend(impossible_commands(root, &read(README)?));
    found.extend(examples::unshown(sources, Path::new(SHOWN_IN_EXAMPLES)));
    Ok(found)
}

/// Links to files that are not there, and to headings that no paper has.
fn dead_links(
    root: &Path,
    path: &Path,
    text: &str,
    anchors: &BTreeMap<PathBuf, BTreeSet<String>>,
) -> Vec<Finding> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let is_dead = |target: &str| {
        let (file, anchor) = target.split_once('#').map_or((target, None), |(file, at)| (file, Some(at)));
        let to = if file.is_empty() { path.to_path_buf() } else { plain(&folder.join(file)) };
        let has = |anchor| anchors.get(&to).is_none_or(|anchors| anchors.contains(anchor));
        !root.join(&to).exists() || !anchor.is_none_or(has)
    };
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains(':') && is_dead(target)) {
            let what = format!("the link to {target} leads nowhere");
            found.push(Finding { path: path.to_path_buf(), line: index + 1, what });
        }
    }
    found
}

/// The path without the steps up and back that are in it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// What the headings of a paper are linked to by, as GitHub makes it of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        !is_code && line.starts_with('#')
    });
    let mut found = BTreeSet::new();
    for heading in headings {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|&c| c.is_alphanumeric() || [' ', '-', '_'].contains(&c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|nth| format!("{anchor}-{nth}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|anchor| !found.contains(anchor));
        found.extend(free);
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

/// Environment variables that the page explains and no code reads.
fn unread_variables(sources: &[Source], page: &str) -> Vec<Finding> {
    let read: BTreeSet<&str> = sources.iter().flat_map(|source| variables(&source.text)).collect();
    let words = page.split(|c: char| !is_of_name(c)).filter(|word| is_variable(word));
    let unread: BTreeSet<&str> = words.filter(|word| !read.contains(word)).collect();
    unread.into_iter().map(|name| whole_file(CONFIGURATION, format!("nothing reads {name}"))).collect()
}

/// String literals that are the name of a variable of ours, those of tests excepted.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').filter(|word| word.chars().all(is_of_name) && is_variable(word))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(PREFIX) && !name.ends_with('_') && !name.contains("TEST")
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
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
        let found = dead_links(root, Path::new("a.md"), text, &BTreeMap::new());
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a.md:2: the link to src/gone.rs leads nowhere"]
        );
    }

    #[test]
    fn a_link_to_a_heading_that_a_paper_does_not_have_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = "# `A_b`: c, d\n```sh\n# e\n```\n## Twice\n## Twice\n";
        let all = ["a_b-c-d", "twice", "twice-1"].map(str::to_owned).into();
        assert_eq!(anchors(page), all);
        let known = BTreeMap::from([("docs/qos.md".into(), all.clone()), ("README.md".into(), all)]);
        let links = |path: &str, text: &str| {
            let found = dead_links(&root, Path::new(path), text, &known);
            found.into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        assert!(links("docs/qos.md", "[x](#twice-1) [y](../README.md#a_b-c-d) [z](trust.md#any)").is_empty());
        assert_eq!(links("README.md", "[x](docs/qos.md#e)"), ["the link to docs/qos.md#e leads nowhere"]);
        assert_eq!(links("README.md", "[x](#e)"), ["the link to #e leads nowhere"]);
    }

    #[test]
    fn a_variable_that_the_page_leaves_out_is_found() {
        let sources =
            [Source::new("crates/a/src/b.rs", "env::var(\"ZERODDS_A\"), \"ZERODDS_TEST_B\", \"ZERODDS_\"")];
        assert_eq!(undocumented_variables(&sources, "`ZERODDS_A`").len(), 0);
        assert_eq!(undocumented_variables(&sources, "`ZERODDS_AB`").len(), 1);
    }

    #[test]
    fn a_variable_that_nothing_reads_any_more_is_found() {
        let sources = [Source::new("crates/a/src/b.rs", "env::var(\"ZERODDS_A6\"), \"ZERODDS_TEST_B\"")];
        let found =
            unread_variables(&sources, "`ZERODDS_A6`, `ZERODDS_A6=on`, `ZERODDS_A`, `ZERODDS_TEST_B`");
        let found: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(found, ["nothing reads ZERODDS_A"]);
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
