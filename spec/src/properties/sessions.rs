//! `sessions`: which sessions are open, and which operations each has done, as the log alone tells it. A naive twin of the
//! executor: it reads the log from its beginning and keeps plain lists.

use super::audit::{Audit, Tagged};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Act, Entry, Operation, OperationId, SessionId};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};

/// A session, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    id: SessionId,
    owner: Option<(Id, u64)>,
    used: Slot,
    acknowledged_below: u64,
    done: BTreeSet<u64>,
}

#[derive(Default)]
struct Twin {
    sessions: Vec<Told>,
    counts: BTreeMap<u8, u8>,
}

impl Twin {
    fn open(&mut self, id: SessionId, owner: Option<(Id, u64)>, limits: &Configuration) {
        if self.sessions.len() >= limits.sessions_max {
            self.sessions.sort_by_key(|session| (session.used, session.id));
            self.sessions.remove(0);
        }
        self.sessions.push(Told { id, owner, used: id.slot, acknowledged_below: 1, done: BTreeSet::new() });
    }

    fn find(&mut self, id: SessionId) -> Option<&mut Told> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    fn read(&mut self, here: SessionId, operation: &Operation<Tagged>, limits: &Configuration) {
        match operation {
            Operation::Open { node, incarnation } => {
                let of_node = |told: &Told| told.owner.filter(|(owner, _)| owner == node).map(|(_, life)| life);
                if self.sessions.iter().filter_map(of_node).all(|life| life < *incarnation) {
                    self.sessions.retain(|told| of_node(told).is_none());
                    self.open(here, Some((*node, *incarnation)), limits);
                }
            }
            Operation::InSession { id, by_node, acknowledged_below, act } => {
                if self.is_new(here.slot, *id, *by_node, *acknowledged_below, limits.replies_max) {
                    match act {
                        Act::Apply(command) => *self.counts.entry(command.tag).or_default() += 1,
                        Act::OpenSession => self.open(here, None, limits),
                        Act::ExpireUnused(slot) => {
                            self.sessions.retain(|told| told.used >= *slot || told.owner.is_some());
                        }
                        Act::ExpireSession(target) => {
                            self.sessions.retain(|told| told.id != *target || told.owner.is_some())
                        }
                    }
                    if let Some(told) = self.find(id.session) {
                        told.done.insert(id.sequence);
                    }
                }
            }
        }
    }

    /// Whether an operation of an open session is to be carried out now.
    fn is_new(&mut self, slot: Slot, id: OperationId, by_node: bool, acknowledged_below: u64, replies: u64) -> bool {
        let Some(told) = self.find(id.session).filter(|told| told.owner.is_some() == by_node) else { return false };
        told.used = slot;
        told.acknowledged_below = told.acknowledged_below.max(acknowledged_below);
        let from = told.acknowledged_below;
        told.done.retain(|sequence| *sequence >= from);
        (from..from + replies).contains(&id.sequence) && !told.done.contains(&id.sequence)
    }
}

/// Where the sessions of a replica are not what its log tells, in words.
pub fn broken<'a>(
    log: impl Iterator<Item = (Slot, &'a Entry<Tagged>)>,
    executor: &Executor<Audit>,
    limits: &Configuration,
) -> Option<String> {
    let mut twin = Twin::default();
    for (slot, entry) in log {
        for (operation, position) in entry.operations().iter().zip(0..) {
            twin.read(SessionId { slot, position }, operation, limits);
        }
    }
    twin.sessions.sort_by_key(|told| told.id);
    let told = |(id, session): (&SessionId, &paxos_model::replica::executor::Session<Audit>)| Told {
        id: *id,
        owner: session.owner,
        used: session.used,
        acknowledged_below: session.acknowledged_below,
        done: session.done.keys().copied().collect(),
    };
    let sessions: Vec<Told> = executor.sessions.iter().map(told).collect();
    if sessions != twin.sessions {
        return Some(format!("the log tells of the sessions {:?}, the replica has {sessions:?}", twin.sessions));
    }
    let counts = &executor.machine.counts;
    (*counts != twin.counts)
        .then(|| format!("by the log commands are applied so often: {:?}; not {counts:?}", twin.counts))
}
