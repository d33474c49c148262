//! Snapshots and what arrives of them, in every store.

#![allow(clippy::disallowed_types, reason = "this looks at what was written")]

use super::codec::encode;
use super::disk::{self, DiskStore};
use super::identity::{FORMAT, Identity};
use super::journal;
use super::lmdb;
use super::memory::MemoryStore;
use super::tests::{ROOM, entry, open, open_lmdb, value};
use super::trees::{IDENTITY, MARKS, OldMarks, Records, STAMP};
use super::{OpenError, Store};
use crate::{Command, Machine};
use heed::{Env, RwTxn, WithoutTls};
use paxos_model::kv::{Put, Versioned};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Act, Done, Entry, Operation, OperationId, SessionId};
use paxos_model::replica::pieces::{Piece, PieceOf};
use paxos_model::replica::snapshot::Arriving;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// What happens to a durable value.
#[derive(Clone, Debug)]
enum Step {
    /// So many slots are decided, each of which writes a key; every third deletes it.
    Decide(u64),
    /// Tombstones are collected.
    Collect,
    /// A vote is cast for the first slot that is not decided.
    Vote,
    /// What is applied becomes the snapshot, and so many slots before it stay.
    Snapshot(u64),
    /// Another replica has decided so many slots more than this one, and its snapshot is the one that arrives from now on.
    Other(u64),
    /// So many pieces of that arrive; with the last it takes the place of the snapshot.
    Part(usize),
    /// What has arrived is dropped.
    Drop,
    /// The value is committed.
    Commit,
    /// It is committed and loaded.
    Load,
    /// It is committed, and the store closed and opened again.
    Reopen,
}

/// A durable value, and what else its replica knows.
#[derive(Default)]
pub(super) struct Life {
    pub(super) value: Durable<Machine>,
    executor: Executor<Machine>,
    other: Executor<Machine>,
}

/// What is done in `slot`: sessions are opened, used and acknowledged, and end.
fn done_in(slot: Slot) -> Entry<Command> {
    let session = |slot| SessionId { slot, position: 0 };
    let id = OperationId { session: session(slot / 20 * 20), sequence: slot % 20 };
    let acknowledged_below = 1.max(id.sequence / 2);
    let put = |val: &str| {
        Act::Apply(Command::Write {
            puts: vec![Put { key: format!("key{}", slot * 7 % 307).into(), val: val.into(), ver: None }],
            atomic: false,
        })
    };
    let act = match slot % 20 {
        0 => {
            return Entry::Batch(
                [Operation::Open { node: ((slot / 20 % 3) as usize).into(), incarnation: slot }].into(),
            );
        }
        3 => Act::OpenSession,
        7 => Act::ExpireSession(SessionId { slot: slot - 4, position: 0 }),
        place if place % 3 == 0 => put(""),
        _ => put(&format!("value{slot}")),
    };
    Entry::Batch([Operation::InSession { id, by_node: true, acknowledged_below, act }].into())
}

fn apply(executor: &mut Executor<Machine>, entry: &Entry<Command>) {
    executor.apply(executor.applied, entry, &Configuration::of_voters(3));
}

impl Life {
    pub(super) fn decide(&mut self, entry: Entry<Command>) {
        let slot = self.value.decided;
        apply(&mut self.executor, &entry);
        self.value.accepted.remove(&slot);
        self.value.log.insert(slot, entry);
        self.value.decided = slot + 1;
        self.value.arriving.take_if(|arriving| arriving.executor.applied <= slot + 1);
    }

    pub(super) fn decide_some(&mut self, count: u64) {
        (0..count).for_each(|_| self.decide(done_in(self.value.decided)));
    }

    pub(super) fn snapshot(&mut self, tail: u64) {
        self.value.snapshot = self.executor.clone();
        for slot in self.value.first()..self.executor.applied.saturating_sub(tail) {
            self.value.log.remove(&slot);
        }
    }

    pub(super) fn other(&mut self, ahead: u64) {
        self.other = self.executor.clone();
        let slots = self.other.applied..self.other.applied + ahead;
        slots.for_each(|slot| apply(&mut self.other, &done_in(slot)));
    }

    pub(super) fn part(&mut self, count: usize) {
        let slot = self.other.applied;
        if slot <= self.value.decided {
            return;
        }
        let arriving = self.value.arriving.take().filter(|arriving| arriving.executor.applied == slot);
        let begun = || Arriving { executor: Executor { applied: slot, ..Executor::default() }, after: None };
        let mut arriving = arriving.unwrap_or_else(begun);
        let mut pieces: Vec<_> = self.other.pieces(arriving.after.as_ref()).take(count + 1).collect();
        let last = pieces.len() <= count;
        pieces.truncate(count);
        for (place, piece) in pieces {
            arriving.after = Some(place.clone());
            arriving.executor.put(place, piece);
        }
        if !last {
            self.value.arriving = Some(arriving);
            return;
        }
        self.value.accepted = self.value.accepted.split(&(slot - 1)).1;
        self.value.log = self.value.log.split(&(slot - 1)).1;
        self.value.decided = slot;
        self.value.snapshot = arriving.executor.clone();
        self.executor = arriving.executor;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Decide(count) => self.decide_some(*count),
            Step::Collect => {
                let act = Act::Apply(Command::Collect { keep: 2 });
                let session = SessionId { slot: self.value.decided / 20 * 20, position: 0 };
                let id = OperationId { session, sequence: 100 };
                let operation = Operation::InSession { id, by_node: true, acknowledged_below: 1, act };
                self.decide(Entry::Batch([operation].into()));
            }
            Step::Vote => {
                let slot = self.value.decided;
                self.value.log.insert(slot, entry(slot, 10));
                self.value.accepted.insert(slot, self.value.promised);
            }
            Step::Snapshot(tail) => self.snapshot(*tail),
            Step::Other(ahead) => self.other(*ahead),
            Step::Part(count) => self.part(*count),
            Step::Drop => self.value.arriving = None,
            Step::Commit | Step::Load | Step::Reopen => self.value.promised.round += 1,
        }
    }
}

/// Whatever steps lead to a value, it is loaded as it was committed. `reopen` closes the store and opens it again.
fn conforms<S: Store>(mut store: S, reopen: impl Fn(S) -> S, steps: &[Step]) {
    assert_eq!(store.load(), Ok(None));
    let mut life = Life::default();
    for (place, step) in steps.iter().chain([&Step::Reopen]).enumerate() {
        life.step(step);
        if matches!(step, Step::Commit | Step::Load | Step::Reopen) {
            let committed = Arc::new(life.value.clone());
            store.commit(&committed).expect("there is room");
            if matches!(step, Step::Reopen) {
                store = reopen(store);
            }
            if !matches!(step, Step::Commit) {
                assert!(store.load() == Ok(Some(committed)), "step {place}, {step:?}: not what was committed");
            }
        }
    }
}

fn conforms_on_disk<S: Store>(open: fn(&Path) -> S, steps: &[Step]) {
    let directory = tempfile::tempdir().unwrap();
    let reopen = |store| {
        drop(store);
        open(directory.path())
    };
    conforms(open(directory.path()), reopen, steps);
}

/// Each of what may happen to a snapshot, with `end` after each.
fn stories(end: &Step) -> Vec<Vec<Step>> {
    use Step::{Collect, Decide, Drop, Other, Part, Snapshot, Vote};
    let many = 10_000;
    let stories = [
        // Taken, and taken again, with a shorter log each time.
        vec![
            vec![Decide(90)],
            vec![Snapshot(50)],
            vec![Decide(40), Vote],
            vec![Snapshot(0)],
            vec![Collect, Snapshot(3)],
        ],
        // Arrives part by part, in the middle of sessions too, and becomes the snapshot; then changes.
        vec![
            vec![Decide(30), Snapshot(5), Other(200)],
            vec![Part(1)],
            vec![Part(20)],
            vec![Part(90)],
            vec![Part(4)],
            vec![Part(9)],
            vec![Part(many)],
            vec![Decide(9), Snapshot(2)],
        ],
        // Becomes the snapshot together with what follows, and another arrives at once.
        vec![
            vec![Decide(30), Snapshot(5), Other(99), Part(40)],
            vec![Part(many), Decide(30), Vote, Snapshot(9)],
            vec![Other(50), Part(20)],
            vec![Part(many), Decide(5), Other(70), Part(30)],
            vec![Part(many)],
        ],
        // Arrives whole within one commit.
        vec![vec![Decide(30)], vec![Other(99), Part(many)], vec![Vote]],
        // Is replaced, dropped, and begun again.
        vec![
            vec![Decide(50), Snapshot(0), Other(99), Part(60)],
            vec![Other(150), Part(10)],
            vec![Drop],
            vec![Part(5)],
            vec![Drop, Part(3)],
            vec![Drop, Snapshot(1)],
        ],
        // Is overtaken by what is decided here.
        vec![
            vec![Decide(50), Snapshot(0), Other(20), Part(60)],
            vec![Decide(30), Snapshot(4)],
            vec![Decide(3), Snapshot(1)],
        ],
    ];
    let with_end = |story: Vec<Vec<Step>>| story.into_iter().flat_map(|steps| [steps, vec![end.clone()]]).flatten();
    stories.into_iter().map(|story| with_end(story).collect()).collect()
}

#[test]
fn snapshots_come_and_go_in_every_store() {
    for end in [Step::Commit, Step::Load, Step::Reopen] {
        for steps in stories(&end) {
            conforms(MemoryStore::new("c", 1), |store| store, &steps);
            conforms_on_disk(open_lmdb, &steps);
            conforms_on_disk(open, &steps);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40u64).prop_map(Step::Decide),
        1 => Just(Step::Collect),
        1 => Just(Step::Vote),
        3 => (0..60u64).prop_map(Step::Snapshot),
        2 => (1..150u64).prop_map(Step::Other),
        4 => prop_oneof![1..60usize, Just(1000)].prop_map(Step::Part),
        1 => Just(Step::Drop),
        5 => Just(Step::Commit),
        1 => Just(Step::Load),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_steps_lead_to_what_was_committed(steps in proptest::collection::vec(step(), 1..60)) {
        conforms_on_disk(open_lmdb, &steps);
        conforms_on_disk(open, &steps);
    }
}

/// One write of many keys, in the session that slot 0 opened.
fn many(sequence: u64, keys: std::ops::Range<u64>) -> Entry<Command> {
    let put = |number| Put { key: format!("k{number:05}").into(), val: "v".repeat(100).into(), ver: None };
    let act = Act::Apply(Command::Write { puts: keys.map(put).collect(), atomic: false });
    let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence };
    Entry::Batch([Operation::InSession { id, by_node: true, acknowledged_below: sequence, act }].into())
}

#[test]
fn a_snapshot_that_arrived_is_not_written_again_nor_is_one_that_changed_a_little() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open_lmdb(directory.path());
    store.load().unwrap();
    let pages = || std::fs::read(directory.path().join("data.mdb")).unwrap();
    let mut written = |value: &Durable<Machine>| {
        let before = pages();
        store.commit(&Arc::new(value.clone())).unwrap();
        let after = pages();
        let same = before.chunks(4096).zip(after.chunks(4096)).filter(|(before, after)| before == after).count();
        after.len() / 4096 - same
    };
    let mut life = Life::default();
    life.decide_some(1);
    life.other = life.executor.clone();
    // The second acknowledges the first, whose answer is as large.
    [many(1, 0..10_000), many(2, 0..1)].iter().for_each(|entry| apply(&mut life.other, entry));
    let mut parts = Vec::new();
    while life.value.snapshot.applied == 0 {
        life.part(2000);
        parts.push(written(&life.value));
    }
    let (installed, arrived) = parts.split_last().unwrap();
    assert!(arrived.iter().all(|pages| (50..150).contains(pages)), "{parts:?} pages for 2000 items each");
    assert!(*installed < 30, "{installed} pages when the last few pieces came");
    life.decide(many(3, 500..510));
    life.snapshot(0);
    let taken = written(&life.value);
    assert!(taken < 30, "{taken} pages for a snapshot with 10 changes");
}

/// Works on the trees of a store that is closed.
fn in_trees(path: &Path, work: impl FnOnce(&Env<WithoutTls>, &mut RwTxn<'_>)) {
    let env = lmdb::map(path, Some(ROOM)).unwrap();
    let mut txn = env.write_txn().unwrap();
    work(&env, &mut txn);
    let stamp = txn.id() as u64;
    tree(&env, &mut txn, "meta").put(&mut txn, STAMP, &encode(STAMP, &stamp)).unwrap();
    txn.commit().unwrap();
    env.prepare_for_closing().wait();
}

fn tree(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>, name: &str) -> Records {
    env.create_database(txn, Some(name)).unwrap()
}

/// Makes a store as a program of format 1 left it.
fn make_old(path: &Path, identity: &Identity, value: Option<&Durable<Machine>>) {
    in_trees(path, |env, txn| {
        let [log, meta, votes] = ["log", "meta", "votes"].map(|name| tree(env, txn, name));
        meta.put(txn, IDENTITY, &encode(IDENTITY, identity)).unwrap();
        let Some(value) = value else { return };
        let Durable { promised, promised_at, decided, incarnation, .. } = *value;
        meta.put(txn, MARKS, &encode(MARKS, &OldMarks { promised, promised_at, decided, incarnation })).unwrap();
        for (slot, entry) in &value.log {
            log.put(txn, &slot.to_be_bytes(), &encode(&slot.to_be_bytes(), entry)).unwrap();
        }
        for (slot, ballot) in &value.accepted {
            votes.put(txn, &slot.to_be_bytes(), &encode(&slot.to_be_bytes(), ballot)).unwrap();
        }
    });
    // Both meta pages have a stamp, as in every store.
    in_trees(path, |_, _| {});
}

/// Makes a store as a program of format 2 left it: what is in LMDB is as it is now.
fn make_of_format_2(path: &Path, identity: &Identity, value: Option<&Durable<Machine>>) {
    lmdb::make(path, identity, ROOM).unwrap();
    std::fs::remove_file(path.join(journal::FILE)).unwrap();
    let Some(value) = value else { return };
    let mut store = open_lmdb(path);
    store.load().unwrap();
    store.commit(&Arc::new(value.clone())).unwrap();
    drop(store);
    std::fs::remove_file(path.join(journal::FILE)).unwrap();
    for _ in 0..2 {
        in_trees(path, |env, txn| {
            tree(env, txn, "meta").put(txn, IDENTITY, &encode(IDENTITY, identity)).unwrap();
        });
    }
}

#[test]
fn a_store_of_a_format_before_is_read_and_made_one_of_this_when_it_is_opened() {
    for (stored, format) in [(None, 1), (Some(value(40, 2)), 1), (None, 2), (Some(value(40, 2)), 2)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let old = Identity { format, ..Identity::new("c", 1) };
        if format == 1 {
            make_old(path, &old, stored.as_ref());
        } else {
            make_of_format_2(path, &old, stored.as_ref());
        }
        let stored = stored.map(Arc::new);
        for _ in 0..2 {
            assert_eq!(disk::peek(path), Ok((old.clone(), stored.clone())), "to look at it changes nothing");
        }
        assert!(matches!(DiskStore::open(path, "c", 2, ROOM).err(), Some(OpenError::Foreign { .. })));
        assert_eq!(disk::peek(path), Ok((old.clone(), stored.clone())), "nor does another node");
        let mut store = open(path);
        assert_eq!(store.identity(), Identity { format: FORMAT, ..old.clone() }, "it stays the same store");
        drop(store);
        store = open(path);
        assert_eq!(store.load(), Ok(stored.clone()));
        let mut life =
            Life { value: stored.map(|stored| Durable::clone(&stored)).unwrap_or_default(), ..Life::default() };
        for slot in 0..life.value.decided {
            apply(&mut life.executor, &life.value.log[&slot].clone());
        }
        life.decide_some(30);
        life.snapshot(9);
        let committed = Arc::new(life.value);
        store.commit(&committed).unwrap();
        drop(store);
        assert_eq!(open(path).load(), Ok(Some(committed)));
    }
}

/// A whole snapshot is written, and all of the log removed, in one commit.
#[test]
fn a_store_of_the_format_before_that_is_nearly_full_has_room_for_its_first_snapshot() {
    const LIMIT: usize = 8 << 20;
    for keys in [2, 80] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut life = Life::default();
        life.decide_some(1);
        let mut bytes = 0;
        while bytes < LIMIT - (100 << 10) {
            let sequence = life.value.decided;
            let put = Put { key: format!("k{}", sequence % keys).into(), val: "v".repeat(80_000).into(), ver: None };
            let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence };
            let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
            let operation = Operation::InSession { id, by_node: true, acknowledged_below: sequence, act };
            life.decide(Entry::Batch([operation].into()));
            bytes += 20 * 4096;
        }
        make_old(path, &Identity { format: 1, ..Identity::new("c", 1) }, Some(&life.value));
        let mut store = DiskStore::open(path, "c", 1, LIMIT).unwrap();
        let usage = store.usage();
        assert!(usage.is_nearly_full() && usage.used <= usage.limit, "{usage:?}");
        assert_eq!(store.load(), Ok(Some(Arc::new(life.value.clone()))));
        life.snapshot(0);
        let committed = Arc::new(life.value);
        store.commit(&committed).unwrap();
        assert!(!store.usage().is_nearly_full(), "{:?}", store.usage());
        drop(store);
        assert_eq!(DiskStore::open(path, "c", 1, LIMIT).unwrap().load(), Ok(Some(committed)));
    }
}

#[test]
fn a_store_of_the_format_before_that_is_damaged_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let old = Identity { format: 1, ..Identity::new("c", 1) };
    make_old(directory.path(), &old, Some(&value(4, 2)));
    in_trees(directory.path(), |env, txn| tree(env, txn, "meta").put(txn, MARKS, b"marks").unwrap());
    let before = std::fs::read(directory.path().join("data.mdb")).unwrap();
    let refused = DiskStore::open(directory.path(), "c", 1, ROOM).err();
    assert!(matches!(&refused, Some(OpenError::Damaged(_, why)) if why.contains("marks")), "{refused:?}");
    assert!(std::fs::read(directory.path().join("data.mdb")).unwrap() == before);
}

/// A snapshot with a tail, votes, and another one that arrives.
fn whole() -> Life {
    let mut life = Life::default();
    life.decide_some(60);
    life.snapshot(20);
    life.decide_some(20);
    life.other(100);
    life.part(90);
    life.step(&Step::Vote);
    life
}

#[test]
fn what_no_replica_saves_is_not_loaded() {
    type Change = fn(&mut Durable<Machine>);
    let changes: [(&str, Change); 7] = [
        ("slot 50", |value| value.log.remove(&50).map(drop).unwrap()),
        ("slot 70", |value| value.log.remove(&70).map(drop).unwrap()),
        ("log of 61", |value| value.log = value.log.split(&60).1),
        ("snapshot is of slot 90", |value| value.snapshot.applied = 90),
        ("slot 80", |value| value.log.remove(&80).map(drop).unwrap()),
        ("slot 79", |value| value.accepted.insert(79, value.promised).map_or((), drop)),
        ("slot 80 arrives", |value| value.arriving.as_mut().unwrap().executor.applied = 80),
    ];
    for (words, change) in changes {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        let mut value = whole().value;
        change(&mut value);
        store.commit(&Arc::new(value)).unwrap();
        let why = store.load().unwrap_err();
        assert!(matches!(&why, OpenError::Damaged(_, why) if why.contains(words)), "{words}: {why}");
    }
}

#[test]
fn records_that_belong_nowhere_are_found() {
    type Change = fn(&Env<WithoutTls>, &mut RwTxn<'_>);
    let changes: [(&str, Change); 6] = [
        ("belongs to no session", |env, txn| {
            let sessions = tree(env, txn, "sessions0");
            let keys: Vec<Vec<u8>> = sessions.iter(txn).unwrap().map(|record| record.unwrap().0.to_vec()).collect();
            keys.iter().filter(|key| key.len() == 12).for_each(|key| assert!(sessions.delete(txn, key).unwrap()));
        }),
        ("holds something else", |env, txn| {
            let item: PieceOf<Machine> = Piece::Done(Done::Expired);
            tree(env, txn, "sessions0").put(txn, &[7; 12], &encode(&[7; 12], &item)).unwrap();
        }),
        ("another length", |env, txn| tree(env, txn, "sessions0").put(txn, b"key", b"record").unwrap()),
        ("no text", |env, txn| {
            let item = Versioned { val: "v".into(), ver: 1 };
            tree(env, txn, "items0").put(txn, &[0xff], &encode(&[0xff], &item)).unwrap();
        }),
        ("what arrives", |env, txn| tree(env, txn, "items1").put(txn, b"key", b"record").unwrap()),
        ("no marks", |env, txn| assert!(tree(env, txn, "meta").delete(txn, MARKS).unwrap())),
    ];
    for (words, change) in changes {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open_lmdb(directory.path());
        store.commit(&Arc::new(whole().value)).unwrap();
        drop(store);
        in_trees(directory.path(), change);
        let why = open_lmdb(directory.path()).load().unwrap_err();
        assert!(matches!(&why, OpenError::Damaged(_, why) if why.contains(words)), "{words}: {why}");
    }
}
