//! A store that a life holds: in memory or on a real disk, and full, nearly full or failing when it is told to be.

use crate::peers::Gathered;
use paxos::Stored;
use paxos::node::Outlet;
use paxos::storage::disk::DiskStore;
use paxos::storage::identity::Identity;
use paxos::storage::memory::MemoryStore;
use paxos::storage::{CommitError, OpenError, Store, Usage};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CLUSTER: &str = "simulation";
const BYTES_MAX: usize = 16 << 20;

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Full {
    /// For the log or a snapshot.
    Log,
    /// For anything.
    All,
}

enum Under {
    Memory(MemoryStore),
    /// None while it is opened again.
    Lmdb(Option<Box<DiskStore>>, PathBuf, u64),
}

/// The store of a node, which outlives its lives.
pub(crate) struct Disk {
    under: Under,
    /// What there is no room for from now on.
    pub(crate) full: Option<Full>,
    /// Whether it says that it is nearly full.
    pub(crate) nearly_full: bool,
    /// Whether the next commit fails, and is written all the same.
    pub(crate) fails: Option<bool>,
    /// What is durable.
    pub(crate) committed: Option<Stored>,
    /// Who tells whether anything of what is to be committed can be seen, while a node commits.
    pub(crate) outputs: Option<Outputs>,
    /// Whether anything could, before it was durable.
    pub(crate) seen_before: bool,
}

/// Where outputs of a node show.
pub(crate) struct Outputs {
    gathered: Arc<Gathered>,
    outlet: Arc<Outlet>,
    /// How many requests were not answered.
    waiting: usize,
}

impl Outputs {
    /// As they are now; all messages have been taken.
    pub(crate) fn new(gathered: Arc<Gathered>, outlet: Arc<Outlet>) -> Outputs {
        let waiting = outlet.clients().waiting();
        Outputs { gathered, outlet, waiting }
    }

    fn show_more(&self) -> bool {
        !self.gathered.is_empty() || self.outlet.clients().waiting() != self.waiting
    }
}

impl Disk {
    /// An empty one for node `node`: below `directory`, or in memory.
    pub(crate) fn new(directory: Option<&Path>, node: u64) -> Disk {
        let under = match directory {
            Some(directory) => Under::Lmdb(None, directory.join(node.to_string()), node),
            None => Under::Memory(MemoryStore::new(CLUSTER, node)),
        };
        Disk { under, full: None, nearly_full: false, fails: None, committed: None, outputs: None, seen_before: false }
    }

    /// As another process finds it.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        if let Under::Lmdb(store, path, node) = &mut self.under {
            // One process has an environment open once.
            *store = None;
            let opened = DiskStore::open(path, CLUSTER, *node, BYTES_MAX);
            *store = Some(Box::new(opened.map_err(|error| error.to_string())?));
        }
        Ok(())
    }

    /// All faults end.
    pub(crate) fn mend(&mut self) {
        (self.full, self.nearly_full, self.fails) = (None, false, None);
    }

    fn lacks_room(&self, value: &Stored) -> bool {
        match self.full {
            None => false,
            Some(Full::All) => true,
            Some(Full::Log) => self.committed.as_ref().is_none_or(|before| {
                !value.log.ptr_eq(&before.log) && value.log != before.log
                    || value.snapshot.applied != before.snapshot.applied
                    || value.arriving != before.arriving
            }),
        }
    }

    fn under(&self) -> &dyn Underlying {
        match &self.under {
            Under::Memory(store) => store,
            Under::Lmdb(store, ..) => store.as_deref().expect("it is open while its node lives"),
        }
    }

    fn under_mut(&mut self) -> &mut dyn Underlying {
        match &mut self.under {
            Under::Memory(store) => store,
            Under::Lmdb(store, ..) => store.as_deref_mut().expect("it is open while its node lives"),
        }
    }

    fn write(&mut self, value: &Stored) -> Result<(), CommitError> {
        self.under_mut().commit(value)?;
        self.committed = Some(value.clone());
        Ok(())
    }
}

/// A [`Store`] of whichever type.
trait Underlying {
    fn identity(&self) -> Identity;
    fn load(&mut self) -> Result<Option<Stored>, OpenError>;
    fn commit(&mut self, value: &Stored) -> Result<(), CommitError>;
    fn usage(&self) -> Usage;
    fn has_room(&mut self) -> bool;
}

impl<S: Store> Underlying for S {
    fn identity(&self) -> Identity {
        Store::identity(self)
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        Store::load(self)
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        Store::commit(self, value)
    }

    fn usage(&self) -> Usage {
        Store::usage(self)
    }

    fn has_room(&mut self) -> bool {
        Store::has_room(self)
    }
}

impl Store for Disk {
    fn identity(&self) -> Identity {
        self.under().identity()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        self.under_mut().load()
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        self.seen_before |= self.outputs.take().is_some_and(|outputs| outputs.show_more());
        if let Some(written) = self.fails.take() {
            if written {
                self.write(value)?;
            }
            return Err(CommitError::Failed("the life says so".into()));
        }
        if self.lacks_room(value) {
            return Err(CommitError::Full("the life says so".into()));
        }
        self.write(value)
    }

    fn usage(&self) -> Usage {
        if self.nearly_full { Usage { used: 95, limit: 100 } } else { self.under().usage() }
    }

    fn has_room(&mut self) -> bool {
        self.full.is_none() && self.under_mut().has_room()
    }
}
