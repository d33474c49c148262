//! The record of the last green check: which sources it was of, and how many states each scope had.
//!
//! It is committed, and tells whether a node is built from sources that were checked. It guards against drift and not against tampering:
//! whoever can change the sources can change the record.
//!
//! The digest covers the sources of the model and of the spec, what they depend on as `Cargo.lock` resolved it, the dependencies and features that
//! their manifests declare, the build profiles and the compiler. A second digest, over the model alone, is what the node compares itself with.
//! Not in the first are `spec/src/report`, the replay of traces and the runner of the mutants: the first prints what was found, and the others
//! judge something else and elsewhere, so none can make a verdict or a count; the command line, which decides what counts as green, is in it.

use crate::report::{ScopeReport, files};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

/// Where the record is kept, below the workspace.
pub const FILE: &str = "spec/record.json";

const PACKAGES: [digest::Package; 2] = [digest::MODEL, ("paxos-spec", "spec")];
/// Directories and files whose sources cannot change what is found: see above.
const LEFT_OUT: [&str; 5] =
    ["spec/src/report/", "spec/src/replay/", "spec/src/cli/replay.rs", "spec/src/mutants/", "spec/src/mutants.rs"];

/// What a check is a check of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// SHA-256 over sources, dependencies, features, profiles and compiler, in hexadecimal.
    pub digest: String,
    /// The same over the model alone: what a node that was built from it must have to be of the checked protocol.
    pub protocol: String,
    /// What `rustc -Vv` says, on one line.
    pub compiler: String,
}

/// The counts of one scope. Depth varies with the threads and is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedScope {
    /// The scope's name.
    pub name: String,
    /// Distinct states.
    pub unique_states: u64,
    /// Transitions.
    pub generated_states: u64,
}

/// The contents of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was checked.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// What was counted, a default scope each.
    pub scopes: Vec<RecordedScope>,
    /// The same for the scopes of `--full`; none if they were not run since the sources changed.
    pub larger: Vec<RecordedScope>,
}

/// How the present compares with the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The record is of this.
    Matches,
    /// The record is of something else.
    Differs {
        /// What differs, in a few words each.
        what: Vec<String>,
    },
    /// There is no record.
    Missing,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Matches => write!(f, "matches {FILE}"),
            Status::Differs { what } => write!(f, "{FILE} differs in {}", what.join(", ")),
            Status::Missing => write!(f, "{FILE} is missing; `check --record` writes it"),
        }
    }
}

/// The fingerprint of the workspace at `root`. The error is one line.
pub fn fingerprint(root: &Path) -> Result<Fingerprint, String> {
    let compiler = digest::compiler(std::env::var_os("RUSTC"))?;
    Ok(Fingerprint {
        digest: digest::digest(root, &PACKAGES, &LEFT_OUT, &compiler)?,
        protocol: digest::digest(root, &[digest::MODEL], &[], &compiler)?,
        compiler,
    })
}

/// Writes the record of a green run of the default scopes, and of the larger ones if they were run. If not, what is recorded of them
/// stays as long as it is of the same sources. The error is one line.
pub fn write(
    root: &Path,
    fingerprint: &Fingerprint,
    scopes: &[ScopeReport],
    larger: Option<&[ScopeReport]>,
) -> Result<(), String> {
    let larger = match larger {
        Some(larger) => counts(larger),
        // What cannot be read is written anew.
        None => {
            read(root).ok().flatten().filter(|old| old.fingerprint == *fingerprint).map_or(vec![], |old| old.larger)
        }
    };
    let record = Record { fingerprint: fingerprint.clone(), scopes: counts(scopes), larger };
    let text = serde_json::to_string_pretty(&record).map_err(|error| format!("cannot encode {FILE}: {error}"))?;
    files::write(&root.join(FILE), &(text + "\n"))
}

/// Whether the record is of `fingerprint`. The error is one line.
pub fn status(root: &Path, fingerprint: &Fingerprint) -> Result<Status, String> {
    Ok(match read(root)? {
        None => Status::Missing,
        Some(record) => judged(differences(&record.fingerprint, fingerprint)),
    })
}

/// Whether the record is of `fingerprint` and has the counts of `scopes`, the default ones, and of `larger` if they were run. The error
/// is one line.
pub fn verify(
    root: &Path,
    fingerprint: &Fingerprint,
    scopes: &[ScopeReport],
    larger: Option<&[ScopeReport]>,
) -> Result<Status, String> {
    let Some(record) = read(root)? else {
        return Ok(Status::Missing);
    };
    let mut what = differences(&record.fingerprint, fingerprint);
    let by_name =
        |scopes: Vec<RecordedScope>| -> BTreeMap<_, _> { scopes.into_iter().map(|s| (s.name.clone(), s)).collect() };
    let (mut recorded, mut found) = (by_name(record.scopes), by_name(counts(scopes)));
    if let Some(larger) = larger {
        recorded.append(&mut by_name(record.larger));
        found.append(&mut by_name(counts(larger)));
    }
    let names: BTreeSet<&String> = recorded.keys().chain(found.keys()).collect();
    what.extend(
        names
            .into_iter()
            .filter(|name| recorded.get(*name) != found.get(*name))
            .map(|name| format!("the counts of {name}")),
    );
    Ok(judged(what))
}

fn judged(what: Vec<String>) -> Status {
    if what.is_empty() { Status::Matches } else { Status::Differs { what } }
}

fn differences(recorded: &Fingerprint, found: &Fingerprint) -> Vec<String> {
    if recorded.compiler != found.compiler {
        vec!["the compiler".into()]
    } else if recorded.digest != found.digest || recorded.protocol != found.protocol {
        vec!["sources, dependencies or features".into()]
    } else {
        vec![]
    }
}

fn counts(scopes: &[ScopeReport]) -> Vec<RecordedScope> {
    let count = |scope: &ScopeReport| RecordedScope {
        name: scope.name.clone(),
        unique_states: scope.unique_states,
        generated_states: scope.generated_states,
    };
    scopes.iter().map(count).collect()
}

fn read(root: &Path) -> Result<Option<Record>, String> {
    match fs::read_to_string(root.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {FILE}: {error}")),
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| format!("{FILE} is not a record: {error}; `check --record` writes it anew")),
    }
}

mod digest;
#[cfg(test)]
mod tests;
