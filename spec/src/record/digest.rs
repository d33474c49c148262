//! A digest over packages of the workspace: their sources, what they depend on as `Cargo.lock` resolved it, the dependencies and features
//! that their manifests declare, the build profiles and the compiler.
//!
//! This file is also part of the node's build script, which takes the digest of the model alone: so whoever checks and whoever builds
//! reckon alike, though neither imports the other. It uses nothing of this crate.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use toml::{Table, Value};

/// A package: its name, and where it is below the workspace.
pub(crate) type Package = (&'static str, &'static str);

/// The protocol: what the node runs.
pub(crate) const MODEL: Package = ("paxos-model", "model");

/// What the compiler says that it is, on one line. The error is one line.
pub(crate) fn compiler(rustc: Option<OsString>) -> Result<String, String> {
    let rustc = rustc.unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).arg("-Vv").output().map_err(|error| format!("cannot run rustc -Vv: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.trim().is_empty() {
        return Err("rustc -Vv does not say which compiler it is".into());
    }
    Ok(text.lines().collect::<Vec<_>>().join("; "))
}

/// SHA-256, in hexadecimal, over `packages` of the workspace at `root` but for the sources that begin with one of `left_out`. The error is one
/// line.
pub(crate) fn digest(root: &Path, packages: &[Package], left_out: &[&str], compiler: &str) -> Result<String, String> {
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (_, directory) in packages {
        sources(root, &format!("{directory}/src"), left_out, &mut parts)?;
    }
    parts.insert("declared".into(), declared(root, packages)?.into_bytes());
    parts.insert("resolved".into(), resolved(&toml_file(root, "Cargo.lock")?, packages)?.into_bytes());
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

fn sources(
    root: &Path,
    directory: &str,
    left_out: &[&str],
    parts: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), String> {
    let failed = |what: &str, error| format!("cannot read {what}: {error}");
    for entry in fs::read_dir(root.join(directory)).map_err(|error| failed(directory, error))? {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources(root, &path, left_out, parts)?;
        } else if !left_out.iter().any(|left_out| path.starts_with(left_out)) {
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
fn declared(root: &Path, packages: &[Package]) -> Result<String, String> {
    let mut found = Table::new();
    let mut names = BTreeSet::new();
    for (package, directory) in packages {
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

/// Every package that `packages` depend on, directly or not, with version and checksum.
pub(crate) fn resolved(lock: &Table, packages: &[Package]) -> Result<String, String> {
    let locked = lock.get("package").and_then(Value::as_array).ok_or("Cargo.lock lists no packages")?;
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let mut waiting: Vec<String> = packages.iter().map(|(name, _)| (*name).to_string()).collect();
    let mut found = BTreeSet::new();
    while let Some(wanted) = waiting.pop() {
        // A dependency is `name`, or `name version` where there are several versions, or `name version (source)`.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_it =
            |package: &&Value| text(package, "name") == name && version.is_none_or(|v| text(package, "version") == v);
        let package = locked.iter().find(is_it).ok_or_else(|| format!("Cargo.lock lacks {wanted}: build first"))?;
        let line = format!("{name} {} {}", text(package, "version"), text(package, "checksum"));
        if found.insert(line) {
            let dependencies = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            waiting.extend(dependencies.filter_map(Value::as_str).map(String::from));
        }
    }
    Ok(found.into_iter().collect::<Vec<_>>().join("\n"))
}
