//! The store on disk: LMDB through `heed`, one write transaction a commit.
//!
//! | database | key | value |
//! |---|---|---|
//! | `meta` | `identity` | [`Identity`] |
//! | `meta` | `marks` | all of the durable value but its maps |
//! | `log` | slot, big-endian, so that slots are in order | the entry voted for or decided |
//! | `votes` | slot, big-endian | the ballot of the vote |
//!
//! A commit writes what differs from the last one, which structural sharing finds without looking at the rest. LMDB writes
//! pages beside the old ones and then one of two meta pages, so a crash leaves one of the two values, whole; both syncs are on.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::codec::{decode, encode};
use super::identity::{FORMAT, Identity};
use super::{CommitError, OpenError, Store};
use crate::Stored;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const IDENTITY: &[u8] = b"identity";
const MARKS: &[u8] = b"marks";

/// All of the durable value but its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    promised: Ballot,
    promised_at: Slot,
    decided: Slot,
    incarnation: u64,
}

type Records = Database<Bytes, Bytes>;

/// A store in a directory of its own.
pub struct LmdbStore {
    path: PathBuf,
    identity: Identity,
    env: Env<WithoutTls>,
    meta: Records,
    log: Records,
    votes: Records,
    /// What is on the disk.
    committed: Option<Stored>,
    /// Held as long as the store is open for writing, so that no other process opens it so.
    _lock: Option<fs::File>,
}

impl LmdbStore {
    /// Opens the store of node `node` of `cluster` in `path`, or makes it if there is none; `bytes_max` is how large it may grow.
    pub fn open(path: &Path, cluster: &str, node: u64, bytes_max: usize) -> Result<Self, OpenError> {
        let directory = |error: std::io::Error| OpenError::Directory(path.into(), error.to_string());
        fs::create_dir_all(path).map_err(directory)?;
        let lock = lock(path)?;
        let env = environment(path, Some(bytes_max))?;
        let damaged = |error: heed::Error| OpenError::Damaged(path.into(), error.to_string());
        let mut txn = env.write_txn().map_err(|error| match error {
            heed::Error::Io(error) => directory(error),
            error => damaged(error),
        })?;
        let mut open = |name| env.create_database(&mut txn, Some(name)).map_err(damaged);
        let (meta, log, votes): (Records, Records, Records) = (open("meta")?, open("log")?, open("votes")?);
        let identity = match meta.get(&txn, IDENTITY).map_err(damaged)? {
            Some(record) => {
                let identity: Identity = decode(IDENTITY, record)
                    .map_err(|why| OpenError::Damaged(path.into(), format!("its identity: {why}")))?;
                identity.check(path, cluster, node)?;
                identity
            }
            None => {
                let identity = Identity::new(cluster, node);
                meta.put(&mut txn, IDENTITY, &encode(IDENTITY, &identity)).map_err(damaged)?;
                identity
            }
        };
        txn.commit().map_err(|error| OpenError::Directory(path.into(), error.to_string()))?;
        Ok(LmdbStore { path: path.into(), identity, env, meta, log, votes, committed: None, _lock: Some(lock) })
    }

    /// For reading alone, beside whoever writes.
    fn open_to_read(path: &Path) -> Result<Self, OpenError> {
        let missing = || OpenError::Directory(path.into(), "there is no store in it".into());
        if !path.join("data.mdb").is_file() {
            return Err(missing());
        }
        let env = environment(path, None)?;
        let damaged = |error: heed::Error| OpenError::Damaged(path.into(), error.to_string());
        let txn = env.read_txn().map_err(damaged)?;
        let open = |name| env.open_database(&txn, Some(name)).map_err(damaged)?.ok_or_else(missing);
        let (meta, log, votes): (Records, Records, Records) = (open("meta")?, open("log")?, open("votes")?);
        let record = meta.get(&txn, IDENTITY).map_err(damaged)?.ok_or_else(missing)?;
        let identity: Identity =
            decode(IDENTITY, record).map_err(|why| OpenError::Damaged(path.into(), format!("its identity: {why}")))?;
        if identity.format > FORMAT {
            return Err(OpenError::Newer { path: path.into(), found: identity.format });
        }
        // Or the handles of the databases would end with it.
        txn.commit().map_err(damaged)?;
        Ok(LmdbStore { path: path.into(), identity, env, meta, log, votes, committed: None, _lock: None })
    }

    fn damaged(&self, why: impl ToString) -> OpenError {
        OpenError::Damaged(self.path.clone(), why.to_string())
    }

    fn read(&self) -> Result<Option<Stored>, OpenError> {
        let txn = self.env.read_txn().map_err(|error| self.damaged(error))?;
        let Some(record) = self.meta.get(&txn, MARKS).map_err(|error| self.damaged(error))? else {
            return Ok(None);
        };
        let marks: Marks = decode(MARKS, record).map_err(|why| self.damaged(format!("its marks: {why}")))?;
        let log = self.read_slots(&txn, "log", self.log)?;
        let accepted: OrdMap<Slot, Ballot> = self.read_slots(&txn, "votes", self.votes)?;
        let Marks { promised, promised_at, decided, incarnation } = marks;
        let hole = (0..decided).find(|slot| !log.contains_key(slot));
        let loose = accepted.keys().find(|slot| **slot < decided || !log.contains_key(*slot));
        if let Some(slot) = hole.or(loose.copied()) {
            return Err(self.damaged(format!("slot {slot} of {decided} decided is missing, or voted for twice")));
        }
        Ok(Some(Arc::new(Durable { promised, promised_at, accepted, log, decided, incarnation })))
    }

    fn read_slots<T: DeserializeOwned + Clone>(
        &self,
        txn: &RoTxn<'_, WithoutTls>,
        name: &str,
        from: Records,
    ) -> Result<OrdMap<Slot, T>, OpenError> {
        let records = from.iter(txn).map_err(|error| self.damaged(error))?;
        let mut values = OrdMap::new();
        for record in records {
            let (key, record) = record.map_err(|error| self.damaged(error))?;
            let slot: [u8; 8] =
                key.try_into().map_err(|_| self.damaged(format!("{name} has a key that is no slot")))?;
            let slot = Slot::from_be_bytes(slot);
            let value = decode(key, record).map_err(|why| self.damaged(format!("slot {slot} in {name}: {why}")))?;
            values.insert(slot, value);
        }
        Ok(values)
    }

    fn write(&self, txn: &mut RwTxn<'_>, value: &Durable<crate::Command>) -> heed::Result<()> {
        let empty = Durable::default();
        let before = self.committed.as_deref().unwrap_or(&empty);
        let Durable { promised, promised_at, accepted, log, decided, incarnation } = value;
        let (promised, promised_at, decided, incarnation) = (*promised, *promised_at, *decided, *incarnation);
        let marks = Marks { promised, promised_at, decided, incarnation };
        self.meta.put(txn, MARKS, &encode(MARKS, &marks))?;
        write_changes(txn, self.log, &before.log, log)?;
        write_changes(txn, self.votes, &before.accepted, accepted)
    }
}

/// Writes where `after` differs from `before`.
fn write_changes<T: Serialize + Clone + PartialEq>(
    txn: &mut RwTxn<'_>,
    to: Records,
    before: &OrdMap<Slot, T>,
    after: &OrdMap<Slot, T>,
) -> heed::Result<()> {
    for change in before.diff(after) {
        match change {
            DiffItem::Add(slot, value) | DiffItem::Update { new: (slot, value), .. } => {
                let key = slot.to_be_bytes();
                to.put(txn, &key, &encode(&key, value))?;
            }
            DiffItem::Remove(slot, _) => {
                to.delete(txn, &slot.to_be_bytes())?;
            }
        }
    }
    Ok(())
}

impl Store for LmdbStore {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        self.committed = self.read()?;
        Ok(self.committed.clone())
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        let mut txn = self.env.write_txn().map_err(commit_error)?;
        self.write(&mut txn, value).map_err(commit_error)?;
        txn.commit().map_err(commit_error)?;
        self.committed = Some(value.clone());
        Ok(())
    }
}

fn commit_error(error: heed::Error) -> CommitError {
    match &error {
        heed::Error::Mdb(MdbError::MapFull) => CommitError::Full("the configured limit is reached".into()),
        heed::Error::Io(io) if matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            CommitError::Full(io.to_string())
        }
        _ => CommitError::Failed(error.to_string()),
    }
}

fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let directory = |error: std::io::Error| OpenError::Directory(path.into(), error.to_string());
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(false).open(path.join("lock")).map_err(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.into())),
        Err(fs::TryLockError::Error(error)) => Err(directory(error)),
    }
}

#[allow(unsafe_code, reason = "LMDB maps its file: nobody else may change it, which the lock sees to")]
fn environment(path: &Path, bytes_max: Option<usize>) -> Result<Env<WithoutTls>, OpenError> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(3);
    match bytes_max {
        Some(bytes_max) => options.map_size(bytes_max),
        // SAFETY: of the flags of LMDB this one takes away only the right to write.
        None => unsafe { options.flags(EnvFlags::READ_ONLY) },
    };
    // SAFETY: the file is changed only through the environment of the one process that holds the lock file. Readers beside
    // it take part in LMDB's own bookkeeping, so that no page which they read is written.
    let opened = unsafe { options.open(path) };
    opened.map_err(|error| match error {
        heed::Error::Io(error) => OpenError::Directory(path.into(), error.to_string()),
        error => OpenError::Damaged(path.into(), error.to_string()),
    })
}

/// Whose store lies in `path`, and what was committed there last. It may be in use.
pub fn peek(path: &Path) -> Result<(Identity, Option<Stored>), OpenError> {
    let store = LmdbStore::open_to_read(path)?;
    let stored = store.read()?;
    Ok((store.identity, stored))
}
