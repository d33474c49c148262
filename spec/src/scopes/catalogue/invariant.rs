//! The invariant that is proved, in every state: where no vote is forgotten, which makes more states of the same.

use super::{base, for_leader, majorities, one_operation_each, options};
use crate::properties::party::Client;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let whole = |name, description| Scope { collapse: false, overfull: false, ..base(name, description) };
    vec![
        Scope {
            elections: vec![0, 1, 0],
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            restarts: Some(1),
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::AllApplied],
            ..whole("invariant-decided", "one slot, two ballots with decisions, every vote remembered")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1, 2])],
            losses: Losses::Heartbeats,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..whole("invariant-three-ballots", "one slot, three ballots, every vote remembered")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 2,
            options: Options { window: 2, ..options() },
            losses: Losses::Third,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            progress: majorities(),
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            ..whole("invariant-hole", "two slots, two ballots, a hole filled, every vote remembered")
        },
    ]
}
