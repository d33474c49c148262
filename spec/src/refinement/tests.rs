use super::explore::{Bounds, Found};
use super::invariant::clauses;
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
    };
    (bounds, states)
}

#[test]
fn it_is_the_protocol_that_tlc_explores() {
    for name in ["exact-one-slot", "exact-two-slots"] {
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
}
