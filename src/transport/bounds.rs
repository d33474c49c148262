//! Whether the keys and values in a message are such as a node takes from its clients. A peer vouches for none of them, and what was voted
//! for is in the log for good: a key that the store has no place for would end every node that applies it, again after each start.

use crate::model::kv::{self, Command, Versioned};
use crate::{KEY_MAX, Machine, Msg, VALUE_MAX};
use paxos_model::replica::message::{Act, Message, Operation};
use paxos_model::replica::pieces::{Piece, PieceOf, Place, PlaceOf};

fn key(key: &str) -> bool {
    (1..=KEY_MAX).contains(&key.len())
}

fn operations(operations: &[Operation<Command>]) -> bool {
    operations.iter().all(|operation| match operation {
        Operation::InSession { act: Act::Apply(Command::Write { puts, .. }), .. } => {
            puts.iter().all(|put| key(&put.key) && put.val.len() <= VALUE_MAX)
        }
        _ => true,
    })
}

fn place(place: &PlaceOf<Machine>) -> bool {
    match place {
        Place::Item(kv::Place::Key(name)) => key(name),
        _ => true,
    }
}

fn piece(piece: &PieceOf<Machine>) -> bool {
    match piece {
        Piece::Item(Versioned { val, .. }) => val.len() <= VALUE_MAX,
        _ => true,
    }
}

/// Whether all that `message` brings is within them.
pub(super) fn keeps(message: &Msg) -> bool {
    match message {
        Message::Forward { operations: forwarded, .. } => operations(forwarded),
        Message::Accept { entry, .. } => operations(entry.operations()),
        Message::Promise { votes, .. } => votes.iter().all(|vote| operations(vote.entry.operations())),
        Message::Decided { entries, .. } => entries.iter().all(|entry| operations(entry.operations())),
        Message::Fetch { arriving, .. } => arriving.iter().filter_map(|arrived| arrived.after.as_ref()).all(place),
        Message::Part { after, pieces, .. } => {
            after.iter().all(place) && pieces.iter().all(|(at, what)| place(at) && piece(what))
        }
        _ => true,
    }
}
