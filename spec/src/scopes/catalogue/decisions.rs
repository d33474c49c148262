//! How decisions spread: by a leader's mark, by fetching, and past a leader that was deposed.

use super::{base, for_leader, item, majorities, one_operation_each, options, read};
use crate::properties::party::Client;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    vec![
        Scope {
            elections: vec![0, 1, 0],
            overfull: false,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::AllApplied],
            ..base("decided-mark", "one slot, two ballots, and everybody hears how far is decided")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            overfull: false,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![one_operation_each(&[0, 1])],
            progress: majorities(),
            witnesses: vec![Witness::Chosen, Witness::AllApplied],
            ..base("leader-behind", "a leader for whom others decided too much is told, and everything goes on")
        },
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            slots: 2,
            overfull: false,
            options: Options { window: 2, ..options() },
            losses: Losses::Third,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            progress: majorities(),
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            ..base("hole", "a new leader finds a hole, and everything goes on")
        },
        // Node 0 asks node 3 for decisions, leads with the promises of nodes 1 and 3, and is deposed by nodes 2 to 4 without
        // hearing of it. The answer to what it asked then tells it another decision than what nodes 0 and 1 voted for.
        Scope {
            replicas: 5,
            restarting: vec![0, 1],
            elections: vec![0, 0, 1, 0, 0],
            overfull: false,
            losses: Losses::Sides,
            prefix: vec![
                Play::Admit(5),
                Play::FireWithLateFetch(0, Timer::Resend, 3),
                Play::FireWithout(0, Timer::Election, vec![2, 4]),
            ],
            clients: vec![
                Client::Script(vec![item(read("k"), &[0])]),
                Client::Script(vec![item(read("k"), &[0])]),
                Client::Source(vec![for_leader(0, &[1]), for_leader(2, &[3])]),
            ],
            witnesses: vec![Witness::Chosen],
            ..base("overruled-leader", "five replicas, a deposed leader is told a decision that it did not propose")
        },
    ]
}
