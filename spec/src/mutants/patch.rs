//! A mutant's file: a header that says what it is and how it is found, and the patch.

use crate::cli::{ScopeInfo, unknown};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// Where the mutants are, below the workspace.
pub const DIRECTORY: &str = "spec/mutants";

const KEYS: [&str; 4] = ["Mutant", "From", "Scope", "Property"];

/// A known bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The file's name without `.patch`.
    pub name: String,
    /// `Mutant:` what is wrong, in one line.
    pub description: String,
    /// `From:` where such a bug was seen.
    pub from: String,
    /// `Scope:` the scope that finds it.
    pub scope: String,
    /// `Property:` the property that it breaks.
    pub property: String,
    /// Whether others are broken before, and that one is looked for alone: `, alone` follows it.
    pub alone: bool,
    /// The file.
    pub file: PathBuf,
    /// The files that its diff speaks of, as seen from the workspace.
    pub changed: Vec<PathBuf>,
}

/// A mutant's name, whether it was given with or without its directory and extension.
pub(super) fn plain(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.strip_suffix(".patch").unwrap_or(name)
}

/// Every mutant below `root`, by name. The error, one line, names the file, and the line if there is one.
pub(super) fn read_all(root: &Path, scopes: &[ScopeInfo]) -> Result<Vec<Mutant>, String> {
    let failed = |error| format!("cannot read {DIRECTORY}: {error}");
    let mut mutants = Vec::new();
    for entry in fs::read_dir(root.join(DIRECTORY)).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "patch") {
            let shown = format!("{DIRECTORY}/{}", file.file_name().unwrap_or_default().to_string_lossy());
            let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {shown}: {error}"))?;
            mutants.push(parse(&text, &shown, &file, scopes)?);
        }
    }
    if mutants.is_empty() {
        return Err(format!("there is no mutant in {DIRECTORY}"));
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

fn parse(text: &str, shown: &str, file: &Path, scopes: &[ScopeInfo]) -> Result<Mutant, String> {
    let mut values: [Option<String>; 4] = Default::default();
    let mut diff = false;
    for (index, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", index + 1);
        if line.starts_with("diff ") || line.starts_with("--- ") {
            diff = true;
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let found =
            line.split_once(':').and_then(|(key, value)| Some((KEYS.iter().position(|k| *k == key)?, value.trim())));
        match found {
            None => {
                return Err(format!("{place}: `{line}` is no header; give {} before the diff", list()));
            }
            Some((key, "")) => return Err(format!("{place}: `{}:` is empty", KEYS[key])),
            Some((key, _)) if values[key].is_some() => return Err(format!("{place}: a second `{}:`", KEYS[key])),
            Some((key, value)) => values[key] = Some(value.to_string()),
        }
    }
    let mut take = |key: usize| {
        values[key].take().ok_or_else(|| format!("{shown}: no `{}:` before the diff; give {}", KEYS[key], list()))
    };
    let (description, from, scope, property) = (take(0)?, take(1)?, take(2)?, take(3)?);
    let (property, alone) = match property.strip_suffix(", alone") {
        Some(property) => (property.to_string(), true),
        None => (property, false),
    };
    if !diff {
        return Err(format!("{shown}: no diff follows the header"));
    }
    if !scopes.iter().any(|known| known.name == scope) {
        let known: Vec<&str> = scopes.iter().map(|scope| scope.name.as_str()).collect();
        return Err(format!("{shown}: {}", unknown("scope", &scope, &known, "`check --list`")));
    }
    let (name, changed) = (plain(shown).into(), changed(text));
    Ok(Mutant { name, description, from, scope, property, alone, file: file.into(), changed })
}

/// The files that a diff takes from and those that it makes, none outside.
fn changed(diff: &str) -> Vec<PathBuf> {
    let name = |line| ["--- a/", "+++ b/", "rename from "].iter().find_map(|start| str::strip_prefix(line, start));
    let inside = |file: &PathBuf| file.components().all(|part| matches!(part, Component::Normal(_)));
    // A time may follow a tab.
    let names = diff.lines().filter_map(name).map(|name| name.split('\t').next().unwrap_or(name));
    let mut files: Vec<PathBuf> = names.map(PathBuf::from).filter(inside).collect();
    files.sort();
    files.dedup();
    files
}

fn list() -> String {
    KEYS.map(|key| format!("`{key}:`")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::{changed, parse, plain};
    use crate::cli::ScopeInfo;
    use std::path::Path;

    const GOOD: &str = "Mutant: an acceptor forgets\nFrom: the original\n\nScope: one-slot\nProperty: promises-kept\n\ndiff --git a/x b/x\nBad: not looked at\n";

    fn parsed(text: &str) -> Result<super::Mutant, String> {
        let scope = ScopeInfo { name: "one-slot".into(), description: "d".into(), default: true, small: true };
        parse(text, "spec/mutants/forgets.patch", Path::new("forgets.patch"), &[scope])
    }

    #[test]
    fn a_header_is_read() {
        let mutant = parsed(GOOD).unwrap();
        assert_eq!((mutant.name.as_str(), mutant.description.as_str()), ("forgets", "an acceptor forgets"));
        assert_eq!((mutant.scope.as_str(), mutant.property.as_str()), ("one-slot", "promises-kept"));
        assert!(!mutant.alone);
        let mutant = parsed(&GOOD.replace("promises-kept", "agreement, alone")).unwrap();
        assert_eq!((mutant.property.as_str(), mutant.alone), ("agreement", true));
    }

    #[test]
    fn a_diff_speaks_of_what_it_changes_adds_removes_and_renames() {
        let diff = "--- a/x/changed.rs\t2026-01-01\n+++ b/x/changed.rs\n--- /dev/null\n+++ b/added\n--- a/removed\n+++ /dev/null\n\
            rename from old\nrename to new\n--- a/../outside\n+++ b//outside\n-- a/x\n";
        assert_eq!(changed(diff), ["added", "old", "removed", "x/changed.rs"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_malformed_header_is_one_line_that_names_the_place() {
        for (from, to, expected) in [
            (
                "From: the original\n",
                "",
                "forgets.patch: no `From:` before the diff; give `Mutant:`, `From:`, `Scope:`, `Property:`",
            ),
            ("From:", "Form:", "forgets.patch:2: `Form: the original` is no header; give"),
            ("From: the original", "From:", "forgets.patch:2: `From:` is empty"),
            ("From: the original", "Mutant: again", "forgets.patch:2: a second `Mutant:`"),
            ("one-slot", "one-slto", "forgets.patch: there is no scope `one-slto`; nearest is `one-slot`"),
            ("diff --git a/x b/x\nBad: not looked at\n", "", "forgets.patch: no diff follows the header"),
        ] {
            let error = parsed(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}\ndoes not say {expected}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_name_may_be_given_as_a_file() {
        assert_eq!(["a", "a.patch", "spec/mutants/a.patch"].map(plain), ["a", "a", "a"]);
    }
}
