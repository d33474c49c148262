//! The key-value store with a count of how often each tagged command was applied, so that a second application is seen
//! whatever the command does.

use paxos_model::kv::{self, Answer, Command, Kv, Query, Reply, Versioned};
use paxos_model::machine::StateMachine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// A command with a tag of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tagged {
    /// Tells it from every other command of the scope.
    pub tag: u8,
    /// What it does.
    pub command: Command,
}

/// The store and the count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Audit {
    /// The store.
    pub kv: Kv,
    /// How often each tag was applied.
    pub counts: BTreeMap<u8, u8>,
}

/// Where a part of the store and the count is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// In the store.
    Kv(kv::Place),
    /// The count of a tag.
    Count(u8),
}

/// What it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Item {
    /// Of the store.
    Kv(Versioned),
    /// How often the tag was applied.
    Count(u8),
}

impl StateMachine for Audit {
    type Command = Tagged;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;
    type Place = Place;
    type Item = Item;

    fn apply(&mut self, command: &Tagged) -> Reply {
        let count = self.counts.entry(command.tag).or_default();
        *count = count.saturating_add(1);
        self.kv.apply(&command.command)
    }

    fn size(command: &Tagged) -> usize {
        Kv::size(&command.command)
    }

    fn query(&self, query: &Query) -> Answer {
        self.kv.query(query)
    }

    fn items(&self, after: Option<&Place>) -> impl Iterator<Item = (Place, Item)> {
        let (kv, counts) = match after {
            None => (Some(None), Unbounded),
            Some(Place::Kv(place)) => (Some(Some(place)), Unbounded),
            Some(Place::Count(tag)) => (None, Excluded(*tag)),
        };
        let kv = kv.into_iter().flat_map(|after| self.kv.items(after));
        let kv = kv.map(|(place, item)| (Place::Kv(place), Item::Kv(item)));
        kv.chain(self.counts.range((counts, Unbounded)).map(|(tag, count)| (Place::Count(*tag), Item::Count(*count))))
    }

    fn put(&mut self, place: Place, item: Item) {
        match (place, item) {
            (Place::Kv(place), Item::Kv(item)) => self.kv.put(place, item),
            (Place::Count(tag), Item::Count(count)) => {
                self.counts.insert(tag, count);
            }
            _ => {}
        }
    }

    fn reply_size(reply: &Reply) -> usize {
        Kv::reply_size(reply)
    }

    fn item_size(place: &Place, item: &Item) -> usize {
        match (place, item) {
            (Place::Kv(place), Item::Kv(item)) => Kv::item_size(place, item),
            _ => 1,
        }
    }
}
