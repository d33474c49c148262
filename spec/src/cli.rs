//! The command line of `check`: what it takes, what it answers to a mistake, and its exit status.
//!
//! 0: every property holds in every scope that was asked for, each exhausted. 1: a violation, a witness or a mark that is missing, a mutant that
//! survived. 2: a usage error, or a scope that was not exhausted. Whatever is wrong is said in one line, before any long work begins.

mod catalogue;
mod check;
mod explore;
mod nearest;
mod original;
mod replay;
mod runs;

pub use catalogue::{Catalogue, Exhibit, RunOptions, ScopeInfo, ScopeRun, SimulateOptions};
pub(crate) use nearest::unknown;

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Checks every reachable state of bounded configurations of the replica.
#[derive(Debug, Parser)]
#[command(name = "check", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
#[command(after_help = "Exit status: 0 everything holds, exhausted; 1 a violation; 2 usage, or a scope not exhausted.")]
struct Arguments {
    #[command(flatten)]
    check: CheckArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Clone, Debug, Default)]
struct CheckArguments {
    /// Scopes to run; every default scope if none is named
    #[arg(value_name = "SCOPE")]
    scopes: Vec<String>,
    /// List the scopes and run nothing
    #[arg(long)]
    list: bool,
    /// Run the scopes one step larger
    #[arg(long, conflicts_with = "scopes")]
    full: bool,
    /// Worker threads, 1 to 256; as many as there are cores if not given
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads)]
    threads: Option<usize>,
    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write spec/record.json after a green default run, or one with --full
    #[arg(long, conflicts_with_all = ["scopes", "no_reductions", "salt", "list"])]
    record: bool,
    /// Fail unless spec/record.json is of these sources and these counts
    #[arg(long, conflicts_with_all = ["scopes", "no_reductions", "list", "record"])]
    verify: bool,
    /// Time limit of each scope, 300 if not given, 900 for those of --full; one that reaches it is incomplete
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    seconds: Option<u64>,
    /// Memory limit of the process, 6144 if not given, 12288 for the scopes of --full; a scope that reaches it is incomplete
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    memory_mib: Option<u64>,
    /// How long to look for a shorter counterexample
    #[arg(long, value_name = "N", hide = true)]
    shortening_seconds: Option<u64>,
    /// Look for a violation of this property alone, whatever else is violated before
    #[arg(long, value_name = "NAME", requires = "scopes", conflicts_with_all = ["record", "verify", "list"])]
    property: Option<String>,
    /// Visit every state without reductions
    #[arg(long)]
    no_reductions: bool,
    /// Number mixed into every fingerprint: equal counts under two salts show that no state was lost to a collision
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole)]
    salt: Option<u64>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Serve the stateright Explorer on a scope
    Explore {
        /// The scope to walk through
        scope: String,
        /// Where to listen
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
        address: String,
    },
    /// Follow deep random runs of a scope, also of one that is too large to exhaust
    Simulate {
        /// The scope to run
        scope: String,
        /// For how long
        #[arg(long, value_name = "N", default_value_t = 60, allow_negative_numbers = true, value_parser = at_least_one)]
        seconds: u64,
        /// The seed of the random choices
        #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true, value_parser = whole)]
        seed: u64,
        /// Worker threads, 1 to 256; as many as there are cores if not given
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads)]
        threads: Option<usize>,
    },
    /// Take the steps that nodes wrote down (node --trace) again, and judge them
    Replay {
        /// Files of traces, of one cluster, or directories of them
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Serve the Explorer on the last steps
        #[arg(long)]
        explore: bool,
        /// Where to listen
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000", requires = "explore")]
        address: String,
    },
    /// Refute the Go original, with its shortest counterexamples
    Original,
    /// Refute every known bug in spec/mutants
    Mutants {
        /// Mutants to run; all if none is named
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Write the kill matrix to spec/README.md
        #[arg(long, conflicts_with = "names")]
        write: bool,
    },
}

/// The names that a scope cannot have, since the command line takes them for subcommands.
pub const SUBCOMMANDS: [&str; 6] = ["explore", "simulate", "replay", "original", "mutants", "help"];

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("give a number of threads from 1 to 256".into()),
    }
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a whole number from 0 to 2^64 - 1".into())
}

fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "give a whole number of at least 1".into())
}

/// Where a command finds the workspace, and where it prints.
pub(crate) struct Console<'a> {
    /// The root of the workspace.
    pub(crate) root: &'a Path,
    /// What was asked for.
    pub(crate) out: &'a mut dyn Write,
    /// Progress and errors.
    pub(crate) err: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub(crate) out_is_terminal: bool,
    /// Whether `err` is a terminal.
    pub(crate) err_is_terminal: bool,
}

impl Console<'_> {
    /// Prints to `out`. Nobody listening any more is no reason to stop: the exit status still tells.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }
}

/// Runs the command line of this process.
pub fn main(catalogue: &dyn Catalogue) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut console = Console {
        root: manifest.parent().unwrap_or(manifest),
        out_is_terminal: out.is_terminal(),
        err_is_terminal: err.is_terminal(),
        out: &mut out,
        err: &mut err,
    };
    ExitCode::from(run(catalogue, std::env::args_os(), &mut console))
}

/// Runs `arguments`, the first of which is the program's name; returns the exit status.
pub(crate) fn run(
    catalogue: &dyn Catalogue,
    arguments: impl IntoIterator<Item = OsString>,
    console: &mut Console<'_>,
) -> u8 {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            console.say(error.to_string().trim_end());
            return 0;
        }
        Err(error) => {
            let _ = writeln!(console.err, "check: {}; `check --help` shows the usage", one_line(&error.to_string()));
            return 2;
        }
    };
    let outcome = match parsed.command {
        None => check::run(catalogue, &parsed.check, console),
        Some(Command::Explore { scope, address }) => explore::explore(catalogue, &scope, &address, console),
        Some(Command::Simulate { scope, seconds, seed, threads }) => {
            let threads = threads.unwrap_or_else(|| RunOptions::default().threads);
            explore::simulate(catalogue, &scope, &SimulateOptions { seconds, seed, threads }, console)
        }
        Some(Command::Replay { files, explore, address }) => {
            replay::run(&files, explore.then_some(address.as_str()), console)
        }
        Some(Command::Original) => original::run(catalogue, console),
        Some(Command::Mutants { names, write }) => crate::mutants::run(catalogue, &names, write, console),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(console.err, "check: {error}");
        2
    })
}

/// The parser's message without its usage, on one line.
fn one_line(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let said =
        message.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim).filter(|line| !line.is_empty());
    let told = said.filter(|line| !line.starts_with("For more information")).collect::<Vec<_>>().join(" ");
    told.replace(" tip: ", "; ")
}

#[cfg(test)]
mod tests;
