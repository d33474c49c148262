//! What the log does with operations: sessions, numbers, and every kind of command.

use super::{CORE, base, command, elect, item, options, put, read};
use crate::properties::audit::Tagged;
use crate::properties::party::{Client, Msg, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::kv::{Command, Put, Query, VERSION_MAX};
use paxos_model::replica::message::{Act, Message, Operation, OperationId, SessionId};
use paxos_model::replica::{Options, Timer};
use stateright::actor::Id;

/// Every kind of command once, and every kind of answer: conflicts, a delete, a collection, the highest version, keys.
fn commands() -> Client {
    let put_ver = |tag, key: &str, val: &str, ver| Want::Command(put(tag, key, val, ver));
    let collect = |tag, keep| Want::Command(Tagged { tag, command: Command::Collect { keep } });
    let keys = |start: &str, limit| Want::Read(Query::Keys { prefix: "".into(), start: start.into(), limit });
    let all_or_nothing = |tag, puts: &[(&str, &str, Option<u64>)]| {
        let puts =
            puts.iter().map(|(key, val, ver)| Put { key: (*key).into(), val: (*val).into(), ver: *ver }).collect();
        Want::Command(Tagged { tag, command: Command::Write { puts, atomic: true } })
    };
    let wants = [
        put_ver(1, "a", "x", None),
        put_ver(2, "b", "y", Some(5)),
        put_ver(3, "a", "", None),
        put_ver(4, "c", "z", Some(1)),
        put_ver(5, "b", "", Some(6)),
        all_or_nothing(6, &[("c", "w", None), ("a", "u", Some(2))]),
        read("c"),
        keys("", 9),
        collect(7, 1),
        read("a"),
        put_ver(8, "d", "q", Some(2)),
        put_ver(9, "d", "q", None),
        put_ver(10, "b", "n", None),
        put_ver(11, "m", "", Some(VERSION_MAX)),
        put_ver(12, "m", "l", None),
        put_ver(15, "n", "v", Some(VERSION_MAX)),
        put_ver(16, "n", "", None),
        collect(13, 0),
        read("b"),
        read("e"),
        keys("c", 1),
        put_ver(14, "e", "h", Some(VERSION_MAX + 1)),
    ];
    Client::Script(wants.into_iter().map(|want| item(want, &[0])).collect())
}

/// An operation for node 0, as some node hands it on: its name, below which number its session is acknowledged, and its tag.
fn handed_on((slot, sequence): (u64, u64), acknowledged_below: u64, tag: u8) -> (Id, Msg) {
    let id = OperationId { session: SessionId { slot, position: 0 }, sequence };
    let act = Act::Apply(put(tag, &format!("k{tag}"), "v", None));
    let operation = Operation::InSession { id, by_node: false, acknowledged_below, act };
    (Id::from(0), Message::Forward { operations: [operation].into(), relayed: true })
}

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    // Another session than node 1's, for which that makes room where only one may be open.
    let other = Operation::Open { node: Id::from(0), incarnation: 1 };
    let quiet = |scope: Scope| Scope { elections: vec![0; 3], restarts: Some(0), restarting: vec![], ..scope };
    let read_at = |nodes: &[usize]| item(read("k"), nodes);
    vec![
        Scope {
            replicas: 1,
            elections: vec![0],
            slots: 20,
            rounds: 9,
            prefix: vec![elect()],
            clients: vec![commands()],
            witnesses: vec![Witness::CommandDone, Witness::Conflict, Witness::ReadAnswered],
            small: true,
            ..quiet(base("commands", "every kind of command and query, once"))
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            slots: 6,
            sessions: (3, 2),
            prefix: vec![elect(), Play::Admit(1)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0])]),
                Client::Source(vec![
                    handed_on((1, 1), 1, 1),
                    handed_on((1, 2), 1, 2),
                    handed_on((1, 3), 2, 3),
                    handed_on((1, 5), 3, 5),
                ]),
            ],
            ..quiet(base("numbers", "operations of a session out of order, repeated, acknowledged, and too far ahead"))
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            slots: 5,
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![command(1, "a", &[0])]),
                Client::Script(vec![item(
                    Want::Named(
                        OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 },
                        put(2, "z", "z", None),
                    ),
                    &[0],
                )]),
                Client::Source(vec![handed_on((0, 1), 1, 3)]),
            ],
            witnesses: vec![Witness::CommandDone],
            ..quiet(base("strangers", "operations of clients that name a node's session"))
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            slots: 6,
            sessions: (2, 4),
            options: Options { batch_max: 2, ..options() },
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0])]),
                Client::Script(vec![item(Want::Session, &[0]), command(2, "b", &[0])]),
            ],
            witnesses: vec![Witness::CommandDone],
            ..quiet(base("sessions-in-a-batch", "two sessions opened by one entry, for which the node's makes room"))
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            slots: 4,
            // Two operations are more than one message takes.
            options: Options { bytes_max: 100, ..options() },
            prefix: vec![elect()],
            clients: vec![Client::Script(vec![command(1, "a", &[1])]), Client::Script(vec![command(2, "b", &[1])])],
            witnesses: vec![Witness::CommandDone],
            progress: vec![Links::among(&[0, 1])],
            ..quiet(base("overtaken", "two requests of a node, handed on one after the other and reached in any order"))
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            slots: 4,
            restarts: Some(0),
            restarting: vec![],
            // Two operations are more than goes together.
            options: Options { bytes_max: 100, ..options() },
            timers: Timers { resend: true, deadline: true, ..CORE },
            prefix: vec![elect(), Play::Admit(2), Play::FireWithout(1, Timer::Election, vec![0])],
            clients: vec![
                Client::Script(vec![command(1, "a", &[1]), command(2, "b", &[1])]),
                Client::Script(vec![command(3, "c", &[1])]),
            ],
            witnesses: vec![Witness::CommandDone],
            progress: vec![Links::among(&[0, 1])],
            ..base(
                "handed-on-in-part",
                "of two requests that wait where no leader is known, one is handed on again at a time",
            )
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            default: false,
            slots: 5,
            sessions: (1, 2),
            prefix: vec![elect()],
            clients: vec![
                Client::Source(vec![(Id::from(0), Message::Forward { operations: [other].into(), relayed: true })]),
                Client::Script(vec![command(1, "a", &[1]), command(2, "b", &[1])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            progress: vec![Links::among(&[0, 1])],
            ..quiet(base(
                "follower-session-lost",
                "a follower's session makes room, and may be opened twice in one life",
            ))
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            restarts: Some(1),
            restarting: vec![1],
            slots: 2,
            rounds: 1,
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![command(1, "a", &[1])]),
                Client::Script(vec![command(2, "b", &[1])]),
                Client::Script(vec![item(read("k"), &[0])]),
            ],
            witnesses: vec![Witness::ReadAnswered],
            ..base("two-lives", "a node opens a session in each of two lives, in any order")
        },
        Scope {
            elections: vec![0, 0, 1],
            slots: 6,
            options: Options { window: 2, ..options() },
            prefix: vec![
                elect(),
                Play::Admit(3),
                Play::Admit(4),
                Play::AdmitWithout(3, vec![1, 2]),
                Play::AdmitWithout(4, vec![1, 2]),
                Play::Fire(4, Timer::Resend),
                Play::FireWithout(1, Timer::Election, vec![0]),
                Play::AdmitWithout(4, vec![0]),
            ],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0])]),
                Client::Script(vec![item(Want::Session, &[0]), command(2, "b", &[0, 1])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::RetryAnswered],
            restarting: vec![0, 1, 2],
            restarts: Some(1),
            ..base("twice-in-the-log", "two leaders propose one operation in different slots")
        },
        Scope {
            elections: vec![1, 1, 0],
            slots: 4,
            options: Options { window: 2, ..options() },
            prefix: vec![
                elect(),
                Play::Admit(3),
                Play::AdmitWithout(3, vec![1, 2]),
                Play::Fire(0, Timer::Deadline(1)),
                Play::AdmitWithout(4, vec![1, 2]),
            ],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[1]), command(1, "a", &[0])]),
                Client::Script(vec![command(2, "b", &[0])]),
            ],
            losses: Losses::Chain,
            ..quiet(base("opened-twice", "two leaders propose one opening of a node's session in different slots"))
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
                Client::Script(vec![item(Want::Command(put(2, "k", "b", None)), &[0]), item(Want::Session, &[0])]),
                Client::Script(vec![item(Want::Command(put(3, "k", "c", None)), &[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            ..base("limits", "one replica at its limits: requests, sessions, replies")
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            restarting: vec![0],
            restarts: Some(1),
            slots: 12,
            prefix: vec![elect(), Play::Admit(1)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0, 0])]),
                Client::Script(vec![
                    item(Want::Session, &[0]),
                    command(2, "b", &[0]),
                    item(Want::ExpireUnused(3), &[0]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone],
            small: true,
            ..base("unused-sessions", "what was not used for long is ended, and what is in use is not")
        },
        Scope {
            replicas: 1,
            elections: vec![0],
            restarting: vec![0],
            restarts: Some(1),
            slots: 12,
            prefix: vec![elect()],
            clients: vec![
                Client::Script(vec![
                    item(Want::Session, &[0]),
                    item(Want::Expire(Some(SessionId { slot: 0, position: 0 })), &[0]),
                    command(1, "a", &[0]),
                ]),
                Client::Script(vec![command(2, "b", &[0])]),
            ],
            witnesses: vec![Witness::CommandDone],
            small: true,
            ..base("session-of-a-node", "a client wants to end the session of a node")
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
                Client::Script(vec![read_at(&[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            progress: vec![Links::among(&[0])],
            small: true,
            ..base(
                "node-session-lost",
                "a node's own session makes room for a client's, with a write and a read under way",
            )
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(1),
            restarting: vec![0],
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
    ]
}
