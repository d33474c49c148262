//! A store in LMDB whose file was damaged loads exactly what was committed, or says clearly why not. It never panics, never ends the process
//! and never brings back an earlier value.

#![allow(clippy::disallowed_types, reason = "files are what is damaged")]

use super::lmdb::{self, LmdbStore};
use super::snapshots::Life;
use super::tests::{ROOM, entry, open_lmdb, value};
use super::{OpenError, Store};
use crate::Stored;
use paxos_model::replica::durable::Durable;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const PAGE: usize = 4096;

/// A store of a few trees: several levels, records on pages of their own, free pages, and a vote in its very last commit.
struct Subject {
    directory: TempDir,
    stored: Stored,
    bytes: Vec<u8>,
}

impl Subject {
    fn new() -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open_lmdb(directory.path());
        store.load().unwrap();
        // An applied state of a few pages, and the larger part of another.
        let mut life = Life::default();
        life.decide_some(400);
        life.snapshot(400);
        life.decide_some(1);
        life.other(200);
        life.part(200);
        assert!(life.value.arriving.is_some());
        let mut stored = Durable { promised: value(0, 1).promised, ..life.value };
        stored.log.insert(7, entry(7, 3 * PAGE));
        stored.log.insert(9, entry(9, 9 * PAGE));
        store.commit(&Arc::new(stored.clone())).unwrap();
        for round in 2..6 {
            let slot = stored.decided + round;
            let next = value(stored.decided, round);
            stored.promised = next.promised;
            stored.log.insert(slot, entry(slot, 50));
            stored.log.insert(9, entry(9, round as usize * PAGE));
            stored.accepted.insert(slot, next.promised);
            store.commit(&Arc::new(stored.clone())).unwrap();
        }
        drop(store);
        let bytes = fs::read(directory.path().join("data.mdb")).unwrap();
        Subject { directory, stored: Arc::new(stored), bytes }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> fs::File {
        fs::File::options().write(true).open(self.path().join("data.mdb")).unwrap()
    }

    /// Whether the store still loads what was committed; if not it says why, and that is clear.
    fn holds(&self, what: &str) -> bool {
        let loaded = LmdbStore::open(self.path(), "c", 1, ROOM).and_then(|mut store| store.load());
        let looked = lmdb::peek(self.path(), |_, _, _| Ok(())).map(|(_, stored, ())| stored);
        assert_eq!(loaded.is_ok(), looked.is_ok(), "{what}: {:?}, {:?}", loaded.err(), looked.err());
        match loaded {
            Ok(loaded) => {
                assert!(loaded.as_ref() == Some(&self.stored), "{what}: another value");
                true
            }
            Err(error) => {
                let text = error.to_string();
                let clear =
                    matches!(error, OpenError::Damaged(..) | OpenError::Newer { .. } | OpenError::Foreign { .. });
                assert!(clear && text.contains(&self.path().display().to_string()), "{what}: {text}");
                false
            }
        }
    }

    /// Changes bytes, and puts them back.
    fn with(&self, at: usize, bytes: &[u8], what: &str) -> bool {
        let file = self.file();
        file.write_all_at(bytes, at as u64).unwrap();
        let held = self.holds(what);
        file.write_all_at(&self.bytes[at..at + bytes.len()], at as u64).unwrap();
        held
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_does_no_harm() {
    let subject = Subject::new();
    let pages = subject.bytes.len() / PAGE;
    assert!(pages > 20 && subject.holds("untouched"));
    let mut found = 0;
    for page in 0..pages {
        // Every byte of what LMDB looks at first, then a sample.
        let dense = if page < 2 { 168 } else { 24 };
        let step = if page < 2 { 501 } else { 131 };
        for at in (0..dense).chain((dense..PAGE).step_by(step)) {
            let at = page * PAGE + at;
            let flip = 1 << ((at + page) % 8);
            found += usize::from(!subject.with(at, &[subject.bytes[at] ^ flip], &format!("bit {flip:#x} at {at}")));
        }
    }
    assert!(found > 10 * pages, "only {found} flips were found");
    assert!(subject.holds("put back"));
}

#[test]
fn no_bit_of_the_transactions_brings_back_an_earlier_value() {
    let subject = Subject::new();
    for page in 0..2 {
        for (first, bytes) in [(144, 8), (136, 8), (40, 96)] {
            for at in (0..bytes).map(|byte| page * PAGE + first + byte) {
                for flip in (0..8).map(|bit| 1 << bit) {
                    subject.with(at, &[subject.bytes[at] ^ flip], &format!("bit {flip:#x} at {at}"));
                }
            }
        }
        let at = page * PAGE + 144;
        for transaction in 0..12u64 {
            subject.with(at, &transaction.to_ne_bytes(), &format!("transaction {transaction} in page {page}"));
        }
        let other = &subject.bytes[(1 - page) * PAGE + 16..][..136];
        assert!(!subject.with(page * PAGE + 16, other, "one meta page over the other"));
    }
}

#[test]
fn a_page_that_was_lost_is_found() {
    let subject = Subject::new();
    let mut found = 0;
    for page in 0..subject.bytes.len() / PAGE {
        let another = &subject.bytes[(page + 1) * PAGE % subject.bytes.len()..][..PAGE];
        for bytes in [&[0; PAGE], &[0xff; PAGE], another] {
            found += usize::from(!subject.with(page * PAGE, bytes, &format!("page {page} replaced")));
        }
    }
    assert!(found > 30);
}

#[test]
fn a_truncated_file_is_found() {
    let subject = Subject::new();
    let whole = subject.bytes.len();
    let lengths = (0..whole).step_by(PAGE).flat_map(|at| [at, at + 1, at + PAGE / 2 + 8]);
    let mut lost = 0;
    for length in lengths.filter(|length| *length < whole) {
        subject.file().set_len(length as u64).unwrap();
        lost += usize::from(!subject.holds(&format!("{length} of {whole} bytes")));
        fs::write(subject.path().join("data.mdb"), &subject.bytes).unwrap();
    }
    assert!(lost > 60, "{lost}");
    subject.file().set_len(whole as u64 + 3 * PAGE as u64 + 5).unwrap();
    assert!(subject.holds("a longer file, as a crash may leave it"));
}

#[test]
fn what_a_record_says_of_its_key_is_compared() {
    let subject = Subject::new();
    let key = 13u64.to_be_bytes();
    let places = (0..subject.bytes.len() - 8).filter(|at| subject.bytes[*at..at + 8] == key);
    let found = places.filter(|at| !subject.with(at + 7, &[14], "slot 13 is now 14")).count();
    assert!(found > 0);
}

#[test]
fn trees_that_are_missing_are_not_made_anew() {
    let subject = Subject::new();
    for name in ["items0", "items1", "log", "meta", "sessions0", "sessions1", "votes", "identity", "marks", "stamp"] {
        let needle = name.as_bytes();
        let end = subject.bytes.len() - needle.len();
        let places = (0..end).filter(|at| &subject.bytes[*at..at + needle.len()] == needle);
        let found = places.filter(|at| !subject.with(*at, &[needle[0] ^ 1], &format!("{name} at {at}"))).count();
        assert!(found > 0, "{name}");
    }
    let durable = Durable::clone(&subject.stored);
    assert!(!durable.accepted.is_empty(), "there were votes to lose");
}

/// What is looked through must never find fault with a store that only LMDB wrote.
#[test]
fn a_store_that_lives_long_is_never_called_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open_lmdb(directory.path());
    store.load().unwrap();
    let mut stored = Durable::clone(&value(300, 1));
    // The same each time: multiplied by an odd number, all numbers come up.
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 2..700u64 {
        for _ in 0..next(12) {
            let slot = next(900);
            let length = if next(5) == 0 { next(60_000) } else { next(400) };
            match next(4) {
                0 if slot > stored.decided => {
                    stored.accepted.remove(&slot);
                    stored.log.remove(&slot);
                }
                1 if slot > stored.decided => {
                    stored.log.insert(slot, entry(slot, length as usize));
                    stored.accepted.insert(slot, stored.promised);
                }
                _ => {
                    stored.log.insert(slot % 300, entry(slot, length as usize));
                }
            }
        }
        stored.promised.round = round;
        let committed = Arc::new(stored.clone());
        store.commit(&committed).unwrap();
        if next(20) == 0 {
            let mut much = stored.clone();
            much.log.insert(1000, entry(1000, 2 * ROOM));
            assert!(store.commit(&Arc::new(much)).is_err(), "there is not so much room");
        }
        if round % 7 == 0 {
            drop(store);
            store = LmdbStore::open(directory.path(), "c", 1, ROOM + (next(4) as usize) * PAGE * 100).unwrap();
            assert!(store.load() == Ok(Some(committed)), "round {round}");
        }
    }
}
