//! Tells the node whether its protocol is the one that was checked.
//!
//! The digest of the model (sources, resolved dependencies, features, profiles, compiler) is compared with the one in the record of the last
//! green check. That guards against drift, not against tampering: who can change the sources can change the record.

#[path = "spec/src/record/digest.rs"]
mod digest;

use std::path::Path;
use std::{env, fs};

/// The record of the last green check.
const RECORD: &str = "spec/record.json";

/// What the protocol is, and whether it is the checked one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) digest: String,
    pub(crate) checked: bool,
}

/// Judges the workspace at `root`. Without a record nothing is checked.
pub(crate) fn judge(root: &Path) -> Result<Judged, String> {
    let compiler = digest::compiler(env::var_os("RUSTC"))?;
    let digest = digest::digest(root, &[digest::MODEL], &[], &compiler)?;
    let record = fs::read_to_string(root.join(RECORD)).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap_or_default();
    let checked = record["protocol"].as_str() == Some(&digest);
    Ok(Judged { digest, checked })
}

fn main() {
    for input in ["build.rs", "model", "Cargo.toml", "Cargo.lock", RECORD, "spec/src/record/digest.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed=RUSTC");
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let judged = judge(Path::new(&root)).unwrap_or_else(|why| {
        println!("cargo::warning=the protocol counts as not checked: {why}");
        Judged { digest: "unknown".into(), checked: false }
    });
    println!("cargo::rustc-env=PAXOS_PROTOCOL_DIGEST={}", judged.digest);
    println!("cargo::rustc-env=PAXOS_PROTOCOL_CHECKED={}", judged.checked);
    let verdict = if judged.checked {
        format!("checked, it is that of {RECORD}")
    } else {
        format!("NOT checked, it is not that of {RECORD}; `check --record` checks it")
    };
    let short = judged.digest.get(..16).unwrap_or(&judged.digest);
    println!("cargo::rustc-env=PAXOS_PROTOCOL_TOLD=protocol {short}: {verdict}");
}
