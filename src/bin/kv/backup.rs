//! `kv backup`: the store of a moment, in a file.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use crate::client::{Client, Fail};
use paxos::backup::Entries;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Writes a backup to `file`, which is there only once it is whole and on the disk. Tells what is in it.
pub(crate) fn backup(client: &Client, file: &Path, force: bool) -> Result<Value, Fail> {
    let failed = |what: &str, error: &io::Error| Fail::Refused(format!("{what} {}: {error}", file.display()));
    if !force && file.symlink_metadata().is_ok() {
        return Err(Fail::Refused(format!(
            "{} is there already, and is overwritten with --force only",
            file.display()
        )));
    }
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let beside = Builder::new().prefix(".backup-").suffix(".part").tempfile_in(&directory);
    let mut part = beside.map_err(|error| failed("cannot write beside", &error))?;
    let mut stream = client.stream("/backup")?;
    let copied = io::copy(&mut stream, &mut part);
    copied.map_err(|error| Fail::Refused(format!("the backup broke off: {error}")))?;
    let told = check(&mut part).map_err(|why| Fail::Refused(format!("what came {why}")))?;
    part.as_file().sync_all().map_err(|error| failed("cannot write", &error))?;
    let named = if force { part.persist(file) } else { part.persist_noclobber(file) };
    named.map_err(|error| failed("cannot name it", &error.error))?;
    // The name, too, is to outlive a loss of power.
    let synced = File::open(&directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed("cannot write the directory of", &error))?;
    Ok(told)
}

/// Reads what was written, to its end.
fn check(part: &mut NamedTempFile) -> Result<Value, String> {
    part.rewind().map_err(|error| format!("cannot be read: {error}"))?;
    let mut entries = Entries::new(BufReader::new(part))?;
    let mut count = 0u64;
    for entry in &mut entries {
        entry?;
        count += 1;
    }
    Ok(json!({"cluster": entries.head.cluster, "slot": entries.head.slot, "entries": count}))
}
