//! Which store each peer had at first contact. A node whose disk was wiped or swapped has another one; it must not vote under
//! its old number, so it is refused until an operator says that it replaces the old one. And how many nodes the cluster has: two
//! configurations with other nodes have other majorities, and the same data must not be used with both.

use crate::storage::identity::StoreId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The name of the file below a node's data directory.
pub const FILE: &str = "peers.json";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    nodes: u64,
    stores: BTreeMap<u64, StoreId>,
}

/// The pinned stores, and the file that keeps them.
#[derive(Debug)]
pub struct Pins {
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

impl Pins {
    /// Those kept in `directory`, or, without one, none that outlive the process. An error if the directory was used in a cluster of
    /// another number of nodes than `nodes`.
    pub fn open(directory: Option<&Path>, nodes: u64) -> Result<Pins, String> {
        let file = directory.map(|directory| directory.join(FILE));
        let bytes = match &file {
            None => None,
            Some(file) => match fs::read(file) {
                Ok(bytes) => Some((file, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
            },
        };
        let Some((path, bytes)) = bytes else {
            let pins = Pins { file, known: Mutex::new(Known { nodes, stores: BTreeMap::new() }) };
            let written = pins.write(&pins.known.lock().unwrap_or_else(PoisonError::into_inner));
            written.map_err(|error| format!("{FILE} cannot be written: {error}"))?;
            return Ok(pins);
        };
        let known: Known =
            serde_json::from_slice(&bytes).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if known.nodes != nodes {
            return Err(format!(
                "it was used in a cluster of {} nodes, and the configuration has {nodes}: the members of a cluster cannot be changed by \
                 editing its configuration. Give all nodes as they were, or name another directory",
                known.nodes
            ));
        }
        Ok(Pins { file, known: Mutex::new(known) })
    }

    /// Whether `store` is that of `node`: the one pinned, or the first one seen, which is then pinned durably.
    pub fn admit(&self, node: u64, store: StoreId) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pinned) = known.stores.get(&node) {
            return *pinned == store;
        }
        known.stores.insert(node, store);
        if let Err(error) = self.write(&known) {
            tracing::error!(%error, node, "cannot pin a peer's store; it is refused until that works");
            known.stores.remove(&node);
            return false;
        }
        true
    }

    /// Forgets the store of `node`, so that the next one seen is pinned. False if none was.
    pub fn forget(&self, node: u64) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let was = known.stores.remove(&node).is_some();
        self.write(&known)?;
        Ok(was)
    }

    fn write(&self, known: &Known) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let directory = file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        new.write_all(serde_json::to_string_pretty(known)?.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(file)?;
        fs::OpenOptions::new().read(true).open(directory)?.sync_all()
    }
}
