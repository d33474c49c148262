//! Snapshots: what is applied takes the place of the log before it, here and at replicas that are behind.
//!
//! A snapshot is the applied state at a slot, taken at multiples of [`super::Options::snapshot_every`], so that all replicas' are
//! the same. A replica that lacks what the others have truncated asks for one in parts, saves each part as it arrives, and takes
//! it over whole with the last. Who sends keeps the snapshot, and the log behind it, until the other has caught up or makes no
//! progress. (D. Ongaro's thesis, section 5; there the leader starts over where here whoever has the same snapshot goes on.)

use super::ballot::Slot;
use super::executor::{Executor, Verdict};
use super::gateway::NodeSession;
use super::message::{Arrived, Done, Entry, Message, OperationId, OperationKey, Outcome, Uncertainty, entry_bytes};
use super::pieces::{PieceOf, PlaceOf};
use super::{Handler, Role, State};
use crate::machine::StateMachine;
use crate::mark::Mark;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::ops::Range;

/// What has arrived of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Arriving<S: StateMachine> {
    /// All pieces that arrived; `applied` is the slot of the whole.
    pub executor: Executor<S>,
    /// The place of the last of them.
    pub after: Option<PlaceOf<S>>,
}

/// What is kept for a member that is further behind than the log goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub struct Serving<S: StateMachine> {
    /// What it is being sent.
    pub sent: Sent<S>,
    /// How often things were sent again since it asked for more than it had asked for before.
    pub silent: u32,
    /// What was sent is sent again only once it was silent for so long.
    pub again: u32,
    /// Bytes of the log from what it needs on: they are kept for it.
    pub behind: usize,
    /// Bytes of the snapshot that it has. It may have fallen behind by so many more: a transfer that goes on as fast as others write
    /// ends, however large it is.
    pub given: usize,
}

/// What a member is being sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "S: StateMachine")]
pub enum Sent<S: StateMachine> {
    /// A snapshot; all pieces up to this place it has.
    Parts(Executor<S>, Option<PlaceOf<S>>),
    /// What is decided from this slot on.
    Entries(Slot),
}

/// How many bytes the pieces after one place take, up to another.
fn bytes_between<S: StateMachine>(
    snapshot: &Executor<S>,
    after: Option<&PlaceOf<S>>,
    to: Option<&PlaceOf<S>>,
) -> usize {
    let pieces = snapshot.pieces(after).take_while(|(place, _)| to.is_some_and(|to| place <= to));
    pieces.map(|(place, piece)| Executor::<S>::piece_bytes(&place, &piece)).fold(0, usize::saturating_add)
}

/// The longest time after which a part is sent again, in times that things are.
const AGAIN_MAX: u32 = 16;

impl<S: StateMachine> Serving<S> {
    /// The first slot whose entry it will ask for.
    pub fn needs(&self) -> Slot {
        match &self.sent {
            Sent::Parts(snapshot, _) => snapshot.applied,
            Sent::Entries(from) => *from,
        }
    }
}

impl<S: StateMachine> Handler<'_, '_, S> {
    /// At each multiple what is applied becomes the snapshot. Saves nothing: it follows from what is decided.
    pub(super) fn take_snapshot(&mut self) {
        let (every, applied) = (self.replica.options.snapshot_every, self.state.executor.applied);
        if every == 0 || !applied.is_multiple_of(every) {
            return;
        }
        Mark::SnapshotTaken.hit();
        let snapshot = self.state.executor.clone();
        self.durable_mut().snapshot = snapshot;
        self.leave_far_behind();
        let needed = self.state.serving.values().map(Serving::needs).min();
        let tail = self.newest(self.replica.options.tail, self.replica.options.tail_bytes);
        if needed.is_some_and(|slot| slot < tail) {
            Mark::LogKeptForOther.hit();
        }
        let durable = self.durable_mut();
        for slot in durable.first()..needed.map_or(tail, |slot| slot.min(tail)) {
            Mark::LogTruncated.hit();
            durable.log.remove(&slot);
        }
    }

    /// Nothing is kept any more for whoever needs more of the log than [`super::Options::kept_bytes`], and as many bytes beside as it
    /// was given of a snapshot.
    fn leave_far_behind(&mut self) {
        let kept = self.replica.options.kept_bytes;
        let is_left = |served: &Serving<S>| served.behind > kept.saturating_add(served.given);
        if self.state.serving.values().any(is_left) {
            Mark::ServedTooFarBehind.hit();
            self.state.to_mut().serving.retain(|_, served| !is_left(served));
        }
    }

    /// An entry is decided, which some of those that are helped will ask for.
    pub(super) fn fall_behind(&mut self, slot: Slot, entry: &Entry<S::Command>) {
        if !self.state.serving.is_empty() {
            let bytes = entry_bytes::<S>(entry);
            for served in self.state.to_mut().serving.values_mut().filter(|served| served.needs() <= slot) {
                served.behind = served.behind.saturating_add(bytes);
            }
        }
    }

    /// What the decided entries in some slots take.
    fn log_bytes(&self, slots: Range<Slot>) -> usize {
        let entries = self.state.durable.log.range(slots);
        entries.map(|(_, entry)| entry_bytes::<S>(entry)).fold(0, usize::saturating_add)
    }

    /// Where the newest entries before the snapshot begin: so many, and with so many bytes, at most.
    fn newest(&self, slots_max: u64, bytes_max: usize) -> Slot {
        let durable = &self.state.durable;
        let slot = durable.snapshot.applied;
        let entries = durable.log.range(slot.saturating_sub(slots_max)..slot).rev();
        let mut bytes = 0usize;
        let fits = |(_, entry): &(&Slot, &_)| {
            bytes = bytes.saturating_add(entry_bytes::<S>(entry));
            bytes <= bytes_max
        };
        entries.take_while(fits).last().map_or(slot, |(slot, _)| *slot)
    }

    /// Asks `dst` for what is decided and not known here. Until things are sent again a heartbeat makes it ask no more.
    pub(super) fn fetch(&mut self, dst: Id) {
        self.state.to_mut().fetching = true;
        self.ask(dst);
    }

    /// Something has come from `src`, and is asked for on; what is decided next, as soon as it is heard of.
    pub(super) fn fetch_on(&mut self, src: Id) {
        self.state.to_mut().fetching = false;
        self.ask(src);
    }

    fn ask(&mut self, dst: Id) {
        let durable = &self.state.durable;
        let arriving = durable.arriving.as_ref();
        let arriving =
            arriving.map(|arriving| Arrived { slot: arriving.executor.applied, after: arriving.after.clone() });
        self.out.send(dst, Message::Fetch { from: durable.decided, arriving });
    }

    /// Asks for what a leader has and this replica has not: the leader, or, every other time, whoever sent the snapshot that is
    /// arriving. It may have one that the leader has no more, and may be gone.
    pub(super) fn fetch_from_leader(&mut self, leader: Id) {
        let State { source, stalled, .. } = &**self.state;
        let waits = *stalled < self.replica.options.source_patience && !stalled.is_multiple_of(2);
        let source = source.filter(|source| waits && *source != leader);
        if source.is_some() {
            Mark::SourceAskedAgain.hit();
        }
        self.fetch(source.unwrap_or(leader));
    }

    /// Things are sent again: whoever makes no progress for long is helped no more.
    pub(super) fn age_transfers(&mut self) {
        let patience = self.replica.options.patience;
        if self.state.fetching {
            self.state.to_mut().fetching = false;
        }
        if self.state.durable.arriving.is_some() && self.state.stalled < self.replica.options.source_patience {
            self.state.to_mut().stalled += 1;
        }
        if !self.state.serving.is_empty() {
            let serving = &mut self.state.to_mut().serving;
            let before = serving.len();
            serving.retain(|_, served| {
                served.silent += 1;
                served.silent <= patience
            });
            if serving.len() < before {
                Mark::ServedNoMore.hit();
            }
        }
    }

    /// A member asks for what it lacks.
    pub(super) fn on_fetch(&mut self, src: Id, from: Slot, arriving: Option<Arrived<S::Place>>) {
        if let Some(served) = self.state.serving.get(&src) {
            let durable = &self.state.durable;
            if from >= durable.decided {
                self.state.to_mut().serving.remove(&src);
            } else if from >= durable.first() {
                let sent = Sent::Entries(from);
                let needed = served.needs();
                let passed = self.log_bytes(needed..from.max(needed));
                let behind = (served.behind + self.log_bytes(from..needed.max(from))).saturating_sub(passed);
                let served = match served.sent {
                    // Who starts again has saved less than it had learned, and needs that once more.
                    Sent::Entries(before) if from <= before => Serving { sent, behind, ..served.clone() },
                    Sent::Entries(_) => Serving { sent, silent: 0, again: 1, behind, ..*served },
                    Sent::Parts(..) => {
                        Mark::ServedFromLogAgain.hit();
                        Serving { sent, silent: 0, again: 1, behind, ..*served }
                    }
                };
                self.state.to_mut().serving.insert(src, served);
            }
        }
        self.send_decided(src, from, arriving);
    }

    /// Sends a part of the snapshot that is kept for `dst` or else of the latest: what follows if it is the one that `dst` has begun
    /// to receive, or else the first.
    ///
    /// A part that was sent before is sent again after times that double, up to [`AGAIN_MAX`]: it may be on its way.
    pub(super) fn send_part(&mut self, dst: Id, arriving: Option<Arrived<S::Place>>) {
        let latest = &self.state.durable.snapshot;
        let has_latest = arriving.as_ref().is_some_and(|arrived| arrived.slot == latest.applied);
        let kept = self.state.serving.get(&dst).and_then(|served| match &served.sent {
            Sent::Parts(snapshot, _) if has_latest && snapshot.applied != latest.applied => None,
            Sent::Parts(snapshot, after) => Some((snapshot, after, served)),
            Sent::Entries(_) => None,
        });
        let snapshot = kept.map_or(latest, |(snapshot, ..)| snapshot);
        let after = arriving.filter(|arrived| arrived.slot == snapshot.applied).and_then(|arrived| arrived.after);
        let sent_before = kept.filter(|(_, before, _)| after <= **before);
        if sent_before.is_some_and(|(.., served)| served.silent < served.again) {
            Mark::PartSentBefore.hit();
            return;
        }
        let mut rest = snapshot.pieces(after.as_ref()).peekable();
        let (mut pieces, mut bytes) = (Vec::new(), 0usize);
        while let Some((place, piece)) = rest.peek() {
            bytes = bytes.saturating_add(Executor::<S>::piece_bytes(place, piece));
            if !pieces.is_empty() && bytes > self.replica.options.bytes_max {
                Mark::PartFullOfBytes.hit();
                break;
            }
            pieces.extend(rest.next());
        }
        let last = rest.peek().is_none();
        drop(rest);
        let served = match sent_before {
            Some((.., served)) => Serving { again: served.silent + served.silent.min(AGAIN_MAX), ..served.clone() },
            None => {
                let sent = Sent::Parts(snapshot.clone(), after.clone());
                let to = after.as_ref();
                let (behind, given) = match kept {
                    Some((_, had, served)) => (served.behind, served.given + bytes_between(snapshot, had.as_ref(), to)),
                    // It may have a part of another sender.
                    None => {
                        let decided = self.state.durable.decided;
                        (self.log_bytes(snapshot.applied..decided), bytes_between(snapshot, None, to))
                    }
                };
                Serving { sent, silent: 0, again: 1, behind, given }
            }
        };
        let message = Message::Part { slot: snapshot.applied, after, pieces, last };
        self.state.to_mut().serving.insert(dst, served);
        self.out.send(dst, message);
    }

    /// A part of a snapshot. It is saved, and the next one asked for; with the last, the snapshot takes the place of all that is
    /// known here below its slot.
    pub(super) fn on_part(
        &mut self,
        src: Id,
        slot: Slot,
        after: Option<PlaceOf<S>>,
        pieces: Vec<(PlaceOf<S>, PieceOf<S>)>,
        last: bool,
    ) {
        let durable = &self.state.durable;
        if slot <= durable.decided {
            Mark::PartOutdated.hit();
            return;
        }
        let arriving = durable.arriving.as_ref();
        let same = arriving.is_some_and(|arriving| arriving.executor.applied == slot);
        let next = same && arriving.is_some_and(|arriving| arriving.after == after);
        // Another one is begun only where nobody is known to go on with this one, or none would ever be whole.
        let later = arriving.is_some_and(|arriving| arriving.executor.applied < slot);
        let replaced = later && self.state.source.is_none_or(|source| source == src);
        let silent = self.state.stalled >= self.replica.options.source_patience;
        let idle = arriving.is_none() || !same && (replaced || silent);
        let begins = idle && after.is_none();
        if !next && !begins {
            Mark::PartNotNext.hit();
            return;
        }
        if arriving.is_some() && !same {
            Mark::PartOfAnother.hit();
        }
        let state = self.state.to_mut();
        state.stalled = 0;
        state.source = Some(src);
        let durable = self.durable_mut();
        let mut arriving = durable
            .arriving
            .take()
            .filter(|_| same)
            .unwrap_or_else(|| Arriving { executor: Executor { applied: slot, ..Executor::default() }, after: None });
        for (place, piece) in pieces {
            arriving.after = Some(place.clone());
            arriving.executor.put(place, piece);
        }
        if last {
            self.install(arriving.executor);
        } else {
            Mark::PartTaken.hit();
            durable.arriving = Some(arriving);
        }
        self.save();
        if last {
            self.fetch_on(src);
            self.lead_if_promised();
        } else {
            self.fetch(src);
        }
    }

    /// Takes over what is applied, decided and done at the snapshot's slot, at once.
    ///
    /// A leader stops: what was chosen below the slot, in a higher ballot perhaps, it did not see.
    fn install(&mut self, executor: Executor<S>) {
        Mark::SnapshotInstalled.hit();
        let slot = executor.applied;
        if matches!(self.state.role, Role::Leading(_)) {
            Mark::LeaderInstalls.hit();
            self.follow_nobody();
        }
        let durable = self.durable_mut();
        durable.accepted = durable.accepted.split(&(slot - 1)).1;
        durable.log = durable.log.split(&(slot - 1)).1;
        durable.decided = slot;
        durable.snapshot = executor.clone();
        let state = self.state.to_mut();
        state.executor = executor;
        state.source = None;
        state.serving.retain(|_, served| served.needs() >= slot);
        self.settle();
        self.serve_reads();
    }

    /// What was done in the slots that were passed over is told to those who wait for it here, as far as the sessions tell it.
    /// Where the session is gone nobody can tell.
    fn settle(&mut self) {
        let (executor, gateway) = (&self.state.executor, &self.state.gateway);
        let mut settled = Vec::new();
        if let (Some((session, life)), NodeSession::Opening) = (executor.session_of(self.id), gateway.session)
            && gateway.incarnation == Some(life)
        {
            Mark::OpeningPassedOver.hit();
            let key = OperationKey::Open { node: self.id, incarnation: life };
            settled.push((key, Verdict::Done(Done::Opened(session))));
        }
        for (id, by_node) in gateway.named.keys() {
            if let Some(done) = executor.answer(id, *by_node) {
                Mark::OperationPassedOver.hit();
                settled.push((OperationKey::InSession(*id, *by_node), Verdict::Done(done.clone())));
            }
        }
        let gone = |id: &OperationId| !executor.sessions.contains_key(&id.session);
        let named = gateway.named.iter();
        let lost = named.filter(|((id, by_node), number)| *by_node && gone(id) && gateway.writes[number].handed_on);
        let lost: Vec<u64> = lost.map(|(_, number)| *number).collect();
        for (key, verdict) in settled {
            self.complete(key, verdict);
        }
        for number in lost {
            Mark::OperationLostSight.hit();
            self.finish_write(number, Outcome::Unknown(Uncertainty::SessionExpired));
        }
    }
}
