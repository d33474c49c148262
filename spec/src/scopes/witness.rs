//! What must be seen to happen in a scope, so that it is known not to pass for want of events.

use super::Scope;
use super::referee::Referee;
use crate::engine::{Depends, View};
use crate::properties::party::{Client, Party, PartyState};
use crate::properties::sequential::Ret;
use paxos_model::kv::{Reply, Written};
use paxos_model::replica::message::Entry;
use paxos_model::replica::{Role, State};
use stateright::actor::Id;

use crate::properties::audit::Audit;

type SeenIn = fn(&View<'_, Party, Referee>, &Scope) -> bool;

/// A thing to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A value is chosen.
    Chosen,
    /// A later ballot proposes what an earlier one proposed.
    Recovered,
    /// A hole is filled with a no-op, and decided.
    HoleFilled,
    /// A new leader proposes a no-op for a hole.
    HoleProposed,
    /// A replica leads in the third ballot or a later one.
    ThirdBallot,
    /// A command is done for a client.
    CommandDone,
    /// A put is answered with a conflict.
    Conflict,
    /// A read is answered.
    ReadAnswered,
    /// An operation with an earlier attempt still open is answered.
    RetryAnswered,
    /// A request is refused.
    Refused,
    /// Everybody has applied everything that is decided, and that is something.
    AllApplied,
    /// A client has finished its script.
    ScriptDone,
    /// A leader does no longer lead though it promised nothing higher. A restart looks the same: no leader may in such a scope.
    SteppedDown,
    /// A snapshot took the place of a part of the log.
    Truncated,
    /// A replica that lacks what another has truncated has caught up with the snapshot.
    Installed,
}

/// Name, what it looks at, and when it is seen, in the order of [`Witness`].
pub const WITNESS_RULES: [(&str, Depends, SeenIn); 15] = [
    ("sometimes a value is chosen", Depends::Record, |view, _| !view.record().chosen.is_empty()),
    ("sometimes a value is recovered", Depends::Locals, |view, _| {
        replicas(view).any(|state| match &state.role {
            Role::Leading(leader) => leader.proposals.iter().any(|(slot, proposal)| {
                let voted = |other: &State<Audit>| {
                    other.durable.accepted.get(slot).is_some_and(|ballot| *ballot < leader.ballot)
                        && other.durable.log.get(slot) == Some(&proposal.entry)
                };
                proposal.entry != Entry::Noop && replicas(view).any(voted)
            }),
            _ => false,
        })
    }),
    ("sometimes a hole is filled", Depends::Locals, |view, _| {
        replicas(view)
            .any(|state| state.durable.log.range(..state.durable.decided).any(|(_, entry)| *entry == Entry::Noop))
    }),
    ("sometimes a no-op is proposed for a hole", Depends::Locals, |view, _| {
        replicas(view).any(|state| match &state.role {
            Role::Leading(leader) => leader.proposals.values().any(|proposal| proposal.entry == Entry::Noop),
            _ => false,
        })
    }),
    ("sometimes there is a third ballot", Depends::Locals, |view, _| {
        replicas(view).any(|state| matches!(&state.role, Role::Leading(leader) if leader.ballot.round >= 3))
    }),
    ("sometimes a command is done", Depends::Record, |view, _| returns(view).any(|ret| matches!(ret, Ret::Reply(_)))),
    ("sometimes a put conflicts", Depends::Record, |view, _| {
        returns(view).any(|ret| match ret {
            Ret::Reply(Reply::Written(written)) => written.iter().any(|w| matches!(w, Written::Conflict(_))),
            _ => false,
        })
    }),
    ("sometimes a read is answered", Depends::Record, |view, _| returns(view).any(|ret| matches!(ret, Ret::Answer(_)))),
    ("sometimes a retry is answered", Depends::Record, |view, _| {
        view.record().operations.values().any(|progress| progress.open.len() > 1 && progress.done.is_some())
    }),
    ("sometimes a request is refused", Depends::Record, |view, _| returns(view).any(|ret| *ret == Ret::Refused)),
    ("sometimes all is applied everywhere", Depends::Locals, |view, _| {
        let mut applied = replicas(view).map(|state| (state.executor.applied, state.durable.accepted.is_empty()));
        let first = applied.next();
        first.is_some_and(|(slots, settled)| slots > 0 && settled) && applied.all(|other| Some(other) == first)
    }),
    ("sometimes a client finishes", Depends::Locals, |view, scope| {
        let states = view.locals().skip(scope.replicas).map(|local| &local.state);
        scope.clients.iter().zip(states).any(|(client, state)| match (client, state) {
            (Client::Script(items), PartyState::Client(at)) => at.item == items.len(),
            _ => false,
        })
    }),
    ("sometimes a leader steps down", Depends::Locals, |view, _| {
        replicas(view).enumerate().any(|(node, state)| {
            matches!(state.role, Role::Following)
                && usize::from(state.durable.promised.node) == node
                && state.durable.promised.round > 0
        })
    }),
    ("sometimes the log is truncated", Depends::Locals, |view, _| {
        replicas(view).any(|state| state.durable.first() > 0)
    }),
    ("sometimes one that is sent a snapshot has it", Depends::Locals, |view, _| {
        let has = |node: &Id, slot| replicas(view).nth(usize::from(*node)).is_some_and(|s| s.durable.decided >= slot);
        replicas(view).any(|state| state.serving.iter().any(|(node, served)| has(node, served.needs())))
    }),
];

fn replicas<'a>(view: &View<'a, Party, Referee>) -> impl Iterator<Item = &'a State<Audit>> {
    view.locals().filter_map(|local| local.state.replica())
}

fn returns<'a>(view: &View<'a, Party, Referee>) -> impl Iterator<Item = &'a Ret> {
    view.record().operations.values().filter_map(|progress| progress.done.as_ref())
}
