//! One suite for every store, and what only a store on disk can get wrong.

use super::identity::{FORMAT, Identity};
use super::lmdb::{self, LmdbStore};
use super::memory::MemoryStore;
use super::{CommitError, OpenError, Store};
use crate::{Command, Stored};
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Entry, Operation, OperationId, SessionId};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const ROOM: usize = 16 << 20;

fn entry(number: u64, length: usize) -> Entry<Command> {
    let put = paxos_model::kv::Put { key: format!("k{number}").into(), val: "v".repeat(length).into(), ver: None };
    let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence: number };
    Entry::Batch([Operation::InSession { id, by_node: true, acknowledged_below: 1, act }].into())
}

/// A value with a log of `decided` slots and one vote after them.
fn value(decided: u64, round: u64) -> Durable<Command> {
    let ballot = Ballot { round, node: 1.into() };
    let mut value =
        Durable { promised: ballot, promised_at: decided / 2, decided, incarnation: round, ..Durable::default() };
    for slot in 0..=decided {
        value.log.insert(slot, entry(slot, 10));
    }
    value.accepted.insert(decided, ballot);
    value
}

fn open(path: &Path) -> LmdbStore {
    LmdbStore::open(path, "c", 1, ROOM).expect("the store opens")
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

#[test]
fn the_store_on_disk_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(open(directory.path()), |store| {
        drop(store);
        open(directory.path())
    });
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let second = LmdbStore::open(directory.path(), "c", 1, ROOM).err();
    assert_eq!(second, Some(OpenError::InUse(directory.path().into())));
}

#[test]
fn what_is_stored_can_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    let (identity, saved) = (store.identity(), Arc::new(value(3, 1)));
    store.commit(&saved).unwrap();
    drop(store);
    assert_eq!(lmdb::peek(directory.path()), Ok((identity, Some(saved))));
}

#[test]
fn another_nodes_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let refused =
        |cluster: &str, node| LmdbStore::open(directory.path(), cluster, node, ROOM).err().unwrap().to_string();
    assert!(refused("c", 2).contains("node 1"), "{}", refused("c", 2));
    assert!(refused("d", 1).contains("cluster \"c\""), "{}", refused("d", 1));
    let newer = Identity { format: FORMAT + 1, ..Identity::new("c", 1) };
    assert!(matches!(newer.check(directory.path(), "c", 1), Err(OpenError::Newer { .. })));
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = LmdbStore::open(&file, "c", 1, ROOM).err();
    assert!(matches!(refused, Some(OpenError::Directory(..))), "{refused:?}");
    let nothing = lmdb::peek(&directory.path().join("nothing")).unwrap_err();
    assert!(nothing.to_string().contains("no store"), "{nothing}");
}

#[test]
fn a_flipped_bit_in_a_record_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
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
    let mut store = open(directory.path());
    let error = store.load().unwrap_err();
    assert!(error.to_string().contains("slot 13"), "{error}");
}

#[test]
fn a_full_store_changes_nothing_and_goes_on_when_it_is_opened_with_more_room() {
    let directory = tempfile::tempdir().unwrap();
    let small = 1 << 20;
    let mut store = LmdbStore::open(directory.path(), "c", 1, small).unwrap();
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
