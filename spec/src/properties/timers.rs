//! `timers-set`: whatever must come by itself has its timer: elections and retransmission always, and the end of each request
//! that waits; and none is left behind by a request that was answered.

use super::audit::Audit;
use paxos_model::replica::{State, Timer};

/// What is amiss with the timers that are set in a replica's state, in words.
pub fn amiss(state: &State<Audit>, set: &[Timer]) -> Option<String> {
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
