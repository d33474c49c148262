//! What must hold of the replica, and the check that it does.

#![forbid(unsafe_code)]

pub mod cli;
pub mod engine;
pub mod mutants;
pub mod original;
pub mod properties;
pub mod record;
pub mod refinement;
pub mod replay;
pub mod report;
pub mod scopes;
