//! Reads across a change of leader, and after a restart.

use super::{base, elect, item, put, read};
use crate::properties::party::{Client, Want};
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::kv::Query;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
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
