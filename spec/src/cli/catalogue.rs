//! What the command line knows of the scopes: their names, and how to run one.

use super::unknown;
use crate::report::{Counterexample, ScopeReport, progress::Progress};
use std::net::SocketAddr;

/// A scope as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeInfo {
    /// Its name: lower-case words with hyphens, none of [`super::SUBCOMMANDS`].
    pub name: String,
    /// What it is for, in one line.
    pub description: String,
    /// Whether the plain run includes it.
    pub default: bool,
    /// Whether it is small enough to be exhausted without reductions: mutants are then refuted without them too.
    pub small: bool,
}

/// How to run a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Time limit of the scope, if any.
    pub seconds: Option<u64>,
    /// Memory limit of the process, if any.
    pub memory_mib: Option<u64>,
    /// How long to look for a shorter counterexample.
    pub shortening_seconds: u64,
    /// The one property that is looked for, whatever else is violated; all if not given.
    pub property: Option<String>,
    /// Whether to reduce the state space.
    pub reductions: bool,
    /// Mixed into every fingerprint.
    pub salt: u64,
}

impl Default for RunOptions {
    /// As many threads as cores, no limits, with reductions.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256));
        let (seconds, memory_mib, property) = (None, None, None);
        RunOptions { threads, seconds, memory_mib, shortening_seconds: 30, property, reductions: true, salt: 0 }
    }
}

/// How to follow random runs of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulateOptions {
    /// For how long.
    pub seconds: u64,
    /// Seed of the random choices: the same seed and one thread follow the same runs.
    pub seed: u64,
    /// Worker threads, at least 1.
    pub threads: usize,
}

/// What came of running a scope.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeRun {
    /// Counts and verdicts.
    pub report: ScopeReport,
    /// One counterexample for each property that is violated.
    pub counterexamples: Vec<Counterexample>,
}

/// A scope whose actors are known to be wrong, with what it must break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// A name that [`Catalogue::run`] takes; it need not be among [`Catalogue::scopes`].
    pub scope: String,
    /// The property that must be found violated.
    pub property: String,
    /// What is shown, in one line.
    pub claim: String,
}

/// The scopes, and the engine behind them.
pub trait Catalogue: Sync {
    /// Every scope, in the order in which they run.
    fn scopes(&self) -> Vec<ScopeInfo>;

    /// Runs scope `name`, which is among [`Self::scopes`] or [`Self::exhibits`]; calls `progress` now and then, a few times a second at most.
    fn run(&self, name: &str, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun;

    /// Follows random runs of scope `name`. What no run breaks is [`crate::report::Verdict::Incomplete`].
    fn simulate(&self, name: &str, options: &SimulateOptions, progress: &mut dyn FnMut(Progress)) -> ScopeRun;

    /// The names of the properties that may be violated in scope `name`, visited with reductions or without.
    fn properties(&self, name: &str, reductions: bool) -> Vec<String>;

    /// An error of one line unless `property` is among those.
    fn ensure_judged(&self, property: &str, name: &str, reductions: bool) -> Result<(), String> {
        let judged = self.properties(name, reductions);
        let judged: Vec<&str> = judged.iter().map(String::as_str).collect();
        if judged.contains(&property) { Ok(()) } else { Err(unknown("property", property, &judged, "spec/README.md")) }
    }

    /// Whether scope `name` can be explored; the error says in one line why not, as what its scripted beginning breaks.
    fn begin(&self, name: &str) -> Result<(), String>;

    /// Serves the Explorer of scope `name` until the process ends. The error is one line.
    fn explore(&self, name: &str, address: SocketAddr) -> Result<(), String>;

    /// The Go original, as `check original` refutes it.
    fn exhibits(&self) -> Vec<Exhibit>;

    /// The marks on the replica's branches: name, meaning, and whether any scope of this process reached it.
    fn marks(&self) -> Vec<(String, String, bool)>;
}
