//! How a decision reaches everybody: the leader's heartbeats say how far the log is decided, and what is missing is fetched.

use super::ballot::{Ballot, Slot};
use super::leader::Leader;
use super::message::{Arrived, Entry, Message, entry_bytes, fitting};
use super::{Handler, Role};
use crate::machine::StateMachine;
use crate::mark::Mark;
use stateright::actor::Id;

impl<S: StateMachine> Handler<'_, '_, S> {
    /// A leader is at work. Its mark decides what was voted for **in its ballot**; a vote in another ballot may be for
    /// another value.
    pub(super) fn on_heartbeat(&mut self, src: Id, ballot: Ballot, decided: Slot, round: u64) {
        if ballot < self.state.durable.promised {
            Mark::HeartbeatBelowPromise.hit();
            return;
        }
        if self.state.following != Some(ballot) {
            if !matches!(self.state.role, Role::Following) {
                Mark::HeartbeatEndsCandidacy.hit();
            }
            let state = self.state.to_mut();
            state.role = Role::Following;
            state.following = Some(ballot);
            self.arm_flush_if_waiting();
        }
        self.arm_election();
        self.out.send(src, Message::HeartbeatAck { ballot, round });
        while self.state.durable.decided < decided
            && self.state.durable.accepted.get(&self.state.durable.decided) == Some(&ballot)
        {
            Mark::DecidedByHeartbeat.hit();
            let slot = self.state.durable.decided;
            let entry = self.state.durable.log[&slot].clone();
            self.learn(slot, entry);
        }
        if self.state.durable.decided < decided && !self.state.fetching {
            Mark::FetchAfterHeartbeat.hit();
            self.fetch_from_leader(src);
        }
        if self.state.durable.decided > decided {
            Mark::LeaderBehind.hit();
            self.send_decided(src, decided, None);
        }
    }

    /// Takes a decision for the first slot that had none, applies it, and answers who waited for it. Saves nothing: the
    /// decision follows from durable votes.
    pub(super) fn learn(&mut self, slot: Slot, entry: Entry<S::Command>) {
        assert_eq!(slot, self.state.durable.decided, "slots are decided in order");
        assert_eq!(slot, self.state.executor.applied, "whatever is decided is applied");
        let durable = self.durable_mut();
        durable.accepted.remove(&slot);
        durable.log.insert(slot, entry.clone());
        durable.decided = slot + 1;
        if durable.arriving.as_ref().is_some_and(|arriving| arriving.executor.applied <= slot + 1) {
            Mark::ArrivingOvertaken.hit();
            durable.arriving = None;
            self.state.to_mut().source = None;
        }
        self.fall_behind(slot, &entry);
        let verdicts = self.state.to_mut().executor.apply(slot, &entry, self.replica.configurations.at(slot));
        self.take_snapshot();
        self.forget_proposal(slot);
        for (key, verdict) in verdicts {
            self.complete(key, verdict);
        }
        self.serve_reads();
    }

    /// Answers with what is decided from `from` on, as much as one message may carry; where that is truncated, with a part of a
    /// snapshot.
    pub(super) fn send_decided(&mut self, dst: Id, from: Slot, arriving: Option<Arrived<S::Place>>) {
        if dst == self.id {
            return;
        }
        let durable = &self.state.durable;
        if from < durable.first() {
            self.send_part(dst, arriving);
            return;
        }
        let end = durable.decided.min(from.saturating_add(self.replica.options.fetch_max));
        if from < end {
            let sizes = (from..end).map(|slot| entry_bytes::<S>(&durable.log[&slot]));
            let count = fitting(sizes, self.replica.options.bytes_max);
            if (count as u64) < end - from {
                Mark::DecidedFullOfBytes.hit();
            }
            let entries = (from..end).take(count).map(|slot| durable.log[&slot].clone()).collect();
            self.out.send(dst, Message::Decided { from, entries });
        }
    }

    /// Learns what was missing, and fetches on as long as something new arrives.
    ///
    /// A leader that is told a decision which it has not proposed was deposed: a higher ballot chose it. It must stop at once,
    /// since its followers take its decided mark for what *it* proposed.
    pub(super) fn on_decided(&mut self, src: Id, from: Slot, entries: Vec<Entry<S::Command>>) {
        let before = self.state.durable.decided;
        if entries.len() > 1 {
            Mark::DecidedOfSeveral.hit();
        }
        if from > before {
            Mark::DecidedWithGap.hit();
            return;
        }
        for (slot, entry) in (from..).zip(entries) {
            if slot == self.state.durable.decided {
                Mark::DecidedByFetch.hit();
                let proposed = |leader: &Leader<_>| leader.proposals.get(&slot).is_some_and(|own| own.entry == entry);
                if matches!(&self.state.role, Role::Leading(leader) if !proposed(leader)) {
                    Mark::LeaderOverruled.hit();
                    self.follow_nobody();
                }
                self.learn(slot, entry);
            }
        }
        if self.state.durable.decided > before {
            self.fetch_on(src);
            self.lead_if_promised();
            if self.decide_chosen() {
                self.send_heartbeats();
            }
        }
    }
}
