//! A counterexample as text: numbered steps, who sends what, what changed, and which rule broke.

use super::{Counterexample, StoryStep};
use std::fmt::Write;

/// The counterexample as it is printed and written to a file; ends with a line break.
pub fn story(example: &Counterexample) -> String {
    let mut text = format!("`{}` does not hold in scope `{}`.\n", example.property, example.scope);
    for line in example.explanation.lines() {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    if !example.beginning.is_empty() {
        text.push_str("Before, by the scope's script:\n");
        for line in &example.beginning {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
    let width = example.steps.len().to_string().len().max(2);
    for step in &example.steps {
        tell(&mut text, step, width);
    }
    if example.steps.is_empty() {
        text.push_str("It is broken before the first step.\n");
    }
    if example.explore.is_empty() {
        return text;
    }
    let _ = write!(
        text,
        "\nTo walk through it: cargo run --bin check -- explore {}\n  then open http://127.0.0.1:3000/{}\n",
        example.scope,
        example.explore.trim_start_matches('/'),
    );
    text
}

fn tell(text: &mut String, step: &StoryStep, width: usize) {
    let _ = writeln!(text, "{:>width$}. {}", step.number, step.what);
    let margin = " ".repeat(width + 2);
    for change in &step.changes {
        let _ = writeln!(text, "{margin}| {change}");
    }
    for (label, receivers) in by_message(&step.sends) {
        let _ = writeln!(text, "{margin}> {} sends {label} to {}", step.actor, listed(&receivers));
    }
    for rule in &step.broke {
        let _ = writeln!(text, "{margin}! BROKEN: {rule}");
    }
}

/// The messages of one step, each once with all its receivers, in the order in which they were sent.
fn by_message(sends: &[(String, String)]) -> Vec<(&str, Vec<&str>)> {
    let mut messages: Vec<(&str, Vec<&str>)> = Vec::new();
    for (receiver, label) in sends {
        match messages.iter_mut().find(|(known, _)| known == label) {
            Some((_, receivers)) => receivers.push(receiver),
            None => messages.push((label, vec![receiver])),
        }
    }
    messages
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{listed, story};
    use crate::report::samples;

    #[test]
    fn a_counterexample_reads_like_a_story() {
        let expected = "\
`promises-kept` does not hold in scope `one-slot`.
Node 1 promised ballot 1.2 to node 2, and voted in ballot 0.0 afterwards.

 1. node 0: its Election timer fires
    | role: follower → candidate
    > node 0 sends Prepare{0.0} to node 1 and node 2
 2. node 1 receives Prepare{0.0} from node 0
    > node 1 sends Promise{0.0, nothing} to node 0
 3. node 0 receives Promise{0.0, nothing} from node 1
    > node 0 sends Accept{0.0, slot 0, a} to node 1 and node 2
 4. node 1 receives Prepare{1.2} from node 2
    | promised: 0.0 → 1.2
 5. node 1 restarts
    | promised: 1.2 → none
 6. node 1 receives Accept{0.0, slot 0, a} from node 0
    > node 1 sends Accepted{0.0} to node 0
    ! BROKEN: promises-kept: node 1 votes in ballot 0.0 after it promised 1.2

To walk through it: cargo run --bin check -- explore one-slot
  then open http://127.0.0.1:3000/#/steps/1/2/3
";
        assert_eq!(story(&samples::counterexample()), expected);
    }

    #[test]
    fn an_initial_state_that_breaks_a_rule_is_said_to() {
        let mut example = samples::counterexample();
        example.steps.clear();
        assert!(story(&example).contains("It is broken before the first step.\n"));
    }

    #[test]
    fn what_was_scripted_comes_first_and_a_page_is_named_only_if_there_is_one() {
        let mut example = samples::counterexample();
        example.beginning = vec!["node 0 leads".into()];
        example.explore.clear();
        let text = story(&example);
        assert!(text.contains("\n\nBefore, by the scope's script:\n    node 0 leads\n\n 1. node 0: its"), "{text}");
        assert!(!text.contains("explore"));
    }

    #[test]
    fn receivers_are_listed_as_in_a_sentence() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }
}
