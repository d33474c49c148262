//! Who leads and for how long, and who catches up.

use super::{CORE, base, elect, for_leader, item, majorities, one_operation_each, options, put, read};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
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
        progress: majorities(),
        ..base(name, description)
    };
    vec![
        Scope {
            options: Options { pre_vote: true, ..options() },
            elections: vec![1, 1, 0],
            restarting: vec![0, 1],
            witnesses: vec![],
            progress: majorities(),
            losses: Losses::Third,
            ..base("pre-vote", "a quorum is asked before a ballot is begun")
        },
        Scope {
            options: Options { pre_vote: true, ..options() },
            elections: vec![0, 1, 1],
            restarts: Some(0),
            restarting: vec![],
            prefix: vec![elect()],
            progress: majorities(),
            losses: Losses::Heartbeats,
            default: false,
            ..base("pre-vote-three-ballots", "two nodes want to lead after a third, each asking a quorum before")
        },
        Scope {
            timers: Timers { step_down: true, ..CORE },
            elections: vec![1, 1, 0],
            // A leader's restart would look as if it had stepped down.
            restarting: vec![2],
            witnesses: vec![Witness::SteppedDown],
            progress: majorities(),
            ..base("step-down", "a leader that hears no quorum steps down")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            timers: Timers { step_down: true, ..CORE },
            elections: vec![1, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            witnesses: vec![Witness::SteppedDown],
            progress: majorities(),
            losses: Losses::Heartbeats,
            ..base("step-down-voted", "a leader that hears no quorum steps down, and has voted")
        },
        Scope {
            options: Options { pre_vote: true, ..options() },
            elections: vec![1, 0, 0],
            progress: majorities(),
            losses: Losses::Heartbeats,
            ..base("pre-vote-of-three", "a quorum is asked before a ballot is begun, three replicas")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, &[1]), for_leader(1, &[2])])],
            elections: vec![1, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            progress: majorities(),
            losses: Losses::Heartbeats,
            ..base("half-promised", "two ballots in one slot: promises half made, votes half cast, then faults end")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, &[1]), for_leader(0, &[2])])],
            elections: vec![1, 0, 0],
            restarts: Some(1),
            slots: 2,
            options: Options { window: 2, ..options() },
            progress: majorities(),
            losses: Losses::Heartbeats,
            ..base("half-voted", "two slots with holes and a restart, then faults end")
        },
        Scope {
            elections: vec![0, 0, 0],
            restarting: vec![0, 1],
            rounds: 1,
            slots: 9,
            prefix: vec![elect(), Play::Admit(3)],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0])]),
                Client::Script(vec![item(read("k"), &[1])]),
            ],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            losses: Losses::Third,
            progress: majorities(),
            ..base("waiting-read", "a read waits for a slot that its leader proposed in, then faults end")
        },
        Scope {
            options: Options { window: 2, fetch_max: 2, ..options() },
            ..behind("catch-up", "a replica that was away catches up, two decisions at a time", vec![0, 0, 0])
        },
        Scope {
            // Two entries are more than one message takes.
            options: Options { window: 2, fetch_max: 2, bytes_max: 100, ..options() },
            ..behind("candidate-behind", "a replica that was away wants to lead", vec![0, 0, 1])
        },
        Scope {
            // What the others vote in is beyond what the third may vote in.
            options: Options { horizon: 1, ..options() },
            slots: 3,
            restarts: Some(0),
            restarting: vec![],
            timers: CORE,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2]), Play::AdmitWithout(3, vec![2])],
            ..behind("beyond-horizon", "a replica that is too far behind to vote, or to count a promise", vec![0, 0, 1])
        },
        Scope {
            learners: vec![2],
            elections: vec![0, 0, 1],
            restarts: Some(1),
            slots: 3,
            rounds: 1,
            prefix: vec![elect()],
            clients: vec![Client::Script(vec![
                item(Want::Command(put(1, "k", "a", None)), &[2]),
                item(read("k"), &[2]),
            ])],
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            progress: vec![Links::among(&[0, 1]), Links::among(&[0, 1, 2])],
            ..base("learner", "a learner hands on and answers, and counts in no quorum")
        },
    ]
}
