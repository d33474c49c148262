//! The reduction: messages that can do nothing any more are taken out of the network.
//!
//! Whether a message is dead is found out by running its destination's own handler, never by a rule about what it says:
//! such a rule assumes what is to be checked, and hides the very bugs that the check is for.
//!
//! *The argument.* Let D be a set of messages such that the delivery of each, to its destination as it is now or as it
//! would be after a restart, changes neither state nor storage nor timers, and sends only what is in flight or in D.
//! Then from this state on, and for as long as that remains so, delivering a message of D leads back to the same state,
//! up to messages of D in flight. Hence each run with deliveries from D has a run without them that passes through the
//! same local states, the same storages and the same history, and any property of those is judged alike with D in flight
//! or not. What is in flight stays in flight, as the network duplicates, unless it is itself in D, or is delivered at most
//! once: such an output counts only if it is in D. *That it remains so* is not proven but checked, in every scope: it is
//! the property `dead-stays-dead`, see the graveyard. A delivery that breaks a rule whatever happened before is
//! never quiet; one that the history would record, or that breaks a rule by what is recorded, is not dead in a state with
//! that history.

use super::cache::{self, Fate, Known};
use super::state::State;
use super::universe::{Numbers, RESTART, Universe};
use super::{Ghost, Subject, properties};
use smallvec::SmallVec;
use std::rc::Rc;

/// What the delivery of a message to a node in a local state does.
pub(super) enum Verdict {
    /// It changes something or breaks a rule, now or after a restart.
    Live,
    /// It changes nothing, and sends at most these messages, which are sorted.
    Quiet(Numbers),
}

/// A state whose successors are asked for, with what is the same for all of them.
pub(super) struct Expansion {
    locals: SmallVec<[u32; 8]>,
    network: SmallVec<[u32; 24]>,
    /// For each message in flight the step that its delivery is.
    deliveries: SmallVec<[u32; 24]>,
    /// Those of the messages in flight that are live, each after its destination.
    live: SmallVec<[(usize, u32); 24]>,
}

impl Expansion {
    fn is_of(&self, state: &State) -> bool {
        self.locals[..] == state.locals[..] && self.network[..] == state.network[..]
    }

    /// The step that the delivery of a message in flight is.
    #[inline]
    pub(super) fn delivery(&self, message: u32) -> Option<u32> {
        let place = self.network.iter().position(|present| *present == message)?;
        Some(self.deliveries[place])
    }

    /// The live messages in flight but those for one node, which are live for as long as their destinations stand still.
    #[inline]
    pub(super) fn live_without(&self, node: Option<usize>) -> impl Iterator<Item = u32> {
        self.live.iter().filter(move |(dst, _)| Some(*dst) != node).map(|(_, message)| *message)
    }
}

impl<A: Subject, G: Ghost<A>> Universe<A, G> {
    /// What is the same for all successors of a state; kept until another state is asked about.
    pub(super) fn expand(&self, state: &State) -> Rc<Expansion> {
        let known = cache::with(self.number, |cache| {
            cache.expansion.as_ref().filter(|expansion| expansion.is_of(state)).map(Rc::clone)
        });
        known.unwrap_or_else(|| {
            let mut expansion = Expansion {
                locals: SmallVec::from_slice(&state.locals),
                network: SmallVec::from_slice(&state.network),
                deliveries: SmallVec::new(),
                live: SmallVec::new(),
            };
            for message in &state.network {
                let dst = self.destination(*message);
                let (step, outputs) = self.delivery(state.locals[dst], *message);
                expansion.deliveries.push(step);
                if outputs.is_none() {
                    expansion.live.push((dst, *message));
                }
            }
            let expansion = Rc::new(expansion);
            cache::with(self.number, |cache| cache.expansion = Some(Rc::clone(&expansion)));
            expansion
        })
    }

    /// The step that the delivery of `message` is in the local state `local`, and, if it is quiet, what it sends.
    #[inline]
    fn delivery(&self, local: u32, message: u32) -> (u32, Option<&Numbers>) {
        let known = cache::with(self.number, |cache| cache.step(local, message));
        if let Some(Known { step, fate: Fate::Live }) = known {
            return (step, None);
        }
        let step = known.map_or_else(|| self.step_of(local, message), |known| known.step);
        match self.step(step).verdict.get_or_init(|| self.judge(local, message)) {
            Verdict::Quiet(outputs) => (step, Some(outputs)),
            Verdict::Live => {
                self.remember_fate(local, message, step, Fate::Live);
                (step, None)
            }
        }
    }

    #[cold]
    fn remember_fate(&self, local: u32, message: u32, step: u32, fate: Fate) {
        cache::with(self.number, |cache| cache.remember(local, message, Known { step, fate }));
    }

    /// What the delivery of `message` does in the local state `local`; found out once.
    #[inline]
    pub(super) fn verdict(&self, local: u32, message: u32) -> &Verdict {
        let step = self.step(self.step_of(local, message));
        step.verdict.get_or_init(|| self.judge(local, message))
    }

    /// Runs the handler in the local state and in the one after a restart from what is stored.
    ///
    /// The second run is needed because the message may arrive after a crash, and a node that has forgotten what it
    /// didn't save may well react to what it ignored before.
    #[cold]
    fn judge(&self, local: u32, message: u32) -> Verdict {
        let now = self.step(self.step_of(local, message));
        if !self.envelope(message).reducible || now.next != local || now.breaks != 0 || now.panicked.is_some() {
            return Verdict::Live;
        }
        let mut outputs = now.sends.clone();
        if self.settings.may_restart(now.node) {
            let restart = self.step(self.step_of(local, RESTART));
            let then = self.step(self.step_of(restart.next, message));
            if restart.panicked.is_some() || then.next != restart.next || then.breaks != 0 || then.panicked.is_some() {
                return Verdict::Live;
            }
            outputs.extend_from_slice(&then.sends);
        }
        outputs.sort_unstable();
        outputs.dedup();
        Verdict::Quiet(outputs)
    }

    /// Whether `message` is dead in `state`, and with it all messages that are left in `closure`.
    ///
    /// The closure is the smallest set that holds the message and, of each member, every output that isn't in flight for
    /// good. If all of its members are quiet it is a set D of the argument above; else no such set holds the message.
    fn is_dead(&self, state: &State, message: u32, closure: &mut Numbers) -> bool {
        closure.clear();
        closure.push(message);
        let mut done = 0;
        while done < closure.len() {
            let member = closure[done];
            done += 1;
            let (step, Some(outputs)) = self.delivery(state.locals[self.destination(member)], member) else {
                return false;
            };
            if self.observe(state.ghost, self.step(step).effect) != (state.ghost, 0) {
                return false;
            }
            for output in outputs {
                let stays = state.network.contains(output) && !self.envelope(*output).once;
                if !stays && !closure.contains(output) {
                    closure.push(*output);
                }
            }
        }
        true
    }

    /// Removes the dead messages from a state, and gives the rules that this breaks. `live` are messages in flight, in
    /// their order, that are known to be live, and so are not asked about.
    ///
    /// The result doesn't depend on the order: whether a message is dead is judged by the network as it was, and what is
    /// removed counts as well as what is in flight.
    pub(super) fn prune(&self, state: &mut State, live: impl Iterator<Item = u32>) -> u32 {
        let mut live = live.peekable();
        let mut broken = 0;
        let mut closure = Numbers::new();
        let mut kept: SmallVec<[u32; 24]> = SmallVec::new();
        for message in &state.network {
            if live.next_if_eq(message).is_some() {
                kept.push(*message);
                continue;
            }
            let local = state.locals[self.destination(*message)];
            let known = cache::with(self.number, |cache| cache.step(local, *message));
            match known.map_or(Fate::Unknown, |known| known.fate) {
                Fate::Live => kept.push(*message),
                Fate::Buried(effect) if self.observe(state.ghost, effect) == (state.ghost, 0) => {}
                Fate::Buried(_) => kept.push(*message),
                Fate::Unknown if !self.is_dead(state, *message, &mut closure) => kept.push(*message),
                Fate::Unknown => {
                    for member in &closure {
                        if self.bury(state.locals[self.destination(*member)], *member) {
                            broken |= properties::DEAD_BIT;
                        }
                    }
                    self.note_buried(local, *message);
                }
            }
        }
        if kept.len() < state.network.len() {
            state.network = kept;
        }
        broken
    }

    /// Remembers that a message was buried, where that is all there is to know of it.
    fn note_buried(&self, local: u32, message: u32) {
        if let (number, Some(outputs)) = self.delivery(local, message)
            && outputs.is_empty()
            && !self.bury(local, message)
        {
            self.remember_fate(local, message, number, Fate::Buried(self.step(number).effect));
        }
    }
}
