//! Small scopes for what others leave out: a lone node with pre-votes, operations that are larger than a message should be, sessions that
//! end under those who wait, more nodes than three where a majority of three is none.

use super::{CORE, base, command, elect, for_leader, item, options, put, read};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::message::{OperationId, SessionId};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let quiet = |name, description| Scope { restarts: Some(0), restarting: vec![], ..base(name, description) };
    let alone = |name, description| Scope {
        replicas: 1,
        elections: vec![0],
        prefix: vec![elect()],
        progress: vec![Links::among(&[0])],
        witnesses: vec![Witness::CommandDone],
        ..quiet(name, description)
    };
    let wants = |want, node| Client::Script(vec![item(want, &[node])]);
    let writes = |tag, val, node| Client::Script(vec![command(tag, val, &[node])]);
    let of_node = |sequence, tag| {
        let id = OperationId { session: SessionId { slot: 0, position: 0 }, sequence };
        wants(Want::Named(id, put(tag, "z", "z", None)), 0)
    };
    let long = "v".repeat(200);
    vec![
        Scope {
            elections: vec![2],
            restarting: vec![0],
            restarts: Some(1),
            slots: 6,
            prefix: vec![],
            options: Options { pre_vote: true, ..options() },
            clients: vec![Client::Script(vec![command(1, "a", &[0]), item(read("k"), &[0])])],
            small: true,
            ..alone("alone-with-pre-vote", "a node that has nobody to ask begins its ballot")
        },
        // Each operation takes 90 bytes.
        Scope {
            replicas: 2,
            elections: vec![1, 0],
            slots: 3,
            overfull: false,
            options: Options {
                window: 4,
                batch_max: 3,
                bytes_max: 80,
                window_bytes_max: 80,
                requests_max: 5,
                ..options()
            },
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2])])],
            witnesses: vec![Witness::Chosen],
            progress: vec![Links::among(&[0, 1])],
            small: true,
            ..quiet("larger-than-allowed", "operations that take more bytes than go together, each by itself")
        },
        Scope {
            replicas: 2,
            elections: vec![1, 0],
            slots: 3,
            overfull: false,
            options: Options { window: 2, pipeline: 2, bytes_max: 100, ..options() },
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2])])],
            timers: Timers { resend: true, ..CORE },
            witnesses: vec![Witness::Chosen],
            progress: vec![Links::among(&[0, 1])],
            small: true,
            ..quiet("sent-again", "two entries of which one alone is sent again at a time")
        },
        Scope {
            slots: 6,
            options: Options { batch_max: 3, bytes_max: 320, requests_max: 4, ..options() },
            clients: vec![writes(1, &long, 0), writes(2, &long, 0), writes(3, &long, 0)],
            ..alone("long-values", "values of which two are more than goes together")
        },
        Scope {
            slots: 6,
            clients: vec![writes(1, "a", 0), writes(2, "b", 0), wants(read("k"), 0)],
            ..alone("read-behind-window", "a read comes while the window is full")
        },
        Scope {
            slots: 6,
            sessions: (2, 4),
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0])]),
                wants(Want::Session, 0),
            ],
            small: true,
            ..alone("session-lost", "a client's session makes room while it is in use")
        },
        Scope {
            slots: 8,
            sessions: (2, 4),
            clients: vec![writes(1, "a", 0), writes(2, "b", 0), of_node(1, 3), of_node(3, 4)],
            ..alone("strangers-ahead", "clients that name a node's session, with the numbers that it has and will have")
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            slots: 6,
            rounds: 2,
            sessions: (1, 2),
            timers: Timers { resend: true, ..CORE },
            prefix: vec![elect(), Play::Admit(2), Play::Admit(4), Play::AdmitWithout(3, vec![0]), Play::Admit(2)],
            clients: vec![
                Client::Script(vec![command(1, "x", &[1]), item(Want::Command(put(2, "j", "b", None)), &[1])]),
                wants(read("k"), 1),
                Client::Script(vec![item(Want::Session, &[0]), command(3, "c", &[0])]),
                wants(read("k"), 1),
            ],
            witnesses: vec![Witness::ReadAnswered],
            ..quiet("read-over-lost-session", "a read waits while its node's session ends, and another comes after")
        },
        Scope {
            replicas: 5,
            elections: vec![0, 0, 1, 0, 0],
            slots: 5,
            rounds: 1,
            prefix: vec![elect(), Play::Admit(5)],
            losses: Losses::Sides,
            clients: vec![Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[2])]), wants(read("k"), 0)],
            witnesses: vec![Witness::CommandDone],
            ..quiet("deposed-read-of-five", "five replicas, and a read at a leader that two of them still follow")
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            slots: 5,
            prefix: vec![elect(), Play::Admit(2)],
            clients: vec![
                Client::Script(vec![command(1, "a", &[1]), command(4, "d", &[1])]),
                writes(2, "b", 1),
                wants(
                    Want::Named(
                        OperationId { session: SessionId { slot: 0, position: 0 }, sequence: 1 },
                        put(3, "z", "z", None),
                    ),
                    1,
                ),
            ],
            witnesses: vec![Witness::CommandDone],
            ..quiet(
                "overtaken-beside-a-stranger",
                "two requests of a node in any order, while a stranger names its session",
            )
        },
        Scope {
            options: Options { horizon: 1, ..options() },
            elections: vec![0, 0, 1],
            slots: 3,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2]), Play::AdmitWithout(3, vec![2])],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0])]),
                Client::Source(vec![for_leader(2, &[9])]),
            ],
            witnesses: vec![Witness::AllApplied],
            ..quiet(
                "new-value-beyond-horizon",
                "a candidate that is too far behind has something of its own to propose",
            )
        },
        Scope {
            elections: vec![0, 0, 0],
            slots: 1,
            rounds: 3,
            options: Options { requests_max: 1, ..options() },
            prefix: vec![elect()],
            clients: vec![wants(read("k"), 0), wants(read("k"), 1), wants(read("k"), 2)],
            witnesses: vec![Witness::ReadAnswered],
            ..quiet("reads-full", "more reads wait for a round than the leader takes")
        },
    ]
}
