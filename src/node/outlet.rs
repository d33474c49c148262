//! Where outputs leave the loop: to clients, to other nodes, and back to this one.

use super::Peers;
use super::clients::{Answered, Clients};
use crate::Msg;
use paxos_model::replica::message::Message;
use stateright::actor::Id;
use std::sync::Arc;

/// Where a step's outputs go once they may be seen.
pub(super) struct Outlet {
    pub(super) id: Id,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) clients: Arc<Clients>,
}

impl Outlet {
    /// Releases messages in their order. Returns those to this node itself.
    pub(super) fn release(&self, messages: Vec<(Id, Msg)>) -> Vec<Msg> {
        let mut mine = Vec::new();
        for (dst, message) in messages {
            match message {
                Message::Reply { number, outcome } => self.clients.answer(number, Answered::Outcome(outcome)),
                message if dst == self.id => mine.push(message),
                message => self.peers.send(dst, message),
            }
        }
        mine
    }
}
