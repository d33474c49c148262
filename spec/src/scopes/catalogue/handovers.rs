//! From one leader to the next: what it must take over, and what becomes of requests handed to the one before.

use super::{CORE, base, elect, for_leader, item, majorities, options, put};
use crate::properties::party::{Client, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope, Timers};
use paxos_model::replica::{Options, Timer};

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let handover = |name, description| Scope {
        elections: vec![0, 1, 0],
        restarts: Some(0),
        restarting: vec![],
        slots: 2,
        overfull: false,
        losses: Losses::Heartbeats,
        clients: vec![Client::Source(vec![for_leader(0, &[1, 2]), for_leader(1, &[3])])],
        witnesses: vec![Witness::Chosen, Witness::Recovered],
        ..base(name, description)
    };
    vec![
        Scope {
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            ..handover("vote-beyond-window", "a new leader that is behind takes over a vote beyond its own window")
        },
        Scope {
            options: Options { window: 2, ..options() },
            prefix: vec![Play::FireWithout(0, Timer::Election, vec![2])],
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::HoleFilled],
            ..handover("shorter-promise", "a new leader keeps its own vote where a promise begins later and has none")
        },
        // Node 2 led with node 1 and had its operation chosen; node 1 has forgotten that, but not its vote, and tells node 0,
        // which still leads, what it promised.
        Scope {
            elections: vec![1, 1, 0],
            slots: 9,
            overfull: true,
            options: Options { pre_vote: true, ..options() },
            prefix: vec![
                elect(),
                Play::Admit(3),
                Play::Admit(4),
                Play::AdmitWithout(3, vec![1, 2]),
                Play::FireWithout(1, Timer::Election, vec![0, 2]),
                Play::FireWithout(2, Timer::Election, vec![0]),
                Play::AdmitWithout(4, vec![0]),
                Play::Restart(1),
            ],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0])]),
                Client::Script(vec![item(Want::Session, &[2]), item(Want::Command(put(2, "k", "b", None)), &[2])]),
            ],
            losses: Losses::Third,
            witnesses: vec![Witness::Chosen, Witness::Recovered, Witness::ThirdBallot],
            ..handover("outbid-leader", "a leader that hears of a higher promise asks anew, and takes over")
        },
        Scope {
            slots: 9,
            prefix: vec![elect(), Play::Admit(3)],
            timers: Timers { deadline: true, ..CORE },
            clients: vec![Client::Script(vec![
                item(Want::Session, &[1]),
                item(Want::Command(put(1, "k", "a", None)), &[1]),
            ])],
            losses: Losses::Third,
            overfull: true,
            progress: majorities(),
            witnesses: vec![Witness::CommandDone, Witness::Refused],
            ..handover("handed-to-the-last", "a request handed to one leader, whose time is up under the next")
        },
        Scope {
            options: Options { window: 2, ..options() },
            prefix: vec![elect()],
            clients: vec![Client::Script(vec![item(Want::Command(put(1, "k", "a", None)), &[0])])],
            overfull: true,
            progress: vec![Links::among(&[0, 1])],
            ..handover("told-below-chosen", "a new leader is told a decision below a slot that is chosen in its ballot")
        },
        // Nodes 3 and 4 have forgotten what is decided in the last slot, node 0 has not; nodes 1 and 2 never knew.
        Scope {
            replicas: 5,
            elections: vec![0, 1, 0, 0, 0],
            slots: 4,
            losses: Losses::Counting,
            prefix: vec![
                elect(),
                Play::Admit(5),
                Play::Admit(6),
                Play::AdmitWithout(5, vec![1, 2]),
                Play::Restart(3),
                Play::Restart(4),
            ],
            clients: vec![
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(1, "k", "a", None)), &[0])]),
                Client::Script(vec![item(Want::Session, &[0]), item(Want::Command(put(2, "k", "b", None)), &[1])]),
            ],
            witnesses: vec![Witness::Chosen, Witness::Recovered],
            ..handover("highest-beginning", "five replicas, and the promise that begins highest comes before others")
        },
    ]
}
