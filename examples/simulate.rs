//! Short lives of simulated clusters of the real node loop, for a given time or number, each from a seed of its own.
//!
//! ```bash
//! tests/simulation/run --seconds 60
//! tests/simulation/run --seed 7 --lives 1    # one life again, as a failure prints it
//! ```
//!
//! Prints how many lives there were, how many a minute, and what happened in them. A life that fails is printed with its seed, what it is like and its
//! last events. Ends with status 0 if none failed, 1 if one did, and 2 for wrong usage.

#![allow(clippy::disallowed_methods, reason = "how long it takes is printed")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/simulation/harness/mod.rs"]
mod harness;
#[path = "../tests/simulation/peers.rs"]
mod peers;

use clap::Parser;
use harness::{EFFECTS, Failure, live};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lives of simulated clusters with faults, judged.
#[derive(Parser)]
struct Cli {
    /// For how long lives are begun.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the first life; each has the next one. Without it, one that is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many lives at most.
    #[arg(long, default_value_t = u64::MAX)]
    lives: u64,
    /// How many at a time; without it, as many as there are processors.
    #[arg(long)]
    threads: Option<usize>,
    /// How many lives may fail before no more are begun.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

/// What all threads have done.
#[derive(Default)]
struct Total {
    lives: u64,
    events: u64,
    operations: u64,
    simulated: Duration,
    counts: BTreeMap<&'static str, u64>,
    failures: Vec<Failure>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let first = cli.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let threads = cli.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    println!("seeds from {first} on");
    let (begin, next, total) = (Instant::now(), AtomicU64::new(0), Mutex::new(Total::default()));
    let over = |number: u64| number >= cli.lives || begin.elapsed() > Duration::from_secs(cli.seconds);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if over(number) || total.lock().expect("no thread panicked").failures.len() >= cli.failures {
                        return;
                    }
                    let lived = live(first.wrapping_add(number));
                    let mut total = total.lock().expect("no thread panicked");
                    total.lives += 1;
                    total.events += lived.events;
                    total.operations += lived.operations;
                    total.simulated += Duration::from_micros(lived.time);
                    for (what, count) in &lived.counts {
                        *total.counts.entry(what).or_default() += count;
                    }
                    total.failures.extend(lived.failure());
                }
            });
        }
    });
    let total = total.into_inner().expect("no thread panicked");
    let seconds = begin.elapsed().as_secs_f64();
    for failure in &total.failures {
        println!("{failure}\n");
    }
    println!(
        "{} lives in {seconds:.1} s: {:.0} a minute; {:.0} s simulated, {} events, {} operations",
        total.lives,
        total.lives as f64 / seconds * 60.0,
        total.simulated.as_secs_f64(),
        total.events,
        total.operations
    );
    // Also what never happened.
    let mut counts = total.counts;
    EFFECTS.into_iter().for_each(|what| *counts.entry(what).or_default() += 0);
    for (what, count) in &counts {
        println!("{count:10} {what}");
    }
    println!("{} lives failed", total.failures.len());
    if total.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
