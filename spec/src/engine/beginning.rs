//! A state to begin from that was reached elsewhere.

use super::state::State;
use super::system::{System, insert};
use super::{Ghost, Subject};
use smallvec::SmallVec;
use stateright::actor::{Actor, Id};
use std::sync::Arc;

/// A node of such a state: its actor's state, what it has stored, its timers.
pub type Seat<A> = (<A as Actor>::State, Option<<A as Actor>::Storage>, Vec<<A as Actor>::Timer>);

/// The parts of such a state.
pub struct Beginning<A: Subject, R> {
    /// Every node, in order.
    pub locals: Vec<Seat<A>>,
    /// The record.
    pub record: R,
    /// What is in flight: source, destination, message.
    pub network: Vec<(Id, Id, A::Msg)>,
}

impl<A: Subject, G: Ghost<A>> System<A, G> {
    /// The system as it begins from there, with none of the scope's allowances taken.
    pub fn beginning(mut self, beginning: Beginning<A, G::Record>) -> Self {
        let universe = Arc::clone(&self.universe);
        let mut state = State {
            locals: SmallVec::new(),
            network: SmallVec::new(),
            ghost: universe.intern_record(beginning.record),
            ..(*self.start).clone()
        };
        for (node, (actor, stored, timers)) in beginning.locals.into_iter().enumerate() {
            state.locals.push(universe.intern_node(node, actor, stored, timers));
        }
        for (src, dst, msg) in beginning.network {
            insert(&universe, &mut state.network, universe.intern_message(src, dst, msg));
        }
        if universe.settings.reduce {
            state.broken |= universe.prune(&mut state, std::iter::empty());
        }
        self.start = Arc::new(state);
        self.initial = Arc::clone(&self.start);
        self
    }
}
