//! Judges each step of a scope, and keeps the ghost record.

use super::answers;
use super::audit::{Audit, Tagged};
use super::bounds;
use super::effect::Effect;
use super::party::{Item, Want, item_of};
use super::record::Record;
use super::sequential::{Op, Ret};
use super::sessions;
use super::step::{self, Looks, Seen};
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::{Act, Done, Message, Operation, Outcome, Uncertainty};
use paxos_model::replica::{Options, Replica};
use stateright::actor::Id;
use std::collections::BTreeMap;

/// A rule judged on steps; its bit in the mask of rules that a step broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Rule {
    /// At most one value is chosen in a slot.
    Agreement,
    /// What a replica decides is chosen.
    DecidedIsChosen,
    /// Only what a client asked for, or an opening by a node, is decided.
    Validity,
    /// No acceptor goes back on a promise or a vote; none is announced that is not stored.
    PromisesKept,
    /// In one ballot one value is voted for in a slot.
    OneValueABallot,
    /// The same slot gives the same applied state.
    Prefix,
    /// One order of the operations explains all answers.
    Linearizable,
    /// No command is applied twice, and every answer to one operation is the same.
    ExactlyOnce,
    /// A refused command is applied nowhere, ever.
    RefusedIsNeverApplied,
    /// A node's local reads never go back.
    LocalReadsNeverGoBack,
    /// Each attempt that a node takes is answered once, unless the node crashes.
    OneAnswer,
    /// An answer is one to what was asked, and unknown only where it may be.
    AnswersFit,
    /// Which sessions are open, and what each has done, is what the log tells.
    Sessions,
    /// Whatever is limited keeps its limit.
    Bounded,
    /// The same prepare or accept gets the same answer, and changes nothing the second time.
    SameAnswerAgain,
    /// A timer is set for as long as it should last.
    TimersAsLong,
    /// Snapshots are taken where they should be, kept as long as they are needed, and are what was applied.
    Snapshots,
    /// Each step is a few steps of the abstract protocol, or none.
    RefinesSpec,
}

impl Rule {
    /// All, in the order of their bits.
    pub const ALL: [Rule; 18] = [
        Rule::Agreement,
        Rule::DecidedIsChosen,
        Rule::Validity,
        Rule::PromisesKept,
        Rule::OneValueABallot,
        Rule::Prefix,
        Rule::Linearizable,
        Rule::ExactlyOnce,
        Rule::RefusedIsNeverApplied,
        Rule::LocalReadsNeverGoBack,
        Rule::OneAnswer,
        Rule::AnswersFit,
        Rule::Sessions,
        Rule::Bounded,
        Rule::SameAnswerAgain,
        Rule::TimersAsLong,
        Rule::Snapshots,
        Rule::RefinesSpec,
    ];

    /// The name of the property.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Agreement => "agreement",
            Rule::DecidedIsChosen => "decided-is-chosen",
            Rule::Validity => "validity",
            Rule::PromisesKept => "promises-kept",
            Rule::OneValueABallot => "one-value-a-ballot",
            Rule::Prefix => "prefix",
            Rule::Linearizable => "linearizable",
            Rule::ExactlyOnce => "exactly-once",
            Rule::RefusedIsNeverApplied => "refused-is-never-applied",
            Rule::LocalReadsNeverGoBack => "local-reads-never-go-back",
            Rule::OneAnswer => "one-answer",
            Rule::AnswersFit => "answers-fit",
            Rule::Sessions => "sessions",
            Rule::Bounded => "bounded",
            Rule::SameAnswerAgain => "same-answer-again",
            Rule::TimersAsLong => "timers-as-long",
            Rule::Snapshots => "snapshots",
            Rule::RefinesSpec => "refines-spec",
        }
    }

    /// Its bit.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The judge of a scope.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The replica, as it ships.
    pub replica: Replica<Audit>,
    /// The members, and the limits on sessions.
    pub configuration: Configuration,
    /// The other limits.
    pub options: Options,
    /// The scripts of the clients.
    pub scripts: BTreeMap<Id, Vec<Item>>,
    /// Operations that sources put into the network.
    pub operations: Vec<Operation<Tagged>>,
    /// Whether any client reads locally.
    pub reads_locally: bool,
    /// Whether votes for chosen values, and proposals of them, are forgotten.
    pub collapse: bool,
}

impl Judge {
    /// The record after a step of that effect, and the rules that the step broke by what is recorded, each with the reason. What
    /// it breaks anyway is [`Judge::broken_anyway`].
    pub fn observe(&self, record: &Record, effect: &Effect) -> (Record, Vec<(Rule, String)>) {
        let mut record = record.clone();
        let mut broken = Vec::new();
        self.observe_replica(&mut record, effect, &mut broken);
        (record, broken)
    }

    /// The rules that a step breaks whatever happened before it, each with the reason.
    pub fn broken_anyway(&self, seen: &Seen<'_>) -> Vec<(Rule, String)> {
        step::broken_anyway(&self.replica, &self.configuration, seen, Looks::Everywhere)
    }

    fn observe_replica(&self, record: &mut Record, effect: &Effect, broken: &mut Vec<(Rule, String)>) {
        for (slot, ballot, entry) in &effect.votes {
            let entry = entry.as_ref().expect("the entry that was voted for is in the log");
            if !record.vote(effect.node, *slot, *ballot, entry, &self.configuration) {
                broken.push((
                    Rule::OneValueABallot,
                    format!("slot {slot}, ballot {ballot}: {entry:?} is a second value"),
                ));
            }
        }
        for (slot, ballot, entry) in &effect.proposed {
            record.propose(*slot, *ballot, entry);
        }
        if record.disagrees() {
            broken.push((Rule::Agreement, format!("chosen: {:?}", record.chosen)));
        }
        for (slot, entry) in &effect.decided {
            let Some(entry) = entry else {
                if record.decided(*slot).is_none() {
                    broken.push((Rule::DecidedIsChosen, format!("passes over slot {slot}, where nothing is chosen")));
                }
                continue;
            };
            if !record.chosen.get(slot).is_some_and(|values| values.contains(entry)) {
                broken.push((
                    Rule::DecidedIsChosen,
                    format!("decides {entry:?} in slot {slot}, which no quorum voted for"),
                ));
            }
            if let Some(operation) = entry.operations().iter().find(|operation| !self.asked_for(operation)) {
                broken.push((Rule::Validity, format!("slot {slot} holds {operation:?}, which nobody asked for")));
            }
        }
        self.observe_applied(record, effect, broken);
        self.observe_clients(record, effect, broken);
        if let Some(tag) = record.refused.intersection(&record.performed).next() {
            broken.push((Rule::RefusedIsNeverApplied, format!("the command with tag {tag} was refused, and applied")));
        }
        if let Some(why) = bounds::beyond_window(&self.options, record, effect.proposed.iter().map(|(slot, ..)| *slot))
        {
            broken.push((Rule::Bounded, why));
        }
    }

    fn asked_for(&self, operation: &Operation<Tagged>) -> bool {
        match operation {
            Operation::Open { node, .. } => self.configuration.members.contains_key(node),
            Operation::InSession { id, by_node, acknowledged_below, act } => {
                // A scripted client has all answers below the number of what it asks for.
                let as_sent = *by_node || *acknowledged_below == id.sequence;
                self.operations.contains(operation)
                    || self.scripts.values().flatten().any(|item| match (&item.want, act) {
                        (Want::Session, Act::OpenSession) | (Want::Expire(_), Act::ExpireSession(_)) => as_sent,
                        (Want::ExpireUnused(wanted), Act::ExpireUnused(slot)) => wanted == slot && as_sent,
                        (Want::Command(wanted), Act::Apply(command)) => wanted == command && as_sent,
                        (Want::Named(name, wanted), Act::Apply(command)) => {
                            wanted == command && name == id && !by_node && *acknowledged_below == 1
                        }
                        _ => false,
                    })
            }
        }
    }

    fn observe_applied(&self, record: &mut Record, effect: &Effect, broken: &mut Vec<(Rule, String)>) {
        for (digest, executor) in &effect.applied {
            let known = record.applied.get(&executor.applied).copied();
            if known.is_none() {
                record.applied.insert(executor.applied, *digest);
                let log = (0..executor.applied).filter_map(|slot| record.decided(slot).map(|entry| (slot, entry)));
                if let Some(why) = sessions::broken(log, executor, &self.configuration) {
                    broken.push((Rule::Sessions, why));
                }
            }
            if known.is_some_and(|known| known != *digest) {
                broken
                    .push((Rule::Prefix, format!("{} slots gave another state on another replica", executor.applied)));
            }
        }
        for (tag, count) in &effect.counts {
            record.performed.insert(*tag);
            if *count > 1 {
                broken.push((
                    Rule::ExactlyOnce,
                    format!("the command with tag {tag} was applied {count} times at {:?}", effect.node),
                ));
            }
        }
    }

    fn observe_clients(&self, record: &mut Record, effect: &Effect, broken: &mut Vec<(Rule, String)>) {
        if let Some((client, number)) = effect.asked
            && let Some(item) = self.item(client, item_of(number))
        {
            record.invoke(client, item_of(number), number, operation(item));
        }
        if let Some(answering) = &effect.answering {
            self.observe_answers(record, &answering.seen(), broken);
        }
        // Of what is not written to now it was asked when it was.
        let is_written = effect.asked.is_some() || effect.answering.is_some();
        if is_written && !record.is_linearizable() {
            broken.push((Rule::Linearizable, format!("no order explains {:?}", record.history)));
        }
    }

    fn observe_answers(&self, record: &mut Record, seen: &Seen<'_>, broken: &mut Vec<(Rule, String)>) {
        for (client, message) in seen.sends {
            let Message::Reply { number, outcome } = message else {
                continue;
            };
            let index = item_of(*number);
            let Some(item) = self.item(*client, index) else {
                broken.push((Rule::AnswersFit, format!("{client:?} is told {outcome:?} and did not ask")));
                continue;
            };
            let (rules, states) = ((&self.configuration, &*record), (seen.before, seen.after));
            if let Some(why) = answers::misfit(rules, seen, states, (*client, *number), item, outcome) {
                broken.push((Rule::AnswersFit, why));
            }
            self.observe_reply(record, (*client, index, *number), item, outcome, seen, broken);
        }
    }

    fn observe_reply(
        &self,
        record: &mut Record,
        (client, index, number): (Id, usize, u64),
        item: &Item,
        outcome: &Outcome<paxos_model::kv::Reply, paxos_model::kv::Answer>,
        seen: &Seen<'_>,
        broken: &mut Vec<(Rule, String)>,
    ) {
        let in_history = operation(item).is_some();
        let ret = match outcome {
            Outcome::Done(Done::Applied(reply)) => Some(Ret::Reply(reply.clone())),
            Outcome::Done(Done::Opened(session)) => Some(Ret::Session(*session)),
            Outcome::Done(Done::Expired) => None,
            Outcome::Answer { applied, answer } => {
                // Only where somebody reads locally is it of interest what was shown before.
                if self.reads_locally {
                    let shown = record.shown.entry(seen.node).or_default();
                    if applied < shown {
                        let why = format!("{:?} shows {applied} slots after it showed {shown}", seen.node);
                        broken.push((Rule::LocalReadsNeverGoBack, why));
                    }
                    *shown = *applied;
                }
                Some(Ret::Answer(answer.clone()))
            }
            Outcome::Refused(_) => {
                let progress = record.operations.entry((client, index)).or_default();
                if !progress.open.remove(&number) {
                    broken.push((Rule::OneAnswer, format!("attempt {number} of {client:?} is answered twice")));
                }
                progress.refused.insert(number);
                // An attempt that was not refused may be on its way, or still come: then the operation may yet be done.
                if progress.refused.len() == item.nodes.len() && !progress.returned {
                    if let Want::Command(command) | Want::Named(_, command) = &item.want {
                        record.refused.insert(command.tag);
                    }
                    record.answer(client, index, Ret::Refused, in_history);
                }
                return;
            }
            Outcome::Unknown(why) => {
                if *why == Uncertainty::Superseded {
                    record.operations.entry((client, index)).or_default().refused.insert(number);
                }
                return;
            }
        };
        if let Some(ret) = ret {
            let progress = record.operations.entry((client, index)).or_default();
            if progress.done.as_ref().is_some_and(|done| *done != ret) && matches!(ret, Ret::Reply(_) | Ret::Session(_))
            {
                broken.push((Rule::ExactlyOnce, format!("{client:?} is told {ret:?} after {:?}", progress.done)));
            }
            record.answer(client, index, ret, in_history);
        }
    }

    fn item(&self, client: Id, index: usize) -> Option<&Item> {
        self.scripts.get(&client)?.get(index)
    }
}

/// The operation as the history knows it; sessions and local reads are judged by other rules.
fn operation(item: &Item) -> Option<Op> {
    match &item.want {
        Want::Command(command) | Want::Named(_, command) => Some(Op::Command(command.command.clone())),
        Want::Read(query) => Some(Op::Query(query.clone())),
        Want::Session | Want::Expire(_) | Want::ExpireUnused(_) | Want::LocalRead(_) => None,
    }
}
