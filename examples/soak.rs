//! Real nodes under load and faults for a given time, and the judgement of everything that clients saw.
//!
//! ```bash
//! tests/fire/soak --seconds 1800
//! tests/fire/soak --seconds 60 --seed 7 --nodes 5    # what a run printed as its seed repeats its schedule
//! ```
//!
//! Prints each step as it begins, then operations, faults by kind, failovers, the worst time without an answer, and verdicts. Ends with status 0 if
//! all promises were kept, 1 if one was not or the run could not be judged, and 2 for wrong usage. With `PAXOS_FIRE_KEEP` set, the
//! directory of a run that failed is kept, with the nodes' data and logs. Linux only; needs a C compiler.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/fire/harness/mod.rs"]
mod harness;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use harness::Settings;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs nodes under load and faults, and judges what clients saw.
#[derive(Parser)]
struct Cli {
    /// How long faults go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What fixes the schedule; without it, one that is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes: 3, 5 or 7.
    #[arg(long, default_value = "3", value_parser = PossibleValuesParser::new(["3", "5", "7"]).map(|nodes| nodes.parse::<usize>().expect("a number")))]
    nodes: usize,
    #[arg(long, default_value_t = 12)]
    clients: u64,
    /// Where the programs `node`, `logcat` and `check` are; without it, beside this one.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Puts the nodes into network namespaces, which needs the privileges for that, in place of a proxy on the loopback interface.
    #[arg(long)]
    namespaces: bool,
    /// Only faults whose names, as they are printed at the end, contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Lets the nodes write no traces, which are replayed otherwise: they take room in the directory for temporary files, some MiB a second.
    #[arg(long)]
    untraced: bool,
    /// Does not print the steps.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.to_path_buf());
    let Some(programs) = cli.programs.or_else(beside) else {
        eprintln!("soak: this program has no directory");
        return ExitCode::FAILURE;
    };
    let settings = Settings {
        seed: cli.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        seconds: cli.seconds,
        nodes: cli.nodes,
        clients: cli.clients,
        node: programs.join("node"),
        logcat: programs.join("logcat"),
        check: (!cli.untraced).then(|| programs.join("check")),
        namespaces: cli.namespaces,
        only: cli.only,
        tell: !cli.quiet,
    };
    let Settings { seconds, seed, nodes, clients, only, .. } = &settings;
    let spaces = if settings.namespaces { " --namespaces" } else { "" };
    let only = if only.is_empty() { String::new() } else { format!(" --only {only:?}") };
    let again =
        format!("tests/fire/soak --seconds {seconds} --seed {seed} --nodes {nodes} --clients {clients}{spaces}{only}");
    println!("{again}");
    let report = match harness::run(&settings) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("soak: {why}; are the programs built? tests/fire/soak builds them");
            return ExitCode::FAILURE;
        }
    };
    print!("{report}");
    if report.failures().is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("again: {again}");
    ExitCode::FAILURE
}
