//! A scripted beginning: a scope may begin from a state that one particular run leads to, and explore from there.
//!
//! The run is made by the actors themselves, judged like any other, and what is then still in flight is lost, except for what
//! clients have sent over their connections, and what the script says is late. A beginning that breaks a rule is a violation
//! like any other, told step by step, where that rule is asked about; one that can't be played as it is written breaks [`BEGINNING`].

use super::words;
use crate::engine::{NO_PANIC, panic_text};
use crate::properties::effect::Effect;
use crate::properties::judge::{Judge, Rule};
use crate::properties::party::{Client, Msg, Party, PartyState, Stored};
use crate::properties::record::Record;
use crate::properties::step::Seen;
use paxos_model::replica::Timer;
use paxos_model::replica::message::Message;
use paxos_model::trace::{Input, step};
use stateright::actor::{Command as Output, Id};
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The property that the scripted beginning of a scope can be played.
pub const BEGINNING: &str = "beginning";

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// A timer of a node runs out, and all that follows happens.
    Fire(usize, Timer),
    /// The same, but nothing reaches or leaves these nodes.
    FireWithout(usize, Timer, Vec<usize>),
    /// A timer of the first node runs out, and all that follows happens, but that its `Fetch` to the second one is late: it is
    /// in flight when the exploration begins.
    FireWithLateFetch(usize, Timer, usize),
    /// The request that a client has sent arrives, and all that follows happens.
    Admit(usize),
    /// The same, but nothing reaches or leaves these nodes.
    AdmitWithout(usize, Vec<usize>),
    /// The same, but what others send to these nodes is in flight where the script ends.
    AdmitUnheard(usize, Vec<usize>),
    /// A node crashes and starts again.
    Restart(usize),
}

impl Play {
    /// What happens, in one line.
    pub fn tell(&self) -> String {
        let without = |cut: &[usize]| {
            let cut: Vec<String> = cut.iter().map(usize::to_string).collect();
            format!(", with node {} cut off", cut.join(", "))
        };
        let fire = |node: &usize, timer: &Timer| format!("the {} timer of node {node} runs out", words::timer(timer));
        let admit = |client: &usize| format!("the request of client {client} arrives");
        let what = match self {
            Play::Fire(node, timer) => fire(node, timer),
            Play::FireWithout(node, timer, cut) => fire(node, timer) + &without(cut),
            Play::FireWithLateFetch(node, timer, to) => {
                format!("{}, with its fetch to node {to} late", fire(node, timer))
            }
            Play::Admit(client) => admit(client),
            Play::AdmitWithout(client, cut) => admit(client) + &without(cut),
            Play::AdmitUnheard(client, nodes) => {
                let nodes: Vec<String> = nodes.iter().map(usize::to_string).collect();
                format!("{}, with what is sent to node {} late", admit(client), nodes.join(", "))
            }
            Play::Restart(node) => format!("node {node} crashes and starts again"),
        };
        what + ", and all that follows happens"
    }
}

/// Where a party is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The steps that led there, but for the first starts.
    pub steps: Vec<Played>,
}

/// One step of one party, as it was played.
#[derive(Clone, Debug)]
pub struct Played {
    /// Who.
    pub node: usize,
    /// What made it take the step.
    pub input: Input<Msg, Timer>,
    /// The party before.
    pub before: Seat,
    /// The party after.
    pub after: Seat,
    /// What it sent.
    pub sends: Vec<(Id, Msg)>,
    /// Whether it saved.
    pub saved: bool,
}

impl Played {
    /// As the rules see it; none if it is a client's.
    pub fn seen(&self) -> Option<Seen<'_>> {
        Some(Seen {
            node: self.node.into(),
            input: &self.input,
            before: self.before.state.replica()?,
            stored_before: &self.before.stored,
            after: self.after.state.replica()?,
            stored_after: &self.after.stored,
            sends: &self.sends,
        })
    }
}

/// A beginning that breaks something.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The properties that the last step breaks, each with the reason.
    pub properties: Vec<(&'static str, String)>,
    /// The steps up to there.
    pub steps: Vec<Played>,
}

impl Broken {
    /// What is broken, in one line.
    pub fn why(&self) -> String {
        self.properties.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ")
    }
}

/// Messages after which a script is taken for endless.
const STEPS_MAX: usize = 100_000;
/// Steps of an endless script that are told.
const STEPS_TOLD: usize = 100;

struct Stage<'a> {
    parties: &'a [Party],
    judge: &'a Judge,
    /// The one property that is asked about, if it is one.
    sought: Option<&'a str>,
    now: Beginning,
    cut: Vec<usize>,
    /// Nodes to which what others send is held back.
    unheard: Vec<usize>,
    /// What is held back until the script is played.
    late: Vec<(Id, Id, Msg)>,
}

/// Starts every party, and plays the script. Where one property is `sought`, steps that break others are steps like any other, as they are
/// in an exploration for it.
///
/// # Errors
///
/// If a step breaks a rule, a handler panics, or the script can't be played: then there is nothing to explore from.
pub fn play(parties: &[Party], judge: &Judge, sought: Option<&str>, script: &[Play]) -> Result<Beginning, Box<Broken>> {
    let mut stage = Stage::new(parties, judge, sought)?;
    for play in script {
        stage.play(play).map_err(|broken| shortened(parties, judge, broken))?;
    }
    stage.now.network.append(&mut stage.late);
    Ok(stage.now)
}

/// The same violation without the steps that it happens without, too. A script that can't be played stays whole.
fn shortened(parties: &[Party], judge: &Judge, broken: Box<Broken>) -> Box<Broken> {
    let Some(property) = broken.properties.first().map(|(name, _)| *name).filter(|name| *name != BEGINNING) else {
        return broken;
    };
    let mut best = broken;
    loop {
        let length = best.steps.len();
        for place in (0..length).rev().filter(|place| *place < length) {
            let inputs = best.steps.iter().enumerate().filter(|(other, _)| *other != place);
            let inputs: Vec<_> = inputs.map(|(_, step)| (step.node, step.input.clone())).collect();
            if place < best.steps.len()
                && let Some(shorter) = Stage::replay(parties, judge, property, inputs)
            {
                best = shorter;
            }
        }
        if best.steps.len() == length {
            return best;
        }
    }
}

impl<'a> Stage<'a> {
    /// Every party has started.
    fn new(parties: &'a [Party], judge: &'a Judge, sought: Option<&'a str>) -> Result<Self, Box<Broken>> {
        let record = Record::new(judge.collapse);
        let now = Beginning { seats: Vec::new(), record, network: Vec::new(), steps: Vec::new() };
        let mut stage = Stage { parties, judge, sought, now, cut: Vec::new(), unheard: Vec::new(), late: Vec::new() };
        for index in 0..parties.len() {
            stage.start(index)?;
        }
        Ok(stage)
    }

    fn play(&mut self, play: &Play) -> Result<(), Box<Broken>> {
        self.cut.clear();
        self.unheard.clear();
        if let Play::FireWithout(_, _, cut) | Play::AdmitWithout(_, cut) = play {
            self.cut.clone_from(cut);
        }
        if let Play::AdmitUnheard(_, unheard) = play {
            self.unheard.clone_from(unheard);
        }
        match play {
            Play::Fire(node, timer) | Play::FireWithout(node, timer, _) | Play::FireWithLateFetch(node, timer, _) => {
                if !self.now.seats[*node].timers.contains(timer) {
                    return Err(self.cannot(play, &format!("node {node} has not set that timer")));
                }
                self.step(*node, Input::Timeout(timer.clone()))?;
                if let Play::FireWithLateFetch(_, _, to) = play {
                    self.delay(|(src, dst, message)| {
                        matches!(message, Message::Fetch { .. })
                            && (usize::from(*src), usize::from(*dst)) == (*node, *to)
                    });
                }
            }
            Play::Admit(client) | Play::AdmitWithout(client, _) | Play::AdmitUnheard(client, _) => {
                let sent =
                    |(src, _, message): &(Id, Id, Msg)| usize::from(*src) == *client && super::arrives_once(message);
                let Some(index) = self.now.network.iter().position(sent) else {
                    return Err(self.cannot(play, &format!("client {client} has no request in flight")));
                };
                let (src, dst, msg) = self.now.network.remove(index);
                self.step(dst.into(), Input::Deliver { src, msg })?;
            }
            Play::Restart(node) => self.step(*node, Input::Start)?,
        }
        self.settle(play)
    }

    fn cannot(&self, play: &Play, why: &str) -> Box<Broken> {
        let why = format!("the scripted beginning cannot be played: {}: {why}", play.tell());
        Box::new(Broken { properties: vec![(BEGINNING, why)], steps: self.now.steps.clone() })
    }

    /// Takes these steps, those that are possible; the violation of a property that they end in, if they do.
    fn replay(
        parties: &'a [Party],
        judge: &'a Judge,
        property: &'a str,
        inputs: Vec<(usize, Input<Msg, Timer>)>,
    ) -> Option<Box<Broken>> {
        let mut stage = Stage::new(parties, judge, Some(property)).ok()?;
        for (node, input) in inputs {
            let possible = match &input {
                Input::Start => true,
                Input::Timeout(timer) => stage.now.seats[node].timers.contains(timer),
                Input::Deliver { src, msg } => {
                    let sent = |(s, d, m): &(Id, Id, Msg)| s == src && usize::from(*d) == node && m == msg;
                    let place = stage.now.network.iter().position(sent);
                    if let Some(place) = place
                        && super::arrives_once(msg)
                    {
                        stage.now.network.remove(place);
                    }
                    place.is_some()
                }
            };
            if possible && let Err(broken) = stage.step(node, input) {
                return Some(broken);
            }
        }
        None
    }

    fn start(&mut self, index: usize) -> Result<(), Box<Broken>> {
        let run = || step(&self.parties[index], index.into(), None, &None, &Input::Start);
        let started = catch_unwind(AssertUnwindSafe(run)).map_err(|said| {
            let why = format!("a handler panicked at the first start of node {index}: {}", panic_text(&*said));
            Box::new(Broken { properties: vec![(NO_PANIC, why)], steps: Vec::new() })
        })?;
        let state = started.state.expect("a started party has a state");
        self.now.seats.push(Seat { state, stored: None, timers: BTreeSet::new() });
        self.carry_out(index, started.outputs);
        Ok(())
    }

    /// Keeps messages in flight until the script is played.
    fn delay(&mut self, which: impl Fn(&(Id, Id, Msg)) -> bool) {
        let (late, others) = std::mem::take(&mut self.now.network).into_iter().partition(which);
        self.now.network = others;
        self.late.extend::<Vec<_>>(late);
    }

    /// Delivers everything but requests, until nothing is left; what can't be delivered is lost. What sources sent stays.
    fn settle(&mut self, play: &Play) -> Result<(), Box<Broken>> {
        let mut queue: VecDeque<_> = std::mem::take(&mut self.now.network).into();
        let mut waiting = Vec::new();
        for _ in 0..STEPS_MAX {
            queue.extend(std::mem::take(&mut self.now.network));
            if let Some((src, dst, msg)) = queue.pop_front() {
                let source = matches!(self.parties[usize::from(src)], Party::Client(Client::Source(_)));
                if super::arrives_once(&msg) || source {
                    waiting.push((src, dst, msg));
                } else if self.unheard.contains(&usize::from(dst)) && src != dst {
                    self.late.push((src, dst, msg));
                } else if ![src, dst].iter().any(|node| self.cut.contains(&usize::from(*node))) {
                    self.step(dst.into(), Input::Deliver { src, msg })?;
                }
            } else if let Some(node) = self.now.seats.iter().position(|seat| seat.timers.contains(&Timer::Flush)) {
                self.step(node, Input::Timeout(Timer::Flush))?;
            } else {
                self.now.network = waiting;
                return Ok(());
            }
        }
        // What such a run repeats tells nothing more.
        self.now.steps.truncate(STEPS_TOLD);
        Err(self.cannot(play, "it never settles"))
    }

    fn step(&mut self, index: usize, input: Input<Msg, Timer>) -> Result<(), Box<Broken>> {
        let before = self.now.seats[index].clone();
        if let Input::Timeout(timer) = &input {
            self.now.seats[index].timers.remove(timer);
        }
        if input == Input::Start {
            self.now.seats[index].timers.clear();
        }
        let run = || step(&self.parties[index], index.into(), Some(&before.state), &before.stored, &input);
        let done = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => done,
            Err(said) => {
                let why = format!("a handler panicked: {}", panic_text(&*said));
                let after = before.clone();
                self.now.steps.push(Played { node: index, input, before, after, sends: Vec::new(), saved: false });
                return Err(self.broken(vec![(NO_PANIC, why)]));
            }
        };
        if let Some(state) = done.state {
            self.now.seats[index].state = state;
        }
        let (sends, saved) = self.carry_out(index, done.outputs);
        let after = self.now.seats[index].clone();
        let mut broken = Vec::new();
        let played = Played { node: index, input, before, after, sends, saved };
        if let Some(seen) = played.seen() {
            broken = self.judge.broken_anyway(&seen);
            let (record, by_record) = self.judge.observe(&self.now.record, &Effect::of(&seen));
            broken.extend(by_record);
            self.now.record = record;
        }
        self.now.steps.push(played);
        let broken = broken.into_iter().map(|(rule, why): (Rule, String)| (rule.name(), why));
        let broken: Vec<_> = broken.collect();
        let is_sought = |(name, _): &(&str, String)| self.sought.is_none_or(|sought| sought == *name);
        if broken.iter().any(is_sought) { Err(self.broken(broken)) } else { Ok(()) }
    }

    fn broken(&self, properties: Vec<(&'static str, String)>) -> Box<Broken> {
        Box::new(Broken { properties, steps: self.now.steps.clone() })
    }

    /// What was sent, and whether anything was saved.
    fn carry_out(&mut self, index: usize, outputs: Vec<Output<Msg, Timer, (), Stored>>) -> (Vec<(Id, Msg)>, bool) {
        let (mut sends, mut saved) = (Vec::new(), false);
        let seat = &mut self.now.seats[index];
        for output in outputs {
            match output {
                Output::SetTimer(timer, _) => {
                    seat.timers.insert(timer);
                }
                Output::CancelTimer(timer) => {
                    seat.timers.remove(&timer);
                }
                Output::Save(stored) => {
                    seat.stored = Some(stored);
                    saved = true;
                }
                Output::Send(dst, message) => {
                    sends.push((dst, message.clone()));
                    self.now.network.push((index.into(), dst, message));
                }
                Output::ChooseRandom(..) => {}
            }
        }
        (sends, saved)
    }
}

#[cfg(test)]
mod tests;
