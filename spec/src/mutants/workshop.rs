//! The copies of the workspace in which mutants are built, and the programs that run there.
//!
//! A file of the copy is written only where its content differs, so that its time stays and a build redoes no more than a mutant changed.

use super::{
    Mutant,
    joined::{Change, SWITCH},
    sources::{copy, differing, empty, mirror},
};
use crate::report::RunReport;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

const COPY: &str = "target/mutants/work";
const BUILD: &str = "target/mutants/build";
/// The programs of a run and their reports, kept until the next begins.
const CHECKS: &str = "target/mutants/checks";
/// Where a patch is tried on the few files that it speaks of: to compare whole copies for each takes long.
const TRIED: &str = "target/mutants/tried";
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
    checks: PathBuf,
    tried: PathBuf,
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
    /// Makes the copy, or brings it up to date, and removes what the run before kept.
    pub(super) fn open(root: &Path) -> Result<Workshop, String> {
        let make = |directory: &str| {
            let path = root.join(directory);
            fs::create_dir_all(&path)
                .and_then(|()| fs::canonicalize(&path))
                .map_err(|e| format!("cannot make {directory}: {e}"))
        };
        let (copy, build, checks, tried) = (make(COPY)?, make(BUILD)?, make(CHECKS)?, make(TRIED)?);
        empty(&checks).map_err(|error| format!("cannot empty {CHECKS}: {error}"))?;
        let workshop = Workshop { root: root.to_path_buf(), copy, build, checks, tried };
        workshop.restore()?;
        Ok(workshop)
    }

    /// Leaves the copy without a mutant.
    pub(super) fn close(&self) -> Result<(), String> {
        self.restore()
    }

    /// What a mutant changes; never nothing.
    pub(super) fn changes(&self, mutant: &Mutant) -> Result<Vec<Change>, String> {
        let failed = |error| format!("cannot try it in {TRIED}: {error}");
        let (before, after) = (self.tried.join("before"), self.tried.join("after"));
        for place in [&before, &after] {
            empty(place).map_err(failed)?;
            mutant.changed.iter().try_for_each(|file| copy(&self.root, place, file)).map_err(failed)?;
        }
        self.apply(mutant, &after)?;
        let read = |directory: &Path, file: &Path| match fs::read_to_string(directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        };
        let mut changes = Vec::new();
        for file in differing(&before, &after).map_err(failed)? {
            let (before, after) = (read(&before, &file).map_err(failed)?, read(&after, &file).map_err(failed)?);
            changes.push(Change { file, before, after });
        }
        if changes.is_empty() { Err(format!("{} changes nothing", shown(mutant))) } else { Ok(changes) }
    }

    /// Builds the check without a mutant.
    pub(super) fn make_original(&self) -> Result<Program, String> {
        self.restore()?;
        self.build(0)
    }

    /// Builds a mutant's check, which is one by itself, kept as `number`.
    pub(super) fn make(&self, mutant: &Mutant, number: usize) -> Result<Program, String> {
        self.restore()?;
        self.apply(mutant, &self.copy)?;
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

    /// Applies a mutant's patch to what is in a directory.
    fn apply(&self, mutant: &Mutant, directory: &Path) -> Result<(), String> {
        let file = fs::canonicalize(&mutant.file).map_err(|error| format!("cannot read its patch: {error}"))?;
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"]).arg(&file).current_dir(directory);
        // Outside any repository, or git would take the paths for those of the repository around the directory, and skip them.
        git.env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(directory))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE");
        let ended = match run(&mut git, "git", 60) {
            Err(error) if error.contains("not found") || error.contains("No such file") => {
                let mut patch = Command::new("patch");
                patch.args(["-p1", "--batch", "--forward", "--fuzz=0", "-i"]).arg(&file).current_dir(directory);
                run(&mut patch, "patch", 60)?
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
            .args(["build", "--quiet", "--locked", "--package", "paxos-spec", "--bin", "check"])
            // A line for each error, with its place.
            .args(["--message-format", "short", "--target-dir"])
            .arg(&self.build)
            .current_dir(&self.copy);
        // Nobody looks at a mutant in a debugger; optimising across the parts of a crate takes more time than it saves here; and the next build
        // differs from this one in a function.
        cargo
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_PROFILE_DEV_LTO", "off")
            .env("CARGO_TERM_COLOR", "never");
        let ended = run(&mut cargo, "cargo", BUILD_SECONDS)?;
        if !ended.status.success() {
            return Err(format!("the check does not build: {}", said(&ended.stderr, "error")));
        }
        let suffix = std::env::consts::EXE_SUFFIX;
        let path = self.checks.join(format!("check-{number}{suffix}"));
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
        let report = self.checks.join(format!("report-{}.json", program.number));
        match fs::remove_file(&report) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot remove an old report: {error}"));
            }
            _ => (),
        }
        let mut check = Command::new(&program.path);
        check.current_dir(&self.copy);
        check.env(SWITCH, program.number.to_string());
        check.args(scopes).arg("--json").arg(&report).args(["--seconds", &CHECK_SECONDS.to_string()]);
        check.args(["--shortening-seconds", &SHORTENING_SECONDS.to_string()]);
        if let Some(property) = property {
            check.args(["--property", property]);
        }
        if !reductions {
            check.arg("--no-reductions");
        }
        let ended = run(&mut check, "the check", CHECK_SECONDS + GRACE_SECONDS)?;
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
}

/// Runs a program, and ends it when its time is up.
fn run(command: &mut Command, name: &str, limit_seconds: u64) -> Result<Ended, String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
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

/// The first line of `stderr` that has `word`, or else its last line; and the causes that cargo gives below, in the same line.
fn said(stderr: &str, word: &str) -> String {
    let line = stderr.lines().find(|line| line.contains(word)).or_else(|| stderr.lines().last());
    let causes =
        stderr.lines().zip(stderr.lines().skip(1)).filter(|(line, _)| *line == "Caused by:").map(|pair| pair.1);
    let parts = std::iter::once(line.unwrap_or("it does not say why")).chain(causes);
    parts.map(str::trim).collect::<Vec<_>>().join(": ")
}

/// A mutant's file, for people.
fn shown(mutant: &Mutant) -> String {
    format!("{}/{}.patch", super::DIRECTORY, mutant.name)
}

#[cfg(test)]
mod tests {
    use super::{super::patch, Change, Mutant, Workshop, said};
    use crate::cli::ScopeInfo;
    use std::fs;

    #[test]
    fn a_patch_changes_adds_removes_and_renames_files() {
        let root = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(root.path().join(file), text).unwrap();
        for directory in ["src", "spec/mutants"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for file in ["src/a", "src/gone", "src/old", "src/other"] {
            put(file, "1\n");
        }
        put(
            "spec/mutants/bug.patch",
            "Mutant: m\nFrom: f\nScope: one-slot\nProperty: p\n\n\
            --- a/src/a\n+++ b/src/a\n@@ -1 +1 @@\n-1\n+2\n\
            --- /dev/null\n+++ b/src/deep/new\n@@ -0,0 +1 @@\n+3\n\
            --- a/src/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n\
            diff --git a/src/old b/src/moved\nsimilarity index 100%\nrename from src/old\nrename to src/moved\n",
        );
        let scope = ScopeInfo { name: "one-slot".into(), description: "d".into(), default: true, small: true };
        let bug = patch::read_all(root.path(), &[scope]).unwrap().remove(0);
        let workshop = Workshop::open(root.path()).unwrap();
        let changes = [
            ("src/a", "1\n", "2\n"),
            ("src/deep/new", "", "3\n"),
            ("src/gone", "1\n", ""),
            ("src/moved", "", "1\n"),
            ("src/old", "1\n", ""),
        ]
        .map(|(file, before, after)| Change { file: file.into(), before: before.into(), after: after.into() });
        assert_eq!(workshop.changes(&bug).unwrap(), changes);
        // A file that is not known to be changed is missed aloud; and nothing is left of what was tried before.
        let less = Mutant { changed: vec!["src/a".into(), "src/gone".into()], ..bug.clone() };
        let error = workshop.changes(&less).unwrap_err();
        assert!(error.starts_with("spec/mutants/bug.patch does not apply: error: src/old"), "{error}");
        assert_eq!(workshop.changes(&bug).unwrap(), changes);
    }

    #[test]
    fn the_line_that_says_why_is_found() {
        assert_eq!(said("warning: a\nerror: b\n  c\n", "error"), "error: b");
        assert_eq!(said("a\nb\n", "error"), "b");
        assert_eq!(said("", "error"), "it does not say why");
        assert_eq!(said("error: a\n\nCaused by:\n  b\n\nCaused by:\n  c\n", "error"), "error: a: b: c");
    }
}
