//! The scopes, by name.

mod attempts;
mod ballots;
mod clients;
mod corners;
mod decisions;
mod handovers;
mod intruders;
mod invariant;
mod leadership;
mod partitions;
mod reads;
mod repeated_reads;
mod sessions;
mod snapshots;

use super::prefix::Play;
use super::{Losses, Scope, Timers};
use crate::properties::audit::Tagged;
use crate::properties::party::{Client, Item, Msg, Want};
use crate::properties::progress::Links;
use paxos_model::kv::{Command, Put, Query};
use paxos_model::replica::message::{Act, Message, Operation, OperationId, SessionId};
use paxos_model::replica::{Options, Timer};
use stateright::actor::Id;
use std::time::Duration;

/// Only ballots and votes.
const CORE: Timers = Timers { election: true, step_down: false, resend: false, deadline: false };

/// Small bounds: whatever is limited reaches its limit.
fn options() -> Options {
    Options {
        election: Duration::from_millis(300)..Duration::from_millis(600),
        resend: Duration::from_millis(50),
        window: 1,
        pipeline: 1,
        horizon: 16,
        batch_max: 1,
        requests_max: 4,
        bytes_max: 1 << 20,
        window_bytes_max: 1 << 20,
        fetch_max: 1,
        pre_vote: false,
        snapshot_every: 0,
        tail: 0,
        tail_bytes: 1 << 20,
        kept_bytes: 1 << 20,
        patience: 1,
        source_patience: 1,
    }
}

fn put(tag: u8, key: &str, val: &str, ver: Option<u64>) -> Tagged {
    let puts = vec![Put { key: key.into(), val: val.into(), ver }];
    Tagged { tag, command: Command::Write { puts, atomic: false } }
}

fn item(want: Want, nodes: &[usize]) -> Item {
    Item { want, nodes: nodes.iter().map(|node| Id::from(*node)).collect() }
}

fn read(key: &str) -> Want {
    Want::Read(Query::Get(key.into()))
}

/// A put without a version.
fn command(tag: u8, val: &str, nodes: &[usize]) -> Item {
    item(Want::Command(put(tag, "k", val, None)), nodes)
}

/// Operations for a node, to be proposed if it leads, each in a slot of its own if batches are of one. Their session is
/// unknown, so they are chosen and not applied. They arrive together: that one arrives alone shows nothing that the loss of
/// what is proposed does not.
fn for_leader(node: usize, tags: &[u8]) -> (Id, Msg) {
    let operation = |tag: &u8| {
        let id = OperationId { session: SessionId { slot: 1000, position: 0 }, sequence: (*tag).into() };
        let act = Act::Apply(put(*tag, "k", "v", None));
        Operation::InSession { id, by_node: false, acknowledged_below: 1, act }
    };
    (Id::from(node), Message::Forward { operations: tags.iter().map(operation).collect(), relayed: true })
}

/// One operation for each of these nodes.
fn one_operation_each(nodes: &[usize]) -> Client {
    Client::Source(nodes.iter().map(|node| for_leader(*node, &[*node as u8 + 1])).collect())
}

fn base(name: &'static str, description: &'static str) -> Scope {
    Scope {
        name,
        description,
        default: true,
        small: false,
        replicas: 3,
        learners: Vec::new(),
        options: options(),
        sessions: (4, 4),
        elections: vec![1, 1, 1],
        restarts: None,
        restarting: vec![0, 1, 2],
        slots: 1,
        overfull: true,
        rounds: 2,
        losses: Losses::None,
        timers: CORE,
        clients: Vec::new(),
        prefix: Vec::new(),
        progress: Vec::new(),
        witnesses: Vec::new(),
        collapse: true,
    }
}

fn majorities() -> Vec<Links> {
    vec![Links::among(&[0, 1]), Links::among(&[0, 2]), Links::among(&[1, 2]), Links::among(&[0, 1, 2])]
}

/// Node 0 leads, and everybody knows.
fn elect() -> Play {
    Play::Fire(0, Timer::Election)
}

/// Every scope.
pub fn scopes() -> Vec<Scope> {
    let mut all = ballots::scopes();
    all.extend(decisions::scopes());
    all.extend(reads::scopes());
    all.extend(repeated_reads::scopes());
    all.extend(sessions::scopes());
    all.extend(clients::scopes());
    all.extend(intruders::scopes());
    all.extend(attempts::scopes());
    all.extend(leadership::scopes());
    all.extend(handovers::scopes());
    all.extend(corners::scopes());
    all.extend(snapshots::scopes());
    all.extend(partitions::scopes());
    all.extend(invariant::scopes());
    all
}

/// The scope of that name.
pub fn find(name: &str) -> Option<Scope> {
    scopes().into_iter().find(|scope| scope.name == name)
}
