//! What is told in a state: the facts that its nodes, its messages in flight and its record tell, by topic.

use super::state::State;
use super::universe::{Noted, Universe};
use super::{Ghost, Part, Subject, TellingOf};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

/// What follows from the rest of an item, and so is found out once, and is no part of what makes it this item.
#[derive(Clone, Debug)]
pub(super) struct Aside<T>(OnceLock<T>);

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Aside(OnceLock::new())
    }
}

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Facts by their number, after that of their topic, and those that are given on it before those that are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Told(u64);

impl Told {
    fn new(topic: u32, part: Part, facts: u32) -> Self {
        Told(u64::from(topic) << 33 | (part as u64) << 32 | u64::from(facts))
    }

    fn topic(self) -> u32 {
        (self.0 >> 33) as u32
    }

    fn part(self) -> Part {
        if self.0 & 1 << 32 == 0 { Part::Given } else { Part::Asked }
    }

    fn facts(self) -> u32 {
        self.0 as u32
    }
}

/// What one item tells.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Tellings {
    always: SmallVec<[Told; 4]>,
    /// What hinges on something, after that.
    hinged: SmallVec<[(u64, Told); 2]>,
    /// Of a record, what is so.
    so: SmallVec<[u64; 2]>,
}

impl Tellings {
    /// Whether some of it is told beside that record.
    fn is_told(&self, record: &Tellings) -> bool {
        !self.always.is_empty() || self.hinged.iter().any(|(hinge, _)| record.so.contains(hinge))
    }
}

impl<A: Subject, G: Ghost<A>> Universe<A, G> {
    /// The tellings of all items that tell something beside the record, by their numbers: each once, in order, after the record's.
    pub(super) fn told_in(&self, state: &State) -> SmallVec<[u32; 24]> {
        let by_record = self.told_by_record(state.ghost);
        let record = self.tellings.get(by_record);
        let nodes = state.locals.iter().map(|local| self.told_by_node(*local));
        let items = nodes.chain(state.network.iter().map(|message| self.told_by_message(*message)));
        let mut all: SmallVec<[u32; 24]> = SmallVec::from_slice(&[by_record]);
        all.extend(items.filter(|item| self.tellings.get(*item).is_told(record)));
        all[1..].sort_unstable();
        all.dedup();
        all
    }

    /// Calls `each` on the numbers of all facts that are told together, in order and each once, with their topic.
    pub(super) fn each_together(&self, told: &[u32], mut each: impl FnMut(G::Topic, &[u32])) {
        let mut together: SmallVec<[u32; 16]> = SmallVec::new();
        for told in self.facts_in(told).chunk_by(|a, b| a.topic() == b.topic()) {
            let topic = *self.topics.get(told[0].topic());
            let given = told.partition_point(|told| told.part() == Part::Given);
            together.clear();
            together.extend(told[..given].iter().map(|told| told.facts()));
            if given == told.len() {
                each(topic, &together);
            }
            for asked in &told[given..] {
                together.push(asked.facts());
                each(topic, &together);
                together.pop();
            }
        }
    }

    /// All facts that are told and say something, each once, in order.
    fn facts_in(&self, told: &[u32]) -> SmallVec<[Told; 32]> {
        let [record, items @ ..] = told else { return SmallVec::new() };
        let record = self.tellings.get(*record);
        let mut all: SmallVec<[Told; 32]> = SmallVec::from_slice(&record.always);
        for item in items.iter().map(|item| self.tellings.get(*item)) {
            all.extend_from_slice(&item.always);
            let hinged = item.hinged.iter().filter(|(hinge, _)| record.so.contains(hinge)).map(|(_, told)| *told);
            all.extend(hinged.filter(|told| self.bears(*told, record)));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    fn bears(&self, told: Told, record: &Tellings) -> bool {
        let given = record.always.iter().find(|given| given.topic() == told.topic() && given.part() == Part::Given);
        let facts = |told: Told| self.facts.get(told.facts());
        given.is_none_or(|given| self.ghost.bears(facts(told), &facts(*given).facts))
    }

    fn told_by_node(&self, local: u32) -> u32 {
        let local = self.local(local);
        let tellings = || self.ghost.facts_of_node(local.node, &local.state, &local.stored);
        *local.told.0.get_or_init(|| self.intern_told(tellings(), Vec::new()))
    }

    fn told_by_message(&self, message: u32) -> u32 {
        let envelope = self.envelope(message);
        let tellings = || self.ghost.facts_of_message(envelope.src, &envelope.msg);
        *envelope.told.0.get_or_init(|| self.intern_told(tellings(), Vec::new()))
    }

    fn told_by_record(&self, record: u32) -> u32 {
        let Noted { record, told } = self.records.get(record);
        let tellings = || self.ghost.facts_of_record(record);
        *told.0.get_or_init(|| self.intern_told(tellings(), self.ghost.hinges(record)))
    }

    fn intern_told(&self, tellings: Vec<TellingOf<A, G>>, so: Vec<u64>) -> u32 {
        let (mut always, mut hinged) = (SmallVec::new(), SmallVec::new());
        for telling in tellings {
            let (topic, part, hinge) = (self.topics.intern(telling.topic), telling.part, telling.hinge);
            let told = Told::new(topic, part, self.facts.intern(telling));
            match hinge {
                None => always.push(told),
                Some(hinge) => hinged.push((hinge, told)),
            }
        }
        self.tellings.intern(Tellings { always, hinged, so: so.into() })
    }
}
