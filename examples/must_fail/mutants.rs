//! Which mutants who must find, and by what.

use std::fs;
use std::path::{Path, PathBuf};

const OWN: &str = "tests/fire/mutants";
const OF_CHECK: &str = "spec/mutants";
/// Those of the check that show under fire too, with the verdict that must refute them.
const OF_SPEC: [(&str, &str); 4] = [
    ("read-without-round", LINEARIZABLE),
    ("vote-not-saved", LINEARIZABLE),
    ("local-read-after-restart", "local reads never go back"),
    ("conflict-answered-as-applied", "every answer"),
];
/// Those that the simulation must find, with the verdict; its lives know no HTTP and no sockets.
const BY_SIMULATION: [(&str, &str); 18] = [
    ("reply-before-commit", DURABLE),
    ("full-taken-for-done", "what was committed is stored"),
    ("votes-not-loaded", "what was committed is stored"),
    ("replies-not-kept", LINEARIZABLE),
    ("read-without-round", LINEARIZABLE),
    ("vote-not-saved", DURABLE),
    ("promise-not-saved", DURABLE),
    ("local-read-after-restart", "local reads never go back"),
    ("conflict-answered-as-applied", "every answer"),
    ("accept-ignores-promise", DURABLE),
    ("duplicate-applied-again", LINEARIZABLE),
    ("quorum-of-half", AGREEMENT),
    ("lowest-vote-recovered", AGREEMENT),
    ("read-served-before-applied", LINEARIZABLE),
    ("read-lease", LINEARIZABLE),
    ("snapshot-without-sessions", "equal states"),
    ("resend-not-rearmed", "progress"),
    ("delete-drops-version", LINEARIZABLE),
];
const LINEARIZABLE: &str = "each key is linearizable";
const DURABLE: &str = "durable before visible";
const AGREEMENT: &str = "agreement";
/// Those whose counterexamples are repeated unless others are named: their scopes begin from nothing or by a script, and one restarts a node.
const ROUND_TRIPS: [&str; 5] = [
    "accept-ignores-promise",
    "restart-forgets-promise",
    "read-without-round",
    "duplicate-applied-again",
    "deadline-not-cancelled",
];

/// A known bug.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) patch: PathBuf,
    /// What the verdict that refutes it contains.
    pub(crate) verdict: String,
}

/// Those that the nodes under fire must be found with.
pub(crate) fn of_fire(root: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(root.join(OWN)).map_err(|error| format!("{OWN}: {error}"))? {
        let patch = entry.map_err(|error| error.to_string())?.path();
        let verdict = header(&patch, "Verdict")?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        mutants.push(Mutant { name, patch, verdict });
    }
    for (name, verdict) in OF_SPEC {
        let patch = root.join(OF_CHECK).join(format!("{name}.patch"));
        mutants.push(Mutant { name: name.to_owned(), patch, verdict: verdict.to_owned() });
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Those that the simulation must find.
pub(crate) fn of_simulation(root: &Path) -> Vec<Mutant> {
    let mutant = |(name, verdict): (&str, &str)| {
        let own = root.join(OWN).join(format!("{name}.patch"));
        let patch = if own.exists() { own } else { root.join(OF_CHECK).join(format!("{name}.patch")) };
        Mutant { name: name.to_owned(), patch, verdict: verdict.to_owned() }
    };
    BY_SIMULATION.map(mutant).into()
}

/// Those whose counterexamples are to be repeated: any of the check's.
pub(crate) fn of_round_trip(root: &Path, names: &[String]) -> Result<Vec<Mutant>, String> {
    let names = if names.is_empty() { ROUND_TRIPS.map(str::to_owned).to_vec() } else { names.to_vec() };
    let mutant = |name: String| {
        let patch = root.join(OF_CHECK).join(format!("{name}.patch"));
        let verdict = header(&patch, "Property")?;
        Ok(Mutant { name, patch, verdict })
    };
    names.into_iter().map(mutant).collect()
}

/// What a line before the patch says.
pub(crate) fn header(patch: &Path, field: &str) -> Result<String, String> {
    let text = fs::read_to_string(patch).map_err(|error| format!("{}: {error}", patch.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    value.map(str::to_owned).ok_or_else(|| format!("{} names no {field}", patch.display()))
}
