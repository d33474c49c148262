//! `bounded`: whatever the design limits keeps its limit, judged on each step of a replica.

use super::record::Record;
use super::step::{Judged, Seen};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::{
    Act, Done, Entry, Message, MessageOf, Operation, OperationId, OperationKey, operation_bytes,
};
use paxos_model::replica::pieces::{Piece, PieceOf, Place, PlaceOf};
use paxos_model::replica::{Options, Role, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};

/// The first limit that a replica exceeds whatever happened before, in words: by its state after a step, or by what it sends in it.
pub fn broken<S: Judged>(
    (options, configuration): (&Options, &Configuration),
    seen: &Seen<'_, S>,
    state: &State<S>,
) -> Option<String> {
    let delivered = seen.delivered().map(|(_, message)| message);
    let messages = || seen.sends.iter().map(|(_, message)| message);
    held(options, configuration, state)
        .or_else(|| outlived(state))
        .or_else(|| beyond_window_bytes(options, seen.input, state))
        .or_else(|| too_eager(options, seen, state))
        .or_else(|| messages().find_map(|message| sent::<S>(options, delivered, message)))
        .or_else(|| messages().find_map(|message| together::<S>(options, message)))
        .or_else(|| too_much_again(options, seen))
}

fn held<S: Judged>(options: &Options, configuration: &Configuration, state: &State<S>) -> Option<String> {
    let (gateway, sessions) = (&state.gateway, &state.executor.sessions);
    let replies = sessions.values().map(|session| session.done.len()).max();
    let (queue, reads) = match &state.role {
        Role::Leading(leader) => (leader.queue.len(), leader.reads.len()),
        _ => (0, 0),
    };
    // As many as one promise may have to report: from the first undecided slot to the last with a vote.
    let votes_max = usize::try_from(options.horizon).unwrap_or(usize::MAX);
    let votes = state.durable.accepted.get_max().map_or(0, |(slot, _)| slot + 1 - state.durable.decided.min(*slot));
    let limits = [
        ("slots up to the last vote", usize::try_from(votes).unwrap_or(usize::MAX), votes_max),
        ("requests at a node", gateway.writes.len() + gateway.reads.len(), options.requests_max),
        ("operations in the leader's queue", queue, options.requests_max),
        ("reads that wait for a round", reads, options.requests_max),
        ("resends without a part", state.stalled as usize, options.source_patience as usize),
        (
            "resends without progress",
            state.serving.values().map(|served| served.silent as usize).max().unwrap_or(0),
            options.patience as usize,
        ),
        ("sessions", sessions.len(), configuration.sessions_max),
        (
            "replies of a session",
            replies.unwrap_or(0),
            usize::try_from(configuration.replies_max).unwrap_or(usize::MAX),
        ),
    ];
    let beyond = limits.into_iter().find(|(_, count, max)| count > max);
    beyond.map(|(what, count, max)| format!("{count} {what}, at most {max} are allowed"))
}

/// What is kept beside what it is kept for ends with it, and nothing is taken twice.
fn outlived<S: Judged>(state: &State<S>) -> Option<String> {
    let gateway = &state.gateway;
    let waits = |(name, number): (&(OperationId, bool), &u64)| {
        gateway.writes.get(number).is_some_and(|write| write.id.map(|(id, _)| (id, write.by_node)) == Some(*name))
    };
    if let Some(name) = gateway.named.iter().find(|named| !waits(*named)) {
        return Some(format!("{name:?} is known by name and does not wait"));
    }
    let Role::Leading(leader) = &state.role else { return None };
    if let Some(slot) = leader.proposals.keys().find(|slot| **slot < state.durable.decided) {
        return Some(format!("what was proposed in slot {slot} is kept, which is decided"));
    }
    let proposed = leader.proposals.values().flat_map(|proposal| proposal.entry.operations());
    let proposed: BTreeSet<OperationKey> = proposed.map(Operation::key).collect();
    let is_queued = |key: &&OperationKey| leader.queue.iter().any(|operation| operation.key() == **key);
    if let Some(key) = leader.known.difference(&proposed).find(|key| !is_queued(key)) {
        return Some(format!("{key:?} is known as queued or proposed, and is neither"));
    }
    let mut queued: Vec<OperationKey> = leader.queue.iter().map(Operation::key).collect();
    queued.sort_unstable();
    let again = queued.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0]);
    if let Some(key) = again.or_else(|| queued.iter().find(|key| proposed.contains(key))) {
        return Some(format!("{key:?} was taken twice"));
    }
    let mut reads: Vec<_> = leader.rounds.values().flat_map(|(_, reads)| reads).chain(&leader.reads).collect();
    reads.sort_unstable();
    let twice = reads.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(format!("the read {:?} was taken twice", twice[0]))
}

/// What an operation takes: as the replica reckons, and no less than its keys and values are long.
fn bytes<S: Judged>(operation: &Operation<S::Command>) -> usize {
    let text = match operation {
        Operation::InSession { act: Act::Apply(command), .. } => S::text(command),
        _ => 0,
    };
    operation_bytes::<S>(operation).max(text)
}

/// What a piece of a snapshot takes at least: the key and the value in it.
fn piece_bytes<S: Judged>((place, piece): &(PlaceOf<S>, PieceOf<S>)) -> usize {
    match (place, piece) {
        (Place::Item(place), Piece::Item(item)) => S::item_text(place, item),
        (_, Piece::Done(Done::Applied(reply))) => S::reply_text(reply),
        _ => 1,
    }
}

/// The first limit in bytes that a message exceeds: several things go together only if they keep it.
fn together<S: Judged>(options: &Options, message: &MessageOf<S>) -> Option<String> {
    let of = |operations: &[Operation<S::Command>]| operations.iter().map(bytes::<S>).sum::<usize>();
    let (count, bytes) = match message {
        Message::Accept { entry, .. } => (entry.operations().len(), of(entry.operations())),
        Message::Forward { operations, .. } => (operations.len(), of(operations)),
        Message::Decided { entries, .. } => (entries.len(), entries.iter().map(|entry| of(entry.operations())).sum()),
        Message::Part { pieces, .. } => (pieces.len(), pieces.iter().map(piece_bytes::<S>).sum()),
        _ => return None,
    };
    (count > 1 && bytes > options.bytes_max).then(|| format!("{count} together take {bytes} bytes in {message:?}"))
}

/// What one node is sent again at a time goes together, so that it is not buried by what it cannot take.
fn too_much_again<S: Judged>(options: &Options, seen: &Seen<'_, S>) -> Option<String> {
    if *seen.input != Input::Timeout(Timer::Resend) {
        return None;
    }
    // A candidate that leads from this step on sends for the first time.
    let led = matches!(seen.before.role, Role::Leading(_));
    let mut again: BTreeMap<Id, (usize, usize)> = BTreeMap::new();
    for (dst, message) in seen.sends {
        let operations: &[_] = match message {
            Message::Accept { entry, .. } if led => entry.operations(),
            Message::Forward { operations, .. } => operations,
            _ => continue,
        };
        let (count, taken) = again.entry(*dst).or_default();
        *count += 1;
        *taken += operations.iter().map(bytes::<S>).sum::<usize>();
    }
    let beyond = again.into_iter().find(|(_, (count, taken))| *count > 1 && *taken > options.bytes_max);
    beyond
        .map(|(dst, (count, taken))| format!("{count} messages with {taken} bytes are sent again to {dst:?} at a time"))
}

/// A leader that proposes something of its own has not yet proposed more bytes than may be undecided.
fn beyond_window_bytes<S: Judged>(
    options: &Options,
    input: &Input<MessageOf<S>, Timer>,
    state: &State<S>,
) -> Option<String> {
    let Role::Leading(leader) = &state.role else { return None };
    if *input != Input::Timeout(Timer::Flush) {
        return None;
    }
    let of = |entry: &Entry<S::Command>| entry.operations().iter().map(bytes::<S>).sum::<usize>();
    let earlier = leader.proposals.values().rev().skip(1).map(|proposal| of(&proposal.entry)).sum::<usize>();
    (earlier > options.window_bytes_max).then(|| format!("proposes more with {earlier} bytes undecided"))
}

/// What is proposed beside others on their way is full, but for as many as may go at a time; and what is left behind did not fit.
fn too_eager<S: Judged>(options: &Options, seen: &Seen<'_, S>, state: &State<S>) -> Option<String> {
    let Role::Leading(leader) = &state.role else { return None };
    let (last, proposal) = leader.proposals.last_key_value()?;
    let proposes = |(_, message): &_| matches!(message, Message::Accept { slot, .. } if slot == last);
    if *seen.input != Input::Timeout(Timer::Flush) || !seen.sends.iter().any(proposes) {
        return None;
    }
    let operations = proposal.entry.operations().len();
    let is_full = operations >= options.batch_max
        || leader.queue.front().is_some_and(|next| proposal.bytes + operation_bytes::<S>(next) > options.bytes_max);
    let may_go = leader.proposals.len() as u64 <= options.pipeline && leader.queue.is_empty();
    (!is_full && !may_go).then(|| format!("{operations} operations do not wait, in slot {last}"))
}

fn sent<S: Judged>(options: &Options, delivered: Option<&MessageOf<S>>, message: &MessageOf<S>) -> Option<String> {
    match message {
        Message::Accept { slot, entry, .. } if entry.operations().len() > options.batch_max => {
            Some(format!("an entry of {} operations in slot {slot}", entry.operations().len()))
        }
        Message::Decided { entries, .. } if entries.len() as u64 > options.fetch_max => {
            Some(format!("{} entries in one answer to a fetch", entries.len()))
        }
        Message::Forward { .. } if matches!(delivered, Some(Message::Forward { relayed: true, .. })) => {
            Some("what was passed on before is passed on again".into())
        }
        Message::ReadIndex { .. } if matches!(delivered, Some(Message::ReadIndex { relayed: true, .. })) => {
            Some("a read that was passed on before is passed on again".into())
        }
        _ => None,
    }
}

/// The configuration of a slot is known once everything `window` below it is chosen: nothing is proposed in it sooner.
pub fn beyond_window(options: &Options, record: &Record, proposed: impl IntoIterator<Item = Slot>) -> Option<String> {
    proposed.into_iter().find_map(|slot| {
        let end = (slot + 1).saturating_sub(options.window);
        let open = (0..end).find(|below| !record.chosen.contains_key(below))?;
        let window = options.window;
        Some(format!("proposes in slot {slot} before anything is chosen in slot {open}, with a window of {window}"))
    })
}
