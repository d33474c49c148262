//! What a commit costs: what a follower saved, slot after slot, is committed to stores on the disk, to several at a time.

use crate::{Failure, cpu};
use paxos::Stored;
use paxos::storage::Store;
use paxos::storage::disk::DiskStore;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// How much a store may hold.
pub(crate) const ROOM: usize = 4 << 30;
/// About how much is written to each store at most, as long as that is some commits.
const BYTES: usize = 24 << 20;
const COMMITS_MIN: usize = 24;

/// The time of a commit and its processor time, in seconds: the mean, with what goes to LMDB at times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    pub(crate) time: f64,
    pub(crate) cpu: f64,
    pub(crate) median: f64,
    pub(crate) longest: f64,
}

/// How many values are worth keeping that differ by so many bytes: the first is where a store begins.
pub(crate) fn kept(slot_bytes: usize) -> usize {
    (BYTES / slot_bytes).max(COMMITS_MIN) + 1
}

/// Commits what was saved to `stores` new stores in `directory`, at the same time.
pub(crate) fn measure(directory: &Path, stores: usize, saved: &VecDeque<Stored>) -> Result<Commit, Failure> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut opened = Vec::new();
    for node in 0..stores {
        let mut store = DiskStore::open(&directory.path().join(node.to_string()), "scaling", node as u64, ROOM)?;
        store.load()?;
        // All before the first one that is measured: that goes to LMDB.
        store.commit(&saved[0])?;
        opened.push(store);
    }
    let begin = Barrier::new(stores);
    let times = thread::scope(|scope| {
        let works: Vec<_> = opened.iter_mut().map(|store| scope.spawn(|| commit_all(store, saved, &begin))).collect();
        let ended = works.into_iter().map(|work| work.join().map_err(|_| "a store panicked")?);
        ended.collect::<Result<Vec<_>, Failure>>()
    })?;
    let (times, cpu): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    let mut times = times.concat();
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    Ok(Commit {
        time: times.iter().sum::<f64>() / count,
        cpu: cpu.iter().sum::<f64>() / count,
        median: times[times.len() / 2],
        longest: times[times.len() - 1],
    })
}

/// Commits all but the first, and returns how long each took, and the processor time of all.
fn commit_all(store: &mut DiskStore, saved: &VecDeque<Stored>, begin: &Barrier) -> Result<(Vec<f64>, f64), Failure> {
    begin.wait();
    let before = cpu::of_thread()?;
    let mut times = Vec::with_capacity(saved.len());
    for value in saved.iter().skip(1) {
        let begin = Instant::now();
        store.commit(value)?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok((times, cpu::of_thread()? - before))
}
