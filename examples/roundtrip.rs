//! Repeats a counterexample of the check with the real loops of nodes, over a network in memory.
//!
//! ```bash
//! cargo run --bin check -- one-slot-three-owners     # of a broken rule: writes target/check/SCOPE-PROPERTY.json
//! tests/simulation/roundtrip target/check/one-slot-three-owners-promises-kept.json
//! ```
//!
//! Each step's input goes to the node that takes it; what the node sends, saves and says of itself, and the timers that it sets, are compared with
//! the file. Ends with status 0 if the nodes do the same to the end, and so break the property; 1 if they do not; 2 if the file cannot be
//! repeated, or the same steps show nothing: the property speaks of something that is not compared, or no loop delivers a node's messages to
//! itself as it happens there.

#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../tests/simulation/peers.rs"]
mod peers;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/simulation/replay/mod.rs"]
mod replay;

use clap::Parser;
use replay::Verdict;
use std::path::PathBuf;
use std::process::ExitCode;

/// Repeats a counterexample of the check with the nodes that are deployed.
#[derive(Parser)]
struct Cli {
    /// The file, as `check` writes it below `target/check/`.
    file: PathBuf,
    /// Prints each step.
    #[arg(long)]
    steps: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let unusable = |why: String| {
        eprintln!("roundtrip: {}: {why}", cli.file.display());
        ExitCode::from(2)
    };
    let read = std::fs::read_to_string(&cli.file).map_err(|error| error.to_string());
    let example = match read.and_then(|text| replay::file::read(&text)) {
        Ok(example) => example,
        Err(why) => return unusable(why),
    };
    println!("`{}` does not hold in scope `{}`: {}", example.property, example.scope, example.explanation);
    if cli.steps {
        for (number, step) in (1..).zip(&example.replay.steps) {
            let scripted = if number <= example.replay.beginning { " (scripted)" } else { "" };
            println!("{number:4}.{scripted} {}", replay::told(step));
        }
    }
    match replay::repeat(&example) {
        Ok(repeated) => {
            println!("{repeated}");
            match repeated.verdict() {
                Verdict::Broken => ExitCode::SUCCESS,
                Verdict::Differs => ExitCode::FAILURE,
                Verdict::NotShown => ExitCode::from(2),
            }
        }
        Err(why) => unusable(why),
    }
}
