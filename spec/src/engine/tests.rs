//! The engine against `stateright`'s own `ActorModel`, and against itself.

mod toys;

use self::toys::{Chosen, Maker, MustHeed, Paxos, Pinger, Reviver, Sleeper, Stored};
use super::{
    Ghost, Limits, NoGhost, RunOptions, Settings, SimulationOptions, State, Stop, Strategy, Subject, System, encode,
    replay, run, seek, shorten, simulate, thin, walk,
};
use stateright::Model;
use stateright::actor::{Actor, ActorModel, Envelope, Network};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

fn text(item: &impl Debug) -> String {
    format!("{item:?}")
}

fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort();
    items
}

/// Every reachable state, found without a checker and without fingerprints.
fn reachable<M: Model>(model: &M, key: impl Fn(&M::State) -> String) -> Vec<M::State>
where
    M::State: Clone,
{
    let mut seen = BTreeSet::new();
    let mut states = Vec::new();
    let mut pending = model.init_states();
    while let Some(state) = pending.pop() {
        if seen.insert(key(&state)) {
            pending.extend(model.next_states(&state));
            states.push(state);
        }
    }
    states
}

fn engine_projections<A: Subject, G: Ghost<A>>(system: &System<A, G>) -> BTreeSet<Vec<String>> {
    let key = |state: &State| text(&(&state.locals, &state.network, state.ghost, &state.counters));
    let states = reachable(system, key);
    states.iter().map(|state| projection(system, state, true)).collect()
}

fn projection<A: Subject, G: Ghost<A>>(system: &System<A, G>, state: &State, network: bool) -> Vec<String> {
    let view = system.view(state);
    let mut parts: Vec<String> =
        view.locals().map(|local| text(&(&local.state, &local.stored, &local.timers))).collect();
    parts.push(text(view.record()));
    if network {
        parts.push(text(&sorted(view.messages().map(|m| text(&(m.src, m.dst, &m.msg))).collect())));
    }
    parts
}

fn actor_model_projections<A: Subject>(actors: Vec<A>) -> BTreeSet<Vec<String>> {
    let model =
        ActorModel::<A, (), ()>::new((), ()).actors(actors).init_network(Network::new_unordered_duplicating([]));
    let project = |state: &<ActorModel<A, (), ()> as Model>::State| {
        let mut parts: Vec<String> = (0..state.actor_states.len())
            .map(|node| {
                let mut timers: Vec<_> = state.timers_set[node].iter().cloned().collect();
                timers.sort();
                text(&(&*state.actor_states[node], &state.actor_storages[node], timers))
            })
            .collect();
        parts.push(text(&()));
        let messages = state.network.iter_deliverable().map(|Envelope { src, dst, msg }| text(&(src, dst, msg)));
        parts.push(text(&sorted(messages.collect())));
        parts
    };
    // The last message delivered is left out: nothing that follows depends on it.
    reachable(&model, |state| text(&project(state))).iter().map(project).collect()
}

fn plain<A: Actor>() -> Settings<A> {
    Settings::plain()
}

#[test]
fn visits_what_the_actor_model_visits() {
    let pingers = || vec![Pinger { max: 3 }, Pinger { max: 3 }, Pinger { max: 2 }];
    let ours = engine_projections(&System::new(pingers(), NoGhost, plain()));
    assert_eq!(ours, actor_model_projections(pingers()));
    assert!(ours.len() > 50, "{}", ours.len());

    let ours = engine_projections(&System::new(Paxos::cluster(3, 1), NoGhost, plain()));
    assert_eq!(ours, actor_model_projections(Paxos::cluster(3, 1)));
    assert!(ours.len() > 100, "{}", ours.len());
}

fn paxos(nodes: usize, rounds: u8, settings: Settings<Paxos>) -> System<Paxos, Chosen> {
    System::new(Paxos::cluster(nodes, rounds), Chosen { quorum: nodes / 2 + 1 }, settings)
}

fn restarting(nodes: usize, reduce: bool) -> Settings<Paxos> {
    Settings { reduce, restarts: vec![true; nodes], ..plain() }
}

#[test]
fn the_reduction_hides_nothing() {
    for restarts in [false, true] {
        let settings = |reduce| {
            if restarts { restarting(3, reduce) } else { Settings { reduce, ..plain() } }
        };
        let project = |reduce| {
            let system = paxos(3, 1, settings(reduce));
            let key = |state: &State| text(&(&state.locals, &state.network, state.ghost, state.broken));
            let states = reachable(&system, key);
            assert_eq!(system.universe().revived(), Vec::<String>::new());
            let projections: BTreeSet<_> = states.iter().map(|state| projection(&system, state, false)).collect();
            (states.len(), projections)
        };
        let (whole, all) = project(false);
        let (reduced, same) = project(true);
        assert_eq!(all, same);
        assert!(reduced < whole, "{reduced} of {whole}");
    }
}

#[test]
fn verdicts_are_the_same_with_and_without_the_reduction() {
    for reduce in [false, true] {
        for bug in [None, Some(Stored::Forgets), Some(Stored::IgnoresPromise)] {
            let mut actors = Paxos::cluster(3, 2);
            actors.iter_mut().for_each(|actor| actor.bug = bug);
            let system = System::new(actors, Chosen { quorum: 2 }, restarting(3, reduce));
            let limits = Limits { time: Some(Duration::from_secs(60)), ..Limits::default() };
            let options = RunOptions { threads: 2, limits, ..RunOptions::default() };
            if bug.is_none() && !reduce {
                continue; // Millions of states.
            }
            let outcome = run(&system, &options, |_| {});
            if bug.is_none() {
                assert!(outcome.exhausted, "{:?}", outcome.stop);
                assert_eq!(outcome.violations, Vec::<&str>::new());
                assert!(outcome.discoveries.contains_key("chosen"));
                continue;
            }
            assert_eq!(outcome.stop, Some(Stop::Violation));
            // A proposer that forgets its ballot uses it again: that revives messages, too.
            let outcome = seek(&system, "agreement", &options, |_| {}).expect("it is judged");
            assert_eq!(
                outcome.violations,
                ["agreement"],
                "reduce {reduce}, {bug:?}: {:?}",
                system.universe().revived()
            );
            let path = &outcome.discoveries["agreement"];
            assert_eq!(replay(&system, path).last().unwrap().broken & 1, 1);
            let short = shorten(&system, "agreement", path.len(), &options);
            let short = short.as_ref().unwrap_or(path);
            assert!(short.len() <= path.len());
            assert_eq!(walk(&system, short).last().unwrap().broken() & 1, 1);
            assert_eq!(encode(&system, short).split('/').count(), short.len() + 1);
        }
    }
}

#[test]
fn random_runs_of_one_seed_are_the_same_and_what_they_break_is_shortened() {
    let walk = |bug, seed| {
        let mut actors = Paxos::cluster(3, 2);
        actors.iter_mut().for_each(|actor| actor.bug = bug);
        let system = System::new(actors, Chosen { quorum: 2 }, restarting(3, true));
        let time = Duration::from_secs(if bug.is_none() { 1 } else { 60 });
        let options = SimulationOptions { threads: 1, seed, first: 0, time, steps_max: usize::MAX };
        (simulate(&system, &options, |_| {}), system)
    };
    let (first, system) = walk(Some(Stored::Forgets), 7);
    let again = walk(Some(Stored::Forgets), 7).0;
    assert!(first.violating.is_some() && !first.outcome.exhausted);
    assert_eq!((first.violating, &first.outcome.violations), (again.violating, &again.outcome.violations));
    let name = first.outcome.violations[0];
    let path = &first.outcome.discoveries[name];
    assert_eq!(path, &again.outcome.discoveries[name]);
    let thinner = thin(&system, name, path);
    assert!(thinner.len() <= path.len());
    assert!(system.violated(super::walk(&system, &thinner).last().unwrap()).contains(&name));

    let (sound, _) = walk(None, 7);
    assert_eq!((sound.violating, sound.outcome.stop), (None, Some(Stop::Time)));
    assert!(sound.outcome.violations.is_empty() && sound.outcome.discoveries.contains_key("chosen"));
}

#[test]
fn a_message_that_comes_back_to_life_is_found() {
    let settings = Settings { reduce: true, ..plain() };
    let system = System::new(vec![Reviver, Reviver], NoGhost, settings);
    let outcome = run(&system, &RunOptions::default(), |_| {});
    assert_eq!(outcome.violations, ["dead-stays-dead"]);
    assert!(!outcome.exhausted);
    assert_eq!(walk(&system, &outcome.discoveries["dead-stays-dead"]).last().unwrap().broken(), 1 << 31);
    assert!(system.universe().revived()[0].contains("is not ignored"), "{:?}", system.universe().revived());
}

#[test]
fn a_dead_message_whose_delivery_breaks_a_rule_later_is_found() {
    for (reduce, found) in [(true, "dead-stays-dead"), (false, "heeds")] {
        let system = System::new(vec![Sleeper, Sleeper], MustHeed, Settings { reduce, ..plain() });
        assert_eq!(run(&system, &RunOptions::default(), |_| {}).violations, [found]);
    }
}

#[test]
fn counts_do_not_depend_on_salt_threads_or_order() {
    let mut counts = BTreeSet::new();
    for (salt, threads, strategy) in
        [(0, 1, Strategy::Dfs), (7, 2, Strategy::Dfs), (0, 2, Strategy::Bfs), (9, 1, Strategy::Bfs)]
    {
        let system = paxos(3, 1, Settings { salt, ..restarting(3, true) });
        let options = RunOptions { threads, strategy, ..RunOptions::default() };
        let outcome = run(&system, &options, |_| {});
        assert!(outcome.exhausted);
        assert_eq!(outcome.violations, Vec::<&str>::new());
        counts.insert((outcome.unique, outcome.generated));
    }
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[test]
fn a_run_that_is_cut_short_is_not_exhaustive() {
    let limits = Limits { time: Some(Duration::from_millis(100)), ..Limits::default() };
    let system = paxos(3, 3, restarting(3, false));
    for (threads, strategy) in [(1, Strategy::Dfs), (2, Strategy::Bfs)] {
        let outcome = run(&system, &RunOptions { threads, strategy, limits }, |_| {});
        assert!(!outcome.exhausted);
        assert_eq!(outcome.stop, Some(Stop::Time));
    }
    let limits = Limits { unique: Some(100), ..Limits::default() };
    let outcome = run(&system, &RunOptions { threads: 2, limits, ..RunOptions::default() }, |_| {});
    assert_eq!(outcome.stop, Some(Stop::Unique));
}

#[test]
fn a_restart_cap_and_counters_bound_the_scope() {
    let mut sizes = Vec::new();
    for restarts_max in [Some(0), Some(1), Some(2), None] {
        let system = paxos(3, 1, Settings { restarts_max, ..restarting(3, true) });
        let outcome = run(&system, &RunOptions::default(), |_| {});
        assert!(outcome.exhausted);
        sizes.push(outcome.unique);
    }
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
}

#[test]
fn once_is_once_and_a_panic_is_a_violation() {
    let settings = Settings { once: |_, _| true, ..plain() };
    let system = System::new(vec![Maker { panics: false }, Maker { panics: false }], NoGhost, settings.clone());
    assert_eq!(run(&system, &RunOptions::default(), |_| {}).unique, 2);
    let system = System::new(vec![Maker { panics: true }, Maker { panics: false }], NoGhost, settings);
    let outcome = run(&system, &RunOptions::default(), |_| {});
    assert_eq!(outcome.violations, ["no-panic"]);
}

#[test]
fn states_and_steps_are_readable() {
    let system = paxos(3, 1, restarting(3, true));
    let state = &system.init_states()[0];
    assert!(text(state).contains("node 0"), "{state:?}");
    let mut actions = Vec::new();
    system.actions(state, &mut actions);
    assert_eq!(system.format_action(&actions[0]), "node 0: () timer");
    let step = system.format_step(state, actions[0]).unwrap();
    assert!(step.contains("sends to node 1: Prepare"), "{step}");
}
