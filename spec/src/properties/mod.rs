//! What must hold, and who takes part.
//!
//! A rule that speaks of a step is judged on the step ([`transition`], [`answers`],
//! [`again`], [`bounds`], [`refines`], [`step`], [`judge`]); a rule that speaks of what may still happen ([`progress`], [`timers`]) is judged in each state.

pub mod again;
pub mod answers;
pub mod audit;
pub mod bounds;
pub mod effect;
pub mod invariant;
pub mod judge;
pub mod party;
pub mod progress;
pub mod record;
pub mod refines;
pub mod sequential;
pub mod sessions;
pub mod snapshots;
pub mod step;
pub mod timers;
pub mod transition;
