//! `node`: one node of a cluster, or a whole cluster to try out.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use metrics_exporter_prometheus::PrometheusHandle;
use paxos::config::{Config, NodeConfig};
use paxos::metrics;
use paxos::protocol;
use paxos::server::{Server, Sockets};
use paxos::storage::disk::DiskStore;
use paxos::trace::Trace;
use paxos::transport::pins::Pins;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A node of a replicated key-value store.
///
/// Exit status: 0 it was asked to stop, by SIGTERM or SIGINT, and did; 1 it could not start or go on, and says why; 2 wrong usage.
#[derive(Parser)]
#[command(version = paxos::protocol::VERSION, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    /// The configuration file.
    #[arg(required = true)]
    config: Option<PathBuf>,
    /// Which of its nodes this is, counted from 0.
    #[arg(required = true)]
    index: Option<usize>,
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    tracing: Tracing,
    /// Refuses to start unless the protocol that this program was built from is the one that was checked.
    #[arg(long, global = true)]
    require_checked: bool,
}

#[derive(Args, Clone)]
struct Log {
    /// What is logged: a level, or directives as in RUST_LOG, which goes before.
    #[arg(long, global = true, default_value = "info")]
    log_level: String,
    /// Logs one JSON object a line.
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Args, Clone)]
struct Tracing {
    /// Writes every step of the replica to files in this directory, for `check replay`.
    #[arg(long, global = true, value_name = "DIR")]
    trace: Option<PathBuf>,
    /// How much of it is kept, in MiB: the latest.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    trace_mib: u64,
}

impl Tracing {
    /// The trace of node `index`, if there is to be one.
    fn create(&self, config: &Config, index: usize) -> Result<Option<Trace>, String> {
        let create = |directory: &PathBuf| Trace::create(directory, &config.cluster, index as u64, self.trace_mib);
        self.trace.as_ref().map(create).transpose()
    }
}

#[derive(Subcommand)]
enum Task {
    /// Runs a whole cluster in one process on free ports, and prints its addresses.
    Dev {
        /// How many nodes: 1, 2, 3, 5 or 7.
        #[arg(long, default_value_t = 3, value_parser = count)]
        nodes: usize,
        /// Where the nodes keep their data; a temporary directory if not given.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Says that a peer has a new store, and is to be let in with it: run it for every node that refuses the peer, while that node is stopped.
    Replace {
        /// The configuration file.
        config: PathBuf,
        /// The node that is told, counted from 0.
        index: usize,
        /// The peer whose store is new, counted from 0.
        peer: usize,
    },
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| matches!(count, 1 | 2 | 3 | 5 | 7))
        .ok_or_else(|| "it must be 1, 2, 3, 5 or 7".into())
}

/// File descriptors that are kept back for peers, the disk and the log.
const DESCRIPTORS_KEPT: u64 = 128;

/// Raises the limit of file descriptors, and takes no more connections at each of `nodes` in this process than it allows.
fn fit_connections(config: &mut Config, nodes: usize) -> Result<(), String> {
    let limit =
        rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("cannot raise the limit of files: {error}"))?;
    let each = usize::try_from(limit.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(usize::MAX) / nodes;
    if each == 0 {
        return Err(format!("this process may have {limit} open files: allow it more (`ulimit -n`)"));
    }
    if each < config.connections_max {
        tracing::warn!(limit, connections = each, "fewer connections than connections_max: so many files may be open");
        config.connections_max = each;
    }
    Ok(())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.command.is_some() && cli.config.is_some() {
        // Not left to the parser, which would count the options of the log among what a command excludes.
        Cli::command().error(ErrorKind::ArgumentConflict, "a configuration file goes after the command").exit();
    }
    if let Err(why) = start_log(&cli.log) {
        return fail(&why);
    }
    if cli.require_checked
        && let Err(why) = protocol::require(protocol::CHECKED)
    {
        return fail(&why);
    }
    if protocol::CHECKED {
        tracing::info!("{}", protocol::TOLD);
    } else {
        tracing::warn!("{}", protocol::TOLD);
    }
    let ended = match cli.command {
        Some(Task::Replace { config, index, peer }) => replace(&config, index, peer),
        Some(Task::Dev { nodes, data }) => run(dev(nodes, data, &cli.tracing)),
        None => match (cli.config, cli.index) {
            (Some(config), Some(index)) => run(one(config, index, &cli.tracing)),
            _ => unreachable!("the command line requires both"),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "node: {why}");
    ExitCode::FAILURE
}

/// Prints a line; if nobody can read it the node goes on.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn start_log(log: &Log) -> Result<(), String> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let directives = from_environment.unwrap_or_else(|| log.log_level.clone());
    let failed = |error: &dyn std::fmt::Display| format!("log level {directives:?}: {error}");
    // A single word would be taken for a part of the program, and a mistyped level would silence all the others.
    if directives.chars().all(char::is_alphanumeric) {
        directives.parse::<LevelFilter>().map_err(|_| failed(&"it must be off, error, warn, info, debug or trace"))?;
    }
    let filter = EnvFilter::try_new(&directives).map_err(|error| failed(&error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A log that cannot be written must not end the node.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    if log.log_json {
        builder.json().init()
    } else {
        builder.init()
    }
    Ok(())
}

fn run(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    // One processor is left to the thread that steps the replica.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.saturating_sub(1).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(work)
}

async fn one(file: PathBuf, index: usize, tracing: &Tracing) -> Result<(), String> {
    let mut config = Config::read(&file).map_err(|error| error.to_string())?;
    fit_connections(&mut config, 1)?;
    let node = config.node(index).map_err(|error| error.to_string())?;
    let signals = Signals::take()?;
    let sockets = Sockets::bind(&node.rpc, &node.store).await.map_err(|error| format!("nodes[{index}].{error}"))?;
    let trace = tracing.create(&config, index)?;
    let server = open(&config, index, &node.data, sockets, metrics::install()?, trace)?;
    say(format_args!("node {index} serves http://{}/kvstore/", server.address));
    until_stopped(vec![server], signals).await
}

fn open(
    config: &Config,
    index: usize,
    data: &Path,
    sockets: Sockets,
    metrics: PrometheusHandle,
    trace: Option<Trace>,
) -> Result<Server, String> {
    let bytes_max = config.store_max_mib << 20;
    let here = |error: String| format!("nodes[{index}].data: {error}");
    let store =
        DiskStore::open(data, &config.cluster, index as u64, bytes_max).map_err(|error| here(error.to_string()))?;
    let pins = pins(config, data, &store).map_err(here)?;
    Server::start(config, index, store, pins, sockets, metrics, trace)
}

/// The peers' stores as they are known beside `store`.
fn pins(config: &Config, data: &Path, store: &DiskStore) -> Result<Pins, String> {
    let used = store.is_used().map_err(|error| error.to_string())?;
    Pins::open(Some(data), config.nodes.len() as u64, used)
}

async fn dev(count: usize, data: Option<PathBuf>, tracing: &Tracing) -> Result<(), String> {
    let signals = Signals::take()?;
    let temporary = match data {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|error| format!("cannot make a temporary directory: {error}"))?),
    };
    let root = data.or_else(|| temporary.as_ref().map(|dir| dir.path().into())).unwrap_or_default();
    let mut sockets = Vec::new();
    let mut nodes = Vec::new();
    for index in 0..count {
        let bound = Sockets::bind("127.0.0.1:0", "127.0.0.1:0").await?;
        let address = |listener: &tokio::net::TcpListener| {
            listener.local_addr().map(|address| address.to_string()).map_err(|error| error.to_string())
        };
        let data = root.join(format!("node{index}"));
        nodes.push(NodeConfig { data, rpc: address(&bound.tcp)?, store: address(&bound.http)?, transport: None });
        sockets.push(bound);
    }
    let mut config = Config::of_nodes(nodes);
    fit_connections(&mut config, count)?;
    config.validate().map_err(|error| error.to_string())?;
    let metrics = metrics::install()?;
    let mut servers = Vec::new();
    for (index, bound) in sockets.into_iter().enumerate() {
        let trace = tracing.create(&config, index)?;
        let server = open(&config, index, &config.nodes[index].data, bound, metrics.clone(), trace)?;
        say(format_args!("node {index} serves http://{}/kvstore/", server.address));
        servers.push(server);
    }
    until_stopped(servers, signals).await
}

/// The signals that ask to stop. Taken before a node says that it serves: until then they end the process, and nothing was promised.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> Result<Signals, String> {
        let take = |kind| signal(kind).map_err(|error| format!("cannot take signals: {error}"));
        Ok(Signals { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }
}

/// Runs until a signal asks to stop, or a node can't go on.
async fn until_stopped(mut servers: Vec<Server>, mut signals: Signals) -> Result<(), String> {
    let failed = futures_util::future::select_all(servers.iter_mut().map(|server| Box::pin(server.failed())));
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
        (why, index, _) = failed => return Err(format!("node {index} stopped: {why}")),
    }
    tracing::info!("stopping");
    let ended = futures_util::future::join_all(servers.into_iter().map(Server::stop)).await;
    ended.into_iter().collect()
}

fn replace(file: &Path, index: usize, peer: usize) -> Result<(), String> {
    let config = Config::read(file).map_err(|error| error.to_string())?;
    let node = config.node(index).map_err(|error| error.to_string())?;
    config.node(peer).map_err(|error| error.to_string())?;
    if peer == index {
        return Err(format!("node {peer} is told about its peers, not about itself"));
    }
    if !node.data.is_dir() {
        return Err(format!("nodes[{index}].data: there is no directory {}", node.data.display()));
    }
    // A node that runs would not notice, so its store is held meanwhile.
    let bytes_max = config.store_max_mib << 20;
    let store = DiskStore::open(&node.data, &config.cluster, index as u64, bytes_max)
        .map_err(|error| format!("nodes[{index}].data: {error}"))?;
    let pins = pins(&config, &node.data, &store).map_err(|why| format!("nodes[{index}].data: {why}"))?;
    match pins.forget(peer as u64) {
        Ok(true) => say(format_args!("node {index} will take the next store that node {peer} comes with")),
        Ok(false) => say(format_args!("node {index} knew no store of node {peer}")),
        Err(error) => return Err(format!("cannot write {}: {error}", node.data.display())),
    }
    Ok(())
}
