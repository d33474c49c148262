//! `same-answer-again`: the answer to a duplicate is the answer to the first, so that retransmission converges: judged by
//! giving an acceptor, after each prepare and each accept, the same message once more.

use super::step::{Judged, Seen};
use paxos_model::replica::message::{Message, MessageOf};
use paxos_model::replica::{Replica, State};
use paxos_model::trace::{Input, step};
use stateright::actor::{Command, Id};

/// How the answer to the same message differs the second time, in words.
pub fn answered_otherwise<S: Judged>(replica: &Replica<S>, seen: &Seen<'_, S>, after: &State<S>) -> Option<String> {
    let (src, message) = seen.delivered()?;
    if !matches!(message, Message::Prepare { .. } | Message::Accept { .. }) {
        return None;
    }
    let input = Input::Deliver { src, msg: message.clone() };
    let second = step(replica, seen.node, Some(after), seen.stored_after, &input);
    if second.state.is_some_and(|state| state != *after) {
        return Some(format!("{message:?} changes something the second time"));
    }
    let to_sender = |(dst, message): &(Id, MessageOf<S>)| (*dst == src).then(|| message.clone());
    let first: Vec<MessageOf<S>> = seen.sends.iter().filter_map(to_sender).collect();
    let again: Vec<MessageOf<S>> = second
        .outputs
        .into_iter()
        .filter_map(|output| match output {
            Command::Send(dst, message) if dst == src => Some(message),
            _ => None,
        })
        .collect();
    (first != again).then(|| format!("{message:?} is answered by {first:?}, and the second time by {again:?}"))
}
