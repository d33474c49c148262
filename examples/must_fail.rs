//! A judge that never fails proves nothing: nodes with one known bug each are put under fire, and must be found.
//!
//! ```bash
//! tests/fire/must_fail                        # all, in about half an hour
//! tests/fire/must_fail reply-before-commit    # by name
//! ```
//!
//! A mutant is a patch: those of `tests/fire/mutants/`, whose header names the verdict that must refute it, and some of `spec/mutants/`. The workspace is
//! copied below `target/fire/`, the patch applied to the copy and the node built there; nothing else changes. Each has a few runs to be found
//! in. Ends with status 1 if one survives, does not apply or does not build.

#![allow(clippy::disallowed_methods, reason = "how long it takes is printed")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/fire/harness/mod.rs"]
mod harness;

use clap::Parser;
use harness::Settings;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const OWN: &str = "tests/fire/mutants";
const COPY: &str = "target/fire/work";
const BUILD: &str = "target/fire/build";
/// Those of the check that show here too, with the verdict that must refute them.
const OF_SPEC: [(&str, &str); 4] = [
    ("read-without-round", LINEARIZABLE),
    ("vote-not-saved", LINEARIZABLE),
    ("local-read-after-restart", "local reads never go back"),
    ("conflict-answered-as-applied", "every answer"),
];
const LINEARIZABLE: &str = "each key is linearizable";
/// What stands for all verdicts.
const ANY: &str = "any";

/// Builds nodes with one known bug each, and requires that they are found.
#[derive(Parser)]
struct Cli {
    /// Those to try; without any, all.
    names: Vec<String>,
    /// How long each run goes on.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// How many runs a mutant has to be found in.
    #[arg(long, default_value_t = 8)]
    runs: u64,
}

struct Mutant {
    name: String,
    patch: PathBuf,
    verdict: String,
}

fn mutants(root: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(root.join(OWN)).map_err(|error| format!("{OWN}: {error}"))? {
        let patch = entry.map_err(|error| error.to_string())?.path();
        let text = fs::read_to_string(&patch).map_err(|error| format!("{}: {error}", patch.display()))?;
        let verdict = text.lines().find_map(|line| line.strip_prefix("Verdict: "));
        let verdict = verdict.ok_or_else(|| format!("{} names no verdict", patch.display()))?.to_owned();
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        mutants.push(Mutant { name, patch, verdict });
    }
    for (name, verdict) in OF_SPEC {
        let patch = root.join(format!("spec/mutants/{name}.patch"));
        mutants.push(Mutant { name: name.to_owned(), patch, verdict: verdict.to_owned() });
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

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

/// Builds a node with the mutant; returns where the programs are.
fn build(root: &Path, mutant: &Mutant) -> Result<PathBuf, String> {
    let (copy, target) = (root.join(COPY), root.join(BUILD));
    mirror(root, &copy, true).map_err(|error| format!("the workspace cannot be copied to {COPY}: {error}"))?;
    let mut git = Command::new("git");
    git.args(["apply", "--whitespace=nowarn"]).arg(&mutant.patch).current_dir(&copy);
    // Or git would take the paths for those of the repository around the copy, and skip them.
    git.env("GIT_CEILING_DIRECTORIES", root.join("target/fire")).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    run(&mut git).map_err(|why| format!("does not apply: {why}"))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--bin", "node", "--bin", "logcat", "--target-dir"]).arg(&target);
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_TERM_COLOR", "never").current_dir(&copy);
    run(&mut cargo).map_err(|why| format!("does not build: {why}"))?;
    Ok(target.join("debug"))
}

/// Puts a mutant under fire until it is found. Returns by what; an error if it is not.
fn find(cli: &Cli, programs: &Path, mutant: &Mutant) -> Result<String, String> {
    for seed in 1..=cli.runs {
        let (node, logcat) = (programs.join("node"), programs.join("logcat"));
        let settings = Settings {
            seed,
            seconds: cli.seconds,
            nodes: 3,
            clients: 12,
            node,
            logcat,
            check: None,
            namespaces: false,
            only: String::new(),
            tell: false,
        };
        let found = match harness::run(&settings) {
            Ok(report) => report.failures(),
            // Then nothing was judged, and nothing found.
            Err(why) => return Err(format!("NOT JUDGED: {why}")),
        };
        let told = |why: &String| why.chars().take(300).collect::<String>();
        let named = found.iter().find(|why| mutant.verdict == ANY || why.contains(&mutant.verdict));
        if let Some(why) = named {
            return Ok(format!("found with seed {seed}: {}", told(why)));
        }
        if let Some(other) = found.first() {
            println!("    seed {seed}: found, but not by {:?}: {}", mutant.verdict, told(other));
        }
    }
    Err(format!("SURVIVED {} runs of {} s", cli.runs, cli.seconds))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = match mutants(root) {
        Ok(all) => all,
        Err(why) => {
            eprintln!("must_fail: {why}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(stranger) = cli.names.iter().find(|name| !all.iter().any(|mutant| mutant.name == **name)) {
        eprintln!("must_fail: there is no mutant {stranger}");
        return ExitCode::from(2);
    }
    let (mut found, mut survived) = (0, 0);
    for mutant in all.iter().filter(|mutant| cli.names.is_empty() || cli.names.contains(&mutant.name)) {
        let begin = Instant::now();
        let outcome = build(root, mutant).and_then(|programs| {
            println!("{}: built in {:.0} s", mutant.name, begin.elapsed().as_secs_f64());
            find(&cli, &programs, mutant)
        });
        *(if outcome.is_ok() { &mut found } else { &mut survived }) += 1;
        let outcome = outcome.unwrap_or_else(|why| why);
        println!("{}: {outcome} ({:.0} s)", mutant.name, begin.elapsed().as_secs_f64());
    }
    println!("{found} found, {survived} not");
    if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
