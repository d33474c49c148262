//! The nodes: the built program, one child process each, that end with this.

use super::network::Network;
use super::shim::Shim;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const RPC_PORT: u16 = 7000;
pub(crate) const STORE_PORT: u16 = 8000;
/// How long a node that is asked to stop may take.
const STOP_TIME: Duration = Duration::from_secs(20);

/// Loopback addresses of this run's own, so that a node that comes back finds its ports free whoever else is tested meanwhile.
fn own_address(last: u8) -> Ipv4Addr {
    let process = std::process::id();
    Ipv4Addr::new(127, 64 + (process >> 8 & 0x7f) as u8, (process & 0xff) as u8, last)
}

/// A process, and what is meant to be the case with it.
struct Node {
    child: Option<Child>,
    hangs: bool,
    /// Whether it may end by itself: its disk fails.
    may_end: bool,
    shim: Shim,
}

pub(crate) struct Nodes<'a> {
    directory: PathBuf,
    network: &'a Network,
    program: PathBuf,
    nodes: Vec<Node>,
    /// How much they keep of what they write down of every step, if they do.
    trace_mib: Option<u64>,
}

/// Where the nodes of a run listen for each other, and for clients, and where the links between them are.
pub(crate) struct Addresses {
    pub(crate) rpc: Vec<SocketAddr>,
    pub(crate) stores: Vec<SocketAddr>,
    pub(crate) links: SocketAddrV4,
}

impl Addresses {
    pub(crate) fn new(count: usize) -> Addresses {
        // Runs of one process have addresses of their own, too.
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let first = (RUNS.fetch_add(1, Ordering::Relaxed) % 25 * 10) as u8;
        let at = |port| (0..count as u8).map(|node| SocketAddr::from((own_address(first + node + 2), port))).collect();
        Addresses { rpc: at(RPC_PORT), stores: at(STORE_PORT), links: SocketAddrV4::new(own_address(first + 1), 0) }
    }
}

impl<'a> Nodes<'a> {
    /// Writes a configuration for each node, in which its peers are at the ends of the links to them; starts none.
    pub(crate) fn new(
        directory: &Path,
        program: &Path,
        network: &'a Network,
        fields: &[(&str, Value)],
        transports: &[&str],
        trace_mib: Option<u64>,
    ) -> io::Result<Nodes<'a>> {
        let stores = network.stores();
        let count = stores.len();
        let library = Shim::build(directory)?;
        let mut nodes = Vec::new();
        for node in 0..count {
            let members: Vec<Value> = (0..count)
                .map(|other| {
                    let data = directory.join(format!("data{other}"));
                    let rpc = network.rpc(node, other).to_string();
                    json!({"data": data, "rpc": rpc, "store": stores[other].to_string(), "transport": transports[other]})
                })
                .collect();
            let mut config = json!({ "nodes": members });
            for (name, value) in fields {
                config[*name] = value.clone();
            }
            fs::write(directory.join(format!("config{node}.json")), config.to_string())?;
            let shim = Shim::new(&library, &directory.join(format!("shim{node}")))?;
            nodes.push(Node { child: None, hangs: false, may_end: false, shim });
        }
        Ok(Nodes { directory: directory.into(), program: program.into(), network, nodes, trace_mib })
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.directory.join(format!("data{node}"))
    }

    /// Where the nodes' traces are.
    pub(crate) fn traces(&self) -> PathBuf {
        self.directory.join("traces")
    }

    fn log(&self, node: usize) -> PathBuf {
        self.directory.join(format!("log{node}"))
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.nodes[node].child.is_some()
    }

    pub(crate) fn start(&mut self, node: usize) -> io::Result<()> {
        if self.is_running(node) {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log(node))?;
        let mut command = self.network.command(node, &self.program);
        command.arg(self.directory.join(format!("config{node}.json"))).arg(node.to_string()).arg("--log-level=warn");
        if let Some(mib) = self.trace_mib {
            command.arg("--trace").arg(self.traces()).arg("--trace-mib").arg(mib.to_string());
        }
        self.nodes[node].shim.preload(&mut command);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(&self.directory).spawn()?;
        self.nodes[node].child = Some(child);
        self.nodes[node].hangs = false;
        Ok(())
    }

    /// Ends a node's process at once.
    pub(crate) fn kill(&mut self, node: usize) -> io::Result<()> {
        if let Some(mut child) = self.nodes[node].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks a node to stop, as an operator does.
    pub(crate) fn terminate(&mut self, node: usize) -> Result<(), String> {
        self.signal(node, "TERM").map_err(|error| error.to_string())?;
        let Some(mut child) = self.nodes[node].child.take() else { return Ok(()) };
        let end = Instant::now() + STOP_TIME;
        while Instant::now() < end {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(format!("node {node} was asked to stop, and ended with {status}{}", self.told(node)));
                }
                None => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("node {node} was asked to stop, and did not within {STOP_TIME:?}"))
    }

    /// Makes a process hang, or go on.
    pub(crate) fn hang(&mut self, node: usize, hangs: bool) -> io::Result<()> {
        if self.is_running(node) && self.nodes[node].hangs != hangs {
            self.signal(node, if hangs { "STOP" } else { "CONT" })?;
            self.nodes[node].hangs = hangs;
        }
        Ok(())
    }

    fn signal(&self, node: usize, signal: &str) -> io::Result<()> {
        if let Some(child) = &self.nodes[node].child {
            Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status()?;
        }
        Ok(())
    }

    /// The words to a node's disk and clock.
    pub(crate) fn shim(&mut self, node: usize) -> &mut Shim {
        &mut self.nodes[node].shim
    }

    /// What was done to disks and clocks so far: how often, and how many writes were undone.
    pub(crate) fn shims(&self) -> io::Result<(u64, u64)> {
        self.nodes
            .iter()
            .try_fold((0, 0), |(hits, undone), Node { shim, .. }| Ok((hits + shim.hits()?, undone + shim.undone()?)))
    }

    /// A node whose disk fails is to stop.
    pub(crate) fn may_end(&mut self, node: usize, may: bool) {
        self.nodes[node].may_end = may;
    }

    /// Takes note of nodes that ended by themselves; an error if that was not for them to do. Returns how many were entitled to.
    pub(crate) fn look(&mut self) -> Result<usize, String> {
        let mut ended = 0;
        for node in 0..self.count() {
            let Some(child) = &mut self.nodes[node].child else { continue };
            let Some(status) = child.try_wait().map_err(|error| error.to_string())? else { continue };
            self.nodes[node].child = None;
            let said: fn(ExitStatus) -> bool = |status| status.code() == Some(1);
            if !(self.nodes[node].may_end && said(status)) {
                return Err(format!("node {node} ended by itself with {status}{}", self.told(node)));
            }
            ended += 1;
        }
        Ok(ended)
    }

    /// The last lines of a node's log.
    pub(crate) fn told(&self, node: usize) -> String {
        let log = fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        lines.iter().rev().fold(String::new(), |told, line| told + "\n    " + line)
    }

    /// An error if any node ever panicked.
    pub(crate) fn panics(&self) -> Result<(), String> {
        for node in 0..self.count() {
            let log = fs::read(self.log(node)).map_err(|error| error.to_string())?;
            if let Some(line) = String::from_utf8_lossy(&log).lines().find(|line| line.contains("panicked")) {
                return Err(format!("node {node} panicked: {line}"));
            }
        }
        Ok(())
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        for node in 0..self.count() {
            let _ = self.kill(node);
        }
    }
}
