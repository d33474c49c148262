//! The key-value machine alone: every state that a small choice of commands leads to, beside what a naive store would do.
//!
//! The scopes of replicas give the machine few commands, since each multiplies their states. Here all sorts are tried in every
//! state: several puts in a command, all-or-nothing, given and missing versions up to the highest, deletes, collection.

use super::alone::{Alone, Found};
use crate::properties::sequential::{Op, Ret, Store};
use paxos_model::kv::{Command, FLOOR_MAX, Kv, Place, Put, Query, VERSION_MAX};
use paxos_model::machine::StateMachine;
use stateright::semantics::SequentialSpec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The scope.
pub const SCOPE: Alone = Alone {
    name: "key-value-machine",
    description: "the state machine alone, beside a naive store: every command in every state",
    bounds: "no replicas; 2 keys, versions up to 3 and the two highest, commands of one and two puts, collection",
    default: true,
    property: "machine-as-specified",
    explore,
};

/// No version between this and the two highest is reached: what happens there happens below.
const VERSION_SMALL: u64 = 3;

fn puts() -> Vec<Put> {
    let high = [FLOOR_MAX, FLOOR_MAX + 1, VERSION_MAX - 1, VERSION_MAX, VERSION_MAX + 1];
    let versions: Vec<Option<u64>> = [0, 1, 2, 3].into_iter().chain(high).map(Some).chain([None]).collect();
    let mut all = Vec::new();
    for key in ["a", "ab"] {
        for val in ["", "x"] {
            all.extend(versions.iter().map(|ver| Put { key: key.into(), val: val.into(), ver: *ver }));
        }
    }
    all
}

fn commands() -> Vec<Command> {
    let write =
        |puts: &[&Put], atomic| Command::Write { puts: puts.iter().map(|put| (*put).clone()).collect(), atomic };
    let puts = puts();
    let low: Vec<&Put> = puts.iter().filter(|put| put.ver.is_none_or(|ver| ver == 1 || ver == 2)).collect();
    let mut all: Vec<Command> = puts.iter().map(|put| write(&[put], false)).collect();
    for atomic in [false, true] {
        all.push(write(&[], atomic));
        for first in &low {
            all.extend(low.iter().map(|second| write(&[first, second], atomic)));
        }
    }
    all.extend([0, 1, 2].map(|keep| Command::Collect { keep }));
    all.extend([1, 3, FLOOR_MAX + 1].map(|to| Command::RaiseFloor { to }));
    all
}

fn queries() -> Vec<Query> {
    let keys = |prefix: &str, start: &str, limit| Query::Keys { prefix: prefix.into(), start: start.into(), limit };
    vec![
        Query::Get("a".into()),
        Query::Get("ab".into()),
        Query::Get("b".into()),
        keys("", "", u64::MAX),
        keys("", "", 1),
        keys("", "", 0),
        keys("ab", "", 9),
        keys("a", "aa", 9),
        keys("b", "a", 9),
    ]
}

/// Where machine and store differ after `command`, if they do. `machine` and `store` are brought up to date.
fn carry_out(machine: &mut Kv, store: &mut Store, command: &Command) -> Option<String> {
    let (reply, wanted) = (Ret::Reply(machine.apply(command)), store.invoke(&Op::Command(command.clone())));
    if reply != wanted {
        return Some(format!("the machine replies {reply:?}, and should {wanted:?}"));
    }
    queries().into_iter().find_map(|query| {
        let (answer, wanted) = (Ret::Answer(machine.query(&query)), store.invoke(&Op::Query(query.clone())));
        (answer != wanted).then(|| format!("{query:?} is answered {answer:?}, and should be {wanted:?}"))
    })
}

/// Where the machine, cut in items anywhere and put together again, is not itself.
fn falls_apart(machine: &Kv) -> Option<String> {
    let items: Vec<_> = machine.items(None).collect();
    let mut whole = Kv::default();
    for (index, (place, item)) in items.iter().enumerate() {
        if !machine.items(Some(place)).eq(items[index + 1..].iter().cloned()) {
            return Some(format!("after {place:?} other items follow than those that do"));
        }
        whole.put(place.clone(), item.clone());
    }
    (whole != *machine).then(|| format!("put together from its items it is {whole:?}, and was {machine:?}"))
}

/// Where the changes from one state to the next are not the items that differ.
fn changes_otherwise(before: &Kv, after: &Kv) -> Option<String> {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (before.items(None).collect(), after.items(None).collect());
    let places: BTreeSet<&Place> = old.keys().chain(new.keys()).collect();
    let differ = places.into_iter().filter(|place| old.get(place) != new.get(place));
    let wanted: Vec<_> = differ.map(|place| (place.clone(), new.get(place).cloned())).collect();
    let changes: Vec<_> = after.changes(before).collect();
    (changes != wanted).then(|| format!("its changes are told as {changes:?}, and are {wanted:?}"))
}

/// Whether a state lies within the bounds.
fn within(machine: &Kv) -> bool {
    ["a", "ab"].iter().all(|key| {
        let ver = machine.get(&(*key).into()).ver;
        ver <= VERSION_SMALL || (FLOOR_MAX..=FLOOR_MAX + 1).contains(&ver) || ver >= VERSION_MAX - 1
    })
}

/// Visits every state.
fn explore() -> Found {
    let commands = commands();
    let mut states = vec![(Kv::default(), Store::default(), None::<(usize, usize)>, 0)];
    // By all that is in them: the machine's own `Hash` and `Eq` are part of what is tried.
    let mut known = BTreeMap::from([(format!("{:?}", (&states[0].0, &states[0].1)), 0)]);
    let mut queue = VecDeque::from([0]);
    let mut found = Found { unique: 1, generated: 0, depth: 0, broken: None };
    while let Some(here) = queue.pop_front() {
        for (number, command) in commands.iter().enumerate() {
            let (mut machine, mut store, _, depth) = states[here].clone();
            found.generated += 1;
            let differs = carry_out(&mut machine, &mut store, command);
            let key = format!("{:?}", (&machine, &store));
            let is_new = within(&machine) && !known.contains_key(&key);
            let told = || falls_apart(&machine).or_else(|| changes_otherwise(&states[here].0, &machine));
            if let Some(why) = differs.or_else(|| if is_new { told() } else { None }) {
                let tell = |command: &Command| format!("the machine carries out {command:?}");
                let mut path = vec![tell(command)];
                let mut at = states[here].2;
                while let Some((before, number)) = at {
                    path.insert(0, tell(&commands[number]));
                    at = states[before].2;
                }
                found.broken = Some((path, why));
                return found;
            }
            if is_new {
                known.insert(key, states.len());
                queue.push_back(states.len());
                states.push((machine, store, Some((here, number)), depth + 1));
                found.depth = depth + 1;
                found.unique += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{SCOPE, carry_out, commands, explore};
    use crate::cli::{Catalogue, SimulateOptions};
    use crate::properties::sequential::{Op, Store};
    use crate::scopes::run::Scopes;
    use paxos_model::kv::Kv;
    use paxos_model::machine::StateMachine;
    use stateright::semantics::SequentialSpec;

    #[test]
    fn the_machine_does_what_the_naive_store_does_in_every_state() {
        let found = explore();
        assert_eq!(found.broken, None);
        assert!(found.unique > 400, "{found:?}");
    }

    #[test]
    fn it_is_run_whole_where_others_are_walked_at_random_and_not_explored() {
        let options = SimulateOptions { seconds: 1, seed: 1, threads: 1 };
        let run = Scopes.simulate(SCOPE.name, &options, &mut |_| {});
        assert!(run.report.exhausted && run.counterexamples.is_empty());
        assert!(Scopes.begin(SCOPE.name).is_err());
    }

    #[test]
    fn a_difference_is_seen() {
        let (mut machine, mut store) = (Kv::default(), Store::default());
        let commands = commands();
        assert_eq!(carry_out(&mut machine, &mut store, &commands[0]), None);
        store.invoke(&Op::Command(commands[0].clone()));
        machine.apply(&commands[1]);
        assert!(commands.iter().any(|command| carry_out(&mut machine.clone(), &mut store.clone(), command).is_some()));
    }
}
