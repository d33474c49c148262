//! The record of the last green check: which sources it was of, and how many states each scope had.
//!
//! It is committed, and tells whether a node is built from sources that were checked. It guards against drift and not against tampering:
//! whoever can change the sources can change the record.
//!
//! The digest covers the sources of the model and of the spec, what they depend on as `Cargo.lock` resolved it, the dependencies and features that
//! their manifests declare, the build profiles and the compiler. Not in it are `spec/src/report` and the runner of the mutants: the one prints
//! what was found and the other runs a check of its own elsewhere, so neither can make a verdict or a count; the command line, which decides
//! what counts as green, is in it.

use crate::report::{ScopeReport, files};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    process::Command,
};
use toml::{Table, Value};

/// Where the record is kept, below the workspace.
pub const FILE: &str = "spec/record.json";

const PACKAGES: [(&str, &str); 2] = [("paxos-model", "model"), ("paxos-spec", "spec")];
/// Directories and files whose sources cannot change what is found: see above.
const LEFT_OUT: [&str; 3] = ["spec/src/report/", "spec/src/mutants/", "spec/src/mutants.rs"];

/// What a check is a check of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// SHA-256 over sources, dependencies, features, profiles and compiler, in hexadecimal.
    pub digest: String,
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
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(&compiler).arg("-Vv").output().map_err(|error| format!("cannot run rustc -Vv: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.trim().is_empty() {
        return Err("rustc -Vv does not say which compiler it is".into());
    }
    let compiler = text.lines().collect::<Vec<_>>().join("; ");
    Ok(Fingerprint { digest: digest(root, &compiler)?, compiler })
}

/// Writes the record of a green run.
pub fn write(root: &Path, fingerprint: &Fingerprint, scopes: &[ScopeReport]) -> Result<(), String> {
    let record = Record { fingerprint: fingerprint.clone(), scopes: counts(scopes) };
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

/// Whether the record is of `fingerprint` and has the counts of `scopes`. The error is one line.
pub fn verify(root: &Path, fingerprint: &Fingerprint, scopes: &[ScopeReport]) -> Result<Status, String> {
    let Some(record) = read(root)? else {
        return Ok(Status::Missing);
    };
    let mut what = differences(&record.fingerprint, fingerprint);
    let by_name =
        |scopes: Vec<RecordedScope>| -> BTreeMap<_, _> { scopes.into_iter().map(|s| (s.name.clone(), s)).collect() };
    let (recorded, found) = (by_name(record.scopes), by_name(counts(scopes)));
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
    } else if recorded.digest != found.digest {
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

fn digest(root: &Path, compiler: &str) -> Result<String, String> {
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (_, directory) in PACKAGES {
        sources(root, &format!("{directory}/src"), &mut parts)?;
    }
    parts.insert("declared".into(), declared(root)?.into_bytes());
    parts.insert("resolved".into(), resolved(&toml_file(root, "Cargo.lock")?)?.into_bytes());
    parts.insert("compiler".into(), compiler.into());
    let mut digest = Sha256::new();
    for (name, content) in &parts {
        // Each with its length, so that no two sequences of parts read the same.
        for bytes in [name.as_bytes(), content] {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sources(root: &Path, directory: &str, parts: &mut BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let failed = |what: &str, error| format!("cannot read {what}: {error}");
    for entry in fs::read_dir(root.join(directory)).map_err(|error| failed(directory, error))? {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources(root, &path, parts)?;
        } else if !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)) {
            parts.insert(path.clone(), fs::read(entry.path()).map_err(|error| failed(&path, error))?);
        }
    }
    Ok(())
}

fn toml_file(root: &Path, file: &str) -> Result<Table, String> {
    let text = fs::read_to_string(root.join(file)).map_err(|error| format!("cannot read {file}: {error}"))?;
    text.parse().map_err(|error: toml::de::Error| format!("cannot read {file}: {}", error.message()))
}

/// The dependencies and features that the manifests declare, and the profiles that they are built with; tables are sorted.
fn declared(root: &Path) -> Result<String, String> {
    let mut found = Table::new();
    let mut names = BTreeSet::new();
    for (package, directory) in PACKAGES {
        let manifest = toml_file(root, &format!("{directory}/Cargo.toml"))?;
        for section in ["dependencies", "features", "target"] {
            if let Some(value) = manifest.get(section) {
                names.extend(value.as_table().into_iter().flat_map(Table::keys).cloned());
                found.insert(format!("{package}.{section}"), value.clone());
            }
        }
    }
    let workspace = toml_file(root, "Cargo.toml")?;
    let shared = workspace.get("workspace").and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    for (name, value) in shared.into_iter().flatten().filter(|(name, _)| names.contains(*name)) {
        found.insert(format!("workspace.{name}"), value.clone());
    }
    if let Some(profiles) = workspace.get("profile") {
        found.insert("profile".into(), profiles.clone());
    }
    toml::to_string(&found).map_err(|error| format!("cannot encode the dependencies: {error}"))
}

/// Every package that the two packages depend on, directly or not, with version and checksum.
fn resolved(lock: &Table) -> Result<String, String> {
    let packages = lock.get("package").and_then(Value::as_array).ok_or("Cargo.lock lists no packages")?;
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let mut waiting: Vec<String> = PACKAGES.iter().map(|(name, _)| (*name).to_string()).collect();
    let mut found = BTreeSet::new();
    while let Some(wanted) = waiting.pop() {
        // A dependency is `name`, or `name version` where there are several versions, or `name version (source)`.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_it =
            |package: &&Value| text(package, "name") == name && version.is_none_or(|v| text(package, "version") == v);
        let package = packages.iter().find(is_it).ok_or_else(|| format!("Cargo.lock lacks {wanted}: build first"))?;
        let line = format!("{name} {} {}", text(package, "version"), text(package, "checksum"));
        if found.insert(line) {
            let dependencies = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            waiting.extend(dependencies.filter_map(Value::as_str).map(String::from));
        }
    }
    Ok(found.into_iter().collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests;
