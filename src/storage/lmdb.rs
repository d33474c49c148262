//! The store on disk: LMDB through `heed`, one write transaction a commit.
//!
//! | database | key | value |
//! |---|---|---|
//! | `meta` | `identity` | [`Identity`] |
//! | `meta` | `marks` | all of the durable value but its maps |
//! | `meta` | `stamp` | the number of the transaction |
//! | `log` | slot, big-endian, so that slots are in order | the entry voted for or decided |
//! | `votes` | slot, big-endian | the ballot of the vote |
//!
//! A commit writes what differs from the last one, which structural sharing finds without looking at the rest. LMDB writes
//! pages beside the old ones and then one of two meta pages, so a crash leaves one of the two values, whole; both syncs are on.
//!
//! A store is made beside its place and moved there when it is whole, so a file that is there was a store. Its pages are looked
//! through before LMDB maps it.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::codec::{decode, encode};
use super::identity::{FORMAT, Identity};
use super::{CommitError, OpenError, Store, Usage, pages};
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
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const IDENTITY: &[u8] = b"identity";
const MARKS: &[u8] = b"marks";
const STAMP: &[u8] = b"stamp";
const FILE: &str = "data.mdb";
/// Room in the map that the log does not get, so that a replica whose log is at its limit can still raise its marks, and read on.
const MARKS_BYTES: usize = 1 << 20;
/// A file that takes as much of the disk for the same purpose: it is given up when the disk is full.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 256 << 10;
/// In the order of their bytes.
const TREES: [&str; 3] = ["log", "meta", "votes"];

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
    usage: Usage,
    /// Held as long as the store is open for writing, so that no other process opens it so.
    _lock: Option<Lock>,
}

impl LmdbStore {
    /// Opens the store of node `node` of `cluster` in `path`, or makes it if there is none; `bytes_max` is how large it may grow.
    pub fn open(path: &Path, cluster: &str, node: u64, bytes_max: usize) -> Result<Self, OpenError> {
        let directory = |error| unusable(path, &error);
        fs::create_dir_all(path).map_err(directory)?;
        let lock = lock(path)?;
        if !path.join(FILE).try_exists().map_err(directory)? {
            make(path, &Identity::new(cluster, node), bytes_max)?;
        }
        let identity = look_through(path)?;
        identity.check(path, cluster, node)?;
        LmdbStore::mapped(path, identity, Some(bytes_max), Some(lock))
    }

    /// For reading alone, beside whoever writes.
    fn open_to_read(path: &Path) -> Result<Self, OpenError> {
        if !path.join(FILE).is_file() {
            return Err(OpenError::Directory(path.into(), "there is no store in it".into()));
        }
        let identity = match look_through(path) {
            Ok(identity) => Some(identity),
            // Whoever writes it has looked through it, and writes pages while they are looked at.
            Err(OpenError::Damaged(..)) if is_in_use(path) => None,
            Err(error) => return Err(error),
        };
        let identity = match identity {
            Some(identity) => identity,
            None => {
                let env = environment(path, None)?;
                let damaged = |error: heed::Error| OpenError::Damaged(path.into(), error.to_string());
                let txn = env.read_txn().map_err(damaged)?;
                let meta: Option<Records> = env.open_database(&txn, Some("meta")).map_err(damaged)?;
                let record = meta.map(|meta| meta.get(&txn, IDENTITY)).transpose().map_err(damaged)?.flatten();
                identity_in(path, record)?
            }
        };
        if identity.format > FORMAT {
            return Err(OpenError::Newer { path: path.into(), found: identity.format });
        }
        LmdbStore::mapped(path, identity, None, None)
    }

    fn mapped(
        path: &Path,
        identity: Identity,
        bytes_max: Option<usize>,
        lock: Option<Lock>,
    ) -> Result<Self, OpenError> {
        if lock.is_some() {
            reserve_readers(path).map_err(|error| unusable(path, &error))?;
            // Where there is no room for it now, there may be some later.
            let _ = reserve(path);
        }
        let env = environment(path, bytes_max)?;
        let damaged = |error: heed::Error| OpenError::Damaged(path.into(), error.to_string());
        let txn = env.read_txn().map_err(damaged)?;
        let open = |name| match env.open_database(&txn, Some(name)).map_err(damaged)? {
            Some(records) => Ok(records),
            None => Err(OpenError::Damaged(path.into(), format!("it lacks the tree {name}"))),
        };
        let [log, meta, votes]: [Records; 3] = [open(TREES[0])?, open(TREES[1])?, open(TREES[2])?];
        let usage = Usage {
            used: used([meta, log, votes], &txn).map_err(damaged)?,
            limit: bytes_max.unwrap_or_default() as u64,
        };
        // Or the handles of the databases would end with it.
        txn.commit().map_err(damaged)?;
        Ok(LmdbStore { path: path.into(), identity, env, meta, log, votes, committed: None, usage, _lock: lock })
    }

    fn damaged(&self, why: impl ToString) -> OpenError {
        OpenError::Damaged(self.path.clone(), why.to_string())
    }

    fn read(&self) -> Result<Option<Stored>, OpenError> {
        let txn = self.env.read_txn().map_err(|error| self.damaged(error))?;
        let Some(record) = self.meta.get(&txn, MARKS).map_err(|error| self.damaged(error))? else {
            return if self.log.is_empty(&txn).and_then(|empty| Ok(empty && self.votes.is_empty(&txn)?)).unwrap_or(false)
            {
                Ok(None)
            } else {
                Err(self.damaged("there are records and no marks"))
            };
        };
        let marks: Marks = decode(MARKS, record).map_err(|why| self.damaged(format!("its marks: {why}")))?;
        let log = self.read_slots(&txn, "log", self.log)?;
        let accepted: OrdMap<Slot, Ballot> = self.read_slots(&txn, "votes", self.votes)?;
        let Marks { promised, promised_at, decided, incarnation } = marks;
        // In order, and so without a look-up each.
        let hole = (0..decided).zip(log.keys().map(Some).chain(std::iter::repeat(None)));
        let hole = hole.into_iter().find(|(slot, found)| *found != Some(slot)).map(|(slot, _)| slot);
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
        stamp(txn, self.meta)?;
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
        let committed = self.try_commit(value);
        if matches!(committed, Err(CommitError::Full(_))) {
            let _ = fs::remove_file(self.path.join(RESERVE));
        }
        committed
    }

    fn usage(&self) -> Usage {
        self.usage
    }

    fn has_room(&mut self) -> bool {
        self.usage.used + RESERVE_BYTES as u64 <= self.usage.limit && reserve(&self.path).is_ok()
    }
}

impl LmdbStore {
    fn try_commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        let failed = |error| commit_error(&self.path, error);
        let mut txn = self.env.write_txn().map_err(failed)?;
        self.write(&mut txn, value).map_err(failed)?;
        let used = used([self.meta, self.log, self.votes], &txn).map_err(failed)?;
        let grows = self.committed.as_ref().is_none_or(|before| !before.log.ptr_eq(&value.log));
        if grows && used > self.usage.limit {
            return Err(CommitError::Full(format!("the configured limit of {} bytes is reached", self.usage.limit)));
        }
        txn.commit().map_err(failed)?;
        self.committed = Some(value.clone());
        self.usage.used = used;
        Ok(())
    }
}

/// What the trees take of the file.
fn used(trees: [Records; 3], txn: &RoTxn<'_>) -> heed::Result<u64> {
    let mut bytes = 0;
    for tree in trees {
        let stat = tree.stat(txn)?;
        bytes += (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size);
    }
    Ok(bytes)
}

/// Takes the reserve of the disk, if it was given up. That is also how it is asked whether there is room: no other answer takes in
/// quotas, reserved blocks and thin volumes.
fn reserve(path: &Path) -> std::io::Result<()> {
    let file = path.join(RESERVE);
    if fs::metadata(&file).is_ok_and(|metadata| metadata.len() == RESERVE_BYTES as u64) {
        return Ok(());
    }
    let taken = fs::File::create(&file).and_then(|mut file| {
        file.write_all(&vec![1; RESERVE_BYTES])?;
        file.sync_all()
    });
    if taken.is_err() {
        let _ = fs::remove_file(&file);
    }
    taken
}

fn commit_error(path: &Path, error: heed::Error) -> CommitError {
    match &error {
        heed::Error::Mdb(MdbError::MapFull) => CommitError::Full("the configured limit is reached".into()),
        heed::Error::Io(io) if lacks_room(path, io) => CommitError::Full("the disk is full".into()),
        _ => CommitError::Failed(error.to_string()),
    }
}

/// Whether `error` says that the disk is full. LMDB calls it an input or output error where only a part of its pages could be written;
/// then it is asked whether there is room. It drops a transaction whose pages were not all written and synced, and nothing that was
/// committed depends on those; where a meta page fails, it refuses every further transaction. So nothing is lost by going on.
fn lacks_room(path: &Path, error: &std::io::Error) -> bool {
    const INPUT_OUTPUT: i32 = 5;
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let asked = || {
        let mut probe = tempfile::tempfile_in(path)?;
        probe.write_all(&[1; 16 << 10])?;
        probe.sync_all()
    };
    full(error.kind())
        || error.raw_os_error() == Some(INPUT_OUTPUT) && asked().is_err_and(|error: std::io::Error| full(error.kind()))
}

/// Leaves the transaction's number in it, by which it is known which meta page is whose.
fn stamp(txn: &mut RwTxn<'_>, meta: Records) -> heed::Result<()> {
    let number = txn.id() as u64;
    meta.put(txn, STAMP, &encode(STAMP, &number))
}

/// LMDB maps its table of readers and writes it there: on a full disk the process would end with SIGBUS, were it not there before.
fn reserve_readers(path: &Path) -> std::io::Result<()> {
    const FILE: &str = "lock.mdb";
    const BYTES: usize = 8192;
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(false).open(path.join(FILE))?;
    if file.metadata()?.len() < BYTES as u64 { file.write_all_at(&[0; BYTES], 0) } else { Ok(()) }
}

fn unusable(path: &Path, error: &std::io::Error) -> OpenError {
    if lacks_room(path, error) {
        OpenError::NoRoom(path.into(), error.to_string())
    } else {
        OpenError::Directory(path.into(), error.to_string())
    }
}

/// Makes a store that nothing was committed to, in a directory that holds nothing.
pub(super) fn make(path: &Path, identity: &Identity, bytes_max: usize) -> Result<(), OpenError> {
    let directory = |error| unusable(path, &error);
    for item in fs::read_dir(path).map_err(directory)? {
        let item = item.map_err(directory)?;
        let name = item.file_name();
        if item.file_type().map_err(directory)?.is_file() && name != LOCK {
            let why = format!(
                "{} is there without the store that belongs to it ({FILE}). A node that lost its votes must not take part under its \
                 old number: bring the store back, or empty the directory and replace the node",
                name.display()
            );
            return Err(OpenError::Damaged(path.into(), why));
        }
    }
    if bytes_max < RESERVE_BYTES {
        return Err(OpenError::NoRoom(path.into(), "its configured size is too small".into()));
    }
    let place = tempfile::Builder::new().prefix("new-").tempdir_in(path).map_err(directory)?;
    reserve_readers(place.path()).map_err(directory)?;
    let fill = || -> heed::Result<()> {
        let env = map(place.path(), Some(bytes_max))?;
        let mut txn = env.write_txn()?;
        let mut meta = None;
        for name in TREES {
            let records: Records = env.create_database(&mut txn, Some(name))?;
            if name == "meta" {
                meta = Some(records);
            }
        }
        let meta = meta.expect("it is one of them");
        meta.put(&mut txn, IDENTITY, &encode(IDENTITY, identity))?;
        stamp(&mut txn, meta)?;
        txn.commit()?;
        // Both meta pages have a stamp from the beginning.
        let mut txn = env.write_txn()?;
        stamp(&mut txn, meta)?;
        txn.commit()?;
        env.prepare_for_closing().wait();
        Ok(())
    };
    fill().map_err(|error| match error {
        heed::Error::Io(error) => directory(error),
        error => OpenError::Directory(path.into(), error.to_string()),
    })?;
    fs::rename(place.path().join(FILE), path.join(FILE)).map_err(directory)?;
    let sync = |path: &Path| fs::File::open(path).and_then(|opened| opened.sync_all()).map_err(directory);
    sync(path)?;
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Looks at every page of the store in `path`, and returns whose it is. Nothing is written or mapped.
fn look_through(path: &Path) -> Result<Identity, OpenError> {
    let file = fs::File::open(path.join(FILE)).map_err(|error| OpenError::Directory(path.into(), error.to_string()))?;
    let damaged = |why: String| OpenError::Damaged(path.into(), format!("{FILE}: {why}"));
    let [newest, before] = pages::look_through(&file, &TREES).map_err(damaged)?;
    for snapshot in [&newest, &before] {
        let record = snapshot.meta.get(STAMP).ok_or_else(|| damaged("a commit lacks its stamp".into()))?;
        let stamp: u64 = decode(STAMP, record).map_err(|why| damaged(format!("the stamp of a commit: {why}")))?;
        if stamp != snapshot.transaction {
            return Err(damaged(format!("a meta page tells transaction {}, and means {stamp}", snapshot.transaction)));
        }
    }
    let known = |key: &&[u8]| [IDENTITY, MARKS, STAMP].contains(key);
    if !newest.meta.keys().map(Vec::as_slice).all(|key| known(&key)) {
        return Err(damaged("a record of meta has an unknown name".into()));
    }
    identity_in(path, newest.meta.get(IDENTITY).map(Vec::as_slice))
}

fn identity_in(path: &Path, record: Option<&[u8]>) -> Result<Identity, OpenError> {
    let damaged = |why: &str| OpenError::Damaged(path.into(), format!("its identity: {why}"));
    decode(IDENTITY, record.ok_or_else(|| damaged("it has none"))?).map_err(|why| damaged(&why))
}

const LOCK: &str = "lock";

fn is_in_use(path: &Path) -> bool {
    fs::File::open(path.join(LOCK)).and_then(Lock::of).is_ok_and(|lock| lock.is_none())
}

/// Held by the one process that may write. It is given back by name, since closing the file does not do so while a child process
/// that was just forked still has it.
struct Lock(fs::File);

impl Lock {
    /// None if another process has it.
    fn of(file: fs::File) -> std::io::Result<Option<Lock>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn lock(path: &Path) -> Result<Lock, OpenError> {
    let directory = |error| unusable(path, &error);
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(false).open(path.join(LOCK)).map_err(directory)?;
    Lock::of(file).map_err(directory)?.ok_or_else(|| OpenError::InUse(path.into()))
}

fn environment(path: &Path, bytes_max: Option<usize>) -> Result<Env<WithoutTls>, OpenError> {
    map(path, bytes_max).map_err(|error| match error {
        heed::Error::Io(error) => OpenError::Directory(path.into(), error.to_string()),
        error => OpenError::Damaged(path.into(), error.to_string()),
    })
}

#[allow(unsafe_code, reason = "LMDB maps its file: nobody else may change it, which the lock sees to")]
fn map(path: &Path, bytes_max: Option<usize>) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(3);
    match bytes_max {
        Some(bytes_max) => options.map_size(bytes_max.next_multiple_of(MARKS_BYTES) + MARKS_BYTES),
        // SAFETY: of the flags of LMDB this one takes away only the right to write.
        None => unsafe { options.flags(EnvFlags::READ_ONLY) },
    };
    // SAFETY: the file is changed only through the environment of the one process that holds the lock file. Readers beside
    // it take part in LMDB's own bookkeeping, so that no page which they read is written.
    unsafe { options.open(path) }
}

/// Whose store lies in `path`, and what was committed there last. It may be in use.
pub fn peek(path: &Path) -> Result<(Identity, Option<Stored>), OpenError> {
    let store = LmdbStore::open_to_read(path)?;
    let stored = store.read()?;
    Ok((store.identity, stored))
}
