//! What it costs that nodes write down every step (`node --trace`), in throughput.
//!
//! ```bash
//! cargo build --release && cargo run --release --example traced          # 5 rounds of 5 seconds each way
//! cargo run --release --example traced -- 9 10                           # so many rounds, of so many seconds
//! ```
//!
//! Starts three nodes anew for each measurement, in turns without and with a trace, and prints writes a second by 64 clients at the leader, and the
//! ratio of the medians. Ends with status 1 if a trace costs more than a tenth.

#![allow(clippy::disallowed_methods, reason = "times are what is measured")]

#[allow(dead_code, reason = "the other example uses the rest")]
#[path = "endurance/cluster.rs"]
mod cluster;

use cluster::{Cluster, Failure, write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 64;
const KEYS: u64 = 10_000;
/// What is left at least.
const RATIO_MIN: f64 = 0.9;

fn measured(traced: bool, time: Duration) -> Result<f64, Failure> {
    let cluster = Cluster::start(traced)?;
    let leader = cluster.leader()?;
    let address = &cluster.addresses[leader];
    // Connections, sessions, the first entries.
    write(address, CLIENTS, KEYS, &|count| count >= 2_000)?;
    let begin = Instant::now();
    let writes = write(address, CLIENTS, KEYS, &|_| begin.elapsed() > time)?;
    Ok(writes.len() as f64 / begin.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).map_or(Ok(otherwise), |text| text.parse::<u64>());
    let (rounds, seconds) = (number(0, 5)?.max(1), number(1, 5)?.max(1));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let time = Duration::from_secs(seconds);
        let (plain, traced) = (measured(false, time)?, measured(true, time)?);
        println!("round {round}: {plain:.0} writes/s without a trace, {traced:.0} with");
        without.push(plain);
        with.push(traced);
    }
    let ratio = median(with) / median(without);
    println!("with a trace {ratio:.3} times as many, by the medians");
    Ok(if ratio >= RATIO_MIN { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
