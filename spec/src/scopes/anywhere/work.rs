//! The same states in the midst of something that no clause speaks of.

use super::messages::{CLIENT, requests, round_of};
use super::states::{Bounds, Local, NODES, with_queue};
use crate::properties::audit::Audit;
use crate::properties::transition::stored_or_empty;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::leader::Leader;
use paxos_model::replica::message::Message;
use paxos_model::replica::snapshot::Arriving;
use paxos_model::replica::{Replica, Role, State, Timer};
use paxos_model::trace::{self, Input};
use stateright::actor::{Command as Output, Id};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Of each of these, all that differ in one thing that no clause speaks of, and that handlers look at: whether it fetches, what it was outbid by,
/// what of a snapshot has arrived, whom a leader heard, whether it has something to propose, and what it does for clients and other members.
pub(super) fn at_work(replica: &Replica<Audit>, bounds: &Bounds, node: Id, at_rest: &[Local]) -> Vec<Local> {
    let others: BTreeSet<Id> = (0..NODES).map(Id::from).filter(|other| *other != node).collect();
    let other = *others.first().expect("it is not alone");
    let heard = [BTreeSet::new(), BTreeSet::from([other]), (0..NODES).map(Id::from).collect()];
    let mut all = Vec::new();
    for (state, stored) in at_rest {
        all.extend(asked(replica, node, other, (state, stored)));
        let mut add = |state: State<Audit>| all.push((state, stored.clone()));
        add(State { fetching: true, ..state.clone() });
        bounds.ballots.iter().for_each(|outbid| add(State { outbid: *outbid, ..state.clone() }));
        if let Role::Leading(leader) = &state.role {
            let mut lead = |leader| add(State { role: Role::Leading(leader), ..state.clone() });
            for contacts in heard.iter().filter(|contacts| **contacts != leader.contacts) {
                lead(Leader { contacts: contacts.clone(), ..leader.clone() });
            }
            if leader.queue.is_empty() {
                lead(with_queue(leader.clone()));
            }
        }
        for slot in state.durable.decided + 1..=2 {
            let executor = Executor { applied: slot, ..Executor::default() };
            let arriving = Some(Arriving { executor, after: None });
            let memory = Durable { arriving: arriving.clone(), ..(*state.durable).clone() };
            let state = State { durable: Arc::new(memory), ..state.clone() };
            let stored = Durable { arriving, ..stored.clone() };
            // From whom is not known after a restart; who sent it is asked every other time, until it was silent for long.
            let stalled = if slot == 1 { replica.options.source_patience } else { 1 };
            all.push((State { source: Some(other), stalled, ..state.clone() }, stored.clone()));
            all.push((state, stored));
        }
    }
    all
}

/// What this state becomes when somebody asked, and it was handed on: a client for two writes and a read, or another member that hands on a read, or
/// lacks what is truncated. Only where that is another state.
fn asked(
    replica: &Replica<Audit>,
    node: Id,
    other: Id,
    (state, stored): (&State<Audit>, &Durable<Audit>),
) -> Vec<Local> {
    let deliver = |src, msg| Input::Deliver { src, msg };
    let asks = requests().map(|request| deliver(CLIENT.into(), request)).to_vec();
    let read = vec![deliver(other, Message::ReadIndex { read: round_of(other), relayed: true })];
    let fetch = vec![deliver(other, Message::Fetch { from: 0, arriving: None })];
    let mut all = Vec::new();
    for inputs in [asks, read, fetch] {
        let (mut now, mut saved) = (state.clone(), Some(Arc::new(stored.clone())));
        for input in inputs.into_iter().chain([Input::Timeout(Timer::Flush)]) {
            let run = || trace::step(replica, node, Some(&now), &saved, &input);
            // What panics is among what comes next.
            let Ok(step) = catch_unwind(AssertUnwindSafe(run)) else { break };
            now = step.state.unwrap_or(now);
            saved = step.outputs.into_iter().fold(saved, |saved, output| match output {
                Output::Save(value) => Some(value),
                _ => saved,
            });
        }
        if now != *state {
            all.push((now, (*stored_or_empty(&saved)).clone()));
        }
    }
    all
}
