//! `check replay`: what deployed nodes did, as they wrote it down (`node --trace`), taken again by the same actor and judged.
//!
//! Each node's lines are followed in their order. An input runs the very handler that the scopes check, from the state that the inputs
//! before it led to, and must put out what the node put out: so what ran is what was checked. The nodes are followed side by side, none
//! past a message that has not left its sender yet, so that all of it is one history; and that is judged like a scope's: each step by
//! [`crate::properties::step`], what the nodes come to together by `history.rs`, and the border between actor and disk by `life.rs`:
//! nothing leaves before what it rests on is durable, and a node starts from what it saved.
//!
//! What the files do not tell is not judged, and is said: where they begin in the middle, or a member's are missing, messages may come
//! from nowhere, and decisions from votes that nobody saw.

mod explore;
mod files;
mod history;
mod life;
mod play;
mod shown;
#[cfg(test)]
mod tests;
mod verdicts;

/// What its counterexample is called, in the place of a scope's name.
pub const NAME: &str = "replay";

pub use explore::Playback;
pub use play::replay;
pub use verdicts::{Judged, Replayed, names};
