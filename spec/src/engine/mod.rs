//! The engine of the check: a [`stateright::Model`] over any actors, made to be exhausted quickly.
//!
//! `stateright`'s own `ActorModel` clones and sorts sets of messages at each step and runs every handler anew. Here each
//! component of a state (a node's local state, a message, the history) is stored once and named by a number, a state is a
//! short sequence of such numbers, and what a handler does is worked out once per (local state, input). The actors are
//! the very values that ship; only `stateright`'s checkers drive the search.
//!
//! - [`System`]: the model; [`Settings`]: its scope; [`State`], [`Action`]
//! - [`Ghost`]: what is recorded and judged beside the actors
//! - [`run`], [`seek`], [`shorten`], [`thin`]: exhaust a scope, look for one property, shorten a counterexample
//! - [`simulate`]: follow random runs of a scope
//! - [`replay`], [`encode`]: a path as data, and as the address of a page of the Explorer

mod arena;
mod beginning;
mod cache;
mod ghost;
mod graveyard;
mod path;
mod properties;
mod reduction;
mod run;
mod settings;
mod simulate;
mod state;
mod step;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod universe;

pub(crate) use arena::Arena;
pub use beginning::{Beginning, Seat};
pub use ghost::{Cost, Depends, Ghost, NoGhost, Observed, Part, Predicate, Rule, StepView, Telling, TellingOf, View};
pub use path::{StepRecord, encode, replay, walk};
pub use properties::{DEAD_STAYS_DEAD, NO_PANIC, PREDICATES_MAX, RULES_MAX};
pub use run::{Limits, Outcome, Progress, RunOptions, Stop, Strategy, now, resident_bytes, run, seek, shorten, thin};
pub use settings::Settings;
#[cfg(test)]
pub use simulate::random_path;
pub use simulate::{Simulation, SimulationOptions, simulate};
pub use state::{Action, State};
pub use step::panic_text;
pub use system::{Svg, System};
pub use text::changes;
pub use universe::{Envelope, Local, LocalParts, Universe};

use stateright::actor::Actor;

/// An actor that the engine can check: its parts can be compared, ordered and shared among threads.
pub trait Subject:
    Actor<
        Msg: Ord + Send + Sync + 'static,
        Timer: Ord + Send + Sync + 'static,
        State: Eq + Send + Sync + 'static,
        Storage: Eq + Send + Sync + 'static,
    > + Send
    + Sync
    + 'static
{
}

impl<A> Subject for A where
    A: Actor<
            Msg: Ord + Send + Sync + 'static,
            Timer: Ord + Send + Sync + 'static,
            State: Eq + Send + Sync + 'static,
            Storage: Eq + Send + Sync + 'static,
        > + Send
        + Sync
        + 'static
{
}
