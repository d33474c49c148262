//! The inductive invariant of `spec/proof/`, clause by clause, by the names that it has there and in `MultiPaxos.tla`.

use super::protocol::{Domain, Protocol};
use stateright::actor::Id;
use std::collections::BTreeSet;

/// Whether a clause holds in a state.
pub type Clause<V> = fn(&Protocol<V>, &Domain) -> bool;

/// The clause about what is decided.
pub const DECIDED_IS_CHOSEN: &str = "DecidedIsChosen";

/// All clauses, each under its name.
pub fn clauses<V: Clone + Ord>() -> [(&'static str, Clause<V>); 13] {
    [
        ("ProposalIsSafe", |p, domain| {
            p.proposals.iter().all(|(ballot, slot, value)| {
                domain.ballots.iter().filter(|c| *c < ballot).all(|c| {
                    let others = p.votes.iter().filter(|(b, s, v, _)| (b, s) == (c, slot) && v != value);
                    // And some value that nobody voted for.
                    let others: Vec<Option<&V>> = others.map(|(_, _, v, _)| Some(v)).chain([None]).collect();
                    let safe = |quorum: &BTreeSet<Id>, other: Option<&V>| {
                        let against = |node| other.is_none_or(|other| !p.voted(node, *c, *slot, other));
                        quorum.iter().any(|node| p.promised(*node) > *c && against(*node))
                    };
                    domain.quorums.iter().all(|quorum| others.iter().all(|other| safe(quorum, *other)))
                })
            })
        }),
        ("OneProposal", |p, _| {
            p.proposals.iter().all(|(ballot, slot, value)| p.proposed(*ballot, *slot).all(|other| other == value))
        }),
        ("VoteIsProposed", |p, _| {
            p.votes.iter().all(|(ballot, slot, value, _)| p.proposals.contains(&(*ballot, *slot, value.clone())))
        }),
        ("VoteIsPromised", |p, _| p.votes.iter().all(|(ballot, _, _, node)| p.promised(*node) >= *ballot)),
        ("AcceptedIsVote", |p, _| {
            p.accepted.iter().all(|((node, slot), (ballot, value))| p.voted(*node, *ballot, *slot, value))
        }),
        ("AcceptedIsLatest", |p, _| {
            p.votes.iter().filter(|(_, slot, _, node)| *slot >= p.stored(*node)).all(|(ballot, slot, _, node)| {
                p.accepted.get(&(*node, *slot)).is_some_and(|(accepted, _)| accepted >= ballot)
            })
        }),
        ("AcceptedIsOpen", |p, _| p.accepted.keys().all(|(node, slot)| *slot >= p.stored(*node))),
        ("ReportIsPromised", |p, _| p.reports.keys().all(|(node, ballot, _)| p.promised(*node) >= *ballot)),
        ("ReportIsVote", |p, _| {
            p.reports.iter().all(|((node, _, slot), vote)| {
                vote.as_ref().is_none_or(|(ballot, value)| p.voted(*node, *ballot, *slot, value))
            })
        }),
        ("ReportIsLatest", |p, _| {
            p.reports.iter().all(|((node, ballot, slot), vote)| {
                let mut earlier = p.votes.iter().filter(|(b, s, _, n)| (n, s) == (node, slot) && b < ballot);
                earlier.all(|(b, ..)| vote.as_ref().is_some_and(|(reported, _)| reported >= b))
            })
        }),
        (DECIDED_IS_CHOSEN, |p, domain| {
            let chosen = |slot, value: &V| p.votes.iter().any(|(b, ..)| p.is_chosen_in(domain, *b, slot, value));
            p.decided.iter().all(|(slot, value)| chosen(*slot, value))
        }),
        ("MarkedIsDecided", |p, _| {
            let marked = p.proposals.iter().filter(|(ballot, slot, _)| *slot < p.marked(*ballot));
            marked.into_iter().all(|(_, slot, value)| p.decided.contains(&(*slot, value.clone())))
        }),
        ("LogIsDecided", |p, _| {
            p.log.values().all(|log| (0..).zip(log).all(|(slot, value)| p.decided.contains(&(slot, value.clone()))))
        }),
    ]
}
