//! `GET /backup`: everything that is in the store at one moment, as a stream; and `POST /restore`, by which it comes back.

use super::answer::{self, Fail, Reply, json, unexpected};
use super::operator::PROBE;
use super::request::Ask;
use super::{GRACE, Service};
use crate::backup::Parts;
use crate::object::Object;
use crate::{KEY_MAX, Machine, Outcome, RESTORE_MAX, Request, VALUE_MAX};
use futures_util::stream;
use paxos_model::kv::{Command, Entry, FLOOR_MAX, Put, Query, Reply as KvReply, VERSION_MAX, Written};
use paxos_model::machine::StateMachine;
use serde::Deserialize;
use serde_json::json as value;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout_at;

/// Backups that are read at a time: while there is one, what it shares with the store is kept.
pub(super) const BACKUPS_MAX: usize = 2;
/// As much is restored at a time: a key and a value of the longest fit.
const RESTORE_BYTES: usize = VALUE_MAX + KEY_MAX + 512;

/// The body of a `POST /restore`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// Entries, with their versions.
    Entries(Vec<Object<Restored>>),
    /// The version that absent keys show; what is restored last.
    Floor(u64),
}

/// An entry as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restored {
    key: Arc<str>,
    val: Arc<str>,
    ver: u64,
}

/// What is sent of a backup, and what it holds meanwhile.
struct Sending {
    parts: Parts,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Iterator for Sending {
    type Item = Result<Vec<u8>, &'static str>;

    /// A node that is to stop breaks off, and who reads sees that the end is missing.
    fn next(&mut self) -> Option<Self::Item> {
        if *self.stop.borrow() {
            return Some(Err("the node stops"));
        }
        let part = self.parts.next()?;
        metrics::counter!("paxos_http_sent_bytes_total").increment(part.len() as u64);
        Some(Ok(part))
    }
}

impl Service {
    /// `GET /backup`. Its time is that to the first byte; then it goes on for as long as somebody reads.
    pub(super) async fn backup(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        let busy = |_| Fail::new(503, format!("{BACKUPS_MAX} backups are being read, as many as there may be"));
        let place = self.backups.clone().try_acquire_owned().map_err(busy)?;
        let confirmed = match self.ask(ask, Request::Read(Query::Get(PROBE.into()))).await? {
            Outcome::Answer { applied, .. } => applied,
            other => return Err(Fail::new(500, format!("a read was answered with {other:?}"))),
        };
        let late = || Fail::new(503, "the node does not answer in time");
        let executor = timeout_at(ask.until + GRACE, self.node.applied()).await.map_err(|_| late())?;
        let executor = executor.map_err(|_| Fail::overloaded())?;
        if executor.applied < confirmed {
            return Err(Fail::new(503, "the node has begun anew, since its store is full; ask another"));
        }
        let parts = Parts::new(&self.about.cluster, executor.applied, executor.machine);
        Ok(answer::stream(stream::iter(Sending { parts, stop: self.stop.clone(), _place: place })))
    }

    /// `POST /restore`. A deleted key is there already if it is absent and the floor is no lower: then it was collected.
    pub(super) async fn restore(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        let part: Part = serde_json::from_slice(ask.body()?).map_err(|error| {
            Fail::new(
                400,
                format!(r#"the body must be {{"entries": [{{"key", "val", "ver"}}, …]}} or {{"floor"}}: {error}"#),
            )
        })?;
        let entries = match part {
            Part::Entries(entries) => entries,
            Part::Floor(to) if to > FLOOR_MAX => {
                return Err(Fail::new(400, format!("floor is {to}, and may be at most {FLOOR_MAX}")));
            }
            Part::Floor(to) => {
                return match self.command(ask, Command::RaiseFloor { to }).await? {
                    KvReply::Collected(floor) => Ok(json(200, &value!({"floor": floor}))),
                    other @ KvReply::Written(_) => Err(unexpected(&other)),
                };
            }
        };
        if entries.len() > RESTORE_MAX {
            return Err(Fail::new(413, format!("at most {RESTORE_MAX} entries are restored at a time")));
        }
        let entries: Vec<Entry> =
            entries.into_iter().map(|Object(Restored { key, val, ver })| Entry { key, val, ver }).collect();
        let puts = entries.iter().map(checked).collect::<Result<Vec<Put>, Fail>>()?;
        let command = Command::Write { puts, atomic: false };
        if Machine::size(&command) > RESTORE_BYTES {
            return Err(Fail::new(413, format!("the entries are more than {RESTORE_BYTES} bytes")));
        }
        let written = match self.command(ask, command).await? {
            KvReply::Written(written) => written,
            other @ KvReply::Collected(_) => return Err(unexpected(&other)),
        };
        let (mut applied, mut present) = (0, 0);
        for (written, entry) in written.into_iter().zip(&entries) {
            match written {
                Written::Applied(_) => applied += 1,
                Written::Conflict(there) if there == *entry || there.val.is_empty() && entry.val.is_empty() => {
                    present += 1;
                }
                Written::Conflict(there) => return Ok(answer::entry(409, &there)),
            }
        }
        Ok(json(200, &value!({"restored": applied, "present": present})))
    }
}

/// The write of an entry, if it is one that a store can have.
fn checked(entry: &Entry) -> Result<Put, Fail> {
    let Entry { key, val, ver } = entry;
    if !(1..=KEY_MAX).contains(&key.len()) || val.len() > VALUE_MAX || !(1..=VERSION_MAX).contains(ver) {
        return Err(Fail::new(400, format!("the entry of the key {key:?} is none that a store can have")));
    }
    Ok(Put { key: key.clone(), val: val.clone(), ver: Some(*ver) })
}
