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

mod cluster;

use cluster::{Cluster, Failure, NODES, write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 32;
const STEPS: u64 = 5;
const SECONDS_MAX: f64 = 10.0;
const RATIO_MAX: f64 = 2.0;

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
    let mut cluster = Cluster::start(false)?;
    let leader = cluster.leader()?;
    let address = cluster.addresses[leader].clone();
    let mut failed = Vec::new();

    println!("{writes} writes of {keys} keys by {CLIENTS} clients at node {leader}, the leader");
    let mut first = Vec::new();
    for step in 1..=STEPS {
        let begin = Instant::now();
        let times = write(&address, CLIENTS, keys, &|count| count >= writes / STEPS)?;
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
    let before = write(&address, CLIENTS, keys, &|count| count >= missed)?;
    println!("node {away} is away for {missed} writes: {}", told(&before));
    let decided = |cluster: &Cluster, node| cluster.status(node).and_then(|status| status["decided"].as_u64());
    let goal = decided(&cluster, leader).ok_or("the leader does not answer")?;
    cluster.run(away)?;
    let begin = Instant::now();
    let back = AtomicBool::new(false);
    let (seconds, during) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&address, CLIENTS, keys, &|_| back.load(Ordering::Relaxed)));
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
