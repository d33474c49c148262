//! `snapshots`: each is taken where it should be, is what was applied there however it is cut, and is kept, with the log behind
//! it, for whoever is being sent it.

use super::step::{Judged, Looks, Seen};
use super::transition::stored_or_empty;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Message, MessageOf, entry_bytes};
use paxos_model::replica::snapshot::{Sent, Serving};
use paxos_model::replica::{Options, State, Timer};
use paxos_model::trace::Input;
use stateright::actor::Id;

/// The first rule that a step breaks, in words.
pub fn broken<S: Judged>(
    options: &Options,
    seen: &Seen<'_, S>,
    before: &State<S>,
    after: &State<S>,
    looks: Looks,
) -> Option<String> {
    if options.snapshot_every == 0 && after.durable.snapshot.applied == 0 {
        return asks_no_more(seen, after);
    }
    if looks == Looks::Everywhere
        && after.executor.applied != before.executor.applied
        && let Some(why) = falls_apart(&after.executor)
    {
        return Some(why);
    }
    elsewhere(options, after)
        .or_else(|| cut_elsewhere(options, seen, before, after))
        .or_else(|| gone_too_soon(seen, after))
        .or_else(|| given_up(options, seen, before, after))
        .or_else(|| not_continued(seen, before))
        .or_else(|| miscounted(before, after, looks))
        .or_else(|| helped_on(options, seen, before, after))
        .or_else(|| hurried(seen, before, after))
        .or_else(|| forgotten(options, seen, before, after))
        .or_else(|| asks_no_more(seen, after))
        .or_else(|| not_saved(seen, before, after))
        .or_else(|| seen.sends.iter().find_map(|(_, message)| unfounded(seen, message)))
}

/// Every replica has the snapshot of the last multiple that it has applied, and of no other slot; what arrives is of a later one.
fn elsewhere<S: Judged>(options: &Options, state: &State<S>) -> Option<String> {
    let decided = state.durable.decided;
    let slot = decided.checked_div(options.snapshot_every).map_or(0, |times| times * options.snapshot_every);
    let has = state.durable.snapshot.applied;
    if state.durable.arriving.is_none() && state.source.is_some() {
        return Some(format!("no snapshot arrives, from {:?}", state.source));
    }
    if let Some(arriving) = state.durable.arriving.as_ref().filter(|arriving| arriving.executor.applied <= decided) {
        return Some(format!("{decided} slots are decided, and slot {}'s snapshot is kept", arriving.executor.applied));
    }
    (has != slot).then(|| format!("with {decided} slots decided the snapshot is of slot {has}, not {slot}"))
}

/// A new snapshot takes the place of the log before its tail, but for what another member will ask for, and of nothing else. The
/// tail is as long as the options say, in slots and in bytes; who would need more bytes than are kept for it is left alone.
fn cut_elsewhere<S: Judged>(
    options: &Options,
    seen: &Seen<'_, S>,
    before: &State<S>,
    after: &State<S>,
) -> Option<String> {
    let durable = &after.durable;
    let slot = durable.snapshot.applied;
    let installs = matches!(seen.delivered(), Some((_, Message::Part { .. })));
    if seen.is_restart() || slot == before.durable.snapshot.applied || installs {
        return None;
    }
    let first = durable.first();
    let needed = after.serving.values().map(|served| served.needs()).min().unwrap_or(slot);
    let bytes = |slot| before.durable.log.get(&slot).or(durable.log.get(&slot)).map(entry_bytes::<S>);
    let left = |(node, served): (&Id, &Serving<S>)| {
        // An entry that this node had no vote for comes and goes in one step.
        let needs = (served.needs()..slot).map(bytes).sum::<Option<usize>>()?;
        let is_left = !after.serving.contains_key(node);
        (is_left != (needs > options.kept_bytes + served.given))
            .then(|| format!("node {node:?} has {} bytes, and needs {needs}; left: {is_left}", served.given))
    };
    if let Some(why) = before.serving.iter().find_map(left) {
        return Some(why);
    }
    let kept = (first..slot).rev().scan(0, |bytes, slot| {
        *bytes += durable.log.get(&slot).map_or(0, entry_bytes::<S>);
        Some((slot, *bytes))
    });
    let within = |(at, bytes): &(u64, usize)| slot - at <= options.tail && *bytes <= options.tail_bytes;
    let tail = kept.take_while(within).last().map_or(slot, |(at, _)| at);
    if first < tail.min(needed) {
        return Some(format!("slot {first} is kept in the log, with a snapshot of slot {slot}"));
    }
    let last = (before.durable.first()..first).next_back()?;
    let fitted = slot - last <= options.tail && (last..slot).filter_map(bytes).sum::<usize>() <= options.tail_bytes;
    (fitted && before.durable.log.contains_key(&last))
        .then(|| format!("slot {last} is cut off, and belongs to the tail of {slot}"))
}

/// It is known how far a member that is being helped is behind, and how much of a snapshot it has, or had when it was through.
fn miscounted<S: Judged>(before: &State<S>, after: &State<S>, looks: Looks) -> Option<String> {
    let durable = &after.durable;
    let is_same = |node: &Id, served: &Serving<S>| before.serving.get(node).is_some_and(|was| was.sent == served.sent);
    let changed = after.serving.iter().filter(|(node, served)| looks == Looks::Everywhere || !is_same(node, served));
    changed.into_iter().find_map(|(node, served)| {
        let behind = (served.needs()..durable.decided).map(|slot| durable.log.get(&slot).map_or(0, entry_bytes::<S>));
        let given = match &served.sent {
            Sent::Parts(snapshot, has) => {
                let had = snapshot.pieces(None).filter(|(place, _)| Some(place) <= has.as_ref());
                had.map(|(place, piece)| Executor::<S>::piece_bytes(&place, &piece)).sum()
            }
            Sent::Entries(_) => before.serving.get(node).map_or(0, |served| served.given),
        };
        let counted = (served.behind, served.given);
        let (behind, given) = (behind.sum::<usize>(), given);
        (counted != (behind, given))
            .then(|| format!("node {node:?} lacks {behind} bytes and has {given}, and {counted:?} are counted"))
    })
}

/// What a member that is being helped will ask for next is there.
fn gone_too_soon<S: Judged>(seen: &Seen<'_, S>, state: &State<S>) -> Option<String> {
    let first = state.durable.first();
    if let Some((src, Message::Fetch { from, .. })) = seen.delivered()
        && let Some(served) = state.serving.get(&src)
        && (first..served.needs()).contains(from)
    {
        return Some(format!(
            "node {src:?} asks for slot {from}, and only {} and later are kept for it",
            served.needs()
        ));
    }
    let (node, served) = state.serving.iter().find(|(_, served)| first > served.needs())?;
    Some(format!("node {node:?} will ask for slot {}, and the log begins with slot {first}", served.needs()))
}

/// What has arrived is kept until it is whole, or overtaken, or nothing more of it came for long, or its sender has a later one.
fn given_up<S: Judged>(options: &Options, seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    let (was, is) = (before.durable.arriving.as_ref()?, after.durable.arriving.as_ref());
    let slot = was.executor.applied;
    let goes_on = is.map_or(after.durable.decided >= slot, |is| is.executor.applied == slot && is.after >= was.after);
    // Its sender has it no more, or is not known after a restart.
    let replaced = is.is_some_and(|is| is.executor.applied > slot)
        && matches!(seen.delivered(), Some((src, Message::Part { .. })) if before.source.is_none_or(|source| source == src));
    (!goes_on && !replaced && before.stalled < options.source_patience)
        .then(|| format!("the snapshot of slot {slot} is given up"))
}

/// Only who asks for more than before is waited for on; who has not for as long as the options say is left alone.
fn helped_on<S: Judged>(options: &Options, seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    let resends = *seen.input == Input::Timeout(Timer::Resend);
    let asked = |node| matches!(seen.delivered(), Some((src, Message::Fetch { .. } | Message::Heartbeat { .. })) if src == node);
    let aged = |(node, earlier): (&Id, &Serving<S>)| {
        let now = after.serving.get(node);
        let ages = now.map(|served| served.silent) == Some(earlier.silent + 1).filter(|age| *age <= options.patience);
        (resends && !ages).then(|| format!("node {node:?} was silent for {}, and now {now:?}", earlier.silent))
    };
    let waited_for = |(node, served): (&Id, &Serving<S>)| {
        let earlier = before.serving.get(node)?;
        let further = match (&earlier.sent, &served.sent) {
            (Sent::Parts(old, has), Sent::Parts(new, has_now)) => new.applied > old.applied || has_now > has,
            (Sent::Entries(from), Sent::Entries(now)) => now > from,
            (Sent::Parts(..), Sent::Entries(_)) => true,
            (Sent::Entries(_), Sent::Parts(..)) => asked(*node),
        };
        (!further && served.silent < earlier.silent)
            .then(|| format!("node {node:?} makes no progress, and is waited for"))
    };
    before.serving.iter().find_map(aged).or_else(|| after.serving.iter().find_map(waited_for))
}

/// Who sends a part is remembered until the next, so that it can be asked again; and every other time it is it that is asked.
fn forgotten<S: Judged>(options: &Options, seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    match seen.delivered()? {
        (src, Message::Part { slot, after: place, .. }) => {
            let was = before.durable.arriving.as_ref().map_or(Slot::MAX, |was| was.executor.applied);
            let taken = after.durable.arriving != before.durable.arriving;
            let expected = if taken { Some(src) } else { before.source };
            let expected = expected.filter(|_| after.durable.arriving.is_some());
            if !taken && before.source.is_none_or(|source| source == src) && *slot > was && place.is_none() {
                return Some(format!("nobody is known to have slot {was}'s snapshot, and it is waited for"));
            }
            (after.source != expected)
                .then(|| format!("a part comes from {src:?}, and {:?} is remembered", after.source))
        }
        (src, Message::Heartbeat { .. }) => {
            let fetch = |(dst, message): &(Id, MessageOf<S>)| matches!(message, Message::Fetch { .. }).then_some(*dst);
            let asked = seen.sends.iter().find_map(fetch)?;
            let in_turn = before.stalled % 2 == 1 && before.stalled < options.source_patience;
            let expected = before.source.filter(|_| in_turn && after.source.is_some()).unwrap_or(src);
            (asked != expected).then(|| format!("{asked:?} is asked, and it is the turn of {expected:?}"))
        }
        _ => None,
    }
}

/// When things are sent again what was asked for may be asked for again.
fn asks_no_more<S: Judged>(seen: &Seen<'_, S>, after: &State<S>) -> Option<String> {
    let asks = || seen.sends.iter().any(|(_, message)| matches!(message, Message::Fetch { .. }));
    (*seen.input == Input::Timeout(Timer::Resend) && after.fetching && !asks())
        .then(|| "what was asked for before things were sent again is not asked for again".into())
}

/// Who asks for what follows in a snapshot is sent that, if it is the one that is kept for it or else the latest; what it was sent
/// before, again after times that double. Nobody is sent one of a slot that it has passed.
fn not_continued<S: Judged>(seen: &Seen<'_, S>, before: &State<S>) -> Option<String> {
    let passed = match seen.delivered() {
        Some((_, Message::Fetch { from, .. } | Message::Heartbeat { decided: from, .. })) => *from,
        _ => 0,
    };
    let outdated = |(_, message): &(Id, MessageOf<S>)| matches!(message, Message::Part { slot, .. } if *slot <= passed);
    if seen.sends.iter().any(outdated) {
        return Some(format!("a snapshot is sent to who has passed its slot, with {passed} decided"));
    }
    let Some((src, Message::Fetch { from, arriving })) = seen.delivered() else { return None };
    let latest = &before.durable.snapshot;
    let has = |executor: &Executor<S>| arriving.as_ref().is_some_and(|arrived| arrived.slot == executor.applied);
    let kept = before.serving.get(&src).and_then(|served| match &served.sent {
        Sent::Parts(snapshot, after) if has(snapshot) || !has(latest) => Some((snapshot, after, served)),
        _ => None,
    });
    let snapshot = kept.map_or(latest, |(snapshot, ..)| snapshot);
    let after = arriving.as_ref().filter(|_| has(snapshot)).and_then(|arrived| arrived.after.clone());
    let on_its_way = kept.is_some_and(|(_, sent, served)| after <= *sent && served.silent < served.again);
    let expected = *from < before.durable.first() && *from < snapshot.applied && !on_its_way;
    let sent = seen.sends.iter().find_map(|(_, message)| match message {
        Message::Part { slot, after, .. } => Some((*slot, after.clone())),
        _ => None,
    });
    let right = sent == expected.then_some((snapshot.applied, after));
    (!right).then(|| format!("asked for what follows {arriving:?}, and sends {sent:?}; on its way: {on_its_way}"))
}

/// A part that was sent before is sent again after times that double, or after sixteen.
fn hurried<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    seen.sends.iter().find_map(|(dst, message)| {
        let Message::Part { slot, after: place, .. } = message else { return None };
        let (earlier, now) = (before.serving.get(dst)?, after.serving.get(dst)?);
        let Sent::Parts(snapshot, sent) = &earlier.sent else { return None };
        if snapshot.applied != *slot || place > sent {
            return None;
        }
        let silent = earlier.silent;
        let in_time = silent >= earlier.again && now.again >= (2 * silent).min(silent + 16) && now.silent == silent;
        (!in_time)
            .then(|| format!("a part is sent to {dst:?} again after {silent}, and may be next after {}", now.again))
    })
}

/// What arrives is saved as it arrives; with the last part, what it comes to.
fn not_saved<S: Judged>(seen: &Seen<'_, S>, before: &State<S>, after: &State<S>) -> Option<String> {
    let Some((_, Message::Part { .. })) = seen.delivered() else { return None };
    let stored = stored_or_empty(seen.stored_after);
    let (memory, earlier) = (&after.durable, &before.durable);
    let changed = memory.snapshot != earlier.snapshot || memory.arriving != earlier.arriving;
    let saved = stored.snapshot == memory.snapshot && stored.arriving == memory.arriving;
    (changed && !saved).then(|| "a part of a snapshot is taken, and not saved".into())
}

/// What follows a place is asked for only if everything up to it is stored.
fn unfounded<S: Judged>(seen: &Seen<'_, S>, message: &MessageOf<S>) -> Option<String> {
    let Message::Fetch { arriving: Some(arrived), .. } = message else { return None };
    let stored = stored_or_empty(seen.stored_after);
    let has = stored.arriving.as_ref();
    let founded = has.is_some_and(|has| (has.executor.applied, &has.after) == (arrived.slot, &arrived.after));
    (!founded).then(|| format!("asks for what follows {arrived:?}, which is not stored"))
}

/// Where the applied state, cut in pieces anywhere and put together again, is not itself, in words.
fn falls_apart<S: Judged>(executor: &Executor<S>) -> Option<String> {
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
