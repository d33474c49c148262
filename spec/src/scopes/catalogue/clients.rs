//! Clients, sessions, outcomes.

use super::{CORE, base, elect, item, majorities, options, put, read};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
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
            progress: vec![Links::among(&[0])],
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
            progress: vec![Links::among(&[0])],
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
            progress: majorities(),
            small: true,
            ..base("refusals", "a request whose time is up before or after it is handed on")
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 5,
            options: Options { pre_vote: true, ..options() },
            timers: Timers { resend: true, ..CORE },
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Script(vec![
                item(Want::Command(put(1, "k", "a", None)), &[2]),
                item(read("k"), &[2]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            losses: Losses::Chain,
            progress: vec![Links::chain(&[0, 1, 2]), Links::chain(&[0, 2, 1]), Links::among(&[1, 2])],
            small: true,
            ..base("forwarding", "a node that does not hear the leader hands its requests on through another one")
        },
    ]
}
