//! What the engine asks about a scope: the bounds, the rules, and the predicates.

use super::prefix::Beginning;
use super::witness::{WITNESS_RULES, Witness};
use super::{Scope, words};
use crate::engine::{
    self, Cost, Depends, Ghost, Local, Observed, Part, Predicate, StepRecord, StepView, Telling, View,
};
use crate::properties::audit::Audit;
use crate::properties::effect::Effect;
use crate::properties::invariant::{self, Facts, Told, Topic};
use crate::properties::judge::{Judge, Rule};
use crate::properties::party::{Msg, Party, PartyState, Stored};
use crate::properties::progress::{self, Frozen, Memo};
use crate::properties::record::Record;
use crate::properties::step::Seen;
use crate::properties::timers;
use crate::properties::transition::stored_or_empty;
use dashmap::DashMap;
use paxos_model::replica::leader::Leader;
use paxos_model::replica::message::Message;
use paxos_model::replica::{Role, Timer};
use paxos_model::trace::Input;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use stateright::Expectation;
use stateright::actor::Id;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// That the invariant which is proved holds in each state.
pub const INDUCTIVE_INVARIANT: &str = "inductive-invariant";

/// The referee of one scope.
pub struct Referee {
    scope: Scope,
    judge: Judge,
    schedules: Memo,
    progress: DashMap<(usize, SmallVec<[u32; 5]>), bool, FxBuildHasher>,
}

impl Referee {
    /// For `scope`, with its judge.
    pub fn new(scope: Scope, judge: Judge) -> Self {
        let schedules = Memo::of(scope.nodes());
        Referee { scope, judge, schedules, progress: DashMap::default() }
    }

    /// A step as the rules see it; none if it is a client's.
    fn seen<'a>(step: &StepView<'a, Party>, sends: &'a [(Id, Msg)]) -> Option<Seen<'a>> {
        Some(Seen {
            node: step.node.into(),
            input: step.input,
            before: step.before.replica()?,
            stored_before: step.stored_before,
            after: step.after.replica()?,
            stored_after: step.stored_after,
            sends,
        })
    }

    /// A step of a path as the rules see it; none if it is a client's.
    pub(super) fn seen_of_path<'a>(step: &'a StepRecord<Party>, sends: &'a [(Id, Msg)]) -> Option<Seen<'a>> {
        Some(Seen {
            node: step.node.into(),
            input: &step.input,
            before: step.before.state.replica()?,
            stored_before: &step.before.stored,
            after: step.after.state.replica()?,
            stored_after: &step.after.stored,
            sends,
        })
    }

    /// The rules that a step breaks, each with the reason.
    pub fn reasons(&self, record: &Record, step: &StepRecord<Party>) -> Vec<(Rule, String)> {
        let sends: Vec<_> = step.sends.iter().map(|(dst, message, _)| (*dst, message.clone())).collect();
        let Some(seen) = Self::seen_of_path(step, &sends) else { return Vec::new() };
        let mut reasons = self.judge.broken_anyway(&seen);
        reasons.extend(self.judge.observe(record, &Effect::of(&seen)).1);
        reasons
    }

    /// Why a leader would not emerge, or not serve, or not stay, from the states of the replicas in `view`.
    pub fn no_progress(&self, view: &View<'_, Party, Referee>) -> Option<String> {
        let frozen = self.frozen(view);
        self.scope.progress.iter().find_map(|links| {
            links.nodes().find_map(|first| progress::tell(&self.schedules, &frozen, links, first.into()))
        })
    }

    /// Whether a leader emerges over each set of links, whoever times out first. The verdict depends on the replicas that
    /// take part alone, and is remembered for these.
    fn makes_progress(&self, view: &View<'_, Party, Referee>) -> bool {
        let frozen = OnceCell::new();
        self.scope.progress.iter().enumerate().all(|(index, links)| {
            let numbers = links.nodes().map(|node| view.local_number(node.into())).collect();
            let key = (index, numbers);
            if let Some(known) = self.progress.get(&key) {
                return *known;
            }
            let frozen = frozen.get_or_init(|| self.frozen(view));
            let holds =
                links.nodes().all(|first| progress::check(&self.schedules, frozen, links, first.into()).is_ok());
            self.progress.insert(key, holds);
            holds
        })
    }

    /// What is amiss with the timers of a replica, in words.
    pub fn timer_amiss(view: &View<'_, Party, Referee>) -> Option<String> {
        view.locals().find_map(|local| Some(format!("at node {}, {}", local.node, Self::timer_amiss_at(local)?)))
    }

    fn timer_amiss_at(local: &Local<Party>) -> Option<String> {
        timers::amiss(local.state.replica()?, &local.timers)
    }

    /// The clause of the proved invariant that does not hold of what is told together on a topic.
    pub fn clause_broken<'a>(&self, topic: Topic, facts: impl Iterator<Item = &'a Facts>) -> Option<&'static str> {
        invariant::broken(&self.judge.configuration, self.judge.collapse, topic, facts)
    }

    fn frozen(&self, view: &View<'_, Party, Referee>) -> BTreeMap<Id, Frozen> {
        let frozen = |local: &Local<Party>| {
            let state = local.state.replica()?.clone();
            Some((local.node.into(), Frozen::new(&self.schedules, state, local.timers.clone())))
        };
        view.locals().filter_map(frozen).collect()
    }
}

fn telling(told: Vec<Told>) -> Vec<Telling<Topic, Facts>> {
    let part = |alone| if alone { Part::Asked } else { Part::Given };
    let told = told.into_iter();
    told.map(|Told { topic, alone, of, facts }| Telling { topic, part: part(alone), hinge: of, facts }).collect()
}

fn mask(broken: &[(Rule, String)]) -> u32 {
    broken.iter().fold(0, |mask, (rule, _)| mask | rule.bit())
}

impl Ghost<Party> for Referee {
    type Record = Record;
    type Effect = Effect;
    type Topic = Topic;
    type Facts = Facts;

    fn initial(&self) -> Record {
        Record::new(self.judge.collapse)
    }

    fn effect(&self, step: &StepView<'_, Party>) -> Option<Effect> {
        if step.first {
            return None;
        }
        let sends: Vec<_> = step.sends.iter().map(|(dst, message)| (*dst, (*message).clone())).collect();
        Some(Effect::of(&Self::seen(step, &sends)?)).filter(|effect| !effect.is_nothing())
    }

    fn observe(&self, record: &Record, effect: &Effect) -> Observed<Record> {
        let (after, broken) = self.judge.observe(record, effect);
        Observed { record: (after != *record).then_some(after), broken: mask(&broken) }
    }

    fn breaks(&self, step: &StepView<'_, Party>) -> u32 {
        if step.first {
            return 0;
        }
        let sends: Vec<_> = step.sends.iter().map(|(dst, message)| (*dst, (*message).clone())).collect();
        Self::seen(step, &sends).map_or(0, |seen| mask(&self.judge.broken_anyway(&seen)))
    }

    fn cost(&self, step: &StepView<'_, Party>) -> Cost {
        let PartyState::Replica(after) = step.after else { return Cost::Free };
        let PartyState::Replica(before) = step.before else { return Cost::Free };
        if let Input::Timeout(timer) = step.input
            && !self.scope.timers.allow(timer, matches!(before.role, Role::Leading(_)))
        {
            return Cost::Forbidden;
        }
        let wants_to_lead =
            matches!(step.input, Input::Timeout(Timer::Election)) && !matches!(before.role, Role::Leading(_));
        if wants_to_lead && self.scope.elections[step.node] == 0 {
            return Cost::Forbidden;
        }
        let beyond = |message: &Msg| matches!(message, Message::Accept { slot, .. } if *slot >= self.scope.slots);
        if step.sends.iter().any(|(_, message)| beyond(message)) {
            return Cost::Forbidden;
        }
        let batches = |count: usize| count.div_ceil(self.scope.options.batch_max) as u64;
        let overfull = |leader: &Leader<_>| leader.next + batches(leader.queue.len()) > self.scope.slots;
        if !self.scope.overfull && matches!(&after.role, Role::Leading(leader) if overfull(leader)) {
            return Cost::Forbidden;
        }
        if matches!(&after.role, Role::Leading(leader) if leader.round > self.scope.rounds) {
            return Cost::Forbidden;
        }
        let begun = after.durable.promised;
        if begun != before.durable.promised && usize::from(begun.node) == step.node {
            return Cost::Counter(step.node);
        }
        Cost::Free
    }

    fn rules(&self) -> Vec<engine::Rule> {
        Rule::ALL.iter().map(|rule| engine::Rule { name: rule.name(), bit: rule.bit() }).collect()
    }

    fn predicates(&self) -> Vec<Predicate> {
        let witness = |witness: &Witness| {
            let (name, depends, _) = WITNESS_RULES[*witness as usize];
            Predicate { name, expectation: Expectation::Sometimes, depends }
        };
        let always = |name, depends| Predicate { name, expectation: Expectation::Always, depends };
        let mut all: Vec<Predicate> = self.scope.witnesses.iter().map(witness).collect();
        all.push(always("timers-set", Depends::Each));
        if !self.scope.progress.is_empty() {
            all.push(always("progress", Depends::Locals));
        }
        all.push(always(INDUCTIVE_INVARIANT, Depends::Facts));
        all
    }

    fn evaluate(&self, index: usize, view: &View<'_, Party, Self>) -> bool {
        match self.scope.witnesses.get(index) {
            Some(witness) => WITNESS_RULES[*witness as usize].2(view, &self.scope),
            None => self.makes_progress(view),
        }
    }

    fn facts_of_node(
        &self,
        node: usize,
        state: &PartyState,
        stored: &Option<Stored<Audit>>,
    ) -> Vec<Telling<Topic, Facts>> {
        let replica = state.replica();
        telling(replica.map_or_else(Vec::new, |state| Facts::of_replica(node.into(), state, &stored_or_empty(stored))))
    }

    fn facts_of_message(&self, src: Id, message: &Msg) -> Vec<Telling<Topic, Facts>> {
        telling(Facts::of_message(&self.judge.configuration, src, message))
    }

    fn facts_of_record(&self, record: &Record) -> Vec<Telling<Topic, Facts>> {
        telling(Facts::of_record(&self.judge.configuration, record))
    }

    fn hinges(&self, record: &Record) -> Vec<u64> {
        invariant::forgotten(self.judge.collapse, record)
    }

    fn bears(&self, told: &Telling<Topic, Facts>, given: &Facts) -> bool {
        told.facts.bears(told.topic, told.part == Part::Asked, given)
    }

    fn evaluate_facts<'a>(&self, _: usize, topic: Topic, facts: impl Iterator<Item = &'a Facts>) -> bool {
        self.clause_broken(topic, facts).is_none()
    }

    fn evaluate_at(&self, _: usize, local: &Local<Party>) -> bool {
        Self::timer_amiss_at(local).is_none()
    }

    fn tell_message(&self, message: &Msg) -> String {
        words::message::<Audit>(message)
    }

    fn tell_timer(&self, timer: &Timer) -> String {
        words::timer(timer)
    }

    fn tell_local(&self, local: &Local<Party>) -> Vec<(String, String)> {
        words::local(&local.state, &local.stored, &local.timers)
    }

    fn tell_record(&self, record: &Record) -> Vec<(String, String)> {
        words::record(record)
    }
}

impl Beginning {
    /// As the engine takes it.
    pub fn into_engine(self) -> engine::Beginning<Party, Record> {
        engine::Beginning {
            locals: self
                .seats
                .into_iter()
                .map(|seat| (seat.state, seat.stored, seat.timers.into_iter().collect()))
                .collect(),
            record: self.record,
            network: self.network,
        }
    }
}

#[cfg(test)]
mod tests;
