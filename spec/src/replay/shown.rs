//! The latest steps of a history, kept to be told.

use super::life::Stored;
use crate::report::StoryStep;
use crate::scopes::story::Told;
use crate::scopes::words::{self, Fields};
use paxos_model::kv::Kv;
use paxos_model::replica::message::MessageOf;
use paxos_model::replica::{State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;

/// A node at a moment.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) state: State<Kv>,
    pub(super) saved: Option<Stored>,
    pub(super) timers: Vec<Timer>,
}

impl Moment {
    /// In words.
    pub(super) fn fields(&self) -> Fields {
        words::replica(&self.state, &self.saved, &self.timers)
    }
}

/// A step of a node.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) node: Id,
    /// Which of its lives, and which step of that.
    pub(super) place: (u64, u64),
    /// When, in microseconds since its trace was begun.
    pub(super) us: u64,
    pub(super) input: Input<MessageOf<Kv>, Timer>,
    /// None if it is not known.
    pub(super) before: Option<Moment>,
    pub(super) after: Moment,
    pub(super) sends: Vec<(Id, MessageOf<Kv>)>,
    pub(super) saves: bool,
    /// The rules that it broke, with the reasons.
    pub(super) broke: Vec<String>,
}

impl Shown {
    /// In words.
    pub(super) fn told(&self, number: usize, is_member: impl Fn(Id) -> bool) -> StoryStep {
        let who = |node: usize| if is_member(node.into()) { format!("node {node}") } else { "client".to_owned() };
        let told = Told::<Kv> {
            node: self.node.into(),
            input: &self.input,
            before: self.before.as_ref().map(Moment::fields).unwrap_or_default(),
            after: self.after.fields(),
            same: self.before.as_ref().is_some_and(|before| before.state == self.after.state),
            saved: self.saves,
            sends: self.sends.iter().map(|(dst, message)| (*dst, message)).collect(),
        };
        let mut step = told.step(number, who);
        let (life, taken) = self.place;
        let seconds = self.us as f64 / 1e6;
        step.what = format!("{} [life {life}, step {taken}, {seconds:.3} s]", step.what);
        step.broke.clone_from(&self.broke);
        step
    }
}
