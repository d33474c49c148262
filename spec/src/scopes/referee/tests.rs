use super::Referee;
use crate::engine::{self, Envelope, Ghost, Local, Part, Telling, random_path};
use crate::properties::effect::digest;
use crate::properties::invariant::{self, Facts, Topic};
use crate::properties::party::{Msg, Party};
use crate::properties::record::Record;
use crate::properties::transition::stored_or_empty;
use crate::refinement::invariant::clauses;
use crate::scopes::{Scope, Variation, catalogue};
use paxos_model::replica::durable::Durable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Random runs of each scope.
const RUNS: u64 = 4;
/// States of each run.
const STATES: usize = 8;
/// Mixtures of each pair of states.
const MIXTURES: u64 = 8;

type Told = Telling<Topic, Facts>;

/// What there is in one state.
struct State {
    nodes: Vec<Local<Party>>,
    messages: Vec<Vec<Told>>,
    record: Record,
}

/// Some states that runs of a scope lead through.
fn states(scope: &Scope) -> Vec<State> {
    let system = scope.system(Variation::default()).expect("it can begin");
    let referee = system.universe().ghost();
    let mut all = Vec::new();
    for run in 0..RUNS {
        let states = engine::walk(&system, &random_path(&system, 1, run));
        for state in states.iter().step_by(states.len() / STATES + 1) {
            let view = system.view(state);
            let of_message = |message: &Envelope<Msg>| referee.facts_of_message(message.src, &message.msg);
            all.push(State {
                nodes: view.locals().cloned().collect(),
                messages: view.messages().map(of_message).collect(),
                record: view.record().clone(),
            });
        }
    }
    all
}

/// What a node tells that has these votes, and all else as it is.
fn told_with_votes_of(referee: &Referee, local: &Local<Party>, other: &Local<Party>) -> Vec<Told> {
    let accepted = stored_or_empty(&other.stored).accepted.clone();
    let stored = Some(Arc::new(Durable { accepted, ..(*stored_or_empty(&local.stored)).clone() }));
    referee.facts_of_node(local.node, &local.state, &stored)
}

/// The clause that does not hold, topic by topic, of what is told there together and bears on it.
fn by_topics(referee: &Referee, told: &[&Told], record: &Record) -> Option<&'static str> {
    let mut topics: BTreeMap<Topic, [Vec<&Facts>; 2]> = BTreeMap::new();
    let (hinges, record) = (referee.hinges(record), referee.facts_of_record(record));
    let gives = |topic| record.iter().find(|told| (told.topic, told.part) == (topic, Part::Given));
    let bears = |told: &Told| gives(told.topic).is_none_or(|given| referee.bears(told, &given.facts));
    let is_told = |told: &&&Told| told.hinge.is_none_or(|hinge| hinges.contains(&hinge) && bears(told));
    for told in told.iter().filter(is_told).copied().chain(&record) {
        topics.entry(told.topic).or_default()[usize::from(told.part == Part::Asked)].push(&told.facts);
    }
    topics.into_iter().find_map(|(topic, [given, asked])| {
        let with = |asked: Option<&Facts>| referee.clause_broken(topic, given.iter().copied().chain(asked));
        if asked.is_empty() { with(None) } else { asked.iter().find_map(|asked| with(Some(asked))) }
    })
}

/// What one state tells is true, so parts of two are mixed, which mostly is not.
#[test]
fn topic_by_topic_the_invariant_says_what_it_says_of_all_together() {
    let (mut broken, mut whole) = (BTreeSet::new(), 0);
    for scope in catalogue::scopes() {
        let referee = Referee::new(scope.clone(), scope.judge());
        let states = states(&scope);
        for (place, (one, other)) in states.iter().zip(states.iter().cycle().skip(3)).enumerate() {
            for mixture in 0..MIXTURES {
                let takes = |kind: &str, index: usize| digest(&(place, mixture, kind, index)) % 8;
                let told_by_node =
                    |(index, (one, other)): (usize, (&Local<Party>, &Local<Party>))| match takes("node", index) {
                        0 | 1 => referee.facts_of_node(index, &other.state, &other.stored),
                        2 if one.state.replica().is_some() => told_with_votes_of(&referee, one, other),
                        _ => referee.facts_of_node(index, &one.state, &one.stored),
                    };
                let record = match takes("record", 0) {
                    0 | 1 => other.record.clone(),
                    2 => Record { proposals: other.record.proposals.clone(), ..one.record.clone() },
                    3 => Record { proposals: &one.record.proposals | &other.record.proposals, ..one.record.clone() },
                    _ => one.record.clone(),
                };
                let nodes: Vec<_> = one.nodes.iter().zip(&other.nodes).enumerate().map(told_by_node).collect();
                let is_told = |index: usize| takes("message", index) > 1;
                let messages = one.messages.iter().chain(&other.messages).enumerate();
                let messages = messages.filter(|(index, _)| is_told(*index)).map(|(_, told)| told);
                let told: Vec<&Told> = nodes.iter().chain(messages).flatten().collect();
                let by_record = referee.facts_of_record(&record);
                let all: Vec<&Facts> = told.iter().copied().chain(&by_record).map(|told| &told.facts).collect();
                let together = invariant::broken_together(&referee.judge.configuration, scope.collapse, &all);
                let apart = by_topics(&referee, &told, &record);
                assert_eq!(apart.is_some(), together.is_some(), "{}: {apart:?}, {together:?}: {all:?}", scope.name);
                broken.extend(apart);
                whole += usize::from(apart.is_none());
            }
        }
    }
    assert!(whole > 1000, "{whole}");
    let all: BTreeSet<&str> = clauses::<u8>().map(|(name, _)| name).into();
    assert_eq!(broken, all);
}
