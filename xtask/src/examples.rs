//! Whether the documentation of a crate shows every public item in an example.
//!
//! ```text
//!   a type        code in its own documentation, or its name in that of its module
//!   a function    code in its own documentation, or a call of it in that of its type or module
//! ```
//! Only what a reader sees counts: lines that rustdoc hides do not. What is public is what `lib.rs` says: its public modules,
//! theirs, and what is re-exported by name. A function that a macro writes for types of other files is one of each type of
//! that name.

use crate::Finding;
use crate::source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The public types and functions of the crate whose sources are in this folder that no example shows.
#[must_use]
pub(crate) fn unshown(sources: &[Source], folder: &Path) -> Vec<Finding> {
    let sources: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with(folder)).collect();
    let items: Vec<Item<'_>> = sources.iter().flat_map(|source| items(source)).collect();
    let public = Public::of(&sources, folder, &items);
    let is_shown = |item: &&Item<'_>| {
        let module = code_of(item.source.text.lines().filter_map(|line| line.strip_prefix("//!")));
        let shows = |place: &str| mentions(place, item.name, if item.is_fn { CALLED } else { "" });
        let by_all = |owner| declarations(&items, item, owner).all(|owner| shows(&owner.example));
        !item.example.is_empty() || shows(&module) || item.owner.is_some_and(by_all)
    };
    let unshown = items.iter().filter(|item| public.has(item)).filter(|item| !is_shown(item));
    unshown
        .map(|item| Finding {
            path: item.source.path.clone(),
            line: item.line,
            what: format!(
                "no example shows `{}`: one belongs into its documentation or its type's",
                item.name
            ),
        })
        .collect()
}

/// What is declared `pub` somewhere.
struct Item<'a> {
    source: &'a Source,
    line: usize,
    name: &'a str,
    is_fn: bool,
    /// The type of which it is a function.
    owner: Option<&'a str>,
    /// The code in its documentation.
    example: String,
}

/// What is public of that.
struct Public<'a> {
    files: BTreeSet<PathBuf>,
    names: BTreeSet<&'a str>,
}

impl<'a> Public<'a> {
    fn of(sources: &[&'a Source], folder: &Path, items: &[Item<'a>]) -> Self {
        let mut public = Self { files: BTreeSet::new(), names: BTreeSet::new() };
        let mut next = vec![(folder.join("lib.rs"), folder.to_path_buf())];
        while let Some((path, below)) = next.pop() {
            let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
            for statement in source.code.split(';').map(str::trim_ascii) {
                if let Some((before, module)) = statement.rsplit_once("pub mod ")
                    && !before.trim_ascii_end().ends_with("#[cfg(fuzzing)]")
                {
                    let files = [format!("{module}.rs"), format!("{module}/mod.rs")];
                    next.extend(files.map(|file| (below.join(file), below.join(module))));
                }
                let used = statement.rsplit_once("pub use ").map_or("", |(_, used)| used);
                public.names.extend(used.split(|c: char| !is_of_name(c)));
            }
            let here = items.iter().filter(|item| item.source.path == path && item.owner.is_none());
            public.names.extend(here.map(|item| item.name));
            public.files.insert(path);
        }
        public
    }

    fn has(&self, item: &Item<'_>) -> bool {
        self.files.contains(&item.source.path) || self.names.contains(item.owner.unwrap_or(item.name))
    }
}

/// Where the type is declared whose function this is: in the same file, or else wherever one of that name is.
fn declarations<'a>(items: &'a [Item<'a>], of: &Item<'_>, name: &str) -> impl Iterator<Item = &'a Item<'a>> {
    let all: Vec<_> = items.iter().filter(|item| item.owner.is_none() && item.name == name).collect();
    let path = of.source.path.clone();
    let is_here = all.iter().any(|item| item.source.path == path);
    all.into_iter().filter(move |item| !is_here || item.source.path == path)
}

/// What a file declares `pub`, up to its tests.
fn items(source: &Source) -> Vec<Item<'_>> {
    let (mut found, mut docs, mut owner) = (Vec::new(), Vec::new(), None);
    for (index, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        if code.starts_with("#[cfg(test)]") {
            break;
        }
        let (indent, code) = (code.len() - code.trim_ascii_start().len(), code.trim_ascii());
        if let Some(doc) = text.trim_ascii_start().strip_prefix("///") {
            docs.push(doc);
            continue;
        }
        if let Some(header) = code.strip_prefix("impl") {
            owner = Some((indent, implemented(header)));
        } else if code == "}" && owner.is_some_and(|(of, _)| indent <= of) {
            owner = None;
        }
        if let Some((is_fn, name)) = declared(code) {
            let owner = owner.filter(|_| is_fn).map(|(_, owner)| owner);
            let example = code_of(docs.iter().copied());
            found.push(Item { source, line: index + 1, name, is_fn, owner, example });
        }
        // Attributes stand between documentation and item.
        if !code.is_empty() && !code.starts_with('#') {
            docs.clear();
        }
    }
    found
}

/// Whether it is a function that this line declares `pub`, and the name; `None`: it declares nothing.
fn declared(code: &str) -> Option<(bool, &str)> {
    let mut rest = code.strip_prefix("pub ")?;
    for word in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let (word, rest) = rest.split_once(' ')?;
    let is_item = ["fn", "struct", "enum", "trait", "type"].contains(&word);
    is_item.then(|| (word == "fn", first_name(rest)))
}

/// The type of an inherent `impl`, of which this is what follows the word.
fn implemented(header: &str) -> &str {
    let mut depth = 0;
    let end = header.find(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth == 0
    });
    first_name(header[end.map_or(0, |end| end + 1)..].trim_ascii_start())
}

fn first_name(text: &str) -> &str {
    text.split(|c| !is_of_name(c)).next().unwrap_or_default()
}

/// The Rust code that a reader sees in this documentation.
fn code_of<'a>(docs: impl Iterator<Item = &'a str>) -> String {
    let (mut code, mut is_rust, mut is_inside) = (String::new(), false, false);
    for line in docs.map(str::trim_ascii) {
        if let Some(info) = line.strip_prefix("```") {
            is_inside = !is_inside;
            is_rust = is_inside && info.split(',').all(|word| RUST.contains(&word));
        } else if is_rust && line != "#" && !line.starts_with("# ") {
            code += line;
            code.push('\n');
        }
    }
    code
}

/// Whether `name` stands there as a whole word, with one of these characters behind it if there are any.
fn mentions(place: &str, name: &str, behind: &str) -> bool {
    place.match_indices(name).any(|(at, _)| {
        let after = &place[at + name.len()..];
        let is_followed = behind.is_empty() || after.starts_with(|c| behind.contains(c));
        is_followed && !after.starts_with(is_of_name) && !place[..at].ends_with(is_of_name)
    })
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What may stand behind the name of a function that is called: `f()`, `f::<T>()`.
const CALLED: &str = "(:";
/// What a fence of code that is Rust says behind its backticks.
const RUST: [&str; 4] = ["", "rust", "no_run", "should_panic"];

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "//! B.\n/// A type.\n///\n/// ```\n/// A::new().size();\n/// ```\n#[derive(Debug)]\npub struct A;\n\
                         impl<T: Into<u8>> A<T> {\n    pub const fn new() -> Self {\n    }\n    pub fn size(&self) {}\n}\n";

    fn found(file: &str) -> Vec<String> {
        let of_crate = [
            Source::new(
                "crates/a/src/lib.rs",
                "//! A.\npub mod b;\nmod c;\n#[cfg(fuzzing)]\npub mod d;\npub use c::{C, E};\n",
            ),
            Source::new("crates/a/src/b.rs", file),
            Source::new(
                "crates/a/src/c.rs",
                "//! C.\n/// ```\n/// C.c();\n/// ```\npub struct C;\npub struct Within;\n",
            ),
            Source::new("crates/a/src/d.rs", "//! D.\npub fn fuzz() {}\n"),
            Source::new("crates/other/src/lib.rs", "//! O.\npub fn other() {}\n"),
        ];
        let found = unshown(&of_crate, Path::new("crates/a/src"));
        found
            .iter()
            .map(|finding| format!("{} {}", finding.line, finding.what.split(':').next().unwrap()))
            .collect()
    }

    #[test]
    fn what_its_type_or_module_shows_needs_no_example_of_its_own() {
        assert_eq!(found(SHOWN), [""; 0]);
        assert_eq!(
            found("//! ```\n//! b(B);\n//! ```\npub struct B;\npub(crate) struct D;\npub fn b(_: B) {}\n"),
            [""; 0]
        );
        assert_eq!(found("//! B.\n/// ```no_run\n/// b();\n/// ```\npub async fn b() {}\n"), [""; 0]);
    }

    #[test]
    fn a_public_item_that_no_example_shows_is_found() {
        for (file, expected) in [
            ("//! B.\n/// A type.\npub struct B;\n", "3 no example shows `B`"),
            (&SHOWN.replace("().size()", "()"), "12 no example shows `size`"),
            (&SHOWN.replace("().size()", "().size_of()"), "12 no example shows `size`"),
            ("//! ```\n//! let b = 1;\n//! ```\npub fn b() {}\n", "4 no example shows `b`"),
            ("//! B.\n/// ```text\n/// b()\n/// ```\npub fn b() {}\n", "5 no example shows `b`"),
            ("//! B.\n/// ```\n/// # b();\n/// ```\npub fn b() {}\n", "5 no example shows `b`"),
        ] {
            assert_eq!(found(file), [expected], "{file}");
        }
    }

    #[test]
    fn what_a_macro_writes_is_shown_by_every_type_of_that_name() {
        let of_macro = "//! D.\nmacro_rules! m {\n    () => {\n        impl<D $(: $b)?> B<D> {\n            pub fn d(&self) {}\n\
                        }\n    };\n}\n";
        let crate_of = |first: &str, second: &str| {
            let type_ = |call| format!("//! B.\n/// ```\n/// {call}\n/// ```\npub struct B<D>(D);\n");
            let of_crate = [
                Source::new("src/lib.rs", "//! A.\npub mod b;\npub mod c;\nmod d;\n"),
                Source::new("src/b.rs", type_(first)),
                Source::new("src/c.rs", type_(second)),
                Source::new("src/d.rs", of_macro),
            ];
            unshown(&of_crate, Path::new("src")).len()
        };
        assert_eq!([crate_of("b.d();", "b.d();"), crate_of("b.d();", "b.e();")], [0, 1]);
    }
}
