//! Reads across a change of leader, and after a restart.

use super::{CORE, base, elect, item, put, read};
use crate::properties::party::{Client, Item, Want};
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::kv::Query;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let session = || item(Want::Session, &[0]);
    let put_at = |node| item(Want::Command(put(1, "k", "a", Some(1))), &[node]);
    let read_at = |node| item(read("k"), &[node]);
    let new_leader = |name, description, restarting: Vec<usize>, scripts: Vec<Vec<Item>>| Scope {
        elections: vec![0, 1, 0],
        restarts: Some(1),
        restarting,
        slots: 9,
        rounds: 1,
        prefix: vec![elect(), Play::Admit(3)],
        clients: scripts.into_iter().map(Client::Script).collect(),
        witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
        losses: Losses::HeartbeatsToThird,
        ..base(name, description)
    };
    vec![
        new_leader(
            "deposed-read",
            "reads at a deposed leader, before and after its successor takes a write",
            // With restarts of the deposed leader, too, it is twice as large.
            vec![1],
            vec![vec![session(), put_at(1), read_at(0)], vec![read_at(0)]],
        ),
        Scope {
            replicas: 4,
            learners: vec![3],
            elections: vec![0, 1, 0, 0],
            restarts: Some(0),
            prefix: vec![elect(), Play::Admit(4)],
            ..new_leader(
                "learner-vouches",
                "reads at a deposed leader whom a learner still hears",
                vec![],
                vec![vec![session(), put_at(1), read_at(0)]],
            )
        },
        new_leader(
            "new-leader-read",
            "a read at a new leader",
            vec![0, 1],
            vec![vec![session(), put_at(1)], vec![read_at(1)]],
        ),
        new_leader(
            "inherited-read",
            "a read at a new leader that has the vote for a write, and not its decision",
            vec![1],
            vec![vec![session(), put_at(0)], vec![read_at(1)]],
        ),
        Scope {
            elections: vec![0, 0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 9,
            prefix: vec![elect()],
            clients: vec![Client::Script(vec![
                item(read("k"), &[1]),
                item(Want::Command(put(1, "k", "a", Some(1))), &[0]),
                item(read("k"), &[1]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            losses: Losses::HeartbeatsToThird,
            ..base("reads-by-turns", "a read, a write elsewhere, and another read of the same node")
        },
        Scope {
            replicas: 2,
            elections: vec![0, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 3,
            timers: Timers { resend: true, ..CORE },
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(read("k"), &[1]), item(read("k"), &[1])]),
                Client::Script(vec![session(), put_at(0)]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            ..base(
                "reads-asked-again",
                "a read, a write elsewhere, and another read, each asked for any number of times",
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            restarting: vec![1],
            slots: 9,
            losses: Losses::Third,
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", Some(1))), &[0])]),
                Client::Script(vec![
                    item(Want::LocalRead(Query::Get("k".into())), &[1]),
                    item(Want::LocalRead(Query::Get("k".into())), &[1]),
                ]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            ..base("local-reads", "local reads before and after a restart and a change of leader")
        },
    ]
}
