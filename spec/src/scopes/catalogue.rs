//! The scopes, by name.

use super::prefix::Play;
use super::witness::Witness;
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
        batch_max: 1,
        requests_max: 4,
        fetch_max: 1,
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

/// An operation for a node, to be proposed if it leads. Its session is unknown, so it is chosen and not applied.
fn for_leader(node: usize, tag: u8) -> (Id, Msg) {
    let (id, by_node) = (OperationId { session: SessionId { slot: 1000, position: 0 }, sequence: tag.into() }, false);
    let operation =
        Operation::InSession { id, by_node, acknowledged_below: 1, act: Act::Apply(put(tag, "k", "v", None)) };
    (Id::from(node), Message::Forward { operations: [operation].into(), relayed: true })
}

/// One operation for each of these nodes.
fn one_operation_each(nodes: &[usize]) -> Client {
    Client::Source(nodes.iter().map(|node| for_leader(*node, *node as u8 + 1)).collect())
}

fn base(name: &'static str, description: &'static str) -> Scope {
    Scope {
        name,
        description,
        default: true,
        small: false,
        replicas: 3,
        options: options(),
        sessions: (4, 4),
        elections: vec![1, 1, 1],
        restarts: None,
        restarting: vec![0, 1, 2],
        slots: 1,
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
    let mut all = ballots();
    all.extend(reads());
    all.extend(clients());
    all.extend(leadership());
    all
}

/// Who may be chosen.
fn ballots() -> Vec<Scope> {
    vec![
        Scope {
            clients: vec![one_operation_each(&[0, 1, 2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            ..base("one-slot-three-owners", "one slot, three ballots from three owners")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            elections: vec![2, 1, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            ..base("one-slot-owner-twice", "one slot, three ballots, two of them of one owner")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2)])],
            elections: vec![1, 1, 0],
            slots: 2,
            options: Options { window: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            losses: Losses::Heartbeats,
            ..base("two-slots-two-ballots", "two slots, two ballots, a hole filled")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2)])],
            elections: vec![1, 1, 1],
            slots: 2,
            options: Options { window: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            default: false,
            ..base("two-slots-three-ballots", "two slots, three ballots, a hole filled")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            replicas: 5,
            restarting: vec![],
            restarts: Some(0),
            elections: vec![1, 1, 0, 0, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            losses: Losses::Heartbeats,
            ..base("five-replicas", "five replicas, one slot, two ballots")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2), for_leader(0, 3)])],
            elections: vec![1, 1, 0],
            slots: 2,
            restarts: Some(0),
            restarting: vec![],
            options: Options { window: 2, batch_max: 2, requests_max: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            losses: Losses::Third,
            ..base("batches", "batches of two, a window of two")
        },
    ]
}

/// Reads across a change of leader.
fn reads() -> Vec<Scope> {
    let reads_at = |name, description, node: usize| Scope {
        elections: vec![0, 1, 0],
        restarts: Some(0),
        restarting: vec![],
        slots: 9,
        prefix: vec![elect(), Play::Admit(3)],
        clients: vec![
            Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", Some(1))), &[1])]),
            Client::Script(vec![item(read("k"), &[node])]),
        ],
        witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
        losses: Losses::HeartbeatsToThird,
        ..base(name, description)
    };
    vec![
        reads_at("deposed-read", "a read at a deposed leader while its successor takes a write", 0),
        reads_at("new-leader-read", "a read at a new leader", 1),
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(1),
            restarting: vec![2],
            slots: 9,
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", Some(1))), &[0])]),
                Client::Script(vec![
                    item(Want::LocalRead(Query::Get("k".into())), &[2]),
                    item(Want::LocalRead(Query::Get("k".into())), &[2]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            ..base("local-reads", "local reads before and after a restart")
        },
    ]
}

/// Clients, sessions, outcomes.
fn clients() -> Vec<Scope> {
    let quick = Timers { deadline: true, ..CORE };
    vec![
        Scope {
            replicas: 1,
            elections: vec![2],
            restarting: vec![0],
            restarts: Some(1),
            slots: 6,
            timers: quick,
            clients: vec![Client::Script(vec![
                item(Want::Command(put(1, "k", "a", Some(1))), &[0]),
                item(Want::Command(put(2, "k", "", None)), &[0]),
                item(read("k"), &[0]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Refused],
            progress: vec![],
            small: true,
            ..base("one-replica", "one replica, a put, a delete and a read")
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            restarting: vec![],
            restarts: Some(0),
            slots: 12,
            options: Options { requests_max: 2, ..options() },
            sessions: (2, 1),
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![
                    item(Want::Session, &[0]),
                    item(Want::Command(put(1, "k", "a", None)), &[0, 0]),
                    item(Want::Expire(None), &[0]),
                ]),
                Client::Script(vec![
                    item(Want::Command(put(2, "k", "b", None)), &[0]),
                    item(Want::Session, &[0]),
                    item(Want::Session, &[0]),
                ]),
                Client::Script(vec![item(Want::Command(put(3, "k", "c", None)), &[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            ..base("limits", "one replica at its limits: requests, sessions, replies")
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            restarting: vec![],
            restarts: Some(0),
            slots: 12,
            sessions: (1, 2),
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0])]),
                Client::Script(vec![
                    item(Want::Command(put(1, "k", "a", None)), &[0]),
                    item(Want::Command(put(2, "k", "b", None)), &[0]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            small: true,
            ..base("node-session-lost", "a node's own session makes room for a client's")
        },
        Scope {
            replicas: 2,
            elections: vec![0, 1],
            restarting: vec![0, 1],
            restarts: Some(1),
            slots: 6,
            prefix: vec![elect()],
            clients: vec![Client::Script(vec![
                item(Want::Command(put(1, "k", "a", Some(1))), &[1]),
                item(read("k"), &[0]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            progress: vec![Links::among(&[0, 1])],
            ..base("two-replicas", "two replicas, a put through the follower and a read")
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            rounds: 1,
            slots: 9,
            prefix: vec![elect(), Play::Admit(3), Play::Admit(4)],
            clients: vec![
                Client::Script(vec![
                    item(Want::Session, &[0]),
                    item(Want::Command(put(1, "k", "a", Some(1))), &[0]),
                    item(read("k"), &[1]),
                ]),
                Client::Script(vec![
                    item(Want::Session, &[1]),
                    item(Want::Command(put(2, "k", "b", Some(1))), &[1]),
                    item(Want::Command(put(3, "k", "", Some(2))), &[0]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict],
            losses: Losses::Third,
            ..base("two-clients", "two clients with two operations each: a conflict, a delete and a read")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            rounds: 1,
            slots: 9,
            losses: Losses::Third,
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0, 1])]),
                Client::Script(vec![item(Want::Command(put(2, "k", "b", Some(1))), &[1])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::RetryAnswered],
            ..base("retry", "a retry through another node, over a change of leader, beside another client")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            rounds: 1,
            slots: 9,
            prefix: vec![elect(), Play::Admit(3), Play::Admit(4)],
            clients: vec![
                Client::Script(vec![
                    item(Want::Session, &[0]),
                    item(Want::Command(put(1, "k", "a", Some(1))), &[0]),
                    item(read("k"), &[1]),
                ]),
                Client::Script(vec![
                    item(Want::Session, &[1]),
                    item(Want::Command(put(2, "k", "b", Some(1))), &[1, 0]),
                    item(Want::Command(put(3, "k", "", Some(2))), &[0]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict, Witness::RetryAnswered],
            losses: Losses::Third,
            default: false,
            ..base(
                "two-clients-new-leader",
                "two clients with retries, a conflict, a delete and a read, and a change of leader",
            )
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 9,
            sessions: (2, 1),
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0, 1])]),
                Client::Script(vec![item(Want::Session, &[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::RetryAnswered],
            losses: Losses::Third,
            ..base("sessions", "sessions opened, replayed, evicted")
        },
        Scope {
            elections: vec![1, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 5,
            timers: quick,
            clients: vec![Client::Script(vec![item(Want::Command(put(1, "k", "a", None)), &[1])])],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            losses: Losses::Third,
            small: true,
            ..base("refusals", "a request whose time is up before or after it is handed on")
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 5,
            timers: Timers { resend: true, ..CORE },
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Script(vec![
                item(Want::Command(put(1, "k", "a", None)), &[2]),
                item(read("k"), &[2]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            losses: Losses::Chain,
            small: true,
            ..base("forwarding", "a node that does not hear the leader hands its requests on through another one")
        },
    ]
}

/// Who leads, and for how long.
fn leadership() -> Vec<Scope> {
    let behind = |name, description, elections: Vec<u8>| Scope {
        elections,
        restarts: Some(1),
        restarting: vec![2],
        slots: 5,
        timers: Timers { resend: true, ..CORE },
        options: Options { window: 2, ..options() },
        prefix: vec![
            Play::FireWithout(0, Timer::Election, vec![2]),
            Play::AdmitWithout(3, vec![2]),
            Play::AdmitWithout(3, vec![2]),
        ],
        clients: vec![Client::Script(vec![
            item(Want::Session, &[0]),
            item(Want::Command(put(1, "k", "a", None)), &[0]),
        ])],
        witnesses: vec![Witness::AllApplied],
        ..base(name, description)
    };
    vec![
        Scope {
            options: Options { pre_vote: true, ..options() },
            elections: vec![1, 1, 0],
            restarts: Some(0),
            restarting: vec![],

            witnesses: vec![],
            progress: majorities(),
            losses: Losses::Third,
            ..base("pre-vote", "a quorum is asked before a ballot is begun")
        },
        Scope {
            timers: Timers { step_down: true, ..CORE },
            elections: vec![1, 1, 0],
            restarts: Some(0),
            restarting: vec![],

            witnesses: vec![Witness::SteppedDown],
            progress: majorities(),
            ..base("step-down", "a leader that hears no quorum steps down")
        },
        behind("catch-up", "a replica that was away catches up", vec![0, 0, 0]),
        behind("candidate-behind", "a replica that was away wants to lead", vec![0, 0, 1]),
    ]
}

/// The scope of that name.
pub fn find(name: &str) -> Option<Scope> {
    scopes().into_iter().find(|scope| scope.name == name)
}
