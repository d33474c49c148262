//! Who may be chosen: ballots and votes.

use super::{base, for_leader, one_operation_each, options};
use crate::properties::party::Client;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::Options;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let votes = |name, description| Scope { overfull: false, losses: Losses::Heartbeats, ..base(name, description) };
    let two_slots = |name, description| Scope {
        slots: 2,
        options: Options { window: 2, ..options() },
        clients: vec![Client::Source(vec![for_leader(0, &[1, 2])])],
        ..votes(name, description)
    };
    vec![
        Scope {
            clients: vec![one_operation_each(&[0, 1, 2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..votes("one-slot-three-owners", "one slot, three ballots from three owners")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            elections: vec![2, 1, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..votes("one-slot-owner-twice", "one slot, three ballots, two of them of one owner")
        },
        Scope {
            elections: vec![1, 1, 0],
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            ..two_slots("two-slots-two-ballots", "two slots, two ballots, a hole filled")
        },
        Scope {
            losses: Losses::Counting,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleProposed, Witness::ThirdBallot],
            ..two_slots("two-slots-three-ballots", "two slots, three ballots, a no-op proposed for a hole")
        },
        Scope {
            default: false,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled, Witness::ThirdBallot],
            ..two_slots("two-slots-three-ballots-decided", "the same with decisions")
        },
        Scope {
            elections: vec![2, 1, 1],
            restarting: vec![0],
            losses: Losses::Counting,
            default: false,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleProposed, Witness::ThirdBallot],
            ..two_slots("two-slots-four-ballots", "two slots, four ballots, a no-op proposed for a hole")
        },
        Scope {
            replicas: 5,
            restarting: vec![0, 1, 2, 3, 4],
            clients: vec![one_operation_each(&[0, 1])],
            elections: vec![1, 1, 0, 0, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            ..votes("five-replicas", "five replicas, one slot, two ballots")
        },
        Scope {
            replicas: 5,
            restarting: vec![],
            clients: vec![one_operation_each(&[0, 1, 2])],
            elections: vec![1, 1, 1, 0, 0],
            losses: Losses::Counting,
            default: false,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..votes("five-replicas-three-ballots", "five replicas, one slot, three ballots")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, &[1]), for_leader(0, &[2]), for_leader(0, &[3])])],
            elections: vec![1, 1, 0],
            slots: 2,
            restarts: Some(0),
            restarting: vec![],
            options: Options { window: 2, batch_max: 2, requests_max: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            losses: Losses::Third,
            ..base("batches", "batches of two, a window of two")
        },
    ]
}
