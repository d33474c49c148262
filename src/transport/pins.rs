//! Which store each peer had at first contact. A node whose disk was wiped or swapped has another one; it must not vote under
//! its old number, so it is refused until an operator says that it replaces the old one. And how many nodes the cluster has: two
//! configurations with other nodes have other majorities, and the same data must not be used with both.
//!
//! Neither is told anywhere else. So the file has a checksum, and where it is missing beside a store that was used it is not begun anew.

use crate::notices;
use crate::object::{Object, present};
use crate::storage::identity::StoreId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The name of the file below a node's data directory.
pub const FILE: &str = "peers.json";

/// What to do where the file is not as it was.
const REMEDY: &str = "It tells how many nodes the cluster has, and which store each peer has. Bring it back as it was, or replace this node as \
    one that lost its disk. Where every peer has the disk that it always had, the file may instead be written anew, with N being how many \
    nodes the cluster was begun with: {\"nodes\": N, \"stores\": {}}";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    nodes: u64,
    stores: BTreeMap<u64, StoreId>,
    /// The CRC-32 of the rest, in hexadecimal. The form before had none; nor has a file that was written by hand.
    #[serde(default, deserialize_with = "present")]
    checksum: Option<String>,
}

impl Known {
    fn new(nodes: u64) -> Known {
        Known { nodes, stores: BTreeMap::new(), checksum: None }
    }

    /// The checksum that belongs to it.
    fn sum(&self) -> String {
        let content = serde_json::to_vec(&(self.nodes, &self.stores)).expect("it has a form in JSON");
        format!("{:08x}", crc32fast::hash(&content))
    }

    fn read(bytes: &[u8]) -> Result<Known, String> {
        let Object::<Known>(known) = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match &known.checksum {
            Some(told) if *told != known.sum() => {
                Err(format!("its checksum is {told:?}, and what it holds has {:?}", known.sum()))
            }
            _ => Ok(known),
        }
    }
}

/// The pinned stores, and the file that keeps them.
#[derive(Debug)]
pub struct Pins {
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

impl Pins {
    /// Those kept in `directory`, or, without one, none that outlive the process. An error if the directory was used in a cluster of
    /// another number of nodes than `nodes`, if the file is altered, or if it is missing where the store beside it was `used`.
    pub fn open(directory: Option<&Path>, nodes: u64, used: bool) -> Result<Pins, String> {
        let Some(directory) = directory else { return Ok(Pins { file: None, known: Mutex::new(Known::new(nodes)) }) };
        let file = directory.join(FILE);
        let path = file.display();
        let mut known = match fs::read(&file) {
            Ok(bytes) => Known::read(&bytes).map_err(|why| format!("{path} is damaged: {why}. {REMEDY}"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && used => {
                return Err(format!("{path} is missing, and the store beside it was used. {REMEDY}"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut known = Known::new(nodes);
                write(&file, &mut known).map_err(|error| format!("{FILE} cannot be written: {error}"))?;
                known
            }
            Err(error) => return Err(format!("{path} cannot be read: {error}")),
        };
        if known.nodes != nodes {
            return Err(format!(
                "it was used in a cluster of {} nodes, and the configuration has {nodes}: the members of a cluster cannot be changed by \
                 editing its configuration. Give all nodes as they were, or name another directory",
                known.nodes
            ));
        }
        if known.checksum.is_none()
            && let Err(error) = write(&file, &mut known)
        {
            tracing::warn!(%error, "{FILE} is without a checksum, which cannot be added now");
        }
        Ok(Pins { file: Some(file), known: Mutex::new(known) })
    }

    /// Whether `store` is that of `node`: the one pinned, or the first one seen, which is then pinned durably.
    pub fn admit(&self, node: u64, store: StoreId) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pinned) = known.stores.get(&node) {
            return *pinned == store;
        }
        known.stores.insert(node, store);
        if let Err(error) = self.write(&mut known) {
            // Whoever claims the number can make it fail, as often as it likes.
            let why = format_args!("the store of node {node}, which is refused until that works: {error}");
            notices::warn("cannot pin", "pin", why);
            known.stores.remove(&node);
            return false;
        }
        true
    }

    /// Forgets the store of `node`, so that the next one seen is pinned. False if none was.
    pub fn forget(&self, node: u64) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let was = known.stores.remove(&node).is_some();
        self.write(&mut known)?;
        Ok(was)
    }

    fn write(&self, known: &mut Known) -> io::Result<()> {
        self.file.as_deref().map_or(Ok(()), |file| write(file, known))
    }
}

/// Writes the file, with the checksum that belongs to it.
fn write(file: &Path, known: &mut Known) -> io::Result<()> {
    known.checksum = Some(known.sum());
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(serde_json::to_string_pretty(known)?.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    fs::OpenOptions::new().read(true).open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMER: &str = r#"{"nodes": 3, "stores": {"1": 338953138925153547590470800371487866880, "2": 7}}"#;

    fn open(directory: &Path) -> Result<Pins, String> {
        Pins::open(Some(directory), 3, true)
    }

    #[test]
    fn whatever_bit_is_flipped_and_wherever_it_ends_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        let pins = Pins::open(Some(directory.path()), 3, false).unwrap();
        assert!(pins.admit(1, StoreId(u128::MAX / 3)) && pins.admit(2, StoreId(7)));
        let whole = fs::read(&file).unwrap();
        assert!(open(directory.path()).is_ok());
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).unwrap();
            let why = open(directory.path()).expect_err(what);
            assert!(why.contains("peers.json is damaged") && why.contains("Bring it back"), "{what}: {why}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it is");
        };
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut altered = whole.clone();
                altered[at] ^= 1 << bit;
                refused(&altered, &format!("bit {bit} of byte {at}"));
            }
            refused(&whole[..at], &format!("{at} bytes"));
        }
        fs::write(&file, &whole).unwrap();
        assert!(!open(directory.path()).unwrap().admit(2, StoreId(8)));
    }

    #[test]
    fn the_form_without_a_checksum_is_read_and_gets_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        fs::write(&file, FORMER).unwrap();
        let other = Pins::open(Some(directory.path()), 5, true).unwrap_err();
        assert!(other.contains("a cluster of 3 nodes, and the configuration has 5"), "{other}");
        assert_eq!(fs::read_to_string(&file).unwrap(), FORMER);
        let pins = open(directory.path()).unwrap();
        assert!(!pins.admit(2, StoreId(8)) && pins.admit(2, StoreId(7)));
        let rewritten = fs::read_to_string(&file).unwrap();
        assert!(rewritten.contains("\"checksum\": \""), "{rewritten}");
        fs::write(&file, rewritten.replace("\"2\": 7", "\"2\": 8")).unwrap();
        assert!(open(directory.path()).unwrap_err().contains("its checksum is"));
        for bad in [r#"[3, {}]"#, r#"{"nodes": 3, "stores": {}, "checksum": null}"#, r#"{"stores": {}}"#] {
            fs::write(&file, bad).unwrap();
            assert!(open(directory.path()).unwrap_err().contains("is damaged"), "{bad}");
        }
    }

    #[test]
    fn it_is_missed_where_the_store_was_used() {
        let directory = tempfile::tempdir().unwrap();
        let why = open(directory.path()).unwrap_err();
        assert!(why.contains("peers.json is missing") && why.contains("Bring it back"), "{why}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(Pins::open(Some(directory.path()), 3, false).is_ok());
        assert!(open(directory.path()).is_ok());
    }
}
