//! `inductive-invariant`: the clauses that are proved of the abstract protocol hold of every state, as far as it shows.
//!
//! A state shows what is stored, what a leader proposed and how far it says that slots are decided, what messages of members tell, and the
//! proposals and votes on record. For what was taken for decided in lives that are over stands what is chosen.
//!
//! Where proposals of a chosen value and votes for it are forgotten, those votes are known that somebody stores or reports, and of proposals those
//! for such votes and those that somebody leads with or sends; all others are on record. So there it is left to `refines-spec`, which
//! judges each vote when it is cast, that one for a value that was chosen before is for what was proposed in its ballot.
//!
//! What is decided is what is told to be, or chosen: so of a log and of a mark it is asked that what they hold is chosen.
//!
//! What a slot holds stands as its hash, here: the clauses compare values, and nothing else.

use super::audit::Audit;
use super::effect::digest;
use super::record::Record;
use super::refines::{self, Known};
use crate::refinement::invariant::{DECIDED_IS_CHOSEN, clauses};
use crate::refinement::protocol::{Domain, Protocol};
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Message, MessageOf};
use paxos_model::replica::{Role, State};
use stateright::actor::Id;
use std::collections::BTreeSet;

/// What a slot holds, as far as it is known.
type Value = Option<u64>;

fn hashed(known: Known<Audit>) -> Protocol<Value> {
    known.map(|value| value.as_ref().map(digest))
}

/// What one node, one message or the record tells of the abstract state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    told: Protocol<Value>,
    /// What somebody stores, leads with or tells of as proposed. What is not chosen is believed of the record alone.
    claimed: BTreeSet<(Ballot, Slot, Value)>,
    /// Whether that is all.
    claims_only: bool,
    /// The node that has no vote to report in a ballot, in any slot from there on.
    silent: Option<(Id, Ballot, Slot)>,
    /// What is chosen.
    chosen: BTreeSet<(Slot, u64)>,
}

impl Facts {
    /// What a replica has stored, and says as a leader.
    pub fn of_replica(node: Id, state: &State<Audit>, stored: &Durable<Audit>) -> Facts {
        let mut told = Known::<Audit>::default();
        refines::stores::<Audit>(&mut told, node, stored);
        // They are on record.
        told.votes.clear();
        // What a candidate has heard is asked where it hears it (`refines-spec`).
        if let Role::Leading(leader) = &state.role {
            let proposed = leader.proposals.iter();
            told.proposals
                .extend(proposed.map(|(slot, proposal)| (leader.ballot, *slot, Some(proposal.entry.clone()))));
            told.marks.insert(leader.ballot, state.durable.decided);
        }
        Facts::claiming(hashed(told))
    }

    /// What a message tells, if it is a member's; none if nothing.
    pub fn of_message(configuration: &Configuration, src: Id, message: &MessageOf<Audit>) -> Option<Facts> {
        if !configuration.members.contains_key(&src) {
            return None;
        }
        let mut told = Known::<Audit>::default();
        let end = refines::end_of_message::<Audit>(message);
        let domain = Domain { quorums: Vec::new(), ballots: Vec::new(), slots: 0..end };
        refines::tells::<Audit>(&domain, &mut told, None, src, message);
        let silent = match message {
            Message::Promise { ballot, .. } => Some((src, *ballot, end)),
            _ => None,
        };
        let claiming = Facts::claiming(hashed(told));
        let facts = Facts { silent, claims_only: claiming.claims_only && silent.is_none(), ..claiming };
        (facts != Facts::default()).then_some(facts)
    }

    /// What somebody tells who is no witness of what was proposed.
    fn claiming(mut told: Protocol<Value>) -> Facts {
        // Nothing is decided below the first slot, whether or not it is said.
        told.marks.retain(|_, mark| *mark > 0);
        let claimed = std::mem::take(&mut told.proposals);
        let claims_only = !claimed.is_empty() && told == Protocol::default();
        Facts { told, claimed, claims_only, ..Facts::default() }
    }

    /// The proposals and votes on record, and what they chose.
    pub fn of_record(record: &Record) -> Facts {
        let mut facts = Facts::default();
        let proposed = record.proposals.iter();
        facts.told.proposals.extend(proposed.map(|(slot, ballot, entry)| (*ballot, *slot, Some(digest(entry)))));
        for ((slot, ballot), entries) in &record.votes {
            for (entry, voters) in entries {
                let vote = |node: &Id| (*ballot, *slot, Some(digest(entry)), *node);
                facts.told.votes.extend(voters.iter().map(vote));
            }
        }
        let chosen = record.chosen.iter();
        facts.chosen.extend(chosen.flat_map(|(slot, values)| values.iter().map(|value| (*slot, digest(value)))));
        facts
    }

    /// Whether [`broken`] may come to something else for these facts, beside those of a record: not if they do but claim what is not chosen.
    pub fn bears(&self, forgets: bool, record: &Facts) -> bool {
        let is_chosen = |(_, slot, value): &(Ballot, Slot, Value)| record.is_chosen(*slot, *value);
        !self.claims_only || forgets && self.claimed.iter().any(is_chosen)
    }

    fn is_chosen(&self, slot: Slot, value: Value) -> bool {
        value.is_some_and(|value| self.chosen.contains(&(slot, value)))
    }

    fn joins(&self, all: &mut Facts) {
        let (own, told) = (&self.told, &mut all.told);
        told.promised.extend(&own.promised);
        told.accepted.extend(&own.accepted);
        told.log.extend(own.log.iter().map(|(node, log)| (*node, log.clone())));
        for (place, vote) in &own.reports {
            // Of two reports of one promise that which tells less: there is to be one (`refines-spec`).
            told.reports.entry(*place).and_modify(|known| *known = (*known).min(*vote)).or_insert(*vote);
        }
        told.proposals.extend(&own.proposals);
        told.votes.extend(&own.votes);
        for (ballot, mark) in &own.marks {
            let known = told.marks.entry(*ballot).or_default();
            *known = (*known).max(*mark);
        }
        told.decided.extend(&own.decided);
        all.claimed.extend(&self.claimed);
        all.chosen.extend(&self.chosen);
    }
}

/// The clause that does not hold of the facts told, if one does not; `forgets` where proposals of a chosen value are, and votes for it.
pub fn broken<'a>(
    configuration: &Configuration,
    forgets: bool,
    told: impl Iterator<Item = &'a Facts>,
) -> Option<&'static str> {
    let mut all = Facts::default();
    let mut silent = Vec::new();
    for facts in told {
        facts.joins(&mut all);
        silent.extend(facts.silent);
    }
    let mut known = std::mem::take(&mut all.told);
    let Facts { claimed, chosen, .. } = &all;
    let is_chosen = |slot, value| all.is_chosen(slot, value);
    if forgets {
        let accepted = known.accepted.iter().map(|((node, slot), vote)| (*node, *slot, *vote));
        let reported = known.reports.iter().filter_map(|((node, _, slot), vote)| Some((*node, *slot, (*vote)?)));
        let of_chosen = accepted.chain(reported).filter(|(_, slot, (_, value))| is_chosen(*slot, *value));
        known.votes.extend(of_chosen.map(|(node, slot, (ballot, value))| (ballot, slot, value, node)));
        let voted = known.votes.iter().map(|(ballot, slot, value, _)| (*ballot, *slot, *value));
        let claimed = voted.chain(claimed.iter().copied()).filter(|(_, slot, value)| is_chosen(*slot, *value));
        known.proposals.extend(claimed);
    }
    let ends = known.votes.iter().map(|(_, slot, ..)| slot + 1).chain(silent.iter().map(|(.., first)| first + 1));
    let end = ends.max().unwrap_or(0);
    for (node, ballot, first) in silent {
        for slot in first..end {
            known.reports.insert((node, ballot, slot), None);
        }
    }
    // A slot that is truncated, or told of without its value, shows none: it holds what is chosen there.
    let shown = |slot: Slot, value: Value| {
        value.or_else(|| chosen.range((slot, 0)..=(slot, u64::MAX)).next().map(|(_, chosen)| *chosen))
    };
    known.log.values_mut().for_each(|log| (0..).zip(log).for_each(|(slot, value)| *value = shown(slot, *value)));
    let told = std::mem::take(&mut known.decided);
    let mut decided: BTreeSet<_> = told.into_iter().map(|(slot, value)| (slot, shown(slot, value))).collect();
    if decided.iter().any(|(slot, value)| !is_chosen(*slot, *value)) {
        return Some(DECIDED_IS_CHOSEN);
    }
    decided.extend(chosen.iter().map(|(slot, value)| (*slot, Some(*value))));
    known.decided = decided;
    // Of the ballots in which there is no vote, a proposal has the most to fear from the last one before it.
    let voted = known.votes.iter().map(|(ballot, ..)| *ballot);
    let ballots: BTreeSet<Ballot> = known.proposals.iter().map(|(ballot, ..)| ballot.before()).chain(voted).collect();
    let domain =
        Domain { quorums: refines::quorums(configuration), ballots: ballots.into_iter().collect(), slots: 0..end };
    // What is chosen was counted when it was voted for.
    let asked = clauses().into_iter().filter(|(name, _)| !(forgets && *name == DECIDED_IS_CHOSEN));
    asked.into_iter().find(|(_, holds)| !holds(&known, &domain)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::audit::Tagged;
    use paxos_model::replica::message::{Entry, Vote};

    fn noop() -> Value {
        Some(digest(&Entry::Noop::<Tagged>))
    }

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: 0.into() }
    }

    /// Node 0 promised ballot 2, and reports a vote of ballot 1.
    fn reports() -> Facts {
        let vote = Vote { slot: 0, ballot: ballot(1), entry: Entry::Noop };
        let promise = Message::Promise { ballot: ballot(2), first: 0, votes: vec![vote] };
        Facts::of_message(&Configuration::of_voters(3), 0.into(), &promise).unwrap()
    }

    /// Node 0 and, for a quorum, node 2 have promised this.
    fn stored(promised: Ballot) -> Facts {
        let mut facts = Facts::default();
        facts.told.promised.extend([0usize, 2].map(|node| (Id::from(node), promised)));
        facts
    }

    fn chosen() -> Facts {
        Facts { chosen: [(0, digest(&Entry::Noop::<Tagged>))].into(), ..Facts::default() }
    }

    fn clause(forgets: bool, told: &[Facts]) -> Option<&'static str> {
        broken(&Configuration::of_voters(3), forgets, told.iter())
    }

    #[test]
    fn a_reported_vote_is_on_record_or_for_what_is_chosen_and_may_be_forgotten() {
        let voted = |node: usize| Facts {
            told: Protocol {
                proposals: [(ballot(1), 0, noop())].into(),
                votes: [(ballot(1), 0, noop(), node.into())].into(),
                ..Protocol::default()
            },
            ..Facts::default()
        };
        for forgets in [false, true] {
            assert_eq!(clause(forgets, &[reports(), stored(ballot(2))]), Some("ReportIsVote"));
            // A vote is known that the node has not stored, and none of another node's.
            assert_eq!(clause(forgets, &[reports(), stored(ballot(2)), voted(0)]), Some("AcceptedIsLatest"));
            assert_eq!(clause(forgets, &[reports(), stored(ballot(2)), voted(1)]), Some("VoteIsPromised"));
        }
        let all = [reports(), stored(ballot(2)), chosen()];
        assert_eq!(clause(false, &all), Some("ReportIsVote"));
        let mut all = all.to_vec();
        all[1].told.accepted.insert((0.into(), 0), (ballot(1), noop()));
        assert_eq!(clause(true, &all), None);
    }

    #[test]
    fn what_was_proposed_is_on_record_or_claimed_of_what_is_chosen() {
        let mut voted = Facts::default();
        voted.told.votes.insert((ballot(1), 0, noop(), 0.into()));
        let mut all = vec![voted, stored(ballot(1))];
        all[1].told.accepted.insert((0.into(), 0), (ballot(1), noop()));
        let accept = Message::Accept { ballot: ballot(1), slot: 0, entry: Entry::Noop };
        all.push(Facts::of_message(&Configuration::of_voters(3), 0.into(), &accept).unwrap());
        assert_eq!((clause(false, &all), clause(true, &all)), (Some("VoteIsProposed"), Some("VoteIsProposed")));
        all.push(chosen());
        assert_eq!(clause(false, &all), Some("VoteIsProposed"));
        assert_eq!(clause(true, &all), None);
    }

    #[test]
    fn a_proposal_is_safe_from_ballots_that_nobody_speaks_of() {
        let mut proposed = Facts::default();
        proposed.told.proposals.insert((ballot(2), 0, noop()));
        let promised = |nodes: &[usize], below: u64| {
            let mut facts = Facts::default();
            facts.told.promised.extend(nodes.iter().map(|node| (Id::from(*node), ballot(below))));
            facts
        };
        for forgets in [false, true] {
            let clause = |promised| clause(forgets, &[proposed.clone(), promised]);
            assert_eq!(clause(promised(&[0, 1], 2)), None);
            // A quorum may yet vote in a ballot below.
            assert_eq!(clause(promised(&[0], 2)), Some("ProposalIsSafe"));
            assert_eq!(clause(promised(&[0, 1], 1)), Some("ProposalIsSafe"));
        }
    }

    #[test]
    fn a_promise_without_votes_is_a_report_too() {
        let promise = Message::Promise { ballot: ballot(2), first: 0, votes: Vec::new() };
        let told = Facts::of_message(&Configuration::of_voters(3), 0.into(), &promise).unwrap();
        assert_eq!(clause(true, &[told.clone(), stored(ballot(2))]), None);
        assert_eq!(clause(true, &[told, stored(ballot(1))]), Some("ReportIsPromised"));
    }

    #[test]
    fn what_is_told_to_be_decided_is_chosen_with_or_without_its_value() {
        let members = Configuration::of_voters(3);
        let told = Message::Decided { from: 0, entries: vec![Entry::Noop] };
        let told = Facts::of_message(&members, 0.into(), &told).unwrap();
        let mut cut = Facts::default();
        cut.told.log.insert(0.into(), vec![None]);
        for (facts, broken) in [(told, DECIDED_IS_CHOSEN), (cut, "LogIsDecided")] {
            assert_eq!(clause(true, std::slice::from_ref(&facts)), Some(broken));
            assert_eq!(clause(true, &[facts, chosen()]), None);
        }
    }

    #[test]
    fn a_stranger_tells_nothing() {
        let told = Message::Decided { from: 0, entries: vec![Entry::Noop] };
        assert_eq!(Facts::of_message(&Configuration::of_voters(3), 7.into(), &told), None);
    }
}
