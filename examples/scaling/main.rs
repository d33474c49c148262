//! How throughput follows from what the stages cost: `spec/scaling.md`.
//!
//! ```bash
//! cargo run --release --example scaling               # two minutes
//! cargo run --release --example scaling -- --quick    # less than one: fewer cells, shorter
//! ```
//!
//! Measures what each stage of a write costs on this machine, predicts from that how many writes a second clusters of 3, 5 and 7 nodes do over
//! networks of several round trips, and runs them in this process with that delay. Then prints what the same model says of machines that are not here.
//! Ends with status 1 if a prediction is off by more than a factor of two.

#![allow(clippy::disallowed_methods, reason = "times are what is measured")]
#![allow(clippy::disallowed_types, reason = "a client has a socket")]

mod asks;
mod check;
mod cluster;
mod commits;
mod cpu;
mod http;
mod line;
mod links;
mod load;
mod lockstep;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../tests/simulation/peers.rs"]
mod peers;
mod predict;
mod stages;
mod tables;
mod threads;
mod write;

use clap::Parser;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn Error + Send + Sync>;

/// Throughput as predicted from the costs of the stages, and as measured.
#[derive(Parser)]
struct Cli {
    /// Less of everything.
    #[arg(long)]
    quick: bool,
    /// Where the stores are put, in a directory that is removed; without it, where temporary files are.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> Result<ExitCode, Failure> {
    let cli = Cli::parse();
    let directory = cli.directory.unwrap_or_else(std::env::temp_dir);
    let cores = std::thread::available_parallelism()?.get() as f64;
    println!("{cores} processors");
    let costs = stages::measure(&directory, cli.quick)?;
    let off = check::run(&costs, &directory, cores, cli.quick)?;
    println!("\n{off} predictions are off by more than a factor of {}", check::FACTOR);
    tables::print(&costs);
    Ok(if off == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
