//! No step, commit or start may be quadratic in the log or the keys. Two sizes are compared, and no times.

#![allow(clippy::disallowed_methods, reason = "the ratio of two durations is what is judged")]

use paxos::model::kv::{Command, Put};
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::configuration::Configuration;
use paxos::model::replica::message::{Act, Entry, Message, Operation, OperationId, SessionId};
use paxos::model::replica::{Options, Replica, State};
use paxos::storage::Store;
use paxos::storage::disk::DiskStore;
use paxos::{Machine, Msg};
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

const SMALL: u64 = 1_000;
/// How many times larger the other size is. Linear work takes so many times as long, quadratic work the square.
const FACTOR: u64 = 12;
/// Between the two, leaning to the first: caches favour the small size.
const RATIO_MAX: u32 = 48;
/// Steps that one commit saves.
const SHARED: u64 = 250;
const ROOM: usize = 1 << 30;

fn replica() -> Replica<Machine> {
    Replica::new(Configuration::of_voters(3), Options::default())
}

fn entry(number: u64) -> Entry<Command> {
    let session = SessionId { slot: 0, position: 0 };
    if number == 0 {
        return Entry::Batch([Operation::Open { node: 1.into(), incarnation: 1 }].into());
    }
    let put = Put { key: format!("key{number}").into(), val: "value".into(), ver: None };
    let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
    let id = OperationId { session, sequence: number };
    Entry::Batch([Operation::InSession { id, by_node: true, acknowledged_below: number, act }].into())
}

fn open(path: &Path) -> DiskStore {
    DiskStore::open(path, "c", 0, ROOM).unwrap()
}

/// A follower that votes for and learns `count` entries, and commits what it saves. Returns how long that took.
fn follow(count: u64, path: &Path) -> Duration {
    let (replica, leader) = (replica(), Id::from(1));
    let ballot = Ballot { round: 1, node: leader };
    let mut store = open(path);
    store.load().unwrap();
    let mut out = Out::new();
    let mut state = replica.on_start(0.into(), &None, &mut out);
    let mut saved = None;
    let begin = Instant::now();
    for slot in 0..count {
        let accept = Message::Accept { ballot, slot, entry: entry(slot) };
        for message in [accept, Message::Heartbeat { ballot, decided: slot + 1, round: slot }] {
            saved = step(&replica, &mut state, leader, message).or(saved);
        }
        if slot % SHARED == SHARED - 1 || slot == count - 1 {
            store.commit(saved.as_ref().expect("votes are saved")).unwrap();
        }
    }
    let took = begin.elapsed();
    assert_eq!(state.executor.applied, count);
    took
}

fn step(replica: &Replica<Machine>, state: &mut State<Machine>, src: Id, message: Msg) -> Option<paxos::Stored> {
    // As the loop does: taken out, so that it is changed in place.
    let taken = std::mem::replace(state, replica.on_start(0.into(), &None, &mut Out::new()));
    let (mut cow, mut out) = (Cow::Owned(taken), Out::new());
    replica.on_msg(0.into(), &mut cow, src, message, &mut out);
    *state = cow.into_owned();
    out.into_iter().filter_map(|output| if let Output::Save(value) = output { Some(value) } else { None }).last()
}

/// Starts from what was stored: a snapshot of most of it, and a bounded log.
fn start(count: u64, path: &Path) -> Duration {
    let begin = Instant::now();
    let stored = open(path).load().unwrap();
    let state = replica().on_start(0.into(), &stored, &mut Out::new());
    let took = begin.elapsed();
    let Options { snapshot_every, tail, .. } = Options::default();
    assert!(
        state.executor.applied >= count - SHARED && state.durable.snapshot.applied + snapshot_every + SHARED > count
    );
    assert!(state.durable.log.len() as u64 <= tail + 2 * snapshot_every, "{} slots", state.durable.log.len());
    took
}

/// The shortest of a few attempts at both sizes, since others use the machine.
fn ratio_is_small(what: &str, small: impl Fn() -> Duration, large: impl Fn() -> Duration) {
    let shortest = |run: &dyn Fn() -> Duration| (0..3).map(|_| run()).min().expect("a few attempts");
    let (small, large) = (shortest(&small), shortest(&large));
    assert!(large < small * RATIO_MAX, "{what}: {small:?} for {SMALL}, but {large:?} for {FACTOR} times as many");
}

#[test]
fn following_committing_and_starting_are_not_quadratic() {
    let run = |count: u64| {
        let directory = tempfile::tempdir().unwrap();
        follow(count, directory.path())
    };
    ratio_is_small("following", || run(SMALL), || run(SMALL * FACTOR));
    let directories = [SMALL, SMALL * FACTOR].map(|count| {
        let directory = tempfile::tempdir().unwrap();
        follow(count, directory.path());
        (count, directory)
    });
    let [small, large] = &directories;
    ratio_is_small("starting", || start(small.0, small.1.path()), || start(large.0, large.1.path()));
}

#[test]
fn a_commit_writes_what_changed_and_not_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    for count in [500, 10_000] {
        let path = directory.path().join(count.to_string());
        follow(count, &path);
        let files = || ["data.mdb", "journal"].map(|file| std::fs::read(path.join(file)).unwrap()).concat();
        let mut store = open(&path);
        let mut stored = store.load().unwrap().expect("it was saved");
        let before = files();
        let value = std::sync::Arc::make_mut(&mut stored);
        value.log.insert(count, entry(count));
        value.accepted.insert(count, value.promised);
        store.commit(&stored).unwrap();
        let after = files();
        let page = 4096;
        let same = before.chunks(page).zip(after.chunks(page)).filter(|(before, after)| before == after).count();
        pages.push(after.len().div_ceil(page) - same);
    }
    assert!(pages[1] <= pages[0] + 8, "{pages:?} pages written by one vote");
}
