//! States, actions and steps in words.

use super::path::StepRecord;
use super::state::{Action, State};
use super::system::System;
use super::universe::Universe;
use super::{Ghost, Subject};
use std::fmt::{self, Formatter, Write};

/// Prints a whole state.
pub(super) fn state<A: Subject, G: Ghost<A>>(
    universe: &Universe<A, G>,
    state: &State,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    let mut out = f.debug_struct("State");
    for (node, local) in state.locals.iter().enumerate() {
        let local = universe.local(*local);
        out.field(&format!("node {node}"), &local.state);
        if let Some(stored) = &local.stored {
            out.field(&format!("stored by {node}"), stored);
        }
        if !local.timers.is_empty() {
            out.field(&format!("timers of {node}"), &local.timers);
        }
    }
    out.field("in flight", &Network(universe, state));
    out.field("history", universe.record(state.ghost));
    if !state.counters.is_empty() {
        out.field("taken from the allowances", &state.counters.as_slice());
    }
    if state.broken != 0 {
        out.field("broken rules", &format_args!("{:#034b}", state.broken));
    }
    out.finish()
}

struct Network<'a, A: Subject, G: Ghost<A>>(&'a Universe<A, G>, &'a State);

impl<A: Subject, G: Ghost<A>> fmt::Debug for Network<'_, A, G> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for message in &self.1.network {
            let envelope = self.0.envelope(*message);
            let (src, dst) = (usize::from(envelope.src), usize::from(envelope.dst));
            list.entry(&format_args!("{src} -> {dst}: {:?}", envelope.msg));
        }
        list.finish()
    }
}

/// An action in one line.
pub(super) fn action<A: Subject, G: Ghost<A>>(universe: &Universe<A, G>, action: &Action) -> String {
    match *action {
        Action::Deliver(message) => {
            let envelope = universe.envelope(message);
            format!("{} -> {}: {:?}", usize::from(envelope.src), usize::from(envelope.dst), envelope.msg)
        }
        Action::Timeout(node, timer) => format!("timeout at {node}: {:?}", universe.timer(timer)),
        Action::Restart(node) => format!("crash and restart of {node}"),
    }
}

/// What a step changed, in a few lines.
pub(super) fn step<A: Subject, G: Ghost<A>>(system: &System<A, G>, step: &StepRecord<A>) -> String {
    let mut text = String::new();
    let out = &mut text;
    if let Some(said) = &step.panicked {
        let _ = writeln!(out, "PANIC: {said}");
    }
    changed(out, "state", &step.before.state, &step.after.state);
    changed(out, "stored", &step.before.stored, &step.after.stored);
    changed(out, "timers", &step.before.timers, &step.after.timers);
    for (dst, msg, new) in &step.sends {
        let note = if *new { "" } else { " (in flight already, or dead)" };
        let _ = writeln!(out, "sends to {}: {msg:?}{note}", usize::from(*dst));
    }
    if step.consumed {
        let _ = writeln!(out, "the message is consumed");
    }
    for (src, dst, msg) in &step.removed {
        let _ = writeln!(out, "dead from here on: {} -> {}: {msg:?}", usize::from(*src), usize::from(*dst));
    }
    for rule in system.rules().iter().filter(|rule| step.broken & rule.bit != 0) {
        let _ = writeln!(out, "BREAKS {}", rule.name);
    }
    text
}

/// The lines in which two values differ, as printed.
fn changed(out: &mut String, what: &str, before: &(impl fmt::Debug + PartialEq), after: &impl fmt::Debug) {
    let (before, after) = (format!("{before:#?}"), format!("{after:#?}"));
    if before == after {
        return;
    }
    let _ = writeln!(out, "{what}:");
    for (sign, line) in diff(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>()) {
        let _ = writeln!(out, "  {sign} {line}");
    }
}

/// The lines to take out and to put in, by a longest common subsequence; whole values where they are long.
pub(super) fn diff<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    const CELLS_MAX: usize = 4_000_000;
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[..before.len() - tail], &after[..after.len() - tail]);
    let width = after.len() + 1;
    if (before.len() + 1) * width > CELLS_MAX {
        let out = before.iter().map(|line| ('-', *line));
        return out.chain(after.iter().map(|line| ('+', *line))).collect();
    }
    let mut common = vec![0u32; (before.len() + 1) * width];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i * width + j] = if before[i] == after[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[(i + 1) * width + j] >= common[i * width + j + 1] {
            lines.push(('-', before[i]));
            i += 1;
        } else {
            lines.push(('+', after[j]));
            j += 1;
        }
    }
    lines
}
