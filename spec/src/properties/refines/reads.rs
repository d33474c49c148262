//! That a read misses nothing, step by step (D. Ongaro's thesis, section 6.4, and `ReadMissesNothing` in `spec/tla/MultiPaxos.tla`).
//!
//! What was chosen before a round began lies below the slot from which on its reads are served, if the leader had proposed up to there, and a
//! quorum has promised nothing higher since. So a round begins where all that was proposed before lies below its slot, and has only reads that were
//! asked for by then, under numbers that were given out after they had arrived; whoever counts as having acknowledged it did so; and nobody is
//! told a slot, and no read is answered, but by a round that a quorum acknowledged.

use super::{leader, left};
use crate::properties::step::{Judged, Seen};
use crate::properties::transition::stored_or_empty;
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::gateway::{Gateway, PendingRead, ReadStage};
use paxos_model::replica::leader::Leader;
use paxos_model::replica::message::{Message, MessageOf, Outcome, ReadId, Request};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};

/// What of this a step breaks; the error says it.
pub(super) fn keeps<S: Judged>(
    configuration: &Configuration,
    quorums: &[BTreeSet<Id>],
    seen: &Seen<'_, S>,
) -> Result<(), String> {
    let led = left(seen).and_then(leader);
    let delivered = seen.delivered().filter(|(src, _)| configuration.members.contains_key(src));
    let reads = Reads { quorums, seen, led, delivered, acknowledged: acknowledged::<S>(led, delivered) };
    reads.numbers().and_then(|()| reads.rounds()).and_then(|()| reads.slots()).and_then(|()| reads.answers())
}

/// The latest round that each member acknowledged to a leader, with what came.
fn acknowledged<S: Judged>(
    led: Option<&Leader<S::Command>>,
    delivered: Option<(Id, &MessageOf<S>)>,
) -> BTreeMap<Id, u64> {
    let Some(led) = led else { return BTreeMap::new() };
    let mut acknowledged = led.acknowledged.clone();
    if let Some((src, Message::HeartbeatAck { ballot, round })) = delivered
        && *ballot == led.ballot
    {
        let latest = acknowledged.entry(src).or_default();
        *latest = (*latest).max(*round);
    }
    acknowledged
}

struct Reads<'a, S: Judged> {
    quorums: &'a [BTreeSet<Id>],
    seen: &'a Seen<'a, S>,
    /// The leader that the replica was before the step.
    led: Option<&'a Leader<S::Command>>,
    /// What a member said.
    delivered: Option<(Id, &'a MessageOf<S>)>,
    /// The latest round that each member acknowledged to it, by now.
    acknowledged: BTreeMap<Id, u64>,
}

impl<S: Judged> Reads<'_, S> {
    /// Whether this is a number that the replica gave to reads of its own.
    fn is_own(&self, read: &ReadId) -> bool {
        let gateway = &self.seen.after.gateway;
        read.origin == self.seen.node
            && Some(read.incarnation) == gateway.incarnation
            && read.number <= gateway.read_rounds
    }

    /// Whether the leader was asked for this read by now.
    fn was_asked(&self, (src, read): &(Id, ReadId)) -> bool {
        let known = |led: &Leader<S::Command>| {
            led.reads
                .iter()
                .chain(led.rounds.values().flat_map(|(_, reads)| reads))
                .any(|other| *other == (*src, *read))
        };
        let comes =
            matches!(self.delivered, Some((of, Message::ReadIndex { read: other, .. })) if (of, other) == (*src, read));
        self.led.is_some_and(known) || comes || *src == self.seen.node && self.is_own(read)
    }

    /// Reads that are asked for under a number were there when it was given out.
    fn numbers(&self) -> Result<(), String> {
        let (after, before) = (&self.seen.after.gateway, self.before());
        let given = before.map_or(0, |before| before.read_rounds);
        let number = |stage: ReadStage| match stage {
            ReadStage::Waiting => None,
            ReadStage::Asked(number) | ReadStage::From(number, _) => Some(number),
        };
        if after.read_rounds < given {
            return Err("counts its rounds of reads anew".into());
        }
        if after.incarnation != before.and_then(|before| before.incarnation)
            && after.incarnation.is_some_and(|life| life <= stored_or_empty(self.seen.stored_before).incarnation)
        {
            return Err("asks for reads in an incarnation that was used before".into());
        }
        for (key, read) in &after.reads {
            let was = before.and_then(|before| before.reads.get(key)).and_then(|read| number(read.stage));
            if let Some(now) = number(read.stage)
                && was != Some(now)
                && !(given < now && now <= after.read_rounds)
            {
                return Err(format!(
                    "takes request {key} for asked for under number {now}, which was given out before"
                ));
            }
        }
        Ok(())
    }

    /// What a leader knows of its rounds after the step.
    fn rounds(&self) -> Result<(), String> {
        let Some(leads) = leader(self.seen.after) else { return Ok(()) };
        let led = self.led.filter(|led| led.ballot == leads.ballot);
        let acknowledged = |(node, round): &(&Id, &u64)| {
            led.is_some() && self.acknowledged.get(node).is_some_and(|latest| latest >= round)
        };
        if let Some((node, round)) = leads.acknowledged.iter().find(|of_node| !acknowledged(of_node)) {
            return Err(format!("counts round {round} of reads as acknowledged by {node:?}, who did not"));
        }
        // Who begins to lead takes over what was voted for before it begins a round.
        let (before, next) = led.map_or((0, leads.next), |led| (led.round, led.next));
        let is_so = |round: u64, slot: Slot, reads: &[(Id, ReadId)]| match led.and_then(|led| led.rounds.get(&round)) {
            Some((begun_at, asked)) => slot == *begun_at && reads == asked.as_slice(),
            None => {
                before < round && round <= leads.round && slot >= next && reads.iter().all(|read| self.was_asked(read))
            }
        };
        match leads.rounds.iter().find(|(round, (slot, reads))| !is_so(**round, *slot, reads)) {
            Some((round, (slot, _))) => {
                Err(format!("has a round {round} of reads from slot {slot}, which it did not begin"))
            }
            None if !leads.reads.iter().all(|read| self.was_asked(read)) => {
                Err("takes in a read that nobody asked for".into())
            }
            None if leads.round < before => Err(format!("goes back to round {} of reads", leads.round)),
            None => Ok(()),
        }
    }

    /// Whether a quorum acknowledged this round, or the replica is one by itself.
    fn is_acknowledged(&self, round: Option<u64>) -> bool {
        let by = |node: &Id| {
            let latest = self.acknowledged.get(node);
            *node == self.seen.node || round.is_some_and(|round| latest.is_some_and(|latest| *latest >= round))
        };
        self.quorums.iter().any(|quorum| quorum.iter().all(by))
    }

    /// The slots from which on this read may be served, if `src` asked for it in a round that a quorum acknowledged.
    fn confirmed(&self, src: Id, is_it: impl Fn(&ReadId) -> bool) -> Vec<Slot> {
        let asked = |reads: &[(Id, ReadId)]| reads.iter().any(|(of, read)| *of == src && is_it(read));
        let rounds = self.led.into_iter().flat_map(|led| &led.rounds);
        let confirmed = rounds.filter(|(round, (_, reads))| asked(reads) && self.is_acknowledged(Some(**round)));
        confirmed.map(|(_, (slot, _))| *slot).collect()
    }

    /// From which slot on a round is confirmed as soon as it begins: the leader is a quorum by itself.
    fn alone_from(&self) -> Option<Slot> {
        self.led.filter(|_| self.is_acknowledged(None)).map(|led| led.next)
    }

    /// The slots from which on the replica has been told that its own reads of this round may be served.
    fn told(&self, round: u64) -> Vec<Slot> {
        let (node, incarnation) = (self.seen.node, self.seen.after.gateway.incarnation);
        let is_own =
            |read: &ReadId| read.origin == node && read.number == round && Some(read.incarnation) == incarnation;
        let mut slots = self.confirmed(node, is_own);
        if let Some((_, Message::ReadSlot { read, slot })) = self.delivered
            && is_own(read)
        {
            slots.push(*slot);
        }
        slots
    }

    /// What others are told, and what the replica knows of its own reads.
    fn slots(&self) -> Result<(), String> {
        let alone = |slot: Slot| self.alone_from().is_some_and(|from| from <= slot);
        for (dst, message) in self.seen.sends {
            if let Message::ReadIndex { read, .. } = message {
                let relays =
                    matches!(self.delivered, Some((_, Message::ReadIndex { read: other, .. })) if other == read);
                if !relays && !self.is_own(read) {
                    return Err(format!("asks for {read:?}, a number that it has not given out"));
                }
            }
            if let Message::ReadSlot { read, slot } = message {
                let relays = self.delivered.is_some_and(|(_, delivered)| delivered == message);
                let alone = alone(*slot) && self.was_asked(&(*dst, *read));
                if !relays && !alone && !self.confirmed(*dst, |other| other == read).contains(slot) {
                    return Err(format!("lets {dst:?} serve {read:?} from slot {slot} on, which no quorum confirmed"));
                }
            }
        }
        let stage = |number: &u64| self.before().and_then(|before| before.reads.get(number)).map(|read| read.stage);
        for (number, read) in &self.seen.after.gateway.reads {
            if let ReadStage::From(round, slot) = read.stage
                && stage(number) != Some(read.stage)
                && !alone(slot)
                && !self.told(round).contains(&slot)
            {
                return Err(format!("would serve request {number} from slot {slot} on, which nobody confirmed"));
            }
        }
        Ok(())
    }

    /// The answers to clients' reads: all that a quorum confirmed is applied.
    fn answers(&self) -> Result<(), String> {
        let is_served = |stage: ReadStage, applied: Slot| {
            let told = |round| self.told(round).iter().any(|slot| *slot <= applied);
            self.alone_from().is_some_and(|from| from <= applied)
                || match stage {
                    ReadStage::Waiting => false,
                    ReadStage::Asked(round) => told(round),
                    ReadStage::From(round, slot) => slot <= applied || told(round),
                }
        };
        let was_current = self.before().is_some_and(|before| before.current);
        let mut is_current = was_current;
        for (dst, message) in self.seen.sends {
            let Message::Reply { number, outcome: Outcome::Answer { applied, .. } } = message else { continue };
            let is_it = |read: &PendingRead<S>| (read.client.id, read.client.number) == (*dst, *number);
            let waited = self
                .before()
                .is_some_and(|before| before.reads.values().any(|read| is_it(read) && is_served(read.stage, *applied)));
            let is_local = matches!(self.seen.delivered(),
                Some((src, Message::Request { number: asked, request: Request::LocalRead(_), .. })) if (src, asked) == (*dst, number));
            if !(waited || is_local && was_current) {
                return Err(format!("answers the read {number} of {dst:?}, which nobody confirmed"));
            }
            is_current |= waited;
        }
        if self.seen.after.gateway.current && !is_current {
            return Err("takes what is applied for current, and answers no read that was confirmed".into());
        }
        Ok(())
    }

    fn before(&self) -> Option<&Gateway<S>> {
        left(self.seen).map(|state| &state.gateway)
    }
}
