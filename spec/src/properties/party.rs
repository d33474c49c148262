//! Who takes part in a scope: replicas, exactly as they ship, and clients.
//!
//! A client works through a script, one operation at a time. It sends an operation to the first node of its list; each time
//! its timer runs out, or the outcome is unknown, it may send the same operation to the next one, if it has a session of its
//! own. With an unknown outcome and nobody left to ask it stops.

use super::audit::{Audit, Tagged};
use paxos_model::kv::Query;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::{Act, Done, Message, MessageOf, OperationId, Outcome, Request, SessionId};
use paxos_model::replica::{Replica, State, Timer};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A message of the scopes.
pub type Msg = MessageOf<Audit>;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// A session of its own, which its later operations use.
    Session,
    /// To end a session; none means its own.
    Expire(Option<SessionId>),
    /// To end the sessions that were not used since this slot.
    ExpireUnused(u64),
    /// A command.
    Command(Tagged),
    /// A command under a name of its choice, as a client might send whose memory is not to be trusted.
    Named(OperationId, Tagged),
    /// A linearizable read.
    Read(Query),
    /// A local read.
    LocalRead(Query),
}

/// One operation of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// What.
    pub want: Want,
    /// Whom it asks, one after the other.
    pub nodes: Vec<Id>,
}

/// A client.
#[derive(Clone, Debug)]
pub enum Client {
    /// Works through a script.
    Script(Vec<Item>),
    /// Puts messages into the network at the start, and does nothing else.
    Source(Vec<(Id, Msg)>),
}

/// Where a client is in its script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientState {
    /// The present item.
    pub item: usize,
    /// The present attempt at it.
    pub attempt: usize,
    /// Its session and the number of its latest operation in it.
    pub session: Option<(SessionId, u64)>,
    /// Whether it has stopped, because it does not know an outcome.
    pub stopped: bool,
}

/// Attempts at one item are numbered below this.
const ATTEMPTS: u64 = 10;

/// The item of a script that a request number belongs to.
pub fn item_of(number: u64) -> usize {
    (number / ATTEMPTS) as usize
}

impl Client {
    fn send(&self, state: &mut ClientState, out: &mut Out<Party>) {
        let Client::Script(items) = self else { return };
        let Some(item) = items.get(state.item) else { return };
        let named = |session: Option<(SessionId, u64)>| {
            session.map(|(session, sequence)| (OperationId { session, sequence }, sequence))
        };
        let write = |act| Request::Write { session: named(state.session), act };
        let request = match &item.want {
            Want::Session => Request::Write { session: None, act: Act::OpenSession },
            Want::Expire(target) => match target.or(state.session.map(|(session, _)| session)) {
                Some(session) => write(Act::ExpireSession(session)),
                None => return,
            },
            Want::ExpireUnused(slot) => write(Act::ExpireUnused(*slot)),
            Want::Command(command) => write(Act::Apply(command.clone())),
            Want::Named(id, command) => Request::Write { session: Some((*id, 1)), act: Act::Apply(command.clone()) },
            Want::Read(query) => Request::Read(query.clone()),
            Want::LocalRead(query) => Request::LocalRead(query.clone()),
        };
        let number = state.item as u64 * ATTEMPTS + state.attempt as u64;
        out.send(item.nodes[state.attempt], Message::Request { number, timeout_ms: 1000, request });
        if state.attempt + 1 < item.nodes.len() {
            out.set_timer(Timer::Resend, Duration::ZERO..Duration::ZERO);
        } else {
            out.cancel_timer(Timer::Resend);
        }
    }

    fn next_item(&self, state: &mut ClientState, out: &mut Out<Party>) {
        state.item += 1;
        state.attempt = 0;
        if let Some((_, sequence)) = &mut state.session {
            *sequence += 1;
        }
        out.cancel_timer(Timer::Resend);
        self.send(state, out);
    }

    fn try_again(&self, state: &mut ClientState, out: &mut Out<Party>) -> bool {
        let Client::Script(items) = self else { return false };
        let more = items.get(state.item).is_some_and(|item| state.attempt + 1 < item.nodes.len());
        if more {
            state.attempt += 1;
            self.send(state, out);
        }
        more
    }

    fn on_reply(
        &self,
        state: &mut ClientState,
        outcome: Outcome<paxos_model::kv::Reply, paxos_model::kv::Answer>,
        out: &mut Out<Party>,
    ) {
        match outcome {
            Outcome::Done(Done::Opened(session)) => {
                state.session = Some((session, 0));
                self.next_item(state, out);
            }
            Outcome::Done(_) | Outcome::Answer { .. } => self.next_item(state, out),
            Outcome::Refused(_) | Outcome::Unknown(_) => {
                if !self.try_again(state, out) {
                    state.stopped = true;
                    out.cancel_timer(Timer::Resend);
                }
            }
        }
    }
}

/// A replica or a client.
#[derive(Clone, Debug)]
pub enum Party {
    /// A replica.
    Replica(Replica<Audit>),
    /// A client.
    Client(Client),
}

/// The state of either.
#[allow(clippy::large_enum_variant, reason = "states are interned: few exist, and each is behind a pointer")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartyState {
    /// Of a replica.
    Replica(State<Audit>),
    /// Of a client.
    Client(ClientState),
}

impl PartyState {
    /// The replica's state, if it is one.
    pub fn replica(&self) -> Option<&State<Audit>> {
        match self {
            PartyState::Replica(state) => Some(state),
            PartyState::Client(_) => None,
        }
    }
}

/// What a replica of the scopes saves.
pub type Stored<S = Audit> = Arc<Durable<S>>;

impl Party {
    fn with_client(state: &mut Cow<'_, PartyState>, run: impl FnOnce(&mut ClientState)) {
        if let PartyState::Client(state) = state.to_mut() {
            run(state);
        }
    }

    fn with_replica<'s>(state: &mut Cow<'s, PartyState>, run: impl FnOnce(&mut Cow<'_, State<Audit>>)) {
        let after = match &**state {
            PartyState::Replica(inner) => {
                let mut inner = Cow::Borrowed(inner);
                run(&mut inner);
                match inner {
                    Cow::Owned(after) => Some(after),
                    Cow::Borrowed(_) => None,
                }
            }
            PartyState::Client(_) => None,
        };
        if let Some(after) = after {
            *state = Cow::Owned(PartyState::Replica(after));
        }
    }
}

impl Actor for Party {
    type Msg = Msg;
    type Timer = Timer;
    type State = PartyState;
    type Storage = Stored;
    type Random = ();

    fn on_start(&self, id: Id, storage: &Option<Stored>, out: &mut Out<Self>) -> PartyState {
        match self {
            Party::Replica(replica) => {
                let mut inner = Out::new();
                let state = replica.on_start(id, storage, &mut inner);
                out.append(&mut inner);
                PartyState::Replica(state)
            }
            Party::Client(client) => {
                let mut state = ClientState::default();
                client.send(&mut state, out);
                if let Client::Source(messages) = client {
                    for (dst, message) in messages {
                        out.send(*dst, message.clone());
                    }
                }
                PartyState::Client(state)
            }
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, PartyState>, src: Id, message: Msg, out: &mut Out<Self>) {
        match (self, &**state) {
            (Party::Replica(replica), _) => Party::with_replica(state, |state| {
                let mut inner = Out::new();
                replica.on_msg(id, state, src, message, &mut inner);
                out.append(&mut inner);
            }),
            (Party::Client(client), PartyState::Client(now)) => {
                if let Message::Reply { number, outcome } = message
                    && number == now.item as u64 * ATTEMPTS + now.attempt as u64
                    && !now.stopped
                {
                    Party::with_client(state, |state| client.on_reply(state, outcome, out));
                }
            }
            _ => {}
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, PartyState>, timer: &Timer, out: &mut Out<Self>) {
        match self {
            Party::Replica(replica) => Party::with_replica(state, |state| {
                let mut inner = Out::new();
                replica.on_timeout(id, state, timer, &mut inner);
                out.append(&mut inner);
            }),
            Party::Client(client) => Party::with_client(state, |state| {
                client.try_again(state, out);
            }),
        }
    }

    fn name(&self) -> String {
        match self {
            Party::Replica(_) => "node".into(),
            Party::Client(Client::Script(_)) => "client".into(),
            Party::Client(Client::Source(_)) => "source".into(),
        }
    }
}
