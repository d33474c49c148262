//! Who may be chosen: ballots and votes.

use super::{base, for_leader, item, one_operation_each, options};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::replica::{Options, Timer};

/// One client for each of these nodes, which asks it for a session.
fn openings(nodes: &[usize]) -> Vec<Client> {
    nodes.iter().map(|node| Client::Script(vec![item(Want::Session, &[*node])])).collect()
}

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let votes = |name, description| Scope { overfull: false, losses: Losses::Heartbeats, ..base(name, description) };
    let two_slots = |name, description| Scope {
        slots: 2,
        options: Options { window: 2, ..options() },
        clients: vec![Client::Source(vec![for_leader(0, &[1, 2])])],
        ..votes(name, description)
    };
    // Node 0 votes in both slots of the first ballot, and node 1 in the first slot of the second, each alone.
    let half_voted = |name, description, elections: Vec<u8>| Scope {
        elections,
        prefix: vec![
            Play::FireWithout(0, Timer::Election, vec![2]),
            Play::AdmitWithout(3, vec![1, 2]),
            Play::AdmitWithout(4, vec![1, 2]),
            Play::FireWithout(1, Timer::Election, vec![0]),
            Play::AdmitWithout(5, vec![0, 2]),
        ],
        clients: openings(&[0, 0, 1]),
        witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
        ..two_slots(name, description)
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
        // As shipped, with a pre-vote; and each operation, of 90 bytes, is as much as goes together.
        Scope {
            elections: vec![0, 1, 0],
            restarts: Some(0),
            restarting: vec![],
            losses: Losses::Counting,
            options: Options { window: 2, pre_vote: true, bytes_max: 100, window_bytes_max: 100, ..options() },
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleProposed],
            ..two_slots(
                "two-slots-pre-vote",
                "two slots, two ballots, the second asked for before, one operation at a time",
            )
        },
        Scope {
            losses: Losses::Counting,
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleProposed, Witness::ThirdBallot],
            ..two_slots("two-slots-three-ballots", "two slots, three ballots, a no-op proposed for a hole")
        },
        // The first ballot's promises are made in the script: it may still be voted in at any point.
        Scope {
            elections: vec![0, 1, 1],
            restarts: Some(0),
            restarting: vec![],
            default: false,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled, Witness::ThirdBallot],
            ..two_slots(
                "two-slots-three-ballots-decided",
                "the same with decisions; the first ballot led from the start, no restarts",
            )
        },
        Scope {
            elections: vec![0, 1, 1],
            restarts: Some(1),
            restarting: vec![0, 1],
            default: false,
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled, Witness::ThirdBallot],
            ..two_slots("two-slots-three-ballots-restart", "three ballots with decisions and a restart")
        },
        Scope {
            elections: vec![2, 1, 1],
            restarts: Some(0),
            restarting: vec![],
            losses: Losses::Counting,
            default: false,
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleProposed, Witness::ThirdBallot],
            ..two_slots("two-slots-four-ballots-free", "two slots, four ballots from the start, votes alone")
        },
        half_voted(
            "two-slots-four-ballots",
            "two slots, four ballots, the first two of them voted in by their owners, unheard",
            vec![1, 0, 1],
        ),
        Scope { default: false, ..half_voted("two-slots-five-ballots", "the same and a fifth ballot", vec![2, 0, 1]) },
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
            restarts: Some(0),
            restarting: vec![],
            clients: vec![one_operation_each(&[0, 1, 2])],
            elections: vec![0, 1, 1, 0, 0],
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![3, 4])],
            losses: Losses::Counting,
            default: false,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..votes(
                "five-replicas-three-ballots",
                "five replicas, one slot, three ballots, the first of them led from the start",
            )
        },
        Scope {
            elections: vec![0, 1, 0],
            slots: 3,
            overfull: false,
            options: Options { window: 3, ..options() },
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2, 3]), for_leader(1, &[4])])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            losses: Losses::Third,
            default: false,
            ..base("window-of-three", "three slots at a time, two ballots, holes filled")
        },
        Scope {
            clients: vec![Client::Source(vec![for_leader(0, &[1]), for_leader(0, &[2]), for_leader(0, &[3])])],
            elections: vec![1, 1, 0],
            slots: 2,
            restarts: Some(1),
            restarting: vec![1],
            options: Options { window: 2, pipeline: 2, batch_max: 2, requests_max: 2, ..options() },
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            losses: Losses::Third,
            ..base("batches", "batches of two, a window of two")
        },
        // Each operation takes 90 bytes: two make an entry, and two entries fill the window.
        Scope {
            replicas: 2,
            elections: vec![1, 0],
            restarting: vec![0, 1],
            slots: 3,
            overfull: false,
            options: Options {
                window: 4,
                batch_max: 3,
                bytes_max: 180,
                window_bytes_max: 180,
                requests_max: 7,
                ..options()
            },
            clients: vec![Client::Source(vec![for_leader(0, &[1, 2, 3, 4, 5, 6, 7])])],
            witnesses: vec![Witness::Chosen],
            progress: vec![Links::among(&[0, 1])],
            ..base("full-of-bytes", "entries, and a window, that are full by their bytes")
        },
    ]
}
