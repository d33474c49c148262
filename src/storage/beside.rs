//! What another process sees of a store that is in use, and what it does to one. The other process is this one's program, which is told by its
//! environment what to do.

#![allow(clippy::disallowed_types, reason = "files are what processes share")]

use super::disk::{self, DiskStore};
use super::tests::{ROOM, entry, open, value};
use super::{Store, lmdb};
use crate::Machine;
use paxos_model::replica::durable::Durable;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROLE: &str = "PAXOS_TEST_BESIDE";
const PLACE: &str = "PAXOS_TEST_BESIDE_IN";
/// What begins the lines for the test, among those of whatever runs tests.
const MARK: &str = "beside: ";

/// A process beside this one. It ends with this.
pub(super) struct Beside {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Beside {
    pub(super) fn new(role: &str, path: &Path) -> Beside {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "storage::beside::another_process", "--nocapture"]).env(ROLE, role).env(PLACE, path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Beside { child, to, from }
    }

    pub(super) fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the other process ended");
            // What runs tests begins a line, and leaves the rest to the test.
            if let Some((_, told)) = line.split_once(MARK) {
                return told.trim_end().into();
            }
        }
    }

    fn ask(&mut self) -> String {
        writeln!(self.to, "again").unwrap();
        self.hear()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test, where nobody asks for one of these.
#[test]
fn another_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let tell = |told: &str| {
        println!("{MARK}{told}");
        std::io::stdout().flush().unwrap();
    };
    let wait = || std::io::stdin().read_line(&mut String::new()).unwrap() > 0;
    match role.as_str() {
        "peeks" => {
            while wait() {
                tell(&match disk::peek(&path) {
                    Ok((_, Some(found))) if *found == life(found.incarnation) => found.incarnation.to_string(),
                    Ok((_, found)) => format!("never committed: {found:?}"),
                    Err(error) => error.to_string(),
                });
            }
        }
        "looks on" => {
            let env = lmdb::map(&path, None).unwrap();
            drop(env.read_txn().unwrap());
            tell("here");
            wait();
        }
        "dies in a commit" => {
            let env = lmdb::map(&path, Some(ROOM)).unwrap();
            let _txn = env.write_txn().unwrap();
            // All pages are written, and LMDB does not know yet.
            fs::write(path.join("data.mdb"), fs::read(path.join("later")).unwrap()).unwrap();
            tell("here");
            wait();
        }
        role => panic!("{role}"),
    }
}

/// The value that is committed after so many others: now and then with a snapshot, else with a vote.
fn life(number: u64) -> Durable<Machine> {
    let mut value = value(number / 16, number);
    value.snapshot.applied = number / 16;
    value.log.insert(number / 16, entry(number, (number * 37 % 9000) as usize));
    value
}

#[test]
fn who_looks_at_a_store_that_is_written_sees_what_was_committed_last() {
    const COMMITS: u64 = 2000;
    const PEEKS: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    store.load().unwrap();
    store.commit(&Arc::new(life(0))).unwrap();
    let (committed, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1.. {
                if enough.load(Ordering::SeqCst) {
                    return;
                }
                store.commit(&Arc::new(life(number))).unwrap();
                committed.store(number, Ordering::SeqCst);
            }
        });
        let _enough = Set(&enough);
        let mut beside = Beside::new("peeks", directory.path());
        let mut seen = 0;
        while !writer.is_finished() && (seen < PEEKS || committed.load(Ordering::SeqCst) < COMMITS) {
            let before = committed.load(Ordering::SeqCst);
            let told = beside.ask();
            // The next one may be there before it is told to be.
            let after = committed.load(Ordering::SeqCst) + 1;
            let found: u64 = told.parse().unwrap_or_else(|_| panic!("{told}"));
            assert!((before..=after).contains(&found), "{found} is found, and {before} to {after} were committed");
            seen += 1;
        }
    });
}

/// Set when it goes, however that comes: or the one who waits for it would do so for ever where a test fails.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whoever looks at a store keeps what LMDB knows of it in memory.
#[test]
fn a_store_that_is_looked_at_begins_with_what_was_committed_last() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let commit = |number| {
        let mut store = open(path);
        store.load().unwrap();
        store.commit(&Arc::new(life(number))).unwrap();
    };
    commit(16);
    let [file, copy] = ["data.mdb", "later"].map(|name| path.join(name));
    let before = fs::read(&file).unwrap();
    commit(32);
    let last = life(32);
    fs::rename(&file, &copy).unwrap();
    fs::write(&file, before).unwrap();
    let mut looks_on = Beside::new("looks on", path);
    assert_eq!(looks_on.hear(), "here");
    let mut dies = Beside::new("dies in a commit", path);
    assert_eq!(dies.hear(), "here");
    drop(dies);
    let mut store = DiskStore::open(path, "c", 1, ROOM).unwrap();
    assert!(store.load().unwrap().as_deref() == Some(&last));
    drop(looks_on);
}
