//! `timers-set`: whatever must come by itself has its timer: elections and retransmission always, and the end of each request
//! that waits; and none is left behind by a request that was answered. `timers-as-long`: each lasts as long as the options, or the
//! client, say.

use super::step::{Judged, Seen};
use paxos_model::replica::message::Message;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::{Input, step};
use stateright::actor::Command;
use std::time::Duration;

/// What is amiss with the timers that are set in a replica's state, in words.
pub fn amiss<S: Judged>(state: &State<S>, set: &[Timer]) -> Option<String> {
    let gateway = &state.gateway;
    let waits = |number: &u64| gateway.writes.contains_key(number) || gateway.reads.contains_key(number);
    let deadlines = gateway.writes.keys().chain(gateway.reads.keys()).map(|number| Timer::Deadline(*number));
    let needed = [Timer::Election, Timer::Resend].into_iter().chain(deadlines);
    if let Some(timer) = needed.into_iter().find(|timer| !set.contains(timer)) {
        return Some(format!("{timer:?} is not set"));
    }
    set.iter().find_map(|timer| match timer {
        Timer::Deadline(number) if !waits(number) => Some(format!("{timer:?} is set for a request that does not wait")),
        _ => None,
    })
}

/// The first timer that a step sets for longer or shorter than it should last, in words. Asked of the steps that begin something;
/// the others set their timers through the same few lines.
pub fn otherwise_long<S: Judged>(replica: &Replica<S>, seen: &Seen<'_, S>) -> Option<String> {
    let timeout_ms = match seen.input {
        Input::Start | Input::Timeout(Timer::Election | Timer::Resend) => None,
        Input::Deliver { msg: Message::Heartbeat { .. }, .. } => None,
        Input::Deliver { msg: Message::Request { timeout_ms, .. }, .. } => Some(*timeout_ms),
        _ => return None,
    };
    let options = &replica.options;
    let again = step(replica, seen.node, Some(seen.before), seen.stored_before, seen.input);
    again.outputs.iter().find_map(|output| {
        let Command::SetTimer(timer, range) = output else { return None };
        let should = match timer {
            Timer::Election => options.election.clone(),
            Timer::Resend => options.resend..options.resend,
            Timer::Flush => Duration::ZERO..Duration::ZERO,
            Timer::Deadline(_) => {
                let timeout = Duration::from_millis(timeout_ms.unwrap_or(0).into());
                timeout..timeout
            }
        };
        (*range != should).then(|| format!("{timer:?} is set for {range:?}, and should last {should:?}"))
    })
}
