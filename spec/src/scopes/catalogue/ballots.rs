//! Who may be chosen: ballots and votes.

use super::{base, for_leader, one_operation_each, options};
use crate::properties::party::Client;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::Options;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    vec![
        Scope {
            clients: vec![one_operation_each(&[0, 1, 2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            ..base("one-slot-three-owners", "one slot, three ballots from three owners")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            elections: vec![2, 1, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            ..base("one-slot-owner-twice", "one slot, three ballots, two of them of one owner")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2)])],
            elections: vec![1, 1, 0],
            slots: 2,
            options: Options { window: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            losses: Losses::Heartbeats,
            ..base("two-slots-two-ballots", "two slots, two ballots, a hole filled")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2)])],
            elections: vec![1, 1, 1],
            slots: 2,
            options: Options { window: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled, Witness::ThirdBallot],
            losses: Losses::Heartbeats,
            default: false,
            ..base("two-slots-three-ballots", "two slots, three ballots, a hole filled")
        },
        Scope {
            clients: vec![one_operation_each(&[0, 1])],
            replicas: 5,
            restarting: vec![],
            restarts: Some(0),
            elections: vec![1, 1, 0, 0, 0],
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            losses: Losses::Heartbeats,
            ..base("five-replicas", "five replicas, one slot, two ballots")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, 1), for_leader(0, 2), for_leader(0, 3)])],
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
