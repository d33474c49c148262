//! What an answer says to a client that asked for something.

use super::clients::{Client, Doing, Task, val};
use super::judge::history::{Act as Asked, Cut, Entry, Listing, NEVER, Outcome as Came};
use super::{Machine, Time};
use paxos::Outcome;
use paxos::node::Answered;
use paxos_model::kv::{self, Answer, Place, Reply, Written};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Done, Uncertainty};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempted {
    /// It is done, or read.
    Answered(Outcome),
    /// Certainly not done.
    Refused,
    /// Done once or not at all.
    Maybe,
    /// The same, and its session is not known.
    SessionLost,
}

impl Attempted {
    pub(crate) fn of(answered: Answered) -> Attempted {
        match answered {
            Answered::Outcome(outcome @ (Outcome::Done(_) | Outcome::Answer { .. })) => Attempted::Answered(outcome),
            Answered::Outcome(Outcome::Refused(_)) | Answered::Full => Attempted::Refused,
            Answered::Outcome(Outcome::Unknown(Uncertainty::SessionExpired)) => Attempted::SessionLost,
            Answered::Outcome(Outcome::Unknown(_)) | Answered::Interrupted => Attempted::Maybe,
        }
    }
}

fn entry(entry: &kv::Entry) -> Result<Entry, String> {
    let val = val(&entry.val).ok_or_else(|| format!("nobody wrote {entry:?}"))?;
    Ok(Entry { val, ver: entry.ver })
}

impl Client {
    /// Takes down that `task` is over without an answer.
    pub(crate) fn ends_unanswered(&mut self, task: &Task, now: Time) {
        if let Doing::Write { keys, val, ver } = &task.doing {
            let (end, came) = if task.maybe { (NEVER, Came::Unknown) } else { (now, Came::Refused) };
            for key in keys {
                self.record(key, task, end, Asked::Write { val: *val, ver: *ver }, came);
            }
        }
    }

    /// Takes down how `task` was answered at a node whose applied state is at hand, if it still lives. Returns the slot that a local read
    /// shows. The error is for what no node should answer.
    pub(crate) fn ends_answered(
        &mut self,
        task: &Task,
        now: Time,
        outcome: &Outcome,
        applied: Option<&Executor<Machine>>,
    ) -> Result<Option<Slot>, String> {
        let strange = || format!("every answer is one to what was asked: {:?} and {outcome:?}", task.doing);
        match (&task.doing, outcome) {
            (Doing::Write { keys, val, ver }, Outcome::Done(Done::Applied(Reply::Written(written)))) => {
                if written.len() != keys.len() {
                    return Err(strange());
                }
                for (key, written) in keys.iter().zip(written) {
                    let (Written::Applied(shown) | Written::Conflict(shown)) = written;
                    if *shown.key != **key {
                        return Err(strange());
                    }
                    let seen = entry(shown)?;
                    let came = match written {
                        Written::Applied(_) if seen.val == *val => Came::Applied(seen.ver),
                        Written::Applied(_) => return Err(strange()),
                        Written::Conflict(_) => Came::Seen(seen),
                    };
                    self.record(key, task, now, Asked::Write { val: *val, ver: *ver }, came);
                }
            }
            (Doing::Read(key), Outcome::Answer { answer: Answer::Entry(shown), .. }) if *shown.key == **key => {
                self.record(key, task, now, Asked::Read, Came::Seen(entry(shown)?));
            }
            (Doing::Local(key, before), Outcome::Answer { applied, answer: Answer::Entry(shown) })
                if *shown.key == **key =>
            {
                if applied < before {
                    return Err(format!(
                        "local reads never go back at a node: node {} showed slot {before}, and now {applied}",
                        task.node
                    ));
                }
                self.record(key, task, now, Asked::Local, Came::Seen(entry(shown)?));
                return Ok(Some(*applied));
            }
            (Doing::List(prefix), Outcome::Answer { answer: Answer::Keys(keys), .. }) => {
                let keys = keys.iter().map(|key| key.to_string()).collect();
                let listing = Listing { node: task.node, begin: task.begin, end: now, prefix, keys };
                self.history.listings.push(listing);
            }
            (Doing::Backup, Outcome::Answer { .. }) => {
                if let Some(applied) = applied {
                    self.history.cuts.push(cut(task, now, applied)?);
                }
            }
            (Doing::OpenSession, Outcome::Done(Done::Opened(session))) => self.has_session(*session),
            (Doing::Upkeep, Outcome::Done(Done::Applied(Reply::Collected(_)) | Done::Expired)) => {}
            _ => return Err(strange()),
        }
        Ok(None)
    }
}

/// All that is applied.
fn cut(task: &Task, end: Time, applied: &Executor<Machine>) -> Result<Cut, String> {
    let (mut floor, mut entries) = (0, BTreeMap::new());
    for (place, item) in applied.machine.items(None) {
        match place {
            Place::Floor => floor = item.ver,
            Place::Key(key) => {
                let shown = entry(&kv::Entry { key: key.clone(), val: item.val, ver: item.ver })?;
                entries.insert(key.to_string(), shown);
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    applied.machine.hash(&mut hasher);
    let checksum = format!("{:016x}", hasher.finish());
    Ok(Cut { node: task.node, begin: task.begin, end, slot: applied.applied, floor, entries, checksum })
}
