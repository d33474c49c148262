//! Small actors for the engine's own tests.

use super::super::{Depends, Ghost, Observed, Predicate, Rule, StepView, View};
use paxos_model::trace::Input;
use stateright::Expectation;
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

const NO_TIME: std::ops::Range<Duration> = Duration::ZERO..Duration::ZERO;

/// Counts pings, passes them on, saves every other count, sets and cancels timers.
pub(super) struct Pinger {
    pub(super) max: u8,
}

impl Actor for Pinger {
    type Msg = u8;
    type Timer = u8;
    type State = u8;
    type Storage = u8;
    type Random = ();

    fn on_start(&self, id: Id, stored: &Option<u8>, out: &mut Out<Self>) -> u8 {
        out.set_timer(0, NO_TIME);
        if usize::from(id) == 0 {
            out.set_timer(1, NO_TIME);
            out.send(Id::from(1), 1);
        }
        stored.unwrap_or(0)
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, u8>, src: Id, msg: u8, out: &mut Out<Self>) {
        if msg > **state && msg <= self.max {
            *state.to_mut() = msg;
            if msg.is_multiple_of(2) {
                out.save(msg);
            }
            out.cancel_timer(1);
            out.send(Id::from((usize::from(id) + 1) % 3), msg + 1);
            out.send(src, msg);
        } else if msg == 0 {
            out.set_timer(2, NO_TIME);
        }
    }

    fn on_timeout(&self, id: Id, _: &mut Cow<'_, u8>, timer: &u8, out: &mut Out<Self>) {
        match timer {
            0 => {
                out.send(Id::from((usize::from(id) + 2) % 3), 0);
                out.set_timer(0, NO_TIME);
            }
            1 => out.set_timer(1, NO_TIME),
            _ => {}
        }
    }
}

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Nothing is saved.
    Forgets,
    /// A value is accepted below the promise.
    IgnoresPromise,
}

/// Single-decree Paxos: every node proposes its own number.
#[derive(Clone)]
pub(super) struct Paxos {
    nodes: usize,
    rounds: u8,
    pub(super) bug: Option<Stored>,
}

pub(super) type Ballot = (u8, u8);
pub(super) type Accepted = Option<(Ballot, u8)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PaxosMsg {
    Prepare(Ballot),
    Promise(Ballot, Accepted),
    Accept(Ballot, u8),
    Accepted(Ballot, u8),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PaxosState {
    promised: Ballot,
    accepted: Accepted,
    proposing: Option<Ballot>,
    promises: BTreeSet<(usize, Accepted)>,
    proposed: bool,
}

impl Paxos {
    pub(super) fn cluster(nodes: usize, rounds: u8) -> Vec<Self> {
        vec![Paxos { nodes, rounds, bug: None }; nodes]
    }

    fn save(&self, state: &PaxosState, out: &mut Out<Self>) {
        if self.bug != Some(Stored::Forgets) {
            out.save((state.promised, state.accepted));
        }
    }
}

impl Actor for Paxos {
    type Msg = PaxosMsg;
    type Timer = ();
    type State = PaxosState;
    type Storage = (Ballot, Accepted);
    type Random = ();

    fn on_start(&self, id: Id, stored: &Option<(Ballot, Accepted)>, out: &mut Out<Self>) -> PaxosState {
        // Two proposers suffice.
        if usize::from(id) < 2 {
            out.set_timer((), NO_TIME);
        }
        let (promised, accepted) = stored.unwrap_or_default();
        PaxosState { promised, accepted, ..PaxosState::default() }
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, PaxosState>, src: Id, msg: PaxosMsg, out: &mut Out<Self>) {
        match msg {
            PaxosMsg::Prepare(ballot) if ballot > state.promised => {
                let state = state.to_mut();
                state.promised = ballot;
                self.save(state, out);
                out.send(src, PaxosMsg::Promise(ballot, state.accepted));
            }
            PaxosMsg::Promise(ballot, accepted) if state.proposing == Some(ballot) && !state.proposed => {
                let state = state.to_mut();
                state.promises.insert((usize::from(src), accepted));
                if state.promises.len() > self.nodes / 2 {
                    let value = state.promises.iter().filter_map(|promise| promise.1).max();
                    let value = value.map_or(ballot.1, |(_, value)| value);
                    state.promises.clear();
                    state.proposed = true;
                    (0..self.nodes).for_each(|node| out.send(Id::from(node), PaxosMsg::Accept(ballot, value)));
                }
            }
            PaxosMsg::Accept(ballot, value)
                if (ballot >= state.promised || self.bug == Some(Stored::IgnoresPromise))
                    && state.accepted != Some((ballot, value)) =>
            {
                let state = state.to_mut();
                state.promised = state.promised.max(ballot);
                state.accepted = Some((ballot, value));
                self.save(state, out);
                out.send(src, PaxosMsg::Accepted(ballot, value));
            }
            _ => {}
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, PaxosState>, _: &(), out: &mut Out<Self>) {
        let round = state.promised.0.max(state.proposing.map_or(0, |ballot| ballot.0)) + 1;
        out.set_timer((), NO_TIME);
        if round <= self.rounds {
            let ballot = (round, usize::from(id) as u8);
            let state = state.to_mut();
            state.promised = ballot;
            state.proposing = Some(ballot);
            state.promises.clear();
            state.proposed = false;
            self.save(state, out);
            out.send(id, PaxosMsg::Promise(ballot, state.accepted));
            let others = (0..self.nodes).map(Id::from).filter(|other| *other != id);
            others.for_each(|other| out.send(other, PaxosMsg::Prepare(ballot)));
        }
    }
}

/// Records every vote ever cast; at most one value is chosen.
pub(super) struct Chosen {
    pub(super) quorum: usize,
}

impl Ghost<Paxos> for Chosen {
    type Record = BTreeSet<(Ballot, u8, usize)>;
    type Effect = Vec<(Ballot, u8, usize)>;
    type Topic = ();
    type Facts = ();

    fn initial(&self) -> Self::Record {
        BTreeSet::new()
    }

    fn effect(&self, step: &StepView<'_, Paxos>) -> Option<Self::Effect> {
        let votes = step.sends.iter().filter_map(|(_, msg)| match msg {
            PaxosMsg::Accepted(ballot, value) => Some((*ballot, *value, step.node)),
            _ => None,
        });
        let votes: Vec<_> = votes.collect();
        (!votes.is_empty()).then_some(votes)
    }

    fn observe(&self, record: &Self::Record, effect: &Self::Effect) -> Observed<Self::Record> {
        let mut votes = record.clone();
        votes.extend(effect.iter().copied());
        let broken = u32::from(self.chosen(&votes).len() > 1);
        Observed { record: (votes != *record).then_some(votes), broken }
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule { name: "agreement", bit: 1 }]
    }

    fn predicates(&self) -> Vec<Predicate> {
        let predicate = |name, expectation, depends| Predicate { name, expectation, depends };
        vec![
            predicate("chosen", Expectation::Sometimes, Depends::Record),
            predicate("restores a vote", Expectation::Sometimes, Depends::Both),
            predicate("saved", Expectation::Always, Depends::Locals),
        ]
    }

    fn evaluate(&self, index: usize, view: &View<'_, Paxos, Self>) -> bool {
        match index {
            0 => !self.chosen(view.record()).is_empty(),
            1 => !view.record().is_empty() && view.locals().any(|local| local.state.proposed),
            _ => view.locals().all(|local| local.stored.is_none() || local.stored.unwrap().0 == local.state.promised),
        }
    }
}

impl Chosen {
    fn chosen(&self, votes: &BTreeSet<(Ballot, u8, usize)>) -> BTreeSet<u8> {
        let voters = |ballot, value| votes.iter().filter(|vote| vote.0 == ballot && vote.1 == value).count();
        votes.iter().filter(|vote| voters(vote.0, vote.1) >= self.quorum).map(|vote| vote.1).collect()
    }
}

/// Ignores a message until another one has come.
pub(super) struct Reviver;

impl Actor for Reviver {
    type Msg = u8;
    type Timer = ();
    type State = u8;
    type Storage = ();
    type Random = ();

    fn on_start(&self, id: Id, _: &Option<()>, out: &mut Out<Self>) -> u8 {
        if usize::from(id) == 0 {
            out.send(Id::from(1), 2);
            out.send(Id::from(1), 1);
        }
        0
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, u8>, _: Id, msg: u8, _: &mut Out<Self>) {
        if msg == **state + 1 {
            *state.to_mut() = msg;
        }
    }
}

/// Takes one message, and never heeds the other.
pub(super) struct Sleeper;

impl Actor for Sleeper {
    type Msg = u8;
    type Timer = ();
    type State = bool;
    type Storage = ();
    type Random = ();

    fn on_start(&self, id: Id, _: &Option<()>, out: &mut Out<Self>) -> bool {
        if usize::from(id) == 0 {
            out.send(Id::from(1), 0);
            out.send(Id::from(1), 1);
        }
        false
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, bool>, _: Id, msg: u8, _: &mut Out<Self>) {
        if msg == 1 && !**state {
            *state.to_mut() = true;
        }
    }
}

/// Who has taken the one message must heed the other.
pub(super) struct MustHeed;

impl Ghost<Sleeper> for MustHeed {
    type Record = ();
    type Effect = ();
    type Topic = ();
    type Facts = ();

    fn initial(&self) {}

    fn effect(&self, _: &StepView<'_, Sleeper>) -> Option<()> {
        None
    }

    fn observe(&self, (): &(), (): &()) -> Observed<()> {
        Observed::default()
    }

    fn breaks(&self, step: &StepView<'_, Sleeper>) -> u32 {
        u32::from(*step.before && matches!(step.input, Input::Deliver { msg: 0, .. }))
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule { name: "heeds", bit: 1 }]
    }
}

/// Sends one message at its start; the first node may panic at the answer.
pub(super) struct Maker {
    pub(super) panics: bool,
}

impl Actor for Maker {
    type Msg = u8;
    type Timer = ();
    type State = u8;
    type Storage = ();
    type Random = ();

    fn on_start(&self, id: Id, _: &Option<()>, out: &mut Out<Self>) -> u8 {
        if usize::from(id) == 1 {
            out.send(Id::from(0), 1);
        }
        0
    }

    fn on_msg(&self, _: Id, _: &mut Cow<'_, u8>, _: Id, _: u8, _: &mut Out<Self>) {
        assert!(!self.panics, "as it was told");
    }
}
