//! One suite for every store, and what only a store on disk can get wrong.

use super::disk::{self, DiskStore};
use super::identity::{FORMAT, Identity};
use super::lmdb::{self, LmdbStore};
use super::memory::MemoryStore;
use super::{CommitError, Needs, OpenError, STORE_MIB_MAX, Store, Usage};
use crate::{Command, Machine, Stored};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Entry, Operation, OperationId, SessionId};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(super) const ROOM: usize = 16 << 20;

pub(super) fn entry(number: u64, length: usize) -> Entry<Command> {
    let put = paxos_model::kv::Put { key: format!("k{number}").into(), val: "v".repeat(length).into(), ver: None };
    let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: number };
    Entry::Batch([Operation::InSession { id, by_node: true, acknowledged_below: 1, act }].into())
}

/// A value with a log of `decided` slots and one vote after them.
pub(super) fn value(decided: u64, round: u64) -> Durable<Machine> {
    let ballot = Ballot { round, node: 1.into() };
    let promised_at = decided / 2;
    let mut value = Durable { promised: ballot, promised_at, decided, incarnation: round, ..Durable::default() };
    for slot in 0..=decided {
        value.log.insert(slot, entry(slot, 10));
    }
    value.accepted.insert(decided, ballot);
    value
}

pub(super) fn open(path: &Path) -> DiskStore {
    DiskStore::open(path, "c", 1, ROOM).expect("the store opens")
}

/// Without the journal, for what is to lie in LMDB.
pub(super) fn open_lmdb(path: &Path) -> LmdbStore {
    LmdbStore::open(path, "c", 1, ROOM).expect("the store opens")
}

/// As if all that is committed brought values.
impl Store for LmdbStore {
    fn identity(&self) -> Identity {
        self.identity()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        self.load()
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        self.commit_what_needs(Needs::Values, value)
    }

    fn usage(&self) -> Usage {
        self.usage()
    }

    fn has_room(&mut self) -> bool {
        self.has_room()
    }
}

/// What every store does. `reopen` closes the store and opens it again.
fn conforms<S: Store>(mut store: S, reopen: impl Fn(S) -> S) {
    assert_eq!(store.load(), Ok(None));
    let identity = store.identity();
    let mut latest: Option<Stored> = None;
    for (decided, round) in [(0, 1), (3, 1), (200, 2), (200, 3)] {
        let saved = Arc::new(value(decided, round));
        store.commit(&saved).expect("there is room");
        assert_eq!(store.load(), Ok(Some(saved.clone())), "as it was committed");
        latest = Some(saved);
    }
    let mut replaced = Durable::clone(&latest.expect("something was committed"));
    replaced.log.insert(200, entry(7, 3000));
    replaced.accepted.remove(&200);
    replaced.decided = 201;
    let replaced = Arc::new(replaced);
    store.commit(&replaced).expect("there is room");
    let mut store = reopen(store);
    assert_eq!(store.identity(), identity, "it stays the same store");
    assert_eq!(store.load(), Ok(Some(replaced)), "as it was committed, after it was closed");
}

#[test]
fn the_store_in_memory_conforms() {
    conforms(MemoryStore::new("c", 1), |store| store);
}

fn conforms_in_a_directory<S: Store>(open: fn(&Path) -> S) {
    let directory = tempfile::tempdir().unwrap();
    conforms(open(directory.path()), |store| {
        drop(store);
        open(directory.path())
    });
}

#[test]
fn the_stores_on_disk_conform() {
    conforms_in_a_directory(open_lmdb);
    conforms_in_a_directory(open);
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let second = DiskStore::open(directory.path(), "c", 1, ROOM).err();
    assert_eq!(second, Some(OpenError::InUse(directory.path().into())));
}

#[test]
fn another_nodes_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let refused =
        |cluster: &str, node| DiskStore::open(directory.path(), cluster, node, ROOM).err().unwrap().to_string();
    assert!(refused("c", 2).contains("node 1"), "{}", refused("c", 2));
    assert!(refused("d", 1).contains("cluster \"c\""), "{}", refused("d", 1));
    let newer = Identity { format: FORMAT + 1, ..Identity::new("c", 1) };
    assert!(matches!(newer.check(directory.path(), "c", 1), Err(OpenError::Newer { .. })));
    for format in [FORMAT, FORMAT - 1] {
        let known = Identity { format, ..Identity::new("c", 1) };
        assert_eq!(known.check(directory.path(), "c", 1), Ok(()));
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = DiskStore::open(&file, "c", 1, ROOM).err();
    assert!(matches!(refused, Some(OpenError::Directory(..))), "{refused:?}");
    let below = DiskStore::open(&file.join("below"), "c", 1, ROOM).err();
    assert!(matches!(below, Some(OpenError::Directory(..))), "{below:?}");
    let nothing = disk::peek(&directory.path().join("nothing")).unwrap_err();
    assert!(nothing.to_string().contains("no store"), "{nothing}");
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let newer = Identity { format: FORMAT + 1, ..Identity::new("c", 1) };
    lmdb::make(directory.path(), &newer, ROOM).unwrap();
    let file = directory.path().join("data.mdb");
    let before = fs::read(&file).unwrap();
    for error in [DiskStore::open(directory.path(), "c", 1, ROOM).err(), disk::peek(directory.path()).err()] {
        let error = error.expect("it is refused");
        assert_eq!(error, OpenError::Newer { path: directory.path().into(), found: FORMAT + 1 });
        assert!(error.to_string().contains("run the version that wrote it"), "{error}");
    }
    assert!(fs::read(&file).unwrap() == before);
}

#[test]
fn a_missing_directory_is_made_and_a_store_is_whole_from_the_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a").join("b");
    let mut store = DiskStore::open(&path, "c", 1, ROOM).unwrap();
    assert_eq!(store.load(), Ok(None));
    let identity = store.identity();
    drop(store);
    assert_eq!(open(&path).identity(), identity);
    let names: Vec<_> = fs::read_dir(&path).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("new-")), "{names:?}");
}

#[test]
fn a_store_that_was_removed_is_not_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::write(directory.path().join("peers.json"), "{}").unwrap();
    fs::remove_file(directory.path().join("data.mdb")).unwrap();
    fs::remove_file(directory.path().join("lock.mdb")).unwrap();
    let refused = DiskStore::open(directory.path(), "c", 1, ROOM).err().unwrap().to_string();
    assert!(refused.contains("is there without the store"), "{refused}");
    assert!(!directory.path().join("data.mdb").exists());
}

#[test]
fn a_store_too_small_to_be_made_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let refused = DiskStore::open(directory.path(), "c", 1, 16 << 10).err();
    assert!(matches!(refused, Some(OpenError::NoRoom(..))), "{refused:?}");
    assert_eq!(open(directory.path()).load(), Ok(None));
}

#[test]
fn the_largest_store_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let open = || DiskStore::open(directory.path(), "c", 1, STORE_MIB_MAX << 20);
    match open() {
        Ok(mut store) => {
            store.load().unwrap();
            store.commit(&Arc::new(value(3, 1))).unwrap();
        }
        // A process may be allowed less address space than there is.
        Err(OpenError::Directory(_, why)) if why.contains("allocate memory") => return,
        Err(error) => panic!("{error}"),
    }
    assert!(open().unwrap().load().unwrap().is_some());
}

#[test]
fn a_flipped_bit_in_a_record_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open_lmdb(directory.path());
    store.load().unwrap();
    store.commit(&Arc::new(value(20, 1))).unwrap();
    drop(store);
    let file = directory.path().join("data.mdb");
    let mut bytes = fs::read(&file).unwrap();
    let needle = b"k13";
    let places: Vec<usize> = (0..bytes.len() - 3).filter(|at| &bytes[*at..at + 3] == needle).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 1] ^= 1;
    }
    fs::write(&file, bytes).unwrap();
    let mut store = open_lmdb(directory.path());
    let error = store.load().unwrap_err();
    assert!(error.to_string().contains("slot 13"), "{error}");
}

#[test]
fn a_full_store_changes_nothing_and_goes_on_when_it_is_opened_with_more_room() {
    let directory = tempfile::tempdir().unwrap();
    let small = 1 << 20;
    let mut store = DiskStore::open(directory.path(), "c", 1, small).unwrap();
    store.load().unwrap();
    let saved = Arc::new(value(10, 1));
    store.commit(&saved).unwrap();
    let mut large = Durable::clone(&saved);
    large.log.insert(10, entry(10, 2 << 20));
    let full = store.commit(&Arc::new(large.clone()));
    assert!(matches!(full, Err(CommitError::Full(_))), "{full:?}");
    assert_eq!(store.load(), Ok(Some(saved.clone())));
    let mut smaller = Durable::clone(&saved);
    smaller.incarnation += 1;
    store.commit(&Arc::new(smaller)).expect("there is room for a little");
    drop(store);
    let mut store = open(directory.path());
    store.load().unwrap();
    store.commit(&Arc::new(large.clone())).unwrap();
    assert_eq!(store.load(), Ok(Some(Arc::new(large))));
}

#[test]
fn what_lets_go_of_the_log_is_taken_where_no_more_values_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(directory.path(), "c", 1, 1 << 20).unwrap();
    store.load().unwrap();
    let mut value = Durable::default();
    let mut values = 0;
    while store.commit(&Arc::new(value.clone())).is_ok() {
        value.log.insert(values, entry(values, 20_000));
        value.decided = values;
        values += 1;
    }
    assert!((40..52).contains(&values), "{values}");
    value.log.remove(&(values - 1));
    let end = values - 1 + 5000;
    value.log.extend((values - 1..end).map(|slot| (slot, Entry::Noop)));
    value.decided = end;
    store.commit(&Arc::new(value.clone())).expect("what brings no values has room");
    let usage = store.usage();
    assert!(usage.used > usage.limit && !store.has_room(), "{usage:?}");
    value.snapshot.applied = end;
    value.log = value.log.split(&(end - 1)).1;
    store.commit(&Arc::new(value.clone())).expect("and so has the snapshot");
    assert!(store.has_room());
    value.log.insert(end, entry(end, 20_000));
    store.commit(&Arc::new(value)).expect("and then values have it again");
}

/// A file system of its own, in memory.
struct Disk(tempfile::TempDir);

impl Disk {
    /// One of so many KiB; none, and it says why, where the machine does not let one be made.
    fn new(kib: usize) -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().unwrap());
        match disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]) {
            Ok(()) => Some(disk),
            Err(why) => {
                // Not by `println`, which is shown only where a test fails.
                let _ = writeln!(std::io::stderr(), "SKIPPED: no file system can be mounted here: {why}");
                None
            }
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let output = std::process::Command::new(program)
            .args(arguments)
            .arg(self.0.path())
            .output()
            .map_err(|why| why.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Takes all room but so many KiB.
    fn fill(&self, but_kib: usize) {
        let mut filler = vec![0; but_kib << 10];
        let spare = self.0.path().join("spare");
        fs::write(&spare, &filler).unwrap();
        filler.resize(4096, 0);
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.0.path().join("filler")).unwrap();
        while file.write_all(&filler).is_ok() {}
        fs::remove_file(spare).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.run("umount", &["-l"]);
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let Some(disk) = Disk::new(12 << 10) else { return };
    let path = disk.0.path().join("node");
    let mut store = open(&path);
    store.load().unwrap();
    let saved = Arc::new(value(10, 1));
    store.commit(&saved).unwrap();
    disk.fill(64);
    let mut large = Durable::clone(&saved);
    // More than the journal and the reserve together.
    large.log.insert(11, entry(11, 4 << 20));
    let large = Arc::new(large);
    for _ in 0..3 {
        let full = store.commit(&large);
        assert!(matches!(full, Err(CommitError::Full(_))), "{full:?}");
        assert_eq!(store.load(), Ok(Some(saved.clone())));
    }
    let mut marks = Durable::clone(&saved);
    marks.incarnation += 1;
    let marks = Arc::new(marks);
    store.commit(&marks).expect("there is room for a little");
    let mut marks = Durable::clone(&marks);
    // More than the journal takes.
    for _ in 0..3000 {
        marks.incarnation += 1;
        store.commit(&Arc::new(marks.clone())).expect("there is room for a little, again and again");
    }
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.load(), Ok(Some(Arc::new(marks))), "it opens on a full disk");
    disk.free();
    store.commit(&large).unwrap();
    assert_eq!(store.load(), Ok(Some(large)));
}

/// All that the journal holds goes to LMDB with the marks for which that has no more room, and takes the more there, as the entries fill a
/// page of their own each.
#[test]
fn on_a_full_disk_there_is_room_for_all_that_the_journal_holds() {
    let Some(disk) = Disk::new(12 << 10) else { return };
    let path = disk.0.path().join("node");
    let mut store = open(&path);
    store.load().unwrap();
    let mut value = value(0, 1);
    store.commit(&Arc::new(value.clone())).unwrap();
    let file = path.join("data.mdb");
    let lmdb = fs::read(&file).unwrap();
    // Nearly all that it takes.
    for slot in 0..380 {
        value.log.insert(slot, entry(slot, 2040));
        store.commit(&Arc::new(value.clone())).unwrap();
    }
    assert!(fs::read(&file).unwrap() == lmdb, "all of it is in the journal");
    disk.fill(0);
    let mut refused = 0;
    for _ in 0..2000 {
        value.incarnation += 1;
        while let Err(error) = store.commit(&Arc::new(value.clone())) {
            assert!(matches!(error, CommitError::Full(_)), "{error}");
            assert!(store.load().unwrap().is_some());
            refused += 1;
            assert!(refused < 3, "what was held for it was given up, and it has no room");
        }
    }
    assert!(refused > 0 && fs::read(&file).unwrap() != lmdb, "{refused}");
    drop(store);
    assert!(open(&path).load().unwrap().as_deref() == Some(&value));
}

#[test]
fn a_store_that_cannot_be_made_on_a_full_disk_is_made_when_there_is_room() {
    let Some(disk) = Disk::new(4 << 10) else { return };
    let path = disk.0.path().join("node");
    for room in [0, 4, 8, 12, 16, 20, 28, 500, 1024, 1024 + 16, 2000] {
        disk.fill(room);
        if let Some(refused) = DiskStore::open(&path, "c", 1, ROOM).err() {
            assert!(matches!(refused, OpenError::NoRoom(..)), "{refused:?}");
        }
        disk.free();
    }
    assert_eq!(open(&path).load(), Ok(None));
}

#[test]
fn a_read_only_directory_is_refused() {
    let Some(disk) = Disk::new(4 << 10) else { return };
    let path = disk.0.path().join("node");
    drop(open(&path));
    disk.run("mount", &["-o", "remount,ro"]).unwrap();
    for path in [path, disk.0.path().join("new")] {
        let refused = DiskStore::open(&path, "c", 1, ROOM).err().unwrap().to_string();
        assert!(refused.contains("Read-only") && refused.contains(&path.display().to_string()), "{refused}");
    }
}
