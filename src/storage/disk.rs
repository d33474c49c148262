//! The store of a node: a journal in front of LMDB.
//!
//! A commit is a record in the journal, which costs one write and one sync. The record continues the last transaction of LMDB. A commit goes to
//! LMDB, with all that the journal holds, when it brings of a snapshot, when the journal has no room for it, and when the store is so full that
//! what it takes has to be known. So LMDB is written once for some hundred commits, and most of what was voted for and decided meanwhile
//! is written there once, as decided.

use super::delta::Delta;
use super::directory::unusable;
use super::identity::{Identity, StoreId};
use super::journal::{self, AppendError, Found, Journal};
use super::lmdb::{self, LmdbStore};
use super::{CommitError, Needs, OpenError, Store, Usage, trees};
use crate::{Machine, Stored};
use paxos_model::replica::durable::Durable;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store in a directory of its own.
pub struct DiskStore {
    path: PathBuf,
    under: LmdbStore,
    /// What continues the last transaction.
    journal: Journal,
    /// Its records when the store was opened, until they are loaded or something is committed.
    opened: Option<Vec<Vec<u8>>>,
    /// What both hold.
    committed: Option<Stored>,
    /// What the journal's records may take when they are in LMDB, in bytes.
    ahead: u64,
    /// Why nothing more may be committed, since a commit that failed may be found in its place.
    failed: Option<String>,
}

impl DiskStore {
    /// Opens the store of node `node` of `cluster` in `path`, or makes it if there is none; `bytes_max` is how much it may hold. One
    /// of an earlier format is made one of this.
    pub fn open(path: &Path, cluster: &str, node: u64, bytes_max: usize) -> Result<Self, OpenError> {
        let under = LmdbStore::open(path, cluster, node, bytes_max)?;
        let (journal, records) = open_journal(path, &under)?;
        let ahead = ahead(&records);
        Ok(DiskStore { path: path.into(), under, journal, opened: Some(records), committed: None, ahead, failed: None })
    }

    /// Whether anything was ever committed to it.
    pub fn is_used(&self) -> Result<bool, OpenError> {
        self.under.is_used()
    }

    /// Whether the journal may take a record of so many bytes: only where what the store takes is far from every limit, as it is not known
    /// exactly then.
    fn is_far_from_full(&self, record: usize) -> bool {
        let Usage { used, limit } = self.usage();
        !Usage { used: used + bytes_in_trees(record), limit }.is_nearly_full()
    }

    /// Writes `record` to the journal. False if there is no room in it.
    fn append(&mut self, record: &[u8]) -> Result<bool, CommitError> {
        match self.journal.append(record) {
            Ok(()) => {
                self.ahead += bytes_in_trees(record.len());
                self.under.keep_reserve();
                Ok(true)
            }
            Err(AppendError::NoRoom) => Ok(false),
            Err(AppendError::Failed(error)) => Err(CommitError::Failed(format!(
                "{}: {error}. What was committed before is there: when its disk takes writes, start the node again",
                journal::FILE
            ))),
        }
    }

    /// The record that makes `value` of what is committed, if it can be said in one and the journal has room for it, or for such a one.
    fn record_of(&self, value: &Durable<Machine>) -> Option<Vec<u8>> {
        let delta = Delta::of(self.committed.as_ref()?, value)?;
        let record = delta.encode();
        (!delta.brings_entries() || record.len() <= self.journal.room()).then_some(record)
    }

    /// Commits a value to the journal or to LMDB.
    fn write(&mut self, value: &Stored) -> Result<(), CommitError> {
        self.opened = None;
        if self.is_far_from_full(0)
            && let Some(record) = self.record_of(value)
            && self.is_far_from_full(record.len())
            && self.append(&record)?
        {
            self.committed = Some(value.clone());
            return Ok(());
        }
        let empty = Durable::default();
        let needs = Needs::of(self.committed.as_deref().unwrap_or(&empty), value);
        match self.under.commit_what_needs(needs, value) {
            Ok(()) => {
                self.journal.restart(self.under.transaction());
                self.ahead = 0;
            }
            // What needs little is to find room as long as there is any.
            Err(CommitError::Full(why)) if needs <= Needs::Entries => {
                let Some(record) = self.record_of(value) else { return Err(CommitError::Full(why)) };
                if !self.append(&record)? {
                    return Err(CommitError::Full(why));
                }
            }
            Err(error) => return Err(error),
        }
        self.committed = Some(value.clone());
        Ok(())
    }
}

impl Store for DiskStore {
    fn identity(&self) -> Identity {
        self.under.identity()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        let stored = self.under.load()?;
        let records = match self.opened.take() {
            Some(records) => records,
            None => {
                let (journal, records) = open_journal(&self.path, &self.under)?;
                self.journal = journal;
                records
            }
        };
        self.ahead = ahead(&records);
        self.committed = continued(&self.path, stored, records)?;
        Ok(self.committed.clone())
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        if let Some(why) = &self.failed {
            return Err(CommitError::Failed(format!("nothing is committed after one that failed: {why}")));
        }
        let committed = self.write(value);
        if let Err(CommitError::Failed(why)) = &committed {
            self.failed = Some(why.clone());
        }
        committed
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

/// What `records` take at most when they are in LMDB.
fn ahead(records: &[Vec<u8>]) -> u64 {
    records.iter().map(|record| bytes_in_trees(record.len())).sum()
}

/// The journal that continues what is in LMDB, and its records.
fn open_journal(path: &Path, under: &LmdbStore) -> Result<(Journal, Vec<Vec<u8>>), OpenError> {
    let (store, base) = (under.identity().store, under.transaction());
    let (bytes, found) = look_into(path, store, base, false)?;
    let journal = Journal::open(path, store, base, bytes, &found).map_err(|error| unusable(path, &error))?;
    Ok((journal, found.records))
}

/// What the journal holds, and what of it continues `base`.
fn look_into(path: &Path, store: StoreId, base: u64, is_written: bool) -> Result<(Vec<u8>, Found), OpenError> {
    let bytes = journal::bytes(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => damaged(path, "it is missing, and with it what was saved last"),
        _ => unusable(path, &error),
    })?;
    let found = journal::read(&bytes, store, base, is_written).map_err(|why| damaged(path, &why))?;
    Ok((bytes, found))
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

/// Whose store lies in `path`, and what was committed there last. It may be in use; then what is committed after this has begun may be missed.
pub fn peek(path: &Path) -> Result<(Identity, Option<Stored>), OpenError> {
    let (identity, stored, records) = lmdb::peek(path, |identity, transaction, is_in_use| {
        if identity.format < journal::SINCE_FORMAT {
            return Ok(Vec::new());
        }
        Ok(look_into(path, identity.store, transaction, is_in_use)?.1.records)
    })?;
    Ok((identity, continued(path, stored, records)?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{open, value};
    use super::*;

    #[test]
    fn nothing_is_committed_after_a_commit_that_failed() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        let saved: [Stored; 3] = [1, 2, 3].map(|round| Arc::new(value(2, round)));
        store.commit(&saved[0]).expect("there is room");
        store.journal.lose_disk();
        let Err(CommitError::Failed(first)) = store.commit(&saved[1]) else { panic!("its disk is gone") };
        assert!(first.contains("start the node again"), "{first}");
        let Err(CommitError::Failed(second)) = store.commit(&saved[2]) else {
            panic!("what is on the disk is unknown")
        };
        assert!(second.contains("after one that failed") && second.contains(&first), "{second}");
        drop(store);
        assert_eq!(open(directory.path()).load(), Ok(Some(saved[0].clone())));
    }
}
