//! Snapshots in the place of the log: taken and truncated at every point, sent in parts to whoever is behind, across restarts,
//! other leaders and further writes; and what becomes of those who wait for something that a snapshot passes over.

use super::{CORE, base, command, elect, for_leader, item, majorities, one_operation_each, options, put};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// A snapshot in every slot, and nothing kept before it.
fn always() -> Options {
    Options { snapshot_every: 1, ..options() }
}

/// Each part of a snapshot has one piece.
fn piecemeal() -> Options {
    Options { bytes_max: 1, ..always() }
}

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let session = |node: usize, tag: u8| Client::Script(vec![item(Want::Session, &[node]), command(tag, "a", &[node])]);
    let quiet = |name, description| Scope { restarts: Some(0), restarting: vec![], ..base(name, description) };
    // Node 2 was away while the others wrote and truncated: a session was opened, and a command done in it. Now it hears of that.
    let away = |name, description| Scope {
        elections: vec![0, 0, 0],
        slots: 3,
        options: piecemeal(),
        prefix: vec![
            Play::FireWithout(0, Timer::Election, vec![2]),
            Play::AdmitWithout(3, vec![2]),
            Play::AdmitUnheard(3, vec![2]),
        ],
        clients: vec![session(0, 1)],
        witnesses: vec![Witness::AllApplied, Witness::Installed],
        ..quiet(name, description)
    };
    // And node 1 leads now.
    let other_leader = |name, description| {
        let mut scope = away(name, description);
        scope.prefix.push(Play::FireWithout(1, Timer::Election, vec![2]));
        scope
    };
    // What a client of node 2 asked is done, and node 2 has not heard of it.
    let waits = |name, description| Scope {
        elections: vec![0, 0, 0],
        slots: 4,
        options: always(),
        witnesses: vec![Witness::Installed],
        ..quiet(name, description)
    };
    let tail = |name, description| Scope {
        elections: vec![0, 1, 0],
        overfull: false,
        losses: Losses::Third,
        prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
        witnesses: vec![Witness::Chosen, Witness::Truncated],
        ..quiet(name, description)
    };
    vec![
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(1),
            overfull: false,
            options: always(),
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            witnesses: vec![Witness::Chosen, Witness::Truncated, Witness::Installed],
            ..base("truncated", "a snapshot of the only slot, two ballots, a restart")
        },
        Scope {
            default: false,
            elections: vec![1, 1, 0],
            overfull: false,
            options: always(),
            clients: vec![one_operation_each(&[0, 1])],
            witnesses: vec![Witness::Chosen, Witness::Truncated, Witness::Installed],
            ..base("truncated-everywhere", "a snapshot of the only slot, two ballots, restarts anywhere")
        },
        Scope {
            default: false,
            elections: vec![0, 1, 0],
            slots: 2,
            overfull: false,
            options: always(),
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            witnesses: vec![Witness::Chosen, Witness::Truncated, Witness::Installed],
            ..quiet("truncated-twice", "a snapshot in each of two slots, two ballots")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarting: vec![0, 1, 2],
            restarts: Some(1),
            ..away(
                "snapshot-interrupted",
                "a replica that was away receives a snapshot piece by piece, with another leader and a restart",
            )
        },
        Scope {
            progress: vec![Links::among(&[0, 2])],
            timers: Timers { resend: true, ..CORE },
            ..away(
                "snapshot-resent",
                "a replica that was away receives a snapshot piece by piece, and is given up for a while",
            )
        },
        Scope {
            timers: Timers { resend: true, ..CORE },
            slots: 4,
            learners: vec![2],
            options: Options { bytes_max: 150, ..always() },
            clients: vec![session(0, 1), Client::Source(vec![for_leader(0, &[2])])],
            progress: vec![Links::among(&[0, 1, 2])],
            ..away("snapshot-begun-anew", "nobody has the snapshot any more that a replica has begun to receive")
        },
        Scope {
            elections: vec![0, 1, 0],
            ..away("snapshot-other-sender", "the leader changes while a replica receives a snapshot piece by piece")
        },
        Scope {
            timers: Timers { resend: true, ..CORE },
            options: Options { patience: 3, source_patience: 3, bytes_max: 150, ..always() },
            ..other_leader(
                "snapshot-asked-again",
                "the leader changes, and the other one is asked again for what it was sending",
            )
        },
        Scope {
            slots: 4,
            restarts: Some(1),
            restarting: vec![2],
            options: Options { bytes_max: 150, ..always() },
            clients: vec![session(0, 1), Client::Source(vec![for_leader(1, &[2])])],
            progress: vec![Links::among(&[1, 2])],
            ..other_leader(
                "snapshot-later-elsewhere",
                "the leader changes, and has a later snapshot than the other one is sending",
            )
        },
        Scope {
            elections: vec![0, 0, 1],
            options: Options { pre_vote: true, ..piecemeal() },
            progress: majorities(),
            ..away("snapshot-for-candidate", "a replica that lacks what the others truncated wants to lead")
        },
        Scope {
            slots: 4,
            clients: vec![session(0, 1), Client::Script(vec![command(2, "b", &[0])])],
            ..away("snapshot-under-writes", "a snapshot is sent while further ones are taken")
        },
        Scope {
            slots: 4,
            options: Options { kept_bytes: 1, ..piecemeal() },
            clients: vec![session(0, 1), Client::Script(vec![command(2, "b", &[0])])],
            ..away("snapshot-left-behind", "a snapshot is sent while others write, more than is kept or less")
        },
        Scope {
            slots: 4,
            options: Options { snapshot_every: 2, kept_bytes: 1, bytes_max: 150, ..options() },
            clients: vec![session(0, 1), Client::Source(vec![for_leader(0, &[2])])],
            ..away("snapshot-and-on", "a snapshot is sent, and what follows it while others write on")
        },
        Scope {
            elections: vec![0, 0, 1],
            clients: vec![Client::Script(vec![item(Want::Session, &[0]), command(1, "a", &[0, 2])])],
            options: always(),
            prefix: vec![
                Play::FireWithout(0, Timer::Election, vec![2]),
                Play::AdmitWithout(3, vec![2]),
                Play::AdmitUnheard(3, vec![2, 3]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::RetryAnswered, Witness::Installed],
            ..away("session-in-snapshot", "a client asks again where the answer has come in a snapshot")
        },
        Scope {
            elections: vec![0, 1, 0],
            overfull: false,
            options: always(),
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            progress: vec![Links::among(&[0, 1]), Links::among(&[0, 1, 2])],
            witnesses: vec![Witness::Chosen, Witness::Installed],
            ..quiet("leader-behind-truncated", "a leader for whom others decided and truncated too much")
        },
        Scope {
            elections: vec![0, 1, 0],
            overfull: false,
            slots: 2,
            losses: Losses::HeartbeatsToThird,
            options: always(),
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Source(vec![for_leader(0, &[1]), for_leader(1, &[2, 3])])],
            witnesses: vec![Witness::Chosen, Witness::Installed],
            ..quiet("leader-further-behind", "a leader for whom others decide and truncate on while it is told")
        },
        Scope {
            learners: vec![2],
            prefix: vec![elect(), Play::AdmitUnheard(3, vec![2])],
            clients: vec![session(2, 1)],
            ..waits("opening-past-a-snapshot", "the opening of a node's session is in what a snapshot passes over")
        },
        Scope {
            prefix: vec![elect(), Play::Admit(3), Play::AdmitUnheard(3, vec![2])],
            clients: vec![session(2, 1)],
            witnesses: vec![Witness::CommandDone, Witness::Installed],
            ..waits("answer-past-a-snapshot", "what a client waits for is in what a snapshot passes over")
        },
        Scope {
            timers: Timers { resend: true, ..CORE },
            learners: vec![2],
            options: Options { snapshot_every: 5, ..options() },
            sessions: (1, 2),
            slots: 6,
            prefix: vec![elect(), Play::Admit(3), Play::AdmitUnheard(3, vec![2]), Play::AdmitUnheard(4, vec![2])],
            clients: vec![
                Client::Script(vec![command(1, "a", &[2]), item(Want::Command(put(2, "j", "b", None)), &[2])]),
                Client::Script(vec![item(Want::Session, &[0])]),
            ],
            ..waits("session-lost-past-a-snapshot", "a node's session came and went in what a snapshot passes over")
        },
        Scope {
            slots: 3,
            options: Options { snapshot_every: 2, tail: 1, window: 2, ..options() },
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2, 3]), for_leader(1, &[4])])],
            ..tail("tail", "a snapshot in every other slot, and one slot kept before it")
        },
        // An operation takes 90 bytes.
        Scope {
            slots: 3,
            options: Options { tail: 9, tail_bytes: 100, ..always() },
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2, 3])])],
            ..tail("tail-in-bytes", "a snapshot in every slot, and as much kept before it as a number of bytes")
        },
    ]
}
