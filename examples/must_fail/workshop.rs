//! Where a mutant is built: a copy of the workspace below `target/fire/`, with the patch applied.

use super::mutants::Mutant;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The copy.
pub(crate) const COPY: &str = "target/fire/work";
const BUILD: &str = "target/fire/build";

/// What of a directory is part of the sources.
fn names(directory: &Path, top: bool) -> io::Result<BTreeSet<OsString>> {
    let all = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<BTreeSet<_>>>()?;
    let source =
        |name: &OsString| !top || !(name == "target" || name == "data" || name.to_string_lossy().starts_with('.'));
    Ok(all.into_iter().filter(source).collect())
}

/// Makes `to` equal to `from`. What is equal is not touched, so that a build redoes no more than a mutant changed.
fn mirror(from: &Path, to: &Path, top: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let wanted = names(from, top)?;
    for name in names(to, top)?.difference(&wanted) {
        let stranger = to.join(name);
        if stranger.is_dir() { fs::remove_dir_all(stranger)? } else { fs::remove_file(stranger)? }
    }
    for name in &wanted {
        let (source, place) = (from.join(name), to.join(name));
        if source.is_dir() {
            mirror(&source, &place, false)?;
        } else {
            let content = fs::read(&source)?;
            if fs::read(&place).ok().as_ref() != Some(&content) {
                fs::write(&place, content)?;
            }
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let why = told.lines().find(|line| line.contains("error")).unwrap_or("it does not say why");
    if output.status.success() { Ok(()) } else { Err(why.chars().take(300).collect()) }
}

/// Builds `programs`, as cargo is told of each, with the mutant; returns where they are.
pub(crate) fn build(root: &Path, mutant: &Mutant, programs: &[&[&str]]) -> Result<PathBuf, String> {
    let (copy, target) = (root.join(COPY), root.join(BUILD));
    mirror(root, &copy, true).map_err(|error| format!("the workspace cannot be copied to {COPY}: {error}"))?;
    let mut git = Command::new("git");
    git.args(["apply", "--whitespace=nowarn"]).arg(&mutant.patch).current_dir(&copy);
    // Or git would take the paths for those of the repository around the copy, and skip them.
    git.env("GIT_CEILING_DIRECTORIES", root.join("target/fire")).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    run(&mut git).map_err(|why| format!("does not apply: {why}"))?;
    for program in programs {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--locked"]).args(*program).arg("--target-dir").arg(&target);
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_TERM_COLOR", "never").current_dir(&copy);
        run(&mut cargo).map_err(|why| format!("does not build: {why}"))?;
    }
    Ok(target.join("debug"))
}
