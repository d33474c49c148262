//! What one key-value store on one machine would answer: the naive twin that histories are compared with.

use paxos_model::kv::{Answer, Command, Entry, FLOOR_MAX, Query, Reply, VERSION_MAX, Written};
use paxos_model::replica::message::SessionId;
use stateright::semantics::SequentialSpec;
use std::collections::BTreeMap;

/// An operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A command.
    Command(Command),
    /// A linearizable read.
    Query(Query),
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// The command was carried out.
    Reply(Reply),
    /// What was read.
    Answer(Answer),
    /// A session was opened. Not judged here.
    Session(SessionId),
    /// It was not carried out.
    Refused,
}

/// Keys with value and version, and the floor of those that are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    entries: BTreeMap<String, (String, u64)>,
    floor: u64,
}

impl Store {
    fn entry(&self, key: &str) -> Entry {
        let (val, ver) = self.entries.get(key).cloned().unwrap_or((String::new(), self.floor));
        Entry { key: key.into(), val: val.into(), ver }
    }
}

impl SequentialSpec for Store {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Query(Query::Get(key)) => Ret::Answer(Answer::Entry(self.entry(key))),
            Op::Query(Query::Keys { prefix, start, limit }) => {
                let present = self.entries.iter().filter(|(_, (val, _))| !val.is_empty()).map(|(key, _)| key.as_str());
                let wanted = present.filter(|key| key.starts_with(&**prefix) && *key >= &**start);
                Ret::Answer(Answer::Keys(wanted.take(*limit as usize).map(Into::into).collect()))
            }
            Op::Command(Command::Write { puts, atomic }) => {
                let before = self.clone();
                let mut all = true;
                let mut written = Vec::new();
                for put in puts {
                    let present = self.entry(&put.key);
                    let last = present.ver == VERSION_MAX && put.val.is_empty() && put.ver.is_none();
                    let ver = put.ver.unwrap_or(present.ver + u64::from(!last));
                    if last || present.ver < ver && ver <= VERSION_MAX {
                        self.entries.insert(put.key.to_string(), (put.val.to_string(), ver));
                        written.push(Written::Applied(self.entry(&put.key)));
                    } else {
                        all = false;
                        written.push(Written::Conflict(present));
                    }
                }
                if *atomic && !all {
                    *self = before;
                    written = puts.iter().map(|put| Written::Conflict(self.entry(&put.key))).collect();
                }
                Ret::Reply(Reply::Written(written))
            }
            Op::Command(Command::Collect { keep }) => {
                loop {
                    let dead = |(_, (val, ver)): &(&String, &(String, u64))| val.is_empty() && *ver <= FLOOR_MAX;
                    let tombstones = self.entries.values().filter(|(val, _)| val.is_empty()).count() as u64;
                    let lowest = self.entries.iter().filter(dead).min_by_key(|(key, (_, ver))| (*ver, *key));
                    let Some((key, (_, ver))) = lowest else { break };
                    if tombstones <= *keep {
                        break;
                    }
                    let (key, ver) = (key.clone(), *ver);
                    self.floor = self.floor.max(ver);
                    self.entries.remove(&key);
                }
                Ret::Reply(Reply::Collected(self.floor))
            }
            Op::Command(Command::RaiseFloor { to }) => {
                if (self.floor..=FLOOR_MAX).contains(to) {
                    self.floor = *to;
                } else if *to > FLOOR_MAX {
                    self.floor = FLOOR_MAX;
                }
                Ret::Reply(Reply::Collected(self.floor))
            }
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        *ret == Ret::Refused || self.invoke(op) == *ret
    }
}
