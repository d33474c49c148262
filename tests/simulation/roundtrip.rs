//! Counterexamples of mutants, as `check` wrote them, are none of these sources': the real loops do the same up to the step that is wrong, and
//! there what is right. `tests/fire/must_fail --by round-trip` writes them anew below `target/fire/`, and shows that the mutants' own loops
//! go on.

use super::replay::file::{Counterexample, Input, Saved, Seen, Step, read};
use super::replay::{Verdict, repeat, repeat_from};
use paxos_model::replica::Timer;
use paxos_model::replica::message::Message;
use std::path::Path;

fn example(name: &str) -> Counterexample {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/counterexamples").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    read(&text).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// It goes another way in its last step, for this reason.
fn goes_along_but_for_the_last_step(name: &str, reason: &str) {
    let example = example(name);
    let repeated = repeat(&example).unwrap();
    let (number, why) = repeated.differs.as_ref().expect("it is wrong");
    assert_eq!(*number, example.replay.steps.len(), "{name}: {why}");
    assert!(why.contains(reason), "{name}: {why}");
    assert_eq!(repeated.taken + repeated.passed_over + 1, *number);
}

#[test]
fn no_vote_is_cast_below_a_promise() {
    goes_along_but_for_the_last_step("accept-ignores-promise.json", "it does not send");
}

#[test]
fn no_promise_is_forgotten_by_a_restart() {
    goes_along_but_for_the_last_step("restart-forgets-promise.json", "promised: 1.2");
}

#[test]
fn no_command_is_applied_twice() {
    goes_along_but_for_the_last_step("duplicate-applied-again.json", "it says");
}

#[test]
fn no_deadline_stays_set_without_its_request() {
    goes_along_but_for_the_last_step("deadline-not-cancelled.json", "timers: Some({Election, Resend, Flush})");
}

#[test]
fn no_read_is_answered_by_a_leader_that_is_none_any_more() {
    let example = example("read-without-round.json");
    let repeated = repeat(&example).unwrap();
    let (number, why) = repeated.differs.as_ref().expect("it is wrong");
    // After the whole of the scripted beginning, where a write is done that the read does not see.
    assert!(*number > example.replay.beginning && repeated.taken > 30, "{number}: {why}");
    assert!(why.contains("does not send") && why.contains("Answer"), "{why}");
}

/// An example without its last step, which these loops repeat to the end.
fn without_its_last_step(name: &str) -> Counterexample {
    let mut example = example(name);
    example.replay.steps.pop().expect("there are steps");
    example
}

#[test]
fn the_same_steps_show_what_is_said_of_them() {
    for name in ["accept-ignores-promise.json", "restart-forgets-promise.json"] {
        let repeated = repeat(&without_its_last_step(name)).unwrap();
        assert_eq!((&repeated.differs, repeated.verdict()), (&None, Verdict::Broken), "{name}: {repeated}");
    }
}

#[test]
fn the_same_steps_do_not_show_what_is_not_compared() {
    let mut example = without_its_last_step("accept-ignores-promise.json");
    for property in ["progress", "dead-stays-dead", "timers-as-long", "machine-as-specified", "snapshots", "a new one"]
    {
        example.property = property.into();
        let repeated = repeat(&example).unwrap();
        assert_eq!((&repeated.differs, repeated.verdict()), (&None, Verdict::NotShown), "{property}: {repeated}");
        assert!(repeated.to_string().contains(property));
    }
    example.property = "timers-set".into();
    assert_eq!(repeat(&example).unwrap().verdict(), Verdict::Broken);
    // As in a file of an earlier version.
    example.replay.steps[0].after.as_mut().expect("it is a node's").timers = None;
    let repeated = repeat(&example).unwrap();
    assert_eq!((&repeated.differs, repeated.verdict()), (&None, Verdict::NotShown), "{repeated}");
}

#[test]
fn each_thing_that_is_compared_is_seen_to_differ() {
    let differs = |alter: &dyn Fn(&mut Step)| {
        let mut example = without_its_last_step("accept-ignores-promise.json");
        alter(&mut example.replay.steps[0]);
        let repeated = repeat(&example).unwrap();
        assert_eq!(repeated.verdict(), Verdict::Differs, "{repeated}");
        assert_eq!(repeated.taken, 0);
        repeated.differs.expect("it does").1
    };
    let seen = |step: &mut Step, alter: &dyn Fn(&mut Seen)| alter(step.after.as_mut().expect("it is a node's"));
    assert!(differs(&|step| drop(step.sends.pop())).contains("it sends [("));
    let saves = |step: &mut Step, alter: &dyn Fn(&mut Saved)| alter(step.saves.as_mut().expect("it saves"));
    assert!(differs(&|step| saves(step, &|saved| saved.promised.round += 1)).contains("it saves"));
    assert!(differs(&|step| step.saves = None).contains("and not None"));
    assert!(differs(&|step| seen(step, &|seen| seen.decided += 1)).contains("it says"));
    assert!(differs(&|step| seen(step, &|seen| seen.timers = Some([Timer::Flush].into()))).contains("it says"));
}

#[test]
fn a_panic_at_the_first_start_is_none_of_these_loops() {
    let mut example = without_its_last_step("accept-ignores-promise.json");
    example.replay.steps.clear();
    assert!(repeat(&example).unwrap_err().contains("no step of a node"));
    example.property = "no-panic".into();
    let repeated = repeat(&example).unwrap();
    assert_eq!((repeated.taken, repeated.verdict()), (0, Verdict::Differs), "{repeated}");
    let panics = repeat_from(&example, |_| panic!("as a mutant may")).unwrap();
    assert_eq!(panics.verdict(), Verdict::Broken, "{panics}");
    example.property = "agreement".into();
    example.replay.steps = without_its_last_step("accept-ignores-promise.json").replay.steps;
    let panics = repeat_from(&example, |_| panic!("as a mutant may")).unwrap();
    assert_eq!(panics.verdict(), Verdict::Differs, "{panics}");
}

#[test]
fn a_message_of_a_node_to_itself_comes_as_a_loop_delivers_it_or_shows_nothing() {
    let name = "read-without-round.json";
    let mut example = without_its_last_step(name);
    let own = |step: &Step| matches!(&step.input, Input::Deliver { src, .. } if usize::from(*src) == step.node);
    let place = example.replay.steps.iter().position(own).expect("a leader votes");
    example.replay.steps.truncate(place + 1);
    assert_eq!(repeat(&example).unwrap().verdict(), Verdict::Broken, "{name}");
    // Once more: it is not the first in the queue any more, and was sent.
    let Step { node, input: Input::Deliver { src, msg }, .. } = &example.replay.steps[place] else { unreachable!() };
    let Message::Accept { ballot, slot, .. } = msg else { panic!("it votes first: {msg:?}") };
    let accepted = Message::Accepted { ballot: *ballot, slot: *slot };
    let again = Step {
        node: *node,
        input: Input::Deliver { src: *src, msg: msg.clone() },
        sends: vec![(*src, accepted)],
        saves: None,
        after: example.replay.steps[place].after.clone(),
    };
    let (node, src) = (*node, *src);
    example.replay.steps.push(again);
    let repeated = repeat(&example).unwrap();
    assert_eq!((repeated.out_of_turn, repeated.verdict()), (1, Verdict::NotShown), "{repeated}");
    // And one that it never sent.
    let other = (0..).zip(&example.replay.steps).find_map(|(_, step)| match &step.input {
        Input::Deliver { src, msg } if usize::from(*src) != node => Some(msg.clone()),
        _ => None,
    });
    example.replay.steps[place + 1].input = Input::Deliver { src, msg: other.expect("others send to it") };
    assert!(repeat(&example).unwrap().differs.expect("it does").1.contains("never sent"));
}

#[test]
fn a_file_that_cannot_be_repeated_says_so() {
    let why = |text| read(text).unwrap_err();
    assert!(why("{").contains("not JSON"));
    assert!(why("{}").contains("nothing to repeat"));
    assert!(why(r#"{"replay": {}}"#).contains("no counterexample"));
}
