//! The transcription against the Go source, the exhibits with their exact lengths and counts, and the reduction against
//! runs without it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::actor::{Actor, Id, Out};

use super::*;

const V1: Value = Value(1);
const V2: Value = Value(2);

fn holds(proposal: u64, value: Option<Value>) -> Promise {
    Promise { proposal, value, accepted: INITIAL }
}

#[test]
fn prepare_wants_a_higher_ballot_and_overwrites_the_one_beside_the_value() {
    for (before, proposal, after, ok) in [
        (holds(INITIAL, None), 0, holds(INITIAL, None), false),
        (holds(INITIAL, None), 1, holds(1, None), true),
        (holds(1, None), 1, holds(1, None), false),
        (holds(1, Some(V1)), 2, holds(2, Some(V1)), true),
        (holds(2, Some(V1)), 1, holds(2, Some(V1)), false),
        (holds(COMMITTED, Some(V1)), u64::MAX - 1, holds(COMMITTED, Some(V1)), false),
        (holds(COMMITTED, Some(V1)), COMMITTED, holds(COMMITTED, Some(V1)), false),
    ] {
        assert_eq!(before.prepare(proposal), (after, ok), "prepare({proposal}) at {before:?}");
    }
}

#[test]
fn accept_wants_no_lower_ballot() {
    for (before, proposal, after, ok) in [
        (holds(INITIAL, None), 0, holds(0, Some(V2)), true),
        (holds(INITIAL, None), 1, holds(1, Some(V2)), true),
        (holds(1, None), 1, holds(1, Some(V2)), true),
        (holds(1, Some(V1)), 2, holds(2, Some(V2)), true),
        (holds(2, None), 1, holds(2, None), false),
        (holds(COMMITTED, Some(V1)), 3, holds(COMMITTED, Some(V1)), false),
        (holds(COMMITTED, Some(V1)), COMMITTED, holds(COMMITTED, Some(V2)), true),
    ] {
        assert_eq!(before.accept(proposal, V2, Repair::None), (after, ok), "accept({proposal}) at {before:?}");
    }
}

#[test]
fn commit_overwrites_whatever_is_there() {
    for before in [holds(INITIAL, None), holds(7, Some(V1)), holds(COMMITTED, Some(V1))] {
        assert_eq!(before.commit(V2, Repair::None), holds(COMMITTED, Some(V2)));
    }
}

#[test]
fn the_twin_keeps_the_accepted_ballot_through_a_promise() {
    let (accepted, _) = Promise::default().accept(1, V1, Repair::AcceptedBallotKeptApart);
    assert_eq!(accepted.prepare(2), (Promise { proposal: 2, value: Some(V1), accepted: 1 }, true));
}

#[test]
fn a_ballot_composed_beyond_committed_wraps_around_to_round_0() {
    assert_eq!(decompose(compose(3, 2)), (3, 2));
    let (round, _) = decompose(COMMITTED);
    assert_eq!(compose(round + 1, 2), compose(0, 2));
    assert_eq!(compose(0, 0), INITIAL, "node 0's first ballot is one that every acceptor refuses");
}

fn tally(answers: [Promise; 2], repair: Repair) -> Tally {
    let mut tally = Tally::default();
    answers.into_iter().for_each(|answer| tally.count_prepare(answer, true, repair));
    tally
}

#[test]
fn of_two_answers_with_one_ballot_the_later_wins() {
    let (with, without) = (holds(1, Some(V1)), holds(1, None));
    assert_eq!(tally([with, without], Repair::None).max_value, None);
    assert_eq!(tally([without, with], Repair::None).max_value, Some(V1));
}

#[test]
fn a_bare_promise_outranks_an_accepted_value() {
    let (accepted, promised) = (holds(1, Some(V1)), holds(2, None));
    assert_eq!(tally([accepted, promised], Repair::None).max_value, None);
    assert_eq!(tally([promised, accepted], Repair::None).max_value, None);
}

#[test]
fn the_twin_takes_the_value_accepted_at_the_highest_ballot() {
    let answer = |proposal, value, accepted| Promise { proposal, value, accepted };
    let (low, high, bare) = (answer(5, Some(V1), 1), answer(3, Some(V2), 3), answer(5, None, 0));
    for answers in [[low, high], [high, low], [high, bare], [bare, high]] {
        let tally = tally(answers, Repair::AcceptedBallotKeptApart);
        assert_eq!((tally.max_proposal, tally.max_value), (5, Some(V2)));
    }
}

/// A node and its state, driven by hand.
struct Driven {
    id: Id,
    node: Node,
    state: NodeState,
}

impl Driven {
    fn new(number: usize, calls: Calls) -> Self {
        let node = Node { nodes: NODES, writes: Some(Value(number as u8)), calls, repair: Repair::None };
        let state = node.on_start(Id::from(number), &None, &mut Out::new());
        Self { id: Id::from(number), node, state }
    }

    fn timeout(&mut self, timer: Timer) {
        let mut state = Cow::Borrowed(&self.state);
        self.node.on_timeout(self.id, &mut state, &timer, &mut Out::new());
        self.state = state.into_owned();
    }

    fn prepared(&mut self, src: usize, promise: Promise, ok: bool) {
        let mut state = Cow::Borrowed(&self.state);
        let msg = Msg::Prepared { attempt: 1, promise, ok };
        self.node.on_msg(self.id, &mut state, Id::from(src), msg, &mut Out::new());
        self.state = state.into_owned();
    }
}

#[test]
fn a_proposer_refused_for_a_commit_begins_again_at_its_lowest_ballot() {
    let mut node = Driven::new(2, Calls::Together);
    node.timeout(Timer::ClientWrites);
    node.prepared(0, holds(COMMITTED, Some(V1)), false);
    node.timeout(Timer::CallsFail);
    assert_eq!(node.state.write, Write::BackingOff { attempt: 1, proposal: compose(0, 2) });
}

#[test]
fn a_proposer_that_hears_nobody_goes_back_to_round_1() {
    let mut node = Driven::new(2, Calls::Together);
    node.state.write = Write::Preparing { attempt: 9, proposal: compose(9, 2), tally: Tally::default() };
    node.timeout(Timer::CallsFail);
    assert_eq!(node.state.write, Write::BackingOff { attempt: 9, proposal: compose(1, 2) });
}

#[test]
fn an_answer_after_its_call_has_failed_is_not_counted() {
    let mut node = Driven::new(2, Calls::InTurn);
    node.timeout(Timer::ClientWrites);
    node.timeout(Timer::CallsFail);
    let before = node.state.clone();
    node.prepared(0, holds(INITIAL, None), true);
    assert_eq!(node.state, before);
    node.prepared(1, holds(INITIAL, None), true);
    assert!(
        matches!(node.state.write, Write::Accepting { value: V2, .. }),
        "node 1's promise and its own are a quorum"
    );
}

#[test]
fn the_original_chooses_two_values_in_both_ways() {
    let exhibits = exhibits();
    let found: Vec<_> = exhibits
        .iter()
        .map(|exhibit| {
            let Exhibit { mechanism, scope, property, steps, unique_states, generated_states, .. } = exhibit;
            (*mechanism, *scope, *property, steps.len(), *unique_states, *generated_states)
        })
        .collect();
    let (tie, overwritten) = (Mechanism::Tie.name(), Mechanism::OverwrittenBallot.name());
    assert_eq!(
        found,
        [
            (tie, "in-turn-2-ballots", AGREEMENT, 13, 4_774, 14_765),
            (overwritten, "in-turn-3-ballots", AGREEMENT, 16, 21_559, 73_370),
            (overwritten, "in-turn-3-writers", AGREEMENT, 16, 185_293, 741_606),
            (tie, "together-2-ballots", AGREEMENT, 16, 43_781, 200_515),
            (tie, "in-turn-2-ballots", ONE_COMMITTED, 14, 5_936, 18_945),
            (overwritten, "in-turn-3-ballots", ONE_COMMITTED, 17, 27_561, 95_079),
        ]
    );
    for exhibit in &exhibits {
        let broken = exhibit.steps.iter().filter(|step| step.contains("RULE BROKEN")).count();
        assert_eq!(broken, 1, "one step breaks the rule: {:#?}", exhibit.steps);
        let tied = exhibit.steps.iter().any(|step| step.contains("`<=` lets the last win"));
        assert_eq!(tied, exhibit.mechanism == tie, "{:#?}", exhibit.steps);
    }
    assert_eq!(
        exhibits[4].broken,
        "Two values for one slot: v1 was chosen at ballot 0.1, v2 was chosen at ballot 0.2, \
         node 1 committed v1, node 2 committed v2."
    );
}

#[test]
fn the_repaired_twin_is_clean_in_the_same_scopes() {
    let expected = [
        ("in-turn-2-ballots", 5_671),
        ("in-turn-3-ballots", 74_993),
        ("in-turn-3-writers", 1_045_179),
        ("together-2-ballots", 106_251),
    ];
    assert_eq!(repaired(), expected.map(|(scope, states)| (scope.to_owned(), states, true)));
}

#[test]
fn both_search_orders_visit_the_same_states() {
    for (_, scope) in &SCOPES[..2] {
        let model = Bounded::new(scope.repaired(), &[AGREEMENT]);
        let (bfs, dfs) = (model.clone().checker().spawn_bfs().join(), model.checker().spawn_dfs().join());
        assert_eq!(bfs.unique_state_count(), dfs.unique_state_count());
        assert_eq!(bfs.state_count(), dfs.state_count());
    }
}

/// Every state within the bounds, and what of it is left without the messages, as hashes.
fn reachable(model: &Bounded) -> (usize, BTreeSet<u64>) {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let (mut seen, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    let mut pending = model.init_states();
    while let Some(state) = pending.pop() {
        if model.within_boundary(&state) && seen.insert(hash(&|hasher| state.hash(hasher))) {
            nodes.insert(hash(&|hasher| state.actor_states.hash(hasher)));
            pending.extend(model.next_steps(&state).into_iter().map(|(_, next)| next));
        }
    }
    (seen.len(), nodes)
}

#[test]
fn removing_dead_messages_loses_no_state_of_the_nodes() {
    let (_, original) = SCOPES[0];
    for (scope, all, reduced) in [(original, 674_957, 7_632), (original.repaired(), 587_275, 5_671)] {
        let model = Bounded::new(scope, &[AGREEMENT]);
        let (without, nodes_without) = reachable(&Bounded { reduce: false, ..model.clone() });
        let (with, nodes_with) = reachable(&model);
        assert_eq!(nodes_with, nodes_without);
        assert_eq!((without, with), (all, reduced));
    }
}
