//! States, actions and steps in words.

use super::path::StepRecord;
use super::properties::{DEAD_BIT, DEAD_STAYS_DEAD, NO_PANIC, PANIC_BIT};
use super::state::{Action, State};
use super::system::System;
use super::universe::Universe;
use super::{Ghost, Rule, Subject};
use std::fmt::{self, Formatter, Write};

/// Prints a whole state: a paragraph for each node, one for what is in flight, one for the record.
pub(super) fn state<A: Subject, G: Ghost<A>>(
    universe: &Universe<A, G>,
    state: &State,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    let mut broken: Vec<Rule> = universe.ghost.rules();
    broken.push(Rule { name: NO_PANIC, bit: PANIC_BIT });
    broken.push(Rule { name: DEAD_STAYS_DEAD, bit: DEAD_BIT });
    for rule in broken.iter().filter(|rule| state.broken & rule.bit != 0) {
        writeln!(f, "BROKEN: {}\n", rule.name)?;
    }
    for (node, local) in state.locals.iter().enumerate() {
        writeln!(f, "{}", who(universe, node))?;
        fields(f, &universe.ghost.tell_local(universe.local(*local)))?;
    }
    writeln!(f, "in flight")?;
    for message in &state.network {
        writeln!(f, "  {}", flight(universe, *message))?;
    }
    writeln!(f, "record")?;
    fields(f, &universe.ghost.tell_record(universe.record(state.ghost)))?;
    if !state.counters.is_empty() {
        writeln!(f, "taken from the scope's allowances: {:?}", state.counters.as_slice())?;
    }
    if universe.settings.restarts_max.is_some() {
        writeln!(f, "restarts: {}", state.restarts)?;
    }
    Ok(())
}

fn fields(out: &mut impl Write, fields: &[(String, String)]) -> fmt::Result {
    fields.iter().try_for_each(|(name, value)| writeln!(out, "  {name}: {value}"))
}

/// A node by its actor's name and its number.
pub(super) fn who<A: Subject, G: Ghost<A>>(universe: &Universe<A, G>, node: usize) -> String {
    match universe.actors.get(node).map(|actor| actor.name()).filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} {node}"),
        None => format!("node {node}"),
    }
}

fn flight<A: Subject, G: Ghost<A>>(universe: &Universe<A, G>, message: u32) -> String {
    let envelope = universe.envelope(message);
    let (src, dst) = (who(universe, envelope.src.into()), who(universe, envelope.dst.into()));
    format!("{src} → {dst}: {}", universe.ghost.tell_message(&envelope.msg))
}

/// An action in one line.
pub(super) fn action<A: Subject, G: Ghost<A>>(universe: &Universe<A, G>, action: &Action) -> String {
    match *action {
        Action::Deliver(message) => flight(universe, message),
        Action::Timeout(node, timer) => {
            format!("{}: {} timer", who(universe, node as usize), universe.ghost.tell_timer(universe.timer(timer)))
        }
        Action::Restart(node) => format!("{}: crash and restart", who(universe, node as usize)),
    }
}

/// What a step did, in a few lines.
pub(super) fn step<A: Subject, G: Ghost<A>>(system: &System<A, G>, step: &StepRecord<A>) -> String {
    let (universe, mut text) = (system.universe(), String::new());
    let (ghost, out) = (&universe.ghost, &mut text);
    for rule in system.rules().iter().filter(|rule| step.broken & rule.bit != 0) {
        let _ = writeln!(out, "BROKEN: {}", rule.name);
    }
    if let Some(said) = &step.panicked {
        let _ = writeln!(out, "PANIC: {said}");
    }
    let _ = writeln!(out, "{}", who(universe, step.node));
    for (name, before, after) in changes(&ghost.tell_local(&step.before), &ghost.tell_local(&step.after)) {
        let _ = writeln!(out, "  {name}: {before} → {after}");
    }
    if step.saved {
        let _ = writeln!(out, "  saves");
    }
    for (dst, msg, new) in &step.sends {
        let note = if *new { "" } else { " (in flight already, lost, or dead)" };
        let _ = writeln!(out, "  sends to {}: {}{note}", who(universe, (*dst).into()), ghost.tell_message(msg));
    }
    for (src, dst, msg) in &step.removed {
        let (src, dst) = (who(universe, (*src).into()), who(universe, (*dst).into()));
        let _ = writeln!(out, "dead from here on: {src} → {dst}: {}", ghost.tell_message(msg));
    }
    text
}

/// The fields that are not the same in both: name, before, after.
pub fn changes(before: &[(String, String)], after: &[(String, String)]) -> Vec<(String, String, String)> {
    let value = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(other, _)| other == name).map_or_else(|| "nothing".into(), |(_, value)| value.clone())
    };
    let new = after.iter().filter(|(name, _)| !before.iter().any(|(other, _)| other == name));
    let all = before.iter().chain(new).map(|(name, _)| (name.clone(), value(before, name), value(after, name)));
    all.filter(|(_, before, after)| before != after).collect()
}
