//! What a run leaves behind: each counterexample as text, JSON and SVG below `target/check/`, and the report that `--json` asks for.
//!
//! A file is written beside its place and then renamed, so that no reader meets half of one. Whether it can be written is asked before a long
//! run, not after it.

use super::replay::Replay;
use super::{Counterexample, RunReport, ScopeReport, Verdict, story, svg};
use serde::Serialize;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where counterexamples go, below the workspace.
pub const DIRECTORY: &str = "target/check";

/// Writes `text` to `path`, whole or not at all. The error is one line that names the path.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    let path = &target_of(path);
    let failed = |error| format!("cannot write {}: {error}", path.display());
    if is_special(path) {
        return fs::write(path, text).map_err(failed);
    }
    let beside = beside(path);
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

/// Whether [`write()`] can be expected to succeed. The error is one line that says what to do.
pub fn ensure_writable(path: &Path) -> Result<(), String> {
    let advice = "give a file in a directory that exists and can be written";
    let path = &target_of(path);
    if path.is_dir() {
        return Err(format!("cannot write {}: it is a directory; {advice}", path.display()));
    }
    if is_special(path) {
        return Ok(());
    }
    let beside = beside(path);
    let tried = fs::write(&beside, "").and_then(|()| fs::remove_file(&beside));
    tried.map_err(|error| format!("cannot write {}: {error}; {advice}", path.display()))
}

/// Makes the directory of counterexamples below `root`, and sees that it can be written.
pub fn prepare(root: &Path) -> Result<(), String> {
    let directory = root.join(DIRECTORY);
    fs::create_dir_all(&directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    ensure_writable(&directory.join("counterexample"))
}

/// A counterexample with what it takes to repeat it.
#[derive(Serialize)]
struct Exact<'a> {
    #[serde(flatten)]
    example: &'a Counterexample,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replay>,
}

/// Writes a counterexample in its three forms; returns the files, relative to `root`.
pub fn write_counterexample(root: &Path, example: &Counterexample) -> Result<Vec<String>, String> {
    let json = serde_json::to_string_pretty(&Exact { example, replay: Replay::of(example) })
        .map_err(|error| format!("cannot encode a counterexample: {error}"))?;
    let forms =
        [("txt", story::story(example)), ("json", json + "\n"), ("svg", svg::sequence_diagram(&[], &example.steps))];
    let name = |extension: &str| file(&example.scope, &example.property, extension);
    forms
        .into_iter()
        .map(|(extension, text)| write(&root.join(name(extension)), &text).map(|()| name(extension)))
        .collect()
}

/// Removes the counterexamples that earlier runs left for properties of `scope` which are not violated now.
pub fn remove_stale(root: &Path, scope: &ScopeReport) {
    for property in scope.properties.iter().filter(|property| property.verdict != Verdict::Violated) {
        for extension in ["txt", "json", "svg"] {
            let _ = fs::remove_file(root.join(file(&scope.name, &property.name, extension)));
        }
    }
}

/// Removes every counterexample that earlier runs left of `scope`. Another run may do so at the same time.
pub fn remove(root: &Path, scope: &str) -> Result<(), String> {
    let failed = |error| format!("cannot read {DIRECTORY}: {error}");
    for entry in fs::read_dir(root.join(DIRECTORY)).map_err(failed)? {
        let found = entry.map_err(failed)?;
        if found.file_name().to_string_lossy().starts_with(&format!("{scope}-")) {
            match fs::remove_file(found.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(format!("cannot remove {}: {error}", found.path().display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The whole report as JSON.
pub fn json(run: &RunReport) -> Result<String, String> {
    serde_json::to_string_pretty(run)
        .map(|text| text + "\n")
        .map_err(|error| format!("cannot encode the report: {error}"))
}

fn file(scope: &str, property: &str, extension: &str) -> String {
    let plain = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_', "-");
    format!("{DIRECTORY}/{}-{}.{extension}", plain(scope), plain(property))
}

/// The file that a symbolic link stands for.
fn target_of(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A terminal, a pipe, `/dev/null`: nothing that may be replaced by renaming.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::{ensure_writable, prepare, remove_stale, write, write_counterexample};
    use crate::report::{Verdict, samples};
    use std::{fs, path::Path};

    #[test]
    fn a_counterexample_is_written_in_three_forms_and_removed_once_stale() {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path()).unwrap();
        let mut example = samples::counterexample();
        example.property = "value recovered".into();
        let files = write_counterexample(root.path(), &example).unwrap();
        assert_eq!(files, ["txt", "json", "svg"].map(|e| format!("target/check/one-slot-value-recovered.{e}")));
        assert_eq!(fs::read_dir(root.path().join("target/check")).unwrap().count(), 3, "no temporary file stays");

        let mut scope = samples::report("one-slot");
        scope.properties[2].verdict = Verdict::Violated;
        remove_stale(root.path(), &scope);
        assert!(root.path().join(&files[0]).exists());
        scope.properties[2].verdict = Verdict::Witnessed;
        remove_stale(root.path(), &scope);
        assert_eq!(fs::read_dir(root.path().join("target/check")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_said_in_one_line() {
        let root = tempfile::tempdir().unwrap();
        for path in [root.path().to_path_buf(), root.path().join("absent/report.json")] {
            let error = ensure_writable(&path).unwrap_err();
            assert!(error.contains(&path.display().to_string()) && !error.contains('\n'), "{error}");
            assert!(write(&path, "").is_err());
        }
        let path = root.path().join("report.json");
        ensure_writable(&path).unwrap();
        assert!(!path.exists(), "asking leaves nothing behind");
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "two");
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let null = Path::new("/dev/null");
        ensure_writable(null).unwrap();
        write(null, "gone").unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
    }
}
