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
//!
//! Each clause is asked of what it speaks of, a [`Topic`], and of nothing beside, so that most states share what they are asked about: what one
//! node votes for and reports is nothing to the others, and each proposal is safe by itself. That no more comes of all facts together is tested.

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

/// What some of the clauses speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One proposal after the other, against what is promised and was voted for.
    Safety,
    /// What was proposed in each ballot, and voted for there.
    Ballots,
    /// What is told to be decided, against what was proposed and is chosen.
    Decisions,
    /// What one node has promised, voted for, reported and stored.
    Node(Id),
}

impl Topic {
    /// The clauses that speak of it.
    fn clauses(self) -> &'static [&'static str] {
        match self {
            Topic::Safety => &["ProposalIsSafe"],
            Topic::Ballots => &["OneProposal", "VoteIsProposed", DECIDED_IS_CHOSEN],
            Topic::Decisions => &["MarkedIsDecided"],
            Topic::Node(_) => &[
                "VoteIsPromised",
                "AcceptedIsVote",
                "AcceptedIsLatest",
                "AcceptedIsOpen",
                "ReportIsPromised",
                "ReportIsVote",
                "ReportIsLatest",
                "LogIsDecided",
            ],
        }
    }
}

/// What is told on a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// About what.
    pub topic: Topic,
    /// Whether it is asked about without others that are: one of these after the other, with all else that is told on the topic.
    pub alone: bool,
    /// A value of a slot: it says nothing but where that is chosen, and [`forgotten`] if it was voted for, and what is told bears on it.
    pub of: Option<u64>,
    /// What.
    pub facts: Facts,
}

fn given(topic: Topic, facts: Facts) -> Told {
    Told { topic, alone: false, of: None, facts }
}

fn asked(topic: Topic, facts: Facts) -> Told {
    Told { topic, alone: true, of: None, facts }
}

/// The values of slots that are chosen, where proposals of these are forgotten, and votes for them.
pub fn forgotten(forgets: bool, record: &Record) -> Vec<u64> {
    let chosen = record.chosen.iter().filter(|_| forgets);
    chosen.flat_map(|(slot, values)| values.iter().map(|value| digest(&(*slot, Some(digest(value)))))).collect()
}

/// A proposal: its ballot, its slot and its value.
type Proposal = (Ballot, Slot, Value);

/// What one node, one message or the record tells of the abstract state, on one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    told: Protocol<Value>,
    /// What somebody leads with, voted for, or tells of as proposed. What is not chosen is believed of the record alone.
    claimed: BTreeSet<Proposal>,
    /// The node that has no vote to report in a ballot, in any slot from there on.
    silent: Option<(Id, Ballot, Slot)>,
    /// What is chosen.
    chosen: BTreeSet<(Slot, u64)>,
}

impl Facts {
    /// What a replica has stored, and says as a leader.
    pub fn of_replica(node: Id, state: &State<Audit>, stored: &Durable<Audit>) -> Vec<Told> {
        let mut known = Known::<Audit>::default();
        refines::stores::<Audit>(&mut known, node, stored);
        let mut told = hashed(known);
        // They are on record.
        told.votes.clear();
        told.proposals.clear();
        let mut all = votes(&told);
        let promised = Protocol { promised: told.promised.clone(), ..Protocol::default() };
        all.push(given(Topic::Safety, Facts { told: promised, ..Facts::default() }));
        all.push(given(Topic::Node(node), Facts { told, ..Facts::default() }));
        // What a candidate has heard is asked where it hears it (`refines-spec`).
        if let Role::Leading(leader) = &state.role {
            let proposed = leader.proposals.iter();
            let proposed = proposed.map(|(slot, proposal)| (leader.ballot, *slot, Some(digest(&proposal.entry))));
            all.extend(proposed.flat_map(claims));
            all.extend(marks(leader.ballot, state.durable.decided));
        }
        all
    }

    /// What a message tells, if it is a member's.
    pub fn of_message(configuration: &Configuration, src: Id, message: &MessageOf<Audit>) -> Vec<Told> {
        if !configuration.members.contains_key(&src) {
            return Vec::new();
        }
        let mut known = Known::<Audit>::default();
        let end = refines::end_of_message::<Audit>(message);
        let domain = Domain { quorums: Vec::new(), ballots: Vec::new(), slots: 0..end };
        refines::tells::<Audit>(&domain, &mut known, None, src, message);
        let told = hashed(known);
        let mut all = votes(&told);
        all.extend(told.proposals.into_iter().flat_map(claims));
        all.extend(told.marks.into_iter().flat_map(|(ballot, mark)| marks(ballot, mark)));
        if !told.decided.is_empty() {
            let decided = Protocol { decided: told.decided, ..Protocol::default() };
            all.push(given(Topic::Decisions, Facts { told: decided, ..Facts::default() }));
        }
        if let Message::Promise { ballot, .. } = message {
            let told = Protocol { reports: told.reports, ..Protocol::default() };
            all.push(given(Topic::Node(src), Facts { told, silent: Some((src, *ballot, end)), ..Facts::default() }));
        }
        all
    }

    /// The proposals and votes on record, and what they chose.
    pub fn of_record(configuration: &Configuration, record: &Record) -> Vec<Told> {
        let mut told = Protocol::<Value>::default();
        let proposed = record.proposals.iter();
        told.proposals.extend(proposed.map(|(slot, ballot, entry)| (*ballot, *slot, Some(digest(entry)))));
        for ((slot, ballot), entries) in &record.votes {
            for (entry, voters) in entries {
                let vote = |node: &Id| (*ballot, *slot, Some(digest(entry)), *node);
                told.votes.extend(voters.iter().map(vote));
            }
        }
        let chosen = record.chosen.iter();
        let chosen: BTreeSet<(Slot, u64)> =
            chosen.flat_map(|(slot, values)| values.iter().map(|value| (*slot, digest(value)))).collect();
        let facts = |told| Facts { told, chosen: chosen.clone(), ..Facts::default() };
        let voters = told.votes.iter().map(|(.., node)| *node);
        let nodes: BTreeSet<Id> = configuration.members.keys().copied().chain(voters).collect();
        let mut all = Vec::new();
        for node in nodes {
            let votes = told.votes.iter().filter(|(.., voter)| *voter == node).cloned().collect();
            all.push(given(Topic::Node(node), facts(Protocol { votes, ..Protocol::default() })));
        }
        // Where something is chosen, others claim what was proposed: so there all is given, elsewhere what a proposal has to fear.
        let is_open = |slot: &Slot| !record.chosen.contains_key(slot);
        for proposal in told.proposals.iter().filter(|(_, slot, _)| is_open(slot)) {
            let (ballot, slot, value) = proposal;
            let against = told.votes.iter().filter(|(b, s, v, _)| s == slot && b < ballot && v != value);
            let votes = against.cloned().collect();
            let told = Protocol { proposals: [*proposal].into(), votes, ..Protocol::default() };
            all.push(asked(Topic::Safety, Facts { told, ..Facts::default() }));
        }
        let proposals = told.proposals.iter().filter(|(_, slot, _)| !is_open(slot)).cloned().collect();
        let votes = told.votes.iter().filter(|(_, slot, ..)| !is_open(slot)).cloned().collect();
        all.push(given(Topic::Safety, facts(Protocol { proposals, votes, ..Protocol::default() })));
        all.push(given(Topic::Decisions, facts(Protocol { proposals: told.proposals.clone(), ..Protocol::default() })));
        all.push(given(Topic::Ballots, facts(told)));
        all
    }

    /// Whether [`broken`] may come to something else for these facts, which are of what is chosen, beside those of the record on their topic.
    pub fn bears(&self, topic: Topic, alone: bool, record: &Facts) -> bool {
        let proposed = &record.told.proposals;
        // Another value was proposed there, in a ballot that is so to that of the claim.
        let contests = |is_so: fn(&Ballot, &Ballot) -> bool| {
            let of_slot = |(b, s, v): &Proposal, claim: &Proposal| *s == claim.1 && *v != claim.2 && is_so(b, &claim.0);
            self.claimed.iter().any(|claim| proposed.iter().any(|proposal| of_slot(proposal, claim)))
        };
        match topic {
            // A vote that some proposal has to fear.
            Topic::Safety if !alone => contests(|ballot, claimed| ballot > claimed),
            Topic::Ballots => contests(|ballot, claimed| ballot == claimed),
            Topic::Safety | Topic::Decisions | Topic::Node(_) => true,
        }
    }

    /// The votes that are stored or reported.
    fn cast(&self) -> impl Iterator<Item = (Id, Slot, &(Ballot, Value))> {
        let accepted = self.told.accepted.iter().map(|((node, slot), vote)| (*node, *slot, vote));
        let reported = self.told.reports.iter();
        accepted.chain(reported.filter_map(|((node, _, slot), vote)| Some((*node, *slot, vote.as_ref()?))))
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

/// What is told by the votes that a node has stored or reports.
fn votes(told: &Protocol<Value>) -> Vec<Told> {
    let accepted = told.accepted.iter().map(|(place, vote)| {
        (Protocol { accepted: [(*place, *vote)].into(), ..Protocol::default() }, (vote.0, place.1, vote.1))
    });
    let reported = told.reports.iter().filter_map(|(place, vote)| {
        let (ballot, value) = (*vote)?;
        Some((Protocol { reports: [(*place, *vote)].into(), ..Protocol::default() }, (ballot, place.2, value)))
    });
    let tells = |(told, proposal): (Protocol<Value>, Proposal)| {
        let vote = given(Topic::Safety, Facts { told, claimed: [proposal].into(), ..Facts::default() });
        claims(proposal).into_iter().chain([Told { of: value_of(proposal), ..vote }])
    };
    accepted.chain(reported).flat_map(tells).collect()
}

/// Somebody who is no witness of what was proposed says that this was.
fn claims(proposal: Proposal) -> [Told; 2] {
    let facts = Facts { claimed: [proposal].into(), ..Facts::default() };
    let claims = [asked(Topic::Safety, facts.clone()), given(Topic::Ballots, facts)];
    claims.map(|told| Told { of: value_of(proposal), ..told })
}

fn value_of((_, slot, value): Proposal) -> Option<u64> {
    Some(digest(&(slot, value)))
}

/// The leader of a ballot says that the slots below are decided; below the first there is none.
fn marks(ballot: Ballot, mark: Slot) -> Option<Told> {
    let marks = [(ballot, mark)].into();
    let told = Protocol { marks, ..Protocol::default() };
    (mark > 0).then(|| given(Topic::Decisions, Facts { told, ..Facts::default() }))
}

/// The clause on a topic that does not hold of what is told together, if one does not; `forgets` where proposals of a chosen value are, and votes for it.
pub fn broken<'a>(
    configuration: &Configuration,
    forgets: bool,
    topic: Topic,
    told: impl Iterator<Item = &'a Facts>,
) -> Option<&'static str> {
    first_broken(configuration, forgets, topic.clauses(), &told.collect::<Vec<_>>())
}

/// The first of the clauses `asked` that does not hold of the facts told.
fn first_broken(
    configuration: &Configuration,
    forgets: bool,
    asked: &[&'static str],
    told: &[&Facts],
) -> Option<&'static str> {
    let mut all = Facts::default();
    told.iter().for_each(|facts| facts.joins(&mut all));
    let mut known = std::mem::take(&mut all.told);
    let Facts { claimed, chosen, .. } = &all;
    let is_chosen = |slot, value| all.is_chosen(slot, value);
    if forgets {
        let cast = told.iter().flat_map(|facts| facts.cast());
        let of_chosen = cast.filter(|(_, slot, (_, value))| is_chosen(*slot, *value));
        known.votes.extend(of_chosen.map(|(node, slot, (ballot, value))| (*ballot, slot, *value, node)));
        let voted = known.votes.iter().map(|(ballot, slot, value, _)| (*ballot, *slot, *value));
        let claimed = voted.chain(claimed.iter().copied()).filter(|(_, slot, value)| is_chosen(*slot, *value));
        known.proposals.extend(claimed);
    }
    let silent = || told.iter().filter_map(|facts| facts.silent);
    let ends = known.votes.iter().map(|(_, slot, ..)| slot + 1).chain(silent().map(|(.., first)| first + 1));
    let end = ends.max().unwrap_or(0);
    for (node, ballot, first) in silent() {
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
    let is_asked = |name: &str| asked.contains(&name) && !(forgets && name == DECIDED_IS_CHOSEN);
    clauses().into_iter().find(|(name, holds)| is_asked(name) && !holds(&known, &domain)).map(|(name, _)| name)
}

/// The clause that does not hold of all facts together, whatever their topics.
#[cfg(test)]
pub fn broken_together(configuration: &Configuration, forgets: bool, told: &[&Facts]) -> Option<&'static str> {
    first_broken(configuration, forgets, &clauses::<Value>().map(|(name, _)| name), told)
}

#[cfg(test)]
mod tests;
