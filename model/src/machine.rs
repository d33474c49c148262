//! The state machine that a log of commands drives.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;

/// What a value needs to travel in messages, be saved, and be part of a checked state.
pub trait Value: Clone + Debug + Eq + Ord + Hash + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Debug + Eq + Ord + Hash + Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// A deterministic, total state machine: equal logs give equal states and replies on every replica.
///
/// The log knows nothing of commands but this trait. A clone should be cheap (structurally shared), since the state is kept
/// in the replica's state, which the checker and snapshots copy.
pub trait StateMachine: Clone + Debug + Default + Eq + Hash + Send + Sync + 'static {
    /// What clients want done. It goes through the log.
    type Command: Value;
    /// What a command answers. It is kept in the session until the client has acknowledged it.
    type Reply: Value;
    /// What clients want to know. It does not go through the log.
    type Query: Value;
    /// What a query answers.
    type Answer: Value;
    /// Names an item of the state. A snapshot is sent and stored in the order of these.
    type Place: Value;
    /// A part of the state that travels whole.
    type Item: Value;

    /// Carries out `command`. Must be total and deterministic: an invalid command gets a reply that says so.
    fn apply(&mut self, command: &Self::Command) -> Self::Reply;

    /// About how many bytes `command` takes in the log or in a message; entries and messages are bounded by it.
    fn size(command: &Self::Command) -> usize;

    /// Answers `query` from the present state.
    fn query(&self, query: &Self::Query) -> Self::Answer;

    /// The items that the state consists of, in the order of their places, from the first above `after` on. Finding the first
    /// should not take longer the more there are below it.
    fn items(&self, after: Option<&Self::Place>) -> impl Iterator<Item = (Self::Place, Self::Item)>;

    /// Puts one of [`StateMachine::items`] in its place: all of them, put into the default, give the same state again.
    fn put(&mut self, place: Self::Place, item: Self::Item);

    /// About how many bytes a reply takes in a message.
    fn reply_size(reply: &Self::Reply) -> usize;

    /// About how many bytes an item takes in a message, its place included.
    fn item_size(place: &Self::Place, item: &Self::Item) -> usize;
}
