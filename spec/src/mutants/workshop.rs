//! The copies of the workspace in which mutants are built, and the programs that run there.
//!
//! A file of the copy is written only where its content differs, so that its time stays and a build redoes no more than a mutant changed.

use super::{
    Mutant,
    joined::{Change, SWITCH},
};
use crate::report::RunReport;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

const COPY: &str = "target/mutants/work";
const BUILD: &str = "target/mutants/build";
/// Time that a scope is given to refute a mutant.
const CHECK_SECONDS: u64 = 180;
/// What a check that does not heed its limit is given on top.
const GRACE_SECONDS: u64 = 60;
const BUILD_SECONDS: u64 = 1200;
/// Time to shorten a counterexample, of which the matrix shows nothing but the length.
const SHORTENING_SECONDS: u64 = 2;

pub(super) struct Workshop {
    root: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

/// A check that is a mutant's when the switch says `number`; one that was built alone does not heed it.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) number: usize,
}

struct Ended {
    status: ExitStatus,
    stderr: String,
}

impl Workshop {
    /// Makes the copy, or brings it up to date.
    pub(super) fn open(root: &Path) -> Result<Workshop, String> {
        let make = |directory: &str| {
            let path = root.join(directory);
            fs::create_dir_all(&path)
                .and_then(|()| fs::canonicalize(&path))
                .map_err(|e| format!("cannot make {directory}: {e}"))
        };
        let workshop = Workshop { root: root.to_path_buf(), copy: make(COPY)?, build: make(BUILD)? };
        workshop.restore()?;
        Ok(workshop)
    }

    /// Leaves the copy without a mutant.
    pub(super) fn close(&self) -> Result<(), String> {
        self.restore()
    }

    /// What a mutant changes; never nothing.
    pub(super) fn changes(&self, mutant: &Mutant) -> Result<Vec<Change>, String> {
        self.restore()?;
        self.apply(mutant)?;
        let failed = |error| format!("cannot compare the copy: {error}");
        let read = |directory: &Path, file: &Path| match fs::read_to_string(directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        };
        let mut changes = Vec::new();
        for file in differing(&self.root, &self.copy).map_err(failed)? {
            let (before, after) = (read(&self.root, &file).map_err(failed)?, read(&self.copy, &file).map_err(failed)?);
            changes.push(Change { file, before, after });
        }
        if changes.is_empty() { Err(format!("{} changes nothing", shown(mutant))) } else { Ok(changes) }
    }

    /// Builds a mutant's check, which is one by itself, kept as `number`.
    pub(super) fn make(&self, mutant: &Mutant, number: usize) -> Result<Program, String> {
        self.restore()?;
        self.apply(mutant)?;
        self.build(number)
    }

    /// Builds a check with `files` in place of the workspace's, kept as `number`.
    pub(super) fn make_joined(&self, files: &BTreeMap<PathBuf, String>, number: usize) -> Result<Program, String> {
        self.restore()?;
        let write = |(file, text): (&PathBuf, &String)| fs::write(self.copy.join(file), text);
        files.iter().try_for_each(write).map_err(|error| format!("cannot write {COPY}: {error}"))?;
        self.build(number)
    }

    /// A text of the workspace.
    pub(super) fn read(&self, file: &Path) -> Result<String, String> {
        fs::read_to_string(self.root.join(file)).map_err(|error| format!("cannot read {}: {error}", file.display()))
    }

    /// Makes the copy equal to the workspace again.
    fn restore(&self) -> Result<(), String> {
        mirror(&self.root, &self.copy, true).map_err(|error| format!("cannot copy the workspace to {COPY}: {error}"))
    }

    /// Applies a mutant's patch to the copy.
    fn apply(&self, mutant: &Mutant) -> Result<(), String> {
        let file = fs::canonicalize(&mutant.file).map_err(|error| format!("cannot read its patch: {error}"))?;
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"]).arg(&file);
        // Outside any repository, or git would take the paths for those of the repository around the copy, and skip them.
        git.env("GIT_CEILING_DIRECTORIES", self.copy.parent().unwrap_or(&self.copy))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE");
        let ended = match self.run(&mut git, "git", 60) {
            Err(error) if error.contains("not found") || error.contains("No such file") => {
                let mut patch = Command::new("patch");
                patch.args(["-p1", "--batch", "--forward", "--fuzz=0", "-i"]).arg(&file);
                self.run(&mut patch, "patch", 60)?
            }
            ended => ended?,
        };
        let applied = ended.status.success();
        if applied {
            Ok(())
        } else {
            Err(format!("{} does not apply: {}", shown(mutant), said(&ended.stderr, "error")))
        }
    }

    /// Builds the check in the copy, and keeps it as `number`.
    fn build(&self, number: usize) -> Result<Program, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--quiet", "--locked", "--package", "paxos-spec", "--bin", "check", "--target-dir"])
            .arg(&self.build);
        // Nobody looks at a mutant in a debugger; optimising across the parts of a crate takes more time than it saves here; and the next build
        // differs from this one in a function.
        cargo
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_PROFILE_DEV_LTO", "off")
            .env("CARGO_TERM_COLOR", "never");
        let ended = self.run(&mut cargo, "cargo", BUILD_SECONDS)?;
        if !ended.status.success() {
            return Err(format!("does not build: {}", said(&ended.stderr, "error")));
        }
        let suffix = std::env::consts::EXE_SUFFIX;
        let path = self.build.join(format!("check-{number}{suffix}"));
        fs::copy(self.build.join("debug").join(format!("check{suffix}")), &path)
            .map_err(|error| format!("cannot copy the check: {error}"))?;
        Ok(Program { path, number })
    }

    /// Runs a check on scopes, for one property alone if there is one, and reads its report.
    pub(super) fn check(
        &self,
        program: &Program,
        scopes: &[&str],
        property: Option<&String>,
        reductions: bool,
    ) -> Result<RunReport, String> {
        let report = self.build.join(format!("report-{}.json", program.number));
        match fs::remove_file(&report) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot remove an old report: {error}"));
            }
            _ => (),
        }
        let mut check = Command::new(&program.path);
        check.env(SWITCH, program.number.to_string());
        check.args(scopes).arg("--json").arg(&report).args(["--seconds", &CHECK_SECONDS.to_string()]);
        check.args(["--shortening-seconds", &SHORTENING_SECONDS.to_string()]);
        if let Some(property) = property {
            check.args(["--property", property]);
        }
        if !reductions {
            check.arg("--no-reductions");
        }
        let ended = self.run(&mut check, "the check", CHECK_SECONDS + GRACE_SECONDS)?;
        let text = fs::read_to_string(&report).map_err(|_| {
            format!("the check wrote no report ({}): {}", ended.status, said(&ended.stderr, "panicked"))
        })?;
        let run: RunReport =
            serde_json::from_str(&text).map_err(|error| format!("the check's report cannot be read: {error}"))?;
        if ended.status.code() == Some(run.exit_status.into()) {
            Ok(run)
        } else {
            Err(format!("the check's report says {}, but it ended with {}", run.exit_status, ended.status))
        }
    }

    /// Runs a program in the copy, and ends it when its time is up.
    fn run(&self, command: &mut Command, name: &str, limit_seconds: u64) -> Result<Ended, String> {
        let command = command.current_dir(&self.copy).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
        let (sender, output) = mpsc::channel();
        let stderr = child.stderr.take();
        // The pipe closes when the program ends: that is awaited, since a child cannot be awaited with a limit.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = stderr {
                let _ = io::Read::read_to_end(&mut pipe, &mut bytes);
            }
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        let Ok(stderr) = output.recv_timeout(Duration::from_secs(limit_seconds)) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} did not end within {limit_seconds} s"));
        };
        let status = child.wait().map_err(|error| format!("cannot wait for {name}: {error}"))?;
        Ok(Ended { status, stderr })
    }
}

/// The first line of `stderr` that has `word`, or else its last line.
fn said(stderr: &str, word: &str) -> String {
    let line = stderr.lines().find(|line| line.contains(word)).or_else(|| stderr.lines().last());
    line.unwrap_or("it does not say why").trim().to_string()
}

/// Whether an entry of the workspace's root is part of the sources.
fn is_source(name: &str) -> bool {
    !matches!(name, "target" | "data") && (!name.starts_with('.') || name == ".cargo")
}

fn entries(directory: &Path, top: bool) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !top || is_source(&name.to_string_lossy()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Makes `to` equal to `from`, writing only what differs.
fn mirror(from: &Path, to: &Path, top: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let wanted = entries(from, top)?;
    for name in entries(to, top)?.difference(&wanted) {
        remove(&to.join(name))?;
    }
    for name in &wanted {
        let (source, place) = (from.join(name), to.join(name));
        if source.is_dir() {
            if place.is_file() {
                remove(&place)?;
            }
            mirror(&source, &place, false)?;
        } else if source.is_file() {
            if place.is_dir() {
                remove(&place)?;
            }
            let content = fs::read(&source)?;
            if fs::read(&place).ok().as_ref() != Some(&content) {
                fs::write(&place, content)?;
            }
        }
    }
    Ok(())
}

/// The files, as seen from the root, in which the sources of two copies differ, or which only one of them has.
fn differing(one: &Path, other: &Path) -> io::Result<Vec<PathBuf>> {
    fn compare(one: &Path, other: &Path, at: &Path, top: bool, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let names = |directory: &Path| if directory.is_dir() { entries(directory, top) } else { Ok(BTreeSet::new()) };
        for name in names(&one.join(at))?.union(&names(&other.join(at))?) {
            let place = at.join(name);
            let (a, b) = (one.join(&place), other.join(&place));
            if a.is_dir() || b.is_dir() {
                compare(one, other, &place, false, found)?;
            } else if fs::read(&a).ok() != fs::read(&b).ok() {
                found.push(place);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    compare(one, other, Path::new(""), true, &mut found)?;
    Ok(found)
}

/// A mutant's file, for people.
fn shown(mutant: &Mutant) -> String {
    format!("{}/{}.patch", super::DIRECTORY, mutant.name)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::{differing, mirror, said};
    use std::{fs, path::PathBuf};

    #[test]
    fn the_copy_is_restored_and_what_is_equal_is_not_touched() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in ["Cargo.toml", "model/src/lib.rs", "target/x", ".git/x", "data/x", "model/target/kept"] {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        mirror(from.path(), to.path(), true).unwrap();
        assert!(!["target", ".git", "data"].iter().any(|name| to.path().join(name).exists()));
        assert_eq!(differing(from.path(), to.path()).unwrap(), Vec::<PathBuf>::new());
        let time = |file: &str| fs::metadata(to.path().join(file)).unwrap().modified().unwrap();
        let before = time("Cargo.toml");

        fs::write(to.path().join("model/src/lib.rs"), "changed").unwrap();
        fs::write(to.path().join("model/src/lib.rs.orig"), "left by patch").unwrap();
        fs::create_dir(to.path().join("target")).unwrap();
        let changed = ["model/src/lib.rs", "model/src/lib.rs.orig"].map(PathBuf::from);
        assert_eq!(differing(from.path(), to.path()).unwrap(), changed);
        mirror(from.path(), to.path(), true).unwrap();
        assert_eq!(differing(from.path(), to.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_to_string(to.path().join("model/src/lib.rs")).unwrap(), "model/src/lib.rs");
        assert_eq!(time("Cargo.toml"), before);
        assert!(to.path().join("target").exists(), "what the copy built stays");
    }

    #[test]
    fn the_line_that_says_why_is_found() {
        assert_eq!(said("warning: a\nerror: b\n  c\n", "error"), "error: b");
        assert_eq!(said("a\nb\n", "error"), "b");
        assert_eq!(said("", "error"), "it does not say why");
    }
}
