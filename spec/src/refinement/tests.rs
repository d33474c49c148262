use super::explore::{Bounds, Found};
use super::invariant::clauses;
use super::protocol::{Domain, Protocol};
use paxos_model::replica::ballot::Ballot;
use stateright::actor::Id;
use std::collections::BTreeSet;
use std::path::Path;

fn spec(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bounds of a file of `tla/scopes/`, and how many states TLC must find in them.
fn scope(name: &str) -> (Bounds, usize) {
    let text = spec(&format!("tla/scopes/{name}.cfg"));
    let count = |sort: &str| {
        let set = text.lines().find_map(|line| line.trim().strip_prefix(sort)?.strip_prefix(" = {"));
        set.unwrap_or_else(|| panic!("{name} has no {sort}")).split(',').count()
    };
    let states = text.lines().find_map(|line| line.strip_prefix("\\* ")?.strip_suffix(" distinct states"));
    let states = states.expect("it says how many").replace(',', "").parse().expect("a number");
    let bounds = Bounds {
        nodes: count("Node"),
        ballots: count("Ballot") as u64,
        slots: count("Slot") as u64,
        values: count("Value") as u8,
        decides: !text.contains("SPECIFICATION SpecVotes"),
    };
    (bounds, states)
}

#[test]
fn it_is_the_protocol_that_tlc_explores() {
    // A vote that a candidate must take, beside another that it must not, needs three ballots and more than one quorum.
    for name in ["exact-one-slot", "exact-two-slots", "exact-three-ballots"] {
        let (bounds, states) = scope(name);
        assert_eq!(bounds.exhaust(), Found { states, broken: None }, "{name}");
    }
}

#[test]
fn its_invariant_has_the_clauses_that_are_proved() {
    let module = spec("tla/MultiPaxos.tla");
    let (_, conjunction) = module.split_once("Inv == ").expect("it has the invariant");
    let conjunction = conjunction.split("THEOREM").next().expect("a part");
    let words = conjunction.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let proved: BTreeSet<&str> = words.collect();
    let ours: BTreeSet<&str> = clauses::<u8>().iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, proved);
    let ledger = spec("README.md");
    for told in
        [format!("the {} clauses of the proved invariant", ours.len()), format!("all {} clauses hold", ours.len())]
    {
        assert!(ledger.contains(&told), "{told}");
    }
}

/// Each clause says something of its own: a state in which it alone is broken.
#[test]
fn each_clause_can_be_broken_alone() {
    let ballot = |round| Ballot { round, node: Id::from(0) };
    let node = Id::from;
    let domain = Domain::of_majorities(3, vec![ballot(1), ballot(2)], 0..1);
    let (one, two) = (ballot(1), ballot(2));
    type Change = fn(&mut Protocol<u8>, Ballot, Ballot, fn(usize) -> Id);
    // Nodes 0 and 1 voted for 7 in the first ballot: it is chosen, and decided, and node 1 has promised the second.
    let chosen = || {
        let mut state = Protocol::default();
        for voter in [0, 1].map(node) {
            state.promised.insert(voter, one);
            state.accepted.insert((voter, 0), (one, 7));
            state.votes.insert((one, 0, 7, voter));
        }
        state.promised.insert(node(1), two);
        state.promised.insert(node(2), two);
        state.proposals.insert((one, 0, 7));
        state.decided.insert((0, 7));
        state.reports.insert((node(1), two, 0), Some((one, 7)));
        state
    };
    let changes: [(&str, Change); 13] = [
        ("ProposalIsSafe", |state, _, two, _| {
            state.proposals.insert((two, 0, 8));
        }),
        ("OneProposal", |state, one, _, _| {
            state.proposals.insert((one, 0, 8));
        }),
        ("VoteIsProposed", |state, _, _, _| state.proposals.clear()),
        ("VoteIsPromised", |state, _, _, node| {
            state.promised.remove(&node(0));
        }),
        ("AcceptedIsVote", |state, one, _, node| {
            state.accepted.insert((node(2), 0), (one, 7));
        }),
        ("AcceptedIsLatest", |state, _, _, node| {
            state.accepted.remove(&(node(0), 0));
        }),
        ("AcceptedIsOpen", |state, _, _, node| {
            state.log.insert(node(0), vec![7]);
        }),
        ("ReportIsPromised", |state, _, two, node| {
            state.reports.insert((node(0), two, 0), Some((Ballot { round: 1, node: node(0) }, 7)));
        }),
        ("ReportIsVote", |state, one, two, node| {
            state.reports.insert((node(2), two, 0), Some((one, 7)));
        }),
        ("ReportIsLatest", |state, _, two, node| {
            state.reports.insert((node(1), two, 0), None);
        }),
        ("DecidedIsChosen", |state, _, _, _| {
            state.decided.insert((0, 8));
        }),
        ("MarkedIsDecided", |state, one, _, _| {
            state.decided.clear();
            state.marks.insert(one, 1);
        }),
        ("LogIsDecided", |state, _, _, node| {
            state.accepted.remove(&(node(2), 0));
            state.log.insert(node(2), vec![8]);
        }),
    ];
    let broken = |state: &Protocol<u8>| {
        clauses().into_iter().filter(|(_, holds)| !holds(state, &domain)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert!(broken(&chosen()).is_empty());
    for (name, change) in changes {
        let mut state = chosen();
        change(&mut state, one, two, node);
        assert_eq!(broken(&state), [name]);
    }
}
