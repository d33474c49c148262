//! What must hold at every moment of a life, whatever clients see: no two nodes have different entries in one slot or different states at
//! one, no store forgets a promise, and no promise or vote is seen that is not stored.

use paxos::{Command, Machine, Msg, Stored};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Entry, Message};
use std::collections::BTreeMap;

/// Everything that was decided and applied, by whomever.
pub(crate) struct Watch {
    decided: BTreeMap<Slot, Entry<Command>>,
    states: BTreeMap<Slot, Executor<Machine>>,
    /// What each store held last.
    stored: Vec<Option<Stored>>,
    /// What each node has applied.
    applied: Vec<Option<Slot>>,
}

impl Watch {
    pub(crate) fn new(nodes: usize) -> Watch {
        let (decided, states) = Default::default();
        Watch { decided, states, stored: vec![None; nodes], applied: vec![None; nodes] }
    }

    /// Node `node` has made `value` durable.
    pub(crate) fn committed(&mut self, node: usize, value: &Stored) -> Result<(), String> {
        let before = self.stored[node].replace(value.clone()).unwrap_or_default();
        if value.promised < before.promised || value.decided < before.decided || value.incarnation < before.incarnation
        {
            return Err(format!("no store goes back: that of node {node} went from {before:?} to {value:?}"));
        }
        for (slot, entry) in value.log.range(before.decided..value.decided) {
            match self.decided.get(slot) {
                Some(other) if other != entry => {
                    return Err(format!("agreement: slot {slot} is {other:?}, and {entry:?} at node {node}"));
                }
                Some(_) => {}
                None => drop(self.decided.insert(*slot, entry.clone())),
            }
        }
        if value.snapshot.applied == before.snapshot.applied { Ok(()) } else { self.state(node, &value.snapshot) }
    }

    /// Node `node` shows this state.
    pub(crate) fn applied(&mut self, node: usize, executor: &Executor<Machine>) -> Result<(), String> {
        if self.applied[node].replace(executor.applied) == Some(executor.applied) {
            return Ok(());
        }
        self.state(node, executor)
    }

    fn state(&mut self, node: usize, executor: &Executor<Machine>) -> Result<(), String> {
        match self.states.get(&executor.applied) {
            Some(other) if other != executor => Err(format!(
                "equal states: at slot {} node {node} has {executor:?}, and another {other:?}",
                executor.applied
            )),
            Some(_) => Ok(()),
            None => {
                self.states.insert(executor.applied, executor.clone());
                Ok(())
            }
        }
    }

    /// Node `node` ends; the next state that it shows is looked at, whichever it is.
    pub(crate) fn ended(&mut self, node: usize) {
        self.applied[node] = None;
    }

    /// A message leaves node `node`.
    pub(crate) fn sent(&self, node: usize, message: &Msg) -> Result<(), String> {
        let stored = self.stored[node].as_deref();
        let sound = match message {
            Message::Promise { ballot, .. } => stored.is_some_and(|stored| stored.promised >= *ballot),
            Message::Accepted { ballot, slot } => stored.is_some_and(|stored| {
                stored.decided > *slot || stored.accepted.get(slot).is_some_and(|accepted| accepted >= ballot)
            }),
            _ => true,
        };
        let told = || format!("durable before visible: node {node} sends {message:?}, and stored is {stored:?}");
        if sound { Ok(()) } else { Err(told()) }
    }
}
