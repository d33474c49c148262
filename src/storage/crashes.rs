//! What a crash leaves in the journal, and what damage does.

#![allow(clippy::disallowed_types, reason = "files are what crashes and damage leave")]

use super::beside::Beside;
use super::disk::{self, DiskStore};
use super::journal::{self, SECTOR};
use super::tests::{ROOM, entry, open, open_lmdb, value};
use super::{CommitError, OpenError, Store};
use crate::{Command, Machine, Stored};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::Entry;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

const LMDB: &str = "data.mdb";

/// A vote for the next slot, or for the last one again, with so many bytes.
fn vote(value: &Durable<Machine>, length: usize) -> Durable<Machine> {
    let mut value = value.clone();
    let slot = value.decided + value.incarnation % 3;
    value.incarnation += 1;
    value.promised.round += 1;
    value.log.insert(slot, entry(value.incarnation, length));
    value.accepted.insert(slot, value.promised);
    value
}

fn read(path: &Path, file: &str) -> Vec<u8> {
    fs::read(path.join(file)).unwrap()
}

/// `before`, with those sectors of `after` for which `picks` says so.
fn mixed(before: &[u8], after: &[u8], mut picks: impl FnMut() -> bool) -> Vec<u8> {
    let sectors = before.chunks(SECTOR).zip(after.chunks(SECTOR));
    sectors.flat_map(|(before, after)| if before != after && picks() { after } else { before }).copied().collect()
}

/// How many sectors are not the same.
fn differing(before: &[u8], after: &[u8]) -> usize {
    before.chunks(SECTOR).zip(after.chunks(SECTOR)).filter(|(before, after)| before != after).count()
}

#[derive(Clone, Debug)]
enum Step {
    /// A commit of a vote with so many bytes.
    Commit(usize),
    /// All goes to LMDB.
    Snapshot,
    /// So many votes of many bytes fill the journal, and another one.
    Fill(usize),
    /// Another process opens the store.
    Reopen,
    /// A commit of a vote with so many bytes, of which a crash leaves some sectors.
    Torn(usize, u64),
    /// A store that was left so by a crash is opened, and that crashes too, with some sectors written.
    TornAgain(usize, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![0..60usize, 400..6000usize];
    prop_oneof![
        4 => length().prop_map(Step::Commit),
        1 => Just(Step::Snapshot),
        1 => (1..12usize).prop_map(Step::Fill),
        1 => Just(Step::Reopen),
        4 => (length(), any::<u64>()).prop_map(|(length, picks)| Step::Torn(length, picks)),
        2 => (length(), any::<u64>(), any::<u64>()).prop_map(|(length, first, then)| Step::TornAgain(length, first, then)),
    ]
}

/// Bits of a number, again and again.
fn bits(of: u64) -> impl FnMut() -> bool {
    let mut at = 0;
    move || {
        at += 1;
        of >> (at % 64) & 1 == 1
    }
}

struct Subject {
    directory: tempfile::TempDir,
    store: Option<DiskStore>,
    committed: Stored,
}

impl Subject {
    fn new() -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path());
        store.load().unwrap();
        let committed = Arc::new(value(3, 1));
        store.commit(&committed).unwrap();
        Subject { directory, store: Some(store), committed }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn commit(&mut self, value: Durable<Machine>) {
        self.committed = Arc::new(value);
        self.store.as_mut().unwrap().commit(&self.committed).unwrap();
    }

    /// Commits a vote, and leaves of it what a crash may leave. Returns what it would have made of the value.
    fn tear(&mut self, length: usize, picks: u64) -> Stored {
        let before = read(self.path(), journal::FILE);
        let tried = Arc::new(vote(&self.committed, length));
        self.store.as_mut().unwrap().commit(&tried).unwrap();
        self.store = None;
        let after = read(self.path(), journal::FILE);
        fs::write(self.path().join(journal::FILE), mixed(&before, &after, bits(picks))).unwrap();
        tried
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open(self.path()));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit(length) => self.commit(vote(&self.committed, length)),
            Step::Snapshot => {
                let mut value = Durable::clone(&self.committed);
                value.snapshot.applied += 1;
                value.decided += 1;
                value.accepted.remove(&(value.decided - 1));
                let decided = value.decided;
                (0..=decided).for_each(|slot| {
                    let at = value.log.entry(slot);
                    at.or_insert_with(|| entry(slot, 10));
                });
                self.commit(value);
            }
            Step::Fill(count) => (0..count).for_each(|_| self.commit(vote(&self.committed, 200_000))),
            Step::Reopen => self.reopen(),
            Step::Torn(length, picks) => {
                let tried = self.tear(length, picks);
                self.found(&tried);
            }
            Step::TornAgain(length, first, then) => {
                let tried = self.tear(length, first);
                let before = read(self.path(), journal::FILE);
                self.reopen();
                self.store = None;
                let after = read(self.path(), journal::FILE);
                fs::write(self.path().join(journal::FILE), mixed(&before, &after, bits(then))).unwrap();
                self.found(&tried);
            }
        }
    }

    /// A value of which a part was written is there, or it is as if nothing had been.
    fn found(&mut self, tried: &Stored) {
        let looked = disk::peek(self.path()).unwrap();
        self.reopen();
        let store = self.store.as_mut().unwrap();
        let found = store.load().unwrap();
        assert_eq!(looked, (store.identity(), found.clone()));
        if found.as_ref() == Some(tried) {
            self.committed = tried.clone();
        }
        self.holds();
    }

    fn holds(&mut self) {
        assert!(self.store.as_mut().unwrap().load() == Ok(Some(self.committed.clone())), "not what was committed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_a_crash_leaves_is_what_was_committed(steps in proptest::collection::vec(step(), 1..30)) {
        let mut subject = Subject::new();
        for step in &steps {
            subject.step(step);
            subject.holds();
        }
    }
}

#[test]
fn every_part_of_a_record_that_a_crash_may_leave_is_dropped() {
    for picks in 0..1 << 5 {
        let mut subject = Subject::new();
        subject.commit(vote(&subject.committed, 1));
        let before = read(subject.path(), journal::FILE);
        let tried = subject.tear(2000, picks << 1);
        let sectors = differing(&before, &read(subject.path(), journal::FILE));
        assert_eq!(sectors, picks.count_ones() as usize, "the record takes as many sectors as are picked from");
        subject.found(&tried);
        assert_eq!(subject.committed == tried, sectors == 5);
        subject.commit(vote(&subject.committed, 1));
        subject.reopen();
        subject.holds();
    }
}

/// Leaves of the last commit to LMDB what that does where it cannot write its meta page: `after`, with the last page and the number that
/// stood there `before`.
fn unnumbered(before: &[u8], after: &[u8]) -> Vec<u8> {
    const PAGE: usize = 4096;
    const NUMBERS: std::ops::Range<usize> = 136..152;
    let differs = |page: &usize| before[page * PAGE + 144..][..8] != after[page * PAGE + 144..][..8];
    let [page] = (0..2).filter(differs).collect::<Vec<_>>()[..] else { panic!("one commit") };
    let mut left = after.to_vec();
    left[page * PAGE..][NUMBERS].copy_from_slice(&before[page * PAGE..][NUMBERS]);
    assert!(left != after);
    left
}

/// A store with records in its journal, and those in LMDB and one commit more, whose meta page could not be written. Returns what was
/// committed before, and LMDB's file before that commit and after it.
fn with_an_unnumbered_commit(bytes: usize) -> (Subject, Stored, [Vec<u8>; 2]) {
    let mut subject = Subject::new();
    // Leaves pages that are free.
    for length in [50_000, 10] {
        let mut value = Durable::clone(&subject.committed);
        value.log.insert(value.decided, entry(7, length));
        subject.committed = Arc::new(value);
        subject.step(&Step::Snapshot);
    }
    (0..2).for_each(|_| subject.step(&Step::Snapshot));
    (0..3).for_each(|_| subject.commit(vote(&subject.committed, 100)));
    let (before, told) = (read(subject.path(), LMDB), subject.committed.clone());
    let mut value = Durable::clone(&told);
    value.snapshot.applied += 1;
    value.log.insert(value.decided, entry(7, bytes));
    value.accepted.insert(value.decided, value.promised);
    subject.commit(value);
    subject.store = None;
    let after = read(subject.path(), LMDB);
    fs::write(subject.path().join(LMDB), unnumbered(&before, &after)).unwrap();
    (subject, told, [before, after])
}

#[test]
fn a_commit_whose_meta_page_could_not_be_written_is_completed() {
    // Within the file as it is, and beyond.
    for (bytes, grows) in [(1, false), (100_000, true)] {
        let (mut subject, told, [before, after]) = with_an_unnumbered_commit(bytes);
        assert_eq!(after.len() > before.len(), grows, "{} and {} bytes", before.len(), after.len());
        let left = read(subject.path(), LMDB);
        for _ in 0..2 {
            assert!(disk::peek(subject.path()).unwrap().1 == Some(told.clone()), "what was told to be durable");
        }
        let foreign = DiskStore::open(subject.path(), "c", 2, ROOM).err();
        assert!(matches!(foreign, Some(OpenError::Foreign { .. })), "{foreign:?}");
        assert!(read(subject.path(), LMDB) == left, "nothing of that changed it");
        subject.reopen();
        subject.holds();
        subject.store = None;
        assert!(read(subject.path(), LMDB) == after, "as if the page had been written");
        subject.reopen();
        subject.holds();
        for step in [Step::Commit(10), Step::Snapshot, Step::Snapshot, Step::Commit(10), Step::Reopen] {
            subject.step(&step);
            subject.holds();
        }
    }
}

/// What LMDB knows is then of before, and the commit would be written over.
#[test]
fn no_store_is_used_whose_last_commit_was_completed_while_another_looks_on() {
    let (mut subject, _, [_, after]) = with_an_unnumbered_commit(10);
    let mut looks_on = Beside::new("looks on", subject.path());
    assert_eq!(looks_on.hear(), "here");
    for _ in 0..2 {
        let opened = DiskStore::open(subject.path(), "c", 1, ROOM).err();
        assert_eq!(opened, Some(OpenError::InUse(subject.path().into())));
        assert!(read(subject.path(), LMDB) == after);
    }
    drop(looks_on);
    subject.reopen();
    subject.holds();
}

/// Whether `work` writes the journal of `path`, and all of it.
fn writes_the_journal(path: &Path, work: impl FnOnce()) -> bool {
    let file = path.join(journal::FILE);
    let bytes = fs::read(&file).unwrap();
    // With a hole wherever there are zeros, which is a block once it was written. And of long ago.
    let (sparse, long_ago) = (fs::File::create(&file).unwrap(), std::time::UNIX_EPOCH);
    sparse.set_len(bytes.len() as u64).unwrap();
    for (place, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
        sparse.write_all_at(page, (place * 4096) as u64).unwrap();
    }
    sparse.sync_all().unwrap();
    sparse.set_modified(long_ago).unwrap();
    work();
    let (now, whole) = (sparse.metadata().unwrap(), bytes.len() as u64);
    let (is_written, has_holes) = (now.modified().unwrap() > long_ago, now.blocks() * 512 < whole);
    assert!(!is_written || !has_holes, "it is written in part: {} of {whole} bytes", now.blocks() * 512);
    is_written
}

/// What is found may be in memory alone. It is not read and written twice, where a store is opened and then loaded.
#[test]
fn the_journal_is_written_again_when_a_store_is_opened_and_not_when_it_is_loaded_then() {
    let mut subject = with_records();
    let path = subject.path().to_owned();
    assert!(writes_the_journal(&path, || subject.reopen()));
    let opened = subject.store.as_ref().unwrap().usage();
    assert!(!writes_the_journal(&path, || subject.holds()));
    assert_eq!(subject.store.as_ref().unwrap().usage(), opened, "its records are counted from the beginning");
    assert!(writes_the_journal(&path, || subject.holds()), "a commit may have failed meanwhile");
    // What is committed without it being loaded takes the place of what is there.
    subject.reopen();
    subject.commit(Durable::clone(&subject.committed));
    subject.holds();
}

/// Then it is damage, as it would be to any other commit.
#[test]
fn a_commit_without_its_number_is_not_completed_where_a_page_of_it_is_not_there() {
    let (subject, _, [before, after]) = with_an_unnumbered_commit(10);
    let left = read(subject.path(), LMDB);
    let mut missed = 0;
    for at in (8192..after.len()).step_by(4096) {
        if before.get(at..at + 4096) == Some(&after[at..at + 4096]) {
            continue;
        }
        for instead in [&[0; 4096], &after[4096..8192]] {
            let mut bytes = left.clone();
            bytes[at..at + 4096].copy_from_slice(instead);
            fs::write(subject.path().join(LMDB), &bytes).unwrap();
            let opened = DiskStore::open(subject.path(), "c", 1, ROOM).err();
            assert!(matches!(opened, Some(OpenError::Damaged(..))), "page {}: {opened:?}", at / 4096);
            assert!(read(subject.path(), LMDB) == bytes, "it is left as it is");
            missed += 1;
        }
    }
    assert!(missed > 4, "{missed}");
}

/// A store with some records in its journal, of which some have more than one sector, over those of an earlier transaction.
fn with_records() -> Subject {
    let mut subject = Subject::new();
    (0..20).for_each(|_| subject.commit(vote(&subject.committed, 3000)));
    subject.step(&Step::Snapshot);
    [10, 3000, 10, 1000, 10].into_iter().for_each(|length| subject.commit(vote(&subject.committed, length)));
    subject.store = None;
    subject
}

/// Writes `bytes` over a file of the store, which must then be refused, by everyone.
fn refused(subject: &Subject, file: &str, bytes: &[u8], what: &str) -> String {
    fs::write(subject.path().join(file), bytes).unwrap();
    refused_as_it_is(subject, what)
}

fn refused_as_it_is(subject: &Subject, what: &str) -> String {
    let opened = DiskStore::open(subject.path(), "c", 1, ROOM).err();
    let Some(OpenError::Damaged(_, why)) = opened else { panic!("{what}: {opened:?}") };
    assert!(why.contains(journal::FILE), "{what}: {why}");
    let looked = disk::peek(subject.path()).err();
    assert_eq!(looked, Some(OpenError::Damaged(subject.path().into(), why.clone())), "{what}");
    why
}

#[test]
fn damage_to_the_journal_is_found() {
    let mut subject = with_records();
    let whole = read(subject.path(), journal::FILE);
    let used = whole.chunks(SECTOR).take_while(|sector| sector.iter().any(|byte| *byte != 0)).count();
    assert!(used > 100, "{used} sectors");
    for sector in 0..used {
        for at in [0, 5, 13, 17, 21, 25, 28, 100, SECTOR - 1] {
            let mut bytes = whole.clone();
            bytes[sector * SECTOR + at] ^= 1 << (sector % 8);
            refused(&subject, journal::FILE, &bytes, &format!("byte {at} of sector {sector}"));
        }
    }
    // All but those of the last record, of one sector.
    for sector in 0..12 {
        let mut bytes = whole.clone();
        bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        let why = refused(&subject, journal::FILE, &bytes, &format!("sector {sector} is lost"));
        assert!(why.contains("not whole"), "{why}");
    }
    let mut swapped = whole.clone();
    swapped[..2 * SECTOR].rotate_left(SECTOR);
    refused(&subject, journal::FILE, &swapped, "two sectors in each other's place");
    for length in [0, SECTOR, whole.len() - 1] {
        refused(&subject, journal::FILE, &whole[..length], "truncated");
    }
    refused(&subject, journal::FILE, &[whole.clone(), vec![0]].concat(), "too long");
    fs::remove_file(subject.path().join(journal::FILE)).unwrap();
    assert!(refused_as_it_is(&subject, "removed").contains("missing"));
    fs::write(subject.path().join(journal::FILE), &whole).unwrap();
    subject.reopen();
    subject.holds();
}

#[test]
fn a_journal_that_belongs_elsewhere_is_found() {
    let mut subject = with_records();
    let [lmdb, whole] = [LMDB, journal::FILE].map(|file| read(subject.path(), file));
    let other = with_records();
    refused(&subject, journal::FILE, &read(other.path(), journal::FILE), "that of another store");
    fs::write(subject.path().join(journal::FILE), &whole).unwrap();
    subject.reopen();
    subject.holds();
    subject.step(&Step::Snapshot);
    subject.commit(vote(&subject.committed, 10));
    subject.store = None;
    let why = refused(&subject, LMDB, &lmdb, "an earlier store under a later journal");
    assert!(why.contains("continues commit"), "{why}");
}

#[test]
fn a_vote_is_written_to_the_journal_alone_until_there_is_no_room_in_it() {
    let mut subject = Subject::new();
    let lmdb = read(subject.path(), LMDB);
    let mut journal = read(subject.path(), journal::FILE);
    let mut commits = 0;
    while read(subject.path(), LMDB) == lmdb {
        subject.commit(vote(&subject.committed, 60_000));
        commits += 1;
        let now = read(subject.path(), journal::FILE);
        assert!(differing(&journal, &now) < 130);
        journal = now;
    }
    assert!((13..18).contains(&commits), "{commits}");
    // What is small has room of its own, since LMDB may have none.
    let mut subject = Subject::new();
    let lmdb = read(subject.path(), LMDB);
    (0..commits - 1).for_each(|_| subject.commit(vote(&subject.committed, 60_000)));
    for _ in 0..60 {
        let mut marks = Durable::clone(&subject.committed);
        marks.promised.round += 1;
        subject.commit(marks);
    }
    assert!(read(subject.path(), LMDB) == lmdb, "marks have room");
    subject.reopen();
    subject.holds();
}

/// What the journal holds was taken when there was room. It counts as nothing new when it goes to LMDB with what needs little.
#[test]
fn a_store_that_may_hold_less_than_it_does_takes_marks_and_what_makes_room() {
    let mut subject = Subject::new();
    subject.store = None;
    let open = |limit| {
        let mut store = DiskStore::open(subject.directory.path(), "c", 1, limit).unwrap();
        store.load().unwrap();
        store
    };
    let mut store = open(ROOM);
    let mut value = Durable::clone(&subject.committed);
    for slot in 4..44 {
        value.log.insert(slot, entry(slot, 20_000));
        value.accepted.insert(slot, value.promised);
        store.commit(&Arc::new(value.clone())).unwrap();
    }
    assert!(read(subject.path(), LMDB).len() < 400_000, "most is in the journal");
    drop(store);
    let mut store = open(512 << 10);
    assert!(store.usage().is_nearly_full(), "{:?}", store.usage());
    let full = |value: &Durable<Machine>, store: &mut DiskStore| {
        matches!(store.commit(&Arc::new(value.clone())), Err(CommitError::Full(_)))
    };
    let mut more = value.clone();
    more.log.insert(44, entry(44, 20_000));
    assert!(full(&more, &mut store), "no more values");
    assert_eq!(store.load(), Ok(Some(Arc::new(value.clone()))), "and nothing was lost");
    let lmdb = read(subject.path(), LMDB);
    for _ in 0..3 {
        value.promised.round += 1;
        assert!(!full(&value, &mut store), "marks have room");
    }
    assert!(read(subject.path(), LMDB) != lmdb, "where what is taken is known");
    value.accepted = imbl::OrdMap::new();
    value.decided = 44;
    value.snapshot.applied = 44;
    value.log = value.log.split(&43).1;
    assert!(!full(&value, &mut store), "and so has what lets go of the log");
    assert!(store.has_room() && !full(&more, &mut open_again(store, subject.path())));
}

/// Where LMDB has no more room for what makes some, the journal has.
#[test]
fn what_needs_little_goes_to_the_journal_where_lmdb_is_full() {
    let mut subject = Subject::new();
    let mut value = Durable::clone(&subject.committed);
    (4..64).for_each(|slot| drop(value.log.insert(slot, entry(slot, 20_000))));
    subject.commit(value.clone());
    assert!(read(subject.path(), LMDB).len() > 1 << 20, "it is larger than the journal");
    subject.store = None;
    // More than twice of what it may hold: it takes nothing into the log. But marks, as it finds room for those in its map.
    let mut store = DiskStore::open(subject.path(), "c", 1, 400 << 10).unwrap();
    store.load().unwrap();
    let files = || [LMDB, journal::FILE].map(|file| read(subject.path(), file));
    let mut with_entry = |entry: Entry<Command>| {
        let before = files();
        let mut tried = value.clone();
        tried.incarnation += 1;
        tried.log.insert(64 + tried.incarnation, entry);
        let done = store.commit(&Arc::new(tried.clone()));
        let [lmdb, journal] = files();
        assert!(lmdb == before[0], "LMDB has no room for it");
        assert_eq!(journal != before[1], done.is_ok());
        done.inspect(|()| value = tried)
    };
    assert!(matches!(with_entry(entry(64, 10)), Err(CommitError::Full(_))), "no more values");
    (0..5).for_each(|_| with_entry(Entry::Noop).expect("what brings none has room"));
    assert!(matches!(with_entry(entry(64, 10)), Err(CommitError::Full(_))), "still no more values");
    drop(store);
    subject.committed = Arc::new(value);
    subject.reopen();
    subject.holds();
}

fn open_again(store: DiskStore, path: &Path) -> DiskStore {
    drop(store);
    open(path)
}

#[test]
fn a_journal_is_not_made_over_one_that_was_used() {
    let subject = with_records();
    let file = subject.path().join(journal::FILE);
    let used = fs::read(&file).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let identity = super::identity::Identity { format: 2, ..super::identity::Identity::new("c", 1) };
    super::lmdb::make(directory.path(), &identity, ROOM).unwrap();
    fs::write(directory.path().join(journal::FILE), &used).unwrap();
    let refused = DiskStore::open(directory.path(), "c", 1, ROOM).err();
    assert!(matches!(&refused, Some(OpenError::Damaged(_, why)) if why.contains("later store")), "{refused:?}");
    assert!(fs::read(directory.path().join(journal::FILE)).unwrap() == used);
    fs::remove_file(directory.path().join(journal::FILE)).unwrap();
    assert_eq!(open(directory.path()).load(), Ok(None));
}

#[test]
fn a_store_that_was_begun_to_be_made_is_made() {
    let directory = tempfile::tempdir().unwrap();
    journal::make(directory.path()).unwrap();
    drop(open(directory.path()));
    let with_records = with_records();
    fs::copy(with_records.path().join(journal::FILE), directory.path().join(journal::FILE)).unwrap();
    fs::remove_file(directory.path().join(LMDB)).unwrap();
    let refused = DiskStore::open(directory.path(), "c", 1, ROOM).err();
    assert!(matches!(&refused, Some(OpenError::Damaged(_, why)) if why.contains("without the store")), "{refused:?}");
}

#[test]
fn what_the_journal_holds_is_counted_and_in_lmdb_at_last() {
    let mut subject = Subject::new();
    let before = subject.store.as_ref().unwrap().usage();
    (0..30).for_each(|_| subject.commit(vote(&subject.committed, 3000)));
    let ahead = subject.store.as_ref().unwrap().usage();
    assert!(ahead.used > before.used + 30 * 3000 && ahead.limit == before.limit, "{ahead:?}");
    subject.holds();
    assert_eq!(subject.store.as_ref().unwrap().usage(), ahead, "also after it was read");
    subject.step(&Step::Snapshot);
    assert!(subject.store.as_ref().unwrap().usage().used < ahead.used);
    subject.store = None;
    assert_eq!(open_lmdb(subject.path()).load(), Ok(Some(subject.committed)));
}
