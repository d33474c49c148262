//! One step of a replica, and the rules that it keeps whatever happened before: of every machine, so that the steps of a scope and those
//! that a deployed node recorded are judged by the same lines.

use super::audit::{self, Audit, Tagged};
use super::judge::Rule;
use super::party::Stored;
use super::transition::{self, ReplicaStep, stored_or_empty};
use super::{again, answers, bounds, refines, snapshots, timers};
use paxos_model::kv::{self, Kv, Written};
use paxos_model::machine::StateMachine;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::MessageOf;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;

/// A machine whose bounds are judged: the keys and values in something, in bytes, counted by somebody else than the machine.
pub trait Judged: StateMachine {
    /// In a command.
    fn text(command: &Self::Command) -> usize;

    /// In an item at its place.
    fn item_text(place: &Self::Place, item: &Self::Item) -> usize;

    /// In a reply.
    fn reply_text(reply: &Self::Reply) -> usize;
}

impl Judged for Kv {
    fn text(command: &kv::Command) -> usize {
        match command {
            kv::Command::Write { puts, .. } => puts.iter().map(|put| put.key.len() + put.val.len()).sum(),
            kv::Command::Collect { .. } | kv::Command::RaiseFloor { .. } => 0,
        }
    }

    fn item_text(place: &kv::Place, item: &kv::Versioned) -> usize {
        match place {
            kv::Place::Key(key) => key.len() + item.val.len(),
            kv::Place::Floor => 1,
        }
    }

    fn reply_text(reply: &kv::Reply) -> usize {
        let written =
            |(Written::Applied(entry) | Written::Conflict(entry)): &Written| entry.key.len() + entry.val.len();
        match reply {
            kv::Reply::Written(all) => all.iter().map(written).sum(),
            _ => 1,
        }
    }
}

impl Judged for Audit {
    fn text(command: &Tagged) -> usize {
        Kv::text(&command.command)
    }

    fn item_text(place: &audit::Place, item: &audit::Item) -> usize {
        match (place, item) {
            (audit::Place::Kv(place), audit::Item::Kv(item)) => Kv::item_text(place, item),
            _ => 1,
        }
    }

    fn reply_text(reply: &kv::Reply) -> usize {
        Kv::reply_text(reply)
    }
}

/// One step of one replica.
pub struct Seen<'a, S: StateMachine = Audit> {
    /// Who.
    pub node: Id,
    /// What it took in.
    pub input: &'a Input<MessageOf<S>, Timer>,
    /// Its state before.
    pub before: &'a State<S>,
    /// What it had stored before.
    pub stored_before: &'a Option<Stored<S>>,
    /// Its state after.
    pub after: &'a State<S>,
    /// What it has stored after.
    pub stored_after: &'a Option<Stored<S>>,
    /// What it sends.
    pub sends: &'a [(Id, MessageOf<S>)],
}

impl<S: StateMachine> Seen<'_, S> {
    /// The message that it took in, with its sender.
    pub fn delivered(&self) -> Option<(Id, &MessageOf<S>)> {
        match self.input {
            Input::Deliver { src, msg } => Some((*src, msg)),
            Input::Start | Input::Timeout(_) => None,
        }
    }

    /// Whether it was started anew.
    pub fn is_restart(&self) -> bool {
        *self.input == Input::Start
    }
}

/// How much of a replica is looked at after each of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// All of it: the states of a scope are small.
    Everywhere,
    /// Where the step may have changed something: the log and the keys of a deployed node are too many. That no decision which is stored
    /// changes is asked all the same, by `promises-kept`. Not asked is whether the state could be cut anywhere, and what a member has of a
    /// snapshot is counted again only when it is sent something.
    AtWhatChanges,
}

/// What a step does against the promises and votes that its replica has stored, or that nobody asked of it.
pub fn breaks_promises<S: Judged>(seen: &Seen<'_, S>) -> Option<String> {
    let (before, after) = (stored_or_empty(seen.stored_before), stored_or_empty(seen.stored_after));
    let step = ReplicaStep { node: seen.node, before: &before, after: &after, state: seen.after, sends: seen.sends };
    transition::broken(&step).or_else(|| transition::heeds_another_ballot(seen, seen.before))
}

/// The rules that a step breaks whatever happened before it, each with the reason.
pub fn broken_anyway<S: Judged>(
    replica: &Replica<S>,
    configuration: &Configuration,
    seen: &Seen<'_, S>,
    looks: Looks,
) -> Vec<(Rule, String)> {
    let (before, after, options) = (seen.before, seen.after, &replica.options);
    let found = [
        (Rule::PromisesKept, breaks_promises(seen)),
        (
            Rule::OneAnswer,
            answers::miscounted(seen, before, after)
                .or_else(|| answers::overdue(seen, after))
                .or_else(|| answers::known(seen.node, after))
                .or_else(|| answers::reads_starve(seen, after)),
        ),
        (
            Rule::AnswersFit,
            answers::forgets_hand_on(seen, before, after).or_else(|| answers::imagines_hand_on(seen, before, after)),
        ),
        (Rule::ExactlyOnce, answers::numbers_fall(seen, before, after)),
        (Rule::TimersAsLong, timers::otherwise_long(replica, seen)),
        (Rule::Bounded, bounds::broken((options, configuration), seen, after)),
        (Rule::Snapshots, snapshots::broken(options, seen, before, after, looks)),
        (Rule::RefinesSpec, refines::broken(configuration, seen, looks)),
        (Rule::SameAnswerAgain, again::answered_otherwise(replica, seen, after)),
    ];
    found.into_iter().filter_map(|(rule, why)| why.map(|why| (rule, why))).collect()
}
