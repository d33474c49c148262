//! When a replica wants to lead, and when a leader must stop.
//!
//! A replica that hears no leader for its election timeout asks a quorum whether it would promise its next ballot (pre-vote:
//! D. Ongaro's thesis, section 9.6), so that a node back from a partition does not depose a working leader; only then does it
//! prepare. A leader that heard from no quorum for that long steps down, so that those who hear it look for another.
//!
//! A replica that promised a ballot whose owner is gone cannot vote in a lower one. Its pre-votes tell what it promised, and
//! whoever leads, or could, prepares above that.

use super::ballot::Ballot;
use super::message::Message;
use super::proposer::Proposer;
use super::{Handler, Role, Timer};
use crate::machine::StateMachine;
use crate::mark::Mark;
use stateright::actor::Id;
use std::collections::BTreeSet;

impl<S: StateMachine> Handler<'_, '_, S> {
    /// No leader was heard for the election timeout; or, as leader, it is time to count who was heard.
    pub(super) fn on_election_timeout(&mut self) {
        self.arm_election();
        if !self.replica.is_voter(self.id) {
            Mark::LearnerWaits.hit();
            self.follow_nobody();
            return;
        }
        if let Role::Leading(leader) = &self.state.role {
            if leader.heard_quorum(self.id, &self.replica.configurations) {
                Mark::LeaderKept.hit();
                self.leader_mut().contacts.clear();
            } else {
                Mark::LeaderLostQuorum.hit();
                self.follow_nobody();
            }
            return;
        }
        if matches!(self.state.role, Role::Preparing(_)) {
            Mark::CandidateRetries.hit();
        }
        if self.replica.options.pre_vote {
            self.poll();
        } else {
            self.prepare();
        }
    }

    /// Asks who would promise this node's next ballot.
    fn poll(&mut self) {
        let ballot = self.next_ballot();
        self.follow_nobody();
        self.state.to_mut().role = Role::Polling { ballot, granted: BTreeSet::from([self.id]) };
        self.send_pre_votes();
        self.prepare_if_polled();
    }

    pub(super) fn send_pre_votes(&mut self) {
        if let Role::Polling { ballot, .. } = &self.state.role {
            let message = Message::PreVote { ballot: *ballot, promised: self.state.durable.promised };
            self.send_to_other_voters(message);
        }
    }

    /// Grants a pre-vote if it would promise `ballot` and follows nobody.
    pub(super) fn on_pre_vote(&mut self, src: Id, ballot: Ballot, promised: Ballot) {
        if promised > self.state.durable.promised.max(self.state.outbid) {
            Mark::Outbid.hit();
            self.state.to_mut().outbid = promised;
        }
        match &self.state.role {
            Role::Leading(leader) => {
                if promised > leader.ballot {
                    Mark::LeaderOutbid.hit();
                    self.prepare();
                }
            }
            _ if self.state.following.is_some() => Mark::PreVoteWhileFollowing.hit(),
            _ if ballot <= self.state.durable.promised => Mark::PreVoteBelowPromise.hit(),
            _ => {
                Mark::PreVoteGranted.hit();
                self.out.send(src, Message::PreVoted { ballot });
            }
        }
    }

    /// Counts a granted pre-vote.
    pub(super) fn on_pre_voted(&mut self, src: Id, granted_for: Ballot) {
        match &self.state.role {
            Role::Polling { ballot, granted } if *ballot == granted_for && !granted.contains(&src) => {}
            _ => {
                Mark::PreVotedOutdated.hit();
                return;
            }
        }
        if let Role::Polling { granted, .. } = &mut self.state.to_mut().role {
            granted.insert(src);
        }
        self.prepare_if_polled();
    }

    fn prepare_if_polled(&mut self) {
        if let Role::Polling { granted, .. } = &self.state.role
            && self.replica.configurations.is_quorum_over(self.open_slots(), granted)
        {
            Mark::PreVoteWon.hit();
            self.prepare();
        }
    }

    /// Phase 1a. The ballot is promised here, durably, before anybody sees it: no later life of this node uses it again.
    fn prepare(&mut self) {
        let ballot = self.next_ballot();
        self.promise(ballot);
        let (decided, votes) = (self.state.durable.decided, self.votes());
        self.state.to_mut().role = Role::Preparing(Proposer::new(ballot, self.id, decided, votes));
        self.send_prepares();
        self.lead_if_promised();
    }

    /// Above everything promised here, and everything that peers said they promised.
    fn next_ballot(&self) -> Ballot {
        self.state.durable.promised.max(self.state.outbid).next(self.id)
    }

    /// Wants to lead no more, and follows nobody.
    pub(super) fn follow_nobody(&mut self) {
        if self.state.following.is_some() || !matches!(self.state.role, Role::Following) {
            let state = self.state.to_mut();
            state.following = None;
            state.role = Role::Following;
        }
        self.arm_election();
    }

    pub(super) fn arm_election(&mut self) {
        self.out.set_timer(Timer::Election, self.replica.options.election.clone());
    }
}
