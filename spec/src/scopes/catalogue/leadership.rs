//! Who leads and for how long, and who catches up.

use super::{CORE, base, item, majorities, options, put};
use crate::properties::party::{Client, Want};
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
