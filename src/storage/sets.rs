//! A set of trees of the store on disk that holds an applied state: that of the snapshot, or what has arrived of another replica's.
//!
//! | tree | key | value |
//! |---|---|---|
//! | items | a key of the state machine, as it is | its value and version |
//! | sessions | slot and position, big-endian | the session, as a piece |
//! | sessions | slot, position and sequence number, big-endian | what came of the operation, as a piece |
//!
//! So what a session has done follows on it. The slot of the state and the floor of its machine stand in the marks.

use super::codec::{decode, encode};
use super::trees::{Records, put, write_changes};
use crate::Machine;
use heed::{RoTxn, RwTxn, WithoutTls};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use paxos_model::kv::{self, Versioned};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::executor::{Executor, Session};
use paxos_model::replica::message::{Done, OperationId, SessionId};
use paxos_model::replica::pieces::{Piece, PieceOf, Place, PlaceOf};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is told of an applied state in the marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) applied: Slot,
    floor: u64,
}

impl Head {
    pub(super) fn of(state: &Executor<Machine>) -> Head {
        Head { applied: state.applied, floor: state.machine.floor() }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Set {
    pub(super) items: Records,
    pub(super) sessions: Records,
}

impl Set {
    pub(super) fn is_empty(&self, txn: &RoTxn<'_, WithoutTls>) -> heed::Result<bool> {
        Ok(self.items.is_empty(txn)? && self.sessions.is_empty(txn)?)
    }

    pub(super) fn clear(&self, txn: &mut RwTxn<'_>) -> heed::Result<()> {
        self.items.clear(txn)?;
        self.sessions.clear(txn)
    }

    /// The state that it holds. An error says what is wrong with it.
    pub(super) fn read(&self, txn: &RoTxn<'_, WithoutTls>, head: Head) -> Result<Executor<Machine>, String> {
        let mut state = Executor::<Machine> { applied: head.applied, ..Executor::default() };
        if head.floor > 0 {
            state.machine.put(kv::Place::Floor, Versioned { val: Arc::from(""), ver: head.floor });
        }
        for record in self.items.iter(txn).map_err(|error| error.to_string())? {
            let (key, record) = record.map_err(|error| error.to_string())?;
            let name = || String::from_utf8_lossy(key);
            let item = decode(key, record).map_err(|why| format!("the item {:?}: {why}", name()))?;
            let key = str::from_utf8(key).map_err(|_| format!("the item {:?}: its key is no text", name()))?;
            state.machine.put(kv::Place::Key(key.into()), item);
        }
        for record in self.sessions.iter(txn).map_err(|error| error.to_string())? {
            let (key, record) = record.map_err(|error| error.to_string())?;
            let place = place_of(key).ok_or("a session has a key of another length")?;
            let piece = decode(key, record).map_err(|why| format!("{place:?}: {why}"))?;
            match (&place, &piece) {
                (Place::Session(_), Piece::Session { .. }) => {}
                (Place::Done(id), Piece::Done(_)) if state.sessions.contains_key(&id.session) => {}
                (Place::Done(_), Piece::Done(_)) => return Err(format!("{place:?}: it belongs to no session")),
                _ => return Err(format!("{place:?}: it holds something else")),
            }
            state.put(place, piece);
        }
        Ok(state)
    }

    /// Writes where `after` differs from `before`, which it holds. Returns how many bytes that are.
    pub(super) fn write(
        &self,
        txn: &mut RwTxn<'_>,
        before: &Executor<Machine>,
        after: &Executor<Machine>,
    ) -> heed::Result<u64> {
        let mut bytes = 0;
        for (place, item) in after.machine.changes(&before.machine) {
            match (place, item) {
                (kv::Place::Floor, _) => {}
                (kv::Place::Key(key), Some(item)) => {
                    bytes += put(txn, self.items, key.as_bytes(), &encode(key.as_bytes(), &item))?;
                }
                (kv::Place::Key(key), None) => {
                    self.items.delete(txn, key.as_bytes())?;
                }
            }
        }
        for change in before.sessions.diff(&after.sessions) {
            bytes += match change {
                DiffItem::Add(id, after) => self.write_session(txn, *id, None, Some(after))?,
                DiffItem::Update { old: (_, before), new: (id, after) } => {
                    self.write_session(txn, *id, Some(before), Some(after))?
                }
                DiffItem::Remove(id, before) => self.write_session(txn, *id, Some(before), None)?,
            };
        }
        Ok(bytes)
    }

    fn write_session(
        &self,
        txn: &mut RwTxn<'_>,
        id: SessionId,
        before: Option<&Session<Machine>>,
        after: Option<&Session<Machine>>,
    ) -> heed::Result<u64> {
        let key = session_key(id);
        let bytes = match (before.map(piece), after.map(piece)) {
            (before, after) if before == after => 0,
            (_, Some(piece)) => put(txn, self.sessions, &key, &encode(&key, &piece))?,
            (_, None) => {
                self.sessions.delete(txn, &key)?;
                0
            }
        };
        let nothing = OrdMap::new();
        let done = |session: Option<&Session<Machine>>| session.map_or(nothing.clone(), |session| session.done.clone());
        let key = |sequence: &u64| done_key(OperationId { session: id, sequence: *sequence });
        let done = write_changes(txn, self.sessions, &done(before), &done(after), key, |key, done: &Done<_>| {
            encode(key, &PieceOf::<Machine>::Done(done.clone()))
        })?;
        Ok(bytes + done)
    }
}

/// A session without what it has done.
fn piece(session: &Session<Machine>) -> PieceOf<Machine> {
    let Session { owner, used, acknowledged_below, done: _ } = session;
    Piece::Session { owner: *owner, used: *used, acknowledged_below: *acknowledged_below }
}

const SESSION_BYTES: usize = 12;
const DONE_BYTES: usize = 20;

fn session_key(SessionId { slot, position }: SessionId) -> [u8; SESSION_BYTES] {
    let mut key = [0; SESSION_BYTES];
    key[..8].copy_from_slice(&slot.to_be_bytes());
    key[8..].copy_from_slice(&position.to_be_bytes());
    key
}

fn done_key(OperationId { session, sequence }: OperationId) -> [u8; DONE_BYTES] {
    let mut key = [0; DONE_BYTES];
    key[..SESSION_BYTES].copy_from_slice(&session_key(session));
    key[SESSION_BYTES..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn place_of(key: &[u8]) -> Option<PlaceOf<Machine>> {
    let (slot, rest) = key.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let session = SessionId { slot: Slot::from_be_bytes(*slot), position: u32::from_be_bytes(*position) };
    if rest.is_empty() {
        return Some(Place::Session(session));
    }
    let sequence = u64::from_be_bytes(rest.try_into().ok()?);
    Some(Place::Done(OperationId { session, sequence }))
}
