//! A scripted beginning: a scope may begin from a state that one particular run leads to, and explore from there.
//!
//! The run is made by the actors themselves, judged like any other, and what is then still in flight is lost, except for what
//! clients have sent over their connections.

use crate::properties::judge::{Judge, Rule, Seen};
use crate::properties::party::{Client, Msg, Party, PartyState, Stored};
use crate::properties::record::Record;
use paxos_model::replica::Timer;
use paxos_model::trace::{Input, step};
use stateright::actor::{Command as Output, Id};
use std::collections::{BTreeSet, VecDeque};

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// A timer of a node runs out, and all that follows happens.
    Fire(usize, Timer),
    /// The same, but nothing reaches or leaves these nodes.
    FireWithout(usize, Timer, Vec<usize>),
    /// The request that a client has sent arrives, and all that follows happens.
    Admit(usize),
    /// The same, but nothing reaches or leaves these nodes.
    AdmitWithout(usize, Vec<usize>),
    /// A node crashes and starts again.
    Restart(usize),
}

/// Where a party is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its state.
    pub state: PartyState,
    /// What it has stored.
    pub stored: Option<Stored>,
    /// Its timers.
    pub timers: BTreeSet<Timer>,
}

/// Where a scope begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Every party, in order.
    pub seats: Vec<Seat>,
    /// The ghost record so far.
    pub record: Record,
    /// What is in flight: source, destination, message.
    pub network: Vec<(Id, Id, Msg)>,
}

/// Messages after which a script is taken for endless.
const STEPS_MAX: usize = 100_000;

struct Stage<'a> {
    parties: &'a [Party],
    judge: &'a Judge,
    now: Beginning,
    cut: Vec<usize>,
}

/// Starts every party, and plays the script.
///
/// # Panics
///
/// If the script breaks a rule: then there is nothing to explore from.
pub fn play(parties: &[Party], judge: &Judge, script: &[Play]) -> Beginning {
    let now = Beginning { seats: Vec::new(), record: Record::new(judge.collapse), network: Vec::new() };
    let mut stage = Stage { parties, judge, now, cut: Vec::new() };
    for index in 0..parties.len() {
        stage.start(index);
    }
    for play in script {
        stage.cut.clear();
        match play {
            Play::Fire(node, timer) => stage.step(*node, Input::Timeout(timer.clone())),
            Play::FireWithout(node, timer, cut) => {
                stage.cut.clone_from(cut);
                stage.step(*node, Input::Timeout(timer.clone()));
            }
            Play::Admit(client) => stage.admit(*client),
            Play::AdmitWithout(client, cut) => {
                stage.cut.clone_from(cut);
                stage.admit(*client);
            }
            Play::Restart(node) => stage.step(*node, Input::Start),
        }
        stage.settle();
    }
    stage.now
}

impl Stage<'_> {
    fn start(&mut self, index: usize) {
        let started = step(&self.parties[index], index.into(), None, &None, &Input::Start);
        let state = started.state.expect("a started party has a state");
        self.now.seats.push(Seat { state, stored: None, timers: BTreeSet::new() });
        self.carry_out(index, started.outputs);
    }

    /// Delivers the one request that `client` has in flight.
    fn admit(&mut self, client: usize) {
        let sent = |(src, _, message): &(Id, Id, Msg)| usize::from(*src) == client && super::arrives_once(message);
        let index = self.now.network.iter().position(sent).expect("the client has a request in flight");
        let (src, dst, msg) = self.now.network.remove(index);
        self.step(dst.into(), Input::Deliver { src, msg });
    }

    /// Delivers everything but requests, until nothing is left; what can't be delivered is lost. What sources sent stays.
    fn settle(&mut self) {
        let mut queue: VecDeque<_> = std::mem::take(&mut self.now.network).into();
        let mut held = Vec::new();
        for _ in 0..STEPS_MAX {
            queue.extend(std::mem::take(&mut self.now.network));
            if let Some((src, dst, msg)) = queue.pop_front() {
                let source = matches!(self.parties[usize::from(src)], Party::Client(Client::Source(_)));
                if super::arrives_once(&msg) || source {
                    held.push((src, dst, msg));
                } else if ![src, dst].iter().any(|node| self.cut.contains(&usize::from(*node))) {
                    self.step(dst.into(), Input::Deliver { src, msg });
                }
            } else if let Some(node) = self.now.seats.iter().position(|seat| seat.timers.contains(&Timer::Flush)) {
                self.step(node, Input::Timeout(Timer::Flush));
            } else {
                self.now.network = held;
                return;
            }
        }
        panic!("a script that never settles");
    }

    fn step(&mut self, index: usize, input: Input<Msg, Timer>) {
        let before = self.now.seats[index].clone();
        if let Input::Timeout(timer) = &input {
            self.now.seats[index].timers.remove(timer);
        }
        if input == Input::Start {
            self.now.seats[index].timers.clear();
        }
        let done = step(&self.parties[index], index.into(), Some(&before.state), &before.stored, &input);
        if let Some(state) = done.state {
            self.now.seats[index].state = state;
        }
        let sends = self.carry_out(index, done.outputs);
        let after = &self.now.seats[index];
        let delivered = match &input {
            Input::Deliver { src, msg } => Some((*src, msg)),
            Input::Start | Input::Timeout(_) => None,
        };
        let seen = Seen {
            node: index.into(),
            delivered,
            restart: input == Input::Start,
            before: &before.state,
            stored_before: &before.stored,
            after: &after.state,
            stored_after: &after.stored,
            sends: &sends,
        };
        let (record, broken) = self.judge.observe(&self.now.record, &seen);
        let broken: Vec<(Rule, String)> = broken;
        assert!(broken.is_empty(), "the scripted beginning breaks {broken:?}");
        self.now.record = record;
    }

    fn carry_out(&mut self, index: usize, outputs: Vec<Output<Msg, Timer, (), Stored>>) -> Vec<(Id, Msg)> {
        let mut sends = Vec::new();
        let seat = &mut self.now.seats[index];
        for output in outputs {
            match output {
                Output::SetTimer(timer, _) => {
                    seat.timers.insert(timer);
                }
                Output::CancelTimer(timer) => {
                    seat.timers.remove(&timer);
                }
                Output::Save(stored) => seat.stored = Some(stored),
                Output::Send(dst, message) => {
                    sends.push((dst, message.clone()));
                    self.now.network.push((index.into(), dst, message));
                }
                Output::ChooseRandom(..) => {}
            }
        }
        sends
    }
}
