//! What operators ask: whether the node is alive and ready, what it says of itself, its metrics.

use super::answer::{self, Fail, Reply, json};
use super::request::Ask;
use super::{About, Service};
use crate::metrics;
use crate::model::kv::Query;
use crate::protocol;
use serde_json::{Value, json as value};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The key that it is probed with whether a node is current: none that a client can name.
pub(super) const PROBE: &str = "";

impl Service {
    /// `GET /healthz`: this process answers.
    pub(super) fn alive(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        Ok(json(200, &value!({"alive": true})))
    }

    /// `GET /readyz`: whether this node hears a quorum and has caught up. The replica says so itself by a linearizable read: a quorum
    /// confirms it in a round that begins after it, and it is served once everything decided by then is applied here.
    pub(super) async fn ready(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        match self.read(ask, Query::Get(PROBE.into()), false).await {
            Ok(_) => Ok(json(200, &value!({"ready": true}))),
            Err(fail) => Err(Fail::new(503, format!("not ready: {}", fail.why))),
        }
    }

    /// `GET /metrics`
    pub(super) fn metrics(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        metrics::tell_node(self.about.node, &self.node.status().borrow(), self.node.queued());
        Ok(answer::text(self.metrics.render()))
    }

    /// `GET /status`
    pub(super) fn status(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        let node = self.node.status().borrow().clone();
        let About { node: number, cluster, store, members, data, started } = &*self.about;
        let members: Vec<Value> = members
            .iter()
            .zip(0u64..)
            .map(|(member, number)| value!({"node": number, "rpc": member.rpc, "store": member.store}))
            .collect();
        Ok(json(
            200,
            &value!({
                "node": number,
                "cluster": cluster,
                "store": store,
                "role": node.role,
                "leader": node.leader.map(usize::from),
                "ballot": node.ballot.to_string(),
                "decided": node.decided,
                "applied": node.applied,
                "snapshot": node.snapshot,
                "first": node.first,
                "protocol": {"digest": protocol::DIGEST, "checked": protocol::CHECKED},
                "members": members,
                "uptime_seconds": started.elapsed().as_secs(),
                "full": node.full,
                "sizes": {
                    "log_slots": node.log_slots,
                    "sessions": node.sessions,
                    "tombstones": node.tombstones,
                    "requests": node.requests,
                    "store_bytes": bytes_on_disk(data),
                },
            }),
        ))
    }
}

/// What a directory's files take up on the disk; sparse ones less than they are long.
fn bytes_on_disk(directory: &Path) -> Option<u64> {
    let files = std::fs::read_dir(directory).ok()?;
    Some(files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.blocks() * 512).sum())
}
