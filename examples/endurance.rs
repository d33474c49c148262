//! Whether disk and memory stay bounded over many writes, and how a node that was away comes back while writes go on.
//!
//! ```bash
//! cargo build --release && cargo run --release --example endurance   # 1,000,000 writes of 10,000 keys, 200,000 of them missed by one
//! cargo run --release --example endurance -- 300000 10000 50000      # so many writes, keys, and missed writes
//! ```
//!
//! Starts three nodes as processes of their own, with the limits that ship, and prints data directories, memory, throughput and latencies. Ends
//! with status 1 if the directories or the memory of the last fifth are above twice those after the first one, if the node that was away does not serve
//! again within 10 seconds, or if the latency of the others' writes (median) more than doubles meanwhile.

#![allow(clippy::disallowed_methods, reason = "times are what is measured")]

use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

type Failure = Box<dyn Error + Send + Sync>;

const NODES: usize = 3;
const CLIENTS: u64 = 32;
const STEPS: u64 = 5;
const SECONDS_MAX: f64 = 10.0;
const RATIO_MAX: f64 = 2.0;

struct Cluster {
    directory: tempfile::TempDir,
    addresses: Vec<String>,
    children: Vec<Option<Child>>,
}

impl Cluster {
    fn start() -> Result<Cluster, Failure> {
        let directory = tempfile::tempdir()?;
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| Ok(socket.local_addr()?.to_string()));
        let mut nodes = Vec::new();
        let mut addresses = Vec::new();
        for node in 0..NODES {
            let (rpc, store) = (free()?, free()?);
            nodes.push(json!({ "data": directory.path().join(format!("data{node}")), "rpc": rpc, "store": store }));
            addresses.push(store);
        }
        fs::write(directory.path().join("config.json"), json!({ "nodes": nodes }).to_string())?;
        let mut cluster = Cluster { directory, addresses, children: (0..NODES).map(|_| None).collect() };
        for node in 0..NODES {
            cluster.run(node)?;
        }
        Ok(cluster)
    }

    fn run(&mut self, node: usize) -> Result<(), Failure> {
        let program = program()?;
        let config = self.directory.path().join("config.json");
        let child = Command::new(&program)
            .arg(config)
            .arg(node.to_string())
            .args(["--log-level", "error"])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it first: cargo build --release", program.display()))?;
        self.children[node] = Some(child);
        Ok(())
    }

    fn kill(&mut self, node: usize) -> Result<(), Failure> {
        if let Some(mut child) = self.children[node].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn status(&self, node: usize) -> Option<Value> {
        let url = format!("http://{}/status", self.addresses[node]);
        serde_json::from_str(&ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?).ok()
    }

    /// The node that leads, once one does and the others know.
    fn leader(&self) -> Result<usize, Failure> {
        let begin = Instant::now();
        loop {
            let leader = (0..NODES).find(|node| self.status(*node).is_some_and(|status| status["role"] == "leader"));
            if let Some(leader) = leader {
                return Ok(leader);
            }
            if begin.elapsed() > Duration::from_secs(30) {
                return Err("no node leads after 30 s".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Bytes of each node's data directory, and of its memory beside the mapped file.
    fn sizes(&self) -> Result<Vec<(u64, u64)>, Failure> {
        let size = |(node, child): (usize, &Option<Child>)| {
            let disk = on_disk(&self.directory.path().join(format!("data{node}")))?;
            let memory = child.as_ref().map_or(Ok(0), |child| memory(child.id()))?;
            Ok((disk, memory))
        };
        self.children.iter().enumerate().map(size).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The node's program, which lies beside the directory of this one.
fn program() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe()?;
    let directory = here.parent().and_then(Path::parent).ok_or("this program has no directory")?;
    Ok(directory.join("node"))
}

fn on_disk(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for item in fs::read_dir(directory)? {
        bytes += item?.metadata()?.len();
    }
    Ok(bytes)
}

fn memory(process: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Writes until `enough` says so; returns how long each write took, in microseconds, sorted.
fn write(address: &str, keys: u64, enough: &(dyn Fn(u64) -> bool + Sync)) -> Result<Vec<u32>, Failure> {
    let (begun, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let client = || -> Result<Vec<u32>, Failure> {
        let agent = Agent::new_with_defaults();
        let mut times = Vec::new();
        while !enough(begun.fetch_add(1, Ordering::Relaxed)) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // A step that has no common factor with the number of keys, so that neighbours are not written together.
            let url = format!("http://{address}/kvstore/k{:08}", number.wrapping_mul(7919) % keys);
            let begin = Instant::now();
            agent.put(&url).send(json!({ "val": format!("{number:032}") }).to_string())?;
            times.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(times)
    };
    let mut all = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let ended = clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")?);
        ended.collect::<Result<Vec<_>, Failure>>()
    })?
    .concat();
    all.sort_unstable();
    Ok(all)
}

fn quantile(sorted: &[u32], of: f64) -> f64 {
    let index = ((sorted.len() as f64 * of) as usize).min(sorted.len().saturating_sub(1));
    f64::from(sorted.get(index).copied().unwrap_or(0)) / 1000.0
}

fn told(sorted: &[u32]) -> String {
    format!("p50 {:.1} ms, p99 {:.1} ms", quantile(sorted, 0.5), quantile(sorted, 0.99))
}

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).map_or(Ok(otherwise), |text| text.parse::<u64>());
    let (writes, keys, missed) = (number(0, 1_000_000)?, number(1, 10_000)?.max(1), number(2, 200_000)?);
    let mut cluster = Cluster::start()?;
    let leader = cluster.leader()?;
    let address = cluster.addresses[leader].clone();
    let mut failed = Vec::new();

    println!("{writes} writes of {keys} keys by {CLIENTS} clients at node {leader}, the leader");
    let mut first = Vec::new();
    for step in 1..=STEPS {
        let begin = Instant::now();
        let times = write(&address, keys, &|count| count >= writes / STEPS)?;
        let sizes = cluster.sizes()?;
        let mib = |pick: fn(&(u64, u64)) -> u64| {
            sizes.iter().map(|size| (pick(size) >> 20).to_string()).collect::<Vec<_>>().join(", ")
        };
        println!(
            "after {:>9}: {:>6.0}/s, {}; on disk {} MiB, in memory {} MiB",
            writes / STEPS * step,
            times.len() as f64 / begin.elapsed().as_secs_f64(),
            told(&times),
            mib(|size| size.0),
            mib(|size| size.1),
        );
        if step == 1 {
            first = sizes;
        } else if step == STEPS {
            let grows = |(now, then): (u64, u64)| now as f64 > RATIO_MAX * then as f64 + f64::from(16 << 20);
            let pairs = sizes.iter().zip(&first).flat_map(|(now, then)| [(now.0, then.0), (now.1, then.1)]);
            if pairs.into_iter().any(grows) {
                failed.push("disk or memory grow");
            }
        }
    }

    let away = (leader + 1) % NODES;
    cluster.kill(away)?;
    let before = write(&address, keys, &|count| count >= missed)?;
    println!("node {away} is away for {missed} writes: {}", told(&before));
    let decided = |cluster: &Cluster, node| cluster.status(node).and_then(|status| status["decided"].as_u64());
    let goal = decided(&cluster, leader).ok_or("the leader does not answer")?;
    cluster.run(away)?;
    let begin = Instant::now();
    let back = AtomicBool::new(false);
    let (seconds, during) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&address, keys, &|_| back.load(Ordering::Relaxed)));
        let url = format!("http://{}/kvstore/k{:08}?timeout_ms=1000", cluster.addresses[away], 0);
        let serves = || decided(&cluster, away).is_some_and(|slot| slot >= goal) && ureq::get(&url).call().is_ok();
        while !serves() && begin.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(20));
        }
        let seconds = begin.elapsed().as_secs_f64();
        back.store(true, Ordering::Relaxed);
        writer.join().map(|times| (seconds, times)).map_err(|_| "the writer panicked")
    })?;
    let during = during?;
    println!("it serves again after {seconds:.2} s; meanwhile {} writes: {}", during.len(), told(&during));
    if seconds > SECONDS_MAX {
        failed.push("the node that was away is too late");
    }
    if quantile(&during, 0.5) > RATIO_MAX * quantile(&before, 0.5) {
        failed.push("writes took more than twice as long meanwhile");
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAILED: {}", failed.join("; "));
    Ok(ExitCode::FAILURE)
}
