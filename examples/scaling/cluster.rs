//! A cluster of real loops with real stores in this process, and a load on its leader.

use crate::Failure;
use crate::commits::ROOM;
use crate::links::{self, Links};
use crate::load::{self, Load};
use crate::predict::Setting;
use crate::write::write;
use paxos::model::replica::Options;
use paxos::model::replica::configuration::Configuration;
use paxos::node::{self, Ended, NodeHandle, Settings};
use paxos::storage::disk::DiskStore;
use stateright::actor::Id;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// As a node has it.
const INPUTS_MAX: usize = 16 * 1024;

/// A running cluster, of which node 0 leads.
pub(crate) struct Cluster {
    nodes: Vec<(NodeHandle, JoinHandle<Ended>)>,
    links: Vec<JoinHandle<()>>,
    dropped: Arc<AtomicU64>,
    written: u64,
    /// Goes last: the stores are in it.
    _directory: TempDir,
}

impl Cluster {
    /// Starts one as `setting` says, with stores below `directory`.
    pub(crate) fn start(setting: &Setting, directory: &Path) -> Result<Cluster, Failure> {
        let directory = tempfile::tempdir_in(directory)?;
        let half = Duration::from_secs_f64(setting.round_trip / 2.0);
        let dropped = Arc::new(AtomicU64::new(0));
        let ids: Vec<Id> = (0..setting.nodes).map(Id::from).collect();
        let (ways, arriving): (Vec<_>, Vec<_>) = ids.iter().map(|_| links::way()).unzip();
        let (mut nodes, mut links) = (Vec::new(), Vec::new());
        for (id, arriving) in ids.iter().zip(arriving) {
            let ways = ids.iter().copied().zip(ways.iter().cloned()).filter(|(dst, _)| dst != id).collect();
            let sends = Links { src: *id, half, ways, dropped: dropped.clone() };
            let index = usize::from(*id);
            let store = DiskStore::open(&directory.path().join(index.to_string()), "scaling", index as u64, ROOM)?;
            let settings = Settings {
                id: *id,
                configuration: Configuration::of_voters(setting.nodes),
                options: options(setting, index == 0),
                inputs_max: INPUTS_MAX,
            };
            let (node, thread) = node::start(settings, store, Arc::new(sends), None)?;
            links.push(links::deliver(node.clone(), arriving, dropped.clone())?);
            nodes.push((node, thread));
        }
        drop(ways);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut status = nodes[0].0.status();
        let leads = async { timeout(PATIENCE, status.wait_for(|status| status.role == "leader")).await.map(|_| ()) };
        runtime.block_on(leads)?;
        Ok(Cluster { nodes, links, dropped, written: 0, _directory: directory })
    }

    /// Keeps `asks` writes of so many bytes under way at the leader, and measures for `time` after `warm`.
    pub(crate) fn load(
        &mut self,
        asks: usize,
        value_bytes: usize,
        warm: Duration,
        time: Duration,
    ) -> Result<Load, Failure> {
        let leader = &self.nodes[0].0;
        let next = || {
            self.written += 1;
            write(self.written, value_bytes)
        };
        let load = load::run(leader, asks, next, warm, time)?;
        if leader.status().borrow().role != "leader" {
            return Err("the leader changed".into());
        }
        Ok(load)
    }

    /// Stops the nodes and waits for their threads. Returns how many messages were dropped until then.
    pub(crate) fn stop(self) -> Result<u64, Failure> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        self.nodes.iter().for_each(|(node, _)| node.stop());
        for (node, thread) in self.nodes {
            drop(node);
            thread.join().map_err(|_| "a node panicked")??;
        }
        for link in self.links {
            link.join().map_err(|_| "a link panicked")?;
        }
        Ok(dropped)
    }
}

/// Those that ship, but for the pipeline and the times, which are several round trips; the first node is the one that wants to lead.
fn options(setting: &Setting, leads: bool) -> Options {
    let resend = Duration::from_millis(50).max(Duration::from_secs_f64(5.0 * setting.round_trip));
    let election = if leads { 2 * resend..3 * resend } else { 20 * resend..30 * resend };
    Options { election, resend, pipeline: setting.pipeline, ..Options::default() }
}
