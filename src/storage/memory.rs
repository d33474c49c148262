//! A store in memory, for tests and for clusters that need not outlive their process.

use super::identity::Identity;
use super::{CommitError, OpenError, Store, Usage};
use crate::Stored;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the value in memory. Its clones are handles of one store, as a disk outlives the process that writes it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    identity: Identity,
    value: Arc<Mutex<Option<Stored>>>,
}

impl MemoryStore {
    /// An empty store of node `node` of `cluster`.
    pub fn new(cluster: &str, node: u64) -> Self {
        MemoryStore { identity: Identity::new(cluster, node), value: Arc::default() }
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        Ok(self.value.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.clone());
        Ok(())
    }
    fn usage(&self) -> Usage {
        Usage { used: 0, limit: u64::MAX }
    }

    fn has_room(&mut self) -> bool {
        true
    }
}
