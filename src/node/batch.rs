//! What a batch of steps put out, and what of it may be released when.

use crate::{Msg, Stored};
use stateright::actor::Id;

/// Outputs of consecutive steps, in their order, divided by the first save among them.
#[derive(Debug, Default)]
pub struct Batch {
    /// Precedes every save: may leave once all earlier batches are durable.
    pub(super) before: Vec<(Id, Msg)>,
    /// Follows a save of this batch: may leave once `save` is durable.
    pub(super) after: Vec<(Id, Msg)>,
    /// The latest value saved, which holds all earlier ones.
    pub(super) save: Option<Stored>,
}

impl Batch {
    /// Notes that a step saves `value`. A step's own messages follow its save, wherever in the step it stands.
    pub(super) fn save(&mut self, value: Stored) {
        self.save = Some(value);
    }

    /// Notes that a step sends `message`, after its save if it has one.
    pub(super) fn send(&mut self, dst: Id, message: Msg) {
        if self.save.is_some() { self.after.push((dst, message)) } else { self.before.push((dst, message)) }
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }
}
