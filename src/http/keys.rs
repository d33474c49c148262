//! `/kvstore/`: keys and their entries.

use super::Service;
use super::answer::{self, Fail, Reply, json, unexpected};
use super::connections::stopped;
use super::request::Ask;
use paxos_model::kv::{Answer, Command, Entry, Put, Query, Reply as KvReply, Written};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Keys in one listing, if the request does not say.
const LIMIT_DEFAULT: u64 = u64::MAX;

impl Service {
    /// `GET /kvstore/`
    pub(super) async fn keys(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&["prefix", "start", "limit", "consistency"])?;
        let text = |name| Ok::<Arc<str>, Fail>(ask.parameter(name)?.unwrap_or("").into());
        let limit = ask.number("limit")?.unwrap_or(LIMIT_DEFAULT);
        let query = Query::Keys { prefix: text("prefix")?, start: text("start")?, limit };
        match self.read(ask, query, ask.is_local()?).await? {
            Answer::Keys(keys) => Ok(json(200, &keys)),
            other @ Answer::Entry(_) => Err(unexpected(&other)),
        }
    }

    /// `GET /kvstore/KEY`
    pub(super) async fn get(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        ask.only(&["consistency", "wait_ver_gt"])?;
        let above = ask.number("wait_ver_gt")?;
        let (mut status, mut stop) = (self.node.status(), self.stop.clone());
        // Noted before each read, so that what is applied meanwhile is not missed.
        let mut applied = status.borrow().applied;
        let mut entry = self.entry(ask, &key, ask.is_local()?).await?;
        // What this node applies after that is no earlier than what a confirmed read would show at the beginning of the request, so
        // waiting costs the cluster nothing.
        while above.is_some_and(|above| entry.ver <= above) {
            tokio::select! {
                changed = timeout_at(ask.until, status.wait_for(|node| node.applied != applied)) => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = stopped(&mut stop) => return Err(Fail::new(503, "the node stops; ask another")),
            }
            applied = status.borrow().applied;
            match self.entry(ask, &key, true).await {
                Ok(later) => entry = later,
                Err(_) if Instant::now() >= ask.until => break,
                Err(fail) => return Err(fail),
            }
        }
        Ok(answer::entry(200, &entry))
    }

    async fn entry(&self, ask: &Ask, key: &Arc<str>, local: bool) -> Result<Entry, Fail> {
        match self.read(ask, Query::Get(key.clone()), local).await? {
            Answer::Entry(entry) => Ok(entry),
            other @ Answer::Keys(_) => Err(unexpected(&other)),
        }
    }

    /// `PUT /kvstore/KEY`
    pub(super) async fn put(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        ask.only(&[])?;
        let body = ask.put(&key)?;
        self.put_entry(ask, Put { key, val: body.val, ver: body.ver }).await
    }

    /// `DELETE /kvstore/KEY`
    pub(super) async fn delete(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        ask.only(&["ver"])?;
        let ver = ask.version()?;
        self.put_entry(ask, Put { key, val: "".into(), ver }).await
    }

    async fn put_entry(&self, ask: &Ask, put: Put) -> Result<Reply, Fail> {
        match self.command(ask, Command::Write { puts: vec![put], atomic: false }).await? {
            KvReply::Written(written) => match written.as_slice() {
                [Written::Applied(entry)] => Ok(answer::entry(200, entry)),
                [Written::Conflict(entry)] => Ok(answer::entry(409, entry)),
                other => Err(unexpected(other)),
            },
            other @ KvReply::Collected(_) => Err(unexpected(&other)),
        }
    }
}
