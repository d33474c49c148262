//! Three of our nodes beside three of etcd's, each in turn on this machine, under the same load.
//!
//! ```bash
//! benches/versus_etcd            # installs what is missing, builds, and measures
//! benches/versus_etcd --help
//! ```

mod cluster;
mod door;
mod http;
mod load;
mod measure;
mod process;
mod report;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use cluster::{Places, System};
use measure::Plan;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Compares three of our nodes with three of etcd's.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each cell is measured.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long the load runs before that.
    #[arg(long, default_value_t = 0.5)]
    warm_seconds: f64,
    /// How often each cell is measured, in turn with the others; all rounds are taken together.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// Sizes of values, in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 4096])]
    values: Vec<usize>,
    /// Measure these only.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<What>,
    /// One round of two seconds each, and a tenth of the keys: to see whether it works.
    #[arg(long)]
    quick: bool,
    /// Measure our nodes alone: to see what a change does, or under a profiler.
    #[arg(long)]
    without_etcd: bool,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Connections that the clients of gRPC share, for each thread.
    #[arg(long, default_value_t = 8)]
    channels: usize,
    /// Keys that are written and read.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 5)]
    failovers: usize,
    /// Also write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Our node, from a release build.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/node"))]
    node: PathBuf,
    /// etcd.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Where the data directories are made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum What {
    /// Writes of one key.
    Puts,
    /// Linearizable reads of one key.
    Reads,
    /// Reads of what the node has.
    Local,
    /// Listings of 100,000 keys.
    Keys,
    /// From the leader's death to the first write that is acknowledged.
    Failover,
    /// Bytes written to disk for each write.
    Disk,
    /// Memory with 1,000,000 keys.
    Memory,
}

impl Arguments {
    fn plan(&self) -> Result<Plan> {
        if !(0.1..=3600.0).contains(&self.seconds) || !(0.0..=3600.0).contains(&self.warm_seconds) {
            bail!("--seconds must be from 0.1 to 3600, and --warm-seconds from 0");
        }
        let positive = |numbers: &[usize]| !numbers.is_empty() && numbers.iter().all(|number| *number > 0);
        let counts = [self.rounds, self.threads, self.channels, self.failovers];
        if ![&counts[..], &self.clients, &self.values].into_iter().all(positive) || self.keys == 0 {
            bail!(
                "numbers of rounds, threads, channels, clients, failovers and keys, and sizes of values, must be at least 1"
            );
        }
        let (mut needed, mut systems) =
            (vec![(&self.node, "build it with `cargo build --release`")], vec![System::Ours]);
        if !self.without_etcd {
            needed.push((&self.etcd, "install etcd-server"));
            systems.push(System::Etcd);
        }
        if let Some((program, what)) = needed.into_iter().find(|(program, _)| !program.is_file()) {
            bail!("there is no {}: {what}", program.display());
        }
        let directory = self.directory.canonicalize().with_context(|| self.directory.display().to_string())?;
        let places = Places { node: self.node.canonicalize()?, etcd: self.etcd.clone(), directory };
        let time = Duration::from_secs_f64(if self.quick { self.seconds.min(2.0) } else { self.seconds });
        Ok(Plan {
            places,
            systems,
            what: if self.only.is_empty() { What::value_variants().to_vec() } else { self.only.clone() },
            rounds: if self.quick { 1 } else { self.rounds },
            clients: self.clients.clone(),
            values: self.values.clone(),
            threads: self.threads,
            channels: self.channels,
            keys: self.keys,
            listed: if self.quick { 10_000 } else { 100_000 },
            held: if self.quick { 100_000 } else { 1_000_000 },
            failovers: if self.quick { 1 } else { self.failovers },
            warm: Duration::from_secs_f64(self.warm_seconds),
            time,
        })
    }
}

/// Measures until all is measured or somebody asks to stop. Whatever ends it, the servers end with it.
async fn measured(plan: &Plan) -> Result<Report> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        report = plan.run() => report,
        _ = terminated.recv() => bail!("stopped by SIGTERM"),
        _ = interrupted.recv() => bail!("stopped by SIGINT"),
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = arguments.plan()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measured(&plan))?;
    print!("{}", report.markdown());
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Without the trace that a debugging environment would add.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
