//! Applies decided entries, and sees to it that no operation is applied twice (D. Ongaro's thesis, section 6.3).
//!
//! Everything here is a function of the decided log alone, so it is the same on every replica at the same slot: who is
//! answered from a session, which session is evicted, and what is too late.

use super::ballot::Slot;
use super::configuration::Configuration;
use super::message::{Act, Done, Entry, Operation, OperationId, OperationKey, SessionId};
use crate::machine::StateMachine;
use crate::mark::Mark;
use imbl::OrdMap;
use std::hash::{Hash, Hasher};

/// A client's session: which of its operations were done, and what came of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<S: StateMachine> {
    /// The node and the life that it was opened for; none if a client brings it.
    pub owner: Option<(stateright::actor::Id, u64)>,
    /// The slot in which it was last used.
    pub used: Slot,
    /// The client has all answers below this sequence number.
    pub acknowledged_below: u64,
    /// What came of the operations from there on, in whatever order they were applied.
    pub done: OrdMap<u64, Done<S::Reply>>,
}

/// What applying one operation came to, for whoever waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S: StateMachine> {
    /// Done, now or before.
    Done(Done<S::Reply>),
    /// The session is unknown, or not that of the sort of client that sent it; nothing was applied.
    Expired,
    /// Acknowledged before; nothing was applied.
    Stale,
    /// Too far ahead of what is acknowledged; nothing was applied.
    BeyondWindow,
}

/// The applied state: everything that applying a further entry depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executor<S: StateMachine> {
    /// Everything below this slot is applied.
    pub applied: Slot,
    /// The state machine.
    pub machine: S,
    /// The open sessions.
    pub sessions: OrdMap<SessionId, Session<S>>,
}

/// With the counts that `imbl` leaves out.
impl<S: StateMachine> Hash for Executor<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.applied.hash(state);
        self.machine.hash(state);
        state.write_usize(self.sessions.len());
        for (id, session) in &self.sessions {
            id.hash(state);
            session.owner.hash(state);
            session.used.hash(state);
            session.acknowledged_below.hash(state);
            state.write_usize(session.done.len());
            session.done.hash(state);
        }
    }
}

impl<S: StateMachine> Executor<S> {
    /// Applies the entry of the next slot. Returns what each of its operations came to, in order.
    pub fn apply(
        &mut self,
        slot: Slot,
        entry: &Entry<S::Command>,
        rules: &Configuration,
    ) -> Vec<(OperationKey, Verdict<S>)> {
        assert_eq!(slot, self.applied, "entries are applied in order, each once");
        self.applied = slot + 1;
        let operations = entry.operations().iter().zip(0..);
        operations
            .map(|(operation, position)| {
                let here = SessionId { slot, position };
                let verdict = match operation {
                    Operation::Open { node, incarnation } => self.open_for_node(here, (*node, *incarnation), rules),
                    Operation::InSession { id, by_node, acknowledged_below, act } => {
                        if self.sessions.get(&id.session).is_some_and(|session| session.owner.is_some() == *by_node) {
                            self.perform(here, *id, *acknowledged_below, act, rules)
                        } else {
                            Mark::SessionUnknown.hit();
                            Verdict::Expired
                        }
                    }
                };
                (operation.key(), verdict)
            })
            .collect()
    }

    /// What was done before under this name, by a node in its own session or by a client, if it is still kept.
    pub fn answer(&self, id: &OperationId, by_node: bool) -> Option<&Done<S::Reply>> {
        let session = self.sessions.get(&id.session)?;
        if session.owner.is_some() == by_node { session.done.get(&id.sequence) } else { None }
    }

    /// Whether proposing the operation again would change nothing.
    pub fn has_answer(&self, key: &OperationKey) -> bool {
        match key {
            OperationKey::Open { node, incarnation } => {
                self.session_of(*node).is_some_and(|(_, life)| life >= *incarnation)
            }
            OperationKey::InSession(id, by_node) => self.answer(id, *by_node).is_some(),
        }
    }

    /// The session of a node's latest life that opened one, and that life.
    pub(super) fn session_of(&self, node: stateright::actor::Id) -> Option<(SessionId, u64)> {
        self.sessions.iter().find_map(|(id, session)| match session.owner {
            Some((owner, life)) if owner == node => Some((*id, life)),
            _ => None,
        })
    }

    fn open_for_node(
        &mut self,
        here: SessionId,
        owner: (stateright::actor::Id, u64),
        rules: &Configuration,
    ) -> Verdict<S> {
        match self.session_of(owner.0) {
            Some((id, life)) if life == owner.1 => {
                Mark::SessionOpenedAgain.hit();
                return Verdict::Done(Done::Opened(id));
            }
            Some((_, life)) if life > owner.1 => {
                Mark::SessionOpenStale.hit();
                return Verdict::Expired;
            }
            Some((earlier, _)) => {
                Mark::SessionReplaced.hit();
                self.sessions.remove(&earlier);
            }
            None => {}
        }
        Verdict::Done(self.open(here, Some(owner), rules))
    }

    fn open(
        &mut self,
        here: SessionId,
        owner: Option<(stateright::actor::Id, u64)>,
        rules: &Configuration,
    ) -> Done<S::Reply> {
        Mark::SessionOpened.hit();
        if self.sessions.len() >= rules.sessions_max
            && let Some(oldest) =
                self.sessions.iter().min_by_key(|(id, session)| (session.used, **id)).map(|(id, _)| *id)
        {
            Mark::SessionEvicted.hit();
            self.sessions.remove(&oldest);
        }
        let session = Session { owner, used: here.slot, acknowledged_below: 1, done: OrdMap::new() };
        self.sessions.insert(here, session);
        Done::Opened(here)
    }

    fn perform(
        &mut self,
        here: SessionId,
        id: OperationId,
        acknowledged_below: u64,
        act: &Act<S::Command>,
        rules: &Configuration,
    ) -> Verdict<S> {
        let Some(session) = self.sessions.get_mut(&id.session) else { return Verdict::Expired };
        session.used = here.slot;
        if acknowledged_below > session.acknowledged_below {
            session.acknowledged_below = acknowledged_below;
            // One by one: as a rule there is one, and to split the map costs as much as the whole of it.
            while let Some((first, _)) = session.done.get_min().filter(|(first, _)| *first < acknowledged_below) {
                let first = *first;
                session.done.remove(&first);
            }
        }
        if let Some(done) = session.done.get(&id.sequence) {
            Mark::DuplicateAnswered.hit();
            return Verdict::Done(done.clone());
        }
        if id.sequence < session.acknowledged_below {
            Mark::OperationStale.hit();
            return Verdict::Stale;
        }
        if id.sequence - session.acknowledged_below >= rules.replies_max {
            Mark::OperationBeyondWindow.hit();
            return Verdict::BeyondWindow;
        }
        let done = match act {
            Act::Apply(command) => Done::Applied(self.machine.apply(command)),
            Act::OpenSession => self.open(here, None, rules),
            Act::ExpireSession(target) => {
                // A node's session is none of the clients'.
                if self.sessions.get(target).is_some_and(|session| session.owner.is_some()) {
                    Mark::SessionNotClients.hit();
                } else {
                    Mark::SessionExpired.hit();
                    self.sessions.remove(target);
                }
                Done::Expired
            }
            Act::ExpireUnused(since) => {
                let unused = |session: &Session<S>| session.owner.is_none() && session.used < *since;
                let ids = self.sessions.iter().filter(|(_, session)| unused(session)).map(|(id, _)| *id);
                for id in ids.collect::<Vec<_>>() {
                    Mark::UnusedSessionExpired.hit();
                    self.sessions.remove(&id);
                }
                Done::Expired
            }
        };
        if let Some(session) = self.sessions.get_mut(&id.session) {
            session.done.insert(id.sequence, done.clone());
        }
        Verdict::Done(done)
    }
}
