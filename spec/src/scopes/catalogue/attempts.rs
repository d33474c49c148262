//! Attempts at operations that come too late or too early, or for which there is no room.

use super::{base, command, elect, item, options, put, read};
use crate::properties::audit::Tagged;
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::Scope;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use paxos_model::replica::Options;
use paxos_model::replica::message::{OperationId, SessionId};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let alone = |name, description| Scope {
        replicas: 1,
        elections: vec![0],
        restarts: Some(0),
        restarting: vec![],
        prefix: vec![elect(), Play::Admit(1)],
        witnesses: vec![Witness::CommandDone, Witness::ScriptDone],
        ..base(name, description)
    };
    let other: Tagged = put(3, "k", "c", None);
    let ahead = OperationId { session: SessionId { slot: 1, position: 0 }, sequence: 3 };
    let wants = |want| Client::Script(vec![item(want, &[0])]);
    vec![
        Scope {
            slots: 6,
            sessions: (3, 2),
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0, 0]), command(2, "b", &[0])]),
                Client::Script(vec![item(Want::Named(ahead, other), &[0])]),
            ],
            progress: vec![Links::among(&[0])],
            ..alone("late-and-early", "an attempt after a later operation was acknowledged, and one too far ahead")
        },
        Scope {
            slots: 6,
            sessions: (1, 1),
            prefix: vec![elect()],
            clients: vec![
                wants(Want::Session),
                Client::Script(vec![command(1, "a", &[0])]),
                Client::Script(vec![command(2, "b", &[0])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            progress: vec![Links::among(&[0])],
            ..alone("waiting-for-a-number", "a node's session ends while a request waits for a number in it")
        },
        Scope {
            slots: 2,
            elections: vec![1],
            prefix: vec![],
            options: Options { requests_max: 1, ..options() },
            clients: vec![wants(read("k")), wants(read("k")), wants(Want::Command(put(1, "k", "a", None)))],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered, Witness::Refused],
            progress: vec![Links::among(&[0])],
            ..alone("busy", "a node with room for one request, a read or a write")
        },
    ]
}
