//! Scopes with and without the reductions: the same verdicts, and the same projections.
//!
//! A projection is what the reductions must not change: the local states with storage and timers, and the record, each by
//! itself and all together. The messages in flight are left out, since dead ones are what is removed.

use paxos_spec::engine::Ghost;
use paxos_spec::scopes::{Scope, Variation, catalogue};
use stateright::{Expectation, Model};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What of the scopes is small enough without reductions, besides those that say so.
const ALSO_SMALL: [&str; 5] = ["two-replicas", "catch-up", "candidate-behind", "pre-vote", "step-down"];

#[derive(Default)]
struct Seen {
    states: usize,
    nodes: BTreeSet<(usize, u64)>,
    records: BTreeSet<u64>,
    together: BTreeSet<u64>,
    violated: BTreeSet<&'static str>,
    witnessed: BTreeSet<&'static str>,
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn visit(scope: &Scope, reduce: bool) -> Seen {
    let system =
        scope.system(Variation { reduce, ..Variation::default() }).unwrap_or_else(|broken| panic!("{}", broken.why()));
    let predicates = system.universe().ghost().predicates();
    let (mut seen, mut known, mut digests) = (Seen::default(), BTreeSet::new(), BTreeMap::new());
    let mut pending = system.init_states();
    while let Some(state) = pending.pop() {
        if !known.insert(digest(&state)) {
            continue;
        }
        seen.states += 1;
        let view = system.view(&state);
        let mut parts = Vec::new();
        for (node, local) in view.locals().enumerate() {
            // A component stands in one place for as long as its universe does.
            let part = *digests
                .entry(std::ptr::from_ref(local).addr())
                .or_insert_with(|| digest(&(node, &local.state, &local.stored, &local.timers)));
            seen.nodes.insert((node, part));
            parts.push(part);
        }
        let record = std::ptr::from_ref(view.record()).addr();
        let record = *digests.entry(record).or_insert_with(|| digest(view.record()));
        seen.records.insert(record);
        parts.push(record);
        // Whatever is judged is a function of these.
        if seen.together.insert(digest(&parts)) {
            for (index, predicate) in predicates.iter().enumerate() {
                if predicate.expectation == Expectation::Sometimes && system.universe().ghost().evaluate(index, &view) {
                    seen.witnessed.insert(predicate.name);
                }
            }
        }
        seen.violated.extend(system.violated(&state));
        pending.extend(system.next_states(&state));
    }
    seen
}

#[test]
fn the_reductions_hide_nothing_in_small_scopes() {
    let small = |scope: &Scope| scope.small || ALSO_SMALL.contains(&scope.name);
    let mut reduced_at_all = false;
    for scope in catalogue::scopes().iter().filter(|scope| small(scope)) {
        let (whole, reduced) = (visit(scope, false), visit(scope, true));
        let name = scope.name;
        println!("{name}: {} states, {} reduced, {} projections", whole.states, reduced.states, whole.together.len());
        assert_eq!(whole.violated, reduced.violated, "{name}");
        assert_eq!(whole.witnessed, reduced.witnessed, "{name}");
        assert!(whole.nodes == reduced.nodes, "{name}: local states differ");
        assert!(whole.records == reduced.records, "{name}: records differ");
        assert!(whole.together == reduced.together, "{name}: local states and records together differ");
        assert!(reduced.states <= whole.states, "{name}");
        reduced_at_all |= reduced.states < whole.states;
    }
    assert!(reduced_at_all);
}
