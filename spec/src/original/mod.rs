//! The Go original as a known-bad exhibit: a check that never fails proves nothing, so here is a protocol that it must
//! refute.
//!
//! `acceptor` and `actor` transcribe the original's acceptor and the `Write` of its proposer, for one slot of the log;
//! this module bounds it, asks whether two values can be chosen, and takes the shortest way there; `trace` tells that
//! way as a story.
//!
//! The original keeps one ballot a slot, `Promise.Proposal`, for two purposes: what was promised, and at which ballot
//! the value beside it was accepted. Phase 1 then takes the value beside the highest ballot answered, which need not be
//! the value accepted at the highest ballot (Lamport, *Paxos Made Simple*, section 2.2, P2c), and this goes wrong in
//! two ways, one [`Mechanism`] each. The twin with [`Repair::AcceptedBallotKeptApart`] differs in nothing else and is
//! exhausted in the same scopes without a violation.
//!
//! *Network.* Each call has a TCP connection of its own and is written to it once, so no message is duplicated; it may
//! be lost, and a server may handle it after its caller gave up, at any later time: stateright's unordered,
//! non-duplicating network, in which a lost message is one that is never delivered. An answer is paired with its call
//! by the connection.
//!
//! *Left out.* `Update` (poll): it can only commit at a node what another node holds as committed, which a late
//! `CommitRequest` does as well. `Set`: it goes on in the next slot. Restarts.
//!
//! *Reduction.* After each step, messages that can never do anything any more are removed: judged by the actor's own
//! handler, which must leave its state as it is and answer nothing that would do anything. That stays so: an acceptor's
//! ballot only grows, so what it refuses it refuses for good; a proposer never returns to an attempt that is behind it;
//! and a commit of what is committed could only matter again once another value was committed over it, which is a
//! violation already. `removing_dead_messages_loses_no_state_of_the_nodes` compares with runs without it. Timers need
//! no care: which is set follows from the actor's state.

use std::borrow::Cow;
use std::sync::Arc;

use stateright::actor::{Actor, ActorModel, ActorModelAction, ActorModelState, Command, Envelope, Network, Out};
use stateright::{Checker, Model, Property};

mod acceptor;
mod actor;
#[cfg(test)]
mod tests;
mod trace;

pub use acceptor::{COMMITTED, INITIAL, PROPOSAL_STEP, Promise, Repair, Value, compose, decompose, quorum};
pub use actor::{Calls, Ghost, Msg, Node, NodeState, Tally, Timer, Write};

/// How many nodes every scope has.
pub const NODES: usize = 3;

/// At most one value is chosen: accepted by a quorum at one ballot.
pub const AGREEMENT: &str = "agreement";
/// At most one value is committed, at whichever nodes: what their state machines apply and their clients are told.
pub const ONE_COMMITTED: &str = "one-committed";

/// The two ways in which the original comes to choose two values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mechanism {
    /// Two answers carry the same ballot, one with the value accepted at it and one that only promised it, and the
    /// latter comes last.
    Tie,
    /// A later promise has raised the ballot beside a value, or beside no value, above that of the value chosen.
    OverwrittenBallot,
}

impl Mechanism {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Tie => "a tie, two ballots",
            Mechanism::OverwrittenBallot => "the overwritten ballot, three ballots",
        }
    }
}

/// A bounded configuration of [`NODES`] nodes.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Its name in a report.
    pub name: &'static str,
    /// How many ballots the client's write at each node may try; at a node with 0 no client writes.
    pub attempts: [u8; NODES],
    /// How broadcasts go out.
    pub calls: Calls,
    /// Whether runs go on once a proposer's choice hung on a tie: without them, what is found is
    /// [`Mechanism::OverwrittenBallot`].
    pub ties: bool,
    /// The original or its twin.
    pub repair: Repair,
}

impl Scope {
    /// The same scope of the repaired twin.
    pub fn repaired(self) -> Self {
        Self { repair: Repair::AcceptedBallotKeptApart, ..self }
    }
}

/// The scopes in which [`exhibits`] looks, and what is found there.
///
/// A node's first ballot is (0, its number), and node 0's, which equals [`INITIAL`], is refused by everyone: two
/// attempts make one ballot.
pub const SCOPES: [(Mechanism, Scope); 4] = {
    let (calls, repair) = (Calls::InTurn, Repair::None);
    [
        (Mechanism::Tie, Scope { name: "in-turn-2-ballots", attempts: [0, 1, 1], calls, ties: true, repair }),
        (
            Mechanism::OverwrittenBallot,
            Scope { name: "in-turn-3-ballots", attempts: [0, 1, 2], calls, ties: false, repair },
        ),
        (
            Mechanism::OverwrittenBallot,
            Scope { name: "in-turn-3-writers", attempts: [2, 1, 1], calls, ties: false, repair },
        ),
        (
            Mechanism::Tie,
            Scope { name: "together-2-ballots", attempts: [0, 1, 1], calls: Calls::Together, ties: true, repair },
        ),
    ]
};

/// A disagreement of the original.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exhibit {
    /// The way in which it came about.
    pub mechanism: &'static str,
    /// The scope in which it was found.
    pub scope: &'static str,
    /// The property that it violates.
    pub property: &'static str,
    /// The shortest way there, a step a line.
    pub steps: Vec<String>,
    /// What is wrong with the state that the last step leads to.
    pub broken: String,
    /// Distinct states that were generated until it was found.
    pub unique_states: usize,
    /// States that were generated until then, with repetitions.
    pub generated_states: usize,
}

type State = ActorModelState<Node>;
type Action = ActorModelAction<Msg, Timer, ()>;

/// The actors of a scope, within its bounds.
#[derive(Clone)]
struct Bounded {
    inner: ActorModel<Node>,
    scope: Scope,
    /// The properties to check, by name.
    wanted: Vec<&'static str>,
    reduce: bool,
}

impl Bounded {
    fn new(scope: Scope, wanted: &[&'static str]) -> Self {
        let nodes = (0..NODES).zip(scope.attempts).map(|(number, attempts)| Node {
            nodes: NODES,
            writes: (attempts > 0).then_some(Value(number as u8)),
            calls: scope.calls,
            repair: scope.repair,
        });
        let network = Network::new_unordered_nonduplicating([]);
        let inner = ActorModel::new((), ()).actors(nodes).init_network(network);
        Self { inner, scope, wanted: wanted.to_vec(), reduce: true }
    }

    /// Whether the message can do anything at its destination, now or later.
    fn is_dead(&self, states: &[Arc<NodeState>], envelope: &Envelope<Msg>) -> bool {
        let index = usize::from(envelope.dst);
        let mut state = Cow::Borrowed(&*states[index]);
        let mut out = Out::new();
        self.inner.actors[index].on_msg(envelope.dst, &mut state, envelope.src, envelope.msg, &mut out);
        matches!(state, Cow::Borrowed(_))
            && out.iter().all(|command| match command {
                Command::Send(dst, msg) => self.is_dead(states, &Envelope { src: envelope.dst, dst: *dst, msg: *msg }),
                _ => false,
            })
    }
}

impl Model for Bounded {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.inner.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.inner.actions(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let (ActorModelAction::Deliver { dst: node, .. } | ActorModelAction::Timeout(node, _)) = action else {
            return None;
        };
        let mut next = self.inner.next_state(state, action)?;
        if let (true, Network::UnorderedNonDuplicating(in_flight)) = (self.reduce, &mut next.network) {
            // Only what is to or from the node that moved can have died.
            in_flight.retain(|envelope, _| {
                (envelope.src != node && envelope.dst != node) || !self.is_dead(&next.actor_states, envelope)
            });
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let agreement = Property::always(AGREEMENT, |_: &Self, state| one_value(&chosen(state)));
        let one_committed = Property::always(ONE_COMMITTED, |_: &Self, state| committed(state).len() <= 1);
        [agreement, one_committed].into_iter().filter(|property| self.wanted.contains(&property.name)).collect()
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.actor_states.iter().zip(self.scope.attempts).all(|(node, attempts)| {
            let attempt = if let Write::Preparing { attempt, .. } = node.write { attempt } else { 0 };
            attempt <= attempts && (self.scope.ties || !node.ghost.tied)
        })
    }
}

/// Every ballot and value that a quorum accepted.
fn chosen(state: &State) -> Vec<(u64, Value)> {
    let mut chosen: Vec<(u64, Value)> = Vec::new();
    for vote in state.actor_states.iter().flat_map(|node| &node.ghost.votes) {
        let voters = state.actor_states.iter().filter(|node| node.ghost.votes.contains(vote)).count();
        if voters >= quorum(NODES) && !chosen.contains(vote) {
            chosen.push(*vote);
        }
    }
    chosen
}

/// Whether they are all of one value; the same value may well be chosen again at a higher ballot.
fn one_value(chosen: &[(u64, Value)]) -> bool {
    chosen.iter().all(|(_, value)| *value == chosen[0].1)
}

/// Every value that some node committed.
fn committed(state: &State) -> Vec<Value> {
    let mut committed: Vec<Value> = state.actor_states.iter().flat_map(|node| node.ghost.commits.clone()).collect();
    committed.sort_unstable();
    committed.dedup();
    committed
}

/// The shortest way to a state of the scope that violates the property, or nothing if no state within its bounds does.
///
/// Breadth-first on one thread; what is found is searched for again below its length until nothing is, so that
/// "shortest" does not hang on the checker's order.
pub fn find_disagreement(mechanism: Mechanism, scope: Scope, property: &'static str) -> Option<Exhibit> {
    let mut found: Option<Exhibit> = None;
    let mut length = None;
    loop {
        let mut checker = Bounded::new(scope, &[property]).checker();
        if let Some(length) = length {
            // The checker counts states, not steps, and leaves out those at the limit.
            checker = checker.target_max_depth(length + 1);
        }
        let checker = checker.spawn_bfs().join();
        let Some(path) = checker.discovery(property) else {
            return found;
        };
        let states = path.into_vec();
        length = Some(states.len() - 1);
        found = Some(Exhibit {
            mechanism: mechanism.name(),
            scope: scope.name,
            property,
            broken: trace::verdict(&states),
            steps: trace::story(&states, scope),
            unique_states: checker.unique_state_count(),
            generated_states: checker.state_count(),
        });
    }
}

/// The shortest disagreements: two values chosen in each of [`SCOPES`], and two values committed in the first of each
/// mechanism.
pub fn exhibits() -> Vec<Exhibit> {
    let chosen = SCOPES.iter().map(|(mechanism, scope)| (mechanism, scope, AGREEMENT));
    let committed = SCOPES[..2].iter().map(|(mechanism, scope)| (mechanism, scope, ONE_COMMITTED));
    chosen
        .chain(committed)
        .filter_map(|(mechanism, scope, property)| find_disagreement(*mechanism, *scope, property))
        .collect()
}

/// The repaired twin in the same scopes: the scope's name, its distinct states, and whether all of them were visited
/// and none violates [`AGREEMENT`] or [`ONE_COMMITTED`].
pub fn repaired() -> Vec<(String, usize, bool)> {
    let exhaust = |scope: Scope| {
        // No bound on states, depth or time: the search ends with an empty queue or at a violation.
        let checker = Bounded::new(scope.repaired(), &[AGREEMENT, ONE_COMMITTED]).checker().spawn_dfs().join();
        let clean = checker.is_done() && checker.discoveries().is_empty();
        (scope.name.to_owned(), checker.unique_state_count(), clean)
    };
    SCOPES.iter().map(|(_, scope)| exhaust(*scope)).collect()
}
