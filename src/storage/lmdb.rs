//! A store in LMDB, through `heed`: one write transaction a commit. The module `trees` says what stands where.
//!
//! A commit writes what differs from the last one, which structural sharing finds without looking at the rest. LMDB writes
//! pages beside the old ones and then one of two meta pages, so a crash leaves one of the two values, whole; both syncs are on.
//!
//! A store is made beside its place and moved there when it is whole, so a file that is there was a store. Its pages are looked
//! through before LMDB maps it.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::codec::decode;
use super::directory::{
    self, LITTLE, LOCK, Lock, RESERVE, RESERVE_BYTES, lacks_room, probe, reserve, reserve_readers, unusable,
};
use super::identity::{FORMAT, Identity};
use super::pages::{self, Snapshot, Unnumbered};
use super::trees::{self, IDENTITY, MARKS, Read, STAMP, Trees};
use super::{CommitError, Needs, OpenError, Usage, journal};
use crate::Stored;
use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use paxos_model::replica::durable::Durable;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE: &str = "data.mdb";
/// The map is so many times what the store may hold. A commit writes beside what it replaces, and one that puts a snapshot in the place of
/// the log may write all over again; what an earlier one gave up lies in pieces. So it finds room, and a replica whose log is at its
/// limit can still raise its marks, and read on.
pub(super) const BESIDE: usize = 4;
/// So many times what the store may hold it holds at most, where what comes brings no values.
const ABOVE: u64 = 2;
/// The least that a map is.
const MAP_MIN: usize = 2 << 20;
/// More than there are trees in any format.
const TREES_MAX: u32 = 16;

/// A store in a directory of its own, which it shares with the journal that continues it.
pub(super) struct LmdbStore {
    path: PathBuf,
    identity: Identity,
    env: Env<WithoutTls>,
    trees: Trees,
    /// What is on the disk.
    committed: Option<Stored>,
    /// The number of the last transaction.
    transaction: u64,
    /// Whether its snapshot is in the second set of trees.
    second: bool,
    usage: Usage,
    /// What there was no room for when a commit last failed for that, until there is.
    lack: Option<Lack>,
    /// Whether the reserve is there.
    reserved: bool,
    /// Commits since it was last tried to have it.
    unreserved: u32,
    /// Held as long as the store is open, so that no other process opens it for writing.
    _lock: Lock,
}

/// Why there was no room for a commit.
enum Lack {
    /// With its values the store would be fuller than it may be.
    Values,
    /// So it would without any, or the map is full. It is tried again: what lets go of the log must not wait for less to be held.
    Other,
    /// The disk was full.
    Disk {
        /// What was free within the file. It was not enough.
        inside: u64,
        /// About how much the commit needed, in bytes.
        bytes: u64,
    },
}

/// Why a commit failed.
enum Failure {
    /// It would be above what the store may hold of this.
    Limit(Needs, String),
    Heed(heed::Error),
}

impl From<heed::Error> for Failure {
    fn from(error: heed::Error) -> Failure {
        Failure::Heed(error)
    }
}

impl LmdbStore {
    /// Opens the store of node `node` of `cluster` in `path`, or makes it if there is none; `bytes_max` is how much it may hold. One
    /// of an earlier format is made one of this.
    pub(super) fn open(path: &Path, cluster: &str, node: u64, bytes_max: usize) -> Result<Self, OpenError> {
        let unusable = |error| unusable(path, &error);
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = directory::lock(path)?;
        if !path.join(FILE).try_exists().map_err(unusable)? {
            make(path, &Identity::new(cluster, node), bytes_max)?;
        }
        // What is found may be in memory alone, where the one who wrote it ended before it was synced; and no commit may follow for long.
        sync(&path.join(FILE)).map_err(unusable)?;
        let (mut identity, newest) = match look_through(path) {
            Ok(looked) => looked,
            Err(error) => {
                let (commit, owner) = unnumbered(path).ok_or(error)?;
                owner.check(path, cluster, node)?;
                complete(path, &commit).map_err(unusable)?;
                look_through(path)?
            }
        };
        identity.check(path, cluster, node)?;
        reserve_readers(path).map_err(unusable)?;
        let env = environment(path, Some(bytes_max))?;
        // Whoever looks at the store keeps what LMDB knows of it in memory, and that may be without the last commit, if its writer was killed
        // in it. To begin to write sets that right.
        let txn = env.write_txn().map_err(|error| OpenError::Directory(path.into(), error.to_string()))?;
        let next = txn.id() as u64;
        txn.abort();
        // But not where the last commit was completed here, and was not there when it was looked at. It would be written over.
        if next <= newest {
            return Err(OpenError::InUse(path.into()));
        }
        let upgrades = u64::from(identity.format < FORMAT);
        if identity.format < FORMAT {
            let from = std::mem::replace(&mut identity.format, FORMAT);
            upgrade(path, &env, &identity, from)?;
        }
        // Where there is no room for it now, there may be some later.
        let reserved = reserve(path).is_ok();
        let damaged = |why| OpenError::Damaged(path.into(), why);
        let txn = env.read_txn().map_err(|error| damaged(error.to_string()))?;
        if txn.id() as u64 != newest + upgrades {
            return Err(damaged(format!("its last commit is {newest}, and {} is found", txn.id())));
        }
        let trees = Trees::open(&env, &txn, FORMAT).map_err(damaged)?;
        let used = trees.used(&txn).map_err(|error| damaged(error.to_string()))?;
        let transaction = txn.id() as u64;
        // Or the handles of the databases would end with it.
        txn.commit().map_err(|error| damaged(error.to_string()))?;
        let usage = Usage { used, limit: bytes_max as u64 };
        Ok(LmdbStore {
            path: path.into(),
            identity,
            env,
            trees,
            committed: None,
            transaction,
            second: false,
            usage,
            lack: None,
            reserved,
            unreserved: 0,
            _lock: lock,
        })
    }

    /// The number of the last transaction.
    pub(super) fn transaction(&self) -> u64 {
        self.transaction
    }

    /// Whether anything was ever committed to it.
    pub(super) fn is_used(&self) -> Result<bool, OpenError> {
        let damaged = |error: heed::Error| OpenError::Damaged(self.path.clone(), error.to_string());
        let txn = self.env.read_txn().map_err(damaged)?;
        self.trees.has_marks(&txn).map_err(damaged)
    }
}

fn upgrade(path: &Path, env: &Env<WithoutTls>, identity: &Identity, from: u32) -> Result<(), OpenError> {
    // Before it is said to belong to the store. One that is there was made when that was not said any more.
    if !journal::is_unused(path).map_err(|error| unusable(path, &error))? {
        let why = format!("a {} is there that belongs to a later store", journal::FILE);
        return Err(OpenError::Damaged(path.into(), why));
    }
    journal::make(path).and_then(|()| sync(path)).map_err(|error| {
        // Or it would take the room that is lacking.
        let _ = fs::remove_file(path.join(journal::FILE));
        unusable(path, &error)
    })?;
    let failed = |error| match commit_error(path, error) {
        CommitError::Full(why) => OpenError::NoRoom(path.into(), why),
        CommitError::Failed(why) => OpenError::Directory(path.into(), why),
    };
    let mut txn = env.write_txn().map_err(failed)?;
    Trees::upgrade(env, &mut txn, identity, from).map_err(|why| OpenError::Damaged(path.into(), why))?;
    txn.commit().map_err(failed)
}

impl LmdbStore {
    /// Whose store it is.
    pub(super) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// What was committed last; none if nothing ever was.
    pub(super) fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        let (found, transaction) = read(&self.path, &self.env, &self.trees)?;
        let (committed, second) = found.unzip();
        self.transaction = transaction;
        self.committed = committed.map(Arc::new);
        self.second = second.unwrap_or_default();
        Ok(self.committed.clone())
    }

    /// How much of the store is taken.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether such a commit as found no room last may succeed now.
    pub(super) fn has_room(&mut self) -> bool {
        let room = match &self.lack {
            None | Some(Lack::Other) => true,
            // A little is enough: values may be refused anew, but what makes room for them must not be.
            Some(Lack::Values) => {
                let little = (LITTLE as u64).min(self.usage.limit / 40);
                self.usage.used + little <= self.usage.limit
            }
            // Not the reserve alone, which was just given up; or what was given up within the file.
            Some(Lack::Disk { inside, bytes }) => {
                self.inside() >= inside + bytes || probe(&self.path, RESERVE_BYTES as u64 + bytes).is_ok()
            }
        };
        if room {
            self.reserved = reserve(&self.path).is_ok();
            self.lack = None;
        }
        room
    }

    /// Makes `value` durable, all of it or none, which brings what `needs` so much room: what was durable before, wherever, brings nothing.
    pub(super) fn commit_what_needs(&mut self, needs: Needs, value: &Stored) -> Result<(), CommitError> {
        let mut bytes = 0;
        let Err(failure) = self.try_commit(needs, value, &mut bytes) else {
            self.keep_reserve();
            return Ok(());
        };
        let (error, lack) = match failure {
            Failure::Limit(Needs::Values, why) => (CommitError::Full(why), Lack::Values),
            Failure::Limit(_, why) => (CommitError::Full(why), Lack::Other),
            Failure::Heed(error) => {
                let disk = Lack::Disk { inside: self.inside(), bytes: 2 * bytes + RESERVE_BYTES as u64 };
                let lack = if matches!(error, heed::Error::Io(_)) { disk } else { Lack::Other };
                (commit_error(&self.path, error), lack)
            }
        };
        if let CommitError::Full(why) = &error {
            self.lack = Some(lack);
            self.reserved = false;
            let _ = fs::remove_file(self.path.join(RESERVE));
            // Then it cannot be read either, and that it is damaged would be said of a store that is sound.
            if matches!(self.env.read_txn(), Err(heed::Error::Mdb(MdbError::Panic))) {
                return Err(CommitError::Failed(format!(
                    "{why}, and a meta page could not be written in its place. What was committed before is there: make room, and \
                     start the node again"
                )));
            }
        }
        Err(error)
    }

    /// Leaves in `bytes` how many it wrote.
    fn try_commit(&mut self, needs: Needs, value: &Stored, bytes: &mut u64) -> Result<(), Failure> {
        let mut txn = self.env.write_txn()?;
        let empty = Durable::default();
        let before = self.committed.as_deref().unwrap_or(&empty);
        let second;
        (second, *bytes) = self.trees.write(&mut txn, (before, self.second), value)?;
        let used = self.trees.used(&txn)?;
        let limit = match needs {
            Needs::Values => self.usage.limit_of_values(),
            // Without these nothing would ever be let go of. The map is larger than that.
            Needs::Snapshot | Needs::Entries => self.usage.limit * ABOVE,
            Needs::Marks => u64::MAX,
        };
        if used > limit {
            return Err(Failure::Limit(
                needs,
                format!("it would hold {used} bytes, and may hold {limit} of this sort"),
            ));
        }
        let transaction = txn.id() as u64;
        txn.commit()?;
        self.transaction = transaction;
        self.committed = Some(value.clone());
        self.second = second;
        self.usage.used = used;
        Ok(())
    }

    /// Takes the reserve again now and then, where there was no room for it. Called after each commit, wherever it went.
    pub(super) fn keep_reserve(&mut self) {
        const COMMITS: u32 = 1024;
        if !self.reserved {
            self.unreserved += 1;
            if self.unreserved >= COMMITS {
                self.unreserved = 0;
                self.reserved = reserve(&self.path).is_ok();
            }
        }
    }

    /// How much of the file nothing of what is stored takes, in bytes.
    fn inside(&self) -> u64 {
        self.env.real_disk_size().map_or(0, |bytes| bytes.saturating_sub(self.usage.used))
    }
}

fn commit_error(path: &Path, error: heed::Error) -> CommitError {
    match &error {
        heed::Error::Mdb(MdbError::MapFull) => {
            CommitError::Full("there is no room to write beside what is there".into())
        }
        heed::Error::Io(io) if lacks_room(path, io) => CommitError::Full("the disk is full".into()),
        _ => CommitError::Failed(error.to_string()),
    }
}

/// Makes a store that nothing was committed to, in a directory that holds nothing.
pub(super) fn make(path: &Path, identity: &Identity, bytes_max: usize) -> Result<(), OpenError> {
    let directory = |error| unusable(path, &error);
    for item in fs::read_dir(path).map_err(directory)? {
        let item = item.map_err(directory)?;
        let name = item.file_name();
        // A journal is made before the store that it belongs to.
        let is_begun = name == LOCK || name == journal::FILE && journal::is_unused(path).map_err(directory)?;
        if item.file_type().map_err(directory)?.is_file() && !is_begun {
            let why = format!(
                "{} is there without the store that belongs to it ({FILE}). A node that lost its votes must not take part under its \
                 old number: bring the store back, or empty the directory and replace the node",
                name.display()
            );
            return Err(OpenError::Damaged(path.into(), why));
        }
    }
    if bytes_max < LITTLE {
        return Err(OpenError::NoRoom(path.into(), "its configured size is too small".into()));
    }
    let place = tempfile::Builder::new().prefix("new-").tempdir_in(path).map_err(directory)?;
    reserve_readers(place.path()).map_err(directory)?;
    let fill = || -> heed::Result<()> {
        let env = map(place.path(), Some(bytes_max))?;
        let mut txn = env.write_txn()?;
        let trees = Trees::make(&env, &mut txn)?;
        trees.identify(&mut txn, identity)?;
        txn.commit()?;
        // Both meta pages have a stamp from the beginning.
        let mut txn = env.write_txn()?;
        trees.stamp(&mut txn)?;
        txn.commit()?;
        env.prepare_for_closing().wait();
        Ok(())
    };
    fill().map_err(|error| match error {
        heed::Error::Io(error) => directory(error),
        error => OpenError::Directory(path.into(), error.to_string()),
    })?;
    let moved = || {
        journal::make(path)?;
        sync(path)?;
        fs::rename(place.path().join(FILE), path.join(FILE))
    };
    moved().map_err(|error| {
        // Or it would take the room that is lacking.
        let _ = fs::remove_file(path.join(journal::FILE));
        directory(error)
    })?;
    sync(path).map_err(directory)?;
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), |parent| sync(parent).map_err(directory))
}

/// Makes a file durable, or which files a directory has.
fn sync(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Looks at every page of the store in `path`, and returns whose it is, and the number of the last transaction. Nothing is written or mapped.
fn look_through(path: &Path) -> Result<(Identity, u64), OpenError> {
    let file = fs::File::open(path.join(FILE)).map_err(|error| OpenError::Directory(path.into(), error.to_string()))?;
    let damaged = |why: String| OpenError::Damaged(path.into(), format!("{FILE}: {why}"));
    let [newest, before] = pages::look_through(&file).map_err(damaged)?;
    for snapshot in [&newest, &before] {
        owner_of(path, snapshot)?;
    }
    let identity = owner_of(path, &newest)?;
    let known = |key: &[u8]| [IDENTITY, MARKS, STAMP].contains(&key);
    if identity.format <= FORMAT && !newest.meta.keys().all(|key| known(key)) {
        return Err(damaged("a record of meta has an unknown name".into()));
    }
    Ok((identity, newest.transaction))
}

/// Whose store `snapshot` tells that it is, if it is of the transaction that it should be of, and has the trees that it should have.
fn owner_of(path: &Path, snapshot: &Snapshot) -> Result<Identity, OpenError> {
    let damaged = |why: String| OpenError::Damaged(path.into(), format!("{FILE}: {why}"));
    let record = snapshot.meta.get(STAMP).ok_or_else(|| damaged("a commit lacks its stamp".into()))?;
    let stamp: u64 = decode(STAMP, record).map_err(|why| damaged(format!("the stamp of a commit: {why}")))?;
    if stamp != snapshot.transaction {
        return Err(damaged(format!("a meta page tells transaction {}, and means {stamp}", snapshot.transaction)));
    }
    let identity = identity_in(path, snapshot.meta.get(IDENTITY).map(Vec::as_slice))?;
    if identity.format <= FORMAT && snapshot.trees != trees::names(identity.format) {
        let names = trees::names(identity.format);
        return Err(damaged(format!("it holds the trees {:?}, and should hold {names:?}", snapshot.trees)));
    }
    Ok(identity)
}

/// What LMDB leaves where it cannot write a meta page, if it has left that; and whose store it is.
fn unnumbered(path: &Path) -> Option<(Unnumbered, Identity)> {
    let commit = pages::unnumbered(&fs::File::open(path.join(FILE)).ok()?).ok()?;
    let [after, before] = &commit.snapshots;
    owner_of(path, after).ok()?;
    let owner = owner_of(path, before).ok()?;
    Some((commit, owner))
}

/// Gives a commit its number. Nobody was told of it, and nothing was told after it, since its store failed with it; but it may be
/// that it was done, as a commit whose answer is lost.
fn complete(path: &Path, commit: &Unnumbered) -> std::io::Result<()> {
    let [after, _] = &commit.snapshots;
    tracing::warn!(commit = after.transaction, "a commit whose meta page could not be written is completed");
    let file = fs::File::options().write(true).open(path.join(FILE))?;
    file.write_all_at(&commit.bytes, commit.at)?;
    file.sync_all()
}

fn identity_in(path: &Path, record: Option<&[u8]>) -> Result<Identity, OpenError> {
    let damaged = |why: &str| OpenError::Damaged(path.into(), format!("its identity: {why}"));
    decode(IDENTITY, record.ok_or_else(|| damaged("it has none"))?).map_err(|why| damaged(&why))
}

fn environment(path: &Path, bytes_max: Option<usize>) -> Result<Env<WithoutTls>, OpenError> {
    map(path, bytes_max).map_err(|error| match error {
        heed::Error::Io(error) => OpenError::Directory(path.into(), error.to_string()),
        error => OpenError::Damaged(path.into(), error.to_string()),
    })
}

#[allow(unsafe_code, reason = "LMDB maps its file: nobody else may change it, which the lock sees to")]
pub(super) fn map(path: &Path, bytes_max: Option<usize>) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(TREES_MAX);
    match bytes_max {
        Some(bytes_max) => options.map_size((BESIDE * bytes_max).max(MAP_MIN).next_multiple_of(MAP_MIN)),
        // SAFETY: of the flags of LMDB this one takes away only the right to write.
        None => unsafe { options.flags(EnvFlags::READ_ONLY) },
    };
    // SAFETY: the file is changed only through the environment of the one process that holds the lock file. Readers beside
    // it take part in LMDB's own bookkeeping, so that no page which they read is written.
    unsafe { options.open(path) }
}

/// Looks at the store in `path`: whose it is, and what was committed last. It may be in use. `beside` looks at what continues that transaction,
/// as soon as it is known which one it is and whether others may write meanwhile; if they did, that may have failed, and is tried again.
pub(super) fn peek<T>(
    path: &Path,
    beside: impl Fn(&Identity, u64, bool) -> Result<T, OpenError>,
) -> Result<(Identity, Option<Stored>, T), OpenError> {
    const TRIES: u32 = 100;
    if !path.join(FILE).is_file() {
        return Err(OpenError::Directory(path.into(), "there is no store in it".into()));
    }
    let is_in_use = directory::is_in_use(path);
    let looked = match look_through(path) {
        Ok((identity, _)) => Some(identity),
        // Whoever writes it has looked through it, and writes pages while they are looked at.
        Err(OpenError::Damaged(..)) if is_in_use => None,
        // LMDB shows the one before a commit that has no number.
        Err(error) => Some(unnumbered(path).ok_or(error)?.1),
    };
    let newer = |identity: &Identity| match identity.format {
        found if found > FORMAT => Err(OpenError::Newer { path: path.into(), found }),
        _ => Ok(()),
    };
    looked.iter().try_for_each(newer)?;
    let env = environment(path, None)?;
    let damaged = |why| OpenError::Damaged(path.into(), why);
    let txn = env.read_txn().map_err(|error| damaged(error.to_string()))?;
    let identity = match looked {
        Some(identity) => identity,
        None => identity_in(path, trees::identity(&env, &txn).map_err(damaged)?)?,
    };
    newer(&identity)?;
    let trees = Trees::open(&env, &txn, identity.format).map_err(damaged)?;
    txn.commit().map_err(|error| damaged(error.to_string()))?;
    let mut tries = 0;
    let (txn, beside) = loop {
        let txn = env.read_txn().map_err(|error| damaged(error.to_string()))?;
        match beside(&identity, txn.id() as u64, is_in_use) {
            Ok(found) => break (txn, found),
            Err(_) if is_in_use && tries < TRIES => tries += 1,
            Err(_) if is_in_use => return Err(OpenError::InUse(path.into())),
            Err(error) => return Err(error),
        }
    };
    let stored = trees.read(&txn).map_err(damaged)?.map(|(value, _)| Arc::new(value));
    Ok((identity, stored, beside))
}

/// What was committed last, and the number of that transaction.
fn read(path: &Path, env: &Env<WithoutTls>, trees: &Trees) -> Result<(Option<Read>, u64), OpenError> {
    let damaged = |why| OpenError::Damaged(path.into(), why);
    let txn = env.read_txn().map_err(|error| damaged(error.to_string()))?;
    Ok((trees.read(&txn).map_err(damaged)?, txn.id() as u64))
}
