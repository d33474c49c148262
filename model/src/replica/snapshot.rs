//! Snapshots: what is applied takes the place of the log before it, here and at replicas that are behind.
//!
//! A snapshot is the applied state at a slot, taken at multiples of [`super::Options::snapshot_every`], so that all replicas' are
//! the same. A replica that lacks what the others have truncated asks for one in parts, saves each part as it arrives, and takes
//! it over whole with the last. Who sends keeps the snapshot, and the log behind it, until the other has caught up or is silent.
//! (D. Ongaro's thesis, section 5; there the leader starts over where here any replica goes on.)

use super::ballot::Slot;
use super::executor::{Executor, Verdict};
use super::gateway::NodeSession;
use super::message::{Arrived, Done, Message, OperationId, OperationKey, Outcome, Uncertainty, entry_bytes};
use super::pieces::{PieceOf, PlaceOf, piece_bytes};
use super::{Handler, Role};
use crate::machine::StateMachine;
use crate::mark::Mark;
use stateright::actor::Id;

/// What has arrived of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arriving<S: StateMachine> {
    /// All pieces that arrived; `applied` is the slot of the whole.
    pub executor: Executor<S>,
    /// The place of the last of them.
    pub after: Option<PlaceOf<S>>,
}

/// What is kept for a member that is further behind than the log goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serving<S: StateMachine> {
    /// The snapshot that it is being sent, until it has it.
    pub snapshot: Option<Executor<S>>,
    /// It asked for what is decided from here on.
    pub from: Slot,
    /// How often things were sent again since it asked.
    pub silent: u32,
}

impl<S: StateMachine> Serving<S> {
    /// The first slot whose entry it will ask for.
    pub fn needs(&self) -> Slot {
        self.snapshot.as_ref().map_or(self.from, |snapshot| snapshot.applied)
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
        let tail = self.tail();
        let needed = self.state.serving.values().map(Serving::needs).min();
        if needed.is_some_and(|slot| slot < tail) {
            Mark::LogKeptForOther.hit();
        }
        let durable = self.durable_mut();
        for slot in durable.first()..needed.map_or(tail, |slot| slot.min(tail)) {
            Mark::LogTruncated.hit();
            durable.log.remove(&slot);
        }
    }

    /// Where the entries begin that are kept although the snapshot holds what they came to.
    fn tail(&self) -> Slot {
        let options = &self.replica.options;
        let durable = &self.state.durable;
        let slot = durable.snapshot.applied;
        let slots = (durable.first().max(slot.saturating_sub(options.tail))..slot).rev();
        let mut bytes = 0usize;
        let fits = |slot: &Slot| {
            bytes = bytes.saturating_add(entry_bytes::<S>(&durable.log[slot]));
            bytes <= options.tail_bytes
        };
        slots.take_while(fits).last().unwrap_or(slot)
    }

    /// Asks `dst` for what is decided and not known here. Until things are sent again a heartbeat makes it ask no more.
    pub(super) fn fetch(&mut self, dst: Id) {
        self.state.to_mut().fetching = true;
        let durable = &self.state.durable;
        let arriving = durable.arriving.as_ref();
        let arriving =
            arriving.map(|arriving| Arrived { slot: arriving.executor.applied, after: arriving.after.clone() });
        self.out.send(dst, Message::Fetch { from: durable.decided, arriving });
    }

    /// Things are sent again: whoever has asked for nothing for long is helped no more.
    pub(super) fn age_transfers(&mut self) {
        let patience = self.replica.options.patience;
        if self.state.fetching {
            self.state.to_mut().fetching = false;
        }
        if self.state.durable.arriving.is_some() && self.state.stalled < patience {
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
        if self.state.serving.contains_key(&src) {
            let decided = self.state.durable.decided;
            let serving = &mut self.state.to_mut().serving;
            if from >= decided {
                serving.remove(&src);
            } else if let Some(served) = serving.get_mut(&src) {
                served.silent = 0;
                served.from = from;
                if served.snapshot.as_ref().is_some_and(|snapshot| snapshot.applied <= from) {
                    Mark::ServedFromLogAgain.hit();
                    served.snapshot = None;
                }
            }
        }
        self.send_decided(src, from, arriving);
    }

    /// Sends a part of the snapshot that is kept for `dst` or else of the latest: what follows if it is the one that `dst` has begun
    /// to receive, or else the first.
    pub(super) fn send_part(&mut self, dst: Id, from: Slot, arriving: Option<Arrived<S::Place>>) {
        let latest = &self.state.durable.snapshot;
        let kept = self.state.serving.get(&dst).and_then(|served| served.snapshot.as_ref());
        let snapshot = kept.unwrap_or(latest);
        let after = arriving.as_ref().filter(|arrived| arrived.slot == snapshot.applied);
        let after = after.and_then(|arrived| arrived.after.as_ref());
        let mut rest = snapshot.pieces(after).peekable();
        let (mut pieces, mut bytes) = (Vec::new(), 0usize);
        while let Some((place, piece)) = rest.peek() {
            bytes = bytes.saturating_add(piece_bytes::<S>(place, piece));
            if !pieces.is_empty() && bytes > self.replica.options.bytes_max {
                Mark::PartFullOfBytes.hit();
                break;
            }
            pieces.extend(rest.next());
        }
        let last = rest.peek().is_none();
        drop(rest);
        let message = Message::Part { slot: snapshot.applied, after: after.cloned(), pieces, last };
        let served = Serving { snapshot: Some(snapshot.clone()), from, silent: 0 };
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
        // Another one is begun only where nobody goes on with this one, or none would ever be whole.
        let idle = arriving.is_none() || !same && self.state.stalled >= self.replica.options.patience;
        let begins = idle && after.is_none();
        if !next && !begins {
            Mark::PartNotNext.hit();
            return;
        }
        if arriving.is_some() && !same {
            Mark::PartOfAnother.hit();
        }
        self.state.to_mut().stalled = 0;
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
        self.fetch(src);
        if last {
            // What is decided next is asked for as soon as it is heard of.
            self.state.to_mut().fetching = false;
            self.lead_if_promised();
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
