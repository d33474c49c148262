//! What is measured, in which order: whatever is compared is measured shortly one after the other, on fresh clusters, in changing order.

use crate::What;
use crate::cluster::{Cluster, Places, System};
use crate::door::{Caller, Door, Operation, callers};
use crate::load::{Load, Measured, fill, value};
use crate::report::{Cell, Disk, Memory, Report};
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Clients that fill a store.
const FILLERS: usize = 64;
/// The size of the values where only one is measured.
const SMALL: usize = 32;
/// How long a cluster may go without a leader once it was killed.
const FAILOVER_MAX: Duration = Duration::from_secs(30);
/// How often a write is tried at each node that is left.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);
/// What is written in the background is written after so long.
const SETTLE: Duration = Duration::from_millis(1500);
/// Clients and writes of the measurement of what is written to disk.
const DISK_LOADS: [(usize, u64); 2] = [(1, 2_000), (64, 20_000)];

/// What is to be measured, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) places: Places,
    /// Never empty.
    pub(crate) systems: Vec<System>,
    pub(crate) what: Vec<What>,
    pub(crate) rounds: usize,
    pub(crate) clients: Vec<usize>,
    pub(crate) values: Vec<usize>,
    pub(crate) threads: usize,
    pub(crate) channels: usize,
    /// Keys that are written and read.
    pub(crate) keys: u64,
    /// Keys that are listed.
    pub(crate) listed: u64,
    /// Keys that are held in memory.
    pub(crate) held: u64,
    pub(crate) failovers: usize,
    pub(crate) warm: Duration,
    pub(crate) time: Duration,
}

/// Some kind of load.
#[derive(Clone, Copy, Debug)]
struct Kind {
    what: What,
    operation: Operation,
}

const PUTS: Kind = Kind { what: What::Puts, operation: Operation::Put };
const READS: Kind = Kind { what: What::Reads, operation: Operation::Read };
const LOCAL: Kind = Kind { what: What::Local, operation: Operation::LocalRead };
const KEYS: Kind = Kind { what: What::Keys, operation: Operation::Keys };

fn note(text: &str) {
    eprintln!("{text}");
}

impl Plan {
    /// Measures all.
    pub(crate) async fn run(&self) -> Result<Report> {
        let mut report = Report::new(self);
        for round in 0..self.rounds {
            let mut systems = self.systems.clone();
            systems.rotate_left(round % self.systems.len());
            for (at, bytes) in self.values.iter().enumerate() {
                // What a node reads by itself depends little on the value: one size tells enough.
                let local = Some(LOCAL).filter(|_| at == 0);
                let kinds = [Some(PUTS), Some(READS), local].into_iter().flatten();
                let kinds: Vec<Kind> = kinds.filter(|kind| self.what.contains(&kind.what)).collect();
                for clients in self.clients.iter().filter(|_| !kinds.is_empty()) {
                    for system in systems.iter().copied() {
                        self.cells(&mut report, system, &kinds, *bytes, *clients, Operation::Put, self.keys).await?;
                    }
                }
            }
            for system in systems.iter().copied() {
                if self.what.contains(&What::Keys) {
                    self.cells(&mut report, system, &[KEYS], SMALL, 1, Operation::Bulk, self.listed).await?;
                }
            }
        }
        for round in 0..self.failovers {
            for system in self.systems.iter().copied() {
                if self.what.contains(&What::Failover) {
                    note(&format!("failover {round}: {system:?}"));
                    let time = self.failover(system).await.with_context(|| format!("failover of {system:?}"))?;
                    report.failovers.push((system, time));
                }
            }
        }
        for system in self.systems.iter().copied() {
            if self.what.contains(&What::Disk) {
                for bytes in &self.values {
                    self.disk(&mut report, system, *bytes).await.with_context(|| format!("disk of {system:?}"))?;
                }
            }
            if self.what.contains(&What::Memory) {
                self.memory(&mut report, system).await.with_context(|| format!("memory of {system:?}"))?;
            }
        }
        Ok(report)
    }

    /// Measures each of `kinds` through each door of `system`, on one cluster that was filled before.
    #[allow(clippy::too_many_arguments, reason = "each is another dimension of the table")]
    async fn cells(
        &self,
        report: &mut Report,
        system: System,
        kinds: &[Kind],
        bytes: usize,
        clients: usize,
        filling: Operation,
        keys: u64,
    ) -> Result<()> {
        let (mut cluster, leader) = Cluster::start(system, &self.places).await?;
        let val = value(bytes)?;
        fill(by_door(system), cluster.address(leader), filling, FILLERS, keys, &val).await.context("filling")?;
        for kind in kinds {
            for door in Door::ALL.into_iter().filter(|door| door.system() == system) {
                let load = Load {
                    door,
                    operation: kind.operation,
                    clients,
                    threads: self.threads.min(clients),
                    channels: self.channels,
                    keys,
                    val: val.clone(),
                    warm: self.warm,
                    time: self.time,
                };
                let name = format!("{:?}, {bytes} B, {clients} clients, {}", kind.what, door.name());
                let measured = load.run(&cluster, leader).await.with_context(|| name.clone())?;
                if measured.latencies.is_empty() {
                    bail!("{name}: nothing was answered in {:?}", self.time);
                }
                note(&format!("{name}: {:.0}/s", measured.rate()));
                report.cells.push(Cell { what: kind.what, bytes, clients, door, measured });
            }
        }
        if cluster.leader().await? != leader {
            note("the leader changed meanwhile: what was measured last went through a follower");
            report.leader_changes += 1;
        }
        Ok(())
    }

    /// How long it takes from the leader's death to the first write that is acknowledged by any of the others.
    async fn failover(&self, system: System) -> Result<Duration> {
        let (mut cluster, leader) = Cluster::start(system, &self.places).await?;
        let (door, val) = (by_door(system), value(SMALL)?);
        fill(door, cluster.address(leader), Operation::Put, 1, 100, &val).await?;
        // Followers have just heard of the leader or not: that is part of what is measured.
        sleep(Duration::from_millis(500)).await;
        let mut ready = Vec::new();
        for address in cluster.others(leader) {
            ready.extend(callers(door, &address, 1, 1).await?);
        }
        let begin = Instant::now();
        cluster.kill(leader)?;
        timeout(FAILOVER_MAX, first_write(door, &cluster.others(leader), ready, &val)).await?;
        Ok(begin.elapsed())
    }

    async fn disk(&self, report: &mut Report, system: System, bytes: usize) -> Result<()> {
        for (clients, writes) in DISK_LOADS {
            note(&format!("disk, {bytes} B, {clients} clients: {system:?}"));
            let (cluster, leader) = Cluster::start(system, &self.places).await?;
            let (door, address, val) = (by_door(system), cluster.address(leader), value(bytes)?);
            fill(door, address, Operation::Put, FILLERS, self.keys, &val).await?;
            sleep(SETTLE).await;
            let before = written(&cluster)?;
            fill(door, address, Operation::Put, clients, writes, &val).await?;
            sleep(SETTLE).await;
            let written = (written(&cluster)? - before) as f64 / writes as f64;
            report.disks.push(Disk { system, bytes, clients, written });
        }
        Ok(())
    }

    async fn memory(&self, report: &mut Report, system: System) -> Result<()> {
        note(&format!("memory with {} keys: {system:?}", self.held));
        let (cluster, leader) = Cluster::start(system, &self.places).await?;
        let begin = Instant::now();
        let val = value(SMALL)?;
        fill(by_door(system), cluster.address(leader), Operation::Bulk, FILLERS, self.held, &val).await?;
        let seconds = begin.elapsed().as_secs_f64();
        sleep(SETTLE).await;
        let nodes = cluster.servers().iter().map(|server| server.memory()).collect::<Result<Vec<_>>>()?;
        report.memories.push(Memory { system, leader, nodes, seconds });
        Ok(())
    }
}

/// The way that costs etcd least, where only what its nodes do is measured.
fn by_door(system: System) -> Door {
    if system == System::Ours { Door::Ours } else { Door::Grpc }
}

fn written(cluster: &Cluster) -> Result<u64> {
    cluster.servers().iter().map(|server| server.written_bytes()).sum()
}

/// Writes at all `addresses` again and again, without awaiting the attempts before, until one is acknowledged: so a client's own pauses are no part
/// of the time.
async fn first_write(door: Door, addresses: &[String], ready: Vec<Caller>, val: &Arc<str>) {
    async fn attempt(mut caller: Caller, val: Arc<str>) -> bool {
        caller.call(Operation::Put, 0, &val).await.is_ok()
    }
    let mut attempts = JoinSet::new();
    for caller in ready {
        attempts.spawn(attempt(caller, val.clone()));
    }
    loop {
        tokio::select! {
            Some(ended) = attempts.join_next() => if matches!(ended, Ok(true)) {
                return;
            },
            () = sleep(ATTEMPT_PAUSE) => for address in addresses {
                if let Ok(callers) = callers(door, address, 1, 1).await {
                    callers.into_iter().for_each(|caller| drop(attempts.spawn(attempt(caller, val.clone()))));
                }
            },
        }
    }
}

impl Measured {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }
}
