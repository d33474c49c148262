//! Clients and what becomes of their requests, over restarts, retries and changes of leader.

use super::{CORE, base, command, elect, item, majorities, options, put, read};
use crate::properties::party::{Client, Item, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let quick = Timers { deadline: true, ..CORE };
    let first = |node: usize| item(Want::Session, &[node]);
    let delete = |nodes: &[usize]| item(Want::Command(put(3, "k", "", Some(2))), nodes);
    let conflict = || item(Want::Command(put(2, "k", "b", Some(1))), &[1]);
    let read_at = |nodes: &[usize]| item(read("k"), nodes);
    let two_clients = |name, description, one: Vec<Item>, other: Vec<Item>| {
        let done = [first(0), item(Want::Command(put(1, "k", "a", Some(1))), &[0])];
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![0, 1],
            rounds: 1,
            slots: 9,
            prefix: vec![elect(), Play::Admit(3), Play::Admit(4), Play::Admit(3)],
            clients: vec![
                Client::Script(done.into_iter().chain(one).collect()),
                Client::Script([first(1)].into_iter().chain(other).collect()),
            ],
            losses: Losses::Third,
            ..base(name, description)
        }
    };
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
        // Two clients with two operations each, of which one is done in the script, through nodes 0 and 1: among them a conflict,
        // a delete and a read. A restart, a retry and a change of leader meet by twos here; all at once is for `--full`.
        Scope {
            restarts: Some(1),
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict],
            ..two_clients(
                "two-clients",
                "two clients with two operations each, a restart: a conflict, a delete and a read",
                vec![delete(&[0])],
                vec![conflict(), read_at(&[1])],
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict, Witness::RetryAnswered],
            ..two_clients(
                "two-clients-new-leader",
                "the same with a retry and a change of leader, without a restart",
                vec![delete(&[0, 1])],
                vec![conflict(), read_at(&[1])],
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::RetryAnswered],
            ..two_clients(
                "two-clients-all-at-once",
                "a delete and a read, over a retry, a change of leader and a restart",
                vec![delete(&[0, 1])],
                vec![read_at(&[1])],
            )
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
        // Both operations of each client at any time.
        Scope {
            restarts: Some(1),
            prefix: vec![elect(), Play::Admit(3), Play::Admit(4)],
            default: false,
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict],
            ..two_clients(
                "two-clients-restart",
                "two clients with two operations each, none of them in the script, and a restart",
                vec![read_at(&[1])],
                vec![conflict(), delete(&[0])],
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            default: false,
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict, Witness::RetryAnswered],
            ..two_clients(
                "two-clients-conflict",
                "a conflict, a delete and a read, over a retry, a change of leader and a restart",
                vec![delete(&[0, 1])],
                vec![conflict(), read_at(&[1])],
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            default: false,
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::RetryAnswered],
            ..two_clients(
                "two-clients-two-retries",
                "a delete and a read, over a retry of each, a change of leader and a restart",
                vec![delete(&[0, 1])],
                vec![read_at(&[1, 0])],
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            default: false,
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Conflict, Witness::RetryAnswered],
            ..two_clients(
                "two-clients-everything",
                "a conflict, a delete and a read, a retry of each client, a change of leader and a restart",
                vec![delete(&[0, 1])],
                vec![conflict(), read_at(&[1, 0])],
            )
        },
        Scope {
            elections: vec![1, 0, 0],
            restarting: vec![0, 1],
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
            slots: 5,
            timers: quick,
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[1, 1])])],
            witnesses: vec![Witness::CommandDone, Witness::RetryAnswered],
            losses: Losses::Third,
            small: true,
            elections: vec![0, 0, 0],
            restarting: vec![0, 1],
            ..base("superseded", "a retry at the same node, whose time may be up")
        },
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(1),
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
