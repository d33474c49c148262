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
    told_by(0, &promise)
}

/// All that a message tells.
fn told_by(src: usize, message: &MessageOf<Audit>) -> Facts {
    let mut all = Facts::default();
    for Told { facts, .. } in Facts::of_message(&Configuration::of_voters(3), src.into(), message) {
        facts.joins(&mut all);
        all.silent = facts.silent.or(all.silent);
    }
    all
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
    broken_together(&Configuration::of_voters(3), forgets, &told.iter().collect::<Vec<_>>())
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
    all.push(told_by(0, &accept));
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
    let told = told_by(0, &promise);
    assert_eq!(clause(true, &[told.clone(), stored(ballot(2))]), None);
    assert_eq!(clause(true, &[told, stored(ballot(1))]), Some("ReportIsPromised"));
}

#[test]
fn what_is_told_to_be_decided_is_chosen_with_or_without_its_value() {
    let told = Message::Decided { from: 0, entries: vec![Entry::Noop] };
    let told = told_by(0, &told);
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
    assert_eq!(Facts::of_message(&Configuration::of_voters(3), 7.into(), &told), []);
}

#[test]
fn each_clause_is_asked_on_one_topic() {
    let topics = [Topic::Safety, Topic::Ballots, Topic::Decisions, Topic::Node(0.into())];
    let mut asked: Vec<&str> = topics.iter().flat_map(|topic| topic.clauses()).copied().collect();
    let mut all = clauses::<Value>().map(|(name, _)| name);
    asked.sort_unstable();
    all.sort_unstable();
    assert_eq!(asked, all);
}
