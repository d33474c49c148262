//! Where outputs leave the loop: to clients, to other nodes, and back to this one.

use super::Peers;
use super::clients::{Answered, Clients};
use crate::Msg;
use paxos_model::replica::message::Message;
use stateright::actor::Id;
use std::sync::Arc;

/// Where a step's outputs go once they may be seen.
pub struct Outlet {
    id: Id,
    peers: Arc<dyn Peers>,
    clients: Arc<Clients>,
}

impl Outlet {
    /// Of node `id`, whose messages to others go to `peers`; nobody waits for an answer yet.
    pub fn new(id: Id, peers: Arc<dyn Peers>) -> Self {
        Outlet { id, peers, clients: Arc::default() }
    }

    /// Who waits for an answer.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

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
