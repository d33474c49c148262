//! The copies of the workspace in which mutants are built, and the programs that run there.
//!
//! A file of the copy is written only where its content differs, so that its time stays and a build redoes no more than a mutant changed.

use super::Mutant;
use crate::report::RunReport;
use std::{
    collections::BTreeSet,
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

struct Ended {
    status: ExitStatus,
    stderr: String,
}

impl Workshop {
    /// Makes the copy of workshop `number`, or brings it up to date.
    pub(super) fn open(root: &Path, number: usize) -> Result<Workshop, String> {
        let make = |directory: &str| {
            let path = root.join(directory);
            fs::create_dir_all(&path)
                .and_then(|()| fs::canonicalize(&path))
                .map_err(|e| format!("cannot make {directory}: {e}"))
        };
        let (copy, build) = (make(&format!("{COPY}-{number}"))?, make(&format!("{BUILD}-{number}"))?);
        let workshop = Workshop { root: root.to_path_buf(), copy, build };
        workshop.restore()?;
        Ok(workshop)
    }

    /// Leaves the copy without a mutant.
    pub(super) fn close(&self) -> Result<(), String> {
        self.restore()
    }

    /// Builds what no mutant changes, in this workshop, and copies it to `others` that have built nothing: so it is built once.
    pub(super) fn prepare(&self, others: &[Workshop]) -> Result<(), String> {
        let empty = |other: &&Workshop| !other.build.join("debug").exists();
        let others: Vec<&Workshop> = others.iter().filter(empty).collect();
        if !others.is_empty() {
            self.build()?;
        }
        let copied = others.iter().try_for_each(|other| copy_with_times(&self.build, &other.build));
        copied.map_err(|error| format!("cannot copy {BUILD}: {error}"))
    }

    /// Builds a mutant's check.
    pub(super) fn make(&self, mutant: &Mutant) -> Result<PathBuf, String> {
        self.restore()?;
        self.apply(mutant)?;
        self.build()?;
        Ok(self.build.join("debug").join(format!("check{}", std::env::consts::EXE_SUFFIX)))
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
        let shown = format!("{}/{}.patch", super::DIRECTORY, mutant.name);
        if !ended.status.success() {
            return Err(format!("{shown} does not apply: {}", said(&ended.stderr, "error")));
        }
        let changed = differs(&self.root, &self.copy).map_err(|error| format!("cannot compare the copy: {error}"))?;
        if changed { Ok(()) } else { Err(format!("{shown} changes nothing")) }
    }

    /// Builds the check in the copy.
    fn build(&self) -> Result<(), String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--quiet", "--locked", "--package", "paxos-spec", "--bin", "check", "--target-dir"])
            .arg(&self.build);
        // Nobody looks at a mutant in a debugger; and optimising across the parts of a crate takes more time than it saves here.
        cargo
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_PROFILE_DEV_LTO", "off")
            .env("CARGO_TERM_COLOR", "never");
        let ended = self.run(&mut cargo, "cargo", BUILD_SECONDS)?;
        if ended.status.success() { Ok(()) } else { Err(format!("does not build: {}", said(&ended.stderr, "error"))) }
    }

    /// Runs a mutant's check on its scope, for its property alone if it says so, and reads its report.
    pub(super) fn check(&self, program: &Path, mutant: &Mutant, reductions: bool) -> Result<RunReport, String> {
        let report = self.copy.join("target").join("report.json");
        let _ = fs::remove_file(&report);
        fs::create_dir_all(self.copy.join("target")).map_err(|error| format!("cannot make {COPY}/target: {error}"))?;
        let mut check = Command::new(program);
        check.arg(&mutant.scope).arg("--json").arg(&report).args(["--seconds", &CHECK_SECONDS.to_string()]);
        check.args(["--shortening-seconds", &SHORTENING_SECONDS.to_string()]);
        if mutant.alone {
            check.args(["--property", &mutant.property]);
        }
        if !reductions {
            check.arg("--no-reductions");
        }
        let ended = self.run(&mut check, "the check", CHECK_SECONDS + GRACE_SECONDS)?;
        let text = fs::read_to_string(&report).map_err(|_| {
            format!("the check wrote no report ({}): {}", ended.status, said(&ended.stderr, "panicked"))
        })?;
        serde_json::from_str(&text).map_err(|error| format!("the check's report cannot be read: {error}"))
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

/// Copies a directory. The times are kept, since builds are judged by them.
#[allow(clippy::disallowed_types, reason = "there is no other way to set a time")]
fn copy_with_times(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_with_times(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), &place)?;
            fs::File::open(&place)?.set_modified(entry.metadata()?.modified()?)?;
        }
    }
    Ok(())
}

/// Whether `to` differs from `from` in any source.
fn differs(from: &Path, to: &Path) -> io::Result<bool> {
    fn differ(from: &Path, to: &Path, top: bool) -> io::Result<bool> {
        let names = entries(from, top)?;
        if names != entries(to, top)? {
            return Ok(true);
        }
        for name in names {
            let (a, b) = (from.join(&name), to.join(&name));
            let different =
                if a.is_dir() { !b.is_dir() || differ(&a, &b, false)? } else { fs::read(&a)? != fs::read(&b)? };
            if different {
                return Ok(true);
            }
        }
        Ok(false)
    }
    differ(from, to, true)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::{differs, mirror, said};
    use std::fs;

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
        assert!(!differs(from.path(), to.path()).unwrap());
        let time = |file: &str| fs::metadata(to.path().join(file)).unwrap().modified().unwrap();
        let before = time("Cargo.toml");

        fs::write(to.path().join("model/src/lib.rs"), "changed").unwrap();
        fs::write(to.path().join("model/src/lib.rs.orig"), "left by patch").unwrap();
        fs::create_dir(to.path().join("target")).unwrap();
        assert!(differs(from.path(), to.path()).unwrap());
        mirror(from.path(), to.path(), true).unwrap();
        assert!(!differs(from.path(), to.path()).unwrap());
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
