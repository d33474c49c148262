//! The latest steps of a history in the Explorer: a model with one way through it.

use super::shown::Shown;
use super::verdicts::Replayed;
use crate::report::StoryStep;
use crate::report::svg::sequence_diagram;
use stateright::actor::Id;
use stateright::{Model, Path, Property};
use std::collections::BTreeMap;
use std::fmt::{self, Formatter};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

/// Steps that were taken, to be walked through.
#[derive(Clone)]
pub struct Playback(Arc<Kept>);

struct Kept {
    shown: Vec<Shown>,
    steps: Vec<StoryStep>,
}

/// After so many of the steps.
#[derive(Clone)]
pub struct At {
    kept: Arc<Kept>,
    steps: usize,
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps
    }
}

impl Hash for At {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.steps.hash(state);
    }
}

/// Each node as it is known to be then.
impl fmt::Debug for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut nodes: BTreeMap<Id, _> = BTreeMap::new();
        // A node that takes its first step later is as it was before that.
        for shown in self.kept.shown[self.steps..].iter().rev() {
            nodes.insert(shown.node, shown.before.as_ref());
        }
        for shown in &self.kept.shown[..self.steps] {
            nodes.insert(shown.node, Some(&shown.after));
        }
        if let Some(last) = self.steps.checked_sub(1) {
            for broke in &self.kept.steps[last].broke {
                writeln!(f, "BROKEN: {broke}\n")?;
            }
        }
        for (node, moment) in nodes {
            writeln!(f, "node {}", usize::from(node))?;
            for (name, value) in moment.map(|moment| moment.fields()).unwrap_or_default() {
                writeln!(f, "  {name}: {value}")?;
            }
        }
        Ok(())
    }
}

impl Playback {
    /// The latest steps of a replay.
    pub fn new(replayed: &Replayed) -> Playback {
        let shown: Vec<Shown> = replayed.shown.iter().cloned().collect();
        Playback(Arc::new(Kept { steps: replayed.story(), shown }))
    }

    /// Serves the Explorer until the process ends. The last state is at the address after `#/steps/`, which is returned by
    /// [`Playback::page`].
    pub fn serve(self, address: SocketAddr) {
        let _ = self.checker().serve(address);
    }

    /// The Explorer's page of the state after all steps.
    pub fn page(&self) -> String {
        format!("#/steps/{}", vec!["0"; self.0.steps.len() + 1].join("/"))
    }
}

impl Model for Playback {
    type State = At;
    type Action = usize;

    fn init_states(&self) -> Vec<At> {
        vec![At { kept: Arc::clone(&self.0), steps: 0 }]
    }

    fn actions(&self, state: &At, actions: &mut Vec<usize>) {
        actions.extend((state.steps < self.0.steps.len()).then_some(state.steps));
    }

    fn next_state(&self, state: &At, action: usize) -> Option<At> {
        Some(At { kept: Arc::clone(&state.kept), steps: action + 1 })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("all rules are kept", |model: &Playback, state: &At| {
            state.steps.checked_sub(1).is_none_or(|last| model.0.steps[last].broke.is_empty())
        })]
    }

    fn format_action(&self, action: &usize) -> String {
        self.0.steps[*action].what.clone()
    }

    fn format_step(&self, _: &At, action: usize) -> Option<String> {
        let step = &self.0.steps[action];
        let mut lines: Vec<String> = step.broke.iter().map(|broke| format!("BROKEN: {broke}")).collect();
        lines.extend(step.changes.iter().cloned());
        lines.extend(step.sends.iter().map(|(dst, message)| format!("→ {dst}: {message}")));
        Some(lines.join("\n"))
    }

    fn as_svg(&self, path: Path<At, usize>) -> Option<String> {
        let actions = path.into_actions();
        Some(sequence_diagram(&[], &self.0.steps[..actions.len()]))
    }
}
