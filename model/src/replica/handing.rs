//! Handing on: what waits at this node goes to the leader, and what another node hands on is taken, or passed on once.

use super::gateway::{NodeSession, ReadStage};
use super::message::{Message, Operation, OperationId, ReadId, fitting, operation_bytes};
use super::{Handler, Role};
use crate::machine::StateMachine;
use crate::mark::Mark;
use stateright::actor::Id;
use std::sync::Arc;

impl<S: StateMachine> Handler<'_, '_, S> {
    /// Hands on what waits, if there is a leader to hand it to.
    pub(super) fn flush_gateway(&mut self) {
        if self.state.following.is_none() || !self.state.gateway.waiting() {
            return;
        }
        let operations = self.operations(false, usize::MAX);
        let reads = self.read_rounds(false);
        if let Role::Leading(_) = &self.state.role {
            self.hand_to_myself(operations, reads);
        } else if let Some(leader) = self.state.following {
            self.hand_to(leader.node, operations, reads);
        }
    }

    /// Hands on again what is not answered, the oldest first and as much as goes together: to the leader directly and, in case it
    /// can't be reached, through everybody else.
    /// The answers lie in the log, which is fetched from everybody too, in case the leader is heard and does not hear.
    pub(super) fn resend_gateway(&mut self) {
        if self.state.gateway.idle() {
            return;
        }
        let leads = matches!(self.state.role, Role::Leading(_));
        let members = self.replica.configurations.at(self.state.durable.decided).members.keys();
        let peers: Vec<Id> = members.copied().filter(|peer| *peer != self.id).collect();
        if !leads && peers.is_empty() {
            return;
        }
        let operations = self.operations(true, if leads { usize::MAX } else { self.replica.options.bytes_max });
        let reads = self.read_rounds(true);
        if leads {
            self.hand_to_myself(operations, reads);
            return;
        }
        for peer in peers {
            self.hand_to(peer, operations.clone(), reads.clone());
            self.fetch(peer);
        }
    }

    fn hand_to(&mut self, peer: Id, mut operations: Vec<Operation<S::Command>>, reads: Vec<ReadId>) {
        while !operations.is_empty() {
            let count = fitting(operations.iter().map(operation_bytes::<S>), self.replica.options.bytes_max);
            let rest = operations.split_off(count);
            if !rest.is_empty() {
                Mark::ForwardFullOfBytes.hit();
            }
            self.out.send(peer, Message::Forward { operations: operations.into(), relayed: false });
            operations = rest;
        }
        for read in reads {
            self.out.send(peer, Message::ReadIndex { read, relayed: false });
        }
    }

    fn hand_to_myself(&mut self, operations: Vec<Operation<S::Command>>, reads: Vec<ReadId>) {
        for operation in operations {
            self.enqueue(operation);
        }
        for read in reads {
            self.enqueue_read(self.id, read);
        }
    }

    /// The first operations to hand on, at least one and as many as take no more than `bytes_max`: of those that were not yet or, if
    /// `again`, of all that are not answered. Acts of this node's session get their numbers here, as far as its replies are kept.
    fn operations(&mut self, again: bool, bytes_max: usize) -> Vec<Operation<S::Command>> {
        self.number_acts();
        let mut operations = Vec::new();
        let gateway = &self.state.gateway;
        if let Some(incarnation) = gateway.incarnation
            && gateway.session == NodeSession::Opening
            && (again || gateway.writes.values().any(|write| write.by_node && !write.handed_on))
        {
            operations.push((None, Operation::Open { node: self.id, incarnation }));
        }
        for (number, write) in gateway.writes.iter().filter(|(_, write)| again || !write.handed_on) {
            if let Some((id, acknowledged_below)) = write.id {
                let (by_node, act) = (write.by_node, write.act.clone());
                operations.push((Some(*number), Operation::InSession { id, by_node, acknowledged_below, act }));
            }
        }
        let count = fitting(operations.iter().map(|(_, operation)| operation_bytes::<S>(operation)), bytes_max);
        if count < operations.len() {
            Mark::ForwardAgainFullOfBytes.hit();
        }
        operations.truncate(count);
        for number in operations.iter().filter_map(|(number, _)| *number) {
            if let Some(write) = self.state.to_mut().gateway.writes.get_mut(&number) {
                write.handed_on = true;
            }
        }
        operations.into_iter().map(|(_, operation)| operation).collect()
    }

    fn number_acts(&mut self) {
        let gateway = &self.state.gateway;
        let unnamed: Vec<u64> =
            gateway.writes.iter().filter(|(_, write)| write.id.is_none()).map(|(n, _)| *n).collect();
        if unnamed.is_empty() {
            return;
        }
        match gateway.session {
            NodeSession::None => {
                self.claim_incarnation();
                self.state.to_mut().gateway.session = NodeSession::Opening;
            }
            NodeSession::Opening => {}
            NodeSession::Open(session, mut next) => {
                let from = (OperationId { session, sequence: 0 }, false);
                let outstanding =
                    gateway.named.range(from..).find(|((id, by_node), _)| id.session != session || *by_node);
                let acknowledged_below = match outstanding {
                    Some(((id, _), _)) if id.session == session => id.sequence,
                    _ => next,
                };
                let replies_max = self.replica.configurations.at(self.state.durable.decided).replies_max;
                let gateway = &mut self.state.to_mut().gateway;
                for number in unnamed {
                    if next - acknowledged_below >= replies_max {
                        Mark::SessionWindowFull.hit();
                        break;
                    }
                    if let Some(write) = gateway.writes.get_mut(&number) {
                        let id = OperationId { session, sequence: next };
                        write.id = Some((id, acknowledged_below));
                        gateway.named.insert((id, true), number);
                        next += 1;
                    }
                }
                gateway.session = NodeSession::Open(session, next);
            }
        }
    }

    /// The rounds of reads to ask for: one for all that wait and, if `again`, those asked for and not served. One that is
    /// confirmed may wait for a slot that its leader proposed in and nobody will: a later answer can be lower, and each holds.
    fn read_rounds(&mut self, again: bool) -> Vec<ReadId> {
        if self.state.gateway.reads.is_empty() {
            return Vec::new();
        }
        self.claim_incarnation();
        let incarnation = self.state.durable.incarnation;
        let mut numbers = Vec::new();
        if again {
            numbers.extend(self.state.gateway.reads.values().filter_map(|read| match read.stage {
                ReadStage::Asked(number) | ReadStage::From(number, _) => Some(number),
                ReadStage::Waiting => None,
            }));
            numbers.dedup();
        }
        if self.state.gateway.reads.values().any(|read| read.stage == ReadStage::Waiting) {
            let gateway = &mut self.state.to_mut().gateway;
            gateway.read_rounds += 1;
            let number = gateway.read_rounds;
            for read in gateway.reads.values_mut().filter(|read| read.stage == ReadStage::Waiting) {
                read.stage = ReadStage::Asked(number);
            }
            numbers.push(number);
        }
        numbers.into_iter().map(|number| ReadId { origin: self.id, incarnation, number }).collect()
    }

    /// Operations from another origin: queue them here, or pass them on, once.
    pub(super) fn on_forward(&mut self, src: Id, operations: Arc<[Operation<S::Command>]>, relayed: bool) {
        match (&self.state.role, self.state.following) {
            (Role::Leading(_), _) => {
                for operation in operations.iter() {
                    self.enqueue(operation.clone());
                }
            }
            (_, Some(leader)) if !relayed && leader.node != src => {
                Mark::ForwardRelayed.hit();
                self.out.send(leader.node, Message::Forward { operations, relayed: true });
            }
            _ => {}
        }
    }

    /// A read of another origin: take it into the next round here, or pass it on, once.
    pub(super) fn on_read_index(&mut self, src: Id, read: ReadId, relayed: bool) {
        match (&self.state.role, self.state.following) {
            (Role::Leading(_), _) => self.enqueue_read(src, read),
            (_, Some(leader)) if !relayed && leader.node != src => {
                Mark::ReadRelayed.hit();
                self.out.send(leader.node, Message::ReadIndex { read, relayed: true });
            }
            _ => {}
        }
    }
}
