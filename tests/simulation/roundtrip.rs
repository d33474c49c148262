//! Counterexamples of mutants, as `check` wrote them, are none of these sources': the real loops do the same up to the step that is wrong, and
//! there what is right. `tests/fire/must_fail --by round-trip` writes them anew below `target/fire/`, and shows that the mutants' own loops
//! go on.

use super::replay::file::{Counterexample, read};
use super::replay::repeat;
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
fn no_read_is_answered_by_a_leader_that_is_none_any_more() {
    let example = example("read-without-round.json");
    let repeated = repeat(&example).unwrap();
    let (number, why) = repeated.differs.as_ref().expect("it is wrong");
    // After the whole of the scripted beginning, where a write is done that the read does not see.
    assert!(*number > example.replay.beginning && repeated.taken > 30, "{number}: {why}");
    assert!(why.contains("does not send") && why.contains("Answer"), "{why}");
}

#[test]
fn a_file_that_cannot_be_repeated_says_so() {
    let why = |text| read(text).unwrap_err();
    assert!(why("{").contains("not JSON"));
    assert!(why("{}").contains("nothing to repeat"));
    assert!(why(r#"{"replay": {}}"#).contains("no counterexample"));
}
