//! How a mutant is found: the result says by what, the error that it was not.

use super::mutants::{Mutant, header};
use super::workshop::COPY;
use super::{Cli, harness, replay};
use harness::Settings;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What stands for all verdicts.
const ANY: &str = "any";

/// Puts a mutant under fire until it is found.
pub(crate) fn by_fire(cli: &Cli, programs: &Path, mutant: &Mutant) -> Result<String, String> {
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

/// Simulates lives of a mutant.
pub(crate) fn by_simulation(cli: &Cli, programs: &Path, mutant: &Mutant) -> Result<String, String> {
    let mut simulate = Command::new(programs.join("examples/simulate"));
    // Others than the verdict that it must be may come first.
    simulate.args(["--seed", "1", "--failures", "20", "--seconds"]).arg(cli.seconds.to_string());
    let output = simulate.output().map_err(|error| format!("NOT JUDGED: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let failures: Vec<&str> = told.lines().filter(|line| line.starts_with("seed ")).collect();
    let lives = told.lines().find(|line| line.contains(" lives in ")).unwrap_or("no lives");
    let first = |why: &str| why.chars().take(300).collect::<String>();
    match failures.iter().find(|why| why.contains(&mutant.verdict)) {
        Some(why) => Ok(format!("found {} times in {lives}: {}", failures.len(), first(why))),
        None if failures.is_empty() => Err(format!("SURVIVED {lives}")),
        None => Err(format!("found, but not by {:?}, in {lives}: {}", mutant.verdict, first(failures[0]))),
    }
}

/// Has the check refute a mutant, and the mutant's own loop repeat the counterexample; these sources' must not go along. The
/// counterexample is kept below `target/fire/`.
pub(crate) fn by_round_trip(root: &Path, programs: &Path, mutant: &Mutant) -> Result<String, String> {
    let scope = header(&mutant.patch, "Scope")?;
    let file = root.join(COPY).join(format!("target/check/{scope}-{}.json", mutant.verdict));
    let _ = fs::remove_file(&file);
    let mut check = Command::new(programs.join("check"));
    check.arg(&scope).output().map_err(|error| format!("the check does not run: {error}"))?;
    let text =
        fs::read_to_string(&file).map_err(|_| format!("the check does not refute {scope} by {}", mutant.verdict))?;
    let kept = root.join(format!("target/fire/{}.json", mutant.name));
    fs::write(&kept, &text).map_err(|error| format!("{}: {error}", kept.display()))?;
    let mut repeat = Command::new(programs.join("examples/roundtrip"));
    let repeated = repeat.arg(&file).output().map_err(|error| format!("it cannot be repeated: {error}"))?;
    let told = String::from_utf8_lossy(&repeated.stdout);
    let told = told.lines().last().unwrap_or("it does not say why");
    if !repeated.status.success() {
        return Err(format!("the mutant's loop does not show it: {told:.600}"));
    }
    let here = replay::repeat(&replay::file::read(&text)?)?;
    match &here.differs {
        Some((number, why)) => {
            Ok(format!("{scope}, {}: {told}; without the bug step {number} differs: {why:.300}", mutant.verdict))
        }
        None => Err("without the bug the loop does the same in all that is compared".into()),
    }
}
