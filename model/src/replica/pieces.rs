//! The applied state as a sequence of small pieces, in an order of their places: what a snapshot is sent and stored as.
//!
//! First the items of the state machine, then the sessions, then what each session has done.

use super::ballot::Slot;
use super::executor::{Executor, Session};
use super::message::{Done, OperationId, SessionId};
use crate::machine::{StateMachine, Value};
use imbl::OrdMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stateright::actor::Id;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Where a piece of the applied state belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "P: Value")]
pub enum Place<P: Value> {
    /// In the state machine.
    Item(P),
    /// A session.
    Session(SessionId),
    /// What came of an operation, in its session.
    Done(OperationId),
}

/// A piece of the applied state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "I: Value, R: Value")]
pub enum Piece<I: Value, R: Value> {
    /// Of the state machine.
    Item(I),
    /// A session, without what it has done.
    Session {
        /// The node and the life that it was opened for; none if a client brings it.
        owner: Option<(Id, u64)>,
        /// The slot in which it was last used.
        used: Slot,
        /// The client has all answers below this sequence number.
        acknowledged_below: u64,
    },
    /// What came of an operation.
    Done(Done<R>),
}

/// The places of the applied state of `S`.
pub type PlaceOf<S> = Place<<S as StateMachine>::Place>;
/// The pieces of the applied state of `S`.
pub type PieceOf<S> = Piece<<S as StateMachine>::Item, <S as StateMachine>::Reply>;

/// Its slot and its pieces.
impl<S: StateMachine> Serialize for Executor<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let pieces: Vec<_> = self.pieces(None).collect();
        (self.applied, pieces).serialize(serializer)
    }
}

impl<'de, S: StateMachine> Deserialize<'de> for Executor<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (applied, pieces) = <(Slot, Vec<(PlaceOf<S>, PieceOf<S>)>)>::deserialize(deserializer)?;
        let mut executor = Executor { applied, ..Executor::default() };
        for (place, piece) in pieces {
            executor.put(place, piece);
        }
        Ok(executor)
    }
}

/// What a piece takes beside an item of the state machine or a reply, in bytes.
const PIECE_BYTES: usize = 64;

impl<S: StateMachine> Executor<S> {
    /// About how many bytes one of [`Executor::pieces`] takes in a message, with its place.
    pub fn piece_bytes(place: &PlaceOf<S>, piece: &PieceOf<S>) -> usize {
        match (place, piece) {
            (Place::Item(place), Piece::Item(item)) => S::item_size(place, item),
            (_, Piece::Done(Done::Applied(reply))) => PIECE_BYTES.saturating_add(S::reply_size(reply)),
            _ => PIECE_BYTES,
        }
    }

    /// What it consists of, but for the slot, in the order of the places, from the first above `after` on.
    pub fn pieces(&self, after: Option<&PlaceOf<S>>) -> impl Iterator<Item = (PlaceOf<S>, PieceOf<S>)> {
        let (items, sessions, done) = match after {
            None => (Some(None), Some(Unbounded), None),
            Some(Place::Item(place)) => (Some(Some(place)), Some(Unbounded), None),
            Some(Place::Session(id)) => (None, Some(Excluded(*id)), None),
            Some(Place::Done(id)) => (None, None, Some(*id)),
        };
        let items = items.into_iter().flat_map(|after| self.machine.items(after));
        let items = items.map(|(place, item)| (Place::Item(place), Piece::Item(item)));
        let sessions = sessions.into_iter().flat_map(|from| self.sessions.range((from, Unbounded)));
        let sessions = sessions.map(|(id, session)| {
            let Session { owner, used, acknowledged_below, done: _ } = session;
            let (owner, used, acknowledged_below) = (*owner, *used, *acknowledged_below);
            (Place::Session(*id), Piece::Session { owner, used, acknowledged_below })
        });
        let from = done.map_or(Unbounded, |id| Included(id.session));
        let done = self.sessions.range((from, Unbounded)).flat_map(move |(session, state)| {
            let from = match done {
                Some(id) if id.session == *session => Excluded(id.sequence),
                _ => Unbounded,
            };
            let id = |sequence: &u64| OperationId { session: *session, sequence: *sequence };
            state.done.range((from, Unbounded)).map(move |(n, done)| (Place::Done(id(n)), Piece::Done(done.clone())))
        });
        items.chain(sessions).chain(done)
    }

    /// Puts one of [`Executor::pieces`] in its place. One that is not in its place is left out.
    pub fn put(&mut self, place: PlaceOf<S>, piece: PieceOf<S>) {
        match (place, piece) {
            (Place::Item(place), Piece::Item(item)) => self.machine.put(place, item),
            (Place::Session(id), Piece::Session { owner, used, acknowledged_below }) => {
                self.sessions.insert(id, Session { owner, used, acknowledged_below, done: OrdMap::new() });
            }
            (Place::Done(id), Piece::Done(done)) => {
                if let Some(session) = self.sessions.get_mut(&id.session) {
                    session.done.insert(id.sequence, done);
                }
            }
            _ => {}
        }
    }
}
