//! The clauses of the invariant in Rust are those of `tla/MultiPaxos.tla` also where they do not hold: they are broken in as many of the states of
//! `tla/Changes.tla` as that module says. TLC counts them, too, and `proof/changes.py` those in which a formula is broken that is proved.

#![allow(clippy::disallowed_types, reason = "the order of a set of states is not looked at")]

use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_spec::refinement::explore::Bounds;
use paxos_spec::refinement::invariant::clauses;
use paxos_spec::refinement::protocol::{Domain, Protocol};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tla").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The number that stands between `before` and what is no part of a number.
fn number(text: &str, before: &str) -> usize {
    let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("it says {before:?}"));
    let digits: String = after.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
    digits.replace(',', "").parse().unwrap_or_else(|error| panic!("after {before:?}: {error}"))
}

/// Puts `element` into `set`, or takes it out.
fn toggled<T: Ord + Clone>(set: &BTreeSet<T>, element: T) -> BTreeSet<T> {
    let mut set = set.clone();
    if !set.remove(&element) {
        set.insert(element);
    }
    set
}

/// Puts `value` at `key`, or takes out what is there.
fn with<K: Ord + Clone, V: Clone>(map: &BTreeMap<K, V>, key: K, value: Option<V>) -> BTreeMap<K, V> {
    let mut map = map.clone();
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
    map
}

/// Every state that is one change away, `Change` of the module; what is there already is among the changes.
fn changes(bounds: &Bounds, state: &Protocol<u8>, domain: &Domain, found: &mut HashSet<Protocol<u8>>) {
    let (slots, ballots) = (|| domain.slots.clone(), || domain.ballots.iter().copied());
    let values = 0..bounds.values;
    let votes: Vec<(Ballot, u8)> =
        ballots().flat_map(|ballot| values.clone().map(move |value| (ballot, value))).collect();
    let maybe = || [None].into_iter().chain(votes.iter().copied().map(Some));
    let old = || state.clone();
    let logs = |end: Slot| {
        (0..end).fold(vec![Vec::new()], |logs: Vec<Vec<u8>>, _| {
            let longer =
                |log: &Vec<u8>| values.clone().map(|value| [log.as_slice(), &[value]].concat()).collect::<Vec<_>>();
            logs.iter().flat_map(longer).collect()
        })
    };
    for node in (0..bounds.nodes).map(Id::from) {
        for promised in [None].into_iter().chain(ballots().map(Some)) {
            found.insert(Protocol { promised: with(&state.promised, node, promised), ..old() });
        }
        for entries in (0..=bounds.slots).flat_map(logs) {
            let entries = Some(entries).filter(|entries| !entries.is_empty());
            found.insert(Protocol { log: with(&state.log, node, entries), ..old() });
        }
        for (slot, vote) in slots().flat_map(|slot| maybe().map(move |vote| (slot, vote))) {
            found.insert(Protocol { accepted: with(&state.accepted, (node, slot), vote), ..old() });
        }
        for (slot, ballot) in slots().flat_map(|slot| ballots().map(move |ballot| (slot, ballot))) {
            for report in [None].into_iter().chain(maybe().map(Some)) {
                found.insert(Protocol { reports: with(&state.reports, (node, ballot, slot), report), ..old() });
            }
        }
        for (slot, (ballot, value)) in slots().flat_map(|slot| votes.iter().map(move |vote| (slot, *vote))) {
            found.insert(Protocol { votes: toggled(&state.votes, (ballot, slot, value, node)), ..old() });
        }
    }
    for (slot, (ballot, value)) in slots().flat_map(|slot| votes.iter().map(move |vote| (slot, *vote))) {
        found.insert(Protocol { proposals: toggled(&state.proposals, (ballot, slot, value)), ..old() });
    }
    for end in (0..=bounds.slots).map(|end| Some(end).filter(|end| *end > 0)) {
        found.extend(ballots().map(|ballot| Protocol { marks: with(&state.marks, ballot, end), ..old() }));
    }
    for (slot, value) in slots().flat_map(|slot| values.clone().map(move |value| (slot, value))) {
        found.insert(Protocol { decided: toggled(&state.decided, (slot, value)), ..old() });
    }
}

/// Judges the states of one scope.
fn judge(scope: &str, bounds: &Bounds) {
    let (module, scope) = (read("Changes.tla"), read(&format!("scopes/{scope}.cfg")));
    let (_, table) = scope.split_once("Breaks <- ").expect("it says where it is said in how many");
    let table = format!("{} ==", table.lines().next().expect("a name"));
    let (_, breaks) = module.split_once(&table).expect("it says in how many");
    let (_, breaks) = breaks.split_once('[').expect("a record");
    let breaks = breaks.split(']').next().expect("a part");
    let expected = breaks.split(',').map(|line| {
        let (name, _) = line.split_once("|->").expect("a clause and a number");
        (name.trim(), number(line, "|->"))
    });
    let expected: BTreeMap<&str, usize> = expected.collect();

    let (domain, states) = (bounds.domain(), bounds.within(number(&scope, "Steps =")));
    let mut changed = HashSet::new();
    for state in &states {
        changes(bounds, state, &domain, &mut changed);
    }
    assert_eq!(states.len() + changed.len(), number(&scope, "\\* "));
    let count =
        |holds: fn(&Protocol<u8>, &Domain) -> bool| changed.iter().filter(|state| !holds(state, &domain)).count();
    let found: BTreeMap<&str, usize> = clauses::<u8>().into_iter().map(|(name, holds)| (name, count(holds))).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_is_broken_in_as_many_states_as_in_the_module() {
    judge("changes-one-slot", &Bounds { nodes: 3, ballots: 2, slots: 1, values: 2, decides: true });
    judge("changes-two-slots", &Bounds { nodes: 2, ballots: 3, slots: 2, values: 2, decides: true });
}
