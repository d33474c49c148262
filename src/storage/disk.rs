//! The store of a node: a journal in front of LMDB.
//!
//! A commit is a record in the journal, which costs one write and one sync. The record continues the last transaction of LMDB. A commit goes to
//! LMDB, with all that the journal holds, when it brings of a snapshot, when the journal has no room for it, and when the store is so full that
//! what it takes has to be known. So LMDB is written once for some hundred commits, and most of what was voted for and decided meanwhile
//! is written there once, as decided.

use super::delta::Delta;
use super::directory::unusable;
use super::identity::Identity;
use super::journal::{self, AppendError, Journal};
use super::lmdb::{self, LmdbStore};
use super::{CommitError, OpenError, Store, Usage, trees};
use crate::{Machine, Stored};
use paxos_model::replica::durable::Durable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store in a directory of its own.
pub struct DiskStore {
    path: PathBuf,
    under: LmdbStore,
    /// What continues the last transaction.
    journal: Journal,
    /// What both hold.
    committed: Option<Stored>,
    /// What the journal's records may take when they are in LMDB, in bytes.
    ahead: u64,
}

impl DiskStore {
    /// Opens the store of node `node` of `cluster` in `path`, or makes it if there is none; `bytes_max` is how much it may hold. One
    /// of an earlier format is made one of this.
    pub fn open(path: &Path, cluster: &str, node: u64, bytes_max: usize) -> Result<Self, OpenError> {
        let under = LmdbStore::open(path, cluster, node, bytes_max)?;
        let (journal, _) = open_journal(path, &under)?;
        Ok(DiskStore { path: path.into(), under, journal, committed: None, ahead: 0 })
    }

    /// Whether anything was ever committed to it.
    pub fn is_used(&self) -> Result<bool, OpenError> {
        self.under.is_used()
    }

    /// Whether such a record is taken where the store is not known to the byte. It never is where that decides anything.
    fn is_far_from_full(&self, bytes: u64) -> bool {
        let Usage { used, limit } = self.usage();
        !Usage { used: used + bytes, limit }.is_nearly_full()
    }

    /// Writes `value` to the journal. False if it has to go to LMDB.
    fn append(&mut self, value: &Stored) -> Result<bool, CommitError> {
        let Some(delta) = self.committed.as_ref().and_then(|before| Delta::of(before, value)) else { return Ok(false) };
        let record = delta.encode();
        let bytes = bytes_in_trees(record.len());
        if !self.is_far_from_full(bytes) || delta.brings_entries() && record.len() > self.journal.room() {
            return Ok(false);
        }
        match self.journal.append(&record) {
            Ok(()) => {
                self.ahead += bytes;
                Ok(true)
            }
            Err(AppendError::NoRoom) => Ok(false),
            Err(AppendError::Failed(error)) => Err(CommitError::Failed(format!("in its journal: {error}"))),
        }
    }
}

impl Store for DiskStore {
    fn identity(&self) -> Identity {
        self.under.identity()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        let stored = self.under.load()?;
        let (journal, records) = open_journal(&self.path, &self.under)?;
        self.journal = journal;
        self.ahead = records.iter().map(|record| bytes_in_trees(record.len())).sum();
        self.committed = continued(&self.path, stored, records)?;
        Ok(self.committed.clone())
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        if !self.append(value)? {
            self.under.commit(value)?;
            self.journal.restart(self.under.transaction());
            self.ahead = 0;
        }
        self.committed = Some(value.clone());
        Ok(())
    }

    fn usage(&self) -> Usage {
        let Usage { used, limit } = self.under.usage();
        Usage { used: used + self.ahead, limit }
    }

    fn has_room(&mut self) -> bool {
        self.under.has_room()
    }
}

/// About what a record of so many bytes takes in LMDB at most: pages are half full at least, and a long entry has pages of its own.
fn bytes_in_trees(record: usize) -> u64 {
    2 * record as u64 + 4096
}

/// The journal that continues what is in LMDB, and its records.
fn open_journal(path: &Path, under: &LmdbStore) -> Result<(Journal, Vec<Vec<u8>>), OpenError> {
    let (store, base) = (under.identity().store, under.transaction());
    let found = journal::read(path, store, base, false).map_err(|why| damaged(path, &why))?;
    let journal = Journal::open(path, store, base, &found).map_err(|error| unusable(path, &error))?;
    Ok((journal, found.records))
}

/// What the records of the journal make of what is `stored` in LMDB.
fn continued(path: &Path, stored: Option<Stored>, records: Vec<Vec<u8>>) -> Result<Option<Stored>, OpenError> {
    if records.is_empty() {
        return Ok(stored);
    }
    let mut value = stored.map_or_else(Durable::<Machine>::default, |stored| Durable::clone(&stored));
    for (number, record) in records.iter().enumerate() {
        let delta = Delta::decode(record).map_err(|why| damaged(path, &format!("record {number}: {why}")))?;
        delta.apply(&mut value);
    }
    trees::check(&value).map_err(|why| damaged(path, &why))?;
    Ok(Some(Arc::new(value)))
}

fn damaged(path: &Path, why: &str) -> OpenError {
    OpenError::Damaged(path.into(), format!("{}: {why}", journal::FILE))
}

/// Whose store lies in `path`, and what was committed there last. It may be in use; then the last may be missed.
pub fn peek(path: &Path) -> Result<(Identity, Option<Stored>), OpenError> {
    const TRIES: u32 = 10;
    let mut tried = 0;
    loop {
        let lmdb::Peeked { identity, stored, transaction, is_in_use } = lmdb::peek(path)?;
        if identity.format < journal::SINCE_FORMAT {
            return Ok((identity, stored));
        }
        match journal::read(path, identity.store, transaction, is_in_use) {
            Ok(found) => return Ok((identity, continued(path, stored, found.records)?)),
            // It went on while it was looked at.
            Err(_) if is_in_use && tried < TRIES => tried += 1,
            Err(why) => return Err(damaged(path, &why)),
        }
    }
}
