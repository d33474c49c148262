//! `one-answer` and `answers-fit`: what a node tells its clients, judged on each step of it.

use super::audit::{Audit, Tagged};
use super::party::{Item, Want};
use super::record::Record;
use super::step::{Judged, Seen};
use paxos_model::kv::{Answer, Query, Reply};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::gateway::{NodeSession, PendingWrite};
use paxos_model::replica::message::{
    Act, Done, Message, Operation, OperationId, OperationKey, Outcome, Refusal, Request, SessionId, Uncertainty,
};
use paxos_model::replica::{Role, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;

/// A leader that gathers what waits has begun a round for the reads, unless one is on its way: also while it can propose nothing.
pub fn reads_starve<S: Judged>(seen: &Seen<'_, S>, after: &State<S>) -> Option<String> {
    let Role::Leading(leader) = &after.role else { return None };
    let flushed = *seen.input == Input::Timeout(Timer::Flush);
    (flushed && !leader.reads.is_empty() && leader.rounds.is_empty())
        .then(|| format!("{} reads wait, and no round is begun", leader.reads.len()))
}

/// Whoever waits at a node: client, and its number for the request.
fn waiting<S: Judged>(state: &State<S>) -> impl Iterator<Item = (Id, u64)> {
    let gateway = &state.gateway;
    let clients = gateway.writes.values().map(|write| write.client);
    clients.chain(gateway.reads.values().map(|read| read.client)).map(|client| (client.id, client.number))
}

/// Every request that a node takes waits there or is answered, once; a crash alone ends the wait without an answer.
pub fn miscounted<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    let mut due: Vec<(Id, u64)> = if seen.is_restart() { Vec::new() } else { waiting(before).collect() };
    if let Some((client, Message::Request { number, .. })) = seen.delivered() {
        due.push((client, *number));
    }
    let replies = seen.sends.iter().filter_map(|(client, message)| match message {
        Message::Reply { number, .. } => Some((*client, *number)),
        _ => None,
    });
    let mut had: Vec<(Id, u64)> = waiting(after).chain(replies).collect();
    due.sort_unstable();
    had.sort_unstable();
    (due != had).then(|| format!("due an answer were {due:?}; answered or still waiting are {had:?}"))
}

/// Nobody waits for what is known to be done.
pub fn known<S: Judged>(node: Id, state: &State<S>) -> Option<String> {
    let (gateway, executor) = (&state.gateway, &state.executor);
    let done = |(id, by_node): &&(OperationId, bool)| {
        let session = executor.sessions.get(&id.session);
        session.is_some_and(|session| session.owner.is_some() == *by_node && session.done.contains_key(&id.sequence))
    };
    if let Some((id, _)) = gateway.named.keys().find(done) {
        return Some(format!("somebody waits for {id:?}, which is done"));
    }
    let mine = gateway.incarnation.map(|life| (node, life));
    let open = executor.sessions.values().any(|session| session.owner.is_some() && session.owner == mine);
    (open && gateway.session == NodeSession::Opening).then(|| "the node waits for its session, which is open".into())
}

/// When the time of a request is up it does not wait on.
pub fn overdue<S: Judged>(seen: &Seen<'_, S>, after: &State<S>) -> Option<String> {
    let Input::Timeout(Timer::Deadline(number)) = seen.input else { return None };
    let waits = after.gateway.writes.contains_key(number) || after.gateway.reads.contains_key(number);
    waits.then(|| format!("the time of request {number} is up, and it still waits"))
}

/// A node knows which of its requests it has handed on: what it sent, or queued as leader, it takes for handed on, and so does
/// a later attempt at the same operation. Only then can it tell a refusal, which is certain, from an unknown outcome.
pub fn forgets_hand_on<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    let relays = matches!(seen.delivered(), Some((_, Message::Forward { .. })));
    let sent = seen.sends.iter().filter_map(|(_, message)| match message {
        Message::Forward { operations, .. } if !relays => Some(operations.iter().map(Operation::key)),
        _ => None,
    });
    let queued = |state: &State<S>| match &state.role {
        Role::Leading(leader) => leader.queue.iter().map(Operation::key).collect(),
        _ => Vec::new(),
    };
    let earlier = if seen.is_restart() { Vec::new() } else { queued(before) };
    let newly = queued(after).into_iter().filter(|key| !earlier.contains(key));
    let by_request: Vec<OperationKey> = if relays { Vec::new() } else { sent.flatten().chain(newly).collect() };
    let inherited = before.gateway.writes.values().filter(|write| write.handed_on && !seen.is_restart());
    let inherited = inherited.filter_map(|write| write.id.map(|(id, _)| OperationKey::InSession(id, write.by_node)));
    let handed_on: Vec<OperationKey> = by_request.into_iter().chain(inherited).collect();
    let forgotten = after.gateway.writes.values().find(|write| {
        let key = write.id.map(|(id, _)| OperationKey::InSession(id, write.by_node));
        !write.handed_on && key.is_some_and(|key| handed_on.contains(&key))
    })?;
    Some(format!("{:?} was handed on, and the node takes it for not", forgotten.id))
}

/// A node takes nothing for handed on that it did not hand on, or refusals that are certain would be told as unknown.
pub fn imagines_hand_on<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    if matches!(after.role, Role::Leading(_)) {
        return None;
    }
    let key = |write: &PendingWrite<S>| write.id.map(|(id, _)| OperationKey::InSession(id, write.by_node));
    let was = |now: &PendingWrite<S>| {
        before.gateway.writes.values().any(|write| write.handed_on && key(write).is_some() && key(write) == key(now))
    };
    let sent = |now: &PendingWrite<S>| {
        seen.sends.iter().any(|(_, message)| match message {
            Message::Forward { operations, .. } => operations.iter().any(|operation| Some(operation.key()) == key(now)),
            _ => false,
        })
    };
    let imagined = after.gateway.writes.values().find(|write| write.handed_on && !was(write) && !sent(write))?;
    Some(format!("{:?} is taken for handed on, and was not", imagined.id))
}

/// The numbers that a node gives out in its session only rise.
pub fn numbers_fall<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    match (before.gateway.session, after.gateway.session) {
        (NodeSession::Open(session, next), NodeSession::Open(later, number))
            if session == later && number < next && !seen.is_restart() =>
        {
            Some(format!("the next number in {session:?} falls from {next} to {number}"))
        }
        _ => None,
    }
}

/// The name of the operation by which a client's request is done, and whether it is in the node's own session.
fn named(seen: &Seen<'_>, before: &State<Audit>, client: Id, attempt: u64) -> Option<(Option<OperationId>, bool)> {
    if let Some((src, Message::Request { number, request: Request::Write { session, .. }, .. })) = seen.delivered()
        && (src, *number) == (client, attempt)
    {
        return Some((session.map(|(id, _)| id), session.is_none()));
    }
    let write = before.gateway.writes.values().find(|w| (w.client.id, w.client.number) == (client, attempt))?;
    Some((write.id.map(|(id, _)| id), write.by_node))
}

/// Why an answer is not one to what was asked, in words.
pub fn misfit(
    (rules, record): (&Configuration, &Record),
    seen: &Seen<'_>,
    (before, after): (&State<Audit>, &State<Audit>),
    (client, attempt): (Id, u64),
    item: &Item,
    outcome: &Outcome<Reply, Answer>,
) -> Option<String> {
    let write = named(seen, before, client, attempt);
    let fits = match (&item.want, outcome, write) {
        (Want::Read(query) | Want::LocalRead(query), Outcome::Answer { applied, answer }, None) => {
            answer_at((rules, record), (before, after), *applied, query).as_ref() == Some(answer)
        }
        (Want::Read(_) | Want::LocalRead(_), Outcome::Refused(why), None) => *why != Refusal::SessionExpired,
        (
            Want::Session | Want::Expire(_) | Want::ExpireUnused(_) | Want::Command(_) | Want::Named(..),
            _,
            Some((name, by_node)),
        ) => {
            let in_log = |log| name.is_some_and(|name| holds(record, after.executor.applied, name, by_node, log));
            match outcome {
                Outcome::Done(Done::Opened(session)) => item.want == Want::Session && in_log(Some(*session)),
                Outcome::Done(Done::Expired) => {
                    matches!(item.want, Want::Expire(_) | Want::ExpireUnused(_)) && in_log(None)
                }
                Outcome::Done(Done::Applied(_)) => {
                    matches!(item.want, Want::Command(_) | Want::Named(..)) && in_log(None)
                }
                // Whether an operation of a session that is gone was done before, nobody knows any more; but a node asks
                // nothing twice in its own, and acknowledges nothing there before it is answered.
                Outcome::Refused(Refusal::SessionExpired) => by_node,
                Outcome::Refused(Refusal::Busy | Refusal::Deadline) => !handed_on(before, client, attempt),
                Outcome::Unknown(why) => {
                    let answered = |name: OperationId| after.executor.answer(&name, by_node).is_some();
                    let may_be = !by_node || *why == Uncertainty::Deadline || is_lost_sight_of(seen, after, name);
                    may_be && !name.is_some_and(answered)
                }
                Outcome::Answer { .. } => false,
            }
        }
        _ => false,
    };
    let name = write.and_then(|(name, _)| name);
    let fits = fits && is_caused(seen, (before, after), (client, attempt), name, outcome);
    (!fits).then(|| format!("{client:?}, who asked for {:?}, is told {outcome:?}", item.want))
}

/// Whether the step is one in which such a refusal or uncertainty comes about.
fn is_caused(
    seen: &Seen<'_>,
    (before, after): (&State<Audit>, &State<Audit>),
    attempt: (Id, u64),
    name: Option<OperationId>,
    outcome: &Outcome<Reply, Answer>,
) -> bool {
    let arrives = match seen.delivered() {
        Some((client, Message::Request { number, request, .. })) => Some(((client, *number), request)),
        _ => None,
    };
    match outcome {
        Outcome::Done(_) | Outcome::Answer { .. } => true,
        Outcome::Refused(Refusal::Busy) => arrives.is_some_and(|(arrived, _)| arrived == attempt),
        Outcome::Refused(Refusal::Deadline) | Outcome::Unknown(Uncertainty::Deadline) => match seen.input {
            Input::Timeout(Timer::Deadline(number)) => {
                let (writes, reads) = (&before.gateway.writes, &before.gateway.reads);
                let client = writes.get(number).map(|write| write.client);
                let client = client.or_else(|| reads.get(number).map(|read| read.client));
                client.is_some_and(|client| (client.id, client.number) == attempt)
            }
            _ => false,
        },
        Outcome::Unknown(Uncertainty::Superseded) => arrives.is_some_and(|(arrived, request)| {
            let same = matches!(request, Request::Write { session: Some((id, _)), .. } if Some(*id) == name);
            same && arrived != attempt
        }),
        Outcome::Refused(Refusal::SessionExpired)
        | Outcome::Unknown(Uncertainty::SessionExpired | Uncertainty::Acknowledged | Uncertainty::BeyondWindow) => {
            after.executor.applied > before.executor.applied
        }
    }
}

/// Of what a snapshot passed over, a session that is gone again tells nothing.
fn is_lost_sight_of(seen: &Seen<'_>, after: &State<Audit>, name: Option<OperationId>) -> bool {
    let installs = matches!(seen.delivered(), Some((_, Message::Part { last: true, .. })));
    installs && name.is_some_and(|name| !after.executor.sessions.contains_key(&name.session))
}

/// What a replica answers once it has applied so much. A step that decides several slots may answer after any of them.
fn answer_at(
    (rules, record): (&Configuration, &Record),
    (before, after): (&State<Audit>, &State<Audit>),
    applied: Slot,
    query: &Query,
) -> Option<Answer> {
    let executor = &after.executor;
    if applied == executor.applied {
        return Some(executor.machine.query(query));
    }
    if !(before.executor.applied..executor.applied).contains(&applied) {
        return None;
    }
    let mut earlier = before.executor.clone();
    for slot in before.executor.applied..applied {
        earlier.apply(slot, record.decided(slot)?, rules);
    }
    Some(earlier.machine.query(query))
}

/// Whether an attempt that waited before the step was handed on, as far as its node knows.
fn handed_on(before: &State<Audit>, client: Id, attempt: u64) -> bool {
    let attempt = |write: &&PendingWrite<Audit>| (write.client.id, write.client.number) == (client, attempt);
    before.gateway.writes.values().find(attempt).is_some_and(|write| write.handed_on)
}

/// Whether what is applied holds the operation; if it opened a session, in the place that the session is named for.
fn holds(record: &Record, applied: Slot, name: OperationId, by_node: bool, opened: Option<SessionId>) -> bool {
    let is_it = |operation: &Operation<Tagged>| match operation {
        Operation::Open { .. } => false,
        Operation::InSession { id, by_node: of_node, act, .. } => {
            (*id, *of_node) == (name, by_node) && (opened.is_none() || *act == Act::OpenSession)
        }
    };
    match opened {
        Some(SessionId { slot, position }) => {
            let operation = record.decided(slot).and_then(|entry| entry.operations().get(position as usize));
            slot < applied && operation.is_some_and(is_it)
        }
        None => (0..applied).filter_map(|slot| record.decided(slot)).any(|entry| entry.operations().iter().any(is_it)),
    }
}
