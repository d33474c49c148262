//! The acceptor: promises and votes (*Paxos Made Simple*, section 2.2; phases 1b and 2b).
//!
//! Invariants: no promise and no vote goes back; none is sent that is not saved in the same step; one ballot is voted for with
//! one value a slot.

use super::Handler;
use super::ballot::{Ballot, Slot};
use super::message::{Entry, Message, Vote};
use crate::machine::StateMachine;
use crate::mark::Mark;
use stateright::actor::Id;

impl<S: StateMachine> Handler<'_, '_, S> {
    /// Phase 1b: promise to take part in nothing below `ballot`, and report the votes cast.
    ///
    /// The report begins at `first`: everything below is decided, and who lacks it must fetch it before it proposes.
    ///
    /// The same prepare gets the same promise, or none: once there is a vote in the ballot or a later decision the report would
    /// be another one. A leader in the ballot needs it no more; a candidate that still does begins another one.
    pub(super) fn on_prepare(&mut self, src: Id, ballot: Ballot) {
        let promised = self.state.durable.promised;
        if ballot < promised {
            Mark::PrepareBelowPromise.hit();
            return;
        }
        if ballot > promised {
            Mark::PromiseRaised.hit();
            self.promise(ballot);
        } else if self.has_changed_since_promise() {
            Mark::PrepareOutdated.hit();
            return;
        } else {
            Mark::PrepareRepeated.hit();
        }
        let message = Message::Promise { ballot, first: self.state.durable.decided, votes: self.votes() };
        self.out.send(src, message);
    }

    fn has_changed_since_promise(&self) -> bool {
        let durable = &self.state.durable;
        durable.decided != durable.promised_at || durable.accepted.values().any(|ballot| *ballot == durable.promised)
    }

    /// Phase 2b: vote, unless something higher is promised or the slot is too far ahead. Then what is decided comes first, and the
    /// accept again.
    pub(super) fn on_accept(&mut self, src: Id, ballot: Ballot, slot: Slot, entry: Entry<S::Command>) {
        let durable = &self.state.durable;
        if ballot < durable.promised {
            Mark::AcceptBelowPromise.hit();
            return;
        }
        if slot < durable.decided {
            Mark::AcceptOfDecided.hit();
            return;
        }
        if !self.is_near(slot) {
            Mark::AcceptBeyondHorizon.hit();
            return;
        }
        let voted = durable.accepted.get(&slot).copied();
        if voted == Some(ballot) {
            Mark::AcceptRepeated.hit();
        } else {
            if voted.is_some() {
                Mark::VoteReplaced.hit();
            }
            if ballot > durable.promised {
                Mark::AcceptAbovePromise.hit();
                self.promise(ballot);
            }
            let durable = self.durable_mut();
            durable.accepted.insert(slot, ballot);
            durable.log.insert(slot, entry);
            self.save();
        }
        self.out.send(src, Message::Accepted { ballot, slot });
    }

    /// Raises the promise. Whoever wanted to lead in a lower ballot no longer does.
    pub(super) fn promise(&mut self, ballot: Ballot) {
        assert!(ballot > self.state.durable.promised, "a promise only rises");
        let durable = self.durable_mut();
        durable.promised = ballot;
        durable.promised_at = durable.decided;
        self.save();
        if self.state.following != Some(ballot) {
            self.follow_nobody();
        }
    }

    /// The votes that are not known to be for decided slots, in slot order.
    pub(super) fn votes(&self) -> Vec<Vote<S::Command>> {
        let durable = &self.state.durable;
        let vote =
            |(slot, ballot): (&Slot, &Ballot)| Vote { slot: *slot, ballot: *ballot, entry: durable.log[slot].clone() };
        durable.accepted.iter().map(vote).collect()
    }
}
