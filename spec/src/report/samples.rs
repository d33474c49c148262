//! Values for the unit tests of whatever is printed.

use super::{Counterexample, PropertyReport, ScopeReport, StepKind, StoryStep, Verdict, collision_odds};

/// An exhausted scope in which everything holds.
pub(crate) fn report(name: &str) -> ScopeReport {
    ScopeReport {
        name: name.into(),
        description: format!("what {name} is for"),
        bounds: "3 replicas, 1 slot, 3 ballots".into(),
        exhausted: true,
        why_incomplete: None,
        unique_states: 4408,
        generated_states: 20123,
        depth: 31,
        seconds: 0.5,
        states_per_second: 40246.0,
        peak_memory_bytes: 64 << 20,
        collision_odds: collision_odds(4408),
        properties: vec![
            PropertyReport { name: "agreement".into(), verdict: Verdict::Holds },
            PropertyReport { name: "validity".into(), verdict: Verdict::Holds },
            PropertyReport { name: "value recovered".into(), verdict: Verdict::Witnessed },
        ],
    }
}

fn step(number: usize, actor: &str, what: &str, kind: StepKind) -> StoryStep {
    let (actor, what) = (actor.into(), what.into());
    StoryStep { number, actor, what, kind, changes: vec![], sends: vec![], broke: vec![] }
}

fn deliver(number: usize, src: &str, dst: &str, label: &str) -> StoryStep {
    let kind = StepKind::Deliver { src: src.into(), dst: dst.into(), label: label.into() };
    step(number, dst, &format!("{dst} receives {label} from {src}"), kind)
}

fn sends(mut step: StoryStep, label: &str, to: &[&str]) -> StoryStep {
    step.sends.extend(to.iter().map(|dst| ((*dst).into(), label.into())));
    step
}

fn changes(mut step: StoryStep, changes: &[&str]) -> StoryStep {
    step.changes.extend(changes.iter().map(|c| (*c).to_string()));
    step
}

/// An acceptor that forgets its promise when it restarts.
pub(crate) fn counterexample() -> Counterexample {
    let timeout = StepKind::Timeout { node: "node 0".into(), label: "Election".into() };
    let restart = StepKind::Restart { node: "node 1".into() };
    let mut last = sends(deliver(6, "node 0", "node 1", "Accept{0.0, slot 0, a}"), "Accepted{0.0}", &["node 0"]);
    last.broke.push("promises-kept: node 1 votes in ballot 0.0 after it promised 1.2".into());
    Counterexample {
        scope: "one-slot".into(),
        property: "promises-kept".into(),
        explanation: "Node 1 promised ballot 1.2 to node 2, and voted in ballot 0.0 afterwards.".into(),
        beginning: vec![],
        steps: vec![
            changes(
                sends(
                    step(1, "node 0", "node 0: its Election timer fires", timeout),
                    "Prepare{0.0}",
                    &["node 1", "node 2"],
                ),
                &["role: follower → candidate"],
            ),
            sends(deliver(2, "node 0", "node 1", "Prepare{0.0}"), "Promise{0.0, nothing}", &["node 0"]),
            sends(
                deliver(3, "node 1", "node 0", "Promise{0.0, nothing}"),
                "Accept{0.0, slot 0, a}",
                &["node 1", "node 2"],
            ),
            changes(deliver(4, "node 2", "node 1", "Prepare{1.2}"), &["promised: 0.0 → 1.2"]),
            changes(step(5, "node 1", "node 1 restarts", restart), &["promised: 1.2 → none"]),
            last,
        ],
        explore: "#/steps/1/2/3".into(),
    }
}
