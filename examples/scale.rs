//! How long a node takes to start with many keys, and how much memory it needs then.
//!
//! ```bash
//! cargo run --release --example scale                 # 1,000,000 keys, one a slot
//! cargo run --release --example scale -- 1000000 256  # so many keys, and so many in one slot
//! ```
//!
//! Writes a store as a node leaves it: a snapshot, the tail before it and what was decided since. Starts a node on it in a process of its
//! own, and prints the time from the start to the last slot applied, and the memory beside the mapped file. Ends with status 1 if either is above what is promised: 5 seconds, and 3 times the live data (key,
//! value and 64 bytes an entry).

#![allow(clippy::disallowed_methods, reason = "times are what is measured")]

use paxos::model::kv::{Command, Put};
use paxos::model::replica::Options;
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::configuration::Configuration;
use paxos::model::replica::durable::Durable;
use paxos::model::replica::executor::Executor;
use paxos::model::replica::message::{Act, Entry, Operation, OperationId, SessionId};
use paxos::node::{self, Peers, Settings};
use paxos::storage::Store;
use paxos::storage::disk::DiskStore;
use paxos::{Machine, Msg, Stored};
use stateright::actor::Id;
use std::error::Error;
use std::path::Path;
use std::process::{Command as Process, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 100;
const ROOM: usize = 16 << 30;
const SECONDS_MAX: f64 = 5.0;
const RATIO_MAX: f64 = 3.0;

struct Nobody;

impl Peers for Nobody {
    fn send(&self, _: Id, _: Msg) {}
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).map_or(Ok(otherwise), |text| text.parse::<u64>());
    if arguments.first().is_some_and(|first| first == "start") {
        return start(Path::new(&arguments[1]), number(2, 0)?, number(3, 0)?);
    }
    let (keys, per_slot) = (number(0, 1_000_000)?, number(1, 1)?.max(1));
    let directory = tempfile::tempdir()?;
    let (stored, live) = data(keys, per_slot);
    let slots = stored.decided;
    let mut store = DiskStore::open(directory.path(), "scale", 0, ROOM)?;
    store.load()?;
    store.commit(&stored)?;
    drop(store);
    let (snapshot, first) = (stored.snapshot.applied, stored.first());
    drop(stored);
    println!("{keys} keys in {slots} slots, {} MB of live data", live / 1_000_000);
    println!("a snapshot of slot {snapshot}, and the log from slot {first} on");
    let child = Process::new(std::env::current_exe()?)
        .arg("start")
        .arg(directory.path())
        .args([slots.to_string(), live.to_string()])
        .status()?;
    Ok(if child.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a node saves that has decided one write of each of `keys` keys, and the bytes of what it leaves.
fn data(keys: u64, per_slot: u64) -> (Stored, u64) {
    let session = SessionId { slot: 0, position: 0 };
    let (options, rules) = (Options::default(), Configuration::of_voters(3));
    let mut durable = Durable::<Machine> { promised: Ballot { round: 1, node: 0.into() }, ..Durable::default() };
    let mut executor = Executor::<Machine>::default();
    let mut live = 0;
    let slots = keys.div_ceil(per_slot) + 1;
    let last_snapshot = slots / options.snapshot_every * options.snapshot_every;
    for slot in 0..slots {
        let first = slot.saturating_sub(1) * per_slot + 1;
        let operations = (first..(first + per_slot).min(keys + 1)).map(|number| {
            let (key, val) = (format!("key{number:08}"), "v".repeat(VALUE_BYTES));
            live += (key.len() + val.len() + 64) as u64;
            let put = Put { key: key.into(), val: val.into(), ver: None };
            let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
            let id = OperationId { session, sequence: number };
            Operation::InSession { id, by_node: true, acknowledged_below: number, act }
        });
        let entry = match slot {
            0 => Entry::Batch([Operation::Open { node: 0.into(), incarnation: 1 }].into()),
            _ => Entry::Batch(operations.collect()),
        };
        executor.apply(slot, &entry, &rules);
        if slot + options.tail >= last_snapshot {
            durable.log.insert(slot, entry);
        }
        if slot + 1 == last_snapshot {
            durable.snapshot = executor.clone();
        }
    }
    durable.decided = slots;
    durable.incarnation = 1;
    (Arc::new(durable), live)
}

/// Starts a node as the program does, and measures.
fn start(directory: &Path, slots: u64, live: u64) -> Result<ExitCode, Box<dyn Error>> {
    let begin = Instant::now();
    let store = DiskStore::open(directory, "scale", 0, ROOM)?;
    let opened = begin.elapsed();
    let hour = Duration::from_secs(3600);
    let options = Options { election: hour..2 * hour, ..Options::default() };
    let settings = Settings { id: 0.into(), configuration: Configuration::of_voters(3), options, inputs_max: 1024 };
    let (node, thread) = node::start(settings, store, Arc::new(Nobody), None)?;
    let loaded = begin.elapsed();
    let mut status = node.status();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(status.wait_for(|status| status.applied == slots))?;
    let seconds = begin.elapsed().as_secs_f64();
    let memory = anonymous_bytes()?;
    let ratio = memory as f64 / live as f64;
    println!(
        "start: {seconds:.2} s ({:.2} s of processor time), of which {:.2} s to look through the store and {:.2} s to load it (at \
         most {SECONDS_MAX})",
        cpu_seconds()?,
        opened.as_secs_f64(),
        (loaded - opened).as_secs_f64(),
    );
    println!(
        "memory: {} MB beside the mapped file, {ratio:.2} times the live data (at most {RATIO_MAX})",
        memory / 1_000_000
    );
    node.stop();
    thread.join().map_err(|_| "the node panicked")??;
    Ok(if seconds <= SECONDS_MAX && ratio <= RATIO_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this process has used of the processors: on a busy machine that is less than what passed.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// Resident memory of this process that no file is mapped to.
fn anonymous_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}
