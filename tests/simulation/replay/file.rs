//! A counterexample as the check writes it below `target/check/`, read for the machine that is deployed: the check's counts how often each
//! command is applied, for which its commands carry a tag; here they lose it.

use paxos::node::{Core, Status};
use paxos::{Command, Msg};
use paxos_model::kv::{Place, Versioned};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::Entry;
use paxos_model::replica::{Options, Timer};
use serde::Deserialize;
use serde_json::Value;
use stateright::actor::Id;
use std::collections::BTreeSet;

/// A way to break a property.
#[derive(Debug, Deserialize)]
pub(crate) struct Counterexample {
    pub(crate) scope: String,
    pub(crate) property: String,
    pub(crate) explanation: String,
    /// What it takes to repeat it.
    pub(crate) replay: Replay,
}

/// Who takes part, and each step.
#[derive(Debug, Deserialize)]
pub(crate) struct Replay {
    /// Nodes below this number are replicas, the others clients.
    pub(crate) replicas: usize,
    pub(crate) configuration: Configuration,
    pub(crate) options: Options,
    /// So many of the steps are a scripted beginning.
    pub(crate) beginning: usize,
    pub(crate) steps: Vec<Step>,
}

/// What goes in, and all that comes out.
#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) node: usize,
    pub(crate) input: Input,
    pub(crate) sends: Vec<(Id, Msg)>,
    pub(crate) saves: Option<Saved>,
    pub(crate) after: Option<Seen>,
}

/// What a node says of itself, and its timers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Seen {
    role: String,
    leader: Option<Id>,
    promised: Ballot,
    pub(crate) decided: Slot,
    applied: Slot,
    requests: usize,
    sessions: usize,
    /// Those that are set, whenever they run out. None in files of earlier versions: then they are not compared.
    #[serde(default)]
    pub(crate) timers: Option<BTreeSet<Timer>>,
    store: Vec<(Place, Versioned)>,
}

impl Seen {
    pub(crate) fn of(core: &Core) -> Seen {
        let Status { role, leader, ballot, decided, applied, requests, sessions, .. } = core.status();
        let (role, timers) = (role.to_owned(), Some(core.timers().cloned().collect()));
        let store = core.applied().machine.items(None).collect();
        Seen { role, leader, promised: ballot, decided, applied, requests, sessions, timers, store }
    }
}

/// What makes a node take a step.
#[derive(Debug, Deserialize)]
pub(crate) enum Input {
    Start,
    Deliver { src: Id, msg: Msg },
    Timeout(Timer),
}

/// What a node saves, but for what a snapshot holds.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Saved {
    pub(crate) promised: Ballot,
    promised_at: Slot,
    decided: Slot,
    incarnation: u64,
    snapshot: Slot,
    accepted: Vec<(Slot, Ballot)>,
    log: Vec<(Slot, Entry<Command>)>,
}

impl Saved {
    pub(crate) fn of(stored: &Durable<paxos::Machine>) -> Saved {
        Saved {
            promised: stored.promised,
            promised_at: stored.promised_at,
            decided: stored.decided,
            incarnation: stored.incarnation,
            snapshot: stored.snapshot.applied,
            accepted: stored.accepted.iter().map(|(slot, ballot)| (*slot, *ballot)).collect(),
            log: stored.log.iter().map(|(slot, entry)| (*slot, entry.clone())).collect(),
        }
    }
}

/// Reads a file's text. The error is one line.
pub(crate) fn read(text: &str) -> Result<Counterexample, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    if value.get("replay").is_none() {
        return Err("it has nothing to repeat: it is no counterexample of replicas, or of an earlier version".into());
    }
    strip(&mut value);
    serde_json::from_value(value).map_err(|error| format!("it is no counterexample that can be repeated: {error}"))
}

/// Takes off what the check's machine has beside the store: tags of commands, and the places of their counts.
fn strip(value: &mut Value) {
    match value {
        Value::Array(all) => {
            all.retain(|one| !is_count(&one[0]));
            all.iter_mut().for_each(strip);
        }
        Value::Object(fields) => {
            if fields.len() == 2
                && fields.contains_key("tag")
                && let Some(command) = fields.remove("command")
            {
                *value = command;
                return;
            }
            if fields.len() == 1
                && let Some(inner) = fields.remove("Kv")
            {
                *value = inner;
                return;
            }
            fields.values_mut().for_each(strip);
        }
        _ => {}
    }
}

/// Whether it is the place of a count, which a piece of a snapshot begins with.
fn is_count(place: &Value) -> bool {
    place.get("Item").is_some_and(|item| item.get("Count").is_some())
}
