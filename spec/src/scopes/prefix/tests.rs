use super::{BEGINNING, Broken, Play, play};
use crate::engine::NO_PANIC;
use crate::properties::party::Client;
use crate::report::Verdict;
use crate::scopes::run::spoilt;
use crate::scopes::{Scope, Variation, catalogue, story};
use paxos_model::replica::Timer;

fn scope() -> Scope {
    catalogue::find("local-reads").unwrap()
}

fn broken(scope: &Scope) -> Box<Broken> {
    scope.begin(None).expect_err("a beginning that is broken")
}

#[test]
fn every_scope_of_the_catalogue_can_begin() {
    for scope in catalogue::scopes() {
        assert!(scope.begin(None).is_ok(), "{}: {}", scope.name, broken(&scope).why());
    }
}

#[test]
fn a_script_that_cannot_be_played_is_a_violation_that_says_why() {
    for (script, why) in [
        (
            vec![Play::Admit(4), Play::Admit(4)],
            "the request of client 4 arrives, and all that follows happens: client 4 has no request in flight",
        ),
        (vec![Play::Fire(1, Timer::Deadline(7))], "the deadline of request 7 timer of node 1 runs out"),
    ] {
        let broken = broken(&Scope { prefix: script, ..scope() });
        assert_eq!(broken.properties.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [BEGINNING]);
        assert!(broken.why().contains(why), "{}", broken.why());
    }
}

#[test]
fn a_rule_that_breaks_inside_is_told_with_the_steps_that_matter() {
    let scope = scope();
    let mut judge = scope.judge();
    judge.scripts.clear();
    let broken = play(&scope.parties(), &judge, None, &scope.prefix).expect_err("nobody asked for what is decided");
    assert_eq!(broken.properties[0].0, "validity", "{}", broken.why());
    let steps = story::played(&scope.parties(), &broken);
    let last = steps.last().unwrap();
    assert!(last.broke[0].starts_with("validity: "), "{last:?}");
    assert!(steps.len() < 15, "{} steps", steps.len());
    assert!(steps[0].what == "node 0: its election timer runs out", "{:?}", steps[0]);
    assert!(steps.iter().any(|step| step.what.contains("from client 3")), "{steps:#?}");
    // Where something else is asked about, the beginning goes on behind it.
    let begin = |sought| play(&scope.parties(), &judge, Some(sought), &scope.prefix);
    assert_eq!(begin("validity").expect_err("the same").properties[0].0, "validity");
    let begun = begin("agreement").expect("it breaks nothing else");
    assert_eq!(begun.steps.len(), scope.begin(None).unwrap().steps.len());
}

#[test]
fn a_panic_is_a_violation_at_the_start_and_inside() {
    let with_nobody_to_ask = |at: usize| {
        let mut scope = scope();
        if let Client::Script(items) = &mut scope.clients[0] {
            items[at].nodes.clear();
        }
        broken(&scope)
    };
    for (at, steps) in [(0, false), (1, true)] {
        let broken = with_nobody_to_ask(at);
        assert_eq!(broken.properties[0].0, NO_PANIC);
        assert!(broken.why().contains("a handler panicked"), "{}", broken.why());
        assert_eq!(!broken.steps.is_empty(), steps);
    }
}

#[test]
fn a_run_and_random_runs_report_a_broken_beginning() {
    let scope = Scope { prefix: vec![Play::Admit(0)], ..scope() };
    let broken = scope.begin(None).err();
    assert!(scope.system(Variation::default()).is_err());
    let run = spoilt(&scope, &broken.unwrap(), true);
    let verdict = |name: &str| run.report.properties.iter().find(|p| p.name == name).unwrap().verdict;
    assert_eq!((verdict(BEGINNING), verdict("agreement")), (Verdict::Violated, Verdict::Incomplete));
    assert!(!run.report.exhausted);
    assert_eq!(run.counterexamples.len(), 1);
    assert!(run.counterexamples[0].explanation.contains("client 0 has no request in flight"));
}
