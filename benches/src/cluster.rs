//! Three nodes of one system on this machine, each a process with a fresh directory.

use crate::http::Connection;
use crate::process::Server;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const NODES: usize = 3;
/// For how long a cluster may be without a leader after its start.
const START_TIME: Duration = Duration::from_secs(30);
/// For how long a node may take to say who leads.
const STATUS_TIME: Duration = Duration::from_secs(1);
/// So that a store of either system holds whatever is written here.
const STORE_MAX_MIB: u64 = 8192;

/// Whose nodes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Ours,
    Etcd,
}

/// Where the programs are, and where their data goes.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) node: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) directory: PathBuf,
}

/// A running cluster. Its processes and its directory go with it.
pub(crate) struct Cluster {
    system: System,
    servers: Vec<Server>,
    /// Where clients are taken, as `HOST:PORT`, by node.
    addresses: Vec<String>,
    directory: TempDir,
}

impl Cluster {
    /// Starts three nodes and waits until one leads.
    pub(crate) async fn start(system: System, places: &Places) -> Result<(Cluster, usize)> {
        let directory = tempfile::Builder::new().prefix("versus-").tempdir_in(&places.directory)?;
        let ports = free_addresses(2 * NODES)?;
        let (peers, clients) = ports.split_at(NODES);
        let commands = match system {
            System::Ours => ours(&places.node, directory.path(), peers, clients)?,
            System::Etcd => etcd(&places.etcd, directory.path(), peers, clients),
        };
        let mut cluster = Cluster { system, servers: Vec::new(), addresses: clients.to_vec(), directory };
        for (index, command) in commands.into_iter().enumerate() {
            cluster.servers.push(Server::start(command, &cluster.log(index))?);
        }
        let leader = cluster.leader().await?;
        Ok((cluster, leader))
    }

    /// The node that leads, as it says itself, once all that run agree.
    pub(crate) async fn leader(&mut self) -> Result<usize> {
        let begin = Instant::now();
        while begin.elapsed() < START_TIME {
            for index in 0..NODES {
                if self.servers[index].has_ended() {
                    let said = fs::read_to_string(self.log(index)).unwrap_or_default();
                    bail!("node {index} of {:?} ended: {}", self.system, said.trim());
                }
                let asked = timeout(STATUS_TIME, leads(self.system, &self.addresses[index]));
                if matches!(asked.await, Ok(Ok(true))) {
                    return Ok(index);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("no node of {:?} leads after {START_TIME:?}", self.system)
    }

    /// Where node `index` takes clients.
    pub(crate) fn address(&self, index: usize) -> &str {
        &self.addresses[index]
    }

    /// Where the others do.
    pub(crate) fn others(&self, index: usize) -> Vec<String> {
        self.addresses.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, it)| it.clone()).collect()
    }

    /// The processes, by node.
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Kills node `index`.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        self.servers[index].kill()
    }

    fn log(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("node{index}.log"))
    }
}

fn ours(program: &Path, directory: &Path, peers: &[String], clients: &[String]) -> Result<Vec<Command>> {
    let node = |index: usize| {
        let data = directory.join(format!("data{index}"));
        json!({ "data": data, "rpc": peers[index], "store": clients[index] })
    };
    let nodes: Vec<Value> = (0..NODES).map(node).collect();
    let config = directory.join("config.json");
    fs::write(&config, json!({ "nodes": nodes, "store_max_mib": STORE_MAX_MIB }).to_string())?;
    let command = |index: usize| {
        let mut command = Command::new(program);
        command.arg(&config).arg(index.to_string()).args(["--log-level", "error"]);
        command
    };
    Ok((0..NODES).map(command).collect())
}

fn etcd(program: &Path, directory: &Path, peers: &[String], clients: &[String]) -> Vec<Command> {
    let url = |address: &str| format!("http://{address}");
    let members: Vec<String> = peers.iter().enumerate().map(|(at, peer)| format!("n{at}={}", url(peer))).collect();
    let command = |index: usize| {
        let mut command = Command::new(program);
        command.env_clear().arg("--data-dir").arg(directory.join(format!("data{index}"))).args([
            format!("--name=n{index}"),
            format!("--listen-client-urls={}", url(&clients[index])),
            format!("--advertise-client-urls={}", url(&clients[index])),
            format!("--listen-peer-urls={}", url(&peers[index])),
            format!("--initial-advertise-peer-urls={}", url(&peers[index])),
            format!("--initial-cluster={}", members.join(",")),
            format!("--quota-backend-bytes={}", STORE_MAX_MIB << 20),
            "--logger=zap".into(),
            "--log-level=error".into(),
        ]);
        command
    };
    (0..NODES).map(command).collect()
}

/// Whether the node at `address` says that it leads.
async fn leads(system: System, address: &str) -> Result<bool> {
    let mut connection = Connection::open(address).await?;
    let request = match system {
        System::Ours => crate::http::request("GET", "/status", ""),
        System::Etcd => crate::http::request("POST", "/v3/maintenance/status", "{}"),
    };
    let (status, body) = connection.exchange(&request).await?;
    if status != 200 {
        bail!("{address} answers {status}");
    }
    let said: Value = serde_json::from_slice(body).context("its status is no JSON")?;
    Ok(match system {
        System::Ours => said["role"] == "leader",
        System::Etcd => said["leader"].is_string() && said["leader"] == said["header"]["member_id"],
    })
}

/// Ports that are free now; all are held until all are known, so that they differ.
fn free_addresses(count: usize) -> Result<Vec<String>> {
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses = sockets.iter().map(|socket| Ok(socket.local_addr()?.to_string()));
    addresses.collect()
}
