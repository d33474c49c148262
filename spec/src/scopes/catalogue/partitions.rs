//! Partial partitions: from every state a leader must emerge over whatever links are up, if some node reaches a quorum both
//! ways.

use super::{CORE, base, elect, item, options, put};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// Five replicas, by who is at the center: the leader, who wants to be the next, or another one.
fn stars_and_chains() -> Vec<Links> {
    let chains = [[0, 1, 2, 3, 4], [2, 0, 1, 3, 4], [1, 2, 0, 3, 4], [0, 2, 1, 3, 4], [0, 2, 3, 4, 1]];
    let stars = (0..3).map(|center| Links::star(center, 5));
    stars.chain(chains.iter().map(|chain| Links::chain(chain))).collect()
}

/// Every three of five replicas, and all of them.
fn majorities_of_five() -> impl Iterator<Item = Links> {
    let threes = (0..1u32 << 5).filter(|bits| bits.count_ones() == 3);
    let threes = threes.map(|bits| (0..5).filter(|node| bits >> node & 1 == 1).collect::<Vec<usize>>());
    threes.chain([vec![0, 1, 2, 3, 4]]).map(|nodes| Links::among(&nodes))
}

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let as_shipped = Timers { step_down: true, ..CORE };
    let three = |name, description| Scope {
        options: Options { pre_vote: true, ..options() },
        timers: as_shipped,
        restarts: Some(0),
        restarting: vec![],
        losses: Losses::Heartbeats,
        progress: Links::every(3),
        ..base(name, description)
    };
    vec![
        Scope {
            elections: vec![0, 1, 0],
            prefix: vec![elect(), alone(2, &[0, 1])],
            witnesses: vec![Witness::SteppedDown],
            ..three("partitions-of-three", "every set of links among three, while another leader is elected")
        },
        Scope {
            elections: vec![0, 2, 0],
            prefix: vec![elect(), alone(2, &[0, 1])],
            default: false,
            witnesses: vec![Witness::SteppedDown],
            ..three("partitions-of-three-twice", "the same while another leader is elected twice")
        },
        Scope {
            elections: vec![0, 0, 1],
            slots: 3,
            prefix: vec![
                Play::FireWithout(0, Timer::Election, vec![2]),
                Play::AdmitWithout(3, vec![2]),
                alone(1, &[0, 2]),
            ],
            clients: vec![Client::Script(vec![
                item(Want::Session, &[0]),
                item(Want::Command(put(1, "k", "a", None)), &[1]),
            ])],
            witnesses: vec![Witness::SteppedDown],
            ..three("partitions-behind", "the same, where one was away and wants to lead, and a request waits")
        },
        Scope {
            replicas: 5,
            elections: vec![0, 1, 0, 0, 0],
            slots: 1,
            timers: CORE,
            prefix: vec![
                Play::FireWithout(0, Timer::Election, vec![1]),
                Play::AdmitWithout(5, vec![1]),
                alone(2, &[0, 1, 3, 4]),
                alone(3, &[0, 1, 2, 4]),
            ],
            clients: vec![Client::Script(vec![item(Want::Session, &[0])])],
            progress: [(1, 2, 3), (0, 2, 3), (2, 0, 1)]
                .map(|(center, a, b)| Links::both_ways(&[(center, a), (center, b)]))
                .to_vec(),
            ..three(
                "partitions-of-five",
                "only one of five can reach a quorum, also where it is behind or has promised less",
            )
        },
        Scope {
            replicas: 5,
            elections: vec![0; 5],
            prefix: vec![
                elect(),
                alone(2, &[0, 1, 3, 4]),
                alone(3, &[0, 1, 2, 4]),
                Play::FireWithout(1, Timer::Election, vec![0, 4]),
            ],
            timers: Timers { resend: true, ..as_shipped },
            losses: Losses::None,
            progress: stars_and_chains().into_iter().chain(majorities_of_five()).collect(),
            witnesses: vec![Witness::SteppedDown],
            ..three("two-leaders-of-five", "the same from two leaders, the old one heard by one node")
        },
    ]
}

/// A node hears nobody for its election timeout, and nobody hears it.
fn alone(node: usize, others: &[usize]) -> Play {
    Play::FireWithout(node, Timer::Election, others.to_vec())
}
