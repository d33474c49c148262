//! `snapshots`: each is taken where it should be, is what was applied there however it is cut, and is kept, with the log behind
//! it, for whoever is being sent it.

use super::audit::Audit;
use super::judge::Seen;
use super::party::Msg;
use super::transition::stored_or_empty;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Message, entry_bytes};
use paxos_model::replica::{Options, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;

/// The first rule that a step breaks, in words.
pub fn broken(options: &Options, seen: &Seen<'_>, before: &State<Audit>, after: &State<Audit>) -> Option<String> {
    if options.snapshot_every == 0 && after.durable.snapshot.applied == 0 {
        return asks_no_more(seen, after);
    }
    if after.executor.applied != before.executor.applied
        && let Some(why) = falls_apart(&after.executor)
    {
        return Some(why);
    }
    elsewhere(options, after)
        .or_else(|| cut_elsewhere(options, seen, before, after))
        .or_else(|| gone_too_soon(after))
        .or_else(|| given_up(options, before, after))
        .or_else(|| not_continued(seen, before))
        .or_else(|| asks_no_more(seen, after))
        .or_else(|| not_saved(seen, before, after))
        .or_else(|| seen.sends.iter().find_map(|(_, message)| unfounded(seen, message)))
}

/// Every replica has the snapshot of the last multiple that it has applied, and of no other slot; what arrives is of a later one.
fn elsewhere(options: &Options, state: &State<Audit>) -> Option<String> {
    let decided = state.durable.decided;
    let slot = decided.checked_div(options.snapshot_every).map_or(0, |times| times * options.snapshot_every);
    let has = state.durable.snapshot.applied;
    if let Some(arriving) = state.durable.arriving.as_ref().filter(|arriving| arriving.executor.applied <= decided) {
        return Some(format!("{decided} slots are decided, and slot {}'s snapshot is kept", arriving.executor.applied));
    }
    (has != slot).then(|| format!("with {decided} slots decided the snapshot is of slot {has}, not {slot}"))
}

/// A new snapshot takes the place of the log before its tail, but for what another member will ask for, and of nothing else. The
/// tail is as long as the options say, in slots and in bytes.
fn cut_elsewhere(options: &Options, seen: &Seen<'_>, before: &State<Audit>, after: &State<Audit>) -> Option<String> {
    let durable = &after.durable;
    let slot = durable.snapshot.applied;
    let installs = matches!(seen.delivered(), Some((_, Message::Part { .. })));
    if seen.is_restart() || slot == before.durable.snapshot.applied || installs {
        return None;
    }
    let first = durable.first();
    let needed = before.serving.values().map(|served| served.needs()).min().unwrap_or(slot);
    let kept = (first..slot).rev().scan(0, |bytes, slot| {
        *bytes += durable.log.get(&slot).map_or(0, entry_bytes::<Audit>);
        Some((slot, *bytes))
    });
    let within = |(at, bytes): &(u64, usize)| slot - at <= options.tail && *bytes <= options.tail_bytes;
    let tail = kept.take_while(within).last().map_or(slot, |(at, _)| at);
    if first < tail.min(needed) {
        return Some(format!("slot {first} is kept in the log, with a snapshot of slot {slot}"));
    }
    let last = (before.durable.first()..first).next_back()?;
    let bytes = |slot| before.durable.log.get(&slot).map_or(0, entry_bytes::<Audit>);
    let fitted = slot - last <= options.tail && (last..slot).map(bytes).sum::<usize>() <= options.tail_bytes;
    (fitted && before.durable.log.contains_key(&last))
        .then(|| format!("slot {last} is cut off, and belongs to the tail of {slot}"))
}

/// What a member that is being helped will ask for next is there.
fn gone_too_soon(state: &State<Audit>) -> Option<String> {
    let first = state.durable.first();
    let (node, served) = state.serving.iter().find(|(_, served)| first > served.needs())?;
    Some(format!("node {node:?} will ask for slot {}, and the log begins with slot {first}", served.needs()))
}

/// What has arrived is kept until it is whole, or overtaken, or nothing more of it came for long.
fn given_up(options: &Options, before: &State<Audit>, after: &State<Audit>) -> Option<String> {
    let (was, is) = (before.durable.arriving.as_ref()?, after.durable.arriving.as_ref());
    let slot = was.executor.applied;
    let goes_on = is.map_or(after.durable.decided >= slot, |is| is.executor.applied == slot && is.after >= was.after);
    (!goes_on && before.stalled < options.patience).then(|| format!("the snapshot of slot {slot} is given up"))
}

/// When things are sent again what was asked for may be asked for again.
fn asks_no_more(seen: &Seen<'_>, after: &State<Audit>) -> Option<String> {
    let asks = || seen.sends.iter().any(|(_, message)| matches!(message, Message::Fetch { .. }));
    (*seen.input == Input::Timeout(Timer::Resend) && after.fetching && !asks())
        .then(|| "what was asked for before things were sent again is not asked for again".into())
}

/// Who asks for what follows in a snapshot is sent that, if it is the one that is kept for it or else the latest; and nobody is sent
/// one of a slot that it has passed.
fn not_continued(seen: &Seen<'_>, before: &State<Audit>) -> Option<String> {
    let passed = match seen.delivered() {
        Some((_, Message::Fetch { from, .. } | Message::Heartbeat { decided: from, .. })) => *from,
        _ => 0,
    };
    let outdated = |(_, message): &(Id, Msg)| matches!(message, Message::Part { slot, .. } if *slot <= passed);
    if seen.sends.iter().any(outdated) {
        return Some(format!("a snapshot is sent to who has passed its slot, with {passed} decided"));
    }
    let Some((src, Message::Fetch { from, arriving: Some(arrived) })) = seen.delivered() else { return None };
    let kept = before.serving.get(&src).and_then(|served| served.snapshot.as_ref());
    let has = kept.unwrap_or(&before.durable.snapshot).applied == arrived.slot;
    let follows = |(_, message): &(Id, Msg)| match message {
        Message::Part { slot, after, .. } => (*slot, after) == (arrived.slot, &arrived.after),
        _ => false,
    };
    let cut = *from < before.durable.first() && *from < arrived.slot;
    (cut && has && !seen.sends.iter().any(follows)).then(|| format!("what follows {arrived:?} is not sent"))
}

/// What arrives is saved as it arrives; with the last part, what it comes to.
fn not_saved(seen: &Seen<'_>, before: &State<Audit>, after: &State<Audit>) -> Option<String> {
    let Some((_, Message::Part { .. })) = seen.delivered() else { return None };
    let stored = stored_or_empty(seen.stored_after);
    let (memory, earlier) = (&after.durable, &before.durable);
    let changed = memory.snapshot != earlier.snapshot || memory.arriving != earlier.arriving;
    let saved = stored.snapshot == memory.snapshot && stored.arriving == memory.arriving;
    (changed && !saved).then(|| "a part of a snapshot is taken, and not saved".into())
}

/// What follows a place is asked for only if everything up to it is stored.
fn unfounded(seen: &Seen<'_>, message: &Msg) -> Option<String> {
    let Message::Fetch { arriving: Some(arrived), .. } = message else { return None };
    let stored = stored_or_empty(seen.stored_after);
    let has = stored.arriving.as_ref();
    let founded = has.is_some_and(|has| (has.executor.applied, &has.after) == (arrived.slot, &arrived.after));
    (!founded).then(|| format!("asks for what follows {arrived:?}, which is not stored"))
}

/// Where the applied state, cut in pieces anywhere and put together again, is not itself, in words.
fn falls_apart(executor: &Executor<Audit>) -> Option<String> {
    let pieces: Vec<_> = executor.pieces(None).collect();
    let mut whole = Executor { applied: executor.applied, ..Executor::default() };
    for (index, (place, piece)) in pieces.iter().enumerate() {
        if !executor.pieces(Some(place)).eq(pieces[index + 1..].iter().cloned()) {
            return Some(format!("after {place:?} other pieces follow than those that do"));
        }
        whole.put(place.clone(), piece.clone());
    }
    (whole != *executor).then(|| format!("put together from its pieces it is {whole:?}, and was {executor:?}"))
}
