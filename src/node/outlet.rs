//! Where outputs leave the loop: to clients, to other nodes, and back to this one.

use super::Peers;
use super::clients::{Answered, Clients};
use crate::Msg;
use crate::trace::Trace;
use paxos_model::replica::message::Message;
use stateright::actor::Id;
use std::sync::Arc;

/// Where a step's outputs go once they may be seen.
pub struct Outlet {
    id: Id,
    peers: Arc<dyn Peers>,
    clients: Arc<Clients>,
    trace: Option<Trace>,
}

impl Outlet {
    /// Of node `id`, whose messages to others go to `peers`; nobody waits for an answer yet. What the node does is written to `trace`.
    pub fn new(id: Id, peers: Arc<dyn Peers>, trace: Option<Trace>) -> Self {
        Outlet { id, peers, clients: Arc::default(), trace }
    }

    /// Where the node writes down what it does, if it does.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Who waits for an answer.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Releases messages in their order. Returns those to this node itself.
    pub(super) fn release(&self, messages: Vec<(Id, Msg)>) -> Vec<Msg> {
        if let Some(trace) = self.trace.as_ref().filter(|_| !messages.is_empty()) {
            trace.releases(messages.len());
        }
        let (mut mine, mut answers) = (Vec::new(), Vec::new());
        // One message to several nodes is encoded once.
        let mut others: Vec<(Vec<Id>, Msg)> = Vec::new();
        for (dst, message) in messages {
            match message {
                Message::Reply { number, outcome } => answers.push((number, Answered::Outcome(outcome))),
                message if dst == self.id => mine.push(message),
                message => match others.last_mut() {
                    Some((to, same)) if *same == message => to.push(dst),
                    _ => others.push((vec![dst], message)),
                },
            }
        }
        self.peers.send_all(others);
        // After the messages to nodes, which have the longer way: clients are many, and each has to be woken.
        self.clients.answer_all(answers);
        mine
    }
}
