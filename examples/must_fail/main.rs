//! A judge that never fails proves nothing: nodes with one known bug each are put under fire, or simulated, and must be found.
//!
//! ```bash
//! tests/fire/must_fail                        # all, in about half an hour
//! tests/fire/must_fail reply-before-commit    # by name
//! tests/fire/must_fail --by simulation        # by `tests/simulation/run`, in about as long: most of it is for building
//! tests/fire/must_fail --by round-trip        # some that the check refutes: their own loops repeat its counterexamples
//! ```
//!
//! A mutant is a patch: those of `tests/fire/mutants/`, whose header names the verdict that must refute it, and some of `spec/mutants/`. The workspace is
//! copied below `target/fire/`, the patch applied to the copy and what finds it built there; nothing else changes. Under fire each has a few
//! runs to be found in. Ends with status 1 if one survives, does not apply or does not build.

#![allow(clippy::disallowed_methods, reason = "how long it takes is printed")]

mod finds;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/fire/harness/mod.rs"]
mod harness;
mod mutants;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../tests/simulation/peers.rs"]
mod peers;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/simulation/replay/mod.rs"]
mod replay;
mod workshop;

use clap::{Parser, ValueEnum};
use mutants::Mutant;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Builds nodes with one known bug each, and requires that they are found.
#[derive(Parser)]
struct Cli {
    /// Those to try; without any, all of whoever must find them.
    names: Vec<String>,
    /// How long each run goes on, where one may go on for ever.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// How many runs a mutant has to be found in.
    #[arg(long, default_value_t = 8)]
    runs: u64,
    /// Who must find them.
    #[arg(long, value_enum, default_value_t = By::Fire)]
    by: By,
}

/// Who must find a mutant.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// `tests/fire/soak`: processes.
    Fire,
    /// `tests/simulation/run`: the loop alone.
    Simulation,
    /// `check`, and the loop that repeats its counterexample.
    RoundTrip,
}

impl By {
    fn mutants(self, root: &Path, names: &[String]) -> Result<Vec<Mutant>, String> {
        match self {
            By::Fire => mutants::of_fire(root),
            By::Simulation => Ok(mutants::of_simulation(root)),
            By::RoundTrip => mutants::of_round_trip(root, names),
        }
    }

    /// What is built of a mutant.
    fn programs(self) -> &'static [&'static [&'static str]] {
        match self {
            By::Fire => &[&["--bin", "node", "--bin", "logcat"]],
            By::Simulation => &[&["--example", "simulate"]],
            By::RoundTrip => &[&["--example", "roundtrip"], &["-p", "paxos-spec", "--bin", "check"]],
        }
    }

    fn find(self, cli: &Cli, root: &Path, programs: &Path, mutant: &Mutant) -> Result<String, String> {
        match self {
            By::Fire => finds::by_fire(cli, programs, mutant),
            By::Simulation => finds::by_simulation(cli, programs, mutant),
            By::RoundTrip => finds::by_round_trip(root, programs, mutant),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = match cli.by.mutants(root, &cli.names) {
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
        let outcome = workshop::build(root, mutant, cli.by.programs()).and_then(|programs| {
            println!("{}: built in {:.0} s", mutant.name, begin.elapsed().as_secs_f64());
            cli.by.find(&cli, root, &programs, mutant)
        });
        *(if outcome.is_ok() { &mut found } else { &mut survived }) += 1;
        let outcome = outcome.unwrap_or_else(|why| why);
        println!("{}: {outcome} ({:.0} s)", mutant.name, begin.elapsed().as_secs_f64());
    }
    println!("{found} found, {survived} not");
    if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
