//! `/kvstore/`: keys and their entries.

use super::Service;
use super::answer::{self, Fail, Reply, json};
use super::request::Ask;
use paxos_model::kv::{Answer, Put, Query, Reply as KvReply, Written};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Keys in one listing, if the request does not say.
const LIMIT_DEFAULT: u64 = u64::MAX;

impl Service {
    /// `GET /kvstore/`
    pub(super) async fn keys(&self, ask: &Ask) -> Result<Reply, Fail> {
        let text = |name| Ok::<Arc<str>, Fail>(ask.parameter(name)?.unwrap_or("").into());
        let limit = ask.number("limit")?.unwrap_or(LIMIT_DEFAULT);
        let query = Query::Keys { prefix: text("prefix")?, start: text("start")?, limit };
        match self.read(ask, query).await? {
            Answer::Keys(keys) => Ok(json(200, &keys)),
            other @ Answer::Entry(_) => Err(unexpected(&other)),
        }
    }

    /// `GET /kvstore/KEY`
    pub(super) async fn get(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        let above = ask.number("wait_ver_gt")?;
        let time = Duration::from_millis(ask.timeout_ms(self.timeout_ms)?.into());
        let mut status = self.node.status();
        let until = tokio::time::Instant::now() + time;
        loop {
            status.mark_unchanged();
            let entry = match self.read(ask, Query::Get(key.clone())).await? {
                Answer::Entry(entry) => entry,
                other @ Answer::Keys(_) => return Err(unexpected(&other)),
            };
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if above.is_none_or(|above| entry.ver > above) || left.is_zero() {
                return Ok(answer::entry(200, &entry));
            }
            let applied = status.borrow().applied;
            let _ = timeout(left, status.wait_for(|node| node.applied != applied)).await;
        }
    }

    /// `PUT /kvstore/KEY`
    pub(super) async fn put(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        let body = ask.put(&key)?;
        self.put_entry(ask, Put { key, val: body.val, ver: body.ver }).await
    }

    /// `DELETE /kvstore/KEY`
    pub(super) async fn delete(&self, ask: &Ask, key: Arc<str>) -> Result<Reply, Fail> {
        let ver = ask.number("ver")?;
        self.put_entry(ask, Put { key, val: "".into(), ver }).await
    }

    async fn put_entry(&self, ask: &Ask, put: Put) -> Result<Reply, Fail> {
        match self.write(ask, put).await? {
            KvReply::Written(written) => match written.as_slice() {
                [Written::Applied(entry)] => Ok(answer::entry(200, entry)),
                [Written::Conflict(entry)] => Ok(answer::entry(409, entry)),
                other => Err(unexpected(other)),
            },
            other @ KvReply::Collected(_) => Err(unexpected(&other)),
        }
    }
}

fn unexpected(answer: &(impl std::fmt::Debug + ?Sized)) -> Fail {
    Fail::new(500, format!("the state machine answers {answer:?}"))
}
