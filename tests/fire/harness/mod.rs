//! Real nodes under fire: processes that are killed, stopped and cut off from each other by a seeded schedule, while clients write and read;
//! then everything that they saw is judged.
//!
//! A run has three phases. *Faults*: the schedule is carried out step by step, and after each one somebody must be answered again. *Healing*: all
//! faults end, and every node must do a write within a bound. *Judgement*: the nodes must show one state at one slot and have the same log, and the
//! clients' history must be what is promised. Nothing outlives a run, and nothing leaves the loopback interface.
//!
//! The seed fixes the schedule, the nodes' settings and what clients draw; not the moments at which the system runs what, so another run of
//! the same seed is alike and not the same.

#![allow(clippy::disallowed_methods, reason = "what runs for real has a clock")]

pub(crate) mod clients;
pub(crate) mod ending;
pub(crate) mod inflict;
#[path = "../../support/judge/mod.rs"]
pub(crate) mod judge;
pub(crate) mod namespaces;
pub(crate) mod network;
pub(crate) mod nodes;
pub(crate) mod proxy;
#[path = "../../support/random.rs"]
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod schedule;
pub(crate) mod shim;

use clients::Load;
use inflict::Inflictor;
use judge::history::History;
use network::Network;
use nodes::Nodes;
use random::Random;
use report::Report;
use request::Sender;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Few slots, so that snapshots are taken, logs truncated and snapshots sent within seconds.
pub(crate) const SNAPSHOT_EVERY: u64 = 64;
/// The slots before the snapshot that are kept.
pub(crate) const TAIL: u64 = 32;
/// Few deletes are remembered, so that the floor rises.
const TOMBSTONES: u64 = 3;
/// Keys of 30 KB that a snapshot holds beside those that are written.
const FILLING: u64 = 60;
/// So much of their traces the nodes keep, and so much for each second: all, in several files.
const TRACE_MIB: u64 = 48;
const TRACE_MIB_A_SECOND: u64 = 3;
/// How long the first start may take.
const BEGINNING: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// How long faults go on.
    pub(crate) seconds: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: u64,
    /// The programs.
    pub(crate) node: PathBuf,
    pub(crate) logcat: PathBuf,
    /// Replays the nodes' traces; without it none are written.
    pub(crate) check: Option<PathBuf>,
    /// Whether nodes are in network namespaces, and not behind a proxy.
    pub(crate) namespaces: bool,
    /// Only faults whose names contain this.
    pub(crate) only: String,
    /// Whether each step is printed as it begins.
    pub(crate) tell: bool,
}

/// Runs and judges. The error is for what keeps it from being judged; a verdict may still say that something is wrong.
pub(crate) fn run(settings: &Settings) -> Result<Report, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let ran = run_in(settings, directory.path());
    if !ran.as_ref().is_ok_and(|report| report.failures().is_empty()) && std::env::var_os("PAXOS_FIRE_KEEP").is_some() {
        eprintln!("what is left of the run is kept in {}", directory.keep().display());
    }
    ran
}

fn run_in(settings: &Settings, directory: &Path) -> Result<Report, String> {
    let network = Network::new(settings.nodes, settings.namespaces, settings.seed)?;
    let mut random = Random::new(settings.seed, 998);
    let transports: Vec<&str> = (0..settings.nodes).map(|_| *random.pick(&["tcp", "udp"])).collect();
    let fields = [
        ("snapshot_every", json!(SNAPSHOT_EVERY)),
        ("tail", json!(TAIL)),
        ("tombstones_max", json!(TOMBSTONES)),
        ("store_max_mib", json!(256)),
        ("pipeline", json!(random.within(1..4))),
    ];
    let trace_mib = settings.check.as_ref().map(|_| TRACE_MIB + TRACE_MIB_A_SECOND * settings.seconds);
    let nodes = Nodes::new(directory, &settings.node, &network, &fields, &transports, trace_mib);
    let mut nodes = nodes.map_err(|error| format!("the nodes cannot be set up: {error}"))?;
    for node in 0..settings.nodes {
        nodes.start(node).map_err(|error| format!("{}: {error}", settings.node.display()))?;
    }
    let load = Load::new(network.stores(), settings.seed);
    let sender = Sender::new();
    let end = Instant::now() + BEGINNING;
    while !clients::fill(&sender, load.stores[0], FILLING) {
        nodes.look()?;
        if Instant::now() > end {
            return Err("the nodes do not begin".into());
        }
    }
    let steps = schedule::schedule(
        settings.seed,
        settings.nodes,
        settings.seconds * 1000,
        &settings.only,
        network.has_weather(),
    );
    if steps.is_empty() {
        return Err(format!("there is no fault {:?}", settings.only));
    }
    let watching = AtomicBool::new(true);
    let mut inflictor = Inflictor::new(nodes, &network, &load);
    let (history, ballots, inflicted, lasted) = std::thread::scope(|scope| {
        let load = &load;
        let clients: Vec<_> = (0..settings.clients).map(|number| scope.spawn(move || load.client(number))).collect();
        let watch = scope.spawn(|| watch(load, &watching));
        let inflicted = inflict_all(settings, &steps, &mut inflictor);
        let lasted = load.now();
        load.end();
        let mut history = History::default();
        let mut lost = 0;
        for client in clients {
            client.join().map_or_else(|_| lost += 1, |seen| history.merge(seen));
        }
        watching.store(false, Ordering::Relaxed);
        let ballots = watch.join().unwrap_or_default();
        let inflicted = if lost == 0 { inflicted } else { Err(format!("{lost} clients panicked")) };
        (history, ballots, inflicted, lasted)
    });
    let Inflictor { nodes, done, in_transfer, stopped, .. } = inflictor;
    let mut report = Report::new(settings, history, done, ballots, lasted);
    report.in_transfer = in_transfer;
    report.stopped = stopped;
    report.verdict("after every fault somebody is answered again, and no node ends that should not", inflicted);
    report.end(&load, nodes, &network, settings);
    Ok(report)
}

fn inflict_all(settings: &Settings, steps: &[schedule::Step], inflictor: &mut Inflictor<'_>) -> Result<(), String> {
    let begin = Instant::now();
    let mut inflicted = Ok(());
    for (number, step) in steps.iter().enumerate() {
        if inflicted.is_err() || begin.elapsed() > Duration::from_secs(settings.seconds) {
            break;
        }
        if settings.tell {
            eprintln!("{:7.1} s  step {number}: {step:?}", begin.elapsed().as_secs_f64());
        }
        inflicted = inflictor.step(step);
    }
    // Also after a failure, or everything else would fail for it.
    let mended = inflictor.mend();
    inflicted.and(mended)
}

/// Looks who leads, until it is over; returns every ballot in which somebody was seen to.
fn watch(load: &Load, watching: &AtomicBool) -> BTreeSet<String> {
    let (sender, mut ballots) = (Sender::new(), BTreeSet::new());
    while watching.load(Ordering::Relaxed) {
        for store in &load.stores {
            let status = sender.get(*store, "/status", 200);
            let status = status.filter(|status| status["role"] == "leader");
            ballots.extend(status.and_then(|status| Some(status["ballot"].as_str()?.to_owned())));
        }
        std::thread::park_timeout(Duration::from_millis(40));
    }
    ballots
}
