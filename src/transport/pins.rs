//! Which store each peer had at first contact. A node whose disk was wiped or swapped has another one; it must not vote under
//! its old number, so it is refused until an operator says that it replaces the old one.

use crate::storage::identity::StoreId;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The name of the file below a node's data directory.
pub const FILE: &str = "peers.json";

/// The pinned stores, and the file that keeps them.
#[derive(Debug)]
pub struct Pins {
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<u64, StoreId>>,
}

impl Pins {
    /// Those kept in `directory`, or, without one, none that outlive the process.
    pub fn open(directory: Option<&Path>) -> Result<Pins, String> {
        let file = directory.map(|directory| directory.join(FILE));
        let known = match &file {
            None => BTreeMap::new(),
            Some(file) => match fs::read(file) {
                Ok(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
                Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
            },
        };
        Ok(Pins { file, known: Mutex::new(known) })
    }

    /// Whether `store` is that of `node`: the one pinned, or the first one seen, which is then pinned durably.
    pub fn admit(&self, node: u64, store: StoreId) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pinned) = known.get(&node) {
            return *pinned == store;
        }
        known.insert(node, store);
        if let Err(error) = self.write(&known) {
            tracing::error!(%error, node, "cannot pin a peer's store; it is refused until that works");
            known.remove(&node);
            return false;
        }
        true
    }

    /// Forgets the store of `node`, so that the next one seen is pinned. False if none was.
    pub fn forget(&self, node: u64) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let was = known.remove(&node).is_some();
        self.write(&known)?;
        Ok(was)
    }

    fn write(&self, known: &BTreeMap<u64, StoreId>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let directory = file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        new.write_all(serde_json::to_string_pretty(known)?.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(file)?;
        fs::OpenOptions::new().read(true).open(directory)?.sync_all()
    }
}
