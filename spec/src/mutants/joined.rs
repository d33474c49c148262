//! Many mutants in one program, since nearly all the time that a mutant takes is that of building it.
//!
//! A mutant that changes nothing but bodies of functions need not be built alone: the joined program has each such body in all its variants, and a
//! switch, read once from the environment, says which of them is taken (the *mutant schemata* of R. H. Untch, A. J. Offutt and M. J. Harrold,
//! ISSTA 1993). Bodies are copied as they stand in the mutant's file, so what runs is that mutant's text and, everywhere else, the original's.
//! What cannot be chosen while a program runs (a type, a constant, a signature, a `const fn`, a return type that each body would give
//! another meaning, a macro) stands between the bodies and has to be the same in both; such a mutant is built alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};
use syn::{Block, ImplItem, Item, Signature, TraitItem};

/// The environment variable that says which mutant a joined program is.
pub(super) const SWITCH: &str = "CHECK_RUNS_MUTANT";
/// The function of each crate that reads it.
const READER: &str = "the_mutant_that_runs";

/// The text of a file before and after a patch; the file is named as seen from the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) file: PathBuf,
    pub(super) before: String,
    pub(super) after: String,
}

/// A change of bodies alone, so that it can be [joined](join) with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bodies {
    file: PathBuf,
    /// The file before.
    original: String,
    /// Which of its bodies are replaced, and by what.
    replaced: Vec<(Range<usize>, String)>,
}

impl Bodies {
    /// What `change` does to bodies; `None` if it changes anything else.
    pub(super) fn of(change: Change) -> Option<Bodies> {
        let Change { file, before, after } = change;
        if file.extension()? != "rs" {
            return None;
        }
        let (ours, theirs) = (bodies(&before)?, bodies(&after)?);
        if around(&before, &ours) != around(&after, &theirs) {
            return None;
        }
        let pairs = ours.into_iter().zip(theirs).map(|(our, their)| (our, after[their].to_string()));
        let replaced = pairs.filter(|(our, body)| before[our.clone()] != *body).collect();
        Some(Bodies { file, original: before, replaced })
    }
}

/// The files of a program that has all `mutants`, each a number for the switch and what it changes. `read` gives the text of a file. The error, one
/// line, names a file.
pub(super) fn join(
    mutants: &[(usize, &[Bodies])],
    read: impl Fn(&Path) -> Result<String, String>,
) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut changed: BTreeMap<&Path, Vec<(usize, &Bodies)>> = BTreeMap::new();
    for (number, change) in mutants.iter().flat_map(|(number, changes)| changes.iter().map(|change| (*number, change)))
    {
        changed.entry(&change.file).or_default().push((number, change));
    }
    let (mut files, mut roots) = (BTreeMap::new(), BTreeSet::new());
    for (file, changes) in changed {
        let text = joined(&changes).ok_or_else(|| format!("{}: it changed meanwhile", file.display()))?;
        files.insert(file.to_path_buf(), text);
        roots.insert(root_of(file, &read)?);
    }
    for root in roots {
        let text = files.remove(&root).map_or_else(|| read(&root), Ok)?;
        files.insert(root, text + &reader());
    }
    Ok(files)
}

/// The file with every body that differs somewhere in all its variants; `None` if it is not the same before all changes.
fn joined(changes: &[(usize, &Bodies)]) -> Option<String> {
    let original = &changes.first()?.1.original;
    let mut variants: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (number, change) in changes {
        if change.original != *original {
            return None;
        }
        for (place, body) in &change.replaced {
            *variants.entry((place.start, place.end)).or_default() += &format!("{number} => {body}\n");
        }
    }
    let mut text = String::new();
    let mut done = 0;
    for ((start, end), variants) in variants {
        let (around, body) = (&original[done..start], &original[start..end]);
        text += &format!("{around}{{ match crate::{READER}() {{\n{variants}_ => {body}\n}} }}");
        done = end;
    }
    Some(text + &original[done..])
}

/// The root of the crate that `file` belongs to: what is beside or above it and named as such.
fn root_of(file: &Path, read: impl Fn(&Path) -> Result<String, String>) -> Result<PathBuf, String> {
    let roots = file.ancestors().skip(1).flat_map(|directory| ["lib.rs", "main.rs"].map(|name| directory.join(name)));
    let mut roots = roots.filter(|root| read(root).is_ok());
    roots.next().ok_or_else(|| format!("{}: there is no root of its crate", file.display()))
}

fn reader() -> String {
    format!(
        "\npub(crate) fn {READER}() -> usize {{\n    \
            static NUMBER: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| \
            std::env::var(\"{SWITCH}\").map_or(0, |number| number.parse().expect(\"{SWITCH} is a number\")));\n    \
            *NUMBER\n}}\n"
    )
}

/// What stands around the bodies: one piece more than there are of these.
fn around<'a>(text: &'a str, bodies: &[Range<usize>]) -> Vec<&'a str> {
    let starts = std::iter::once(0).chain(bodies.iter().map(|body| body.end));
    let ends = bodies.iter().map(|body| body.start).chain(std::iter::once(text.len()));
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
}

/// Where the bodies are of which another may be taken while the program runs, in their order; `None` if the text is not Rust.
fn bodies(text: &str) -> Option<Vec<Range<usize>>> {
    let file = syn::parse_file(text).ok()?;
    let mut found = Vec::new();
    file.items.iter().for_each(|item| of_item(text, item, &mut found));
    Some(found)
}

fn of_item(text: &str, item: &Item, found: &mut Vec<Range<usize>>) {
    match item {
        Item::Fn(function) => of_function(text, &function.sig, &function.block, found),
        Item::Impl(block) => {
            for item in &block.items {
                if let ImplItem::Fn(function) = item {
                    of_function(text, &function.sig, &function.block, found);
                }
            }
        }
        Item::Trait(block) => {
            for item in &block.items {
                if let TraitItem::Fn(function) = item
                    && let Some(body) = &function.default
                {
                    of_function(text, &function.sig, body, found);
                }
            }
        }
        Item::Mod(module) => {
            module.content.iter().flat_map(|(_, items)| items).for_each(|item| of_item(text, item, found));
        }
        _ => (),
    }
}

fn of_function(text: &str, signature: &Signature, body: &Block, found: &mut Vec<Range<usize>>) {
    let (parameters, braces) = (signature.paren_token.span.close().byte_range(), body.brace_token.span);
    let braces = braces.open().byte_range().start..braces.close().byte_range().end;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let opaque = text[parameters.end..braces.start].split(|c| !is_word(c)).any(|word| word == "impl");
    if signature.constness.is_none() && !opaque {
        found.push(braces);
    }
}

#[cfg(test)]
mod tests {
    use super::{Bodies, Change, bodies, join};
    use std::path::Path;

    const ROOT: &str = "//! Größe.
mod a;
fn main() {}
";
    const FILE: &str = "\
// É: { in a comment.
struct A { a: u8 }
const TEXT: &str = \"fn f() {\";
impl A {
    fn one(&self) -> u8 { if self.a == 1 { return 2; } 3 }
    const fn fixed() -> u8 { 4 }
    fn opaque() -> Option<impl Fn()> { Some(|| {}) }
}
trait B {
    fn must(&self);
    fn may(&self) -> u8 { 5 }
}
mod inner {
    pub fn two() -> char { '}' }
}
";

    fn change(from: &str, to: &str) -> Change {
        assert!(FILE.contains(from), "{from}");
        Change { file: "x/src/a.rs".into(), before: FILE.into(), after: FILE.replace(from, to) }
    }

    /// One of bodies.
    fn variant(from: &str, to: &str) -> Bodies {
        Bodies::of(change(from, to)).unwrap()
    }

    fn read(file: &Path) -> Result<String, String> {
        if file == Path::new("x/src/lib.rs") { Ok(ROOT.into()) } else { Err("not there".into()) }
    }

    #[test]
    fn bodies_are_found_where_they_stand() {
        let found: Vec<&str> = bodies(FILE).unwrap().into_iter().map(|body| &FILE[body]).collect();
        assert_eq!(found, ["{ if self.a == 1 { return 2; } 3 }", "{ 5 }", "{ '}' }"]);
        assert_eq!(bodies("fn f( {}"), None);
    }

    #[test]
    fn only_what_changes_nothing_but_bodies_is_joined() {
        for (from, to) in [("3 }", "4 }"), ("{ 5 }", "{ 6 }"), ("'}'", "'{'")] {
            assert!(Bodies::of(change(from, to)).is_some(), "{from}");
        }
        for (from, to) in [
            ("a: u8", "a: u16"),
            ("fn f()", "fn g()"),
            ("fn one(&self)", "fn one(self)"),
            ("{ 4 }", "{ 5 }"),
            ("Some(|| {})", "None"),
            ("fn must(&self);", "fn must(&self) {}"),
            ("struct", "fn new() {}\nstruct"),
            ("{ 5 }", "{ 5"),
        ] {
            assert_eq!(Bodies::of(change(from, to)), None, "{from}");
        }
        assert_eq!(Bodies::of(Change { file: "Cargo.toml".into(), ..change("3 }", "4 }") }), None);
    }

    #[test]
    fn each_body_has_the_variants_of_all_mutants_and_its_own() {
        let (first, second) = ([variant("return 2", "return 9")], [variant("3 }", "7 }")]);
        let third = [variant("{ 5 }", "{ 6 }")];
        let files = join(&[(1, &first), (2, &second), (3, &third)], read).unwrap();
        let text = &files[Path::new("x/src/a.rs")];
        for part in [
            "fn one(&self) -> u8 { match crate::the_mutant_that_runs() {\n1 => { if self.a == 1 { return 9; } 3 }\n2 => { if self.a == 1 { return 2; } 7 }\n",
            "\n_ => { if self.a == 1 { return 2; } 3 }\n} }\n    const fn fixed",
            "fn may(&self) -> u8 { match crate::the_mutant_that_runs() {\n3 => { 6 }\n_ => { 5 }\n} }\n}\nmod inner {\n    pub fn two() -> char { '}' }\n}\n",
        ] {
            assert!(text.contains(part), "{text}\n--- has not ---\n{part}");
        }
        let root = &files[Path::new("x/src/lib.rs")];
        assert!(root.starts_with(ROOT) && root.matches("fn the_mutant_that_runs()").count() == 1, "{root}");
        assert!(syn::parse_file(text).is_ok() && syn::parse_file(root).is_ok());
    }

    #[test]
    fn a_root_that_a_mutant_changes_is_joined_too() {
        let root =
            Change { file: "x/src/lib.rs".into(), before: ROOT.into(), after: ROOT.replace("{}", "{ loop {} }") };
        let files = join(&[(4, &[Bodies::of(root).unwrap(), variant("{ 5 }", "{ 6 }")])], read).unwrap();
        let text = &files[Path::new("x/src/lib.rs")];
        assert!(text.contains("4 => { loop {} }") && text.contains("fn the_mutant_that_runs()"), "{text}");
        assert_eq!(files.len(), 2);
        let lost = Bodies { file: "y.rs".into(), ..variant("{ 5 }", "{ 6 }") };
        assert_eq!(join(&[(1, &[lost])], read).unwrap_err(), "y.rs: there is no root of its crate");
    }

    #[test]
    fn what_was_changed_meanwhile_is_not_joined() {
        let before = variant("{ 5 }", "{ 6 }");
        let now = Bodies { original: FILE.replace("must", "can"), ..before.clone() };
        let error = join(&[(1, &[before]), (2, &[now])], read).unwrap_err();
        assert_eq!(error, "x/src/a.rs: it changed meanwhile");
    }
}
