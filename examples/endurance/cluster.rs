//! Three nodes as processes of their own, and clients that write to them without a pause.

use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) const NODES: usize = 3;

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    /// Where clients are taken, by node.
    pub(crate) addresses: Vec<String>,
    children: Vec<Option<Child>>,
    traced: bool,
}

impl Cluster {
    /// Starts the nodes, with the limits that ship; they write down every step if they are to be `traced`.
    pub(crate) fn start(traced: bool) -> Result<Cluster, Failure> {
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
        let mut cluster = Cluster { directory, addresses, children: (0..NODES).map(|_| None).collect(), traced };
        for node in 0..NODES {
            cluster.run(node)?;
        }
        Ok(cluster)
    }

    pub(crate) fn run(&mut self, node: usize) -> Result<(), Failure> {
        let program = program()?;
        let config = self.directory.path().join("config.json");
        let mut command = Command::new(&program);
        command.arg(config).arg(node.to_string()).args(["--log-level", "error"]);
        if self.traced {
            command.arg("--trace").arg(self.directory.path().join("traces"));
        }
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it first: cargo build --release", program.display()))?;
        self.children[node] = Some(child);
        Ok(())
    }

    pub(crate) fn kill(&mut self, node: usize) -> Result<(), Failure> {
        if let Some(mut child) = self.children[node].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn status(&self, node: usize) -> Option<Value> {
        let url = format!("http://{}/status", self.addresses[node]);
        serde_json::from_str(&ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?).ok()
    }

    /// The node that leads, once one does and the others know.
    pub(crate) fn leader(&self) -> Result<usize, Failure> {
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
    pub(crate) fn sizes(&self) -> Result<Vec<(u64, u64)>, Failure> {
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

/// Writes with so many clients until `enough` says so; returns how long each write took, in microseconds, sorted.
pub(crate) fn write(
    address: &str,
    clients: u64,
    keys: u64,
    enough: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Vec<u32>, Failure> {
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
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let ended = clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")?);
        ended.collect::<Result<Vec<_>, Failure>>()
    })?
    .concat();
    all.sort_unstable();
    Ok(all)
}
