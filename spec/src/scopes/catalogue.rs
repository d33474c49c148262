//! The scopes, by name.

use super::prefix::Play;
use super::witness::Witness;
use super::{Scope, Timers};
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
        batch_max: 1,
        requests_max: 4,
        fetch_max: 1,
        sessions_max: 4,
        replies_max: 4,
        pre_vote: false,
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

/// One operation for each node, to be proposed if it leads. Their session is unknown, so they are chosen and not applied.
fn one_operation_each(nodes: &[usize]) -> Client {
    let forward = |node: &usize| -> (Id, Msg) {
        let id = OperationId { session: SessionId { slot: 1000, position: 0 }, sequence: *node as u64 + 1 };
        let act = Act::Apply(put(*node as u8 + 1, "k", "v", None));
        let operations = [Operation::InSession { id, acknowledged_below: 1, act }].into();
        (Id::from(*node), Message::Forward { operations, relayed: true })
    };
    Client::Source(nodes.iter().map(forward).collect())
}

fn base(name: &'static str, description: &'static str) -> Scope {
    Scope {
        name,
        description,
        default: true,
        small: false,
        replicas: 3,
        options: options(),
        elections: vec![1, 1, 1],
        restarts: None,
        restarting: vec![0, 1, 2],
        slots: 1,
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
fn elected() -> Vec<Play> {
    vec![Play::Fire(0, Timer::Election)]
}

/// Every scope, the default ones first.
pub fn scopes() -> Vec<Scope> {
    vec![
        Scope {
            clients: vec![one_operation_each(&[0, 1, 2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot, Witness::AllApplied],
            small: true,
            ..base("one-slot-three-owners", "one slot, three ballots from three owners")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            elections: vec![2, 1, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..base("one-slot-owner-twice", "one slot, three ballots, two of them of one owner")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1]), one_operation_each(&[0])],
            elections: vec![1, 1, 0],
            slots: 2,
            options: Options { window: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            ..base("two-slots", "two slots, two ballots, a hole filled")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            replicas: 5,
            restarting: vec![0, 1, 2, 3, 4],
            elections: vec![1, 1, 0, 0, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            ..base("five-replicas", "five replicas, one slot, two ballots")
        },
        Scope {
            replicas: 3,
            elections: vec![1, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 9,
            prefix: elected(),
            clients: vec![
                Client::Script(vec![item(Want::Command(put(1, "k", "a", Some(1))), &[0])]),
                Client::Script(vec![item(read("k"), &[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            ..base("deposed-read", "a read at a deposed leader while another one writes")
        },
    ]
}

/// The scope of that name.
pub fn find(name: &str) -> Option<Scope> {
    scopes().into_iter().find(|scope| scope.name == name)
}
