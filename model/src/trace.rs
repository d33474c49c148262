//! One step of an actor, as data: what went in, and what came out.
//!
//! The checker memoises steps, the counterexamples print them, and the node records them ([`mod@line`]); all take them from here.

pub mod file;
pub mod line;
pub(crate) mod pairs;

use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Command, Id, Out};
use std::borrow::Cow;

/// What makes an actor take a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input<M, T> {
    /// The node starts from what it has saved, or from nothing.
    Start,
    /// A message arrives.
    Deliver {
        /// Who sent it.
        src: Id,
        /// What it says.
        msg: M,
    },
    /// A timer that was set runs out.
    Timeout(T),
}

/// What an actor puts out.
pub type OutputOf<A> = Command<<A as Actor>::Msg, <A as Actor>::Timer, <A as Actor>::Random, <A as Actor>::Storage>;

/// A step: the state after it and the outputs, in the order in which the actor produced them.
pub struct Step<A: Actor> {
    /// The state after the step; `None` where the handler left it alone.
    pub state: Option<A::State>,
    /// The outputs. The last save is what is stored after the step.
    pub outputs: Vec<OutputOf<A>>,
}

/// Runs one handler of `actor`, which is node `id`, in `state` with `stored` on its disk.
///
/// `state` is not read for [`Input::Start`], which is the only input that reads `stored`.
pub fn step<A: Actor>(
    actor: &A,
    id: Id,
    state: Option<&A::State>,
    stored: &Option<A::Storage>,
    input: &Input<A::Msg, A::Timer>,
) -> Step<A> {
    let mut out = Out::new();
    let after = match input {
        Input::Start => Some(actor.on_start(id, stored, &mut out)),
        Input::Deliver { src, msg } => {
            let mut after = Cow::Borrowed(state.expect("a node has started before a message reaches it"));
            actor.on_msg(id, &mut after, *src, msg.clone(), &mut out);
            owned(after)
        }
        Input::Timeout(timer) => {
            let mut after = Cow::Borrowed(state.expect("a node has started before a timer runs out"));
            actor.on_timeout(id, &mut after, timer, &mut out);
            owned(after)
        }
    };
    Step { state: after, outputs: out.into_iter().collect() }
}

fn owned<S: Clone>(state: Cow<'_, S>) -> Option<S> {
    match state {
        Cow::Owned(state) => Some(state),
        Cow::Borrowed(_) => None,
    }
}
