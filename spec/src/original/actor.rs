//! One node of the Go original as a stateright actor: its RPC handler (`paxos/acceptor.go`) and the `Write` of its
//! proposer (`paxos/proposer.go`), for one slot of the log.

use std::borrow::Cow;

use stateright::actor::{Actor, Id, Out, model_timeout};

use super::acceptor::{COMMITTED, Promise, Repair, Value, compose, decompose, quorum};

/// How Go `broadcast` reaches the nodes, which `paxos.RPC` leaves to the caller.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Calls {
    /// All at once, a goroutine a call, as in `cmd/test`: answers count in the order in which they arrive, and a node
    /// may miss its own.
    Together,
    /// One after the other in the order of the nodes, as in `dist_kvstore.NewDistStore`, whose closures return only
    /// once the answer is there or the call has failed. A node's call to itself is a function call and never fails.
    InTurn,
}

/// What a loop over the answers of one broadcast has gathered. Go `Write` loops once all are there; a loop that goes
/// over them in the order of their arrival may as well take each as it arrives.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tally {
    /// Calls that came back, in whichever way.
    pub returned: usize,
    /// Go `okCount`.
    pub ok_count: usize,
    /// Go `maxProposal`.
    pub max_proposal: u64,
    /// Go `maxValuePtr`, in phase 1.
    pub max_value: Option<Value>,
    /// The ballot of `max_value`, in the twin's phase 1.
    pub max_accepted: u64,
}

impl Tally {
    /// The body of the loop over the answers to `prepare` in Go `Write`. `<=` lets the later of two equals win.
    pub fn count_prepare(&mut self, promise: Promise, ok: bool, repair: Repair) {
        self.returned += 1;
        self.ok_count += usize::from(ok);
        match repair {
            Repair::None if self.max_proposal <= promise.proposal => {
                self.max_proposal = promise.proposal;
                self.max_value = promise.value;
            }
            Repair::None => {}
            Repair::AcceptedBallotKeptApart => {
                self.max_proposal = self.max_proposal.max(promise.proposal);
                if promise.value.is_some() && self.max_accepted <= promise.accepted {
                    self.max_accepted = promise.accepted;
                    self.max_value = promise.value;
                }
            }
        }
    }

    /// The body of the loop over the answers to `accept` in Go `Write`.
    pub fn count_accept(&mut self, promise: Promise, ok: bool) {
        self.returned += 1;
        self.ok_count += usize::from(ok);
        self.max_proposal = self.max_proposal.max(promise.proposal);
    }
}

/// Where a node's call of Go `Write` stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Write {
    /// No client writes at this node.
    None,
    /// A client will.
    Expected,
    /// In the broadcast of `prepare` of round trip `attempt`, counted from 1.
    Preparing {
        /// Which iteration of the loop in Go `Write`.
        attempt: u8,
        /// Go `proposal`.
        proposal: u64,
        /// The answers so far.
        tally: Tally,
    },
    /// In the broadcast of `accept`.
    Accepting {
        /// As above.
        attempt: u8,
        /// As above.
        proposal: u64,
        /// Go `highestValue`.
        value: Value,
        /// The answers so far.
        tally: Tally,
    },
    /// In Go `backoff`.
    BackingOff {
        /// The iterations behind it.
        attempt: u8,
        /// The ballot of the next.
        proposal: u64,
    },
    /// Returned: the committed value with `true`, or nothing with `false`.
    Returned(Option<Value>),
}

/// What only properties and traces read.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ghost {
    /// Every vote this acceptor ever cast: ballot and value.
    pub votes: Vec<(u64, Value)>,
    /// Every value ever committed here, first to last, without repetition.
    pub commits: Vec<Value>,
    /// This proposer's choice of the value once hung on which of two answers with the same ballot came last.
    pub tied: bool,
}

/// A node: what its store holds of the slot, and its client's write.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NodeState {
    /// The slot's record in the store.
    pub log: Promise,
    /// The node's own write.
    pub write: Write,
    /// For properties and traces only.
    pub ghost: Ghost,
}

/// Requests and answers. `attempt` stands for the TCP connection that pairs an answer with its call: the Go messages
/// don't carry it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Msg {
    /// Go `PrepareRequest`.
    Prepare {
        /// The connection.
        attempt: u8,
        /// Its ballot.
        proposal: u64,
    },
    /// Go `PrepareResponse`.
    Prepared {
        /// The connection.
        attempt: u8,
        /// What the acceptor held before.
        promise: Promise,
        /// Whether it promised.
        ok: bool,
    },
    /// Go `AcceptRequest`.
    Accept {
        /// The connection.
        attempt: u8,
        /// Its ballot.
        proposal: u64,
        /// Its value.
        value: Value,
    },
    /// Go `AcceptResponse`.
    Accepted {
        /// The connection.
        attempt: u8,
        /// What the acceptor held before.
        promise: Promise,
        /// Whether it accepted.
        ok: bool,
    },
    /// Go `CommitRequest`. It names no ballot.
    Commit {
        /// The value.
        value: Value,
    },
}

/// What may happen to a node without a message. Which timer is set follows from [`NodeState::write`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Timer {
    /// A client writes here.
    ClientWrites,
    /// Calls fail or time out: with [`Calls::Together`] all that haven't returned, with [`Calls::InTurn`] the present
    /// one.
    CallsFail,
    /// The sleep in Go `backoff` is over.
    Wake,
}

/// One node's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// How many nodes there are.
    pub nodes: usize,
    /// What a client writes here, if one does.
    pub writes: Option<Value>,
    /// How broadcasts go out.
    pub calls: Calls,
    /// The original or its twin.
    pub repair: Repair,
}

impl Node {
    /// Go `acceptor.HandleRPC` for requests that have an answer.
    fn answer(&self, state: &mut Cow<'_, NodeState>, request: Msg) -> Option<Msg> {
        let promise = state.log;
        let (log, vote, answer) = match request {
            Msg::Prepare { attempt, proposal } => {
                let (log, ok) = promise.prepare(proposal);
                (log, None, Msg::Prepared { attempt, promise, ok })
            }
            Msg::Accept { attempt, proposal, value } => {
                let (log, ok) = promise.accept(proposal, value, self.repair);
                (log, ok.then_some((proposal, value)), Msg::Accepted { attempt, promise, ok })
            }
            _ => return None,
        };
        if log != promise {
            state.to_mut().log = log;
        }
        if let Some(vote) = vote.filter(|vote| !state.ghost.votes.contains(vote)) {
            state.to_mut().ghost.votes.push(vote);
        }
        Some(answer)
    }

    /// Go `acceptor.HandleRPC` for `CommitRequest`, which has none.
    fn commit(&self, state: &mut Cow<'_, NodeState>, value: Value) {
        let log = state.log.commit(value, self.repair);
        if log != state.log {
            state.to_mut().log = log;
        }
        if !state.ghost.commits.contains(&value) {
            state.to_mut().ghost.commits.push(value);
        }
    }

    /// The head of the loop in Go `Write`: nothing to do if the slot is committed here, else a broadcast of `prepare`.
    fn begin(&self, id: Id, state: &mut Cow<'_, NodeState>, attempt: u8, proposal: u64, o: &mut Out<Self>) {
        if state.log.proposal == COMMITTED {
            state.to_mut().write = Write::Returned(None);
            return;
        }
        state.to_mut().write = Write::Preparing { attempt, proposal, tally: Tally::default() };
        self.call(id, state, o);
    }

    /// Go `broadcast`, from its start or onwards from the call that has just returned.
    fn call(&self, id: Id, state: &mut Cow<'_, NodeState>, o: &mut Out<Self>) {
        let (request, returned) = match state.write {
            Write::Preparing { attempt, proposal, tally } => (Msg::Prepare { attempt, proposal }, tally.returned),
            Write::Accepting { attempt, proposal, value, tally } => {
                (Msg::Accept { attempt, proposal, value }, tally.returned)
            }
            _ => return,
        };
        if returned == self.nodes {
            self.end_broadcast(id, state, o);
            return;
        }
        o.set_timer(Timer::CallsFail, model_timeout());
        match self.calls {
            Calls::Together if returned == 0 => (0..self.nodes).for_each(|node| o.send(Id::from(node), request)),
            Calls::Together => {}
            Calls::InTurn if returned == usize::from(id) => {
                if let Some(answer) = self.answer(state, request) {
                    self.count(id, state, id, answer, o);
                }
            }
            Calls::InTurn => o.send(Id::from(returned), request),
        }
    }

    /// One answer of the present broadcast; any other belongs to a connection that is closed.
    fn count(&self, id: Id, state: &mut Cow<'_, NodeState>, src: Id, answer: Msg, o: &mut Out<Self>) {
        let awaits = |tally: Tally| self.calls == Calls::Together || tally.returned == usize::from(src);
        let mut tied = false;
        let write = match (state.write, answer) {
            (Write::Preparing { attempt, proposal, mut tally }, Msg::Prepared { attempt: call, promise, ok })
                if attempt == call && awaits(tally) =>
            {
                tied = self.repair == Repair::None
                    && tally.max_proposal == promise.proposal
                    && tally.max_value != promise.value;
                tally.count_prepare(promise, ok, self.repair);
                Write::Preparing { attempt, proposal, tally }
            }
            (
                Write::Accepting { attempt, proposal, value, mut tally },
                Msg::Accepted { attempt: call, promise, ok },
            ) if attempt == call && awaits(tally) => {
                tally.count_accept(promise, ok);
                Write::Accepting { attempt, proposal, value, tally }
            }
            _ => return,
        };
        let state_mut = state.to_mut();
        state_mut.write = write;
        state_mut.ghost.tied |= tied;
        self.call(id, state, o);
    }

    /// What follows a broadcast in Go `Write`: the other phase, the commit, or `backoff` and another ballot.
    fn end_broadcast(&self, id: Id, state: &mut Cow<'_, NodeState>, o: &mut Out<Self>) {
        o.cancel_timer(Timer::CallsFail);
        match state.write {
            Write::Preparing { attempt, proposal, tally } if tally.ok_count >= quorum(self.nodes) => {
                let Some(value) = tally.max_value.or(self.writes) else {
                    return;
                };
                state.to_mut().write = Write::Accepting { attempt, proposal, value, tally: Tally::default() };
                self.call(id, state, o);
            }
            Write::Accepting { value, tally, .. } if tally.ok_count >= quorum(self.nodes) => {
                // `go broadcast`: in the background and to itself as well, where it repeats the local commit.
                let peers = (0..self.nodes).map(Id::from).filter(|peer| *peer != id);
                peers.for_each(|peer| o.send(peer, Msg::Commit { value }));
                self.commit(state, value);
                state.to_mut().write = Write::Returned(Some(value));
            }
            Write::Preparing { attempt, tally, .. } | Write::Accepting { attempt, tally, .. } => {
                let (max_round, _) = decompose(tally.max_proposal);
                let proposal = compose(max_round.wrapping_add(1), usize::from(id) as u64);
                state.to_mut().write = Write::BackingOff { attempt, proposal };
                o.set_timer(Timer::Wake, model_timeout());
            }
            _ => {}
        }
    }
}

impl Actor for Node {
    type Msg = Msg;
    type State = NodeState;
    type Timer = Timer;
    type Random = ();
    /// No scope restarts a node, and what the store holds counts as synced, which is more than the original's settings
    /// grant. A node that stopped for good is one whose messages stay in flight.
    type Storage = ();

    fn on_start(&self, _id: Id, _storage: &Option<()>, o: &mut Out<Self>) -> NodeState {
        let write = if self.writes.is_some() { Write::Expected } else { Write::None };
        if write == Write::Expected {
            o.set_timer(Timer::ClientWrites, model_timeout());
        }
        NodeState { log: Promise::default(), write, ghost: Ghost::default() }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, NodeState>, src: Id, msg: Msg, o: &mut Out<Self>) {
        match msg {
            Msg::Prepare { .. } | Msg::Accept { .. } => {
                if let Some(answer) = self.answer(state, msg) {
                    o.send(src, answer);
                }
            }
            Msg::Prepared { .. } | Msg::Accepted { .. } => self.count(id, state, src, msg, o),
            Msg::Commit { value } => self.commit(state, value),
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, NodeState>, _timer: &Timer, o: &mut Out<Self>) {
        match state.write {
            Write::Expected => self.begin(id, state, 1, compose(0, usize::from(id) as u64), o),
            Write::BackingOff { attempt, proposal } => self.begin(id, state, attempt + 1, proposal, o),
            Write::Preparing { .. } | Write::Accepting { .. } if self.calls == Calls::Together => {
                self.end_broadcast(id, state, o);
            }
            Write::Preparing { .. } | Write::Accepting { .. } => {
                if let Write::Preparing { tally, .. } | Write::Accepting { tally, .. } = &mut state.to_mut().write {
                    tally.returned += 1;
                }
                self.call(id, state, o);
            }
            Write::None | Write::Returned(_) => {}
        }
    }
}
