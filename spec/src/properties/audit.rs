//! The key-value store with a count of how often each tagged command was applied, so that a second application is seen
//! whatever the command does.

use paxos_model::kv::{Answer, Command, Kv, Query, Reply};
use paxos_model::machine::StateMachine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A command with a tag of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tagged {
    /// Tells it from every other command of the scope.
    pub tag: u8,
    /// What it does.
    pub command: Command,
}

/// The store and the count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Audit {
    /// The store.
    pub kv: Kv,
    /// How often each tag was applied.
    pub counts: BTreeMap<u8, u8>,
}

impl StateMachine for Audit {
    type Command = Tagged;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, command: &Tagged) -> Reply {
        let count = self.counts.entry(command.tag).or_default();
        *count = count.saturating_add(1);
        self.kv.apply(&command.command)
    }

    fn size(command: &Tagged) -> usize {
        Kv::size(&command.command)
    }

    fn query(&self, query: &Query) -> Answer {
        self.kv.query(query)
    }
}
