//! Whose store it is: written when it is made, compared whenever it is opened.

use super::OpenError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The format of what is on the disk: 1 has no snapshots, and 2 no journal. A program reads its own and all before.
pub const FORMAT: u32 = 3;

/// A random number that a store gets when it is made. It tells a wiped or swapped disk from the one that voted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(pub u128);

impl StoreId {
    /// A new one.
    pub fn random() -> Self {
        StoreId(rand::random())
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whose store it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The format that it is written in.
    pub format: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The node's number.
    pub node: u64,
    /// The store's own number.
    pub store: StoreId,
}

impl Identity {
    /// That of a new store.
    pub fn new(cluster: &str, node: u64) -> Self {
        Identity { format: FORMAT, cluster: cluster.to_owned(), node, store: StoreId::random() }
    }

    /// Whether this is the store that node `node` of `cluster` may open. `path` is for the error.
    pub fn check(&self, path: &Path, cluster: &str, node: u64) -> Result<(), OpenError> {
        if self.format > FORMAT {
            return Err(OpenError::Newer { path: path.into(), found: self.format });
        }
        if self.cluster != cluster {
            let why = format!("it belongs to cluster {:?}, and this node to {cluster:?}", self.cluster);
            return Err(OpenError::Foreign { path: path.into(), why });
        }
        if self.node != node {
            let why = format!("it belongs to node {}, and this is node {node}", self.node);
            return Err(OpenError::Foreign { path: path.into(), why });
        }
        Ok(())
    }
}
